/* SPDX-License-Identifier: ISC */
/* Multicast: memberships, sources, what a sender hears of itself, reports and queries. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define S 1000000000ull
#define P (&s.host[0].c)
#define Q (&s.host[1].c)

static const uint8_t group[4] = {239, 1, 2, 3};

/* The latest IGMP message of each host. */
static struct {
	unsigned count;
	uint64_t at, asked;
	uint8_t m[64];
	uint32_t len;
} igmp[2];

static bool watch(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
	uint32_t at = 14 + (f[14] & 15u) * 4;

	if (f[12] == 8 && !f[13] && f[23] == 2) {
		igmp[from].count++;
		igmp[from].at = s->now;
		igmp[from].len = len - at;
		memcpy(igmp[from].m, f + at, len - at < 64 ? len - at : 64);
	}
	return true;
}

static void begin(struct sim *s)
{
	struct tp_config cfg = {.max_socks = 16};

	sim_init(s, 0, &cfg, 1 << 20);
	memset(igmp, 0, sizeof(igmp));
	s->filter = watch;
}

static int bound(struct pvs_client *c, uint16_t port)
{
	struct pvs_addr any = {.family = PVS_AF_INET, .port = __builtin_bswap16(port)};
	int q = pvs_socket(c, PVS_AF_INET, 2, 0, 13, 13), one = 1;

	assert_true(q >= 0);
	assert_int_equal(pvs_setopt(c, q, 1, 2, &one, 4), 0);
	assert_int_equal(pvs_bind(c, q, &any), 0);
	return q;
}

static void send_group(struct sim *s, struct pvs_client *c, int q, const char *text)
{
	struct pvs_dgram d = {.flags = PVS_DG_ADDR};

	d.peer.family = PVS_AF_INET;
	d.peer.port = __builtin_bswap16(5000);
	memcpy(d.peer.addr, group, 4);
	assert_true(pvs_sendto(c, q, &d, text, (uint32_t)strlen(text)) > 0);
	sim_run(s, S);
}

/* How many datagrams wait; takes them. */
static unsigned take(struct pvs_client *c, int q)
{
	struct pvs_dgram r;
	uint8_t in[256];
	unsigned n = 0;

	while (pvs_recvfrom(c, q, &r, in, sizeof(in)) >= 0)
		n++;
	return n;
}

static int option(struct pvs_client *c, int q, int name, const uint8_t *source)
{
	uint8_t v[12] = {0};

	memcpy(v, group, 4);
	if (source)
		memcpy(v + 8, source, 4);
	return pvs_setopt(c, q, 0, name, v, source ? 12 : 8);
}

static void a_group_is_joined_and_left(void **x)
{
	struct sim s;
	int p, q;

	begin(&s);
	p = bound(P, 4000);
	q = bound(Q, 5000);
	send_group(&s, P, p, "nobody");
	assert_int_equal(take(Q, q), 0);
	assert_int_equal(option(Q, q, 35, NULL), 0);
	assert_int_equal(option(Q, q, 35, NULL), -98); /* EADDRINUSE */
	sim_run(&s, S);
	assert_int_equal(igmp[1].count, 2); /* once more within a second */
	assert_int_equal(igmp[1].m[0], 0x22);
	assert_int_equal(igmp[1].m[8], 4); /* CHANGE_TO_EXCLUDE {} */
	assert_memory_equal(igmp[1].m + 12, group, 4);
	send_group(&s, P, p, "one");
	assert_int_equal(take(Q, q), 1);
	sim_restart(&s, 1); /* memberships outlive the stack */
	sim_run(&s, S);
	send_group(&s, P, p, "two");
	assert_int_equal(take(Q, q), 1);
	assert_int_equal(option(Q, q, 36, NULL), 0);
	assert_int_equal(option(Q, q, 36, NULL), -99); /* EADDRNOTAVAIL */
	sim_run(&s, S);
	assert_int_equal(igmp[1].m[8], 3); /* CHANGE_TO_INCLUDE {} */
	send_group(&s, P, p, "three");
	assert_int_equal(take(Q, q), 0);
	/* Closing is leaving, forty times over: the table has 32 places. */
	for (int i = 0; i < 40; i++) {
		int o = bound(Q, 5000);

		assert_int_equal(option(Q, o, 35, NULL), 0);
		pvs_close(Q, o, false);
		sim_run(&s, S / 10);
		igmp[1].m[8] = i == 39 ? igmp[1].m[8] : 0;
	}
	assert_int_equal(igmp[1].m[8], 3);
	sim_free(&s);
}

