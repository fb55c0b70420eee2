/* SPDX-License-Identifier: ISC */
/*
 * The placement-independent root of a tree: SHA-256 over its entries, so that two volumes
 * that hold the same files have the same root, whatever their blocks, inode numbers and
 * check codes are.
 *
 *	H(dir)   = SHA-256 of the records of its entries, in order of their names' bytes
 *	record   = name NUL "mode uid gid mtime.nsec size major:minor" NUL X C
 *	X        = SHA-256 over "name NUL length NUL value" of the extended attributes, sorted
 *	C        = SHA-256 of a file's content or a link's target; H() of a directory; else
 *		   zeros
 *	root     = SHA-256 of the record of the root directory, with an empty name
 *
 * Sizes of directories and link counts are left out; hard links appear as equal files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define DEPTH_MAX 256
#define BUF       (256u << 10)

struct child {
	uint64_t ino;
	char *name;
};

struct children {
	struct child *c;
	size_t n, size;
};

/* One directory of the path under way; not on the stack, which is small in a cell. */
struct level {
	struct children l;
	struct oci_sha sha;
	struct h2_attr attr; /* of the child under way */
	uint8_t x[32], c[32];
};

struct walk {
	struct oci_store *st;
	struct level *level[DEPTH_MAX + 2]; /* made when they are needed */
	struct h2_pfs *pfs;
	uint8_t *buf;
	char *xattr;
	const struct oci_sums *known;
	bool go_on; /* after errors: oci_tree_read() */
	int err;    /* the first of them */
};

/* 0: the walk goes on without it. */
static int met(struct walk *w, int err)
{
	if (!w->go_on || err == -H2_ENOMEM)
		return err;
	w->err = w->err ? w->err : err;
	return 0;
}

/* A piece that can't be read as a whole, block by block. */
static long read_blocks(struct walk *w, uint64_t ino, uint64_t off)
{
	for (uint64_t at = off; at < off + BUF; at += H2_BLOCK_SIZE) {
		long n = h2_read(w->pfs, ino, at, w->buf, H2_BLOCK_SIZE);
		int err = n < 0 ? met(w, (int)n) : 0;

		if (err)
			return err;
	}
	return BUF;
}

