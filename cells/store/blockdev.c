/* SPDX-License-Identifier: ISC */
/*
 * The block layer.
 *
 * Problem. h2 reads and writes one block at a time and waits for it; a disk is fast only with
 * many requests in flight.
 *
 * Model. A fixed set of buffers ("slots") of 64 KiB. A write is copied to a slot, given to
 * the device at once and forgotten by h2: it is on its way. When a read begins where the
 * last one ended, the blocks behind it are read ahead into slots. Everything else goes
 * straight between the device and h2's buffer, without a copy.
 *
 * Invariants. At no time do two requests in flight overlap unless both are reads: a write
 * waits for older requests on its range, a read is served from a slot that holds its whole
 * range or waits for writes that touch it. A slot that holds a read-ahead never survives a
 * write to its range. So what h2 reads is always what it wrote last, whatever order the
 * device works in.
 *
 * Doorbells. Telling the device of a request costs a VM exit where the device is emulated, so
 * requests that nobody waits for are told BATCH at a time; whoever waits tells first, and so
 * does the main loop before it sleeps.
 *
 * Flush. Waits for every write, then has the device make its cache durable. The error of any
 * write since the mount is returned by every later flush: h2 then turns read-only, which is
 * what the loss of a write it believed done must lead to.
 *
 * Failure. A request that does not end within 30 s, or a driver that sees its device
 * vanish, fails the disk: all requests in flight and all later ones get EIO. The device is
 * stopped before its buffers are used again.
 */
#include "cells/store/blockdev.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "cells/store/events.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/panic.h"

#define SLOT_BYTES 65536u
#define SLOT_ALLOC (SLOT_BYTES + 8192u) /* room for the rest of large sectors at both ends */
#define AHEAD      8u                   /* blocks read ahead */
#define BATCH      4u                   /* requests told to the device at a time */
#define TIMEOUT_NS (30 * CLOCK_NS_PER_S)
#define DIRECT_MAX 16u

LINKSET_DECLARE(drivers, struct blk_driver);

enum slot_state {
	SLOT_FREE,
	SLOT_WRITING,
	SLOT_READING,
	SLOT_READY, /* a finished read-ahead */
};

struct slot {
	enum slot_state state;
	struct blk_req req;
	uint8_t *buf;
	uint64_t dma;
	uint64_t used; /* when, for choosing a victim */
};

struct blkdev {
	struct blk_disk disk;
	struct slot *slots;
	unsigned slot_count;
	uint64_t tick;
	uint64_t next_read; /* where a sequential read would begin */
	unsigned untold;    /* requests that the device has not heard of */
	bool write_failed;
	uint64_t *reads, *writes, *ahead_hits, *errors;
};

void blk_done(struct blk_disk *d, struct blk_req *r, int status)
{
	ASSERT(!r->done && d->in_flight);
	d->in_flight--;
	r->status = status;
	r->done = true;
	d->errors += status != 0;
}

void *blk_dma_alloc(size_t size, uint64_t *dma)
{
	void *p;

	size = (size + 4095) & ~(size_t)4095;
	p = aligned_alloc(4096, size);
	if (!p)
		return NULL;
	*dma = cell_dma_addr(p, size);
	if (*dma == D0_NEVER) {
		free(p);
		return NULL;
	}
	memset(p, 0, size);
	return p;
}

void blk_delay_us(unsigned us)
{
	uint64_t end = clock_ns() + us * CLOCK_NS_PER_US;

	while (clock_ns() < end)
		__builtin_ia32_pause();
}

/* ---- waiting ---- */

static void poll_disk(struct blkdev *b)
{
	struct blk_disk *d = &b->disk;

	events_collect();
	for (unsigned i = 0; i < d->pci->irq_count; i++)
		d->irqs += events_take(d->pci->irq_first + i);
	d->drv->poll(d);
	if (d->pci->irq_kind == D0_IRQ_INTX)
		cell_irq_done(d->pci->irq_first);
	for (unsigned i = 0; i < b->slot_count; i++) {
		struct slot *s = &b->slots[i];

		if (s->state == SLOT_WRITING && s->req.done) {
			b->write_failed |= s->req.status != 0;
			s->state = SLOT_FREE;
		} else if (s->state == SLOT_READING && s->req.done) {
			s->state = s->req.status ? SLOT_FREE : SLOT_READY;
		}
	}
}

