/* SPDX-License-Identifier: ISC */
/*
 * How threads and processes end, and how parents learn of it.
 *
 * A thread that ends gives back what it shares; the last one of a process makes it a zombie,
 * hands its children to init and tells the parent. The struct proc lives until it was
 * waited for and no thread structure points to it.
 */
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/state.h"
#include "cells/linux/inc/sys.h"
#include <linux/wait.h>

void fsctx_put(struct fsctx *f);
void seccomp_put(struct seccomp_filter *f);
void posix_timers_free(struct proc *p);
void tty_session_end(struct proc *p);
void pidfd_notify(struct proc *p);
void mqueue_proc_gone(struct proc *p);
void init_exited(u32 status);
void conctl_oom(const char *text);

void fsctx_put(struct fsctx *f)
{
	if (--f->refs)
		return;
	dentry_put(f->root);
	dentry_put(f->cwd);
	kfree(f);
}

bool pgrp_orphaned(u32 pgid, struct proc *ignore)
{
	struct proc *p;

	list_each(p, &proc_list, all_link) if (p->pgid == pgid && p != ignore && !p->zombie &&
					       p->parent && p->parent != init_proc &&
					       p->parent->pgid != pgid &&
					       p->parent->sid == p->sid) return false;
	return true;
}

/* A process group that became orphaned with stopped members gets HUP and CONT. */
static void orphan_check(struct proc *child, struct proc *dying)
{
	struct proc *p;
	bool stopped = false;

	if (!pgrp_orphaned(child->pgid, dying))
		return;
	list_each(p, &proc_list, all_link) stopped |= p->pgid == child->pgid && p->stopped;
	if (stopped) {
		sig_send_pgrp(child->pgid, SIGHUP, NULL);
		sig_send_pgrp(child->pgid, SIGCONT, NULL);
	}
}

static void reap(struct proc *p)
{
	list_del(&p->sibling);
	list_del(&p->all_link);
	proc_count--;
	proc_put(p);
}

static struct proc *new_parent(struct proc *p)
{
	for (struct proc *a = p->parent; a; a = a->parent)
		if (a->reaper && !a->exiting)
			return a;
	return init_proc;
}

void proc_reparent(struct proc *p)
{
	struct proc *c, *tmp, *to = new_parent(p);

	list_each_safe(c, tmp, &p->children, sibling)
	{
		list_del(&c->sibling);
		c->parent = to == p ? NULL : to;
		if (!c->parent) {
			continue;
		}
		list_add_tail(&to->children, &c->sibling);
		if (c->leader && c->leader->pdeath_sig)
			sig_send_proc(c, (int)c->leader->pdeath_sig, NULL);
		if (c->zombie) {
			sig_send_proc(to, SIGCHLD, NULL);
			wake_all(&to->child_wait);
		} else {
			orphan_check(c, p);
		}
	}
}

static void tell_parent(struct proc *p)
{
	struct proc *parent = p->parent;
	struct ksigaction *sa;
	siginfo_t i;

	if (p->on_exit)
		p->on_exit(p);
	if (!parent || parent->exiting || !parent->leader) {
		if (p != init_proc)
			reap(p);
		return;
	}
	sig_info_user(&i, SIGCHLD, (p->exit_status & 0x7f) ? CLD_KILLED : CLD_EXITED);
	i._sifields._sigchld._pid = (int)p->pid;
	i._sifields._sigchld._uid = p->leader ? p->leader->cred->uid : 0;
	i._sifields._sigchld._status = (p->exit_status & 0x7f)
					   ? (int)(p->exit_status & 0x7f)
					   : (int)(p->exit_status >> 8 & 0xff);
	sa = parent->leader ? parent->leader->sighand->action : NULL;
	if (p->exit_signal)
		sig_send_proc(parent, (int)p->exit_signal, &i);
	if (p->exit_signal == SIGCHLD && sa &&
	    (sa[SIGCHLD - 1].handler == 1 || (sa[SIGCHLD - 1].flags & SA_NOCLDWAIT))) {
		parent->cutime += p->utime + p->cutime;
		parent->cstime += p->stime + p->cstime;
		reap(p);
	}
	wake_all(&parent->child_wait);
}

static void proc_finish(struct proc *p)
{
	p->zombie = true;
	posix_timers_free(p);
	mqueue_proc_gone(p);
	timer_cancel(&p->itimer_real.timer);
	if (p->sid == p->pid)
		tty_session_end(p);
	sig_flush(&p->pending, ~0ull);
	p->refs++;
	if (p == init_proc)
		init_exited(p->exit_status);
	proc_reparent(p);
	pidfd_notify(p);
	tell_parent(p);
	proc_put(p);
}

