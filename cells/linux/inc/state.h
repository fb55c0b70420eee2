/* SPDX-License-Identifier: ISC */
/* What the threads of this container wait for (proc/state.c). */
#ifndef LX_STATE_H
#define LX_STATE_H

#include "cells/linux/inc/gen.h"

void state_text(struct text *out);
/* The thread was told to end: it is said in the log if it has not after a while. */
void state_killed(struct thread *t);
/* seconds > 0: all of it to the log that often. */
void state_init(u32 seconds);

#endif
