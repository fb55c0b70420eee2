/* SPDX-License-Identifier: ISC */
/* Clocks, sleeping, interval timers, POSIX timers. */
#include "cells/linux/inc/sys.h"
#include <linux/time.h>
#include <linux/capability.h>

/* The container's own wall clock: an offset to the machine's, also for the vDSO. */
static s64 wall_offset;
void vdso_wall_offset_set(s64 offset);

u64 wall_at(u64 moment)
{
	return (u64)(clock_wall_base() + wall_offset) + moment;
}

u64 wall_now(void)
{
	return wall_at(clock_now());
}

static u64 proc_cpu(struct proc *p, bool user, bool sys)
{
	struct thread *t;
	u64 n = (user ? p->utime : 0) + (sys ? p->stime : 0);

	list_each(t, &p->threads, proc_link) n += (user ? t->utime : 0) + (sys ? t->stime : 0);
	return n;
}

u64 proc_cpu_times(struct proc *p, u64 *stime);
u64 proc_cpu_times(struct proc *p, u64 *stime)
{
	*stime = proc_cpu(p, false, true);
	return proc_cpu(p, true, false);
}

/* 0, or -EINVAL for a clock that isn't there. */
int clock_value(int id, u64 *ns);
int clock_value(int id, u64 *ns)
{
	struct thread *t = current;

	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		*ns = wall_now();
		return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		*ns = clock_now();
		return 0;
	case CLOCK_PROCESS_CPUTIME_ID:
		*ns = proc_cpu(t->proc, true, true) + (clock_now() - t->stamp);
		return 0;
	case CLOCK_THREAD_CPUTIME_ID:
		*ns = t->utime + t->stime + (clock_now() - t->stamp);
		return 0;
	}
	if (id < 0) { /* a process's or thread's clock: ~pid << 3 | kind */
		u32 pid = (u32)~id >> 3;
		bool per_thread = (id & 4) != 0;
		struct proc *p = pid ? proc_find(pid) : t->proc;
		struct thread *o = per_thread ? (pid ? thread_find(pid) : t) : NULL;

		if ((id & 3) == 3 || (per_thread ? !o : !p))
			return -EINVAL;
		*ns = per_thread ? o->utime + o->stime : proc_cpu(p, true, true);
		return 0;
	}
	return -EINVAL;
}

int timespec_in(struct __kernel_timespec *ts, u64 uts)
{
	if (get_user(*ts, uts))
		return -EFAULT;
	return ts_valid(ts) ? 0 : -EINVAL;
}

int deadline_in(u64 uts, u64 now, u64 *deadline)
{
	struct __kernel_timespec ts;
	u64 ns;
	int r;

	*deadline = NEVER;
	if (!uts)
		return 0;
	r = timespec_in(&ts, uts);
	if (r)
		return r;
	ns = ts_to_ns(&ts);
	*deadline = deadline_after(ns > now ? ns - now : 0);
	return 0;
}

SYSCALL(clock_gettime, "dp", int id, u64 uts)
{
	u64 ns;
	struct __kernel_timespec ts;

	if (clock_value(id, &ns))
		return -EINVAL;
	ts = ns_to_ts(ns);
	return put_user(ts, uts);
}
SYSCALL(clock_getres, "dp", int id, u64 uts)
{
	struct __kernel_timespec ts = {0, 1};
	u64 ns;

	if (clock_value(id, &ns))
		return -EINVAL;
	if (id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE)
		ts.tv_nsec = 4000000;
	return uts ? put_user(ts, uts) : 0;
}

/* ---- The wall clock is set ---- */
static struct list wall_users;

void wall_follow(struct wall_user *w)
{
	list_del(&w->link);
	list_add_tail(&wall_users, &w->link);
}

void wall_unfollow(struct wall_user *w)
{
	list_del(&w->link);
}

