/* SPDX-License-Identifier: ISC */
/*
 * The switch.
 *
 * Problem: join the ports of many transport cells, none of which may be trusted, to a few
 * network cards, so that each reaches what its policy allows, none slows the others more
 * than its share, and the payload of what leaves is not copied.
 *
 * Model: a frame is (uplink, VLAN) of its source plus a destination address. Every
 * (uplink, VLAN) is a segment of its own. Within one:
 *
 *	to a port's MAC         that port
 *	to the card's own MAC   the IPVLAN or SHARE port that owns the destination IP, or
 *	                        its part of that address's ports (share.c)
 *	multicast, broadcast    every port that wants it, and the wire
 *	anything else           the wire (from a port); promiscuous ports (from the wire)
 *
 * A private segment (seg=) has no card: (POLICY_NO_CARD, its number). What is not for one of
 * its ports goes nowhere. MACVLAN ports are bridge ports without learning; private ones never
 * reach another port, VEPA ones reach them over the wire only. IPVLAN ports share the card's
 * MAC.
 *
 * TCP segments that a card hands up one by one reach a port joined: merge.c.
 *
 * Frames a port sends are struct net_txbuf: a private head and pieces of the port's ring.
 * Towards other ports they are copied at once and completed; towards a card they stay in
 * flight until the card is done. Frames from a card are in the driver's buffers and are
 * copied before its callback returns.
 *
 * Fairness and bounds: ports are served in order of traffic class, at most PORT_BUDGET
 * frames each a pass; a port out of tokens or a full card leaves frames in the port's own
 * ring, so the switch queues nothing and its memory is fixed: NIC_TXBUFS heads.
 *
 * Locking: none, one thread. Failure: a port that breaks rules stops itself
 * (vnet_device.c); a card whose driver gives up hands its txbufs back and its ports see the
 * link go down until net_init has attached it again.
 */
#include "cells/nic/switch/switch.h"

#include <stdlib.h>
#include "libcell/panic.h"

#define FILTER_NS   10000000ull /* between two settings of the cards' filters */
#define PORT_BUDGET 64u
#define RX_BUDGET   64u
#define TXBUF_MEM   (NET_HEADROOM + NET_HEAD_MAX)

_Static_assert(TXBUF_MEM % 32 == 0, "heads are aligned");

int nic_init(struct nic *nic, uint32_t hash_key, const char *args)
{
	uint64_t dma;
	struct net_txbuf *bufs;

	memset(nic, 0, sizeof(*nic));
	nic->hash_key = hash_key;
	nic->epoch = hash_key;
	nic->args = args;
	nic->wake_ns = D0_NEVER;
	nic->tx_memory = bufs = calloc(NIC_TXBUFS, sizeof(*bufs));
	nic->tx_heads = nic_dma_alloc(NIC_TXBUFS * TXBUF_MEM, &dma);
	if (!bufs || !nic->tx_heads) {
		nic_fini(nic);
		return -1;
	}
	for (unsigned i = 0; i < NIC_TXBUFS; i++) {
		bufs[i].mem = (uint8_t *)nic->tx_heads + i * TXBUF_MEM;
		bufs[i].mem_dma = dma + i * TXBUF_MEM;
		nic_txbuf_put(nic, &bufs[i]);
	}
	return 0;
}

void nic_fini(struct nic *nic)
{
	for (unsigned i = 0; i < NIC_PORTS_MAX; i++)
		nic_port_remove(nic, i);
	if (nic->tx_heads)
		nic_dma_free(nic->tx_heads, NIC_TXBUFS * TXBUF_MEM);
	free(nic->tx_memory);
	nic->tx_heads = nic->tx_memory = NULL;
}

struct net_txbuf *nic_txbuf_get(struct nic *nic)
{
	struct net_txbuf *b = nic->free_tx;

	if (!b)
		return NULL;
	nic->free_tx = b->next;
	nic->free_count--;
	b->next = b->parent = NULL;
	b->owner = NULL;
	b->refs = 0;
	return b;
}

