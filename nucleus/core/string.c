/* SPDX-License-Identifier: ISC */
/* Memory and strings, and the few names that Debian's hardened archives ask for. */
#include <string.h>
#include "nucleus/core/print.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *ret = to;
	size_t words = n / 8;
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words)::"memory");
	n &= 7;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	return ret;
}

void *memmove(void *to, const void *from, size_t n)
{
	if ((u64)to - (u64)from >= n)
		return memcpy(to, from, n);
	for (u8 *t = to; n-- > 0;)
		t[n] = ((const u8 *)from)[n];
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	void *ret = to;
	u64 fill = 0x0101010101010101ull * (u8)byte;
	size_t words = n / 8;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(fill) : "memory");
	n &= 7;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(fill) : "memory");
	return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	for (; n >= 8; n -= 8, x += 8, y += 8) {
		u64 p, q;
		__builtin_memcpy(&p, x, 8);
		__builtin_memcpy(&q, y, 8);
		if (p != q)
			break;
	}
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	return strnlen(s, (size_t)-1);
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;
	while (n < max && s[n])
		n++;
	return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (u8)*a - (u8)*b;
		if (!*a)
			break;
	}
	return 0;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, (size_t)-1);
}

/* Fortified and stack-protected libraries end up here. */
void *__memcpy_chk(void *to, const void *from, size_t n, size_t room);
void *__memset_chk(void *to, int byte, size_t n, size_t room);

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room)
{
	n_assert(n <= room);
	return memcpy(to, from, n);
}

void *__memset_chk(void *to, int byte, size_t n, size_t room)
{
	n_assert(n <= room);
	return memset(to, byte, n);
}
