/* SPDX-License-Identifier: ISC */
/* The calls on names: open, stat, directories, links, rights, times, xattrs. */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

#define OPEN_FLAGS                                                                             \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | \
	 __O_SYNC | FASYNC | O_DIRECT | 0100000 | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |       \
	 O_CLOEXEC | O_PATH | __O_TMPFILE)

static u32 at_flags(u32 flags, bool follow_default)
{
	bool follow =
	    follow_default ? !(flags & AT_SYMLINK_NOFOLLOW) : (flags & AT_SYMLINK_FOLLOW) != 0;

	return (follow ? LOOKUP_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

static s64 do_open(int dfd, u64 upath, u32 flags, u32 mode, u32 lookup)
{
	struct file *f;
	char *path;
	s64 r = path_in(upath, &path);

	if (r)
		return r;
	r = open_path(dfd, path, flags & OPEN_FLAGS, mode, lookup, &f);
	kfree(path);
	if (r < 0)
		return r;
	r = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (r < 0)
		file_put(f);
	return r;
}

SYSCALL(open, "sxx", u64 path, u32 flags, u32 mode)
{
	return do_open(AT_FDCWD, path, flags, mode, 0);
}
SYSCALL(openat, "fsxx", int dfd, u64 path, u32 flags, u32 mode)
{
	return do_open(dfd, path, flags, mode, 0);
}
SYSCALL(creat, "sx", u64 path, u32 mode)
{
	return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0);
}

SYSCALL(openat2, "fspu", int dfd, u64 path, u64 uhow, u64 size)
{
	struct {
		u64 flags, mode, resolve;
	} how = {0};
	u32 lf = 0;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (get_user(how, uhow))
		return -EFAULT;
	for (u64 i = sizeof(how); i < size; i++) {
		u8 extra;

		if (get_user(extra, uhow + i))
			return -EFAULT;
		if (extra)
			return -E2BIG;
	}
	if ((how.flags & ~(u64)OPEN_FLAGS) || (how.mode & ~07777ull) ||
	    (how.resolve & ~0x1full) || (how.mode && !(how.flags & (O_CREAT | __O_TMPFILE))))
		return -EINVAL;
	lf |= how.resolve & 1 ? LOOKUP_NO_XDEV : 0;
	lf |= how.resolve & 2 ? LOOKUP_NO_MAGIC : 0;
	lf |= how.resolve & 4 ? LOOKUP_NO_SYMLINKS : 0;
	lf |= how.resolve & 8 ? LOOKUP_BENEATH : 0;
	lf |= how.resolve & 16 ? LOOKUP_IN_ROOT : 0;
	return do_open(dfd, path, (u32)how.flags, (u32)how.mode, lf);
}

/* ---- stat ---- */
static s64 stat_dentry(struct dentry *d, u64 ust)
{
	struct stat st;

	inode_stat(d->inode, &st);
	dentry_put(d);
	return copy_out(ust, &st, sizeof(st));
}

SYSCALL(stat, "sp", u64 path, u64 ust)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : stat_dentry(d, ust);
}
SYSCALL(lstat, "sp", u64 path, u64 ust)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : stat_dentry(d, ust);
}
SYSCALL(fstat, "fp", int fd, u64 ust)
{
	struct file *f = fd_get(fd);
	struct stat st;

	if (!f)
		return -EBADF;
	inode_stat(f->inode, &st);
	file_put(f);
	return copy_out(ust, &st, sizeof(st));
}
SYSCALL(newfstatat, "fspx", int dfd, u64 path, u64 ust, u32 flags)
{
	struct dentry *d;
	int r;

	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
		return -EINVAL;
	r = user_path(dfd, path, at_flags(flags, true), &d);
	return r ? r : stat_dentry(d, ust);
}

