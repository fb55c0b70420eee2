/* SPDX-License-Identifier: ISC */
/*
 * Futexes that are locks with an owner (FUTEX_LOCK_PI and its relatives, futex(2)).
 *
 * The word holds the owner's tid, FUTEX_WAITERS when somebody sleeps here, FUTEX_OWNER_DIED
 * after an owner that ended without unlocking. The lock is never free while somebody waits: who
 * unlocks it makes the first waiter its owner, and so does the end of the owner. Waiters
 * are served in order of arrival.
 *
 * Nobody inherits a priority: the scheduler has none to speak of (real-time policies are stored
 * only), so no thread can be kept from a lock for long by others that are more important than
 * its owner. What programs need is that the calls do what they say.
 */
#include "cells/linux/proc/futex.h"

static u32
    waiters; /* all of them: the end of a thread looks for its locks only if there are any */

static struct futex_wait *first_waiter(const struct futex_key *k)
{
	struct futex_wait *w;

	list_each(w, futex_bucket(k), link) if (w->pi && futex_same(&w->key, k)) return w;
	return NULL;
}

/* Another one than w waits for the same lock. */
static bool others_wait(const struct futex_wait *w)
{
	struct futex_wait *o;

	list_each(o, futex_bucket(&w->key),
		  link) if (o != w && o->pi && futex_same(&o->key, &w->key)) return true;
	return false;
}

/* w has the lock: its word is written already. */
static void hand_over(struct futex_wait *w)
{
	struct futex_wait *o;

	list_del(&w->link);
	list_each(o, futex_bucket(&w->key), link) if (o->pi && futex_same(&o->key, &w->key))
	    o->owner = w->thread->tid;
	w->woken = true;
	w->thread->pi_wait = NULL;
	thread_wake(w->thread);
}

/* One look at the word: taken (0), to be waited for (1; *owner), or -errno. */
static int take_or_mark(u64 addr, u32 *owner)
{
	u32 tid = current->tid, word, seen, want;

	if (get_user(word, addr))
		return -EFAULT;
	for (;;) {
		*owner = word & FUTEX_TID_MASK;
		if (*owner == tid)
			return -EDEADLK;
		if (*owner && !thread_find(*owner))
			return -ESRCH;
		want = *owner ? word | FUTEX_WAITERS : word | tid;
		seen = word;
		if (user_cmpxchg32(addr, &seen, want))
			return -EFAULT;
		if (seen == word)
			return *owner != 0;
		word = seen;
	}
}

s64 futex_lock_pi(u64 addr, u64 deadline, bool try, bool priv)
{
	struct futex_wait w = {.thread = current, .pi = true, .addr = addr};
	u32 word;
	int r;

	if (get_user(word, addr)) /* from here on the word is there: nothing sleeps */
		return -EFAULT;
	r = futex_key(current->mm, addr, priv, &w.key);
	if (r)
		return r;
	if (try && (word & FUTEX_TID_MASK))
		return (word & FUTEX_TID_MASK) == current->tid ? -EDEADLK : -EAGAIN;
	r = take_or_mark(addr, &w.owner);
	if (r <= 0)
		return r;
	if (try)
		return -EAGAIN;
	list_add_tail(futex_bucket(&w.key), &w.link);
	current->pi_wait = &w;
	waiters++;
	do {
		r = wait_on(NULL, deadline, true);
	} while (!w.woken && !r);
	waiters--;
	current->pi_wait = NULL;
	list_del(&w.link);
	/* A signal: the call begins anew; the deadline is a moment, so nothing is lost. */
	return w.woken ? 0 : r;
}

s64 futex_unlock_pi(u64 addr, bool priv)
{
	struct futex_wait *w;
	struct futex_key k;
	u32 word, seen, next;
	int r;

	if (get_user(word, addr))
		return -EFAULT;
	r = futex_key(current->mm, addr, priv, &k);
	if (r)
		return r;
	for (;;) {
		if ((word & FUTEX_TID_MASK) != current->tid)
			return -EPERM;
		w = first_waiter(&k);
		next = w ? w->thread->tid | (others_wait(w) ? FUTEX_WAITERS : 0) : 0;
		seen = word;
		if (user_cmpxchg32(addr, &seen, next))
			return -EFAULT;
		if (seen == word)
			break;
		word = seen;
	}
	if (w)
		hand_over(w);
	return 0;
}

static struct futex_wait *waits_for(u32 tid)
{
	struct proc *p;
	struct thread *t;

	list_each(p, &proc_list, all_link) list_each(t, &p->threads, proc_link)
	{
		struct futex_wait *w = t->pi_wait;

		if (w && w->owner == tid)
			return w;
	}
	return NULL;
}

void futex_pi_exit(struct thread *t)
{
	struct futex_wait *w, *again;

	while (waiters && (w = waits_for(t->tid))) {
		struct futex_key key = w->key;
		struct page *p;
		u32 word;

		w = first_waiter(&key);
		p = mm_pin(w->thread->mm, w->addr, true); /* may sleep */
		again = first_waiter(&key);
		if (again == w) {
			word = FUTEX_OWNER_DIED | w->thread->tid |
			       (others_wait(w) ? FUTEX_WAITERS : 0);
			/* Without its page it dies at its next look at the word. */
			if (p)
				memcpy((u8 *)page_ptr(p) + (w->addr & (PAGE_SIZE - 1)), &word,
				       4);
			hand_over(w);
		}
		if (p)
			page_put(p);
	}
}
