/* SPDX-License-Identifier: ISC */
/*
 * IPv4 (RFC 791, 1122) and IPv6 (RFC 8200): what is checked on the way in, how packets are
 * built on the way out. This is a host: nothing is forwarded, redirects and source routes
 * are ignored, and an address of ours that comes in from outside as a source is a lie.
 */
#include "mcast.h"

static bool src_bad(struct tp_stack *st, const struct pkt *p)
{
	if (ipa_multicast(&p->src) || (p->is4 && p->src.w[3] == 0xffffffff))
		return true;
	if (p->loop)
		return false;
	return ipa_loopback(&p->src) || ipa_loopback(&p->dst) || addr_find(st, &p->src);
}

static bool dst_ours(struct tp_stack *st, struct pkt *p)
{
	if (p->loop)
		return true;
	if (ipa_multicast(&p->dst)) {
		p->multicast = true;
		if (p->is4 && p->dst.w[3] == be32(0xe0000001))
			return true;
		if (!p->is4 && p->dst.b[1] == 2 && p->dst.q[1] == 1ull << 56)
			return true; /* ff02::1 */
		return group_is(st, p->ifi, &p->dst);
	}
	if (p->is4 && addr_broadcast(st, &p->dst)) {
		p->broadcast = true;
		return true;
	}
	return addr_local(st, &p->dst, p->ifi) || publish_host(st, &p->dst) ||
	       share_in(st, &p->dst, p->ifi);
}

/* Source routes are refused; the rest of the options need nothing from a host. */
static bool ip4_options_ok(const uint8_t *o, uint32_t len)
{
	while (len) {
		if (o[0] == 0)
			return true;
		if (o[0] == 1) {
			o++, len--;
			continue;
		}
		if (len < 2 || o[1] < 2 || o[1] > len || o[0] == 131 || o[0] == 137)
			return false;
		len -= o[1];
		o += o[1];
	}
	return true;
}

void ip4_input(struct tp_stack *st, struct pkt *p)
{
	struct ip4_hdr h;
	uint32_t hlen, tot;
	uint16_t frag;

	STAT(st, Ip_InReceives);
	if (p->len < sizeof(h))
		goto bad;
	memcpy(&h, p->ip, sizeof(h));
	hlen = (h.vhl & 15u) * 4;
	tot = be16(h.len);
	if (h.vhl >> 4 != 4 || hlen < 20 || hlen > p->len || tot < hlen || tot > p->len ||
	    (!p->loop && csum_fold(hlen == 20 ? csum_ip4(p->ip) : csum_add(p->ip, hlen, 0))))
		goto bad;
	if (hlen > 20 && !ip4_options_ok(p->ip + 20, hlen - 20))
		goto bad;
	p->is4 = true;
	p->src = ipa_from4(h.src);
	p->dst = ipa_from4(h.dst);
	p->ip_hlen = hlen;
	p->data = p->ip + hlen;
	p->len = tot - hlen;
	p->proto = h.proto;
	p->ttl = h.ttl;
	p->tos = h.tos;
	frag = be16(h.frag);
	if (h.proto == IPPROTO_UDP_ && !(frag & 0x3fff) && dhcp_input(st, p))
		return;
	if (src_bad(st, p) || !dst_ours(st, p)) {
		STAT(st, Ip_InAddrErrors);
		return;
	}
	p->ifi = (uint8_t)share_face(st, p->ifi);
	if (frag & 0x3fff) {
		p->csum_ok = false;
		if (!frag_input(st, p, h.id, (frag & 0x1fffu) * 8, frag & IP4_MF))
			return;
	}
	stack_ip_deliver(st, p);
	return;
bad:
	STAT(st, Ip_InHdrErrors);
}

/* Offset of a byte in the packet, for ICMP's pointer; reassembled data lies elsewhere. */
static uint32_t pkt_offset(const struct pkt *p, const uint8_t *at)
{
	uintptr_t off = (uintptr_t)at - (uintptr_t)p->ip;

	return off < p->frame_len ? (uint32_t)off : 40;
}

