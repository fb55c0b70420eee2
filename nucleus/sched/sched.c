/* SPDX-License-Identifier: ISC */
/*
 * The scheduler.
 *
 * Problem: share the CPUs among vCPUs so that what is urgent runs first, no spinning cell
 * can keep another from running, and idle CPUs rest.
 *
 * Model: one set of queues for all CPUs: queue 0 for vCPUs that have used up their
 * budget, queue p+1 for priority p. A CPU takes the first of the highest queue, runs it for at
 * most a slice, and puts it at the end of its queue. Slices may differ from cell to cell: among
 * those that never rest time is shared in proportion to them. A budget is CPU time per 100 ms
 * at the cell's priority; beyond it a vCPU runs only when nobody else wants to. A vCPU that has
 * waited for STARVED is taken first whatever its queue, so that priority is never starvation.
 *
 * Hand-over: a vCPU that is woken by another one waits in its queue for the waker's CPU,
 * because a cell that notifies its peer is as a rule about to wait itself. The peer then runs
 * there, with warm caches and without an IPI; work of several notifications is done in one go.
 * Only when the waker has gone on for several times as long as it takes to wake another CPU (which
 * is measured: seldom more than microseconds on hardware, and milliseconds where the host of an
 * emulator is busy) is another CPU sent for it: `handover` is that moment. Who was pre-empted, or
 * gave its CPU to the one it notified (D0_NOTIFY_YIELD), waits longer: it had its turn. What an
 * interrupt wakes pre-empts the CPU that took the interrupt, if it is more urgent than what ran
 * there.
 *
 * There are no threads in the nucleus: each CPU has one stack and is in this loop, in a
 * guest, or halted.
 *
 * A cell can be ended and started anew while the CPU that ran it is between the exit and the
 * lock: the vCPU is READY again, and that CPU still in run() with it. So a vCPU has a `holder`,
 * and nobody takes it before the holder has let go; the holder sees that it is not RUNNING any
 * more and drops the exit, which belonged to the life before.
 *
 * Invariants: READY = in a queue; RUNNING = cpu->running of one CPU or about to be;
 * BLOCKED = in neither, perhaps in the timer heap. No wake-up is lost: events are
 * set and looked for under the lock, and a CPU looks at `resched` with interrupts off
 * before it halts (STI;HLT) or enters a guest (CLGI).
 *
 * Locking: the nucleus lock; it is let go in guests and in the halt.
 */
#include <string.h>
#include "nucleus/core/lock.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"

#define QUEUES  9
#define SLICE   10000000ull                  /* ns */
#define PERIOD  (D0_CTL_PERIOD_US * 1000ull) /* of budgets */
#define STARVED 50000000ull
#define HANDOVER_MAX \
	3000000ull /* ns: how long a vCPU waits for the CPU that has it in its queue */

static struct {
	struct vcpu *first, *last;
} queue[QUEUES];
u64 sched_switches;
static u64 wake_latency = 5000; /* from a kick to the idle CPU's arrival, mean */
static u64 lifecycle_next = D0_NEVER;
static bool lifecycle_look;

static void renew_budget(struct vcpu *v, u64 now)
{
	if (now - v->period_start >= PERIOD) {
		v->period_start = now;
		v->used_ns = 0;
	}
}

static void enqueue(struct vcpu *v)
{
	u64 now = clock_ns();
	renew_budget(v, now);
	u64 budget = v->cell->config.budget_us * 1000ull;
	u32 q = budget && v->used_ns >= budget ? 0 : v->cell->config.priority + 1;
	v->queue = q;
	v->queued = true;
	v->ready_ns = now;
	v->next = NULL;
	v->prev = queue[q].last;
	if (queue[q].last)
		queue[q].last->next = v;
	else
		queue[q].first = v;
	queue[q].last = v;
}

static void dequeue(struct vcpu *v)
{
	u32 q = v->queue;
	if (v->prev)
		v->prev->next = v->next;
	else
		queue[q].first = v->next;
	if (v->next)
		v->next->prev = v->prev;
	else
		queue[q].last = v->prev;
	v->queued = false;
}

void sched_kick(struct cpu *cpu)
{
	cpu->resched = true;
	if (cpu != cpu_self())
		lapic_ipi(cpu->apic_id, VECTOR_KICK);
}

