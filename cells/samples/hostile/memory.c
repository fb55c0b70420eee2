/* SPDX-License-Identifier: ISC */
/* Attacks on memory: what a region's permissions, and the gaps between regions, must stop. */
#include <stdlib.h>
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "libcell/cell.h"

static const uint8_t ret_code[16] = {0xc3, 0xc3, 0xc3, 0xc3};
static uint8_t data_page[64] = {0xc3};
extern const char __image_start[];

static void *region_start(enum d0_region_type type)
{
	const struct d0_region *r = cell_region(type, 0);

	return r ? cell_ptr(r->base) : NULL;
}

ATTACK(write_text, "write-text")
{
	aim(__image_start);
	poke(__image_start);
}

ATTACK(write_rodata, "write-rodata")
{
	aim(ret_code);
	poke(ret_code);
}

ATTACK(write_relro, "write-relro")
{
	aim(region_start(D0_REGION_RELRO));
	poke(region_start(D0_REGION_RELRO));
}

ATTACK(write_info, "write-info")
{
	aim(cell_info());
	poke(cell_info());
}

ATTACK(write_mirror, "write-mirror")
{
	aim(region_start(D0_REGION_MIRROR));
	poke(region_start(D0_REGION_MIRROR));
}

ATTACK(exec_data, "exec-data")
{
	aim(data_page);
	jump(data_page);
}

ATTACK(exec_stack, "exec-stack")
{
	uint8_t code[16];

	memcpy(code, ret_code, sizeof(code));
	aim(code);
	jump(code);
}

ATTACK(exec_heap, "exec-heap")
{
	uint8_t *code = malloc(64);

	memcpy(code, ret_code, sizeof(ret_code));
	aim(code);
	jump(code);
}

ATTACK(exec_ring, "exec-ring")
{
	uint8_t *ring = cell_channel_ring(0, NULL);

	if (!ring)
		return;
	ring[8192] = 0xc3;
	aim(ring + 8192);
	jump(ring + 8192);
}

ATTACK(exec_rodata, "exec-rodata")
{
	aim(ret_code);
	jump(ret_code);
}

ATTACK(exec_mirror, "exec-mirror")
{
	aim(region_start(D0_REGION_MIRROR));
	jump(region_start(D0_REGION_MIRROR));
}

ATTACK(read_null, "read-null")
{
	aim(NULL);
	peek(NULL);
}

/* Behind the heap stands a guard. */
ATTACK(read_guard, "read-guard")
{
	const struct d0_region *heap = cell_region(D0_REGION_HEAP, 0);
	uint8_t *end = (uint8_t *)cell_ptr(heap->base) + heap->size;

	aim(end);
	peek(end);
}

ATTACK(write_guard, "write-guard")
{
	uint8_t *below = (uint8_t *)region_start(D0_REGION_STACK) - 1;

	aim(below);
	poke(below);
}

/* The last addresses the second-level tables could map. */
ATTACK(read_far, "read-far")
{
	const uint8_t *far = (const uint8_t *)(D0_GPA_LIMIT - D0_PAGE_SIZE);

	aim(far);
	peek(far);
}

/* The local APIC's usual place: no cell has it. */
ATTACK(read_apic, "read-apic")
{
	const uint8_t *apic = (const uint8_t *)0xfee00000;

	aim(apic);
	peek(apic);
}

static __attribute__((noinline)) uint64_t recurse(uint64_t n)
{
	volatile uint8_t frame[512];

	frame[n % sizeof(frame)] = (uint8_t)n;
	return n == ~0ull ? 0 : recurse(n + 1) + frame[0];
}

ATTACK(stack_overflow, "stack-overflow")
{
	recurse(0);
}

/* The canary is the cell's own defence: it ends itself. */
static __attribute__((noinline)) void smash(volatile size_t n)
{
	char buf[16];

	memset(buf, 'A', n);
	__asm__ volatile("" ::"r"(buf) : "memory");
}

ATTACK(stack_smash, "stack-smash")
{
	smash(64);
}

/*
 * A cell may write its own first-level tables. Point every entry of the table that maps
 * the heap elsewhere: what is reached is decided a level below.
 */
ATTACK(remap, "remap")
{
	const struct d0_region *t = cell_region(D0_REGION_TABLES, 0);
	uint64_t *entry = t ? cell_ptr(t->base) : NULL, old_cr3;
	uint8_t *heap = malloc(64);

	if (!entry)
		return;
	for (uint64_t i = 0; i < t->size / 8; i++)
		if (entry[i] & 0x80 || (entry[i] & 1 && i >= t->size / 16))
			entry[i] += 0x40000000; /* 1 GiB further */
	aim(heap);
	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(old_cr3)::"memory");
	peek(heap + 4096);
}
