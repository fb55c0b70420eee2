/* SPDX-License-Identifier: ISC */
/*
 * Multicast (RFC 1112, 3376, 3810, 3678).
 *
 * Two tables. The stack's has the groups that frames are taken for, with how many want
 * each; it is an instance's own. A socket's memberships lie with it in the state area, so they
 * outlive a restart, which joins the groups anew, and end with the socket. A membership is
 * from anyone, from one source (source-specific, RFC 4607), or from all but one.
 *
 * As on Linux, a socket without any membership in a group gets what others joined
 * (IP_MULTICAST_ALL); one that has some gets what they allow.
 *
 * Reports are IGMPv3's and MLDv2's, sent at each change, once more within a second, and in
 * answer to queries at a random time within what the querier allows; an older querier gets what
 * it understands. The sources of a group are collected from the sockets when they are asked
 * for. Reports to come are in a table of MAX_GROUP: a change takes the place of an earlier one
 * of the same group, an answer waits for nothing but its time. If the table is full a change is
 * not repeated and a query is answered at once.
 */
#include "mcast.h"

#define SOURCES 8u /* told in one report */

/* Record types, RFC 3376 section 4.2.12. */
enum {
	IS_INCLUDE = 1,
	IS_EXCLUDE,
	TO_INCLUDE,
	TO_EXCLUDE,
	ALLOW_SOURCES,
	BLOCK_SOURCES
};

/* ---- reports ---- */

static void igmp_send(struct tp_stack *st, unsigned ifi, const struct ipa *to, uint8_t *m,
		      uint32_t len)
{
	uint8_t head[24] = {0x46, 0xc0, 0, 0, 0, 0, 0x40, 0, 1, IPPROTO_IGMP_}, f[128];
	uint8_t mac[6] = {1, 0, 0x5e, to->b[13] & 0x7f, to->b[14], to->b[15]};
	struct dst d;
	uint16_t c;

	head[3] = (uint8_t)(sizeof(head) + len);
	if (!route_lookup(st, to, NULL, ifi, &d))
		memcpy(head + 12, d.src.b + 12, 4);
	memcpy(head + 16, to->b + 12, 4);
	memcpy(head + 20, "\x94\x04\x00\x00", 4); /* router alert */
	c = csum_fold(csum_add(head, sizeof(head), 0));
	memcpy(head + 10, &c, 2);
	c = csum_fold(csum_add(m, len, 0));
	memcpy(m + 2, &c, 2);
	memcpy(f, head, sizeof(head));
	memcpy(f + sizeof(head), m, len);
	eth_send(st, ifi, mac, ETH_P_IP, f, (uint32_t)sizeof(head) + len);
}

static void mld_send(struct tp_stack *st, unsigned ifi, const struct ipa *to, uint8_t *m,
		     uint32_t len)
{
	/* Hop-by-hop header with a router alert. */
	uint8_t f[40 + 8 + 192] = {0x60, 0, 0, 0, 0, 0, IPPROTO_HOPOPTS_, 1};
	uint8_t mac[6] = {0x33, 0x33, to->b[12], to->b[13], to->b[14], to->b[15]};
	const struct ipa *src = linklocal_of(st, ifi);
	struct ipa s = src ? *src : (struct ipa){.q = {0, 0}};
	uint16_t c;

	f[5] = (uint8_t)(8 + len);
	memcpy(f + 8, s.b, 16);
	memcpy(f + 24, to->b, 16);
	memcpy(f + 40, "\x3a\x00\x05\x02\x00\x00\x01\x00", 8);
	c = csum_fold(csum_add(m, len, csum_pseudo(&s, to, IPPROTO_ICMPV6_, len)));
	memcpy(m + 2, &c, 2);
	memcpy(f + 48, m, len);
	eth_send(st, ifi, mac, ETH_P_IPV6, f, 48 + len);
}

/* One record: IGMPv3 or MLDv2 by the group's family. */
static void report(struct tp_stack *st, unsigned ifi, const struct ipa *group, uint8_t type,
		   const struct ipa *source, unsigned n)
{
	bool is4 = ipa_is4(group);
	uint32_t size = is4 ? 4 : 16, at = 12 + size;
	uint8_t m[12 + 16 + 16 * SOURCES] = {is4 ? 0x22 : 143, [7] = 1, [8] = type};
	struct ipa to =
	    is4 ? ipa_from4(be32(0xe0000016)) : (struct ipa){.b = {0xff, 2, [15] = 22}};

	if (!ifi)
		return;
	n = MIN(n, SOURCES);
	m[11] = (uint8_t)n;
	memcpy(m + 12, group->b + 16 - size, size);
	for (unsigned i = 0; i < n; i++, at += size)
		memcpy(m + at, source[i].b + 16 - size, size);
	if (is4)
		igmp_send(st, ifi, &to, m, at);
	else
		mld_send(st, ifi, &to, m, at);
}

