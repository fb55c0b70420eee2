/* SPDX-License-Identifier: ISC */
/*
 * virtio-net over PCI, modern interface only (virtio 1.2 sections 4.1 and 5.1): multiple
 * queue pairs, checksum and segmentation offload both ways, mergeable buffers, event
 * index, receive filters through the control queue.
 *
 * A frame to send is its virtio-net header, written into the headroom right before the
 * head, the head, and its pieces: one descriptor chain, nothing copied. Received frames
 * lie in RX_BUF-byte buffers of the driver; large segments span several.
 *
 * A device that breaks the ring rules or sets DEVICE_NEEDS_RESET makes nd->failed.
 */
#include <stdlib.h>
#include "cells/nic/netdev.h"
#include "libcell/log.h"
#include "libcell/virtio_pci.h"
#include "libcell/virtq.h"

#define RX_BUF   4096u /* a page: a 64 KiB segment takes 16 */
#define QSIZE    256u
#define CTRL_NUM 16u

#define F(bit) (1ull << (bit))
enum {
	F_CSUM = 0,
	F_GUEST_CSUM = 1,
	F_MTU = 3,
	F_MAC = 5,
	F_GUEST_TSO4 = 7,
	F_GUEST_TSO6 = 8,
	F_GUEST_ECN = 9,
	F_HOST_TSO4 = 11,
	F_HOST_TSO6 = 12,
	F_HOST_ECN = 13,
	F_MRG_RXBUF = 15,
	F_STATUS = 16,
	F_CTRL_VQ = 17,
	F_CTRL_RX = 18,
	F_MQ = 22,
	F_EVENT_IDX = 29,
	F_VERSION_1 = 32,
	F_ACCESS_PLATFORM = 33,
	F_GUEST_USO4 = 54,
	F_GUEST_USO6 = 55,
	F_HOST_USO = 56,
	F_SPEED_DUPLEX = 63,
};
#define WANTED                                                                                \
	(F(F_CSUM) | F(F_GUEST_CSUM) | F(F_MTU) | F(F_MAC) | F(F_GUEST_TSO4) |                \
	 F(F_GUEST_TSO6) | F(F_GUEST_ECN) | F(F_HOST_TSO4) | F(F_HOST_TSO6) | F(F_HOST_ECN) | \
	 F(F_MRG_RXBUF) | F(F_STATUS) | F(F_CTRL_VQ) | F(F_CTRL_RX) | F(F_MQ) |               \
	 F(F_EVENT_IDX) | F(F_VERSION_1) | F(F_ACCESS_PLATFORM) | F(F_GUEST_USO4) |           \
	 F(F_GUEST_USO6) | F(F_HOST_USO) | F(F_SPEED_DUPLEX))

/* struct virtio_net_hdr_v1; the same as a port's. */
struct vn_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct vn_hdr) == 12, "section 5.1.6");
enum {
	HDR_NEEDS_CSUM = 1,
	HDR_DATA_VALID = 2,
	GSO_TCPV4 = 1,
	GSO_TCPV6 = 4,
	GSO_UDP_L4 = 5,
	GSO_ECN = 0x80,
};

struct vn_queue {
	struct virtq_drv q;
	struct virtq_slot slot[QSIZE];
	void *ring;
	size_t ring_size;
	uint32_t notify_off;
	uint16_t index;
	uint8_t *bufs; /* receive: QSIZE buffers */
	uint64_t bufs_dma;
};

struct vn {
	struct {
		uint8_t bar;
		uint32_t off;
	} cap[CAPS];
	uint32_t notify_mult;
	uint64_t features;
	struct vn_queue rx[NETDEV_QUEUES_MAX], tx[NETDEV_QUEUES_MAX], ctrl;
	uint8_t *cmd; /* memory of control commands */
	uint64_t cmd_dma;
};

static uint8_t c_read8(struct netdev *nd, unsigned cap, uint32_t off)
{
	struct vn *v = nd->priv;

	return nic_read8(nd, v->cap[cap].bar, v->cap[cap].off + off);
}

