/* SPDX-License-Identifier: ISC */
/* The verification duty (boot/duty.c). All of it in the monitor. */
#ifndef LX_DUTY_H
#define LX_DUTY_H

#include "cells/linux/inc/base.h"

extern bool duty_due; /* a round began, or a challenge waits for its answer */
/* Answer one challenge and take the next; leaves the monitor meanwhile. For the first vCPU's
 * idle loop. */
void duty_step(void);

#endif
