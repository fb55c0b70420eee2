/* SPDX-License-Identifier: ISC */
/* Memory and string functions that the compiler and the kernel expect. */
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

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	const u8 *p = s;

	for (; n; n--, p++)
		if (*p == (u8)c)
			return (void *)p;
	return NULL;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n && *a && *a == *b; a++, b++, n--)
		;
	return n ? (u8)*a - (u8)*b : 0;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}

char *strrchr(const char *s, int c)
{
	const char *last = NULL;

	do {
		if (*s == (char)c)
			last = s;
	} while (*s++);
	return (char *)last;
}

char *strstr(const char *h, const char *n)
{
	size_t len = strlen(n);

	for (; strlen(h) >= len; h++)
		if (!strncmp(h, n, len))
			return (char *)h;
	return NULL;
}
