/* SPDX-License-Identifier: ISC */
/*
 * Each driver against QEMU's model of its device, end to end: port, switch, driver, device,
 * wire, and back. See nic_qtest.h.
 */
#include "tests/unit/nic_env.h"
#include "tests/unit/nic_qtest.h"

#include <unistd.h>
#include <cmocka.h>

#define SIZE (1u << 20)
static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_out[6] = {2, 0, 0, 0, 0, 0xee};
static struct nic nic;
static struct netdev *nd;
static struct env_port a;
static uint8_t buf[70000], got[70000];
static struct net_init_cfg cfg;

#define ARGS_A "mac=02:00:00:00:00:0a ip=10.0.0.1,fd00::1"

static int begin(const char *model)
{
	const struct d0_device *devices[1] = {&qt_device};

	if (qt_start(model))
		return -1;
	env_nic_new(&nic);
	if (net_init(&nic, devices, 1, &cfg) != 1)
		return -1;
	nd = nic.uplink[0];
	env_ring_alloc = qt_ram;
	env_port_new(&nic, &a, 1, SIZE, ARGS_A, ENV_ALL_FEATURES, 1);
	/* Links come up after a while of virtual time. */
	for (int i = 0; i < 30 && !nd->link_up; i++) {
		nic_delay_us(100000);
		nd->driver->tick(nd);
	}
	if (!nd->link_up)
		return -1;
	nic_uplink_changed(&nic, nd);
	env_run(&nic);
	vnet_port_poll(&a.drv);
	return 0;
}

static int end(void **state)
{
	struct netdev *card = nd;

	net_init_stop(&nic);
	env_port_free(&a);
	if (nic.free_count != NIC_TXBUFS)
		return -1;
	nic_fini(&nic);
	free(card);
	qt_stop();
	return 0;
}

static int begin_virtio(void **state)
{
	return begin("virtio-net-pci,disable-legacy=on");
}

static int begin_transitional(void **state)
{
	return begin("virtio-net-pci,mrg_rxbuf=off,event_idx=off,vectors=0");
}

static int begin_e1000(void **state)
{
	return begin("e1000");
}

static int begin_e1000e(void **state)
{
	return begin("e1000e");
}

static int begin_vmxnet3(void **state)
{
	return begin("vmxnet3");
}

static int begin_jumbo(const char *model)
{
	cfg.mtu = 9000;
	int r = begin(model);

	cfg.mtu = 0;
	return r;
}

static int begin_jumbo_e1000(void **state)
{
	return begin_jumbo("e1000");
}

static int begin_jumbo_vmxnet3(void **state)
{
	return begin_jumbo("vmxnet3");
}

/* Runs the switch until a frame is on the wire. */
static uint32_t wire_recv(void)
{
	for (int i = 0; i < 300; i++) {
		env_run(&nic);
		uint32_t n = qt_wire_recv(got, sizeof(got), 5);

		if (n)
			return n;
	}
	return 0;
}

static uint32_t port_recv(struct d0_vnet_hdr *h)
{
	for (int i = 0; i < 1000; i++) {
		env_run(&nic);
		uint32_t n = env_port_recv(&a, 0, h, got, sizeof(got));

		if (n)
			return n;
		usleep(3000);
	}
	return 0;
}

static void wait_sent(void)
{
	for (int i = 0; i < 300 && nic.free_count < NIC_TXBUFS; i++) {
		env_run(&nic);
		usleep(2000);
	}
	assert_int_equal(nic.free_count, NIC_TXBUFS);
}

static struct env_l4 outward(bool ip6)
{
	return (struct env_l4){.dmac = mac_out,
			       .smac = mac_a,
			       .sip = ip6 ? 1 : 0x0a000001,
			       .dip = 0x0a000002,
			       .sport = 1000,
			       .dport = 2000,
			       .proto = IPPROTO_N_TCP,
			       .tcp_flags = 0x18,
			       .seq = 1000,
			       .ip6 = ip6};
}

static struct env_l4 inward(void)
{
	return (struct env_l4){.dmac = mac_a,
			       .smac = mac_out,
			       .sip = 0x0a000002,
			       .dip = 0x0a000001,
			       .sport = 2000,
			       .dport = 1000,
			       .proto = IPPROTO_N_TCP,
			       .tcp_flags = 0x10,
			       .seq = 7};
}

static void mac_is_read(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};

	assert_memory_equal(nd->mac, mac, 6);
	assert_true(a.drv.link_up);
}

