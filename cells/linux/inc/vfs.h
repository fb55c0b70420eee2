/* SPDX-License-Identifier: ISC */
/*
 * Files. A name is a dentry, what it names an inode, an open one a file. Filesystems
 * give tables of operations; fs/namei.c walks, fs/mount.c joins trees, fs/pagecache.c keeps
 * contents in memory.
 *
 * A mount is a tree of dentries of its own: `mnt` says which. A bind mount is a second tree
 * over the same inodes. So a dentry alone tells where one is, and no path needs a pair.
 */
#ifndef LX_VFS_H
#define LX_VFS_H

#include "cells/linux/inc/task.h"
#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <asm/poll.h>

#define PIPEFS_MAGIC 0x50495045u

/* <linux/stat.h> leaves these to the C library where there is one. */
#ifndef S_IFMT
#define S_IFMT   00170000
#define S_IFSOCK 0140000
#define S_IFLNK  0120000
#define S_IFREG  0100000
#define S_IFBLK  0060000
#define S_IFDIR  0040000
#define S_IFCHR  0020000
#define S_IFIFO  0010000
#define S_ISUID  04000
#define S_ISGID  02000
#define S_ISVTX  01000
#endif

#define NAME_LEN 255
#define PATH_LEN 4096
#define FD_LIMIT (1u << 20)

struct file;
struct inode;
struct dentry;
struct mount;
struct mqueue;

/* A transfer: kernel or user memory in pieces. */
struct uio {
	struct iovec_k {
		u64 base, len;
	} * iov;
	u32 count;
	u64 off;  /* into iov[0] */
	u64 left; /* bytes in all */
	bool kernel;
	bool nonblock;
	bool more; /* written: more follows at once, or push() */
};
void uio_kernel(struct uio *u, struct iovec_k *iov, void *buf, u64 n);
void uio_user(struct uio *u, struct iovec_k *iov, u64 buf, u64 n);
int uio_out(struct uio *u, const void *src, u64 n); /* into the caller's memory */
/* uio_out() of f->dir_cache, of which f->dir_gen bytes count. */
int file_text_out(struct file *f, struct uio *u, u64 at, u64 n);
int uio_in(struct uio *u, void *dst, u64 n); /* from it */
int uio_zero(struct uio *u, u64 n);

struct poll_entry;
struct poll_table {
	void (*queue)(struct poll_table *pt, struct waitq *q);
};
static inline void poll_wait(struct poll_table *pt, struct waitq *q)
{
	if (pt && pt->queue)
		pt->queue(pt, q);
}

struct dirent_sink {
	/* 0: go on; else stop. next is the position behind this entry. */
	int (*emit)(struct dirent_sink *s, const char *name, u32 len, u64 ino, u32 type,
		    u64 next);
};

struct file_ops {
	ssize (*read)(struct file *f, struct uio *u, u64 *pos);
	ssize (*write)(struct file *f, struct uio *u, u64 *pos);
	u32 (*poll)(struct file *f, struct poll_table *pt);
	s64 (*ioctl)(struct file *f, u32 cmd, u64 arg);
	int (*open)(struct inode *ino, struct file *f);
	int (*flush)(struct file *f);    /* each close(2); what it returns is close's answer */
	void (*release)(struct file *f); /* the last reference is gone */
	s64 (*seek)(struct file *f, s64 off, int whence);
	int (*readdir)(struct file *f, struct dirent_sink *s);
	int (*mmap)(struct file *f, struct vma *v);
	int (*fsync)(struct file *f, bool data);
	int (*fallocate)(struct file *f, int mode, u64 off, u64 len);
	void (*fdinfo)(struct file *f, char *buf, size_t size);
	int (*lock)(struct file *f, int cmd, void *flock);
	void (*push)(struct file *f); /* what writes with `more` held back */
};

