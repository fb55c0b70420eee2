/* SPDX-License-Identifier: ISC */
/* The one way to write to a page that nobody may write: see sets.h. */
#include <string.h>
#include "nucleus/verify/sets.h"

#define CR0_WP (1ull << 16)

/*
 * W^X holds in all tables; this CPU, its interrupts off, disregards read-only mappings for the
 * length of a copy. Nothing that may have decayed is needed for it but this code.
 */
void repair_write(hpa_t live, const void *good)
{
	u64 cr0;
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0 & ~CR0_WP) : "memory");
	memcpy(hpa_to_ptr(live), good, PAGE_SIZE);
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0) : "memory");
}
