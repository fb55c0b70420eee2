/* SPDX-License-Identifier: ISC */
/* The switch between real driver sides and a recording card. */
#include "tests/unit/nic_env.h"

#include <cmocka.h>

#define SIZE (1u << 20)

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb};
static const uint8_t mac_out[6] = {2, 0, 0, 0, 0, 0xee};
static struct nic nic;
static struct env_card card;
static struct env_port a, b;
static uint8_t buf[70000], got[70000];

static const uint32_t plain_card = 0;
static const uint32_t full_card =
    NETDEV_F_TX_CSUM | NETDEV_F_TX_IP6_CSUM | NETDEV_F_TSO4 | NETDEV_F_TSO6 | NETDEV_F_USO;

static void world(uint32_t features, const char *args_a, const char *args_b)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, features, 1);
	env_port_new(&nic, &a, 1, SIZE, args_a, ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, SIZE, args_b, ENV_ALL_FEATURES, 1);
	assert_true(vnet_port_live(&a.drv));
	assert_true(vnet_port_live(&b.drv));
}

static void end(void)
{
	env_card_complete(&card);
	env_card_clear(&card);
	env_port_free(&a);
	env_port_free(&b);
	assert_int_equal(nic.free_count, NIC_TXBUFS); /* nothing leaked */
	nic_fini(&nic);
}

#define ARGS_A "mac=02:00:00:00:00:0a ip=10.0.0.1,fd00::1"
#define ARGS_B "mac=02:00:00:00:00:0b ip=10.0.0.2,fd00::2"

static struct env_l4 flow(const uint8_t *to)
{
	return (struct env_l4){.dmac = to,
			       .smac = mac_a,
			       .sip = 0x0a000001,
			       .dip = 0x0a000002,
			       .sport = 1000,
			       .dport = 2000,
			       .proto = IPPROTO_N_TCP,
			       .tcp_flags = 0x18,
			       .seq = 0xfffffff0};
}

static struct d0_vnet_hdr tso(bool ip6, uint16_t mss)
{
	return (struct d0_vnet_hdr){.flags = D0_VNET_HDR_NEEDS_CSUM,
				    .gso_type = ip6 ? D0_VNET_GSO_TCPV6 : D0_VNET_GSO_TCPV4,
				    .gso_size = mss,
				    .csum_start = ip6 ? 54 : 34,
				    .csum_offset = 16};
}

static void sends_to_the_wire_without_a_copy(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 1400, false);

	assert_true(env_port_send(&a, 0, NULL, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 1);
	assert_int_equal(card.sent[0].len, len);
	assert_memory_equal(card.sent[0].data, buf, len);
	assert_true(card.sent[0].zero_copy);
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	end();
}

static void receives_from_the_wire(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	for (uint32_t piece = 300; piece < 3000; piece += 700) {
		struct env_l4 l = flow(mac_b);
		struct d0_vnet_hdr h;

		l.smac = mac_out;
		uint32_t len = env_build(buf, &l, 1460, false);
		struct net_frame meta = {.csum_ok = 1};

		env_card_rx(&card, buf, len, piece, &meta);
		env_run(&nic);
		assert_int_equal(env_port_recv(&b, 0, &h, got, sizeof(got)), len);
		assert_memory_equal(buf, got, len);
		assert_int_equal(h.flags, D0_VNET_HDR_DATA_VALID);
		assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), 0);
	}
	end();
}

static void floods_broadcasts(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	uint32_t len = env_build_arp(buf, mac_a, 0x0a000001, 0x0a000002);

	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 1);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), 0);
	len = env_build_arp(buf, mac_out, 0x0a000009, 0x0a000002);
	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(card.count, 1);
	end();
}

