/* SPDX-License-Identifier: ISC */
/*
 * The guest kernel's map of a program's addresses against a model of one byte per page:
 * random maps, unmaps, protections and moves must leave the same picture, without overlap.
 */
#include "cells/linux/inc/vfs.h"
#undef current
static struct thread test_thread;
static struct proc test_proc;
#define current  (&test_thread)
#define read_cr3 test_read_cr3
static u64 test_read_cr3(void)
{
	return 0;
}
#include "cells/linux/mm/vma.c"

#include <setjmp.h>
#include <cmocka.h>
void *calloc(size_t n, size_t size);
void free(void *p);
void abort(void);

/* What vma.c needs of the rest of the kernel. */
void *kmemdup(const void *p, size_t n)
{
	return memcpy(kalloc(n), p, n);
}
void panic(const char *fmt, ...)
{
	print_message("panic: %s\n", fmt);
	abort();
}
u64 pt_new(void)
{
	return 4096;
}
void pt_free(u64 root)
{
}
u64 *pt_entry(u64 root, u64 va, bool alloc)
{
	return NULL;
}
u64 *pt_next(u64 root, u64 *va, u64 end)
{
	return NULL;
}
struct page *page_of(u64 pa)
{
	return NULL;
}
void page_get(struct page *p)
{
}
void page_put(struct page *p)
{
}
void tlb_flush_page(struct mm *mm, u64 va)
{
}
void tlb_flush_mm(struct mm *mm)
{
}
void mm_activate(struct mm *mm)
{
}
void oom_kill(void)
{
}
void aio_mm_gone(struct mm *mm)
{
}
void shm_area_open(struct vma *v)
{
}
void shm_area_close(struct vma *v)
{
}
static struct inode shared_object;
struct inode *shmem_inode(u64 size)
{
	inode_get(&shared_object);
	return &shared_object;
}

#define BASE  0x10000000ul
#define PAGES 256u
static u8 model[PAGES];
static u32 seed = 12345;

static u32 rnd(u32 n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static void compare(struct mm *mm)
{
	u64 total = 0;

	for (u32 i = 0; i < mm->count; i++) {
		struct vma *v = mm->vmas[i];

		assert_true(v->start < v->end);
		assert_true(i == 0 || mm->vmas[i - 1]->end <= v->start);
		total += (v->end - v->start) / PAGE_SIZE;
	}
	assert_int_equal(total, mm->total_vm);
	for (u32 p = 0; p < PAGES; p++) {
		struct vma *v = vma_at(mm, BASE + p * PAGE_SIZE);

		assert_int_equal(v ? 1 + v->prot : 0, model[p]);
	}
}

static void one_step(struct mm *mm)
{
	u32 at = rnd(PAGES), n = 1 + rnd(24), prot = rnd(4), what = rnd(10);
	u64 addr = BASE + at * PAGE_SIZE;
	s64 r;

	n = MIN(n, PAGES - at);
	if (what < 4) {
		u32 kind = rnd(2) ? MAP_PRIVATE : MAP_SHARED;

		r = mm_map(mm, addr, n * PAGE_SIZE, prot, kind | MAP_FIXED | MAP_ANONYMOUS,
			   NULL, 0, 0, NULL);
		assert_int_equal(r, addr);
		memset(model + at, (int)(1 + prot), n);
	} else if (what < 7) {
		assert_int_equal(mm_unmap(mm, addr, n * PAGE_SIZE), 0);
		memset(model + at, 0, n);
	} else if (what < 9) {
		bool hole = memchr(model + at, 0, n) != NULL;

		r = mm_protect(mm, addr, n * PAGE_SIZE, prot);
		assert_int_equal(r, hole ? -ENOMEM : 0);
		if (!hole)
			memset(model + at, (int)(1 + prot), n);
	} else {
		u32 less = 1 + rnd(n);

		r = mm_remap(mm, addr, n * PAGE_SIZE, less * PAGE_SIZE, 0, 0);
		if (r == (s64)addr)
			memset(model + at + less, 0, n - less);
	}
}

static void test_random_maps(void **state)
{
	struct mm *mm = mm_new();

	test_thread.proc = &test_proc;
	test_proc.rlim[RLIMIT_AS].cur = NEVER;
	memset(model, 0, sizeof(model));
	for (int i = 0; i < 5000; i++) {
		one_step(mm);
		compare(mm);
	}
	assert_int_equal(mm_unmap(mm, BASE, PAGES * PAGE_SIZE), 0);
	assert_int_equal(mm->count, 0);
	assert_int_equal(shared_object.refs, 0);
	mm_put(mm);
}

static void test_refusals(void **state)
{
	struct mm *mm = mm_new();

	assert_int_equal(mm_map(mm, 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, 0, NULL),
			 -EACCES);
	mm->wx_allowed = true;
	assert_true(mm_map(mm, 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0, 0, NULL) > 0);
	assert_int_equal(mm_map(mm, 0, 0, 3, MAP_PRIVATE, NULL, 0, 0, NULL), -EINVAL);
	assert_int_equal(mm_map(mm, 0, TASK_SIZE + 1, 3, MAP_PRIVATE, NULL, 0, 0, NULL),
			 -ENOMEM);
	assert_int_equal(mm_map(mm, 0, ~0ul, 3, MAP_PRIVATE, NULL, 0, 0, NULL), -ENOMEM);
	assert_int_equal(mm_map(mm, 4096, 4096, 3, MAP_PRIVATE | MAP_FIXED, NULL, 0, 0, NULL),
			 -EPERM);
	assert_int_equal(
	    mm_map(mm, TASK_SIZE, 4096, 3, MAP_PRIVATE | MAP_FIXED, NULL, 0, 0, NULL), -ENOMEM);
	assert_int_equal(mm_unmap(mm, 1, 4096), -EINVAL);
	assert_int_equal(mm_unmap(mm, ~0xffful, 8192), -EINVAL);
	assert_int_equal(mm_remap(mm, BASE, 4096, 8192, 0, 0), -EFAULT);
	mm_put(mm);
}

static void test_gap_search(void **state)
{
	struct mm *mm = mm_new();
	s64 a = mm_map(mm, 0, 8 * PAGE_SIZE, 3, MAP_PRIVATE, NULL, 0, 0, "a");
	s64 b = mm_map(mm, 0, 8 * PAGE_SIZE, 1, MAP_PRIVATE, NULL, 0, 0, "b");

	assert_int_equal(b, a - 8 * (s64)PAGE_SIZE); /* downwards, without a hole */
	mm_unmap(mm, (u64)a, 8 * PAGE_SIZE);
	assert_int_equal(vma_find_gap(mm, 0, 8 * PAGE_SIZE, false), a);
	assert_int_equal(vma_find_gap(mm, 0, 9 * PAGE_SIZE, false), b - 9 * (s64)PAGE_SIZE);
	assert_int_equal(vma_find_gap(mm, BASE + 5, PAGE_SIZE, false), BASE);
	assert_true(vma_find_gap(mm, 0, PAGE_SIZE, true) < 0x80000000ul);
	mm_put(mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_maps),
					   cmocka_unit_test(test_refusals),
					   cmocka_unit_test(test_gap_search)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
