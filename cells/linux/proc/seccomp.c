/* SPDX-License-Identifier: ISC */
/*
 * seccomp: classic BPF over struct seccomp_data (seccomp(2)). Programs are checked when they
 * are installed (jumps forward and inside, loads aligned and inside, every path ends
 * in a return), so running one can't go wrong. Filters chain; the strictest answer wins.
 */
#include "cells/linux/inc/sys.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
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
int bpf_check(const struct sock_filter *f, u32 len);
u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d);

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

/* 0 if the program is sound for seccomp. */
int bpf_check(const struct sock_filter *f, u32 len)
{
	if (!len || len > BPF_MAXINSNS)
		return -EINVAL;
	for (u32 i = 0; i < len; i++) {
		u32 k = f[i].k;

		switch (f[i].code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if ((k & 3) || k >= sizeof(struct seccomp_data))
				return -EINVAL;
			break;
		case BPF_LD | BPF_MEM:
		case BPF_LDX | BPF_MEM:
		case BPF_ST:
		case BPF_STX:
			if (k >= BPF_MEMWORDS)
				return -EINVAL;
			break;
		case BPF_ALU | BPF_DIV | BPF_K:
		case BPF_ALU | BPF_MOD | BPF_K:
			if (!k)
				return -EINVAL;
			break;
		case BPF_ALU | BPF_LSH | BPF_K:
		case BPF_ALU | BPF_RSH | BPF_K:
			if (k >= 32)
				return -EINVAL;
			break;
		case BPF_JMP | BPF_JA:
			if (k >= len - i - 1)
				return -EINVAL;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
		case BPF_JMP | BPF_JEQ | BPF_X:
		case BPF_JMP | BPF_JGE | BPF_K:
		case BPF_JMP | BPF_JGE | BPF_X:
		case BPF_JMP | BPF_JGT | BPF_K:
		case BPF_JMP | BPF_JGT | BPF_X:
		case BPF_JMP | BPF_JSET | BPF_K:
		case BPF_JMP | BPF_JSET | BPF_X:
			if (f[i].jt >= len - i - 1 || f[i].jf >= len - i - 1)
				return -EINVAL;
			break;
		case BPF_LD | BPF_W | BPF_LEN:
		case BPF_LDX | BPF_W | BPF_LEN:
		case BPF_LD | BPF_IMM:
		case BPF_LDX | BPF_IMM:
		case BPF_MISC | BPF_TAX:
		case BPF_MISC | BPF_TXA:
		case BPF_RET | BPF_K:
		case BPF_RET | BPF_A:
		case BPF_ALU | BPF_NEG:
			break;
		default:
			if (BPF_CLASS(f[i].code) != BPF_ALU || (f[i].code & 0xff00) ||
			    BPF_OP(f[i].code) > BPF_XOR || BPF_OP(f[i].code) == BPF_NEG)
				return -EINVAL;
		}
	}
	return BPF_CLASS(f[len - 1].code) == BPF_RET ? 0 : -EINVAL;
}

static u32 alu(u32 op, u32 a, u32 b, bool *stop)
{
	switch (op) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
	case BPF_MOD:
		if (!b) {
			*stop = true;
			return 0;
		}
		return op == BPF_DIV ? a / b : a % b;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return b < 32 ? a << b : 0;
	case BPF_RSH:
		return b < 32 ? a >> b : 0;
	}
	return 0;
}

static bool jump(u32 op, u32 a, u32 b)
{
	return op == BPF_JEQ   ? a == b
	       : op == BPF_JGT ? a > b
	       : op == BPF_JGE ? a >= b
			       : (a & b) != 0;
}

u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d)
{
	u32 a = 0, x = 0, mem[BPF_MEMWORDS] = {0};
	bool stop = false;

	for (;; f++) {
		u32 src = BPF_SRC(f->code) == BPF_X ? x : f->k;

		switch (BPF_CLASS(f->code)) {
		case BPF_LD:
			if (BPF_MODE(f->code) == BPF_ABS)
				memcpy(&a, (const u8 *)d + f->k, 4);
			else
				a = BPF_MODE(f->code) == BPF_MEM   ? mem[f->k]
				    : BPF_MODE(f->code) == BPF_LEN ? sizeof(*d)
								   : f->k;
			break;
		case BPF_LDX:
			x = BPF_MODE(f->code) == BPF_MEM   ? mem[f->k]
			    : BPF_MODE(f->code) == BPF_LEN ? sizeof(*d)
							   : f->k;
			break;
		case BPF_ST:
			mem[f->k] = a;
			break;
		case BPF_STX:
			mem[f->k] = x;
			break;
		case BPF_ALU:
			a = BPF_OP(f->code) == BPF_NEG ? 0 - a
						       : alu(BPF_OP(f->code), a, src, &stop);
			if (stop)
				return 0;
			break;
		case BPF_JMP:
			f += BPF_OP(f->code) == BPF_JA       ? f->k
			     : jump(BPF_OP(f->code), a, src) ? f->jt
							     : f->jf;
			break;
		case BPF_RET:
			return BPF_RVAL(f->code) == BPF_A ? a : f->k;
		default:
			if (BPF_MISCOP(f->code) == BPF_TAX)
				x = a;
			else
				a = x;
		}
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
	if (!t->no_new_privs && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	if (get_user(prog, uprog))
		return -EFAULT;
	if (!prog.len || prog.len > BPF_MAXINSNS)
		return -EINVAL;
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
