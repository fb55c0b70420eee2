/* SPDX-License-Identifier: ISC */
/*
 * Random operations on a volume beside a model of plain C arrays: every answer must agree, and
 * so must everything read back after remounts, snapshots, rollbacks and bulkfrees. Each round
 * ends with a full check.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/h2_dev.h"

#define NODES    96
#define NAMES    14
#define FILE_MAX 300000u
#define NO_NODE  (-1)

/* ---- the model ---- */

struct node {
	bool used;
	uint32_t type; /* H2_S_IF* */
	uint64_t ino;
	uint32_t mode;
	int nlink;
	uint8_t *data; /* FILE_MAX bytes */
	uint32_t size;
	char xattr[32];   /* value of user.t, "" = none */
	int child[NAMES]; /* directories */
	int parent;
	bool held;
};

struct world {
	struct dev dev;
	struct h2_vol *vol;
	struct h2_pfs *pfs;
	struct node n[NODES];
	uint64_t rng;
	uint8_t *buf;
	unsigned long ops;
	size_t cache;
};

static const char *name_of(int i)
{
	static const char *const list[NAMES] = {
	    "a",
	    "b.txt",
	    "c-d_e",
	    "libfoo.so.1",
	    "README.md",
	    "~tmp",
	    "x.y.z",
	    "etc",
	    "name_of_exactly_sixty_four_bytes_which_still_fits_into_the_bref_",
	    "name_of_sixty_five_bytes_that_needs_a_block_of_its_own_to_be_kept",
	    "another-very-long-name-another-very-long-name-another-very-long-name-another-very-"
	    "long-name-another-very-long-name-another-very-long-name-another-very-long-name-"
	    "another-very-long-name-another-very-long-name-another-very-long-name-end",
	    "u",
	    "v",
	    "w"};

	return list[i];
}

static unsigned rnd(struct world *w, unsigned n)
{
	return (unsigned)((dev_random(&w->rng) >> 16) % n);
}

static int pick(struct world *w, uint32_t type)
{
	int start = rnd(w, NODES);

	for (int i = 0; i < NODES; i++) {
		int k = (start + i) % NODES;
		if (w->n[k].used && w->n[k].nlink > 0 && (!type || w->n[k].type == type))
			return k;
	}
	return NO_NODE;
}

static int fresh(struct world *w)
{
	for (int i = 1; i < NODES; i++)
		if (!w->n[i].used)
			return i;
	return NO_NODE;
}

static void forget(struct world *w, int k)
{
	free(w->n[k].data);
	memset(&w->n[k], 0, sizeof(w->n[k]));
}

static void unname(struct world *w, int dir, int name)
{
	int k = w->n[dir].child[name];

	w->n[dir].child[name] = NO_NODE;
	if (--w->n[k].nlink == 0 && !w->n[k].held)
		forget(w, k);
}

static bool dir_is_empty(const struct node *d)
{
	for (int i = 0; i < NAMES; i++)
		if (d->child[i] != NO_NODE)
			return false;
	return true;
}

static bool below(struct world *w, int k, int top)
{
	for (; k != 0; k = w->n[k].parent)
		if (k == top)
			return true;
	return k == top;
}

static void new_node(struct world *w, int k, uint32_t type, uint64_t ino, int dir, int name)
{
	struct node *n = &w->n[k];

	memset(n, 0, sizeof(*n));
	n->used = true;
	n->type = type;
	n->ino = ino;
	n->nlink = 1;
	n->parent = dir;
	for (int i = 0; i < NAMES; i++)
		n->child[i] = NO_NODE;
	if (type == H2_S_IFREG)
		n->data = calloc(1, FILE_MAX);
	w->n[dir].child[name] = k;
}

/* ---- operations ---- */

