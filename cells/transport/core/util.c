/* SPDX-License-Identifier: ISC */
/* Sums, hashes, addresses: what every layer needs and nothing knows the stack for. */
#include "tp_int.h"
#include "libcell/digit.h"

/*
 * RFC 1071. Words are added as they lie in memory: the one's complement sum does not
 * depend on byte order. Two accumulators of 32-bit halves never overflow at packet
 * sizes and let the compiler use vectors.
 */
static inline uint64_t word_at(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, 8);
	return w;
}

#define LO(w) ((w)&0xffffffff)
#define HI(w) ((w) >> 32)

uint32_t csum_add(const void *p, uint32_t len, uint32_t sum)
{
	const uint8_t *b = p;
	uint64_t lo = sum, hi = 0, w;

	for (; len >= 32; len -= 32, b += 32) {
		uint64_t v0 = word_at(b), v1 = word_at(b + 8), v2 = word_at(b + 16),
			 v3 = word_at(b + 24);

		lo += (LO(v0) + LO(v1)) + (LO(v2) + LO(v3));
		hi += (HI(v0) + HI(v1)) + (HI(v2) + HI(v3));
	}
	for (; len >= 8; len -= 8, b += 8) {
		w = word_at(b);
		lo += LO(w);
		hi += HI(w);
	}
	if (len & 4) {
		uint32_t x;

		memcpy(&x, b, 4);
		lo += x;
		b += 4;
	}
	if (len & 2)
		lo += (uint32_t)b[0] | (uint32_t)b[1] << 8;
	if (len & 1)
		hi += b[len & 2];
	return csum_fold64(lo + hi);
}

uint32_t csum_copy(void *dst, const void *src, uint32_t len, uint32_t sum)
{
	const uint8_t *b = src;
	uint8_t *d = dst;
	uint64_t lo = sum, hi = 0;

	for (; len >= 32; len -= 32, b += 32, d += 32) {
		uint64_t v[4] = {word_at(b), word_at(b + 8), word_at(b + 16), word_at(b + 24)};

		memcpy(d, v, 32);
		lo += (LO(v[0]) + LO(v[1])) + (LO(v[2]) + LO(v[3]));
		hi += (HI(v[0]) + HI(v[1])) + (HI(v[2]) + HI(v[3]));
	}
	memcpy(d, b, len);
	return csum_add(d, len, csum_fold64(lo + hi));
}

#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define SIPROUND                                                     \
	do {                                                         \
		v0 += v1, v1 = ROTL(v1, 13) ^ v0, v0 = ROTL(v0, 32); \
		v2 += v3, v3 = ROTL(v3, 16) ^ v2;                    \
		v0 += v3, v3 = ROTL(v3, 21) ^ v0;                    \
		v2 += v1, v1 = ROTL(v1, 17) ^ v2, v2 = ROTL(v2, 32); \
	} while (0)

