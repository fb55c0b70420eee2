/* SPDX-License-Identifier: ISC */
/* One host address for several ports, and private segments (cells/nic/switch/share.c). */
#include "tests/unit/nic_env.h"

#include <cmocka.h>

#define SIZE (256u << 10)
#define HOST 0x0a00020fu
#define FAR  0x08080808u
#define SVC  0xa9fe0001u

static const uint8_t mac_out[6] = {2, 0, 0, 0, 0, 0xee};
static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
static struct nic nic;
static struct env_card card;
static struct env_port owner, a, b;
static uint8_t buf[70000], got[70000];

static void world_of(const char *owner_args)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	env_port_new(&nic, &owner, 1, SIZE, owner_args, ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &a, 2, SIZE,
		     "mode=share ip=169.254.0.2 host=10.0.2.15 ports=1024-1535+t8081",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 3, SIZE,
		     "mode=share ip=169.254.0.3 host=10.0.2.15 ports=2048-2559,u53",
		     ENV_ALL_FEATURES, 1);
	assert_true(vnet_port_live(&a.drv) && vnet_port_live(&b.drv));
}

static void world(void)
{
	world_of("mode=ipvlan ip=10.0.2.15+169.254.0.1");
}

static void end(void)
{
	env_card_complete(&card);
	env_card_clear(&card);
	env_port_free(&owner);
	env_port_free(&a);
	env_port_free(&b);
	assert_int_equal(nic.free_count, NIC_TXBUFS);
	nic_fini(&nic);
}

static struct env_l4 from_far(uint8_t proto, uint16_t dport)
{
	return (struct env_l4){.dmac = card.nd.mac,
			       .smac = mac_out,
			       .sip = FAR,
			       .dip = HOST,
			       .sport = 443,
			       .dport = dport,
			       .proto = proto,
			       .tcp_flags = 0x10};
}

static struct env_l4 from_host(uint8_t proto, uint16_t sport)
{
	return (struct env_l4){.dmac = mac_out,
			       .smac = card.nd.mac,
			       .sip = HOST,
			       .dip = FAR,
			       .sport = sport,
			       .dport = 443,
			       .proto = proto,
			       .tcp_flags = 0x10};
}

/* Which of the three gets what is in buf: 1, 2, 3, the sum if several, 0 none. */
static unsigned taken(uint32_t len)
{
	unsigned who = 0;

	env_run(&nic);
	who += env_port_recv(&owner, 0, NULL, got, sizeof(got)) == len ? 1 : 0;
	who += env_port_recv(&a, 0, NULL, got, sizeof(got)) == len ? 10 : 0;
	who += env_port_recv(&b, 0, NULL, got, sizeof(got)) == len ? 100 : 0;
	return who;
}

static unsigned arrives(uint32_t len)
{
	env_card_rx(&card, buf, len, 2000, NULL);
	return taken(len);
}

static bool leaves(struct env_port *p, uint32_t len)
{
	unsigned before = card.count;

	assert_true(env_port_send(p, 0, NULL, buf, len));
	env_run(&nic);
	return card.count == before + 1;
}

/* An ICMP message with `payload` behind its header of eight bytes. */
static uint32_t icmp(struct env_l4 l, uint8_t type, uint16_t id, const void *payload,
		     uint32_t n)
{
	l.proto = 1;
	uint32_t len = env_build(buf, &l, n, false);

	memset(buf + 34, 0, 8);
	buf[34] = type;
	put_be16(buf + 38, id);
	if (n)
		memcpy(buf + 42, payload, n);
	return len;
}

static void what_arrives_goes_by_port(void **state)
{
	static const struct {
		uint8_t proto;
		uint16_t port;
		unsigned who;
	} t[] = {{6, 1024, 10}, {6, 1535, 10},  {6, 1536, 1},  {17, 1100, 10}, {6, 8081, 10},
		 {17, 8081, 1}, {6, 2048, 100}, {17, 53, 100}, {6, 53, 1},     {6, 3375, 1}};

	world();
	for (int twice = 0; twice < 2; twice++) /* the second time from the cache */
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct env_l4 l = from_far(t[i].proto, t[i].port);

			assert_int_equal(arrives(env_build(buf, &l, 100, false)), t[i].who);
		}
	env_port_free(&a); /* what was its goes to the owner, who refuses it */
	struct env_l4 l = from_far(6, 1024);
	uint32_t len = env_build(buf, &l, 100, false);

	env_card_rx(&card, buf, len, 2000, NULL);
	env_run(&nic);
	assert_int_equal(env_port_recv(&owner, 0, NULL, got, sizeof(got)), len);
	env_port_new(&nic, &a, 2, SIZE, "mode=share ip=169.254.0.2", ENV_ALL_FEATURES, 1);
	end();
}

