/* SPDX-License-Identifier: ISC */
/* Byte-exact transfers between two stacks, over links from perfect to awful. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CSUM (TP_CAP_CSUM | TP_CAP_TSO4 | TP_CAP_TSO6)

/* What byte i of stream k is: any slip shows. */
static uint8_t pattern(uint32_t k, uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull + k * 0xc2b2ae3d27d4eb4full;

	return (uint8_t)(x >> 56);
}

struct flow {
	struct pvs_client *c;
	int s;
	uint32_t key;
	uint64_t sent, got, total;
	bool shut, eof;
};

static void pump_out(struct flow *f)
{
	uint8_t buf[8192];
	int n, m;

	while (f->sent < f->total) {
		n = (int)(f->total - f->sent < sizeof(buf) ? f->total - f->sent : sizeof(buf));
		for (int i = 0; i < n; i++)
			buf[i] = pattern(f->key, f->sent + (uint64_t)i);
		m = pvs_send(f->c, f->s, buf, (uint32_t)n);
		if (m == -11)
			return;
		assert_true(m > 0);
		f->sent += (uint64_t)m;
	}
	if (!f->shut) {
		assert_int_equal(pvs_shutdown(f->c, f->s, 1), 0);
		f->shut = true;
	}
}

static void pump_in(struct flow *f, uint32_t key, uint32_t most)
{
	uint8_t buf[8192];
	int m;

	while (!f->eof) {
		m = pvs_recv(f->c, f->s, buf, most < sizeof(buf) ? most : sizeof(buf));
		if (m == -11)
			return;
		assert_true(m >= 0);
		f->eof = m == 0;
		for (int i = 0; i < m; i++)
			assert_int_equal(buf[i], pattern(key, f->got + (uint64_t)i));
		f->got += (uint64_t)m;
		if (most < sizeof(buf))
			return; /* a slow reader takes one bite a step */
	}
}

struct shape {
	uint32_t loss, dup, reorder, corrupt;
	uint64_t delay, rate;
	uint32_t caps, order, total, bite, pmtu, qlimit;
	bool v6, blackhole, restart;
	uint32_t tx_limit;
};

static unsigned restarts_done;

static uint64_t run(const struct shape *p, struct sim *s)
{
	struct tp_config cfg = {.max_socks = 64};
	struct sim_conn c;
	struct flow a, b;
	uint64_t start, next = 0;
	uint32_t steps = 0;

	sim_init(s, p->caps, &cfg, 4 << 20);
	s->loss = p->loss;
	s->dup = p->dup;
	s->reorder = p->reorder;
	s->corrupt = p->corrupt;
	s->delay = p->delay ? p->delay : 1000000;
	s->rate = p->rate;
	s->qlimit = p->qlimit;
	s->host[0].tx_limit = s->host[1].tx_limit = p->tx_limit;
	assert_true(sim_connect(s, &c, p->v6, p->order));
	s->pmtu = p->pmtu;
	s->blackhole = p->blackhole;
	start = s->now;
	a = (struct flow){&s->host[0].c, c.a, 1, 0, 0, p->total, 0, 0};
	b = (struct flow){&s->host[1].c, c.b, 2, 0, 0, p->total / 2, 0, 0};
	while (!a.eof || !b.eof) {
		pump_out(&a);
		pump_out(&b);
		sim_step(s, s->now + 50000000);
		pump_in(&a, 2, 8192);
		pump_in(&b, 1, p->bite ? p->bite : 8192);
		if (p->restart && s->now >= next) {
			unsigned i = ++steps & 1;

			next = s->now + 100000000;
			sim_restart(s, i);
			/* Two: the connection, and on host 1 the listener. */
			assert_int_equal(tp_adopted(s->host[i].st), i + 1);
			restarts_done++;
		}
		assert_true(s->now - start < 3600ull * 1000000000ull);
	}
	assert_int_equal(b.got, p->total);
	assert_int_equal(a.got, p->total / 2);
	start = s->now - start;
	assert_int_equal(pvs_close(a.c, a.s, false), 0);
	assert_int_equal(pvs_close(b.c, b.s, false), 0);
	s->loss = 0;
	sim_run(s, 130ull * 1000000000ull);
	/* TIME-WAIT is over: only the listener is left. */
	assert_int_equal(tp_sock_count(s->host[0].st), 0);
	assert_int_equal(tp_sock_count(s->host[1].st), 1);
	return start;
}

static void check(struct shape p)
{
	struct sim s;

	run(&p, &s);
	sim_free(&s);
}

static void clean_link(void **x)
{
	check((struct shape){.order = 16, .total = 3 << 20});
	check((struct shape){.order = 16, .total = 3 << 20, .caps = CSUM});
	check((struct shape){.order = 17, .total = 3 << 20, .caps = CSUM, .v6 = true});
	check((struct shape){.order = 16, .total = 1 << 20, .v6 = true});
}

