/* SPDX-License-Identifier: ISC */
/* Formatting; output streams end in the log, a line a call. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "libcell/common/format.h"
#include "libcell/log.h"

struct libc_file {
	enum log_level level;
};

static struct libc_file out_file = {LOG_INFO}, err_file = {LOG_WARN};
FILE *const stdout = &out_file;
FILE *const stderr = &err_file;

int vsnprintf(char *restrict buf, size_t n, const char *restrict fmt, va_list ap)
{
	return format_v(buf, n, fmt, ap);
}

int snprintf(char *restrict buf, size_t n, const char *restrict fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = format_v(buf, n, fmt, ap);
	va_end(ap);
	return len;
}

int sprintf(char *restrict buf, const char *restrict fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = format_v(buf, INT32_MAX, fmt, ap);
	va_end(ap);
	return len;
}

int vfprintf(FILE *restrict f, const char *restrict fmt, va_list ap)
{
	log_vat(f->level, fmt, ap);
	return 0;
}

int fprintf(FILE *restrict f, const char *restrict fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vat(f->level, fmt, ap);
	va_end(ap);
	return 0;
}

int printf(const char *restrict fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vat(LOG_INFO, fmt, ap);
	va_end(ap);
	return 0;
}

int puts(const char *s)
{
	log_raw(s, strlen(s));
	return 0;
}

int fflush(FILE *f)
{
	return 0;
}
