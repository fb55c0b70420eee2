/* SPDX-License-Identifier: ISC */
/*
 * seccomp: classic BPF over struct seccomp_data (seccomp(2)). Programs are checked when they
 * are installed (jumps forward and inside, loads aligned and inside, every path ends
 * in a return), so running one can't go wrong. Filters chain; the strictest answer wins.
 */
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/bpf.h"
#include <linux/capability.h>

struct seccomp_filter {
	u32 refs, len;
	struct seccomp_filter *prev;
	bool log;
	struct sock_filter insn[];
};

void seccomp_get(struct seccomp_filter *f);
void seccomp_put(struct seccomp_filter *f);
s64 seccomp_set(u32 op, u32 flags, u64 uprog);
s64 seccomp_mode(void);

void seccomp_get(struct seccomp_filter *f)
{
	f->refs++;
}

void seccomp_put(struct seccomp_filter *f)
{
	while (f && --f->refs == 0) {
		struct seccomp_filter *prev = f->prev;

		kfree(f);
		f = prev;
	}
}

static s64 strict(struct regs *r)
{
	u64 nr = r->orig_rax;

	if (nr == __NR_read || nr == __NR_write || nr == __NR_exit || nr == __NR_rt_sigreturn)
		return 0;
	proc_exit(SIGKILL);
}

s64 seccomp_check(struct regs *r)
{
	struct thread *t = current;
	struct seccomp_data d = {.nr = (int)r->orig_rax,
				 .arch = 0xc000003e,
				 .instruction_pointer = r->rip,
				 .args = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9}};
	u32 best = SECCOMP_RET_ALLOW, action;
	siginfo_t i;

	if (t->seccomp_mode == 1)
		return strict(r);
	for (struct seccomp_filter *f = t->seccomp; f; f = f->prev) {
		u32 v = bpf_run(f->insn, &d);

		if ((s32)(v & SECCOMP_RET_ACTION_FULL) < (s32)(best & SECCOMP_RET_ACTION_FULL))
			best = v;
	}
	action = best & SECCOMP_RET_ACTION_FULL;
	switch (action) {
	case SECCOMP_RET_ALLOW:
	case SECCOMP_RET_LOG:
		return 0;
	case SECCOMP_RET_ERRNO:
		r->rax = (u64) - (s64)MIN(best & 0xffff, 4095u);
		return 1;
	case SECCOMP_RET_TRAP:
		memset(&i, 0, sizeof(i));
		i.si_signo = SIGSYS;
		i.si_code = 1; /* SYS_SECCOMP */
		i.si_errno = (int)(best & 0xffff);
		i._sifields._sigsys._call_addr = (void *)r->rip;
		i._sifields._sigsys._syscall = d.nr;
		i._sifields._sigsys._arch = d.arch;
		r->rax = r->orig_rax;
		r->orig_rax = (u64)-1;
		t->blocked &= ~SIGBIT(SIGSYS);
		if (t->sighand->action[SIGSYS - 1].handler == 1)
			t->sighand->action[SIGSYS - 1].handler = 0;
		sig_send_thread(t, SIGSYS, &i);
		return 1;
	case SECCOMP_RET_TRACE:
	case SECCOMP_RET_USER_NOTIF:
		r->rax = (u64)-ENOSYS;
		return 1;
	case SECCOMP_RET_KILL_THREAD:
		thread_exit(SIGSYS);
	}
	proc_exit(SIGSYS);
}

static s64 filter_add(u32 flags, u64 uprog)
{
	struct {
		u16 len;
		u8 pad[6];
		u64 insn;
	} prog;
	struct thread *t = current, *o;
	struct seccomp_filter *f;
	int r;

	if (flags & ~7u)
		return -EINVAL;
	if (get_user(prog, uprog))
		return -EFAULT;
	if (!prog.len || prog.len > BPF_MAXINSNS)
		return -EINVAL;
	if (!t->no_new_privs && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	f = kalloc(sizeof(*f) + prog.len * sizeof(f->insn[0]));
	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->len = prog.len;
	r = copy_in(f->insn, prog.insn, prog.len * sizeof(f->insn[0]));
	if (!r)
		r = bpf_check(f->insn, f->len);
	if (r) {
		kfree(f);
		return r;
	}
	f->prev = t->seccomp;
	t->seccomp = f;
	t->seccomp_mode = 2;
	if (flags & SECCOMP_FILTER_FLAG_TSYNC)
		list_each(o, &t->proc->threads, proc_link)
		{
			if (o == t)
				continue;
			seccomp_get(f);
			if (o->seccomp)
				seccomp_put(o->seccomp);
			o->seccomp = f;
			o->seccomp_mode = 2;
			o->no_new_privs |= t->no_new_privs;
		}
	return 0;
}

s64 seccomp_set(u32 op, u32 flags, u64 uprog)
{
	u32 action;

	switch (op) {
	case SECCOMP_SET_MODE_STRICT:
		if (flags || uprog || current->seccomp_mode == 2)
			return -EINVAL;
		current->seccomp_mode = 1;
		return 0;
	case SECCOMP_SET_MODE_FILTER:
		return current->seccomp_mode == 1 ? -EINVAL : filter_add(flags, uprog);
	case SECCOMP_GET_ACTION_AVAIL:
		if (get_user(action, uprog))
			return -EFAULT;
		return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_ERRNO ||
			       action == SECCOMP_RET_TRAP ||
			       action == SECCOMP_RET_KILL_THREAD ||
			       action == SECCOMP_RET_KILL_PROCESS || action == SECCOMP_RET_LOG
			   ? 0
			   : -EOPNOTSUPP;
	}
	return -EINVAL;
}

s64 seccomp_mode(void)
{
	return current->seccomp_mode;
}

SYSCALL(seccomp, "xxp", u32 op, u32 flags, u64 arg)
{
	return seccomp_set(op, flags, arg);
}
