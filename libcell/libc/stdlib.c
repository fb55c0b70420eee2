/* SPDX-License-Identifier: ISC */
/* Numbers from text, sorting and searching. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int errno;

int *__errno_location(void);
int *__errno_location(void)
{
	return &errno;
}

static int digit_of(char c)
{
	if (isdigit(c))
		return c - '0';
	return isalpha(c) ? tolower(c) - 'a' + 10 : 99;
}

/* Value without its sign; *over if it exceeds 64 bits. *end as strtoul has it. */
static uint64_t number(const char *s, char **end, int base, bool *negative, bool *over)
{
	const char *p = s;
	uint64_t v = 0;
	bool any = false;

	*over = *negative = false;
	while (isspace((unsigned char)*p))
		p++;
	if (*p == '-' || *p == '+')
		*negative = *p++ == '-';
	if ((base == 0 || base == 16) && p[0] == '0' && (p[1] | 32) == 'x' &&
	    digit_of(p[2]) < 16) {
		p += 2;
		base = 16;
	} else if (base == 0) {
		base = *p == '0' ? 8 : 10;
	}
	for (; digit_of(*p) < base; p++, any = true)
		*over |= __builtin_mul_overflow(v, (uint64_t)base, &v) ||
			 __builtin_add_overflow(v, (uint64_t)digit_of(*p), &v);
	if (end)
		*end = (char *)(any ? p : s);
	return v;
}

unsigned long strtoul(const char *restrict s, char **restrict end, int base)
{
	bool negative, over;
	uint64_t v = number(s, end, base, &negative, &over);

	if (over) {
		errno = ERANGE;
		return ULONG_MAX;
	}
	return negative ? -v : v;
}

long strtol(const char *restrict s, char **restrict end, int base)
{
	bool negative, over;
	uint64_t v = number(s, end, base, &negative, &over);

	if (over || v > (uint64_t)LONG_MAX + negative) {
		errno = ERANGE;
		return negative ? LONG_MIN : LONG_MAX;
	}
	return (long)(negative ? -v : v);
}

long long strtoll(const char *restrict s, char **restrict end, int base)
{
	return strtol(s, end, base);
}

unsigned long long strtoull(const char *restrict s, char **restrict end, int base)
{
	return strtoul(s, end, base);
}

int atoi(const char *s)
{
	return (int)strtol(s, NULL, 10);
}

int abs(int v)
{
	return v < 0 ? -v : v;
}

long labs(long v)
{
	return v < 0 ? -v : v;
}

long long llabs(long long v)
{
	return v < 0 ? -v : v;
}

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
	while (size--) {
		uint8_t t = *a;

		*a++ = *b;
		*b++ = t;
	}
}

/* Lets the element at i sink in the heap of n elements. */
static void sift(uint8_t *base, size_t i, size_t n, size_t size,
		 int (*cmp)(const void *, const void *))
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= n)
			return;
		if (child + 1 < n && cmp(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (cmp(base + i * size, base + child * size) >= 0)
			return;
		swap(base + i * size, base + child * size, size);
		i = child;
	}
}

/* Heap sort: in place, n log n whatever the input. */
void qsort(void *base, size_t n, size_t size, int (*cmp)(const void *, const void *))
{
	for (size_t i = n / 2; i-- > 0;)
		sift(base, i, n, size, cmp);
	for (size_t end = n; end-- > 1;) {
		swap(base, (uint8_t *)base + end * size, size);
		sift(base, 0, end, size, cmp);
	}
}

void *bsearch(const void *key, const void *base, size_t n, size_t size,
	      int (*cmp)(const void *, const void *))
{
	const uint8_t *p = base;

	while (n) {
		const uint8_t *mid = p + n / 2 * size;
		int c = cmp(key, mid);

		if (!c)
			return (void *)mid;
		if (c > 0) {
			p = mid + size;
			n -= n / 2 + 1;
		} else {
			n /= 2;
		}
	}
	return NULL;
}

char *getenv(const char *name)
{
	return NULL;
}
