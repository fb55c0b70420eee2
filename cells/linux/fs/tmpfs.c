/* SPDX-License-Identifier: ISC */
/*
 * tmpfs: files in memory. Directories are lists of entries that hold references to their
 * inodes, found through one hash over all directories. Also what memfd, shared anonymous
 * mappings and the first root are made of.
 */
#include "cells/linux/inc/vfs.h"

#define BUCKETS 1024
struct entry {
	struct list hash, link; /* link: in the directory, in order of making */
	struct inode *dir, *ino;
	u64 cookie;
	u32 len;
	char name[];
};
struct dir {
	struct list entries;
	u64 next_cookie;
	u32 count;
	struct inode *parent;
};
struct xattr {
	struct list link;
	u32 size;
	char *name;
	u8 data[];
};
struct tmpfs_node { /* priv of every inode */
	struct dir dir;
	char *target;
	struct list xattrs;
	u32 xattr_bytes;
};

static struct list buckets[BUCKETS];
struct super *shm_super;
static const struct inode_ops tmpfs_ops;
extern const struct file_ops tmpfs_dir_fops, tmpfs_file_fops;
const struct file_ops tmpfs_dir_fops, tmpfs_file_fops;

static struct list *hash_of(const struct inode *dir, const char *name, u32 len)
{
	u64 h = (u64)dir * 0x9e3779b97f4a7c15ull;

	for (u32 i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 0x100000001b3ull;
	return &buckets[(h >> 24) % BUCKETS];
}

static struct tmpfs_node *node(const struct inode *i)
{
	return i->priv;
}

static struct entry *find(struct inode *dir, const char *name, u32 len)
{
	struct entry *e;
	struct list *b = hash_of(dir, name, len);

	list_each(e, b, hash) if (e->dir == dir && e->len == len &&
				  !memcmp(e->name, name, len)) return e;
	return NULL;
}

struct inode *tmpfs_inode(struct super *sb, u32 mode, u64 rdev)
{
	struct inode *i = inode_new(sb, mode);
	struct tmpfs_node *n = i ? kalloc(sizeof(*n)) : NULL;

	if (!n) {
		if (i)
			inode_put(i);
		return NULL;
	}
	i->priv = n;
	i->rdev = rdev;
	i->ops = &tmpfs_ops;
	i->cache_pinned = true;
	list_init(&n->dir.entries);
	n->dir.next_cookie = 3;
	if (is_dir(i))
		i->fops = &tmpfs_dir_fops;
	else if (is_reg(i))
		i->fops = &tmpfs_file_fops;
	return i;
}

static int add(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct entry *e;

	if (find(dir, name, len))
		return -EEXIST;
	e = kalloc(sizeof(*e) + len + 1);
	if (!e)
		return -ENOMEM;
	memcpy(e->name, name, len);
	e->len = len;
	e->dir = dir;
	e->ino = ino;
	e->cookie = node(dir)->dir.next_cookie++;
	inode_get(ino);
	list_add_tail(hash_of(dir, name, len), &e->hash);
	list_add_tail(&node(dir)->dir.entries, &e->link);
	node(dir)->dir.count++;
	inode_touch(dir, ATTR_MTIME | ATTR_CTIME);
	dir->size += 20;
	return 0;
}

static void remove_entry(struct entry *e)
{
	struct inode *ino = e->ino;

	inode_touch(e->dir, ATTR_MTIME | ATTR_CTIME);
	e->dir->size -= 20;
	node(e->dir)->dir.count--;
	list_del(&e->hash);
	list_del(&e->link);
	kfree(e);
	inode_put(ino);
}

static int t_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct entry *e = find(dir, name, len);

	if (!e)
		return -ENOENT;
	inode_get(e->ino);
	*out = e->ino;
	return 0;
}

static int make(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev,
		struct inode **out)
{
	struct inode *i = tmpfs_inode(dir->sb, mode, rdev);
	int r;

	if (!i)
		return -ENOMEM;
	if (dir->mode & S_ISGID)
		i->gid = dir->gid;
	r = add(dir, name, len, i);
	if (r) {
		inode_put(i);
		return r;
	}
	*out = i;
	return 0;
}

static int t_create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev,
		    struct inode **out)
{
	return make(dir, name, len, mode, rdev, out);
}

static int t_mkdir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	int r = make(dir, name, len, mode, 0, out);

	if (!r) {
		(*out)->nlink = 2;
		dir->nlink++;
		node(*out)->dir.parent = dir;
	}
	return r;
}

