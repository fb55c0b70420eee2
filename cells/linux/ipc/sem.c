/* SPDX-License-Identifier: ISC */
/*
 * System V semaphores.
 *
 * semop is all or nothing: the operations are tried on a copy of the values; what can't be done
 * now makes the caller sleep in the set's list until the set changed, then it is tried
 * again, in order of arrival. A change wakes all sleepers of the set. SEM_UNDO keeps one
 * adjustment per semaphore and undo list; threads made with CLONE_SYSVSEM share the list, the
 * last one to end applies it.
 */
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/sys.h"
#include <linux/sem.h>

struct sem {
	s32 value;
	u32 pid;
	u32 ncnt, zcnt;
};
struct sem_array {
	struct ipc_object o;
	struct waitq wait;
	struct list undos;
	s64 otime, ctime;
	u32 count;
	struct sem sem[];
};
struct sem_undo {
	struct list in_array, in_list;
	struct sem_array *array;
	s16 adjust[];
};
struct sem_undo_list {
	u32 refs;
	struct list undos;
};

u32 sem_limits[4] = {32000, 1024000000, 500, 32000}; /* per set, in all, per call, sets */
static u32 all_sems;

static void sem_destroy(struct ipc_object *o)
{
	kfree(o);
}
struct ipc_set sem_set = {.limit = 32000, .destroy = sem_destroy, .next_id = ~0u};

static struct ipc_object *sem_create(const struct ipc_get *g, int *err)
{
	struct sem_array *a;

	*err = -EINVAL;
	if (!g->size)
		return NULL;
	*err = -ENOSPC;
	if (sem_set.used >= sem_limits[3] || all_sems + g->size > sem_limits[1])
		return NULL;
	*err = -ENOMEM;
	a = kalloc(sizeof(*a) + g->size * sizeof(a->sem[0]));
	if (!a)
		return NULL;
	a->count = (u32)g->size;
	a->ctime = ipc_seconds();
	list_init(&a->undos);
	all_sems += a->count;
	*err = 0;
	return &a->o;
}

static int sem_check(const struct ipc_object *o, const struct ipc_get *g)
{
	return g->size > ((const struct sem_array *)o)->count ? -EINVAL : 0;
}

SYSCALL(semget, "ddx", s32 key, int count, u32 flags)
{
	struct ipc_get g = {.key = key,
			    .flags = flags,
			    .create = sem_create,
			    .check = sem_check,
			    .size = (u64)count};

	if (count < 0 || (u32)count > sem_limits[0])
		return -EINVAL;
	return ipc_get(&sem_set, &g);
}

/* ---- Undo ---- */
int sem_undo_prepare(struct thread *t)
{
	if (!t->sem_undo) {
		t->sem_undo = kalloc(sizeof(*t->sem_undo));
		if (!t->sem_undo)
			return -ENOMEM;
		t->sem_undo->refs = 1;
		list_init(&t->sem_undo->undos);
	}
	return 0;
}

void sem_share_undo(struct thread *from, struct thread *to)
{
	if (!sem_undo_prepare(from)) {
		to->sem_undo = from->sem_undo;
		to->sem_undo->refs++;
	}
}

static struct sem_undo *undo_of(struct sem_array *a, bool make)
{
	struct sem_undo_list *l;
	struct sem_undo *u;

	if (sem_undo_prepare(current))
		return NULL;
	l = current->sem_undo;
	list_each(u, &l->undos, in_list) if (u->array == a) return u;
	u = make ? kalloc(sizeof(*u) + a->count * sizeof(u->adjust[0])) : NULL;
	if (!u)
		return NULL;
	u->array = a;
	list_add_tail(&l->undos, &u->in_list);
	list_add_tail(&a->undos, &u->in_array);
	return u;
}

static void undo_free(struct sem_undo *u)
{
	list_del(&u->in_list);
	list_del(&u->in_array);
	kfree(u);
}