static struct cpu *idle_cpu(const struct vcpu *v)
{
	if (v->last_cpu && v->last_cpu->idle && !v->last_cpu->resched)
		return v->last_cpu;
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i].idle && !cpus[i].resched)
			return &cpus[i];
	return NULL;
}

/* One that does something less urgent; best another one, which need not come back from here. */
static struct cpu *lesser_cpu(const struct vcpu *v)
{
	struct cpu *self = cpu_self();
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i].running && !cpus[i].resched && cpus[i].running->queue < v->queue)
			return &cpus[i];
	return self->current && self->current->queue < v->queue ? self : NULL;
}

/* The first that no CPU is still on its way out of. */
static struct vcpu *first_free(u32 q)
{
	struct vcpu *v = queue[q].first;
	while (v && v->holder)
		v = v->next;
	return v;
}

static struct vcpu *first_waiting(void)
{
	struct vcpu *v = NULL;
	for (u32 q = QUEUES; q-- > 0 && !v;)
		v = first_free(q);
	return v;
}

/* Somebody waits while this CPU is about to enter a guest: say for how long that may be. */
static void watch_handover(struct cpu *cpu, u64 now)
{
	struct vcpu *v = cpu->handover == D0_NEVER ? first_waiting() : NULL;
	if (!v || (!idle_cpu(v) && !lesser_cpu(v)))
		return;
	cpu->handover = now + MIN(v->woken ? 6 * wake_latency : HANDOVER_MAX, HANDOVER_MAX);
}

static void handover_due(struct cpu *cpu)
{
	struct vcpu *v = first_waiting();
	struct cpu *best = v ? idle_cpu(v) : NULL;
	cpu->handover = D0_NEVER;
	if (best)
		best->kicked_ns = clock_ns();
	else if (v)
		best = lesser_cpu(v);
	if (best)
		sched_kick(best);
}

/* now_please: a device or the clock woke it; nobody here is about to wait for it. */
static void ready(struct vcpu *v, bool now_please)
{
	struct cpu *self = cpu_self();
	if (v->state == VCPU_READY || v->state == VCPU_RUNNING)
		return;
	v->state = VCPU_READY;
	v->woken = true;
	v->deadline = D0_NEVER;
	timers_update(v);
	enqueue(v);
	if (self->idle || (now_please && self->current && self->current->queue < v->queue))
		self->resched = true;
	else if (self->current)
		watch_handover(self, clock_ns());
}

void sched_ready(struct vcpu *v)
{
	ready(v, cpu_self()->running); /* in a guest still: an interrupt, not a hypercall */
}

void sched_block(struct vcpu *v, u64 deadline)
{
	v->state = VCPU_BLOCKED;
	v->deadline = deadline;
	timers_update(v);
}

void sched_remove(struct vcpu *v)
{
	if (v->queued)
		dequeue(v);
	timers_remove(v);
}

void sched_timer_changed(struct vcpu *v)
{
	if (v)
		timers_update(v);
	else
		lifecycle_look = true;
}

static void tick(u64 now)
{
	struct vcpu *v;
	while ((v = timers_due(now))) {
		if (v->timer <= now) {
			v->timer = D0_NEVER;
			cell_raise_flags(v->cell, v->index, D0_EV_TIMER);
		}
		if (v->state == VCPU_BLOCKED && v->deadline <= now)
			ready(v, true);
		timers_update(v);
	}
	if (lifecycle_look || now >= lifecycle_next) {
		lifecycle_look = false;
		lifecycle_next = lifecycle_tick(now);
	}
	registry_tick();
	verify_tick(now);
}

/* Over-budget vCPUs whose period is over go back to their own queue. */
static void forgive(u64 now)
{
	for (struct vcpu *v = queue[0].first, *next; v; v = next) {
		next = v->next;
		if (now - v->period_start >= PERIOD) {
			dequeue(v);
			enqueue(v);
		}
	}
}

static struct vcpu *pick(u64 now)
{
	forgive(now);
	struct vcpu *best = NULL;
	for (u32 q = QUEUES; q-- > 0;) {
		struct vcpu *v = first_free(q);
		if (v && !best)
			best = v;
		else if (v && q > 0 && now - v->ready_ns > STARVED && now > v->ready_ns)
			best = v;
	}
	if (best)
		dequeue(best);
	return best;
}

static u64 next_due(void)
{
	return MIN(timers_next(), lifecycle_next);
}

