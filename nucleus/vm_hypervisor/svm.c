/* SPDX-License-Identifier: ISC */
/*
 * AMD SVM with nested paging.
 *
 * Problem: run a vCPU so that nothing it does reaches the host but what it was granted.
 *
 * Model: one VMCB per vCPU. Everything that can be intercepted is, with these exceptions:
 * native cells may read the TSC and set FS; guest kernels may besides load their own tables, control
 * registers, system-call MSRs and take their own exceptions. Extra state (FS, GS, TR,
 * system-call MSRs) is swapped by VMLOAD/VMSAVE around each entry; the host's copy is constant
 * per CPU.
 *
 * Invariants: EFER.SVME is set in every VMCB and invisible to guests. The ASID is
 * never 0 and is used by one vCPU per CPU and generation. CLGI covers the entry, so no
 * interrupt is lost between the last look at cpu->resched and guest mode.
 *
 * What TCG checks incompletely (consistency of the VMCB, NPT fault codes) is not leant
 * on: the VMCB's fields a guest can influence are only those that the hardware wrote.
 *
 * Locking: run() is called without the nucleus lock; a VMCB is touched only by the CPU
 * that runs the vCPU or, while it doesn't run, under the lock.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sync/cell.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/svm.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define MSR_EFER     0xc0000080u
#define MSR_VM_CR    0xc0010114u
#define MSR_HSAVE    0xc0010117u
#define EFER_SVME    (1ull << 12)
#define EFER_GUEST   0xd01ull /* SCE, LME, LMA, NXE */
#define V_IRQ        (1ull << 8)
#define V_IGN_TPR    (1ull << 20)
#define V_MASKING    (1ull << 24)
#define INJECT_VALID (1ull << 31)
#define INJECT_ERROR (1ull << 11)
#define IOPM_PAGES   3
#define MSRPM_PAGES  2

struct svm_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_pa;
	u8 *iopm; /* own one if ports were granted, else NULL: the shared one */
};

static hpa_t iopm_none, msrpm_native, msrpm_kernel;
static u32 asid_max;

static struct svm_vcpu *svm_of(struct vcpu *v)
{
	return v->vendor;
}

static struct vmcb *vmcb_of(struct vcpu *v)
{
	return svm_of(v)->vmcb;
}

static bool svm_supported(void)
{
	if (cpuid(0x80000000, 0).a < 0x8000000a || !(cpuid(0x80000001, 0).c & (1u << 2)))
		return false;
	if (rdmsr(MSR_VM_CR) & (1u << 4)) {
		n_print("svm: switched off by the firmware (VM_CR.SVMDIS)");
		return false;
	}
	return cpuid(0x8000000a, 0).d & 1;
}

/* Two bits an MSR, read and write, set = intercepted: APM 15.11. */
static void msr_allow(u8 *map, u32 msr, bool write)
{
	u32 base = msr < 0x2000 ? 0 : msr >= 0xc0010000 ? 0x1000 : 0x800;
	u32 bit = (msr & 0x1fff) * 2;
	map[base + bit / 8] &= (u8) ~((write ? 3u : 1u) << (bit % 8));
}

static bool make_maps(void)
{
	iopm_none = frames_alloc_run(IOPM_PAGES);
	msrpm_native = frames_alloc_run(MSRPM_PAGES);
	msrpm_kernel = frames_alloc_run(MSRPM_PAGES);
	if (!hpa_valid(iopm_none) || !hpa_valid(msrpm_native) || !hpa_valid(msrpm_kernel))
		return false;
	memset(hpa_to_ptr(iopm_none), 0xff, IOPM_PAGES * PAGE_SIZE);
	memset(hpa_to_ptr(msrpm_native), 0xff, MSRPM_PAGES * PAGE_SIZE);
	u8 *k = hpa_to_ptr(msrpm_kernel);
	memset(k, 0xff, MSRPM_PAGES * PAGE_SIZE);
	/* Those that VMLOAD/VMSAVE and the VMCB keep apart from the host's. */
	static const u32 own[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
				  0xc0000100, 0xc0000101, 0xc0000102, 0x174,
				  0x175,      0x176,      0x277};
	for (u32 i = 0; i < ARRAY_SIZE(own); i++)
		msr_allow(k, own[i], true);
	/* Native cells set FS for the stack protector of static libraries. */
	msr_allow(hpa_to_ptr(msrpm_native), 0xc0000100, true);
	return true;
}

