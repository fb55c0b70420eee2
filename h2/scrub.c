/* SPDX-License-Identifier: ISC */
/* Online scrub: everything reachable from the last commit is read and its check code tested. */
#include <string.h>

#include "h2/impl.h"

#define SEEN_ENTRIES 65536u

struct h2_scrub {
	struct h2_vol *vol;
	struct h2_progress done;
	uint64_t repairs_before;
	bool topology_done;
	uint32_t leaf; /* next freemap leaf */
	struct h2_walk walk;
};

int h2_scrub_begin(struct h2_vol *v, struct h2_scrub **out)
{
	struct h2_scrub *s;
	int err;

	if (v->bulkfree)
		return -H2_EAGAIN;
	err = h2_commit(v, false);
	if (err && err != -H2_EROFS)
		return err;
	s = h2_zalloc(v, sizeof(*s));
	if (!s)
		return -H2_ENOMEM;
	s->vol = v;
	s->repairs_before = v->repairs;
	s->done.total_bytes = v->hdr->allocator_size - v->hdr->allocator_free;
	err = h2_walk_begin(&s->walk, v, v->hdr->sroot, true, SEEN_ENTRIES);
	if (err) {
		h2_free(v, s, sizeof(*s));
		return err;
	}
	v->scrubs++;
	*out = s;
	return 0;
}

static void scrubbed(struct h2_vol *v, const struct h2_bref *b, const void *block)
{
	if (v->env.scrubbed)
		v->env.scrubbed(v->env.ctx, h2_bref_off(b), block, h2_bref_bytes(b));
}

static int scrub_tree(struct h2_scrub *s, uint64_t until)
{
	struct h2_walk_item it;
	int more = 1;

	while (s->done.done_bytes < until) {
		more = h2_walk_next(&s->walk, &it);
		if (more <= 0)
			break;
		if (it.skipped)
			continue;
		s->done.blocks += it.bref->data_off != 0;
		s->done.inodes += it.bref->type == H2_BREF_INODE;
		s->done.done_bytes += h2_bref_bytes(it.bref);
		if (it.error)
			s->done.bad++;
		else if (it.block)
			scrubbed(s->vol, it.bref, it.block);
		if (it.error == -H2_EUCLEAN) {
			struct h2_where at = {.ino = it.in->ino, .pfs = s->walk.pfs};
			h2_event_bref(s->vol, H2_EV_BAD_STRUCT, it.bref, &at, it.what);
		}
	}
	return more;
}

/* One freemap leaf, as committed. A leaf changed since is checked when it is read again. */
static void scrub_leaf(struct h2_scrub *s)
{
	struct h2_vol *v = s->vol;
	const struct h2_fmref *r = &v->fm.level[0][s->leaf++];
	struct h2_bref b = {.type = H2_BREF_FMLEAF,
			    .methods = H2_CHECK_FREEMAP << 4,
			    .data_off = r->data_off,
			    .key = (s->leaf - 1) * H2_GIB};

	if (!r->data_off)
		return;
	b.check.freemap.crc = r->crc;
	s->done.blocks++;
	s->done.done_bytes += H2_FM_BYTES;
	if (h2_io_read(v, h2_bref_off(&b), s->walk.buf, H2_FM_BYTES) ||
	    h2_code_test(&b, s->walk.buf, H2_FM_BYTES) != 1) {
		s->done.bad++;
		h2_event_bref(v, H2_EV_BAD_CHECK, &b, NULL, "freemap leaf");
	}
}

int h2_scrub_step(struct h2_scrub *s, uint64_t bytes, struct h2_progress *out)
{
	uint64_t until = s->done.done_bytes + bytes;
	int more = s->topology_done ? 0 : scrub_tree(s, until);

	if (more < 0)
		return more;
	if (!more) {
		s->topology_done = true;
		if (!s->walk.buf) {
			s->walk.buf = h2_alloc(s->vol, H2_BLOCK_SIZE);
			if (!s->walk.buf)
				return -H2_ENOMEM;
		}
		while (s->leaf < s->vol->fm.count[0] && s->done.done_bytes < until)
			scrub_leaf(s);
		more = s->leaf < s->vol->fm.count[0];
	}
	s->done.repaired = s->vol->repairs - s->repairs_before;
	if (out)
		*out = s->done;
	return more;
}

void h2_scrub_end(struct h2_scrub *s)
{
	struct h2_vol *v = s->vol;

	v->scrubs--;
	h2_walk_end(&s->walk);
	h2_free(v, s, sizeof(*s));
}
