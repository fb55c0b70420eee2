/* SPDX-License-Identifier: ISC */
/*
 * Sockets with boundaries: UDP (RFC 768), ping sockets (SOCK_DGRAM + IPPROTO_ICMP), raw IP and
 * packet sockets.
 *
 * Both ways data goes through records (struct pvs_dgram) in the socket's rings. The tx
 * ring is drained when the client kicks; a record is taken only when its packet could be
 * built, so a full device queue pushes back to the client. A full rx ring drops and
 * counts, as any socket buffer does.
 */
#include "mcast.h"

#define REC_HDR ((uint32_t)sizeof(struct pvs_dgram))

static uint32_t rec_size(uint32_t len)
{
	return (REC_HDR + len + 7) & ~7u;
}

/* Puts a record made of two pieces into the rx ring. */
static void dgram_deliver(struct tp_stack *st, struct sock *s, struct pvs_dgram *r,
			  const void *a, uint32_t na, const void *b, uint32_t nb)
{
	uint32_t room;

	if (s->flags & SF_RELEASED || !ring_size(&s->rx))
		return;
	sock_touch(st, s);
	if (!sock_rx_room(st, s, &room)) {
		STAT(st, Tcp_PeerProtocol);
		sock_error(st, s, TE_PROTO);
		return;
	}
	r->len = na + nb;
	if (rec_size(r->len) > ring_size(&s->rx) && room == ring_size(&s->rx)) {
		r->flags |= PVS_DG_TRUNC;
		nb = ring_size(&s->rx) - REC_HDR - na;
		r->len = na + nb;
	}
	if (rec_size(r->len) > room) {
		STAT(st, Udp_RcvbufErrors);
		s->rx_drops++;
		return;
	}
	r->time = st->now * NSEC_PER_USEC;
	r->flags |= PVS_DG_ADDR | PVS_DG_LOCAL | PVS_DG_IF | PVS_DG_TTL | PVS_DG_TOS;
	ring_write(st, &s->rx, s->rx_prod, r, REC_HDR);
	if (na)
		ring_write(st, &s->rx, s->rx_prod + REC_HDR, a, na);
	if (nb)
		ring_write(st, &s->rx, s->rx_prod + REC_HDR + na, b, nb);
	s->rx_prod += rec_size(r->len);
}

static struct udpflow *flow_find(struct tp_stack *st, const struct ipa *peer,
				 uint16_t peer_port, uint16_t port)
{
	for (struct udpflow *f = st->flow; f < st->flow + MAX_UDPFLOW; f++) {
		if (f->used && f->port == port && f->peer_port == peer_port &&
		    ipa_eq(&f->peer, peer))
			return f;
	}
	return NULL;
}

static void rec_from(struct tp_stack *st, const struct sock *s, const struct pkt *p,
		     uint16_t sport, struct pvs_dgram *r)
{
	const struct ipa *local = share_apparent(st, &p->dst), *peer = &p->src;

	if (s->domain == PVS_AF_INET && !p->is4) { /* by a published port */
		const struct udpflow *f = flow_find(st, peer, sport, s->lport);

		sport = f ? f->face : 0;
		peer = share_face4(st);
		local = share_own4(st);
	}
	*r = (struct pvs_dgram){.ifindex = p->ifi + 1u, .ttl = p->ttl, .tos = p->tos};
	pv_addr_out(s, peer, sport, &r->peer);
	if (s->domain == PVS_AF_INET)
		memcpy(r->local, local->b + 12, 4);
	else
		memcpy(r->local, local->b, 16);
	if (ipa_linklocal(&p->src))
		r->peer.ifindex = p->ifi + 1u;
}

/* IP_RECVERR: the error with all that is known of it, in its place among the datagrams. */
static void error_record(struct tp_stack *st, struct sock *s, const struct failed *f)
{
	struct pvs_dgram r = {.flags = PVS_DG_ERROR | PVS_DG_ICMP(f->type, f->code),
			      .ifindex = f->ifi + 1u,
			      .ttl = (uint8_t)f->err,
			      .gso_size = (uint16_t)MIN(f->mtu, 65535u)};

	pv_addr_out(s, &f->to, f->port, &r.peer);
	if (s->domain == PVS_AF_INET)
		memcpy(r.local, f->by.b + 12, 4);
	else
		memcpy(r.local, f->by.b, 16);
	dgram_deliver(st, s, &r, NULL, 0, f->data, f->len);
}

