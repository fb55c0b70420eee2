/* SPDX-License-Identifier: ISC */
/*
 * Bad blocks made good from an image archive, in place.
 *
 * Problem. A block of an image that went bad is shared by its layers, by other images and by
 * the roots of containers. Unpacking the image again makes new blocks for the image and leaves
 * the bad one to the containers.
 *
 * Model. What refers to a bad block knows its check code. The archive's layers hold the content
 * of every file, and a file block is stored in a way that only its content, the check method
 * and the compression decide; so each 64 KiB of each file is prepared as h2 would store it, and
 * when its code is that of a block that is wanted, here are its bytes. They go to the place of
 * the bad one, and everybody who shares it has it back. The same bytes may also come out of
 * another volume, wherever they lie there.
 *
 * h2 tests the code again before it writes (second_copy), so nothing here has to be believed.
 *
 * Limits. Directories, inodes and tables are in no archive (a mirror has them); blocks
 * compressed by another version of a compressor than this one's may not be found.
 */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define HELD_MAX (128u << 20) /* bytes of found blocks in memory */

struct bad {
	uint64_t off;
	uint32_t len;
	uint8_t methods;
	uint8_t code[24];
	uint8_t *stored; /* NULL: not found yet */
};

struct oci_mend {
	struct bad *bad;
	size_t n, size, held;
	uint64_t wanted, found;
	/* While an archive is read: the ways of storing that are wanted, and the block. */
	uint8_t ways[8];
	unsigned way_count;
	const struct h2_codec *codec;
	void *work;
	uint8_t *block, *out;
	uint64_t at;       /* offset of `block` in the file */
	uint32_t len;      /* bytes of it that are there */
	uint64_t file_len; /* 0: no content */
};

struct oci_mend *oci_mend_new(void)
{
	return calloc(1, sizeof(struct oci_mend));
}

void oci_mend_free(struct oci_mend *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++)
		free(m->bad[i].stored);
	free(m->bad);
	free(m);
}

uint64_t oci_mend_missing(const struct oci_mend *m)
{
	return m->n - m->found;
}

static void want(struct oci_mend *m, const struct h2_event *ev)
{
	if (m->n == m->size) {
		size_t size = 2 * m->size + 64;
		void *more = realloc(m->bad, size * sizeof(*m->bad));

		if (!more)
			return; /* it stays bad */
		m->bad = more;
		m->size = size;
	}
	struct bad *b = &m->bad[m->n++];

	*b = (struct bad){.off = ev->off, .len = ev->len, .methods = ev->methods};
	memcpy(b->code, ev->code, sizeof(b->code));
}

int oci_mend_second_copy(struct oci_mend *m, const struct h2_event *ev, void *buf)
{
	for (size_t i = 0; i < m->n; i++) {
		struct bad *b = &m->bad[i];

		if (b->off != ev->off || b->len != ev->len ||
		    memcmp(b->code, ev->code, sizeof(b->code)))
			continue;
		if (!b->stored)
			return -H2_EIO;
		memcpy(buf, b->stored, b->len);
		return 0;
	}
	want(m, ev);
	return -H2_EIO;
}

/* Stored bytes with their code: is that what somebody wants? */
static void offer(struct oci_mend *m, uint8_t methods, const uint8_t code[24],
		  const void *stored, uint32_t len)
{
	for (size_t i = 0; i < m->n; i++) {
		struct bad *b = &m->bad[i];

		if (b->stored || b->len != len || b->methods != methods ||
		    memcmp(b->code, code, sizeof(b->code)) || len > HELD_MAX - m->held)
			continue;
		b->stored = malloc(len);
		if (!b->stored)
			return;
		memcpy(b->stored, stored, len);
		m->held += len;
		m->found++;
	}
}

void oci_mend_offer(struct oci_mend *m, const void *stored, size_t len)
{
	for (size_t i = 0; i < m->n; i++) {
		struct bad *b = &m->bad[i];

		if (!b->stored && b->len == len && h2_code_is(b->methods, b->code, stored, len))
			offer(m, b->methods, b->code, stored, (uint32_t)len);
	}
}

/* ---- an archive ---- */

