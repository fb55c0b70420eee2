/* SPDX-License-Identifier: ISC */
/*
 * The distribution's static libraries at work in a cell: known answers from LZ4, zlib,
 * xxHash and BearSSL, from code that was compiled for glibc with all its hardening.
 */
#include <bearssl.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>
#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/log.h"
#include "libcell/panic.h"

#define SIZE 20000

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i / 7 * (i % 5));
}

static void try_lz4(const uint8_t *in, uint8_t *packed, uint8_t *out)
{
	int n = LZ4_compress_default((const char *)in, (char *)packed, SIZE, 2 * SIZE);

	ASSERT(n > 0 && n < SIZE);
	ASSERT(LZ4_decompress_safe((const char *)packed, (char *)out, n, SIZE) == SIZE);
	ASSERT(!memcmp(in, out, SIZE));
	out[0] ^= 1;
	ASSERT(LZ4_decompress_safe((const char *)packed, (char *)out, n / 2, SIZE) != SIZE);
}

static void try_zlib(const uint8_t *in, uint8_t *packed, uint8_t *out)
{
	uLongf n = 2 * SIZE, back = SIZE;

	ASSERT(compress2(packed, &n, in, SIZE, 6) == Z_OK && n < SIZE);
	memset(out, 0, SIZE);
	ASSERT(uncompress(out, &back, packed, n) == Z_OK && back == SIZE);
	ASSERT(!memcmp(in, out, SIZE));
	packed[n / 2] ^= 0x55;
	ASSERT(uncompress(out, &back, packed, n) != Z_OK);
}

static void try_hashes(void)
{
	static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
					0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
					0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
					0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	br_sha256_context c;
	uint8_t out[32];

	br_sha256_init(&c); /* FIPS 180-2, B.1 */
	br_sha256_update(&c, "abc", 3);
	br_sha256_out(&c, out);
	ASSERT(!memcmp(out, abc, sizeof(abc)));
	ASSERT(XXH64("", 0, 0) == 0xef46db3751d8e999ull);
}

int cell_main(const struct d0_info *info)
{
	uint8_t *in = malloc(SIZE), *packed = malloc(2 * SIZE), *out = malloc(SIZE);

	ASSERT(in && packed && out);
	fill(in, SIZE);
	try_lz4(in, packed, out);
	try_zlib(in, packed, out);
	try_hashes();
	free(in);
	free(packed);
	free(out);
	ASSERT(cell_heap_stats().blocks == 0);
	log_info("libraries work, peak %zu KiB", cell_heap_stats().peak >> 10);
	return 0;
}