static void to_statx(struct statx *x, const struct stat *s, const struct inode *i, bool root)
{
	memset(x, 0, sizeof(*x));
	x->stx_mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
	x->stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
	if (root)
		x->stx_attributes |= STATX_ATTR_MOUNT_ROOT;
	x->stx_blksize = (u32)s->st_blksize;
	x->stx_nlink = (u32)s->st_nlink;
	x->stx_uid = s->st_uid;
	x->stx_gid = s->st_gid;
	x->stx_mode = (u16)s->st_mode;
	x->stx_ino = s->st_ino;
	x->stx_size = (u64)s->st_size;
	x->stx_blocks = (u64)s->st_blocks;
	x->stx_atime.tv_sec = (s64)s->st_atime;
	x->stx_atime.tv_nsec = (u32)s->st_atime_nsec;
	x->stx_mtime.tv_sec = (s64)s->st_mtime;
	x->stx_mtime.tv_nsec = (u32)s->st_mtime_nsec;
	x->stx_ctime.tv_sec = (s64)s->st_ctime;
	x->stx_ctime.tv_nsec = (u32)s->st_ctime_nsec;
	x->stx_btime.tv_sec = i->btime / (s64)NS_PER_SEC;
	x->stx_btime.tv_nsec = (u32)(i->btime % (s64)NS_PER_SEC);
	x->stx_rdev_major = DEV_MAJOR(s->st_rdev);
	x->stx_rdev_minor = DEV_MINOR(s->st_rdev);
	x->stx_dev_major = DEV_MAJOR(s->st_dev);
	x->stx_dev_minor = DEV_MINOR(s->st_dev);
}

SYSCALL(statx, "fsxxp", int dfd, u64 path, u32 flags, u32 mask, u64 ux)
{
	struct dentry *d;
	struct statx x;
	struct stat st;
	int r;

	if ((flags & ~0x7900u) || (mask & 0x80000000u))
		return -EINVAL;
	r = user_path(dfd, path, at_flags(flags, true), &d);
	if (r)
		return r;
	inode_stat(d->inode, &st);
	to_statx(&x, &st, d->inode, d->mnt && d == d->mnt->root);
	x.stx_mnt_id = d->mnt ? d->mnt->id : 0;
	dentry_put(d);
	return copy_out(ux, &x, sizeof(x));
}

static s64 statfs_out(struct dentry *d, u64 ust)
{
	struct super *sb = d->inode->sb;
	struct statfs_k st = {.type = (s64)sb->magic,
			      .bsize = (s64)PAGE_SIZE,
			      .namelen = NAME_LEN,
			      .frsize = (s64)PAGE_SIZE,
			      .flags = 0x20 | (d->mnt ? d->mnt->flags & 0x40f : 0)};
	int r = sb->ops && sb->ops->statfs ? sb->ops->statfs(sb, &st) : 0;

	st.fsid[0] = (s32)sb->dev;
	dentry_put(d);
	return r ? r : copy_out(ust, &st, sizeof(st));
}
_Static_assert(sizeof(struct statfs_k) == 120, "struct statfs");

SYSCALL(statfs, "sp", u64 path, u64 ust)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : statfs_out(d, ust);
}
SYSCALL(fstatfs, "fp", int fd, u64 ust)
{
	struct file *f = fd_get(fd);

	if (!f)
		return -EBADF;
	dentry_get(f->dentry);
	struct dentry *d = f->dentry;
	file_put(f);
	return statfs_out(d, ust);
}

static s64 do_access(int dfd, u64 path, u32 mode, u32 flags)
{
	struct cred *c, *old = current->cred;
	struct dentry *d;
	int r;

	if (mode & ~7u)
		return -EINVAL;
	if (!(flags & AT_EACCESS) && (old->uid != old->fsuid || old->gid != old->fsgid)) {
		cred_get(old);
		c = cred_own();
		if (c) {
			c->fsuid = c->uid;
			c->fsgid = c->gid;
			c->cap_eff = c->uid ? 0 : c->cap_perm;
		}
	} else {
		old = NULL;
	}
	r = user_path(dfd, path, at_flags(flags, true), &d);
	if (!r) {
		r = mode ? inode_permission(d->inode, mode) : 0;
		if (!r && (mode & MAY_WRITE) && mount_readonly(d) &&
		    (is_reg(d->inode) || is_dir(d->inode)))
			r = -EROFS;
		dentry_put(d);
	}
	if (old) {
		cred_put(current->cred);
		current->cred = old;
	}
	return r;
}

