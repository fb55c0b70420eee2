/* SPDX-License-Identifier: ISC */
/*
 * Driver side of a port.
 *
 * Problem: a transport cell must send and receive frames of up to 64 KiB through memory
 * that a hostile peer writes at will, without a copy that the wire does not need, and must
 * survive restarts of the peer and of itself.
 *
 * Model: all state that decides anything is private (struct vnet_port). From the region we
 * read only the peer's indexes, used elements, packet headers and configuration, each once.
 *   receive: buffer i belongs to descriptor i for good; `posted` says which ones the device
 *            side has, so a used element is honoured only once.
 *   transmit: packet bytes lie in a circular area, one contiguous piece and one descriptor
 *            a frame. Slots are taken and freed in order, so the area needs no allocator; a
 *            completion out of order only waits for its elders.
 *
 * Invariants: avail_idx - last_used counts what the device side holds (<= qsize);
 * slots [tail, avail_idx) are in use; head_off == tail_off only if no slot is.
 *
 * Failure: any rule broken by the peer leads to `vnet_port_reset`: a new epoch, everything
 * in flight forgotten. The sequence is d0/vnet.h's.
 */
#include "libcell/vnet/vnet_port.h"

#include <string.h>

#define TX_ALIGN 64u

static volatile struct d0_vnet_dev *dev_page(const struct vnet_port *p)
{
	return (volatile struct d0_vnet_dev *)p->ring;
}

static volatile struct d0_vnet_drv *drv_page(const struct vnet_port *p)
{
	return (volatile struct d0_vnet_drv *)(p->ring + D0_VNET_DRV_OFF);
}

static uint16_t load_idx(const uint16_t *idx)
{
	return __atomic_load_n(idx, __ATOMIC_ACQUIRE);
}

static void store_idx(uint16_t *idx, uint16_t value)
{
	__atomic_store_n(idx, value, __ATOMIC_RELEASE);
}

static void full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint16_t *used_event(struct d0_vring_avail *avail, uint32_t qsize)
{
	return &avail->ring[qsize];
}

static const uint16_t *avail_event(const struct d0_vring_used *used, uint32_t qsize)
{
	return (const uint16_t *)&used->ring[qsize];
}

static void bell(struct vnet_port *p)
{
	p->ring_bell = false;
	p->bells++;
	p->cfg.doorbell(p->cfg.arg);
}

/* Step 1 of the sequence. */
static void vnet_port_reset(struct vnet_port *p)
{
	volatile struct d0_vnet_drv *drv = drv_page(p);

	p->state = VNET_PORT_RESETTING;
	p->link_up = false;
	p->resets++;
	p->epoch = drv->epoch + 1; /* ours alone; a peer that wrote it hurts this port only */
	if (p->epoch == 0)
		p->epoch = 1;
	drv->magic = D0_VNET_DRV_MAGIC;
	drv->version = D0_VNET_VERSION;
	drv->status = D0_VNET_RESET;
	__atomic_store_n((uint32_t *)&drv->epoch, p->epoch, __ATOMIC_RELEASE);
	bell(p);
}

/* A ring gone wrong is started anew; a refusal stands until the device side changes. */
static unsigned refused(struct vnet_port *p)
{
	p->errors++;
	if (dev_page(p)->error == D0_VNET_ERR_RING)
		vnet_port_reset(p);
	else
		p->state = VNET_PORT_REFUSED;
	p->link_up = false;
	return VNET_EV_DOWN | VNET_EV_ERROR;
}

int vnet_port_open(struct vnet_port *p, const struct vnet_port_cfg *cfg)
{
	struct d0_vnet_layout layout;

	if ((uintptr_t)cfg->ring % 64 || d0_vnet_layout(cfg->size, 1, &layout))
		return -1;
	memset(p, 0, sizeof(*p));
	p->cfg = *cfg;
	p->ring = cfg->ring;
	if (p->cfg.rx_buf < 256 || p->cfg.rx_buf > 65536)
		p->cfg.rx_buf = 2048;
	p->cfg.rx_buf = (p->cfg.rx_buf + 63) & ~63u;
	if (p->cfg.pairs < 1 || p->cfg.pairs > D0_VNET_PAIRS_MAX)
		p->cfg.pairs = 1;
	vnet_port_rx_mode(p, D0_VNET_RX_ALLMULTI, NULL, 0);
	vnet_port_reset(p);
	return 0;
}

