/* SPDX-License-Identifier: ISC */
/* Time from the clock page the nucleus shares; no hypercall, monotonic across vCPUs. */
#ifndef LIBCELL_CLOCK_H
#define LIBCELL_CLOCK_H

#include <stdint.h>
#include "d0/abi.h"

#define CLOCK_NS_PER_US 1000ull
#define CLOCK_NS_PER_MS 1000000ull
#define CLOCK_NS_PER_S  1000000000ull

/* Nanoseconds since kernel entry (hosted: since the cell's start). */
uint64_t clock_ns(void);

/* Nanoseconds of Unix time. May step when the nucleus sets the clock. */
int64_t clock_wall_ns(void);

/* Frequency of the TSC in Hz; 0 if unknown. */
uint64_t clock_tsc_hz(void);

/* Scale a TSC value by a clock page's numbers. Pure; for tests and guest kernels. */
uint64_t clock_scale(const struct d0_clock *c, uint64_t tsc);

/* A consistent copy of a clock page that the nucleus may be changing (a seqlock). */
struct d0_clock clock_read(const struct d0_clock *page);

#endif