void nic_txbuf_put(struct nic *nic, struct net_txbuf *b)
{
	b->next = nic->free_tx;
	nic->free_tx = b;
	nic->free_count++;
}

void nic_txbuf_done(struct nic *nic, struct net_txbuf *b)
{
	struct net_txbuf *parent = b->parent;
	struct nic_port *port = b->owner;

	if (b->bounce) {
		nic_dma_free(b->bounce, b->bounce_len);
		b->bounce = NULL;
	}

	if (parent) {
		nic_txbuf_put(nic, b);
		ASSERT(parent->refs > 0);
		if (--parent->refs == 0)
			nic_txbuf_done(nic, parent);
		return;
	}
	if (port) {
		vnet_device_tx_done(port, b);
		if (!port->dead)
			nic_port_touch(port);
		else if (port->inflight == 0)
			free(port);
	}
	nic_txbuf_put(nic, b);
}

static void uplink_tx_done(void *arg, struct net_txbuf *b)
{
	nic_txbuf_done(arg, b);
}

/* ---- towards a port ---- */

static bool port_wants_group(const struct nic_port *port, const uint8_t *mac)
{
	if (mac_is_broadcast(mac) ||
	    (port->rx_mode & (D0_VNET_RX_ALLMULTI | D0_VNET_RX_PROMISC)))
		return true;
	for (unsigned i = 0; i < port->mc_count; i++)
		if (mac_equal(port->mc[i], mac))
			return true;
	return false;
}

static bool port_takes_gso(const struct nic_port *port, const struct net_frame *f)
{
	uint64_t need;

	if (f->gso == NET_GSO_TCP4)
		need = D0_VNET_F(GUEST_TSO4);
	else if (f->gso == NET_GSO_TCP6)
		need = D0_VNET_F(GUEST_TSO6);
	else
		need = f->info.ip6 ? D0_VNET_F(GUEST_USO6) : D0_VNET_F(GUEST_USO4);
	if (f->gso_ecn)
		need |= D0_VNET_F(GUEST_ECN);
	return (port->features & need) == need;
}

static void put_segments(struct nic *nic, struct nic_port *port, const struct net_frame *f)
{
	struct net_txbuf *b = nic_txbuf_get(nic);
	struct gso_cut cut;

	if (!b) {
		port->stats.rx_dropped++;
		return;
	}
	gso_begin(&cut, f);
	while (!gso_done(&cut) && gso_next(&cut, b)) {
		if (!(port->features & D0_VNET_F(GUEST_CSUM)))
			net_frame_finish_csum(&b->f);
		if (!vnet_device_put(port, f->hash % port->layout.pairs, &b->f))
			break;
	}
	nic->stats.segmented++;
	nic_txbuf_put(nic, b);
}

void nic_deliver(struct nic *nic, struct nic_port *port, struct net_frame *f)
{
	uint64_t when;

	if (!port->live)
		return;
	if (policy_in(&port->policy, f->frag[0].data, &f->info) != POLICY_PASS) {
		port->stats.denied++;
		return;
	}
	if (!bucket_ready(&port->rx_bucket, nic->now_ns, &when)) {
		port->stats.limited++;
		port->stats.rx_dropped++;
		return;
	}
	bucket_take(&port->rx_bucket, f->len);
	nic_port_touch(port);
	nic->stats.to_port++;
	nic->rx_several |= nic->rx_port && nic->rx_port != port;
	nic->rx_port = port;
	if (nic->merge.on && merge_take(nic, port, f))
		return;
	if (f->gso && !port_takes_gso(port, f)) {
		put_segments(nic, port, f);
		return;
	}
	if (f->csum_partial && !(port->features & D0_VNET_F(GUEST_CSUM))) {
		net_frame_finish_csum(f);
		nic->stats.summed++;
	}
	vnet_device_put(port, f->hash % port->layout.pairs, f);
}

