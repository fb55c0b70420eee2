/* SPDX-License-Identifier: ISC */
/*
 * The end of a cell by its own decision. The reason goes out first, then the backtrace:
 * if printing the latter fails as well, the reason is known. A panic inside a panic ends
 * the cell at once.
 */
#include <stdarg.h>
#include <stdbool.h>
#include "libcell/cell.h"
#include "libcell/common/format.h"
#include "libcell/log.h"
#include "libcell/panic.h"

#define PANIC_CODE   134 /* as a shell shows a program ended by abort() */
#define PANIC_FRAMES 24

static bool panicking;

static void print_backtrace(void)
{
	uintptr_t pc[PANIC_FRAMES];
	size_t n = backtrace_take(pc, PANIC_FRAMES);

	for (size_t i = 0; i < n; i++) {
		size_t off = 0;
		const char *name = backtrace_symbol(pc[i] - 1, &off);

		if (name)
			log_error("  #%zu %#lx %s+%#zx", i, pc[i], name, off + 1);
		else
			log_error("  #%zu %#lx", i, pc[i]);
	}
}

_Noreturn void panic(const char *fmt, ...)
{
	char reason[160];
	va_list ap;

	va_start(ap, fmt);
	format_v(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (__atomic_exchange_n(&panicking, true, __ATOMIC_SEQ_CST))
		cell_exit(PANIC_CODE, "panic in a panic");
	log_error("panic: %s", reason);
	print_backtrace();
	cell_exit(PANIC_CODE, reason);
}

_Noreturn void panic_assert(const char *expr, const char *file, int line)
{
	panic("assertion failed at %s:%d: %s", file, line, expr);
}
