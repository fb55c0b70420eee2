/* SPDX-License-Identifier: ISC */
/*
 * virtiofs: files of the store cell.
 *
 * The volume has one writer, this cell, so what is cached is right until we change it: the
 * attributes an inode holds are authoritative between the store's time-outs, sizes included.
 * Writes go to the page cache; dirty pages go to the store on fsync, sync, the last close, by
 * the flusher every few seconds, and when they are too many. No file handles are used:
 * every operation goes by node (d0/vfs.h allows fh 0).
 *
 * When the store restarts (fs/fuse_chan.c) nodes keep their numbers, but the new session
 * holds no lookups: an inode remembers the session it was looked up in, forgets only to that
 * one, and is looked up again before its last name may go, so that a file that is open
 * outlives its name as ever. Attributes are asked for anew. The store may have lost what it
 * had taken and not yet synced: files that were written to in the last UNSTABLE_NS have their
 * cached pages written once more.
 *
 * A page that the store refuses (a full volume) is not tried again: whoever writes to, syncs or
 * closes the file next hears of it, once, and as long as the store has no room each write goes
 * there at once and gets its answer.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/counters.h"
#include "cells/linux/inc/fuse.h"

#define BUCKETS     256
#define READ_PAGES  8u
#define UNSTABLE_NS (30 * NS_PER_SEC) /* several times the store's sync interval */

struct fuse_fs {
	struct fuse_conn *conn;
	struct inode *hash[BUCKETS];
	u64 dirty_inodes;
	bool full; /* no room in the store for the last pages: writers wait for its answer */
};
struct fnode {              /* priv of an inode */
	struct inode *next; /* hash chain */
	bool hashed;
	u32 session;        /* of its lookups */
	u64 unstable_until; /* the store may not have on disk what was written */
	int lost; /* why pages did not get to the store; the next who asks hears of it, once */
};

static const struct inode_ops fuse_ops;
static const struct file_ops fuse_fops, fuse_dir_fops;
void pagecache_fill(struct inode *i, u64 index, const void *data, u32 n);
bool pagecache_has(struct inode *i, u64 index);
struct page *pagecache_dirty_after(struct inode *i, u64 index);
void pagecache_redirty(struct inode *i);

static struct fuse_fs *fs_of(const struct inode *i)
{
	return i->sb->priv;
}
struct fuse_conn *fuse_conn_of(const struct inode *i)
{
	return fs_of(i)->conn;
}
static struct fnode *fn(const struct inode *i)
{
	return i->priv;
}

/* Simple wrappers: fixed part plus names. */
static ssize call_x(struct inode *i, u32 op, const void *fixed, u32 flen, const char *n1,
		    u32 l1, const char *n2, u32 l2, void *out, u32 olen, bool *resent)
{
	struct fuse_arg a[5] = {{0}};
	u32 n = 0;

	if (flen)
		a[n++] = (struct fuse_arg){fixed, flen};
	if (n1) {
		a[n++] = (struct fuse_arg){n1, l1};
		a[n++] = (struct fuse_arg){"", 1};
	}
	if (n2) {
		a[n++] = (struct fuse_arg){n2, l2};
		a[n++] = (struct fuse_arg){"", 1};
	}
	return fuse_call_x(fs_of(i)->conn, op, i->nodeid, a, n, out, olen, resent);
}

static ssize call(struct inode *i, u32 op, const void *fixed, u32 flen, const char *n1, u32 l1,
		  const char *n2, u32 l2, void *out, u32 olen)
{
	bool resent;

	return call_x(i, op, fixed, flen, n1, l1, n2, l2, out, olen, &resent);
}

