/* SPDX-License-Identifier: ISC */
/* The one way to write to a page that nobody may write: see sets.h. */
#include <string.h>
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/core/random.h"
#include "nucleus/verify/sets.h"

static u64 window; /* CPUS_MAX pages, one a CPU, then one that keeps the tables there */

void repair_init(void)
{
	window = 0xffffd00000000000ull + (random_u64() & 0xffffff) * LARGE_SIZE;
	hpa_t anchor = frame_alloc();
	n_assert(hpa_valid(anchor));
	n_assert(!space_map(&nucleus_space, window + CPUS_MAX * PAGE_SIZE, anchor, PAGE_SIZE,
			    MAP_R, false));
}

/* W^X holds: the alias is writable, not executable, and there only for the copy. */
void repair_write(hpa_t live, const void *good)
{
	u64 at = window + cpu_self()->index * PAGE_SIZE;
	n_assert(!space_map(&nucleus_space, at, live, PAGE_SIZE, MAP_R | MAP_W, false));
	memcpy((void *)at, good, PAGE_SIZE);
	space_unmap(&nucleus_space, at, PAGE_SIZE);
	__asm__ volatile("invlpg (%0)" ::"r"(at) : "memory");
}
