/* SPDX-License-Identifier: ISC */
/*
 * Intel VMX with EPT.
 *
 * Problem: run a vCPU so that nothing it does reaches the host but what it was granted,
 * on a CPU whose VMCS is an opaque thing that lives in the caches of one CPU at a time.
 *
 * Model: what the rest of vm_hypervisor asks or changes between exits (RIP, RSP, RFLAGS,
 * events, EFER) is in struct vmx_vcpu; run() writes it to the VMCS before the entry and
 * reads it back after the exit. So only run() needs the VMCS to be current. A VMCS stays
 * current on its CPU until another vCPU runs there; a CPU that wants a vCPU whose VMCS is
 * current elsewhere asks for it by an interrupt and comes back later (EXIT_NOTHING):
 * waiting could deadlock with cell_quiesce(). With the VMCS go the system-call MSRs of
 * guest kernels, which VMX does not switch.
 *
 * Invariants: vmx_vcpu.where is 0 or the CPU (number + 1) whose caches may hold the VMCS;
 * only that CPU clears it, after VMCLEAR. A vCPU destroyed meanwhile is marked WHERE_DEAD
 * and freed by that CPU. A VPID is the vCPU's number in its cell plus one: translations are
 * tagged by EPT root too, and INVEPT for that root is done at the first entry on a CPU,
 * on migration and on flush().
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
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/sync/cell.h"
#include "nucleus/vm_hypervisor/vcpu.h"
#include "nucleus/vm_hypervisor/vmx.h"

#define MSR_EFER    0xc0000080u
#define MSR_PAT     0x277u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define EFER_GUEST  0xd01ull /* SCE, LME, LMA, NXE */
#define EFER_LONG   0x500ull /* LME, LMA: they stay */
#define PAT_DEFAULT 0x0007040600070406ull
#define CR0_GUEST   0x80010033ull /* PG, WP, NE, ET, MP, PE */
#define CR0_HOST    0xe0000021ull /* PG, CD, NW, NE, PE belong to the host */
#define CR4_GUEST   0x6a0ull      /* OSXMMEXCPT, OSFXSR, PGE, PAE */
#define CR4_VMXE    (1ull << 13)
/* VME PVI TSD DE PSE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP FSGSBASE OSXSAVE SMEP SMAP */
#define CR4_KERNEL  0x350fdfull
#define CR4_PAE     (1ull << 5)
#define DR7_DEFAULT 0x400
#define RFLAGS_IF   (1ull << 9)
#define VECTOR_GP   13
#define WHERE_DEAD  0x80000000u

/* MSRs of a guest kernel that neither VMCS nor host switch. */
static const u32 own_msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102};

struct vmx_vcpu {
	u32 where; /* see above; atomic */
	bool launched, kernel;
	hpa_t vmcs, self;
	struct vcpu *vcpu;
	u8 *io_bitmaps; /* own ones if ports were granted, else NULL: the shared ones */
	u64 msr[ARRAY_SIZE(own_msrs)];
	u64 cr2;

	/* Of the last exit, or for the next entry. */
	u64 rip, rsp, rflags, cr3, efer;
	u32 blocking, ss_rights, exit_length;
	u32 event, event_error, event_length; /* to be delivered at entry; 0: none */
	u32 interrupt;                        /* vector that waits for IF, 0: none */
	u32 primary;                          /* as in the VMCS */
	bool dirty;                           /* rip, rsp, rflags, blocking */
	bool dirty_efer, dirty_io, reset, flush;
};
_Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "a frame of its own");

/* One page for each CPU. */
struct vmx_cpu {
	hpa_t vmxon;
	struct vmx_vcpu *current;
};

static hpa_t io_none, msr_native, msr_kernel;
static u64 basic, ept_caps;
static u8 release_vector;
static struct {
	u32 pin, primary, secondary, exit, entry;
} controls[2]; /* native, kernel */