static void passes_large_segments_whole_between_ports(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	for (int ip6 = 0; ip6 < 2; ip6++) {
		struct env_l4 l = flow(mac_b);
		struct d0_vnet_hdr h = tso(ip6, 1400), r;

		l.ip6 = (uint8_t)ip6;
		l.sip = ip6 ? 1 : l.sip;
		uint32_t len = env_build(buf, &l, 65000, true);

		assert_true(env_port_send(&a, 0, &h, buf, len));
		env_run(&nic);
		assert_int_equal(card.count, 0);
		assert_int_equal(env_port_recv(&b, 0, &r, got, sizeof(got)), len);
		assert_memory_equal(got, buf, len);
		assert_int_equal(r.gso_type, h.gso_type);
		assert_int_equal(r.gso_size, 1400);
		assert_int_equal(r.flags, D0_VNET_HDR_NEEDS_CSUM);
		assert_int_equal(r.csum_start, h.csum_start);
	}
	end();
}

static void check_segments(const struct env_l4 *l, uint32_t total, uint32_t mss)
{
	uint32_t hdr = l->ip6 ? 74 : 54, at = 0;

	for (unsigned i = 0; i < card.count; i++) {
		const uint8_t *d = card.sent[i].data;
		uint32_t n = card.sent[i].len - hdr;
		uint32_t l4 = hdr - 20;

		assert_true(env_sums_ok(d, card.sent[i].len));
		assert_int_equal(n, total - at < mss ? total - at : mss);
		assert_int_equal(get_be32(d + l4 + 4), (uint32_t)(l->seq + at));
		assert_memory_equal(d + hdr, buf + hdr + at, n);
		at += n;
		assert_int_equal(d[l4 + 13], at == total ? l->tcp_flags
					     : i == 0    ? l->tcp_flags & ~9
							 : l->tcp_flags & ~0x89);
		if (!l->ip6)
			assert_int_equal(get_be16(d + 18), (uint16_t)(0x1234 + i));
	}
	assert_int_equal(at, total);
}

static void cuts_large_segments_for_plain_cards(void **state)
{
	static const uint32_t sizes[] = {1401, 2800, 30000, 65000};

	world(plain_card, ARGS_A, ARGS_B);
	for (int ip6 = 0; ip6 < 2; ip6++)
		for (unsigned i = 0; i < 4; i++) {
			struct env_l4 l = flow(mac_out);
			struct d0_vnet_hdr h = tso(ip6, 1400);

			l.ip6 = (uint8_t)ip6;
			l.sip = ip6 ? 1 : l.sip;
			l.tcp_flags = 0x19; /* FIN, PSH, ACK */
			uint32_t len = env_build(buf, &l, sizes[i], true);

			assert_true(env_port_send(&a, 0, &h, buf, len));
			env_run(&nic);
			check_segments(&l, sizes[i], 1400);
			env_card_clear(&card);
		}
	end();
}

static void cutting_waits_for_a_full_card(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	struct d0_vnet_hdr h = tso(false, 1000);
	uint32_t len = env_build(buf, &l, 50000, true);

	card.hold = true;
	card.room = 7;
	assert_true(env_port_send(&a, 0, &h, buf, len));
	for (int i = 0; i < 20 && card.count < 50; i++) {
		env_run(&nic);
		assert_true(card.helds <= 7);
		assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 1);
		env_card_complete(&card);
	}
	env_run(&nic);
	check_segments(&l, 50000, 1000);
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	end();
}

