/* SPDX-License-Identifier: ISC */
/* The build links the nucleus twice: the table comes from the first pass (tools/symbols.py). */
#include "nucleus/core/symbols.h"
#include "nucleus/live0/live0.h"

/* Sorted by offset from image_start; name is an offset into symbol_names. */
struct symbol {
	u32 offset, name;
};
extern const u32 symbol_count;
extern const struct symbol symbol_table[];
extern const char symbol_names[];

const char *symbol_find(u64 address, u64 *offset)
{
	u64 at = address - image_base;
	u32 low = 0, high = symbol_count;
	*offset = at;
	if (address < image_base || at >= (u64)(text_end - image_start))
		return "?";
	while (low < high) {
		u32 mid = (low + high) / 2;
		if (symbol_table[mid].offset <= at)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return "?";
	*offset = at - symbol_table[low - 1].offset;
	return symbol_names + symbol_table[low - 1].name;
}