static void a_local_port_is_closed_to_the_wire(void **state)
{
	world();
	env_port_free(&b);
	env_port_new(&nic, &b, 3, SIZE,
		     "mode=share ip=169.254.0.3 host=10.0.2.15 near=10.0.2.2 "
		     "ports=2048-2559+lt8082+lu53",
		     ENV_ALL_FEATURES, 1);
	for (int twice = 0; twice < 2; twice++) {
		struct env_l4 l = from_far(6, 8082);

		assert_int_equal(arrives(env_build(buf, &l, 100, false)), 1);
		l.sip = 0x0a000202;
		assert_int_equal(arrives(env_build(buf, &l, 100, false)), 100);
		l = from_far(17, 53);
		assert_int_equal(arrives(env_build(buf, &l, 100, false)), 1);
		l = from_far(6, 2050);
		assert_int_equal(arrives(env_build(buf, &l, 100, false)), 100);
		l = from_host(6, 1030); /* a neighbour */
		l.dmac = card.nd.mac;
		l.dip = HOST;
		l.dport = 8082;
		uint32_t len = env_build(buf, &l, 100, false);
		assert_true(env_port_send(&a, 0, NULL, buf, len));
		assert_int_equal(taken(len), 100);
	}
	end();
}

/* More than a word of the sets of who has something to do; one in the middle goes. */
static void hundreds_of_ports(void **state)
{
	enum {
		MANY = 200
	};
	struct env_port *p = calloc(MANY, sizeof(*p));
	char args[80];

	assert_non_null(p);
	world();
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(args, sizeof(args),
			 "mode=share ip=169.254.1.%u host=10.0.2.15 ports=%u-%u", i + 1,
			 10000 + 64 * i, 10063 + 64 * i);
		env_port_new(&nic, &p[i], 10 + i, SIZE, args, ENV_ALL_FEATURES, 1);
		assert_true(vnet_port_live(&p[i].drv));
	}
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++) {
			struct env_l4 l = from_far(6, (uint16_t)(10000 + 64 * i + round)), o;
			uint32_t len = env_build(buf, &l, 100, false);
			unsigned owners = round && i == MANY / 2 ? 1 : 0;

			assert_int_equal(arrives(len), owners);
			if (owners)
				continue;
			assert_int_equal(env_port_recv(&p[i], 0, NULL, got, sizeof(got)), len);
			o = from_host(6, l.dport);
			assert_true(leaves(&p[i], env_build(buf, &o, 100, false)));
			env_card_complete(&card);
			env_card_clear(&card);
		}
		if (!round)
			env_port_free(&p[MANY / 2]);
	}
	for (unsigned i = 0; i < MANY; i++)
		if (i != MANY / 2)
			env_port_free(&p[i]);
	free(p);
	end();
}

static void what_leaves_must_be_of_the_slice(void **state)
{
	world();
	struct env_l4 l = from_host(6, 1024);

	assert_true(leaves(&a, env_build(buf, &l, 10, false)));
	assert_false(leaves(&b, env_build(buf, &l, 10, false)));
	l.sport = 8081;
	assert_true(leaves(&a, env_build(buf, &l, 10, false)));
	l.proto = 17; /* TCP only */
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	l.sport = 1024;
	l.sip = HOST + 1;
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	l.sip = HOST;
	l.ip6 = 1;
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	l.ip6 = 0;
	l.proto = 47;
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	assert_true(leaves(&a, icmp(l, 8, 1025, NULL, 0)));
	assert_false(leaves(&a, icmp(l, 8, 2048, NULL, 0)));
	assert_false(leaves(&a, icmp(l, 0, 1025, NULL, 0)));
	assert_false(leaves(&a, icmp(l, 5, 1025, NULL, 0)));
	put_be16(buf + 12, 0x88cc);
	assert_false(leaves(&a, 60));
	assert_int_equal(a.dev->stats.spoofed, 8);
	l = from_host(6, 2375); /* the owner is not bound */
	assert_true(leaves(&owner, env_build(buf, &l, 10, false)));
	end();
}

