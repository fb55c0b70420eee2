/* SPDX-License-Identifier: ISC */
/*
 * Mounts: one namespace for the container. A mount has a tree of dentries of its own, so
 * binding makes a new root over the same inode.
 */
#include "cells/linux/inc/vfs.h"
#include <linux/mount.h>

struct mount *root_mount;
struct list mount_list;
static u32 next_id = 20;
extern const struct fs_type *const __start_set_filesystems[], *const __stop_set_filesystems[];

int mount_at(struct dentry *point, struct super *sb, struct inode *root, u32 flags,
	     const char *source, const char *options, struct mount **out)
{
	struct mount *m = kalloc(sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->root = dentry_new(NULL, "/", 1, root);
	m->source = kstrdup(source && *source ? source : "none");
	m->options = kstrdup(options ? options : "");
	if (!m->root || !m->source || !m->options) {
		kfree(m->source);
		kfree(m->options);
		kfree(m);
		return -ENOMEM;
	}
	m->root->mnt = m;
	m->refs = 1;
	m->id = next_id++;
	m->sb = sb;
	sb->refs++;
	m->flags =
	    flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RELATIME);
	if (point) {
		while (point->mounted)
			point = point->mounted->root;
		dentry_get(point);
		m->point = point;
		m->parent = point->mnt;
		point->mounted = m;
	}
	list_add_tail(&mount_list, &m->link);
	if (out)
		*out = m;
	return 0;
}

/* Mounts in the list are in the order of their numbers: how to go on after having slept. */
static struct mount *mount_after(u32 id)
{
	struct mount *m;

	list_each(m, &mount_list, link) if (m->id > id) return m;
	return NULL;
}

void mounts_sync(bool forget)
{
	u32 at = 0;

	for (struct mount *m; (m = mount_after(at)); at = m->id) {
		struct super *sb = m->sb;

		sb->refs++;
		if (sb->ops && !forget && sb->ops->sync)
			sb->ops->sync(sb);
		if (sb->ops && forget && sb->ops->forget)
			sb->ops->forget(sb);
		super_put(sb);
	}
}

/* A submount below `from`, found by its path, is bound at the same path of mount m. */
static void bind_below(struct mount *sub, struct dentry *from, struct mount *m)
{
	struct dentry *d = sub->point, *target = m->root, *root = sub->root;
	char buf[512], *path = dentry_path(d, from, buf, sizeof(buf));

	if (!path)
		return;
	for (; d != from && d->parent != d; d = d->parent)
		;
	if (d != from)
		return;
	dentry_get(target);
	dentry_get(root); /* looking up may sleep, and others unmount it */
	while (*path == '/')
		path++;
	while (*path) {
		char *e = strchr(path, '/');
		u32 len = e ? (u32)(e - path) : (u32)strlen(path);
		struct dentry *n;

		if (dentry_lookup(target, path, len, &n))
			break;
		dentry_put(target);
		target = n;
		path += len + (e ? 1 : 0);
	}
	if (!*path && !target->mounted)
		mount_bind(root, target, sub->flags, false);
	dentry_put(root);
	dentry_put(target);
}

int mount_bind(struct dentry *from, struct dentry *point, u32 flags, bool recursive)
{
	struct mount *m, *sub;
	int r;

	if (is_dir(from->inode) != is_dir(point->inode))
		return -ENOTDIR;
	inode_get(from->inode);
	r = mount_at(point, from->inode->sb, from->inode,
		     flags | (from->mnt ? from->mnt->flags : 0),
		     from->mnt ? from->mnt->source : "none", "", &m);
	inode_put(from->inode);
	if (r || !recursive)
		return r;
	for (u32 at = 0; (sub = mount_after(at)); at = sub->id)
		if (sub->point && sub != m && sub->point->mnt == from->mnt)
			bind_below(sub, from, m);
	return 0;
}

int mount_unmount(struct dentry *root, u32 flags)
{
	struct mount *m = root->mnt, *o;

	if (!m || root != m->root || !m->point)
		return -EINVAL;
	list_each(o, &mount_list,
		  link) if (o->parent == m && !(flags & 2 /* MNT_DETACH */)) return -EBUSY;
	if (!(flags & 2) && root->refs > 2)
		dcache_trim(0); /* names that nobody uses hold the ones above them */
	if (!(flags & 2) && root->refs > 2)
		return -EBUSY;
	m->point->mounted = NULL;
	dentry_put(m->point);
	m->point = NULL;
	list_del(&m->link);
	if (m->sb->ops && m->sb->ops->sync)
		m->sb->ops->sync(m->sb);
	dentry_put(m->root);
	super_put(m->sb);
	/* The record stays for dentries that still point to it. */
	m->parent = NULL;
	return 0;
}

int mount_type(const char *type, const char *source, struct dentry *point, u32 flags,
	       const char *options)
{
	struct super *sb;
	struct inode *root;
	int r;

	for (const struct fs_type *const *t = __start_set_filesystems;
	     t < __stop_set_filesystems; t++) {
		struct mount *m;

		if (strcmp((*t)->name, type))
			continue;
		r = (*t)->mount(source, options, &sb, &root);
		if (r)
			return r;
		r = mount_at(point, sb, root, flags, source, options, &m);
		inode_put(root);
		super_put(sb);
		if (!r && !root_mount)
			root_mount = m;
		return r;
	}
	return -ENODEV;
}
