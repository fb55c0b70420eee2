/* SPDX-License-Identifier: ISC */
/* printf-style formatting into a buffer: the conversions listed in inc/base.h. */
#include "cells/linux/inc/base.h"

struct sink {
	char *buf;
	size_t size, len;
};

static void put(struct sink *s, char c)
{
	if (s->len + 1 < s->size)
		s->buf[s->len] = c;
	s->len++;
}

static void put_padded(struct sink *s, const char *txt, size_t n, int width, bool left,
		       char pad)
{
	int fill = width > (int)n ? width - (int)n : 0;

	while (!left && fill-- > 0)
		put(s, pad);
	for (size_t i = 0; i < n; i++)
		put(s, txt[i]);
	while (left && fill-- > 0)
		put(s, ' ');
}

static size_t digits(char *end, u64 v, u32 base, bool upper, int min)
{
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	size_t n = 0;

	do {
		*--end = set[v % base];
		v /= base;
		n++;
	} while (v || (int)n < min);
	return n;
}

struct spec {
	bool left, zero, alt;
	int width, prec, size; /* size: -2 char, -1 short, 0 int, 1 long */
};

static const char *parse_spec(const char *f, struct spec *sp, va_list *ap)
{
	*sp = (struct spec){.prec = -1};
	for (;; f++) {
		if (*f == '-')
			sp->left = true;
		else if (*f == '0')
			sp->zero = true;
		else if (*f == '#')
			sp->alt = true;
		else
			break;
	}
	if (*f == '*') {
		sp->width = va_arg(*ap, int);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		sp->width = sp->width * 10 + (*f - '0');
	if (*f == '.') {
		sp->prec = 0;
		if (*++f == '*') {
			sp->prec = va_arg(*ap, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			sp->prec = sp->prec * 10 + (*f - '0');
	}
	for (;; f++) {
		if (*f == 'l' || *f == 'z' || *f == 'j' || *f == 't')
			sp->size = 1;
		else if (*f == 'h')
			sp->size--;
		else
			return f;
	}
}

static void put_number(struct sink *s, const struct spec *sp, char conv, va_list *ap)
{
	char tmp[72], *end = tmp + sizeof(tmp);
	u64 v = sp->size > 0 ? va_arg(*ap, u64) : va_arg(*ap, u32);
	u32 base = conv == 'x' || conv == 'X' ? 16 : conv == 'o' ? 8 : 10;
	bool neg = false;
	size_t n;
	int min = sp->prec;

	if (conv == 'd' || conv == 'i') {
		s64 sv = sp->size > 0 ? (s64)v : (s32)v;

		neg = sv < 0;
		v = neg ? 0 - (u64)sv : (u64)sv;
	}
	if (sp->zero && !sp->left && min < 0)
		min = MIN(sp->width - (neg ? 1 : 0), 64);
	n = digits(end, v, base, conv == 'X', MIN(min, 64));
	if (sp->alt && base == 16) {
		end[-(int)++n] = 'x';
		end[-(int)++n] = '0';
	}
	if (neg)
		end[-(int)++n] = '-';
	put_padded(s, end - n, n, sp->width, sp->left, ' ');
}

int vformat(char *buf, size_t size, const char *fmt, va_list ap0)
{
	struct sink s = {buf, size, 0};
	struct spec sp;
	va_list ap;

	va_copy(ap, ap0);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&s, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp, &ap);
		if (*fmt == 's') {
			const char *t = va_arg(ap, const char *);

			if (!t)
				t = "(null)";
			put_padded(&s, t,
				   sp.prec >= 0 ? strnlen(t, (size_t)sp.prec) : strlen(t),
				   sp.width, sp.left, ' ');
		} else if (*fmt == 'c') {
			char c = (char)va_arg(ap, int);

			put_padded(&s, &c, 1, sp.width, sp.left, ' ');
		} else if (*fmt == 'p') {
			sp.size = 1;
			sp.alt = true;
			put_number(&s, &sp, 'x', &ap);
		} else if (*fmt == '%') {
			put(&s, '%');
		} else if (*fmt) {
			put_number(&s, &sp, *fmt, &ap);
		} else {
			break;
		}
	}
	va_end(ap);
	if (size)
		buf[MIN(s.len, size - 1)] = 0;
	return (int)s.len;
}

int format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vformat(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
