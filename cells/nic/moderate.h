/* SPDX-License-Identifier: ISC */
/*
 * Interrupt moderation by what the ports do.
 *
 * Problem: an interrupt for each received frame takes the CPU from the cell that has just been
 * given the one before, twice (out of it and back). Waiting a fixed time instead delays every
 * exchange by it.
 *
 * Model: a transport cell that was given frames comes back, as a rule, with an answer
 * (acknowledgements, a window, a reply), and rings for it. When that has been so lately, and
 * frames have been there by then, the nic leaves its cards' interrupts off after a pass that
 * received, looks again when a port rings, and sleeps otherwise no longer than `span`: twice
 * what such an answer takes, as measured. `score` is what experience says: it rises when a
 * frame came before the answer, falls when there was none or no answer came at all.
 *
 * Invariants: nobody waits longer than SPAN_MAX for a frame, whatever a port does; a port that
 * does not answer makes the nic stop holding, for everybody, until it is worth it again.
 */
#ifndef NIC_MODERATE_H
#define NIC_MODERATE_H

#include <stdbool.h>
#include <stdint.h>

struct moderate {
	int score;
	uint64_t span_ns;
	uint64_t slept_ns; /* since when, after frames were received; 0: learnt already */
	bool held;         /* with interrupts off */
};

void moderate_init(struct moderate *m);
/* Before sleeping, after frames were received: leave interrupts off, and sleep span_ns at most? */
bool moderate_holds(const struct moderate *m);
/* Now it sleeps, with interrupts off or not. */
void moderate_sleep(struct moderate *m, uint64_t now_ns, bool held);
/* It slept until woke_ns, and has worked: had a port rung, and did it receive frames? */
void moderate_learn(struct moderate *m, uint64_t woke_ns, bool rang, bool received);

#endif
