/* SPDX-License-Identifier: ISC */
/*
 * The commands of the PV socket protocol. pv.c took the request off the ring: it is in private
 * memory, whole, and nothing in it has been judged. Each command judges all it needs first and
 * changes something afterwards; an error leaves the socket as it was.
 */
#include "pv.h"

/* ---- addresses ---- */

void pv_addr_out(const struct sock *s, const struct ipa *a, uint16_t port, struct pvs_addr *o)
{
	*o = (struct pvs_addr){.family = s->domain, .port = be16(port)};
	if (s->domain == PVS_AF_INET)
		memcpy(o->addr, a->b + 12, 4);
	else
		memcpy(o->addr, a->b, 16);
	/* The unspecified IPv6 address is all zero, not ::ffff:0.0.0.0. */
	if (s->domain == PVS_AF_INET6 && ipa_any(a))
		memset(o->addr, 0, 16);
	if (s->domain == PVS_AF_INET6 && ipa_linklocal(a))
		o->ifindex = s->ifi + 1u;
}

static bool addr_in(struct sock *s, const struct pvs_addr *a, struct ipa *out)
{
	if (a->family != s->domain)
		return false;
	if (a->family == PVS_AF_INET) {
		*out = ipa_from4(0);
		memcpy(&out->w[3], a->addr, 4);
		return true;
	}
	*out = ipa_from6(a->addr);
	if (ipa_linklocal(out) && a->ifindex && a->ifindex <= TP_MAX_IF)
		s->bound_if = (uint8_t)(a->ifindex - 1);
	return true;
}

/* ---- commands ---- */

static struct dring ring_of(const struct pv *pv, uint32_t off, uint8_t order)
{
	return (struct dring){
	    .off = off, .order = order, .space = SPACE_CLIENT, .client = pv->number};
}

static void slot_bind(struct tp_stack *st, struct pv *pv, struct sock *s, uint32_t slot)
{
	struct pvs_slot *p = &pv->slot[slot];

	s->client = pv->number;
	pv_slot_take(st, s, slot);
	p->tx_cons = p->rx_prod = p->state = p->error = p->err_count = 0;
	p->rx_urg = p->rx_urg_count = p->acceptq = p->tx_sent = p->rx_drops = 0;
	__atomic_add_fetch(&p->gen, 1, __ATOMIC_RELEASE);
	s->pub_state = s->pub_tx_cons = 0;
	sock_touch(st, s);
}

static int sock_kind(const struct pvs_req *q, uint8_t *kind, uint8_t *proto)
{
	uint16_t dom = q->u.socket.domain, type = q->u.socket.type;
	uint32_t p = q->u.socket.protocol;
	uint8_t icmp = dom == PVS_AF_INET ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_;

	*kind = SK_FREE;
	*proto = (uint8_t)p;
	if (dom == PVS_AF_PACKET) {
		if (type != PVS_SOCK_RAW && type != PVS_SOCK_DGRAM)
			return -TE_PROTONOSUPPORT;
		*kind = SK_PACKET;
		return 0;
	}
	if (dom != PVS_AF_INET && dom != PVS_AF_INET6)
		return -TE_AFNOSUPPORT;
	if (type == PVS_SOCK_STREAM && (!p || p == IPPROTO_TCP_)) {
		*kind = SK_TCP;
		*proto = IPPROTO_TCP_;
	} else if (type == PVS_SOCK_DGRAM && (!p || p == IPPROTO_UDP_)) {
		*kind = SK_UDP;
		*proto = IPPROTO_UDP_;
	} else if (type == PVS_SOCK_DGRAM && p == icmp) {
		*kind = SK_PING;
	} else if (type == PVS_SOCK_RAW && p && p < 256) {
		*kind = SK_RAW;
	}
	return *kind ? 0 : -TE_PROTONOSUPPORT;
}

/*
 * Of a pod's clients each may always have an even share of half of the table, whatever the
 * others hold; the rest is taken by who comes first.
 */
static bool share_left(const struct tp_stack *st, const struct pv *pv)
{
	uint32_t clients = 0, owed = 0, share;

	for (unsigned i = 0; i < TP_CLIENTS; i++)
		clients += st->pv[i].up;
	share = st->cfg.max_socks / 2 / MAX(clients, 1u);
	if (clients < 2 || pv->nsocks < share)
		return true;
	for (unsigned i = 0; i < TP_CLIENTS; i++) {
		const struct pv *o = &st->pv[i];

		owed += o != pv && o->up && o->nsocks < share ? share - o->nsocks : 0;
	}
	return st->nsocks + owed < st->cfg.max_socks - 1; /* number 0 is nobody's */
}

