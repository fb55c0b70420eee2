/* SPDX-License-Identifier: ISC */
/* Internet sockets: data between the rings and the program. inet.c has the model. */
#include "cells/linux/net/inet.h"
#include "cells/linux/inc/sys.h"

/* ---- Streams ---- */
int inet_take_error(struct isock *i)
{
	int e = i->s.error;

	if (e) {
		i->s.error = 0;
		return e;
	}
	return pvs_error(pvs, i->id);
}

static int send_state(struct isock *i)
{
	u32 st = state_of(i);
	int e = inet_take_error(i);

	if (e)
		return -e;
	if (st & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED))
		return -EPIPE;
	return st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING) ? 0 : -EPIPE;
}

/*
 * The transport is told once for all that a call has put into the ring, and while more is to
 * follow (TCP_CORK, MSG_MORE, a sendfile under way) only every TELL_BYTES: each telling is a
 * switch to its cell and back. What nobody adds to within HOLD_NS is told then.
 */
#define TELL_BYTES 65536u
#define HOLD_NS    10000000ull
#define WANT       (PVS_EV_IN | PVS_EV_PRI | PVS_EV_RDHUP)

/*
 * An answer goes out before this cell goes on: who asked waits for it, and most often there is
 * nothing left to do here but to look once more and sleep. Not while there are other requests:
 * they are answered together, with one switch to the transport cell.
 */
#define ANSWER_MAX 16384u

bool inet_yield;
static u32 inet_unread;

void inet_unread_add(struct isock *i)
{
	if (i->unread || i->listening || !(pvs_ready_events(pvs, i->id) & PVS_EV_IN))
		return;
	i->unread = true;
	inet_unread++;
}

void inet_unread_settle(struct isock *i, bool gone)
{
	i->heard = true;
	if (!i->unread || (!gone && (pvs_ready_events(pvs, i->id) & PVS_EV_IN)))
		return;
	i->unread = false;
	inet_unread--;
}

static void answer_begin(struct isock *i, u64 bytes)
{
	inet_yield = i->heard && !inet_unread && bytes <= ANSWER_MAX;
	i->heard = false;
}

void inet_tell(struct isock *i, bool more)
{
	timer_cancel(&i->hold);
	answer_begin(i, i->untold);
	i->untold = 0;
	i->told_more = more;
	pvs_send_kick(pvs, i->id, more);
	inet_yield = false;
}

static void hold_over(struct ktimer *t)
{
	inet_tell(t->arg, true);
}

static void tell_or_hold(struct isock *i, bool more)
{
	if (!i->untold)
		return;
	if (!more || i->untold >= TELL_BYTES) {
		inet_tell(i, more);
	} else if (!i->hold.link.next) {
		i->hold.fn = hold_over;
		i->hold.arg = i;
		timer_set(&i->hold, clock_now() + HOLD_NS);
	}
}

void inet_push(struct sock *s)
{
	if (s->type == SOCK_STREAM_K)
		tell_or_hold(is(s), is(s)->cork);
}

void inet_want_out(struct isock *i, bool on)
{
	i->wants_out = on;
	pvs_want(pvs, i->id, on ? WANT | PVS_EV_OUT : WANT);
}

/* Nobody needs to hear of room while there is plenty; who waits for it looks once more. */
static void room_settle(struct isock *i)
{
	if (!i->wants_out || !(pvs_ready_events(pvs, i->id) & PVS_EV_OUT))
		return;
	inet_want_out(i, false);
	wake_events(&i->s.wait, POLLOUT | POLLWRNORM);
}

static int send_oob(struct isock *i, struct msg *m)
{
	u8 b;

	if (m->u->left != 1)
		return -EINVAL;
	if (uio_in(m->u, &b, 1))
		return -EFAULT;
	return pvs_send_oob(pvs, i->id, &b, 1);
}

/* From the program into the ring: as much as fits in one piece; 0: nothing now. */
static ssize ring_put(struct isock *i, struct msg *m)
{
	void *p = NULL;
	ssize n;

	klock_take(&i->sending);
	ring_settle(i);
	n = send_state(i);
	if (!n && !(state_of(i) & PVS_ST_CONNECTING))
		n = (ssize)MIN((u64)pvs_send_space(pvs, i->id, &p), m->u->left);
	if (n > 0) {
		i->copying++;
		if (uio_in(m->u, p, (u64)n)) {
			n = -EFAULT;
		} else {
			pvs_send_put(pvs, i->id, (u32)n);
			i->untold += (u32)n;
		}
		i->copying--;
	}
	klock_drop(&i->sending);
	return n;
}

