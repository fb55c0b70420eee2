/* SPDX-License-Identifier: ISC */
/*
 * Bulkfree (section 11). Deleting never touches the freemap; a pass walks what the last commit
 * can reach, collects the cells in a bitmap, and moves every other cell one step towards free:
 * used -> staged -> free. Two passes with commits in between, one for each header copy, so that
 * no copy of the header refers to a freed cell.
 *
 * The bitmap covers a window of the volume; a bigger volume takes several walks per pass.
 * Blocks allocated or shared while a walk runs are noted in the same bitmap. A block that can't
 * be read ends the run before anything in its window is staged: what hangs below is unknown.
 */
#include <string.h>

#include "h2/impl.h"

#define WINDOW_LEAVES 128u /* GiB; 8192 bytes of bitmap for each */
#define LEAF_BYTES    (65536u / 8)
#define SEEN_ENTRIES  65536u

enum phase {
	PHASE_START,
	PHASE_WALK,
	PHASE_APPLY,
	PHASE_DONE
};

struct h2_bulkfree {
	struct h2_vol *vol;
	enum phase phase;
	uint32_t first, count; /* window, in leaves */
	uint32_t leaf;         /* next to be applied */
	bool walking;
	uint8_t *bits;
	uint32_t bits_len;
	struct h2_progress done;
	struct h2_walk walk;
};

static void mark(struct h2_bulkfree *b, uint64_t data_off)
{
	uint64_t off = data_off & ~H2_RADIX_MASK;
	uint64_t cell = off >> H2_CELL_BITS,
		 last = (off + (1ull << (data_off & 63)) - 1) >> H2_CELL_BITS;
	uint64_t base = (uint64_t)b->first << (H2_LEAF_BITS - H2_CELL_BITS);

	for (; cell <= last; cell++)
		if (cell >= base && cell - base < (uint64_t)b->count << 16)
			b->bits[(cell - base) >> 3] |= 1u << (cell & 7);
}

void h2_bulkfree_note(struct h2_bulkfree *b, uint64_t data_off)
{
	mark(b, data_off);
}

int h2_bulkfree_begin(struct h2_vol *v, struct h2_bulkfree **out)
{
	struct h2_bulkfree *b;
	int err = h2_writable(v);

	if (err)
		return err;
	if (v->bulkfree || v->scrubs)
		return -H2_EAGAIN;
	b = h2_zalloc(v, sizeof(*b));
	if (!b)
		return -H2_ENOMEM;
	b->vol = v;
	b->count = v->fm.count[0] < WINDOW_LEAVES ? v->fm.count[0] : WINDOW_LEAVES;
	b->bits_len = b->count * LEAF_BYTES;
	b->bits = h2_zalloc(v, b->bits_len);
	if (!b->bits) {
		h2_free(v, b, sizeof(*b));
		return -H2_ENOMEM;
	}
	b->done.pass = 1;
	b->done.total_bytes = 2 * (v->hdr->allocator_size - v->fm.free);
	h2_dedup_forget(v);
	v->bulkfree = b;
	*out = b;
	return 0;
}

static void walk_stop(struct h2_bulkfree *b)
{
	if (b->walking)
		h2_walk_end(&b->walk);
	b->walking = false;
}

void h2_bulkfree_end(struct h2_bulkfree *b)
{
	struct h2_vol *v = b->vol;

	walk_stop(b);
	h2_dedup_forget(v);
	v->bulkfree = NULL;
	h2_free(v, b->bits, b->bits_len);
	h2_free(v, b, sizeof(*b));
}

/* A window begins: commit, then walk exactly that state. */
static int start(struct h2_bulkfree *b)
{
	struct h2_vol *v = b->vol;
	int err = h2_commit(v, false);

	if (err)
		return err;
	memset(b->bits, 0, b->bits_len);
	b->count = v->fm.count[0] - b->first;
	if (b->count > WINDOW_LEAVES)
		b->count = WINDOW_LEAVES;
	err = h2_walk_begin(&b->walk, v, v->hdr->sroot, false, SEEN_ENTRIES);
	if (err)
		return err;
	b->walking = true;
	b->phase = PHASE_WALK;
	return 0;
}

static int walk(struct h2_bulkfree *b, uint64_t until)
{
	struct h2_walk_item it;

	while (b->done.done_bytes < until) {
		int more = h2_walk_next(&b->walk, &it);

		if (more < 0)
			return more;
		if (!more) {
			walk_stop(b);
			b->phase = PHASE_APPLY;
			b->leaf = b->first;
			return 0;
		}
		if (it.error) {
			b->done.bad++;
			return -H2_EIO;
		}
		if (!it.bref->data_off)
			continue;
		mark(b, it.bref->data_off);
		b->done.blocks++;
		b->done.inodes += it.bref->type == H2_BREF_INODE;
		b->done.done_bytes += h2_bref_bytes(it.bref);
	}
	return 0;
}

struct totals {
	uint64_t freed, staged;
	uint64_t run, run_len; /* being discarded */
	bool changed;
};

/*
 * One cell: where it goes from its state, reachable or not. Only the second pass frees, also
 * what an interrupted run has staged: by then every header copy is younger than the staging.
 */
