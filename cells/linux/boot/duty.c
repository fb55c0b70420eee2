/* SPDX-License-Identifier: ISC */
/*
 * The verification duty (nucleus/verify/verify.c): in idle time this cell hashes the pages of
 * its successor in the ring that the nucleus names, which lie in the mirror regions; libcell's
 * duty.c is the same for native cells.
 *
 * The first vCPU does it, which gets the word that a round began; it leaves the monitor
 * meanwhile, so that no program's call waits for a hash. A mirror changes only inside the
 * verify call: what was named by one call is there until the next. A cell that is never idle
 * leaves the duty undone; the nucleus then does it.
 */
#include "cells/linux/inc/smp.h"
#include "cells/linux/inc/duty.h"
#define XXH_VECTOR 0 /* no vector registers: they are the programs' */
#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include <xxhash.h>

bool duty_due = true; /* at the start: ask once */
static struct {
	u64 first, pages; /* 0 pages: no challenge taken */
	u64 nonce;
} challenge;

/* Start of `pages` pages from page `first` of the mirror regions, NULL if there is no such run.
 */
static const void *mirror_pages(u64 first, u64 pages)
{
	const volatile struct d0_region *r =
	    (const volatile struct d0_region *)((u64)d0_info + d0_info->region_off);

	for (u32 i = 0; i < d0_info->regions; i++) {
		u64 n = r[i].size / PAGE_SIZE;

		if (r[i].type != D0_REGION_MIRROR)
			continue;
		if (first < n)
			return pages <= n - first ? phys_ptr(r[i].base + first * PAGE_SIZE)
						  : NULL;
		first -= n;
	}
	return NULL;
}

static u64 answer(void)
{
	const void *p = challenge.pages ? mirror_pages(challenge.first, challenge.pages) : NULL;

	return p ? XXH3_64bits_withSeed(p, challenge.pages * PAGE_SIZE, challenge.nonce) : 0;
}

void duty_step(void)
{
	struct hc_result r;

	monitor_leave();
	r = hc_call(D0_HC_verify, answer(), 0, 0);
	monitor_enter();
	challenge.pages = r.value > 0 ? (u64)r.value & 0xffff : 0;
	challenge.first = r.value > 0 ? (u64)r.value >> 16 : 0;
	challenge.nonce = r.second;
	duty_due = challenge.pages != 0;
}
