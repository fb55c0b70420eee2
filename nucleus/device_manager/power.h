/* SPDX-License-Identifier: ISC */
/* Ends of the machine's life. None returns; each falls through to the next means it has,
 * and in the end halts this CPU with interrupts off. */
#ifndef NUCLEUS_DEVICE_MANAGER_POWER_H
#define NUCLEUS_DEVICE_MANAGER_POWER_H

#include "nucleus/core/types.h"

/* Boot parameters: exit=debug (isa-debug-exit at 0xf4 instead of power off, for tests),
 * exit=bochs (also write "Shutdown" to port 0x8900). */
void power_init(void);
void power_off(u8 code) __noreturn; /* code reaches the outside by isa-debug-exit only */
void power_reboot(void) __noreturn;

#endif
