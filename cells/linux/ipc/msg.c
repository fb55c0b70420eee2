/* SPDX-License-Identifier: ISC */
/*
 * System V message queues. Messages lie in one list in order of arrival; a receiver
 * takes the first that its type asks for. Senders and receivers sleep on one wait queue and
 * look again: queues are short and rarely have many sleepers.
 */
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/sys.h"
#include <asm/msgbuf.h>
#include <linux/capability.h>

#define MSG_NOERROR  010000
#define MSG_EXCEPT   020000
#define MSG_COPY     040000
#define MSG_STAT     11
#define MSG_INFO     12
#define MSG_STAT_ANY 13

struct message {
	struct list link;
	s64 type;
	u64 size;
	u8 text[];
};
struct msg_queue {
	struct ipc_object o;
	struct list messages;
	struct waitq wait;
	u64 bytes, count, max_bytes;
	s64 stime, rtime, ctime;
	u32 lspid, lrpid;
};

u64 msg_max_size = 8192, msg_max_bytes = 16384;
static u64 all_bytes, all_count;

static void msg_destroy(struct ipc_object *o)
{
	struct msg_queue *q = (struct msg_queue *)o;
	struct message *m, *tmp;

	list_each_safe(m, tmp, &q->messages, link) kfree(m);
	all_bytes -= q->bytes;
	all_count -= q->count;
	kfree(q);
}
struct ipc_set msg_set = {.limit = 32000, .destroy = msg_destroy, .next_id = ~0u};

static struct ipc_object *msg_create(const struct ipc_get *g, int *err)
{
	struct msg_queue *q = kalloc(sizeof(*q));

	*err = -ENOMEM;
	if (!q)
		return NULL;
	list_init(&q->messages);
	q->max_bytes = msg_max_bytes;
	q->ctime = ipc_seconds();
	*err = 0;
	return &q->o;
}

static int msg_check(const struct ipc_object *o, const struct ipc_get *g)
{
	return 0;
}

SYSCALL(msgget, "dx", s32 key, u32 flags)
{
	struct ipc_get g = {
	    .key = key, .flags = flags, .create = msg_create, .check = msg_check};

	return ipc_get(&msg_set, &g);
}

static s64 enqueue(struct msg_queue *q, struct message *m, u32 flags)
{
	int r;

	for (;;) {
		if (q->o.removed)
			return -EIDRM;
		if (ipc_permission(&q->o, 2))
			return -EACCES;
		if (m->size + q->bytes <= q->max_bytes && q->count < q->max_bytes)
			break;
		if (flags & IPC_NOWAIT)
			return -EAGAIN;
		r = wait_on(&q->wait, NEVER, true);
		if (r)
			return q->o.removed ? -EIDRM : -ERESTARTNOHAND;
	}
	list_add_tail(&q->messages, &m->link);
	q->bytes += m->size;
	q->count++;
	all_bytes += m->size;
	all_count++;
	q->lspid = current->proc->pid;
	q->stime = ipc_seconds();
	wake_all(&q->wait);
	return 0;
}

SYSCALL(msgsnd, "dpux", s32 id, u64 ubuf, u64 size, u32 flags)
{
	struct msg_queue *q;
	struct message *m;
	s64 type, r;

	if (id < 0 || size > msg_max_size)
		return -EINVAL;
	if (get_user(type, ubuf))
		return -EFAULT;
	if (type < 1)
		return -EINVAL;
	m = kalloc(sizeof(*m) + size);
	if (!m)
		return -ENOMEM;
	m->type = type;
	m->size = size;
	if (copy_in(m->text, ubuf + 8, size)) {
		kfree(m);
		return -EFAULT;
	}
	q = (struct msg_queue *)ipc_find(&msg_set, id);
	if (!q) {
		kfree(m);
		return -EINVAL;
	}
	ipc_hold(&q->o);
	r = enqueue(q, m, flags);
	ipc_put(&msg_set, &q->o);
	if (r)
		kfree(m);
	return r;
}

/* The message that a type asks for: 0 the first, > 0 that type (or, with MSG_EXCEPT, any
 * other), < 0 the lowest type up to its amount. */
static struct message *choose(struct msg_queue *q, s64 type, u32 flags)
{
	struct message *m, *best = NULL;
	s64 index = 0;

	list_each(m, &q->messages, link)
	{
		if (flags & MSG_COPY) {
			if (index++ == type)
				return m;
		} else if (type >= 0) {
			if (!type || (m->type == type) == !(flags & MSG_EXCEPT))
				return m;
		} else if ((type == INT64_MIN || m->type <= -type) &&
			   (!best || m->type < best->type)) {
			best = m;
		}
	}
	return best;
}

static s64 deliver(struct msg_queue *q, struct message *m, u64 ubuf, u64 size, u32 flags)
{
	u64 n = MIN(m->size, size);

	if (m->size > size && !(flags & MSG_NOERROR))
		return -E2BIG;
	if (m->size > size && (flags & MSG_COPY))
		return -EINVAL;
	if (!(flags & MSG_COPY)) {
		list_del(&m->link);
		q->bytes -= m->size;
		q->count--;
		all_bytes -= m->size;
		all_count--;
		q->lrpid = current->proc->pid;
		q->rtime = ipc_seconds();
		wake_all(&q->wait);
	} else {
		m = kmemdup(m, sizeof(*m) + m->size);
		if (!m)
			return -ENOMEM;
	}
	if (put_user(m->type, ubuf) || copy_out(ubuf + 8, m->text, n)) {
		kfree(m);
		return -EFAULT;
	}
	kfree(m);
	return (s64)n;
}

