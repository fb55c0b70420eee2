/* SPDX-License-Identifier: ISC */
/*
 * The freemap (section 10): two bits for every 16 KiB cell, in 32 KiB leaves of 1 GiB each,
 * below nodes of 256 GiB, 64 TiB ... that sit in the reserved area of each GiB.
 *
 * In memory there is a small reference for every leaf and node, a few leaves in a cache, and
 * for every class of block the segment where its next allocation looks first. A freemap block
 * changed since the last commit moves to the next of its eight rotation slots, once; the nodes
 * are rebuilt from the references at each flush. Nothing here allocates from itself.
 */
#include <string.h>

#include "h2/impl.h"

#define LEAF_SEGMENTS H2_FM_ENTRIES
#define ONES          0x5555555555555555ull

uint64_t h2_fm_level_count(uint64_t size, unsigned level)
{
	unsigned bits = H2_FM_LEVEL_BITS(level);

	return (size >> bits) + ((size & ((1ull << bits) - 1)) != 0);
}

/* ---- leaves ---- */

bool h2_fm_reserved(const struct h2_vol *v, uint64_t off)
{
	uint64_t first = (v->hdr->allocator_beg + H2_SEGMENT_SIZE - 1) & ~(H2_SEGMENT_SIZE - 1);

	return off < first || off % H2_GIB == 0 || off >= (v->size & ~(H2_SEGMENT_SIZE - 1));
}

void h2_fm_init_leaf(const struct h2_vol *v, uint32_t index, struct h2_bmap *map)
{
	memset(map, 0, H2_FM_BYTES);
	for (unsigned i = 0; i < LEAF_SEGMENTS; i++) {
		if (h2_fm_reserved(v, index * H2_GIB + i * H2_SEGMENT_SIZE)) {
			memset(map[i].bits, 0xff, sizeof(map[i].bits));
			map[i].linear = H2_SEGMENT_SIZE;
		} else {
			map[i].avail = H2_SEGMENT_SIZE;
		}
	}
}

static uint64_t leaf_avail(const struct h2_bmap *map)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LEAF_SEGMENTS; i++)
		sum += map[i].avail;
	return sum;
}

/* Slot of the block in the reserved area, after rotation (once in a transaction). */
static void rotate(struct h2_vol *v, struct h2_fmref *r, uint64_t key, unsigned level)
{
	uint64_t slot = 0;

	if (r->data_off) {
		if (r->mirror_tid == v->tid)
			return;
		slot = ((r->data_off & ~H2_RADIX_MASK) >> 16) & 63;
		slot = slot < level ? 0 : ((slot - level) / 5 + 1) % H2_FM_ROTATIONS;
	}
	r->data_off = (key + ((level + 5 * slot) << 16)) | H2_FM_RADIX;
	r->mirror_tid = v->tid;
}

static int block_out(struct h2_vol *v, struct h2_fmref *r, uint64_t key, unsigned level,
		     const void *buf)
{
	rotate(v, r, key, level);
	r->crc = h2_crc32c(0, buf, H2_FM_BYTES);
	return h2_io_write(v, 0, r->data_off & ~H2_RADIX_MASK, buf, H2_FM_BYTES);
}

static int leaf_out(struct h2_vol *v, struct h2_fmleaf *leaf)
{
	struct h2_fmref *r = &v->fm.level[0][leaf->index];
	int err;

	if (!leaf->used || !leaf->dirty)
		return 0;
	r->avail = leaf_avail(leaf->map);
	err = block_out(v, r, leaf->index * H2_GIB, 1, leaf->map);
	if (!err)
		leaf->dirty = false;
	return err;
}

/* The bref a freemap block would have, for reading it. */
static void ref_to_bref(const struct h2_fmref *r, uint64_t key, unsigned level,
			struct h2_bref *b)
{
	memset(b, 0, sizeof(*b));
	b->type = level == 1 ? H2_BREF_FMLEAF : H2_BREF_FMNODE;
	b->methods = H2_CHECK_FREEMAP << 4;
	b->keybits = H2_FM_LEVEL_BITS(level);
	b->key = key;
	b->mirror_tid = b->modify_tid = r->mirror_tid;
	b->data_off = r->data_off;
	b->check.freemap.crc = r->crc;
	b->check.freemap.bigmask = ~0u;
	b->check.freemap.avail = r->avail;
}

