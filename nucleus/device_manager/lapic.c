/* SPDX-License-Identifier: ISC */
/*
 * The local APIC (Intel SDM vol. 3, chapter 11). One mode for all CPUs, chosen by the
 * first: x2APIC (MSRs) where the CPU has it, else xAPIC (registers in memory). The timer
 * is one-shot, by the TSC where the CPU can (TSC-deadline), else by the APIC's own
 * counter, whose rate is measured against the TSC once.
 *
 * Interrupts are off in host mode, so sending an IPI (two writes in xAPIC) needs no lock.
 */
#include "nucleus/device_manager/irq.h"

#include "d0/abi.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/memory_regions/memory_regions.h"

enum {
	APIC_ID = 0x20,
	APIC_TPR = 0x80,
	APIC_EOI = 0xb0,
	APIC_SVR = 0xf0,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

#define MSR_APIC_BASE     0x1b
#define APIC_BASE_ENABLE  (1ull << 11)
#define APIC_BASE_X2      (1ull << 10)
#define MSR_X2APIC        0x800
#define MSR_TSC_DEADLINE  0x6e0
#define LVT_MASKED        (1u << 16)
#define LVT_TSC_DEADLINE  (2u << 17)
#define ICR_PENDING       (1u << 12)
#define ICR_FIXED         (1u << 14) /* level assert, as every IPI but INIT de-assert */
#define ICR_NMI           (ICR_FIXED | 4u << 8)
#define ICR_INIT          (ICR_FIXED | 5u << 8)
#define ICR_STARTUP       (ICR_FIXED | 6u << 8)
#define ICR_OTHERS        (3u << 18)
#define SVR_ENABLE        (1u << 8)
#define DIVIDE_BY_16      3u
#define TIMER_CALIBRATION 1000000ull /* ns */

bool lapic_x2apic;
static bool deadline_mode;
static volatile u8 *regs;
static u64 timer_mult; /* ns -> counts of the APIC timer; 0: not calibrated */
static u32 timer_shift;

static u32 apic_read(u32 reg)
{
	return lapic_x2apic ? (u32)rdmsr(MSR_X2APIC + (reg >> 4)) : mmio_read32(regs + reg);
}

static void apic_write(u32 reg, u32 v)
{
	if (lapic_x2apic)
		wrmsr(MSR_X2APIC + (reg >> 4), v);
	else
		mmio_write32(regs + reg, v);
}

static void choose_mode(void)
{
	struct cpuid features = cpuid(1, 0);

	lapic_x2apic = features.c & 1u << 21;
	deadline_mode = features.c & 1u << 24;
	if (!lapic_x2apic) {
		regs = mmio_map(acpi.lapic, PAGE_SIZE);
		n_assert(regs);
	}
}

static void set_timer(void)
{
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER | (deadline_mode ? LVT_TSC_DEADLINE : 0));
	/* The mode must be in force before the deadline MSR is written (SDM 11.5.4.1). */
	__asm__ volatile("mfence" ::: "memory");
}

void lapic_init_cpu(void)
{
	if (!lapic_x2apic && !regs)
		choose_mode();
	u64 base = rdmsr(MSR_APIC_BASE);
	/* xAPIC comes first on the way from disabled to x2APIC (SDM figure 11-27). */
	if (!(base & APIC_BASE_ENABLE))
		wrmsr(MSR_APIC_BASE, base |= APIC_BASE_ENABLE);
	if (lapic_x2apic && !(base & APIC_BASE_X2))
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	/* What NMIs the board may have to say nobody here would understand; thermal and
	 * performance lines stay the firmware's. */
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED);
	apic_write(APIC_LVT_ERROR, LVT_MASKED);
	set_timer();
	apic_write(APIC_ESR, 0);
	apic_write(APIC_EOI, 0);
}

u32 lapic_id(void)
{
	u32 id = apic_read(APIC_ID);

	return lapic_x2apic ? id : id >> 24;
}

void lapic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

static void icr_send(u32 apic_id, u32 command)
{
	/* Stores before the IPI must be seen by its target: WRMSR to x2APIC orders nothing. */
	__asm__ volatile("mfence; lfence" ::: "memory");
	if (lapic_x2apic) {
		wrmsr(MSR_X2APIC + (APIC_ICR >> 4), (u64)apic_id << 32 | command);
		return;
	}
	for (u32 i = 0; i < 100000 && apic_read(APIC_ICR) & ICR_PENDING; i++)
		cpu_relax();
	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR, command);
}

void lapic_ipi(u32 apic_id, u8 vector)
{
	icr_send(apic_id, ICR_FIXED | vector);
}

void lapic_nmi_others(void)
{
	icr_send(0, ICR_OTHERS | ICR_NMI);
}

/* CPUs with nested paging need next to no pauses. */
void lapic_start_cpu(u32 apic_id, u8 page)
{
	icr_send(apic_id, ICR_INIT);
	clock_delay_us(10);
	icr_send(apic_id, ICR_STARTUP | page);
	clock_delay_us(10);
	icr_send(apic_id, ICR_STARTUP | page);
}

void lapic_timer_calibrate(void)
{
	u64 start, spent, counts;

	if (deadline_mode) {
		n_print("lapic: %s, timer by TSC deadline", lapic_x2apic ? "x2APIC" : "xAPIC");
		return;
	}
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	apic_write(APIC_TIMER_INITIAL, ~0u);
	start = clock_ns();
	do {
		spent = clock_ns() - start;
	} while (spent < TIMER_CALIBRATION);
	counts = ~0u - apic_read(APIC_TIMER_CURRENT);
	spent = clock_ns() - start;
	set_timer();
	clock_scale(MAX(counts, 1ull), spent, &timer_mult, &timer_shift);
	n_print("lapic: %s, timer by count at %llu kHz", lapic_x2apic ? "x2APIC" : "xAPIC",
		(unsigned long long)(counts * 1000000 / spent));
}

void lapic_timer_arm(u64 deadline_ns)
{
	u64 now, counts;

	if (deadline_mode) {
		wrmsr(MSR_TSC_DEADLINE, clock_tsc_at(deadline_ns));
		return;
	}
	now = clock_ns();
	counts =
	    deadline_ns > now ? clock_apply(deadline_ns - now, timer_mult, timer_shift) : 0;
	apic_write(APIC_TIMER_INITIAL, (u32)MIN(counts + 1, 0xffffffffull));
}
