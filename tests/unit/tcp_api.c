/* SPDX-License-Identifier: ISC */
/* The PV socket protocol and TCP's states as an application meets them. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define S 1000000000ull
#define P (&s.host[0].c)
#define Q (&s.host[1].c)

static uint64_t stat_of(struct sim *s, unsigned host, const char *name)
{
	return tp_stat(s->host[host].st, name);
}

static void open_sim(struct sim *s, struct sim_conn *c, unsigned order)
{
	struct tp_config cfg = {.max_socks = 64, .time_wait_ms = 60000};

	sim_init(s, 0, &cfg, 4 << 20);
	assert_true(sim_connect(s, c, false, order));
}

static uint32_t state_of(struct pvs_client *c, int s)
{
	return c->slot[s].state;
}

static void names_and_errors(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct pvs_addr a = sim_addr(1, 1, false), b;
	int f, l;

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_name(P, c.a, true, &b), 0);
	assert_int_equal(b.port, __builtin_bswap16(7000));
	assert_memory_equal(b.addr, "\x0a\0\0\2", 4);
	assert_int_equal(pvs_name(Q, c.b, true, &a), 0);
	assert_int_equal(pvs_name(P, c.a, false, &b), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(pvs_name(Q, c.listener, true, &b), -107);
	/* The port is taken; an address that is not ours; a family nobody knows. */
	l = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);
	a = sim_addr(1, 7000, false);
	assert_int_equal(pvs_bind(Q, l, &a), -98);
	a = sim_addr(7, 7001, false);
	assert_int_equal(pvs_bind(Q, l, &a), -99);
	assert_int_equal(pvs_socket(Q, 1, 1, 0, 12, 12), -97);
	assert_int_equal(pvs_socket(Q, PVS_AF_INET, 1, 17, 12, 12), -93);
	assert_int_equal(pvs_socket(Q, PVS_AF_INET, 2, 0, 0, 0), -22);
	assert_int_equal(pvs_connect(Q, c.b, &a), -106);
	/* Nobody listens; nobody is there. */
	f = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	a = sim_addr(1, 99, false);
	assert_int_equal(pvs_connect(P, f, &a), -115);
	sim_run(&s, S);
	assert_int_equal(pvs_error(P, f), 111);
	assert_true(state_of(P, f) & PVS_ST_CLOSED);
	pvs_close(P, f, false);
	f = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	a.addr[0] = 192;
	assert_int_equal(pvs_connect(P, f, &a), -101);
	a = sim_addr(99, 99, false);
	assert_int_equal(pvs_connect(P, f, &a), -115);
	sim_run(&s, 200 * S);
	assert_int_equal(pvs_error(P, f), 110);
	sim_free(&s);
}

static void half_close_and_time_wait(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[16];

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_send(P, c.a, "request", 7), 7);
	assert_int_equal(pvs_shutdown(P, c.a, 1), 0);
	assert_int_equal(pvs_send(P, c.a, "x", 1), -32);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), 7);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), 0);
	assert_int_equal(pvs_send(Q, c.b, "answer", 6), 6);
	assert_int_equal(pvs_close(Q, c.b, false), 0);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recv(P, c.a, b, 16), 6);
	assert_int_equal(pvs_recv(P, c.a, b, 16), 0);
	assert_int_equal(pvs_close(P, c.a, false), 0);
	sim_run(&s, S);
	/* The side that closed first rests for a minute. */
	assert_int_equal(tp_sock_count(s.host[0].st), 1);
	assert_int_equal(tp_sock_count(s.host[1].st), 1);
	sim_run(&s, 61 * S);
	assert_int_equal(tp_sock_count(s.host[0].st), 0);
	sim_free(&s);
}

static void simultaneous_close(void **x)
{
	struct sim s;
	struct sim_conn c;

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_close(P, c.a, false), 0);
	assert_int_equal(pvs_close(Q, c.b, false), 0);
	sim_run(&s, S);
	assert_int_equal(tp_sock_count(s.host[0].st), 1);
	assert_int_equal(tp_sock_count(s.host[1].st), 2);
	sim_run(&s, 70 * S);
	assert_int_equal(tp_sock_count(s.host[0].st), 0);
	sim_free(&s);
}

