/* SPDX-License-Identifier: ISC */
/* PCI: enumeration of a made-up machine with hostile parts, grants and their undoing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nucleus/core/cpu.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/pci.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "tests/unit/nucleus_devmgr_fake.h"

/* ---- a machine: configuration spaces with BARs that can be sized ---- */

#define FUNCTIONS 80
static struct function {
	u32 address;
	u8 space[4096];
	u32 bar_mask[6]; /* address bits that can be written; 0: no BAR */
} machine[FUNCTIONS];
static u32 functions;

static struct function *function_at(u32 address)
{
	for (u32 i = 0; i < functions; i++) {
		if (machine[i].address == address)
			return &machine[i];
	}
	return NULL;
}

static u32 config_get(const struct function *f, u32 off, u32 width)
{
	u32 v = 0;

	memcpy(&v, f->space + off, width);
	return v;
}

static void config_put(struct function *f, u32 off, u32 width, u32 v)
{
	memcpy(f->space + off, &v, width);
}

u32 pci_read(u32 address, u32 off, u32 width)
{
	struct function *f = function_at(address);

	assert_true(off + width <= 4096 && off % width == 0);
	return f ? config_get(f, off, width) : width == 4 ? ~0u : (1u << width * 8) - 1;
}

void pci_write(u32 address, u32 off, u32 width, u32 v)
{
	struct function *f = function_at(address);

	assert_true(off + width <= 4096 && off % width == 0);
	if (!f)
		return;
	if (off >= PCI_BAR0 && off < PCI_BAR0 + 24 && (f->space[PCI_HEADER] & 0x7f) == 0) {
		u32 n = (off - PCI_BAR0) / 4, mask = f->bar_mask[n];
		v = (v & mask) | (config_get(f, off, 4) & ~mask);
	}
	config_put(f, off, width, v);
}

static struct function *add(u32 bus, u32 slot, u32 fn, u16 vendor, u32 class_rev)
{
	struct function *f = &machine[functions++];

	memset(f, 0, sizeof(*f));
	f->address = PCI_ADDRESS(0, bus, slot, fn);
	config_put(f, PCI_VENDOR, 2, vendor);
	config_put(f, PCI_DEVICE, 2, 0x1000 + slot);
	config_put(f, PCI_CLASS_REV, 4, class_rev);
	return f;
}

static void add_bar(struct function *f, u32 n, u64 base, u64 size, u32 bits)
{
	f->bar_mask[n] = (u32) ~(size - 1) & ~15u;
	config_put(f, PCI_BAR0 + 4 * n, 4, (u32)base | bits);
	if (bits & 4) {
		f->bar_mask[n + 1] = (u32)(~(size - 1) >> 32);
		config_put(f, PCI_BAR0 + 4 * n + 4, 4, (u32)(base >> 32));
	}
}

static void add_cap(struct function *f, u8 at, u8 id, u8 next)
{
	config_put(f, PCI_STATUS, 2, PCI_STATUS_CAPS);
	if (f->space[PCI_CAPS] == 0)
		f->space[PCI_CAPS] = at;
	f->space[at] = id;
	f->space[at + 1] = next;
}

static struct function *add_bridge(u32 bus, u32 slot, u8 secondary, bool pcie)
{
	struct function *f = add(bus, slot, 0, 0x8086, 0x06040000);

	f->space[PCI_HEADER] = 1;
	f->space[PCI_SECONDARY] = secondary;
	f->space[PCI_SUBORDINATE] = secondary;
	if (pcie) {
		add_cap(f, 0x40, PCI_CAP_PCIE, 0);
		config_put(f, 0x42, 2, 4 << 4); /* root port */
	}
	return f;
}

/* A network card with MSI-X: registers in BAR 0, the table in BAR 3. */
static struct function *add_nic(u32 bus, u32 slot, u64 base)
{
	struct function *f = add(bus, slot, 0, 0x8086, 0x02000001);

