/* SPDX-License-Identifier: ISC */
/*
 * vnet_device: the device side of a port.
 *
 * Problem: move frames between a ring region that a hostile cell writes at will and the
 * switch, without a copy towards the cards, and let either side restart at any time.
 *
 * Model:
 *   sent frames   The head (up to NET_HEAD_MAX bytes, all headers) is copied once into
 *                 private memory; everything that decides is read from that copy and that
 *                 copy is what leaves. The payload stays in the ring region and is read by
 *                 the card's DMA, or copied straight into another port's buffers.
 *   received      copied once, into the receive buffers the driver posted.
 *   descriptors   are read by libcell's virtq, which copies and bounds them; a chain goes
 *                 back when the last user of its payload is done (`inflight` counts them).
 *
 * Invariants: queues are touched only while `live`; a completion carries the epoch it
 * began in and is dropped when the driver has reset since. The device page is only ever
 * written: nothing read back from shared memory decides anything but what its owner says
 * about itself.
 *
 * Failure: a rule broken (virtq's `broken`) stops the port with D0_VNET_ERR_RING until its
 * driver resets; other ports do not notice.
 */
#include "cells/nic/vnet_device.h"

#include "cells/nic/switch/switch.h"
#include "libcell/log.h"

#define CHAIN_SEGS VNET_PUT_SEGS

static volatile struct d0_vnet_dev *dev_page(struct nic_port *p)
{
	return (volatile struct d0_vnet_dev *)p->ring;
}

static volatile struct d0_vnet_drv *drv_page(struct nic_port *p)
{
	return (volatile struct d0_vnet_drv *)(p->ring + D0_VNET_DRV_OFF);
}

#define OFFERED                                                                        \
	(D0_VNET_F_NEEDED | D0_VNET_F(CSUM) | D0_VNET_F(GUEST_CSUM) | D0_VNET_F(MTU) | \
	 D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6) | D0_VNET_F(GUEST_ECN) |        \
	 D0_VNET_F(HOST_TSO4) | D0_VNET_F(HOST_TSO6) | D0_VNET_F(HOST_ECN) |           \
	 D0_VNET_F(STATUS) | D0_VNET_F(GUEST_USO4) | D0_VNET_F(GUEST_USO6) |           \
	 D0_VNET_F(HOST_USO) | D0_VNET_F(SPEED_DUPLEX))

static uint64_t offered(const struct nic_port *p)
{
	return OFFERED | (p->policy.queues > 1 ? D0_VNET_F(MQ) : 0);
}

void vnet_device_start(struct nic_port *p, uint32_t epoch)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);

	p->live = false;
	p->failed_epoch = false;
	p->epoch = 0;
	dev->magic = 0;
	dev->version = D0_VNET_VERSION;
	dev->features = offered(p);
	dev->ack = 0;
	dev->error = D0_VNET_ERR_NONE;
	dev->max_pairs = p->policy.queues;
	dev->mode = policy_shares_mac(&p->policy)     ? D0_VNET_MODE_IPVLAN
		    : p->policy.mode == POLICY_BRIDGE ? D0_VNET_MODE_BRIDGE
						      : D0_VNET_MODE_MACVLAN;
	dev->pad = 0;
	__atomic_store_n((uint32_t *)&dev->epoch, epoch, __ATOMIC_RELEASE);
	__atomic_store_n((uint32_t *)&dev->magic, D0_VNET_DEV_MAGIC, __ATOMIC_RELEASE);
	p->ring_bell = true;
}

void vnet_device_config(struct nic_port *p, bool link_up, uint32_t speed)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);

	for (int i = 0; i < 6; i++)
		dev->mac[i] = p->mac[i];
	dev->mtu = p->mtu;
	dev->status = link_up ? D0_VNET_S_LINK_UP : 0;
	dev->speed = speed;
	__atomic_store_n((uint32_t *)&dev->config_seq, ++p->config_seq, __ATOMIC_RELEASE);
	p->ring_bell = true;
}

static void stop(struct nic_port *p, enum d0_vnet_error error, const char *why)
{
	p->live = false;
	p->failed_epoch = true;
	p->stats.broken++;
	p->ring_bell = true;
	dev_page(p)->error = error;
	log_warn("port %u: stopped: %s", p->number, why);
}