/* Both connect to each other at the same time: RFC 9293 figure 8. */
static void simultaneous_open(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_addr a0 = sim_addr(0, 5000, false), a1 = sim_addr(1, 5001, false);
	struct sim s;
	char b[8];
	int p, q;

	sim_init(&s, 0, &cfg, 1 << 20);
	p = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	q = pvs_socket(Q, PVS_AF_INET, 1, 0, 12, 12);
	assert_int_equal(pvs_bind(P, p, &a0), 0);
	assert_int_equal(pvs_bind(Q, q, &a1), 0);
	/* Let ARP be done, so that the SYNs cross. */
	{
		struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = sim_addr(1, 9, false)};
		int u = pvs_socket(P, PVS_AF_INET, 2, 0, 12, 12);

		pvs_sendto(P, u, &d, "x", 1);
		sim_run(&s, S);
	}
	assert_int_equal(pvs_connect(P, p, &a1), -115);
	assert_int_equal(pvs_connect(Q, q, &a0), -115);
	sim_run(&s, 3 * S);
	assert_true(state_of(P, p) & PVS_ST_CONNECTED);
	assert_true(state_of(Q, q) & PVS_ST_CONNECTED);
	assert_int_equal(pvs_send(P, p, "abc", 3), 3);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(Q, q, b, 8), 3);
	sim_free(&s);
}

static void close_with_unread_data_resets(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[8];

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_send(P, c.a, "lost", 4), 4);
	sim_run(&s, S / 10);
	pvs_close(Q, c.b, false);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recv(P, c.a, b, 8), -104);
	assert_int_equal(tp_sock_count(s.host[1].st), 1);
	sim_free(&s);
}

static void linger_zero_resets(void **x)
{
	struct sim s;
	struct sim_conn c;
	int linger[2] = {1, 0};
	char b[8];

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_setopt(P, c.a, 1, 13, linger, 8), 0);
	pvs_close(P, c.a, false);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), -104);
	sim_free(&s);
}

/* The slot of a closed socket comes back only when its data is acknowledged. */
static void release_waits_for_data(void **x)
{
	struct sim s;
	struct sim_conn c;
	static char big[4096];
	uint64_t until;
	int got = 0, n;

	open_sim(&s, &c, 12);
	s.loss = 10000;
	assert_int_equal(pvs_send(P, c.a, big, 4096), 4096);
	pvs_close(P, c.a, false);
	sim_run(&s, 2 * S);
	pvs_next_event(P);
	assert_true(P->sock[c.a].used);
	s.loss = 0;
	until = s.now + 30 * S;
	while (s.now < until && got < 4096) {
		sim_step(&s, s.now + S / 10);
		while ((n = pvs_recv(Q, c.b, big, sizeof(big))) > 0)
			got += n;
	}
	assert_int_equal(got, 4096);
	sim_run(&s, S);
	pvs_next_event(P);
	assert_false(P->sock[c.a].used);
	sim_free(&s);
}

static void urgent_data(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[32];

	open_sim(&s, &c, 12);
	pvs_want(Q, c.b, PVS_EV_PRI);
	assert_int_equal(pvs_send(P, c.a, "before", 6), 6);
	assert_int_equal(pvs_send_oob(P, c.a, "!", 1), 1);
	sim_run(&s, S / 10);
	assert_true(pvs_ready_events(Q, c.b) & PVS_EV_PRI);
	assert_int_equal(Q->slot[c.b].rx_urg, 7);
	assert_int_equal(pvs_recv(Q, c.b, b, 32), 7);
	assert_memory_equal(b, "before!", 7);
	sim_free(&s);
}

static void zero_window_is_probed(void **x)
{
	struct sim s;
	struct sim_conn c;
	static char buf[8192];
	int sent = 0, got = 0, n;

	open_sim(&s, &c, 11);
	while ((n = pvs_send(P, c.a, buf, sizeof(buf))) > 0) {
		sent += n;
		sim_run(&s, S / 2);
	}
	assert_true(state_of(P, c.a) & PVS_ST_TX_BLOCKED);
	/* Ten minutes later, with the window update lost, the probe finds it open. */
	sim_run(&s, 600 * S);
	s.loss = 10000;
	while ((n = pvs_recv(Q, c.b, buf, sizeof(buf))) > 0)
		got += n;
	sim_run(&s, S / 10);
	s.loss = 0;
	sim_run(&s, 130 * S);
	while ((n = pvs_recv(Q, c.b, buf, sizeof(buf))) > 0) {
		got += n;
		sim_run(&s, 10 * S);
	}
	assert_int_equal(got, sent);
	sim_free(&s);
}

