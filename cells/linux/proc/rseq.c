/* SPDX-License-Identifier: ISC */
/*
 * Restartable sequences (rseq(2)): a program keeps a struct rseq per thread, in which the
 * kernel says which vCPU it is on, and which may name a piece of code that must not be torn
 * apart. When the thread left its program there (it lost the vCPU, or a signal is delivered) it
 * goes on at the abort address instead.
 *
 * rseq_due says that the structure has to be looked at before the thread goes back to its
 * program: it is set when the thread is switched to, and by registering. What is wrong with the
 * program's data ends it with SIGSEGV, as the call's documentation has it.
 */
#include "cells/linux/inc/rseq.h"
#include "cells/linux/inc/sys.h"

#define RSEQ_SIZE            32u
#define RSEQ_FLAG_UNREGISTER 1
#define CPU_ID_NONE          (~0u)

struct rseq_k {
	u32 cpu_id_start, cpu_id;
	u64 rseq_cs;
	u32 flags, node_id, mm_cid, pad;
};
_Static_assert(sizeof(struct rseq_k) == RSEQ_SIZE, "struct rseq, first version");
struct rseq_cs_k {
	u32 version, flags;
	u64 start, length, abort;
};
_Static_assert(sizeof(struct rseq_cs_k) == 32, "struct rseq_cs");
#define AT_CS offsetof(struct rseq_k, rseq_cs)

/* The thread was somewhere in its program: if it was in its sequence it begins that anew. */
static int leave_sequence(struct thread *t, struct regs *r)
{
	struct rseq_cs_k cs;
	u64 at;
	u32 sig;

	if (get_user(at, t->rseq + AT_CS))
		return -EFAULT;
	if (!at)
		return 0;
	if (copy_in(&cs, at, sizeof(cs)))
		return -EFAULT;
	if (cs.version || cs.start >= TASK_SIZE || cs.abort >= TASK_SIZE ||
	    cs.length > TASK_SIZE - cs.start || cs.abort - cs.start < cs.length || cs.abort < 4)
		return -EINVAL;
	if (r->rip - cs.start < cs.length) {
		if (get_user(sig, cs.abort - 4) || sig != t->rseq_sig)
			return -EINVAL;
		r->rip = cs.abort;
	}
	return put_user((u64){0}, t->rseq + AT_CS);
}

void rseq_leave(struct regs *r)
{
	struct thread *t = current;

	if (t->rseq && leave_sequence(t, r))
		sig_force(t, SIGSEGV, SI_KERNEL, t->rseq);
}

void rseq_return(struct regs *r)
{
	struct thread *t = current;
	u32 ids[2];

	t->rseq_due = false;
	if (!t->rseq)
		return;
	ids[0] = ids[1] = this_cpu()->number;
	/* Writing may sleep; then this vCPU is another one, and we are due again. */
	if (leave_sequence(t, r) || copy_out(t->rseq, ids, sizeof(ids)))
		sig_force(t, SIGSEGV, SI_KERNEL, t->rseq);
}

static s64 unregister(struct thread *t, u64 addr, u32 len, u32 sig)
{
	u32 ids[2] = {0, CPU_ID_NONE};

	if (t->rseq != addr || !t->rseq || len != RSEQ_SIZE)
		return -EINVAL;
	if (t->rseq_sig != sig)
		return -EPERM;
	if (copy_out(addr, ids, sizeof(ids)))
		return -EFAULT;
	t->rseq = 0;
	return 0;
}

SYSCALL(rseq, "puxx", u64 addr, u32 len, int flags, u32 sig)
{
	struct thread *t = current;

	if (flags & RSEQ_FLAG_UNREGISTER)
		return flags & ~RSEQ_FLAG_UNREGISTER ? -EINVAL : unregister(t, addr, len, sig);
	if (flags)
		return -EINVAL;
	if (t->rseq)
		return t->rseq != addr || len != RSEQ_SIZE ? -EINVAL
		       : t->rseq_sig != sig                ? -EPERM
							   : -EBUSY;
	if (len != RSEQ_SIZE || (addr & (RSEQ_SIZE - 1)))
		return -EINVAL;
	if (!user_range_ok(addr, len))
		return -EFAULT;
	t->rseq = addr;
	t->rseq_sig = sig;
	t->rseq_due = true;
	return 0;
}
