/* SPDX-License-Identifier: ISC */
/*
 * Filters of packet and raw sockets (SO_ATTACH_FILTER). The transport knows nothing of them: a
 * packet is looked at when poll or a read comes to it, and one that does not pass is gone. What
 * passes waits as `peeked`. Others' filters would see headers that do not come here: they are
 * refused.
 */
#include "cells/linux/inc/bpf.h"
#include "cells/linux/net/inet.h"
#include <asm/socket.h>

struct packet_filter {
	u32 len;
	bool locked;
	struct sock_filter insn[];
};
struct fprog_k {
	u16 len;
	u8 pad[6];
	u64 insn;
};

static u32 verdict(const struct isock *i, const struct pvs_dgram *d)
{
	bool packet = i->s.family == AF_PACKET_K;
	struct bpf_packet p = {
	    .data = (const u8 *)(d + 1), .len = d->len, .ifindex = d->ifindex};

	if (packet) {
		p.network = i->s.type == SOCK_RAW_K ? 14 : 0;
		p.protocol = (u16)(d->peer.port << 8 | d->peer.port >> 8);
		p.ifindex = d->peer.ifindex;
		p.type = d->peer.addr[9];
		p.hatype = d->peer.addr[10];
	} else {
		p.protocol = i->s.family == AF_INET_K ? 0x0800 : 0x86dd;
	}
	return bpf_run_packet(i->filter->insn, &p);
}

void filter_sift(struct isock *i)
{
	while (i->filter && !i->peeked) {
		int len = pvs_next_len(pvs, i->id);
		struct pvs_dgram *d = len < 0 ? NULL : kalloc(sizeof(*d) + (u32)len);
		u32 keep;

		if (!d)
			return;
		len = pvs_recvfrom(pvs, i->id, d, d + 1, (u32)len);
		if (len < 0) {
			kfree(d);
			return;
		}
		d->len = MIN(d->len, (u32)len);
		keep = verdict(i, d);
		d->len = MIN(d->len, keep);
		if (keep)
			i->peeked = (u8 *)d;
		else
			kfree(d);
	}
}

static int attach(struct isock *i, const void *val, u32 len)
{
	struct packet_filter *f;
	struct fprog_k prog;

	if (len != sizeof(prog))
		return -EINVAL;
	memcpy(&prog, val, sizeof(prog));
	if (!prog.len || prog.len > BPF_MAXINSNS)
		return -EINVAL;
	f = kalloc(sizeof(*f) + prog.len * sizeof(f->insn[0]));
	if (!f)
		return -ENOMEM;
	f->len = prog.len;
	if (copy_in(f->insn, prog.insn, prog.len * sizeof(f->insn[0]))) {
		kfree(f);
		return -EFAULT;
	}
	if (bpf_check_packet(f->insn, f->len)) {
		kfree(f);
		return -EINVAL;
	}
	if (i->filter && i->filter->locked) {
		kfree(f);
		return -EPERM;
	}
	kfree(i->filter);
	i->filter = f;
	return 1;
}

int filter_setopt(struct isock *i, int name, const void *val, u32 len)
{
	int v = 0;

	if (i->s.family != AF_PACKET_K && i->s.type != SOCK_RAW_K)
		return -ENOPROTOOPT;
	if (name == SO_ATTACH_FILTER)
		return attach(i, val, len);
	if (!i->filter)
		return -ENOENT;
	memcpy(&v, val, MIN(len, 4u));
	if (name == SO_LOCK_FILTER) {
		if (i->filter->locked && !v)
			return -EPERM;
		i->filter->locked = v != 0;
		return 1;
	}
	if (i->filter->locked)
		return -EPERM;
	kfree(i->filter);
	i->filter = NULL;
	return 1;
}