static bool svm_cpu_init(struct cpu *cpu)
{
	if (!hpa_valid(iopm_none) || !iopm_none.v) {
		if (!make_maps())
			return false;
		asid_max = cpuid(0x8000000a, 0).b;
		n_print("svm: nested paging, %u ASIDs", asid_max);
	}
	hpa_t pages = frames_alloc_run(2);
	if (!hpa_valid(pages) || asid_max < 2)
		return false;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_HSAVE, pages.v);
	cpu->vendor = hpa_to_ptr(HPA(pages.v + PAGE_SIZE));
	cpu->next_asid = 1;
	cpu->asid_generation = 1;
	__asm__ volatile("vmsave %%rax" ::"a"(pages.v + PAGE_SIZE) : "memory");
	return true;
}

static void svm_host_reset(void)
{
	__asm__ volatile("stgi; cli" ::: "memory");
}

static bool svm_create(struct vcpu *v, enum vcpu_kind kind)
{
	hpa_t pages = frames_alloc_run(1);
	if (!hpa_valid(pages))
		return false;
	struct vmcb *c = hpa_to_ptr(pages);
	/* The back-end's own few words lie in the VMCB's unused tail. */
	struct svm_vcpu *s = (void *)((u8 *)c + 0xf00);
	s->vmcb = c;
	s->vmcb_pa = pages;
	v->vendor = s;
	bool native = kind == VCPU_NATIVE;
	c->intercept1 = SVM_INTR | SVM_NMI | SVM_SMI | SVM_INIT | SVM_RDPMC | SVM_CPUID |
			SVM_RSM | SVM_INVD | SVM_HLT | SVM_INVLPGA | SVM_IO | SVM_MSR |
			SVM_TASK | SVM_FERR | SVM_SHUTDOWN;
	c->intercept2 = SVM_ALL2;
	c->cr_write = 0x10 | 0xfee0; /* CR8 and the reserved ones; CR4 set below for native */
	c->dr_write = 0xffff;
	c->dr_read = 0xffff;
	if (native) {
		c->intercept1 |=
		    SVM_LDTR_WRITE | SVM_IDTR_WRITE | SVM_GDTR_WRITE | SVM_TR_WRITE;
		c->cr_write = 0xffff;
		c->exceptions = 0xffffffff;
	} else {
		c->cr_write = 0xffe2;     /* CR0, CR2, CR3, CR4 are its own */
		c->exceptions = 1u << 18; /* machine checks are the host's */
	}
	c->iopm = iopm_none.v;
	c->msrpm = (native ? msrpm_native : msrpm_kernel).v;
	c->np_enable = 1;
	c->ncr3 = cell_space(v->cell)->root.v;
	c->vintr = V_MASKING;
	return true;
}

static void svm_destroy(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	if (!s)
		return;
	if (s->iopm)
		frames_free_run(ptr_to_hpa(s->iopm), IOPM_PAGES);
	frame_free(s->vmcb_pa);
	v->vendor = NULL;
}

static void svm_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3)
{
	struct vmcb *c = vmcb_of(v);
	struct vmcb_segment data = {.selector = 16, .attrib = 0xc93, .limit = ~0u};
	c->es = c->ss = c->ds = c->fs = c->gs = data;
	c->cs = (struct vmcb_segment){.selector = 8, .attrib = 0xa9b, .limit = ~0u};
	c->tr = (struct vmcb_segment){.selector = 0, .attrib = 0x8b, .limit = 0x67};
	c->ldtr = (struct vmcb_segment){.attrib = 0x82};
	c->gdtr = c->idtr = (struct vmcb_segment){0};
	c->cpl = 0;
	c->efer = EFER_SVME | 0xd00; /* NXE, LMA, LME */
	c->cr0 = 0x80010033;         /* PG, WP, NE, ET, MP, PE */
	c->cr3 = cr3.v;
	c->cr4 = 0x6a0; /* OSXMMEXCPT, OSFXSR, PGE, PAE */
	c->dr6 = 0xffff0ff0;
	c->dr7 = 0x400;
	c->rflags = 2;
	c->rip = rip;
	c->rsp = rsp;
	c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = 0;
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = c->cr2 = 0;
	c->pat = 0x0007040600070406ull;
	c->vintr = V_MASKING;
	c->event_inject = 0;
	c->shadow = 0;
	v->asid = 0;
}

