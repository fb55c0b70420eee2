/* SPDX-License-Identifier: ISC */
/*
 * File contents in memory.
 *
 * Each inode has a hash of its pages by number. For a memory filesystem the cache is the
 * store: missing pages read as zeros and nothing is reclaimed. For others a page is read
 * when first wanted, written back when dirty, and reclaimed oldest first when memory is short
 * and only the cache refers to it. The size of the cache is bounded by the container's
 * memory, since reclaim runs before any allocation fails.
 *
 * The files of an archive in memory are `backed`: a page that is not cached is copied from the
 * archive when it is wanted, so that a container's start does not copy what nobody reads. They
 * count for the filesystem's limit from the start, so that a full one can still be read.
 *
 * A page being read is BUSY; others who want it sleep on one queue.
 */
#include "cells/linux/inc/vfs.h"

static struct waitq busy_wait;
static struct list lru; /* clean and dirty pages of reclaimable inodes, oldest first */
void pagecache_balance(struct inode *i);

static u32 bucket(const struct inode *i, u64 index)
{
	return (u32)(index & (i->page_buckets - 1));
}

static struct page *lookup(struct inode *i, u64 index)
{
	struct page *p;

	if (!i->pages)
		return NULL;
	for (p = i->pages[bucket(i, index)]; p; p = p->hash)
		if (p->index == index)
			return p;
	return NULL;
}

static u64 backed_pages(const struct inode *i)
{
	return (i->backed + PAGE_SIZE - 1) / PAGE_SIZE;
}

static int table_grow(struct inode *i)
{
	u32 n = i->page_buckets ? i->page_buckets * 4 : 4;
	struct page **t;

	if (i->pages && (i->page_count < i->page_buckets * 4 || n > 65536))
		return 0;
	t = kalloc(n * sizeof(*t));
	if (!t)
		return i->pages ? 0 : -ENOMEM;
	for (u32 b = 0; b < i->page_buckets; b++) {
		/* NOLINTNEXTLINE: page_buckets counts pages[] */
		struct page *p = i->pages[b], *next;

		for (; p; p = next) {
			next = p->hash;
			p->hash = t[p->index & (n - 1)];
			t[p->index & (n - 1)] = p;
		}
	}
	kfree(i->pages);
	i->pages = t;
	i->page_buckets = n;
	return 0;
}

static void insert(struct inode *i, struct page *p, u64 index)
{
	u32 b = bucket(i, index);

	p->inode = i;
	p->index = index;
	p->hash = i->pages[b];
	i->pages[b] = p;
	i->page_count++;
	if (i->cache_pinned) {
		i->sb->pages += index >= backed_pages(i);
	} else {
		list_add_tail(&lru, &p->lru);
	}
}

/* Out of the cache; the cache's reference goes with it. */
static void take_out(struct page *p)
{
	struct inode *i = p->inode;
	struct page **at = &i->pages[bucket(i, p->index)];

	while (*at != p)
		at = &(*at)->hash;
	*at = p->hash;
	p->hash = NULL;
	i->page_count--;
	if (i->cache_pinned)
		i->sb->pages -= p->index >= backed_pages(i);
	else
		list_del(&p->lru);
	/* Mappings that remain treat it as theirs alone. */
	if (p->ref > 1) {
		p->kind = PAGE_ANON;
		page_cache_count--;
		page_anon_count++;
	}
	p->inode = NULL;
	page_put(p);
}

struct page *pagecache_find(struct inode *i, u64 index)
{
	struct page *p = lookup(i, index);

	if (p)
		page_get(p);
	return p;
}

static int wait_page(struct page *p)
{
	while (p->flags & PG_BUSY)
		wait_on(&busy_wait, NEVER, false);
	return 0;
}

struct page *pagecache_get(struct inode *i, u64 index, bool create, int *err)
{
	struct page *p;

