/* SPDX-License-Identifier: ISC */
/*
 * The scheduler, waiting and timers.
 *
 * One queue of runnable threads, served in turn with a slice that depends on niceness, by
 * all vCPUs that a thread may run on. Kernel code is never preempted; a program is, by the
 * timer upcall. When nothing can run a vCPU sleeps in the nucleus until an event or the next
 * timer. Everything here belongs to the monitor (proc/smp.c).
 *
 * Timers are one list. The vCPU whose call from the nucleus comes first serves them: one that
 * goes to a program or to rest asks for a call only if no other has one as early.
 */
#include "cells/linux/inc/duty.h"
#include "cells/linux/inc/rseq.h"
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/vfs.h"

static struct list run_queue;
static u32 run_count;
static struct list timers; /* by deadline */
static struct cpu boot_cpu_block;
u64 total_forks, total_switches;
void page_discard_idle(u64 keep);
void thread_first_run(void);
void kthread_main(void);
void account_user(void);
void account_kernel(void);
void cpu_timers_charge(struct proc *p, u64 used, bool user);
#define CPU_WATCH_NS 10000000ull
struct cpu *boot_cpu(void);

#define SLICE_NS 10000000ull
#define ASIDE_NS 100000ull
#define GRACE_NS 200000ull /* how long a woken thread waits for its waker's vCPU */

struct cpu *boot_cpu(void)
{
	return &boot_cpu_block;
}

/* ---- Wait queues ---- */
void waitq_add(struct waitq *q, struct waiter *w)
{
	list_add_tail(&q->waiters, &w->link);
}

void waitq_del(struct waiter *w)
{
	list_del(&w->link);
}

/* A woken waiter may leave the queue, and others with it: begin anew after each call. */
static void wake_list(struct waitq *q, u32 events, u32 max)
{
	struct list batch = {0};
	struct waiter *w;

	while (!list_empty(&q->waiters) && max--) {
		w = list_first(&q->waiters, struct waiter, link);
		list_del(&w->link);
		list_add_tail(&batch, &w->link);
		w->wake(w, events);
	}
	while (!list_empty(&batch)) {
		w = list_first(&batch, struct waiter, link);
		list_del(&w->link);
		list_add_tail(&q->waiters, &w->link);
	}
}

void waitq_dissolve(struct waitq *q)
{
	while (q->waiters.next && !list_empty(&q->waiters)) {
		struct waiter *w = list_first(&q->waiters, struct waiter, link);

		list_del(&w->link);
		w->wake(w, ~0u);
	}
}

void wake_all(struct waitq *q)
{
	wake_list(q, ~0u, ~0u);
}

void wake_events(struct waitq *q, u32 events)
{
	wake_list(q, events, ~0u);
}

void wake_one(struct waitq *q)
{
	wake_list(q, ~0u, 1);
}

static void sleep_wake(struct waiter *w, u32 events)
{
	thread_wake(w->arg);
}

static void sleep_timeout(struct ktimer *timer)
{
	struct thread *t = timer->arg;

	t->timed_out = true;
	thread_wake(t);
}

int wait_on(struct waitq *q, u64 deadline, bool intr)
{
	struct thread *t = current;

	if (intr && sig_pending(t))
		return -ERESTARTSYS;
	if (deadline != NEVER) {
		if (deadline <= clock_now())
			return -ETIMEDOUT;
		t->sleep_timer.fn = sleep_timeout;
		t->sleep_timer.arg = t;
		timer_set(&t->sleep_timer, deadline);
	}
	t->timed_out = false;
	t->state = intr ? T_SLEEP : T_DSLEEP;
	if (q) {
		t->sleep_waiter.wake = sleep_wake;
		t->sleep_waiter.arg = t;
		waitq_add(q, &t->sleep_waiter);
	}
	schedule();
	waitq_del(&t->sleep_waiter);
	timer_cancel(&t->sleep_timer);
	if (t->timed_out)
		return -ETIMEDOUT;
	return intr && sig_pending(t) ? -ERESTARTSYS : 0;
}

int wait_killable(struct waitq *q, u64 deadline)
{
	struct thread *t = current;
	int r = -EINTR;

	t->killable = true;
	if (!t->kill_now)
		r = wait_on(q, deadline, false);
	t->killable = false;
	return t->kill_now ? -EINTR : r;
}

