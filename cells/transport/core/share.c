/* SPDX-License-Identifier: ISC */
/*
 * A slice of the host's address (docs/decisions/0004), or of two: one of each family.
 *
 * Problem. A container on a bridge network has a private address that ends at its segment.
 * What it publishes and what it reaches outside goes by the host's address, of which this
 * stack may use some ports only: the published ones and a block. The nic cell steers by port
 * and drops what leaves from another.
 *
 * Model. The host address is on a device of its own that the application doesn't see
 * (netif.hidden), with the routes to everything outside of the segments. It is not an address
 * of ours as others are (addr_find doesn't know it): packets to it are for us only if they
 * came through that device, and connecting to it goes out, to whoever has that port. The device
 * has no other IPv6 address: questions for its neighbours come from the shared one, and it
 * never answers for it. A slice of IPv6 may be for published ports alone (share.serves): then
 * only what has the host address as its own takes these routes.
 *
 *	wire port	what it is inside
 *	published	the listener's or bound socket's port (struct publish)
 *	mapped		a UDP port or ICMP identifier that the application chose itself (struct
 *			sharemap): 32 of them, the longest unused gives way
 *	of the block	the same: sockets without a port of their own choice get one of these
 *
 * TCP needs no map: a connection has its wire port in lport and the application's in app_port.
 * What the application is told of the host address reads as its own address (share_apparent).
 *
 * A published port answers by IPv6 whatever the application listens by. One that knows IPv4
 *only sees a peer of IPv6 as its gateway, as if that had passed the connection on
 *(share_face4).
 *
 * Failure. No free port in the block: EADDRNOTAVAIL or EAGAIN, as without it.
 */
#include "tp_int.h"

const struct share *share_of(const struct tp_stack *st, const struct ipa *a)
{
	return &st->s->share[!ipa_is4(a)];
}

bool share_is(const struct tp_stack *st, const struct ipa *a)
{
	const struct share *sh = share_of(st, a);

	return sh->used && ipa_eq(a, &sh->addr);
}

bool share_in(const struct tp_stack *st, const struct ipa *dst, unsigned ifi)
{
	return share_is(st, dst) && ifi == share_of(st, dst)->ifi;
}

/* Whether a packet from src (NULL: none chosen yet) may take that route. */
bool share_takes(const struct tp_stack *st, const struct route *r, const struct ipa *src)
{
	if (!if_hidden(st, r->ifi) || !share_is(st, &r->src) || !share_of(st, &r->src)->serves)
		return true;
	return src && ipa_eq(src, &r->src);
}

bool if_hidden(const struct tp_stack *st, unsigned ifi)
{
	return st->s->ifs[ifi].hidden;
}

/* The device as which the hidden one appears. */
unsigned share_face(const struct tp_stack *st, unsigned ifi)
{
	for (unsigned i = 1; i < TP_MAX_IF && if_hidden(st, ifi); i++) {
		if (st->s->ifs[i].used && !if_hidden(st, i))
			return i;
	}
	return ifi;
}

/* The application's own address of a family; one that ends at the link only if there is no
 * other. */
static const struct ipa *visible_addr(const struct tp_stack *st, bool is4)
{
	const struct ipa *near = NULL;

	for (unsigned i = 0; i < MAX_ADDR; i++) {
		const struct ifaddr *f = &st->s->addr[i];

		if (!f->used || !f->ifi || ipa_is4(&f->addr) != is4 || if_hidden(st, f->ifi))
			continue;
		if (!ipa_linklocal(&f->addr))
			return &f->addr;
		near = near ? near : &f->addr;
	}
	return near;
}

const struct ipa *share_apparent(const struct tp_stack *st, const struct ipa *a)
{
	const struct ipa *own = share_is(st, a) ? visible_addr(st, ipa_is4(a)) : NULL;

	return own ? own : a;
}

const struct ipa *share_own4(const struct tp_stack *st)
{
	static const struct ipa none = {.b = {[10] = 0xff, 0xff}};
	const struct ipa *own = visible_addr(st, true);

	return own ? own : &none;
}

/* As whom an IPv4 socket sees peers of IPv6: the gateway that it knows. */
const struct ipa *share_face4(const struct tp_stack *st)
{
	for (const struct route *r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (r->used && r->plen == 96 && ipa_is4(&r->dst) && !if_hidden(st, r->ifi) &&
		    !ipa_any(&r->gw))
			return &r->gw;
	}
	return share_own4(st);
}

static bool in_block(const struct share *sh, uint16_t port)
{
	return port >= sh->lo && port <= sh->hi;
}

