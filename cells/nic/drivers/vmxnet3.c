/* SPDX-License-Identifier: ISC */
/*
 * vmxnet3: VMware's paravirtual card, revision 1 of the interface (UPT version 1), one
 * transmit and one receive queue. Layouts are those of the published driver interface
 * (the vmxnet3_defs of Linux, FreeBSD and QEMU agree on them).
 *
 * BAR 0 ("PT") has the doorbells and interrupt masks, BAR 1 ("VD") the commands and the
 * address of the shared area, which describes everything else: rings, queue descriptors,
 * filter, interrupts.
 *
 * Rings have a generation bit that flips with each lap. Transmit: the descriptors of a
 * frame get their generation last-to-first, so the device never sees half a frame; its
 * completion ring names the frame's last descriptor. Receive: buffers in ring 0, each large
 * enough for a whole frame; what the device merged (LRO) goes on in ring 1's body buffers.
 * Completions name ring and buffer, its length and the state of its sums. Of merged segments
 * this revision of the interface does not say the size; NETDEV_F_LRO_PLAIN lets the switch
 * take the MTU's.
 *
 * TSO: QEMU's model before 8.1 cuts TCP segments into IP fragments when its network back-end
 * takes no virtio-net header (user networking), which cannot be asked for. But only with that
 * header it says of a received frame that its sum was checked, so TSO waits for the first such
 * frame. VMware's device, which offers later revisions too, has it at once.
 */
#include <stdlib.h>
#include "cells/nic/netdev.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

#define RING     256u
#define MASK     (RING - 1)
#define RING1    64u
#define MASK1    (RING1 - 1)
#define BODY     8192u  /* bytes of a buffer of ring 1 */
#define TX_BIG   16384u /* bytes of one transmit descriptor: 14 bits, 0 means this many */
#define TX_FRAME (NET_TXFRAGS_MAX + NET_FRAME_MAX / TX_BIG + 1u)

enum {
	BAR_PT = 0,
	BAR_VD = 1,
	PT_IMR = 0x000, /* 8 bytes apart */
	PT_TXPROD = 0x600,
	PT_RXPROD = 0x800,
	PT_RXPROD2 = 0xa00,
	VD_VRRS = 0x00,
	VD_UVRS = 0x08,
	VD_DSAL = 0x10,
	VD_DSAH = 0x18,
	VD_CMD = 0x20,
	VD_MACL = 0x28,
	VD_MACH = 0x30,
	VD_ECR = 0x40,
};
enum {
	CMD_ACTIVATE = 0xcafe0000,
	CMD_QUIESCE = 0xcafe0001,
	CMD_RESET = 0xcafe0002,
	CMD_UPDATE_RX_MODE = 0xcafe0003,
	CMD_UPDATE_MAC_FILTERS = 0xcafe0004,
	CMD_GET_STATUS = 0xf00d0000,
	CMD_GET_STATS = 0xf00d0001,
	CMD_GET_LINK = 0xf00d0002,
	CMD_GET_CONF_INTR = 0xf00d0008,
};
enum {
	MAGIC = 0xbabefee1,
	F_RXCSUM = 1,
	F_LRO = 8,
	RXM_UCAST = 1,
	RXM_MCAST = 2,
	RXM_BCAST = 4,
	RXM_ALL_MULTI = 8,
	RXM_PROMISC = 16,
	ECR_LINK = 4,
	OM_NONE = 0,
	OM_CSUM = 2,
	OM_TSO = 3,
	CQ_RX = 3,
	CQ_RX_LRO = 4,
};