static void leaves_work_to_cards_that_can(void **state)
{
	world(full_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	struct d0_vnet_hdr h = tso(false, 1400);
	uint32_t len = env_build(buf, &l, 60000, true);

	assert_true(env_port_send(&a, 0, &h, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 1);
	assert_int_equal(card.sent[0].f.gso, NET_GSO_TCP4);
	assert_int_equal(card.sent[0].f.csum_partial, 1);
	assert_memory_equal(card.sent[0].data, buf, len);
	assert_int_equal(card.sent[0].nfrag, 2);
	end();
}

static void cuts_udp(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	struct d0_vnet_hdr h = {.flags = D0_VNET_HDR_NEEDS_CSUM,
				.gso_type = D0_VNET_GSO_UDP_L4,
				.gso_size = 1000,
				.csum_start = 34,
				.csum_offset = 6};

	l.proto = IPPROTO_N_UDP;
	uint32_t len = env_build(buf, &l, 2500, true);

	assert_true(env_port_send(&a, 0, &h, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(env_sums_ok(card.sent[i].data, card.sent[i].len));
		assert_int_equal(get_be16(card.sent[i].data + 38), i < 2 ? 1008 : 508);
	}
	end();
}

static void sums_and_cuts_for_simple_drivers(void **state)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, plain_card, 1);
	env_port_new(&nic, &a, 1, SIZE, ARGS_A, ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, SIZE, ARGS_B, 0, 1);
	struct env_l4 l = flow(mac_b);
	struct d0_vnet_hdr h = tso(false, 1400), r;
	uint32_t len = env_build(buf, &l, 4000, true), n = 0;

	assert_true(env_port_send(&a, 0, &h, buf, len));
	env_run(&nic);
	while ((len = env_port_recv(&b, 0, &r, got, sizeof(got)))) {
		assert_true(env_sums_ok(got, len));
		assert_int_equal(r.gso_type, 0);
		assert_int_equal(r.flags & D0_VNET_HDR_NEEDS_CSUM, 0);
		n++;
	}
	assert_int_equal(n, 3);
	end();
}

static void tags_and_untags(void **state)
{
	world(full_card, ARGS_A " vlan=7 class=5", ARGS_B " vlan=8");
	struct env_l4 l = flow(mac_out);
	struct d0_vnet_hdr h = tso(false, 1400), r;
	uint32_t len = env_build(buf, &l, 5000, true);

	assert_true(env_port_send(&a, 0, &h, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 1);
	assert_int_equal(card.sent[0].len, len + 4);
	assert_int_equal(get_be16(card.sent[0].data + 12), ETHERTYPE_VLAN);
	assert_int_equal(get_be16(card.sent[0].data + 14), 5 << 13 | 7);
	assert_int_equal(card.sent[0].f.csum_start, 38);
	assert_memory_equal(card.sent[0].data + 16, buf + 12, len - 12);
	/* another VLAN's port hears nothing, broadcast or not */
	len = env_build_arp(buf, mac_a, 0x0a000001, 0x0a000002);
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	/* back in: with the tag to a, without it to nobody */
	l = flow(mac_a);
	l.smac = mac_out;
	len = env_build(buf, &l, 100, false);
	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), 0);
	uint8_t tagged[300];
	memcpy(tagged, buf, 12);
	put_be16(tagged + 12, ETHERTYPE_VLAN);
	put_be16(tagged + 14, 7);
	memcpy(tagged + 16, buf + 12, len - 12);
	env_card_rx(&card, tagged, len + 4, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, &r, got, sizeof(got)), len);
	assert_memory_equal(got, buf, len);
	end();
}

static void spoofers_and_rules_stop_frames(void **state)
{
	world(plain_card, ARGS_A, ARGS_B " rules=-in,tcp,dport=2000");
	struct env_l4 l = flow(mac_b);
	uint32_t len = env_build(buf, &l, 10, false);

	env_port_send(&a, 0, NULL, buf, len);
	l.smac = mac_b;
	len = env_build(buf, &l, 10, false);
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	assert_int_equal(card.count, 0);
	assert_int_equal(a.dev->stats.spoofed, 1);
	assert_int_equal(b.dev->stats.denied, 1);
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	end();
}

static void modes_separate_ports(void **state)
{
	struct env_l4 l = flow(mac_b);
	uint32_t len;

	world(plain_card, ARGS_A " mode=macvlan-private", ARGS_B " mode=macvlan");
	len = env_build(buf, &l, 10, false);
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	assert_int_equal(card.count, 0);
	end();
	world(plain_card, ARGS_A " mode=macvlan-vepa", ARGS_B " mode=macvlan-vepa");
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	assert_int_equal(card.count, 1); /* by way of the wire */
	env_card_rx(&card, card.sent[0].data, card.sent[0].len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), len);
	end();
}

static void ipvlan_goes_by_address(void **state)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, plain_card, 1);
	env_port_new(&nic, &a, 1, SIZE, "mode=ipvlan ip=10.0.0.1", ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, SIZE, "mode=ipvlan ip=10.0.0.2", ENV_ALL_FEATURES, 1);
	assert_memory_equal(a.drv.mac, card.nd.mac, 6);
	assert_memory_equal(b.drv.mac, card.nd.mac, 6);
	struct env_l4 l = flow(card.nd.mac);

	l.smac = card.nd.mac;
	uint32_t len = env_build(buf, &l, 10, false);
	env_port_send(&a, 0, NULL, buf, len); /* 10.0.0.1 -> 10.0.0.2 */
	env_run(&nic);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), len);
	l.smac = mac_out;
	l.sip = 0x0a000009;
	l.dip = 0x0a000001;
	len = env_build(buf, &l, 10, false);
	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	end();
}

