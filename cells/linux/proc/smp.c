/* SPDX-License-Identifier: ISC */
/*
 * Several vCPUs: the lock of the monitor, starting the others, calls between them.
 *
 * Problem. Kernel code is written as one monitor: nothing changes under it between two
 * sleeps. Programs shall nevertheless run on all vCPUs at once.
 *
 * Model. One lock, taken on every way from a program into the kernel and given back on
 * every way out, and given back while a vCPU rests. It belongs to the vCPU, not to the
 * thread: it is held through the switch from one thread to the next. So sleeping, waking,
 * the run queue, timers, files and memory need no locks of their own, and what runs in
 * parallel is what programs themselves compute. The lock order is therefore short: the
 * monitor, then nothing.
 *
 * A vCPU is in one of three places. In the monitor: it holds the lock. Outside (`outside`
 * is set): in its program, or on the few instructions that lead there or come from there,
 * which touch nothing but its own kernel stack and its struct cpu. Waiting at the door:
 * outside is clear, the lock not yet held; it touches no user memory.
 *
 * Translations. Who takes rights from a page table entry calls tlb_flush_page or tlb_flush_mm
 * before it leaves the monitor or lets a frame be used for something else. They flush here, and
 * every other vCPU that has this address space loaded (mm_loaded) is asked to: REQ_FLUSH is
 * set, a vCPU outside gets an interrupt and we wait until it has flushed or has come to the
 * door, where it will flush before it goes on. Giving rights needs no call: the others take a
 * fault that finds nothing to do. A vCPU that rests or runs a kernel thread has the
 * kernel's own root loaded and needs no call. Mappings of the kernel's vmalloc area are used
 * only in the monitor: unmapping counts kernel_maps up, and each vCPU flushes at the door when
 * it has not seen the count.
 *
 * Waking. A thread that becomes runnable is queued. Often the waker sleeps at once and the
 * same vCPU goes on with it; so a resting vCPU is called only for a thread that has waited
 * GRACE_NS, looked at on each way out and by a timer (sched.c).
 *
 * Failure. A vCPU that waits for the lock or for an answer spins a while and then rests in
 * the nucleus for some microseconds at a time, because the one it waits for may not be
 * running at all.
 */
#include "cells/linux/inc/smp.h"

#define SPINS   200
#define NAP_NS  20000ull
#define AP_WAIT (5 * NS_PER_SEC)

struct cpu *cpus[D0_VCPUS_MAX];
u32 cpus_online = 1;
bool smp_active;
static u32 monitor; /* 1: held; the start holds it */
static u64 kernel_maps;
static u8 ap_stack[8192] __attribute__((aligned(16)));
u64 pt_kernel_root(void);
void ap_start(void);
void ap_main(struct cpu *c, u64 number);
noreturn_fn void stack_call(void *stack_top, void (*fn)(void));

static void nap(u32 *spins)
{
	__asm__ volatile("pause");
	if (++*spins % SPINS == 0)
		hc_call(D0_HC_wait, clock_now() + NAP_NS, 0, 0);
}

static u32 requests_take(struct cpu *c)
{
	return __atomic_load_n(&c->requests, __ATOMIC_ACQUIRE)
		   ? __atomic_exchange_n(&c->requests, 0, __ATOMIC_ACQ_REL)
		   : 0;
}

void monitor_enter_slow(void)
{
	struct cpu *c = this_cpu();
	u32 spins = 0;

	/* From here on nobody waits for us, and we touch no user memory. */
	__atomic_store_n(&c->outside, false, __ATOMIC_SEQ_CST);
	while (__atomic_exchange_n(&monitor, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&monitor, __ATOMIC_RELAXED))
			nap(&spins);
	if ((requests_take(c) & REQ_FLUSH) || c->maps_seen != kernel_maps) {
		c->maps_seen = kernel_maps;
		write_cr3(read_cr3());
	}
}

void monitor_leave_slow(void)
{
	__atomic_store_n(&this_cpu()->outside, true, __ATOMIC_RELAXED);
	__atomic_store_n(&monitor, 0, __ATOMIC_RELEASE);
}

/* An upcall that brought nothing but a request to flush needs no lock. True: done. */
bool smp_upcall(void)
{
	struct cpu *c = this_cpu();

	__atomic_fetch_and(&c->events->flags, ~(u64)D0_EV_IPI, __ATOMIC_ACQ_REL);
	if (__atomic_load_n(&c->requests, __ATOMIC_ACQUIRE) & REQ_FLUSH) {
		write_cr3(read_cr3());
		__atomic_fetch_and(&c->requests, ~REQ_FLUSH, __ATOMIC_RELEASE);
	}
	return !__atomic_load_n(&c->requests, __ATOMIC_ACQUIRE) && !c->events->flags &&
	       !c->events->words;
}

static void request(struct cpu *o, u32 what)
{
	if (!(__atomic_fetch_or(&o->requests, what, __ATOMIC_SEQ_CST) & what) &&
	    (__atomic_load_n(&o->outside, __ATOMIC_SEQ_CST) || o->resting))
		hc_call(D0_HC_ipi, 1ull << o->number, 0, 0);
}

void smp_resched(struct cpu *o)
{
	if (o != this_cpu())
		request(o, REQ_RESCHED);
}

