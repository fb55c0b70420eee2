/* SPDX-License-Identifier: ISC */
/*
 * Waiting for descriptors: poll, select and epoll. All three hang waiters on the wait
 * queues that a file's poll operation names. An epoll item stays queued; when its queue wakes
 * it moves to the ready list, and epoll_wait asks the file again before it reports.
 */
#include "cells/linux/inc/sys.h"
#include <linux/eventpoll.h>

/* ---- poll and select ---- */
#define POLL_INLINE 16
struct poll_waiter {
	struct waiter w;
	struct list link;
};
struct poll_ctx {
	struct poll_table pt;
	struct thread *t;
	bool fired;
	struct list waiters;
	bool failed;
};

static void poll_fire(struct waiter *w, u32 events)
{
	struct poll_ctx *c = w->arg;

	c->fired = true;
	thread_wake(c->t);
}

static void poll_queue(struct poll_table *pt, struct waitq *q)
{
	struct poll_ctx *c = container_of(pt, struct poll_ctx, pt);
	struct poll_waiter *w = kalloc(sizeof(*w));

	if (!w) {
		c->failed = true;
		return;
	}
	w->w.wake = poll_fire;
	w->w.arg = c;
	list_add_tail(&c->waiters, &w->link);
	waitq_add(q, &w->w);
}

static void poll_end(struct poll_ctx *c)
{
	while (!list_empty(&c->waiters)) {
		struct poll_waiter *w = list_first(&c->waiters, struct poll_waiter, link);

		waitq_del(&w->w);
		list_del(&w->link);
		kfree(w);
	}
}