static bool may_meet(const struct nic_port *from, const struct nic_port *to)
{
	return from->policy.mode < POLICY_MACVLAN_PRIVATE || policy_shares_mac(&from->policy)
		   ? to->policy.mode != POLICY_MACVLAN_PRIVATE &&
			 to->policy.mode != POLICY_MACVLAN_VEPA
		   : false;
}

/* Every port of the segment that wants it; not `from` (NULL: the wire), not `done`. Ports of
 * mode share have no use for what is sent to all: an owner of the address answers. */
static void flood(struct nic *nic, const struct nic_port *from, const struct nic_port *done,
		  unsigned uplink, uint16_t vlan, struct net_frame *f)
{
	const uint8_t *dst = f->frag[0].data, *src = dst + 6;

	nic->stats.flooded++;
	for (unsigned i = 0; i < nic->ports; i++) {
		struct nic_port *to = nic->order[i];

		if (to == from || to == done || to->policy.uplink != uplink ||
		    to->policy.vlan != vlan || to->policy.mode == POLICY_SHARE)
			continue;
		if (from ? !may_meet(from, to) : mac_equal(src, to->mac))
			continue;
		if (mac_is_multicast(dst) ? port_wants_group(to, dst)
					  : (to->rx_mode & D0_VNET_RX_PROMISC) != 0)
			nic_deliver(nic, to, f);
	}
}

/* ---- towards a card ---- */

static void insert_tag(struct net_frame *f, uint16_t vlan, uint8_t pcp)
{
	struct net_frag *g = &f->frag[0];

	memmove(g->data - NET_VLAN_HDR, g->data, 2 * NET_MAC_LEN);
	g->data -= NET_VLAN_HDR;
	g->dma -= NET_VLAN_HDR;
	g->len += NET_VLAN_HDR;
	f->len += NET_VLAN_HDR;
	put_be16(g->data + 12, ETHERTYPE_VLAN);
	put_be16(g->data + 14, (uint16_t)(pcp << 13 | vlan));
	f->info.tagged = 1;
	f->info.vlan = vlan;
	f->info.l3_off += NET_VLAN_HDR;
	f->info.l4_off += NET_VLAN_HDR;
	f->info.payload_off += NET_VLAN_HDR;
	if (f->csum_partial)
		f->csum_start += NET_VLAN_HDR;
}

static void strip_tag(struct net_frame *f)
{
	struct net_frag *g = &f->frag[0];

	memmove(g->data + NET_VLAN_HDR, g->data, 2 * NET_MAC_LEN);
	g->data += NET_VLAN_HDR;
	g->dma += NET_VLAN_HDR;
	g->len -= NET_VLAN_HDR;
	f->len -= NET_VLAN_HDR;
	f->info.tagged = 0;
	f->info.l3_off -= NET_VLAN_HDR;
	f->info.l4_off -= NET_VLAN_HDR;
	f->info.payload_off -= NET_VLAN_HDR;
	if (f->csum_partial)
		f->csum_start -= NET_VLAN_HDR;
}

static bool card_cuts(const struct netdev *nd, const struct net_frame *f)
{
	static const uint32_t need[] = {
	    [NET_GSO_TCP4] = NETDEV_F_TSO4,
	    [NET_GSO_TCP6] = NETDEV_F_TSO6,
	    [NET_GSO_UDP] = NETDEV_F_USO,
	};

	return (nd->features & need[f->gso]) != 0;
}

static bool card_sums(const struct netdev *nd, const struct net_frame *f)
{
	return (nd->features & NETDEV_F_TX_CSUM) &&
	       (!f->info.ip6 || (nd->features & NETDEV_F_TX_IP6_CSUM));
}

static struct netdev *usable(struct nic *nic, unsigned index)
{
	struct netdev *nd = index < nic->uplinks ? nic->uplink[index] : NULL;

