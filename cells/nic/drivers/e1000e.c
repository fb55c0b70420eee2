/* SPDX-License-Identifier: ISC */
/*
 * e1000e: Intel 82574L. As e1000, with MSI-X where the nucleus gave three vectors: 0 for
 * link and errors, 1 receive, 2 transmit (IVAR); they clear themselves (EIAC) and are
 * moderated each by its EITR. With fewer vectors it works like e1000.
 *
 * TSO: QEMU's model before 8.1 cuts TCP segments into IP fragments when its network back-end
 * takes no virtio-net header (user networking), which cannot be asked for. So where the
 * subsystem's identity says that it is the model, a large segment is sent in loopback before
 * the card is used, and what comes back decides. Hardware is believed.
 */
#include <stdlib.h>
#include "cells/nic/drivers/intel.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

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

/* ---- whether TSO works ---- */

enum {
	CONFIG_SUBSYSTEM = 0x2c,
	MODEL = 0x00008086, /* what QEMU's has there; cards have the name of their maker's */
	PROBE_HDR = 54,
	PROBE_MSS = 100,
	PROBE_LEN = PROBE_HDR + 2 * PROBE_MSS,
};

/* A TCP segment from ourselves to ourselves, to be cut in two. */
static void make_probe(const struct netdev *nd, struct net_txbuf *b, uint8_t *mem, uint64_t dma)
{
	static const uint8_t ip[20] = {
	    0x45, 0, 0, PROBE_LEN - 14, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2};
	uint8_t *tcp = mem + 34;

	memcpy(mem, nd->mac, 6);
	memcpy(mem + 6, nd->mac, 6);
	put_be16(mem + 12, ETHERTYPE_IPV4);
	memcpy(mem + 14, ip, sizeof(ip));
	put_be16(tcp, 9); /* discard, RFC 863 */
	put_be16(tcp + 2, 9);
	tcp[12] = 5 << 4;
	tcp[13] = 0x10;
	b->frag[0] = (struct net_frag){.data = mem, .dma = dma, .len = PROBE_LEN};
	b->f = (struct net_frame){.len = PROBE_LEN,
				  .nfrag = 1,
				  .max = NET_TXFRAGS_MAX,
				  .frag = b->frag,
				  .gso = NET_GSO_TCP4,
				  .gso_size = PROBE_MSS,
				  .csum_partial = 1,
				  .csum_start = 34,
				  .csum_offset = 16};
	net_parse(mem, PROBE_HDR, PROBE_LEN, &b->f.info);
}

/* Of what came back, the first of ours: whole or a segment of it, but no fragment. */
static bool judge(const struct netdev *nd, const struct intel *x)
{
	for (unsigned i = 0; i < INTEL_RING; i++) {
		const uint8_t *data = x->bufs + i * INTEL_RX_BUF;
		uint16_t len = x->rxd[i].len;

		if (!(*(const volatile uint8_t *)&x->rxd[i].status & RXD_DD))
			break;
		if (len < PROBE_HDR || !mac_equal(data, nd->mac) ||
		    !mac_equal(data + 6, nd->mac))
			continue;
		return (len == PROBE_LEN || len == PROBE_HDR + PROBE_MSS) &&
		       !(get_be16(data + 20) & 0x3fff);
	}
	return false;
}

/* The device is started; it is to be reset afterwards. */
static bool probe_tso(struct netdev *nd, struct intel *x)
{
	struct net_txbuf *b = calloc(1, sizeof(*b));
	uint64_t dma;
	uint8_t *mem = nic_dma_alloc(4096, &dma);
	bool works = false;

	if (b && mem) {
		make_probe(nd, b, mem, dma);
		nic_write32(nd, 0, R_RCTL, nic_read32(nd, 0, R_RCTL) | RCTL_UPE | RCTL_LBM_MAC);
		intel_tx(nd, 0, b);
		intel_tx_flush(nd, 0);
		for (int i = 0; i < 20 && !works; i++) {
			nic_delay_us(50);
			mem_read_barrier();
			works = judge(nd, x);
		}
		memset(x->tx_owner, 0, sizeof(x->tx_owner)); /* nobody waits for it */
	}
	if (mem) {
		intel_reset(nd); /* before its memory goes */
		nic_dma_free(mem, 4096);
	}
	free(b);
	return works;
}

/* ---- life ---- */

static struct intel *start(struct netdev *nd)
{
	struct intel *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	nd->priv = x;
	x->ims = INT_LSC | INT_RXT0 | INT_RXO | INT_RXDMT0;
	x->ims_tx = INT_TXDW;
	if (!intel_reset(nd) && !intel_read_mac(nd)) {
		if (msix(nd))
			route(nd, x);
		if (!intel_start(nd, x))
			return x;
	}
	log_error("%s: e1000e set-up failed", nd->name);
	nd->failed = false;
	intel_stop(nd, x);
	return NULL;
}

static int e1000e_attach(struct netdev *nd)
{
	struct intel *x = start(nd);
	bool tso = true;

	if (x && !nd->tso_on && nic_config_read32(nd, CONFIG_SUBSYSTEM) == MODEL) {
		tso = !nd->tso_off && probe_tso(nd, x);
		intel_stop(nd, x);
		x = start(nd);
	}
	if (!x)
		return -1;
	if (!tso)
		nd->features &= ~(uint32_t)(NETDEV_F_TSO4 | NETDEV_F_TSO6);
	/* Descriptors are written back one by one: granularity 1, no thresholds; and bit 22
	 * has to be 1 on this family. */
	nic_write32(nd, 0, R_TXDCTL, 1u << 24 | 1u << 22);
	e1000e_set_moderation(nd, nd->moderation_us);
	return 0;
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
