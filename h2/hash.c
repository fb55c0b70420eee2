/* SPDX-License-Identifier: ISC */
/* Check codes of the format: CRC-32C, XXH64 and the folded SHA-256 ("sha192"). */
#include <string.h>

#include "h2/impl.h"

/* Words are loaded with __builtin_memcpy(): in a cell, whose code is freestanding, memcpy() is
 * a call, and a call for each word costs a third of SHA-256. */

/* ---- CRC-32C (Castagnoli, reflected) ---- */

static uint32_t crc_table[8][256];

static void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = (c >> 1) ^ (c & 1 ? 0x82f63b78u : 0);
		crc_table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			crc_table[t][i] = crc_table[0][crc_table[t - 1][i] & 255] ^
					  (crc_table[t - 1][i] >> 8);
}

static uint32_t crc_soft(uint32_t crc, const uint8_t *p, size_t len)
{
	if (!crc_table[0][1])
		crc_init();
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;
		__builtin_memcpy(&v, p, 8);
		v ^= crc;
		crc = crc_table[7][v & 255] ^ crc_table[6][(v >> 8) & 255] ^
		      crc_table[5][(v >> 16) & 255] ^ crc_table[4][(v >> 24) & 255] ^
		      crc_table[3][(v >> 32) & 255] ^ crc_table[2][(v >> 40) & 255] ^
		      crc_table[1][(v >> 48) & 255] ^ crc_table[0][v >> 56];
	}
	while (len--)
		crc = crc_table[0][(crc ^ *p++) & 255] ^ (crc >> 8);
	return crc;
}

uint32_t h2_crc32c(uint32_t crc, const void *buf, size_t len)
{
	crc = ~crc;
	crc =
	    h2_cpu_has(H2_CPU_SSE42) ? h2_crc32c_sse42(crc, buf, len) : crc_soft(crc, buf, len);
	return ~crc;
}

/* ---- XXH64 ---- */

#define P1 0x9e3779b185ebca87ull
#define P2 0xc2b2ae3d27d4eb4full
#define P3 0x165667b19e3779f9ull
#define P4 0x85ebca77c2b2ae63ull
#define P5 0x27d4eb2f165667c5ull

static inline uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	__builtin_memcpy(&v, p, 8);
	return v;
}

static inline uint64_t xxh_round(uint64_t acc, uint64_t lane)
{
	return rotl(acc + lane * P2, 31) * P1;
}

static inline uint64_t xxh_merge(uint64_t h, uint64_t acc)
{
	return (h ^ xxh_round(0, acc)) * P1 + P4;
}

static uint64_t xxh_tail(uint64_t h, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8)
		h = rotl(h ^ xxh_round(0, load64(p)), 27) * P1 + P4;
	if (len >= 4) {
		uint32_t v;
		__builtin_memcpy(&v, p, 4);
		h = rotl(h ^ v * P1, 23) * P2 + P3;
		p += 4;
		len -= 4;
	}
	while (len--)
		h = rotl(h ^ *p++ * P5, 11) * P1;
	h ^= h >> 33;
	h *= P2;
	h ^= h >> 29;
	h *= P3;
	return h ^ h >> 32;
}

uint64_t h2_xxh64(const void *buf, size_t len, uint64_t seed)
{
	const uint8_t *p = buf;
	size_t left = len;
	uint64_t h;

	if (len >= 32) {
		uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
		for (; left >= 32; p += 32, left -= 32) {
			a = xxh_round(a, load64(p));
			b = xxh_round(b, load64(p + 8));
			c = xxh_round(c, load64(p + 16));
			d = xxh_round(d, load64(p + 24));
		}
		h = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18);
		h = xxh_merge(xxh_merge(xxh_merge(xxh_merge(h, a), b), c), d);
	} else {
		h = seed + P5;
	}
	return xxh_tail(h + len, p, left);
}

/* ---- SHA-256 (FIPS 180-4) ---- */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
};

const uint32_t *h2_sha256_k(void)
{
	return sha_k;
}

static inline uint32_t ror(uint32_t v, int n)
{
	return v >> n | v << (32 - n);
}

/* One round; the caller turns the names instead of moving the eight words. */
#define SHA_ROUND(a, b, c, d, e, f, g, h, i, word)                                           \
	do {                                                                                 \
		uint32_t t1_ = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +                   \
			       (g ^ (e & (f ^ g))) + sha_k[i] + (word);                      \
		d += t1_;                                                                    \
		h = t1_ + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) | (c & (a | b))); \
	} while (0)

/* The word of the message schedule that takes the place of the one 16 rounds before. */
#define SHA_W(i) w[(i)&15]
#define SHA_NEXT(i)                                                                 \
	(SHA_W(i) +=                                                                \
	 (ror(SHA_W((i) + 1), 7) ^ ror(SHA_W((i) + 1), 18) ^ SHA_W((i) + 1) >> 3) + \
	 SHA_W((i) + 9) +                                                           \
	 (ror(SHA_W((i) + 14), 17) ^ ror(SHA_W((i) + 14), 19) ^ SHA_W((i) + 14) >> 10))
#define SHA_FIRST(i) (w[i] = load32(p + 4 * (i)))

#define SHA_8_ROUNDS(i, from, word)                                         \
	SHA_ROUND(a, b, c, d, e, f, g, h, (from) + (i), word(i));           \
	SHA_ROUND(h, a, b, c, d, e, f, g, (from) + (i) + 1, word((i) + 1)); \
	SHA_ROUND(g, h, a, b, c, d, e, f, (from) + (i) + 2, word((i) + 2)); \
	SHA_ROUND(f, g, h, a, b, c, d, e, (from) + (i) + 3, word((i) + 3)); \
	SHA_ROUND(e, f, g, h, a, b, c, d, (from) + (i) + 4, word((i) + 4)); \
	SHA_ROUND(d, e, f, g, h, a, b, c, (from) + (i) + 5, word((i) + 5)); \
	SHA_ROUND(c, d, e, f, g, h, a, b, (from) + (i) + 6, word((i) + 6)); \
	SHA_ROUND(b, c, d, e, f, g, h, a, (from) + (i) + 7, word((i) + 7))

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

