/* SPDX-License-Identifier: ISC */
/*
 * Page tables (Intel SDM 3A chapter 4, four levels). The lower half belongs to a process;
 * of the upper half entry 256 is the direct map of all guest-physical memory and entry 257 the
 * vmalloc area; both are the same in every root.
 *
 * The second level lets the memory of programs be written and executed; what the kernel may
 * do with it is decided here. So the kernel makes a direct map of its own: its text can be
 * executed and not written, its constants neither, everything else can be written and not
 * executed. It takes the largest pages that are of one kind.
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

/* The rights of a range of memory, 0 if its parts differ. */
static u64 direct_rights(u64 pa, u64 size)
{
	const volatile struct d0_region *r =
	    (const volatile struct d0_region *)((u64)d0_info + d0_info->region_off);

	for (u32 i = 0; i < d0_info->regions; i++) {
		if (r[i].type != D0_REGION_TEXT && r[i].type != D0_REGION_RODATA &&
		    r[i].type != D0_REGION_RELRO)
			continue;
		if (pa >= r[i].base + r[i].size || r[i].base >= pa + size)
			continue;
		if (pa < r[i].base || r[i].base + r[i].size - pa < size)
			return 0;
		return r[i].type == D0_REGION_TEXT ? PTE_P | PTE_A : PTE_P | PTE_A | PTE_NX;
	}
	return PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX;
}

/* A table of that level for the memory from pa on; its physical address. */
static u64 direct_table(u64 pa, int level)
{
	struct page *p = page_alloc(PAGE_KERNEL);
	u64 size = 1ull << (12 + 9 * level), *t;

	BUG_ON(!p);
	t = page_ptr(p);
	for (u32 i = 0; i < 512 && pa < D0_GPA_LIMIT; i++, pa += size) {
		u64 rights = direct_rights(pa, size);

		t[i] = rights ? pa | rights | (level ? PTE_PS : 0)
			      : direct_table(pa, level - 1) | PTE_P | PTE_W;
	}
	return page_phys(p);
}

void pt_init(void)
{
	struct page *root = page_alloc(PAGE_KERNEL), *vm = page_alloc(PAGE_KERNEL);
	u64 *t;

	BUG_ON(!root || !vm);
	t = page_ptr(root);
	t[256] = direct_table(0, 2) | PTE_P | PTE_W;
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