/* ---- Timers ---- */
void timer_set(struct ktimer *t, u64 deadline)
{
	struct ktimer *at;

	list_del(&t->link);
	if (!timers.next)
		list_init(&timers);
	t->deadline = deadline;
	if (deadline == NEVER)
		return;
	list_each(at, &timers, link) if (at->deadline > deadline) break;
	list_add_tail(&at->link, &t->link);
}

void timer_cancel(struct ktimer *t)
{
	list_del(&t->link);
}

u64 timers_run(u64 now)
{
	while (!list_empty(&timers)) {
		struct ktimer *t = list_first(&timers, struct ktimer, link);

		if (t->deadline > now)
			return t->deadline;
		list_del(&t->link);
		t->fn(t);
	}
	return NEVER;
}

/* ---- Run queue ---- */
static void enqueue(struct thread *t)
{
	if (t->on_queue || t == this_cpu()->idle)
		return;
	t->on_queue = true;
	if (smp_active)
		t->queued_at = clock_now();
	run_count++;
	list_add_tail(&run_queue, &t->run_link);
}

/* The first in the queue that may run here. */
static struct thread *first_for(const struct cpu *c)
{
	struct thread *t;

	if (!run_count)
		return NULL;
	list_each(t, &run_queue, run_link) if (t->affinity >> c->number & 1) return t;
	return NULL;
}

static struct thread *dequeue(struct cpu *c)
{
	struct thread *t = first_for(c);

	if (!t)
		return NULL;
	list_del(&t->run_link);
	t->on_queue = false;
	run_count--;
	return t;
}

void thread_wake(struct thread *t)
{
	if (t->state == T_DEAD || t->state == T_RUNNABLE || t->state == T_STOPPED)
		return;
	t->state = T_RUNNABLE;
	if (t != current)
		enqueue(t);
}

void thread_wake_signal(struct thread *t)
{
	if (t->state == T_SLEEP || (t->state == T_DSLEEP && t->killable && t->kill_now))
		thread_wake(t);
	else if (t->state == T_RUNNABLE && !t->on_queue && t->cpu &&
		 t->cpu->current_thread == t)
		smp_resched(t->cpu); /* it is in its program */
}

void thread_moved(struct thread *t)
{
	if (t->state == T_RUNNABLE && !t->on_queue && t->cpu && t->cpu->current_thread == t)
		smp_resched(t->cpu);
}

static void switch_to(struct cpu *c, struct thread *next)
{
	struct thread *prev = c->current_thread;

	c->switches++;
	total_switches++;
	if (!prev->is_kthread) {
		if (prev->state != T_DEAD)
			fpu_save(prev->fpu);
		prev->gs_base = rdmsr(MSR_KERNEL_GS_BASE);
		prev->fs_base = rdmsr(MSR_FS_BASE);
	}
	c->current_thread = next;
	next->cpu = c;
	next->rseq_due = next->rseq != 0;
	c->kernel_rsp = c->tss.rsp[0] = (u64)next->kstack + 4 * PAGE_SIZE;
	if (!next->is_kthread) {
		mm_activate(next->mm);
		wrmsr(MSR_KERNEL_GS_BASE, next->gs_base);
		wrmsr(MSR_FS_BASE, next->fs_base);
		fpu_restore(next->fpu);
	} else if (smp_active) {
		mm_activate(NULL);
	}
	switch_stacks(&prev->ksp, next->ksp);
	thread_first_run();
}

/* Runs on the new stack after each switch. */
void thread_first_run(void)
{
	struct cpu *c = this_cpu();

	if (c->dead) {
		struct thread *t = c->dead;

		c->dead = NULL;
		thread_free(t);
	}
}

static u64 slice_of(const struct thread *t)
{
	return SLICE_NS * (u64)(21 - MAX(-19, MIN(19, t->nice))) / 21 + 1000000;
}

void schedule(void)
{
	struct cpu *c = this_cpu();
	struct thread *t = c->current_thread, *next;

	account_kernel();
	if (t->state == T_RUNNABLE) {
		t->nivcsw++;
		enqueue(t);
	} else {
		t->nvcsw++;
	}
	next = dequeue(c);
	if (!next)
		next = c->idle;
	c->need_resched = false;
	c->slice_end = 0;
	if (next != t)
		switch_to(c, next);
	current->stamp = clock_now();
	this_cpu()->slice_end = current->stamp + slice_of(current);
}

