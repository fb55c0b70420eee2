/* SPDX-License-Identifier: ISC */
/*
 * Frames of the user region.
 *
 * The nucleus fills the region with zero frames as it is touched, so untouched memory
 * costs the host nothing. Therefore frames are taken from a stack of freed ones first and from
 * the untouched rest only then, and when enough freed ones have gathered while the cell
 * is idle they are given back with the discard hypercall. The table of struct page lies at
 * the region's start and is touched as it is used.
 *
 * The size of the region is the container's memory limit. When it is used up the page
 * cache is asked to shrink; after that allocation fails, and the caller reports ENOMEM or, in
 * a page fault, has a process killed.
 */
#include "cells/linux/inc/mm.h"
#include "cells/linux/inc/cpu.h"

static struct page *pages; /* of frames [0, total) */
static u64 region_base, total, first_usable, next_fresh, used;
static u64
    limit; /* of pages in use, at most all: the container's memory limit may be lowered */
static struct list free_list;
static u64 free_count;
static u64 discarded; /* frames on the free list that read as zeros */
u64 page_cache_count, page_anon_count;

_Static_assert(sizeof(struct page) == 56, "frame record");

void page_init(u64 base, u64 size)
{
	u64 table;

	region_base = base;
	total = size / PAGE_SIZE;
	table = ALIGN_UP(total * sizeof(struct page), PAGE_SIZE) / PAGE_SIZE;
	BUG_ON(table + 64 > total);
	pages = phys_ptr(base);
	first_usable = next_fresh = table;
	limit = total - table;
	list_init(&free_list);
}

u64 page_total(void)
{
	return limit;
}

u64 page_used(void)
{
	return used;
}

u64 page_free_count(void)
{
	return page_total() - used;
}

int page_limit_set(u64 bytes)
{
	u64 want = bytes / PAGE_SIZE;

	if (want > total)
		return -ENOMEM;
	want = want > first_usable ? want - first_usable : 0;
	while (used > want && pagecache_reclaim(64))
		;
	if (used > want)
		return -EBUSY;
	limit = want;
	return 0;
}

struct page *page_of(u64 pa)
{
	u64 n = (pa - region_base) / PAGE_SIZE;

	return pa < region_base || n < first_usable || n >= total ? NULL : pages + n;
}

u64 page_phys(const struct page *p)
{
	return region_base + (u64)(p - pages) * PAGE_SIZE;
}

void *page_ptr(const struct page *p)
{
	return phys_ptr(page_phys(p));
}

static struct page *take(bool *zero)
{
	struct page *p;

	if (used >= limit)
		return NULL;
	if (!list_empty(&free_list)) {
		p = list_first(&free_list, struct page, lru);
		list_del(&p->lru);
		free_count--;
		*zero = (p->flags & PG_UPTODATE) != 0;
		if (*zero)
			discarded--;
		return p;
	}
	if (next_fresh < total) {
		*zero = true;
		return pages + next_fresh++;
	}
	return NULL;
}

struct page *page_alloc_nozero(enum page_kind kind)
{
	bool zero;
	struct page *p = take(&zero);

	if (!p && pagecache_reclaim(64))
		p = take(&zero);
	if (!p)
		return NULL;
	memset(p, 0, sizeof(*p));
	p->ref = 1;
	p->kind = (u8)kind;
	p->flags = zero ? PG_UPTODATE : 0;
	used++;
	if (kind == PAGE_ANON)
		page_anon_count++;
	else if (kind == PAGE_CACHE)
		page_cache_count++;
	return p;
}

struct page *page_alloc(enum page_kind kind)
{
	struct page *p = page_alloc_nozero(kind);

	if (p) {
		if (!(p->flags & PG_UPTODATE))
			memset(page_ptr(p), 0, PAGE_SIZE);
		p->flags = 0;
	}
	return p;
}

void page_get(struct page *p)
{
	BUG_ON(p->ref == 0);
	p->ref++;
}

void page_put(struct page *p)
{
	BUG_ON(p->ref == 0 || p->kind == PAGE_FREE);
	if (--p->ref)
		return;
	if (p->kind == PAGE_ANON)
		page_anon_count--;
	else if (p->kind == PAGE_CACHE)
		page_cache_count--;
	p->kind = PAGE_FREE;
	p->flags = 0;
	p->inode = NULL;
	used--;
	free_count++;
	list_add_head(&free_list, &p->lru);
}

/* Give freed frames back to the host, all but `keep`. Called by the idle loop. */
void page_discard_idle(u64 keep);
void page_discard_idle(u64 keep)
{
	struct page *p, *tmp;
	u64 n = 0;

	if (free_count - discarded <= keep)
		return;
	list_each_safe(p, tmp, &free_list, lru)
	{
		if (p->flags & PG_UPTODATE)
			continue;
		if (n++ < keep)
			continue;
		if (hc_call(D0_HC_discard, page_phys(p), PAGE_SIZE, 0).value != D0_OK)
			break;
		p->flags |= PG_UPTODATE;
		discarded++;
		list_del(&p->lru);
		list_add_tail(&free_list, &p->lru);
		if (n > keep + 512)
			break;
	}
}
