/* SPDX-License-Identifier: ISC */
/* Parsing of frames and of port arguments, rules, anti-spoofing, token buckets. */
#include "tests/unit/nic_env.h"

#include <cmocka.h>

static const uint8_t me[6] = {2, 0, 0, 0, 0, 1}, peer[6] = {2, 0, 0, 0, 0, 2};
static uint8_t buf[70000];

static struct policy parsed(const char *args)
{
	struct policy p;
	const char *why;

	assert_int_equal(policy_parse(&p, args, "acl.web=+in,tcp,dport=80;-in,tcp,syn", &why),
			 0);
	return p;
}

static enum policy_verdict out(const struct policy *p, uint32_t len)
{
	struct net_info in;

	net_parse(buf, len, len, &in);
	return policy_out(p, me, buf, len, &in);
}

static enum policy_verdict in(const struct policy *p, uint32_t len)
{
	struct net_info info;

	net_parse(buf, len, len, &info);
	return policy_in(p, buf, &info);
}

static void refuses_bad_arguments(void **state)
{
	static const char *const bad[] = {
	    "mac=zz",
	    "mac=01:00:00:00:00:01",
	    "ip=1.2.3",
	    "ip=1.2.3.4/33",
	    "ip=1:2",
	    "mode=bridged",
	    "mode=ipvlan",
	    "vlan=4095",
	    "class=8",
	    "queues=0",
	    "mtu=100",
	    "rules=in",
	    "rules=+sideways",
	    "rules=+in,tcp,dport=5-4",
	    "rules=+in,dport=80",
	    "rules=+in,udp,syn",
	    "rules=+in,",
	    "rules=+in,tcp,from=10.0.0.0/a",
	    "acl=nowhere",
	};
	struct policy p;
	const char *why;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = NULL;
		if (policy_parse(&p, bad[i], "", &why) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(why);
	}
}

static void reads_arguments(void **state)
{
	struct policy p = parsed("mac=52:54:00:ab:cd:ef ip=10.0.2.7/24+fd00::5 mode=macvlan "
				 "vlan=7 rate=80M class=3 queues=2 mtu=1400");

	assert_int_equal(p.mac[5], 0xef);
	assert_int_equal(p.addrs, 2);
	assert_int_equal(p.mode, POLICY_MACVLAN);
	assert_int_equal(p.vlan, 7);
	assert_int_equal(p.tclass, 3);
	assert_int_equal(p.mtu, 1400);
	assert_true(p.rate == 80ull * 1024 * 1024 / 8 || p.rate == 10000000);
}

static void stops_spoofed_sources(void **state)
{
	struct policy p = parsed("ip=10.0.0.1,fd00::1");
	struct env_l4 l = env_flow(peer, me, 1000, 80, IPPROTO_N_TCP);

	assert_int_equal(out(&p, env_build(buf, &l, 10, false)), POLICY_PASS);
	l.sip++;
	assert_int_equal(out(&p, env_build(buf, &l, 10, false)), POLICY_SPOOF);
	l.sip--;
	l.smac = peer;
	assert_int_equal(out(&p, env_build(buf, &l, 10, false)), POLICY_SPOOF);
	l.smac = me;
	l.ip6 = 1;
	l.sip = 1;
	assert_int_equal(out(&p, env_build(buf, &l, 10, false)), POLICY_PASS);
	l.sip = 2;
	assert_int_equal(out(&p, env_build(buf, &l, 10, false)), POLICY_SPOOF);
	assert_int_equal(out(&p, env_build_arp(buf, me, 0x0a000001, 1)), POLICY_PASS);
	assert_int_equal(out(&p, env_build_arp(buf, me, 0, 1)), POLICY_PASS);
	assert_int_equal(out(&p, env_build_arp(buf, me, 0x0a000002, 1)), POLICY_SPOOF);
	uint32_t len = env_build_arp(buf, me, 0x0a000001, 1);
	memcpy(buf + 22, peer, 6); /* ARP speaks for another's MAC */
	assert_int_equal(out(&p, len), POLICY_SPOOF);
}

