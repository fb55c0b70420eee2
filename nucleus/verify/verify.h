/* SPDX-License-Identifier: ISC */
/* The verification ring: see verify.c. */
#ifndef NUCLEUS_VERIFY_H
#define NUCLEUS_VERIFY_H

#include "nucleus/core/types.h"

struct cell;
struct cpu;
struct trap_frame;
struct d0_ctl_system_status;

void verify_init(void); /* after archive_open(): golden copies of the nucleus */

/* Nucleus lock. A cell joins when it starts and leaves when it ends. */
void verify_join(struct cell *cell);
void verify_leave(struct cell *cell);
/* Hypercall verify: takes the answer, hands out the next challenge. */
s64 verify_challenge(struct cell *cell, u64 answer, u64 *nonce);
/* A crash in this cell: compare its pages now. True: something was repaired. */
bool verify_cell_now(struct cell *cell);

/* Idle work of a CPU: a small piece. Lock not held. True: there is more due. */
bool verify_idle(u64 now);
void verify_tick(u64 now); /* lock held; for times without idle time */
extern u64 verify_next;    /* when idle work is due again */
void verify_status(struct d0_ctl_system_status *out);

/* ---- recovery.c: faults of the nucleus itself ---- */

/* After verify_init(), before other CPUs start: exceptions run in the spare copy. */
void recovery_arm(void);
/* An exception in host mode. True: return from it; frame says where to. */
bool recovery_from(struct trap_frame *frame);
/* The caller has waited far too long for a lock that this CPU (may be NULL) holds. */
void recovery_interrogate(struct cpu *holder);
/* Compare and repair the nucleus by the spare copy of its code; true if a page was wrong.
 * Nucleus lock held. */
bool recovery_rescue(void);
extern u32 recovery_unreported; /* pages repaired where nothing can be said */
void verify_count_rescue(void); /* it has repaired a page of the nucleus */

#endif
