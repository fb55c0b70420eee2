/* SPDX-License-Identifier: ISC */
/*
 * PCI enumeration (PCI 3.0, PCIe 4.0).
 *
 * Model: depth first from bus 0 of each segment; a bus is scanned once, a bridge leads
 * only to a higher bus, depth is bounded: a broken bridge can hide devices but not loop.
 * The firmware's assignment is kept and checked, not redone. A device that answers
 * anything is believed about nothing that could hurt: capability lists are walked with a
 * bound, BARs are compared with each other and with the nucleus's own registers before
 * they can be granted.
 *
 * What cannot be told apart by its DMA shares a group and goes to one cell: the functions
 * of one slot (they may talk to each other without passing the IOMMU), and all that is
 * behind a bridge to conventional PCI (one requester ID for all).
 */
#include "nucleus/device_manager/pci.h"

#include <string.h>

#include "nucleus/core/print.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/internal.h"

#define DEPTH_MAX        8
#define CAPS_MAX         48 /* what fits between 0x40 and 0xff */
#define CLASS_BRIDGE     0x06
#define CLASS_SYSTEM     0x08
#define PCIE_TYPE_TO_PCI 7
#define BAR_IO           1u
#define BAR_TYPE_64      4u
#define BAR_PREFETCH     8u
#define NO_BRIDGE        (~0u)

static struct device devices[DEVICES_MAX];
static u32 devices_found, devices_ignored;
static u8 bus_seen[256 / 8]; /* of the segment being walked */

u32 device_count(void)
{
	return devices_found;
}

struct device *device_by_index(u32 index)
{
	return index < devices_found ? &devices[index] : NULL;
}

struct device *device_by_address(u32 address)
{
	for (u32 i = 0; i < devices_found; i++) {
		if (devices[i].id.address == address)
			return &devices[i];
	}
	return NULL;
}

/* ---- capabilities ---- */

static u8 next_cap(u32 address, u8 at)
{
	return pci_read(address, at, 1) & ~3u;
}

static void read_caps(struct device *dev)
{
	u8 *const slots[] = {[PCI_CAP_MSI] = &dev->cap_msi,
			     [PCI_CAP_PCIE] = &dev->cap_pcie,
			     [PCI_CAP_MSIX] = &dev->cap_msix,
			     [PCI_CAP_AF] = &dev->cap_af};

	if (!(pci_read(dev->id.address, PCI_STATUS, 2) & PCI_STATUS_CAPS))
		return;
	u8 at = next_cap(dev->id.address, PCI_CAPS);
	for (u32 i = 0; i < CAPS_MAX && at >= 0x40; i++) {
		u32 id = pci_read(dev->id.address, at, 1);
		u8 *slot = id < ARRAY_SIZE(slots) ? slots[id] : NULL;
		if (slot && *slot == 0 && at <= PCI_CONFIG_SIZE - 16)
			*slot = at;
		at = next_cap(dev->id.address, at + 1);
	}
}

static bool behind_conventional(u32 address)
{
	struct device probe = {.id.address = address};

	read_caps(&probe);
	if (probe.cap_pcie == 0)
		return true;
	return (pci_read(address, probe.cap_pcie + PCIE_FLAGS, 2) >> 4 & 15) ==
	       PCIE_TYPE_TO_PCI;
}

/* ---- BARs ---- */

static u32 bar_probe(u32 address, u32 off, u32 *value)
{
	*value = pci_read(address, off, 4);
	pci_write(address, off, 4, ~0u);
	u32 size = pci_read(address, off, 4);
	pci_write(address, off, 4, *value);
	return size;
}

/* Returns how many BAR registers it took. */
static u32 bar_read(struct device *dev, u32 n)
{
	struct pci_bar *bar = &dev->bar[n];
	u32 off = PCI_BAR0 + 4 * n, low, high;
	u64 size = bar_probe(dev->id.address, off, &low);

	if (size == 0 || size == ~0u)
		return 1;
	if (low & BAR_IO) {
		size = ~(size & ~3ull) & 0xffff;
		*bar = (struct pci_bar){low & 0xfffc, (size + 1) & 0xffff, D0_BAR_IO};
		return 1;
	}
	bar->flags = low & BAR_PREFETCH ? D0_BAR_PREFETCH : 0;
	bar->base = low & ~15u;
	size &= ~15ull;
	if ((low & 6) != BAR_TYPE_64 || n == 5) {
		bar->size = (u32)(~size + 1);
		return 1;
	}
	size |= (u64)bar_probe(dev->id.address, off + 4, &high) << 32;
	bar->base |= (u64)high << 32;
	bar->flags |= D0_BAR_64;
	bar->size = ~size + 1;
	return 2;
}