static void release_memory(struct thread *t)
{
	struct mm *mm = t->mm;

	if (!mm)
		return;
	futex_exit(t);
	if (t->clear_tid && mm->refs > 1) {
		u32 zero = 0;

		copy_out(t->clear_tid, &zero, 4);
		futex_wake_addr(mm, t->clear_tid, 1);
	}
	if ((mm->rss_anon + mm->rss_file + mm->rss_shmem) > t->proc->maxrss)
		t->proc->maxrss = mm->hiwater_rss;
	t->mm = NULL;
	mm_activate(NULL);
	mm_put(mm);
}

void vfork_release(struct thread *t);
void vfork_release(struct thread *t)
{
	if (!t->vfork_done)
		return;
	*t->vfork_flag = true;
	wake_all(t->vfork_done);
	t->vfork_done = NULL;
}

void thread_exit(u32 code)
{
	struct thread *t = current;
	struct proc *p = t->proc;

	BUG_ON(t == this_cpu()->idle);
	if (!t->is_kthread) {
		t->exit_code = code;
		sem_exit(t);
		release_memory(t);
		vfork_release(t);
		if (t->files)
			fdtable_put(t->files);
		t->files = NULL;
		if (t->fs)
			fsctx_put(t->fs);
		t->fs = NULL;
		if (t->seccomp)
			seccomp_put(t->seccomp);
		t->seccomp = NULL;
		p->utime += t->utime;
		p->stime += t->stime;
		p->minflt += t->minflt;
		p->majflt += t->majflt;
		p->nvcsw += t->nvcsw;
		p->nivcsw += t->nivcsw;
		if (t->tid == p->pid)
			husk_make(t);
		list_del(&t->proc_link);
		p->nthreads--;
		p->live--;
		if (p->leader == t && p->live) {
			/* The leader's identity passes to another thread. */
			p->leader = list_first(&p->threads, struct thread, proc_link);
		}
		if (!p->live) {
			if (!p->exiting)
				p->exit_status = code;
			p->exiting = true;
			proc_finish(p);
		} else {
			wake_all(&p->child_wait);
		}
		if (p->leader == t)
			p->leader = NULL;
		if (--t->sighand->refs == 0)
			kfree(t->sighand);
		t->sighand = NULL;
	}
	timer_cancel(&t->sleep_timer);
	t->state = T_DEAD;
	this_cpu()->dead = t;
	schedule();
	panic("a dead thread ran");
}

void proc_kill_others(struct proc *p, struct thread *keep)
{
	struct thread *t;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the head is never NULL */
	list_each(t, &p->threads, proc_link)
	{
		if (t == keep)
			continue;
		if (!t->kill_now)
			state_killed(t);
		t->kill_now = true;
		if (t->state == T_STOPPED)
			t->state = T_SLEEP;
		thread_wake_signal(t);
	}
}

void proc_exit(u32 status)
{
	struct proc *p = current->proc;

	if (!p->exiting) {
		p->exiting = true;
		p->exit_status = status;
		proc_kill_others(p, current);
	}
	thread_exit(p->exit_status);
}

SYSCALL(exit, "d", int code)
{
	thread_exit((u32)(code & 0xff) << 8);
}

SYSCALL(exit_group, "d", int code)
{
	proc_exit((u32)(code & 0xff) << 8);
}

/* ---- Waiting ---- */
struct rusage_k {
	s64 utime[2], stime[2], maxrss, pad[3], minflt, majflt, pad2[6], nvcsw, nivcsw;
};
_Static_assert(sizeof(struct rusage_k) == 144, "struct rusage");

static void fill_rusage(struct rusage_k *r, u64 ut, u64 st, u64 maxrss)
{
	memset(r, 0, sizeof(*r));
	r->utime[0] = (s64)(ut / NS_PER_SEC);
	r->utime[1] = (s64)(ut % NS_PER_SEC / 1000);
	r->stime[0] = (s64)(st / NS_PER_SEC);
	r->stime[1] = (s64)(st % NS_PER_SEC / 1000);
	r->maxrss = (s64)(maxrss * 4);
}

struct wait_query {
	int type; /* P_* */
	u32 id;
	u32 options;
	siginfo_t info;
	u32 status;
	struct rusage_k ru;
	u32 pid;
};

