/* SPDX-License-Identifier: ISC */
/* Ticket locks: see lock.h for the order. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/verify/recovery.h"

/* Longer than anything done under the lock can take, also in an emulator. */
#define STUCK_TICKS (8ull << 30)

static struct spinlock big;
static struct cpu *big_holder;

static void take(struct spinlock *lock)
{
	u32 ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket)
		cpu_relax();
}

static void let_go(struct spinlock *lock)
{
	__atomic_store_n(&lock->owner, lock->owner + 1, __ATOMIC_RELEASE);
}

void spin_lock(struct spinlock *lock)
{
	struct cpu *cpu = early_boot ? NULL : cpu_self();
	take(lock);
	if (cpu && cpu->leaves < ARRAY_SIZE(cpu->leaf))
		cpu->leaf[cpu->leaves] = lock;
	if (cpu)
		cpu->leaves++;
}

void spin_unlock(struct spinlock *lock)
{
	if (!early_boot && cpu_self()->leaves)
		cpu_self()->leaves--;
	let_go(lock);
}

void nucleus_lock(void)
{
	n_assert(!nucleus_lock_held());
	u32 ticket = __atomic_fetch_add(&big.next, 1, __ATOMIC_RELAXED);
	u64 since = rdtsc();
	while (__atomic_load_n(&big.owner, __ATOMIC_ACQUIRE) != ticket) {
		cpu_relax();
		if (rdtsc() - since > STUCK_TICKS) {
			since = rdtsc();
			recovery_interrogate(__atomic_load_n(&big_holder, __ATOMIC_RELAXED));
		}
	}
	__atomic_store_n(&big_holder, cpu_self(), __ATOMIC_RELAXED);
}

void nucleus_unlock(void)
{
	n_assert(nucleus_lock_held());
	__atomic_store_n(&big_holder, NULL, __ATOMIC_RELAXED);
	let_go(&big);
}

bool nucleus_lock_held(void)
{
	return __atomic_load_n(&big_holder, __ATOMIC_RELAXED) == cpu_self();
}

void locks_abandon(void)
{
	struct cpu *cpu = cpu_self();
	for (u32 i = MIN(cpu->leaves, (u32)ARRAY_SIZE(cpu->leaf)); i-- > 0;)
		let_go(cpu->leaf[i]);
	cpu->leaves = 0;
	if (nucleus_lock_held())
		nucleus_unlock();
}
