/* SPDX-License-Identifier: ISC */
/*
 * The common half of e1000 and e1000e.
 *
 * Rings of INTEL_RING descriptors. Receive: buffer i belongs to descriptor i; a frame
 * longer than a buffer spans descriptors up to EOP; descriptors go back as soon as the
 * switch has copied the frame. Transmit: an optional context descriptor (checksum places,
 * TSO sizes; skipped when the device has that context already), then data descriptors;
 * only the last asks for status (RS), and its slot owns the frame. One descriptor always
 * stays free, so that head == tail means empty.
 */
#include "cells/nic/drivers/intel.h"

#include <stdlib.h>
#include "libcell/log.h"
#include "libcell/mmio.h"
#include "libcell/panic.h"

#define MASK (INTEL_RING - 1)

static struct intel *intel_of(struct netdev *nd)
{
	return nd->priv;
}

static uint32_t rd(struct netdev *nd, uint32_t reg)
{
	return nic_read32(nd, 0, reg);
}

static void wr(struct netdev *nd, uint32_t reg, uint32_t v)
{
	nic_write32(nd, 0, reg, v);
}

int intel_reset(struct netdev *nd)
{
	wr(nd, R_IMC, 0xffffffff);
	wr(nd, R_RCTL, 0);
	wr(nd, R_TCTL, TCTL_PSP);
	nic_delay_us(1000);
	wr(nd, R_CTRL, rd(nd, R_CTRL) | CTRL_RST);
	for (int i = 0; i < 100; i++) {
		nic_delay_us(1000);
		uint32_t ctrl = rd(nd, R_CTRL);

		if (ctrl != 0xffffffff && !(ctrl & CTRL_RST)) {
			wr(nd, R_IMC, 0xffffffff);
			rd(nd, R_ICR);
			return 0;
		}
	}
	log_error("%s: reset does not end", nd->name);
	return -1;
}

/* RAL0 and RAH0 hold it after reset; else word by word from the EEPROM. */
int intel_read_mac(struct netdev *nd)
{
	uint32_t lo = rd(nd, R_RAL), hi = rd(nd, R_RAH);

	memcpy(nd->mac, &lo, 4);
	memcpy(nd->mac + 4, &hi, 2);
	if ((lo || (hi & 0xffff)) && !mac_is_multicast(nd->mac))
		return 0;
	for (uint32_t w = 0; w < 3; w++) {
		uint32_t v = 0;

		wr(nd, R_EERD, w << 8 | 1);
		for (int i = 0; i < 100 && !(v & 0x12); i++) {
			nic_delay_us(50);
			v = rd(nd, R_EERD);
		}
		if (!(v & 0x12))
			return -1;
		nd->mac[2 * w] = (uint8_t)(v >> 16);
		nd->mac[2 * w + 1] = (uint8_t)(v >> 24);
	}
	return mac_is_multicast(nd->mac) ? -1 : 0;
}

void intel_link(struct netdev *nd)
{
	static const uint32_t speeds[] = {10, 100, 1000, 1000};
	uint32_t status = rd(nd, R_STATUS);

	if (status == 0xffffffff) {
		nd->failed = true; /* the device is gone */
		return;
	}
	nd->link_up = (status & STATUS_LU) != 0;
	nd->full_duplex = (status & STATUS_FD) != 0;
	nd->speed = speeds[status >> 6 & 3];
}

void intel_tick(struct netdev *nd)
{
	intel_link(nd);
	/* These clear when read. */
	nd->stats.rx_crc_errors += rd(nd, R_CRCERRS);
	nd->stats.rx_errors += rd(nd, R_RXERRC);
	nd->stats.rx_missed += rd(nd, R_MPC);
	nd->stats.rx_dropped += rd(nd, R_RNBC);
}

/* ---- filter ---- */

static void set_rar(struct netdev *nd, uint32_t i, const uint8_t *mac)
{
	uint32_t lo = 0, hi = 0;

	if (mac) {
		memcpy(&lo, mac, 4);
		memcpy(&hi, mac + 4, 2);
		hi |= 1u << 31; /* valid */
	}
	wr(nd, R_RAL + 8 * i, lo);
	wr(nd, R_RAH + 8 * i, hi);
}