static u32 file_poll(struct file *f, struct poll_table *pt)
{
	if (f->flags & O_PATH)
		return POLLNVAL;
	return f->ops->poll ? f->ops->poll(f, pt) : POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

struct pollfd_k {
	int fd;
	s16 events, revents;
};

static int poll_scan(struct pollfd_k *p, struct file **files, u32 n, struct poll_table *pt)
{
	int ready = 0;

	for (u32 i = 0; i < n; i++) {
		u32 want = (u16)p[i].events | POLLERR | POLLHUP | POLLNVAL, m = 0;

		if (p[i].fd >= 0)
			m = files[i] ? file_poll(files[i], ready ? NULL : pt) & want : POLLNVAL;
		p[i].revents = (s16)m;
		ready += m != 0;
	}
	return ready;
}

/* files[] hold references while we sleep, as close() may run meanwhile. */
static s64 do_poll(struct pollfd_k *p, u32 n, u64 deadline)
{
	struct poll_ctx c = {.pt.queue = poll_queue, .t = current};
	struct file *few[POLL_INLINE], **files = few;
	s64 r = 0;

	if (n > POLL_INLINE && !(files = kalloc(n * sizeof(*files))))
		return -ENOMEM;
	for (u32 i = 0; i < n; i++)
		files[i] = p[i].fd >= 0 ? fd_get(p[i].fd) : NULL;
	for (bool first = true;; first = false) {
		c.fired = false;
		r = poll_scan(p, files, n, first ? &c.pt : NULL);
		if (r || deadline == 0)
			break;
		if (c.failed) {
			r = -ENOMEM;
			break;
		}
		while (!c.fired && r == 0)
			r = wait_on(NULL, deadline, true);
		if (r == -ETIMEDOUT) {
			r = poll_scan(p, files, n, NULL);
			break;
		}
		if (r)
			break;
	}
	poll_end(&c);
	for (u32 i = 0; i < n; i++)
		if (files[i])
			file_put(files[i]);
	if (files != few)
		kfree(files);
	return r;
}

static s64 poll_user(u64 ufds, u32 n, u64 deadline)
{
	struct pollfd_k *p;
	s64 r;

	if (n > current->proc->rlim[RLIMIT_NOFILE].cur)
		return -EINVAL;
	p = kalloc(n * sizeof(*p) + 8);
	if (!p)
		return -ENOMEM;
	r = copy_in(p, ufds, n * sizeof(*p));
	if (!r)
		r = do_poll(p, n, deadline);
	for (u32 i = 0; i < n && r >= 0; i++)
		if (copy_out(ufds + i * sizeof(*p) + 6, &p[i].revents, 2))
			r = -EFAULT;
	kfree(p);
	return r;
}

SYSCALL(poll, "pud", u64 ufds, u32 n, int ms)
{
	s64 r = poll_user(ufds, n,
			  ms < 0    ? NEVER
			  : ms == 0 ? 0
				    : deadline_after((u64)ms * 1000000));

	return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}

static int mask_set(u64 umask, u64 size)
{
	struct thread *t = current;
	u64 set;

	if (!umask)
		return 0;
	if (size != 8)
		return -EINVAL;
	if (get_user(set, umask))
		return -EFAULT;
	t->saved_blocked = t->blocked;
	t->blocked = set & ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	t->restore_blocked = true;
	return 0;
}

/* The mask is put back at once unless a signal is to be handled under it. */
static void mask_end(s64 r)
{
	struct thread *t = current;

	if (t->restore_blocked && r != -ERESTARTNOHAND && r != -EINTR) {
		t->blocked = t->saved_blocked;
		t->restore_blocked = false;
	}
}

static int deadline_of(u64 uts, u64 *deadline)
{
	struct __kernel_timespec ts;
	int r;

	*deadline = NEVER;
	if (!uts)
		return 0;
	r = timespec_in(&ts, uts);
	if (!r)
		*deadline = ts_to_ns(&ts) ? deadline_after(ts_to_ns(&ts)) : 0;
	return r;
}

static void time_left(u64 uts, u64 deadline)
{
	u64 now = clock_now();
	struct __kernel_timespec ts;

	if (!uts || deadline == NEVER)
		return;
	ts = ns_to_ts(deadline > now ? deadline - now : 0);
	put_user(ts, uts);
}

SYSCALL(ppoll, "puppu", u64 ufds, u32 n, u64 uts, u64 umask, u64 size)
{
	u64 deadline;
	s64 r = deadline_of(uts, &deadline);

	if (!r)
		r = mask_set(umask, size);
	if (r)
		return r;
	r = poll_user(ufds, n, deadline);
	if (r == -ERESTARTSYS)
		r = -ERESTARTNOHAND;
	time_left(uts, deadline);
	mask_end(r);
	return r;
}

/* select in terms of poll: one entry per descriptor named in any set. */
#define SEL_IN  (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SEL_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SEL_EX  POLLPRI

static s64 do_select(int n, const u64 usets[3], u64 deadline)
{
	u32 words, count = 0;
	u64 *sets;
	struct pollfd_k *p;
	s64 r = 0, bits = 0;

	if (n < 0)
		return -EINVAL;
	n = MIN(n, (int)current->files->size);
	words = ((u32)n + 63) / 64;
	sets = kalloc(words * 24 + 8);
	p = kalloc((u32)n * sizeof(*p) + 8);
	if (!sets || !p)
		r = -ENOMEM;
	for (int s = 0; s < 3 && !r; s++)
		if (usets[s] && copy_in(sets + s * words, usets[s], ((u64)n + 7) / 8))
			r = -EFAULT;
	for (int fd = 0; fd < n && !r; fd++) {
		u32 ev = 0;

		ev |= sets[fd / 64] >> fd % 64 & 1 ? SEL_IN : 0;
		ev |= sets[words + fd / 64] >> fd % 64 & 1 ? SEL_OUT : 0;
		ev |= sets[2 * words + fd / 64] >> fd % 64 & 1 ? SEL_EX : 0;
		if (!ev)
			continue;
		if (!current->files->file[fd])
			r = -EBADF;
		p[count++] = (struct pollfd_k){fd, (s16)ev, 0};
	}
	if (!r)
		r = do_poll(p, count, deadline);
	if (r >= 0) {
		for (u32 i = 0; i < count; i++) {
			int fd = p[i].fd;
			u32 m = (u16)p[i].revents;
			u32 hit[3] = {m & SEL_IN, m & SEL_OUT, m & SEL_EX};

			for (int s = 0; s < 3; s++) {
				u64 *w = &sets[(u32)s * words + (u32)fd / 64],
				    b = 1ull << fd % 64;

				if ((*w & b) && hit[s])
					bits++;
				else
					*w &= ~b;
			}
		}
		for (int s = 0; s < 3; s++)
			if (usets[s] && copy_out(usets[s], sets + s * words, ((u64)n + 7) / 8))
				bits = -EFAULT;
		r = bits;
	}
	kfree(sets);
	kfree(p);
	return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}

SYSCALL(select, "dpppp", int n, u64 in, u64 out, u64 ex, u64 utv)
{
	u64 sets[3] = {in, out, ex}, deadline = NEVER;
	s64 tv[2], r;

	if (utv) {
		if (get_user(tv, utv))
			return -EFAULT;
		if (tv[0] < 0 || tv[1] < 0)
			return -EINVAL;
		deadline = tv[0] || tv[1]
			       ? deadline_after((u64)tv[0] * NS_PER_SEC + (u64)tv[1] * 1000)
			       : 0;
	}
	r = do_select(n, sets, deadline);
	if (utv && deadline) {
		u64 now = clock_now(), left = deadline > now ? deadline - now : 0;

		tv[0] = (s64)(left / NS_PER_SEC);
		tv[1] = (s64)(left % NS_PER_SEC / 1000);
		copy_out(utv, tv, sizeof(tv));
	}
	return r;
}

SYSCALL(pselect6, "dppppp", int n, u64 in, u64 out, u64 ex, u64 uts, u64 umask)
{
	u64 sets[3] = {in, out, ex}, deadline, m[2] = {0, 0};
	s64 r = deadline_of(uts, &deadline);

	if (!r && umask && get_user(m, umask))
		r = -EFAULT;
	if (!r)
		r = mask_set(m[0], m[1]);
	if (r)
		return r;
	r = do_select(n, sets, deadline);
	time_left(uts, deadline);
	mask_end(r);
	return r;
}

/* ---- epoll ---- */
struct epoll {
	struct list items, ready;
	struct waitq wait; /* epoll_wait callers and pollers of the epoll file */
	u32 count;
	struct file *file; /* its own, not counted */
};
struct epitem {
	struct list in_epoll, in_ready, in_file;
	struct epoll *ep;
	struct file *file;
	int fd;
	u32 events; /* EPOLL* asked for */
	bool off;   /* a ONESHOT fired */
	u64 data;
	struct epwaiter {
		struct waiter w;
		bool used;
	} waiters[2];
	struct poll_table pt;
};

static void item_wake(struct waiter *w, u32 events)
{
	struct epitem *it = w->arg;

	if (it->off || (events != ~0u && !(events & (it->events | EPOLLERR | EPOLLHUP))))
		return;
	if (!list_linked(&it->in_ready))
		list_add_tail(&it->ep->ready, &it->in_ready);
	wake_events(&it->ep->wait, POLLIN | POLLRDNORM);
}

static void item_queue(struct poll_table *pt, struct waitq *q)
{
	struct epitem *it = container_of(pt, struct epitem, pt);

	for (u32 i = 0; i < ARRAY_SIZE(it->waiters); i++) {
		struct epwaiter *w = &it->waiters[i];

		if (w->used)
			continue;
		w->used = true;
		w->w.wake = item_wake;
		w->w.arg = it;
		waitq_add(q, &w->w);
		return;
	}
}

static void item_free(struct epitem *it)
{
	for (u32 i = 0; i < ARRAY_SIZE(it->waiters); i++)
		if (it->waiters[i].used)
			waitq_del(&it->waiters[i].w);
	list_del(&it->in_epoll);
	list_del(&it->in_ready);
	list_del(&it->in_file);
	it->ep->count--;
	kfree(it);
}

void epoll_file_gone(struct file *f)
{
	while (!list_empty(&f->epolls))
		item_free(list_first(&f->epolls, struct epitem, in_file));
}

static void epoll_release(struct file *f)
{
	struct epoll *ep = f->priv;

	while (!list_empty(&ep->items))
		item_free(list_first(&ep->items, struct epitem, in_epoll));
	kfree(ep);
}

static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
	struct epoll *ep = f->priv;
	struct epitem *it, *tmp;

	poll_wait(pt, &ep->wait);
	list_each_safe(it, tmp, &ep->ready, in_ready)
	{
		if (!it->off &&
		    (file_poll(it->file, NULL) & (it->events | EPOLLERR | EPOLLHUP)))
			return POLLIN | POLLRDNORM;
		list_del(&it->in_ready);
	}
	return 0;
}

