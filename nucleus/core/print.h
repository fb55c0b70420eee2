/* SPDX-License-Identifier: ISC */
/*
 * The console (COM1): one line a call, whole lines only
 * from several CPUs. A line is prefixed by whoever prints it. Never blocks for long:
 * the UART is polled with a bound.
 */
#ifndef NUCLEUS_CORE_PRINT_H
#define NUCLEUS_CORE_PRINT_H

#include <stdarg.h>
#include "nucleus/core/types.h"

void console_init(void);
extern bool console_uart;                         /* there is one */
void console_write(const char *text, size_t len); /* raw bytes, under the console lock */
size_t console_read(char *out, size_t max);       /* bytes typed; does not wait */

/* printf subset: %d %u %x with l or ll, %s, width, zero fill, precision of %s. */
int n_vsnprintf(char *out, size_t size, const char *fmt, va_list ap);
int n_snprintf(char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "d0: " text newline. */
void n_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* For the impossible only, never for outside input. Prints, backtraces, halts all CPUs. */
void n_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
#define n_assert(cond)                                                   \
	do {                                                             \
		if (__builtin_expect(!(cond), 0))                        \
			n_panic("%s:%d: %s", __FILE__, __LINE__, #cond); \
	} while (0)

#endif
