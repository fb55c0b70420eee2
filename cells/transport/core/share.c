/*
 * A slice of the host's address (docs/decisions/0004).
 *
 * Problem. A container on a bridge network has a private address that ends at its segment.
 * What it publishes and what it reaches outside goes by the host's address, of which this
 * stack may use some ports only: the published ones and a block. The nic cell steers by port
 * and drops what leaves from another.
 *
 * Model. The host address is on a device of its own that the application doesn't see
 * (netif.hidden), with the routes to everything outside of the segments. It is not an address
 * of ours as others are (addr_find doesn't know it): packets to it are for us only if they
 * came through that device, and connecting to it goes out, to whoever has that port.
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
 * Failure. No free port in the block: EADDRNOTAVAIL or EAGAIN, as without it.
 */
#include "tp_int.h"

bool share_is(const struct tp_stack *st, const struct ipa *a)
{
	return st->s->share.used && ipa_eq(a, &st->s->share.addr);
}

bool share_in(const struct tp_stack *st, const struct ipa *dst, unsigned ifi)
{
	return share_is(st, dst) && ifi == st->s->share.ifi;
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

const struct ipa *share_apparent(const struct tp_stack *st, const struct ipa *a)
{
	for (unsigned i = 0; share_is(st, a) && i < MAX_ADDR; i++) {
		const struct ifaddr *f = &st->s->addr[i];

		if (f->used && f->ifi && ipa_is4(&f->addr) && !if_hidden(st, f->ifi))
			return &f->addr;
	}
	return a;
}

static bool in_block(const struct tp_stack *st, uint16_t port)
{
	return port >= st->s->share.lo && port <= st->s->share.hi;
}

/* ---- maps ---- */

static struct sharemap *map_by_wire(struct tp_stack *st, uint8_t proto, uint16_t wire)
{
	for (struct sharemap *m = st->s->map; m < st->s->map + MAX_SHAREMAP; m++) {
		if (m->proto == proto && m->wire == wire)
			return m;
	}
	return NULL;
}

static bool wire_free(struct tp_stack *st, uint8_t proto, uint16_t wire)
{
	uint8_t kind = proto == IPPROTO_UDP_ ? SK_UDP : SK_PING;

	return !map_by_wire(st, proto, wire) && !lhash_first(st, kind, wire) &&
	       !publish_find(st, proto, &st->s->share.addr, wire);
}

static struct sharemap *map_new(struct tp_stack *st, uint8_t proto, uint16_t app)
{
	uint32_t n = st->s->share.hi - st->s->share.lo + 1u, at = tp_random32(st) % n;
	struct sharemap *m = st->s->map;

	for (unsigned i = 1; i < MAX_SHAREMAP && m->proto; i++) {
		struct sharemap *o = &st->s->map[i];

		if (!o->proto || st->map_at[i] < st->map_at[m - st->s->map])
			m = o;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint16_t wire = (uint16_t)(st->s->share.lo + (at + i) % n);

		if (!wire_free(st, proto, wire))
			continue;
		*m = (struct sharemap){proto, 0, wire, app};
		state_seal_net(st);
		return m;
	}
	return NULL;
}

/* The port that a datagram from `app` leaves with, 0: none is free. */
uint16_t share_wire(struct tp_stack *st, uint8_t proto, uint16_t app)
{
	const struct publish *p;
	struct sharemap *m;

	for (p = st->s->pub; p < st->s->pub + MAX_PUB; p++) {
		if (p->used && p->proto == proto && p->port == app && ipa_zero6(&p->host))
			return p->host_port;
	}
	for (m = st->s->map; m < st->s->map + MAX_SHAREMAP; m++) {
		if (m->proto == proto && m->app == app)
			break;
	}
	if (m == st->s->map + MAX_SHAREMAP) {
		if (in_block(st, app) && !map_by_wire(st, proto, app))
			return app;
		m = map_new(st, proto, app);
	}
	if (!m)
		return 0;
	st->map_at[m - st->s->map] = st->now;
	return m->wire;
}

/* The port inside that datagrams to `wire` are for, published ones apart. */
uint16_t share_app(struct tp_stack *st, uint8_t proto, uint16_t wire)
{
	struct sharemap *m = map_by_wire(st, proto, wire);

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

/* What an error quotes we sent: as the application sent it. q: behind the ICMP header. */
static void quoted_in(struct tp_stack *st, uint8_t *q, uint32_t len, uint8_t *sum)
{
	uint32_t hlen = (q[0] & 15u) * 4;
	uint16_t sport;

	if (q[0] >> 4 != 4 || hlen < 20 || len < hlen + 8 || get16(q + 6) & 0x1fff)
		return;
	sport = get16(q + hlen);
	if (q[9] == IPPROTO_UDP_) {
		const struct publish *p =
		    publish_find(st, IPPROTO_UDP_, &st->s->share.addr, sport);

		word_set(q + hlen, p ? p->port : share_app(st, IPPROTO_UDP_, sport), sum);
	} else if (q[9] == IPPROTO_ICMP_ && q[hlen] == 8) {
		word_set(q + hlen + 4, share_app(st, IPPROTO_ICMP_, get16(q + hlen + 4)), sum);
	}
}

/* ICMP that came to the host address: identifiers and ports as the application knows them. */
void share_icmp_in(struct tp_stack *st, struct pkt *p)
{
	uint8_t *d = p->data;

	if (p->proto != IPPROTO_ICMP_ || p->len < 8)
		return;
	if (d[0] == 0)
		word_set(d + 4, share_app(st, IPPROTO_ICMP_, get16(d + 4)), d + 2);
	else if ((d[0] == 3 || d[0] == 11 || d[0] == 12) && p->len >= 36)
		quoted_in(st, d + 8, p->len - 8, d + 2);
}

/* An ICMP message of the application's own making. false: it may not leave. */
bool share_icmp_out(struct tp_stack *st, uint8_t *d, uint32_t len)
{
	uint16_t id;

	if (len < 8 || d[0] != 8)
		return false;
	id = share_wire(st, IPPROTO_ICMP_, get16(d + 4));
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

	if (bound && in_block(st, s->lport))
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
	     const uint8_t gw[16], uint16_t lo, uint16_t hi)
{
	struct share *sh = &st->s->share;
	struct route r = {.ifi = (uint8_t)ifi, .proto = 2, .used = 1, .expires = NEVER};
	int e;

	r.dst = r.src = ipa_from6(addr);
	if (ifi >= TP_MAX_IF || !if_hidden(st, ifi) || !ipa_is4(&r.src) || plen > 32 || !lo ||
	    hi < lo)
		return -TE_INVAL;
	tp_time(st);
	*sh = (struct share){r.src, lo, hi, (uint8_t)ifi, 1, {0}};
	r.plen = (uint8_t)(96 + plen);
	e = route_add(st, &r);
	r.plen = 96;
	r.dst = ipa_from4(0);
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