/* SipHash-2-4 (Aumasson, Bernstein): the keyed function behind ISNs, cookies and tables. */
uint64_t siphash(const uint64_t key[2], const void *p, uint32_t len)
{
	uint64_t v0 = key[0] ^ 0x736f6d6570736575ull, v1 = key[1] ^ 0x646f72616e646f6dull;
	uint64_t v2 = key[0] ^ 0x6c7967656e657261ull, v3 = key[1] ^ 0x7465646279746573ull;
	const uint8_t *b = p;
	uint64_t m, last = (uint64_t)len << 56;

	for (; len >= 8; len -= 8, b += 8) {
		memcpy(&m, b, 8);
		v3 ^= m;
		SIPROUND;
		SIPROUND;
		v0 ^= m;
	}
	m = 0;
	memcpy(&m, b, len);
	last |= m;
	v3 ^= last;
	SIPROUND;
	SIPROUND;
	v0 ^= last;
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

uint32_t tp_random32(struct tp_stack *st)
{
	uint32_t r;

	st->ops.random(st->ctx, &r, sizeof(r));
	return r;
}

/*
 * Detects flipped bits and torn writes in state; no defence against an adversary. Sockets are
 * sealed at the end of each batch, so it must be cheap: sums of 64-bit words and sums of those
 * sums (Fletcher), in four lanes. Every flip of one bit is found; of two, all but the highest
 * bits of two words of a lane that are an even number of words apart.
 */
typedef uint64_t v2u __attribute__((vector_size(16), may_alias));

uint32_t check_words(const void *p, uint32_t len)
{
	v2u a = {0x9e3779b97f4a7c15ull, len}, b = {0xc2b2ae3d27d4eb4full, 0}, aa = a, bb = b;
	const v2u *v = p, *end = v + len / 32 * 2;
	const uint8_t *at = (const uint8_t *)end;
	uint64_t h, w;

	for (; v < end; v += 2) {
		a += v[0];
		aa += a;
		b += v[1];
		bb += b;
	}
	for (len &= 31; len; len -= MIN(len, 8u), at += 8) {
		w = 0;
		if (len >= 8)
			memcpy(&w, at, 8);
		else
			memcpy(&w, at, len);
		a[0] += w;
		aa += a;
	}
	a ^= b << 21 | b >> 43;
	aa ^= bb << 17 | bb >> 47;
	h = (a[0] ^ ROTL(a[1], 29)) * 0x9fb21c651e98df25ull;
	h = (ROTL(h, 29) ^ aa[0] ^ ROTL(aa[1], 31)) * 0x9fb21c651e98df25ull;
	return (uint32_t)(h >> 32);
}

void *arena_take(uint8_t **at, const uint8_t *end, size_t n)
{
	uint8_t *p = *at;

	n = (n + 63) & ~(size_t)63;
	if (n > (size_t)(end - p))
		return NULL;
	*at = p + n;
	return p;
}

bool ipa_match(const struct ipa *a, const struct ipa *net, unsigned plen)
{
	unsigned full = plen / 8, rest = plen % 8;

	if (memcmp(a->b, net->b, full))
		return false;
	return !rest || ((a->b[full] ^ net->b[full]) >> (8 - rest)) == 0;
}

static size_t put_num(char *out, unsigned v, unsigned base)
{
	char tmp[12];
	size_t n = 0, i;

	do
		tmp[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	for (i = 0; i < n; i++)
		out[i] = tmp[n - 1 - i];
	return n;
}

/* Text of an address, at most 46 bytes with the NUL; IPv6 without zero compression. */
size_t ipa_format(const struct ipa *a, char *out)
{
	size_t n = 0;
	unsigned i;

	if (ipa_is4(a)) {
		for (i = 12; i < 16; i++) {
			n += put_num(out + n, a->b[i], 10);
			out[n++] = '.';
		}
	} else {
		for (i = 0; i < 16; i += 2) {
			n += put_num(out + n, get16(a->b + i), 16);
			out[n++] = ':';
		}
	}
	out[--n] = 0;
	return n;
}

static int parse4(const char *s, uint8_t *out)
{
	unsigned i, v, digits;

	for (i = 0; i < 4; i++) {
		for (v = 0, digits = 0; *s >= '0' && *s <= '9' && digits < 4; s++, digits++)
			v = v * 10 + (unsigned)(*s - '0');
		if (!digits || v > 255 || *s != (i < 3 ? '.' : 0))
			return -TE_INVAL;
		out[i] = (uint8_t)v;
		s++;
	}
	return 0;
}

/* RFC 4291 section 2.2, forms 1 and 2. */
static int parse6(const char *s, uint8_t *out)
{
	uint16_t g[8] = {0};
	int n = 0, gap = -1, v, digits;

	if (s[0] == ':' && s[1] == ':') {
		gap = 0;
		s += 2;
	}
	while (*s && n < 8) {
		for (v = 0, digits = 0; digit_value(*s) < 16 && digits < 5; s++, digits++)
			v = v << 4 | (int)digit_value(*s);
		if (!digits || digits > 4)
			return -TE_INVAL;
		g[n++] = (uint16_t)v;
		if (*s == ':' && s[1] == ':' && gap < 0) {
			gap = n;
			s += 2;
		} else if (*s == ':' && s[1]) {
			s++;
		} else {
			break;
		}
	}
	if (*s || (gap < 0 && n != 8) || (gap >= 0 && n > 7))
		return -TE_INVAL;
	memset(out, 0, 16);
	for (int i = 0; i < n; i++)
		put16(out + 2 * (gap >= 0 && i >= gap ? 8 - n + i : i), g[i]);
	return 0;
}

int tp_parse_addr(const char *s, uint8_t out[16])
{
	struct ipa a = ipa_from4(0);

	if (!parse4(s, a.b + 12)) {
		memcpy(out, a.b, 16);
		return 0;
	}
	return parse6(s, out);
}
