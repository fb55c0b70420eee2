/* SPDX-License-Identifier: ISC */
/*
 * What files hold, by inode number: noted while a layer is unpacked, so that the root of the
 * image can be computed without reading everything back. Inode numbers are not used twice in
 * a PFS and its snapshots, and an importer writes a file once, so a note stays true for the
 * image's layers. It is only a saving: what was not noted (the table is bounded) is read.
 */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#ifdef D0_CELL
#define SLOTS_MAX (1u << 14)
#else
#define SLOTS_MAX (1u << 22)
#endif

struct sum {
	uint64_t ino; /* 0: free */
	uint8_t sum[32];
};

/* Open addressing; at most half full. */
struct oci_sums {
	struct sum *s;
	uint32_t size, used;
};

struct oci_sums *oci_sums_new(void)
{
	return calloc(1, sizeof(struct oci_sums));
}

void oci_sums_free(struct oci_sums *t)
{
	if (t)
		free(t->s);
	free(t);
}

static struct sum *slot(const struct oci_sums *t, uint64_t ino)
{
	uint32_t i = (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 32) & (t->size - 1);

	while (t->s[i].ino && t->s[i].ino != ino)
		i = (i + 1) & (t->size - 1);
	return &t->s[i];
}

static bool grow(struct oci_sums *t)
{
	struct oci_sums more = {.size = t->size ? 2 * t->size : 1024, .used = t->used};

	if (more.size > SLOTS_MAX)
		return false;
	more.s = calloc(more.size, sizeof(*more.s));
	if (!more.s)
		return false;
	for (uint32_t i = 0; i < t->size; i++)
		if (t->s[i].ino)
			*slot(&more, t->s[i].ino) = t->s[i];
	free(t->s);
	*t = more;
	return true;
}

void oci_sums_note(struct oci_sums *t, uint64_t ino, const uint8_t sum[32])
{
	struct sum *s;

	if (!t || !ino || (2 * t->used >= t->size && !grow(t)))
		return;
	s = slot(t, ino);
	t->used += !s->ino;
	s->ino = ino;
	memcpy(s->sum, sum, sizeof(s->sum));
}

const uint8_t *oci_sums_find(const struct oci_sums *t, uint64_t ino)
{
	const struct sum *s = t && t->size ? slot(t, ino) : NULL;

	return s && s->ino ? s->sum : NULL;
}
