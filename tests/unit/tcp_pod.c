/* SPDX-License-Identifier: ISC */
/* A pod: several clients share one stack; each has its own sockets, all share the rest. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define REGION (1u << 20)
#define S      1000000000ull
#define IN4    PVS_AF_INET
#define STREAM PVS_SOCK_STREAM

/* The second client of host 1's stack; the first is the simulation's own. */
struct guest {
	struct sim_host *h;
	void *region, *memory;
	struct pvs_client c;
};

static void notify_stack(void *ctx)
{
	((struct guest *)ctx)->h->deadline = 0;
}

static void wait_stack(void *ctx)
{
	struct guest *g = ctx;

	g->h->deadline = tp_poll(g->h->st);
}

static void guest_start(struct guest *g, struct sim *s)
{
	g->h = &s->host[1];
	g->region = aligned_alloc(4096, REGION);
	memset(g->region, 0, REGION);
	g->memory = calloc(1, pvs_memory(REGION, 128));
	assert_int_equal(
	    pvs_init(&g->c, g->region, REGION, 128, 1, g->memory, notify_stack, wait_stack, g),
	    0);
	tp_attach_client(g->h->st, 1, g->region, REGION);
	assert_true(pvs_ready(&g->c));
}

static void guest_end(struct guest *g)
{
	free(g->region);
	free(g->memory);
}

static void pod_start(struct sim *s, struct sim_conn *c, struct guest *g)
{
	struct tp_config cfg = {.max_socks = 64, .time_wait_ms = 60000};

	sim_init(s, 0, &cfg, 4 << 20);
	assert_true(sim_connect(s, c, false, 12));
	guest_start(g, s);
}

static struct pvs_addr loopback(uint16_t port)
{
	struct pvs_addr a = {.family = IN4, .port = __builtin_bswap16(port)};

	memcpy(a.addr, "\x7f\0\0\1", 4);
	return a;
}

static int listen_on(struct pvs_client *c, const struct pvs_addr *a)
{
	int l = pvs_socket(c, IN4, STREAM, 0, 0, 0);

	assert_true(l >= 0);
	assert_int_equal(pvs_bind(c, l, a), 0);
	assert_int_equal(pvs_listen(c, l, 4), 0);
	return l;
}

/* A pod whose guest listens on port 80 of the loopback; the header of the guest's region. */
static struct pvs_header *pod_listening(struct sim *s, struct sim_conn *c, struct guest *g)
{
	struct pvs_addr at = loopback(80);

	pod_start(s, c, g);
	listen_on(&g->c, &at);
	return g->region;
}

