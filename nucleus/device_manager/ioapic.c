/* SPDX-License-Identifier: ISC */
/*
 * I/O APICs (Intel 82093AA data sheet) and the 8259s, which are only silenced. A line is
 * named by its global interrupt number. Registers are reached through an index, so every
 * access is under one leaf lock; mask and unmask are called from interrupt handlers too.
 */
#include "nucleus/device_manager/irq.h"

#include "nucleus/core/lock.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/memory_regions/memory_regions.h"

#define IOAPIC_SELECT  0x00
#define IOAPIC_WINDOW  0x10
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY   0x10 /* two registers a line */
#define ENTRY_NMI      (4u << 8)
#define ENTRY_LOW      (1u << 13)
#define ENTRY_LEVEL    (1u << 15)
#define ENTRY_MASKED   (1u << 16)
/* High half: the CPU, or an index of the remapping table (VT-d 4.1, 5.1.5.1). */
#define HIGH_CPU(id)      ((id) << 24)
#define HIGH_REMAP(index) ((u32)(index) << 17 | 1u << 16)

static struct {
	volatile u8 *regs;
	u32 id, gsi_base, lines;
} ioapic[ACPI_IOAPICS_MAX];
static u32 ioapic_count;
static struct spinlock ioapic_lock;

static u32 ioapic_read(u32 n, u32 reg)
{
	mmio_write32(ioapic[n].regs + IOAPIC_SELECT, reg);
	return mmio_read32(ioapic[n].regs + IOAPIC_WINDOW);
}

static void ioapic_write(u32 n, u32 reg, u32 v)
{
	mmio_write32(ioapic[n].regs + IOAPIC_SELECT, reg);
	mmio_write32(ioapic[n].regs + IOAPIC_WINDOW, v);
}

static void pic_silence(void)
{
	if (!acpi.pcat_compat)
		return;
	/* Vectors away from exceptions first: a masked 8259 can still raise a spurious one. */
	static const u8 init[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28},
				     {0x21, 0x04}, {0xa1, 0x02}, {0x21, 0x01}, {0xa1, 0x01},
				     {0x21, 0xff}, {0xa1, 0xff}};
	for (u32 i = 0; i < ARRAY_SIZE(init); i++)
		outb(init[i][0], init[i][1]);
}

void ioapic_init(void)
{

	pic_silence();
	for (u32 i = 0; i < acpi.ioapics; i++) {
		u32 n = ioapic_count;
		ioapic[n].regs = mmio_map(acpi.ioapic[i].base, PAGE_SIZE);
		if (!ioapic[n].regs)
			continue;
		ioapic[n].id = acpi.ioapic[i].id;
		ioapic[n].gsi_base = acpi.ioapic[i].gsi_base;
		ioapic[n].lines = (ioapic_read(n, IOAPIC_VERSION) >> 16 & 0xff) + 1;
		/* Nothing answers where there is none. */
		if (ioapic[n].lines > 240)
			continue;
		for (u32 line = 0; line < ioapic[n].lines; line++)
			ioapic_write(n, IOAPIC_ENTRY + 2 * line, ENTRY_MASKED);
		ioapic_count++;
	}
}

static bool ioapic_find(u32 gsi, u32 *n, u32 *reg)
{
	for (u32 i = 0; i < ioapic_count; i++) {
		if (gsi >= ioapic[i].gsi_base && gsi - ioapic[i].gsi_base < ioapic[i].lines) {
			*n = i;
			*reg = IOAPIC_ENTRY + 2 * (gsi - ioapic[i].gsi_base);
			return true;
		}
	}
	return false;
}

bool ioapic_route(u32 gsi, u8 vector, u32 apic_id, bool level, bool low)
{
	u32 n, reg, high = HIGH_CPU(apic_id);
	u32 entry = vector | (low ? ENTRY_LOW : 0) | (level ? ENTRY_LEVEL : 0) | ENTRY_MASKED;

	if (!ioapic_find(gsi, &n, &reg))
		return false;
	if (iommu_remap(iommu_ioapic_sid(ioapic[n].id), vector, apic_id, level))
		high = HIGH_REMAP(vector);
	else if (apic_id > 0xfe)
		return false;
	else if (vector == VECTOR_NMI)
		entry |= ENTRY_NMI;
	spin_lock(&ioapic_lock);
	ioapic_write(n, reg, entry);
	ioapic_write(n, reg + 1, high);
	spin_unlock(&ioapic_lock);
	return true;
}

bool ioapic_route_isa(u8 irq, u8 vector, u32 apic_id, u32 *gsi)
{
	struct acpi_override o = acpi_isa_irq(irq);

	*gsi = o.gsi;
	return ioapic_route(o.gsi, vector, apic_id, o.level, o.low);
}

void ioapic_mask(u32 gsi, bool masked)
{
	u32 n, reg;

	if (!ioapic_find(gsi, &n, &reg))
		return;
	spin_lock(&ioapic_lock);
	ioapic_write(n, reg,
		     (ioapic_read(n, reg) & ~ENTRY_MASKED) | (masked ? ENTRY_MASKED : 0));
	spin_unlock(&ioapic_lock);
}