static void sends_frames_of_all_sizes(void **state)
{
	for (uint32_t payload = 0; payload <= 1460; payload += 73) {
		struct env_l4 l = outward(payload & 1);
		uint32_t len =
		    env_build(buf, &l, l.ip6 && payload > 1440 ? 1440 : payload, false);

		assert_true(env_port_send(&a, 0, NULL, buf, len));
		uint32_t n = wire_recv();

		assert_true(n >= len && n <= (len < 60 ? 60 : len));
		assert_memory_equal(got, buf, len);
	}
	wait_sent();
}

static void sends_many_times_the_ring(void **state)
{
	unsigned sent = 0, seen = 0;

	while (seen < 1200) {
		struct env_l4 l = outward(false);

		l.seq = sent;
		uint32_t len = env_build(buf, &l, 100, false);

		if (sent < 1200 && sent - seen < 100 && env_port_send(&a, 0, NULL, buf, len)) {
			sent++;
			env_run(&nic);
			continue;
		}
		assert_true(wire_recv() > 0);
		assert_int_equal(get_be32(got + 38), seen);
		seen++;
	}
	wait_sent();
}

static void completes_sums(void **state)
{
	for (int i = 0; i < 8; i++) {
		struct env_l4 l = outward(i & 1);

		l.proto = i & 2 ? IPPROTO_N_UDP : IPPROTO_N_TCP;
		uint32_t len = env_build(buf, &l, 801, true);
		struct d0_vnet_hdr h = {.flags = D0_VNET_HDR_NEEDS_CSUM,
					.csum_start = l.ip6 ? 54 : 34,
					.csum_offset = i & 2 ? 6 : 16};

		assert_true(env_port_send(&a, 0, &h, buf, len));
		assert_int_equal(wire_recv(), len);
		assert_true(env_sums_ok(got, len));
		assert_memory_equal(got + 74, buf + 74, len - 74);
	}
	wait_sent();
}

/* Collects the segments of one large send and checks them. */
static void large(bool ip6, uint32_t total)
{
	struct env_l4 l = outward(ip6);
	uint32_t hdr = ip6 ? 74 : 54, at = 0;
	uint32_t len = env_build(buf, &l, total, true);
	struct d0_vnet_hdr h = {.flags = D0_VNET_HDR_NEEDS_CSUM,
				.gso_type = ip6 ? D0_VNET_GSO_TCPV6 : D0_VNET_GSO_TCPV4,
				.gso_size = 1400,
				.csum_start = (uint16_t)(hdr - 20),
				.csum_offset = 16};

	assert_true(env_port_send(&a, 0, &h, buf, len));
	while (at < total) {
		uint32_t n = wire_recv();

		assert_true(n > hdr);
		assert_true(env_sums_ok(got, n));
		assert_int_equal(get_be32(got + hdr - 16), 1000 + at);
		assert_memory_equal(got + hdr, buf + hdr + at, n - hdr);
		at += n - hdr;
	}
	assert_int_equal(at, total);
	wait_sent();
}

static void cuts_large_segments(void **state)
{
	large(false, 1401);
	large(false, 20000);
	large(false, 60000);
	large(true, 20000);
}

static void receives_frames_of_all_sizes(void **state)
{
	struct d0_vnet_hdr h;

	for (uint32_t payload = 6; payload <= 1460; payload += 97) {
		struct env_l4 l = inward();
		uint32_t len = env_build(buf, &l, payload, false);

		qt_wire_send(buf, len);
		assert_int_equal(port_recv(&h), len);
		assert_memory_equal(got, buf, len);
	}
}

static void receives_many_times_the_ring(void **state)
{
	struct env_l4 l = inward();

	for (uint32_t i = 0; i < 1000; i++) {
		l.seq = i;
		uint32_t len = env_build(buf, &l, 200, false);

		qt_wire_send(buf, len);
		if (i % 8 != 7)
			continue;
		for (uint32_t j = i - 7; j <= i; j++) {
			assert_int_equal(port_recv(NULL), len);
			assert_int_equal(get_be32(got + 38), j);
		}
	}
}

