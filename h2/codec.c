/* SPDX-License-Identifier: ISC */
/* The compressors of h2 on top of liblz4 and zlib; no heap: all state is in `work`. */
#include <stdint.h>
#include <string.h>

#include <lz4.h>
#include <zlib.h>

#include "h2/h2.h"

#define WORK_BYTES (320u * 1024)

static long std_lz4_compress(void *work, const void *in, size_t in_len, void *out,
			     size_t out_max)
{
	return LZ4_compress_fast_extState(work, in, out, (int)in_len, (int)out_max, 1);
}

static long std_lz4_decompress(void *work, const void *in, size_t in_len, void *out,
			       size_t out_max)
{
	return LZ4_decompress_safe(in, out, (int)in_len, (int)out_max);
}

struct arena {
	uint8_t *next;
	size_t left;
};

static voidpf arena_alloc(voidpf opaque, uInt items, uInt size)
{
	struct arena *a = opaque;
	size_t want = ((size_t)items * size + 15) & ~(size_t)15;
	void *mem = a->next;

	if (want > a->left)
		return Z_NULL;
	a->next += want;
	a->left -= want;
	return mem;
}

static void arena_free(voidpf opaque, voidpf mem)
{
}

static void arena_open(struct arena *a, z_stream *z, void *work)
{
	a->next = work;
	a->left = WORK_BYTES;
	memset(z, 0, sizeof(*z));
	z->zalloc = arena_alloc;
	z->zfree = arena_free;
	z->opaque = a;
}

static long std_zlib_compress(void *work, int level, const void *in, size_t in_len, void *out,
			      size_t out_max)
{
	struct arena a;
	z_stream z;

	arena_open(&a, &z, work);
	if (deflateInit(&z, level) != Z_OK)
		return -1;
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)in_len;
	z.next_out = out;
	z.avail_out = (uInt)out_max;
	return deflate(&z, Z_FINISH) == Z_STREAM_END ? (long)z.total_out : 0;
}

static long std_zlib_decompress(void *work, const void *in, size_t in_len, void *out,
				size_t out_max)
{
	struct arena a;
	z_stream z;

	arena_open(&a, &z, work);
	if (inflateInit(&z) != Z_OK)
		return -1;
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)in_len;
	z.next_out = out;
	z.avail_out = (uInt)out_max;
	return inflate(&z, Z_FINISH) == Z_STREAM_END ? (long)z.total_out : -1;
}

const struct h2_codec h2_codec_std = {
    .work_bytes = WORK_BYTES,
    .lz4_compress = std_lz4_compress,
    .lz4_decompress = std_lz4_decompress,
    .zlib_compress = std_zlib_compress,
    .zlib_decompress = std_zlib_decompress,
};
