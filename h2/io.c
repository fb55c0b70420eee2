/* SPDX-License-Identifier: ISC */
/*
 * Reading and writing blocks. Writes that continue each other are joined in a few streams,
 * one for each class of block; reads look into the streams first. Nothing read leaves this
 * file before its check code has matched.
 */
#include <string.h>

#include "h2/impl.h"

int h2_io_init(struct h2_vol *v)
{
	for (int i = 0; i < H2_STREAMS; i++) {
		v->streams[i].buf = h2_alloc(v, H2_STREAM_BYTES);
		if (!v->streams[i].buf)
			return -H2_ENOMEM;
	}
	return 0;
}

void h2_io_done(struct h2_vol *v)
{
	for (int i = 0; i < H2_STREAMS; i++)
		h2_free(v, v->streams[i].buf, H2_STREAM_BYTES);
}

static bool overlaps(const struct h2_stream *s, uint64_t off, size_t len)
{
	return s->len && off < s->off + s->len && s->off < off + len;
}

static int dev_write(struct h2_vol *v, uint64_t off, const void *buf, size_t len)
{
	if (v->env.dev_readonly)
		return -H2_EROFS;
	if (v->env.dev_ops->write(v->env.dev, off, buf, len) < 0) {
		h2_fail(v, "device write failed");
		return -H2_EIO;
	}
	return 0;
}

static int stream_drain(struct h2_vol *v, struct h2_stream *s)
{
	int err = s->len ? dev_write(v, s->off, s->buf, s->len) : 0;

	if (!err)
		s->len = 0;
	return err;
}

int h2_io_drain(struct h2_vol *v)
{
	int err = 0;

	for (int i = 0; i < H2_STREAMS && !err; i++)
		err = stream_drain(v, &v->streams[i]);
	return err;
}

int h2_io_flush(struct h2_vol *v)
{
	int err = h2_io_drain(v);

	if (err)
		return err;
	if (v->env.dev_ops->flush(v->env.dev) < 0) {
		h2_fail(v, "device flush failed");
		return -H2_EIO;
	}
	return 0;
}

int h2_io_read(struct h2_vol *v, uint64_t off, void *buf, size_t len)
{
	for (int i = 0; i < H2_STREAMS; i++) {
		struct h2_stream *s = &v->streams[i];

		if (!overlaps(s, off, len))
			continue;
		if (off >= s->off && off + len <= s->off + s->len) {
			memcpy(buf, s->buf + (off - s->off), len);
			return 0;
		}
		int err = stream_drain(v, s);
		if (err)
			return err;
	}
	if (off > v->env.dev_size || len > v->env.dev_size - off)
		return -H2_EIO;
	return v->env.dev_ops->read(v->env.dev, off, buf, len) < 0 ? -H2_EIO : 0;
}

int h2_io_write(struct h2_vol *v, int class, uint64_t off, const void *buf, size_t len)
{
	struct h2_stream *s = &v->streams[class & (H2_STREAMS - 1)];
	int err;

	for (int i = 0; i < H2_STREAMS; i++) {
		struct h2_stream *o = &v->streams[i];
		if (!overlaps(o, off, len))
			continue;
		err = stream_drain(v, o);
		if (err)
			return err;
	}
	if (s->len && (s->off + s->len != off || len > H2_STREAM_BYTES - s->len)) {
		err = stream_drain(v, s);
		if (err)
			return err;
	}
	if (len >= H2_STREAM_BYTES)
		return dev_write(v, off, buf, len);
	if (!s->len)
		s->off = off;
	memcpy(s->buf + s->len, buf, len);
	s->len += len;
	return 0;
}

/* Pointers are checked before use: size, bounds, alignment, the reserved areas. */
int h2_bref_valid(const struct h2_vol *v, const struct h2_bref *b)
{
	unsigned radix = h2_bref_radix(b);
	uint64_t off = h2_bref_off(b), len;
	bool freemap = b->type == H2_BREF_FMNODE || b->type == H2_BREF_FMLEAF;

	if (radix < H2_RADIX_MIN || radix > H2_RADIX_MAX)
		return -H2_EUCLEAN;
	len = 1ull << radix;
	if (off > v->size || len > v->size - off || (off < H2_RESERVE_SIZE && !freemap))
		return -H2_EUCLEAN;
	if ((off & (H2_BLOCK_SIZE - 1)) + len > H2_BLOCK_SIZE || off % 1024)
		return -H2_EUCLEAN;
	return 0;
}

/*
 * The second copy is only believed when the check code of the tree above confirms it; then
 * the medium is mended in place, with the bytes that were always meant to be there.
 */
static int block_repair(struct h2_vol *v, const struct h2_bref *b, const struct h2_where *at,
			struct h2_event *ev, void *buf)
{
	uint32_t len = h2_bref_bytes(b);
	uint8_t method = b->methods >> 4;

	if (!v->env.second_copy || method == H2_CHECK_NONE || method == H2_CHECK_DISABLED)
		return -H2_EIO;
	if (v->env.second_copy(v->env.ctx, ev, buf) < 0 || h2_code_test(b, buf, len) != 1)
		return -H2_EIO;
	if (v->env.dev_readonly || v->readonly)
		return 0;
	if (v->env.dev_ops->write(v->env.dev, h2_bref_off(b), buf, len) == 0) {
		v->repairs++;
		h2_event_bref(v, H2_EV_REPAIRED, b, at, "rewritten from a second copy");
	}
	return 0;
}

int h2_block_read(struct h2_vol *v, const struct h2_bref *b, const struct h2_where *at,
		  void *buf)
{
	struct h2_event ev = {0};
	uint32_t len;
	int err, match;

	if (h2_bref_valid(v, b)) {
		h2_event_bref(v, H2_EV_BAD_STRUCT, b, at, "block pointer out of bounds");
		return -H2_EUCLEAN;
	}
	len = h2_bref_bytes(b);
	err = h2_io_read(v, h2_bref_off(b), buf, len);
	match = err ? 0 : h2_code_test(b, buf, len);
	if (match == 1)
		return 0;
	if (match < 0) {
		h2_event_bref(v, H2_EV_BAD_STRUCT, b, at, "unknown check method");
		return -H2_ENOTSUP;
	}
	h2_event_bref(v, err ? H2_EV_READ_ERROR : H2_EV_BAD_CHECK, b, at,
		      err ? "read failed" : "check code mismatch");
	ev.kind = err ? H2_EV_READ_ERROR : H2_EV_BAD_CHECK;
	ev.off = h2_bref_off(b);
	ev.len = len;
	ev.bref_type = b->type;
	ev.methods = b->methods;
	ev.key = b->key;
	memcpy(ev.code, b->check.raw, sizeof(ev.code));
	ev.what = "asking for a second copy";
	if (at) {
		ev.ino = at->ino;
		if (at->pfs)
			strncpy(ev.pfs, at->pfs, sizeof(ev.pfs) - 1);
	}
	return block_repair(v, b, at, &ev, buf);
}
