/* SPDX-License-Identifier: ISC */
/* What the trap stubs push, and how host-mode exceptions are handled. */
#ifndef NUCLEUS_CORE_TRAP_H
#define NUCLEUS_CORE_TRAP_H

#include "nucleus/core/types.h"

struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "matches traps.S");

/* Called by the stubs. */
void trap_dispatch(struct trap_frame *frame);
void trap_describe(struct trap_frame *frame); /* on the console, with a backtrace */
/* Print return addresses from a frame pointer on; tools/symbolise.py knows their names. */
void backtrace(u64 rip, u64 rbp);
/* Interrupts off, forever; other CPUs go on. */
void cpu_halt_forever(void) __noreturn;

#endif
