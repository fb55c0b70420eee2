/* SPDX-License-Identifier: ISC */
/*
 * The IOMMU: Intel VT-d, legacy mode.
 *
 * Problem: a device given to a cell moves data by itself, past the cell's second-level
 * tables. It must reach that cell's memory and nothing else, and raise that cell's
 * interrupts and nothing else.
 *
 * Model: one domain for each cell with devices, a tree of second-level tables that mirrors
 * the cell's regions at the same guest-physical addresses. A device's context entry leads
 * to its cell's domain; a device that nobody owns has none, so all its DMA faults. The
 * tables are written by the one walker (format_vtd). Interrupts go through one remapping
 * table indexed by vector, each entry bound to the requester ID it was given to.
 *
 * Hardware with 39-bit walks only starts one level further down: at the table that entry 0
 * of the tree's root leads to (no region lies above D0_GPA_LIMIT). That table comes and goes
 * with what is mapped, so it is looked up again after every change.
 *
 * Invariants: when iommu_unmap() or iommu_detach() returns, the hardware has confirmed
 * that no cached translation is left and that writes in flight have landed. A unit that
 * lacks what we need (queued invalidation, 3 or 4 levels) leaves the whole machine
 * without an IOMMU, loudly, rather than half covered.
 *
 * Locking: the nucleus lock, also taken by the fault handler. Where the hardware does
 * not snoop page walks, caches are written back after each change of a table.
 *
 * Limits: devices that firmware reserves memory for (RMRR) are not granted; AMD-Vi is
 * recognised, not driven.
 */
#include "nucleus/device_manager/vtd.h"

#include "d0/abi.h"
#include "nucleus/core/cpu.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/dmar.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/memory_regions/memory_regions.h"

#define DOMAINS_MAX   32
#define REGISTER_SIZE (5 * PAGE_SIZE) /* as far as the offsets in CAP and ECAP can lead */
#define QUEUE_ENTRIES 256u
#define TIMEOUT_NS    50000000ull
#define FAULTS_SHOWN  32
#define ADDRESS_MASK  0x000ffffffffff000ull

struct iommu_domain {
	bool used;
	u16 id; /* its index + 1 */
	struct space space;
	u64 top3; /* table for 39-bit units as last written to context entries */
	void *cell;
	u32 number;
};

struct unit {
	volatile u8 *regs;
	const struct dmar_unit *dmar;
	u64 cap, ecap;
	hpa_t root;
	struct vtd_descriptor *queue; /* a frame each */
	volatile u32 *status;
	u32 tail, waits;
};

static struct dmar_info dmar;
static struct unit units[DMAR_UNITS_MAX];
static u32 unit_count; /* 0: no IOMMU */
static bool remapping, large_pages, wide_ids;
static struct iommu_domain domains[DOMAINS_MAX];
static u32 domains_max = DOMAINS_MAX;
static struct vtd_irte *irt; /* a frame, indexed by vector */
static u32 faults_shown;

bool iommu_present(void)
{
	return unit_count > 0;
}

bool iommu_owns(u64 base, u64 size)
{
	for (u32 i = 0; i < dmar.units; i++) {
		u64 regs = dmar.unit[i].regs.v;
		if (base < regs + REGISTER_SIZE && regs < base + size)
			return true;
	}
	return false;
}

/* ---- one unit ---- */

static u32 reg32(const struct unit *u, u32 off)
{
	return mmio_read32(u->regs + off);
}

static bool wait_status(const struct unit *u, u32 bit, bool set)
{
	u64 end = clock_ns() + TIMEOUT_NS;

	while (!!(reg32(u, VTD_GSTS) & bit) != set) {
		if (clock_ns() > end)
			return false;
		cpu_relax();
	}
	return true;
}

static bool command(const struct unit *u, u32 bit, bool set)
{
	u32 now = reg32(u, VTD_GSTS) & VTD_GSTS_STAYS;

	mmio_write32(u->regs + VTD_GCMD, set ? now | bit : now & ~bit);
	return wait_status(u, bit, set);
}

