/* SPDX-License-Identifier: ISC */
/*
 * Receive merging: what a port gets, cut again by the segmentation of gso.c, must be the
 * frames that were sent, byte for byte, whatever was joined.
 */
#include "cells/nic/switch/switch.h"
#include "tests/unit/nic_env.h"

#include <cmocka.h>

#define SIZE (1u << 20)
#define MOST 128u

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_out[6] = {2, 0, 0, 0, 0, 0xee};
static const struct net_frame good = {.csum_ok = 1};
static struct nic nic;
static struct env_card card;
static struct env_port a;
static uint8_t got[70000];

#define ARGS_A "mac=02:00:00:00:00:0a ip=10.0.0.1,fd00::1"

/* ---- segments as a sender makes them ---- */

struct seg {
	bool v6;
	uint32_t seq, ack, payload;
	uint16_t win, id, urgent, sport;
	uint8_t flags, tos, ttl, df, nopts, ip_opts, reserved;
	uint8_t opts[40], smac;
	uint32_t label;
};

static struct seg first_of(bool v6)
{
	return (struct seg){.v6 = v6,
			    .seq = 0xfffff000,
			    .ack = 77,
			    .payload = 1448,
			    .win = 500,
			    .id = 0xfffe,
			    .sport = 2000,
			    .flags = 0x10,
			    .tos = 2,
			    .ttl = 64,
			    .nopts = 12,
			    .opts = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8},
			    .smac = 0xee};
}

static struct seg next_of(const struct seg *s)
{
	struct seg n = *s;

	n.seq += s->payload;
	n.id++;
	return n;
}

static void put_ip(uint8_t *ip, const struct seg *s, uint32_t l4_len)
{
	if (s->v6) {
		put_be32(ip, 6u << 28 | (uint32_t)s->tos << 20 | s->label);
		put_be16(ip + 4, (uint16_t)(l4_len + 8u * s->ip_opts));
		ip[6] = s->ip_opts ? 0 : IPPROTO_N_TCP; /* hop-by-hop options: padding */
		if (s->ip_opts)
			memcpy(ip + 40, (uint8_t[8]){IPPROTO_N_TCP, 0, 1, 4}, 8);
		ip[7] = s->ttl;
		ip[8] = ip[24] = 0xfd;
		ip[23] = 9;
		ip[39] = 1;
		return;
	}
	ip[0] = (uint8_t)(0x45 + s->ip_opts);
	ip[1] = s->tos;
	put_be16(ip + 2, (uint16_t)(l4_len + 20u + 4u * s->ip_opts));
	put_be16(ip + 4, s->id);
	ip[6] = s->df;
	ip[8] = s->ttl;
	ip[9] = IPPROTO_N_TCP;
	put_be32(ip + 12, 0x0a000009);
	put_be32(ip + 16, 0x0a000001);
	memset(ip + 20, 1, 4u * s->ip_opts);
	put_be16(ip + 10,
		 (uint16_t)~net_sum_fold(net_sum(ip, 20u + 4u * s->ip_opts, 0, false)));
}

