/* SPDX-License-Identifier: ISC */
/*
 * The heap.
 *
 * Problem. A cell's memory is one fixed region; it must not fragment badly over months,
 * allocate in bounded time, and notice corruption before it spreads.
 *
 * Model. The region is a row of blocks; each has a 32-byte header with its size, the size
 * of the block before it, whether it is used, and a check word over these keyed with
 * a secret of this start. Free blocks hang in lists by size class (two classes for
 * each power of two) with a bit map of the lists that are not empty; neighbours that are free
 * are merged at once, so no two free blocks touch. The last header marks the end.
 *
 * Invariants. Sizes are multiples of 16, at least BLOCK_MIN. b->size chains exactly
 * from base to the end mark; next->prev_size equals b->size. A header is believed
 * only after its check word matched; a mismatch (overrun of the block before, free of
 * something that is no block, double free) is a panic with both addresses.
 *
 * Untouched memory. Where the region is known to be zeros at the start, `fresh` is where the
 * part begins that was never written; zeroed blocks are cleared up to there only, so that
 * memory whose frames come when they are touched costs nothing before it is used.
 *
 * Locking. One spinlock. Failure to find room gives NULL and counts it.
 */
#include <string.h>
#include "libcell/alloc.h"
#include "libcell/panic.h"

struct heap_block {
	uint64_t size; /* whole block, header included; bit 0: used */
	uint64_t prev_size;
	uint64_t asked; /* bytes the caller asked for */
	uint64_t check;
	/* payload follows; a free block keeps its list links there */
};
_Static_assert(sizeof(struct heap_block) == 32, "payload stays 16-byte aligned");

struct heap_link {
	struct heap_block *next, *prev;
};

#define HEADER    sizeof(struct heap_block)
#define BLOCK_MIN (HEADER + 16)
#define USED      1ull

static uint64_t block_size(const struct heap_block *b)
{
	return b->size & ~USED;
}

static struct heap_link *block_link(struct heap_block *b)
{
	return (struct heap_link *)(b + 1);
}

static uint64_t block_check(const struct heap *h, const struct heap_block *b)
{
	uint64_t v = h->key ^ (uintptr_t)b;

	v = (v ^ b->size) * 0x9e3779b97f4a7c15ull;
	v = (v ^ (v >> 29) ^ b->prev_size) * 0xbf58476d1ce4e5b9ull;
	v = (v ^ (v >> 31) ^ b->asked) * 0x94d049bb133111ebull;
	return v ^ (v >> 32);
}

static void block_seal(const struct heap *h, struct heap_block *b)
{
	b->check = block_check(h, b);
}

static void block_verify(const struct heap *h, const struct heap_block *b, const void *who)
{
	if ((uintptr_t)b < h->base || (uintptr_t)b > h->end - HEADER || (uintptr_t)b % 16)
		panic("heap: %p is not in the heap", who);
	if (b->check != block_check(h, b))
		panic("heap: header at %p is damaged (block %p): overrun or bad free",
		      (const void *)b, who);
}

static struct heap_block *block_next(const struct heap_block *b)
{
	return (struct heap_block *)((uintptr_t)b + block_size(b));
}

/* Two classes for each power of two from 32 on; the last holds everything bigger. */
static unsigned class_of(uint64_t size)
{
	unsigned log = 63 - (unsigned)__builtin_clzll(size);
	unsigned c = (log - 5) * 2 + ((size >> (log - 1)) & 1);

	return c < HEAP_CLASSES ? c : HEAP_CLASSES - 1;
}

static void list_add(struct heap *h, struct heap_block *b)
{
	unsigned c = class_of(b->size);
	struct heap_block *head = h->free_list[c];

	*block_link(b) = (struct heap_link){.next = head};
	if (head)
		block_link(head)->prev = b;
	h->free_list[c] = b;
	h->class_map |= 1ull << c;
}

static void list_remove(struct heap *h, struct heap_block *b)
{
	unsigned c = class_of(b->size);
	struct heap_link *l = block_link(b);

	if (l->next)
		block_link(l->next)->prev = l->prev;
	if (l->prev)
		block_link(l->prev)->next = l->next;
	else
		h->free_list[c] = l->next;
	if (!h->free_list[c])
		h->class_map &= ~(1ull << c);
}

