/* SPDX-License-Identifier: ISC */
/*
 * Locks. Interrupts are off in host mode but for the idle halt, so a lock is a ticket
 * and nothing more. The order: nucleus lock, then frames lock, then console lock.
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
	u32 next;
	u32 owner;
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
