/* SPDX-License-Identifier: ISC */
/* Hostile networks: floods, forgeries, nonsense. Bounded memory, nothing established harmed. */
#include "tests/unit/tcp_sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static uint64_t stat_of(struct sim *s, unsigned host, const char *name)
{
	return tp_stat(s->host[host].st, name);
}

static uint16_t sum(const uint8_t *p, uint32_t n, uint32_t acc)
{
	for (uint32_t i = 0; i < n; i++)
		acc += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return (uint16_t)acc;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct forge {
	uint32_t src, dst; /* host order */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *opts;
	uint32_t optlen, len;
};

/* A TCP segment with right checksums, to host 1 (or where dst says). */
static void forge_tcp(struct sim *s, const struct forge *f)
{
	uint8_t b[14 + 20 + 60 + 512] = {2, 0, 0, 0, 0, 2, 2, 9, 9, 9, 9, 9, 8, 0};
	uint8_t *ip = b + 14, *t = ip + 20;
	uint32_t l4 = 20 + f->optlen + f->len;

	ip[0] = 0x45;
	put16(ip + 2, 20 + l4);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, f->src);
	put32(ip + 16, f->dst ? f->dst : 0x0a000002);
	put16(t, f->sport);
	put16(t + 2, f->dport);
	put32(t + 4, f->seq);
	put32(t + 8, f->ack);
	t[12] = (uint8_t)((20 + f->optlen) / 4 << 4);
	t[13] = f->flags;
	put16(t + 14, 8000);
	if (f->optlen)
		memcpy(t + 20, f->opts, f->optlen);
	memset(t + 20 + f->optlen, 'Z', f->len);
	put16(t + 16, (uint16_t)~sum(t, l4, sum(ip + 12, 8, 6 + l4)));
	put16(ip + 10, (uint16_t)~sum(ip, 20, 0));
	sim_inject(s, 1, b, 34 + l4);
}

/* Records the last TCP segment each side sent. */
static struct {
	uint32_t seq[2], ack[2];
	uint16_t sport[2], dport[2];
	unsigned rst[2], synack;
} seen;

static bool watch(struct sim *s, unsigned from, uint8_t *f, uint32_t len)
{
	if (len < 54 || f[12] != 8 || f[13] || f[23] != 6)
		return true;
	if ((f[47] & 0x12) == 0x12)
		seen.synack++;
	if (f[47] & 4) {
		seen.rst[from]++;
		return true;
	}
	seen.sport[from] = (uint16_t)(f[34] << 8 | f[35]);
	seen.dport[from] = (uint16_t)(f[36] << 8 | f[37]);
	seen.seq[from] = get32(f + 38) + (len - 34 - (f[46] >> 4) * 4u);
	seen.ack[from] = get32(f + 42);
	return true;
}

static void start(struct sim *s, struct sim_conn *c)
{
	struct tp_config cfg = {.max_socks = 64};

	sim_init(s, 0, &cfg, 1 << 20);
	memset(&seen, 0, sizeof(seen));
	s->filter = watch;
	assert_true(sim_connect(s, c, false, 14));
	assert_int_equal(pvs_send(&s->host[0].c, c->a, "hello", 5), 5);
	sim_run(s, 100000000);
}

/* The connection works: bytes go both ways. */
static void alive(struct sim *s, struct sim_conn *c, const char *expect)
{
	char buf[64] = "";
	int n;

	assert_int_equal(pvs_send(&s->host[0].c, c->a, "ping", 4), 4);
	sim_run(s, 1000000000);
	n = pvs_recv(&s->host[1].c, c->b, buf, sizeof(buf) - 1);
	assert_true(n > 0);
	buf[n] = 0;
	assert_string_equal(buf, expect);
	assert_int_equal(pvs_send(&s->host[1].c, c->b, "pong", 4), 4);
	sim_run(s, 1000000000);
	assert_int_equal(pvs_recv(&s->host[0].c, c->a, buf, 64), 4);
}