/* Gives b its size and tells the block after it. */
static void block_resize(struct heap *h, struct heap_block *b, uint64_t size, uint64_t used)
{
	struct heap_block *next;

	b->size = size | used;
	block_seal(h, b);
	next = block_next(b);
	next->prev_size = size;
	block_seal(h, next);
}

void heap_init(struct heap *h, void *base, size_t size, uint64_t key)
{
	struct heap_block *first = base, *end;

	size &= ~(size_t)15;
	ASSERT(size >= 4096 && (uintptr_t)base % 16 == 0);
	*h = (struct heap){.base = (uintptr_t)base, .end = (uintptr_t)base + size, .key = key};
	h->stats.size = size;
	h->fresh = h->end;
	end = (struct heap_block *)(h->end - HEADER);
	*end = (struct heap_block){.size = HEADER | USED};
	first->prev_size = 0;
	first->asked = 0;
	block_resize(h, first, size - HEADER, 0);
	list_add(h, first);
}

void heap_known_zero(struct heap *h)
{
	h->fresh = h->base + HEADER + sizeof(struct heap_link);
}

static struct heap_block *list_search(struct heap *h, unsigned c, uint64_t need, unsigned limit)
{
	struct heap_block *b = h->free_list[c];

	for (unsigned i = 0; b && i < limit; i++, b = block_link(b)->next) {
		block_verify(h, b, b);
		if (b->size >= need)
			return b;
	}
	return NULL;
}

/*
 * A free block of at least `need` bytes: a few tries in its own class, then any block of a
 * higher class (all are big enough), at last its own class to the end.
 */
static struct heap_block *find_free(struct heap *h, uint64_t need)
{
	unsigned c = class_of(need);
	uint64_t higher = c + 1 < HEAP_CLASSES ? h->class_map >> (c + 1) : 0;
	struct heap_block *b = list_search(h, c, need, 8);

	if (b)
		return b;
	if (higher)
		return list_search(h, c + 1 + (unsigned)__builtin_ctzll(higher), need, 1);
	return list_search(h, c, need, ~0u);
}

/* Cuts b at `size`; the rest becomes a free block. b keeps its used bit. */
static void block_split(struct heap *h, struct heap_block *b, uint64_t size)
{
	uint64_t rest = block_size(b) - size, used = b->size & USED;
	struct heap_block *r, *after;

	if (rest < BLOCK_MIN + 16)
		return;
	after = block_next(b);
	block_verify(h, after, b + 1);
	r = (struct heap_block *)((uintptr_t)b + size);
	r->asked = 0;
	r->prev_size = size;
	b->size = size | used;
	block_seal(h, b);
	block_resize(h, r, rest, 0);
	if (!(after->size & USED)) {
		list_remove(h, after);
		block_resize(h, r, rest + after->size, 0);
	}
	list_add(h, r);
}

/* Moves the begin of a free, unlisted block so that its payload is aligned. */
static struct heap_block *block_align(struct heap *h, struct heap_block *b, size_t align)
{
	uintptr_t payload = (uintptr_t)(b + 1), at = (payload + align - 1) & ~(align - 1);
	uint64_t lead, whole = b->size;
	struct heap_block *moved;

	if (at == payload)
		return b;
	while (at - payload < BLOCK_MIN + 16)
		at += align;
	lead = at - payload;
	moved = (struct heap_block *)(at - HEADER);
	moved->asked = 0;
	moved->prev_size = lead;
	block_resize(h, moved, whole - lead, 0);
	b->size = lead;
	block_seal(h, b);
	list_add(h, b);
	return moved;
}

/* Block size for a request; 0 if it is too big to be true. */
static uint64_t need_of(const struct heap *h, size_t size)
{
	if (size > h->stats.size)
		return 0;
	size = (size + 15) & ~(size_t)15;
	return HEADER + (size < 16 ? 16 : size);
}

