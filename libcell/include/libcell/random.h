/* SPDX-License-Identifier: ISC */
/*
 * Random numbers for keys, nonces and sequence numbers: ChaCha20 (RFC 8439) with fast key
 * erasure, seeded by the nucleus, mixed with more from it every 1 MiB. Never fails, never
 * blocks. Safe on several vCPUs.
 */
#ifndef LIBCELL_RANDOM_H
#define LIBCELL_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void cell_random_bytes(void *buf, size_t len);
uint32_t cell_random_u32(void);
uint64_t cell_random_u64(void);
/* Uniform in [0, n); n = 0 gives 0. */
uint64_t cell_random_below(uint64_t n);

/* A generator of one's own, for reproducible tests. */
struct random_gen {
	uint32_t key[8];
	uint64_t counter;
	uint8_t block[256];
	unsigned left; /* unused bytes at the end of block */
};
void random_gen_init(struct random_gen *g, const uint8_t seed[32]);
void random_gen_mix(struct random_gen *g, const uint8_t seed[32]);
void random_gen_bytes(struct random_gen *g, void *buf, size_t len);

#endif
