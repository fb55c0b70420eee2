/* SPDX-License-Identifier: ISC */
/* Copying between the buffers of a request and private memory. */
#include <string.h>
#include "libcell/virtq.h"

/* One piece of a copy: bytes of seg from `off`, at most len. Moves off to the next seg. */
static size_t seg_piece(const struct virtq_seg *s, size_t *off, size_t len, uint8_t **p)
{
	size_t n;

	if (*off >= s->len) {
		*off -= s->len;
		return 0;
	}
	n = s->len - *off;
	*p = s->ptr + *off;
	*off = 0;
	return n < len ? n : len;
}

size_t virtq_chain_read(const struct virtq_chain *c, size_t off, void *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->outs && i < c->seg_max && done < len; i++) {
		uint8_t *p = NULL;
		size_t n = seg_piece(&c->seg[i], &off, len - done, &p);

		if (n)
			memcpy((uint8_t *)buf + done, p, n);
		done += n;
	}
	return done;
}

size_t virtq_chain_write(const struct virtq_chain *c, size_t off, const void *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = c->outs; i < c->outs + c->ins && i < c->seg_max && done < len; i++) {
		uint8_t *p = NULL;
		size_t n = seg_piece(&c->seg[i], &off, len - done, &p);

		if (n)
			memcpy(p, (const uint8_t *)buf + done, n);
		done += n;
	}
	return done;
}
