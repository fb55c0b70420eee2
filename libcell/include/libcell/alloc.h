/* SPDX-License-Identifier: ISC */
/*
 * The heap. Cells use malloc, calloc, realloc, free, aligned_alloc of <stdlib.h>, which
 * in the bare back-end are this allocator over the cell's heap region (its size is the
 * bound; exhaustion gives NULL, never a panic). Block headers carry a keyed check word:
 * an overrun or a double free ends the cell with the address and the caller.
 *
 * The heap is one region, contiguous for DMA: cell_dma_addr() works on any block.
 */
#ifndef LIBCELL_ALLOC_H
#define LIBCELL_ALLOC_H

#include <stddef.h>
#include <stdint.h>
#include "libcell/spinlock.h"

#define HEAP_CLASSES 48

struct heap_stats {
	size_t size;      /* bytes of the region */
	size_t used;      /* bytes in live blocks, headers included */
	size_t peak;      /* highest `used` so far */
	size_t blocks;    /* live blocks */
	size_t failures;  /* requests that found no memory */
	size_t free_size; /* bytes free (fragmented or not) */
};

/* A heap over memory of one's own. All calls are safe on several vCPUs. */
struct heap_block;
struct heap {
	struct spinlock lock;
	uintptr_t base, end, fresh; /* fresh: zeros from here on, but for the end mark */
	uint64_t key;
	uint64_t class_map;
	struct heap_block *free_list[HEAP_CLASSES];
	struct heap_stats stats;
};

/* size >= 4096; base 16-byte aligned. key: random, guards the headers. */
void heap_init(struct heap *h, void *base, size_t size, uint64_t key);
/* Right after heap_init: the memory was all zeros before it. */
void heap_known_zero(struct heap *h);
/* align: a power of two, at least 16 is always given. NULL if there is no room. */
void *heap_alloc(struct heap *h, size_t size, size_t align);
/* The same, zeroed; memory known to be zero is not touched. */
void *heap_zalloc(struct heap *h, size_t size, size_t align);
void *heap_realloc(struct heap *h, void *p, size_t size);
void heap_free(struct heap *h, void *p);
/* Walks everything; panics at the first inconsistency. For tests. */
void heap_check(struct heap *h);

/* Of the cell's own heap; zeros in the hosted back-end. */
struct heap_stats cell_heap_stats(void);

#endif
