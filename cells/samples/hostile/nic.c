/* SPDX-License-Identifier: ISC */
/*
 * Attacks in the place of the nic cell: this cell is the device side of a transport cell's port
 * and breaks the rules of d0/vnet.h. Each attack ends with an honest device on the same ring
 * that asks for the transport cell's address: an answer shows that the cell lives and that its
 * port came back.
 */
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "d0/vnet.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "libcell/virtq.h"

#define SECONDS (2 * CLOCK_NS_PER_S)
#define FEATURES                                                                          \
	(D0_VNET_F_NEEDED | D0_VNET_F(CSUM) | D0_VNET_F(GUEST_CSUM) | D0_VNET_F(STATUS) | \
	 D0_VNET_F(MTU) | D0_VNET_F(GUEST_TSO4) | D0_VNET_F(HOST_TSO4))

static struct {
	uint8_t *ring;
	size_t size;
	volatile struct d0_vnet_dev *dev;
	volatile struct d0_vnet_drv *drv;
	struct d0_vnet_layout layout;
	struct virtq_dev rx, tx;
} port;

static uint64_t rng = 88172645463325252ull;

static uint64_t any(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void tell(void)
{
	cell_notify(0);
}

static void pause_ms(uint64_t ms)
{
	cell_wait(clock_ns() + ms * CLOCK_NS_PER_MS);
	cell_event_take(0);
	cell_flags_take(~0ull);
}

/* ---- the honest device ---- */

static void offer(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0xbb};

	port.dev->magic = 0;
	port.dev->version = D0_VNET_VERSION;
	port.dev->features = FEATURES;
	port.dev->ack = 0;
	port.dev->error = 0;
	port.dev->max_pairs = 1;
	port.dev->mode = D0_VNET_MODE_BRIDGE;
	for (int i = 0; i < 6; i++)
		port.dev->mac[i] = mac[i];
	port.dev->mtu = 1500;
	port.dev->status = D0_VNET_S_LINK_UP;
	port.dev->config_seq++;
	port.dev->epoch = (uint32_t)any() | 1;
	__atomic_store_n((uint32_t *)&port.dev->magic, D0_VNET_DEV_MAGIC, __ATOMIC_RELEASE);
	tell();
}

static bool attach(void)
{
	struct virtq_window w = {.base = port.ring, .addr = 0, .size = port.size};

	if (d0_vnet_layout(port.size, 1, &port.layout))
		return false;
	return !virtq_dev_init(&port.rx, port.ring + port.layout.queue[0].desc,
			       (uint16_t)port.layout.qsize, FEATURES, &w) &&
	       !virtq_dev_init(&port.tx, port.ring + port.layout.queue[1].desc,
			       (uint16_t)port.layout.qsize, FEATURES, &w);
}

/* Steps 2 and 4 of d0/vnet.h. */
static bool device_up(void)
{
	uint64_t end = clock_ns() + 10 * CLOCK_NS_PER_S;

	if (!port.ring) {
		port.ring = cell_channel_ring(0, &port.size);
		port.dev = (volatile struct d0_vnet_dev *)port.ring;
		port.drv = (volatile struct d0_vnet_drv *)(port.ring + D0_VNET_DRV_OFF);
	}
	if (!port.ring)
		return false;
	offer();
	while (clock_ns() < end) {
		uint32_t epoch = port.drv->epoch;

		if (epoch && port.drv->status == D0_VNET_RESET && port.dev->ack != epoch) {
			port.dev->error = 0;
			port.dev->ack = epoch;
			tell();
		}
		if (port.drv->status == D0_VNET_DRIVER_OK && port.dev->ack == epoch)
			return attach();
		pause_ms(1);
	}
	return false;
}

