/* SPDX-License-Identifier: ISC */
/*
 * Socket objects: allocation, the two hash tables, ports, data rings, and the list of
 * sockets that must be brought to rest at the end of a batch.
 *
 * A socket changes only between tp_input/tp_poll entry and the sock_flush() that ends
 * it. sock_touch() puts it on the dirty list; sock_flush() sends what it can send,
 * publishes its indexes to the client once, and seals it with a new check word. A freed
 * socket stays on the list until then, so an index found earlier in the same batch never names
 * a different socket.
 */
#include "mcast.h"
#include "tcp.h"

struct sock *sock_alloc(struct tp_stack *st, uint8_t kind)
{
	uint32_t i = st->free_head;
	struct sock *s;

	if (i) {
		st->free_head = SOCK(st, i)->fnext;
	} else if (st->high < st->s->max_socks) {
		i = st->high++;
	} else if (!tcp_recycle_time_wait(st) || !(i = st->free_head)) {
		return NULL;
	} else {
		st->free_head = SOCK(st, i)->fnext;
	}
	s = SOCK(st, i);
	if (st->s->journal.live)
		st->s->journal.fresh = i;
	memset(s, 0, sizeof(*s));
	s->kind = kind;
	s->slot = PVS_NO_SLOT;
	st->nsocks++;
	sock_touch(st, s);
	return s;
}

static void sock_reclaim(struct tp_stack *st, struct sock *s)
{
	memset(s, 0, sizeof(*s));
	s->fnext = st->free_head;
	st->free_head = sock_index(st, s);
}

/* For a socket freed just now, which nothing in this batch can have found before. */
void sock_reclaim_now(struct tp_stack *st, struct sock *s)
{
	uint32_t *p = &st->dirty_head, i = sock_index(st, s);

	while (*p && *p != i)
		p = &SOCK(st, *p)->dnext;
	if (*p)
		*p = s->dnext;
	sock_reclaim(st, s);
}

void sock_free(struct tp_stack *st, struct sock *s)
{
	if (s->kind == SK_FREE)
		return;
	sock_touch(st, s);
	sock_unhash(st, s);
	timer_remove(st, s);
	early_drop(st, &s->rx);
	if (s->kind == SK_RAW || s->kind == SK_PING)
		st->nraw--;
	if (s->kind == SK_PACKET)
		st->npacket--;
	if (s->kind != SK_TCP)
		mcast_leave_all(st, s);
	s->kind = SK_FREE;
	s->slot = PVS_NO_SLOT;
	st->nsocks--;
}

void sock_error(struct tp_stack *st, struct sock *s, int err)
{
	sock_touch(st, s);
	s->error = (uint32_t)err;
	s->err_count++;
}

void sock_flush(struct tp_stack *st)
{
	while (st->dirty_head) {
		struct sock *s = SOCK(st, st->dirty_head);

		st->dirty_head = s->dnext;
		s->dnext = NIL;
		s->flags &= (uint16_t)~SF_DIRTY;
		if (s->flags & SF_OUTPUT && s->kind == SK_TCP) {
			s->flags &= (uint16_t)~SF_OUTPUT;
			tcp_output(st, s);
		}
		if (s->flags & SF_DIRTY)
			continue; /* came back to the list: again later */
		if (s->kind == SK_FREE) {
			sock_reclaim(st, s);
			continue;
		}
		pv_publish(st, s);
		state_seal(st, s);
	}
}

/* ---- hash tables ---- */

/*
 * Vector multiply-shift (Dietzfelbinger): with odd secret factors two different names meet with
 * a chance of no more than two in the table's size, whoever chose them. Nothing tells a peer
 * which chain its connection is in.
 */
static uint32_t ehash_of(struct tp_stack *st, const struct ipa *r, uint16_t rport,
			 const struct ipa *l, uint16_t lport)
{
	const uint64_t *k = st->hash_key;
	uint64_t h = k[0] * r->q[0] + k[1] * r->q[1] + k[2] * l->q[0] + k[3] * l->q[1] +
		     k[4] * ((uint32_t)rport << 16 | lport);

	return (uint32_t)(h >> 32) >> st->ehash_shift;
}

