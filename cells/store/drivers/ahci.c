/* SPDX-License-Identifier: ISC */
/*
 * SATA disks behind an AHCI controller (AHCI 1.3.1, ATA ACS-3): the first port with a disk.
 * Native command queueing where controller and disk have it, else one DMA command at a time
 * (the host's command list then still holds many). FLUSH CACHE is not a queued command:
 * the block layer has drained the writes before it, and it is held back here until the
 * queue is empty.
 */
#include <stdlib.h>
#include <string.h>
#include "cells/store/blockdev.h"
#include "libcell/cell.h"
#include "libcell/log.h"
#include "libcell/mmio.h"

#define SLOTS   32u
#define MAX_IO  (128u << 10)
#define TABLE   256u /* bytes of a command table: FIS, then one PRDT entry at 128 */
#define BOOT_MS 5000

/* Host registers, section 3.1. */
enum {
	H_CAP = 0x00,
	H_GHC = 0x04,
	H_IS = 0x08,
	H_PI = 0x0c,
};
/* Port registers, section 3.3, from 0x100 + 0x80 * port. */
enum {
	P_CLB = 0x00,
	P_FB = 0x08,
	P_IS = 0x10,
	P_IE = 0x14,
	P_CMD = 0x18,
	P_TFD = 0x20,
	P_SIG = 0x24,
	P_SSTS = 0x28,
	P_SERR = 0x30,
	P_SACT = 0x34,
	P_CI = 0x38,
};
enum {
	CMD_ST = 1,
	CMD_FRE = 1 << 4,
	CMD_FR = 1 << 14,
	CMD_CR = 1 << 15,
	IS_ERRORS = 0x78000010, /* TFES, HBFS, HBDS, IFS; UFS */
};
enum {
	ATA_READ_DMA_EXT = 0x25,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_READ_FPDMA = 0x60,
	ATA_WRITE_FPDMA = 0x61,
	ATA_FLUSH_EXT = 0xea,
	ATA_IDENTIFY = 0xec,
};

struct ahci_header {    /* 4.2.2 */
	uint16_t flags; /* FIS length in words; bit 6: write */
	uint16_t prdtl;
	uint32_t prdbc;
	uint64_t table;
	uint32_t reserved[4];
};
_Static_assert(sizeof(struct ahci_header) == 32, "AHCI 1.3.1, 4.2.2");
struct ahci_prd { /* 4.2.3.3 */
	uint64_t addr;
	uint32_t reserved, count; /* bytes - 1 */
};
_Static_assert(sizeof(struct ahci_prd) == 16, "AHCI 1.3.1, 4.2.3.3");

struct ahci {
	volatile uint8_t *host, *port;
	struct ahci_header *list; /* then, in the same block, received FISes and tables */
	uint8_t *tables;
	uint64_t tables_dma;
	struct blk_req *req[SLOTS];
	uint32_t busy; /* slots in use */
	bool ncq, flushing;
};

static bool ahci_match(const struct d0_device *dev)
{
	return dev->class_rev >> 8 == 0x010601;
}

static int stop_port(struct ahci *a)
{
	uint32_t cmd = mmio_read32(a->port, P_CMD);

	mmio_write32(a->port, P_CMD, cmd & ~(uint32_t)CMD_ST);
	if (!BLK_POLL(!(mmio_read32(a->port, P_CMD) & CMD_CR), 600))
		return -1;
	mmio_write32(a->port, P_CMD, cmd & ~(uint32_t)(CMD_ST | CMD_FRE));
	return BLK_POLL(!(mmio_read32(a->port, P_CMD) & CMD_FR), 600) ? 0 : -1;
}

static void start_port(struct ahci *a)
{
	mmio_write32(a->port, P_SERR, ~0u);
	mmio_write32(a->port, P_IS, ~0u);
	mmio_write32(a->port, P_CMD, mmio_read32(a->port, P_CMD) | CMD_FRE);
	mmio_write32(a->port, P_CMD, mmio_read32(a->port, P_CMD) | CMD_ST);
}

static int find_port(struct ahci *a, uint64_t bar_size)
{
	uint32_t implemented = mmio_read32(a->host, H_PI);

	for (unsigned p = 0; p < 32; p++) {
		if (!(implemented >> p & 1) || 0x100 + 0x80 * (p + 1) > bar_size)
			continue;
		a->port = a->host + 0x100 + 0x80 * p;
		/* DET 3: a device is there and the link is up; signature of an ATA disk. */
		if ((mmio_read32(a->port, P_SSTS) & 15) == 3 &&
		    mmio_read32(a->port, P_SIG) == 0x00000101)
			return 0;
	}
	return -1;
}

