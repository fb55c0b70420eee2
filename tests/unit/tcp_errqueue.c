/* SPDX-License-Identifier: ISC */
/* IP_RECVERR: what became of a datagram, told with the datagram (MSG_ERRQUEUE in Linux). */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define S     1000000000ull
#define P     (&s.host[0].c)
#define Q     (&s.host[1].c)
#define AGAIN (-11)

static void begin(struct sim *s)
{
	struct tp_config cfg = {.max_socks = 64, .time_wait_ms = 60000};
	struct sim_conn c;

	sim_init(s, 0, &cfg, 4 << 20);
	assert_true(sim_connect(s, &c, false, 12));
}

static int udp(struct pvs_client *c, bool v6, bool recverr)
{
	int f = pvs_socket(c, v6 ? PVS_AF_INET6 : PVS_AF_INET, PVS_SOCK_DGRAM, 0, 14, 14);

	assert_true(f >= 0);
	if (recverr)
		assert_int_equal(pvs_setopt(c, f, v6 ? 41 : 0, v6 ? 25 : 11, &(int){1}, 4), 0);
	return f;
}

static void send_to(struct sim *s, int f, struct pvs_addr to, const char *text)
{
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = to};

	assert_int_equal(pvs_sendto(&s->host[0].c, f, &d, text, (uint32_t)strlen(text)),
			 (int)strlen(text));
	sim_run(s, S / 10);
}

static void what_failed_comes_back(void **x)
{
	struct sim s;

	begin(&s);
	for (int v6 = 0; v6 < 2; v6++) {
		struct pvs_addr to = sim_addr(1, 99, v6), me;
		int f = udp(P, v6, true), g = udp(P, v6, false);
		uint32_t icmp = v6 ? PVS_DG_ICMP(1, 4) : PVS_DG_ICMP(3, 3);
		struct pvs_dgram d;
		char b[64];

		assert_int_equal(pvs_recverr(P, f, &d, b, sizeof(b)), AGAIN);
		send_to(&s, f, to, "is anybody there");
		assert_true(pvs_ready_events(P, f) & PVS_EV_ERR);
		assert_false(pvs_ready_events(P, f) & PVS_EV_IN);
		assert_int_equal(pvs_recverr(P, f, &d, b, sizeof(b)), 16);
		assert_memory_equal(b, "is anybody there", 16);
		assert_int_equal(d.ttl, 111);
		assert_int_equal(d.flags & 0xffff0000u, icmp);
		assert_int_equal(d.peer.port, to.port);
		assert_memory_equal(d.peer.addr, to.addr, v6 ? 16 : 4);
		assert_memory_equal(d.local, to.addr, v6 ? 16 : 4);
		assert_false(pvs_ready_events(P, f) & PVS_EV_ERR);
		assert_int_equal(pvs_recverr(P, f, &d, b, sizeof(b)), AGAIN);
		assert_int_equal(pvs_recvfrom(P, f, &d, b, sizeof(b)), AGAIN);
		/* Unasked and unconnected: nothing is heard of it, as in Linux. */
		send_to(&s, g, to, "hello");
		assert_int_equal(pvs_error(P, g), 0);
		assert_int_equal(pvs_recverr(P, g, &d, b, sizeof(b)), AGAIN);
		/* Connected: the errno alone. */
		assert_int_equal(pvs_connect(P, g, &to), 0);
		assert_int_equal(pvs_name(P, g, false, &me), 0);
		send_to(&s, g, to, "hello");
		assert_int_equal(pvs_recvfrom(P, g, &d, b, sizeof(b)), -111);
	}
	sim_free(&s);
}

/* Errors and datagrams are read without each other, each kind in its order. */
static void kinds_are_apart(void **x)
{
	struct sim s;
	struct pvs_addr to = sim_addr(1, 99, false), me = sim_addr(0, 5000, false);
	struct pvs_dgram d;
	char b[64];
	int f, q;

	begin(&s);
	f = udp(P, false, true);
	q = udp(Q, false, false);
	assert_int_equal(pvs_bind(P, f, &me), 0);
	for (int i = 0; i < 3; i++) {
		struct pvs_dgram o = {.flags = PVS_DG_ADDR, .peer = me};

		send_to(&s, f, to, i == 0 ? "lost 0" : i == 1 ? "lost 1" : "lost 2");
		assert_int_equal(pvs_sendto(Q, q, &o, &"abc"[i], 1), 1);
		sim_run(&s, S / 10);
		pvs_error(P, f);
	}
	assert_int_equal(pvs_next_len(P, f), 1);
	assert_int_equal(pvs_recvfrom(P, f, &d, b, 64), 1);
	assert_int_equal(b[0], 'a');
	assert_int_equal(pvs_recverr(P, f, &d, b, 64), 6);
	assert_memory_equal(b, "lost 0", 6);
	assert_int_equal(pvs_recverr(P, f, &d, b, 64), 6);
	assert_memory_equal(b, "lost 1", 6);
	assert_int_equal(pvs_recvfrom(P, f, &d, b, 64), 1);
	assert_int_equal(b[0], 'b');
	assert_int_equal(pvs_recvfrom(P, f, &d, b, 64), 1);
	assert_int_equal(b[0], 'c');
	assert_int_equal(pvs_ready_events(P, f) & (PVS_EV_IN | PVS_EV_ERR), PVS_EV_ERR);
	assert_int_equal(pvs_recverr(P, f, &d, b, 4), 4);
	assert_int_equal(d.len, 6);
	assert_int_equal(pvs_ready_events(P, f) & (PVS_EV_IN | PVS_EV_ERR), 0);
	/* All of it is the server's again. */
	assert_int_equal(P->slot[f].rx_cons, P->slot[f].rx_prod);
	sim_free(&s);
}

