/* SPDX-License-Identifier: ISC */
/* A slice of a host's address (cells/transport/core/share.c): host 0 is a container with
 * 10.0.0.1 on its segment and ports of 192.0.2.15; host 1 is its neighbour 10.0.0.2, the
 * router 192.0.2.2 and a far host, 198.51.100.7. By IPv6 they are fd00::1, 2001:db8::15,
 * fd00::2, 2001:db8::2 and 2001:db8:7::7. */
#include "cells/transport/core/tp_conf.h"
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define S    1000000000ull
#define UP   9u
#define LO   1024
#define HI   1031
#define WIRE "\xc0\0\2\x0f"
#define FAR6 "2001:db8:7::7"

static const uint8_t up_mac[6] = {2, 0, 0, 0, 0, 0x99};
static const uint8_t wire6[16] = {0x20, 1, 0xd, 0xb8, [15] = 0x15};
static const uint8_t own6[16] = {0xfd, [15] = 1}, router6[16] = {0x20, 1, 0xd, 0xb8, [15] = 2};
static unsigned outside, wrong, hairpin, solicits;

static unsigned which(struct sim *s, unsigned to, const uint8_t *f)
{
	return to == 0 && !memcmp(f, up_mac, 6) ? UP : 1;
}

static uint16_t sum_of(const uint8_t *p, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Host 1's question for the shared address: the owner of the address would answer so. */
static void advertise(struct sim *s, const uint8_t *f)
{
	uint8_t a[86] = {0};
	uint16_t sum;

	memcpy(a, f + 6, 6);
	memcpy(a + 6, up_mac, 6);
	memcpy(a + 12, "\x86\xdd\x60\0\0\0\0\x20\x3a\xff", 10);
	memcpy(a + 22, wire6, 16);
	memcpy(a + 38, f + 22, 16);
	a[54] = 136;
	a[58] = 0x60;
	memcpy(a + 62, wire6, 16);
	a[78] = 2;
	a[79] = 1;
	memcpy(a + 80, up_mac, 6);
	sum = sum_of(a + 22, 64, 58 + 32);
	a[56] = (uint8_t)(sum >> 8);
	a[57] = (uint8_t)sum;
	sim_inject(s, 1, a, 86);
}

static bool steer6(struct sim *s, unsigned from, const uint8_t *f)
{
	if (from == 1 && f[20] == 58 && f[54] == 135 && !memcmp(f + 62, wire6, 16)) {
		advertise(s, f);
		return false;
	}
	if (from == 0 && !memcmp(f + 22, wire6, 16)) {
		bool echo = f[20] == 58 && f[54] == 128, ask = f[20] == 58 && f[54] == 135;
		unsigned at = echo ? 58 : 54, port = (unsigned)f[at] << 8 | f[at + 1];

		outside++;
		solicits += ask;
		wrong += !ask && (port < LO || port > HI) && port != 8081 && port != 1053;
		wrong += f[20] == 58 && !ask && !echo;
		hairpin += !memcmp(f, up_mac, 6);
	} else if (from == 0 && !memcmp(f + 6, up_mac, 6)) {
		wrong++; /* the device has no other address */
	}
	return true;
}

/* The nic cell's part: it answers for the host address and looks at source ports. */
static bool steer(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
	if (f[12] == 0x86 && f[13] == 0xdd)
		return steer6(s, from, f);
	if (from == 1 && f[12] == 8 && f[13] == 6 && f[21] == 1 && !memcmp(f + 38, WIRE, 4)) {
		uint8_t a[42];

		memcpy(a, f, 42);
		a[21] = 2;
		memcpy(a, f + 6, 6);
		memcpy(a + 6, up_mac, 6);
		memcpy(a + 22, up_mac, 6);
		memcpy(a + 28, WIRE, 4);
		memcpy(a + 32, f + 22, 10);
		sim_inject(s, 1, a, 42);
		return false;
	}
	if (from == 0 && f[12] == 8 && f[13] == 0 && !memcmp(f + 26, WIRE, 4)) {
		unsigned at = f[23] == 1 ? 38 : 34, port = (unsigned)f[at] << 8 | f[at + 1];

		outside++;
		wrong += (port < LO || port > HI) && port != 8081 && port != 1053;
		hairpin += !memcmp(f, up_mac, 6);
	}
	return true;
}

static void uplink(struct sim *s)
{
	struct tp_if_config c = {.mtu = 1500, .name = "up", .same_mac = 1, .hidden = 1};
	uint8_t host[16], gw[16];

	memcpy(c.mac, up_mac, 6);
	assert_int_equal(tp_if_add(s->host[0].st, UP, &c), 0);
	tp_parse_addr("192.0.2.15", host);
	tp_parse_addr("192.0.2.2", gw);
	assert_int_equal(tp_share(s->host[0].st, UP, host, 24, gw, LO, HI, 0), 0);
	tp_publish_shared(s->host[0].st, 6, TP_V4 | TP_V6, 8081, 80);
	tp_publish_shared(s->host[0].st, 17, TP_V4 | TP_V6, 1053, 53);
}

static void uplink6(struct sim *s, int serves)
{
	uint8_t gw[16] = {[10] = 0xff, 0xff, 10, 0, 0, 254}, any[16] = {[10] = 0xff, 0xff};

	uplink(s);
	assert_int_equal(tp_share(s->host[0].st, UP, wire6, 64, router6, LO, HI, serves), 0);
	tp_route_add(s->host[0].st, 1, any, 0, gw); /* what the application knows */
}

static void open_sim(struct sim *s)
{
	struct tp_config cfg = {.max_socks = 64};
	uint8_t a[16];

	sim_init(s, 0, &cfg, 4 << 20);
	s->ifi = which;
	s->filter = steer;
	outside = wrong = hairpin = solicits = 0;
	uplink(s);
	tp_parse_addr("192.0.2.2", a);
	tp_addr_add(s->host[1].st, 1, a, 24);
	tp_parse_addr("198.51.100.7", a);
	tp_addr_add(s->host[1].st, 1, a, 32);
	sim_run(s, S / 10);
}

static void open_sim6(struct sim *s, int serves)
{
	uint8_t a[16];

	open_sim(s);
	uplink6(s, serves);
	tp_addr_add(s->host[1].st, 1, router6, 64);
	tp_parse_addr(FAR6, a);
	tp_addr_add(s->host[1].st, 1, a, 128);
	sim_run(s, 3 * S);
}

static void close_sim(struct sim *s)
{
	assert_int_equal(wrong, 0);
	sim_free(s);
}

static struct pvs_addr addr(const char *ip, uint16_t port)
{
	struct pvs_addr a = {.family = PVS_AF_INET, .port = __builtin_bswap16(port)};
	uint8_t b[16];

	assert_int_equal(tp_parse_addr(ip, b), 0);
	if (strchr(ip, ':')) {
		a.family = PVS_AF_INET6;
		memcpy(a.addr, b, 16);
	} else {
		memcpy(a.addr, b + 12, 4);
	}
	return a;
}

static uint16_t port_of(const struct pvs_addr *a)
{
	return __builtin_bswap16(a->port);
}

static int listener(struct pvs_client *c, const char *ip, uint16_t port)
{
	struct pvs_addr a = addr(ip, port);
	int l = pvs_socket(c, a.family, PVS_SOCK_STREAM, 0, 0, 0);

	assert_int_equal(pvs_bind(c, l, &a), 0);
	assert_int_equal(pvs_listen(c, l, 8), 0);
	return l;
}

static int dial(struct sim *s, unsigned host, const char *ip, uint16_t port, uint16_t own)
{
	struct pvs_client *c = &s->host[host].c;
	bool six = strchr(ip, ':');
	int f = pvs_socket(c, six ? PVS_AF_INET6 : PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	struct pvs_addr a = addr(six ? "::" : "0.0.0.0", own);
	int e;

	if (own)
		assert_int_equal(pvs_bind(c, f, &a), 0);
	a = addr(ip, port);
	e = pvs_connect(c, f, &a);
	if (e != -115)
		return e;
	sim_run(s, S / 2);
	return f;
}

static void echo(struct sim *s, int a, int b)
{
	char buf[8];

	assert_int_equal(pvs_send(&s->host[0].c, a, "ping", 4), 4);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recv(&s->host[1].c, b, buf, 8), 4);
	assert_int_equal(pvs_send(&s->host[1].c, b, "pong!", 5), 5);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recv(&s->host[0].c, a, buf, 8), 5);
}

