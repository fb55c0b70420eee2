/* SPDX-License-Identifier: ISC */
/*
 * Native asynchronous I/O (io_submit(2)). A request is done when it is submitted, as in Linux
 * on file systems that know no better; its event waits in the context until it is fetched. A
 * context belongs to an address space: its number is the address of a page that is mapped for
 * it, as the C library of it (libaio) looks there for a ring of events; it finds zeros and
 * makes the call.
 */
#include "cells/linux/inc/sys.h"
#include <linux/aio_abi.h>
#include <linux/mman.h>

#define AIO_MAX 65536u /* events of all contexts, as in /proc/sys/fs/aio-max-nr */

struct aio {
	struct list link;
	u64 id;
	u32 refs, room, count, first;
	bool gone;
	struct waitq wait;
	struct io_event *event; /* a ring of `room` */
};
static u32 aio_total;

static void aio_put(struct aio *a)
{
	if (--a->refs)
		return;
	aio_total -= a->room;
	kfree(a->event);
	kfree(a);
}

/* Referenced, or NULL. */
static struct aio *aio_get(u64 id)
{
	struct list *all = &current->mm->aio;
	struct aio *a;

	if (!all->next)
		return NULL;
	list_each(a, all, link) if (a->id == id)
	{
		a->refs++;
		return a;
	}
	return NULL;
}

static void aio_end(struct aio *a)
{
	list_del(&a->link);
	a->gone = true;
	wake_all(&a->wait);
	aio_put(a);
}

void aio_mm_gone(struct mm *mm)
{
	while (mm->aio.next && !list_empty(&mm->aio))
		aio_end(list_first(&mm->aio, struct aio, link));
}