void intel_set_filter(struct netdev *nd)
{
	const struct netdev_filter *f = &nd->filter;
	uint32_t rctl = rd(nd, R_RCTL) & ~(uint32_t)(RCTL_UPE | RCTL_MPE);
	uint32_t mta[128] = {0};

	if (f->promisc || f->ucs > INTEL_RARS - 1)
		rctl |= RCTL_UPE;
	if (f->allmulti)
		rctl |= RCTL_MPE;
	set_rar(nd, 0, nd->mac);
	for (uint32_t i = 1; i < INTEL_RARS; i++)
		set_rar(nd, i, i <= f->ucs ? f->uc[i - 1] : NULL);
	for (unsigned i = 0; i < f->mcs; i++) {
		/* RCTL.MO = 0: bits 47:36 of the address */
		uint32_t h = (uint32_t)(f->mc[i][4] >> 4 | f->mc[i][5] << 4) & 0xfff;

		mta[h >> 5] |= 1u << (h & 31);
	}
	for (uint32_t i = 0; i < 128; i++)
		wr(nd, R_MTA + 4 * i, mta[i]);
	wr(nd, R_RCTL, rctl);
}

/* ---- life ---- */

static int alloc_rings(struct intel *x)
{
	x->rxd = nic_dma_alloc(INTEL_RING * sizeof(*x->rxd), &x->rxd_dma);
	x->txd = nic_dma_alloc(INTEL_RING * sizeof(*x->txd), &x->txd_dma);
	x->bufs = nic_dma_alloc(INTEL_RING * INTEL_RX_BUF, &x->bufs_dma);
	return x->rxd && x->txd && x->bufs ? 0 : -1;
}

