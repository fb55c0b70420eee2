/* SPDX-License-Identifier: ISC */
/*
 * Volumes made by other HAMMER2 tools: read, check, write to and check again. They lie beside
 * the repository (../shared/hammer2-golden) and are skipped where they are absent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/h2_dev.h"

#define GOLDEN "../shared/hammer2-golden/"
#define SIZE   (2ull << 30)

/* Unpacked to a sparse file; only what is not a hole is read. */
static bool load(struct dev *d, const char *name)
{
	char cmd[600], path[256], tmp[] = "/tmp/d0-golden-XXXXXX";
	uint8_t *buf = malloc(DEV_PAGE);
	int fd;

	snprintf(path, sizeof(path), GOLDEN "%s.h2.zst", name);
	if (access(path, R_OK)) {
		print_message("  %s is not here: skipped\n", path);
		free(buf);
		return false;
	}
	fd = mkstemp(tmp);
	assert_true(fd >= 0);
	snprintf(cmd, sizeof(cmd), "zstd -dqf --sparse %s -o %s", path, tmp);
	assert_int_equal(system(cmd), 0);
	close(fd);
	fd = open(tmp, O_RDONLY);
	unlink(tmp);
	dev_open(d, SIZE);
	for (off_t off = 0; (off = lseek(fd, off, SEEK_DATA)) >= 0 && off < (off_t)SIZE;) {
		off &= ~(off_t)(DEV_PAGE - 1);
		assert_int_equal(pread(fd, buf, DEV_PAGE, off), DEV_PAGE);
		dev_poke(d, off, buf, DEV_PAGE);
		off += DEV_PAGE;
	}
	close(fd);
	free(buf);
	return true;
}

static void write_to(struct h2_vol *v)
{
	struct h2_new how = {.mode = H2_S_IFREG | 0644};
	struct h2_progress p;
	struct h2_pfs *pfs;
	struct h2_attr a;
	uint8_t *data = malloc(200000), *back = malloc(200000);
	char name[300];
	int err;

	memset(data, 'x', 200000);
	assert_int_equal(h2_pfs_open(v, "DATA", 0, &pfs), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "new-%d%s", i,
			 i % 7 ? ""
			       : "-with-a-long-name-that-does-not-fit-into-sixty-four-bytes-at-"
				 "all-so-it-has-a-block");
		assert_int_equal(h2_create(pfs, 1, name, strlen(name), &how, &a), 0);
		assert_int_equal(h2_write(pfs, a.ino, i, data, i * 600), i * 600);
	}
	assert_int_equal(h2_read(pfs, a.ino, 299, back, 200000), 299 * 600);
	assert_memory_equal(data, back, 299 * 600);
	assert_int_equal(h2_unlink(pfs, 1, "s513", 4), 0);
	assert_int_equal(h2_pfs_snapshot(v, "DATA", "keep"), 0);
	for (int i = 0; i < 300; i += 2) {
		snprintf(name, sizeof(name), "new-%d%s", i,
			 i % 7 ? ""
			       : "-with-a-long-name-that-does-not-fit-into-sixty-four-bytes-at-"
				 "all-so-it-has-a-block");
		assert_int_equal(h2_unlink(pfs, 1, name, strlen(name)), 0);
	}
	h2_pfs_close(pfs);
	assert_int_equal(h2_sync(v), 0);
	assert_int_equal(h2_pfs_delete(v, "keep"), 0);
	err = h2_bulkfree(v, &p);
	assert_int_equal(err, 0);
	assert_true(p.freed_bytes > 100000);
	free(data);
	free(back);
}

static void use(const char *name, uint64_t want)
{
	struct h2_mount_opts ro = {.readonly = true}, rw = {0};
	struct h2_pfs *pfs;
	struct h2_vol *v;
	struct dev d;
	uint64_t sum;
	int err;

	if (!load(&d, name))
		return;
	assert_int_equal(h2_mount(&d.env, &ro, &v), 0);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_pfs_open(v, "DATA", 0, &pfs), 0);
	sum = pfs_digest(pfs, &err);
	assert_int_equal(err, 0);
	/* The same tree everywhere, whatever the compression and check codes. */
	assert_int_equal(sum, want);
	assert_int_equal(h2_unmount(v), 0);
	assert_int_equal(d.writes, 0);

	assert_int_equal(h2_mount(&d.env, &rw, &v), 0);
	write_to(v);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_unmount(v), 0);
	assert_int_equal(h2_mount(&d.env, &ro, &v), 0);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_unmount(v), 0);
	assert_int_equal(d.bad_events, 0);
	dev_close(&d);
}

/* Digest of tree.tar.zst, computed from the first volume that two independent checkers pass. */
static uint64_t reference(void)
{
	struct h2_mount_opts ro = {.readonly = true};
	struct h2_pfs *pfs;
	struct h2_vol *v;
	struct dev d;
	uint64_t sum;
	int err;

	if (!load(&d, "none-xxhash"))
		return 0;
	assert_int_equal(h2_mount(&d.env, &ro, &v), 0);
	assert_int_equal(h2_pfs_open(v, "DATA", 0, &pfs), 0);
	sum = pfs_digest(pfs, &err);
	assert_int_equal(err, 0);
	assert_int_equal(h2_unmount(v), 0);
	dev_close(&d);
	return sum;
}

static void test_good(void **state)
{
	uint64_t want = reference();

	use("none-xxhash", want);
	use("lz4-xxhash", want);
	use("zlib-crc32c", want);
	use("sha192", want);
}

static void test_snapshot(void **state)
{
	struct h2_mount_opts o = {0};
	struct h2_attr a;
	struct h2_pfs *pfs;
	struct h2_vol *v;
	struct dev d;

	if (!load(&d, "snap"))
		return;
	assert_int_equal(h2_mount(&d.env, &o, &v), 0);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_pfs_open(v, "DATA", 0, &pfs), 0);
	assert_int_equal(h2_lookup(pfs, 1, "r200k", 5, &a), -H2_ENOENT);
	h2_pfs_close(pfs);
	assert_int_equal(h2_pfs_open(v, "snap1", 0, &pfs), 0);
	assert_int_equal(h2_lookup(pfs, 1, "r200k", 5, &a), 0);
	assert_int_equal(a.size, 200000);
	h2_pfs_close(pfs);
	write_to(v);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_unmount(v), 0);
	dev_close(&d);
}

static void test_bad(void **state)
{
	struct h2_mount_opts o = {.readonly = true};
	struct h2_progress p;
	struct h2_scrub *s;
	struct h2_pfs *pfs;
	struct h2_attr a;
	struct h2_vol *v;
	uint8_t buf[1024];
	struct dev d;

	if (!load(&d, "bad-data"))
		return;
	assert_int_equal(h2_mount(&d.env, &o, &v), 0);
	assert_int_equal(dev_check(v, false), 1);
	assert_int_equal(h2_scrub_begin(v, &s), 0);
	while (h2_scrub_step(s, 1 << 20, &p) > 0)
		;
	h2_scrub_end(s);
	assert_int_equal(p.bad, 1);
	assert_int_equal(h2_pfs_open(v, "DATA", 0, &pfs), 0);
	assert_int_equal(h2_lookup(pfs, 1, "s513", 4, &a), 0);
	assert_int_equal(h2_read(pfs, a.ino, 0, buf, sizeof(buf)), -H2_EIO);
	assert_int_equal(h2_unmount(v), 0);
	assert_true(d.bad_events >= 2);
	dev_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_snapshot),
	    cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests_name("h2_golden", tests, NULL, NULL);
}
