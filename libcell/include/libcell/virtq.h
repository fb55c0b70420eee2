/* SPDX-License-Identifier: ISC */
/*
 * Split virtqueues of virtio 1.2 (section 2.7), both sides. The peer is hostile by
 * assumption: everything it can write is read once, checked and then used; what the
 * driver needs of its own descriptors it keeps in private memory. A peer that breaks the
 * rules makes the queue `broken`, with a reason; from then on every call on it does
 * nothing. No call blocks, allocates or logs.
 *
 * A queue belongs to one vCPU; nothing here locks.
 */
#ifndef LIBCELL_VIRTQ_H
#define LIBCELL_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/vring.h"

/* One buffer of a request. */
struct virtq_buf {
	uint64_t
	    addr; /* as the device addresses it: DMA address, or offset in the ring region */
	uint32_t len;
};

/* Private state of the driver for one descriptor; the caller provides num of them. */
struct virtq_slot {
	void *cookie;
	uint32_t in_bytes; /* how much the device may write, for a head */
	uint16_t count;    /* descriptors of the chain; 0: not a head in flight */
	uint16_t next;
};

/* ---- driver side ---- */

struct virtq_drv {
	struct d0_vring_desc *desc;
	struct d0_vring_avail *avail;
	struct d0_vring_used *used;
	struct virtq_slot *slot;
	uint16_t num;
	uint16_t free_head, free_count;
	uint16_t avail_next; /* next value of avail->idx, descriptors already filled */
	uint16_t avail_told; /* value at the last decision whether to notify */
	uint16_t used_next;
	bool event_idx;
	const char *broken; /* NULL, or what the device did */
};

/*
 * ring: d0_vring_bytes(num) bytes (64-byte aligned) laid out as d0/vring.h says, or
 * the same three parts anywhere (virtq_drv_init_parts, for hardware). num: a power of two.
 * features: accepted ones, D0_VRING_F_EVENT_IDX is looked at. Zeroes the ring.
 * 0, or -D0_EINVAL style error.
 */
int virtq_drv_init(struct virtq_drv *q, void *ring, uint16_t num, uint64_t features,
		   struct virtq_slot *slots);
int virtq_drv_init_parts(struct virtq_drv *q, void *desc, void *avail, void *used, uint16_t num,
			 uint64_t features, struct virtq_slot *slots);

/*
 * Queue one request: `out` buffers for the device to read, then `in` buffers for it to
 * write. cookie (not NULL) comes back from virtq_drv_pop. Not visible to the device until
 * virtq_drv_push. 0, D0_ELIMIT if there are too few free descriptors, D0_EINVAL.
 */
int virtq_drv_add(struct virtq_drv *q, const struct virtq_buf *out, unsigned outs,
		  const struct virtq_buf *in, unsigned ins, void *cookie);

/* Make everything added visible. True: the device wants a notification. */
bool virtq_drv_push(struct virtq_drv *q);

/* A finished request: its cookie, and in *len what the device says it wrote, never more
 * than the request allowed. NULL if there is none. */
void *virtq_drv_pop(struct virtq_drv *q, uint32_t *len);

/* After a restart of the device: hands back the cookies of all requests in flight, one a
 * call, then NULL. */
void *virtq_drv_drain(struct virtq_drv *q);

static inline unsigned virtq_drv_free(const struct virtq_drv *q)
{
	return q->free_count;
}

/* Ask for a notification when something is used. True: something is already there. */
bool virtq_drv_events_on(struct virtq_drv *q);
/* When `n` buffers are used, which is at least 1. False too: it can't be asked that (no event
 * index), so ask for each. */
bool virtq_drv_events_after(struct virtq_drv *q, uint16_t n, bool *there);
void virtq_drv_events_off(struct virtq_drv *q);

/* ---- device side ---- */

/* The memory the driver's addresses may reach. */
struct virtq_window {
	uint8_t *base; /* our pointer to its first byte */
	uint64_t addr; /* what descriptors call that byte */
	uint64_t size;
};

/* One buffer of a request taken from the driver: inside the window, but shared. Copy what
 * decisions depend on before looking at it. */
struct virtq_seg {
	uint8_t *ptr;
	uint32_t len;
};

/* A request. The caller provides seg[] and seg_max. */
struct virtq_chain {
	uint16_t head;
	unsigned outs, ins;           /* seg[0..outs) to read, seg[outs..outs+ins) to write */
	uint32_t out_bytes, in_bytes; /* sums */
	unsigned seg_max;
	struct virtq_seg *seg;
};

struct virtq_dev {
	const struct d0_vring_desc *desc;
	struct d0_vring_avail *avail;
	struct d0_vring_used *used;
	struct virtq_window window;
	uint16_t num;
	uint16_t avail_next;
	uint16_t used_next; /* next value of used->idx */
	uint16_t used_told;
	bool event_idx, indirect;
	const char *broken; /* NULL, or what the driver did */
};

/* window is copied. The ring memory was zeroed by the driver. */
int virtq_dev_init(struct virtq_dev *q, void *ring, uint16_t num, uint64_t features,
		   const struct virtq_window *window);
int virtq_dev_init_parts(struct virtq_dev *q, void *desc, void *avail, void *used, uint16_t num,
			 uint64_t features, const struct virtq_window *window);

/*
 * Take the next request. 1: chain filled; 0: none; D0_ELIMIT: it has more buffers than
 * chain->seg_max (chain->head is set; finish it with virtq_dev_put); other D0_E: broken.
 */
int virtq_dev_next(struct virtq_dev *q, struct virtq_chain *chain);

/* Finish a request of which `len` bytes were written. Visible after virtq_dev_push. */
void virtq_dev_put(struct virtq_dev *q, uint16_t head, uint32_t len);

/* Make finished requests visible. True: the driver wants a notification. */
bool virtq_dev_push(struct virtq_dev *q);

/* Requests that wait (approximate: the driver may lie). */
unsigned virtq_dev_pending(const struct virtq_dev *q);

/* Ask for notifications. True: requests are already there. */
bool virtq_dev_events_on(struct virtq_dev *q);
void virtq_dev_events_off(struct virtq_dev *q);
/* Would the driver be told if `more` requests came back, besides those not pushed yet? */
bool virtq_dev_awaited(const struct virtq_dev *q, uint16_t more);

/* Copy between a chain and private memory, from byte `off` of its out (in) part. Bytes
 * copied: fewer at the end of the chain. */
size_t virtq_chain_read(const struct virtq_chain *c, size_t off, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *c, size_t off, const void *buf, size_t len);

#endif
