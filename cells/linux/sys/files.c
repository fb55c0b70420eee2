/* SPDX-License-Identifier: ISC */
/* The calls that find files: open, stat, access, directories and where one is. */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

#define OPEN_FLAGS                                                                             \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | \
	 __O_SYNC | FASYNC | O_DIRECT | 0100000 | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |       \
	 O_CLOEXEC | O_PATH | __O_TMPFILE)

static s64 do_open(int dfd, u64 upath, u32 flags, u32 mode, u32 lookup)
{
	struct file *f;
	char *path;
	s64 r = path_in(upath, &path);

	if (r)
		return r;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	r = open_path(dfd, path,
		      (flags & OPEN_FLAGS) | (flags & O_PATH ? 0 : 0100000 /* O_LARGEFILE */),
		      mode, lookup, &f);
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
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, stat_dentry(d, ust));
}
SYSCALL(lstat, "sp", u64 path, u64 ust)
{
	return WITH_PATH(AT_FDCWD, path, 0, stat_dentry(d, ust));
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
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
		return -EINVAL;
	return WITH_PATH(dfd, path, at_flags(flags, true), stat_dentry(d, ust));
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

	if ((flags & ~0x7900u) || (flags & 0x6000u) == 0x6000u || (mask & 0x80000000u))
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
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, statfs_out(d, ust));
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
		if (!c) {
			cred_put(old);
			return -ENOMEM;
		}
		c->fsuid = c->uid;
		c->fsgid = c->gid;
		c->cap_eff = c->uid ? 0 : c->cap_perm;
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

/* Whole entries, as far as the caller's memory is good; the file goes on behind the last. */
static s64 dents_out(struct file *f, const struct dents_sink *d, u64 ubuf)
{
	u32 at = 0;

	if (!copy_out(ubuf, d->buf, d->used))
		return (s64)d->used;
	while (at < d->used) {
		u16 rec;

		memcpy(&rec, d->buf + at + 16, 2);
		if (copy_out(ubuf + at, d->buf + at, rec))
			break;
		memcpy(&f->pos, d->buf + at + 8, 8);
		at += rec;
	}
	return at ? (s64)at : -EFAULT;
}

static s64 do_getdents(int fd, u64 ubuf, u32 size, bool old)
{
	struct file *f = fd_get(fd);
	struct dents_sink d = {.s.emit = dents_emit, .size = MIN(size, 32768u), .old = old};
	s64 r;

	if (!f)
		return -EBADF;
	if ((f->flags & O_PATH) || (int)size < 0 || !is_dir(f->inode) || !f->ops->readdir) {
		r = f->flags & O_PATH ? -EBADF : (int)size < 0 ? -EINVAL : -ENOTDIR;
		file_put(f);
		return r;
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
		r = dents_out(f, &d, ubuf);
	kfree(d.buf);
	inode_touch(f->inode, ATTR_ATIME);
	if (r >= 0 && NOTIFY_ACTIVE)
		notify_path(f->dentry, IN_ACCESS_K);
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
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, set_cwd(d));
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
