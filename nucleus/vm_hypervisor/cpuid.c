/* SPDX-License-Identifier: ISC */
/*
 * A list of what cells may know and use; leaves that are not named read as zero. Hidden:
 * virtualisation, x2APIC, MONITOR, performance counters, MCE, PCID, RDTSCP,
 * everything whose state is not switched (AVX-512, AMX, PKU, CET).
 */
#include "nucleus/vm_hypervisor/cpuid.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/vcpu.h"

static struct cpuid leaf1(struct vcpu *v)
{
	struct cpuid r = cpuid(1, 0);
	/* SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
	u32 c = 1u << 0 | 1u << 1 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 |
		1u << 23 | 1u << 25 | 1u << 30;
	if (fpu_features() & 4)
		c |= 1u << 12 | 1u << 26 | 1u << 28 | 1u << 29;
	/* FPU PSE TSC MSR PAE CX8 SEP PGE CMOV PAT CLFSH MMX FXSR SSE SSE2 */
	u32 d = 1u << 0 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 11 |
		1u << 13 | 1u << 15 | 1u << 16 | 1u << 19 | 1u << 23 | 1u << 24 | 1u << 25 |
		1u << 26;
	bool osxsave = fpu_xcr0(v) & ~3ull;
	r.b = (r.b & 0xffff) | 1u << 16 | v->index << 24;
	r.c = (r.c & c) | 1u << 31 /* hypervisor */ | (osxsave ? 1u << 27 : 0);
	r.d &= d;
	return r;
}

static struct cpuid leaf7(u32 sub)
{
	if (sub)
		return (struct cpuid){0};
	struct cpuid r = cpuid(7, 0);
	/* FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
	u32 b = 1u << 0 | 1u << 3 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 18 | 1u << 19 |
		1u << 20 | 1u << 23 | 1u << 24 | 1u << 29;
	if (fpu_features() & 4)
		b |= 1u << 5; /* AVX2 */
	return (struct cpuid){.b = r.b & b, .c = r.c & (1u << 2) /* UMIP */};
}

static struct cpuid leaf_d(u32 sub)
{
	struct cpuid r = cpuid(0xd, sub);
	if (sub == 0)
		return (struct cpuid){(u32)fpu_features(), fpu_area_size(), fpu_area_size(), 0};
	if (sub == 1)
		return (struct cpuid){r.a & 1, 0, 0, 0}; /* XSAVEOPT */
	if (sub == 2 && (fpu_features() & 4))
		return r;
	return (struct cpuid){0};
}

struct cpuid cpuid_filter(struct vcpu *v, u32 leaf, u32 sub)
{
	struct cpuid r = cpuid(leaf, sub);
	switch (leaf) {
	case 0:
		r.a = MIN(r.a, 0xdu);
		return r;
	case 1:
		return leaf1(v);
	case 2:
	case 4:
		return r;
	case 7:
		return leaf7(sub);
	case 0xd:
		return leaf_d(sub);
	case 0x40000000:
		return (struct cpuid){0x40000000, 0x65433044, 0x65436c6c,
				      0x006c6c65}; /* "D0Ce.." */
	case 0x80000000:
		r.a = MIN(r.a, 0x80000008u);
		return r;
	case 0x80000001:
		r.c &= 1u << 0 | 1u << 5 | 1u << 8;               /* LAHF ABM 3DNOWPREFETCH */
		r.d &= 1u << 11 | 1u << 20 | 1u << 26 | 1u << 29; /* SYSCALL NX 1G LM */
		r.d |= 1u << 11; /* Intel CPUs show SYSCALL only in 64-bit mode; cells are */
		return r;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		return r;
	case 0x80000008:
		r.b = r.c = r.d = 0;
		return r;
	default:
		return (struct cpuid){0};
	}
}