struct v3_txd {
	uint64_t addr;
	uint32_t w2; /* length 14, generation 14, type 16, MSS or checksum offset 18.. */
	uint32_t w3; /* header length 10, offload mode 10.., end 12, completion 13 */
};
enum {
	TX_GEN = 1u << 14,
	TX_EOP = 1u << 12,
	TX_CQ = 1u << 13,
};
struct v3_txc {
	uint32_t w0; /* index of the last descriptor: 12 bits */
	uint32_t pad[2];
	uint32_t w3; /* generation: bit 31 */
};
struct v3_rxd {
	uint64_t addr;
	uint32_t w2; /* length 14 bits, body buffer 14, generation 31 */
	uint32_t pad;
};
struct v3_rxc {
	uint32_t w0; /* index 12 bits, end 14, start 15, queue 16.. 10 bits, no sum 30 */
	uint32_t rss;
	uint32_t w2; /* length 14 bits, error 14, tag stripped 15, tag 16.. */
	uint32_t w3; /* sum 16, checked: TCP or UDP 16, UDP 17, TCP 18, IP 19, v6 20, v4 21,
			fragment 22, frame's sum good 23, type 24..30, generation 31 */
};
enum {
	RC_EOP = 1u << 14,
	RC_SOP = 1u << 15,
	RC_NO_SUM = 1u << 30,
	RC_ERR = 1u << 14,
	RC_TUC_OK = 1u << 16,
	GEN31 = 1u << 31,
	RX_BODY = 1u << 14, /* v3_rxd.w2 */
};
_Static_assert(sizeof(struct v3_txd) == 16 && sizeof(struct v3_txc) == 16 &&
		   sizeof(struct v3_rxd) == 16 && sizeof(struct v3_rxc) == 16,
	       "vmxnet3 descriptors");

struct v3_queue_conf {
	uint64_t ring[2]; /* transmit: descriptors, data; receive: ring 0, ring 1 */
	uint64_t comp;
	uint64_t driver_data;
	uint64_t reserved;
};
struct v3_tx_queue {
	uint32_t deferred, threshold;
	uint64_t reserved1;
	struct v3_queue_conf conf;
	uint32_t ring_size, data_size, comp_size, driver_len;
	uint8_t intr, pad1[7];
	uint8_t stopped, pad2[3];
	uint32_t error;
	uint64_t stats[10];
	uint8_t reserved[88];
};
_Static_assert(sizeof(struct v3_tx_queue) == 256, "Vmxnet3_TxQueueDesc");
struct v3_rx_queue {
	uint8_t update_prod, pad0[7];
	uint64_t reserved1;
	struct v3_queue_conf conf;
	uint32_t ring_size[2], comp_size, driver_len;
	uint8_t intr, pad1[7];
	uint8_t stopped, pad2[3];
	uint32_t error;
	uint64_t stats[10];
	uint8_t reserved[88];
};
_Static_assert(sizeof(struct v3_rx_queue) == 256, "Vmxnet3_RxQueueDesc");

struct v3_shared {
	uint32_t magic, pad0;
	/* misc */
	uint32_t version, guest, revisions, upt_versions;
	uint64_t features, driver_data, queues;
	uint32_t driver_len, queues_len;
	uint32_t mtu;
	uint16_t max_rx_sg;
	uint8_t tx_queues, rx_queues;
	uint32_t reserved0[4];
	/* interrupts */
	uint8_t auto_mask, intrs, event_intr, moderation[25];
	uint32_t intr_ctrl, reserved1[2];
	/* receive filter */
	uint32_t rx_mode;
	uint16_t mf_len, pad1;
	uint64_t mf_table;
	uint32_t vlan[128];
	/* three optional blocks and what follows */
	uint32_t blocks[12];
	uint32_t events;
	uint32_t reserved2[5];
};
_Static_assert(sizeof(struct v3_shared) == 720, "Vmxnet3_DriverShared");

/* One of the two receive rings. */
struct v3_ring {
	struct v3_rxd *desc;
	uint16_t next, mask;
	uint32_t gen, len; /* len: a descriptor's, with its kind */
	unsigned held;     /* buffers of the frame begun */
};

struct v3 {
	struct v3_shared *shared;
	struct v3_tx_queue *txq; /* and the receive queue behind it */
	struct v3_rx_queue *rxq;
	struct v3_txd *txd;
	struct v3_txc *txc;
	struct v3_rxc *rxc;
	uint8_t *mc, *bufs, *body, *memory;
	uint64_t bufs_dma, body_dma, memory_dma;
	struct v3_ring ring[2];
	struct net_txbuf *owner[RING]; /* of a frame's last descriptor */
	uint16_t tx_next, tx_clean, tx_told, txc_next;
	uint32_t tx_gen, txc_gen;
	uint16_t rxc_next;
	uint32_t rxc_gen;
	struct net_frag frag[NET_FRAGS_MAX];
	unsigned frags;
	bool skipping;
	uint8_t v_event, v_tx, v_rx;
	uint32_t rx_buf; /* bytes of a receive buffer: every frame fits in one */
};