static bool selected(const struct wait_query *q, const struct proc *c)
{
	bool clone_child = c->exit_signal != SIGCHLD;

	if (!(q->options & __WALL) && clone_child != ((q->options & __WCLONE) != 0))
		return false;
	return q->type == P_ALL || (q->type == P_PID && c->pid == q->id) ||
	       (q->type == P_PGID && c->pgid == q->id);
}

static void report(struct wait_query *q, struct proc *c, u32 status, int code, int value)
{
	q->pid = c->pid;
	q->status = status;
	memset(&q->info, 0, sizeof(q->info));
	q->info.si_signo = SIGCHLD;
	q->info.si_code = code;
	q->info._sifields._sigchld._pid = (int)c->pid;
	q->info._sifields._sigchld._status = value;
	fill_rusage(&q->ru, c->utime + c->cutime, c->stime + c->cstime, c->maxrss);
	q->ru.minflt = (s64)c->minflt;
	q->ru.majflt = (s64)c->majflt;
	q->ru.nvcsw = (s64)c->nvcsw;
	q->ru.nivcsw = (s64)c->nivcsw;
}

static void collect(struct proc *parent, struct proc *c)
{
	parent->cutime += c->utime + c->cutime;
	parent->cstime += c->stime + c->cstime;
	parent->cminflt += c->minflt + c->cminflt;
	parent->cmajflt += c->majflt + c->cmajflt;
	parent->cmaxrss = MAX(parent->cmaxrss, MAX(c->maxrss, c->cmaxrss));
	reap(c);
}

static bool check_child(struct wait_query *q, struct proc *parent, struct proc *c)
{
	if (c->zombie && (q->options & WEXITED)) {
		u32 s = c->exit_status;

		report(q, c, s,
		       !(s & 0x7f) ? CLD_EXITED
		       : s & 0x80  ? CLD_DUMPED
				   : CLD_KILLED,
		       s & 0x7f ? (int)(s & 0x7f) : (int)(s >> 8 & 0xff));
		if (!(q->options & WNOWAIT))
			collect(parent, c);
		return true;
	}
	if (c->stopped && !c->stop_reported && (q->options & WSTOPPED)) {
		report(q, c, c->stop_sig << 8 | 0x7f, CLD_STOPPED, (int)c->stop_sig);
		if (!(q->options & WNOWAIT))
			c->stop_reported = true;
		return true;
	}
	if (c->continued && (q->options & WCONTINUED)) {
		report(q, c, 0xffff, CLD_CONTINUED, SIGCONT);
		if (!(q->options & WNOWAIT))
			c->continued = false;
		return true;
	}
	return false;
}

static s64 do_wait(struct wait_query *q)
{
	struct proc *p = current->proc, *c;
	int r = 0;

	for (;;) {
		bool any = false;

		list_each(c, &p->children, sibling)
		{
			if (!selected(q, c))
				continue;
			if (check_child(q, p, c))
				return q->pid;
			/* One that has ended will not stop any more. */
			any |= !c->zombie || (q->options & WEXITED);
		}
		if (!any)
			return -ECHILD;
		if (q->options & WNOHANG)
			return 0;
		/* The signal may be the child's own end: look once more before it counts. */
		if (r)
			return r;
		r = wait_on(&p->child_wait, NEVER, true);
	}
}