static uint32_t build(uint8_t *buf, const struct seg *s)
{
	uint32_t l4 = s->v6 ? 54 + 8u * s->ip_opts : 34 + 4u * s->ip_opts, hdr = 20u + s->nopts;
	uint8_t *tcp = buf + l4;
	struct net_info in;

	memset(buf, 0, l4 + hdr);
	memcpy(buf, mac_a, 6);
	memcpy(buf + 6, mac_out, 6);
	buf[11] = s->smac;
	put_be16(buf + 12, s->v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
	put_ip(buf + 14, s, hdr + s->payload);
	put_be16(tcp, s->sport);
	put_be16(tcp + 2, 80);
	put_be32(tcp + 4, s->seq);
	put_be32(tcp + 8, s->ack);
	tcp[12] = (uint8_t)(hdr / 4 << 4 | s->reserved);
	tcp[13] = s->flags;
	put_be16(tcp + 14, s->win);
	put_be16(tcp + 18, s->urgent);
	memcpy(tcp + 20, s->opts, s->nopts);
	for (uint32_t i = 0; i < s->payload; i++)
		tcp[hdr + i] = (uint8_t)((s->seq + i) * 7 + ((s->seq + i) >> 8));
	net_parse(buf, NET_HEAD_MAX, l4 + hdr + s->payload, &in);
	put_be16(tcp + 16, (uint16_t)~net_sum_fold(
			       net_sum(tcp, hdr + s->payload,
				       net_sum_pseudo(&in, buf, hdr + s->payload), false)));
	return l4 + hdr + s->payload;
}

/* ---- what was sent, and what came of it ---- */

static struct {
	uint8_t *data;
	uint32_t len;
	bool seen;
} sent[MOST];
static unsigned sents;
static bool ordered; /* frames come in the order sent; else each flow's do */

static void send_bytes(const uint8_t *buf, uint32_t len, uint32_t piece,
		       const struct net_frame *meta)
{
	sent[sents].data = memcpy(malloc(len), buf, len);
	sent[sents].seen = false;
	sent[sents++].len = len;
	assert_true(env_card_queue(&card, buf, len, piece, meta));
}

static void send_seg(const struct seg *s, uint32_t piece)
{
	uint8_t buf[2048];

	send_bytes(buf, build(buf, s), piece, &good);
}

static void check_piece(void *arg, const uint8_t *data, uint32_t len)
{
	unsigned i = 0;

	while (i < sents && (sent[i].seen || (!ordered && (sent[i].len != len ||
							   memcmp(sent[i].data, data, len)))))
		i++;
	assert_true(i < sents);
	assert_int_equal(len, sent[i].len);
	assert_memory_equal(data, sent[i].data, len);
	sent[i].seen = true;
	(*(unsigned *)arg)++;
}

/* Takes all frames from the port after one pass; lens[i] their lengths. How many. */
static unsigned receive(uint32_t *lens, uint16_t gso_size)
{
	unsigned frames = 0, pieces = 0;
	struct d0_vnet_hdr h;
	uint32_t n;

	nic_run(&nic, 1); /* one: nothing is held back */
	while ((n = env_port_recv(&a, 0, &h, got, sizeof(got)))) {
		if (h.gso_type) {
			assert_int_equal(h.gso_size, gso_size);
			assert_int_equal(h.flags, D0_VNET_HDR_NEEDS_CSUM);
		}
		env_split(&h, got, n, check_piece, &pieces);
		if (frames < MOST)
			lens[frames] = n;
		frames++;
	}
	assert_int_equal(pieces, sents);
	for (unsigned i = 0; i < sents; i++)
		free(sent[i].data);
	sents = 0;
	return frames;
}

static void world(const char *args, uint64_t features)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	env_port_new(&nic, &a, 1, SIZE, args, features, 1);
	assert_true(vnet_port_live(&a.drv));
	ordered = true;
	sents = 0;
}

static void end(void)
{
	env_card_clear(&card);
	env_port_free(&a);
	assert_int_equal(nic.merge.open, 0);
	nic_fini(&nic);
}

/* ---- tests ---- */

static void joins_what_segmentation_cuts(void **state)
{
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int v6 = 0; v6 < 2; v6++)
		for (uint32_t piece = 400; piece < 3000; piece += 800)
			for (unsigned n = 2; n <= 40; n += 19) {
				struct seg s = first_of(v6);
				uint32_t head = v6 ? 86 : 66;

				for (unsigned i = 0; i < n; i++, s = next_of(&s))
					send_seg(&s, piece);
				assert_int_equal(receive(lens, 1448), 1);
				assert_int_equal(lens[0], head + n * 1448);
			}
	assert_int_equal(a.dev->stats.rx_merged + 2 * 4 * 3, a.dev->stats.rx_packets);
	end();
}