/* ---- reports to come ---- */

#define REPEAT_US 1000000u /* RFC 3376 section 8.11, RFC 3810 section 9.11 */

/* Some time within the next `within`. */
static void report_later(struct tp_stack *st, struct mreport *r, uint32_t within)
{
	r->at = st->now + 1 + tp_random32(st) % MAX(within, 1u);
	slow_arm(st, r->at);
}

static struct mreport *report_room(struct tp_stack *st)
{
	for (struct mreport *r = st->mreport; r < st->mreport + MAX_GROUP; r++) {
		if (!r->at)
			return r;
	}
	return NULL;
}

/* A change is told at once and, since reports get lost, again (robustness 2). */
static void report_change(struct tp_stack *st, unsigned ifi, const struct ipa *group,
			  uint8_t type, const struct ipa *source)
{
	struct mreport *r;

	if (!ifi)
		return;
	report(st, ifi, group, type, source, source ? 1 : 0);
	for (r = st->mreport; r < st->mreport + MAX_GROUP; r++) {
		if (r->at && r->type && r->ifi == ifi && ipa_eq(&r->group, group) &&
		    (!source || (r->sources && ipa_eq(&r->source, source))))
			r->at = 0; /* not so any more */
	}
	r = report_room(st);
	if (!r)
		return;
	*r = (struct mreport){.group = *group, .ifi = (uint16_t)ifi, .type = type};
	if (source) {
		r->source = *source;
		r->sources = 1;
	}
	report_later(st, r, REPEAT_US);
}

/* ---- the stack's groups ---- */

static struct group *group_find(struct tp_stack *st, unsigned ifi, const struct ipa *a)
{
	for (struct group *g = st->group; g < st->group + MAX_GROUP; g++) {
		if (g->refs && g->ifi == ifi && ipa_eq(&g->addr, a))
			return g;
	}
	return NULL;
}

bool group_is(const struct tp_stack *st, unsigned ifi, const struct ipa *group)
{
	return group_find((struct tp_stack *)st, ifi, group) != NULL;
}

static struct group *group_ref(struct tp_stack *st, unsigned ifi, const struct ipa *a,
			       const struct ipa *source)
{
	struct group *g = group_find(st, ifi, a);

	if (!g) {
		for (g = st->group; g < st->group + MAX_GROUP && g->refs; g++)
			;
		if (g == st->group + MAX_GROUP)
			return NULL;
		*g = (struct group){.addr = *a, .ifi = (uint16_t)ifi};
	}
	g->refs++;
	g->any += !source;
	return g;
}

int group_join(struct tp_stack *st, unsigned ifi, const struct ipa *a, const struct ipa *source)
{
	struct group *g = group_ref(st, ifi, a, source);

	if (!g)
		return -TE_NOBUFS;
	if (!source && g->any == 1)
		report_change(st, ifi, a, TO_EXCLUDE, NULL);
	else if (source && !g->any)
		report_change(st, ifi, a, ALLOW_SOURCES, source);
	return 0;
}

/* Sources that sockets want of a group that nobody wants from everyone. */
static unsigned sources_of(struct tp_stack *st, const struct group *g, struct ipa *out)
{
	unsigned n = 0, k;

	for (uint32_t i = 1; i < st->high; i++) {
		const struct sock *s = SOCK(st, i);

		if (s->kind == SK_FREE || s->kind == SK_TCP)
			continue;
		for (unsigned j = 0; j < s->d.nmember && n < SOURCES; j++) {
			const struct member *m = &s->d.member[j];

			if (m->kind != MEMBER_SOURCE || m->ifi != g->ifi ||
			    !ipa_eq(&m->group, &g->addr))
				continue;
			for (k = 0; k < n && !ipa_eq(&out[k], &m->source); k++)
				;
			if (k == n)
				out[n++] = m->source;
		}
	}
	return n;
}

static void still_wanted(struct tp_stack *st, const struct group *g)
{
	struct ipa source[SOURCES];
	unsigned n = g->any ? 0 : sources_of(st, g, source);

	report(st, g->ifi, &g->addr, g->any ? IS_EXCLUDE : IS_INCLUDE, source, n);
}

