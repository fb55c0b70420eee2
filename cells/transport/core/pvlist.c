/* SPDX-License-Identifier: ISC */
/*
 * Lists and configuration: what netlink, /proc/net and `ip` show, as records, and the few
 * changes a container may make to its own network.
 */
#include "tcp.h"

static uint8_t family_of(const struct ipa *a)
{
	return ipa_is4(a) ? PVS_AF_INET : PVS_AF_INET6;
}

static void addr_bytes(const struct ipa *a, uint8_t *out)
{
	if (ipa_is4(a))
		memcpy(out, a->b + 12, 4);
	else
		memcpy(out, a->b, 16);
}

static struct ipa addr_from(uint8_t family, const uint8_t *b)
{
	struct ipa a = ipa_from4(0);

	if (family != PVS_AF_INET)
		return ipa_from6(b);
	memcpy(&a.w[3], b, 4);
	return a;
}

static bool link_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct netif *n = &st->s->ifs[i];
	const struct ifstat *f = &st->s->ifstat[i];
	struct pvs_link *r = out;

	if (!n->used || n->hidden)
		return false;
	*r = (struct pvs_link){.ifindex = i + 1,
			       .mtu = n->mtu,
			       .type = i ? 1 : 772,
			       .rx_packets = f->rx_packets,
			       .tx_packets = f->tx_packets,
			       .rx_bytes = f->rx_bytes,
			       .tx_bytes = f->tx_bytes,
			       .rx_errors = f->rx_errors,
			       .tx_errors = f->tx_errors,
			       .rx_dropped = f->rx_dropped,
			       .tx_dropped = f->tx_dropped};
	r->flags = (n->up ? 1u : 0) | (n->link && n->up ? 0x40u : 0) | (i ? 0x1002u : 8u);
	memcpy(r->mac, n->mac, 6);
	memcpy(r->name, n->name, 16);
	for (unsigned h = 1; i && h < TP_MAX_IF; h++) {
		const struct ifstat *o = &st->s->ifstat[h];

		if (!if_hidden(st, h) || share_face(st, h) != i)
			continue;
		r->rx_packets += o->rx_packets;
		r->tx_packets += o->tx_packets;
		r->rx_bytes += o->rx_bytes;
		r->tx_bytes += o->tx_bytes;
	}
	return true;
}

static uint32_t seconds_left(struct tp_stack *st, uint64_t at)
{
	return at == NEVER ? UINT32_MAX
			   : (uint32_t)((at > st->now ? at - st->now : 0) / USEC_PER_SEC);
}

static bool addr_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct ifaddr *a = &st->s->addr[i];
	struct pvs_ifaddr *r = out;

	if (!a->used || if_hidden(st, a->ifi))
		return false;
	*r = (struct pvs_ifaddr){.ifindex = a->ifi + 1u,
				 .family = family_of(&a->addr),
				 .prefixlen = (uint8_t)(a->plen - (ipa_is4(&a->addr) ? 96 : 0)),
				 .scope = ipa_loopback(&a->addr)    ? 254
					  : ipa_linklocal(&a->addr) ? 253
								    : 0,
				 .valid_s = seconds_left(st, a->valid),
				 .preferred_s = seconds_left(st, a->preferred)};
	r->flags =
	    (uint8_t)((a->flags & AF_TENTATIVE ? 0x40 : 0) | (a->flags & AF_DADFAILED ? 8 : 0) |
		      (a->valid == NEVER ? 0x80 : 0) | (a->preferred <= st->now ? 0x20 : 0));
	addr_bytes(&a->addr, r->addr);
	if (r->family == PVS_AF_INET && a->ifi && r->prefixlen < 31) {
		uint32_t b = a->addr.w[3] | ~be32(~0u << (32 - r->prefixlen));

		memcpy(r->broadcast, &b, 4);
	}
	return true;
}

static bool route_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct route *o = &st->s->route[i];
	struct pvs_route *r = out;

	if (!o->used || if_hidden(st, o->ifi))
		return false;
	/* A default route's all-zero prefix does not tell the family; its length does. */
	*r = (struct pvs_route){.family = ipa_is4(&o->dst) ? PVS_AF_INET : PVS_AF_INET6,
				.type = 1,
				.proto = o->proto,
				.ifindex = o->ifi + 1u,
				.metric = o->metric};
	r->dst_len = (uint8_t)(o->plen - (r->family == PVS_AF_INET ? 96 : 0));
	addr_bytes(&o->dst, r->dst);
	if (!ipa_any(&o->gw))
		addr_bytes(&o->gw, r->gateway);
	else
		r->scope = 253;
	if (!ipa_any(&o->src))
		addr_bytes(&o->src, r->prefsrc);
	return true;
}