static void icmp_finds_its_way(void **state)
{
	uint8_t quoted[28];

	world();
	struct env_l4 far = from_far(1, 0), own = from_host(17, 1030);

	assert_int_equal(arrives(icmp(far, 0, 1024, NULL, 0)), 10);
	assert_int_equal(arrives(icmp(far, 0, 2048, NULL, 0)), 100);
	assert_int_equal(arrives(icmp(far, 8, 1024, NULL, 0)), 1);
	env_build(got, &own, 0, false);
	memcpy(quoted, got + 14, 28);
	assert_int_equal(arrives(icmp(far, 3, 0, quoted, 28)), 10);
	assert_int_equal(arrives(icmp(far, 11, 0, quoted, 28)), 10);
	assert_int_equal(arrives(icmp(far, 3, 0, quoted, 20)), 1); /* too short to tell */
	put_be16(quoted + 20, 2050);
	assert_int_equal(arrives(icmp(far, 3, 0, quoted, 28)), 100);
	quoted[0] = 0x4f; /* options beyond what is quoted */
	assert_int_equal(arrives(icmp(far, 3, 0, quoted, 28)), 1);
	/* An error about what came to a's slice; about b's. */
	struct env_l4 in = from_far(17, 1031);

	env_build(got, &in, 0, false);
	memcpy(quoted, got + 14, 28);
	assert_true(leaves(&a, icmp(own, 3, 0, quoted, 28)));
	assert_false(leaves(&b, icmp(own, 3, 0, quoted, 28)));
	end();
}

static void fragments_follow_the_first(void **state)
{
	world();
	struct env_l4 l = from_far(17, 2050);
	uint32_t len = env_build(buf, &l, 1000, false);

	put_be16(buf + 20, 0x2000);
	assert_int_equal(arrives(len), 100);
	put_be16(buf + 20, 126);
	put_be16(buf + 36, 1024); /* looks like a port of a's and is data */
	assert_int_equal(arrives(len), 100);
	put_be16(buf + 18, 0x4321); /* another datagram, whose first never came */
	assert_int_equal(arrives(len), 1);
	end();
}

static void answers_to_arp_go_to_who_asked(void **state)
{
	world();
	uint32_t len = env_build_arp(buf, mac_out, 0x0a000202, HOST);

	assert_int_equal(arrives(len), 1); /* a question: the owner answers */
	put_be16(buf + 20, 2);
	memcpy(buf, card.nd.mac, 6);
	assert_int_equal(arrives(len), 1); /* an answer: the owner's, nobody else asked */
	uint32_t asked = env_build_arp(got, card.nd.mac, HOST, 0x0a000202);

	assert_true(env_port_send(&a, 0, NULL, got, asked));
	assert_int_equal(taken(asked), 1); /* it could be the owner's, and goes to the wire */
	assert_int_equal(card.count, 1);
	assert_int_equal(arrives(len), 11);
	env_build_arp(buf, card.nd.mac, HOST, 0x0a000202);
	put_be16(buf + 20, 2); /* it may ask, not answer */
	assert_false(leaves(&a, asked));
	env_build_arp(buf, card.nd.mac, HOST + 1, 0x0a000202);
	assert_false(leaves(&a, asked));
	end();
}

static void one_reaches_the_other_by_the_host_address(void **state)
{
	world();
	struct env_l4 l = from_host(6, 2050);

	l.dmac = card.nd.mac;
	l.dip = HOST;
	l.dport = 8081;
	uint32_t len = env_build(buf, &l, 10, false);

	assert_true(env_port_send(&b, 0, NULL, buf, len));
	assert_int_equal(taken(len), 10);
	assert_int_equal(card.count, 0);
	/* From the wire nobody speaks as the host. */
	memcpy(buf + 6, mac_out, 6);
	assert_int_equal(arrives(len), 0);
	assert_int_equal(nic.stats.refused, 1);
	end();
}

