/* SPDX-License-Identifier: ISC */
/*
 * IPv6 neighbour discovery (RFC 4861), address autoconfiguration with duplicate
 * detection (RFC 4862), DNS from router advertisements (RFC 8106), and the multicast
 * reports that snooping switches need (MLDv2, RFC 3810; IGMPv3, RFC 3376).
 *
 * The link-local interface identifier is a keyed hash of the MAC (RFC 7217): stable for
 * the life of the state area, saying nothing about the hardware. Every message is
 * believed only with hop limit 255, which proves that it came from this link.
 * Redirects are ignored.
 *
 * Duplicate detection is optimistic (RFC 4429): an address works at once, but until it is
 * known to be ours alone we neither override a neighbour's entry nor name our MAC in
 * solicitations. A cell answers within milliseconds of its start.
 */
#include "mcast.h"

static const struct ipa all_nodes = {.b = {0xff, 2, [15] = 1}};
static const struct ipa all_routers = {.b = {0xff, 2, [15] = 2}};

const struct ipa *linklocal_of(struct tp_stack *st, unsigned ifi)
{
	for (unsigned i = 0; i < MAX_ADDR; i++) {
		struct ifaddr *a = &st->s->addr[i];

		if (a->used && a->ifi == ifi && ipa_linklocal(&a->addr) &&
		    !(a->flags & (AF_TENTATIVE | AF_DADFAILED)))
			return &a->addr;
	}
	return NULL;
}

/* Multicast or unicast send without a neighbour lookup; mac NULL: from the group. */
static void nd_send(struct tp_stack *st, unsigned ifi, const struct ipa *src,
		    const struct ipa *dst, const uint8_t *mac, const uint8_t *msg, uint32_t len)
{
	uint8_t buf[40 + 88], group[6] = {0x33, 0x33};
	struct ip6_hdr *h = (struct ip6_hdr *)buf;
	uint32_t pseudo = csum_pseudo(src, dst, IPPROTO_ICMPV6_, len);
	uint16_t c;

	*h = (struct ip6_hdr){.vtf = be32(6u << 28),
			      .len = be16((uint16_t)len),
			      .next = IPPROTO_ICMPV6_,
			      .hops = 255};
	memcpy(h->src, src->b, 16);
	memcpy(h->dst, dst->b, 16);
	memcpy(buf + 40, msg, len);
	c = csum_fold(csum_add(buf + 40, len, pseudo));
	memcpy(buf + 42, &c, 2);
	memcpy(group + 2, dst->b + 12, 4);
	STAT(st, Icmp_OutMsgs);
	eth_send(st, ifi, mac ? mac : group, ETH_P_IPV6, buf, 40 + len);
}

void nd_solicit(struct tp_stack *st, unsigned ifi, const struct ipa *target, bool dad,
		const uint8_t *mac)
{
	uint8_t m[32] = {135};
	struct ipa src = {.q = {0, 0}}, dst = {.b = {0xff, 2, [11] = 1, [12] = 0xff}};
	struct dst d;

	memcpy(dst.b + 13, target->b + 13, 3);
	memcpy(m + 8, target->b, 16);
	if (!dad && if_hidden(st, ifi)) {
		src = st->s->share[1].addr;
	} else if (!dad) {
		const struct ifaddr *a;

		if (route_lookup(st, target, NULL, ifi, &d))
			return;
		src = d.src;
		a = addr_find(st, &src);
		dad = a && a->flags & AF_TENTATIVE;
	}
	if (!dad) {
		m[24] = 1;
		m[25] = 1;
		memcpy(m + 26, st->s->ifs[ifi].mac, 6);
	}
	nd_send(st, ifi, &src, mac ? target : &dst, mac, m, dad ? 24 : 32);
}

static void nd_answer(struct tp_stack *st, unsigned ifi, const struct ipa *target,
		      const struct ipa *to, const uint8_t *mac, bool solicited)
{
	const struct ifaddr *a = addr_find(st, target);
	uint8_t m[32] = {136};

	m[4] = solicited ? 0x40 : 0;
	if (!a || !(a->flags & AF_TENTATIVE))
		m[4] |= 0x20; /* override */
	memcpy(m + 8, target->b, 16);
	m[24] = 2;
	m[25] = 1;
	memcpy(m + 26, st->s->ifs[ifi].mac, 6);
	nd_send(st, ifi, target, to, mac, m, 32);
}

void nd_advertise(struct tp_stack *st, unsigned ifi, const struct ipa *target)
{
	nd_answer(st, ifi, target, &all_nodes, NULL, false);
}

/* An interface identifier, RFC 7217 section 5. */
static struct ipa make_addr(struct tp_stack *st, unsigned ifi, const struct ipa *prefix)
{
	struct {
		struct ipa p;
		uint8_t mac[8];
	} k = {*prefix, {0}};
	struct ipa a = *prefix;