static void unread_errors_leave_room(void **x)
{
	struct sim s;
	struct pvs_addr to = sim_addr(1, 99, false), me = sim_addr(0, 5000, false);
	struct pvs_dgram d;
	char b[64];
	int f, q, n = 0;

	begin(&s);
	f = udp(P, false, true);
	q = udp(Q, false, false);
	assert_int_equal(pvs_bind(P, f, &me), 0);
	for (int i = 0; i < 500; i++) {
		struct pvs_dgram o = {.flags = PVS_DG_ADDR, .peer = me};

		send_to(&s, f, to, "nobody reads what becomes of this");
		pvs_error(P, f);
		assert_int_equal(pvs_sendto(Q, q, &o, "x", 1), 1);
		sim_run(&s, S / 10);
		pvs_error(P, f);
		assert_int_equal(pvs_next_len(P, f), 1);
		assert_int_equal(pvs_recvfrom(P, f, &d, b, 64), 1);
	}
	while (pvs_recverr(P, f, &d, b, 64) > 0)
		n++;
	assert_in_range(n, 16, 40);
	sim_free(&s);
}

/* What is too large for the way and may not be cut: this host says so, with the MTU. */
static void too_large_here_and_on_the_way(void **x)
{
	struct sim s;
	struct pvs_addr to = sim_addr(1, 99, false);
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = to};
	char b[64], big[4000] = {0};
	int f;

	begin(&s);
	f = udp(P, false, true);
	assert_int_equal(pvs_setopt(P, f, 0, 10, &(int){2}, 4), 0); /* IP_PMTUDISC_DO */
	assert_int_equal(pvs_sendto(P, f, &d, big, 4000), 4000);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recverr(P, f, &d, b, sizeof(b)), 0);
	assert_int_equal(d.ttl, 90);
	assert_int_equal(d.gso_size, 1500);
	assert_int_equal(d.flags & 0xffff0000u, 0);
	assert_memory_equal(d.local, "\0\0\0\0", 4);
	/* A router's word, with what it quotes. */
	s.pmtu = 1000;
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = to};
	assert_int_equal(pvs_sendto(P, f, &d, big, 1400), 1400);
	sim_run(&s, S / 10);
	assert_true(pvs_recverr(P, f, &d, b, sizeof(b)) >= 0);
	assert_int_equal(d.ttl, 90);
	assert_int_equal(d.gso_size, 1000);
	assert_int_equal(d.flags & 0xffff0000u, PVS_DG_ICMP(3, 4));
	sim_free(&s);
}

/* A router's "time exceeded" about what a frame of ours contains. */
static bool exceed(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
	uint8_t e[14 + 20 + 8 + 128] = {0};
	uint32_t q = len - 14 < 128 ? len - 14 : 128, sum;

	if (from || f[12] != 8 || f[13] || f[22] > 1)
		return true;
	memcpy(e, f + 6, 6);
	memcpy(e + 6, f, 6);
	memcpy(e + 12, "\x08\0\x45\0", 4);
	e[17] = (uint8_t)(28 + q);
	e[22] = 64;
	e[23] = 1;
	memcpy(e + 26, "\x0a\0\0\x09", 4);
	memcpy(e + 30, f + 26, 4);
	e[34] = 11;
	memcpy(e + 42, f + 14, q);
	for (int part = 0; part < 2; part++) {
		uint8_t *at = e + (part ? 34 : 14);
		uint32_t n = part ? 8 + q : 20;

		sum = 0;
		for (uint32_t i = 0; i < n; i++)
			sum += i & 1 ? at[i] : (uint32_t)at[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~(sum + (sum >> 16)) & 0xffff;
		at[part ? 2 : 10] = (uint8_t)(sum >> 8);
		at[part ? 3 : 11] = (uint8_t)sum;
	}
	sim_inject(s, 0, e, 42 + q);
	return false;
}

/* As traceroute does it, by UDP, by ping sockets and by raw ones. */
static void a_route_is_traced(void **x)
{
	static const uint8_t echo[8] = {8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1};
	static const uint8_t kind[3][2] = {
	    {PVS_SOCK_DGRAM, 17}, {PVS_SOCK_DGRAM, 1}, {PVS_SOCK_RAW, 1}};
	struct sim s;
	struct pvs_dgram d;
	uint8_t b[64];

	begin(&s);
	s.filter = exceed;
	for (unsigned i = 0; i < 3; i++) {
		int f = pvs_socket(P, PVS_AF_INET, kind[i][0], kind[i][1], 14, 14);

		assert_true(f >= 0);
		assert_int_equal(pvs_setopt(P, f, 0, 11, &(int){1}, 4), 0);
		assert_int_equal(pvs_setopt(P, f, 0, 2, &(int){1}, 4), 0); /* IP_TTL */
		d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = sim_addr(1, 99, false)};
		assert_int_equal(pvs_sendto(P, f, &d, echo, 8), 8);
		sim_run(&s, S / 10);
		assert_int_equal(pvs_recverr(P, f, &d, b, sizeof(b)), 8);
		assert_int_equal(b[0], 8);
		assert_int_equal(b[7], 1);
		assert_int_equal(d.ttl, 113);
		assert_memory_equal(d.local, "\x0a\0\0\x09", 4);
		assert_memory_equal(d.peer.addr, "\x0a\0\0\x02", 4);
		assert_int_equal(d.flags & 0xffff0000u, PVS_DG_ICMP(11, 0));
		pvs_close(P, f, false);
	}
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_failed_comes_back),
	    cmocka_unit_test(kinds_are_apart),
	    cmocka_unit_test(unread_errors_leave_room),
	    cmocka_unit_test(too_large_here_and_on_the_way),
	    cmocka_unit_test(a_route_is_traced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
