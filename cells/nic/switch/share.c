/* SPDX-License-Identifier: ISC */
/*
 * One address for many: the ports that have the card's MAC.
 *
 * Problem: a host has one address, its containers many stacks, none of which may be trusted
 * with another's traffic, and no table of flows shall be kept here for them (it would be one
 * for all, grow with their traffic, and be lost with this cell).
 *
 * Model: address plus port (as RFC 6346 and RFC 7597 have it for subscribers). A port of mode
 * share owns a slice of the host address's ports: the published ones and a block for
 * connections of its own. What arrives for the address goes to the port whose slice covers
 * its destination port; ICMP by the identifier of the echo, or by the packet an error quotes.
 * What no slice covers is for the owner of the address, a port of mode ipvlan that lists it or
 * has learned it (the management cell's). It alone answers ARP and neighbour solicitations for
 * the address; answers to others' questions go to those who asked. What a share port sends
 * passes only if its source port is in its slice (policy_share.c). All of this follows from the
 * ports' arguments. IPv4 and IPv6 are alike: a slice is of an address of either, or of both.
 *
 * Two tables remember nothing that could not be found again: where a (address, port) went
 * last, and who took the first fragment of a datagram, as later ones have no ports.
 *
 * A part of a slice may be for this machine alone: what the wire sends there is the owner's,
 * who refuses it as any port where nobody listens.
 *
 * From the wire nobody may speak as the host itself, nor with link-local addresses to these
 * ports: those are used between them (D0_VNET_SERVICE).
 */
#include "cells/nic/switch/switch.h"

#define DHCP_CLIENT ((uint32_t)SLICE_UDP << 16 | 68) /* key: for an address to be learned */
#define FRAG_NS     (5ull * 1000000000ull)
#define ANSWER_NS   (3ull * 1000000000ull)

bool share_fits(const struct nic *nic, const struct policy *p)
{
	/* It may get more. */
	unsigned addrs = p->learn || p->learn6 ? POLICY_ADDRS_MAX : p->addrs;

	return !policy_shares_mac(p) || (nic->slice_count + p->slices <= NIC_SLICES_MAX &&
					 nic->addr_count + addrs <= NIC_ADDRS_MAX);
}

static void note(struct nic *nic, const struct nic_port *port)
{
	const struct policy *p = &port->policy;
	uint16_t number = (uint16_t)port->number;

	for (unsigned i = 0; i < p->slices && nic->slice_count < NIC_SLICES_MAX; i++)
		nic->slices[nic->slice_count++] = (struct share_slice){
		    p->slice[i].lo, p->slice[i].hi, number, p->slice[i].protos};
	for (unsigned i = 0; i < p->addrs && nic->addr_count < NIC_ADDRS_MAX; i++)
		nic->addrs[nic->addr_count++] = (struct share_addr){p->addr[i], number};
}

void share_changed(struct nic *nic)
{
	memset(nic->steer, 0, sizeof(nic->steer));
	memset(nic->frags, 0, sizeof(nic->frags));
	nic->share_ports = nic->slice_count = nic->addr_count = 0;
	for (unsigned i = 0; i < nic->ports; i++) {
		nic->share_ports += nic->order[i]->policy.mode == POLICY_SHARE;
		if (policy_shares_mac(&nic->order[i]->policy))
			note(nic, nic->order[i]);
	}
}

static bool in_segment(const struct nic_port *port, unsigned uplink, uint16_t vlan)
{
	return policy_shares_mac(&port->policy) && port->policy.uplink == uplink &&
	       port->policy.vlan == vlan;
}

/* A slice that covers it, else who has the address to itself or is about to get it. */
static struct nic_port *search(struct nic *nic, unsigned uplink, uint16_t vlan,
			       const struct net_addr *dst, uint32_t key)
{
	for (unsigned i = 0; key && i < nic->slice_count; i++) {
		const struct share_slice *s = &nic->slices[i];

		if (!(s->protos & key >> 16) || (uint16_t)key < s->lo || (uint16_t)key > s->hi)
			continue;
		struct nic_port *port = nic->port[s->port];
		if (in_segment(port, uplink, vlan) && policy_has_port(&port->policy, dst, key))
			return port;
	}
	for (unsigned i = 0; key == DHCP_CLIENT && net_addr_is_v4(dst) && i < nic->ports; i++)
		if (nic->order[i]->policy.learn && in_segment(nic->order[i], uplink, vlan))
			return nic->order[i];
	for (unsigned i = 0; i < nic->addr_count; i++)
		if (net_addr_equal(&nic->addrs[i].addr, dst) &&
		    in_segment(nic->port[nic->addrs[i].port], uplink, vlan))
			return nic->port[nic->addrs[i].port];
	return NULL;
}

