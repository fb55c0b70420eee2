/* SPDX-License-Identifier: ISC */
/*
 * net_common: parsing and sums.
 *
 * Every policy decision of the switch rests on net_parse, so it takes a private copy of
 * the head, trusts no length in it, and says "malformed" rather than guess: a frame that
 * claims to be IP but isn't never passes a port with address rules.
 */
#include "cells/nic/net_common.h"
#include "libcell/digit.h"

static void parse_ports(const uint8_t *head, uint32_t head_len, struct net_info *in)
{
	uint32_t left = head_len - in->l4_off;
	uint32_t hdr = in->l4_proto == IPPROTO_N_TCP ? 20 : 8;

	if (in->fragment && !in->first)
		return;
	if (in->l4_proto != IPPROTO_N_TCP && in->l4_proto != IPPROTO_N_UDP)
		return;
	if (left < hdr)
		return;
	if (in->l4_proto == IPPROTO_N_TCP) {
		hdr = (head[in->l4_off + 12] >> 4) * 4;
		if (hdr < 20 || hdr > left)
			return;
	}
	in->sport = get_be16(head + in->l4_off);
	in->dport = get_be16(head + in->l4_off + 2);
	in->payload_off = (uint16_t)(in->l4_off + hdr);
	in->l4_ok = in->payload_off <= in->l3_off + in->ip_len;
}

static void parse_ipv4(const uint8_t *head, uint32_t head_len, uint32_t frame_len,
		       struct net_info *in)
{
	const uint8_t *ip = head + in->l3_off;
	uint32_t left = head_len - in->l3_off;
	uint32_t ihl, total;

	in->malformed = 1;
	if (left < 20 || (ip[0] >> 4) != 4)
		return;
	ihl = (ip[0] & 15) * 4;
	total = get_be16(ip + 2);
	if (ihl < 20 || ihl > left || total < ihl || total > frame_len - in->l3_off)
		return;
	in->malformed = 0;
	in->l3_ok = 1;
	in->ip_len = (uint16_t)total;
	in->src = net_addr_v4(ip + 12);
	in->dst = net_addr_v4(ip + 16);
	in->l4_proto = ip[9];
	uint16_t frag = get_be16(ip + 6);
	in->fragment = (frag & 0x3fff) != 0;
	in->frag_id = get_be16(ip + 4);
	in->first = (frag & 0x1fff) == 0;
	in->l4_off = in->payload_off = (uint16_t)(in->l3_off + ihl);
	parse_ports(head, head_len, in);
}

/* Walks extension headers (RFC 8200 section 4); stops at the first it does not know. */
static void parse_ipv6(const uint8_t *head, uint32_t head_len, uint32_t frame_len,
		       struct net_info *in)
{
	const uint8_t *ip = head + in->l3_off;
	uint32_t left = head_len - in->l3_off;
	uint32_t at = 40;
	uint8_t next;

	in->malformed = 1;
	if (left < 40 || (ip[0] >> 4) != 6)
		return;
	uint32_t total = 40u + get_be16(ip + 4);
	if (total > frame_len - in->l3_off || total > 0xffff)
		return;
	in->malformed = 0;
	in->l3_ok = in->ip6 = 1;
	in->ip_len = (uint16_t)total;
	in->src = net_addr_v6(ip + 8);
	in->dst = net_addr_v6(ip + 24);
	next = ip[6];
	for (int n = 0; n < 8; n++) {
		uint32_t size;

		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (left < at + 8) {
			in->l4_proto = 255; /* headers beyond what we look at */
			in->l4_off = in->payload_off = (uint16_t)(in->l3_off + at);
			return;
		}
		if (next == 44) {
			uint16_t frag = get_be16(ip + at + 2);

			in->fragment = (frag & 0xfff9) != 0;
			in->first = (frag & 0xfff8) == 0;
			in->frag_id = get_be32(ip + at + 4);
			size = 8;
		} else {
			size = 8u + ip[at + 1] * 8u;
		}
		next = ip[at];
		if (size > left - at) {
			in->l4_proto = 255;
			in->l4_off = in->payload_off = (uint16_t)(in->l3_off + at);
			return;
		}
		at += size;
		if (in->fragment && !in->first)
			break;
	}
	in->l4_proto = next;
	in->l4_off = in->payload_off = (uint16_t)(in->l3_off + at);
	parse_ports(head, head_len, in);
}

