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
	lock->owner++;
}
void spin_unlock(struct spinlock *lock)
{
	lock->owner--;
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
void vector_set(u32 vector, vector_handler handler, void *arg)
{
}