void sched_yield_cpu(void)
{
	if (run_count)
		schedule();
}

/* Who waits at the monitor's door rests between his looks: stay out for some of them. */
static void stand_aside(void)
{
	u64 until = clock_now() + ASIDE_NS;

	monitor_leave();
	do
		hc_call(D0_HC_wait, until, 0, 0);
	while (clock_now() < until);
	monitor_enter();
}

bool sched_breathe(void)
{
	struct thread *t = current;
	u64 now = clock_now();

	if (now - t->stamp < SLICE_NS)
		return sig_pending(t);
	events_take();
	timers_run(now);
	if (smp_active)
		stand_aside();
	if (run_count)
		schedule();
	else
		account_kernel(); /* the stamp: the next slice begins */
	return sig_pending(t);
}

/* When the next timer is due, NEVER if another vCPU will be called as early. */
static u64 next_timer(const struct cpu *c)
{
	u64 next =
	    list_empty(&timers) ? NEVER : list_first(&timers, struct ktimer, link)->deadline;

	for (u32 i = 0; i < cpus_online && smp_active; i++)
		if (cpus[i] != c && cpus[i]->timer_set <= next)
			return NEVER;
	return next;
}

/* Sleep in the nucleus until an event or that time. */
static void rest(struct cpu *c, u64 deadline)
{
	u64 start = clock_now(), armed = c->timer_set;

	c->timer_set = deadline;
	c->resting = true;
	monitor_leave();
	hc_call(D0_HC_wait, deadline, 0, 0);
	monitor_enter();
	c->resting = c->roused = false;
	/* The timer for programs is armed still; if it fired, its event says so. */
	c->timer_set = armed;
	c->idle_ns += clock_now() - start;
}

/* What is in the queue when a vCPU goes to rest may not run on it. */
static void rouse_for_strangers(void)
{
	struct thread *t;

	list_each(t, &run_queue, run_link) smp_rouse(t->affinity);
}

void idle_loop(void)
{
	struct cpu *c = this_cpu();

	for (;;) {
		events_take();
		timers_run(clock_now());
		if (first_for(c)) {
			c->idle->state = T_SLEEP;
			schedule();
			continue;
		}
		if (run_count)
			rouse_for_strangers();
		if (duty_due && c->number == 0) {
			duty_step();
			continue;
		}
		/* Giving frames back disturbs all vCPUs of the cell. */
		if (!smp_active || smp_others_rest())
			page_discard_idle(64);
		rest(c, next_timer(c));
	}
}

struct cpu_times cpu_times(u32 number)
{
	struct cpu_times t = {0};

	for (u32 i = 0; i < cpus_online; i++)
		if (number == i || number == ALL_CPUS) {
			t.user += cpus[i]->user_ns;
			t.system += cpus[i]->system_ns;
			t.idle += cpus[i]->idle_ns;
		}
	return t;
}

/* ---- Accounting: time since stamp goes to user or system ---- */
void account_user(void)
{
	struct cpu *c = this_cpu();
	struct thread *t = c->current_thread;
	u64 now = clock_now(), used = now - t->stamp;

	t->utime += used;
	c->user_ns += used;
	t->stamp = now;
	if (unlikely(t->proc->cpu_watch))
		cpu_timers_charge(t->proc, used, true);
}

/* Of a program's thread, on its way back. */
static inline void account_call(struct cpu *c, struct thread *t)
{
	u64 now = clock_now(), used = now - t->stamp;

	t->stime += used;
	c->system_ns += used;
	t->stamp = now;
	if (unlikely(t->proc->cpu_watch && t->state == T_RUNNABLE))
		cpu_timers_charge(t->proc, used, false);
}

void account_kernel(void)
{
	struct cpu *c = this_cpu();
	struct thread *t = c->current_thread;
	u64 now;

	if (t->proc) {
		account_call(c, t);
		return;
	}
	now = clock_now();
	t->stime += now - t->stamp;
	if (t != c->idle)
		c->system_ns += now - t->stamp;
	t->stamp = now;
}

