/* SPDX-License-Identifier: ISC */
/* The signing key, on BearSSL: its signatures are deterministic, so archives reproduce. */
#include <bearssl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "mkarchive.h"

void sha256(const void *data, size_t size, uint8_t out[32])
{
	br_sha256_context c;

	br_sha256_init(&c);
	br_sha256_update(&c, data, size);
	br_sha256_out(&c, out);
}

static const char *key_public(struct key *k)
{
	br_ec_private_key sk = {
	    .curve = BR_EC_secp256r1, .x = k->secret, .xlen = sizeof(k->secret)};
	uint8_t buf[BR_EC_KBUF_PUB_MAX_SIZE];
	br_ec_public_key pk;
	size_t n = br_ec_compute_pub(br_ec_get_default(), &pk, buf, &sk);

	if (n != sizeof(k->public))
		return "the key is no P-256 key";
	memcpy(k->public, pk.q, n);
	return NULL;
}

const char *key_generate(struct key *k)
{
	uint8_t seed[48], buf[BR_EC_KBUF_PRIV_MAX_SIZE];
	br_hmac_drbg_context rng;
	br_ec_private_key sk;
	size_t n;

	if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return "no randomness from the system";
	br_hmac_drbg_init(&rng, &br_sha256_vtable, seed, sizeof(seed));
	n = br_ec_keygen(&rng.vtable, br_ec_get_default(), &sk, buf, BR_EC_secp256r1);
	if (n != sizeof(k->secret))
		return "cannot make a P-256 key";
	memcpy(k->secret, sk.x, n);
	return key_public(k);
}

static int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

const char *key_load(struct key *k, const char *path)
{
	struct blob b;
	const char *err = blob_read(&b, path);

	if (err)
		return err;
	if (b.size < 2 * KEY_PRIVATE_SIZE)
		err = "the key file is too short";
	for (size_t i = 0; !err && i < KEY_PRIVATE_SIZE; i++) {
		int hi = hex_digit(b.data[2 * i]), lo = hex_digit(b.data[2 * i + 1]);

		if (hi < 0 || lo < 0)
			err = "the key file is not hexadecimal";
		else
			k->secret[i] = (uint8_t)(hi << 4 | lo);
	}
	blob_free(&b);
	return err ? err : key_public(k);
}

const char *key_save(const struct key *k, const char *path)
{
	char text[2 * KEY_PRIVATE_SIZE + 2];
	struct blob b = {(uint8_t *)text, 2 * KEY_PRIVATE_SIZE + 1};

	for (size_t i = 0; i < KEY_PRIVATE_SIZE; i++)
		snprintf(text + 2 * i, 4, "%02x\n", k->secret[i]);
	umask(077);
	return blob_write(&b, path);
}

const char *key_sign(const struct key *k, const uint8_t hash[32],
		     uint8_t sig[D0_SIGNATURE_SIZE])
{
	br_ec_private_key sk = {
	    .curve = BR_EC_secp256r1, .x = (uint8_t *)k->secret, .xlen = sizeof(k->secret)};

	if (br_ecdsa_i31_sign_raw(br_ec_get_default(), &br_sha256_vtable, hash, &sk, sig) !=
	    D0_SIGNATURE_SIZE)
		return "signing failed";
	return NULL;
}

bool key_verify(const uint8_t public[KEY_PUBLIC_SIZE], const uint8_t hash[32],
		const uint8_t sig[D0_SIGNATURE_SIZE])
{
	br_ec_public_key pk = {
	    .curve = BR_EC_secp256r1, .q = (uint8_t *)public, .qlen = KEY_PUBLIC_SIZE};

	return br_ecdsa_i31_vrfy_raw(br_ec_get_default(), hash, 32, &pk, sig,
				     D0_SIGNATURE_SIZE) == 1;
}
