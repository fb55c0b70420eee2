/* SPDX-License-Identifier: ISC */
/* A lock between vCPUs of one cell: short critical sections only. Not recursive. */
#ifndef LIBCELL_SPINLOCK_H
#define LIBCELL_SPINLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct spinlock {
	uint32_t held;
};

#define SPINLOCK_INIT \
	{             \
		0     \
	}

static inline bool spin_try(struct spinlock *l)
{
	return !__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE);
}

static inline void spin_lock(struct spinlock *l)
{
	while (!spin_try(l))
		while (__atomic_load_n(&l->held, __ATOMIC_RELAXED))
			__builtin_ia32_pause();
}

static inline void spin_unlock(struct spinlock *l)
{
	__atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

#endif
