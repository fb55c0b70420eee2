/* SPDX-License-Identifier: ISC */
/*
 * Unpacking a ustar archive that lies in memory (POSIX.1-1988 format with the prefix field,
 * and GNU's L and K long names). Every header is checked by its checksum; sizes never run past
 * the archive.
 */
#include "cells/linux/inc/vfs.h"

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type;
	char linkname[100], magic[8], uname[32], gname[32], devmajor[8], devminor[8],
	    prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct ustar) == 512, "ustar header");

static u64 octal(const char *s, size_t n)
{
	u64 v = 0;

	while (n && *s == ' ')
		s++, n--;
	for (; n && *s >= '0' && *s <= '7'; s++, n--)
		v = v * 8 + (u64)(*s - '0');
	return v;
}

static bool checksum_ok(const struct ustar *h)
{
	const u8 *p = (const u8 *)h;
	u32 sum = 0;

	for (u32 i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? ' ' : p[i];
	return sum == octal(h->chksum, 8);
}

static int write_file(const char *path, u32 mode, const u8 *data, u64 size)
{
	struct file *f;
	s64 r = open_path(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0, &f);

	if (r < 0)
		return (int)r;
	r = file_write_kernel(f, data, size, 0);
	f->inode->mode = S_IFREG | (mode & 07777);
	file_put(f);
	return r < 0 ? (int)r : (u64)r == size ? 0 : -ENOSPC;
}

static int make_entry(const struct ustar *h, char *path, const char *link, const u8 *data,
		      u64 size)
{
	u32 mode = (u32)octal(h->mode, 8) & 07777;
	u64 dev = MKDEV(octal(h->devmajor, 8), octal(h->devminor, 8));
	size_t n = strlen(path);
	struct dentry *d;
	struct lookup lk = {0};
	int r;

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	switch (h->type) {
	case '5':
		r = vfs_mkdir(AT_FDCWD, path, mode);
		if (r == -EEXIST)
			r = 0;
		break;
	case '2':
		r = vfs_symlink(link, AT_FDCWD, path);
		break;
	case '1':
		r = path_lookup(AT_FDCWD, link, 0, &d);
		if (r)
			return r;
		r = path_walk(AT_FDCWD, path, LOOKUP_PARENT, &lk);
		if (!r) {
			r = lk.dentry->inode->ops->link(lk.dentry->inode, lk.last, lk.last_len,
							d->inode);
			dentry_put(lk.dentry);
		}
		dentry_put(d);
		return r;
	case '3':
		r = vfs_mknod(AT_FDCWD, path, S_IFCHR | mode, dev, NULL);
		break;
	case '6':
		r = vfs_mknod(AT_FDCWD, path, S_IFIFO | mode, 0, NULL);
		break;
	case '0':
	case 0:
		r = write_file(path, mode, data, size);
		break;
	default:
		return 0;
	}
	if (!r && h->type != '2' && !path_lookup(AT_FDCWD, path, 0, &d)) {
		d->inode->uid = (u32)octal(h->uid, 8);
		d->inode->gid = (u32)octal(h->gid, 8);
		d->inode->mode = (d->inode->mode & S_IFMT) | mode;
		d->inode->mtime = (s64)(octal(h->mtime, 12) * NS_PER_SEC);
		dentry_put(d);
	}
	return r;
}

int tar_unpack(const u8 *data, size_t size, const char *where)
{
	char *path = kalloc(PATH_LEN * 2), *link = path ? path + PATH_LEN : NULL;
	bool long_name = false, long_link = false;
	u64 at = 0;
	int r = 0;

	if (!path)
		return -ENOMEM;
	while (size - at >= 512) {
		const struct ustar *h = (const struct ustar *)(data + at);
		u64 len = octal(h->size, 12);

		if (!h->name[0])
			break;
		if (!checksum_ok(h) || len > size - at - 512) {
			r = -EINVAL;
			break;
		}
		at += 512;
		if (h->type == 'L' || h->type == 'K') {
			char *to = h->type == 'L' ? path : link;
			u64 n = MIN(len, (u64)PATH_LEN - 256);

			str_copy(to, where, 256);
			memcpy(h->type == 'L' ? to + strlen(to) : to, data + at, n);
			to[(h->type == 'L' ? strlen(where) : 0) + n] = 0;
			*(h->type == 'L' ? &long_name : &long_link) = true;
		} else {
			if (!long_name)
				format(path, PATH_LEN, "%s%.155s%s%.100s", where, h->prefix,
				       h->prefix[0] ? "/" : "", h->name);
			if (!long_link)
				format(link, PATH_LEN, "%s%.100s", h->type == '1' ? where : "",
				       h->linkname);
			r = make_entry(h, path, link, data + at, len);
			if (r && r != -EEXIST)
				printk("tar: %s: error %d", path, r);
			long_name = long_link = false;
			if (r == -ENOMEM || r == -ENOSPC)
				break;
			r = 0;
		}
		at += MIN(ALIGN_UP(len, 512ull), size - at);
	}
	kfree(path);
	return r;
}
