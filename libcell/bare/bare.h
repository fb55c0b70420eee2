/* SPDX-License-Identifier: ISC */
/* Inside the bare back-end; guest kernels use cell_info_set and cell_gate_init. */
#ifndef LIBCELL_BARE_H
#define LIBCELL_BARE_H

#include <stdbool.h>
#include <stdint.h>
#include "d0/abi.h"

/* Block at FS: static libraries find their canary at offset 0x28 (x86-64 psABI). */
struct bare_vcpu {
	uint64_t self;
	uint64_t pad[4];
	uint64_t canary;
	uint64_t number;
	void (*fn)(void *);
	void *arg;
};
_Static_assert(__builtin_offsetof(struct bare_vcpu, canary) == 0x28, "psABI TLS canary");

/* Remembers the info page and how hypercalls are made. First thing in a cell. */
void cell_info_set(const struct d0_info *info);

/* Events of this vCPU. */
struct d0_events *bare_events(void);

/* Own GDT and IDT, so that an exception is reported with a backtrace. */
void bare_exceptions_init(void);

/* The heap over the heap region. */
void bare_heap_init(const struct d0_info *info, uint64_t key);

/* A verification round began: there may be challenges. */
void bare_duty_begin(void);
bool bare_duty_active(void);
/* Answers one challenge and takes the next. */
void bare_duty_step(void);

#endif
