/* SPDX-License-Identifier: ISC */
/*
 * Ports come and go; what they mean for the cards' filters.
 *
 * A port is made from the words of the controlling cell, all of which are judged before
 * anything is changed. It dies at once for the switch; its memory lives on until the last of
 * its frames that a card still has is done.
 */
#include <stdlib.h>
#include "cells/nic/switch/switch.h"
#include "libcell/log.h"

static void configure(struct nic *nic, struct nic_port *port)
{
	struct netdev *nd =
	    /* cppcheck-suppress arrayIndexOutOfBoundsCond; uplinks is the bound */
	    port->policy.uplink < nic->uplinks ? nic->uplink[port->policy.uplink] : NULL;
	uint16_t mtu = nd ? nd->mtu : 1500;

	if (port->policy.uplink == POLICY_NO_CARD && port->policy.mtu)
		mtu = port->policy.mtu;
	port->mtu = port->policy.mtu && port->policy.mtu < mtu ? port->policy.mtu : mtu;
	if (policy_shares_mac(&port->policy) && nd)
		memcpy(port->mac, nd->mac, 6);
	vnet_device_config(port, nd ? nd->link_up && !nd->failed : true, nd ? nd->speed : ~0u);
	nic_port_touch(port);
}

void nic_uplink_changed(struct nic *nic, struct netdev *nd)
{
	for (unsigned i = 0; i < nic->ports; i++)
		if (nic->order[i]->policy.uplink == nd->index)
			configure(nic, nic->order[i]);
	nic->filter_stale = true;
}

void nic_uplink_irq(struct nic *nic, struct netdev *nd, unsigned vector)
{
	bool was = nd->link_up;

	if (nd->failed)
		return;
	nd->driver->irq(nd, vector);
	if (nd->link_up != was)
		nic_uplink_changed(nic, nd);
}

/* A stable local address from what the controlling cell wrote. */
static void make_mac(uint8_t mac[6], const char *args, unsigned number)
{
	uint64_t h = 0xcbf29ce484222325ull ^ number;

	for (; *args; args++)
		h = (h ^ (uint8_t)*args) * 0x100000001b3ull;
	mac[0] = 0x02;
	mac[1] = 0xd0;
	put_be32(mac + 2, (uint32_t)(h ^ h >> 32));
}

static bool mac_taken(const struct nic *nic, const struct nic_port *port)
{
	for (unsigned i = 0; i < nic->ports; i++) {
		const struct nic_port *o = nic->order[i];

		if (o != port && !policy_shares_mac(&o->policy) &&
		    o->policy.uplink == port->policy.uplink &&
		    o->policy.vlan == port->policy.vlan && mac_equal(o->mac, port->mac))
			return true;
	}
	return false;
}

/* Everybody has another place. */
static void order_changed(struct nic *nic)
{
	memset(nic->active, 0, sizeof(nic->active));
	memset(nic->touched, 0, sizeof(nic->touched));
	for (unsigned i = 0; i < nic->ports; i++) {
		struct nic_port *port = nic->order[i];

		port->place = i;
		if (port->active)
			nic_port_wake(port);
		if (port->touched || port->ring_bell)
			nic_port_touch(port);
	}
}

static void order_insert(struct nic *nic, struct nic_port *port)
{
	unsigned at = nic->ports++;

	while (at > 0 && nic->order[at - 1]->policy.tclass < port->policy.tclass) {
		nic->order[at] = nic->order[at - 1];
		at--;
	}
	nic->order[at] = port;
	order_changed(nic);
}

static void order_remove(struct nic *nic, const struct nic_port *port)
{
	unsigned at = 0;

	while (nic->order[at] != port)
		at++;
	nic->ports--;
	memmove(&nic->order[at], &nic->order[at + 1],
		(nic->ports - at) * sizeof(nic->order[0]));
	order_changed(nic);
}

