/* SPDX-License-Identifier: ISC */
/* The FUSE server: every operation once, and what a hostile client may try. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "cells/store/fuse/server.h"
#include "d0/vfs.h"
#include "tests/unit/store_env.h"

static struct store_env env;
static struct h2_pfs *pfs;
static struct fuse_session *session;
static uint8_t req[300000], rep[300000];
static size_t req_len;
static struct fuse_out_header head;

static uint64_t now(void *ctx)
{
	return env.clock += 1000;
}

static void begin(uint32_t opcode, uint64_t node)
{
	struct fuse_in_header h = {
	    .opcode = opcode, .unique = 77, .nodeid = node, .uid = 5, .gid = 6};

	memcpy(req, &h, sizeof(h));
	req_len = sizeof(h);
}

static void add(const void *p, size_t len)
{
	memcpy(req + req_len, p, len);
	req_len += len;
}

#define ADD(type, ...)                            \
	do {                                      \
		struct type add_ = {__VA_ARGS__}; \
		add(&add_, sizeof(add_));         \
	} while (0)

static void add_name(const char *s)
{
	add(s, strlen(s) + 1);
}

static int call_max(size_t max)
{
	uint32_t len = (uint32_t)req_len;
	long n;

	memcpy(req, &len, 4);
	memset(&head, 0, sizeof(head));
	/* exact heap copies, so that ASan sees every overrun */
	uint8_t *a = malloc(req_len), *b = malloc(max);
	memcpy(a, req, req_len);
	n = fuse_session_handle(session, a, req_len, b, max);
	assert_true(n == 0 || (n >= 16 && (size_t)n <= max));
	if (n) {
		memcpy(rep, b, (size_t)n);
		memcpy(&head, rep, sizeof(head));
		assert_int_equal(head.len, n);
		assert_int_equal(head.unique, 77);
	}
	free(a);
	free(b);
	return head.error;
}

static int call(void)
{
	return call_max(sizeof(rep));
}

static void *answer(void)
{
	return rep + sizeof(head);
}

static int init(void)
{
	begin(FUSE_INIT, 0);
	ADD(fuse_init_in, .major = 7, .minor = 38, .flags = ~FUSE_INIT_WRITEBACK_CACHE);
	return call();
}

static int setup_with(bool readonly, bool keep)
{
	struct fuse_options o = {.readonly = readonly,
				 .keep_nodes = keep,
				 .max_write = 256 << 10,
				 .valid_s = 1,
				 .now = now};

	store_env_open(&env, 64 << 20);
	assert_int_equal(h2_pfs_open(env.vol, "root", 0, &pfs), 0);
	session = fuse_session_new(pfs, &o);
	assert_non_null(session);
	return 0;
}

static int setup(void **state)
{
	return setup_with(false, false);
}

static int setup_ro(void **state)
{
	return setup_with(true, false);
}

static int setup_kept(void **state)
{
	return setup_with(true, true);
}

static int teardown(void **state)
{
	fuse_session_free(session);
	h2_pfs_close(pfs);
	assert_int_equal(store_env_check(&env), 0);
	store_env_close(&env);
	return 0;
}

static uint64_t create(const char *name)
{
	struct fuse_entry_out *e = answer();

	begin(FUSE_CREATE, 1);
	ADD(fuse_create_in, .flags = 2, .mode = 0100644);
	add_name(name);
	assert_int_equal(call(), 0);
	assert_int_equal(e->attr.uid, 5);
	assert_int_equal(e->attr.mode, 0100644);
	return e->nodeid;
}

static int write_at(uint64_t ino, uint64_t off, const void *p, uint32_t len)
{
	begin(FUSE_WRITE, ino);
	ADD(fuse_write_in, .offset = off, .size = len);
	add(p, len);
	return call();
}

static long read_at(uint64_t ino, uint64_t off, uint32_t len)
{
	begin(FUSE_READ, ino);
	ADD(fuse_read_in, .offset = off, .size = len);
	return call() ? head.error : (long)(head.len - sizeof(head));
}

static int name_op(uint32_t op, uint64_t dir, const char *name)
{
	begin(op, dir);
	add_name(name);
	return call();
}

static void nothing_before_init(void **state)
{
	assert_int_equal(name_op(FUSE_LOOKUP, 1, "x"), -H2_EIO);
	begin(FUSE_INIT, 0);
	ADD(fuse_init_in, .major = 7, .minor = 12);
	assert_int_equal(call(), -71);
	assert_int_equal(init(), 0);
	struct fuse_init_out *o = answer();
	assert_int_equal(o->major, 7);
	assert_int_equal(o->max_write, 256 << 10);
	assert_int_equal(name_op(FUSE_LOOKUP, 1, "x"), -H2_ENOENT);
}

