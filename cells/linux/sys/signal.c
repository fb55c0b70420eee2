/* SPDX-License-Identifier: ISC */
/* The signal calls: actions, masks, waiting, sending. */
#include "cells/linux/inc/sys.h"

#define KERNEL_ONLY (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))

SYSCALL(rt_sigaction, "dppu", int sig, u64 uact, u64 uold, u64 size)
{
	struct thread *t = current, *o;
	struct ksigaction n, old;

	if (size != 8 || sig < 1 || sig > NSIGS)
		return -EINVAL;
	if (uact && (sig == SIGKILL || sig == SIGSTOP))
		return -EINVAL;
	if (uact && get_user(n, uact))
		return -EFAULT;
	old = t->sighand->action[sig - 1];
	if (uact) {
		n.mask &= ~KERNEL_ONLY;
		t->sighand->action[sig - 1] = n;
		if (sig_ignored(t, sig) && n.handler == 1) {
			sig_flush(&t->proc->pending, SIGBIT(sig));
			list_each(o, &t->proc->threads, proc_link)
			    sig_flush(&o->pending, SIGBIT(sig));
		}
	}
	return uold ? put_user(old, uold) : 0;
}

SYSCALL(rt_sigprocmask, "dppu", int how, u64 uset, u64 uold, u64 size)
{
	struct thread *t = current;
	u64 set = 0, old = t->blocked;

	if (size != 8)
		return -EINVAL;
	if (uset) {
		if (get_user(set, uset))
			return -EFAULT;
		set &= ~KERNEL_ONLY;
		if (how == SIG_BLOCK)
			t->blocked |= set;
		else if (how == SIG_UNBLOCK)
			t->blocked &= ~set;
		else if (how == SIG_SETMASK)
			t->blocked = set;
		else
			return -EINVAL;
	}
	return uold ? put_user(old, uold) : 0;
}

SYSCALL(rt_sigpending, "pu", u64 uset, u64 size)
{
	u64 set = (current->pending.set | current->proc->pending.set) & current->blocked;

	if (size > 8)
		return -EINVAL;
	return copy_out(uset, &set, size);
}

SYSCALL(rt_sigsuspend, "pu", u64 uset, u64 size)
{
	struct thread *t = current;
	u64 set;

	if (size != 8)
		return -EINVAL;
	if (get_user(set, uset))
		return -EFAULT;
	t->saved_blocked = t->blocked;
	t->blocked = set & ~KERNEL_ONLY;
	t->restore_blocked = true;
	while (!sig_pending(t))
		wait_on(NULL, NEVER, true);
	return -ERESTARTNOHAND;
}

SYSCALL(pause, "", void)
{
	while (!sig_pending(current))
		wait_on(NULL, NEVER, true);
	return -ERESTARTNOHAND;
}

SYSCALL(rt_sigtimedwait, "pppu", u64 uset, u64 uinfo, u64 uts, u64 size)
{
	struct thread *t = current;
	struct __kernel_timespec ts;
	u64 set, deadline = NEVER, blocked = t->blocked;
	siginfo_t info;
	int sig;

	if (size != 8)
		return -EINVAL;
	if (get_user(set, uset) || (uts && get_user(ts, uts)))
		return -EFAULT;
	if (uts && !ts_valid(&ts))
		return -EINVAL;
	if (uts)
		deadline = deadline_after(ts_to_ns(&ts));
	set &= ~KERNEL_ONLY;
	for (;;) {
		int r;

		sig = sig_take(t, set, &info);
		if (sig)
			break;
		t->blocked = blocked & ~set;
		t->waited = blocked & set;
		r = wait_on(NULL, deadline, true);
		t->blocked = blocked;
		t->waited = 0;
		sig = sig_take(t, set, &info);
		if (sig)
			break;
		if (r == -ETIMEDOUT)
			return -EAGAIN;
		if (r)
			return -EINTR;
	}
	if (uinfo && copy_out(uinfo, &info, sizeof(info)))
		return -EFAULT;
	return sig;
}

SYSCALL(sigaltstack, "pp", u64 unew, u64 uold)
{
	struct thread *t = current;
	struct {
		u64 sp;
		u32 flags, pad;
		u64 size;
	} n, old = {t->altstack_sp, 0, 0, t->altstack_size};
	bool on = t->altstack_size && t->regs->rsp > t->altstack_sp &&
		  t->regs->rsp - t->altstack_sp <= t->altstack_size;

	old.flags = (t->altstack_flags & 0x80000000u) | (!t->altstack_size ? SS_DISABLE
							 : on              ? SS_ONSTACK
									   : 0);
	if (unew) {
		if (get_user(n, unew))
			return -EFAULT;
		if (on)
			return -EPERM;
		if (n.flags & ~(u32)(SS_DISABLE | SS_ONSTACK | 0x80000000u))
			return -EINVAL;
		if (!(n.flags & SS_DISABLE) && n.size < 2048)
			return -ENOMEM;
	}
	if (uold && put_user(old, uold))
		return -EFAULT;
	if (unew) {
		t->altstack_sp = n.flags & SS_DISABLE ? 0 : n.sp;
		t->altstack_size = n.flags & SS_DISABLE ? 0 : n.size;
		t->altstack_flags = n.flags & 0x80000000u;
	}
	return 0;
}