/*
 * The schedule is computed word by word as the rounds need it. Computed beforehand, the
 * compiler makes vectors of it, which is slower here and several times slower under an
 * emulator.
 */
static inline __attribute__((always_inline)) void sha_words(uint32_t state[8], const uint8_t *p,
							    size_t blocks)
{
	for (; blocks--; p += 64) {
		uint32_t w[16];
		uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
		uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

		SHA_8_ROUNDS(0, 0, SHA_FIRST);
		SHA_8_ROUNDS(8, 0, SHA_FIRST);
#pragma GCC unroll 3
		for (int from = 16; from < 64; from += 16) {
			SHA_8_ROUNDS(0, from, SHA_NEXT);
			SHA_8_ROUNDS(8, from, SHA_NEXT);
		}
		state[0] += a;
		state[1] += b;
		state[2] += c;
		state[3] += d;
		state[4] += e;
		state[5] += f;
		state[6] += g;
		state[7] += h;
	}
}

static void sha_soft(uint32_t state[8], const uint8_t *p, size_t blocks)
{
	sha_words(state, p, blocks);
}

/* The same with rotations into another register, and "and not": a fifth less instructions. */
__attribute__((target("bmi,bmi2"))) static void sha_bmi(uint32_t state[8], const uint8_t *p,
							size_t blocks)
{
	sha_words(state, p, blocks);
}

void h2_sha256_blocks(uint32_t state[8], const uint8_t *p, size_t blocks)
{
	if (h2_cpu_has(H2_CPU_SHA))
		h2_sha256_ni(state, p, blocks);
	else if (h2_cpu_has(H2_CPU_BMI))
		sha_bmi(state, p, blocks);
	else
		sha_soft(state, p, blocks);
}

void h2_sha256(const void *buf, size_t len, uint8_t out[32])
{
	uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	const uint8_t *p = buf;
	uint8_t tail[128] = {0};
	size_t rest = len % 64, tail_len = rest < 56 ? 64 : 128;
	uint64_t bits = __builtin_bswap64((uint64_t)len * 8);

	h2_sha256_blocks(state, p, len / 64);
	if (rest)
		memcpy(tail, p + len - rest, rest);
	tail[rest] = 0x80;
	memcpy(tail + tail_len - 8, &bits, 8);
	h2_sha256_blocks(state, tail, tail_len / 64);
	for (int i = 0; i < 8; i++) {
		uint32_t v = __builtin_bswap32(state[i]);
		memcpy(out + 4 * i, &v, 4);
	}
}

void h2_sha192(const void *buf, size_t len, uint8_t out[24])
{
	uint8_t full[32];

	h2_sha256(buf, len, full);
	for (int i = 0; i < 8; i++)
		full[16 + i] ^= full[24 + i];
	memcpy(out, full, 24);
}

/* ---- directory keys (section 7) ---- */

uint64_t h2_name_hash(const char *name, size_t len)
{
	uint32_t sum = 0, whole = h2_crc32c(0, name, len);
	size_t start = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i < len && name[i] != '.' && name[i] != '-' && name[i] != '_' &&
		    name[i] != '~')
			continue;
		if (i > start)
			sum += h2_crc32c(0, name + start, i - start);
		start = i + 1;
	}
	whole ^= whole << 16;
	return (uint64_t)(sum | 0x80000000u) << 32 | (whole & 0xffff0000u) | 0x8000u;
}

/* ---- check codes over blocks ---- */

/* Fill the check area of `bref` for the block. */
void h2_code_set(struct h2_bref *bref, const void *buf, size_t len)
{
	memset(&bref->check, 0, sizeof(bref->check));
	switch (bref->methods >> 4) {
	case H2_CHECK_CRC32C:
		bref->check.crc = h2_crc32c(0, buf, len);
		break;
	case H2_CHECK_XXH64:
		bref->check.xxh = h2_xxh64(buf, len, H2_XXH_SEED);
		break;
	case H2_CHECK_SHA192:
		h2_sha192(buf, len, bref->check.sha192);
		break;
	case H2_CHECK_FREEMAP:
		bref->check.freemap.crc = h2_crc32c(0, buf, len);
		break;
	}
}

/* 1 = matches, 0 = does not, -1 = method unknown. */
int h2_code_test(const struct h2_bref *bref, const void *buf, size_t len)
{
	uint8_t sha[24];

	switch (bref->methods >> 4) {
	case H2_CHECK_NONE:
	case H2_CHECK_DISABLED:
		return 1;
	case H2_CHECK_CRC32C:
	case H2_CHECK_FREEMAP:
		return bref->check.crc == h2_crc32c(0, buf, len);
	case H2_CHECK_XXH64:
		return bref->check.xxh == h2_xxh64(buf, len, H2_XXH_SEED);
	case H2_CHECK_SHA192:
		h2_sha192(buf, len, sha);
		return !memcmp(sha, bref->check.sha192, 24);
	}
	return -1;
}

bool h2_code_is(uint8_t methods, const uint8_t code[24], const void *stored, size_t len)
{
	struct h2_bref b = {.methods = methods};

	memcpy(b.check.raw, code, 24);
	return methods >> 4 > H2_CHECK_DISABLED && h2_code_test(&b, stored, len) == 1;
}
