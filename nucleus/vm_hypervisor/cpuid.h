/* SPDX-License-Identifier: ISC */
/* CPUID as cells see it. */
#ifndef NUCLEUS_VM_HYPERVISOR_CPUID_H
#define NUCLEUS_VM_HYPERVISOR_CPUID_H

#include "nucleus/core/cpu.h"

struct vcpu;
struct cpuid cpuid_filter(struct vcpu *v, u32 leaf, u32 sub);

#endif
