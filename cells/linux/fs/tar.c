/* SPDX-License-Identifier: ISC */
/*
 * Unpacking a ustar archive from memory or a stream (POSIX.1-1988 format with the prefix field,
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

#define PART 4096u

static s64 copy_contents(struct file *f, struct tar_source *src, u64 *left)
{
	u8 *part = kalloc(PART);
	u64 pos = 0;
	s64 r = part ? 0 : -ENOMEM;

	while (*left && r >= 0) {
		u32 n = (u32)MIN(*left, PART);

		if (!src->read(src, part, n)) {
			r = -EINVAL;
			break;
		}
		*left -= n;
		r = file_write_kernel(f, part, n, pos);
		if (r >= 0 && r < n)
			r = -ENOSPC;
		pos += n;
	}
	kfree(part);
	return r;
}

/* What lies in memory for good stays there until somebody reads it. */
static s64 borrow_contents(struct file *f, struct tar_source *src, u64 *left)
{
	const u8 *data = src->borrow(src, *left);

	if (!data)
		return -EINVAL;
	pagecache_back(f->inode, data, *left);
	*left = 0;
	return 0;
}

static int write_file(const char *path, u32 mode, struct tar_source *src, u64 *left)
{
	struct file *f;
	s64 r = open_path(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0, &f);

	if (r < 0)
		return (int)r;
	if (src->borrow && f->inode->cache_pinned)
		r = borrow_contents(f, src, left);
	else
		r = copy_contents(f, src, left);
	f->inode->mode = S_IFREG | (mode & 07777);
	file_put(f);
	return r < 0 ? (int)r : 0;
}

/* A hard link; the archive is not trusted to name a file, nor a place for it. */
static int make_link(const char *path, const char *target)
{
	struct lookup lk = {0};
	struct dentry *d;
	struct inode *dir;
	int r = path_lookup(AT_FDCWD, target, 0, &d);

	if (r)
		return r;
	r = path_walk(AT_FDCWD, path, LOOKUP_PARENT, &lk);
	if (!r) {
		dir = lk.dentry->inode;
		if (is_dir(d->inode) || lk.last_type != LAST_NORM)
			r = -EPERM;
		else if (d->inode->sb != dir->sb || !dir->ops->link)
			r = -EXDEV;
		else
			r = dir->ops->link(dir, lk.last, lk.last_len, d->inode);
		dentry_put(lk.dentry);
	}
	dentry_put(d);
	return r;
}

static int make_entry(const struct ustar *h, char *path, const char *link,
		      struct tar_source *src, u64 *left)
{
	u32 mode = (u32)octal(h->mode, 8) & 07777;
	u64 dev = MKDEV(octal(h->devmajor, 8), octal(h->devminor, 8));
	size_t n = strlen(path);
	struct dentry *d;
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
		return make_link(path, link);
	case '3':
		r = vfs_mknod(AT_FDCWD, path, S_IFCHR | mode, dev, NULL);
		break;
	case '6':
		r = vfs_mknod(AT_FDCWD, path, S_IFIFO | mode, 0, NULL);
		break;
	case '0':
	case 0:
		r = write_file(path, mode, src, left);
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

/* Passes n bytes over. */
static bool skip(struct tar_source *src, u64 n)
{
	u8 part[512];

	for (; n; n -= MIN(n, sizeof(part)))
		if (!src->read(src, part, (u32)MIN(n, sizeof(part))))
			return false;
	return true;
}

/* GNU's L and K entries: the name of the entry that follows. */
static bool take_name(struct tar_source *src, char *to, u32 room, const char *where, u64 *left)
{
	u32 at = (u32)strlen(where), n;

	str_copy(to, where, room);
	n = (u32)MIN(*left, (u64)(room - at - 1));
	*left -= n;
	to[at + n] = 0;
	return src->read(src, to + at, n);
}

int tar_unpack_from(struct tar_source *src, const char *where)
{
	char *path = kalloc(PATH_LEN * 2), *link = path ? path + PATH_LEN : NULL;
	bool long_name = false, long_link = false;
	struct ustar *h = kalloc(sizeof(*h));
	int r = path && h ? 0 : -ENOMEM;

	while (!r && src->read(src, h, sizeof(*h)) && h->name[0]) {
		u64 left = octal(h->size, 12), pad = -left & 511;

		if (!checksum_ok(h)) {
			r = -EINVAL;
			break;
		}
		if (h->type == 'L' || h->type == 'K') {
			bool name = h->type == 'L';

			if (!take_name(src, name ? path : link, PATH_LEN, name ? where : "",
				       &left))
				r = -EINVAL;
			*(name ? &long_name : &long_link) = true;
		} else {
			if (!long_name)
				format(path, PATH_LEN, "%s%.155s%s%.100s", where, h->prefix,
				       h->prefix[0] ? "/" : "", h->name);
			if (!long_link)
				format(link, PATH_LEN, "%s%.100s", h->type == '1' ? where : "",
				       h->linkname);
			r = make_entry(h, path, link, src, &left);
			if (r && r != -EEXIST)
				printk("tar: %s: error %d", path, r);
			long_name = long_link = false;
			if (r != -ENOMEM && r != -ENOSPC)
				r = 0;
		}
		if (!skip(src, left + pad))
			r = -EINVAL;
	}
	kfree(path);
	kfree(h);
	return r;
}

struct memory_source {
	struct tar_source src;
	const u8 *data;
	size_t left;
};

static bool memory_read(struct tar_source *s, void *buf, u32 n)
{
	struct memory_source *m = (struct memory_source *)s;

	if (n > m->left)
		return false;
	memcpy(buf, m->data, n);
	m->data += n;
	m->left -= n;
	return true;
}

static const u8 *memory_borrow(struct tar_source *s, u64 n)
{
	struct memory_source *m = (struct memory_source *)s;
	const u8 *at = m->data;

	if (n > m->left)
		return NULL;
	m->data += n;
	m->left -= n;
	return at;
}

int tar_unpack(const u8 *data, size_t size, const char *where)
{
	struct memory_source m = {{memory_read, memory_borrow}, data, size};

	return tar_unpack_from(&m.src, where);
}