static void apply_attr(struct inode *i, const struct fuse_attr *a, u64 valid)
{
	i->ino = a->ino;
	i->mode = a->mode;
	i->uid = a->uid;
	i->gid = a->gid;
	i->nlink = a->nlink;
	i->rdev = MKDEV(fuse_rdev_major(a->rdev), fuse_rdev_minor(a->rdev));
	i->blocks = a->blocks;
	if (!i->dirty_pages || i->attr_until == 0) {
		i->size = a->size;
		i->mtime = (s64)(a->mtime * NS_PER_SEC + a->mtimensec);
	}
	i->atime = (s64)(a->atime * NS_PER_SEC + a->atimensec);
	i->ctime = (s64)(a->ctime * NS_PER_SEC + a->ctimensec);
	i->attr_until = deadline_after(MIN(valid, (u64)D0_VFS_VALID_S) * NS_PER_SEC);
}

static struct inode *find_node(struct fuse_fs *fs, u64 node)
{
	struct inode *i = fs->hash[node % BUCKETS];

	while (i && i->nodeid != node)
		i = fn(i)->next;
	return i;
}

/* The inode of an entry reply: one reference more, one lookup counted. */
static int entry_inode(struct super *sb, const struct fuse_entry_out *e, struct inode **out)
{
	struct fuse_fs *fs = sb->priv;
	struct inode *i;

	if (!e->nodeid)
		return -ENOENT;
	i = find_node(fs, e->nodeid);
	if (i) {
		inode_get(i);
		if (fn(i)->session != fuse_session(fs->conn)) {
			fn(i)->session = fuse_session(fs->conn);
			i->nlookup = 0;
		}
		i->nlookup++;
		apply_attr(i, &e->attr, e->attr_valid);
		*out = i;
		return 0;
	}
	i = inode_new(sb, e->attr.mode);
	if (!i || !(i->priv = kalloc(sizeof(struct fnode)))) {
		if (i)
			inode_put(i);
		return -ENOMEM;
	}
	i->nodeid = e->nodeid;
	i->nlookup = 1;
	fn(i)->session = fuse_session(fs->conn);
	i->ops = &fuse_ops;
	apply_attr(i, &e->attr, e->attr_valid);
	i->fops = is_dir(i) ? &fuse_dir_fops : is_reg(i) ? &fuse_fops : NULL;
	fn(i)->next = fs->hash[e->nodeid % BUCKETS];
	fn(i)->hashed = true;
	fs->hash[e->nodeid % BUCKETS] = i;
	*out = i;
	return 0;
}

static int entry_call(struct inode *dir, u32 op, const void *fixed, u32 flen, const char *n1,
		      u32 l1, const char *n2, u32 l2, struct inode **out)
{
	struct fuse_entry_out e;
	bool resent;
	ssize n = call_x(dir, op, fixed, flen, n1, l1, n2, l2, &e, sizeof(e), &resent);

	/* It was made the first time, and only the answer was lost. */
	if (n == -EEXIST && resent)
		n = call(dir, FUSE_LOOKUP, NULL, 0, n1, l1, NULL, 0, &e, sizeof(e));
	if (n < 0)
		return (int)n;
	return n == sizeof(e) ? entry_inode(dir->sb, &e, out) : -EIO;
}

static void dir_changed(struct inode *dir)
{
	dir->attr_until = 0;
	inode_touch(dir, ATTR_MTIME | ATTR_CTIME);
}

static int f_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	return entry_call(dir, FUSE_LOOKUP, NULL, 0, name, len, NULL, 0, out);
}

static int f_create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev,
		    struct inode **out)
{
	struct fuse_mknod_in in = {.mode = mode,
				   .rdev = fuse_rdev(DEV_MAJOR(rdev), DEV_MINOR(rdev))};

	dir_changed(dir);
	return entry_call(dir, FUSE_MKNOD, &in, sizeof(in), name, len, NULL, 0, out);
}

static int f_mkdir(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out)
{
	struct fuse_mkdir_in in = {.mode = mode};

	dir_changed(dir);
	return entry_call(dir, FUSE_MKDIR, &in, sizeof(in), name, len, NULL, 0, out);
}

static int f_symlink(struct inode *dir, const char *name, u32 len, const char *target,
		     struct inode **out)
{
	dir_changed(dir);
	return entry_call(dir, FUSE_SYMLINK, NULL, 0, name, len, target, (u32)strlen(target),
			  out);
}