	return nd && !nd->failed && nd->link_up ? nd : NULL;
}

/* For cards that cannot reach the port's ring: the payload moves to memory they can. */
static bool bounce(struct nic *nic, struct net_txbuf *b)
{
	uint32_t len = b->f.len - b->frag[0].len;
	uint64_t dma;
	uint8_t *copy = nic_dma_alloc(len, &dma);

	if (!copy)
		return false;
	net_frame_copy(&b->f, b->frag[0].len, copy, len);
	b->frag[1] = (struct net_frag){.data = copy, .dma = dma, .len = len};
	b->f.nfrag = 2;
	b->bounce = copy;
	b->bounce_len = len;
	nic->stats.bounced++;
	return true;
}

static bool reachable(const struct net_frame *f)
{
	for (unsigned i = 1; i < f->nfrag; i++)
		if (f->frag[i].dma == D0_NEVER)
			return false;
	return true;
}

static void send_one(struct nic *nic, struct netdev *nd, struct net_txbuf *b)
{
	if (b->f.csum_partial && !card_sums(nd, &b->f)) {
		net_frame_finish_csum(&b->f);
		nic->stats.summed++;
	}
	if (!(nd->features & NETDEV_F_NO_DMA) && !reachable(&b->f) && !bounce(nic, b)) {
		nd->stats.tx_errors++;
		nic_txbuf_done(nic, b);
		return;
	}
	nic->stats.to_uplink++;
	nd->stats.tx_packets++;
	nd->stats.tx_bytes += b->f.len;
	nd->driver->tx(nd, b->f.hash % nd->txqs, b);
}

/* Cuts a port's frame further while there is room. True: done with it. */
static bool cut_some(struct nic *nic, struct netdev *nd, struct nic_port *port)
{
	struct net_txbuf *b = port->cut;

	while (!gso_done(&port->cut_at)) {
		if (!nd->driver->tx_room(nd, b->f.hash % nd->txqs))
			return false;
		struct net_txbuf *seg = nic_txbuf_get(nic);

		if (!seg)
			return false;
		if (!gso_next(&port->cut_at, seg)) {
			nic_txbuf_put(nic, seg);
			port->stats.tx_dropped++;
			break;
		}
		seg->parent = b;
		b->refs++;
		send_one(nic, nd, seg);
	}
	port->cut = NULL;
	if (--b->refs == 0)
		nic_txbuf_done(nic, b);
	return true;
}

static void send_uplink(struct nic *nic, struct nic_port *port, struct net_txbuf *b)
{
	struct netdev *nd = usable(nic, port->policy.uplink);

	if (!nd) {
		port->stats.tx_dropped += port->policy.uplink != POLICY_NO_CARD;
		nic_txbuf_done(nic, b);
		return;
	}
	if (port->policy.vlan)
		insert_tag(&b->f, port->policy.vlan, port->policy.tclass);
	if (b->f.gso && !card_cuts(nd, &b->f)) {
		nic->stats.segmented++;
		b->refs = 1;
		port->cut = b;
		gso_begin(&port->cut_at, &b->f);
		cut_some(nic, nd, port);
		return;
	}
	send_one(nic, nd, b);
}

/* ---- from a port ---- */

static bool from_port_ok(struct nic *nic, struct nic_port *port, const struct net_frame *f)
{
	if ((port->policy.learn || port->policy.learn6) &&
	    policy_learn(&port->policy, &f->info))
		share_changed(nic);
	enum policy_verdict v =
	    policy_out(&port->policy, port->mac, f->frag[0].data, f->frag[0].len, &f->info);

	if (v == POLICY_PASS)
		return true;
	if (v == POLICY_RULE)
		port->stats.denied++;
	else
		port->stats.spoofed++;
	port->stats.tx_dropped++;
	return false;
}

/* The port a unicast frame is for, or NULL: the wire's. */
static bool is_card_mac(const struct nic *nic, unsigned uplink, const uint8_t *mac)
{
	return uplink < nic->uplinks && mac_equal(mac, nic->uplink[uplink]->mac);
}

