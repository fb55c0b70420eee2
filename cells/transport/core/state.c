/* SPDX-License-Identifier: ISC */
/*
 * The state area: what outlives an instance, and how the next one decides to believe it.
 *
 * Layout: struct state, sockets (index 0 unused), early buffers. Everything is position
 * independent: indexes, offsets, values.
 *
 * Belief. The header must match this build and configuration. The network part is changed in
 * many steps; the next instance takes the copy that was made when it was last at rest, if its
 * check word matches, or what there is, if it died while it made that copy.
 * Each socket carries a check word made when it came to rest at the end of a batch. One whose
 * word does not match although it was at rest is damaged and is reset, alone. One that was
 * being changed when the instance died is adopted if every invariant below holds.
 *
 * Adoption waits for the client's region, since unacknowledged data and half-received
 * streams lie there. Tables, wheel, free list and accept queues are rebuilt from the sockets.
 * The scoreboard is gone: what was in flight becomes one record (tcp_timer.c) and the
 * retransmission timer is started, so at worst a window is sent twice.
 */
#include "mcast.h"
#include "tcp.h"

#define SEALED offsetof(struct sock, kind)

static void net_seal(struct state *s)
{
	__atomic_store_n(&s->net_valid, 0, __ATOMIC_SEQ_CST);
	s->journal.net = 0;
	memcpy(&s->net_copy, s->ifs, NET_BYTES);
	s->netcheck = check_words(&s->net_copy, NET_BYTES);
	__atomic_store_n(&s->net_valid, 1, __ATOMIC_SEQ_CST);
}

/* The network part is at rest. Within CONTROL the copy is what undoing it takes. */
void state_seal_net(struct tp_stack *st)
{
	if (st->s && !(st->s->journal.live && st->s->journal.net))
		net_seal(st->s);
}

/* What an instance before left of it: as it is, where no copy is newer, or the copy. */
static bool net_recover(struct state *s)
{
	if (s->net_valid && !s->journal.net) {
		if (s->netcheck != check_words(&s->net_copy, NET_BYTES))
			return false;
		memcpy(s->ifs, &s->net_copy, NET_BYTES);
	}
	net_seal(s);
	return true;
}

static uint32_t sock_sum(const struct sock *s)
{
	size_t end = offsetof(struct sock, d.member) +
		     MIN(s->d.nmember, MAX_MEMBER) * sizeof(struct member);

	/* Ranges and memberships that are not in use mean nothing. */
	if (s->kind == SK_TCP)
		end = offsetof(struct sock, t.ooo) +
		      MIN(s->t.nooo, OOO_MAX) * sizeof(struct seqrange);
	end = SEALED + ((end - SEALED + 31) & ~(size_t)31); /* whole rounds of the loop */
	return check_words((const uint8_t *)s + SEALED,
			   (uint32_t)(MIN(end, sizeof(*s)) - SEALED));
}

void state_seal(struct tp_stack *st, struct sock *s)
{
	s->check = sock_sum(s);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	s->unsealed = 0;
}

static size_t state_bytes(const struct tp_stack *st)
{
	return tp_state_size(&st->cfg);
}

static bool state_fits(const struct tp_stack *st)
{
	const struct state *s = st->s;

	return s->magic == STATE_MAGIC && s->version == STATE_VERSION &&
	       s->layout == sizeof(struct sock) && s->max_socks == st->cfg.max_socks &&
	       s->early_bufs == st->cfg.early_bufs && s->early_order == st->cfg.early_order;
}

