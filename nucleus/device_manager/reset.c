/* SPDX-License-Identifier: ISC */
/*
 * Resetting a device whose driver is gone. Without it the next owner's bus mastering would
 * let the old driver's DMA go on, to addresses that mean something else by then.
 *
 * Function-level reset (PCIe 4.0, 6.6.2), or that of conventional devices (PCI Advanced
 * Features ECN); for devices that have neither, the one register that stops the kinds of
 * device D0 has drivers for.
 */
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/memory_regions/memory_regions.h"

#define FLR_NS        100000000ull
#define PENDING_NS    1000000ull
#define VENDOR_CAP    0x09
#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_COMMON 1    /* virtio 1.2, 4.1.4: cfg_type of the common structure */
#define VIRTIO_STATUS 0x14 /* its device_status */

/* One write of `value` (or'ed in, if set; else stored) at BAR + offset. */
static const struct stop {
	u16 vendor;   /* 0: any */
	u32 class_at; /* class code, shifted so that what matters is left */
	u32 shift;
	u32 bar, offset;
	u32 keep, value; /* register = (register & keep) | value */
} stops[] = {
    {0, 0x010802, 8, 0, 0x14, ~1u, 0},             /* NVMe: CC.EN = 0 */
    {0, 0x010601, 8, 5, 0x04, ~0u, 1},             /* AHCI: GHC.HR */
    {0x8086, 0x020000, 8, 0, 0x00, ~0u, 1u << 26}, /* e1000, e1000e: CTRL.RST */
    {0x15ad, 0x020000, 8, 1, 0x20, 0, 0xcafe0002}, /* vmxnet3: reset command */
};

static void wait_pending(const struct device *dev, u32 off, u32 width, u32 bit)
{
	u64 end = clock_ns() + PENDING_NS;

	while (pci_read(dev->id.address, off, width) & bit && clock_ns() < end)
		cpu_relax();
}

static bool function_reset(struct device *dev)
{
	u32 a = dev->id.address;

	if (dev->cap_pcie &&
	    pci_read(a, dev->cap_pcie + PCIE_DEVICE_CAPS, 4) & PCIE_FLR_CAPABLE) {
		u32 ctrl = dev->cap_pcie + PCIE_DEVICE_CTRL;
		wait_pending(dev, dev->cap_pcie + PCIE_DEVICE_STATUS, 2, PCIE_PENDING);
		pci_write(a, ctrl, 2, pci_read(a, ctrl, 2) | PCIE_FLR);
	} else if (dev->cap_af && (pci_read(a, dev->cap_af + AF_CAPS, 1) & 3) == 3) {
		wait_pending(dev, dev->cap_af + AF_STATUS, 1, 1);
		pci_write(a, dev->cap_af + AF_CTRL, 1, 1);
	} else {
		return false;
	}
	/* Under a hypervisor: a device model is reset when the write returns; silicon takes its
	 * time. */
	dev->usable_at = cpuid(1, 0).c & 1u << 31 ? 0 : clock_ns() + FLR_NS;
	return true;
}

static bool stop_register(struct device *dev, u32 bar, u64 offset, u32 keep, u32 value,
			  u32 width)
{
	const struct pci_bar *b = &dev->bar[bar];

	if (bar > 5 || b->flags & D0_BAR_IO || !pci_bar_sound(dev, b) || b->size < 4 ||
	    offset > b->size - 4)
		return false;
	u64 at = b->base + offset;
	if (!dev->quiesce)
		dev->quiesce = mmio_map(HPA(ALIGN_DOWN(at, PAGE_SIZE)), PAGE_SIZE);
	if (!dev->quiesce)
		return false;
	if (width == 1)
		dev->quiesce[at & PAGE_MASK] = (u8)value;
	else
		mmio_write32(dev->quiesce + (at & PAGE_MASK),
			     (mmio_read32(dev->quiesce + (at & PAGE_MASK)) & keep) | value);
	return true;
}

static bool virtio_reset(struct device *dev)
{
	u8 at = pci_read(dev->id.address, PCI_CAPS, 1) & ~3u;

	for (u32 i = 0; i < 48 && at >= 0x40; i++) {
		u32 head = pci_read(dev->id.address, at, 4);
		if ((head & 0xff) == VENDOR_CAP && head >> 24 == VIRTIO_COMMON)
			return stop_register(dev, pci_read(dev->id.address, at + 4u, 1),
					     (u64)pci_read(dev->id.address, at + 8u, 4) +
						 VIRTIO_STATUS,
					     0, 0, 1);
		at = (u8)(head >> 8) & ~3u;
	}
	return false;
}

static bool known_reset(struct device *dev)
{
	if (dev->id.vendor == VIRTIO_VENDOR)
		return virtio_reset(dev);
	for (u32 i = 0; i < ARRAY_SIZE(stops); i++) {
		const struct stop *s = &stops[i];
		if ((s->vendor == 0 || s->vendor == dev->id.vendor) &&
		    dev->id.class_rev >> s->shift == s->class_at)
			return stop_register(dev, s->bar, s->offset, s->keep, s->value, 4);
	}
	return false;
}

void device_reset(struct device *dev)
{
	u32 command;

	if (function_reset(dev))
		return; /* which also clears the command register */
	command = pci_read(dev->id.address, PCI_COMMAND, 2);
	pci_write(dev->id.address, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
	if (!known_reset(dev))
		n_print("pci: " PCI_FORMAT " cannot be reset: what it was told stays",
			PCI_ARGS(dev->id.address));
	pci_write(dev->id.address, PCI_COMMAND, 2, command);
}

void device_settle(struct device *dev)
{
	while (clock_ns() < dev->usable_at)
		cpu_relax();
	dev->usable_at = 0;
	for (u32 n = 0; n < 6; n++) {
		const struct pci_bar *b = &dev->bar[n];
		if (b->size == 0)
			continue;
		pci_write(dev->id.address, PCI_BAR0 + 4 * n, 4, (u32)b->base);
		if (b->flags & D0_BAR_64)
			pci_write(dev->id.address, PCI_BAR0 + 4 * n + 4, 4,
				  (u32)(b->base >> 32));
	}
}
