/* SPDX-License-Identifier: ISC */
/*
 * Signals that tell of input and output (fcntl(2), O_ASYNC): a file whose owner wants them
 * waits in the queues that its poll operation names, as one that epoll watches does. When they
 * wake it, the owner gets SIGIO, or the signal it chose with who and why.
 *
 * A queue may be of both ends of a pipe, or wake for all reasons at once: input is told of when
 * it is there, room only when there was none before.
 */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

#define ASYNC_QUEUES 3
struct async {
	struct poll_table pt;
	struct waiter w[ASYNC_QUEUES];
	struct waitq *q[ASYNC_QUEUES];
	u32 queues;
	struct file *f;
	u32 last; /* POLL* bits that held when we looked last */
	int fd;
};

struct f_owner_ex_k {
	s32 type, pid;
};

static const struct {
	u32 bit;
	s32 code;
} reasons[] = {
    {POLLIN, 1 /* POLL_IN */}, {POLLOUT, 2}, {POLLERR, 4}, {POLLPRI, 5}, {POLLHUP, 6}};

static bool may_signal(const struct file *f, const struct proc *p)
{
	const struct cred *c = p->leader ? p->leader->cred : NULL;

	return c && (!f->owner_euid || f->owner_euid == c->suid || f->owner_euid == c->uid ||
		     f->owner_uid == c->suid || f->owner_uid == c->uid);
}

static void signal_owner(struct file *f, int sig, const siginfo_t *info)
{
	struct proc *p, *next;
	struct thread *t;

	if (!f->owner)
		return;
	if (f->owner_type == F_OWNER_TID) {
		t = thread_find((u32)f->owner);
		if (t && t->proc && may_signal(f, t->proc))
			sig_send_thread(t, sig, info);
		return;
	}
	list_each_safe(p, next, &proc_list, all_link)
	{
		if ((f->owner_type == F_OWNER_PID ? p->pid : p->pgid) == f->owner &&
		    !p->zombie && may_signal(f, p))
			sig_send_proc(p, sig, info);
	}
}

void file_sigurg(struct file *f)
{
	if (f)
		signal_owner(f, SIGURG, NULL);
}

static void tell(struct async *a, u32 ready)
{
	struct file *f = a->f;
	siginfo_t info;

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (!(ready & reasons[i].bit))
			continue;
		if (!f->sig) {
			signal_owner(f, SIGIO, NULL);
			return;
		}
		memset(&info, 0, sizeof(info));
		info.si_signo = (int)f->sig;
		info.si_code = reasons[i].code;
		info._sifields._sigpoll._band = (long)(ready & 0xffff);
		info._sifields._sigpoll._fd = a->fd;
		signal_owner(f, (int)f->sig, &info);
	}
}

static void async_wake(struct waiter *w, u32 events)
{
	struct async *a = w->arg;
	u32 acc = a->f->flags & O_ACCMODE, now = a->f->ops->poll(a->f, NULL), fresh;

	fresh = now & events & (~a->last | POLLIN | POLLPRI);
	a->last = now;
	if (acc == O_WRONLY)
		fresh &= ~(u32)(POLLIN | POLLRDNORM);
	if (acc == O_RDONLY)
		fresh &= ~(u32)(POLLOUT | POLLWRNORM);
	tell(a, fresh);
}

static void async_queue(struct poll_table *pt, struct waitq *q)
{
	struct async *a = container_of(pt, struct async, pt);
	struct waiter *w = &a->w[a->queues];

	if (a->queues == ASYNC_QUEUES)
		return;
	a->queues++;
	w->wake = async_wake;
	w->arg = a;
	waitq_add(q, w);
}

void file_async_end(struct file *f)
{
	struct async *a = f->async;

	f->async = NULL;
	f->flags &= ~(u32)FASYNC;
	if (!a)
		return;
	for (u32 i = 0; i < a->queues; i++)
		waitq_del(&a->w[i]);
	kfree(a);
}

static bool tells(const struct file *f)
{
	u32 kind = f->inode ? f->inode->mode & S_IFMT : 0;

	return f->ops->poll && (kind == S_IFIFO || kind == S_IFSOCK || kind == S_IFCHR);
}

int file_async(struct file *f, int fd, bool on)
{
	struct async *a;

	if (on == !!(f->flags & FASYNC))
		return 0;
	if (!on) {
		file_async_end(f);
		return 0;
	}
	f->flags |= FASYNC;
	if (!tells(f))
		return 0; /* as any file may have the flag */
	a = f->async = kalloc(sizeof(*a));
	if (!a) {
		f->flags &= ~(u32)FASYNC;
		return -ENOMEM;
	}
	a->f = f;
	a->fd = fd;
	a->pt.queue = async_queue;
	a->last = f->ops->poll(f, &a->pt);
	return 0;
}

static void owner_set(struct file *f, u32 type, u32 id)
{
	f->owner_type = (u8)type;
	f->owner = id;
	f->owner_uid = current->cred->uid;
	f->owner_euid = current->cred->euid;
}

static bool exists(u32 type, u32 id)
{
	struct proc *p;

	if (type == F_OWNER_TID)
		return thread_find(id) != NULL;
	if (type == F_OWNER_PID)
		return proc_find(id) != NULL;
	list_each(p, &proc_list, all_link) if (p->pgid == id) return true;
	return false;
}

s64 file_setown(struct file *f, s32 who)
{
	u32 type = who < 0 ? F_OWNER_PGRP : F_OWNER_PID, id = who < 0 ? -(u32)who : (u32)who;

	if (who == (s32)0x80000000)
		return -EINVAL;
	if (id && !exists(type, id))
		return -ESRCH;
	owner_set(f, type, id);
	return 0;
}

s32 file_getown(const struct file *f)
{
	return f->owner_type == F_OWNER_PGRP ? -(s32)f->owner : (s32)f->owner;
}

s64 file_owner_ex(struct file *f, u64 arg, bool set)
{
	struct f_owner_ex_k o = {f->owner_type, (s32)f->owner};

	if (!set)
		return put_user(o, arg);
	if (get_user(o, arg))
		return -EFAULT;
	if (o.type < F_OWNER_TID || o.type > F_OWNER_PGRP)
		return -EINVAL;
	if (o.pid && !exists((u32)o.type, (u32)o.pid))
		return -ESRCH;
	owner_set(f, (u32)o.type, (u32)o.pid);
	return 0;
}