static void undo_clear(struct sem_array *a, u32 from, u32 n)
{
	struct sem_undo *u;

	list_each(u, &a->undos, in_array) for (u32 i = from; i < from + n; i++) u->adjust[i] =
	    0;
}

void sem_exit(struct thread *t)
{
	struct sem_undo_list *l = t->sem_undo;

	t->sem_undo = NULL;
	if (!l || --l->refs)
		return;
	while (!list_empty(&l->undos)) {
		struct sem_undo *u = list_first(&l->undos, struct sem_undo, in_list);
		struct sem_array *a = u->array;

		for (u32 i = 0; i < a->count; i++) {
			if (!u->adjust[i])
				continue;
			a->sem[i].value = MAX(0, MIN(SEMVMX, a->sem[i].value + u->adjust[i]));
			a->sem[i].pid = t->proc ? t->proc->pid : 0;
		}
		a->otime = ipc_seconds();
		wake_all(&a->wait);
		undo_free(u);
	}
	kfree(l);
}

/* ---- semop ---- */
struct attempt {
	struct sembuf *op;
	u32 count;
	u32 blocked; /* index of the operation that has to wait */
};

/* 0: can be done; 1: must wait; -errno. Values are changed; the caller takes them back. */
static int try_all(struct sem_array *a, struct attempt *t, const struct sem_undo *u)
{
	for (u32 i = 0; i < t->count; i++) {
		const struct sembuf *op = &t->op[i];
		struct sem *s = &a->sem[op->sem_num];

		t->blocked = i;
		if (!op->sem_op ? s->value != 0 : s->value + op->sem_op < 0)
			return op->sem_flg & IPC_NOWAIT ? -EAGAIN : 1;
		if (s->value + op->sem_op > SEMVMX)
			return -ERANGE;
		if (op->sem_flg & SEM_UNDO) {
			s32 adj = u->adjust[op->sem_num] - op->sem_op;

			if (adj < -SEMAEM - 1 || adj > SEMAEM)
				return -ERANGE;
		}
		s->value += op->sem_op;
	}
	t->blocked = t->count;
	return 0;
}

static int perform(struct sem_array *a, struct attempt *t, struct sem_undo *u)
{
	int r = try_all(a, t, u);

	if (r) {
		for (u32 i = 0; i < t->blocked; i++)
			a->sem[t->op[i].sem_num].value -= t->op[i].sem_op;
		return r;
	}
	for (u32 i = 0; i < t->count; i++) {
		a->sem[t->op[i].sem_num].pid = current->proc->pid;
		if (t->op[i].sem_flg & SEM_UNDO)
			u->adjust[t->op[i].sem_num] =
			    (s16)(u->adjust[t->op[i].sem_num] - t->op[i].sem_op);
	}
	a->otime = ipc_seconds();
	return 0;
}

static s64 operate(struct sem_array *a, struct attempt *t, u64 deadline)
{
	bool alter = false, undo = false;
	struct sem_undo *u = NULL;

	for (u32 i = 0; i < t->count; i++) {
		if (t->op[i].sem_num >= a->count)
			return -EFBIG;
		alter |= t->op[i].sem_op != 0;
		undo |= (t->op[i].sem_flg & SEM_UNDO) != 0;
	}
	if (ipc_permission(&a->o, alter ? 2 : 4))
		return -EACCES;
	for (;;) {
		const struct sembuf *op;
		u32 *waiters;
		int r;

		if (undo) {
			u = undo_of(a, true);
			if (!u)
				return -ENOMEM;
		}
		r = perform(a, t, u);
		if (r <= 0) {
			if (!r && alter)
				wake_all(&a->wait);
			return r;
		}
		op = &t->op[t->blocked];
		waiters = op->sem_op ? &a->sem[op->sem_num].ncnt : &a->sem[op->sem_num].zcnt;
		++*waiters;
		r = wait_on(&a->wait, deadline, true);
		--*waiters;
		if (a->o.removed)
			return -EIDRM;
		if (r)
			return r == -ETIMEDOUT ? -EAGAIN : -EINTR;
	}
}

