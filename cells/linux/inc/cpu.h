/* SPDX-License-Identifier: ISC */
/*
 * The processor as the guest kernel sees it: saved registers, the per-vCPU block that GS
 * points to in kernel mode, control registers and MSRs, hypercalls.
 */
#ifndef LX_CPU_H
#define LX_CPU_H

#include "cells/linux/inc/base.h"
#include "d0/abi.h"

#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UDATA 0x23
#define SEL_UCODE 0x2b
#define SEL_TSS   0x30

#define RFL_TF 0x100ull
#define RFL_IF 0x200ull
#define RFL_DF 0x400ull
#define RFL_NT 0x4000ull
#define RFL_AC 0x40000ull
/* Flags that a program may set for itself. */
#define RFL_USER 0x250dd5ull /* CF PF AF ZF SF TF DF OF AC ID */

#define VEC_UPCALL 0xf0 /* the nucleus's events */

/* User registers on entry, in the order of struct user_regs_struct. */
struct regs {
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	u64 rax, rcx, rdx, rsi, rdi;
	u64 orig_rax; /* syscall number; -1 after an exception or a restart decision */
	u64 rip, cs, rflags, rsp, ss;
};

struct thread;
struct mm;

/* Per-vCPU block. boot/entry.S knows the first fields by offset. */
struct cpu {
	struct cpu *self;              /* 0 */
	u64 kernel_rsp;                /* 8: top of the current thread's kernel stack */
	u64 user_rsp;                  /* 16: scratch of the syscall entry */
	struct thread *current_thread; /* 24 */
	struct thread *idle;
	struct thread *dead; /* whose stack can be freed once we are off it */
	volatile struct d0_events *events;
	u32 number;
	bool need_resched;
	u64 slice_end;
	u64 timer_set; /* when the nucleus calls this vCPU at the latest; NEVER */
	u64 idle_ns, user_ns, system_ns, switches;
	struct mm *mm_loaded; /* whose root is in CR3; NULL: the kernel's own */
	u32 requests;         /* REQ_* of inc/smp.h */
	bool outside;         /* in its program: proc/smp.c */
	bool resting, roused; /* in the nucleus; has been called from there */
	bool online;
	u64 maps_seen;
	u8 fault_stack[2048] __attribute__((aligned(16))); /* of a double fault */
	u64 gdt[8];
	struct {
		u32 pad0;
		u64 rsp[3];
		u64 pad1;
		u64 ist[7];
		u64 pad2;
		u16 pad3, iomap;
	} __attribute__((packed)) tss;
};

static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(c));
	return c;
}
#define current (this_cpu()->current_thread)

static inline u64 rdmsr(u32 n)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(n));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 n, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(n), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 read_cr2(void)
{
	u64 v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}
static inline u64 read_cr3(void)
{
	u64 v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
static inline void write_cr3(u64 v)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}
static inline u64 read_cr4(void)
{
	u64 v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static inline void write_cr4(u64 v)
{
	__asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}
static inline u64 read_cr0(void)
{
	u64 v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
static inline void write_cr0(u64 v)
{
	__asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}
static inline void invlpg(u64 va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(sub));
}

#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_FMASK          0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

extern const volatile struct d0_info *d0_info;
extern bool cpu_smap;

/* Virtual address (direct map) of a guest-physical one, and back. */
static inline void *phys_ptr(u64 pa)
{
	return (void *)(pa + D0_HIGH_OFFSET);
}
static inline u64 phys_of(const void *p)
{
	return (u64)p - D0_HIGH_OFFSET;
}

struct hc_result {
	s64 value;
	u64 second;
};
struct hc_result hc_call(u32 number, u64 a, u64 b, u64 c);

void cpu_init(struct cpu *c, u32 number);
/* Take pending events of this vCPU: channels, timer, configuration, stop. */
void events_take(void);
void event_channel_handler(u32 channel, void (*fn)(void *arg), void *arg);
const volatile struct d0_channel *channel_entry(u32 channel);

#endif
