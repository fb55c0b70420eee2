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

#endif