struct inode_attr { /* setattr */
	u32 valid;  /* AT_* below */
	u32 mode, uid, gid;
	u64 size;
	s64 atime, mtime, ctime; /* ns */
};
#define ATTR_MODE  1
#define ATTR_UID   2
#define ATTR_GID   4
#define ATTR_SIZE  8
#define ATTR_ATIME 16
#define ATTR_MTIME 32
#define ATTR_CTIME 64

struct inode_ops {
	/* A new reference to the child in *out, or -ENOENT. */
	int (*lookup)(struct inode *dir, const char *name, u32 len, struct inode **out);
	int (*create)(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev,
		      struct inode **out); /* regular files, fifos, sockets, devices */
	int (*mkdir)(struct inode *dir, const char *name, u32 len, u32 mode,
		     struct inode **out);
	int (*symlink)(struct inode *dir, const char *name, u32 len, const char *target,
		       struct inode **out);
	int (*link)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*unlink)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*rmdir)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*rename)(struct inode *od, const char *on, u32 ol, struct inode *nd,
		      const char *nn, u32 nl, u32 flags);
	ssize (*readlink)(struct inode *ino, char *buf, size_t size);
	/* A link that leads to an object rather than to a path (/proc/N/fd/N). */
	int (*follow)(struct inode *ino, struct dentry **out);
	int (*getattr)(struct inode *ino); /* refresh the fields of the inode */
	int (*setattr)(struct inode *ino, const struct inode_attr *a);
	int (*read_page)(struct inode *ino, struct page *p);
	int (*write_page)(struct inode *ino, struct page *p);
	ssize (*getxattr)(struct inode *ino, const char *name, void *buf, size_t size);
	int (*setxattr)(struct inode *ino, const char *name, const void *buf, size_t size,
			int flags);
	ssize (*listxattr)(struct inode *ino, char *buf, size_t size);
	int (*removexattr)(struct inode *ino, const char *name);
	void (*evict)(struct inode *ino); /* last reference */
	int (*permission)(struct inode *ino, u32 mask);
};

struct super;
struct statfs_k;
struct super_ops {
	int (*statfs)(struct super *sb, struct statfs_k *st);
	int (*sync)(struct super *sb);
	void (*forget)(struct super *sb); /* drop what is cached and clean; may be NULL */
	void (*put)(struct super *sb);
};
struct statfs_k {
	s64 type, bsize;
	u64 blocks, bfree, bavail, files, ffree;
	s32 fsid[2];
	s64 namelen, frsize, flags, spare[4];
};
struct super {
	const char *type;
	const struct super_ops *ops;
	u64 dev;
	u64 magic;
	u64 next_ino;
	u64 pages, max_pages; /* tmpfs: used and allowed */
	u32 refs;
	bool revalidate; /* names may change behind our back */
	void *priv;
	struct list inodes;
};

struct flock_k;
struct inode {
	u32 refs;
	u32 mode;
	u32 uid, gid, nlink;
	u64 ino, rdev, size, blocks;
	s64 atime, mtime, ctime, btime;
	const struct inode_ops *ops;
	const struct file_ops *fops;
	struct super *sb;
	void *priv;
	/* page cache */
	struct page **pages; /* hash by index */
	u32 page_buckets;
	u32 page_count;
	bool cache_pinned; /* the cache is the store (tmpfs): never reclaimed */
	/* Its first `backed` bytes, as far as no page is cached: read-only memory that stays.
	 */
	const u8 *backing;
	u64 backed;
	struct list maps; /* vmas */
	struct list sb_link;
	struct list locks; /* fs/locks.c */
	struct waitq lock_wait;
	struct list watches; /* inotify */
	struct pipe *pipe;   /* fifos */
	void *sock;          /* bound unix socket */
	void *shm;           /* System V segment */
	struct mqueue *queue;
	u32 writers;   /* open for writing */
	u32 denywrite; /* being executed */
	u32 seals;
	u64 attr_until, generation;
	u64 nodeid, nlookup; /* FUSE */
	bool dirty_pages;
	bool dead_dir;
};