	add_bar(f, 0, base, 0x4000, 0);
	add_bar(f, 3, base + 0x4000, 0x4000, 4);
	add_cap(f, 0x40, PCI_CAP_MSIX, 0);
	config_put(f, 0x42, 2, 4); /* five entries */
	config_put(f, 0x44, 4, 0 | 3);
	config_put(f, 0x48, 4, 0x2000 | 3);
	return f;
}

/* ---- what device.c calls ---- */

static bool attach_fails;
static int attached;
bool iommu_owns(u64 base, u64 size)
{
	return base < 0x180000 && base + size > 0x17f000;
}
bool iommu_attach(struct device *dev, struct iommu_domain *d)
{
	attached += !attach_fails;
	return !attach_fails;
}
void iommu_detach(struct device *dev, struct iommu_domain *d)
{
	attached -= attached > 0;
}
bool iommu_remap(u32 sid, u8 vector, u32 apic_id, bool level)
{
	return false;
}

static int line_masks, line_unmasks;
bool ioapic_route(u32 gsi, u8 vector, u32 apic_id, bool level, bool low)
{
	return true;
}
void ioapic_mask(u32 gsi, bool masked)
{
	line_masks += masked;
	line_unmasks += !masked;
}

/* ---- a cell ---- */

static struct {
	u32 mapped, map_calls, fail_map_at, channels, fired[256];
	u64 ro_offset, ro_size;
	bool fail_channels;
} cell;

int cell_device_map(struct cell *c, hpa_t base, u64 size, u32 perms, u64 ro_offset, u64 ro_size,
		    const char *name, u64 *gpa)
{
	assert_int_equal((base.v | size | ro_offset | ro_size) & PAGE_MASK, 0);
	if (++cell.map_calls == cell.fail_map_at)
		return D0_ENOMEM;
	cell.mapped++;
	if (ro_size) {
		cell.ro_offset = ro_offset;
		cell.ro_size = ro_size;
	}
	*gpa = 0x40000000 + cell.map_calls * 0x100000;
	return 0;
}
void cell_device_unmap(struct cell *c, u64 gpa, u64 size)
{
	cell.mapped--;
}
int cell_irqs_take(struct cell *c, u32 device, u32 count)
{
	if (cell.fail_channels)
		return D0_ELIMIT;
	cell.channels += count;
	return 10;
}
void cell_irqs_free(struct cell *c, u32 first, u32 count)
{
	assert_int_equal(first, 10);
	cell.channels -= count;
}
void cell_raise(struct cell *c, u32 channel)
{
	cell.fired[channel]++;
}
bool cell_allow_ports(struct cell *c, u16 first, u32 count, bool allow)
{
	return true;
}
static struct device_owner alice = {.cell = (struct cell *)&cell, .number = 1};
static struct device_owner bob = {.cell = (struct cell *)&bob, .number = 2};

static int setup(void **state)
{
	fake_reset();
	memset(&cell, 0, sizeof(cell));
	functions = 0;
	attach_fails = false;
	attached = line_masks = line_unmasks = 0;
	add(0, 0, 0, 0x8086, 0x06000000); /* host bridge */
	return 0;
}

/* ---- tests ---- */

static void tree_of_buses(void **state)
{
	add_nic(0, 2, 0x110000);
	add_bridge(0, 3, 1, true);
	add_nic(1, 0, 0x120000);
	add_bridge(0, 4, 2, false); /* conventional PCI */
	add_nic(2, 5, 0x130000);
	add_nic(2, 6, 0x140000);
	pci_enumerate();
	assert_int_equal(device_count(), 4);
	assert_int_equal(device_by_address(0x10)->bridge, ~0u);
	assert_int_equal(device_by_address(0x100)->bridge, ~0u);
	assert_int_equal(device_by_address(0x228)->bridge, 0x20);
	assert_int_equal(device_by_address(0x228)->group, device_by_address(0x230)->group);
	assert_int_not_equal(device_by_address(0x10)->group, device_by_address(0x100)->group);
	assert_null(device_by_address(0x00));
	assert_null(device_by_index(4));
}

