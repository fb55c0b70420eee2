/* SPDX-License-Identifier: ISC */
/*
 * Urgent data of a stream (tcp(7), RFC 6093): one byte, whose place in the ring the transport
 * tells. Without SO_OOBINLINE it is taken out of the stream when reading comes to it, and can
 * be had with MSG_OOB once; with it, it is data like other. Either way a read stops before it.
 */
#include "cells/linux/net/inet.h"

static u32 rx_cons(const struct isock *i)
{
	return pvs->sock[i->id].rx_cons;
}

static u32 rx_have(const struct isock *i)
{
	return __atomic_load_n(&pvs->slot[i->id].rx_prod, __ATOMIC_ACQUIRE) - rx_cons(i);
}

bool urgent_news(struct isock *i)
{
	u32 n = __atomic_load_n(&pvs->slot[i->id].rx_urg_count, __ATOMIC_ACQUIRE);

	if (i->s.type != SOCK_STREAM_K || n == pvs->sock[i->id].urg_seen)
		return false;
	pvs->sock[i->id].urg_seen = n;
	i->urgent_at = __atomic_load_n(&pvs->slot[i->id].rx_urg, __ATOMIC_RELAXED) - 1;
	i->urgent_ahead = i->urgent_at - rx_cons(i) < 1u << 30;
	i->urgent_state = i->urgent_ahead ? URGENT_NEW : URGENT_NONE;
	return i->urgent_ahead;
}

/* The byte itself, if it has come; it stays where it is. */
static bool look(const struct isock *i, u8 *b)
{
	const struct pvs_rings *r = &pvs->sock[i->id].rings;

	if (i->urgent_at - rx_cons(i) >= MIN(rx_have(i), 1u << r->rx_order))
		return false;
	*b = pvs->base[r->rx_off + (i->urgent_at & ((1u << r->rx_order) - 1))];
	return true;
}

u32 urgent_limit(struct isock *i, u32 n)
{
	u32 before;

	urgent_news(i);
	if (!i->urgent_ahead)
		return n;
	before = i->urgent_at - rx_cons(i);
	if (before)
		return MIN(n, before);
	if (i->s.oobinline) {
		i->urgent_ahead = false;
		i->urgent_state = URGENT_NONE;
	}
	return n;
}

bool urgent_skip(struct isock *i)
{
	u8 b;

	if (!i->urgent_ahead || i->urgent_at != rx_cons(i) || i->s.oobinline || !look(i, &b))
		return false;
	if (i->urgent_state == URGENT_NEW) {
		i->urgent_byte = b;
		i->urgent_state = URGENT_KEPT;
	}
	i->urgent_ahead = false;
	pvs_recv_done(pvs, i->id, 1);
	return true;
}

bool urgent_stops(const struct isock *i)
{
	return i->urgent_ahead && i->urgent_at == rx_cons(i);
}

bool urgent_waits(struct isock *i)
{
	urgent_news(i);
	return i->urgent_state == URGENT_NEW || i->urgent_state == URGENT_KEPT;
}

ssize urgent_recv(struct isock *i, struct msg *m)
{
	u8 b = i->urgent_byte;

	if (i->s.oobinline || !urgent_waits(i))
		return -EINVAL;
	if (i->urgent_state == URGENT_NEW && !look(i, &b))
		return -EAGAIN;
	m->out_flags |= MSG_OOB_K;
	if (!m->u->left) {
		m->out_flags |= MSG_TRUNC_K;
		return 0;
	}
	if (uio_out(m->u, &b, 1))
		return -EFAULT;
	if (!(m->flags & MSG_PEEK_K))
		i->urgent_state = URGENT_NONE;
	return 1;
}