struct nic_port *nic_port_add(struct nic *nic, unsigned number, void *ring, uint64_t size,
			      uint64_t ring_dma, const char *args, void (*bell)(void *arg),
			      void *arg)
{
	struct d0_vnet_layout layout;
	struct nic_port *port;
	const char *why;

	if (number >= NIC_PORTS_MAX || nic->port[number])
		return NULL;
	if (d0_vnet_layout(size, 1, &layout)) {
		log_error("port %u: ring region of %llu bytes is no size for a port", number,
			  (unsigned long long)size);
		return NULL;
	}
	port = calloc(1, sizeof(*port));
	if (!port)
		return NULL;
	if (policy_parse(&port->policy, args, nic->args, &why)) {
		log_error("port %u: arguments refused: %s", number, why);
		free(port);
		return NULL;
	}
	port->nic = nic;
	port->number = number;
	port->ring = ring;
	port->size = size;
	port->ring_dma = ring_dma;
	port->bell = bell;
	port->arg = arg;
	memcpy(port->mac, port->policy.mac, 6);
	if (!port->policy.has_mac)
		make_mac(port->mac, args, number);
	if (!policy_shares_mac(&port->policy) && mac_taken(nic, port)) {
		log_error("port %u: its address is another port's", number);
		free(port);
		return NULL;
	}
	if (!share_fits(nic, &port->policy)) {
		log_error("port %u: too many ports and addresses of the host's are given away",
			  number);
		free(port);
		return NULL;
	}
	while (port->policy.queues > 1 && d0_vnet_layout(size, port->policy.queues, &layout))
		port->policy.queues--;
	bucket_init(&port->tx_bucket, port->policy.rate, nic->now_ns);
	bucket_init(&port->rx_bucket, port->policy.rxrate, nic->now_ns);
	nic->port[number] = port;
	if (number >= nic->port_limit)
		nic->port_limit = number + 1;
	order_insert(nic, port);
	nic->hash_stale = nic->filter_stale = true;
	share_changed(nic);
	if (++nic->epoch == 0)
		nic->epoch = 1;
	configure(nic, port);
	vnet_device_start(port, nic->epoch);
	nic_port_wake(port);
	return port;
}

int nic_port_policy(struct nic *nic, unsigned number, const char *args, const char **why)
{
	struct nic_port *port = number < NIC_PORTS_MAX ? nic->port[number] : NULL;
	uint64_t rate, rxrate;

	*why = "no such port";
	if (!port)
		return -1;
	rate = port->policy.rate;
	rxrate = port->policy.rxrate;
	order_remove(nic, port);
	int err = policy_update(&port->policy, args, nic->args, why);

	order_insert(nic, port); /* its class may be another */
	if (port->policy.rate != rate)
		bucket_init(&port->tx_bucket, port->policy.rate, nic->now_ns);
	if (port->policy.rxrate != rxrate)
		bucket_init(&port->rx_bucket, port->policy.rxrate, nic->now_ns);
	nic_port_wake(port); /* what waited for its turn may not have to */
	return err;
}

void nic_port_remove(struct nic *nic, unsigned number)
{
	struct nic_port *port = number < NIC_PORTS_MAX ? nic->port[number] : NULL;

	if (!port)
		return;
	nic->port[number] = NULL;
	order_remove(nic, port);
	fdb_forget_port(nic, port);
	share_changed(nic);
	nic->filter_stale = true;
	port->live = false;
	port->dead = true;
	nic_port_waits(port, false);
	if (nic->rx_port == port)
		nic->rx_port = NULL;
	if (port->cut) {
		struct net_txbuf *b = port->cut;

		port->cut = NULL;
		if (--b->refs == 0) {
			nic_txbuf_done(nic, b); /* frees the port if it was the last */
			return;
		}
	}
	if (port->inflight == 0)
		free(port);
	else
		nic_port_waits(port, true); /* its ring is given back when they are */
}

/* What the cards have to let through. */
static void update_filter(struct nic *nic, struct netdev *nd)
{
	struct netdev_filter f = {0};

	for (unsigned i = 0; i < nic->ports; i++) {
		const struct nic_port *port = nic->order[i];

		if (port->policy.uplink != nd->index)
			continue;
		if (port->policy.spoof_ok || (port->rx_mode & D0_VNET_RX_PROMISC))
			f.promisc = true;
		if (port->rx_mode & D0_VNET_RX_ALLMULTI)
			f.allmulti = true;
		if (!policy_shares_mac(&port->policy) && !mac_equal(port->mac, nd->mac)) {
			if (f.ucs == NETDEV_UC_MAX)
				f.promisc = true;
			else
				memcpy(f.uc[f.ucs++], port->mac, 6);
		}
		for (unsigned j = 0; j < port->mc_count; j++) {
			if (f.mcs == NETDEV_MC_MAX)
				f.allmulti = true;
			else
				memcpy(f.mc[f.mcs++], port->mc[j], 6);
		}
	}
	if (memcmp(&f, &nd->filter, sizeof(f)) == 0)
		return;
	nd->filter = f;
	if (!nd->failed)
		nd->driver->set_filter(nd);
}

void nic_update_filters(struct nic *nic)
{
	nic->filter_stale = false;
	nic->promisc_ports = 0;
	for (unsigned i = 0; i < nic->ports; i++)
		nic->promisc_ports += (nic->order[i]->rx_mode & D0_VNET_RX_PROMISC) != 0;
	for (unsigned i = 0; i < nic->uplinks; i++)
		update_filter(nic, nic->uplink[i]);
}