/* Step 2 of d0/vnet.h: after this the driver may rewrite the queues. */
static void reset(struct nic_port *p, uint32_t epoch)
{
	p->live = false;
	log_debug("port %u: driver resets, epoch %u", p->number, epoch);
	p->epoch = epoch;
	p->failed_epoch = false;
	p->stats.resets++;
	dev_page(p)->error = D0_VNET_ERR_NONE;
	__atomic_store_n((uint32_t *)&dev_page(p)->ack, epoch, __ATOMIC_RELEASE);
	p->ring_bell = true;
}

static bool features_ok(const struct nic_port *p, uint64_t f)
{
	const uint64_t host = D0_VNET_F(HOST_TSO4) | D0_VNET_F(HOST_TSO6) | D0_VNET_F(HOST_USO);
	const uint64_t guest = D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6) |
			       D0_VNET_F(GUEST_USO4) | D0_VNET_F(GUEST_USO6);

	if ((f & ~offered(p)) || (f & D0_VNET_F_NEEDED) != D0_VNET_F_NEEDED)
		return false;
	if ((f & host) && !(f & D0_VNET_F(CSUM)))
		return false;
	return !(f & guest) || (f & D0_VNET_F(GUEST_CSUM));
}

/* Step 4. */
static void attach(struct nic_port *p)
{
	uint64_t features = drv_page(p)->features;
	uint32_t pairs = drv_page(p)->pairs;
	const struct virtq_window window = {.base = p->ring, .addr = 0, .size = p->size};

	if (!features_ok(p, features)) {
		stop(p, D0_VNET_ERR_FEATURES, "features not offered");
		return;
	}
	if (pairs > p->policy.queues || d0_vnet_layout(p->size, pairs, &p->layout)) {
		stop(p, D0_VNET_ERR_PAIRS, "queue pairs out of range");
		return;
	}
	for (unsigned i = 0; i < pairs; i++) {
		uint8_t *rx = p->ring + p->layout.queue[2 * i].desc;
		uint8_t *tx = p->ring + p->layout.queue[2 * i + 1].desc;
		uint16_t num = (uint16_t)p->layout.qsize;

		if (virtq_dev_init(&p->rxq[i], rx, num, features, &window) ||
		    virtq_dev_init(&p->txq[i], tx, num, features, &window)) {
			stop(p, D0_VNET_ERR_RING, "queues cannot be set up");
			return;
		}
		p->push_rx[i] = p->push_tx[i] = false;
	}
	log_debug("port %u: attached, features %#llx, %u pairs", p->number,
		  (unsigned long long)features, pairs);
	p->features = features;
	p->live = true;
	p->ring_bell = true;
}

static void read_filter(struct nic_port *p)
{
	volatile struct d0_vnet_drv *drv = drv_page(p);
	uint32_t count = drv->mc_count;

	p->mc_seq = __atomic_load_n((uint32_t *)&drv->mc_seq, __ATOMIC_ACQUIRE);
	p->rx_mode = drv->rx_mode;
	if (!p->policy.promisc_ok)
		p->rx_mode &= ~(uint32_t)D0_VNET_RX_PROMISC;
	p->mc_count = count < D0_VNET_MC_MAX ? count : D0_VNET_MC_MAX;
	for (unsigned i = 0; i < p->mc_count; i++)
		for (int j = 0; j < 6; j++)
			p->mc[i][j] = drv->mc[i][j];
}

bool vnet_device_poll(struct nic_port *p)
{
	volatile struct d0_vnet_drv *drv = drv_page(p);
	bool changed = false;

	if (drv->magic != D0_VNET_DRV_MAGIC || drv->version != D0_VNET_VERSION)
		return false;
	uint32_t epoch = __atomic_load_n((uint32_t *)&drv->epoch, __ATOMIC_ACQUIRE);
	uint32_t status = __atomic_load_n((uint32_t *)&drv->status, __ATOMIC_ACQUIRE);

	if (epoch != p->epoch) {
		if (epoch && status == D0_VNET_RESET) {
			reset(p, epoch);
			changed = true;
		} else if (p->live) {
			stop(p, D0_VNET_ERR_RING, "epoch changed without a reset");
			changed = true;
		}
	} else if (!p->live && epoch && status == D0_VNET_DRIVER_OK && !p->failed_epoch) {
		attach(p);
		changed = true;
	}
	if (drv->mc_seq != p->mc_seq) {
		read_filter(p);
		changed = true;
	}
	return changed;
}

/* ---- frames the port sends ---- */