void dgram_icmp(struct tp_stack *st, struct sock *s, const struct failed *f)
{
	if (s->d.recverr)
		error_record(st, s, f);
	if (s->flags & SF_CONNECTED || s->d.recverr)
		sock_error(st, s, f->err);
}

/* ---- UDP in ---- */

/* The address of ours that a packet to a published port is for. */
const struct ipa *own_addr(struct tp_stack *st, const struct pkt *p)
{
	const struct ipa *near = NULL;

	for (struct ifaddr *a = st->s->addr; a < st->s->addr + MAX_ADDR; a++) {
		if (!a->used || a->ifi != p->ifi || ipa_is4(&a->addr) != p->is4)
			continue;
		if (!ipa_linklocal(&a->addr))
			return &a->addr;
		near = &a->addr;
	}
	return near ? near : &p->dst;
}

#define FACE_FIRST 16384u

/* A port for who can't see the peer's address; none again soon after it was another's. */
static uint16_t face_next(struct tp_stack *st)
{
	st->face_port = (uint16_t)MAX(FACE_FIRST, (st->face_port + 1u) & 0xffff);
	return st->face_port;
}

static void flow_note(struct tp_stack *st, const struct pkt *p, uint16_t sport,
		      const struct publish *pub, bool faced)
{
	struct udpflow *f = flow_find(st, &p->src, sport, pub->port), *i;
	uint16_t face = f ? f->face : 0;

	if (!f) {
		for (f = i = st->flow; i < st->flow + MAX_UDPFLOW; i++) {
			if (!i->used || (f->used && i->at < f->at))
				f = i;
		}
	}
	*f = (struct udpflow){p->dst,
			      p->src,
			      pub->host_port,
			      sport,
			      pub->port,
			      1,
			      !faced ? 0 : face ? face : face_next(st),
			      st->now};
}

/* What is sent to the face that stands for a peer of IPv6 is for that peer, and answers to who
 * came by a published port leave from there. NULL: neither. */
static const struct udpflow *flow_out(struct tp_stack *st, const struct sock *s,
				      const struct ipa *to, uint16_t port)
{
	if (s->kind != SK_UDP)
		return NULL;
	if (!ipa_is4(to))
		return flow_find(st, to, port, s->lport);
	for (struct udpflow *f = st->flow;
	     st->face_port && f < st->flow + MAX_UDPFLOW && ipa_eq(to, share_face4(st)); f++) {
		if (f->used && f->face && f->face == port && f->port == s->lport)
			return f;
	}
	return NULL;
}

static void udp_to(struct tp_stack *st, struct sock *s, struct pkt *p, uint16_t sport,
		   uint32_t len)
{
	struct pvs_dgram r;

	STAT(st, Udp_InDatagrams);
	rec_from(st, s, p, sport, &r);
	dgram_deliver(st, s, &r, NULL, 0, p->data + 8, len - 8);
}

static void udp_multicast(struct tp_stack *st, struct pkt *p, uint16_t sport, uint16_t dport,
			  uint32_t len)
{
	int score;

	for (uint32_t i = lhash_first(st, SK_UDP, dport) ? 1 : st->high; i < st->high; i++) {
		struct sock *s = SOCK(st, i);

		if (s->kind == SK_UDP &&
		    (!p->multicast || mcast_allowed(s, &p->dst, p->ifi, &p->src)) &&
		    sock_bound_match(s, &p->src, sport, &p->dst, dport, p->ifi, &score))
			udp_to(st, s, p, sport, len);
	}
}

/* Sockets connected through the host address have it as their own, bound ones do not. */
struct sock *udp_lookup(struct tp_stack *st, const struct pkt *p, uint16_t sport,
			uint16_t dport)
{
	struct sock *s;

	if (share_is(st, &p->dst))
		dport = share_app(st, &p->dst, IPPROTO_UDP_, dport);
	s = sock_lookup_bound(st, SK_UDP, &p->src, sport, &p->dst, dport, p->ifi);
	if (!s && share_is(st, &p->dst))
		s = sock_lookup_bound(st, SK_UDP, &p->src, sport, share_apparent(st, &p->dst),
				      dport, p->ifi);
	return s;
}

