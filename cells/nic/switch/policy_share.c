/* SPDX-License-Identifier: ISC */
/*
 * Ports of mode share: what of a host address is whose (share.c has the model).
 *
 * A frame's *key* is a port of the host address it is for or from: (protocols, number); the
 * identifier of an echo counts as a port, and an ICMP error has the key of the packet it
 * quotes. A frame without a key is nobody's: it is the owner's from the wire, and does not
 * leave.
 *
 * Of what the address itself says to its link (ARP, neighbour discovery) a port may ask, and
 * never answer: it could speak for all. Its questions name the card's MAC or none.
 */
#include "cells/nic/switch/policy.h"

static uint32_t key_of(unsigned protos, uint16_t port)
{
	return protos << 16 | port;
}

/* The first eight bytes behind the IP header of a packet that an ICMP error quotes; dst: the
 * error goes to its sender, so its source counts. echo, reply: the ICMP types of that family.
 */
static uint32_t quoted_l4(const uint8_t *l4, uint8_t proto, bool dst, uint8_t echo,
			  uint8_t reply)
{
	switch (proto) {
	case IPPROTO_N_TCP:
		return key_of(SLICE_TCP, get_be16(l4 + (dst ? 0 : 2)));
	case IPPROTO_N_UDP:
		return key_of(SLICE_UDP, get_be16(l4 + (dst ? 0 : 2)));
	case IPPROTO_N_ICMP:
	case IPPROTO_N_ICMPV6:
		return l4[0] == (dst ? echo : reply) ? key_of(SLICE_ICMP, get_be16(l4 + 4)) : 0;
	}
	return 0;
}

static uint32_t quoted4(const uint8_t *q, uint32_t len, bool dst)
{
	uint32_t ihl = len ? (q[0] & 15u) * 4 : 0;

	if (len < 28 || q[0] >> 4 != 4 || ihl < 20 || len < ihl + 8 ||
	    (get_be16(q + 6) & 0x1fff) || q[9] == IPPROTO_N_ICMPV6)
		return 0;
	return quoted_l4(q + ihl, q[9], dst, 8, 0);
}

/* Slices send no extension headers but a fragment's. */
static uint32_t quoted6(const uint8_t *q, uint32_t len, bool dst)
{
	uint32_t at = 40;

	if (len < 48 || q[0] >> 4 != 6)
		return 0;
	uint8_t next = q[6];

	if (next == 44) {
		next = q[40];
		at += 8;
		if (len < at + 8 || (get_be16(q + 42) & 0xfff8))
			return 0;
	}
	return next == IPPROTO_N_ICMP ? 0 : quoted_l4(q + at, next, dst, 128, 129);
}

static uint32_t icmp_key(const uint8_t *q, uint32_t len, bool ip6, bool dst)
{
	uint8_t echo = ip6 ? 128 : 8, reply = ip6 ? 129 : 0;

	if (len < 8)
		return 0;
	if (q[0] == echo || q[0] == reply) /* a slice asks; it is never asked */
		return q[0] == (dst ? reply : echo) ? key_of(SLICE_ICMP, get_be16(q + 4)) : 0;
	if (ip6)
		return q[0] >= 1 && q[0] <= 4 ? quoted6(q + 8, len - 8, dst) : 0;
	return q[0] == 3 || q[0] == 11 || q[0] == 12 ? quoted4(q + 8, len - 8, dst) : 0;
}

uint32_t policy_key(const uint8_t *head, uint32_t head_len, const struct net_info *in, bool dst)
{
	if (!in->l3_ok || (in->fragment && !in->first))
		return 0;
	if (in->l4_proto == (in->ip6 ? IPPROTO_N_ICMPV6 : IPPROTO_N_ICMP))
		return in->l4_off < head_len
			   ? icmp_key(head + in->l4_off, head_len - in->l4_off, in->ip6, dst)
			   : 0;
	if (!in->l4_ok)
		return 0;
	return key_of(in->l4_proto == IPPROTO_N_TCP ? SLICE_TCP : SLICE_UDP,
		      dst ? in->dport : in->sport);
}

static uint8_t family_of(const struct net_addr *a)
{
	return net_addr_is_v4(a) ? POLICY_V4 : POLICY_V6;
}

static const struct policy_slice *slice_of(const struct policy *p, uint32_t key, uint8_t family)
{
	uint16_t port = (uint16_t)key;

	for (unsigned i = 0; key && i < p->slices; i++)
		if ((p->slice[i].protos & key >> 16) && (p->slice[i].families & family) &&
		    port >= p->slice[i].lo && port <= p->slice[i].hi)
			return &p->slice[i];
	return NULL;
}

