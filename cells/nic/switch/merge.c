/* SPDX-License-Identifier: ISC */
/*
 * Receive merging.
 *
 * Problem: a card that hands up single frames makes a bulk transfer cost a frame's work every
 * 1,448 bytes: in the switch, in the port's ring, in the transport cell's stack and in its
 * acknowledgements. Cards that merge themselves (virtio-net's GUEST_TSO, vmxnet3's LRO) show
 * what large segments save.
 *
 * Model: what TCP segmentation cuts (gso.c), this joins: frames of one connection that come
 * in one batch of a card and that a sender could have cut from one segment become that segment.
 * Each frame passes addresses, rules, rates and counters by itself first (nic_deliver); only
 * the way into the port's receive buffers differs. The first frame of a flow is copied there
 * as always, but its buffers are kept open; the payload of the next one is copied directly
 * behind it, so every byte is still copied once. At the end the header is written again, from a
 * private copy: nothing is read back from the port's memory.
 *
 * A frame joins only if segmentation would give it back byte for byte:
 *	TCP with payload, no IP options, extension headers or fragments; sums verified, by the
 *	card or here, the IPv4 header's always here (its sum is made anew);
 *	no SYN, RST, URG, CWR or reserved flag, and ACK;
 *	Ethernet and IP headers as the first one's but for length, sum and identification, which
 *	counts up or, with DF, does not matter (RFC 6864); so TTL, TOS and CE are equal;
 *	the TCP header as the first one's but for sequence number, sum, PSH and FIN: the same
 *	acknowledgement, window and options, timestamps included;
 *	the sequence number expected, and no more payload than the first one's.
 * It ends the merge if it is shorter than the first or has PSH or FIN, as the last segment
 * of a cut may. Any other frame of the connection ends it too and comes after it, so
 * a connection's order is kept. What is open ends with the batch, before the port hears of
 * anything: merging delays nothing. Of more connections at once than there are places, some are
 * not merged.
 *
 * Invariants: flows are open only between merge_begin and merge_end, within which no port
 * comes, goes or resets; a flow's `put` holds buffers taken from the port's queue and not
 * yet given back.
 *
 * Locking: none, one thread. Failure: a port whose queue is broken stops itself; its open
 * flows end into nothing. A port without buffers gets what fitted, and drops the rest.
 */
#include "cells/nic/switch/switch.h"

enum {
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_ECE = 0x40,
	IP_DF = 0x40, /* in byte 6 of the header */
};
#define MERGE_ALL  ((1u << MERGE_FLOWS) - 1)
#define LAST_FLAGS (TCP_FIN | TCP_PSH)

/* A frame that may begin or continue a merge. */
struct segment {
	const uint8_t *head;
	uint32_t seq, payload;
	uint8_t flags;
};

/* Only what has no options, so that headers lie where gso.c rebuilds them. */
static bool plain_ip(const struct net_info *in, const uint8_t *ip)
{
	if (in->ip6)
		return in->l4_off - in->l3_off == 40;
	return in->l4_off - in->l3_off == 20 && !(ip[6] & ~IP_DF) && !ip[7] &&
	       net_sum_fold(net_sum(ip, 20, 0, false)) == 0xffff;
}

/* The card's word, or the sum itself; then the port need not do it again. */
static bool sum_ok(struct net_frame *f)
{
	const struct net_info *in = &f->info;

	if (f->csum_ok)
		return true;
	uint32_t sum = net_sum_pseudo(in, f->frag[0].data,
				      in->ip_len - (uint32_t)(in->l4_off - in->l3_off));

	f->csum_ok = net_sum_fold(sum + net_sum_fold(net_frame_sum(f, in->l4_off))) == 0xffff;
	return f->csum_ok;
}

static bool is_segment(const struct nic_port *port, struct net_frame *f, struct segment *s)
{
	const struct net_info *in = &f->info;
	uint64_t need = in->ip6 ? D0_VNET_F(GUEST_TSO6) : D0_VNET_F(GUEST_TSO4);

	if (!in->l4_ok || in->l4_proto != IPPROTO_N_TCP || in->fragment || f->gso ||
	    !(port->features & need) || in->payload_off > MERGE_HEAD_MAX ||
	    f->frag[0].len < in->payload_off || f->len != (uint32_t)in->l3_off + in->ip_len ||
	    f->len - in->payload_off < NET_GSO_MIN)
		return false;
	s->head = f->frag[0].data;

	const uint8_t *tcp = s->head + in->l4_off;

	s->flags = tcp[13];
	s->seq = get_be32(tcp + 4);
	s->payload = f->len - in->payload_off;
	return (s->flags & ~(LAST_FLAGS | TCP_ECE)) == TCP_ACK && !(tcp[12] & 15) &&
	       plain_ip(in, s->head + in->l3_off) && sum_ok(f);
}

/* ---- whether it is the next of a flow ---- */

static bool same_ip4(const struct merge_flow *m, const uint8_t *ip)
{
	const uint8_t *first = m->head + m->info.l3_off;

	if (get_be16(ip + 4) != (uint16_t)(get_be16(first + 4) + m->count) && !(ip[6] & IP_DF))
		return false;
	return !memcmp(ip, first, 2) && ip[6] == first[6] && !memcmp(ip + 8, first + 8, 2) &&
	       !memcmp(ip + 12, first + 12, 8);
}

static bool same_ip6(const struct merge_flow *m, const uint8_t *ip)
{
	const uint8_t *first = m->head + m->info.l3_off;

	return !memcmp(ip, first, 4) && !memcmp(ip + 6, first + 6, 34);
}