static void sources_are_told_apart(void **x)
{
	static const uint8_t one[4] = {10, 0, 0, 1}, other[4] = {10, 0, 0, 9};
	struct sim s;
	int p, q;

	begin(&s);
	p = bound(P, 4000);
	q = bound(Q, 5000);
	assert_int_equal(option(Q, q, 39, other), 0);
	sim_run(&s, S);
	assert_int_equal(igmp[1].m[8], 5); /* ALLOW_NEW_SOURCES */
	assert_int_equal(igmp[1].m[11], 1);
	assert_memory_equal(igmp[1].m + 16, other, 4);
	send_group(&s, P, p, "not from me");
	assert_int_equal(take(Q, q), 0);
	assert_int_equal(option(Q, q, 39, one), 0);
	send_group(&s, P, p, "from me");
	assert_int_equal(take(Q, q), 1);
	assert_int_equal(option(Q, q, 40, one), 0);
	sim_run(&s, S);
	send_group(&s, P, p, "no more");
	assert_int_equal(take(Q, q), 0);
	/* From all but one. */
	assert_int_equal(option(Q, q, 38, one), -22); /* not joined */
	assert_int_equal(option(Q, q, 35, NULL), 0);
	send_group(&s, P, p, "all");
	assert_int_equal(take(Q, q), 1);
	assert_int_equal(option(Q, q, 38, one), 0);
	send_group(&s, P, p, "blocked");
	assert_int_equal(take(Q, q), 0);
	assert_int_equal(option(Q, q, 37, one), 0);
	send_group(&s, P, p, "again");
	assert_int_equal(take(Q, q), 1);
	sim_free(&s);
}

/* RFC 3678's protocol-independent form: 264 bytes, more than fit into a request. */
static void group_req(void **x)
{
	uint8_t v[264] = {0};
	struct sim s;
	int p, q;

	begin(&s);
	p = bound(P, 4000);
	q = bound(Q, 5000);
	v[8] = v[136] = PVS_AF_INET;
	memcpy(v + 12, group, 4);
	memcpy(v + 140, "\x0a\0\0\1", 4);
	assert_int_equal(pvs_setopt(Q, q, 0, 46, v, 200), -22);
	assert_int_equal(pvs_setopt(Q, q, 0, 46, v, sizeof(v)), 0);
	sim_run(&s, S);
	send_group(&s, P, p, "x");
	assert_int_equal(take(Q, q), 1);
	assert_int_equal(pvs_setopt(Q, q, 0, 47, v, sizeof(v)), 0);
	assert_int_equal(pvs_setopt(Q, q, 0, 47, v, sizeof(v)), -99);
	assert_int_equal(pvs_setopt(Q, q, 0, 42, v, 136), 0);
	sim_run(&s, S);
	send_group(&s, P, p, "x");
	assert_int_equal(take(Q, q), 1);
	sim_free(&s);
}

static void a_sender_hears_itself_unless_told(void **x)
{
	struct pvs_dgram d = {.flags = PVS_DG_ADDR};
	struct sim s;
	int q, p, off = 0, on = 1;

	begin(&s);
	p = bound(P, 4000);
	q = bound(P, 5000);
	send_group(&s, P, p, "nobody joined");
	assert_int_equal(take(P, q), 0);
	assert_int_equal(option(P, q, 35, NULL), 0);
	send_group(&s, P, p, "heard");
	assert_int_equal(take(P, q), 1);
	assert_int_equal(pvs_setopt(P, p, 0, 34, &off, 4), 0);
	send_group(&s, P, p, "not heard");
	assert_int_equal(take(P, q), 0);
	assert_int_equal(pvs_setopt(P, p, 1, 6, &on, 4), 0); /* a broadcast always is */
	d.peer.family = PVS_AF_INET;
	d.peer.port = __builtin_bswap16(5000);
	memcpy(d.peer.addr, "\x0a\0\0\xff", 4);
	assert_int_equal(pvs_sendto(P, p, &d, "all", 3), 3);
	sim_run(&s, S);
	assert_int_equal(take(P, q), 1);
	sim_free(&s);
}

static uint16_t sum(const uint8_t *p, uint32_t n)
{
	uint32_t t = 0;

	for (uint32_t i = 0; i + 1 < n; i += 2)
		t += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (t >> 16)
		t = (t & 0xffff) + (t >> 16);
	return (uint16_t)~t;
}

/* A general query to host 1, and what follows from it in `ns`. */
static void query_for(struct sim *s, uint32_t len, uint64_t ns)
{
	uint8_t f[14 + 24 + 12] = {1,    0, 0x5e, 0, 0, 1, 2,    0, 0, 0, 0,    9,  8,  0,
				   0x46, 0, 0,    0, 0, 0, 0,    0, 1, 2, 0,    0,  10, 0,
				   0,    9, 0xe0, 0, 0, 1, 0x94, 4, 0, 0, 0x11, 100};

	f[17] = (uint8_t)(24 + len);
	f[24] = (uint8_t)(sum(f + 14, 24) >> 8);
	f[25] = (uint8_t)sum(f + 14, 24);
	uint16_t c = sum(f + 38, len);
	f[40] = (uint8_t)(c >> 8);
	f[41] = (uint8_t)c;
	igmp[1].asked = s->now;
	sim_inject(s, 1, f, 38 + len);
	sim_run(s, ns);
}

static void query(struct sim *s, uint32_t len)
{
	query_for(s, len, 11 * S); /* 100 tenths of a second, and the wire */
}