static void the_service_is_reached_for_names_only(void **state)
{
	world();
	struct env_l4 l = {.dmac = card.nd.mac,
			   .smac = card.nd.mac,
			   .sip = 0xa9fe0002,
			   .dip = SVC,
			   .sport = 5,
			   .dport = 53,
			   .proto = 17};
	uint32_t len = env_build(buf, &l, 30, false);

	assert_true(env_port_send(&a, 0, NULL, buf, len));
	assert_int_equal(taken(len), 1);
	assert_true(env_port_send(&b, 0, NULL, buf, len)); /* as a */
	assert_int_equal(taken(len), 0);
	l.dport = 2375;
	len = env_build(buf, &l, 30, false);
	assert_true(env_port_send(&a, 0, NULL, buf, len));
	assert_int_equal(taken(len), 0);
	l.dip = 0xa9fe0003; /* another container */
	l.dport = 53;
	len = env_build(buf, &l, 30, false);
	assert_true(env_port_send(&a, 0, NULL, buf, len));
	assert_int_equal(taken(len), 0);
	l.sip = SVC; /* and back */
	l.dip = 0xa9fe0002;
	len = env_build(buf, &l, 30, false);
	assert_true(env_port_send(&owner, 0, NULL, buf, len));
	assert_int_equal(taken(len), 10);
	assert_int_equal(arrives(len), 0); /* not from the wire */
	l.dip = 0xa9fe0077;
	len = env_build(buf, &l, 30, false);
	assert_true(env_port_send(&owner, 0, NULL, buf, len));
	assert_int_equal(taken(len), 0);
	assert_int_equal(card.count, 0); /* nor to it */
	end();
}

