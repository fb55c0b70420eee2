/* SPDX-License-Identifier: ISC */
/* Calls between the files of device_manager. */
#ifndef NUCLEUS_DEVICE_MANAGER_INTERNAL_H
#define NUCLEUS_DEVICE_MANAGER_INTERNAL_H

#include "nucleus/core/types.h"

/* After clock_init(): measure the APIC timer (1 ms) unless the TSC drives it. */
void lapic_timer_calibrate(void);
/* Unix time; false: there is no working clock. At most 3 ms. */
bool rtc_read(s64 *unix_seconds);

#endif
