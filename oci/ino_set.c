/* SPDX-License-Identifier: ISC */
/* Sets of inode numbers, by open addressing: what a layer made, and where it keeps times. */
#include <stdlib.h>
#include "oci/impl.h"

static uint64_t *set_slot(const struct oci_ino_set *s, uint64_t ino)
{
	uint32_t i = (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 32) & (s->size - 1);

	while (s->ino[i] && s->ino[i] != ino)
		i = (i + 1) & (s->size - 1);
	return &s->ino[i];
}

bool oci_set_has(const struct oci_ino_set *s, uint64_t ino)
{
	return s->size && *set_slot(s, ino) == ino;
}

int oci_set_add(struct oci_ino_set *s, uint64_t ino)
{
	if ((s->used + 1) * 2 > s->size) {
		uint64_t *old = s->ino;
		uint32_t size = s->size;

		s->ino = calloc(size ? 2 * size : 1024, sizeof(*s->ino));
		if (!s->ino) {
			s->ino = old;
			return -H2_ENOMEM;
		}
		s->size = size ? 2 * size : 1024;
		for (uint32_t i = 0; i < size; i++)
			if (old[i])
				*set_slot(s, old[i]) = old[i];
		free(old);
	}
	uint64_t *slot = set_slot(s, ino);

	if (!*slot)
		s->used++;
	*slot = ino;
	return 0;
}