static void private_segments_are_apart(void **state)
{
	static struct env_port c, d, e;
	static const uint8_t mac_c[6] = {2, 0, 0, 0, 0, 0xc}, mac_d[6] = {2, 0, 0, 0, 0, 0xd};

	world();
	env_port_new(&nic, &c, 4, SIZE, "seg=5 mac=02:00:00:00:00:0c ip=172.17.0.2",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &d, 5, SIZE, "seg=5 mac=02:00:00:00:00:0d ip=172.17.0.3",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &e, 6, SIZE, "seg=6 mac=02:00:00:00:00:0d ip=172.17.0.3",
		     ENV_ALL_FEATURES, 1);
	assert_true(vnet_port_live(&e.drv));
	struct env_l4 l = {.dmac = mac_d,
			   .smac = mac_c,
			   .sip = 0xac110002,
			   .dip = 0xac110003,
			   .sport = 5,
			   .dport = 53,
			   .proto = 17};
	uint32_t len = env_build(buf, &l, 30, false);

	assert_true(env_port_send(&c, 0, NULL, buf, len));
	env_run(&nic);
	assert_int_equal(env_port_recv(&d, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(env_port_recv(&e, 0, NULL, got, sizeof(got)), 0);
	memcpy(buf, all, 6);
	assert_true(env_port_send(&c, 0, NULL, buf, len));
	assert_int_equal(taken(len), 0);
	assert_int_equal(env_port_recv(&d, 0, NULL, got, sizeof(got)), len);
	assert_int_equal(env_port_recv(&e, 0, NULL, got, sizeof(got)), 0);
	memcpy(buf, mac_out, 6);
	assert_true(env_port_send(&c, 0, NULL, buf, len));
	env_run(&nic);
	memcpy(buf, mac_d, 6); /* nor does the wire reach in */
	assert_int_equal(arrives(len), 0);
	assert_int_equal(env_port_recv(&d, 0, NULL, got, sizeof(got)), 0);
	assert_int_equal(card.count, 0);
	assert_int_equal(card.nd.filter.ucs, 0);
	env_port_free(&c);
	env_port_free(&d);
	env_port_free(&e);
	end();
}

static void bad_arguments_refuse_the_port(void **state)
{
	static const char *const bad[] = {
	    "mode=share",
	    "mode=share ip=169.254.0.2 host=10.0.2.15",
	    "mode=share ip=169.254.0.2 ports=5-6",
	    "mode=share ip=169.254.0.2 host=fd00::1+ ports=5",
	    "mode=share ip=169.254.0.2 host=fd00::1+fd00::2 ports=5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15+10.0.2.16 ports=5",
	    "mode=share ip=169.254.0.2 host= ports=5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=sft5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=tl5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=l",
	    "mode=share ip=10.0.2.15 learn6",
	    "mode=ipvlan ip=10.0.0.1+10.0.0.2+10.0.0.3+10.0.0.4 learn learn6",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=0-5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=x5",
	    "mode=share ip=169.254.0.2 host=10.0.2.15 ports=5++6",
	    "mode=ipvlan ip=10.0.2.15 host=10.0.2.15 ports=5",
	    "seg=0",
	    "seg=65536",
	    "seg=1 vlan=2",
	    "seg=1 uplink=1",
	    "seg=1 mode=ipvlan ip=10.0.0.1",
	};
	struct policy p;
	const char *why;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (policy_parse(&p, bad[i], "", &why) == 0)
			fail_msg("accepted: %s", bad[i]);
}

static uint32_t build(struct env_l4 l, uint32_t source)
{
	if (source)
		l.sip = source;
	return env_build(buf, &l, 40, false);
}

/* ---- IPv6 ---- */

#define HOST6 "fd00::a00:20f" /* what env_build makes of HOST */

static const uint8_t host6[16] = {0xfd, [12] = 10, 0, 2, 15};
static const uint8_t far6[16] = {0xfd, [12] = 8, 8, 8, 8};
static const uint8_t router6[16] = {0xfe, 0x80, [15] = 1};

static void world6(void)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	env_port_new(&nic, &owner, 1, SIZE, "mode=ipvlan ip=10.0.2.15+169.254.0.1 learn6",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &a, 2, SIZE,
		     "mode=share ip=169.254.0.2 host=10.0.2.15+" HOST6
		     " ports=1024-1535+t8081+8083+ft8444+lst8445",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 3, SIZE,
		     "mode=share ip=169.254.0.3 host=" HOST6 " ports=2048-2559,st8444,u53",
		     ENV_ALL_FEATURES, 1);
	assert_true(vnet_port_live(&a.drv) && vnet_port_live(&b.drv));
	struct env_l4 l = from_host(6, 22);

	l.ip6 = 1;
	assert_true(leaves(&owner, env_build(buf, &l, 10, false))); /* is learned by it */
}

static struct env_l4 six(struct env_l4 l)
{
	l.ip6 = 1;
	return l;
}

static void what_arrives_goes_by_port_of_either_family(void **state)
{
	static const struct {
		uint8_t proto;
		uint16_t port;
		unsigned four, six;
	} t[] = {{6, 1024, 10, 10}, {17, 1535, 10, 10}, {6, 8081, 10, 10},  {17, 8081, 1, 1},
		 {6, 8083, 10, 10}, {17, 8083, 1, 1},   {6, 8444, 10, 100}, {17, 8444, 1, 1},
		 {6, 2048, 1, 100}, {17, 2559, 1, 100}, {17, 53, 1, 100},   {6, 8445, 1, 1},
		 {6, 22, 1, 1},     {17, 68, 1, 1}};

	world6();
	for (int twice = 0; twice < 2; twice++) /* the second time from the cache */
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct env_l4 l = from_far(t[i].proto, t[i].port);

			assert_int_equal(arrives(env_build(buf, &l, 100, false)), t[i].four);
			l = six(l);
			assert_int_equal(arrives(env_build(buf, &l, 100, false)), t[i].six);
		}
	struct env_l4 l = six(from_far(6, 1024));

	l.dip++; /* another address */
	assert_int_equal(arrives(env_build(buf, &l, 100, false)), 0);
	/* The neighbour reaches what the wire does not; the wire does not speak as the host. */
	l = six(from_host(6, 2050));
	l.dmac = card.nd.mac;
	l.dip = HOST;
	l.dport = 8445;
	uint32_t len = env_build(buf, &l, 100, false);

	assert_true(env_port_send(&b, 0, NULL, buf, len));
	assert_int_equal(taken(len), 10);
	memcpy(buf + 6, mac_out, 6);
	assert_int_equal(arrives(len), 0);
	assert_int_equal(nic.stats.refused, 1);
	end();
}

