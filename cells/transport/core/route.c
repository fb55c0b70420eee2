/* SPDX-License-Identifier: ISC */
/*
 * Addresses, routes, path MTUs, published ports, multicast groups.
 *
 * Small tables, searched from end to end: a container has a handful of each. Every change
 * raises route_gen, which makes sockets look their route up again. Address selection is
 * RFC 6724 cut to what one host with a few prefixes can meet: scope first, then the
 * longest common prefix, then preferred over deprecated.
 *
 * A published port (docker run -p) is an address of the host for which this stack
 * answers on that port alone. The switch in the nic cell steers such frames here. A
 * connection made so keeps the host's address as its own on the wire; the application
 * sees the port it listens on. There is no address translation and no table of flows.
 */
#include "mcast.h"

struct ifaddr *addr_find(struct tp_stack *st, const struct ipa *a)
{
	for (struct ifaddr *i = st->s->addr; i < st->s->addr + st->naddr; i++) {
		if (i->used && ipa_eq(&i->addr, a))
			return i;
	}
	return NULL;
}

/* Whether packets to `a` are for us. ifi 0xff: whichever interface (bind). */
bool addr_local(struct tp_stack *st, const struct ipa *a, unsigned ifi)
{
	struct ifaddr *i;

	if (ipa_loopback(a))
		return ifi == 0 || ifi == 0xff;
	i = addr_find(st, a);
	if (!i || i->flags & AF_DADFAILED)
		return false;
	return ifi == 0xff || !ipa_linklocal(a) || i->ifi == ifi || ifi == 0;
}

bool addr_broadcast(struct tp_stack *st, const struct ipa *a)
{
	if (!ipa_is4(a))
		return false;
	if (a->w[3] == 0xffffffff)
		return true;
	for (struct ifaddr *i = st->s->addr; i < st->s->addr + st->naddr; i++) {
		uint32_t mask;

		if (!i->used || !ipa_is4(&i->addr) || i->plen > 96 + 30 || i->plen <= 96)
			continue;
		mask = be32(~0u << (128 - i->plen));
		if (a->w[3] == (i->addr.w[3] | ~mask))
			return true;
	}
	return false;
}

void route_changed(struct tp_stack *st)
{
	st->route_gen++;
	pv_link_changed(st);
	state_seal_net(st);
}

static struct ipa prefix_of(const struct ipa *a, unsigned plen)
{
	struct ipa p = *a;

	for (unsigned i = 0; i < 16; i++) {
		if (i * 8 >= plen)
			p.b[i] = 0;
		else if (plen - i * 8 < 8)
			p.b[i] &= (uint8_t)(0xff00 >> (plen - i * 8));
	}
	return p;
}

struct ipa solicited_node(const struct ipa *a)
{
	struct ipa g = {.b = {0xff, 2, [11] = 1, [12] = 0xff}};

	memcpy(g.b + 13, a->b + 13, 3);
	return g;
}

