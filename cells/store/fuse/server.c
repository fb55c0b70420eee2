/* SPDX-License-Identifier: ISC */
/*
 * The FUSE server: dispatch.
 *
 * Problem. A container's kernel asks for files over shared memory, and that kernel may be
 * under an attacker's control. Whatever it sends, it must reach its own PFS only, and must
 * neither crash nor stall the store, which serves everyone else.
 *
 * Model. A session is a PFS handle, a table of the objects the client holds, and options.
 * Node numbers are inode numbers of the PFS: the client may invent them, and then reaches
 * an object of its own PFS, or gets ENOENT. There are no server-side file handles: h2 reads
 * and writes by inode number and its directory cookies are stable, so `fh` is always 0 and a
 * restart of the store does not invalidate anything the client holds. What is kept for
 * each object is only how often it was looked up and opened, because an unlinked file has
 * to live as long as somebody uses it.
 *
 * Validation. Every request passes one table (below) that says the least length of its fixed
 * part, the least room its reply needs, and whether it changes anything; handlers start with
 * these facts true. Names are checked in one place (fuse_take_name). A handler copies its
 * fixed part before it looks at it. Nothing of the request is executed before all of it is
 * validated.
 *
 * Failure. A malformed request gets an error and nothing else happens; after a request
 * without an intact header the transport is closed. Memory: the node table is bounded; when
 * it is full, further objects are served but not protected from disappearing on unlink.
 */
#include <stdlib.h>
#include "cells/store/fuse/impl.h"

enum {
	OP_WRITES = 1,   /* refused on a read-only session */
	OP_NO_REPLY = 2, /* never answered */
	OP_EARLY = 4,    /* allowed before INIT */
};

struct op {
	int (*run)(struct fuse_req *r);
	uint16_t in;  /* bytes of the fixed part */
	uint16_t out; /* least room for the reply, without its header */
	uint16_t flags;
};

#define ENTRY sizeof(struct fuse_entry_out)

static const struct op ops[FUSE_OPCODE_END] = {
    [FUSE_LOOKUP] = {fuse_op_lookup, 0, ENTRY, 0},
    [FUSE_FORGET] = {fuse_op_forget, sizeof(struct fuse_forget_in), 0, OP_NO_REPLY},
    [FUSE_GETATTR] = {fuse_op_getattr, 0, sizeof(struct fuse_attr_out), 0},
    [FUSE_SETATTR] = {fuse_op_setattr, sizeof(struct fuse_setattr_in),
		      sizeof(struct fuse_attr_out), OP_WRITES},
    [FUSE_READLINK] = {fuse_op_readlink, 0, 1, 0},
    [FUSE_SYMLINK] = {fuse_op_symlink, 0, ENTRY, OP_WRITES},
    [FUSE_MKNOD] = {fuse_op_mknod, sizeof(struct fuse_mknod_in), ENTRY, OP_WRITES},
    [FUSE_MKDIR] = {fuse_op_mkdir, sizeof(struct fuse_mkdir_in), ENTRY, OP_WRITES},
    [FUSE_UNLINK] = {fuse_op_unlink, 0, 0, OP_WRITES},
    [FUSE_RMDIR] = {fuse_op_rmdir, 0, 0, OP_WRITES},
    [FUSE_RENAME] = {fuse_op_rename, sizeof(struct fuse_rename_in), 0, OP_WRITES},
    [FUSE_LINK] = {fuse_op_link, sizeof(struct fuse_link_in), ENTRY, OP_WRITES},
    [FUSE_OPEN] = {fuse_op_open, sizeof(struct fuse_open_in), sizeof(struct fuse_open_out), 0},
    [FUSE_READ] = {fuse_op_read, sizeof(struct fuse_read_in), 0, 0},
    [FUSE_WRITE] = {fuse_op_write, sizeof(struct fuse_write_in), sizeof(struct fuse_write_out),
		    OP_WRITES},
    [FUSE_STATFS] = {fuse_op_statfs, 0, sizeof(struct fuse_statfs_out), 0},
    [FUSE_RELEASE] = {fuse_op_release, sizeof(struct fuse_release_in), 0, 0},
    [FUSE_FSYNC] = {fuse_op_fsync, sizeof(struct fuse_fsync_in), 0, 0},
    [FUSE_SETXATTR] = {fuse_op_setxattr, sizeof(struct fuse_setxattr_in), 0, OP_WRITES},
    [FUSE_GETXATTR] = {fuse_op_getxattr, sizeof(struct fuse_getxattr_in),
		       sizeof(struct fuse_getxattr_out), 0},
    [FUSE_LISTXATTR] = {fuse_op_listxattr, sizeof(struct fuse_getxattr_in),
			sizeof(struct fuse_getxattr_out), 0},
    [FUSE_REMOVEXATTR] = {fuse_op_removexattr, 0, 0, OP_WRITES},
    [FUSE_INIT] = {fuse_op_init, 16, sizeof(struct fuse_init_out), OP_EARLY},
    [FUSE_OPENDIR] = {fuse_op_opendir, sizeof(struct fuse_open_in),
		      sizeof(struct fuse_open_out), 0},
    [FUSE_READDIR] = {fuse_op_readdir, sizeof(struct fuse_read_in), 0, 0},
    [FUSE_RELEASEDIR] = {fuse_op_releasedir, sizeof(struct fuse_release_in), 0, 0},
    [FUSE_FSYNCDIR] = {fuse_op_fsync, sizeof(struct fuse_fsync_in), 0, 0},
    [FUSE_CREATE] = {fuse_op_create, sizeof(struct fuse_create_in),
		     ENTRY + sizeof(struct fuse_open_out), OP_WRITES},
    [FUSE_INTERRUPT] = {fuse_op_interrupt, sizeof(struct fuse_interrupt_in), 0, OP_NO_REPLY},
    [FUSE_DESTROY] = {fuse_op_destroy, 0, 0, OP_EARLY},
    [FUSE_BATCH_FORGET] = {fuse_op_batch_forget, sizeof(struct fuse_batch_forget_in), 0,
			   OP_NO_REPLY},
    [FUSE_FALLOCATE] = {fuse_op_fallocate, sizeof(struct fuse_fallocate_in), 0, OP_WRITES},
    [FUSE_READDIRPLUS] = {fuse_op_readdirplus, sizeof(struct fuse_read_in), 0, 0},
    [FUSE_RENAME2] = {fuse_op_rename2, sizeof(struct fuse_rename2_in), 0, OP_WRITES},
    [FUSE_LSEEK] = {fuse_op_lseek, sizeof(struct fuse_lseek_in), sizeof(struct fuse_lseek_out),
		    0},
    [FUSE_COPY_FILE_RANGE] = {fuse_op_copy_file_range, sizeof(struct fuse_copy_file_range_in),
			      sizeof(struct fuse_write_out), OP_WRITES},
    [FUSE_SYNCFS] = {fuse_op_fsync, 0, 0, 0},
};

