/* SPDX-License-Identifier: ISC */
/*
 * /proc. The root and the directories of processes and of their descriptors are made here;
 * the files with generated text come from tables (fs/gen.c, fs/procfiles.c).
 */
#include "cells/linux/inc/gen.h"

extern const struct gen_file proc_root_files[], proc_pid_files[], proc_pid_dir;
extern const u32 proc_root_count, proc_pid_count;

struct pnode {
	u32 tid;
	int fd;
	u8 kind; /* of the links of a process */
};

static u64 parse_num(const char *name, u32 len)
{
	char tmp[12];
	const char *p = tmp;
	u64 n;

	if (!len || len > 10 || name[0] < '0' || name[0] > '9' || (name[0] == '0' && len > 1))
		return NEVER;
	memcpy(tmp, name, len);
	tmp[len] = 0;
	n = str_number(&p);
	return *p ? NEVER : n;
}

static s64 dir_seek(struct file *f, s64 off, int whence)
{
	if (whence > 2)
		return -EINVAL;
	off += whence == 1 ? (s64)f->pos : 0; /* their size is 0 */
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}

static void node_evict(struct inode *i)
{
	kfree(i->priv);
}

static struct inode *node_inode(struct super *sb, u32 mode, u64 ino, u32 tid, int fd, u8 kind,
				const struct inode_ops *ops, const struct file_ops *fops)
{
	struct inode *i = inode_new(sb, mode);
	struct pnode *n = i ? kalloc(sizeof(*n)) : NULL;
	struct thread *t = thread_seen(tid);

	if (!n) {
		if (i)
			inode_put(i);
		return NULL;
	}
	*n = (struct pnode){tid, fd, kind};
	i->ino = ino;
	i->priv = n;
	i->ops = ops;
	i->fops = fops;
	i->uid = t && t->cred ? t->cred->euid : 0;
	i->gid = t && t->cred ? t->cred->egid : 0;
	if (is_dir(i))
		i->nlink = 2;
	return i;
}

/* ---- fd/ and fdinfo/ ---- */
static struct file *fd_of(u32 tid, int fd)
{
	struct thread *t = thread_seen(tid);

	if (!t || !t->files || fd < 0 || (u32)fd >= t->files->size)
		return NULL;
	return t->files->file[fd];
}

/* O_CLOEXEC, which is the descriptor's and not the file's. */
static u32 fd_cloexec(u32 tid, int fd)
{
	struct thread *t = thread_seen(tid);

	return t->files->cloexec[fd / 64] >> fd % 64 & 1 ? O_CLOEXEC : 0;
}

static ssize fd_readlink(struct inode *i, char *buf, size_t size)
{
	struct pnode *n = i->priv;
	struct file *f = fd_of(n->tid, n->fd);
	char *tmp, *p;
	size_t len;

	if (!f)
		return -ENOENT;
	tmp = kalloc(PATH_LEN);
	if (!tmp)
		return -ENOMEM;
	p = dentry_path(f->dentry, current->fs->root, tmp, PATH_LEN);
	len = p ? MIN(strlen(p), size) : 0;
	if (p)
		memcpy(buf, p, len);
	kfree(tmp);
	return p ? (ssize)len : -ENAMETOOLONG;
}

static int fd_follow(struct inode *i, struct dentry **out)
{
	struct pnode *n = i->priv;
	struct file *f = fd_of(n->tid, n->fd);

	if (!f)
		return -ENOENT;
	*out = f->dentry;
	dentry_get(*out);
	return 0;
}
static const struct inode_ops fd_link_ops = {
    .readlink = fd_readlink, .follow = fd_follow, .evict = node_evict};

static ssize fdinfo_read(struct file *f, struct uio *u, u64 *pos)
{
	struct pnode *n = f->inode->priv;
	struct file *o = fd_of(n->tid, n->fd);
	char buf[2048];
	int len;

	if (!o)
		return -ENOENT;
	len = format(buf, sizeof(buf), "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n",
		     o->pos, o->flags | fd_cloexec(n->tid, n->fd),
		     o->dentry->mnt ? o->dentry->mnt->id : 0, o->inode->ino);
	if (o->ops->fdinfo)
		o->ops->fdinfo(o, buf + len, sizeof(buf) - (size_t)len);
	len = (int)strlen(buf);
	if (*pos >= (u64)len)
		return 0;
	len = (int)MIN((u64)len - *pos, u->left);
	if (uio_out(u, buf + *pos, (u64)len))
		return -EFAULT;
	*pos += (u64)len;
	return len;
}
static const struct file_ops fdinfo_fops = {.read = fdinfo_read, .seek = dir_seek};
static const struct inode_ops fdinfo_ops = {.evict = node_evict};