int addr_add(struct tp_stack *st, unsigned ifi, const struct ipa *a, unsigned plen,
	     unsigned flags, uint64_t valid, uint64_t preferred)
{
	struct ifaddr *i = addr_find(st, a), *slot = NULL;
	struct route r = {.plen = (uint8_t)plen,
			  .ifi = (uint8_t)ifi,
			  .proto = 2,
			  .used = 1,
			  .expires = valid,
			  .src = *a};

	if (ifi >= TP_MAX_IF || !st->s->ifs[ifi].used || plen > 128 ||
	    (ipa_is4(a) && plen < 96) || ipa_any(a) || ipa_multicast(a))
		return -TE_INVAL;
	if (i) {
		i->valid = valid;
		i->preferred = preferred;
		slow_arm(st, valid);
		state_seal_net(st);
		return -TE_EXIST;
	}
	for (i = st->s->addr; i < st->s->addr + MAX_ADDR && !slot; i++)
		slot = i->used ? NULL : i;
	if (!slot)
		return -TE_NOSPC;
	st->naddr = MAX(st->naddr, (unsigned)(slot - st->s->addr) + 1);
	*slot = (struct ifaddr){.addr = *a,
				.plen = (uint8_t)plen,
				.ifi = (uint8_t)ifi,
				.flags = (uint8_t)flags,
				.used = 1,
				.valid = valid,
				.preferred = preferred,
				.dad_at = NEVER};
	slow_arm(st, valid);
	if (plen < 128) {
		r.dst = prefix_of(a, plen);
		if (!ipa_is4(a))
			r.src = (struct ipa){.q = {0, 0}};
		route_add(st, &r);
	}
	if (ifi && ipa_is4(a)) {
		arp_announce(st, ifi, a->w[3]);
	} else if (ifi) {
		struct ipa g = solicited_node(a);

		group_join(st, ifi, &g, NULL);
		if (!st->cfg.ipv6_no_dad) {
			slot->flags |= AF_TENTATIVE;
			slot->dad_left = 1;
			slot->dad_at = st->now;
			slow_arm(st, st->now);
		}
	}
	route_changed(st);
	return 0;
}

void addr_remove(struct tp_stack *st, struct ifaddr *a)
{
	struct ipa gone = a->addr, net = prefix_of(&gone, a->plen);
	unsigned plen = a->plen, ifi = a->ifi, i;

	a->used = 0;
	while (st->naddr && !st->s->addr[st->naddr - 1].used)
		st->naddr--;
	if (ifi && !ipa_is4(&gone)) {
		struct ipa g = solicited_node(&gone);

		group_leave(st, ifi, &g, NULL);
	}
	for (i = 0; i < MAX_ADDR; i++) {
		if (st->s->addr[i].used && st->s->addr[i].plen == plen &&
		    st->s->addr[i].ifi == ifi && ipa_match(&st->s->addr[i].addr, &net, plen))
			break;
	}
	for (struct route *r = st->s->route; i == MAX_ADDR && r < st->s->route + MAX_ROUTE;
	     r++) {
		if (r->used && r->proto == 2 && r->ifi == ifi && r->plen == plen &&
		    ipa_eq(&r->dst, &net))
			r->used = 0;
	}
	route_changed(st);
}

uint64_t addr_tick(struct tp_stack *st)
{
	uint64_t next = NEVER;

	for (struct ifaddr *a = st->s->addr; a < st->s->addr + MAX_ADDR; a++) {
		if (!a->used)
			continue;
		if (a->valid <= st->now) {
			tp_logf(st, "address expired:", &a->addr, 0);
			addr_remove(st, a);
		} else {
			next = MIN(next, a->valid);
		}
	}
	for (struct route *r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (r->used && r->expires <= st->now) {
			r->used = 0;
			route_changed(st);
		} else if (r->used) {
			next = MIN(next, r->expires);
		}
	}
	return next;
}

int route_add(struct tp_stack *st, const struct route *n)
{
	struct route *r, *slot = NULL;

	if (n->ifi >= TP_MAX_IF || !st->s->ifs[n->ifi].used || n->plen > 128)
		return -TE_INVAL;
	for (r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (!r->used) {
			slot = slot ? slot : r;
		} else if (r->plen == n->plen && r->ifi == n->ifi && r->metric == n->metric &&
			   ipa_eq(&r->dst, &n->dst) && ipa_eq(&r->gw, &n->gw)) {
			if (r->expires == n->expires)
				return -TE_EXIST;
			r->expires = n->expires;
			slow_arm(st, n->expires);
			state_seal_net(st);
			return -TE_EXIST;
		}
	}
	if (!slot)
		return -TE_NOSPC;
	*slot = *n;
	slot->dst = prefix_of(&n->dst, n->plen);
	slot->used = n->used ? n->used : ROUTE_USED;
	slow_arm(st, n->expires);
	route_changed(st);
	return 0;
}

