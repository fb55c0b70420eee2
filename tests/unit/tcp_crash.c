/* SPDX-License-Identifier: ISC */
/*
 * The instance dies between any two stores that a command makes (tcp_mortal.h), and the next one
 * goes on: each request has the answer it would have had, and has happened once.
 */
#include "tests/unit/tcp_mortal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define S 1000000000ull
#define P (&s->host[0].c)
#define Q (&s->host[1].c)

/* ---- the scenarios ---- */

static uint32_t count(struct sim *s, unsigned i)
{
	return tp_sock_count(s->host[i].st);
}

static int tcp(struct pvs_client *c)
{
	return pvs_socket(c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
}

static int udp(struct pvs_client *c)
{
	return pvs_socket(c, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);
}

static void pair(struct sim *s, struct sim_conn *c)
{
	CHECK(sim_connect(s, c, false, 12));
}

/* Until fd has n bytes, or its end. */
static void expect(struct sim *s, struct pvs_client *c, int fd, const char *want)
{
	char b[4096];
	int n = -11, have = 0;

	for (int i = 0; i < 400 && (n == -11 || n > 0) && have < (int)strlen(want); i++) {
		sim_step(s, s->now + S / 100);
		n = pvs_recv(c, fd, b + have, sizeof(b) - (unsigned)have);
		have += n > 0 ? n : 0;
	}
	CHECK(have == (int)strlen(want) && !memcmp(b, want, (size_t)have));
}

static void expect_end(struct sim *s, struct pvs_client *c, int fd, int end)
{
	char b[16];
	int n = -11;

	for (int i = 0; i < 400 && n == -11; i++) {
		sim_step(s, s->now + S / 100);
		n = pvs_recv(c, fd, b, sizeof(b));
	}
	CHECK(n == end);
}

static void talk(struct sim *s, struct sim_conn *c)
{
	CHECK(pvs_send(P, c->a, "to b", 4) == 4);
	expect(s, Q, c->b, "to b");
	CHECK(pvs_send(Q, c->b, "to a", 4) == 4);
	expect(s, P, c->a, "to a");
}

static void wait_free(struct sim *s, struct pvs_client *c, int fd)
{
	for (int i = 0; i < 2000 && c->sock[fd].used; i++) {
		sim_step(s, s->now + S / 100);
		pvs_next_event(c);
	}
	CHECK(!c->sock[fd].used);
}

static void make_socket(struct sim *s)
{
	struct pvs_addr to = sim_addr(1, 9, false), name;
	uint32_t had = count(s, 0);
	int a, b;

	mortal_arm(s, 0, 1);
	a = tcp(P);
	b = udp(P);
	mortal_disarm();
	CHECK(a >= 0 && b >= 0 && a != b && count(s, 0) == had + 2);
	CHECK(pvs_name(P, a, false, &name) == 0 && !name.port);
	CHECK(pvs_connect(P, b, &to) == 0);
}

static void make_bad_socket(struct sim *s)
{
	uint32_t had = count(s, 0);

	mortal_arm(s, 0, 1);
	CHECK(pvs_socket(P, 1, 1, 0, 12, 12) == -97);
	mortal_disarm();
	CHECK(count(s, 0) == had);
}

static void name_socket(struct sim *s)
{
	struct pvs_addr at = sim_addr(0, 5000, false), name;
	int a = tcp(P), b = tcp(P);

	mortal_arm(s, 0, 1);
	CHECK(pvs_bind(P, a, &at) == 0);
	CHECK(pvs_bind(P, b, &at) == -98);
	mortal_disarm();
	CHECK(pvs_bind(P, a, &at) == -22);
	CHECK(pvs_name(P, a, false, &name) == 0 && name.port == at.port);
	CHECK(pvs_close(P, a, false) == 0);
	wait_free(s, P, a);
	CHECK(pvs_bind(P, b, &at) == 0);
}

static void listen_to(struct sim *s)
{
	struct pvs_addr at = sim_addr(1, 5000, false);
	int l = tcp(Q), a = tcp(P), b = -1;

	CHECK(pvs_bind(Q, l, &at) == 0);
	mortal_arm(s, 1, 1);
	CHECK(pvs_listen(Q, l, 4) == 0);
	mortal_disarm();
	CHECK(pvs_connect(P, a, &at) == -115);
	for (int i = 0; i < 400 && b < 0; i++) {
		sim_step(s, s->now + S / 100);
		b = pvs_accept(Q, l, 12, 12, NULL);
	}
	CHECK(b >= 0);
}

static void connect_stream(struct sim *s)
{
	struct sim_conn c = {.listener = tcp(Q), .a = tcp(P), .b = -1};
	struct pvs_addr at = sim_addr(1, 5000, false);

	CHECK(pvs_bind(Q, c.listener, &at) == 0 && pvs_listen(Q, c.listener, 4) == 0);
	mortal_arm(s, 0, 1);
	CHECK(pvs_connect(P, c.a, &at) == -115);
	mortal_disarm();
	for (int i = 0; i < 1000 && c.b < 0; i++) {
		sim_step(s, s->now + S / 100);
		c.b = pvs_accept(Q, c.listener, 12, 12, NULL);
	}
	CHECK(c.b >= 0);
	talk(s, &c);
	CHECK(pvs_accept(Q, c.listener, 12, 12, NULL) == -11);
	CHECK(pvs_connect(P, c.a, &at) == -106);
}

static void connect_dgram(struct sim *s)
{
	struct pvs_addr at = sim_addr(1, 5000, false), none = {0}, name;
	struct pvs_dgram d = {0};
	int a = udp(P), b = udp(Q);
	char buf[8];

	CHECK(pvs_bind(Q, b, &at) == 0);
	mortal_arm(s, 0, 1);
	CHECK(pvs_connect(P, a, &at) == 0);
	mortal_disarm();
	CHECK(pvs_name(P, a, true, &name) == 0 && name.port == at.port);
	CHECK(pvs_sendto(P, a, &d, "hello", 5) == 5);
	sim_run(s, S / 10);
	CHECK(pvs_recvfrom(Q, b, &d, buf, sizeof(buf)) == 5);
	mortal_arm(s, 0, 1);
	CHECK(pvs_connect(P, a, &none) == 0);
	mortal_disarm();
	CHECK(pvs_name(P, a, true, &name) == -107);
}

static void accept_one(struct sim *s)
{
	struct sim_conn c = {.listener = tcp(Q), .a = tcp(P)};
	struct pvs_addr at = sim_addr(1, 5000, false), peer;
	uint32_t had;

	CHECK(pvs_bind(Q, c.listener, &at) == 0 && pvs_listen(Q, c.listener, 4) == 0);
	CHECK(pvs_connect(P, c.a, &at) == -115);
	sim_run(s, S / 10);
	CHECK(pvs_send(P, c.a, "early", 5) == 5);
	sim_run(s, S / 10);
	had = count(s, 1);
	mortal_arm(s, 1, 1);
	c.b = pvs_accept(Q, c.listener, 12, 12, &peer);
	mortal_disarm();
	CHECK(c.b >= 0 && peer.addr[3] == 1 && count(s, 1) == had);
	expect(s, Q, c.b, "early");
	CHECK(pvs_accept(Q, c.listener, 12, 12, NULL) == -11);
	talk(s, &c);
}

static void shut_down(struct sim *s)
{
	struct sim_conn c;

	pair(s, &c);
	mortal_arm(s, 0, 2);
	CHECK(pvs_shutdown(P, c.a, 1) == 0);
	mortal_disarm();
	expect_end(s, Q, c.b, 0);
	CHECK(pvs_send(P, c.a, "x", 1) == -32);
	CHECK(pvs_send(Q, c.b, "still", 5) == 5);
	expect(s, P, c.a, "still");
}

static void options(struct sim *s)
{
	struct sim_conn c;
	uint8_t group[8] = {239, 1, 2, 3}, long_one[136] = {1};
	int u, one = 1, v = 0;

	pair(s, &c);
	u = udp(P);
	long_one[8] = PVS_AF_INET; /* struct group_req */
	memcpy(long_one + 12, "\357\1\2\4", 4);
	mortal_arm(s, 0, 1);
	CHECK(pvs_setopt(P, c.a, 6, 1, &one, 4) == 0);
	CHECK(pvs_setopt(P, u, 0, 35, group, 8) == 0); /* a second would be EADDRINUSE */
	CHECK(pvs_getopt(P, c.a, 6, 1, &v, 4) == 4 && v == 1);
	CHECK(pvs_setopt(P, u, 0, 42, long_one, sizeof(long_one)) <= 0);
	mortal_disarm();
	CHECK(pvs_setopt(P, u, 0, 35, group, 8) == -98);
	CHECK(pvs_setopt(P, u, 0, 36, group, 8) == 0);
	talk(s, &c);
}

static void pending_error(struct sim *s)
{
	struct pvs_addr at = sim_addr(1, 5000, false);
	int a = tcp(P), v = 0;

	CHECK(pvs_connect(P, a, &at) == -115); /* nobody listens */
	sim_run(s, S);
	mortal_arm(s, 0, 1);
	CHECK(pvs_getopt(P, a, 1, 4, &v, 4) == 4 && v == 111);
	CHECK(pvs_getopt(P, a, 1, 4, &v, 4) == 4 && v == 0);
	mortal_disarm();
}

static void exchange_rings(struct sim *s)
{
	struct sim_conn c;
	char text[3001];

	for (unsigned i = 0; i < 3000; i++)
		text[i] = (char)('a' + i % 26);
	text[3000] = 0;
	pair(s, &c);
	CHECK(pvs_send(P, c.a, text, 3000) == 3000);
	sim_run(s, S / 10);
	CHECK(pvs_send(Q, c.b, text, 3000) == 3000);
	mortal_arm(s, 1, 8);
	CHECK(pvs_grow(Q, c.b, 13, 14) == 0);
	CHECK(pvs_grow(Q, c.b, 0, 10) == -16);
	mortal_disarm();
	expect(s, Q, c.b, text);
	expect(s, P, c.a, text);
	talk(s, &c);
}

/* Data is still to be sent: the answer comes when it is acknowledged, and is one. */
static void close_stream(struct sim *s)
{
	struct sim_conn c;
	uint32_t had, left;

	pair(s, &c);
	had = count(s, 0);
	left = pvs_heap_left(P);
	CHECK(pvs_send(P, c.a, "last words", 10) == 10);
	mortal_arm(s, 0, 3);
	CHECK(pvs_close(P, c.a, false) == 0);
	wait_free(s, P, c.a);
	mortal_disarm();
	CHECK(pvs_heap_left(P) > left);
	expect(s, Q, c.b, "last words");
	expect_end(s, Q, c.b, 0);
	CHECK(pvs_close(Q, c.b, false) == 0);
	wait_free(s, Q, c.b);
	sim_run(s, 200 * S); /* TIME-WAIT */
	CHECK(count(s, 0) == had - 1);
}

static void close_hard(struct sim *s)
{
	struct sim_conn c;
	uint32_t had;

	pair(s, &c);
	had = count(s, 0);
	mortal_arm(s, 0, 1);
	CHECK(pvs_close(P, c.a, true) == 0);
	wait_free(s, P, c.a);
	mortal_disarm();
	expect_end(s, Q, c.b, -104);
	CHECK(count(s, 0) == had - 1);
}

static void close_dgram(struct sim *s)
{
	struct pvs_addr at = sim_addr(1, 5000, false);
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = at};
	struct sim_conn c;
	uint32_t had;
	int a, b = udp(Q), n = 0;
	char buf[8];

	pair(s, &c); /* what waits for a neighbour's address may be lost */
	had = count(s, 0);
	a = udp(P);
	CHECK(pvs_bind(Q, b, &at) == 0);
	CHECK(pvs_sendto(P, a, &d, "bye", 3) == 3);
	mortal_arm(s, 0, 1);
	CHECK(pvs_close(P, a, false) == 0);
	wait_free(s, P, a);
	mortal_disarm();
	sim_run(s, S / 10);
	while (pvs_recvfrom(Q, b, &d, buf, sizeof(buf)) == 3)
		n++;
	/* A death between the packet and the count of it repeats it, as a network may. */
	CHECK(n >= 1 && n <= 2 && count(s, 0) == had);
	a = udp(P);
	CHECK(pvs_bind(P, a, &(struct pvs_addr){.family = PVS_AF_INET}) == 0);
}