static int cmd_socket(struct tp_stack *st, struct pv *pv, const struct pvs_req *q)
{
	uint8_t kind, proto;
	struct sock *s;
	int e = sock_kind(q, &kind, &proto);

	if (e)
		return e;
	if (q->u.socket.domain == PVS_AF_INET6 && st->cfg.no_ipv6)
		return -TE_AFNOSUPPORT;
	if (pv->map[q->sock])
		return -TE_EXIST;
	if (!pv_rings_ok(pv, &q->u.socket.rings) ||
	    (kind != SK_TCP && (!q->u.socket.rings.tx_order || !q->u.socket.rings.rx_order)))
		return -TE_INVAL;
	s = share_left(st, pv) ? sock_alloc(st, kind) : NULL;
	if (!s)
		return -TE_NFILE;
	s->domain = (uint8_t)q->u.socket.domain;
	s->type = (uint8_t)q->u.socket.type;
	s->proto = proto;
	if (s->domain == PVS_AF_INET)
		s->laddr = s->raddr = ipa_from4(0);
	if (q->u.socket.rings.tx_order)
		s->tx = ring_of(pv, q->u.socket.rings.tx_off, q->u.socket.rings.tx_order);
	if (q->u.socket.rings.rx_order)
		s->rx = ring_of(pv, q->u.socket.rings.rx_off, q->u.socket.rings.rx_order);
	if (kind == SK_TCP) {
		s->state = TS_CLOSED;
		s->t.cc = (uint8_t)st->cfg.cc;
		s->t.keep_idle = KEEP_IDLE_MS;
		s->t.keep_intvl = KEEP_INTVL_MS;
		s->t.keep_cnt = KEEP_PROBES;
	} else {
		s->d.mcast_loop = s->d.mcast_ttl = 1;
		if (kind == SK_PACKET) {
			s->d.ethertype = be16((uint16_t)q->u.socket.protocol);
			s->d.promisc = 1;
			st->npacket++;
		} else if (kind == SK_RAW || kind == SK_PING) {
			s->d.hdrincl = proto == 255; /* IPPROTO_RAW */
			st->nraw++;
		}
	}
	slot_bind(st, pv, s, q->sock);
	return 0;
}

static int cmd_connect(struct tp_stack *st, struct sock *s, const struct pvs_req *q,
		       struct pvs_rsp *r)
{
	uint16_t port = be16(q->u.addr.port);
	struct ipa a;
	int e;

	if (s->kind == SK_PACKET)
		return -TE_OPNOTSUPP;
	if (s->kind != SK_TCP && q->u.addr.family == PVS_AF_UNSPEC) {
		dgram_disconnect(st, s);
		return 0;
	}
	if (!addr_in(s, &q->u.addr, &a))
		return -TE_AFNOSUPPORT;
	if (s->flags & SF_V6ONLY && ipa_is4(&a))
		return -TE_NETUNREACH;
	if (ipa_any(&a))
		a = ipa_is4(&a) || s->domain == PVS_AF_INET ? ipa_from4(be32(0x7f000001))
							    : (struct ipa){.b = {[15] = 1}};
	e = s->kind == SK_TCP ? tcp_connect(st, s, &a, port) : dgram_connect(st, s, &a, port);
	if (!e || e == -TE_INPROGRESS)
		pv_addr_out(s, &s->laddr, s->lport, &r->u.addr);
	sock_touch(st, s);
	return e;
}

static int cmd_bind(struct tp_stack *st, struct sock *s, const struct pvs_req *q,
		    struct pvs_rsp *r)
{
	struct ipa a;
	int e;