/* An ICMPv6 message with `payload` behind its header of eight bytes. */
static uint32_t icmp6(struct env_l4 l, uint8_t type, uint16_t id, const void *payload,
		      uint32_t n)
{
	l.proto = 58;
	l.ip6 = 1;
	uint32_t len = env_build(buf, &l, n, false);

	memset(buf + 54, 0, 8);
	buf[54] = type;
	put_be16(buf + 58, id);
	if (n)
		memcpy(buf + 62, payload, n);
	return len;
}

static void what_leaves_by_ipv6_must_be_of_the_slice(void **state)
{
	world6();
	uint64_t before = a.dev->stats.spoofed;
	struct env_l4 l = six(from_host(6, 1024));

	assert_true(leaves(&a, env_build(buf, &l, 10, false)));
	assert_false(leaves(&b, env_build(buf, &l, 10, false)));
	l.sport = 8445;
	assert_true(leaves(&a, env_build(buf, &l, 10, false)));
	l.sport = 8444; /* its own by IPv4, the other's by IPv6 */
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	assert_true(leaves(&b, env_build(buf, &l, 10, false)));
	l.ip6 = 0;
	assert_true(leaves(&a, env_build(buf, &l, 10, false)));
	assert_false(leaves(&b, env_build(buf, &l, 10, false)));
	l = six(from_host(6, 1024));
	l.sip++; /* another address */
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	l.sip--;
	l.proto = 47;
	assert_false(leaves(&a, env_build(buf, &l, 10, false)));
	l.proto = 6;
	uint32_t len = env_build(buf, &l, 10, false);
	buf[38] = 0xff; /* to a group; to what ends at the link */
	assert_false(leaves(&a, len));
	memcpy(buf + 38, router6, 16);
	assert_false(leaves(&a, len));
	assert_true(leaves(&a, icmp6(l, 128, 1025, NULL, 0)));
	assert_false(leaves(&a, icmp6(l, 128, 2048, NULL, 0)));
	assert_false(leaves(&a, icmp6(l, 129, 1025, NULL, 0)));
	for (uint8_t type = 130; type <= 143; type++) /* what speaks for a link or a router */
		assert_false(leaves(&a, icmp6(l, type, 1025, NULL, 0)));
	/* Ports behind another extension header: not ours to have sent. */
	len = env_build(buf, &l, 20, false);
	memmove(buf + 62, buf + 54, len - 62);
	memset(buf + 54, 0, 8);
	buf[54] = 6;
	buf[20] = 60;
	assert_false(leaves(&a, len));
	assert_int_equal(a.dev->stats.spoofed, before + 2 + 3 + 1 + 2 + 14);
	end();
}

static void icmpv6_finds_its_way(void **state)
{
	uint8_t quoted[56] = {0};

	world6();
	struct env_l4 far = from_far(58, 0), own = six(from_host(17, 1030));

	assert_int_equal(arrives(icmp6(far, 129, 1024, NULL, 0)), 10);
	assert_int_equal(arrives(icmp6(far, 129, 2048, NULL, 0)), 100);
	assert_int_equal(arrives(icmp6(far, 128, 1024, NULL, 0)), 1);
	env_build(got, &own, 0, false);
	memcpy(quoted, got + 14, 48);
	for (uint8_t type = 1; type <= 4; type++)
		assert_int_equal(arrives(icmp6(far, type, 0, quoted, 48)), 10);
	assert_int_equal(arrives(icmp6(far, 5, 0, quoted, 48)), 1);
	assert_int_equal(arrives(icmp6(far, 1, 0, quoted, 47)), 1); /* too short to tell */
	put_be16(quoted + 40, 2050);
	assert_int_equal(arrives(icmp6(far, 1, 0, quoted, 48)), 100);
	/* The first fragment of one; a later one says nothing. */
	memcpy(quoted + 48, quoted + 40, 8);
	memset(quoted + 40, 0, 8);
	quoted[40] = 17;
	quoted[43] = 1;
	quoted[6] = 44;
	assert_int_equal(arrives(icmp6(far, 2, 0, quoted, 56)), 100);
	assert_int_equal(arrives(icmp6(far, 2, 0, quoted, 55)), 1);
	quoted[42] = 1;
	assert_int_equal(arrives(icmp6(far, 2, 0, quoted, 56)), 1);
	/* An echo that a sent. */
	memset(quoted + 40, 0, 8);
	quoted[6] = 58;
	quoted[40] = 128;
	put_be16(quoted + 44, 1030);
	assert_int_equal(arrives(icmp6(far, 3, 0, quoted, 48)), 10);
	/* An error about what came to a's slice; about b's. */
	struct env_l4 in = six(from_far(17, 1031));

	env_build(got, &in, 0, false);
	memcpy(quoted, got + 14, 48);
	assert_true(leaves(&a, icmp6(own, 1, 0, quoted, 48)));
	assert_false(leaves(&b, icmp6(own, 1, 0, quoted, 48)));
	end();
}

