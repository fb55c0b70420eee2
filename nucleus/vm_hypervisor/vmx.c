/* SPDX-License-Identifier: ISC */
/*
 * Intel VMX with EPT.
 *
 * Problem: run a vCPU so that nothing it does reaches the host but what it was granted,
 * on a CPU whose VMCS is an opaque thing that lives in the caches of one CPU at a time.
 *
 * Model: what the rest of vm_hypervisor asks or changes between exits is in struct vcpu;
 * run() writes it to the VMCS before the entry and reads it back after the exit, so only
 * run() needs the VMCS to be current. It becomes current when a CPU takes the vCPU up and is
 * cleared by leave() when that CPU turns to something else; no other CPU takes the vCPU
 * before (vcpu->holder). With the VMCS go the system-call MSRs of guest kernels, which VMX does
 * not switch.
 *
 * A VPID is the vCPU's number in its cell plus one: translations are tagged by EPT root
 * too, and INVEPT for that root is done whenever vcpu->flush says so.
 *
 * Locking: run() is called without the nucleus lock, all else with it.
 *
 * Native cells get every exit there is, but may read the TSC and flush their own
 * translations. Guest kernels besides own their descriptor tables, CR3, most of CR0 and
 * CR4, and take their own exceptions. In CR0 and CR4 bits stay the host's whose change
 * would leave 64-bit mode, or touch what is not switched.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sync/cell.h"
#include "nucleus/vm_hypervisor/vcpu.h"
#include "nucleus/vm_hypervisor/vmx.h"

#define MSR_PAT     0x277u
#define PAT_DEFAULT 0x0007040600070406ull
#define CR0_GUEST   0x80010033ull /* PG, WP, NE, ET, MP, PE */
#define CR0_HOST    0xe0000021ull /* PG, CD, NW, NE, PE belong to the host */
#define CR4_GUEST   0x6a0ull      /* OSXMMEXCPT, OSFXSR, PGE, PAE */
#define CR4_VMXE    (1ull << 13)
/* VME PVI TSD DE PSE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP FSGSBASE OSXSAVE SMEP SMAP */
#define CR4_KERNEL  0x350fdfull
#define DR7_DEFAULT 0x400
#define RFLAGS_IF   (1ull << 9)
#define VECTOR_GP   13

struct vmx_vcpu {
	hpa_t vmcs;
	u32 cpu; /* whose host state is in the VMCS, number + 1 */
	bool current, launched, reset;
	u64 msr[OWN_MSRS_UNLOADED];
	u64 rsp, cr3; /* to start with */
	u64 cr2, rflags;
	u64 efer, ports; /* as in the VMCS */
	u32 blocking, primary;
};

static hpa_t msr_native, msr_kernel;
static u64 basic, ept_caps;
static struct {
	u32 pin, primary, secondary, exit, entry;
} controls[2]; /* native, kernel */

/* ---- instructions ---- */

static u64 vmread(enum vmcs_field field)
{
	u64 v;
	__asm__ volatile("vmread %1, %0" : "=rm"(v) : "r"((u64)field) : "cc");
	return v;
}

static void vmwrite(enum vmcs_field field, u64 v)
{
	bool failed;
	__asm__ volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"((u64)field), "rm"(v));
	if (failed)
		n_panic("vmx: no VMCS field %x", field);
}

static bool vmptrld(hpa_t vmcs)
{
	bool failed;
	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs.v) : "memory");
	return !failed;
}

static void vmclear(hpa_t vmcs)
{
	__asm__ volatile("vmclear %0" ::"m"(vmcs.v) : "cc", "memory");
}

static void invept(u64 ept_pointer)
{
	struct {
		u64 pointer, zero;
	} what = {ept_pointer, 0};
	u64 kind = ept_caps & EPT_CAP_INVEPT_SINGLE ? 1 : 2;
	__asm__ volatile("invept %0, %1" ::"m"(what), "r"(kind) : "cc", "memory");
}

/* ---- what the CPU can do ---- */

/* Wanted controls, plus those that must be on; false if one cannot be. */
static bool adjust(u32 msr, u32 wanted, u32 *out)
{
	u64 allowed = rdmsr(msr);
	*out = (wanted & (u32)(allowed >> 32)) | (u32)allowed;
	return (*out & wanted) == wanted;
}