u64 wall_moved_deadline(u64 deadline, s64 by)
{
	u64 d = (u64)by;

	if (deadline == NEVER)
		return deadline;
	if (by < 0)
		return -d >= NEVER - deadline ? NEVER - 1 : deadline - d;
	return deadline > d ? deadline - d : 1;
}

static s64 wall_set(u64 ns)
{
	struct wall_user *w, *tmp;
	s64 by;

	if (!capable(CAP_SYS_TIME))
		return -EPERM;
	if (ns < clock_now()) /* the monotonic clock began no earlier than 1970 */
		return -EINVAL;
	by = (s64)(ns - wall_now());
	wall_offset += by;
	vdso_wall_offset_set(wall_offset);
	list_each_safe(w, tmp, &wall_users, link) w->moved(w, by);
	return 0;
}

SYSCALL(clock_settime, "dp", int id, u64 uts)
{
	struct __kernel_timespec ts;

	if (id != CLOCK_REALTIME)
		return -EINVAL;
	if (get_user(ts, uts))
		return -EFAULT;
	if (!ts_valid(&ts))
		return -EINVAL;
	return wall_set(ts_to_ns(&ts));
}

SYSCALL(settimeofday, "pp", u64 utv, u64 utz)
{
	s64 tv[2], r = 0;
	s32 tz[2];

	if (utv && copy_in(tv, utv, sizeof(tv)))
		return -EFAULT;
	if (utv && (tv[1] < 0 || tv[1] > 999999 || tv[0] < 0))
		return -EINVAL;
	if (utz && get_user(tz, utz))
		return -EFAULT;
	if (utz && (tz[0] > 15 * 60 || tz[0] < -15 * 60))
		return -EINVAL;
	if (!capable(CAP_SYS_TIME))
		return -EPERM;
	if (utv)
		r = wall_set((u64)MIN(tv[0], 9000000000ll) * NS_PER_SEC + (u64)tv[1] * 1000);
	return r;
}
SYSCALL(clock_adjtime, "dp", int id, u64 u)
{
	u32 modes;

	if (get_user(modes, u))
		return -EFAULT;
	return modes ? -EPERM : 0;
}
SYSCALL(adjtimex, "p", u64 u)
{
	u32 modes;

	if (get_user(modes, u))
		return -EFAULT;
	return modes ? -EPERM : 0;
}
SYSCALL(gettimeofday, "pp", u64 utv, u64 utz)
{
	u64 ns = wall_now();
	u64 tv[2] = {ns / NS_PER_SEC, ns % NS_PER_SEC / 1000};
	u64 tz = 0;

	return (utv && copy_out(utv, tv, sizeof(tv))) || (utz && put_user(tz, utz)) ? -EFAULT
										    : 0;
}
SYSCALL(time, "p", u64 ut)
{
	s64 now = (s64)(wall_now() / NS_PER_SEC);

	return ut && put_user(now, ut) ? -EFAULT : now;
}
SYSCALL(times, "p", u64 u)
{
	struct proc *p = current->proc;
	u64 tick = 10000000, st, ut = proc_cpu_times(p, &st);
	u64 t[4] = {ut / tick, st / tick, p->cutime / tick, p->cstime / tick};

	if (u && copy_out(u, t, sizeof(t)))
		return -EFAULT;
	return (s64)(clock_now() / tick);
}

/* ---- Sleeping ---- */
static s64 sleep_until(struct thread *t)
{
	u64 deadline, urem = t->restart_arg[1];
	int r;

	do {
		deadline = t->restart_arg[0]; /* a time of day may come nearer meanwhile */
		r = wait_on(NULL, deadline, true);
	} while (r == 0);
	if (r == -ETIMEDOUT)
		return 0;
	if (urem) {
		u64 now = clock_now();
		struct __kernel_timespec ts = ns_to_ts(deadline > now ? deadline - now : 0);

		if (put_user(ts, urem))
			return -EFAULT;
	}
	t->restart = sleep_until;
	return -ERESTARTBLOCK;
}

