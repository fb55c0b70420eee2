/* SPDX-License-Identifier: ISC */
/*
 * Dedup: a bounded table of data blocks written or learnt, found by their check code. With
 * sha192 an equal code is taken for equal bytes; with weaker codes the bytes are compared. The
 * table forgets everything when a bulkfree runs, so it never names a freed block.
 */
#include <string.h>

#include "h2/impl.h"

int h2_dedup_init(struct h2_vol *v, size_t entries)
{
	uint32_t n = 1;

	if (!entries)
		return 0;
	while (n < entries && n < 1u << 24)
		n <<= 1;
	v->dedup_mask = n - 1;
	v->dedup = h2_zalloc(v, n * sizeof(*v->dedup));
	return v->dedup ? 0 : -H2_ENOMEM;
}

void h2_dedup_done(struct h2_vol *v)
{
	h2_free(v, v->dedup, (v->dedup_mask + 1ull) * sizeof(*v->dedup));
}

void h2_dedup_forget(struct h2_vol *v)
{
	if (v->dedup)
		memset(v->dedup, 0, (v->dedup_mask + 1ull) * sizeof(*v->dedup));
}

static struct h2_dedup_entry *slot(struct h2_vol *v, const struct h2_bref *b)
{
	uint64_t h;

	memcpy(&h, b->check.raw, 8);
	h *= 0x9e3779b97f4a7c15ull;
	return &v->dedup[(h >> 32) & v->dedup_mask];
}

static bool same_bytes(struct h2_vol *v, const struct h2_dedup_entry *e, const void *stored,
		       uint32_t len)
{
	uint8_t piece[1024];

	for (uint32_t i = 0; i < len; i += sizeof(piece)) {
		if (h2_io_read(v, (e->data_off & ~H2_RADIX_MASK) + i, piece, sizeof(piece)))
			return false;
		if (memcmp(piece, (const uint8_t *)stored + i, sizeof(piece)))
			return false;
	}
	return true;
}

/* b has methods and code set; on a hit its data_off is that of the equal block. */
bool h2_dedup_find(struct h2_vol *v, struct h2_bref *b, unsigned radix, const void *stored)
{
	struct h2_dedup_entry *e;

	if (!v->dedup || b->methods >> 4 == H2_CHECK_NONE)
		return false;
	e = slot(v, b);
	if (!e->used || e->methods != b->methods || (e->data_off & H2_RADIX_MASK) != radix ||
	    memcmp(e->code, b->check.raw, sizeof(e->code)))
		return false;
	if (b->methods >> 4 != H2_CHECK_SHA192 && !same_bytes(v, e, stored, 1u << radix))
		return false;
	if (h2_fm_touch(v, e->data_off))
		return false;
	b->data_off = e->data_off;
	v->dedup_hits++;
	v->dedup_bytes += 1ull << radix;
	return true;
}

void h2_dedup_add(struct h2_vol *v, const struct h2_bref *b)
{
	struct h2_dedup_entry *e;

	if (!v->dedup || b->methods >> 4 == H2_CHECK_NONE || !b->data_off)
		return;
	e = slot(v, b);
	e->used = 1;
	e->methods = b->methods;
	e->data_off = b->data_off;
	memcpy(e->code, b->check.raw, sizeof(e->code));
}