/* 64 KiB are full in the middle of a batch. */
static void begins_anew_when_full(void **state)
{
	uint32_t lens[MOST];
	struct seg s = first_of(false);

	world(ARGS_A, ENV_ALL_FEATURES);
	for (unsigned i = 0; i < 60; i++, s = next_of(&s))
		send_seg(&s, 2000);
	assert_int_equal(receive(lens, 1448), 2);
	assert_int_equal(lens[0], 66 + 45 * 1448 - 1448 * ((66 - 14 + 45 * 1448) > 65535));
	end();
}

static void last_segments_end_it(void **state)
{
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int kind = 0; kind < 4; kind++) {
		struct seg s = first_of(kind & 1);
		uint32_t head = s.v6 ? 86 : 66, last = kind == 3 ? 700 : 1448;

		for (unsigned i = 0; i < 6; i++) {
			struct seg t = s;

			if (i == 2) {
				t.flags = kind == 0 ? 0x18 : kind == 1 ? 0x11 : 0x10;
				t.payload = kind == 2 ? 100 : last;
			}
			send_seg(&t, 2000);
			s = next_of(&t);
			s.flags = 0x10;
			s.payload = 1448;
		}
		assert_int_equal(receive(lens, 1448), 2);
		assert_int_equal(lens[0], head + 2896 + (kind == 2 ? 100 : last));
		assert_int_equal(lens[1], head + 3 * 1448);
	}
	end();
}

static void change(struct seg *s, int how)
{
	switch (how) {
	case 0:
		s->seq++;
		break; /* a gap */
	case 1:
		s->seq -= 2;
		break;
	case 2:
		s->ack++;
		break;
	case 3:
		s->win++;
		break;
	case 4:
		s->tos ^= 1;
		break; /* ECT to CE */
	case 5:
		s->ttl--;
		break;
	case 6:
		s->opts[7]++;
		break; /* timestamp */
	case 7:
		s->nopts = 0;
		break;
	case 8:
		s->flags = 0x50;
		break; /* ECE */
	case 9:
		s->flags = 0x90;
		break; /* CWR */
	case 10:
		s->flags = 0x30;
		s->urgent = 5;
		break;
	case 11:
		s->flags = 0x14;
		break; /* RST */
	case 12:
		s->flags = 0x12;
		break; /* SYN */
	case 13:
		s->flags = 0;
		break;
	case 14:
		s->reserved = 1;
		break;
	case 15:
		s->payload++;
		break; /* more than the first */
	case 16:
		s->payload = 0;
		break;
	case 17:
		s->urgent = 1;
		break;
	case 18:
		s->smac++;
		break;
	case 19:
		s->opts[0] = 0;
		break;
	case 20:
		s->label = 1;
		break; /* from here on IPv6, then IPv4, alone */
	case 21:
		s->id++;
		break;
	case 22:
		s->df = 0x40;
		break;
	case 23:
		s->df = 0x20;
		break; /* a fragment */
	case 24:
		s->df = 0x80;
		break;
	default:
		s->ip_opts = 1;
	}
}
#define CHANGES 26

static void differences_keep_frames_apart(void **state)
{
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int v6 = 0; v6 < 2; v6++)
		for (int how = 0; how < CHANGES; how++) {
			struct seg s = first_of(v6), t = next_of(&s);

			if ((how == 20 && !v6) || (how > 20 && how < 25 && v6))
				continue;
			change(&t, how);
			send_seg(&s, 2000);
			send_seg(&t, 2000);
			s = next_of(&s);
			s = next_of(&s);
			s.seq += 9999; /* and on with something else */
			send_seg(&s, 2000);
			if (how == 23)
				ordered = false; /* a fragment is of no flow */
			assert_int_equal(receive(lens, 1448), 3);
			ordered = true;
		}
	assert_int_equal(a.dev->stats.rx_merged, 0);
	end();
}