static bool svm_allow_ports(struct vcpu *v, u16 first, u32 count, bool allow)
{
	struct svm_vcpu *s = svm_of(v);
	if (!s->iopm) {
		hpa_t own = frames_alloc_run(IOPM_PAGES);
		if (!hpa_valid(own))
			return false;
		s->iopm = hpa_to_ptr(own);
		memset(s->iopm, 0xff, IOPM_PAGES * PAGE_SIZE);
		s->vmcb->iopm = own.v;
	}
	for (u32 p = first; p < first + count && p < 0x10000; p++) {
		u8 bit = (u8)(1u << (p % 8));
		s->iopm[p / 8] = allow ? s->iopm[p / 8] & (u8)~bit : s->iopm[p / 8] | bit;
	}
	return true;
}

/* A fresh ASID when the vCPU is new here, was elsewhere, or must forget translations. */
static void assign_asid(struct cpu *cpu, struct vcpu *v, struct vmcb *c)
{
	c->tlb_control = 0;
	if (v->asid && v->last_cpu == cpu && v->asid_generation == cpu->asid_generation) {
		c->asid = v->asid;
		return;
	}
	if (cpu->next_asid >= asid_max) {
		cpu->asid_generation++;
		cpu->next_asid = 1;
		c->tlb_control = 1; /* flush all */
	}
	v->asid = cpu->next_asid++;
	v->asid_generation = cpu->asid_generation;
	v->last_cpu = cpu;
	c->asid = v->asid;
}

