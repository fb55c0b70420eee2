/* SPDX-License-Identifier: ISC */
/*
 * Scheduling parameters. Policies and priorities are checked and kept as Linux would; niceness
 * alone changes what the scheduler does (the length of a slice).
 */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

#define POLICY_FIFO   1u
#define POLICY_RR     2u
#define POLICY_IDLE   5u
#define RESET_ON_FORK 0x40000000u
#define RR_SLICE_NS   100000000ull

static struct thread *thread_or_self(int tid)
{
	return tid ? thread_find((u32)tid) : current;
}

/* May the caller change another thread's parameters? */
static bool may_change(const struct thread *t)
{
	u32 e = current->cred->euid;

	return t == current || e == t->cred->euid || e == t->cred->uid || capable(CAP_SYS_NICE);
}

SYSCALL(sched_yield, "", void)
{
	sched_yield_cpu();
	return 0;
}

SYSCALL(sched_getaffinity, "dup", int tid, u32 n, u64 u)
{
	struct thread *t = thread_or_self(tid);

	if (!t)
		return -ESRCH;
	if (n < 8 || (n & 7))
		return -EINVAL;
	return put_user(t->affinity, u) ? -EFAULT : 8;
}

SYSCALL(sched_setaffinity, "dup", int tid, u32 n, u64 u)
{
	struct thread *t;
	u64 mask = 0;

	if (copy_in(&mask, u, MIN(n, 8u)))
		return -EFAULT;
	t = thread_or_self(tid); /* only now: copying may sleep, and the thread end */
	if (!t)
		return -ESRCH;
	if (!may_change(t))
		return -EPERM;
	mask &= (1ull << cpus_online) - 1;
	if (!mask)
		return -EINVAL;
	t->affinity = mask;
	thread_moved(t);
	return 0;
}

SYSCALL(sched_getscheduler, "d", int tid)
{
	struct thread *t = thread_or_self(tid);

	if (tid < 0)
		return -EINVAL;
	return t ? (s64)(t->policy | (t->reset_on_fork ? RESET_ON_FORK : 0)) : -ESRCH;
}

static bool is_rt(u32 policy)
{
	return policy == POLICY_FIFO || policy == POLICY_RR;
}

static s64 set_policy(struct thread *t, u32 policy, u32 prio, bool reset)
{
	struct proc *p = current->proc;

	if (policy > POLICY_IDLE || policy == 4)
		return -EINVAL;
	if (is_rt(policy) ? prio < 1 || prio > 99 : prio != 0)
		return -EINVAL;
	if (!capable(CAP_SYS_NICE)) {
		bool raises = policy != t->policy || prio > t->rt_prio;

		if (!may_change(t))
			return -EPERM;
		if (is_rt(policy) && raises && prio > p->rlim[RLIMIT_RTPRIO].cur)
			return -EPERM;
		if (t->reset_on_fork && !reset)
			return -EPERM;
	}
	t->policy = policy;
	t->rt_prio = prio;
	t->reset_on_fork = reset;
	return 0;
}

SYSCALL(sched_setscheduler, "ddp", int tid, int policy, u64 u)
{
	struct thread *t;
	u32 prio;

	if (tid < 0 || policy < 0 || !u)
		return -EINVAL;
	if (get_user(prio, u))
		return -EFAULT;
	t = thread_or_self(tid);
	return t ? set_policy(t, (u32)policy & ~RESET_ON_FORK, prio,
			      ((u32)policy & RESET_ON_FORK) != 0)
		 : -ESRCH;
}

SYSCALL(sched_getparam, "dp", int tid, u64 u)
{
	struct thread *t = thread_or_self(tid);

	if (tid < 0 || !u)
		return -EINVAL;
	return t ? put_user(t->rt_prio, u) : -ESRCH;
}

SYSCALL(sched_setparam, "dp", int tid, u64 u)
{
	struct thread *t;
	u32 prio;

	if (tid < 0 || !u)
		return -EINVAL;
	if (get_user(prio, u))
		return -EFAULT;
	t = thread_or_self(tid);
	if (!t)
		return -ESRCH;
	return may_change(t) ? set_policy(t, t->policy, prio, t->reset_on_fork) : -EPERM;
}

/* struct sched_attr of sched_setattr(2) */
struct sched_attr_k {
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};
_Static_assert(sizeof(struct sched_attr_k) == 48, "sched_attr, first version");

static int attr_in(struct sched_attr_k *a, u64 u)
{
	u32 size;

	memset(a, 0, sizeof(*a));
	if (get_user(size, u))
		return -EFAULT;
	if (!size)
		size = sizeof(*a);
	if (size < sizeof(*a) || size > PAGE_SIZE) {
		put_user((u32)sizeof(*a), u);
		return -E2BIG;
	}
	if (copy_in(a, u, sizeof(*a)))
		return -EFAULT;
	for (u32 i = sizeof(*a); i < size; i++) {
		u8 b;

		if (get_user(b, u + i))
			return -EFAULT;
		if (b && i >= 56) /* utilisation clamps are hints */
			return -E2BIG;
	}
	return 0;
}

