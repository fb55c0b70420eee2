/* SPDX-License-Identifier: ISC */
/*
 * Block trees: sorted tables of brefs below an inode (or the volume root), with indirect
 * blocks when four entries are not enough.
 *
 * Where the format leaves the shape to the writer (section 8) we choose:
 *  - dense keys (inode numbers, file offsets; bit 63 clear): a full table gathers the entries
 *    of the smallest aligned range that holds half of them into a new indirect block, whose
 *    range is at least what it can hold. Sequential writers thus fill blocks completely.
 *  - hashed keys (directory entries; bit 63 set): a full block splits into two halves side by
 *    side when its parent has room, and the parent first when not, as in a B-tree; only a full
 *    inode pushes its entries down. Blocks stay at least half full and the tree balanced.
 *    Blocks of entries have 4 KiB, those above them 16 KiB: entries arrive in random order, so
 *    in a directory bigger than the cache each costs a read and a write of its block.
 *  - deleting removes empty blocks at once and folds a block of a quarter or less into its
 *    parent while that stays three quarters full at most.
 */
#include <string.h>

#include "h2/impl.h"

#define INDIRECT_SMALL 4096u
#define INDIRECT_BYTES 16384u

unsigned h2_table_lower(const struct h2_node *n, uint64_t key)
{
	const struct h2_bref *t = h2_node_table((struct h2_node *)n);
	unsigned lo = 0, hi = n->live;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (h2_range_end(t[mid].key, t[mid].keybits) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int h2_tree_find(struct h2_vol *v, struct h2_node *root, uint64_t key, struct h2_node **table,
		 unsigned *i, bool *hit)
{
	struct h2_node *n = root, *child;

	h2_node_pin(v, n);
	for (;;) {
		const struct h2_bref *t = h2_node_table(n);
		unsigned at = h2_table_lower(n, key);
		int err;

		if (at == n->live || t[at].key > key || t[at].type != H2_BREF_INDIRECT) {
			*hit = at < n->live && t[at].key == key;
			*table = n;
			*i = at;
			return 0;
		}
		err = h2_node_child(v, n, at, &child);
		h2_node_put(v, n);
		if (err)
			return err;
		n = child;
	}
}

int h2_tree_next(struct h2_vol *v, struct h2_node *root, uint64_t key, struct h2_node **table,
		 unsigned *i)
{
	struct h2_node *n = root, *other;

	h2_node_pin(v, n);
	for (;;) {
		unsigned at = h2_table_lower(n, key);

		if (at == n->live) { /* go on after this block's range, one level up */
			uint64_t end = h2_range_end(n->key, n->keybits);
			other = n->parent;
			if (n == root || end == ~0ull) {
				h2_node_put(v, n);
				return -H2_ENOENT;
			}
			h2_node_pin(v, other);
			h2_node_put(v, n);
			if (key <= end)
				key = end + 1;
			n = other;
			continue;
		}
		if (h2_node_table(n)[at].type != H2_BREF_INDIRECT) {
			*table = n;
			*i = at;
			return 0;
		}
		int err = h2_node_child(v, n, at, &other);
		h2_node_put(v, n);
		if (err)
			return err;
		n = other;
	}
}

/* ---- making room ---- */

static void entries_remove(struct h2_node *n, unsigned i)
{
	struct h2_bref *t = h2_node_table(n);

	memmove(t + i, t + i + 1, (n->live - i - 1) * sizeof(*t));
	n->live--;
	memset(t + n->live, 0, sizeof(*t));
}

static void entries_insert(struct h2_node *n, unsigned i, const struct h2_bref *b)
{
	struct h2_bref *t = h2_node_table(n);

	memmove(t + i + 1, t + i, (n->live - i) * sizeof(*t));
	t[i] = *b;
	n->live++;
}

/* Cached children of `from` with keys in [first, last] move below `to`. */
static void move_kids(struct h2_vol *v, struct h2_node *from, struct h2_node *to,
		      uint64_t first, uint64_t last)
{
	struct h2_node *kid, *next;

	for (kid = from->kids; kid; kid = next) {
		next = kid->kid_next;
		if (kid != to && kid->key >= first && kid->key <= last)
			h2_node_rekey(v, kid, to, kid->key, kid->keybits);
	}
}

static void new_indirect(struct h2_node *table, uint64_t key, unsigned keybits,
			 struct h2_bref *b)
{
	struct h2_bref *up = h2_node_bref(table);

	memset(b, 0, sizeof(*b));
	b->type = H2_BREF_INDIRECT;
	b->key = key;
	b->keybits = keybits;
	b->methods = up->methods & 0xf0;
	if (table->type == H2_BREF_INODE)
		b->methods = h2_node_inode(table)->check_algo << 4;
	if (!(b->methods >> 4) || b->methods >> 4 == H2_CHECK_DISABLED)
		b->methods = H2_CHECK_XXH64 << 4; /* metadata is never unchecked */
}

/* Two blocks side by side in place of a full one; its parent has room. */
static int split(struct h2_vol *v, struct h2_node *a)
{
	struct h2_node *parent = a->parent, *s;
	struct h2_bref *t = h2_node_table(a), b;
	unsigned top = 63 - __builtin_clzll(t[0].key ^ t[a->live - 1].key);
	uint64_t mid = t[a->live - 1].key & ~((1ull << top) - 1);
	uint64_t base = mid & ~(1ull << top);
	uint32_t bytes = a->bytes;
	unsigned m, at;
	int err;

	new_indirect(parent, mid, top, &b);
	err = h2_node_new(v, parent, &b, bytes, &s);
	if (err)
		return err;
	memset(s->buf, 0, bytes);
	t = h2_node_table(a);
	m = h2_table_lower(a, mid);
	s->live = a->live - m;
	memcpy(s->buf, t + m, s->live * sizeof(*t));
	memset(t + m, 0, s->live * sizeof(*t));
	a->live = m;
	move_kids(v, a, s, mid, ~0ull);

	at = h2_table_lower(parent, a->key);
	h2_node_table(parent)[at].key = base;
	h2_node_table(parent)[at].keybits = top;
	entries_insert(parent, at + 1, &b);
	h2_node_rekey(v, a, parent, base, top);
	h2_node_dirty(v, a);
	h2_node_dirty(v, s);
	h2_node_put(v, s);
	return 0;
}

/* Entries lo..hi-1 go into a new indirect block for the given range. */
static int push_down(struct h2_vol *v, struct h2_node *n, unsigned lo, unsigned hi,
		     uint64_t key, unsigned keybits, uint32_t bytes)
{
	struct h2_bref b, *t;
	struct h2_node *s;
	int err;

	if (bytes < n->bytes && n->type == H2_BREF_INDIRECT)
		bytes = n->bytes;
	new_indirect(n, key, keybits, &b);
	err = h2_node_new(v, n, &b, bytes, &s);
	if (err)
		return err;
	memset(s->buf, 0, bytes);
	t = h2_node_table(n);
	s->live = hi - lo;
	memcpy(s->buf, t + lo, s->live * sizeof(*t));
	t[lo] = b;
	memmove(t + lo + 1, t + hi, (n->live - hi) * sizeof(*t));
	n->live -= s->live - 1;
	memset(t + n->live, 0, (s->live - 1) * sizeof(*t));
	move_kids(v, n, s, key, h2_range_end(key, keybits));
	h2_node_dirty(v, s);
	h2_node_put(v, s);
	return 0;
}

static int gather_hashed(struct h2_vol *v, struct h2_node *n)
{
	const struct h2_bref *t = h2_node_table(n);
	uint32_t bytes = INDIRECT_SMALL;
	unsigned lo = 0;

	while (!(t[lo].key >> 63))
		lo++;
	for (unsigned i = lo; i < n->live; i++)
		if (t[i].type == H2_BREF_INDIRECT)
			bytes = INDIRECT_BYTES;
	return push_down(v, n, lo, n->live, 1ull << 63, 63, bytes);
}

/* Longest run of entries of t[0..n-1] within one aligned range of `bits`. */
static unsigned best_run(const struct h2_bref *t, unsigned n, unsigned bits, unsigned *start)
{
	unsigned best = 0;

	for (unsigned i = 0; i < n;) {
		unsigned k = i;
		while (k < n && t[k].keybits <= bits && t[k].key >> bits == t[i].key >> bits)
			k++;
		if (k - i > best) {
			best = k - i;
			*start = i;
		}
		i = k > i ? k : i + 1;
	}
	return best;
}

static int gather_dense(struct h2_vol *v, struct h2_node *n, unsigned count)
{
	const struct h2_bref *t = h2_node_table(n);
	unsigned limit = n->type == H2_BREF_INDIRECT ? n->keybits - 1u : 63;
	unsigned bits = 63, start = 0, run = 0;

	for (unsigned i = 0; i < count; i++)
		if (t[i].keybits < bits)
			bits = t[i].keybits;
	bits += 7; /* log2 of the entries of a 16 KiB block */
	if (bits > limit)
		bits = limit;
	for (; bits <= limit; bits++) {
		run = best_run(t, count, bits, &start);
		if (run >= 2 && run >= count / 2)
			break;
	}
	if (run < 2 || bits > limit || bits > 63)
		return -H2_EUCLEAN; /* keys that are not this node's */
	return push_down(v, n, start, start + run, t[start].key & ~((1ull << bits) - 1), bits,
			 INDIRECT_BYTES);
}

static int make_slot(struct h2_vol *v, struct h2_node *root, struct h2_node *n, uint64_t key)
{
	unsigned dense = 0;

	if (key >> 63) {
		while (n != root && n->parent->live == n->parent->cap)
			n = n->parent;
		if (n != root)
			return split(v, n);
	}
	while (dense < n->live && !(h2_node_table(n)[dense].key >> 63))
		dense++;
	/* In the root of a PFS inodes and entries share the four slots. */
	if (n->live - dense >= 2 && (dense < 2 || key >> 63))
		return gather_hashed(v, n);
	return gather_dense(v, n, dense);
}

int h2_tree_insert(struct h2_vol *v, struct h2_node *root, const struct h2_bref *b,
		   struct h2_node **table, unsigned *i)
{
	while ((*table)->live == (*table)->cap) {
		bool hit = false;
		int err = make_slot(v, root, *table, b->key);

		h2_node_put(v, *table);
		*table = NULL;
		if (!err)
			err = h2_tree_find(v, root, b->key, table, i, &hit);
		if (err)
			return err;
		if (hit) {
			h2_node_put(v, *table);
			*table = NULL;
			return -H2_EEXIST;
		}
	}
	entries_insert(*table, *i, b);
	h2_node_dirty(v, *table);
	return 0;
}

/* ---- removing ---- */

static bool foldable(const struct h2_node *n)
{
	const struct h2_node *p = n->parent;

	return n->live <= n->cap / 4 && p->live - 1u + n->live <= p->cap * 3u / 4;
}

/* The entries of n take its place in the parent. */
static void fold(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *p = n->parent;
	struct h2_bref *t = h2_node_table(p);
	unsigned at = h2_table_lower(p, n->key), count = n->live;

	if (count == 0) {
		entries_remove(p, at);
	} else {
		memmove(t + at + count, t + at + 1, (p->live - at - 1) * sizeof(*t));
		memcpy(t + at, n->buf, count * sizeof(*t));
		p->live += count - 1;
	}
	while (n->kids)
		h2_node_rekey(v, n->kids, p, n->kids->key, n->kids->keybits);
}

void h2_tree_delete(struct h2_vol *v, struct h2_node *n, unsigned i)
{
	entries_remove(n, i);
	h2_node_dirty(v, n);
	while (n->type == H2_BREF_INDIRECT && n->pins == 1 && (n->live == 0 || foldable(n))) {
		struct h2_node *p = n->parent;

		h2_node_pin(v, p);
		h2_node_dirty(v, p);
		fold(v, n);
		n->pins = 0;
		h2_node_drop(v, n);
		n = p;
	}
	h2_node_put(v, n);
}
