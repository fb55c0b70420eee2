/* SPDX-License-Identifier: ISC */
/* See crypto.h: key' = SHA-256(key, 1, salt), output = SHA-256(key, 0). */
#include <string.h>
#include "nucleus/core/cpu.h"
#include "nucleus/core/crypto.h"
#include "nucleus/core/lock.h"

static struct spinlock random_lock;
static struct {
	struct digest key;
	u64 count;
	u64 fresh;
} pool;
enum {
	JITTER,
	RDRAND,
	RDSEED
};
static u32 source; /* not a pointer: it is set before the image is relocated */

static bool hardware_u64(u64 *out)
{
	u8 ok = 0;
	if (cpuid(7, 0).b & (1u << 18))
		__asm__ volatile("rdseed %0; setc %1" : "=r"(*out), "=qm"(ok)::"cc");
	if (ok) {
		source = RDSEED;
		return true;
	}
	if (cpuid(1, 0).c & (1u << 30))
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(ok)::"cc");
	if (ok)
		source = RDRAND;
	return ok;
}

static u64 jitter(u32 samples)
{
	volatile u64 mix = rdtsc();
	for (u32 i = 0; i < samples; i++) {
		u64 t = rdtsc();
		for (u32 spin = t & 31; spin; spin--)
			mix += spin;
		mix = (mix << 7 | mix >> 57) ^ (rdtsc() - t) * 0x9e3779b97f4a7c15ull;
	}
	return mix;
}

static void stir(u64 salt)
{
	pool.count++;
	pool.fresh = salt;
	struct digest next;
	sha256(&pool, sizeof(pool), &next);
	pool.key = next;
}

void random_init(u64 salt)
{
	stir(salt);
	for (u32 i = 0; i < 8; i++) {
		u64 v = 0;
		bool hardware = hardware_u64(&v);
		stir(v);
		stir(jitter(hardware ? 16 : 4096));
	}
}

const char *random_source(void)
{
	static const char *const name[] = {"TSC jitter only", "RDRAND", "RDSEED"};
	return name[source];
}

u64 random_u64(void)
{
	struct digest out;
	spin_lock(&random_lock);
	sha256(&pool, sizeof(pool), &out);
	stir(rdtsc());
	spin_unlock(&random_lock);
	u64 v;
	memcpy(&v, &out, sizeof(v));
	return v;
}

void random_bytes(void *to, size_t n)
{
	for (u8 *p = to; n;) {
		u64 v = random_u64();
		size_t part = MIN(n, sizeof(v));
		memcpy(p, &v, part);
		p += part;
		n -= part;
	}
}
