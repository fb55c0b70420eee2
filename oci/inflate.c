/* SPDX-License-Identifier: ISC */
/* Decompression of a stream: gzip (RFC 1952, several members), zstd (RFC 8878), or none, by
 * the first bytes. Memory: 64 KiB of output, and the decoder's window (zstd: at most 8 MiB
 * in a cell, 128 MiB on the host). */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "oci/impl.h"

#define OUT (128u << 10)
#ifdef D0_CELL
#define WINDOW_LOG 23
#else
#define WINDOW_LOG 27
#endif

enum kind {
	UNKNOWN,
	PLAIN,
	GZIP,
	ZSTD_STREAM
};

struct oci_inflate {
	oci_sink *sink;
	void *ctx;
	enum kind kind;
	uint8_t magic[4];
	size_t magic_len;
	bool between; /* at a boundary where the stream may end */
	z_stream z;
	ZSTD_DStream *zs;
	uint8_t *out;
};

struct oci_inflate *oci_inflate_new(oci_sink *sink, void *ctx)
{
	struct oci_inflate *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->sink = sink;
	z->ctx = ctx;
	return z;
}

static int begin(struct oci_inflate *z)
{
	const uint8_t *m = z->magic;

	z->between = true;
	z->kind = PLAIN;
	if (m[0] == 0x1f && m[1] == 0x8b)
		z->kind = GZIP;
	else if (m[0] == 0x28 && m[1] == 0xb5 && m[2] == 0x2f && m[3] == 0xfd)
		z->kind = ZSTD_STREAM;
	if (z->kind == PLAIN)
		return 0;
	z->between = false;
	z->out = malloc(OUT);
	if (!z->out)
		return -H2_ENOMEM;
	if (z->kind == GZIP)
		return inflateInit2(&z->z, 15 + 16) == Z_OK ? 0 : -H2_ENOMEM;
	z->zs = ZSTD_createDStream();
	if (!z->zs)
		return -H2_ENOMEM;
	ZSTD_DCtx_setParameter(z->zs, ZSTD_d_windowLogMax, WINDOW_LOG);
	return 0;
}

static int push_gzip(struct oci_inflate *z, const uint8_t *p, size_t len)
{
	int err = 0;

	z->z.next_in = (Bytef *)(uintptr_t)p;
	z->z.avail_in = (uInt)len;
	do {
		if (z->between && z->z.avail_in) {
			if (*z->z.next_in == 0) { /* padding behind the last member */
				z->z.next_in++;
				z->z.avail_in--;
				continue;
			}
			inflateReset(&z->z);
			z->between = false;
		}
		if (z->between)
			break;
		z->z.next_out = z->out;
		z->z.avail_out = OUT;
		int r = inflate(&z->z, Z_NO_FLUSH);
		if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
			return r == Z_MEM_ERROR ? -H2_ENOMEM : -H2_EINVAL;
		z->between = r == Z_STREAM_END;
		err = z->sink(z->ctx, z->out, OUT - z->z.avail_out);
	} while (!err && (z->z.avail_in || (!z->z.avail_out && !z->between)));
	return err;
}

static int push_zstd(struct oci_inflate *z, const uint8_t *p, size_t len)
{
	ZSTD_inBuffer in = {p, len, 0};
	bool full = false;
	int err = 0;

	while (!err && (in.pos < in.size || full)) {
		ZSTD_outBuffer out = {z->out, OUT, 0};
		size_t r = ZSTD_decompressStream(z->zs, &out, &in);

		if (ZSTD_isError(r))
			return -H2_EINVAL;
		z->between = r == 0;
		full = out.pos == out.size;
		err = z->sink(z->ctx, z->out, out.pos);
	}
	return err;
}

static int push_known(struct oci_inflate *z, const uint8_t *p, size_t len)
{
	if (z->kind == PLAIN)
		return z->sink(z->ctx, p, len);
	return z->kind == GZIP ? push_gzip(z, p, len) : push_zstd(z, p, len);
}

int oci_inflate_push(struct oci_inflate *z, const uint8_t *p, size_t len)
{
	int err = 0;

	if (z->kind == UNKNOWN) {
		while (len && z->magic_len < 4) {
			z->magic[z->magic_len++] = *p++;
			len--;
		}
		if (z->magic_len < 4)
			return 0;
		err = begin(z);
		if (!err)
			err = push_known(z, z->magic, 4);
	}
	return err || !len ? err : push_known(z, p, len);
}

int oci_inflate_done(struct oci_inflate *z)
{
	return z->kind == UNKNOWN ? (z->magic_len ? -H2_EINVAL : 0)
	       : z->between       ? 0
				  : -H2_EINVAL;
}

void oci_inflate_free(struct oci_inflate *z)
{
	if (!z)
		return;
	if (z->kind == GZIP)
		inflateEnd(&z->z);
	if (z->zs)
		ZSTD_freeDStream(z->zs);
	free(z->out);
	free(z);
}