static uint32_t lhash_of(struct tp_stack *st, uint16_t port)
{
	return (port ^ port >> 7) & st->lhash_mask;
}

void sock_hash(struct tp_stack *st, struct sock *s)
{
	uint32_t h = ehash_of(st, &s->raddr, s->rport, &s->laddr, s->lport);

	if (s->flags & SF_HASHED)
		return;
	s->flags |= SF_HASHED;
	s->hnext = st->ehash[h];
	st->ehash[h] = sock_index(st, s);
}

void sock_lhash(struct tp_stack *st, struct sock *s)
{
	uint32_t h = lhash_of(st, s->lport);

	if (s->flags & SF_LHASHED)
		return;
	s->flags |= SF_LHASHED;
	s->lnext = st->lhash[h];
	st->lhash[h] = sock_index(st, s);
}

void sock_unhash(struct tp_stack *st, struct sock *s)
{
	uint32_t *p, i = sock_index(st, s);

	if (s->flags & SF_HASHED) {
		p = &st->ehash[ehash_of(st, &s->raddr, s->rport, &s->laddr, s->lport)];
		while (*p && *p != i)
			p = &SOCK(st, *p)->hnext;
		if (*p)
			*p = s->hnext;
	}
	if (s->flags & SF_LHASHED) {
		p = &st->lhash[lhash_of(st, s->lport)];
		while (*p && *p != i)
			p = &SOCK(st, *p)->lnext;
		if (*p)
			*p = s->lnext;
	}
	s->flags &= (uint16_t) ~(SF_HASHED | SF_LHASHED);
	s->hnext = s->lnext = NIL;
}

struct sock *sock_lookup(struct tp_stack *st, const struct ipa *src, uint16_t sport,
			 const struct ipa *dst, uint16_t dport, uint8_t ifi)
{
	uint32_t i = st->ehash[ehash_of(st, src, sport, dst, dport)];

	for (; i; i = SOCK(st, i)->hnext) {
		struct sock *s = SOCK(st, i);

		if (s->lport == dport && s->rport == sport && ipa_eq(&s->laddr, dst) &&
		    ipa_eq(&s->raddr, src) && (!s->bound_if || s->bound_if == ifi))
			return s;
	}
	return NULL;
}

/* How well a bound socket fits a packet; false: not at all. */
bool sock_bound_match(const struct sock *s, const struct ipa *src, uint16_t sport,
		      const struct ipa *dst, uint16_t dport, uint8_t ifi, int *score)
{
	*score = s->domain == (ipa_is4(dst) ? PVS_AF_INET : PVS_AF_INET6);
	if (s->lport != dport)
		return false;
	if (s->domain == PVS_AF_INET && !ipa_is4(dst))
		return false;
	if (s->domain == PVS_AF_INET6 && s->flags & SF_V6ONLY && ipa_is4(dst))
		return false;
	if (s->bound_if) {
		if (s->bound_if != ifi)
			return false;
		*score += 4;
	}
	if (!ipa_any(&s->laddr)) {
		if (!ipa_eq(&s->laddr, dst))
			return false;
		*score += 2;
	}
	if (s->flags & SF_CONNECTED) {
		if (!ipa_eq(&s->raddr, src) || s->rport != sport)
			return false;
		*score += 8;
	}
	return true;
}

/* The best bound socket (listener, datagram socket); REUSEPORT groups share by hash. */
struct sock *sock_lookup_bound(struct tp_stack *st, uint8_t kind, const struct ipa *src,
			       uint16_t sport, const struct ipa *dst, uint16_t dport,
			       uint8_t ifi)
{
	uint32_t i, pick = 0, n = 0;
	struct sock *best = NULL;
	int score, top = -1;

	for (i = st->lhash[lhash_of(st, dport)]; i; i = SOCK(st, i)->lnext) {
		struct sock *s = SOCK(st, i);

		if (s->kind != kind || (kind == SK_TCP && s->state != TS_LISTEN) ||
		    !sock_bound_match(s, src, sport, dst, dport, ifi, &score))
			continue;
		if (score > top) {
			top = score;
			best = s;
			n = 1;
			pick =
			    s->flags & SF_REUSEPORT ? ehash_of(st, src, sport, dst, dport) : 0;
		} else if (score == top && s->flags & SF_REUSEPORT) {
			n++;
			if ((pick ^ n * 0x9e3779b9u) % n == 0)
				best = s;
		}
	}
	return best;
}

