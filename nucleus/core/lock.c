/* SPDX-License-Identifier: ISC */
/* Ticket locks: see lock.h for the order. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"

static struct spinlock big;
static struct cpu *big_holder;

void spin_lock(struct spinlock *lock)
{
	u32 ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket)
		cpu_relax();
}

void spin_unlock(struct spinlock *lock)
{
	__atomic_store_n(&lock->owner, lock->owner + 1, __ATOMIC_RELEASE);
}

void nucleus_lock(void)
{
	n_assert(!nucleus_lock_held());
	spin_lock(&big);
	__atomic_store_n(&big_holder, cpu_self(), __ATOMIC_RELAXED);
}

void nucleus_unlock(void)
{
	n_assert(nucleus_lock_held());
	__atomic_store_n(&big_holder, NULL, __ATOMIC_RELAXED);
	spin_unlock(&big);
}

bool nucleus_lock_held(void)
{
	return __atomic_load_n(&big_holder, __ATOMIC_RELAXED) == cpu_self();
}