static struct sock *udp_published(struct tp_stack *st, const struct pkt *p, uint16_t sport,
				  const struct publish *pub)
{
	struct sock *s =
	    sock_lookup_bound(st, SK_UDP, &p->src, sport, own_addr(st, p), pub->port, p->ifi);
	bool faced = !s && !p->is4 && pub->shared;

	if (faced) /* whoever knows IPv4 only */
		s = sock_lookup_bound(st, SK_UDP, share_face4(st), 0, share_own4(st), pub->port,
				      p->ifi);
	if (s)
		flow_note(st, p, sport, pub, faced);
	return s;
}

void udp_input(struct tp_stack *st, struct pkt *p)
{
	struct udp_hdr h;
	uint32_t len, pseudo;
	uint16_t sport, dport;
	const struct publish *pub;
	struct sock *s;

	if (p->len < 8)
		goto bad;
	memcpy(&h, p->data, 8);
	len = be16(h.len);
	if (len < 8 || len > p->len || (!h.csum && !p->is4))
		goto bad;
	pseudo = csum_pseudo(&p->src, &p->dst, IPPROTO_UDP_, len);
	if (h.csum && !p->csum_ok && csum_fold(csum_add(p->data, len, pseudo))) {
		STAT(st, Udp_InCsumErrors);
		goto bad;
	}
	sport = be16(h.sport);
	dport = be16(h.dport);
	if (p->multicast || p->broadcast) {
		udp_multicast(st, p, sport, dport, len);
		return;
	}
	pub = publish_find(st, IPPROTO_UDP_, &p->dst, dport);
	s = pub ? udp_published(st, p, sport, pub) : udp_lookup(st, p, sport, dport);
	if (s) {
		udp_to(st, s, p, sport, len);
		return;
	}
	STAT(st, Udp_NoPorts);
	icmp_error(st, p, p->is4 ? 3 : 1, p->is4 ? 3 : 4, 0);
	return;
bad:
	STAT(st, Udp_InErrors);
}

/* ---- raw, ping and packet sockets in ---- */

/* IPV6_CHECKSUM: a packet whose sum is wrong is not for this socket (RFC 3542 section 3.1). */
static bool raw_sum_ok(const struct sock *s, const struct pkt *p)
{
	uint32_t pseudo = csum_pseudo(&p->src, &p->dst, p->proto, p->len);

	return s->d.sum_off + 2u <= p->len &&
	       (p->csum_ok || !csum_fold(csum_add(p->data, p->len, pseudo)));
}

bool raw_input(struct tp_stack *st, struct pkt *p)
{
	bool taken = false;
	uint32_t i;

	for (i = 1; i < st->high; i++) {
		struct sock *s = SOCK(st, i);
		struct pvs_dgram r;

		if (s->kind != SK_RAW || s->proto != p->proto ||
		    (s->domain == PVS_AF_INET) != p->is4 ||
		    (s->bound_if && s->bound_if != p->ifi) ||
		    (s->flags & SF_BINDADDR && !ipa_eq(&s->laddr, &p->dst)) ||
		    (s->flags & SF_CONNECTED && !ipa_eq(&s->raddr, &p->src)) ||
		    (p->multicast && !mcast_allowed(s, &p->dst, p->ifi, &p->src)) ||
		    (s->d.sum_on && !raw_sum_ok(s, p)))
			continue;
		if (p->proto == IPPROTO_ICMP_ && p->len && p->data[0] < 32 &&
		    s->d.icmp_filter >> p->data[0] & 1)
			continue;
		if (p->proto == IPPROTO_ICMPV6_ && p->len &&
		    s->d.icmp6_filter[p->data[0] / 32] >> p->data[0] % 32 & 1)
			continue;
		rec_from(st, s, p, 0, &r);
		dgram_deliver(st, s, &r, p->ip, p->is4 ? p->ip_hlen : 0, p->data, p->len);
		taken = true;
	}
	return taken;
}

bool ping_input(struct tp_stack *st, struct pkt *p, uint16_t id)
{
	struct sock *s;
	struct pvs_dgram r;

	if (!st->nraw)
		return false;
	s = lhash_first(st, SK_PING, id);
	if (!s || (s->domain == PVS_AF_INET) != p->is4)
		return false;
	rec_from(st, s, p, 0, &r);
	dgram_deliver(st, s, &r, NULL, 0, p->data, p->len);
	return true;
}