static void op_make(struct world *w)
{
	static const uint32_t types[] = {H2_S_IFREG, H2_S_IFREG, H2_S_IFREG, H2_S_IFDIR,
					 H2_S_IFLNK, H2_S_IFIFO, H2_S_IFCHR};
	uint32_t type = types[rnd(w, 7)];
	int dir = pick(w, H2_S_IFDIR), name = rnd(w, NAMES), k = fresh(w), err;
	const char *s = name_of(name);
	struct h2_new how = {.mode = type | rnd(w, 01000), .uid = rnd(w, 1000), .rmajor = 4};
	char target[700];
	size_t len = 1 + rnd(w, sizeof(target) - 1);
	struct h2_attr a;

	if (k == NO_NODE)
		return;
	memset(target, 'q', sizeof(target));
	if (type == H2_S_IFDIR)
		err = h2_mkdir(w->pfs, w->n[dir].ino, s, strlen(s), &how, &a);
	else if (type == H2_S_IFLNK)
		err = h2_symlink(w->pfs, w->n[dir].ino, s, strlen(s), target, len, &how, &a);
	else
		err = h2_mknod(w->pfs, w->n[dir].ino, s, strlen(s), &how, &a);
	if (w->n[dir].child[name] != NO_NODE) {
		assert_int_equal(err, -H2_EEXIST);
		return;
	}
	assert_int_equal(err, 0);
	new_node(w, k, type, a.ino, dir, name);
	w->n[k].mode = type == H2_S_IFLNK ? 0777 : how.mode & 07777;
	w->n[k].size = type == H2_S_IFLNK ? len : 0;
}

static void op_write(struct world *w)
{
	int k = pick(w, H2_S_IFREG);
	uint32_t off, len;
	unsigned kind = rnd(w, 4);

	if (k == NO_NODE)
		return;
	off = kind == 0 ? 0 : kind == 1 ? rnd(w, 600) : rnd(w, FILE_MAX);
	if (kind == 3)
		off &= ~65535u;
	len = 1 + rnd(w, rnd(w, 3) ? 2000 : 150000);
	if (off + len > FILE_MAX)
		len = FILE_MAX - off;
	memset(w->buf, rnd(w, 4) ? 'a' + rnd(w, 26) : 0, len);
	if (rnd(w, 2))
		for (uint32_t i = 0; i < len; i += 3)
			w->buf[i] = dev_random(&w->rng) >> 40;
	assert_int_equal(h2_write(w->pfs, w->n[k].ino, off, w->buf, len), len);
	memcpy(w->n[k].data + off, w->buf, len);
	if (off + len > w->n[k].size)
		w->n[k].size = off + len;
}

static void op_truncate(struct world *w)
{
	int k = pick(w, H2_S_IFREG);
	uint32_t size = rnd(w, 3) ? rnd(w, FILE_MAX) : rnd(w, 700);

	if (k == NO_NODE)
		return;
	assert_int_equal(h2_truncate(w->pfs, w->n[k].ino, size), 0);
	if (size < w->n[k].size)
		memset(w->n[k].data + size, 0, w->n[k].size - size);
	w->n[k].size = size;
}

static void op_punch(struct world *w)
{
	int k = pick(w, H2_S_IFREG);
	uint32_t off = rnd(w, FILE_MAX), len = 1 + rnd(w, 200000), end;

	if (k == NO_NODE)
		return;
	assert_int_equal(h2_fallocate(w->pfs, w->n[k].ino,
				      H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE, off, len),
			 0);
	end = off + len < w->n[k].size ? off + len : w->n[k].size;
	if (off < end)
		memset(w->n[k].data + off, 0, end - off);
}

static void op_read(struct world *w)
{
	int k = pick(w, H2_S_IFREG);
	uint32_t off = rnd(w, FILE_MAX), len = 1 + rnd(w, 200000), want;

	if (k == NO_NODE)
		return;
	want = off >= w->n[k].size ? 0 : w->n[k].size - off;
	if (want > len)
		want = len;
	assert_int_equal(h2_read(w->pfs, w->n[k].ino, off, w->buf, len), want);
	assert_memory_equal(w->buf, w->n[k].data + off, want);
}

static void op_remove(struct world *w)
{
	int dir = pick(w, H2_S_IFDIR), name = rnd(w, NAMES), k = w->n[dir].child[name],
	    want = 0;
	const char *s = name_of(name);
	bool as_dir = rnd(w, 2);

	if (k == NO_NODE)
		want = -H2_ENOENT;
	else if (as_dir && w->n[k].type != H2_S_IFDIR)
		want = -H2_ENOTDIR;
	else if (!as_dir && w->n[k].type == H2_S_IFDIR)
		want = -H2_EISDIR;
	else if (as_dir && !dir_is_empty(&w->n[k]))
		want = -H2_ENOTEMPTY;
	assert_int_equal(as_dir ? h2_rmdir(w->pfs, w->n[dir].ino, s, strlen(s))
				: h2_unlink(w->pfs, w->n[dir].ino, s, strlen(s)),
			 want);
	if (!want)
		unname(w, dir, name);
}