void group_leave(struct tp_stack *st, unsigned ifi, const struct ipa *a,
		 const struct ipa *source)
{
	struct group *g = group_find(st, ifi, a);

	if (!g)
		return;
	g->refs--;
	if (!source && !--g->any) {
		report_change(st, ifi, a, TO_INCLUDE, NULL);
		if (g->refs)
			still_wanted(st, g);
	} else if (source && !g->any) {
		report_change(st, ifi, a, BLOCK_SOURCES, source);
		if (g->refs) /* another socket may want that source still */
			still_wanted(st, g);
	}
}

void mcast_begin(struct tp_stack *st)
{
	for (unsigned i = 0; i < st->naddr; i++) {
		const struct ifaddr *a = &st->s->addr[i];
		struct ipa g = solicited_node(&a->addr);

		if (a->used && a->ifi && !ipa_is4(&a->addr))
			group_ref(st, a->ifi, &g, NULL);
	}
}

void mcast_link_up(struct tp_stack *st, unsigned ifi)
{
	for (struct group *g = st->group; g < st->group + MAX_GROUP; g++) {
		if (g->refs && g->ifi == ifi)
			still_wanted(st, g);
	}
}

/* ---- queries ---- */

/* The group that is asked for, unspecified: any. */
static struct ipa asked_for(const struct pkt *p)
{
	struct ipa q = ipa_from4(0);

	if (p->is4)
		memcpy(&q.w[3], p->data + 4, 4);
	else if (p->len >= 24)
		q = ipa_from6(p->data + 8);
	return ipa_zero6(&q) ? ipa_from4(0) : q;
}

/* A code of `bits` bits: large times have a mantissa and an exponent (RFC 3376 section 4.1.1).
 */
static uint32_t code_value(uint32_t code, unsigned bits)
{
	unsigned mant = bits == 8 ? 4 : 12;

	if (!(code >> (bits - 1)))
		return code;
	return ((code & ((1u << mant) - 1)) | 1u << mant) << ((code >> mant & 7) + 3);
}

/* How long the querier waits for answers, us. */
static uint32_t time_to_answer(const struct pkt *p, bool v3)
{
	uint32_t code = p->is4 ? p->data[1] : get16(p->data + 4);

	if (p->is4 && !v3) /* RFC 2236; one of RFC 1112 leaves it 0 */
		return (code ? code : 100) * 100000u;
	if (p->is4)
		return code_value(code, 8) * 100000u;
	return MIN(v3 ? code_value(code, 16) : code, 8000000u / 2) * 1000u;
}

static void answer(struct tp_stack *st, const struct mreport *r)
{
	for (struct group *g = st->group; g < st->group + MAX_GROUP; g++) {
		uint8_t m[8] = {0x16};

		if (!g->refs || g->ifi != r->ifi || ipa_is4(&g->addr) != r->is4 ||
		    (!ipa_any(&r->group) && !ipa_eq(&r->group, &g->addr)) || !icmp_allow(st))
			continue;
		if (!r->v2) {
			still_wanted(st, g);
		} else { /* RFC 2236: a report to the group itself */
			memcpy(m + 4, g->addr.b + 12, 4);
			igmp_send(st, g->ifi, &g->addr, m, sizeof(m));
		}
	}
}

void mcast_answer(struct tp_stack *st, const struct pkt *p, bool v3)
{
	struct mreport q = {
	    .group = asked_for(p), .ifi = p->ifi, .v2 = !v3 && p->is4, .is4 = p->is4};
	struct mreport *r, *end = st->mreport + MAX_GROUP;
	uint64_t at;

	for (r = st->mreport; r < end; r++) {
		/* To be answered with all that there is, or with this group. */
		if (r->at && !r->type && r->ifi == q.ifi && r->is4 == q.is4 && r->v2 == q.v2 &&
		    (ipa_any(&r->group) || ipa_eq(&r->group, &q.group)))
			break;
	}
	at = r < end ? r->at : NEVER;
	if (r == end)
		r = report_room(st);
	if (!r) {
		answer(st, &q);
		return;
	}
	if (at == NEVER)
		*r = q;
	report_later(st, r, time_to_answer(p, v3));
	r->at = MIN(r->at, at); /* whichever is sooner */
}

uint64_t mcast_tick(struct tp_stack *st)
{
	uint64_t next = NEVER;

	for (struct mreport *r = st->mreport; r < st->mreport + MAX_GROUP; r++) {
		if (r->at && r->at <= st->now) {
			r->at = 0;
			if (r->type)
				report(st, r->ifi, &r->group, r->type, &r->source, r->sources);
			else
				answer(st, r);
		}
		if (r->at)
			next = MIN(next, r->at);
	}
	return next;
}

