/* SPDX-License-Identifier: ISC */
/* eventfd, timerfd, signalfd and pidfd: descriptors that tell of events. */
#include "cells/linux/inc/sys.h"
#include <linux/signalfd.h>

int clock_value(int id, u64 *ns);

static s64 install(struct file *f, u32 flags)
{
	int fd;

	if (!f)
		return -ENOMEM;
	fd = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

/* ---- eventfd ---- */
struct eventfd {
	u64 count;
	bool semaphore;
	struct waitq wait;
};

static ssize ev_read(struct file *f, struct uio *u, u64 *pos)
{
	struct eventfd *e = f->priv;
	u64 v;
	int r;

	if (u->left < 8)
		return -EINVAL;
	if (!e->count) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&e->wait, e->count, NEVER);
		if (r)
			return r;
	}
	v = e->semaphore ? 1 : e->count;
	e->count -= v;
	wake_events(&e->wait, POLLOUT);
	return uio_out(u, &v, 8) ? -EFAULT : 8;
}

static ssize ev_write(struct file *f, struct uio *u, u64 *pos)
{
	struct eventfd *e = f->priv;
	u64 v;
	int r;

	if (u->left < 8)
		return -EINVAL;
	if (uio_in(u, &v, 8))
		return -EFAULT;
	if (v == NEVER)
		return -EINVAL;
	if (v > NEVER - 1 - e->count) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&e->wait, v <= NEVER - 1 - e->count, NEVER);
		if (r)
			return r;
	}
	e->count += v;
	wake_events(&e->wait, POLLIN);
	return 8;
}

static u32 ev_poll(struct file *f, struct poll_table *pt)
{
	struct eventfd *e = f->priv;

	poll_wait(pt, &e->wait);
	return (e->count ? POLLIN | POLLRDNORM : 0) |
	       (e->count < NEVER - 1 ? POLLOUT | POLLWRNORM : 0);
}

static void priv_free(struct file *f)
{
	kfree(f->priv);
}

static const struct file_ops ev_fops = {
    .read = ev_read, .write = ev_write, .poll = ev_poll, .release = priv_free};

bool file_is_eventfd(const struct file *f)
{
	return f->ops == &ev_fops;
}

void eventfd_add(struct file *f, u64 n)
{
	struct eventfd *e = f->priv;

	e->count += MIN(n, NEVER - 1 - e->count);
	wake_events(&e->wait, POLLIN | POLLRDNORM);
}

SYSCALL(eventfd2, "ux", u32 init, u32 flags)
{
	struct eventfd *e;

	if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK | 1))
		return -EINVAL;
	e = kalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->count = init;
	e->semaphore = flags & 1;
	return install(
	    anon_file("anon_inode:[eventfd]", &ev_fops, e, O_RDWR | (flags & O_NONBLOCK), 0600),
	    flags);
}
SYSCALL(eventfd, "u", u32 init)
{
	return sys_eventfd2(init, 0);
}

/* ---- timerfd ---- */
struct timerfd {
	struct ktimer timer;
	int clock;
	u64 deadline, interval, expired;
	struct waitq wait;
	struct wall_user wall; /* set to a time of day */
	bool cancel_on_set, canceled;
};

static void tfd_moved(struct wall_user *u, s64 by)
{
	struct timerfd *t = container_of(u, struct timerfd, wall);

	if (t->deadline)
		t->deadline = wall_moved_deadline(t->deadline, by);
	if (list_linked(&t->timer.link))
		timer_set(&t->timer, t->deadline);
	if (t->cancel_on_set) {
		t->canceled = true;
		wake_events(&t->wait, POLLIN);
	}
}

static void tfd_fire(struct ktimer *k)
{
	struct timerfd *t = container_of(k, struct timerfd, timer);

	t->expired++;
	t->deadline = t->interval ? k->deadline + t->interval : 0;
	wake_events(&t->wait, POLLIN);
}

/* An expired timer rests until someone looks: a short interval must not keep the CPU busy. */
static void tfd_forward(struct timerfd *t)
{
	u64 now = clock_now();

	if (!t->interval || !t->deadline || list_linked(&t->timer.link))
		return;
	if (t->deadline <= now) {
		u64 missed = (now - t->deadline) / t->interval + 1;

		t->expired += missed;
		t->deadline += missed * t->interval;
	}
	timer_set(&t->timer, t->deadline);
}

static ssize tfd_read(struct file *f, struct uio *u, u64 *pos)
{
	struct timerfd *t = f->priv;
	u64 n;
	int r;

	if (u->left < 8)
		return -EINVAL;
	if (!t->expired && !t->canceled) {
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		r = wait_event(&t->wait, t->expired || t->canceled, NEVER);
		if (r)
			return r;
	}
	if (t->canceled) {
		t->canceled = false;
		return -ECANCELED;
	}
	tfd_forward(t);
	n = t->expired;
	t->expired = 0;
	return uio_out(u, &n, 8) ? -EFAULT : 8;
}

