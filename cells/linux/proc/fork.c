/* SPDX-License-Identifier: ISC */
/* clone and its relatives: what the child shares, what it copies. */
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/sys.h"
#include <linux/sched.h>

struct clone_args_k {
	u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
	    set_tid_size, cgroup;
};

static struct fsctx *fsctx_copy(struct fsctx *old)
{
	struct fsctx *n = kmemdup(old, sizeof(*old));

	if (!n)
		return NULL;
	n->refs = 1;
	dentry_get(n->root);
	dentry_get(n->cwd);
	return n;
}

void fsctx_put(struct fsctx *f);
void seccomp_get(struct seccomp_filter *f);
int pidfd_new(struct proc *p, u32 flags);

static int copy_shared(struct thread *t, u64 flags)
{
	struct thread *cur = current;

	if (flags & CLONE_VM) {
		t->mm = cur->mm;
		mm_get(t->mm);
	} else {
		t->mm = mm_fork(cur->mm);
	}
	if (flags & CLONE_FILES) {
		t->files = cur->files;
		t->files->refs++;
	} else {
		t->files = fdtable_copy(cur->files);
	}
	if (flags & CLONE_FS) {
		t->fs = cur->fs;
		t->fs->refs++;
	} else {
		t->fs = fsctx_copy(cur->fs);
	}
	if (flags & CLONE_SIGHAND) {
		t->sighand = cur->sighand;
		t->sighand->refs++;
	} else {
		t->sighand = kmemdup(cur->sighand, sizeof(*cur->sighand));
		if (t->sighand) {
			t->sighand->refs = 1;
			if (flags & CLONE_CLEAR_SIGHAND)
				sighand_reset(t->sighand);
		}
	}
	return t->mm && t->files && t->fs && t->sighand ? 0 : -ENOMEM;
}

static void copy_plain(struct thread *t, u64 flags)
{
	struct thread *cur = current;

	t->cred = cred_get(cur->cred);
	t->blocked = cur->blocked;
	memcpy(t->comm, cur->comm, sizeof(t->comm));
	fpu_save(cur->fpu);
	memcpy(t->fpu, cur->fpu, fpu_size());
	t->fs_base = rdmsr(MSR_FS_BASE);
	t->gs_base = rdmsr(MSR_KERNEL_GS_BASE);
	t->nice = cur->nice;
	t->ioprio = cur->ioprio;
	if (cur->reset_on_fork) {
		t->nice = MAX(t->nice, 0);
	} else {
		t->policy = cur->policy;
		t->rt_prio = cur->rt_prio;
	}
	t->affinity = cur->affinity;
	t->no_new_privs = cur->no_new_privs;
	t->timer_slack = t->default_slack = cur->timer_slack;
	t->personality = cur->personality;
	t->seccomp_mode = cur->seccomp_mode;
	t->seccomp = cur->seccomp;
	if (t->seccomp)
		seccomp_get(t->seccomp);
	if (!(flags & CLONE_VM)) {
		t->rseq = cur->rseq;
		t->rseq_sig = cur->rseq_sig;
	}
	if (!(flags & CLONE_VM) || (flags & CLONE_VFORK)) {
		t->altstack_sp = cur->altstack_sp;
		t->altstack_size = cur->altstack_size;
		t->altstack_flags = cur->altstack_flags;
	}
}

static struct proc *copy_proc(struct thread *t, u64 flags)
{
	struct proc *cp = current->proc, *p = proc_new();

	if (!p)
		return NULL;
	p->pgid = cp->pgid;
	p->sid = cp->sid;
	p->ctty = cp->ctty;
	p->dumpable = cp->dumpable;
	p->oom_score_adj = cp->oom_score_adj;
	memcpy(p->rlim, cp->rlim, sizeof(p->rlim));
	p->cpu_watch = p->rlim[RLIMIT_CPU].cur != NEVER;
	p->parent = flags & CLONE_PARENT && cp->parent ? cp->parent : cp;
	list_add_tail(&p->parent->children, &p->sibling);
	p->leader = t;
	return p;
}

/* The child's frame on its own stack, returning 0 to the program. */
static void copy_frame(struct thread *t, u64 stack)
{
	struct regs *r = (struct regs *)(t->kstack + 4 * PAGE_SIZE) - 1;
	u64 *sp;

	*r = *current->regs;
	r->rax = 0;
	r->orig_rax = (u64)-1;
	if (stack)
		r->rsp = stack;
	t->regs = r;
	sp = (u64 *)r;
	*--sp = (u64)thread_start_user;
	t->ksp = (u64)(sp - 6);
}

static int flags_check(u64 f)
{
	if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
		return -EINVAL;
	if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_FS) && (f & CLONE_NEWNS))
		return -EINVAL;
	if ((f & (CLONE_PIDFD | CLONE_THREAD)) == (CLONE_PIDFD | CLONE_THREAD))
		return -EINVAL;
	if ((f & CLONE_CLEAR_SIGHAND) && (f & CLONE_SIGHAND))
		return -EINVAL;
	if (f & (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUSER | CLONE_NEWCGROUP |
		 CLONE_NEWIPC | CLONE_NEWUTS))
		return -EPERM;
	return 0;
}

static void undo(struct thread *t);

static void undo(struct thread *t)
{
	mm_put(t->mm);
	if (t->files)
		fdtable_put(t->files);
	if (t->fs)
		fsctx_put(t->fs);
	if (t->sighand && --t->sighand->refs == 0)
		kfree(t->sighand);
	t->state = T_DEAD;
	thread_free(t);
}

