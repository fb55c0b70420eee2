/* SPDX-License-Identifier: ISC */
/*
 * e1000e: Intel 82574L. As e1000, with MSI-X where the nucleus gave three vectors: 0 for
 * link and errors, 1 receive, 2 transmit (IVAR); they clear themselves (EIAC) and are
 * moderated each by its EITR. With fewer vectors it works like e1000.
 */
#include <stdlib.h>
#include "cells/nic/drivers/intel.h"
#include "libcell/log.h"

enum {
	V_OTHER = 0,
	V_RX = 1,
	V_TX = 2,
	VECTORS = 3,
	IVAR_VALID = 8,
	CTRL_EXT_PBA_CLR = 1u << 31,
	CTRL_EXT_EIAME = 1u << 24,
	CTRL_EXT_IAME = 1u << 27,
};

static bool msix(const struct netdev *nd)
{
	return nd->pci->irq_kind == D0_IRQ_MSIX && nd->vectors >= VECTORS;
}

static void e1000e_set_moderation(struct netdev *nd, unsigned us)
{
	uint32_t units = us > 16000 ? 0xffff : us * 1000 / 256;

	nd->moderation_us = us;
	nic_write32(nd, 0, R_ITR, units);
	for (uint32_t v = 0; msix(nd) && v < VECTORS; v++)
		nic_write32(nd, 0, R_EITR + 4 * v, v == V_OTHER ? 0 : units);
}

/* Which vector each cause fires. 82574L datasheet, IVAR. */
static void route(struct netdev *nd, struct intel *x)
{
	uint32_t ivar = (IVAR_VALID | V_RX) | (IVAR_VALID | V_TX) << 8 |
			(uint32_t)(IVAR_VALID | V_OTHER) << 16 | 1u << 31;
	uint32_t ext = nic_read32(nd, 0, R_CTRL_EXT);

	nic_write32(nd, 0, R_IVAR, ivar);
	nic_write32(nd, 0, R_EIAC, INT_RXQ0 | INT_TXQ0);
	nic_write32(nd, 0, R_CTRL_EXT, ext | CTRL_EXT_PBA_CLR);
	x->ims = INT_RXQ0 | INT_OTHER | INT_LSC;
	x->ims_tx = INT_TXQ0;
}

static int e1000e_attach(struct netdev *nd)
{
	struct intel *x = calloc(1, sizeof(*x));

	if (!x)
		return -1;
	nd->priv = x;
	x->ims = INT_LSC | INT_RXT0 | INT_RXO | INT_RXDMT0;
	x->ims_tx = INT_TXDW;
	if (intel_reset(nd) || intel_read_mac(nd))
		goto fail;
	if (msix(nd))
		route(nd, x);
	if (intel_start(nd, x))
		goto fail;
	/* Descriptors are written back one by one: granularity 1, no thresholds; and bit 22
	 * has to be 1 on this family. */
	nic_write32(nd, 0, R_TXDCTL, 1u << 24 | 1u << 22);
	e1000e_set_moderation(nd, nd->moderation_us);
	return 0;
fail:
	log_error("%s: e1000e set-up failed", nd->name);
	nd->failed = false;
	intel_stop(nd, x);
	return -1;
}

static void e1000e_detach(struct netdev *nd)
{
	if (nd->priv)
		intel_stop(nd, nd->priv);
}

static void e1000e_irq(struct netdev *nd, unsigned vector)
{
	nd->stats.irqs++;
	intel_disarm(nd);
	/* Queue vectors cleared their cause themselves. */
	if (!msix(nd) || vector == V_OTHER)
		if (nic_read32(nd, 0, R_ICR) & INT_LSC)
			intel_link(nd);
}

static const struct net_pci_id ids[] = {
    {0x8086, 0x10d3}, /* 82574L */
    {0x8086, 0x10f6}, /* 82574LA */
    {0, 0},
};

static const struct net_driver e1000e = {
    .name = "e1000e",
    .tso_by_choice = true,
    .ids = ids,
    .attach = e1000e_attach,
    .detach = e1000e_detach,
    .tx_room = intel_tx_room,
    .tx = intel_tx,
    .tx_flush = intel_tx_flush,
    .tx_reap = intel_tx_reap,
    .rx_poll = intel_rx_poll,
    .arm = intel_arm,
    .disarm = intel_disarm,
    .irq = e1000e_irq,
    .set_filter = intel_set_filter,
    .set_moderation = e1000e_set_moderation,
    .tick = intel_tick,
};
NET_DRIVER(e1000e);