static void learns_only_from_free_ports(void **state)
{
	static const uint8_t inner[6] = {2, 0, 0, 0, 0, 0x77};
	struct env_l4 l = flow(mac_out);

	world(plain_card, ARGS_A, "mac=02:00:00:00:00:0b spoof=off");
	l.smac = inner;
	uint32_t len = env_build(buf, &l, 10, false);
	env_port_send(&b, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 1);
	l = flow(inner);
	len = env_build(buf, &l, 10, false);
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 1); /* not to the wire */
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), len);
	/* it cannot take a's address */
	l.smac = mac_a;
	l.dmac = mac_out;
	len = env_build(buf, &l, 10, false);
	env_port_send(&b, 0, NULL, buf, len);
	env_run(&nic);
	l = flow(mac_a);
	l.smac = mac_out;
	len = env_build(buf, &l, 10, false);
	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), len);
	end();
}

static void rate_limit_waits_without_loss(void **state)
{
	world(plain_card, ARGS_A " rate=8000000", ARGS_B); /* 1 MB/s */
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 1400, false);
	uint64_t t = 1ull << 40;
	unsigned sent = 0;

	while (env_port_send(&a, 0, NULL, buf, len))
		sent++;
	assert_true(sent > 100);
	nic_run(&nic, t);
	nic_run(&nic, t + 1000);
	unsigned burst = card.count;
	assert_in_range(burst, 40, 60); /* one full segment's worth */
	assert_true(nic.wake_ns > t && nic.wake_ns < t + 10000000);
	for (uint64_t dt = 1000000; dt <= 100000000; dt += 1000000)
		nic_run(&nic, t + dt);
	assert_in_range(card.count - burst, 60, 75); /* 100 KB in 100 ms */
	for (uint64_t dt = 100000000; card.count < sent && dt < 5000000000ull; dt += 1000000)
		nic_run(&nic, t + dt);
	assert_int_equal(card.count, sent);
	end();
}

static void higher_class_goes_first(void **state)
{
	world(plain_card, ARGS_A, ARGS_B " class=6");
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 100, false);
	unsigned of_b = 0;

	card.hold = true;
	card.room = 20;
	for (int i = 0; i < 30; i++)
		env_port_send(&a, 0, NULL, buf, len);
	l.smac = mac_b;
	l.sip = 0x0a000002;
	len = env_build(buf, &l, 100, false);
	for (int i = 0; i < 15; i++)
		env_port_send(&b, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 20);
	for (unsigned i = 0; i < card.count; i++)
		of_b += mac_equal(card.sent[i].data + 6, mac_b);
	assert_int_equal(of_b, 15);
	while (card.helds) {
		env_card_complete(&card);
		env_run(&nic);
	}
	assert_int_equal(card.count, 45);
	end();
}

static void spreads_flows_over_queues(void **state)
{
	unsigned per_queue[4] = {0}, per_pair[4] = {0};

	env_nic_new(&nic);
	env_card_add(&nic, &card, plain_card, 4);
	env_port_new(&nic, &a, 1, 4 * SIZE, ARGS_A " queues=4", ENV_ALL_FEATURES, 4);
	env_port_new(&nic, &b, 2, 4 * SIZE, ARGS_B " queues=4", ENV_ALL_FEATURES, 4);
	assert_int_equal(a.drv.pairs, 4);
	for (unsigned i = 0; i < 200; i++) {
		struct env_l4 l = flow(i & 1 ? mac_out : mac_b);

		l.sport = (uint16_t)(1000 + i);
		uint32_t len = env_build(buf, &l, 10, false);
		assert_true(env_port_send(&a, i % 4, NULL, buf, len));
		env_run(&nic);
		for (unsigned q = 0; q < 4; q++)
			per_pair[q] += env_port_recv(&b, q, NULL, got, sizeof(got)) > 0;
	}
	for (unsigned i = 0; i < card.count; i++)
		per_queue[card.sent[i].queue]++;
	for (unsigned q = 0; q < 4; q++) {
		assert_in_range(per_queue[q], 10, 50);
		assert_in_range(per_pair[q], 10, 50);
	}
	end();
}