/* Bytes go both ways between two sockets of whatever clients. */
static void talk(struct sim *s, struct pvs_client *p, int a, struct pvs_client *q, int b)
{
	char buf[8];

	assert_int_equal(pvs_send(p, a, "to b", 4), 4);
	sim_run(s, S);
	assert_int_equal(pvs_recv(q, b, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "to b", 4);
	assert_int_equal(pvs_send(q, b, "to a", 4), 4);
	sim_run(s, S);
	assert_int_equal(pvs_recv(p, a, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "to a", 4);
}

/* A client connects to the guest's listener: its end; *b: the guest's. */
static int connect_to(struct sim *s, struct pvs_client *p, const struct pvs_addr *at,
		      struct guest *g, int l, int *b)
{
	int a = pvs_socket(p, IN4, STREAM, 0, 12, 12);

	assert_int_equal(pvs_connect(p, a, at), -115);
	sim_run(s, S);
	*b = pvs_accept(&g->c, l, 12, 12, NULL);
	assert_true(*b >= 0);
	return a;
}

static void loopback_and_ports_are_common(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_addr at = loopback(80), taken = sim_addr(1, 7000, false);
	int l, a, b;

	pod_start(&s, &c, &g);
	/* The first client listens on 7000 of every address. */
	l = pvs_socket(&g.c, IN4, STREAM, 0, 0, 0);
	assert_int_equal(pvs_bind(&g.c, l, &taken), -98);
	l = listen_on(&g.c, &at);
	a = connect_to(&s, &s.host[1].c, &at, &g, l, &b);
	talk(&s, &s.host[1].c, a, &g.c, b);
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	/* What one closes, the other sees; neither sees the other's slots. */
	assert_int_equal(pvs_close(&g.c, b, false), 0);
	sim_run(&s, S);
	assert_int_equal(pvs_recv(&s.host[1].c, a, &at, 1), 0);
	assert_int_equal(pvs_shutdown(&g.c, 60, 1), -9);
	sim_free(&s);
	guest_end(&g);
}

static void from_outside(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_addr at = sim_addr(1, 8000, false);
	int l, a, b;

	pod_start(&s, &c, &g);
	l = listen_on(&g.c, &at);
	a = connect_to(&s, &s.host[0].c, &at, &g, l, &b);
	talk(&s, &s.host[0].c, a, &g.c, b);
	sim_free(&s);
	guest_end(&g);
}

static void a_hostile_client_harms_itself(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_header *h = pod_listening(&s, &c, &g);

	h->req_prod += 5000;
	sim_run(&s, S);
	s.host[1].deadline = tp_poll(s.host[1].st);
	assert_int_equal(h->server_error, -71);
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	assert_int_equal(tp_sock_count(s.host[1].st), 2);
	/* Rings that lie outside of its region, or in the header. */
	guest_end(&g);
	guest_start(&g, &s);
	for (uint32_t i = 0; i < 4; i++) {
		static const uint32_t off[] = {0, REGION, REGION - 64, 0xffffffc0u};
		struct pvs_req q = {.cmd = PVS_CMD_SOCKET, .sock = i};
		struct pvs_rsp r = {0};

		q.u.socket.domain = IN4;
		q.u.socket.type = STREAM;
		q.u.socket.rings = (struct pvs_rings){
		    .tx_off = off[i], .rx_off = off[i], .tx_order = 12, .rx_order = 12};
		pvs_submit(&g.c, &q);
		s.host[1].deadline = tp_poll(s.host[1].st);
		assert_true(pvs_response(&g.c, &r));
		assert_int_equal(r.ret, -22);
	}
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	sim_free(&s);
	guest_end(&g);
}

/* The channel goes with the container: its memory is not touched any more. */
static void one_leaves(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_addr at = loopback(80);
	int a;

	pod_start(&s, &c, &g);
	listen_on(&g.c, &at);
	a = pvs_socket(&s.host[1].c, IN4, STREAM, 0, 12, 12);
	assert_int_equal(pvs_connect(&s.host[1].c, a, &at), -115);
	sim_run(&s, S);
	tp_detach_client(s.host[1].st, 1);
	guest_end(&g);
	s.host[1].deadline = tp_poll(s.host[1].st);
	sim_run(&s, S);
	assert_true(s.host[1].c.slot[a].state & PVS_ST_CLOSED);
	assert_int_equal(pvs_error(&s.host[1].c, a), 104);
	assert_int_equal(tp_sock_count(s.host[1].st),
			 3); /* listener, connection, the reset one */
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	/* Another one takes its place. */
	guest_start(&g, &s);
	listen_on(&g.c, &at);
	sim_free(&s);
	guest_end(&g);
}

static void restart(struct sim *s, struct guest *g)
{
	struct sim_host *h = &s->host[1];

	sim_restart_begin(s, 1);
	if (g)
		tp_attach_client(h->st, 1, g->region, REGION);
	h->deadline = tp_poll(h->st);
}

static void both_are_adopted(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_addr at = loopback(80);
	int l, a, b;

	pod_start(&s, &c, &g);
	l = listen_on(&g.c, &at);
	a = connect_to(&s, &s.host[1].c, &at, &g, l, &b);
	assert_int_equal(pvs_send(&g.c, b, "kept", 4), 4);
	restart(&s, &g);
	assert_int_equal(tp_adopted(s.host[1].st), 5);
	sim_run(&s, 5 * S);
	assert_int_equal(pvs_recv(&s.host[1].c, a, &at, 16), 4);
	talk(&s, &s.host[1].c, a, &g.c, b);
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	/* Without the second one: its sockets are gone, the first's are not. */
	restart(&s, NULL);
	assert_int_equal(tp_adopted(s.host[1].st), 3);
	sim_run(&s, 5 * S);
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	/* It comes back later with its region as it was: nothing of the old is believed. */
	tp_attach_client(s.host[1].st, 1, g.region, REGION);
	sim_run(&s, S);
	assert_int_equal(pvs_shutdown(&g.c, b, 1), -9);
	sim_free(&s);
	guest_end(&g);
}

static void nobody_takes_everything(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	int n = 0, m = 0;

	pod_start(&s, &c, &g);
	while (pvs_socket(&g.c, IN4, STREAM, 0, 0, 0) >= 0)
		n++;
	while (pvs_socket(&s.host[1].c, IN4, STREAM, 0, 0, 0) >= 0)
		m++;
	/* 64 in all; 2 were the first's before; a quarter of them is its own. */
	assert_true(n >= 40);
	assert_int_equal(m, 14);
	sim_free(&s);
	guest_end(&g);
}

/* A client that begins anew and never gets ready must not keep the stack from sleeping. */
static void half_begun(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct guest g;
	struct pvs_addr at = loopback(80);
	struct pvs_header *h = pod_listening(&s, &c, &g);

	h->magic = 0;
	h->client_gen++;
	tp_poll(g.h->st);
	assert_int_equal(tp_idle_begin(g.h->st), 1);
	tp_idle_end(g.h->st);
	listen_on(&s.host[1].c, &at); /* what it had is free */
	talk(&s, &s.host[0].c, c.a, &s.host[1].c, c.b);
	sim_free(&s);
	guest_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(loopback_and_ports_are_common),
	    cmocka_unit_test(from_outside),
	    cmocka_unit_test(a_hostile_client_harms_itself),
	    cmocka_unit_test(one_leaves),
	    cmocka_unit_test(both_are_adopted),
	    cmocka_unit_test(nobody_takes_everything),
	    cmocka_unit_test(half_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
