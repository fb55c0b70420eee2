/* SPDX-License-Identifier: ISC */
/*
 * The block cache: a bounded set of inodes, indirect blocks and file blocks, arranged as the
 * tree on disk is. A node hangs below the node whose table holds its bref, so a parent can't
 * leave before its children; eviction takes the least recently used node without children and
 * pins, writing it out first when it is dirty. Writing a node changes its bref in the parent,
 * which was dirty already: dirt is always marked up to the volume root at once, so that
 * dirty_used is what a commit would have to write.
 */
#include <string.h>

#include "h2/impl.h"

int h2_cache_init(struct h2_vol *v, size_t bytes)
{
	uint32_t buckets = 256;

	while (buckets < bytes / 1024 && buckets < 1u << 22)
		buckets <<= 1;
	v->cache_max = bytes;
	v->hash_mask = buckets - 1;
	v->hash = h2_zalloc(v, buckets * sizeof(*v->hash));
	if (!v->hash)
		return -H2_ENOMEM;
	return 0;
}

/* ---- where things are in a node ---- */

struct h2_inode *h2_node_inode(struct h2_node *n)
{
	return (struct h2_inode *)n->buf;
}

struct h2_bref *h2_node_table(struct h2_node *n)
{
	if (n->type == H2_BREF_INODE)
		return h2_node_inode(n)->u.set;
	return (struct h2_bref *)n->buf;
}

struct h2_bref *h2_node_bref(struct h2_node *n)
{
	unsigned i;

	if (!n->parent)
		return NULL;
	i = h2_table_lower(n->parent, n->key);
	return &h2_node_table(n->parent)[i];
}

struct h2_node *h2_node_owner(struct h2_node *n)
{
	while (n && n->type != H2_BREF_INODE)
		n = n->parent;
	return n;
}

void h2_node_where(struct h2_node *n, struct h2_where *out)
{
	struct h2_node *owner = h2_node_owner(n);

	memset(out, 0, sizeof(*out));
	if (!owner)
		return;
	out->ino = h2_node_inode(owner)->inum;
	for (; owner; owner = owner->parent)
		if (owner->type == H2_BREF_INODE &&
		    (h2_node_inode(owner)->op_flags & H2_OP_PFSROOT))
			out->pfs = h2_node_inode(owner)->filename;
}

/* ---- hash and LRU ---- */

static uint32_t bucket_of(const struct h2_vol *v, const struct h2_node *parent, uint64_t key)
{
	uint64_t h = (key ^ (uintptr_t)parent >> 4) * 0x9e3779b97f4a7c15ull;

	h = (h ^ h >> 29) * 0xff51afd7ed558ccdull;
	return (h ^ h >> 32) & v->hash_mask;
}

struct h2_node *h2_cache_find(struct h2_vol *v, struct h2_node *parent, uint64_t key)
{
	struct h2_node *n = v->hash[bucket_of(v, parent, key)];

	while (n && (n->parent != parent || n->key != key))
		n = n->hash_next;
	return n;
}

static void hash_add(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node **b = &v->hash[bucket_of(v, n->parent, n->key)];

	n->hash_next = *b;
	*b = n;
}

static void hash_del(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node **b = &v->hash[bucket_of(v, n->parent, n->key)];

	while (*b != n)
		b = &(*b)->hash_next;
	*b = n->hash_next;
}

static void lru_add(struct h2_vol *v, struct h2_node *n)
{
	if (n->on_lru || n->pins || n->kids)
		return;
	n->on_lru = true;
	n->lru_prev = NULL;
	n->lru_next = v->lru_head;
	if (v->lru_head)
		v->lru_head->lru_prev = n;
	else
		v->lru_tail = n;
	v->lru_head = n;
}

static void lru_del(struct h2_vol *v, struct h2_node *n)
{
	if (!n->on_lru)
		return;
	n->on_lru = false;
	if (n->lru_prev)
		n->lru_prev->lru_next = n->lru_next;
	else
		v->lru_head = n->lru_next;
	if (n->lru_next)
		n->lru_next->lru_prev = n->lru_prev;
	else
		v->lru_tail = n->lru_prev;
}

static void kid_add(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *p = n->parent;

	lru_del(v, p);
	n->kid_next = NULL;
	n->kid_prev = p->kid_last;
	if (p->kid_last)
		p->kid_last->kid_next = n;
	else
		p->kids = n;
	p->kid_last = n;
}

static void kid_del(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *p = n->parent;

	if (n->kid_prev)
		n->kid_prev->kid_next = n->kid_next;
	else
		p->kids = n->kid_next;
	if (n->kid_next)
		n->kid_next->kid_prev = n->kid_prev;
	else
		p->kid_last = n->kid_prev;
	lru_add(v, p);
}

void h2_node_pin(struct h2_vol *v, struct h2_node *n)
{
	lru_del(v, n);
	n->pins++;
}

void h2_node_put(struct h2_vol *v, struct h2_node *n)
{
	if (n && --n->pins == 0)
		lru_add(v, n);
}

