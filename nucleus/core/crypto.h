/* SPDX-License-Identifier: ISC */
/* What the nucleus needs of cryptography: BearSSL behind it, with the SSE state guarded. */
#ifndef NUCLEUS_CORE_CRYPTO_H
#define NUCLEUS_CORE_CRYPTO_H

#include "nucleus/core/types.h"

struct digest {
	u8 byte[32];
};

void sha256(const void *data, size_t size, struct digest *out);
/* Of two pieces, one after the other. */
void sha256_two(const void *a, size_t an, const void *b, size_t bn, struct digest *out);
/* ECDSA P-256 over a SHA-256 digest; public key is an uncompressed point (65 bytes), signature
 * raw r||s. */
bool ecdsa_p256_verify(const u8 key[65], const struct digest *hash, const u8 signature[64]);
/* The fast keyed hash of continuous checking: XXH3-64 with a seed. */
u64 fast_hash(const void *data, size_t size, u64 nonce);

/*
 * Random numbers (random.c): seeded from RDSEED/RDRAND where there are, TSC jitter and what
 * the firmware left otherwise; stretched by SHA-256 over a counter and a key that moves on
 * with every call. Callable on any CPU.
 */
void random_init(u64 salt);
u64 random_u64(void);
void random_bytes(void *out, size_t n);
const char *random_source(void); /* for the boot log */

#endif
