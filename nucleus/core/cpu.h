/* SPDX-License-Identifier: ISC */
/* The CPU the code runs on: per-CPU data, registers, ports, vectors. */
#ifndef NUCLEUS_CORE_CPU_H
#define NUCLEUS_CORE_CPU_H

#include "nucleus/core/types.h"

#define CPUS_MAX 16

struct vcpu;
struct spinlock;

/* Per-CPU data, found through GS. */
struct cpu {
	struct cpu *self; /* must be first: %gs:0 */
	u32 index;        /* 0 = boot CPU */
	u32 apic_id;
	u64 idle_ns, timer_deadline;
	u64 interrupts;
	u64 canary; /* at %fs:0x28, where the stack protector of libraries looks */
	bool online;
	bool idle;
	bool in_guest; /* set under the lock; cleared by the back-end right after the exit */
	struct vcpu *current; /* what this CPU schedules; also while it acts on an exit */
	struct vcpu *running; /* in guest mode, on the way there or back */
	struct vcpu *fpu_owner;
	u64 stack_top;            /* where recovery begins anew */
	struct spinlock *leaf[4]; /* leaf locks held, for recovery to let go */
	u32 leaves;
	bool interrogated; /* another CPU finds that this one is stuck: an NMI follows */
	bool resched;      /* set by other CPUs under the nucleus lock */
	void *vendor;      /* page(s) of the svm/vmx back-end */
	u64 handover;      /* sched.c; D0_NEVER: nobody waits for this CPU */
	u64 kicked_ns;     /* when it was sent for while idle; 0: it was not */
	u32 next_asid, asid_generation;
	u32 progress, seen, stuck; /* the watchdog's, recovery.c */
};

_Static_assert(offsetof(struct cpu, canary) == 0x28, "System V ABI, stack protector");

extern struct cpu cpus[CPUS_MAX];
extern u32 cpu_count;

#ifndef D0_NUCLEUS
struct cpu *cpu_self(void); /* the fake arch of the host's unit tests */
#else
static inline struct cpu *cpu_self(void)
{
	struct cpu *c;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}
#endif

/* Vectors in host mode. */
enum {
	VECTOR_NMI = 2,
	VECTOR_DEVICE_FIRST = 0x30, /* device interrupts: irq.c hands them out */
	VECTOR_DEVICE_LAST = 0xdf,
	VECTOR_TIMER = 0xf0,  /* LAPIC timer */
	VECTOR_KICK = 0xf1,   /* another CPU wants this one to look at its queue; no handler */
	VECTOR_SERIAL = 0xf2, /* COM1 input */
	VECTOR_SPURIOUS = 0xff,
};
/* Handlers run with interrupts off, from the idle halt or just after a VM exit, never
 * with the nucleus lock held; they may take it. */
typedef void (*vector_handler)(u32 vector, void *arg);
void vector_set(u32 vector, vector_handler handler, void *arg);

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}
struct cpuid {
	u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid r;
	__asm__ volatile("cpuid"
			 : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
			 : "a"(leaf), "c"(sub));
	return r;
}
/* inb(port), outb(port, v), and so on for words and longs. */
#define PORT_ACCESS(type, suffix)                                                \
	static inline void out##suffix(u16 port, type v)                         \
	{                                                                        \
		__asm__ volatile("out" #suffix " %0, %1" ::"a"(v), "Nd"(port));  \
	}                                                                        \
	static inline type in##suffix(u16 port)                                  \
	{                                                                        \
		type v;                                                          \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(v) : "Nd"(port)); \
		return v;                                                        \
	}
PORT_ACCESS(u8, b)
PORT_ACCESS(u16, w)
PORT_ACCESS(u32, l)

/* Registers in memory. */
#define MMIO_ACCESS(bits)                                                 \
	static inline void mmio_write##bits(volatile void *at, u##bits v) \
	{                                                                 \
		*(volatile u##bits *)at = v;                              \
	}                                                                 \
	static inline u##bits mmio_read##bits(const volatile void *at)    \
	{                                                                 \
		return *(const volatile u##bits *)at;                     \
	}
MMIO_ACCESS(16)
MMIO_ACCESS(32)
MMIO_ACCESS(64)

static inline void cpu_relax(void)
{
	__asm__ volatile("pause");
}

#endif