	memcpy(k.mac, st->s->ifs[ifi].mac, 6);
	a.q[1] = siphash(st->s->secret + 2, &k, sizeof(k));
	return a;
}

void nd_if_up(struct tp_stack *st, unsigned ifi)
{
	struct ipa prefix = {.b = {0xfe, 0x80}}, a = make_addr(st, ifi, &prefix);
	struct netif *n = &st->s->ifs[ifi];

	addr_add(st, ifi, &a, 64, AF_PERMANENT, NEVER, NEVER);
	n->rs_left = n->slaac ? 3 : 0;
	n->rs_at = n->slaac ? st->now : NEVER;
	slow_arm(st, n->rs_at);
}

static void rs_send(struct tp_stack *st, unsigned ifi)
{
	uint8_t m[16] = {133};
	const struct ipa *src = linklocal_of(st, ifi);
	struct ipa any = {.q = {0, 0}};

	m[8] = 1;
	m[9] = 1;
	memcpy(m + 10, st->s->ifs[ifi].mac, 6);
	nd_send(st, ifi, src ? src : &any, &all_routers, NULL, m, src ? 16 : 8);
}

static void dad_failed(struct tp_stack *st, struct ifaddr *a)
{
	a->flags |= AF_DADFAILED;
	a->dad_at = NEVER;
	tp_logf(st, "duplicate address, not used:", &a->addr, 0);
	route_changed(st);
}

uint64_t nd_tick(struct tp_stack *st)
{
	uint64_t next = NEVER;

	for (unsigned i = 0; i < MAX_ADDR; i++) {
		struct ifaddr *a = &st->s->addr[i];

		if (!a->used || !(a->flags & AF_TENTATIVE) || a->flags & AF_DADFAILED)
			continue;
		if (a->dad_at <= st->now && a->dad_left) {
			a->dad_left--;
			nd_solicit(st, a->ifi, &a->addr, true, NULL);
			a->dad_at = st->now + USEC_PER_SEC;
		} else if (a->dad_at <= st->now) {
			a->flags &= (uint8_t)~AF_TENTATIVE;
			a->dad_at = NEVER;
			route_changed(st);
			nd_advertise(st, a->ifi, &a->addr);
		}
		next = MIN(next, a->dad_at);
	}
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		struct netif *n = &st->s->ifs[i];

		if (!n->used || !n->rs_left)
			continue;
		if (n->rs_at <= st->now) {
			rs_send(st, i);
			n->rs_left--;
			n->rs_at = st->now + 4ull * USEC_PER_SEC;
		}
		next = MIN(next, n->rs_at);
	}
	return next;
}

/* Finds option `type`; NULL if absent or the options are malformed. *len: its bytes. */
static const uint8_t *nd_option(const struct pkt *p, uint32_t off, uint8_t type,
				const uint8_t *after, uint32_t *len)
{
	while (off < p->len) {
		uint32_t n;

		if (p->len - off < 8 || !(n = p->data[off + 1] * 8u) || n > p->len - off)
			return NULL;
		if (p->data[off] == type && p->data + off > after) {
			*len = n;
			return p->data + off;
		}
		off += n;
	}
	return NULL;
}

static bool nd_options_ok(const struct pkt *p, uint32_t off)
{
	while (off < p->len) {
		uint32_t n;

		if (p->len - off < 8 || !(n = p->data[off + 1] * 8u) || n > p->len - off)
			return false;
		off += n;
	}
	return true;
}

static void ns_input(struct tp_stack *st, struct pkt *p)
{
	struct ipa target = ipa_from6(p->data + 8);
	struct ifaddr *a = addr_find(st, &target);
	uint32_t len;
	const uint8_t *ll = nd_option(p, 24, 1, NULL, &len);

	if (!a || a->ifi != p->ifi)
		return;
	if (a->flags & AF_DADFAILED)
		return;
	if (a->flags & AF_TENTATIVE && ipa_zero6(&p->src)) {
		dad_failed(st, a);
		return;
	}
	if (ipa_zero6(&p->src)) {
		nd_advertise(st, p->ifi, &target);
		return;
	}
	if (ll && !(ll[2] & 1))
		neigh_learn(st, p->ifi, &p->src, ll + 2, false, true, true);
	nd_answer(st, p->ifi, &target, &p->src, ll ? ll + 2 : p->frame + 6, true);
}

