/* SPDX-License-Identifier: ISC */
/* Futexes: what waiting for a word (futex.c) and locks with an owner (futex_pi.c) share. */
#ifndef LX_PROC_FUTEX_H
#define LX_PROC_FUTEX_H

#include "cells/linux/inc/sys.h"
#include <linux/futex.h>

#define FUTEX_BUCKETS 256

struct futex_key {
	void *object; /* mm or inode */
	u64 offset;
};
struct futex_wait {
	struct list link;
	struct futex_key key;
	struct thread *thread;
	u32 bitset;
	bool woken;
	bool pi;   /* waits for the lock itself, which is handed to it */
	u32 owner; /* of a lock: the tid it waits for */
	u64 addr;  /* of a lock, in the waiter's memory */
};

struct list *futex_bucket(const struct futex_key *k);
/* private_only: the word is known to be this address space's own. 0 or -errno. */
int futex_key(struct mm *mm, u64 addr, bool private_only, struct futex_key *k);
bool futex_same(const struct futex_key *a, const struct futex_key *b);
/* op: FUTEX_CLOCK_REALTIME or not; absolute: a moment, not a span. */
int futex_timeout(u64 uts, u32 op, bool absolute, u64 *deadline);

s64 futex_lock_pi(u64 addr, u64 deadline, bool try, bool priv);
s64 futex_unlock_pi(u64 addr, bool priv);
/* The thread ends: what it holds and somebody waits for goes on to the first of them. */
void futex_pi_exit(struct thread *t);

#endif
