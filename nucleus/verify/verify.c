/* SPDX-License-Identifier: ISC */
/*
 * The verification ring.
 *
 * Problem: memory decays while the system runs; on machines without ECC nobody says so.
 * Pages that must not change (text, constants, relocated constants; of cells and of the
 * nucleus) have to be checked all the time, by checkers that are themselves checked, and
 * put right without stopping anything.
 *
 * Model: running cells and the nucleus form a ring. Each sees its successor's pages in a
 * mirror region and is challenged: "hash these pages with this nonce". The nucleus, which does
 * not hash those pages, computes the expected answer from a golden copy, of which there are
 * two, taken in turn; so the golden copies are read as often as the live pages, and an answer
 * that was computed before, or not at all, is of no use. When answer and expectation differ,
 * SHA-256 against the signed manifest decides which page is wrong: the live one or a golden
 * one; the wrong one is rewritten from a right one. The nucleus checks the first cell of the
 * ring itself, in idle time; the last cell checks the nucleus. Shared pages of an image are
 * checked once a round, through the first of its cells.
 *
 * Rounds begin every ROUND. Members that have not done their part when the next one
 * begins are helped: the nucleus checks the rest itself, in idle time, or in the scheduler's
 * tick if there is none. So a stuck or lazy cell cannot leave its successor unchecked.
 *
 * A fault, in a cell or in the nucleus, is taken as a hint: the pages of who
 * faulted are compared at once, and if one was wrong the instruction is tried again.
 *
 * Invariants: nothing is written over a live page but bytes with the manifest's hash (or,
 * where there is none, bytes on which two of three copies agree).
 *
 * Locking: the nucleus lock for everything; work under it is cut into BATCH pages.
 */
#include <string.h>
#include "d0/control.h"
#include "nucleus/archive/archive.h"
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/live0/live0.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/sets.h"
#include "nucleus/verify/verify.h"

#define ROUND      1000000000ull /* ns */
#define BATCH      4
#define MOVE_AFTER 3          /* repairs of one frame */
#define TICK_PIECE 2000000ull /* without idle time: one batch this often */

static struct cell *first; /* successor of the nucleus; NULL: the ring is the nucleus alone */
static struct cell *seen;  /* who comes before it has done its part in this round */
static u32 round_number;
u64 verify_next;
static u64 round_start, tick_next;
static u64 nonce_key, nonce_count;
static struct {
	u64 at;    /* next page of the first cell's set */
	u32 round; /* completed */
} own;
static bool cycle_open, behind;           /* behind: some member may be */
static struct d0_ctl_system_status stats; /* what of it is ours */
static hpa_t blank;                       /* a frame of zeros */
static u8 buffer[2][PAGE_SIZE] __aligned(4096);

static u64 new_nonce(void)
{
	u64 seed[2] = {nonce_key, ++nonce_count};
	return fast_hash(seed, sizeof(seed), nonce_key);
}

static struct cell *predecessor(struct cell *cell);
static void remirror(struct cell *verifier);

/* Journal and console: what happened to a page. */
static void report(u32 kind, const struct page_set *set, const struct page_run *run, u64 index,
		   u64 value, const char *what)
{
	journal(kind, set->cell ? set->cell->number : ~0u, value, "%s %s page %lu: %s",
		set->cell ? set->cell->config.name : "nucleus", run->name, index, what);
}

/* ---- deciding and repairing one page ---- */

static bool matches_manifest(const struct page_run *run, u64 index, const void *page)
{
	struct digest d;
	sha256(page, PAGE_SIZE, &d);
	return !memcmp(d.byte, run->hash[index].sha256, sizeof(d.byte));
}

/* Copies of a page that could be believed: golden, golden, live, in the archive. */
enum {
	COPY_LIVE = 2,
	COPIES = 4
};

static const u8 *copy_of(const struct page_run *run, u64 index, u32 which, const void *live)
{
	if (which < COPY_LIVE)
		return hpa_to_ptr(HPA(run->golden[which].v + (index << PAGE_SHIFT)));
	if (which == COPY_LIVE)
		return run->relocated ? NULL : live;
	bool whole = run->file && (index + 1) << PAGE_SHIFT <= run->file_bytes;
	return whole ? run->file + (index << PAGE_SHIFT) : NULL;
}

