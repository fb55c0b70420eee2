/* SPDX-License-Identifier: ISC */
/* Formatted text: see print.h. */
#include <string.h>
#include "nucleus/core/print.h"

struct out {
	char *at;
	size_t size, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->at[o->len] = c;
	o->len++;
}

struct spec {
	bool zero;
	size_t width, precision;
	u32 longs;
};

static void put_padded(struct out *o, const char *s, size_t n, const struct spec *spec)
{
	for (size_t pad = n; pad < spec->width; pad++)
		put(o, spec->zero ? '0' : ' ');
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
}

static void put_number(struct out *o, u64 v, u32 base, bool negative, const struct spec *spec)
{
	char tmp[24];
	size_t n = sizeof(tmp);
	do {
		tmp[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		tmp[--n] = '-';
	put_padded(o, tmp + n, sizeof(tmp) - n, spec);
}

static size_t parse_digits(const char **f)
{
	size_t v = 0;
	for (; **f >= '0' && **f <= '9'; ++*f)
		v = v * 10 + (size_t)(**f - '0');
	return v;
}

static const char *parse_spec(const char *f, struct spec *spec)
{
	*spec = (struct spec){.zero = *f == '0', .precision = (size_t)-1};
	spec->width = parse_digits(&f);
	if (*f == '.') {
		f++;
		spec->precision = parse_digits(&f);
	}
	for (; *f == 'l'; f++)
		spec->longs++;
	return f;
}

static void put_conversion(struct out *o, char c, struct spec *spec, va_list *ap)
{
	if (c == 'd') {
		s64 v = spec->longs ? va_arg(*ap, s64) : va_arg(*ap, s32);
		put_number(o, v < 0 ? 0 - (u64)v : (u64)v, 10, v < 0, spec);
	} else if (c == 'u' || c == 'x') {
		u64 v = spec->longs ? va_arg(*ap, u64) : va_arg(*ap, u32);
		put_number(o, v, c == 'x' ? 16 : 10, false, spec);
	} else if (c == 's') {
		const char *s = va_arg(*ap, const char *);
		s = s ? s : "-";
		put_padded(o, s, strnlen(s, spec->precision), spec);
	} else {
		put(o, c);
	}
}

int n_vsnprintf(char *out, size_t size, const char *fmt, va_list args)
{
	struct out o = {.at = out, .size = size};
	va_list ap;
	va_copy(ap, args);
	for (const char *f = fmt; *f; f++) {
		if (*f != '%') {
			put(&o, *f);
			continue;
		}
		struct spec spec;
		f = parse_spec(f + 1, &spec);
		if (!*f)
			break;
		put_conversion(&o, *f, &spec, &ap);
	}
	va_end(ap);
	if (size)
		out[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
}

int n_snprintf(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = n_vsnprintf(out, size, fmt, ap);
	va_end(ap);
	return n;
}
