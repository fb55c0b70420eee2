/* SPDX-License-Identifier: ISC */
/*
 * Regions.
 *
 * Problem: a cell's memory must be exactly what it was given, each piece with exactly the
 * permissions of its type, at addresses that nobody outside can guess.
 *
 * Model: a cell has a table of regions that never overlap and never touch: around each
 * lies at least one page that is not mapped. Small regions of one start of a cell lie in
 * one random 2 MiB block, larger ones in the random 1 GiB that holds it, so that a cell
 * needs few page-table pages and its layout still has 26 bits of chance. Regions that do
 * not fit there go anywhere below D0_GPA_LIMIT.
 *
 * A region's frames are its own (freed with it), or someone else's (image text, rings,
 * device registers, mirrors). A lazy region has frames only where it was touched: memory of
 * guest kernels, and heap and stacks of cells without devices. Cells that own a device have
 * all of theirs from the start, in one piece if there is one, for DMA, and so that
 * a machine out of memory loses none of those that the others live by.
 *
 * Invariants: permissions come from the type and from nowhere else; whatever is mapped
 * in a cell's space belongs to a region. Locking: the nucleus lock. Failure: a region is
 * added wholly or not at all.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/sync/sync.h"

#define SMALL       (256 * KiB)
#define PLACE_TRIES 64
#define FILL_AHEAD  7 /* pages */
/* What a device of the cell may be told to use. */
#define DMA_TYPES                                                              \
	(1u << D0_REGION_DATA | 1u << D0_REGION_STACK | 1u << D0_REGION_HEAP | \
	 1u << D0_REGION_STATE | 1u << D0_REGION_RING)

static u32 type_perms(u32 type)
{
	static const u32 perms[D0_REGION_TYPES] = {
	    [D0_REGION_TEXT] = D0_R | D0_X,   [D0_REGION_RODATA] = D0_R,
	    [D0_REGION_RELRO] = D0_R,         [D0_REGION_DATA] = D0_R | D0_W,
	    [D0_REGION_STACK] = D0_R | D0_W,  [D0_REGION_HEAP] = D0_R | D0_W,
	    [D0_REGION_STATE] = D0_R | D0_W,  [D0_REGION_RING] = D0_R | D0_W,
	    [D0_REGION_DEVICE] = D0_R | D0_W, [D0_REGION_MIRROR] = D0_R,
	    [D0_REGION_INFO] = D0_R,          [D0_REGION_EVENTS] = D0_R | D0_W,
	    [D0_REGION_TABLES] = D0_R | D0_W, [D0_REGION_USER] = D0_R | D0_W | D0_X,
	};
	return type < D0_REGION_TYPES ? perms[type] : 0;
}

static u32 map_perms(u32 type)
{
	u32 p = type_perms(type);
	return (p & D0_R ? MAP_R : 0) | (p & D0_W ? MAP_W : 0) | (p & D0_X ? MAP_X : 0) |
	       (type == D0_REGION_DEVICE ? MAP_UC : 0) |
	       (type == D0_REGION_USER ? MAP_WX_USER : 0);
}

static bool range_free(const struct cell *cell, u64 base, u64 size)
{
	u64 low = base - PAGE_SIZE, high = base + size + PAGE_SIZE;
	for (u32 i = 0; i < D0_REGIONS_MAX; i++) {
		const struct region *r = &cell->region[i];
		if (r->type && r->base.v < high && low < r->base.v + r->size)
			return false;
	}
	for (u32 i = 0; i < cell->config.channels; i++) {
		const struct d0_channel *c = &cell->channel_table[i];
		if (c->ring_base && c->ring_base < high && low < c->ring_base + c->ring_size)
			return false;
	}
	return true;
}

static bool place_in(const struct cell *cell, u64 from, u64 room, u64 size, gpa_t *out)
{
	if (room < size + 2 * PAGE_SIZE)
		return false;
	u64 choices = (room - size) / PAGE_SIZE - 1;
	for (u32 i = 0; i < PLACE_TRIES; i++) {
		u64 base = from + PAGE_SIZE * (1 + random_u64() % choices);
		if (range_free(cell, base, size)) {
			*out = GPA(base);
			return true;
		}
	}
	return false;
}

bool region_place(struct cell *cell, u64 size, gpa_t *out)
{
	if (!cell->window) {
		cell->window = GiB * (1 + random_u64() % (D0_GPA_LIMIT / GiB - 2));
		cell->small_window = cell->window + LARGE_SIZE * (random_u64() % 512);
	}
	size = ALIGN_UP(size, PAGE_SIZE);
	if (size < SMALL && place_in(cell, cell->small_window, LARGE_SIZE, size, out))
		return true;
	return place_in(cell, cell->window, GiB, size, out) ||
	       place_in(cell, GiB, D0_GPA_LIMIT - 2 * GiB, size, out);
}

