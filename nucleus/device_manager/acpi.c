/* SPDX-License-Identifier: ISC */
/*
 * ACPI tables (ACPI 6.5, chapter 5), read once at boot.
 *
 * Problem: firmware tables steer what the nucleus writes to hardware, and firmware is
 * often wrong: lengths beyond the table, checksums that do not sum, addresses that point
 * nowhere. A wrong table must cost a feature, never the boot.
 *
 * Model: a table is opened (header copied, length bounded, whole table mapped, checksum
 * verified) and from then on reached through struct table only, whose accessors return 0
 * beyond the end. What is found is copied to struct acpi_info; every value there is
 * checked for range, so its users do not check again. AML is not interpreted: of the DSDT
 * only the package _S5 is looked for, by its encoding.
 *
 * Failure: a bad table is counted, reported and left out; the fallbacks stay.
 */
#include "nucleus/device_manager/acpi.h"

#include <string.h>

#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/memory_regions/memory_regions.h"

#define TABLE_HEADER  36
#define TABLE_MAX     (4 * MiB)
#define ROOT_ENTRIES  256
#define ADDRESS_LIMIT (1ull << 52)
#define LAPIC_DEFAULT 0xfee00000ull

struct table {
	const u8 *bytes;
	u32 size;
};

static u64 get(const struct table *t, u32 off, u32 width)
{
	u64 v = 0;
	if (off > t->size || width > t->size - off)
		return 0;
	memcpy(&v, t->bytes + off, width); /* little-endian, as the CPU */
	return v;
}
static bool sums_to_zero(const u8 *bytes, u32 size)
{
	u8 sum = 0;
	for (u32 i = 0; i < size; i++)
		sum += bytes[i];
	return sum == 0;
}

static bool address_sane(u64 address, u64 size)
{
	return address != 0 && address < ADDRESS_LIMIT && size <= ADDRESS_LIMIT - address;
}

/* Returns false, and counts it, if there is no whole, sound table at that address. */
static bool table_open(struct acpi_info *out, u64 address, acpi_map_fn map, struct table *t)
{
	u32 size = 0;
	const u8 *head = NULL;

	if (address_sane(address, TABLE_HEADER))
		head = map(HPA(address), TABLE_HEADER);
	if (head)
		memcpy(&size, head + 4, 4);
	if (size >= TABLE_HEADER && size <= TABLE_MAX && address_sane(address, size))
		t->bytes = map(HPA(address), size);
	else
		t->bytes = NULL;
	t->size = size;
	if (!t->bytes || !sums_to_zero(t->bytes, size)) {
		out->rejected++;
		return false;
	}
	out->tables++;
	return true;
}

/* ---- MADT: section 5.2.12 ---- */

/* CPUs that are only online-capable (slots) are left out. */
static void madt_add_cpu(struct acpi_info *out, u32 apic_id, u64 flags)
{
	if (apic_id == ~0u || !(flags & 1))
		return;
	for (u32 i = 0; i < out->cpus; i++) {
		if (out->cpu[i] == apic_id)
			return;
	}
	if (out->cpus == ACPI_CPUS_MAX)
		out->cpus_ignored++;
	else
		out->cpu[out->cpus++] = apic_id;
}

static void madt_add_ioapic(struct acpi_info *out, const struct table *e)
{
	u64 base = (u32)get(e, 4, 4);

	if (!address_sane(base, PAGE_SIZE) || out->ioapics == ACPI_IOAPICS_MAX) {
		out->rejected++;
		return;
	}
	out->ioapic[out->ioapics++] = (struct acpi_ioapic){
	    .id = (u8)get(e, 2, 1), .base = HPA(base), .gsi_base = (u32)get(e, 8, 4)};
}

/* Flags of table 5.24: polarity in bits 0-1, trigger in 2-3; 0 means as the bus (ISA:
 * high, edge), 3 means low or level. */
static void madt_add_override(struct acpi_info *out, const struct table *e)
{
	u16 flags = (u16)get(e, 8, 2);

	if ((u8)get(e, 2, 1) != 0 || (u8)get(e, 3, 1) > 15 ||
	    out->overrides == ACPI_OVERRIDES_MAX) {
		out->rejected++;
		return;
	}
	out->override[out->overrides++] =
	    (struct acpi_override){.irq = (u8)get(e, 3, 1),
				   .gsi = (u32)get(e, 4, 4),
				   .low = (flags & 3) == 3,
				   .level = (flags >> 2 & 3) == 3};
}

enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_ADDRESS = 5,
	MADT_X2APIC = 9,
};

