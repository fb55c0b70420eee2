/* SPDX-License-Identifier: ISC */
/* FUSE server: names and directories. */
#include "cells/store/fuse/impl.h"

int fuse_op_lookup(struct fuse_req *r)
{
	struct h2_attr a;
	const char *name;
	size_t at = 0, len;
	int err = fuse_take_name(r, &at, &name, &len);

	if (!err)
		err = h2_lookup(r->s->pfs, r->in.nodeid, name, len, &a);
	return err ? err : fuse_reply_entry(r, &a);
}

/* Owner and group of a new object; a set-group-ID directory hands its group down. */
static int fill_new(const struct fuse_req *r, uint32_t mode, struct h2_new *how)
{
	struct h2_attr dir;
	int err = h2_getattr(r->s->pfs, r->in.nodeid, &dir);

	if (err)
		return err;
	*how = (struct h2_new){.mode = mode, .uid = r->in.uid, .gid = r->in.gid};
	if (dir.mode & 02000)
		how->gid = dir.gid;
	return 0;
}

int fuse_op_mknod(struct fuse_req *r)
{
	struct fuse_mknod_in in = FUSE_ARG(r, fuse_mknod_in);
	size_t at = sizeof(in), len;
	struct h2_new how;
	struct h2_attr a;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (!err)
		err = fill_new(r, in.mode, &how);
	if (err)
		return err;
	how.rmajor = fuse_rdev_major(in.rdev);
	how.rminor = fuse_rdev_minor(in.rdev);
	err = h2_mknod(r->s->pfs, r->in.nodeid, name, len, &how, &a);
	return err ? err : fuse_reply_entry(r, &a);
}

int fuse_op_mkdir(struct fuse_req *r)
{
	struct fuse_mkdir_in in = FUSE_ARG(r, fuse_mkdir_in);
	size_t at = sizeof(in), len;
	struct h2_attr a, dir;
	struct h2_new how;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (!err)
		err = fill_new(r, in.mode & 07777, &how);
	if (!err)
		err = h2_getattr(r->s->pfs, r->in.nodeid, &dir);
	if (err)
		return err;
	how.mode |= dir.mode & 02000;
	err = h2_mkdir(r->s->pfs, r->in.nodeid, name, len, &how, &a);
	return err ? err : fuse_reply_entry(r, &a);
}

int fuse_op_symlink(struct fuse_req *r)
{
	size_t at = 0, len, target_len;
	const char *name, *target, *end;
	struct h2_new how;
	struct h2_attr a;
	int err = fuse_take_name(r, &at, &name, &len);

	if (err)
		return err;
	target = (const char *)r->arg + at;
	end = at < r->arg_len ? memchr(target, 0, r->arg_len - at) : NULL;
	if (!end)
		return -H2_EINVAL;
	target_len = (size_t)(end - target);
	if (target_len == 0)
		return -H2_ENOENT;
	err = fill_new(r, 0777, &how);
	if (!err)
		err = h2_symlink(r->s->pfs, r->in.nodeid, name, len, target, target_len, &how,
				 &a);
	return err ? err : fuse_reply_entry(r, &a);
}

int fuse_op_readlink(struct fuse_req *r)
{
	long n = h2_readlink(r->s->pfs, r->in.nodeid, (char *)r->out,
			     r->out_max < 4095 ? r->out_max : 4095);

	if (n < 0)
		return (int)n;
	r->out_len = (size_t)n;
	return 0;
}

int fuse_op_link(struct fuse_req *r)
{
	struct fuse_link_in in = FUSE_ARG(r, fuse_link_in);
	size_t at = sizeof(in), len;
	struct h2_attr a;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (!err)
		err = h2_link(r->s->pfs, in.oldnodeid, r->in.nodeid, name, len, &a);
	return err ? err : fuse_reply_entry(r, &a);
}

int fuse_op_unlink(struct fuse_req *r)
{
	size_t at = 0, len;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	return err ? err : h2_unlink(r->s->pfs, r->in.nodeid, name, len);
}

int fuse_op_rmdir(struct fuse_req *r)
{
	size_t at = 0, len;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	return err ? err : h2_rmdir(r->s->pfs, r->in.nodeid, name, len);
}