void blkdev_kick(struct blkdev *b)
{
	if (b->untold && b->disk.drv->kick && !b->disk.failed)
		b->disk.drv->kick(&b->disk);
	b->untold = 0;
}

void blkdev_poll(struct blkdev *b)
{
	blkdev_kick(b);
	if (!b->disk.failed)
		poll_disk(b);
}

static void fail_disk(struct blkdev *b, const char *why)
{
	log_error("%s: %s; the disk is given up", b->disk.name, why);
	b->disk.failed = true;
	b->disk.drv->detach(&b->disk);
	ASSERT(b->disk.in_flight == 0);
	poll_disk(b);
}

static void poll_or_sleep(struct blkdev *b, uint64_t deadline)
{
	uint64_t irqs = b->disk.irqs;
	unsigned before = b->disk.in_flight;

	blkdev_kick(b);
	poll_disk(b);
	if (b->disk.failed) {
		if (b->disk.in_flight)
			fail_disk(b, "the device failed");
		return;
	}
	if (before != b->disk.in_flight || irqs != b->disk.irqs || !before)
		return;
	if (clock_ns() >= deadline) {
		fail_disk(b, "a request did not end");
		return;
	}
	/* Without interrupts: look again soon. */
	uint64_t until = b->disk.pci->irq_count ? CLOCK_NS_PER_S : 50 * CLOCK_NS_PER_US;
	events_sleep_new(clock_ns() + until);
}

#define WAIT_UNTIL(b, cond)                              \
	do {                                             \
		uint64_t end_ = clock_ns() + TIMEOUT_NS; \
		while (!(cond))                          \
			poll_or_sleep(b, end_);          \
	} while (0)

static int submit(struct blkdev *b, struct blk_req *r)
{
	uint64_t end = clock_ns() + TIMEOUT_NS;

	r->done = false;
	r->status = 0;
	for (;;) {
		if (b->disk.failed)
			break;
		if (b->disk.in_flight < b->disk.depth) {
			b->disk.in_flight++;
			if (!b->disk.drv->submit(&b->disk, r)) {
				b->disk.requests++;
				if (++b->untold >= BATCH)
					blkdev_kick(b);
				return 0;
			}
			b->disk.in_flight--;
		}
		poll_or_sleep(b, end);
	}
	r->status = -H2_EIO;
	r->done = true;
	return -H2_EIO;
}

static int run(struct blkdev *b, enum blk_op op, uint64_t off, uint64_t dma, uint32_t len)
{
	struct blk_req r = {.op = op, .off = off, .dma = dma, .len = len};

	submit(b, &r);
	WAIT_UNTIL(b, r.done);
	return r.status;
}

/* ---- slots ---- */

static bool touches(const struct slot *s, uint64_t off, size_t len)
{
	return s->state != SLOT_FREE && s->req.off < off + len && off < s->req.off + s->req.len;
}

static bool holds(const struct slot *s, uint64_t off, size_t len)
{
	return s->state != SLOT_FREE && s->req.off <= off &&
	       off + len <= s->req.off + s->req.len;
}

static struct slot *slot_holding(struct blkdev *b, uint64_t off, size_t len)
{
	for (unsigned i = 0; i < b->slot_count; i++)
		if (holds(&b->slots[i], off, len))
			return &b->slots[i];
	return NULL;
}

/* Before a write: nothing in flight on the range, no read-ahead of it. */
static void clear_range(struct blkdev *b, uint64_t off, size_t len)
{
	for (unsigned i = 0; i < b->slot_count; i++) {
		struct slot *s = &b->slots[i];

		if (!touches(s, off, len))
			continue;
		WAIT_UNTIL(b, s->state != SLOT_WRITING && s->state != SLOT_READING);
		s->state = SLOT_FREE;
	}
}