struct mount {
	u32 refs;
	u32 id;
	struct dentry *root;
	struct dentry *point; /* where it is mounted; NULL for the root */
	struct mount *parent;
	struct super *sb;
	u32 flags; /* MS_* */
	char *source;
	char *options;
	struct list link;
};

struct dentry {
	u32 refs;
	struct dentry *parent; /* itself for a root; holds a reference */
	struct inode *inode;
	struct mount *mnt;
	struct mount *mounted; /* what covers it */
	struct list children, sibling;
	struct list lru;
	bool unlinked;
	char *name;
	u32 name_len;
	char name_buf[24];
};

struct file {
	u32 refs;
	u32 flags; /* O_* */
	u64 pos;
	const struct file_ops *ops;
	struct inode *inode;
	struct dentry *dentry;
	void *priv;
	u32 owner; /* F_SETOWN: a number of owner_type, set by who had these ids */
	u32 owner_uid, owner_euid;
	u8 owner_type; /* F_OWNER_* */
	u32 sig;
	struct async *async;   /* fs/async.c */
	struct list epolls;    /* epoll items that watch this file */
	u64 ra_next, ra_pages; /* read-ahead */
	u64 fh;                /* FUSE */
	char *dir_cache;
	u64 dir_gen;
	u32 sock_flags;
	bool write_counted;
	bool write_denied; /* it is being executed: counted in the inode */
};

struct fsctx {
	u32 refs, umask;
	struct dentry *root, *cwd;
};

struct fdtable {
	u32 refs;
	u32 size;
	struct file **file;
	u64 *cloexec, *used;
	u32 next_hint;
};

/* fs/fd.c */
struct fdtable *fdtable_new(void);
struct fdtable *fdtable_copy(struct fdtable *old);
void fdtable_put(struct fdtable *t);
void fdtable_close_exec(struct fdtable *t);
/* A reference to the file, or NULL. */
struct file *fd_get(int fd);
/* Lowest free number >= min, or -EMFILE; takes over the reference when >= 0. */
int fd_install(struct file *f, u32 min, bool cloexec);
bool fd_room(void); /* would fd_install find a number? */
int fd_close(int fd);
int fd_replace(int fd, struct file *f, bool cloexec);
struct file *file_new(const struct file_ops *ops, u32 flags);
void file_get(struct file *f);
void file_put(struct file *f);
int fd_install_pair(struct file *a, struct file *b, bool cloexec, int out[2]);

/* fs/inode.c */
struct inode *inode_new(struct super *sb, u32 mode);
void inode_get(struct inode *i);
void inode_put(struct inode *i);
void inode_touch(struct inode *i, u32 which);    /* ATTR_*TIME to now */
int inode_permission(struct inode *i, u32 mask); /* MAY_* */
int inode_setattr(struct inode *i, struct inode_attr *a);
int inode_truncate(struct inode *i, u64 size);
void inode_stat(struct inode *i, struct stat *st);
/* The end of a mount: with a root it is done, without one s goes again (-ENOMEM). */
int super_root(struct super *s, struct inode *root, struct super **sb, struct inode **out);
struct super *super_new(const char *type, const struct super_ops *ops, u64 magic);
void super_put(struct super *sb);
u64 anon_dev(void);
/* A file on an inode of no filesystem (pipe, socket, eventfd ...); "[name]". */
struct file *anon_file(const char *name, const struct file_ops *ops, void *priv, u32 flags,
		       u32 mode);
#define MAY_EXEC  1
#define MAY_WRITE 2
#define MAY_READ  4

/* fs/dcache.c */
struct dentry *dentry_new(struct dentry *parent, const char *name, u32 len, struct inode *ino);
void dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
struct dentry *dentry_child(struct dentry *d, const char *name, u32 len);
void dentry_drop(struct dentry *d); /* forget the name, it is gone */
/* Path from root (or the caller's root) into buf; returns start within buf or NULL. */
char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size);
void dcache_trim(u32 keep);
extern u32 dentry_count;

