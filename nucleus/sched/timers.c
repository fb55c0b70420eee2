/* SPDX-License-Identifier: ISC */
/* Timers: a binary heap; a vCPU knows its place. */
#include "nucleus/core/print.h"
#include "nucleus/sched/sched.h"

#define TIMERS_MAX 4096

static struct vcpu *heap[TIMERS_MAX];
static u32 count;

static u64 due(const struct vcpu *v)
{
	u64 wait = v->state == VCPU_BLOCKED ? v->deadline : D0_NEVER;
	return MIN(wait, v->timer);
}

static void put(u32 at, struct vcpu *v)
{
	heap[at] = v;
	v->timer_slot = at + 1;
}

static void settle(u32 at)
{
	struct vcpu *v = heap[at];
	for (u32 up; at > 0; at = up) {
		up = (at - 1) / 2;
		if (due(heap[up]) <= due(v))
			break;
		put(at, heap[up]);
	}
	for (;;) {
		u32 child = 2 * at + 1;
		if (child >= count)
			break;
		if (child + 1 < count && due(heap[child + 1]) < due(heap[child]))
			child++;
		if (due(heap[child]) >= due(v))
			break;
		put(at, heap[child]);
		at = child;
	}
	put(at, v);
}

void timers_remove(struct vcpu *v)
{
	if (!v->timer_slot)
		return;
	u32 at = v->timer_slot - 1;
	v->timer_slot = 0;
	struct vcpu *last = heap[--count];
	if (last != v) {
		put(at, last);
		settle(at);
	}
}

void timers_update(struct vcpu *v)
{
	if (due(v) == D0_NEVER) {
		timers_remove(v);
		return;
	}
	if (!v->timer_slot) {
		n_assert(count < TIMERS_MAX);
		put(count++, v);
	}
	settle(v->timer_slot - 1);
}

void timers_forget(void)
{
	count = 0;
}

struct vcpu *timers_due(u64 now)
{
	return count && due(heap[0]) <= now ? heap[0] : NULL;
}

u64 timers_next(void)
{
	return count ? due(heap[0]) : D0_NEVER;
}
