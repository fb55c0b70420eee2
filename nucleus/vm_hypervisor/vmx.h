/* SPDX-License-Identifier: ISC */
/* Intel VMX: VMCS fields (Intel SDM vol. 3, appendix B), controls (chapter 25), exit
 * reasons (appendix C), capability MSRs (appendix A). */
#ifndef NUCLEUS_VM_HYPERVISOR_VMX_H
#define NUCLEUS_VM_HYPERVISOR_VMX_H

#include "nucleus/core/types.h"

enum vmcs_field {
	VMCS_VPID = 0x0000,
	/* guest selectors; the host's are 0x0c00 from ES on, TR at 0x0c0c */
	VMCS_GUEST_ES = 0x0800,
	VMCS_HOST_ES = 0x0c00,
	VMCS_HOST_CS = 0x0c02,
	VMCS_HOST_SS = 0x0c04,
	VMCS_HOST_DS = 0x0c06,
	VMCS_HOST_FS = 0x0c08,
	VMCS_HOST_GS = 0x0c0a,
	VMCS_HOST_TR = 0x0c0c,
	/* 64-bit */
	VMCS_IO_BITMAP_A = 0x2000,
	VMCS_IO_BITMAP_B = 0x2002,
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_EPT_POINTER = 0x201a,
	VMCS_GUEST_PHYSICAL = 0x2400,
	VMCS_LINK_POINTER = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	/* 32-bit */
	VMCS_PIN = 0x4000,
	VMCS_PRIMARY = 0x4002,
	VMCS_EXCEPTIONS = 0x4004,
	VMCS_CR3_TARGETS = 0x400a,
	VMCS_EXIT_CONTROLS = 0x400c,
	VMCS_EXIT_MSR_STORES = 0x400e,
	VMCS_EXIT_MSR_LOADS = 0x4010,
	VMCS_ENTRY_CONTROLS = 0x4012,
	VMCS_ENTRY_MSR_LOADS = 0x4014,
	VMCS_ENTRY_EVENT = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018,
	VMCS_ENTRY_LENGTH = 0x401a,
	VMCS_SECONDARY = 0x401e,
	VMCS_INSTRUCTION_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_EVENT = 0x4404,
	VMCS_EXIT_ERROR_CODE = 0x4406,
	VMCS_IDT_EVENT = 0x4408,
	VMCS_IDT_ERROR_CODE = 0x440a,
	VMCS_EXIT_LENGTH = 0x440c,
	VMCS_GUEST_ES_LIMIT = 0x4800, /* ES CS SS DS FS GS LDTR TR */
	VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_ES_RIGHTS = 0x4814,
	VMCS_GUEST_SS_RIGHTS = 0x4818,
	VMCS_GUEST_BLOCKING = 0x4824,
	VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	/* natural width */
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_QUALIFICATION = 0x6400,
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_ES_BASE = 0x6806, /* ES CS SS DS FS GS LDTR TR */
	VMCS_GUEST_GDTR_BASE = 0x6816,
	VMCS_GUEST_IDTR_BASE = 0x6818,
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DEBUG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RIP = 0x6c16, /* HOST_RSP, 0x6c14, is enter.S's */
};

