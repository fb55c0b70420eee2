/* SPDX-License-Identifier: ISC */
/* malloc and its kin over the heap region; a cell without one has no memory to give. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "libcell/alloc.h"
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/panic.h"

static struct heap cell_heap;

void bare_heap_init(const struct d0_info *info, uint64_t key)
{
	const struct d0_region *r = cell_region(D0_REGION_HEAP, 0);

	if (!r)
		return;
	heap_init(&cell_heap, cell_ptr(r->base), r->size, key);
	heap_known_zero(&cell_heap); /* its frames are fresh at every start */
}

struct heap_stats cell_heap_stats(void)
{
	return cell_heap.stats;
}

void *malloc(size_t n)
{
	return heap_alloc(&cell_heap, n, 16);
}

void *calloc(size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL
						       : heap_zalloc(&cell_heap, bytes, 16);
}

void *realloc(void *p, size_t n)
{
	return heap_realloc(&cell_heap, p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL : realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t n)
{
	return heap_alloc(&cell_heap, n, align);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	void *p = heap_alloc(&cell_heap, n, align);

	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void free(void *p)
{
	heap_free(&cell_heap, p);
}

_Noreturn void abort(void)
{
	panic("abort() called");
}

_Noreturn void exit(int code)
{
	cell_exit(code, NULL);
}
