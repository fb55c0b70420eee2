/* SPDX-License-Identifier: ISC */
/*
 * Bringing a vCPU into the guest kernel's own state: descriptor tables, SYSCALL, control
 * registers. And the path from the nucleus's events to their handlers.
 */
#include "cells/linux/inc/duty.h"
#include "cells/linux/inc/task.h"

const volatile struct d0_info *d0_info;
bool cpu_smap;
extern const u64 vector_table[33];

struct idt_gate {
	u16 off0, sel;
	u8 ist, type;
	u16 off1;
	u32 off2, zero;
};
_Static_assert(sizeof(struct idt_gate) == 16, "IDT gate (Intel SDM 3A 6.14.1)");
static struct idt_gate idt[256];

struct table_ptr {
	u16 limit;
	u64 base;
} __attribute__((packed));

struct hc_result hc_call(u32 number, u64 a, u64 b, u64 c)
{
	struct hc_result r;
	register u64 rdx __asm__("rdx") = c;

	if (d0_info->flags & D0_INFO_VMX)
		__asm__ volatile("vmcall"
				 : "=a"(r.value), "+r"(rdx)
				 : "a"((u64)number), "D"(a), "S"(b)
				 : "memory");
	else
		__asm__ volatile("vmmcall"
				 : "=a"(r.value), "+r"(rdx)
				 : "a"((u64)number), "D"(a), "S"(b)
				 : "memory");
	r.second = rdx;
	return r;
}

static void gate_set(u32 n, u64 addr, u32 dpl, u32 ist)
{
	idt[n] = (struct idt_gate){.off0 = (u16)addr,
				   .sel = SEL_KCODE,
				   .ist = (u8)ist,
				   .type = (u8)(0x8e | dpl << 5),
				   .off1 = (u16)(addr >> 16),
				   .off2 = (u32)(addr >> 32)};
}

static void idt_fill(void)
{
	for (u32 i = 0; i < 32; i++)
		gate_set(i, vector_table[i], i == 3 || i == 4 ? 3 : 0, i == 8 ? 1 : 0);
	gate_set(VEC_UPCALL, vector_table[32], 0, 0);
}