static void syn_flood(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct pvs_addr to = sim_addr(1, 7000, false);
	int a, b = -1;

	start(&s, &c);
	for (uint32_t i = 0; i < 3000; i++) {
		struct forge f = {.src = 0x0a000100 + i % 250,
				  .sport = (uint16_t)(1000 + i),
				  .dport = 7000,
				  .seq = i * 77,
				  .flags = 2,
				  .opts = (const uint8_t *)"\x02\x04\x05\xb4",
				  .optlen = 4};

		forge_tcp(&s, &f);
		if (i % 50 == 49)
			sim_run(&s, 1000000);
	}
	assert_true(stat_of(&s, 1, "Tcp.SyncookiesSent") > 1000);
	assert_true(tp_sock_count(s.host[1].st) < 64);
	/* In the middle of it an honest client gets through, by a cookie. */
	a = pvs_socket(&s.host[0].c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 12, 12);
	assert_int_equal(pvs_connect(&s.host[0].c, a, &to), -115);
	sim_run(&s, 100000000);
	b = pvs_accept(&s.host[1].c, c.listener, 12, 12, NULL);
	assert_true(b >= 0);
	assert_true(stat_of(&s, 1, "Tcp.SyncookiesRecv") == 1);
	assert_int_equal(pvs_send(&s.host[0].c, a, "cookie", 6), 6);
	sim_run(&s, 100000000);
	{
		char buf[16];

		assert_int_equal(pvs_recv(&s.host[1].c, b, buf, 16), 6);
		assert_memory_equal(buf, "cookie", 6);
	}
	alive(&s, &c, "helloping");
	/* The half-open ones go away by themselves. */
	sim_run(&s, 200ull * 1000000000ull);
	assert_true(tp_sock_count(s.host[1].st) <= 3);
	sim_free(&s);
}

static void blind_attacks(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct forge f;
	uint64_t before;

	start(&s, &c);
	/* From a: 10.0.0.1, its port and sequence as seen; the attacker guesses around it. */
	f = (struct forge){.src = 0x0a000001,
			   .sport = seen.sport[0],
			   .dport = seen.dport[0],
			   .ack = seen.ack[0],
			   .flags = 4};
	for (uint32_t i = 1; i < 60; i++) {
		f.seq = seen.seq[0] + i * 200; /* in the window, not exact */
		forge_tcp(&s, &f);
		f.seq = seen.seq[0] - i * 1000; /* outside */
		forge_tcp(&s, &f);
	}
	sim_run(&s, 100000000);
	assert_true(stat_of(&s, 1, "Tcp.ChallengeACK") >= 1);
	/* SYN in the window: RFC 5961 section 4. */
	f.flags = 2;
	f.seq = seen.seq[0] + 10;
	forge_tcp(&s, &f);
	/* Data whose ACK is far off: section 5. */
	f.flags = 0x18;
	f.len = 50;
	f.ack = seen.ack[0] + 1000000;
	f.seq = seen.seq[0];
	forge_tcp(&s, &f);
	f.ack = seen.ack[0] - 100000000;
	forge_tcp(&s, &f);
	/* A forged "fragmentation needed" that quotes a sequence number not in flight. */
	before = stat_of(&s, 1, "Tcp.EstabResets");
	sim_run(&s, 1000000000);
	assert_int_equal(before, 0);
	alive(&s, &c, "helloping");
	sim_free(&s);
}

/* Reset with the exact sequence number is honoured, and reported. */
static void exact_reset(void **x)
{
	struct sim s;
	struct sim_conn c;
	struct forge f;
	char b[8];

	start(&s, &c);
	f = (struct forge){.src = 0x0a000001,
			   .sport = seen.sport[0],
			   .dport = seen.dport[0],
			   .seq = seen.seq[0],
			   .flags = 4};
	forge_tcp(&s, &f);
	sim_run(&s, 10000000);
	assert_int_equal(pvs_recv(&s.host[1].c, c.b, b, 8), 5);
	assert_int_equal(pvs_recv(&s.host[1].c, c.b, b, 8), -104);
	assert_true(pvs_ready_events(&s.host[1].c, c.b) & PVS_EV_HUP);
	sim_free(&s);
}

