/* SPDX-License-Identifier: ISC */
/*
 * The same hashes with the CPU's own instructions; chosen at run time by h2_cpu_has().
 * Builtins instead of <immintrin.h>, which wants a hosted C library.
 */
#include <cpuid.h>
#include <string.h>

#include "h2/impl.h"

static int probe(void)
{
	unsigned a, b, c, d;
	int has = H2_CPU_PROBED;

	if (__get_cpuid(1, &a, &b, &c, &d)) {
		if (c & bit_SSE4_2)
			has |= H2_CPU_SSE42;
		if (!(c & bit_SSSE3) || !(c & bit_SSE4_1))
			return has;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		if ((b & bit_BMI) && (b & bit_BMI2))
			has |= H2_CPU_BMI;
		if (b & (1u << 29))
			has |= H2_CPU_SHA;
	}
	return has;
}

bool h2_cpu_has(int feature)
{
	static int has; /* probing twice is harmless, so no lock */

	if (!has)
		has = probe();
	return has & feature;
}

__attribute__((target("sse4.2"))) uint32_t h2_crc32c_sse42(uint32_t crc, const void *buf,
							   size_t len)
{
	const uint8_t *p = buf;
	uint64_t c = crc;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;
		__builtin_memcpy(&v, p, 8);
		c = __builtin_ia32_crc32di(c, v);
	}
	while (len--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
	return (uint32_t)c;
}

typedef unsigned v4 __attribute__((vector_size(16))); /* additions wrap */
typedef int v4i __attribute__((vector_size(16)));
#define I(v) ((v4i)(v)) /* as the builtins want it */
typedef char v16 __attribute__((vector_size(16)));

static inline v4 load(const void *p)
{
	v4 v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

/* Lanes n.. of the eight lanes low:high. */
#define JOIN(low, high, n)   __builtin_shufflevector(low, high, n, (n) + 1, (n) + 2, (n) + 3)
#define ORDER(v, a, b, c, d) __builtin_shufflevector(v, v, a, b, c, d)

/*
 * The SHA extensions keep the state as ABEF and CDGH; each step of four rounds consumes one
 * vector of message words, and the schedule runs one vector ahead (Intel SDM vol. 2,
 * SHA256RNDS2, SHA256MSG1, SHA256MSG2).
 */
__attribute__((target("sha,sse4.1,ssse3"))) void h2_sha256_ni(uint32_t state[8],
							      const uint8_t *p, size_t blocks)
{
	const v16 swap = {3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12};
	const uint32_t *k = h2_sha256_k();
	v4 abcd = load(state), efgh = load(state + 4);
	v4 abef = __builtin_shufflevector(abcd, efgh, 5, 4, 1, 0);
	v4 cdgh = __builtin_shufflevector(abcd, efgh, 7, 6, 3, 2);

	for (; blocks--; p += 64) {
		v4 abef0 = abef, cdgh0 = cdgh, w[4];

		for (int i = 0; i < 4; i++)
			w[i] = (v4)__builtin_ia32_pshufb128((v16)load(p + 16 * i), swap);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			v4 m = w[i & 3];
			v4 kw = m + load(k + 4 * i);

			cdgh = (v4)__builtin_ia32_sha256rnds2(I(cdgh), I(abef), I(kw));
			kw = ORDER(kw, 2, 3, 0, 0);
			abef = (v4)__builtin_ia32_sha256rnds2(I(abef), I(cdgh), I(kw));
			if (i >= 12)
				continue;
			m = (v4)__builtin_ia32_sha256msg1(I(m), I(w[(i + 1) & 3])) +
			    JOIN(w[(i + 2) & 3], w[(i + 3) & 3], 1);
			w[i & 3] = (v4)__builtin_ia32_sha256msg2(I(m), I(w[(i + 3) & 3]));
		}
		abef += abef0;
		cdgh += cdgh0;
	}
	abcd = __builtin_shufflevector(abef, cdgh, 3, 2, 7, 6);
	efgh = __builtin_shufflevector(abef, cdgh, 1, 0, 5, 4);
	memcpy(state, &abcd, sizeof(abcd));
	memcpy(state + 4, &efgh, sizeof(efgh));
}
