/* SPDX-License-Identifier: ISC */
/* Single properties of the library: limits, faults, snapshots, hashes, many files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "h2/impl.h"
#include "tests/unit/h2_dev.h"

struct fix {
	struct dev d;
	struct h2_vol *v;
	struct h2_pfs *p;
};

static const struct h2_new file = {.mode = H2_S_IFREG | 0644, .uid = 5, .gid = 6};

static void mount(struct fix *f, struct h2_mount_opts o)
{
	assert_int_equal(h2_mount(&f->d.env, &o, &f->v), 0);
	assert_int_equal(h2_pfs_open(f->v, "ROOT", 0, &f->p), 0);
}

static void start(struct fix *f, uint64_t size, uint8_t check, uint8_t comp)
{
	struct h2_newfs_opts o = {.check = check, .comp = comp, .labels = {"ROOT"}};

	dev_open(&f->d, size);
	assert_int_equal(h2_newfs(&f->d.env, &o), 0);
	mount(f, (struct h2_mount_opts){.cache_bytes = H2_CACHE_MIN, .dedup_entries = 4096});
}

static void remount(struct fix *f)
{
	h2_pfs_close(f->p);
	assert_int_equal(h2_unmount(f->v), 0);
	assert_int_equal(f->d.mem, 0);
	mount(f, (struct h2_mount_opts){.cache_bytes = H2_CACHE_MIN});
}

static void stop(struct fix *f)
{
	assert_int_equal(dev_check(f->v, true), 0);
	h2_pfs_close(f->p);
	assert_int_equal(h2_unmount(f->v), 0);
	assert_int_equal(f->d.mem, 0);
	dev_close(&f->d);
}

static uint64_t make(struct fix *f, const char *name, const void *data, size_t len)
{
	struct h2_attr a;

	assert_int_equal(h2_create(f->p, 1, name, strlen(name), &file, &a), 0);
	if (len)
		assert_int_equal(h2_write(f->p, a.ino, 0, data, len), len);
	return a.ino;
}

/* ---- hashes: the format's own examples, and the soft against the CPU's ---- */

static void test_hashes(void **state)
{
	uint8_t sha[32];
	static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};

	assert_true(h2_name_hash("DATA", 4) == 0xc78fff92381d8000ull);
	assert_true(h2_name_hash("foo", 3) == 0xcfc4ae1d61d98000ull);
	assert_true(h2_name_hash("bar", 3) == 0x8ab7133119868000ull);
	assert_true(h2_crc32c(0, "123456789", 9) == 0xe3069283u);
	assert_true(h2_xxh64("", 0, 0) == 0xef46db3751d8e999ull);
	assert_true(h2_xxh64("abc", 3, 0) == 0x44bc2cf5ad770999ull);
	h2_sha256("abc", 3, sha);
	assert_memory_equal(sha, abc, 4);
}

/* ---- sizes and holes ---- */

static void test_big_sparse_file(void **state)
{
	uint64_t offs[] = {0, 500, 511, 65535, 1ull << 23, (5ull << 30) + 77, 1ull << 45};
	struct h2_attr a;
	struct fix f;
	uint64_t ino, at;
	char back[4];

	start(&f, 256 << 20, 0, H2_COMP_LZ4);
	ino = make(&f, "big", NULL, 0);
	for (unsigned i = 0; i < sizeof(offs) / sizeof(*offs); i++)
		assert_int_equal(h2_write(f.p, ino, offs[i], "end", 3), 3);
	remount(&f);
	for (unsigned i = 0; i < sizeof(offs) / sizeof(*offs); i++) {
		assert_int_equal(h2_read(f.p, ino, offs[i], back, 3), 3);
		assert_memory_equal(back, "end", 3);
	}
	assert_int_equal(h2_read(f.p, ino, 1ull << 40, back, 4), 4);
	assert_memory_equal(back, "\0\0\0\0", 4);
	assert_int_equal(h2_seek(f.p, ino, 200000, true, &at), 0);
	assert_int_equal(at, 1ull << 23);
	assert_int_equal(h2_seek(f.p, ino, 0, false, &at), 0);
	assert_int_equal(at, 131072);
	assert_int_equal(h2_getattr(f.p, ino, &a), 0);
	assert_int_equal(a.size, (1ull << 45) + 3);
	assert_true(a.stored < 300000);
	assert_int_equal(h2_write(f.p, ino, 1ull << 62, "x", 1), -H2_EFBIG);
	assert_int_equal(h2_truncate(f.p, ino, 100), 0);
	assert_int_equal(h2_read(f.p, ino, 0, back, 4), 4);
	assert_memory_equal(back, "end\0", 4);
	stop(&f);
}