static struct v3 *v3_of(struct netdev *nd)
{
	return nd->priv;
}

static uint32_t command(struct netdev *nd, uint32_t cmd)
{
	nic_write32(nd, BAR_VD, VD_CMD, cmd);
	return nic_read32(nd, BAR_VD, VD_CMD);
}

/* ---- set-up ---- */

/* One piece of memory, laid out once: everything but the receive buffers. */
enum {
	OFF_SHARED = 0,
	OFF_QUEUES = 1024,
	OFF_MC = 2048,
	OFF_TXD = 4096,
	OFF_TXC = OFF_TXD + 16 * RING,
	OFF_RXD = OFF_TXC + 16 * RING,
	OFF_RXD1 = OFF_RXD + 16 * RING,
	OFF_RXC = OFF_RXD1 + 4096,
	MEMORY = OFF_RXC + 16 * (RING + RING1),
};

static int alloc(struct v3 *v)
{
	v->memory = nic_dma_alloc(MEMORY, &v->memory_dma);
	v->bufs = nic_dma_alloc(RING * v->rx_buf, &v->bufs_dma);
	if (!v->memory || !v->bufs)
		return -1;
	v->body = nic_dma_alloc(RING1 * BODY, &v->body_dma); /* NULL: no LRO */
	v->shared = (struct v3_shared *)(v->memory + OFF_SHARED);
	v->txq = (struct v3_tx_queue *)(v->memory + OFF_QUEUES);
	v->rxq = (struct v3_rx_queue *)(v->txq + 1);
	v->mc = v->memory + OFF_MC;
	v->txd = (struct v3_txd *)(v->memory + OFF_TXD);
	v->txc = (struct v3_txc *)(v->memory + OFF_TXC);
	v->ring[0] = (struct v3_ring){.desc = (struct v3_rxd *)(v->memory + OFF_RXD),
				      .mask = MASK,
				      .gen = GEN31,
				      .len = v->rx_buf};
	v->ring[1] = (struct v3_ring){.desc = (struct v3_rxd *)(v->memory + OFF_RXD1),
				      .mask = MASK1,
				      .gen = GEN31,
				      .len = BODY | RX_BODY};
	v->rxc = (struct v3_rxc *)(v->memory + OFF_RXC);
	v->tx_gen = TX_GEN;
	v->txc_gen = v->rxc_gen = GEN31;
	return 0;
}

static void describe_queues(struct v3 *v)
{
	uint64_t m = v->memory_dma;

	v->txq->conf.ring[0] = m + OFF_TXD;
	v->txq->conf.comp = m + OFF_TXC;
	v->txq->ring_size = v->txq->comp_size = RING;
	v->txq->intr = v->v_tx;
	v->rxq->conf.ring[0] = m + OFF_RXD;
	v->rxq->conf.ring[1] = m + OFF_RXD1;
	v->rxq->conf.comp = m + OFF_RXC;
	v->rxq->ring_size[0] = RING;
	v->rxq->ring_size[1] = RING1;
	v->rxq->comp_size = RING + RING1;
	v->rxq->intr = v->v_rx;
}

static void describe(struct netdev *nd, struct v3 *v)
{
	struct v3_shared *s = v->shared;

	s->magic = MAGIC;
	s->version = 0x01000000;
	s->guest = 2 | 1 << 2; /* 64 bits, "Linux": the only kind devices know well */
	s->revisions = s->upt_versions = 1;
	s->features = v->body ? F_RXCSUM | F_LRO : F_RXCSUM;
	s->auto_mask = 1; /* an interrupt masks its vector until armed again */
	s->queues = v->memory_dma + OFF_QUEUES;
	s->queues_len = 2 * 256;
	s->mtu = nd->mtu;
	s->max_rx_sg = 17;
	s->tx_queues = s->rx_queues = 1;
	s->intrs = (uint8_t)nd->vectors;
	s->event_intr = v->v_event;
	for (unsigned i = 0; i < sizeof(s->moderation); i++)
		s->moderation[i] = 8; /* adaptive */
	s->intr_ctrl = 1;             /* all off */
	memset(s->vlan, 0xff, sizeof(s->vlan));
	describe_queues(v);
}