static void read_config(struct vnet_port *p)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);

	p->config_seq = __atomic_load_n((uint32_t *)&dev->config_seq, __ATOMIC_ACQUIRE);
	for (int i = 0; i < 6; i++)
		p->mac[i] = dev->mac[i];
	p->link_up = !(p->features & D0_VNET_F(STATUS)) || (dev->status & D0_VNET_S_LINK_UP);
	uint16_t mtu = dev->mtu;
	p->mtu = (p->features & D0_VNET_F(MTU)) && mtu >= 68 ? mtu : 1500;
	p->speed = (p->features & D0_VNET_F(SPEED_DUPLEX)) ? dev->speed : ~0u;
	p->mode = dev->mode;
}

static void init_rxq(struct vnet_port *p, unsigned pair, uint32_t base, uint32_t size)
{
	const struct d0_vnet_queue_layout *at = &p->layout.queue[2 * pair];
	struct vnet_rxq *q = &p->rx[pair];
	uint32_t count = size / p->cfg.rx_buf;

	memset(q, 0, sizeof(*q));
	q->desc = (struct d0_vring_desc *)(p->ring + at->desc);
	q->avail = (struct d0_vring_avail *)(p->ring + at->avail);
	q->used = (struct d0_vring_used *)(p->ring + at->used);
	q->base = base;
	q->count = count < p->layout.qsize ? count : p->layout.qsize;
	memset(p->ring + at->desc, 0, at->used + 6 + 8 * p->layout.qsize - at->desc);
	for (uint16_t i = 0; i < q->count; i++) {
		q->desc[i].addr = base + i * p->cfg.rx_buf;
		q->desc[i].len = p->cfg.rx_buf;
		q->desc[i].flags = D0_VRING_DESC_WRITE;
		q->avail->ring[i] = i;
		q->posted[i / 64] |= 1ull << (i % 64);
	}
	q->avail_idx = q->kicked_idx = q->count;
	store_idx(&q->avail->idx, q->avail_idx);
}

static void init_txq(struct vnet_port *p, unsigned pair, uint32_t base, uint32_t size)
{
	const struct d0_vnet_queue_layout *at = &p->layout.queue[2 * pair + 1];
	struct vnet_txq *q = &p->tx[pair];

	memset(q, 0, sizeof(*q));
	q->desc = (struct d0_vring_desc *)(p->ring + at->desc);
	q->avail = (struct d0_vring_avail *)(p->ring + at->avail);
	q->used = (struct d0_vring_used *)(p->ring + at->used);
	q->base = base;
	q->size = size & ~(TX_ALIGN - 1);
	memset(p->ring + at->desc, 0, at->used + 6 + 8 * p->layout.qsize - at->desc);
	*used_event(q->avail, p->layout.qsize) = 0x8000;
	q->told_event = VNET_TOLD_NONE;
}

static uint64_t wanted_features(const struct vnet_port *p, uint64_t offered)
{
	uint64_t f = (p->cfg.features | D0_VNET_F_NEEDED | D0_VNET_F(STATUS) | D0_VNET_F(MTU) |
		      D0_VNET_F(SPEED_DUPLEX)) &
		     offered;
	if (p->cfg.pairs > 1)
		f |= D0_VNET_F(MQ) & offered;
	/* Segmentation needs checksums: virtio 1.2 section 5.1.3.1. */
	if (!(f & D0_VNET_F(CSUM)))
		f &= ~(D0_VNET_F(HOST_TSO4) | D0_VNET_F(HOST_TSO6) | D0_VNET_F(HOST_USO) |
		       D0_VNET_F(HOST_ECN));
	if (!(f & D0_VNET_F(GUEST_CSUM)))
		f &= ~(D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6) | D0_VNET_F(GUEST_USO4) |
		       D0_VNET_F(GUEST_USO6) | D0_VNET_F(GUEST_ECN));
	if (!(f & (D0_VNET_F(HOST_TSO4) | D0_VNET_F(HOST_TSO6))))
		f &= ~D0_VNET_F(HOST_ECN);
	if (!(f & (D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6))))
		f &= ~D0_VNET_F(GUEST_ECN);
	return f;
}