/* On damage the counts are recomputed from the bits, which alone are trusted. */
static void leaf_normalise(const struct h2_vol *v, uint32_t index, struct h2_bmap *map)
{
	for (unsigned i = 0; i < LEAF_SEGMENTS; i++) {
		unsigned nfree = 0;

		if (h2_fm_reserved(v, index * H2_GIB + i * H2_SEGMENT_SIZE))
			memset(map[i].bits, 0xff, sizeof(map[i].bits));
		for (int w = 0; w < 8; w++)
			nfree += __builtin_popcountll(~(map[i].bits[w] | map[i].bits[w] >> 1) &
						      ONES);
		map[i].avail = nfree * H2_CELL_SIZE;
		if (map[i].linear < 0 || map[i].linear > (int32_t)H2_SEGMENT_SIZE)
			map[i].linear = H2_SEGMENT_SIZE;
	}
}

static int leaf_in(struct h2_vol *v, uint32_t index, bool create, struct h2_fmleaf *leaf)
{
	struct h2_fmref *r = &v->fm.level[0][index];
	struct h2_bref b;
	int err;

	if (!leaf->map) {
		leaf->map = h2_alloc(v, H2_FM_BYTES);
		if (!leaf->map)
			return -H2_ENOMEM;
	}
	if (!r->data_off) {
		if (!create)
			return -H2_ENOENT;
		h2_fm_init_leaf(v, index, leaf->map);
	} else {
		ref_to_bref(r, index * H2_GIB, 1, &b);
		err = h2_block_read(v, &b, NULL, leaf->map);
		if (err) {
			r->bad = true;
			return err;
		}
		leaf_normalise(v, index, leaf->map);
	}
	r->avail = leaf_avail(leaf->map);
	r->known = true;
	leaf->index = index;
	leaf->used = true;
	leaf->dirty = false;
	return 0;
}

int h2_fm_leaf(struct h2_vol *v, uint32_t index, bool create, struct h2_fmleaf **out)
{
	struct h2_fmleaf *oldest = NULL;
	int err;

	if (index >= v->fm.count[0])
		return -H2_EINVAL;
	if (v->fm.level[0][index].bad)
		return -H2_EIO;
	for (unsigned i = 0; i < H2_FM_CACHED; i++) {
		struct h2_fmleaf *l = &v->fm.cache[i];
		if (l->used && l->index == index) {
			l->stamp = ++v->fm.clock;
			*out = l;
			return 0;
		}
		if (!oldest || !l->used || (oldest->used && l->stamp < oldest->stamp))
			oldest = l;
	}
	err = leaf_out(v, oldest);
	if (err)
		return err;
	oldest->used = false;
	err = leaf_in(v, index, create, oldest);
	if (err)
		return err;
	oldest->stamp = ++v->fm.clock;
	*out = oldest;
	return 0;
}

void h2_fm_leaf_dirty(struct h2_vol *v, struct h2_fmleaf *leaf)
{
	leaf->dirty = true;
	v->fm.dirty = true;
	for (unsigned l = 1; l < H2_FM_LEVELS; l++)
		v->fm.level[l][(uint64_t)leaf->index >> (8 * l)].dirty = true;
}

/* ---- allocation ---- */

/*
 * allocator_free also counts what can never be allocated: the rest of the segment in which the
 * static inodes lie, and a part of a segment at the end.
 */
static uint64_t never_usable(const struct h2_vol *v)
{
	const struct h2_volhdr *h = v->hdr;
	uint64_t first = (h->allocator_beg + H2_SEGMENT_SIZE - 1) & ~(H2_SEGMENT_SIZE - 1);
	uint64_t from = h->aux_end > H2_RESERVE_SIZE ? h->aux_end : H2_RESERVE_SIZE;

	return (first > from ? first - from : 0) + v->size % H2_SEGMENT_SIZE;
}

uint64_t h2_fm_usable(const struct h2_vol *v)
{
	uint64_t lost = never_usable(v);

	return v->fm.free > lost ? v->fm.free - lost : 0;
}

