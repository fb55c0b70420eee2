/* SPDX-License-Identifier: ISC */
/*
 * The Internet checksum (RFC 1071). Sums are of 32-bit words as they lie in memory, folded at
 * the end: the one's complement sum does not depend on byte order. The loops are in util.c.
 */
#ifndef TRANSPORT_CSUM_H
#define TRANSPORT_CSUM_H

#include "ipa.h"
#include "wire.h"

uint32_t csum_add(const void *p, uint32_t len, uint32_t sum);
uint32_t csum_copy(void *dst, const void *src, uint32_t len, uint32_t sum);

static inline uint32_t csum_fold64(uint64_t s)
{
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffffffff) + (s >> 32);
	return (uint32_t)s;
}

static inline uint32_t csum_more(uint32_t a, uint32_t b)
{
	return csum_fold64((uint64_t)a + b);
}

static inline uint16_t csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Of an IPv4 header without options. */
static inline uint32_t csum_ip4(const void *header)
{
	uint64_t a, b;
	uint32_t c;

	memcpy(&a, header, 8);
	memcpy(&b, (const uint8_t *)header + 8, 8);
	memcpy(&c, (const uint8_t *)header + 16, 4);
	return csum_fold64((uint32_t)a + (a >> 32) + (uint32_t)b + (b >> 32) + c);
}

static inline uint32_t csum_pseudo(const struct ipa *src, const struct ipa *dst, uint8_t proto,
				   uint32_t len)
{
	uint64_t s = (uint64_t)be32(len) + ((uint32_t)proto << 24);
	unsigned i = ipa_is4(src) ? 3 : 0;

	for (; i < 4; i++)
		s += (uint64_t)src->w[i] + dst->w[i];
	return csum_fold64(s);
}

#endif
