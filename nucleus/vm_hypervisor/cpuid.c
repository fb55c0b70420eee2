/* SPDX-License-Identifier: ISC */
/*
 * A list of what cells may know and use; leaves that are not named read as zero. Hidden:
 * virtualisation, x2APIC, MONITOR, performance counters, MCE, PCID, RDTSCP,
 * everything whose state is not switched (AVX-512, AMX, PKU, CET).
 */
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define BIT(n) (1u << (n))

/* SSE3 PCLMUL SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND; FMA XSAVE AVX F16C */
#define LEAF1_C                                                                       \
	(BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | \
	 BIT(25) | BIT(30))
#define LEAF1_C_AVX (BIT(12) | BIT(26) | BIT(28) | BIT(29))
/* FPU PSE TSC MSR PAE CX8 SEP PGE CMOV PAT CLFSH MMX FXSR SSE SSE2 */
#define LEAF1_D                                                                              \
	(BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(11) | BIT(13) | BIT(15) | \
	 BIT(16) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26))
/* FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; AVX2 */
#define LEAF7_B                                                                               \
	(BIT(0) | BIT(3) | BIT(7) | BIT(8) | BIT(9) | BIT(18) | BIT(19) | BIT(20) | BIT(23) | \
	 BIT(24) | BIT(29))
#define LEAF7_B_AVX BIT(5)

struct cpuid cpuid_filter(struct vcpu *v, u32 leaf, u32 sub)
{
	struct cpuid r = cpuid(leaf, sub);
	bool avx = fpu_features & 4;
	switch (leaf) {
	case 0:
		r.a = MIN(r.a, 0xdu);
		return r;
	case 1:
		r.b = (r.b & 0xffff) | BIT(16) | v->index << 24;
		r.c = (r.c & (LEAF1_C | (avx ? LEAF1_C_AVX : 0))) | BIT(31) /* hypervisor */ |
		      (fpu_xcr0(v) & ~3ull ? BIT(27) /* OSXSAVE */ : 0);
		r.d &= LEAF1_D;
		return r;
	case 2:
	case 4:
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		return r;
	case 7:
		if (sub)
			break;
		return (struct cpuid){.b = r.b & (LEAF7_B | (avx ? LEAF7_B_AVX : 0)),
				      .c = r.c & BIT(2) /* UMIP */};
	case 0xd:
		if (sub == 0)
			return (struct cpuid){(u32)fpu_features, fpu_area_size, fpu_area_size,
					      0};
		if (sub == 1)
			return (struct cpuid){.a = r.a & 1}; /* XSAVEOPT */
		if (sub == 2 && avx)
			return r;
		break;
	case 0x40000000: /* "D0Ce.." */
		return (struct cpuid){0x40000000, 0x65433044, 0x65436c6c, 0x006c6c65};
	case 0x80000000:
		r.a = MIN(r.a, 0x80000008u);
		return r;
	case 0x80000001:
		r.c &= BIT(0) | BIT(5) | BIT(8);              /* LAHF ABM 3DNOWPREFETCH */
		r.d &= BIT(11) | BIT(20) | BIT(26) | BIT(29); /* SYSCALL NX 1G LM */
		r.d |= BIT(11); /* Intel CPUs show SYSCALL only in 64-bit mode; cells are */
		return r;
	case 0x80000008:
		r.b = r.c = r.d = 0;
		return r;
	}
	return (struct cpuid){0};
}