static s64 do_semop(s32 id, u64 uops, u64 n, u64 deadline)
{
	struct sem_array *a;
	struct attempt t = {.count = (u32)n};
	s64 r;

	if (!n || id < 0)
		return -EINVAL;
	if (n > sem_limits[2])
		return -E2BIG;
	t.op = kalloc(n * sizeof(*t.op));
	if (!t.op)
		return -ENOMEM;
	if (copy_in(t.op, uops, n * sizeof(*t.op))) {
		kfree(t.op);
		return -EFAULT;
	}
	a = (struct sem_array *)ipc_find(&sem_set, id);
	if (a) {
		ipc_hold(&a->o);
		r = operate(a, &t, deadline);
		ipc_put(&sem_set, &a->o);
	} else {
		r = -EINVAL;
	}
	kfree(t.op);
	return r;
}

SYSCALL(semop, "dpu", s32 id, u64 uops, u64 n)
{
	return do_semop(id, uops, n, NEVER);
}

SYSCALL(semtimedop, "dpup", s32 id, u64 uops, u64 n, u64 uts)
{
	struct __kernel_timespec ts;

	if (!uts)
		return do_semop(id, uops, n, NEVER);
	if (get_user(ts, uts))
		return -EFAULT;
	if (!ts_valid(&ts))
		return -EINVAL;
	return do_semop(id, uops, n, deadline_after(ts_to_ns(&ts)));
}

/* ---- semctl ---- */
static s64 sem_stat(struct sem_array *a, u64 ubuf, bool rights)
{
	struct semid64_ds d = {0};

	if (!a)
		return -EINVAL;
	if (rights && ipc_permission(&a->o, 4))
		return -EACCES;
	ipc_perm_out(&a->o, &d.sem_perm);
	d.sem_otime = a->otime;
	d.sem_ctime = a->ctime;
	d.sem_nsems = a->count;
	return put_user(d, ubuf);
}

static s64 sem_info(u64 ubuf, bool used)
{
	struct seminfo i = {.semmap = (int)sem_limits[1],
			    .semmni = (int)sem_limits[3],
			    .semmns = (int)sem_limits[1],
			    .semmnu = (int)sem_limits[1],
			    .semmsl = (int)sem_limits[0],
			    .semopm = (int)sem_limits[2],
			    .semume = (int)sem_limits[2],
			    .semusz = used ? (int)sem_set.used : SEMUSZ,
			    .semvmx = SEMVMX,
			    .semaem = used ? (int)all_sems : SEMAEM};

	return put_user(i, ubuf) ? -EFAULT : ipc_highest(&sem_set);
}

static s64 set_attr(struct sem_array *a, u64 ubuf)
{
	struct semid64_ds d;
	int r;

	if (get_user(d, ubuf))
		return -EFAULT;
	r = ipc_owner(&a->o);
	if (!r)
		r = ipc_perm_set(&a->o, &d.sem_perm);
	if (!r)
		a->ctime = ipc_seconds();
	return r;
}

static s64 sem_set_attr(struct sem_array *a, u64 ubuf)
{
	s64 r;

	ipc_hold(&a->o); /* copying may sleep, and others remove it */
	r = set_attr(a, ubuf);
	ipc_put(&sem_set, &a->o);
	return r;
}

static s64 sem_remove(struct sem_array *a)
{
	int r = ipc_owner(&a->o);

	if (r)
		return r;
	ipc_hold(&a->o);
	ipc_remove(&sem_set, &a->o);
	all_sems -= a->count;
	while (!list_empty(&a->undos))
		undo_free(list_first(&a->undos, struct sem_undo, in_array));
	wake_all(&a->wait);
	ipc_put(&sem_set, &a->o);
	return 0;
}