static void keepalive_and_user_timeout(void **x)
{
	struct sim s;
	struct sim_conn c;
	int on = 1, idle = 10, intvl = 5, cnt = 3, ms = 20000;

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_setopt(P, c.a, 1, 9, &on, 4), 0);
	assert_int_equal(pvs_setopt(P, c.a, 6, 4, &idle, 4), 0);
	assert_int_equal(pvs_setopt(P, c.a, 6, 5, &intvl, 4), 0);
	assert_int_equal(pvs_setopt(P, c.a, 6, 6, &cnt, 4), 0);
	sim_run(&s, 300 * S); /* the peer answers: nothing happens */
	assert_false(state_of(P, c.a) & PVS_ST_CLOSED);
	assert_int_equal(pvs_setopt(Q, c.b, 6, 18, &ms, 4), 0);
	s.loss = 10000;
	assert_int_equal(pvs_send(Q, c.b, "x", 1), 1);
	sim_run(&s, 19 * S);
	assert_false(state_of(Q, c.b) & PVS_ST_CLOSED);
	sim_run(&s, 40 * S);
	assert_true(state_of(P, c.a) & PVS_ST_CLOSED);
	assert_int_equal(pvs_error(P, c.a), 110);
	assert_true(state_of(Q, c.b) & PVS_ST_CLOSED);
	assert_int_equal(pvs_error(Q, c.b), 110);
	sim_free(&s);
}

static void rings_grow_under_way(void **x)
{
	struct sim s;
	struct sim_conn c;
	static uint8_t out[60000], in[60000];
	int sent = 0, got = 0, n;

	open_sim(&s, &c, 10);
	for (uint32_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	s.reorder = 2000;
	s.loss = 300;
	for (int step = 0; step < 20000 && got < (int)sizeof(in); step++) {
		n = pvs_send(P, c.a, out + sent, sizeof(out) - (uint32_t)sent);
		sent += n > 0 ? n : 0;
		sim_step(&s, s.now + S / 100);
		if (step == 40)
			assert_int_equal(pvs_grow(Q, c.b, 12, 14), 0);
		if (step == 60)
			assert_int_equal(pvs_grow(P, c.a, 15, 12), 0);
		n = pvs_recv(Q, c.b, in + got, sizeof(in) - (uint32_t)got);
		got += n > 0 ? n : 0;
	}
	assert_int_equal(got, sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	sim_free(&s);
}

static void info_and_options(void **x)
{
	struct sim s;
	struct sim_conn c;
	uint8_t info[168];
	char cc[16];
	int v = 1;

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_getopt(P, c.a, 6, 11, info, sizeof(info)), 168);
	assert_int_equal(info[0], 1); /* ESTABLISHED */
	assert_int_equal(pvs_getopt(P, c.a, 6, 13, cc, 16), 16);
	assert_string_equal(cc, "cubic");
	assert_int_equal(pvs_setopt(P, c.a, 6, 13, "reno", 4), 0);
	assert_int_equal(pvs_getopt(P, c.a, 6, 13, cc, 16), 16);
	assert_string_equal(cc, "reno");
	assert_int_equal(pvs_setopt(P, c.a, 6, 1, &v, 4), 0);
	v = 0;
	assert_int_equal(pvs_getopt(P, c.a, 6, 1, &v, 4), 4);
	assert_int_equal(v, 1);
	assert_int_equal(pvs_getopt(P, c.a, 1, 3, &v, 4), 4);
	assert_int_equal(v, 1); /* SOCK_STREAM */
	assert_int_equal(pvs_getopt(P, c.a, 77, 3, &v, 4), -92);
	sim_free(&s);
}

/* As on Linux: it outlives the cork, and pushes what waits behind it now. */
static void nodelay_pushes_what_is_corked(void **x)
{
	struct sim s;
	struct sim_conn c;
	int one = 1, none = 0;
	char b[16];

	open_sim(&s, &c, 14);
	assert_int_equal(pvs_setopt(P, c.a, 6, 3, &one, 4), 0);
	assert_int_equal(pvs_send(P, c.a, "abc", 3), 3);
	sim_run(&s, S / 20);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), -11);
	assert_int_equal(pvs_setopt(P, c.a, 6, 1, &one, 4), 0);
	sim_run(&s, S / 20);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), 3);
	assert_int_equal(pvs_send(P, c.a, "def", 3), 3);
	sim_run(&s, S / 20);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), -11); /* corked still */
	assert_int_equal(pvs_setopt(P, c.a, 6, 3, &none, 4), 0);
	sim_run(&s, S / 20);
	assert_int_equal(pvs_recv(Q, c.b, b, 16), 3);
	/* Fast Open is asked for in vain, but not refused. */
	assert_int_equal(pvs_setopt(Q, c.listener, 6, 23, &one, 4), 0);
	assert_int_equal(pvs_setopt(P, c.a, 6, 30, &one, 4), 0);
	sim_free(&s);
}

