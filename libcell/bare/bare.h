/* SPDX-License-Identifier: ISC */
/* Inside the bare back-end; guest kernels use cell_info_set and cell_gate_init. */
#ifndef LIBCELL_BARE_H
#define LIBCELL_BARE_H

#include <stdbool.h>
#include <stdint.h>
#include "d0/abi.h"

/*
 * Sets FS so that static libraries of the distribution find their canary at FS:0x28 (x86-64
 * psABI). Linked into cells that use such libraries only: the build asks for it.
 */
void bare_tls_init(unsigned vcpu) __attribute__((weak));

/* Remembers the info page and how hypercalls are made. First thing in a cell. */
void cell_info_set(const struct d0_info *info);

/* Events of this vCPU. */
struct d0_events *bare_events(void);

/* The heap over the heap region. */
void bare_heap_init(const struct d0_info *info, uint64_t key);

/* A verification round began: there may be challenges. */
void bare_duty_begin(void);
bool bare_duty_active(void);
/* Answers one challenge and takes the next. */
void bare_duty_step(void);

#endif