/* A free slot, described; nothing is mapped yet. NULL: there is none. */
static struct region *take_slot(struct cell *cell, u32 type, gpa_t base, u64 size,
				const char *name)
{
	u32 i = 0;
	while (i < D0_REGIONS_MAX && cell->region[i].type)
		i++;
	if (i == D0_REGIONS_MAX)
		return NULL;
	cell->regions = MAX(cell->regions, i + 1);
	struct region *r = &cell->region[i];
	*r = (struct region){.base = base,
			     .size = ALIGN_UP(size, PAGE_SIZE),
			     .type = type,
			     .perms = type_perms(type),
			     .dma = D0_NEVER};
	n_snprintf(r->name, sizeof(r->name), "%s", name);
	return r;
}

/* The index of a region that was added, or its error with all undone. */
static int added(struct cell *cell, struct region *r, int err)
{
	u32 i = (u32)(r - cell->region);
	if (err)
		region_remove(cell, i);
	return err ? err : (int)i;
}

static void free_mapped(struct cell *cell, u64 base, u64 size)
{
	for (u64 at = base; at < base + size; at += PAGE_SIZE) {
		hpa_t f;
		u32 perms;
		if (space_lookup(&cell->space, at, &f, &perms)) {
			space_unmap(&cell->space, at, PAGE_SIZE);
			frame_free(f);
			cell->memory_frames--;
		}
	}
}

/* Whether frames may come when they are touched. */
static bool lazy_type(const struct cell *cell, u32 type)
{
	return type == D0_REGION_USER ||
	       (!cell->devices && (type == D0_REGION_HEAP || type == D0_REGION_STACK));
}

u64 region_dma_open(struct cell *cell, u32 type, gpa_t base, u64 size, hpa_t frames)
{
	if (!cell->devices || !(DMA_TYPES >> type & 1))
		return D0_NEVER;
	if (!cell->domain)
		return hpa_valid(frames) ? frames.v : D0_NEVER;
	for (u64 at = 0; at < size; at += PAGE_SIZE) {
		hpa_t f;
		u32 perms;
		if (!space_lookup(&cell->space, base.v + at, &f, &perms) ||
		    iommu_map(cell->domain, GPA(base.v + at), f, PAGE_SIZE, MAP_R | MAP_W)) {
			iommu_unmap(cell->domain, base, at);
			return D0_NEVER;
		}
	}
	return base.v;
}

static int map_page(struct cell *cell, const struct region *r, u64 at, hpa_t frame)
{
	return space_map(&cell->space, at, frame, PAGE_SIZE, map_perms(r->type), false);
}

/* A frame of its own for one page. */
static int fill_page(struct cell *cell, const struct region *r, u64 at)
{
	hpa_t f = frame_alloc();
	if (!hpa_valid(f))
		return D0_ENOMEM;
	int err = map_page(cell, r, at, f);
	if (err)
		frame_free(f);
	else
		cell->memory_frames++;
	return err;
}

/* New frames: one run if there is one, else page by page. */
static int map_new(struct cell *cell, const struct region *r, hpa_t *run)
{
	int err = 0;
	*run = frames_alloc_run(PAGES(r->size));
	for (u64 at = 0; !hpa_valid(*run) && at < r->size && !err; at += PAGE_SIZE)
		err = fill_page(cell, r, r->base.v + at);
	if (!hpa_valid(*run))
		return err;
	err = space_map(&cell->space, r->base.v, *run, r->size, map_perms(r->type), false);
	if (err)
		frames_free_run(*run, PAGES(r->size));
	else
		cell->memory_frames += PAGES(r->size);
	return err;
}

int region_add(struct cell *cell, u32 type, gpa_t base, u64 size, hpa_t frames,
	       const char *name)
{
	struct region *r = take_slot(cell, type, base, size, name);
	int err = 0;
	if (!r)
		return D0_ELIMIT;
	r->owned = !hpa_valid(frames);
	r->lazy = r->owned && lazy_type(cell, type);
	if (!r->lazy)
		err = r->owned ? map_new(cell, r, &frames)
			       : space_map(&cell->space, base.v, frames, r->size,
					   map_perms(type), false);
	if (!err)
		r->dma = region_dma_open(cell, type, base, r->size, frames);
	return added(cell, r, err);
}

int region_add_mirror(struct cell *cell, gpa_t base, const hpa_t *frame, u64 count)
{
	struct region *r = take_slot(cell, D0_REGION_MIRROR, base, count * PAGE_SIZE, "mirror");
	int err = 0;
	if (!r)
		return D0_ELIMIT;
	for (u64 i = 0; i < count && !err; i++)
		err = map_page(cell, r, base.v + i * PAGE_SIZE, frame[i]);
	return added(cell, r, err);
}