struct wall_sleep {
	struct wall_user user;
	struct thread *thread;
};

static void sleep_moved(struct wall_user *u, s64 by)
{
	struct thread *t = container_of(u, struct wall_sleep, user)->thread;

	t->restart_arg[0] = wall_moved_deadline(t->restart_arg[0], by);
	if (t->state == T_SLEEP)
		thread_wake(t);
}

/* Clocks that setting the time of day moves. */
static bool is_wall(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM || clock == CLOCK_TAI;
}

static s64 do_sleep(int clock, u64 deadline, u64 urem, bool absolute)
{
	struct thread *t = current;
	struct wall_sleep w = {.user.moved = sleep_moved, .thread = t};
	s64 r;

	t->restart_arg[0] = deadline;
	t->restart_arg[1] = urem;
	if (absolute && is_wall(clock))
		wall_follow(&w.user);
	r = sleep_until(t);
	wall_unfollow(&w.user);
	return r == -ERESTARTBLOCK && absolute ? -ERESTARTNOHAND : r;
}

SYSCALL(nanosleep, "pp", u64 uts, u64 urem)
{
	struct __kernel_timespec ts;

	if (get_user(ts, uts))
		return -EFAULT;
	if (!ts_valid(&ts))
		return -EINVAL;
	return do_sleep(CLOCK_MONOTONIC, deadline_after(ts_to_ns(&ts)), urem, false);
}

/* Deadline on our own clock for a time on clock id. */
static int to_deadline(int id, const struct __kernel_timespec *ts, bool absolute, u64 *out)
{
	u64 now, want = ts_to_ns(ts);

	if (!ts_valid(ts) || clock_value(id, &now))
		return -EINVAL;
	if (absolute)
		want = want > now ? want - now : 0;
	*out = deadline_after(want);
	return 0;
}

SYSCALL(clock_nanosleep, "dxpp", int id, int flags, u64 uts, u64 urem)
{
	struct __kernel_timespec ts;
	u64 deadline;
	int r;

	if (id == CLOCK_THREAD_CPUTIME_ID)
		return -EINVAL;
	if (get_user(ts, uts))
		return -EFAULT;
	r = to_deadline(id, &ts, flags & 1, &deadline);
	if (r)
		return r;
	return do_sleep(id, deadline, flags & 1 ? 0 : urem, flags & 1);
}

/* ---- Interval timers ---- */
static void itimer_fire(struct ktimer *timer)
{
	struct itimer *it = container_of(timer, struct itimer, timer);

	sig_send_proc(it->proc, SIGALRM, NULL);
	it->value = 0;
	if (it->interval) {
		u64 now = clock_now();

		it->value = timer->deadline + it->interval;
		if (it->value <= now)
			it->value = now + it->interval;
		timer_set(timer, it->value);
	}
}

static void itimer_real_set(struct proc *p, u64 value, u64 interval)
{
	struct itimer *it = &p->itimer_real;

	it->timer.fn = itimer_fire;
	it->interval = interval;
	it->value = value ? deadline_after(value) : 0;
	if (value)
		timer_set(&it->timer, it->value);
	else
		timer_cancel(&it->timer);
}

static u64 itimer_left(struct proc *p)
{
	u64 now = clock_now();

	return !p->itimer_real.value        ? 0
	       : p->itimer_real.value > now ? p->itimer_real.value - now
					    : 1000;
}

SYSCALL(alarm, "u", u32 seconds)
{
	u64 left = itimer_left(current->proc);

	itimer_real_set(current->proc, seconds * NS_PER_SEC, 0);
	return (s64)((left + NS_PER_SEC / 2) / NS_PER_SEC + (left && left < NS_PER_SEC / 2));
}

