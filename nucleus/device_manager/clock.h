/* SPDX-License-Identifier: ISC */
/* Time: the TSC, calibrated once; nanoseconds since kernel entry. */
#ifndef NUCLEUS_DEVICE_MANAGER_CLOCK_H
#define NUCLEUS_DEVICE_MANAGER_CLOCK_H

#include "nucleus/core/types.h"

struct d0_clock;

/* Find the TSC's rate (HPET, PM timer, PIT; at most 20 ms) and read the
 * wall clock. entry_tsc: the TSC at kernel entry, ns 0. After acpi_init(). */
void clock_init(u64 entry_tsc);
u64 clock_ns(void);
u64 clock_tsc_at(u64 ns);    /* the TSC value when clock_ns() reaches ns; saturates */
void clock_delay_us(u64 us); /* spins */
/* Fill the page that cells see; seq goes up by two. */
void clock_fill(struct d0_clock *out);

/* ---- pure, for tests ---- */
/* x * num / den = x * mult >> shift (128-bit product), off by less than 2^-46 of the result
 * for num and den of 1..2^62 that are within a factor of 2^16. */
void clock_scale(u64 num, u64 den, u64 *mult, u32 *shift);
static inline u64 clock_apply(u64 ticks, u64 mult, u32 shift)
{
	return (u64)(((unsigned __int128)ticks * mult) >> shift);
}
/* CMOS registers as read -> Unix seconds; false: not a date. RTC of the PC/AT. */
struct rtc_raw {
	u8 second, minute, hour, day, month, year, century, status_b;
};
bool rtc_decode(const struct rtc_raw *raw, s64 *unix_seconds);

#endif
