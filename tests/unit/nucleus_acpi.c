/* SPDX-License-Identifier: ISC */
/* ACPI tables: well formed, damaged in every byte, and hostile. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nucleus/device_manager/acpi.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "tests/unit/nucleus_devmgr_fake.h"

#define RSDP 0x1000
#define XSDT 0x2000
#define MADT 0x3000
#define MCFG 0x4000
#define FADT 0x5000
#define DSDT 0x6000
#define HPET 0x7000
#define DMAR 0x8000

static u64 phys(u32 off)
{
	return fake_base + off;
}
static void put(u32 at, u64 v, u32 width)
{
	memcpy(fake_ram + at, &v, width);
}
static u8 sum(u32 at, u32 size)
{
	u8 s = 0;
	for (u32 i = 0; i < size; i++)
		s += fake_ram[at + i];
	return s;
}
static void seal(u32 at, const char *signature, u32 size)
{
	memcpy(fake_ram + at, signature, 4);
	put(at + 4, size, 4);
	fake_ram[at + 9] = 0;
	fake_ram[at + 9] = -sum(at, size);
}

static u32 madt_size;
static void madt_add(const void *bytes, u32 size)
{
	memcpy(fake_ram + MADT + madt_size, bytes, size);
	madt_size += size;
}

static void build_madt(void)
{
	static const u8 cpu0[] = {0, 8, 0, 0, 1, 0, 0, 0}, cpu1[] = {0, 8, 1, 2, 1, 0, 0, 0};
	static const u8 off[] = {0, 8, 2, 4, 0, 0, 0, 0}; /* disabled for good */
	static const u8 x2[] = {9, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0};
	static const u8 io[] = {1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0};
	static const u8 timer[] = {2, 10, 0, 0, 2, 0, 0, 0, 0, 0};
	static const u8 sci[] = {2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0};
	static const u8 nmi[] = {4, 6, 0xff, 5, 0, 1};

	madt_size = 44;
	put(MADT + 36, 0xfee00000, 4);
	put(MADT + 40, 1, 4);
	madt_add(cpu0, sizeof(cpu0));
	madt_add(cpu1, sizeof(cpu1));
	madt_add(off, sizeof(off));
	madt_add(x2, sizeof(x2));
	madt_add(io, sizeof(io));
	madt_add(timer, sizeof(timer));
	madt_add(sci, sizeof(sci));
	madt_add(nmi, sizeof(nmi));
	seal(MADT, "APIC", madt_size);
}

static void build_fadt(void)
{
	static const u8 s5[] = {0x08, '_',  'S', '5',  '_', 0x12, 0x06,
				0x04, 0x0a, 5,   0x0a, 6,   0,    0};

	put(FADT + 46, 9, 2);
	put(FADT + 64, 0x604, 4);
	put(FADT + 76, 0x608, 4);
	put(FADT + 108, 0x32, 1);
	put(FADT + 112, 1u << 8 | 1u << 10, 4);
	put(FADT + 116, 1, 1); /* reset: I/O */
	put(FADT + 117, 8, 1);
	put(FADT + 120, 0xcf9, 8);
	put(FADT + 128, 0x0f, 1);
	put(FADT + 140, phys(DSDT), 8);
	seal(FADT, "FACP", 244);
	memset(fake_ram + DSDT + 36, 0x5f, 20);
	memcpy(fake_ram + DSDT + 56, s5, sizeof(s5));
	seal(DSDT, "DSDT", 56 + sizeof(s5) + 8);
}

static void build(void)
{
	static const u32 tables[] = {MADT, MCFG, FADT, HPET, DMAR};

	fake_reset();
	build_madt();
	put(MCFG + 44, 0xb0000000, 8);
	put(MCFG + 55, 255, 1);
	seal(MCFG, "MCFG", 60);
	build_fadt();
	put(HPET + 44, 0xfed00000, 8);
	seal(HPET, "HPET", 56);
	seal(DMAR, "DMAR", 48);
	for (u32 i = 0; i < ARRAY_SIZE(tables); i++)
		put(XSDT + 36 + 8 * i, phys(tables[i]), 8);
	seal(XSDT, "XSDT", 36 + 8 * ARRAY_SIZE(tables));
	memcpy(fake_ram + RSDP, "RSD PTR ", 8);
	put(RSDP + 15, 2, 1);
	put(RSDP + 20, 36, 4);
	put(RSDP + 24, phys(XSDT), 8);
	fake_ram[RSDP + 8] = -sum(RSDP, 20);
	fake_ram[RSDP + 32] = -sum(RSDP, 36);
}

static struct acpi_info parse(void)
{
	struct acpi_info info;

	acpi_parse(&info, HPA(phys(RSDP)), firmware_map);
	return info;
}