struct sock *lhash_first(struct tp_stack *st, uint8_t kind, uint16_t port)
{
	uint32_t i = st->lhash[lhash_of(st, port)];

	for (; i; i = SOCK(st, i)->lnext) {
		if (SOCK(st, i)->kind == kind && SOCK(st, i)->lport == port)
			return SOCK(st, i);
	}
	return NULL;
}

/* ---- ports ---- */

static bool families_meet(const struct sock *a, const struct sock *b)
{
	if (a->domain == b->domain)
		return true;
	return !((a->flags | b->flags) & SF_V6ONLY);
}

static bool addrs_meet(const struct sock *a, const struct ipa *x, const struct sock *b)
{
	if (a->bound_if && b->bound_if && a->bound_if != b->bound_if)
		return false;
	return ipa_any(x) || ipa_any(&b->laddr) || ipa_eq(x, &b->laddr);
}

/* Linux's rules: see socket(7) on SO_REUSEADDR and SO_REUSEPORT. */
static bool bind_conflict(struct tp_stack *st, const struct sock *s, const struct ipa *a,
			  uint16_t port)
{
	uint32_t i = st->lhash[lhash_of(st, port)];

	for (; i; i = SOCK(st, i)->lnext) {
		struct sock *o = SOCK(st, i);
		uint16_t both = s->flags & o->flags;

		if (o == s || o->kind != s->kind || o->lport != port || o->proto != s->proto ||
		    !families_meet(s, o) || !addrs_meet(s, a, o))
			continue;
		if (both & SF_REUSEPORT)
			continue;
		if (both & SF_REUSEADDR && (s->kind != SK_TCP || o->state != TS_LISTEN))
			continue;
		return true;
	}
	return false;
}

/*
 * A connection has its port as a bound socket has, up to the end of TIME-WAIT, whether it was
 * bound, accepted or chose the port itself. Those that were not bound are in no table by port:
 * bind() is rare enough to look at all of them.
 */
static bool conn_meets(const struct tp_stack *st, const struct sock *s, const struct ipa *a,
		       const struct sock *o)
{
	const struct ipa *at = share_apparent(st, &o->laddr);
	bool any = ipa_any(a);

	if (s->bound_if && o->bound_if && s->bound_if != o->bound_if)
		return false;
	/* Linux: a wildcard of IPv4 meets whatever is not IPv6 alone. */
	if (s->domain == PVS_AF_INET)
		return any ? !(o->flags & SF_V6ONLY) : ipa_eq(a, at);
	if (any && ipa_is4(a)) /* ::ffff:0.0.0.0 */
		return ipa_is4(at);
	return any ? !(s->flags & SF_V6ONLY && ipa_is4(at)) : ipa_eq(a, at);
}

static bool conn_conflict(const struct tp_stack *st, const struct sock *s, const struct ipa *a,
			  uint16_t port)
{
	for (uint32_t i = 1; s->kind == SK_TCP && i < st->high; i++) {
		const struct sock *o = SOCK(st, i);

		if (o->kind != SK_TCP || o->app_port != port || !(o->flags & SF_HASHED) ||
		    o->flags & SF_LHASHED || (o->state == TS_SYN_RCVD && o->parent))
			continue;
		if (!(s->flags & o->flags & (SF_REUSEADDR | SF_REUSEPORT)) &&
		    conn_meets(st, s, a, o))
			return true;
	}
	return false;
}

