/* SPDX-License-Identifier: ISC */
/* What the cell tells about itself: struct d0_counters, which the nucleus and d0d read. */
#include "cells/linux/inc/counters.h"
#include "cells/linux/inc/task.h"

static const char *const names[COUNTERS] = {
    [COUNT_FS_READ] = "fs_read_bytes",
    [COUNT_FS_WRITTEN] = "fs_written_bytes",
    [COUNT_THREADS] = "threads",
};
static struct d0_counters *table;

void counters_init(void)
{
	table = phys_ptr(d0_info->counters);
	for (u32 i = 0; i < COUNTERS; i++) {
		u32 n = 0;

		for (; names[i][n]; n++)
			table->counter[i].name[n] = names[i][n];
		table->counter[i].name[n] = 0;
		table->counter[i].value = 0;
	}
	table->count = COUNTERS;
}

void count_add(enum counter which, u64 n)
{
	__atomic_fetch_add(&table->counter[which].value, n, __ATOMIC_RELAXED);
}
