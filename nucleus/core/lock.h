/* SPDX-License-Identifier: ISC */
/*
 * Locks. Interrupts are off in host mode but for the idle halt, so a lock is a word to be
 * taken and nothing more. The order: nucleus lock, then frames lock, then console lock.
 *
 * Whoever runs takes a free lock. Tickets would be fairer, but where a hypervisor or an
 * emulator runs two CPUs on one, each hand-over to a CPU that isn't running costs a slice of
 * the host: D0 with 2 CPUs came to a standstill at 100 exits a second. A CPU that has waited
 * long claims the lock instead: the others stand back from it for a while each time, not for
 * ever.
 *
 * The nucleus lock guards cells, channels, regions, devices and run queues. It is held
 * from the end of a VM exit that needs them until just before the next entry. Guests and
 * verification run without it. A big lock is enough here because nothing under it loops
 * over data that a cell can make long.
 */
#ifndef NUCLEUS_CORE_LOCK_H
#define NUCLEUS_CORE_LOCK_H

#include "nucleus/core/types.h"

struct spinlock {
	u32 held;  /* CPU index + 1 of who has it; 0 = nobody */
	u32 claim; /* of who has waited long */
};

void spin_lock(struct spinlock *lock);
void spin_unlock(struct spinlock *lock);

void nucleus_lock(void);
void nucleus_unlock(void);
bool nucleus_lock_held(void); /* by this CPU; for assertions */

/* Recovery: let go of every lock this CPU holds. */
void locks_abandon(void);
extern bool early_boot; /* until the boot CPU has its per-CPU data */

#endif