bool smp_rouse(u64 affinity)
{
	for (u32 i = 0; i < cpus_online; i++)
		if (cpus[i]->resting && !cpus[i]->roused && (affinity >> i & 1)) {
			cpus[i]->roused = true;
			request(cpus[i], REQ_RESCHED);
			return true;
		}
	return false;
}

bool smp_any_resting(void)
{
	for (u32 i = 0; i < cpus_online; i++)
		if (cpus[i]->resting && !cpus[i]->roused)
			return true;
	return false;
}

bool smp_others_rest(void)
{
	for (u32 i = 0; i < cpus_online; i++)
		if (cpus[i] != this_cpu() && !cpus[i]->resting)
			return false;
	return true;
}

/* ---- Translations ---- */
static void others_flush(u64 set)
{
	for (u32 i = 0; i < cpus_online; i++)
		if (set >> i & 1)
			request(cpus[i], REQ_FLUSH);
	for (u32 i = 0; i < cpus_online; i++) {
		u32 spins = 0;

		while ((set >> i & 1) && __atomic_load_n(&cpus[i]->outside, __ATOMIC_ACQUIRE) &&
		       (__atomic_load_n(&cpus[i]->requests, __ATOMIC_ACQUIRE) & REQ_FLUSH))
			nap(&spins);
	}
}

static u64 loaded_elsewhere(const struct mm *mm)
{
	struct cpu *c = this_cpu();
	u64 set = 0;

	for (u32 i = 0; i < cpus_online; i++)
		if (cpus[i] != c && cpus[i]->mm_loaded == mm)
			set |= 1ull << i;
	return set;
}

void tlb_flush_page(struct mm *mm, u64 va)
{
	if (read_cr3() == mm->root)
		invlpg(va);
	if (smp_active)
		others_flush(loaded_elsewhere(mm));
}

void tlb_flush_mm(struct mm *mm)
{
	if (read_cr3() == mm->root)
		write_cr3(mm->root);
	if (smp_active)
		others_flush(loaded_elsewhere(mm));
}

void tlb_flush_own(u64 va)
{
	invlpg(va);
}

void tlb_kernel_changed(void)
{
	this_cpu()->maps_seen = ++kernel_maps;
}

void smp_serialize(struct mm *mm)
{
	u64 set = 0;

	if (!smp_active)
		return;
	for (u32 i = 0; i < cpus_online; i++)
		if (cpus[i] != this_cpu() && cpus[i]->mm_loaded &&
		    (!mm || cpus[i]->mm_loaded == mm))
			set |= 1ull << i;
	others_flush(set);
}

void mm_activate(struct mm *mm)
{
	u64 root = mm ? mm->root : pt_kernel_root();

	this_cpu()->mm_loaded = mm;
	if (read_cr3() != root)
		write_cr3(root);
}

/* ---- Starting the others ---- */
static void ap_idle(void)
{
	monitor_enter_slow();
	hc_call(D0_HC_upcall, VEC_UPCALL, 0, 0);
	idle_loop();
}

/* On the one start stack, with the nucleus's page tables; no stack guard value yet to keep. */
void ap_main(struct cpu *c, u64 number)
{
	cpu_init(c, (u32)number);
	write_cr3(pt_kernel_root());
	__atomic_store_n(&c->online, true, __ATOMIC_RELEASE);
	stack_call((u8 *)c->idle->kstack + 4 * PAGE_SIZE, ap_idle);
}

static struct hc_result vcpu_start(u32 number, struct cpu *c)
{
	struct hc_result r;
	register u64 rdx __asm__("rdx") = (u64)(ap_stack + sizeof(ap_stack));
	register u64 r10 __asm__("r10") = (u64)c;

	if (d0_info->flags & D0_INFO_VMX)
		__asm__ volatile("vmcall"
				 : "=a"(r.value), "+r"(rdx)
				 : "a"((u64)D0_HC_vcpu_start), "D"((u64)number), "S"(ap_start),
				   "r"(r10)
				 : "memory");
	else
		__asm__ volatile("vmmcall"
				 : "=a"(r.value), "+r"(rdx)
				 : "a"((u64)D0_HC_vcpu_start), "D"((u64)number), "S"(ap_start),
				   "r"(r10)
				 : "memory");
	r.second = rdx;
	return r;
}

static bool cpu_bring_up(u32 number)
{
	/* A frame: the new vCPU begins with tables that have no vmalloc area. */
	struct page *frame = page_alloc(PAGE_KERNEL);
	struct cpu *c = frame ? page_ptr(frame) : NULL;
	u64 end = clock_now() + AP_WAIT;
	u32 spins = 0;

	_Static_assert(sizeof(*c) <= PAGE_SIZE, "a vCPU's block is a frame");
	if (!c || sched_cpu_init(c))
		return false;
	c->number = number;
	cpus[number] = c;
	if (vcpu_start(number, c).value)
		return false;
	while (!__atomic_load_n(&c->online, __ATOMIC_ACQUIRE))
		if (clock_now() > end)
			return false;
		else
			nap(&spins);
	return true;
}

void smp_init(void)
{
	u32 n = MIN(d0_info->vcpus, (u32)D0_VCPUS_MAX);

	monitor = 1;
	cpus[0] = this_cpu();
	for (u32 i = 1; i < n; i++) {
		smp_active = true;
		if (!cpu_bring_up(i)) {
			printk("vCPU %u did not start; going on with %u", i, cpus_online);
			break;
		}
		cpus_online = i + 1;
	}
	smp_active = cpus_online > 1;
}