static int f_link(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	struct fuse_link_in in = {ino->nodeid};
	struct inode *same = NULL;
	int r = entry_call(dir, FUSE_LINK, &in, sizeof(in), name, len, NULL, 0, &same);

	dir_changed(dir);
	if (!r)
		inode_put(same);
	return r;
}

/* The store shall keep what this name stands for: nothing, or what an earlier session held. */
static void hold_again(struct inode *dir, const char *name, u32 len)
{
	struct inode *i;

	if (f_lookup(dir, name, len, &i) == 0)
		inode_put(i);
}

static int remove_name(struct inode *dir, u32 op, const char *name, u32 len, struct inode *ino)
{
	bool resent;
	ssize n;

	if (fn(ino) && fn(ino)->session != fuse_session(fs_of(dir)->conn))
		hold_again(dir, name, len);
	n = call_x(dir, op, NULL, 0, name, len, NULL, 0, NULL, 0, &resent);
	dir_changed(dir);
	return n == -ENOENT && resent ? 0 : (int)n;
}

static int f_unlink(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = remove_name(dir, FUSE_UNLINK, name, len, ino);

	if (!r && ino->nlink)
		ino->nlink--;
	return r;
}

static int f_rmdir(struct inode *dir, const char *name, u32 len, struct inode *ino)
{
	int r = remove_name(dir, FUSE_RMDIR, name, len, ino);

	if (!r) {
		ino->nlink = 0;
		ino->dead_dir = true;
	}
	return r;
}

/* The node behind a name, 0 if there is none. */
static u64 node_of(struct inode *dir, const char *name, u32 len)
{
	struct inode *i;
	u64 node = 0;

	if (f_lookup(dir, name, len, &i) == 0) {
		node = i->nodeid;
		inode_put(i);
	}
	return node;
}

/* Done twice it would be undone: look which of the two happened. */
static int exchange(struct inode *od, const char *on, u32 ol, struct inode *nd, const char *nn,
		    u32 nl)
{
	struct fuse_rename2_in in = {.newdir = nd->nodeid, .flags = 2 /* RENAME_EXCHANGE */};
	struct fuse_arg a[5] = {{&in, sizeof(in)}, {on, ol}, {"", 1}, {nn, nl}, {"", 1}};
	u64 before = node_of(od, on, ol);
	ssize n;

	do {
		n = fuse_call_once(fs_of(od)->conn, FUSE_RENAME2, od->nodeid, a, 5, NULL, 0);
		if (n == -ERESTARTNOINTR && node_of(od, on, ol) != before)
			n = 0;
	} while (n == -ERESTARTNOINTR);
	return (int)n;
}

static int f_rename(struct inode *od, const char *on, u32 ol, struct inode *nd, const char *nn,
		    u32 nl, u32 flags)
{
	struct fuse_rename2_in in = {.newdir = nd->nodeid, .flags = flags};
	bool resent, noreplace = flags & 1;
	u64 moved = 0;
	ssize n;

	dir_changed(od);
	dir_changed(nd);
	if (flags & 2)
		return exchange(od, on, ol, nd, nn, nl);
	if (fuse_session(fs_of(od)->conn) > 1) {
		hold_again(nd, nn, nl);
		moved = node_of(od, on, ol);
	}
	n = call_x(od, FUSE_RENAME2, &in, sizeof(in), on, ol, nn, nl, NULL, 0, &resent);
	if (resent && (n == -ENOENT || (noreplace && n == -EEXIST)) && !node_of(od, on, ol) &&
	    (moved ? node_of(nd, nn, nl) == moved : node_of(nd, nn, nl) != 0))
		n = 0;
	return (int)n;
}

static ssize f_readlink(struct inode *i, char *buf, size_t size)
{
	return call(i, FUSE_READLINK, NULL, 0, NULL, 0, NULL, 0, buf, (u32)size);
}

static int f_getattr(struct inode *i)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out o;
	ssize n;

	if (i->attr_until > clock_now() || i->dirty_pages)
		return 0;
	n = call(i, FUSE_GETATTR, &in, sizeof(in), NULL, 0, NULL, 0, &o, sizeof(o));
	if (n == sizeof(o))
		apply_attr(i, &o.attr, o.attr_valid);
	return n < 0 ? (int)n : 0;
}