	for (;;) {
		p = lookup(i, index);
		if (p && !(p->flags & PG_BUSY)) {
			if (!i->cache_pinned && !(p->flags & PG_ACTIVE)) {
				p->flags |= PG_ACTIVE;
				list_del(&p->lru);
				list_add_tail(&lru, &p->lru);
			}
			page_get(p);
			return p;
		}
		if (!p)
			break;
		page_get(p);
		wait_page(p);
		page_put(p);
	}
	if (!create)
		return NULL;
	*err = -ENOSPC;
	if (i->cache_pinned && i->sb->max_pages && i->sb->pages >= i->sb->max_pages &&
	    index >= backed_pages(i))
		return NULL;
	*err = -ENOMEM;
	if (table_grow(i))
		return NULL;
	p = page_alloc(PAGE_CACHE);
	if (!p)
		return NULL;
	if (lookup(i, index)) { /* reclaim slept and someone else was faster */
		page_put(p);
		return pagecache_get(i, index, create, err);
	}
	insert(i, p, index);
	page_get(p);
	if (index < backed_pages(i)) {
		memcpy(page_ptr(p), i->backing + index * PAGE_SIZE,
		       MIN(i->backed - index * PAGE_SIZE, PAGE_SIZE));
	} else if (i->ops && i->ops->read_page) {
		p->flags |= PG_BUSY;
		*err = i->ops->read_page(i, p);
		p->flags &= ~PG_BUSY;
		wake_all(&busy_wait);
		if (*err) {
			if (p->inode)
				take_out(p);
			page_put(p);
			return NULL;
		}
	}
	p->flags |= PG_UPTODATE;
	return p;
}

void pagecache_back(struct inode *i, const u8 *data, u64 size)
{
	i->backing = data;
	i->backed = i->size = size;
	i->sb->pages += backed_pages(i);
}

int pagecache_unback(struct inode *i)
{
	int err = 0;

	for (u64 index = 0; index < backed_pages(i) && !err; index++) {
		struct page *p = pagecache_get(i, index, true, &err);

		if (p)
			page_put(p);
	}
	if (!err)
		i->backed = 0;
	return err;
}

/* No page there means zeros: a hole of a file whose cache is all there is. */
static bool is_hole(const struct inode *i, u64 index)
{
	return i->cache_pinned && index >= backed_pages(i);
}

void page_mark_dirty(struct page *p)
{
	p->flags |= PG_DIRTY;
	if (p->inode)
		p->inode->dirty_pages = true;
}

static void drop_bucket(struct inode *i, u32 b, u64 first, u64 last)
{
	struct page *p = i->pages[b], *next;

	for (; p; p = next) {
		next = p->hash;
		if (p->index < first || p->index > last)
			continue;
		if (p->flags & PG_BUSY) {
			page_get(p);
			wait_page(p);
			page_put(p);
			next = i->pages[b]; /* slept: begin anew */
			continue;
		}
		take_out(p);
	}
}

void pagecache_drop(struct inode *i, u64 first, u64 last)
{
	if (!i->pages)
		return;
	inode_unmap_range(i, first, last, false);
	for (u32 b = 0; b < i->page_buckets; b++)
		drop_bucket(i, b, first, last);
}

/* No page behind `size` is cached. */
static void shrink_backing(struct inode *i, u64 size)
{
	if (size >= i->backed)
		return;
	i->sb->pages -= backed_pages(i);
	i->backed = size;
	i->sb->pages += backed_pages(i);
}

void pagecache_release(struct inode *i)
{
	pagecache_drop(i, 0, NEVER);
	shrink_backing(i, 0);
}

/* After a shrink: pages behind the end go, the rest of the last one reads as zeros. */
void pagecache_truncate(struct inode *i, u64 size)
{
	u64 first = ALIGN_UP(size, PAGE_SIZE) / PAGE_SIZE;
	struct page *p;

	inode_unmap_range(i, first, NEVER, true);
	pagecache_drop(i, first, NEVER);
	shrink_backing(i, size);
	p = size & (PAGE_SIZE - 1) ? lookup(i, size / PAGE_SIZE) : NULL;
	if (p)
		memset((u8 *)page_ptr(p) + (size & (PAGE_SIZE - 1)), 0,
		       PAGE_SIZE - (size & (PAGE_SIZE - 1)));
}

/* Write-protect the page wherever it is mapped, so that the next store marks it dirty. */
static void protect_mappings(struct inode *i, u64 index)
{
	struct vma *v;

	list_each(v, &i->maps, i_link)
	{
		u64 pages = (v->end - v->start) / PAGE_SIZE, *e;

		if (!(v->flags & VMA_SHARED) || index < v->pgoff || index - v->pgoff >= pages)
			continue;
		e = pt_entry(v->mm->root, v->start + (index - v->pgoff) * PAGE_SIZE, false);
		if (e && (*e & PTE_W)) {
			*e &= ~PTE_W;
			tlb_flush_page(v->mm, v->start + (index - v->pgoff) * PAGE_SIZE);
		}
	}
}