static bool same_tcp(const struct merge_flow *m, const struct segment *s, const uint8_t *tcp)
{
	const struct net_info *in = &m->info;
	const uint8_t *first = m->head + in->l4_off;

	return !memcmp(tcp, first, 4) && !memcmp(tcp + 8, first + 8, 5) &&
	       !((s->flags ^ first[13]) & ~LAST_FLAGS) && !memcmp(tcp + 14, first + 14, 2) &&
	       !memcmp(tcp + 18, first + 18, (size_t)(in->payload_off - in->l4_off) - 18u);
}

static bool continues(const struct merge_flow *m, const struct net_frame *f,
		      const struct segment *s)
{
	const struct net_info *in = &f->info;
	const uint8_t *ip = s->head + in->l3_off;

	return s->seq == m->next_seq && s->payload <= m->size && in->ip6 == m->info.ip6 &&
	       in->l3_off == m->info.l3_off && in->payload_off == m->info.payload_off &&
	       m->info.ip_len + s->payload <= 0xffff && !memcmp(s->head, m->head, in->l3_off) &&
	       (in->ip6 ? same_ip6(m, ip) : same_ip4(m, ip)) &&
	       same_tcp(m, s, s->head + in->l4_off);
}

/* ---- flows ---- */

static struct merge_flow *find(struct nic *nic, const struct nic_port *port, uint32_t hash)
{
	for (uint32_t set = nic->merge.open; set; set &= set - 1) {
		struct merge_flow *m = &nic->merge.flow[__builtin_ctz(set)];

		if (m->port == port && m->hash == hash)
			return m;
	}
	return NULL;
}

void net_frame_large(struct net_frame *f, uint16_t size)
{
	uint8_t *head = f->frag[0].data, *ip = head + f->info.l3_off;
	uint32_t l4_len = f->info.ip_len - (uint32_t)(f->info.l4_off - f->info.l3_off);

	if (f->info.ip6) {
		put_be16(ip + 4, (uint16_t)(f->info.ip_len - 40));
	} else {
		put_be16(ip + 2, f->info.ip_len);
		put_be16(ip + 10, 0);
		put_be16(ip + 10, (uint16_t)~net_sum_fold(net_sum(ip, 20, 0, false)));
	}
	f->gso = f->info.ip6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
	f->gso_size = size;
	f->csum_partial = f->csum_ok = 1;
	f->csum_start = f->info.l4_off;
	f->csum_offset = 16;
	put_be16(head + f->csum_start + 16,
		 net_sum_fold(net_sum_pseudo(&f->info, head, l4_len)));
}

static void finish(struct nic *nic, struct merge_flow *m)
{
	struct net_frag head = {.data = m->head, .len = m->info.payload_off};
	struct net_frame f = {.frag = &head, .nfrag = 1, .max = 1, .info = m->info};

	nic->merge.open &= ~(1u << (m - nic->merge.flow));
	if (m->count > 1) {
		f.len = (uint32_t)m->info.l3_off + m->info.ip_len;
		net_frame_large(&f, m->size);
	}
	vnet_device_end(m->port, m->pair, &m->put, m->count > 1 ? &f : NULL);
}

static bool append(struct merge_flow *m, const struct net_frame *f, const struct segment *s)
{
	if (!vnet_device_append(m->port, m->pair, &m->put, f, f->info.payload_off, s->payload))
		return false;
	m->count++;
	m->next_seq += s->payload;
	m->info.ip_len = (uint16_t)(m->info.ip_len + s->payload);
	m->head[m->info.l4_off + 13] |= s->flags & LAST_FLAGS;
	return true;
}

static void begin(struct nic *nic, struct nic_port *port, const struct net_frame *f,
		  const struct segment *s)
{
	unsigned at = (unsigned)__builtin_ctz(~nic->merge.open);
	struct merge_flow *m = &nic->merge.flow[at];

	m->port = port;
	m->pair = (uint16_t)(f->hash % port->layout.pairs);
	if (!vnet_device_begin(port, m->pair, f, &m->put))
		return; /* dropped, and counted */
	m->hash = f->hash;
	m->info = f->info;
	m->size = (uint16_t)s->payload;
	m->next_seq = s->seq + s->payload;
	m->count = 1;
	memcpy(m->head, s->head, f->info.payload_off);
	nic->merge.open |= 1u << at;
}

bool merge_take(struct nic *nic, struct nic_port *port, struct net_frame *f)
{
	struct merge_flow *m = find(nic, port, f->hash);
	struct segment s;
	bool is = is_segment(port, f, &s);
	bool last = is && (s.flags & LAST_FLAGS);

	if (m) {
		if (is && continues(m, f, &s) && append(m, f, &s)) {
			if (last || s.payload < m->size)
				finish(nic, m);
			return true;
		}
		finish(nic, m);
	}
	if (!is || last || !port->live || nic->merge.open == MERGE_ALL)
		return false;
	begin(nic, port, f, &s);
	return true;
}

void merge_end(struct nic *nic)
{
	nic->merge.on = false;
	while (nic->merge.open)
		finish(nic, &nic->merge.flow[__builtin_ctz(nic->merge.open)]);
}

void merge_of_card(const struct netdev *nd, struct net_frame *f)
{
	const struct net_info *in = &f->info;
	uint32_t hdr = (uint32_t)in->payload_off - in->l3_off;

	if (f->gso || f->csum_partial || !f->csum_ok || in->ip_len <= nd->mtu || !in->l4_ok ||
	    in->l4_proto != IPPROTO_N_TCP || in->fragment || hdr + NET_GSO_MIN > nd->mtu ||
	    f->frag[0].len < in->payload_off || !plain_ip(in, f->frag[0].data + in->l3_off))
		return;
	net_frame_large(f, (uint16_t)(nd->mtu - hdr));
}
