/* SPDX-License-Identifier: ISC */
/*
 * System V shared memory. A segment is an unnamed file of tmpfs; attaching maps it. The
 * number of attachments is the number of areas that show it, counted where areas are made,
 * copied and freed. A segment marked for removal keeps its identifier until the last area is
 * gone, but not its key.
 */
#include "cells/linux/inc/ipc.h"
#include "cells/linux/inc/sys.h"
#include <asm/mman.h>
#include <asm/shmbuf.h>
#include <linux/capability.h>
#include <linux/mman.h>

#define SHM_RDONLY   010000
#define SHM_RND      020000
#define SHM_REMAP    040000
#define SHM_EXEC     0100000
#define SHM_HUGETLB  04000
#define SHM_DEST     01000
#define SHM_LOCKED   02000
#define SHM_LOCK     11
#define SHM_UNLOCK   12
#define SHM_STAT     13
#define SHM_INFO     14
#define SHM_STAT_ANY 15

struct shm_info_k {
	s32 used_ids, pad;
	u64 shm_tot, shm_rss, shm_swp, swap_attempts, swap_successes;
};

struct segment {
	struct ipc_object o;
	struct inode *inode;
	u64 size, areas;
	s64 atime, dtime, ctime;
	u32 cpid, lpid;
};

u64 shm_max = ~0ull - (1ull << 24), shm_all = ~0ull - (1ull << 24);
static u64 all_pages;

static u64 pages_of(const struct segment *s)
{
	return ALIGN_UP(s->size, PAGE_SIZE) / PAGE_SIZE;
}

static void shm_destroy(struct ipc_object *o)
{
	struct segment *s = (struct segment *)o;

	all_pages -= pages_of(s);
	s->inode->shm = NULL;
	inode_put(s->inode);
	kfree(s);
}
struct ipc_set shm_set = {.limit = 4096, .destroy = shm_destroy, .next_id = ~0u};

static struct ipc_object *shm_create(const struct ipc_get *g, int *err)
{
	u64 pages = ALIGN_UP(g->size, PAGE_SIZE) / PAGE_SIZE;
	struct segment *s;

	*err = -EINVAL;
	if (!g->size || g->size > shm_max || g->size > TASK_SIZE)
		return NULL;
	*err = -ENOSPC;
	if (all_pages + pages > shm_all)
		return NULL;
	*err = -ENOMEM;
	if ((g->flags & SHM_HUGETLB) || pages > page_total())
		return NULL;
	s = kalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->inode = shmem_inode(g->size);
	if (!s->inode) {
		kfree(s);
		return NULL;
	}
	s->inode->shm = s;
	s->inode->mode = S_IFREG | (g->flags & 0777);
	s->size = g->size;
	s->ctime = ipc_seconds();
	s->cpid = current->proc->pid;
	all_pages += pages;
	*err = 0;
	return &s->o;
}

static int shm_check(const struct ipc_object *o, const struct ipc_get *g)
{
	return g->size > ((const struct segment *)o)->size ? -EINVAL : 0;
}

SYSCALL(shmget, "dux", s32 key, u64 size, u32 flags)
{
	struct ipc_get g = {
	    .key = key, .flags = flags, .create = shm_create, .check = shm_check, .size = size};

	return ipc_get(&shm_set, &g);
}

/* ---- Attaching ---- */
void shm_area_open(struct vma *v)
{
	struct segment *s = v->inode->shm;

	s->areas++;
	s->atime = ipc_seconds();
	if (current->proc)
		s->lpid = current->proc->pid;
}

void shm_area_close(struct vma *v)
{
	struct segment *s = v->inode->shm;

	s->areas--;
	s->dtime = ipc_seconds();
	if (current->proc)
		s->lpid = current->proc->pid;
	if (!s->areas && (s->o.mode & SHM_DEST))
		ipc_remove(&shm_set, &s->o);
}

static int shm_mmap(struct file *f, struct vma *v)
{
	v->inode = f->inode;
	v->flags |= VMA_SHM;
	shm_area_open(v);
	return 0;
}
static const struct file_ops shm_fops = {
    .read = generic_read, .write = generic_write, .mmap = shm_mmap};

