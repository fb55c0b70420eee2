/* SPDX-License-Identifier: ISC */
/*
 * What an exit means.
 *
 * The rule is one sentence: what was not granted ends the cell, with a report that names
 * the cell, the rule and the address. Guest kernels get a little more than native cells:
 * filtered CPUID and EFER, HLT as a wait, XSETBV; for what else their user programs may try by
 * accident they get the exception that the bare CPU would raise.
 *
 * Before a cell is ended for a fault, its verified pages are compared with the golden
 * copies: if one was wrong and is repaired now, the instruction is tried again.
 */
#include "nucleus/core/print.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define VECTOR_UD 6
#define VECTOR_GP 13

/* The page a fault points at may have been hit: repaired, the cell goes on. */
static bool healed(struct vcpu *v)
{
	v->cell->stat.faults++;
	return verify_cell_now(v->cell);
}

static void exit_memory(struct vcpu *v, const struct vcpu_exit *x)
{
	static const char *const rule[] = {
	    [MAP_R] = "read outside its regions",
	    [MAP_W] = "write to memory it may not write",
	    [MAP_X] = "execution of memory it may not execute",
	};
	hpa_t to;
	u32 perms = 0;
	int err = D0_EFAULT;
	if (!space_lookup(&v->cell->space, x->address, &to, &perms))
		err = region_fill(v->cell, GPA(ALIGN_DOWN(x->address, PAGE_SIZE)));
	if (!err || (perms & x->access))
		return; /* filled now, or by another vCPU's touch that came first */
	int r = region_find(v->cell, GPA(x->address), 1);
	if (err == D0_ENOMEM)
		cell_fail(v->cell, v, "out of memory", x->address,
			  "no frame left on this machine");
	else if (!healed(v))
		cell_fail(v->cell, v, rule[x->access], x->address,
			  r < 0 ? "in no region" : v->cell->region[r].name);
}

static void exit_exception(struct vcpu *v, const struct vcpu_exit *x)
{
	char text[48];
	if (healed(v))
		return;
	n_snprintf(text, sizeof(text), "vector %u, error 0x%x", x->vector, x->error);
	cell_fail(v->cell, v, "exception", x->address, text);
}

static void refuse(struct vcpu *v, const char *rule, u64 address, const char *detail,
		   u32 vector)
{
	if (v->cell->high) {
		v->cell->stat.faults++;
		vcpu_inject_fault(v, vector);
	} else if (!healed(v)) {
		cell_fail(v->cell, v, rule, address, detail);
	}
}

static void exit_msr(struct vcpu *v, const struct vcpu_exit *x)
{
	if (v->cell->high && x->address == MSR_EFER && !v->user) {
		if (x->write) {
			v->efer = (v->regs.rax & EFER_GUEST) | EFER_LONG;
		} else {
			v->regs.rax = v->efer;
			v->regs.rdx = 0;
		}
		vcpu_skip(v);
		return;
	}
	refuse(v, x->write ? "write to an MSR" : "read of an MSR", x->address, "not granted",
	       VECTOR_GP);
}

static void exit_xsetbv(struct vcpu *v)
{
	u64 value = (v->regs.rax & 0xffffffff) | v->regs.rdx << 32;
	bool ok = v->cell->high && !v->user && (u32)v->regs.rcx == 0 && (value & 1) &&
		  !(value & ~fpu_features) && (!(value & 4) || (value & 2));
	if (!ok) {
		refuse(v, "privileged instruction", v->rip, "XSETBV", VECTOR_GP);
		return;
	}
	v->xcr0 = value;
	fpu_switch_xcr0(v);
	vcpu_skip(v);
}

static void exit_cpuid(struct vcpu *v)
{
	struct cpuid r = cpuid_filter(v, (u32)v->regs.rax, (u32)v->regs.rcx);
	v->regs.rax = r.a;
	v->regs.rbx = r.b;
	v->regs.rcx = r.c;
	v->regs.rdx = r.d;
	vcpu_skip(v);
}

static void exit_hypercall(struct vcpu *v)
{
	if (v->user) {
		vcpu_inject_fault(v, VECTOR_UD);
		return;
	}
	vcpu_skip(v);
	v->cell->stat.hypercalls++;
	hypercall(v);
}

void vcpu_handle_exit(struct vcpu *v, const struct vcpu_exit *x)
{
	switch (x->reason) {
	case EXIT_INTERRUPT:
		v->cell->stat.interrupts++;
		break;
	case EXIT_HYPERCALL:
		exit_hypercall(v);
		break;
	case EXIT_MEMORY:
		exit_memory(v, x);
		break;
	case EXIT_EXCEPTION:
		exit_exception(v, x);
		break;
	case EXIT_IO:
		refuse(v, "access to an I/O port", x->address, x->write ? "write" : "read",
		       VECTOR_GP);
		break;
	case EXIT_MSR:
		exit_msr(v, x);
		break;
	case EXIT_CPUID:
		exit_cpuid(v);
		break;
	case EXIT_XSETBV:
		exit_xsetbv(v);
		break;
	case EXIT_HLT:
		if (!v->cell->high) {
			refuse(v, "privileged instruction", v->rip, "HLT", VECTOR_GP);
			break;
		}
		vcpu_skip(v);
		if (!vcpu_events_pending(v))
			sched_block(v, D0_NEVER);
		break;
	case EXIT_SHUTDOWN:
		if (!healed(v))
			cell_fail(v->cell, v, "triple fault", x->address, "shutdown");
		break;
	case EXIT_PRIVILEGED:
		refuse(v, "privileged instruction", x->address,
		       x->text ? x->text : "intercepted instruction", VECTOR_UD);
		break;
	case EXIT_WINDOW:
	case EXIT_NOTHING:
		break;
	case EXIT_BROKEN:
		cell_fail(v->cell, v, "entry to guest mode failed", x->code,
			  "the CPU's code for it");
		break;
	}
}
