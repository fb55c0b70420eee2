/* SPDX-License-Identifier: ISC */
/*
 * Names in memory. A dentry lives while someone refers to it (a child, an open file, a working
 * directory, a mount) and some time after, in an LRU list, so that walks find it again.
 */
#include "cells/linux/inc/vfs.h"

#define BUCKETS     512
#define KEEP_UNUSED 2048

static struct list buckets[BUCKETS];
static struct list lru;
static u32 lru_count;
u32 dentry_count;

static struct list *bucket_of(const struct dentry *parent, const char *name, u32 len)
{
	u64 h = (u64)parent * 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 0x100000001b3ull;
	return &buckets[(h >> 20) % BUCKETS];
}

/* Takes over the reference to the inode. */
struct dentry *dentry_new(struct dentry *parent, const char *name, u32 len, struct inode *ino)
{
	struct dentry *d = kalloc(sizeof(*d));

	if (!d)
		return NULL;
	d->name = d->name_buf;
	if (len >= sizeof(d->name_buf)) {
		d->name = kalloc(len + 1);
		if (!d->name) {
			kfree(d);
			return NULL;
		}
	}
	memcpy(d->name, name, len);
	d->name[len] = 0;
	d->name_len = len;
	d->refs = 1;
	d->inode = ino;
	if (!parent)
		inode_get(ino); /* anonymous: file and dentry hold one each */
	d->parent = d;
	if (parent) {
		dentry_get(parent);
		d->parent = parent;
		d->mnt = parent->mnt;
		list_add_head(bucket_of(parent, name, len), &d->sibling);
	}
	dentry_count++;
	return d;
}

void dentry_get(struct dentry *d)
{
	if (d->refs++ == 0 && list_linked(&d->lru)) {
		list_del(&d->lru);
		lru_count--;
	}
}

static void dentry_free(struct dentry *d)
{
	struct dentry *parent = d->parent;

	BUG_ON(d->mounted);
	list_del(&d->sibling);
	if (NOTIFY_ACTIVE && d->unlinked && !list_empty(&d->inode->watches))
		notify_inode_gone(d->inode);
	inode_put(d->inode);
	if (d->name != d->name_buf)
		kfree(d->name);
	if (parent != d)
		dentry_put(parent);
	kfree(d);
	dentry_count--;
}

void dcache_trim(u32 keep)
{
	while (lru_count > keep) {
		struct dentry *d = list_first(&lru, struct dentry, lru);

		list_del(&d->lru);
		lru_count--;
		dentry_free(d);
	}
}

void dentry_put(struct dentry *d)
{
	BUG_ON(!d->refs);
	if (--d->refs)
		return;
	if (d->unlinked || d->parent == d || !d->inode->nlink || d->inode->sb->revalidate) {
		dentry_free(d);
		return;
	}
	list_add_tail(&lru, &d->lru);
	lru_count++;
	dcache_trim(KEEP_UNUSED);
}

struct dentry *dentry_child(struct dentry *dir, const char *name, u32 len)
{
	struct list *b = bucket_of(dir, name, len);
	struct dentry *d;

	list_each(d, b, sibling) if (d->parent == dir && d->name_len == len &&
				     !memcmp(d->name, name, len))
	{
		dentry_get(d);
		return d;
	}
	return NULL;
}

void dentry_drop(struct dentry *d)
{
	list_del(&d->sibling);
	d->unlinked = true;
	if (d->refs == 0 && list_linked(&d->lru)) {
		list_del(&d->lru);
		lru_count--;
		dentry_free(d);
	}
}

static struct dentry *up(struct dentry *d)
{
	while (d->parent == d && d->mnt && d->mnt->point)
		d = d->mnt->point;
	return d->parent;
}

char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size)
{
	size_t at = size - 1;

	buf[at] = 0;
	if (d->parent == d && !d->mnt) { /* pipe:[7], anon_inode:[eventpoll] */
		int n = format(buf, size, "%s", d->name);

		return n < (int)size ? buf : NULL;
	}
	if (d->unlinked) {
		if (at < 10)
			return NULL;
		at -= 10;
		memcpy(buf + at, " (deleted)", 10);
	}
	while (d != root) {
		while (d->parent == d && d->mnt && d->mnt->point && d != root)
			d = d->mnt->point;
		if (d == root || d->parent == d)
			break;
		if (at < d->name_len + 1u)
			return NULL;
		at -= d->name_len;
		memcpy(buf + at, d->name, d->name_len);
		buf[--at] = '/';
		d = d->parent;
	}
	if (at == size - 1)
		buf[--at] = '/';
	return buf + at;
}

struct dentry *dentry_up(struct dentry *d);
struct dentry *dentry_up(struct dentry *d)
{
	return up(d);
}

/* Give the dentry another name and directory; its old bucket was left already. */
struct dentry *dentry_rename(struct dentry *d, struct dentry *dir, const char *name, u32 len);
struct dentry *dentry_rename(struct dentry *d, struct dentry *dir, const char *name, u32 len)
{
	struct dentry *old = d->parent;
	char *text = len < sizeof(d->name_buf) ? d->name_buf : kalloc(len + 1);

	if (!text) {
		dentry_drop(d);
		return d;
	}
	if (d->name != d->name_buf)
		kfree(d->name);
	memmove(text, name, len);
	text[len] = 0;
	d->name = text;
	d->name_len = len;
	dentry_get(dir);
	d->parent = dir;
	list_add_head(bucket_of(dir, name, len), &d->sibling);
	dentry_put(old);
	return d;
}
