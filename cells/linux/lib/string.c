/* SPDX-License-Identifier: ISC */
/* Beside memcpy and memset (boot/entry.S); the rest of these functions is libcell's. */
#include "cells/linux/inc/base.h"

void *memmove(void *d, const void *s, size_t n)
{
	u8 *a = d;
	const u8 *b = s;

	if (a <= b || a >= b + n)
		return a == b || !n ? d : memcpy(d, s, n);
	while (n >= 8) {
		u64 w;

		n -= 8;
		__builtin_memcpy(&w, b + n, 8);
		__builtin_memcpy(a + n, &w, 8);
	}
	while (n--)
		a[n] = b[n];
	return d;
}