static unsigned next_state(unsigned state, bool reachable, unsigned pass)
{
	if (reachable)
		return H2_CELL_USED;
	if (state == H2_CELL_USED)
		return H2_CELL_STAGED;
	return state == H2_CELL_STAGED && pass == 2 ? H2_CELL_FREE : state;
}

/* Neighbouring cells are discarded together; off 0 ends the last run. */
static void discard(struct h2_vol *v, struct totals *t, uint64_t off)
{
	if (off && off == t->run + t->run_len) {
		t->run_len += H2_CELL_SIZE;
		return;
	}
	if (t->run_len && v->env.dev_ops->discard)
		v->env.dev_ops->discard(v->env.dev, t->run, t->run_len);
	t->run = off;
	t->run_len = off ? H2_CELL_SIZE : 0;
}

static void apply_segment(struct h2_bulkfree *b, uint64_t base, struct h2_bmap *m,
			  const uint8_t *reach, struct totals *t)
{
	struct h2_vol *v = b->vol;
	unsigned nfree = 0;

	for (unsigned c = 0; c < 256; c++) {
		unsigned shift = 2 * (c & 31), state = m->bits[c >> 5] >> shift & 3;
		unsigned next = next_state(state, reach[c >> 3] >> (c & 7) & 1, b->done.pass);

		nfree += next == H2_CELL_FREE;
		if (next == state)
			continue;
		t->changed = true;
		m->bits[c >> 5] = (m->bits[c >> 5] & ~(3ull << shift)) | (uint64_t)next
									     << shift;
		if (next == H2_CELL_STAGED)
			t->staged += H2_CELL_SIZE;
		if (next == H2_CELL_FREE) {
			t->freed += H2_CELL_SIZE;
			discard(v, t, base + c * H2_CELL_SIZE);
		}
		/* Nothing may be packed into a cell on its way out. */
		if (next != H2_CELL_USED && (unsigned)m->linear >> H2_CELL_BITS == c)
			m->linear = 0;
	}
	v->fm.free += (uint64_t)nfree * H2_CELL_SIZE - m->avail;
	m->avail = nfree * H2_CELL_SIZE;
	if (nfree == 256) {
		m->class = 0;
		m->linear = 0;
	}
}

static int apply_leaf(struct h2_bulkfree *b)
{
	struct h2_vol *v = b->vol;
	const uint8_t *reach = b->bits + (b->leaf - b->first) * LEAF_BYTES;
	struct totals t = {0};
	struct h2_fmleaf *leaf;
	int err = h2_fm_leaf(v, b->leaf, !h2_is_zero(reach, LEAF_BYTES), &leaf);

	if (err)
		return err == -H2_ENOENT ? 0 : err;
	for (unsigned i = 0; i < H2_FM_ENTRIES; i++) {
		uint64_t base = b->leaf * H2_GIB + i * H2_SEGMENT_SIZE;
		if (!h2_fm_reserved(v, base))
			apply_segment(b, base, &leaf->map[i], reach + i * 32, &t);
	}
	discard(v, &t, 0);
	if (t.changed) {
		v->fm.level[0][b->leaf].avail = H2_GIB; /* look again */
		h2_fm_leaf_dirty(v, leaf);
	}
	b->done.freed_bytes += t.freed;
	b->done.staged_bytes += t.staged;
	return 0;
}

/* All windows of a pass are done: age every header copy past what was staged. */
static int pass_end(struct h2_bulkfree *b)
{
	unsigned copies = h2_header_copies(b->vol->hdr->volu_size);
	int err = 0;

	b->first = 0;
	if (b->done.pass == 2) {
		b->vol->near_full = false;
		b->phase = PHASE_DONE;
		return h2_commit(b->vol, false);
	}
	for (unsigned i = 0; i < copies && !err; i++)
		err = h2_commit(b->vol, true);
	b->done.pass++;
	b->phase = PHASE_START;
	return err;
}

static int apply(struct h2_bulkfree *b)
{
	int err = apply_leaf(b);

	if (err)
		return err;
	if (++b->leaf < b->first + b->count)
		return 0;
	b->first += b->count;
	if (b->first >= b->vol->fm.count[0])
		return pass_end(b);
	b->phase = PHASE_START;
	return 0;
}

int h2_bulkfree_step(struct h2_bulkfree *b, uint64_t bytes, struct h2_progress *out)
{
	uint64_t until = b->done.done_bytes + bytes;
	int err = 0;

	if (b->phase == PHASE_START)
		err = start(b);
	else if (b->phase == PHASE_WALK)
		err = walk(b, until);
	else if (b->phase == PHASE_APPLY)
		err = apply(b);
	if (out)
		*out = b->done;
	return err ? err : b->phase != PHASE_DONE;
}

int h2_bulkfree(struct h2_vol *v, struct h2_progress *out)
{
	struct h2_bulkfree *b;
	int more = h2_bulkfree_begin(v, &b);

	if (more)
		return more;
	do
		more = h2_bulkfree_step(b, H2_GIB, out);
	while (more > 0);
	h2_bulkfree_end(b);
	return more;
}