static bool check_offload(const struct nic_port *p, const struct d0_vnet_hdr *h,
			  struct net_frame *f)
{
	const struct net_info *in = &f->info;
	uint8_t type = h->gso_type & (uint8_t)~D0_VNET_GSO_ECN;
	static const struct {
		uint8_t type, gso, proto, ip6;
		uint64_t feature;
	} kinds[] = {
	    {D0_VNET_GSO_TCPV4, NET_GSO_TCP4, IPPROTO_N_TCP, 0, D0_VNET_F(HOST_TSO4)},
	    {D0_VNET_GSO_TCPV6, NET_GSO_TCP6, IPPROTO_N_TCP, 1, D0_VNET_F(HOST_TSO6)},
	    {D0_VNET_GSO_UDP_L4, NET_GSO_UDP, IPPROTO_N_UDP, 2, D0_VNET_F(HOST_USO)},
	};

	if (!(h->flags & D0_VNET_HDR_NEEDS_CSUM))
		return h->gso_type == D0_VNET_GSO_NONE;
	uint16_t field = in->l4_proto == IPPROTO_N_TCP ? 16 : 6;

	if (!(p->features & D0_VNET_F(CSUM)) || !in->l4_ok || in->fragment ||
	    h->csum_start != in->l4_off || h->csum_offset != field)
		return false;
	f->csum_partial = 1;
	f->csum_start = h->csum_start;
	f->csum_offset = h->csum_offset;
	if (h->gso_type == D0_VNET_GSO_NONE)
		return true;
	if (h->gso_size < NET_GSO_MIN || in->l3_off + in->ip_len != f->len)
		return false;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].type != type)
			continue;
		if (kinds[i].proto != in->l4_proto || !(p->features & kinds[i].feature) ||
		    (kinds[i].ip6 != 2 && kinds[i].ip6 != in->ip6))
			return false;
		if (f->len - in->payload_off <= h->gso_size)
			return true; /* one segment */
		f->gso = kinds[i].gso;
		f->gso_size = h->gso_size;
		f->gso_ecn = (h->gso_type & D0_VNET_GSO_ECN) != 0;
		return true;
	}
	return false;
}

static bool size_ok(const struct nic_port *p, const struct net_frame *f)
{
	uint32_t max = p->mtu + NET_ETH_HDR + (f->info.tagged ? NET_VLAN_HDR : 0u);

	if (f->gso)
		return f->info.payload_off + (uint32_t)f->gso_size <= max;
	return f->len <= max;
}

/* The pieces behind the head, where they lie. */
static bool map_payload(const struct nic_port *p, const struct virtq_chain *c, uint32_t skip,
			struct net_txbuf *b)
{
	for (unsigned i = 0; i < c->outs; i++) {
		uint8_t *ptr = c->seg[i].ptr;
		uint32_t len = c->seg[i].len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		ptr += skip;
		len -= skip;
		skip = 0;
		if (b->f.nfrag == NET_TXFRAGS_MAX)
			return false;
		struct net_frag *g = &b->frag[b->f.nfrag++];

		g->data = ptr;
		g->dma = p->ring_dma == D0_NEVER ? D0_NEVER
						 : p->ring_dma + (uint64_t)(ptr - p->ring);
		g->len = len;
	}
	return true;
}

/* Builds the frame; false: not one that may be sent. */
static bool build(struct nic_port *p, const struct virtq_chain *c, struct net_txbuf *b)
{
	struct d0_vnet_hdr h;
	uint8_t *head = b->mem + NET_HEADROOM;
	struct net_frame *f = &b->f;

	memset(f, 0, sizeof(*f));
	f->frag = b->frag;
	f->max = NET_TXFRAGS_MAX;
	if (c->ins || c->out_bytes < sizeof(h) + NET_ETH_HDR ||
	    c->out_bytes > sizeof(h) + NET_FRAME_MAX)
		return false;
	f->len = c->out_bytes - (uint32_t)sizeof(h);
	virtq_chain_read(c, 0, &h, sizeof(h));
	uint32_t n = f->len < NET_HEAD_MAX ? f->len : NET_HEAD_MAX;

	virtq_chain_read(c, sizeof(h), head, n);
	net_parse(head, n, f->len, &f->info);
	if (f->info.l4_ok && f->len > NET_HEAD_MAX)
		n = f->info.payload_off;
	f->frag[0] =
	    (struct net_frag){.data = head, .dma = b->mem_dma + NET_HEADROOM, .len = n};
	f->nfrag = 1;
	return check_offload(p, &h, f) && size_ok(p, f) &&
	       map_payload(p, c, (uint32_t)sizeof(h) + n, b);
}

