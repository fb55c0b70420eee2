/* SPDX-License-Identifier: ISC */
/*
 * Futexes. A waiter is keyed by what lies behind the address: the address space for private
 * memory, the inode and offset for shared memory. Checking the word and queueing happen in
 * one stretch of the monitor, so no wakeup is lost. Locks with an owner are in futex_pi.c.
 */
#include "cells/linux/proc/futex.h"

static struct list buckets[FUTEX_BUCKETS];

struct list *futex_bucket(const struct futex_key *k)
{
	u64 h = ((u64)k->object ^ k->offset * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	return &buckets[h >> 56];
}

int futex_key(struct mm *mm, u64 addr, bool private_only, struct futex_key *k)
{
	struct vma *v;

	if ((addr & 3) || addr >= TASK_SIZE)
		return addr & 3 ? -EINVAL : -EFAULT;
	*k = (struct futex_key){mm, addr};
	if (private_only)
		return 0;
	v = vma_at(mm, addr);
	if (!v)
		return -EFAULT;
	/* The low bit tells it from a private one at the same address. */
	k->offset = addr | 1;
	if ((v->flags & VMA_SHARED) && v->inode)
		*k = (struct futex_key){v->inode, v->pgoff * PAGE_SIZE + addr - v->start};
	return 0;
}

bool futex_same(const struct futex_key *a, const struct futex_key *b)
{
	return a->object == b->object && a->offset == b->offset;
}

static int wake_key(const struct futex_key *k, u32 n, u32 bitset)
{
	struct futex_wait *w, *tmp;
	int woken = 0;

	list_each_safe(w, tmp, futex_bucket(k), link)
	{
		if (!futex_same(&w->key, k) || !(w->bitset & bitset) || w->pi)
			continue;
		list_del(&w->link);
		w->woken = true;
		thread_wake(w->thread);
		if ((u32)++woken >= n)
			break; /* so none wanted is one woken, as on Linux */
	}
	return woken;
}

int futex_wake_addr(struct mm *mm, u64 addr, u32 n)
{
	struct futex_key k;
	int r = 0;

	if (!futex_key(mm, addr, true, &k))
		r = wake_key(&k, n, ~0u);
	if (!futex_key(mm, addr, false, &k))
		r += wake_key(&k, n, ~0u);
	return r;
}

static s64 futex_wait_restart(struct thread *t);

static s64 do_wait(u64 addr, u32 val, u64 deadline, u32 bitset, bool priv)
{
	struct futex_wait w = {.thread = current, .bitset = bitset};
	u32 now;
	int r;

	if (!bitset)
		return -EINVAL;
	/* Fault the word in first: after this nothing sleeps before we are queued. */
	if (get_user(now, addr))
		return -EFAULT;
	r = futex_key(current->mm, addr, priv, &w.key);
	if (r)
		return r;
	if (get_user(now, addr))
		return -EFAULT;
	if (now != val)
		return -EAGAIN;
	list_add_tail(futex_bucket(&w.key), &w.link);
	do {
		r = wait_on(NULL, deadline, true);
	} while (!w.woken && r == 0);
	list_del(&w.link);
	if (w.woken)
		return 0;
	if (r == -ETIMEDOUT || deadline == NEVER)
		return r;
	current->restart = futex_wait_restart;
	current->restart_arg[0] = addr;
	current->restart_arg[1] = (u64)val | (u64)priv << 32;
	current->restart_arg[2] = deadline;
	current->restart_arg[3] = bitset;
	return -ERESTARTBLOCK;
}

static s64 futex_wait_restart(struct thread *t)
{
	return do_wait(t->restart_arg[0], (u32)t->restart_arg[1], t->restart_arg[2],
		       (u32)t->restart_arg[3], t->restart_arg[1] >> 32 & 1);
}

static s64 do_requeue(u64 addr, u64 addr2, u32 nwake, u32 nmove, bool cmp, u32 val, bool priv)
{
	struct futex_key k, k2;
	struct futex_wait *w, *tmp;
	u32 now;
	int r = futex_key(current->mm, addr, priv, &k), n = 0;

	if (!r)
		r = futex_key(current->mm, addr2, priv, &k2);
	if (r)
		return r;
	if ((int)nwake < 0 || (int)nmove < 0)
		return -EINVAL;
	if (cmp) {
		if (get_user(now, addr))
			return -EFAULT;
		if (now != val)
			return -EAGAIN;
	}
	n = nwake ? wake_key(&k, nwake, ~0u) : 0;
	if (futex_same(&k, &k2))
		return n;
	list_each_safe(w, tmp, futex_bucket(&k), link)
	{
		if (!nmove)
			break;
		if (!futex_same(&w->key, &k) || w->pi)
			continue;
		list_del(&w->link);
		w->key = k2;
		list_add_tail(futex_bucket(&k2), &w->link);
		nmove--;
		n++;
	}
	return n;
}

static int wake_op(u64 addr2, u32 op, bool *also)
{
	u32 old, new_value, arg = op >> 12 & 0xfff, cmp = op & 0xfff, kind = op >> 28 & 7;
	s32 a = (s32)(arg << 20) >> 20, c = (s32)(cmp << 20) >> 20;

	if (op & 0x80000000u)
		a = 1 << (a & 31);
	if (get_user(old, addr2))
		return -EFAULT;
	for (;;) {
		u32 seen = old;

		new_value = kind == 0   ? (u32)a
			    : kind == 1 ? old + (u32)a
			    : kind == 2 ? old | (u32)a
			    : kind == 3 ? old & ~(u32)a
					: old ^ (u32)a;
		if (kind > 4)
			return -ENOSYS;
		if (user_cmpxchg32(addr2, &seen, new_value))
			return -EFAULT;
		if (seen == old)
			break;
		old = seen;
	}
	switch (op >> 24 & 0xf) {
	case 0:
		*also = (s32)old == c;
		return 0;
	case 1:
		*also = (s32)old != c;
		return 0;
	case 2:
		*also = (s32)old < c;
		return 0;
	case 3:
		*also = (s32)old <= c;
		return 0;
	case 4:
		*also = (s32)old > c;
		return 0;
	case 5:
		*also = (s32)old >= c;
		return 0;
	}
	return -ENOSYS;
}

static s64 do_wake_op(u64 addr, u64 addr2, u32 n, u32 n2, u32 op, bool priv)
{
	struct futex_key k, k2;
	bool also = false;
	int r = futex_key(current->mm, addr, priv, &k);

	if (!r)
		r = futex_key(current->mm, addr2, priv, &k2);
	if (!r)
		r = wake_op(addr2, op, &also);
	if (r)
		return r;
	r = wake_key(&k, n, ~0u);
	if (also)
		r += wake_key(&k2, n2, ~0u);
	return r;
}

int futex_timeout(u64 uts, u32 op, bool absolute, u64 *deadline)
{
	return deadline_in(uts,
			   !absolute                   ? 0
			   : op & FUTEX_CLOCK_REALTIME ? wall_now()
						       : clock_now(),
			   deadline);
}

SYSCALL(futex, "pxxppx", u64 addr, u32 op, u32 val, u64 uts, u64 addr2, u32 val3)
{
	bool priv = (op & FUTEX_PRIVATE_FLAG) != 0;
	u64 deadline;
	struct futex_key k;
	int r;

	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		r = futex_timeout(uts, op, (op & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET,
				  &deadline);
		if (r)
			return r;
		return do_wait(addr, val, deadline,
			       (op & FUTEX_CMD_MASK) == FUTEX_WAIT ? ~0u : val3, priv);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		if ((op & FUTEX_CMD_MASK) == FUTEX_WAKE)
			val3 = ~0u;
		r = futex_key(current->mm, addr, priv, &k);
		return r ? r : !val3 ? -EINVAL : wake_key(&k, val, val3);
	case FUTEX_REQUEUE:
		return do_requeue(addr, addr2, val, (u32)uts, false, 0, priv);
	case FUTEX_CMP_REQUEUE:
		return do_requeue(addr, addr2, val, (u32)uts, true, val3, priv);
	case FUTEX_WAKE_OP:
		return do_wake_op(addr, addr2, val, (u32)uts, val3, priv);
	case FUTEX_LOCK_PI: /* its time is one of the wall clock, LOCK_PI2's as the flag says */
		op |= FUTEX_CLOCK_REALTIME;
		/* fallthrough */
	case FUTEX_LOCK_PI2:
		r = futex_timeout(uts, op, true, &deadline);
		return r ? r : futex_lock_pi(addr, deadline, false, priv);
	case FUTEX_TRYLOCK_PI:
		return futex_lock_pi(addr, NEVER, true, priv);
	case FUTEX_UNLOCK_PI:
		return futex_unlock_pi(addr, priv);
	}
	return -ENOSYS; /* requeueing to a lock with an owner */
}

/* ---- Waiting for one of several words ---- */
struct waitv_k {
	u64 val, addr;
	u32 flags, reserved;
};
_Static_assert(sizeof(struct waitv_k) == 24, "struct futex_waitv");
#define WAITV_MAX 128u

/* Queue for all of them. The index of one that has been woken already, or -1, or -errno - 1. */
static s64 waitv_queue(struct futex_wait *w, const struct waitv_k *v, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		u32 now;
		int r;

		w[i].thread = current;
		w[i].bitset = ~0u;
		if (get_user(now, v[i].addr)) /* the word is there, or comes: may sleep */
			return -EFAULT;
		r = futex_key(current->mm, v[i].addr, v[i].flags & FUTEX_PRIVATE_FLAG,
			      &w[i].key);
		if (r || get_user(now, v[i].addr))
			return r ? r : -EFAULT;
		if (now != (u32)v[i].val)
			return -EAGAIN;
		list_add_tail(futex_bucket(&w[i].key), &w[i].link);
	}
	return 0;
}