static s64 sem_all(struct sem_array *a, u64 uarray, bool set)
{
	u16 *v = kalloc(a->count * sizeof(*v));
	s64 r = 0;

	if (!v)
		return -ENOMEM;
	if (set) {
		r = copy_in(v, uarray, a->count * sizeof(*v));
		for (u32 i = 0; i < a->count && !r; i++)
			if (v[i] > SEMVMX)
				r = -ERANGE;
		for (u32 i = 0; i < a->count && !r; i++) {
			a->sem[i].value = v[i];
			a->sem[i].pid = current->proc->pid;
		}
		if (!r) {
			undo_clear(a, 0, a->count);
			a->ctime = ipc_seconds();
			wake_all(&a->wait);
		}
	} else {
		for (u32 i = 0; i < a->count; i++)
			v[i] = (u16)a->sem[i].value;
		r = copy_out(uarray, v, a->count * sizeof(*v));
	}
	kfree(v);
	return r;
}

static s64 sem_setval(struct sem_array *a, u32 num, int value)
{
	if (value < 0 || value > SEMVMX)
		return -ERANGE;
	a->sem[num].value = value;
	a->sem[num].pid = current->proc->pid;
	undo_clear(a, num, 1);
	a->ctime = ipc_seconds();
	wake_all(&a->wait);
	return 0;
}

static s64 sem_one(struct sem_array *a, int num, int cmd, u64 arg)
{
	const struct sem *s;

	if (num < 0 || (u32)num >= a->count)
		return -EINVAL;
	s = &a->sem[num];
	switch (cmd) {
	case GETVAL:
		return s->value;
	case GETPID:
		return s->pid;
	case GETNCNT:
		return s->ncnt;
	case GETZCNT:
		return s->zcnt;
	}
	return sem_setval(a, (u32)num, (int)arg);
}

SYSCALL(semctl, "dddx", s32 id, int num, int cmd, u64 arg)
{
	struct sem_array *a = (struct sem_array *)ipc_find(&sem_set, id);
	s64 r;

	cmd &= ~0x100; /* IPC_64 */
	if (id < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
	case SEM_INFO:
		return sem_info(arg, cmd == SEM_INFO);
	case SEM_STAT:
	case SEM_STAT_ANY:
		a = (struct sem_array *)ipc_at(&sem_set, id);
		id = a ? (s32)a->o.id : 0; /* copying may sleep, and others remove it */
		r = sem_stat(a, arg, cmd == SEM_STAT);
		return r ? r : id;
	}
	if (!a)
		return -EINVAL;
	switch (cmd) {
	case IPC_STAT:
		return sem_stat(a, arg, true);
	case IPC_SET:
		return sem_set_attr(a, arg);
	case IPC_RMID:
		return sem_remove(a);
	case GETALL:
	case SETALL:
		r = ipc_permission(&a->o, cmd == SETALL ? 2 : 4);
		if (r)
			return r;
		ipc_hold(&a->o);
		r = sem_all(a, arg, cmd == SETALL);
		ipc_put(&sem_set, &a->o);
		return r;
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
	case SETVAL:
		r = ipc_permission(&a->o, cmd == SETVAL ? 2 : 4);
		return r ? r : sem_one(a, num, cmd, arg);
	}
	return -EINVAL;
}

void sem_text(struct text *t)
{
	text_add(t,
		 "       key      semid perms      nsems   uid   gid  cuid  cgid      otime  "
		 "    ctime\n");
	for (u32 i = 0; i < sem_set.room; i++) {
		struct sem_array *a = (struct sem_array *)sem_set.slot[i];

		if (a)
			text_add(t, "%10d %10d  %4o %10u %5u %5u %5u %5u %10ld %10ld\n",
				 a->o.key, (s32)a->o.id, a->o.mode, a->count, a->o.uid,
				 a->o.gid, a->o.cuid, a->o.cgid, a->otime, a->ctime);
	}
}