static void datagrams(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_dgram d = {.flags = PVS_DG_ADDR}, r;
	struct pvs_addr any = {.family = PVS_AF_INET6, .port = 0x3500};
	static uint8_t out[20000], in[20000];
	struct sim s;
	int p, q;

	sim_init(&s, 0, &cfg, 1 << 20);
	p = pvs_socket(P, PVS_AF_INET, 2, 0, 16, 16);
	q = pvs_socket(Q, PVS_AF_INET6, 2, 0, 16, 16);
	assert_int_equal(pvs_bind(Q, q, &any), 0);
	memset(out, 'u', sizeof(out));
	d.peer = sim_addr(1, 53, false);
	assert_int_equal(pvs_sendto(P, p, &d, out, 0), 0);
	assert_int_equal(pvs_sendto(P, p, &d, out, 20000), 20000); /* in fragments */
	sim_run(&s, S);
	assert_int_equal(pvs_recvfrom(Q, q, &r, in, sizeof(in)), 0);
	assert_int_equal(pvs_recvfrom(Q, q, &r, in, sizeof(in)), 20000);
	assert_memory_equal(in, out, 20000);
	assert_int_equal(r.peer.family, PVS_AF_INET6); /* ::ffff:10.0.0.1 */
	assert_memory_equal(r.peer.addr + 10, "\xff\xff\x0a\0\0\1", 6);
	r.flags = PVS_DG_ADDR;
	assert_int_equal(pvs_sendto(Q, q, &r, "back", 4), 4);
	sim_run(&s, S);
	assert_int_equal(pvs_recvfrom(P, p, &r, in, sizeof(in)), 4);
	/* GSO: one record, many datagrams. */
	d.gso_size = 1000;
	assert_int_equal(pvs_sendto(P, p, &d, out, 4500), 4500);
	sim_run(&s, S);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pvs_recvfrom(Q, q, &r, in, sizeof(in)), i < 4 ? 1000 : 500);
	/* A connected socket hears of a closed port; a full ring drops. */
	d.peer.port = 0x1111;
	assert_int_equal(pvs_connect(P, p, &d.peer), 0);
	d.flags = d.gso_size = 0;
	assert_int_equal(pvs_sendto(P, p, &d, out, 4), 4);
	sim_run(&s, S);
	assert_int_equal(pvs_sendto(P, p, &d, out, 4), -111);
	d.flags = PVS_DG_ADDR;
	d.peer.port = 0x3500;
	for (int i = 0; i < 8; i++) {
		pvs_sendto(P, p, &d, out, 15000);
		sim_run(&s, S);
	}
	assert_true(Q->slot[q].rx_drops >= 3);
	sim_free(&s);
}

