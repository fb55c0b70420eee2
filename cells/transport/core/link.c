/* SPDX-License-Identifier: ISC */
/*
 * Ethernet, ARP, and the neighbour table that IPv4 (RFC 826) and IPv6 (RFC 4861) share.
 *
 * A neighbour is INCOMPLETE while it is asked for; up to sixteen frames wait for all of them
 * together. It is then REACHABLE for 30 s, STALE after, and asked again only when used (DELAY 5
 * s, PROBE). TCP progress counts as proof of reachability (neigh_confirm). Entries are learnt
 * only from answers to our questions, or from packets addressed to us: a stranger cannot fill
 * the table with gratuitous claims. The least recently used entry makes room.
 */
#include "tp_int.h"

#define REACHABLE_US (30ull * USEC_PER_SEC)
#define DELAY_US     (5ull * USEC_PER_SEC)
#define RETRANS_US   (1ull * USEC_PER_SEC)
#define PROBES       3

static const uint8_t bcast[6] = {255, 255, 255, 255, 255, 255};

/* ---- transmit ---- */

static void dev_put(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t len,
		    const struct tp_meta *m)
{
	if (len) {
		st->s->ifstat[ifi].tx_packets++;
		st->s->ifstat[ifi].tx_bytes += len;
		if (st->npacket)
			packet_tap(st, share_face(st, ifi), frame, len, 4);
	}
	st->ops.tx_put(st->ctx, ifi, frame, len, m);
}

void eth_send(struct tp_stack *st, unsigned ifi, const uint8_t *dst, uint16_t type,
	      const void *payload, uint32_t len)
{
	static const struct tp_meta none;
	struct netif *n = &st->s->ifs[ifi];
	uint8_t *f;

	if (!n->up || !n->link)
		return;
	f = st->ops.tx_get(st->ctx, ifi, ETH_HLEN + len);
	if (!f) {
		st->s->ifstat[ifi].tx_dropped++;
		return;
	}
	memcpy(f, dst, 6);
	memcpy(f + 6, n->mac, 6);
	put16(f + 12, type);
	memcpy(f + ETH_HLEN, payload, len);
	dev_put(st, ifi, f, ETH_HLEN + len, &none);
}

static void multicast_mac(const struct ipa *a, uint8_t *mac)
{
	if (ipa_is4(a)) { /* RFC 1112 section 6.4 */
		memcpy(mac, "\x01\x00\x5e", 3);
		mac[3] = a->b[13] & 0x7f;
		memcpy(mac + 4, a->b + 14, 2);
	} else { /* RFC 2464 section 7 */
		memcpy(mac, "\x33\x33", 2);
		memcpy(mac + 2, a->b + 12, 4);
	}
}

static void neigh_ask(struct tp_stack *st, struct neigh *n)
{
	if (ipa_is4(&n->addr)) {
		struct netif *nif = &st->s->ifs[n->ifi];
		struct dst d;
		struct arp_pkt a = {be16(1), be16(ETH_P_IP), 6, 4, be16(1), {0}, {0}, {0}, {0}};

		if (route_lookup(st, &n->addr, NULL, n->ifi, &d))
			return;
		memcpy(a.sha, nif->mac, 6);
		memcpy(a.spa, d.src.b + 12, 4);
		memcpy(a.tpa, n->addr.b + 12, 4);
		eth_send(st, n->ifi, n->state == NUD_PROBE ? n->mac : bcast, ETH_P_ARP, &a,
			 sizeof(a));
	} else {
		nd_solicit(st, n->ifi, &n->addr, false, n->state == NUD_PROBE ? n->mac : NULL);
	}
}

/* Keeps a copy of the frame until the neighbour answers; with no room it is lost. */
static void neigh_park(struct tp_stack *st, struct neigh *n, const struct txp *t, uint32_t len)
{
	unsigned i;

	if (len > PEND_SIZE)
		return;
	for (i = 0; i < MAX_PEND && st->pend_neigh[i]; i++)
		;
	if (i == MAX_PEND)
		return;
	memcpy(st->pend + (size_t)i * PEND_SIZE, t->frame, len);
	st->pend_len[i] = (uint16_t)len;
	st->pend_meta[i] = t->meta;
	st->pend_neigh[i] = (uint8_t)(n - st->neigh + 1);
	st->pend_order[i] = st->pend_seq++;
}