bool policy_is_host(const struct policy *p, const struct net_addr *a)
{
	uint8_t family = family_of(a);

	return (p->hosts & family) && net_addr_equal(&p->host[family == POLICY_V6], a);
}

bool policy_has_port(const struct policy *p, const struct net_addr *host, uint32_t key)
{
	return policy_is_host(p, host) && slice_of(p, key, family_of(host));
}

bool policy_port_closed(const struct policy *p, uint32_t key, const struct net_addr *src)
{
	const struct policy_slice *s = slice_of(p, key, family_of(src));

	return s && s->local && !net_addr_equal(&p->near, src);
}

static bool is_service(const struct net_addr *a)
{
	return get_be32(a->b + 12) == D0_VNET_SERVICE && net_addr_is_v4(a);
}

static bool is_link_local4(const struct net_addr *a)
{
	return net_addr_is_v4(a) && get_be16(a->b + 12) == 0xa9fe;
}

static bool learn4(struct policy *p, const struct net_info *in)
{
	if (is_link_local4(&in->src) || in->src.b[12] >= 224)
		return false;
	if (!p->learned)
		p->learned = ++p->addrs;
	p->addr[p->learned - 1] = in->src;
	p->has_v4 = true;
	return true;
}

/* The oldest gives way: a host has a link-local address and one or two others. */
static bool learn6(struct policy *p, const struct net_info *in)
{
	static const struct net_addr loopback = {{[15] = 1}};
	uint8_t *slot = &p->learned6[p->next6];

	if (in->src.b[0] == 0xff || net_addr_equal(&in->src, &loopback))
		return false;
	p->next6 = (uint8_t)((p->next6 + 1) % POLICY_LEARN6);
	if (!*slot)
		*slot = (uint8_t)++p->addrs;
	p->addr[*slot - 1] = in->src;
	return true;
}

bool policy_learn(struct policy *p, const struct net_info *in)
{
	bool ip6 = in->l3_ok && in->ip6;

	if (!(ip6 ? p->learn6 : p->learn) || !(in->is_arp || in->l3_ok) || in->malformed ||
	    net_addr_is_v4(&in->src) == ip6 || net_addr_is_zero(&in->src) ||
	    policy_has_addr(p, &in->src))
		return false;
	return ip6 ? learn6(p, in) : learn4(p, in);
}

/* A question for a neighbour, RFC 4861 section 4.3: with the card's MAC in it, or none. */
static bool solicit_is_own(const uint8_t *mac, const uint8_t *head, uint32_t head_len,
			   const struct net_info *in)
{
	const uint8_t *m = head + in->l4_off, *ip = head + in->l3_off;
	uint32_t len = (uint32_t)in->ip_len - (in->l4_off - in->l3_off);

	if (in->fragment || ip[7] != 255 || (len != 24 && len != 32) ||
	    head_len < in->l4_off + len || m[1] || m[8] == 0xff)
		return false;
	return len == 24 || (m[24] == 1 && m[25] == 1 && mac_equal(m + 26, mac));
}

static bool share6_is_own(const struct policy *p, const uint8_t *mac, const uint8_t *head,
			  uint32_t head_len, const struct net_info *in)
{
	if (!policy_is_host(p, &in->src) ||
	    in->l4_off != in->l3_off + (in->fragment ? 48u : 40u))
		return false;
	if (net_icmp6_type(head, head_len, in) == NET_ND_SOLICIT)
		return solicit_is_own(mac, head, head_len, in);
	if (net_addr_link_local6(&in->dst) || in->dst.b[0] == 0xff)
		return false;
	return (in->fragment && !in->first) ||
	       policy_has_port(p, &in->src, policy_key(head, head_len, in, false));
}

/*
 * From its own address: questions to the service. From the host's: what its slice covers,
 * later fragments (their first one passed here), and questions for neighbours. Nothing else.
 */
bool policy_share_is_own(const struct policy *p, const uint8_t *mac, const uint8_t *head,
			 uint32_t head_len, const struct net_info *in)
{
	if (in->is_arp)
		return policy_is_host(p, &in->src) && get_be16(head + in->l3_off + 6) == 1;
	if (!in->l3_ok)
		return false;
	if (in->ip6)
		return share6_is_own(p, mac, head, head_len, in);
	if (policy_has_addr(p, &in->src))
		return is_service(&in->dst) && in->l4_ok && !in->fragment &&
		       in->dport == D0_VNET_SERVICE_PORT;
	if (!policy_is_host(p, &in->src) || is_link_local4(&in->dst))
		return false;
	return (in->fragment && !in->first) ||
	       policy_has_port(p, &in->src, policy_key(head, head_len, in, false));
}