static uint16_t c_read16(struct netdev *nd, unsigned cap, uint32_t off)
{
	struct vn *v = nd->priv;

	return nic_read16(nd, v->cap[cap].bar, v->cap[cap].off + off);
}

static uint32_t c_read32(struct netdev *nd, unsigned cap, uint32_t off)
{
	struct vn *v = nd->priv;

	return nic_read32(nd, v->cap[cap].bar, v->cap[cap].off + off);
}

static void c_write8(struct netdev *nd, uint32_t off, uint8_t val)
{
	struct vn *v = nd->priv;

	nic_write8(nd, v->cap[CAP_COMMON].bar, v->cap[CAP_COMMON].off + off, val);
}

static void c_write16(struct netdev *nd, uint32_t off, uint16_t val)
{
	struct vn *v = nd->priv;

	nic_write16(nd, v->cap[CAP_COMMON].bar, v->cap[CAP_COMMON].off + off, val);
}

static void c_write32(struct netdev *nd, uint32_t off, uint32_t val)
{
	struct vn *v = nd->priv;

	nic_write32(nd, v->cap[CAP_COMMON].bar, v->cap[CAP_COMMON].off + off, val);
}

static void c_write64(struct netdev *nd, uint32_t off, uint64_t val)
{
	c_write32(nd, off, (uint32_t)val);
	c_write32(nd, off + 4, (uint32_t)(val >> 32));
}

/* ---- set-up ---- */

/* Vendor capabilities of the configuration space (section 4.1.4). */
static int find_caps(struct netdev *nd)
{
	struct vn *v = nd->priv;
	uint32_t at = nic_config_read32(nd, 0x34) & 0xfc;
	unsigned found = 0;

	for (int n = 0; at >= 0x40 && n < 48; n++) {
		uint32_t w = nic_config_read32(nd, at);
		uint8_t type = (uint8_t)(w >> 24);

		if ((w & 0xff) == 0x09 && type >= CAP_COMMON && type <= CAP_DEVICE &&
		    !(found & (1u << type))) {
			uint8_t bar = (uint8_t)nic_config_read32(nd, at + 4);

			if (bar < 6 && nd->pci->bar[bar].size) {
				found |= 1u << type;
				v->cap[type].bar = bar;
				v->cap[type].off = nic_config_read32(nd, at + 8);
				if (type == CAP_NOTIFY)
					v->notify_mult = nic_config_read32(nd, at + 16);
			}
		}
		at = (w >> 8) & 0xfc;
	}
	return (found & 0x1e) == 0x1e ? 0 : -1;
}

static int reset(struct netdev *nd)
{
	c_write8(nd, C_STATUS, 0);
	for (int i = 0; i < 1000; i++) {
		if (c_read8(nd, CAP_COMMON, C_STATUS) == 0)
			return 0;
		nic_delay_us(100);
	}
	return -1;
}

