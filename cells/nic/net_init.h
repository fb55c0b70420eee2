/* SPDX-License-Identifier: ISC */
/*
 * net_init: finding the cell's network cards, bringing them up, keeping them up.
 */
#ifndef NIC_NET_INIT_H
#define NIC_NET_INIT_H

#include "cells/nic/switch/switch.h"

struct net_init_cfg {
	uint16_t mtu;           /* wanted, 0: 1500 */
	uint32_t moderation_us; /* least time between interrupts, 0: the driver's own */
	bool tso_on, tso_off;   /* use TSO wherever the card has it; nowhere */
	unsigned queues;        /* at most, 0: as many as the device has interrupts for */
};

/*
 * Attaches the driver of every granted device that has one (devices, count: the cell's) and
 * adds it to the switch. How many cards came up.
 */
unsigned net_init(struct nic *nic, const struct d0_device *const *devices, unsigned count,
		  const struct net_init_cfg *cfg);

/* Adds a card that is not a PCI device (hosted: TAP). 0, or -1. nd stays the caller's. */
int net_init_add(struct nic *nic, struct netdev *nd, const struct net_driver *driver,
		 const struct net_init_cfg *cfg);

/* The card a channel number belongs to and the vector it is, or NULL. */
struct netdev *net_init_irq(struct nic *nic, unsigned channel, unsigned *vector);

/* Attaches failed cards anew (not more often than once a second each). */
void net_init_revive(struct nic *nic, uint64_t now_ns);

/* Stops every card. */
void net_init_stop(struct nic *nic);

#endif