static void madt_entry(struct acpi_info *out, const struct table *e)
{
	/* Shortest valid length of each kind; a shorter entry is not looked at. */
	static const u8 least[] = {[MADT_LAPIC] = 8,
				   [MADT_IOAPIC] = 12,
				   [MADT_OVERRIDE] = 10,
				   [MADT_LAPIC_ADDRESS] = 12,
				   [MADT_X2APIC] = 16};
	u8 kind = (u8)get(e, 0, 1);

	if (kind >= ARRAY_SIZE(least) || least[kind] == 0)
		return;
	if (e->size < least[kind]) {
		out->rejected++;
		return;
	}
	switch (kind) {
	case MADT_LAPIC:
		if (get(e, 3, 1) != 0xff)
			madt_add_cpu(out, (u32)get(e, 3, 1), get(e, 4, 4));
		break;
	case MADT_IOAPIC:
		madt_add_ioapic(out, e);
		break;
	case MADT_OVERRIDE:
		madt_add_override(out, e);
		break;
	case MADT_LAPIC_ADDRESS:
		out->lapic = HPA(get(e, 4, 8));
		break;
	case MADT_X2APIC:
		madt_add_cpu(out, (u32)get(e, 4, 4), get(e, 8, 4));
		break;
	}
}

static void parse_madt(struct acpi_info *out, const struct table *t)
{
	out->lapic = HPA((u32)get(t, 36, 4));
	out->pcat_compat = (u32)get(t, 40, 4) & 1;
	for (u32 off = 44; off + 2 <= t->size;) {
		u32 len = (u8)get(t, off + 1, 1);
		if (len < 2 || len > t->size - off) {
			out->rejected++;
			break;
		}
		madt_entry(out, &(struct table){.bytes = t->bytes + off, .size = len});
		off += len;
	}
	if (!address_sane(out->lapic.v, PAGE_SIZE) || (out->lapic.v & PAGE_MASK)) {
		out->lapic = HPA(LAPIC_DEFAULT);
		out->rejected++;
	}
}

/* ---- MCFG: PCI Firmware Specification 3.3, section 4.1.2 ---- */

static void parse_mcfg(struct acpi_info *out, const struct table *t)
{
	for (u32 off = 44; off <= t->size && t->size - off >= 16; off += 16) {
		struct acpi_mcfg m = {.base = HPA(get(t, off, 8)),
				      .segment = (u16)get(t, off + 8, 2),
				      .bus_first = (u8)get(t, off + 10, 1),
				      .bus_last = (u8)get(t, off + 11, 1)};
		u64 size = ((u64)m.bus_last + 1) << 20;
		if (m.bus_last < m.bus_first || !address_sane(m.base.v, size) ||
		    (m.base.v & (MiB - 1)) || out->mcfgs == ACPI_MCFG_MAX) {
			out->rejected++;
			continue;
		}
		out->mcfg[out->mcfgs++] = m;
	}
}

/* ---- FADT: section 5.2.9; _S5: sections 7.4.2, 20.2.4 ---- */

/* The 64-bit field if the table has it and it is set, else the 32-bit port. */
static struct acpi_register fadt_register(const struct table *t, u32 port_off, u32 gas_off)
{
	u64 space = get(t, gas_off, 1); /* 0: memory, 1: I/O */
	struct acpi_register r = {space > 1 ? 0 : get(t, gas_off + 4, 8), space == 1};

	if (r.address == 0 && port_off)
		r = (struct acpi_register){get(t, port_off, 4), true};
	if (r.address == 0 || (r.io ? r.address > 0xfffc : !address_sane(r.address, 8)))
		return (struct acpi_register){0};
	return r;
}

/* An integer of a package: ZeroOp, OneOp, BytePrefix, WordPrefix. */
static bool aml_integer(const struct table *t, u32 *off, u8 *value)
{
	static const u8 size[] = {[0x00] = 1, [0x01] = 1, [0x0a] = 2, [0x0b] = 3};
	u64 op = get(t, *off, 1);

	if (op >= ARRAY_SIZE(size) || size[op] == 0)
		return false;
	*value = (u8)(op > 1 ? get(t, *off + 1, 1) : op);
	*off += size[op];
	return *off <= t->size;
}

static void parse_s5(struct acpi_info *out, const struct table *t)
{
	for (u32 off = TABLE_HEADER; off + 8 < t->size; off++) {
		u32 at = off + 4;
		if (memcmp(t->bytes + off, "_S5_", 4) != 0 || get(t, at, 1) != 0x12)
			continue;
		at += 1 + (u32)(get(t, at + 1, 1) >> 6) + 1; /* PackageOp, PkgLength */
		if (get(t, at++, 1) < 1)                     /* NumElements */
			continue;
		if (!aml_integer(t, &at, &out->s5_a) || out->s5_a > 7)
			continue;
		if (!aml_integer(t, &at, &out->s5_b) || out->s5_b > 7)
			out->s5_b = out->s5_a;
		out->s5_known = true;
		return;
	}
}