SYSCALL(wait4, "dpxp", int pid, u64 ustatus, u32 options, u64 uru)
{
	struct wait_query q = {.options = options | WEXITED};
	s64 r;

	if (options &
	    ~(u32)(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
		return -EINVAL;
	if (pid == (int)0x80000000)
		return -ESRCH;
	q.type = pid == -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
	q.id = pid > 0 ? (u32)pid : pid == 0 ? current->proc->pgid : (u32)-pid;
	r = do_wait(&q);
	if (r > 0) {
		if (ustatus && put_user(q.status, ustatus))
			return -EFAULT;
		if (uru && copy_out(uru, &q.ru, sizeof(q.ru)))
			return -EFAULT;
	}
	return r;
}

struct proc *pidfd_proc(int fd);

SYSCALL(waitid, "dupxp", int type, u32 id, u64 uinfo, u32 options, u64 uru)
{
	struct wait_query q = {.type = type, .id = id, .options = options};
	s64 r;

	if ((options & ~(u32)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED |
			      __WNOTHREAD | __WCLONE | __WALL)) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	if (type == 3) { /* P_PIDFD */
		struct proc *p = pidfd_proc((int)id);

		if (!p)
			return -EBADF;
		q.type = P_PID;
		q.id = p->pid;
	} else if (type < 0 || type > 3) {
		return -EINVAL;
	}
	if (q.type == P_PGID && !id)
		q.id = current->proc->pgid;
	r = do_wait(&q);
	if (r < 0)
		return r;
	if (r == 0)
		memset(&q.info, 0, sizeof(q.info));
	if (uinfo && copy_out(uinfo, &q.info, sizeof(q.info)))
		return -EFAULT;
	if (r > 0 && uru && copy_out(uru, &q.ru, sizeof(q.ru)))
		return -EFAULT;
	return 0;
}

SYSCALL(getrusage, "dp", int who, u64 uru)
{
	struct proc *p = current->proc;
	struct rusage_k r;
	struct thread *t;
	u64 ut = p->utime, st = p->stime, maxrss = p->maxrss;
	u64 minflt = p->minflt, majflt = p->majflt, nv = p->nvcsw, niv = p->nivcsw;

	if (who == -1) {
		fill_rusage(&r, p->cutime, p->cstime, p->cmaxrss);
		r.minflt = (s64)p->cminflt;
		r.majflt = (s64)p->cmajflt;
		return copy_out(uru, &r, sizeof(r));
	}
	if (who != 0 && who != 1)
		return -EINVAL;
	if (who == 1)
		ut = st = minflt = majflt = nv = niv = 0;
	list_each(t, &p->threads, proc_link)
	{
		if (who == 1 && t != current)
			continue;
		ut += t->utime;
		st += t->stime;
		minflt += t->minflt;
		majflt += t->majflt;
		nv += t->nvcsw;
		niv += t->nivcsw;
	}
	fill_rusage(&r, ut, st, MAX(maxrss, current->mm->hiwater_rss));
	r.minflt = (s64)minflt;
	r.majflt = (s64)majflt;
	r.nvcsw = (s64)nv;
	r.nivcsw = (s64)niv;
	return copy_out(uru, &r, sizeof(r));
}

/* ---- Out of memory: the biggest process pays ---- */
static u64 badness(struct proc *p)
{
	struct mm *mm = p->leader ? p->leader->mm : NULL;
	s64 points;

	if (!mm || p->zombie || p->exiting || p->oom_score_adj == -1000)
		return 0;
	points = (s64)(mm->rss_anon + mm->rss_file + mm->rss_shmem) + 1;
	points += (s64)page_total() / 1000 * p->oom_score_adj;
	if (p == init_proc)
		points /= 4;
	return points > 0 ? (u64)points : 1;
}

u64 oom_kills;
#define OOM_PATIENCE (5 * NS_PER_SEC)

/* One that is about to end and give its memory back; not for ever, it may wait for us. */
static bool about_to_end(const struct proc *p)
{
	const struct thread *t = p->leader;

	return p->exiting && !p->zombie && t && t->mm && p != current->proc &&
	       t->mm != current->mm &&
	       (!t->kill_now || clock_now() - t->killed_at < OOM_PATIENCE);
}

/* Who shares the victim's memory keeps it: they go together. */
static void kill_sharers(const struct mm *mm)
{
	struct proc *p;

	list_each(p, &proc_list, all_link)
	{
		if (!p->leader || p->leader->mm != mm || p->zombie)
			continue;
		if (!p->exiting)
			p->exit_status = SIGKILL;
		p->exiting = true;
		proc_kill_others(p, NULL);
	}
}

void oom_kill(void)
{
	struct proc *p, *worst = NULL;
	char comm[sizeof(current->comm)];
	u64 most = 0;
	bool other;

	list_each(p, &proc_list, all_link)
	{
		/* One victim at a time: its memory comes back when it is gone. */
		if (about_to_end(p)) {
			wait_on(NULL, clock_now() + 1000000, false);
			return;
		}
		if (badness(p) > most) {
			most = badness(p);
			worst = p;
		}
	}
	if (!worst)
		worst = current->proc;
	str_copy(comm, worst->leader ? worst->leader->comm : "?", sizeof(comm));
	other = worst != current->proc;
	oom_kills++;
	printk("out of memory: killed process %u (%s), %lu KiB", worst->pid, comm, most * 4);
	worst->exiting = true;
	worst->exit_status = SIGKILL;
	proc_kill_others(worst, NULL);
	if (worst->leader && worst->leader->mm)
		kill_sharers(worst->leader->mm);
	conctl_oom(comm); /* may sleep, and the victim be gone */
	if (other)
		wait_on(NULL, clock_now() + 1000000, false);
}
