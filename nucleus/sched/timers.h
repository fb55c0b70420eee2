/* SPDX-License-Identifier: ISC */
/* A heap of vCPUs by the next time something is due for them. Nucleus lock. */
#ifndef NUCLEUS_SCHED_TIMERS_H
#define NUCLEUS_SCHED_TIMERS_H

#include "nucleus/vm_hypervisor/vcpu.h"

void timers_update(struct vcpu *v); /* its deadline or timer changed */
void timers_remove(struct vcpu *v);
struct vcpu *timers_due(u64 now); /* one that is due, still in the heap; or NULL */
u64 timers_next(void);            /* D0_NEVER: none */

#endif