/* Make table entries visible to hardware that does not look into caches. */
static void tables_written(const struct unit *u)
{
	if (!VTD_ECAP_COHERENT(u->ecap))
		__asm__ volatile("wbinvd" ::: "memory");
	else
		__asm__ volatile("mfence" ::: "memory");
	if (VTD_CAP_RWBF(u->cap)) {
		u32 now = reg32(u, VTD_GSTS) & VTD_GSTS_STAYS;
		mmio_write32(u->regs + VTD_GCMD, now | VTD_FLUSH_BUFFERS);
		wait_status(u, VTD_FLUSH_BUFFERS, false);
	}
}

static void queue_put(struct unit *u, u64 low, u64 high)
{
	u->queue[u->tail] = (struct vtd_descriptor){low, high};
	u->tail = (u->tail + 1) % QUEUE_ENTRIES;
}

/* Run what was queued and wait for its end. Never more than a few descriptors. */
static bool queue_run(struct unit *u)
{
	u64 end = clock_ns() + TIMEOUT_NS;
	u32 ticket = ++u->waits;

	queue_put(u, VTD_INV_WAIT | (u64)ticket << 32, ptr_to_hpa((void *)u->status).v);
	tables_written(u);
	mmio_write32(u->regs + VTD_IQT, u->tail * sizeof(struct vtd_descriptor));
	while (*u->status != ticket) {
		if (reg32(u, VTD_FSTS) & VTD_FSTS_QUEUE_ERROR || clock_ns() > end) {
			n_print(
			    "iommu: invalidation failed, status %x: DMA may not be confined",
			    reg32(u, VTD_FSTS));
			mmio_write32(u->regs + VTD_FSTS, VTD_FSTS_QUEUE_ERROR);
			return false;
		}
		cpu_relax();
	}
	return true;
}

static u64 drain(const struct unit *u)
{
	return VTD_CAP_DRAIN(u->cap) << VTD_INV_DRAIN_SHIFT;
}

static void flush_domain(struct iommu_domain *d)
{
	for (u32 i = 0; i < unit_count; i++) {
		queue_put(&units[i], VTD_INV_IOTLB_DOMAIN | drain(&units[i]) | (u64)d->id << 16,
			  0);
		queue_run(&units[i]);
	}
}

static bool flush_all(struct unit *u)
{
	queue_put(u, VTD_INV_CONTEXT_GLOBAL, 0);
	queue_put(u, VTD_INV_IOTLB_GLOBAL | drain(u), 0);
	if (remapping)
		queue_put(u, VTD_INV_INTERRUPTS, 0);
	return queue_run(u);
}

/* ---- context entries ---- */

static struct unit *unit_of(u32 address)
{
	for (u32 i = 0; i < unit_count; i++) {
		if (dmar_covers(&dmar, &units[i].dmar->scopes, address))
			return &units[i];
	}
	for (u32 i = 0; i < unit_count; i++) {
		if (units[i].dmar->all && units[i].dmar->scopes.segment == address >> 16)
			return &units[i];
	}
	return NULL;
}

static struct vtd_context_entry *context_of(struct unit *u, u32 address, bool create)
{
	struct vtd_root_entry *root = hpa_to_ptr(u->root);
	struct vtd_root_entry *r = &root[PCI_BUS(address)];

	if (!(r->low & VTD_PRESENT)) {
		hpa_t frame = create ? frame_alloc() : HPA_NONE;
		if (!hpa_valid(frame))
			return NULL;
		tables_written(u);
		r->low = frame.v | VTD_PRESENT;
	}
	struct vtd_context_entry *table = hpa_to_ptr(HPA(r->low & ~PAGE_MASK));
	return &table[address & 0xff];
}

/* The table a 39-bit walk starts at; 0: nothing is mapped. VT-d 4.1, 9.8: R, W, address. */
static u64 third_level(const struct iommu_domain *d)
{
	u64 entry = *(volatile u64 *)hpa_to_ptr(d->space.root);

	return entry & (MAP_R | MAP_W) ? entry & ADDRESS_MASK : 0;
}