static u32 user_procs(u32 uid)
{
	struct proc *p;
	u32 n = 0;

	list_each(p, &proc_list, all_link) if (p->leader && p->leader->cred &&
					       p->leader->cred->uid == uid) n += p->nthreads;
	return n;
}

/* What was asked to be told: the child's number, in whose memory, and a descriptor of it. */
static void tell_ids(struct thread *t, const struct clone_args_k *a)
{
	u64 f = a->flags;
	u32 pid = t->tid;

	if (f & CLONE_SETTLS)
		t->fs_base = a->tls;
	if (f & CLONE_PARENT_SETTID)
		put_user(pid, a->parent_tid);
	if (f & CLONE_CHILD_SETTID)
		mm_access(t->mm, a->child_tid, &pid, 4, true);
	if (f & CLONE_CHILD_CLEARTID)
		t->clear_tid = a->child_tid;
	if (f & CLONE_PIDFD) {
		int pidfd = pidfd_new(t->proc, O_CLOEXEC);

		if (pidfd >= 0)
			put_user(pidfd, a->pidfd);
	}
}

/* Until the child runs another program or ends; q and *over are on our stack. */
static void vfork_wait(u32 pid, struct waitq *q, const bool *over)
{
	while (!*over) {
		struct thread *t;

		wait_killable(q, NEVER);
		if (!current->kill_now || *over)
			continue;
		/* We die before the child is done: it must not touch our stack. */
		t = thread_find(pid);
		if (t) {
			t->vfork_done = NULL;
			t->vfork_flag = NULL;
		}
		return;
	}
}

static s64 do_clone(const struct clone_args_k *a)
{
	struct thread *cur = current, *t;
	struct waitq vfork_q = {{0}};
	bool vfork_over = false;
	u64 f = a->flags;
	struct proc *p;
	int r = flags_check(f);
	u32 pid;

	if (r)
		return r;
	if ((f & CLONE_SETTLS) && a->tls >= TASK_SIZE)
		return -EPERM;
	if ((f & CLONE_PIDFD) && put_user((int){-1}, a->pidfd))
		return -EFAULT;
	if (cur->cred->uid && cur->proc->rlim[RLIMIT_NPROC].cur != NEVER && !capable(24) &&
	    user_procs(cur->cred->uid) >= cur->proc->rlim[RLIMIT_NPROC].cur)
		return -EAGAIN;
	t = thread_new_charged(&r);
	if (!t)
		return r;
	r = copy_shared(t, f);
	if (r) {
		undo(t);
		return r;
	}
	/* Killed while memory was copied: the child would be one that nobody has killed. */
	if (cur->kill_now) {
		undo(t);
		return -EINTR;
	}
	copy_plain(t, f);
	copy_frame(t, a->stack ? a->stack + a->stack_size : 0);
	p = f & CLONE_THREAD ? cur->proc : copy_proc(t, f);
	if (!p) {
		undo(t);
		return -ENOMEM;
	}
	t->proc = p;
	if (f & CLONE_SYSVSEM)
		sem_share_undo(cur, t);
	p->refs++;
	p->nthreads++;
	p->live++;
	list_add_tail(&p->threads, &t->proc_link);
	/* Below we may sleep: it must not be woken, run and be gone before we are done with it.
	 */
	t->state = T_DSLEEP;
	t->tid = pid_new();
	if (!(f & CLONE_THREAD)) {
		p->pid = t->tid;
		p->exit_signal = a->exit_signal & 0x7f;
		total_forks++;
	}
	pid = t->tid;
	tell_ids(t, a);
	if (f & CLONE_VFORK) {
		t->vfork_done = &vfork_q;
		t->vfork_flag = &vfork_over;
	}
	thread_wake(t);
	if (f & CLONE_VFORK)
		vfork_wait(pid, &vfork_q, &vfork_over);
	return pid;
}

SYSCALL(clone, "xpppx", u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls)
{
	struct clone_args_k a = {.flags = flags & ~0xffull,
				 .exit_signal = flags & 0xff,
				 .stack = stack,
				 .parent_tid = ptid,
				 .child_tid = ctid,
				 .pidfd = ptid,
				 .tls = tls};

	if ((flags & CLONE_PIDFD) && (flags & CLONE_PARENT_SETTID))
		return -EINVAL;
	return do_clone(&a);
}

SYSCALL(clone3, "pu", u64 uargs, u64 size)
{
	struct clone_args_k a = {0};

	if (size < 64)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (copy_in(&a, uargs, MIN(size, sizeof(a))))
		return -EFAULT;
	for (u64 i = sizeof(a); i < size; i++) {
		u8 b;

		if (get_user(b, uargs + i))
			return -EFAULT;
		if (b)
			return -E2BIG;
	}
	/* CLONE_INTO_CGROUP: there is one group only; as a kernel from before it says. */
	if (a.flags & ~(0xffffffffull | CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if ((a.flags & (0xff | CLONE_DETACHED)) || (a.exit_signal & ~0xffull) ||
	    a.exit_signal > NSIGS || (a.stack == 0) != (a.stack_size == 0) || a.set_tid_size)
		return a.set_tid_size ? -EPERM : -EINVAL;
	if ((a.flags & (CLONE_THREAD | CLONE_PARENT)) && a.exit_signal)
		return -EINVAL;
	return do_clone(&a);
}

SYSCALL(fork, "", void)
{
	struct clone_args_k a = {.exit_signal = SIGCHLD};

	return do_clone(&a);
}

SYSCALL(vfork, "", void)
{
	struct clone_args_k a = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};

	return do_clone(&a);
}