/* What all have in common, but may not: PSH and FIN end a merge before it begins. */
static void some_never_begin_one(void **state)
{
	static const int how[] = {9, 10, 11, 12, 13, 14, 16, 24, 25, 100, 101};
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int v6 = 0; v6 < 2; v6++)
		for (unsigned i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
			struct seg s = first_of(v6);

			if (how[i] >= 100)
				s.flags = how[i] == 100 ? 0x18 : 0x11;
			else
				change(&s, how[i]);
			for (int n = 0; n < 3; n++, s = next_of(&s))
				send_seg(&s, 2000);
			assert_int_equal(receive(lens, 1448), v6 && how[i] == 24 ? 1 : 3);
		}
	end();
}

/* Another port that sees everything gets its own. */
static void ports_stay_apart(void **state)
{
	struct seg s = first_of(false);
	static struct env_port all;
	struct d0_vnet_hdr h;
	uint8_t buf[2048];

	world(ARGS_A, ENV_ALL_FEATURES);
	env_port_new(&nic, &all, 2, SIZE, "mac=02:00:00:00:00:0b promisc", ENV_ALL_FEATURES, 1);
	vnet_port_rx_mode(&all.drv, D0_VNET_RX_PROMISC, NULL, 0);
	vnet_port_kick(&all.drv);
	env_run(&nic);
	for (int i = 0; i < 5; i++, s = next_of(&s))
		env_card_queue(&card, buf, build(buf, &s), 2000, &good);
	env_run(&nic);
	for (int i = 0; i < 2; i++) {
		struct env_port *p = i ? &all : &a;

		assert_int_equal(env_port_recv(p, 0, &h, got, sizeof(got)), 66 + 5 * 1448);
		for (uint32_t n = 0; n < 5 * 1448; n++)
			assert_int_equal(got[66 + n], (uint8_t)((0xfffff000 + n) * 7 +
								((0xfffff000 + n) >> 8)));
		assert_int_equal(env_port_recv(p, 0, &h, got, sizeof(got)), 0);
	}
	env_port_free(&all);
	end();
}

/* RFC 6864: what may not be fragmented needs no identification; it is not the same after
 * segmentation, so it is looked at by itself. */
static void identification_does_not_matter_with_df(void **state)
{
	struct seg s = first_of(false);
	uint8_t buf[2048];
	struct d0_vnet_hdr h;

	world(ARGS_A, ENV_ALL_FEATURES);
	s.df = 0x40;
	for (int i = 0; i < 3; i++, s = next_of(&s)) {
		s.id = (uint16_t)(i * 333);
		env_card_queue(&card, buf, build(buf, &s), 2000, &good);
	}
	nic_run(&nic, 1);
	assert_int_equal(env_port_recv(&a, 0, &h, got, sizeof(got)), 66 + 3 * 1448);
	assert_int_equal(h.gso_size, 1448);
	assert_int_equal(h.gso_type, D0_VNET_GSO_TCPV4);
	for (uint32_t i = 0; i < 3 * 1448; i++)
		assert_int_equal(got[66 + i],
				 (uint8_t)((0xfffff000 + i) * 7 + ((0xfffff000 + i) >> 8)));
	end();
}

/* Sums the card did not check are checked; what is damaged passes as it is. */
static void damage_is_not_hidden(void **state)
{
	static const uint32_t at[] = {24, 16, 40, 52, 300}; /* IP sum, lengths, TCP, payload */
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (unsigned hurt = 0; hurt <= 5; hurt++)
		for (unsigned trusted = 0; trusted < 2; trusted++) {
			struct seg s = first_of(false);
			struct net_frame meta = {.csum_ok = trusted && hurt < 2};
			uint8_t buf[2048];

			for (int i = 0; i < 3; i++, s = next_of(&s)) {
				uint32_t len = build(buf, &s);

				if (i == 1 && hurt)
					buf[at[hurt - 1]] ^= 0x40;
				send_bytes(buf, len, 2000, &meta);
			}
			ordered = hurt != 2; /* with another length it is of no flow */
			assert_int_equal(receive(lens, 1448), hurt ? 3 : 1);
		}
	end();
}