static void ping_raw_packet(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_dgram d = {.flags = PVS_DG_ADDR}, r;
	uint8_t echo[16] = {8, 0, 0, 0, 0, 0, 0, 1, 'p', 'i', 'n', 'g'}, in[1600];
	struct sim s;
	int ping, raw, pkt, n, seen = 0;

	sim_init(&s, 0, &cfg, 1 << 20);
	ping = pvs_socket(P, PVS_AF_INET, 2, 1, 12, 12);
	raw = pvs_socket(Q, PVS_AF_INET, 3, 1, 12, 12);
	pkt = pvs_socket(Q, PVS_AF_PACKET, 3, 0x0300, 12, 13);
	assert_true(ping >= 0 && raw >= 0 && pkt >= 0);
	d.peer = sim_addr(1, 0, false);
	assert_int_equal(pvs_sendto(P, ping, &d, echo, 12), 12);
	sim_run(&s, S);
	assert_int_equal(pvs_recvfrom(P, ping, &r, in, sizeof(in)), 12);
	assert_int_equal(in[0], 0);
	assert_memory_equal(in + 8, "ping", 4);
	n = pvs_recvfrom(Q, raw, &r, in, sizeof(in));
	assert_int_equal(n, 32); /* with the IP header */
	assert_int_equal(in[0], 0x45);
	assert_int_equal(in[20], 8);
	while (pvs_recvfrom(Q, pkt, &r, in, sizeof(in)) > 0) {
		seen += in[23] == 1;
		assert_int_equal(r.peer.family, PVS_AF_PACKET);
	}
	assert_int_equal(seen, 2); /* the request in, the reply out */
	sim_free(&s);
}

static void loopback(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_addr lo = {.family = PVS_AF_INET, .port = 0x5000, .addr = {127, 0, 0, 1}};
	static uint8_t out[200000], in[200000];
	struct sim s;
	int l, a, b, sent = 0, got = 0, n;

	sim_init(&s, 0, &cfg, 4 << 20);
	for (uint32_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i ^ i >> 9);
	l = pvs_socket(P, PVS_AF_INET, 1, 0, 0, 0);
	assert_int_equal(pvs_bind(P, l, &lo), 0);
	assert_int_equal(pvs_listen(P, l, 5), 0);
	a = pvs_socket(P, PVS_AF_INET, 1, 0, 17, 17);
	assert_int_equal(pvs_connect(P, a, &lo), -115);
	sim_run(&s, S / 10);
	b = pvs_accept(P, l, 17, 17, NULL);
	assert_true(b >= 0);
	for (int i = 0; i < 1000 && got < (int)sizeof(in); i++) {
		n = pvs_send(P, a, out + sent, sizeof(out) - (uint32_t)sent);
		sent += n > 0 ? n : 0;
		sim_step(&s, s.now + 1000000);
		n = pvs_recv(P, b, in + got, sizeof(in) - (uint32_t)got);
		got += n > 0 ? n : 0;
	}
	assert_int_equal(got, sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(s.sent, 0 + s.sent); /* nothing of it on the wire: */
	assert_true(stat_of(&s, 1, "Tcp.InSegs") == 0);
	sim_free(&s);
}

static void lists_and_control(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_ifaddr a[8];
	struct pvs_link l[4];
	struct pvs_route r[8];
	struct pvs_stat st[16];
	struct pvs_ifaddr add = {
	    .ifindex = 2, .family = 2, .prefixlen = 24, .addr = {10, 5, 5, 5}};
	struct sim s;
	uint32_t gen;
	int n, all = 0;

	sim_init(&s, 0, &cfg, 1 << 20);
	assert_int_equal(pvs_list(P, PVS_LIST_LINK, 0, l, sizeof(l)), 2);
	assert_string_equal(l[0].name, "lo");
	assert_string_equal(l[1].name, "eth0");
	n = pvs_list(P, PVS_LIST_ADDR, 0, a, sizeof(a));
	assert_int_equal(n, 5); /* two loopback, link-local, v4, v6 */
	assert_int_equal(pvs_list(P, PVS_LIST_ADDR, 4, a, sizeof(a)), 1);
	gen = P->hdr->link_gen;
	assert_int_equal(pvs_control(P, PVS_LIST_ADDR, PVS_OP_ADD, &add, sizeof(add)), 0);
	assert_int_equal(pvs_control(P, PVS_LIST_ADDR, PVS_OP_ADD, &add, sizeof(add)), -17);
	assert_true(P->hdr->link_gen != gen);
	assert_int_equal(pvs_list(P, PVS_LIST_ADDR, 0, a, sizeof(a)), 6);
	n = pvs_list(P, PVS_LIST_ROUTE, 0, r, sizeof(r));
	assert_true(n >= 4);
	assert_int_equal(pvs_control(P, PVS_LIST_ADDR, PVS_OP_DEL, &add, sizeof(add)), 0);
	assert_int_equal(pvs_list(P, PVS_LIST_ROUTE, 0, r, sizeof(r)), n - 1);
	while ((n = pvs_list(P, PVS_LIST_STATS, (uint32_t)all, st, sizeof(st))) > 0)
		all += n;
	assert_true(all > 60);
	assert_int_equal(pvs_list(P, 99, 0, st, sizeof(st)), -22);
	sim_free(&s);
}

/* docker run -p 8080:7000: the wire says 10.0.0.200:8080, the application 10.0.0.2:7000. */
static void published_port(void **x)
{
	struct tp_config cfg = {.max_socks = 16};
	struct pvs_addr any = {.family = PVS_AF_INET, .port = __builtin_bswap16(7000)};
	struct pvs_addr to = {
	    .family = PVS_AF_INET, .port = __builtin_bswap16(8080), .addr = {10, 0, 0, 200}};
	struct pvs_neigh nb = {
	    .family = 2, .ifindex = 2, .addr = {10, 0, 0, 200}, .mac = {2, 0, 0, 0, 0, 2}};
	struct pvs_addr me;
	uint8_t host[16];
	struct sim s;
	char b[8];
	int l, a, f;

	sim_init(&s, 0, &cfg, 1 << 20);
	/* The nic cell's part: such frames reach host 1. */
	assert_int_equal(pvs_control(P, PVS_LIST_NEIGH, PVS_OP_ADD, &nb, sizeof(nb)), 0);
	tp_parse_addr("10.0.0.200", host);
	assert_int_equal(tp_publish(s.host[1].st, 6, host, 8080, 7000), 0);
	l = pvs_socket(Q, PVS_AF_INET, 1, 0, 0, 0);
	assert_int_equal(pvs_bind(Q, l, &any), 0);
	assert_int_equal(pvs_listen(Q, l, 5), 0);
	a = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	assert_int_equal(pvs_connect(P, a, &to), -115);
	sim_run(&s, S);
	f = pvs_accept(Q, l, 12, 12, NULL);
	assert_true(f >= 0);
	assert_int_equal(pvs_name(Q, f, false, &me), 0);
	assert_int_equal(me.port, __builtin_bswap16(7000));
	assert_memory_equal(me.addr, "\x0a\0\0\2", 4);
	assert_int_equal(pvs_send(Q, f, "web", 3), 3);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(P, a, b, 8), 3);
	sim_free(&s);
}