struct itimerval_k {
	s64 interval[2], value[2];
};
static void to_tv(s64 tv[2], u64 ns)
{
	tv[0] = (s64)(ns / NS_PER_SEC);
	tv[1] = (s64)(ns % NS_PER_SEC / 1000);
}
static s64 itimer_get(int which, struct itimerval_k *v)
{
	struct proc *p = current->proc;

	memset(v, 0, sizeof(*v));
	if (which == 0) {
		to_tv(v->value, itimer_left(p));
		to_tv(v->interval, p->itimer_real.interval);
	} else if (which == 1) {
		to_tv(v->value, p->virt_value);
		to_tv(v->interval, p->virt_interval);
	} else if (which == 2) {
		to_tv(v->value, p->prof_value);
		to_tv(v->interval, p->prof_interval);
	} else {
		return -EINVAL;
	}
	return 0;
}
SYSCALL(getitimer, "dp", int which, u64 u)
{
	struct itimerval_k v;
	s64 r = itimer_get(which, &v);

	return r ? r : put_user(v, u);
}
SYSCALL(setitimer, "dpp", int which, u64 unew, u64 uold)
{
	struct itimerval_k v = {{0}, {0}}, old;
	struct proc *p = current->proc;
	u64 value, interval;
	s64 r = itimer_get(which, &old);

	if (r)
		return r;
	if (unew && get_user(v, unew))
		return -EFAULT;
	if (v.value[0] < 0 || v.interval[0] < 0 || (u64)v.value[1] >= 1000000 ||
	    (u64)v.interval[1] >= 1000000)
		return -EINVAL;
	value = (u64)v.value[0] * NS_PER_SEC + (u64)v.value[1] * 1000;
	interval = (u64)v.interval[0] * NS_PER_SEC + (u64)v.interval[1] * 1000;
	if (which == 0) {
		itimer_real_set(p, value, interval);
	} else if (which == 1) {
		p->cpu_watch |= value != 0;
		p->virt_value = value;
		p->virt_interval = interval;
	} else {
		p->cpu_watch |= value != 0;
		p->prof_value = value;
		p->prof_interval = interval;
	}
	return uold ? put_user(old, uold) : 0;
}

/* CPU-time timers are checked as time is accounted. */
static void cpu_timer(u64 *value, u64 interval, u64 used, struct proc *p, int sig)
{
	if (!*value)
		return;
	if (*value > used) {
		*value -= used;
		return;
	}
	*value = interval;
	sig_send_proc(p, sig, NULL);
}
/* RLIMIT_CPU: a signal at the soft limit and each second after it, the end at the hard one. */
static void cpu_limit(struct proc *p)
{
	u64 cur = p->rlim[RLIMIT_CPU].cur, max = p->rlim[RLIMIT_CPU].max, total;

	if (cur > (1ull << 32))
		return;
	total = proc_cpu(p, true, true);
	if (max <= (1ull << 32) && total >= max * NS_PER_SEC) {
		sig_send_outside(p, SIGKILL, NULL);
	} else if (total >= MAX(cur * NS_PER_SEC, p->xcpu_at)) {
		p->xcpu_at = total + NS_PER_SEC;
		sig_send_proc(p, SIGXCPU, NULL);
	}
}

void cpu_timers_charge(struct proc *p, u64 used, bool user);
void cpu_timers_charge(struct proc *p, u64 used, bool user)
{
	if (user)
		cpu_timer(&p->virt_value, p->virt_interval, used, p, SIGVTALRM);
	cpu_timer(&p->prof_value, p->prof_interval, used, p, SIGPROF);
	cpu_limit(p);
}

/* ---- POSIX timers ---- */
struct ptimer {
	struct list link;
	struct ktimer timer;
	struct proc *proc;
	u32 id;
	int clock, notify, sig;
	u32 tid;
	u64 value; /* sigval */
	u64 interval, deadline;
	u32 overrun, last_overrun;
	bool queued;
	struct wall_user wall; /* set to a time of day */
};

