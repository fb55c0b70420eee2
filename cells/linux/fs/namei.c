/* SPDX-License-Identifier: ISC */
/*
 * Walking paths, and the calls on names: open, mkdir, link, rename ...
 *
 * A walk holds one reference, to where it is. Each component needs search permission on the
 * directory; symbolic links are followed by walking their text from there, at most 40 in
 * all; a mounted-on dentry is replaced by the root that covers it; ".." stops at the
 * caller's root.
 */
#include "cells/linux/inc/vfs.h"
#include <linux/capability.h>

#define LINKS_MAX 40

struct dentry *dentry_up(struct dentry *d);

struct walk {
	struct dentry *at, *root;
	u32 flags;
	int links;
	struct mount *start_mnt;
	struct dentry *start;
};

static void walk_to(struct walk *w, struct dentry *d)
{
	dentry_put(w->at);
	w->at = d;
}

/* Child of dir under name; a reference. Does not cross mounts. */
int dentry_lookup(struct dentry *dir, const char *name, u32 len, struct dentry **out)
{
	struct inode *di = dir->inode, *ino;
	struct dentry *d;
	int r;

	if (!is_dir(di) || !di->ops->lookup)
		return -ENOTDIR;
	if (len > NAME_LEN)
		return -ENAMETOOLONG;
	d = dentry_child(dir, name, len);
	if (d && (d->mounted || (!di->sb->revalidate && d->inode->attr_until > clock_now()))) {
		*out = d;
		return 0;
	}
	r = di->ops->lookup(di, name, len, &ino);
	if (r) {
		if (d) {
			dentry_drop(d);
			dentry_put(d);
		}
		return r;
	}
	if (d && d->inode->ino == ino->ino &&
	    (d->inode->mode & S_IFMT) == (ino->mode & S_IFMT)) {
		inode_put(ino);
		*out = d;
		return 0;
	}
	if (d) {
		dentry_drop(d);
		dentry_put(d);
	}
	d = dentry_child(dir, name, len); /* the lookup may have slept */
	if (d) {
		inode_put(ino);
		*out = d;
		return 0;
	}
	d = dentry_new(dir, name, len, ino);
	if (!d) {
		inode_put(ino);
		return -ENOMEM;
	}
	*out = d;
	return 0;
}

static int walk_string(struct walk *w, const char *path, struct lookup *parent_of,
		       bool last_link);

static void cross_mounts(struct walk *w)
{
	while (w->at->mounted) {
		struct dentry *r = w->at->mounted->root;

		dentry_get(r);
		walk_to(w, r);
	}
}

static int follow_link(struct walk *w, struct dentry *link, struct lookup *parent_of, bool last)
{
	struct inode *ino = link->inode;
	char *text;
	ssize n;
	int r;

	if (++w->links > LINKS_MAX || (w->flags & LOOKUP_NO_SYMLINKS))
		return -ELOOP;
	if (ino->ops->follow) {
		struct dentry *to;

		if (w->flags & (LOOKUP_NO_MAGIC | LOOKUP_BENEATH | LOOKUP_IN_ROOT))
			return -ELOOP;
		r = ino->ops->follow(ino, &to);
		if (!r)
			walk_to(w, to);
		return r;
	}
	text = kalloc(PATH_LEN);
	if (!text)
		return -ENOMEM;
	n = ino->ops->readlink ? ino->ops->readlink(ino, text, PATH_LEN - 1) : -EINVAL;
	if (n >= 0) {
		text[n] = 0;
		r = n ? walk_string(w, text, parent_of, last) : -ENOENT;
	} else {
		r = (int)n;
	}
	kfree(text);
	return r;
}

static int walk_dotdot(struct walk *w)
{
	struct dentry *p;

	if (w->at == w->root || ((w->flags & LOOKUP_BENEATH) && w->at == w->start))
		return (w->flags & LOOKUP_BENEATH) ? -EXDEV : 0;
	p = dentry_up(w->at);
	if ((w->flags & LOOKUP_NO_XDEV) && p->mnt != w->start_mnt)
		return -EXDEV;
	dentry_get(p);
	walk_to(w, p);
	cross_mounts(w);
	return 0;
}

