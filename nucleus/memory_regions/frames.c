/* SPDX-License-Identifier: ISC */
/*
 * Physical memory.
 *
 * Problem: hand out frames and contiguous runs of frames (rings and DMA memory), never one
 * that is known to be bad, and take a frame out of service while the system runs.
 *
 * Model: a binary buddy allocator. One byte per frame holds its state; the head of a free
 * block holds the block's order as well. Free blocks of one order form a doubly linked
 * list whose links lie in the free frames themselves, with a check word, so that a flipped
 * bit in a link is noticed before it is followed (the block is then dropped from use, at
 * the cost of its memory, rather than trusted).
 *
 * Invariants: a frame is in exactly one state; two free buddies of one order never stay
 * apart; a retired frame is never in a list. Every frame is tested with two patterns and
 * zeroed when it is handed out, so what fails between two uses is found before its next
 * user gets it.
 *
 * Locking: the frames lock, a leaf but for the console's. Failure: HPA_NONE, never panic.
 */
#include <string.h>
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/memory_regions/memory_regions.h"

#define ORDERS \
	15 /* largest block: 64 MiB, so that a driver cell's heap is contiguous for DMA */

enum {
	FRAME_ABSENT,
	FRAME_USED,
	FRAME_BAD,
	FRAME_INNER,
	FRAME_FREE = 0x80
};

struct free_block {
	u64 next, prev; /* frame numbers, 0 = none: frame 0 is never handed out */
	u64 check;
};

u64 direct_base;
static u8 *state;
static u64 frame_limit;
static u64 heads[ORDERS];
static struct spinlock frames_lock;
static struct frames_stats stats;

static struct free_block *block_at(u64 frame)
{
	return hpa_to_ptr(HPA(frame << PAGE_SHIFT));
}

static u64 block_check(u64 frame, const struct free_block *b)
{
	return ~(b->next * 3 ^ b->prev * 5 ^ frame * 7);
}

static void block_set(u64 frame, u64 next, u64 prev)
{
	struct free_block *b = block_at(frame);
	*b = (struct free_block){.next = next, .prev = prev};
	b->check = block_check(frame, b);
}

static void link_block(u64 frame, u32 order)
{
	block_set(frame, heads[order], 0);
	if (heads[order])
		block_set(heads[order], block_at(heads[order])->next, frame);
	heads[order] = frame;
	state[frame] = (u8)(FRAME_FREE | order);
}

/* false: the links are damaged; the list is cut at this block. */
static bool unlink_block(u64 frame, u32 order)
{
	struct free_block *b = block_at(frame);
	if (b->check != block_check(frame, b)) {
		n_print("memory: free list of order %u damaged at 0x%lx, cut", order,
			frame << PAGE_SHIFT);
		if (heads[order] == frame)
			heads[order] = 0;
		return false;
	}
	if (b->prev)
		block_set(b->prev, b->next, block_at(b->prev)->prev);
	else
		heads[order] = b->next;
	if (b->next)
		block_set(b->next, block_at(b->next)->next, b->prev);
	return true;
}

static void free_block(u64 frame, u32 order)
{
	for (; order + 1 < ORDERS; order++) {
		u64 buddy = frame ^ (1ull << order);
		if (buddy >= frame_limit || state[buddy] != (FRAME_FREE | order))
			break;
		if (!unlink_block(buddy, order))
			break;
		state[buddy] = FRAME_INNER;
		state[frame] = FRAME_INNER;
		frame &= ~(1ull << order);
	}
	link_block(frame, order);
}

void frames_init(u64 top_of_memory)
{
	frame_limit = top_of_memory >> PAGE_SHIFT;
	stats = (struct frames_stats){0};
	memset(heads, 0, sizeof(heads));
	state = NULL;
}

static u64 reserved[32][2];
static u32 reserved_count;

void frames_reserve(hpa_t base, u64 size)
{
	n_assert(reserved_count < ARRAY_SIZE(reserved));
	reserved[reserved_count][0] = base.v >> PAGE_SHIFT;
	reserved[reserved_count][1] = PAGES(base.v + size);
	reserved_count++;
}

/* The end of the reservation that covers the frame, 0 if none does. */
static u64 reserved_until(u64 frame)
{
	for (u32 i = 0; i < reserved_count; i++)
		if (frame >= reserved[i][0] && frame < reserved[i][1])
			return reserved[i][1];
	return 0;
}

/* Find room for the state table in this range: as low as the reservations permit. */
static bool place_state(u64 first, u64 end)
{
	u64 need = PAGES(frame_limit);
	for (u64 at = first; at + need <= end;) {
		u64 skip = 0;
		for (u64 f = at; f < at + need && !skip; f++)
			skip = reserved_until(f);
		if (skip) {
			at = skip;
			continue;
		}
		state = hpa_to_ptr(HPA(at << PAGE_SHIFT));
		memset(state, FRAME_ABSENT, frame_limit);
		frames_reserve(HPA(at << PAGE_SHIFT), need << PAGE_SHIFT);
		return true;
	}
	return false;
}

/* The first reserved frame at or after `frame`, at most `end`. */
static u64 next_reserved(u64 frame, u64 end)
{
	for (u32 i = 0; i < reserved_count; i++)
		if (reserved[i][1] > frame && reserved[i][0] < end)
			end = MAX(reserved[i][0], frame);
	return end;
}