/* First cell of a free, naturally aligned run of 1, 2 or 4 cells; -1 = none. */
static int find_run(const struct h2_bmap *m, unsigned cells)
{
	for (int w = 0; w < 8; w++) {
		uint64_t f = ~(m->bits[w] | m->bits[w] >> 1) & ONES;

		if (cells >= 2)
			f &= f >> 2 & 0x1111111111111111ull;
		if (cells == 4)
			f &= f >> 4 & 0x0101010101010101ull;
		if (f)
			return w * 32 + __builtin_ctzll(f) / 2;
	}
	return -1;
}

static void take(struct h2_vol *v, struct h2_bmap *m, unsigned cell, unsigned cells, int class)
{
	uint64_t mask = ((1ull << (2 * cells)) - 1) << (2 * (cell & 31));

	m->bits[cell >> 5] |= mask;
	m->avail -= cells * H2_CELL_SIZE;
	if (!m->class)
		m->class = class << 8 | H2_BLOCK_BITS;
	v->fm.free -= v->fm.free < cells * H2_CELL_SIZE ? v->fm.free : cells * H2_CELL_SIZE;
}

static unsigned cell_state(const struct h2_bmap *m, unsigned cell)
{
	return m->bits[cell >> 5] >> (2 * (cell & 31)) & 3;
}

/* Offset inside the segment, or -1. */
static long alloc_in(struct h2_vol *v, struct h2_bmap *m, int class, unsigned radix)
{
	uint32_t size = 1u << radix;
	uint32_t in_cell = m->linear & (H2_CELL_SIZE - 1);
	int cell;

	if (radix < H2_CELL_BITS && in_cell && m->linear < (int32_t)H2_SEGMENT_SIZE &&
	    in_cell + size <= H2_CELL_SIZE &&
	    cell_state(m, m->linear >> H2_CELL_BITS) == H2_CELL_USED) {
		long off = m->linear;
		m->linear += size;
		return off;
	}
	if (m->avail == 0)
		return -1;
	cell = find_run(m, radix <= H2_CELL_BITS ? 1 : 1u << (radix - H2_CELL_BITS));
	if (cell < 0)
		return -1;
	take(v, m, cell, radix <= H2_CELL_BITS ? 1 : 1u << (radix - H2_CELL_BITS), class);
	if (radix < H2_CELL_BITS)
		m->linear = cell * H2_CELL_SIZE + size;
	return (long)(cell * H2_CELL_SIZE);
}

static bool class_fits(const struct h2_bmap *m, int class, int pass)
{
	return pass || m->class == 0 || m->class >> 8 == class;
}

/* Try all segments of one leaf from `seg` on. Returns the byte offset, 0 = none, or < 0. */
static int64_t alloc_leaf(struct h2_vol *v, uint32_t index, unsigned seg, int class,
			  unsigned radix, int pass)
{
	struct h2_fmleaf *leaf;
	int err = h2_fm_leaf(v, index, true, &leaf);

	if (err)
		return err == -H2_ENOMEM ? err : 0;
	for (; seg < LEAF_SEGMENTS; seg++) {
		struct h2_bmap *m = &leaf->map[seg];
		uint64_t base = index * H2_GIB + seg * H2_SEGMENT_SIZE;
		long off;

		if (!class_fits(m, class, pass) || h2_fm_reserved(v, base))
			continue;
		off = alloc_in(v, m, class, radix);
		if (off < 0)
			continue;
		v->fm.cursor[class] = (uint64_t)index * LEAF_SEGMENTS + seg;
		h2_fm_leaf_dirty(v, leaf);
		return (int64_t)(base + off);
	}
	v->fm.level[0][index].avail = leaf_avail(leaf->map);
	return 0;
}

/* Worth a look? `avail` of a leaf once read is never too low. */
static bool promising(const struct h2_fmref *r, unsigned radix)
{
	uint64_t need = radix > H2_CELL_BITS ? 1ull << radix : H2_CELL_SIZE;

	return !r->bad && (!r->known || r->avail >= need);
}