static void loss(void **x)
{
	check((struct shape){.order = 16, .total = 1 << 20, .loss = 100});
	check((struct shape){.order = 16, .total = 1 << 20, .loss = 500, .caps = CSUM});
	check((struct shape){.order = 15, .total = 200000, .loss = 2000, .v6 = true});
}

static void reordering_and_duplicates(void **x)
{
	check((struct shape){.order = 16, .total = 1 << 20, .reorder = 1000});
	check((struct shape){
	    .order = 16, .total = 1 << 20, .reorder = 3000, .dup = 1000, .loss = 50});
}

static void corruption(void **x)
{
	check((struct shape){.order = 16, .total = 1 << 20, .corrupt = 300});
}

static void everything(void **x)
{
	check((struct shape){.order = 16,
			     .total = 500000,
			     .corrupt = 100,
			     .loss = 300,
			     .dup = 300,
			     .reorder = 1000,
			     .delay = 20000000});
}

static void tiny_windows(void **x)
{
	check((struct shape){.order = 9, .total = 100000});
	check((struct shape){.order = 9, .total = 30000, .loss = 300, .bite = 17});
	check((struct shape){.order = 12, .total = 200000, .bite = 100, .caps = CSUM});
}

static void path_mtu(void **x)
{
	check((struct shape){.order = 16, .total = 400000, .pmtu = 900});
	check((struct shape){.order = 16, .total = 400000, .pmtu = 1300, .v6 = true});
	check((struct shape){.order = 16, .total = 200000, .pmtu = 1200, .blackhole = true});
}

static void full_device(void **x)
{
	check((struct shape){.order = 16, .total = 1 << 20, .tx_limit = 4});
}

static unsigned from_reader;

static bool count_from_reader(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
	from_reader += from == 1;
	return true;
}

/* Bulk data is acknowledged when it has been read, with the window; or soon all the same. */
static void acknowledged_with_the_window(void **x)
{
	struct tp_config cfg = {.max_socks = 64};
	struct sim_conn c;
	struct sim s;
	static uint8_t buf[60000];
	uint64_t began;

	sim_init(&s, CSUM, &cfg, 4 << 20);
	s.delay = 100000;
	assert_true(sim_connect(&s, &c, false, 18));
	for (int i = 0; i < 400;
	     i++) { /* past the start, when everything is answered at once */
		pvs_send(&s.host[0].c, c.a, buf, sizeof(buf));
		sim_run(&s, 10000000);
		while (pvs_recv(&s.host[1].c, c.b, buf, sizeof(buf)) > 0)
			;
	}
	sim_run(&s, 50000000);
	s.filter = count_from_reader;
	from_reader = 0;
	assert_int_equal(pvs_send(&s.host[0].c, c.a, buf, 40000), 40000);
	sim_run(&s, 1000000);
	assert_int_equal(from_reader, 0);
	assert_int_equal(pvs_recv(&s.host[1].c, c.b, buf, sizeof(buf)), 40000);
	sim_run(&s, 200000);
	assert_int_equal(from_reader, 1);
	/* Nobody reads. */
	assert_int_equal(pvs_send(&s.host[0].c, c.a, buf, 40000), 40000);
	began = s.now;
	while (from_reader == 1 && s.now - began < 1000000000)
		sim_step(&s, s.now + 100000);
	assert_in_range(s.now - began, 1000000, 10000000);
	sim_free(&s);
}

static void bottleneck(void **x)
{
	struct sim s;
	struct shape p = {
	    .order = 18, .total = 4 << 20, .rate = 2000000, .delay = 10000000, .qlimit = 40};
	uint64_t ns = run(&p, &s);

	/* 4 MiB at 2 MB/s are 2.1 s; ramp-up and losses may cost half as much again. */
	assert_true(ns < 3600000000ull);
	sim_free(&s);
}

static void restarts(void **x)
{
	check((struct shape){.order = 14, .total = 400000, .restart = true, .delay = 10000000});
	check((struct shape){
	    .order = 14, .total = 200000, .restart = true, .loss = 200, .delay = 10000000});
	check((struct shape){
	    .order = 14, .total = 200000, .restart = true, .caps = CSUM, .v6 = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clean_link),
	    cmocka_unit_test(loss),
	    cmocka_unit_test(reordering_and_duplicates),
	    cmocka_unit_test(corruption),
	    cmocka_unit_test(everything),
	    cmocka_unit_test(tiny_windows),
	    cmocka_unit_test(path_mtu),
	    cmocka_unit_test(full_device),
	    cmocka_unit_test(acknowledged_with_the_window),
	    cmocka_unit_test(bottleneck),
	    cmocka_unit_test(restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