/* Lengths that lie, at either end of what they may be: nothing is read or joined beyond. */
static void hostile_lengths(void **state)
{
	uint32_t lens[MOST];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int v6 = 0; v6 < 2; v6++)
		for (uint32_t v = 0; v < 400; v++) {
			struct seg s = first_of(v6);
			uint8_t buf[2048];
			uint32_t len = build(buf, &s), at = v6 ? 18 : 16, cut = len;

			send_bytes(buf, len, 2000, &good);
			s = next_of(&s);
			build(buf, &s);
			if (v < 100)
				put_be16(buf + at, (uint16_t)(v * 655));
			else if (v < 200)
				put_be16(buf + at, (uint16_t)(get_be16(buf + at) + v - 150));
			else if (v < 216)
				buf[v6 ? 66 : 46] = (uint8_t)((v - 200) << 4);
			else if (v < 232)
				buf[14] = (uint8_t)(0x40 + v - 216);
			else
				cut = 14 + (v - 232) % 100;
			if (!v6) { /* a good sum over bad fields */
				put_be16(buf + 24, 0);
				put_be16(buf + 24, (uint16_t)~net_sum_fold(
						       net_sum(buf + 14, 20, 0, false)));
			}
			send_bytes(buf, cut, 2000, &good);
			ordered = false; /* what is no TCP is of no flow */
			unsigned n = receive(lens, 1448);

			assert_in_range(n, 1, 2);
			if (n == 1) /* untouched after all */
				assert_int_equal(lens[0], len + 1448);
		}
	end();
}

/* More flows than are kept open: none loses its order or a byte. */
static void many_flows_at_once(void **state)
{
	struct seg s[MERGE_FLOWS + 7];
	uint32_t lens[MOST];

	for (unsigned flows = 2; flows <= MERGE_FLOWS + 7; flows += 7) {
		unsigned n = 0, frames;

		world(ARGS_A, ENV_ALL_FEATURES);
		ordered = false;
		for (unsigned i = 0; i < flows; i++) {
			s[i] = first_of(i & 1);
			s[i].sport = (uint16_t)(1000 + i);
		}
		for (; n < 60; n++) {
			unsigned i = n * 5 % flows;

			send_seg(&s[i], 2000);
			s[i] = next_of(&s[i]);
		}
		frames = receive(lens, 1448);
		assert_true(flows <= MERGE_FLOWS ? frames == flows : frames < n - MERGE_FLOWS);
		end();
	}
}

/* Rules, rates and counters say the same of frames that are joined. */
static void policy_sees_single_frames(void **state)
{
	static const char *const args[] = {ARGS_A, ARGS_A " rules=-in,tcp,sport=2000",
					   ARGS_A " rxrate=80000"};
	struct port_stats stats[2];

	for (unsigned k = 0; k < 3; k++) {
		for (unsigned merging = 0; merging < 2; merging++) {
			uint64_t tso = D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6);
			struct seg s = first_of(false);
			uint8_t buf[2048];

			world(args[k], merging ? ENV_ALL_FEATURES : ENV_ALL_FEATURES & ~tso);
			for (int i = 0; i < 60; i++, s = next_of(&s))
				env_card_queue(&card, buf, build(buf, &s), 2000, &good);
			nic_run(&nic, 1ull << 40);
			while (env_port_recv(&a, 0, NULL, got, sizeof(got)))
				;
			stats[merging] = a.dev->stats;
			end();
		}
		assert_int_equal(stats[0].rx_merged, 0);
		assert_int_equal(stats[1].rx_merged > 0, k != 1);
		assert_int_equal(stats[1].rx_packets, stats[0].rx_packets);
		assert_int_equal(stats[1].rx_bytes, stats[0].rx_bytes);
		assert_int_equal(stats[1].denied, stats[0].denied);
		assert_int_equal(stats[1].denied > 0, k == 1);
		assert_int_equal(stats[1].limited, stats[0].limited);
		assert_int_equal(stats[1].limited > 0, k == 2);
		assert_int_equal(stats[1].rx_dropped, stats[0].rx_dropped);
	}
}

