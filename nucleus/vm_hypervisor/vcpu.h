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

/* Guest registers that the hardware does not keep; the order is enter.S's. */
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
	EXIT_INTERRUPT = 1, /* a host interrupt waits */
	EXIT_HYPERCALL,
	EXIT_MEMORY,    /* second-level fault: address, access (MAP_*) */
	EXIT_EXCEPTION, /* vector, error, address for #PF */
	EXIT_IO,        /* port in address, write */
	EXIT_MSR,       /* number in address, write */
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_XSETBV,
	EXIT_SHUTDOWN,   /* triple fault */
	EXIT_PRIVILEGED, /* an instruction that is nobody's in a cell; `text`: which */
	EXIT_WINDOW,     /* the guest can take an interrupt now */
	EXIT_NOTHING,    /* the back-end dealt with it: enter again */
	EXIT_BROKEN,     /* the entry failed: code */
};

struct vcpu_exit {
	enum exit_reason reason;
	u32 vector, error;
	u64 address;
	u32 access;
	bool write;
	u64 code; /* the vendor's own, for reports */
	const char *text;
};

struct vcpu {
	struct vcpu_regs regs; /* must be first */
	/* As the last exit left them; what is changed here holds from the next entry on. */
	u64 rip, efer;
	u64 event;     /* to be delivered: EVENT_*, error code << 32; 0: none */
	u32 length;    /* of the instruction that exited */
	u32 interrupt; /* vector to be delivered once the guest can take it, 0: none */
	bool user;     /* it was in ring 3 */
	bool skipped;  /* rip was moved on */
	bool flush;    /* cached translations are to be forgotten */

	struct cell *cell;
	u32 index;
	enum vcpu_state state, wanted;
	void *vendor; /* the back-end's own */
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
	bool woken;                /* queued for an event, not at the end of its slice */
	u32 queue;                 /* which one */
	u32 timer_slot;            /* place in the timer heap + 1; 0: not there */
	u64 ready_ns;              /* when it was queued */
	u64 period_start, used_ns; /* budget accounting */
	u64 cpu_ns;
};

/* Events for a guest; SVM and VMX have the same format: APM vol. 2, 15.20, SDM vol. 3, table
 * 25-17. */
#define EVENT_VALID      (1u << 31)
#define EVENT_ERROR_CODE (1u << 11)
#define EVENT_TYPE(e)    ((e) >> 8 & 7)
#define EVENT_INTERRUPT  (0u << 8)
#define EVENT_EXCEPTION  (3u << 8)

#define MSR_EFER   0xc0000080u
#define EFER_GUEST 0xd01ull /* SCE, LME, LMA, NXE: what guests see */
#define EFER_LONG  0x500ull /* LME, LMA: they stay */

/* MSRs a guest kernel has for itself; the first ones neither VMCS nor host switch. */
#define OWN_MSRS          11
#define OWN_MSRS_UNLOADED 5
extern const u32 own_msrs[OWN_MSRS];
#define MSR_FS_BASE 0xc0000100u /* native cells too: canaries of static libraries */
#define MSR_GS_BASE 0xc0000101u

struct vcpu_ops {
	const char *name;
	const struct table_format *format;
	bool vmcall; /* hypercalls are VMCALL, not VMMCALL */
	bool (*supported)(void);
	bool (*cpu_init)(struct cpu *cpu);
	/* May be NULL; recovery: this CPU may have been half-way into a guest. */
	void (*host_reset)(void);
	bool (*create)(struct vcpu *v); /* false: no memory */
	void (*destroy)(struct vcpu *v);
	/* State at entry: 64-bit, ring 0, paging with tables at cr3, interrupts off. */
	void (*reset)(struct vcpu *v, u64 rsp, gpa_t cr3);
	/* Run until an exit, decoded. Without the nucleus lock, FPU loaded, interrupts off. */
	void (*run)(struct vcpu *v, struct vcpu_exit *exit);
	void (*leave)(struct vcpu *v); /* may be NULL; it may go on at another CPU */
};

extern const struct vcpu_ops svm_ops, vmx_ops;
extern const struct vcpu_ops *vcpu_ops; /* the chosen one */

bool vm_hypervisor_init(void);     /* choose, and prepare the boot CPU; says what */
bool vm_hypervisor_init_cpu(void); /* every other CPU */

/* All below need the nucleus lock. */
bool vcpu_create(struct vcpu *v, struct cell *cell, u32 index);
void vcpu_destroy(struct vcpu *v); /* no CPU has it loaded */
void vcpu_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3, u64 rdi, u64 rsi);

/* Run it on this CPU until it must stop, and act on the exit. Lock held before and after, not
 * while in guest mode. */
void vcpu_run(struct vcpu *v);
void vcpu_leave(struct vcpu *v);                    /* this CPU turns to something else */
void vcpu_skip(struct vcpu *v);                     /* step over the instruction that exited */
void vcpu_inject_fault(struct vcpu *v, u32 vector); /* error code 0 where there is one */

#define PORTS_PAGES 3 /* SVM looks at one bit of the third */
/* I/O ports. The bitmap of a vCPU's cell: three pages, a bit for each, set: it exits. */
hpa_t vcpu_ports(const struct vcpu *v);

/* cpuid.c: CPUID as cells see it. */
struct cpuid cpuid_filter(struct vcpu *v, u32 leaf, u32 sub);
/* exits.c: act on an exit. Lock held. */
void vcpu_handle_exit(struct vcpu *v, const struct vcpu_exit *exit);

extern u64 vcpu_shootdowns; /* IPIs sent to make CPUs forget translations */

/* Stop every CPU that runs a vCPU of the cell and keep it out until the lock is released. */
void cell_quiesce(struct cell *cell);

#endif