static void files(void **state)
{
	uint8_t data[100000];
	uint64_t ino;

	init();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 255);
	ino = create("a");
	assert_int_equal(write_at(ino, 5, data, sizeof(data)), 0);
	assert_int_equal(read_at(ino, 5, 200000), sizeof(data));
	assert_memory_equal(answer(), data, sizeof(data));
	assert_int_equal(read_at(ino, 1 << 30, 10), 0);
	begin(FUSE_GETATTR, ino);
	ADD(fuse_getattr_in, .fh = 0);
	assert_int_equal(call(), 0);
	assert_int_equal(((struct fuse_attr_out *)answer())->attr.size, sizeof(data) + 5);
	begin(FUSE_SETATTR, ino);
	ADD(fuse_setattr_in, .valid = FATTR_SIZE | FATTR_MODE | FATTR_MTIME, .size = 7,
	    .mode = 0600, .mtime = 99, .mtimensec = 5);
	assert_int_equal(call(), 0);
	struct fuse_attr *a = &((struct fuse_attr_out *)answer())->attr;
	assert_int_equal(a->size, 7);
	assert_int_equal(a->mode, 0100600);
	assert_int_equal(a->mtime, 99);
	assert_int_equal(a->mtimensec, 5);
	begin(FUSE_FALLOCATE, ino);
	ADD(fuse_fallocate_in, .length = 1 << 20);
	assert_int_equal(call(), 0);
	begin(FUSE_LSEEK, ino);
	ADD(fuse_lseek_in, .offset = 0, .whence = 3);
	assert_int_equal(call(), 0);
	uint64_t b = create("b");
	begin(FUSE_COPY_FILE_RANGE, ino);
	ADD(fuse_copy_file_range_in, .nodeid_out = b, .len = 1 << 20);
	assert_int_equal(call(), 0);
	begin(FUSE_FSYNC, ino);
	ADD(fuse_fsync_in, .fh = 0);
	assert_int_equal(call(), 0);
	begin(FUSE_STATFS, 1);
	assert_int_equal(call(), 0);
	assert_true(((struct fuse_statfs_out *)answer())->bfree > 100);
}

static int seek(uint64_t ino, uint64_t at, unsigned whence, unsigned flags)
{
	begin(FUSE_LSEEK, ino);
	ADD(fuse_lseek_in, .offset = at, .whence = whence, .padding = flags);
	return call();
}

/* Where data and holes are; of a client that may hold some back, only when it says it doesn't.
 */
static void holes(void **state)
{
	static const unsigned clean[] = {0, D0_VFS_LSEEK_CLEAN};
	const uint64_t *at = answer();

	for (unsigned wb = 0; wb < 2; wb++) {
		char name[] = {'s', (char)('0' + wb), 0};

		begin(FUSE_INIT, 0);
		ADD(fuse_init_in, .major = 7, .minor = 38,
		    .flags = wb ? ~0u : ~(uint32_t)FUSE_INIT_WRITEBACK_CACHE);
		assert_int_equal(call(), 0);
		uint64_t ino = create(name);

		assert_int_equal(write_at(ino, 3 << 20, "data", 4), 0);
		if (wb)
			assert_int_equal(seek(ino, 0, 3, 0), -38 /* ENOSYS */);
		assert_int_equal(seek(ino, 0, 3, clean[wb]), 0);
		assert_int_equal(*at, 3 << 20);
		assert_int_equal(seek(ino, 5, 4, clean[wb]), 0);
		assert_int_equal(*at, 5);
		assert_int_equal(seek(ino, (3 << 20) + 1, 4, clean[wb]), 0);
		assert_int_equal(*at, (3 << 20) + 4);
		assert_int_equal(seek(ino, (3 << 20) + 4, 3, clean[wb]), -H2_ENXIO);
		assert_int_equal(seek(ino, ~0ull, 4, clean[wb]), -H2_ENXIO);
		assert_int_equal(seek(ino, 0, 9, clean[wb]), -H2_EINVAL);
	}
}