static int make_memory(struct ahci *a)
{
	uint64_t dma;
	uint8_t *p = blk_dma_alloc(4096 + SLOTS * TABLE, &dma);

	if (!p)
		return -1;
	a->list = (struct ahci_header *)p; /* 1 KiB, then 256 bytes of received FISes */
	a->tables = p + 4096;
	a->tables_dma = dma + 4096;
	mmio_write32(a->port, P_CLB, (uint32_t)dma);
	mmio_write32(a->port, P_CLB + 4, (uint32_t)(dma >> 32));
	mmio_write32(a->port, P_FB, (uint32_t)(dma + 1024));
	mmio_write32(a->port, P_FB + 4, (uint32_t)((dma + 1024) >> 32));
	return 0;
}

/* Fill slot i: register FIS (host to device), one PRDT entry. */
static void fill(struct ahci *a, unsigned i, uint8_t command, uint64_t lba, uint32_t sectors,
		 uint64_t dma, uint32_t len, bool write)
{
	uint8_t *fis = a->tables + TABLE * i;
	struct ahci_prd *prd = (struct ahci_prd *)(fis + 128);
	bool queued = command == ATA_READ_FPDMA || command == ATA_WRITE_FPDMA;

	memset(fis, 0, 64);
	fis[0] = 0x27;
	fis[1] = 0x80; /* a command, not a control */
	fis[2] = command;
	fis[4] = (uint8_t)lba;
	fis[5] = (uint8_t)(lba >> 8);
	fis[6] = (uint8_t)(lba >> 16);
	fis[7] = command == ATA_IDENTIFY ? 0 : 0x40; /* LBA */
	fis[8] = (uint8_t)(lba >> 24);
	fis[9] = (uint8_t)(lba >> 32);
	fis[10] = (uint8_t)(lba >> 40);
	if (queued) { /* the count goes to the features, the tag to the count */
		fis[3] = (uint8_t)sectors;
		fis[11] = (uint8_t)(sectors >> 8);
		fis[12] = (uint8_t)(i << 3);
	} else {
		fis[12] = (uint8_t)sectors;
		fis[13] = (uint8_t)(sectors >> 8);
	}
	*prd = (struct ahci_prd){.addr = dma, .count = len - 1};
	a->list[i] = (struct ahci_header){.flags = (uint16_t)(5 | (write ? 1u << 6 : 0)),
					  .prdtl = len ? 1 : 0,
					  .table = a->tables_dma + TABLE * i};
}

static int identify(struct blk_disk *d)
{
	struct ahci *a = d->priv;
	uint32_t cap = mmio_read32(a->host, H_CAP);
	uint16_t w[256];
	uint64_t dma, sectors;
	uint16_t *p = blk_dma_alloc(4096, &dma);

	if (!p)
		return -1;
	fill(a, 0, ATA_IDENTIFY, 0, 0, dma, 512, false);
	mem_write_barrier();
	mmio_write32(a->port, P_CI, 1);
	bool ok = BLK_POLL(!(mmio_read32(a->port, P_CI) & 1) ||
			       (mmio_read32(a->port, P_IS) & IS_ERRORS),
			   BOOT_MS) &&
		  !(mmio_read32(a->port, P_TFD) & 1);
	memcpy(w, p, sizeof(w));
	free(p);
	if (!ok || !(w[83] & 1u << 10)) /* 48-bit addresses */
		return -1;
	memcpy(&sectors, &w[100], 8);
	d->sector = 512;
	if ((w[106] & 0xd000) == 0x5000) /* logical sectors longer than 256 words */
		d->sector = 2 * (w[117] | (uint32_t)w[118] << 16);
	d->size = sectors * d->sector;
	d->max_io = MAX_IO;
	d->has_flush = true;
	d->depth = (cap >> 8 & 31) + 1;
	a->ncq = (cap & 1u << 30) && (w[76] & 1u << 8);
	if (a->ncq && (w[75] & 31) + 1u < d->depth)
		d->depth = (w[75] & 31) + 1u;
	return 0;
}