/* RFC 6056 algorithm 3: a keyed offset per destination plus a counter. */
static uint16_t port_candidate(struct tp_stack *st, const struct sock *s, uint32_t n,
			       uint32_t first, uint32_t count)
{
	struct {
		struct ipa r;
		uint32_t rport, kind;
	} k = {s->raddr, s->rport, s->kind};
	uint32_t off = (uint32_t)siphash(st->s->secret, &k, sizeof(k));

	return (uint16_t)(first + (off + st->port_hint + n) % count);
}

static int port_pick_in(struct tp_stack *st, struct sock *s, const struct ipa *a,
			uint32_t first, uint32_t count)
{
	for (uint32_t n = 0; n < count; n++) {
		uint16_t port = port_candidate(st, s, n, first, count);

		if (bind_conflict(st, s, a, port))
			continue;
		if (s->kind == SK_TCP && s->rport &&
		    sock_lookup(st, &s->raddr, s->rport, a, port, s->ifi))
			continue;
		st->port_hint += n + 1;
		return port;
	}
	return -TE_ADDRINUSE;
}

/* Datagram sockets may send by the host address later on: a port of our block, if possible. */
static int port_pick(struct tp_stack *st, struct sock *s, const struct ipa *a)
{
	const struct share *sh = share_of(st, a);
	bool leaves = share_is(st, a);
	int p = -TE_ADDRINUSE;

	if (!sh->used) /* an IPv6 socket may send by IPv4 */
		sh = st->s->share;
	if (sh->used && (leaves || s->kind != SK_TCP))
		p = port_pick_in(st, s, a, sh->lo, sh->hi - sh->lo + 1u);
	if (p < 0 && !leaves)
		p = port_pick_in(st, s, a, st->cfg.eph_lo,
				 st->cfg.eph_hi - st->cfg.eph_lo + 1u);
	return p;
}

int sock_bind(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port)
{
	if (s->flags & SF_BOUND)
		return -TE_INVAL;
	if (s->kind == SK_PING && ipa_multicast(a) && !ipa_is4(a))
		return -TE_INVAL;
	if (s->kind == SK_PING && addr_broadcast(st, a))
		return -TE_ADDRNOTAVAIL;
	if (!ipa_any(a) && !addr_local(st, a, 0xff) &&
	    (s->kind == SK_PING || !ipa_multicast(a)) &&
	    (s->kind != SK_UDP || !addr_broadcast(st, a)))
		return -TE_ADDRNOTAVAIL;
	if (s->kind != SK_TCP)
		s->d.port_lock = port != 0;
	if (port) {
		if (bind_conflict(st, s, a, port) || conn_conflict(st, s, a, port))
			return -TE_ADDRINUSE;
	} else {
		int p, tries = 0;

		do {
			p = port_pick(st, s, a);
		} while (p > 0 && conn_conflict(st, s, a, (uint16_t)p) && tries++ < 64);
		if (p < 0)
			return p;
		port = (uint16_t)p;
	}
	s->laddr = *a;
	s->lport = s->app_port = port;
	s->flags |= SF_BOUND;
	if (!ipa_any(a))
		s->flags |= SF_BINDADDR;
	sock_lhash(st, s);
	sock_touch(st, s);
	return 0;
}

/* Who is bound to an address of one family does not reach the other. */
int sock_reaches(const struct sock *s, const struct ipa *to)
{
	if (!(s->flags & SF_BINDADDR) || ipa_any(&s->laddr) ||
	    ipa_is4(&s->laddr) == ipa_is4(to))
		return 0;
	return ipa_is4(to) ? -TE_NETUNREACH : -TE_AFNOSUPPORT;
}

/* A port for a socket that connects or sends without having been bound. */
int sock_autobind(struct tp_stack *st, struct sock *s)
{
	int p;

	if (s->flags & SF_BOUND)
		return 0;
	p = port_pick(st, s, &s->laddr);
	if (p < 0)
		return s->kind == SK_TCP ? -TE_ADDRNOTAVAIL : -TE_AGAIN;
	s->lport = s->app_port = (uint16_t)p;
	s->flags |= SF_BOUND;
	if (s->kind != SK_TCP)
		sock_lhash(st, s);
	return 0;
}

