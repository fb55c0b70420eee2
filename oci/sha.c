/* SPDX-License-Identifier: ISC */
/* SHA-256 of a stream (FIPS 180-4), over h2's compression function. */
#include <string.h>
#include "oci/impl.h"

void oci_sha_init(struct oci_sha *s)
{
	static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

	memcpy(s->state, start, sizeof(start));
	s->len = 0;
}

void oci_sha_add(struct oci_sha *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t have = s->len % 64, part = 64 - have < len ? 64 - have : len;

	s->len += len;
	if (have) {
		memcpy(s->buf + have, p, part);
		if (have + part < 64)
			return;
		h2_sha256_blocks(s->state, s->buf, 1);
		p += part;
		len -= part;
	}
	if (len >= 64)
		h2_sha256_blocks(s->state, p, len / 64);
	memcpy(s->buf, p + len / 64 * 64, len % 64);
}

void oci_sha_end(struct oci_sha *s, uint8_t out[32])
{
	uint64_t bits = __builtin_bswap64(s->len * 8);
	uint8_t pad[72] = {0x80};
	size_t have = s->len % 64, n = have < 56 ? 56 - have : 120 - have;

	oci_sha_add(s, pad, n);
	oci_sha_add(s, &bits, 8);
	for (int i = 0; i < 8; i++) {
		uint32_t v = __builtin_bswap32(s->state[i]);

		memcpy(out + 4 * i, &v, 4);
	}
}

void oci_hex(const uint8_t in[32], char out[OCI_HEX])
{
	for (int i = 0; i < 32; i++) {
		out[2 * i] = "0123456789abcdef"[in[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[in[i] & 15];
	}
	out[64] = 0;
}

void oci_sha_hex(struct oci_sha *s, char out[OCI_HEX])
{
	uint8_t raw[32];

	oci_sha_end(s, raw);
	oci_hex(raw, out);
}

bool oci_is_hex(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}
