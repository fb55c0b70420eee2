/* SPDX-License-Identifier: ISC */
/*
 * Recovery of the nucleus.
 *
 * Problem: a bit that flips in code which runs often is executed before any round of the
 * ring finds it. The result is an exception in host mode, at the instruction or some time
 * later when wrong data has spread, or a CPU that never lets go of the lock.
 *
 * Model: an exception is taken on a stack of its own, by a spare copy of the nucleus's code:
 * the image is mapped a second time, at another random address, with text and constants from
 * the second golden copy and the same data, and the vectors of exceptions lead there. The code
 * is position-independent, so the spare finds its own constants and everybody's data. It is
 * verified as the golden copy that it is. First the nucleus's read-only pages
 * are compared with the golden copies, and repaired. If that changed a page and the
 * fault was inside the nucleus's text, the instruction is simply tried again. Otherwise what
 * the CPU was doing is given up: its locks are let go, its stack is dropped and it begins its
 * scheduling loop anew. A vCPU for which it was working gets an error from its hypercall; if
 * nothing was repaired, so that the fault looks like a mistake rather than decay, the cell of
 * that vCPU is ended, since what it asked for may bring the fault back. So it is when the
 * faults don't end with the repair: what the damaged code wrote about that vCPU goes with its
 * cell.
 *
 * A CPU that waits seconds for the nucleus lock sends an NMI to the holder, which then
 * does the same. So does an assertion that fails (n_panic() asks here first): when pages had
 * decayed, that is why.
 *
 * The round that repairs a page may itself run in damaged code. When it finds no copy of a page
 * good, or an answer wrong and no page, the spare copy of the code looks at the nucleus. And
 * after each repair of the nucleus what the damaged code may have done is looked for.
 *
 * Run queues and timers, which every exit changes, are made anew from the states of the vCPUs,
 * and every channel is notified, since a notification may have been lost.
 *
 * Limits, said plainly: other data structures that were being changed when the fault came are
 * not rolled back; pointers to functions
 * lead out of the spare copy, so that nothing below follows one before the repair. More than
 * LIMIT recoveries in WINDOW are a panic.
 *
 * Locking: none is taken; golden copies that agree with each other are believed, as SHA-256
 * needs registers that may not be ours now.
 */
#include <string.h>
#include "d0/control.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/crypto.h"
#include "nucleus/core/trap.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/device_manager/irq.h"
#include "nucleus/live0/live0.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/sets.h"
#include "nucleus/verify/verify.h"

#define LIMIT     16
#define WINDOW    10000000000ull /* ns */
#define AFTERMATH 2000000000ull
#define PATIENCE  8 /* seconds in which nothing in the nucleus takes a CPU */
#define TRIES     4 /* then it is the vCPU's own data that is damaged */
#define LOOK      5 /* seconds from one comparison by the watchdog to the next */

static u64 last_repair, window_start;
static u64 spare; /* how far behind the nucleus its spare copy is mapped */
static u32 recoveries;
u32 recovery_unreported;

/* A fault this soon after a repair is put down to it. */
static bool aftermath(void)
{
	return last_repair && clock_ns() - last_repair <= AFTERMATH;
}

void recovery_arm(void)
{
	const struct page_run *run = nucleus_set.run;
	const struct {
		char *from, *to;
		hpa_t frames;
		u32 perms;
	} part[] = {{text_start, text_end, run[0].golden[1], MAP_R | MAP_X},
		    {rodata_start, rodata_end, run[1].golden[1], MAP_R},
		    {relro_start, relro_end, run[2].live, MAP_R},
		    {data_start, image_end,
		     HPA(run[2].live.v + (u64)(data_start - relro_start)), MAP_R | MAP_W}};
	spare =
	    0xffffffffc0000000ull + (random_u64() % (GiB - 16 * MiB) & ~PAGE_MASK) - image_base;
	for (u32 i = 0; i < ARRAY_SIZE(part); i++) {
		u64 size = (u64)(part[i].to - part[i].from);
		u64 direct = (u64)hpa_to_ptr(part[i].frames);
		nucleus_map((u64)part[i].from + spare, part[i].frames, size, part[i].perms,
			    false);
		if (i > 1)
			continue;
		space_unmap(&nucleus_space, direct, size); /* nobody writes to it any more */
		nucleus_map(direct, part[i].frames, size, MAP_R, false);
	}
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	traps_init(spare);
}

