/* SPDX-License-Identifier: ISC */
/* Admin requests about the files of a PFS: look, read, pack, compare, unpack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/store/admin.h"
#include "cells/store/task.h"

#define READ_MAX  (1u << 20)
#define PIECE     32768u
#define SKIPS_MAX 32u
#define PATH_LEN  4096u

static int open_pfs(struct store *s, const char *label, bool write, struct h2_pfs **out)
{
	if (!label)
		return -H2_EINVAL;
	if (write && s->readonly)
		return -H2_EROFS;
	return h2_pfs_open(s->vol, label, s->readonly ? H2_PFS_RDONLY : 0, out);
}

static int do_stat(struct session *c, struct h2_pfs *pfs)
{
	const char *path = admin_arg(c, 1), *follow = admin_arg(c, 2);
	char link[PATH_LEN] = "";
	struct h2_attr a;
	long n = 0;
	int err = path && follow ? oci_tree_find(pfs, path, *follow == '1', &a) : -H2_EINVAL;

	if (err)
		return err;
	if ((a.mode & H2_S_IFMT) == H2_S_IFLNK)
		n = h2_readlink(pfs, a.ino, link, sizeof(link) - 1);
	if (n < 0)
		return (int)n;
	err = admin_lines(c, "%u\t%llu\t%lld\t%u\t%u\t", a.mode, (unsigned long long)a.size,
			  (long long)a.mtime.sec * 1000000000ll + a.mtime.nsec, a.uid, a.gid);
	return err ? err : admin_frame(c, 0, D0_ADMIN_MORE, link, (size_t)n);
}

static int do_read(struct session *c, struct h2_pfs *pfs)
{
	const char *path = admin_arg(c, 1);
	uint8_t *buf = malloc(PIECE);
	struct h2_attr a;
	int err = !buf ? -H2_ENOMEM : path ? oci_tree_find(pfs, path, true, &a) : -H2_EINVAL;

	if (!err && (a.mode & H2_S_IFMT) != H2_S_IFREG)
		err = -H2_ENOENT;
	if (!err && a.size > READ_MAX)
		err = -H2_EFBIG;
	for (uint64_t off = 0; !err && off < a.size;) {
		long n = h2_read(pfs, a.ino, off, buf, PIECE);

		if (n <= 0)
			err = n ? (int)n : -H2_EIO;
		else
			err = admin_stream(c, buf, (size_t)n);
		off += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return err;
}

static int one_change(void *arg, enum oci_change kind, const char *path,
		      const struct h2_attr *a)
{
	static const char letter[] = {
	    [OCI_CHANGED] = 'C', [OCI_ADDED] = 'A', [OCI_DELETED] = 'D', [OCI_TOUCHED] = 't'};
	char text[PATH_LEN + 32];
	if (kind == OCI_SAME)
		return admin_stream(arg, "", 0);
	int n = snprintf(text, sizeof(text), "%c%llu\t%s", letter[kind],
			 (unsigned long long)a->size, path);

	return admin_stream(arg, text, (size_t)n);
}

static int do_diff(struct session *c, struct store *s, struct h2_pfs *pfs)
{
	const char *skip[SKIPS_MAX + 1], *base_label = admin_arg(c, 1);
	struct h2_pfs *base;
	unsigned n = 0;
	int err = open_pfs(s, base_label, false, &base);

	if (err)
		return err;
	while (n < SKIPS_MAX && (skip[n] = admin_arg(c, 2 + n)))
		n++;
	skip[n] = NULL;
	err = c->head.op == D0_ADMIN_TREE_DIFF
		  ? oci_tree_diff(pfs, base, skip, one_change, c)
		  : oci_tree_pack_diff(pfs, base, skip, admin_stream, c);
	h2_pfs_close(base);
	return err;
}

/* ---- unpacking ---- */

void admin_unpack_drop(struct session *c)
{
	if (!c->unpack)
		return;
	oci_layer_free(c->unpack);
	h2_pfs_close(c->unpack_pfs);
	c->unpack = NULL;
}

static int unpack_begin(struct session *c, struct store *s)
{
	const char *path = admin_arg(c, 1), *flags = admin_arg(c, 2);
	struct h2_attr a;
	int err = path && flags ? 0 : -H2_EINVAL;

	if (c->unpack)
		return -H2_EBUSY;
	if (!err)
		err = open_pfs(s, admin_arg(c, 0), true, &c->unpack_pfs);
	if (err)
		return err;
	err = oci_tree_find(c->unpack_pfs, path, true, &a);
	if (!err && (a.mode & H2_S_IFMT) != H2_S_IFDIR)
		err = -H2_ENOTDIR;
	if (!err) {
		c->unpack_st = (struct oci_store){.vol = s->vol, .yield = task_breathe};
		c->unpack = oci_unpack_new(&c->unpack_st, c->unpack_pfs, a.ino,
					   (unsigned)(*flags - '0') & 3u);
		err = c->unpack ? 0 : -H2_ENOMEM;
	}
	if (err)
		h2_pfs_close(c->unpack_pfs);
	return err;
}

static int unpack_more(struct session *c, struct store *s, char why[256])
{
	bool end = c->head.op == D0_ADMIN_UNPACK_END;
	int err = !c->unpack ? -H2_EINVAL
		  : end      ? oci_layer_finish(c->unpack)
			     : oci_layer_push(c->unpack, c->in, c->head.len);

	memcpy(why, c->unpack_st.err, sizeof(c->unpack_st.err));
	if (err || end)
		admin_unpack_drop(c);
	return err || !end ? err : h2_sync(s->vol);
}

int admin_tree(struct session *c, struct store *s, char why[256])
{
	const char *path = admin_arg(c, 1), *name = admin_arg(c, 2);
	struct h2_pfs *pfs;
	int err;

	if (c->head.op == D0_ADMIN_UNPACK_BEGIN)
		return unpack_begin(c, s);
	if (c->head.op == D0_ADMIN_UNPACK_DATA || c->head.op == D0_ADMIN_UNPACK_END)
		return unpack_more(c, s, why);
	err = open_pfs(s, admin_arg(c, 0), false, &pfs);
	if (err)
		return err;
	if (c->head.op == D0_ADMIN_TREE_STAT)
		err = do_stat(c, pfs);
	else if (c->head.op == D0_ADMIN_TREE_READ)
		err = do_read(c, pfs);
	else if (c->head.op == D0_ADMIN_TREE_PACK)
		err =
		    path && name ? oci_tree_pack(pfs, path, name, admin_stream, c) : -H2_EINVAL;
	else
		err = do_diff(c, s, pfs);
	h2_pfs_close(pfs);
	return err;
}