static s64 receive(struct msg_queue *q, u64 ubuf, u64 size, s64 type, u32 flags)
{
	for (;;) {
		struct message *m;
		int r;

		if (q->o.removed)
			return -EIDRM;
		if (ipc_permission(&q->o, 4))
			return -EACCES;
		m = choose(q, type, flags);
		if (m)
			return deliver(q, m, ubuf, size, flags);
		if (flags & IPC_NOWAIT)
			return -ENOMSG;
		r = wait_on(&q->wait, NEVER, true);
		if (r)
			return q->o.removed ? -EIDRM : -ERESTARTNOHAND;
	}
}

SYSCALL(msgrcv, "dpudx", s32 id, u64 ubuf, u64 size, s64 type, u32 flags)
{
	struct msg_queue *q;
	s64 r;

	if (id < 0 || (s64)size < 0)
		return -EINVAL;
	if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	q = (struct msg_queue *)ipc_find(&msg_set, id);
	if (!q)
		return -EINVAL;
	ipc_hold(&q->o);
	r = receive(q, ubuf, size, type, flags);
	ipc_put(&msg_set, &q->o);
	return r;
}

static s64 msg_stat(struct msg_queue *q, u64 ubuf, bool rights)
{
	struct msqid64_ds d = {0};

	if (!q)
		return -EINVAL;
	if (rights && ipc_permission(&q->o, 4))
		return -EACCES;
	ipc_perm_out(&q->o, &d.msg_perm);
	d.msg_stime = q->stime;
	d.msg_rtime = q->rtime;
	d.msg_ctime = q->ctime;
	d.msg_cbytes = q->bytes;
	d.msg_qnum = q->count;
	d.msg_qbytes = q->max_bytes;
	d.msg_lspid = (int)q->lspid;
	d.msg_lrpid = (int)q->lrpid;
	return put_user(d, ubuf);
}

static s64 set_attr(struct msg_queue *q, u64 ubuf)
{
	struct msqid64_ds d;
	int r;

	if (get_user(d, ubuf))
		return -EFAULT;
	r = ipc_owner(&q->o);
	if (r)
		return r;
	if (d.msg_qbytes > msg_max_bytes && !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	r = ipc_perm_set(&q->o, &d.msg_perm);
	if (r)
		return r;
	q->max_bytes = d.msg_qbytes;
	q->ctime = ipc_seconds();
	wake_all(&q->wait);
	return 0;
}

static s64 msg_set_attr(struct msg_queue *q, u64 ubuf)
{
	s64 r;

	ipc_hold(&q->o); /* copying may sleep, and others remove it */
	r = set_attr(q, ubuf);
	ipc_put(&msg_set, &q->o);
	return r;
}

static s64 msg_info(u64 ubuf, bool used)
{
	s32 v[8] = {0};
	u16 seg = 0xffff;

	v[0] = used ? (s32)msg_set.used : (s32)(msg_set.limit * msg_max_bytes / 1024);
	v[1] = used ? (s32)all_count : (s32)msg_max_bytes;
	v[2] = (s32)msg_max_size;
	v[3] = (s32)msg_max_bytes;
	v[4] = (s32)msg_set.limit;
	v[5] = 16;
	v[6] = used ? (s32)all_bytes : (s32)msg_max_bytes;
	memcpy(&v[7], &seg, 2);
	return copy_out(ubuf, v, sizeof(v)) ? -EFAULT : ipc_highest(&msg_set);
}

SYSCALL(msgctl, "ddp", s32 id, int cmd, u64 ubuf)
{
	struct msg_queue *q = (struct msg_queue *)ipc_find(&msg_set, id);
	int r;

	cmd &= ~0x100; /* IPC_64 */
	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case MSG_INFO:
		return msg_info(ubuf, cmd == MSG_INFO);
	case MSG_STAT:
	case MSG_STAT_ANY:
		q = (struct msg_queue *)ipc_at(&msg_set, id);
		id = q ? (s32)q->o.id : 0; /* copying may sleep, and others remove it */
		r = (int)msg_stat(q, ubuf, cmd == MSG_STAT);
		return r ? r : id;
	}
	if (cmd != IPC_STAT && cmd != IPC_SET && cmd != IPC_RMID)
		return -EINVAL;
	if (!q)
		return -EINVAL;
	if (cmd == IPC_STAT)
		return msg_stat(q, ubuf, true);
	if (cmd == IPC_SET)
		return msg_set_attr(q, ubuf);
	r = ipc_owner(&q->o);
	if (r)
		return r;
	ipc_hold(&q->o);
	ipc_remove(&msg_set, &q->o);
	wake_all(&q->wait);
	ipc_put(&msg_set, &q->o);
	return 0;
}

void msg_text(struct text *t)
{
	text_add(t,
		 "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  "
		 "cuid  cgid      stime      rtime      ctime\n");
	for (u32 i = 0; i < msg_set.room; i++) {
		struct msg_queue *q = (struct msg_queue *)msg_set.slot[i];

		if (q)
			text_add(
			    t,
			    "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10ld %10ld "
			    "%10ld\n",
			    q->o.key, (s32)q->o.id, q->o.mode, q->bytes, q->count, q->lspid,
			    q->lrpid, q->o.uid, q->o.gid, q->o.cuid, q->o.cgid, q->stime,
			    q->rtime, q->ctime);
	}
}