static int write_back(struct inode *i, struct page *p)
{
	int r;

	page_get(p);
	p->flags = (u8)((p->flags & ~PG_DIRTY) | PG_BUSY);
	protect_mappings(i, p->index);
	r = i->ops && i->ops->write_page ? i->ops->write_page(i, p) : 0;
	p->flags &= ~PG_BUSY;
	if (r)
		p->flags |= PG_ERROR;
	wake_all(&busy_wait);
	page_put(p);
	return r;
}

int pagecache_sync(struct inode *i)
{
	int err = 0;

	if (!i->dirty_pages || !i->pages || i->cache_pinned)
		return 0;
	i->dirty_pages = false;
	for (u32 b = 0; b < i->page_buckets; b++) {
		/* NOLINTNEXTLINE: page_buckets counts pages[] */
		struct page *p = i->pages[b];

		while (p) {
			int r;

			if (!(p->flags & PG_DIRTY) || (p->flags & PG_BUSY)) {
				p = p->hash;
				continue;
			}
			r = write_back(i, p);
			if (r)
				err = r;
			p = i->pages ? i->pages[b] : NULL;
		}
	}
	return err;
}

/* Drop clean pages that only the cache refers to, oldest first. */
u64 pagecache_reclaim(u64 want)
{
	struct page *p, *tmp;
	u64 got = 0;

	if (!lru.next)
		return 0;
	for (int pass = 0; pass < 2 && got < want; pass++)
		list_each_safe(p, tmp, &lru, lru)
		{
			if (got >= want)
				break;
			if (pass == 0 && (p->flags & PG_ACTIVE)) {
				p->flags &= ~PG_ACTIVE;
				continue;
			}
			if (p->ref != 1 || (p->flags & (PG_BUSY | PG_DIRTY)))
				continue;
			take_out(p);
			got++;
		}
	return got;
}

/* ---- read and write for files that live in the cache ---- */
struct page *pagecache_lend(struct inode *i, u64 pos, int *err)
{
	if (pos >= i->size || is_hole(i, pos / PAGE_SIZE))
		return NULL;
	return pagecache_get(i, pos / PAGE_SIZE, true, err);
}

/* Between the pages of a transfer, which only a kill ends: true. Not at each page. */
static bool breathe_pages(u32 *pages)
{
	if (++*pages % 64)
		return false;
	sched_breathe();
	return current->kill_now;
}

ssize generic_read(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	ssize done = 0;
	u32 pages = 0;

	while (u->left && *pos < i->size) {
		u64 off = *pos & (PAGE_SIZE - 1), n = MIN(u->left, PAGE_SIZE - off);
		u64 before = u->left;
		struct page *p;
		int err = 0, r;

		n = MIN(n, i->size - *pos);
		/* Holes of memory files need no page to read as zeros. */
		p = pagecache_get(i, *pos / PAGE_SIZE, !is_hole(i, *pos / PAGE_SIZE), &err);
		if (!p && err)
			return done ? done : err;
		r = p ? uio_out(u, (u8 *)page_ptr(p) + off, n) : uio_zero(u, n);
		if (p)
			page_put(p);
		n = before - u->left; /* a bad address may come after good ones */
		*pos += n;
		done += (ssize)n;
		if (r)
			return done ? done : r;
		if (breathe_pages(&pages))
			break;
	}
	return done;
}

ssize generic_write(struct file *f, struct uio *u, u64 *pos)
{
	struct inode *i = f->inode;
	u64 limit = current->proc ? current->proc->rlim[RLIMIT_FSIZE].cur : NEVER;
	ssize done = 0;
	u32 pages = 0;

	if (f->flags & O_APPEND)
		*pos = i->size;
	if (u->left && *pos >= MIN(limit, (u64)INT64_MAX - PAGE_SIZE)) {
		if (*pos >= limit && current->proc)
			sig_send_thread(current, SIGXFSZ, NULL);
		return -EFBIG;
	}
	while (u->left) {
		u64 off = *pos & (PAGE_SIZE - 1), n = MIN(u->left, PAGE_SIZE - off);
		struct page *p;
		u64 before = u->left;
		int err = 0, r;

		n = MIN(n, limit - *pos);
		if (!n)
			break;
		p = pagecache_get(i, *pos / PAGE_SIZE, true, &err);
		if (!p)
			return done ? done : err;
		r = uio_in(u, (u8 *)page_ptr(p) + off, n);
		n = before - u->left; /* a bad address may come after good ones */
		if (n) {
			page_mark_dirty(p);
			*pos += n;
			done += (ssize)n;
			if (*pos > i->size)
				i->size = *pos;
		}
		page_put(p);
		if (r)
			return done ? done : r;
		if (breathe_pages(&pages))
			break;
	}
	if (done) {
		pagecache_balance(i);
		inode_touch(i, ATTR_MTIME | ATTR_CTIME);
		if ((i->mode & (S_ISUID | S_ISGID)) && !capable(4)) {
			i->mode &= ~(u32)S_ISUID;
			if (i->mode & 010)
				i->mode &= ~(u32)S_ISGID;
		}
	}
	return done;
}

