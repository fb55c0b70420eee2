/* SPDX-License-Identifier: ISC */
/* What a table format is; only tables.c and tests that bring a format of their own need it. */
#ifndef NUCLEUS_MEMORY_REGIONS_TABLES_H
#define NUCLEUS_MEMORY_REGIONS_TABLES_H

#include "nucleus/memory_regions/memory_regions.h"

/*
 * Which bits say what. An entry of 0 is absent in every format. Of `execute` and
 * `no_execute`, and of `cached` and `uncached`, a format has one or neither.
 */
struct table_format {
	u64 invert;  /* bits that are stored inverted */
	u64 present; /* any of these is set: the entry is there */
	u64 table;   /* what an entry has that leads to a table */
	u64 leaf;    /* what every other entry has */
	u64 large;   /* it maps a large page; levels count from 0, the 4K leaf */
	u64 read, write, execute, no_execute, cached, uncached;
};

#endif