static struct nic_port *local_target(struct nic *nic, unsigned uplink, uint16_t vlan,
				     const struct net_frame *f, const struct nic_port *from)
{
	const uint8_t *dst = f->frag[0].data;
	struct nic_port *to = fdb_find(nic, uplink, vlan, dst);

	if (!to && is_card_mac(nic, uplink, dst))
		to = share_find(nic, uplink, vlan, f, from);
	return to;
}

static void from_port(struct nic *nic, struct nic_port *port, struct net_txbuf *b)
{
	struct net_frame *f = &b->f;
	unsigned uplink = port->policy.uplink;
	uint16_t vlan = port->policy.vlan;
	const uint8_t *dst = f->frag[0].data;

	bucket_take(&port->tx_bucket, f->len);
	if (!from_port_ok(nic, port, f)) {
		nic_txbuf_done(nic, b);
		return;
	}
	f->hash = net_flow_hash(f->frag[0].data, &f->info, nic->hash_key);
	if (port->policy.spoof_ok && port->policy.mode == POLICY_BRIDGE)
		fdb_learn(nic, port, dst + 6);
	if (port->policy.mode == POLICY_SHARE)
		share_asked(nic, port, f);
	if (mac_is_multicast(dst)) {
		flood(nic, port, NULL, uplink, vlan, f);
		send_uplink(nic, port, b);
		return;
	}
	if (is_card_mac(nic, uplink, dst) && share_is_answer(f)) {
		share_answer(nic, uplink, vlan, f, port);
		nic_txbuf_done(nic, b);
		return;
	}
	struct nic_port *to = local_target(nic, uplink, vlan, f, port);

	if (!to && is_card_mac(nic, uplink, dst)) {
		port->stats.tx_dropped++; /* for one of us who is not there */
		nic_txbuf_done(nic, b);
		return;
	}
	if (!to || port->policy.mode == POLICY_MACVLAN_VEPA) {
		send_uplink(nic, port, b);
		return;
	}
	if (to != port && may_meet(port, to))
		nic_deliver(nic, to, f);
	else
		port->stats.tx_dropped++;
	nic_txbuf_done(nic, b);
}

static unsigned serve_pair(struct nic *nic, struct nic_port *port, unsigned pair)
{
	struct netdev *nd = usable(nic, port->policy.uplink);
	unsigned n = 0;
	uint64_t when;

	for (; n < PORT_BUDGET && port->live && !port->cut; n++) {
		/* The frame's queue is known only once it is taken: all must have room. */
		for (unsigned q = 0; nd && q < nd->txqs; q++)
			if (!nd->driver->tx_room(nd, q)) {
				nd->stats.tx_busy++;
				nic->want_room = true;
				return n;
			}
		if (!bucket_ready(&port->tx_bucket, nic->now_ns, &when)) {
			if (when < nic->wake_ns)
				nic->wake_ns = when;
			return n;
		}
		struct net_txbuf *b = nic_txbuf_get(nic);

		if (!b) {
			nic->want_room = true;
			return n;
		}
		int got = vnet_device_take(port, pair, b);

		if (got <= 0) {
			nic_txbuf_put(nic, b);
			nic_port_touch(port);
			if (got == 0)
				break;
			continue;
		}
		from_port(nic, port, b);
	}
	return n;
}

static bool has_waiting(const struct nic_port *port)
{
	for (unsigned i = 0; port->live && i < port->layout.pairs; i++)
		if (virtq_dev_pending(&port->txq[i]))
			return true;
	return port->cut != NULL;
}

