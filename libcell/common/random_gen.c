/* SPDX-License-Identifier: ISC */
/*
 * ChaCha20 (RFC 8439, section 2.3) as a generator with fast key erasure: each refill makes
 * 256 bytes, of which the first 32 become the next key and are gone; bytes handed out are
 * erased from the buffer. Who reads the state later can't compute what came before.
 */
#include <string.h>
#include "libcell/random.h"

static uint32_t rotl(uint32_t v, int n)
{
	return v << n | v >> (32 - n);
}

#define QUARTER(a, b, c, d)                  \
	do {                                 \
		a += b, d = rotl(d ^ a, 16); \
		c += d, b = rotl(b ^ c, 12); \
		a += b, d = rotl(d ^ a, 8);  \
		c += d, b = rotl(b ^ c, 7);  \
	} while (0)

static void chacha_block(const uint32_t key[8], uint64_t counter, uint8_t out[64])
{
	uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16];

	memcpy(&in[4], key, 32);
	in[12] = (uint32_t)counter;
	in[13] = (uint32_t)(counter >> 32);
	memcpy(x, in, sizeof(x));
	for (int i = 0; i < 10; i++) {
		QUARTER(x[0], x[4], x[8], x[12]);
		QUARTER(x[1], x[5], x[9], x[13]);
		QUARTER(x[2], x[6], x[10], x[14]);
		QUARTER(x[3], x[7], x[11], x[15]);
		QUARTER(x[0], x[5], x[10], x[15]);
		QUARTER(x[1], x[6], x[11], x[12]);
		QUARTER(x[2], x[7], x[8], x[13]);
		QUARTER(x[3], x[4], x[9], x[14]);
	}
	for (int i = 0; i < 16; i++)
		x[i] += in[i];
	memcpy(out, x, 64);
}

static void refill(struct random_gen *g)
{
	for (size_t at = 0; at < sizeof(g->block); at += 64)
		chacha_block(g->key, g->counter++, g->block + at);
	memcpy(g->key, g->block, sizeof(g->key));
	memset(g->block, 0, sizeof(g->key));
	g->left = sizeof(g->block) - sizeof(g->key);
}

void random_gen_init(struct random_gen *g, const uint8_t seed[32])
{
	*g = (struct random_gen){0};
	memcpy(g->key, seed, sizeof(g->key));
}

void random_gen_mix(struct random_gen *g, const uint8_t seed[32])
{
	uint32_t more[8];

	memcpy(more, seed, sizeof(more));
	for (int i = 0; i < 8; i++)
		g->key[i] ^= more[i];
	refill(g);
}

void random_gen_bytes(struct random_gen *g, void *buf, size_t len)
{
	uint8_t *out = buf;

	while (len) {
		uint8_t *from;
		size_t n;

		if (!g->left)
			refill(g);
		n = len < g->left ? len : g->left;
		from = g->block + sizeof(g->block) - g->left;
		memcpy(out, from, n);
		memset(from, 0, n);
		g->left -= (unsigned)n;
		out += n;
		len -= n;
	}
}
