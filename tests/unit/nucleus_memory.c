/* SPDX-License-Identifier: ISC */
/* Frames and tables on the fake arch, against plain models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "nucleus/core/crypto.h"
#include "tests/unit/fake/arch.h"

static int machine(void **state)
{
	fake_machine();
	return 0;
}

static void frames_come_and_go(void **state)
{
	enum {
		N = 4000
	};
	static hpa_t got[N];
	static u32 order[N];
	u64 before = frames_stats().free;
	for (u32 round = 0; round < 3; round++) {
		for (u32 i = 0; i < N; i++) {
			order[i] = (u32)(random_u64() % 3);
			got[i] = frames_alloc(order[i]);
			assert_true(hpa_valid(got[i]));
			assert_int_equal(got[i].v & ((PAGE_SIZE << order[i]) - 1), 0);
			u64 *p = hpa_to_ptr(got[i]);
			for (u64 w = 0; w < (PAGE_SIZE << order[i]) / 8; w++)
				assert_int_equal(p[w], 0);
			memset(p, 0xee, PAGE_SIZE << order[i]);
		}
		for (u32 i = 0; i < N; i++)
			frames_free(got[i], order[i]);
		assert_int_equal(frames_stats().free, before);
	}
	/* Everything has merged again: the largest block is there. */
	hpa_t big = frames_alloc_run(2048);
	assert_true(hpa_valid(big));
	frames_free_run(big, 2048);
}

static void memory_can_run_out(void **state)
{
	u64 n = 0, free_before = frames_stats().free;
	hpa_t *all = calloc(free_before + 1, sizeof(*all));
	while (hpa_valid(all[n] = frame_alloc()))
		n++;
	assert_int_equal(n, free_before);
	assert_false(hpa_valid(frames_alloc(3)));
	while (n--)
		frame_free(all[n]);
	assert_int_equal(frames_stats().free, free_before);
	free(all);
}

static void runs_give_back_what_they_round_up(void **state)
{
	u64 before = frames_stats().free;
	hpa_t run = frames_alloc_run(77);
	assert_int_equal(frames_stats().free, before - 77);
	frames_free_run(run, 77);
	assert_int_equal(frames_stats().free, before);
}

static void a_retired_frame_never_returns(void **state)
{
	hpa_t bad = frame_alloc();
	u64 total = frames_stats().free;
	frame_retire(bad);
	assert_int_equal(frames_stats().bad, 1);
	for (u64 i = 0; i < total; i++) {
		hpa_t f = frame_alloc();
		assert_true(hpa_valid(f));
		assert_true(f.v != bad.v);
	}
	assert_false(hpa_valid(frame_alloc()));
}

static void a_damaged_free_list_is_not_followed(void **state)
{
	hpa_t f = frame_alloc(), g = frame_alloc();
	frame_free(f);
	memset(hpa_to_ptr(f), 0x41, 64);
	for (u32 i = 0; i < 100; i++)
		assert_true(hpa_valid(frame_alloc()));
	frame_free(g);
	assert_non_null(strstr(fake_log, "damaged"));
}

static void devices_may_not_claim_memory(void **state)
{
	assert_true(frames_touch(HPA(256 * PAGE_SIZE), PAGE_SIZE));
	assert_true(frames_touch(HPA(0), ~0ull));
	assert_true(frames_touch(HPA(255 * PAGE_SIZE), 2 * PAGE_SIZE));
	assert_false(frames_touch(HPA(0xfee00000), PAGE_SIZE));
	assert_false(frames_touch(HPA(256 * PAGE_SIZE + FAKE_RAM), 16 * PAGE_SIZE));
}

static void a_map_is_what_was_asked(void **state)
{
	enum {
		N = 512
	};
	struct space s;
	static struct {
		u64 at;
		hpa_t to;
		u32 perms;
	} model[N];
	u64 before = frames_stats().free;
	assert_true(space_init(&s, &format_fake));
	for (u32 i = 0; i < N; i++) {
		model[i].at = (random_u64() % (1ull << 34)) << PAGE_SHIFT;
		model[i].to = HPA((random_u64() & 0xffffff) << PAGE_SHIFT);
		model[i].perms = (u32[]){MAP_R, MAP_R | MAP_W, MAP_R | MAP_X}[i % 3];
		assert_int_equal(
		    space_map(&s, model[i].at, model[i].to, PAGE_SIZE, model[i].perms, true),
		    0);
	}
	for (u32 i = 0; i < N; i++) {
		hpa_t to;
		u32 perms;
		assert_true(space_lookup(&s, model[i].at + 123, &to, &perms));
		assert_int_equal(to.v, model[i].to.v + 123);
		assert_int_equal(perms, model[i].perms);
		space_unmap(&s, model[i].at, PAGE_SIZE);
		assert_false(space_lookup(&s, model[i].at, &to, &perms));
	}
	assert_int_equal(s.table_frames, 1); /* empty tables were released */
	space_destroy(&s);
	assert_int_equal(frames_stats().free, before);
}

