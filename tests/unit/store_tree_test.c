/* SPDX-License-Identifier: ISC */
/*
 * Trees of files as archives (oci/tree.c): what is packed and unpacked again is the same tree,
 * a difference applied to the base gives the changed tree, and no path leaves its PFS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "oci/impl.h"
#include "tests/unit/store_env.h"

struct bytes {
	uint8_t *p;
	size_t len, size;
};

static struct store_env env;
static struct oci_store st;

static int collect(void *arg, const void *p, size_t len)
{
	struct bytes *b = arg;

	if (!len)
		return 0; /* a time at which others may use the volume */
	if (len > b->size - b->len) {
		b->size = 2 * (b->size + len);
		b->p = realloc(b->p, b->size);
		assert_non_null(b->p);
	}
	memcpy(b->p + b->len, p, len);
	b->len += len;
	return 0;
}

static struct h2_pfs *open_pfs(const char *label)
{
	struct h2_pfs *pfs;

	assert_int_equal(h2_pfs_open(env.vol, label, 0, &pfs), 0);
	return pfs;
}

static uint64_t dir_of(struct h2_pfs *pfs, const char *path)
{
	struct h2_attr a;

	assert_int_equal(oci_tree_find(pfs, path, true, &a), 0);
	return a.ino;
}

static uint64_t file(struct h2_pfs *pfs, const char *dir, const char *name, const char *text)
{
	struct h2_new how = {.mode = 0644, .uid = 5, .gid = 6};
	struct h2_attr a;
	uint64_t in = dir_of(pfs, dir);

	if (h2_lookup(pfs, in, name, strlen(name), &a))
		assert_int_equal(h2_create(pfs, in, name, strlen(name), &how, &a), 0);
	assert_int_equal(h2_write(pfs, a.ino, 0, text, strlen(text)), strlen(text));
	return a.ino;
}

static void folder(struct h2_pfs *pfs, const char *dir, const char *name)
{
	struct h2_new how = {.mode = 0755};

	assert_int_equal(h2_mkdir(pfs, dir_of(pfs, dir), name, strlen(name), &how, NULL), 0);
}

static void link_to(struct h2_pfs *pfs, const char *name, const char *target)
{
	struct h2_new how = {.mode = 0777};

	assert_int_equal(h2_symlink(pfs, H2_ROOT_INO, name, strlen(name), target,
				    strlen(target), &how, NULL),
			 0);
}

/* A tree with one of everything; names and targets beyond ustar's fields. */
static void fill(struct h2_pfs *pfs)
{
	char longname[201], big[200000];
	struct h2_new dev = {.mode = H2_S_IFCHR | 0600, .rmajor = 1, .rminor = 3};
	struct h2_attr a = {.mtime = {1234567890, 123456789}, .mode = 04755};
	uint64_t ino;

	memset(longname, 'n', 200);
	longname[200] = 0;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)('a' + i % 26);
	big[sizeof(big) - 1] = 0;
	folder(pfs, "/", "bin");
	folder(pfs, "/", "etc");
	folder(pfs, "etc", longname);
	file(pfs, "etc", "passwd", "root:x:0:0::/:/bin/sh\n");
	file(pfs, "etc", longname + 150, big);
	ino = file(pfs, "bin", "tool", "#!/bin/sh\n");
	assert_int_equal(
	    h2_setattr(pfs, ino, H2_SET_MODE | H2_SET_MTIME | H2_SET_ATIME, &a, NULL), 0);
	assert_int_equal(h2_link(pfs, ino, H2_ROOT_INO, "same", 4, NULL), 0);
	assert_int_equal(h2_setxattr(pfs, ino, "user.note", "a\0b\n", 4, 0), 0);
	assert_int_equal(h2_mknod(pfs, H2_ROOT_INO, "null", 4, &dev, NULL), 0);
	link_to(pfs, "up", "../../etc");
	link_to(pfs, "abs", "/bin/tool");
	link_to(pfs, "circle", "circle");
	link_to(pfs, "far", longname);
}

static int setup(void **state)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	struct h2_pfs *pfs;

	memset(&st, 0, sizeof(st));
	store_env_open(&env, 64 << 20);
	assert_int_equal(oci_open(&st, env.vol, true), 0);
	assert_int_equal(h2_pfs_create(env.vol, "base", &o), 0);
	pfs = open_pfs("base");
	fill(pfs);
	h2_pfs_close(pfs);
	assert_int_equal(h2_pfs_snapshot(env.vol, "base", "now"), 0);
	return 0;
}

