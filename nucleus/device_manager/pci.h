/* SPDX-License-Identifier: ISC */
/* PCI inside device_manager: configuration space, enumeration, the device record. */
#ifndef NUCLEUS_DEVICE_MANAGER_PCI_H
#define NUCLEUS_DEVICE_MANAGER_PCI_H

#include "nucleus/core/types.h"
#include "nucleus/device_manager/device_manager.h"

/* Configuration space header, PCI 3.0 chapter 6. */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_CLASS_REV = 0x08,
	PCI_HEADER = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SECONDARY = 0x19,
	PCI_SUBORDINATE = 0x1a,
	PCI_SUBVENDOR = 0x2c,
	PCI_SUBDEVICE = 0x2e,
	PCI_CAPS = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
};
#define PCI_COMMAND_IO      0x001u
#define PCI_COMMAND_MEMORY  0x002u
#define PCI_COMMAND_MASTER  0x004u
#define PCI_COMMAND_NO_INTX 0x400u
#define PCI_STATUS_INTX     0x008u
#define PCI_STATUS_CAPS     0x010u
#define PCI_HEADER_MULTI    0x80u
#define PCI_CONFIG_SIZE     256u
#define PCIE_CONFIG_SIZE    4096u

enum {
	PCI_CAP_MSI = 0x05,
	PCI_CAP_PCIE = 0x10,
	PCI_CAP_MSIX = 0x11,
	PCI_CAP_AF = 0x13,
};
#define MSI_CONTROL        2
#define MSI_ENABLE         0x0001u
#define MSI_64BIT          0x0080u
#define MSI_MULTIPLE       0x0070u
#define MSIX_TABLE         4
#define MSIX_PBA           8
#define MSIX_ENABLE        0x8000u
#define MSIX_MASK_ALL      0x4000u
#define MSIX_ENTRY_SIZE    16
#define PCIE_FLAGS         2
#define PCIE_DEVICE_CAPS   4
#define PCIE_DEVICE_CTRL   8
#define PCIE_DEVICE_STATUS 10
#define PCIE_FLR_CAPABLE   (1u << 28)
#define PCIE_FLR           0x8000u
#define PCIE_PENDING       0x0020u
#define AF_CAPS            3
#define AF_CTRL            4
#define AF_STATUS          5

#define PCI_ADDRESS(segment, bus, slot, fn) \
	((u32)(segment) << 16 | (u32)(bus) << 8 | (u32)(slot) << 3 | (fn))
#define PCI_BUS(address)  ((address) >> 8 & 0xff)
#define PCI_FORMAT        "%02x:%02x.%x" /* in messages, for PCI_ARGS */
#define PCI_ARGS(address) PCI_BUS(address), (address) >> 3 & 31, (address)&7

/*
 * config.c: address as d0_device.address; off within the space, aligned to the width.
 * Beyond what can be reached (extended space without ECAM) reads give all ones and
 * writes do nothing. Any context.
 */
u32 pci_read(u32 address, u32 off, u32 width);
void pci_write(u32 address, u32 off, u32 width, u32 v);

/* pci.c: find all functions; bridges are walked, not listed. */
void pci_enumerate(void);
/* May a cell have it: assigned, aligned, and no page of it anybody else's. */
bool pci_bar_sound(const struct device *dev, const struct pci_bar *bar);
/* The secondary bus of a bridge, 0 if that function is none. */
u8 pci_secondary_bus(u32 address);
u32 msix_entries(const struct device *dev);
/* [ro_offset, +ro_size) of a BAR that holds the MSI-X table or its pending bits, in whole
 * pages; false: that BAR has none. */
bool pci_msix_pages(const struct device *dev, u32 bar, u64 *ro_offset, u64 *ro_size);

/* reset.c: stop whatever the device does and forget what it was told. Bus mastering is off
 * already. Sets usable_at. */
void device_reset(struct device *dev);
/* Wait for the end of a reset (up to 100 ms on real hardware) and set the BARs again. */
void device_settle(struct device *dev);

/* intx.c: lines shared by devices. The device's irq[0] is used. */
bool intx_attach(struct device *dev);
void intx_detach(struct device *dev);
void intx_done(struct device *dev);

#endif