int h2_fm_alloc(struct h2_vol *v, int class, unsigned radix, uint64_t *data_off)
{
	uint32_t leaves = v->fm.count[0];

	for (int pass = 0; pass < 2; pass++) {
		uint32_t index = v->fm.cursor[class] / LEAF_SEGMENTS;
		unsigned seg = v->fm.cursor[class] % LEAF_SEGMENTS;

		for (uint32_t tried = 0; tried <= leaves; tried++, seg = 0) {
			const struct h2_fmref *r;
			int64_t off;

			if (index >= leaves)
				index = 0;
			r = &v->fm.level[0][index];
			off = promising(r, radix) || tried == 0
				  ? alloc_leaf(v, index, seg, class, radix, pass)
				  : 0;
			if (off < 0)
				return (int)off;
			if (off) {
				*data_off = (uint64_t)off | radix;
				if (v->bulkfree)
					h2_bulkfree_note(v->bulkfree, *data_off);
				return 0;
			}
			index++;
		}
	}
	return -H2_ENOSPC;
}

static int set_used(struct h2_vol *v, uint64_t data_off)
{
	uint64_t off = data_off & ~H2_RADIX_MASK,
		 end = off + (1ull << (data_off & H2_RADIX_MASK));
	struct h2_fmleaf *leaf;
	int err = h2_fm_leaf(v, off >> H2_LEAF_BITS, true, &leaf);

	if (err)
		return err;
	for (off &= ~(H2_CELL_SIZE - 1); off < end; off += H2_CELL_SIZE) {
		struct h2_bmap *m = &leaf->map[(off >> H2_SEGMENT_BITS) & 255];
		unsigned cell = (off >> H2_CELL_BITS) & 255, shift = 2 * (cell & 31);
		unsigned state = m->bits[cell >> 5] >> shift & 3;

		if (state == H2_CELL_USED)
			continue;
		if (state == H2_CELL_FREE) {
			m->avail -= H2_CELL_SIZE;
			v->fm.free -= v->fm.free < H2_CELL_SIZE ? v->fm.free : H2_CELL_SIZE;
		}
		m->bits[cell >> 5] |= 3ull << shift;
		h2_fm_leaf_dirty(v, leaf);
	}
	return 0;
}

int h2_fm_touch(struct h2_vol *v, uint64_t data_off)
{
	if (v->bulkfree)
		h2_bulkfree_note(v->bulkfree, data_off);
	return set_used(v, data_off);
}

int h2_fm_mark_used(struct h2_vol *v, uint64_t data_off)
{
	return set_used(v, data_off);
}

/* ---- the tree on disk ---- */

/* Does the node at `level` have anything below? */
static bool populated(const struct h2_vol *v, unsigned level, uint32_t index)
{
	uint64_t first = (uint64_t)index << (8 * (level - 1));
	uint64_t last = (index + 1ull) << (8 * (level - 1));

	if (last > v->fm.count[0])
		last = v->fm.count[0];
	for (; first < last; first++)
		if (v->fm.level[0][first].data_off)
			return true;
	return false;
}

/* Rebuild node `index` of `level` from the references one level down. */
static int node_out(struct h2_vol *v, unsigned level, uint32_t index)
{
	struct h2_bref *t = (struct h2_bref *)v->scratch;
	struct h2_fmref *r = &v->fm.level[level - 1][index];
	uint32_t first = index << 8;
	int err;

	memset(t, 0, H2_FM_BYTES);
	for (unsigned i = 0; i < H2_FM_ENTRIES && first + i < v->fm.count[level - 2]; i++) {
		const struct h2_fmref *kid = &v->fm.level[level - 2][first + i];
		if (kid->data_off)
			ref_to_bref(kid, (uint64_t)(first + i) << H2_FM_LEVEL_BITS(level - 1),
				    level - 1, &t[i]);
	}
	err = block_out(v, r, (uint64_t)index << H2_FM_LEVEL_BITS(level), level, t);
	if (!err)
		r->dirty = false;
	return err;
}

/* Lowest level of which at most four blocks exist: these hang in the volume header. */
static unsigned top_level(const struct h2_vol *v)
{
	for (unsigned level = 1; level < H2_FM_LEVELS; level++) {
		unsigned n = 0;
		for (uint32_t i = 0; i < v->fm.count[level - 1]; i++)
			n += populated(v, level, i);
		if (n <= H2_SET_COUNT)
			return level;
	}
	return H2_FM_LEVELS;
}

