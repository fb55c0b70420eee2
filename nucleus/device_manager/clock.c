/* SPDX-License-Identifier: ISC */
/*
 * Time.
 *
 * Problem: cells want nanoseconds without leaving guest mode, and boot wants no delay.
 * Model: one TSC rate for the whole machine, found once; time is a multiplication. What
 * CPUID or a hypervisor tells is not always true and on many CPUs not told: the TSC is measured
 * against the best counter there is: HPET, ACPI PM timer, 8254. A measurement reads the counter
 * between two TSC reads and keeps the tightest of a few tries, so that an interrupted read (an
 * SMI, a busy host under an emulator) does not spoil it: 8 ms then give better than
 * 50 ppm.
 * Failure: with no source at all 1 GHz is assumed, and said.
 */
#include "nucleus/device_manager/clock.h"

#include "d0/abi.h"
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/memory_regions/memory_regions.h"

#define SECOND       1000000000ull
#define MEASURE_NS   8000000ull
#define PM_TIMER_HZ  3579545ull
#define PIT_HZ       1193182ull
#define GUESS_HZ     SECOND
#define SCALE_BITS   47
#define READ_TRIES   5
#define SPIN_LIMIT   10000000u /* polls before a counter counts as dead */
#define HPET_PERIOD  4         /* femtoseconds, upper half of the capabilities */
#define HPET_CONFIG  0x10
#define HPET_COUNTER 0xf0
#define HPET_SLOWEST 100000000u /* fs, by the HPET specification 1.0a, 2.3.4 */
#define PIT_CHANNEL2 0x42
#define PIT_COMMAND  0x43
#define PIT_GATE     0x61

static struct {
	u64 tsc_base, hz;
	u64 mult, inverse_mult; /* TSC -> ns, ns -> TSC */
	u32 shift, inverse_shift;
	s64 wall_at_zero;
} clk;

void clock_scale(u64 num, u64 den, u64 *mult, u32 *shift)
{
	u64 q = num / den, r = num % den;
	u32 bits = 0;

	/* Long division, a bit at a time: no 128-bit division in the nucleus. */
	while (q < 1ull << SCALE_BITS && bits < 63) {
		r <<= 1;
		q = q << 1 | (r >= den);
		r = r >= den ? r - den : r;
		bits++;
	}
	*mult = q;
	*shift = bits;
}

/* ---- a free-running counter to measure against ---- */

struct counter {
	u32 (*read)(void);
	u32 mask; /* of valid bits */
	u64 hz;
	const char *name;
};

static volatile u8 *hpet;
static u16 pm_port;

static u32 hpet_read(void)
{
	return mmio_read32(hpet + HPET_COUNTER);
}

static bool hpet_setup(struct counter *c)
{
	if (acpi.hpet.v == 0)
		return false;
	hpet = mmio_map(HPA(ALIGN_DOWN(acpi.hpet.v, PAGE_SIZE)), PAGE_SIZE);
	if (!hpet)
		return false;
	hpet += acpi.hpet.v & PAGE_MASK;
	u32 period = mmio_read32(hpet + HPET_PERIOD);
	if (period == 0 || period > HPET_SLOWEST)
		return false;
	mmio_write32(hpet + HPET_CONFIG, mmio_read32(hpet + HPET_CONFIG) | 1);
	*c = (struct counter){hpet_read, ~0u, 1000000 * SECOND / period, "HPET"};
	return true;
}

static u32 pm_read(void)
{
	return inl(pm_port);
}

static bool pm_timer_setup(struct counter *c)
{

	if (!acpi.pm_timer.io || acpi.pm_timer.address == 0)
		return false;
	pm_port = (u16)acpi.pm_timer.address;
	*c = (struct counter){pm_read, acpi.pm_timer_32 ? ~0u : 0xffffff, PM_TIMER_HZ,
			      "ACPI PM timer"};
	return true;
}

/* Channel 2 counts down from 65536 again and again; its speaker stays off. */
static u32 pit_read(void)
{
	outb(PIT_COMMAND, 0x80); /* latch channel 2 */
	u8 low = inb(PIT_CHANNEL2);
	return ~((u32)inb(PIT_CHANNEL2) << 8 | low) & 0xffff;
}

