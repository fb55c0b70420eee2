/* SPDX-License-Identifier: ISC */
/*
 * device_manager: finds devices, gives each to one cell, takes it back. The theory is at
 * the top of device.c. live0_main() brings its parts up in order: ACPI, interrupt controllers,
 * clock, power, then with handlers for vectors PCI and the IOMMU.
 *
 * Calls need the nucleus lock unless they say otherwise.
 */
#ifndef NUCLEUS_DEVICE_MANAGER_H
#define NUCLEUS_DEVICE_MANAGER_H

#include "d0/abi.h"
#include "nucleus/core/types.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/device_manager/iommu.h"
#include "nucleus/device_manager/irq.h"

#define DEVICES_MAX     64
#define DEVICE_IRQS_MAX 16 /* of one device */

struct cell;
struct device_owner {
	struct cell *cell;
	u32 number;                  /* of the cell, for reports */
	struct iommu_domain *domain; /* NULL without IOMMU */
};

struct pci_bar {
	u64 base, size; /* base 0: the firmware gave it no address; size 0: no such BAR */
	u32 flags;      /* D0_BAR_* */
};

struct device_irq {
	struct device *dev;
	u8 vector; /* 0: none */
};

/* One PCI function that can be granted (not bridges). Others only read it. */
struct device {
	struct d0_device id; /* what every owner is told: address, vendor, class, ... */
	struct pci_bar bar[6];
	u8 cap_msi, cap_msix, cap_pcie, cap_af; /* offsets, 0: none */
	u8 int_pin, int_line;
	bool intx_maskable;   /* obeys PCI_COMMAND_NO_INTX */
	bool reserved_memory; /* named by an RMRR */
	u32 group;            /* devices of one group cannot be told apart by their DMA */
	u32 bridge;           /* requester ID above a conventional bridge; ~0: its own */
	u64 usable_at;        /* a reset is under way until then, clock_ns() */
	volatile u8 *quiesce; /* page with the register that resets it, once mapped */

	/* While granted. */
	bool owned;
	struct device_owner owner;
	u32 slot, channel;
	enum d0_irq_kind irq_kind;
	u32 irq_count;
	struct device_irq irq[DEVICE_IRQS_MAX];
	u32 gsi;
	volatile u8 *msix_table;
	u64 bar_gpa[6];
	u64 config_gpa;
	hpa_t config_frame;
};

u32 device_count(void);
struct device *device_by_index(u32 index);
struct device *device_by_address(u32 address); /* NULL: none; as d0_device.address */
/*
 * Give a free device to a cell: attaches it to the owner's domain, maps BARs (all but
 * MSI-X tables, which stay read-only) and a copy of its configuration space (BARs in it
 * hold guest-physical addresses), makes its interrupts channels, fills *out, entry number
 * `slot` of the cell's device table, and switches bus mastering on. 0, D0_EBUSY (owned,
 * or shares a requester ID or a slot with a device of another cell), D0_EPERM (the
 * firmware keeps memory for it, RMRR), or what the cell's side returned; on failure nothing has
 * changed. May spin for the rest of the 100 ms that a reset by device_revoke() takes on
 * real hardware.
 */
int device_grant(struct device *dev, const struct device_owner *owner, u32 slot,
		 struct d0_device *out);
/*
 * Take it back: bus mastering and interrupts off, out of its domain, unmapped, reset
 * (FLR where there is one, else the stop register of the kinds we know). The device cannot
 * reach memory when this returns. Does not wait for the end of the reset.
 */
void device_revoke(struct device *dev);
/* Hypercall irq_done for interrupt i of the device: a level interrupt may fire again. */
void device_irq_done(struct device *dev, u32 i);

/* ---- power.c: ends of the machine's life ---- */

/* Boot parameters: exit=debug (isa-debug-exit at 0xf4 instead of power off, for tests),
 * exit=bochs (also write "Shutdown" to port 0x8900). */
void power_init(void);
/* Neither returns; each falls through to the next means it has, and in the end halts this CPU
 * with interrupts off. The code reaches the outside by isa-debug-exit only. */
void power_off(u8 code) __noreturn;
void power_reboot(void) __noreturn;

/* ---- what sync offers to a grant ---- */

/*
 * Make a D0_REGION_DEVICE of [base, base+size), page-aligned, at a guest-physical address of
 * the callee's choice. perms: MAP_* of memory_regions.h (MAP_UC for registers).
 * [ro_offset, ro_offset+ro_size) of it is to be mapped MAP_R only. The callee refuses ranges
 * that touch RAM it manages (a BAR placed wrongly), but for one page with perms MAP_R alone:
 * the copy of the configuration space. 0 or a D0_E value.
 */
int cell_device_map(struct cell *cell, hpa_t base, u64 size, u32 perms, u64 ro_offset,
		    u64 ro_size, const char *name, u64 *gpa_out);
void cell_device_unmap(struct cell *cell, u64 gpa, u64 size);
/* Let the cell use I/O ports, or not any more. False: no memory. */
bool cell_allow_ports(struct cell *cell, u16 first, u32 count, bool allow);
/* `count` channel slots in a row of protocol D0_PROTO_IRQ; peer_cell = device index in
 * the cell's device table. The first, or a D0_E value. */
int cell_irqs_take(struct cell *cell, u32 device, u32 count);
void cell_irqs_free(struct cell *cell, u32 first, u32 count);
/*
 * From vector handlers, nucleus lock held. A DMA fault of a device of the cell: PCI address,
 * the address it tried, the hardware's reason (VT-d 4.1, 7.3.1); its bus mastering is off by
 * then. An interrupt: set the channel's event and wake the vCPU.
 */
void cell_dma_fault(struct cell *cell, u32 pci_address, u64 address, bool write, u32 reason);
void cell_raise(struct cell *cell, u32 channel);

#endif