static int fds_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct pnode *n = dir->priv;
	u64 fd = parse_num(name, len);
	struct file *f = fd < FD_LIMIT ? fd_of(n->tid, (int)fd) : NULL;
	u64 ino = ((u64)n->tid << 24) | (u64)(n->kind ? 0x800000 : 0x400000) | fd;

	if (!f)
		return -ENOENT;
	if (n->kind)
		*out = node_inode(dir->sb, S_IFREG | 0444, ino, n->tid, (int)fd, 0, &fdinfo_ops,
				  &fdinfo_fops);
	else
		*out = node_inode(dir->sb, S_IFLNK | 0700, ino, n->tid, (int)fd, 0,
				  &fd_link_ops, NULL);
	if (*out)
		(*out)->size = 64;
	return *out ? 0 : -ENOMEM;
}
static const struct inode_ops fds_ops = {.lookup = fds_lookup, .evict = node_evict};

static int dots(struct file *f, struct dirent_sink *s)
{
	while (f->pos < 2) {
		if (s->emit(s, "..", f->pos ? 2 : 1, f->inode->ino, S_IFDIR, f->pos + 1))
			return 1;
		f->pos++;
	}
	return 0;
}

static int fds_readdir(struct file *f, struct dirent_sink *s)
{
	struct pnode *n = f->inode->priv;
	struct thread *t = thread_seen(n->tid);
	char name[12];

	if (!t || !t->files)
		return -ENOENT;
	if (dots(f, s))
		return 0;
	for (; f->pos - 2 < t->files->size; f->pos++) {
		u64 fd = f->pos - 2;

		if (t->files->file[fd] &&
		    s->emit(s, name, (u32)format(name, sizeof(name), "%lu", fd),
			    ((u64)n->tid << 24) | 0x400000 | fd, n->kind ? S_IFREG : S_IFLNK,
			    f->pos + 1))
			return 0;
	}
	return 0;
}
static const struct file_ops fds_fops = {.readdir = fds_readdir, .seek = dir_seek};

/* ---- exe, cwd, root ---- */
static int link_target(struct pnode *n, struct dentry **d)
{
	struct thread *t = thread_seen(n->tid);

	if (!t || !t->fs)
		return -ENOENT;
	*d = n->kind == 0   ? (t->mm && t->mm->exe ? t->mm->exe->dentry : NULL)
	     : n->kind == 1 ? t->fs->cwd
			    : t->fs->root;
	return *d ? 0 : -ENOENT;
}
static ssize plink_read(struct inode *i, char *buf, size_t size)
{
	struct dentry *d;
	char *tmp, *p;
	ssize r = link_target(i->priv, &d);

	if (r)
		return r;
	tmp = kalloc(PATH_LEN);
	p = tmp ? dentry_path(d, current->fs->root, tmp, PATH_LEN) : NULL;
	r = p ? (ssize)MIN(strlen(p), size) : -ENAMETOOLONG;
	if (p)
		memcpy(buf, p, (size_t)r);
	kfree(tmp);
	return r;
}
static int plink_follow(struct inode *i, struct dentry **out)
{
	int r = link_target(i->priv, out);

	if (!r)
		dentry_get(*out);
	return r;
}
static const struct inode_ops plink_ops = {
    .readlink = plink_read, .follow = plink_follow, .evict = node_evict};
static const char *const plinks[] = {"exe", "cwd", "root"};

/* ---- mem: read and write of an address space ---- */
static ssize mem_copy(struct mm *mm, struct uio *u, u64 *pos, bool write)
{
	u8 buf[256];
	ssize done = 0;

	while (u->left) {
		u64 want = MIN(u->left, sizeof(buf)), got;

		if (write && uio_in(u, buf, want))
			return done ? done : -EFAULT;
		got = mm_access(mm, *pos, buf, want, write);
		if (!got)
			return done ? done : -EIO;
		if (!write && uio_out(u, buf, got))
			return -EFAULT;
		*pos += got;
		done += (ssize)got;
	}
	return done;
}

