// SPDX-License-Identifier: ISC
// Compressed layers undone on their way to the store.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bzlib.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/expand.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define LEN      200000

static char text[LEN];

static int text_make(void **state)
{
	uint32_t r = 7;

	for (size_t i = 0; i < LEN; i++) {
		r = r * 1664525 + 1013904223;
		text[i] = (char)("D0 layers "[i % 10] + (r >> 30));
	}
	return 0;
}

static int keep(void *ctx, const void *buf, size_t n, struct err *e)
{
	sbuf_add(ctx, buf, n);
	return 0;
}

static int stop(void *ctx, const void *buf, size_t n, struct err *e)
{
	return err_set(e, 507, "no space left on device");
}

// What comes out of these bytes when they arrive in pieces of STEP; the result of the work.
static int run(const char *in, size_t len, size_t step, struct sbuf *out, struct err *e)
{
	struct expand *x = expand_new(keep, out);
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += step)
		rc = expand_push(x, in + at, len - at < step ? len - at : step, e);
	if (rc == 0)
		rc = expand_end(x, e);
	expand_free(x);
	return rc;
}

static void expect(const char *in, size_t len, const char *want, size_t n)
{
	static const size_t steps[] = {1, 5, 6, 7, 4096, 1 << 20};

	for (size_t i = 0; i < COUNT(steps); i++) {
		struct sbuf out = {0};
		struct err e = {0};
		assert_int_equal(run(in, len, steps[i], &out, &e), 0);
		assert_int_equal(out.len, n);
		if (n)
			assert_memory_equal(out.p, want, n);
		sbuf_free(&out);
	}
}

static char *xz(const char *p, size_t n, size_t *len)
{
	size_t most = lzma_stream_buffer_bound(n);
	uint8_t *out = xmalloc(most);

	*len = 0;
	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, NULL, (const uint8_t *)p,
						 n, out, len, most),
			 LZMA_OK);
	return (char *)out;
}

static char *bz(const char *p, size_t n, size_t *len)
{
	unsigned most = (unsigned)(n + n / 100 + 600);
	char *out = xmalloc(most), *in = xmalloc(n);

	memcpy(in, p, n);
	assert_int_equal(BZ2_bzBuffToBuffCompress(out, &most, in, (unsigned)n, 1, 0, 0), BZ_OK);
	free(in);
	*len = most;
	return out;
}

static void plain_passes(void **state)
{
	expect(text, LEN, text, LEN);
	for (size_t n = 0; n < 8; n++)
		expect(text, n, text, n);
	expect("BZh9 is no archive", 18, "BZh9 is no archive", 18);
	expect("\x1f\x8b\x08\0\0\0\0\0", 8, "\x1f\x8b\x08\0\0\0\0\0", 8); // the store's to undo
}

typedef char *pack_fn(const char *p, size_t n, size_t *len);

static void packed(pack_fn *pack)
{
	size_t a, b;
	char *one = pack(text, LEN, &a), *two = pack(text, 100, &b);
	char *both = xmalloc(a + b), *want = xmalloc(LEN + 100);

	memcpy(both, one, a);
	memcpy(both + a, two, b);
	memcpy(want, text, LEN);
	memcpy(want + LEN, text, 100);
	expect(one, a, text, LEN);
	expect(both, a + b, want, LEN + 100);

	static const size_t cuts[] = {7, 12, 100};
	for (size_t i = 0; i <= COUNT(cuts); i++) {
		size_t len = i < COUNT(cuts) ? cuts[i] : a - 1;
		struct sbuf out = {0};
		struct err e = {0};
		assert_int_equal(run(one, len, 4096, &out, &e), -1);
		assert_int_equal(e.status, 400);
		assert_non_null(strstr(e.msg, "EOF"));
		sbuf_free(&out);
	}
	one[a / 2] ^= 1;
	struct sbuf out = {0};
	struct err e = {0};
	assert_int_equal(run(one, a, 4096, &out, &e), -1);
	assert_int_equal(e.status, 400);
	sbuf_free(&out);

	struct expand *x = expand_new(stop, NULL);
	assert_int_equal(expand_push(x, two, b, &e), -1); // the receiver's words
	assert_int_equal(e.status, 507);
	expand_free(x);
	free(one);
	free(two);
	free(both);
	free(want);
}

static void xz_is_undone(void **state)
{
	packed(xz);
}

static void bzip2_is_undone(void **state)
{
	packed(bz);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_passes),
	    cmocka_unit_test(xz_is_undone),
	    cmocka_unit_test(bzip2_is_undone),
	};

	return cmocka_run_group_tests(tests, text_make, NULL);
}
