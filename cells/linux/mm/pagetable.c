/* SPDX-License-Identifier: ISC */
/*
 * Page tables (Intel SDM 3A chapter 4, four levels). The lower half belongs to a process;
 * of the upper half entry 256 is the direct map that the nucleus made and entry 257 the
 * vmalloc area; both are the same in every root.
 */
#include "cells/linux/inc/mm.h"
#include "cells/linux/inc/cpu.h"

static u64 kernel_root;

static u64 *table(u64 entry)
{
	return phys_ptr(entry & PTE_ADDR);
}

static u32 slot(u64 va, int level)
{
	return (u32)(va >> (12 + 9 * level)) & 511;
}

void pt_init(void)
{
	const u64 *boot = phys_ptr(read_cr3() & PTE_ADDR);
	struct page *root = page_alloc(PAGE_KERNEL), *vm = page_alloc(PAGE_KERNEL);
	u64 *t;

	BUG_ON(!root || !vm);
	t = page_ptr(root);
	t[256] = boot[256];
	t[257] = page_phys(vm) | PTE_P | PTE_W;
	kernel_root = page_phys(root);
	write_cr3(kernel_root);
}

u64 pt_kernel_root(void);
u64 pt_kernel_root(void)
{
	return kernel_root;
}

u64 pt_new(void)
{
	struct page *p = page_alloc(PAGE_KERNEL);
	u64 *t, *k = phys_ptr(kernel_root);

	if (!p)
		return 0;
	t = page_ptr(p);
	t[256] = k[256];
	t[257] = k[257];
	return page_phys(p);
}

static void free_level(u64 entry, int level)
{
	if (level > 0) {
		u64 *t = table(entry);

		for (u32 i = 0; i < 512; i++)
			if (t[i] & PTE_P)
				free_level(t[i], level - 1);
	}
	page_put(page_of(entry & PTE_ADDR));
}

void pt_free(u64 root)
{
	u64 *t = phys_ptr(root);

	for (u32 i = 0; i < 256; i++)
		if (t[i] & PTE_P)
			free_level(t[i], 2);
	page_put(page_of(root));
}

static bool table_add(u64 *e)
{
	struct page *p = page_alloc(PAGE_KERNEL);

	if (!p)
		return false;
	*e = page_phys(p) | PTE_P | PTE_W | PTE_U;
	return true;
}

u64 *pt_entry(u64 root, u64 va, bool alloc)
{
	u64 *t = phys_ptr(root);

	for (int level = 3; level > 0; level--) {
		u64 *e = t + slot(va, level);

		if (!(*e & PTE_P) && (!alloc || !table_add(e)))
			return NULL;
		t = table(*e);
	}
	return t + slot(va, 0);
}

u64 *pt_next(u64 root, u64 *va, u64 end)
{
	while (*va < end) {
		u64 *t = phys_ptr(root);
		int level = 3;

		for (; level > 0; level--) {
			u64 e = t[slot(*va, level)];

			if (!(e & PTE_P))
				break;
			t = table(e);
		}
		if (level == 0)
			return t + slot(*va, 0);
		*va = ALIGN_DOWN(*va, 1ull << (12 + 9 * level)) + (1ull << (12 + 9 * level));
	}
	return NULL;
}

int pt_map_kernel(u64 va, u64 pa, u64 flags)
{
	u64 *e = pt_entry(kernel_root, va, true);

	if (!e)
		return -ENOMEM;
	BUG_ON(*e & PTE_P);
	*e = pa | flags;
	return 0;
}

u64 pt_kernel_phys(u64 va)
{
	u64 *e = pt_entry(kernel_root, va, false);

	return e && (*e & PTE_P) ? *e & PTE_ADDR : 0;
}

void pt_unmap_kernel(u64 va)
{
	u64 *e = pt_entry(kernel_root, va, false);

	if (e)
		*e = 0;
	invlpg(va);
	tlb_kernel_changed();
}
