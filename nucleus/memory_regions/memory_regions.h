/* SPDX-License-Identifier: ISC */
/*
 * memory_regions: physical frames, page tables of every format, and the regions of cells.
 * The theory is at the top of frames.c, tables.c and regions.c.
 */
#ifndef NUCLEUS_MEMORY_REGIONS_H
#define NUCLEUS_MEMORY_REGIONS_H

#include "nucleus/core/types.h"

/* ---- frames.c: physical memory ---- */

/* Give usable memory to the allocator; called at boot only, page-aligned inside. */
void frames_init(u64 top_of_memory); /* reserves its own table first */
void frames_add(hpa_t base, u64 size);
void frames_reserve(hpa_t base, u64 size); /* never hand these out; call before frames_add */
void frames_rebase(u64 from, u64 to);      /* the direct map moved */

/*
 * 2^order contiguous, aligned frames, tested and zeroed; HPA_NONE if there are none. A frame
 * that fails the test is retired and another one taken.
 */
hpa_t frames_alloc(u32 order);
void frames_free(hpa_t base, u32 order);
/* Any number of contiguous frames (rounded up to a power of two inside, the rest freed). */
hpa_t frames_alloc_run(u64 count);
void frames_free_run(hpa_t base, u64 count);
static inline hpa_t frame_alloc(void)
{
	return frames_alloc(0);
}
static inline void frame_free(hpa_t f)
{
	frames_free(f, 0);
}
/* Take an allocated frame out of service for good. */
void frame_retire(hpa_t frame);

/* Whether any of the range is RAM, or reserved at boot: no device may claim that. */
bool frames_touch(hpa_t base, u64 size);

struct frames_stats {
	u64 total, free, bad; /* frames */
};
struct frames_stats frames_stats(void);

/* The nucleus's view of RAM (RW, not executable). Not for MMIO. */
extern u64 direct_base;
static inline void *hpa_to_ptr(hpa_t a)
{
	return (void *)(direct_base + a.v);
}
static inline hpa_t ptr_to_hpa(const void *p)
{
	return HPA((u64)p - direct_base);
}

/* ---- tables.c: one walker for host, EPT, NPT and VT-d tables ---- */

enum map_perm {
	MAP_R = 1,
	MAP_W = 2,
	MAP_X = 4,
	MAP_UC = 8,
	MAP_WX_USER = 16
};

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
extern const struct table_format format_host, format_npt, format_ept, format_vtd;

/* An address space: a tree of tables in one format. */
struct space {
	const struct table_format *format;
	hpa_t root;
	u64 table_frames; /* how many frames the tables take */
};

bool space_init(struct space *s, const struct table_format *format); /* false: no memory */
void space_destroy(struct space *s); /* frees tables, not what they map */
/*
 * Map [at, at+size) to [to, to+size), page-aligned, with 2M entries where they fit and
 * `large` allows. The only place that writes entries: refuses W together with X unless
 * MAP_WX_USER (memory of a guest kernel) is given. Returns 0, or -D0_E*: on failure nothing of
 * the range is mapped.
 */
int space_map(struct space *s, u64 at, hpa_t to, u64 size, u32 perms, bool large);
/* Unmap what is mapped in the range; empty tables are freed. The caller shoots down TLBs. */
void space_unmap(struct space *s, u64 at, u64 size);
/* Look one address up. false: not mapped. */
bool space_lookup(const struct space *s, u64 at, hpa_t *to, u32 *perms);

/* The nucleus's own space. */
extern struct space nucleus_space;
/* Map device registers, uncached; never unmapped. NULL: no memory. */
volatile void *mmio_map(hpa_t base, u64 size);
/* Map RAM the direct map does not cover (ACPI tables), read-only; NULL: no memory. */
const void *firmware_map(hpa_t base, u64 size);

#endif
