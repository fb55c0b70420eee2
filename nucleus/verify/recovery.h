/* SPDX-License-Identifier: ISC */
/* Faults of the nucleus itself: see recovery.c. */
#ifndef NUCLEUS_VERIFY_RECOVERY_H
#define NUCLEUS_VERIFY_RECOVERY_H

#include "nucleus/core/cpu.h"
#include "nucleus/core/trap.h"

/* After verify_init(), before other CPUs start: exceptions run in the spare copy. */
void recovery_arm(void);
/* An exception in host mode. True: return from it; frame says where to. */
bool recovery_from(struct trap_frame *frame);
/* The caller has waited far too long for a lock that this CPU (may be NULL) holds. */
void recovery_interrogate(struct cpu *holder);

#endif