	sock_touch(st, s);
	if (s->kind == SK_PACKET) {
		if (q->u.addr.family != PVS_AF_PACKET || q->u.addr.ifindex > TP_MAX_IF)
			return -TE_INVAL;
		if (q->u.addr.port)
			s->d.ethertype = be16(q->u.addr.port);
		s->bound_if = (uint8_t)q->u.addr.ifindex;
		return 0;
	}
	if (!addr_in(s, &q->u.addr, &a))
		return -TE_AFNOSUPPORT;
	if (s->state == TS_LISTEN || s->flags & SF_CONNECTED)
		return -TE_INVAL;
	if (s->kind == SK_RAW) {
		if (!ipa_any(&a) && !ipa_multicast(&a) && !addr_local(st, &a, 0xff) &&
		    !addr_broadcast(st, &a))
			return -TE_ADDRNOTAVAIL;
		s->laddr = a;
		if (!ipa_any(&a))
			s->flags |= SF_BINDADDR;
		return 0;
	}
	e = sock_bind(st, s, &a, be16(q->u.addr.port));
	if (!e)
		pv_addr_out(s, &s->laddr, s->lport, &r->u.addr);
	return e;
}

static void ring_copy(struct tp_stack *st, const struct dring *from, const struct dring *to,
		      uint32_t idx, uint32_t n)
{
	uint8_t buf[512];

	while (n) {
		uint32_t m = MIN(n, sizeof(buf));

		ring_read(st, from, idx, buf, m);
		ring_write(st, to, idx, buf, m);
		idx += m;
		n -= m;
	}
}

/* Moves the receive side to another ring, with what arrived out of order. */
static int rx_move(struct tp_stack *st, struct sock *s, const struct dring *to)
{
	struct dring from = s->rx;
	uint32_t room, used, size = ring_size(to);

	if (from.space != SPACE_NONE) {
		if (!sock_rx_room(st, s, &room))
			return -TE_PROTO;
		used = s->rx_prod - s->rx_cons;
		if (used > size)
			return -TE_BUSY;
		ring_copy(st, &from, to, s->rx_cons, used);
		for (unsigned i = 0; s->kind == SK_TCP && i < s->t.nooo;) {
			struct seqrange *o = &s->t.ooo[i];
			uint32_t at = tcp_rx_index(s, o->start), n = o->end - o->start;

			if (at - s->rx_cons + n > size) {
				s->t.nooo--;
				memmove(o, o + 1, (s->t.nooo - i) * sizeof(*o));
				continue;
			}
			ring_copy(st, &from, to, at, n);
			i++;
		}
		early_drop(st, &s->rx);
	}
	s->rx = *to;
	return 0;
}

static int tx_move(struct tp_stack *st, struct sock *s, const struct dring *to)
{
	uint32_t avail;

	if (s->tx.space != SPACE_NONE) {
		if (!sock_tx_avail(st, s, &avail))
			return -TE_PROTO;
		if (avail > ring_size(to))
			return -TE_BUSY;
		ring_copy(st, &s->tx, to, s->tx_cons, avail);
	}
	s->tx = *to;
	return 0;
}

static int cmd_rings(struct tp_stack *st, struct sock *s, const struct pvs_rings *r)
{
	const struct pv *pv = PV(st, s);
	struct dring tx = ring_of(pv, r->tx_off, r->tx_order);
	struct dring rx = ring_of(pv, r->rx_off, r->rx_order);
	int e = 0;

	if (!pv_rings_ok(pv, r))
		return -TE_INVAL;
	if (r->rx_order)
		e = rx_move(st, s, &rx);
	if (!e && r->tx_order)
		e = tx_move(st, s, &tx);
	sock_touch(st, s);
	if (!e && s->kind == SK_TCP && s->state != TS_CLOSED && s->state != TS_LISTEN)
		tcp_window_check(st, s);
	return e;
}

static int cmd_accept(struct tp_stack *st, struct sock *l, const struct pvs_req *q,
		      struct pvs_rsp *r)
{
	uint32_t slot = q->u.accept.new_sock;
	struct pv *pv = PV(st, l);
	struct sock *s;
	struct ipa local;
	int e;

	if (l->kind != SK_TCP || l->state != TS_LISTEN)
		return -TE_INVAL;
	if (slot >= MIN(pv->nslots, pv->map_size) || !q->u.accept.rings.tx_order ||
	    !q->u.accept.rings.rx_order)
		return -TE_INVAL;
	if (pv->map[slot])
		return -TE_EXIST;
	s = tcp_accept_peek(st, l);
	if (!s)
		return -TE_AGAIN;
	journal_save(st, s);
	e = cmd_rings(st, s, &q->u.accept.rings);
	if (e)
		return e;
	slot_bind(st, pv, s, slot);
	tcp_accept_take(st, l, s);
	local = peer_apparent(st, s);
	pv_addr_out(s, &local, s->rport, &r->u.accepted.peer);
	local = addr_apparent(st, s);
	pv_addr_out(s, &local, s->app_port, &r->u.accepted.local);
	if (s->state != TS_CLOSED)
		tcp_window_check(st, s);
	pv_publish(st, s);
	return 0;
}