static void parse_fadt(struct acpi_info *out, const struct table *t, acpi_map_fn map)
{
	struct table dsdt;
	u32 flags = (u32)get(t, 112, 4);
	u64 dsdt_at = get(t, 140, 8);

	out->smi_command = get(t, 48, 4) <= 0xffff ? (u16)get(t, 48, 4) : 0;
	out->acpi_enable = (u8)get(t, 52, 1);
	out->pm1a_control = fadt_register(t, 64, 172);
	out->pm1b_control = fadt_register(t, 68, 184);
	out->pm_timer = fadt_register(t, 76, 208);
	out->pm_timer_32 = flags & 1u << 8;
	out->century = (u8)get(t, 108, 1);
	if (flags & 1u << 10) {
		out->reset = fadt_register(t, 0, 116);
		out->reset_value = (u8)get(t, 128, 1);
	}
	if (dsdt_at == 0)
		dsdt_at = get(t, 40, 4);
	if (table_open(out, dsdt_at, map, &dsdt) && memcmp(dsdt.bytes, "DSDT", 4) == 0)
		parse_s5(out, &dsdt);
}

/* ---- the rest ---- */

static void parse_hpet(struct acpi_info *out, const struct table *t)
{
	u64 base = get(t, 44, 8);

	if ((u8)get(t, 40, 1) == 0 && address_sane(base, PAGE_SIZE) && !(base & 7))
		out->hpet = HPA(base);
	else
		out->rejected++;
}

static void parse_table(struct acpi_info *out, u64 address, acpi_map_fn map)
{
	struct table t;

	if (!table_open(out, address, map, &t))
		return;
	if (memcmp(t.bytes, "APIC", 4) == 0 && out->cpus == 0) {
		parse_madt(out, &t);
	} else if (memcmp(t.bytes, "MCFG", 4) == 0 && out->mcfgs == 0) {
		parse_mcfg(out, &t);
	} else if (memcmp(t.bytes, "FACP", 4) == 0) {
		parse_fadt(out, &t, map);
	} else if (memcmp(t.bytes, "HPET", 4) == 0 && out->hpet.v == 0) {
		parse_hpet(out, &t);
	} else if (memcmp(t.bytes, "DMAR", 4) == 0 && out->dmar.v == 0) {
		out->dmar = HPA(address);
		out->dmar_size = t.size;
	} else if (memcmp(t.bytes, "IVRS", 4) == 0) {
		out->ivrs = true;
	}
}

static bool parse_root(struct acpi_info *out, u64 address, u32 width, acpi_map_fn map)
{
	struct table t;

	if (!table_open(out, address, map, &t))
		return false;
	if (memcmp(t.bytes, width == 8 ? "XSDT" : "RSDT", 4) != 0)
		return false;
	u32 count = MIN((t.size - TABLE_HEADER) / width, (u32)ROOT_ENTRIES);
	for (u32 i = 0; i < count; i++)
		parse_table(out, get(&t, TABLE_HEADER + i * width, width), map);
	return true;
}

/* Section 5.2.5.3. */
static bool rsdp_valid(const u8 *p)
{
	return memcmp(p, "RSD PTR ", 8) == 0 && sums_to_zero(p, 20);
}

bool acpi_parse(struct acpi_info *out, hpa_t rsdp, acpi_map_fn map)
{
	struct table one = {.size = 20}, two = {.size = 36}; /* the RSDP of either version */

	*out = (struct acpi_info){.lapic = HPA(LAPIC_DEFAULT), .pcat_compat = true};
	if (address_sane(rsdp.v, two.size))
		one.bytes = map(rsdp, one.size);
	if (!one.bytes || !rsdp_valid(one.bytes))
		return false;
	if (one.bytes[15] >= 2)
		two.bytes = map(rsdp, two.size);
	if (two.bytes && get(&two, 20, 4) >= two.size && sums_to_zero(two.bytes, two.size))
		out->present = parse_root(out, get(&two, 24, 8), 8, map);
	if (!out->present)
		out->present = parse_root(out, get(&one, 16, 4), 4, map);
	return out->present;
}

struct acpi_info acpi;

void acpi_init(hpa_t rsdp)
{
	if (!acpi_parse(&acpi, rsdp, firmware_map))
		n_print("acpi: no usable tables: one CPU, no I/O APIC, PCI by ports");
	if (acpi.cpus == 0)
		acpi.cpu[acpi.cpus++] = cpuid(1, 0).b >> 24;
	n_print("acpi: %u tables (%u damaged), %u CPUs (%u ignored), %u I/O APICs%s%s%s%s",
		acpi.tables, acpi.rejected, acpi.cpus, acpi.cpus_ignored, acpi.ioapics,
		acpi.mcfgs ? ", ECAM" : "", acpi.hpet.v ? ", HPET" : "",
		acpi.dmar.v ? ", DMAR" : "", acpi.s5_known ? ", S5" : "");
}

struct acpi_override acpi_isa_irq(u8 irq)
{
	for (u32 i = 0; i < acpi.overrides; i++) {
		if (acpi.override[i].irq == irq)
			return acpi.override[i];
	}
	return (struct acpi_override){.irq = irq, .gsi = irq};
}
