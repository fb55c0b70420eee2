/* SPDX-License-Identifier: ISC */
/*
 * Filling and copying pages when they are touched.
 *
 * Private memory: reads of untouched anonymous memory map one shared zero frame; the first
 * write gives a frame of its own. A frame that fork shares is mapped read-only with
 * PTE_COW; the writer that holds the last reference keeps it, any other copies. File pages
 * are mapped from the page cache; a shared writable mapping marks the page dirty when it
 * first becomes writable.
 *
 * Reading a file page may sleep, and the address space may change meanwhile: after any
 * sleep the fault starts over.
 */
#include "cells/linux/inc/vfs.h"
#include <linux/mman.h>
#include <asm/mman.h>

static struct page *zero_page;

static u64 prot_bits(const struct vma *v)
{
	return PTE_P | PTE_U | (v->prot & PROT_EXEC ? 0 : PTE_NX);
}

static void rss_add(struct mm *mm, struct page *p, s64 n)
{
	u64 rss;

	if (p->kind == PAGE_ANON)
		mm->rss_anon += (u64)n;
	else if (p->inode && p->inode->cache_pinned)
		mm->rss_shmem += (u64)n;
	else
		mm->rss_file += (u64)n;
	rss = mm->rss_anon + mm->rss_file + mm->rss_shmem;
	if (rss > mm->hiwater_rss)
		mm->hiwater_rss = rss;
}

/*
 * 0: try again, somebody gave way. A thread that is to die itself gets an error: in the kernel
 * it would try again for ever, and the one that waits for its end with it.
 */
static int no_memory(void)
{
	if (!current->kill_now)
		oom_kill();
	return current->kill_now ? SIGBUS : 0;
}

/* A page of zeros, or like another. */
static struct page *new_page(struct page *from)
{
	struct page *n = from ? page_alloc_nozero(PAGE_ANON) : page_alloc(PAGE_ANON);

	if (!n)
		return NULL;
	if (from)
		memcpy(page_ptr(n), page_ptr(from), PAGE_SIZE);
	n->flags = 0;
	return n;
}

static void install(struct mm *mm, struct vma *v, u64 *e, u64 addr, struct page *n)
{
	bool replaces = *e & PTE_P;

	*e = page_phys(n) | prot_bits(v) | (v->prot & PROT_WRITE ? PTE_W | PTE_D : 0) | PTE_A;
	rss_add(mm, n, 1);
	if (replaces)
		tlb_flush_page(mm, addr);
}

static int install_new(struct mm *mm, struct vma *v, u64 *e, u64 addr, struct page *from)
{
	struct page *n = new_page(from);

	if (!n)
		return no_memory();
	install(mm, v, e, addr, n);
	return 0;
}

static int fill_anon(struct mm *mm, struct vma *v, u64 *e, u64 addr, u32 access)
{
	if (access & FAULT_WRITE)
		return install_new(mm, v, e, addr, NULL);
	if (!zero_page)
		zero_page = page_alloc(PAGE_ANON);
	if (!zero_page)
		return no_memory();
	page_get(zero_page);
	mm->rss_anon++;
	*e = page_phys(zero_page) | prot_bits(v) | PTE_COW | PTE_A;
	return 0;
}

/* Map neighbours of a file page that are in the cache already: fewer faults. */
static void fault_around(struct mm *mm, struct vma *v, u64 addr)
{
	u64 lo = MAX(v->start, addr & ~0xffffull),
	    hi = MIN(v->end, (addr & ~0xffffull) + 0x10000);

	for (u64 a = lo; a < hi; a += PAGE_SIZE) {
		u64 *e = pt_entry(mm->root, a, false);
		struct page *p;

		if (!e)
			return;
		if (*e)
			continue;
		p = pagecache_find(v->inode, v->pgoff + (a - v->start) / PAGE_SIZE);
		if (!p)
			continue;
		if ((p->flags & (PG_UPTODATE | PG_BUSY)) != PG_UPTODATE) {
			page_put(p);
			continue;
		}
		*e = page_phys(p) | prot_bits(v) | (v->flags & VMA_SHARED ? 0 : PTE_COW);
		rss_add(mm, p, 1);
	}
}

