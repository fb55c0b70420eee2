/* SPDX-License-Identifier: ISC */
/* Regions of a cell: see regions.c. All calls need the nucleus lock. */
#ifndef NUCLEUS_MEMORY_REGIONS_REGIONS_H
#define NUCLEUS_MEMORY_REGIONS_REGIONS_H

#include "d0/abi.h"
#include "nucleus/memory_regions/memory_regions.h"

struct cell;

struct region {
	gpa_t base;
	u64 size;
	u32 type;  /* enum d0_region_type */
	u32 perms; /* D0_R... */
	u64 dma;
	bool owned; /* its frames go with it */
	bool lazy;  /* frames come when touched */
	u64 fresh;  /* of a lazy one: nothing was ever touched from this offset on */
	char name[D0_NAME_MAX];
};

/* A random free place of the cell's address space, with a guard page on both sides. */
bool region_place(struct cell *cell, u64 size, gpa_t *out);

/*
 * Add a region. `frames`: contiguous memory it is made of, or HPA_NONE: new frames are
 * allocated (contiguous if they can be; of a lazy region when touched) and owned. Returns its
 * index or a D0_E value.
 */
int region_add(struct cell *cell, u32 type, gpa_t base, u64 size, hpa_t frames,
	       const char *name);
/* Map scattered frames, one by one. */
int region_add_mirror(struct cell *cell, gpa_t base, const hpa_t *frame, u64 count);
/* Device registers; [ro_offset, +ro_size) of them read-only. perms: MAP_*. */
int region_add_device(struct cell *cell, gpa_t base, u64 size, hpa_t to, u32 perms,
		      u64 ro_offset, u64 ro_size, const char *name);
/* Unmap, and free what is owned. The vCPUs are quiescent. */
void region_remove(struct cell *cell, u32 index);
/* Put another frame under a mapped page, with the same permissions. vCPUs are quiescent; the
 * old frame is the caller's. */
int region_replace_page(struct cell *cell, gpa_t at, hpa_t frame);
/* Index of the region that holds [at, at+size), or -1. */
int region_find(const struct cell *cell, gpa_t at, u64 size);

/*
 * Let the cell's devices reach mapped memory; the address they use, D0_NEVER if none.
 * frames: where it lies if it is contiguous.
 */
u64 region_dma_open(struct cell *cell, u32 type, gpa_t base, u64 size, hpa_t frames);

/*
 * A touch of a page that is not mapped: give it a frame, in a lazy region or a ring.
 * D0_EFAULT: none is due there; D0_ENOMEM.
 */
int region_fill(struct cell *cell, gpa_t at);
/* Take whole frames of a lazy region back. D0_E value. */
int region_discard(struct cell *cell, gpa_t at, u64 size);

/*
 * The one door to guest memory: copy to or from [at, at+size), which must lie in mapped pages
 * with the permissions (MAP_R, MAP_W). False: nothing was copied that matters; fails whole.
 */
bool guest_read(struct cell *cell, gpa_t at, void *to, u64 size);
bool guest_write(struct cell *cell, gpa_t at, const void *from, u64 size);

#endif