void packet_tap(struct tp_stack *st, unsigned ifi, const uint8_t *frame, uint32_t len,
		uint8_t pkttype)
{
	uint16_t type = get16(frame + 12);

	for (uint32_t i = 1; i < st->high; i++) {
		struct sock *s = SOCK(st, i);
		struct pvs_dgram r = {.ifindex = ifi + 1};
		uint32_t skip;

		if (s->kind != SK_PACKET || (s->bound_if && s->bound_if - 1u != ifi))
			continue;
		if (s->d.ethertype != 3 && (s->d.ethertype != type || pkttype == 4))
			continue;
		if (pkttype == 3 && !s->d.promisc)
			continue;
		r.peer.family = PVS_AF_PACKET;
		r.peer.port = be16(type);
		r.peer.ifindex = ifi + 1;
		memcpy(r.peer.addr, frame + 6, 6);
		r.peer.addr[8] = 6;
		r.peer.addr[9] = pkttype;
		r.peer.addr[10] = 1;
		skip = s->type == PVS_SOCK_DGRAM ? ETH_HLEN : 0;
		dgram_deliver(st, s, &r, NULL, 0, frame + skip, len - skip);
	}
}

/* ---- out ---- */

/* What a socket sends from, if that is settled; it may be bound to where others send to. */
static const struct ipa *bound_source(struct tp_stack *st, const struct sock *s, uint32_t when)
{
	return s->flags & when && !ipa_multicast(&s->laddr) && !addr_broadcast(st, &s->laddr)
		   ? &s->laddr
		   : NULL;
}

/* As Linux: what was bound stays, what connecting chose is given back. */
void dgram_disconnect(struct tp_stack *st, struct sock *s)
{
	s->flags &= (uint16_t)~SF_CONNECTED;
	s->rport = 0;
	s->raddr = s->domain == PVS_AF_INET ? ipa_from4(0) : (struct ipa){.q = {0, 0}};
	if (!(s->flags & SF_BINDADDR))
		s->laddr = s->raddr;
	if (s->kind == SK_UDP && s->flags & SF_BOUND && !s->d.port_lock) {
		sock_unhash(st, s);
		s->flags &= (uint16_t)~SF_BOUND;
		s->lport = s->app_port = 0;
	}
}

static bool alone(const struct tp_stack *st)
{
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		if (st->s->ifs[i].used)
			return false;
	}
	return true;
}

/* What is for many may be for those on the loopback, which no route says. */
static int dgram_route(struct tp_stack *st, const struct sock *s, const struct ipa *to,
		       const struct ipa *src, unsigned ifi, struct dst *d)
{
	bool cast = ipa_multicast(to), all = !cast && addr_broadcast(st, to);
	bool here = !ifi && alone(st);

	if (cast ? s->d.mcast_if != 1 && !(here && !s->d.mcast_if)
		 : !all || !(here || to->b[12] == 127))
		return route_lookup(st, to, src, ifi, d);
	*d = (struct dst){.hop = *to, .mtu = 65535, .multicast = cast, .broadcast = all};
	d->src = src           ? *src
		 : ipa_is4(to) ? ipa_from4(be32(0x7f000001))
			       : (struct ipa){.b = {[15] = 1}};
	return 0;
}

int dgram_connect(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port)
{
	const struct udpflow *f = ipa_is4(a) ? NULL : flow_out(st, s, a, port);
	struct dst d;
	int e = sock_reaches(s, a);

	if (e)
		return e;
	e = dgram_route(st, s, a, f ? &f->host : bound_source(st, s, SF_BINDADDR), s->bound_if,
			&d);
	if (e)
		return e;
	if (d.broadcast && !(s->flags & SF_BROADCAST))
		return -TE_ACCES;
	s->raddr = *a;
	s->rport = port;
	e = s->kind == SK_RAW ? 0 : sock_autobind(st, s);
	if (e)
		return e;
	if (!(s->flags & SF_BINDADDR))
		s->laddr = d.src;
	s->flags |= SF_CONNECTED;
	return 0;
}

struct out {
	struct ipa to;
	uint16_t port;
	struct dst d;
	struct ipopt o;
};

