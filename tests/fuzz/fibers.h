/* SPDX-License-Identifier: ISC */
/*
 * Threads that take turns, for fuzzing code that sleeps: one runs until it yields, the others
 * follow in the order they were made. Nothing of the C library is needed to include this.
 */
#ifndef FUZZ_FIBERS_H
#define FUZZ_FIBERS_H

/* 0, or -1 when there are too many. */
int fiber_start(void (*fn)(void *), void *arg);
/* In a fiber: the next one's turn. */
void fiber_yield(void);
/* Not in a fiber: each one a turn. How many there are still. */
int fibers_turn(void);

#endif