int sig_kill_check(struct proc *p, int sig)
{
	const struct cred *me = current->cred, *c = p->leader ? p->leader->cred : NULL;

	if (p == current->proc || capable(5) || !c)
		return 0;
	if (me->euid == c->suid || me->euid == c->uid || me->uid == c->suid ||
	    me->uid == c->uid)
		return 0;
	return sig == SIGCONT && p->sid == current->proc->sid ? 0 : -EPERM;
}

static int kill_one(struct proc *p, int sig, const siginfo_t *info)
{
	int r = sig_kill_check(p, sig);

	if (!r && sig)
		sig_send_proc(p, sig, info);
	return r;
}

static int kill_many(u32 pgid, bool all, int sig, const siginfo_t *info)
{
	struct proc *p, *tmp;
	int found = 0, ok = 0, r = -ESRCH;

	list_each_safe(p, tmp, &proc_list, all_link)
	{
		if (all ? (p == init_proc || p == current->proc) : p->pgid != pgid)
			continue;
		found++;
		r = kill_one(p, sig, info);
		ok += r == 0;
	}
	return !found ? -ESRCH : ok ? 0 : r;
}

SYSCALL(kill, "dd", int pid, int sig)
{
	siginfo_t i;
	struct thread *t;

	if (sig < 0 || sig > NSIGS)
		return -EINVAL;
	sig_info_user(&i, sig, SI_USER);
	if (pid == -1)
		return kill_many(0, true, sig, &i);
	if (pid <= 0)
		return pid == (int)0x80000000
			   ? -ESRCH
			   : kill_many(pid ? (u32)-pid : current->proc->pgid, false, sig, &i);
	if (proc_find((u32)pid))
		return kill_one(proc_find((u32)pid), sig, &i);
	t = thread_find((u32)pid); /* any thread's number names its process */
	return t ? kill_one(t->proc, sig, &i) : -ESRCH;
}

static s64 do_tkill(int tgid, int tid, int sig, const siginfo_t *info)
{
	struct thread *t;
	int r;

	if (sig < 0 || sig > NSIGS || tid <= 0 || tgid == 0 || tgid < -1)
		return -EINVAL;
	t = thread_find((u32)tid);
	if (!t || (tgid > 0 && t->proc->pid != (u32)tgid))
		return -ESRCH;
	r = sig_kill_check(t->proc, sig);
	if (r || !sig)
		return r;
	if (sig == SIGKILL)
		sig_send_proc(t->proc, sig, info);
	else
		sig_send_thread(t, sig, info);
	return 0;
}

SYSCALL(tkill, "dd", int tid, int sig)
{
	siginfo_t i;

	sig_info_user(&i, sig, SI_TKILL);
	return do_tkill(-1, tid, sig, &i);
}

SYSCALL(tgkill, "ddd", int tgid, int tid, int sig)
{
	siginfo_t i;

	sig_info_user(&i, sig, SI_TKILL);
	return tgid <= 0 ? -EINVAL : do_tkill(tgid, tid, sig, &i);
}

static int queue_info(siginfo_t *i, u64 uinfo, int sig, int pid)
{
	if (copy_in(i, uinfo, sizeof(*i)))
		return -EFAULT;
	i->si_signo = sig;
	if ((i->si_code >= 0 || i->si_code == SI_TKILL) && (u32)pid != current->proc->pid)
		return -EPERM;
	return 0;
}

SYSCALL(rt_sigqueueinfo, "ddp", int pid, int sig, u64 uinfo)
{
	siginfo_t i;
	int r = queue_info(&i, uinfo, sig, pid);
	struct proc *p = proc_find((u32)pid);
	struct thread *t = p ? NULL : thread_find((u32)pid);

	if (t)
		p = t->proc;
	if (r || sig < 0 || sig > NSIGS)
		return r ? r : -EINVAL;
	return p ? kill_one(p, sig, &i) : -ESRCH;
}

SYSCALL(rt_tgsigqueueinfo, "dddp", int tgid, int tid, int sig, u64 uinfo)
{
	siginfo_t i;
	int r = queue_info(&i, uinfo, sig, tgid);

	return r ? r : do_tkill(tgid, tid, sig, &i);
}

struct proc *pidfd_proc(int fd);

SYSCALL(pidfd_send_signal, "fdpu", int fd, int sig, u64 uinfo, u32 flags)
{
	struct proc *p = pidfd_proc(fd);
	siginfo_t i;
	int r = 0;

	if (flags || sig < 0 || sig > NSIGS)
		return -EINVAL;
	if (!p)
		return -EBADF;
	p->refs++; /* copying may sleep, and the descriptor be closed */
	sig_info_user(&i, sig, SI_USER);
	if (uinfo)
		r = queue_info(&i, uinfo, sig, (int)p->pid);
	if (!r)
		r = p->zombie && !p->leader ? -ESRCH : kill_one(p, sig, &i);
	proc_put(p);
	return r;
}

SYSCALL(restart_syscall, "", void)
{
	struct thread *t = current;

	return t->restart ? t->restart(t) : -EINTR;
}