/* A connection by IPv6 of a socket that knows IPv4 only, which a published port makes. */
static bool is_faced(const struct sock *s)
{
	return s->kind == SK_TCP && s->domain == PVS_AF_INET && !ipa_is4(&s->raddr) &&
	       !ipa_zero6(&s->raddr);
}

struct ipa peer_apparent(struct tp_stack *st, const struct sock *s)
{
	return is_faced(s) ? *share_face4(st) : s->raddr;
}

/* The local address an application should see: of a published port, our own. */
struct ipa addr_apparent(struct tp_stack *st, const struct sock *s)
{
	if (is_faced(s))
		return *share_own4(st);
	if (share_is(st, &s->laddr))
		return *share_apparent(st, &s->laddr);
	if (ipa_any(&s->laddr) || addr_local(st, &s->laddr, 0xff))
		return s->laddr;
	for (unsigned i = 0; i < MAX_ADDR; i++) {
		const struct ifaddr *a = &st->s->addr[i];

		if (a->used && a->ifi == s->ifi && ipa_is4(&a->addr) == ipa_is4(&s->laddr))
			return a->addr;
	}
	return s->laddr;
}

static int cmd_name(struct tp_stack *st, struct sock *s, bool peer, struct pvs_rsp *r)
{
	struct ipa a = addr_apparent(st, s);

	if (s->kind == SK_PACKET) {
		if (peer)
			return -TE_OPNOTSUPP;
		r->u.addr =
		    (struct pvs_addr){PVS_AF_PACKET, be16(s->d.ethertype), s->bound_if, {0}};
		if (s->bound_if) {
			memcpy(r->u.addr.addr, st->s->ifs[s->bound_if - 1].mac, 6);
			r->u.addr.addr[8] = 6;
			r->u.addr.addr[10] = 1;
		}
		return 0;
	}
	if (!peer) {
		/* A raw socket's port is its protocol, in Linux. */
		pv_addr_out(s, &a,
			    s->kind == SK_TCP   ? s->app_port
			    : s->kind == SK_RAW ? s->proto
						: s->lport,
			    &r->u.addr);
		return 0;
	}
	if (s->kind == SK_TCP ? !(sock_state_bits(s) & PVS_ST_CONNECTED)
			      : !(s->flags & SF_CONNECTED) || !s->rport)
		return -TE_NOTCONN;
	a = peer_apparent(st, s);
	pv_addr_out(s, &a, s->rport, &r->u.addr);
	return 0;
}

static int cmd_release(struct tp_stack *st, struct sock *s, const struct pvs_req *q)
{
	if (s->flags & SF_RELEASED)
		return -TE_ALREADY;
	s->flags |= SF_RELEASED;
	s->rel_id = q->id;
	sock_touch(st, s);
	if (s->kind == SK_TCP)
		tcp_release(st, s, q->u.release.flags & PVS_REL_ABORT);
	else
		pv_release_due(st, s);
	return PV_PENDING;
}

static uint32_t poll_bits(struct tp_stack *st, struct sock *s)
{
	uint32_t b = sock_state_bits(s), ev = 0, room;

	if (s->rx_prod != s->rx_cons || (s->kind == SK_TCP && s->t.nacc) ||
	    b & (PVS_ST_RX_EOF | PVS_ST_CLOSED))
		ev |= PVS_EV_IN;
	room = ring_size(&s->tx) - (s->tx_prod - s->tx_cons);
	if ((s->kind != SK_TCP || b & PVS_ST_CONNECTED) &&
	    room >= MAX(ring_size(&s->tx) / 3, 1u))
		ev |= PVS_EV_OUT;
	if (b & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED))
		ev |= PVS_EV_OUT;
	if (b & PVS_ST_RX_EOF)
		ev |= PVS_EV_RDHUP;
	if (b & PVS_ST_CLOSED || (b & PVS_ST_RX_EOF && b & PVS_ST_TX_CLOSED))
		ev |= PVS_EV_HUP;
	return ev;
}

static int cmd_sockopt(struct tp_stack *st, struct sock *s, const struct pvs_req *q,
		       struct pvs_rsp *r)
{
	uint32_t len = q->u.sockopt.len, n;
	const struct pv *pv = PV(st, s);
	uint8_t val[288]; /* struct group_source_req has 264 */
	int ret;