static void op_link(struct world *w)
{
	int k = pick(w, H2_S_IFREG), dir = pick(w, H2_S_IFDIR), name = rnd(w, NAMES);
	const char *s = name_of(name);
	struct h2_attr a;
	int want = w->n[dir].child[name] != NO_NODE ? -H2_EEXIST : 0;

	if (k == NO_NODE)
		return;
	assert_int_equal(h2_link(w->pfs, w->n[k].ino, w->n[dir].ino, s, strlen(s), &a), want);
	if (want)
		return;
	w->n[dir].child[name] = k;
	w->n[k].nlink++;
	assert_int_equal(a.nlink, w->n[k].nlink);
}

static int rename_wants(struct world *w, int fk, int tk, int td, unsigned flags, int fd)
{
	bool fdir, tdir;

	if (fk == NO_NODE || (tk == NO_NODE && flags == H2_RENAME_EXCHANGE))
		return -H2_ENOENT;
	fdir = w->n[fk].type == H2_S_IFDIR;
	tdir = tk != NO_NODE && w->n[tk].type == H2_S_IFDIR;
	if (tk != NO_NODE && flags == H2_RENAME_NOREPLACE)
		return -H2_EEXIST;
	if ((fdir && below(w, td, fk)) ||
	    (flags == H2_RENAME_EXCHANGE && tdir && below(w, fd, tk)))
		return -H2_EINVAL;
	if (fk == tk || flags == H2_RENAME_EXCHANGE || tk == NO_NODE)
		return 0;
	if (fdir != tdir)
		return fdir ? -H2_ENOTDIR : -H2_EISDIR;
	return tdir && !dir_is_empty(&w->n[tk]) ? -H2_ENOTEMPTY : 0;
}

static void op_rename(struct world *w)
{
	int fd = pick(w, H2_S_IFDIR), td = pick(w, H2_S_IFDIR), fn = rnd(w, NAMES),
	    tn = rnd(w, NAMES), fk = w->n[fd].child[fn], tk = w->n[td].child[tn];
	const char *f = name_of(fn), *t = name_of(tn);
	unsigned flags = rnd(w, 3);
	int want = rename_wants(w, fk, tk, td, flags, fd);

	assert_int_equal(
	    h2_rename(w->pfs, w->n[fd].ino, f, strlen(f), w->n[td].ino, t, strlen(t), flags),
	    want);
	if (want || fk == tk)
		return;
	if (flags == H2_RENAME_EXCHANGE) {
		w->n[fd].child[fn] = tk;
		w->n[td].child[tn] = fk;
		w->n[tk].parent = fd;
	} else {
		if (tk != NO_NODE)
			unname(w, td, tn);
		w->n[td].child[tn] = fk;
		w->n[fd].child[fn] = NO_NODE;
	}
	w->n[fk].parent = td;
}

static void op_attr(struct world *w)
{
	int k = pick(w, 0);
	struct h2_attr a = {.mode = rnd(w, 010000),
			    .mtime = {rnd(w, 100000), rnd(w, 1000000000)}},
		       out;

	if (k == 0)
		return;
	assert_int_equal(h2_setattr(w->pfs, w->n[k].ino, H2_SET_MODE | H2_SET_MTIME, &a, &out),
			 0);
	w->n[k].mode = a.mode;
	assert_int_equal(out.mtime.sec, a.mtime.sec);
	assert_int_equal(out.mtime.nsec, a.mtime.nsec);
}

static void op_xattr(struct world *w)
{
	int k = pick(w, 0), err;

	if (rnd(w, 3) == 0) {
		err = h2_removexattr(w->pfs, w->n[k].ino, "user.t");
		assert_int_equal(err, w->n[k].xattr[0] ? 0 : -H2_ENODATA);
		w->n[k].xattr[0] = 0;
		return;
	}
	memset(w->n[k].xattr, 0, sizeof(w->n[k].xattr));
	memset(w->n[k].xattr, 'A' + rnd(w, 26), 1 + rnd(w, 30));
	assert_int_equal(
	    h2_setxattr(w->pfs, w->n[k].ino, "user.t", w->n[k].xattr, strlen(w->n[k].xattr), 0),
	    0);
}

