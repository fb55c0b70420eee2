/* SPDX-License-Identifier: ISC */
/*
 * net_init: detection, bring-up and recovery of cards.
 *
 * The nucleus has found the devices and granted them; here each is matched with a driver
 * of the linker set. A card whose driver meets something impossible (a ring that makes no
 * sense, a device that stopped answering) sets nd->failed; it is then detached, which
 * resets the device and hands all frames back, and attached again. Ports see the link go
 * and come, and TCP resends: a card's hiccup costs a second, not a connection.
 */
#include "cells/nic/net_init.h"

#include <stdio.h>
#include <stdlib.h>
#include "libcell/log.h"

#define REVIVE_NS 1000000000ull

const struct net_driver *net_driver_find(uint16_t vendor, uint16_t device)
{
	for (const struct net_driver *const *d = __start_set_drivers; d < __stop_set_drivers;
	     d++)
		for (const struct net_pci_id *id = (*d)->ids; id && id->vendor; id++)
			if (id->vendor == vendor && id->device == device)
				return *d;
	return NULL;
}

static void say_up(const struct netdev *nd)
{
	log_info("%s: %s, %02x:%02x:%02x:%02x:%02x:%02x, mtu %u, %u+%u queues, link %s%s%s%s%s",
		 nd->name, nd->driver->name, nd->mac[0], nd->mac[1], nd->mac[2], nd->mac[3],
		 nd->mac[4], nd->mac[5], nd->mtu, nd->rxqs, nd->txqs,
		 nd->link_up ? "up" : "down", nd->features & NETDEV_F_TX_CSUM ? ", csum" : "",
		 nd->features & NETDEV_F_TSO4 ? ", tso" : "",
		 nd->features & NETDEV_F_RX_CSUM ? ", rxcsum" : "",
		 nd->features & NETDEV_F_LRO ? ", lro" : "");
}

/* Attaches and leaves out what is not to be used. */
static int attach(struct netdev *nd)
{
	if (nd->driver->attach(nd))
		return -1;
	if (nd->tso_off)
		nd->features &= ~(uint32_t)(NETDEV_F_TSO4 | NETDEV_F_TSO6 | NETDEV_F_USO);
	return 0;
}

static int bring_up(struct nic *nic, struct netdev *nd, const struct net_driver *driver,
		    const struct net_init_cfg *cfg)
{
	nd->driver = driver;
	nd->mtu = cfg->mtu ? cfg->mtu : 1500;
	nd->moderation_us = cfg->moderation_us;
	nd->queues_max = (uint16_t)(cfg->queues ? cfg->queues : NETDEV_QUEUES_MAX);
	nd->speed = ~0u;
	snprintf(nd->name, sizeof(nd->name), "eth%u", nic->uplinks);
	nd->tso_on = cfg->tso_on;
	nd->tso_off = cfg->tso_off;
	if (attach(nd))
		return -1;
	if (nic_uplink_add(nic, nd) < 0) {
		driver->detach(nd);
		return -1;
	}
	say_up(nd);
	return 0;
}

int net_init_add(struct nic *nic, struct netdev *nd, const struct net_driver *driver,
		 const struct net_init_cfg *cfg)
{
	return bring_up(nic, nd, driver, cfg);
}

unsigned net_init(struct nic *nic, const struct d0_device *const *devices, unsigned count,
		  const struct net_init_cfg *cfg)
{
	unsigned up = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct d0_device *dev = devices[i];
		const struct net_driver *driver = net_driver_find(dev->vendor, dev->device);
		struct netdev *nd;

		if (!driver) {
			log_warn("no driver for %04x:%04x", dev->vendor, dev->device);
			continue;
		}
		nd = calloc(1, sizeof(*nd));
		if (!nd)
			break;
		nd->pci = dev;
		nd->vectors =
		    (uint16_t)(dev->irq_count < NETDEV_VECTORS_MAX ? dev->irq_count
								   : NETDEV_VECTORS_MAX);
		if (bring_up(nic, nd, driver, cfg)) {
			log_error("%04x:%04x: %s did not come up", dev->vendor, dev->device,
				  driver->name);
			free(nd);
			continue;
		}
		up++;
	}
	return up;
}

struct netdev *net_init_irq(struct nic *nic, unsigned channel, unsigned *vector)
{
	for (unsigned i = 0; i < nic->uplinks; i++) {
		struct netdev *nd = nic->uplink[i];

		if (nd->pci && channel - nd->pci->irq_first < nd->pci->irq_count) {
			*vector = channel - nd->pci->irq_first;
			return nd;
		}
	}
	return NULL;
}

void net_init_revive(struct nic *nic, uint64_t now_ns)
{
	for (unsigned i = 0; i < nic->uplinks; i++) {
		struct netdev *nd = nic->uplink[i];

		if (!nd->failed)
			continue;
		if (!nd->detached) {
			log_error("%s: card failed, resetting it", nd->name);
			nd->driver->detach(nd);
			nd->detached = true;
			nd->link_up = false;
			nic_uplink_changed(nic, nd);
			nd->retry_ns = now_ns;
		}
		if (now_ns < nd->retry_ns)
			continue;
		nd->failed = false;
		if (attach(nd) == 0) {
			nd->detached = false;
			nd->restarts++;
			say_up(nd);
			nic_uplink_changed(nic, nd);
		} else {
			nd->failed = true;
			nd->retry_ns = now_ns + REVIVE_NS;
		}
	}
}

void net_init_stop(struct nic *nic)
{
	for (unsigned i = 0; i < nic->uplinks; i++) {
		struct netdev *nd = nic->uplink[i];

		if (!nd->detached)
			nd->driver->detach(nd);
		nd->failed = nd->detached = true;
		nd->link_up = false;
		nd->retry_ns = D0_NEVER;
	}
}