static bool context_set(u32 address, struct iommu_domain *d)
{
	struct unit *u = unit_of(address);
	struct vtd_context_entry *e = u ? context_of(u, address, d != NULL) : NULL;

	if (!e)
		return d == NULL;
	u16 old = e->high >> 8 & 0xffff;
	/* Absent first: hardware must not see half of an entry. */
	__atomic_store_n(&e->low, 0, __ATOMIC_RELEASE);
	if (d) {
		bool four = VTD_CAP_4_LEVELS(u->cap);
		u64 table = four ? d->space.root.v : third_level(d);
		e->high = (u64)d->id << 8 | (four ? VTD_WIDTH_48 : VTD_WIDTH_39);
		if (table)
			__atomic_store_n(&e->low, table | VTD_PRESENT, __ATOMIC_RELEASE);
		old = old ? old : d->id;
	} else {
		e->high = 0;
	}
	queue_put(u, VTD_INV_CONTEXT_DEVICE | (u64)old << 16 | (u64)(address & 0xffff) << 32,
		  0);
	queue_put(u, VTD_INV_IOTLB_DOMAIN | drain(u) | (u64)old << 16, 0);
	return queue_run(u);
}

/* Behind a conventional bridge, requests carry the bridge's ID or its bus's first. */
static bool contexts_set(const struct device *dev, struct iommu_domain *d)
{
	bool fine = context_set(dev->id.address, d);

	if (dev->bridge == ~0u)
		return fine;
	u32 secondary = pci_secondary_bus(dev->bridge);
	fine &= context_set(dev->bridge, d);
	return context_set((dev->id.address & 0xffff0000) | secondary << 8, d) && fine;
}

bool iommu_attach(struct device *dev, struct iommu_domain *d)
{
	if (!d)
		return true;
	d->top3 = third_level(d);
	if (contexts_set(dev, d))
		return true;
	contexts_set(dev, NULL);
	return false;
}

static bool bridge_shared(const struct device *dev)
{
	for (u32 i = 0; i < device_count(); i++) {
		const struct device *other = device_by_index(i);
		if (other != dev && other->owned && other->bridge == dev->bridge)
			return true;
	}
	return false;
}

void iommu_detach(struct device *dev, struct iommu_domain *d)
{
	if (!d)
		return;
	if (dev->bridge != ~0u && bridge_shared(dev))
		context_set(dev->id.address, NULL);
	else
		contexts_set(dev, NULL);
}

/* ---- domains ---- */

struct iommu_domain *iommu_domain_create(void *cell, u32 number)
{
	for (u32 i = 0; unit_count && i < domains_max; i++) {
		struct iommu_domain *d = &domains[i];
		if (d->used)
			continue;
		*d = (struct iommu_domain){.id = (u16)(i + 1), .cell = cell, .number = number};
		if (!space_init(&d->space, &format_vtd))
			return NULL;
		d->used = true;
		return d;
	}
	return NULL;
}

void iommu_domain_destroy(struct iommu_domain *d)
{
	flush_domain(d);
	space_destroy(&d->space);
	d->used = false;
}

/* The third-level table may be another now: lead the devices to it. */
static void follow_top(struct iommu_domain *d)
{
	u64 top = third_level(d);

	if (top == d->top3)
		return;
	d->top3 = top;
	for (u32 i = 0; i < device_count(); i++) {
		struct device *dev = device_by_index(i);
		if (dev->owned && dev->owner.domain == d)
			contexts_set(dev, d);
	}
}

int iommu_map(struct iommu_domain *d, gpa_t at, hpa_t to, u64 size, u32 perms)
{
	bool caching = false;

	if (at.v >= D0_GPA_LIMIT || size > D0_GPA_LIMIT - at.v)
		return D0_EINVAL;
	int err = space_map(&d->space, at.v, to, size, perms & (MAP_R | MAP_W), large_pages);
	for (u32 i = 0; i < unit_count; i++) {
		tables_written(&units[i]);
		caching |= VTD_CAP_CACHING(units[i].cap);
	}
	follow_top(d);
	if (caching || err)
		flush_domain(d);
	return err;
}

void iommu_unmap(struct iommu_domain *d, gpa_t at, u64 size)
{
	space_unmap(&d->space, at.v, size);
	follow_top(d);
	flush_domain(d);
}

/* ---- interrupts ---- */

