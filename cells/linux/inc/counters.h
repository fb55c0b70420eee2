/* SPDX-License-Identifier: ISC */
/* Figures of this cell for others: boot/counters.c. */
#ifndef LINUX_COUNTERS_H
#define LINUX_COUNTERS_H

#include "cells/linux/inc/base.h"

enum counter {
	COUNT_FS_READ,    /* bytes of files that came from the store */
	COUNT_FS_WRITTEN, /* ... and went there */
	COUNT_THREADS,    /* of the container's programs, now */
	COUNTERS
};
void counters_init(void);
/* Adds; a negative number as its complement. Any CPU, any context. */
void count_add(enum counter which, u64 n);

#endif