/* Puts a fragment header before what is in buf behind the IPv6 header. */
static uint32_t fragment6(uint32_t len, uint16_t off_more, uint32_t id)
{
	memmove(buf + 62, buf + 54, len - 54);
	memset(buf + 54, 0, 8);
	buf[54] = buf[20];
	buf[20] = 44;
	put_be16(buf + 56, off_more);
	put_be32(buf + 58, id);
	put_be16(buf + 18, (uint16_t)(get_be16(buf + 18) + 8));
	return len + 8;
}

static void fragments_of_ipv6_follow_the_first(void **state)
{
	world6();
	struct env_l4 l = six(from_far(17, 2050));
	uint32_t len = fragment6(env_build(buf, &l, 1000, false), 1, 0x10001234);

	assert_int_equal(arrives(len), 100);
	put_be16(buf + 56, 1008);
	put_be16(buf + 64, 1024); /* looks like a port of a's and is data */
	assert_int_equal(arrives(len), 100);
	put_be32(buf + 58, 0x20001234); /* another datagram, whose first never came */
	assert_int_equal(arrives(len), 1);
	/* Out: the first one is judged. */
	l = six(from_host(17, 1030));
	len = fragment6(env_build(buf, &l, 1000, false), 1, 7);
	assert_true(leaves(&a, len));
	assert_false(leaves(&b, len));
	put_be16(buf + 56, 1008);
	assert_true(leaves(&a, len));
	end();
}

/* A neighbour solicitation or advertisement with one option of that type. */
static uint32_t nd(uint8_t type, const uint8_t *smac, const uint8_t *src, const uint8_t *dst,
		   const uint8_t *target, uint8_t option)
{
	static const uint8_t group[6] = {0x33, 0x33, 0xff, 0, 0, 1};

	memset(buf, 0, 86);
	memcpy(buf, type == NET_ND_SOLICIT ? group : card.nd.mac, 6);
	memcpy(buf + 6, smac, 6);
	put_be16(buf + 12, ETHERTYPE_IPV6);
	buf[14] = 0x60;
	put_be16(buf + 18, 32);
	buf[20] = 58;
	buf[21] = 255;
	memcpy(buf + 22, src, 16);
	memcpy(buf + 38, dst, 16);
	buf[54] = type;
	memcpy(buf + 62, target, 16);
	buf[78] = option;
	buf[79] = 1;
	memcpy(buf + 80, smac, 6);
	return 86;
}

static void neighbours_of_the_host_are_found_by_all(void **state)
{
	static const uint8_t group[16] = {0xff, 2, [11] = 1, [12] = 0xff, [15] = 1};

	world6();
	uint32_t len = nd(NET_ND_ADVERT, mac_out, router6, host6, router6, 2);

	assert_int_equal(arrives(len), 1); /* nobody else asked */
	nd(NET_ND_SOLICIT, card.nd.mac, host6, group, router6, 1);
	assert_true(leaves(&a, len));
	nd(NET_ND_ADVERT, mac_out, router6, host6, router6, 2);
	assert_int_equal(arrives(len), 11);
	/* A question for the host's address is the owner's, be it to all or to it alone. */
	nd(NET_ND_SOLICIT, mac_out, router6, group, host6, 1);
	vnet_port_rx_mode(&owner.drv, D0_VNET_RX_ALLMULTI, NULL, 0);
	vnet_port_kick(&owner.drv);
	env_run(&nic);
	assert_int_equal(arrives(len), 1);
	nd(NET_ND_SOLICIT, mac_out, router6, host6, host6, 1);
	memcpy(buf, card.nd.mac, 6);
	assert_int_equal(arrives(len), 1);
	/* Who has a slice may ask, with the card's MAC, and never answer. */
	nd(NET_ND_ADVERT, card.nd.mac, host6, router6, host6, 2);
	memcpy(buf, mac_out, 6);
	assert_false(leaves(&a, len));
	nd(NET_ND_SOLICIT, card.nd.mac, host6, group, router6, 1);
	buf[85] ^= 1; /* somebody else's MAC */
	assert_false(leaves(&a, len));
	buf[85] ^= 1;
	buf[78] = 2;
	assert_false(leaves(&a, len));
	buf[78] = 1;
	buf[21] = 64;
	assert_false(leaves(&a, len));
	nd(NET_ND_SOLICIT, card.nd.mac, far6, group, router6, 1);
	assert_false(leaves(&a, len));
	nd(NET_ND_SOLICIT, card.nd.mac, host6, group, router6, 1);
	put_be16(buf + 18, 24);
	assert_true(leaves(&a, 78)); /* without a MAC */
	end();
}

