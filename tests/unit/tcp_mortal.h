/* SPDX-License-Identifier: ISC */
/*
 * An instance of the stack that dies between any two stores. What outlives an instance, its state
 * area and the client's region, is write-protected while it runs. A store faults; the
 * handler forks, and in the child the instance is dead: another one adopts what there is, and the
 * child goes through the rest of the scenario. The parent lets the store happen, one
 * instruction, and goes on to the next. A run of stores by one instruction (a copy) is cut at its
 * first and each sixteenth.
 */
#ifndef TESTS_TCP_MORTAL_H
#define TESTS_TCP_MORTAL_H

#include "tests/unit/tcp_sim.h"

/* Between these, host i's instance dies at each stride-th store. In a child nothing happens. */
void mortal_arm(struct sim *s, unsigned i, unsigned stride);
void mortal_disarm(void);

void mortal_begin(const char *name);
/* Ends the child; in the parent how many deaths there were. */
unsigned mortal_end(void);
/* true: in the child it is said and the child ends; false: the parent's test is to fail. */
void mortal_failed(int line, const char *what);

#define CHECK(x)                                     \
	do {                                         \
		if (!(x)) {                          \
			mortal_failed(__LINE__, #x); \
			fail();                      \
		}                                    \
	} while (0)

#endif