static void test_zeros_are_holes(void **state)
{
	uint8_t *zeros = calloc(1, 1 << 20);
	struct h2_attr a;
	struct fix f;
	uint64_t ino;

	start(&f, 64 << 20, 0, H2_COMP_NONE);
	ino = make(&f, "z", zeros, 1 << 20);
	assert_int_equal(h2_write(f.p, ino, 100, zeros, 5000), 5000);
	assert_int_equal(h2_sync(f.v), 0);
	assert_int_equal(h2_getattr(f.p, ino, &a), 0);
	assert_int_equal(a.stored, 0);
	assert_int_equal(a.size, 1 << 20);
	free(zeros);
	stop(&f);
}

/* ---- names
 * ---------------------------------------------------------------------------------------------
 */

static void test_names(void **state)
{
	char name[300];
	struct h2_attr a;
	struct fix f;

	memset(name, 'n', sizeof(name));
	start(&f, 64 << 20, 0, 0);
	for (unsigned len = 1; len <= 255; len++)
		assert_int_equal(h2_create(f.p, 1, name, len, &file, &a), 0);
	assert_int_equal(h2_create(f.p, 1, name, 256, &file, &a), -H2_ENAMETOOLONG);
	assert_int_equal(h2_create(f.p, 1, "a/b", 3, &file, &a), -H2_EINVAL);
	assert_int_equal(h2_create(f.p, 1, "", 0, &file, &a), -H2_EINVAL);
	assert_int_equal(h2_create(f.p, 1, ".", 1, &file, &a), -H2_EEXIST);
	assert_int_equal(h2_mkdir(f.p, 1, "..", 2, &file, &a), -H2_EEXIST);
	remount(&f);
	for (unsigned len = 1; len <= 255; len++)
		assert_int_equal(h2_lookup(f.p, 1, name, len, &a), 0);
	stop(&f);
}

/* The hidden directories can't be seen, made, removed or entered by name. */
static void test_side_is_hidden(void **state)
{
	struct h2_attr a;
	struct fix f;
	uint64_t ino;

	start(&f, 64 << 20, 0, 0);
	ino = make(&f, "f", "data", 4);
	assert_int_equal(h2_setxattr(f.p, ino, "security.capability", "\1\2", 2, 0), 0);
	assert_int_equal(h2_lookup(f.p, 1, ".d0-side", 8, &a), -H2_ENOENT);
	assert_int_equal(h2_mkdir(f.p, 1, ".d0-side", 8, &file, &a), -H2_EPERM);
	assert_int_equal(h2_rename(f.p, 1, "f", 1, 1, ".d0-side", 8, 0), -H2_EPERM);
	assert_int_equal(h2_setxattr(f.p, ino, "user.a", "1", 1, H2_XATTR_REPLACE),
			 -H2_ENODATA);
	assert_int_equal(h2_setxattr(f.p, ino, "user.a", "1", 1, H2_XATTR_CREATE), 0);
	assert_int_equal(h2_setxattr(f.p, ino, "user.a", "1", 1, H2_XATTR_CREATE), -H2_EEXIST);
	assert_int_equal(h2_removexattr(f.p, ino, "user.a"), 0);
	assert_int_equal(h2_removexattr(f.p, ino, "security.capability"), 0);
	h2_pfs_close(f.p);
	assert_int_equal(h2_pfs_open(f.v, "ROOT", H2_PFS_RAW, &f.p), 0);
	assert_int_equal(h2_lookup(f.p, 1, ".d0-side", 8, &a), 0);
	assert_int_equal(a.nlink, 2);
	stop(&f);
}