/* An unlinked file stays readable while it is held. */
static void op_hold(struct world *w)
{
	int k = pick(w, H2_S_IFREG);

	if (k == NO_NODE)
		return;
	if (!w->n[k].held) {
		assert_int_equal(h2_hold(w->pfs, w->n[k].ino), 0);
		w->n[k].held = true;
	}
}

static void release_all(struct world *w)
{
	for (int k = 0; k < NODES; k++) {
		if (!w->n[k].held)
			continue;
		w->n[k].held = false;
		assert_int_equal(h2_release(w->pfs, w->n[k].ino, 1), 0);
		if (w->n[k].nlink == 0)
			forget(w, k);
	}
}

static void check_held(struct world *w)
{
	struct h2_attr a;

	for (int k = 0; k < NODES; k++) {
		if (!w->n[k].held)
			continue;
		assert_int_equal(h2_getattr(w->pfs, w->n[k].ino, &a), 0);
		assert_int_equal(a.nlink, w->n[k].nlink);
		assert_int_equal(h2_read(w->pfs, w->n[k].ino, 0, w->buf, FILE_MAX),
				 w->n[k].size);
		assert_memory_equal(w->buf, w->n[k].data, w->n[k].size);
	}
}

/* ---- comparing everything ---- */

struct seen {
	struct world *w;
	int dir;
	int count;
};

static int see(void *arg, const struct h2_dirent *e)
{
	struct seen *s = arg;

	if (e->cookie <= 2)
		return 0;
	for (int i = 0; i < NAMES; i++) {
		int k = s->w->n[s->dir].child[i];
		if (strlen(name_of(i)) == e->name_len &&
		    !memcmp(name_of(i), e->name, e->name_len)) {
			assert_int_not_equal(k, NO_NODE);
			assert_int_equal(s->w->n[k].ino, e->ino);
			assert_int_equal(s->w->n[k].type, e->mode);
			s->count++;
		}
	}
	return 0;
}

static void compare_node(struct world *w, int k)
{
	struct node *n = &w->n[k];
	char value[64];
	struct h2_attr a;
	long len;

	assert_int_equal(h2_getattr(w->pfs, n->ino, &a), 0);
	assert_int_equal(a.mode & H2_S_IFMT, n->type);
	if (k)
		assert_int_equal(a.mode & 07777, n->mode);
	if (n->type != H2_S_IFDIR) {
		assert_int_equal(a.nlink, n->nlink);
		assert_int_equal(a.size, n->size);
	}
	len = h2_getxattr(w->pfs, n->ino, "user.t", value, sizeof(value));
	assert_int_equal(len, n->xattr[0] ? (long)strlen(n->xattr) : -H2_ENODATA);
	if (len > 0)
		assert_memory_equal(value, n->xattr, len);
	if (n->type == H2_S_IFREG) {
		assert_int_equal(h2_read(w->pfs, n->ino, 0, w->buf, FILE_MAX), n->size);
		assert_memory_equal(w->buf, n->data, n->size);
	} else if (n->type == H2_S_IFDIR) {
		struct seen s = {w, k, 0};
		int want = 0;
		assert_int_equal(h2_readdir(w->pfs, n->ino, 0, see, &s), 0);
		for (int i = 0; i < NAMES; i++)
			want += n->child[i] != NO_NODE;
		assert_int_equal(s.count, want);
	}
}

static void compare_all(struct world *w)
{
	for (int k = 0; k < NODES; k++)
		if (w->n[k].used && w->n[k].nlink > 0)
			compare_node(w, k);
}

static void mount(struct world *w)
{
	struct h2_mount_opts o = {.cache_bytes = w->cache, .dedup_entries = 256};

	assert_int_equal(h2_mount(&w->dev.env, &o, &w->vol), 0);
	assert_int_equal(h2_pfs_open(w->vol, "ROOT", 0, &w->pfs), 0);
}

static void op_remount(struct world *w)
{
	release_all(w);
	h2_pfs_close(w->pfs);
	assert_int_equal(h2_unmount(w->vol), 0);
	assert_int_equal(w->dev.mem, 0);
	mount(w);
	compare_all(w);
}