/* ---- maps ---- */

static struct sharemap *map_by_wire(struct tp_stack *st, uint8_t proto, bool six, uint16_t wire)
{
	for (struct sharemap *m = st->s->map; m < st->s->map + MAX_SHAREMAP; m++) {
		if (m->proto == proto && m->six == six && m->wire == wire)
			return m;
	}
	return NULL;
}

static bool wire_free(struct tp_stack *st, const struct share *sh, uint8_t proto, uint16_t wire)
{
	uint8_t kind = proto == IPPROTO_UDP_ ? SK_UDP : SK_PING;

	return !map_by_wire(st, proto, !ipa_is4(&sh->addr), wire) &&
	       !lhash_first(st, kind, wire) && !publish_find(st, proto, &sh->addr, wire);
}

static struct sharemap *map_new(struct tp_stack *st, const struct share *sh, uint8_t proto,
				uint16_t app)
{
	uint32_t n = sh->hi - sh->lo + 1u, at = tp_random32(st) % n;
	struct sharemap *m = st->s->map;

	for (unsigned i = 1; i < MAX_SHAREMAP && m->proto; i++) {
		struct sharemap *o = &st->s->map[i];

		if (!o->proto || st->map_at[i] < st->map_at[m - st->s->map])
			m = o;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint16_t wire = (uint16_t)(sh->lo + (at + i) % n);

		if (!wire_free(st, sh, proto, wire))
			continue;
		*m = (struct sharemap){proto, !ipa_is4(&sh->addr), wire, app};
		state_seal_net(st);
		return m;
	}
	return NULL;
}

/* The port that a datagram from `app` leaves with, 0: none is free. */
uint16_t share_wire(struct tp_stack *st, const struct ipa *host, uint8_t proto, uint16_t app)
{
	const struct share *sh = share_of(st, host);
	bool six = !ipa_is4(host);
	const struct publish *p;
	struct sharemap *m;

	for (p = st->s->pub; p < st->s->pub + MAX_PUB; p++) {
		if (p->used && p->proto == proto && p->port == app &&
		    p->shared & (six ? TP_V6 : TP_V4))
			return p->host_port;
	}
	for (m = st->s->map; m < st->s->map + MAX_SHAREMAP; m++) {
		if (m->proto == proto && m->six == six && m->app == app)
			break;
	}
	if (m == st->s->map + MAX_SHAREMAP) {
		if (in_block(sh, app) && !map_by_wire(st, proto, six, app))
			return app;
		m = map_new(st, sh, proto, app);
	}
	if (!m)
		return 0;
	st->map_at[m - st->s->map] = st->now;
	return m->wire;
}

/* The port inside that datagrams to `wire` are for, published ones apart. */
uint16_t share_app(struct tp_stack *st, const struct ipa *host, uint8_t proto, uint16_t wire)
{
	struct sharemap *m = map_by_wire(st, proto, !ipa_is4(host), wire);

	if (!m)
		return wire;
	st->map_at[m - st->s->map] = st->now;
	return m->app;
}

/* ---- ICMP ---- */

/* RFC 1624: a word of a sum's range changed. */
static void word_set(uint8_t *at, uint16_t to, uint8_t *sum)
{
	uint32_t s = (uint16_t)~get16(sum) + (uint16_t)~get16(at) + (uint32_t)to;

	s = (s & 0xffff) + (s >> 16);
	s += s >> 16;
	put16(sum, (uint16_t)~s);
	put16(at, to);
}

/* Where the transport header of a quoted packet of ours begins, at least eight bytes of it; 0:
 * it can't be told. */
static uint32_t quoted_l4(const uint8_t *q, uint32_t len, bool is4, uint8_t *proto)
{
	uint32_t at = is4 ? (q[0] & 15u) * 4 : 40;

	if (len < 28 || q[0] >> 4 != (is4 ? 4 : 6) || at < 20 || len < at + 8)
		return 0;
	*proto = q[is4 ? 9 : 6];
	if (is4)
		return get16(q + 6) & 0x1fff ? 0 : at;
	if (*proto != IPPROTO_FRAGMENT_)
		return at;
	*proto = q[at];
	return get16(q + at + 2) & 0xfff8 || len < at + 16 ? 0 : at + 8;
}