static int t_symlink(struct inode *dir, const char *name, u32 len, const char *target,
		     struct inode **out)
{
	char *t = kstrdup(target);
	int r;

	if (!t)
		return -ENOMEM;
	r = make(dir, name, len, S_IFLNK | 0777, 0, out);
	if (r) {
		kfree(t);
		return r;
	}
	node(*out)->target = t;
	(*out)->size = strlen(t);
	return 0;
}

static int t_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = add(dir, name, len, ino);

	if (!r) {
		ino->nlink++;
		inode_touch(ino, ATTR_CTIME);
	}
	return r;
}

static int t_unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct entry *e = find(dir, name, len);

	if (!e)
		return -ENOENT;
	e->ino->nlink--;
	inode_touch(e->ino, ATTR_CTIME);
	remove_entry(e);
	return 0;
}

static int t_rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct entry *e = find(dir, name, len);

	if (!e)
		return -ENOENT;
	if (node(e->ino)->dir.count)
		return -ENOTEMPTY;
	e->ino->nlink = 0;
	e->ino->dead_dir = true;
	dir->nlink--;
	remove_entry(e);
	return 0;
}

static int replace_target(struct inode *nd, struct entry *target, bool dir)
{
	if (dir && !is_dir(target->ino))
		return -ENOTDIR;
	if (!dir && is_dir(target->ino))
		return -EISDIR;
	return dir ? t_rmdir(nd, target->name, target->len, target->ino)
		   : t_unlink(nd, target->name, target->len, target->ino);
}

static int t_rename(struct inode *od, const char *on, u32 ol, struct inode *nd, const char *nn,
		    u32 nl, u32 flags)
{
	struct entry *e = find(od, on, ol), *t = find(nd, nn, nl);
	struct inode *ino;
	int r;

	if (!e)
		return -ENOENT;
	if (flags & 2) { /* RENAME_EXCHANGE */
		if (!t)
			return -ENOENT;
		ino = e->ino;
		e->ino = t->ino;
		t->ino = ino;
		return 0;
	}
	if (t && (flags & 1))
		return -EEXIST;
	ino = e->ino;
	if (t) {
		if (t->ino == ino)
			return 0;
		r = replace_target(nd, t, is_dir(ino));
		if (r)
			return r;
	}
	r = add(nd, nn, nl, ino);
	if (r)
		return r;
	remove_entry(find(od, on, ol));
	inode_touch(ino, ATTR_CTIME);
	if (is_dir(ino) && od != nd) {
		od->nlink--;
		nd->nlink++;
		node(ino)->dir.parent = nd;
	}
	return 0;
}

static ssize t_readlink(struct inode *i, char *buf, size_t size)
{
	size_t n = MIN(strlen(node(i)->target), size);

	memcpy(buf, node(i)->target, n);
	return (ssize)n;
}

static int t_setattr(struct inode *i, const struct inode_attr *a)
{
	if ((a->valid & ATTR_SIZE) && i->seals & 6) {
		if ((i->seals & 2 && a->size < i->size) || (i->seals & 4 && a->size > i->size))
			return -EPERM;
	}
	return 0;
}

/* ---- Extended attributes ---- */
static struct xattr *xattr_find(struct inode *i, const char *name)
{
	struct xattr *x;

	list_each(x, &node(i)->xattrs, link) if (!strcmp(x->name, name)) return x;
	return NULL;
}

static ssize t_getxattr(struct inode *i, const char *name, void *buf, size_t size)
{
	struct xattr *x = xattr_find(i, name);

	if (!x)
		return -ENODATA;
	if (!size)
		return x->size;
	if (size < x->size)
		return -ERANGE;
	memcpy(buf, x->data, x->size);
	return x->size;
}

static void xattr_free(struct inode *i, struct xattr *x)
{
	node(i)->xattr_bytes -= x->size;
	list_del(&x->link);
	kfree(x->name);
	kfree(x);
}

static int t_setxattr(struct inode *i, const char *name, const void *buf, size_t size,
		      int flags)
{
	struct xattr *old = xattr_find(i, name), *x;

	if ((flags & 1) && old)
		return -EEXIST;
	if ((flags & 2) && !old)
		return -ENODATA;
	if (node(i)->xattr_bytes + size > 65536)
		return -ENOSPC;
	x = kalloc(sizeof(*x) + size);
	if (!x || !(x->name = kstrdup(name))) {
		kfree(x);
		return -ENOMEM;
	}
	x->size = (u32)size;
	memcpy(x->data, buf, size);
	if (old)
		xattr_free(i, old);
	list_add_tail(&node(i)->xattrs, &x->link);
	node(i)->xattr_bytes += x->size;
	inode_touch(i, ATTR_CTIME);
	return 0;
}

