/* SPDX-License-Identifier: ISC */
/*
 * vm_hypervisor: virtual CPUs. What is common to vendors is here and in vcpu.c and exits.c;
 * svm.c and vmx.c each fill a struct vcpu_ops, and one of them is chosen at boot.
 */
#ifndef NUCLEUS_VM_HYPERVISOR_VCPU_H
#define NUCLEUS_VM_HYPERVISOR_VCPU_H

#include "d0/abi.h"
#include "nucleus/core/cpu.h"
#include "nucleus/core/types.h"
#include "nucleus/memory_regions/memory_regions.h"

struct cell;

/* Guest registers that the hardware does not keep; the order is svm.S's and vmx.S's. */
struct vcpu_regs {
	u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};

enum vcpu_state {
	VCPU_OFF,     /* not started, or ended */
	VCPU_READY,   /* in a run queue */
	VCPU_RUNNING, /* on a CPU */
	VCPU_BLOCKED, /* waits for an event or a deadline */
	VCPU_HELD,    /* its cell is paused or being torn down; `wanted` says what it was */
};

/* Why a guest stopped: the vendors' codes boiled down. */
enum exit_reason {
	EXIT_INTERRUPT, /* a host interrupt waits; taken before run() returns */
	EXIT_HYPERCALL,
	EXIT_MEMORY,    /* second-level fault: address, access (MAP_*) */
	EXIT_EXCEPTION, /* vector, error, address for #PF */
	EXIT_IO,        /* port in address, size, write */
	EXIT_MSR_READ,  /* number in address */
	EXIT_MSR_WRITE,
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_XSETBV,
	EXIT_SHUTDOWN,   /* triple fault */
	EXIT_PRIVILEGED, /* an instruction that is nobody's in a cell; what in `text` */
	EXIT_WINDOW,     /* the guest can take an interrupt now */
	EXIT_NOTHING,    /* the back-end dealt with it: enter again */
	EXIT_BROKEN,     /* the entry failed: code */
};

struct vcpu_exit {
	enum exit_reason reason;
	u32 vector, error;
	u64 address;
	u32 access;
	u32 size;
	bool write;
	u64 code; /* the vendor's own, for reports */
	const char *text;
};

struct vcpu {
	struct vcpu_regs regs; /* must be first */
	struct cell *cell;
	u32 index;
	enum vcpu_state state, wanted;
	void *vendor; /* the back-end's own: VMCB or VMCS and maps */
	void *fpu;    /* XSAVE area, one page */
	u64 xcr0;     /* as the guest set it */
	u32 upcall;   /* interrupt vector for events, 0: none */
	u64 deadline; /* of d0_hc_wait, D0_NEVER: none */
	u64 timer;    /* of d0_hc_timer */
	struct cpu *last_cpu;
	struct cpu *holder; /* the CPU that is in run() with it; nobody else may take it */
	u32 asid, asid_generation;
	u32 tlb_seen; /* cell->tlb_generation at the last entry */
	/* scheduling */
	struct vcpu *next, *prev; /* run queue */
	bool queued;
	u32 queue;      /* which one */
	u32 timer_slot; /* place in the timer heap + 1; 0: not there */
	u64 ready_ns;   /* when it was queued */
	u64 entered_ns;
	u64 period_start, used_ns; /* budget accounting */
	u64 cpu_ns;
};

/* What a vCPU may do beyond computing, fixed when its cell is made. */
enum vcpu_kind {
	VCPU_NATIVE,
	VCPU_KERNEL
};

struct vcpu_ops {
	const char *name;
	const struct table_format *format;
	bool vmcall; /* hypercalls are VMCALL, not VMMCALL */
	bool (*supported)(void);
	bool (*cpu_init)(struct cpu *cpu);
	void (*host_reset)(
	    void); /* may be NULL; recovery: this CPU may have been half-way into a guest */
	bool (*create)(struct vcpu *v, enum vcpu_kind kind); /* false: no memory */
	void (*destroy)(struct vcpu *v);
	/* State at entry: 64-bit, ring 0, paging with tables at cr3, interrupts off. */
	void (*reset)(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3);
	/* Let it use these ports (native drivers); bitmap of the cell, two pages + 1 byte. */
	bool (*allow_ports)(struct vcpu *v, u16 first, u32 count, bool allow);
	/*
	 * Run until an exit. Called without the nucleus lock, FPU loaded, interrupts off.
	 * After the exit has been decoded it clears cpu->in_guest; from then on it touches
	 * nothing of the vCPU, and takes the host interrupts that wait.
	 */
	void (*run)(struct vcpu *v, struct vcpu_exit *exit);
	void (*skip)(struct vcpu *v); /* step over the exiting instruction */
	void (*inject_interrupt)(struct vcpu *v, u32 vector); /* once the guest can take it */
	void (*cancel_interrupt)(struct vcpu *v);             /* if it has not been taken yet */
	void (*inject_fault)(struct vcpu *v, u32 vector, u32 error); /* 0xff: vector has none */
	u64 (*rip)(struct vcpu *v);
	u64 (*rsp)(struct vcpu *v);
	u64 (*cr3)(struct vcpu *v);
	bool (*user_mode)(struct vcpu *v);
	bool (*interrupts_on)(struct vcpu *v);
	u64 (*efer)(struct vcpu *v);
	void (*set_efer)(struct vcpu *v, u64 efer);
	void (*flush)(struct vcpu *v); /* forget cached translations at the next entry */
};

extern const struct vcpu_ops svm_ops, vmx_ops;
extern const struct vcpu_ops *vcpu_ops; /* the chosen one */

bool vm_hypervisor_init(void);     /* choose, and prepare the boot CPU; says what */
bool vm_hypervisor_init_cpu(void); /* every other CPU */

/* All below need the nucleus lock. */
bool vcpu_create(struct vcpu *v, struct cell *cell, u32 index, enum vcpu_kind kind);
void vcpu_destroy(struct vcpu *v);
void vcpu_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3, u64 rdi, u64 rsi);

/* Run it on this CPU until it must stop, and act on the exit. Lock held before and after, not
 * while in guest mode. */
void vcpu_run(struct vcpu *v);

/* exits.c: act on an exit. Lock held. */
void vcpu_handle_exit(struct vcpu *v, const struct vcpu_exit *exit);

u64 vcpu_shootdowns(void); /* IPIs sent to make CPUs forget translations */

/* Stop every CPU that runs a vCPU of the cell and keep it out until the lock is released. */
void cell_quiesce(struct cell *cell);

#endif
