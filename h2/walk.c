/* SPDX-License-Identifier: ISC */
/*
 * Walking the committed topology straight from the medium, past the cache: for scrub,
 * bulkfree, check, recovery. Depth first with an explicit stack; every pointer and table is
 * judged before it is followed, and a frame's key range lies inside its parent's, so a damaged
 * volume can't make the walk endless.
 *
 * Snapshots share subtrees. A lossy set of subtrees already walked keeps the cost of a volume
 * with many snapshots near that of its distinct blocks; losing an entry costs time only.
 */
#include <string.h>

#include "h2/impl.h"

#define AHEAD 16u

int h2_walk_begin(struct h2_walk *w, struct h2_vol *v, const struct h2_bref *set,
		  bool read_data, uint32_t seen_entries)
{
	struct h2_walk_frame *f = &w->frame[0];

	memset(w, 0, sizeof(*w));
	w->vol = v;
	w->read_data = read_data;
	f->bytes = H2_SET_COUNT * sizeof(*set);
	f->mem = h2_alloc(v, f->bytes);
	w->buf = h2_alloc(v, H2_BLOCK_SIZE);
	if (seen_entries) {
		w->seen_mask = seen_entries - 1;
		w->seen = h2_zalloc(v, seen_entries * sizeof(*w->seen));
	}
	if (!f->mem || !w->buf || (seen_entries && !w->seen)) {
		h2_free(v, f->mem, f->bytes);
		h2_walk_end(w);
		return -H2_ENOMEM;
	}
	memcpy(f->mem, set, f->bytes);
	f->table = (struct h2_bref *)f->mem;
	f->cap = H2_SET_COUNT;
	f->keybits = 64;
	f->type = H2_BREF_VOLROOT;
	w->depth = 1;
	return 0;
}

void h2_walk_end(struct h2_walk *w)
{
	while (w->depth) {
		struct h2_walk_frame *f = &w->frame[--w->depth];
		h2_free(w->vol, f->mem, f->bytes);
	}
	h2_free(w->vol, w->buf, H2_BLOCK_SIZE);
	h2_free(w->vol, w->seen, (w->seen_mask + 1) * sizeof(*w->seen));
	w->buf = NULL;
	w->seen = NULL;
}

static bool seen_before(struct h2_walk *w, const struct h2_bref *b)
{
	uint64_t *slot;

	if (!w->seen)
		return false;
	slot = &w->seen[(b->data_off * 0x9e3779b97f4a7c15ull >> 32) & w->seen_mask];
	if (*slot == b->data_off)
		return true;
	*slot = b->data_off;
	return false;
}

static const char *entry_fault(const struct h2_walk_frame *f, const struct h2_bref *b)
{
	bool single = b->type == H2_BREF_INODE || b->type == H2_BREF_DIRENT;

	if (b->type > H2_BREF_DIRENT)
		return "unknown type of block reference";
	if (b->keybits > 63 || (single && b->keybits) ||
	    (b->type == H2_BREF_DATA && b->keybits != H2_BLOCK_BITS))
		return "impossible key range";
	if (b->key & h2_range_end(0, b->keybits))
		return "key not aligned to its range";
	if (b->key < f->key ||
	    h2_range_end(b->key, b->keybits) > h2_range_end(f->key, f->keybits))
		return "key outside of the parent's range";
	if (b->type == H2_BREF_INDIRECT && f->keybits < 64 && b->keybits >= f->keybits)
		return "indirect block as wide as its parent";
	return NULL;
}

static int bad(struct h2_walk_item *it, const char *what)
{
	it->error = -H2_EUCLEAN;
	it->what = what;
	return 1;
}