static ssize mem_rw(struct file *f, struct uio *u, u64 *pos, bool write)
{
	struct pnode *n = f->inode->priv;
	struct thread *t = thread_seen(n->tid);
	struct mm *mm = t ? t->mm : NULL;
	ssize r;

	/* The memory it was opened for, not that of a later execve. */
	if (!mm || mm->serial != (u64)f->priv)
		return 0;
	mm_get(mm); /* copying may sleep, and the thread end */
	r = mem_copy(mm, u, pos, write);
	mm_put(mm);
	return r;
}
static ssize mem_read(struct file *f, struct uio *u, u64 *pos)
{
	return mem_rw(f, u, pos, false);
}
static ssize mem_write(struct file *f, struct uio *u, u64 *pos)
{
	return mem_rw(f, u, pos, true);
}
static int mem_open(struct inode *i, struct file *f)
{
	struct pnode *n = i->priv;
	struct thread *t = thread_seen(n->tid);

	if (!t || !t->mm)
		return -EACCES;
	if (t->proc != current->proc && !capable(19))
		return -EACCES;
	f->priv = (void *)t->mm->serial;
	return 0;
}
static const struct file_ops mem_fops = {
    .open = mem_open, .read = mem_read, .write = mem_write, .seek = dir_seek};

/* ---- /proc/N ---- */
static const struct inode_ops pid_ops, task_ops;
static const struct file_ops pid_fops, task_fops;

static int pid_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct pnode *n = dir->priv;
	u64 base = (u64)n->tid << 24;

	if (!thread_seen(n->tid))
		return -ENOENT;
	*out = NULL;
	for (u32 i = 0; i < proc_pid_count; i++)
		if (strlen(proc_pid_files[i].name) == len &&
		    (n->kind || proc_pid_files[i].arg != GEN_TASK_ONLY) &&
		    !memcmp(proc_pid_files[i].name, name, len)) {
			*out = gen_inode(dir->sb, &proc_pid_files[i], base | (100 + i), n->tid);
			return *out ? 0 : -ENOMEM;
		}
	for (u32 i = 0; i < ARRAY_SIZE(plinks); i++)
		if (strlen(plinks[i]) == len && !memcmp(plinks[i], name, len))
			*out = node_inode(dir->sb, S_IFLNK | 0777, base | (10 + i), n->tid, 0,
					  i, &plink_ops, NULL);
	if (len == 2 && !memcmp(name, "fd", 2))
		*out = node_inode(dir->sb, S_IFDIR | 0500, base | 2, n->tid, 0, 0, &fds_ops,
				  &fds_fops);
	if (len == 6 && !memcmp(name, "fdinfo", 6))
		*out = node_inode(dir->sb, S_IFDIR | 0555, base | 3, n->tid, 0, 1, &fds_ops,
				  &fds_fops);
	if (len == 4 && !memcmp(name, "task", 4) && !n->kind)
		*out = node_inode(dir->sb, S_IFDIR | 0555, base | 4, n->tid, 0, 0, &task_ops,
				  &task_fops);
	if (len == 3 && !memcmp(name, "mem", 3))
		*out = node_inode(dir->sb, S_IFREG | 0600, base | 5, n->tid, 0, 0, &fdinfo_ops,
				  &mem_fops);
	return *out ? 0 : -ENOENT;
}
static const struct inode_ops pid_ops = {.lookup = pid_lookup, .evict = node_evict};

static int pid_readdir(struct file *f, struct dirent_sink *s)
{
	static const char *const extra[] = {"exe",    "cwd",  "root", "fd",
					    "fdinfo", "task", "mem"};

	enum {
		TASK_DIR = 5
	};

	if (dots(f, s))
		return 0;
	for (; f->pos - 2 < ARRAY_SIZE(extra) + proc_pid_count; f->pos++) {
		u64 i = f->pos - 2;
		const struct gen_file *g =
		    i < ARRAY_SIZE(extra) ? NULL : &proc_pid_files[i - ARRAY_SIZE(extra)];
		const char *name = g ? g->name : extra[i];
		const struct pnode *n = f->inode->priv;

		if (g ? g->arg == GEN_TASK_ONLY && !n->kind : i == TASK_DIR && n->kind)
			continue;

		if (s->emit(s, name, (u32)strlen(name), f->inode->ino + i + 10,
			    g       ? g->mode & S_IFMT
			    : i < 3 ? S_IFLNK
				    : S_IFDIR,
			    f->pos + 1))
			return 0;
	}
	return 0;
}
static const struct file_ops pid_fops = {.readdir = pid_readdir, .seek = dir_seek};

static int task_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct pnode *n = dir->priv;
	u64 tid = parse_num(name, len);
	struct thread *t = tid != NEVER ? thread_seen((u32)tid) : NULL,
		      *o = thread_seen(n->tid);

	if (!t || !o || t->proc != o->proc)
		return -ENOENT;
	*out = node_inode(dir->sb, S_IFDIR | 0555, ((u64)tid << 24) | 1, (u32)tid, 0, 1,
			  &pid_ops, &pid_fops);
	return *out ? 0 : -ENOMEM;
}
static const struct inode_ops task_ops = {.lookup = task_lookup, .evict = node_evict};