u64 load_average(int i)
{
	return run_count;
}

/*
 * Somebody waits in the queue: a resting vCPU shall take it once its waker has had the
 * time to go to sleep itself. The time at which to look again, or NEVER.
 */
static u64 rouse_for_queue(struct cpu *c)
{
	struct thread *t;
	u64 now;

	if (!smp_active || !run_count || !smp_any_resting())
		return NEVER;
	now = clock_now();
	list_each(t, &run_queue, run_link)
	{
		if (t->queued_at + GRACE_NS > now)
			return t->queued_at + GRACE_NS;
		smp_rouse(t->affinity);
	}
	return NEVER;
}

/* Make sure that the nucleus interrupts the program when a timer or the slice is due. */
static void arm_timer_anew(struct cpu *c)
{
	u64 next = MIN(next_timer(c), rouse_for_queue(c));

	if (run_count)
		next = MIN(next, c->slice_end);
	else
		next = MIN(next, c->current_thread->stamp + NS_PER_SEC);
	if (c->current_thread->proc->cpu_watch)
		next = MIN(next, c->current_thread->stamp + CPU_WATCH_NS);
	if (next < c->timer_set || c->timer_set < c->current_thread->stamp) {
		hc_call(D0_HC_timer, next, 0, 0);
		c->timer_set = next;
	}
}

/* Mostly it is armed already, within the second and for no later than the first timer. */
static inline void arm_timer(struct cpu *c, const struct thread *t)
{
	if (run_count || t->proc->cpu_watch || c->timer_set - t->stamp > NS_PER_SEC ||
	    (!list_empty(&timers) &&
	     list_first(&timers, struct ktimer, link)->deadline < c->timer_set))
		arm_timer_anew(c);
}

/* On every way to a program: signals, then other threads' turns. */
void thread_enter_user_frame(struct regs *r);
void thread_enter_user_frame(struct regs *r)
{
	struct cpu *c = this_cpu();
	struct thread *t = c->current_thread;

	account_call(c, t);
	t->regs = r;
	for (;;) {
		/* After each sleep the thread may be on another vCPU. */
		c = this_cpu();
		if (unlikely(sig_due(t) || t->restore_blocked)) {
			sig_deliver(r);
			continue;
		}
		/* The stamp is fresh: reading the clock is a good part of a short call. */
		if (run_count && (c->need_resched || t->stamp >= c->slice_end)) {
			schedule();
			continue;
		}
		if (!(t->affinity >> c->number & 1)) {
			schedule();
			continue;
		}
		if (unlikely(t->rseq_due)) {
			rseq_return(r);
			continue;
		}
		break;
	}
	if (run_count && !c->slice_end)
		c->slice_end = t->stamp + SLICE_NS;
	arm_timer(c, t);
	monitor_leave();
}

/* ---- Kernel threads ---- */
void kthread_main(void)
{
	current->kfn(current->karg);
	thread_exit(0);
}

struct thread *kthread_start(void (*fn)(void *), void *arg, const char *name)
{
	struct thread *t = thread_new();
	u64 *sp;

	if (!t)
		return NULL;
	t->is_kthread = true;
	t->kfn = fn;
	t->karg = arg;
	str_copy(t->comm, name, sizeof(t->comm));
	sp = (u64 *)(t->kstack + 4 * PAGE_SIZE);
	*--sp = 0;
	*--sp = (u64)thread_start_kernel;
	t->ksp = (u64)(sp - 6);
	t->state = T_SLEEP;
	thread_wake(t);
	return t;
}

int sched_cpu_init(struct cpu *c)
{
	struct thread *t = kalloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->is_kthread = true;
	t->state = T_SLEEP;
	t->cpu = c;
	str_copy(t->comm, "idle", 16);
	t->kstack = vmalloc(4 * PAGE_SIZE);
	if (!t->kstack)
		return -ENOMEM;
	c->idle = c->current_thread = t;
	c->timer_set = NEVER;
	return 0;
}

void sched_init(void)
{
	list_init(&run_queue);
	list_init(&timers);
	BUG_ON(sched_cpu_init(this_cpu()));
	hc_call(D0_HC_upcall, VEC_UPCALL, 0, 0);
}
