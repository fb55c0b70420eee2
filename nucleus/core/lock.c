/* SPDX-License-Identifier: ISC */
/* Locks: see lock.h for the order. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/verify/verify.h"

/* Longer than anything done under the lock can take. Turns as well as time: on a busy machine
 * an emulated holder gets little of it, but then so does who waits. */
#define STUCK_TICKS (8ull << 30)
#define STUCK_TURNS 10000000u
#define LONG        20000u /* turns after which a waiter claims the lock */
#define PATIENCE    1000u  /* turns that others stand back for it */

static struct spinlock big;

/* Turn number N of waiting for LOCK; true = it is ours. */
static bool take_turn(struct spinlock *lock, u32 me, u32 n)
{
	u32 nobody = 0, claim = __atomic_load_n(&lock->claim, __ATOMIC_RELAXED);
	bool stand_back = claim && claim != me && n < PATIENCE;
	if (!stand_back && !__atomic_load_n(&lock->held, __ATOMIC_RELAXED) &&
	    __atomic_compare_exchange_n(&lock->held, &nobody, me, false, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED)) {
		if (claim == me)
			__atomic_store_n(&lock->claim, 0, __ATOMIC_RELAXED);
		return true;
	}
	if (n > LONG && !claim)
		__atomic_compare_exchange_n(&lock->claim, &nobody, me, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	cpu_relax();
	return false;
}

static u32 self(void)
{
	return early_boot ? 1 : cpu_self()->index + 1;
}

static void let_go(struct spinlock *lock)
{
	__atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

void spin_lock(struct spinlock *lock)
{
	struct cpu *cpu = early_boot ? NULL : cpu_self();
	/* First, so that recovery knows of it whatever happens in between. */
	if (cpu && cpu->leaves < ARRAY_SIZE(cpu->leaf))
		cpu->leaf[cpu->leaves] = lock;
	if (cpu)
		cpu->leaves++;
	for (u32 n = 0, me = self(); !take_turn(lock, me, n); n++)
		;
}

void spin_unlock(struct spinlock *lock)
{
	let_go(lock);
	if (!early_boot && cpu_self()->leaves)
		cpu_self()->leaves--;
}

void nucleus_lock(void)
{
	n_assert(!nucleus_lock_held());
	u64 since = rdtsc();
	for (u32 n = 0, asked = 0, me = self(); !take_turn(&big, me, n); n++) {
		cpu_self()->progress++; /* another one may be stuck, this one is not */
		if (n - asked > STUCK_TURNS && rdtsc() - since > STUCK_TICKS) {
			since = rdtsc();
			asked = n;
			u32 holder = __atomic_load_n(&big.held, __ATOMIC_RELAXED);
			if (holder)
				recovery_interrogate(&cpus[holder - 1]);
		}
	}
}

void nucleus_unlock(void)
{
	n_assert(nucleus_lock_held());
	cpu_self()->progress++;
	let_go(&big);
}

bool nucleus_lock_held(void)
{
	return __atomic_load_n(&big.held, __ATOMIC_RELAXED) == self();
}

void locks_abandon(void)
{
	struct cpu *cpu = cpu_self();
	for (u32 i = MIN(cpu->leaves, (u32)ARRAY_SIZE(cpu->leaf)); i-- > 0;)
		if (cpu->leaf[i]->held == self()) /* it may have been waiting for it only */
			let_go(cpu->leaf[i]);
	cpu->leaves = 0;
	if (nucleus_lock_held())
		let_go(&big);
}
