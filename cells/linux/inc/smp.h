/* SPDX-License-Identifier: ISC */
/* Several vCPUs: see proc/smp.c for the model. */
#ifndef LX_SMP_H
#define LX_SMP_H

#include "cells/linux/inc/task.h"

extern struct cpu *cpus[D0_VCPUS_MAX];
extern u32 cpus_online;
extern bool smp_active; /* more than one */

enum {
	REQ_FLUSH = 1,   /* drop all translations of user memory */
	REQ_RESCHED = 2, /* look at signals and the run queue */
};

void monitor_enter_slow(void);
void monitor_leave_slow(void);
/* On the ways from and to a program, and around a rest in the nucleus. */
static inline void monitor_enter(void)
{
	if (smp_active)
		monitor_enter_slow();
}
static inline void monitor_leave(void)
{
	if (smp_active)
		monitor_leave_slow();
}

void smp_init(void);
bool smp_upcall(void);
/* That vCPU shall come into the monitor and look at its thread and the queue. */
void smp_resched(struct cpu *o);
/* Call one resting vCPU of that set; false if there is none. */
bool smp_rouse(u64 affinity);
bool smp_any_resting(void);
bool smp_others_rest(void);
/* Every vCPU in a program of mm (NULL: of any) has passed a serialising instruction. */
void smp_serialize(struct mm *mm);

/* sched.c: idle thread and clock state of a vCPU. 0 or -ENOMEM. */
int sched_cpu_init(struct cpu *c);

#endif
