/* SPDX-License-Identifier: ISC */
/*
 * A peer that writes whatever it likes into a virtqueue and a stream: the input is what
 * the shared memory holds, then a script of calls and of further writes.
 */
#include <stdlib.h>
#include <string.h>
#include "libcell/stream.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define NUM   8
#define SIZE  8192
#define CHAIN 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void device_calls(struct virtq_dev *q, uint8_t op)
{
	struct virtq_seg seg[CHAIN];
	struct virtq_chain c = {.seg = seg, .seg_max = CHAIN};
	uint8_t buf[256];

	switch (op % 4) {
	case 0:
		if (virtq_dev_next(q, &c) != 1)
			return;
		virtq_chain_read(&c, op, buf, sizeof(buf));
		virtq_chain_write(&c, op, buf, sizeof(buf));
		virtq_dev_put(q, c.head, c.in_bytes);
		break;
	case 1:
		virtq_dev_push(q);
		break;
	case 2:
		virtq_dev_events_on(q);
		break;
	default:
		if (virtq_dev_pending(q) > NUM)
			abort();
	}
}

static void driver_calls(struct virtq_drv *q, uint8_t op)
{
	struct virtq_buf out = {4096, op}, in[2] = {{5000, 10}, {6000, 20}};
	uint32_t len = 0;

	switch (op % 4) {
	case 0:
		virtq_drv_add(q, &out, 1, in, op / 4 % 3, q);
		break;
	case 1:
		virtq_drv_push(q);
		break;
	case 2:
		if (virtq_drv_pop(q, &len) && len > 30)
			abort();
		break;
	default:
		virtq_drv_events_on(q);
	}
	if (virtq_drv_free(q) > NUM)
		abort();
}

static void stream_calls(struct stream *s, uint8_t op)
{
	uint8_t buf[100];
	bool notify = false;

	stream_peer_restarted(s);
	if (op & 1)
		stream_read(s, buf, sizeof(buf), &notify);
	else
		stream_write(s, buf, op % sizeof(buf), &notify);
	stream_wait_read(s);
	stream_wait_write(s);
}

/* The memory is allocated to size, so that one byte outside is seen. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtq_slot slots[NUM];
	uint8_t *mem = aligned_alloc(64, SIZE), *other = aligned_alloc(64, SIZE);
	uint8_t *ring = aligned_alloc(64, d0_vring_bytes(NUM) * 2);
	struct virtq_window window = {mem, 0, SIZE};
	struct virtq_dev dev;
	struct virtq_drv drv;
	struct stream s;

	memset(mem, 0, SIZE);
	memset(other, 0, SIZE);
	memset(ring, 0, d0_vring_bytes(NUM) * 2);
	virtq_drv_init(&drv, ring, NUM, D0_VRING_F_EVENT_IDX, slots);
	virtq_dev_init(&dev, ring + d0_vring_bytes(NUM), NUM,
		       D0_VRING_F_INDIRECT | D0_VRING_F_EVENT_IDX, &window);
	if (stream_open(&s, other, SIZE, true))
		abort();
	for (size_t i = 0; i + 4 <= size; i += 4) {
		size_t at = data[i + 1] | (size_t)data[i + 2] << 8;

		switch (data[i] % 6) {
		case 0: /* the peer writes a byte of the rings */
			ring[at % (d0_vring_bytes(NUM) * 2)] = data[i + 3];
			break;
		case 1:
			mem[at % SIZE] = data[i + 3];
			break;
		case 2:
			other[at % D0_STREAM_HEAD] = data[i + 3];
			break;
		case 3:
			device_calls(&dev, data[i + 3]);
			break;
		case 4:
			driver_calls(&drv, data[i + 3]);
			break;
		default:
			stream_calls(&s, data[i + 3]);
		}
	}
	free(mem);
	free(other);
	free(ring);
	return 0;
}
