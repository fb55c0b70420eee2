/* SPDX-License-Identifier: ISC */
/*
 * A container's root as it comes through a stream: pieces with lengths, tar archives in them
 * (boot/rootfs.c, fs/tar.c). The file system is one directory that remembers nothing: whatever
 * arrives, only these calls may be made, with paths that end.
 */
#include "cells/linux/inc/vfs.h"
#include "cells/linux/fs/tar.c"
#include "cells/linux/boot/rootfs.c"

void *calloc(size_t n, size_t size);
void free(void *p);
void abort(void);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static const u8 *input;
static size_t left;

void *kalloc(size_t n)
{
	return calloc(1, n);
}
void kfree(void *p)
{
	free(p);
}
void panic(const char *fmt, ...)
{
	abort();
}
void printk(const char *fmt, ...)
{
}
s32 channel_find(u32 protocol, const char *label)
{
	return 0;
}
static struct chan_stream *opened; /* stays open for good in the kernel */
int chan_stream_open(struct chan_stream *c, u32 channel)
{
	opened = c;
	return 0;
}
bool chan_stream_write(struct chan_stream *c, const void *buf, u32 n)
{
	return true;
}
bool chan_stream_read(struct chan_stream *c, void *buf, u32 n, bool *restarted)
{
	if (n > left)
		return false;
	memcpy(buf, input, n);
	input += n;
	left -= n;
	return true;
}

/* ---- The file system ---- */
static void check_path(const char *path)
{
	if (strnlen(path, PATH_LEN) >= PATH_LEN)
		abort();
}
static struct super super;
static int link_none(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	return is_dir(ino) ? (abort(), 0) : 0;
}
static const struct inode_ops dir_ops = {.link = link_none};
static struct inode dir = {.refs = 1, .mode = S_IFDIR | 0755, .ops = &dir_ops, .sb = &super};
static struct inode reg = {
    .refs = 1, .cache_pinned = true, .mode = S_IFREG | 0644, .ops = &dir_ops, .sb = &super};
static struct dentry dir_entry = {.inode = &dir}, reg_entry = {.inode = &reg};
static struct file file = {.inode = &reg, .dentry = &reg_entry};

int vfs_mkdir(int dfd, const char *path, u32 mode)
{
	check_path(path);
	return 0;
}
int vfs_symlink(const char *target, int dfd, const char *path)
{
	check_path(target);
	check_path(path);
	return 0;
}
int vfs_mknod(int dfd, const char *path, u32 mode, u64 rdev, struct dentry **out)
{
	check_path(path);
	return 0;
}
s64 open_path(int dfd, const char *path, u32 flags, u32 mode, u32 lookup, struct file **out)
{
	check_path(path);
	*out = &file;
	return path[0] == '/' ? 0 : -EACCES;
}
ssize file_write_kernel(struct file *f, const void *buf, size_t n, u64 pos)
{
	if (n && ((const u8 *)buf)[n - 1] == 0xff)
		return -ENOSPC;
	return (ssize)n;
}
u8 summed;
void pagecache_back(struct inode *i, const u8 *data, u64 size)
{
	for (u64 n = 0; n < size; n++) /* all of it must be there */
		summed += data[n];
}
void file_put(struct file *f)
{
}
void dentry_put(struct dentry *d)
{
}
int path_lookup(int dfd, const char *path, u32 flags, struct dentry **out)
{
	size_t n = strlen(path);

	check_path(path);
	*out = n & 1 ? &dir_entry : &reg_entry;
	return n ? 0 : -ENOENT;
}
int path_walk(int dfd, const char *path, u32 flags, struct lookup *lk)
{
	check_path(path);
	lk->dentry = &dir_entry;
	lk->last_type = path[0] == '/' ? LAST_NORM : LAST_DOTDOT;
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	input = data;
	left = size;
	rootfs_receive();
	free(opened);
	/* The same bytes as one archive in memory. */
	tar_unpack(data, size, "/");
	return 0;
}