static void start_rx(struct netdev *nd, struct intel *x)
{
	for (unsigned i = 0; i < INTEL_RING; i++)
		x->rxd[i].addr = x->bufs_dma + i * INTEL_RX_BUF;
	wr(nd, R_RDBAL, (uint32_t)x->rxd_dma);
	wr(nd, R_RDBAH, (uint32_t)(x->rxd_dma >> 32));
	wr(nd, R_RDLEN, INTEL_RING * sizeof(*x->rxd));
	wr(nd, R_RDH, 0);
	wr(nd, R_RDT, INTEL_RING - 1);
	wr(nd, R_RDTR, 0);
	wr(nd, R_RADV, 0);
	wr(nd, R_RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
	wr(nd, R_RCTL, RCTL_BAM | RCTL_SECRC | RCTL_LPE);
}

static void start_tx(struct netdev *nd, struct intel *x)
{
	wr(nd, R_TDBAL, (uint32_t)x->txd_dma);
	wr(nd, R_TDBAH, (uint32_t)(x->txd_dma >> 32));
	wr(nd, R_TDLEN, INTEL_RING * sizeof(*x->txd));
	wr(nd, R_TDH, 0);
	wr(nd, R_TDT, 0);
	wr(nd, R_TIDV, 0);
	wr(nd, R_TADV, 0);
	wr(nd, R_TIPG, 8 | 8 << 10 | 6 << 20); /* copper: manual, TIPG */
	/* Collision threshold 15, distance 64 for full duplex. */
	wr(nd, R_TCTL, TCTL_EN | TCTL_PSP | 15 << 4 | 64 << 12);
}

int intel_start(struct netdev *nd, struct intel *x)
{
	if (alloc_rings(x))
		return -1;
	nd->mtu_max = NET_MTU_MAX - 200; /* 9018-byte frames at least, both devices */
	if (nd->mtu > nd->mtu_max)
		nd->mtu = nd->mtu_max;
	nd->txqs = nd->rxqs = 1;
	nd->features = NETDEV_F_TX_CSUM | NETDEV_F_TX_IP6_CSUM | NETDEV_F_TSO4 | NETDEV_F_TSO6 |
		       NETDEV_F_RX_CSUM;
	uint32_t ctrl = rd(nd, R_CTRL);

	ctrl &= ~(uint32_t)(CTRL_ILOS | CTRL_VME | CTRL_PHY_RST);
	wr(nd, R_CTRL, ctrl | CTRL_SLU | CTRL_ASDE);
	for (uint32_t i = 0; i < 128; i++)
		wr(nd, R_VFTA + 4 * i, 0);
	start_rx(nd, x);
	start_tx(nd, x);
	intel_set_filter(nd);
	wr(nd, R_RCTL, rd(nd, R_RCTL) | RCTL_EN);
	intel_link(nd);
	/* Autonegotiation takes a while; LSC tells when it is done. */
	return nd->failed ? -1 : 0;
}

void intel_stop(struct netdev *nd, struct intel *x)
{
	intel_reset(nd);
	for (unsigned i = 0; i < INTEL_RING; i++)
		if (x->tx_owner[i]) {
			struct net_txbuf *b = x->tx_owner[i];

			x->tx_owner[i] = NULL;
			netdev_tx_done(nd, b);
		}
	if (x->rxd)
		nic_dma_free(x->rxd, INTEL_RING * sizeof(*x->rxd));
	if (x->txd)
		nic_dma_free(x->txd, INTEL_RING * sizeof(*x->txd));
	if (x->bufs)
		nic_dma_free(x->bufs, INTEL_RING * INTEL_RX_BUF);
	free(x);
	nd->priv = NULL;
}

/* ---- sending ---- */

static unsigned tx_free(const struct intel *x)
{
	return (x->tx_clean - x->tx_next - 1) & MASK;
}

unsigned intel_tx_room(struct netdev *nd, unsigned q)
{
	return tx_free(intel_of(nd)) / INTEL_TX_FRAME;
}

static struct intel_txd *tx_slot(struct intel *x)
{
	struct intel_txd *d = &x->txd[x->tx_next];

	x->tx_next = (x->tx_next + 1) & MASK;
	return d;
}

/* Where sums begin, lie and end; for TSO the sizes. Manual, TCP/IP context descriptor. */
static void tx_context(struct intel *x, const struct net_frame *f)
{
	const struct net_info *in = &f->info;
	uint32_t ip = in->l3_off, tu, cmd = TXD_DEXT | TXD_DTYP_CONTEXT, sizes = 0;

	if (!in->ip6)
		ip |= (in->l3_off + 10u) << 8 | (in->l4_off - 1u) << 16;
	tu = f->csum_start | (uint32_t)(f->csum_start + f->csum_offset) << 8;
	if (in->l4_proto == IPPROTO_N_TCP)
		cmd |= TXD_CTX_TCP;
	if (!in->ip6)
		cmd |= TXD_CTX_IP4;
	if (f->gso) {
		cmd |= TXD_TSE | (f->len - in->payload_off);
		sizes = (uint32_t)in->payload_off << 8 | (uint32_t)f->gso_size << 16;
	} else if (x->context[0] == ip && x->context[1] == tu && x->context[2] == cmd) {
		return;
	}
	struct intel_txd *d = tx_slot(x);

	d->addr = ip | (uint64_t)tu << 32;
	d->cmd = cmd;
	d->status = sizes;
	x->context[0] = ip;
	x->context[1] = tu;
	x->context[2] = f->gso ? 0 : cmd;
}

/*
 * TSO wants the pseudo header's sum without the length, and lengths and sums of IP at 0;
 * the head is ours to change.
 */
static void tso_fix(const struct net_frame *f)
{
	uint8_t *head = f->frag[0].data;
	const struct net_info *in = &f->info;

	if (in->ip6)
		put_be16(head + in->l3_off + 4, 0);
	else {
		put_be16(head + in->l3_off + 2, 0);
		put_be16(head + in->l3_off + 10, 0);
	}
	put_be16(head + f->csum_start + f->csum_offset,
		 net_sum_fold(net_sum_pseudo(in, head, 0)));
}

void intel_tx(struct netdev *nd, unsigned q, struct net_txbuf *b)
{
	struct intel *x = intel_of(nd);
	struct net_frame *f = &b->f;
	uint32_t cmd = TXD_DEXT | TXD_DTYP_DATA | TXD_IFCS, opts = 0;
	struct intel_txd *d = NULL;

	if (f->csum_partial) {
		tx_context(x, f);
		opts = TXD_POPTS_TXSM;
		if (f->gso) {
			tso_fix(f);
			cmd |= TXD_TSE;
			if (!f->info.ip6)
				opts |= TXD_POPTS_IXSM;
		}
	}
	for (unsigned i = 0; i < f->nfrag; i++) {
		uint64_t dma = f->frag[i].dma;

		for (uint32_t left = f->frag[i].len; left;) {
			uint32_t n = left < INTEL_TX_MOST ? left : INTEL_TX_MOST;

			d = tx_slot(x);
			d->addr = dma;
			d->cmd = cmd | n;
			d->status = opts;
			dma += n;
			left -= n;
		}
	}
	ASSERT(d); /* a frame has its Ethernet header at least */
	/* cppcheck-suppress nullPointer; it takes ASSERT for a function that returns */
	d->cmd |= TXD_EOP | TXD_RS;
	x->tx_owner[d - x->txd] = b;
}

void intel_tx_flush(struct netdev *nd, unsigned q)
{
	struct intel *x = intel_of(nd);

	if (x->tx_told == x->tx_next)
		return;
	mem_write_barrier();
	wr(nd, R_TDT, x->tx_next);
	x->tx_told = x->tx_next;
}

unsigned intel_tx_reap(struct netdev *nd, unsigned q)
{
	struct intel *x = intel_of(nd);
	unsigned n = 0;

	/* From one frame's last descriptor to the next, as far as they are done. */
	for (uint16_t at = x->tx_clean; at != x->tx_told; at = (at + 1) & MASK) {
		struct net_txbuf *b = x->tx_owner[at];

		if (!b)
			continue;
		if (!(*(volatile uint32_t *)&x->txd[at].status & TXD_DD))
			break;
		x->tx_owner[at] = NULL;
		x->tx_clean = (at + 1) & MASK;
		netdev_tx_done(nd, b);
		n++;
	}
	return n;
}

/* ---- receiving ---- */

static void rx_deliver(struct netdev *nd, struct intel *x, uint8_t status, uint8_t errors)
{
	struct net_frame f = {
	    .frag = x->frag, .max = NET_FRAGS_MAX, .nfrag = (uint16_t)x->frags};

	for (unsigned i = 0; i < x->frags; i++)
		f.len += x->frag[i].len;
	f.csum_ok = (status & (RXD_IXSM | RXD_TCPCS)) == RXD_TCPCS && !(errors & RXD_ERR_TCPE);
	netdev_rx(nd, &f);
}

/* Takes one descriptor; its buffer stays ours until EOP. */
static void rx_take(struct netdev *nd, struct intel *x, uint16_t at)
{
	struct intel_rxd *d = &x->rxd[at];
	uint8_t status = d->status, errors = d->errors;
	uint16_t len = d->len;
	bool eop = status & RXD_EOP;

	if (len == 0 || len > INTEL_RX_BUF || (errors & RXD_ERR_FRAME & ~RXD_ERR_TCPE) ||
	    x->frags == 8)
		x->skipping = true;
	if (!x->skipping)
		x->frag[x->frags++] = (struct net_frag){.data = x->bufs + at * INTEL_RX_BUF,
							.dma = x->bufs_dma + at * INTEL_RX_BUF,
							.len = len};
	if (!eop)
		return;
	if (x->skipping)
		nd->stats.rx_errors++;
	else
		rx_deliver(nd, x, status, errors);
	x->skipping = false;
	x->frags = 0;
}

unsigned intel_rx_poll(struct netdev *nd, unsigned q, unsigned budget)
{
	struct intel *x = intel_of(nd);
	unsigned n = 0;

	while (n < budget) {
		uint16_t at = x->rx_next;

		if (!(*(volatile uint8_t *)&x->rxd[at].status & RXD_DD))
			break;
		mem_read_barrier();
		rx_take(nd, x, at);
		x->rx_next = (at + 1) & MASK;
		n++;
		if (x->frags)
			continue;
		/* Everything up to here is free again. */
		for (uint16_t i = x->rx_told; i != x->rx_next; i = (i + 1) & MASK)
			x->rxd[i].status = 0;
		x->rx_told = x->rx_next;
	}
	if (n) {
		mem_write_barrier();
		wr(nd, R_RDT, (x->rx_told - 1) & MASK);
	}
	return n;
}

/* ---- events ---- */

bool intel_arm(struct netdev *nd, bool want_tx)
{
	struct intel *x = intel_of(nd);
	uint16_t tx = x->tx_clean;

	wr(nd, R_IMS, x->ims | (want_tx ? x->ims_tx : 0));
	mem_barrier();
	if (*(volatile uint8_t *)&x->rxd[x->rx_next].status & RXD_DD)
		return true;
	while (want_tx && tx != x->tx_told) {
		if (x->tx_owner[tx])
			return *(volatile uint32_t *)&x->txd[tx].status & TXD_DD;
		tx = (tx + 1) & MASK;
	}
	return false;
}

void intel_disarm(struct netdev *nd)
{
	struct intel *x = intel_of(nd);

	wr(nd, R_IMC, x->ims | x->ims_tx);
}