static void fill_ring(struct v3_ring *r, uint64_t dma, uint32_t size)
{
	for (uint32_t i = 0; i <= r->mask; i++) {
		r->desc[i].addr = dma + i * size;
		/* One stays with us: its generation is the old lap's. */
		r->desc[i].w2 = r->len | (i < r->mask ? GEN31 : 0);
	}
	r->next = r->mask;
}

static void read_link(struct netdev *nd)
{
	uint32_t link = command(nd, CMD_GET_LINK);

	nd->link_up = link & 1;
	nd->full_duplex = true;
	nd->speed = link >> 16;
}

static void v3_set_filter(struct netdev *nd)
{
	struct v3 *v = v3_of(nd);
	const struct netdev_filter *f = &nd->filter;
	uint32_t mode = RXM_UCAST | RXM_BCAST;

	/* There is one unicast address; ports with their own need all of them. */
	if (f->promisc || f->ucs)
		mode |= RXM_PROMISC;
	if (f->allmulti)
		mode |= RXM_ALL_MULTI;
	if (f->mcs) {
		mode |= RXM_MCAST;
		memcpy(v->mc, f->mc, 6u * f->mcs);
	}
	v->shared->mf_len = (uint16_t)(6 * f->mcs);
	v->shared->mf_table = f->mcs ? v->memory_dma + OFF_MC : 0;
	v->shared->rx_mode = mode;
	nic_write32(nd, BAR_VD, VD_CMD, CMD_UPDATE_RX_MODE);
	nic_write32(nd, BAR_VD, VD_CMD, CMD_UPDATE_MAC_FILTERS);
}

static void v3_detach(struct netdev *nd)
{
	struct v3 *v = v3_of(nd);

	if (!v)
		return;
	nic_write32(nd, BAR_VD, VD_CMD, CMD_QUIESCE);
	nic_write32(nd, BAR_VD, VD_CMD, CMD_RESET);
	for (unsigned i = 0; i < RING; i++)
		if (v->owner[i]) {
			struct net_txbuf *b = v->owner[i];

			v->owner[i] = NULL;
			netdev_tx_done(nd, b);
		}
	if (v->memory)
		nic_dma_free(v->memory, MEMORY);
	if (v->bufs)
		nic_dma_free(v->bufs, RING * v->rx_buf);
	if (v->body)
		nic_dma_free(v->body, RING1 * BODY);
	free(v);
	nd->priv = NULL;
}

static void choose_vectors(struct netdev *nd, struct v3 *v)
{
	if (nd->pci->irq_kind != D0_IRQ_MSIX || nd->vectors < 3)
		nd->vectors = 1;
	else
		nd->vectors = 3;
	v->v_event = 0;
	v->v_rx = nd->vectors == 3 ? 1 : 0;
	v->v_tx = nd->vectors == 3 ? 2 : 0;
}

