/* SPDX-License-Identifier: ISC */
/*
 * The program's vector registers. The kernel uses none, so they are saved only when
 * threads change, all of them at once.
 *
 * Where the nucleus offers XSAVE, programs have it too: XCR0 gets every feature that the
 * nucleus switches (x87, SSE, AVX; CPUID leaf 0xd says which and how much room they take) and
 * areas are in the standard format (Intel SDM 1, 13.4): 512 bytes as of FXSAVE, the header,
 * the rest. Elsewhere it is FXSAVE, and programs see no OSXSAVE.
 *
 * In the frame of a signal handler the area lies as Linux lays it (asm/sigcontext.h): what
 * FXSAVE leaves to software says that there is more and how much, and a second magic number
 * stands behind it. What comes back with sigreturn is the program's word: it is copied
 * once, and what XRSTOR would refuse is made good, so that it can't fault.
 */
#include "cells/linux/inc/task.h"
#include <asm/sigcontext.h>

#define CPUID_XSAVE (1u << 26)
#define CR4_OSXSAVE 0x40000ull
#define FXSAVE_SIZE 512u
#define AREA_MAX    2048u
#define MXCSR_INIT  0x1f80u

struct xsave_header {
	u64 bv, comp_bv, reserved[6];
};
_Static_assert(sizeof(struct xsave_header) == 64, "Intel SDM 1, 13.4.2");
_Static_assert(sizeof(struct _fpx_sw_bytes) == 48, "the end of FXSAVE's area");

static u8 fresh[AREA_MAX] __attribute__((aligned(64)));
static u64 features; /* 0: FXSAVE */
static u32 size = FXSAVE_SIZE, mxcsr_mask = 0xffbf;

static struct xsave_header *header(u8 *area)
{
	return (struct xsave_header *)(area + FXSAVE_SIZE);
}

/* On every vCPU, before programs run. */
void fpu_cpu_init(void)
{
	u32 id[4], d[4];

	cpuid(1, 0, id);
	if (!(id[2] & CPUID_XSAVE))
		return;
	cpuid(0xd, 0, d);
	if (d[2] > AREA_MAX || (d[0] & 3) != 3)
		return;
	write_cr4(read_cr4() | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" ::"c"(0), "a"(d[0]), "d"(d[3]));
	features = d[0] | (u64)d[3] << 32;
	size = d[2];
}

void fpu_init(void)
{
	u32 mxcsr = MXCSR_INIT, mask;

	__asm__ volatile("fninit\n\tldmxcsr %0\n\tfxsave64 %1" : : "m"(mxcsr), "m"(fresh));
	memcpy(&mask, fresh + 28, 4);
	if (mask)
		mxcsr_mask = mask;
	memset(fresh + 32, 0, sizeof(fresh) - 32);
	if (features)
		header(fresh)->bv = 3;
}

void fpu_save(u8 *area)
{
	if (features)
		__asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((u32)features),
				 "d"((u32)(features >> 32))
				 : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

void fpu_restore(const u8 *area)
{
	if (features)
		__asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((u32)features),
				 "d"((u32)(features >> 32))
				 : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

void fpu_initial(void)
{
	fpu_restore(fresh);
}

void fpu_fresh(u8 *area)
{
	memcpy(area, fresh, size);
}

/* Objects of these sizes are aligned to their size (mm/slab.c). */
u8 *fpu_alloc(void)
{
	u8 *area = kalloc(size <= 512 ? 512 : size <= 1024 ? 1024 : 2048);

	if (area)
		fpu_fresh(area);
	return area;
}

u32 fpu_size(void)
{
	return size;
}

bool fpu_extended(void)
{
	return features != 0;
}

/* ---- Signal frames ---- */
u32 fpu_frame_size(void)
{
	return features ? size + FP_XSTATE_MAGIC2_SIZE : size;
}

int fpu_frame_out(u64 to, const u8 *area)
{
	struct _fpx_sw_bytes sw = {.magic1 = FP_XSTATE_MAGIC1,
				   .extended_size = fpu_frame_size(),
				   .xfeatures = features,
				   .xstate_size = size};
	u32 magic2 = FP_XSTATE_MAGIC2;

	if (copy_out(to, area, size))
		return -EFAULT;
	if (features && (copy_out(to + FXSAVE_SIZE - sizeof(sw), &sw, sizeof(sw)) ||
			 put_user(magic2, to + size)))
		return -EFAULT;
	return 0;
}

static bool frame_is_extended(u64 from, const u8 *fx)
{
	struct _fpx_sw_bytes sw;
	u32 magic2;

	memcpy(&sw, fx + FXSAVE_SIZE - sizeof(sw), sizeof(sw));
	return features && sw.magic1 == FP_XSTATE_MAGIC1 && sw.xstate_size == size &&
	       sw.extended_size >= sw.xstate_size && !get_user(magic2, from + size) &&
	       magic2 == FP_XSTATE_MAGIC2;
}

int fpu_frame_in(u64 from)
{
	/* Not straight to the thread's area: copying may sleep, and sleeping saves there. */
	u8 area[AREA_MAX] __attribute__((aligned(64)));
	u32 mxcsr;

	if (copy_in(area, from, FXSAVE_SIZE))
		return -EFAULT;
	if (frame_is_extended(from, area)) {
		if (copy_in(area + FXSAVE_SIZE, from + FXSAVE_SIZE, size - FXSAVE_SIZE))
			return -EFAULT;
		*header(area) = (struct xsave_header){.bv = header(area)->bv & features};
	} else { /* what the frame doesn't hold is as fresh */
		memcpy(area + FXSAVE_SIZE, fresh + FXSAVE_SIZE, AREA_MAX - FXSAVE_SIZE);
	}
	memcpy(&mxcsr, area + 24, 4);
	mxcsr &= mxcsr_mask;
	memcpy(area + 24, &mxcsr, 4);
	fpu_restore(area);
	return 0;
}
