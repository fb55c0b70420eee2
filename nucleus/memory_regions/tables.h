/* SPDX-License-Identifier: ISC */
/* What a table format is; only tables.c and tests that bring a format of their own need it. */
#ifndef NUCLEUS_MEMORY_REGIONS_TABLES_H
#define NUCLEUS_MEMORY_REGIONS_TABLES_H

#include "nucleus/memory_regions/memory_regions.h"

/* Levels count from 0 (4K leaf). A leaf above level 0 is a large page. */
struct table_format {
	const char *name;
	u64 (*leaf)(hpa_t to, u32 perms, u32 level);
	u64 (*table)(hpa_t to);
	bool (*present)(u64 entry);
	bool (*is_large)(u64 entry);
	u32 (*perms)(u64 entry);
	hpa_t (*addr)(u64 entry);
};

#endif