static u32 repair_nucleus(void)
{
	u32 repaired = 0;
	for (u32 r = 0; r < nucleus_set.runs; r++) {
		const struct page_run *run = &nucleus_set.run[r];
		for (u64 p = 0; p < run->pages; p++) {
			const void *a = hpa_to_ptr(HPA(run->golden[0].v + (p << PAGE_SHIFT)));
			const void *b = hpa_to_ptr(HPA(run->golden[1].v + (p << PAGE_SHIFT)));
			hpa_t live = HPA(run->live.v + (p << PAGE_SHIFT));
			if (!memcmp(hpa_to_ptr(live), a, PAGE_SIZE) || memcmp(a, b, PAGE_SIZE))
				continue;
			repair_write(live, a);
			verify_count_rescue();
			repaired++;
		}
	}
	return repaired;
}

bool recovery_rescue(void)
{
	u32 (*there)(void) = (u32(*)(void))((u64)repair_nucleus + spare);
	if (!spare || !there())
		return false;
	last_repair = clock_ns();
	sched_rebuild();
	return true;
}

static bool in_text(u64 rip)
{
	return rip >= image_base + (u64)(text_start - image_start) &&
	       rip < image_base + (u64)(text_end - image_start);
}

static bool may_recover(void)
{
	u64 now = clock_ns();
	if (now - window_start > WINDOW) {
		window_start = now;
		recoveries = 0;
	}
	return ++recoveries <= LIMIT;
}

/* On the CPU's own stack again, with nothing held. */
static void __noreturn begin_anew(void)
{
	struct cpu *cpu = cpu_self();
	struct vcpu *v = cpu->current;
	if (vcpu_ops->host_reset)
		vcpu_ops->host_reset();
	lapic_eoi(); /* of an interrupt whose handler was given up; else none comes again */
	nucleus_lock();
	cpu->current = cpu->running = NULL;
	cpu->in_guest = cpu->idle = false;
	if (v && v->state == VCPU_RUNNING)
		v->regs.rax = (u64)D0_ESTATE;
	sched_rebuild();
	if (v && cell_has_space(v->cell) && (!aftermath() || recoveries > TRIES))
		cell_fail(v->cell, v, "the nucleus faulted while acting for it", 0, "");
	journal(D0_EVENT_nucleus_fault, ~0u, cpu->index, "CPU %u began anew", cpu->index);
	nucleus_unlock();
	sched_loop();
}

static void abandon(struct trap_frame *f)
{
	u64 anew = (u64)begin_anew;
	f->rip = in_text(anew) ? anew : anew - spare;
	f->rsp = cpu_self()->stack_top - 8;
	f->rbp = 0;
	f->rflags = 2;
}

/*
 * An NMI that nobody asked for, as a rule the watchdog's: once a second for the boot CPU, which
 * hands it on. True: this CPU did nothing in the last ones but what it is at now. Every few
 * seconds the nucleus is compared here too, in case that what was hit is what finds it.
 */
static bool watchdog(struct cpu *cpu)
{
	static u32 seconds;
	if (cpu->index == 0 && rtc_rang()) {
		if (cpu_count > 1)
			lapic_nmi_others();
		u32 repaired = ++seconds % LOOK ? 0 : repair_nucleus();
		recovery_unreported += repaired;
		if (repaired)
			last_repair = clock_ns();
		for (u32 i = 0; i < cpu_count && repaired; i++)
			cpus[i].resched = true;
	}
	cpu->stuck = cpu->progress == cpu->seen ? cpu->stuck + 1 : 0;
	cpu->seen = cpu->progress;
	return cpu->stuck > PATIENCE;
}

bool recovery_from(struct trap_frame *f)
{
	struct cpu *cpu = (struct cpu *)rdmsr(MSR_GS_BASE);
	cpu->self = cpu; /* the pointer by which everybody finds it */
	bool nmi = f->vector == 2, panic = f->vector == 3;
	if (nmi && !__atomic_exchange_n(&cpu->interrogated, false, __ATOMIC_ACQ_REL) &&
	    !watchdog(cpu))
		return true;
	if (!nucleus_set.runs || !cpu->stack_top)
		return false;
	u32 repaired = repair_nucleus();
	if (repaired) {
		last_repair = clock_ns();
		if (!nmi && !panic && in_text(f->rip) && may_recover()) {
			recovery_unreported += repaired; /* the console may be locked by us */
			return true;
		}
	}
	if (panic && !aftermath())
		return true; /* it is what n_panic() takes it for */
	if (!may_recover())
		return false;
	locks_abandon(); /* one of ours may be the console's */
	if (!aftermath())
		trap_describe(f);
	abandon(f);
	return true;
}

void recovery_interrogate(struct cpu *holder)
{
	/* Until the configured cells run, a CPU may be at the hash of a large archive for long.
	 */
	if (!holder || holder == cpu_self() || !sync_ready_ns)
		return;
	__atomic_store_n(&holder->interrogated, true, __ATOMIC_RELEASE);
	lapic_nmi_others();
}
