/* SPDX-License-Identifier: ISC */
/* The cell's side of struct d0_events: the order of the steps is the ABI's (d0/abi.h). */
#ifndef LIBCELL_COMMON_EVENTS_H
#define LIBCELL_COMMON_EVENTS_H

#include <stdbool.h>
#include "d0/abi.h"

static inline void events_put(struct d0_events *e, unsigned word, uint64_t bits)
{
	__atomic_fetch_or(&e->channel[word], bits, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&e->words, 1ull << word, __ATOMIC_SEQ_CST);
}

static inline uint64_t events_take(struct d0_events *e, unsigned word)
{
	uint64_t bit = 1ull << word;

	if (!(__atomic_load_n(&e->words, __ATOMIC_RELAXED) & bit))
		return 0;
	__atomic_fetch_and(&e->words, ~bit, __ATOMIC_SEQ_CST);
	return __atomic_exchange_n(&e->channel[word], 0, __ATOMIC_SEQ_CST);
}

static inline bool events_take_one(struct d0_events *e, unsigned channel)
{
	uint64_t bit = 1ull << channel % 64, was = events_take(e, channel / 64);

	if (was & ~bit)
		events_put(e, channel / 64, was & ~bit);
	return was & bit;
}

static inline bool events_pending(const struct d0_events *e)
{
	return __atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&e->words, __ATOMIC_ACQUIRE);
}

#endif
