/* SPDX-License-Identifier: ISC */
/*
 * Events of the store cell. The block layer waits for its device in the middle of serving a
 * request, when events of other channels may be pending; cell_wait() would return at once for
 * each of them. So all events are taken into a set of the cell's own, and each part takes
 * its bits from there.
 *
 * A round of the main loop begins by setting the set aside; in it each part takes from what
 * was set aside and from what came since. What is in the set at its end came meanwhile and
 * asks for another round. Events that nobody takes (of a channel that is not served, of writes
 * that ended behind everybody's back) thus cost one round and do not keep the cell awake.
 */
#ifndef STORE_EVENTS_H
#define STORE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

/* Move what is pending into the set. */
void events_collect(void);
/* A round begins. */
void events_round(void);
/* The channel's event, once. */
bool events_take(unsigned channel);
/* Those of the channels from 64 * word on that the mask has a bit for. */
uint64_t events_take_of(unsigned word, uint64_t mask);
/* The D0_EV_* flags of the mask, once. */
uint64_t events_flags(uint64_t mask);
/* Sleep until something is in the set (at once if something is) or the deadline. */
void events_sleep(uint64_t deadline_ns);
/* Sleep for new events only, whatever is in the set: for waits inside a request. */
void events_sleep_new(uint64_t deadline_ns);

#endif