bool state_init(struct tp_stack *st, void *mem, size_t size)
{
	struct state *s = mem;

	if (size < state_bytes(st))
		return false;
	st->s = s;
	st->socks = (struct sock *)((uint8_t *)mem + ((sizeof(*s) + 63) & ~(size_t)63));
	st->early = (uint8_t *)(st->socks + st->cfg.max_socks + 1);
	st->high = 1;
	if (state_fits(st)) {
		s->starts++;
		journal_undo(st);
		if (!net_recover(s)) {
			memset(s->ifs, 0, NET_BYTES);
			tp_logf(st, "state: network configuration damaged, starting afresh",
				NULL, 0);
		}
		s->server_gen += s->server_gen == UINT32_MAX ? 2 : 1;
		/* Until adoption no socket exists. */
		st->adopting = true;
		return true;
	}
	memset(mem, 0, sizeof(*s));
	*s = (struct state){.magic = STATE_MAGIC,
			    .version = STATE_VERSION,
			    .layout = sizeof(struct sock),
			    .max_socks = st->cfg.max_socks,
			    .early_bufs = st->cfg.early_bufs,
			    .early_order = st->cfg.early_order,
			    .starts = 1};
	st->ops.random(st->ctx, s->secret, sizeof(s->secret));
	/* One that no instance before had: the clients see that this is another. */
	st->ops.random(st->ctx, &s->server_gen, sizeof(s->server_gen));
	s->server_gen |= 1;
	/* Memory given for the first time is zeroed; what another build left is not. */
	for (uint32_t i = 0; i <= st->cfg.max_socks; i++) {
		if (st->socks[i].kind)
			memset(&st->socks[i], 0, sizeof(st->socks[i]));
	}
	return true;
}

/* ---- judging one socket ---- */

static bool ring_sane(struct tp_stack *st, const struct sock *s, const struct dring *r)
{
	struct pvs_rings c = {.rx_off = r->off, .rx_order = r->order};

	if (r->space == SPACE_NONE)
		return true;
	if (r->space == SPACE_EARLY)
		return r->off < st->s->early_bufs && r->order == st->s->early_order;
	return r->space == SPACE_CLIENT && r->order && r->client == s->client &&
	       pv_rings_ok(PV(st, s), &c);
}

static bool tcp_sane(const struct sock *s)
{
	const struct tcp *t = &s->t;
	uint32_t flight = t->snd_nxt - t->snd_una;

	if (s->state < TS_ESTABLISHED || s->state > TS_CLOSING)
		return false;
	if (s->state == TS_LISTEN)
		return s->lport && t->backlog <= 4096;
	if (s->state == TS_CLOSED)
		return true;
	if (!s->lport || !s->rport || t->nooo > OOO_MAX || t->ca_state > CA_LOSS || !t->mss ||
	    t->snd_ws > 14 || t->rcv_ws > 14 || t->cc > TP_CC_RENO)
		return false;
	if (flight > ring_size(&s->tx) + 2 && s->state != TS_TIME_WAIT && s->tx.space)
		return false;
	for (unsigned i = 0; i < t->nooo; i++) {
		if (SEQ_GE(t->ooo[i].start, t->ooo[i].end) ||
		    SEQ_LT(t->ooo[i].start, t->rcv_nxt) ||
		    t->ooo[i].end - t->rcv_nxt > ring_size(&s->rx))
			return false;
	}
	return true;
}

static bool slot_free(const struct pv *pv, uint32_t slot)
{
	return slot < MIN(pv->nslots, pv->map_size) && !pv->map[slot];
}

static bool sock_sane(struct tp_stack *st, const struct sock *s)
{
	if (s->kind > SK_PACKET || (s->domain != PVS_AF_INET && s->domain != PVS_AF_INET6 &&
				    s->domain != PVS_AF_PACKET))
		return false;
	if (s->slot != PVS_NO_SLOT && !slot_free(PV(st, s), s->slot))
		return false;
	if (s->slot == PVS_NO_SLOT && s->kind != SK_TCP)
		return false;
	if (!ring_sane(st, s, &s->tx) || !ring_sane(st, s, &s->rx) || s->ifi >= TP_MAX_IF)
		return false;
	if (s->rx_prod - s->rx_cons > MAX(ring_size(&s->rx), 1u) && s->rx.space)
		return false;
	if (s->tx_prod - s->tx_cons > MAX(ring_size(&s->tx), 1u) && s->tx.space)
		return false;
	return s->kind == SK_TCP ? tcp_sane(s) : s->d.nmember <= MAX_MEMBER;
}

/* ---- bringing it back to life ---- */