/* 25.6.1 */
#define PIN_EXTERNAL_INTERRUPT (1u << 0)
#define PIN_NMI                (1u << 3)
/* 25.6.2 */
#define PRIMARY_WINDOW      (1u << 2)
#define PRIMARY_HLT         (1u << 7)
#define PRIMARY_MWAIT       (1u << 10)
#define PRIMARY_RDPMC       (1u << 11)
#define PRIMARY_CR3_LOAD    (1u << 15)
#define PRIMARY_CR3_STORE   (1u << 16)
#define PRIMARY_CR8_LOAD    (1u << 19)
#define PRIMARY_CR8_STORE   (1u << 20)
#define PRIMARY_MOV_DR      (1u << 23)
#define PRIMARY_IO_BITMAPS  (1u << 25)
#define PRIMARY_MSR_BITMAPS (1u << 28)
#define PRIMARY_MONITOR     (1u << 29)
#define PRIMARY_SECONDARY   (1u << 31)
#define SECONDARY_EPT       (1u << 1)
#define SECONDARY_TABLES    (1u << 2) /* LGDT and its like exit */
#define SECONDARY_VPID      (1u << 5)
#define SECONDARY_WBINVD    (1u << 6)
/* 25.7.1, 25.8.1 */
#define EXIT_SAVE_DEBUG  (1u << 2)
#define EXIT_HOST_64     (1u << 9)
#define EXIT_SAVE_PAT    (1u << 18)
#define EXIT_LOAD_PAT    (1u << 19)
#define EXIT_LOAD_EFER   (1u << 21)
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_GUEST_64   (1u << 9)
#define ENTRY_LOAD_PAT   (1u << 14)
#define ENTRY_LOAD_EFER  (1u << 15)

/* Events, besides what SVM has as well: tables 25-16 to 25-20. */
#define EVENT_TYPE_NMI  2u
#define EVENT_VECTOR(e) ((e)&0xff)
/* Types 4, 5 and 6 are software's and need the instruction's length. */
#define EVENT_SOFTWARE(e) (EVENT_TYPE(e) >= 4)

#define BLOCKING_BY_STI    1u
#define BLOCKING_BY_MOV_SS 2u

#define RIGHTS_UNUSABLE 0x10000u
#define RIGHTS_CODE_64  0xa09bu
#define RIGHTS_DATA     0xc093u
#define RIGHTS_TSS      0x008bu

enum vmx_exit_reason {
	VMX_EXIT_EXCEPTION = 0, /* or NMI */
	VMX_EXIT_EXTERNAL = 1,
	VMX_EXIT_TRIPLE_FAULT = 2,
	VMX_EXIT_INIT = 3,
	VMX_EXIT_SIPI = 4,
	VMX_EXIT_WINDOW = 7,
	VMX_EXIT_CPUID = 10,
	VMX_EXIT_HLT = 12,
	VMX_EXIT_VMCALL = 18,
	VMX_EXIT_CR = 28,
	VMX_EXIT_IO = 30,
	VMX_EXIT_RDMSR = 31,
	VMX_EXIT_WRMSR = 32,
	VMX_EXIT_EPT_VIOLATION = 48,
	VMX_EXIT_XSETBV = 55,
};
#define VMX_EXIT_ENTRY_FAILED (1u << 31)

#define MSR_FEATURE_CONTROL     0x3a
#define FEATURE_LOCKED          1u
#define FEATURE_VMX             4u
#define MSR_VMX_BASIC           0x480
#define VMX_BASIC_REVISION(v)   ((u32)(v)&0x7fffffff)
#define VMX_BASIC_TRUE_CONTROLS (1ull << 55)
#define MSR_VMX_TRUE_PIN        0x48d /* then primary, exit, entry */
#define MSR_VMX_CR0_FIXED0      0x486
#define MSR_VMX_CR0_FIXED1      0x487
#define MSR_VMX_CR4_FIXED0      0x488
#define MSR_VMX_CR4_FIXED1      0x489
#define MSR_VMX_SECONDARY       0x48b
#define MSR_VMX_EPT_VPID        0x48c
#define EPT_CAP_4_LEVELS        (1ull << 6)
#define EPT_CAP_WRITE_BACK      (1ull << 14)
#define EPT_CAP_2M              (1ull << 16)
#define EPT_CAP_INVEPT          (1ull << 20)
#define EPT_CAP_INVEPT_SINGLE   (1ull << 25)
#define EPT_CAP_INVEPT_ALL      (1ull << 26)
#define EPTP_WRITE_BACK_4       (6u | 3u << 3)

struct vcpu_regs;
/* enter.S: VMLAUNCH or VMRESUME the current VMCS. 0: it ran and exited; else it was not
 * entered.
 */
int vmx_enter(struct vcpu_regs *regs, bool launched);
extern char vmx_exit_point[];

#endif
