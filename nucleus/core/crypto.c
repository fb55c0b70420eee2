/* SPDX-License-Identifier: ISC */
/* See crypto.h. BearSSL needs no libc and allocates nothing. */
#include <bearssl.h>
#define XXH_INLINE_ALL
#define XXH_VECTOR 0 /* scalar: guest SSE state stays where it is */
#define XXH_NO_STREAM
#define XXH_NO_STDLIB
#include <xxhash.h>
#include "nucleus/core/crypto.h"
#include "nucleus/vm_hypervisor/fpu.h"

void sha256_two(const void *a, size_t an, const void *b, size_t bn, struct digest *out)
{
	br_sha256_context ctx;
	fpu_nucleus_begin();
	br_sha256_init(&ctx);
	br_sha256_update(&ctx, a, an);
	br_sha256_update(&ctx, b, bn);
	br_sha256_out(&ctx, out->byte);
}

void sha256(const void *data, size_t size, struct digest *out)
{
	sha256_two(data, size, NULL, 0, out);
}

bool ecdsa_p256_verify(const u8 key[65], const struct digest *hash, const u8 signature[64])
{
	br_ec_public_key pk = {.curve = BR_EC_secp256r1, .q = (unsigned char *)key, .qlen = 65};
	fpu_nucleus_begin();
	return br_ecdsa_i31_vrfy_raw(&br_ec_p256_m31, hash->byte, sizeof(hash->byte), &pk,
				     signature, 64);
}

u64 fast_hash(const void *data, size_t size, u64 nonce)
{
	return XXH3_64bits_withSeed(data, size, nonce);
}