/* Decoding is off meanwhile, or the device would answer at odd addresses. */
static void read_bars(struct device *dev)
{
	u32 command = pci_read(dev->id.address, PCI_COMMAND, 2);

	pci_write(dev->id.address, PCI_COMMAND, 2,
		  command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	for (u32 n = 0; n < 6;)
		n += bar_read(dev, n);
	pci_write(dev->id.address, PCI_COMMAND, 2, command);
}

static bool overlap(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* Registers that are the nucleus's own. */
static bool hits_nucleus(u64 base, u64 size)
{

	/* Local APICs, and the window to which devices write interrupts. */
	if (overlap(base, size, 0xfee00000, MiB) ||
	    overlap(base, size, acpi.lapic.v, PAGE_SIZE) || base < MiB)
		return true;
	if (acpi.hpet.v && overlap(base, size, acpi.hpet.v, PAGE_SIZE))
		return true;
	for (u32 i = 0; i < acpi.ioapics; i++) {
		if (overlap(base, size, acpi.ioapic[i].base.v, PAGE_SIZE))
			return true;
	}
	for (u32 i = 0; i < acpi.mcfgs; i++) {
		if (overlap(base, size, acpi.mcfg[i].base.v,
			    ((u64)acpi.mcfg[i].bus_last + 1) << 20))
			return true;
	}
	return iommu_owns(base, size);
}

/* Does anything of another device lie there? Of the same kind: memory or ports. */
static bool hits_device(const struct device *dev, u64 base, u64 size, u32 io)
{
	for (u32 d = 0; d < devices_found; d++) {
		for (u32 n = 0; n < 6 && &devices[d] != dev; n++) {
			const struct pci_bar *b = &devices[d].bar[n];
			if (b->size && b->base && (b->flags & D0_BAR_IO) == io &&
			    overlap(base, size, b->base, b->size))
				return true;
		}
	}
	return false;
}

bool pci_bar_sound(const struct device *dev, const struct pci_bar *bar)
{
	u64 base = ALIGN_DOWN(bar->base, PAGE_SIZE);
	u64 size;

	if (bar->size == 0 || bar->base == 0 || (bar->size & (bar->size - 1)) ||
	    (bar->base & (bar->size - 1)))
		return false;
	if (bar->flags & D0_BAR_IO) /* below are the ports of the board itself */
		return bar->base >= 0x400 && bar->size <= 256 &&
		       !hits_device(dev, bar->base, bar->size, D0_BAR_IO);
	if (bar->base >= 1ull << 52 || bar->size > 1ull << 40)
		return false;
	/* A cell gets whole pages: none may hold anything else. */
	size = ALIGN_UP(bar->base + bar->size, PAGE_SIZE) - base;
	return !hits_nucleus(base, size) && !hits_device(dev, base, size, 0);
}

u32 msix_entries(const struct device *dev)
{
	return (pci_read(dev->id.address, dev->cap_msix + MSI_CONTROL, 2) & 0x7ff) + 1;
}

bool pci_msix_pages(const struct device *dev, u32 bar, u64 *ro_offset, u64 *ro_size)
{
	u32 table, pba, entries;
	u64 first = ~0ull, last = 0;

	if (dev->cap_msix == 0)
		return false;
	entries = msix_entries(dev);
	table = pci_read(dev->id.address, dev->cap_msix + MSIX_TABLE, 4);
	pba = pci_read(dev->id.address, dev->cap_msix + MSIX_PBA, 4);
	if ((table & 7) == bar) {
		first = table & ~7u;
		last = first + entries * MSIX_ENTRY_SIZE;
	}
	if ((pba & 7) == bar) {
		first = MIN(first, (u64)(pba & ~7u));
		last = MAX(last, (u64)(pba & ~7u) + ALIGN_UP(entries, 64) / 8);
	}
	if (first >= last || last > dev->bar[bar].size)
		return false;
	*ro_offset = ALIGN_DOWN(first, PAGE_SIZE);
	*ro_size = ALIGN_UP(last, PAGE_SIZE) - *ro_offset;
	return true;
}

/* ---- the walk ---- */

/* Can its interrupt be held back without touching the line it shares? PCI 2.3. */
static bool probe_intx_mask(u32 address)
{
	u32 command = pci_read(address, PCI_COMMAND, 2);

	pci_write(address, PCI_COMMAND, 2, command ^ PCI_COMMAND_NO_INTX);
	bool works = (pci_read(address, PCI_COMMAND, 2) ^ command) & PCI_COMMAND_NO_INTX;
	pci_write(address, PCI_COMMAND, 2, command);
	return works;
}

static void add_device(u32 address, u32 bridge)
{
	struct device *dev = &devices[devices_found];
	u32 class_rev = pci_read(address, PCI_CLASS_REV, 4);

	/* What keeps the machine running is not handed out. */
	if (class_rev >> 24 == CLASS_BRIDGE || class_rev >> 24 == CLASS_SYSTEM)
		return;
	if (devices_found == DEVICES_MAX) {
		devices_ignored++;
		return;
	}
	*dev = (struct device){.id.address = address,
			       .id.vendor = (u16)pci_read(address, PCI_VENDOR, 2),
			       .id.device = (u16)pci_read(address, PCI_DEVICE, 2),
			       .id.subvendor = (u16)pci_read(address, PCI_SUBVENDOR, 2),
			       .id.subdevice = (u16)pci_read(address, PCI_SUBDEVICE, 2),
			       .id.class_rev = class_rev,
			       .int_pin = (u8)pci_read(address, PCI_INT_PIN, 1),
			       .int_line = (u8)pci_read(address, PCI_INT_LINE, 1),
			       .group = bridge == NO_BRIDGE ? address & ~7u : bridge,
			       .bridge = bridge,
			       .config_frame = HPA_NONE};
	read_caps(dev);
	read_bars(dev);
	dev->intx_maskable = probe_intx_mask(address);
	/* Whatever the firmware left running stops here: nobody owns it. */
	pci_write(address, PCI_COMMAND, 2,
		  (pci_read(address, PCI_COMMAND, 2) & ~PCI_COMMAND_MASTER) |
		      PCI_COMMAND_NO_INTX);
	devices_found++;
}

u8 pci_secondary_bus(u32 address)
{
	if ((pci_read(address, PCI_HEADER, 1) & 0x7f) != 1)
		return 0;
	return (u8)pci_read(address, PCI_SECONDARY, 1);
}

static void scan_bus(u32 segment, u32 bus, u32 bridge, u32 depth);

static void scan_function(u32 address, u32 bridge, u32 depth)
{
	u32 kind = pci_read(address, PCI_HEADER, 1) & 0x7f;

	if (kind == 0) {
		add_device(address, bridge);
		return;
	}
	u32 secondary = pci_secondary_bus(address);
	if (secondary <= PCI_BUS(address))
		return;
	if (bridge == NO_BRIDGE && behind_conventional(address))
		bridge = address;
	scan_bus(address >> 16, secondary, bridge, depth + 1);
}

static bool present(u32 address)
{
	u32 vendor = pci_read(address, PCI_VENDOR, 2);

	return vendor != 0xffff && vendor != 0;
}

static void scan_bus(u32 segment, u32 bus, u32 bridge, u32 depth)
{
	if (depth > DEPTH_MAX || (bus_seen[bus / 8] & 1u << bus % 8))
		return;
	bus_seen[bus / 8] |= (u8)(1u << bus % 8);
	for (u32 slot = 0; slot < 32; slot++) {
		u32 first = PCI_ADDRESS(segment, bus, slot, 0);
		u32 functions = 1;
		if (!present(first))
			continue;
		if (pci_read(first, PCI_HEADER, 1) & PCI_HEADER_MULTI)
			functions = 8;
		for (u32 fn = 0; fn < functions; fn++) {
			if (fn == 0 || present(first + fn))
				scan_function(first + fn, bridge, depth);
		}
	}
}

void pci_enumerate(void)
{

	devices_found = devices_ignored = 0;
	for (u32 i = 0; i < MAX(acpi.mcfgs, 1u); i++) {
		const struct acpi_mcfg *m = &acpi.mcfg[i]; /* zero if there is none */
		memset(bus_seen, 0, sizeof(bus_seen));
		scan_bus(m->segment, m->bus_first, NO_BRIDGE, 0);
	}
	n_print("pci: %u devices, configuration by %s%s", devices_found,
		acpi.mcfgs ? "ECAM" : "ports", devices_ignored ? "; more are not used" : "");
}
