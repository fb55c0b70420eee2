/* SPDX-License-Identifier: ISC */
/*
 * Backtraces by frame pointers and the image's own symbol table, which the build links
 * in at a second pass (tools/symtab.py): in rodata, so it is verified like everything else.
 *
 *	u32 count; count * { u32 address - image start; u32 name offset }; names
 *
 * sorted by address.
 */
#include <stdbool.h>
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/panic.h"

extern const uint32_t d0_symtab[];
extern const char __image_start[], __text_end[];

/* May [p, p + 16) be read as a frame? Only stacks hold frames. */
static bool frame_ok(uintptr_t p)
{
	const struct d0_region *r;

	if (p % 8)
		return false;
	for (unsigned i = 0; (r = cell_region(D0_REGION_STACK, i)) != NULL; i++) {
		uintptr_t base = (uintptr_t)cell_ptr(r->base);

		if (p >= base && p - base <= r->size - 16)
			return true;
	}
	return false;
}

size_t backtrace_take(uintptr_t *pc, size_t max)
{
	uintptr_t fp = (uintptr_t)__builtin_frame_address(0), up;
	size_t n = 0;

	while (n < max && frame_ok(fp)) {
		const uintptr_t *frame = (const uintptr_t *)fp;

		if (!frame[1])
			break;
		pc[n++] = frame[1];
		up = frame[0];
		if (up <= fp)
			break;
		fp = up;
	}
	return n;
}

const char *backtrace_symbol(uintptr_t pc, size_t *offset)
{
	uintptr_t start = (uintptr_t)__image_start;
	uint32_t count = d0_symtab[0], lo = 0, hi = count, at;
	const uint32_t *entry = d0_symtab + 1;
	const char *names = (const char *)(entry + 2 * (size_t)count);

	if (pc < start || pc >= (uintptr_t)__text_end || !count || pc - start < entry[0])
		return NULL;
	at = (uint32_t)(pc - start);
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (entry[2 * mid] <= at)
			lo = mid;
		else
			hi = mid;
	}
	*offset = at - entry[2 * lo];
	return names + entry[2 * lo + 1];
}