static int shm_file(struct segment *s, u32 flags, struct file **out)
{
	char name[32];
	struct dentry *d;
	int r;

	format(name, sizeof(name), "/SYSV%08x (deleted)", (u32)s->o.key);
	d = dentry_new(NULL, name, (u32)strlen(name), s->inode);
	if (!d)
		return -ENOMEM;
	*out = file_new(&shm_fops, flags);
	r = *out ? 0 : -ENOMEM;
	if (!r) {
		(*out)->dentry = d;
		(*out)->inode = s->inode;
		inode_get(s->inode);
	} else {
		dentry_put(d);
	}
	return r;
}

static int place(u64 *addr, u64 size, u32 flags, u32 *map)
{
	struct vma *v;

	*map = MAP_SHARED;
	if (!*addr)
		return flags & SHM_REMAP ? -EINVAL : 0;
	if (*addr & (PAGE_SIZE - 1)) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		*addr &= PAGE_MASK;
		if (!*addr && (flags & SHM_REMAP))
			return -EINVAL;
	}
	*map |= MAP_FIXED;
	if (flags & SHM_REMAP)
		return 0;
	if (*addr > TASK_SIZE || size > TASK_SIZE - *addr)
		return -EINVAL;
	v = vma_find(current->mm, *addr);
	return v && v->start < *addr + size ? -EINVAL : 0;
}

SYSCALL(shmat, "dpx", s32 id, u64 addr, u32 flags)
{
	struct segment *s = (struct segment *)ipc_find(&shm_set, id);
	u32 map, prot = PROT_READ, want = 4;
	struct file *f;
	s64 r;

	if (!s)
		return -EINVAL;
	r = place(&addr, s->size, flags, &map);
	if (r)
		return r;
	if (!(flags & SHM_RDONLY)) {
		prot |= PROT_WRITE;
		want |= 2;
	}
	if (flags & SHM_EXEC) {
		prot |= PROT_EXEC;
		want |= 1;
	}
	if (ipc_permission(&s->o, want))
		return -EACCES;
	r = shm_file(s, flags & SHM_RDONLY ? O_RDONLY : O_RDWR, &f);
	if (r)
		return r;
	r = mm_map(current->mm, addr, s->size, prot, map, f, 0, 0, NULL);
	file_put(f);
	return r;
}

SYSCALL(shmdt, "p", u64 addr)
{
	struct mm *mm = current->mm;
	struct inode *ino = NULL;
	u32 i = vma_index(mm, addr);

	if (addr & (PAGE_SIZE - 1))
		return -EINVAL;
	while (i < mm->count) {
		struct vma *v = mm->vmas[i];
		bool mine = (v->flags & VMA_SHM) && v->start - v->pgoff * PAGE_SIZE == addr;

		if (mine && (!ino || v->inode == ino)) {
			ino = v->inode;
			mm_unmap(mm, v->start, v->end - v->start);
			continue;
		}
		if (v->start > addr + TASK_SIZE / 2 || (ino && !mine))
			break;
		i++;
	}
	return ino ? 0 : -EINVAL;
}

/* ---- shmctl ---- */
static s64 shm_stat(struct segment *s, u64 ubuf, bool rights)
{
	struct shmid64_ds d = {0};

	if (!s)
		return -EINVAL;
	if (rights && ipc_permission(&s->o, 4))
		return -EACCES;
	ipc_perm_out(&s->o, &d.shm_perm);
	d.shm_segsz = s->size;
	d.shm_atime = s->atime;
	d.shm_dtime = s->dtime;
	d.shm_ctime = s->ctime;
	d.shm_cpid = (int)s->cpid;
	d.shm_lpid = (int)s->lpid;
	d.shm_nattch = s->areas;
	return put_user(d, ubuf);
}

static u64 resident(void)
{
	u64 n = 0;

	for (u32 i = 0; i < shm_set.room; i++)
		if (shm_set.slot[i])
			n += ((struct segment *)shm_set.slot[i])->inode->page_count;
	return n;
}