static void op_snapshot(struct world *w)
{
	uint64_t before, after;
	struct h2_pfs *snap;
	int err;

	release_all(w);
	before = pfs_digest(w->pfs, &err);
	assert_int_equal(err, 0);
	(void)h2_pfs_delete(w->vol, "snap");
	assert_int_equal(h2_pfs_snapshot(w->vol, "ROOT", "snap"), 0);
	assert_int_equal(h2_pfs_open(w->vol, "snap", 0, &snap), 0);
	after = pfs_digest(snap, &err);
	assert_int_equal(err, 0);
	assert_int_equal(before, after);
	h2_pfs_close(snap);
}

static void op_bulkfree(struct world *w)
{
	struct h2_progress p;

	assert_int_equal(h2_bulkfree(w->vol, &p), 0);
	compare_all(w);
}

static void step(struct world *w)
{
	static void (*const often[])(struct world *) = {
	    op_make,  op_make,     op_make,   op_write, op_write,  op_write,
	    op_write, op_truncate, op_punch,  op_read,  op_remove, op_remove,
	    op_link,  op_rename,   op_rename, op_attr,  op_xattr,  op_hold};

	w->ops++;
	if (rnd(w, 100) == 0)
		assert_int_equal(h2_sync(w->vol), 0);
	else if (rnd(w, 300) == 0)
		op_remount(w);
	else if (rnd(w, 300) == 0)
		op_snapshot(w);
	else if (rnd(w, 500) == 0)
		op_bulkfree(w);
	else if (rnd(w, 200) == 0)
		check_held(w), release_all(w);
	else
		often[rnd(w, sizeof(often) / sizeof(*often))](w);
}

static void run(uint64_t seed, unsigned steps, size_t cache, uint8_t check, uint8_t comp)
{
	struct world *w = calloc(1, sizeof(*w));
	struct h2_newfs_opts o = {.check = check, .comp = comp, .labels = {"ROOT"}};
	struct h2_progress p;

	w->rng = seed;
	w->cache = cache;
	w->buf = malloc(FILE_MAX + 200000);
	dev_open(&w->dev, 512ull << 20);
	assert_int_equal(h2_newfs(&w->dev.env, &o), 0);
	mount(w);
	w->n[0].used = true;
	w->n[0].type = H2_S_IFDIR;
	w->n[0].ino = H2_ROOT_INO;
	w->n[0].nlink = 1;
	for (int i = 0; i < NAMES; i++)
		w->n[0].child[i] = NO_NODE;
	for (unsigned i = 0; i < steps; i++)
		step(w);
	check_held(w);
	release_all(w);
	compare_all(w);
	assert_int_equal(dev_check(w->vol, true), 0);
	h2_pfs_close(w->pfs);
	assert_int_equal(h2_bulkfree(w->vol, &p), 0);
	assert_int_equal(dev_check(w->vol, true), 0);
	assert_int_equal(h2_unmount(w->vol), 0);
	assert_int_equal(w->dev.bad_events, 0);
	assert_int_equal(w->dev.mem, 0);
	dev_close(&w->dev);
	for (int k = 0; k < NODES; k++)
		forget(w, k);
	free(w->buf);
	free(w);
}

/* H2_ROUNDS=100 soaks. */
static unsigned rounds(unsigned usual)
{
	const char *s = getenv("H2_ROUNDS");

	return s ? (unsigned)atoi(s) : usual;
}

static void test_model_lz4(void **state)
{
	for (uint64_t seed = 1; seed <= rounds(3); seed++)
		run(seed * 7919, 3000, 0, H2_CHECK_SHA192, H2_COMP_LZ4);
}

static void test_model_plain(void **state)
{
	run(4242, 3000, 0, H2_CHECK_XXH64, H2_COMP_NONE);
}

static void test_model_zlib(void **state)
{
	run(777, 1500, 0, H2_CHECK_CRC32C, H2_COMP_ZLIB);
}

/* The smallest cache: everything is evicted all the time. */
static void test_model_small_cache(void **state)
{
	for (uint64_t seed = 1; seed <= rounds(2); seed++)
		run(seed * 104729, 3000, H2_CACHE_MIN, H2_CHECK_XXH64, H2_COMP_LZ4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_model_lz4),
	    cmocka_unit_test(test_model_plain),
	    cmocka_unit_test(test_model_zlib),
	    cmocka_unit_test(test_model_small_cache),
	};

	return cmocka_run_group_tests_name("h2_model", tests, NULL, NULL);
}
