/* SPDX-License-Identifier: ISC */
/* FUSE server: attributes, extended attributes, statfs. */
#include "cells/store/fuse/impl.h"

void fuse_put_attr(struct fuse_attr *to, const struct h2_attr *a)
{
	bool dev = (a->mode & H2_S_IFMT) == H2_S_IFCHR || (a->mode & H2_S_IFMT) == H2_S_IFBLK;

	*to = (struct fuse_attr){
	    .ino = a->ino,
	    .size = a->size,
	    .blocks = (a->stored + 511) / 512,
	    .atime = (uint64_t)a->atime.sec,
	    .mtime = (uint64_t)a->mtime.sec,
	    .ctime = (uint64_t)a->ctime.sec,
	    .atimensec = a->atime.nsec,
	    .mtimensec = a->mtime.nsec,
	    .ctimensec = a->ctime.nsec,
	    .mode = a->mode,
	    .nlink = a->nlink > UINT32_MAX ? UINT32_MAX : (uint32_t)a->nlink,
	    .uid = a->uid,
	    .gid = a->gid,
	    .rdev = dev ? fuse_rdev(a->rmajor, a->rminor) : 0,
	    .blksize = 4096,
	};
}

void fuse_put_entry(const struct fuse_session *s, struct fuse_entry_out *e,
		    const struct h2_attr *a)
{
	*e = (struct fuse_entry_out){
	    .nodeid = a->ino,
	    .generation = 1,
	    .entry_valid = s->opts.valid_s,
	    .attr_valid = s->opts.valid_s,
	};
	fuse_put_attr(&e->attr, a);
}

int fuse_reply_entry(struct fuse_req *r, const struct h2_attr *a)
{
	struct fuse_entry_out e;

	fuse_put_entry(r->s, &e, a);
	fuse_node_lookup(r->s, a->ino);
	memcpy(r->out, &e, sizeof(e));
	r->out_len = sizeof(e);
	return 0;
}

static int reply_attr(struct fuse_req *r, const struct h2_attr *a)
{
	struct fuse_attr_out o = {.attr_valid = r->s->opts.valid_s};

	fuse_put_attr(&o.attr, a);
	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	return 0;
}

int fuse_op_getattr(struct fuse_req *r)
{
	struct h2_attr a;
	int err = h2_getattr(r->s->pfs, r->in.nodeid, &a);

	return err ? err : reply_attr(r, &a);
}

static struct h2_time take_time(const struct fuse_req *r, bool now, uint64_t sec, uint32_t nsec)
{
	uint64_t ns;

	if (!now)
		return (struct h2_time){(int64_t)sec, nsec};
	ns = r->s->opts.now(r->s->opts.ctx);
	return (struct h2_time){(int64_t)(ns / 1000000000u), (uint32_t)(ns % 1000000000u)};
}

int fuse_op_setattr(struct fuse_req *r)
{
	static const struct {
		uint32_t fuse, h2;
	} map[] = {
	    {FATTR_MODE, H2_SET_MODE},   {FATTR_UID, H2_SET_UID},
	    {FATTR_GID, H2_SET_GID},     {FATTR_SIZE, H2_SET_SIZE},
	    {FATTR_ATIME, H2_SET_ATIME}, {FATTR_MTIME, H2_SET_MTIME},
	    {FATTR_CTIME, H2_SET_CTIME},
	};
	struct fuse_setattr_in in = FUSE_ARG(r, fuse_setattr_in);
	struct h2_attr a = {
	    .mode = in.mode & 07777, .uid = in.uid, .gid = in.gid, .size = in.size};
	unsigned set = 0;
	int err;

	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (in.valid & map[i].fuse)
			set |= map[i].h2;
	if ((set & H2_SET_SIZE) && in.size > INT64_MAX)
		return -H2_EFBIG;
	if (in.atimensec > 999999999u || in.mtimensec > 999999999u || in.ctimensec > 999999999u)
		return -H2_EINVAL;
	a.atime = take_time(r, in.valid & FATTR_ATIME_NOW, in.atime, in.atimensec);
	a.mtime = take_time(r, in.valid & FATTR_MTIME_NOW, in.mtime, in.mtimensec);
	a.ctime = take_time(r, false, in.ctime, in.ctimensec);
	err = h2_setattr(r->s->pfs, r->in.nodeid, set, &a, &a);
	return err ? err : reply_attr(r, &a);
}

int fuse_op_statfs(struct fuse_req *r)
{
	struct fuse_statfs_out o = {0};
	struct h2_statfs st;
	int err = h2_statfs(r->s->pfs, &st);

	if (err)
		return err;
	o.blocks = st.blocks;
	o.bfree = st.free;
	o.bavail = st.avail;
	/* Inodes are made of free space: as many are free as blocks of 1 KiB. */
	o.ffree = st.avail * (st.block_size / 1024);
	o.files = st.files + o.ffree;
	o.bsize = o.frsize = (uint32_t)st.block_size;
	o.namelen = st.name_max;
	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	return 0;
}

/* ---- extended attributes ---- */

/* The client enforces POSIX ACLs, or does not know them: storing one that nobody enforces
 * would promise what is not kept. */
static bool acl(const char *name)
{
	return !strncmp(name, "system.posix_acl_", 17);
}

static int xattr_reply(struct fuse_req *r, uint32_t asked, long got)
{
	struct fuse_getxattr_out o = {0};

	if (got < 0)
		return (int)got;
	if (asked) {
		r->out_len = (size_t)got;
		return 0;
	}
	o.size = (uint32_t)got;
	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	return 0;
}

int fuse_op_getxattr(struct fuse_req *r)
{
	struct fuse_getxattr_in in = FUSE_ARG(r, fuse_getxattr_in);
	size_t at = sizeof(in), len, max = in.size < r->out_max ? in.size : r->out_max;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (err)
		return err == -H2_ENAMETOOLONG ? -H2_ERANGE : err;
	if (acl(name))
		return -H2_ENOTSUP;
	return xattr_reply(r, in.size, h2_getxattr(r->s->pfs, r->in.nodeid, name, r->out, max));
}

int fuse_op_listxattr(struct fuse_req *r)
{
	struct fuse_getxattr_in in = FUSE_ARG(r, fuse_getxattr_in);
	size_t max = in.size < r->out_max ? in.size : r->out_max;

	return xattr_reply(r, in.size,
			   h2_listxattr(r->s->pfs, r->in.nodeid, (char *)r->out, max));
}

int fuse_op_setxattr(struct fuse_req *r)
{
	struct fuse_setxattr_in in = FUSE_ARG(r, fuse_setxattr_in);
	size_t at = sizeof(in), len;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (err)
		return err == -H2_ENAMETOOLONG ? -H2_ERANGE : err;
	if (in.size != r->arg_len - at)
		return -H2_EINVAL;
	if (acl(name))
		return -H2_ENOTSUP;
	return h2_setxattr(r->s->pfs, r->in.nodeid, name, r->arg + at, in.size,
			   in.flags & (H2_XATTR_CREATE | H2_XATTR_REPLACE));
}

int fuse_op_removexattr(struct fuse_req *r)
{
	size_t at = 0, len;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (err)
		return err == -H2_ENAMETOOLONG ? -H2_ERANGE : err;
	return h2_removexattr(r->s->pfs, r->in.nodeid, name);
}
