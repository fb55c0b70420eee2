/* SPDX-License-Identifier: ISC */
/*
 * NVMe (NVM Express Base Specification 1.4 and the NVM command set): one admin and one I/O
 * queue pair, namespace 1. Data is described by PRPs; each request has a list of its own for
 * transfers over two pages. Both completion queues signal interrupt vector 0.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/store/blockdev.h"
#include "libcell/cell.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

#define ADMIN_NUM 16u
#define IO_NUM    64u
#define DEPTH     32u
#define MAX_IO    (128u << 10)
#define PRP_MAX   (MAX_IO / 4096 + 1)

/* Registers, section 3.1. */
enum {
	R_CAP = 0x00,
	R_CC = 0x14,
	R_CSTS = 0x1c,
	R_AQA = 0x24,
	R_ASQ = 0x28,
	R_ACQ = 0x30,
	R_DOORBELLS = 0x1000,
};
enum {
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
};
enum {
	NVM_FLUSH = 0x00,
	NVM_WRITE = 0x01,
	NVM_READ = 0x02,
	NVM_DSM = 0x09, /* dataset management: deallocate */
};

struct nvme_cmd { /* 4.2, figure 105 */
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t nsid;
	uint64_t reserved, metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_cmd) == 64, "NVMe 1.4, 4.2");
struct nvme_cqe { /* 4.6 */
	uint32_t result, reserved;
	uint16_t sq_head, sq_id, id, status; /* status: bit 0 = phase */
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "NVMe 1.4, 4.6");
struct nvme_range { /* 6.7.1.1 */
	uint32_t attributes, blocks;
	uint64_t start;
};

struct queue {
	struct nvme_cmd *sq;
	volatile struct nvme_cqe *cq;
	uint64_t sq_dma, cq_dma;
	uint32_t num, tail, head;
	uint16_t phase;
	uint32_t sq_bell, cq_bell;
};

struct nvme {
	volatile uint8_t *regs;
	struct queue admin, io;
	struct blk_req *req[DEPTH]; /* by command id */
	uint8_t *lists;             /* 512 bytes for each command id */
	uint64_t lists_dma;
	uint32_t lba_shift;
	uint64_t timeout_ms;
};

static bool nvme_match(const struct d0_device *dev)
{
	return dev->class_rev >> 8 == 0x010802;
}

static void write64(volatile uint8_t *r, uint32_t at, uint64_t v)
{
	mmio_write32(r, at, (uint32_t)v);
	mmio_write32(r, at + 4, (uint32_t)(v >> 32));
}

static int make_queue(struct nvme *n, struct queue *q, unsigned id, uint32_t num,
		      uint32_t stride)
{
	q->num = num;
	q->phase = 1;
	q->sq = blk_dma_alloc(num * sizeof(struct nvme_cmd), &q->sq_dma);
	q->cq = blk_dma_alloc(num * sizeof(struct nvme_cqe), &q->cq_dma);
	q->sq_bell = R_DOORBELLS + 2 * id * stride;
	q->cq_bell = q->sq_bell + stride;
	return q->sq && q->cq ? 0 : -1;
}

static void push(struct nvme *n, struct queue *q, const struct nvme_cmd *c)
{
	q->sq[q->tail] = *c;
	q->tail = (q->tail + 1) % q->num;
	mem_write_barrier();
	mmio_write32(n->regs, q->sq_bell, q->tail);
}

static bool pop(struct nvme *n, struct queue *q, struct nvme_cqe *out)
{
	volatile struct nvme_cqe *c = &q->cq[q->head];

	out->status = c->status;
	if ((out->status & 1) != q->phase)
		return false;
	mem_read_barrier();
	out->id = c->id;
	out->result = c->result;
	if (++q->head == q->num) {
		q->head = 0;
		q->phase ^= 1;
	}
	mmio_write32(n->regs, q->cq_bell, q->head);
	return true;
}

