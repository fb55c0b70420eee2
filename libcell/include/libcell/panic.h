/* SPDX-License-Identifier: ISC */
/*
 * The end of a cell that finds itself broken: prints the reason and a backtrace with
 * symbol names, then ends the cell; the nucleus restarts it if its policy says so.
 * Assertions are for what cannot happen, never for input from outside.
 */
#ifndef LIBCELL_PANIC_H
#define LIBCELL_PANIC_H

#include <stddef.h>
#include <stdint.h>

_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void panic_assert(const char *expr, const char *file, int line);

/* ASSERT stays in every build: a broken invariant must not go on. */
#define ASSERT(expr) ((expr) ? (void)0 : panic_assert(#expr, __FILE__, __LINE__))

/* Return addresses of the callers, innermost first; how many were stored. */
size_t backtrace_take(uintptr_t *pc, size_t max);

/* Function that holds pc and the offset in it; NULL if unknown. */
const char *backtrace_symbol(uintptr_t pc, size_t *offset);

#endif
