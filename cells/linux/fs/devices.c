/* SPDX-License-Identifier: ISC */
/*
 * Character devices: a table found by number, and the memory devices of it. devtmpfs
 * builds /dev from the same table.
 */
#include "cells/linux/inc/vfs.h"

extern const struct char_dev *const __start_set_chardevs[], *const __stop_set_chardevs[];

const struct char_dev *chrdev_find(u64 rdev)
{
	for (const struct char_dev *const *d = __start_set_chardevs; d < __stop_set_chardevs;
	     d++)
		if ((*d)->major == DEV_MAJOR(rdev) && DEV_MINOR(rdev) >= (*d)->minor &&
		    DEV_MINOR(rdev) < (*d)->minor + (*d)->minors)
			return *d;
	return NULL;
}

static int chr_open(struct inode *ino, struct file *f)
{
	const struct char_dev *d = chrdev_find(ino->rdev);

	if (!d)
		return -ENXIO;
	f->ops = d->fops;
	return d->fops->open ? d->fops->open(ino, f) : 0;
}
const struct file_ops chrdev_fops = {.open = chr_open};

static ssize null_read(struct file *f, struct uio *u, u64 *pos)
{
	return 0;
}
static ssize null_write(struct file *f, struct uio *u, u64 *pos)
{
	u64 n = u->left;

	u->left = 0;
	return (ssize)n;
}
static ssize zero_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 n = u->left;

	for (u64 left = n; left;) {
		u64 take = MIN(left, (u64)65536);

		if (uio_zero(u, take))
			return n == left ? -EFAULT : (ssize)(n - left);
		left -= take;
		if (left && sched_breathe())
			return (ssize)(n - left);
	}
	return (ssize)n;
}
static ssize full_write(struct file *f, struct uio *u, u64 *pos)
{
	return -ENOSPC;
}
static ssize random_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 n = u->left;
	u8 part[256];

	while (u->left) {
		u64 take = MIN(u->left, sizeof(part));

		random_bytes(part, take);
		if (uio_out(u, part, take))
			return -EFAULT;
		if (u->left && sched_breathe())
			break;
	}
	return (ssize)(n - u->left);
}
static s64 zero_seek(struct file *f, s64 off, int whence)
{
	return 0;
}
/* A mapping of /dev/zero is anonymous memory. */
static int zero_mmap(struct file *f, struct vma *v)
{
	if (v->flags & VMA_SHARED) {
		v->inode = shmem_inode(v->end - v->start);
		if (!v->inode)
			return -ENOMEM;
		v->inode->refs--; /* the caller takes the reference */
		v->pgoff = 0;
	}
	return 0;
}

static const struct file_ops null_fops = {
    .read = null_read, .write = null_write, .seek = zero_seek};
static const struct file_ops zero_fops = {
    .read = zero_read, .write = null_write, .seek = zero_seek, .mmap = zero_mmap};
static const struct file_ops full_fops = {
    .read = zero_read, .write = full_write, .seek = zero_seek};
static const struct file_ops random_fops = {
    .read = random_read, .write = null_write, .seek = zero_seek};

static const struct char_dev dev_null = {1, 3, 1, "null", 0666, &null_fops};
static const struct char_dev dev_zero = {1, 5, 1, "zero", 0666, &zero_fops};
static const struct char_dev dev_full = {1, 7, 1, "full", 0666, &full_fops};
static const struct char_dev dev_random = {1, 8, 1, "random", 0666, &random_fops};
static const struct char_dev dev_urandom = {1, 9, 1, "urandom", 0666, &random_fops};
CHAR_DEV(dev_null);
CHAR_DEV(dev_zero);
CHAR_DEV(dev_full);
CHAR_DEV(dev_random);
CHAR_DEV(dev_urandom);

static const struct {
	const char *path, *target;
} dev_links[] = {{"/dev/fd", "/proc/self/fd"},
		 {"/dev/stdin", "/proc/self/fd/0"},
		 {"/dev/stdout", "/proc/self/fd/1"},
		 {"/dev/stderr", "/proc/self/fd/2"},
		 {"/dev/ptmx", "pts/ptmx"}};

/* What a container finds in /dev. The caller has mounted a tmpfs there. */
void dev_populate(void);
void chandev_nodes(void);
void dev_populate(void)
{
	char path[64];

	for (const struct char_dev *const *d = __start_set_chardevs; d < __stop_set_chardevs;
	     d++) {
		struct dentry *made;

		if (!(*d)->name)
			continue;
		format(path, sizeof(path), "/dev/%s", (*d)->name);
		if (!vfs_mknod(AT_FDCWD, path, S_IFCHR | (*d)->mode,
			       MKDEV((*d)->major, (*d)->minor), &made) &&
		    made) {
			made->inode->mode = S_IFCHR | (*d)->mode;
			dentry_put(made);
		}
	}
	chandev_nodes();
	for (u32 i = 0; i < ARRAY_SIZE(dev_links); i++)
		vfs_symlink(dev_links[i].target, AT_FDCWD, dev_links[i].path);
}