static ssize t_listxattr(struct inode *i, char *buf, size_t size)
{
	struct xattr *x;
	size_t n = 0;

	list_each(x, &node(i)->xattrs, link)
	{
		size_t len = strlen(x->name) + 1;

		if (size) {
			if (n + len > size)
				return -ERANGE;
			memcpy(buf + n, x->name, len);
		}
		n += len;
	}
	return (ssize)n;
}

static int t_removexattr(struct inode *i, const char *name)
{
	struct xattr *x = xattr_find(i, name);

	if (!x)
		return -ENODATA;
	xattr_free(i, x);
	return 0;
}

static void t_evict(struct inode *i)
{
	struct tmpfs_node *n = node(i);

	if (!n)
		return;
	while (!list_empty(&n->dir.entries))
		remove_entry(list_first(&n->dir.entries, struct entry, link));
	while (!list_empty(&n->xattrs))
		xattr_free(i, list_first(&n->xattrs, struct xattr, link));
	kfree(n->target);
	kfree(n);
	i->priv = NULL;
}

static const struct inode_ops tmpfs_ops = {
    .lookup = t_lookup,
    .create = t_create,
    .mkdir = t_mkdir,
    .symlink = t_symlink,
    .link = t_link,
    .unlink = t_unlink,
    .rmdir = t_rmdir,
    .rename = t_rename,
    .readlink = t_readlink,
    .setattr = t_setattr,
    .getxattr = t_getxattr,
    .setxattr = t_setxattr,
    .listxattr = t_listxattr,
    .removexattr = t_removexattr,
    .evict = t_evict,
};

/* ---- Directories ---- */
static int d_readdir(struct file *f, struct dirent_sink *s)
{
	struct inode *i = f->inode;
	struct entry *e;
	struct dentry *up = f->dentry ? f->dentry->parent : NULL;

	if (f->pos == 0) {
		if (s->emit(s, ".", 1, i->ino, S_IFDIR, 1))
			return 0;
		f->pos = 1;
	}
	if (f->pos == 1) {
		if (s->emit(s, "..", 2, up ? up->inode->ino : i->ino, S_IFDIR, 2))
			return 0;
		f->pos = 2;
	}
	list_each(e, &node(i)->dir.entries, link)
	{
		if (e->cookie < f->pos)
			continue;
		if (s->emit(s, e->name, e->len, e->ino->ino, e->ino->mode & S_IFMT,
			    e->cookie + 1))
			return 0;
		f->pos = e->cookie + 1;
	}
	return 0;
}

static s64 d_seek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += (s64)f->pos;
	else if (whence != 0)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static ssize d_read(struct file *f, struct uio *u, u64 *pos)
{
	return -EISDIR;
}

const struct file_ops tmpfs_dir_fops = {.read = d_read, .readdir = d_readdir, .seek = d_seek};

/* Zeros from `from` to `to`, which lie in one page. */
static void zero_part(struct inode *i, u64 from, u64 to)
{
	struct page *p = to > from ? pagecache_find(i, from / PAGE_SIZE) : NULL;

	if (!p)
		return;
	memset((u8 *)page_ptr(p) + (from & (PAGE_SIZE - 1)), 0, to - from);
	page_put(p);
}

/* What the hole covers in part is cleared, whole pages go; it may be as long as a file can be.
 */
static void punch_hole(struct inode *i, u64 off, u64 end)
{
	u64 first = ALIGN_UP(off, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);

	if (first > last) {
		zero_part(i, off, end);
		return;
	}
	zero_part(i, off, first);
	zero_part(i, last, end);
	if (last > first) {
		inode_unmap_range(i, first / PAGE_SIZE, last / PAGE_SIZE - 1, false);
		pagecache_drop(i, first / PAGE_SIZE, last / PAGE_SIZE - 1);
	}
}

static int f_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;

	if (mode & 2) { /* PUNCH_HOLE, always with KEEP_SIZE */
		int r = pagecache_unback(i);

		if (r)
			return r == -ENOMEM ? -ENOSPC : r;
		punch_hole(i, off, off + len);
		return 0;
	}
	if (mode & ~1)
		return -EOPNOTSUPP;
	for (u64 n = off / PAGE_SIZE; n <= (off + len - 1) / PAGE_SIZE; n++) {
		int err = 0;
		struct page *p = pagecache_get(i, n, true, &err);

		if (!p)
			return err == -ENOMEM ? -ENOSPC : err;
		page_put(p);
		if (n % 64 == 63 && sched_breathe() && current->kill_now)
			return -EINTR;
	}
	if (!(mode & 1) && off + len > i->size)
		i->size = off + len;
	return 0;
}