static bool deliver(const void *frame, uint32_t len, const struct d0_vnet_hdr *hdr)
{
	struct virtq_seg seg[4];
	struct virtq_chain c = {.seg = seg, .seg_max = 4};

	if (virtq_dev_next(&port.rx, &c) != 1)
		return false;
	virtq_chain_write(&c, 0, hdr, sizeof(*hdr));
	virtq_chain_write(&c, sizeof(*hdr), frame, len);
	virtq_dev_put(&port.rx, c.head, len + (uint32_t)sizeof(*hdr));
	virtq_dev_push(&port.rx);
	tell();
	return true;
}

static bool answered(void)
{
	struct virtq_seg seg[4];
	struct virtq_chain c = {.seg = seg, .seg_max = 4};
	uint8_t f[54];
	bool yes = false;

	while (virtq_dev_next(&port.tx, &c) == 1) {
		memset(f, 0, sizeof(f));
		virtq_chain_read(&c, 0, f, sizeof(f));
		yes |= f[24] == 8 && f[25] == 6 && f[33] == 2; /* an ARP reply */
		virtq_dev_put(&port.tx, c.head, 0);
	}
	virtq_dev_push(&port.tx);
	return yes;
}

static void still_there(void)
{
	static const uint8_t ask[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,  0,  0, 0, 0,
					1,    8,    6,    0,    1,    8,    0,  6,  4, 0, 1,
					2,    0,    0,    0,    0,    1,    10, 77, 0, 1, 0,
					0,    0,    0,    0,    0,    10,   77, 0,  2};
	struct d0_vnet_hdr h = {.num_buffers = 1};
	bool yes = false;

	if (!device_up()) {
		log_error("the port does not come back");
		return;
	}
	for (int i = 0; i < 100 && !yes; i++) {
		if (i % 20 == 0)
			deliver(ask, sizeof(ask), &h);
		pause_ms(10);
		yes = answered();
	}
	log_info("transport %s", yes ? "answers" : "is silent");
}

/* ---- what a nic cell must not do ---- */

static struct d0_vring_used *used_of(unsigned queue)
{
	return (struct d0_vring_used *)(port.ring + port.layout.queue[queue].used);
}

static void use(unsigned queue, uint32_t id, uint32_t len, uint16_t steps)
{
	struct d0_vring_used *u = used_of(queue);

	for (unsigned i = 0; i < port.layout.qsize; i++)
		u->ring[i] = (struct d0_vring_used_elem){id, len};
	__atomic_store_n(&u->idx, (uint16_t)(u->idx + steps), __ATOMIC_RELEASE);
	tell();
	pause_ms(20);
}

ATTACK(nic_indexes, "nic-indexes")
{
	static const uint16_t steps[] = {1, 2, 255, 257, 0x7fff, 0x8000, 0xffff};

	for (unsigned i = 0; i < 2 * sizeof(steps) / sizeof(steps[0]); i++) {
		if (!device_up())
			return;
		use(i & 1, i & 2 ? 0xffffffff : 0x10000, 100, steps[i / 2]);
	}
	still_there();
}

ATTACK(nic_lengths, "nic-lengths")
{
	static const uint32_t lens[] = {0, 1, 12, 13, 25, 2049, 65536, 0x7fffffff, 0xffffffff};
	uint8_t junk[60];
	struct d0_vnet_hdr h = {
	    .flags = 0xff, .gso_type = 0xff, .gso_size = 1, .num_buffers = 1};

	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		if (!device_up())
			return;
		use(0, 0, lens[i], 1);
		use(0, 0, lens[i], 3); /* and the same buffer again and again */
	}
	for (uint32_t n = 0; n < 65536; n += 4095) {
		if (!device_up())
			return;
		memset(junk, (int)n, sizeof(junk));
		h.num_buffers = (uint16_t)n;
		h.csum_start = (uint16_t)any();
		deliver(junk, sizeof(junk), &h);
		pause_ms(5);
	}
	still_there();
}