static s64 shm_limits(u64 ubuf)
{
	struct shminfo64 i = {.shmmax = shm_max,
			      .shmmin = 1,
			      .shmmni = shm_set.limit,
			      .shmseg = shm_set.limit,
			      .shmall = shm_all};

	return put_user(i, ubuf) ? -EFAULT : ipc_highest(&shm_set);
}

static s64 shm_usage(u64 ubuf)
{
	struct shm_info_k i = {
	    .used_ids = (s32)shm_set.used, .shm_tot = all_pages, .shm_rss = resident()};

	return put_user(i, ubuf) ? -EFAULT : ipc_highest(&shm_set);
}

static s64 set_attr(struct segment *s, u64 ubuf)
{
	struct shmid64_ds d;
	int r;

	if (get_user(d, ubuf))
		return -EFAULT;
	r = ipc_owner(&s->o);
	if (!r)
		r = ipc_perm_set(&s->o, &d.shm_perm);
	if (!r)
		s->ctime = ipc_seconds();
	return r;
}

static s64 shm_set_attr(struct segment *s, u64 ubuf)
{
	s64 r;

	ipc_hold(&s->o); /* copying may sleep, and others remove it */
	r = set_attr(s, ubuf);
	ipc_put(&shm_set, &s->o);
	return r;
}

static s64 shm_lock(struct segment *s, bool on)
{
	u32 e = current->cred->euid;

	if (!capable(CAP_IPC_LOCK)) {
		if (e != s->o.uid && e != s->o.cuid)
			return -EPERM;
		if (on && !current->proc->rlim[RLIMIT_MEMLOCK].cur)
			return -EPERM;
	}
	s->o.mode = on ? s->o.mode | SHM_LOCKED : s->o.mode & ~(u32)SHM_LOCKED;
	return 0;
}

static s64 shm_remove(struct segment *s)
{
	int r = ipc_owner(&s->o);

	if (r)
		return r;
	s->o.key = IPC_PRIVATE;
	s->o.mode |= SHM_DEST;
	if (!s->areas)
		ipc_remove(&shm_set, &s->o);
	return 0;
}

SYSCALL(shmctl, "ddp", s32 id, int cmd, u64 ubuf)
{
	struct segment *s = (struct segment *)ipc_find(&shm_set, id);
	s64 r;

	cmd &= ~0x100; /* IPC_64 */
	if (id < 0 || cmd < 0)
		return -EINVAL;
	switch (cmd) {
	case IPC_INFO:
		return shm_limits(ubuf);
	case SHM_INFO:
		return shm_usage(ubuf);
	case SHM_STAT:
	case SHM_STAT_ANY:
		s = (struct segment *)ipc_at(&shm_set, id);
		id = s ? (s32)s->o.id : 0; /* copying may sleep, and others remove it */
		r = shm_stat(s, ubuf, cmd == SHM_STAT);
		return r ? r : id;
	}
	if (!s)
		return -EINVAL;
	switch (cmd) {
	case IPC_STAT:
		return shm_stat(s, ubuf, true);
	case IPC_SET:
		return shm_set_attr(s, ubuf);
	case IPC_RMID:
		return shm_remove(s);
	case SHM_LOCK:
	case SHM_UNLOCK:
		return shm_lock(s, cmd == SHM_LOCK);
	}
	return -EINVAL;
}

void shm_text(struct text *t)
{
	text_add(t,
		 "       key      shmid perms                  size  cpid  lpid nattch   uid   "
		 "gid  cuid  cgid      atime      dtime      ctime                   rss      "
		 "            swap\n");
	for (u32 i = 0; i < shm_set.room; i++) {
		struct segment *s = (struct segment *)shm_set.slot[i];

		if (s)
			text_add(
			    t,
			    "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10ld %10ld "
			    "%10ld %21lu %21u\n",
			    s->o.key, (s32)s->o.id, s->o.mode, s->size, s->cpid, s->lpid,
			    s->areas, s->o.uid, s->o.gid, s->o.cuid, s->o.cgid, s->atime,
			    s->dtime, s->ctime, s->inode->page_count * PAGE_SIZE, 0u);
	}
}