static int negotiate(struct netdev *nd)
{
	struct vn *v = nd->priv;
	uint64_t f;

	c_write8(nd, C_STATUS, S_ACKNOWLEDGE);
	c_write8(nd, C_STATUS, S_ACKNOWLEDGE | S_DRIVER);
	c_write32(nd, C_DEVICE_FEATURE_SELECT, 0);
	f = c_read32(nd, CAP_COMMON, C_DEVICE_FEATURE);
	c_write32(nd, C_DEVICE_FEATURE_SELECT, 1);
	f |= (uint64_t)c_read32(nd, CAP_COMMON, C_DEVICE_FEATURE) << 32;
	f &= WANTED;
	if (!(f & F(F_VERSION_1)))
		return -1;
	if (!(f & F(F_MRG_RXBUF)))
		f &= ~(F(F_GUEST_TSO4) | F(F_GUEST_TSO6) | F(F_GUEST_ECN) | F(F_GUEST_USO4) |
		       F(F_GUEST_USO6));
	if (!(f & F(F_CTRL_VQ)))
		f &= ~(F(F_CTRL_RX) | F(F_MQ));
	c_write32(nd, C_DRIVER_FEATURE_SELECT, 0);
	c_write32(nd, C_DRIVER_FEATURE, (uint32_t)f);
	c_write32(nd, C_DRIVER_FEATURE_SELECT, 1);
	c_write32(nd, C_DRIVER_FEATURE, (uint32_t)(f >> 32));
	c_write8(nd, C_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
	if (!(c_read8(nd, CAP_COMMON, C_STATUS) & S_FEATURES_OK))
		return -1;
	v->features = f;
	return 0;
}

static int queue_setup(struct netdev *nd, struct vn_queue *q, uint16_t index, uint16_t num,
		       uint16_t vector)
{
	struct vn *v = nd->priv;
	uint64_t dma;

	q->index = index;
	c_write16(nd, C_QUEUE_SELECT, index);
	uint16_t max = c_read16(nd, CAP_COMMON, C_QUEUE_SIZE);

	while (num > max)
		num /= 2;
	if (num < 2)
		return -1;
	c_write16(nd, C_QUEUE_SIZE, num);
	q->ring_size = d0_vring_bytes(num);
	q->ring = nic_dma_alloc(q->ring_size, &dma);
	if (!q->ring || virtq_drv_init(&q->q, q->ring, num, v->features, q->slot))
		return -1;
	c_write16(nd, C_QUEUE_MSIX, vector);
	if (vector != NO_VEC && c_read16(nd, CAP_COMMON, C_QUEUE_MSIX) != vector)
		return -1;
	c_write64(nd, C_QUEUE_DESC, dma);
	c_write64(nd, C_QUEUE_DRIVER, dma + d0_vring_avail_off(num));
	c_write64(nd, C_QUEUE_DEVICE, dma + d0_vring_used_off(num));
	q->notify_off = c_read16(nd, CAP_COMMON, C_QUEUE_NOTIFY_OFF) * v->notify_mult;
	c_write16(nd, C_QUEUE_ENABLE, 1);
	return 0;
}

static void notify(struct netdev *nd, const struct vn_queue *q)
{
	struct vn *v = nd->priv;

	nic_write16(nd, v->cap[CAP_NOTIFY].bar, v->cap[CAP_NOTIFY].off + q->notify_off,
		    q->index);
}

/* A vector for a queue: its own, its pair's, or the common one. */
static uint16_t vector_for(const struct netdev *nd, unsigned pair, bool tx)
{
	if (nd->pci->irq_kind != D0_IRQ_MSIX || nd->vectors == 0)
		return NO_VEC;
	if (nd->vectors >= 1 + 2u * nd->rxqs)
		return (uint16_t)(1 + 2 * pair + tx);
	if (nd->vectors >= 1u + nd->rxqs)
		return (uint16_t)(1 + pair);
	return (uint16_t)(nd->vectors - 1);
}

static int rx_post(struct vn_queue *q, void *buf)
{
	uint64_t dma = q->bufs_dma + (uint64_t)((uint8_t *)buf - q->bufs);

	return virtq_drv_add(&q->q, NULL, 0, &(struct virtq_buf){dma, RX_BUF}, 1, buf);
}

static int rx_fill(struct netdev *nd, struct vn_queue *q)
{
	q->bufs = nic_dma_alloc((size_t)q->q.num * RX_BUF, &q->bufs_dma);
	if (!q->bufs)
		return -1;
	for (unsigned i = 0; i < q->q.num; i++)
		if (rx_post(q, q->bufs + i * RX_BUF))
			return -1;
	return 0;
}

/* ---- the control queue (section 5.1.6.5): one command at a time, waited for ---- */

static int command(struct netdev *nd, uint8_t class, uint8_t cmd, uint32_t len)
{
	struct vn *v = nd->priv;
	struct virtq_buf out = {v->cmd_dma, 2 + len};
	struct virtq_buf in = {v->cmd_dma + 4095, 1};
	uint32_t got;

	if (!(v->features & F(F_CTRL_VQ)))
		return -1;
	v->cmd[0] = class;
	v->cmd[1] = cmd;
	v->cmd[4095] = 0xff;
	if (virtq_drv_add(&v->ctrl.q, &out, 1, &in, 1, v->cmd))
		return -1;
	virtq_drv_push(&v->ctrl.q);
	notify(nd, &v->ctrl);
	for (int i = 0; i < 2000; i++) {
		if (virtq_drv_pop(&v->ctrl.q, &got))
			return v->cmd[4095] == 0 ? 0 : -1;
		nic_delay_us(50);
	}
	nd->failed = true;
	return -1;
}

static int command_u8(struct netdev *nd, uint8_t class, uint8_t cmd, uint8_t arg)
{
	((struct vn *)nd->priv)->cmd[2] = arg;
	return command(nd, class, cmd, 1);
}

static uint32_t put_macs(uint8_t *to, const uint8_t (*mac)[6], uint32_t count)
{
	memcpy(to, &count, 4);
	memcpy(to + 4, mac, 6 * count);
	return 4 + 6 * count;
}

static void vn_set_filter(struct netdev *nd)
{
	struct vn *v = nd->priv;
	const struct netdev_filter *f = &nd->filter;

	if (!(v->features & F(F_CTRL_RX)))
		return; /* such a device passes everything */
	command_u8(nd, 0, 0, f->promisc);
	command_u8(nd, 0, 1, f->allmulti);
	uint32_t n = put_macs(v->cmd + 2, f->uc, f->ucs);

	n += put_macs(v->cmd + 2 + n, f->mc, f->mcs);
	if (command(nd, 1, 0, n) && !nd->failed)
		command_u8(nd, 0, 0, 1); /* no such table: take everything */
}

static int set_pairs(struct netdev *nd)
{
	struct vn *v = nd->priv;

	if (nd->rxqs == 1)
		return 0;
	memcpy(v->cmd + 2, &nd->rxqs, 2);
	return command(nd, 4, 0, 2);
}

/* ---- life ---- */

static void read_link(struct netdev *nd)
{
	struct vn *v = nd->priv;

	nd->link_up = !(v->features & F(F_STATUS)) || (c_read16(nd, CAP_DEVICE, 6) & 1);
	nd->speed = ~0u;
	if (v->features & F(F_SPEED_DUPLEX))
		nd->speed = c_read32(nd, CAP_DEVICE, 12);
	if (c_read8(nd, CAP_COMMON, C_STATUS) & S_NEEDS_RESET)
		nd->failed = true;
}

static void read_config(struct netdev *nd)
{
	struct vn *v = nd->priv;
	static const struct {
		uint8_t bit;
		uint32_t feature;
	} map[] = {
	    {F_CSUM, NETDEV_F_TX_CSUM | NETDEV_F_TX_IP6_CSUM},
	    {F_HOST_TSO4, NETDEV_F_TSO4},
	    {F_HOST_TSO6, NETDEV_F_TSO6},
	    {F_HOST_USO, NETDEV_F_USO},
	    {F_GUEST_CSUM, NETDEV_F_RX_CSUM},
	    {F_GUEST_TSO4, NETDEV_F_LRO},
	};

	if (v->features & F(F_MAC))
		for (uint32_t i = 0; i < 6; i++)
			nd->mac[i] = c_read8(nd, CAP_DEVICE, i);
	nd->mtu_max = v->features & F(F_MRG_RXBUF) ? NET_MTU_MAX
						   : RX_BUF - NET_ETH_HDR - NET_VLAN_HDR - 12;
	if (v->features & F(F_MTU)) {
		uint16_t mtu = c_read16(nd, CAP_DEVICE, 10);

		if (mtu >= 68 && mtu < nd->mtu_max)
			nd->mtu_max = mtu;
	}
	if (nd->mtu > nd->mtu_max)
		nd->mtu = nd->mtu_max;
	nd->features = 0;
	for (unsigned i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (v->features & F(map[i].bit))
			nd->features |= map[i].feature;
	read_link(nd);
}

static void free_queue(struct netdev *nd, struct vn_queue *q, bool tx)
{
	struct net_txbuf *b;

	if (!q->ring)
		return;
	while (tx && (b = virtq_drv_drain(&q->q)))
		netdev_tx_done(nd, b);
	if (q->bufs)
		nic_dma_free(q->bufs, (size_t)q->q.num * RX_BUF);
	nic_dma_free(q->ring, q->ring_size);
	q->ring = NULL;
}

static void vn_detach(struct netdev *nd)
{
	struct vn *v = nd->priv;

	if (!v)
		return;
	if (reset(nd))
		log_error("%s: does not reset", nd->name);
	for (unsigned i = 0; i < NETDEV_QUEUES_MAX; i++) {
		free_queue(nd, &v->rx[i], false);
		free_queue(nd, &v->tx[i], true);
	}
	free_queue(nd, &v->ctrl, false);
	if (v->cmd)
		nic_dma_free(v->cmd, 4096);
	free(v);
	nd->priv = NULL;
}

static int setup_queues(struct netdev *nd)
{
	struct vn *v = nd->priv;
	uint16_t max = v->features & F(F_MQ) ? c_read16(nd, CAP_DEVICE, 8) : 1;

	nd->rxqs = max < nd->queues_max ? max : nd->queues_max;
	if (nd->rxqs < 1)
		nd->rxqs = 1;
	/* A pair without an interrupt of its own is no use. */
	while (nd->rxqs > 1 && nd->vectors < 1u + nd->rxqs)
		nd->rxqs--;
	nd->txqs = nd->rxqs;
	for (unsigned i = 0; i < nd->rxqs; i++) {
		if (queue_setup(nd, &v->rx[i], (uint16_t)(2 * i), QSIZE,
				vector_for(nd, i, false)) ||
		    queue_setup(nd, &v->tx[i], (uint16_t)(2 * i + 1), QSIZE,
				vector_for(nd, i, true)) ||
		    rx_fill(nd, &v->rx[i]))
			return -1;
		virtq_drv_events_off(&v->tx[i].q);
	}
	if (!(v->features & F(F_CTRL_VQ)))
		return 0;
	v->cmd = nic_dma_alloc(4096, &v->cmd_dma);
	return v->cmd ? queue_setup(nd, &v->ctrl, (uint16_t)(2 * max), CTRL_NUM, NO_VEC) : -1;
}

static int vn_attach(struct netdev *nd)
{
	struct vn *v = calloc(1, sizeof(*v));
	uint16_t config_vector = nd->pci->irq_kind == D0_IRQ_MSIX && nd->vectors ? 0 : NO_VEC;

	if (!v)
		return -1;
	nd->priv = v;
	if (find_caps(nd)) {
		log_error("%s: not a modern virtio device", nd->name);
		free(v);
		nd->priv = NULL;
		return -1;
	}
	if (reset(nd) || negotiate(nd))
		goto fail;
	c_write16(nd, C_CONFIG_MSIX, config_vector);
	if (setup_queues(nd))
		goto fail;
	read_config(nd);
	c_write8(nd, C_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	for (unsigned i = 0; i < nd->rxqs; i++) {
		virtq_drv_push(&v->rx[i].q);
		notify(nd, &v->rx[i]);
	}
	if (set_pairs(nd))
		goto fail;
	vn_set_filter(nd);
	if (nd->failed)
		goto fail;
	return 0;
fail:
	log_error("%s: virtio-net set-up failed, status %#x", nd->name,
		  c_read8(nd, CAP_COMMON, C_STATUS));
	nd->failed = false;
	vn_detach(nd);
	return -1;
}

/* ---- sending ---- */

static unsigned vn_tx_room(struct netdev *nd, unsigned q)
{
	struct vn *v = nd->priv;

	return virtq_drv_free(&v->tx[q].q) / NET_TXFRAGS_MAX;
}

static struct vn_hdr tx_header(const struct net_frame *f)
{
	static const uint8_t type[] = {
	    [NET_GSO_TCP4] = GSO_TCPV4,
	    [NET_GSO_TCP6] = GSO_TCPV6,
	    [NET_GSO_UDP] = GSO_UDP_L4,
	};
	struct vn_hdr h = {0};

	if (f->csum_partial) {
		h.flags = HDR_NEEDS_CSUM;
		h.csum_start = f->csum_start;
		h.csum_offset = f->csum_offset;
	}
	if (f->gso) {
		h.gso_type = (uint8_t)(type[f->gso] | (f->gso_ecn ? GSO_ECN : 0));
		h.gso_size = f->gso_size;
		h.hdr_len = f->info.payload_off;
	}
	return h;
}

static void vn_tx(struct netdev *nd, unsigned q, struct net_txbuf *b)
{
	struct vn *v = nd->priv;
	struct virtq_buf out[NET_TXFRAGS_MAX];
	struct vn_hdr h = tx_header(&b->f);

	memcpy(b->frag[0].data - sizeof(h), &h, sizeof(h));
	out[0].addr = b->frag[0].dma - sizeof(h);
	out[0].len = b->frag[0].len + (uint32_t)sizeof(h);
	for (unsigned i = 1; i < b->f.nfrag; i++)
		out[i] = (struct virtq_buf){b->frag[i].dma, b->frag[i].len};
	if (virtq_drv_add(&v->tx[q].q, out, b->f.nfrag, NULL, 0, b)) {
		nd->stats.tx_errors++;
		netdev_tx_done(nd, b);
	}
}

static void vn_tx_flush(struct netdev *nd, unsigned q)
{
	struct vn *v = nd->priv;

	if (virtq_drv_push(&v->tx[q].q))
		notify(nd, &v->tx[q]);
}

static unsigned vn_tx_reap(struct netdev *nd, unsigned q)
{
	struct vn *v = nd->priv;
	struct net_txbuf *b;
	uint32_t len;
	unsigned n = 0;

	for (; (b = virtq_drv_pop(&v->tx[q].q, &len)); n++)
		netdev_tx_done(nd, b);
	if (v->tx[q].q.broken) {
		log_error("%s: transmit queue: %s", nd->name, v->tx[q].q.broken);
		nd->failed = true;
	}
	return n;
}

/* ---- receiving ---- */

static void rx_meta(struct net_frame *f, const struct vn_hdr *h)
{
	uint8_t type = h->gso_type & (uint8_t)~GSO_ECN;

	f->csum_ok = (h->flags & HDR_DATA_VALID) != 0;
	if (h->flags & HDR_NEEDS_CSUM) {
		f->csum_partial = 1;
		f->csum_ok = 1;
		f->csum_start = h->csum_start;
		f->csum_offset = h->csum_offset;
	}
	f->gso = type == GSO_TCPV4    ? NET_GSO_TCP4
		 : type == GSO_TCPV6  ? NET_GSO_TCP6
		 : type == GSO_UDP_L4 ? NET_GSO_UDP
				      : NET_GSO_NONE;
	if (f->gso) {
		f->gso_size = h->gso_size;
		f->gso_ecn = (h->gso_type & GSO_ECN) != 0;
	}
}

/* One frame; false: none, or the queue is broken. */
static bool rx_one(struct netdev *nd, struct vn_queue *q)
{
	struct vn *v = nd->priv;
	struct net_frag frag[NET_FRAGS_MAX];
	void *buf[NET_FRAGS_MAX];
	struct net_frame f = {.frag = frag, .max = NET_FRAGS_MAX};
	struct vn_hdr h;
	uint32_t len;
	unsigned want = 1, n = 0;

	while (n < want) {
		buf[n] = virtq_drv_pop(&q->q, &len);
		if (!buf[n])
			break;
		frag[n] = (struct net_frag){.data = buf[n], .len = len};
		if (n == 0 && len > sizeof(h)) {
			memcpy(&h, buf[0], sizeof(h));
			frag[0].data += sizeof(h);
			frag[0].len -= (uint32_t)sizeof(h);
			if (v->features & F(F_MRG_RXBUF))
				want = h.num_buffers;
		}
		f.len += frag[n].len;
		n++;
		if (want == 0 || want > NET_FRAGS_MAX) {
			nd->failed = true;
			return false;
		}
	}
	if (n == 0)
		return false;
	if (n < want) {
		log_error("%s: a frame without its last buffers", nd->name);
		nd->failed = true;
		return false;
	}
	f.nfrag = (uint16_t)n;
	if (frag[0].data == buf[0] || f.len > NET_FRAME_MAX) {
		nd->stats.rx_errors++;
	} else {
		rx_meta(&f, &h);
		netdev_rx(nd, &f);
	}
	for (unsigned i = 0; i < n; i++)
		if (rx_post(q, buf[i]))
			nd->failed = true;
	return true;
}

static unsigned vn_rx_poll(struct netdev *nd, unsigned queue, unsigned budget)
{
	struct vn *v = nd->priv;
	struct vn_queue *q = &v->rx[queue];
	unsigned n = 0;

	while (n < budget && !nd->failed && rx_one(nd, q))
		n++;
	if (q->q.broken) {
		log_error("%s: receive queue: %s", nd->name, q->q.broken);
		nd->failed = true;
	}
	if (n && virtq_drv_push(&q->q))
		notify(nd, q);
	return n;
}

/* ---- events ---- */

static bool vn_arm(struct netdev *nd, bool want_tx)
{
	struct vn *v = nd->priv;
	bool work = false;

	for (unsigned i = 0; i < nd->rxqs; i++) {
		work |= virtq_drv_events_on(&v->rx[i].q);
		if (want_tx)
			work |= virtq_drv_events_on(&v->tx[i].q);
		else
			virtq_drv_events_off(&v->tx[i].q);
	}
	return work;
}

static bool vn_hold(struct netdev *nd, unsigned pages, bool *there)
{
	struct vn *v = nd->priv;

	_Static_assert(RX_BUF == 4096, "a buffer is a page");
	virtq_drv_events_off(&v->tx[0].q);
	return nd->rxqs == 1 && pages < QSIZE &&
	       virtq_drv_events_after(&v->rx[0].q, (uint16_t)pages, there);
}

static void vn_disarm(struct netdev *nd)
{
	struct vn *v = nd->priv;

	for (unsigned i = 0; i < nd->rxqs; i++) {
		virtq_drv_events_off(&v->rx[i].q);
		virtq_drv_events_off(&v->tx[i].q);
	}
}

static void vn_irq(struct netdev *nd, unsigned vector)
{
	nd->stats.irqs++;
	if (nd->pci->irq_kind == D0_IRQ_MSIX) {
		if (vector == 0)
			read_link(nd);
	} else if (c_read8(nd, CAP_ISR, 0) & 2) { /* reading acknowledges */
		read_link(nd);
	}
}

static void vn_set_moderation(struct netdev *nd, unsigned us)
{
	/* The event index does it: an idle queue interrupts once, a busy one never. */
}

static const struct net_pci_id ids[] = {
    {0x1af4, 0x1000}, /* transitional: modern interface too */
    {0x1af4, 0x1041},
    {0, 0},
};

static const struct net_driver virtio_net = {
    .name = "virtio-net",
    .ids = ids,
    .attach = vn_attach,
    .detach = vn_detach,
    .tx_room = vn_tx_room,
    .tx = vn_tx,
    .tx_flush = vn_tx_flush,
    .tx_reap = vn_tx_reap,
    .rx_poll = vn_rx_poll,
    .arm = vn_arm,
    .disarm = vn_disarm,
    .hold = vn_hold,
    .irq = vn_irq,
    .set_filter = vn_set_filter,
    .set_moderation = vn_set_moderation,
    .tick = read_link,
};
NET_DRIVER(virtio_net);