int vnet_device_take(struct nic_port *p, unsigned pair, struct net_txbuf *b)
{
	struct virtq_seg seg[CHAIN_SEGS];
	struct virtq_chain c = {.seg = seg, .seg_max = CHAIN_SEGS};
	struct virtq_dev *q = &p->txq[pair];
	int got = virtq_dev_next(q, &c);

	if (got == 0)
		return 0;
	b->owner = p;
	b->owner_epoch = p->epoch;
	b->pair = (uint16_t)pair;
	b->desc = c.head;
	if (got < 0 && got != D0_ELIMIT) {
		stop(p, D0_VNET_ERR_RING, q->broken ? q->broken : "transmit queue");
		return 0;
	}
	if (got < 0 || !build(p, &c, b)) {
		p->stats.bad_frames++;
		p->stats.tx_dropped++;
		virtq_dev_put(q, c.head, 0);
		p->push_tx[pair] = true;
		return -1;
	}
	p->inflight++;
	p->stats.tx_packets++;
	p->stats.tx_bytes += b->f.len;
	return 1;
}

void vnet_device_tx_done(struct nic_port *p, struct net_txbuf *b)
{
	p->inflight--;
	if (p->inflight == 0)
		nic_port_waits(p, false);
	if (!p->live || b->owner_epoch != p->epoch)
		return;
	virtq_dev_put(&p->txq[b->pair], b->desc, 0);
	p->push_tx[b->pair] = true;
}

/* ---- frames for the port ---- */

/* Takes buffers until there is room for `need` bytes. Without enough of them none is taken. */
static bool rx_reserve(struct nic_port *p, struct virtq_dev *q, uint32_t need,
		       struct vnet_put *r)
{
	uint16_t began = q->avail_next;
	unsigned segs = r->segs, bufs = r->bufs;
	uint32_t bytes = r->bytes;

	while (r->bytes < need) {
		struct virtq_chain c = {.seg = r->seg + r->segs,
					.seg_max = VNET_PUT_SEGS - r->segs};
		int got = r->bufs < VNET_PUT_BUFS ? virtq_dev_next(q, &c) : 0;

		if (got <= 0 || c.outs || c.in_bytes == 0) {
			if (got != 0 && got != D0_ELIMIT)
				stop(p, D0_VNET_ERR_RING,
				     q->broken ? q->broken : "receive buffer");
			q->avail_next = began;
			r->segs = segs;
			r->bufs = bufs;
			r->bytes = bytes;
			return false;
		}
		r->buf[r->bufs].head = c.head;
		r->buf[r->bufs++].bytes = c.in_bytes;
		r->segs += c.ins;
		r->bytes += c.in_bytes;
	}
	p->rx_buf = r->buf[0].bytes;
	return true;
}

static void rx_write(struct vnet_put *to, const void *data, uint32_t len)
{
	const uint8_t *from = data;

	to->used += len;
	while (len) {
		const struct virtq_seg *seg = &to->seg[to->at_seg];
		/* NOLINTNEXTLINE: rx_reserve found room for all of it */
		uint32_t n = seg->len - to->at_off < len ? seg->len - to->at_off : len;

		memcpy(seg->ptr + to->at_off, from, n);
		from += n;
		len -= n;
		to->at_off += n;
		if (to->at_off == seg->len) {
			to->at_seg++;
			to->at_off = 0;
		}
	}
}

static struct d0_vnet_hdr make_header(const struct net_frame *f, unsigned buffers)
{
	static const uint8_t type[] = {
	    [NET_GSO_NONE] = D0_VNET_GSO_NONE,
	    [NET_GSO_TCP4] = D0_VNET_GSO_TCPV4,
	    [NET_GSO_TCP6] = D0_VNET_GSO_TCPV6,
	    [NET_GSO_UDP] = D0_VNET_GSO_UDP_L4,
	};
	struct d0_vnet_hdr h = {.num_buffers = (uint16_t)buffers};

	if (f->csum_partial) {
		h.flags = D0_VNET_HDR_NEEDS_CSUM;
		h.csum_start = f->csum_start;
		h.csum_offset = f->csum_offset;
	} else if (f->csum_ok) {
		h.flags = D0_VNET_HDR_DATA_VALID;
	}
	if (f->gso) {
		h.gso_type = type[f->gso] | (f->gso_ecn ? D0_VNET_GSO_ECN : 0);
		h.gso_size = f->gso_size;
		h.hdr_len = f->info.payload_off;
	}
	return h;
}