static void stops_router_and_server_messages(void **state)
{
	struct policy p = parsed("mac=02:00:00:00:00:01");
	struct env_l4 l = {.dmac = peer,
			   .smac = me,
			   .sip = 0x0a000001,
			   .dip = 0xffffffff,
			   .sport = 67,
			   .dport = 68,
			   .proto = IPPROTO_N_UDP};

	assert_int_equal(out(&p, env_build(buf, &l, 300, false)), POLICY_SPOOF);
	l.sport = 68;
	l.dport = 67;
	assert_int_equal(out(&p, env_build(buf, &l, 300, false)), POLICY_PASS);
	l.ip6 = 1;
	l.proto = IPPROTO_N_ICMPV6;
	uint32_t len = env_build(buf, &l, 40, false);
	buf[54] = 134;
	assert_int_equal(out(&p, len), POLICY_SPOOF);
	buf[54] = 133;
	assert_int_equal(out(&p, len), POLICY_PASS);
}

static void stops_tags_and_malformed(void **state)
{
	struct policy p = parsed("ip=10.0.0.1");
	struct env_l4 l = {.dmac = peer,
			   .smac = me,
			   .sip = 0x0a000001,
			   .dip = 0x0a000002,
			   .proto = IPPROTO_N_TCP};
	uint32_t len = env_build(buf, &l, 10, false);

	put_be16(buf + 12, ETHERTYPE_VLAN);
	assert_int_equal(out(&p, len), POLICY_TAGGED);
	len = env_build(buf, &l, 10, false);
	buf[14] = 0x44;
	assert_int_equal(out(&p, len), POLICY_SPOOF);
	len = env_build(buf, &l, 10, false);
	put_be16(buf + 16, (uint16_t)len); /* longer than the frame */
	assert_int_equal(out(&p, len), POLICY_SPOOF);
}

static void applies_rules_in_order(void **state)
{
	struct policy p = parsed("acl=web rules=-out,udp,to=10.9.0.0/16,dport=53-60");
	struct env_l4 l = {.dmac = me,
			   .smac = peer,
			   .sip = 0x0a000002,
			   .dip = 0x0a000001,
			   .sport = 999,
			   .dport = 80,
			   .proto = IPPROTO_N_TCP,
			   .tcp_flags = 2};

	assert_int_equal(in(&p, env_build(buf, &l, 0, false)), POLICY_PASS);
	l.dport = 22;
	assert_int_equal(in(&p, env_build(buf, &l, 0, false)), POLICY_RULE);
	l.tcp_flags = 0x12;
	assert_int_equal(in(&p, env_build(buf, &l, 0, false)), POLICY_PASS);
	struct env_l4 u = {.dmac = peer,
			   .smac = me,
			   .sip = 0x0a000001,
			   .dip = 0x0a090001,
			   .sport = 9,
			   .dport = 55,
			   .proto = IPPROTO_N_UDP};

	assert_int_equal(out(&p, env_build(buf, &u, 5, false)), POLICY_RULE);
	u.dport = 61;
	assert_int_equal(out(&p, env_build(buf, &u, 5, false)), POLICY_PASS);
	u.dport = 55;
	u.dip = 0x0a080001;
	assert_int_equal(out(&p, env_build(buf, &u, 5, false)), POLICY_PASS);
	/* A later fragment hides its ports: a deny rule with ports takes it. */
	u.dip = 0x0a090001;
	uint32_t len = env_build(buf, &u, 5, false);
	put_be16(buf + 20, 0x0001);
	assert_int_equal(out(&p, len), POLICY_RULE);
}

static void parses_addresses(void **state)
{
	static const char *const good[] = {"::",     "::1",    "fd00::1:2", "1:2:3:4:5:6:7:8",
					   "fe80::", "1.2.3.4"};
	static const char *const bad[] = {
	    "",      "1",         ":",         "1:2:3:4:5:6:7",
	    ":::",   "1::2::3",   "12345::",   "1:2:3:4:5:6:7:8:9",
	    "1.2.3", "256.1.1.1", "1.2.3.4.5", "fe80:"};
	struct net_addr a;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (net_parse_addr(good[i], strlen(good[i]), &a))
			fail_msg("refused %s", good[i]);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!net_parse_addr(bad[i], strlen(bad[i]), &a))
			fail_msg("accepted %s", bad[i]);
	assert_int_equal(net_parse_addr("fd00::1:2", 9, &a), 0);
	assert_int_equal(a.b[13], 1);
	assert_int_equal(a.b[15], 2);
}