/* Options of hop-by-hop and destination headers, RFC 8200 section 4.2. */
static bool ip6_options_ok(struct tp_stack *st, struct pkt *p, const uint8_t *o, uint32_t len)
{
	while (len) {
		uint32_t n;

		if (o[0] == 0) {
			o++, len--;
			continue;
		}
		if (len < 2 || (n = o[1] + 2u) > len)
			return false;
		if (o[0] != 1 && o[0] != 5 && o[0] >> 6) {
			unsigned act = o[0] >> 6;

			if (act == 2 || (act == 3 && !p->multicast))
				icmp_error(st, p, 4, 2, be32(pkt_offset(p, o)));
			return false;
		}
		o += n;
		len -= n;
	}
	return true;
}

/* Walks the chain from header type `next` at p->data. false: dropped or kept for later. */
static bool ip6_walk(struct tp_stack *st, struct pkt *p, uint8_t next, uint32_t next_at)
{
	bool first = true;

	for (unsigned n = 0; n < 8; n++, first = false) {
		const uint8_t *d = p->data;
		uint32_t hlen;

		p->proto = next;
		switch (next) {
		case IPPROTO_HOPOPTS_:
			if (!first) {
				icmp_error(st, p, 4, 1, be32(next_at));
				return false;
			}
			__attribute__((fallthrough));
		case IPPROTO_DSTOPTS_:
		case IPPROTO_ROUTING_:
			if (p->len < 8 || (hlen = d[1] * 8u + 8) > p->len)
				return false;
			if (next == IPPROTO_ROUTING_) {
				if (d[3]) { /* segments left: we forward nothing */
					icmp_error(st, p, 4, 0, be32(pkt_offset(p, d + 2)));
					return false;
				}
			} else if (!ip6_options_ok(st, p, d + 2, hlen - 2)) {
				return false;
			}
			break;
		case IPPROTO_FRAGMENT_: {
			struct ip6_frag f;

			if (p->len < sizeof(f))
				return false;
			memcpy(&f, d, sizeof(f));
			p->data += sizeof(f);
			p->len -= (uint32_t)sizeof(f);
			p->proto = f.next;
			p->csum_ok = false;
			if (f.off & be16(0xfff9)) {
				p->proto = f.next;
				if (!frag_input(st, p, f.id, be16(f.off) & 0xfff8u,
						be16(f.off) & 1))
					return false;
			} /* else: atomic fragment, RFC 6946 */
			next = f.next;
			continue;
		}
		default:
			p->ip_hlen = pkt_offset(p, d);
			return true;
		}
		next_at = pkt_offset(p, d);
		next = d[0];
		p->data += hlen;
		p->len -= hlen;
	}
	return false;
}

/* What concerns the link itself: groups, routers, neighbours. */
static bool ip6_of_link(const struct pkt *p)
{
	return p->proto == IPPROTO_ICMPV6_ && p->len && p->data[0] >= 130 && p->data[0] <= 137;
}

void ip6_input(struct tp_stack *st, struct pkt *p)
{
	struct ip6_hdr h;
	uint8_t from = p->ifi;

	STAT(st, Ip_InReceives);
	if (p->len < sizeof(h))
		goto bad;
	memcpy(&h, p->ip, sizeof(h));
	if ((be32(h.vtf) >> 28) != 6 || be16(h.len) > p->len - sizeof(h))
		goto bad;
	p->src = ipa_from6(h.src);
	p->dst = ipa_from6(h.dst);
	/* A v4-mapped address has no business on the wire. */
	if (ipa_is4(&p->src) || ipa_is4(&p->dst) || src_bad(st, p) || !dst_ours(st, p)) {
		STAT(st, Ip_InAddrErrors);
		return;
	}
	p->ttl = h.hops;
	p->tos = (uint8_t)(be32(h.vtf) >> 20);
	p->data = p->ip + sizeof(h);
	p->len = be16(h.len);
	p->ip_hlen = sizeof(h);
	p->ifi = (uint8_t)share_face(st, from);
	if (!ip6_walk(st, p, h.next, 6))
		return;
	if (if_hidden(st, from) && ip6_of_link(p)) {
		p->ifi = from;
		if (p->data[0] == 136) /* the answer to a question of ours */
			icmp6_input(st, p);
		return;
	}
	stack_ip_deliver(st, p);
	return;
bad:
	STAT(st, Ip_InHdrErrors);
}