static bool find_controls(bool kernel)
{
	u32 pin = PIN_EXTERNAL_INTERRUPT | PIN_NMI;
	u32 primary = PRIMARY_HLT | PRIMARY_MWAIT | PRIMARY_RDPMC | PRIMARY_CR8_LOAD |
		      PRIMARY_CR8_STORE | PRIMARY_MOV_DR | PRIMARY_IO_BITMAPS |
		      PRIMARY_MSR_BITMAPS | PRIMARY_MONITOR | PRIMARY_SECONDARY |
		      (kernel ? 0 : PRIMARY_CR3_LOAD);
	u32 secondary =
	    SECONDARY_EPT | SECONDARY_VPID | SECONDARY_WBINVD | (kernel ? 0 : SECONDARY_TABLES);
	u32 exit =
	    EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_LOAD_EFER;
	u32 entry = ENTRY_LOAD_DEBUG | ENTRY_GUEST_64 | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER;
	return adjust(MSR_VMX_TRUE_PIN, pin, &controls[kernel].pin) &&
	       adjust(MSR_VMX_TRUE_PIN + 1, primary, &controls[kernel].primary) &&
	       adjust(MSR_VMX_TRUE_PIN + 2, exit, &controls[kernel].exit) &&
	       adjust(MSR_VMX_TRUE_PIN + 3, entry, &controls[kernel].entry) &&
	       adjust(MSR_VMX_SECONDARY, secondary, &controls[kernel].secondary) &&
	       /* CR3 reads and, for kernels, writes must not exit. */
	       !(controls[kernel].primary &
		 (PRIMARY_CR3_STORE | (kernel ? PRIMARY_CR3_LOAD : 0)));
}

/* Locked without VMX, or not locked yet: then lock it with VMX. */
static bool feature_enabled(void)
{
	u64 f = rdmsr(MSR_FEATURE_CONTROL);
	if (!(f & FEATURE_LOCKED))
		wrmsr(MSR_FEATURE_CONTROL, f | FEATURE_LOCKED | FEATURE_VMX);
	return rdmsr(MSR_FEATURE_CONTROL) & FEATURE_VMX;
}

static bool vmx_supported(void)
{
	u64 needed = EPT_CAP_4_LEVELS | EPT_CAP_WRITE_BACK | EPT_CAP_2M | EPT_CAP_INVEPT;
	if (!(cpuid(1, 0).c & 1u << 5))
		return false;
	if (!feature_enabled()) {
		n_print("vmx: switched off by the firmware (IA32_FEATURE_CONTROL)");
		return false;
	}
	basic = rdmsr(MSR_VMX_BASIC);
	if (!(basic & VMX_BASIC_TRUE_CONTROLS) || !find_controls(false) ||
	    !find_controls(true)) {
		n_print("vmx: the CPU lacks EPT or another control D0 needs");
		return false;
	}
	ept_caps = rdmsr(MSR_VMX_EPT_VPID);
	if ((ept_caps & needed) != needed ||
	    !(ept_caps & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL))) {
		n_print("vmx: EPT lacks 4 levels, write-back, 2M pages or INVEPT");
		return false;
	}
	return true;
}

/* ---- bitmaps ---- */

/* Read bits in the first half, write bits in the second; low MSRs, then 0xc0000000 on. */
static void msr_allow(u8 *map, u32 msr)
{
	u32 at = (msr >= 0xc0000000 ? 0x400 : 0) + (msr & 0x1fff) / 8;
	map[at] &= (u8) ~(1u << msr % 8);
	map[at + 0x800] &= (u8) ~(1u << msr % 8);
}

static bool make_maps(void)
{
	msr_native = frame_alloc();
	msr_kernel = frame_alloc();
	if (!hpa_valid(msr_native) || !hpa_valid(msr_kernel))
		return false;
	memset(hpa_to_ptr(msr_native), 0xff, PAGE_SIZE);
	memset(hpa_to_ptr(msr_kernel), 0xff, PAGE_SIZE);
	msr_allow(hpa_to_ptr(msr_native), MSR_FS_BASE);
	for (u32 i = 0; i < OWN_MSRS; i++)
		msr_allow(hpa_to_ptr(msr_kernel), own_msrs[i]);
	return true;
}

/* ---- the host's side of the VMCS ---- */