int fuse_take_name(const struct fuse_req *r, size_t *at, const char **name, size_t *len)
{
	const char *p = (const char *)r->arg + *at;
	const char *end = *at < r->arg_len ? memchr(p, 0, r->arg_len - *at) : NULL;

	if (!end)
		return -H2_EINVAL;
	*name = p;
	*len = (size_t)(end - p);
	*at += *len + 1;
	if (*len == 0)
		return -H2_ENOENT;
	if (*len > H2_NAME_MAX)
		return -H2_ENAMETOOLONG;
	return memchr(p, '/', *len) ? -H2_EINVAL : 0;
}

/* Everything the table promises to the handlers. */
static int admit(const struct fuse_req *r, const struct op *op)
{
	const struct fuse_session *s = r->s;

	if (!op->run)
		return -FUSE_ENOSYS;
	if (!s->started && !(op->flags & OP_EARLY))
		return -H2_EIO;
	if (r->arg_len < op->in || r->out_max < op->out)
		return -H2_EINVAL;
	if (s->opts.readonly && (op->flags & OP_WRITES))
		return -H2_EROFS;
	return 0;
}

static long reply(struct fuse_req *r, void *buf, int err)
{
	struct fuse_out_header h = {sizeof(h), err, r->in.unique};

	if (!err)
		h.len += (uint32_t)r->out_len;
	memcpy(buf, &h, sizeof(h));
	return h.len;
}

long fuse_session_handle(struct fuse_session *s, const void *request, size_t len, void *buf,
			 size_t max)
{
	static const struct op none;
	struct fuse_req r = {.s = s};
	const struct op *op;
	int err;

	s->stats.requests++;
	if (len < sizeof(r.in) || max < sizeof(struct fuse_out_header)) {
		s->stats.malformed++;
		return -H2_EINVAL;
	}
	memcpy(&r.in, request, sizeof(r.in));
	if (r.in.len != len) {
		s->stats.malformed++;
		return -H2_EINVAL;
	}
	r.arg = (const uint8_t *)request + sizeof(r.in);
	r.arg_len = len - sizeof(r.in);
	r.out = (uint8_t *)buf + sizeof(struct fuse_out_header);
	r.out_max = max - sizeof(struct fuse_out_header);
	op = r.in.opcode < FUSE_OPCODE_END ? &ops[r.in.opcode] : &none;
	err = admit(&r, op);
	if (err == -H2_EINVAL)
		s->stats.malformed++;
	if (!err)
		err = op->run(&r);
	if (err == -H2_EMEDIUM)
		err = -H2_EIO;
	s->stats.errors += err < 0;
	return op->flags & OP_NO_REPLY ? 0 : reply(&r, buf, err);
}

