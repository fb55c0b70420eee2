/* SPDX-License-Identifier: ISC */
/* prctl: what a thread can set about itself, capabilities and securebits among it (prctl(2)).
 */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>

s64 seccomp_set(u32 op, u32 flags, u64 uprog);
s64 seccomp_mode(void);

/* The bits of mask become those of value; a bit with its lock set stays, and so does the lock.
 */
static s64 set_securebits(u32 mask, u32 value)
{
	u32 old = current->cred->securebits, n = (old & ~mask) | value;
	struct cred *c;

	if ((((old & SECURE_ALL_LOCKS) >> 1) & (old ^ n)) || (old & SECURE_ALL_LOCKS & ~n))
		return -EPERM;
	c = cred_own();
	if (!c)
		return -ENOMEM;
	c->securebits = n;
	return 0;
}

static s64 prctl_mm(u64 op)
{
	return capable(CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
}

static s64 prctl_ambient(u64 op, u64 cap)
{
	struct cred *c = cred_own();

	if (!c)
		return -ENOMEM;
	if (op == PR_CAP_AMBIENT_CLEAR_ALL) {
		if (cap)
			return -EINVAL;
		c->cap_amb = 0;
		return 0;
	}
	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	if (op == PR_CAP_AMBIENT_IS_SET)
		return c->cap_amb >> cap & 1;
	if (op == PR_CAP_AMBIENT_LOWER) {
		c->cap_amb &= ~(1ull << cap);
		return 0;
	}
	if (op != PR_CAP_AMBIENT_RAISE)
		return -EINVAL;
	if (!(c->cap_perm >> cap & 1) || !(c->cap_inh >> cap & 1) ||
	    (c->securebits & 64)) /* SECBIT_NO_CAP_AMBIENT_RAISE */
		return -EPERM;
	c->cap_amb |= 1ull << cap;
	return 0;
}

static s64 prctl_bounding(bool drop, u64 cap)
{
	struct cred *c = current->cred;

	if (cap > CAP_LAST_CAP)
		return -EINVAL;
	if (!drop)
		return (s64)(c->cap_bset >> cap & 1);
	if (!capable(CAP_SETPCAP))
		return -EPERM;
	c = cred_own();
	if (!c)
		return -ENOMEM;
	c->cap_bset &= ~(1ull << cap);
	return 0;
}

/* What nothing depends on here: accepted, or answered always the same. */
static s64 prctl_fixed(int op, u64 a, u64 b, u64 c, u64 d)
{
	switch (op) {
	case PR_GET_TSC:
		return put_user((int){1}, a);
	case PR_SET_TSC:
		return a == 1 ? 0 : -EINVAL;
	case PR_GET_THP_DISABLE:
		return a || b || c || d ? -EINVAL : 1;
	case PR_SET_THP_DISABLE:
		return b || c || d ? -EINVAL : 0;
	case PR_SET_VMA:
		return -EINVAL;
	case PR_SET_MM:
		return prctl_mm(a);
	case PR_TASK_PERF_EVENTS_DISABLE:
	case PR_TASK_PERF_EVENTS_ENABLE:
		return 0;
	case PR_MCE_KILL:
	case PR_MCE_KILL_GET:
		return 0;
	}
	return -EINVAL;
}

SYSCALL(prctl, "dxxxx", int op, u64 a, u64 b, u64 c, u64 d)
{
	struct thread *t = current;
	char name[16] = "";

	switch (op) {
	case PR_SET_NAME:
		if (str_in(name, a, 16) == -EFAULT)
			return -EFAULT;
		name[15] = 0;
		memcpy(t->comm, name, 16);
		return 0;
	case PR_GET_NAME:
		return copy_out(a, t->comm, 16);
	case PR_SET_PDEATHSIG:
		if (a > NSIGS)
			return -EINVAL;
		t->pdeath_sig = (u32)a;
		return 0;
	case PR_GET_PDEATHSIG:
		return put_user(t->pdeath_sig, a);
	case PR_GET_DUMPABLE:
		return t->proc->dumpable;
	case PR_SET_DUMPABLE:
		if (a > 1)
			return -EINVAL;
		t->proc->dumpable = (u32)a;
		return 0;
	case PR_GET_KEEPCAPS:
		return (t->cred->securebits & SECBIT_KEEP_CAPS) != 0;
	case PR_SET_KEEPCAPS:
		return a > 1 ? -EINVAL
			     : set_securebits(SECBIT_KEEP_CAPS, a ? SECBIT_KEEP_CAPS : 0);
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		t->no_new_privs = 1;
		return 0;
	case PR_GET_NO_NEW_PRIVS:
		return a || b || c || d ? -EINVAL : (s64)t->no_new_privs;
	case PR_SET_CHILD_SUBREAPER:
		t->proc->reaper = a != 0;
		return 0;
	case PR_GET_CHILD_SUBREAPER:
		return put_user((int){t->proc->reaper}, a);
	case PR_CAPBSET_READ:
	case PR_CAPBSET_DROP:
		return prctl_bounding(op == PR_CAPBSET_DROP, a);
	case PR_CAP_AMBIENT:
		return prctl_ambient(a, b);
	case PR_GET_SECUREBITS:
		return t->cred->securebits;
	case PR_SET_SECUREBITS:
		if (!capable(CAP_SETPCAP) || (a & ~(u64)(SECURE_ALL_BITS | SECURE_ALL_LOCKS)))
			return -EPERM;
		return set_securebits(~0u, (u32)a);
	case PR_SET_TIMERSLACK:
		t->timer_slack = a ? a : t->default_slack;
		return 0;
	case PR_GET_TIMERSLACK:
		return (s64)t->timer_slack;
	case PR_GET_SECCOMP:
		return seccomp_mode();
	case PR_SET_SECCOMP:
		return a == 1 ? seccomp_set(0, 0, 0) : a == 2 ? seccomp_set(1, 0, b) : -EINVAL;
	}
	return prctl_fixed(op, a, b, c, d);
}
