/* SPDX-License-Identifier: ISC */
/*
 * Grants: a device belongs to one cell or to nobody.
 *
 * Problem: a cell drives its device alone, registers and all, and still must not gain
 * anything by it: not another cell's memory, not another interrupt, not another device.
 *
 * Model: a grant is a list of steps, each with its undo: domain, BARs, copy of the
 * configuration space, channels, interrupt hardware; bus mastering goes on last and off
 * first. What a device could be misused by stays with the nucleus: configuration space
 * (the cell sees a copy), MSI messages, the MSI-X table (its pages are read-only to the
 * cell), I/O APIC lines. A BAR is mapped only if no page of it holds anything else.
 *
 * Invariants: owner set <=> in the owner's domain; bus mastering on => owned. A revoked
 * device was told to stop before its memory is anybody else's.
 *
 * Locking: the nucleus lock; interrupt handlers take it before they look at an owner.
 * Failure: device_grant() undoes what it did, in reverse.
 */
#include "nucleus/device_manager/device_manager.h"

#include <string.h>

#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/memory_regions/memory_regions.h"

/* ---- interrupts ---- */

static void device_interrupt(u32 vector, void *arg)
{
	struct device_irq *irq = arg;
	struct device *dev = irq->dev;

	nucleus_lock();
	if (dev->owned && irq->vector == vector)
		cell_raise(dev->owner.cell, dev->channel + (u32)(irq - dev->irq));
	nucleus_unlock();
}

static void vectors_free(struct device *dev)
{
	for (u32 i = 0; i < DEVICE_IRQS_MAX; i++) {
		if (dev->irq[i].vector)
			irq_vector_free(dev->irq[i].vector);
		dev->irq[i].vector = 0;
	}
}

static bool vectors_alloc(struct device *dev, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		dev->irq[i].dev = dev;
		dev->irq[i].vector = irq_vector_alloc(device_interrupt, &dev->irq[i]);
		if (dev->irq[i].vector == 0) {
			vectors_free(dev);
			return false;
		}
	}
	dev->irq_count = count;
	return true;
}

static void msi_write(struct device *dev, const struct msi_message *m)
{
	u32 cap = dev->cap_msi, data = cap + 8;
	u32 control = pci_read(dev->id.address, cap + MSI_CONTROL, 2) & ~MSI_MULTIPLE;

	pci_write(dev->id.address, cap + 4, 4, (u32)m->address);
	if (control & MSI_64BIT) {
		pci_write(dev->id.address, cap + 8, 4, (u32)(m->address >> 32));
		data = cap + 12;
	}
	pci_write(dev->id.address, data, 2, m->data);
	pci_write(dev->id.address, cap + MSI_CONTROL, 2, control | MSI_ENABLE);
}

/* Entries of the MSI-X table: address, data, control (bit 0: masked). */
static void msix_write(struct device *dev, u32 i, const struct msi_message *m, bool masked)
{
	volatile u8 *e = dev->msix_table + i * MSIX_ENTRY_SIZE;

	mmio_write32(e + 12, 1);
	mmio_write32(e, (u32)m->address);
	mmio_write32(e + 4, (u32)(m->address >> 32));
	mmio_write32(e + 8, m->data);
	mmio_write32(e + 12, masked);
}

static bool msix_map(struct device *dev)
{
	u32 where = pci_read(dev->id.address, dev->cap_msix + MSIX_TABLE, 4);
	const struct pci_bar *b = &dev->bar[where & 7];
	u64 size = msix_entries(dev) * MSIX_ENTRY_SIZE, at = b->base + (where & ~7u);

	if ((where & 7) > 5 || (b->flags & D0_BAR_IO) || !pci_bar_sound(dev, b) ||
	    (where & ~7u) > b->size || size > b->size - (where & ~7u))
		return false;
	if (!dev->msix_table) { /* kept: mappings of registers are never undone */
		u64 page = ALIGN_DOWN(at, PAGE_SIZE);
		volatile u8 *p = mmio_map(HPA(page), ALIGN_UP(at + size, PAGE_SIZE) - page);
		dev->msix_table = p ? p + (at - page) : NULL;
	}
	return dev->msix_table;
}

/* Choose the best kind that can be had; nothing fires yet. */
static void irq_prepare(struct device *dev)
{
	dev->irq_kind = D0_IRQ_NONE;
	dev->irq_count = 0;
	if (dev->cap_msix && msix_map(dev) &&
	    vectors_alloc(dev, MIN(msix_entries(dev), (u32)DEVICE_IRQS_MAX))) {
		dev->irq_kind = D0_IRQ_MSIX;
	} else if (dev->cap_msi && vectors_alloc(dev, 1)) {
		dev->irq_kind = D0_IRQ_MSI;
	} else if (intx_attach(dev)) {
		dev->irq_kind = D0_IRQ_INTX;
		dev->irq_count = 1;
	}
	if (dev->cap_msix && dev->irq_kind != D0_IRQ_MSIX)
		pci_write(dev->id.address, dev->cap_msix + MSI_CONTROL, 2, 0);
}

