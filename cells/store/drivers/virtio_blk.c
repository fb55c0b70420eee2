/* SPDX-License-Identifier: ISC */
/*
 * virtio-blk (virtio 1.2, 5.2) over PCI (4.1), modern interface. A request is three
 * descriptors: header, data, status byte; headers and status bytes lie in one DMA page of
 * 64 entries, so that the device never sees more of the cell's memory than it needs.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/store/blockdev.h"
#include "libcell/cell.h"
#include "libcell/log.h"
#include "libcell/mmio.h"
#include "libcell/virtio_pci.h"
#include "libcell/virtq.h"

#define NUM       128u
#define DEPTH     32u
#define STATUS_AT 2048u /* of the status bytes in the page of headers */

/* Features, 5.2.3. */
#define F(bit)      (1ull << (bit))
#define F_SIZE_MAX  F(1)
#define F_RO        F(5)
#define F_BLK_SIZE  F(6)
#define F_FLUSH     F(9)
#define F_DISCARD   F(13)
#define F_VERSION_1 F(32)
#define F_PLATFORM  F(33) /* ACCESS_PLATFORM: addresses go through the IOMMU */
#define WANTED      (F_SIZE_MAX | F_RO | F_BLK_SIZE | F_FLUSH | F_DISCARD | F_VERSION_1 | F_PLATFORM)

/* Device configuration, 5.2.4. */
enum {
	D_CAPACITY = 0, /* in 512 bytes */
	D_SIZE_MAX = 8,
	D_BLK_SIZE = 20,
};

enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_DISCARD = 11
};

struct vb_header { /* 5.2.6 */
	uint32_t type, reserved;
	uint64_t sector;
};
_Static_assert(sizeof(struct vb_header) == 16, "virtio 1.2, 5.2.6");
struct vb_discard { /* 5.2.6.2 */
	uint64_t sector;
	uint32_t sectors, flags;
};

/* One of DEPTH; its header and status are entry `index` of the page. */
struct vb_slot {
	struct blk_req *req; /* NULL: free */
};

struct vb {
	struct {
		volatile uint8_t *at;
	} cap[CAPS];
	uint32_t notify_mult;
	uint64_t features;
	struct virtq_drv q;
	struct virtq_slot slots[NUM];
	volatile void *doorbell;
	struct vb_slot slot[DEPTH];
	uint8_t *page; /* headers (32 bytes each), status bytes */
	uint64_t page_dma;
};

static bool vb_match(const struct d0_device *dev)
{
	return dev->vendor == 0x1af4 && (dev->device == 0x1042 || dev->device == 0x1001);
}

static int find_caps(struct blk_disk *d)
{
	const volatile uint8_t *config = cell_device_config(d->pci);
	struct vb *v = d->priv;
	unsigned at = config ? config[0x34] & 0xfc : 0;

	for (int n = 0; at >= 0x40 && n < 48; n++) {
		const volatile uint32_t *w = (const volatile uint32_t *)(config + at);
		uint32_t head = w[0];
		uint8_t type = (uint8_t)(head >> 24), bar = (uint8_t)w[1];

		if ((head & 0xff) == 0x09 && type >= CAP_COMMON && type <= CAP_DEVICE &&
		    bar < 6 && !v->cap[type].at && cell_device_bar(d->pci, bar) &&
		    (uint64_t)w[2] + w[3] <= d->pci->bar[bar].size) {
			v->cap[type].at =
			    (volatile uint8_t *)cell_device_bar(d->pci, bar) + w[2];
			if (type == CAP_NOTIFY)
				v->notify_mult = w[4];
		}
		at = head >> 8 & 0xfc;
	}
	for (int i = CAP_COMMON; i < CAPS; i++)
		if (!v->cap[i].at)
			return -1;
	return 0;
}