static void either_side_restarts(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 1000, false);

	/* frames are at the card while the driver side starts anew */
	card.hold = true;
	for (int i = 0; i < 10; i++)
		env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 10);
	struct vnet_port_cfg cfg = a.drv.cfg;
	assert_int_equal(vnet_port_open(&a.drv, &cfg), 0);
	for (int i = 0; i < 3; i++) {
		env_run(&nic);
		vnet_port_poll(&a.drv);
	}
	assert_true(vnet_port_live(&a.drv));
	env_card_complete(&card);
	env_run(&nic);
	card.hold = false;
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	assert_true(env_port_send(&a, 0, NULL, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 11);
	env_card_clear(&card);

	/* the nic starts anew over the same regions, at first without having noticed us */
	void (*bell)(void *) = a.dev->bell;

	nic_port_remove(&nic, 1);
	nic_port_remove(&nic, 2);
	nic_fini(&nic);
	env_nic_new(&nic);
	nic.epoch += 77;
	env_card_add(&nic, &card, plain_card, 1);
	env_port_send(&a, 0, NULL, buf, len); /* lost */
	a.dev = nic_port_add(&nic, 1, a.ring, SIZE, (uintptr_t)a.ring, ARGS_A, bell, &a);
	env_run(&nic);
	assert_true(vnet_port_arm(&a.drv, false));
	assert_int_equal(vnet_port_poll(&a.drv), VNET_EV_DOWN);
	env_run(&nic);
	assert_true(vnet_port_poll(&a.drv) & VNET_EV_UP);
	assert_true(env_port_send(&a, 0, NULL, buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 1);
	l = flow(mac_a);
	l.smac = mac_out;
	len = env_build(buf, &l, 10, false);
	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), len);
	end();
}

static void completions_are_asked_for_when_awaited(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 100, false);

	card.hold = true;
	for (int i = 0; i < 3; i++)
		env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.helds, 3);
	nic_arm(&nic);
	assert_false(card.want_tx);
	/* It says once that it waits. */
	unsigned bells = a.drv_bells;

	assert_false(vnet_port_arm(&a.drv, true));
	assert_int_equal(a.drv_bells, bells + 1);
	assert_false(vnet_port_arm(&a.drv, true));
	assert_int_equal(a.drv_bells, bells + 1);
	env_run(&nic);
	nic_arm(&nic);
	assert_true(card.want_tx);
	/* And is told when they are back, with which the wish is granted. */
	bells = a.dev_bells;
	env_card_complete(&card);
	env_run(&nic);
	assert_int_equal(a.dev_bells, bells + 1);
	nic_arm(&nic);
	assert_false(card.want_tx);
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	/* A port's end waits for its frames. */
	env_port_send(&a, 0, NULL, buf, len);
	env_run(&nic);
	nic_arm(&nic);
	assert_false(card.want_tx);
	nic_port_remove(&nic, 1);
	nic_arm(&nic);
	assert_true(card.want_tx);
	env_card_complete(&card);
	nic_arm(&nic);
	assert_false(card.want_tx);
	end();
}

/* Interrupts wait for what the one port that receives can take. */
static void holds_for_one_port(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_a);
	bool again = true;

	l.smac = mac_out;
	uint32_t len = env_build(buf, &l, 100, false);

	assert_false(nic_hold(&nic, &again)); /* nobody has received */
	assert_false(again);
	env_card_rx(&card, buf, len, len, NULL);
	assert_true(nic_hold(&nic, &again));
	assert_int_equal(card.pages, vnet_device_room(a.dev) / 4096);
	assert_int_equal(card.pages, (a.drv.layout.qsize - 1) * a.drv.cfg.rx_buf / 4096);
	/* Somebody else, too: each frame is told of. */
	l.dmac = mac_b;
	l.dip = 0x0a000002;
	len = env_build(buf, &l, 100, false);
	env_card_rx(&card, buf, len, len, NULL);
	assert_false(nic_hold(&nic, &again));
	nic_forget(&nic);
	env_card_rx(&card, buf, len, len, NULL);
	assert_true(nic_hold(&nic, &again));
	nic_port_remove(&nic, 2);
	assert_false(nic_hold(&nic, &again));
	end();
}

