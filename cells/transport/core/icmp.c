/* SPDX-License-Identifier: ISC */
/*
 * ICMP (RFC 792, 1122) and ICMPv6 (RFC 4443): echo, errors we send, errors we hear.
 *
 * Errors we send are limited to 1,000 a second per stack and never answer an error, a
 * multicast or a later fragment. Errors we hear are believed only as far as the packet
 * they quote could have come from a socket of ours (RFC 5927): see tcp_icmp().
 */
#include "tcp.h"

bool icmp_allow(struct tp_stack *st)
{
	uint64_t add = (st->now - st->icmp_at) / 1000;

	if (add) {
		st->icmp_tokens = MIN(st->icmp_tokens + add, 100u);
		st->icmp_at = st->now;
	}
	if (!st->icmp_tokens) {
		STAT(st, Icmp_RateLimited);
		return false;
	}
	st->icmp_tokens--;
	return true;
}

static bool is_icmp_error(const struct pkt *p)
{
	uint8_t t = p->len ? p->data[0] : 0;

	if (p->is4)
		return p->proto == IPPROTO_ICMP_ &&
		       (t == 3 || t == 4 || t == 5 || t == 11 || t == 12);
	return p->proto == IPPROTO_ICMPV6_ && t < 128;
}

/* Sends an error about packet p. rest: second word of the ICMP header, network order. */
void icmp_error(struct tp_stack *st, const struct pkt *p, uint8_t type, uint8_t code,
		uint32_t rest)
{
	uint32_t ip_len = MIN(p->ip_hlen, 128u), max = p->is4 ? 548 - 28 : 1280 - 48, data;
	struct txp t = {0};
	struct dst d;
	struct ipopt o = {0};
	struct icmp_hdr *h;

	if (p->broadcast || p->multicast || is_icmp_error(p) || ipa_any(&p->src) ||
	    ipa_multicast(&p->src) || !icmp_allow(st))
		return;
	data = MIN(p->len, max - ip_len);
	if (route_lookup(st, &p->src, &p->dst, p->loop ? 0 : p->ifi, &d) ||
	    ip_begin(st, &t, &d, &p->src, p->is4 ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_,
		     8 + ip_len + data, &o))
		return;
	STAT(st, Icmp_OutMsgs);
	STAT(st, Icmp_OutErrors);
	h = (struct icmp_hdr *)t.l4;
	*h = (struct icmp_hdr){type, code, 0, rest};
	memcpy(t.l4 + 8, p->ip, ip_len);
	memcpy(t.l4 + 8 + ip_len, p->data, data);
	if (p->is4) {
		h->csum = csum_fold(csum_add(t.l4, t.l4_len, 0));
		ip_finish(st, &t, CSUM_NONE, 0, 0);
	} else {
		ip_finish(st, &t, 2, t.l4_len, 0);
	}
}

static void echo_reply(struct tp_stack *st, struct pkt *p)
{
	struct txp t = {0};
	struct dst d;
	struct ipopt o = {.tos = p->tos};
	const struct ipa *src = p->multicast || p->broadcast ? NULL : &p->dst;

	if (p->broadcast || route_lookup(st, &p->src, src, p->loop ? 0 : p->ifi, &d) ||
	    ip_begin(st, &t, &d, &p->src, p->proto, p->len, &o))
		return;
	STAT(st, Icmp_OutMsgs);
	memcpy(t.l4, p->data, p->len);
	t.l4[0] = p->is4 ? 0 : 129;
	memset(t.l4 + 2, 0, 2);
	if (p->is4) {
		uint16_t c = csum_fold(csum_add(t.l4, t.l4_len, 0));

		memcpy(t.l4 + 2, &c, 2);
		ip_finish(st, &t, CSUM_NONE, 0, 0);
	} else {
		ip_finish(st, &t, 2, t.l4_len, 0);
	}
}

static int errno_of(bool is4, uint8_t type, uint8_t code)
{
	static const uint8_t v4[16] = {
	    TE_NETUNREACH,  TE_HOSTUNREACH, TE_NOPROTOOPT,  TE_CONNREFUSED,
	    TE_MSGSIZE,     TE_OPNOTSUPP,   TE_NETUNREACH,  TE_HOSTUNREACH,
	    TE_HOSTUNREACH, TE_NETUNREACH,  TE_HOSTUNREACH, TE_NETUNREACH,
	    TE_HOSTUNREACH, TE_HOSTUNREACH, TE_HOSTUNREACH, TE_HOSTUNREACH};
	static const uint8_t v6[7] = {TE_NETUNREACH,  TE_ACCES, TE_HOSTUNREACH, TE_HOSTUNREACH,
				      TE_CONNREFUSED, TE_ACCES, TE_ACCES};

	if (is4)
		return type == 3 ? v4[code & 15] : type == 12 ? TE_PROTO : TE_HOSTUNREACH;
	if (type == 2)
		return TE_MSGSIZE;
	if (type == 4)
		return TE_PROTO;
	return type == 1 && code < 7 ? v6[code] : TE_HOSTUNREACH;
}

/* A packet of ours that an error quotes: its head, and what lies behind that. */
struct quote {
	struct ipa src, dst;
	const uint8_t *l4;
	uint32_t len; /* from l4 on, at least 8 */
	uint8_t proto;
};