/* Before a read: no write in flight on the range. */
static void settle_range(struct blkdev *b, uint64_t off, size_t len)
{
	for (unsigned i = 0; i < b->slot_count; i++)
		if (b->slots[i].state == SLOT_WRITING && touches(&b->slots[i], off, len))
			WAIT_UNTIL(b, b->slots[i].state != SLOT_WRITING);
}

/* A free slot, or the oldest read-ahead's; NULL: all are in flight. */
static struct slot *find_slot(struct blkdev *b)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < b->slot_count; i++) {
		struct slot *s = &b->slots[i];

		if (s->state == SLOT_FREE)
			return s;
		if (s->state == SLOT_READY && (!best || s->used < best->used))
			best = s;
	}
	return best;
}

static void start_slot(struct blkdev *b, struct slot *s, enum blk_op op, uint64_t off,
		       uint32_t len)
{
	s->state = op == BLK_WRITE ? SLOT_WRITING : SLOT_READING;
	s->used = ++b->tick;
	s->req = (struct blk_req){.op = op, .off = off, .len = len, .dma = s->dma};
	submit(b, &s->req);
}

/* ---- reading ---- */

/* Is the block there, or on its way? */
static bool coming(const struct blkdev *b, uint64_t off)
{
	for (unsigned k = 0; k < b->slot_count; k++)
		if (touches(&b->slots[k], off, SLOT_BYTES))
			return true;
	return false;
}

/* Several at a time: nothing is done while half of the window is there. */
static void read_ahead(struct blkdev *b, uint64_t off)
{
	if (coming(b, off + AHEAD / 2 * SLOT_BYTES))
		return;
	for (unsigned i = 0; i < AHEAD; i++, off += SLOT_BYTES) {
		struct slot *s;

		if (off + SLOT_BYTES > b->disk.size || b->disk.in_flight >= b->disk.depth / 2)
			break;
		if (coming(b, off))
			continue;
		s = find_slot(b);
		if (!s)
			break;
		start_slot(b, s, BLK_READ, off, SLOT_BYTES);
	}
	blkdev_kick(b);
}

static int read_direct(struct blkdev *b, uint64_t off, uint64_t dma, size_t len)
{
	struct blk_req r[DIRECT_MAX];
	unsigned n = 0;
	int err = 0;

	for (; len && n < DIRECT_MAX; n++) {
		uint32_t part = len < b->disk.max_io ? (uint32_t)len : b->disk.max_io;

		r[n] = (struct blk_req){.op = BLK_READ, .off = off, .len = part, .dma = dma};
		submit(b, &r[n]);
		off += part;
		dma += part;
		len -= part;
	}
	for (unsigned i = 0; i < n; i++) {
		WAIT_UNTIL(b, r[i].done);
		err = err ? err : r[i].status;
	}
	return err ? err : len ? read_direct(b, off, dma, len) : 0;
}

/* Through a slot: unaligned ranges, and buffers the device can't reach. */
static int read_bounced(struct blkdev *b, uint64_t off, uint8_t *buf, size_t len)
{
	uint32_t mask = b->disk.sector - 1;
	struct slot *s;
	int err = 0;

	WAIT_UNTIL(b, find_slot(b) || b->disk.failed);
	s = find_slot(b);
	if (!s)
		return -H2_EIO;
	s->state = SLOT_READING;
	s->req = (struct blk_req){.done = false};
	while (len && !err) {
		uint64_t start = off & ~(uint64_t)mask;
		size_t skip = (size_t)(off - start);
		size_t part = len < SLOT_BYTES ? len : SLOT_BYTES;
		uint32_t whole = (uint32_t)(skip + part + mask) & ~mask;

		s->req.off = start; /* keep others away from it */
		s->req.len = whole;
		err = read_direct(b, start, s->dma, whole);
		if (!err)
			memcpy(buf, s->buf + skip, part);
		off += part;
		buf += part;
		len -= part;
	}
	s->state = SLOT_FREE;
	return err;
}

