/* SPDX-License-Identifier: ISC */
/*
 * Attacks on a peer through a virtqueue: this cell is the driver of a heartbeat server and
 * breaks the rules of the ring. The server must notice and lose that ring only.
 */
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define NUM 8 /* as the heartbeat has it */

static struct d0_vring_desc *desc;
static struct d0_vring_avail *avail;

/* Gets the server to the point where it looks at the queue. */
static bool ring_up(void)
{
	static struct virtq_slot slots[NUM];
	static struct virtq_drv q;
	static struct vchan chan;
	uint64_t end = clock_ns() + 10 * CLOCK_NS_PER_S;
	size_t size;
	void *ring = cell_channel_ring(0, &size);

	if (!ring || vchan_client_open(&chan, ring, size))
		return false;
	cell_notify(0);
	while (vchan_client_poll(&chan, D0_VRING_F_EVENT_IDX) != VCHAN_UP) {
		if (clock_ns() > end)
			return false;
		cell_wait(clock_ns() + CLOCK_NS_PER_MS);
		cell_event_take(0);
		cell_flags_take(~0ull);
	}
	desc = vchan_queue(&chan, 0, 1, NUM);
	avail = (void *)((uint8_t *)desc + d0_vring_avail_off(NUM));
	virtq_drv_init(&q, desc, NUM, D0_VRING_F_EVENT_IDX, slots);
	vchan_client_ready(&chan);
	cell_notify(0);
	return true;
}

static void offer(uint16_t head, uint16_t idx)
{
	avail->ring[0] = head;
	__atomic_store_n(&avail->idx, idx, __ATOMIC_RELEASE);
	cell_notify(0);
	cell_wait(clock_ns() + 200 * CLOCK_NS_PER_MS);
}

ATTACK(ring_loop, "ring-loop")
{
	if (!ring_up())
		return;
	desc[0] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT, 1};
	desc[1] = (struct d0_vring_desc){8192, 16, D0_VRING_DESC_NEXT, 0};
	offer(0, 1);
}

ATTACK(ring_overrun, "ring-overrun")
{
	if (!ring_up())
		return;
	offer(0, NUM + 100);
}

ATTACK(ring_outside, "ring-outside")
{
	if (!ring_up())
		return;
	desc[0] = (struct d0_vring_desc){~0ull - 100, 4096, D0_VRING_DESC_WRITE, 0};
	offer(0, 1);
}

ATTACK(ring_head, "ring-head")
{
	if (!ring_up())
		return;
	offer(0xffff, 1);
}

/* Changes everything all the time, while the server reads. */
ATTACK(ring_race, "ring-race")
{
	uint64_t end, x = 88172645463325252ull;
	size_t size;
	uint8_t *ring = cell_channel_ring(0, &size);

	if (!ring_up())
		return;
	for (end = clock_ns() + 2 * CLOCK_NS_PER_S; clock_ns() < end;) {
		for (int i = 0; i < 200; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(ring + x % (size - 8), &x, 8);
		}
		cell_notify(0);
	}
}