static s64 waitv_woken(const struct futex_wait *w, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (w[i].woken)
			return i;
	return -1;
}

static s64 waitv(struct futex_wait *w, const struct waitv_k *v, u32 n, u64 deadline)
{
	s64 r = waitv_queue(w, v, n), hit;

	for (;;) {
		hit = waitv_woken(w, n);
		if (hit >= 0 || r)
			break;
		r = wait_on(NULL, deadline, true);
	}
	for (u32 i = 0; i < n; i++)
		list_del(&w[i].link);
	return hit >= 0 ? hit : r == -ERESTARTSYS && deadline != NEVER ? -EINTR : r;
}

SYSCALL(futex_waitv, "puxpd", u64 uvec, u32 n, u32 flags, u64 uts, int clock)
{
	struct waitv_k *v;
	struct futex_wait *w;
	u64 deadline;
	s64 r;

	if (flags || !n || n > WAITV_MAX || !uvec)
		return -EINVAL;
	if (uts && clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
		return -EINVAL;
	r = futex_timeout(uts, clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0, true,
			  &deadline);
	if (r)
		return r;
	v = kalloc(n * sizeof(*v));
	w = kalloc(n * sizeof(*w));
	r = !v || !w ? -ENOMEM : copy_in(v, uvec, n * sizeof(*v));
	for (u32 i = 0; i < n && !r; i++)
		if ((v[i].flags & ~(FUTEX_PRIVATE_FLAG | 2u)) || !(v[i].flags & 2) ||
		    v[i].reserved || v[i].val >> 32)
			r = -EINVAL;
	if (!r)
		r = waitv(w, v, n, deadline);
	kfree(v);
	kfree(w);
	return r;
}

/* ---- Robust lists ---- */
SYSCALL(set_robust_list, "pu", u64 head, u64 len)
{
	if (len != 24)
		return -EINVAL;
	current->robust_list = head;
	current->robust_len = len;
	return 0;
}
SYSCALL(get_robust_list, "dpp", int tid, u64 uhead, u64 ulen)
{
	struct thread *t = tid ? thread_find((u32)tid) : current;

	if (!t)
		return -ESRCH;
	if (t->proc != current->proc && !capable(19) && t->cred->uid != current->cred->euid)
		return -EPERM;
	return put_user(t->robust_list, uhead) || put_user((u64){24}, ulen) ? -EFAULT : 0;
}

/* A lock with an owner is handed on by futex_pi_exit, which knows who waits. */
static void owner_died(struct thread *t, u64 addr, bool pi)
{
	u32 word, seen;

	if ((addr & 3) || get_user(word, addr))
		return;
	while ((word & FUTEX_TID_MASK) == t->tid) {
		seen = word;
		if (user_cmpxchg32(addr, &seen, (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED))
			return;
		if (seen == word) {
			if ((word & FUTEX_WAITERS) && !pi)
				futex_wake_addr(t->mm, addr, 1);
			return;
		}
		word = seen;
	}
}

void futex_exit(struct thread *t)
{
	u64 head = t->robust_list, entry, next, pending;
	s64 offset;

	t->robust_list = 0;
	futex_pi_exit(t);
	if (!head || get_user(entry, head) || get_user(offset, head + 8) ||
	    get_user(pending, head + 16))
		return;
	for (int n = 0; n < 2048 && (entry & ~1ull) != head; n++) {
		if (get_user(next, entry & ~1ull))
			break;
		if ((entry & ~1ull) != (pending & ~1ull))
			owner_died(t, (entry & ~1ull) + (u64)offset, entry & 1);
		entry = next;
	}
	if (pending & ~1ull)
		owner_died(t, (pending & ~1ull) + (u64)offset, pending & 1);
}
