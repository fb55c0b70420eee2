/* SPDX-License-Identifier: ISC */
/* FUSE server: files' contents. */
#include "cells/store/fuse/impl.h"
#include "d0/vfs.h"

#define LINUX_O_ACCMODE 3u
#define LINUX_O_TRUNC   01000u
#define COPY_CHUNK      H2_BLOCK_SIZE
#define COPY_AT_ONCE    (4u << 20) /* bytes copied for one request, so that others get on */

static void put_open(struct fuse_req *r, size_t at)
{
	struct fuse_open_out o = {.open_flags = FOPEN_KEEP_CACHE};

	memcpy(r->out + at, &o, sizeof(o));
	r->out_len = at + sizeof(o);
}

int fuse_op_open(struct fuse_req *r)
{
	struct fuse_open_in in = FUSE_ARG(r, fuse_open_in);
	struct h2_attr a;
	int err = r->s->no_open ? -FUSE_ENOSYS : h2_getattr(r->s->pfs, r->in.nodeid, &a);

	if (err)
		return err;
	if ((a.mode & H2_S_IFMT) == H2_S_IFDIR)
		return -H2_EISDIR;
	if (r->s->opts.readonly && ((in.flags & LINUX_O_ACCMODE) || (in.flags & LINUX_O_TRUNC)))
		return -H2_EROFS;
	if (in.flags & LINUX_O_TRUNC) {
		err = h2_truncate(r->s->pfs, r->in.nodeid, 0);
		if (err)
			return err;
	}
	fuse_node_open(r->s, r->in.nodeid);
	put_open(r, 0);
	return 0;
}

int fuse_op_create(struct fuse_req *r)
{
	struct fuse_create_in in = FUSE_ARG(r, fuse_create_in);
	struct h2_new how = {.mode = in.mode & 07777, .uid = r->in.uid, .gid = r->in.gid};
	size_t at = sizeof(in), len;
	struct h2_attr a, dir;
	const char *name;
	int err = fuse_take_name(r, &at, &name, &len);

	if (!err)
		err = h2_getattr(r->s->pfs, r->in.nodeid, &dir);
	if (err)
		return err;
	if (dir.mode & 02000)
		how.gid = dir.gid;
	err = h2_create(r->s->pfs, r->in.nodeid, name, len, &how, &a);
	if (err)
		return err;
	fuse_reply_entry(r, &a);
	fuse_node_open(r->s, a.ino);
	put_open(r, sizeof(struct fuse_entry_out));
	return 0;
}

int fuse_op_release(struct fuse_req *r)
{
	fuse_node_close(r->s, r->in.nodeid);
	return 0;
}

int fuse_op_read(struct fuse_req *r)
{
	struct fuse_read_in in = FUSE_ARG(r, fuse_read_in);
	size_t max = in.size;
	long n;

	if (max > r->out_max)
		max = r->out_max;
	if (max > r->s->opts.max_write)
		max = r->s->opts.max_write;
	if (in.offset > INT64_MAX)
		return -H2_EINVAL;
	n = h2_read(r->s->pfs, r->in.nodeid, in.offset, r->out, max);
	if (n < 0)
		return (int)n;
	r->out_len = (size_t)n;
	r->s->stats.read_bytes += (uint64_t)n;
	return 0;
}

static void put_written(struct fuse_req *r, uint64_t n)
{
	struct fuse_write_out o = {.size = (uint32_t)n};

	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	r->s->stats.written_bytes += n;
}

int fuse_op_write(struct fuse_req *r)
{
	struct fuse_write_in in = FUSE_ARG(r, fuse_write_in);
	long n;

	if (in.size != r->arg_len - sizeof(in) || in.size > r->s->opts.max_write)
		return -H2_EINVAL;
	if (in.offset > (uint64_t)INT64_MAX - in.size)
		return -H2_EFBIG;
	n = h2_write(r->s->pfs, r->in.nodeid, in.offset, r->arg + sizeof(in), in.size);
	if (n < 0)
		return (int)n;
	put_written(r, (uint64_t)n);
	return 0;
}

int fuse_op_fsync(struct fuse_req *r)
{
	return r->s->opts.readonly ? 0 : h2_fsync(r->s->pfs, r->in.nodeid);
}

int fuse_op_fallocate(struct fuse_req *r)
{
	struct fuse_fallocate_in in = FUSE_ARG(r, fuse_fallocate_in);

	if (in.length == 0 || in.offset > INT64_MAX || in.length > INT64_MAX - in.offset)
		return in.length ? -H2_EFBIG : -H2_EINVAL;
	return h2_fallocate(r->s->pfs, r->in.nodeid, in.mode, in.offset, in.length);
}

int fuse_op_lseek(struct fuse_req *r)
{
	struct fuse_lseek_in in = FUSE_ARG(r, fuse_lseek_in);
	struct fuse_lseek_out o;
	int err;

	if (in.whence != 3 && in.whence != 4)
		return -H2_EINVAL;
	/* Linux asks without writing back first: an answer from here would miss what it holds,
	 * and a sparse copy would lose it. Without us it takes everything for data. */
	if (r->s->writeback && in.padding != D0_VFS_LSEEK_CLEAN)
		return -FUSE_ENOSYS;
	if (in.offset > INT64_MAX)
		return -H2_ENXIO;
	err = h2_seek(r->s->pfs, r->in.nodeid, in.offset, in.whence == 3, &o.offset);
	if (err)
		return err;
	memcpy(r->out, &o, sizeof(o));
	r->out_len = sizeof(o);
	return 0;
}

/* Blocks are shared where both sides are aligned, the rest is copied through the reply
 * buffer, at most COPY_AT_ONCE bytes (a short count is legal, the client asks again). */
int fuse_op_copy_file_range(struct fuse_req *r)
{
	struct fuse_copy_file_range_in in = FUSE_ARG(r, fuse_copy_file_range_in);
	struct h2_pfs *pfs = r->s->pfs;
	uint64_t done = 0, whole;
	struct h2_attr src;
	long n = 0;
	int err = h2_getattr(pfs, r->in.nodeid, &src);

	if (err)
		return err;
	if (in.flags || in.off_in > INT64_MAX || in.off_out > INT64_MAX - COPY_AT_ONCE)
		return -H2_EINVAL;
	if (in.off_in >= src.size)
		in.len = 0;
	else if (in.len > src.size - in.off_in)
		in.len = src.size - in.off_in;
	whole = in.len & ~(uint64_t)(H2_BLOCK_SIZE - 1);
	if (whole > 1u << 30)
		whole = 1u << 30;
	if (whole && !(in.off_in % H2_BLOCK_SIZE) && !(in.off_out % H2_BLOCK_SIZE) &&
	    r->in.nodeid != in.nodeid_out && in.off_out <= INT64_MAX - whole &&
	    !h2_clone(pfs, in.nodeid_out, in.off_out, pfs, r->in.nodeid, in.off_in, whole)) {
		put_written(r, whole);
		return 0;
	}
	while (done < in.len && done < COPY_AT_ONCE) {
		size_t want = in.len - done < COPY_CHUNK ? (size_t)(in.len - done) : COPY_CHUNK;

		if (want > r->out_max)
			want = r->out_max;
		n = h2_read(pfs, r->in.nodeid, in.off_in + done, r->out, want);
		if (n > 0)
			n = h2_write(pfs, in.nodeid_out, in.off_out + done, r->out, (size_t)n);
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	if (!done && n < 0)
		return (int)n;
	put_written(r, done);
	return 0;
}