u32 iommu_ioapic_sid(u32 ioapic_id)
{
	for (u32 i = 0; i < dmar.scopes; i++) {
		const struct dmar_scope *s = &dmar.scope[i];
		if (s->type == DMAR_IOAPIC && s->id == ioapic_id && s->depth == 1)
			return (u32)s->bus << 8 | s->path[0];
	}
	return ~0u;
}

bool iommu_remap(u32 sid, u8 vector, u32 apic_id, bool level)
{
	if (!remapping)
		return false;
	struct vtd_irte *e = &irt[vector];
	__atomic_store_n(&e->low, 0, __ATOMIC_RELEASE);
	e->high = sid == ~0u ? 0 : (sid & 0xffff) | VTD_IRTE_VERIFY_SID;
	__atomic_store_n(&e->low,
			 VTD_PRESENT | (level ? VTD_IRTE_LEVEL : 0) |
			     (vector == VECTOR_NMI ? VTD_IRTE_NMI : 0) | (u64)vector << 16 |
			     (u64)(wide_ids ? apic_id : apic_id << 8) << 32,
			 __ATOMIC_RELEASE);
	for (u32 i = 0; i < unit_count; i++) {
		queue_put(&units[i], VTD_INV_INTERRUPTS, 0);
		queue_run(&units[i]);
	}
	return true;
}

/* ---- faults ---- */

static void report_fault(const struct unit *u, u64 low, u64 high)
{
	u32 sid = (u32)u->dmar->scopes.segment << 16 | VTD_FAULT_SID(high);
	u32 reason = VTD_FAULT_REASON(high);
	struct device *dev = device_by_address(sid);
	bool write = !(high & VTD_FAULT_READ);

	if (faults_shown < FAULTS_SHOWN) {
		faults_shown++;
		n_print("iommu: device " PCI_FORMAT " %s %lx: refused, reason %x",
			PCI_ARGS(sid),
			reason >= VTD_FAULT_IRQ ? "interrupt"
			: write                 ? "writes"
						: "reads",
			low, reason);
	}
	/* It ends here: the cell is about to fail, and the device must not flood us. */
	pci_write(sid, PCI_COMMAND, 2, pci_read(sid, PCI_COMMAND, 2) & ~PCI_COMMAND_MASTER);
	if (dev && dev->owned)
		cell_dma_fault(dev->owner.cell, sid, low, write, reason);
}

static void fault_interrupt(u32 vector, void *arg)
{
	struct unit *u = arg;
	u32 base = VTD_CAP_FAULT_OFFSET(u->cap);

	nucleus_lock();
	for (u32 i = 0; i < VTD_CAP_FAULTS(u->cap); i++) {
		volatile u8 *record = u->regs + base + 16 * i;
		u64 low = mmio_read64(record), high = mmio_read64(record + 8);
		if (!(high & VTD_FAULT))
			continue;
		mmio_write32(record + 12, (u32)(VTD_FAULT >> 32));
		report_fault(u, low & ~PAGE_MASK, high);
	}
	mmio_write32(u->regs + VTD_FSTS, VTD_FSTS_OVERFLOW);
	nucleus_unlock();
}

static bool faults_enable(struct unit *u)
{
	u8 vector = irq_vector_alloc(fault_interrupt, u);
	struct msi_message m;

	/* These interrupts are the unit's own and are not remapped. */
	if (vector == 0 || !msi_compose(cpus[0].apic_id, vector, &m))
		return false;
	mmio_write32(u->regs + VTD_FEDATA, m.data);
	mmio_write32(u->regs + VTD_FEADDR, (u32)m.address);
	mmio_write32(u->regs + VTD_FEUADDR, 0);
	mmio_write32(u->regs + VTD_FECTL, 0);
	return true;
}

/* ---- start ---- */

void iommu_parse(void)
{
	const u8 *table = NULL;

	if (acpi.dmar.v)
		table = firmware_map(acpi.dmar, acpi.dmar_size);
	if (table && !dmar_parse(&dmar, table, acpi.dmar_size)) {
		n_print("iommu: the DMAR table is damaged");
		dmar = (struct dmar_info){0};
	}
}