static void filters_addresses(void **state)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 0x99};
	static const uint8_t group[1][6] = {{1, 0, 0x5e, 1, 2, 3}};
	static const uint8_t groups_not[6] = {1, 0, 0x5e, 3, 2, 1};
	uint64_t before = nd->stats.rx_packets;
	struct env_l4 l = inward();

	vnet_port_rx_mode(&a.drv, 0, group, 1);
	vnet_port_kick(&a.drv);
	env_run(&nic);
	l.dmac = other;
	qt_wire_send(buf, env_build(buf, &l, 100, false));
	l.dmac = groups_not;
	qt_wire_send(buf, env_build(buf, &l, 100, false));
	l.dmac = group[0];
	uint32_t len = env_build(buf, &l, 100, false);
	qt_wire_send(buf, len);
	assert_int_equal(port_recv(NULL), len);
	assert_memory_equal(got, group[0], 6);
	qt_wire_send(buf, env_build_arp(buf, mac_out, 1, 2));
	assert_true(port_recv(NULL) >= 42);
	assert_true(mac_is_broadcast(got));
	/* The device itself held back what nobody wanted. */
	assert_int_equal(nd->stats.rx_packets - before, 2);
}

static void interrupts_when_armed(void **state)
{
	struct env_l4 l = inward();
	unsigned fired = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 10 && nic_arm(&nic); i++)
			env_run(&nic);
		for (unsigned v = 0; v < qt_device.irq_count; v++)
			qt_irq(v);
		qt_wire_send(buf, env_build(buf, &l, 100, false));
		fired = 0;
		for (int i = 0; i < 1000 && !fired; i++) {
			usleep(2000);
			nic_delay_us(1000); /* moderation timers run on virtual time */
			for (unsigned v = 0; v < qt_device.irq_count; v++)
				if (qt_irq(v)) {
					fired++;
					nic_uplink_irq(&nic, nd, v);
				}
		}
		assert_true(fired);
		assert_true(port_recv(NULL) > 0);
	}
}

static void link_goes_and_comes(void **state)
{
	qt_monitor("set_link nic off");
	for (int i = 0; i < 50 && nd->link_up; i++) {
		nic_delay_us(100000);
		nic_tick(&nic, 1);
	}
	assert_false(nd->link_up);
	env_run(&nic);
	vnet_port_poll(&a.drv);
	assert_false(a.drv.link_up);
	qt_monitor("set_link nic on");
	for (int i = 0; i < 50 && !nd->link_up; i++) {
		nic_delay_us(100000);
		nic_tick(&nic, 1);
	}
	assert_true(nd->link_up);
	sends_frames_of_all_sizes(state);
}

static void comes_back_after_a_failure(void **state)
{
	nd->failed = true;
	net_init_revive(&nic, 1);
	env_run(&nic);
	for (int i = 0; i < 30 && !nd->link_up; i++) {
		nic_delay_us(100000);
		nic_tick(&nic, 1);
	}
	assert_false(nd->failed);
	assert_int_equal(nd->restarts, 1);
	sends_frames_of_all_sizes(state);
	receives_frames_of_all_sizes(state);
}

static void passes_jumbo_frames(void **state)
{
	struct env_l4 l = outward(false);
	uint32_t len = env_build(buf, &l, 8900, false);

	assert_int_equal(a.drv.mtu, 9000);
	assert_true(env_port_send(&a, 0, NULL, buf, len));
	assert_int_equal(wire_recv(), len);
	assert_memory_equal(got, buf, len);
	l = inward();
	len = env_build(buf, &l, 8900, false);
	qt_wire_send(buf, len);
	assert_int_equal(port_recv(NULL), len);
	assert_memory_equal(got, buf, len);
}

#define EACH(test, model)                                         \
	{                                                         \
#model ": " #test, test, begin_##model, end, NULL \
	}
#define ALL(model)                                                                         \
	EACH(mac_is_read, model), EACH(sends_frames_of_all_sizes, model),                  \
	    EACH(sends_many_times_the_ring, model), EACH(completes_sums, model),           \
	    EACH(receives_frames_of_all_sizes, model),                                     \
	    EACH(receives_many_times_the_ring, model), EACH(interrupts_when_armed, model), \
	    EACH(link_goes_and_comes, model), EACH(comes_back_after_a_failure, model)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    ALL(virtio),
	    EACH(cuts_large_segments, virtio),
	    EACH(filters_addresses, virtio),
	    EACH(completes_sums, transitional),
	    EACH(receives_frames_of_all_sizes, transitional),
	    EACH(interrupts_when_armed, transitional),
	    ALL(e1000),
	    EACH(cuts_large_segments, e1000),
	    EACH(filters_addresses, e1000),
	    EACH(passes_jumbo_frames, jumbo_e1000),
	    ALL(e1000e),
	    EACH(cuts_large_segments, e1000e),
	    EACH(filters_addresses, e1000e),
	    ALL(vmxnet3),
	    EACH(cuts_large_segments, vmxnet3),
	    EACH(passes_jumbo_frames, jumbo_vmxnet3),
	};

	return cmocka_run_group_tests_name("nic_driver", tests, NULL, NULL);
}
