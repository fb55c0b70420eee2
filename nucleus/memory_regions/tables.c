/* SPDX-License-Identifier: ISC */
/*
 * Page tables.
 *
 * Problem: host tables, nested tables of two vendors and IOMMU tables are all four-level
 * radix trees of 512 entries that differ only in how an entry is written.
 *
 * Model: one walker, parameterised by a struct table_format that says which bits of an
 * entry mean what. The walker goes down creating tables as it needs them, and when it unmaps
 * goes up again releasing the ones that became empty.
 *
 * Invariants: entries are written in one function, set_leaf(), and nowhere else; it is
 * there that W^X is checked, for every format. A table in the tree is never empty but for
 * the root. A range is mapped wholly or not at all.
 *
 * Locking: a space belongs to one cell (the nucleus lock) or to boot. Hardware walks the
 * tables at any time, so entries are written with single 64-bit stores, tables before
 * the entries that lead to them. Failure: out of frames undoes the part that was mapped.
 */
#include "d0/abi.h"
#include "nucleus/core/print.h"
#include "nucleus/memory_regions/memory_regions.h"

#define LEVELS  4
#define ENTRIES 512

static u64 level_size(u32 level) /* what one entry covers; level 0 = 4K pages */
{
	return PAGE_SIZE << (9 * level);
}

static u32 level_index(u64 at, u32 level)
{
	return (u32)(at >> (PAGE_SHIFT + 9 * level)) & (ENTRIES - 1);
}

#define ADDR_MASK 0x000ffffffffff000ull

/* x86 long mode; second-level tables of AMD are the same with U set: AMD APM vol.
 * 2, 5.3, 15.25. */
enum {
	X86_P = 1,
	X86_W = 2,
	X86_U = 4,
	X86_UC = 8 | 16, /* PWT, PCD */
	X86_A = 32,
	X86_D = 64,
	X86_PS = 128
};
#define X86_NX (1ull << 63)
#define X86_FORMAT(extra)                                                        \
	.present = X86_P, .table = X86_P | X86_W | X86_A | (extra),              \
	.leaf = X86_P | X86_A | X86_D | (extra), .large = X86_PS, .read = X86_P, \
	.write = X86_W, .no_execute = X86_NX, .uncached = X86_UC

const struct table_format format_host = {X86_FORMAT(0)};
const struct table_format format_npt = {X86_FORMAT(X86_U)};
/* Intel SDM vol. 3, 29.3.2: R 0, W 1, X 2, memory type 3-5 (6: write-back), large 7. */
const struct table_format format_ept = {.present = 7,
					.table = 7,
					.large = 1 << 7,
					.read = 1,
					.write = 2,
					.execute = 4,
					.cached = 6 << 3};
/* VT-d specification 4.1, 9.8: R 0, W 1, large 7. */
const struct table_format format_vtd = {
    .present = 3, .table = 3, .large = 1 << 7, .read = 1, .write = 2};

static bool present(const struct table_format *f, u64 e)
{
	return e && ((e ^ f->invert) & f->present);
}

static bool is_large(const struct table_format *f, u64 e)
{
	return (e ^ f->invert) & f->large;
}

static hpa_t address(const struct table_format *f, u64 e)
{
	return HPA((e ^ f->invert) & ADDR_MASK);
}

static u64 table_entry(const struct table_format *f, hpa_t table)
{
	return (table.v | f->table) ^ f->invert;
}

static u64 leaf_entry(const struct table_format *f, hpa_t to, u32 perms, u32 level)
{
	u64 e = to.v | f->leaf | (level ? f->large : 0);
	e |= (perms & MAP_R ? f->read : 0) | (perms & MAP_W ? f->write : 0);
	e |= perms & MAP_X ? f->execute : f->no_execute;
	e |= perms & MAP_UC ? f->uncached : f->cached;
	return e ^ f->invert;
}

static u32 perms_of(const struct table_format *f, u64 entry)
{
	u64 e = entry ^ f->invert;
	bool execute = f->execute ? e & f->execute : f->no_execute && !(e & f->no_execute);
	bool uncached = f->uncached ? e & f->uncached : f->cached && !(e & f->cached);
	return (e & f->read ? MAP_R : 0) | (e & f->write ? MAP_W : 0) | (execute ? MAP_X : 0) |
	       (uncached ? MAP_UC : 0);
}

static u64 *table_of(hpa_t table)
{
	return hpa_to_ptr(table);
}

bool space_init(struct space *s, const struct table_format *format)
{
	s->format = format;
	s->root = frame_alloc();
	s->table_frames = hpa_valid(s->root);
	return s->table_frames;
}