/* Which copy is right: by the manifest's hash; without one, by another copy that agrees. */
static int good_copy(const struct page_run *run, u64 index, const void *live)
{
	for (u32 i = 0; i < COPIES; i++) {
		const u8 *copy = copy_of(run, index, i, live);
		const u8 *other = copy_of(run, index, i ? i - 1 : COPY_LIVE, live);
		if (!copy)
			continue;
		if (run->hash ? matches_manifest(run, index, copy)
			      : other && !memcmp(copy, other, PAGE_SIZE))
			return (int)i;
	}
	return -1;
}

/* Make both golden copies right, from whichever copy is. Its number, or -1: none is. */
static int good_golden(const struct page_set *set, const struct page_run *run, u64 index,
		       const void *live)
{
	int good = good_copy(run, index, live);
	for (u32 i = 0; good >= 0 && i < 2; i++) {
		u8 *golden = (u8 *)copy_of(run, index, i, live);
		const u8 *right = copy_of(run, index, (u32)good, live);
		if (!memcmp(golden, right, PAGE_SIZE))
			continue;
		report(D0_EVENT_golden_bad, set, run, index, index,
		       i ? "golden copy 1 was wrong, rewritten"
			 : "golden copy 0 was wrong, rewritten");
		stats.flips_found++;
		stats.flips_repaired++;
		repair_write(ptr_to_hpa(golden), right);
	}
	return good < 0 ? -1 : 0;
}

/* ---- taking a frame out of service ---- */

static struct {
	u64 frame;
	u32 repairs;
} repaired_frames[32];

/* Whether this frame has been repaired MOVE_AFTER times. */
static bool repeated(hpa_t frame)
{
	u32 slot = (u32)(frame.v >> PAGE_SHIFT) % ARRAY_SIZE(repaired_frames);
	if (repaired_frames[slot].frame != frame.v) {
		repaired_frames[slot].frame = frame.v;
		repaired_frames[slot].repairs = 0;
	}
	return ++repaired_frames[slot].repairs >= MOVE_AFTER;
}

static void replace_everywhere(const struct page_set *set, const struct page_run *run,
			       u64 index, hpa_t frame)
{
	for (struct cell *c = first; c; c = c->duty.next) {
		bool uses = run->relocated ? c == set->cell : c->image == set->cell->image;
		if (!uses)
			continue;
		cell_quiesce(c);
		region_replace_page(
		    c, GPA(c->image_base.v + run->segment->vaddr + (index << PAGE_SHIFT)),
		    frame);
	}
}

/* Move a page of a cell to a fresh frame and retire the old one. */
static void move_page(const struct page_set *set, const struct page_run *run, u64 index,
		      hpa_t old, const void *good)
{
	struct image *image = (struct image *)set->cell->image;
	hpa_t frame = frame_alloc();
	if (!hpa_valid(frame))
		return;
	memcpy(hpa_to_ptr(frame), good, PAGE_SIZE);
	if (!run->relocated && !image_move(image, run->segment, index, frame)) {
		frame_free(frame);
		return;
	}
	replace_everywhere(set, run, index, frame);
	frame_retire(old);
	stats.frames_retired++;
	journal(D0_EVENT_frame_retired, set->cell->number, old.v,
		"frame 0x%lx out of service, %s page %lu of %s moved", old.v, run->name, index,
		set->cell->config.name);
	/* Mirrors show the old frame. */
	if (run->relocated)
		remirror(predecessor(set->cell));
	else if (image->carrier)
		remirror(predecessor(image->carrier));
}

/* Compare one page with its golden copies; true if it was wrong and is right now. */
static bool check_page(const struct page_set *set, const struct page_run *run, u64 index)
{
	hpa_t live = run_live(set, run, index);
	char text[64];
	if (!hpa_valid(live))
		return false;
	const u8 *now = hpa_to_ptr(live);
	int g = good_golden(set, run, index, now);
	if (g < 0) {
		if (!recovery_rescue())
			report(D0_EVENT_golden_bad, set, run, index, index,
			       "no good copy is left in memory");
		return false;
	}
	const u8 *good = run_expected(set, run, index, (u32)g, buffer[0]);
	if (!memcmp(good, now, PAGE_SIZE))
		return false;
	u64 at = 0;
	while (at < PAGE_SIZE - 1 && good[at] == now[at])
		at++;
	stats.flips_found++;
	n_snprintf(text, sizeof(text), "0x%x at 0x%lx instead of 0x%x", now[at], at, good[at]);
	report(D0_EVENT_page_bad, set, run, index, index << PAGE_SHIFT | at, text);
	repair_write(live, good);
	bool ok = !memcmp(good, now, PAGE_SIZE);
	stats.flips_repaired += ok;
	stats.last_repair_ns = clock_ns() - round_start;
	report(ok ? D0_EVENT_page_repaired : D0_EVENT_page_bad, set, run, index, index,
	       ok ? "put right" : "does not keep what is written");
	/* Most faults of memory are hard ones: a frame that needs it again is not worth
	 * keeping. */
	if (!set->cell)
		sched_rebuild(); /* the damaged code may have run */
	else if (!ok || repeated(live))
		move_page(set, run, index, live,
			  run_expected(set, run, index, (u32)g, buffer[0]));
	return ok;
}