/* ---- many files ---- */

struct count {
	uint64_t n, last;
	bool stop_early;
};

static int count_one(void *arg, const struct h2_dirent *e)
{
	struct count *c = arg;

	assert_true(e->cookie > c->last);
	assert_true(e->cookie >> 63 == 0);
	c->last = e->cookie;
	c->n += e->cookie > 2;
	return c->stop_early && e->cookie > 2 && c->n % 100 == 0;
}

static void test_many_files(void **state)
{
	struct count c = {0};
	struct h2_attr a;
	struct fix f;
	char name[32];
	const int n = 20000;

	start(&f, 512 << 20, H2_CHECK_XXH64, 0);
	for (int i = 0; i < n; i++) {
		sprintf(name, "file%d", i);
		make(&f, name, name, i % 3 ? 0 : strlen(name));
	}
	remount(&f);
	for (int i = 0; i < n; i += 7) {
		sprintf(name, "file%d", i);
		assert_int_equal(h2_lookup(f.p, 1, name, strlen(name), &a), 0);
	}
	/* In pieces, continued by cookie, with entries vanishing behind. */
	c.stop_early = true;
	for (uint64_t before = 1; before != c.n;) {
		before = c.n;
		assert_int_equal(h2_readdir(f.p, 1, c.last, count_one, &c), 0);
	}
	assert_int_equal(c.n, n);
	for (int i = 0; i < n; i++) {
		sprintf(name, "file%d", i);
		assert_int_equal(h2_unlink(f.p, 1, name, strlen(name)), 0);
	}
	assert_int_equal(h2_sync(f.v), 0);
	/* Everything collapsed again: no indirect block is left. */
	assert_int_equal(f.p->root->live, 0);
	stop(&f);
}

/* ---- PFSs
 * ----------------------------------------------------------------------------------------------------
 */

static void test_pfs_operations(void **state)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	struct h2_pfs_info info;
	struct h2_attr a;
	struct h2_pfs *p;
	struct fix f;
	char label[32];
	uint64_t ino, cursor = 0, n = 0;

	start(&f, 128 << 20, 0, 0);
	ino = make(&f, "f", "one", 3);
	for (int i = 0; i < 200; i++) {
		sprintf(label, "img-%d", i);
		assert_int_equal(h2_pfs_create(f.v, label, &o), 0);
	}
	assert_int_equal(h2_pfs_create(f.v, "img-7", &o), -H2_EEXIST);
	assert_int_equal(h2_pfs_rename(f.v, "img-7", "img-8", false), -H2_EEXIST);
	assert_int_equal(h2_pfs_rename(f.v, "img-7", "img-8", true), 0);
	assert_int_equal(h2_pfs_rename(f.v, "ROOT", "x", false), -H2_EBUSY);
	assert_int_equal(h2_pfs_delete(f.v, "ROOT"), -H2_EBUSY);
	assert_int_equal(h2_pfs_delete(f.v, "nope"), -H2_ENOENT);
	while (!h2_pfs_next(f.v, &cursor, &info))
		n++;
	assert_int_equal(n, 201);

	assert_int_equal(h2_pfs_snapshot(f.v, "ROOT", "v1"), 0);
	assert_int_equal(h2_write(f.p, ino, 0, "two", 3), 3);
	assert_int_equal(h2_pfs_open(f.v, "v1", 0, &p), 0);
	make(&(struct fix){.p = p}, "only-in-v1", "x", 1);
	h2_pfs_close(p);
	assert_int_equal(h2_pfs_rollback(f.v, "ROOT", "v1"), -H2_EBUSY);
	h2_pfs_close(f.p);
	assert_int_equal(h2_pfs_rollback(f.v, "ROOT", "v1"), 0);
	assert_int_equal(h2_pfs_open(f.v, "ROOT", 0, &f.p), 0);
	assert_int_equal(h2_lookup(f.p, 1, "only-in-v1", 10, &a), 0);
	remount(&f);
	assert_int_equal(h2_lookup(f.p, 1, "f", 1, &a), 0);
	char back[4] = "";
	assert_int_equal(h2_read(f.p, a.ino, 0, back, 3), 3);
	assert_string_equal(back, "one");
	assert_int_equal(h2_pfs_stat(f.v, "v1", &info), 0);
	assert_int_equal(info.subtype, 1);
	stop(&f);
}