static void load_tables(struct cpu *c)
{
	u64 tss = (u64)&c->tss;
	struct table_ptr gdtr = {sizeof(c->gdt) - 1, (u64)c->gdt};
	struct table_ptr idtr = {sizeof(idt) - 1, (u64)idt};

	c->gdt[1] = 0x00af9b000000ffffull;
	c->gdt[2] = 0x00cf93000000ffffull;
	c->gdt[3] = 0x00cffb000000ffffull; /* 32-bit user code: SYSRET's base, not used */
	c->gdt[4] = 0x00cff3000000ffffull;
	c->gdt[5] = 0x00affb000000ffffull;
	c->gdt[6] = (sizeof(c->tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
		    (tss >> 24 & 0xff) << 56;
	c->gdt[7] = tss >> 32;
	c->tss.iomap = sizeof(c->tss);
	c->tss.ist[0] = (u64)(c->fault_stack + sizeof(c->fault_stack));
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %2\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovl %3, %%eax\n\t"
			 "movl %%eax, %%ds\n\t"
			 "movl %%eax, %%es\n\t"
			 "movl %%eax, %%ss\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "movl %%eax, %%fs\n\t"
			 "movl %%eax, %%gs\n\t"
			 "lidt %1\n\t"
			 "movw %4, %%ax\n\t"
			 "ltr %%ax"
			 :
			 : "m"(gdtr), "m"(idtr), "i"(SEL_KCODE), "i"(SEL_KDATA), "i"(SEL_TSS)
			 : "rax", "memory");
}

#define CR0_MP       2ull
#define CR0_EM       4ull
#define CR0_TS       8ull
#define CR0_NE       0x20ull
#define CR0_WP       0x10000ull
#define CR4_OSFXSR   0x200ull
#define CR4_OSXMM    0x400ull
#define CR4_UMIP     0x800ull
#define CR4_FSGSBASE 0x10000ull
#define CR4_SMEP     0x100000ull
#define CR4_SMAP     0x200000ull

void cpu_init(struct cpu *c, u32 number)
{
	u32 id[4], max[4];
	u64 cr4 = read_cr4();

	c->self = c;
	c->number = number;
	if (number == 0)
		idt_fill();
	load_tables(c);
	wrmsr(MSR_GS_BASE, (u64)c);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	write_cr0((read_cr0() | CR0_MP | CR0_NE | CR0_WP) & ~(CR0_EM | CR0_TS));
	cr4 |= CR4_OSFXSR | CR4_OSXMM;
	cr4 &= ~CR4_FSGSBASE;
	cpuid(0, 0, max);
	if (max[0] >= 7) {
		cpuid(7, 0, id);
		if (id[1] & 1u << 7)
			cr4 |= CR4_SMEP;
		if (id[1] & 1u << 20) {
			cr4 |= CR4_SMAP;
			cpu_smap = true;
		}
		if (id[2] & 1u << 2)
			cr4 |= CR4_UMIP;
	}
	if (!number && (~cr4 & (CR4_SMEP | CR4_SMAP)))
		printk("warning: this CPU can't keep the kernel from user memory (%s%s)",
		       cr4 & CR4_SMEP ? "" : "no SMEP ", cr4 & CR4_SMAP ? "" : "no SMAP");
	write_cr4(cr4);
	fpu_cpu_init();
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 | 1u << 11);
	wrmsr(MSR_STAR, (u64)0x1b << 48 | (u64)SEL_KCODE << 32);
	wrmsr(MSR_LSTAR, (u64)syscall_entry);
	wrmsr(MSR_FMASK, RFL_IF | RFL_DF | RFL_TF | RFL_AC | RFL_NT);
	c->events = (volatile struct d0_events *)phys_ptr(d0_info->events) + number;
}

/* ---- Events ---- */
/* As many as the cell has channels: most have a handful, the management cell a thousand. */
static struct channel_handler {
	void (*fn)(void *arg);
	void *arg;
} * channel_handler;

void event_channel_handler(u32 channel, void (*fn)(void *arg), void *arg)
{
	BUG_ON(channel >= d0_info->channels);
	if (!channel_handler)
		channel_handler = kalloc(d0_info->channels * sizeof(*channel_handler));
	BUG_ON(!channel_handler);
	channel_handler[channel].fn = fn;
	channel_handler[channel].arg = arg;
}

const volatile struct d0_channel *channel_entry(u32 channel)
{
	if (channel >= d0_info->channels)
		return NULL;
	return (const volatile struct d0_channel *)((u64)d0_info + d0_info->channel_off) +
	       channel;
}

void channels_config(void); /* boot/channels.c */
void stop_requested(void);  /* boot/main.c */

void events_take(void)
{
	struct cpu *c = this_cpu();
	u64 words = 0;

	if (c->events->words)
		words = __atomic_exchange_n(&c->events->words, 0, __ATOMIC_ACQ_REL);
	for (; words; words &= words - 1) {
		u32 w = (u32)__builtin_ctzll(words);
		u64 bits;

		bits = __atomic_exchange_n(&c->events->channel[w], 0, __ATOMIC_ACQ_REL);
		while (bits) {
			u32 n = w * 64 + (u32)__builtin_ctzll(bits);

			bits &= bits - 1;
			if (channel_handler && n < d0_info->channels && channel_handler[n].fn)
				channel_handler[n].fn(channel_handler[n].arg);
		}
	}
	if (c->events->flags) {
		u64 flags = __atomic_exchange_n(&c->events->flags, 0, __ATOMIC_ACQ_REL);

		if (flags & D0_EV_TIMER)
			c->timer_set = NEVER;
		if (flags & D0_EV_CONFIG)
			channels_config();
		if (flags & D0_EV_CONFIG_VERIFY)
			duty_due = true;
		if (flags & D0_EV_STOP)
			stop_requested();
	}
}