ATTACK(nic_epochs, "nic-epochs")
{
	if (!device_up())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		for (int i = 0; i < 100; i++) {
			switch (any() % 6) {
			case 0:
				port.dev->epoch = (uint32_t)any();
				break;
			case 1:
				port.dev->ack = any() & 1 ? port.drv->epoch : (uint32_t)any();
				break;
			case 2:
				port.dev->config_seq = (uint32_t)any();
				break;
			case 3:
				port.dev->features = any() & 1 ? any() : FEATURES;
				break;
			case 4:
				port.dev->error = any() & 3;
				break;
			case 5:
				port.dev->mtu = (uint16_t)any();
				port.dev->max_pairs = (uint16_t)any();
				break;
			}
		}
		tell();
		pause_ms(1);
	}
	still_there();
}

/* A frame that looks like something: headers of a kind, the rest chance. */
static uint32_t garbage(uint8_t *f)
{
	static const uint16_t kinds[] = {0x0800, 0x0800, 0x86dd, 0x0806, 0x8100, 0x1234};
	static const uint8_t mine[6] = {2, 0, 0, 0, 0, 0xbb};
	uint32_t len = 14 + (uint32_t)(any() % 1500);
	uint16_t kind = kinds[any() % 6];

	for (uint32_t i = 0; i + 8 <= 1520; i += 8) {
		uint64_t v = any();

		memcpy(f + i, &v, 8);
	}
	memcpy(f, mine, 6);
	if (any() & 1)
		memset(f, 0xff, 6);
	f[12] = (uint8_t)(kind >> 8);
	f[13] = (uint8_t)kind;
	if (kind == 0x0800) {
		static const uint8_t protos[] = {1, 2, 6, 6, 6, 17, 17, 255};
		uint32_t sum = 0;

		f[14] = any() % 8 ? 0x45 : (uint8_t)any();
		f[16] = (uint8_t)((len - 14) >> 8);
		f[17] = (uint8_t)(len - 14);
		f[20] = any() % 4 ? 0 : (uint8_t)any(); /* a fragment, now and then */
		f[21] = 0;
		f[23] = protos[any() % 8];
		memcpy(f + 30, (uint8_t[4]){10, 77, 0, 2}, 4);
		f[24] = f[25] = 0;
		for (int i = 14; i < 34; i += 2)
			sum += (uint32_t)f[i] << 8 | f[i + 1];
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~(sum + (sum >> 16));
		f[24] = (uint8_t)(sum >> 8);
		f[25] = (uint8_t)sum;
	}
	return len;
}

ATTACK(nic_garbage, "nic-garbage")
{
	static uint8_t f[1520];
	uint64_t sent = 0;

	if (!device_up())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		uint32_t len = garbage(f);
		struct d0_vnet_hdr h = {.flags = (uint8_t)(any() & 3),
					.gso_type = any() & 1 ? (uint8_t)(any() & 7) : 0,
					.gso_size = (uint16_t)any(),
					.hdr_len = (uint16_t)any(),
					.csum_start = (uint16_t)(any() & 0x7f),
					.csum_offset = (uint16_t)(any() & 0x3f),
					.num_buffers = 1};

		if (!deliver(f, len, &h)) {
			answered(); /* takes what it sends, so that its queue drains */
			pause_ms(1);
			if (port.rx.broken && !device_up())
				return;
			continue;
		}
		/* And the bytes change under the reader's eyes. */
		for (int i = 0; i < 20; i++)
			port.ring[port.layout.buffers +
				  any() % (port.size - port.layout.buffers)] = (uint8_t)any();
		sent++;
	}
	log_info("%lu frames of garbage", sent);
	still_there();
}

ATTACK(nic_scribble, "nic-scribble")
{
	if (!device_up())
		return;
	for (uint64_t end = clock_ns() + SECONDS; clock_ns() < end;) {
		for (int i = 0; i < 300; i++) {
			uint64_t v = any();
			size_t span = any() & 1 ? port.layout.buffers : port.size;

			memcpy(port.ring + any() % (span - 8), &v, 8);
		}
		tell();
		pause_ms(1);
	}
	still_there();
}
