/* SPDX-License-Identifier: ISC */
/* What all vCPUs share: choice of the back-end, creation, the way into a guest and out. */
#include <string.h>
#include "nucleus/core/lock.h"
#include "nucleus/core/print.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/vm_hypervisor/fpu.h"
#include "nucleus/vm_hypervisor/vcpu.h"

const struct vcpu_ops *vcpu_ops;
static u64 shootdowns;

u64 vcpu_shootdowns(void)
{
	return shootdowns;
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
	return vm_hypervisor_init_cpu();
}

bool vm_hypervisor_init_cpu(void)
{
	fpu_init_cpu();
	return vcpu_ops->cpu_init(cpu_self());
}

bool vcpu_create(struct vcpu *v, struct cell *cell, u32 index, enum vcpu_kind kind)
{
	/* Its CPU may not have come out of the cell's life before this one yet. */
	struct cpu *holder = v->holder;
	memset(v, 0, sizeof(*v));
	v->holder = holder;
	v->cell = cell;
	v->index = index;
	v->deadline = v->timer = D0_NEVER;
	hpa_t area = frame_alloc();
	if (!hpa_valid(area))
		return false;
	v->fpu = hpa_to_ptr(area);
	if (!vcpu_ops->create(v, kind)) {
		frame_free(area);
		v->fpu = NULL;
		return false;
	}
	return true;
}

void vcpu_destroy(struct vcpu *v)
{
	if (!v->fpu)
		return;
	sched_remove(v);
	fpu_forget(v);
	vcpu_ops->destroy(v);
	frame_free(ptr_to_hpa(v->fpu));
	v->fpu = NULL;
	v->state = VCPU_OFF;
}

void vcpu_reset(struct vcpu *v, u64 rip, u64 rsp, gpa_t cr3, u64 rdi, u64 rsi)
{
	memset(&v->regs, 0, sizeof(v->regs));
	v->regs.rdi = rdi;
	v->regs.rsi = rsi;
	v->upcall = 0;
	v->deadline = v->timer = D0_NEVER;
	fpu_reset(v);
	vcpu_ops->reset(v, rip, rsp, cr3);
}

/* Events for a guest kernel arrive as an interrupt. */
static void offer_upcall(struct vcpu *v)
{
	if (!v->upcall)
		return;
	if (vcpu_events_pending(v))
		vcpu_ops->inject_interrupt(v, v->upcall);
	else
		vcpu_ops->cancel_interrupt(v);
}

void vcpu_run(struct vcpu *v)
{
	struct cpu *cpu = cpu_self();
	struct vcpu_exit exit;
	if (v->tlb_seen != v->cell->tlb_generation) {
		v->tlb_seen = v->cell->tlb_generation;
		vcpu_ops->flush(v);
	}
	offer_upcall(v);
	cpu->running = v;
	__atomic_store_n(&cpu->in_guest, true, __ATOMIC_RELEASE);
	nucleus_unlock();
	fpu_load(v);
	vcpu_ops->run(v, &exit);
	nucleus_lock();
	cpu->running = NULL;
	v->cell->exits++;
	/* While the lock was not held the cell may have been ended or paused. */
	if (v->state == VCPU_RUNNING)
		vcpu_handle_exit(v, &exit);
}

void cell_quiesce(struct cell *cell)
{
	struct cpu *self = cpu_self();
	for (u32 i = 0; i < cpu_count; i++) {
		struct cpu *c = &cpus[i];
		if (c == self || !c->running || c->running->cell != cell)
			continue;
		if (__atomic_load_n(&c->in_guest, __ATOMIC_ACQUIRE)) {
			lapic_ipi(c->apic_id, VECTOR_KICK);
			shootdowns++;
		}
	}
	/* They clear in_guest before they ask for the lock, which is ours. */
	for (u32 i = 0; i < cpu_count; i++)
		while (&cpus[i] != self && cpus[i].running && cpus[i].running->cell == cell &&
		       __atomic_load_n(&cpus[i].in_guest, __ATOMIC_ACQUIRE))
			cpu_relax();
	cell->tlb_generation++;
}
