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
	/* Submounts below `from`, found by their paths. */
	list_each(sub, &mount_list, link)
	{
		struct dentry *d = sub->point, *target = m->root;
		char buf[512], *path;

		if (!d || sub == m || d->mnt != from->mnt)
			continue;
		path = dentry_path(d, from, buf, sizeof(buf));
		if (!path)
			continue;
		for (; d != from && d->parent != d; d = d->parent)
			;
		if (d != from)
			continue;
		dentry_get(target);
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
			mount_bind(sub->root, target, sub->flags, false);
		dentry_put(target);
	}
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
