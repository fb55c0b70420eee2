/* SPDX-License-Identifier: ISC */
/* Copying, reading and writing text: what no hosted C library has under the same name. */
#include "cells/linux/inc/base.h"
#include "libcell/digit.h"

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
	for (; digit_value(*p) < base; p++)
		v = v * base + digit_value(*p);
	*s = p;
	return v;
}

int format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = format_v(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