static int negotiate(struct vb *v)
{
	volatile uint8_t *c = v->cap[CAP_COMMON].at;

	mmio_write8(c, C_STATUS, 0);
	if (!BLK_POLL(mmio_read8(c, C_STATUS) == 0, 500))
		return -1;
	mmio_write8(c, C_STATUS, S_ACKNOWLEDGE | S_DRIVER);
	for (uint32_t half = 0; half < 2; half++) {
		uint32_t f;

		mmio_write32(c, C_DEVICE_FEATURE_SELECT, half);
		f = mmio_read32(c, C_DEVICE_FEATURE) & (uint32_t)(WANTED >> 32 * half);
		v->features |= (uint64_t)f << 32 * half;
		mmio_write32(c, C_DRIVER_FEATURE_SELECT, half);
		mmio_write32(c, C_DRIVER_FEATURE, f);
	}
	if (!(v->features & F_VERSION_1))
		return -1;
	mmio_write8(c, C_STATUS, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
	return mmio_read8(c, C_STATUS) & S_FEATURES_OK ? 0 : -1;
}

static void write64(volatile uint8_t *c, uint32_t at, uint64_t v)
{
	mmio_write32(c, at, (uint32_t)v);
	mmio_write32(c, at + 4, (uint32_t)(v >> 32));
}

static int make_queue(struct blk_disk *d)
{
	struct vb *v = d->priv;
	volatile uint8_t *c = v->cap[CAP_COMMON].at;
	uint16_t vector = d->pci->irq_kind == D0_IRQ_MSIX ? 0 : NO_VEC, num = NUM;
	uint64_t dma;
	void *ring;

	mmio_write16(c, C_QUEUE_SELECT, 0);
	while (num > mmio_read16(c, C_QUEUE_SIZE))
		num /= 2;
	if (num < 4)
		return -1;
	mmio_write16(c, C_QUEUE_SIZE, num);
	ring = blk_dma_alloc(d0_vring_bytes(num), &dma);
	v->page = blk_dma_alloc(4096, &v->page_dma);
	if (!ring || !v->page || virtq_drv_init(&v->q, ring, num, 0, v->slots))
		return -1;
	mmio_write16(c, C_CONFIG_MSIX, NO_VEC);
	mmio_write16(c, C_QUEUE_MSIX, vector);
	if (mmio_read16(c, C_QUEUE_MSIX) != vector && vector != NO_VEC)
		return -1;
	write64(c, C_QUEUE_DESC, dma);
	write64(c, C_QUEUE_DRIVER, dma + d0_vring_avail_off(num));
	write64(c, C_QUEUE_DEVICE, dma + d0_vring_used_off(num));
	v->doorbell = v->cap[CAP_NOTIFY].at +
		      mmio_read16(c, C_QUEUE_NOTIFY_OFF) * (uint64_t)v->notify_mult;
	mmio_write16(c, C_QUEUE_ENABLE, 1);
	d->depth = num / 4 < DEPTH ? num / 4u : DEPTH;
	virtq_drv_events_on(&v->q);
	return 0;
}

static void read_config(struct blk_disk *d)
{
	struct vb *v = d->priv;
	volatile uint8_t *c = v->cap[CAP_DEVICE].at;

	d->size =
	    ((uint64_t)mmio_read32(c, D_CAPACITY + 4) << 32 | mmio_read32(c, D_CAPACITY)) * 512;
	d->sector = v->features & F_BLK_SIZE ? mmio_read32(c, D_BLK_SIZE) : 512;
	d->max_io = 128 << 10;
	if ((v->features & F_SIZE_MAX) && mmio_read32(c, D_SIZE_MAX) < d->max_io)
		d->max_io = mmio_read32(c, D_SIZE_MAX) & ~4095u;
	d->readonly = v->features & F_RO;
	d->has_flush = v->features & F_FLUSH;
	d->has_discard = v->features & F_DISCARD;
}

static int vb_attach(struct blk_disk *d)
{
	struct vb *v = calloc(1, sizeof(*v));

	d->priv = v;
	if (!v)
		return -1;
	if (find_caps(d) || negotiate(v) || make_queue(d)) {
		log_error("%s: virtio set-up failed", d->name);
		return -1;
	}
	read_config(d);
	mmio_write8(v->cap[CAP_COMMON].at, C_STATUS,
		    S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	return 0;
}

static int vb_submit(struct blk_disk *d, struct blk_req *r)
{
	static const uint32_t type[] = {T_IN, T_OUT, T_FLUSH, T_DISCARD};
	struct vb *v = d->priv;
	struct virtq_buf out[2], in[2];
	unsigned outs = 1, ins = 0, i = 0;

	while (i < d->depth && v->slot[i].req)
		i++;
	if (i == d->depth)
		return -1;
	struct vb_header *h = (struct vb_header *)(v->page + 32 * i);
	*h = (struct vb_header){.type = type[r->op]};
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		h->sector = r->off / 512;
	out[0] = (struct virtq_buf){v->page_dma + 32 * i, sizeof(*h)};
	if (r->op == BLK_WRITE)
		out[outs++] = (struct virtq_buf){r->dma, r->len};
	if (r->op == BLK_READ)
		in[ins++] = (struct virtq_buf){r->dma, r->len};
	if (r->op == BLK_DISCARD) {
		*(struct vb_discard *)(h + 1) =
		    (struct vb_discard){r->off / 512, r->len / 512, 0};
		out[outs++] = (struct virtq_buf){v->page_dma + 32 * i + 16, 16};
	}
	v->page[STATUS_AT + i] = 0xff;
	in[ins++] = (struct virtq_buf){v->page_dma + STATUS_AT + i, 1};
	if (virtq_drv_add(&v->q, out, outs, in, ins, &v->slot[i]))
		return -1;
	v->slot[i].req = r;
	return 0;
}

static void vb_kick(struct blk_disk *d)
{
	struct vb *v = d->priv;

	if (virtq_drv_push(&v->q))
		mmio_write16(v->doorbell, 0, 0);
}

static void vb_poll(struct blk_disk *d)
{
	struct vb *v = d->priv;
	struct vb_slot *s;
	uint32_t len;

	if (d->pci->irq_kind == D0_IRQ_INTX)
		mmio_read8(v->cap[CAP_ISR].at, 0); /* acknowledges */
	while ((s = virtq_drv_pop(&v->q, &len))) {
		struct blk_req *r = s->req;

		s->req = NULL;
		blk_done(d, r, v->page[STATUS_AT + (s - v->slot)] ? -H2_EIO : 0);
	}
	if (v->q.broken || (mmio_read8(v->cap[CAP_COMMON].at, C_STATUS) & S_NEEDS_RESET))
		d->failed = true;
}

static void vb_detach(struct blk_disk *d)
{
	struct vb *v = d->priv;

	mmio_write8(v->cap[CAP_COMMON].at, C_STATUS, 0);
	if (!BLK_POLL(mmio_read8(v->cap[CAP_COMMON].at, C_STATUS) == 0, 500))
		log_error("%s: does not reset", d->name);
	for (unsigned i = 0; i < DEPTH; i++)
		if (v->slot[i].req) {
			blk_done(d, v->slot[i].req, -H2_EIO);
			v->slot[i].req = NULL;
		}
}

static const struct blk_driver virtio_blk = {
    .name = "virtio-blk",
    .match = vb_match,
    .attach = vb_attach,
    .submit = vb_submit,
    .kick = vb_kick,
    .poll = vb_poll,
    .detach = vb_detach,
};
BLK_DRIVER(virtio_blk);