/* Sends what waited for n in the order it came, or forgets it. */
static void neigh_unpark(struct tp_stack *st, struct neigh *n, bool send)
{
	uint8_t me = (uint8_t)(n - st->neigh + 1);

	for (;;) {
		unsigned best = MAX_PEND, i;
		uint8_t *f;

		for (i = 0; i < MAX_PEND; i++) {
			if (st->pend_neigh[i] == me &&
			    (best == MAX_PEND ||
			     (int32_t)(st->pend_order[i] - st->pend_order[best]) < 0))
				best = i;
		}
		if (best == MAX_PEND)
			return;
		st->pend_neigh[best] = 0;
		if (!send || !(f = st->ops.tx_get(st->ctx, n->ifi, st->pend_len[best])))
			continue;
		memcpy(f, st->pend + (size_t)best * PEND_SIZE, st->pend_len[best]);
		memcpy(f, n->mac, 6);
		dev_put(st, n->ifi, f, st->pend_len[best], &st->pend_meta[best]);
	}
}

/* Puts the Ethernet header on and lets the frame go. len counts from the header. */
void link_output(struct tp_stack *st, struct txp *t, uint32_t len)
{
	struct netif *nif = &st->s->ifs[t->ifi];
	struct neigh *n;

	put16(t->frame + 12, ipa_is4(&t->dst) ? ETH_P_IP : ETH_P_IPV6);
	if (t->ifi == 0) {
		memset(t->frame, 0, 12);
		if (st->npacket)
			packet_tap(st, 0, t->frame, len, 4);
		loop_put(st, len, &t->meta);
		return;
	}
	memcpy(t->frame + 6, nif->mac, 6);
	if (t->d.broadcast) {
		memcpy(t->frame, bcast, 6);
	} else if (t->d.multicast) {
		multicast_mac(&t->dst, t->frame);
	} else if (!t->d.neigh) {
		len = 0;
	} else {
		n = &st->neigh[t->d.neigh - 1];
		n->used = st->now;
		memcpy(t->frame, n->mac, 6);
		if (n->state == NUD_STALE) {
			n->state = NUD_DELAY;
			n->at = st->now + DELAY_US;
			slow_arm(st, n->at);
		} else if (n->state == NUD_INCOMPLETE || n->state == NUD_FAILED) {
			neigh_park(st, n, t, len);
			len = 0;
			if (n->state == NUD_FAILED) {
				n->state = NUD_INCOMPLETE;
				n->probes = 0;
				n->at = st->now;
				slow_arm(st, n->at);
			}
		}
	}
	if (!len)
		st->s->ifstat[t->ifi].tx_dropped += !t->d.neigh;
	dev_put(st, t->ifi, t->frame, len, &t->meta);
}

/* ---- the table ---- */

/* Neighbours that need no question: other ports of the card's MAC. */
static bool neigh_same_mac(struct tp_stack *st, unsigned ifi, const struct ipa *a)
{
	bool service = ipa_is4(a) && a->b[12] == 169 && a->b[13] == 254;

	return st->s->ifs[ifi].same_mac && (service || share_in(st, a, ifi));
}

/*
 * Who gives way: a free entry, else one that has not answered, else the least recently used. So
 * strangers who do not exist cannot drive out those who do.
 */
static bool gives_way_before(const struct neigh *n, const struct neigh *v)
{
	bool n_known = n->state && !(n->state & (NUD_INCOMPLETE | NUD_FAILED));
	bool v_known = v->state && !(v->state & (NUD_INCOMPLETE | NUD_FAILED));

	if (!n->state || !v->state)
		return !n->state;
	return n_known != v_known ? v_known : n->used < v->used;
}