bool vnet_device_begin(struct nic_port *p, unsigned pair, const struct net_frame *f,
		       struct vnet_put *put)
{
	put->segs = put->bufs = put->at_seg = 0;
	put->bytes = put->used = put->at_off = 0;
	if (!p->live ||
	    !rx_reserve(p, &p->rxq[pair], f->len + (uint32_t)sizeof(struct d0_vnet_hdr), put)) {
		p->stats.rx_dropped++;
		return false;
	}
	struct d0_vnet_hdr h = make_header(f, put->bufs);

	rx_write(put, &h, sizeof(h));
	for (unsigned i = 0; i < f->nfrag; i++)
		rx_write(put, f->frag[i].data, f->frag[i].len);
	p->stats.rx_packets++;
	p->stats.rx_bytes += f->len;
	return true;
}

bool vnet_device_append(struct nic_port *p, unsigned pair, struct vnet_put *put,
			const struct net_frame *from, uint32_t off, uint32_t len)
{
	if (!p->live || !rx_reserve(p, &p->rxq[pair], put->used + len, put))
		return false;
	for (unsigned i = 0; i < from->nfrag && len; i++) {
		const struct net_frag *g = &from->frag[i];

		if (off >= g->len) {
			off -= g->len;
			continue;
		}
		uint32_t n = g->len - off < len ? g->len - off : len;

		rx_write(put, g->data + off, n);
		len -= n;
		off = 0;
	}
	p->stats.rx_packets++;
	p->stats.rx_bytes += from->len;
	p->stats.rx_merged++;
	return true;
}

void vnet_device_end(struct nic_port *p, unsigned pair, struct vnet_put *put,
		     const struct net_frame *head)
{
	struct virtq_dev *q = &p->rxq[pair];
	uint32_t left = put->used;

	if (!p->live)
		return;
	if (head) {
		struct d0_vnet_hdr h = make_header(head, put->bufs);

		put->at_seg = 0;
		put->at_off = 0;
		rx_write(put, &h, sizeof(h));
		rx_write(put, head->frag[0].data, head->frag[0].len);
	}
	for (unsigned i = 0; i < put->bufs; i++) {
		uint32_t n = put->buf[i].bytes < left ? put->buf[i].bytes : left;

		virtq_dev_put(q, put->buf[i].head, n);
		left -= n;
	}
	p->push_rx[pair] = true;
}

bool vnet_device_put(struct nic_port *p, unsigned pair, const struct net_frame *f)
{
	struct vnet_put put;

	if (!vnet_device_begin(p, pair, f, &put))
		return false;
	vnet_device_end(p, pair, &put, NULL);
	return true;
}

void vnet_device_flush(struct nic_port *p)
{
	bool ring = p->ring_bell;

	for (unsigned i = 0; p->live && i < p->layout.pairs; i++) {
		if (p->push_rx[i])
			ring |= virtq_dev_push(&p->rxq[i]);
		if (p->push_tx[i] && virtq_dev_push(&p->txq[i])) {
			nic_port_waits(p, false); /* it says so again if it still does */
			ring = true;
		}
		p->push_rx[i] = p->push_tx[i] = false;
	}
	p->ring_bell = false;
	if (ring) {
		p->stats.bells++;
		p->bell(p->arg);
	}
}

bool vnet_device_arm(struct nic_port *p, bool want_tx)
{
	bool work = false;

	for (unsigned i = 0; p->live && i < p->layout.pairs; i++) {
		/* Room for received frames is looked for when there is one, not waited for. */
		virtq_dev_events_off(&p->rxq[i]);
		if (want_tx)
			work |= virtq_dev_events_on(&p->txq[i]);
		else
			virtq_dev_events_off(&p->txq[i]);
	}
	return work;
}

bool vnet_device_awaited(const struct nic_port *p)
{
	bool awaited = false;

	for (unsigned i = 0; p->live && p->inflight && i < p->layout.pairs; i++)
		awaited |= virtq_dev_awaited(&p->txq[i], (uint16_t)p->inflight);
	return awaited;
}

uint32_t vnet_device_room(const struct nic_port *p)
{
	return p->live ? virtq_dev_pending(&p->rxq[0]) * p->rx_buf : 0;
}