/* Blocks as large as alignment and room permit: boot must not take a step per frame. */
static void add_blocks(u64 first, u64 end)
{
	while (first < end) {
		u32 order = 0;
		while (order + 1 < ORDERS && !(first & ((2ull << order) - 1)) &&
		       first + (2ull << order) <= end)
			order++;
		memset(state + first, FRAME_INNER, 1ull << order);
		stats.free += 1ull << order;
		free_block(first, order);
		first += 1ull << order;
	}
}

void frames_add(hpa_t base, u64 size)
{
	u64 first = MAX(PAGES(base.v), 1), end = (base.v + size) >> PAGE_SHIFT;
	end = MIN(end, frame_limit);
	if (first >= end)
		return;
	stats.total += end - first;
	if (!state && !place_state(first, end))
		return;
	while (first < end) {
		u64 stop = next_reserved(first, end);
		add_blocks(first, stop);
		first = MAX(reserved_until(stop), stop);
	}
}

/* After boot the table is reached through the direct map at its new place. */
void frames_rebase(u64 from, u64 to)
{
	state = (u8 *)((u64)state - from + to);
}

/*
 * Two patterns, which have every bit once as 0 and once as 1, then zeros. Returns the first
 * bad frame of the run, or `count`. This is most of what a cell's start costs.
 */
static u64 test_run(u64 first, u64 count)
{
	static const u64 pattern[] = {0x5555555555555555ull, 0xaaaaaaaaaaaaaaaaull};
	for (u64 f = 0; f < count; f++) {
		volatile u64 *w = (volatile u64 *)block_at(first + f);
		for (u32 p = 0; p < ARRAY_SIZE(pattern); p++) {
			memset((void *)w, (int)(pattern[p] & 0xff), PAGE_SIZE);
			u64 differs = 0;
#pragma GCC unroll 16
			for (u32 i = 0; i < PAGE_SIZE / 8; i++)
				differs |= w[i] ^ pattern[p];
			if (differs)
				return f;
		}
		memset((void *)w, 0, PAGE_SIZE);
	}
	return count;
}

static u64 take(u32 order)
{
	u32 from = order;
	while (from < ORDERS && !heads[from])
		from++;
	if (from == ORDERS)
		return 0;
	u64 frame = heads[from];
	if (!unlink_block(frame, from))
		return take(order);
	while (from > order) {
		from--;
		link_block(frame + (1ull << from), from);
	}
	for (u64 f = frame; f < frame + (1ull << order); f++)
		state[f] = FRAME_USED;
	stats.free -= 1ull << order;
	return frame;
}

static void retire_locked(u64 frame)
{
	state[frame] = FRAME_BAD;
	stats.bad++;
}

hpa_t frames_alloc(u32 order)
{
	if (order >= ORDERS)
		return HPA_NONE;
	for (;;) {
		spin_lock(&frames_lock);
		u64 frame = take(order);
		spin_unlock(&frames_lock);
		if (!frame)
			return HPA_NONE;
		u64 count = 1ull << order, bad = test_run(frame, count);
		if (bad == count)
			return HPA(frame << PAGE_SHIFT);
		n_print("memory: frame 0x%lx fails its test, retired", (frame + bad)
									   << PAGE_SHIFT);
		spin_lock(&frames_lock);
		retire_locked(frame + bad);
		for (u64 f = 0; f < count; f++) {
			if (f == bad)
				continue;
			stats.free++;
			free_block(frame + f, 0);
		}
		spin_unlock(&frames_lock);
	}
}

void frames_free(hpa_t base, u32 order)
{
	u64 frame = base.v >> PAGE_SHIFT;
	n_assert(frame && frame + (1ull << order) <= frame_limit);
	spin_lock(&frames_lock);
	for (u64 f = frame; f < frame + (1ull << order); f++)
		n_assert(state[f] == FRAME_USED);
	stats.free += 1ull << order;
	free_block(frame, order);
	spin_unlock(&frames_lock);
}

hpa_t frames_alloc_run(u64 count)
{
	u32 order = 0;
	while ((1ull << order) < count)
		order++;
	hpa_t base = frames_alloc(order);
	if (hpa_valid(base))
		frames_free_run(HPA(base.v + (count << PAGE_SHIFT)), (1ull << order) - count);
	return base;
}

void frames_free_run(hpa_t base, u64 count)
{
	for (u64 i = 0; i < count; i++)
		frames_free(HPA(base.v + (i << PAGE_SHIFT)), 0);
}

void frame_retire(hpa_t frame)
{
	u64 f = frame.v >> PAGE_SHIFT;
	spin_lock(&frames_lock);
	n_assert(f < frame_limit && state[f] == FRAME_USED);
	retire_locked(f);
	spin_unlock(&frames_lock);
}

bool frames_touch(hpa_t base, u64 size)
{
	u64 last = base.v + size - 1; /* a range that wraps touches everything */
	u64 end = last >= base.v ? (last >> PAGE_SHIFT) + 1 : ~0ull;
	for (u64 f = base.v >> PAGE_SHIFT; f < MIN(end, frame_limit); f++)
		if (state[f] != FRAME_ABSENT || reserved_until(f))
			return true;
	return false;
}

struct frames_stats frames_stats(void)
{
	spin_lock(&frames_lock);
	struct frames_stats s = stats;
	spin_unlock(&frames_lock);
	return s;
}
