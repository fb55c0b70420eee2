/* SPDX-License-Identifier: ISC */
/* Faults of the nucleus itself: see recovery.c. */
#ifndef NUCLEUS_VERIFY_RECOVERY_H
#define NUCLEUS_VERIFY_RECOVERY_H

#include "nucleus/core/cpu.h"
#include "nucleus/core/trap.h"

/* An exception in host mode. True: return from it; frame says where to. */
bool recovery_from(struct trap_frame *frame);
/* The caller has waited far too long for a lock that this CPU (may be NULL) holds. */
void recovery_interrogate(struct cpu *holder);

#endif
