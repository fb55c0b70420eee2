/* SPDX-License-Identifier: ISC */
/*
 * DHCPv4 client, RFC 2131 and 2132, with classless routes (RFC 3442) and address conflict
 * detection before use (RFC 5227, one probe).
 *
 * States are the RFC's. The lease lives in the state area: a restarted instance keeps
 * address and timers and asks again only when T1 comes. When the server is gone the
 * lease runs out, the address is removed, and discovery starts over, for ever, with a
 * pause that doubles up to 64 s. One interface at a time is configured this way.
 */
#include "tp_int.h"

enum {
	DH_OFF,
	DH_SELECTING,
	DH_REQUESTING,
	DH_PROBING,
	DH_BOUND,
	DH_RENEWING,
	DH_REBINDING
};

#define DHCP_COOKIE   0x63825363u
#define OPT_MASK      1
#define OPT_ROUTER    3
#define OPT_DNS       6
#define OPT_HOSTNAME  12
#define OPT_DOMAIN    15
#define OPT_MTU       26
#define OPT_REQUESTED 50
#define OPT_LEASE     51
#define OPT_TYPE      53
#define OPT_SERVER    54
#define OPT_PARAMS    55
#define OPT_T1        58
#define OPT_T2        59
#define OPT_CLIENT_ID 61
#define OPT_ROUTES    121

enum {
	DISCOVER = 1,
	OFFER,
	REQUEST,
	DECLINE,
	ACK,
	NAK,
	RELEASE
};

static void dhcp_set(struct tp_stack *st, uint8_t state, uint64_t at)
{
	st->s->dhcp.state = state;
	st->s->dhcp.at = at;
	st->s->net.dhcp_state = state;
	slow_arm(st, at);
	state_seal_net(st);
}

static uint64_t backoff(struct tp_stack *st)
{
	struct dhcp *d = &st->s->dhcp;
	uint64_t s = 4ull << MIN(d->tries, 4);

	d->tries += d->tries < 200;
	return st->now + s * USEC_PER_SEC - USEC_PER_SEC + tp_random32(st) % (2 * USEC_PER_SEC);
}

static uint8_t *opt(uint8_t *o, uint8_t type, uint8_t len, const void *v)
{
	o[0] = type;
	o[1] = len;
	memcpy(o + 2, v, len);
	return o + 2 + len;
}

static void dhcp_send(struct tp_stack *st, uint8_t type)
{
	static const uint8_t params[] = {OPT_MASK,   OPT_ROUTER, OPT_DNS, OPT_DOMAIN, OPT_MTU,
					 OPT_ROUTES, OPT_LEASE,  OPT_T1,  OPT_T2};
	static const uint8_t bcast[6] = {255, 255, 255, 255, 255, 255};
	struct dhcp *d = &st->s->dhcp;
	uint8_t buf[20 + 8 + 548], id[7] = {1}, *o;
	const uint8_t *mac = bcast;
	struct ip4_hdr *ip = (struct ip4_hdr *)buf;
	struct udp_hdr *u = (struct udp_hdr *)(buf + 20);
	struct dhcp_msg *m = (struct dhcp_msg *)(buf + 28);
	bool bound = d->state == DH_RENEWING || d->state == DH_REBINDING;
	struct ipa src, dst;
	uint32_t len, pseudo;

	memset(buf, 0, sizeof(buf));
	m->op = m->htype = 1;
	m->hlen = 6;
	m->xid = d->xid;
	m->secs = be16((uint16_t)MIN((st->now - d->start) / USEC_PER_SEC, 65535u));
	if (bound)
		m->ciaddr = d->addr;
	memcpy(m->chaddr, st->s->ifs[d->ifi].mac, 6);
	m->cookie = be32(DHCP_COOKIE);
	o = opt(buf + 28 + sizeof(*m), OPT_TYPE, 1, &type);
	memcpy(id + 1, m->chaddr, 6);
	o = opt(o, OPT_CLIENT_ID, 7, id);
	if ((type == REQUEST && !bound) || type == DECLINE) {
		o = opt(o, OPT_REQUESTED, 4, &d->addr);
		o = opt(o, OPT_SERVER, 4, &d->server);
	}
	if (type != DECLINE) {
		o = opt(o, OPT_PARAMS, sizeof(params), params);
		len = 0;
		while (len < 63 && st->s->net.hostname[len])
			len++;
		if (len)
			o = opt(o, OPT_HOSTNAME, (uint8_t)len, st->s->net.hostname);
	}
	*o++ = 255;
	len = MAX((uint32_t)(o - buf) - 28, 300u);
	src = ipa_from4(bound ? d->addr : 0);
	dst = ipa_from4(d->state == DH_RENEWING ? d->server : 0xffffffff);
	if (d->state == DH_RENEWING) {
		struct dst r;

		if (!route_lookup(st, &dst, &src, d->ifi, &r) && r.neigh &&
		    st->neigh[r.neigh - 1].state & ~(NUD_INCOMPLETE | NUD_FAILED))
			mac = st->neigh[r.neigh - 1].mac;
	}
	*u = (struct udp_hdr){be16(68), be16(67), be16((uint16_t)(8 + len)), 0};
	pseudo = csum_pseudo(&src, &dst, IPPROTO_UDP_, 8 + len);
	u->csum = csum_fold(csum_add(u, 8 + len, pseudo));
	*ip = (struct ip4_hdr){.vhl = 0x45,
			       .len = be16((uint16_t)(28 + len)),
			       .ttl = 64,
			       .proto = IPPROTO_UDP_,
			       .src = src.w[3],
			       .dst = dst.w[3]};
	ip->csum = csum_fold(csum_ip4(ip));
	eth_send(st, d->ifi, mac, ETH_P_IP, buf, 28 + len);
}