/* fs/namei.c */
#define LOOKUP_FOLLOW      1u
#define LOOKUP_DIRECTORY   2u
#define LOOKUP_PARENT      4u /* stop at the directory that holds the last name */
#define LOOKUP_EMPTY       8u
#define LOOKUP_NO_SYMLINKS 16u
#define LOOKUP_BENEATH     32u
#define LOOKUP_IN_ROOT     64u
#define LOOKUP_NO_XDEV     128u
#define LOOKUP_NO_MAGIC    256u
struct lookup {
	struct dentry *dentry; /* result (or parent), referenced */
	char last[NAME_LEN + 1];
	u32 last_len;
	bool trailing_slash;
	u8 last_type; /* LAST_* */
};
enum {
	LAST_NORM,
	LAST_ROOT,
	LAST_DOT,
	LAST_DOTDOT
};
int path_walk(int dfd, const char *path, u32 flags, struct lookup *lk);
int path_lookup(int dfd, const char *path, u32 flags, struct dentry **out);
int user_path(int dfd, u64 upath, u32 flags, struct dentry **out);
int user_path_parent(int dfd, u64 upath, struct lookup *lk);
/* The path string from user space in a kalloc'ed buffer. */
int path_in(u64 upath, char **out);
int dentry_lookup(struct dentry *dir, const char *name, u32 len, struct dentry **out);
s64 open_path(int dfd, const char *path, u32 flags, u32 mode, u32 lookup_flags,
	      struct file **out);
int file_open_dentry(struct dentry *d, u32 flags, struct file **out);
int may_create(struct dentry *dir);
int may_delete(struct dentry *dir, struct dentry *victim, bool isdir);
int vfs_mkdir(int dfd, const char *path, u32 mode);
int vfs_mknod(int dfd, const char *path, u32 mode, u64 rdev, struct dentry **out);
int vfs_symlink(const char *target, int dfd, const char *path);
int vfs_unlink(int dfd, const char *path, bool dir);

/* fs/mount.c */
extern struct mount *root_mount;
extern struct list mount_list;
int mount_at(struct dentry *point, struct super *sb, struct inode *root, u32 flags,
	     const char *source, const char *options, struct mount **out);
/* Writes back, or drops what is cached and clean of, all file systems. */
void mounts_sync(bool forget);
int mount_bind(struct dentry *from, struct dentry *point, u32 flags, bool recursive);
int mount_unmount(struct dentry *root, u32 flags);
struct fs_type {
	const char *name;
	/* A new superblock and its root inode (a reference each). */
	int (*mount)(const char *source, const char *options, struct super **sb,
		     struct inode **root);
	bool nodev;
};
int mount_type(const char *type, const char *source, struct dentry *point, u32 flags,
	       const char *options);
#define FS_TYPE(ident)                                \
	static const struct fs_type *const fs_##ident \
	    __attribute__((used, section("set_filesystems"))) = &ident
bool mount_readonly(const struct dentry *d);

/* fs/pagecache.c */
struct page *pagecache_find(struct inode *i, u64 index);
/* The page, read if need be; referenced. NULL with *err. */
struct page *pagecache_get(struct inode *i, u64 index, bool create, int *err);
/* The page of that byte as a reader would see it, referenced; NULL at a hole, the end or *err.
 */
struct page *pagecache_lend(struct inode *i, u64 pos, int *err);
void pagecache_drop(struct inode *i, u64 first, u64 last);
void pagecache_truncate(struct inode *i, u64 size);
int pagecache_sync(struct inode *i);
void page_mark_dirty(struct page *p);
ssize generic_read(struct file *f, struct uio *u, u64 *pos);
ssize generic_write(struct file *f, struct uio *u, u64 *pos);
s64 generic_seek(struct file *f, s64 off, int whence);