/* ---- data rings ---- */

uint8_t *ring_base(struct tp_stack *st, const struct dring *r)
{
	if (r->space == SPACE_CLIENT)
		return st->pv[r->client].base + r->off;
	return st->early + ((size_t)r->off << r->order);
}

void ring_write(struct tp_stack *st, const struct dring *r, uint32_t idx, const void *p,
		uint32_t n)
{
	uint8_t *b = ring_base(st, r);
	uint32_t at = idx & (ring_size(r) - 1), first = MIN(n, ring_size(r) - at);

	memcpy(b + at, p, first);
	if (first < n)
		memcpy(b, (const uint8_t *)p + first, n - first);
}

void ring_read(struct tp_stack *st, const struct dring *r, uint32_t idx, void *p, uint32_t n)
{
	const uint8_t *b = ring_base(st, r);
	uint32_t at = idx & (ring_size(r) - 1), first = MIN(n, ring_size(r) - at);

	memcpy(p, b + at, first);
	if (first < n)
		memcpy((uint8_t *)p + first, b, n - first);
}

/* Copies and sums; what is summed is the private copy, whatever the peer does meanwhile. */
uint32_t ring_read_csum(struct tp_stack *st, const struct dring *r, uint32_t idx, void *p,
			uint32_t n)
{
	const uint8_t *b = ring_base(st, r);
	uint32_t at = idx & (ring_size(r) - 1), first = MIN(n, ring_size(r) - at);
	uint32_t sum = csum_copy(p, b + at, first, 0), rest;

	if (first == n)
		return sum;
	rest = csum_copy((uint8_t *)p + first, b, n - first, 0);
	if (first & 1)
		rest = rest << 8 | rest >> 24;
	return csum_more(rest, sum);
}

void early_take(struct tp_stack *st, struct dring *r)
{
	for (uint32_t i = 0; i < st->s->early_bufs; i++) {
		if (st->early_used[i / 64] & 1ull << i % 64)
			continue;
		st->early_used[i / 64] |= 1ull << i % 64;
		*r = (struct dring){
		    .off = i, .order = (uint8_t)st->s->early_order, .space = SPACE_EARLY};
		return;
	}
}

void early_drop(struct tp_stack *st, struct dring *r)
{
	if (r->space == SPACE_EARLY) {
		st->early_used[r->off / 64] &= ~(1ull << r->off % 64);
		r->space = SPACE_NONE;
	}
}

/*
 * Free bytes of the rx ring from the client's index, read once. false: the index is
 * impossible, the client broke the protocol.
 */
bool sock_rx_room(struct tp_stack *st, struct sock *s, uint32_t *room)
{
	uint32_t used;

	if (s->slot != PVS_NO_SLOT && s->rx.space == SPACE_CLIENT &&
	    !(s->flags & SF_RELEASED)) {
		uint32_t cons =
		    __atomic_load_n(&PV(st, s)->slot[s->slot].rx_cons, __ATOMIC_ACQUIRE);

		if (cons - s->rx_cons > s->rx_prod - s->rx_cons)
			return false;
		s->rx_cons = cons;
	}
	used = s->rx_prod - s->rx_cons;
	if (used > ring_size(&s->rx))
		return false;
	*room = ring_size(&s->rx) - used;
	return true;
}

/* Bytes of the tx ring from tx_cons on, likewise. */
bool sock_tx_avail(struct tp_stack *st, struct sock *s, uint32_t *avail)
{
	if (s->slot != PVS_NO_SLOT && s->tx.space == SPACE_CLIENT &&
	    !(s->flags & SF_RELEASED)) {
		uint32_t prod =
		    __atomic_load_n(&PV(st, s)->slot[s->slot].tx_prod, __ATOMIC_ACQUIRE);

		if (prod - s->tx_cons > ring_size(&s->tx) ||
		    prod - s->tx_cons < s->tx_prod - s->tx_cons)
			return false;
		s->tx_prod = prod;
	}
	*avail = s->tx_prod - s->tx_cons;
	return true;
}
