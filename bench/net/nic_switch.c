/* SPDX-License-Identifier: ISC */
/*
 * What the nic cell's switch costs, in one thread, without cards or other cells: cycles for a
 * frame from port to port (as many others beside it), from a port to a card that takes
 * everything, from a card to a port, and for a byte of a 64 KiB segment and of bulk data from a
 * card, merged and not. Prints "NAME NUMBER" lines; memcpy's cost of the same bytes last.
 */
#include <string.h>
#include <x86intrin.h>
#include "cells/nic/switch/switch.h"
#include "tests/unit/nic_env.h"

#define BATCH 32u
#define PORTS 200u

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb};
static const uint8_t mac_out[6] = {2, 0, 0, 0, 0, 0xee};
static struct nic nic;
static struct env_port a, b, other[PORTS];
static uint8_t buf[70000], got[70000];

/* ---- a card that takes everything ---- */

static int attach(struct netdev *nd)
{
	nd->link_up = true;
	nd->mtu_max = 9000;
	return 0;
}

static unsigned room(struct netdev *nd, unsigned q)
{
	return 64;
}

static void tx(struct netdev *nd, unsigned q, struct net_txbuf *t)
{
	netdev_tx_done(nd, t);
}

static unsigned no_frames(struct netdev *nd, unsigned q, unsigned budget)
{
	return 0;
}

static struct net_driver driver; /* the tests', but for what is here */

static struct netdev card = {.driver = &driver,
			     .name = "none",
			     .mac = {2, 0, 0, 0, 0, 1},
			     .mtu = 1500,
			     .rxqs = 1,
			     .txqs = 1,
			     .link_up = true,
			     .features = NETDEV_F_TX_CSUM | NETDEV_F_TSO4 | NETDEV_F_NO_DMA};

/* ---- the work ---- */

static uint32_t frame(const uint8_t *to, uint32_t payload, bool partial)
{
	struct env_l4 l =
	    env_flow(to, mac_a, 1000, 2000, partial ? IPPROTO_N_TCP : IPPROTO_N_UDP);

	l.tcp_flags = 0x18;
	return env_build(buf, &l, payload, partial);
}

/* Cycles of the switch for each of n frames; sending and taking them is not counted. */
static double pass(uint32_t len, const struct d0_vnet_hdr *h, unsigned batch, unsigned n,
		   bool taken)
{
	uint64_t spent = 0, t;
	unsigned done = 0;

	while (done < n) {
		for (unsigned i = 0; i < batch; i++)
			if (!env_port_send(&a, 0, h, buf, len))
				exit(1);
		t = __rdtsc();
		nic_run(&nic, done);
		spent += __rdtsc() - t;
		for (unsigned i = 0; taken && i < batch; i++)
			if (env_port_recv(&b, 0, NULL, got, sizeof(got)) != len)
				exit(2);
		vnet_port_kick(&b.drv);
		done += batch;
	}
	return (double)spent / n;
}

static double from_card(uint32_t len, unsigned n)
{
	uint64_t spent = 0, t;

	if (!card.rx)
		exit(2); /* no switch behind it */
	for (unsigned done = 0; done < n; done += BATCH) {
		t = __rdtsc();
		for (unsigned i = 0; i < BATCH; i++) {
			struct net_frag g = {.data = buf, .len = len};
			struct net_frame f = {.frag = &g, .nfrag = 1, .max = 1, .len = len};

			netdev_rx(&card, &f);
		}
		nic_run(&nic, done);
		spent += __rdtsc() - t;
		for (unsigned i = 0; i < BATCH; i++)
			if (env_port_recv(&b, 0, NULL, got, sizeof(got)) != len)
				exit(3);
		vnet_port_kick(&b.drv);
	}
	return (double)spent / n;
}

/* Sets DF: identifications are all the same. */
static uint32_t unfragmented(uint8_t *frame, uint32_t len)
{
	frame[20] = 0x40;
	put_be16(frame + 24, 0);
	put_be16(frame + 24, (uint16_t)~net_sum_fold(net_sum(frame + 14, 20, 0, false)));
	return len;
}