static ssize stream_fill(struct isock *i, struct msg *m)
{
	u64 deadline = sock_deadline(i->s.sndtimeo);
	ssize done = 0, r;
	bool grown = false;

	while (m->u->left) {
		r = ring_put(i, m);
		if (r < 0)
			return done ? done : r;
		done += r;
		if (r)
			continue;
		/* Full: a segment that waits for more would wait for ever. */
		if (i->untold || i->told_more)
			inet_tell(i, false);
		if (!grown && (state_of(i) & PVS_ST_CONNECTED)) {
			grown = true;
			ring_grow(i, true);
			continue;
		}
		if (!i->wants_out) {
			inet_want_out(i, true);
			continue;
		}
		r = sock_wait(&i->s, m, deadline);
		if (r)
			return done ? done : r;
	}
	return done;
}

static ssize stream_send(struct isock *i, struct msg *m)
{
	ssize r;

	if (m->flags & MSG_OOB_K)
		return send_oob(i, m);
	r = stream_fill(i, m);
	tell_or_hold(i, i->cork || (m->flags & MSG_MORE_K));
	room_settle(i);
	return r;
}

/* From the ring to the program: what lies there in one piece; 0: nothing. *full: it was. */
static ssize ring_take(struct isock *i, struct msg *m, bool *full)
{
	const void *p;
	ssize n;

	klock_take(&i->receiving);
	ring_settle(i);
	urgent_skip(i);
	n = (ssize)MIN((u64)pvs_recv_data(pvs, i->id, &p), m->u->left);
	n = urgent_limit(i, (u32)n);
	i->copying++;
	if (n && !(m->flags & MSG_TRUNC_K) && uio_out(m->u, p, (u64)n))
		n = -EFAULT;
	i->copying--;
	if (n > 0 && !(m->flags & MSG_PEEK_K)) {
		*full |= ring_nearly_full(i);
		pvs_recv_take(pvs, i->id, (u32)n);
		inet_unread_settle(i, false);
		if (m->flags & MSG_TRUNC_K)
			m->u->left -= (u64)n;
	}
	klock_drop(&i->receiving);
	return n;
}

/*
 * If the transport asked for it, it hears that there is room, and may use it at once: most often
 * more data is waiting for that.
 */
static void tell_read(struct isock *i)
{
	inet_yield = !inet_unread;
	pvs_recv_kick(pvs, i->id);
	inet_yield = false;
}

static ssize stream_drain(struct isock *i, struct msg *m)
{
	u64 deadline = sock_deadline(i->s.rcvtimeo);
	ssize done = 0;
	bool full = false;
	int r;

	if (m->flags & MSG_ERRQUEUE_K)
		return -EAGAIN; /* a stream has none */
	if (m->flags & MSG_OOB_K)
		return urgent_recv(i, m);
	while (m->u->left) {
		const void *p;
		ssize n = ring_take(i, m, &full);
		u32 st;

		if (n < 0)
			return done ? done : n;
		if (n) {
			done += n;
			if ((m->flags & MSG_PEEK_K) || urgent_stops(i))
				break;
			continue;
		}
		if (full) {
			full = false;
			ring_grow(i, false);
			continue;
		}
		if (done && (!(m->flags & MSG_WAITALL_K) || (m->flags & MSG_PEEK_K)))
			break;
		st = state_of(i);
		r = inet_take_error(i);
		if (r)
			return done ? done : -r;
		if (i->shut_rd || (st & (PVS_ST_RX_EOF | PVS_ST_CLOSED))) {
			/* Data may have come between the two looks. */
			if (pvs_recv_data(pvs, i->id, &p) && !i->shut_rd)
				continue;
			return done;
		}
		if (!(st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING)))
			return -ENOTCONN;
		if (done)
			tell_read(i);
		r = sock_wait(&i->s, m, deadline);
		if (r)
			return done ? done : r;
	}
	if (full)
		ring_grow(i, false);
	return done;
}

static ssize stream_recv(struct isock *i, struct msg *m)
{
	ssize n = stream_drain(i, m);

	if (n > 0)
		tell_read(i);
	return n;
}

/* ---- Datagrams ---- */
/* What the caller says of the packet besides where it goes; what can be judged at once. */
static int dgram_told(const struct isock *i, const struct msg *m, u32 n, struct pvs_dgram *d)
{
	if (m->have_pktinfo) {
		memcpy(d->local, m->local, 16);
		d->ifindex = m->ifindex;
		d->flags |= PVS_DG_LOCAL | (m->ifindex ? PVS_DG_IF : 0);
	}
	if (m->have_ttl) {
		d->ttl = m->ttl;
		d->flags |= PVS_DG_TTL;
	}
	if (m->have_tos) {
		d->tos = m->tos;
		d->flags |= PVS_DG_TOS;
	}
	if (i->s.type == SOCK_RAW_K && i->hdrincl && i->s.family == AF_INET_K && n < 20)
		return -EINVAL;
	return i->s.type == SOCK_RAW_K && i->s.protocol == IPPROTO_ICMP6_K && n < 4 ? -EINVAL
										    : 0;
}