static void whole_machine(void **state)
{
	struct acpi_info i;

	build();
	i = parse();
	assert_true(i.present);
	assert_int_equal(i.rejected, 0);
	assert_int_equal(i.cpus, 3);
	assert_int_equal(i.cpu[1], 2);
	assert_int_equal(i.cpu[2], 0x1234);
	assert_int_equal(i.ioapics, 1);
	assert_int_equal(i.ioapic[0].base.v, 0xfec00000);
	assert_int_equal(i.overrides, 2);
	assert_false(i.override[0].level);
	assert_int_equal(i.override[0].gsi, 2);
	assert_true(i.override[1].level && i.override[1].low);
	assert_true(i.pcat_compat);
	assert_int_equal(i.mcfgs, 1);
	assert_int_equal(i.mcfg[0].bus_last, 255);
	assert_int_equal(i.pm1a_control.address, 0x604);
	assert_int_equal(i.pm1b_control.address, 0);
	assert_int_equal(i.reset.address, 0xcf9);
	assert_int_equal(i.reset_value, 0x0f);
	assert_true(i.pm_timer_32);
	assert_true(i.s5_known);
	assert_int_equal(i.s5_a, 5);
	assert_int_equal(i.s5_b, 6);
	assert_int_equal(i.hpet.v, 0xfed00000);
	assert_int_equal(i.dmar.v, phys(DMAR));
	assert_int_equal(i.dmar_size, 48);
}

static void rsdt_when_the_xsdt_is_bad(void **state)
{
	struct acpi_info i;

	build();
	fake_ram[XSDT + 10]++;
	put(0x9000 + 36, phys(MADT), 4);
	seal(0x9000, "RSDT", 40);
	put(RSDP + 16, phys(0x9000), 4);
	fake_ram[RSDP + 8] = 0;
	fake_ram[RSDP + 8] = -sum(RSDP, 20);
	fake_ram[RSDP + 32] = 0;
	fake_ram[RSDP + 32] = -sum(RSDP, 36);
	i = parse();
	assert_true(i.present);
	assert_int_equal(i.cpus, 3);
	assert_int_equal(i.rejected, 1);
}

static void no_acpi_at_all(void **state)
{
	struct acpi_info i;

	fake_reset();
	assert_false(acpi_parse(&i, HPA(0), firmware_map));
	assert_false(acpi_parse(&i, HPA(phys(RSDP)), firmware_map));
	assert_false(acpi_parse(&i, HPA(~0ull - 8), firmware_map));
	assert_int_equal(i.lapic.v, 0xfee00000);
	assert_int_equal(i.cpus, 0);
}

/* One wrong byte in a table costs that table and nothing else. */
static void each_damaged_byte(void **state)
{
	static const struct {
		u32 at, size;
	} t[] = {{MADT, 110}, {MCFG, 60}, {FADT, 244}, {DSDT, 78}, {HPET, 56}, {DMAR, 48}};
	struct acpi_info i;

	build();
	for (u32 k = 0; k < ARRAY_SIZE(t); k++) {
		for (u32 b = 0; b < t[k].size; b++) {
			fake_ram[t[k].at + b] ^= 0x41;
			i = parse();
			assert_true(i.present);
			assert_true(i.rejected >= 1);
			assert_true((i.cpus == 0) == (t[k].at == MADT));
			fake_ram[t[k].at + b] ^= 0x41;
		}
	}
}

/* Checksums right, contents not. */
static void hostile_contents(void **state)
{
	struct acpi_info i;

	build();
	fake_ram[MADT + 44 + 1] = 0; /* an entry of no length */
	seal(MADT, "APIC", madt_size);
	i = parse();
	assert_int_equal(i.cpus, 0);

	build();
	fake_ram[MADT + 44 + 1] = 0xff; /* an entry beyond the end */
	seal(MADT, "APIC", madt_size);
	i = parse();
	assert_int_equal(i.cpus, 0);

	build();
	put(MADT + 36, 0xfee00123, 4); /* LAPIC not on a page */
	seal(MADT, "APIC", madt_size);
	i = parse();
	assert_int_equal(i.lapic.v, 0xfee00000);

	build();
	put(MCFG + 44, ~0ull << 20, 8); /* ECAM wraps around */
	seal(MCFG, "MCFG", 60);
	assert_int_equal(parse().mcfgs, 0);

	build();
	put(FADT + 64, 0x12345, 4); /* no such port */
	seal(FADT, "FACP", 244);
	assert_int_equal(parse().pm1a_control.address, 0);

	build();
	put(XSDT + 36, phys(FAKE_RAM - 8), 8); /* a table at the end of memory */
	put(XSDT + 44, ~0ull, 8);
	put(XSDT + 52, phys(XSDT), 8);
	seal(XSDT, "XSDT", 36 + 40);
	i = parse();
	assert_int_equal(i.cpus, 0);
	assert_true(i.rejected >= 2);
}

static void many_cpus(void **state)
{
	u8 cpu[8] = {0, 8, 0, 0, 1, 0, 0, 0};
	struct acpi_info i;

	build();
	for (u32 n = 10; n < 10 + 80; n++) {
		cpu[3] = n;
		madt_add(cpu, sizeof(cpu));
	}
	seal(MADT, "APIC", madt_size);
	i = parse();
	assert_int_equal(i.cpus, ACPI_CPUS_MAX);
	assert_int_equal(i.cpus_ignored, 83 - ACPI_CPUS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_machine),    cmocka_unit_test(rsdt_when_the_xsdt_is_bad),
	    cmocka_unit_test(no_acpi_at_all),   cmocka_unit_test(each_damaged_byte),
	    cmocka_unit_test(hostile_contents), cmocka_unit_test(many_cpus),
	};
	return cmocka_run_group_tests_name("nucleus_acpi", tests, NULL, NULL);
}