static const struct file_ops epoll_fops = {.poll = epoll_poll, .release = epoll_release};

static s64 epoll_new(u32 flags)
{
	struct epoll *ep = kalloc(sizeof(*ep));
	struct file *f;
	int fd;

	if (!ep)
		return -ENOMEM;
	f = anon_file("anon_inode:[eventpoll]", &epoll_fops, ep, O_RDWR, 0600);
	if (!f) {
		kfree(ep);
		return -ENOMEM;
	}
	ep->file = f;
	fd = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

SYSCALL(epoll_create1, "x", u32 flags)
{
	return flags & ~(u32)O_CLOEXEC ? -EINVAL : epoll_new(flags);
}
SYSCALL(epoll_create, "d", int size)
{
	return size <= 0 ? -EINVAL : epoll_new(0);
}

static struct epitem *item_find(struct epoll *ep, struct file *f, int fd)
{
	struct epitem *it;

	list_each(it, &f->epolls, in_file) if (it->ep == ep && it->fd == fd) return it;
	return NULL;
}

#define NEST_MAX 4

/* How many epolls watch each other above this one. Polling goes down the same way on the
 * kernel's stack, so the sum of both directions is bounded. */
static int epoll_height(const struct epoll *ep, int depth)
{
	const struct epitem *it;
	int most = 0;

	if (depth > NEST_MAX)
		return depth;
	list_each(it, &ep->file->epolls, in_file) most =
	    MAX(most, 1 + epoll_height(it->ep, depth + 1));
	return most;
}

/* Would watching f by ep close a circle of epolls, or nest them too deep? */
static bool epoll_circle(struct epoll *ep, struct file *f, int depth)
{
	struct epoll *inner = f->priv;
	struct epitem *it;

	if (f->ops != &epoll_fops)
		return false;
	if (inner == ep || depth >= NEST_MAX)
		return true;
	list_each(it, &inner->items,
		  in_epoll) if (epoll_circle(ep, it->file, depth + 1)) return true;
	return false;
}

static s64 item_add(struct epoll *ep, struct file *f, int fd, const struct epoll_event *ev)
{
	struct epitem *it;

	if (!f->ops->poll)
		return -EPERM;
	if (epoll_circle(ep, f, f->ops == &epoll_fops ? epoll_height(ep, 0) : 0))
		return -ELOOP;
	it = kalloc(sizeof(*it));
	if (!it)
		return -ENOMEM;
	it->ep = ep;
	it->file = f;
	it->fd = fd;
	it->events = ev->events;
	it->data = ev->data;
	it->pt.queue = item_queue;
	list_add_tail(&ep->items, &it->in_epoll);
	list_add_tail(&f->epolls, &it->in_file);
	ep->count++;
	if (file_poll(f, &it->pt) & (it->events | EPOLLERR | EPOLLHUP)) {
		list_add_tail(&ep->ready, &it->in_ready);
		wake_events(&ep->wait, POLLIN | POLLRDNORM);
	}
	return 0;
}

static void item_mod(struct epitem *it, const struct epoll_event *ev)
{
	it->events = ev->events;
	it->off = false;
	it->data = ev->data;
	if (file_poll(it->file, NULL) & (it->events | EPOLLERR | EPOLLHUP)) {
		if (!list_linked(&it->in_ready))
			list_add_tail(&it->ep->ready, &it->in_ready);
		wake_events(&it->ep->wait, POLLIN | POLLRDNORM);
	}
}

SYSCALL(epoll_ctl, "fdfp", int epfd, int op, int fd, u64 uev)
{
	struct file *e = fd_get(epfd), *f = fd_get(fd);
	struct epoll_event ev = {0};
	struct epitem *it;
	s64 r = -EBADF;

	if (!e || !f)
		goto out;
	r = -EFAULT;
	if (op != EPOLL_CTL_DEL && get_user(ev, uev))
		goto out;
	r = -EINVAL;
	if (e->ops != &epoll_fops || e == f)
		goto out;
	it = item_find(e->priv, f, fd);
	switch (op) {
	case EPOLL_CTL_ADD:
		r = it ? -EEXIST : item_add(e->priv, f, fd, &ev);
		break;
	case EPOLL_CTL_MOD:
		r = it ? 0 : -ENOENT;
		if (it)
			item_mod(it, &ev);
		break;
	case EPOLL_CTL_DEL:
		r = it ? 0 : -ENOENT;
		if (it)
			item_free(it);
		break;
	}
out:
	if (e)
		file_put(e);
	if (f)
		file_put(f);
	return r;
}

/* Report what is ready; level-triggered items go to the end of the list. */
static s64 collect(struct epoll *ep, u64 uev, int max)
{
	struct epitem *it;
	struct list again = {0};
	int n = 0;

	while (n < max && !list_empty(&ep->ready)) {
		struct epoll_event ev;
		u32 m;

		it = list_first(&ep->ready, struct epitem, in_ready);
		list_del(&it->in_ready);
		m = it->off ? 0
			    : file_poll(it->file, NULL) & (it->events | EPOLLERR | EPOLLHUP);
		if (!m)
			continue;
		ev.events = m;
		ev.data = it->data;
		if (it->events & EPOLLONESHOT)
			it->off = true;
		else if (!(it->events & EPOLLET))
			list_add_tail(&again, &it->in_ready);
		if (copy_out(uev + (u64)n * sizeof(ev), &ev, sizeof(ev))) {
			n = n ? n : -EFAULT;
			break;
		}
		n++;
	}
	while (!list_empty(&again)) {
		it = list_first(&again, struct epitem, in_ready);
		list_del(&it->in_ready);
		list_add_tail(&ep->ready, &it->in_ready);
	}
	return n;
}

static s64 do_epoll_wait(int epfd, u64 uev, int max, u64 deadline)
{
	struct file *e = fd_get(epfd);
	struct epoll *ep;
	s64 r = -EINVAL;

	if (!e)
		return -EBADF;
	if (e->ops != &epoll_fops || max <= 0 || max > 0x7fffffff / 12)
		goto out;
	r = -EFAULT;
	if (!user_range_ok(uev, (u64)max * 12))
		goto out;
	ep = e->priv;
	for (;;) {
		r = collect(ep, uev, max);
		if (r || deadline == 0)
			break;
		r = wait_event(&ep->wait, !list_empty(&ep->ready), deadline);
		if (r == -ETIMEDOUT) {
			r = 0;
			break;
		}
		if (r) {
			r = -EINTR;
			break;
		}
	}
out:
	file_put(e);
	return r;
}

static u64 deadline_ms(int ms)
{
	return ms < 0 ? NEVER : ms ? deadline_after((u64)ms * 1000000) : 0;
}

SYSCALL(epoll_wait, "fpdd", int epfd, u64 uev, int max, int ms)
{
	return do_epoll_wait(epfd, uev, max, deadline_ms(ms));
}
SYSCALL(epoll_pwait, "fpddpu", int epfd, u64 uev, int max, int ms, u64 umask, u64 size)
{
	s64 r = mask_set(umask, size);

	if (r)
		return r;
	r = do_epoll_wait(epfd, uev, max, deadline_ms(ms));
	mask_end(r);
	return r;
}
SYSCALL(epoll_pwait2, "fpdppu", int epfd, u64 uev, int max, u64 uts, u64 umask, u64 size)
{
	u64 deadline;
	s64 r = deadline_of(uts, &deadline);

	if (!r)
		r = mask_set(umask, size);
	if (r)
		return r;
	r = do_epoll_wait(epfd, uev, max, deadline);
	mask_end(r);
	return r;
}