static bool quote_parse(const struct pkt *p, uint32_t off, struct quote *o)
{
	const uint8_t *q = p->data + off;
	uint32_t left = p->len - off, hlen;

	if (p->is4) {
		struct ip4_hdr h;

		if (left < 28)
			return false;
		memcpy(&h, q, sizeof(h));
		hlen = (h.vhl & 15u) * 4;
		if (h.vhl >> 4 != 4 || hlen < 20 || left < hlen + 8 || h.frag & be16(0x1fff))
			return false;
		o->src = ipa_from4(h.src);
		o->dst = ipa_from4(h.dst);
		o->proto = h.proto;
	} else {
		struct ip6_hdr h;

		if (left < 48)
			return false;
		memcpy(&h, q, sizeof(h));
		hlen = 40;
		o->src = ipa_from6(h.src);
		o->dst = ipa_from6(h.dst);
		o->proto = h.next;
		if (ipa_is4(&o->src) || ipa_is4(&o->dst))
			return false;
	}
	o->l4 = q + hlen;
	o->len = left - hlen;
	return true;
}

static void udp_quoted(struct tp_stack *st, const struct pkt *p, const struct quote *q,
		       struct failed *f)
{
	uint16_t sport = get16(q->l4), dport = get16(q->l4 + 2);
	struct sock *s = sock_lookup_bound(st, SK_UDP, &q->dst, dport, &q->src, sport, p->ifi);

	if (!s && share_is(st, &q->src)) /* bound to an address of its own */
		s = sock_lookup_bound(st, SK_UDP, &q->dst, dport, share_apparent(st, &q->src),
				      sport, p->ifi);
	if (!s)
		return;
	if (f->err == TE_MSGSIZE)
		pmtu_update(st, &q->dst, f->mtu);
	f->port = dport;
	f->data = q->l4 + 8;
	f->len = q->len - 8;
	dgram_icmp(st, s, f);
}

/* Echo requests of ping sockets, whatever raw sockets sent. */
static void other_quoted(struct tp_stack *st, const struct quote *q, bool is4, struct failed *f)
{
	bool echo = is4 ? q->proto == IPPROTO_ICMP_ && q->l4[0] == 8
			: q->proto == IPPROTO_ICMPV6_ && q->l4[0] == 128;
	struct sock *s = echo ? lhash_first(st, SK_PING, get16(q->l4 + 4)) : NULL;

	f->data = q->l4;
	f->len = q->len;
	if (s && (s->domain == PVS_AF_INET) == is4)
		dgram_icmp(st, s, f);
	for (uint32_t i = 1; i < st->high; i++) {
		s = SOCK(st, i);
		if (s->kind == SK_RAW && s->proto == q->proto &&
		    (s->domain == PVS_AF_INET) == is4 &&
		    (!(s->flags & SF_CONNECTED) || ipa_eq(&s->raddr, &q->dst)) &&
		    (!(s->flags & SF_BINDADDR) || ipa_eq(&s->laddr, &q->src)))
			dgram_icmp(st, s, f);
	}
}

/* Finds the socket whose packet is quoted at p->data + off and tells it. */
void icmp_dispatch(struct tp_stack *st, const struct pkt *p, uint32_t off, uint8_t type,
		   uint8_t code, uint32_t mtu)
{
	struct failed f = {.by = p->src,
			   .type = type,
			   .code = code,
			   .ifi = p->ifi,
			   .err = errno_of(p->is4, type, code),
			   .mtu = mtu};
	struct quote q;
	struct sock *s;

	if (!quote_parse(p, off, &q))
		return;
	f.to = q.dst;
	if (q.proto == IPPROTO_TCP_) {
		s = sock_lookup(st, &q.dst, get16(q.l4 + 2), &q.src, get16(q.l4), p->ifi);
		if (s)
			tcp_icmp(st, s, get32(q.l4 + 4), f.err, mtu);
	} else if (q.proto == IPPROTO_UDP_) {
		udp_quoted(st, p, &q, &f);
	} else if (st->nraw) {
		other_quoted(st, &q, p->is4, &f);
	}
}

void icmp4_input(struct tp_stack *st, struct pkt *p)
{
	struct icmp_hdr h;
	uint32_t mtu;

	STAT(st, Icmp_InMsgs);
	if (p->len < sizeof(h) || (!p->csum_ok && csum_fold(csum_add(p->data, p->len, 0)))) {
		STAT(st, Icmp_InErrors);
		return;
	}
	memcpy(&h, p->data, sizeof(h));
	switch (h.type) {
	case 0:
		ping_input(st, p, get16(p->data + 4));
		break;
	case 8:
		if (icmp_allow(st) || p->loop)
			echo_reply(st, p);
		break;
	case 3:
		mtu = be32(h.rest) & 0xffff;
		if (h.code == 4 && mtu < 68)
			mtu = 576; /* a router older than RFC 1191 */
		__attribute__((fallthrough));
	case 11:
	case 12:
		icmp_dispatch(st, p, 8, h.type, h.code, h.type == 3 && h.code == 4 ? mtu : 0);
		break;
	}
}

void icmp6_input(struct tp_stack *st, struct pkt *p)
{
	uint32_t pseudo;
	uint8_t type;

	STAT(st, Icmp_InMsgs);
	if (p->len < 8)
		goto bad;
	pseudo = csum_pseudo(&p->src, &p->dst, IPPROTO_ICMPV6_, p->len);
	if (!p->csum_ok && csum_fold(csum_add(p->data, p->len, pseudo)))
		goto bad;
	type = p->data[0];
	switch (type) {
	case 1:
	case 2:
	case 3:
	case 4:
		icmp_dispatch(st, p, 8, type, p->data[1], type == 2 ? get32(p->data + 4) : 0);
		break;
	case 128:
		if (icmp_allow(st) || p->loop)
			echo_reply(st, p);
		break;
	case 129:
		ping_input(st, p, get16(p->data + 4));
		break;
	default:
		if (type >= 130 && type <= 137 && !p->loop)
			nd_input(st, p);
	}
	return;
bad:
	STAT(st, Icmp_InErrors);
}