/* A byte of a TCP stream in frames of the MTU; joined: as run_uplink() does it. */
static double stream_byte(bool joined, unsigned n)
{
	static uint8_t wire[BATCH][1514];
	struct env_l4 l = env_flow(mac_b, mac_out, 1000, 2000, IPPROTO_N_TCP);
	uint64_t spent = 0, bytes = 0, t;
	uint32_t len = 0, got_len;

	l.tcp_flags = 0x10;
	for (unsigned i = 0; i < BATCH; i++, l.seq += 1460)
		len = unfragmented(wire[i], env_build(wire[i], &l, 1460, false));
	for (unsigned done = 0; done < n; done += BATCH) {
		t = __rdtsc();
		if (joined)
			merge_begin(&nic);
		for (unsigned i = 0; i < BATCH; i++) {
			struct net_frag g = {.data = wire[i], .len = len};
			struct net_frame f = {
			    .frag = &g, .nfrag = 1, .max = 1, .len = len, .csum_ok = 1};

			netdev_rx(&card, &f);
		}
		merge_end(&nic);
		nic_run(&nic, done);
		spent += __rdtsc() - t;
		while ((got_len = env_port_recv(&b, 0, NULL, got, sizeof(got))))
			bytes += got_len;
		vnet_port_kick(&b.drv);
	}
	if (bytes < (uint64_t)n * 1400)
		exit(4);
	return (double)spent / (double)bytes;
}

int main(void)
{
	static const struct d0_vnet_hdr tso = {.flags = D0_VNET_HDR_NEEDS_CSUM,
					       .gso_type = D0_VNET_GSO_TCPV4,
					       .gso_size = 1448,
					       .csum_start = 34,
					       .csum_offset = 16};
	uint32_t small, big;
	uint64_t t;

	driver = env_driver;
	driver.attach = attach;
	driver.tx_room = room;
	driver.tx = tx;
	driver.rx_poll = no_frames;
	driver.set_filter = driver.disarm; /* nothing */
	env_nic_new(&nic);
	nic_uplink_add(&nic, &card);
	env_port_new(&nic, &a, 1, 1 << 20, "mac=02:00:00:00:00:0a ip=10.0.0.1",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, 1 << 20, "mac=02:00:00:00:00:0b ip=10.0.0.2",
		     ENV_ALL_FEATURES, 1);
	small = frame(mac_b, 22, false);
	pass(small, NULL, BATCH, 20000, true);
	printf("port_to_port %.0f\n", pass(small, NULL, BATCH, 200000, true));
	printf("card_to_port %.0f\n", from_card(small, 200000));
	printf("stream_single %.3f\n", stream_byte(false, 200000));
	printf("stream_merged %.3f\n", stream_byte(true, 200000));
	small = frame(mac_out, 22, false);
	printf("port_to_card %.0f\n", pass(small, NULL, BATCH, 200000, false));
	big = frame(mac_b, 60000, true);
	printf("segment_byte %.3f\n", pass(big, &tso, 1, 20000, true) / big);
	t = __rdtsc();
	for (unsigned i = 0; i < 20000; i++) {
		memcpy(got, buf, big);
		__asm__ volatile("" ::: "memory");
	}
	printf("memcpy_byte %.3f\n", (double)(__rdtsc() - t) / 20000 / big);
	for (unsigned i = 0; i < PORTS; i++) {
		char args[64];

		snprintf(args, sizeof(args), "mac=02:00:00:00:01:%02x ip=10.0.1.%u", i, i + 1);
		env_port_new(&nic, &other[i], 3 + i, 128 << 10, args, ENV_ALL_FEATURES, 1);
	}
	small = frame(mac_b, 22, false);
	printf("port_to_port_200 %.0f\n", pass(small, NULL, BATCH, 200000, true));
	return 0;
}