/* ---- out ---- */

static void ip4_fill(struct tp_stack *st, struct txp *t, const struct ipopt *o)
{
	struct ip4_hdr *h = (struct ip4_hdr *)(t->frame + ETH_HLEN);
	uint16_t id = 0;

	if (!o->df)
		id = (uint16_t)(siphash(st->s->secret, &t->dst, 16) + st->ip_id++);
	*h = (struct ip4_hdr){.vhl = 0x45,
			      .tos = o->tos,
			      .id = id,
			      .frag = o->df ? be16(IP4_DF) : 0,
			      .ttl = o->ttl ? o->ttl : 64,
			      .proto = t->proto,
			      .src = t->src.w[3],
			      .dst = t->dst.w[3]};
	if (!o->ttl && t->d.multicast)
		h->ttl = 1;
}

static void ip6_fill(struct tp_stack *st, struct txp *t, const struct ipopt *o)
{
	struct ip6_hdr *h = (struct ip6_hdr *)(t->frame + ETH_HLEN);

	h->vtf = be32(6u << 28 | (uint32_t)o->tos << 20);
	h->next = t->proto;
	h->hops = o->ttl ? o->ttl : t->d.multicast ? 1 : st->s->ifs[t->ifi].hop_limit;
	if (!h->hops)
		h->hops = 64;
	memcpy(h->src, t->src.b, 16);
	memcpy(h->dst, t->dst.b, 16);
}

/*
 * Starts a packet with len bytes after the IP header and leaves t->l4 to be filled. A
 * packet longer than the MTU is built aside and cut by ip_finish, unless the caller asked
 * for segmentation offload (t->meta.gso_size). The caller zeroes t->meta before.
 */
int ip_begin(struct tp_stack *st, struct txp *t, const struct dst *d, const struct ipa *dst,
	     uint8_t proto, uint32_t len, const struct ipopt *o)
{
	uint32_t hlen = ipa_is4(dst) ? 20 : 40, total = ETH_HLEN + hlen + len;
	struct netif *n = &st->s->ifs[d->ifi];

	if (!n->used || !n->up || !n->link)
		return -TE_NETDOWN;
	if (len > 65535 - (hlen == 20 ? 20 : 0))
		return -TE_MSGSIZE;
	t->d = *d;
	t->dst = *dst;
	t->src = d->src;
	t->proto = proto;
	t->ifi = d->ifi;
	t->l4_len = len;
	t->l4_off = ETH_HLEN + hlen;
	t->scratch = hlen + len > d->mtu && !t->meta.gso_size;
	if (t->scratch) {
		if (o->df)
			return -TE_MSGSIZE;
		t->frame = st->scratch;
	} else if (d->ifi == 0) {
		t->frame = loop_get(st, total);
	} else {
		t->frame = st->ops.tx_get(st->ctx, d->ifi, total);
	}
	if (!t->frame)
		return -TE_NOBUFS;
	t->l4 = t->frame + t->l4_off;
	if (hlen == 20)
		ip4_fill(st, t, o);
	else
		ip6_fill(st, t, o);
	return 0;
}

void ip_cancel(struct tp_stack *st, struct txp *t)
{
	if (!t->scratch && t->ifi)
		st->ops.tx_put(st->ctx, t->ifi, t->frame, 0, &t->meta);
}

/* Whether the transport checksum must be made in software: devices know TCP's and UDP's. */
bool ip_sum_needed(const struct tp_stack *st, const struct txp *t)
{
	return t->scratch || (t->proto != IPPROTO_TCP_ && t->proto != IPPROTO_UDP_) ||
	       (t->ifi && !(st->s->ifs[t->ifi].caps & TP_CAP_CSUM));
}

