/* SPDX-License-Identifier: ISC */
/*
 * AMD SVM with nested paging.
 *
 * Problem: run a vCPU so that nothing it does reaches the host but what it was granted.
 *
 * Model: one VMCB per vCPU. Everything that can be intercepted is, with these exceptions:
 * native cells may read the TSC and set FS; guest kernels may besides load their own tables,
 * control registers, system-call MSRs and take their own exceptions. Extra state (FS, GS, TR,
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
#include "nucleus/vm_hypervisor/svm.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define MSR_VM_CR   0xc0010114u
#define MSR_HSAVE   0xc0010117u
#define EFER_SVME   (1ull << 12)
#define V_IRQ       (1ull << 8)
#define V_IGN_TPR   (1ull << 20)
#define V_MASKING   (1ull << 24)
#define MSRPM_PAGES 2

static hpa_t msrpm_native, msrpm_kernel;
static u32 asid_max;

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
static void msr_allow(hpa_t map, u32 msr)
{
	u32 base = msr < 0x2000 ? 0 : msr >= 0xc0010000 ? 0x1000 : 0x800;
	u32 bit = (msr & 0x1fff) * 2;
	((u8 *)hpa_to_ptr(map))[base + bit / 8] &= (u8) ~(3u << (bit % 8));
}

static bool make_maps(void)
{
	msrpm_native = frames_alloc_run(MSRPM_PAGES);
	msrpm_kernel = frames_alloc_run(MSRPM_PAGES);
	if (!hpa_valid(msrpm_native) || !hpa_valid(msrpm_kernel))
		return false;
	memset(hpa_to_ptr(msrpm_native), 0xff, MSRPM_PAGES * PAGE_SIZE);
	memset(hpa_to_ptr(msrpm_kernel), 0xff, MSRPM_PAGES * PAGE_SIZE);
	msr_allow(msrpm_native, MSR_FS_BASE);
	for (u32 i = 0; i < OWN_MSRS; i++)
		msr_allow(msrpm_kernel, own_msrs[i]);
	return true;
}

static bool svm_cpu_init(struct cpu *cpu)
{
	if (!asid_max) {
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

static bool svm_create(struct vcpu *v)
{
	hpa_t page = frame_alloc();
	if (!hpa_valid(page))
		return false;
	struct vmcb *c = v->vendor = hpa_to_ptr(page);
	bool kernel = v->cell->high;
	c->intercept1 = SVM_INTR | SVM_NMI | SVM_SMI | SVM_INIT | SVM_RDPMC | SVM_CPUID |
			SVM_RSM | SVM_INVD | SVM_HLT | SVM_INVLPGA | SVM_IO | SVM_MSR |
			SVM_TASK | SVM_FERR | SVM_SHUTDOWN;
	c->intercept1 |= kernel ? 0 : SVM_TABLES_WRITE;
	c->intercept2 = SVM_ALL2;
	c->cr_write = kernel ? 0xffe2 : 0xffff; /* CR0, CR2, CR3, CR4 are its own */
	c->dr_write = c->dr_read = 0xffff;
	c->exceptions = kernel ? 1u << 18 : ~0u; /* machine checks are the host's */
	c->msrpm = (kernel ? msrpm_kernel : msrpm_native).v;
	c->np_enable = 1;
	return true;
}

static void svm_destroy(struct vcpu *v)
{
	frame_free(ptr_to_hpa(v->vendor));
}

static void svm_reset(struct vcpu *v, u64 rsp, gpa_t cr3)
{
	struct vmcb *c = v->vendor;
	struct vmcb_segment data = {.selector = 16, .attrib = 0xc93, .limit = ~0u};
	c->es = c->ss = c->ds = c->fs = c->gs = data;
	c->cs = (struct vmcb_segment){.selector = 8, .attrib = 0xa9b, .limit = ~0u};
	c->tr = (struct vmcb_segment){.selector = 0, .attrib = 0x8b, .limit = 0x67};
	c->ldtr = (struct vmcb_segment){.attrib = 0x82};
	c->gdtr = c->idtr = (struct vmcb_segment){0};
	c->cpl = 0;
	c->ncr3 = v->cell->space.root.v;
	c->cr0 = 0x80010033; /* PG, WP, NE, ET, MP, PE */
	c->cr3 = cr3.v;
	c->cr4 = 0x6a0; /* OSXMMEXCPT, OSFXSR, PGE, PAE */
	c->dr6 = 0xffff0ff0;
	c->dr7 = 0x400;
	c->rflags = 2;
	c->rsp = rsp;
	c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = 0;
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = c->cr2 = 0;
	c->pat = 0x0007040600070406ull;
	c->shadow = 0;
}

/* A fresh ASID when the vCPU is new here, was elsewhere, or must forget translations. */
static void assign_asid(struct cpu *cpu, struct vcpu *v, struct vmcb *c)
{
	c->tlb_control = 0;
	if (v->flush || v->asid_generation != cpu->asid_generation) {
		if (cpu->next_asid >= asid_max) {
			cpu->asid_generation++;
			cpu->next_asid = 1;
			c->tlb_control = 1; /* flush all */
		}
		v->asid = cpu->next_asid++;
		v->asid_generation = cpu->asid_generation;
		v->flush = false;
	}
	c->asid = v->asid;
}

