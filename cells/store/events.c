/* SPDX-License-Identifier: ISC */
#include "cells/store/events.h"
#include <string.h>
#include "libcell/cell.h"

#define WORDS (D0_CHANNELS_MAX / 64)

static uint64_t pending[WORDS], flags;

void events_collect(void)
{
	for (unsigned w = 0; w < WORDS; w++)
		pending[w] |= cell_events_take(w);
	flags |= cell_flags_take(~0ull);
}

void events_clear(void)
{
	memset(pending, 0, sizeof(pending));
}

bool events_take(unsigned channel)
{
	uint64_t bit = 1ull << channel % 64;
	bool was;

	if (channel >= D0_CHANNELS_MAX)
		return false;
	was = pending[channel / 64] & bit;
	pending[channel / 64] &= ~bit;
	return was;
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
