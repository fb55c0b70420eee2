/* SPDX-License-Identifier: ISC */
/*
 * Exceptions and the upcall. From user mode an exception becomes a page fill or a signal;
 * from the kernel only a fault inside the user-copy routines is expected, everything else ends
 * the cell with its reason.
 */
#include "cells/linux/inc/smp.h"

extern char user_copy_begin[], user_copy_end[], user_copy_fixup[];
extern char user_clear_begin[], user_clear_end[];
extern char probe_fixup[];
extern u64 probe_rsp;
extern char user_cmpxchg_begin[], user_cmpxchg_end[], user_cmpxchg_fixup[];

void trap_dispatch(u32 vector, struct regs *r);
void thread_enter_user_frame(struct regs *r);
void account_user(void);
void account_kernel(void);

static bool within(u64 a, const char *begin, const char *end)
{
	return a >= (u64)begin && a < (u64)end;
}

static u64 fixup_of(u64 rip)
{
	if (within(rip, user_copy_begin, user_copy_end) ||
	    within(rip, user_clear_begin, user_clear_end))
		return (u64)user_copy_fixup;
	if (within(rip, user_cmpxchg_begin, user_cmpxchg_end))
		return (u64)user_cmpxchg_fixup;
	return 0;
}

static u64 image_offset(u64 va)
{
	return va - D0_HIGH_OFFSET - d0_info->image_base;
}

/* A probe of boot/selfcheck.c, which wants to be refused. */
static bool probe_refused(struct regs *r)
{
	if (!probe_rsp)
		return false;
	r->rip = (u64)probe_fixup;
	r->rsp = probe_rsp;
	probe_rsp = 0;
	return true;
}

static noreturn_fn void kernel_fault(u32 vector, const struct regs *r, u64 cr2)
{
	const u64 *sp = (const u64 *)r->rsp;

	printk("fault %u in the guest kernel: rip %lx (image+%lx) code %lx cr2 %lx rsp %lx",
	       vector, r->rip, image_offset(r->rip), r->orig_rax, cr2, r->rsp);
	printk("rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx", r->rax, r->rbx, r->rcx,
	       r->rdx, r->rsi, r->rdi);
	for (u32 i = 0; i < 40; i++) {
		u64 v = image_offset(sp[i]);

		if (v < 0x200000)
			printk("  stack+%x: image+%lx", i * 8, v);
	}
	panic("fault %u at image+%lx", vector, image_offset(r->rip));
}

static void page_fault(struct regs *r, u64 addr)
{
	u32 access = (r->orig_rax & 2 ? FAULT_WRITE : 0) | (r->orig_rax & 16 ? FAULT_EXEC : 0);
	bool user = (r->cs & 3) != 0;
	u64 fix = user ? 0 : fixup_of(r->rip);
	struct thread *t = current;
	int code = SEGV_MAPERR, sig;

	if (!user && !fix) {
		if (probe_refused(r))
			return;
		kernel_fault(14, r, addr);
	}
	if (addr < TASK_SIZE && t->mm && !(r->orig_rax & 8)) {
		sig = mm_fault(t->mm, addr, access, &code);
		if (!sig)
			return;
	} else {
		sig = SIGSEGV;
	}
	if (fix) {
		r->rip = fix;
		return;
	}
	sig_force(t, sig, code, addr);
}

static void user_exception(u32 vector, struct regs *r)
{
	struct thread *t = current;

	switch (vector) {
	case 0:
		sig_force(t, SIGFPE, FPE_INTDIV, r->rip);
		break;
	case 1:
		r->rflags &= ~RFL_TF;
		sig_force(t, SIGTRAP, TRAP_TRACE, r->rip);
		break;
	case 3:
		sig_force(t, SIGTRAP, SI_KERNEL, 0);
		break;
	case 6:
		sig_force(t, SIGILL, ILL_ILLOPN, r->rip);
		break;
	case 16:
	case 19:
		sig_force(t, SIGFPE, FPE_FLTINV, r->rip);
		break;
	case 12:
	case 11:
	case 17:
		sig_force(t, SIGBUS, vector == 17 ? BUS_ADRALN : SI_KERNEL, 0);
		break;
	default:
		sig_force(t, SIGSEGV, SI_KERNEL, 0);
	}
}

void trap_dispatch(u32 vector, struct regs *r)
{
	bool user = (r->cs & 3) != 0;
	u64 cr2 = vector == 14 ? read_cr2() : 0;

	if (user) {
		if (vector == VEC_UPCALL && smp_active && smp_upcall())
			return;
		monitor_enter();
		account_user();
		current->regs = r;
	}
	if (vector == 14) {
		page_fault(r, cr2);
	} else if (vector == VEC_UPCALL) {
		events_take();
		timers_run(clock_now());
	} else if (user) {
		user_exception(vector, r);
	} else {
		u64 fix = fixup_of(r->rip);

		if (vector != 13 || !fix)
			kernel_fault(vector, r, read_cr2());
		r->rip = fix;
	}
	if (user) {
		r->orig_rax = (u64)-1;
		thread_enter_user_frame(r);
	}
}
