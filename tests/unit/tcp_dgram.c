/* SPDX-License-Identifier: ISC */
/* Names, options and errors of datagram and raw sockets, as Linux has them. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define S 1000000000ull
#define P (&s.host[0].c)
#define Q (&s.host[1].c)

static void begin(struct sim *s)
{
	struct tp_config cfg = {.max_socks = 64};

	sim_init(s, 0, &cfg, 1 << 20);
}

static int dgram(struct pvs_client *c, bool v6)
{
	return pvs_socket(c, v6 ? PVS_AF_INET6 : PVS_AF_INET, PVS_SOCK_DGRAM, 0, 12, 12);
}

static struct pvs_addr addr4(const char *a, uint16_t port)
{
	struct pvs_addr x = {.family = PVS_AF_INET, .port = __builtin_bswap16(port)};

	memcpy(x.addr, a, 4);
	return x;
}

static int opt(struct pvs_client *c, int f, int level, int name, int v)
{
	return pvs_setopt(c, f, level, name, &v, 4);
}

static int got(struct pvs_client *c, int f, int level, int name)
{
	int v = -77;

	assert_int_equal(pvs_getopt(c, f, level, name, &v, 4), 4);
	return v;
}

/* A socket may be bound to where others send; what it sends has an address of its own. */
static void bound_to_many(void **x)
{
	struct sim s;
	struct pvs_addr cast = addr4("\x0a\0\0\xff", 5000), group = addr4("\xef\1\2\3", 5001);
	struct pvs_addr to = addr4("\x0a\0\0\1", 6000);
	struct pvs_dgram d = {.flags = PVS_DG_ADDR};
	uint8_t mreq[8] = {239, 1, 2, 3};
	int a, b, c;
	char buf[8];

	begin(&s);
	a = dgram(P, false);
	b = dgram(Q, false);
	c = dgram(Q, false);
	assert_int_equal(pvs_bind(P, a, &to), 0);
	assert_int_equal(pvs_bind(Q, b, &cast), 0);
	assert_int_equal(pvs_bind(Q, c, &group), 0);
	assert_int_equal(pvs_setopt(Q, c, 0, 35, mreq, 8), 0);
	assert_int_equal(opt(P, a, 1, 6, 1), 0);
	d.peer = cast;
	assert_int_equal(pvs_sendto(P, a, &d, "all", 3), 3);
	d.peer = group;
	assert_int_equal(pvs_sendto(P, a, &d, "some", 4), 4);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recvfrom(Q, b, &d, buf, 8), 3);
	assert_int_equal(pvs_recvfrom(Q, b, &d, buf, 8), -11);
	assert_int_equal(pvs_recvfrom(Q, c, &d, buf, 8), 4);
	d = (struct pvs_dgram){.flags = PVS_DG_ADDR, .peer = to};
	assert_int_equal(pvs_sendto(Q, c, &d, "back", 4), 4);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recvfrom(P, a, &d, buf, 8), 4);
	assert_memory_equal(d.peer.addr, "\x0a\0\0\2", 4);
	to = addr4("\x0a\0\1\xff", 5000); /* nobody's */
	assert_int_equal(pvs_bind(Q, dgram(Q, false), &to), -99);
	sim_free(&s);
}

static void multicast_here(void **x)
{
	struct sim s;
	struct pvs_addr any = addr4("\0\0\0\0", 5001);
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = addr4("\xef\1\2\3", 5001)};
	uint8_t mreq[8] = {239, 1, 2, 3, 127, 0, 0, 1}, bad[4] = {10, 9, 9, 9};
	uint32_t v = 0;
	int a, b;
	char buf[8];

	begin(&s);
	a = dgram(P, false);
	b = dgram(P, false);
	assert_int_equal(pvs_bind(P, b, &any), 0);
	assert_int_equal(pvs_setopt(P, b, 0, 35, mreq, 8), 0);
	assert_int_equal(pvs_setopt(P, a, 0, 32, bad, 4), -99);
	assert_int_equal(pvs_setopt(P, a, 0, 32, mreq, 1), -22);
	assert_int_equal(pvs_setopt(P, a, 0, 32, mreq + 4, 4), 0);
	assert_int_equal(pvs_getopt(P, a, 0, 32, &v, 4), 4);
	assert_int_equal(v, 0x0100007f);
	assert_int_equal(pvs_sendto(P, a, &d, "lo", 2), 2);
	sim_run(&s, S / 10);
	assert_int_equal(pvs_recvfrom(P, b, &d, buf, 8), 2);
	assert_memory_equal(d.peer.addr, "\x7f\0\0\1", 4);
	assert_int_equal(d.ifindex, 1);
	sim_free(&s);
}

static void disconnect(void **x)
{
	struct sim s;
	struct pvs_addr to = sim_addr(1, 9, false), none = {0}, own = addr4("\x0a\0\0\1", 0), n;
	int a, b;

	begin(&s);
	a = dgram(P, false);
	assert_int_equal(pvs_connect(P, a, &to), 0);
	assert_int_equal(pvs_connect(P, a, &none), 0);
	assert_int_equal(pvs_name(P, a, true, &n), -107);
	assert_int_equal(pvs_name(P, a, false, &n), 0);
	assert_true(!n.port && !n.addr[0]); /* nothing of it was asked for */
	own.port = __builtin_bswap16(5000);
	b = dgram(P, false);
	assert_int_equal(pvs_bind(P, b, &own), 0);
	assert_int_equal(pvs_connect(P, b, &to), 0);
	assert_int_equal(pvs_connect(P, b, &none), 0);
	assert_int_equal(pvs_name(P, b, false, &n), 0);
	assert_memory_equal(&n, &own, sizeof(n));
	to.port = 0;
	assert_int_equal(pvs_connect(P, a, &to), 0);
	assert_int_equal(pvs_name(P, a, true, &n), -107); /* as Linux: a peer has a port */
	sim_free(&s);
}