static int walk_component(struct walk *w, const char *name, u32 len, bool follow)
{
	struct dentry *d;
	int r;

	if (len == 1 && name[0] == '.')
		return is_dir(w->at->inode) ? 0 : -ENOTDIR;
	if (len == 2 && name[0] == '.' && name[1] == '.')
		return walk_dotdot(w);
	r = dentry_lookup(w->at, name, len, &d);
	if (r)
		return r;
	if (is_lnk(d->inode) && follow) {
		r = follow_link(w, d, NULL, false);
		dentry_put(d);
		return r;
	}
	walk_to(w, d);
	cross_mounts(w);
	if ((w->flags & LOOKUP_NO_XDEV) && w->at->mnt != w->start_mnt)
		return -EXDEV;
	return 0;
}

static void set_last(struct lookup *lk, const char *name, u32 len, bool slash)
{
	memcpy(lk->last, name, MIN(len, (u32)NAME_LEN));
	lk->last[MIN(len, (u32)NAME_LEN)] = 0;
	lk->last_len = len;
	lk->trailing_slash = slash;
	lk->last_type = len == 1 && name[0] == '.'                     ? LAST_DOT
			: len == 2 && name[0] == '.' && name[1] == '.' ? LAST_DOTDOT
								       : LAST_NORM;
}

/* From w->at along path. parent_of: stop before the last name. */
static int walk_string(struct walk *w, const char *path, struct lookup *parent_of,
		       bool last_link)
{
	if (*path == '/') {
		if (w->flags & LOOKUP_BENEATH)
			return -EXDEV;
		dentry_get(w->root);
		walk_to(w, w->root);
		cross_mounts(w);
	}
	while (*path == '/')
		path++;
	if (!*path && parent_of) {
		parent_of->last_type = LAST_ROOT;
		return 0;
	}
	while (*path) {
		const char *end = path;
		u32 len;
		bool last, slash;
		int r;

		while (*end && *end != '/')
			end++;
		len = (u32)(end - path);
		slash = *end == '/';
		while (*end == '/')
			end++;
		last = !*end;
		if (!is_dir(w->at->inode))
			return -ENOTDIR;
		r = inode_permission(w->at->inode, MAY_EXEC);
		if (r)
			return r;
		if (last && parent_of) {
			if (len > NAME_LEN)
				return -ENAMETOOLONG;
			set_last(parent_of, path, len, slash);
			return 0;
		}
		r = walk_component(w, path, len,
				   !last || slash || (w->flags & LOOKUP_FOLLOW) || last_link);
		if (r)
			return r;
		if (slash && last && !is_dir(w->at->inode))
			return -ENOTDIR;
		path = end;
	}
	return 0;
}

static int walk_start(int dfd, const char *path, u32 flags, struct walk *w)
{
	struct fsctx *fs = current->fs;

	*w = (struct walk){.root = fs->root, .flags = flags};
	if (*path == '/' && !(flags & (LOOKUP_IN_ROOT | LOOKUP_BENEATH))) {
		w->at = fs->root;
		dentry_get(w->at);
	} else if (dfd == AT_FDCWD) {
		w->at = fs->cwd;
		dentry_get(w->at);
	} else {
		struct file *f = fd_get(dfd);

		if (!f)
			return -EBADF;
		w->at = f->dentry;
		dentry_get(w->at);
		file_put(f);
		if (!is_dir(w->at->inode) && *path) {
			dentry_put(w->at);
			return -ENOTDIR;
		}
	}
	w->start = w->at;
	w->start_mnt = w->at->mnt;
	if (flags & LOOKUP_IN_ROOT)
		w->root = w->at;
	return 0;
}