static u32 check_pages(const struct page_set *set, u64 at, u64 count)
{
	u32 repaired = 0;
	for (u64 i = at; i < at + count && i < set->pages; i++) {
		u64 index;
		const struct page_run *run = set_find(set, i, &index);
		repaired += check_page(set, run, index);
	}
	return repaired;
}

/* ---- the ring ---- */

/* The shared pages of an image are checked through one of its running cells. */
static bool carries_image(struct cell *cell)
{
	return cell && cell->image->carrier == cell;
}

static void successor_set(struct cell *verifier, struct page_set *set)
{
	struct cell *next = verifier ? verifier->duty.next : first;
	set_of(set, next, carries_image(next));
}

static void drop_mirror(struct cell *cell)
{
	for (u32 i = 0; i < cell->regions; i++)
		if (cell->region[i].type == D0_REGION_MIRROR) {
			cell_quiesce(cell);
			region_remove(cell, i);
		}
}

/* Map the successor's pages into the verifier, read-only. */
static void make_mirror(struct cell *cell)
{
	struct page_set set;
	hpa_t frame[256];
	gpa_t at;
	drop_mirror(cell);
	successor_set(cell, &set);
	cell->duty.at = 0;
	cell->duty.count = 0;
	cell->duty.helper_at = 0;
	cell->duty.mirrored = cell->duty.stale = false;
	u64 pages = MIN(set.pages, ARRAY_SIZE(frame));
	if (pages == set.pages && region_place(cell, pages << PAGE_SHIFT, &at)) {
		for (u64 i = 0; i < pages; i++) {
			u64 index;
			const struct page_run *run = set_find(&set, i, &index);
			frame[i] = run_live(&set, run, index);
		}
		cell->duty.mirrored = region_add_mirror(cell, at, frame, pages) >= 0;
	}
	/* Not mirrored: the nucleus does this member's part. */
	cell_publish_regions(cell);
	cell_raise_flags(cell, 0, D0_EV_CONFIG);
}

static struct cell *predecessor(struct cell *cell)
{
	for (struct cell *c = first; c; c = c->duty.next)
		if (c->duty.next == cell)
			return c;
	return NULL; /* the nucleus */
}

/*
 * The verifier may be reading its mirror this very moment, and must not be ended for that:
 * what it sees turns into zeros, and the region stays until it asks for its next challenge.
 */
static void blank_mirror(struct cell *cell)
{
	for (u32 i = 0; i < cell->regions; i++) {
		const struct region *r = &cell->region[i];
		if (r->type != D0_REGION_MIRROR)
			continue;
		cell_quiesce(cell);
		space_unmap(&cell->space, r->base.v, r->size);
		for (u64 at = 0; at < r->size && blank.v && hpa_valid(blank); at += PAGE_SIZE)
			if (space_map(&cell->space, r->base.v + at, blank, PAGE_SIZE, MAP_R,
				      false))
				break;
	}
	cell->duty.mirrored = false;
	cell->duty.count = 0;
	cell->duty.stale = true;
	cell_raise_flags(cell, 0, D0_EV_CONFIG_VERIFY);
}

static void remirror(struct cell *verifier)
{
	if (verifier)
		blank_mirror(verifier);
	else
		own.at = 0;
}

void verify_join(struct cell *cell)
{
	struct image *image = (struct image *)cell->image;
	if (!image->carrier)
		image->carrier = cell;
	cell->duty.next = first;
	first = cell;
	cell->duty.round = round_number;
	cell->duty.joined = true;
	own.at = 0;
	make_mirror(cell);
}