static int admin(struct nvme *n, struct nvme_cmd c)
{
	struct nvme_cqe e;

	c.id = 0x7000;
	push(n, &n->admin, &c);
	if (!BLK_POLL(pop(n, &n->admin, &e), n->timeout_ms))
		return -1;
	return e.status >> 1 ? -1 : 0;
}

static int set_enabled(struct nvme *n, bool on)
{
	/* 64-byte submission (2^6) and 16-byte completion entries (2^4), 4 KiB pages. */
	mmio_write32(n->regs, R_CC, on ? 4u << 20 | 6u << 16 | 1 : 0);
	return BLK_POLL((mmio_read32(n->regs, R_CSTS) & 3) == (on ? 1u : 0u), n->timeout_ms)
		   ? 0
		   : -1;
}

/* What the controller and its namespace 1 are like. */
static int identify(struct blk_disk *d)
{
	struct nvme *n = d->priv;
	uint64_t dma, blocks;
	uint32_t format;
	uint8_t *p = blk_dma_alloc(4096, &dma);
	int err = -1;

	if (!p)
		return -1;
	d->max_io = MAX_IO;
	if (admin(n, (struct nvme_cmd){.opcode = ADMIN_IDENTIFY, .prp1 = dma, .cdw10 = 1}))
		goto out;
	if (p[77] && p[77] < 5) /* MDTS: at most 2^n pages */
		d->max_io = 4096u << p[77];
	d->has_flush = p[525] & 1;   /* VWC: there is a volatile write cache */
	d->has_discard = p[520] & 4; /* ONCS: dataset management */
	memset(p, 0, 4096);
	if (admin(n, (struct nvme_cmd){.opcode = ADMIN_IDENTIFY, .nsid = 1, .prp1 = dma}))
		goto out;
	memcpy(&blocks, p, 8);
	memcpy(&format, p + 128 + 4 * (p[26] & 15), 4);
	n->lba_shift = format >> 16 & 0xff;
	if (n->lba_shift < 9 || n->lba_shift > 12 || !blocks || blocks > UINT64_MAX >> 12) {
		log_error("%s: blocks of 2^%u bytes", d->name, n->lba_shift);
		goto out;
	}
	d->sector = 1u << n->lba_shift;
	d->size = blocks << n->lba_shift;
	err = 0;
out:
	free(p);
	return err;
}

static int make_io_queue(struct blk_disk *d, uint32_t num, uint32_t stride)
{
	struct nvme *n = d->priv;
	uint32_t irq = d->pci->irq_kind == D0_IRQ_NONE ? 0 : 2;

	if (make_queue(n, &n->io, 1, num, stride))
		return -1;
	if (admin(n, (struct nvme_cmd){.opcode = ADMIN_CREATE_CQ,
				       .prp1 = n->io.cq_dma,
				       .cdw10 = (num - 1) << 16 | 1,
				       .cdw11 = irq | 1}))
		return -1;
	return admin(n, (struct nvme_cmd){.opcode = ADMIN_CREATE_SQ,
					  .prp1 = n->io.sq_dma,
					  .cdw10 = (num - 1) << 16 | 1,
					  .cdw11 = 1u << 16 | 1});
}

static int bring_up(struct blk_disk *d)
{
	struct nvme *n = d->priv;
	uint64_t cap = mmio_read32(n->regs, R_CAP) | (uint64_t)mmio_read32(n->regs, R_CAP + 4)
							 << 32;
	uint32_t stride = 4u << (cap >> 32 & 15), num = (uint32_t)(cap & 0xffff) + 1;

	n->timeout_ms = ((cap >> 24 & 0xff) + 1) * 500;
	if (num > IO_NUM)
		num = IO_NUM;
	if (num < 4 || (cap >> 48 & 15) || set_enabled(n, false) ||
	    make_queue(n, &n->admin, 0, ADMIN_NUM, stride))
		return -1;
	mmio_write32(n->regs, R_AQA, (ADMIN_NUM - 1) << 16 | (ADMIN_NUM - 1));
	write64(n->regs, R_ASQ, n->admin.sq_dma);
	write64(n->regs, R_ACQ, n->admin.cq_dma);
	if (set_enabled(n, true) || identify(d) || make_io_queue(d, num, stride))
		return -1;
	d->depth = num - 1 < DEPTH ? num - 1 : DEPTH;
	n->lists = blk_dma_alloc(DEPTH * 512, &n->lists_dma);
	return n->lists ? 0 : -1;
}
_Static_assert(PRP_MAX * 8 <= 512, "a PRP list fits in its part of a page");