static unsigned serve_port(struct nic *nic, struct nic_port *port)
{
	unsigned work = 0;

	if (vnet_device_poll(port)) {
		nic->filter_stale = true;
		nic_port_touch(port);
		work++;
	}
	if (port->cut) {
		struct netdev *nd = usable(nic, port->policy.uplink);

		if (!nd) {
			/* The card is gone: what was cut is lost, as on a pulled cable. */
			struct net_txbuf *b = port->cut;

			port->cut = NULL;
			if (--b->refs == 0)
				nic_txbuf_done(nic, b);
		} else if (!cut_some(nic, nd, port)) {
			nic->want_room = true;
			return work;
		}
		work++;
	}
	for (unsigned i = 0; port->live && i < port->layout.pairs; i++)
		work += serve_pair(nic, port, i);
	if (work == 0 && !has_waiting(port)) {
		port->active = vnet_device_arm(port, true);
		nic_port_waits(port, vnet_device_awaited(port));
	}
	return work;
}

/* ---- from a card ---- */

/* What a card says of offloads is checked like a port's words: the header must bear it. */
static bool card_offload_ok(const struct net_frame *f)
{
	const struct net_info *in = &f->info;

	if (!f->csum_partial)
		return !f->gso || in->l4_ok;
	if (!in->l4_ok || in->fragment || f->csum_start != in->l4_off ||
	    f->csum_offset != (in->l4_proto == IPPROTO_N_TCP ? 16 : 6))
		return false;
	if (!f->gso)
		return true;
	bool tcp = f->gso == NET_GSO_TCP4 || f->gso == NET_GSO_TCP6;

	return f->gso_size >= 1 && in->payload_off < f->len &&
	       in->l4_proto == (tcp ? IPPROTO_N_TCP : IPPROTO_N_UDP) &&
	       (!tcp || in->ip6 == (f->gso == NET_GSO_TCP6));
}

static void uplink_rx(void *arg, struct netdev *nd, struct net_frame *f)
{
	struct nic *nic = arg;
	uint32_t head = f->frag[0].len < NET_HEAD_MAX ? f->frag[0].len : NET_HEAD_MAX;
	uint16_t vlan;

	if (f->len < NET_ETH_HDR || head < NET_ETH_HDR)
		goto drop;
	net_parse(f->frag[0].data, head, f->len, &f->info);
	if (!card_offload_ok(f))
		goto drop;
	if (nd->features & NETDEV_F_LRO_PLAIN)
		merge_of_card(nd, f);
	vlan = f->info.vlan;
	if (f->info.tagged)
		strip_tag(f);
	const uint8_t *dst = f->frag[0].data;

	f->hash = net_flow_hash(dst, &f->info, nic->hash_key);
	fdb_moved(nic, nd->index, vlan, dst + 6);
	if (mac_is_multicast(dst)) {
		nd->stats.multicast++;
		flood(nic, NULL, NULL, nd->index, vlan, f);
		return;
	}
	if (nic->share_ports && mac_equal(dst, nd->mac) && share_is_answer(f)) {
		share_answer(nic, nd->index, vlan, f, NULL);
		return;
	}
	struct nic_port *to = local_target(nic, nd->index, vlan, f, NULL);

	if (to)
		nic_deliver(nic, to, f);
	else
		nic->stats.no_route++;
	if (nic->promisc_ports)
		flood(nic, NULL, to, nd->index, vlan, f);
	return;
drop:
	nd->stats.rx_dropped++;
}

/* ---- cards ---- */

int nic_uplink_add(struct nic *nic, struct netdev *nd)
{
	if (nic->uplinks == NIC_UPLINKS_MAX)
		return -1;
	nd->index = nic->uplinks;
	nd->rx = uplink_rx;
	nd->tx_done = uplink_tx_done;
	nd->arg = nic;
	nic->uplink[nic->uplinks++] = nd;
	nic_uplink_changed(nic, nd);
	return (int)nd->index;
}

/* ---- the pass ---- */

