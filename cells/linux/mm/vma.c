/* SPDX-License-Identifier: ISC */
/*
 * What the addresses of a program mean: an array of areas sorted by address, found by
 * bisection. Areas never overlap. Pages are filled in fault.c; here areas are made, cut,
 * joined, protected, moved, copied for fork and taken away. A page table entry exists only
 * inside an area.
 */
#include "cells/linux/inc/ipc.h"
#include <linux/mman.h>
#include <asm/mman.h>

/* Index of the first area with end > addr. */
u32 vma_index(struct mm *mm, u64 addr)
{
	u32 lo = 0, hi = mm->count;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (mm->vmas[mid]->end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct vma *vma_find(struct mm *mm, u64 addr)
{
	u32 i = vma_index(mm, addr);

	return i < mm->count ? mm->vmas[i] : NULL;
}

struct vma *vma_at(struct mm *mm, u64 addr)
{
	struct vma *v = vma_find(mm, addr);

	return v && v->start <= addr ? v : NULL;
}

u32 vma_limit = 65530;

static int array_room(struct mm *mm)
{
	struct vma **bigger;
	u32 room = mm->room ? mm->room * 2 : 32;

	if (mm->count >= vma_limit)
		return -ENOMEM;
	if (mm->count < mm->room)
		return 0;
	bigger = kalloc(room * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	if (mm->count)
		memcpy(bigger, mm->vmas, mm->count * sizeof(*bigger));
	kfree(mm->vmas);
	mm->vmas = bigger;
	mm->room = room;
	return 0;
}

static void array_insert(struct mm *mm, struct vma *v)
{
	u32 i = vma_index(mm, v->start);

	BUG_ON(i < mm->count && mm->vmas[i]->start < v->end);
	memmove(mm->vmas + i + 1, mm->vmas + i, (mm->count - i) * sizeof(*mm->vmas));
	mm->vmas[i] = v;
	mm->count++;
	mm->total_vm += (v->end - v->start) / PAGE_SIZE;
}

int vma_insert(struct mm *mm, struct vma *v)
{
	int r = array_room(mm);

	if (!r) {
		v->mm = mm;
		array_insert(mm, v);
	}
	return r;
}

static void array_remove(struct mm *mm, u32 i)
{
	struct vma *v = mm->vmas[i];

	mm->total_vm -= (v->end - v->start) / PAGE_SIZE;
	memmove(mm->vmas + i, mm->vmas + i + 1, (mm->count - i - 1) * sizeof(*mm->vmas));
	mm->count--;
}

static void vma_free(struct vma *v)
{
	if (v->flags & VMA_SHM)
		shm_area_close(v);
	if (v->inode) {
		list_del(&v->i_link);
		inode_put(v->inode);
	}
	if (v->file)
		file_put(v->file);
	kfree(v);
}

static struct vma *vma_dup(const struct vma *v)
{
	struct vma *n = kmemdup(v, sizeof(*v));

	if (!n)
		return NULL;
	n->i_link = (struct list){0};
	if (n->file)
		file_get(n->file);
	if (n->inode) {
		inode_get(n->inode);
		list_add_tail(&n->inode->maps, &n->i_link);
	}
	if (n->flags & VMA_SHM)
		shm_area_open(n);
	return n;
}

static void rss_drop(struct mm *mm, struct page *p)
{
	if (p->kind == PAGE_ANON)
		mm->rss_anon--;
	else if (p->inode && p->inode->cache_pinned)
		mm->rss_shmem--;
	else
		mm->rss_file--;
}

void mm_zap(struct mm *mm, struct vma *v, u64 start, u64 end)
{
	u64 va = start, *e, n = 0, last = start;

	for (; (e = pt_next(mm->root, &va, end)); va += PAGE_SIZE) {
		struct page *p;
		u64 old = *e;

		if (!old)
			continue;
		*e = 0;
		n++;
		last = va;
		if (old & PTE_SPECIAL)
			continue;
		p = page_of(old & PTE_ADDR);
		BUG_ON(!p);
		rss_drop(mm, p);
		page_put(p);
	}
	/* Frames put above can't be used for anything else before this. */
	if (n == 1)
		tlb_flush_page(mm, last);
	else if (n)
		tlb_flush_mm(mm);
}

/* Make addr an area boundary. */
static int split_at(struct mm *mm, u64 addr)
{
	struct vma *v = vma_at(mm, addr), *n;
	int r;

	if (!v || v->start == addr)
		return 0;
	r = array_room(mm);
	if (r)
		return r;
	n = vma_dup(v);
	if (!n)
		return -ENOMEM;
	n->start = addr;
	n->pgoff += (addr - v->start) / PAGE_SIZE;
	mm->total_vm -= (v->end - addr) / PAGE_SIZE;
	v->end = addr;
	array_insert(mm, n);
	return 0;
}

static bool joinable(const struct vma *a, const struct vma *b)
{
	return a->end == b->start && a->prot == b->prot && a->flags == b->flags &&
	       a->file == b->file && a->inode == b->inode && a->name == b->name &&
	       !(a->flags & (VMA_SPECIAL | VMA_GROWSDOWN)) &&
	       (!a->inode || a->pgoff + (a->end - a->start) / PAGE_SIZE == b->pgoff);
}

static void join_around(struct mm *mm, u64 start, u64 end)
{
	u32 i = vma_index(mm, start ? start - 1 : 0);

	while (i + 1 < mm->count && mm->vmas[i]->start <= end) {
		struct vma *a = mm->vmas[i], *b = mm->vmas[i + 1];

		if (!joinable(a, b)) {
			i++;
			continue;
		}
		array_remove(mm, i + 1);
		mm->total_vm += (b->end - b->start) / PAGE_SIZE;
		a->end = b->end;
		vma_free(b);
	}
}

static bool range_valid(u64 start, u64 len)
{
	return !(start & (PAGE_SIZE - 1)) && len <= TASK_SIZE && start <= TASK_SIZE - len;
}

int mm_unmap(struct mm *mm, u64 start, u64 len)
{
	u64 end;
	u32 i;

	len = ALIGN_UP(len, PAGE_SIZE);
	if (!len || !range_valid(start, len))
		return -EINVAL;
	end = start + len;
	if (split_at(mm, start) || split_at(mm, end))
		return -ENOMEM;
	i = vma_index(mm, start);
	while (i < mm->count && mm->vmas[i]->start < end) {
		struct vma *v = mm->vmas[i];

		if (v->flags & VMA_LOCKED)
			mm->locked_vm -= (v->end - v->start) / PAGE_SIZE;
		mm_zap(mm, v, v->start, v->end);
		array_remove(mm, i);
		vma_free(v);
	}
	return 0;
}

u64 mm_locked_in(struct mm *mm, u64 start, u64 end)
{
	u64 n = 0;

	for (u32 i = vma_index(mm, start); i < mm->count && mm->vmas[i]->start < end; i++)
		if (mm->vmas[i]->flags & VMA_LOCKED)
			n += MIN(mm->vmas[i]->end, end) - MAX(mm->vmas[i]->start, start);
	return n / PAGE_SIZE;
}

int mm_lock(struct mm *mm, u64 start, u64 end, bool on)
{
	if (split_at(mm, start) || split_at(mm, end))
		return -ENOMEM;
	for (u32 i = vma_index(mm, start); i < mm->count && mm->vmas[i]->start < end; i++) {
		struct vma *v = mm->vmas[i];
		u64 pages = (v->end - v->start) / PAGE_SIZE;
		bool was = (v->flags & VMA_LOCKED) != 0;

		if ((v->flags & VMA_SPECIAL) || was == on)
			continue;
		v->flags ^= VMA_LOCKED;
		mm->locked_vm += on ? pages : -pages;
	}
	join_around(mm, start, end);
	return 0;
}

bool mm_wx_ok(struct mm *mm, u32 prot)
{
	return mm->wx_allowed || (prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC);
}

/* Lower the rights of the entries in place; higher rights come with the next fault. */
static void entries_protect(struct mm *mm, struct vma *v)
{
	u64 va = v->start, *e;

	for (; (e = pt_next(mm->root, &va, v->end)); va += PAGE_SIZE) {
		if (!*e)
			continue;
		if (!(v->prot & PROT_WRITE))
			*e &= ~PTE_W;
		if (v->prot & PROT_EXEC)
			*e &= ~PTE_NX;
		else
			*e |= PTE_NX;
		if (v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC))
			*e |= PTE_U;
		else
			*e &= ~PTE_U;
	}
}

static int protect_check(struct mm *mm, u64 start, u64 end, u32 prot)
{
	u64 at = start;

	for (u32 i = vma_index(mm, start); at < end; i++) {
		struct vma *v = i < mm->count ? mm->vmas[i] : NULL;

		if (!v || v->start > at)
			return -ENOMEM;
		if ((prot & PROT_WRITE) && (v->flags & VMA_SHARED) &&
		    !(v->flags & VMA_MAYWRITE))
			return -EACCES;
		if ((prot & PROT_EXEC) && (v->flags & VMA_DENYEXEC))
			return -EACCES;
		if (v->flags & VMA_SPECIAL)
			return -EACCES;
		at = v->end;
	}
	return 0;
}

int mm_area_flags(struct mm *mm, u64 start, u64 end, u32 set, u32 clear)
{
	struct vma *v;

	if (split_at(mm, start) || split_at(mm, end))
		return -ENOMEM;
	v = vma_at(mm, start);
	if (v)
		v->flags = (v->flags & ~clear) | set;
	join_around(mm, start, end);
	return 0;
}

int mm_protect(struct mm *mm, u64 start, u64 len, u32 prot)
{
	u64 end;
	int r;

	if (!len && !(start & (PAGE_SIZE - 1)))
		return 0;
	len = ALIGN_UP(len, PAGE_SIZE);
	if (!len || !range_valid(start, len))
		return start & (PAGE_SIZE - 1) ? -EINVAL : -ENOMEM;
	if (prot & ~(u32)(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	prot &= PROT_READ | PROT_WRITE | PROT_EXEC;
	if (!mm_wx_ok(mm, prot))
		return -EACCES;
	end = start + len;
	r = protect_check(mm, start, end, prot);
	if (r)
		return r;
	if (split_at(mm, start) || split_at(mm, end))
		return -ENOMEM;
	for (u32 i = vma_index(mm, start); i < mm->count && mm->vmas[i]->start < end; i++) {
		mm->vmas[i]->prot = prot;
		entries_protect(mm, mm->vmas[i]);
	}
	join_around(mm, start, end);
	tlb_flush_mm(mm);
	return 0;
}

/* A hole of len bytes: at hint if free, else the highest below mmap_base. */
u64 vma_find_gap(struct mm *mm, u64 hint, u64 len, bool low)
{
	u64 end = low ? 0x80000000ull : mm->mmap_base;
	u32 i;

	hint &= PAGE_MASK;
	if (hint >= MMAP_MIN_ADDR && hint <= TASK_SIZE - len) {
		struct vma *v = vma_find(mm, hint);

		if (!v || v->start >= hint + len)
			return hint;
	}
	i = vma_index(mm, end);
	if (i < mm->count && mm->vmas[i]->start < end)
		end = mm->vmas[i]->start;
	for (;;) {
		u64 floor = i > 0 ? mm->vmas[i - 1]->end : MMAP_MIN_ADDR;

		if (floor < MMAP_MIN_ADDR)
			floor = MMAP_MIN_ADDR;
		if (end > floor && end - floor >= len)
			return end - len;
		if (i == 0)
			return 0;
		i--;
		end = mm->vmas[i]->start;
	}
}

static int place(struct mm *mm, u64 *addr, u64 len, u32 flags)
{
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		struct vma *v;

		if (!range_valid(*addr, len))
			return *addr & (PAGE_SIZE - 1) ? -EINVAL : -ENOMEM;
		if (*addr < MMAP_MIN_ADDR)
			return -EPERM;
		v = vma_find(mm, *addr);
		if ((flags & MAP_FIXED_NOREPLACE) && v && v->start < *addr + len)
			return -EEXIST;
		if (v && v->start < *addr + len && !(flags & MAP_FIXED_NOREPLACE))
			return mm_unmap(mm, *addr, len);
		return 0;
	}
	*addr = vma_find_gap(mm, *addr, len, (flags & MAP_32BIT) != 0);
	return *addr ? 0 : -ENOMEM;
}

static bool too_much(struct mm *mm, u64 len)
{
	u64 limit = current->proc ? current->proc->rlim[RLIMIT_AS].cur : NEVER;

	return limit != NEVER && mm->total_vm * PAGE_SIZE + len > limit;
}

static int attach_object(struct vma *v, struct file *f, u32 flags)
{
	int r = 0;

	if (f) {
		v->file = f;
		file_get(f);
		if (f->ops->mmap)
			r = f->ops->mmap(f, v);
		else if (is_reg(f->inode))
			v->inode = f->inode;
		else
			r = -ENODEV;
		if (v->inode)
			inode_get(v->inode);
	} else if (flags & MAP_SHARED) {
		v->inode = shmem_inode(v->end - v->start);
		if (!v->inode)
			r = -ENOMEM;
	}
	if (v->inode && !r)
		list_add_tail(&v->inode->maps, &v->i_link);
	return r;
}

s64 mm_map(struct mm *mm, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 pgoff,
	   u32 vma_flags, const char *name)
{
	struct vma *v;
	int r;

	if (!len)
		return -EINVAL;
	len = ALIGN_UP(len, PAGE_SIZE);
	if (!len || len > TASK_SIZE || too_much(mm, len))
		return -ENOMEM;
	prot &= PROT_READ | PROT_WRITE | PROT_EXEC;
	if (!mm_wx_ok(mm, prot))
		return -EACCES;
	r = place(mm, &addr, len, flags);
	if (r)
		return r;
	v = kalloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	*v = (struct vma){.start = addr,
			  .end = addr + len,
			  .prot = prot,
			  .flags = vma_flags,
			  .pgoff = pgoff,
			  .name = name};
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		v->flags |= VMA_SHARED;
	if (!f || !(v->flags & VMA_SHARED) || (f->flags & O_ACCMODE) == O_RDWR)
		v->flags |= VMA_MAYWRITE;
	if (flags & MAP_GROWSDOWN)
		v->flags |= VMA_GROWSDOWN;
	if (flags & MAP_NORESERVE)
		v->flags |= VMA_NORESERVE;
	if (((flags & MAP_LOCKED) || mm->lock_future) && !(v->flags & VMA_SPECIAL))
		v->flags |= VMA_LOCKED;
	r = attach_object(v, f, (v->flags & VMA_SHARED) ? MAP_SHARED : 0);
	if (!r)
		r = vma_insert(mm, v);
	if (r) {
		vma_free(v);
		return r;
	}
	if (v->flags & VMA_LOCKED)
		mm->locked_vm += len / PAGE_SIZE;
	/* No vma_free after this: joining may free v itself. */
	join_around(mm, addr, addr + len);
	return (s64)addr;
}

/* ---- mremap ---- */
static void entries_move(struct mm *mm, u64 from, u64 to, u64 len)
{
	u64 va = from, *e;

	for (; (e = pt_next(mm->root, &va, from + len)); va += PAGE_SIZE) {
		u64 *d;

		if (!*e)
			continue;
		d = pt_entry(mm->root, to + (va - from), true);
		if (!d) {
			/* No table: the page is refilled from its object, or lost with the
			 * kill. */
			oom_kill();
			continue;
		}
		*d = *e;
		*e = 0;
	}
	tlb_flush_mm(mm);
}

static s64 remap_move(struct mm *mm, struct vma *v, u64 old, u64 old_len, u64 new_len,
		      u32 flags, u64 new_addr)
{
	struct vma *n;
	u64 to = new_addr;
	int r;

	if (flags & MREMAP_FIXED) {
		if (!range_valid(to, new_len) || to < MMAP_MIN_ADDR ||
		    (to < old + old_len && old < to + new_len))
			return -EINVAL;
		r = mm_unmap(mm, to, new_len);
		if (r)
			return r;
		v = vma_at(mm, old);
		if (!v)
			return -EFAULT;
	} else {
		to = vma_find_gap(mm, 0, new_len, false);
		if (!to)
			return -ENOMEM;
	}
	n = vma_dup(v);
	if (!n)
		return -ENOMEM;
	n->pgoff = v->pgoff + (old - v->start) / PAGE_SIZE;
	n->start = to;
	n->end = to + new_len;
	n->flags &= ~(VMA_HEAP | VMA_STACK);
	if (n->flags & VMA_LOCKED)
		mm->locked_vm += new_len / PAGE_SIZE;
	r = vma_insert(mm, n);
	if (r) {
		if (n->flags & VMA_LOCKED)
			mm->locked_vm -= new_len / PAGE_SIZE;
		vma_free(n);
		return r;
	}
	entries_move(mm, old, to, MIN(old_len, new_len));
	if (!(flags & MREMAP_DONTUNMAP))
		mm_unmap(mm, old, old_len);
	return (s64)to;
}

s64 mm_remap(struct mm *mm, u64 old, u64 old_len, u64 new_len, u32 flags, u64 new_addr)
{
	struct vma *v, *next;

	if ((old & (PAGE_SIZE - 1)) || !new_len || !range_valid(old, old_len) ||
	    (flags & ~(u32)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
	    ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE)))
		return -EINVAL;
	old_len = ALIGN_UP(old_len, PAGE_SIZE);
	new_len = ALIGN_UP(new_len, PAGE_SIZE);
	if (new_len > TASK_SIZE || !new_len)
		return -ENOMEM;
	v = vma_at(mm, old);
	if (!v || v->end < old + old_len || (v->flags & VMA_SPECIAL))
		return -EFAULT;
	if (!old_len && !(v->flags & VMA_SHARED))
		return -EINVAL;
	if (flags & MREMAP_FIXED)
		return remap_move(mm, v, old, old_len, new_len, flags, new_addr);
	if (flags & MREMAP_DONTUNMAP)
		return remap_move(mm, v, old, old_len, new_len, flags, 0);
	if (new_len <= old_len) {
		if (new_len < old_len) {
			int r = mm_unmap(mm, old + new_len, old_len - new_len);

			if (r)
				return r;
		}
		return (s64)old;
	}
	if (too_much(mm, new_len - old_len))
		return -ENOMEM;
	next = vma_find(mm, old + old_len);
	if (old_len && v->end == old + old_len && old <= TASK_SIZE - new_len &&
	    (!next || next->start >= old + new_len)) {
		mm->total_vm += (new_len - old_len) / PAGE_SIZE;
		if (v->flags & VMA_LOCKED)
			mm->locked_vm += (new_len - old_len) / PAGE_SIZE;
		v->end = old + new_len;
		return (s64)old;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	return remap_move(mm, v, old, old_len, new_len, flags, 0);
}

/* ---- Whole address spaces ---- */
struct mm *mm_new(void)
{
	static u64 serial;
	struct mm *mm = kalloc(sizeof(*mm));

	if (!mm)
		return NULL;
	mm->refs = 1;
	mm->serial = ++serial;
	mm->root = pt_new();
	if (!mm->root) {
		kfree(mm);
		return NULL;
	}
	mm->mmap_base = STACK_TOP_BASE;
	return mm;
}

void mm_get(struct mm *mm)
{
	mm->refs++;
}

void mm_put(struct mm *mm)
{
	if (!mm || --mm->refs)
		return;
	aio_mm_gone(mm);
	for (u32 i = 0; i < mm->count; i++) {
		mm_zap(mm, mm->vmas[i], mm->vmas[i]->start, mm->vmas[i]->end);
		vma_free(mm->vmas[i]);
	}
	if (read_cr3() == mm->root)
		mm_activate(NULL);
	pt_free(mm->root);
	if (mm->exe)
		file_put(mm->exe);
	kfree(mm->vmas);
	kfree(mm);
}

static int copy_entries(struct mm *to, struct mm *from, struct vma *v)
{
	u64 va = v->start, *e;

	/* File mappings that hold no private copies are refilled on demand. */
	for (; (e = pt_next(from->root, &va, v->end)); va += PAGE_SIZE) {
		struct page *p;
		u64 *d;

		if (!*e)
			continue;
		p = *e & PTE_SPECIAL ? NULL : page_of(*e & PTE_ADDR);
		if (p && p->kind == PAGE_CACHE && !p->inode->cache_pinned)
			continue;
		d = pt_entry(to->root, va, true);
		if (!d)
			return -ENOMEM;
		if (p && !(v->flags & VMA_SHARED)) {
			*e = (*e & ~PTE_W) | PTE_COW;
		}
		if (p) {
			page_get(p);
			if (p->kind == PAGE_ANON)
				to->rss_anon++;
			else
				to->rss_shmem++;
		}
		*d = *e;
	}
	return 0;
}

static int fork_vma(struct mm *to, struct mm *from, struct vma *v)
{
	struct vma *n;

	if (v->flags & VMA_DONTFORK)
		return 0;
	n = vma_dup(v);
	if (!n)
		return -ENOMEM;
	if (vma_insert(to, n)) {
		vma_free(n);
		return -ENOMEM;
	}
	n->flags &= ~VMA_LOCKED;
	return v->flags & VMA_WIPEFORK ? 0 : copy_entries(to, from, v);
}

struct mm *mm_fork(struct mm *old)
{
	struct mm *mm = mm_new();

	if (!mm)
		return NULL;
	mm->brk_start = old->brk_start;
	mm->brk = old->brk;
	mm->mmap_base = old->mmap_base;
	mm->stack_top = old->stack_top;
	mm->start_code = old->start_code;
	mm->end_code = old->end_code;
	mm->start_data = old->start_data;
	mm->end_data = old->end_data;
	mm->arg_start = old->arg_start;
	mm->arg_end = old->arg_end;
	mm->env_start = old->env_start;
	mm->env_end = old->env_end;
	mm->vdso = old->vdso;
	memcpy(mm->auxv, old->auxv, sizeof(mm->auxv));
	mm->wx_allowed = old->wx_allowed;
	mm->exe = old->exe;
	if (mm->exe)
		file_get(mm->exe);
	for (u32 i = 0; i < old->count; i++)
		if (fork_vma(mm, old, old->vmas[i])) {
			tlb_flush_mm(old);
			mm_put(mm);
			return NULL;
		}
	tlb_flush_mm(old);
	return mm;
}

void inode_unmap_range(struct inode *ino, u64 first, u64 last, bool even_private)
{
	struct vma *v;

	list_each(v, &ino->maps, i_link)
	{
		u64 pages = (v->end - v->start) / PAGE_SIZE, lo = MAX(first, v->pgoff);
		u64 va, end, *e;
		bool changed = false;

		if (lo >= v->pgoff + pages || last < v->pgoff)
			continue;
		va = v->start + (lo - v->pgoff) * PAGE_SIZE;
		end = last - v->pgoff >= pages ? v->end
					       : v->start + (last - v->pgoff + 1) * PAGE_SIZE;
		if (even_private) {
			mm_zap(v->mm, v, va, end);
			continue;
		}
		for (; (e = pt_next(v->mm->root, &va, end)); va += PAGE_SIZE) {
			struct page *p =
			    *e && !(*e & PTE_SPECIAL) ? page_of(*e & PTE_ADDR) : NULL;

			if (!p || p->kind != PAGE_CACHE)
				continue;
			rss_drop(v->mm, p);
			*e = 0;
			changed = true;
			page_put(p);
		}
		if (changed)
			tlb_flush_mm(v->mm);
	}
}