/* tmpfs, also for memfd and shared anonymous memory */
extern struct super *shm_super;
struct inode *tmpfs_inode(struct super *sb, u32 mode, u64 rdev);
struct inode *shmem_inode(u64 size);
/* An empty file gets its contents from there: page by page, when they are wanted. */
void pagecache_back(struct inode *i, const u8 *data, u64 size);
/* Nothing of it is cached, nor backed, from now on. */
void pagecache_release(struct inode *i);
/* All of it into pages; 0 or -ENOMEM, -ENOSPC. */
int pagecache_unback(struct inode *i);
/* Where an archive comes from: all n bytes, or false at its end. */
struct tar_source {
	bool (*read)(struct tar_source *s, void *buf, u32 n);
	/* The next n bytes, passed over, where they lie for good; NULL at the end. May be
	 * absent. */
	const u8 *(*borrow)(struct tar_source *s, u64 n);
};
int tar_unpack_from(struct tar_source *src, const char *where);
int tar_unpack(const u8 *data, size_t size, const char *where);

/* Device nodes: by number. */
struct char_dev {
	u32 major, minor, minors;
	const char *name;
	u32 mode;
	const struct file_ops *fops;
};
#define CHAR_DEV(ident)                                  \
	static const struct char_dev *const cdev_##ident \
	    __attribute__((used, section("set_chardevs"))) = &ident
const struct char_dev *chrdev_find(u64 rdev);
extern const struct file_ops chrdev_fops, fifo_fops;
#define MKDEV(ma, mi) (((u64)((ma)&0xfff) << 8) | ((mi)&0xff) | ((u64)((mi) & ~0xffu) << 12))
#define DEV_MAJOR(d)  ((u32)(((d) >> 8) & 0xfff))
#define DEV_MINOR(d)  ((u32)(((d)&0xff) | (((d) >> 12) & 0xfff00)))

/* fs/inotify.c */
void notify_dentry(struct dentry *d, u32 mask); /* the file and its directory */
void notify_name(struct dentry *dir, const char *name, u32 mask, u32 cookie);
/* The same for what happens through an open file: IN_EXCL_UNLINK leaves it out without a name.
 */
void notify_path(struct dentry *d, u32 mask);
void notify_links(struct inode *i); /* one name more, or less */
#define IN_ACCESS_K 1u
#define IN_MODIFY_K 2u
#define IN_ATTRIB_K 4u
#define IN_OPEN_K   32u
void notify_inode_gone(struct inode *i);
#define NOTIFY_ACTIVE (inotify_watches != 0)
extern u32 inotify_watches, inotify_limits[3];

/* fs/async.c: O_ASYNC and who is told */
int file_async(struct file *f, int fd, bool on);
void file_async_end(struct file *f);
s64 file_setown(struct file *f, s32 who); /* a process, or -group */
s32 file_getown(const struct file *f);
s64 file_owner_ex(struct file *f, u64 arg, bool set); /* struct f_owner_ex */
void file_sigurg(struct file *f);                     /* NULL: nobody */

/* fs/epoll.c */
void epoll_file_gone(struct file *f);

/* fs/locks.c */
void locks_release_file(struct file *f);
void locks_release_owner(struct inode *i, void *owner);

/* fs/eventfds.c */
bool file_is_eventfd(const struct file *f);
void eventfd_add(struct file *f, u64 n); /* does not wait */

/* fs/pipe.c */
int pipe_new(struct file *out[2], u32 flags);
extern u32 pipe_max_size;
bool file_is_pipe(struct file *f);

/* helpers for handlers */
ssize file_read_kernel(struct file *f, void *buf, size_t n, u64 pos);
ssize file_write_kernel(struct file *f, const void *buf, size_t n, u64 pos);
static inline bool is_dir(const struct inode *i)
{
	return (i->mode & S_IFMT) == S_IFDIR;
}
static inline bool is_reg(const struct inode *i)
{
	return (i->mode & S_IFMT) == S_IFREG;
}
static inline bool is_lnk(const struct inode *i)
{
	return (i->mode & S_IFMT) == S_IFLNK;
}

#endif
