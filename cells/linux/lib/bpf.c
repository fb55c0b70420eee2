/* SPDX-License-Identifier: ISC */
/*
 * Checking and running classic BPF programs (seccomp(2), bpf's original paper for the rest).
 * What they are run on is either a call (struct seccomp_data, words of this machine) or a
 * packet (big-endian, any place and size, and some things about it at places that no packet
 * has).
 */
#include "cells/linux/inc/bpf.h"

/* Loads of a packet; whether the place is in it shows when it is run. */
static bool packet_load_ok(u16 code)
{
	u32 size = BPF_SIZE(code), mode = BPF_MODE(code);

	if (code == (BPF_LDX | BPF_B | BPF_MSH))
		return true;
	return BPF_CLASS(code) == BPF_LD && (size == BPF_W || size == BPF_H || size == BPF_B) &&
	       (mode == BPF_ABS || mode == BPF_IND) && !(code & 0xff00);
}

static int check(const struct sock_filter *f, u32 len, bool packet)
{
	if (!len || len > BPF_MAXINSNS)
		return -EINVAL;
	for (u32 i = 0; i < len; i++) {
		u32 k = f[i].k;

		if (packet && packet_load_ok(f[i].code))
			continue;
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

int bpf_check(const struct sock_filter *f, u32 len)
{
	return check(f, len, false);
}

int bpf_check_packet(const struct sock_filter *f, u32 len)
{
	return check(f, len, true);
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

/* What is known about a packet beside its bytes, at SKF_AD_OFF. */
static u32 ancillary(const struct bpf_packet *p, u32 what, bool *stop)
{
	switch (what) {
	case SKF_AD_PROTOCOL:
		return p->protocol;
	case SKF_AD_PKTTYPE:
		return p->type;
	case SKF_AD_IFINDEX:
		return p->ifindex;
	case SKF_AD_HATYPE:
		return p->hatype;
	case SKF_AD_PAY_OFFSET:
		return p->network;
	case SKF_AD_MARK:
	case SKF_AD_QUEUE:
	case SKF_AD_RXHASH:
	case SKF_AD_CPU:
	case SKF_AD_VLAN_TAG:
	case SKF_AD_VLAN_TAG_PRESENT:
		return 0;
	}
	*stop = true;
	return 0;
}

static u32 packet_load(const struct bpf_packet *p, u32 size, u32 at, bool *stop)
{
	u32 n = size == BPF_W ? 4 : size == BPF_H ? 2 : 1, v = 0;

	if (at >= (u32)SKF_AD_OFF)
		return ancillary(p, at - (u32)SKF_AD_OFF, stop);
	if (at >= (u32)SKF_NET_OFF)
		at = at - (u32)SKF_NET_OFF + p->network;
	else if (at >= (u32)SKF_LL_OFF)
		at = p->network ? at - (u32)SKF_LL_OFF : p->len; /* no such header here */
	if (at > p->len || n > p->len - at) {
		*stop = true;
		return 0;
	}
	while (n--)
		v = v << 8 | p->data[at++];
	return v;
}

static u32 load(const struct sock_filter *f, u32 x, const struct seccomp_data *d,
		const struct bpf_packet *p, bool *stop)
{
	u32 v;

	switch (BPF_MODE(f->code)) {
	case BPF_ABS:
		if (p)
			return packet_load(p, BPF_SIZE(f->code), f->k, stop);
		/* d or p is there: NOLINTNEXTLINE(clang-analyzer-unix.cstring.NullArg) */
		memcpy(&v, (const u8 *)d + f->k, 4);
		return v;
	case BPF_IND:
		return packet_load(p, BPF_SIZE(f->code), x + f->k, stop);
	case BPF_MSH:
		return (packet_load(p, BPF_B, f->k, stop) & 15) * 4;
	case BPF_LEN:
		return p ? p->len : sizeof(*d);
	}
	return f->k;
}

static u32 run(const struct sock_filter *f, const struct seccomp_data *d,
	       const struct bpf_packet *p)
{
	u32 a = 0, x = 0, mem[BPF_MEMWORDS] = {0};
	bool stop = false;

	for (;; f++) {
		u32 src = BPF_SRC(f->code) == BPF_X ? x : f->k;

		switch (BPF_CLASS(f->code)) {
		case BPF_LD:
			a = BPF_MODE(f->code) == BPF_MEM ? mem[f->k] : load(f, x, d, p, &stop);
			if (stop)
				return 0;
			break;
		case BPF_LDX:
			x = BPF_MODE(f->code) == BPF_MEM ? mem[f->k] : load(f, x, d, p, &stop);
			if (stop)
				return 0;
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

u32 bpf_run(const struct sock_filter *f, const struct seccomp_data *d)
{
	return run(f, d, NULL);
}

u32 bpf_run_packet(const struct sock_filter *f, const struct bpf_packet *p)
{
	return run(f, NULL, p);
}