void igmp_input(struct tp_stack *st, struct pkt *p)
{
	if (p->loop || p->len < 8 || p->ttl != 1 || p->data[0] != 0x11 ||
	    csum_fold(csum_add(p->data, p->len, 0)))
		return;
	mcast_answer(st, p, p->len >= 12);
}

/* ---- sockets' memberships ---- */

static struct member *member_find(struct sock *s, const struct member *m)
{
	for (unsigned i = 0; i < s->d.nmember; i++) {
		struct member *o = &s->d.member[i];

		if (o->kind == m->kind && o->ifi == m->ifi && ipa_eq(&o->group, &m->group) &&
		    ipa_eq(&o->source, &m->source))
			return o;
	}
	return NULL;
}

static const struct ipa *source_of(const struct member *m)
{
	return m->kind == MEMBER_SOURCE ? &m->source : NULL;
}

static int member_add(struct tp_stack *st, struct sock *s, const struct member *m)
{
	int e;

	if (member_find(s, m))
		return -TE_ADDRINUSE;
	if (s->d.nmember == MAX_MEMBER)
		return -TE_NOBUFS;
	e = m->kind == MEMBER_BLOCK ? 0 : group_join(st, m->ifi, &m->group, source_of(m));
	if (!e)
		s->d.member[s->d.nmember++] = *m;
	return e;
}

static void member_drop(struct tp_stack *st, struct sock *s, struct member *m)
{
	struct member gone = *m;

	*m = s->d.member[--s->d.nmember];
	if (gone.kind != MEMBER_BLOCK)
		group_leave(st, gone.ifi, &gone.group, source_of(&gone));
}

/* Leaving a group ends all that the socket has of it. */
static int group_drop(struct tp_stack *st, struct sock *s, const struct member *want)
{
	bool had = false;

	for (unsigned i = 0; i < s->d.nmember;) {
		struct member *m = &s->d.member[i];

		if (m->ifi == want->ifi && ipa_eq(&m->group, &want->group)) {
			member_drop(st, s, m);
			had = true;
		} else {
			i++;
		}
	}
	return had ? 0 : -TE_ADDRNOTAVAIL;
}

static int member_change(struct tp_stack *st, struct sock *s, struct member *m, uint16_t kind,
			 bool add)
{
	struct member *have;

	if (s->kind == SK_TCP)
		return -TE_NOPROTOOPT;
	if (add && (m->ifi >= TP_MAX_IF || !st->s->ifs[m->ifi].used))
		return -TE_NODEV;
	if (!ipa_multicast(&m->group) || m->ifi >= TP_MAX_IF ||
	    ipa_is4(&m->group) != (s->domain == PVS_AF_INET))
		return -TE_INVAL;
	m->kind = kind;
	sock_touch(st, s);
	if (kind == MEMBER_ANY && !add)
		return group_drop(st, s, m);
	if (kind == MEMBER_BLOCK && add) { /* RFC 3678: only of a group that was joined */
		struct member any = {.group = m->group, .ifi = m->ifi, .kind = MEMBER_ANY};

		if (!member_find(s, &any))
			return -TE_INVAL;
	}
	if (add)
		return member_add(st, s, m);
	have = member_find(s, m);
	if (!have)
		return -TE_ADDRNOTAVAIL;
	member_drop(st, s, have);
	return 0;
}

bool mcast_allowed(const struct sock *s, const struct ipa *group, unsigned ifi,
		   const struct ipa *source)
{
	bool any = false, named = false, some = false;

	for (unsigned i = 0; i < s->d.nmember; i++) {
		const struct member *m = &s->d.member[i];

		if (m->ifi != ifi || !ipa_eq(&m->group, group))
			continue;
		some = true;
		any |= m->kind == MEMBER_ANY;
		if (m->kind == MEMBER_ANY || !ipa_eq(&m->source, source))
			continue;
		if (m->kind == MEMBER_BLOCK)
			return false;
		named = true;
	}
	return any || named || !some;
}

void mcast_leave_all(struct tp_stack *st, struct sock *s)
{
	while (s->d.nmember)
		member_drop(st, s, &s->d.member[s->d.nmember - 1]);
}

