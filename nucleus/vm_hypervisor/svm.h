/* SPDX-License-Identifier: ISC */
/* AMD SVM: the VMCB. AMD64 Architecture Programmer's Manual vol. 2, appendix B. */
#ifndef NUCLEUS_VM_HYPERVISOR_SVM_H
#define NUCLEUS_VM_HYPERVISOR_SVM_H

#include "nucleus/core/types.h"

struct vmcb_segment {
	u16 selector, attrib;
	u32 limit;
	u64 base;
};

struct vmcb {
	/* control area, table B-1 */
	u16 cr_read, cr_write, dr_read, dr_write;
	u32 exceptions, intercept1, intercept2, intercept3;
	u8 reserved0[0x40 - 0x18];
	u64 iopm, msrpm, tsc_offset; /* 0x40 */
	u32 asid;                    /* 0x58 */
	u8 tlb_control, reserved1[3];
	u64 vintr;     /* 0x60 */
	u64 shadow;    /* 0x68 */
	u64 exit_code; /* 0x70 */
	u64 exit_info1, exit_info2, exit_int_info;
	u64 np_enable; /* 0x90 */
	u8 reserved2[0xa8 - 0x98];
	u64 event_inject; /* 0xa8 */
	u64 ncr3;
	u64 lbr;   /* 0xb8 */
	u64 clean; /* 0xc0 */
	u64 next_rip;
	u8 reserved3[0x400 - 0xd0];
	/* state save area, table B-2 */
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved4[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved5;
	u64 efer; /* 0x4d0 */
	u8 reserved6[0x548 - 0x4d8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip; /* 0x548 */
	u8 reserved7[0x5d8 - 0x580];
	u64 rsp; /* 0x5d8 */
	u8 reserved8[0x5f8 - 0x5e0];
	u64 rax; /* 0x5f8 */
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	u8 reserved9[0x668 - 0x648];
	u64 pat; /* 0x668 */
	u8 reserved10[0x1000 - 0x670];
};
_Static_assert(offsetof(struct vmcb, iopm) == 0x40, "table B-1");
_Static_assert(offsetof(struct vmcb, event_inject) == 0xa8, "table B-1");
_Static_assert(offsetof(struct vmcb, clean) == 0xc0, "table B-1");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "table B-2");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "table B-2");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "table B-2");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "table B-2");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "table B-2");
_Static_assert(offsetof(struct vmcb, pat) == 0x668, "table B-2");
_Static_assert(sizeof(struct vmcb) == 4096, "one page");

/* intercept1, offset 0x0c */
enum {
	SVM_INTR = 1 << 0,
	SVM_NMI = 1 << 1,
	SVM_SMI = 1 << 2,
	SVM_INIT = 1 << 3,
	SVM_TABLES_WRITE = 0xf << 10, /* of IDTR, GDTR, LDTR, TR */
	SVM_RDPMC = 1 << 15,
	SVM_CPUID = 1 << 18,
	SVM_RSM = 1 << 19,
	SVM_INVD = 1 << 22,
	SVM_HLT = 1 << 24,
	SVM_INVLPGA = 1 << 26,
	SVM_IO = 1 << 27,
	SVM_MSR = 1 << 28,
	SVM_TASK = 1 << 29,
	SVM_FERR = 1 << 30,
};
#define SVM_SHUTDOWN (1u << 31)
#define SVM_ALL2     0x3fff /* intercept2, offset 0x10: VMRUN to XSETBV; every one of them */

/* Exit codes, appendix C; those of privileged instructions are in a table of svm.c. */
enum {
	SVM_EXIT_DR = 0x20, /* below: control registers */
	SVM_EXIT_EXCEPTION = 0x40,
	SVM_EXIT_INTR = 0x60,
	SVM_EXIT_NMI = 0x61,
	SVM_EXIT_SMI = 0x62,
	SVM_EXIT_INIT = 0x63,
	SVM_EXIT_VINTR = 0x64,
	SVM_EXIT_CPUID = 0x72,
	SVM_EXIT_HLT = 0x78,
	SVM_EXIT_IO = 0x7b,
	SVM_EXIT_MSR = 0x7c,
	SVM_EXIT_SHUTDOWN = 0x7f,
	SVM_EXIT_VMMCALL = 0x81,
	SVM_EXIT_XSETBV = 0x8d,
	SVM_EXIT_NPF = 0x400,
};

struct vcpu_regs;
/* enter.S: one entry and exit; on return a pending host interrupt is still pending. */
void svm_enter(u64 vmcb_pa, struct vcpu_regs *regs, u64 host_vmcb_pa);

#endif