static void unlinked_file_lives_until_it_is_forgotten(void **state)
{
	struct fuse_stats st;
	uint64_t ino;

	init();
	ino = create("a");
	assert_int_equal(write_at(ino, 0, "hello", 5), 0);
	assert_int_equal(name_op(FUSE_UNLINK, 1, "a"), 0);
	assert_int_equal(read_at(ino, 0, 10), 5);
	begin(FUSE_RELEASE, ino);
	ADD(fuse_release_in, .fh = 0);
	assert_int_equal(call(), 0);
	assert_int_equal(read_at(ino, 0, 10), 5);
	begin(FUSE_FORGET, ino);
	ADD(fuse_forget_in, 1);
	assert_int_equal(call(), 0);
	assert_int_equal(read_at(ino, 0, 10), -H2_ENOENT);
	fuse_session_stats(session, &st);
	assert_int_equal(st.nodes, 0);
}

static void names(void **state)
{
	char longname[300];
	uint64_t dir, ino;

	init();
	begin(FUSE_MKDIR, 1);
	ADD(fuse_mkdir_in, .mode = 02755);
	add_name("dir");
	assert_int_equal(call(), 0);
	dir = ((struct fuse_entry_out *)answer())->nodeid;
	ino = create("f");
	begin(FUSE_LINK, dir);
	ADD(fuse_link_in, ino);
	add_name("g");
	assert_int_equal(call(), 0);
	assert_int_equal(((struct fuse_entry_out *)answer())->attr.nlink, 2);
	begin(FUSE_RENAME, 1);
	ADD(fuse_rename_in, dir);
	add_name("f");
	add_name("h");
	assert_int_equal(call(), 0);
	begin(FUSE_RENAME2, dir);
	ADD(fuse_rename2_in, .newdir = dir, .flags = 1);
	add_name("h");
	add_name("g");
	assert_int_equal(call(), -H2_EEXIST);
	begin(FUSE_SYMLINK, dir);
	add_name("s");
	add_name("../../etc/passwd");
	assert_int_equal(call(), 0);
	begin(FUSE_READLINK, ((struct fuse_entry_out *)answer())->nodeid);
	assert_int_equal(call(), 0);
	assert_memory_equal(answer(), "../../etc/passwd", 16);
	begin(FUSE_MKNOD, dir);
	ADD(fuse_mknod_in, .mode = 020600, .rdev = fuse_rdev(300, 70000));
	add_name("n");
	assert_int_equal(call(), 0);
	assert_int_equal(((struct fuse_entry_out *)answer())->attr.rdev, fuse_rdev(300, 70000));
	assert_int_equal(name_op(FUSE_RMDIR, 1, "dir"), -H2_ENOTEMPTY);
	assert_int_equal(name_op(FUSE_LOOKUP, dir, ".."), 0);
	assert_int_equal(((struct fuse_entry_out *)answer())->nodeid, 1);
	assert_int_equal(name_op(FUSE_LOOKUP, 1, ".."), 0);
	assert_int_equal(((struct fuse_entry_out *)answer())->nodeid, 1);
	assert_int_equal(name_op(FUSE_LOOKUP, 1, "dir/g"), -H2_EINVAL);
	assert_int_equal(name_op(FUSE_LOOKUP, 1, ""), -H2_ENOENT);
	memset(longname, 'x', sizeof(longname));
	longname[299] = 0;
	assert_int_equal(name_op(FUSE_LOOKUP, 1, longname), -H2_ENAMETOOLONG);
	begin(FUSE_LOOKUP, 1);
	add("abc", 3); /* no NUL */
	assert_int_equal(call(), -H2_EINVAL);
}

static void xattrs(void **state)
{
	uint64_t ino;

	init();
	ino = create("x");
	begin(FUSE_SETXATTR, ino);
	ADD(fuse_setxattr_in, .size = 4);
	add_name("security.capability");
	add("abcd", 4);
	assert_int_equal(call(), 0);
	begin(FUSE_GETXATTR, ino);
	ADD(fuse_getxattr_in, .size = 0);
	add_name("security.capability");
	assert_int_equal(call(), 0);
	assert_int_equal(((struct fuse_getxattr_out *)answer())->size, 4);
	begin(FUSE_GETXATTR, ino);
	ADD(fuse_getxattr_in, .size = 2);
	add_name("security.capability");
	assert_int_equal(call(), -H2_ERANGE);
	begin(FUSE_LISTXATTR, ino);
	ADD(fuse_getxattr_in, .size = 100);
	assert_int_equal(call(), 0);
	assert_int_equal(head.len - 16, 20);
	begin(FUSE_SETXATTR, ino);
	ADD(fuse_setxattr_in, .size = 400);
	add_name("user.lie");
	add("abcd", 4);
	assert_int_equal(call(), -H2_EINVAL);
	assert_int_equal(name_op(FUSE_REMOVEXATTR, ino, "security.capability"), 0);
	assert_int_equal(name_op(FUSE_REMOVEXATTR, ino, "security.capability"), -H2_ENODATA);
}