static void timers_revive(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	t->rtx_kind = RTX_NONE;
	t->seg_head = t->seg_tail = NIL;
	t->sacked = t->lost = t->retrans = 0;
	t->flags &= ~(TF_TX_WANT | TF_TLP_PENDING | TF_UNDO);
	if (t->ca_state > CA_DISORDER)
		t->cwnd = MAX(MIN(t->ssthresh, t->cwnd), t->mss * 2u);
	t->ca_state = CA_OPEN;
	t->rack_time = 0;
	t->retries = t->backoff = 0;
	if (s->state == TS_TIME_WAIT)
		timer_set(st, s, TMR_KEEP, st->now_ms + st->cfg.time_wait_ms);
	else if (!(s->state == TS_FIN_WAIT2 && s->flags & SF_RELEASED))
		tcp_keep_arm(st, s);
	else if (!tcp_orphan_wait(st, s))
		return;
	if (s->state == TS_LISTEN || s->state == TS_CLOSED || s->state == TS_TIME_WAIT)
		return;
	if (t->snd_una != t->snd_nxt) {
		/* Do not wait for a timeout that was estimated for another purpose. */
		t->rtx_kind = RTX_RTO;
		timer_set(st, s, TMR_RTX,
			  st->now_ms + MIN(MAX(t->srtt / 1000 * 2, 20u), 1000u));
	}
	t->flags |= TF_ACK_NOW; /* tells the peer what we have */
	tcp_output_later(st, s);
}

/*
 * A connection that was being changed: what is kept in two places, and was written to one of
 * them. What came out of order comes again.
 */
static void torn_settle(struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t got = tcp_rx_index(s, t->rcv_nxt);

	t->nooo = 0;
	if (s->state != TS_CLOSED)
		t->flags &= ~TF_RST_SENT; /* if it was, it is no harm to send another */
	switch (s->state) {
	case TS_ESTABLISHED:
	case TS_FIN_WAIT1:
	case TS_FIN_WAIT2:
		if (got - s->rx_prod <= ring_size(&s->rx))
			s->rx_prod = got;
		break;
	case TS_CLOSE_WAIT:
	case TS_LAST_ACK:
	case TS_CLOSING:
	case TS_TIME_WAIT:
		t->rcv_nxt += got == s->rx_prod; /* the peer's FIN */
	}
	if (t->flags & TF_FIN_QUEUED && t->snd_nxt == tcp_data_end(s) + 1)
		t->flags |= TF_FIN_SENT;
}

/* What was acknowledged, and perhaps not noticed any more. */
static void acked_settle(struct tp_stack *st, struct sock *s)
{
	if (s->state != TS_ESTABLISHED && s->state != TS_CLOSE_WAIT &&
	    s->state != TS_FIN_WAIT1 && s->state != TS_LAST_ACK && s->state != TS_CLOSING)
		return;
	tcp_drained(st, s);
	if (s->t.flags & TF_FIN_SENT && s->t.snd_una == s->t.snd_nxt)
		tcp_fin_acked(st, s);
}

static void sock_revive(struct tp_stack *st, struct sock *s)
{
	bool due;
	uint32_t keep = s->flags & (uint16_t) ~(SF_HASHED | SF_LHASHED | SF_DIRTY | SF_OUTPUT);

	if (s->flags & SF_LHASHED || s->kind >= SK_RAW || s->state == TS_LISTEN)
		keep |= SF_TRANSP; /* borrowed as a mark: belongs to the port table */
	s->hnext = s->lnext = s->fnext = s->dnext = s->wnext = s->wprev = NIL;
	s->wexp = 0;
	memset(s->dl, 0, sizeof(s->dl));
	s->flags = (uint16_t)(keep & ~SF_TRANSP);
	s->route_gen = 0;
	s->neigh = 0;
	s->anext = NIL;
	if (keep & SF_TRANSP && s->lport)
		sock_lhash(st, s);
	if (s->slot != PVS_NO_SLOT)
		pv_slot_take(st, s, s->slot);
	if (s->rx.space == SPACE_EARLY)
		st->early_used[s->rx.off / 64] |= 1ull << s->rx.off % 64;
	s->pub_state = UINT32_MAX; /* what was published last is not known for sure */
	s->pub_tx_cons = ~s->tx_cons;
	st->nsocks++;
	st->nraw += s->kind == SK_RAW || s->kind == SK_PING;
	st->npacket += s->kind == SK_PACKET;
	sock_touch(st, s);
	/* The RELEASE was taken, its answer perhaps not made. */
	due = s->rel_due || s->kind != SK_TCP || s->state == TS_CLOSED ||
	      s->tx_prod == s->tx_cons;
	s->rel_due = 0;
	if (s->flags & SF_RELEASED && due)
		pv_release_due(st, s);
	if (s->kind != SK_TCP) {
		mcast_revive(st, s);
		return;
	}
	if (s->state != TS_LISTEN && s->state != TS_CLOSED)
		sock_hash(st, s);
	st->ntw += s->state == TS_TIME_WAIT;
	s->t.nsyn = 0;
	s->t.nacc = 0;
	s->t.acc_head = s->t.acc_tail = NIL;
	timers_revive(st, s);
}