static int teardown(void **state)
{
	oci_close(&st);
	assert_int_equal(h2_sync(env.vol), 0);
	assert_int_equal(store_env_check(&env), 0);
	store_env_close(&env);
	return 0;
}

static void assert_same_tree(const char *a, const char *b)
{
	char ra[OCI_HEX], rb[OCI_HEX];

	assert_int_equal(oci_tree_root(&st, a, ra), 0);
	assert_int_equal(oci_tree_root(&st, b, rb), 0);
	assert_string_equal(ra, rb);
}

static int unpack(const char *label, const char *dir, unsigned flags, const struct bytes *b)
{
	struct h2_pfs *pfs = open_pfs(label);
	struct oci_layer *l = oci_unpack_new(&st, pfs, dir_of(pfs, dir), flags);
	int err = 0;

	assert_non_null(l);
	st.err[0] = 0;
	for (size_t at = 0; !err && at < b->len; at += 1000)
		err = oci_layer_push(l, b->p + at, b->len - at < 1000 ? b->len - at : 1000);
	if (!err)
		err = oci_layer_finish(l);
	oci_layer_free(l);
	h2_pfs_close(pfs);
	return err;
}

/* ---- tests ---- */

static void paths_stay_inside(void **state)
{
	struct h2_pfs *pfs = open_pfs("base");
	struct h2_attr a, b;

	assert_int_equal(oci_tree_find(pfs, "etc/passwd", false, &a), 0);
	assert_int_equal(oci_tree_find(pfs, "/../up/./passwd", false, &b), 0);
	assert_int_equal(a.ino, b.ino);
	assert_int_equal(oci_tree_find(pfs, "abs", true, &a), 0);
	assert_int_equal(oci_tree_find(pfs, "same", false, &b), 0);
	assert_int_equal(a.ino, b.ino);
	assert_int_equal(oci_tree_find(pfs, "abs", false, &a), 0);
	assert_int_equal(a.mode & H2_S_IFMT, H2_S_IFLNK);
	assert_int_equal(oci_tree_find(pfs, "circle/x", false, &a), -H2_EINVAL);
	assert_int_equal(oci_tree_find(pfs, "etc/passwd/x", false, &a), -H2_ENOTDIR);
	assert_int_equal(oci_tree_find(pfs, "etc/no", false, &a), -H2_ENOENT);
	assert_int_equal(oci_tree_find(pfs, "", false, &a), 0);
	assert_int_equal(a.ino, H2_ROOT_INO);
	h2_pfs_close(pfs);
}

static void packed_and_unpacked_is_the_same(void **state)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	struct h2_pfs *pfs = open_pfs("base");
	struct bytes b = {0};

	assert_int_equal(oci_tree_pack(pfs, "/", ".", collect, &b), 0);
	h2_pfs_close(pfs);
	assert_int_equal(h2_pfs_create(env.vol, "copy", &o), 0);
	assert_int_equal(unpack("copy", "/", OCI_UNPACK_OWNER, &b), 0);
	assert_same_tree("base", "copy");
	free(b.p);
}

static int line(void *arg, enum oci_change kind, const char *path, const struct h2_attr *a)
{
	static const char letter[] = "CADt";
	char text[300];

	if (kind == OCI_SAME)
		return 0;
	snprintf(text, sizeof(text), "%c %s\n", letter[kind], path);
	return collect(arg, text, strlen(text));
}

static void change(struct h2_pfs *pfs)
{
	struct h2_attr a = {.mode = 0700};
	uint64_t etc = dir_of(pfs, "etc");

	file(pfs, "etc", "passwd", "other");
	folder(pfs, "/", "new");
	file(pfs, "new", "one", "1");
	assert_int_equal(h2_unlink(pfs, H2_ROOT_INO, "null", 4), 0);
	assert_int_equal(h2_setattr(pfs, dir_of(pfs, "bin"), H2_SET_MODE, &a, NULL), 0);
	assert_int_equal(h2_unlink(pfs, H2_ROOT_INO, "up", 2), 0);
	folder(pfs, "/", "up");
	file(pfs, "up", "x", "x");
	file(pfs, "etc", "hosts", "not to be seen");
	assert_int_equal(h2_setattr(pfs, etc, H2_SET_MTIME, &a, NULL), 0);
}