/* Read the inode or indirect block and make it the new top of the stack. */
static int descend(struct h2_walk *w, const struct h2_walk_frame *f, struct h2_walk_item *it)
{
	const struct h2_bref *b = it->bref;
	struct h2_walk_frame *sub = &w->frame[w->depth];
	struct h2_where at = {.ino = f->ino, .pfs = w->pfs};
	uint32_t bytes = h2_bref_bytes(b);
	const struct h2_inode *ip;

	if (b->type == H2_BREF_INODE && bytes != sizeof(struct h2_inode))
		return bad(it, "inode of a wrong size");
	if (b->type == H2_BREF_INDIRECT && bytes < 4096)
		return bad(it, "indirect block of a wrong size");
	if (w->depth == H2_WALK_DEPTH)
		return bad(it, "nested too deeply");
	memset(sub, 0, sizeof(*sub));
	sub->mem = h2_alloc(w->vol, bytes);
	if (!sub->mem)
		return -H2_ENOMEM;
	sub->bytes = bytes;
	sub->type = b->type;
	it->error = h2_block_read(w->vol, b, &at, sub->mem);
	if (it->error) {
		h2_free(w->vol, sub->mem, bytes);
		if (it->error == -H2_EUCLEAN)
			it->what = "block pointer out of bounds";
		return 1;
	}
	it->block = sub->mem;
	w->depth++;
	if (b->type == H2_BREF_INDIRECT) {
		sub->table = (struct h2_bref *)sub->mem;
		sub->cap = bytes / sizeof(*sub->table);
		sub->key = b->key;
		sub->keybits = b->keybits;
		sub->ino = f->ino;
		return 1;
	}
	ip = (const struct h2_inode *)sub->mem;
	sub->ino = ip->inum;
	sub->keybits = 64;
	if (ip->op_flags & H2_OP_PFSROOT) {
		unsigned n = ip->name_len < 255 ? ip->name_len : 255;
		memcpy(w->pfs, ip->filename, n);
		w->pfs[n] = 0;
	}
	if (!(ip->op_flags & H2_OP_DIRECTDATA)) {
		sub->table = (struct h2_bref *)(sub->mem + offsetof(struct h2_inode, u));
		sub->cap = H2_SET_COUNT;
	}
	return 1;
}

/* Inodes do not nest but for PFS roots; this bounds depth as key ranges do below an inode. */
static bool inode_too_deep(const struct h2_walk *w)
{
	unsigned inodes = 0;

	for (unsigned i = 0; i < w->depth; i++)
		inodes += w->frame[i].type == H2_BREF_INODE;
	return inodes >= 3;
}

/* Blocks of a file are read one after the other: announce some ahead. */
static void prefetch(struct h2_walk *w, const struct h2_walk_frame *f)
{
	struct h2_vol *v = w->vol;
	unsigned last = f->next + AHEAD < f->cap ? f->next + AHEAD : f->cap;

	if (!v->env.dev_ops->prefetch || f->next % AHEAD)
		return;
	for (unsigned i = f->next; i < last; i++)
		if (f->table[i].type == H2_BREF_DATA && !h2_bref_valid(v, &f->table[i]))
			v->env.dev_ops->prefetch(v->env.dev, h2_bref_off(&f->table[i]),
						 h2_bref_bytes(&f->table[i]));
}

int h2_walk_next(struct h2_walk *w, struct h2_walk_item *it)
{
	struct h2_walk_frame *f;
	struct h2_bref *b;
	const char *fault;

	memset(it, 0, sizeof(*it));
	for (;;) {
		if (!w->depth)
			return 0;
		f = &w->frame[w->depth - 1];
		if (f->next == f->cap) {
			h2_free(w->vol, f->mem, f->bytes);
			w->depth--;
			continue;
		}
		b = &f->table[f->next++];
		if (b->type != H2_BREF_EMPTY)
			break;
	}
	it->bref = b;
	it->in = f;
	fault = entry_fault(f, b);
	if (!fault && b->type == H2_BREF_INODE && inode_too_deep(w))
		fault = "inode below an inode of a file";
	if (fault)
		return bad(it, fault);
	if (b->type == H2_BREF_DIRENT && !b->data_off)
		return 1;
	if (h2_bref_valid(w->vol, b))
		return bad(it, "block pointer out of bounds");
	if (seen_before(w, b)) {
		it->skipped = true;
		return 1;
	}
	if (b->type == H2_BREF_INODE || b->type == H2_BREF_INDIRECT)
		return descend(w, f, it);
	if (w->read_data) {
		prefetch(w, f);
		struct h2_where at = {.ino = f->ino, .pfs = w->pfs};
		it->error = h2_block_read(w->vol, b, &at, w->buf);
		it->block = w->buf;
	}
	return 1;
}
