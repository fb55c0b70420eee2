/* SPDX-License-Identifier: ISC */
/* First hardware checks: what D0 needs and what it would like; one line per finding. */
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/live0/live0.h"
#include "nucleus/memory_regions/memory_regions.h"

static bool need(bool there, const char *what)
{
	if (!there)
		n_print("check: MISSING %s", what);
	return there;
}

bool checks_cpu(void)
{
	u32 max_ext = cpuid(0x80000000, 0).a;
	struct cpuid name[3] = {0};
	for (u32 i = 0; i < ARRAY_SIZE(name) && max_ext >= 0x80000004; i++)
		name[i] = cpuid(0x80000002 + i, 0);
	struct cpuid f1 = cpuid(1, 0), x1 = cpuid(0x80000001, 0);
	bool svm = x1.c & (1u << 2), vmx = f1.c & (1u << 5);
	n_print("check: CPU %.48s, family 0x%x, %s", (const char *)name, f1.a >> 8 & 0xf,
		svm   ? "SVM"
		: vmx ? "VMX"
		      : "no hardware virtualisation");
	bool ok = need(x1.d & (1u << 20), "execute-disable pages (NX)");
	ok &= need(f1.c & (1u << 26), "XSAVE");
	ok &= need(f1.d & (1u << 9), "a local APIC");
	ok &= need(svm || vmx, "VMX or SVM (is it switched on in the firmware?)");
	if (svm && max_ext >= 0x8000000a)
		ok &= need(cpuid(0x8000000a, 0).d & 1, "nested paging (NPT)");
	return ok;
}

void checks_machine(void)
{
	n_print("check: entropy from %s", random_source());
	n_print("check: memory is tested as it is handed out, %lu KiB retired so far",
		frames_stats().bad << 2);
}