static int add_child(void *arg, const struct h2_dirent *e)
{
	struct children *l = arg;

	if (e->name_len <= 2 && !memcmp(e->name, "..", e->name_len))
		return 0;
	if (l->n == l->size) {
		void *more = realloc(l->c, (2 * l->size + 32) * sizeof(*l->c));

		if (!more)
			return -H2_ENOMEM;
		l->c = more;
		l->size = 2 * l->size + 32;
	}
	char *name = malloc(e->name_len + 1u);

	if (!name)
		return -H2_ENOMEM;
	memcpy(name, e->name, e->name_len);
	name[e->name_len] = 0;
	l->c[l->n++] = (struct child){e->ino, name};
	return 0; /* cppcheck-suppress memleak; the list has it */
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

static int by_string(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int hash_content(struct walk *w, uint64_t ino, uint64_t size, uint8_t out[32])
{
	const uint8_t *known = oci_sums_find(w->known, ino);
	struct oci_sha s;
	uint64_t off = 0;

	if (known) {
		memcpy(out, known, 32);
		return 0;
	}
	oci_sha_init(&s);
	while (off < size) {
		long n = h2_read(w->pfs, ino, off, w->buf, BUF);

		if (n < 0 && w->go_on)
			n = read_blocks(w, ino, off);
		if (n <= 0)
			return n ? (int)n : -H2_EIO;
		oci_sha_add(&s, w->buf, (size_t)n);
		off += (uint64_t)n;
		if (w->st->yield)
			w->st->yield(w->st->yield_ctx);
	}
	oci_sha_end(&s, out);
	return 0;
}

static int hash_xattrs(struct walk *w, uint64_t ino, uint8_t out[32])
{
	char *name[1024];
	struct oci_sha s;
	size_t n = 0;
	long len = h2_listxattr(w->pfs, ino, w->xattr, H2_XATTR_MAX);

	if (len < 0)
		return (int)len;
	for (char *p = w->xattr; p < w->xattr + len && n < 1024; p += strlen(p) + 1)
		name[n++] = p;
	qsort(name, n, sizeof(name[0]), by_string);
	oci_sha_init(&s);
	for (size_t i = 0; i < n; i++) {
		char size[24];
		long got = h2_getxattr(w->pfs, ino, name[i], w->buf, BUF);

		if (got < 0)
			return (int)got;
		oci_sha_add(&s, name[i], strlen(name[i]) + 1);
		oci_sha_add(&s, size, (size_t)snprintf(size, sizeof(size), "%ld", got) + 1);
		oci_sha_add(&s, w->buf, (size_t)got);
	}
	oci_sha_end(&s, out);
	return 0;
}

static int hash_dir(struct walk *w, uint64_t ino, unsigned depth, uint8_t out[32]);

/* Everything of a record but a directory's content. Like the next function not inlined: what
 * they need has no place on the stack of a recursion. */
static __attribute__((noinline)) int hash_leaf(struct walk *w, struct level *v, uint64_t ino)
{
	uint32_t type;
	int err = h2_getattr(w->pfs, ino, &v->attr);

	memset(v->c, 0, sizeof(v->c));
	if (!err)
		err = hash_xattrs(w, ino, v->x);
	if (err)
		return err;
	type = v->attr.mode & H2_S_IFMT;
	if (type == H2_S_IFREG)
		err = hash_content(w, ino, v->attr.size, v->c);
	if (type == H2_S_IFLNK) {
		long len = h2_readlink(w->pfs, ino, (char *)w->buf, BUF);

		if (len < 0)
			return (int)len;
		h2_sha256(w->buf, (size_t)len, v->c);
	}
	return err;
}

static __attribute__((noinline)) void add_record(const struct level *v, const char *name,
						 struct oci_sha *into)
{
	const struct h2_attr *a = &v->attr;
	bool file = (a->mode & H2_S_IFMT) == H2_S_IFREG;
	char text[160];
	int n = snprintf(text, sizeof(text), "%o %u %u %lld.%09u %llu %u:%u", a->mode, a->uid,
			 a->gid, (long long)a->mtime.sec, a->mtime.nsec,
			 file ? (unsigned long long)a->size : 0, a->rmajor, a->rminor);

	oci_sha_add(into, name, strlen(name) + 1);
	oci_sha_add(into, text, (size_t)n + 1);
	oci_sha_add(into, v->x, 32);
	oci_sha_add(into, v->c, 32);
}

/* An object at `depth`, whose directory's hash it goes into. */
static int hash_object(struct walk *w, uint64_t ino, const char *name, unsigned depth,
		       struct oci_sha *into)
{
	struct level *v = w->level[depth];
	int err;

	if (!v)
		v = w->level[depth] = calloc(1, sizeof(*v));
	err = v ? hash_leaf(w, v, ino) : -H2_ENOMEM;
	if (!err && (v->attr.mode & H2_S_IFMT) == H2_S_IFDIR)
		err = hash_dir(w, ino, depth, v->c);
	if (!err)
		add_record(v, name, into);
	if (w->st->yield)
		w->st->yield(w->st->yield_ctx);
	return err;
}

/* The directory at `depth`; its entries are one deeper, their list is kept at its own. */
static int hash_dir(struct walk *w, uint64_t ino, unsigned depth, uint8_t out[32])
{
	struct children *l = &w->level[depth]->l;
	struct oci_sha *s = &w->level[depth]->sha;
	int err = depth > DEPTH_MAX ? -H2_EINVAL : h2_readdir(w->pfs, ino, 0, add_child, l);

	oci_sha_init(s);
	if (!err && l->n)
		qsort(l->c, l->n, sizeof(*l->c), by_name);
	for (size_t i = 0; i < l->n; i++) {
		if (!err)
			err = met(w, hash_object(w, l->c[i].ino, l->c[i].name, depth + 1, s));
		free(l->c[i].name);
	}
	free(l->c);
	*l = (struct children){0};
	oci_sha_end(s, out);
	return err;
}

/* The whole tree; sets w->err in addition where w->go_on. */
static int walk_tree(struct walk *w, const char *label, struct oci_sha *s)
{
	int err = -H2_ENOMEM;

	w->buf = malloc(BUF);
	w->xattr = malloc(H2_XATTR_MAX);
	oci_sha_init(s);
	if (w->buf && w->xattr)
		err = h2_pfs_open(w->st->vol, label, H2_PFS_RDONLY, &w->pfs);
	if (!err) {
		err = hash_object(w, H2_ROOT_INO, "", 0, s);
		h2_pfs_close(w->pfs);
	}
	for (unsigned i = 0; i < DEPTH_MAX + 2; i++)
		free(w->level[i]);
	free(w->buf);
	free(w->xattr);
	return err;
}

int oci_tree_root_known(struct oci_store *st, const char *label, const struct oci_sums *known,
			char out[OCI_HEX])
{
	struct walk *w = calloc(1, sizeof(*w));
	struct oci_sha s;
	int err = -H2_ENOMEM;

	if (w) {
		w->st = st;
		w->known = known;
		err = walk_tree(w, label, &s);
		oci_sha_hex(&s, out);
	}
	free(w);
	return err;
}

int oci_tree_root(struct oci_store *st, const char *label, char out[OCI_HEX])
{
	return oci_tree_root_known(st, label, NULL, out);
}

int oci_tree_read(struct oci_store *st, const char *label)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct oci_sha s;
	int err = -H2_ENOMEM;

	if (w) {
		w->st = st;
		w->go_on = true;
		err = walk_tree(w, label, &s);
		err = err ? err : w->err;
	}
	free(w);
	return err;
}