void verify_leave(struct cell *cell)
{
	struct image *image = (struct image *)cell->image;
	if (!cell->duty.joined)
		return;
	struct cell *before = predecessor(cell);
	if (before)
		before->duty.next = cell->duty.next;
	else
		first = cell->duty.next;
	cell->duty.joined = false;
	seen = first;
	drop_mirror(cell);
	if (image->carrier == cell) {
		image->carrier = NULL;
		for (struct cell *c = first; c && !image->carrier; c = c->duty.next)
			if (c->image == image)
				image->carrier = c;
		if (image->carrier)
			remirror(predecessor(image->carrier));
	}
	remirror(before);
}

/* ---- challenges ---- */

static void judge(struct cell *cell, u64 answer)
{
	struct page_set set;
	successor_set(cell, &set);
	cell->stat.pages_checked += cell->duty.count;
	stats.verify_bytes += cell->duty.count * PAGE_SIZE;
	stats.verify_cpu_ns += clock_ns() - cell->duty.asked_ns;
	if (answer == cell->duty.expected)
		return;
	cell->stat.pages_bad++;
	u64 before = stats.flips_repaired;
	check_pages(&set, cell->duty.first, cell->duty.count);
	if (stats.flips_repaired == before && !recovery_rescue()) {
		journal(D0_EVENT_report, cell->number, cell->duty.first,
			"%s answered a challenge wrongly although the pages are right",
			cell->config.name);
		verify_cell_now(cell);
	}
}

static u64 expected_answer(const struct page_set *set, u64 at, u32 *count, u64 nonce)
{
	u64 index;
	const struct page_run *run = set_find(set, at, &index);
	u32 n = run->relocated ? 1 : (u32)MIN(BATCH, run->pages - index);
	*count = n;
	const void *golden = run_expected(set, run, index, round_number & 1, buffer[0]);
	return fast_hash(golden, n * PAGE_SIZE, nonce);
}

s64 verify_challenge(struct cell *cell, u64 answer, u64 *nonce)
{
	struct page_set set;
	if (cell->duty.count)
		judge(cell, answer);
	cell->duty.count = 0;
	if (cell->duty.stale)
		make_mirror(cell);
	if (!cell->duty.mirrored || cell->duty.round == round_number)
		return 0;
	successor_set(cell, &set);
	if (cell->duty.at >= set.pages) {
		cell->duty.at = 0;
		cell->duty.round = round_number;
		return 0;
	}
	cell->duty.nonce = *nonce = new_nonce();
	cell->duty.asked_ns = clock_ns();
	cell->duty.first = cell->duty.at;
	cell->duty.expected = expected_answer(&set, cell->duty.at, &cell->duty.count, *nonce);
	cell->duty.at += cell->duty.count;
	return (s64)cell->duty.first << 16 | cell->duty.count;
}

/* ---- the nucleus's part ---- */

/* Compare a batch of somebody's successor with the golden copy of this round. True: that was
 * the last one. */
static bool compare(struct cell *verifier, u64 *at)
{
	struct page_set set;
	u64 index, end = *at + BATCH;
	successor_set(verifier, &set);
	for (; *at < end && *at < set.pages; ++*at) {
		const struct page_run *run = set_find(&set, *at, &index);
		hpa_t live = run_live(&set, run, index);
		const void *good = run_expected(&set, run, index, round_number & 1, buffer[0]);
		stats.verify_bytes += PAGE_SIZE;
		if (hpa_valid(live) && memcmp(hpa_to_ptr(live), good, PAGE_SIZE))
			check_page(&set, run, index);
	}
	if (*at < set.pages)
		return false;
	*at = 0;
	return true;
}

/* Our own part. True if a batch was due. */
static bool own_piece(void)
{
	if (own.round == round_number)
		return false;
	if (compare(NULL, &own.at))
		own.round = round_number;
	return true;
}

/* A piece of the part of a member that is a round behind. */
static bool help_piece(void)
{
	struct cell *c = behind ? first : NULL;
	while (c && c->duty.round + 1 >= round_number)
		c = c->duty.next;
	behind = c != NULL;
	if (c && compare(c, &c->duty.helper_at))
		c->duty.round = round_number - 1;
	return c;
}

