/* SPDX-License-Identifier: ISC */
/*
 * Generated files. The text is made at the first read (and again when a reader goes back
 * to the start), so that one pass over a file sees one consistent state.
 */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/gen.h"

struct gen_node {
	const struct gen_file *g;
	u32 tid;
	u64 ino;
};

void text_raw(struct text *t, const void *p, u32 n)
{
	if (t->len + n > t->room) {
		u32 room = MAX(t->room * 2, ALIGN_UP(t->len + n, 1024u));
		char *b = room <= 4u << 20 ? kalloc(room) : NULL;

		if (!b) {
			t->failed = true;
			return;
		}
		memcpy(b, t->buf, t->len);
		kfree(t->buf);
		t->buf = b;
		t->room = room;
	}
	memcpy(t->buf + t->len, p, n);
	t->len += n;
}

void text_add(struct text *t, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = format_v(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_raw(t, line, (u32)MIN(n, (int)sizeof(line) - 1));
}

static int make_text(struct file *f)
{
	struct gen_node *n = f->inode->priv;
	struct text t = {0};
	struct thread *th = n->tid ? thread_seen(n->tid) : NULL;

	if (n->tid && !th)
		return -ESRCH;
	if (n->g->make)
		n->g->make(&t, th, n->g);
	else if (n->g->fixed)
		text_raw(&t, n->g->fixed, (u32)strlen(n->g->fixed));
	kfree(f->dir_cache);
	f->dir_cache = t.buf;
	f->dir_gen = t.len;
	return t.failed ? -ENOMEM : 0;
}

static ssize gen_read(struct file *f, struct uio *u, u64 *pos)
{
	u64 n;

	if (*pos == 0 || !f->dir_cache) {
		int r = make_text(f);

		if (r)
			return r;
	}
	if (*pos >= f->dir_gen)
		return 0;
	n = MIN(u->left, f->dir_gen - *pos);
	if (file_text_out(f, u, *pos, n))
		return -EFAULT;
	*pos += n;
	return (ssize)n;
}

static ssize gen_write(struct file *f, struct uio *u, u64 *pos)
{
	struct gen_node *n = f->inode->priv;
	struct thread *th;
	char buf[256];
	u32 len = (u32)MIN(u->left, sizeof(buf) - 1);
	int r;

	if (!n->g->store)
		return -EACCES;
	if (uio_in(u, buf, len))
		return -EFAULT;
	th = n->tid ? thread_seen(n->tid) : NULL; /* only now: copying may sleep */
	if (n->tid && !th)
		return -ESRCH;
	buf[len] = 0;
	r = n->g->store(buf, len, th, n->g);
	return r ? r : (ssize)len;
}

static s64 gen_seek(struct file *f, s64 off, int whence)
{
	if (whence == 1)
		off += (s64)f->pos;
	else if (whence > 2 || (whence == 2 && !is_dir(f->inode)))
		return -EINVAL;
	if (off < 0)
		return -EINVAL;
	f->pos = (u64)off;
	return off;
}
static int gen_open(struct inode *i, struct file *f)
{
	struct gen_node *n = i->priv;
	struct thread *th = n->tid ? thread_seen(n->tid) : NULL;

	if (!n->g->own || !th || !current->proc || th->proc == current->proc || capable(19))
		return 0;
	return th->cred && current->cred->fsuid == th->cred->uid &&
		       current->cred->fsuid == th->cred->suid
		   ? 0
		   : -EACCES;
}
static const struct file_ops gen_fops = {
    .open = gen_open, .read = gen_read, .write = gen_write, .seek = gen_seek};

static int gen_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	struct gen_node *n = dir->priv;

	for (u32 i = 0; i < n->g->count; i++) {
		const struct gen_file *c = &n->g->children[i];

		if (strlen(c->name) == len && !memcmp(c->name, name, len)) {
			*out = gen_inode(dir->sb, c, n->ino * 67 + i + 1, n->tid);
			return *out ? 0 : -ENOMEM;
		}
	}
	return -ENOENT;
}

static ssize gen_readlink(struct inode *i, char *buf, size_t size)
{
	struct gen_node *n = i->priv;
	struct thread *th = n->tid ? thread_seen(n->tid) : NULL;
	struct text t = {0};
	size_t len;

	if (n->tid && !th)
		return -ESRCH;
	if (n->g->make)
		n->g->make(&t, th, n->g);
	else
		text_raw(&t, n->g->fixed, (u32)strlen(n->g->fixed));
	len = MIN((size_t)t.len, size);
	memcpy(buf, t.buf, len);
	kfree(t.buf);
	return len ? (ssize)len : -ENOENT;
}

static void gen_evict(struct inode *i)
{
	kfree(i->priv);
}

static const struct inode_ops gen_ops = {
    .lookup = gen_lookup, .readlink = gen_readlink, .evict = gen_evict};

static int gen_readdir(struct file *f, struct dirent_sink *s)
{
	struct gen_node *n = f->inode->priv;

	for (; f->pos < n->g->count + 2ull; f->pos++) {
		const struct gen_file *c = f->pos >= 2 ? &n->g->children[f->pos - 2] : NULL;
		const char *name = c ? c->name : f->pos ? ".." : ".";

		if (s->emit(s, name, (u32)strlen(name), c ? n->ino * 67 + f->pos - 1 : n->ino,
			    c ? c->mode & S_IFMT : S_IFDIR, f->pos + 1))
			break;
	}
	return 0;
}
static const struct file_ops gen_dir_fops = {.readdir = gen_readdir, .seek = gen_seek};