/*
 * Whether a datagram can leave is known when the transport looks at it, and the caller should
 * hear of it. That costs a command, so it is done once for each place that is sent to. A refusal
 * that came back meanwhile is not of this call.
 */
static int dgram_judged(struct isock *i, const struct pvs_dgram *d)
{
	struct pvs_addr own;
	int e;

	if (!(d->flags & PVS_DG_ADDR) || !memcmp(&d->peer, &i->sent_to, sizeof(d->peer)))
		return 0;
	CMD(pvs_name(pvs, i->id, false, &own));
	e = pvs->slot[i->id].error == ECONNREFUSED ? 0 : pvs_error(pvs, i->id);
	if (!e)
		i->sent_to = d->peer;
	return -e;
}

static ssize dgram_send(struct isock *i, struct msg *m)
{
	u64 deadline = sock_deadline(i->s.sndtimeo);
	u32 n = (u32)m->u->left;
	struct pvs_dgram d = {0};
	u8 *buf;
	int r = 0;

	if (m->flags & MSG_OOB_K)
		return -EOPNOTSUPP;

	if (m->u->left > 65535)
		return -EMSGSIZE;
	if (i->shut_wr && i->s.type == SOCK_DGRAM_K)
		return -EPIPE;
	if (m->name_len) {
		r = inet_addr_parse(&i->s, m->name, m->name_len, &d.peer);
		if (r)
			return r;
		if (i->s.type == SOCK_DGRAM_K && i->s.protocol == IPPROTO_UDP_K && !d.peer.port)
			return -EINVAL;
		d.flags |= PVS_DG_ADDR;
	} else if (!i->connected) {
		return i->s.family == AF_PACKET_K ? -ENXIO : -EDESTADDRREQ;
	}
	r = dgram_told(i, m, n, &d);
	if (r)
		return r;
	buf = kalloc(n ? n : 1);
	if (!buf)
		return -ENOMEM;
	r = uio_in(m->u, buf, n);
	while (!r) {
		answer_begin(i, n);
		r = pvs_sendto(pvs, i->id, &d, buf, n);
		inet_yield = false;
		if (r != -EAGAIN)
			break;
		r = sock_wait(&i->s, m, deadline);
	}
	kfree(buf);
	if (r >= 0) {
		int e = dgram_judged(i, &d);

		return e ? e : r;
	}
	return r;
}

static ssize dgram_fetch(struct isock *i, struct msg *m, u8 **out)
{
	u64 deadline = sock_deadline(i->s.rcvtimeo);
	struct pvs_dgram *d;
	int len, r;

	*out = NULL;
	while (filter_sift(i), !i->peeked && (len = pvs_next_len(pvs, i->id)) < 0) {
		if (len != -EAGAIN)
			return len;
		if (i->shut_rd && !(m->flags & MSG_DONTWAIT_K))
			return 0;
		r = sock_wait(&i->s, m, deadline);
		if (r)
			return r;
	}
	if (i->peeked) { /* it passed the filter */
		*out = i->peeked;
		return (ssize)((struct pvs_dgram *)*out)->len;
	}
	d = kalloc(sizeof(*d) + (u32)len);
	if (!d)
		return -ENOMEM;
	r = pvs_recvfrom(pvs, i->id, d, d + 1, (u32)len);
	if (r < 0) {
		kfree(d);
		return r;
	}
	inet_unread_settle(i, false);
	/* What the two looks saw may differ if the transport cell is hostile: what was copied
	 * counts. */
	d->len = MIN(d->len, (u32)r);
	*out = (u8 *)d;
	return r;
}

static bool addr_mapped(const struct pvs_addr *a)
{
	static const u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

	return a->family == AF_INET6_K && !memcmp(a->addr, mapped, 12);
}

static void dgram_info(struct isock *i, const struct pvs_dgram *d, struct msg *m)
{
	u8 form = i->s.family == AF_INET_K || addr_mapped(&d->peer) ? MSG_IP4 : MSG_IP6;

	/* IPV6_PKTINFO comes with either, in its own form. */
	m->have_pktinfo = i->pktinfo & (form | MSG_IP6);
	memcpy(m->local, d->local, 16);
	m->ifindex = d->ifindex;
	m->have_ttl = i->recvttl & form;
	m->ttl = d->ttl;
	m->have_tos = i->recvtos & form;
	m->tos = d->tos;
	m->time = wall_at(MIN(d->time, clock_now()));
	m->have_time = i->s.timestamp;
	if (!m->have_time)
		i->stamp = m->time;
}