/* The first page >= index that holds data, of a file whose cache is all there is. */
static u64 next_data(const struct inode *i, u64 index)
{
	u64 best = is_hole(i, index) ? NEVER : index;

	for (u32 b = 0; b < i->page_buckets; b++)
		for (const struct page *p = i->pages[b]; p; p = p->hash)
			if (p->index >= index && p->index < best)
				best = p->index;
	return best;
}

static u64 next_hole(struct inode *i, u64 index)
{
	struct page *p;

	for (;; index++) {
		p = pagecache_find(i, index);
		if (p)
			page_put(p);
		else if (is_hole(i, index))
			return index;
	}
}

/* SEEK_DATA (3) and SEEK_HOLE (4). Other filesystems' files have data everywhere. */
static s64 seek_extent(struct inode *i, s64 off, bool hole)
{
	u64 index = (u64)off / PAGE_SIZE, found;

	if (off < 0 || (u64)off >= i->size)
		return -ENXIO;
	if (!i->cache_pinned)
		return hole ? (s64)i->size : off;
	found = hole ? next_hole(i, index) : next_data(i, index);
	if (found >= ALIGN_UP(i->size, PAGE_SIZE) / PAGE_SIZE)
		return hole ? (s64)i->size : -ENXIO;
	return found > index ? (s64)(found * PAGE_SIZE) : off;
}

s64 generic_seek(struct file *f, s64 off, int whence)
{
	s64 base = 0, size = (s64)f->inode->size;

	switch (whence) {
	case 0:
		break;
	case 1:
		base = (s64)f->pos;
		break;
	case 2:
		base = size;
		break;
	case 3:
	case 4:
		off = seek_extent(f->inode, off, whence == 4);
		if (off < 0)
			return off;
		break;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, off, &base) || base < 0)
		return base < 0 && whence < 3 ? -EINVAL : -EOVERFLOW;
	f->pos = (u64)base;
	return base;
}

/* ---- For filesystems that read and write several pages at once ---- */
bool pagecache_has(struct inode *i, u64 index);
bool pagecache_has(struct inode *i, u64 index)
{
	return lookup(i, index) != NULL;
}

/* A page that was read along: cached unless there is one already. */
void pagecache_fill(struct inode *i, u64 index, const void *data, u32 n);
void pagecache_fill(struct inode *i, u64 index, const void *data, u32 n)
{
	struct page *p;

	if (table_grow(i))
		return;
	p = page_alloc(PAGE_CACHE);
	if (!p)
		return;
	if (lookup(i, index)) {
		page_put(p);
		return;
	}
	insert(i, p, index);
	memcpy(page_ptr(p), data, n);
	p->flags |= PG_UPTODATE;
}

/* The page after index if it is dirty and idle: taken as clean, referenced. */
struct page *pagecache_dirty_after(struct inode *i, u64 index);
struct page *pagecache_dirty_after(struct inode *i, u64 index)
{
	struct page *p = lookup(i, index + 1);

	if (!p || (p->flags & (PG_DIRTY | PG_BUSY)) != PG_DIRTY)
		return NULL;
	page_get(p);
	p->flags &= ~PG_DIRTY;
	protect_mappings(i, p->index);
	return p;
}

/* Everything cached of this file is to be written again. */
void pagecache_redirty(struct inode *i);
void pagecache_redirty(struct inode *i)
{
	if (i->cache_pinned)
		return;
	for (u32 b = 0; b < i->page_buckets; b++)
		for (struct page *p = i->pages[b]; p; p = p->hash)
			if (p->flags & PG_UPTODATE)
				page_mark_dirty(p);
}

/* Writers wait here when dirty pages take too much of the memory. */
void pagecache_balance(struct inode *i);
void pagecache_balance(struct inode *i)
{
	if (!i->cache_pinned && page_free_count() < page_total() / 8 && i->dirty_pages)
		pagecache_sync(i);
}