static int f_setattr(struct inode *i, const struct inode_attr *a)
{
	struct fuse_setattr_in in = {.mode = (i->mode & S_IFMT) | (a->mode & 07777),
				     .uid = a->uid,
				     .gid = a->gid,
				     .size = a->size,
				     .atime = (u64)(a->atime / (s64)NS_PER_SEC),
				     .mtime = (u64)(a->mtime / (s64)NS_PER_SEC),
				     .atimensec = (u32)(a->atime % (s64)NS_PER_SEC),
				     .mtimensec = (u32)(a->mtime % (s64)NS_PER_SEC)};
	struct fuse_attr_out o;
	ssize n;

	_Static_assert(ATTR_MODE == FATTR_MODE && ATTR_UID == FATTR_UID &&
			   ATTR_GID == FATTR_GID && ATTR_SIZE == FATTR_SIZE &&
			   ATTR_ATIME == FATTR_ATIME && ATTR_MTIME == FATTR_MTIME,
		       "attribute bits are FUSE's");
	in.valid = a->valid & 0x3f;
	/* What was written before must not arrive after a change of size or time. */
	if (a->valid & (ATTR_SIZE | ATTR_MTIME))
		pagecache_sync(i);
	n = call(i, FUSE_SETATTR, &in, sizeof(in), NULL, 0, NULL, 0, &o, sizeof(o));
	if (n == sizeof(o) && !(a->valid & ATTR_SIZE))
		apply_attr(i, &o.attr, o.attr_valid);
	return n < 0 ? (int)n : 0;
}

/* ---- Pages ---- */
static int f_read_page(struct inode *i, struct page *p)
{
	struct fuse_fs *fs = fs_of(i);
	struct fuse_read_in in = {.offset = p->index * PAGE_SIZE};
	u64 last = i->size ? (i->size - 1) / PAGE_SIZE : 0;
	u32 pages = 1, room = fuse_max_data(fs->conn) / (u32)PAGE_SIZE;
	u64 index = p->index;
	u8 *buf;
	ssize n;

	while (pages < MIN(READ_PAGES, room) && index + pages <= last &&
	       !pagecache_has(i, index + pages))
		pages++;
	in.size = pages * (u32)PAGE_SIZE;
	buf = pages > 1 ? kalloc(in.size) : NULL;
	if (!buf) {
		in.size = (u32)PAGE_SIZE;
		n = call(i, FUSE_READ, &in, sizeof(in), NULL, 0, NULL, 0, page_ptr(p), in.size);
		count_add(COUNT_FS_READ, n < 0 ? 0 : (u64)n);
		return n < 0 ? (int)n : 0;
	}
	n = call(i, FUSE_READ, &in, sizeof(in), NULL, 0, NULL, 0, buf, in.size);
	if (n >= 0) {
		count_add(COUNT_FS_READ, (u64)n);
		memcpy(page_ptr(p), buf, MIN((u64)n, PAGE_SIZE));
		for (u32 k = 1; k < pages && (u64)n > k * PAGE_SIZE; k++)
			pagecache_fill(i, index + k, buf + k * PAGE_SIZE,
				       (u32)MIN((u64)n - k * PAGE_SIZE, PAGE_SIZE));
	}
	kfree(buf);
	return n < 0 ? (int)n : 0;
}

