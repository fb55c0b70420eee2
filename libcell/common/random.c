/* SPDX-License-Identifier: ISC */
/* The cell's generator: seeded at first use, mixed with fresh entropy every 1 MiB. */
#include <string.h>
#include "libcell/common/backend.h"
#include "libcell/random.h"
#include "libcell/spinlock.h"

#define RESEED_BYTES (1u << 20)

static struct spinlock random_lock = SPINLOCK_INIT;
static struct random_gen random_gen;
static size_t random_left; /* bytes until fresh entropy is due */

void cell_random_bytes(void *buf, size_t len)
{
	uint8_t seed[32];

	spin_lock(&random_lock);
	if (random_left < len) {
		backend_entropy(seed);
		random_gen_mix(&random_gen, seed);
		memset(seed, 0, sizeof(seed));
		random_left = RESEED_BYTES + len;
	}
	random_left -= len;
	random_gen_bytes(&random_gen, buf, len);
	spin_unlock(&random_lock);
}

uint32_t cell_random_u32(void)
{
	uint32_t v;

	cell_random_bytes(&v, sizeof(v));
	return v;
}

uint64_t cell_random_u64(void)
{
	uint64_t v;

	cell_random_bytes(&v, sizeof(v));
	return v;
}

uint64_t cell_random_below(uint64_t n)
{
	uint64_t v, limit;

	if (n < 2)
		return 0;
	limit = -n % n; /* 2^64 mod n: values below it would favour small results */
	do {
		v = cell_random_u64();
	} while (v < limit);
	return v % n;
}
