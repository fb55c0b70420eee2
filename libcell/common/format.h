/* SPDX-License-Identifier: ISC */
#ifndef LIBCELL_FORMAT_H
#define LIBCELL_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * vsnprintf as C11 defines it, without floating point and %n. buf may be NULL if size is
 * 0. An unknown conversion is copied as it stands.
 */
int format_v(char *buf, size_t size, const char *fmt, va_list ap);

#endif
