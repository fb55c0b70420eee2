/* SPDX-License-Identifier: ISC */
#include "cells/store/ramdisk.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 65536u

struct ramdisk {
	const uint8_t *image;
	uint64_t image_size, size, used;
	uint8_t *chunk[];
};

struct ramdisk *ramdisk_new(const void *image, uint64_t image_size, uint64_t size)
{
	size_t chunks = (size_t)((size + CHUNK - 1) / CHUNK);
	struct ramdisk *r = calloc(1, sizeof(*r) + chunks * sizeof(r->chunk[0]));

	if (!r)
		return NULL;
	r->image = image;
	r->image_size = image_size;
	r->size = size;
	return r;
}

void ramdisk_free(struct ramdisk *r)
{
	for (uint64_t i = 0; i < (r->size + CHUNK - 1) / CHUNK; i++)
		free(r->chunk[i]);
	free(r);
}

static void read_base(const struct ramdisk *r, uint64_t off, uint8_t *buf, size_t len)
{
	size_t have = 0;

	if (off < r->image_size)
		have = r->image_size - off < len ? (size_t)(r->image_size - off) : len;
	if (have)
		memcpy(buf, r->image + off, have);
	memset(buf + have, 0, len - have);
}

static int ram_read(void *dev, uint64_t off, void *buf, size_t len)
{
	const struct ramdisk *r = dev;
	uint8_t *p = buf;

	if (off > r->size || len > r->size - off)
		return -H2_EIO;
	while (len) {
		size_t skip = (size_t)(off % CHUNK),
		       part = CHUNK - skip < len ? CHUNK - skip : len;
		const uint8_t *c = r->chunk[off / CHUNK];

		if (c)
			memcpy(p, c + skip, part);
		else
			read_base(r, off, p, part);
		off += part;
		p += part;
		len -= part;
	}
	return 0;
}

static int ram_write(void *dev, uint64_t off, const void *buf, size_t len)
{
	struct ramdisk *r = dev;
	const uint8_t *p = buf;

	if (off > r->size || len > r->size - off)
		return -H2_EIO;
	while (len) {
		size_t skip = (size_t)(off % CHUNK),
		       part = CHUNK - skip < len ? CHUNK - skip : len;
		uint8_t **c = &r->chunk[off / CHUNK];

		if (!*c) {
			*c = malloc(CHUNK);
			if (!*c)
				return -H2_EIO;
			r->used += CHUNK;
			read_base(r, off - skip, *c, CHUNK);
		}
		memcpy(*c + skip, p, part);
		off += part;
		p += part;
		len -= part;
	}
	return 0;
}

static int ram_flush(void *dev)
{
	return 0;
}

/* Whole chunks that are free in the volume need no memory. */
static int ram_discard(void *dev, uint64_t off, uint64_t len)
{
	struct ramdisk *r = dev;

	for (uint64_t i = (off + CHUNK - 1) / CHUNK;
	     (i + 1) * CHUNK <= off + len && i < r->size / CHUNK; i++)
		if (r->chunk[i] && i * CHUNK >= r->image_size) {
			free(r->chunk[i]);
			r->chunk[i] = NULL;
			r->used -= CHUNK;
		}
	return 0;
}

const struct h2_dev_ops ramdisk_ops = {
    .read = ram_read, .write = ram_write, .flush = ram_flush, .discard = ram_discard};
