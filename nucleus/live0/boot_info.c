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
struct pvh_range {
	u64 base, size;
	u32 type, reserved;
};
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

void boot_info_add_range(u64 base, u64 size, u32 type)
{
	if (!size || base + size < base)
		return;
	if (boot_info.ranges == BOOT_RANGES_MAX) {
		n_print("boot: memory map has more than %u entries, the rest is ignored",
			BOOT_RANGES_MAX);
		return;
	}
	u32 i = boot_info.ranges++;
	boot_info.range[i].base = base;
	boot_info.range[i].size = size;
	boot_info.range[i].type = type;
	if (type == BOOT_RAM)
		boot_info.ram_top = MAX(boot_info.ram_top, base + size);
}

/* E820 types 1-4 are ours; anything else is reserved. */
static u32 range_type(u32 e820)
{
	return e820 >= 1 && e820 <= 4 ? e820 : BOOT_RESERVED;
}

const char *boot_info_from_pvh(u64 start_info)
{
	const struct pvh_start_info *si = (const void *)start_info;
	boot_info.loader = "PVH";
	if (si->magic != 0x336ec578)
		return "start info has the wrong magic";
	if (si->version < 1 || !si->memmap || !si->memmap_entries)
		return "the loader gives no memory map";
	const struct pvh_range *r = (const void *)si->memmap;
	for (u32 i = 0; i < si->memmap_entries && i < 1024; i++)
		boot_info_add_range(r[i].base, r[i].size, range_type(r[i].type));
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
	if (map->entry_size < sizeof(struct pvh_range))
		return;
	for (u32 at = sizeof(*map); at + map->entry_size <= map->tag.size;
	     at += map->entry_size) {
		const struct pvh_range *r = (const void *)((const u8 *)map + at);
		boot_info_add_range(r->base, r->size, range_type(r->type));
	}
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
	default:
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

/* What follows this word: "=", a blank or the end. NULL: it is not there. */
static const char *cmdline_find(const char *word)
{
	size_t len = strlen(word);
	for (const char *p = boot_info.cmdline; *p; p++)
		if ((p == boot_info.cmdline || p[-1] == ' ') && !strncmp(p, word, len) &&
		    (p[len] == '=' || p[len] == ' ' || !p[len]))
			return p + len;
	return NULL;
}

bool cmdline_has(const char *word)
{
	return cmdline_find(word);
}

bool cmdline_get(const char *name, char *out, size_t size)
{
	const char *at = cmdline_find(name);
	size_t n = 0;
	if (!at || *at != '=')
		return false;
	for (at++; *at && *at != ' ' && n + 1 < size; at++)
		out[n++] = *at;
	out[n] = 0;
	return true;
}