static int bring_up(struct blk_disk *d)
{
	struct ahci *a = d->priv;

	mmio_write32(a->host, H_GHC, mmio_read32(a->host, H_GHC) | 1u << 31); /* AHCI mode */
	if (!BLK_POLL(!find_port(a, d->pci->bar[5].size), 2000)) {
		log_error("%s: no disk on any port", d->name);
		return -1;
	}
	if (stop_port(a) || make_memory(a))
		return -1;
	start_port(a);
	if (!BLK_POLL(!(mmio_read32(a->port, P_TFD) & 0x88), BOOT_MS) || identify(d))
		return -1;
	mmio_write32(a->port, P_IS, ~0u);
	mmio_write32(a->host, H_IS, ~0u);
	if (d->pci->irq_kind != D0_IRQ_NONE) {
		mmio_write32(a->port, P_IE, IS_ERRORS | 0xf);
		mmio_write32(a->host, H_GHC, mmio_read32(a->host, H_GHC) | 2);
	}
	return 0;
}

static int ahci_attach(struct blk_disk *d)
{
	struct ahci *a = calloc(1, sizeof(*a));

	d->priv = a;
	if (!a)
		return -1;
	a->host = cell_device_bar(d->pci, 5);
	if (!a->host || bring_up(d)) {
		log_error("%s: AHCI set-up failed", d->name);
		return -1;
	}
	return 0;
}

static int ahci_submit(struct blk_disk *d, struct blk_req *r)
{
	struct ahci *a = d->priv;
	bool write = r->op == BLK_WRITE, queued = a->ncq && r->op != BLK_FLUSH;
	uint32_t sectors = r->len / d->sector;
	uint8_t command = r->op == BLK_FLUSH ? ATA_FLUSH_EXT
			  : a->ncq           ? (write ? ATA_WRITE_FPDMA : ATA_READ_FPDMA)
					     : (write ? ATA_WRITE_DMA_EXT : ATA_READ_DMA_EXT);
	unsigned i = 0;

	if (a->flushing || (r->op == BLK_FLUSH && a->busy))
		return -1;
	while (i < d->depth && (a->busy >> i & 1))
		i++;
	if (i == d->depth)
		return -1;
	fill(a, i, command, r->off / d->sector, r->op == BLK_FLUSH ? 0 : sectors, r->dma,
	     r->len, write);
	a->flushing = r->op == BLK_FLUSH;
	a->req[i] = r;
	a->busy |= 1u << i;
	mem_write_barrier();
	if (queued)
		mmio_write32(a->port, P_SACT, 1u << i);
	mmio_write32(a->port, P_CI, 1u << i);
	return 0;
}

static void finish(struct blk_disk *d, uint32_t slots, int status)
{
	struct ahci *a = d->priv;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct blk_req *r = a->req[i];

		if (!(slots >> i & 1) || !r)
			continue;
		a->req[i] = NULL;
		a->busy &= ~(1u << i);
		a->flushing = false;
		blk_done(d, r, status);
	}
}

/*
 * An error stops the port with all its commands (6.2.2). Which one failed is in a log that
 * NCQ disks keep; it is not read: all that did not finish get EIO, and the port starts anew.
 */
static void recover(struct blk_disk *d)
{
	struct ahci *a = d->priv;

	log_error("%s: port error, status %#x, task file %#x", d->name,
		  mmio_read32(a->port, P_IS), mmio_read32(a->port, P_TFD));
	if (stop_port(a) || (mmio_read32(a->port, P_SSTS) & 15) != 3) {
		d->failed = true;
		return;
	}
	finish(d, a->busy, -H2_EIO);
	start_port(a);
	if (!BLK_POLL(!(mmio_read32(a->port, P_TFD) & 0x88), 1000))
		d->failed = true;
}

static void ahci_poll(struct blk_disk *d)
{
	struct ahci *a = d->priv;
	uint32_t is = mmio_read32(a->port, P_IS), running;

	mmio_write32(a->port, P_IS, is & ~(uint32_t)IS_ERRORS);
	mmio_write32(a->host, H_IS, mmio_read32(a->host, H_IS));
	running = mmio_read32(a->port, P_CI) | mmio_read32(a->port, P_SACT);
	finish(d, a->busy & ~running, 0);
	if (is == ~0u)
		d->failed = true; /* the controller is gone */
	else if (is & IS_ERRORS)
		recover(d);
}

static void ahci_detach(struct blk_disk *d)
{
	struct ahci *a = d->priv;

	if (stop_port(a))
		log_error("%s: does not stop", d->name);
	finish(d, ~0u, -H2_EIO);
}

static const struct blk_driver ahci = {
    .name = "ahci",
    .match = ahci_match,
    .attach = ahci_attach,
    .submit = ahci_submit,
    .poll = ahci_poll,
    .detach = ahci_detach,
};
BLK_DRIVER(ahci);
