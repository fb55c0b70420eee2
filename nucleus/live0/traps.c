/* SPDX-License-Identifier: ISC */
/*
 * Exceptions and interrupts of host mode.
 *
 * Interrupts: 256 stubs, one dispatcher, a table of handlers. Exceptions in host mode mean
 * that the nucleus itself is wrong: a flipped bit in its text or a bug. First the
 * verification ring is asked to compare the nucleus with its golden copies; if
 * that changed a page, the faulting instruction is tried again. Otherwise it is a panic.
 * Once recovery_arm() was called all that runs in the spare copy of this code.
 */
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/core/trap.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/live0/live0.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "nucleus/verify/sets.h"
#include "nucleus/verify/verify.h"

#define IST_FAULT  1
#define IST_NMI    2
#define IST_DOUBLE 3

#define CODE_SELECTOR 8
#define DATA_SELECTOR 16
#define TSS_SELECTOR  32

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_mid;
	u32 offset_high, zero;
};
_Static_assert(sizeof(struct gate) == 16, "Intel SDM vol. 3, figure 6-8");

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, iomap;
} __packed;
_Static_assert(sizeof(struct tss) == 104, "Intel SDM vol. 3, figure 8-11");

struct table_pointer {
	u16 limit;
	u64 base;
} __packed;

extern char trap_stubs[];
static struct gate idt[256] __aligned(16);
static struct {
	u64 gdt[6];
	struct tss tss;
} __aligned(16) tables[CPUS_MAX];

static struct {
	vector_handler handler;
	void *arg;
} vectors[256];

static struct cpu *panicking; /* or halted for good */
bool early_boot = true;
struct cpu cpus[CPUS_MAX];
u32 cpu_count = 1;

void vector_set(u32 vector, vector_handler handler, void *arg)
{
	n_assert(vector >= 32 && vector < 256);
	vectors[vector].arg = arg;
	__atomic_store_n(&vectors[vector].handler, handler, __ATOMIC_RELEASE);
}

void traps_init(u64 spare)
{
	for (u32 v = 0; v < 256; v++) {
		u64 at = (u64)trap_stubs + 16 * v + (v < 32 ? spare : 0);
		u8 ist = v == 2              ? IST_NMI
			 : v == 8 || v == 18 ? IST_DOUBLE
			 : v < 32            ? IST_FAULT
					     : 0;
		idt[v] = (struct gate){.offset_low = (u16)at,
				       .selector = CODE_SELECTOR,
				       .ist = ist,
				       .type = 0x8e,
				       .offset_mid = (u16)(at >> 16),
				       .offset_high = (u32)(at >> 32)};
	}
}

static void load_segments(struct cpu *cpu)
{
	u64 tss = (u64)&tables[cpu->index].tss;
	u64 *gdt = tables[cpu->index].gdt;
	gdt[1] = 0x00af9b000000ffffull;
	gdt[2] = 0x00cf93000000ffffull;
	gdt[4] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
		 (tss >> 24 & 0xff) << 56;
	gdt[5] = tss >> 32;
	struct table_pointer g = {sizeof(tables[0].gdt) - 1, (u64)gdt};
	struct table_pointer i = {sizeof(idt) - 1, (u64)idt};
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovw %w2, %%ds\n\tmovw %w2, %%es\n\tmovw %w2, %%ss\n\t"
			 "xorl %%eax, %%eax\n\tmovw %%ax, %%fs\n\tmovw %%ax, %%gs\n\t"
			 "lidt %3\n\t"
			 "ltr %w4" ::"m"(g),
			 "i"(CODE_SELECTOR), "r"(DATA_SELECTOR), "m"(i), "r"(TSS_SELECTOR)
			 : "rax", "memory");
	cpu->canary = __stack_chk_guard;
	wrmsr(0xc0000100, (u64)cpu);
	wrmsr(0xc0000101, (u64)cpu);
}

void cpu_init_this(struct cpu *cpu)
{
	cpu->self = cpu;
	cpu->index = (u32)(cpu - cpus);
	wrmsr(0xc0000101, (u64)cpu); /* locks look at it */
	struct tss *tss = &tables[cpu->index].tss;
	tss->iomap = sizeof(*tss);
	for (u32 i = IST_FAULT; i <= IST_DOUBLE; i++)
		tss->ist[i - 1] = stack_create(2);
	load_segments(cpu);
	u64 cr4;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= 1u << 7 | 1u << 18; /* PGE, OSXSAVE */
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4) : "memory");
	early_boot = false;
	cpu->online = true;
}

void trap_describe(struct trap_frame *f)
{
	/* As the manuals call them: Intel SDM vol. 3, table 6-1. */
	static const char *const name[32] = {
	    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "-",   "#TS",
	    "#NP", "#SS", "#GP", "#PF", "-",   "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
	u64 cr2;
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	n_print("nucleus: %s (vector %lu, error 0x%lx) at 0x%lx, cr2 0x%lx, cpu %u",
		name[f->vector] ? name[f->vector] : "-", f->vector, f->error,
		f->rip - image_base, cr2, cpu_self()->index);
	backtrace(f->rip, f->rbp);
}

void trap_dispatch(struct trap_frame *f)
{
	struct cpu *cpu = cpu_self();
	if (f->vector < 32) {
		if (panicking == cpu && f->vector == VECTOR_NMI)
			return;
		if (panicking)
			cpu_halt_forever();
		if (recovery_from(f))
			return;
		trap_describe(f);
		panicking = cpu; /* what an assertion asks recovery was asked */
		n_panic("exception in host mode");
	}
	cpu->interrupts++;
	vector_handler handler = __atomic_load_n(&vectors[f->vector].handler, __ATOMIC_ACQUIRE);
	if (handler)
		handler((u32)f->vector, vectors[f->vector].arg);
	if (f->vector != VECTOR_SPURIOUS)
		lapic_eoi();
}

void backtrace(u64 rip, u64 rbp)
{
	for (u32 depth = 0; depth < 24; depth++) {
		n_print("  #%u nucleus+0x%lx", depth, rip - image_base);
		hpa_t to;
		u32 perms;
		if (rbp & 7 || !space_lookup(&nucleus_space, rbp, &to, &perms) ||
		    !space_lookup(&nucleus_space, rbp + 8, &to, &perms))
			return;
		rip = ((u64 *)rbp)[1];
		u64 up = ((u64 *)rbp)[0];
		if (!rip || up <= rbp)
			return;
		rbp = up;
	}
}

void cpu_halt_forever(void)
{
	if (!panicking && !early_boot)
		panicking = cpu_self();
	for (;;)
		__asm__ volatile("cli; hlt");
}

void n_panic(const char *fmt, ...)
{
	char text[256];
	va_list ap;
	if (!panicking && nucleus_set.runs)
		__asm__ volatile("int3"); /* recovery_from() may know better */
	panicking = early_boot ? cpus : cpu_self();
	va_start(ap, fmt);
	n_vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n_print("PANIC: %s", text);
	backtrace((u64)__builtin_return_address(0), (u64)__builtin_frame_address(0));
	if (cpu_count > 1)
		lapic_nmi_others();
	if (cmdline_has("panic=exit"))
		power_off(3);
	cpu_halt_forever();
}