static struct vmx_vcpu *vmx_of(struct vcpu *v)
{
	return v->vendor;
}

static struct vmx_cpu *cpu_vmx(void)
{
	return cpu_self()->vendor;
}

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

static u64 control_msr(u32 plain)
{
	bool have_true = basic & VMX_BASIC_TRUE_CONTROLS && plain != MSR_VMX_SECONDARY;
	return rdmsr(have_true ? plain - MSR_VMX_PIN + MSR_VMX_TRUE_PIN : plain);
}

/* Wanted controls, plus those that must be on; false if one of `needed` cannot be. */
static bool adjust(u32 msr, u32 wanted, u32 needed, u32 *out)
{
	u64 allowed = control_msr(msr);
	*out = (wanted & (u32)(allowed >> 32)) | (u32)allowed;
	return (*out & needed) == needed;
}

static bool find_controls(bool kernel)
{
	u32 pin = PIN_EXTERNAL_INTERRUPT | PIN_NMI;
	u32 primary = PRIMARY_HLT | PRIMARY_MWAIT | PRIMARY_RDPMC | PRIMARY_CR8_LOAD |
		      PRIMARY_CR8_STORE | PRIMARY_MOV_DR | PRIMARY_IO_BITMAPS |
		      PRIMARY_MSR_BITMAPS | PRIMARY_MONITOR | PRIMARY_SECONDARY |
		      (kernel ? 0 : PRIMARY_CR3_LOAD);
	u32 secondary = SECONDARY_EPT | SECONDARY_VPID | SECONDARY_WBINVD |
			SECONDARY_REAL_MODE | (kernel ? 0 : SECONDARY_TABLES);
	u32 exit =
	    EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_LOAD_EFER;
	u32 entry = ENTRY_LOAD_DEBUG | ENTRY_GUEST_64 | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER;
	return adjust(MSR_VMX_PIN, pin, pin, &controls[kernel].pin) &&
	       adjust(MSR_VMX_PIN + 1, primary, primary, &controls[kernel].primary) &&
	       adjust(MSR_VMX_PIN + 2, exit, exit, &controls[kernel].exit) &&
	       adjust(MSR_VMX_PIN + 3, entry, entry, &controls[kernel].entry) &&
	       adjust(MSR_VMX_SECONDARY, secondary, secondary & ~SECONDARY_REAL_MODE,
		      &controls[kernel].secondary) &&
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
	if (!find_controls(false) || !find_controls(true)) {
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
	/* Those of the guest's own that the VMCS or msrs_load() keep apart. */
	static const u32 in_vmcs[] = {MSR_FS_BASE, MSR_GS_BASE, 0x174, 0x175, 0x176, MSR_PAT};
	io_none = frames_alloc_run(2);
	msr_native = frame_alloc();
	msr_kernel = frame_alloc();
	if (!hpa_valid(io_none) || !hpa_valid(msr_native) || !hpa_valid(msr_kernel))
		return false;
	memset(hpa_to_ptr(io_none), 0xff, 2 * PAGE_SIZE);
	memset(hpa_to_ptr(msr_native), 0xff, PAGE_SIZE);
	memset(hpa_to_ptr(msr_kernel), 0xff, PAGE_SIZE);
	msr_allow(hpa_to_ptr(msr_native), MSR_FS_BASE); /* canaries of static libraries */
	for (u32 i = 0; i < ARRAY_SIZE(in_vmcs); i++)
		msr_allow(hpa_to_ptr(msr_kernel), in_vmcs[i]);
	for (u32 i = 0; i < ARRAY_SIZE(own_msrs); i++)
		msr_allow(hpa_to_ptr(msr_kernel), own_msrs[i]);
	return true;
}

/* ---- the current VMCS of a CPU ---- */

static void vcpu_free(struct vmx_vcpu *x)
{
	if (x->io_bitmaps)
		frames_free_run(ptr_to_hpa(x->io_bitmaps), 2);
	frame_free(x->vmcs);
	frame_free(x->self);
}

/* Write the current VMCS back to memory and let go of it. */
static void release_current(void)
{
	struct vmx_cpu *cpu = cpu_vmx();
	struct vmx_vcpu *x = cpu->current;
	if (!x)
		return;
	for (u32 i = 0; x->kernel && i < ARRAY_SIZE(own_msrs); i++)
		x->msr[i] = rdmsr(own_msrs[i]);
	vmclear(x->vmcs);
	cpu->current = NULL;
	x->launched = false;
	if (__atomic_exchange_n(&x->where, 0, __ATOMIC_ACQ_REL) & WHERE_DEAD)
		vcpu_free(x);
}

static void release_interrupt(u32 vector, void *arg)
{
	release_current();
}

static u64 tss_base(void)
{
	struct {
		u16 limit;
		u64 base;
	} __packed gdt;
	u16 tr;
	u64 low, high;
	__asm__("sgdt %0" : "=m"(gdt));
	__asm__("str %0" : "=r"(tr));
	low = *(u64 *)(gdt.base + tr);
	high = *(u64 *)(gdt.base + tr + 8);
	return (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000) | high << 32;
}

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

/* What an exit restores; belongs to the CPU. Null data selectors: FS and GS by base. */
static void write_host_state(void)
{
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
	vmwrite(VMCS_HOST_CS, cs);
	vmwrite(VMCS_HOST_SS, ss);
	vmwrite(VMCS_HOST_TR, tr);
	for (u32 f = VMCS_HOST_DS; f <= VMCS_HOST_GS; f += 2)
		vmwrite(f, 0);
	vmwrite(VMCS_HOST_ES, 0);
	vmwrite(VMCS_HOST_CR0, read_cr(0));
	vmwrite(VMCS_HOST_CR3, read_cr(3));
	vmwrite(VMCS_HOST_CR4, read_cr(4));
	vmwrite(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmwrite(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmwrite(VMCS_HOST_TR_BASE, tss_base());
	vmwrite(VMCS_HOST_GDTR_BASE, gdt.base);
	vmwrite(VMCS_HOST_IDTR_BASE, idt.base);
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	vmwrite(VMCS_HOST_RIP, (u64)vmx_exit_point);
}

/* False: its VMCS is in another CPU's caches, which was asked to let go. */
static bool make_current(struct vmx_vcpu *x)
{
	struct cpu *cpu = cpu_self();
	u32 where = __atomic_load_n(&x->where, __ATOMIC_ACQUIRE);
	if (where == cpu->index + 1)
		return true;
	if (where) {
		lapic_ipi(cpus[(where & ~WHERE_DEAD) - 1].apic_id, release_vector);
		return false;
	}
	release_current();
	if (!vmptrld(x->vmcs))
		n_panic("vmx: VMPTRLD refused %lx", (unsigned long)x->vmcs.v);
	__atomic_store_n(&x->where, cpu->index + 1, __ATOMIC_RELEASE);
	cpu_vmx()->current = x;
	write_host_state();
	for (u32 i = 0; x->kernel && i < ARRAY_SIZE(own_msrs); i++)
		wrmsr(own_msrs[i], x->msr[i]);
	x->flush = true;
	return true;
}

/* ---- the guest's side of the VMCS ---- */

static u64 ept_pointer(struct vmx_vcpu *x)
{
	return cell_space(x->vcpu->cell)->root.v | EPTP_WRITE_BACK_4;
}

static void write_controls(struct vmx_vcpu *x)
{
	x->primary = controls[x->kernel].primary;
	vmwrite(VMCS_PIN, controls[x->kernel].pin);
	vmwrite(VMCS_PRIMARY, x->primary);
	vmwrite(VMCS_SECONDARY, controls[x->kernel].secondary);
	vmwrite(VMCS_EXIT_CONTROLS, controls[x->kernel].exit);
	vmwrite(VMCS_ENTRY_CONTROLS, controls[x->kernel].entry);
	/* Machine checks are the host's; a native cell takes no exception of its own. */
	vmwrite(VMCS_EXCEPTIONS, x->kernel ? 1u << 18 : ~0u);
	vmwrite(VMCS_MSR_BITMAP, (x->kernel ? msr_kernel : msr_native).v);
	vmwrite(VMCS_EPT_POINTER, ept_pointer(x));
	vmwrite(VMCS_VPID, x->vcpu->index + 1);
	vmwrite(VMCS_LINK_POINTER, ~0ull);
	vmwrite(VMCS_CR3_TARGETS, 0);
	vmwrite(VMCS_EXIT_MSR_STORES, 0);
	vmwrite(VMCS_EXIT_MSR_LOADS, 0);
	vmwrite(VMCS_ENTRY_MSR_LOADS, 0);
	vmwrite(VMCS_CR0_MASK, x->kernel ? CR0_HOST : ~0ull);
	vmwrite(VMCS_CR4_MASK, x->kernel ? ~CR4_KERNEL : ~0ull);
}

static void write_segments(void)
{
	for (u32 i = 0; i < 8; i++) { /* ES CS SS DS FS GS LDTR TR */
		vmwrite(VMCS_GUEST_ES + 2 * i, 16);
		vmwrite(VMCS_GUEST_ES_LIMIT + 2 * i, ~0u);
		vmwrite(VMCS_GUEST_ES_RIGHTS + 2 * i, RIGHTS_DATA);
		vmwrite(VMCS_GUEST_ES_BASE + 2 * i, 0);
	}
	vmwrite(VMCS_GUEST_CS, 8);
	vmwrite(VMCS_GUEST_ES_RIGHTS + 2, RIGHTS_CODE_64);
	vmwrite(VMCS_GUEST_LDTR, 0);
	vmwrite(VMCS_GUEST_ES_RIGHTS + 12, RIGHTS_UNUSABLE);
	vmwrite(VMCS_GUEST_TR, 0);
	vmwrite(VMCS_GUEST_ES_LIMIT + 14, 0x67);
	vmwrite(VMCS_GUEST_ES_RIGHTS + 14, RIGHTS_TSS);
	vmwrite(VMCS_GUEST_GDTR_BASE, 0);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, 0);
	vmwrite(VMCS_GUEST_IDTR_BASE, 0);
	vmwrite(VMCS_GUEST_IDTR_LIMIT, 0);
}

/* State at entry: 64-bit, ring 0, paging with tables at cr3, interrupts off. */
static void write_reset_state(struct vmx_vcpu *x)
{
	u64 cr0 = (CR0_GUEST | rdmsr(MSR_VMX_CR0_FIXED0)) & rdmsr(MSR_VMX_CR0_FIXED1);
	u64 cr4 = (CR4_GUEST | rdmsr(MSR_VMX_CR4_FIXED0)) & rdmsr(MSR_VMX_CR4_FIXED1);
	write_controls(x);
	write_segments();
	vmwrite(VMCS_GUEST_CR0, cr0);
	vmwrite(VMCS_CR0_SHADOW, cr0);
	vmwrite(VMCS_GUEST_CR4, cr4);
	vmwrite(VMCS_CR4_SHADOW, cr4 & ~CR4_VMXE);
	vmwrite(VMCS_GUEST_CR3, x->cr3);
	vmwrite(VMCS_GUEST_DR7, DR7_DEFAULT);
	vmwrite(VMCS_GUEST_DEBUGCTL, 0);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	vmwrite(VMCS_GUEST_ACTIVITY, 0);
	vmwrite(VMCS_GUEST_PAT, PAT_DEFAULT);
	vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
	vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
	vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
	for (u32 i = 0; x->kernel && i < ARRAY_SIZE(own_msrs); i++)
		wrmsr(own_msrs[i], 0);
	x->reset = false;
	x->dirty = x->dirty_efer = x->dirty_io = x->flush = true;
}

static void write_primary(struct vmx_vcpu *x, u32 bit, bool on)
{
	u32 now = on ? x->primary | bit : x->primary & ~bit;
	if (now == x->primary)
		return;
	x->primary = now;
	vmwrite(VMCS_PRIMARY, now);
}

/* One event an entry: one that was interrupted, or a fault, before a new interrupt. */
static void write_event(struct vmx_vcpu *x)
{
	bool can =
	    (x->rflags & RFLAGS_IF) && !(x->blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
	if (!x->event && x->interrupt && can) {
		x->event = EVENT_VALID | EVENT_INTERRUPT | x->interrupt;
		x->interrupt = 0;
	}
	write_primary(x, PRIMARY_WINDOW, x->interrupt != 0);
	if (!x->event)
		return;
	vmwrite(VMCS_ENTRY_EVENT, x->event);
	if (x->event & EVENT_ERROR_CODE)
		vmwrite(VMCS_ENTRY_ERROR_CODE, x->event_error);
	if (EVENT_SOFTWARE(x->event))
		vmwrite(VMCS_ENTRY_LENGTH, x->event_length);
	x->event = 0;
}

static void write_guest(struct vmx_vcpu *x)
{
	if (x->reset)
		write_reset_state(x);
	if (x->dirty) {
		vmwrite(VMCS_GUEST_RIP, x->rip);
		vmwrite(VMCS_GUEST_RSP, x->rsp);
		vmwrite(VMCS_GUEST_RFLAGS, x->rflags);
		vmwrite(VMCS_GUEST_BLOCKING, x->blocking);
		x->dirty = false;
	}
	if (x->dirty_efer) {
		vmwrite(VMCS_GUEST_EFER, x->efer);
		x->dirty_efer = false;
	}
	if (x->dirty_io) {
		u64 io = x->io_bitmaps ? ptr_to_hpa(x->io_bitmaps).v : io_none.v;
		vmwrite(VMCS_IO_BITMAP_A, io);
		vmwrite(VMCS_IO_BITMAP_B, io + PAGE_SIZE);
		x->dirty_io = false;
	}
	write_event(x);
	if (x->flush) {
		invept(ept_pointer(x));
		x->flush = false;
	}
}

static void read_guest(struct vmx_vcpu *x)
{
	x->rip = vmread(VMCS_GUEST_RIP);
	x->rsp = vmread(VMCS_GUEST_RSP);
	x->rflags = vmread(VMCS_GUEST_RFLAGS);
	x->cr3 = vmread(VMCS_GUEST_CR3);
	x->blocking = (u32)vmread(VMCS_GUEST_BLOCKING);
	x->ss_rights = (u32)vmread(VMCS_GUEST_SS_RIGHTS);
	x->exit_length = (u32)vmread(VMCS_EXIT_LENGTH);
	x->event = (u32)vmread(VMCS_IDT_EVENT);
	if (!(x->event & EVENT_VALID)) {
		x->event = 0;
		return;
	}
	/* An event that was being delivered when the exit came is delivered again. */
	x->event &= ~(1u << 12); /* undefined here, reserved there */
	x->event_error = (u32)vmread(VMCS_IDT_ERROR_CODE);
	x->event_length = x->exit_length;
}

/* ---- what an exit was ---- */

static const char *privileged_name(u32 reason)
{
	static const struct {
		u32 reason;
		const char *text;
	} name[] = {{9, "task switch"},
		    {11, "GETSEC"},
		    {13, "INVD"},
		    {15, "RDPMC"},
		    {17, "RSM"},
		    {19, "VMCLEAR"},
		    {20, "VMLAUNCH"},
		    {21, "VMPTRLD"},
		    {22, "VMPTRST"},
		    {23, "VMREAD"},
		    {24, "VMRESUME"},
		    {25, "VMWRITE"},
		    {26, "VMXOFF"},
		    {27, "VMXON"},
		    {28, "access to a control register"},
		    {29, "access to a debug register"},
		    {36, "MWAIT"},
		    {39, "MONITOR"},
		    {46, "LGDT, LIDT, SGDT or SIDT"},
		    {47, "LLDT, LTR, SLDT or STR"},
		    {50, "INVEPT"},
		    {53, "INVVPID"},
		    {54, "WBINVD"}};
	for (u32 i = 0; i < ARRAY_SIZE(name); i++)
		if (reason == name[i].reason)
			return name[i].text;
	return NULL;
}

static void decode_exception(const struct vmx_vcpu *x, struct vcpu_exit *exit)
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
	exit->address = exit->vector == 14 ? vmread(VMCS_QUALIFICATION) : x->rip;
}

static void decode_memory(struct vcpu_exit *exit)
{
	u64 q = vmread(VMCS_QUALIFICATION);
	exit->reason = EXIT_MEMORY;
	exit->address = vmread(VMCS_GUEST_PHYSICAL);
	exit->access = q & 4 ? MAP_X : q & 2 ? MAP_W : MAP_R;
}

static void decode_io(struct vcpu_exit *exit)
{
	u64 q = vmread(VMCS_QUALIFICATION);
	exit->reason = EXIT_IO;
	exit->address = q >> 16 & 0xffff;
	exit->write = !(q & 8);
	exit->size = (u32)(q & 7) + 1;
}

static void raise_fault(struct vmx_vcpu *x, u32 vector, u32 error)
{
	bool has_error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
	x->event = EVENT_VALID | EVENT_EXCEPTION | vector | (has_error ? EVENT_ERROR_CODE : 0);
	x->event_error = error;
}

static void decode_other(struct vmx_vcpu *x, u32 reason, struct vcpu_exit *exit)
{
	exit->text = privileged_name(reason);
	exit->address = x->rip;
	exit->reason = exit->text ? EXIT_PRIVILEGED : EXIT_BROKEN;
	/* A bit of CR0 or CR4 that a kernel cannot have: as if the CPU had none such. */
	if (reason == VMX_EXIT_CR && x->kernel) {
		raise_fault(x, VECTOR_GP, 0);
		exit->reason = EXIT_NOTHING;
	}
}

/* Exits that mean the same on every vendor. -1: not one of them. */
static int plain_reason(u32 reason)
{
	switch (reason) {
	case VMX_EXIT_EXTERNAL:
	case VMX_EXIT_INIT:
	case VMX_EXIT_SIPI:
		return EXIT_INTERRUPT;
	case VMX_EXIT_VMCALL:
		return EXIT_HYPERCALL;
	case VMX_EXIT_WINDOW:
		return EXIT_WINDOW;
	case VMX_EXIT_CPUID:
		return EXIT_CPUID;
	case VMX_EXIT_HLT:
		return EXIT_HLT;
	case VMX_EXIT_RDMSR:
		return EXIT_MSR_READ;
	case VMX_EXIT_WRMSR:
		return EXIT_MSR_WRITE;
	case VMX_EXIT_XSETBV:
		return EXIT_XSETBV;
	case VMX_EXIT_TRIPLE_FAULT:
		return EXIT_SHUTDOWN;
	default:
		return -1;
	}
}

static void decode(struct vmx_vcpu *x, u32 reason, struct vcpu_exit *exit)
{
	int plain = plain_reason(reason);
	if (plain >= 0) {
		bool msr = reason == VMX_EXIT_RDMSR || reason == VMX_EXIT_WRMSR;
		exit->reason = (enum exit_reason)plain;
		exit->address = msr ? (u32)x->vcpu->regs.rcx : x->rip;
	} else if (reason == VMX_EXIT_EXCEPTION) {
		decode_exception(x, exit);
	} else if (reason == VMX_EXIT_EPT_VIOLATION) {
		decode_memory(exit);
	} else if (reason == VMX_EXIT_IO) {
		decode_io(exit);
	} else {
		decode_other(x, reason, exit);
	}
}

/* ---- the operations ---- */

static void enter(struct vmx_vcpu *x, struct vcpu_exit *exit)
{
	u32 reason;
	*exit = (struct vcpu_exit){.reason = EXIT_BROKEN};
	write_guest(x);
	if (x->kernel)
		__asm__ volatile("mov %0, %%cr2" ::"r"(x->cr2));
	if (vmx_enter(&x->vcpu->regs, x->launched)) {
		exit->code = vmread(VMCS_INSTRUCTION_ERROR);
		return;
	}
	if (x->kernel)
		__asm__ volatile("mov %%cr2, %0" : "=r"(x->cr2));
	x->launched = true;
	reason = (u32)vmread(VMCS_EXIT_REASON);
	exit->code = reason;
	read_guest(x);
	if (!(reason & VMX_EXIT_ENTRY_FAILED))
		decode(x, reason, exit);
}

static void take_host_interrupts(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void vmx_run(struct vcpu *v, struct vcpu_exit *exit)
{
	struct cpu *cpu = cpu_self();
	if (make_current(vmx_of(v)))
		enter(vmx_of(v), exit);
	else
		*exit = (struct vcpu_exit){.reason = EXIT_NOTHING};
	/* Once in_guest is clear the vCPU may be torn down: nothing of it is touched any more.
	 */
	__atomic_store_n(&cpu->in_guest, false, __ATOMIC_RELEASE);
	take_host_interrupts();
}

static bool vmx_cpu_init(struct cpu *cpu)
{
	hpa_t page = frame_alloc(), on = frame_alloc();
	struct vmx_cpu *x;
	bool failed;
	if (!hpa_valid(page) || !hpa_valid(on))
		return false;
	if (!release_vector) {
		release_vector = irq_vectors_alloc(1, release_interrupt, NULL);
		if (!release_vector || !make_maps())
			return false;
		n_print("vmx: EPT, VPID%s", controls[0].secondary & SECONDARY_REAL_MODE
						? ", unrestricted guest"
						: "");
	}
	if (!feature_enabled())
		return false;
	x = hpa_to_ptr(page);
	x->vmxon = on;
	cpu->vendor = x;
	*(u32 *)hpa_to_ptr(on) = VMX_BASIC_REVISION(basic);
	__asm__ volatile("mov %0, %%cr0" ::"r"((read_cr(0) | rdmsr(MSR_VMX_CR0_FIXED0)) &
					       rdmsr(MSR_VMX_CR0_FIXED1)));
	__asm__ volatile("mov %0, %%cr4" ::"r"(
	    (read_cr(4) | CR4_VMXE | rdmsr(MSR_VMX_CR4_FIXED0)) & rdmsr(MSR_VMX_CR4_FIXED1)));
	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(on.v) : "memory");
	return !failed;
}

static bool vmx_create(struct vcpu *v, enum vcpu_kind kind)
{
	hpa_t self = frame_alloc(), vmcs = frame_alloc();
	struct vmx_vcpu *x;
	if (!hpa_valid(self) || !hpa_valid(vmcs)) {
		if (hpa_valid(self))
			frame_free(self);
		if (hpa_valid(vmcs))
			frame_free(vmcs);
		return false;
	}
	x = hpa_to_ptr(self);
	*x = (struct vmx_vcpu){.kernel = kind == VCPU_KERNEL,
			       .vmcs = vmcs,
			       .self = self,
			       .vcpu = v,
			       .reset = true};
	*(u32 *)hpa_to_ptr(vmcs) = VMX_BASIC_REVISION(basic);
	v->vendor = x;
	return true;
}

static void vmx_destroy(struct vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 where;
	if (!x)
		return;
	v->vendor = NULL;
	if (cpu_vmx()->current == x)
		release_current();
	/* In another CPU's caches: freed there, or its write-back would hit the next owner. */
	where = __atomic_fetch_or(&x->where, WHERE_DEAD, __ATOMIC_ACQ_REL);
	if (where)
		lapic_ipi(cpus[where - 1].apic_id, release_vector);
	else
		vcpu_free(x);
}

static void vmx_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3)
{
	struct vmx_vcpu *x = vmx_of(v);
	x->rip = rip;
	x->rsp = rsp;
	x->cr3 = cr3.v;
	x->rflags = 2;
	x->efer = EFER_GUEST & ~1ull;
	x->blocking = x->event = x->interrupt = 0;
	x->ss_rights = RIGHTS_DATA;
	x->cr2 = 0;
	memset(x->msr, 0, sizeof(x->msr));
	x->reset = true;
}

static bool vmx_allow_ports(struct vcpu *v, u16 first, u32 count, bool allow)
{
	struct vmx_vcpu *x = vmx_of(v);
	if (!x->io_bitmaps) {
		hpa_t own = frames_alloc_run(2);
		if (!hpa_valid(own))
			return false;
		x->io_bitmaps = hpa_to_ptr(own);
		memset(x->io_bitmaps, 0xff, 2 * PAGE_SIZE);
		x->dirty_io = true;
	}
	for (u32 p = first; p < first + count && p < 0x10000; p++) {
		u8 bit = (u8)(1u << p % 8);
		u8 *at = &x->io_bitmaps[p / 8];
		*at = allow ? *at & (u8)~bit : *at | bit;
	}
	return true;
}

static void vmx_skip(struct vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	x->rip += x->exit_length;
	x->blocking &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
	x->dirty = true;
}

static void vmx_inject_interrupt(struct vcpu *v, u32 vector)
{
	vmx_of(v)->interrupt = vector;
}

static void vmx_cancel_interrupt(struct vcpu *v)
{
	vmx_of(v)->interrupt = 0;
}

static void vmx_inject_fault(struct vcpu *v, u32 vector, u32 error)
{
	raise_fault(vmx_of(v), vector, error);
}

static u64 vmx_rip(struct vcpu *v)
{
	return vmx_of(v)->rip;
}

static u64 vmx_rsp(struct vcpu *v)
{
	return vmx_of(v)->rsp;
}

static u64 vmx_cr3(struct vcpu *v)
{
	return vmx_of(v)->cr3;
}

static bool vmx_user_mode(struct vcpu *v)
{
	return (vmx_of(v)->ss_rights >> 5 & 3) == 3;
}

static bool vmx_interrupts_on(struct vcpu *v)
{
	return vmx_of(v)->rflags & RFLAGS_IF;
}

static u64 vmx_efer(struct vcpu *v)
{
	return vmx_of(v)->efer & EFER_GUEST;
}

static void vmx_set_efer(struct vcpu *v, u64 efer)
{
	vmx_of(v)->efer = (efer & EFER_GUEST) | EFER_LONG;
	vmx_of(v)->dirty_efer = true;
}

static void vmx_flush(struct vcpu *v)
{
	vmx_of(v)->flush = true;
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
    .allow_ports = vmx_allow_ports,
    .run = vmx_run,
    .skip = vmx_skip,
    .inject_interrupt = vmx_inject_interrupt,
    .cancel_interrupt = vmx_cancel_interrupt,
    .inject_fault = vmx_inject_fault,
    .rip = vmx_rip,
    .rsp = vmx_rsp,
    .cr3 = vmx_cr3,
    .user_mode = vmx_user_mode,
    .interrupts_on = vmx_interrupts_on,
    .efer = vmx_efer,
    .set_efer = vmx_set_efer,
    .flush = vmx_flush,
};
