/* SPDX-License-Identifier: ISC */
/*
 * What Debian's static libraries call because they are compiled with _FORTIFY_SOURCE and
 * the stack protector: checked forms of the functions, named as glibc names them (LSB
 * 5.0, "Interfaces for libc").
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "libcell/common/format.h"
#include "libcell/panic.h"

_Noreturn void __chk_fail(void);
_Noreturn void __chk_fail(void)
{
	panic("a library overran its buffer");
}

_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void)
{
	panic("stack canary overwritten");
}

_Noreturn void __assert_fail(const char *expr, const char *file, unsigned line, const char *fn);
_Noreturn void __assert_fail(const char *expr, const char *file, unsigned line, const char *fn)
{
	panic_assert(expr, file, (int)line);
}

#define CHECK(need, have)             \
	do {                          \
		if ((need) > (have))  \
			__chk_fail(); \
	} while (0)

void *__memcpy_chk(void *dst, const void *src, size_t n, size_t room);
void *__memcpy_chk(void *dst, const void *src, size_t n, size_t room)
{
	CHECK(n, room);
	return memcpy(dst, src, n);
}

void *__memmove_chk(void *dst, const void *src, size_t n, size_t room);
void *__memmove_chk(void *dst, const void *src, size_t n, size_t room)
{
	CHECK(n, room);
	return memmove(dst, src, n);
}

void *__memset_chk(void *dst, int c, size_t n, size_t room);
void *__memset_chk(void *dst, int c, size_t n, size_t room)
{
	CHECK(n, room);
	return memset(dst, c, n);
}

void __explicit_bzero_chk(void *p, size_t n, size_t room);
void __explicit_bzero_chk(void *p, size_t n, size_t room)
{
	CHECK(n, room);
	explicit_bzero(p, n);
}

char *__strcpy_chk(char *dst, const char *src, size_t room);
char *__strcpy_chk(char *dst, const char *src, size_t room)
{
	CHECK(strlen(src) + 1, room);
	return strcpy(dst, src);
}

char *__strncpy_chk(char *dst, const char *src, size_t n, size_t room);
char *__strncpy_chk(char *dst, const char *src, size_t n, size_t room)
{
	CHECK(n, room);
	return strncpy(dst, src, n);
}

char *__strcat_chk(char *dst, const char *src, size_t room);
char *__strcat_chk(char *dst, const char *src, size_t room)
{
	CHECK(strlen(dst) + strlen(src) + 1, room);
	return strcat(dst, src);
}

int __vsnprintf_chk(char *buf, size_t n, int flag, size_t room, const char *fmt, va_list ap);
int __vsnprintf_chk(char *buf, size_t n, int flag, size_t room, const char *fmt, va_list ap)
{
	CHECK(n, room);
	return format_v(buf, n, fmt, ap);
}

int __snprintf_chk(char *buf, size_t n, int flag, size_t room, const char *fmt, ...);
int __snprintf_chk(char *buf, size_t n, int flag, size_t room, const char *fmt, ...)
{
	va_list ap;
	int len;

	CHECK(n, room);
	va_start(ap, fmt);
	len = format_v(buf, n, fmt, ap);
	va_end(ap);
	return len;
}

int __sprintf_chk(char *buf, int flag, size_t room, const char *fmt, ...);
int __sprintf_chk(char *buf, int flag, size_t room, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = format_v(buf, room, fmt, ap);
	va_end(ap);
	CHECK((size_t)len + 1, room);
	return len;
}

int __fprintf_chk(FILE *f, int flag, const char *fmt, ...);
int __fprintf_chk(FILE *f, int flag, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	return 0;
}

int __printf_chk(int flag, const char *fmt, ...);
int __printf_chk(int flag, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stdout, fmt, ap);
	va_end(ap);
	return 0;
}
