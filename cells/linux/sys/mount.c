/* SPDX-License-Identifier: ISC */
/* mount and umount as container set-up code calls them. Needs CAP_SYS_ADMIN. */
#include "cells/linux/inc/sys.h"
#include <linux/mount.h>
#include <linux/capability.h>

static s64 remount(struct dentry *d, u32 flags)
{
	struct mount *m = d->mnt;

	if (!m || d != m->root)
		return -EINVAL;
	m->flags =
	    flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RELATIME);
	return 0;
}

SYSCALL(mount, "sssxp", u64 usource, u64 utarget, u64 utype, u64 flags, u64 uoptions)
{
	char source[256] = "none", type[32] = "", options[512] = "";
	struct dentry *d, *from;
	s64 r;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if ((usource && str_in(source, usource, sizeof(source)) < 0) ||
	    (utype && str_in(type, utype, sizeof(type)) < 0))
		return -EFAULT;
	if (uoptions && str_in(options, uoptions, sizeof(options)) == -EFAULT)
		return -EFAULT;
	r = user_path(AT_FDCWD, utarget, LOOKUP_FOLLOW, &d);
	if (r)
		return r;
	if (flags & MS_REMOUNT) {
		r = remount(d, (u32)flags);
	} else if (flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)) {
		r = d->mnt && d == d->mnt->root ? 0 : -EINVAL;
	} else if (flags & MS_BIND) {
		r = path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from);
		if (!r) {
			r = mount_bind(from, d, (u32)flags & ~(u32)MS_BIND,
				       (flags & MS_REC) != 0);
			dentry_put(from);
		}
	} else if (flags & MS_MOVE) {
		r = -EINVAL;
	} else {
		r = !is_dir(d->inode) ? -ENOTDIR
				      : mount_type(type, source, d, (u32)flags, options);
	}
	dentry_put(d);
	return r;
}

SYSCALL(umount2, "sx", u64 path, u32 flags)
{
	struct dentry *d;
	s64 r;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	r = user_path(AT_FDCWD, path, flags & 8 ? 0 : LOOKUP_FOLLOW, &d);
	if (r)
		return r;
	r = mount_unmount(d, flags);
	dentry_put(d);
	return r;
}