/* ---- dirt ---- */

void h2_node_dirty(struct h2_vol *v, struct h2_node *n)
{
	for (; n && !n->dirty; n = n->parent) {
		n->dirty = true;
		v->dirty_used += n->bytes;
	}
}

void h2_node_clean(struct h2_vol *v, struct h2_node *n)
{
	if (n->dirty) {
		n->dirty = false;
		v->dirty_used -= n->bytes;
	}
}

/* ---- life and death ---- */

static void node_free(struct h2_vol *v, struct h2_node *n)
{
	v->cache_used -= n->bytes + sizeof(*n);
	h2_free(v, n->buf, n->bytes);
	h2_free(v, n, sizeof(*n));
}

static void node_detach(struct h2_vol *v, struct h2_node *n)
{
	h2_node_clean(v, n);
	lru_del(v, n);
	if (n->parent) {
		hash_del(v, n);
		kid_del(v, n);
	}
	node_free(v, n);
}

/* Depth is bounded: key ranges shrink with every level (h2_table_check). */
void h2_node_drop(struct h2_vol *v, struct h2_node *n)
{
	while (n->kids)
		h2_node_drop(v, n->kids);
	node_detach(v, n);
}

void h2_cache_done(struct h2_vol *v)
{
	if (v->vroot)
		h2_node_drop(v, v->vroot);
	v->vroot = NULL;
	h2_free(v, v->hash, (v->hash_mask + 1) * sizeof(*v->hash));
}

/* A dirty node goes to the medium. False when that is not possible now. */
static bool write_out(struct h2_vol *v, struct h2_node *n)
{
	int err;

	if (v->in_flush || v->failed)
		return false; /* the flush writes it itself, in its own order */
	h2_node_pin(v, n);
	err = h2_node_write(v, n);
	h2_node_put(v, n);
	return !err;
}

/*
 * Make room by evicting. What can't leave (pins; no space or a failed device for what is
 * dirty) lets the cache exceed its bound rather than fail the operation half way.
 */
static void make_room(struct h2_vol *v, size_t bytes)
{
	struct h2_node *n = v->lru_tail, *next;
	int stuck = 0;

	while (v->cache_used + bytes > v->cache_max && n && stuck < 64) {
		next = n->lru_prev;
		if (n->dirty && !write_out(v, n))
			stuck++;
		else
			node_detach(v, n);
		n = next;
	}
}

int h2_node_new(struct h2_vol *v, struct h2_node *parent, const struct h2_bref *b,
		uint32_t bytes, struct h2_node **out)
{
	struct h2_node *n;

	h2_node_pin(v, parent);
	make_room(v, bytes + sizeof(*n));
	h2_node_put(v, parent);
	n = h2_zalloc(v, sizeof(*n));
	if (!n)
		return -H2_ENOMEM;
	n->buf = h2_alloc(v, bytes);
	if (!n->buf) {
		h2_free(v, n, sizeof(*n));
		return -H2_ENOMEM;
	}
	n->parent = parent;
	n->bytes = bytes;
	n->type = b->type;
	n->key = b->key;
	n->keybits = b->keybits;
	if (n->type == H2_BREF_INDIRECT)
		n->cap = bytes / sizeof(struct h2_bref);
	n->pins = 1;
	v->cache_used += bytes + sizeof(*n);
	hash_add(v, n);
	kid_add(v, n);
	*out = n;
	return 0;
}

int h2_node_resize(struct h2_vol *v, struct h2_node *n, uint32_t bytes)
{
	uint8_t *buf = h2_alloc(v, bytes);

	if (!buf)
		return -H2_ENOMEM;
	memcpy(buf, n->buf, bytes < n->bytes ? bytes : n->bytes);
	if (bytes > n->bytes)
		memset(buf + n->bytes, 0, bytes - n->bytes);
	h2_free(v, n->buf, n->bytes);
	v->cache_used += (size_t)bytes - n->bytes;
	if (n->dirty)
		v->dirty_used += (size_t)bytes - n->bytes;
	n->buf = buf;
	n->bytes = bytes;
	if (n->type == H2_BREF_INDIRECT)
		n->cap = bytes / sizeof(struct h2_bref);
	return 0;
}

/* The node gets another place in the tree; its bref is there already. */
void h2_node_rekey(struct h2_vol *v, struct h2_node *n, struct h2_node *parent, uint64_t key,
		   unsigned keybits)
{
	hash_del(v, n);
	kid_del(v, n);
	n->parent = parent;
	n->key = key;
	n->keybits = keybits;
	hash_add(v, n);
	kid_add(v, n);
	if (n->dirty)
		h2_node_dirty(v, parent);
}

/* ---- reading ---- */

