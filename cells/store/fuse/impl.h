/* SPDX-License-Identifier: ISC */
/* What the FUSE server's files share. */
#ifndef STORE_FUSE_IMPL_H
#define STORE_FUSE_IMPL_H

#include <string.h>
#include "cells/store/fuse/server.h"

#define FUSE_ENOSYS   38
#define FUSE_EPROTO   71
#define FUSE_HEADROOM 4096u /* of a buffer, beside the data */

/* Objects the client knows. A slot with ino 0 is empty. */
struct fuse_node {
	uint64_t ino;
	uint32_t lookups;
	uint32_t opens;
};

struct fuse_session {
	struct h2_pfs *pfs;
	struct fuse_options opts;
	struct fuse_stats stats;
	struct fuse_node *nodes; /* open addressing; size a power of two */
	uint32_t nodes_size, nodes_used;
	bool started;
	bool writeback; /* the client keeps dirty data back: only it knows the holes */
	bool no_open, no_opendir; /* the client needs no OPEN, OPENDIR */
	uint32_t minor;
};

/* A request being served. `arg` is what follows the header, `out` where the reply's part
 * after its header goes. */
struct fuse_req {
	struct fuse_session *s;
	struct fuse_in_header in;
	const uint8_t *arg;
	size_t arg_len;
	uint8_t *out;
	size_t out_max, out_len;
};

/* The fixed part of a request; its length was checked by the dispatcher. */
#define FUSE_ARG(r, type) \
	(*(const struct type *)memcpy(&(struct type){0}, (r)->arg, sizeof(struct type)))

/*
 * The NUL-terminated name at *at of the arguments; moves *at behind it. 0, -H2_EINVAL (not
 * terminated, or a '/' in it), -H2_ENAMETOOLONG, -H2_ENOENT (empty).
 */
int fuse_take_name(const struct fuse_req *r, size_t *at, const char **name, size_t *len);

/* nodes.c */
void fuse_node_lookup(struct fuse_session *s, uint64_t ino);
void fuse_node_forget(struct fuse_session *s, uint64_t ino, uint64_t count);
void fuse_node_open(struct fuse_session *s, uint64_t ino);
void fuse_node_close(struct fuse_session *s, uint64_t ino);
void fuse_nodes_drop(struct fuse_session *s);

/* attr.c */
void fuse_put_attr(struct fuse_attr *to, const struct h2_attr *a);
/* Writes a fuse_entry_out at r->out and counts the lookup. */
int fuse_reply_entry(struct fuse_req *r, const struct h2_attr *a);
void fuse_put_entry(const struct fuse_session *s, struct fuse_entry_out *e,
		    const struct h2_attr *a);

/* Operations. Each returns 0 with r->out_len set, or a negative errno. */
/* clang-format off */
#define FUSE_OPS(X) \
	X(lookup) X(getattr) X(setattr) X(readlink) X(symlink) X(mknod) X(mkdir) \
	X(unlink) X(rmdir) X(rename) X(rename2) X(link) X(open) X(read) X(write) \
	X(statfs) X(release) X(fsync) X(setxattr) X(getxattr) X(listxattr) \
	X(removexattr) X(init) X(opendir) X(readdir) X(releasedir) X(create) X(destroy) \
	X(forget) X(batch_forget) X(interrupt) X(fallocate) X(readdirplus) X(lseek) \
	X(copy_file_range)
/* clang-format on */
#define FUSE_OP_DECLARE(name) int fuse_op_##name(struct fuse_req *r);
FUSE_OPS(FUSE_OP_DECLARE)
#undef FUSE_OP_DECLARE

#endif