static int rename_to(struct fuse_req *r, size_t at, uint64_t newdir, uint32_t flags)
{
	const char *from, *to;
	size_t from_len, to_len;
	int err;

	if (flags & ~(H2_RENAME_NOREPLACE | H2_RENAME_EXCHANGE))
		return -H2_EINVAL;
	err = fuse_take_name(r, &at, &from, &from_len);
	if (!err)
		err = fuse_take_name(r, &at, &to, &to_len);
	return err ? err
		   : h2_rename(r->s->pfs, r->in.nodeid, from, from_len, newdir, to, to_len,
			       flags);
}

int fuse_op_rename(struct fuse_req *r)
{
	struct fuse_rename_in in = FUSE_ARG(r, fuse_rename_in);

	return rename_to(r, sizeof(in), in.newdir, 0);
}

int fuse_op_rename2(struct fuse_req *r)
{
	struct fuse_rename2_in in = FUSE_ARG(r, fuse_rename2_in);

	return rename_to(r, sizeof(in), in.newdir, in.flags);
}

int fuse_op_opendir(struct fuse_req *r)
{
	struct fuse_open_out o = {.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR};
	struct h2_attr a;
	int err = r->s->no_opendir ? -FUSE_ENOSYS : h2_getattr(r->s->pfs, r->in.nodeid, &a);

	if (err)
		return err;
	if ((a.mode & H2_S_IFMT) != H2_S_IFDIR)
		return -H2_ENOTDIR;
	fuse_node_open(r->s, r->in.nodeid);
	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	return 0;
}

int fuse_op_releasedir(struct fuse_req *r)
{
	fuse_node_close(r->s, r->in.nodeid);
	return 0;
}

/* ---- reading directories ---- */

struct listing {
	uint8_t *out;
	size_t max, len;
	size_t lead; /* bytes before each fuse_dirent, for its fuse_entry_out */
};

static size_t entry_size(size_t lead, size_t name_len)
{
	return lead + ((sizeof(struct fuse_dirent) + name_len + 7) & ~(size_t)7);
}

static int put_dirent(void *arg, const struct h2_dirent *ent)
{
	struct listing *l = arg;
	size_t need = entry_size(l->lead, ent->name_len);
	struct fuse_dirent d = {ent->ino, ent->cookie, ent->name_len, ent->mode >> 12};
	uint8_t *p = l->out + l->len;

	if (need > l->max - l->len)
		return 1;
	memset(p, 0, need);
	memcpy(p + l->lead, &d, sizeof(d));
	memcpy(p + l->lead + sizeof(d), ent->name, ent->name_len);
	l->len += need;
	return 0;
}

static int list(struct fuse_req *r, struct listing *l)
{
	struct fuse_read_in in = FUSE_ARG(r, fuse_read_in);
	int err;

	l->out = r->out;
	l->max = in.size < r->out_max ? in.size : r->out_max;
	err = h2_readdir(r->s->pfs, r->in.nodeid, in.offset, put_dirent, l);
	if (err < 0)
		return err;
	r->out_len = l->len;
	return 0;
}

int fuse_op_readdir(struct fuse_req *r)
{
	struct listing l = {0};

	return list(r, &l);
}

static bool dots(const uint8_t *name, uint32_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/* The attributes are looked up after the walk: h2's callback must leave the volume alone. */
int fuse_op_readdirplus(struct fuse_req *r)
{
	struct listing l = {.lead = sizeof(struct fuse_entry_out)};
	int err = list(r, &l);

	for (size_t at = 0; !err && at < l.len;) {
		uint8_t *p = l.out + at;
		struct fuse_entry_out e;
		struct fuse_dirent d;
		struct h2_attr a;

		memcpy(&d, p + l.lead, sizeof(d));
		at += entry_size(l.lead, d.namelen);
		if (dots(p + l.lead + sizeof(d), d.namelen))
			continue;
		if (h2_getattr(r->s->pfs, d.ino, &a))
			continue; /* nodeid 0: the client looks it up and gets the error then */
		fuse_put_entry(r->s, &e, &a);
		fuse_node_lookup(r->s, a.ino);
		memcpy(p, &e, sizeof(e));
	}
	return err;
}