/* The cable is pulled for a minute in the middle of a transfer. */
static void cable_pulled(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[8];

	open_sim(&s, &c, 12);
	tp_if_link(s.host[0].st, 1, 0);
	assert_int_equal(pvs_send(P, c.a, "cable", 5), 5);
	sim_run(&s, 60 * S);
	tp_if_link(s.host[0].st, 1, 1);
	sim_run(&s, 1 * S);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), 5);
	sim_free(&s);
}

/* Flipped bits in the state of one connection cost that connection only. */
static void damaged_state(void **x)
{
	struct sim s;
	struct sim_conn c, d;
	uint8_t *state;
	char b[8];
	size_t i;

	open_sim(&s, &c, 12);
	d.a = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	{
		struct pvs_addr to = sim_addr(1, 7000, false);

		assert_int_equal(pvs_connect(P, d.a, &to), -115);
	}
	sim_run(&s, S);
	d.b = pvs_accept(Q, c.listener, 12, 12, NULL);
	assert_true(d.b >= 0);
	sim_run(&s, S);
	/* The second connection's control block is the last thing in use of host 0. */
	state = s.host[0].state;
	for (i = s.host[0].state_size - 1; i && !state[i]; i--)
		;
	state[i - 20] ^= 0x40;
	sim_restart(&s, 0);
	sim_run(&s, S);
	assert_int_equal(stat_of(&s, 0, "Tcp.AdoptFailed"), 1);
	assert_true(state_of(P, d.a) & PVS_ST_CLOSED);
	assert_int_equal(pvs_error(P, d.a), 104);
	assert_int_equal(pvs_send(P, c.a, "fine", 4), 4);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), 4);
	sim_free(&s);
}

