/* SPDX-License-Identifier: ISC */
/* The string functions host mode has; definitions in nucleus/core/string.c. */
#ifndef NUCLEUS_LIBC_STRING_H
#define NUCLEUS_LIBC_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

#endif
