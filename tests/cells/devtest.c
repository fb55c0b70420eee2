/* SPDX-License-Identifier: ISC */
/*
 * Drives one granted device as args test=NAME says, for tests/system/test_devices.py:
 * interrupts of each kind, DMA within the cell and beyond it, registers it must not have.
 * Devices are those QEMU models: "edu" (QEMU's docs/specs/edu), e1000, e1000e.
 */
#include <stdlib.h>
#include <string.h>
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

#define SECOND        1000000000ull
#define EDU_ID        0x00
#define EDU_FLIP      0x04
#define EDU_RAISE     0x60
#define EDU_ACK       0x64
#define EDU_SRC       0x80
#define EDU_DST       0x88
#define EDU_LEN       0x90
#define EDU_CMD       0x98
#define EDU_BUFFER    0x40000
#define EDU_START     1u
#define EDU_TO_MEMORY 2u

#define E1000_ICR  0x00c0
#define E1000_ICS  0x00c8
#define E1000_IMS  0x00d0
#define E1000_IVAR 0x00e4
#define E1000_RXQ0 (1u << 20)
#define E1000_LSC  (1u << 2)

static const struct d0_device *dev;
static volatile void *regs;
static char args[64];

/* Wait for interrupt i of the device; false: none within a second. */
static bool interrupt(unsigned i)
{
	uint64_t end = clock_ns() + SECOND;

	while (clock_ns() < end) {
		if (cell_event_take(dev->irq_first + i))
			return true;
		cell_flags_take(~0ull);
		cell_wait(end);
	}
	return false;
}

static void describe(void)
{
	static const char *const kind[] = {"none", "INTx", "MSI", "MSI-X"};
	const volatile uint16_t *config = cell_device_config(dev);

	log_info("device %04x:%04x irq %s x%u, iommu %u, config %04x:%04x", dev->vendor,
		 dev->device, kind[dev->irq_kind], dev->irq_count, dev->flags & D0_DEV_IOMMU,
		 config[0], config[1]);
	for (unsigned n = 0; n < 6; n++)
		if (dev->bar[n].size)
			log_info("bar %u size %#lx flags %u", n, dev->bar[n].size,
				 dev->bar[n].flags);
}

static bool edu_dma(uint64_t src, uint64_t dst, uint64_t len, uint32_t direction)
{
	uint64_t end = clock_ns() + 3 * SECOND;

	mmio_write64(regs, EDU_SRC, src);
	mmio_write64(regs, EDU_DST, dst);
	mmio_write64(regs, EDU_LEN, len);
	mmio_write64(regs, EDU_CMD, EDU_START | direction);
	while (mmio_read64(regs, EDU_CMD) & EDU_START) {
		if (clock_ns() > end)
			return false;
		cell_wait(clock_ns() + SECOND / 100);
		cell_flags_take(~0ull);
	}
	return true;
}

static void test_edu(void)
{
	uint8_t *a = malloc(512), *b = malloc(512);

	log_info("edu id %x flip %x", mmio_read32(regs, EDU_ID),
		 (mmio_write32(regs, EDU_FLIP, 0x12345678), mmio_read32(regs, EDU_FLIP)));
	mmio_write32(regs, EDU_RAISE, 1);
	log_info("edu interrupt %s", interrupt(0) ? "came" : "lost");
	mmio_write32(regs, EDU_ACK, 1);
	for (unsigned i = 0; i < 512; i++) {
		a[i] = (uint8_t)(i * 7);
		b[i] = 0;
	}
	bool done = edu_dma(cell_dma_addr(a, 512), EDU_BUFFER, 512, 0) &&
		    edu_dma(EDU_BUFFER, cell_dma_addr(b, 512), 512, EDU_TO_MEMORY);
	log_info("edu dma %s", !done ? "stuck" : memcmp(a, b, 512) ? "differs" : "good");
}

/* To an address of somebody else: guest-physical behind an IOMMU, physical without. */
static void test_dma_outside(uint32_t direction)
{
	uint64_t target = cell_arg_u64(args, "target", 0x200000);

	log_info("dma outside at %#lx", target);
	if (direction)
		edu_dma(EDU_BUFFER, target, 64, direction);
	else
		edu_dma(target, EDU_BUFFER, 64, direction);
	cell_wait(clock_ns() + SECOND / 2);
	log_info("dma outside survived");
}

/* A page of its own that is not for devices: the info page. */
static void test_dma_info(void)
{
	log_info("dma to the info page at %#lx", cell_gpa(cell_info()));
	edu_dma(EDU_BUFFER, cell_gpa(cell_info()), 64, EDU_TO_MEMORY);
	cell_wait(clock_ns() + SECOND / 2);
	log_info("dma outside survived");
}

static void test_intx(void)
{
	for (unsigned i = 0; i < 3; i++) {
		mmio_write32(regs, E1000_IMS, E1000_LSC);
		mmio_write32(regs, E1000_ICS, E1000_LSC);
		log_info("intx %u %s", i, interrupt(0) ? "came" : "lost");
		mmio_read32(regs, E1000_ICR); /* reading takes it back */
		cell_irq_done(dev->irq_first);
	}
	/* Not served: it must not come again by itself, nor stop anybody. */
	mmio_write32(regs, E1000_ICS, E1000_LSC);
	log_info("intx unserved %s", interrupt(0) ? "came" : "lost");
	log_info("intx again %s", interrupt(0) ? "came" : "quiet");
}

static void test_msix(void)
{
	for (unsigned v = 0; v < 2; v++) {
		mmio_write32(regs, E1000_IVAR, 8 | v); /* receive queue 0 -> vector v, valid */
		mmio_write32(regs, E1000_IMS, E1000_RXQ0);
		mmio_write32(regs, E1000_ICS, E1000_RXQ0);
		log_info("msix %u %s", v, interrupt(v) ? "came" : "lost");
		log_info("msix %u %s", !v,
			 cell_event_take(dev->irq_first + !v) ? "came" : "quiet");
		mmio_write32(regs, E1000_ICR, ~0u); /* writing ones takes causes back */
	}
}

/* The table says where interrupts go: it is not the cell's to write. */
static void test_msix_table(void)
{
	volatile void *table = cell_device_bar(dev, 3);

	log_info("msix entry 0 reads %#x", mmio_read32(table, 0));
	mmio_write32(table, 0, 0xfee00000);
	log_info("msix table survived");
}

int cell_main(const struct d0_info *info)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} test[] = {{"edu", test_edu},
		    {"dma-info", test_dma_info},
		    {"intx", test_intx},
		    {"msix", test_msix},
		    {"msix-table", test_msix_table}};
	char name[32] = "";

	dev = cell_device(0);
	if (!dev) {
		log_error("no device");
		return 1;
	}
	regs = cell_device_bar(dev, 0);
	strncpy(args, info->args, sizeof(args) - 1);
	cell_arg(args, "test", name, sizeof(name));
	log_info("start %lu test %s", info->start_count, name);
	describe();
	for (unsigned i = 0; i < sizeof(test) / sizeof(test[0]); i++)
		if (!strcmp(name, test[i].name))
			test[i].run();
	if (!strcmp(name, "dma-read"))
		test_dma_outside(0);
	if (!strcmp(name, "dma-write"))
		test_dma_outside(EDU_TO_MEMORY);
	log_info("done");
	if (cell_arg_has(args, "crash"))
		abort();
	return 0;
}