#define P (&s.host[0].c)
#define Q (&s.host[1].c)

static void a_published_port_outlives_a_restart(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l, f, a;

	open_sim(&s);
	l = listener(P, "0.0.0.0", 80);
	f = dial(&s, 1, "192.0.2.15", 8081, 0);
	assert_true(f >= 0);
	a = pvs_accept(P, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_memory_equal(n.addr, "\xc0\0\2\2", 4);
	assert_int_equal(pvs_name(P, a, false, &n), 0);
	assert_memory_equal(n.addr, "\x0a\0\0\1", 4);
	assert_int_equal(port_of(&n), 80);
	echo(&s, a, f);
	sim_restart(&s, 0);
	uplink(&s);
	echo(&s, a, f);
	/* A port that nobody published; one whose listener is not for the outside. */
	f = dial(&s, 1, "192.0.2.15", 1030, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	pvs_close(P, l, false);
	l = listener(P, "127.0.0.1", 80);
	f = dial(&s, 1, "192.0.2.15", 8081, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	close_sim(&s);
}

static void connections_leave_from_the_block(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l, f, a;

	open_sim(&s);
	l = listener(Q, "0.0.0.0", 7000);
	f = dial(&s, 0, "198.51.100.7", 7000, 0);
	a = pvs_accept(Q, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_memory_equal(n.addr, WIRE, 4);
	assert_in_range(port_of(&n), LO, HI);
	assert_int_equal(pvs_name(P, f, false, &n), 0);
	assert_memory_equal(n.addr, "\x0a\0\0\1", 4);
	echo(&s, f, a);
	sim_restart(&s, 0);
	uplink(&s);
	echo(&s, f, a);
	/* With a port, and an address, of its own choice. */
	f = dial(&s, 0, "198.51.100.7", 7000, 5000);
	a = pvs_accept(Q, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_in_range(port_of(&n), LO, HI);
	assert_int_equal(pvs_name(P, f, false, &n), 0);
	assert_int_equal(port_of(&n), 5000);
	echo(&s, f, a);
	/* On the segment it is itself. */
	f = dial(&s, 0, "10.0.0.2", 7000, 5001);
	a = pvs_accept(Q, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_memory_equal(n.addr, "\x0a\0\0\1", 4);
	assert_int_equal(port_of(&n), 5001);
	close_sim(&s);
}

static void a_block_ends(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l;

	open_sim(&s);
	l = listener(Q, "0.0.0.0", 7000);
	for (int i = LO; i <= HI; i++) {
		assert_true(dial(&s, 0, "198.51.100.7", 7000, 0) >= 0);
		assert_true(pvs_accept(Q, l, 12, 12, &n) >= 0);
	}
	assert_int_equal(dial(&s, 0, "198.51.100.7", 7000, 0), -99);
	assert_true(dial(&s, 0, "198.51.100.7", 7001, 0) >= 0); /* elsewhere there are ports */
	assert_true(dial(&s, 0, "10.0.0.2", 7000, 0) >= 0);
	close_sim(&s);
}

/* Sends from a socket of host 0 to udp 198.51.100.7:9, answers; the port that was seen. */
static uint16_t udp_round(struct sim *s, int f, int peer)
{
	struct pvs_addr to = addr("198.51.100.7", 9);
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = to};
	char buf[16];
	uint16_t seen;

	assert_int_equal(pvs_sendto(&s->host[0].c, f, &d, "question", 8), 8);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recvfrom(&s->host[1].c, peer, &d, buf, 16), 8);
	assert_memory_equal(d.peer.addr, WIRE, 4);
	seen = port_of(&d.peer);
	d.flags = PVS_DG_ADDR;
	assert_int_equal(pvs_sendto(&s->host[1].c, peer, &d, "answer", 6), 6);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recvfrom(&s->host[0].c, f, &d, buf, 16), 6);
	assert_memory_equal(d.local, "\x0a\0\0\1", 4);
	return seen;
}

static int udp_socket(struct pvs_client *c, const char *ip, uint16_t port)
{
	struct pvs_addr a = addr(ip, port);
	int f = pvs_socket(c, a.family, PVS_SOCK_DGRAM, 0, 12, 12);

	assert_true(f >= 0);
	if (port)
		assert_int_equal(pvs_bind(c, f, &a), 0);
	return f;
}

static void datagrams_are_mapped(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int peer, f;
	uint16_t wire;

	open_sim(&s);
	peer = udp_socket(Q, "0.0.0.0", 9);
	f = udp_socket(P, "0.0.0.0", 0);
	assert_in_range(udp_round(&s, f, peer), LO, HI);
	f = udp_socket(P, "0.0.0.0", 5353);
	wire = udp_round(&s, f, peer);
	assert_in_range(wire, LO, HI);
	assert_int_equal(udp_round(&s, f, peer), wire);
	sim_restart(&s, 0);
	uplink(&s);
	assert_int_equal(udp_round(&s, f, peer), wire); /* the state region had it */
	f = udp_socket(P, "10.0.0.1", 5354);
	assert_in_range(udp_round(&s, f, peer), LO, HI);
	f = udp_socket(P, "0.0.0.0", 53);
	assert_int_equal(udp_round(&s, f, peer), 1053);
	/* An error about a mapped port finds the socket. */
	f = udp_socket(P, "0.0.0.0", 5355);
	n = addr("198.51.100.7", 10);
	assert_int_equal(pvs_connect(P, f, &n), 0);
	struct pvs_dgram d = {0};
	assert_int_equal(pvs_sendto(P, f, &d, "x", 1), 1);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_error(P, f), 111);
	close_sim(&s);
}

static void pings_are_mapped(void **x)
{
	struct sim s;
	uint8_t m[12] = {8, 0, 0, 0, 0x77, 0x77, 0, 1, 'd', 'a', 't', 'a'}, buf[64];
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = addr("198.51.100.7", 0)};
	int raw, ping;

	open_sim(&s);
	raw = pvs_socket(P, PVS_AF_INET, PVS_SOCK_RAW, 1, 12, 12);
	assert_true(raw >= 0);
	uint32_t sum = 0x0800 + 0x7777 + 0x0001 + 0x6461 + 0x7461;
	sum = (sum & 0xffff) + (sum >> 16);
	m[2] = (uint8_t)(~sum >> 8);
	m[3] = (uint8_t)~sum;
	assert_int_equal(pvs_sendto(P, raw, &d, m, 12), 12);
	sim_run(&s, S / 2);
	assert_int_equal(outside, 1);
	assert_int_equal(pvs_recvfrom(P, raw, &d, buf, 64), 32);
	assert_int_equal(buf[20], 0); /* the answer, with the identifier it was asked with */
	assert_memory_equal(buf + 24, "\x77\x77\0\1data", 8);
	m[0] = 5; /* nothing but echoes */
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = addr("198.51.100.7", 0)};
	pvs_sendto(P, raw, &d, m, 12);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_error(P, raw), 1);
	assert_int_equal(outside, 1);
	ping = pvs_socket(P, PVS_AF_INET, PVS_SOCK_DGRAM, 1, 12, 12);
	m[0] = 8;
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = addr("198.51.100.7", 0)};
	assert_int_equal(pvs_sendto(P, ping, &d, m, 12), 12);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_recvfrom(P, ping, &d, buf, 64), 12);
	close_sim(&s);
}