static void list_ways(struct oci_mend *m)
{
	m->way_count = 0;
	for (size_t i = 0; i < m->n; i++) {
		unsigned k = 0;

		while (k < m->way_count && m->ways[k] != m->bad[i].methods)
			k++;
		if (!m->bad[i].stored && k == m->way_count && k < sizeof(m->ways))
			m->ways[m->way_count++] = m->bad[i].methods;
	}
}

static int take_block(struct oci_mend *m)
{
	uint64_t left = m->file_len > m->at ? m->file_len - m->at : 0;
	uint32_t len = left < H2_BLOCK_SIZE ? (uint32_t)left : H2_BLOCK_SIZE;

	for (unsigned i = 0; m->len && len && i < m->way_count; i++) {
		struct h2_prepared p = {.data = m->out};
		int err = h2_block_prepare(m->codec, m->work, m->ways[i] >> 4, m->ways[i] & 15,
					   0, m->block, len, &p);

		if (err)
			return err;
		if (p.stored)
			offer(m, p.methods, p.code, p.data, p.stored);
	}
	m->len = 0;
	return 0;
}

static int on_entry(void *ctx, const struct oci_entry *e)
{
	struct oci_mend *m = ctx;

	m->file_len = e->type == '0' ? e->size : 0;
	m->at = m->len = 0;
	memset(m->block, 0, H2_BLOCK_SIZE);
	return 0;
}

static int on_data(void *ctx, uint64_t off, const void *p, size_t len)
{
	struct oci_mend *m = ctx;
	const uint8_t *from = p;

	while (len) {
		uint64_t start = off & ~(uint64_t)(H2_BLOCK_SIZE - 1);
		size_t in = (size_t)(off - start), part = H2_BLOCK_SIZE - in;
		int err;

		if (part > len)
			part = len;
		if (start != m->at) {
			err = take_block(m);
			if (err)
				return err;
			m->at = start;
			memset(m->block, 0, H2_BLOCK_SIZE);
		}
		memcpy(m->block + in, from, part);
		m->len = (uint32_t)(in + part);
		from += part;
		off += part;
		len -= part;
	}
	return 0;
}

static int on_end(void *ctx)
{
	return take_block(ctx);
}

static int on_tar(void *ctx, const uint8_t *p, size_t len)
{
	return oci_tar_push(ctx, p, len);
}

struct scan {
	struct oci_store *st;
	const struct oci_source *src;
	struct oci_mend *m;
	uint8_t *buf;
};

/* One layer; stops early when nothing is missing any more. */
static int scan_layer(void *ctx, const char *blob)
{
	static const struct oci_tar_ops ops = {on_entry, on_data, on_end, NULL};
	struct scan *s = ctx;
	struct oci_tar *t = oci_tar_new(&ops, s->m);
	struct oci_inflate *z = t ? oci_inflate_new(on_tar, t) : NULL;
	uint64_t off = 0;
	int err = z ? 0 : -H2_ENOMEM;
	long n;

	while (!err && oci_mend_missing(s->m) &&
	       (n = s->src->read(s->src->ctx, blob, off, s->buf, OCI_CHUNK)) > 0) {
		err = oci_inflate_push(z, s->buf, (size_t)n);
		off += (uint64_t)n;
		if (s->st->yield)
			s->st->yield(s->st->yield_ctx);
	}
	oci_inflate_free(z);
	oci_tar_free(t);
	return err == -H2_ENOMEM ? err : 0; /* a damaged layer: the others may do */
}

int oci_mend_scan(struct oci_mend *m, struct oci_store *st, const struct oci_source *src)
{
	struct scan s = {st, src, m, malloc(OCI_CHUNK)};
	int err = -H2_ENOMEM;

	list_ways(m);
	m->codec = &h2_codec_std;
	m->work = malloc(m->codec->work_bytes);
	m->block = malloc(H2_BLOCK_SIZE);
	m->out = malloc(H2_PREPARE_BYTES);
	if (s.buf && m->work && m->block && m->out)
		err = oci_source_layers(st, src, scan_layer, &s);
	free(s.buf);
	free(m->work);
	free(m->block);
	free(m->out);
	return err;
}
