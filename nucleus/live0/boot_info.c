/* SPDX-License-Identifier: ISC */
/*
 * What the boot loader says: PVH (Xen docs/misc/pvh.pandoc, hvm_start_info version 1) and
 * multiboot2 (specification 2.0, section 3.6). Counts are clamped to what boot_info holds;
 * strings are copied with a bound.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/live0/live0.h"

struct boot_info boot_info;

struct pvh_start_info {
	u32 magic, version, flags, modules;
	u64 modlist, cmdline, rsdp;
	u64 memmap;
	u32 memmap_entries, reserved;
};
struct pvh_module {
	u64 base, size, cmdline, reserved;
};
/* Both protocols have it. */
struct e820_range {
	u64 base, size;
	u32 type, reserved;
};
#define E820_RAM 1
_Static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info v1");

struct mb2_tag {
	u32 type, size;
};
struct mb2_module {
	struct mb2_tag tag;
	u32 start, end;
};
struct mb2_mmap {
	struct mb2_tag tag;
	u32 entry_size, version;
};

/* The loader's memory is not kept, so the RSDP that lies in it is copied. */
static u8 rsdp_copy[64];

static void set_cmdline(const char *text, size_t max)
{
	size_t n = strnlen(text, MIN(max, BOOT_CMDLINE_MAX - 1));
	memcpy(boot_info.cmdline, text, n);
	boot_info.cmdline[n] = 0;
}

/* Only RAM is of interest. */
static void add_range(const struct e820_range *r)
{
	u64 base = ALIGN_UP(r->base, PAGE_SIZE), end = ALIGN_DOWN(r->base + r->size, PAGE_SIZE);
	if (r->type != E820_RAM || end <= base || base < r->base)
		return;
	if (boot_info.ranges == BOOT_RANGES_MAX) {
		n_print("boot: memory map has more than %u entries, the rest is ignored",
			BOOT_RANGES_MAX);
		return;
	}
	boot_info.range[boot_info.ranges].base = base;
	boot_info.range[boot_info.ranges++].end = end;
	boot_info.ram_top = MAX(boot_info.ram_top, end);
}

const char *boot_info_from_pvh(u64 start_info)
{
	const struct pvh_start_info *si = (const void *)start_info;
	boot_info.loader = "PVH";
	if (si->magic != 0x336ec578)
		return "start info has the wrong magic";
	if (si->version < 1 || !si->memmap || !si->memmap_entries)
		return "the loader gives no memory map";
	for (u32 i = 0; i < si->memmap_entries && i < 1024; i++)
		add_range((const struct e820_range *)si->memmap + i);
	if (si->modules) {
		const struct pvh_module *m = (const void *)si->modlist;
		boot_info.archive = HPA(m->base);
		boot_info.archive_size = m->size;
	}
	if (si->cmdline)
		set_cmdline((const char *)si->cmdline, BOOT_CMDLINE_MAX);
	boot_info.rsdp = HPA(si->rsdp);
	return NULL;
}

static void mb2_ranges(const struct mb2_mmap *map)
{
	u32 size = map->entry_size & ~7u; /* a multiple of 8, by the specification */
	for (u32 at = sizeof(*map); size >= sizeof(struct e820_range) && at <= map->tag.size &&
				    size <= map->tag.size - at;
	     at += size)
		add_range((const void *)((const u8 *)map + at));
}

enum {
	MB2_END = 0,
	MB2_CMDLINE = 1,
	MB2_MODULE = 3,
	MB2_MMAP = 6,
	MB2_RSDP1 = 14,
	MB2_RSDP2 = 15
};

static void mb2_take(const struct mb2_tag *tag)
{
	const struct mb2_module *m = (const void *)tag;
	switch (tag->type) {
	case MB2_CMDLINE:
		set_cmdline((const char *)(tag + 1), tag->size - sizeof(*tag));
		break;
	case MB2_MODULE:
		if (tag->size >= sizeof(*m) && m->end > m->start && !boot_info.archive_size) {
			boot_info.archive = HPA(m->start);
			boot_info.archive_size = m->end - m->start;
		}
		break;
	case MB2_MMAP:
		if (tag->size >= sizeof(struct mb2_mmap))
			mb2_ranges((const void *)tag);
		break;
	case MB2_RSDP1:
	case MB2_RSDP2: /* a copy of the RSDP lies in the tag; the newer one comes last */
		memcpy(rsdp_copy, tag + 1, MIN(tag->size - sizeof(*tag), sizeof(rsdp_copy)));
		boot_info.rsdp = HPA((u64)rsdp_copy);
		break;
	}
}

const char *boot_info_from_mb2(u64 tags)
{
	u32 total = *(const u32 *)tags;
	boot_info.loader = "multiboot2";
	for (u32 at = 8; at + sizeof(struct mb2_tag) <= total;) {
		const struct mb2_tag *tag = (const void *)(tags + at);
		if (tag->type == MB2_END)
			break;
		if (tag->size < sizeof(*tag) || tag->size > total - at)
			return "a multiboot2 tag overruns the list";
		mb2_take(tag);
		at += (u32)ALIGN_UP(tag->size, 8);
	}
	return boot_info.ranges ? NULL : "the loader gives no memory map";
}

/* Where this word begins, "=" or its end follows. NULL: it is not there. */
static const char *cmdline_find(const char *word, size_t len)
{
	for (const char *p = boot_info.cmdline; *p; p++)
		if ((p == boot_info.cmdline || p[-1] == ' ') && !strncmp(p, word, len) &&
		    (p[len] == '=' || p[len] == ' ' || !p[len]))
			return p;
	return NULL;
}

bool cmdline_has(const char *word)
{
	return cmdline_find(word, strlen(word));
}

size_t cmdline_copy(const char *name, size_t len, char *out, size_t room)
{
	const char *p = cmdline_find(name, len);
	size_t n = 0;
	for (; p && p[len] == '=' && p[n] && p[n] != ' ' && n < room; n++)
		out[n] = p[n];
	return n;
}