static int f_write_page(struct inode *i, struct page *p)
{
	struct fuse_write_in in = {.offset = p->index * PAGE_SIZE};
	struct fuse_arg a[2] = {{&in, sizeof(in)}, {page_ptr(p), 0}};
	struct fuse_write_out o;
	u64 index = p->index;
	u32 room = fuse_max_data(fs_of(i)->conn) / (u32)PAGE_SIZE, pages = 1;
	u8 *buf = NULL;
	struct page *next;
	ssize n;

	if (in.offset >= i->size)
		return 0;
	in.size = (u32)MIN(i->size - in.offset, PAGE_SIZE);
	next = in.size == PAGE_SIZE && room > 1 ? pagecache_dirty_after(i, index) : NULL;
	if (next && (buf = kalloc(MIN(READ_PAGES, room) * PAGE_SIZE))) {
		memcpy(buf, page_ptr(p), PAGE_SIZE);
		while (next) {
			u64 left = i->size - next->index * PAGE_SIZE;

			memcpy(buf + pages * PAGE_SIZE, page_ptr(next), PAGE_SIZE);
			in.size += (u32)MIN(left, PAGE_SIZE);
			pages++;
			page_put(next);
			next = pages < MIN(READ_PAGES, room) && left >= PAGE_SIZE
				   ? pagecache_dirty_after(i, index + pages - 1)
				   : NULL;
		}
		a[1].p = buf;
	} else if (next) {
		next->flags |= PG_DIRTY;
		i->dirty_pages = true;
		page_put(next);
	}
	a[1].len = in.size;
	fn(i)->unstable_until = clock_now() + UNSTABLE_NS;
	n = fuse_call(fs_of(i)->conn, FUSE_WRITE, i->nodeid, a, 2, &o, sizeof(o));
	kfree(buf);
	n = n < 0 ? n : n == sizeof(o) && o.size == in.size ? 0 : -EIO;
	count_add(COUNT_FS_WRITTEN, n ? 0 : in.size);
	fs_of(i)->full = n == -ENOSPC || (n && fs_of(i)->full);
	if (n)
		fn(i)->lost = (int)n;
	return (int)n;
}

static int take_lost(struct inode *i)
{
	int err = fn(i)->lost;

	fn(i)->lost = 0;
	return err;
}

/* ---- Life of an inode ---- */
static void f_evict(struct inode *i)
{
	struct fuse_fs *fs = fs_of(i);
	struct inode **at = &fs->hash[i->nodeid % BUCKETS];
	u32 session;

	if (!i->priv)
		return;
	if (i->nlink)
		pagecache_sync(i);
	if (i->refs > 1 || !i->priv)
		return;
	while (*at && *at != i)
		at = &fn(*at)->next;
	if (*at)
		*at = fn(i)->next;
	session = fn(i)->session;
	kfree(i->priv);
	i->priv = NULL;
	if (session == fuse_session(fs->conn))
		fuse_forget(fs->conn, i->nodeid, i->nlookup);
}

static const struct inode_ops fuse_ops = {
    .lookup = f_lookup,
    .create = f_create,
    .mkdir = f_mkdir,
    .symlink = f_symlink,
    .link = f_link,
    .unlink = f_unlink,
    .rmdir = f_rmdir,
    .rename = f_rename,
    .readlink = f_readlink,
    .getattr = f_getattr,
    .setattr = f_setattr,
    .read_page = f_read_page,
    .write_page = f_write_page,
    .getxattr = fuse_getxattr,
    .setxattr = fuse_setxattr,
    .listxattr = fuse_listxattr,
    .removexattr = fuse_removexattr,
    .evict = f_evict,
};

/* ---- Files ---- */
static ssize f_write(struct file *f, struct uio *u, u64 *pos)
{
	ssize n = generic_write(f, u, pos);
	int err;

	if (fs_of(f->inode)->full || (f->flags & (O_DSYNC | __O_SYNC)))
		pagecache_sync(f->inode);
	err = take_lost(f->inode);
	return err && n > 0 ? err : n;
}

static int f_fsync(struct file *f, bool data)
{
	struct fuse_fsync_in in = {.fsync_flags = data};
	struct inode *i = f->inode;
	u64 unstable;
	bool resent;
	ssize n;

	do {
		int r = pagecache_sync(i), earlier = take_lost(i);

		if (r || earlier)
			return r ? r : earlier;
		unstable = fn(i)->unstable_until;
		/* A store that restarted before it synced wants the data once more. */
		n = call_x(i, is_dir(i) ? FUSE_FSYNCDIR : FUSE_FSYNC, &in, sizeof(in), NULL, 0,
			   NULL, 0, NULL, 0, &resent);
	} while (n >= 0 && resent);
	if (n >= 0 && fn(i)->unstable_until == unstable)
		fn(i)->unstable_until = 0;
	return (int)n;
}

