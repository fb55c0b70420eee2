// SPDX-License-Identifier: ISC
// Problem: layers may come compressed with xz or bzip2. The store undoes gzip and zstd only,
// and libarchive can't help: it pulls its input, and a blob is pushed as it arrives. Model: the
// first bytes are held back until they tell the kind; then every piece goes through the
// decoder, whose output the callback gets in pieces of at most OUT bytes. Streams that follow
// each other are one (both formats say so). Memory: what the decoder takes, limited; OUT bytes.
#include "d0d/expand.h"

#include <bzlib.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#define OUT     65536
#define MAGIC   6
#define XZ_MOST (96u << 20)

enum kind {
	UNKNOWN,
	PLAIN,
	XZ,
	BZIP2
};

struct expand {
	expand_cb *cb;
	void *ctx;
	enum kind kind;
	char held[MAGIC];
	size_t nheld;
	lzma_stream xz;
	bz_stream bz;
	bool open; // bzip2: a stream is under way
	char out[OUT];
};

struct expand *expand_new(expand_cb *cb, void *ctx)
{
	struct expand *x = xcalloc(1, sizeof(*x));

	x->cb = cb;
	x->ctx = ctx;
	return x;
}

static int begin(struct expand *x, struct err *e)
{
	static const char xz[MAGIC] = {(char)0xfd, '7', 'z', 'X', 'Z', 0};

	x->kind = PLAIN;
	if (x->nheld == MAGIC && memcmp(x->held, xz, MAGIC) == 0)
		x->kind = XZ;
	else if (x->nheld == MAGIC && memcmp(x->held, "BZh", 3) == 0 && x->held[3] >= '1' &&
		 x->held[3] <= '9' && x->held[4] == 0x31 && x->held[5] == 0x41)
		x->kind = BZIP2;
	if (x->kind == XZ && lzma_stream_decoder(&x->xz, XZ_MOST, LZMA_CONCATENATED) != LZMA_OK)
		return err_set(e, 500, "xz: out of memory");
	return 0;
}

static int push_xz(struct expand *x, const void *buf, size_t n, lzma_action what, struct err *e)
{
	x->xz.next_in = buf;
	x->xz.avail_in = n;
	for (;;) {
		x->xz.next_out = (uint8_t *)x->out;
		x->xz.avail_out = OUT;
		lzma_ret r = lzma_code(&x->xz, what);
		size_t got = OUT - x->xz.avail_out;
		if (got && x->cb(x->ctx, x->out, got, e) < 0)
			return -1;
		if (r == LZMA_STREAM_END)
			return 0;
		if (r == LZMA_MEMLIMIT_ERROR)
			return err_set(e, 413, "xz: it takes more than %u MiB to undo",
				       XZ_MOST >> 20);
		if (r == LZMA_BUF_ERROR && what == LZMA_RUN)
			return 0;
		if (r != LZMA_OK)
			return err_set(e, r == LZMA_MEM_ERROR ? 500 : 400, "xz: %s",
				       r == LZMA_MEM_ERROR   ? "out of memory"
				       : r == LZMA_BUF_ERROR ? "unexpected EOF"
							     : "the stream is damaged");
		if (what == LZMA_RUN && !x->xz.avail_in && x->xz.avail_out)
			return 0;
	}
}

static int push_bzip2(struct expand *x, const void *buf, size_t n, struct err *e)
{
	x->bz.next_in = (char *)buf; // the library's interface has no const; it only reads
	x->bz.avail_in = (unsigned)n;
	while (x->bz.avail_in || x->open) {
		if (!x->open) {
			char *in = x->bz.next_in;
			unsigned left = x->bz.avail_in;
			if (BZ2_bzDecompressInit(&x->bz, 0, 0) != BZ_OK)
				return err_set(e, 500, "bzip2: out of memory");
			x->bz.next_in = in;
			x->bz.avail_in = left;
			x->open = true;
		}
		x->bz.next_out = x->out;
		x->bz.avail_out = OUT;
		int r = BZ2_bzDecompress(&x->bz);
		size_t got = OUT - x->bz.avail_out;
		if (got && x->cb(x->ctx, x->out, got, e) < 0)
			return -1;
		if (r == BZ_STREAM_END) {
			char *in = x->bz.next_in;
			unsigned left = x->bz.avail_in;
			BZ2_bzDecompressEnd(&x->bz);
			x->open = false;
			x->bz.next_in = in;
			x->bz.avail_in = left;
		} else if (r != BZ_OK) {
			return err_set(e, r == BZ_MEM_ERROR ? 500 : 400, "bzip2: %s",
				       r == BZ_MEM_ERROR ? "out of memory"
							 : "the stream is damaged");
		} else if (!x->bz.avail_in && x->bz.avail_out) {
			return 0;
		}
	}
	return 0;
}

static int push_known(struct expand *x, const void *buf, size_t n, struct err *e)
{
	if (!n)
		return 0;
	return x->kind == XZ      ? push_xz(x, buf, n, LZMA_RUN, e)
	       : x->kind == BZIP2 ? push_bzip2(x, buf, n, e)
				  : x->cb(x->ctx, buf, n, e);
}

static int tell(struct expand *x, struct err *e)
{
	return begin(x, e) < 0 ? -1 : push_known(x, x->held, x->nheld, e);
}

int expand_push(struct expand *x, const void *buf, size_t n, struct err *e)
{
	const char *p = buf;

	if (x->kind == UNKNOWN) {
		size_t part = MAGIC - x->nheld < n ? MAGIC - x->nheld : n;
		memcpy(x->held + x->nheld, p, part);
		x->nheld += part;
		p += part;
		n -= part;
		if (x->nheld < MAGIC)
			return 0;
		if (tell(x, e) < 0)
			return -1;
	}
	return push_known(x, p, n, e);
}

int expand_end(struct expand *x, struct err *e)
{
	if (x->kind == UNKNOWN)
		return tell(x, e);
	if (x->kind == XZ)
		return push_xz(x, NULL, 0, LZMA_FINISH, e);
	return x->open ? err_set(e, 400, "bzip2: unexpected EOF") : 0;
}

void expand_free(struct expand *x)
{
	if (!x)
		return;
	if (x->kind == XZ)
		lzma_end(&x->xz);
	if (x->open)
		BZ2_bzDecompressEnd(&x->bz);
	free(x);
}