static void take_host_interrupts(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void decode_memory(const struct vmcb *c, struct vcpu_exit *x)
{
	x->reason = EXIT_MEMORY;
	x->address = c->exit_info2;
	x->access = c->exit_info1 & 16 ? MAP_X : c->exit_info1 & 2 ? MAP_W : MAP_R;
}

static void decode_io(const struct vmcb *c, struct vcpu_exit *x)
{
	x->reason = EXIT_IO;
	x->address = c->exit_info1 >> 16 & 0xffff;
	x->write = !(c->exit_info1 & 1);
	x->size = c->exit_info1 >> 4 & 7;
}

static const char *privileged_name(u64 code)
{
	static const struct {
		u32 first, last;
		const char *text;
	} name[] = {{0x00, 0x0f, "read of a control register"},
		    {0x10, 0x1f, "write to a control register"},
		    {0x20, 0x3f, "access to a debug register"},
		    {0x6a, 0x6a, "LIDT"},
		    {0x6b, 0x6b, "LGDT"},
		    {0x6c, 0x6c, "LLDT"},
		    {0x6d, 0x6d, "LTR"},
		    {0x6f, 0x6f, "RDPMC"},
		    {0x73, 0x73, "RSM"},
		    {0x76, 0x76, "INVD"},
		    {0x7a, 0x7a, "INVLPGA"},
		    {0x7d, 0x7d, "task switch"},
		    {0x80, 0x80, "VMRUN"},
		    {0x82, 0x82, "VMLOAD"},
		    {0x83, 0x83, "VMSAVE"},
		    {0x84, 0x84, "STGI"},
		    {0x85, 0x85, "CLGI"},
		    {0x86, 0x86, "SKINIT"},
		    {0x87, 0x87, "RDTSCP"},
		    {0x89, 0x89, "WBINVD"},
		    {0x8a, 0x8a, "MONITOR"},
		    {0x8b, 0x8c, "MWAIT"}};
	for (u32 i = 0; i < ARRAY_SIZE(name); i++)
		if (code >= name[i].first && code <= name[i].last)
			return name[i].text;
	return "intercepted instruction";
}

static void decode_exception(const struct vmcb *c, struct vcpu_exit *x)
{
	x->reason = EXIT_EXCEPTION;
	x->vector = (u32)(c->exit_code - SVM_EXIT_EXCEPTION);
	x->error = (u32)c->exit_info1;
	x->address = x->vector == 14 ? c->exit_info2 : c->rip;
}

static void decode(const struct vmcb *c, const struct vcpu *v, struct vcpu_exit *x)
{
	u64 code = c->exit_code;
	*x = (struct vcpu_exit){.code = code};
	if (code == SVM_EXIT_NPF)
		return decode_memory(c, x);
	if (code == SVM_EXIT_IO)
		return decode_io(c, x);
	if (code >= SVM_EXIT_EXCEPTION && code < SVM_EXIT_EXCEPTION + 32)
		return decode_exception(c, x);
	switch (code) {
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
		x->reason = EXIT_INTERRUPT;
		break;
	case SVM_EXIT_VMMCALL:
		x->reason = EXIT_HYPERCALL;
		break;
	case SVM_EXIT_VINTR:
		x->reason = EXIT_WINDOW;
		break;
	case SVM_EXIT_CPUID:
		x->reason = EXIT_CPUID;
		break;
	case SVM_EXIT_HLT:
		x->reason = EXIT_HLT;
		break;
	case SVM_EXIT_XSETBV:
		x->reason = EXIT_XSETBV;
		break;
	case SVM_EXIT_MSR:
		x->reason = c->exit_info1 ? EXIT_MSR_WRITE : EXIT_MSR_READ;
		x->address = (u32)v->regs.rcx;
		break;
	case SVM_EXIT_SHUTDOWN:
		x->reason = EXIT_SHUTDOWN;
		x->address = c->rip;
		break;
	default:
		x->reason = code < 0x400 ? EXIT_PRIVILEGED : EXIT_BROKEN;
		x->text = privileged_name(code);
		x->address = c->rip;
		break;
	}
}

static void svm_run(struct vcpu *v, struct vcpu_exit *exit)
{
	struct cpu *cpu = cpu_self();
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *c = s->vmcb;
	assign_asid(cpu, v, c);
	c->rax = v->regs.rax;
	svm_enter(s->vmcb_pa.v, &v->regs, ptr_to_hpa(cpu->vendor).v);
	v->regs.rax = c->rax;
	/* An event that was being delivered when the exit came is delivered again. */
	c->event_inject = c->exit_int_info & INJECT_VALID ? c->exit_int_info : 0;
	decode(c, v, exit);
	/* Once in_guest is clear the vCPU may be torn down: the VMCB is not touched any more.
	 */
	__atomic_store_n(&cpu->in_guest, false, __ATOMIC_RELEASE);
	take_host_interrupts();
}

/* Without the next-RIP feature lengths are known: the instructions stepped over are fixed. */
static void svm_skip(struct vcpu *v)
{
	struct vmcb *c = vmcb_of(v);
	u64 code = c->exit_code;
	if (c->next_rip)
		c->rip = c->next_rip;
	else
		c->rip += code == SVM_EXIT_VMMCALL || code == SVM_EXIT_XSETBV ? 3
			  : code == SVM_EXIT_HLT                              ? 1
									      : 2;
	c->shadow = 0;
}

static void svm_inject_interrupt(struct vcpu *v, u32 vector)
{
	vmcb_of(v)->vintr = V_MASKING | V_IGN_TPR | V_IRQ | (u64)vector << 32 | 0xfull << 16;
}

static void svm_cancel_interrupt(struct vcpu *v)
{
	vmcb_of(v)->vintr = V_MASKING;
}

static void svm_inject_fault(struct vcpu *v, u32 vector, u32 error)
{
	u64 e = INJECT_VALID | 3u << 8 | vector;
	if (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
		e |= INJECT_ERROR | (u64)error << 32;
	vmcb_of(v)->event_inject = e;
}

static u64 svm_rip(struct vcpu *v)
{
	return vmcb_of(v)->rip;
}

static u64 svm_rsp(struct vcpu *v)
{
	return vmcb_of(v)->rsp;
}

static u64 svm_cr3(struct vcpu *v)
{
	return vmcb_of(v)->cr3;
}

static bool svm_user_mode(struct vcpu *v)
{
	return vmcb_of(v)->cpl == 3;
}

static bool svm_interrupts_on(struct vcpu *v)
{
	return vmcb_of(v)->rflags & (1u << 9);
}

static u64 svm_efer(struct vcpu *v)
{
	return vmcb_of(v)->efer & EFER_GUEST;
}

static void svm_set_efer(struct vcpu *v, u64 efer)
{
	vmcb_of(v)->efer = (efer & EFER_GUEST) | EFER_SVME;
}

static void svm_flush(struct vcpu *v)
{
	v->asid = 0;
}

const struct vcpu_ops svm_ops = {
    .name = "SVM",
    .format = &format_npt,
    .vmcall = false,
    .supported = svm_supported,
    .cpu_init = svm_cpu_init,
    .host_reset = svm_host_reset,
    .create = svm_create,
    .destroy = svm_destroy,
    .reset = svm_reset,
    .allow_ports = svm_allow_ports,
    .run = svm_run,
    .skip = svm_skip,
    .inject_interrupt = svm_inject_interrupt,
    .cancel_interrupt = svm_cancel_interrupt,
    .inject_fault = svm_inject_fault,
    .rip = svm_rip,
    .rsp = svm_rsp,
    .cr3 = svm_cr3,
    .user_mode = svm_user_mode,
    .interrupts_on = svm_interrupts_on,
    .efer = svm_efer,
    .set_efer = svm_set_efer,
    .flush = svm_flush,
};