/* What is in the ring goes before what the next request does. */
static void in_order(void **x)
{
	struct sim s;
	struct pvs_dgram d = {.flags = PVS_DG_ADDR, .peer = sim_addr(1, 9, false)};
	struct pvs_addr n;
	int a;

	begin(&s);
	a = dgram(P, false);
	assert_int_equal(pvs_sendto(P, a, &d, "x", 1), 1);
	assert_int_equal(pvs_name(P, a, false, &n), 0);
	assert_int_not_equal(n.port, 0);
	sim_free(&s);
}

static void families(void **x)
{
	struct sim s;
	struct pvs_addr six = {.family = PVS_AF_INET6, .addr = {[15] = 1}};
	struct pvs_addr four = {.family = PVS_AF_INET6,
				.port = 0x0900,
				.addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
	struct pvs_addr mapped = four;
	int a, b, t;

	begin(&s);
	mapped.port = 0;
	a = dgram(P, true);
	b = dgram(P, true);
	t = pvs_socket(P, PVS_AF_INET6, PVS_SOCK_STREAM, 0, 12, 12);
	assert_int_equal(pvs_bind(P, a, &six), 0);
	assert_int_equal(pvs_bind(P, t, &six), 0);
	assert_int_equal(pvs_bind(P, b, &mapped), 0);
	assert_int_equal(pvs_connect(P, a, &four), -101);
	assert_int_equal(pvs_connect(P, t, &four), -101);
	six.port = 0x0900;
	assert_int_equal(pvs_connect(P, b, &six), -97);
	sim_free(&s);
}

static void options(void **x)
{
	struct sim s;
	struct pvs_addr n;
	int a, b, r, p;
	uint8_t filter[32] = {[0] = 1};

	begin(&s);
	a = dgram(P, false);
	b = dgram(P, true);
	assert_int_equal(opt(P, a, 0, 33, 256), -22);
	assert_int_equal(opt(P, a, 0, 33, -2), -22);
	assert_int_equal(got(P, a, 0, 33), 1);
	assert_int_equal(opt(P, a, 0, 33, 0), 0);
	assert_int_equal(got(P, a, 0, 33), 0);
	assert_int_equal(opt(P, a, 0, 33, -1), 0);
	assert_int_equal(got(P, a, 0, 33), 1);
	assert_int_equal(got(P, a, 0, 10), 1);
	assert_int_equal(opt(P, a, 0, 10, 6), -22);
	assert_int_equal(opt(P, a, 0, 10, 3), 0);
	assert_int_equal(got(P, a, 0, 10), 3);
	assert_int_equal(opt(P, b, 41, 16, 256), -22);
	assert_int_equal(opt(P, b, 41, 67, -2), -22);
	r = pvs_socket(P, PVS_AF_INET6, PVS_SOCK_RAW, 58, 12, 12);
	assert_int_equal(opt(P, r, 41, 7, 2), -22);
	assert_int_equal(opt(P, r, 0, 1, 2), -92);
	assert_int_equal(pvs_setopt(P, r, 58, 1, filter, 32), 0);
	filter[0] = 0;
	assert_int_equal(pvs_getopt(P, r, 58, 1, filter, 32), 32);
	assert_int_equal(filter[0], 1);
	p = pvs_socket(P, PVS_AF_INET, PVS_SOCK_RAW, 6, 12, 12);
	assert_int_equal(pvs_name(P, p, false, &n), 0);
	assert_int_equal(n.port, __builtin_bswap16(6));
	sim_free(&s);
}

/* shutdown(2) of a connection that is not made yet leaves a socket that may try another. */
static void shut_while_connecting(void **x)
{
	struct sim s;
	struct pvs_addr to = sim_addr(77, 9, false), there = sim_addr(1, 7000, false);
	int a, l;

	begin(&s);
	l = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);
	assert_true(!pvs_bind(Q, l, &there) && !pvs_listen(Q, l, 4));
	a = pvs_socket(P, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	assert_int_equal(pvs_connect(P, a, &to), -115);
	assert_int_equal(pvs_shutdown(P, a, 2), 0);
	assert_int_equal(pvs_shutdown(P, a, 2), -107);
	assert_int_equal(pvs_connect(P, a, &there), -115);
	sim_run(&s, S);
	assert_true(P->slot[a].state & PVS_ST_CONNECTED);
	sim_free(&s);
}

static void connect_again(void **x)
{
	struct sim s;
	struct pvs_addr there = sim_addr(1, 7000, false);
	int a, l;

	begin(&s);
	a = pvs_socket(P, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	assert_int_equal(pvs_connect(P, a, &there), -115);
	sim_run(&s, S);
	assert_int_equal(pvs_error(P, a), 111);
	l = pvs_socket(Q, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);
	assert_true(!pvs_bind(Q, l, &there) && !pvs_listen(Q, l, 4));
	assert_int_equal(pvs_connect(P, a, &there), -115);
	sim_run(&s, S);
	assert_true(P->slot[a].state & PVS_ST_CONNECTED);
	assert_int_equal(pvs_send(P, a, "x", 1), 1);
	assert_int_equal(pvs_accept(Q, l, 12, 12, NULL) >= 0, true);
	assert_int_equal(pvs_connect(P, a, &there), -106);
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bound_to_many),
	    cmocka_unit_test(multicast_here),
	    cmocka_unit_test(disconnect),
	    cmocka_unit_test(in_order),
	    cmocka_unit_test(families),
	    cmocka_unit_test(options),
	    cmocka_unit_test(shut_while_connecting),
	    cmocka_unit_test(connect_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