uint32_t neigh_find(struct tp_stack *st, unsigned ifi, const struct ipa *a, bool create)
{
	struct neigh *victim = NULL, *n;

	for (n = st->neigh; n < st->neigh + MAX_NEIGH; n++) {
		if (n->state && n->ifi == ifi && ipa_eq(&n->addr, a))
			return (uint32_t)(n - st->neigh) + 1;
		if (n->state == NUD_PERMANENT)
			continue;
		if (!victim || gives_way_before(n, victim))
			victim = n;
	}
	if (!create || !victim)
		return 0;
	if (victim->state)
		st->route_gen++;
	neigh_unpark(st, victim, false);
	*victim = (struct neigh){.addr = *a,
				 .ifi = (uint8_t)ifi,
				 .state = NUD_INCOMPLETE,
				 .used = st->now,
				 .at = st->now + RETRANS_US,
				 .probes = 1};
	if (neigh_same_mac(st, ifi, a)) {
		victim->state = NUD_REACHABLE;
		victim->at = NEVER;
		memcpy(victim->mac, st->s->ifs[ifi].mac, 6);
	} else {
		neigh_ask(st, victim);
	}
	slow_arm(st, victim->at);
	return (uint32_t)(victim - st->neigh) + 1;
}

void neigh_learn(struct tp_stack *st, unsigned ifi, const struct ipa *a, const uint8_t *mac,
		 bool solicited, bool override, bool create)
{
	uint32_t i = neigh_find(st, ifi, a, false);
	struct neigh *n;
	bool same;

	if (!i && create) {
		/* neigh_find would ask; this one introduced itself. */
		for (n = st->neigh; n < st->neigh + MAX_NEIGH && n->state; n++)
			;
		if (n == st->neigh + MAX_NEIGH)
			return;
		*n = (struct neigh){
		    .addr = *a, .ifi = (uint8_t)ifi, .state = NUD_STALE, .used = st->now};
		memcpy(n->mac, mac, 6);
		return;
	}
	if (!i || st->neigh[i - 1].state == NUD_PERMANENT)
		return;
	n = &st->neigh[i - 1];
	same = !memcmp(n->mac, mac, 6);
	if (n->state == NUD_INCOMPLETE || n->state == NUD_FAILED) {
		memcpy(n->mac, mac, 6);
		n->state = solicited ? NUD_REACHABLE : NUD_STALE;
	} else if (same) {
		if (solicited)
			n->state = NUD_REACHABLE;
	} else if (override) {
		memcpy(n->mac, mac, 6);
		n->state = solicited ? NUD_REACHABLE : NUD_STALE;
	} else if (n->state == NUD_REACHABLE) {
		n->state = NUD_STALE; /* RFC 4861 section 7.2.5 */
	}
	n->probes = 0;
	n->at = n->state == NUD_REACHABLE ? st->now + REACHABLE_US : NEVER;
	slow_arm(st, n->at);
	neigh_unpark(st, n, true);
}

void neigh_forget(struct tp_stack *st, unsigned i)
{
	neigh_unpark(st, &st->neigh[i], false);
	st->neigh[i] = (struct neigh){.state = 0};
}

void neigh_confirm(struct tp_stack *st, uint32_t i)
{
	struct neigh *n;

	if (!i)
		return;
	n = &st->neigh[i - 1];
	if (n->state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)) {
		n->state = NUD_REACHABLE;
		n->at = st->now + REACHABLE_US;
		n->probes = 0;
		slow_arm(st, n->at);
	}
}

static void neigh_step(struct tp_stack *st, struct neigh *n)
{
	switch (n->state) {
	case NUD_REACHABLE:
		if (!neigh_same_mac(st, n->ifi, &n->addr))
			n->state = NUD_STALE;
		n->at = NEVER;
		return;
	case NUD_DELAY:
		n->state = NUD_PROBE;
		n->probes = 0;
		break;
	case NUD_INCOMPLETE:
	case NUD_PROBE:
		break;
	default:
		n->at = NEVER;
		return;
	}
	if (n->probes++ >= PROBES) {
		STAT(st, Neigh_Failed);
		n->state = NUD_FAILED;
		n->at = NEVER;
		neigh_unpark(st, n, false);
		return;
	}
	n->at = st->now + RETRANS_US;
	neigh_ask(st, n);
}