static void discover(struct tp_stack *st)
{
	st->s->dhcp.xid = tp_random32(st);
	st->s->dhcp.state = DH_SELECTING;
	dhcp_send(st, DISCOVER);
	dhcp_set(st, DH_SELECTING, backoff(st));
}

void dhcp_start(struct tp_stack *st, unsigned ifi)
{
	struct dhcp *d = &st->s->dhcp;

	if (d->state >= DH_BOUND && d->ifi == ifi) { /* cable back: is the lease still good? */
		dhcp_set(st, DH_REBINDING, st->now);
		return;
	}
	*d = (struct dhcp){.ifi = (uint8_t)ifi, .start = st->now};
	dhcp_set(st, DH_SELECTING, st->now);
}

struct lease {
	uint8_t type;
	uint32_t server, mask, router, lease, t1, t2;
	uint16_t mtu;
	const uint8_t *dns, *routes, *domain;
	uint8_t ndns, nroutes, ndomain;
};

static bool parse_options(const uint8_t *o, uint32_t len, struct lease *l)
{
	while (len) {
		uint8_t t = o[0], n;
		const uint8_t *v = o + 2;

		if (t == 0) {
			o++, len--;
			continue;
		}
		if (t == 255)
			return true;
		if (len < 2 || (n = o[1]) > len - 2)
			return false;
		if (t == OPT_TYPE && n == 1)
			l->type = v[0];
		else if (t == OPT_SERVER && n == 4)
			memcpy(&l->server, v, 4);
		else if (t == OPT_MASK && n == 4)
			l->mask = get32(v);
		else if (t == OPT_ROUTER && n >= 4)
			memcpy(&l->router, v, 4);
		else if (t == OPT_LEASE && n == 4)
			l->lease = get32(v);
		else if (t == OPT_T1 && n == 4)
			l->t1 = get32(v);
		else if (t == OPT_T2 && n == 4)
			l->t2 = get32(v);
		else if (t == OPT_MTU && n == 2)
			l->mtu = get16(v);
		else if (t == OPT_DNS)
			l->dns = v, l->ndns = n / 4;
		else if (t == OPT_ROUTES)
			l->routes = v, l->nroutes = n;
		else if (t == OPT_DOMAIN)
			l->domain = v, l->ndomain = n;
		o += 2 + n;
		len -= 2u + n;
	}
	return true;
}