static int nvme_attach(struct blk_disk *d)
{
	struct nvme *n = calloc(1, sizeof(*n));

	d->priv = n;
	if (!n)
		return -1;
	n->regs = cell_device_bar(d->pci, 0);
	if (!n->regs || d->pci->bar[0].size < R_DOORBELLS + 64 || bring_up(d)) {
		log_error("%s: NVMe set-up failed, status %#x", d->name,
			  n->regs ? mmio_read32(n->regs, R_CSTS) : 0);
		return -1;
	}
	return 0;
}

/* PRP1 may begin inside a page; PRP2 is the second page, or a list of all further ones
 * (4.3). */
static void describe(struct nvme *n, struct nvme_cmd *c, const struct blk_req *r)
{
	uint64_t *list = (uint64_t *)(n->lists + 512 * c->id);
	uint64_t at = (r->dma & ~4095ull) + 4096, end = r->dma + r->len;
	unsigned pages = 0;

	c->prp1 = r->dma;
	for (; at < end; at += 4096)
		list[pages++] = at;
	if (pages == 1)
		c->prp2 = list[0];
	else if (pages)
		c->prp2 = n->lists_dma + 512u * c->id;
}

static int nvme_submit(struct blk_disk *d, struct blk_req *r)
{
	static const uint8_t opcode[] = {NVM_READ, NVM_WRITE, NVM_FLUSH, NVM_DSM};
	struct nvme *n = d->priv;
	struct nvme_cmd c = {.opcode = opcode[r->op], .nsid = 1};
	uint64_t lba = r->off >> n->lba_shift;
	uint32_t blocks = r->len >> n->lba_shift;

	while (c.id < d->depth && n->req[c.id])
		c.id++;
	if (c.id == d->depth)
		return -1;
	if (r->op == BLK_READ || r->op == BLK_WRITE) {
		describe(n, &c, r);
		c.cdw10 = (uint32_t)lba;
		c.cdw11 = (uint32_t)(lba >> 32);
		c.cdw12 = blocks - 1;
	} else if (r->op == BLK_DISCARD) {
		*(struct nvme_range *)(n->lists + 512 * c.id) =
		    (struct nvme_range){.blocks = blocks, .start = lba};
		c.prp1 = n->lists_dma + 512u * c.id;
		c.cdw11 = 4; /* deallocate */
	}
	n->req[c.id] = r;
	push(n, &n->io, &c);
	return 0;
}

static void nvme_poll(struct blk_disk *d)
{
	struct nvme *n = d->priv;
	struct nvme_cqe e;

	while (pop(n, &n->io, &e)) {
		struct blk_req *r = e.id < DEPTH ? n->req[e.id] : NULL;

		if (!r) {
			d->failed = true; /* an answer nobody asked for */
			return;
		}
		n->req[e.id] = NULL;
		blk_done(d, r, e.status >> 1 ? -H2_EIO : 0);
	}
	if (mmio_read32(n->regs, R_CSTS) & 2) /* fatal, or all ones: gone */
		d->failed = true;
}

static void nvme_detach(struct blk_disk *d)
{
	struct nvme *n = d->priv;

	if (set_enabled(n, false))
		log_error("%s: does not stop", d->name);
	for (unsigned i = 0; i < DEPTH; i++)
		if (n->req[i]) {
			blk_done(d, n->req[i], -H2_EIO);
			n->req[i] = NULL;
		}
}

static const struct blk_driver nvme = {
    .name = "nvme",
    .match = nvme_match,
    .attach = nvme_attach,
    .submit = nvme_submit,
    .poll = nvme_poll,
    .detach = nvme_detach,
};
BLK_DRIVER(nvme);
