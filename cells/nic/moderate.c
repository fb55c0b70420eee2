/* SPDX-License-Identifier: ISC */
/* moderate.h has the theory. */
#include "cells/nic/moderate.h"

#define SCORE_MAX  8
#define IN_VAIN    4
#define SPAN_FIRST 200000u /* ns */
#define SPAN_MIN   20000u
#define SPAN_MAX   1000000u

void moderate_init(struct moderate *m)
{
	*m = (struct moderate){.span_ns = SPAN_FIRST};
}

bool moderate_holds(const struct moderate *m)
{
	return m->score > 0;
}

void moderate_sleep(struct moderate *m, uint64_t now_ns, bool held)
{
	m->slept_ns = now_ns;
	m->held = held;
}

/* Twice what it takes, as a mean of the last eight. */
static void learn_span(struct moderate *m, uint64_t took_ns)
{
	uint64_t span = m->span_ns - m->span_ns / 8 + took_ns / 4;

	m->span_ns = span < SPAN_MIN ? SPAN_MIN : span > SPAN_MAX ? SPAN_MAX : span;
}

void moderate_learn(struct moderate *m, uint64_t woke_ns, bool rang, bool received)
{
	uint64_t took = woke_ns - m->slept_ns;
	int score = m->score;

	if (!m->slept_ns)
		return;
	m->slept_ns = 0;
	if (rang) {
		learn_span(m, took);
		score += received ? 1 : -1;
	} else if (m->held) {
		score -= IN_VAIN;
	} else {
		score += received && took < m->span_ns ? 1 : -1;
	}
	m->score = score > SCORE_MAX ? SCORE_MAX : score < -SCORE_MAX ? -SCORE_MAX : score;
}