/* A port with few buffers gets the beginning, in order, and the rest is counted. */
static void a_full_port_gets_what_fits(void **state)
{
	struct seg s = first_of(false);
	uint8_t buf[2048];
	uint32_t n, bytes = 0;

	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 1);
	env_port_new(&nic, &a, 1, 128 << 10, ARGS_A, ENV_ALL_FEATURES, 1);
	for (int i = 0; i < 100; i++, s = next_of(&s))
		env_card_queue(&card, buf, build(buf, &s), 2000, &good);
	nic_run(&nic, 1);
	nic_run(&nic, 2);
	while ((n = env_port_recv(&a, 0, NULL, got, sizeof(got)))) {
		uint32_t seq = get_be32(got + 38);

		assert_int_equal(seq, 0xfffff000 + bytes);
		bytes += n - 66;
	}
	assert_true(bytes >= 20 * 1448);
	assert_int_equal(a.dev->stats.rx_packets, bytes / 1448);
	assert_int_equal(a.dev->stats.rx_packets + a.dev->stats.rx_dropped, 100);
	end();
}

static void vlans_stay_apart(void **state)
{
	struct seg s = first_of(false);
	uint8_t buf[2048], tagged[2048];
	struct d0_vnet_hdr h;

	world(ARGS_A " vlan=7", ENV_ALL_FEATURES);
	for (int i = 0; i < 6; i++, s = next_of(&s)) {
		uint32_t len = build(buf, &s);

		memcpy(tagged, buf, 12);
		put_be16(tagged + 12, ETHERTYPE_VLAN);
		put_be16(tagged + 14, i == 3 ? 8 : 7);
		memcpy(tagged + 16, buf + 12, len - 12);
		env_card_queue(&card, tagged, len + 4, 2000, &good);
	}
	nic_run(&nic, 1);
	assert_int_equal(env_port_recv(&a, 0, &h, got, sizeof(got)), 66 + 3 * 1448);
	assert_int_equal(get_be32(got + 38), 0xfffff000);
	assert_int_equal(get_be16(got + 12), ETHERTYPE_IPV4);
	assert_int_equal(env_port_recv(&a, 0, &h, got, sizeof(got)), 66 + 2 * 1448);
	assert_int_equal(get_be32(got + 38), 0xfffff000 + 4 * 1448);
	assert_int_equal(env_port_recv(&a, 0, &h, got, sizeof(got)), 0);
	end();
}

/* Sums that the sender's machine left partial (virtio-net without GUEST_TSO). */
static void joins_partial_sums(void **state)
{
	struct net_frame meta = {
	    .csum_ok = 1, .csum_partial = 1, .csum_start = 34, .csum_offset = 16};
	struct seg s = first_of(false);
	uint32_t lens[MOST];
	uint8_t buf[2048];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int i = 0; i < 5; i++, s = next_of(&s)) {
		uint32_t len = build(buf, &s);

		send_bytes(buf, len, 2000, &good); /* what it must come to */
		card.wires--;
		free(card.wire[card.wires].data);
		struct net_info in;

		net_parse(buf, NET_HEAD_MAX, len, &in);
		put_be16(buf + 50, net_sum_fold(net_sum_pseudo(&in, buf, len - 34)));
		env_card_queue(&card, buf, len, 2000, &meta);
	}
	assert_int_equal(receive(lens, 1448), 1);
	end();
}