static void sums_in_pieces(void **state)
{
	for (uint32_t i = 0; i < 300; i++)
		buf[i] = (uint8_t)(i * 31 + 5);
	for (uint32_t len = 1; len < 200; len++)
		for (uint32_t cut = 0; cut <= len; cut += 7) {
			uint32_t plain = 0;

			for (uint32_t i = 0; i < len; i++)
				plain += i & 1 ? buf[i] : (uint32_t)buf[i] << 8;
			uint32_t a = net_sum(buf, cut, 0, false);

			a = net_sum(buf + cut, len - cut, a, cut & 1);
			while (plain >> 16)
				plain = (plain & 0xffff) + (plain >> 16);
			assert_int_equal(net_sum_fold(a) % 0xffff, plain % 0xffff);
		}
}

static void bucket_holds_its_rate(void **state)
{
	struct bucket b;
	uint64_t t = 5000000000ull, passed = 0, when = 0;

	bucket_init(&b, 1250000, t); /* 10 Mbit/s */
	uint64_t end = t + 2000000000ull;
	while (t < end) {
		if (bucket_ready(&b, t, &when)) {
			bucket_take(&b, 1500);
			passed += 1500;
		} else {
			assert_true(when > t);
			t = when;
		}
	}
	/* two seconds' worth and the burst */
	assert_in_range(passed, 2400000, 2500000 + NET_FRAME_MAX + 1500);
}

static void changes_while_it_runs(void **state)
{
	struct policy p, before;
	const char *why;

	assert_int_equal(policy_parse(&p,
				      "ip=10.0.0.2 rate=8000000 rules=-in,icmp;-in,udp class=1",
				      NULL, &why),
			 0);
	assert_int_equal(policy_update(&p, "port=3 rate=16000000", NULL, &why), 0);
	assert_int_equal(p.rate, 2000000);
	assert_int_equal(p.rules, 2);
	assert_int_equal(p.tclass, 1);
	assert_int_equal(
	    policy_update(&p, "port=3 rules=+in,tcp,dport=80;-in,tcp;-out,udp", NULL, &why), 0);
	assert_int_equal(p.rules, 3);
	assert_int_equal(p.rate, 2000000);
	assert_int_equal(
	    policy_update(&p, "acl=web class=7 rxrate=8000", "acl.web=-in,tcp,dport=22", &why),
	    0);
	assert_int_equal(p.rules, 1);
	assert_int_equal(p.tclass, 7);
	assert_int_equal(p.rxrate, 1000);
	/* What it is can't change, and what is wrong changes nothing. */
	before = p;
	assert_int_equal(policy_update(&p, "rate=1M mac=02:00:00:00:00:01", NULL, &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M ip=10.0.0.9", NULL, &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M spoof=off", NULL, &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M promisc", NULL, &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M rules=nonsense", NULL, &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M acl=none", "", &why), -1);
	assert_int_equal(policy_update(&p, "rate=1M class=8", NULL, &why), -1);
	assert_memory_equal(&p, &before, sizeof(p));
	assert_int_equal(policy_update(&p, "rules= rate=0", NULL, &why), 0);
	assert_int_equal(p.rules, 0);
	assert_int_equal(p.rate, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refuses_bad_arguments),
	    cmocka_unit_test(reads_arguments),
	    cmocka_unit_test(stops_spoofed_sources),
	    cmocka_unit_test(stops_router_and_server_messages),
	    cmocka_unit_test(stops_tags_and_malformed),
	    cmocka_unit_test(applies_rules_in_order),
	    cmocka_unit_test(parses_addresses),
	    cmocka_unit_test(sums_in_pieces),
	    cmocka_unit_test(bucket_holds_its_rate),
	    cmocka_unit_test(changes_while_it_runs),
	};

	return cmocka_run_group_tests_name("nic_policy", tests, NULL, NULL);
}