/* Step 3: the device side has forgotten the old queues. */
static unsigned attach(struct vnet_port *p)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);
	volatile struct d0_vnet_drv *drv = drv_page(p);
	uint32_t pairs = dev->max_pairs;

	p->dev_epoch = dev->epoch;
	p->features = wanted_features(p, dev->features);
	if ((p->features & D0_VNET_F_NEEDED) != D0_VNET_F_NEEDED) {
		p->state = VNET_PORT_REFUSED;
		return VNET_EV_ERROR;
	}
	if (pairs > p->cfg.pairs)
		pairs = p->cfg.pairs;
	if (pairs < 1 || !(p->features & D0_VNET_F(MQ)))
		pairs = 1;
	while (pairs && d0_vnet_layout(p->cfg.size, pairs, &p->layout))
		pairs--;
	if (!pairs) { /* the ring is too small for one */
		p->state = VNET_PORT_REFUSED;
		return VNET_EV_ERROR;
	}
	p->pairs = pairs;

	uint32_t each = (p->layout.end - p->layout.buffers) / pairs & ~4095u;
	for (unsigned i = 0; i < pairs; i++) {
		uint32_t base = p->layout.buffers + i * each;
		uint32_t rx = p->layout.qsize * p->cfg.rx_buf;

		if (rx > each / 4 * 3)
			rx = each / 4 * 3; /* a window of them may come at once */
		rx &= ~(TX_ALIGN - 1);
		init_rxq(p, i, base, rx);
		init_txq(p, i, base + rx, each - rx);
	}
	read_config(p);
	drv->features = p->features;
	drv->pairs = pairs;
	__atomic_store_n((uint32_t *)&drv->status, D0_VNET_DRIVER_OK, __ATOMIC_RELEASE);
	p->state = VNET_PORT_LIVE;
	bell(p);
	return VNET_EV_UP | VNET_EV_CONFIG;
}

unsigned vnet_port_poll(struct vnet_port *p)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);

	if (dev->magic != D0_VNET_DEV_MAGIC || dev->version != D0_VNET_VERSION)
		return 0;
	if (p->state == VNET_PORT_RESETTING) {
		if (__atomic_load_n((uint32_t *)&dev->ack, __ATOMIC_ACQUIRE) != p->epoch)
			return 0;
		return attach(p);
	}
	if (dev->epoch != p->dev_epoch) {
		vnet_port_reset(p);
		return VNET_EV_DOWN;
	}
	if (p->state == VNET_PORT_REFUSED)
		return 0;
	if (dev->error)
		return refused(p);
	if (dev->config_seq != p->config_seq) {
		read_config(p);
		return VNET_EV_CONFIG;
	}
	return 0;
}

/* Takes one used element of a receive queue. False: the peer broke the rules. */
static bool take_used(struct vnet_port *p, struct vnet_rxq *q, struct vnet_rx *rx)
{
	volatile struct d0_vring_used_elem *e =
	    &q->used->ring[q->last_used & (p->layout.qsize - 1)];
	uint32_t id = e->id, len = e->len;

	if (id >= q->count || !(q->posted[id / 64] & (1ull << (id % 64))))
		return false;
	if (len == 0 || len > p->cfg.rx_buf)
		return false;
	q->posted[id / 64] &= ~(1ull << (id % 64));
	q->last_used++;
	rx->seg[rx->nseg].data = p->ring + q->base + id * p->cfg.rx_buf;
	rx->seg[rx->nseg].len = len;
	rx->seg[rx->nseg].id = (uint16_t)id;
	rx->nseg++;
	rx->len += len;
	return true;
}

static bool take_packet(struct vnet_port *p, struct vnet_rxq *q, struct vnet_rx *rx,
			uint16_t ready)
{
	if (!take_used(p, q, rx) || rx->len < sizeof(rx->hdr) + 14)
		return false;
	memcpy(&rx->hdr, rx->seg[0].data, sizeof(rx->hdr));
	rx->seg[0].data += sizeof(rx->hdr);
	rx->seg[0].len -= sizeof(rx->hdr);
	rx->len -= sizeof(rx->hdr);
	if (rx->hdr.num_buffers < 1 || rx->hdr.num_buffers > VNET_RX_SEGS_MAX ||
	    rx->hdr.num_buffers > ready)
		return false;
	while (rx->nseg < rx->hdr.num_buffers)
		if (!take_used(p, q, rx))
			return false;
	return rx->len <= D0_VNET_FRAME_MAX;
}