int h2_fm_flush(struct h2_vol *v)
{
	unsigned top, n = 0;
	int err;

	if (!v->fm.dirty)
		return 0;
	for (unsigned i = 0; i < H2_FM_CACHED; i++) {
		err = leaf_out(v, &v->fm.cache[i]);
		if (err)
			return err;
	}
	top = top_level(v);
	for (unsigned level = 2; level <= top; level++)
		for (uint32_t i = 0; i < v->fm.count[level - 1]; i++) {
			struct h2_fmref *r = &v->fm.level[level - 1][i];
			if (!populated(v, level, i) || (r->data_off && !r->dirty))
				continue;
			err = node_out(v, level, i);
			if (err)
				return err;
		}
	memset(v->hdr->freemap, 0, sizeof(v->hdr->freemap));
	for (uint32_t i = 0; i < v->fm.count[top - 1]; i++)
		if (v->fm.level[top - 1][i].data_off && n < H2_SET_COUNT)
			ref_to_bref(&v->fm.level[top - 1][i],
				    (uint64_t)i << H2_FM_LEVEL_BITS(top), top,
				    &v->hdr->freemap[n++]);
	v->fm.dirty = false;
	return 0;
}

/* ---- mount ---- */

static int load(struct h2_vol *v, const struct h2_bref *t, unsigned n, unsigned parent_level)
{
	for (unsigned i = 0; i < n; i++) {
		const struct h2_bref *b = &t[i];
		unsigned level = (b->keybits - 30u) / 8 + 1;
		struct h2_fmref *r;
		uint64_t index;
		int err = 0;

		if (b->type == H2_BREF_EMPTY)
			continue;
		if (b->keybits < 30 || (b->keybits - 30) % 8 || level >= parent_level ||
		    (level == 1) != (b->type == H2_BREF_FMLEAF) ||
		    (level > 1) != (b->type == H2_BREF_FMNODE) ||
		    b->methods >> 4 != H2_CHECK_FREEMAP || h2_bref_radix(b) != H2_FM_RADIX)
			err = -H2_EUCLEAN;
		index = err ? 0 : b->key >> b->keybits;
		if (!err &&
		    (index >= v->fm.count[level - 1] ||
		     h2_bref_off(b) > v->size - H2_FM_BYTES || (b->data_off >> 16 & 63) == 0 ||
		     (h2_bref_off(b) & (H2_GIB - 1)) >= H2_RESERVE_SIZE))
			err = -H2_EUCLEAN;
		if (err) {
			h2_event_bref(v, H2_EV_BAD_STRUCT, b, NULL,
				      "impossible freemap pointer");
			return err;
		}
		r = &v->fm.level[level - 1][index];
		r->data_off = b->data_off;
		r->mirror_tid = b->mirror_tid < v->tid ? b->mirror_tid : v->tid - 1;
		r->crc = b->check.freemap.crc;
		r->avail = b->check.freemap.avail;
		if (level == 1)
			continue;
		struct h2_bref *node = h2_alloc(v, H2_FM_BYTES);
		if (!node)
			return -H2_ENOMEM;
		err = h2_block_read(v, b, NULL, node);
		if (!err)
			err = load(v, node, H2_FM_ENTRIES, level);
		h2_free(v, node, H2_FM_BYTES);
		if (err)
			return err;
	}
	return 0;
}

int h2_fm_init(struct h2_vol *v)
{
	struct h2_freemap *fm = &v->fm;

	for (unsigned l = 0; l < H2_FM_LEVELS; l++) {
		uint64_t n = h2_fm_level_count(v->size, l + 1);

		if (n > 1u << 20)
			return -H2_ENOTSUP; /* more than 1 PiB: the references would not fit */
		fm->count[l] = n;
		fm->level[l] = h2_zalloc(v, n * sizeof(**fm->level));
		if (!fm->level[l])
			return -H2_ENOMEM;
	}
	fm->free = v->hdr->allocator_free;
	return load(v, v->hdr->freemap, H2_SET_COUNT, H2_FM_LEVELS + 1);
}

void h2_fm_done(struct h2_vol *v)
{
	for (unsigned l = 0; l < H2_FM_LEVELS; l++)
		h2_free(v, v->fm.level[l], v->fm.count[l] * sizeof(**v->fm.level));
	for (unsigned i = 0; i < H2_FM_CACHED; i++)
		h2_free(v, v->fm.cache[i].map, H2_FM_BYTES);
}