/* Exits that need no decoding, by code. */
static const u8 plain[] = {
    [SVM_EXIT_INTR] = EXIT_INTERRUPT,    [SVM_EXIT_NMI] = EXIT_INTERRUPT,
    [SVM_EXIT_SMI] = EXIT_INTERRUPT,     [SVM_EXIT_INIT] = EXIT_INTERRUPT,
    [SVM_EXIT_VMMCALL] = EXIT_HYPERCALL, [SVM_EXIT_VINTR] = EXIT_WINDOW,
    [SVM_EXIT_CPUID] = EXIT_CPUID,       [SVM_EXIT_HLT] = EXIT_HLT,
    [SVM_EXIT_XSETBV] = EXIT_XSETBV,     [SVM_EXIT_SHUTDOWN] = EXIT_SHUTDOWN};

/* Instructions that are nobody's in a cell, by exit code. */
static const char *const privileged[] = {
    [0x6a] = "LIDT",        [0x6b] = "LGDT",    [0x6c] = "LLDT",   [0x6d] = "LTR",
    [0x6f] = "RDPMC",       [0x73] = "RSM",     [0x76] = "INVD",   [0x7a] = "INVLPGA",
    [0x7d] = "task switch", [0x80] = "VMRUN",   [0x82] = "VMLOAD", [0x83] = "VMSAVE",
    [0x84] = "STGI",        [0x85] = "CLGI",    [0x86] = "SKINIT", [0x87] = "RDTSCP",
    [0x89] = "WBINVD",      [0x8a] = "MONITOR", [0x8b] = "MWAIT",  [0x8c] = "MWAIT"};

static const char *privileged_name(u64 code)
{
	if (code < SVM_EXIT_EXCEPTION)
		return code < SVM_EXIT_DR ? "use of CRn" : "use of DRn";
	return code < ARRAY_SIZE(privileged) ? privileged[code] : NULL;
}

static void decode(const struct vmcb *c, const struct vcpu *v, struct vcpu_exit *x)
{
	u64 code = c->exit_code;
	*x = (struct vcpu_exit){.code = code, .address = c->rip};
	if (code < ARRAY_SIZE(plain) && plain[code]) {
		x->reason = plain[code];
	} else if (code >= SVM_EXIT_EXCEPTION && code < SVM_EXIT_EXCEPTION + 32) {
		x->reason = EXIT_EXCEPTION;
		x->vector = (u32)(code - SVM_EXIT_EXCEPTION);
		x->error = (u32)c->exit_info1;
		x->address = x->vector == 14 ? c->exit_info2 : c->rip;
	} else if (code == SVM_EXIT_NPF) {
		x->reason = EXIT_MEMORY;
		x->address = c->exit_info2;
		x->access = c->exit_info1 & 16 ? MAP_X : c->exit_info1 & 2 ? MAP_W : MAP_R;
	} else if (code == SVM_EXIT_IO) {
		x->reason = EXIT_IO;
		x->address = c->exit_info1 >> 16 & 0xffff;
		x->write = !(c->exit_info1 & 1);
	} else if (code == SVM_EXIT_MSR) {
		x->reason = EXIT_MSR;
		x->address = (u32)v->regs.rcx;
		x->write = c->exit_info1;
	} else {
		x->reason = code < SVM_EXIT_NPF ? EXIT_PRIVILEGED : EXIT_BROKEN;
		x->text = privileged_name(code);
	}
}

/* Without the next-RIP feature: the instructions that are stepped over are fixed. */
static u32 length_of(const struct vmcb *c)
{
	u64 code = c->exit_code;
	if (c->next_rip)
		return (u32)(c->next_rip - c->rip);
	if (code == SVM_EXIT_HLT)
		return 1;
	return code == SVM_EXIT_VMMCALL || code == SVM_EXIT_XSETBV ? 3 : 2;
}

static void svm_run(struct vcpu *v, struct vcpu_exit *exit)
{
	struct cpu *cpu = cpu_self();
	struct vmcb *c = v->vendor;
	assign_asid(cpu, v, c);
	c->rax = v->regs.rax;
	c->rip = v->rip;
	c->efer = v->efer | EFER_SVME;
	c->iopm = vcpu_ports(v).v;
	c->event_inject = v->event;
	c->vintr = V_MASKING;
	if (v->interrupt)
		c->vintr |= V_IRQ | V_IGN_TPR | (u64)v->interrupt << 32 | 0xfull << 16;
	if (v->skipped)
		c->shadow = 0;
	svm_enter(ptr_to_hpa(c).v, &v->regs, ptr_to_hpa(cpu->vendor).v);
	v->regs.rax = c->rax;
	v->rip = c->rip;
	v->user = c->cpl == 3;
	v->skipped = false;
	v->length = length_of(c);
	/* An event that was being delivered when the exit came is delivered again. */
	v->event = c->exit_int_info & EVENT_VALID ? c->exit_int_info : 0;
	decode(c, v, exit);
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
    .run = svm_run,
};