/* Marks of which the instance that died had made, or taken, one half only. */
static void half_marks_are_made_whole(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[8];
	uint32_t before;

	open_sim(&s, &c, 12);
	while (pvs_next_event(Q) >= 0)
		;
	/* It had marked an event, and cleared client_idle, but rung no bell. */
	pvs_want(Q, c.b, PVS_EV_IN);
	assert_int_equal(pvs_send(P, c.a, "one", 3), 3);
	sim_run(&s, S);
	memset(Q->event->sum, 0, sizeof(Q->event->sum));
	Q->hdr->client_idle = 0;
	before = s.host[1].notifies;
	sim_restart(&s, 1);
	sim_run(&s, S);
	assert_true(s.host[1].notifies > before);
	for (int e; (e = pvs_next_event(Q)) != c.b;)
		assert_true(e >= 0);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), 3);
	/* It had taken the summary of a kick, not the kick. */
	assert_int_equal(pvs_send(P, c.a, "two", 3), 3);
	memset(P->kick->sum, 0, sizeof(P->kick->sum));
	sim_restart(&s, 0);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), 3);
	assert_int_equal(pvs_send(P, c.a, "three", 5), 5);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), 5);
	sim_free(&s);
}

/* A client that starts over takes nothing with it and leaves nothing behind. */
static int bind_new(struct pvs_client *c, int domain, const struct pvs_addr *a, bool reuse)
{
	int on = 1, f = pvs_socket(c, domain, PVS_SOCK_STREAM, 0, 0, 0), e;

	if (reuse)
		assert_int_equal(pvs_setopt(c, f, 1, 2, &on, 4), 0);
	e = pvs_bind(c, f, a);
	pvs_close(c, f, false);
	return e;
}

/* A port belongs to its connections until TIME-WAIT is over, as in Linux. */
static void ports_of_connections(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct pvs_addr at = sim_addr(1, 7000, false), any = at, any6, mine, other;
	int on = 1;

	open_sim(&s, &c, 12);
	memset(any.addr, 0, 16);
	other = any;
	other.addr[0] = 127;
	other.addr[3] = 1;
	any6 = (struct pvs_addr){.family = PVS_AF_INET6, .port = at.port};
	assert_int_equal(pvs_name(P, c.a, false, &mine), 0);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, false),
			 -98);                                        /* it chose that itself */
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, true), -98); /* both must agree */
	assert_int_equal(pvs_setopt(P, c.a, 1, 2, &on, 4), 0);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, false), -98);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, true), 0);
	/* The listener is gone, its connection not. */
	pvs_close(Q, c.listener, false);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &any, false), -98);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &at, true), -98);
	assert_int_equal(bind_new(Q, PVS_AF_INET6, &any6, false), -98);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &other, false), 0);
	/* FIN-WAIT-2, then TIME-WAIT; the other end has neither. */
	pvs_close(Q, c.b, false);
	sim_run(&s, S);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &any, false), -98);
	pvs_close(P, c.a, false);
	sim_run(&s, S);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, false), 0);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &any, false), -98);
	sim_restart(&s, 1);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &any, false), -98);
	sim_run(&s, 61 * S);
	assert_int_equal(bind_new(Q, PVS_AF_INET, &any, false), 0);
	sim_free(&s);
}

static void linger2(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct pvs_addr mine;
	int v = 5;

	open_sim(&s, &c, 12);
	assert_int_equal(pvs_name(P, c.a, false, &mine), 0);
	assert_int_equal(pvs_getopt(P, c.a, 6, 8, &v, 4), 4);
	assert_int_equal(v, 60);
	v = 5;
	assert_int_equal(pvs_setopt(P, c.a, 6, 8, &v, 4), 0);
	pvs_close(P, c.a, false);
	sim_run(&s, 4 * S);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, false), -98);
	sim_run(&s, 2 * S);
	assert_int_equal(bind_new(P, PVS_AF_INET, &mine, false), 0);
	sim_free(&s);
	open_sim(&s, &c, 12);
	v = -7;
	assert_int_equal(pvs_setopt(P, c.a, 6, 8, &v, 4), 0);
	assert_int_equal(pvs_getopt(P, c.a, 6, 8, &v, 4), 4);
	assert_int_equal(v, -1);
	pvs_close(P, c.a, false);
	sim_run(&s, S);
	assert_true(state_of(Q, c.b) & PVS_ST_CLOSED);
	sim_free(&s);
}

