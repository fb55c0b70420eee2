/* SPDX-License-Identifier: ISC */
/*
 * FPU, SSE and AVX registers. They belong to the vCPU named in cpu->fpu_owner while it is the
 * one this CPU schedules; when it is taken off, they go to its area, since it may go on
 * elsewhere. Host mode is compiled without them; the few library routines that use SSE are
 * called between fpu_nucleus_begin() and the next fpu_load().
 */
#ifndef NUCLEUS_VM_HYPERVISOR_FPU_H
#define NUCLEUS_VM_HYPERVISOR_FPU_H

#include "nucleus/core/types.h"

struct vcpu;

void fpu_init(void);     /* once, after CPU 0 has its GS */
void fpu_init_cpu(void); /* every CPU: XCR0 */
extern u64 fpu_features; /* the XCR0 bits guests may set */
extern u32 fpu_area_size;
void fpu_reset(struct vcpu *v);       /* initial state in its area */
void fpu_load(struct vcpu *v);        /* before entry */
u64 fpu_xcr0(struct vcpu *v);         /* the guest's XCR0 */
void fpu_switch_xcr0(struct vcpu *v); /* the loaded vCPU set another xcr0 */
void fpu_put(void);                   /* the owner leaves this CPU: its registers to memory */
void fpu_nucleus_begin(void);

#endif
