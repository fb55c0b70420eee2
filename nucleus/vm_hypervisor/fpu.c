/* SPDX-License-Identifier: ISC */
/* See fpu.h. Areas are one page; XSAVE is among the things D0 needs. */
#include <string.h>
#include "nucleus/sync/cell.h"
#include "nucleus/vm_hypervisor/fpu.h"

static bool ready;
u64 fpu_features = 3; /* x87, SSE */
u32 fpu_area_size = 512 + 64;

static u64 xcr0_read(void)
{
	u32 lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (u64)hi << 32;
}

/* Reading costs less than writing what is there already. */
static void xcr0_write(u64 v)
{
	if (xcr0_read() != v)
		__asm__ volatile("xsetbv" ::"c"(0), "a"((u32)v), "d"((u32)(v >> 32)));
}

void fpu_init(void)
{
	if (cpuid(0xd, 0).a & 4) { /* AVX; wider state is not offered */
		fpu_features |= 4;
		fpu_area_size = 512 + 64 + 256;
	}
	ready = true;
}

void fpu_init_cpu(void)
{
	xcr0_write(fpu_features);
}

/*
 * What the guest has in XCR0. XSETBV is intercepted and checked, but QEMU's TCG (7.2) carries
 * it out without the intercept: so the register is what counts while it is the guest's.
 */
u64 fpu_xcr0(struct vcpu *v)
{
	return cpu_self()->fpu_owner != v ? v->xcr0 : (v->xcr0 = xcr0_read() & fpu_features);
}

void fpu_reset(struct vcpu *v)
{
	if (v->holder && v->holder->fpu_owner == v)
		v->holder->fpu_owner = NULL; /* on its way out of the life before */
	memset(v->fpu, 0, PAGE_SIZE);
	*(u16 *)v->fpu = 0x37f;               /* FCW */
	*(u32 *)((u8 *)v->fpu + 24) = 0x1f80; /* MXCSR */
	*(u64 *)((u8 *)v->fpu + 512) = 3;     /* XSTATE_BV: x87 and SSE are in the area */
	v->xcr0 =
	    v->cell->high ? fpu_features & 3 : fpu_features; /* to be changed by a kernel */
}

/* Registers of the owner to its area; XCR0 must be the host's to see all of them. */
static void save_owner(struct cpu *cpu)
{
	if (!cpu->fpu_owner)
		return;
	fpu_xcr0(cpu->fpu_owner);
	xcr0_write(fpu_features);
	__asm__ volatile("xsave64 (%0)" ::"r"(cpu->fpu_owner->fpu), "a"((u32)fpu_features),
			 "d"(0)
			 : "memory");
	cpu->fpu_owner = NULL;
}

void fpu_load(struct vcpu *v)
{
	struct cpu *cpu = cpu_self();
	if (cpu->fpu_owner == v)
		return;
	save_owner(cpu);
	xcr0_write(fpu_features);
	__asm__ volatile("xrstor64 (%0)" ::"r"(v->fpu), "a"((u32)fpu_features), "d"(0)
			 : "memory");
	xcr0_write(v->xcr0);
	cpu->fpu_owner = v;
}

void fpu_switch_xcr0(struct vcpu *v)
{
	if (cpu_self()->fpu_owner == v)
		xcr0_write(v->xcr0);
}

void fpu_put(void)
{
	save_owner(cpu_self());
}

void fpu_nucleus_begin(void)
{
	if (ready)
		save_owner(cpu_self());
}
