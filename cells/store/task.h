/* SPDX-License-Identifier: ISC */
/*
 * Work that takes turns with everything else: functions with a stack of their own, which
 * give way at places of their choice. One thread: nothing runs beside them, so what is done
 * between two of those places is done at once. Where that is, the volume must be fit for use
 * by others: never inside a call of h2.
 */
#ifndef STORE_TASK_H
#define STORE_TASK_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a stack: the deepest tree of an image (256 directories) takes less than half. */
#define TASK_STACK (128u << 10)

struct task;

/* A stack. NULL: no memory. */
struct task *task_new(void);
/* What is under way is never gone on with: whatever it holds stays held. */
void task_free(struct task *t);
/* What task_step() is going to run. Only when nothing was begun, or it is over. */
void task_begin(struct task *t, void (*fn)(void *arg), void *arg);
/* Run until it is over (false), or gives way (true): at the first task_breathe() after
 * clock_ns() has reached `until`, or at a task_pause(). Not from within a task. */
bool task_step(struct task *t, uint64_t until);

/* Within a task: give way. */
void task_pause(void);
/* Within a task: give way if its time is over; elsewhere nothing. An oci yield callback. */
void task_breathe(void *unused);

#endif
