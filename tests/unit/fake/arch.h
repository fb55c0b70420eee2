/* SPDX-License-Identifier: ISC */
/*
 * A machine that is not there, so that the nucleus's logic runs as a host program under
 * sanitizers. Its page-table encoding differs from every real one on purpose: code that
 * looked at an entry without asking the format would fail here.
 */
#ifndef TESTS_UNIT_FAKE_ARCH_H
#define TESTS_UNIT_FAKE_ARCH_H

#include "nucleus/memory_regions/memory_regions.h"
#include "nucleus/sync/sync.h"

#define FAKE_RAM (64ull << 20)

extern const struct table_format format_fake;
extern u64 fake_now;         /* what clock_ns() says */
extern char fake_log[65536]; /* what was printed */
extern u32 fake_quiesced;    /* how often CPUs had to be stopped */
extern struct vcpu *fake_last_ready;

/* Fresh RAM, empty frames allocator, empty log. */
void fake_machine(void);
/* The build's own boot archive, opened (build/boot.d0a); its bytes, a private copy. */
u8 *fake_archive(u64 *size);
/* A guest executes this hypercall. */
s64 fake_hypercall(struct vcpu *v, u64 number, u64 a, u64 b, u64 c, u64 d);

#endif