static int dev_read(void *dev, uint64_t off, void *buf, size_t len)
{
	struct blkdev *b = dev;
	bool sequential = off == b->next_read;
	struct slot *s;
	uint64_t dma;
	int err;

	if (off > b->disk.size || len > b->disk.size - off || b->disk.failed)
		return -H2_EIO;
	counter_add_own(b->reads, 1);
	b->next_read = off + len;
	s = slot_holding(b, off, len);
	if (s && s->state == SLOT_READING)
		WAIT_UNTIL(b, s->state != SLOT_READING);
	if (s && holds(s, off, len)) {
		memcpy(buf, s->buf + (off - s->req.off), len);
		counter_add_own(b->ahead_hits, 1);
		if (sequential)
			read_ahead(b, off + len);
		return 0;
	}
	settle_range(b, off, len);
	if (sequential && len >= SLOT_BYTES / 4)
		read_ahead(b, off + len);
	dma = cell_dma_addr(buf, len);
	/* Once more, alone: disks (QEMU's too) merge neighbouring requests, and one bad sector
	 * then is the error of all of them. */
	for (unsigned tries = 0; tries < 2; tries++) {
		err = dma == D0_NEVER || (off | len) % b->disk.sector || dma % 4
			  ? read_bounced(b, off, buf, len)
			  : read_direct(b, off, dma, len);
		if (!err || b->disk.failed)
			break;
	}
	counter_add_own(b->errors, err != 0);
	return err;
}

/* ---- writing ---- */

/* Whole sectors around a partial one are read first, so that their rest is kept. */
static int write_part(struct blkdev *b, uint64_t off, const uint8_t *buf, size_t len)
{
	uint32_t mask = b->disk.sector - 1;
	uint64_t start = off & ~(uint64_t)mask;
	size_t skip = (size_t)(off - start);
	uint32_t whole = (uint32_t)(skip + len + mask) & ~mask;
	struct slot *s;
	int err = 0;

	clear_range(b, start, whole);
	WAIT_UNTIL(b, find_slot(b) || b->disk.failed);
	s = find_slot(b);
	if (!s || b->disk.failed)
		return -H2_EIO;
	if (whole != len) {
		s->state = SLOT_READING;
		s->req = (struct blk_req){.off = start, .len = whole};
		err = read_direct(b, start, s->dma, whole);
		s->state = SLOT_FREE;
	}
	if (err)
		return err;
	memcpy(s->buf + skip, buf, len);
	start_slot(b, s, BLK_WRITE, start, whole);
	return 0;
}

static int dev_write(void *dev, uint64_t off, const void *buf, size_t len)
{
	struct blkdev *b = dev;
	const uint8_t *p = buf;
	size_t step = b->disk.max_io < SLOT_BYTES ? b->disk.max_io : SLOT_BYTES;
	int err = 0;

	if (off > b->disk.size || len > b->disk.size - off || b->disk.readonly)
		return -H2_EIO;
	while (len && !err) {
		size_t part = len < step ? len : step;

		if (b->write_failed)
			return -H2_EIO;
		err = write_part(b, off, p, part);
		off += part;
		p += part;
		len -= part;
	}
	counter_add_own(b->writes, 1);
	counter_add_own(b->errors, err != 0);
	return err;
}

static int dev_flush(void *dev)
{
	struct blkdev *b = dev;

	for (unsigned i = 0; i < b->slot_count; i++)
		WAIT_UNTIL(b, b->slots[i].state != SLOT_WRITING);
	if (b->write_failed || b->disk.failed)
		return -H2_EIO;
	return b->disk.has_flush ? run(b, BLK_FLUSH, 0, 0, 0) : 0;
}

static int dev_discard(void *dev, uint64_t off, uint64_t len)
{
	struct blkdev *b = dev;

	if (!b->disk.has_discard || (off | len) % b->disk.sector)
		return 0;
	while (len) {
		uint32_t part = len < 1u << 30 ? (uint32_t)len : 1u << 30;

		clear_range(b, off, part);
		if (run(b, BLK_DISCARD, off, 0, part))
			return -H2_EIO;
		off += part;
		len -= part;
	}
	return 0;
}

