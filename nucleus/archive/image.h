/* SPDX-License-Identifier: ISC */
/*
 * A cell image: an ELF of the archive, loaded once. Its read-only pages are shared by all
 * cells made from it; the rest is a template.
 */
#ifndef NUCLEUS_ARCHIVE_IMAGE_H
#define NUCLEUS_ARCHIVE_IMAGE_H

#include "d0/abi.h"
#include "d0/archive.h"
#include "nucleus/core/crypto.h"
#include "nucleus/core/types.h"
#include "nucleus/memory_regions/memory_regions.h"

struct cell;

extern const char *const segment_name[]; /* by kind */

struct segment {
	u32 kind;  /* enum d0_segment_kind */
	u64 vaddr; /* page-aligned, from the image's first page */
	u64 pages;
	u64 file_bytes;                  /* of data, the rest is zero */
	const u8 *file;                  /* in the archive */
	hpa_t frames;                    /* text, rodata: the live pages */
	hpa_t golden[2];                 /* all kinds: contents before relocation */
	const struct d0_page_hash *hash; /* text, rodata, relro: manifest's records */
};

/* A shared page whose frame was taken out of service. */
struct moved_page {
	const struct segment *segment;
	u64 page;
	hpa_t frame;
};
#define IMAGE_MOVES_MAX 16

struct image {
	char name[D0_NAME_MAX];
	bool high;
	const struct d0_file *file; /* in the archive, with its record */
	u32 segments;
	struct segment segment[D0_SEGMENTS_MAX];
	struct moved_page moved[IMAGE_MOVES_MAX];
	u32 moves;
	u32 users;
	struct cell *carrier; /* the cell through which the shared pages are verified */
	struct image *next;
};

/* The image of this name, loading it at first use; *err says why not. Nucleus lock. */
struct image *image_get(const char *name, const char **err);
void image_put(struct image *image);
/* Relocate one page of a relro or data segment for a cell whose image lies at `va`. */
void image_relocate_page(const struct image *image, const struct segment *s, u64 page, u64 va,
			 void *at);
/* The frame a shared page is in now. */
hpa_t image_frame(const struct image *image, const struct segment *s, u64 page);
/* Put a shared page into another frame, which the image owns from now on; the old one is
 * the caller's. false: too many have moved. Mappings are the caller's business. */
bool image_move(struct image *image, const struct segment *s, u64 page, hpa_t frame);

#endif