static void look_at_cycle(u64 now)
{
	if (!cycle_open || own.round != round_number)
		return;
	for (; seen; seen = seen->duty.next)
		if (seen->duty.round != round_number && seen->duty.mirrored)
			return;
	cycle_open = false;
	stats.verify_cycles++;
	stats.verify_cycle_ns = now - round_start;
}

static void begin_round(u64 now)
{
	round_number++;
	round_start = now;
	verify_next = now + ROUND;
	cycle_open = behind = true;
	seen = first;
	for (struct cell *c = first; c; c = c->duty.next)
		if (c->duty.mirrored)
			cell_raise_flags(c, 0, D0_EV_CONFIG_VERIFY);
}

static bool piece(u64 now)
{
	u64 t = clock_ns();
	if (recovery_unreported) {
		journal(D0_EVENT_page_repaired, ~0u, recovery_unreported,
			"nucleus: %u put right out of turn", recovery_unreported);
		recovery_unreported = 0;
	}
	if (now >= verify_next || verify_next - now > ROUND) /* the clock was wrong */
		begin_round(now);
	bool more = own_piece() || help_piece();
	look_at_cycle(now);
	stats.verify_cpu_ns += clock_ns() - t;
	return more;
}

bool verify_idle(u64 now)
{
	nucleus_lock();
	bool more = piece(now);
	nucleus_unlock();
	return more;
}

void verify_tick(u64 now)
{
	if (now < tick_next && tick_next - now <= TICK_PIECE)
		return;
	tick_next = now + TICK_PIECE;
	piece(now);
}

bool verify_cell_now(struct cell *cell)
{
	struct page_set set;
	if (!cell->duty.joined)
		return false;
	set_of(&set, cell, true);
	return check_pages(&set, 0, set.pages) > 0;
}

void verify_status(struct d0_ctl_system_status *out)
{
	*out = stats;
	out->pages_verified_set = nucleus_set.pages;
	for (struct cell *c = first; c; c = c->duty.next) {
		struct page_set set;
		set_of(&set, c, carries_image(c));
		out->pages_verified_set += set.pages;
	}
}

/* ---- the nucleus itself ---- */

/* What the manifest says of a part of the nucleus that is linked at this address. */
static void find_record(struct page_run *run, u64 link, const struct d0_file *file)
{
	for (u32 i = 0; file && i < file->image.segments; i++) {
		const struct d0_segment *s = &file->image.segment[i];
		if (s->kind == D0_SEGMENT_DATA || s->pages != run->pages ||
		    file->image.link_base + s->vaddr != link)
			continue;
		run->hash = archive_pages(file) + s->first_page;
		run->file = archive_data(file) + s->offset;
		run->file_bytes = s->bytes;
	}
}

static void add_own(const char *name, const char *from, const char *to,
		    const struct d0_file *file)
{
	struct page_run *run = &nucleus_set.run[nucleus_set.runs++];
	u64 link = (u64)(from - image_start) + image_phys().v;
	*run = (struct page_run){
	    .name = name, .pages = PAGES((u64)(to - from)), .live = HPA(link)};
	find_record(run, link, file);
	for (u32 g = 0; g < 2; g++) {
		run->golden[g] = frames_alloc_run(run->pages);
		if (!hpa_valid(run->golden[g]))
			n_panic("no memory for the nucleus's golden copies");
		memcpy(hpa_to_ptr(run->golden[g]), from, run->pages << PAGE_SHIFT);
	}
	for (u64 p = 0; run->hash && p < run->pages; p++)
		if (!matches_manifest(run, p, from + (p << PAGE_SHIFT)))
			n_panic("nucleus %s page %lu does not have the manifest's hash", name,
				p);
	if (!run->hash)
		n_print("verify: no hashes for the nucleus's %s, its copies vouch for it",
			name);
	nucleus_set.pages += run->pages;
}

void verify_init(void)
{
	const struct d0_file *file = archive_find("nucleus", D0_FILE_NUCLEUS);
	nonce_key = random_u64();
	blank = frame_alloc();
	add_own("text", text_start, text_end, file);
	add_own("rodata", rodata_start, rodata_end, file);
	add_own("relro", relro_start, relro_end, NULL); /* relocated: like no file */
	n_print("verify: nucleus %lu pages, two golden copies, a round every %lu ms",
		nucleus_set.pages, (u64)(ROUND / 1000000));
}

void verify_count_rescue(void)
{
	stats.flips_found++;
	stats.flips_repaired++;
}
