/* SPDX-License-Identifier: ISC */
/* The calls that change attributes: rights, owner, size, times. */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

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

struct dentry *fd_dentry(int fd)
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
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, chmod_dentry(d, mode));
}
SYSCALL(fchmod, "fx", int fd, u32 mode)
{
	return WITH_FD(fd, chmod_dentry(d, mode));
}
SYSCALL(fchmodat, "fsx", int dfd, u64 path, u32 mode)
{
	return WITH_PATH(dfd, path, LOOKUP_FOLLOW, chmod_dentry(d, mode));
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
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, chown_dentry(d, uid, gid));
}
SYSCALL(lchown, "sdd", u64 path, u32 uid, u32 gid)
{
	return WITH_PATH(AT_FDCWD, path, 0, chown_dentry(d, uid, gid));
}
SYSCALL(fchown, "fdd", int fd, u32 uid, u32 gid)
{
	return WITH_FD(fd, chown_dentry(d, uid, gid));
}
SYSCALL(fchownat, "fsddx", int dfd, u64 path, u32 uid, u32 gid, u32 flags)
{
	if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return WITH_PATH(dfd, path, at_flags(flags, true), chown_dentry(d, uid, gid));
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
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, IN_MODIFY_K);
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
	if (!r && NOTIFY_ACTIVE && a.valid)
		notify_dentry(d, a.valid == ATTR_ATIME   ? IN_ACCESS_K
				 : a.valid == ATTR_MTIME ? IN_MODIFY_K
							 : IN_ATTRIB_K);
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

	if (utv) {
		if (get_user(ts, utv))
			return -EFAULT;
		for (int i = 0; i < 2; i++) {
			if ((u64)ts[i].tv_nsec >= 1000000)
				return -EINVAL;
			ts[i].tv_nsec *= 1000;
		}
	}
	return WITH_PATH(dfd, path, LOOKUP_FOLLOW, set_times(d, utv ? ts : NULL));
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

	if (ubuf && get_user(t, ubuf))
		return -EFAULT;
	if (ubuf) {
		ts[0].tv_sec = t[0];
		ts[1].tv_sec = t[1];
	}
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, set_times(d, ubuf ? ts : NULL));
}