static void hostile_bridges(void **state)
{
	add_bridge(0, 1, 0, true); /* to its own bus */
	add_bridge(0, 2, 1, true);
	add_bridge(1, 0, 1, true); /* to its own bus again */
	add_bridge(1, 1, 2, true);
	for (u32 bus = 2; bus < 30; bus++) /* deeper than allowed */
		add_bridge(bus, 0, (u8)(bus + 1), true);
	add_bridge(30, 1, 2, true); /* and back */
	pci_enumerate();
	assert_int_equal(device_count(), 0);
}

static void too_many(void **state)
{
	for (u32 i = 0; i < 70; i++)
		add(0, 1 + i / 8, i % 8, 0x1234, 0x02000000)->space[PCI_HEADER] = 0x80;
	pci_enumerate();
	assert_int_equal(device_count(), DEVICES_MAX);
}

static void bars(void **state)
{
	struct function *f = add(0, 1, 0, 0x1234, 0x02000000);
	struct device *d;

	add_bar(f, 0, 0x110000, 0x2000, 8);
	add_bar(f, 1, 0x2000000000ull, 0x200000000ull, 4);
	f->bar_mask[3] = 0xffe0;
	config_put(f, PCI_BAR0 + 12, 4, 0xc001);
	f = add(0, 2, 0, 0x1234, 0x02000000);
	add_bar(f, 0, 0x112000, 0x100, 0); /* two small ones in one page */
	f = add(0, 3, 0, 0x1234, 0x02000000);
	add_bar(f, 0, 0x112100, 0x100, 0);
	add_bar(f, 1, 0xfee00000, 0x1000, 0); /* over the local APIC */
	add_bar(f, 2, 0x17f000, 0x1000, 0);   /* over the IOMMU */
	add_bar(f, 3, 0, 0x1000, 0);          /* nowhere */
	add_bar(f, 4, 0x1000, 0x1000, 0);     /* low memory */
	pci_enumerate();
	d = device_by_address(0x08);
	assert_int_equal(d->bar[0].size, 0x2000);
	assert_int_equal(d->bar[0].flags, D0_BAR_PREFETCH);
	assert_true(pci_bar_sound(d, &d->bar[0]));
	assert_int_equal(d->bar[1].size, 0x200000000ull);
	assert_int_equal(d->bar[1].base, 0x2000000000ull);
	assert_int_equal(d->bar[2].size, 0);
	assert_int_equal(d->bar[3].size, 0x20);
	assert_int_equal(d->bar[3].base, 0xc000);
	assert_true(pci_bar_sound(d, &d->bar[3]));
	d = device_by_address(0x18);
	for (u32 n = 0; n < 5; n++)
		assert_false(pci_bar_sound(d, &d->bar[n]));
	/* Sizing left the values alone. */
	assert_int_equal(pci_read(0x18, PCI_BAR0, 4), 0x112100);
}

static void capability_loops(void **state)
{
	struct function *f = add(0, 1, 0, 0x1234, 0x02000000);

	add_cap(f, 0x40, 0x01, 0x50);
	add_cap(f, 0x50, PCI_CAP_MSI, 0x40);
	f = add(0, 2, 0, 0x1234, 0x02000000);
	add_cap(f, 0xfc, PCI_CAP_MSIX, 0x04); /* no room for it; then into the header */
	pci_enumerate();
	assert_int_equal(device_by_address(0x08)->cap_msi, 0x50);
	assert_int_equal(device_by_address(0x10)->cap_msix, 0);
}