void mcast_revive(struct tp_stack *st, struct sock *s)
{
	for (unsigned i = 0; i < s->d.nmember; i++) {
		const struct member *m = &s->d.member[i];

		if (m->kind != MEMBER_BLOCK && m->ifi < TP_MAX_IF)
			group_ref(st, m->ifi, &m->group, source_of(m));
	}
}

/* ---- options ---- */

static uint32_t u32_at(const uint8_t *v)
{
	uint32_t x;

	memcpy(&x, v, 4);
	return x;
}

static struct ipa ip4_at(const uint8_t *v)
{
	return ipa_from4(u32_at(v));
}

/* The interface that an address or, 0, the first one is of. */
static uint16_t ifi_of(struct tp_stack *st, const struct ipa *a)
{
	const struct ifaddr *i = ipa_any(a) ? NULL : addr_find(st, a);

	if (i)
		return i->ifi;
	for (uint16_t n = 1; n < TP_MAX_IF; n++) {
		if (st->s->ifs[n].used && !if_hidden(st, n))
			return n;
	}
	return TP_MAX_IF;
}

/* struct sockaddr_in, sockaddr_in6 within struct group_req: family, port, address. */
static bool sockaddr_at(const uint8_t *v, struct ipa *a)
{
	if (v[0] == PVS_AF_INET && !v[1])
		*a = ip4_at(v + 4);
	else if (v[0] == PVS_AF_INET6 && !v[1])
		*a = ipa_from6(v + 8);
	else
		return false;
	return true;
}

/* RFC 3678 section 5.1: options of both families. */
static int group_option(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
			uint32_t len)
{
	bool plain = name == MCAST_JOIN_GROUP_ || name == MCAST_LEAVE_GROUP_;
	struct ipa none = ipa_from4(0);
	struct member m = {0};

	if (len < (plain ? 136u : 264u) || !sockaddr_at(v + 8, &m.group) ||
	    (!plain && !sockaddr_at(v + 136, &m.source)))
		return -TE_INVAL;
	m.ifi =
	    u32_at(v) ? (uint16_t)MIN(u32_at(v) - 1, (uint32_t)TP_MAX_IF) : ifi_of(st, &none);
	switch (name) {
	case MCAST_JOIN_GROUP_:
	case MCAST_LEAVE_GROUP_:
		return member_change(st, s, &m, MEMBER_ANY, name == MCAST_JOIN_GROUP_);
	case MCAST_BLOCK_SOURCE_:
	case MCAST_UNBLOCK_SOURCE_:
		return member_change(st, s, &m, MEMBER_BLOCK, name == MCAST_BLOCK_SOURCE_);
	}
	return member_change(st, s, &m, MEMBER_SOURCE, name == MCAST_JOIN_SOURCE_GROUP_);
}

int mcast_option(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		 uint32_t len)
{
	bool plain = name == IP_ADD_MEMBERSHIP_ || name == IP_DROP_MEMBERSHIP_;
	struct member m = {0};
	struct ipa local;

	if (name >= MCAST_JOIN_GROUP_)
		return group_option(st, s, name, v, len);
	if (len < (plain ? 8u : 12u))
		return -TE_INVAL;
	m.group = ip4_at(v);
	local = ip4_at(v + 4);
	m.ifi = ifi_of(st, &local);
	if (plain) {
		if (len >= 12 && u32_at(v + 8)) /* struct ip_mreqn */
			m.ifi = (uint16_t)MIN(u32_at(v + 8) - 1, (uint32_t)TP_MAX_IF);
		return member_change(st, s, &m, MEMBER_ANY, name == IP_ADD_MEMBERSHIP_);
	}
	m.source = ip4_at(v + 8);
	if (name == IP_BLOCK_SOURCE_ || name == IP_UNBLOCK_SOURCE_)
		return member_change(st, s, &m, MEMBER_BLOCK, name == IP_BLOCK_SOURCE_);
	return member_change(st, s, &m, MEMBER_SOURCE, name == IP_ADD_SOURCE_MEMBERSHIP_);
}

int mcast_option6(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		  uint32_t len)
{
	struct ipa none = {.q = {0, 0}};
	struct member m = {0};

	if (name >= MCAST_JOIN_GROUP_)
		return group_option(st, s, name, v, len);
	if (len < 20)
		return -TE_INVAL;
	m.group = ipa_from6(v);
	m.ifi = u32_at(v + 16) ? (uint16_t)MIN(u32_at(v + 16) - 1, (uint32_t)TP_MAX_IF)
			       : ifi_of(st, &none);
	return member_change(st, s, &m, MEMBER_ANY, name == IPV6_ADD_MEMBERSHIP_);
}
