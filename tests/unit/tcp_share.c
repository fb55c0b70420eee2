/* A slice of a host's address (cells/transport/core/share.c): host 0 is a container with
 * 10.0.0.1 on its segment and ports of 192.0.2.15; host 1 is its neighbour 10.0.0.2, the
 * router 192.0.2.2 and a far host, 198.51.100.7. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define S    1000000000ull
#define UP   9u
#define LO   1024
#define HI   1031
#define WIRE "\xc0\0\2\x0f"

static const uint8_t up_mac[6] = {2, 0, 0, 0, 0, 0x99};
static unsigned outside, wrong, hairpin;

static unsigned which(struct sim *s, unsigned to, const uint8_t *f)
{
	return to == 0 && !memcmp(f, up_mac, 6) ? UP : 1;
}

/* The nic cell's part: it answers for the host address and looks at source ports. */
static bool steer(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
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
	uint8_t host[16], gw[16], any[16] = {0};

	memcpy(c.mac, up_mac, 6);
	assert_int_equal(tp_if_add(s->host[0].st, UP, &c), 0);
	tp_parse_addr("192.0.2.15", host);
	tp_parse_addr("192.0.2.2", gw);
	assert_int_equal(tp_share(s->host[0].st, UP, host, 24, gw, LO, HI), 0);
	tp_publish(s->host[0].st, 6, any, 8081, 80);
	tp_publish(s->host[0].st, 17, any, 1053, 53);
}

static void open_sim(struct sim *s)
{
	struct tp_config cfg = {.max_socks = 64};
	uint8_t a[16];

	sim_init(s, 0, &cfg, 4 << 20);
	s->ifi = which;
	s->filter = steer;
	outside = wrong = hairpin = 0;
	uplink(s);
	tp_parse_addr("192.0.2.2", a);
	tp_addr_add(s->host[1].st, 1, a, 24);
	tp_parse_addr("198.51.100.7", a);
	tp_addr_add(s->host[1].st, 1, a, 32);
	sim_run(s, S / 10);
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
	memcpy(a.addr, b + 12, 4);
	return a;
}

static uint16_t port_of(const struct pvs_addr *a)
{
	return __builtin_bswap16(a->port);
}

static int listener(struct pvs_client *c, const char *ip, uint16_t port)
{
	int l = pvs_socket(c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);
	struct pvs_addr a = addr(ip, port);

	assert_int_equal(pvs_bind(c, l, &a), 0);
	assert_int_equal(pvs_listen(c, l, 8), 0);
	return l;
}

static int dial(struct sim *s, unsigned host, const char *ip, uint16_t port, uint16_t own)
{
	struct pvs_client *c = &s->host[host].c;
	int f = pvs_socket(c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	struct pvs_addr a = addr("0.0.0.0", own);
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
	int f = pvs_socket(c, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);
	struct pvs_addr a = addr(ip, port);

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_published_port_outlives_a_restart),
	    cmocka_unit_test(connections_leave_from_the_block),
	    cmocka_unit_test(a_block_ends),
	    cmocka_unit_test(datagrams_are_mapped),
	    cmocka_unit_test(pings_are_mapped),
	    cmocka_unit_test(the_application_does_not_see_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
