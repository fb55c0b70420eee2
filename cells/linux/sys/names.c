/* SPDX-License-Identifier: ISC */
/* The calls that make, move and remove names: mkdir, unlink, mknod, links, rename. */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

static s64 with_path(u64 upath, int (*fn)(int, const char *, u32), int dfd, u32 arg)
{
	char *path;
	s64 r = path_in(upath, &path);

	if (!r) {
		r = fn(dfd, path, arg);
		kfree(path);
	}
	return r;
}

SYSCALL(mkdir, "sx", u64 path, u32 mode)
{
	return with_path(path, vfs_mkdir, AT_FDCWD, mode);
}
SYSCALL(mkdirat, "fsx", int dfd, u64 path, u32 mode)
{
	return with_path(path, vfs_mkdir, dfd, mode);
}
static int unlink_file(int dfd, const char *path, u32 dir)
{
	return vfs_unlink(dfd, path, dir);
}
SYSCALL(unlink, "s", u64 path)
{
	return with_path(path, unlink_file, AT_FDCWD, 0);
}
SYSCALL(rmdir, "s", u64 path)
{
	return with_path(path, unlink_file, AT_FDCWD, 1);
}
SYSCALL(unlinkat, "fsx", int dfd, u64 path, u32 flags)
{
	if (flags & ~(u32)AT_REMOVEDIR)
		return -EINVAL;
	return with_path(path, unlink_file, dfd, flags != 0);
}

SYSCALL(mknodat, "fsxx", int dfd, u64 upath, u32 mode, u64 rdev)
{
	char *path;
	s64 r = path_in(upath, &path);

	if (!r) {
		r = vfs_mknod(dfd, path, mode, rdev, NULL);
		kfree(path);
	}
	return r;
}
SYSCALL(mknod, "sxx", u64 path, u32 mode, u64 rdev)
{
	return sys_mknodat(AT_FDCWD, path, mode, rdev);
}

SYSCALL(symlinkat, "sfs", u64 utarget, int dfd, u64 upath)
{
	char *target, *path;
	s64 r = path_in(utarget, &target);

	if (r)
		return r;
	r = path_in(upath, &path);
	if (!r) {
		r = vfs_symlink(target, dfd, path);
		kfree(path);
	}
	kfree(target);
	return r;
}
SYSCALL(symlink, "ss", u64 target, u64 path)
{
	return sys_symlinkat(target, AT_FDCWD, path);
}

static int link_into(struct dentry *d, struct lookup *lk)
{
	struct inode *dir = lk->dentry->inode;
	struct dentry *e;
	int r;

	if (lk->last_type != LAST_NORM)
		return -EEXIST;
	if (!dentry_lookup(lk->dentry, lk->last, lk->last_len, &e)) {
		dentry_put(e);
		return -EEXIST;
	}
	if (lk->dentry->mnt != d->mnt)
		return -EXDEV;
	if (lk->trailing_slash)
		return -ENOENT;
	r = may_create(lk->dentry);
	if (r)
		return r;
	if (is_dir(d->inode))
		return -EPERM;
	if (!dir->ops->link)
		return -EPERM;
	r = dir->ops->link(dir, lk->last, lk->last_len, d->inode);
	if (!r && NOTIFY_ACTIVE)
		notify_links(d->inode);
	if (!r && NOTIFY_ACTIVE)
		notify_name(lk->dentry, lk->last, 0x100, 0);
	return r;
}

