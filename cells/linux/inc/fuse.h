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
/* The same; *resent: the store restarted meanwhile and may have done it the first time. */
ssize fuse_call_x(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		  void *out, u32 out_len, bool *resent);
/* Never sent twice: -ERESTARTNOINTR if the store restarted before it answered. */
ssize fuse_call_once(struct fuse_conn *c, u32 op, u64 node, const struct fuse_arg *in, u32 nin,
		     void *out, u32 out_len);
/* The number of this session, from 1. */
u32 fuse_session(const struct fuse_conn *c);
/* fn runs after each INIT but the first; it must not sleep. */
void fuse_on_renewal(struct fuse_conn *c, void (*fn)(void *arg), void *arg);
void fuse_forget(struct fuse_conn *c, u64 node, u64 nlookup);
u32 fuse_max_data(const struct fuse_conn *c);

/* Of an inode of this filesystem. */
struct fuse_conn *fuse_conn_of(const struct inode *i);
/* fs/fuse_xattr.c: its operations for extended attributes */
ssize fuse_getxattr(struct inode *i, const char *name, void *buf, size_t size);
ssize fuse_listxattr(struct inode *i, char *buf, size_t size);
int fuse_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags);
int fuse_removexattr(struct inode *i, const char *name);

#endif
