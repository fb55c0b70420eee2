/* SPDX-License-Identifier: ISC */
/* The scheduler: see sched.c. All calls but sched_loop need the nucleus lock. */
#ifndef NUCLEUS_SCHED_H
#define NUCLEUS_SCHED_H

#include "nucleus/vm_hypervisor/vcpu.h"

void sched_init(void);
void sched_loop(void) __attribute__((noreturn)); /* each CPU, lock not held */
void sched_ready(struct vcpu *v); /* make it runnable: wakes or pre-empts a CPU if need be */
void sched_block(struct vcpu *v, u64 deadline); /* the running vCPU waits */
void sched_remove(struct vcpu *v);              /* from whatever queue it is in */
void sched_timer_changed(struct vcpu *v);
void sched_kick(struct cpu *cpu); /* have it leave guest mode */
extern u64 sched_switches;
/* After a fault in the middle of it, or when damaged code may have run: queues and timers are
 * made anew from what the vCPUs say; those that no CPU schedules are let go; every channel is
 * notified. */
void sched_rebuild(void);

/* ---- timers.c: vCPUs by the next time something is due for them ---- */
void timers_update(struct vcpu *v); /* its deadline or timer changed */
void timers_remove(struct vcpu *v);
void timers_forget(void);         /* all of them; their slots are the caller's business */
struct vcpu *timers_due(u64 now); /* one that is due, still in the heap; or NULL */
u64 timers_next(void);            /* D0_NEVER: none */

#endif