SYSCALL(access, "sx", u64 path, u32 mode)
{
	return do_access(AT_FDCWD, path, mode, 0);
}
SYSCALL(faccessat, "fsx", int dfd, u64 path, u32 mode)
{
	return do_access(dfd, path, mode, 0);
}
SYSCALL(faccessat2, "fsxx", int dfd, u64 path, u32 mode, u32 flags)
{
	if (flags & ~(u32)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_access(dfd, path, mode, flags);
}

/* ---- Names ---- */
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
		return -EBUSY;
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
		if (t)
			dentry_drop(t);
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

/* ---- Directories ---- */
struct dents_sink {
	struct dirent_sink s;
	u8 *buf;
	u32 used, size;
	bool old, full;
};

static int dents_emit(struct dirent_sink *sink, const char *name, u32 len, u64 ino, u32 type,
		      u64 next)
{
	struct dents_sink *d = container_of(sink, struct dents_sink, s);
	u32 rec = ALIGN_UP((d->old ? 18u : 19u) + len + (d->old ? 2 : 1), 8u);
	u8 *p = d->buf + d->used;
	u8 dt = (u8)(type >> 12);

	if (d->used + rec > d->size) {
		d->full = true;
		return 1;
	}
	memset(p, 0, rec);
	memcpy(p, &ino, 8);
	memcpy(p + 8, &next, 8);
	memcpy(p + 16, &(u16){(u16)rec}, 2);
	if (d->old) {
		memcpy(p + 18, name, len);
		p[rec - 1] = dt;
	} else {
		p[18] = dt;
		memcpy(p + 19, name, len);
	}
	d->used += rec;
	return 0;
}

static s64 do_getdents(int fd, u64 ubuf, u32 size, bool old)
{
	struct file *f = fd_get(fd);
	struct dents_sink d = {.s.emit = dents_emit, .size = MIN(size, 32768u), .old = old};
	s64 r;

	if (!f)
		return -EBADF;
	if (!is_dir(f->inode) || !f->ops->readdir) {
		file_put(f);
		return -ENOTDIR;
	}
	if (f->inode->dead_dir) {
		file_put(f);
		return -ENOENT;
	}
	d.buf = kalloc(d.size ? d.size : 1);
	r = d.buf ? f->ops->readdir(f, &d.s) : -ENOMEM;
	if (!r && !d.used && d.full)
		r = -EINVAL;
	if (!r)
		r = copy_out(ubuf, d.buf, d.used) ? -EFAULT : (s64)d.used;
	kfree(d.buf);
	inode_touch(f->inode, ATTR_ATIME);
	file_put(f);
	return r;
}

SYSCALL(getdents64, "fpu", int fd, u64 buf, u32 n)
{
	return do_getdents(fd, buf, n, false);
}
SYSCALL(getdents, "fpu", int fd, u64 buf, u32 n)
{
	return do_getdents(fd, buf, n, true);
}

SYSCALL(getcwd, "pu", u64 ubuf, u64 size)
{
	char *buf = kalloc(PATH_LEN), *p;
	s64 r = -ENAMETOOLONG;

	if (!buf)
		return -ENOMEM;
	if (current->fs->cwd->unlinked) {
		r = -ENOENT;
	} else {
		p = dentry_path(current->fs->cwd, current->fs->root, buf, PATH_LEN);
		if (p) {
			u64 n = strlen(p) + 1;

			r = n > size ? -ERANGE : copy_out(ubuf, p, n) ? -EFAULT : (s64)n;
		}
	}
	kfree(buf);
	return r;
}

static s64 set_cwd(struct dentry *d)
{
	int r = !is_dir(d->inode) ? -ENOTDIR : inode_permission(d->inode, MAY_EXEC);

	if (r) {
		dentry_put(d);
		return r;
	}
	dentry_put(current->fs->cwd);
	current->fs->cwd = d;
	return 0;
}

SYSCALL(chdir, "s", u64 path)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : set_cwd(d);
}
SYSCALL(fchdir, "f", int fd)
{
	struct file *f = fd_get(fd);
	struct dentry *d;

	if (!f)
		return -EBADF;
	d = f->dentry;
	dentry_get(d);
	file_put(f);
	return set_cwd(d);
}
SYSCALL(chroot, "s", u64 path)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &d);

	if (r)
		return r;
	r = inode_permission(d->inode, MAY_EXEC);
	if (!r && !capable(CAP_SYS_CHROOT))
		r = -EPERM;
	if (r) {
		dentry_put(d);
		return r;
	}
	dentry_put(current->fs->root);
	current->fs->root = d;
	return 0;
}

/* ---- Attributes ---- */
static int owner_check(struct inode *i)
{
	return current->cred->fsuid == i->uid || capable(CAP_FOWNER) ? 0 : -EPERM;
}