SYSCALL(io_setup, "up", u32 room, u64 uid)
{
	struct mm *mm = current->mm;
	struct aio *a;
	s64 at;
	u64 id;

	if (get_user(id, uid))
		return -EFAULT;
	if (id || !room || room > 0x10000000u / sizeof(struct io_event))
		return -EINVAL;
	if (room > AIO_MAX || aio_total + room > AIO_MAX)
		return -EAGAIN;
	a = kalloc(sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->event = kalloc(room * sizeof(*a->event));
	if (!a->event) {
		kfree(a);
		return -ENOMEM;
	}
	at = mm_map(mm, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NULL,
		    0, 0, NULL);
	a->refs = 1;
	a->room = room;
	a->id = (u64)at;
	aio_total += room;
	if (at < 0 || put_user(a->id, uid)) {
		if (at >= 0)
			mm_unmap(mm, (u64)at, PAGE_SIZE);
		aio_put(a);
		return at < 0 ? at : -EFAULT;
	}
	if (!mm->aio.next)
		list_init(&mm->aio);
	list_add_tail(&mm->aio, &a->link);
	return 0;
}

SYSCALL(io_destroy, "p", u64 id)
{
	struct aio *a = aio_get(id);

	if (!a)
		return -EINVAL;
	aio_end(a);
	aio_put(a);
	mm_unmap(current->mm, id, PAGE_SIZE);
	return 0;
}

static s64 perform(const struct iocb *c)
{
	int fd = (int)c->aio_fildes;
	s64 at = c->aio_offset;
	bool write =
	    c->aio_lio_opcode == IOCB_CMD_PWRITE || c->aio_lio_opcode == IOCB_CMD_PWRITEV;
	struct file *f = fd_get(fd);
	bool seeks;

	if (!f)
		return -EBADF;
	seeks = f->ops->seek != NULL; /* pipes and sockets have no place */
	file_put(f);
	switch (c->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
	case IOCB_CMD_PWRITE:
		return rw_flat(fd, c->aio_buf, c->aio_nbytes, seeks ? &at : NULL, write);
	case IOCB_CMD_PREADV:
	case IOCB_CMD_PWRITEV:
		return rw_vec(fd, c->aio_buf, c->aio_nbytes, seeks ? &at : NULL, write, 0);
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC:
		return fd_sync(fd);
	}
	return -EINVAL;
}

static bool vectored(const struct iocb *c)
{
	return c->aio_lio_opcode == IOCB_CMD_PREADV || c->aio_lio_opcode == IOCB_CMD_PWRITEV;
}

static bool transfers(const struct iocb *c)
{
	return vectored(c) || c->aio_lio_opcode == IOCB_CMD_PREAD ||
	       c->aio_lio_opcode == IOCB_CMD_PWRITE;
}

static bool opened_for(const struct file *f, const struct iocb *c)
{
	bool write =
	    c->aio_lio_opcode == IOCB_CMD_PWRITE || c->aio_lio_opcode == IOCB_CMD_PWRITEV;

	return !(f->flags & O_PATH) && (f->flags & O_ACCMODE) != (write ? O_RDONLY : O_WRONLY);
}

static int check_vector(const struct iocb *c)
{
	struct iovec_k small[8], *heap;
	struct uio u;
	int r = iovec_in(&u, c->aio_buf, c->aio_nbytes, small, &heap);

	kfree(heap);
	return r;
}

/* What is wrong with a request itself is submit's own error; the rest is its event. */
static int check_request(const struct iocb *c)
{
	struct file *f = fd_get((int)c->aio_fildes);
	int r = 0;

	if (!f)
		return -EBADF;
	if (c->aio_reserved2 || (s64)c->aio_nbytes < 0)
		r = -EINVAL;
	else if (transfers(c))
		r = !opened_for(f, c)                   ? -EBADF
		    : c->aio_offset < 0 && f->ops->seek ? -EINVAL
							: 0;
	else if (c->aio_lio_opcode != IOCB_CMD_FSYNC && c->aio_lio_opcode != IOCB_CMD_FDSYNC)
		r = -EINVAL; /* IOCB_CMD_POLL among them */
	file_put(f);
	return r ? r : vectored(c) ? check_vector(c) : 0;
}

static int submit_one(struct aio *a, u64 uiocb)
{
	struct file *told = NULL;
	struct io_event *e;
	struct iocb c;
	s64 result;
	int r;

	if (copy_in(&c, uiocb, sizeof(c)))
		return -EFAULT;
	if (a->count == a->room)
		return -EAGAIN;
	r = check_request(&c);
	if (r)
		return r;
	if (c.aio_flags & IOCB_FLAG_RESFD) {
		told = fd_get((int)c.aio_resfd);
		if (!told || !file_is_eventfd(told)) {
			if (told)
				file_put(told);
			return told ? -EINVAL : -EBADF;
		}
	}
	result = perform(&c);
	if (result == -ERESTARTSYS)
		result = -EINTR;
	if (!a->gone && a->count < a->room) {
		e = &a->event[(a->first + a->count++) % a->room];
		*e = (struct io_event){.data = c.aio_data, .obj = uiocb, .res = result};
		wake_all(&a->wait);
		if (told)
			eventfd_add(told, 1);
	}
	if (told)
		file_put(told);
	return 0;
}

SYSCALL(io_submit, "pdp", u64 id, s64 n, u64 uiocbs)
{
	struct aio *a;
	s64 done = 0;
	int r = 0;

	if (n < 0)
		return -EINVAL;
	a = aio_get(id);
	if (!a)
		return -EINVAL;
	for (; done < n && !a->gone; done++) {
		u64 u;

		r = get_user(u, uiocbs + (u64)done * 8) ? -EFAULT : submit_one(a, u);
		if (r || sched_breathe())
			break;
	}
	if (!r && done < n && !a->gone)
		done++; /* that one was done before the signal was seen */
	aio_put(a);
	return done ? done : r;
}

/* Requests are done when they are made: there is none to take back. */
SYSCALL(io_cancel, "ppp", u64 id, u64 uiocb, u64 uevent)
{
	struct iocb cb;

	return get_user(cb, uiocb) ? -EFAULT : -EINVAL;
}

static s64 events_out(struct aio *a, s64 n, u64 out)
{
	s64 done = 0;

	while (done < n && a->count) {
		struct io_event e = a->event[a->first];

		a->first = (a->first + 1) % a->room;
		a->count--;
		if (copy_out(out + (u64)done * sizeof(e), &e, sizeof(e)))
			return done ? done : -EFAULT;
		done++;
	}
	return done;
}

static s64 get_events(u64 id, s64 least, s64 n, u64 out, u64 utimeout)
{
	struct __kernel_timespec ts;
	u64 deadline = NEVER;
	s64 done = 0, r = 0;
	struct aio *a;

	if (utimeout && get_user(ts, utimeout))
		return -EFAULT;
	if (utimeout && !ts_valid(&ts))
		return -EINVAL;
	if (least < 0 || n < least)
		return -EINVAL;
	if (utimeout)
		deadline = deadline_after(ts_to_ns(&ts));
	a = aio_get(id);
	if (!a)
		return -EINVAL;
	for (;;) {
		r = events_out(a, n - done, out + (u64)done * sizeof(struct io_event));
		if (r < 0)
			break;
		done += r;
		if (done >= least || a->gone)
			break;
		r = wait_event(&a->wait, a->count || a->gone, deadline);
		if (r)
			break;
	}
	aio_put(a);
	if (r == -ETIMEDOUT)
		r = 0;
	return done ? done : r == -ERESTARTSYS ? -EINTR : r < 0 ? r : 0;
}

SYSCALL(io_getevents, "pddpp", u64 id, s64 least, s64 n, u64 out, u64 utimeout)
{
	return get_events(id, least, n, out, utimeout);
}

SYSCALL(io_pgetevents, "pddppp", u64 id, s64 least, s64 n, u64 out, u64 utimeout, u64 usig)
{
	struct thread *t = current;
	u64 sig[2], mask = 0;
	s64 r;

	if (usig && get_user(sig, usig))
		return -EFAULT;
	if (usig && sig[0] && (sig[1] != 8 || get_user(mask, sig[0])))
		return sig[1] != 8 ? -EINVAL : -EFAULT;
	if (!usig || !sig[0])
		return get_events(id, least, n, out, utimeout);
	t->saved_blocked = t->blocked;
	t->blocked = mask & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	t->restore_blocked = true;
	r = get_events(id, least, n, out, utimeout);
	if (r != -EINTR) {
		t->blocked = t->saved_blocked;
		t->restore_blocked = false;
	}
	return r;
}