static int task_readdir(struct file *f, struct dirent_sink *s)
{
	struct pnode *n = f->inode->priv;
	struct thread *o = thread_seen(n->tid), *t;
	char name[12];

	if (!o)
		return -ENOENT;
	if (dots(f, s))
		return 0;
	list_each(t, &o->proc->threads, proc_link)
	{
		if (t->tid + 2ull < f->pos)
			continue;
		if (s->emit(s, name, (u32)format(name, sizeof(name), "%u", t->tid),
			    ((u64)t->tid << 24) | 1, S_IFDIR, t->tid + 3ull))
			return 0;
		f->pos = t->tid + 3ull;
	}
	return 0;
}
static const struct file_ops task_fops = {.readdir = task_readdir, .seek = dir_seek};

/* ---- /proc ---- */
static ssize self_readlink(struct inode *i, char *buf, size_t size)
{
	struct pnode *n = i->priv;

	if (!current->proc)
		return -ENOENT;
	return n->kind ? format(buf, size, "%u/task/%u", current->proc->pid, current->tid)
		       : format(buf, size, "%u", current->proc->pid);
}
static const struct inode_ops self_ops = {.readlink = self_readlink, .evict = node_evict};

static int root_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	u64 pid = parse_num(name, len);

	*out = NULL;
	if (pid != NEVER) {
		if (!thread_seen((u32)pid)) /* threads too, though nobody lists them here */
			return -ENOENT;
		*out = node_inode(dir->sb, S_IFDIR | 0555, (pid << 24) | 1, (u32)pid, 0, 0,
				  &pid_ops, &pid_fops);
		return *out ? 0 : -ENOMEM;
	}
	if (len == 4 && !memcmp(name, "self", 4))
		*out = node_inode(dir->sb, S_IFLNK | 0777, 2, 0, 0, 0, &self_ops, NULL);
	if (len == 11 && !memcmp(name, "thread-self", 11))
		*out = node_inode(dir->sb, S_IFLNK | 0777, 3, 0, 0, 1, &self_ops, NULL);
	for (u32 i = 0; i < proc_root_count && !*out; i++)
		if (strlen(proc_root_files[i].name) == len &&
		    !memcmp(proc_root_files[i].name, name, len))
			*out = gen_inode(dir->sb, &proc_root_files[i], 100 + i, 0);
	return *out ? 0 : -ENOENT;
}
static const struct inode_ops root_ops = {.lookup = root_lookup, .evict = node_evict};

static int root_readdir(struct file *f, struct dirent_sink *s)
{
	u64 fixed = proc_root_count + 4;
	struct proc *p;
	char name[12];

	if (dots(f, s))
		return 0;
	for (; f->pos < fixed; f->pos++) {
		u64 i = f->pos - 2;
		const char *nm = i == 0   ? "self"
				 : i == 1 ? "thread-self"
					  : proc_root_files[i - 2].name;

		if (s->emit(s, nm, (u32)strlen(nm), 2 + i,
			    i < 2 ? S_IFLNK : proc_root_files[i - 2].mode & S_IFMT, f->pos + 1))
			return 0;
	}
	for (u64 next = f->pos - fixed;;) { /* pids in ascending order */
		struct proc *low = NULL;

		list_each(p, &proc_list, all_link) if (p->pid >= next && !p->zombie &&
						       (!low || p->pid < low->pid)) low = p;
		if (!low)
			return 0;
		if (s->emit(s, name, (u32)format(name, sizeof(name), "%u", low->pid),
			    ((u64)low->pid << 24) | 1, S_IFDIR, fixed + low->pid + 1))
			return 0;
		next = low->pid + 1ull;
		f->pos = fixed + next;
	}
}
static const struct file_ops root_fops = {.readdir = root_readdir, .seek = dir_seek};

static int procfs_mount(const char *source, const char *options, struct super **sb,
			struct inode **root)
{
	struct super *s = super_new("proc", NULL, 0x9fa0);

	if (!s)
		return -ENOMEM;
	s->revalidate = true;
	return super_root(s, node_inode(s, S_IFDIR | 0555, 1, 0, 0, 0, &root_ops, &root_fops),
			  sb, root);
}
static const struct fs_type procfs_type = {"proc", procfs_mount, true};
FS_TYPE(procfs_type);