static void *alloc(struct heap *h, size_t size, size_t align, uintptr_t *fresh)
{
	uint64_t need = need_of(h, size), extra = align > 16 ? align + 2 * BLOCK_MIN : 0;
	struct heap_block *b = NULL;
	uintptr_t behind;

	if (align & (align - 1))
		return NULL;
	spin_lock(&h->lock);
	if (need && extra <= h->stats.size)
		b = find_free(h, need + extra);
	if (!b) {
		h->stats.failures++;
		spin_unlock(&h->lock);
		return NULL;
	}
	list_remove(h, b);
	if (extra)
		b = block_align(h, b, align);
	b->size |= USED;
	b->asked = size;
	block_split(h, b, need);
	block_seal(h, b);
	h->stats.blocks++;
	h->stats.used += block_size(b);
	if (h->stats.used > h->stats.peak)
		h->stats.peak = h->stats.used;
	*fresh = h->fresh;
	/* What follows the block is a header and, if it is free, its links. */
	behind = (uintptr_t)block_next(b) + HEADER + sizeof(struct heap_link);
	if (behind > h->fresh)
		h->fresh = behind;
	spin_unlock(&h->lock);
	return b + 1;
}

void *heap_alloc(struct heap *h, size_t size, size_t align)
{
	uintptr_t fresh;

	return alloc(h, size, align, &fresh);
}

void *heap_zalloc(struct heap *h, size_t size, size_t align)
{
	uintptr_t fresh;
	uint8_t *p = alloc(h, size, align, &fresh);

	if (p && (uintptr_t)p < fresh)
		memset(p, 0, size < fresh - (uintptr_t)p ? size : fresh - (uintptr_t)p);
	return p;
}

static struct heap_block *block_of(const struct heap *h, const void *p)
{
	struct heap_block *b = (struct heap_block *)p - 1;

	block_verify(h, b, p);
	if (!(b->size & USED))
		panic("heap: %p is freed already", p);
	return b;
}

void heap_free(struct heap *h, void *p)
{
	struct heap_block *b, *next, *prev;

	if (!p)
		return;
	spin_lock(&h->lock);
	b = block_of(h, p);
	next = block_next(b);
	block_verify(h, next, p);
	h->stats.blocks--;
	h->stats.used -= block_size(b);
	b->asked = 0;
	block_resize(h, b, block_size(b), 0);
	if (!(next->size & USED)) {
		list_remove(h, next);
		block_resize(h, b, b->size + next->size, 0);
	}
	prev = (struct heap_block *)((uintptr_t)b - b->prev_size);
	if (b->prev_size) {
		block_verify(h, prev, p);
		if (!(prev->size & USED)) {
			list_remove(h, prev);
			block_resize(h, prev, prev->size + b->size, 0);
			/* a stale pointer to the merged block must not look valid */
			b->check = ~b->check;
			b = prev;
		}
	}
	list_add(h, b);
	spin_unlock(&h->lock);
}

void *heap_realloc(struct heap *h, void *p, size_t size)
{
	struct heap_block *b;
	uint64_t need = need_of(h, size);
	void *moved;
	size_t old;

	if (!p)
		return heap_alloc(h, size, 16);
	spin_lock(&h->lock);
	b = block_of(h, p);
	old = block_size(b) - HEADER;
	if (need && need <= block_size(b)) {
		h->stats.used -= block_size(b);
		b->asked = size;
		block_split(h, b, need);
		block_seal(h, b);
		h->stats.used += block_size(b);
		spin_unlock(&h->lock);
		return p;
	}
	spin_unlock(&h->lock);
	moved = heap_alloc(h, size, 16);
	if (!moved)
		return NULL;
	memcpy(moved, p, old < size ? old : size);
	heap_free(h, p);
	return moved;
}

void heap_check(struct heap *h)
{
	struct heap_block *b = (struct heap_block *)h->base;
	uint64_t prev = 0, used = 0;
	bool prev_free = false;

	spin_lock(&h->lock);
	for (;;) {
		block_verify(h, b, b + 1);
		if (b->prev_size != prev)
			panic("heap: block %p does not follow its predecessor", (void *)b);
		if ((uintptr_t)b == h->end - HEADER)
			break;
		if (!(b->size & USED) && prev_free)
			panic("heap: two free blocks touch at %p", (void *)b);
		used += b->size & USED ? block_size(b) : 0;
		prev_free = !(b->size & USED);
		prev = block_size(b);
		b = block_next(b);
	}
	if (used != h->stats.used)
		panic("heap: %zu bytes counted as used, %zu are", h->stats.used, (size_t)used);
	spin_unlock(&h->lock);
}