static int fill_file(struct mm *mm, struct vma *v, u64 addr, u32 access, int *code)
{
	u64 index = v->pgoff + (addr - v->start) / PAGE_SIZE;
	struct inode *ino = v->inode;
	struct page *p;
	bool slept;
	u64 *e, before = current->nvcsw;
	int err = 0;

	if (index >= ALIGN_UP(ino->size, PAGE_SIZE) / PAGE_SIZE) {
		*code = BUS_ADRERR;
		return SIGBUS;
	}
	inode_get(ino);
	p = pagecache_get(ino, index, true, &err);
	slept = current->nvcsw != before;
	inode_put(ino);
	if (!p) {
		if (err == -EINTR || err == -ERESTARTSYS)
			return 0;
		if (err == -ENOMEM)
			return no_memory();
		*code = BUS_ADRERR;
		return SIGBUS;
	}
	if (slept) {
		page_put(p);
		return 0; /* the instruction faults again and finds it */
	}
	e = pt_entry(mm->root, addr, true);
	if (!e) {
		page_put(p);
		return no_memory();
	}
	if (*e) {
		page_put(p);
		return 0;
	}
	if ((access & FAULT_WRITE) && !(v->flags & VMA_SHARED)) {
		int r = install_new(mm, v, e, addr, p);

		page_put(p);
		return r;
	}
	*e = page_phys(p) | prot_bits(v) | PTE_A;
	if (!(v->flags & VMA_SHARED))
		*e |= PTE_COW;
	else if (access & FAULT_WRITE) {
		*e |= PTE_W | PTE_D;
		page_mark_dirty(p);
	}
	rss_add(mm, p, 1);
	current->minflt++;
	if (!(access & FAULT_WRITE))
		fault_around(mm, v, addr);
	return 0;
}

static int write_protected(struct mm *mm, struct vma *v, u64 *e, u64 addr)
{
	struct page *p = page_of(*e & PTE_ADDR), *n;

	if (*e & PTE_SPECIAL)
		return SIGSEGV;
	BUG_ON(!p);
	if (v->flags & VMA_SHARED) {
		*e |= PTE_W | PTE_D;
		if (p->kind == PAGE_CACHE)
			page_mark_dirty(p);
		tlb_flush_own(addr);
		return 0;
	}
	if (p->kind == PAGE_ANON && p->ref == 1) {
		*e = (*e | PTE_W | PTE_D) & ~PTE_COW;
		tlb_flush_own(addr);
		return 0;
	}
	n = new_page(p == zero_page ? NULL : p);
	if (!n)
		return no_memory(); /* sleeps: neither p nor e may be there any more */
	rss_add(mm, p, -1);
	install(mm, v, e, addr, n);
	page_put(p);
	return 0;
}

/* The stack grows down to the touched page while the limit and the gap allow it. */
static struct vma *stack_grow(struct mm *mm, u64 addr)
{
	u32 i = vma_index(mm, addr);
	struct vma *v = i < mm->count ? mm->vmas[i] : NULL;
	u64 start = addr & PAGE_MASK, limit = current->proc->rlim[RLIMIT_STACK].cur;

	if (!v || !(v->flags & VMA_GROWSDOWN) || v->end - start > limit)
		return NULL;
	if (i > 0 && start < mm->vmas[i - 1]->end + 256 * PAGE_SIZE)
		return NULL;
	mm->total_vm += (v->start - start) / PAGE_SIZE;
	if (v->flags & VMA_LOCKED)
		mm->locked_vm += (v->start - start) / PAGE_SIZE;
	v->start = start;
	return v;
}

int mm_fault(struct mm *mm, u64 addr, u32 access, int *code)
{
	struct vma *v = vma_at(mm, addr);
	u64 *e;

	if (!v)
		v = stack_grow(mm, addr);
	if (!v) {
		*code = SEGV_MAPERR;
		return SIGSEGV;
	}
	*code = SEGV_ACCERR;
	if (access & FAULT_WRITE  ? !(v->prot & PROT_WRITE)
	    : access & FAULT_EXEC ? !(v->prot & PROT_EXEC)
				  : !(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
		return SIGSEGV;
	current->minflt++;
	e = pt_entry(mm->root, addr, false);
	if (e && (*e & PTE_P)) {
		if ((access & FAULT_WRITE) && !(*e & PTE_W))
			return write_protected(mm, v, e, addr);
		if ((access & FAULT_EXEC) && (*e & PTE_NX))
			*e &= ~PTE_NX;
		tlb_flush_own(addr);
		return 0;
	}
	if (v->flags & VMA_SPECIAL)
		return SIGBUS;
	if (v->inode)
		return fill_file(mm, v, addr, access, code);
	e = pt_entry(mm->root, addr, true);
	if (!e)
		return no_memory();
	return fill_anon(mm, v, e, addr & PAGE_MASK, access);
}

struct page *mm_pin(struct mm *mm, u64 addr, bool write)
{
	for (int tries = 0; tries < 16; tries++) {
		u64 *e = pt_entry(mm->root, addr, false);
		int code;

		if (addr < TASK_SIZE && e && (*e & PTE_P) && (!write || (*e & PTE_W))) {
			struct page *p = page_of(*e & PTE_ADDR);

			if (p)
				page_get(p);
			return p;
		}
		if (addr >= TASK_SIZE || mm_fault(mm, addr, write ? FAULT_WRITE : 0, &code))
			return NULL;
		if (current->kill_now)
			return NULL;
	}
	return NULL;
}
