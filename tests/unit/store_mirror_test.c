/* SPDX-License-Identifier: ISC */
/*
 * Two devices with one volume: damage on either side is mended from the other, a side that
 * fails or is missing is done without, one that was away or is new becomes equal, also when
 * that is cut short; and what does not belong together is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cells/store/mirror.h"
#include "tests/unit/h2_dev.h"

#define SIZE   (96ull << 20)
#define BYTES  (3u << 20)
#define HEADER 65536u

static struct dev disk[2];
static struct mirror m;
static struct h2_vol *vol;
static struct h2_env env;
static unsigned events;

static void on_event(void *ctx, unsigned side, const char *what)
{
	events++;
}

static int second(void *ctx, const struct h2_event *ev, void *buf)
{
	return mirror_second_copy(&m, ev, buf);
}

static void scrubbed(void *ctx, uint64_t off, const void *stored, size_t len)
{
	mirror_scrubbed(&m, off, stored, len);
}

static int start(bool have0, bool have1)
{
	const char *why = NULL;
	int err;

	memset(&m, 0, sizeof(m));
	for (unsigned i = 0; i < 2; i++)
		m.side[i] = (struct mirror_side){disk[i].env.dev_ops, &disk[i], disk[i].size,
						 !(i ? have1 : have0), false};
	m.event = on_event;
	env = disk[0].env;
	env.dev_ops = &mirror_ops;
	env.dev = &m;
	env.second_copy = second;
	env.scrubbed = scrubbed;
	events = 0;
	err = mirror_open(&m, &env, &why);
	assert_int_equal(err == -H2_EINVAL, why != NULL);
	env.dev_size = m.size;
	return err;
}

static void mount(void)
{
	struct h2_mount_opts o = {.cache_bytes = H2_CACHE_MIN};

	assert_int_equal(h2_mount(&env, &o, &vol), 0);
}

static void stop(bool crash)
{
	mirror_stop(&m);
	if (crash)
		h2_abandon(vol);
	else
		assert_int_equal(h2_unmount(vol), 0);
	mirror_close(&m);
}

static uint8_t byte(uint64_t i, unsigned seed)
{
	return (uint8_t)((i * 2654435761u + seed * 40503u) >> 13 ^ i >> 8);
}

static void put(const char *name, unsigned seed)
{
	uint8_t *buf = malloc(BYTES);
	struct h2_new how = {.mode = 0644};
	struct h2_pfs *pfs;
	struct h2_attr a;

	for (uint64_t i = 0; i < BYTES; i++)
		buf[i] = byte(i, seed);
	assert_int_equal(h2_pfs_open(vol, "LOCAL", 0, &pfs), 0);
	assert_int_equal(h2_create(pfs, H2_ROOT_INO, name, strlen(name), &how, &a), 0);
	assert_int_equal(h2_write(pfs, a.ino, 0, buf, BYTES), BYTES);
	h2_pfs_close(pfs);
	free(buf);
}

static void look(const char *name, unsigned seed)
{
	uint8_t *buf = malloc(BYTES);
	struct h2_pfs *pfs;
	struct h2_attr a;

	assert_int_equal(h2_pfs_open(vol, "LOCAL", 0, &pfs), 0);
	assert_int_equal(h2_lookup(pfs, H2_ROOT_INO, name, strlen(name), &a), 0);
	assert_int_equal(h2_read(pfs, a.ino, 0, buf, BYTES), BYTES);
	for (uint64_t i = 0; i < BYTES; i++)
		if (buf[i] != byte(i, seed))
			fail_msg("byte %llu", (unsigned long long)i);
	h2_pfs_close(pfs);
	free(buf);
}

/* A volume on both disks with the file "a". */
static void fresh(void)
{
	struct h2_newfs_opts o = {0};

	dev_open(&disk[0], SIZE);
	dev_open(&disk[1], SIZE);
	assert_int_equal(start(true, true), -H2_EMEDIUM);
	assert_int_equal(h2_newfs(&env, &o), 0);
	mount();
	put("a", 1);
	stop(false);
}

static void done(void)
{
	dev_close(&disk[0]);
	dev_close(&disk[1]);
}

/* Flip a bit in every block of data of one disk, outside of the reserved area. */
static unsigned damage(struct dev *d)
{
	unsigned n = 0;

	for (uint64_t at = 4u << 20; at < SIZE; at += 65536) {
		uint8_t b[64], zero[64] = {0};

		dev_peek(d, at + 512, b, sizeof(b));
		if (!memcmp(b, zero, sizeof(b)))
			continue;
		b[7] ^= 0x10;
		dev_poke(d, at + 512, b, sizeof(b));
		n++;
	}
	return n;
}

