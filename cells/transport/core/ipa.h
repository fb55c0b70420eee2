/* SPDX-License-Identifier: ISC */
/* Addresses of both families in one type: IPv4 as ::ffff:a.b.c.d. */
#ifndef TRANSPORT_IPA_H
#define TRANSPORT_IPA_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ipa {
	union {
		uint8_t b[16];
		uint32_t w[4];
		uint64_t q[2];
	};
};

#define V4_TAG 0xffff0000u /* 00 00 ff ff as a little-endian word */

static inline bool ipa_is4(const struct ipa *a)
{
	return a->q[0] == 0 && a->w[2] == V4_TAG;
}

static inline struct ipa ipa_from4(uint32_t be)
{
	struct ipa a = {.w = {0, 0, V4_TAG, be}};

	return a;
}

static inline struct ipa ipa_from6(const uint8_t *p)
{
	struct ipa a;

	memcpy(a.b, p, 16);
	return a;
}

static inline bool ipa_eq(const struct ipa *a, const struct ipa *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

static inline bool ipa_zero6(const struct ipa *a)
{
	return (a->q[0] | a->q[1]) == 0;
}

/* The unspecified address of either family. */
static inline bool ipa_any(const struct ipa *a)
{
	return a->q[0] == 0 && (a->q[1] == 0 || (a->w[2] == V4_TAG && a->w[3] == 0));
}

static inline bool ipa_multicast(const struct ipa *a)
{
	return ipa_is4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

static inline bool ipa_loopback(const struct ipa *a)
{
	return ipa_is4(a) ? a->b[12] == 127 : a->q[0] == 0 && a->q[1] == 1ull << 56;
}

static inline bool ipa_linklocal(const struct ipa *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool ipa_match(const struct ipa *a, const struct ipa *net, unsigned plen);

#endif