static void na_input(struct tp_stack *st, struct pkt *p)
{
	struct ipa target = ipa_from6(p->data + 8);
	struct ifaddr *a = addr_find(st, &target);
	uint32_t len;
	const uint8_t *ll = nd_option(p, 24, 2, NULL, &len);
	uint8_t flags = p->data[4];

	if (ipa_multicast(&target) || (flags & 0x40 && p->multicast))
		return;
	if (a && a->ifi == p->ifi) {
		if (a->flags & AF_TENTATIVE)
			dad_failed(st, a);
		else
			STAT(st, Arp_Conflicts);
		return;
	}
	if (ll && !(ll[2] & 1))
		neigh_learn(st, p->ifi, &target, ll + 2, flags & 0x40, flags & 0x20, false);
}

static uint64_t lifetime(struct tp_stack *st, uint32_t s)
{
	return s == 0xffffffff ? NEVER : st->now + (uint64_t)s * USEC_PER_SEC;
}

static void ra_prefix(struct tp_stack *st, struct pkt *p, const uint8_t *o, uint32_t len)
{
	uint32_t valid, preferred;
	struct ipa prefix, a;
	struct ifaddr *have;

	if (len != 32)
		return;
	valid = get32(o + 4);
	preferred = get32(o + 8);
	prefix = ipa_from6(o + 16);
	if (ipa_linklocal(&prefix) || ipa_multicast(&prefix) || preferred > valid ||
	    ipa_is4(&prefix) || o[2] > 128)
		return;
	if (o[3] & 0x80 && valid) {
		struct route r = {.dst = prefix,
				  .plen = o[2],
				  .ifi = p->ifi,
				  .proto = 2,
				  .used = 1,
				  .expires = lifetime(st, valid)};

		route_add(st, &r);
	}
	if (!(o[3] & 0x40) || o[2] != 64 || !st->s->ifs[p->ifi].slaac)
		return;
	prefix.q[1] = 0;
	a = make_addr(st, p->ifi, &prefix);
	have = addr_find(st, &a);
	/* RFC 4862 section 5.5.3 e: an unauthenticated RA cannot shorten below 2 hours. */
	if (have && valid < 7200 && have->valid > st->now + 7200ull * USEC_PER_SEC)
		valid = 7200;
	if (valid)
		addr_add(st, p->ifi, &a, 64, AF_SLAAC, lifetime(st, valid),
			 lifetime(st, preferred));
}

static void ra_dns(struct tp_stack *st, const uint8_t *o, uint32_t len)
{
	struct ipa a;

	if (len < 24)
		return;
	a = ipa_from6(o + 8);
	for (unsigned i = 0; i < 4; i++) {
		struct ipa have = ipa_from6(st->s->net.dns[i]);

		if (ipa_eq(&have, &a))
			return;
		if (ipa_zero6(&have)) {
			memcpy(st->s->net.dns[i], a.b, 16);
			return;
		}
	}
}

static void ra_input(struct tp_stack *st, struct pkt *p)
{
	struct netif *n = &st->s->ifs[p->ifi];
	const uint8_t *o = NULL;
	uint32_t len, life = get16(p->data + 6);
	struct route r = {.ifi = p->ifi,
			  .proto = 9,
			  .used = 1,
			  .gw = p->src,
			  .metric = 1024,
			  .expires = lifetime(st, life)};

	if (!ipa_linklocal(&p->src) || !n->slaac || p->len < 16)
		return;
	n->rs_left = 0;
	if (p->data[4])
		n->hop_limit = p->data[4];
	if (life)
		route_add(st, &r);
	else
		route_del(st, &r);
	if ((o = nd_option(p, 16, 1, NULL, &len)) && !(o[2] & 1))
		neigh_learn(st, p->ifi, &p->src, o + 2, false, true, true);
	if ((o = nd_option(p, 16, 5, NULL, &len))) {
		uint32_t mtu = get32(o + 4);

		if (mtu >= 1280 && mtu <= n->mtu)
			n->ip6_mtu = (uint16_t)mtu;
	}
	for (o = NULL; (o = nd_option(p, 16, 3, o, &len));)
		ra_prefix(st, p, o, len);
	for (o = NULL; (o = nd_option(p, 16, 25, o, &len));)
		ra_dns(st, o, len);
	route_changed(st);
}

void nd_input(struct tp_stack *st, struct pkt *p)
{
	uint8_t type = p->data[0];

	if (type == 130 && ipa_linklocal(&p->src)) { /* MLD query */
		mcast_answer(st, p, true);
		return;
	}
	if (type < 134 || type > 136)
		return;
	if (p->ttl != 255 || p->data[1] || p->len < (type == 134 ? 16u : 24u) ||
	    !nd_options_ok(p, type == 134 ? 16 : 24)) {
		STAT(st, Nd_InBad);
		return;
	}
	if (type == 134)
		ra_input(st, p);
	else if (type == 135)
		ns_input(st, p);
	else
		na_input(st, p);
}