static s64 chmod_dentry(struct dentry *d, u32 mode)
{
	struct inode_attr a = {.valid = ATTR_MODE, .mode = mode & 07777};
	int r = mount_readonly(d)  ? -EROFS
		: is_lnk(d->inode) ? -EOPNOTSUPP
				   : owner_check(d->inode);

	if (!r && !capable(CAP_FSETID) && !in_group(d->inode->gid))
		a.mode &= ~(u32)S_ISGID;
	if (!r)
		r = inode_setattr(d->inode, &a);
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, 4);
	dentry_put(d);
	return r;
}

static struct dentry *fd_dentry(int fd)
{
	struct file *f = fd_get(fd);
	struct dentry *d = NULL;

	if (f) {
		if (!(f->flags & O_PATH)) {
			d = f->dentry;
			dentry_get(d);
		}
		file_put(f);
	}
	return d;
}

SYSCALL(chmod, "sx", u64 path, u32 mode)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : chmod_dentry(d, mode);
}
SYSCALL(fchmod, "fx", int fd, u32 mode)
{
	struct dentry *d = fd_dentry(fd);

	return d ? chmod_dentry(d, mode) : -EBADF;
}
SYSCALL(fchmodat, "fsx", int dfd, u64 path, u32 mode)
{
	struct dentry *d;
	int r = user_path(dfd, path, LOOKUP_FOLLOW, &d);

	return r ? r : chmod_dentry(d, mode);
}

static s64 chown_dentry(struct dentry *d, u32 uid, u32 gid)
{
	struct inode *i = d->inode;
	struct inode_attr a = {.uid = uid, .gid = gid};
	const struct cred *c = current->cred;
	int r = mount_readonly(d) ? -EROFS : 0;

	if (!r && !capable(CAP_CHOWN)) {
		if ((uid != ~0u && uid != i->uid) || c->fsuid != i->uid ||
		    (gid != ~0u && gid != i->gid && !in_group(gid)))
			r = -EPERM;
	}
	a.valid = (uid != ~0u ? ATTR_UID : 0) | (gid != ~0u ? ATTR_GID : 0);
	if (!is_dir(i) && (i->mode & (S_ISUID | S_ISGID)) && a.valid) {
		a.valid |= ATTR_MODE;
		a.mode = i->mode & 07777 & ~(u32)S_ISUID;
		if (i->mode & 010)
			a.mode &= ~(u32)S_ISGID;
	}
	if (!r)
		r = inode_setattr(i, &a);
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, 4);
	dentry_put(d);
	return r;
}

SYSCALL(chown, "sdd", u64 path, u32 uid, u32 gid)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : chown_dentry(d, uid, gid);
}
SYSCALL(lchown, "sdd", u64 path, u32 uid, u32 gid)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : chown_dentry(d, uid, gid);
}
SYSCALL(fchown, "fdd", int fd, u32 uid, u32 gid)
{
	struct dentry *d = fd_dentry(fd);

	return d ? chown_dentry(d, uid, gid) : -EBADF;
}
SYSCALL(fchownat, "fsddx", int dfd, u64 path, u32 uid, u32 gid, u32 flags)
{
	struct dentry *d;
	int r;

	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	r = user_path(dfd, path, at_flags(flags, true), &d);
	return r ? r : chown_dentry(d, uid, gid);
}

SYSCALL(umask, "x", u32 mask)
{
	u32 old = current->fs->umask;

	current->fs->umask = mask & 0777;
	return old;
}

SYSCALL(truncate, "sd", u64 path, s64 size)
{
	struct dentry *d;
	int r;

	if (size < 0)
		return -EINVAL;
	r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);
	if (r)
		return r;
	r = mount_readonly(d)  ? -EROFS
	    : is_dir(d->inode) ? -EISDIR
			       : inode_permission(d->inode, MAY_WRITE);
	if (!r && (u64)size > current->proc->rlim[RLIMIT_FSIZE].cur) {
		sig_send_thread(current, SIGXFSZ, NULL);
		r = -EFBIG;
	}
	if (!r)
		r = inode_truncate(d->inode, (u64)size);
	dentry_put(d);
	return r;
}