static int bring_up(struct netdev *nd, struct v3 *v)
{
	uint32_t revisions = nic_read32(nd, BAR_VD, VD_VRRS);

	if (!(revisions & 1) || !(nic_read32(nd, BAR_VD, VD_UVRS) & 1))
		return -1;
	nic_write32(nd, BAR_VD, VD_VRRS, 1);
	nic_write32(nd, BAR_VD, VD_UVRS, 1);
	nic_write32(nd, BAR_VD, VD_CMD, CMD_RESET);
	uint32_t lo = nic_read32(nd, BAR_VD, VD_MACL), hi = nic_read32(nd, BAR_VD, VD_MACH);

	memcpy(nd->mac, &lo, 4);
	memcpy(nd->mac + 4, &hi, 2);
	nd->mtu_max = 9000;
	if (nd->mtu > nd->mtu_max)
		nd->mtu = nd->mtu_max;
	choose_vectors(nd, v);
	v->rx_buf = (nd->mtu + NET_ETH_HDR + NET_VLAN_HDR + 2047u) & ~2047u;
	if (alloc(v))
		return -1;
	describe(nd, v);
	fill_ring(&v->ring[0], v->bufs_dma, v->rx_buf);
	if (v->body)
		fill_ring(&v->ring[1], v->body_dma, BODY);
	nic_write32(nd, BAR_VD, VD_DSAL, (uint32_t)v->memory_dma);
	nic_write32(nd, BAR_VD, VD_DSAH, (uint32_t)(v->memory_dma >> 32));
	if (command(nd, CMD_ACTIVATE) != 0)
		return -1;
	nd->txqs = nd->rxqs = 1;
	nd->features = NETDEV_F_TX_CSUM | NETDEV_F_TX_IP6_CSUM | NETDEV_F_RX_CSUM;
	if (v->body)
		nd->features |= NETDEV_F_LRO | NETDEV_F_LRO_PLAIN;
	if (revisions != 1 || nd->tso_on)
		nd->features |= NETDEV_F_TSO4 | NETDEV_F_TSO6;
	nic_write32(nd, BAR_PT, PT_RXPROD, v->ring[0].next);
	nic_write32(nd, BAR_PT, PT_RXPROD2, v->ring[1].next);
	v3_set_filter(nd);
	read_link(nd);
	return 0;
}

static int v3_attach(struct netdev *nd)
{
	struct v3 *v = calloc(1, sizeof(*v));

	if (!v)
		return -1;
	nd->priv = v;
	if (bring_up(nd, v)) {
		log_error("%s: vmxnet3 set-up failed", nd->name);
		v3_detach(nd);
		return -1;
	}
	return 0;
}

/* ---- sending ---- */

static unsigned tx_free(const struct v3 *v)
{
	return (v->tx_clean - v->tx_next - 1) & MASK;
}

static unsigned v3_tx_room(struct netdev *nd, unsigned q)
{
	return tx_free(v3_of(nd)) / TX_FRAME;
}

/* What the first descriptor says about offloads: MSS or checksum place, header, mode. */
static void tx_offload(struct net_frame *f, uint32_t *w2, uint32_t *w3)
{
	*w2 = *w3 = 0;
	if (!f->csum_partial)
		return;
	if (f->gso) {
		*w2 = (uint32_t)f->gso_size << 18;
		*w3 = f->info.payload_off | OM_TSO << 10;
	} else {
		*w2 = (uint32_t)(f->csum_start + f->csum_offset) << 18;
		*w3 = f->csum_start | OM_CSUM << 10;
	}
}

static uint16_t tx_put(struct v3 *v, uint64_t dma, uint32_t len, uint32_t gen)
{
	uint16_t at = v->tx_next;

	v->txd[at].addr = dma;
	v->txd[at].w3 = 0;
	*(volatile uint32_t *)&v->txd[at].w2 = (len & (TX_BIG - 1)) | gen;
	v->tx_next = (at + 1) & MASK;
	if (v->tx_next == 0)
		v->tx_gen ^= TX_GEN;
	return at;
}

static void v3_tx(struct netdev *nd, unsigned q, struct net_txbuf *b)
{
	struct v3 *v = v3_of(nd);
	struct net_frame *f = &b->f;
	uint32_t gen_first = v->tx_gen, w2, w3;
	uint16_t first = v->tx_next, last = first;

	tx_offload(f, &w2, &w3);
	if (f->gso) /* as for Intel's: the sum of the pseudo header without its length */
		put_be16(f->frag[0].data + f->csum_start + f->csum_offset,
			 net_sum_fold(net_sum_pseudo(&f->info, f->frag[0].data, 0)));
	for (unsigned i = 0; i < f->nfrag; i++) {
		uint64_t dma = f->frag[i].dma;

		for (uint32_t left = f->frag[i].len; left;) {
			uint32_t n = left < TX_BIG ? left : TX_BIG;
			bool head = i == 0 && left == f->frag[0].len;

			/* The first keeps the old lap's generation until all are there. */
			last = tx_put(v, dma, n, head ? v->tx_gen ^ TX_GEN : v->tx_gen);
			dma += n;
			left -= n;
		}
	}
	v->txd[last].w3 |= TX_EOP | TX_CQ;
	v->txd[first].w3 |= w3;
	v->owner[last] = b;
	mem_write_barrier();
	uint32_t done = (v->txd[first].w2 & ~(uint32_t)TX_GEN) | w2 | gen_first;

	*(volatile uint32_t *)&v->txd[first].w2 = done;
}

