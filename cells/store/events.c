/* SPDX-License-Identifier: ISC */
#include "cells/store/events.h"
#include <string.h>
#include "libcell/cell.h"

#define WORDS (D0_CHANNELS_MAX / 64)

static uint64_t pending[WORDS], aside[WORDS], flags;

void events_collect(void)
{
	for (uint64_t words = cell_events_words(); words; words &= words - 1) {
		unsigned w = (unsigned)__builtin_ctzll(words);

		pending[w] |= cell_events_take(w);
	}
	flags |= cell_flags_take(~0ull);
}

void events_round(void)
{
	memcpy(aside, pending, sizeof(aside));
	memset(pending, 0, sizeof(pending));
}

uint64_t events_take_of(unsigned word, uint64_t mask)
{
	uint64_t got = (pending[word] | aside[word]) & mask;

	pending[word] &= ~mask;
	aside[word] &= ~mask;
	return got;
}

bool events_take(unsigned channel)
{
	return channel < D0_CHANNELS_MAX && events_take_of(channel / 64, 1ull << channel % 64);
}

uint64_t events_flags(uint64_t mask)
{
	uint64_t got = flags & mask;

	flags &= ~mask;
	return got;
}

void events_sleep_new(uint64_t deadline_ns)
{
	cell_wait(deadline_ns);
	events_collect();
}

void events_sleep(uint64_t deadline_ns)
{
	bool any = flags != 0;

	events_collect();
	for (unsigned w = 0; w < WORDS; w++)
		any |= pending[w] != 0;
	if (!any && !flags)
		events_sleep_new(deadline_ns);
}