static void the_application_does_not_see_it(void **x)
{
	struct sim s;
	struct pvs_link links[8];
	struct pvs_ifaddr addrs[16];
	struct pvs_route routes[16];
	struct pvs_addr a;
	int n, f;

	open_sim(&s);
	n = pvs_list(P, PVS_LIST_LINK, 0, links, sizeof(links));
	assert_int_equal(n, 2);
	n = pvs_list(P, PVS_LIST_ADDR, 0, addrs, sizeof(addrs));
	for (int i = 0; i < n; i++)
		assert_in_range(addrs[i].ifindex, 1, 2);
	n = pvs_list(P, PVS_LIST_ROUTE, 0, routes, sizeof(routes));
	for (int i = 0; i < n; i++)
		assert_in_range(routes[i].ifindex, 1, 2);
	f = pvs_socket(P, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	a = addr("192.0.2.15", 80);
	assert_int_equal(pvs_bind(P, f, &a), -99);
	/* The host address is reached like any other's: whoever has that port answers. */
	dial(&s, 0, "192.0.2.15", 99, 0);
	assert_true(hairpin > 0);
	tp_if_remove(s.host[0].st, UP);
	assert_int_equal(dial(&s, 0, "198.51.100.7", 7000, 0), -101);
	close_sim(&s);
}

/* ---- IPv6 ---- */

static void a_published_port_answers_by_ipv6(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l, f, a;

	open_sim6(&s, 1);
	l = listener(P, "::", 80);
	f = dial(&s, 1, "2001:db8::15", 8081, 0);
	assert_true(f >= 0);
	a = pvs_accept(P, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_memory_equal(n.addr, router6, 16);
	assert_int_equal(pvs_name(P, a, false, &n), 0);
	assert_memory_equal(n.addr, own6, 16);
	assert_int_equal(port_of(&n), 80);
	echo(&s, a, f);
	sim_restart(&s, 0);
	uplink6(&s, 1);
	echo(&s, a, f);
	/* Nobody published it; it may not open anything. */
	f = dial(&s, 1, "2001:db8::15", 1030, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	assert_int_equal(dial(&s, 0, FAR6, 7000, 0), -101);
	/* By IPv4 the same listener; the other family's address is not this one's. */
	f = dial(&s, 1, "192.0.2.15", 8081, 0);
	assert_true(pvs_accept(P, l, 12, 12, &n) >= 0);
	close_sim(&s);
}

static void a_port_of_one_family(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l, f;

	open_sim6(&s, 1);
	assert_int_equal(tp_publish_shared(s.host[0].st, 6, TP_V6, LO, 80), 0);
	assert_int_equal(tp_publish_shared(s.host[0].st, 6, 0, LO, 80), -22);
	l = listener(P, "::", 80);
	f = dial(&s, 1, "192.0.2.15", LO, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	dial(&s, 1, "2001:db8::15", LO, 0);
	assert_true(pvs_accept(P, l, 12, 12, &n) >= 0);
	close_sim(&s);
}

static void a_listener_that_knows_ipv4_only(void **x)
{
	static const uint8_t gateway[4] = {10, 0, 0, 254}, own[4] = {10, 0, 0, 1};
	struct pvs_sockinfo list[8];
	struct sim s;
	struct pvs_addr n;
	int l, f, a;

	open_sim6(&s, 1);
	l = listener(P, "0.0.0.0", 80);
	f = dial(&s, 1, "2001:db8::15", 8081, 4321);
	a = pvs_accept(P, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_int_equal(n.family, PVS_AF_INET);
	assert_memory_equal(n.addr, gateway, 4); /* as if that had passed it on */
	assert_int_equal(port_of(&n), 4321);
	assert_int_equal(pvs_name(P, a, true, &n), 0);
	assert_memory_equal(n.addr, gateway, 4);
	assert_int_equal(pvs_name(P, a, false, &n), 0);
	assert_memory_equal(n.addr, own, 4);
	assert_true(pvs_list(P, PVS_LIST_SOCKET, 0, list, sizeof(list)) >= 2);
	assert_memory_equal(list[1].peer.addr, gateway, 4);
	echo(&s, a, f);
	sim_restart(&s, 0);
	uplink6(&s, 1);
	echo(&s, a, f);
	/* Only where it is published, and not by who listens by IPv6 alone. */
	f = dial(&s, 1, "2001:db8::15", 1030, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	f = dial(&s, 1, "fd00::1", 80, 0);
	assert_int_equal(pvs_error(Q, f), 111);
	close_sim(&s);
}

/* A datagram from host 1's socket f to the published port; what socket p of host 0 sees of its
 * sender. It is answered to that, and the answer must come from the published port. */
static struct pvs_addr udp_ask(struct sim *s, int f, int p)
{
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = addr("2001:db8::15", 1053)};
	struct pvs_addr seen;
	char buf[16];

	assert_int_equal(pvs_sendto(&s->host[1].c, f, &d, "question", 8), 8);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recvfrom(&s->host[0].c, p, &d, buf, 16), 8);
	seen = d.peer;
	d.flags = PVS_DG_ADDR;
	assert_int_equal(pvs_sendto(&s->host[0].c, p, &d, "answer", 6), 6);
	sim_run(s, S / 2);
	assert_int_equal(pvs_recvfrom(&s->host[1].c, f, &d, buf, 16), 6);
	assert_memory_equal(d.peer.addr, wire6, 16);
	assert_int_equal(port_of(&d.peer), 1053);
	return seen;
}

static void datagrams_to_a_published_port(void **x)
{
	static const uint8_t gateway[4] = {10, 0, 0, 254};
	struct pvs_addr n, again;
	struct sim s;
	int p, one, two;

	open_sim6(&s, 1);
	one = udp_socket(Q, "2001:db8::2", 4001);
	two = udp_socket(Q, "2001:db8::2", 4002);
	p = udp_socket(P, "::", 53);
	n = udp_ask(&s, one, p);
	assert_memory_equal(n.addr, router6, 16);
	assert_int_equal(port_of(&n), 4001);
	pvs_close(P, p, false);
	/* Who knows IPv4 only sees the gateway, with another port for each peer. */
	p = udp_socket(P, "0.0.0.0", 53);
	n = udp_ask(&s, one, p);
	assert_int_equal(n.family, PVS_AF_INET);
	assert_memory_equal(n.addr, gateway, 4);
	again = udp_ask(&s, two, p);
	assert_memory_equal(again.addr, gateway, 4);
	assert_int_not_equal(port_of(&again), port_of(&n));
	again = udp_ask(&s, one, p);
	assert_int_equal(port_of(&again), port_of(&n));
	close_sim(&s);
}

static void connections_leave_by_ipv6(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int l, f, a;

	open_sim6(&s, 0);
	l = listener(Q, "::", 7000);
	f = dial(&s, 0, FAR6, 7000, 0);
	a = pvs_accept(Q, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_memory_equal(n.addr, wire6, 16);
	assert_in_range(port_of(&n), LO, HI);
	assert_int_equal(pvs_name(P, f, false, &n), 0);
	assert_memory_equal(n.addr, own6, 16);
	assert_true(solicits > 0);
	echo(&s, f, a);
	sim_restart(&s, 0);
	uplink6(&s, 0);
	echo(&s, f, a);
	/* With a port of its own choice. */
	f = dial(&s, 0, FAR6, 7000, 5000);
	a = pvs_accept(Q, l, 12, 12, &n);
	assert_true(a >= 0);
	assert_in_range(port_of(&n), LO, HI);
	assert_int_equal(pvs_name(P, f, false, &n), 0);
	assert_int_equal(port_of(&n), 5000);
	/* On the segment it is itself. */
	dial(&s, 0, "fd00::2", 7000, 5001);
	assert_true(pvs_accept(Q, l, 12, 12, &n) >= 0);
	assert_memory_equal(n.addr, own6, 16);
	assert_int_equal(port_of(&n), 5001);
	/* The host's address, of whoever has that port. */
	dial(&s, 0, "2001:db8::15", 99, 0);
	assert_true(hairpin > 0);
	tp_if_remove(s.host[0].st, UP);
	assert_int_equal(dial(&s, 0, FAR6, 7000, 0), -101);
	close_sim(&s);
}

static void datagrams_and_pings_leave_by_ipv6(void **x)
{
	struct sim s;
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = addr(FAR6, 9)};
	uint8_t m[12] = {128, 0, 0, 0, 0x77, 0x77, 0, 1, 'd', 'a', 't', 'a'}, buf[64];
	struct pvs_addr n;
	int peer, f, raw, ping;

	open_sim6(&s, 0);
	peer = udp_socket(Q, "::", 9);
	f = udp_socket(P, "::", 5353);
	assert_int_equal(pvs_sendto(P, f, &d, "question", 8), 8);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_recvfrom(Q, peer, &d, buf, 16), 8);
	assert_memory_equal(d.peer.addr, wire6, 16);
	assert_in_range(port_of(&d.peer), LO, HI);
	d.flags = PVS_DG_ADDR;
	assert_int_equal(pvs_sendto(Q, peer, &d, "answer", 6), 6);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_recvfrom(P, f, &d, buf, 16), 6);
	assert_memory_equal(d.local, own6, 16);
	/* An error about a mapped port finds the socket. */
	f = udp_socket(P, "::", 5355);
	n = addr(FAR6, 10);
	assert_int_equal(pvs_connect(P, f, &n), 0);
	d = (struct pvs_dgram){0};
	assert_int_equal(pvs_sendto(P, f, &d, "x", 1), 1);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_error(P, f), 111);
	raw = pvs_socket(P, PVS_AF_INET6, PVS_SOCK_RAW, 58, 12, 12);
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = addr(FAR6, 0)};
	assert_int_equal(pvs_sendto(P, raw, &d, m, 12), 12);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_recvfrom(P, raw, &d, buf, 64), 12); /* and no advertisement */
	assert_int_equal(buf[0], 129);
	assert_memory_equal(buf + 4, "\x77\x77\0\1data", 8);
	m[0] = 135; /* nothing but echoes */
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = addr(FAR6, 0)};
	pvs_sendto(P, raw, &d, m, 12);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_error(P, raw), 1);
	ping = pvs_socket(P, PVS_AF_INET6, PVS_SOCK_DGRAM, 58, 12, 12);
	m[0] = 128;
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = addr(FAR6, 0)};
	assert_int_equal(pvs_sendto(P, ping, &d, m, 12), 12);
	sim_run(&s, S / 2);
	assert_int_equal(pvs_recvfrom(P, ping, &d, buf, 64), 12);
	close_sim(&s);
}