/* Times: NULL, or two timespecs with UTIME_NOW and UTIME_OMIT. */
static s64 set_times(struct dentry *d, const struct __kernel_timespec *ts)
{
	s64 now = (s64)wall_now();
	struct inode_attr a = {.valid = ATTR_ATIME | ATTR_MTIME, .atime = now, .mtime = now};
	bool explicit = false;
	int r = 0;

	for (int i = 0; ts && i < 2; i++) {
		u32 bit = i ? ATTR_MTIME : ATTR_ATIME;

		if (ts[i].tv_nsec == 0x3ffffffe) {
			a.valid &= ~bit;
			explicit = true;
		} else if (ts[i].tv_nsec != 0x3fffffff) {
			if ((u64)ts[i].tv_nsec >= NS_PER_SEC)
				r = -EINVAL;
			*(i ? &a.mtime : &a.atime) =
			    ts[i].tv_sec * (s64)NS_PER_SEC + ts[i].tv_nsec;
			explicit = true;
		}
	}
	if (!r && mount_readonly(d))
		r = -EROFS;
	if (!r && owner_check(d->inode))
		r = explicit ? (a.valid ? -EPERM : 0) : inode_permission(d->inode, MAY_WRITE);
	if (!r && a.valid)
		r = inode_setattr(d->inode, &a);
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, 4);
	dentry_put(d);
	return r;
}

SYSCALL(utimensat, "fspx", int dfd, u64 path, u64 uts, u32 flags)
{
	struct __kernel_timespec ts[2];
	struct dentry *d;
	int r;

	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (uts && get_user(ts, uts))
		return -EFAULT;
	if (!path && dfd != AT_FDCWD) {
		struct file *f = fd_get(dfd);

		if (!f)
			return -EBADF;
		d = f->dentry;
		dentry_get(d);
		file_put(f);
	} else {
		r = user_path(dfd, path, at_flags(flags, true), &d);
		if (r)
			return r;
	}
	return set_times(d, uts ? ts : NULL);
}

static s64 utimes_us(int dfd, u64 path, u64 utv)
{
	struct __kernel_timespec ts[2];
	struct dentry *d;
	int r;

	if (utv) {
		if (get_user(ts, utv))
			return -EFAULT;
		for (int i = 0; i < 2; i++) {
			if ((u64)ts[i].tv_nsec >= 1000000)
				return -EINVAL;
			ts[i].tv_nsec *= 1000;
		}
	}
	r = user_path(dfd, path, LOOKUP_FOLLOW, &d);
	return r ? r : set_times(d, utv ? ts : NULL);
}
SYSCALL(utimes, "sp", u64 path, u64 tv)
{
	return utimes_us(AT_FDCWD, path, tv);
}
SYSCALL(futimesat, "fsp", int dfd, u64 path, u64 tv)
{
	return utimes_us(dfd, path, tv);
}
SYSCALL(utime, "sp", u64 path, u64 ubuf)
{
	struct __kernel_timespec ts[2] = {{0}};
	s64 t[2];
	struct dentry *d;
	int r;

	if (ubuf && get_user(t, ubuf))
		return -EFAULT;
	if (ubuf) {
		ts[0].tv_sec = t[0];
		ts[1].tv_sec = t[1];
	}
	r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);
	return r ? r : set_times(d, ubuf ? ts : NULL);
}

/* ---- Extended attributes ---- */
#define XATTR_MAX 65536u

static int xattr_name(u64 uname, char name[256])
{
	ssize n = str_in(name, uname, 256);

	if (n < 0)
		return n == -EFAULT ? -EFAULT : -ERANGE;
	if (!n)
		return -ERANGE;
	if (strncmp(name, "user.", 5) && strncmp(name, "trusted.", 8) &&
	    strncmp(name, "security.", 9) && strncmp(name, "system.", 7))
		return -EOPNOTSUPP;
	return 0;
}

static int xattr_allowed(struct inode *i, const char *name, u32 mask)
{
	if (!strncmp(name, "trusted.", 8))
		return capable(CAP_SYS_ADMIN) ? 0 : mask == MAY_READ ? -ENODATA : -EPERM;
	if (!strncmp(name, "security.", 9))
		return mask == MAY_READ || capable(CAP_SYS_ADMIN) || capable(CAP_SETFCAP)
			   ? 0
			   : -EPERM;
	if (!strncmp(name, "system.", 7))
		return -EOPNOTSUPP;
	if (!is_reg(i) && !is_dir(i))
		return mask == MAY_READ ? -ENODATA : -EPERM;
	return inode_permission(i, mask);
}

static s64 xattr_get(struct dentry *d, u64 uname, u64 ubuf, u64 size)
{
	struct inode *i = d->inode;
	char name[256];
	s64 r = xattr_name(uname, name);
	u32 room = (u32)MIN(size, (u64)XATTR_MAX);
	void *buf = NULL;

	if (!r)
		r = xattr_allowed(i, name, MAY_READ);
	if (!r && room && !(buf = kalloc(room)))
		r = -ENOMEM;
	if (!r)
		r = i->ops && i->ops->getxattr ? i->ops->getxattr(i, name, buf, room)
					       : -EOPNOTSUPP;
	if (r > 0 && room && copy_out(ubuf, buf, (size_t)r))
		r = -EFAULT;
	kfree(buf);
	dentry_put(d);
	return r;
}