/* Armed for something earlier it stays so: an early interrupt costs less than each change. */
static void timer_until(struct cpu *cpu, u64 wake)
{
	if (wake >= cpu->timer_deadline && cpu->timer_deadline > clock_ns())
		return; /* if it is past, the interrupt is here or was lost */
	cpu->timer_deadline = wake;
	lapic_timer_arm(wake);
}

/* Run one vCPU until it blocks, ends, or its slice is over. */
static void run(struct cpu *cpu, struct vcpu *v, u64 now)
{
	struct cell *cell = v->cell;
	u64 end = now + (cell->config.slice_us * 1000ull ?: SLICE), since = now;
	renew_budget(v, now);
	if (cell->config.budget_us && v->queue)
		end = MIN(end, now + cell->config.budget_us * 1000ull -
				   MIN(v->used_ns, cell->config.budget_us * 1000ull) + 1000);
	v->state = VCPU_RUNNING;
	sched_switches++;
	cpu->current = v;
	v->holder = cpu;
	cpu->handover = D0_NEVER;
	while (v->state == VCPU_RUNNING && !cpu->resched && now < end) {
		watch_handover(cpu, now);
		timer_until(cpu, MIN(MIN(next_due(), end), cpu->handover));
		vcpu_run(v);
		now = clock_ns();
		if (now >= cpu->handover)
			handover_due(cpu);
		if (now >= next_due() || lifecycle_look)
			tick(now);
	}
	cpu->current = NULL;
	vcpu_leave(v);
	if (v->state == VCPU_OFF)
		return;
	v->cpu_ns += now - since;
	v->used_ns += now - since;
	if (v->state == VCPU_RUNNING) {
		v->state = VCPU_READY;
		v->woken = false;
		enqueue(v);
	}
}

static void idle(struct cpu *cpu, u64 now)
{
	cpu->idle = true;
	timer_until(cpu, MIN(next_due(), verify_next));
	nucleus_unlock();
	if (!verify_idle(now) && !__atomic_load_n(&cpu->resched, __ATOMIC_ACQUIRE))
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	else
		__asm__ volatile("sti; nop; cli" ::: "memory");
	nucleus_lock();
	cpu->idle = false;
	u64 woken = clock_ns();
	cpu->idle_ns += woken - now;
	if (cpu->kicked_ns) {
		wake_latency += (woken - cpu->kicked_ns) / 8;
		wake_latency -= wake_latency / 8;
		cpu->kicked_ns = 0;
	}
}

static void on_timer(u32 vector, void *arg)
{
	cpu_self()->timer_deadline = D0_NEVER;
}

static void on_serial(u32 vector, void *arg)
{
	nucleus_lock();
	cells_tell(D0_CAP_CONSOLE, D0_EV_CONSOLE);
	nucleus_unlock();
}

/* What damaged code may have done to it: a holder that doesn't hold it, or none that does. */
static void mend(struct vcpu *v)
{
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i].current == v)
			return;
	if (v->holder == cpu_self())
		vcpu_leave(v);
	v->holder = NULL;
	v->state = v->state == VCPU_RUNNING ? VCPU_READY : v->state;
}

void sched_rebuild(void)
{
	memset(queue, 0, sizeof(queue));
	timers_forget();
	for (u32 i = 0; i < cell_slots(); i++) {
		struct cell *cell = cell_by_number(i);
		for (u32 k = 0; cell && k < cell->config.vcpus; k++) {
			struct vcpu *v = &cell->vcpu[k];
			v->queued = false;
			v->timer_slot = 0;
			mend(v);
			timers_update(v);
			if (v->state == VCPU_READY)
				enqueue(v);
		}
		/* A notification may have been lost. */
		for (u32 k = 0; cell && k < cell->config.channels; k++)
			if (cell->slot[k].channel)
				cell_raise(cell, k);
	}
}

void sched_init(void)
{
	vector_set(VECTOR_TIMER, on_timer, NULL);
	vector_set(VECTOR_SERIAL, on_serial, NULL);
}

void sched_loop(void)
{
	struct cpu *cpu = cpu_self();
	cpu->timer_deadline = cpu->handover = D0_NEVER;
	nucleus_lock();
	for (;;) {
		u64 now = clock_ns();
		cpu->resched = false;
		tick(now);
		struct vcpu *v = pick(now);
		if (v)
			run(cpu, v, now);
		else
			idle(cpu, now);
	}
}