static void queriers_are_answered(void **x)
{
	static const uint8_t other[4] = {10, 0, 0, 9};
	struct sim s;
	int q;

	begin(&s);
	q = bound(Q, 5000);
	query(&s, 12);
	assert_int_equal(igmp[1].count, 0); /* nothing is wanted */
	assert_int_equal(option(Q, q, 39, other), 0);
	sim_run(&s, S);
	igmp[1].count = 0;
	query(&s, 12);
	assert_int_equal(igmp[1].count, 1);
	assert_in_range(igmp[1].at, igmp[1].asked, igmp[1].asked + 10 * S);
	assert_int_equal(igmp[1].m[8], 1); /* MODE_IS_INCLUDE {other} */
	assert_memory_equal(igmp[1].m + 16, other, 4);
	assert_int_equal(option(Q, q, 35, NULL), 0);
	query(&s, 12);
	assert_int_equal(igmp[1].m[8], 2); /* MODE_IS_EXCLUDE {} */
	query(&s, 8);                      /* of version 2 */
	assert_int_equal(igmp[1].m[0], 0x16);
	assert_memory_equal(igmp[1].m + 4, group, 4);
	sim_free(&s);
}

/* Answers come at times of their own, a join and its opposite don't cross, both to the end. */
static void reports_are_spread_and_superseded(void **x)
{
	uint64_t first = 0, other = 0;
	struct sim s;
	int q;

	begin(&s);
	q = bound(Q, 5000);
	assert_int_equal(option(Q, q, 35, NULL), 0);
	sim_run(&s, 2 * S);
	for (int i = 0; i < 8; i++) {
		igmp[1].count = 0;
		query(&s, 12);
		assert_int_equal(igmp[1].count, 1);
		first = i ? first : igmp[1].at - igmp[1].asked;
		other = igmp[1].at - igmp[1].asked;
		if (other != first)
			break;
	}
	assert_int_not_equal(first, other);
	/* Two queries before the first is answered: one answer. */
	igmp[1].count = 0;
	query_for(&s, 12, 0);
	query(&s, 12);
	assert_int_equal(igmp[1].count, 1);
	/* Left and joined and left within the second: the last word is repeated, no other. */
	igmp[1].count = 0;
	assert_int_equal(option(Q, q, 36, NULL), 0);
	assert_int_equal(option(Q, q, 35, NULL), 0);
	assert_int_equal(option(Q, q, 36, NULL), 0);
	sim_run(&s, 3 * S);
	assert_int_equal(igmp[1].count, 4);
	assert_int_equal(igmp[1].m[8], 3);
	sim_free(&s);
}

/* RFC 3542 section 3.1. */
static void raw_checksums_of_ipv6(void **x)
{
	struct pvs_dgram d = {.flags = PVS_DG_ADDR}, r;
	uint8_t out[16] = {'r', 'a', 'w', 0}, in[64];
	struct sim s;
	int p, q, off = 4, odd = 5, none = -1, v = 0;

	begin(&s);
	sim_run(&s, 5 * S); /* addresses are checked for doubles */
	p = pvs_socket(P, PVS_AF_INET6, 3, 200, 12, 12);
	q = pvs_socket(Q, PVS_AF_INET6, 3, 200, 12, 12);
	assert_true(p >= 0 && q >= 0);
	assert_int_equal(pvs_setopt(P, p, 41, 7, &odd, 4), -22);
	assert_int_equal(pvs_setopt(Q, q, 41, 7, &off, 4), 0);
	assert_int_equal(pvs_getopt(Q, q, 41, 7, &v, 4), 4);
	assert_int_equal(v, 4);
	d.peer = sim_addr(1, 0, true);
	assert_int_equal(pvs_sendto(P, p, &d, out, 16), 16); /* without: dropped there */
	sim_run(&s, S);
	assert_int_equal(pvs_recvfrom(Q, q, &r, in, sizeof(in)), -11);
	assert_int_equal(pvs_setopt(P, p, 41, 7, &off, 4), 0);
	assert_int_equal(pvs_sendto(P, p, &d, out, 16), 16);
	sim_run(&s, S);
	assert_int_equal(pvs_recvfrom(Q, q, &r, in, sizeof(in)), 16);
	assert_memory_equal(in, "raw", 3);
	assert_true(in[4] | in[5]);
	assert_int_equal(pvs_sendto(P, p, &d, out, 5), 5); /* too short for its sum */
	sim_run(&s, S);
	assert_int_equal(pvs_error(P, p), 22);
	assert_int_equal(pvs_setopt(P, p, 41, 7, &none, 4), 0);
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_group_is_joined_and_left),
	    cmocka_unit_test(sources_are_told_apart),
	    cmocka_unit_test(group_req),
	    cmocka_unit_test(a_sender_hears_itself_unless_told),
	    cmocka_unit_test(queriers_are_answered),
	    cmocka_unit_test(reports_are_spread_and_superseded),
	    cmocka_unit_test(raw_checksums_of_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
