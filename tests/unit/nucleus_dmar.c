/* SPDX-License-Identifier: ISC */
/* The DMAR table: units, reserved memory, scopes through bridges. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nucleus/device_manager/dmar.h"
#include "nucleus/device_manager/pci.h"

/* 00:01.0 is a bridge to buses 3 to 5. */
u8 pci_secondary_bus(u32 address)
{
	return address == 0x08 ? 3 : 0;
}
u32 pci_read(u32 address, u32 off, u32 width)
{
	return address == 0x08 && off == PCI_SUBORDINATE ? 5 : ~0u;
}

static u8 table[512];
static u32 table_size;
static void add(const void *bytes, u32 size)
{
	memcpy(table + table_size, bytes, size);
	table_size += size;
}

static void build(void)
{
	/* A unit for the bridge and for one endpoint behind it, with an I/O APIC. */
	static const u8 first[] = {0,    0,    16 + 8 + 10 + 8,
				   0,    0,    0,
				   0,    0,    0,
				   0,    0xd9, 0xfe,
				   0,    0,    0,
				   0,    2,    8,
				   0,    0,    0,
				   0,    1,    0,
				   1,    10,   0,
				   0,    0,    0,
				   1,    0,    7,
				   1,    3,    8,
				   0,    0,    9,
				   0xf0, 0x1f, 7};
	static const u8 rest[] = {0, 0, 16, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0};
	static const u8 rmrr[] = {1, 0, 32, 0, 0, 0,    0,    0,    0,    0, 0x10,
				  0, 0, 0,  0, 0, 0xff, 0xff, 0x1f, 0,    0, 0,
				  0, 0, 1,  8, 0, 0,    0,    0,    0x14, 0};
	static const u8 other[] = {2, 0, 8, 0, 0, 0, 0, 0};

	memset(table, 0, sizeof(table));
	table[37] = 1;
	table_size = 48;
	add(first, sizeof(first));
	add(rest, sizeof(rest));
	add(rmrr, sizeof(rmrr));
	add(other, sizeof(other));
}

static void whole_table(void **state)
{
	struct dmar_info i;

	build();
	assert_true(dmar_parse(&i, table, table_size));
	assert_true(i.interrupt_remap);
	assert_int_equal(i.units, 2);
	assert_int_equal(i.unit[0].regs.v, 0xfed90000);
	assert_false(i.unit[0].all);
	assert_true(i.unit[1].all);
	assert_int_equal(i.rmrrs, 1);
	assert_true(dmar_covers(&i, &i.unit[0].scopes, 0x08));
	assert_true(dmar_covers(&i, &i.unit[0].scopes, PCI_ADDRESS(0, 3, 0, 0)));
	assert_true(dmar_covers(&i, &i.unit[0].scopes, PCI_ADDRESS(0, 5, 31, 7)));
	assert_false(dmar_covers(&i, &i.unit[0].scopes, PCI_ADDRESS(0, 6, 0, 0)));
	assert_false(dmar_covers(&i, &i.unit[0].scopes, PCI_ADDRESS(0, 0, 2, 0)));
	assert_false(dmar_covers(&i, &i.unit[0].scopes, PCI_ADDRESS(1, 3, 0, 0)));
	assert_true(dmar_covers(&i, &i.rmrr[0].scopes, PCI_ADDRESS(0, 0, 0x14, 0)));
	assert_false(dmar_covers(&i, &i.rmrr[0].scopes, PCI_ADDRESS(0, 0, 0x14, 1)));
}

/* Cut anywhere but between structures: refused as a whole. */
static void cut_short(void **state)
{
	struct dmar_info i;
	u32 good = 0;

	build();
	for (u32 n = 0; n < table_size; n++) {
		u8 *exact = malloc(n ? n : 1);
		memcpy(exact, table, n);
		good += dmar_parse(&i, exact, n);
		free(exact);
	}
	assert_int_equal(good, 3); /* after the first, second and third structure */
}

static void bad_values(void **state)
{
	struct dmar_info i;

	build();
	table[48 + 2] = 3; /* structure shorter than its head */
	assert_false(dmar_parse(&i, table, table_size));
	build();
	table[48 + 17] = 7; /* scope likewise */
	assert_false(dmar_parse(&i, table, table_size));
	build();
	table[48 + 22] = 32; /* no such slot */
	assert_false(dmar_parse(&i, table, table_size));
	build();
	table[48 + 8] = 1; /* registers not on a page */
	assert_false(dmar_parse(&i, table, table_size));
	build();
	table_size = 48;
	assert_false(dmar_parse(&i, table, table_size)); /* no unit */
	build();
	for (u32 n = 0; n < 9; n++)
		add(table + 48 + 42, 16);
	assert_false(dmar_parse(&i, table, table_size)); /* more units than we could drive */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_table),
	    cmocka_unit_test(cut_short),
	    cmocka_unit_test(bad_values),
	};
	return cmocka_run_group_tests_name("nucleus_dmar", tests, NULL, NULL);
}
