/* SPDX-License-Identifier: ISC */
/* Checking and running classic BPF programs (seccomp(2), bpf's original paper for the rest). */
#include "cells/linux/inc/bpf.h"

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
