/* SPDX-License-Identifier: ISC */
/* The clock page: a seqlock around four numbers. */
#include "libcell/clock.h"

uint64_t clock_scale(const struct d0_clock *c, uint64_t tsc)
{
	unsigned __int128 product = (unsigned __int128)(tsc - c->tsc_base) * c->mult;

	return tsc <= c->tsc_base ? 0 : (uint64_t)(product >> c->shift);
}

struct d0_clock clock_read(const struct d0_clock *page)
{
	struct d0_clock copy;

	for (;;) {
		copy.seq = __atomic_load_n(&page->seq, __ATOMIC_ACQUIRE);
		copy.shift = __atomic_load_n(&page->shift, __ATOMIC_RELAXED);
		copy.mult = __atomic_load_n(&page->mult, __ATOMIC_RELAXED);
		copy.tsc_base = __atomic_load_n(&page->tsc_base, __ATOMIC_RELAXED);
		copy.tsc_hz = __atomic_load_n(&page->tsc_hz, __ATOMIC_RELAXED);
		copy.wall_ns = __atomic_load_n(&page->wall_ns, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(copy.seq & 1) &&
		    __atomic_load_n(&page->seq, __ATOMIC_RELAXED) == copy.seq)
			return copy;
		__builtin_ia32_pause();
	}
}