static void grant_and_revoke(void **state)
{
	struct function *f = add_nic(0, 2, 0x110000);
	struct d0_device out;
	struct device *d;
	u8 config[PAGE_SIZE];

	pci_enumerate();
	d = device_by_index(0);
	assert_int_equal(device_grant(d, &alice, 0, &out), 0);
	assert_int_equal(device_grant(d, &bob, 0, &out), D0_EBUSY);
	assert_int_equal(out.irq_kind, D0_IRQ_MSIX);
	assert_int_equal(out.irq_count, 5);
	assert_int_equal(out.irq_first, 10);
	assert_int_equal(out.bar[0].size, 0x4000);
	assert_int_equal(cell.mapped, 3);
	/* Table and pending bits of BAR 3: read-only from its first page to the third. */
	assert_int_equal(cell.ro_offset, 0);
	assert_int_equal(cell.ro_size, 0x3000);
	assert_true(config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	assert_int_equal(config_get(f, 0x42, 2) & 0xc000, 0x8000);
	/* The table, as the device sees it: five live entries. */
	for (u32 i = 0; i < 5; i++) {
		u32 *e = (u32 *)(fake_ram + 0x114000 - fake_base + 16 * i);
		assert_int_equal(e[0], 0xfee00000);
		assert_int_equal(e[2], d->irq[i].vector);
		assert_int_equal(e[3], 0);
	}
	memcpy(config, hpa_to_ptr(d->config_frame), sizeof(config));
	assert_int_equal(*(u32 *)(config + PCI_BAR0), out.bar[0].base);
	assert_int_equal(fake_frames_out(), 1);
	assert_int_equal(attached, 1);

	device_revoke(d);
	assert_false(config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	assert_int_equal(config_get(f, 0x42, 2) & 0xc000, 0xc000); /* masked */
	assert_int_equal(cell.mapped, 0);
	assert_int_equal(cell.channels, 0);
	assert_int_equal(fake_frames_out(), 0);
	assert_int_equal(attached, 0);
	/* Its reset register was written. */
	assert_int_equal(*(u32 *)(fake_ram + 0x110000 - fake_base) & 1u << 26, 1u << 26);
	device_revoke(d); /* nothing left to do */
	assert_int_equal(device_grant(d, &bob, 0, &out), 0);
	device_revoke(d);
}

/* Whatever step fails, nothing of the grant is left. */
static void grant_fails_at_each_step(void **state)
{
	struct function *f = add_nic(0, 2, 0x110000);
	struct d0_device out = {0};
	struct device *d;

	pci_enumerate();
	d = device_by_index(0);
	for (u32 step = 0; step < 5; step++) {
		cell.map_calls = 0;
		cell.fail_map_at = step < 3 ? step + 1 : 0;
		attach_fails = step == 3;
		cell.fail_channels = step == 4;
		assert_true(device_grant(d, &alice, 0, &out) < 0);
		assert_int_equal(out.vendor, 0);
		assert_int_equal(cell.mapped, 0);
		assert_int_equal(cell.channels, 0);
		assert_int_equal(fake_frames_out(), 0);
		assert_int_equal(attached, 0);
		assert_false(config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
		assert_false(d->owned);
	}
	cell.fail_channels = false;
	assert_int_equal(device_grant(d, &alice, 0, &out), 0);
	device_revoke(d);
}

static void groups_stay_together(void **state)
{
	struct d0_device out;

	add_bridge(0, 4, 2, false);
	add_nic(2, 5, 0x130000);
	add_nic(2, 6, 0x140000);
	pci_enumerate();
	assert_int_equal(device_grant(device_by_index(0), &alice, 0, &out), 0);
	assert_int_equal(device_grant(device_by_index(1), &bob, 0, &out), D0_EBUSY);
	assert_int_equal(device_grant(device_by_index(1), &alice, 1, &out), 0);
	device_by_index(0)->reserved_memory = true;
	device_revoke(device_by_index(0));
	device_revoke(device_by_index(1));
	assert_int_equal(device_grant(device_by_index(0), &alice, 0, &out), D0_EPERM);
}

/* A line two devices share: each is silenced by its own bit until served. */
static void shared_line(void **state)
{
	struct function *f[2];
	struct d0_device out;
	struct device *d[2];

	for (u32 i = 0; i < 2; i++) {
		f[i] = add(0, 1 + i, 0, 0x1af4, 0x02000000);
		f[i]->space[PCI_INT_PIN] = 1;
		f[i]->space[PCI_INT_LINE] = 11;
	}
	pci_enumerate();
	for (u32 i = 0; i < 2; i++) {
		d[i] = device_by_index(i);
		assert_true(d[i]->intx_maskable);
		assert_int_equal(device_grant(d[i], i ? &bob : &alice, 0, &out), 0);
		assert_int_equal(out.irq_kind, D0_IRQ_INTX);
	}
	assert_int_equal(d[0]->irq[0].vector, d[1]->irq[0].vector);
	config_put(f[1], PCI_STATUS, 2, PCI_STATUS_INTX);
	fake_vector_fire(d[0]->irq[0].vector);
	assert_int_equal(cell.fired[10], 1);
	assert_false(config_get(f[0], PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX);
	assert_true(config_get(f[1], PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX);
	assert_int_equal(line_masks, 0);
	device_irq_done(d[1], 0);
	assert_false(config_get(f[1], PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX);
	/* Nobody's: masked in the end, or it would scream for ever. */
	config_put(f[1], PCI_STATUS, 2, 0);
	for (u32 i = 0; i < 10000; i++)
		fake_vector_fire(d[0]->irq[0].vector);
	assert_int_equal(line_masks, 1);
	device_revoke(d[0]);
	device_revoke(d[1]);
	assert_int_equal(line_masks, 2);
}

/* One that has no such bit is masked by its line, which is then nobody else's. */
static void line_of_ones_own(void **state)
{
	struct d0_device out;

	for (u32 i = 0; i < 2; i++) {
		struct function *f = add(0, 1 + i, 0, 0x1af4, 0x02000000);
		f->space[PCI_INT_PIN] = 1;
		f->space[PCI_INT_LINE] = 11;
	}
	pci_enumerate();
	device_by_index(0)->intx_maskable = false;
	assert_int_equal(device_grant(device_by_index(0), &alice, 0, &out), 0);
	assert_int_equal(out.irq_kind, D0_IRQ_INTX);
	assert_int_equal(device_grant(device_by_index(1), &bob, 0, &out), 0);
	assert_int_equal(out.irq_kind, D0_IRQ_NONE);
	fake_vector_fire(device_by_index(0)->irq[0].vector);
	assert_int_equal(cell.fired[10], 1);
	assert_int_equal(line_masks, 1);
	/* And the other way round. */
	device_revoke(device_by_index(0));
	device_revoke(device_by_index(1));
	assert_int_equal(device_grant(device_by_index(1), &bob, 0, &out), 0);
	assert_int_equal(out.irq_kind, D0_IRQ_INTX);
	assert_int_equal(device_grant(device_by_index(0), &alice, 0, &out), 0);
	assert_int_equal(out.irq_kind, D0_IRQ_NONE);
	device_revoke(device_by_index(0));
	device_revoke(device_by_index(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(tree_of_buses, setup),
	    cmocka_unit_test_setup(hostile_bridges, setup),
	    cmocka_unit_test_setup(too_many, setup),
	    cmocka_unit_test_setup(bars, setup),
	    cmocka_unit_test_setup(capability_loops, setup),
	    cmocka_unit_test_setup(grant_and_revoke, setup),
	    cmocka_unit_test_setup(grant_fails_at_each_step, setup),
	    cmocka_unit_test_setup(groups_stay_together, setup),
	    cmocka_unit_test_setup(shared_line, setup),
	    cmocka_unit_test_setup(line_of_ones_own, setup),
	};
	return cmocka_run_group_tests_name("nucleus_pci", tests, NULL, NULL);
}