/* RFC 3442: width, significant octets of the destination, router. */
static bool add_classless(struct tp_stack *st, const struct lease *l)
{
	const uint8_t *o = l->routes, *end;
	bool any = false;

	if (!o)
		return false;
	end = o + l->nroutes;
	while (o < end) {
		unsigned w = o[0], n = (w + 7) / 8;
		struct route r = {.dst = ipa_from4(0),
				  .plen = (uint8_t)(96 + w),
				  .used = 1,
				  .ifi = st->s->dhcp.ifi,
				  .proto = 16,
				  .expires = NEVER};
		uint32_t gw;

		if (w > 32 || (size_t)(end - o) < 1 + n + 4)
			return any;
		memcpy(r.dst.b + 12, o + 1, n);
		memcpy(&gw, o + 1 + n, 4);
		r.gw = ipa_from4(gw);
		route_add(st, &r);
		any = true;
		o += 1 + n + 4;
	}
	return any;
}

static void lease_drop(struct tp_stack *st)
{
	struct ipa a = ipa_from4(st->s->dhcp.addr);
	struct ifaddr *i = addr_find(st, &a);

	for (struct route *r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (r->used && r->proto == 16)
			r->used = 0;
	}
	if (i)
		addr_remove(st, i);
	route_changed(st);
}

static void lease_take(struct tp_stack *st, const struct lease *l)
{
	struct dhcp *d = &st->s->dhcp;
	uint32_t lease = l->lease ? l->lease : 3600;
	uint32_t t1 = l->t1 && l->t1 < lease ? l->t1 : lease / 2;
	uint32_t t2 = l->t2 && l->t2 < lease && l->t2 > t1 ? l->t2 : lease / 8 * 7;
	bool forever = lease == 0xffffffff;

	d->mask = l->mask ? l->mask : 0xffffff00;
	d->router = l->router;
	d->server = l->server;
	d->t1 = forever ? NEVER : st->now + (uint64_t)t1 * USEC_PER_SEC;
	d->t2 = forever ? NEVER : st->now + (uint64_t)t2 * USEC_PER_SEC;
	d->expire = forever ? NEVER : st->now + (uint64_t)lease * USEC_PER_SEC;
	st->s->net.lease_s = lease;
	if (l->mtu >= 576 && l->mtu <= st->s->ifs[d->ifi].mtu)
		st->s->ifs[d->ifi].mtu = l->mtu;
	for (unsigned i = 0; i < MIN(l->ndns, 4); i++) {
		struct ipa a = ipa_from4(0);

		memcpy(a.b + 12, l->dns + 4 * i, 4);
		memcpy(st->s->net.dns[i], a.b, 16);
	}
	if (l->ndomain) {
		memset(st->s->net.domain, 0, sizeof(st->s->net.domain));
		memcpy(st->s->net.domain, l->domain, MIN(l->ndomain, 63));
	}
}

static void lease_use(struct tp_stack *st)
{
	struct dhcp *d = &st->s->dhcp;
	struct ipa a = ipa_from4(d->addr);
	unsigned plen = 96 + (unsigned)__builtin_popcount(d->mask);

	addr_add(st, d->ifi, &a, plen, AF_DHCP, d->expire, d->expire);
	if (d->router) {
		struct route r = {.dst = ipa_from4(0),
				  .plen = 96,
				  .ifi = d->ifi,
				  .proto = 16,
				  .used = 1,
				  .gw = ipa_from4(d->router),
				  .expires = NEVER};

		route_add(st, &r);
	}
	tp_logf(st, "dhcp: bound to", &a, 0);
	d->tries = 0;
	dhcp_set(st, DH_BOUND, d->t1);
}

static void on_ack(struct tp_stack *st, const struct lease *l, uint32_t addr)
{
	struct dhcp *d = &st->s->dhcp;
	bool renewed = d->state != DH_REQUESTING;

	STAT(st, Dhcp_Acks);
	if (renewed && addr != d->addr)
		lease_drop(st);
	d->addr = addr;
	lease_take(st, l);
	if (add_classless(st, l))
		d->router = 0;
	if (renewed) {
		lease_use(st);
		return;
	}
	arp_probe(st, d->ifi, addr);
	dhcp_set(st, DH_PROBING, st->now + 200000);
}