static bool neigh_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct neigh *n = &st->neigh[i];
	struct pvs_neigh *r = out;

	if (!n->state || if_hidden(st, n->ifi))
		return false;
	*r = (struct pvs_neigh){
	    .family = family_of(&n->addr), .state = n->state, .ifindex = n->ifi + 1u};
	addr_bytes(&n->addr, r->addr);
	memcpy(r->mac, n->mac, 6);
	return true;
}

static bool sock_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct sock *s = SOCK(st, i);
	struct pvs_sockinfo *r = out;
	struct ipa local, peer;

	if (!i || s->kind == SK_FREE)
		return false;
	local = addr_apparent(st, s);
	peer = peer_apparent(st, s);
	*r = (struct pvs_sockinfo){.sock = s->slot,
				   .domain = s->domain,
				   .type = s->type,
				   .protocol = s->proto,
				   .state = s->kind == SK_TCP         ? s->state
					    : s->flags & SF_CONNECTED ? TS_ESTABLISHED
								      : TS_CLOSED,
				   .txq = s->tx_prod - s->tx_cons,
				   .rxq = s->state == TS_LISTEN && s->kind == SK_TCP
					      ? s->t.nacc
					      : s->rx_prod - s->rx_cons};
	pv_addr_out(s, &local, s->kind == SK_TCP ? s->app_port : s->lport, &r->local);
	pv_addr_out(s, &peer, s->rport, &r->peer);
	return true;
}

static bool pub_rec(struct tp_stack *st, uint32_t i, void *out)
{
	const struct publish *p = &st->s->pub[i];
	struct pvs_publish *r = out;

	if (!p->used)
		return false;
	*r = (struct pvs_publish){.protocol = p->proto,
				  .family = family_of(&p->host),
				  .host_port = be16(p->host_port),
				  .port = be16(p->port)};
	addr_bytes(&p->host, r->host_addr);
	return true;
}

static bool config_rec(struct tp_stack *st, uint32_t i, void *out)
{
	memcpy(out, &st->s->net, sizeof(struct pvs_config));
	return true;
}

static bool stat_rec(struct tp_stack *st, uint32_t i, void *out)
{
	struct pvs_stat *r = out;
	const char *n = stat_name_of(i);

	memset(r, 0, sizeof(*r));
	for (unsigned k = 0; k < sizeof(r->name) - 1 && n[k]; k++)
		r->name[k] = n[k];
	r->value = st->stat[i];
	return true;
}

static const struct list_kind {
	bool (*get)(struct tp_stack *st, uint32_t i, void *out);
	uint32_t size, count;
} kinds[] = {
    [PVS_LIST_LINK] = {link_rec, sizeof(struct pvs_link), TP_MAX_IF},
    [PVS_LIST_ADDR] = {addr_rec, sizeof(struct pvs_ifaddr), MAX_ADDR},
    [PVS_LIST_ROUTE] = {route_rec, sizeof(struct pvs_route), MAX_ROUTE},
    [PVS_LIST_NEIGH] = {neigh_rec, sizeof(struct pvs_neigh), MAX_NEIGH},
    [PVS_LIST_SOCKET] = {sock_rec, sizeof(struct pvs_sockinfo), 0},
    [PVS_LIST_PUBLISH] = {pub_rec, sizeof(struct pvs_publish), MAX_PUB},
    [PVS_LIST_CONFIG] = {config_rec, sizeof(struct pvs_config), 1},
    [PVS_LIST_STATS] = {stat_rec, sizeof(struct pvs_stat), STAT_COUNT},
};

/* `start` counts records that exist, so that a list can be read in pieces. */
int pv_list(struct tp_stack *st, uint32_t what, uint32_t start, uint8_t *buf, uint32_t len)
{
	const struct list_kind *k;
	uint32_t count, seen = 0;
	int n = 0;
	union {
		struct pvs_link link;
		struct pvs_config config;
		struct pvs_sockinfo sock;
	} rec;

	if (what >= sizeof(kinds) / sizeof(kinds[0]))
		return -TE_INVAL;
	k = &kinds[what];
	count = what == PVS_LIST_SOCKET ? st->high : k->count;
	for (uint32_t i = 0; i < count && len >= k->size; i++) {
		if (!k->get(st, i, &rec) || seen++ < start)
			continue;
		memcpy(buf, &rec, k->size);
		buf += k->size;
		len -= k->size;
		n++;
	}
	return n;
}

/* ---- changes ---- */

static int control_addr(struct tp_stack *st, uint32_t op, const struct pvs_ifaddr *r)
{
	struct ipa a = addr_from(r->family, r->addr);
	struct ifaddr *have;
	int e;

	if ((r->family != PVS_AF_INET && r->family != PVS_AF_INET6) || !r->ifindex ||
	    r->ifindex > TP_MAX_IF || r->prefixlen > (r->family == PVS_AF_INET ? 32 : 128))
		return -TE_INVAL;
	if (op == PVS_OP_DEL) {
		have = addr_find(st, &a);
		if (!have || have->ifi != r->ifindex - 1)
			return -TE_ADDRNOTAVAIL;
		addr_remove(st, have);
		return 0;
	}
	if (op != PVS_OP_ADD)
		return -TE_INVAL;
	e = addr_add(st, r->ifindex - 1, &a, r->prefixlen + (ipa_is4(&a) ? 96u : 0),
		     AF_PERMANENT, NEVER, NEVER);
	return e;
}

