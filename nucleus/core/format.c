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
	bool left, zero;
	int width, precision, longs;
};

static void put_padded(struct out *o, const char *s, size_t n, const struct spec *spec)
{
	size_t pad = spec->width > 0 && (size_t)spec->width > n ? (size_t)spec->width - n : 0;
	for (; !spec->left && pad; pad--)
		put(o, spec->zero ? '0' : ' ');
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
	for (; pad; pad--)
		put(o, ' ');
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

static const char *parse_spec(const char *f, struct spec *spec, va_list *ap)
{
	*spec = (struct spec){.precision = -1};
	for (; *f == '-' || *f == '0'; f++)
		*f == '-' ? (spec->left = true) : (spec->zero = true);
	if (*f == '*') {
		spec->width = va_arg(*ap, int);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		spec->width = spec->width * 10 + (*f - '0');
	if (*f == '.') {
		spec->precision = 0;
		f++;
		if (*f == '*') {
			spec->precision = va_arg(*ap, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			spec->precision = spec->precision * 10 + (*f - '0');
	}
	for (; *f == 'l' || *f == 'z'; f++)
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
	} else if (c == 'p') {
		put(o, '0');
		put(o, 'x');
		put_number(o, va_arg(*ap, u64), 16, false, spec);
	} else if (c == 's') {
		const char *s = va_arg(*ap, const char *);
		s = s ? s : "(null)";
		size_t max = spec->precision >= 0 ? (size_t)spec->precision : (size_t)-1;
		put_padded(o, s, strnlen(s, max), spec);
	} else if (c == 'c') {
		put(o, (char)va_arg(*ap, int));
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
		f = parse_spec(f + 1, &spec, &ap);
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