static void l4_csum(struct tp_stack *st, struct txp *t, uint32_t csum_off, uint32_t hdr_len,
		    uint32_t sum)
{
	uint32_t pseudo = csum_pseudo(&t->src, &t->dst, t->proto, t->l4_len);
	uint16_t c;

	memset(t->l4 + csum_off, 0, 2);
	if (ip_sum_needed(st, t)) {
		c = csum_fold(csum_add(t->l4, hdr_len, csum_more(pseudo, sum)));
		if (!c && t->proto == IPPROTO_UDP_)
			c = 0xffff;
	} else {
		t->meta.flags |= TP_META_NEEDS_CSUM;
		t->meta.csum_start = (uint16_t)t->l4_off;
		t->meta.csum_offset = (uint16_t)csum_off;
		c = (uint16_t)~csum_fold(pseudo);
	}
	memcpy(t->l4 + csum_off, &c, 2);
}

/* Length and sum of a header that has neither: summed before it is written to, since a load
 * of what was just stored in smaller pieces stalls. */
static void ip_lengths(struct txp *t, uint32_t payload)
{
	if (t->l4_off == ETH_HLEN + 20) {
		struct ip4_hdr *h = (struct ip4_hdr *)(t->frame + ETH_HLEN);
		uint16_t len = be16((uint16_t)(20 + payload));

		h->csum = csum_fold(csum_more(csum_ip4(h), (uint32_t)len));
		h->len = len;
	} else {
		struct ip6_hdr *h = (struct ip6_hdr *)(t->frame + ETH_HLEN);

		h->len = be16((uint16_t)payload);
	}
}

static void *frame_get(struct tp_stack *st, unsigned ifi, uint32_t len)
{
	return ifi ? st->ops.tx_get(st->ctx, ifi, len) : loop_get(st, len);
}

/* Cuts the packet in st->scratch into fragments. */
static void ip_fragment(struct tp_stack *st, struct txp *t)
{
	bool is4 = t->l4_off == ETH_HLEN + 20;
	uint32_t extra = is4 ? 0 : 8, ip_off = t->l4_off - ETH_HLEN;
	uint32_t chunk = (t->d.mtu - ip_off - extra) & ~7u, off, n;
	uint32_t id = be32((uint32_t)siphash(st->s->secret, &t->dst, 16) + st->frag_id++);

	for (off = 0; off < t->l4_len; off += n) {
		struct txp f = *t;
		bool more;

		n = MIN(chunk, t->l4_len - off);
		more = off + n < t->l4_len;
		f.frame = frame_get(st, t->ifi, t->l4_off + extra + n);
		if (!f.frame) {
			STAT(st, Ip_FragFails);
			return;
		}
		memcpy(f.frame, st->scratch, t->l4_off);
		memcpy(f.frame + t->l4_off + extra, st->scratch + t->l4_off + off, n);
		if (is4) {
			struct ip4_hdr *h = (struct ip4_hdr *)(f.frame + ETH_HLEN);

			h->frag = be16((uint16_t)(off / 8 | (more ? IP4_MF : 0)));
		} else {
			struct ip6_hdr *h = (struct ip6_hdr *)(f.frame + ETH_HLEN);
			struct ip6_frag fh = {h->next, 0, be16((uint16_t)(off | more)), id};

			h->next = IPPROTO_FRAGMENT_;
			memcpy(f.frame + t->l4_off, &fh, sizeof(fh));
		}
		ip_lengths(&f, n + extra);
		STAT(st, Ip_FragCreates);
		link_output(st, &f, t->l4_off + extra + n);
	}
	STAT(st, Ip_FragOKs);
}

/*
 * Completes and sends. csum_off: place of the transport checksum in the transport header,
 * CSUM_NONE if the caller made it. sum: of everything behind the first hdr_len bytes,
 * needed only if ip_sum_needed().
 */
void ip_finish(struct tp_stack *st, struct txp *t, uint32_t csum_off, uint32_t hdr_len,
	       uint32_t sum)
{
	STAT(st, Ip_OutRequests);
	if (csum_off != CSUM_NONE)
		l4_csum(st, t, csum_off, hdr_len, sum);
	if (t->scratch) {
		ip_fragment(st, t);
		return;
	}
	ip_lengths(t, t->l4_len);
	link_output(st, t, t->l4_off + t->l4_len);
}
