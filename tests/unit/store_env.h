/* SPDX-License-Identifier: ISC */
/* A HAMMER2 volume in memory, for tests and fuzzers of the store. */
#ifndef STORE_ENV_H
#define STORE_ENV_H

#include <stddef.h>
#include <stdint.h>
#include "h2/h2.h"

struct store_env {
	uint8_t *mem;
	uint8_t *blank; /* mem as it was made, for store_env_again() */
	uint64_t size;
	uint64_t writes, flushes;
	uint64_t clock;
	struct h2_env env;
	struct h2_vol *vol;
	long fail_after; /* writes until the device dies; < 0: never */
};

/* A fresh volume of `size` bytes with the PFSs "LOCAL" and "root", mounted. */
void store_env_open(struct store_env *e, uint64_t size);
/* Abandon and mount again what was synced. */
void store_env_crash(struct store_env *e);
/* For fuzzers: a fresh volume at the first call, then each time the same one as it was made. */
void store_env_again(struct store_env *e, uint64_t size);
/* Full check of the synced state; number of errors. */
long store_env_check(struct store_env *e);
void store_env_close(struct store_env *e);

/* A ustar member at p: header, data and padding; their length. */
size_t store_env_tar(uint8_t *p, const char *name, const void *data, size_t len, char type,
		     const char *link);

#endif