/* One disk alone has everything and no error. */
static void alone(unsigned side, const char *name, unsigned seed)
{
	assert_int_equal(start(side == 0, side == 1), 0);
	mount();
	look("a", 1);
	if (name)
		look(name, seed);
	assert_int_equal(dev_check(vol, true), 0);
	h2_abandon(vol);
	mirror_close(&m);
}

static void scrub(uint64_t *bad, uint64_t *repaired)
{
	struct h2_progress p = {0};
	struct h2_scrub *s;

	assert_int_equal(h2_scrub_begin(vol, &s), 0);
	while (h2_scrub_step(s, 1 << 20, &p) > 0)
		;
	h2_scrub_end(s);
	*bad = p.bad;
	*repaired = p.repaired;
}

static void damage_is_mended(void **state)
{
	uint64_t bad, repaired;

	for (unsigned side = 0; side < 2; side++) {
		fresh();
		assert_true(damage(&disk[side]) > 40);
		assert_int_equal(start(true, true), 0);
		mount();
		look("a", 1); /* a live read mends what it meets */
		if (side == 0)
			assert_true(disk[0].repairs > 40);
		scrub(&bad, &repaired);
		assert_int_equal(bad, 0);
		if (side == 1)
			assert_true(m.mended > 40);
		assert_true(mirror_whole(&m));
		stop(false);
		alone(0, NULL, 0);
		alone(1, NULL, 0);
		done();
	}
}

static void read_errors(void **state)
{
	fresh();
	disk[0].fail_reads_from = 5u << 20;
	disk[0].fail_reads_to = SIZE;
	assert_int_equal(start(true, true), 0);
	mount();
	look("a", 1);
	assert_true(m.mended > 0 && events > 0);
	stop(false);
	done();
}

static void a_disk_fails(void **state)
{
	for (unsigned side = 0; side < 2; side++) {
		fresh();
		assert_int_equal(start(true, true), 0);
		mount();
		disk[side].fail_writes_after = 3;
		put("b", 2);
		assert_int_equal(h2_sync(vol), 0);
		assert_true(m.side[side].dead && events);
		look("a", 1);
		stop(false);
		alone(!side, "b", 2);
		/* It is back, and behind. */
		disk[side].fail_writes_after = -1;
		assert_int_equal(start(true, true), 0);
		assert_true(m.side[side].stale && m.first == !side);
		mount();
		look("b", 2);
		while (mirror_step(&m, vol))
			;
		assert_true(mirror_whole(&m));
		put("c", 3); /* and both go on */
		stop(false);
		alone(side, "c", 3);
		done();
	}
}

/* A new disk beside a volume; cut at many points, then once to the end. */
static void a_new_disk(void **state)
{
	for (unsigned side = 0; side < 2; side++) {
		fresh();
		dev_close(&disk[side]);
		dev_open(&disk[side], SIZE + (side << 20));
		for (unsigned cut = 0; cut < 20; cut++) {
			assert_int_equal(start(true, true), 0);
			assert_true(m.side[side].stale);
			mount();
			if (cut == 2)
				put("b", 2);
			for (unsigned n = 0; n < cut && mirror_step(&m, vol); n++)
				;
			if (mirror_whole(&m))
				break;
			assert_int_equal(h2_sync(vol), 0);
			stop(true);
			assert_true(cut < 19);
		}
		stop(false);
		alone(side, "b", 2);
		alone(!side, "b", 2);
		done();
	}
}

static void refused(void **state)
{
	struct h2_newfs_opts o = {0};
	uint8_t junk[512];
	uint64_t writes;

	fresh();
	disk[1].rng ^= 0x5555; /* another volume */
	assert_int_equal(h2_newfs(&disk[1].env, &o), 0);
	writes = disk[0].writes + disk[1].writes;
	assert_int_equal(start(true, true), -H2_EINVAL);
	mirror_close(&m);
	dev_close(&disk[1]);
	dev_open(&disk[1], SIZE); /* somebody's data */
	memset(junk, 0x55, sizeof(junk));
	dev_poke(&disk[1], 70000, junk, sizeof(junk));
	assert_int_equal(start(true, true), -H2_EINVAL);
	mirror_close(&m);
	dev_close(&disk[1]);
	dev_open(&disk[1], SIZE / 2); /* too small */
	assert_int_equal(start(true, true), -H2_EINVAL);
	mirror_close(&m);
	assert_int_equal(start(false, false), -H2_EIO);
	mirror_close(&m);
	assert_true(disk[0].writes <= writes && disk[1].writes == 0);
	done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(damage_is_mended), cmocka_unit_test(read_errors),
	    cmocka_unit_test(a_disk_fails),     cmocka_unit_test(a_new_disk),
	    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
