/* SPDX-License-Identifier: ISC */
/* Scaling of time, the calendar, MSI messages. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "nucleus/device_manager/clock.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/irq.h"
#include "tests/unit/nucleus_devmgr_fake.h"

static void scale_is_exact(void **state)
{
	static const u64 rates[] = {1000000,    1000000000, 2100000123, 2399999999,
				    4000000000, 24000000,   63999999999};

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		u64 mult;
		u32 shift;
		/* A year of ticks, and a second. */
		u64 ticks[] = {rates[i] * 86400 * 365 / 1000 * 1000, rates[i]};
		clock_scale(1000000000, rates[i], &mult, &shift);
		for (u32 k = 0; k < 2; k++) {
			unsigned __int128 want =
			    (unsigned __int128)ticks[k] * 1000000000 / rates[i];
			u64 got = clock_apply(ticks[k], mult, shift);
			s64 off = (s64)(got - (u64)want);
			assert_true(llabs(off) <= (s64)((u64)want >> 46) + 1);
		}
	}
}

static void calendar(void **state)
{
	struct rtc_raw r = {.second = 0x59,
			    .minute = 0x58,
			    .hour = 0x23,
			    .day = 0x29,
			    .month = 0x02,
			    .year = 0x24,
			    .century = 0x20,
			    .status_b = 2};
	s64 t, want;

	assert_true(rtc_decode(&r, &t));
	assert_int_equal(t, 1709251139);
	/* The C library agrees on every day from 1970 to 2099. */
	for (want = 0; want < 4102444800; want += 86400 + 3607) {
		time_t tt = want;
		struct tm d;
		gmtime_r(&tt, &d);
		r = (struct rtc_raw){.second = d.tm_sec,
				     .minute = d.tm_min,
				     .hour = d.tm_hour,
				     .day = d.tm_mday,
				     .month = d.tm_mon + 1,
				     .year = d.tm_year % 100,
				     .century = (d.tm_year + 1900) / 100,
				     .status_b = 6};
		assert_true(rtc_decode(&r, &t));
		assert_int_equal(t, want);
	}
}

static void calendar_refuses(void **state)
{
	struct rtc_raw good = {.second = 1,
			       .minute = 1,
			       .hour = 0x12,
			       .day = 1,
			       .month = 1,
			       .year = 0x25,
			       .status_b = 0};
	struct rtc_raw r = good;
	s64 t;

	assert_true(rtc_decode(&r, &t)); /* 12-hour clock: noon is 12 am without the PM bit */
	assert_int_equal(t % 86400, 61);
	r.hour = 0x92;
	assert_true(rtc_decode(&r, &t));
	assert_int_equal(t % 86400, 12 * 3600 + 61);
	r.hour = 0x13;
	assert_false(rtc_decode(&r, &t));
	r = good, r.month = 0x13;
	assert_false(rtc_decode(&r, &t));
	r = good, r.day = 0x32;
	assert_false(rtc_decode(&r, &t));
	r = good, r.day = 0;
	assert_false(rtc_decode(&r, &t));
	r = (struct rtc_raw){.second = 0xff,
			     .minute = 0xff,
			     .hour = 0xff,
			     .day = 0xff,
			     .month = 0xff,
			     .year = 0xff,
			     .status_b = 0xff};
	assert_false(rtc_decode(&r, &t));
}

static void vectors(void **state)
{
	u32 n = 0;
	u8 all[256];

	while ((all[n] = irq_vector_alloc(NULL, NULL)) != 0) {
		assert_in_range(all[n], VECTOR_DEVICE_FIRST, VECTOR_DEVICE_LAST);
		n++;
	}
	assert_int_equal(all[0], VECTOR_DEVICE_FIRST);
	assert_int_equal(n, VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1);
	irq_vector_free(all[5]);
	assert_int_equal(irq_vector_alloc(NULL, NULL), all[5]);
}

bool iommu_remap(u32 sid, u8 vector, u32 apic_id, bool level)
{
	return false; /* no IOMMU */
}

static void messages(void **state)
{
	struct msi_message m;

	assert_true(msi_compose(3, 0x41, &m));
	assert_int_equal(m.address, 0xfee03000);
	assert_int_equal(m.data, 0x41);
	assert_false(msi_compose(255, 0x41, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(scale_is_exact),   cmocka_unit_test(calendar),
	    cmocka_unit_test(calendar_refuses), cmocka_unit_test(vectors),
	    cmocka_unit_test(messages),
	};
	return cmocka_run_group_tests_name("nucleus_clock", tests, NULL, NULL);
}