int region_add_device(struct cell *cell, gpa_t base, u64 size, hpa_t to, u32 perms,
		      u64 ro_offset, u64 ro_size, const char *name)
{
	u64 ro = ro_size ? ro_offset : size, ro_end = ro_size ? ro + ro_size : size;
	const struct {
		u64 from, to;
		u32 perms;
	} part[] = {{0, ro, perms}, {ro, ro_end, perms & ~(u32)MAP_W}, {ro_end, size, perms}};
	struct region *r = take_slot(cell, D0_REGION_DEVICE, base, size, name);
	int err = 0;
	if (!r)
		return D0_ELIMIT;
	r->perms = perms & MAP_W ? D0_R | D0_W : D0_R;
	for (u32 i = 0; i < ARRAY_SIZE(part) && !err; i++)
		err = space_map(&cell->space, base.v + part[i].from, HPA(to.v + part[i].from),
				part[i].to - part[i].from, part[i].perms, true);
	return added(cell, r, err);
}

void region_remove(struct cell *cell, u32 index)
{
	struct region *r = &cell->region[index];
	if (r->dma != D0_NEVER && cell->domain)
		iommu_unmap(cell->domain, r->base, r->size);
	if (r->owned)
		free_mapped(cell, r->base.v, r->size);
	else
		space_unmap(&cell->space, r->base.v, r->size);
	*r = (struct region){0};
	while (cell->regions && !cell->region[cell->regions - 1].type)
		cell->regions--;
}

int region_replace_page(struct cell *cell, gpa_t at, hpa_t frame)
{
	int i = region_find(cell, at, PAGE_SIZE);
	if (i < 0)
		return D0_EFAULT;
	space_unmap(&cell->space, at.v, PAGE_SIZE);
	return map_page(cell, &cell->region[i], at.v, frame);
}

int region_find(const struct cell *cell, gpa_t at, u64 size)
{
	for (u32 i = 0; i < cell->regions; i++) {
		const struct region *r = &cell->region[i];
		if (r->type && at.v >= r->base.v && at.v - r->base.v < r->size &&
		    size <= r->size - (at.v - r->base.v))
			return (int)i;
	}
	return -1;
}

/*
 * Untouched memory is mostly taken in order, and an exit for each page costs more than
 * the page: at the edge of what was touched some more come along.
 */
int region_fill(struct cell *cell, gpa_t at)
{
	int i = region_find(cell, at, PAGE_SIZE);
	if (i < 0)
		return channel_fill(cell, at);
	struct region *r = &cell->region[i];
	int err = r->lazy ? fill_page(cell, r, at.v) : D0_EFAULT;
	u64 here = at.v - r->base.v, next = here + PAGE_SIZE;
	if (err || here < r->fresh)
		return err;
	u64 end = here > r->fresh ? next : MIN(next + FILL_AHEAD * PAGE_SIZE, r->size);
	while (next < end && !fill_page(cell, r, r->base.v + next))
		next += PAGE_SIZE;
	r->fresh = next;
	return D0_OK;
}

int region_discard(struct cell *cell, gpa_t at, u64 size)
{
	if ((at.v | size) & PAGE_MASK || !size)
		return D0_EINVAL;
	int i = region_find(cell, at, size);
	if (i < 0 || !cell->region[i].lazy)
		return D0_EFAULT;
	cell_quiesce(cell);
	free_mapped(cell, at.v, size);
	return D0_OK;
}

/* The page's address in host mode, if the cell itself could do this to it. */
static u8 *guest_page(struct cell *cell, u64 at, u32 perm)
{
	hpa_t f;
	u32 perms;
	if (!space_lookup(&cell->space, at, &f, &perms) &&
	    (region_fill(cell, GPA(ALIGN_DOWN(at, PAGE_SIZE))) ||
	     !space_lookup(&cell->space, at, &f, &perms)))
		return NULL;
	return (perms & perm) && !(perms & MAP_UC) ? hpa_to_ptr(f) : NULL;
}

static bool guest_copy(struct cell *cell, u64 at, u8 *host, u64 size, u32 perm)
{
	if (at >= D0_GPA_LIMIT || size > D0_GPA_LIMIT - at)
		return false;
	while (size) {
		u64 part = MIN(size, PAGE_SIZE - (at & PAGE_MASK));
		u8 *p = guest_page(cell, at, perm);
		if (!p)
			return false;
		if (perm == MAP_R)
			memcpy(host, p, part);
		else
			memcpy(p, host, part);
		at += part;
		host += part;
		size -= part;
	}
	return true;
}

bool guest_read(struct cell *cell, gpa_t at, void *to, u64 size)
{
	return guest_copy(cell, at.v, to, size, MAP_R);
}

bool guest_write(struct cell *cell, gpa_t at, const void *from, u64 size)
{
	return guest_copy(cell, at.v, (u8 *)from, size, MAP_W);
}