static int out_prepare(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		       struct out *o)
{
	const struct ipa *src = bound_source(st, s, SF_BINDADDR | SF_CONNECTED);
	const struct udpflow *f;
	struct ipa local;
	unsigned ifi = s->bound_if;
	int e;

	if (r->flags & PVS_DG_ADDR) {
		if (r->peer.family != s->domain)
			return -TE_AFNOSUPPORT;
		if (s->domain == PVS_AF_INET)
			memcpy(&(o->to = ipa_from4(0)).w[3], r->peer.addr, 4);
		else
			o->to = ipa_from6(r->peer.addr);
		o->port = be16(r->peer.port);
		if (ipa_linklocal(&o->to) && r->peer.ifindex)
			ifi = r->peer.ifindex - 1;
	} else if (s->flags & SF_CONNECTED) {
		o->to = s->raddr;
		o->port = s->rport;
	} else {
		return -TE_DESTADDRREQ;
	}
	if (ipa_any(&o->to)) /* Linux: this host */
		o->to = ipa_is4(&o->to) ? ipa_from4(be32(0x7f000001))
					: (struct ipa){.b = {[15] = 1}};
	if (s->kind == SK_UDP && !o->port)
		return -TE_INVAL;
	e = sock_reaches(s, &o->to);
	if (e)
		return e;
	if (r->flags & PVS_DG_LOCAL) {
		if (s->domain == PVS_AF_INET)
			memcpy(&(local = ipa_from4(0)).w[3], r->local, 4);
		else
			local = ipa_from6(r->local);
		if (!ipa_any(&local)) {
			if (!addr_local(st, &local, 0xff))
				return -TE_INVAL;
			src = &local;
		}
	}
	if (r->flags & PVS_DG_IF && r->ifindex)
		ifi = r->ifindex - 1;
	if (ipa_multicast(&o->to) && s->d.mcast_if)
		ifi = s->d.mcast_if - 1;
	if (ifi >= TP_MAX_IF)
		return -TE_INVAL;
	if (ipa_multicast(&o->to) && s->d.mcast_addr && !src) {
		local = ipa_from4(s->d.mcast_addr);
		src = &local;
	}
	f = flow_out(st, s, &o->to, o->port);
	if (f) {
		o->to = f->peer;
		o->port = f->peer_port;
		src = &f->host;
	}
	e = dgram_route(st, s, &o->to, src, ifi, &o->d);
	if (e)
		return e;
	if (o->d.broadcast && !(s->flags & SF_BROADCAST))
		return -TE_ACCES;
	o->o = (struct ipopt){.ttl = s->ttl,
			      .tos = s->tos,
			      .df = s->df == PMTUD_DO + 1 || s->df == PMTUD_PROBE + 1};
	if (o->d.multicast)
		o->o.ttl = s->d.mcast_ttl;
	if (r->flags & PVS_DG_TTL)
		o->o.ttl = r->ttl;
	if (r->flags & PVS_DG_TOS)
		o->o.tos = r->tos;
	return 0;
}

/*
 * What is sent to many comes back to those of this host who listen: a broadcast always, a
 * multicast unless the sender said otherwise (IP_MULTICAST_LOOP is the sender's in Linux).
 */
static void send_back(struct tp_stack *st, struct sock *s, const struct out *o, uint16_t sport,
		      uint32_t idx, uint32_t len)
{
	struct pkt p = {.src = o->d.src,
			.dst = o->to,
			.data = st->scratch,
			.len = len + 8,
			.ifi = o->d.ifi,
			.proto = IPPROTO_UDP_,
			.ttl = o->o.ttl,
			.tos = o->o.tos,
			.multicast = o->d.multicast,
			.broadcast = o->d.broadcast,
			.is4 = ipa_is4(&o->to),
			.loop = true};

	if (o->d.multicast &&
	    ((!s->d.mcast_loop && o->d.ifi) || !group_is(st, o->d.ifi, &o->to)))
		return;
	ring_read(st, &s->tx, idx, st->scratch + 8, len);
	udp_multicast(st, &p, sport, o->port, len + 8);
}

