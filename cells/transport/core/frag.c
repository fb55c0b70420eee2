/* SPDX-License-Identifier: ISC */
/*
 * Reassembly of both IP versions, in a fixed number of slots.
 *
 * A slot holds a whole datagram and a bitmap of its 8-byte blocks. A fragment that
 * overlaps another one spoils its datagram (RFC 5722; for IPv4 too: nothing honest overlaps),
 * except an exact duplicate. A spoilt slot swallows the rest until it expires. When all
 * slots are taken the oldest gives way, so a flood costs memory that was set aside and
 * delays nothing else.
 */
#include "tp_int.h"

#define FRAG_TIME (30ull * USEC_PER_SEC)

static struct fragq *frag_find(struct tp_stack *st, const struct pkt *p, uint32_t id)
{
	struct fragq *q, *victim = st->frag;

	for (q = st->frag; q < st->frag + st->cfg.frag_slots; q++) {
		if (q->used && q->id == id && q->is6 == !p->is4 &&
		    (q->is6 || q->proto == p->proto) && ipa_eq(&q->src, &p->src) &&
		    ipa_eq(&q->dst, &p->dst))
			return q;
		if (!q->used || (victim->used && q->expires < victim->expires))
			victim = q;
	}
	if (victim->used)
		STAT(st, Ip_ReasmFails);
	victim->src = p->src;
	victim->dst = p->dst;
	victim->id = id;
	victim->proto = p->proto;
	victim->is6 = !p->is4;
	victim->ifi = p->ifi;
	victim->used = 1;
	victim->nofrags = 0;
	victim->bad = 0;
	victim->got = victim->total = 0;
	victim->hdr_len = 0;
	victim->tos = 0;
	victim->expires = st->now + FRAG_TIME;
	memset(victim->map, 0, sizeof(victim->map));
	slow_arm(st, victim->expires);
	return victim;
}

static unsigned blocks_present(const struct fragq *q, uint32_t from, uint32_t to)
{
	unsigned n = 0;

	for (; from < to; from++)
		n += q->map[from / 64] >> from % 64 & 1;
	return n;
}

/* Puts the fragment in its place; false if it contradicts what is there. */
static bool frag_place(struct fragq *q, const struct pkt *p, uint32_t off, bool more)
{
	uint32_t from = off / 8, to = (off + p->len + 7) / 8;
	unsigned have = blocks_present(q, from, to);

	if (have)
		return have == to - from && !memcmp(q->data + off, p->data, p->len);
	if (!more) {
		if (q->total || blocks_present(q, from, 8192))
			return false;
		q->total = off + p->len;
	} else if (q->total && off + p->len > q->total) {
		return false;
	}
	memcpy(q->data + off, p->data, p->len);
	for (; from < to; from++)
		q->map[from / 64] |= 1ull << from % 64;
	q->got += p->len;
	return true;
}

/*
 * Takes a fragment: p->data and p->len are its payload. true: the datagram is complete and
 * p now describes it whole (data in the slot, valid until the next call).
 */
bool frag_input(struct tp_stack *st, struct pkt *p, uint32_t id, uint32_t off, bool more)
{
	struct fragq *q;

	STAT(st, Ip_ReasmReqds);
	if (!p->len || (more && p->len % 8) || off + p->len > 65535 - 60) {
		STAT(st, Ip_ReasmFails);
		if (!p->is4 && more && p->len % 8)
			icmp_error(st, p, 4, 0, be32(4));
		return false;
	}
	q = frag_find(st, p, id);
	if (q->bad)
		return false;
	if (++q->nofrags == 255 || !frag_place(q, p, off, more)) {
		STAT(st, Ip_ReasmFails);
		q->bad = 1;
		return false;
	}
	if ((p->tos & 3) == 3)
		q->tos = 3;
	if (!off) {
		q->hdr_len = p->is4 ? p->ip_hlen : 40;
		memcpy(q->hdr, p->ip, MIN(q->hdr_len, sizeof(q->hdr)));
		memcpy(q->first, p->data, MIN(p->len, sizeof(q->first)));
		q->ttl = p->ttl;
		q->proto = p->proto;
	}
	if (!q->total || q->got != q->total || !q->hdr_len)
		return false;
	STAT(st, Ip_ReasmOKs);
	q->used = 0;
	p->data = q->data;
	p->len = q->total;
	p->proto = q->proto;
	p->ttl = q->ttl;
	p->tos |= q->tos;
	/*
	 * Raw sockets and ICMP errors look at the header before the data: put it there
	 * in the copy the caller owns, not in the slot.
	 */
	memcpy(p->ip, q->hdr, MIN(q->hdr_len, sizeof(q->hdr)));
	return true;
}

uint64_t frag_tick(struct tp_stack *st)
{
	uint64_t next = NEVER;

	for (struct fragq *q = st->frag; q < st->frag + st->cfg.frag_slots; q++) {
		if (!q->used)
			continue;
		if (q->expires > st->now) {
			next = MIN(next, q->expires);
			continue;
		}
		q->used = 0;
		STAT(st, Ip_ReasmFails);
		if (q->hdr_len && !q->bad && !ipa_multicast(&q->dst)) {
			uint8_t frame[ETH_HLEN + 64 + 128];
			struct pkt p = {.frame = frame,
					.ip = frame + ETH_HLEN,
					.src = q->src,
					.dst = q->dst,
					.ifi = q->ifi,
					.is4 = !q->is6,
					.proto = q->proto,
					.ip_hlen = q->hdr_len};
			uint32_t n = MIN(q->hdr_len, sizeof(q->hdr));

			memcpy(p.ip, q->hdr, n);
			memcpy(p.ip + n, q->first, sizeof(q->first));
			p.data = p.ip + n;
			p.len = sizeof(q->first);
			icmp_error(st, &p, p.is4 ? 11 : 3, 1, 0);
		}
	}
	return next;
}