/* A connection that was reset before it was accepted is accepted, and says what came of it. */
static void accept_after_reset(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct pvs_addr to = sim_addr(1, 7000, false), peer;
	int f, g, h;
	char b[8];

	open_sim(&s, &c, 12);
	f = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	g = pvs_socket(P, PVS_AF_INET, 1, 0, 12, 12);
	assert_int_equal(pvs_connect(P, f, &to), -115);
	assert_int_equal(pvs_connect(P, g, &to), -115);
	sim_run(&s, S);
	assert_int_equal(pvs_send(P, f, "data", 4), 4);
	sim_run(&s, S);
	pvs_close(P, f, true);
	pvs_close(P, g, true);
	sim_run(&s, S);
	sim_restart(&s, 1);
	h = pvs_accept(Q, c.listener, 12, 12, &peer);
	assert_true(h >= 0);
	assert_memory_equal(peer.addr, "\x0a\0\0\1", 4);
	assert_true(state_of(Q, h) & PVS_ST_CLOSED);
	assert_int_equal(pvs_error(Q, h), 104);
	assert_int_equal(pvs_recv(Q, h, b, 8), 4);
	assert_int_equal(pvs_recv(Q, h, b, 8), 0);
	pvs_close(Q, h, false);
	pvs_close(Q, c.listener, false); /* with the other one in its queue */
	pvs_close(Q, c.b, true);
	sim_run(&s, S);
	assert_int_equal(tp_sock_count(s.host[1].st), 0);
	sim_free(&s);
}

static void client_restarts(void **x)
{
	struct sim s;
	struct sim_conn c;
	char b[8];

	open_sim(&s, &c, 12);
	P->hdr->client_gen++;
	sim_run(&s, S);
	assert_int_equal(tp_sock_count(s.host[0].st), 0);
	assert_int_equal(pvs_recv(Q, c.b, b, 8), -104);
	sim_free(&s);
}

static void wakeups_are_suppressed(void **x)
{
	struct sim s;
	struct sim_conn c;
	static char buf[4000];
	uint32_t before;

	open_sim(&s, &c, 16);
	/* Nobody sleeps: a busy stream rings no bell. */
	before = s.host[1].notifies;
	for (int i = 0; i < 200; i++) {
		pvs_send(P, c.a, buf, sizeof(buf));
		sim_run(&s, 5000000);
		while (pvs_recv(Q, c.b, buf, sizeof(buf)) > 0)
			;
	}
	assert_int_equal(s.host[1].notifies, before);
	/* Asleep and wanting data: one bell. */
	pvs_want(Q, c.b, PVS_EV_IN);
	while (pvs_next_event(Q) >= 0)
		;
	assert_true(pvs_idle_begin(Q));
	pvs_send(P, c.a, buf, sizeof(buf));
	sim_run(&s, S);
	assert_int_equal(s.host[1].notifies, before + 1);
	assert_int_equal(pvs_next_event(Q), c.b);
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_and_errors),
	    cmocka_unit_test(half_close_and_time_wait),
	    cmocka_unit_test(simultaneous_close),
	    cmocka_unit_test(simultaneous_open),
	    cmocka_unit_test(close_with_unread_data_resets),
	    cmocka_unit_test(linger_zero_resets),
	    cmocka_unit_test(release_waits_for_data),
	    cmocka_unit_test(urgent_data),
	    cmocka_unit_test(zero_window_is_probed),
	    cmocka_unit_test(keepalive_and_user_timeout),
	    cmocka_unit_test(rings_grow_under_way),
	    cmocka_unit_test(info_and_options),
	    cmocka_unit_test(nodelay_pushes_what_is_corked),
	    cmocka_unit_test(datagrams),
	    cmocka_unit_test(ping_raw_packet),
	    cmocka_unit_test(loopback),
	    cmocka_unit_test(lists_and_control),
	    cmocka_unit_test(published_port),
	    cmocka_unit_test(cable_pulled),
	    cmocka_unit_test(damaged_state),
	    cmocka_unit_test(half_marks_are_made_whole),
	    cmocka_unit_test(client_restarts),
	    cmocka_unit_test(accept_after_reset),
	    cmocka_unit_test(ports_of_connections),
	    cmocka_unit_test(linger2),
	    cmocka_unit_test(wakeups_are_suppressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