SYSCALL(linkat, "fsfsx", int odfd, u64 opath, int ndfd, u64 npath, u32 flags)
{
	struct lookup lk = {0};
	struct dentry *d;
	int r;

	if (flags & ~(u32)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	r = user_path(odfd, opath, at_flags(flags, false), &d);
	if (r)
		return r;
	r = user_path_parent(ndfd, npath, &lk);
	if (!r) {
		r = link_into(d, &lk);
		dentry_put(lk.dentry);
	}
	dentry_put(d);
	return r;
}
SYSCALL(link, "ss", u64 opath, u64 npath)
{
	return sys_linkat(AT_FDCWD, opath, AT_FDCWD, npath, 0);
}

static bool is_below(struct dentry *d, struct dentry *top)
{
	for (;; d = d->parent) {
		if (d == top)
			return true;
		if (d->parent == d)
			return false;
	}
}

static int rename_checked(struct lookup *o, struct lookup *n, u32 flags, struct dentry **victim)
{
	struct dentry *d, *t = NULL;
	struct inode *od = o->dentry->inode, *nd = n->dentry->inode;
	u32 cookie = (u32)random_u64();
	int r;

	if (o->last_type != LAST_NORM || n->last_type != LAST_NORM)
		return (flags & 1) && n->last_type != LAST_NORM ? -EEXIST : -EBUSY;
	if (o->dentry->mnt != n->dentry->mnt)
		return -EXDEV;
	r = dentry_lookup(o->dentry, o->last, o->last_len, &d);
	if (r)
		return r;
	*victim = d;
	r = may_delete(o->dentry, d, is_dir(d->inode));
	if (r)
		return r;
	if (!is_dir(d->inode) && (o->trailing_slash || n->trailing_slash))
		return -ENOTDIR;
	if (is_below(n->dentry, d))
		return -EINVAL;
	r = dentry_lookup(n->dentry, n->last, n->last_len, &t);
	if (r && r != -ENOENT)
		return r;
	if (t) {
		if (flags & 1)
			r = -EEXIST;
		else if (t->inode == d->inode && !(flags & 2))
			r = 1;
		else if (!(flags & 2) && is_below(o->dentry, t))
			r = -ENOTEMPTY;
		else
			r = may_delete(n->dentry, t,
				       flags & 2 ? is_dir(t->inode) : is_dir(d->inode));
	} else {
		r = flags & 2 ? -ENOENT : may_create(n->dentry);
	}
	if (!r)
		r = od->ops->rename ? od->ops->rename(od, o->last, o->last_len, nd, n->last,
						      n->last_len, flags)
				    : -EPERM;
	if (!r) {
		if (t) {
			if (NOTIFY_ACTIVE && !(flags & 2))
				notify_links(t->inode);
			dentry_drop(t);
		}
		list_del(&d->sibling);
		if (NOTIFY_ACTIVE) {
			u32 isdir = is_dir(d->inode) ? 0x40000000 : 0;

			notify_name(o->dentry, o->last, 0x40 | isdir, cookie);
			notify_name(n->dentry, n->last, 0x80 | isdir, cookie);
			notify_dentry(d, 0x800);
		}
	}
	if (t)
		dentry_put(t);
	return r;
}

struct dentry *dentry_rename(struct dentry *d, struct dentry *dir, const char *name, u32 len);

static s64 do_rename(int odfd, u64 opath, int ndfd, u64 npath, u32 flags)
{
	struct lookup o = {0}, n = {0};
	struct dentry *d = NULL;
	int r;

	if ((flags & ~7u) || (flags & 3) == 3)
		return -EINVAL;
	if (flags & 4)
		return -EINVAL;
	r = user_path_parent(odfd, opath, &o);
	if (r)
		return r;
	r = user_path_parent(ndfd, npath, &n);
	if (!r) {
		r = rename_checked(&o, &n, flags, &d);
		if (!r) {
			if (flags & 2)
				dentry_drop(d);
			else
				dentry_rename(d, n.dentry, n.last, n.last_len);
		}
		if (r == 1)
			r = 0;
		dentry_put(n.dentry);
	}
	if (d)
		dentry_put(d);
	dentry_put(o.dentry);
	return r;
}

SYSCALL(rename, "ss", u64 o, u64 n)
{
	return do_rename(AT_FDCWD, o, AT_FDCWD, n, 0);
}
SYSCALL(renameat, "fsfs", int od, u64 o, int nd, u64 n)
{
	return do_rename(od, o, nd, n, 0);
}
SYSCALL(renameat2, "fsfsx", int od, u64 o, int nd, u64 n, u32 flags)
{
	return do_rename(od, o, nd, n, flags);
}

static s64 do_readlink(int dfd, u64 upath, u64 ubuf, u64 size)
{
	struct dentry *d;
	char *buf, first;
	ssize n;
	int r;

	if ((s64)size <= 0)
		return -EINVAL;
	r = user_path(dfd, upath, LOOKUP_EMPTY, &d);
	if (r)
		return r;
	buf = kalloc(PATH_LEN);
	if (!buf)
		n = -ENOMEM;
	else if (!is_lnk(d->inode) || !d->inode->ops->readlink)
		n = !get_user(first, upath) && !first ? -ENOENT : -EINVAL;
	else
		n = d->inode->ops->readlink(d->inode, buf, PATH_LEN);
	dentry_put(d);
	if (n > 0) {
		n = MIN(n, (ssize)size);
		if (copy_out(ubuf, buf, (size_t)n))
			n = -EFAULT;
	}
	kfree(buf);
	return n;
}

SYSCALL(readlink, "spu", u64 path, u64 buf, u64 n)
{
	return do_readlink(AT_FDCWD, path, buf, (u64)(s64)(int)n);
}
SYSCALL(readlinkat, "fspu", int dfd, u64 path, u64 buf, u64 n)
{
	return do_readlink(dfd, path, buf, (u64)(s64)(int)n);
}