/* Children go back to their listener's queue; a half-open one is left to its peer. */
static void child_revive(struct tp_stack *st, struct sock *s)
{
	struct sock *l = s->parent <= st->s->max_socks ? SOCK(st, s->parent) : NULL;

	acked_settle(st, s);
	if (!s->parent) {
		/* Nobody's: the instance before died while it ended it. */
		if (s->slot == PVS_NO_SLOT && s->state == TS_CLOSED)
			sock_free(st, s);
		else if (s->slot == PVS_NO_SLOT && !(s->flags & SF_RELEASED))
			tcp_abort(st, s, 0, true);
		return;
	}
	if (!l || l->kind != SK_TCP || l->state != TS_LISTEN || s->state == TS_SYN_RCVD) {
		s->parent = NIL;
		tcp_abort(st, s, 0, s->state != TS_SYN_RCVD);
		return;
	}
	tcp_acceptq_restore(st, l, s);
}

static void sock_discard(struct tp_stack *st, struct sock *s, const struct pv *pv)
{
	uint32_t slot = s->slot;

	STAT(st, Tcp_AdoptFailed);
	memset(s, 0, sizeof(*s));
	if (!pv || !slot_free(pv, slot))
		return;
	/* The client must hear of it: a socket in the closed state takes its place. */
	s->kind = SK_TCP;
	s->domain = PVS_AF_INET;
	s->type = PVS_SOCK_STREAM;
	s->state = TS_CLOSED;
	s->t.flags = TF_RST_SENT;
	s->t.mss = 536;
	s->client = pv->number;
	pv_slot_take(st, s, slot);
	st->nsocks++;
	sock_error(st, s, TE_CONNRESET);
}

/* The client that a socket of an earlier instance belongs to, if it is the same one still. */
static const struct pv *client_of(const struct tp_stack *st, const struct sock *s)
{
	const struct pv *pv = s->client < TP_CLIENTS ? PV(st, s) : NULL;

	return pv && pv->up && st->s->client_gen[pv->number] == pv->gen ? pv : NULL;
}

static void adopt_one(struct tp_stack *st, uint32_t i)
{
	struct sock *s = SOCK(st, i);
	const struct pv *pv = s->kind ? client_of(st, s) : NULL;

	if (pv && s->kind == SK_TCP && s->unsealed)
		torn_settle(s);
	if (pv && (s->check == sock_sum(s) || s->unsealed) && sock_sane(st, s)) {
		sock_revive(st, s);
		st->adopted++;
		STAT(st, Tcp_Adopted);
		return;
	}
	if (pv)
		tp_logf(st, "state: socket damaged, reset: number", NULL, i);
	if (s->kind)
		sock_discard(st, s, pv);
	if (!s->kind) {
		s->fnext = st->free_head;
		st->free_head = i;
	}
}

/* The clients' regions are there: take over what they and we knew of each other. */
void state_adopt(struct tp_stack *st)
{
	uint32_t last = 0;
	bool any = false;

	for (unsigned i = 0; i < TP_CLIENTS; i++)
		any |= st->pv[i].up;
	if (!any)
		return;
	st->adopting = false;
	for (uint32_t i = 1; i <= st->s->max_socks; i++) {
		if (SOCK(st, i)->kind)
			last = i;
	}
	st->high = last + 1;
	for (uint32_t i = 1; i < st->high; i++)
		adopt_one(st, i);
	for (uint32_t i = 1; i < st->high; i++) {
		if (SOCK(st, i)->kind == SK_TCP)
			child_revive(st, SOCK(st, i));
	}
	for (unsigned i = 0; i < TP_CLIENTS; i++) {
		if (st->pv[i].up)
			pv_serve(st, &st->pv[i]);
		else
			st->s->client_gen[i] = 0; /* who was not there has lost its sockets */
	}
	if (st->adopted)
		tp_logf(st, "state: sockets adopted:", NULL, st->adopted);
}
