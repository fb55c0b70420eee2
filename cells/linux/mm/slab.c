/* SPDX-License-Identifier: ISC */
/*
 * Kernel objects. Sizes up to 2 KiB come from pages cut into equal pieces, one list of
 * part-filled pages for each size; larger ones are mapped page by page in the vmalloc area
 * with an unmapped page on each side. Everything is handed out zeroed, and a freed object
 * is overwritten first, so that a stale pointer shows.
 */
#include "cells/linux/inc/mm.h"
#include "cells/linux/inc/cpu.h"

static const u16 class_size[] = {32, 64, 96, 128, 192, 256, 384, 512, 680, 1024, 1360, 2048};
#define CLASSES ARRAY_SIZE(class_size)
static struct list partial[CLASSES];
static u64 slab_page_count;

static u32 class_of(size_t n)
{
	u32 c = 0;

	while (class_size[c] < n)
		c++;
	return c;
}

/* Free objects of a page form a chain through their first word; index is its head. */
static struct page *slab_grow(u32 c)
{
	struct page *p = page_alloc_nozero(PAGE_SLAB);
	u8 *base;
	u32 size = class_size[c];

	if (!p)
		return NULL;
	base = page_ptr(p);
	p->slab_class = (u8)c;
	p->index = 0;
	for (u32 i = (u32)PAGE_SIZE / size; i-- > 0;) {
		*(u64 *)(base + i * size) = p->index;
		p->index = (u64)(base + i * size);
	}
	list_add_head(&partial[c], &p->lru);
	slab_page_count++;
	return p;
}

void *kalloc(size_t n)
{
	struct page *p;
	u64 *obj;
	u32 c;

	if (n > class_size[CLASSES - 1])
		return vmalloc(n);
	c = class_of(n);
	p = list_empty(&partial[c]) ? slab_grow(c) : list_first(&partial[c], struct page, lru);
	if (!p)
		return NULL;
	obj = (u64 *)p->index;
	BUG_ON(!obj);
	p->index = *obj;
	p->inuse++;
	if (!p->index)
		list_del(&p->lru);
	return memset(obj, 0, class_size[c]);
}

void kfree(void *ptr)
{
	struct page *p;
	u32 size;

	if (!ptr)
		return;
	if ((u64)ptr >= VMALLOC_BASE) {
		vfree(ptr);
		return;
	}
	p = page_of(phys_of(ptr));
	BUG_ON(!p || p->kind != PAGE_SLAB || !p->inuse);
	size = class_size[p->slab_class];
	BUG_ON(((u64)ptr & (PAGE_SIZE - 1)) % size);
	memset(ptr, 0x5a, MIN(size, 64u));
	if (!p->index)
		list_add_head(&partial[p->slab_class], &p->lru);
	*(u64 *)ptr = p->index;
	p->index = (u64)ptr;
	if (--p->inuse == 0) {
		list_del(&p->lru);
		slab_page_count--;
		page_put(p);
	}
}

u64 slab_pages(void)
{
	return slab_page_count;
}

char *kstrdup(const char *s)
{
	return kmemdup(s, strlen(s) + 1);
}

void *kmemdup(const void *p, size_t n)
{
	void *d = kalloc(n);

	return d ? memcpy(d, p, n) : NULL;
}

/*
 * The vmalloc area: a list of ranges in use, sorted by address; first fit after the last
 * allocation. Few and long-lived (stacks, large tables).
 */
struct range {
	struct list link;
	u64 start, pages;
};
static struct list ranges;

static u64 range_find(u64 pages, struct list **before)
{
	u64 at = VMALLOC_BASE + PAGE_SIZE;
	struct range *r;

	list_each(r, &ranges, link)
	{
		if (r->start - at >= (pages + 1) * PAGE_SIZE)
			break;
		at = r->start + (r->pages + 1) * PAGE_SIZE;
	}
	*before = &r->link;
	return at + pages * PAGE_SIZE < VMALLOC_BASE + VMALLOC_SIZE ? at : 0;
}

static void range_unmap(u64 start, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		u64 va = start + i * PAGE_SIZE, pa = pt_kernel_phys(va);

		if (!pa)
			continue;
		pt_unmap_kernel(va);
		page_put(page_of(pa));
	}
}

void *vmalloc(size_t n)
{
	u64 pages = ALIGN_UP(n, PAGE_SIZE) / PAGE_SIZE, at;
	struct range *r;
	struct list *before;

	if (!ranges.next)
		list_init(&ranges);
	if (n > (1ull << 32) || pages > page_free_count() + page_cache_count)
		return NULL;
	r = kalloc(sizeof(*r));
	if (!r)
		return NULL;
	at = range_find(pages, &before);
	if (!at) {
		kfree(r);
		return NULL;
	}
	r->start = at;
	r->pages = pages;
	for (u64 i = 0; i < pages; i++) {
		struct page *p = page_alloc(PAGE_KERNEL);

		if (!p ||
		    pt_map_kernel(at + i * PAGE_SIZE, page_phys(p), PTE_P | PTE_W | PTE_NX)) {
			if (p)
				page_put(p);
			range_unmap(at, i);
			kfree(r);
			return NULL;
		}
	}
	list_add_tail(before, &r->link);
	return (void *)at;
}

void vfree(void *ptr)
{
	struct range *r;

	if (!ptr)
		return;
	list_each(r, &ranges, link) if (r->start == (u64)ptr)
	{
		range_unmap(r->start, r->pages);
		list_del(&r->link);
		kfree(r);
		return;
	}
	panic("vfree of %p", ptr);
}