static bool unit_fits(struct unit *u)
{
	u->regs = mmio_map(u->dmar->regs, REGISTER_SIZE);
	if (!u->regs)
		return false;
	u->cap = mmio_read64(u->regs + VTD_CAP);
	u->ecap = mmio_read64(u->regs + VTD_ECAP);
	return VTD_ECAP_QUEUE(u->ecap) &&
	       (VTD_CAP_4_LEVELS(u->cap) || VTD_CAP_3_LEVELS(u->cap)) &&
	       VTD_CAP_FAULT_OFFSET(u->cap) + 16 * VTD_CAP_FAULTS(u->cap) <= REGISTER_SIZE;
}

static bool unit_start(struct unit *u)
{
	hpa_t status = frame_alloc(), queue = frame_alloc();

	u->root = frame_alloc();
	if (!hpa_valid(status) || !hpa_valid(u->root) || !hpa_valid(queue))
		return false;
	u->status = hpa_to_ptr(status);
	u->queue = hpa_to_ptr(queue);
	/* The firmware may have had it running. */
	if (!command(u, VTD_QUEUE, false))
		return false;
	mmio_write64(u->regs + VTD_IQT, 0);
	mmio_write64(u->regs + VTD_IQA, queue.v);
	tables_written(u);
	if (!command(u, VTD_QUEUE, true))
		return false;
	mmio_write64(u->regs + VTD_RTADDR, u->root.v);
	return command(u, VTD_SET_ROOT, true) && flush_all(u) && faults_enable(u) &&
	       command(u, VTD_TRANSLATE, true);
}

static void remap_start(void)
{
	wide_ids = lapic_x2apic;
	for (u32 i = 0; i < unit_count; i++) {
		if (!VTD_ECAP_REMAP(units[i].ecap) || !dmar.interrupt_remap)
			return;
		wide_ids &= VTD_ECAP_EIM(units[i].ecap);
	}
	hpa_t table = frame_alloc();
	if (!hpa_valid(table))
		return;
	irt = hpa_to_ptr(table);
	remapping = true;
	for (u32 i = 0; i < unit_count; i++) {
		struct unit *u = &units[i];
		mmio_write64(u->regs + VTD_IRTA,
			     table.v | VTD_IRTA_256 | (wide_ids ? VTD_IRTA_X2APIC : 0));
		remapping &= command(u, VTD_SET_IRTA, true) && flush_all(u) &&
			     command(u, VTD_REMAP, true);
	}
}

static void mark_reserved(void)
{
	for (u32 d = 0; d < device_count(); d++) {
		struct device *dev = device_by_index(d);
		for (u32 i = 0; i < dmar.rmrrs; i++)
			dev->reserved_memory |=
			    dmar_covers(&dmar, &dmar.rmrr[i].scopes, dev->id.address);
	}
}

static const char *start_all(void)
{
	large_pages = true;
	for (u32 i = 0; i < dmar.units; i++) {
		units[i].dmar = &dmar.unit[i];
		if (!unit_fits(&units[i]))
			return "lacks queued invalidation or 3-level tables";
		domains_max = MIN(domains_max, VTD_CAP_DOMAINS(units[i].cap) - 1);
		large_pages &= VTD_CAP_2M(units[i].cap);
	}
	for (u32 i = 0; i < dmar.units; i++) {
		if (!unit_start(&units[i])) {
			for (u32 k = 0; k <= i; k++)
				command(&units[k], VTD_TRANSLATE, false);
			return "does not start";
		}
		/* Regions the firmware protected from all DMA: tables do that from here on. */
		if (VTD_CAP_PROTECTED(units[i].cap))
			mmio_write32(units[i].regs + VTD_PMEN,
				     reg32(&units[i], VTD_PMEN) & ~VTD_PMEN_ENABLE);
	}
	unit_count = dmar.units;
	return NULL;
}

void iommu_init(void)
{
	const char *why = "none found";

	if (acpi.ivrs)
		why = "AMD-Vi is not supported";
	if (dmar.units)
		why = start_all();
	if (why) {
		n_print("iommu: WARNING: %s: a device granted to a cell can reach ALL memory",
			why);
		return;
	}
	mark_reserved();
	remap_start();
	n_print("iommu: VT-d, %u units, DMA confined, interrupts %s", unit_count,
		remapping ? "remapped" : "not remapped: a device can raise any vector");
}