static u32 tfd_poll(struct file *f, struct poll_table *pt)
{
	struct timerfd *t = f->priv;

	poll_wait(pt, &t->wait);
	return t->expired || t->canceled ? POLLIN | POLLRDNORM : 0;
}

static void tfd_release(struct file *f)
{
	struct timerfd *t = f->priv;

	timer_cancel(&t->timer);
	wall_unfollow(&t->wall);
	kfree(t);
}

static const struct file_ops tfd_fops = {
    .read = tfd_read, .poll = tfd_poll, .release = tfd_release};

SYSCALL(timerfd_create, "dx", int clock, u32 flags)
{
	struct timerfd *t;

	if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
		return -EINVAL;
	if (clock != 0 && clock != 1 && clock != 7 && clock != 8 && clock != 9)
		return -EINVAL;
	t = kalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->clock = clock;
	t->timer.fn = tfd_fire;
	return install(anon_file("anon_inode:[timerfd]", &tfd_fops, t,
				 O_RDWR | (flags & O_NONBLOCK), 0600),
		       flags);
}

struct itimerspec_k {
	struct __kernel_timespec interval, value;
};

static void tfd_get(struct timerfd *t, struct itimerspec_k *v)
{
	u64 now;

	tfd_forward(t);
	now = clock_now();
	v->interval = ns_to_ts(t->interval);
	v->value = ns_to_ts(!t->deadline ? 0 : t->deadline > now ? t->deadline - now : 1);
}

SYSCALL(timerfd_settime, "fxpp", int fd, u32 flags, u64 unew, u64 uold)
{
	struct file *f = fd_get(fd);
	struct itimerspec_k v, old;
	struct timerfd *t;
	s64 r = 0;

	if (!f)
		return -EBADF;
	if (f->ops != &tfd_fops || (flags & ~3u))
		r = -EINVAL;
	else if (get_user(v, unew))
		r = -EFAULT;
	else if (!ts_valid(&v.value) || !ts_valid(&v.interval))
		r = -EINVAL;
	if (!r) {
		u64 want = ts_to_ns(&v.value), now;

		t = f->priv;
		tfd_get(t, &old);
		timer_cancel(&t->timer);
		wall_unfollow(&t->wall);
		t->canceled = false;
		t->cancel_on_set = (flags & 3) == 3;
		t->wall.moved = tfd_moved;
		/* 0 and 8: CLOCK_REALTIME and its ALARM */
		if ((flags & 1) && (t->clock == 0 || t->clock == 8))
			wall_follow(&t->wall);
		else
			t->cancel_on_set = false;
		t->expired = 0;
		t->deadline = 0;
		t->interval = ts_to_ns(&v.interval);
		if (want) {
			if (flags & 1) {
				clock_value(t->clock, &now);
				want = want > now ? want - now : 0;
			}
			t->deadline = deadline_after(want);
			timer_set(&t->timer, t->deadline);
		}
		if (uold)
			r = put_user(old, uold);
	}
	file_put(f);
	return r;
}
SYSCALL(timerfd_gettime, "fp", int fd, u64 u)
{
	struct file *f = fd_get(fd);
	struct itimerspec_k v;

	if (!f)
		return -EBADF;
	if (f->ops != &tfd_fops) {
		file_put(f);
		return -EINVAL;
	}
	tfd_get(f->priv, &v);
	file_put(f);
	return put_user(v, u);
}

/* ---- signalfd ---- */
struct sigfd {
	u64 mask;
};

static ssize sfd_read(struct file *f, struct uio *u, u64 *pos)
{
	struct sigfd *s = f->priv;
	struct thread *t = current;
	ssize done = 0;

	if (u->left < sizeof(struct signalfd_siginfo))
		return -EINVAL;
	while (u->left >= sizeof(struct signalfd_siginfo)) {
		struct signalfd_siginfo o = {0};
		siginfo_t i;
		int r;

		if (!sig_take(t, s->mask, &i)) {
			if (done || (f->flags & O_NONBLOCK))
				return done ? done : -EAGAIN;
			r = wait_event(&t->proc->signalfd_wait,
				       (t->pending.set | t->proc->pending.set) & s->mask,
				       NEVER);
			if (r)
				return r;
			continue;
		}
		o.ssi_signo = (u32)i.si_signo;
		o.ssi_errno = i.si_errno;
		o.ssi_code = i.si_code;
		o.ssi_pid = (u32)i._sifields._kill._pid;
		o.ssi_uid = i._sifields._kill._uid;
		if (i.si_signo == SIGCHLD)
			o.ssi_status = i._sifields._sigchld._status;
		else if (i.si_code == SI_TIMER) {
			o.ssi_tid = (u32)i._sifields._timer._tid;
			o.ssi_overrun = (u32)i._sifields._timer._overrun;
		}
		if (i.si_code == SI_QUEUE || i.si_code == SI_TIMER) {
			o.ssi_ptr = (u64)i._sifields._rt._sigval.sival_ptr;
			o.ssi_int = i._sifields._rt._sigval.sival_int;
		}
		if (uio_out(u, &o, sizeof(o)))
			return done ? done : -EFAULT;
		done += (ssize)sizeof(o);
	}
	return done;
}