static struct nic_port *steer(struct nic *nic, unsigned uplink, uint16_t vlan,
			      const struct net_addr *dst, uint32_t key)
{
	uint32_t h = (get_be32(dst->b + 12) ^ key * 0x9e3779b1u ^ vlan) * 0x85ebca6bu >> 16;
	struct steer_entry *e = &nic->steer[h & (NIC_STEER_SIZE - 1)];

	if (e->port && e->key == key && e->vlan == vlan && e->uplink == uplink &&
	    net_addr_equal(&e->dst, dst))
		return nic->port[e->port - 1];
	struct nic_port *to = search(nic, uplink, vlan, dst, key);

	if (to)
		*e = (struct steer_entry){*dst, key, vlan, (uint16_t)(to->number + 1),
					  (uint8_t)uplink};
	return to;
}

/* ---- fragments ---- */

static struct steer_frag *frag_slot(struct nic *nic, const struct net_info *in)
{
	uint32_t h = get_be32(in->src.b + 12) ^ in->frag_id * 0x9e3779b1u;

	return &nic->frags[(h * 0x85ebca6bu >> 16) & (NIC_FRAGS_SIZE - 1)];
}

static void frag_first(struct nic *nic, const struct net_info *in, const struct nic_port *to)
{
	*frag_slot(nic, in) = (struct steer_frag){in->src,
						  in->dst,
						  nic->now_ns + FRAG_NS,
						  in->frag_id,
						  (uint16_t)(to->number + 1),
						  in->l4_proto};
}

static struct nic_port *frag_later(struct nic *nic, const struct net_info *in)
{
	const struct steer_frag *s = frag_slot(nic, in);

	if (!s->port || s->until_ns < nic->now_ns || s->id != in->frag_id ||
	    s->proto != in->l4_proto || !net_addr_equal(&s->src, &in->src) ||
	    !net_addr_equal(&s->dst, &in->dst))
		return NULL;
	return nic->port[s->port - 1];
}

/* ---- frames for the card's MAC ---- */

static bool link_local4(const struct net_addr *a)
{
	return net_addr_is_v4(a) && get_be16(a->b + 12) == 0xa9fe;
}

struct nic_port *share_find(struct nic *nic, unsigned uplink, uint16_t vlan,
			    const struct net_frame *f, const struct nic_port *from)
{
	const struct net_info *in = &f->info;
	const uint8_t *head = f->frag[0].data;
	uint32_t head_len = f->frag[0].len < NET_HEAD_MAX ? f->frag[0].len : NET_HEAD_MAX;

	if (!in->l3_ok && !in->is_arp)
		return NULL;
	if (nic->share_ports && !from && !in->is_arp &&
	    (net_addr_equal(&in->src, &in->dst) || link_local4(&in->src) ||
	     link_local4(&in->dst))) {
		nic->stats.refused++;
		return NULL;
	}
	if (!nic->share_ports || in->is_arp)
		return search(nic, uplink, vlan, &in->dst, 0);
	if (in->fragment && !in->first) {
		struct nic_port *to = frag_later(nic, in);

		return to ? to : search(nic, uplink, vlan, &in->dst, 0);
	}
	uint32_t key = policy_key(head, head_len, in, true);
	struct nic_port *to = steer(nic, uplink, vlan, &in->dst, key);

	if (to && !from && policy_port_closed(&to->policy, key, &in->src))
		to = search(nic, uplink, vlan, &in->dst, 0);
	if (to && in->fragment)
		frag_first(nic, in, to);
	return to;
}

bool share_is_answer(const struct net_frame *f)
{
	const struct net_frag *g = &f->frag[0];

	return f->info.is_arp || net_icmp6_type(g->data, g->len, &f->info) == NET_ND_ADVERT;
}

void share_asked(struct nic *nic, struct nic_port *port, const struct net_frame *f)
{
	const struct net_frag *g = &f->frag[0];

	if (f->info.is_arp || net_icmp6_type(g->data, g->len, &f->info) == NET_ND_SOLICIT)
		port->asked_until_ns = nic->now_ns + ANSWER_NS;
}

void share_answer(struct nic *nic, unsigned uplink, uint16_t vlan, struct net_frame *f,
		  const struct nic_port *from)
{
	const struct net_addr *target = &f->info.dst;

	for (unsigned i = 0; i < nic->ports; i++) {
		struct nic_port *to = nic->order[i];

		if (to == from || !in_segment(to, uplink, vlan))
			continue;
		if (policy_has_addr(&to->policy, target) ||
		    (policy_is_host(&to->policy, target) && to->asked_until_ns > nic->now_ns))
			nic_deliver(nic, to, f);
	}
}
