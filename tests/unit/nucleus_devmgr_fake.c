/* SPDX-License-Identifier: ISC */
#include "tests/unit/nucleus_devmgr_fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/memory_regions/memory_regions.h"

u8 *fake_ram;
u64 fake_base;
u64 direct_base;
struct cpu cpus[CPUS_MAX];

/* Allocated anew, so that ASan sees reads beyond its end. */
void fake_reset(void)
{
	free(fake_ram);
	fake_ram = calloc(1, FAKE_RAM);
	fake_base = 0x100000;
	direct_base = (u64)fake_ram - fake_base;
}

static void *reach(hpa_t base, u64 size)
{
	if (base.v < fake_base || base.v - fake_base > FAKE_RAM ||
	    size > FAKE_RAM - (base.v - fake_base))
		return NULL;
	return fake_ram + (base.v - fake_base);
}

const void *firmware_map(hpa_t base, u64 size)
{
	return reach(base, size);
}

volatile void *mmio_map(hpa_t base, u64 size)
{
	return reach(base, size);
}

void n_print(const char *fmt, ...)
{
	(void)fmt;
}

void n_panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void spin_lock(struct spinlock *lock)
{
	lock->held++;
}
void spin_unlock(struct spinlock *lock)
{
	lock->held--;
}
void nucleus_lock(void)
{
}
void nucleus_unlock(void)
{
}
bool nucleus_lock_held(void)
{
	return true;
}
static struct {
	vector_handler handler;
	void *arg;
} vectors[256];

void vector_set(u32 vector, vector_handler handler, void *arg)
{
	vectors[vector].handler = handler;
	vectors[vector].arg = arg;
}

void fake_vector_fire(u32 vector)
{
	if (vectors[vector].handler)
		vectors[vector].handler(vector, vectors[vector].arg);
}

static u32 frames_out;

u32 fake_frames_out(void)
{
	return frames_out;
}

/* Frames come from the end of the fake memory, one place each: tests need few. */
#define FAKE_FRAMES 16
static bool frame_taken[FAKE_FRAMES];

hpa_t frames_alloc(u32 order)
{
	for (u32 i = 0; order == 0 && i < FAKE_FRAMES; i++) {
		u64 off = FAKE_RAM - (i + 1) * PAGE_SIZE;
		if (frame_taken[i])
			continue;
		frame_taken[i] = true;
		frames_out++;
		memset(fake_ram + off, 0, PAGE_SIZE);
		return HPA(fake_base + off);
	}
	return HPA_NONE;
}

void frames_free(hpa_t base, u32 order)
{
	u64 i = (fake_base + FAKE_RAM - base.v) / PAGE_SIZE - 1;

	if (order || i >= FAKE_FRAMES || !frame_taken[i])
		n_panic("free of a frame that is free");
	frame_taken[i] = false;
	frames_out--;
}