static void close_listener(struct sim *s)
{
	struct pvs_addr at = sim_addr(1, 5000, false);
	uint32_t had = count(s, 1);
	int l = tcp(Q), a = tcp(P), b = tcp(P);

	CHECK(pvs_bind(Q, l, &at) == 0 && pvs_listen(Q, l, 4) == 0);
	CHECK(pvs_connect(P, a, &at) == -115 && pvs_connect(P, b, &at) == -115);
	sim_run(s, S);
	mortal_arm(s, 1, 1);
	CHECK(pvs_close(Q, l, false) == 0);
	wait_free(s, Q, l);
	mortal_disarm();
	expect_end(s, P, a, -104);
	expect_end(s, P, b, -104);
	CHECK(count(s, 1) == had);
	l = tcp(Q);
	CHECK(pvs_bind(Q, l, &at) == 0);
}

/* Answers that find the response ring full wait, and outlive the instance. */
static void close_many(struct sim *s)
{
	uint32_t had = count(s, 0), left = pvs_heap_left(P);
	int fd[24], n = 0;

	for (; n < 24; n++) {
		fd[n] = pvs_socket(P, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 9, 9);
		CHECK(fd[n] >= 0);
	}
	/* NOPs that nobody reads the answers of: no room for all of the RELEASEs. */
	for (int i = 0; i < 50; i++) {
		struct pvs_req q = {.cmd = PVS_CMD_NOP};

		pvs_submit(P, &q);
	}
	tp_poll(s->host[0].st);
	for (int i = 0; i < n; i++)
		CHECK(pvs_close(P, fd[i], false) == 0);
	mortal_arm(s, 0, 5);
	for (int i = 0; i < n; i++)
		wait_free(s, P, fd[i]);
	mortal_disarm();
	CHECK(count(s, 0) == had && pvs_heap_left(P) == left);
}

