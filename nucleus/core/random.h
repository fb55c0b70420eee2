/* SPDX-License-Identifier: ISC */
/*
 * Random numbers: seeded from RDSEED/RDRAND where there are, TSC jitter and what the
 * firmware left otherwise; stretched by SHA-256 over a counter and a key that moves on with
 * every call. Callable on any CPU.
 */
#ifndef NUCLEUS_CORE_RANDOM_H
#define NUCLEUS_CORE_RANDOM_H

#include "nucleus/core/types.h"

void random_init(u64 salt);
u64 random_u64(void);
void random_bytes(void *out, size_t n);
const char *random_source(void); /* for the boot log */

#endif
