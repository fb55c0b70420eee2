/* SPDX-License-Identifier: ISC */
/* The FUSE connection to the store cell: fs/fuse_chan.c carries, fs/fuse.c is the filesystem.
 */
#ifndef LX_FUSE_H
#define LX_FUSE_H

#include "cells/linux/inc/vfs.h"
#include "d0/vfs.h"

struct fuse_conn;
struct fuse_arg {
	const void *p;
	u32 len;
};
/* The connection over that channel, made and initialised at the first call. */
struct fuse_conn *fuse_conn_open(u32 channel, int *err);
/*
 * One request: up to four pieces of input, then the reply's payload into out (at most
 * out_len bytes). Sleeps. The payload's length, or -errno.
 */
ssize fuse_call(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		void *out, u32 out_len);
void fuse_forget(struct fuse_conn *c, u64 node, u64 nlookup);
u32 fuse_max_data(const struct fuse_conn *c);

#endif