/* No command: bytes on their way, both ways, in order and not. */
static void transfer(struct sim *s)
{
	struct sim_conn c;
	char text[3001];

	for (unsigned i = 0; i < 3000; i++)
		text[i] = (char)('a' + i % 26);
	text[3000] = 0;
	pair(s, &c);
	s->reorder = 3000;
	for (int i = 0; i < 2; i++) {
		mortal_arm(s, 1, 9);
		CHECK(pvs_send(P, c.a, text, 3000) == 3000);
		CHECK(pvs_send(Q, c.b, text, 3000) == 3000);
		expect(s, Q, c.b, text);
		expect(s, P, c.a, text);
		mortal_disarm();
		sim_run(s, 5 * S); /* all is acknowledged */
	}
	CHECK(pvs_close(P, c.a, false) == 0);
	expect_end(s, Q, c.b, 0);
}

static void configure(struct sim *s)
{
	struct pvs_ifaddr a = {.ifindex = 2, .family = PVS_AF_INET, .prefixlen = 24};
	struct pvs_ifaddr got[16];
	int n, hits = 0;

	memcpy(a.addr, "\xa\1\2\3", 4);
	mortal_arm(s, 0, 19);
	CHECK(pvs_control(P, PVS_LIST_ADDR, PVS_OP_ADD, &a, sizeof(a)) == 0);
	CHECK(pvs_control(P, PVS_LIST_ADDR, PVS_OP_ADD, &a, sizeof(a)) == -17);
	n = pvs_list(P, PVS_LIST_ADDR, 0, got, sizeof(got));
	mortal_disarm();
	CHECK(n > 0);
	for (int i = 0; i < n; i++)
		hits += !memcmp(got[i].addr, a.addr, 4);
	CHECK(hits == 1);
	mortal_arm(s, 0, 19);
	CHECK(pvs_control(P, PVS_LIST_ADDR, PVS_OP_DEL, &a, sizeof(a)) == 0);
	mortal_disarm();
	CHECK(pvs_control(P, PVS_LIST_ADDR, PVS_OP_DEL, &a, sizeof(a)) == -99);
}

