/* SPDX-License-Identifier: ISC */
/* virtiofs: extended attributes. Nothing of them is cached. fuse.c has the model. */
#include "cells/linux/inc/fuse.h"

#define VALUE_MAX 32768ul

/* A value, a list, or with size 0 how long it is. */
static ssize get(struct inode *i, u32 op, const char *name, void *buf, size_t size)
{
	struct fuse_getxattr_in in = {.size = (u32)size};
	struct fuse_getxattr_out o;
	struct fuse_arg a[2] = {{&in, sizeof(in)}, {name, name ? (u32)strlen(name) + 1 : 0}};
	u32 n = name ? 2 : 1;
	ssize r;

	if (size)
		return fuse_call(fuse_conn_of(i), op, i->nodeid, a, n, buf,
				 (u32)MIN(size, VALUE_MAX));
	r = fuse_call(fuse_conn_of(i), op, i->nodeid, a, n, &o, sizeof(o));
	return r < 0 ? r : r == sizeof(o) ? (ssize)o.size : -EIO;
}

ssize fuse_getxattr(struct inode *i, const char *name, void *buf, size_t size)
{
	return get(i, FUSE_GETXATTR, name, buf, size);
}

ssize fuse_listxattr(struct inode *i, char *buf, size_t size)
{
	return get(i, FUSE_LISTXATTR, NULL, buf, size);
}

int fuse_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags)
{
	struct fuse_setxattr_in in = {.size = (u32)size, .flags = (u32)flags};
	struct fuse_arg a[3] = {
	    {&in, sizeof(in)}, {name, (u32)strlen(name) + 1}, {buf, (u32)size}};
	bool resent;
	ssize n;

	if (size > 32000)
		return -E2BIG;
	n = fuse_call_x(fuse_conn_of(i), FUSE_SETXATTR, i->nodeid, a, 3, NULL, 0, &resent);
	return n == -EEXIST && resent ? 0 : (int)n;
}

int fuse_removexattr(struct inode *i, const char *name)
{
	struct fuse_arg a = {name, (u32)strlen(name) + 1};
	bool resent;
	ssize n =
	    fuse_call_x(fuse_conn_of(i), FUSE_REMOVEXATTR, i->nodeid, &a, 1, NULL, 0, &resent);

	return n == -ENODATA && resent ? 0 : (int)n;
}