/* A server's message, from any address to any address, before IP would accept it. */
bool dhcp_input(struct tp_stack *st, struct pkt *p)
{
	struct dhcp *d = &st->s->dhcp;
	const uint8_t *b = p->data;
	struct udp_hdr u;
	struct dhcp_msg m;
	struct lease l = {0};
	uint32_t len, pseudo;

	if (!d->state || d->ifi != p->ifi || p->len < 8)
		return false;
	memcpy(&u, b, 8);
	if (u.dport != be16(68) || u.sport != be16(67))
		return false;
	len = be16(u.len);
	if (len < 8 + sizeof(m) || len > p->len)
		goto bad;
	pseudo = csum_pseudo(&p->src, &p->dst, IPPROTO_UDP_, len);
	if (u.csum && !p->csum_ok && csum_fold(csum_add(b, len, pseudo)))
		goto bad;
	memcpy(&m, b + 8, sizeof(m));
	if (m.op != 2 || m.cookie != be32(DHCP_COOKIE) || m.xid != d->xid ||
	    memcmp(m.chaddr, st->s->ifs[d->ifi].mac, 6) ||
	    !parse_options(b + 8 + sizeof(m), len - 8 - (uint32_t)sizeof(m), &l) || !l.server)
		goto bad;
	if (l.type == OFFER && d->state == DH_SELECTING && m.yiaddr) {
		d->addr = m.yiaddr;
		d->server = l.server;
		d->state = DH_REQUESTING;
		d->tries = 0;
		dhcp_send(st, REQUEST);
		dhcp_set(st, DH_REQUESTING, backoff(st));
	} else if (l.type == ACK && m.yiaddr &&
		   (d->state == DH_REQUESTING || d->state == DH_RENEWING ||
		    d->state == DH_REBINDING)) {
		on_ack(st, &l, m.yiaddr);
	} else if (l.type == NAK && d->state != DH_SELECTING && d->state != DH_BOUND) {
		STAT(st, Dhcp_Naks);
		lease_drop(st);
		dhcp_set(st, DH_SELECTING, st->now + USEC_PER_SEC);
	}
	return true;
bad:
	STAT(st, Dhcp_Bad);
	return true;
}

/* Somebody else uses the address we probe for: refuse it, wait, ask for another. */
void dhcp_conflict(struct tp_stack *st, uint32_t addr)
{
	struct dhcp *d = &st->s->dhcp;
	struct ipa a = ipa_from4(addr);

	if (d->state != DH_PROBING || addr != d->addr)
		return;
	tp_logf(st, "dhcp: address in use by another station:", &a, 0);
	dhcp_send(st, DECLINE);
	d->addr = 0;
	dhcp_set(st, DH_SELECTING, st->now + 10ull * USEC_PER_SEC);
}

uint64_t dhcp_tick(struct tp_stack *st)
{
	struct dhcp *d = &st->s->dhcp;

	if (!d->state)
		return NEVER;
	if (d->at > st->now || !st->s->ifs[d->ifi].link)
		return st->s->ifs[d->ifi].link ? d->at : NEVER;
	switch (d->state) {
	case DH_SELECTING:
		if (d->tries && d->tries % 4 == 0) {
			STAT(st, Dhcp_Timeouts);
			tp_logf(st, "dhcp: no server answers, tries", NULL, d->tries);
		}
		discover(st);
		break;
	case DH_REQUESTING:
		if (d->tries > 3) {
			d->tries = 0;
			discover(st);
		} else {
			dhcp_send(st, REQUEST);
			dhcp_set(st, DH_REQUESTING, backoff(st));
		}
		break;
	case DH_PROBING:
		lease_use(st);
		break;
	case DH_BOUND:
		d->xid = tp_random32(st);
		d->start = st->now;
		d->state = DH_RENEWING;
		__attribute__((fallthrough));
	case DH_RENEWING:
	case DH_REBINDING:
		if (st->now >= d->expire) {
			tp_logf(st, "dhcp: lease lost, the server is gone", NULL, 0);
			lease_drop(st);
			d->tries = 0;
			dhcp_set(st, DH_SELECTING, st->now);
			break;
		}
		if (st->now >= d->t2)
			d->state = DH_REBINDING;
		dhcp_send(st, REQUEST);
		dhcp_set(st, d->state,
			 MIN(d->expire, st->now + MAX((d->state == DH_RENEWING
							   ? d->t2 - MIN(d->t2, st->now)
							   : d->expire - st->now) /
							  2,
						      60ull * USEC_PER_SEC)));
		break;
	}
	return d->at;
}