int route_del(struct tp_stack *st, const struct route *n)
{
	for (struct route *r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (r->used && r->plen == n->plen && ipa_eq(&r->dst, &n->dst) &&
		    (ipa_any(&n->gw) || ipa_eq(&r->gw, &n->gw)) &&
		    (!n->ifi || r->ifi == n->ifi)) {
			r->used = 0;
			route_changed(st);
			return 0;
		}
	}
	return -TE_SRCH;
}

static unsigned common_bits(const struct ipa *a, const struct ipa *b)
{
	unsigned i;

	for (i = 0; i < 16 && a->b[i] == b->b[i]; i++)
		;
	return i == 16 ? 128
		       : i * 8 + (unsigned)__builtin_clz((uint32_t)(a->b[i] ^ b->b[i]) << 24);
}

/* RFC 3927 section 2.7: not for what is farther than the link. */
static bool linklocal(const struct ipa *a)
{
	return ipa_linklocal(a) || (ipa_is4(a) && a->b[12] == 169 && a->b[13] == 254);
}

static const struct ipa *src_select(struct tp_stack *st, const struct ipa *dst, unsigned ifi)
{
	const struct ifaddr *best = NULL;
	unsigned top = 0;

	for (struct ifaddr *a = st->s->addr; a < st->s->addr + MAX_ADDR; a++) {
		unsigned score;

		if (!a->used || a->flags & AF_DADFAILED || ipa_is4(&a->addr) != ipa_is4(dst))
			continue;
		if (ipa_loopback(&a->addr) != ipa_loopback(dst))
			continue;
		score = 1 + common_bits(&a->addr, dst);
		if (linklocal(&a->addr) ==
		    (linklocal(dst) || (!ipa_is4(dst) && ipa_multicast(dst))))
			score += 1000;
		if (a->preferred > st->now)
			score += 300;
		if (!(a->flags & AF_TENTATIVE))
			score += 200;
		if (a->ifi == ifi)
			score += 3000;
		if (score > top) {
			top = score;
			best = a;
		}
	}
	return best ? &best->addr : NULL;
}

static uint32_t pmtu_get(struct tp_stack *st, const struct ipa *dst, uint32_t mtu)
{
	for (struct pmtu *p = st->pmtu; p < st->pmtu + MAX_PMTU; p++) {
		if (!p->used || !ipa_eq(&p->dst, dst))
			continue;
		if (p->expires <= st->now) {
			p->used = 0;
			return mtu;
		}
		return MIN(mtu, p->mtu);
	}
	return mtu;
}

void pmtu_update(struct tp_stack *st, const struct ipa *dst, uint32_t mtu)
{
	struct pmtu *p, *slot = st->pmtu;

	mtu = MAX(mtu, ipa_is4(dst) ? 552u : 1280u);
	for (p = st->pmtu; p < st->pmtu + MAX_PMTU; p++) {
		if (p->used && ipa_eq(&p->dst, dst)) {
			slot = p;
			break;
		}
		if (!p->used || (slot->used && p->expires < slot->expires))
			slot = p;
	}
	if (slot->used && ipa_eq(&slot->dst, dst) && slot->mtu <= mtu)
		return;
	*slot = (struct pmtu){*dst, st->now + 600ull * USEC_PER_SEC, (uint16_t)mtu, 1};
	st->route_gen++;
}

static const struct route *route_best(struct tp_stack *st, const struct ipa *dst,
				      const struct ipa *src, unsigned bound_if, bool to_many)
{
	const struct route *best = NULL;

	/* The hidden device serves sockets bound to a visible one too, for unicast. */
	for (struct route *r = st->s->route; r < st->s->route + MAX_ROUTE; r++) {
		if (r->used != ROUTE_USED || !st->s->ifs[r->ifi].up ||
		    (to_many && if_hidden(st, r->ifi)) ||
		    (bound_if && r->ifi != bound_if && !if_hidden(st, r->ifi)) ||
		    !ipa_match(dst, &r->dst, r->plen))
			continue;
		if (r->plen == 0 && ipa_is4(dst))
			continue; /* ::/0 does not match IPv4 */
		if (!share_takes(st, r, src))
			continue;
		if (!best || r->plen > best->plen ||
		    (r->plen == best->plen &&
		     (r->metric < best->metric ||
		      (if_hidden(st, r->ifi) && !if_hidden(st, best->ifi)))))
			best = r;
	}
	return best;
}

