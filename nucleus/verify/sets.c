/* SPDX-License-Identifier: ISC */
/* Page sets: see sets.h. */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/live0/live0.h"
#include "nucleus/verify/sets.h"

struct page_set nucleus_set;

void set_of(struct page_set *set, struct cell *cell, bool with_image)
{
	if (!cell) {
		*set = nucleus_set;
		return;
	}
	*set = (struct page_set){.cell = cell};
	for (u32 i = 0; i < cell->image->segments; i++) {
		const struct segment *s = &cell->image->segment[i];
		if (s->kind == D0_SEGMENT_DATA || (s->kind != D0_SEGMENT_RELRO && !with_image))
			continue;
		bool relro = s->kind == D0_SEGMENT_RELRO;
		n_assert(set->runs < RUNS_MAX);
		set->pages += s->pages;
		set->run[set->runs++] =
		    (struct page_run){.name = segment_name[s->kind],
				      .pages = s->pages,
				      .live = s->frames,
				      .golden = {s->golden[0], s->golden[1]},
				      .hash = s->hash,
				      .file = s->file,
				      .file_bytes = s->file_bytes,
				      .segment = s,
				      .relocated = relro ? s : NULL};
	}
}

const struct page_run *set_find(const struct page_set *set, u64 at, u64 *index)
{
	for (u32 i = 0; i < set->runs; i++) {
		if (at < set->run[i].pages) {
			*index = at;
			return &set->run[i];
		}
		at -= set->run[i].pages;
	}
	return NULL;
}

hpa_t run_live(const struct page_set *set, const struct page_run *run, u64 index)
{
	hpa_t f;
	u32 perms;
	if (run->segment && !run->relocated)
		return image_frame(set->cell->image, run->segment, index);
	if (!run->relocated)
		return HPA(run->live.v + (index << PAGE_SHIFT));
	u64 at = set->cell->image_base.v + run->relocated->vaddr + (index << PAGE_SHIFT);
	return space_lookup(&set->cell->space, at, &f, &perms) ? f : HPA_NONE;
}

const void *run_expected(const struct page_set *set, const struct page_run *run, u64 index,
			 u32 g, void *buffer)
{
	const void *golden = hpa_to_ptr(HPA(run->golden[g].v + (index << PAGE_SHIFT)));
	if (!run->relocated)
		return golden;
	memcpy(buffer, golden, PAGE_SIZE);
	image_relocate_page(set->cell->image, run->relocated, index,
			    set->cell->image_base.v + set->cell->va_offset, buffer);
	return buffer;
}