struct inode *gen_inode(struct super *sb, const struct gen_file *g, u64 ino, u32 tid)
{
	struct inode *i = inode_new(sb, g->mode);
	struct gen_node *n = i ? kalloc(sizeof(*n)) : NULL;
	struct thread *th = tid ? thread_seen(tid) : NULL;

	if (!n) {
		if (i)
			inode_put(i);
		return NULL;
	}
	n->g = g;
	n->tid = tid;
	n->ino = ino;
	i->ino = ino;
	i->priv = n;
	i->ops = &gen_ops;
	i->fops = is_dir(i) ? &gen_dir_fops : &gen_fops;
	i->uid = th && th->cred ? th->cred->euid : 0;
	i->gid = th && th->cred ? th->cred->egid : 0;
	if (is_dir(i))
		i->nlink = 2;
	return i;
}

/* ---- sysfs: what programs look for ---- */
static void make_cpus(struct text *t, struct thread *th, const struct gen_file *g)
{
	if (cpus_online > 1)
		text_add(t, "0-%u\n", cpus_online - 1);
	else
		text_add(t, "0\n");
}

static const struct gen_file sys_cpu[] = {
    {.name = "online", .mode = S_IFREG | 0444, .make = make_cpus},
    {.name = "possible", .mode = S_IFREG | 0444, .make = make_cpus},
    {.name = "present", .mode = S_IFREG | 0444, .make = make_cpus}};
static const struct gen_file sys_node0[] = {
    {.name = "cpulist", .mode = S_IFREG | 0444, .make = make_cpus}};
static const struct gen_file sys_node[] = {
    GEN_DIR("node0", 0755, sys_node0),
    {.name = "online", .mode = S_IFREG | 0444, .fixed = "0\n"}};
static const struct gen_file sys_system[] = {GEN_DIR("cpu", 0755, sys_cpu),
					     GEN_DIR("node", 0755, sys_node)};
static const struct gen_file sys_devices[] = {GEN_DIR("system", 0755, sys_system)};
static const struct gen_file sys_thp[] = {
    {.name = "enabled", .mode = S_IFREG | 0444, .fixed = "always madvise [never]\n"},
    {.name = "hpage_pmd_size", .mode = S_IFREG | 0444, .fixed = "2097152\n"}};
static const struct gen_file sys_mm[] = {GEN_DIR("transparent_hugepage", 0755, sys_thp)};
static const struct gen_file sys_kernel[] = {GEN_DIR("mm", 0755, sys_mm)};

static void make_mem_max(struct text *t, struct thread *th, const struct gen_file *g)
{
	text_add(t, "%lu\n", page_total() * PAGE_SIZE);
}
static void make_mem_now(struct text *t, struct thread *th, const struct gen_file *g)
{
	text_add(t, "%lu\n", page_used() * PAGE_SIZE);
}
static void make_pids_now(struct text *t, struct thread *th, const struct gen_file *g)
{
	text_add(t, "%u\n", thread_count);
}
static void make_pids_max(struct text *t, struct thread *th, const struct gen_file *g)
{
	text_add(t, "%u\n", thread_limit);
}
static const struct gen_file sys_cgroup[] = {
    {.name = "cgroup.controllers", .mode = S_IFREG | 0444, .fixed = "cpu memory pids\n"},
    {.name = "cpu.max", .mode = S_IFREG | 0444, .fixed = "max 100000\n"},
    {.name = "memory.max", .mode = S_IFREG | 0444, .make = make_mem_max},
    {.name = "memory.current", .mode = S_IFREG | 0444, .make = make_mem_now},
    {.name = "pids.max", .mode = S_IFREG | 0444, .make = make_pids_max},
    {.name = "pids.current", .mode = S_IFREG | 0444, .make = make_pids_now}};
static const struct gen_file sys_fs[] = {GEN_DIR("cgroup", 0755, sys_cgroup)};
static const struct gen_file sys_block[] = {
    {.name = ".keep", .mode = S_IFREG | 0444, .fixed = ""}};
static const struct gen_file sys_root_files[] = {
    GEN_DIR("devices", 0755, sys_devices), GEN_DIR("kernel", 0755, sys_kernel),
    GEN_DIR("fs", 0755, sys_fs), GEN_DIR("block", 0755, sys_block)};
static const struct gen_file sys_root = GEN_DIR("/", 0755, sys_root_files);

static int sysfs_mount(const char *source, const char *options, struct super **sb,
		       struct inode **root)
{
	struct super *s = super_new("sysfs", NULL, 0x62656572);

	if (!s)
		return -ENOMEM;
	s->revalidate = true;
	return super_root(s, gen_inode(s, &sys_root, 1, 0), sb, root);
}
static const struct fs_type sysfs_type = {"sysfs", sysfs_mount, true};
FS_TYPE(sysfs_type);
static const struct fs_type cgroup_type = {"cgroup2", sysfs_mount, true};
FS_TYPE(cgroup_type);