static void v3_tx_flush(struct netdev *nd, unsigned q)
{
	struct v3 *v = v3_of(nd);

	if (v->tx_told == v->tx_next)
		return;
	v->tx_told = v->tx_next;
	nic_write32(nd, BAR_PT, PT_TXPROD, v->tx_next);
}

static unsigned v3_tx_reap(struct netdev *nd, unsigned q)
{
	struct v3 *v = v3_of(nd);
	unsigned n = 0;

	for (;; n++) {
		volatile struct v3_txc *c = &v->txc[v->txc_next];

		if ((c->w3 & GEN31) != v->txc_gen)
			break;
		mem_read_barrier();
		uint16_t last = c->w0 & 0xfff;
		struct net_txbuf *b = last < RING ? v->owner[last] : NULL;

		if (!b) {
			log_error("%s: completion of a frame not sent", nd->name);
			nd->failed = true;
			break;
		}
		v->owner[last] = NULL;
		v->tx_clean = (last + 1) & MASK;
		v->txc_next = (v->txc_next + 1) & MASK;
		if (v->txc_next == 0)
			v->txc_gen ^= GEN31;
		netdev_tx_done(nd, b);
	}
	return n;
}

/* ---- receiving ---- */

static void rx_deliver(struct netdev *nd, struct v3 *v, uint32_t w0, uint32_t w3)
{
	struct net_frame f = {
	    .frag = v->frag, .max = NET_FRAGS_MAX, .nfrag = (uint16_t)v->frags};

	for (unsigned i = 0; i < v->frags; i++)
		f.len += v->frag[i].len;
	f.csum_ok = !(w0 & RC_NO_SUM) && (w3 & RC_TUC_OK);
	if (f.csum_ok && !(nd->features & NETDEV_F_TSO4) && !nd->tso_off) {
		nd->features |= NETDEV_F_TSO4 | NETDEV_F_TSO6;
		log_info("%s: tso", nd->name);
	}
	netdev_rx(nd, &f);
}

/* The buffers of a ring come back in the order they were given. */
static void rx_refill(struct v3_ring *r)
{
	for (; r->held; r->held--) {
		r->desc[r->next].w2 = r->len | r->gen;
		r->next = (r->next + 1) & r->mask;
		if (r->next == 0)
			r->gen ^= GEN31;
	}
}

static void rx_take(struct netdev *nd, struct v3 *v, const struct v3_rxc *c)
{
	uint32_t index = c->w0 & 0xfff, len = c->w2 & 0x3fff;
	/* With one queue, the second number is the second ring's. */
	unsigned ring = c->w0 >> 16 & 0x3ff ? 1 : 0;
	uint32_t size = ring ? BODY : v->rx_buf;

	v->ring[ring].held++;
	if (c->w0 & RC_SOP) {
		v->frags = 0;
		v->skipping = false;
	}
	if ((ring && !v->body) || index > v->ring[ring].mask || len > size ||
	    (c->w2 & RC_ERR) || v->frags == NET_FRAGS_MAX)
		v->skipping = true;
	else if (len && !v->skipping)
		v->frag[v->frags++] =
		    (struct net_frag){.data = (ring ? v->body : v->bufs) + index * size,
				      .dma = (ring ? v->body_dma : v->bufs_dma) + index * size,
				      .len = len};
	if (!(c->w0 & RC_EOP))
		return;
	if (v->skipping || !v->frags)
		nd->stats.rx_errors++;
	else
		rx_deliver(nd, v, c->w0, c->w3);
}

