/* SPDX-License-Identifier: ISC */
/* h2_config: what is accepted, and that everything else is refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "cells/store/h2_config.h"
#include "h2/h2.h"

static struct h2_config c;
static char err[200];

static int parse(const char *args)
{
	err[0] = 0;
	return h2_config_from_args(args, &c, err, sizeof(err));
}

static void accepted(void **state)
{
	assert_int_equal(parse(""), 0);
	assert_int_equal(c.source, STORE_DEFAULT);
	assert_int_equal(c.cache, H2_CACHE_DEFAULT);
	assert_int_equal(
	    parse("log=3 d0.store=disk:2,create,check=xxhash64,comp=none,sync=30 x"), 0);
	assert_int_equal(c.source, STORE_DISK);
	assert_int_equal(c.disk, 2);
	assert_true(c.create && !c.format && !c.readonly);
	assert_int_equal(c.check, H2_CHECK_XXH64);
	assert_int_equal(c.comp, H2_COMP_NONE);
	assert_int_equal(c.sync_s, 30);
	assert_int_equal(parse("d0.store=ram,size=64M,cache=2M"), 0);
	assert_int_equal(c.size, 64 << 20);
	assert_int_equal(parse("d0.store=disk:0,format=YES-ERASE-ALL"), 0);
	assert_true(c.format);
	assert_int_equal(parse("d0.store=boot,readonly"), 0);
	assert_false(c.mirrored);
	assert_int_equal(parse("d0.store=disk:1,mirror=disk:0,create"), 0);
	assert_true(c.mirrored && c.disk == 1 && c.mirror == 0);
}

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static void signers(void **state)
{
	assert_int_equal(parse("d0.store=disk:0"), 0);
	assert_int_equal(c.keys, 0);
	assert_int_equal(
	    parse("d0.store=disk:0,require-signed=" KEY_A "+" KEY_B ",readonly log=1"), 0);
	assert_int_equal(c.keys, 2);
	assert_string_equal(c.key[0], KEY_A);
	assert_string_equal(c.key[1], KEY_B);
	assert_true(c.readonly);
}

static void refused(void **state)
{
	static const char *const bad[][2] = {
	    {"d0.store=", "empty"},
	    {"d0.store=disk:0,mirror", "needs a value"},
	    {"d0.store=disk:0,mirror=1", "unknown source"},
	    {"d0.store=disk:0,mirror=disk:9", "out of range"},
	    {"d0.store=disk:1,mirror=disk:1", "contradiction"},
	    {"d0.store=ram,mirror=disk:1", "contradiction"},
	    {"d0.store=ram,require-signed", "needs a value"},
	    {"d0.store=ram,require-signed=", "not a key ID"},
	    {"d0.store=ram,require-signed=1234", "not a key ID"},
	    {"d0.store=ram,require-signed=" KEY_A "+", "not a key ID"},
	    {"d0.store=ram,require-signed=" KEY_A "," KEY_B, "unknown option"},
	    {"d0.store=ram,require-signed=" KEY_A "/" KEY_B, "not a '+'"},
	    {"d0.store=ram,require-signed=" KEY_A "+" KEY_A "+" KEY_A "+" KEY_A "+" KEY_A,
	     "too many keys"},
	    {"d0.store=floppy", "unknown source"},
	    {"d0.store=disk:", "unknown source"},
	    {"d0.store=disk:8", "out of range"},
	    {"d0.store=disk:0x1", "not a number"},
	    {"d0.store=disk:0,", "empty"},
	    {"d0.store=disk:0,,create", "empty"},
	    {"d0.store=disk:0,Create", "unknown option"},
	    {"d0.store=disk:0,create=1", "takes no value"},
	    {"d0.store=disk:0,create,create", "twice"},
	    {"d0.store=disk:0,format", "needs a value"},
	    {"d0.store=disk:0,format=yes", "YES-ERASE-ALL"},
	    {"d0.store=disk:0,create,format=YES-ERASE-ALL", "contradiction"},
	    {"d0.store=disk:0,create,readonly", "contradiction"},
	    {"d0.store=ram,create", "contradiction"},
	    {"d0.store=ram,readonly", "contradiction"},
	    {"d0.store=disk:0,size=64M", "contradiction"},
	    {"d0.store=disk:0,check=sha192", "contradiction"},
	    {"d0.store=boot,comp=lz4", "contradiction"},
	    {"d0.store=ram,size=1M", "out of range"},
	    {"d0.store=ram,size=99999999999999999999", "not a number"},
	    {"d0.store=ram,size=64X", "not a number"},
	    {"d0.store=ram,check=md5", "unknown value"},
	    {"d0.store=disk:0,sync=0", "out of range"},
	    {"d0.store=ram d0.store=boot", "twice"},
	    {"d0.stores=ram", "unknown parameter"},
	    {"d0.=", "unknown parameter"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i][0]) != -1 || !strstr(err, bad[i][1]))
			fail_msg("%s: '%s' instead of '%s'", bad[i][0], err, bad[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accepted), cmocka_unit_test(signers), cmocka_unit_test(refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