SYSCALL(sched_setattr, "dpx", int tid, u64 u, u32 flags)
{
	struct thread *t;
	struct sched_attr_k a;
	s64 r;

	if (tid < 0 || !u || flags)
		return -EINVAL;
	r = attr_in(&a, u);
	if (r)
		return r;
	t = thread_or_self(tid);
	if (!t)
		return -ESRCH;
	if ((s32)a.policy < 0 || (a.flags & ~0x7full))
		return -EINVAL;
	r = set_policy(t, a.flags & 8 ? t->policy : a.policy,
		       a.flags & 16 ? t->rt_prio : a.priority, (a.flags & 1) != 0);
	if (!r && !is_rt(t->policy) && !(a.flags & 16)) {
		if (a.nice < t->nice && !capable(CAP_SYS_NICE))
			return -EPERM;
		t->nice = MAX(-20, MIN(19, a.nice));
	}
	return r;
}

SYSCALL(sched_getattr, "dpux", int tid, u64 u, u32 size, u32 flags)
{
	struct thread *t = thread_or_self(tid);
	struct sched_attr_k a = {.size = sizeof(a)};

	if (tid < 0 || !u || flags || size < sizeof(a) || size > PAGE_SIZE)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	a.policy = t->policy;
	a.flags = t->reset_on_fork;
	a.priority = t->rt_prio;
	a.nice = is_rt(t->policy) ? 0 : t->nice;
	return put_user(a, u);
}

SYSCALL(sched_get_priority_max, "d", int policy)
{
	return policy == 1 || policy == 2                  ? 99
	       : policy >= 0 && policy <= 6 && policy != 4 ? 0
							   : -EINVAL;
}
SYSCALL(sched_get_priority_min, "d", int policy)
{
	return policy == 1 || policy == 2                  ? 1
	       : policy >= 0 && policy <= 6 && policy != 4 ? 0
							   : -EINVAL;
}

SYSCALL(sched_rr_get_interval, "dp", int tid, u64 u)
{
	struct thread *t = thread_or_self(tid);
	struct __kernel_timespec ts = {0, 10000000};

	if (tid < 0)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	if (t->policy == POLICY_RR)
		ts = ns_to_ts(RR_SLICE_NS);
	else if (t->policy == POLICY_FIFO)
		ts = ns_to_ts(0);
	return put_user(ts, u);
}

/* ---- Niceness and I/O priority, of processes, groups and users ---- */
/* Of PRIO_PROCESS one thread is meant, of the others every thread. */
static bool prio_match(const struct thread *t, int which, u32 who)
{
	return which == 0   ? t->tid == who
	       : which == 1 ? t->proc->pgid == who
			    : t->cred->uid == who;
}

static u32 who_or_self(int which, int who)
{
	if (who)
		return (u32)who;
	return which == 0   ? current->tid
	       : which == 1 ? current->proc->pgid
			    : current->cred->uid;
}

static s64 set_nice(struct thread *t, int value)
{
	if (!may_change(t))
		return -EPERM;
	if (value < t->nice && !capable(CAP_SYS_NICE) &&
	    (u64)(20 - value) > t->proc->rlim[RLIMIT_NICE].cur)
		return -EACCES;
	t->nice = value;
	return 0;
}

static s64 do_priority(int which, int who, bool set, int value)
{
	u32 id = which < 0 || which > 2 ? 0 : who_or_self(which, who);
	s64 result = -ESRCH;
	struct proc *p;
	struct thread *t;

	if (which < 0 || which > 2)
		return -EINVAL;
	list_each(p, &proc_list, all_link)
	{
		list_each(t, &p->threads, proc_link)
		{
			if (!prio_match(t, which, id))
				continue;
			if (!set)
				result = MAX(result, (s64)(20 - t->nice));
			else if (result == -ESRCH || result == 0)
				result = set_nice(t, value);
		}
	}
	return result;
}
SYSCALL(getpriority, "dd", int which, int who)
{
	return do_priority(which, who, false, 0);
}
SYSCALL(setpriority, "ddd", int which, int who, int value)
{
	return do_priority(which, who, true, MAX(-20, MIN(19, value)));
}

/* Kept per thread; the store serves all in order of arrival. */
static s64 ioprio_check(int prio)
{
	int class = prio >> 13, data = prio & 0x1fff;

	switch (class) {
	case 1:
		if (!capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE))
			return -EPERM;
		/* fall through */
	case 2:
		return data >= 8 ? -EINVAL : 0;
	case 3:
		return 0;
	}
	return class || data ? -EINVAL : 0;
}

static s64 do_ioprio(int which, int who, bool set, int prio)
{
	u32 id = which < 1 || which > 3 ? 0 : who_or_self(which - 1, who);
	s64 result = -ESRCH;
	struct proc *p;
	struct thread *t;

	if (which < 1 || which > 3)
		return -EINVAL;
	list_each(p, &proc_list, all_link)
	{
		list_each(t, &p->threads, proc_link)
		{
			if (!prio_match(t, which - 1, id))
				continue;
			if (!set) {
				s64 v = t->ioprio;

				result = result < 0 ? v : MIN(result, v);
			} else if (!may_change(t)) {
				return -EPERM;
			} else {
				t->ioprio = (u16)prio;
				result = 0;
			}
		}
	}
	return result;
}
SYSCALL(ioprio_get, "dd", int which, int who)
{
	return do_ioprio(which, who, false, 0);
}
SYSCALL(ioprio_set, "ddx", int which, int who, int prio)
{
	s64 r = ioprio_check(prio);

	return r ? r : do_ioprio(which, who, true, prio);
}
