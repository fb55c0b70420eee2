/* SPDX-License-Identifier: ISC */
/*
 * Copying and filling memory. Copies go by 8-byte words, unaligned where need be: x86 allows
 * it, and it is quick under emulation, where REP instructions are not. Apart from string.c,
 * because the linux cell brings these three itself.
 */
#include <stdint.h>
#include <string.h>
#undef memcpy
#undef memmove
#undef memset

typedef uint64_t word_t __attribute__((may_alias, aligned(1)));

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	for (; n >= 32; n -= 32, d += 32, s += 32) {
		word_t a = ((const word_t *)s)[0], b = ((const word_t *)s)[1];
		word_t c = ((const word_t *)s)[2], e = ((const word_t *)s)[3];

		((word_t *)d)[0] = a;
		((word_t *)d)[1] = b;
		((word_t *)d)[2] = c;
		((word_t *)d)[3] = e;
	}
	for (; n >= 8; n -= 8, d += 8, s += 8)
		*(word_t *)d = *(const word_t *)s;
	while (n--)
		*d++ = *s++;
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	if ((uintptr_t)d - (uintptr_t)s >= n) { /* also when d is below s: wraps around */
		for (; n >= 8; n -= 8, d += 8, s += 8)
			*(word_t *)d = *(const word_t *)s;
		while (n--)
			*d++ = *s++;
		return dst;
	}
	d += n;
	s += n;
	for (; n >= 8; n -= 8) {
		d -= 8;
		s -= 8;
		*(word_t *)d = *(const word_t *)s;
	}
	while (n--)
		*--d = *--s;
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	uint8_t *d = dst;
	uint64_t fill = (uint8_t)c * 0x0101010101010101ull;

	for (; n >= 32; n -= 32, d += 32) {
		((word_t *)d)[0] = fill;
		((word_t *)d)[1] = fill;
		((word_t *)d)[2] = fill;
		((word_t *)d)[3] = fill;
	}
	for (; n >= 8; n -= 8, d += 8)
		*(word_t *)d = fill;
	while (n--)
		*d++ = (uint8_t)c;
	return dst;
}