static void f_release(struct file *f)
{
	if (f->write_counted && f->inode->writers == 1)
		pagecache_sync(f->inode);
}

/* The last chance to hear that what was written is nowhere. */
static int f_flush(struct file *f)
{
	if (!f->write_counted || f->refs != 1)
		return 0;
	if (f->inode->writers == 1)
		pagecache_sync(f->inode);
	return take_lost(f->inode);
}

static int f_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	struct fuse_fallocate_in in = {.offset = off, .length = len, .mode = (u32)mode};
	int r;

	pagecache_sync(i);
	r = (int)call(i, FUSE_FALLOCATE, &in, sizeof(in), NULL, 0, NULL, 0, NULL, 0);
	if (!r && !(mode & 1) && off + len > i->size)
		i->size = off + len;
	if (!r && (mode & ~1))
		pagecache_drop(i, off / PAGE_SIZE, (off + len) / PAGE_SIZE);
	return r;
}
/* SEEK_DATA (3) and SEEK_HOLE (4): the server knows, once it has all of the file. */
static s64 f_seek(struct file *f, s64 off, int whence)
{
	struct fuse_lseek_in in = {
	    .offset = (u64)off, .whence = (u32)whence, .padding = D0_VFS_LSEEK_CLEAN};
	struct fuse_lseek_out o;
	ssize n;

	if ((whence != 3 && whence != 4) || off < 0 || pagecache_sync(f->inode))
		return generic_seek(f, off, whence);
	n = call(f->inode, FUSE_LSEEK, &in, sizeof(in), NULL, 0, NULL, 0, &o, sizeof(o));
	if (n == -ENOSYS)
		return generic_seek(f, off, whence);
	if (n < (ssize)sizeof(o) || (s64)o.offset < 0)
		return n < 0 ? n : -EIO;
	f->pos = o.offset;
	return (s64)o.offset;
}

static const struct file_ops fuse_fops = {.read = generic_read,
					  .write = f_write,
					  .seek = f_seek,
					  .fsync = f_fsync,
					  .flush = f_flush,
					  .release = f_release,
					  .fallocate = f_fallocate};

static int f_readdir(struct file *f, struct dirent_sink *s)
{
	u32 room = MIN(16384u, MAX(fuse_max_data(fs_of(f->inode)->conn), 4096u));
	u8 *buf = kalloc(room);
	int r = 0;

	if (!buf)
		return -ENOMEM;
	for (bool more = true; more;) {
		struct fuse_read_in in = {.offset = f->pos, .size = room};
		ssize n =
		    call(f->inode, FUSE_READDIR, &in, sizeof(in), NULL, 0, NULL, 0, buf, room);
		u32 at = 0;

		if (n <= 0) {
			r = (int)n;
			break;
		}
		while (more && (u32)n - at >= sizeof(struct fuse_dirent)) {
			struct fuse_dirent *d = (void *)(buf + at);
			u32 len = d->namelen;

			if (len > NAME_LEN || len > (u32)n - at - sizeof(*d)) {
				r = -EIO;
				more = false;
				break;
			}
			if (s->emit(s, d->name, len, d->ino, d->type << 12, d->off)) {
				more = false;
				break;
			}
			f->pos = d->off;
			at += ALIGN_UP((u32)sizeof(*d) + len, 8u);
			if (at > (u32)n)
				break;
		}
	}
	kfree(buf);
	return r;
}

static s64 f_dirseek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += (s64)f->pos;
	else if (whence)
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}
static ssize f_dirread(struct file *f, struct uio *u, u64 *pos)
{
	return -EISDIR;
}
static const struct file_ops fuse_dir_fops = {
    .read = f_dirread, .readdir = f_readdir, .seek = f_dirseek, .fsync = f_fsync};