bool vnet_port_rx(struct vnet_port *p, unsigned pair, struct vnet_rx *rx)
{
	if (p->state != VNET_PORT_LIVE || pair >= p->pairs)
		return false;

	struct vnet_rxq *q = &p->rx[pair];
	uint16_t ready = load_idx(&q->used->idx) - q->last_used;

	if (ready == 0)
		return false;
	rx->nseg = 0;
	rx->len = 0;
	if (ready > p->layout.qsize || !take_packet(p, q, rx, ready)) {
		/* The next poll sees our new epoch unacknowledged and goes on from there. */
		p->dev_epoch = ~dev_page(p)->epoch;
		p->errors++;
		return false;
	}
	p->rx_packets++;
	p->rx_bytes += rx->len;
	return true;
}

void vnet_port_rx_done(struct vnet_port *p, unsigned pair, const struct vnet_rx *rx)
{
	if (p->state != VNET_PORT_LIVE || pair >= p->pairs)
		return;

	struct vnet_rxq *q = &p->rx[pair];

	for (unsigned i = 0; i < rx->nseg; i++) {
		uint16_t id = rx->seg[i].id;

		q->posted[id / 64] |= 1ull << (id % 64);
		q->avail->ring[q->avail_idx++ & (p->layout.qsize - 1)] = id;
	}
	store_idx(&q->avail->idx, q->avail_idx);
}

/* Takes back what the device side is done with. */
static void tx_reap(struct vnet_port *p, struct vnet_txq *q)
{
	uint32_t mask = p->layout.qsize - 1;
	uint16_t ready = load_idx(&q->used->idx) - q->last_used;

	if (ready > (uint16_t)(q->avail_idx - q->last_used)) {
		p->dev_epoch = ~dev_page(p)->epoch;
		p->errors++;
		return;
	}
	while (ready--) {
		volatile struct d0_vring_used_elem *e = &q->used->ring[q->last_used & mask];
		uint32_t id = e->id & mask;

		/* An id not outstanding marks a slot that is marked again when taken. */
		q->slot[id].done = true;
		q->last_used++;
	}
	while (q->tail != q->avail_idx && q->slot[q->tail & mask].done) {
		q->tail_off = q->slot[q->tail & mask].end;
		q->tail++;
	}
	if (q->tail == q->avail_idx)
		q->head_off = q->tail_off = 0;
}

/* Offset of `need` contiguous bytes in the area, or -1. */
static int64_t tx_room(const struct vnet_txq *q, uint32_t need)
{
	if (q->tail == q->avail_idx)
		return need <= q->size ? 0 : -1;
	if (q->head_off > q->tail_off) {
		if (need <= q->size - q->head_off)
			return q->head_off;
		return need <= q->tail_off ? 0 : -1;
	}
	if (q->head_off < q->tail_off && need <= q->tail_off - q->head_off)
		return q->head_off;
	return -1;
}

uint8_t *vnet_port_tx_begin(struct vnet_port *p, unsigned pair, uint32_t max_len)
{
	if (p->state != VNET_PORT_LIVE || pair >= p->pairs || max_len > D0_VNET_FRAME_MAX)
		return NULL;

	struct vnet_txq *q = &p->tx[pair];
	uint32_t need = (max_len + sizeof(struct d0_vnet_hdr) + TX_ALIGN - 1) & ~(TX_ALIGN - 1);

	tx_reap(p, q);
	int64_t off = tx_room(q, need);
	if (off < 0 || (uint16_t)(q->avail_idx - q->tail) >= p->layout.qsize) {
		p->tx_full++;
		q->begun_max = 0;
		return NULL;
	}
	q->begun = (uint32_t)off;
	q->begun_max = max_len;
	return p->ring + q->base + off + sizeof(struct d0_vnet_hdr);
}

void vnet_port_tx_commit(struct vnet_port *p, unsigned pair, const struct d0_vnet_hdr *hdr,
			 uint32_t len)
{
	if (p->state != VNET_PORT_LIVE || pair >= p->pairs)
		return;

	struct vnet_txq *q = &p->tx[pair];
	uint16_t id = q->avail_idx & (p->layout.qsize - 1);
	uint32_t bytes = len + sizeof(*hdr);

	if (len == 0 || len > q->begun_max)
		return;
	memcpy(p->ring + q->base + q->begun, hdr, sizeof(*hdr));
	q->desc[id].addr = q->base + q->begun;
	q->desc[id].len = bytes;
	q->desc[id].flags = 0;
	q->head_off = (q->begun + bytes + TX_ALIGN - 1) & ~(TX_ALIGN - 1);
	q->slot[id].end = q->head_off;
	q->slot[id].done = false;
	q->begun_max = 0;
	q->avail->ring[id] = id;
	q->avail_idx++;
	store_idx(&q->avail->idx, q->avail_idx);
	p->tx_packets++;
	p->tx_bytes += len;
}

