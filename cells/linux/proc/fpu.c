/* SPDX-License-Identifier: ISC */
/*
 * The program's vector registers. The kernel uses none, so they are saved only when
 * threads change. FXSAVE covers x87 and SSE; CR4.OSXSAVE stays off, which tells programs
 * not to use wider ones.
 */
#include "cells/linux/inc/task.h"

static u8 fresh[512] __attribute__((aligned(16)));

void fpu_init(void)
{
	u32 mxcsr = 0x1f80;

	__asm__ volatile("fninit\n\tldmxcsr %0\n\tfxsave64 %1" : : "m"(mxcsr), "m"(fresh));
	memset(fresh + 32, 0, 512 - 32);
}

void fpu_save(u8 *area)
{
	__asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

void fpu_restore(const u8 *area)
{
	__asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

void fpu_fresh(u8 *area)
{
	memcpy(area, fresh, 512);
}

u32 fpu_size(void)
{
	return 512;
}