static ssize f_write(struct file *f, struct uio *u, u64 *pos)
{
	u64 size = f->inode->size;

	if (!u->left)
		return 0;
	if (f->inode->seals & (8 | 16))
		return -EPERM;
	if ((f->inode->seals & 4) && *pos + u->left > size) {
		if (*pos >= size)
			return -EPERM;
		u->left = size - *pos; /* what needs no growing */
	}
	return generic_write(f, u, pos);
}

static int f_mmap(struct file *f, struct vma *v)
{
	if ((f->inode->seals & (8 | 16)) && (v->flags & VMA_SHARED)) {
		if (v->prot & 2)
			return -EPERM;
		v->flags &= ~VMA_MAYWRITE;
	}
	v->inode = f->inode;
	return 0;
}

const struct file_ops tmpfs_file_fops = {.read = generic_read,
					 .write = f_write,
					 .seek = generic_seek,
					 .mmap = f_mmap,
					 .fallocate = f_fallocate};

/* ---- Superblocks ---- */
static int t_statfs(struct super *sb, struct statfs_k *st)
{
	u64 max = sb->max_pages ? sb->max_pages : page_total() / 2;

	st->bsize = (s64)PAGE_SIZE;
	st->blocks = max;
	st->bfree = st->bavail = max > sb->pages ? max - sb->pages : 0;
	st->files = 1 << 20;
	st->ffree = (1 << 20) - MIN(sb->next_ino, 1ull << 20);
	return 0;
}

static const struct super_ops tmpfs_sops = {.statfs = t_statfs};

/* The limit in pages, of size= (bytes, rounded up) or nr_blocks=; 0: no number. */
static u64 option_pages(const char *o, u64 fallback)
{
	const char *p = o ? strstr(o, "size") : NULL, *n = o ? strstr(o, "nr_blocks=") : NULL;
	u64 v;

	if (!p && n) {
		n += 10;
		return str_number(&n);
	}
	if (!p)
		return fallback;
	p += 4;
	if (*p++ != '=' || *p < '0' || *p > '9')
		return 0;
	v = str_number(&p);
	if (*p == '%')
		return page_total() * MIN(v, (u64)100) / 100;
	if (*p == 'k' || *p == 'K')
		v <<= 10;
	else if (*p == 'm' || *p == 'M')
		v <<= 20;
	else if (*p == 'g' || *p == 'G')
		v <<= 30;
	return ALIGN_UP(v, PAGE_SIZE) / PAGE_SIZE;
}

static int tmpfs_mount(const char *source, const char *options, struct super **sb,
		       struct inode **root)
{
	struct super *s = super_new("tmpfs", &tmpfs_sops, 0x01021994);
	struct inode *i;
	const char *m = options ? strstr(options, "mode=") : NULL;
	u32 mode = 01777;

	if (!s)
		return -ENOMEM;
	s->max_pages = option_pages(options, page_total() / 2);
	if (!s->max_pages) {
		super_put(s);
		return -EINVAL;
	}
	if (m) {
		mode = 0;
		for (m += 5; *m >= '0' && *m <= '7'; m++)
			mode = mode * 8 + (u32)(*m - '0');
	}
	i = tmpfs_inode(s, S_IFDIR | (mode & 07777), 0);
	if (i)
		i->nlink = 2;
	return super_root(s, i, sb, root);
}

static const struct fs_type tmpfs_type = {"tmpfs", tmpfs_mount, true};
FS_TYPE(tmpfs_type);
static const struct fs_type ramfs_type = {"ramfs", tmpfs_mount, true};
FS_TYPE(ramfs_type);

/* For filesystems that are made on top of this one. */
int tmpfs_make(const char *options, struct super **sb, struct inode **root);
int tmpfs_make(const char *options, struct super **sb, struct inode **root)
{
	return tmpfs_mount("none", options, sb, root);
}

struct inode *shmem_inode(u64 size)
{
	struct inode *i;

	if (!shm_super)
		shm_super = super_new("tmpfs", &tmpfs_sops, 0x01021994);
	i = shm_super ? tmpfs_inode(shm_super, S_IFREG | 0777, 0) : NULL;
	if (i) {
		i->nlink = 0;
		i->size = size;
	}
	return i;
}