static void nonsense(void **x)
{
	static const struct {
		const char *o;
		uint8_t n;
	} opts[] = {{"\x02\x00\x00\x00", 4}, {"\x02\x01\x00\x00", 4}, {"\x05\xff\x00\x00", 4},
		    {"\x08\x0a\x01\x01", 4}, {"\x03\x03\xff\x00", 4}, {"\x02\x04\x00\x00", 4},
		    {"\x01\x01\x01\x02", 4}, {"\x02\x04\x00\x01", 4}};
	struct sim s;
	struct sim_conn c;

	start(&s, &c);
	for (uint32_t i = 0; i < sizeof(opts) / sizeof(*opts); i++) {
		for (uint32_t flags = 0; flags < 64; flags++) {
			struct forge f = {.src = 0x0a000005,
					  .sport = (uint16_t)(100 + i),
					  .dport = 7000,
					  .seq = 1,
					  .flags = (uint8_t)flags,
					  .opts = (const uint8_t *)opts[i].o,
					  .optlen = opts[i].n,
					  .len = flags & 7};

			forge_tcp(&s, &f);
			f.src = 0x0a000001;
			f.sport = seen.sport[0];
			f.seq = seen.seq[0] + 3000;
			forge_tcp(&s, &f);
		}
		sim_run(&s, 600000000);
	}
	/* Land: from our own address and port to them. */
	forge_tcp(&s,
		  &(struct forge){.src = 0x0a000002, .sport = 7000, .dport = 7000, .flags = 2});
	/* From loopback, broadcast, multicast. */
	forge_tcp(&s,
		  &(struct forge){.src = 0x7f000001, .sport = 1, .dport = 7000, .flags = 2});
	forge_tcp(&s,
		  &(struct forge){.src = 0xffffffff, .sport = 1, .dport = 7000, .flags = 2});
	forge_tcp(&s,
		  &(struct forge){.src = 0xe0000001, .sport = 1, .dport = 7000, .flags = 2});
	/* To a broadcast address. */
	forge_tcp(
	    &s,
	    &(struct forge){
		.src = 0x0a000009, .dst = 0x0a0000ff, .sport = 1, .dport = 7000, .flags = 2});
	sim_run(&s, 100000000);
	assert_true(stat_of(&s, 1, "Ip.InAddrErrors") >= 4);
	alive(&s, &c, "helloping");
	sim_free(&s);
}

static void fragment(struct sim *s, uint16_t id, uint32_t off, uint32_t len, bool more)
{
	uint8_t b[14 + 20 + 1500] = {2, 0, 0, 0, 0, 2, 2, 9, 9, 9, 9, 9, 8, 0};
	uint8_t *ip = b + 14;

	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	put16(ip + 4, id);
	put16(ip + 6, off / 8 | (more ? 0x2000 : 0));
	ip[8] = 64;
	ip[9] = 17;
	put32(ip + 12, 0x0a000001);
	put32(ip + 16, 0x0a000002);
	put16(ip + 10, (uint16_t)~sum(ip, 20, 0));
	sim_inject(s, 1, b, 34 + len);
}

/* Teardrop, overlaps, ping of death, floods of first fragments. */
static void fragments(void **x)
{
	struct sim s;
	struct sim_conn c;
	uint64_t ok;

	start(&s, &c);
	fragment(&s, 1, 0, 64, true);
	fragment(&s, 1, 24, 16, false);
	fragment(&s, 2, 65528, 1400, false);
	fragment(&s, 3, 0, 1000, true);
	fragment(&s, 3, 1000, 0, false);
	fragment(&s, 4, 16, 80, true);
	fragment(&s, 4, 0, 24, true);
	fragment(&s, 5, 8, 8, false);
	fragment(&s, 5, 0, 16, true);
	for (uint16_t i = 10; i < 500; i++) {
		fragment(&s, i, 0, 1400, true);
		if (i % 100 == 0)
			sim_run(&s, 1000000);
	}
	sim_run(&s, 10000000);
	ok = stat_of(&s, 1, "Ip.ReasmOKs");
	assert_int_equal(ok, 0);
	assert_true(stat_of(&s, 1, "Ip.ReasmFails") > 400);
	/* And an honest one still goes together, out of order. */
	fragment(&s, 600, 1400 / 8 * 8, 100, false);
	fragment(&s, 600, 0, 1400 / 8 * 8, true);
	sim_run(&s, 10000000);
	assert_int_equal(stat_of(&s, 1, "Ip.ReasmOKs"), 1);
	alive(&s, &c, "helloping");
	sim_run(&s, 60ull * 1000000000ull);
	sim_free(&s);
}

