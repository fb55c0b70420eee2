/* SPDX-License-Identifier: ISC */
/*
 * Start of the other CPUs: one after the other, through a trampoline copied below 1 MiB and
 * mapped there, executable and not writable, only while CPUs start.
 */
#include <string.h>
#include "nucleus/core/cpu.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/live0/live0.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "nucleus/sched/sched.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define TRAMPOLINE     0x8000ull    /* also in traps.S */
#define START_PATIENCE 200000000ull /* ns */

extern char trampoline[], trampoline_end[], trampoline_data[];

static void cpu_main(struct cpu *cpu)
{
	cpu_init_this(cpu);
	lapic_init_cpu();
	if (!vm_hypervisor_init_cpu())
		n_panic("CPU %u has no virtualisation although CPU 0 has", cpu->index);
	sched_loop();
}

static bool start(struct cpu *cpu, u8 *low)
{
	u64 *words = (u64 *)(low + (trampoline_data - trampoline));
	words[0] = nucleus_space.root.v;
	words[1] = cpu->stack_top = stack_create(4);
	words[2] = (u64)cpu_main;
	words[3] = (u64)cpu;
	lapic_start_cpu(cpu->apic_id, TRAMPOLINE >> PAGE_SHIFT);
	u64 late = clock_ns() + START_PATIENCE;
	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE) && clock_ns() < late)
		cpu_relax();
	return cpu->online;
}

void smp_start_all(void)
{
	u8 *low = hpa_to_ptr(HPA(TRAMPOLINE));
	cpus[0].apic_id = lapic_id();
	if (acpi.cpus > 1) {
		memcpy(low, trampoline, (size_t)(trampoline_end - trampoline));
		if (space_map(&nucleus_space, TRAMPOLINE, HPA(TRAMPOLINE), PAGE_SIZE,
			      MAP_R | MAP_X, false))
			n_panic("no memory to start CPUs");
	}
	for (u32 i = 0; i < acpi.cpus; i++) {
		if (acpi.cpu[i] == cpus[0].apic_id)
			continue;
		if (cpu_count == CPUS_MAX) {
			n_print("live0: more than %u CPUs, the others stay off", CPUS_MAX);
			break;
		}
		struct cpu *cpu = &cpus[cpu_count];
		cpu->index = cpu_count;
		cpu->apic_id = acpi.cpu[i];
		if (start(cpu, low))
			cpu_count++;
		else
			n_print("live0: CPU with APIC id %u does not start", cpu->apic_id);
	}
	if (acpi.cpus > 1)
		space_unmap(&nucleus_space, TRAMPOLINE, PAGE_SIZE);
	n_print("live0: %u CPU%s", cpu_count, cpu_count > 1 ? "s" : "");
}
