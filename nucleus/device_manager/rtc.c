/* SPDX-License-Identifier: ISC */
/*
 * The PC/AT real-time clock (MC146818): read at boot; its time is never set. Then its
 * interrupt, once a second, is the watchdog's NMI: it comes whatever the CPU is at, and by no
 * clock that the nucleus computes.
 */
#include <string.h>

#include "nucleus/core/cpu.h"
#include "nucleus/device_manager/acpi.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/irq.h"

#define CMOS_INDEX      0x70
#define CMOS_DATA       0x71
#define STATUS_A        0x0a
#define STATUS_B        0x0b
#define STATUS_C        0x0c
#define UPDATE_ENDED    0x10 /* the interrupt: on in B, raised in C */
#define OTHER_SOURCES   0x60
#define UPDATE_RUNNING  0x80
#define STATUS_B_24H    0x02
#define STATUS_B_BINARY 0x04
#define HOUR_PM         0x80
#define UPDATE_NS       3000000ull /* an update takes 2 ms */

/* Days from 1970-01-01, proleptic Gregorian; year counted from March 1. */
static s64 days_from_date(u32 year, u32 month, u32 day)
{
	u32 y = month > 2 ? year : year - 1;
	u32 era_day = (month + 9) % 12 * 306 + 5;

	return (s64)y * 365 + y / 4 - y / 100 + y / 400 + era_day / 10 + day - 1 - 719468;
}

bool rtc_decode(const struct rtc_raw *raw, s64 *unix_seconds)
{
	struct rtc_raw r = *raw;
	bool pm = r.hour & HOUR_PM;
	u32 year;

	if (!(r.status_b & STATUS_B_24H))
		r.hour &= ~HOUR_PM;
	if (!(r.status_b & STATUS_B_BINARY)) {
		for (u8 *p = &r.second; p < &r.status_b; p++)
			*p = (*p >> 4) * 10 + (*p & 15);
	}
	if (!(r.status_b & STATUS_B_24H)) {
		if (r.hour < 1 || r.hour > 12)
			return false;
		r.hour = r.hour % 12 + (pm ? 12 : 0);
	}
	if (r.century >= 19 && r.century <= 29)
		year = r.century * 100u + r.year;
	else
		year = r.year + (r.year >= 70 ? 1900u : 2000u);
	if (r.second > 59 || r.minute > 59 || r.hour > 23 || r.year > 99 || year < 1970 ||
	    r.month < 1 || r.month > 12 || r.day < 1 || r.day > 31)
		return false;
	*unix_seconds = days_from_date(year, r.month, r.day) * 86400 + r.hour * 3600 +
			r.minute * 60 + r.second;
	return true;
}

static u8 cmos_read(u8 index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static struct rtc_raw read_raw(void)
{
	static const u8 index[] = {0, 2, 4, 7, 8, 9}; /* as in struct rtc_raw */
	struct rtc_raw r = {.status_b = cmos_read(STATUS_B)};

	for (u32 i = 0; i < ARRAY_SIZE(index); i++)
		((u8 *)&r)[i] = cmos_read(index[i]);
	if (acpi.century && acpi.century < 0x80)
		r.century = cmos_read(acpi.century);
	return r;
}

/* Two equal readings with no update running between them. */
bool rtc_read(s64 *unix_seconds)
{
	u64 end = clock_ns() + UPDATE_NS;
	struct rtc_raw a, b;

	do {
		if (cmos_read(STATUS_A) & UPDATE_RUNNING)
			continue;
		a = read_raw();
		b = read_raw();
		if (!(cmos_read(STATUS_A) & UPDATE_RUNNING) && !memcmp(&a, &b, sizeof(a)))
			return rtc_decode(&b, unix_seconds);
	} while (clock_ns() < end);
	return false;
}

void rtc_ring(void)
{
	u8 b = (cmos_read(STATUS_B) & (u8)~OTHER_SOURCES) | UPDATE_ENDED;
	outb(CMOS_INDEX, STATUS_B);
	outb(CMOS_DATA, b);
	rtc_rang();
}

bool rtc_rang(void)
{
	return cmos_read(STATUS_C) & UPDATE_ENDED;
}
