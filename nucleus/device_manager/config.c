/* SPDX-License-Identifier: ISC */
/* PCI configuration space: by memory (ECAM, PCIe 4.0 section 7.2.2) where ACPI names it,
 * else by ports (PCI 3.0 section 3.2.2.3.2), one access at a time. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/memory_regions/memory_regions.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u

/* Windows are mapped bus by bus when first used: few buses exist. */
static volatile u8 *ecam[ACPI_MCFG_MAX][256];
static struct spinlock port_lock, map_lock;

static volatile u8 *ecam_bus(u32 segment, u32 bus)
{

	for (u32 i = 0; i < acpi.mcfgs; i++) {
		const struct acpi_mcfg *m = &acpi.mcfg[i];
		if (m->segment != segment || bus < m->bus_first || bus > m->bus_last)
			continue;
		spin_lock(&map_lock);
		if (!ecam[i][bus])
			ecam[i][bus] = mmio_map(HPA(m->base.v + ((u64)bus << 20)), MiB);
		spin_unlock(&map_lock);
		return ecam[i][bus];
	}
	return NULL;
}

static volatile u8 *ecam_at(u32 address, u32 off)
{
	volatile u8 *bus = ecam_bus(address >> 16, PCI_BUS(address));

	return bus ? bus + ((address & 0xff) << 12) + off : NULL;
}

static bool by_ports(u32 address, u32 off)
{
	return address >> 16 == 0 && off < PCI_CONFIG_SIZE;
}

static void port_select(u32 address, u32 off)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | (address & 0xffff) << 8 | (off & ~3u));
}

u32 pci_read(u32 address, u32 off, u32 width)
{
	volatile u8 *at = ecam_at(address, off);
	u32 v = ~0u;

	if (at) {
		return width == 4 ? mmio_read32(at) : width == 2 ? mmio_read16(at) : *at;
	}
	if (by_ports(address, off)) {
		spin_lock(&port_lock);
		port_select(address, off);
		v = inl(CONFIG_DATA) >> (off & 3) * 8;
		spin_unlock(&port_lock);
	}
	return width == 4 ? v : v & ((1u << width * 8) - 1);
}

void pci_write(u32 address, u32 off, u32 width, u32 v)
{
	volatile u8 *at = ecam_at(address, off);

	if (at) {
		if (width == 4)
			mmio_write32(at, v);
		else if (width == 2)
			mmio_write16(at, (u16)v);
		else
			*at = (u8)v;
		return;
	}
	if (!by_ports(address, off))
		return;
	spin_lock(&port_lock);
	port_select(address, off);
	if (width == 4)
		outl(CONFIG_DATA, v);
	else if (width == 2)
		outw(CONFIG_DATA + (off & 2), (u16)v);
	else
		outb(CONFIG_DATA + (off & 3), (u8)v);
	spin_unlock(&port_lock);
}
