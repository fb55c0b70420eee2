/* SPDX-License-Identifier: ISC */
/* Restartable sequences (proc/rseq.c). */
#ifndef LX_RSEQ_H
#define LX_RSEQ_H

#include "cells/linux/inc/task.h"

/* Before a signal's frame is made: what the handler interrupts is no sequence. */
void rseq_leave(struct regs *r);
/* On the way to the program of a thread that is rseq_due; may sleep, may send SIGSEGV. */
void rseq_return(struct regs *r);

#endif