unsigned vnet_port_tx_pending(struct vnet_port *p, unsigned pair)
{
	if (p->state != VNET_PORT_LIVE || pair >= p->pairs)
		return 0;
	tx_reap(p, &p->tx[pair]);
	return (uint16_t)(p->tx[pair].avail_idx - p->tx[pair].tail);
}

static bool wants_bell(const struct vnet_port *p, const struct d0_vring_used *used,
		       uint16_t idx, uint16_t *kicked)
{
	uint16_t old = *kicked;

	*kicked = idx;
	return idx != old &&
	       d0_vring_need_event(load_idx(avail_event(used, p->layout.qsize)), idx, old);
}

void vnet_port_kick(struct vnet_port *p)
{
	if (p->state != VNET_PORT_LIVE)
		return;

	bool ring = p->ring_bell;

	full_fence(); /* our index before their event: virtio 1.2 section 2.7.13.4 */
	for (unsigned i = 0; i < p->pairs; i++) {
		struct vnet_rxq *r = &p->rx[i];
		struct vnet_txq *t = &p->tx[i];

		ring |= wants_bell(p, r->used, r->avail_idx, &r->kicked_idx);
		ring |= wants_bell(p, t->used, t->avail_idx, &t->kicked_idx);
	}
	if (ring)
		bell(p);
}

static bool changed(const struct vnet_port *p)
{
	volatile struct d0_vnet_dev *dev = dev_page(p);

	if (dev->magic != D0_VNET_DEV_MAGIC || dev->version != D0_VNET_VERSION)
		return false;
	if (p->state == VNET_PORT_RESETTING)
		return dev->ack == p->epoch;
	if (dev->epoch != p->dev_epoch)
		return true;
	return p->state == VNET_PORT_LIVE && (dev->config_seq != p->config_seq || dev->error);
}

bool vnet_port_arm(struct vnet_port *p, bool want_tx)
{
	bool work = false;

	if (p->state != VNET_PORT_LIVE)
		return changed(p);
	for (unsigned i = 0; i < p->pairs; i++) {
		struct vnet_txq *t = &p->tx[i];
		uint16_t pending = t->avail_idx - t->last_used;
		uint16_t event = t->last_used + (want_tx ? pending / 2 : 0x8000);

		*used_event(p->rx[i].avail, p->layout.qsize) = p->rx[i].last_used;
		*used_event(t->avail, p->layout.qsize) = event;
		if (!want_tx || !pending) {
			t->told_event = VNET_TOLD_NONE;
		} else if (event != t->told_event) {
			t->told_event = event; /* the device asks its card only if it knows */
			bell(p);
		}
	}
	full_fence(); /* our event before their index */
	for (unsigned i = 0; i < p->pairs; i++) {
		struct vnet_txq *t = &p->tx[i];
		uint16_t pending = t->avail_idx - t->last_used;

		work |= load_idx(&p->rx[i].used->idx) != p->rx[i].last_used;
		if (want_tx && pending)
			work |=
			    (uint16_t)(load_idx(&t->used->idx) - t->last_used) > pending / 2;
	}
	return work || changed(p);
}

void vnet_port_rx_mode(struct vnet_port *p, uint32_t mode, const uint8_t (*mc)[6],
		       unsigned count)
{
	volatile struct d0_vnet_drv *drv = drv_page(p);

	if (count > D0_VNET_MC_MAX) {
		mode |= D0_VNET_RX_ALLMULTI;
		count = 0;
	}
	drv->rx_mode = mode;
	drv->mc_count = count;
	for (unsigned i = 0; i < count; i++)
		for (int j = 0; j < 6; j++)
			drv->mc[i][j] = mc[i][j];
	__atomic_store_n((uint32_t *)&drv->mc_seq, drv->mc_seq + 1, __ATOMIC_RELEASE);
	p->ring_bell = true;
}