static s64 xattr_set(struct dentry *d, u64 uname, u64 uval, u64 size, int flags)
{
	struct inode *i = d->inode;
	char name[256];
	s64 r = xattr_name(uname, name);
	void *buf = NULL;

	if (!r && (flags & ~3))
		r = -EINVAL;
	if (!r && size > XATTR_MAX)
		r = -E2BIG;
	if (!r)
		r = mount_readonly(d) ? -EROFS : xattr_allowed(i, name, MAY_WRITE);
	if (!r && !(buf = kalloc(size + 1)))
		r = -ENOMEM;
	if (!r && copy_in(buf, uval, size))
		r = -EFAULT;
	if (!r)
		r = i->ops && i->ops->setxattr ? i->ops->setxattr(i, name, buf, size, flags)
					       : -EOPNOTSUPP;
	kfree(buf);
	dentry_put(d);
	return r;
}

static s64 xattr_list(struct dentry *d, u64 ubuf, u64 size)
{
	struct inode *i = d->inode;
	u32 room = (u32)MIN(size, (u64)XATTR_MAX);
	char *buf = room ? kalloc(room) : NULL;
	s64 r = room && !buf ? -ENOMEM : 0;

	if (!r && i->ops && i->ops->listxattr)
		r = i->ops->listxattr(i, buf, room);
	if (r > 0 && room && copy_out(ubuf, buf, (size_t)r))
		r = -EFAULT;
	kfree(buf);
	dentry_put(d);
	return r;
}

static s64 xattr_remove(struct dentry *d, u64 uname)
{
	struct inode *i = d->inode;
	char name[256];
	s64 r = xattr_name(uname, name);

	if (!r)
		r = mount_readonly(d) ? -EROFS : xattr_allowed(i, name, MAY_WRITE);
	if (!r)
		r = i->ops && i->ops->removexattr ? i->ops->removexattr(i, name) : -EOPNOTSUPP;
	dentry_put(d);
	return r;
}

SYSCALL(getxattr, "sspu", u64 path, u64 name, u64 buf, u64 n)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : xattr_get(d, name, buf, n);
}
SYSCALL(lgetxattr, "sspu", u64 path, u64 name, u64 buf, u64 n)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : xattr_get(d, name, buf, n);
}
SYSCALL(fgetxattr, "fspu", int fd, u64 name, u64 buf, u64 n)
{
	struct dentry *d = fd_dentry(fd);

	return d ? xattr_get(d, name, buf, n) : -EBADF;
}
SYSCALL(setxattr, "sspux", u64 path, u64 name, u64 buf, u64 n, int flags)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : xattr_set(d, name, buf, n, flags);
}
SYSCALL(lsetxattr, "sspux", u64 path, u64 name, u64 buf, u64 n, int flags)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : xattr_set(d, name, buf, n, flags);
}
SYSCALL(fsetxattr, "fspux", int fd, u64 name, u64 buf, u64 n, int flags)
{
	struct dentry *d = fd_dentry(fd);

	return d ? xattr_set(d, name, buf, n, flags) : -EBADF;
}
SYSCALL(listxattr, "spu", u64 path, u64 buf, u64 n)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : xattr_list(d, buf, n);
}
SYSCALL(llistxattr, "spu", u64 path, u64 buf, u64 n)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : xattr_list(d, buf, n);
}
SYSCALL(flistxattr, "fpu", int fd, u64 buf, u64 n)
{
	struct dentry *d = fd_dentry(fd);

	return d ? xattr_list(d, buf, n) : -EBADF;
}
SYSCALL(removexattr, "ss", u64 path, u64 name)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, LOOKUP_FOLLOW, &d);

	return r ? r : xattr_remove(d, name);
}
SYSCALL(lremovexattr, "ss", u64 path, u64 name)
{
	struct dentry *d;
	int r = user_path(AT_FDCWD, path, 0, &d);

	return r ? r : xattr_remove(d, name);
}
SYSCALL(fremovexattr, "fs", int fd, u64 name)
{
	struct dentry *d = fd_dentry(fd);

	return d ? xattr_remove(d, name) : -EBADF;
}