static void run(void (*scenario)(struct sim *s), const char *name)
{
	struct tp_config cfg = {.max_socks = 64, .early_bufs = 8, .time_wait_ms = 60000};
	struct sim s;

	mortal_begin(name);
	sim_init(&s, 0, &cfg, 512 << 10);
	scenario(&s);
	assert_true(mortal_end() > 5);
	sim_free(&s);
}

/* Nothing of the state is left: what the client has is over, and it can begin anew. */
static void all_is_lost(void **x)
{
	struct tp_config cfg = {.max_socks = 64};
	struct sim_conn c;
	struct sim sim, *s = &sim;
	struct pvs_addr name;
	int u;

	sim_init(s, 0, &cfg, 512 << 10);
	mortal_begin("all_is_lost");
	pair(s, &c);
	u = udp(P);
	CHECK(pvs_send(P, c.a, "unheard", 7) == 7);
	s->loss = 10000;
	sim_run(s, S / 10);
	CHECK(pvs_close(P, c.a, false) == 0); /* not answered before the data is */
	sim_run(s, S / 10);
	pvs_next_event(P);
	CHECK(P->sock[c.a].used);
	memset(s->host[0].state, 0, s->host[0].state_size);
	sim_restart(s, 0);
	s->loss = 0;
	wait_free(s, P, c.a);
	CHECK(P->slot[u].state & PVS_ST_CLOSED && pvs_error(P, u) == 104);
	CHECK(pvs_name(P, u, false, &name) == -9);
	CHECK(pvs_close(P, u, false) == 0);
	wait_free(s, P, u);
	CHECK(udp(P) >= 0);
	sim_free(s);
}

#define SCENARIO(f)                    \
	static void test_##f(void **x) \
	{                              \
		run(f, #f);            \
	}
#define SCENARIOS(X)       \
	X(make_socket)     \
	X(make_bad_socket) \
	X(name_socket)     \
	X(listen_to)       \
	X(connect_stream)  \
	X(connect_dgram)   \
	X(accept_one)      \
	X(shut_down)       \
	X(options)         \
	X(pending_error)   \
	X(exchange_rings)  \
	X(close_stream)    \
	X(close_hard) X(close_dgram) X(close_listener) X(close_many) X(transfer) X(configure)
SCENARIOS(SCENARIO)

int main(void)
{
#define TEST(f) cmocka_unit_test(test_##f),
	const struct CMUnitTest tests[] = {SCENARIOS(TEST) cmocka_unit_test(all_is_lost)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
