/* SPDX-License-Identifier: ISC */
/* printf-style formatting into memory, integers and strings only (C11, 7.21.6.1). */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "libcell/common/format.h"

struct out {
	char *buf;
	size_t size; /* of buf */
	size_t len;  /* wanted so far, may exceed size */
};

struct spec {
	bool left, plus, space, alt, zero;
	int width;
	int precision; /* -1: none given */
	int length;    /* bytes of the argument: 1, 2, 4, 8 */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_many(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
	size_t max = s->precision >= 0 ? (size_t)s->precision : SIZE_MAX, len;

	if (!text)
		text = "(null)";
	for (len = 0; len < max && text[len]; len++)
		;
	if (!s->left)
		put_many(o, ' ', s->width - (int)len);
	for (size_t i = 0; i < len; i++)
		put(o, text[i]);
	if (s->left)
		put_many(o, ' ', s->width - (int)len);
}

/* prefix: sign or 0x. */
static void put_number(struct out *o, const struct spec *s, uint64_t v, unsigned base,
		       bool upper, const char *prefix)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char tmp[24];
	int n = 0, zeros, pad, plen = (int)strlen(prefix);

	for (; v; v /= base)
		tmp[n++] = digits[v % base];
	zeros = (s->precision >= 0 ? s->precision : 1) - n;
	if (zeros < 0)
		zeros = 0;
	if (s->alt && base == 8 && !zeros)
		zeros = 1;
	pad = s->width - n - zeros - plen;
	if (s->zero && !s->left && s->precision < 0 && pad > 0) {
		zeros += pad;
		pad = 0;
	}
	if (!s->left)
		put_many(o, ' ', pad);
	while (*prefix)
		put(o, *prefix++);
	put_many(o, '0', zeros);
	while (n)
		put(o, tmp[--n]);
	if (s->left)
		put_many(o, ' ', pad);
}

static const char *parse_int(const char *f, int *v)
{
	*v = 0;
	while (*f >= '0' && *f <= '9') {
		*v = *v < 100000 ? *v * 10 + (*f - '0') : *v;
		f++;
	}
	return f;
}

static const char *parse_flags(const char *f, struct spec *s)
{
	for (;; f++)
		switch (*f) {
		case '-':
			s->left = true;
			break;
		case '+':
			s->plus = true;
			break;
		case ' ':
			s->space = true;
			break;
		case '#':
			s->alt = true;
			break;
		case '0':
			s->zero = true;
			break;
		default:
			return f;
		}
}

static const char *parse_length(const char *f, struct spec *s)
{
	s->length = sizeof(int);
	switch (*f) {
	case 'h':
		s->length = f[1] == 'h' ? 1 : 2;
		return f + (f[1] == 'h' ? 2 : 1);
	case 'l':
		s->length = 8;
		return f + (f[1] == 'l' ? 2 : 1);
	case 'z':
	case 'j':
	case 't':
		s->length = 8;
		return f + 1;
	default:
		return f;
	}
}

static int64_t cut_signed(int64_t v, int length)
{
	return length == 1 ? (int8_t)v : length == 2 ? (int16_t)v : v;
}

static uint64_t cut_unsigned(uint64_t v, int length)
{
	return length == 1 ? (uint8_t)v : length == 2 ? (uint16_t)v : v;
}

static void put_signed(struct out *o, const struct spec *s, int64_t v)
{
	const char *prefix = v < 0 ? "-" : s->plus ? "+" : s->space ? " " : "";

	put_number(o, s, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, false, prefix);
}

static void put_hex(struct out *o, const struct spec *s, uint64_t v, bool upper)
{
	const char *prefix = !s->alt || !v ? "" : upper ? "0X" : "0x";

	put_number(o, s, v, 16, upper, prefix);
}

/* The argument list is passed by reference so that the caller's position moves. */
struct args {
	va_list ap;
};

static void convert(struct out *o, struct spec *s, char conv, struct args *a)
{
	struct spec ptr = {.precision = -1, .alt = true, .width = s->width, .left = s->left};

	switch (conv) {
	case 'd':
	case 'i':
		put_signed(
		    o, s,
		    cut_signed(s->length == 8 ? va_arg(a->ap, int64_t) : va_arg(a->ap, int),
			       s->length));
		break;
	case 'u':
	case 'x':
	case 'X':
	case 'o': {
		uint64_t v = s->length == 8 ? va_arg(a->ap, uint64_t) : va_arg(a->ap, unsigned);

		v = cut_unsigned(v, s->length);
		if (conv == 'u' || conv == 'o')
			put_number(o, s, v, conv == 'u' ? 10 : 8, false, "");
		else
			put_hex(o, s, v, conv == 'X');
		break;
	}
	case 'c':
		if (!s->left)
			put_many(o, ' ', s->width - 1);
		put(o, (char)va_arg(a->ap, int));
		if (s->left)
			put_many(o, ' ', s->width - 1);
		break;
	case 's':
		put_string(o, s, va_arg(a->ap, const char *));
		break;
	case 'p':
		put_hex(o, &ptr, (uint64_t)(uintptr_t)va_arg(a->ap, void *), false);
		break;
	case '%':
		put(o, '%');
		break;
	default:
		put(o, '%');
		put(o, conv);
	}
}

static const char *parse_spec(const char *f, struct spec *s, struct args *a)
{
	*s = (struct spec){.precision = -1};
	f = parse_flags(f, s);
	if (*f == '*') {
		s->width = va_arg(a->ap, int);
		f++;
		if (s->width < 0) {
			s->left = true;
			s->width = s->width == INT32_MIN ? 0 : -s->width;
		}
	} else {
		f = parse_int(f, &s->width);
	}
	if (*f == '.') {
		f++;
		if (*f == '*') {
			s->precision = va_arg(a->ap, int);
			f++;
		} else {
			f = parse_int(f, &s->precision);
		}
	}
	return parse_length(f, s);
}

int format_v(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {.buf = buf, .size = size};
	struct args a;

	va_copy(a.ap, ap);
	while (*fmt) {
		struct spec s;

		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		fmt = parse_spec(fmt + 1, &s, &a);
		if (!*fmt)
			break;
		convert(&o, &s, *fmt++, &a);
	}
	va_end(a.ap);
	if (size)
		buf[o.len < size ? o.len : size - 1] = '\0';
	return (int)o.len;
}