/* What an error quotes we sent: as the application sent it. q: behind the ICMP header. */
static void quoted_in(struct tp_stack *st, const struct pkt *p, uint8_t *q, uint32_t len,
		      uint8_t *sum)
{
	const struct publish *pub;
	uint8_t proto, icmp = p->is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_;
	uint32_t at = quoted_l4(q, len, p->is4, &proto);
	uint16_t port;

	if (!at)
		return;
	q += at;
	if (proto == IPPROTO_UDP_) {
		port = get16(q);
		pub = publish_find(st, IPPROTO_UDP_, &p->dst, port);
		word_set(q, pub ? pub->port : share_app(st, &p->dst, IPPROTO_UDP_, port), sum);
	} else if (proto == icmp && q[0] == (p->is4 ? 8 : 128)) {
		word_set(q + 4, share_app(st, &p->dst, icmp, get16(q + 4)), sum);
	}
}

/* ICMP that came to the host address: identifiers and ports as the application knows them. */
void share_icmp_in(struct tp_stack *st, struct pkt *p)
{
	uint8_t *d = p->data, icmp = p->is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_;
	bool error;

	if (p->proto != icmp || p->len < 8)
		return;
	error = p->is4 ? d[0] == 3 || d[0] == 11 || d[0] == 12 : d[0] >= 1 && d[0] <= 4;
	if (d[0] == (p->is4 ? 0 : 129))
		word_set(d + 4, share_app(st, &p->dst, icmp, get16(d + 4)), d + 2);
	else if (error && p->len >= 36)
		quoted_in(st, p, d + 8, p->len - 8, d + 2);
}

/* An ICMP message of the application's own making. false: it may not leave. */
bool share_icmp_out(struct tp_stack *st, const struct ipa *host, uint8_t *d, uint32_t len)
{
	bool is4 = ipa_is4(host);
	uint16_t id;

	if (len < 8 || d[0] != (is4 ? 8 : 128))
		return false;
	id = share_wire(st, host, is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_, get16(d + 4));
	if (id)
		word_set(d + 4, id, d + 2);
	return id;
}

/* ---- TCP ---- */

/* A connection that leaves by the host address: its port on the wire is one of the block. */
int share_tcp_port(struct tp_stack *st, struct sock *s)
{
	uint16_t app = s->app_port;
	bool bound = s->flags & SF_BOUND, hashed = s->flags & SF_LHASHED;
	int e;

	if (bound && in_block(share_of(st, &s->laddr), s->lport))
		return 0;
	if (hashed)
		sock_unhash(st, s);
	s->flags &= (uint16_t)~SF_BOUND;
	e = sock_autobind(st, s);
	if (bound) {
		s->flags |= SF_BOUND;
		s->app_port = app;
		s->lport = e ? app : s->lport;
	}
	if (hashed)
		sock_lhash(st, s);
	return e;
}

/* ---- configuration ---- */

int tp_share(struct tp_stack *st, unsigned ifi, const uint8_t addr[16], unsigned plen,
	     const uint8_t gw[16], uint16_t lo, uint16_t hi, int serves)
{
	struct route r = {.ifi = (uint8_t)ifi, .proto = 2, .used = 1, .expires = NEVER};
	unsigned base;
	int e;

	r.dst = r.src = ipa_from6(addr);
	base = ipa_is4(&r.src) ? 96 : 0;
	if (ifi >= TP_MAX_IF || !if_hidden(st, ifi) || ipa_any(&r.src) ||
	    ipa_multicast(&r.src) || ipa_linklocal(&r.src) || plen > 128 - base || !lo ||
	    hi < lo)
		return -TE_INVAL;
	tp_time(st);
	st->s->share[!base] = (struct share){r.src, lo, hi, (uint8_t)ifi, 1, !!serves, 0};
	r.plen = (uint8_t)(base + plen);
	e = route_add(st, &r);
	r.plen = (uint8_t)base;
	r.dst = base ? ipa_from4(0) : (struct ipa){.q = {0, 0}};
	r.gw = ipa_from6(gw);
	if (!ipa_any(&r.gw) && (!e || e == -TE_EXIST))
		e = route_add(st, &r);
	state_seal_net(st);
	return e == -TE_EXIST ? 0 : e;
}

int tp_service(struct tp_stack *st, unsigned ifi, const uint8_t addr[16],
	       const uint8_t server[16])
{
	struct route r = {.ifi = (uint8_t)ifi,
			  .proto = 2,
			  .used = 1,
			  .plen = 128,
			  .dst = ipa_from6(server),
			  .src = ipa_from6(addr),
			  .expires = NEVER};
	int e = tp_addr_add(st, ifi, addr, 32);

	if (!e || e == -TE_EXIST)
		e = route_add(st, &r);
	return e == -TE_EXIST ? 0 : e;
}