static void a_difference_says_what_changed(void **state)
{
	static const char *const skip[] = {"etc/hosts", NULL};
	struct h2_pfs *base = open_pfs("base"), *now = open_pfs("now");
	struct bytes text = {0};

	assert_int_equal(oci_tree_diff(now, base, skip, line, &text), 0);
	assert_int_equal(text.len, 0);
	change(now);
	assert_int_equal(oci_tree_diff(now, base, skip, line, &text), 0);
	collect(&text, "", 1);
	assert_string_equal((char *)text.p, "C bin\nt etc\nC etc/passwd\nA new\nA new/one\n"
					    "D null\nD up\nA up\nA up/x\n");
	h2_pfs_close(base);
	h2_pfs_close(now);
	free(text.p);
}

static void a_difference_makes_the_changed_tree(void **state)
{
	struct h2_pfs *base = open_pfs("base"), *now = open_pfs("now"), *again;
	struct h2_attr t = {.mtime = {7, 0}, .atime = {7, 0}};
	struct bytes b = {0};
	struct oci_layer *l;

	change(now);
	assert_int_equal(h2_setattr(now, H2_ROOT_INO, H2_SET_MTIME | H2_SET_ATIME, &t, NULL),
			 0);
	assert_int_equal(oci_tree_pack_diff(now, base, NULL, collect, &b), 0);
	assert_int_equal(h2_pfs_snapshot(env.vol, "base", "again"), 0);
	again = open_pfs("again");
	assert_int_equal(oci_layer_new(&st, again, "test", &l), 0);
	assert_non_null(l);
	assert_int_equal(oci_layer_push(l, b.p, b.len), 0);
	assert_int_equal(oci_layer_finish(l), 0);
	oci_layer_free(l);
	/* The root itself is no member of a layer. */
	assert_int_equal(h2_setattr(again, H2_ROOT_INO, H2_SET_MTIME | H2_SET_ATIME, &t, NULL),
			 0);
	h2_pfs_close(again);
	h2_pfs_close(base);
	h2_pfs_close(now);
	assert_same_tree("now", "again");
	free(b.p);
}

static void unpacking_obeys_its_flags(void **state)
{
	struct h2_pfs *pfs = open_pfs("now");
	struct bytes b = {0};
	struct h2_attr a;

	assert_int_equal(oci_tree_pack(pfs, "etc/passwd", "copied", collect, &b), 0);
	assert_int_equal(unpack("now", "bin", 0, &b), 0);
	assert_int_equal(oci_tree_find(pfs, "bin/copied", false, &a), 0);
	assert_int_equal(a.uid, 0);
	assert_int_equal(unpack("now", "bin", OCI_UNPACK_OWNER, &b), 0);
	assert_int_equal(oci_tree_find(pfs, "bin/copied", false, &a), 0);
	assert_int_equal(a.uid, 5);
	folder(pfs, "etc", "copied");
	assert_int_equal(unpack("now", "etc", OCI_UNPACK_NO_CROSS, &b), -H2_EINVAL);
	assert_non_null(strstr(st.err, "cannot overwrite directory"));
	b.len = 700; /* cut short */
	assert_int_equal(unpack("now", "bin", 0, &b), -H2_EINVAL);
	h2_pfs_close(pfs);
	free(b.p);
}

/* A program can make a file of any size; nobody can take its zeros out. */
static void a_file_without_end_is_refused(void **state)
{
	struct h2_pfs *pfs = open_pfs("now"), *base = open_pfs("base");
	static const char *const nothing[] = {NULL};
	struct bytes b = {0};
	uint64_t ino = file(pfs, "etc", "huge", "x");

	assert_int_equal(h2_truncate(pfs, ino, 48 << 20), 0);
	assert_int_equal(oci_tree_pack(pfs, "etc/huge", "huge", collect, &b), 0);
	b.len = 0;
	assert_int_equal(h2_truncate(pfs, ino, 1ull << 60), 0);
	assert_int_equal(oci_tree_pack(pfs, "etc/huge", "huge", collect, &b), -H2_EFBIG);
	assert_int_equal(b.len, 0);
	assert_int_equal(oci_tree_pack_diff(pfs, base, nothing, collect, &b), -H2_EFBIG);
	assert_true(b.len < 1 << 20);
	h2_pfs_close(base);
	h2_pfs_close(pfs);
	free(b.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(paths_stay_inside, setup, teardown),
	    cmocka_unit_test_setup_teardown(packed_and_unpacked_is_the_same, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_difference_says_what_changed, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_difference_makes_the_changed_tree, setup,
					    teardown),
	    cmocka_unit_test_setup_teardown(unpacking_obeys_its_flags, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_file_without_end_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