static void ptimer_moved(struct wall_user *u, s64 by)
{
	struct ptimer *pt = container_of(u, struct ptimer, wall);

	if (!pt->deadline)
		return;
	pt->deadline = wall_moved_deadline(pt->deadline, by);
	if (list_linked(&pt->timer.link))
		timer_set(&pt->timer, pt->deadline);
}

static void ptimer_signal(struct ptimer *pt)
{
	siginfo_t i;
	struct thread *t;

	if (pt->notify == 1) /* SIGEV_NONE */
		return;
	if (pt->queued) {
		pt->overrun += pt->overrun < INT32_MAX;
		return;
	}
	memset(&i, 0, sizeof(i));
	i.si_signo = pt->sig;
	i.si_code = SI_TIMER;
	i._sifields._timer._tid = (int)pt->id;
	i._sifields._timer._sigval.sival_ptr = (void *)pt->value;
	if (pt->notify == 4) { /* SIGEV_THREAD_ID */
		t = thread_find(pt->tid);
		if (!t)
			return;
		if (!sig_ignored(t, pt->sig))
			pt->queued = true;
		sig_send_thread(t, pt->sig, &i);
	} else if (pt->proc->leader) {
		if (!sig_ignored(pt->proc->leader, pt->sig))
			pt->queued = true;
		sig_send_proc(pt->proc, pt->sig, &i);
	}
}

/* Set the next expiry after now; those before it are overruns. */
static void ptimer_forward(struct ptimer *pt, u64 now)
{
	if (pt->deadline <= now) {
		u64 missed = (now - pt->deadline) / pt->interval + 1;

		pt->overrun = (u32)MIN(pt->overrun + missed, (u64)INT32_MAX);
		pt->deadline += missed * pt->interval;
	}
	timer_set(&pt->timer, pt->deadline);
}

static void ptimer_fire(struct ktimer *timer)
{
	struct ptimer *pt = container_of(timer, struct ptimer, timer);
	u64 now = clock_now();

	pt->deadline = 0;
	ptimer_signal(pt);
	if (!pt->interval)
		return;
	/* While its signal waits the timer rests: a short interval must not keep the CPU busy.
	 */
	pt->deadline = timer->deadline + pt->interval;
	if (!pt->queued)
		ptimer_forward(pt, MAX(now, timer->deadline + 100000));
}

/* A timer's signal was taken: it tells what was missed, the next expiry may queue another. */
void itimer_signal_taken(siginfo_t *i);
void itimer_signal_taken(siginfo_t *i)
{
	struct ptimer *pt;

	if (i->si_code != SI_TIMER)
		return;
	list_each(pt, &current->proc->posix_timers,
		  link) if ((int)pt->id == i->_sifields._timer._tid && pt->queued)
	{
		pt->queued = false;
		if (pt->interval && pt->deadline && !list_linked(&pt->timer.link))
			ptimer_forward(pt, clock_now());
		pt->last_overrun = pt->overrun;
		pt->overrun = 0;
		i->_sifields._timer._overrun = (int)pt->last_overrun;
	}
}

void posix_timers_free(struct proc *p);
void posix_timers_free(struct proc *p)
{
	while (!list_empty(&p->posix_timers)) {
		struct ptimer *pt = list_first(&p->posix_timers, struct ptimer, link);

		timer_cancel(&pt->timer);
		wall_unfollow(&pt->wall);
		list_del(&pt->link);
		kfree(pt);
	}
}

static struct ptimer *ptimer_find(u32 id)
{
	struct ptimer *pt;

	list_each(pt, &current->proc->posix_timers, link) if (pt->id == id) return pt;
	return NULL;
}

