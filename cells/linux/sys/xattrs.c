/* SPDX-License-Identifier: ISC */
/* Extended attributes. */
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>

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
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, IN_ATTRIB_K);
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
	if (!r && NOTIFY_ACTIVE)
		notify_dentry(d, IN_ATTRIB_K);
	dentry_put(d);
	return r;
}

SYSCALL(getxattr, "sspu", u64 path, u64 name, u64 buf, u64 n)
{
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, xattr_get(d, name, buf, n));
}
SYSCALL(lgetxattr, "sspu", u64 path, u64 name, u64 buf, u64 n)
{
	return WITH_PATH(AT_FDCWD, path, 0, xattr_get(d, name, buf, n));
}
SYSCALL(fgetxattr, "fspu", int fd, u64 name, u64 buf, u64 n)
{
	return WITH_FD(fd, xattr_get(d, name, buf, n));
}
SYSCALL(setxattr, "sspux", u64 path, u64 name, u64 buf, u64 n, int flags)
{
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, xattr_set(d, name, buf, n, flags));
}
SYSCALL(lsetxattr, "sspux", u64 path, u64 name, u64 buf, u64 n, int flags)
{
	return WITH_PATH(AT_FDCWD, path, 0, xattr_set(d, name, buf, n, flags));
}
SYSCALL(fsetxattr, "fspux", int fd, u64 name, u64 buf, u64 n, int flags)
{
	return WITH_FD(fd, xattr_set(d, name, buf, n, flags));
}
SYSCALL(listxattr, "spu", u64 path, u64 buf, u64 n)
{
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, xattr_list(d, buf, n));
}
SYSCALL(llistxattr, "spu", u64 path, u64 buf, u64 n)
{
	return WITH_PATH(AT_FDCWD, path, 0, xattr_list(d, buf, n));
}
SYSCALL(flistxattr, "fpu", int fd, u64 buf, u64 n)
{
	return WITH_FD(fd, xattr_list(d, buf, n));
}
SYSCALL(removexattr, "ss", u64 path, u64 name)
{
	return WITH_PATH(AT_FDCWD, path, LOOKUP_FOLLOW, xattr_remove(d, name));
}
SYSCALL(lremovexattr, "ss", u64 path, u64 name)
{
	return WITH_PATH(AT_FDCWD, path, 0, xattr_remove(d, name));
}
SYSCALL(fremovexattr, "fs", int fd, u64 name)
{
	return WITH_FD(fd, xattr_remove(d, name));
}