static int udp_send_one(struct tp_stack *st, struct sock *s, struct out *o, uint32_t idx,
			uint32_t len)
{
	struct udpflow *f = flow_find(st, &o->to, o->port, s->lport);
	struct txp t = {0};
	struct udp_hdr *u;
	uint16_t wire = s->lport;
	uint32_t sum = 0;
	int e;

	if (f) {
		o->d.src = f->host;
		wire = f->host_port;
	} else if (share_is(st, &o->d.src)) {
		wire = share_wire(st, &o->d.src, IPPROTO_UDP_, s->lport);
	}
	if (!wire)
		return -TE_AGAIN;
	if ((o->d.multicast && !o->o.ttl) ||
	    !(o->d.ifi || o->d.local)) { /* does not leave the host */
		send_back(st, s, o, wire, idx, len);
		return 0;
	}
	e = ip_begin(st, &t, &o->d, &o->to, IPPROTO_UDP_, 8 + len, &o->o);
	if (e)
		return e;
	u = (struct udp_hdr *)t.l4;
	*u = (struct udp_hdr){be16(wire), be16(o->port), be16((uint16_t)(8 + len)), 0};
	if (ip_sum_needed(st, &t))
		sum = ring_read_csum(st, &s->tx, idx, t.l4 + 8, len);
	else
		ring_read(st, &s->tx, idx, t.l4 + 8, len);
	STAT(st, Udp_OutDatagrams);
	ip_finish(st, &t, 6, 8, sum);
	if (o->d.multicast || o->d.broadcast)
		send_back(st, s, o, wire, idx, len);
	return 0;
}

static int udp_send(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		    struct out *o, uint32_t idx)
{
	uint32_t gso = r->gso_size ? r->gso_size : s->d.gso_size, done = 0, n;
	int e;

	if (!gso || r->len <= gso)
		return r->len > 65507 ? -TE_MSGSIZE : udp_send_one(st, s, o, idx, r->len);
	if (r->len / gso > 128)
		return -TE_INVAL;
	for (; done < r->len; done += n) {
		n = MIN(gso, r->len - done);
		e = udp_send_one(st, s, o, idx + done, n);
		if (e)
			return e == -TE_NOBUFS && done ? 0 : e; /* like a drop on the wire */
	}
	return 0;
}

static int ping_send(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		     struct out *o, uint32_t idx)
{
	bool is4 = s->domain == PVS_AF_INET;
	struct txp t = {0};
	uint16_t id = s->lport;
	int e;

	if (r->len < 8)
		return -TE_INVAL;
	if (share_is(st, &o->d.src))
		id = share_wire(st, &o->d.src, is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_, id);
	if (!id)
		return -TE_AGAIN;
	e = ip_begin(st, &t, &o->d, &o->to, is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_, r->len,
		     &o->o);
	if (e)
		return e;
	ring_read(st, &s->tx, idx, t.l4, r->len);
	t.l4[0] = is4 ? 8 : 128;
	t.l4[1] = 0;
	put16(t.l4 + 2, 0);
	put16(t.l4 + 4, id);
	if (is4) {
		uint16_t c = csum_fold(csum_add(t.l4, r->len, 0));

		memcpy(t.l4 + 2, &c, 2);
		ip_finish(st, &t, CSUM_NONE, 0, 0);
	} else {
		ip_finish(st, &t, 2, r->len, 0);
	}
	return 0;
}

/* With IP_HDRINCL the header's fields count; its options are not sent. */
static int raw_send(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		    struct out *o, uint32_t idx)
{
	struct txp t = {0};
	struct ip4_hdr h;
	uint32_t skip = 0;
	uint8_t proto = s->proto;
	int e;

	if (s->d.hdrincl) {
		if (r->len < 20)
			return -TE_INVAL;
		ring_read(st, &s->tx, idx, &h, 20);
		skip = (h.vhl & 15u) * 4;
		if (h.vhl >> 4 != 4 || skip < 20 || skip > r->len)
			return -TE_INVAL;
		proto = h.proto;
		o->o = (struct ipopt){h.ttl, h.tos, be16(h.frag) & IP4_DF};
		if (h.src && !share_is(st, &o->d.src))
			o->d.src = ipa_from4(h.src);
	}
	if (s->d.sum_on && s->d.sum_off + 2u > r->len)
		return -TE_INVAL;
	e = ip_begin(st, &t, &o->d, &o->to, proto, r->len - skip, &o->o);
	if (e)
		return e;
	ring_read(st, &s->tx, idx + skip, t.l4, r->len - skip);
	if (share_is(st, &o->d.src) &&
	    (proto != (ipa_is4(&o->to) ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_) ||
	     !share_icmp_out(st, &o->d.src, t.l4, r->len - skip))) {
		ip_cancel(st, &t);
		return -TE_PERM;
	}
	if (s->domain == PVS_AF_INET6 && s->proto == IPPROTO_ICMPV6_ && r->len >= 4)
		ip_finish(st, &t, 2, r->len, 0);
	else if (s->d.sum_on)
		ip_finish(st, &t, s->d.sum_off, r->len, 0);
	else
		ip_finish(st, &t, CSUM_NONE, 0, 0);
	return 0;
}