int path_walk(int dfd, const char *path, u32 flags, struct lookup *lk)
{
	struct walk w;
	int r;

	if (!*path && !(flags & LOOKUP_EMPTY))
		return -ENOENT;
	r = walk_start(dfd, path, flags, &w);
	if (r)
		return r;
	r = walk_string(&w, path, flags & LOOKUP_PARENT ? lk : NULL, false);
	if (!r && (flags & LOOKUP_DIRECTORY) && !is_dir(w.at->inode))
		r = -ENOTDIR;
	if (r) {
		dentry_put(w.at);
		return r;
	}
	lk->dentry = w.at;
	return 0;
}

int path_lookup(int dfd, const char *path, u32 flags, struct dentry **out)
{
	struct lookup lk = {0};
	int r = path_walk(dfd, path, flags, &lk);

	*out = lk.dentry;
	return r;
}

int path_in(u64 upath, char **out)
{
	char *buf = kalloc(PATH_LEN);
	ssize n;

	if (!buf)
		return -ENOMEM;
	n = str_in(buf, upath, PATH_LEN);
	if (n < 0) {
		kfree(buf);
		return (int)n;
	}
	*out = buf;
	return 0;
}

int user_path(int dfd, u64 upath, u32 flags, struct dentry **out)
{
	char *path;
	int r;

	if (!upath && (flags & LOOKUP_EMPTY))
		return path_lookup(dfd, "", flags, out);
	r = path_in(upath, &path);
	if (!r) {
		r = path_lookup(dfd, path, flags, out);
		kfree(path);
	}
	return r;
}

int user_path_parent(int dfd, u64 upath, struct lookup *lk)
{
	char *path;
	int r = path_in(upath, &path);

	if (!r) {
		r = path_walk(dfd, path, LOOKUP_PARENT, lk);
		kfree(path);
	}
	return r;
}

/* ---- Rights on directories ---- */
int may_create(struct dentry *dir)
{
	if (mount_readonly(dir))
		return -EROFS;
	if (dir->inode->dead_dir || dir->unlinked)
		return -ENOENT;
	return inode_permission(dir->inode, MAY_WRITE | MAY_EXEC);
}

int may_delete(struct dentry *dir, struct dentry *victim, bool isdir)
{
	struct inode *di = dir->inode;
	int r = may_create(dir);

	if (r)
		return r;
	if ((di->mode & S_ISVTX) && current->cred->fsuid != di->uid &&
	    current->cred->fsuid != victim->inode->uid && !capable(CAP_FOWNER))
		return -EPERM;
	if (isdir && !is_dir(victim->inode))
		return -ENOTDIR;
	if (!isdir && is_dir(victim->inode))
		return -EISDIR;
	if (victim->mounted || victim == victim->mnt->root)
		return -EBUSY;
	return 0;
}

bool mount_readonly(const struct dentry *d)
{
	return d->mnt && (d->mnt->flags & 1);
}

/* ---- Opening ---- */
int file_open_dentry(struct dentry *d, u32 flags, struct file **out)
{
	struct inode *ino = d->inode;
	const struct file_ops *ops = ino->fops;
	static const struct file_ops path_ops;
	struct file *f;
	u32 type = ino->mode & S_IFMT;
	int r = 0;

	if (flags & O_PATH)
		ops = &path_ops;
	else if (type == S_IFCHR && !ops)
		ops = &chrdev_fops;
	else if (type == S_IFIFO)
		ops = &fifo_fops;
	else if (type == S_IFSOCK || type == S_IFBLK)
		return -ENXIO;
	if (!ops) /* through /proc/N/fd to something that has no name of its own */
		return -ENXIO;
	f = file_new(ops, flags & ~(u32)(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC));
	if (!f)
		return -ENFILE;
	f->inode = ino;
	inode_get(ino);
	f->dentry = d;
	dentry_get(d);
	if (!(flags & O_PATH) && ops->open)
		r = ops->open(ino, f);
	f->flags &= ~(u32)O_NOCTTY; /* it meant the opening only */
	if (r) {
		f->ops = &path_ops;
		file_put(f);
		return r;
	}
	if ((flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH)) {
		ino->writers++;
		f->write_counted = true;
	}
	*out = f;
	return 0;
}