/* A snapshot writes the same few blocks whether the PFS holds 10 files or 5000. */
static void test_snapshot_constant(void **state)
{
	uint64_t cost[2];
	struct fix f;
	char name[32];

	start(&f, 256 << 20, H2_CHECK_XXH64, 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < (round ? 5000 : 10); i++) {
			sprintf(name, "%d-%d", round, i);
			make(&f, name, name, strlen(name));
		}
		assert_int_equal(h2_sync(f.v), 0);
		sprintf(name, "snap%d", round);
		cost[round] = f.d.written;
		assert_int_equal(h2_pfs_snapshot(f.v, "ROOT", name), 0);
		assert_int_equal(h2_sync(f.v), 0);
		cost[round] = f.d.written - cost[round];
	}
	assert_true(cost[1] <= cost[0] + 16384);
	stop(&f);
}

static void test_orphans_after_crash(void **state)
{
	struct h2_attr a;
	struct h2_statfs s1, s2;
	struct fix f;
	uint64_t ino;

	start(&f, 64 << 20, 0, 0);
	assert_int_equal(h2_sync(f.v), 0);
	ino = make(&f, "f", "data", 4);
	assert_int_equal(h2_hold(f.p, ino), 0);
	assert_int_equal(h2_unlink(f.p, 1, "f", 1), 0);
	assert_int_equal(h2_getattr(f.p, ino, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(h2_link(f.p, ino, 1, "again", 5, &a), -H2_ENOENT);
	assert_int_equal(h2_statfs(f.p, &s1), 0);
	assert_int_equal(h2_sync(f.v), 0);
	assert_int_equal(dev_check(f.v, true), 0);
	h2_abandon(f.v); /* the crash */
	mount(&f, (struct h2_mount_opts){0});
	assert_int_equal(h2_getattr(f.p, ino, &a), -H2_ENOENT);
	assert_int_equal(h2_sync(f.v), 0);
	assert_int_equal(h2_statfs(f.p, &s2), 0);
	assert_int_equal(s2.files, 1); /* the directory of orphans itself */
	stop(&f);
}

/* ---- faults
 * -------------------------------------------------------------------------------------------------------
 */

/* First data block of the file on the device. */
static uint64_t where_is(struct fix *f, uint64_t ino)
{
	struct h2_node *n;
	uint64_t off;

	assert_int_equal(h2_sync(f->v), 0);
	assert_int_equal(h2_inode_get(f->p, ino, &n), 0);
	assert_int_equal(h2_node_table(n)[0].type, H2_BREF_DATA);
	off = h2_bref_off(&h2_node_table(n)[0]);
	h2_node_put(f->v, n);
	return off;
}

static void test_bad_block_and_repair(void **state)
{
	uint8_t *data = malloc(65536), *back = malloc(65536), junk[1024] = {1};
	struct dev mirror;
	struct fix f;
	uint64_t ino, off;

	for (int i = 0; i < 65536; i++)
		data[i] = (unsigned)i * i >> 3;
	start(&f, 64 << 20, 0, H2_COMP_NONE);
	ino = make(&f, "f", data, 65536);
	off = where_is(&f, ino);
	dev_copy(&mirror, &f.d);
	remount(&f);
	dev_poke(&f.d, off + 4096, junk, sizeof(junk));
	assert_int_equal(h2_read(f.p, ino, 0, back, 65536), -H2_EIO);
	assert_int_equal(h2_read(f.p, ino, 0, back, 10), -H2_EIO);
	assert_int_equal(f.d.bad_events, 2);
	f.d.fail_reads_from = off;
	f.d.fail_reads_to = off + 1;
	assert_int_equal(h2_read(f.p, ino, 0, back, 65536), -H2_EIO);
	f.d.fail_reads_to = 0;
	f.d.fail_reads_from = 0;
	f.d.mirror = &mirror;
	assert_int_equal(h2_read(f.p, ino, 0, back, 65536), 65536);
	assert_memory_equal(data, back, 65536);
	assert_int_equal(f.d.repairs, 1);
	f.d.mirror = NULL;
	remount(&f);
	assert_int_equal(h2_read(f.p, ino, 0, back, 65536), 65536);
	dev_close(&mirror);
	free(data);
	free(back);
	stop(&f);
}

static void test_write_error(void **state)
{
	uint8_t *data = calloc(1, 1 << 20);
	struct h2_attr a;
	struct fix f;
	uint64_t ino;

	start(&f, 64 << 20, 0, H2_COMP_NONE);
	ino = make(&f, "f", "old", 3);
	assert_int_equal(h2_sync(f.v), 0);
	memset(data, 'x', 1 << 20);
	f.d.fail_writes_after = 0;
	(void)h2_write(f.p, ino, 0, data, 1 << 20);
	assert_true(h2_sync(f.v) < 0);
	assert_int_equal(h2_create(f.p, 1, "g", 1, &file, &a), -H2_EROFS);
	assert_int_equal(h2_unmount(f.v), -H2_EROFS);
	f.d.fail_writes_after = -1;
	mount(&f, (struct h2_mount_opts){0});
	assert_int_equal(h2_getattr(f.p, ino, &a), 0);
	assert_int_equal(a.size, 3);
	free(data);
	stop(&f);
}

static void test_disk_full(void **state)
{
	uint8_t *data = malloc(65536);
	struct h2_progress prog;
	struct fix f;
	char name[32];
	int files = 0, err = 0;
	uint64_t x = 88172645463325252ull;

	start(&f, 48 << 20, H2_CHECK_XXH64, H2_COMP_NONE);
	for (int round = 0; round < 3; round++) {
		for (err = 0; !err; files++) {
			struct h2_attr a;
			for (int i = 0; i < 65536; i++)
				data[i] = dev_random(&x);
			sprintf(name, "f%d", files);
			err = h2_create(f.p, 1, name, strlen(name), &file, &a);
			if (!err && h2_write(f.p, a.ino, 0, data, 65536) != 65536)
				err = -H2_ENOSPC;
		}
		assert_int_equal(err, -H2_ENOSPC);
		assert_int_equal(h2_sync(f.v), 0);
		assert_int_equal(dev_check(f.v, true), 0);
		while (files--) { /* deleting works on a full volume */
			sprintf(name, "f%d", files);
			err = h2_unlink(f.p, 1, name, strlen(name));
			assert_true(err == 0 || err == -H2_ENOENT);
		}
		files = 0;
		assert_int_equal(h2_bulkfree(f.v, &prog), 0);
		assert_true(prog.freed_bytes > 10 << 20);
	}
	free(data);
	stop(&f);
}

static void test_header_fallback(void **state)
{
	uint8_t junk[1024] = {9};
	struct h2_vol_info info;
	struct h2_attr a;
	struct fix f;

	start(&f, 7ull << 30, 0, 0);
	for (int i = 0; i < 6; i++) { /* copies 2, 3, 4, 1, 2, 3 */
		char name[16];
		sprintf(name, "f%d", i);
		make(&f, name, "x", 1);
		assert_int_equal(h2_sync(f.v), 0);
	}
	h2_vol_info(f.v, &info);
	assert_int_equal(info.copies, 4);
	h2_abandon(f.v);
	dev_poke(&f.d, (info.header - 1) * (2ull << 30) + 512, junk, sizeof(junk));
	mount(&f, (struct h2_mount_opts){0});
	h2_vol_info(f.v, &info);
	assert_int_equal(info.valid_copies, 3);
	assert_int_equal(h2_lookup(f.p, 1, "f4", 2, &a), 0);
	assert_int_equal(h2_lookup(f.p, 1, "f5", 2, &a), -H2_ENOENT);
	make(&f, "after", "x", 1);
	stop(&f);
}

static void test_dedup_and_clone(void **state)
{
	uint8_t *data = malloc(1 << 20), *back = malloc(1 << 20);
	struct h2_vol_info i1, i2;
	struct h2_attr a;
	struct fix f;
	uint64_t ino;

	for (int i = 0; i < 1 << 20; i++)
		data[i] = (i * 2654435761u) >> 13;
	start(&f, 128 << 20, 0, H2_COMP_NONE);
	ino = make(&f, "a", data, 1 << 20);
	assert_int_equal(h2_sync(f.v), 0);
	h2_vol_info(f.v, &i1);
	make(&f, "b", data, 1 << 20);
	assert_int_equal(h2_create(f.p, 1, "c", 1, &file, &a), 0);
	assert_int_equal(h2_clone(f.p, a.ino, 65536, f.p, ino, 0, 1 << 20), 0);
	assert_int_equal(h2_sync(f.v), 0);
	h2_vol_info(f.v, &i2);
	assert_int_equal(i2.dedup_hits, 16);
	assert_true(i1.allocator_free - i2.allocator_free < 200000);
	assert_int_equal(h2_read(f.p, a.ino, 65536, back, 1 << 20), 1 << 20);
	assert_memory_equal(data, back, 1 << 20);
	free(data);
	free(back);
	stop(&f);
}

/* The prepared path stores the same as the plain one. */
static void test_prepared(void **state)
{
	uint8_t *in = calloc(1, 65536), *back = malloc(65536);
	struct h2_prepared b = {.data = malloc(H2_PREPARE_BYTES)};
	void *work = malloc(h2_codec_std.work_bytes);
	struct h2_attr a;
	struct fix f;
	uint64_t ino;
	uint8_t check, comp, level;

	for (int i = 0; i < 65536; i++)
		in[i] = i / 300;
	start(&f, 64 << 20, 0, H2_COMP_LZ4);
	ino = make(&f, "p", NULL, 0);
	assert_int_equal(h2_file_methods(f.p, ino, &check, &comp, &level), 0);
	for (uint32_t len = 65536; len > 600; len = len * 3 / 4) {
		assert_int_equal(
		    h2_block_prepare(&h2_codec_std, work, check, comp, level, in, len, &b), 0);
		assert_int_equal(h2_truncate(f.p, ino, 0), 0);
		assert_int_equal(h2_write_prepared(f.p, ino, 0, &b), 0);
		assert_int_equal(h2_getattr(f.p, ino, &a), 0);
		assert_int_equal(a.size, len);
		assert_int_equal(h2_read(f.p, ino, 0, back, 65536), len);
		assert_memory_equal(in, back, len);
	}
	free(in);
	free(back);
	free(b.data);
	free(work);
	stop(&f);
}

static void test_memory_bound(void **state)
{
	uint8_t *data = calloc(1, 65536);
	struct fix f;
	char name[32];

	start(&f, 1ull << 30, H2_CHECK_XXH64, H2_COMP_LZ4);
	h2_pfs_close(f.p);
	assert_int_equal(h2_unmount(f.v), 0);
	f.d.mem_max = 0;
	mount(&f, (struct h2_mount_opts){0});
	for (int i = 0; i < 4000; i++) {
		sprintf(name, "f%d", i);
		data[0] = i;
		data[9999] = i >> 8;
		make(&f, name, data, 10000 + i % 50000);
	}
	/* default cache of 8 MiB and less than 2 MiB beside it */
	assert_true(f.d.mem_max < 10u << 20);
	free(data);
	stop(&f);
}

/*
 * The freemap's tree grows a level with the fifth leaf (past 4 GiB) and another with the fifth
 * node (past 1 TiB). Allocation is steered there instead of filling terabytes.
 */
static void test_freemap_levels(void **state)
{
	uint64_t at[] = {0, 1, 2, 3, 4, 7, 300, 600, 900, 1090};
	uint8_t *data = malloc(65536), *back = malloc(65536);
	uint64_t ino[10], seed = 5;
	struct h2_progress p;
	struct fix f;
	char name[16];

	start(&f, 1100ull << 30, H2_CHECK_XXH64, H2_COMP_NONE);
	for (int i = 0; i < 10; i++) {
		for (int k = 0; k < 65536; k++)
			data[k] = dev_random(&seed);
		sprintf(name, "f%d", i);
		f.v->fm.cursor[H2_BREF_DATA] = at[i] * 256 + 9;
		ino[i] = make(&f, name, data, 65536);
		assert_int_equal(where_is(&f, ino[i]) >> 30, at[i]);
		assert_int_equal(f.v->hdr->freemap[0].keybits, i < 4 ? 30 : i < 9 ? 38 : 46);
		remount(&f);
		assert_int_equal(dev_check(f.v, true), 0);
		assert_int_equal(h2_read(f.p, ino[i], 0, back, 65536), 65536);
		assert_memory_equal(data, back, 65536);
	}
	for (int i = 0; i < 10; i++) {
		sprintf(name, "f%d", i);
		assert_int_equal(h2_unlink(f.p, 1, name, strlen(name)), 0);
	}
	assert_int_equal(h2_bulkfree(f.v, &p), 0);
	assert_true(p.freed_bytes >= 10 * 65536);
	free(data);
	free(back);
	stop(&f);
}

static void test_newfs_limits(void **state)
{
	struct h2_newfs_opts o = {.labels = {"A", "B", "C"}};
	struct h2_mount_opts m = {0};
	struct h2_vol *v;
	struct dev d;

	dev_open(&d, 16 << 20);
	assert_int_equal(h2_newfs(&d.env, &o), -H2_EINVAL);
	assert_int_equal(h2_mount(&d.env, &m, &v), -H2_EMEDIUM);
	assert_int_equal(d.writes, 0);
	assert_int_equal(d.mem, 0);
	dev_close(&d);
	dev_open(&d, 24 << 20);
	assert_int_equal(h2_newfs(&d.env, &o), 0);
	assert_int_equal(h2_mount(&d.env, &m, &v), 0);
	assert_int_equal(dev_check(v, true), 0);
	assert_int_equal(h2_unmount(v), 0);
	dev_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hashes),
	    cmocka_unit_test(test_big_sparse_file),
	    cmocka_unit_test(test_zeros_are_holes),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_side_is_hidden),
	    cmocka_unit_test(test_many_files),
	    cmocka_unit_test(test_pfs_operations),
	    cmocka_unit_test(test_snapshot_constant),
	    cmocka_unit_test(test_orphans_after_crash),
	    cmocka_unit_test(test_bad_block_and_repair),
	    cmocka_unit_test(test_write_error),
	    cmocka_unit_test(test_disk_full),
	    cmocka_unit_test(test_header_fallback),
	    cmocka_unit_test(test_dedup_and_clone),
	    cmocka_unit_test(test_prepared),
	    cmocka_unit_test(test_memory_bound),
	    cmocka_unit_test(test_freemap_levels),
	    cmocka_unit_test(test_newfs_limits),
	};

	return cmocka_run_group_tests_name("h2_fs", tests, NULL, NULL);
}