static int packet_send(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		       uint32_t idx)
{
	static const struct tp_meta none;
	unsigned ifi = s->bound_if;
	uint32_t head = s->type == PVS_SOCK_DGRAM ? ETH_HLEN : 0;
	struct netif *n;
	uint8_t *f;

	if (r->flags & PVS_DG_ADDR && r->peer.ifindex)
		ifi = r->peer.ifindex - 1;
	else if (ifi)
		ifi--;
	if (!ifi || ifi >= TP_MAX_IF || !st->s->ifs[ifi].used)
		return -TE_NETDOWN;
	n = &st->s->ifs[ifi];
	if (r->len + head < ETH_HLEN || r->len + head > n->mtu + ETH_HLEN + 4u)
		return -TE_MSGSIZE;
	if (!n->up || !n->link)
		return -TE_NETDOWN;
	f = st->ops.tx_get(st->ctx, ifi, r->len + head);
	if (!f)
		return -TE_NOBUFS;
	ring_read(st, &s->tx, idx, f + head, r->len);
	if (head) {
		memcpy(f, r->peer.addr, 6);
		memcpy(f + 6, n->mac, 6);
		memcpy(f + 12, &r->peer.port, 2);
	}
	st->s->ifstat[ifi].tx_packets++;
	st->s->ifstat[ifi].tx_bytes += r->len + head;
	st->ops.tx_put(st->ctx, ifi, f, r->len + head, &none);
	return 0;
}

static int record_route(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
			struct out *o, uint32_t idx)
{
	if (s->kind == SK_UDP)
		return udp_send(st, s, r, o, idx);
	if (s->kind == SK_PING)
		return ping_send(st, s, r, o, idx);
	return raw_send(st, s, r, o, idx);
}

static int record_send(struct tp_stack *st, struct sock *s, const struct pvs_dgram *r,
		       uint32_t idx)
{
	struct failed f;
	struct out o;
	int e;

	if (s->kind == SK_PACKET)
		return packet_send(st, s, r, idx);
	e = out_prepare(st, s, r, &o);
	if (e)
		return e;
	if (s->kind != SK_RAW && (e = sock_autobind(st, s)))
		return e;
	e = record_route(st, s, r, &o, idx);
	if (e == -TE_MSGSIZE && s->d.recverr) {
		f = (struct failed){.to = o.to,
				    .port = o.port,
				    .ifi = o.d.ifi,
				    .err = TE_MSGSIZE,
				    .mtu = o.d.mtu};
		error_record(st, s, &f);
	}
	return e;
}

static void tx_wait(struct tp_stack *st, struct sock *s)
{
	if (st->ntxwait < 64)
		st->txwait[st->ntxwait++] = sock_index(st, s);
	else
		st->ntxwait = 65;
}

/* Sends what lies in the tx ring. */
void dgram_kick(struct tp_stack *st, struct sock *s)
{
	uint32_t avail;
	int e;

	if (!ring_size(&s->tx) || s->state == TS_CLOSED)
		return;
	sock_touch(st, s);
	if (!sock_tx_avail(st, s, &avail))
		goto bad;
	while (avail) {
		struct pvs_dgram r;

		if (avail < REC_HDR)
			goto bad;
		ring_read(st, &s->tx, s->tx_cons, &r, REC_HDR);
		if (r.len > 65535 || rec_size(r.len) > avail)
			goto bad;
		e = record_send(st, s, &r, s->tx_cons + REC_HDR);
		if (e == -TE_NOBUFS) {
			tx_wait(st, s);
			break;
		}
		if (e)
			sock_error(st, s, -e);
		s->tx_cons += rec_size(r.len);
		avail -= rec_size(r.len);
	}
	return;
bad:
	STAT(st, Tcp_PeerProtocol);
	s->state = TS_CLOSED;
	sock_error(st, s, TE_PROTO);
}
