/* SPDX-License-Identifier: ISC */
/* Tables of processes and threads; making and freeing them; credentials. */
#include "cells/linux/inc/counters.h"
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/vfs.h"
#include <linux/capability.h>

struct list proc_list;
struct proc *init_proc;
u32 proc_count, thread_count, thread_limit = 32768, pid_max = 4194304;
static u32 last_pid;

struct proc *proc_find(u32 pid)
{
	struct proc *p;

	list_each(p, &proc_list, all_link) if (p->pid == pid) return p;
	return NULL;
}

struct thread *thread_find(u32 tid)
{
	struct proc *p;
	struct thread *t;

	list_each(p, &proc_list, all_link)
	    list_each(t, &p->threads, proc_link) if (t->tid == tid) return t;
	return NULL;
}

struct thread *thread_seen(u32 tid)
{
	struct thread *t = thread_find(tid);
	struct proc *p = t ? NULL : proc_find(tid);

	return p ? p->husk : t;
}

/* Without memory the process is not seen in /proc until it is waited for. */
void husk_make(struct thread *t)
{
	struct thread *h = kalloc(sizeof(*h));

	if (!h)
		return;
	h->tid = t->tid;
	h->proc = t->proc;
	h->state = T_DEAD;
	h->cred = cred_get(t->cred);
	memcpy(h->comm, t->comm, sizeof(h->comm));
	h->blocked = t->blocked;
	h->nice = t->nice;
	h->policy = t->policy;
	h->rt_prio = t->rt_prio;
	h->affinity = t->affinity;
	h->start_time = t->start_time;
	h->minflt = t->minflt;
	h->majflt = t->majflt;
	t->proc->husk = h;
}

static bool pid_used(u32 pid)
{
	struct proc *p;

	list_each(p, &proc_list,
		  all_link) if (p->pid == pid || p->pgid == pid || p->sid == pid) return true;
	return thread_find(pid) != NULL;
}

u32 pid_new(void)
{
	/* However small the sysctl is set, there must be a free number. */
	u32 limit = MAX(pid_max, thread_count * 2 + 400);

	do {
		if (++last_pid >= limit)
			last_pid = 300;
	} while (pid_used(last_pid));
	return last_pid;
}

struct thread *thread_new(void)
{
	struct thread *t;

	t = kalloc(sizeof(*t));
	if (!t)
		return NULL;
	t->kstack = vmalloc(4 * PAGE_SIZE);
	t->fpu = fpu_alloc();
	if (!t->kstack || !t->fpu) {
		vfree(t->kstack);
		kfree(t->fpu);
		kfree(t);
		return NULL;
	}
	t->start_time = t->stamp = clock_now();
	t->affinity = (1ull << cpus_online) - 1;
	t->timer_slack = 50000;
	t->state = T_SLEEP;
	return t;
}

/* The container's limit (--pids-limit) is for its programs' threads: what the kernel runs for
 * them must not fail for their sake. */
struct thread *thread_new_charged(int *err)
{
	struct thread *t = thread_count < thread_limit ? thread_new() : NULL;

	*err = thread_count < thread_limit ? -ENOMEM : -EAGAIN;
	if (t) {
		thread_count++;
		count_add(COUNT_THREADS, 1);
		t->charged = true;
	}
	return t;
}

void thread_free(struct thread *t)
{
	if (t->charged) {
		thread_count--;
		count_add(COUNT_THREADS, ~0ull);
	}
	if (t->cred)
		cred_put(t->cred);
	if (t->proc)
		proc_put(t->proc);
	sig_flush(&t->pending, ~0ull);
	vfree(t->kstack);
	kfree(t->fpu);
	kfree(t);
}

struct proc *proc_new(void)
{
	struct proc *p = kalloc(sizeof(*p));

	if (!p)
		return NULL;
	if (!proc_list.next)
		list_init(&proc_list);
	p->refs = 1;
	list_init(&p->children);
	list_init(&p->threads);
	list_init(&p->posix_timers);
	p->start_time = clock_now();
	p->dumpable = 1;
	p->itimer_real.proc = p;
	list_add_tail(&proc_list, &p->all_link);
	proc_count++;
	return p;
}

void proc_put(struct proc *p)
{
	if (--p->refs)
		return;
	if (p->husk) {
		cred_put(p->husk->cred);
		kfree(p->husk);
	}
	kfree(p);
}

struct cred *cred_get(struct cred *c)
{
	c->refs++;
	return c;
}

void cred_put(struct cred *c)
{
	if (--c->refs == 0)
		kfree(c);
}

struct cred *cred_own(void)
{
	struct cred *c = current->cred, *n;

	if (c->refs == 1)
		return c;
	n = kmemdup(c, sizeof(*c) + c->ngroups * sizeof(u32));
	if (!n)
		return NULL;
	n->refs = 1;
	cred_put(c);
	current->cred = n;
	return n;
}

bool capable(int cap)
{
	return (current->cred->cap_eff >> cap & 1) != 0;
}

bool in_group(u32 gid)
{
	const struct cred *c = current->cred;

	if (c->fsgid == gid)
		return true;
	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return false;
}

struct proc *proc_spawn_init(void)
{
	static const struct {
		u32 which;
		u64 cur, max;
	} limits[] = {{RLIMIT_STACK, 8 << 20, NEVER},
		      {RLIMIT_NOFILE, 1048576, 1048576},
		      {RLIMIT_NPROC, 30000, 30000},
		      {RLIMIT_CORE, 0, NEVER},
		      {RLIMIT_MEMLOCK, 8 << 20, 8 << 20},
		      {RLIMIT_SIGPENDING, 30000, 30000},
		      {RLIMIT_MSGQUEUE, 819200, 819200},
		      {RLIMIT_NICE, 0, 0},
		      {RLIMIT_RTPRIO, 0, 0}};
	int err;
	struct thread *t = thread_new_charged(&err);
	struct proc *p = t ? proc_new() : NULL;

	if (!p)
		return NULL;
	for (u32 i = 0; i < RLIM_NLIMITS; i++)
		p->rlim[i].cur = p->rlim[i].max = NEVER;
	for (u32 i = 0; i < ARRAY_SIZE(limits); i++) {
		p->rlim[limits[i].which].cur = limits[i].cur;
		p->rlim[limits[i].which].max = limits[i].max;
	}
	t->proc = p;
	p->refs++;
	p->leader = t;
	p->nthreads = p->live = 1;
	list_add_tail(&p->threads, &t->proc_link);
	p->pid = t->tid = pid_new();
	p->pgid = p->sid = p->pid;
	p->exit_signal = SIGCHLD;
	t->sighand = kalloc(sizeof(*t->sighand));
	t->cred = kalloc(sizeof(*t->cred) + 64 * sizeof(u32));
	t->files = fdtable_new();
	t->fs = kalloc(sizeof(*t->fs));
	if (!t->sighand || !t->cred || !t->files || !t->fs)
		return NULL;
	t->sighand->refs = t->cred->refs = t->fs->refs = 1;
	t->fs->umask = 022;
	if (root_mount) {
		t->fs->root = t->fs->cwd = root_mount->root;
		dentry_get(t->fs->root);
		dentry_get(t->fs->root);
	}
	/* What Docker grants by default. */
	t->cred->cap_eff = t->cred->cap_perm = t->cred->cap_bset = 0xa80425fbull;
	if (init_proc) {
		p->parent = init_proc;
		list_add_tail(&init_proc->children, &p->sibling);
	}
	return p;
}