static void arguments(void **x)
{
	static const char *const bad[] = {
	    "share6=2001:db8::15 block=1024-1031",
	    "share6=2001:db8::15/129 block=1024-1031",
	    "share6=2001:db8::15/64",
	    "share6=fe80::15/64 block=1024-1031",
	    "share6=ff02::15/64 block=1024-1031",
	    "share6=2001:db8::15/64 gw6=fe80::x block=1024-1031",
	    "serve6=2001:db8::15/64 block=1031-1024",
	    "share=192.0.2.15/33 block=1024-1031",
	    "svc=169.254.1",
	    "svc=169.254.1.1 server=1.2.3",
	};
	struct pvs_route routes[24];
	struct tp_stack *st;
	struct sim s;
	const char *net = "show6=fd00::fe";
	int n, shown = 0;

	open_sim(&s);
	st = s.host[0].st;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tp_conf_share(st, UP, bad[i]), -22);
	assert_int_equal(tp_conf_share(st, UP,
				       "svc=169.254.1.1 share6=2001:db8::15/64 "
				       "gw6=fe80::1 share=192.0.2.15/24 "
				       "gw=192.0.2.2 block=1024-1031"),
			 0);
	assert_int_equal(tp_conf_share(st, 1, "serve6=2001:db8::15/64 block=1024-1031"), -22);
	assert_int_equal(tp_conf_services(st, "publish=tcp:*:1:2,udp:*4:3:4,tcp:*6:5:6"), 0);
	assert_int_equal(tp_conf_services(st, "publish=tcp:*5:1:2"), -22);
	assert_int_equal(tp_conf_services(st, "publish=tcp:*66:1:2"), -22);
	/* A route to be looked at: it is listed, and nothing goes there. */
	assert_int_equal(tp_conf_addresses(st, 1, &net, 1), 0);
	n = pvs_list(P, PVS_LIST_ROUTE, 0, routes, sizeof(routes));
	for (int i = 0; i < n; i++)
		shown += routes[i].family == PVS_AF_INET6 && !routes[i].dst_len &&
			 routes[i].gateway[15] == 0xfe;
	assert_int_equal(shown, 1);
	tp_if_remove(st, UP);
	assert_int_equal(dial(&s, 0, FAR6, 7000, 0), -101);
	net = "show6=10.0.0.1";
	assert_int_equal(tp_conf_addresses(st, 1, &net, 1), -22);
	close_sim(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_published_port_outlives_a_restart),
	    cmocka_unit_test(connections_leave_from_the_block),
	    cmocka_unit_test(a_block_ends),
	    cmocka_unit_test(datagrams_are_mapped),
	    cmocka_unit_test(pings_are_mapped),
	    cmocka_unit_test(the_application_does_not_see_it),
	    cmocka_unit_test(a_published_port_answers_by_ipv6),
	    cmocka_unit_test(a_port_of_one_family),
	    cmocka_unit_test(a_listener_that_knows_ipv4_only),
	    cmocka_unit_test(datagrams_to_a_published_port),
	    cmocka_unit_test(connections_leave_by_ipv6),
	    cmocka_unit_test(datagrams_and_pings_leave_by_ipv6),
	    cmocka_unit_test(arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