size_t fuse_session_buffer(const struct fuse_session *s)
{
	return s->opts.max_write + FUSE_HEADROOM;
}

struct fuse_session *fuse_session_new(struct h2_pfs *pfs, const struct fuse_options *opts)
{
	struct fuse_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pfs = pfs;
	s->opts = *opts;
	if (!s->opts.nodes_max)
		s->opts.nodes_max = 1u << 18;
	if (s->opts.max_write < 4096)
		s->opts.max_write = 4096;
	if (s->opts.max_write > 1u << 20)
		s->opts.max_write = 1u << 20;
	return s;
}

void fuse_session_free(struct fuse_session *s)
{
	if (!s)
		return;
	fuse_nodes_drop(s);
	free(s);
}

void fuse_session_stats(const struct fuse_session *s, struct fuse_stats *out)
{
	*out = s->stats;
	out->nodes = s->nodes_used;
}

/* ---- the session's own operations ---- */

int fuse_op_init(struct fuse_req *r)
{
	struct fuse_session *s = r->s;
	struct fuse_init_in in = {0};
	struct fuse_init_out out = {0};
	uint32_t wanted = FUSE_INIT_ASYNC_READ | FUSE_INIT_EXPORT_SUPPORT |
			  FUSE_INIT_BIG_WRITES | FUSE_INIT_DO_READDIRPLUS |
			  FUSE_INIT_READDIRPLUS_AUTO | FUSE_INIT_PARALLEL_DIROPS |
			  FUSE_INIT_MAX_PAGES | FUSE_INIT_CACHE_SYMLINKS;

	memcpy(&in, r->arg, r->arg_len < sizeof(in) ? r->arg_len : sizeof(in));
	out.major = FUSE_VERSION_MAJOR;
	out.minor = FUSE_VERSION_MINOR;
	r->out_len = sizeof(out);
	if (in.major > FUSE_VERSION_MAJOR) {
		/* The client asks again with our major number. */
		memcpy(r->out, &out, sizeof(out));
		return 0;
	}
	if (in.major < FUSE_VERSION_MAJOR || in.minor < FUSE_MINOR_OLDEST)
		return -FUSE_EPROTO;
	fuse_nodes_drop(s); /* a second INIT: the client started anew */
	if (!s->opts.readonly)
		wanted |= FUSE_INIT_WRITEBACK_CACHE;
	s->minor = in.minor;
	s->started = true;
	/* Nothing changes and nothing is counted: an open has nothing to tell us. */
	s->no_open = s->opts.readonly && s->opts.keep_nodes && in.flags & FUSE_INIT_NO_OPEN;
	s->no_opendir =
	    s->opts.readonly && s->opts.keep_nodes && in.flags & FUSE_INIT_NO_OPENDIR;
	if (s->no_open)
		wanted |= FUSE_INIT_NO_OPEN;
	if (s->no_opendir)
		wanted |= FUSE_INIT_NO_OPENDIR;
	s->writeback = in.flags & wanted & FUSE_INIT_WRITEBACK_CACHE;
	out.max_readahead = in.max_readahead;
	out.flags = in.flags & wanted;
	out.max_background = 64;
	out.congestion_threshold = 48;
	out.max_write = s->opts.max_write;
	out.time_gran = 1;
	out.max_pages = (uint16_t)(s->opts.max_write / 4096);
	memcpy(r->out, &out, sizeof(out));
	return 0;
}

int fuse_op_destroy(struct fuse_req *r)
{
	fuse_nodes_drop(r->s);
	r->s->started = false;
	return r->s->opts.readonly ? 0 : h2_sync(h2_pfs_vol(r->s->pfs));
}

int fuse_op_forget(struct fuse_req *r)
{
	fuse_node_forget(r->s, r->in.nodeid, FUSE_ARG(r, fuse_forget_in).nlookup);
	return 0;
}

int fuse_op_batch_forget(struct fuse_req *r)
{
	uint32_t count = FUSE_ARG(r, fuse_batch_forget_in).count;
	size_t at = sizeof(struct fuse_batch_forget_in);
	struct fuse_forget_one one;

	for (; count && r->arg_len - at >= sizeof(one); count--, at += sizeof(one)) {
		memcpy(&one, r->arg + at, sizeof(one));
		fuse_node_forget(r->s, one.nodeid, one.nlookup);
	}
	return 0;
}

/* Requests are finished in the order they are taken: there is never one to interrupt. */
int fuse_op_interrupt(struct fuse_req *r)
{
	return 0;
}
