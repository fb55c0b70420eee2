/* SPDX-License-Identifier: ISC */
/*
 * INTx: level-triggered lines that several devices share (PCI 3.0, 2.2.6).
 *
 * A cell takes its time to serve an interrupt, or never does. So the line is not masked
 * meanwhile, the device is: by its own INTx-disable bit, which devices since PCI 2.3 have.
 * A device without that bit gets a line only for itself, which is then masked instead.
 * The line of a device is what the firmware wrote into its interrupt-line register, taken
 * as an ISA interrupt through the MADT's overrides; _PRT is AML and not read. A line on
 * which no device admits to an interrupt is masked after UNCLAIMED_MAX in a row.
 */
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/pci.h"

#define LINES_MAX     16
#define UNCLAIMED_MAX 10000

static struct line {
	u32 gsi, users, unclaimed;
	u8 vector;      /* 0: not in use */
	bool exclusive; /* its one device cannot be silenced but by the line */
} lines[LINES_MAX];

static void disable(struct device *dev, bool off)
{
	u32 command = pci_read(dev->id.address, PCI_COMMAND, 2);

	pci_write(dev->id.address, PCI_COMMAND, 2,
		  off ? command | PCI_COMMAND_NO_INTX : command & ~PCI_COMMAND_NO_INTX);
}

static bool serve(struct line *line, struct device *dev)
{
	if (!dev->owned || dev->irq_kind != D0_IRQ_INTX || dev->gsi != line->gsi)
		return false;
	if (dev->intx_maskable) {
		u32 status = pci_read(dev->id.address, PCI_STATUS, 2);
		u32 command = pci_read(dev->id.address, PCI_COMMAND, 2);
		if (!(status & PCI_STATUS_INTX) || (command & PCI_COMMAND_NO_INTX))
			return false;
		disable(dev, true);
	} else {
		ioapic_mask(line->gsi, true);
	}
	cell_raise(dev->owner.cell, dev->channel);
	return true;
}

static void line_interrupt(u32 vector, void *arg)
{
	struct line *line = arg;
	bool claimed = false;

	nucleus_lock();
	for (u32 i = 0; i < device_count(); i++)
		claimed |= serve(line, device_by_index(i));
	line->unclaimed = claimed ? 0 : line->unclaimed + 1;
	if (line->unclaimed == UNCLAIMED_MAX) {
		ioapic_mask(line->gsi, true);
		n_print("irq: line %u screams and no device admits to it: masked", line->gsi);
	}
	nucleus_unlock();
}

static struct line *line_find(u32 gsi)
{
	struct line *free = NULL;

	for (u32 i = 0; i < LINES_MAX; i++) {
		if (lines[i].vector && lines[i].gsi == gsi)
			return &lines[i];
		if (!lines[i].vector)
			free = &lines[i];
	}
	return free;
}

bool intx_attach(struct device *dev)
{
	struct acpi_override o = acpi_isa_irq(dev->int_line);
	struct line *line = line_find(o.gsi);

	if (dev->int_pin == 0 || dev->int_line == 0 || dev->int_line > 15 || !line)
		return false;
	if (line->vector && (line->exclusive || !dev->intx_maskable))
		return false;
	if (!line->vector) {
		u8 vector = irq_vector_alloc(line_interrupt, line);
		if (vector == 0)
			return false;
		/* Level, active low, unless an override of the same number says otherwise. */
		if (!ioapic_route(o.gsi, vector, cpus[0].apic_id, true,
				  o.level ? o.low : true)) {
			irq_vector_free(vector);
			return false;
		}
		*line = (struct line){
		    .gsi = o.gsi, .vector = vector, .exclusive = !dev->intx_maskable};
	}
	line->users++;
	dev->gsi = o.gsi;
	dev->irq[0].vector = line->vector;
	return true;
}

void intx_detach(struct device *dev)
{
	struct line *line = line_find(dev->gsi);

	disable(dev, true);
	n_assert(line && line->users);
	if (--line->users == 0) {
		ioapic_mask(line->gsi, true);
		irq_vector_free(line->vector);
		line->vector = 0;
	}
}

/* Also how a device starts: nothing was served yet, so nothing is pending twice. */
void intx_done(struct device *dev)
{
	disable(dev, false);
	ioapic_mask(dev->gsi, false);
}