static unsigned first_dev(struct tp_stack *st)
{
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		if (st->s->ifs[i].used && st->s->ifs[i].up && !if_hidden(st, i))
			return i;
	}
	return 0;
}

/*
 * How to reach dst: 0 and *out filled, or -errno. src: address to send from, NULL or
 * unspecified: chosen here.
 */
int route_lookup(struct tp_stack *st, const struct ipa *dst, const struct ipa *src,
		 unsigned bound_if, struct dst *out)
{
	const struct route *r = NULL;
	const struct ipa *s;

	memset(out, 0, sizeof(*out));
	out->hop = *dst;
	if (addr_local(st, dst, 0xff)) {
		out->local = true;
		out->mtu = st->s->ifs[0].mtu;
		out->src = src && !ipa_any(src) ? *src : *dst;
		return 0;
	}
	out->multicast = ipa_multicast(dst);
	out->broadcast = addr_broadcast(st, dst);
	r = route_best(st, dst, src, bound_if, out->multicast || out->broadcast);
	if (r) {
		out->ifi = r->ifi;
		if (!ipa_any(&r->gw) && !out->multicast && !out->broadcast)
			out->hop = r->gw;
	} else if (out->multicast || out->broadcast || ipa_linklocal(dst)) {
		out->ifi = (uint8_t)(bound_if ? bound_if : first_dev(st));
	}
	if (!out->ifi) {
		STAT(st, Ip_OutNoRoutes);
		return -TE_NETUNREACH;
	}
	if (!st->s->ifs[out->ifi].link)
		return -TE_NETUNREACH;
	out->mtu = ipa_is4(dst) ? st->s->ifs[out->ifi].mtu : st->s->ifs[out->ifi].ip6_mtu;
	out->mtu = pmtu_get(st, dst, out->mtu);
	if (r && if_hidden(st, r->ifi)) {
		out->src = r->src; /* whatever the application is bound to */
	} else if (src && !ipa_any(src)) {
		out->src = *src;
	} else {
		s = r && !ipa_zero6(&r->src) && ipa_is4(dst) ? &r->src
							     : src_select(st, dst, out->ifi);
		if (!s && !(out->multicast || out->broadcast))
			return -TE_ADDRNOTAVAIL;
		out->src = s ? *s : ipa_is4(dst) ? ipa_from4(0) : (struct ipa){.q = {0, 0}};
	}
	if (!out->multicast && !out->broadcast) {
		out->neigh =
		    neigh_find(st, out->ifi, &out->hop,
			       !ipa_eq(&out->hop, &out->src) || share_is(st, &out->hop));
		if (!out->neigh)
			return -TE_HOSTUNREACH;
	}
	return 0;
}

const struct publish *publish_find(struct tp_stack *st, uint8_t proto, const struct ipa *host,
				   uint16_t port)
{
	for (struct publish *p = st->s->pub; p < st->s->pub + MAX_PUB; p++) {
		if (p->used && p->proto == proto && p->host_port == port &&
		    (p->shared
			 ? p->shared & (ipa_is4(host) ? TP_V4 : TP_V6) && share_is(st, host)
			 : ipa_eq(&p->host, host)))
			return p;
	}
	return NULL;
}

bool publish_host(struct tp_stack *st, const struct ipa *host)
{
	for (struct publish *p = st->s->pub; p < st->s->pub + MAX_PUB; p++) {
		if (p->used && !p->shared && ipa_eq(&p->host, host))
			return true;
	}
	return false;
}