static u32 access_of(u32 flags)
{
	u32 acc = flags & O_ACCMODE, m = acc == O_RDONLY   ? MAY_READ
					 : acc == O_WRONLY ? MAY_WRITE
							   : 6;

	return m | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static int open_check(struct dentry *d, u32 flags, bool created)
{
	struct inode *ino = d->inode;
	u32 acc = access_of(flags);
	int r;

	if (flags & O_PATH)
		return (flags & O_DIRECTORY) && !is_dir(ino) ? -ENOTDIR : 0;
	if (is_lnk(ino))
		return -ELOOP;
	if ((flags & O_DIRECTORY) && !is_dir(ino))
		return -ENOTDIR;
	if (is_dir(ino) && (acc & MAY_WRITE))
		return -EISDIR;
	if ((acc & MAY_WRITE) && is_reg(ino) && ino->denywrite)
		return -ETXTBSY;
	if ((acc & MAY_WRITE) && mount_readonly(d) && (is_reg(ino) || is_dir(ino)))
		return -EROFS;
	if (created)
		return 0;
	r = inode_permission(ino, acc);
	if (r)
		return r;
	if ((flags & O_NOATIME) && current->cred->fsuid != ino->uid && !capable(CAP_FOWNER))
		return -EPERM;
	return 0;
}

static int create_last(struct lookup *lk, u32 mode, struct dentry **out)
{
	struct inode *dir = lk->dentry->inode, *ino;
	int r = may_create(lk->dentry);

	if (r)
		return r;
	if (!dir->ops->create)
		return -EACCES;
	r = dir->ops->create(dir, lk->last, lk->last_len, S_IFREG | mode, 0, &ino);
	if (r)
		return r;
	*out = dentry_new(lk->dentry, lk->last, lk->last_len, ino);
	if (!*out) {
		inode_put(ino);
		return -ENOMEM;
	}
	if (NOTIFY_ACTIVE)
		notify_name(lk->dentry, lk->last, 0x100, 0);
	return 0;
}

/* O_CREAT: the last name may be missing, or a link to a missing file. */
static int open_create(int dfd, const char *path, u32 flags, u32 mode, u32 lf,
		       struct dentry **out, bool *created)
{
	struct lookup lk = {0};
	struct dentry *d;
	char *text = NULL;
	int r = path_walk(dfd, path, LOOKUP_PARENT | lf, &lk);

	for (int links = 0; !r; links++) {
		struct walk w;
		ssize n;

		if (lk.last_type != LAST_NORM || lk.trailing_slash) {
			r = -EISDIR;
			break;
		}
		r = dentry_lookup(lk.dentry, lk.last, lk.last_len, &d);
		if (r == -ENOENT) {
			r = create_last(&lk, mode, out);
			if (r == -EEXIST)
				continue;
			*created = r == 0;
			break;
		}
		if (r)
			break;
		if (flags & O_EXCL) {
			dentry_put(d);
			r = -EEXIST;
			break;
		}
		/* A restricted walk resolves the link itself and makes nothing behind it. */
		if (!is_lnk(d->inode) || (flags & O_NOFOLLOW) || d->inode->ops->follow || lf) {
			dentry_put(d);
			r = path_lookup(dfd, path,
					(flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | lf, out);
			break;
		}
		if (!text)
			text = kalloc(PATH_LEN);
		n = text ? d->inode->ops->readlink(d->inode, text, PATH_LEN - 1) : -ENOMEM;
		dentry_put(d);
		if (n < 0 || links > LINKS_MAX) {
			r = n < 0 ? (int)n : -ELOOP;
			break;
		}
		text[n] = 0;
		w = (struct walk){
		    .at = lk.dentry, .root = current->fs->root, .flags = LOOKUP_PARENT};
		lk.dentry = NULL;
		r = walk_string(&w, text, &lk, false);
		lk.dentry = w.at;
		if (!r && lk.last_type == LAST_NORM) {
			struct dentry *e;

			if (!dentry_lookup(lk.dentry, lk.last, lk.last_len, &e)) {
				if (!is_lnk(e->inode)) {
					*out = e;
					break;
				}
				dentry_put(e);
			}
		}
	}
	if (lk.dentry)
		dentry_put(lk.dentry);
	kfree(text);
	return r;
}

static int open_tmpfile(int dfd, const char *path, u32 flags, u32 mode, struct file **out)
{
	struct dentry *dir, *d;
	struct inode *ino;
	int r = path_lookup(dfd, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &dir);

	if (r)
		return r;
	r = may_create(dir);
	if (!r && strcmp(dir->inode->sb->type, "tmpfs"))
		r = -EOPNOTSUPP;
	if (!r) {
		ino = tmpfs_inode(dir->inode->sb,
				  S_IFREG | (mode & ~current->fs->umask & 07777), 0);
		r = ino ? 0 : -ENOMEM;
	}
	if (!r) {
		ino->nlink = 0;
		d = dentry_new(dir, "#tmpfile", 8, ino);
		r = d ? 0 : -ENOMEM;
		if (d) {
			dentry_drop(d);
			r = file_open_dentry(d, flags & ~(u32)O_DIRECTORY, out);
			dentry_put(d);
		}
	}
	dentry_put(dir);
	return r;
}

s64 open_path(int dfd, const char *path, u32 flags, u32 mode, u32 lookup_flags,
	      struct file **out)
{
	struct dentry *d;
	bool created = false, cut;
	int r;

	if ((flags & O_TMPFILE) == O_TMPFILE)
		return open_tmpfile(dfd, path, flags & ~(u32)O_TMPFILE, mode, out);
	if ((flags & O_CREAT) && !(flags & O_PATH)) {
		if (flags & O_DIRECTORY)
			return -EINVAL;
		r = open_create(dfd, path, flags, mode & ~current->fs->umask & 07777,
				lookup_flags & ~LOOKUP_FOLLOW, &d, &created);
	} else {
		if (flags & O_NOFOLLOW)
			lookup_flags &= ~LOOKUP_FOLLOW;
		else
			lookup_flags |= LOOKUP_FOLLOW;
		r = path_lookup(dfd, path, lookup_flags, &d);
	}
	if (r)
		return r;
	r = open_check(d, flags, created);
	if (!r && (flags & O_CREAT) && !(flags & O_PATH) && is_dir(d->inode))
		r = -EISDIR;
	cut = is_reg(d->inode) && (flags & O_TRUNC) && !created && !(flags & O_PATH);
	if (!r && cut)
		r = inode_truncate(d->inode, 0);
	if (!r)
		r = file_open_dentry(d, flags, out);
	if (!r && NOTIFY_ACTIVE && !(flags & O_PATH)) {
		notify_path(d, IN_OPEN_K);
		if (cut)
			notify_dentry(d, IN_MODIFY_K);
	}
	dentry_put(d);
	return r;
}

/* ---- Making and removing names ---- */
static int last_new(int dfd, const char *path, struct lookup *lk, bool dir_ok)
{
	struct dentry *d;
	int r = path_walk(dfd, path, LOOKUP_PARENT, lk);

	if (r)
		return r;
	if (lk->last_type != LAST_NORM) {
		r = -EEXIST;
	} else {
		r = dentry_lookup(lk->dentry, lk->last, lk->last_len, &d);
		if (!r) {
			dentry_put(d);
			r = -EEXIST;
		} else if (r == -ENOENT) {
			r = lk->trailing_slash && !dir_ok ? -ENOENT : may_create(lk->dentry);
		}
	}
	if (r)
		dentry_put(lk->dentry);
	return r;
}

static void made(struct lookup *lk, struct inode *ino, struct dentry **out, u32 extra)
{
	struct dentry *d = dentry_new(lk->dentry, lk->last, lk->last_len, ino);

	if (!d)
		inode_put(ino);
	if (NOTIFY_ACTIVE)
		notify_name(lk->dentry, lk->last, 0x100 | extra, 0);
	if (out)
		*out = d;
	else if (d)
		dentry_put(d);
	dentry_put(lk->dentry);
}

int vfs_mkdir(int dfd, const char *path, u32 mode)
{
	struct lookup lk = {0};
	struct inode *ino, *di;
	int r = last_new(dfd, path, &lk, true);

	if (r)
		return r;
	di = lk.dentry->inode;
	mode = (mode & ~current->fs->umask & 01777) | (di->mode & S_ISGID);
	r = di->ops->mkdir ? di->ops->mkdir(di, lk.last, lk.last_len, S_IFDIR | mode, &ino)
			   : -EPERM;
	if (r)
		dentry_put(lk.dentry);
	else
		made(&lk, ino, NULL, 0x40000000);
	return r;
}

int vfs_mknod(int dfd, const char *path, u32 mode, u64 rdev, struct dentry **out)
{
	struct lookup lk = {0};
	struct inode *ino, *di;
	u32 type = mode & S_IFMT;
	int r;

	if (!type)
		mode |= type = S_IFREG;
	if (type == S_IFDIR)
		return -EPERM;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR &&
	    type != S_IFBLK)
		return -EINVAL;
	r = last_new(dfd, path, &lk, false);
	if (r)
		return r;
	di = lk.dentry->inode;
	if ((type == S_IFCHR || type == S_IFBLK) && !capable(CAP_MKNOD))
		r = -EPERM;
	else
		r = di->ops->create ? di->ops->create(di, lk.last, lk.last_len,
						      mode & ~current->fs->umask, rdev, &ino)
				    : -EPERM;
	if (r)
		dentry_put(lk.dentry);
	else
		made(&lk, ino, out, 0);
	return r;
}

int vfs_symlink(const char *target, int dfd, const char *path)
{
	struct lookup lk = {0};
	struct inode *ino, *di;
	int r;

	if (!*target)
		return -ENOENT;
	r = last_new(dfd, path, &lk, false);
	if (r)
		return r;
	di = lk.dentry->inode;
	r = di->ops->symlink ? di->ops->symlink(di, lk.last, lk.last_len, target, &ino)
			     : -EPERM;
	if (r)
		dentry_put(lk.dentry);
	else
		made(&lk, ino, NULL, 0);
	return r;
}

int vfs_unlink(int dfd, const char *path, bool dir)
{
	struct lookup lk = {0};
	struct dentry *d = NULL;
	struct inode *di, *ino;
	int r = path_walk(dfd, path, LOOKUP_PARENT, &lk);

	if (r)
		return r;
	di = lk.dentry->inode;
	if (lk.last_type != LAST_NORM)
		r = lk.last_type == LAST_DOT      ? (dir ? -EINVAL : -EISDIR)
		    : lk.last_type == LAST_DOTDOT ? (dir ? -ENOTEMPTY : -EISDIR)
						  : (dir ? -EBUSY : -EISDIR);
	else
		r = dentry_lookup(lk.dentry, lk.last, lk.last_len, &d);
	if (!r && lk.trailing_slash && !dir)
		r = is_dir(d->inode) ? -EISDIR : -ENOTDIR;
	if (!r)
		r = may_delete(lk.dentry, d, dir);
	if (!r) {
		ino = d->inode;
		if (dir)
			r = di->ops->rmdir ? di->ops->rmdir(di, lk.last, lk.last_len, ino)
					   : -EPERM;
		else
			r = di->ops->unlink ? di->ops->unlink(di, lk.last, lk.last_len, ino)
					    : -EPERM;
	}
	if (!r) {
		if (NOTIFY_ACTIVE)
			notify_links(d->inode);
		dentry_drop(d);
	}
	if (d)
		dentry_put(d); /* who watches it hears first, if nobody has it open */
	if (!r && NOTIFY_ACTIVE)
		notify_name(lk.dentry, lk.last, 0x200 | (dir ? 0x40000000 : 0), 0);
	dentry_put(lk.dentry);
	return r;
}