static unsigned v3_rx_poll(struct netdev *nd, unsigned q, unsigned budget)
{
	struct v3 *v = v3_of(nd);
	unsigned n = 0;

	/* Buffers are given back at the end of their frame. */
	while (n < budget) {
		volatile struct v3_rxc *at = &v->rxc[v->rxc_next];

		if ((at->w3 & GEN31) != v->rxc_gen)
			break;
		mem_read_barrier();
		struct v3_rxc c = {.w0 = at->w0, .w2 = at->w2, .w3 = at->w3};

		if (++v->rxc_next == RING + RING1) {
			v->rxc_next = 0;
			v->rxc_gen ^= GEN31;
		}
		rx_take(nd, v, &c);
		n++;
		if (!(c.w0 & RC_EOP))
			continue;
		rx_refill(&v->ring[0]);
		rx_refill(&v->ring[1]);
	}
	if (n && v->rxq->update_prod) {
		nic_write32(nd, BAR_PT, PT_RXPROD, v->ring[0].next);
		nic_write32(nd, BAR_PT, PT_RXPROD2, v->ring[1].next);
	}
	return n;
}

/* ---- events ---- */

static void mask(struct netdev *nd, uint32_t value)
{
	for (uint32_t i = 0; i < nd->vectors; i++)
		nic_write32(nd, BAR_PT, PT_IMR + 8 * i, value);
}

static bool v3_arm(struct netdev *nd, bool want_tx)
{
	struct v3 *v = v3_of(nd);

	v->shared->intr_ctrl = 0;
	for (uint32_t i = 0; i < nd->vectors; i++)
		if (want_tx || i != v->v_tx || v->v_tx == v->v_rx)
			nic_write32(nd, BAR_PT, PT_IMR + 8 * i, 0);
	mem_barrier();
	if ((((volatile struct v3_rxc *)v->rxc)[v->rxc_next].w3 & GEN31) == v->rxc_gen)
		return true;
	return want_tx &&
	       (((volatile struct v3_txc *)v->txc)[v->txc_next].w3 & GEN31) == v->txc_gen;
}

static void v3_disarm(struct netdev *nd)
{
	mask(nd, 1);
}

static void check_queues(struct netdev *nd)
{
	struct v3 *v = v3_of(nd);

	nic_write32(nd, BAR_VD, VD_CMD, CMD_GET_STATUS);
	if (*(volatile uint8_t *)&v->txq->stopped || *(volatile uint8_t *)&v->rxq->stopped) {
		log_error("%s: a queue stopped: transmit error %#x, receive error %#x",
			  nd->name, v->txq->error, v->rxq->error);
		nd->failed = true;
	}
}

static void v3_irq(struct netdev *nd, unsigned vector)
{
	struct v3 *v = v3_of(nd);
	uint32_t events = *(volatile uint32_t *)&v->shared->events;

	nd->stats.irqs++;
	mask(nd, 1);
	if (!events)
		return;
	nic_write32(nd, BAR_VD, VD_ECR, events);
	if (events & ECR_LINK)
		read_link(nd);
	if (events & 3)
		check_queues(nd);
}

static void v3_set_moderation(struct netdev *nd, unsigned us)
{
	/* The device adapts by itself (moderation level 8). */
}

static void v3_tick(struct netdev *nd)
{
	struct v3 *v = v3_of(nd);

	read_link(nd);
	nic_write32(nd, BAR_VD, VD_CMD, CMD_GET_STATS);
	nd->stats.rx_missed = v->rxq->stats[8]; /* out of buffers */
	nd->stats.rx_crc_errors = v->rxq->stats[9];
}

static const struct net_pci_id ids[] = {{0x15ad, 0x07b0}, {0, 0}};

static const struct net_driver vmxnet3 = {
    .name = "vmxnet3",
    .ids = ids,
    .attach = v3_attach,
    .detach = v3_detach,
    .tx_room = v3_tx_room,
    .tx = v3_tx,
    .tx_flush = v3_tx_flush,
    .tx_reap = v3_tx_reap,
    .rx_poll = v3_rx_poll,
    .arm = v3_arm,
    .disarm = v3_disarm,
    .irq = v3_irq,
    .set_filter = v3_set_filter,
    .set_moderation = v3_set_moderation,
    .tick = v3_tick,
};
NET_DRIVER(vmxnet3);
