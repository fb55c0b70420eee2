/* SPDX-License-Identifier: ISC */
/* Copying and reading text, apart from the functions that a hosted C library has too. */
#include "cells/linux/inc/base.h"

size_t str_copy(char *dst, const char *src, size_t size)
{
	size_t len = strlen(src);

	if (size) {
		size_t n = MIN(len, size - 1);

		memcpy(dst, src, n);
		dst[n] = 0;
	}
	return len;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

u64 str_number(const char **s)
{
	const char *p = *s;
	u64 v = 0, base = 10;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	} else if (p[0] == '0') {
		base = 8;
	}
	for (; (u64)digit_of(*p) < base; p++)
		v = v * base + (u64)digit_of(*p);
	*s = p;
	return v;
}