static void count_piece(void *arg, const uint8_t *data, uint32_t len)
{
	assert_true(env_sums_ok(data, len));
	assert_in_range(len, 1, 1514);
	(*(unsigned *)arg)++;
}

/* A card that merges and tells nothing but the length (vmxnet3). */
static void takes_what_a_card_merged(void **state)
{
	for (int v6 = 0; v6 < 2; v6++)
		for (int tso = 0; tso < 2; tso++) {
			struct env_l4 l = env_flow(mac_a, mac_out, 2000, 80, IPPROTO_N_TCP);
			static uint8_t buf[70000];
			struct d0_vnet_hdr h;
			unsigned n = 0, frames = 0;

			l.sip = v6 ? 9 : 0x0a000009;
			l.dip = v6 ? 1 : 0x0a000001;
			l.ip6 = (uint8_t)v6;
			l.tcp_flags = 0x18;
			world(ARGS_A, tso ? ENV_ALL_FEATURES : D0_VNET_F(GUEST_CSUM));
			card.nd.features = NETDEV_F_LRO | NETDEV_F_LRO_PLAIN;
			uint32_t len = env_build(buf, &l, 20000, false), r;

			env_card_queue(&card, buf, len, 2000, &good);
			nic_run(&nic, 1);
			while ((r = env_port_recv(&a, 0, &h, got, sizeof(got)))) {
				env_split(&h, got, r, count_piece, &n);
				frames++;
			}
			assert_int_equal(n, (20000 + (v6 ? 1439 : 1459)) / (v6 ? 1440 : 1460));
			assert_int_equal(frames, tso ? 1 : n);
			end();
		}
}

/* A driver side that scribbles over its region while frames are being joined in it. */
static void hostile_port(void **state)
{
	uint32_t seed = 1;
	uint8_t buf[2048];

	world(ARGS_A, ENV_ALL_FEATURES);
	for (int round = 0; round < 2000; round++) {
		struct seg s = first_of(round & 1);

		for (int i = 0; i < 6; i++) {
			uint32_t span = round % 3 ? a.dev->layout.buffers : SIZE;

			seed = seed * 1664525 + 1013904223;
			a.ring[(seed >> 8) % span] ^= (uint8_t)(1u << (seed & 7));
			env_card_queue(&card, buf, build(buf, &s), 700, &good);
			s = next_of(&s);
		}
		nic_port_event(&nic, 1);
		env_run(&nic);
		if (round % 16 == 0) {
			struct vnet_port_cfg cfg = a.drv.cfg;

			vnet_port_open(&a.drv, &cfg);
		}
		vnet_port_poll(&a.drv);
		env_port_recv(&a, 0, NULL, got, sizeof(got));
		env_card_clear(&card);
	}
	assert_true(a.dev->stats.rx_merged > 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(joins_what_segmentation_cuts),
	    cmocka_unit_test(begins_anew_when_full),
	    cmocka_unit_test(last_segments_end_it),
	    cmocka_unit_test(differences_keep_frames_apart),
	    cmocka_unit_test(some_never_begin_one),
	    cmocka_unit_test(ports_stay_apart),
	    cmocka_unit_test(identification_does_not_matter_with_df),
	    cmocka_unit_test(damage_is_not_hidden),
	    cmocka_unit_test(hostile_lengths),
	    cmocka_unit_test(many_flows_at_once),
	    cmocka_unit_test(policy_sees_single_frames),
	    cmocka_unit_test(a_full_port_gets_what_fits),
	    cmocka_unit_test(vlans_stay_apart),
	    cmocka_unit_test(joins_partial_sums),
	    cmocka_unit_test(takes_what_a_card_merged),
	    cmocka_unit_test(hostile_port),
	};

	return cmocka_run_group_tests_name("nic_merge", tests, NULL, NULL);
}