uint64_t neigh_tick(struct tp_stack *st)
{
	uint64_t next = NEVER;

	for (struct neigh *n = st->neigh; n < st->neigh + MAX_NEIGH; n++) {
		if (!n->state || n->state == NUD_PERMANENT)
			continue;
		if (n->at <= st->now)
			neigh_step(st, n);
		next = MIN(next, n->at);
	}
	return next;
}

/* ---- ARP ---- */

static void arp_send(struct tp_stack *st, unsigned ifi, uint16_t op, uint32_t spa,
		     const uint8_t *tha, uint32_t tpa)
{
	struct arp_pkt a = {be16(1), be16(ETH_P_IP), 6, 4, be16(op), {0}, {0}, {0}, {0}};

	memcpy(a.sha, st->s->ifs[ifi].mac, 6);
	memcpy(a.spa, &spa, 4);
	memcpy(a.tpa, &tpa, 4);
	if (tha)
		memcpy(a.tha, tha, 6);
	eth_send(st, ifi, tha && op == 2 ? tha : bcast, ETH_P_ARP, &a, sizeof(a));
}

/* RFC 5227: announcement, and probe (sender 0.0.0.0). Addresses in network order. */
void arp_announce(struct tp_stack *st, unsigned ifi, uint32_t addr)
{
	arp_send(st, ifi, 1, addr, NULL, addr);
}

void arp_probe(struct tp_stack *st, unsigned ifi, uint32_t addr)
{
	arp_send(st, ifi, 1, 0, NULL, addr);
}

static void arp_conflict(struct tp_stack *st, unsigned ifi, const struct ipa *a)
{
	STAT(st, Arp_Conflicts);
	/* Defend at most once in ten seconds (RFC 5227 section 2.4 b). */
	if (!icmp_allow(st) || st->stat[STAT_Arp_Conflicts] % 10 != 1)
		return;
	tp_logf(st, "address conflict: another station claims", a, 0);
	arp_announce(st, ifi, a->w[3]);
}

void arp_input(struct tp_stack *st, struct pkt *p)
{
	struct arp_pkt a;
	struct ipa spa, tpa;
	struct ifaddr *mine;
	uint32_t w;

	if (p->len < sizeof(a))
		return;
	memcpy(&a, p->ip, sizeof(a));
	if (a.hrd != be16(1) || a.pro != be16(ETH_P_IP) || a.hln != 6 || a.pln != 4 ||
	    a.sha[0] & 1 || (a.op != be16(1) && a.op != be16(2))) {
		STAT(st, Arp_InBad);
		return;
	}
	memcpy(&w, a.spa, 4);
	spa = ipa_from4(w);
	dhcp_conflict(st, w);
	memcpy(&w, a.tpa, 4);
	tpa = ipa_from4(w);
	if (!memcmp(a.sha, st->s->ifs[p->ifi].mac, 6) &&
	    (!st->s->ifs[p->ifi].same_mac || addr_find(st, &spa)))
		return; /* our own, reflected; not another's with the same MAC */
	mine = addr_find(st, &spa);
	if (mine && mine->ifi == p->ifi) {
		arp_conflict(st, p->ifi, &spa);
		return;
	}
	mine = addr_find(st, &tpa);
	mine = mine && mine->ifi == p->ifi ? mine : NULL;
	if (!ipa_any(&spa) && !ipa_multicast(&spa))
		neigh_learn(st, p->ifi, &spa, a.sha,
			    a.op == be16(2) && (mine || share_in(st, &tpa, p->ifi)), true,
			    mine && a.op == be16(1));
	if (mine && a.op == be16(1))
		arp_send(st, p->ifi, 2, tpa.w[3], a.sha, spa.w[3]);
}