/* A port scan is answered at a bounded rate and leaves nothing behind. */
static void port_scan(void **x)
{
	struct sim s;
	struct sim_conn c;

	start(&s, &c);
	for (uint32_t p = 1; p < 4000; p++) {
		forge_tcp(&s, &(struct forge){.src = 0x0a000001,
					      .sport = 40000,
					      .dport = (uint16_t)p,
					      .seq = p,
					      .flags = 2});
		if (p % 100 == 0)
			sim_run(&s, 1000000);
	}
	sim_run(&s, 1000000);
	assert_true(seen.rst[1] > 10 && seen.rst[1] < 400);
	assert_true(stat_of(&s, 1, "Icmp.RateLimited") > 1000);
	assert_int_equal(tp_sock_count(s.host[1].st), 2);
	alive(&s, &c, "helloping");
	sim_free(&s);
}

/* ARP from a stranger does not move a neighbour that nobody asked about, nor fill the table. */
static void arp_flood(void **x)
{
	struct sim s;
	struct sim_conn c;
	uint8_t a[42] = {255, 255, 255, 255, 255, 255, 2, 9, 9, 9, 9, 9, 8,  6, 0, 1,
			 8,   0,   6,   4,   0,   1,   2, 9, 9, 9, 9, 9, 10, 0, 0, 0};

	start(&s, &c);
	for (int i = 0; i < 2000; i++) {
		put32(a + 28, 0x0a000000 + 100 + (uint32_t)i % 100);
		a[41] = 77; /* asks for somebody else */
		sim_inject(&s, 1, a, 42);
		if (i % 100 == 0)
			sim_run(&s, 1000000);
	}
	/* Claims to be us: counted, defended, not believed. */
	put32(a + 28, 0x0a000002);
	sim_inject(&s, 1, a, 42);
	sim_run(&s, 1000000);
	assert_true(stat_of(&s, 1, "Arp.Conflicts") >= 1);
	alive(&s, &c, "helloping");
	sim_free(&s);
}

/* A segment that acknowledges what was never sent has no say in timestamps either (PAWS). */
static void a_false_ack_does_not_age_the_connection(void **x)
{
	static const uint8_t late[12] = {1, 1, 8, 10, 0x20, 0, 0, 0, 0, 0, 0, 1};
	struct sim s;
	struct sim_conn c;

	start(&s, &c);
	for (int fin = 0; fin < 2; fin++) {
		struct forge f = {.src = 0x0a000001,
				  .sport = seen.sport[0],
				  .dport = seen.dport[0],
				  .seq = seen.seq[0],
				  .ack = seen.ack[0] + 5000,
				  .flags = fin ? 0x11 : 0x10,
				  .opts = late,
				  .optlen = sizeof(late)};

		forge_tcp(&s, &f);
		sim_run(&s, 1000000000);
		alive(&s, &c, fin ? "ping" : "helloping");
	}
	assert_int_equal(stat_of(&s, 1, "Tcp.PAWSEstab"), 0);
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(syn_flood),
	    cmocka_unit_test(blind_attacks),
	    cmocka_unit_test(exact_reset),
	    cmocka_unit_test(nonsense),
	    cmocka_unit_test(fragments),
	    cmocka_unit_test(port_scan),
	    cmocka_unit_test(arp_flood),
	    cmocka_unit_test(a_false_ack_does_not_age_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
