/* SPDX-License-Identifier: ISC */
/*
 * What one member of the ring has to be checked for: runs of pages, each with two golden
 * copies. A run's pages are contiguous in memory, live and golden.
 */
#ifndef NUCLEUS_VERIFY_SETS_H
#define NUCLEUS_VERIFY_SETS_H

#include "nucleus/archive/image.h"
#include "nucleus/sync/cell.h"

#define RUNS_MAX 8

struct page_run {
	const char *name;
	u64 pages;
	hpa_t live; /* first page; for relro of a cell: found page by page */
	hpa_t golden[2];
	const struct d0_page_hash *hash; /* NULL: the golden copies vouch for each other */
	const u8 *file;                  /* third copy, in the archive; NULL: none */
	u64 file_bytes;
	const struct segment *segment;   /* of a cell's image; NULL: the nucleus */
	const struct segment *relocated; /* relro of a cell: golden is before relocation */
};

struct page_set {
	struct cell *cell; /* NULL: the nucleus */
	u32 runs;
	u64 pages;
	struct page_run run[RUNS_MAX];
};

/* Describe a cell, or the nucleus. with_image: its shared pages too. */
void set_of(struct page_set *set, struct cell *cell, bool with_image);
/* The run that holds page `at` of the set; *index becomes the page in it. */
const struct page_run *set_find(const struct page_set *set, u64 at, u64 *index);
hpa_t run_live(const struct page_set *set, const struct page_run *run, u64 index);
/* What the page should hold, from golden copy g: a pointer to it or to *buffer. */
const void *run_expected(const struct page_set *set, const struct page_run *run, u64 index,
			 u32 g, void *buffer);

/* nucleus's own runs, made at boot */
extern struct page_set nucleus_set;
/* Copy a good page over a live one that is read-only to the nucleus too. */
void repair_write(hpa_t live, const void *good);

#endif
