/* SPDX-License-Identifier: ISC */
/*
 * User-mode clock functions. The page before this image is the nucleus's clock page
 * (struct d0_clock at an offset within it that the kernel writes into `clock_offset`).
 */
#include <stdint.h>
#include "d0/abi.h"

extern const uint8_t vvar_page[] __attribute__((visibility("hidden")));
/* Patched by the kernel in its copy of the image: offset of the clock in its page. */
__attribute__((visibility("hidden"), used, section(".vdso_offset")))
const volatile uint64_t vdso_clock_offset = 0x0d0c10c4;

/* What the container's clock differs from the machine's; the kernel changes it while we run. */
__attribute__((visibility("hidden"), used, section(".vdso_offset")))
const volatile int64_t vdso_wall_offset = 0x0d0c10c5;

struct ts {
	int64_t sec, nsec;
};

static const volatile struct d0_clock *clock_page(void)
{
	return (const volatile struct d0_clock *)(vvar_page + vdso_clock_offset);
}

static uint64_t now(int64_t *wall)
{
	const volatile struct d0_clock *c = clock_page();

	for (;;) {
		uint32_t seq = __atomic_load_n(&c->seq, __ATOMIC_ACQUIRE), lo, hi;
		uint64_t base = c->tsc_base, mult = c->mult, tsc;
		uint32_t shift = c->shift;

		*wall = c->wall_ns + vdso_wall_offset;
		__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		tsc = (uint64_t)hi << 32 | lo;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(seq & 1) && c->seq == seq)
			return (uint64_t)((unsigned __int128)(tsc - base) * mult >>
					  (shift & 127));
	}
}

static long syscall2(long n, long a, long b)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return r;
}

int __vdso_clock_gettime(int id, struct ts *t);
int __vdso_clock_gettime(int id, struct ts *t)
{
	int64_t wall;
	uint64_t ns;

	if (id != 0 && id != 1 && (id < 4 || id > 7))
		return (int)syscall2(228, id, (long)t);
	ns = now(&wall);
	if (id == 0 || id == 5)
		ns += (uint64_t)wall;
	t->sec = (int64_t)(ns / 1000000000);
	t->nsec = (int64_t)(ns % 1000000000);
	return 0;
}

int __vdso_gettimeofday(struct ts *tv, int64_t *tz);
int __vdso_gettimeofday(struct ts *tv, int64_t *tz)
{
	int64_t wall;
	uint64_t ns = now(&wall) + (uint64_t)wall;

	if (tv) {
		tv->sec = (int64_t)(ns / 1000000000);
		tv->nsec = (int64_t)(ns % 1000000000 / 1000);
	}
	if (tz)
		*tz = 0;
	return 0;
}

int64_t __vdso_time(int64_t *t);
int64_t __vdso_time(int64_t *t)
{
	int64_t wall;
	uint64_t ns = now(&wall) + (uint64_t)wall;

	if (t)
		*t = (int64_t)(ns / 1000000000);
	return (int64_t)(ns / 1000000000);
}

int __vdso_clock_getres(int id, struct ts *t);
int __vdso_clock_getres(int id, struct ts *t)
{
	return (int)syscall2(229, id, (long)t);
}

long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused);
long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
	return syscall2(309, (long)cpu, (long)node);
}