static void large_pages_are_split_when_part_goes(void **state)
{
	struct space s;
	hpa_t to;
	u32 perms;
	u64 base = 7 * LARGE_SIZE;
	assert_true(space_init(&s, &format_fake));
	assert_int_equal(space_map(&s, base, HPA(LARGE_SIZE), LARGE_SIZE, MAP_R | MAP_W, true),
			 0);
	assert_int_equal(s.table_frames, 3);
	space_unmap(&s, base + 5 * PAGE_SIZE, PAGE_SIZE);
	assert_false(space_lookup(&s, base + 5 * PAGE_SIZE, &to, &perms));
	assert_true(space_lookup(&s, base + 6 * PAGE_SIZE, &to, &perms));
	assert_int_equal(to.v, LARGE_SIZE + 6 * PAGE_SIZE);
	assert_int_equal(perms, MAP_R | MAP_W);
	space_unmap(&s, base, LARGE_SIZE);
	assert_int_equal(s.table_frames, 1);
	space_destroy(&s);
}

static void w_and_x_never_meet(void **state)
{
	struct space s;
	hpa_t to;
	u32 perms;
	assert_true(space_init(&s, &format_fake));
	assert_int_equal(
	    space_map(&s, 0x1000, HPA(0x1000), PAGE_SIZE, MAP_R | MAP_W | MAP_X, false),
	    D0_EPERM);
	assert_false(space_lookup(&s, 0x1000, &to, &perms));
	assert_int_equal(space_map(&s, 0x1000, HPA(0x1000), PAGE_SIZE,
				   MAP_R | MAP_W | MAP_X | MAP_WX_USER, false),
			 0);
	space_destroy(&s);
}

static void a_range_is_mapped_whole_or_not(void **state)
{
	struct space s;
	hpa_t to;
	u32 perms;
	assert_true(space_init(&s, &format_fake));
	assert_int_equal(space_map(&s, 0x5000, HPA(0x9000), PAGE_SIZE, MAP_R, false), 0);
	assert_int_equal(space_map(&s, 0x2000, HPA(0x20000), 8 * PAGE_SIZE, MAP_R, false),
			 D0_EEXIST);
	assert_false(space_lookup(&s, 0x2000, &to, &perms));
	assert_true(space_lookup(&s, 0x5000, &to, &perms));
	assert_int_equal(to.v, 0x9000);
	space_destroy(&s);
}

static void every_format_keeps_what_it_is_told(void **state)
{
	static const struct table_format *const all[] = {&format_host, &format_npt, &format_ept,
							 &format_vtd, &format_fake};
	static const u32 perms[] = {MAP_R, MAP_R | MAP_W, MAP_R | MAP_X,
				    MAP_R | MAP_W | MAP_UC};
	for (u32 f = 0; f < ARRAY_SIZE(all); f++)
		for (u32 i = 0; i < 2 * ARRAY_SIZE(perms); i++) {
			u32 want = perms[i / 2], got;
			u64 size = i % 2 ? LARGE_SIZE : PAGE_SIZE;
			struct space s;
			hpa_t to;
			assert_true(space_init(&s, all[f]));
			assert_int_equal(
			    space_map(&s, 3 * size, HPA(0x123400000), size, want, true), 0);
			assert_true(space_lookup(&s, 4 * size - 1, &to, &got));
			assert_int_equal(to.v, 0x123400000 + size - 1);
			if (all[f] == &format_vtd) /* knows neither */
				want &= MAP_R | MAP_W;
			assert_int_equal(got, want);
			assert_int_equal(s.table_frames, i % 2 ? 3 : 4);
			assert_false(space_lookup(&s, 4 * size, &to, &got));
			assert_false(space_lookup(&s, 2 * size, &to, &got));
			space_destroy(&s);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(frames_come_and_go, machine),
	    cmocka_unit_test_setup(memory_can_run_out, machine),
	    cmocka_unit_test_setup(runs_give_back_what_they_round_up, machine),
	    cmocka_unit_test_setup(a_retired_frame_never_returns, machine),
	    cmocka_unit_test_setup(a_damaged_free_list_is_not_followed, machine),
	    cmocka_unit_test_setup(devices_may_not_claim_memory, machine),
	    cmocka_unit_test_setup(a_map_is_what_was_asked, machine),
	    cmocka_unit_test_setup(large_pages_are_split_when_part_goes, machine),
	    cmocka_unit_test_setup(w_and_x_never_meet, machine),
	    cmocka_unit_test_setup(a_range_is_mapped_whole_or_not, machine),
	    cmocka_unit_test_setup(every_format_keeps_what_it_is_told, machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
