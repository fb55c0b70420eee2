/* SPDX-License-Identifier: ISC */
/*
 * e1000: Intel 82540EM and its siblings (QEMU's and Bochs' "e1000"), one queue, one
 * interrupt line. An interrupt masks itself until the cell has emptied the rings and
 * arms again.
 */
#include <stdlib.h>
#include "cells/nic/drivers/intel.h"
#include "libcell/log.h"

static void e1000_set_moderation(struct netdev *nd, unsigned us)
{
	nd->moderation_us = us;
	/* ITR counts 256 ns. */
	nic_write32(nd, 0, R_ITR, us > 16000 ? 0xffff : us * 1000 / 256);
}

static int e1000_attach(struct netdev *nd)
{
	struct intel *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	nd->priv = x;
	x->ims = INT_LSC | INT_RXT0 | INT_RXO | INT_RXDMT0;
	x->ims_tx = INT_TXDW;
	if (intel_reset(nd) || intel_read_mac(nd) || intel_start(nd, x)) {
		log_error("%s: e1000 set-up failed", nd->name);
		nd->failed = false;
		intel_stop(nd, x);
		return -1;
	}
	/* TSO over IPv6 came with its successors. */
	nd->features &= ~(uint32_t)NETDEV_F_TSO6;
	e1000_set_moderation(nd, nd->moderation_us);
	return 0;
}

static void e1000_detach(struct netdev *nd)
{
	if (nd->priv)
		intel_stop(nd, nd->priv);
}

static void e1000_irq(struct netdev *nd, unsigned vector)
{
	uint32_t cause = nic_read32(nd, 0, R_ICR); /* reading acknowledges */

	nd->stats.irqs++;
	intel_disarm(nd);
	if (cause & INT_LSC)
		intel_link(nd);
}

static const struct net_pci_id ids[] = {
    {0x8086, 0x100e}, /* 82540EM */
    {0x8086, 0x100f}, /* 82545EM */
    {0x8086, 0x1004}, /* 82543GC */
    {0x8086, 0x1010}, /* 82546EB */
    {0x8086, 0x1026}, /* 82545GM */
    {0, 0},
};

static const struct net_driver e1000 = {
    .name = "e1000",
    .ids = ids,
    .attach = e1000_attach,
    .detach = e1000_detach,
    .tx_room = intel_tx_room,
    .tx = intel_tx,
    .tx_flush = intel_tx_flush,
    .tx_reap = intel_tx_reap,
    .rx_poll = intel_rx_poll,
    .arm = intel_arm,
    .disarm = intel_disarm,
    .irq = e1000_irq,
    .set_filter = intel_set_filter,
    .set_moderation = e1000_set_moderation,
    .tick = intel_tick,
};
NET_DRIVER(e1000);