static void irq_aim(struct device *dev, u32 i)
{
	struct msi_message m;

	if (!irq_message(dev->bridge == ~0u ? dev->id.address : ~0u, cpus[0].apic_id,
			 dev->irq[i].vector, &m))
		return;
	if (dev->irq_kind == D0_IRQ_MSIX)
		msix_write(dev, i, &m, false);
	else
		msi_write(dev, &m);
}

/* Memory decoding is on: the MSI-X table is behind a BAR. */
static void irq_enable(struct device *dev)
{
	static const struct msi_message nothing;
	u32 control = dev->cap_msix + MSI_CONTROL;

	if (dev->irq_kind == D0_IRQ_INTX) {
		intx_done(dev);
		return;
	}
	if (dev->irq_kind == D0_IRQ_MSIX) {
		pci_write(dev->id.address, control, 2, MSIX_ENABLE | MSIX_MASK_ALL);
		for (u32 i = dev->irq_count; i < msix_entries(dev); i++)
			msix_write(dev, i, &nothing, true);
	}
	for (u32 i = 0; i < dev->irq_count; i++)
		irq_aim(dev, i);
	if (dev->irq_kind == D0_IRQ_MSIX)
		pci_write(dev->id.address, control, 2, MSIX_ENABLE);
}

/* MSI-X is masked, not switched off: QEMU (7.2) ends when its 82574L still has an interrupt to
 * deliver that was throttled and MSI-X is off. */
static void irq_release(struct device *dev)
{
	if (dev->cap_msix && dev->irq_kind == D0_IRQ_MSIX)
		pci_write(dev->id.address, dev->cap_msix + MSI_CONTROL, 2,
			  MSIX_ENABLE | MSIX_MASK_ALL);
	if (dev->cap_msi)
		pci_write(dev->id.address, dev->cap_msi + MSI_CONTROL, 2, 0);
	if (dev->irq_kind == D0_IRQ_INTX) {
		intx_detach(dev);
		dev->irq[0].vector = 0; /* the line's */
	} else {
		vectors_free(dev);
	}
	dev->irq_kind = D0_IRQ_NONE;
	dev->irq_count = 0;
}

void device_irq_done(struct device *dev, u32 i)
{
	if (dev->owned && i == 0 && dev->irq_kind == D0_IRQ_INTX)
		intx_done(dev);
}

/* ---- BARs and configuration space ---- */

static u64 bar_pages(const struct pci_bar *b)
{
	return ALIGN_UP(b->base + b->size, PAGE_SIZE) - ALIGN_DOWN(b->base, PAGE_SIZE);
}

static int bar_map(struct device *dev, u32 n)
{
	const struct pci_bar *b = &dev->bar[n];
	u64 ro = 0, ro_size = 0, gpa;
	char name[] = "bar0";

	if (!pci_bar_sound(dev, b)) { /* the cell sees no such BAR */
		if (b->size && b->base)
			n_print("pci: " PCI_FORMAT " BAR %u at %lx cannot be granted",
				PCI_ARGS(dev->id.address), n, b->base);
		return D0_OK;
	}
	if (b->flags & D0_BAR_IO) {
		if (!cell_allow_ports(dev->owner.cell, (u16)b->base, (u32)b->size, true))
			return D0_ENOMEM;
		dev->bar_gpa[n] = b->base;
		return D0_OK;
	}
	name[3] = (char)('0' + n);
	pci_msix_pages(dev, n, &ro, &ro_size);
	int err =
	    cell_device_map(dev->owner.cell, HPA(ALIGN_DOWN(b->base, PAGE_SIZE)), bar_pages(b),
			    MAP_R | MAP_W | MAP_UC, ro, ro_size, name, &gpa);
	dev->bar_gpa[n] = err ? 0 : gpa + (b->base & PAGE_MASK);
	return err;
}

static void bar_unmap(struct device *dev, u32 n)
{
	const struct pci_bar *b = &dev->bar[n];

	if (dev->bar_gpa[n] == 0)
		return;
	if (b->flags & D0_BAR_IO)
		cell_allow_ports(dev->owner.cell, (u16)b->base, (u32)b->size, false);
	else
		cell_device_unmap(dev->owner.cell, ALIGN_DOWN(dev->bar_gpa[n], PAGE_SIZE),
				  bar_pages(b));
	dev->bar_gpa[n] = 0;
}

/* The cell's copy: as the device shows it, but BARs as the cell can use them. */
static void config_copy(const struct device *dev, u8 *out)
{
	bool extended = pci_read(dev->id.address, PCI_CONFIG_SIZE, 4) != ~0u;
	u32 size = extended ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;

	for (u32 off = 0; off < size; off += 4) {
		u32 v = pci_read(dev->id.address, off, 4);
		memcpy(out + off, &v, 4);
	}
	memset(out + PCI_BAR0, 0, 6 * 4);
	for (u32 n = 0; n < 6; n++) {
		u64 v = dev->bar_gpa[n];
		if (v == 0)
			continue;
		v |= (dev->bar[n].flags & D0_BAR_IO ? 1 : 0) |
		     (dev->bar[n].flags & D0_BAR_64 ? 4 : 0) |
		     (dev->bar[n].flags & D0_BAR_PREFETCH ? 8 : 0);
		memcpy(out + PCI_BAR0 + 4 * n, &v, dev->bar[n].flags & D0_BAR_64 ? 8 : 4);
	}
}