static void parse_arp(const uint8_t *head, uint32_t head_len, struct net_info *in)
{
	static const uint8_t fixed[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4, 6, 4 */
	const uint8_t *arp = head + in->l3_off;

	in->malformed = 1;
	if (head_len - in->l3_off < 28 || memcmp(arp, fixed, sizeof(fixed)))
		return;
	in->malformed = 0;
	in->is_arp = 1;
	in->src = net_addr_v4(arp + 14);
	in->dst = net_addr_v4(arp + 24);
}

void net_parse(const uint8_t *head, uint32_t head_len, uint32_t frame_len, struct net_info *in)
{
	memset(in, 0, sizeof(*in));
	if (head_len > frame_len)
		head_len = frame_len;
	if (head_len < NET_ETH_HDR)
		return;
	uint32_t at = 12;
	uint16_t type = get_be16(head + at);

	if (type == ETHERTYPE_VLAN && head_len >= at + 6) {
		in->tagged = 1;
		in->vlan = get_be16(head + at + 2) & 0xfff;
		at += NET_VLAN_HDR;
		type = get_be16(head + at);
	}
	in->ethertype = type;
	in->l3_off = (uint16_t)(at + 2);
	if (type == ETHERTYPE_IPV4)
		parse_ipv4(head, head_len, frame_len, in);
	else if (type == ETHERTYPE_IPV6)
		parse_ipv6(head, head_len, frame_len, in);
	else if (type == ETHERTYPE_ARP)
		parse_arp(head, head_len, in);
}

static uint32_t mix(uint32_t h, uint32_t v)
{
	h ^= v;
	h *= 0x9e3779b1u;
	return h ^ (h >> 15);
}

/* Every bit of the result depends on every bit so far: queues are chosen by the low ones. */
static uint32_t finish(uint32_t h)
{
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return h ^ h >> 16;
}

uint32_t net_flow_hash(const uint8_t *head, const struct net_info *in, uint32_t key)
{
	uint32_t h = mix(key, in->ethertype);

	if (!in->l3_ok)
		return finish(
		    mix(mix(mix(h, get_be32(head)), get_be32(head + 4)), get_be32(head + 8)));
	for (int i = 0; i < 16; i += 4)
		h = mix(mix(h, get_be32(in->src.b + i)), get_be32(in->dst.b + i));
	h = mix(h, in->l4_proto);
	if (in->l4_ok && !in->fragment)
		h = mix(h, (uint32_t)in->sport << 16 | in->dport);
	return finish(h);
}

uint32_t net_sum(const void *data, uint32_t len, uint32_t sum, bool odd)
{
	const uint8_t *p = data;
	uint64_t acc = 0;

	/* Summed in the host's byte order, swapped at the end (RFC 1071 section 2.B). */
	for (; len >= 32; p += 32, len -= 32) {
		uint64_t w[4];

		memcpy(w, p, 32);
		acc += (w[0] & 0xffffffff) + (w[0] >> 32) + (w[1] & 0xffffffff) + (w[1] >> 32);
		acc += (w[2] & 0xffffffff) + (w[2] >> 32) + (w[3] & 0xffffffff) + (w[3] >> 32);
	}
	for (; len >= 2; p += 2, len -= 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		acc += w;
	}
	if (len)
		acc += *p;
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	uint32_t part = odd ? (uint32_t)acc : __builtin_bswap16((uint16_t)acc);
	return net_sum_fold(sum) + part;
}

uint32_t net_sum_pseudo(const struct net_info *in, const uint8_t *head, uint32_t l4_len)
{
	uint32_t sum = in->l4_proto + l4_len;

	if (in->ip6)
		sum = net_sum(head + in->l3_off + 8, 32, sum, false);
	else
		sum = net_sum(head + in->l3_off + 12, 8, sum, false);
	return sum;
}

uint32_t net_frame_sum(const struct net_frame *f, uint32_t from)
{
	uint32_t sum = 0, at = 0, done = 0;

	for (unsigned i = 0; i < f->nfrag; i++) {
		const struct net_frag *g = &f->frag[i];
		uint32_t skip = from > at ? from - at : 0;

		at += g->len;
		if (skip >= g->len)
			continue;
		sum = net_sum(g->data + skip, g->len - skip, sum, done & 1);
		done += g->len - skip;
	}
	return sum;
}

bool net_frame_finish_csum(struct net_frame *f)
{
	uint32_t at = (uint32_t)f->csum_start + f->csum_offset;

	if (!f->csum_partial)
		return true;
	if (f->csum_start > f->len || at + 2 > f->frag[0].len)
		return false;
	uint16_t sum = (uint16_t)~net_sum_fold(net_frame_sum(f, f->csum_start));
	if (sum == 0 && f->info.l4_proto == IPPROTO_N_UDP)
		sum = 0xffff;
	put_be16(f->frag[0].data + at, sum);
	f->csum_partial = 0;
	f->csum_ok = 1;
	return true;
}

void net_frame_copy(const struct net_frame *f, uint32_t off, void *buf, uint32_t len)
{
	uint8_t *to = buf;

	for (unsigned i = 0; i < f->nfrag && len; i++) {
		const struct net_frag *g = &f->frag[i];

		if (off >= g->len) {
			off -= g->len;
			continue;
		}
		uint32_t n = g->len - off < len ? g->len - off : len;

		memcpy(to, g->data + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}

int net_parse_mac(const char *text, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++) {
		unsigned hi = digit_value(text[0]);
		unsigned lo = hi < 16 ? digit_value(text[1]) : 99;

		if (lo >= 16 || text[2] != (i < 5 ? ':' : '\0'))
			return -1;
		mac[i] = (uint8_t)(hi << 4 | lo);
		text += 3;
	}
	return 0;
}

static int parse_v4(const char *t, size_t len, uint8_t out[4])
{
	size_t at = 0;

	for (int i = 0; i < 4; i++) {
		unsigned v = 0, digits = 0;

		while (at < len && t[at] >= '0' && t[at] <= '9' && digits < 3) {
			v = v * 10 + (unsigned)(t[at++] - '0');
			digits++;
		}
		if (!digits || v > 255)
			return -1;
		out[i] = (uint8_t)v;
		if (i < 3 && (at >= len || t[at++] != '.'))
			return -1;
	}
	return at == len ? 0 : -1;
}

/* One group of hex digits, or -1 and *at where it was. */
static int parse_group(const char *t, size_t len, size_t *at)
{
	int v = 0, digits = 0;

	while (*at < len && digits < 4 && digit_value(t[*at]) < 16) {
		v = v << 4 | (int)digit_value(t[(*at)++]);
		digits++;
	}
	return digits ? v : -1;
}

static int parse_v6(const char *t, size_t len, uint8_t out[16])
{
	int words = 0, gap = -1;
	uint16_t w[8];
	size_t at = 0;

	if (len >= 2 && t[0] == ':' && t[1] == ':') {
		gap = 0;
		at = 2;
	}
	while (at < len) {
		int v = words < 8 ? parse_group(t, len, &at) : -1;

		if (v < 0)
			return -1;
		w[words++] = (uint16_t)v;
		if (at == len)
			break;
		if (t[at++] != ':' || at == len)
			return -1;
		if (t[at] == ':') {
			if (gap >= 0)
				return -1;
			gap = words;
			at++;
		}
	}
	if (gap < 0 ? words != 8 : words > 7)
		return -1;
	memset(out, 0, 16);
	for (int i = 0; i < words; i++) {
		int to = gap >= 0 && i >= gap ? 8 - words + i : i;

		put_be16(out + 2 * to, w[i]);
	}
	return 0;
}

int net_parse_addr(const char *text, size_t len, struct net_addr *addr)
{
	uint8_t v4[4];

	if (memchr(text, ':', len))
		return parse_v6(text, len, addr->b);
	if (parse_v4(text, len, v4))
		return -1;
	*addr = net_addr_v4(v4);
	return 0;
}
