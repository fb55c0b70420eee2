/* SPDX-License-Identifier: ISC */
/*
 * Disks of the store cell. A driver moves sectors between a disk and DMA memory, several
 * requests at a time; the block layer above it (blockdev.c) gives h2 its synchronous device,
 * with writes running behind and reads running ahead.
 *
 * A driver is one file in drivers/ with one BLK_DRIVER() line.
 */
#ifndef STORE_BLOCKDEV_H
#define STORE_BLOCKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/abi.h"
#include "h2/h2.h"
#include "libcell/linkset.h"

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD
};

/* One request. The caller owns it; the driver uses it from submit until blk_done. */
struct blk_req {
	enum blk_op op;
	uint64_t off; /* bytes, whole sectors */
	uint32_t len; /* bytes, whole sectors, at most disk->max_io; 0 for a flush */
	uint64_t dma; /* of the buffer, contiguous */
	bool done;
	int status; /* when done: 0 or -H2_EIO */
};

struct blk_disk {
	const struct blk_driver *drv;
	void *priv;
	const struct d0_device *pci;
	/* set by attach */
	uint64_t size;   /* bytes */
	uint32_t sector; /* bytes, a power of two, 512 .. 4096 */
	uint32_t max_io; /* bytes of one request, whole sectors */
	uint32_t depth;  /* requests in flight */
	bool readonly, has_flush, has_discard;
	char name[48];
	/* set by a driver when the device misbehaves or is gone; by the block layer on a
	 * request that never ends. No request is submitted any more. */
	bool failed;
	unsigned in_flight;
	uint64_t requests, errors, irqs;
};

struct blk_driver {
	const char *name;
	bool (*match)(const struct d0_device *dev);
	/* Bring the device up; may wait, by polling. 0 or -1, the reason was logged. */
	int (*attach)(struct blk_disk *d);
	/* Queue a request; the device need not hear of it before `kick`. 0; -1: no room now,
	 * poll and try again. */
	int (*submit)(struct blk_disk *d, struct blk_req *r);
	/* Tell the device of what was queued; NULL: submit has told it. */
	void (*kick)(struct blk_disk *d);
	/* Take finished requests from the device: blk_done for each. */
	void (*poll)(struct blk_disk *d);
	/* Stop all DMA. Requests in flight are ended with -H2_EIO. */
	void (*detach)(struct blk_disk *d);
};
#define BLK_DRIVER(name) LINKSET_ADD(drivers, name)

/* By drivers: this request is finished. */
void blk_done(struct blk_disk *d, struct blk_req *r, int status);
/* Zeroed whole pages that the device reaches; NULL if there is no memory. */
void *blk_dma_alloc(size_t size, uint64_t *dma);
void blk_delay_us(unsigned us);
/* Poll a condition up to ms milliseconds; false: it never came true. */
#define BLK_POLL(cond, ms)                                                   \
	({                                                                   \
		bool ok_ = false;                                            \
		for (unsigned n_ = 0; n_ < (ms)*10 && !(ok_ = (cond)); n_++) \
			blk_delay_us(100);                                   \
		ok_ || (cond);                                               \
	})

/* ---- the block layer ---- */

struct blkdev;

/* The n-th granted disk (from 0) that a driver knows, brought up. NULL: none, or it failed
 * (logged). write_behind: bytes of buffers, at least 256 KiB. */
struct blkdev *blkdev_open(unsigned n, size_t write_behind);
const struct blk_disk *blkdev_disk(const struct blkdev *b);
/* Tell the device of requests it has not heard of: before the cell sleeps. */
void blkdev_kick(struct blkdev *b);
/* Take interrupts and requests that ended since somebody last waited. */
void blkdev_poll(struct blkdev *b);
void blkdev_close(struct blkdev *b);
/* For h2_env.dev_ops with dev = struct blkdev. */
extern const struct h2_dev_ops blkdev_ops;

#endif
