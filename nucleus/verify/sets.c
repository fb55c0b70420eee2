/* SPDX-License-Identifier: ISC */
/* Page sets: see sets.h. And the one way to write to a page that nobody may write. */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/core/print.h"
#include "nucleus/core/random.h"
#include "nucleus/live0/live0.h"
#include "nucleus/verify/sets.h"

struct page_set nucleus_set;
static u64 window; /* CPUS_MAX pages, one a CPU, then one that keeps the tables there */

static void add_run(struct page_set *set, const struct page_run *run)
{
	n_assert(set->runs < RUNS_MAX);
	set->run[set->runs++] = *run;
	set->pages += run->pages;
}

void set_of(struct page_set *set, struct cell *cell, bool with_image)
{
	if (!cell) {
		*set = nucleus_set;
		return;
	}
	*set = (struct page_set){.cell = cell};
	for (u32 i = 0; i < cell->image->segments; i++) {
		const struct segment *s = &cell->image->segment[i];
		if (s->kind == SEGMENT_DATA || (s->kind != SEGMENT_RELRO && !with_image))
			continue;
		static const char *const name[] = {"text", "rodata", "relro"};
		bool relro = s->kind == SEGMENT_RELRO;
		struct page_run run = {.name = name[s->kind],
				       .pages = s->pages,
				       .live = s->frames,
				       .golden = {s->golden[0], s->golden[1]},
				       .hash = s->hash,
				       .relocated = relro ? s : NULL};
		add_run(set, &run);
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
	if (!run->relocated)
		return HPA(run->live.v + (index << PAGE_SHIFT));
	u64 at = set->cell->image_base.v + run->relocated->vaddr + (index << PAGE_SHIFT);
	return space_lookup(&set->cell->space, at, &f, &perms) ? f : HPA_NONE;
}

const void *run_expected(const struct page_set *set, const struct page_run *run, u64 index, u32 g,
			 void *buffer)
{
	const void *golden = hpa_to_ptr(HPA(run->golden[g].v + (index << PAGE_SHIFT)));
	if (!run->relocated)
		return golden;
	memcpy(buffer, golden, PAGE_SIZE);
	image_relocate_page(set->cell->image, run->relocated, index,
			    set->cell->image_base.v + set->cell->va_offset, buffer);
	return buffer;
}

void repair_init(void)
{
	window = 0xffffd00000000000ull + (random_u64() & 0xffffff) * LARGE_SIZE;
	hpa_t anchor = frame_alloc();
	n_assert(hpa_valid(anchor));
	n_assert(!space_map(&nucleus_space, window + CPUS_MAX * PAGE_SIZE, anchor, PAGE_SIZE, MAP_R,
			    false));
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
