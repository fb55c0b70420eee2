/* SPDX-License-Identifier: ISC */
/*
 * Split virtqueues (virtio 1.2, section 2.7) and how they lie in a channel's ring region.
 *
 * A channel that carries virtqueues has this layout; both ends compute it from numbers
 * they trust (the protocol, the channel's args), nothing of it is negotiated:
 *
 *	offset 0		struct d0_vring_head (one page)
 *	4096			queue 0: descriptors, available ring, used ring
 *	...			queue i at 4096 + i * d0_vring_bytes(num)
 *	d0_vring_data_off()	buffers, up to the end of the region
 *
 * Descriptor addresses are offsets from the start of the ring region. The server is the
 * device, the client is the driver. Either end may restart at any time: epochs in the
 * head page tell the other one, see libcell/vchan.h.
 */
#ifndef D0_VRING_H
#define D0_VRING_H

#include <stdint.h>
#include <stddef.h>

enum {
	D0_VRING_DESC_NEXT = 1,
	D0_VRING_DESC_WRITE = 2, /* the device writes it */
	D0_VRING_DESC_INDIRECT = 4,
};

/* virtio 1.2, 2.7.5 */
struct d0_vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
_Static_assert(sizeof(struct d0_vring_desc) == 16, "virtio 1.2, 2.7.5");

/* virtio 1.2, 2.7.6; after ring[num] comes used_event. */
struct d0_vring_avail {
	uint16_t flags; /* 1: the driver wants no interrupts (without EVENT_IDX) */
	uint16_t idx;
	uint16_t ring[];
};
_Static_assert(sizeof(struct d0_vring_avail) == 4, "virtio 1.2, 2.7.6");

struct d0_vring_used_elem {
	uint32_t id;
	uint32_t len;
};

/* virtio 1.2, 2.7.8; after ring[num] comes avail_event. */
struct d0_vring_used {
	uint16_t flags; /* 1: the device wants no notifications (without EVENT_IDX) */
	uint16_t idx;
	struct d0_vring_used_elem ring[];
};
_Static_assert(sizeof(struct d0_vring_used) == 4, "virtio 1.2, 2.7.8");

/* Feature bits of virtio 1.2 section 6 that concern the ring itself. */
#define D0_VRING_F_INDIRECT  (1ull << 28)
#define D0_VRING_F_EVENT_IDX (1ull << 29)
#define D0_VRING_F_VERSION_1 (1ull << 32)

#define D0_VRING_NUM_MAX 32768u /* entries of a queue, a power of two */
#define D0_VRING_HEAD    4096u
#define D0_VRING_CONFIG  3072u /* bytes of device configuration in the head page */

/*
 * First page of the region. Each half is written by one end and read by the other.
 * epoch: not 0; changed at each start of that end. seen: the epoch of the other end that
 * this end has set itself up for; an end may use the queues while both `seen` match.
 */
struct d0_vring_half {
	uint32_t epoch;
	uint32_t seen;
	uint64_t features; /* offered by the device; accepted by the driver */
	uint32_t status;   /* for the protocol; 0 if it has no use for it */
	uint32_t config_seq;
	uint8_t pad[40];
};
_Static_assert(sizeof(struct d0_vring_half) == 64, "one cache line");

struct d0_vring_head {
	struct d0_vring_half server; /* device */
	struct d0_vring_half client; /* driver */
	uint8_t pad[896];
	uint8_t config[D0_VRING_CONFIG]; /* virtio device configuration; the server writes */
};
_Static_assert(sizeof(struct d0_vring_head) == D0_VRING_HEAD, "one page");

/* Where the three parts of a queue of num entries lie, from the queue's start. */
static inline size_t d0_vring_avail_off(uint32_t num)
{
	return (size_t)num * sizeof(struct d0_vring_desc);
}

static inline size_t d0_vring_used_off(uint32_t num)
{
	size_t end =
	    d0_vring_avail_off(num) + sizeof(struct d0_vring_avail) + 2 * (size_t)num + 2;

	return (end + 63) & ~(size_t)63;
}

/* Bytes of one queue, a multiple of 64. */
static inline size_t d0_vring_bytes(uint32_t num)
{
	size_t end = d0_vring_used_off(num) + sizeof(struct d0_vring_used) +
		     (size_t)num * sizeof(struct d0_vring_used_elem) + 2;

	return (end + 63) & ~(size_t)63;
}

static inline size_t d0_vring_queue_off(uint32_t queue, uint32_t num)
{
	return D0_VRING_HEAD + queue * d0_vring_bytes(num);
}

/* Where the buffers begin, page-aligned. */
static inline size_t d0_vring_data_off(uint32_t queues, uint32_t num)
{
	return (d0_vring_queue_off(queues, num) + 4095) & ~(size_t)4095;
}

#endif