static void removal_waits_for_frames_in_flight(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	struct d0_vnet_hdr h = tso(false, 1000);
	uint32_t len = env_build(buf, &l, 50000, true);

	card.hold = true;
	card.room = 5;
	env_port_send(&a, 0, &h, buf, len);
	env_run(&nic);
	assert_int_equal(card.helds, 5);
	nic_port_remove(&nic, 1);
	env_run(&nic);
	env_card_complete(&card);
	env_run(&nic);
	assert_int_equal(card.count, 5);
	end();
}

static void link_and_mtu_reach_the_driver(void **state)
{
	world(plain_card, ARGS_A, ARGS_B " mtu=1400");
	assert_int_equal(a.drv.mtu, 1500);
	assert_int_equal(b.drv.mtu, 1400);
	assert_true(a.drv.link_up);
	card.nd.link_up = false;
	nic_uplink_changed(&nic, &card.nd);
	env_run(&nic);
	assert_int_equal(vnet_port_poll(&a.drv), VNET_EV_CONFIG);
	assert_false(a.drv.link_up);
	card.nd.link_up = true;
	nic_uplink_changed(&nic, &card.nd);
	env_run(&nic);
	vnet_port_poll(&a.drv);
	assert_true(a.drv.link_up);
	/* longer than the MTU */
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 1450, false);

	l.smac = mac_b;
	l.sip = 0x0a000002;
	len = env_build(buf, &l, 1450, false);
	env_port_send(&b, 0, NULL, buf, len);
	env_run(&nic);
	assert_int_equal(card.count, 0);
	assert_int_equal(b.dev->stats.bad_frames, 1);
	end();
}

static void filter_follows_the_ports(void **state)
{
	static const uint8_t group[2][6] = {{1, 0, 0x5e, 0, 0, 1}, {0x33, 0x33, 0, 0, 0, 1}};

	world(plain_card, ARGS_A, ARGS_B);
	assert_int_equal(card.nd.filter.ucs, 2);
	assert_true(card.nd.filter.allmulti);
	vnet_port_rx_mode(&a.drv, 0, group, 2);
	vnet_port_rx_mode(&b.drv, 0, NULL, 0);
	vnet_port_kick(&a.drv);
	vnet_port_kick(&b.drv);
	env_run(&nic);
	assert_false(card.nd.filter.allmulti);
	assert_int_equal(card.nd.filter.mcs, 2);
	memset(buf, 0, 100);
	memcpy(buf, group[1], 6);
	memcpy(buf + 6, mac_out, 6);
	env_card_rx(&card, buf, 60, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&a, 0, NULL, got, sizeof(got)), 60);
	assert_int_equal(env_port_recv(&b, 0, NULL, got, sizeof(got)), 0);
	end();
}

/* A cell that asks for other groups in every pass must not keep the card busy with that. */
static void filters_are_not_set_all_the_time(void **state)
{
	uint8_t group[1][6] = {{1, 0, 0x5e, 0, 0, 1}};
	uint64_t t = 1ull << 40;
	unsigned before;

	world(plain_card, ARGS_A, ARGS_B);
	nic_run(&nic, t);
	before = card.filters;
	for (unsigned i = 0; i < 100; i++) {
		group[0][5] = (uint8_t)i;
		vnet_port_rx_mode(&a.drv, 0, group, 1);
		vnet_port_kick(&a.drv);
		nic_run(&nic, t += 100000);
		assert_true(!nic.filter_stale || nic.wake_ns <= t + 10000000);
	}
	assert_in_range(card.filters - before, 1, 2);
	nic_run(&nic, t + 10000000);
	assert_false(nic.filter_stale);
	assert_int_equal(card.nd.filter.mc[0][5], 99);
	end();
}

