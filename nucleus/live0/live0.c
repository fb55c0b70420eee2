/* SPDX-License-Identifier: ISC */
/*
 * live0: bootstrap.
 *
 * Problem: get from a boot loader's idea of a machine to a nucleus that runs relocated, in
 * tables of its own with W^X, on every CPU, with a signed set of cells started.
 *
 * Model: two stages. live0_early() runs where the loader put the image, on an identity map
 * of the first 4 GiB; it takes in what the loader says, chooses random addresses, builds
 * the nucleus's own space, relocates the image and jumps. live0_main() runs in that space
 * for good and brings up one subsystem after the other; each prints its findings.
 *
 * Invariants: after live0_enter() nothing uses the identity map. No page of the nucleus
 * is writable and executable through any mapping: the direct map has the image's text
 * and rodata read-only. Whatever is not right about the machine ends in a message and a
 * halt, never in a fault.
 *
 * Locking: one CPU until smp_start_all(); from there the nucleus lock.
 */
#include "nucleus/archive/archive.h"
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/irq.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/core/trap.h"
#include "nucleus/live0/live0.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define MAGIC_PVH 0x48565021u
#define MAGIC_MB2 0x36d76289u
#define LINK_BASE 0x200000ull
#define EARLY_TOP (4 * GiB)
#define LOW_TOP   MiB /* left to firmware, and to the trampoline of the other CPUs */

#define BOOT_STACK_PAGES 8

void live0_early(u32 magic, u64 info);
void live0_enter(void);

u64 image_base = LINK_BASE;
struct space nucleus_space;
u64 boot_tsc;
static u64 stack_window, mmio_next;

void __stack_chk_fail(void);
u64 __stack_chk_guard = 0x595e9fbd94fda766ull;

void __noreturn __stack_chk_fail(void)
{
	n_panic("stack overflow noticed by its canary");
}

static void __noreturn stop(const char *why)
{
	n_print("HALT: %s", why);
	cpu_halt_forever();
}

hpa_t image_phys(void)
{
	return HPA(LINK_BASE);
}

struct rela {
	u64 offset, info;
	s64 addend;
};
extern struct rela rela_start[], rela_end[];

/* Write every relative relocation for an image at `base`; text has none. */
static void relocate(u64 base)
{
	for (struct rela *r = rela_start; r < rela_end; r++)
		if ((r->info & 0xffffffff) == 8) /* R_X86_64_RELATIVE */
			*(u64 *)r->offset = (u64)r->addend - LINK_BASE + base;
}

void nucleus_map(u64 at, hpa_t to, u64 size, u32 perms, bool large)
{
	if (space_map(&nucleus_space, at, to, size, perms, large))
		stop("no memory for the nucleus's page tables");
}

/* RAM at direct_base; the image's text and rodata read-only there. */
static void map_direct(u64 base, u64 from, u64 to)
{
	u64 ro_start = ALIGN_DOWN((u64)image_start, PAGE_SIZE), ro_end = (u64)rodata_end;
	for (u32 i = 0; i < boot_info.ranges; i++) {
		u64 a = MAX(boot_info.range[i].base, from), e = MIN(boot_info.range[i].end, to);
		while (a < e) {
			bool ro = a >= ro_start && a < ro_end;
			u64 stop_at = ro ? MIN(e, ro_end) : a < ro_start ? MIN(e, ro_start) : e;
			nucleus_map(base + a, HPA(a), stop_at - a, ro ? MAP_R : MAP_R | MAP_W,
				    true);
			a = stop_at;
		}
	}
}

static void map_image(u64 base)
{
	static const struct {
		char *start, *end;
		u32 perms;
	} part[] = {{text_start, text_end, MAP_R | MAP_X},
		    {rodata_start, rodata_end, MAP_R},
		    {relro_start, relro_end, MAP_R},
		    {data_start, image_end, MAP_R | MAP_W}};
	for (u32 i = 0; i < ARRAY_SIZE(part); i++) {
		u64 at = (u64)part[i].start;
		nucleus_map(base + at - LINK_BASE, HPA(at), (u64)part[i].end - at,
			    part[i].perms, false);
	}
}

u64 stack_create(u32 pages)
{
	hpa_t frames = frames_alloc_run(pages);
	if (!hpa_valid(frames))
		return 0;
	u64 at = stack_window + PAGE_SIZE; /* a guard page below, the next one's above */
	stack_window += (u64)(pages + 1) * PAGE_SIZE;
	if (space_map(&nucleus_space, at, frames, pages * PAGE_SIZE, MAP_R | MAP_W, false))
		return 0;
	return at + pages * PAGE_SIZE;
}

static void *map_somewhere(hpa_t base, u64 size, u32 perms)
{
	u64 first = ALIGN_DOWN(base.v, PAGE_SIZE), end = ALIGN_UP(base.v + size, PAGE_SIZE);
	u64 at = mmio_next;
	if (space_map(&nucleus_space, at, HPA(first), end - first, perms, false))
		return NULL;
	mmio_next += end - first + PAGE_SIZE;
	return (void *)(at + base.v - first);
}

volatile void *mmio_map(hpa_t base, u64 size)
{
	return map_somewhere(base, size, MAP_R | MAP_W | MAP_UC);
}