static void an_owner_that_learns_ipv6(void **state)
{
	struct env_l4 in = six(from_far(6, 22)), out = six(from_host(6, 22));

	world_of("mode=ipvlan ip=10.0.2.15+169.254.0.1 learn6");
	assert_int_equal(arrives(build(in, 0)), 0); /* nobody's yet */
	for (uint32_t i = 0; i < POLICY_LEARN6 + 1; i++) {
		assert_true(leaves(&owner, build(out, HOST + i)));
		in.dip = HOST + i;
		assert_int_equal(arrives(build(in, 0)), 1);
	}
	in.dip = HOST; /* the oldest gave way */
	assert_int_equal(arrives(build(in, 0)), 0);
	in.dip = HOST + 1;
	assert_int_equal(arrives(build(in, 0)), 1);
	assert_int_equal(arrives(build(from_far(6, 22), 0)), 1); /* IPv4 is as it was */
	assert_false(leaves(&owner, build(from_host(6, 22), HOST + 5)));
	assert_false(leaves(&a, build(out, 0)));
	end();
}

static void an_owner_that_learns_its_address(void **state)
{
	struct env_l4 in = from_far(6, 22), out = from_host(6, 22), offer = from_far(17, 68);

	world_of("mode=ipvlan ip=169.254.0.1 learn");
	assert_int_equal(arrives(build(in, 0)), 0); /* nobody's yet */
	assert_int_equal(arrives(build(from_far(6, 8081), 0)), 10);
	assert_int_equal(arrives(build(offer, 0)), 1);
	assert_false(leaves(&owner, build(out, 0xa9fe0909))); /* not such a one */
	assert_true(leaves(&owner, build(out, 0)));
	assert_int_equal(arrives(build(in, 0)), 1);
	assert_int_equal(arrives(build(from_far(6, 8081), 0)), 10);
	assert_true(leaves(&owner, build(out, 0x0a000263))); /* another lease */
	assert_int_equal(arrives(build(in, 0)), 0);
	in.dip = 0x0a000263;
	assert_int_equal(arrives(build(in, 0)), 1);
	assert_false(leaves(&a, build(out, 0)));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_arrives_goes_by_port),
	    cmocka_unit_test(a_local_port_is_closed_to_the_wire),
	    cmocka_unit_test(hundreds_of_ports),
	    cmocka_unit_test(what_leaves_must_be_of_the_slice),
	    cmocka_unit_test(icmp_finds_its_way),
	    cmocka_unit_test(fragments_follow_the_first),
	    cmocka_unit_test(answers_to_arp_go_to_who_asked),
	    cmocka_unit_test(one_reaches_the_other_by_the_host_address),
	    cmocka_unit_test(the_service_is_reached_for_names_only),
	    cmocka_unit_test(private_segments_are_apart),
	    cmocka_unit_test(an_owner_that_learns_its_address),
	    cmocka_unit_test(what_arrives_goes_by_port_of_either_family),
	    cmocka_unit_test(what_leaves_by_ipv6_must_be_of_the_slice),
	    cmocka_unit_test(icmpv6_finds_its_way),
	    cmocka_unit_test(fragments_of_ipv6_follow_the_first),
	    cmocka_unit_test(neighbours_of_the_host_are_found_by_all),
	    cmocka_unit_test(an_owner_that_learns_ipv6),
	    cmocka_unit_test(bad_arguments_refuse_the_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
