/* SPDX-License-Identifier: ISC */
/* Inodes: making and freeing, rights, attributes, stat. */
#include "cells/linux/inc/vfs.h"
#include <linux/capability.h>

static u64 next_dev = 1;
u32 inode_count;

u64 anon_dev(void)
{
	u64 n = next_dev++;

	return MKDEV(0, n);
}

struct super *super_new(const char *type, const struct super_ops *ops, u64 magic)
{
	struct super *sb = kalloc(sizeof(*sb));

	if (!sb)
		return NULL;
	sb->refs = 1;
	sb->type = type;
	sb->ops = ops;
	sb->magic = magic;
	sb->dev = anon_dev();
	sb->next_ino = 1;
	list_init(&sb->inodes);
	return sb;
}

void super_put(struct super *sb)
{
	if (--sb->refs)
		return;
	if (sb->ops && sb->ops->put)
		sb->ops->put(sb);
	kfree(sb);
}

int super_root(struct super *s, struct inode *root, struct super **sb, struct inode **out)
{
	if (!root) {
		super_put(s);
		return -ENOMEM;
	}
	*sb = s;
	*out = root;
	return 0;
}

struct inode *inode_new(struct super *sb, u32 mode)
{
	struct inode *i = kalloc(sizeof(*i));
	s64 now = (s64)wall_now();

	if (!i)
		return NULL;
	i->refs = 1;
	i->mode = mode;
	i->nlink = 1;
	i->sb = sb;
	i->atime = i->mtime = i->ctime = i->btime = now;
	list_init(&i->maps);
	if (current && current->cred) {
		i->uid = current->cred->fsuid;
		i->gid = current->cred->fsgid;
	}
	if (sb) {
		sb->refs++;
		i->ino = sb->next_ino++;
		list_add_tail(&sb->inodes, &i->sb_link);
	}
	inode_count++;
	return i;
}

void inode_get(struct inode *i)
{
	i->refs++;
}

void inode_put(struct inode *i)
{
	if (--i->refs)
		return;
	i->refs = 1;
	if (i->ops && i->ops->evict)
		i->ops->evict(i);
	if (i->refs > 1) { /* evict slept, and someone found the inode meanwhile */
		i->refs--;
		return;
	}
	if (!list_empty(&i->watches))
		notify_inode_gone(i);
	pagecache_release(i);
	kfree(i->pages);
	if (i->sb) {
		list_del(&i->sb_link);
		super_put(i->sb);
	}
	kfree(i);
	inode_count--;
}

void inode_touch(struct inode *i, u32 which)
{
	s64 now = (s64)wall_now();

	if (which & ATTR_ATIME)
		i->atime = now;
	if (which & ATTR_MTIME)
		i->mtime = now;
	if (which & ATTR_CTIME)
		i->ctime = now;
}

int inode_permission(struct inode *i, u32 mask)
{
	const struct cred *c = current->cred;
	u32 mode = i->mode;

	if (i->ops && i->ops->permission)
		return i->ops->permission(i, mask);
	if (c->fsuid == i->uid)
		mode >>= 6;
	else if (in_group(i->gid))
		mode >>= 3;
	if ((mask & ~mode & 7) == 0)
		return 0;
	if (capable(CAP_DAC_OVERRIDE) && (!(mask & MAY_EXEC) || is_dir(i) || (i->mode & 0111)))
		return 0;
	if (capable(CAP_DAC_READ_SEARCH) &&
	    (mask == MAY_READ || (is_dir(i) && !(mask & MAY_WRITE))))
		return 0;
	return -EACCES;
}

int inode_setattr(struct inode *i, struct inode_attr *a)
{
	int r = 0;

	if (i->ops && i->ops->setattr) {
		r = i->ops->setattr(i, a);
		if (r)
			return r;
	}
	if (a->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
	if (a->valid & ATTR_UID)
		i->uid = a->uid;
	if (a->valid & ATTR_GID)
		i->gid = a->gid;
	if (a->valid & ATTR_ATIME)
		i->atime = a->atime;
	if (a->valid & ATTR_MTIME)
		i->mtime = a->mtime;
	i->ctime = (s64)wall_now();
	return 0;
}

int inode_truncate(struct inode *i, u64 size)
{
	struct inode_attr a = {.valid = ATTR_SIZE, .size = size};
	u64 old = i->size;
	int r = 0;

	if (is_dir(i))
		return -EISDIR;
	if (!is_reg(i))
		return -EINVAL;
	if (size > (u64)INT64_MAX - PAGE_SIZE)
		return -EFBIG;
	if (i->ops && i->ops->setattr)
		r = i->ops->setattr(i, &a);
	if (r)
		return r;
	i->size = size;
	if (size < old)
		pagecache_truncate(i, size);
	inode_touch(i, ATTR_MTIME | ATTR_CTIME);
	return 0;
}

void inode_stat(struct inode *i, struct stat *st)
{
	if (i->ops && i->ops->getattr)
		i->ops->getattr(i);
	memset(st, 0, sizeof(*st));
	st->st_dev = i->sb ? i->sb->dev : 0;
	st->st_ino = i->ino;
	st->st_nlink = i->nlink;
	st->st_mode = i->mode;
	st->st_uid = i->uid;
	st->st_gid = i->gid;
	st->st_rdev = i->rdev;
	st->st_size = (s64)i->size;
	st->st_blksize = (s64)PAGE_SIZE;
	st->st_blocks = (s64)(!i->cache_pinned ? i->blocks
			      : i->backed      ? ALIGN_UP(i->size, PAGE_SIZE) / 512
					       : i->page_count * 8ull);
	st->st_atime = (u64)(i->atime / (s64)NS_PER_SEC);
	st->st_atime_nsec = (u64)(i->atime % (s64)NS_PER_SEC);
	st->st_mtime = (u64)(i->mtime / (s64)NS_PER_SEC);
	st->st_mtime_nsec = (u64)(i->mtime % (s64)NS_PER_SEC);
	st->st_ctime = (u64)(i->ctime / (s64)NS_PER_SEC);
	st->st_ctime_nsec = (u64)(i->ctime % (s64)NS_PER_SEC);
}

static struct super *anon_super_of(u32 mode)
{
	static struct super *pipes, *sockets, *others;
	u32 type = mode & S_IFMT;
	struct super **sb = type == S_IFIFO ? &pipes : type == S_IFSOCK ? &sockets : &others;

	if (!*sb)
		*sb = type == S_IFIFO    ? super_new("pipefs", NULL, PIPEFS_MAGIC)
		      : type == S_IFSOCK ? super_new("sockfs", NULL, 0x534f434b)
					 : super_new("anon_inodefs", NULL, 0x09041934);
	return *sb;
}

/* A descriptor for something that is not in any directory: "anon_inode:[eventfd]". */
struct file *anon_file(const char *name, const struct file_ops *ops, void *priv, u32 flags,
		       u32 mode)
{
	struct file *f = file_new(ops, flags);
	struct super *sb;
	struct inode *i;

	if (!f)
		return NULL;
	sb = anon_super_of(mode);
	i = sb ? inode_new(sb, mode) : NULL;
	f->dentry = i ? dentry_new(NULL, name, (u32)strlen(name), i) : NULL;
	if (!f->dentry) {
		if (i)
			inode_put(i);
		f->ops = &(const struct file_ops){0};
		file_put(f);
		return NULL;
	}
	f->inode = i;
	f->priv = priv;
	return f;
}