/* ---- Errors of datagrams: MSG_ERRQUEUE ---- */

struct extended_err { /* struct sock_extended_err of linux/errqueue.h */
	u32 err;
	u8 origin, type, code, pad;
	u32 info, data;
};
_Static_assert(sizeof(struct extended_err) == 16, "as programs have it");

enum {
	ORIGIN_LOCAL = 1,
	ORIGIN_ICMP,
	ORIGIN_ICMP6
};
#define FAILED_MAX 2048u /* what routers quote is less */

static void error_info(struct isock *i, const struct pvs_dgram *d, struct msg *m)
{
	static const u8 none[16];
	struct pvs_addr by = {.family = (u16)i->s.family};
	struct extended_err e = {
	    .err = d->ttl, .type = (u8)(d->flags >> 24), .code = (u8)(d->flags >> 16)};

	e.info = d->ttl == EMSGSIZE ? d->gso_size : 0;
	memcpy(by.addr, d->local, 16);
	if (!memcmp(d->local, none, 16)) {
		e.origin = ORIGIN_LOCAL;
		by.family = 0;
	} else if (i->s.family == AF_INET_K || addr_mapped(&d->peer)) {
		e.origin = ORIGIN_ICMP;
	} else {
		e.origin = ORIGIN_ICMP6;
	}
	memcpy(m->error, &e, sizeof(e));
	m->error_len = sizeof(e) + (i->s.family == AF_INET_K ? 16 : 28);
	if (by.family)
		inet_addr_format(&by, m->error + sizeof(e));
}

static ssize dgram_recv_error(struct isock *i, struct msg *m)
{
	struct pvs_dgram *d = kalloc(sizeof(*d) + FAILED_MAX);
	u32 n;
	int r;

	if (!d)
		return -ENOMEM;
	r = pvs_recverr(pvs, i->id, d, d + 1, FAILED_MAX);
	if (r >= 0) {
		n = (u32)MIN((u64)r, m->u->left);
		m->name_len = inet_addr_format(&d->peer, m->name);
		m->out_flags |= MSG_ERRQUEUE_K | (n < d->len ? MSG_TRUNC_K : 0);
		dgram_info(i, d, m);
		m->have_ttl = m->have_tos = false;
		error_info(i, d, m);
		r = uio_out(m->u, d + 1, n) ? -EFAULT : (int)n;
	}
	kfree(d);
	return r;
}

static ssize dgram_recv(struct isock *i, struct msg *m)
{
	struct pvs_dgram *d;
	u8 *buf = i->peeked;
	u32 n, len;
	ssize r;

	if (m->flags & MSG_ERRQUEUE_K)
		return dgram_recv_error(i, m);

	if (!buf) {
		r = dgram_fetch(i, m, &buf);
		if (!buf)
			return r;
	}
	i->peeked = NULL;
	d = (struct pvs_dgram *)buf;
	len = d->len;
	n = (u32)MIN((u64)len, m->u->left);
	r = uio_out(m->u, buf + sizeof(*d), n) ? -EFAULT : (ssize)n;
	m->name_len = inet_addr_format(&d->peer, m->name);
	dgram_info(i, d, m);
	if (n < len || (d->flags & PVS_DG_TRUNC)) {
		m->out_flags |= MSG_TRUNC_K;
		if ((m->flags & MSG_TRUNC_K) && r >= 0)
			r = len;
	}
	if ((m->flags & MSG_PEEK_K) && !i->peeked)
		i->peeked = buf;
	else
		kfree(buf);
	return r;
}

ssize inet_send(struct sock *s, struct msg *m)
{
	int r;

	if (s->type != SOCK_STREAM_K)
		return dgram_send(is(s), m);
	/* Without a cookie for the peer, and there never is one: connect, then send. */
	if ((m->flags & MSG_FASTOPEN_K) && m->name_len && !is(s)->connected) {
		r = s->ops->connect(s, m->name, m->name_len, m->flags & MSG_DONTWAIT_K);
		if (r)
			return r;
	}
	return stream_send(is(s), m);
}
ssize inet_recv(struct sock *s, struct msg *m)
{
	return s->type == SOCK_STREAM_K ? stream_recv(is(s), m) : dgram_recv(is(s), m);
}