static bool pit_setup(struct counter *c)
{
	outb(PIT_GATE, (inb(PIT_GATE) & ~2u) | 1);
	outb(PIT_COMMAND, 0xb4); /* channel 2, low then high byte, rate generator */
	outb(PIT_CHANNEL2, 0);
	outb(PIT_CHANNEL2, 0);
	*c = (struct counter){pit_read, 0xffff, PIT_HZ, "8254"};
	return true;
}

/* The counter and the TSC at one moment. */
static u32 sample(const struct counter *c, u64 *tsc)
{
	u64 best = ~0ull;
	u32 value = 0;

	for (u32 i = 0; i < READ_TRIES; i++) {
		u64 before = rdtsc();
		u32 v = c->read();
		u64 width = rdtsc() - before;
		if (width < best) {
			best = width;
			value = v;
			*tsc = before + width / 2;
		}
	}
	return value;
}

/* 0: the counter does not count. */
static u64 measure(const struct counter *c, u64 ns)
{
	u64 start_tsc, end_tsc, wanted = ns * c->hz / SECOND;
	u32 start = sample(c, &start_tsc), spent = 0;

	for (u32 spins = 0; spent < wanted; spins++) {
		spent = (c->read() - start) & c->mask;
		if (spins == SPIN_LIMIT || (spins == 1000 && spent == 0))
			return 0;
	}
	spent = (sample(c, &end_tsc) - start) & c->mask;
	if (spent == 0 || end_tsc <= start_tsc)
		return 0;
	return (end_tsc - start_tsc) * c->hz / spent;
}

/* By the best counter there is. */
static u64 find_rate(const char **how)
{
	static bool (*const setups[])(struct counter *) = {hpet_setup, pm_timer_setup,
							   pit_setup};
	struct counter c = {0};

	for (u32 i = 0; i < ARRAY_SIZE(setups); i++) {
		u64 hz = setups[i](&c) ? measure(&c, MEASURE_NS) : 0;
		*how = c.name;
		if (hz >= 1000000 && hz <= 64 * SECOND)
			return hz;
	}
	*how = "guess";
	return GUESS_HZ;
}

void clock_init(u64 entry_tsc)
{
	bool invariant =
	    cpuid(0x80000000, 0).a >= 0x80000007 && cpuid(0x80000007, 0).d & 1u << 8;
	const char *how;
	s64 unix_seconds = 0;

	clk.tsc_base = entry_tsc;
	clk.hz = find_rate(&how);
	clock_scale(SECOND, clk.hz, &clk.mult, &clk.shift);
	clock_scale(clk.hz, SECOND, &clk.inverse_mult, &clk.inverse_shift);
	n_print("clock: TSC %llu kHz by %s%s", (unsigned long long)clk.hz / 1000, how,
		invariant ? ", invariant" : ", not invariant: time may drift");
	if (!rtc_read(&unix_seconds))
		n_print("clock: no real-time clock, the date is unknown");
	clk.wall_at_zero = unix_seconds * (s64)SECOND - (s64)clock_ns();
}

u64 clock_ns(void)
{
	return clock_apply(rdtsc() - clk.tsc_base, clk.mult, clk.shift);
}

u64 clock_tsc_at(u64 ns)
{
	unsigned __int128 ticks = (unsigned __int128)ns * clk.inverse_mult >> clk.inverse_shift;

	ticks += clk.tsc_base + 1; /* rounded up: not before ns */
	return ticks > ~0ull ? ~0ull : (u64)ticks;
}

void clock_delay_us(u64 us)
{
	u64 end = clock_ns() + us * 1000;

	while (clock_ns() < end)
		cpu_relax();
}

void clock_fill(struct d0_clock *out)
{
	u32 seq = out->seq;

	__atomic_store_n(&out->seq, seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	out->shift = clk.shift;
	out->mult = clk.mult;
	out->tsc_base = clk.tsc_base;
	out->tsc_hz = clk.hz;
	out->wall_ns = clk.wall_at_zero;
	__atomic_store_n(&out->seq, seq + 2, __ATOMIC_RELEASE);
}
