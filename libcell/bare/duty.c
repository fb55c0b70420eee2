/* SPDX-License-Identifier: ISC */
/*
 * The verification duty: this cell checks its successor in the ring.
 *
 * The nucleus names pages of the mirror regions (the read-only view of the successor's
 * verified pages) and a nonce; the answer is XXH3-64 of those pages with the nonce as seed.
 * The nucleus knows what it must be, we don't: a cell can neither answer from memory nor
 * tell which page is wrong. Pages are counted through all mirror regions in table order;
 * a challenge stays within one region.
 */
#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include <stddef.h>
#include <xxhash.h>
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/hypercall.h"
#include "libcell/spinlock.h"

static struct spinlock duty_lock = SPINLOCK_INIT;
static bool duty_active = true; /* at start: ask once */
static struct {
	uint64_t first, pages; /* 0 pages: no challenge taken */
	uint64_t nonce;
} challenge;

void bare_duty_begin(void)
{
	__atomic_store_n(&duty_active, true, __ATOMIC_RELEASE);
}

bool bare_duty_active(void)
{
	return __atomic_load_n(&duty_active, __ATOMIC_ACQUIRE);
}

/* Start of `pages` pages from page `first` of the mirror, NULL if there is no such run. */
static const void *mirror_pages(uint64_t first, uint64_t pages)
{
	const struct d0_region *r;

	for (unsigned i = 0; (r = cell_region(D0_REGION_MIRROR, i)) != NULL; i++) {
		uint64_t n = r->size / D0_PAGE_SIZE;

		if (first >= n) {
			first -= n;
			continue;
		}
		if (pages > n - first)
			return NULL;
		return cell_ptr(r->base + first * D0_PAGE_SIZE);
	}
	return NULL;
}

static uint64_t challenge_answer(void)
{
	const void *p = mirror_pages(challenge.first, challenge.pages);

	return p ? XXH3_64bits_withSeed(p, challenge.pages * D0_PAGE_SIZE, challenge.nonce) : 0;
}

void bare_duty_step(void)
{
	struct d0_hc_result r;

	if (!spin_try(&duty_lock))
		return;
	r = D0_HC(verify, challenge.pages ? challenge_answer() : 0);
	challenge.pages = r.rax > 0 ? (uint64_t)r.rax & 0xffff : 0;
	challenge.first = r.rax > 0 ? (uint64_t)r.rax >> 16 : 0;
	challenge.nonce = r.rdx;
	if (!challenge.pages)
		__atomic_store_n(&duty_active, false, __ATOMIC_RELEASE);
	spin_unlock(&duty_lock);
}