static u64 read_cr(u32 n)
{
	u64 v;
	if (n == 0)
		__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	else if (n == 3)
		__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	else
		__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static void zero_fields(const u16 *field, u32 count)
{
	for (u32 i = 0; i < count; i++)
		vmwrite(field[i], 0);
}

/* What an exit restores; belongs to the CPU. Null data selectors: FS and GS by base. */
static void write_host_state(void)
{
	static const u16 zero[] = {
	    VMCS_HOST_ES,          VMCS_HOST_DS,           VMCS_HOST_FS,          VMCS_HOST_GS,
	    VMCS_HOST_SYSENTER_CS, VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP};
	struct {
		u16 limit;
		u64 base;
	} __packed gdt, idt;
	u16 cs, ss, tr;
	__asm__("sgdt %0" : "=m"(gdt));
	__asm__("sidt %0" : "=m"(idt));
	__asm__("mov %%cs, %0" : "=r"(cs));
	__asm__("mov %%ss, %0" : "=r"(ss));
	__asm__("str %0" : "=r"(tr));
	u64 low = *(u64 *)(gdt.base + tr), high = *(u64 *)(gdt.base + tr + 8);
	zero_fields(zero, ARRAY_SIZE(zero));
	vmwrite(VMCS_HOST_CS, cs);
	vmwrite(VMCS_HOST_SS, ss);
	vmwrite(VMCS_HOST_TR, tr);
	vmwrite(VMCS_HOST_TR_BASE,
		(low >> 16 & 0xffffff) | (low >> 32 & 0xff000000) | high << 32);
	vmwrite(VMCS_HOST_CR0, read_cr(0));
	vmwrite(VMCS_HOST_CR3, read_cr(3));
	vmwrite(VMCS_HOST_CR4, read_cr(4));
	vmwrite(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmwrite(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmwrite(VMCS_HOST_GDTR_BASE, gdt.base);
	vmwrite(VMCS_HOST_IDTR_BASE, idt.base);
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(VMCS_HOST_RIP, (u64)vmx_exit_point);
}

static void make_current(struct vcpu *v, struct vmx_vcpu *x)
{
	u32 cpu = cpu_self()->index + 1;
	if (!vmptrld(x->vmcs))
		n_panic("vmx: VMPTRLD refused %lx", (unsigned long)x->vmcs.v);
	x->current = true;
	if (x->cpu != cpu)
		write_host_state();
	x->cpu = cpu;
	for (u32 i = 0; v->cell->high && i < OWN_MSRS_UNLOADED; i++)
		wrmsr(own_msrs[i], x->msr[i]);
}

static void vmx_leave(struct vcpu *v)
{
	struct vmx_vcpu *x = v->vendor;
	if (!x->current)
		return;
	for (u32 i = 0; v->cell->high && i < OWN_MSRS_UNLOADED; i++)
		x->msr[i] = rdmsr(own_msrs[i]);
	vmclear(x->vmcs);
	x->current = x->launched = false;
}

/* ---- the guest's side ---- */

static u64 ept_pointer(const struct vcpu *v)
{
	return v->cell->space.root.v | EPTP_WRITE_BACK_4;
}

static void write_controls(struct vcpu *v, struct vmx_vcpu *x, bool kernel)
{
	static const u16 zero[] = {VMCS_CR3_TARGETS, VMCS_EXIT_MSR_STORES, VMCS_EXIT_MSR_LOADS,
				   VMCS_ENTRY_MSR_LOADS};
	x->primary = controls[kernel].primary;
	zero_fields(zero, ARRAY_SIZE(zero));
	vmwrite(VMCS_PIN, controls[kernel].pin);
	vmwrite(VMCS_PRIMARY, x->primary);
	vmwrite(VMCS_SECONDARY, controls[kernel].secondary);
	vmwrite(VMCS_EXIT_CONTROLS, controls[kernel].exit);
	vmwrite(VMCS_ENTRY_CONTROLS, controls[kernel].entry);
	/* Machine checks are the host's; a native cell takes no exception of its own. */
	vmwrite(VMCS_EXCEPTIONS, kernel ? 1u << 18 : ~0u);
	vmwrite(VMCS_MSR_BITMAP, (kernel ? msr_kernel : msr_native).v);
	vmwrite(VMCS_EPT_POINTER, ept_pointer(v));
	vmwrite(VMCS_VPID, v->index + 1);
	vmwrite(VMCS_LINK_POINTER, ~0ull);
	vmwrite(VMCS_CR0_MASK, kernel ? CR0_HOST : ~0ull);
	vmwrite(VMCS_CR4_MASK, kernel ? ~CR4_KERNEL : ~0ull);
}

static void write_segments(void)
{
	for (u32 i = 0; i < 8; i++) { /* ES CS SS DS FS GS LDTR TR */
		vmwrite(VMCS_GUEST_ES + 2 * i, i == 1 ? 8 : i < 6 ? 16 : 0);
		vmwrite(VMCS_GUEST_ES_LIMIT + 2 * i, i == 7 ? 0x67 : ~0u);
		vmwrite(VMCS_GUEST_ES_RIGHTS + 2 * i, i == 1   ? RIGHTS_CODE_64
						      : i == 6 ? RIGHTS_UNUSABLE
						      : i == 7 ? RIGHTS_TSS
							       : RIGHTS_DATA);
		vmwrite(VMCS_GUEST_ES_BASE + 2 * i, 0);
	}
}

/* State at entry: 64-bit, ring 0, paging with tables at cr3, interrupts off. */
static void write_reset_state(struct vcpu *v, struct vmx_vcpu *x)
{
	static const u16 zero[] = {
	    VMCS_GUEST_GDTR_BASE,    VMCS_GUEST_GDTR_LIMIT,  VMCS_GUEST_IDTR_BASE,
	    VMCS_GUEST_IDTR_LIMIT,   VMCS_GUEST_DEBUGCTL,    VMCS_GUEST_PENDING_DEBUG,
	    VMCS_GUEST_ACTIVITY,     VMCS_GUEST_BLOCKING,    VMCS_GUEST_SYSENTER_CS,
	    VMCS_GUEST_SYSENTER_ESP, VMCS_GUEST_SYSENTER_EIP};
	u64 cr0 = (CR0_GUEST | rdmsr(MSR_VMX_CR0_FIXED0)) & rdmsr(MSR_VMX_CR0_FIXED1);
	u64 cr4 = (CR4_GUEST | rdmsr(MSR_VMX_CR4_FIXED0)) & rdmsr(MSR_VMX_CR4_FIXED1);
	write_controls(v, x, v->cell->high);
	write_segments();
	zero_fields(zero, ARRAY_SIZE(zero));
	vmwrite(VMCS_GUEST_CR0, cr0);
	vmwrite(VMCS_CR0_SHADOW, cr0);
	vmwrite(VMCS_GUEST_CR4, cr4);
	vmwrite(VMCS_CR4_SHADOW, cr4 & ~CR4_VMXE);
	vmwrite(VMCS_GUEST_CR3, x->cr3);
	vmwrite(VMCS_GUEST_RSP, x->rsp);
	vmwrite(VMCS_GUEST_RIP, v->rip);
	vmwrite(VMCS_GUEST_RFLAGS, x->rflags);
	vmwrite(VMCS_GUEST_DR7, DR7_DEFAULT);
	vmwrite(VMCS_GUEST_PAT, PAT_DEFAULT);
	for (u32 i = 0; v->cell->high && i < OWN_MSRS_UNLOADED; i++)
		wrmsr(own_msrs[i], 0);
	x->efer = x->ports = 0; /* not written yet */
	x->reset = false;
}

/* One event an entry: one that was interrupted, or a fault, before a new interrupt. */
static void write_event(struct vcpu *v, struct vmx_vcpu *x)
{
	bool can =
	    (x->rflags & RFLAGS_IF) && !(x->blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
	if (!v->event && v->interrupt && can) {
		v->event = EVENT_VALID | EVENT_INTERRUPT | v->interrupt;
		v->interrupt = 0;
	}
	u32 primary = v->interrupt ? x->primary | PRIMARY_WINDOW : x->primary & ~PRIMARY_WINDOW;
	if (primary != x->primary)
		vmwrite(VMCS_PRIMARY, x->primary = primary);
	if (!v->event)
		return;
	vmwrite(VMCS_ENTRY_EVENT, (u32)v->event);
	vmwrite(VMCS_ENTRY_ERROR_CODE, v->event >> 32);
	if (EVENT_SOFTWARE(v->event))
		vmwrite(VMCS_ENTRY_LENGTH, v->length);
}

static void write_guest(struct vcpu *v, struct vmx_vcpu *x)
{
	u64 ports = vcpu_ports(v).v;
	if (x->reset)
		write_reset_state(v, x);
	if (v->skipped) {
		x->blocking &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
		vmwrite(VMCS_GUEST_RIP, v->rip);
		vmwrite(VMCS_GUEST_BLOCKING, x->blocking);
	}
	if (v->efer != x->efer)
		vmwrite(VMCS_GUEST_EFER, x->efer = v->efer);
	if (ports != x->ports) {
		vmwrite(VMCS_IO_BITMAP_A, x->ports = ports);
		vmwrite(VMCS_IO_BITMAP_B, ports + PAGE_SIZE);
	}
	write_event(v, x);
	if (v->flush)
		invept(ept_pointer(v));
	v->skipped = v->flush = false;
}

static void read_guest(struct vcpu *v, struct vmx_vcpu *x)
{
	v->rip = vmread(VMCS_GUEST_RIP);
	v->length = (u32)vmread(VMCS_EXIT_LENGTH);
	v->user = (vmread(VMCS_GUEST_SS_RIGHTS) >> 5 & 3) == 3;
	x->rflags = vmread(VMCS_GUEST_RFLAGS);
	x->blocking = (u32)vmread(VMCS_GUEST_BLOCKING);
	/* An event that was being delivered when the exit came is delivered again. Bit 12 is
	 * undefined here, reserved there. */
	v->event = vmread(VMCS_IDT_EVENT) & ~(1ull << 12);
	v->event = v->event & EVENT_VALID ? v->event | vmread(VMCS_IDT_ERROR_CODE) << 32 : 0;
}

/* ---- what an exit was ---- */

/* Exits that need no decoding, by reason. */
static const u8 plain[] = {[VMX_EXIT_EXTERNAL] = EXIT_INTERRUPT,
			   [VMX_EXIT_INIT] = EXIT_INTERRUPT,
			   [VMX_EXIT_SIPI] = EXIT_INTERRUPT,
			   [VMX_EXIT_VMCALL] = EXIT_HYPERCALL,
			   [VMX_EXIT_WINDOW] = EXIT_WINDOW,
			   [VMX_EXIT_CPUID] = EXIT_CPUID,
			   [VMX_EXIT_HLT] = EXIT_HLT,
			   [VMX_EXIT_XSETBV] = EXIT_XSETBV,
			   [VMX_EXIT_TRIPLE_FAULT] = EXIT_SHUTDOWN};

/* Instructions that are nobody's in a cell, by reason. */
static const char *const privileged[] = {
    [9] = "task switch", [11] = "GETSEC",  [13] = "INVD",         [15] = "RDPMC",
    [17] = "RSM",        [19] = "VMCLEAR", [20] = "VMLAUNCH",     [21] = "VMPTRLD",
    [22] = "VMPTRST",    [23] = "VMREAD",  [24] = "VMRESUME",     [25] = "VMWRITE",
    [26] = "VMXOFF",     [27] = "VMXON",   [28] = "use of CRn",   [29] = "use of DRn",
    [36] = "MWAIT",      [39] = "MONITOR", [46] = "LGDT or LIDT", [47] = "LLDT or LTR",
    [50] = "INVEPT",     [53] = "INVVPID", [54] = "WBINVD"};

static void decode_exception(struct vcpu_exit *exit)
{
	u32 event = (u32)vmread(VMCS_EXIT_EVENT);
	if (EVENT_TYPE(event) == EVENT_TYPE_NMI) {
		__asm__ volatile("int $2"); /* the host's: the exit swallowed it */
		exit->reason = EXIT_INTERRUPT;
		return;
	}
	exit->reason = EXIT_EXCEPTION;
	exit->vector = EVENT_VECTOR(event);
	exit->error = event & EVENT_ERROR_CODE ? (u32)vmread(VMCS_EXIT_ERROR_CODE) : 0;
	if (exit->vector == 14)
		exit->address = vmread(VMCS_QUALIFICATION);
}

static void decode(struct vcpu *v, u32 reason, struct vcpu_exit *exit)
{
	u64 q = vmread(VMCS_QUALIFICATION);
	exit->address = v->rip;
	if (reason < ARRAY_SIZE(plain) && plain[reason]) {
		exit->reason = plain[reason];
	} else if (reason == VMX_EXIT_EXCEPTION) {
		decode_exception(exit);
	} else if (reason == VMX_EXIT_EPT_VIOLATION) {
		exit->reason = EXIT_MEMORY;
		exit->address = vmread(VMCS_GUEST_PHYSICAL);
		exit->access = q & 4 ? MAP_X : q & 2 ? MAP_W : MAP_R;
	} else if (reason == VMX_EXIT_IO) {
		exit->reason = EXIT_IO;
		exit->address = q >> 16 & 0xffff;
		exit->write = !(q & 8);
	} else if (reason == VMX_EXIT_RDMSR || reason == VMX_EXIT_WRMSR) {
		exit->reason = EXIT_MSR;
		exit->address = (u32)v->regs.rcx;
		exit->write = reason == VMX_EXIT_WRMSR;
	} else if (reason == VMX_EXIT_CR && v->cell->high) {
		/* A bit of CR0 or CR4 that a kernel cannot have: as if the CPU had none such.
		 */
		vcpu_inject_fault(v, VECTOR_GP);
		exit->reason = EXIT_NOTHING;
	} else if (reason < ARRAY_SIZE(privileged) && privileged[reason]) {
		exit->reason = EXIT_PRIVILEGED;
		exit->text = privileged[reason];
	}
}

/* ---- the operations ---- */

static void vmx_run(struct vcpu *v, struct vcpu_exit *exit)
{
	struct vmx_vcpu *x = v->vendor;
	*exit = (struct vcpu_exit){.reason = EXIT_BROKEN};
	if (!x->current)
		make_current(v, x);
	write_guest(v, x);
	__asm__ volatile("mov %0, %%cr2" ::"r"(x->cr2));
	if (vmx_enter(&v->regs, x->launched)) {
		exit->code = vmread(VMCS_INSTRUCTION_ERROR);
		return;
	}
	__asm__ volatile("mov %%cr2, %0" : "=r"(x->cr2));
	x->launched = true;
	exit->code = (u32)vmread(VMCS_EXIT_REASON);
	read_guest(v, x);
	if (!(exit->code & VMX_EXIT_ENTRY_FAILED))
		decode(v, (u32)exit->code, exit);
}

static bool vmx_cpu_init(struct cpu *cpu)
{
	hpa_t on = frame_alloc();
	bool failed;
	if (!hpa_valid(on) || !feature_enabled())
		return false;
	if (!msr_native.v) {
		if (!make_maps())
			return false;
		n_print("vmx: EPT, VPID");
	}
	*(u32 *)hpa_to_ptr(on) = VMX_BASIC_REVISION(basic);
	__asm__ volatile("mov %0, %%cr0" ::"r"((read_cr(0) | rdmsr(MSR_VMX_CR0_FIXED0)) &
					       rdmsr(MSR_VMX_CR0_FIXED1)));
	__asm__ volatile("mov %0, %%cr4" ::"r"(
	    (read_cr(4) | CR4_VMXE | rdmsr(MSR_VMX_CR4_FIXED0)) & rdmsr(MSR_VMX_CR4_FIXED1)));
	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(on.v) : "memory");
	return !failed;
}

static bool vmx_create(struct vcpu *v)
{
	_Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "one frame, the VMCS another");
	hpa_t frames = frames_alloc_run(2);
	if (!hpa_valid(frames))
		return false;
	struct vmx_vcpu *x = v->vendor = hpa_to_ptr(frames);
	x->vmcs = HPA(frames.v + PAGE_SIZE);
	*(u32 *)hpa_to_ptr(x->vmcs) = VMX_BASIC_REVISION(basic);
	return true;
}

static void vmx_destroy(struct vcpu *v)
{
	frames_free_run(ptr_to_hpa(v->vendor), 2);
}

static void vmx_reset(struct vcpu *v, u64 rsp, gpa_t cr3)
{
	struct vmx_vcpu *x = v->vendor;
	x->rsp = rsp;
	x->cr3 = cr3.v;
	x->rflags = 2;
	x->blocking = 0;
	x->cr2 = 0;
	x->reset = true;
}

const struct vcpu_ops vmx_ops = {
    .name = "VMX",
    .format = &format_ept,
    .vmcall = true,
    .supported = vmx_supported,
    .cpu_init = vmx_cpu_init,
    .create = vmx_create,
    .destroy = vmx_destroy,
    .reset = vmx_reset,
    .run = vmx_run,
    .leave = vmx_leave,
};