static u32 sfd_poll(struct file *f, struct poll_table *pt)
{
	struct sigfd *s = f->priv;
	struct thread *t = current;

	if (!t->proc)
		return 0;
	poll_wait(pt, &t->proc->signalfd_wait);
	return (t->pending.set | t->proc->pending.set) & s->mask ? POLLIN | POLLRDNORM : 0;
}

static const struct file_ops sfd_fops = {
    .read = sfd_read, .poll = sfd_poll, .release = priv_free};

static s64 do_signalfd(int fd, u64 umask, u64 size, u32 flags)
{
	struct sigfd *s;
	u64 mask;

	if (size != 8 || (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK)))
		return -EINVAL;
	if (get_user(mask, umask))
		return -EFAULT;
	mask &= ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	if (fd >= 0) {
		struct file *f = fd_get(fd);
		s64 r = fd;

		if (!f)
			return -EBADF;
		if (f->ops == &sfd_fops)
			((struct sigfd *)f->priv)->mask = mask;
		else
			r = -EINVAL;
		file_put(f);
		return r;
	}
	if (fd != -1)
		return -EBADF;
	s = kalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->mask = mask;
	return install(anon_file("anon_inode:[signalfd]", &sfd_fops, s,
				 O_RDWR | (flags & O_NONBLOCK), 0600),
		       flags);
}
SYSCALL(signalfd4, "fpux", int fd, u64 mask, u64 size, u32 flags)
{
	return do_signalfd(fd, mask, size, flags);
}
SYSCALL(signalfd, "fpu", int fd, u64 mask, u64 size)
{
	return do_signalfd(fd, mask, size, 0);
}

/* ---- pidfd ---- */
static struct waitq pidfd_wait;

static u32 pid_poll(struct file *f, struct poll_table *pt)
{
	struct proc *p = f->priv;

	poll_wait(pt, &pidfd_wait);
	return p->zombie ? POLLIN | POLLRDNORM : 0;
}
static void pid_release(struct file *f)
{
	proc_put(f->priv);
}
static void pid_fdinfo(struct file *f, char *buf, size_t size)
{
	struct proc *p = f->priv;

	format(buf, size, "Pid:\t%d\n", p->zombie ? -1 : (int)p->pid);
}
static const struct file_ops pid_fops = {
    .poll = pid_poll, .release = pid_release, .fdinfo = pid_fdinfo};

void pidfd_notify(struct proc *p);
void pidfd_notify(struct proc *p)
{
	wake_all(&pidfd_wait);
}

int pidfd_new(struct proc *p, u32 flags);
int pidfd_new(struct proc *p, u32 flags)
{
	struct file *f =
	    anon_file("anon_inode:[pidfd]", &pid_fops, p, O_RDWR | (flags & O_NONBLOCK), 0600);

	if (f)
		p->refs++;
	return (int)install(f, O_CLOEXEC);
}

/* The process behind a pidfd, valid until the caller sleeps. */
struct proc *pidfd_proc(int fd);
struct proc *pidfd_proc(int fd)
{
	struct file *f = fd_get(fd);
	struct proc *p = NULL;

	if (f) {
		if (f->ops == &pid_fops)
			p = f->priv;
		file_put(f);
	}
	return p;
}

SYSCALL(pidfd_open, "dx", int pid, u32 flags)
{
	struct proc *p;

	if (pid <= 0 || (flags & ~(u32)O_NONBLOCK))
		return -EINVAL;
	p = proc_find((u32)pid);
	return p ? pidfd_new(p, flags) : thread_find((u32)pid) ? -EINVAL : -ESRCH;
}

SYSCALL(pidfd_getfd, "fdx", int pidfd, int fd, u32 flags)
{
	struct proc *p = pidfd_proc(pidfd);
	struct file *f;
	int r;

	if (flags)
		return -EINVAL;
	if (!p)
		return -EBADF;
	if (!p->leader || !p->leader->files)
		return -ESRCH;
	if (!capable(19) && p->leader->cred->uid != current->cred->uid)
		return -EPERM;
	if (fd < 0 || (u32)fd >= p->leader->files->size || !(f = p->leader->files->file[fd]))
		return -EBADF;
	file_get(f);
	r = fd_install(f, 0, true);
	if (r < 0)
		file_put(f);
	return r;
}
