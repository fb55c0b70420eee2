/* SPDX-License-Identifier: ISC */
/* When the nic leaves its cards' interrupts off. */
#include "cells/nic/moderate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US 1000ull

static struct moderate m;
static uint64_t now;

/* Frames were delivered; it wakes after so long for a port's bell or not, and finds frames or
 * not. Was it held? */
static bool round_of(uint64_t ns, bool rang, bool received)
{
	bool held = moderate_holds(&m);

	moderate_sleep(&m, now, held);
	now += ns;
	moderate_learn(&m, now, rang, received);
	return held;
}

static int setup(void **state)
{
	moderate_init(&m);
	now = 1;
	return 0;
}

static void bulk_is_held(void **state)
{
	assert_false(round_of(50 * US, false, true)); /* the next frame came before an answer */
	for (int i = 0; i < 20; i++)
		assert_true(round_of(100 * US, true, true));
	/* Twice what an answer takes. */
	assert_in_range(m.span_ns, 190 * US, 210 * US);
}

static void an_exchange_at_a_time_is_not(void **state)
{
	for (int i = 0; i < 50; i++)
		round_of(100 * US, true, false);
	assert_false(moderate_holds(&m));
}

static void who_does_not_answer_is_not_waited_for(void **state)
{
	for (int i = 0; i < 20; i++)
		round_of(50 * US, true, true);
	assert_true(moderate_holds(&m));
	/* Two in vain at most, and not again at once. */
	assert_true(round_of(m.span_ns, false, true));
	assert_true(round_of(m.span_ns, false, true));
	assert_false(moderate_holds(&m));
}

static void nobody_waits_long(void **state)
{
	for (int i = 0; i < 100; i++)
		round_of(50000 * US, true, true);
	assert_true(m.span_ns <= 1000 * US);
	for (int i = 0; i < 100; i++)
		round_of(1, true, true);
	assert_true(m.span_ns >= 10 * US);
	assert_true(m.span_ns <= 30 * US);
}

static void nothing_is_learnt_twice(void **state)
{
	round_of(50 * US, false, true);
	int score = m.score;

	moderate_learn(&m, now, true, true);
	assert_int_equal(m.score, score);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(bulk_is_held, setup),
	    cmocka_unit_test_setup(an_exchange_at_a_time_is_not, setup),
	    cmocka_unit_test_setup(who_does_not_answer_is_not_waited_for, setup),
	    cmocka_unit_test_setup(nobody_waits_long, setup),
	    cmocka_unit_test_setup(nothing_is_learnt_twice, setup),
	};

	return cmocka_run_group_tests_name("nic_moderate", tests, NULL, NULL);
}