const void *firmware_map(hpa_t base, u64 size)
{
	return map_somewhere(base, size, MAP_R);
}

static void reserve_boot_memory(void)
{
	frames_reserve(HPA(0), LOW_TOP);
	frames_reserve(HPA((u64)image_start), (u64)(image_end - image_start));
	if (boot_info.archive_size)
		frames_reserve(boot_info.archive, boot_info.archive_size);
}

static void add_memory(u64 from, u64 to)
{
	for (u32 i = 0; i < boot_info.ranges; i++) {
		u64 a = MAX(boot_info.range[i].base, from), e = MIN(boot_info.range[i].end, to);
		if (a < e)
			frames_add(HPA(a), e - a);
	}
}

static void read_boot_info(u32 magic, u64 info)
{
	const char *err = magic == MAGIC_PVH   ? boot_info_from_pvh(info)
			  : magic == MAGIC_MB2 ? boot_info_from_mb2(info)
					       : "started by an unknown boot protocol";
	if (err)
		stop(err);
	if (boot_info.archive_size > EARLY_TOP ||
	    boot_info.archive.v > EARLY_TOP - boot_info.archive_size)
		stop("the boot archive lies above 4 GiB");
}

static void live0_main(void);

void live0_early(u32 magic, u64 info)
{
	boot_tsc = rdtsc();
	console_init();
	n_print("live0: D0 nucleus, a bare-metal container host");
	if (!checks_cpu())
		stop("this machine can't run D0");
	read_boot_info(magic, info);
	random_init(info);

	frames_init(boot_info.ram_top);
	reserve_boot_memory();
	add_memory(0, EARLY_TOP);
	u64 base = 0xffffffff80000000ull + (random_u64() % (GiB - 16 * MiB) & ~PAGE_MASK);
	u64 direct = 0xffff880000000000ull + (random_u64() & 0xfff) * GiB;
	stack_window = 0xffffe00000000000ull + (random_u64() & 0xffffff) * PAGE_SIZE;
	mmio_next = 0xffffc00000000000ull + (random_u64() & 0xffffff) * PAGE_SIZE;
	if (!space_init(&nucleus_space, &format_host))
		stop("no memory for the nucleus's page tables");
	map_direct(direct, 0, EARLY_TOP);
	map_image(base);
	u64 stack = stack_create(BOOT_STACK_PAGES);
	if (!stack)
		stop("no memory for the boot stack");
	__stack_chk_guard = random_u64() & ~0xffull;

	u64 delta = base - LINK_BASE;
	void (*main_there)(void) = (void (*)(void))((u64)live0_main + delta);
	u64 enter_there = (u64)live0_enter + delta;
	/* From here to the jump nothing may go through a pointer in memory. */
	image_base = base;
	frames_rebase(0, direct);
	direct_base = direct;
	cpus[0].stack_top = stack;
	u64 root = nucleus_space.root.v;
	/* The stack is still the early one: keep the identity map of its tables until the jump.
	 */
	relocate(base);
	live0_switch(root, stack, (u64)main_there, enter_there);
}

static void announce(void)
{
	struct frames_stats m = frames_stats();
	n_print("live0: %s boot, %u ranges of RAM, %lu MiB, %lu MiB free", boot_info.loader,
		boot_info.ranges, m.total >> 8, m.free >> 8);
	n_print("live0: nucleus relocated, R-X %lu KiB, R-- %lu KiB, RW- %lu KiB",
		(u64)(text_end - text_start) >> 10, (u64)(relro_end - rodata_start) >> 10,
		(u64)(image_end - data_start) >> 10);
}

/* recovery.c says what for. Not before the configured cells run: the hash of a large archive
 * takes long. */
static void watchdog_start(void)
{
	u32 gsi;
	if (ioapic_route_isa(RTC_IRQ, VECTOR_NMI, cpus[0].apic_id, &gsi)) {
		ioapic_mask(gsi, false);
		rtc_ring();
	} else {
		n_print("recovery: no watchdog, it needs an I/O APIC");
	}
}

static void __noreturn live0_main(void)
{
	/* The pointers that live0_early left in memory are those of the old place. */
	nucleus_space.format = &format_host;
	boot_info.loader += image_base - LINK_BASE;
	map_direct(direct_base, EARLY_TOP, ~0ull & ~PAGE_MASK);
	add_memory(EARLY_TOP, ~0ull & ~PAGE_MASK);
	traps_init(0);
	cpu_init_this(&cpus[0]);
	announce();
	acpi_init(boot_info.rsdp);
	ioapic_init();
	lapic_init_cpu();
	clock_init(boot_tsc);
	lapic_timer_calibrate();
	power_init();
	iommu_parse();
	pci_enumerate();
	iommu_init();
	checks_machine();
	if (!vm_hypervisor_init())
		stop("no usable hardware virtualisation");
	const char *err = archive_open(boot_info.archive, boot_info.archive_size);
	if (err)
		stop(err);
	sync_init();
	sched_init();
	verify_init();
	recovery_arm();
	smp_start_all();
	if (!serial_irq_enable())
		n_print("console: no interrupt for input, it is not read");
	nucleus_lock();
	err = sync_start_configured();
	watchdog_start();
	nucleus_unlock();
	if (err)
		stop(err);
	sched_loop();
}
