/* SPDX-License-Identifier: ISC */
/*
 * Counters a cell exports: the nucleus, the monitor and d0d read them by name.
 * At most D0_COUNTERS_MAX; names up to 23 bytes, "rx_packets" style. Gauges are counters
 * that also go down.
 */
#ifndef LIBCELL_COUNTERS_H
#define LIBCELL_COUNTERS_H

#include <stdint.h>

/*
 * The counter of that name, made if it is not there yet. Never NULL: when the table is
 * full, a counter nobody sees. Register at start, not in the fast path.
 */
uint64_t *counter_register(const char *name);

static inline void counter_add(uint64_t *c, uint64_t n)
{
	__atomic_fetch_add(c, n, __ATOMIC_RELAXED);
}

/* For counters that only one vCPU changes: a plain add that readers see whole. */
static inline void counter_add_own(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void counter_set(uint64_t *c, uint64_t value)
{
	__atomic_store_n(c, value, __ATOMIC_RELAXED);
}

#endif