/* The entry for `at` at `level`, creating tables on the way down if asked to. NULL: none. */
static u64 *walk(struct space *s, u64 at, u32 level, bool create)
{
	u64 *entry = &table_of(s->root)[level_index(at, LEVELS - 1)];
	for (u32 l = LEVELS - 1; l > level; l--) {
		if (!present(s->format, *entry)) {
			if (!create)
				return NULL;
			hpa_t table = frame_alloc();
			if (!hpa_valid(table))
				return NULL;
			s->table_frames++;
			__atomic_store_n(entry, table_entry(s->format, table),
					 __ATOMIC_RELEASE);
		} else if (is_large(s->format, *entry)) {
			return NULL;
		}
		entry = &table_of(address(s->format, *entry))[level_index(at, l - 1)];
	}
	return entry;
}

static int set_leaf(struct space *s, u64 at, hpa_t to, u32 perms, u32 level)
{
	if ((perms & MAP_W) && (perms & MAP_X) && !(perms & MAP_WX_USER))
		return D0_EPERM;
	u64 *entry = walk(s, at, level, true);
	if (!entry)
		return D0_ENOMEM;
	if (present(s->format, *entry))
		return D0_EEXIST;
	__atomic_store_n(entry, leaf_entry(s->format, to, perms, level), __ATOMIC_RELEASE);
	return 0;
}

int space_map(struct space *s, u64 at, hpa_t to, u64 size, u32 perms, bool large)
{
	n_assert(!((at | to.v | size) & PAGE_MASK));
	u64 done = 0;
	while (done < size) {
		u64 va = at + done, pa = to.v + done;
		u32 level =
		    large && !((va | pa) & (LARGE_SIZE - 1)) && size - done >= LARGE_SIZE;
		int err = set_leaf(s, va, HPA(pa), perms, level);
		if (err) {
			space_unmap(s, at, done);
			return err;
		}
		done += level_size(level);
	}
	return 0;
}

/* Replace a large entry by a table of small ones with the same meaning. */
static bool split(struct space *s, u64 *entry)
{
	hpa_t table = frame_alloc();
	if (!hpa_valid(table))
		return false;
	u64 base = address(s->format, *entry).v & ~(LARGE_SIZE - 1);
	u32 perms = perms_of(s->format, *entry);
	for (u32 i = 0; i < ENTRIES; i++)
		table_of(table)[i] = leaf_entry(s->format, HPA(base + i * PAGE_SIZE), perms, 0);
	s->table_frames++;
	__atomic_store_n(entry, table_entry(s->format, table), __ATOMIC_RELEASE);
	return true;
}

static bool table_empty(struct space *s, hpa_t table)
{
	for (u32 i = 0; i < ENTRIES; i++)
		if (present(s->format, table_of(table)[i]))
			return false;
	return true;
}

/*
 * Clear [at, end) below one table; returns true if the table is empty now. A large entry that
 * the range covers only in part is split first; if there is no frame for that, all of it stays
 * mapped, which only boot-time callers, who hold the memory, could notice.
 */
static bool unmap_in(struct space *s, hpa_t table, u32 level, u64 at, u64 end)
{
	while (at < end) {
		u64 *entry = &table_of(table)[level_index(at, level)];
		u64 next = ALIGN_DOWN(at, level_size(level)) + level_size(level);
		u64 stop = MIN(next, end);
		if (present(s->format, *entry)) {
			bool leaf = level == 0 || is_large(s->format, *entry);
			bool whole = stop - at == level_size(level);
			if (leaf && !whole && split(s, entry))
				leaf = false;
			if (leaf) {
				__atomic_store_n(entry, 0, __ATOMIC_RELEASE);
			} else {
				hpa_t below = address(s->format, *entry);
				if (unmap_in(s, below, level - 1, at, stop)) {
					__atomic_store_n(entry, 0, __ATOMIC_RELEASE);
					frame_free(below);
					s->table_frames--;
				}
			}
		}
		at = stop;
	}
	return level < LEVELS - 1 && table_empty(s, table);
}

void space_unmap(struct space *s, u64 at, u64 size)
{
	if (size)
		unmap_in(s, s->root, LEVELS - 1, at, at + size);
}

static void free_tables(struct space *s, hpa_t table, u32 level)
{
	for (u32 i = 0; level > 0 && i < ENTRIES; i++) {
		u64 e = table_of(table)[i];
		if (present(s->format, e) && !is_large(s->format, e))
			free_tables(s, address(s->format, e), level - 1);
	}
	frame_free(table);
}

void space_destroy(struct space *s)
{
	if (hpa_valid(s->root))
		free_tables(s, s->root, LEVELS - 1);
	s->root = HPA_NONE;
	s->table_frames = 0;
}

bool space_lookup(const struct space *s, u64 at, hpa_t *to, u32 *perms)
{
	hpa_t table = s->root;
	for (u32 level = LEVELS - 1;; level--) {
		u64 e = table_of(table)[level_index(at, level)];
		if (!present(s->format, e))
			return false;
		if (level == 0 || is_large(s->format, e)) {
			u64 base = address(s->format, e).v & ~(level_size(level) - 1);
			*to = HPA(base + (at & (level_size(level) - 1)));
			*perms = perms_of(s->format, e);
			return true;
		}
		table = address(s->format, e);
	}
}