static int config_map(struct device *dev)
{
	dev->config_frame = frame_alloc();
	if (!hpa_valid(dev->config_frame))
		return D0_ENOMEM;
	config_copy(dev, hpa_to_ptr(dev->config_frame));
	int err = cell_device_map(dev->owner.cell, dev->config_frame, PAGE_SIZE, MAP_R, 0, 0,
				  "config", &dev->config_gpa);
	if (err)
		dev->config_gpa = 0;
	return err;
}

static void config_unmap(struct device *dev)
{
	if (dev->config_gpa)
		cell_device_unmap(dev->owner.cell, dev->config_gpa, PAGE_SIZE);
	if (hpa_valid(dev->config_frame))
		frame_free(dev->config_frame);
	dev->config_gpa = 0;
	dev->config_frame = HPA_NONE;
}

/* ---- grant and revoke ---- */

static void command_change(struct device *dev, u32 clear, u32 set)
{
	u32 command = pci_read(dev->id.address, PCI_COMMAND, 2);

	pci_write(dev->id.address, PCI_COMMAND, 2, (command & ~clear) | set);
}

static bool group_taken(const struct device *dev, const struct device_owner *owner)
{
	for (u32 i = 0; i < device_count(); i++) {
		const struct device *other = device_by_index(i);
		if (other->owned && other->group == dev->group &&
		    other->owner.cell != owner->cell)
			return true;
	}
	return false;
}

static void describe_to_cell(const struct device *dev, struct d0_device *out)
{
	*out = dev->id;
	out->config = dev->config_gpa;
	out->irq_first = dev->channel;
	out->irq_count = dev->irq_count;
	out->irq_kind = dev->irq_kind;
	out->flags = dev->owner.domain ? D0_DEV_IOMMU : 0;
	for (u32 n = 0; n < 6; n++) {
		bool io = dev->bar[n].flags & D0_BAR_IO;
		if (dev->bar_gpa[n] == 0)
			continue;
		out->bar[n] = (struct d0_bar){.base = io ? 0 : dev->bar_gpa[n],
					      .size = dev->bar[n].size,
					      .flags = dev->bar[n].flags,
					      .port = io ? (u32)dev->bar_gpa[n] : 0};
	}
}

/* Undo, whatever of it was done. The order is the reverse of device_grant()'s. */
static void release(struct device *dev)
{
	u32 channels = dev->irq_count;

	command_change(dev, PCI_COMMAND_MASTER, 0);
	irq_release(dev);
	if (dev->channel != ~0u)
		cell_irqs_free(dev->owner.cell, dev->channel, channels);
	config_unmap(dev);
	for (u32 n = 0; n < 6; n++)
		bar_unmap(dev, n);
	iommu_detach(dev, dev->owner.domain);
	command_change(dev, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, PCI_COMMAND_NO_INTX);
	dev->channel = ~0u;
	dev->owned = false;
	dev->owner = (struct device_owner){0};
}

static int take_channels(struct device *dev)
{
	irq_prepare(dev);
	if (dev->irq_count == 0)
		return D0_OK; /* to be polled */
	int first = cell_irqs_take(dev->owner.cell, dev->slot, dev->irq_count);
	if (first < 0)
		return first;
	dev->channel = (u32)first;
	return D0_OK;
}

int device_grant(struct device *dev, const struct device_owner *owner, u32 slot,
		 struct d0_device *out)
{
	n_assert(nucleus_lock_held());
	if (dev->owned || group_taken(dev, owner))
		return D0_EBUSY;
	if (dev->reserved_memory)
		return D0_EPERM;
	device_settle(dev);
	dev->owned = true;
	dev->owner = *owner;
	dev->slot = slot;
	dev->channel = ~0u;
	command_change(dev, PCI_COMMAND_MASTER, PCI_COMMAND_NO_INTX);
	int err = iommu_attach(dev, owner->domain) ? D0_OK : D0_ENOMEM;
	for (u32 n = 0; n < 6 && !err; n++)
		err = bar_map(dev, n);
	if (!err)
		err = config_map(dev);
	if (!err)
		err = take_channels(dev);
	if (err) {
		release(dev);
		return err;
	}
	describe_to_cell(dev, out);
	command_change(dev, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	irq_enable(dev);
	command_change(dev, 0, PCI_COMMAND_MASTER);
	return D0_OK;
}

void device_revoke(struct device *dev)
{
	n_assert(nucleus_lock_held());
	if (!dev->owned)
		return;
	release(dev);
	/* Last: while a function-level reset runs, configuration space does not answer. */
	device_reset(dev);
}
