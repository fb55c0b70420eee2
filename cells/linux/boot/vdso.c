/* SPDX-License-Identifier: ISC */
/*
 * The vDSO: clock_gettime and friends without entering the kernel. The image is built from
 * boot/vdso/ into a blob; behind it the nucleus's clock page is mapped read-only. The pages
 * belong to the kernel image and the info region, so mappings are "special": never
 * counted, never freed.
 */
#include "cells/linux/inc/vfs.h"
#include <asm/mman.h>
#include <linux/mman.h>

extern const u8 vdso_begin[], vdso_end[];
u64 vdso_map(struct mm *mm);

static int map_page(struct mm *mm, u64 va, u64 pa, bool exec)
{
	u64 *e = pt_entry(mm->root, va, true);

	if (!e)
		return -ENOMEM;
	*e = pa | PTE_P | PTE_U | PTE_SPECIAL | (exec ? 0 : PTE_NX);
	return 0;
}

/* Frames that hold a copy of the blob: the image's own text may share a page with others. */
static struct page *copies[4];

static s64 wall_offset, *wall_word; /* the word in the copy: see vdso_wall_offset */

void vdso_wall_offset_set(s64 offset);
void vdso_wall_offset_set(s64 offset)
{
	wall_offset = offset;
	if (wall_word)
		__atomic_store_n(wall_word, offset, __ATOMIC_RELEASE);
}

/* Tell the code where in its page the clock lies, and what the container adds to it. */
static void patch_words(u8 *p, u64 n)
{
	for (u64 i = 0; i + 8 <= n; i += 8) {
		u64 v;

		memcpy(&v, p + i, 8);
		if (v == 0x0d0c10c4) {
			v = d0_info->clock & (PAGE_SIZE - 1);
			memcpy(p + i, &v, 8);
		} else if (v == 0x0d0c10c5) {
			wall_word = (s64 *)(p + i);
			*wall_word = wall_offset;
		}
	}
}

static bool copy_blob(u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		u64 n = MIN((u64)(vdso_end - vdso_begin) - i * PAGE_SIZE, PAGE_SIZE);

		if (copies[i])
			continue;
		copies[i] = page_alloc(PAGE_KERNEL);
		if (!copies[i])
			return false;
		memcpy(page_ptr(copies[i]), vdso_begin + i * PAGE_SIZE, n);
		patch_words(page_ptr(copies[i]), n);
	}
	return true;
}

u64 vdso_map(struct mm *mm)
{
	u64 size = (u64)(vdso_end - vdso_begin), pages = ALIGN_UP(size, PAGE_SIZE) / PAGE_SIZE;
	s64 at;

	if (!size || pages > ARRAY_SIZE(copies) || !copy_blob(pages))
		return 0;
	at = mm_map(mm, 0, (pages + 1) * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		    NULL, 0, VMA_SPECIAL, "[vvar]");
	if (at < 0)
		return 0;
	/* The clock page first, the code behind it: code finds it at a fixed distance. */
	if (map_page(mm, (u64)at, d0_info->clock & PAGE_MASK, false))
		return 0;
	for (u64 i = 0; i < pages; i++)
		if (map_page(mm, (u64)at + (i + 1) * PAGE_SIZE, page_phys(copies[i]), true))
			return 0;
	vma_at(mm, (u64)at)->prot = PROT_READ | PROT_EXEC;
	return (u64)at + PAGE_SIZE;
}