static void refuses_bad_offloads(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 5000, true);
	struct d0_vnet_hdr h[6];

	for (int i = 0; i < 6; i++)
		h[i] = tso(false, 1400);
	h[0].gso_size = 1;
	h[1].csum_start = 60000;
	h[2].csum_offset = 17;
	h[3].gso_type = D0_VNET_GSO_TCPV6;
	h[4].gso_type = 77;
	h[5].flags = 0;
	for (int i = 0; i < 6; i++)
		assert_true(env_port_send(&a, 0, &h[i], buf, len));
	env_run(&nic);
	assert_int_equal(card.count, 0);
	assert_int_equal(a.dev->stats.bad_frames, 6);
	assert_int_equal(vnet_port_tx_pending(&a.drv, 0), 0);
	end();
}

/* A driver side that scribbles over its whole region, while another port works. */
static void hostile_port_harms_only_itself(void **state)
{
	world(plain_card, ARGS_A, ARGS_B);
	struct env_l4 l = flow(mac_out);
	uint32_t len = env_build(buf, &l, 500, false), seed = 1, sent = 0;

	l.smac = mac_b;
	l.sip = 0x0a000002;
	uint32_t len_b = env_build(got, &l, 500, false);
	for (int round = 0; round < 3000; round++) {
		for (int i = 0; i < 4; i++) {
			uint32_t span = round % 3 ? a.dev->layout.buffers : 1 << 20;

			seed = seed * 1664525 + 1013904223;
			uint32_t at = (seed >> 8) % span;
			a.ring[at] ^= (uint8_t)(1u << (seed & 7));
		}
		env_port_send(&a, 0, NULL, buf, len);
		nic_port_event(&nic, 1);
		env_card_rx(&card, buf, len, 2000, NULL);
		env_run(&nic);
		if (round % 16 == 0) {
			struct vnet_port_cfg cfg = a.drv.cfg;

			vnet_port_open(&a.drv, &cfg);
		}
		vnet_port_poll(&a.drv);
		env_port_recv(&a, 0, NULL, buf + 40000, 30000);
		env_card_clear(&card);
		assert_true(env_port_send(&b, 0, NULL, got, len_b));
		env_run(&nic);
		assert_int_equal(card.count, 1);
		sent++;
		env_card_clear(&card);
	}
	assert_int_equal(b.dev->stats.tx_packets, sent);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sends_to_the_wire_without_a_copy),
	    cmocka_unit_test(receives_from_the_wire),
	    cmocka_unit_test(floods_broadcasts),
	    cmocka_unit_test(passes_large_segments_whole_between_ports),
	    cmocka_unit_test(cuts_large_segments_for_plain_cards),
	    cmocka_unit_test(cutting_waits_for_a_full_card),
	    cmocka_unit_test(leaves_work_to_cards_that_can),
	    cmocka_unit_test(cuts_udp),
	    cmocka_unit_test(sums_and_cuts_for_simple_drivers),
	    cmocka_unit_test(tags_and_untags),
	    cmocka_unit_test(spoofers_and_rules_stop_frames),
	    cmocka_unit_test(modes_separate_ports),
	    cmocka_unit_test(ipvlan_goes_by_address),
	    cmocka_unit_test(learns_only_from_free_ports),
	    cmocka_unit_test(rate_limit_waits_without_loss),
	    cmocka_unit_test(higher_class_goes_first),
	    cmocka_unit_test(spreads_flows_over_queues),
	    cmocka_unit_test(either_side_restarts),
	    cmocka_unit_test(completions_are_asked_for_when_awaited),
	    cmocka_unit_test(holds_for_one_port),
	    cmocka_unit_test(removal_waits_for_frames_in_flight),
	    cmocka_unit_test(link_and_mtu_reach_the_driver),
	    cmocka_unit_test(filter_follows_the_ports),
	    cmocka_unit_test(filters_are_not_set_all_the_time),
	    cmocka_unit_test(refuses_bad_offloads),
	    cmocka_unit_test(hostile_port_harms_only_itself),
	};

	return cmocka_run_group_tests_name("nic_switch", tests, NULL, NULL);
}
