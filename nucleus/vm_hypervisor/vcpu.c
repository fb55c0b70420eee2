/* SPDX-License-Identifier: ISC */
/* What all vCPUs share: choice of the back-end, creation, the way into a guest and out. */
#include <string.h>
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/sync/sync.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/vcpu.h"

/* STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE; FS_BASE, GS_BASE, SYSENTER_*, PAT */
const u32 own_msrs[OWN_MSRS] = {0xc0000081, 0xc0000082,  0xc0000083,  0xc0000084,
				0xc0000102, MSR_FS_BASE, MSR_GS_BASE, 0x174,
				0x175,      0x176,       0x277};

const struct vcpu_ops *vcpu_ops;
static u8 *no_ports;
u64 vcpu_shootdowns;

static u8 *ports_alloc(void)
{
	hpa_t run = frames_alloc_run(PORTS_PAGES);
	return hpa_valid(run) ? memset(hpa_to_ptr(run), 0xff, PORTS_PAGES * PAGE_SIZE) : NULL;
}

hpa_t vcpu_ports(const struct vcpu *v)
{
	return ptr_to_hpa(v->cell->ports ? v->cell->ports : no_ports);
}

bool cell_allow_ports(struct cell *cell, u16 first, u32 count, bool allow)
{
	if (!cell->ports)
		cell->ports = ports_alloc();
	for (u32 p = first; cell->ports && p < first + count && p < 0x10000; p++) {
		u8 bit = (u8)(1u << p % 8);
		cell->ports[p / 8] =
		    (u8)(allow ? cell->ports[p / 8] & ~bit : cell->ports[p / 8] | bit);
	}
	return cell->ports;
}

bool vm_hypervisor_init(void)
{
	static const struct vcpu_ops *const all[] = {&svm_ops, &vmx_ops};
	fpu_init();
	for (u32 i = 0; i < ARRAY_SIZE(all) && !vcpu_ops; i++)
		if (all[i]->supported())
			vcpu_ops = all[i];
	if (!vcpu_ops)
		return false;
	n_print("vm_hypervisor: %s", vcpu_ops->name);
	no_ports = ports_alloc();
	return no_ports && vm_hypervisor_init_cpu();
}

bool vm_hypervisor_init_cpu(void)
{
	fpu_init_cpu();
	return vcpu_ops->cpu_init(cpu_self());
}

bool vcpu_create(struct vcpu *v, struct cell *cell, u32 index)
{
	hpa_t area = frame_alloc();
	if (!hpa_valid(area))
		return false;
	*v = (struct vcpu){.cell = cell, .index = index, .fpu = hpa_to_ptr(area)};
	v->deadline = v->timer = D0_NEVER;
	if (vcpu_ops->create(v))
		return true;
	frame_free(area);
	v->fpu = NULL;
	return false;
}

void vcpu_destroy(struct vcpu *v)
{
	if (!v->fpu)
		return;
	vcpu_ops->destroy(v);
	frame_free(ptr_to_hpa(v->fpu));
	v->fpu = NULL;
}

void vcpu_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3, u64 rdi, u64 rsi)
{
	v->regs = (struct vcpu_regs){.rdi = rdi, .rsi = rsi};
	v->rip = rip;
	v->efer = EFER_GUEST & ~1ull;
	v->event = 0;
	v->interrupt = v->upcall = 0;
	v->user = false;
	v->flush = true;
	v->deadline = v->timer = D0_NEVER;
	fpu_reset(v);
	vcpu_ops->reset(v, rsp, cr3);
}

void vcpu_skip(struct vcpu *v)
{
	v->rip += v->length;
	v->skipped = true;
}

void vcpu_inject_fault(struct vcpu *v, u32 vector)
{
	bool error = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
	v->event = EVENT_VALID | EVENT_EXCEPTION | vector | (error ? EVENT_ERROR_CODE : 0);
}

void vcpu_run(struct vcpu *v)
{
	struct cpu *cpu = cpu_self();
	struct vcpu_exit exit;
	if (v->last_cpu != cpu || v->tlb_seen != v->cell->tlb_generation) {
		v->last_cpu = cpu;
		v->tlb_seen = v->cell->tlb_generation;
		v->flush = true;
	}
	/* Events for a guest kernel arrive as an interrupt. */
	v->interrupt = v->upcall && vcpu_events_pending(v) ? v->upcall : 0;
	cpu->running = v;
	__atomic_store_n(&cpu->in_guest, true, __ATOMIC_RELEASE);
	nucleus_unlock();
	fpu_load(v);
	vcpu_ops->run(v, &exit);
	/* From here on the cell may be torn down: nothing of the vCPU is touched. */
	__atomic_store_n(&cpu->in_guest, false, __ATOMIC_RELEASE);
	__asm__ volatile("sti; nop; cli" ::: "memory"); /* host interrupts that wait */
	nucleus_lock();
	cpu->running = NULL;
	v->cell->stat.exits++;
	/* While the lock was not held the cell may have been ended or paused. */
	if (v->state == VCPU_RUNNING)
		vcpu_handle_exit(v, &exit);
}

void vcpu_leave(struct vcpu *v)
{
	fpu_put();
	if (vcpu_ops->leave)
		vcpu_ops->leave(v);
	v->holder = NULL;
}

static bool is_inside(const struct cpu *c, const struct cell *cell)
{
	return c != cpu_self() && c->running && c->running->cell == cell &&
	       __atomic_load_n(&c->in_guest, __ATOMIC_ACQUIRE);
}

void cell_quiesce(struct cell *cell)
{
	for (u32 i = 0; i < cpu_count; i++)
		if (is_inside(&cpus[i], cell)) {
			lapic_ipi(cpus[i].apic_id, VECTOR_KICK);
			vcpu_shootdowns++;
		}
	/* They clear in_guest before they ask for the lock, which is ours. */
	for (u32 i = 0; i < cpu_count; i++)
		while (is_inside(&cpus[i], cell))
			cpu_relax();
	cell->tlb_generation++;
}