static bool entry_ok(const struct h2_node *n, const struct h2_bref *b)
{
	uint64_t first = n->type == H2_BREF_INDIRECT ? n->key : 0;
	uint64_t last = h2_range_end(first, n->type == H2_BREF_INDIRECT ? n->keybits : 64);
	bool leaf = b->type == H2_BREF_INODE || b->type == H2_BREF_DIRENT;

	if (b->type < H2_BREF_INODE || b->type > H2_BREF_DIRENT)
		return false;
	if (b->keybits > 63 || (leaf && b->keybits) ||
	    (b->type == H2_BREF_DATA && b->keybits != H2_BLOCK_BITS))
		return false;
	if (b->key & (h2_range_end(0, b->keybits)))
		return false;
	if (b->key < first || h2_range_end(b->key, b->keybits) > last)
		return false;
	/* Ranges shrink strictly, which bounds depth whatever a damaged volume says. */
	return n->type != H2_BREF_INDIRECT || b->type != H2_BREF_INDIRECT ||
	       b->keybits < n->keybits;
}

/*
 * Rules of section 4 for a table just read; holes are squeezed out so that lookups can be
 * binary searches. A transaction number from the future would make us overwrite a block in
 * place, so it is brought down to the last commit's.
 */
int h2_table_check(struct h2_vol *v, struct h2_node *n)
{
	struct h2_bref *t = h2_node_table(n);
	unsigned live = 0;

	for (unsigned i = 0; i < n->cap; i++) {
		if (t[i].type == H2_BREF_EMPTY)
			continue;
		if (!entry_ok(n, &t[i]))
			return -H2_EUCLEAN;
		if (live && h2_range_end(t[live - 1].key, t[live - 1].keybits) >= t[i].key)
			return -H2_EUCLEAN;
		if (t[i].mirror_tid >= v->tid)
			t[i].mirror_tid = v->tid - 1;
		if (live != i)
			t[live] = t[i];
		live++;
	}
	memset(t + live, 0, (n->cap - live) * sizeof(*t));
	n->live = live;
	return 0;
}

static int inode_check(struct h2_vol *v, struct h2_node *n)
{
	struct h2_inode *ip = h2_node_inode(n);

	if (ip->version != 1 || ip->name_len > sizeof(ip->filename))
		return -H2_EUCLEAN;
	if (!(ip->op_flags & H2_OP_PFSROOT) && ip->inum != n->key)
		return -H2_EUCLEAN;
	if (ip->op_flags & H2_OP_DIRECTDATA) {
		if (ip->size > H2_EMBED_BYTES || ip->type == H2_OBJ_DIR)
			return -H2_EUCLEAN;
		return 0;
	}
	if (ip->size > (1ull << 62))
		return -H2_EUCLEAN;
	n->cap = H2_SET_COUNT;
	return h2_table_check(v, n);
}

static int fill(struct h2_vol *v, struct h2_node *n, const struct h2_bref *b)
{
	struct h2_where at;
	int err;

	h2_node_where(n, &at);
	if (n->type == H2_BREF_DATA) {
		err = h2_block_read(v, b, &at, v->scratch);
		if (err)
			return err;
		err = h2_unpack(v->env.codec, v->work, b->methods & 15, v->scratch,
				h2_bref_bytes(b), n->buf, n->bytes);
	} else {
		err = h2_block_read(v, b, &at, n->buf);
		if (err)
			return err;
		err = n->type == H2_BREF_INODE ? inode_check(v, n) : h2_table_check(v, n);
	}
	if (err == -H2_EUCLEAN)
		h2_event_bref(v, H2_EV_BAD_STRUCT, b, &at,
			      "block breaks the rules of the format");
	return err;
}

int h2_node_child(struct h2_vol *v, struct h2_node *parent, unsigned i, struct h2_node **out)
{
	struct h2_bref b = h2_node_table(parent)[i];
	struct h2_node *n = h2_cache_find(v, parent, b.key);
	uint32_t bytes;
	int err;

	if (n) {
		v->hits++;
		h2_node_pin(v, n);
		*out = n;
		return 0;
	}
	v->misses++;
	/* What a compressed block grows to is only known to be at most a whole block. */
	bytes = b.type == H2_BREF_DATA && b.methods & 15 ? H2_BLOCK_SIZE : h2_bref_bytes(&b);
	if (h2_bref_valid(v, &b) ||
	    (b.type == H2_BREF_INODE && bytes != sizeof(struct h2_inode)) ||
	    (b.type == H2_BREF_INDIRECT && bytes < 4096)) {
		struct h2_where at;
		h2_node_where(parent, &at);
		h2_event_bref(v, H2_EV_BAD_STRUCT, &b, &at, "impossible block pointer");
		return -H2_EUCLEAN;
	}
	err = h2_node_new(v, parent, &b, bytes, &n);
	if (err)
		return err;
	/* Room was made by writing blocks, which may have changed the bref. */
	err = fill(v, n, &h2_node_table(parent)[h2_table_lower(parent, b.key)]);
	if (err) {
		n->pins = 0;
		node_detach(v, n);
		return err == -H2_EUCLEAN ? -H2_EIO : err;
	}
	*out = n;
	return 0;
}