/* ---- The filesystem ---- */
static int sync_all(struct super *sb)
{
	struct inode *i;
	bool again = true;
	int r = 0;

	while (again) {
		again = false;
		list_each(i, &sb->inodes, sb_link) if (i->dirty_pages)
		{
			int e;

			inode_get(i);
			e = pagecache_sync(i);
			if (e)
				r = e;
			again = !e;
			inode_put(i);
			break;
		}
	}
	return r;
}

static int fuse_sync(struct super *sb)
{
	struct fuse_fs *fs = sb->priv;
	struct fuse_fsync_in in = {0};
	struct fuse_arg a = {&in, sizeof(in)};
	int r = sync_all(sb);

	fuse_call(fs->conn, FUSE_FSYNCDIR, 1, &a, 1, NULL, 0);
	return r;
}

static int fuse_statfs(struct super *sb, struct statfs_k *st)
{
	struct fuse_fs *fs = sb->priv;
	struct fuse_statfs_out o;
	ssize n = fuse_call(fs->conn, FUSE_STATFS, 1, NULL, 0, &o, sizeof(o));

	if (n < (ssize)sizeof(o))
		return n < 0 ? (int)n : -EIO;
	st->bsize = o.bsize;
	st->frsize = o.frsize ? o.frsize : o.bsize;
	st->blocks = o.blocks;
	st->bfree = o.bfree;
	st->bavail = o.bavail;
	st->files = o.files;
	st->ffree = o.ffree;
	return 0;
}

/* Someone else has changed files: what is cached and clean is asked for again. */
static void fuse_forget_cached(struct super *sb)
{
	struct inode *i;

	sync_all(sb);
	list_each(i, &sb->inodes, sb_link)
	{
		i->attr_until = 0;
		if (is_reg(i) && !i->dirty_pages)
			pagecache_drop(i, 0, NEVER);
	}
}
static const struct super_ops fuse_sops = {
    .statfs = fuse_statfs, .sync = fuse_sync, .forget = fuse_forget_cached};

static void flusher(void *arg)
{
	struct super *sb = arg;

	for (;;) {
		wait_on(NULL, clock_now() + 5 * NS_PER_SEC, false);
		sync_all(sb);
	}
}

/* A new session of the store: what was known of its files is to be asked for again. */
static void renewed(void *arg)
{
	struct super *sb = arg;
	u64 now = clock_now();
	struct inode *i;

	list_each(i, &sb->inodes, sb_link)
	{
		if (!i->priv)
			continue;
		if (fn(i)->unstable_until > now)
			pagecache_redirty(i);
		if (!i->dirty_pages)
			i->attr_until = 0;
	}
}

static int fuse_mount(const char *source, const char *options, struct super **sb,
		      struct inode **root)
{
	s32 ch = channel_find(D0_PROTO_FS, source && *source ? source : NULL);
	struct super *s;
	struct fuse_fs *fs;
	struct fuse_entry_out e = {.nodeid = 1};
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out o;
	struct fuse_arg a = {&in, sizeof(in)};
	ssize n;
	int r = 0;

	if (ch < 0 && source && !strcmp(source, "root"))
		ch = channel_find(D0_PROTO_FS, NULL);
	if (ch < 0)
		return -ENODEV;
	s = super_new("virtiofs", &fuse_sops, 0x65735546);
	fs = s ? kalloc(sizeof(*fs)) : NULL;
	if (!fs)
		return -ENOMEM;
	s->priv = fs;
	fs->conn = fuse_conn_open((u32)ch, &r);
	if (!fs->conn)
		return r;
	n = fuse_call(fs->conn, FUSE_GETATTR, 1, &a, 1, &o, sizeof(o));
	if (n != sizeof(o))
		return n < 0 ? (int)n : -EIO;
	e.attr = o.attr;
	e.attr_valid = o.attr_valid;
	r = entry_inode(s, &e, root);
	if (r)
		return r;
	(*root)->nlookup = 0;
	fuse_on_renewal(fs->conn, renewed, s);
	*sb = s;
	kthread_start(flusher, s, "flush");
	return 0;
}
static const struct fs_type virtiofs_type = {"virtiofs", fuse_mount, true};
FS_TYPE(virtiofs_type);
