/* SPDX-License-Identifier: ISC */
/*
 * The heap of the region, which is the client's: a buddy allocator over units of 512 bytes
 * whose map is in private memory, one byte a unit: order | FREE or order | BUSY at the first
 * unit of a block, 0 inside.
 */
#include <string.h>
#include "pvs_int.h"

#define FREE  0x40u
#define BUSY  0x80u
#define ORDER 0x1fu

void pvs_heap_init(struct pvs_client *c)
{
	uint32_t at = 0;

	memset(c->map, 0, c->units);
	c->units_used = 0;
	while (at < c->units) {
		unsigned o = PVS_MAX_ORDER - PVS_MIN_ORDER;

		while (at & ((1u << o) - 1) || 1u << o > c->units - at)
			o--;
		c->map[at] = (uint8_t)(FREE | o);
		at += 1u << o;
	}
}

/* Offset in the region, 0: no memory. */
uint32_t pvs_heap_alloc(struct pvs_client *c, unsigned order)
{
	unsigned want = order - PVS_MIN_ORDER, best = 32;
	uint32_t at, pick = 0;

	for (at = 0; at < c->units; at += 1u << (c->map[at] & ORDER)) {
		unsigned o = c->map[at] & ORDER;

		if (c->map[at] & FREE && o >= want && o < best) {
			best = o;
			pick = at;
			if (o == want)
				break;
		}
	}
	if (best == 32)
		return 0;
	while (best > want) {
		best--;
		c->map[pick + (1u << best)] = (uint8_t)(FREE | best);
	}
	c->map[pick] = (uint8_t)(BUSY | want);
	c->units_used += 1u << want;
	return c->heap + pick * UNIT;
}

void pvs_heap_free(struct pvs_client *c, uint32_t off)
{
	uint32_t at = (off - c->heap) / UNIT;
	unsigned o = c->map[at] & ORDER;

	c->units_used -= 1u << o;
	for (;; o++) {
		uint32_t buddy = at ^ (1u << o), low = at & ~(1u << o);

		if (o + PVS_MIN_ORDER >= PVS_MAX_ORDER || buddy >= c->units ||
		    c->map[buddy] != (FREE | o))
			break;
		c->map[at] = c->map[buddy] = 0;
		at = low;
	}
	c->map[at] = (uint8_t)(FREE | o);
}

uint32_t pvs_heap_left(const struct pvs_client *c)
{
	return (c->units - c->units_used) * UNIT;
}