/* Advice; whole slots only. */
static void dev_prefetch(void *dev, uint64_t off, size_t len)
{
	struct blkdev *b = dev;

	if (len == SLOT_BYTES && !(off % b->disk.sector) && off < b->disk.size &&
	    SLOT_BYTES <= b->disk.size - off && b->disk.in_flight < b->disk.depth / 2) {
		struct slot *s = coming(b, off) ? NULL : find_slot(b);

		if (s)
			start_slot(b, s, BLK_READ, off, SLOT_BYTES);
	}
}

const struct h2_dev_ops blkdev_ops = {
    .read = dev_read,
    .write = dev_write,
    .flush = dev_flush,
    .discard = dev_discard,
    .prefetch = dev_prefetch,
};

/* ---- opening ---- */

static const struct blk_driver *driver_of(const struct d0_device *dev)
{
	LINKSET_FOREACH(drivers, d)
	if ((*d)->match(dev))
		return *d;
	return NULL;
}

static const struct d0_device *device_of(unsigned n, const struct blk_driver **drv)
{
	const struct d0_device *dev;

	for (unsigned i = 0; (dev = cell_device(i)); i++) {
		*drv = driver_of(dev);
		if (*drv && !n--)
			return dev;
	}
	return NULL;
}

static int make_slots(struct blkdev *b, size_t bytes)
{
	b->slot_count = (unsigned)(bytes / SLOT_BYTES);
	if (b->slot_count < 4)
		b->slot_count = 4;
	b->slots = calloc(b->slot_count, sizeof(*b->slots));
	if (!b->slots)
		return -1;
	for (unsigned i = 0; i < b->slot_count; i++) {
		b->slots[i].buf = blk_dma_alloc(SLOT_ALLOC, &b->slots[i].dma);
		if (!b->slots[i].buf)
			return -1;
	}
	return 0;
}

static void free_slots(struct blkdev *b)
{
	for (unsigned i = 0; b->slots && i < b->slot_count; i++)
		free(b->slots[i].buf);
	free(b->slots);
}

static bool sane(const struct blk_disk *d)
{
	return d->sector >= 512 && d->sector <= 4096 && !(d->sector & (d->sector - 1)) &&
	       d->size >= d->sector && d->max_io >= 4096 && !(d->max_io % d->sector) &&
	       d->depth;
}

struct blkdev *blkdev_open(unsigned n, size_t write_behind)
{
	struct blkdev *b = calloc(1, sizeof(*b));
	const struct blk_driver *drv = NULL;

	if (!b)
		return NULL;
	b->disk.pci = device_of(n, &drv);
	if (!b->disk.pci) {
		log_error("no disk number %u was granted to this cell", n);
		free(b);
		return NULL;
	}
	b->disk.drv = drv;
	snprintf(b->disk.name, sizeof(b->disk.name), "%s%u", drv->name, n);
	b->reads = counter_register("disk_reads");
	b->writes = counter_register("disk_writes");
	b->ahead_hits = counter_register("disk_buffer_hits");
	b->errors = counter_register("disk_errors");
	if (make_slots(b, write_behind) || drv->attach(&b->disk) || !sane(&b->disk)) {
		log_error("%s: can't be used", b->disk.name);
		free_slots(b);
		free(b);
		return NULL;
	}
	log_info("%s: %llu MiB, sectors of %u, %u requests of %u KiB in flight%s", b->disk.name,
		 (unsigned long long)(b->disk.size >> 20), b->disk.sector, b->disk.depth,
		 b->disk.max_io >> 10, b->disk.readonly ? ", read-only" : "");
	return b;
}

const struct blk_disk *blkdev_disk(const struct blkdev *b)
{
	return &b->disk;
}

void blkdev_close(struct blkdev *b)
{
	if (!b->disk.failed)
		b->disk.drv->detach(&b->disk);
	free_slots(b);
	free(b);
}