/* Walk with a small buffer: every entry once. */
static void listing(void **state)
{
	unsigned seen[200] = {0}, total = 0;
	uint64_t off = 0;
	char name[16];

	init();
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		create(name);
	}
	for (;;) {
		begin(FUSE_READDIRPLUS, 1);
		ADD(fuse_read_in, .offset = off, .size = 1000);
		assert_int_equal(call(), 0);
		size_t len = head.len - 16, at = 0;
		if (!len)
			break;
		assert_true(len <= 1000);
		while (at < len) {
			struct fuse_dirent *d = (void *)((uint8_t *)answer() + at + 128);
			struct fuse_entry_out *e = (void *)((uint8_t *)answer() + at);
			off = d->off;
			at += 128 + ((24 + d->namelen + 7) & ~7u);
			total++;
			if (d->name[0] == 'f') {
				assert_int_equal(e->nodeid, d->ino);
				seen[atoi(d->name + 1)]++;
			} else {
				assert_int_equal(e->nodeid, 0);
			}
		}
	}
	assert_int_equal(total, 202);
	for (int i = 0; i < 200; i++)
		assert_int_equal(seen[i], 1);
}

static void readonly_refuses(void **state)
{
	init();
	begin(FUSE_MKDIR, 1);
	ADD(fuse_mkdir_in, .mode = 0755);
	add_name("d");
	assert_int_equal(call(), -H2_EROFS);
	begin(FUSE_WRITE, 1);
	ADD(fuse_write_in, .size = 0);
	assert_int_equal(call(), -H2_EROFS);
}

static int open_root(uint32_t opcode)
{
	begin(opcode, 1);
	ADD(fuse_open_in, .flags = 0);
	return call();
}

/* A client that can do without opening is told so, if nothing depends on it. */
static void opens_are_spared(void **state)
{
	struct fuse_init_out *o = answer();

	assert_int_equal(init(), 0);
	assert_true(o->flags & FUSE_INIT_NO_OPEN && o->flags & FUSE_INIT_NO_OPENDIR);
	assert_int_equal(open_root(FUSE_OPEN), -38);
	assert_int_equal(open_root(FUSE_OPENDIR), -38);
	begin(FUSE_READDIR, 1);
	ADD(fuse_read_in, .size = 4096);
	assert_int_equal(call(), 0);
	begin(FUSE_INIT, 0); /* one that can't */
	ADD(fuse_init_in, .major = 7, .minor = 38, .flags = 0);
	assert_int_equal(call(), 0);
	assert_int_equal(open_root(FUSE_OPEN), -H2_EISDIR);
	assert_int_equal(open_root(FUSE_OPENDIR), 0);
}

static void opens_count_where_files_go(void **state)
{
	struct fuse_init_out *o = answer();

	assert_int_equal(init(), 0);
	assert_false(o->flags & (FUSE_INIT_NO_OPEN | FUSE_INIT_NO_OPENDIR));
	assert_int_equal(open_root(FUSE_OPENDIR), 0);
}

/* Random bytes under every opcode, at every length, with small reply buffers. */
static void hostile(void **state)
{
	uint64_t x = 88172645463325252ull;

	init();
	create("victim");
	for (int round = 0; round < 30000; round++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		begin((uint32_t)(x % 54), x >> 32 & 3);
		size_t extra = x >> 40 & 127;
		for (size_t i = 0; i < extra; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			uint8_t b = x & 64 ? 0 : (uint8_t)(x >> 8 & (x & 128 ? 3 : 255));
			add(&b, 1);
		}
		call_max(16 + (x >> 20 & 255));
	}
	uint8_t small[40] = {0};
	assert_int_equal(fuse_session_handle(session, small, 39, rep, 100), -H2_EINVAL);
	assert_int_equal(fuse_session_handle(session, small, 40, rep, 100), -H2_EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(nothing_before_init),
	    T(files),
	    T(holes),
	    T(unlinked_file_lives_until_it_is_forgotten),
	    T(names),
	    T(xattrs),
	    T(listing),
	    T(hostile),
	    cmocka_unit_test_setup_teardown(readonly_refuses, setup_ro, teardown),
	    T(opens_count_where_files_go),
	    cmocka_unit_test_setup_teardown(opens_are_spared, setup_kept, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