	if (q->cmd == PVS_CMD_SETSOCKOPT) {
		if (len > sizeof(val))
			return -TE_INVAL;
		if (len <= 32)
			memcpy(val, q->u.sockopt.val, len);
		else if (q->u.sockopt.buf_off >= pv->heap &&
			 pv_span_ok(pv->size, q->u.sockopt.buf_off, len))
			memcpy(val, pv->base + q->u.sockopt.buf_off, len);
		else
			return -TE_INVAL;
		sock_touch(st, s);
		return pv_setsockopt(st, s, q->u.sockopt.level, q->u.sockopt.name, val, len);
	}
	memset(val, 0, sizeof(val));
	ret = pv_getsockopt(st, s, q->u.sockopt.level, q->u.sockopt.name, val,
			    MIN(len, sizeof(val)));
	if (ret <= 0)
		return ret;
	n = MIN((uint32_t)ret, len);
	if (n <= 32)
		memcpy(r->u.opt, val, n);
	else if (q->u.sockopt.buf_off >= pv->heap &&
		 pv_span_ok(pv->size, q->u.sockopt.buf_off, n))
		memcpy(pv->base + q->u.sockopt.buf_off, val, n);
	else
		return -TE_INVAL;
	return (int)n;
}

static int cmd_list(struct tp_stack *st, const struct pv *pv, const struct pvs_req *q)
{
	uint32_t off = q->u.list.buf_off, len = q->u.list.buf_len;
	uint8_t rec[256];

	if (off < pv->heap || !pv_span_ok(pv->size, off, len))
		return -TE_INVAL;
	if (q->cmd == PVS_CMD_LIST)
		return pv_list(st, q->u.list.what, q->u.list.start, pv->base + off, len);
	if (len > sizeof(rec))
		return -TE_INVAL;
	memcpy(rec, pv->base + off, len);
	return pv_control(st, q->u.list.what, q->u.list.op, rec, len);
}

int pv_command(struct tp_stack *st, struct pv *pv, const struct pvs_req *q, struct pvs_rsp *r)
{
	struct sock *s;

	if (q->cmd == PVS_CMD_LIST || q->cmd == PVS_CMD_CONTROL)
		return cmd_list(st, pv, q);
	if (q->sock >= MIN(pv->nslots, pv->map_size))
		return q->cmd == PVS_CMD_SOCKET ? -TE_NFILE : -TE_BADF;
	if (q->cmd == PVS_CMD_SOCKET)
		return cmd_socket(st, pv, q);
	if (!pv->map[q->sock])
		return -TE_BADF;
	s = SOCK(st, pv->map[q->sock]);
	if (s->flags & SF_RELEASED && q->cmd != PVS_CMD_RELEASE)
		return -TE_BADF;
	switch (q->cmd) {
	case PVS_CMD_CONNECT:
		return cmd_connect(st, s, q, r);
	case PVS_CMD_RELEASE:
		return cmd_release(st, s, q);
	case PVS_CMD_BIND:
		return cmd_bind(st, s, q, r);
	case PVS_CMD_LISTEN:
		return s->kind == SK_TCP ? tcp_listen(st, s, q->u.listen.backlog)
					 : -TE_OPNOTSUPP;
	case PVS_CMD_ACCEPT:
		return cmd_accept(st, s, q, r);
	case PVS_CMD_POLL:
		return (int)poll_bits(st, s);
	case PVS_CMD_SHUTDOWN:
		if (s->kind == SK_TCP)
			return tcp_shutdown(st, s, q->u.shutdown.how);
		if (!(s->flags & SF_CONNECTED))
			return -TE_NOTCONN;
		if (q->u.shutdown.how != 1)
			s->flags |= SF_SHUT_RD;
		sock_touch(st, s);
		return 0;
	case PVS_CMD_SETSOCKOPT:
	case PVS_CMD_GETSOCKOPT:
		return cmd_sockopt(st, s, q, r);
	case PVS_CMD_GETSOCKNAME:
	case PVS_CMD_GETPEERNAME:
		return cmd_name(st, s, q->cmd == PVS_CMD_GETPEERNAME, r);
	case PVS_CMD_RINGS:
		return cmd_rings(st, s, &q->u.rings);
	}
	return -TE_PROTO;
}