SYSCALL(timer_create, "dpp", int clock, u64 uev, u64 uid)
{
	struct {
		u64 value;
		int sig, notify, tid, pad[11];
	} ev = {.sig = SIGALRM};
	struct proc *p = current->proc;
	struct ptimer *pt;
	u64 ns;

	if (clock_value(clock, &ns))
		return -EINVAL;
	if (uev && get_user(ev, uev))
		return -EFAULT;
	if (uev && ev.notify != 1 && (ev.sig < 1 || ev.sig > NSIGS))
		return -EINVAL;
	if (ev.notify != 0 && ev.notify != 1 && ev.notify != 2 && ev.notify != 4)
		return -EINVAL;
	if (ev.notify == 4) {
		struct thread *t = thread_find((u32)ev.tid);

		if (!t || t->proc != p)
			return -EINVAL;
	}
	pt = kalloc(sizeof(*pt));
	if (!pt)
		return -EAGAIN;
	pt->id = p->next_timer++;
	pt->proc = p;
	pt->clock = clock;
	pt->notify = ev.notify;
	pt->sig = ev.sig;
	pt->tid = (u32)ev.tid;
	pt->value = uev ? ev.value : pt->id;
	pt->timer.fn = ptimer_fire;
	if (put_user(pt->id, uid)) {
		kfree(pt);
		return -EFAULT;
	}
	list_add_tail(&p->posix_timers, &pt->link);
	return 0;
}

struct itimerspec_k {
	struct __kernel_timespec interval, value;
};
static void ptimer_read(struct ptimer *pt, struct itimerspec_k *v)
{
	u64 now = clock_now();

	v->interval = ns_to_ts(pt->interval);
	v->value = ns_to_ts(!pt->deadline ? 0 : pt->deadline > now ? pt->deadline - now : 1);
}
SYSCALL(timer_gettime, "dp", u32 id, u64 u)
{
	struct ptimer *pt = ptimer_find(id);
	struct itimerspec_k v;

	if (!pt)
		return -EINVAL;
	ptimer_read(pt, &v);
	return put_user(v, u);
}
SYSCALL(timer_settime, "dxpp", u32 id, int flags, u64 unew, u64 uold)
{
	struct ptimer *pt;
	struct itimerspec_k v, old;
	u64 now;
	int r;

	if (!ptimer_find(id) || !unew)
		return -EINVAL;
	if (get_user(v, unew))
		return -EFAULT;
	pt = ptimer_find(id); /* another thread may have deleted it while we copied */
	if (!pt || !ts_valid(&v.value) || !ts_valid(&v.interval))
		return -EINVAL;
	ptimer_read(pt, &old);
	timer_cancel(&pt->timer);
	wall_unfollow(&pt->wall);
	pt->deadline = 0;
	pt->overrun = pt->last_overrun = 0;
	pt->queued = false;
	pt->interval = ts_to_ns(&v.interval);
	if (v.value.tv_sec || v.value.tv_nsec) {
		r = to_deadline(pt->clock, &v.value, flags & 1, &pt->deadline);
		if (r)
			return r;
		/* What lies in the past already counts as overrun. */
		if ((flags & 1) && pt->interval && !clock_value(pt->clock, &now) &&
		    ts_to_ns(&v.value) < now)
			pt->overrun =
			    (u32)MIN((now - ts_to_ns(&v.value)) / pt->interval, (u64)INT32_MAX);
		timer_set(&pt->timer, pt->deadline);
		pt->wall.moved = ptimer_moved;
		if ((flags & 1) && is_wall(pt->clock))
			wall_follow(&pt->wall);
	}
	return uold ? put_user(old, uold) : 0;
}
SYSCALL(timer_getoverrun, "d", u32 id)
{
	struct ptimer *pt = ptimer_find(id);

	return pt ? (s64)pt->last_overrun : -EINVAL;
}
SYSCALL(timer_delete, "d", u32 id)
{
	struct ptimer *pt = ptimer_find(id);

	if (!pt)
		return -EINVAL;
	timer_cancel(&pt->timer);
	wall_unfollow(&pt->wall);
	list_del(&pt->link);
	kfree(pt);
	return 0;
}