static unsigned run_uplink(struct nic *nic, struct netdev *nd)
{
	unsigned work = 0, got;

	if (nd->failed)
		return 0;
	for (unsigned q = 0; q < nd->txqs; q++)
		work += nd->driver->tx_reap(nd, q);
	merge_begin(nic);
	for (unsigned q = 0; q < nd->rxqs && !nd->failed; q++) {
		got = nd->driver->rx_poll(nd, q, RX_BUDGET);
		nic->received |= got != 0;
		work += got;
	}
	merge_end(nic);
	return work;
}

static unsigned serve_place(struct nic *nic, unsigned place)
{
	struct nic_port *port = nic->order[place];
	unsigned work = serve_port(nic, port);

	if (!port->active)
		nic->active[place / 64] &= ~(1ull << place % 64);
	if (port->ring_bell)
		nic_port_touch(port);
	return work;
}

static void flush_touched(struct nic *nic)
{
	for (unsigned w = 0; w * 64 < nic->ports; w++) {
		uint64_t set = nic->touched[w];

		nic->touched[w] = 0;
		for (; set; set &= set - 1) {
			struct nic_port *port =
			    nic->order[w * 64 + (unsigned)__builtin_ctzll(set)];

			port->touched = false;
			vnet_device_flush(port);
		}
	}
}

/* Commands to a card are slow, and a cell may change its mind in every pass. */
static void refresh_filters(struct nic *nic)
{
	if (nic->now_ns >= nic->filter_due) {
		nic_update_filters(nic);
		nic->filter_due = nic->now_ns + FILTER_NS;
	} else if (nic->filter_due < nic->wake_ns) {
		nic->wake_ns = nic->filter_due;
	}
}

unsigned nic_run(struct nic *nic, uint64_t now_ns)
{
	unsigned work = 0;

	nic->now_ns = now_ns;
	nic->wake_ns = D0_NEVER;
	nic->want_room = nic->received = false;
	for (unsigned i = 0; i < nic->uplinks; i++)
		work += run_uplink(nic, nic->uplink[i]);
	for (unsigned w = 0; w * 64 < nic->ports; w++)
		for (uint64_t set = nic->active[w]; set; set &= set - 1)
			work += serve_place(nic, w * 64 + (unsigned)__builtin_ctzll(set));
	if (nic->filter_stale)
		refresh_filters(nic);
	for (unsigned i = 0; i < nic->uplinks; i++)
		for (unsigned q = 0; q < nic->uplink[i]->txqs && !nic->uplink[i]->failed; q++)
			nic->uplink[i]->driver->tx_flush(nic->uplink[i], q);
	flush_touched(nic);
	return work;
}

bool nic_hold(struct nic *nic, bool *again)
{
	struct nic_port *port = nic->rx_port;
	unsigned room = port && !nic->rx_several ? vnet_device_room(port) / 4096 : 0;

	*again = false;
	if (nic->uplinks != 1 || nic->uplink[0]->failed || !nic->uplink[0]->driver->hold ||
	    !room)
		return false;
	return nic->uplink[0]->driver->hold(nic->uplink[0], room, again);
}

/*
 * Completions of sent frames are asked for only when somebody waits for them: each would cost an
 * interrupt. Others come back with the next pass, at the latest that of the next tick.
 */
bool nic_arm(struct nic *nic)
{
	bool want_tx = nic->want_room || nic->waiting || nic->free_count < NIC_TXBUFS / 2;
	bool work = false;

	for (unsigned i = 0; i < nic->uplinks; i++) {
		struct netdev *nd = nic->uplink[i];

		if (!nd->failed)
			work |= nd->driver->arm(nd, want_tx);
	}
	return work;
}

void nic_tick(struct nic *nic, uint64_t now_ns)
{
	nic->now_ns = now_ns;
	fdb_age(nic);
	for (unsigned i = 0; i < nic->uplinks; i++) {
		struct netdev *nd = nic->uplink[i];
		bool was = nd->link_up;

		if (nd->failed)
			continue;
		nd->driver->tick(nd);
		if (nd->link_up != was)
			nic_uplink_changed(nic, nd);
	}
}