static int control_route(struct tp_stack *st, uint32_t op, const struct pvs_route *r)
{
	struct route n = {
	    .used = 1, .proto = r->proto ? r->proto : 3, .metric = r->metric, .expires = NEVER};

	if ((r->family != PVS_AF_INET && r->family != PVS_AF_INET6) || r->ifindex > TP_MAX_IF ||
	    r->dst_len > (r->family == PVS_AF_INET ? 32 : 128))
		return -TE_INVAL;
	n.dst = addr_from(r->family, r->dst);
	n.gw = addr_from(r->family, r->gateway);
	n.src = addr_from(r->family, r->prefsrc);
	if (ipa_any(&n.src))
		n.src = (struct ipa){.q = {0, 0}};
	n.plen = (uint8_t)(r->dst_len + (r->family == PVS_AF_INET ? 96 : 0));
	n.ifi = (uint8_t)(r->ifindex ? r->ifindex - 1 : 0);
	if (op == PVS_OP_DEL)
		return route_del(st, &n);
	if (op != PVS_OP_ADD)
		return -TE_INVAL;
	if (!r->ifindex) { /* through the interface that reaches the gateway */
		struct dst d;
		int e = route_lookup(st, &n.gw, NULL, 0, &d);

		if (e)
			return e;
		n.ifi = d.ifi;
	}
	return route_add(st, &n);
}

static int control_link(struct tp_stack *st, uint32_t op, const struct pvs_link *r)
{
	struct netif *n;

	if (op != PVS_OP_SET || !r->ifindex || r->ifindex > TP_MAX_IF)
		return -TE_INVAL;
	n = &st->s->ifs[r->ifindex - 1];
	if (!n->used)
		return -TE_SRCH;
	if (r->mtu && r->ifindex > 1) {
		if (r->mtu < 576 || r->mtu > 65521)
			return -TE_INVAL;
		n->mtu = (uint16_t)r->mtu;
		n->ip6_mtu = (uint16_t)MAX(r->mtu, 1280u);
	}
	n->up = r->flags & 1;
	route_changed(st);
	return 0;
}

static int control_publish(struct tp_stack *st, uint32_t op, const struct pvs_publish *r)
{
	struct ipa host = addr_from(r->family, r->host_addr);

	for (unsigned i = 0; i < MAX_PUB; i++) {
		struct publish *p = &st->s->pub[i];

		if (!p->used || p->proto != r->protocol || p->host_port != be16(r->host_port) ||
		    !ipa_eq(&p->host, &host))
			continue;
		if (op == PVS_OP_ADD)
			return -TE_EXIST;
		p->used = 0;
		state_seal_net(st);
		return 0;
	}
	if (op != PVS_OP_ADD)
		return -TE_SRCH;
	return tp_publish(st, r->protocol, host.b, be16(r->host_port), be16(r->port));
}

static int control_neigh(struct tp_stack *st, uint32_t op, const struct pvs_neigh *r)
{
	struct ipa a = addr_from(r->family, r->addr);
	uint32_t i;

	if (r->ifindex < 2 || r->ifindex > TP_MAX_IF)
		return -TE_INVAL;
	i = neigh_find(st, r->ifindex - 1, &a, op == PVS_OP_ADD);
	if (!i)
		return -TE_SRCH;
	st->route_gen++;
	if (op == PVS_OP_DEL) {
		st->neigh[i - 1].state = NUD_FAILED;
		return 0;
	}
	if (op != PVS_OP_ADD)
		return -TE_INVAL;
	neigh_learn(st, r->ifindex - 1, &a, r->mac, true, true, false);
	st->neigh[i - 1].state = NUD_PERMANENT;
	return 0;
}

int pv_control(struct tp_stack *st, uint32_t what, uint32_t op, const uint8_t *buf,
	       uint32_t len)
{
	if (st->cfg.no_control)
		return -TE_PERM;
	if (what >= sizeof(kinds) / sizeof(kinds[0]) || len < kinds[what].size)
		return -TE_INVAL;
	switch (what) {
	case PVS_LIST_LINK:
		return control_link(st, op, (const struct pvs_link *)buf);
	case PVS_LIST_ADDR:
		return control_addr(st, op, (const struct pvs_ifaddr *)buf);
	case PVS_LIST_ROUTE:
		return control_route(st, op, (const struct pvs_route *)buf);
	case PVS_LIST_NEIGH:
		return control_neigh(st, op, (const struct pvs_neigh *)buf);
	case PVS_LIST_PUBLISH:
		return control_publish(st, op, (const struct pvs_publish *)buf);
	}
	return -TE_INVAL;
}
