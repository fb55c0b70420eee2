/* SPDX-License-Identifier: ISC */
/*
 * How connections begin and end, seen from the application and from the state machine of
 * RFC 9293 section 3.3.2.
 *
 * Closing. RELEASE leaves a socket without an application but perhaps with data in the
 * client's ring: it keeps its slot until that data is acknowledged (tcp_drained), then
 * answers the request and lives on as an orphan through FIN-WAIT and TIME-WAIT. Unread data
 * at close means a reset, so that the peer learns that it was lost (RFC 2525 2.17).
 */
#include "tcp.h"

void tcp_mss_sync(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t h = ipa_is4(&s->raddr) ? 40 : 60, mss;

	if (!s->mtu)
		return;
	mss = MIN(s->mtu - h, t->peer_mss ? t->peer_mss : 536u);
	if (t->user_mss)
		mss = MIN(mss, t->user_mss);
	if (t->flags & TF_BLACKHOLE)
		mss = MIN(mss, t->base_mss);
	if (t->flags & TF_TS)
		mss -= 12;
	t->mss = (uint16_t)MAX(mss, TCP_MIN_MSS - 12);
}

int tcp_connect(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port)
{
	struct tcp *t = &s->t;
	struct dst d;
	int e;

	/* A connection that was never made may be tried again, as in Linux. */
	if (s->state == TS_CLOSED && t->flags & TF_RST_SENT && !t->rcv_nxt) {
		t->flags &= ~TF_RST_SENT;
		s->route_gen = 0;
	}
	if (s->state != TS_CLOSED || t->flags & TF_RST_SENT)
		return s->state == TS_SYN_SENT ? -TE_ALREADY : -TE_ISCONN;
	if (!ring_size(&s->rx) || !ring_size(&s->tx))
		return -TE_NOBUFS;
	e = sock_reaches(s, a);
	if (e)
		return e;
	e = route_lookup(st, a, s->flags & SF_BINDADDR ? &s->laddr : NULL, s->bound_if, &d);
	if (e)
		return e;
	if (d.multicast || d.broadcast)
		return -TE_NETUNREACH;
	s->raddr = *a;
	s->rport = port;
	if (!(s->flags & SF_BINDADDR) || share_is(st, &d.src)) {
		bool rehash = s->flags & SF_LHASHED;

		if (rehash)
			sock_unhash(st, s);
		s->laddr = d.src;
		if (rehash)
			sock_lhash(st, s);
	}
	e = share_is(st, &d.src) ? share_tcp_port(st, s) : sock_autobind(st, s);
	if (e)
		return e;
	if (sock_lookup(st, a, port, &s->laddr, s->lport, d.ifi))
		return -TE_ADDRNOTAVAIL;
	t->flags |= TF_TS | TF_SACK | TF_WS | (st->cfg.ecn == 1 ? TF_ECN : 0);
	t->iss = t->snd_una = tcp_isn(st, &s->laddr, s->lport, a, port);
	t->snd_nxt = t->iss + 1;
	t->snd_sml = t->snd_up = t->high_seq = t->snd_nxt;
	t->ts_off = (uint32_t)siphash(st->s->secret, &s->raddr, 16);
	t->adv_mss = tcp_adv_mss(st, a, &s->laddr, s->bound_if);
	if (t->user_mss)
		t->adv_mss = MIN(t->adv_mss, t->user_mss);
	t->mss = 536;
	t->rto = RTO_INIT;
	t->start_ms = t->last_rx_ms = st->now_ms;
	t->retries = t->backoff = 0;
	s->state = TS_SYN_SENT;
	STAT(st, Tcp_ActiveOpens);
	sock_hash(st, s);
	tcp_send_syn(st, s);
	tcp_arm_rto(st, s);
	sock_touch(st, s);
	return -TE_INPROGRESS;
}

int tcp_listen(struct tp_stack *st, struct sock *s, uint32_t backlog)
{
	int e;

	if (s->state != TS_CLOSED && s->state != TS_LISTEN)
		return -TE_INVAL;
	if (!(s->flags & SF_BOUND)) {
		struct ipa any =
		    s->domain == PVS_AF_INET ? ipa_from4(0) : (struct ipa){.q = {0, 0}};

		e = sock_bind(st, s, &any, 0);
		if (e)
			return e;
	}
	for (struct sock *o = lhash_first(st, SK_TCP, s->lport); o && s->state != TS_LISTEN;
	     o = o->lnext ? SOCK(st, o->lnext) : NULL) {
		if (o != s && o->kind == SK_TCP && o->state == TS_LISTEN &&
		    o->lport == s->lport && o->domain == s->domain &&
		    (ipa_eq(&o->laddr, &s->laddr) || ipa_any(&o->laddr) ||
		     ipa_any(&s->laddr)) &&
		    !(o->flags & s->flags & SF_REUSEPORT))
			return -TE_ADDRINUSE;
	}
	s->state = TS_LISTEN;
	s->t.backlog = MIN(MAX(backlog, 1u), 4096u);
	sock_touch(st, s);
	return 0;
}

/* ---- the accept queue ---- */

static void acceptq_put(struct tp_stack *st, struct sock *l, struct sock *s)
{
	uint32_t i = sock_index(st, s);

	sock_touch(st, l);
	s->anext = NIL;
	if (l->t.acc_tail) {
		sock_touch(st, SOCK(st, l->t.acc_tail));
		SOCK(st, l->t.acc_tail)->anext = i;
	} else
		l->t.acc_head = i;
	l->t.acc_tail = i;
	l->t.nacc++;
	s->t.flags |= TF_ACCEPTQ;
}

void tcp_acceptq_restore(struct tp_stack *st, struct sock *l, struct sock *s)
{
	acceptq_put(st, l, s);
}

static void acceptq_remove(struct tp_stack *st, struct sock *l, struct sock *s)
{
	uint32_t *p = &l->t.acc_head, i = sock_index(st, s), prev = NIL;

	while (*p && *p != i) {
		prev = *p;
		p = &SOCK(st, *p)->anext;
	}
	if (!*p)
		return;
	sock_touch(st, l);
	sock_touch(st, s);
	if (prev)
		sock_touch(st, SOCK(st, prev));
	*p = s->anext;
	if (l->t.acc_tail == i)
		l->t.acc_tail = prev;
	l->t.nacc--;
	s->t.flags &= ~TF_ACCEPTQ;
	s->anext = NIL;
}

struct sock *tcp_accept_peek(struct tp_stack *st, struct sock *l)
{
	return l->t.acc_head ? SOCK(st, l->t.acc_head) : NULL;
}

void tcp_accept_take(struct tp_stack *st, struct sock *l, struct sock *s)
{
	acceptq_remove(st, l, s);
	s->parent = NIL;
	if (s->state != TS_CLOSED)
		tcp_output_later(st, s);
}

/* A child that nobody accepted ends: its listener forgets it. */
void tcp_child_gone(struct tp_stack *st, struct sock *s)
{
	struct sock *l;

	if (s->state == TS_SYN_RCVD && st->nsyn)
		st->nsyn--;
	if (!s->parent)
		return;
	l = SOCK(st, s->parent);
	sock_touch(st, l);
	if (s->t.flags & TF_ACCEPTQ)
		acceptq_remove(st, l, s);
	else if (s->state == TS_SYN_RCVD && l->t.nsyn)
		l->t.nsyn--;
	s->parent = NIL;
}

void tcp_established(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	struct dst d;
	bool passive = s->state == TS_SYN_RCVD && s->parent;

	if (s->state == TS_SYN_RCVD && t->flags & TF_PASSIVE && st->nsyn)
		st->nsyn--;
	s->route_gen = 0;
	tcp_route(st, s, &d);
	tcp_mss_sync(st, s);
	cc_init(st, s);
	if (t->undo_retrans) /* RFC 6298 section 5.7: SYN was lost */
		t->cwnd = t->mss;
	t->undo_retrans = 0;
	if (t->undo_retrans || (t->total_retrans && !t->srtt))
		t->rto = 3 * USEC_PER_SEC;
	t->rtx_kind = RTX_NONE;
	timer_clear(s, TMR_RTX);
	t->backoff = t->retries = 0;
	t->flags &= ~TF_PROBING;
	t->snd_sml = t->snd_una;
	t->dsack_round = t->rack_fack = t->snd_una;
	t->reo_mult = 1;
	t->last_rx_ms = t->last_tx_ms = st->now_ms;
	s->state = TS_ESTABLISHED;
	tcp_keep_arm(st, s);
	if (passive) {
		struct sock *l = SOCK(st, s->parent);

		sock_touch(st, l);
		if (l->t.nsyn)
			l->t.nsyn--;
		STAT(st, Tcp_PassiveOpens);
		t->quick = QUICKACKS;
		early_take(st, &s->rx);
		acceptq_put(st, l, s);
	}
	neigh_confirm(st, s->neigh);
	tcp_output_later(st, s);
}

/* ---- endings ---- */

/* The connection is gone. err 0: in order. */
void tcp_closed(struct tp_stack *st, struct sock *s, int err)
{
	/* Whoever accepts it hears of its end then, as in Linux. */
	bool waits = s->t.flags & TF_ACCEPTQ && err != TE_CONNABORTED;

	sock_touch(st, s);
	if (!waits)
		tcp_child_gone(st, s);
	tcp_scoreboard_drop(st, s);
	timer_remove(st, s);
	if (s->state == TS_TIME_WAIT && st->ntw)
		st->ntw--;
	s->state = TS_CLOSED;
	s->t.rtx_kind = RTX_NONE;
	s->t.flags &= ~(TF_ACK_NOW | TF_PROBING);
	s->t.flags |= TF_RST_SENT; /* nothing more goes out, and no second connect */
	sock_unhash(st, s);
	if (err)
		sock_error(st, s, err);
	if (s->flags & SF_RELEASED)
		pv_release_due(st, s);
	if (s->slot == PVS_NO_SLOT && !waits)
		sock_free(st, s);
}

static void listener_close(struct tp_stack *st, struct sock *l)
{
	uint32_t me = sock_index(st, l);

	for (uint32_t i = 1; i < st->high && (l->t.nacc || l->t.nsyn); i++) {
		struct sock *s = SOCK(st, i);

		if (s->kind != SK_TCP || s->parent != me)
			continue;
		if (s->state == TS_CLOSED) { /* waited to be accepted */
			tcp_child_gone(st, s);
			sock_free(st, s);
		} else {
			tcp_abort(st, s, TE_CONNABORTED, true);
		}
	}
	l->t.nacc = l->t.nsyn = 0;
	l->t.acc_head = l->t.acc_tail = NIL;
}

void tcp_abort(struct tp_stack *st, struct sock *s, int err, bool rst)
{
	if (s->state == TS_CLOSED)
		return;
	sock_touch(st, s);
	if (s->state == TS_LISTEN)
		listener_close(st, s);
	if (rst && s->state != TS_SYN_SENT && s->state != TS_LISTEN && s->state != TS_TIME_WAIT)
		tcp_send_rst(st, s);
	tcp_closed(st, s, err);
}

void tcp_time_wait(struct tp_stack *st, struct sock *s)
{
	tcp_scoreboard_drop(st, s);
	s->t.rtx_kind = RTX_NONE;
	timer_clear(s, TMR_RTX);
	timer_clear(s, TMR_CORK);
	if (s->state != TS_TIME_WAIT)
		st->ntw++;
	s->state = TS_TIME_WAIT;
	timer_set(st, s, TMR_KEEP, st->now_ms + st->cfg.time_wait_ms);
	sock_touch(st, s);
}

/* Nobody reads any more: the peer's FIN is waited for so long. false: not at all. */
bool tcp_orphan_wait(struct tp_stack *st, struct sock *s)
{
	if (s->t.linger2_ms == LINGER2_NONE) {
		tcp_abort(st, s, 0, true);
		return false;
	}
	timer_set(st, s, TMR_KEEP,
		  st->now_ms + (s->t.linger2_ms ? s->t.linger2_ms : FIN_WAIT2_MS));
	return true;
}

void tcp_fin_acked(struct tp_stack *st, struct sock *s)
{
	switch (s->state) {
	case TS_FIN_WAIT1:
		s->state = TS_FIN_WAIT2;
		if (s->flags & SF_RELEASED && !tcp_orphan_wait(st, s))
			return;
		break;
	case TS_CLOSING:
		tcp_time_wait(st, s);
		break;
	case TS_LAST_ACK:
		tcp_closed(st, s, 0);
		return;
	}
	sock_touch(st, s);
}

/* Data was acknowledged: give the ring's space back, and a released slot when all is. */
void tcp_drained(struct tp_stack *st, struct sock *s)
{
	uint32_t idx = tcp_tx_index(s, s->t.snd_una);

	if (s->t.flags & TF_FIN_SENT && s->t.snd_una == s->t.snd_nxt)
		idx--;
	if ((int32_t)(idx - s->tx_cons) > 0)
		s->tx_cons = idx;
	sock_touch(st, s);
	if (s->flags & SF_RELEASED && s->slot != PVS_NO_SLOT && s->tx_prod == s->tx_cons)
		pv_release_due(st, s);
}

static void send_fin(struct tp_stack *st, struct sock *s)
{
	s->t.flags |= TF_FIN_QUEUED;
	if (s->state == TS_ESTABLISHED || s->state == TS_SYN_RCVD)
		s->state = TS_FIN_WAIT1;
	else if (s->state == TS_CLOSE_WAIT)
		s->state = TS_LAST_ACK;
	tcp_output_later(st, s);
}

int tcp_shutdown(struct tp_stack *st, struct sock *s, uint32_t how)
{
	uint32_t avail;

	if (how > 2)
		return -TE_INVAL;
	if (s->state == TS_LISTEN) {
		if (how != 1)
			tcp_release(st, s, false); /* stops listening, keeps the slot */
		return 0;
	}
	if (s->state == TS_SYN_SENT) { /* Linux: no more of that, and another may be tried */
		tcp_closed(st, s, 0);
		s->t.flags &= ~TF_RST_SENT;
		s->route_gen = 0;
		return 0;
	}
	if (s->state == TS_CLOSED || s->state == TS_TIME_WAIT)
		return -TE_NOTCONN;
	if (how != 1)
		s->flags |= SF_SHUT_RD;
	if (how != 0 && !(s->t.flags & TF_FIN_QUEUED)) {
		if (!sock_tx_avail(st, s, &avail)) {
			tcp_abort(st, s, TE_PROTO, true);
			return -TE_PROTO;
		}
		send_fin(st, s);
	}
	sock_touch(st, s);
	return 0;
}

/* close(): with SF_RELEASED set by the caller, or a listener's shutdown. */
void tcp_release(struct tp_stack *st, struct sock *s, bool abort)
{
	uint32_t avail = 0, room = 0;
	bool bad;

	if (s->state == TS_LISTEN) {
		listener_close(st, s);
		if (s->flags & SF_RELEASED) {
			tcp_closed(st, s, 0);
		} else {
			s->state = TS_CLOSED;
			sock_touch(st, s);
		}
		return;
	}
	if (s->flags & SF_LINGER && !s->t.linger_ms)
		abort = true;
	switch (s->state) {
	case TS_CLOSED:
	case TS_SYN_SENT:
		tcp_closed(st, s, 0);
		return;
	case TS_SYN_RCVD:
	case TS_ESTABLISHED:
	case TS_CLOSE_WAIT:
		s->flags &= (uint16_t)~SF_RELEASED; /* for one last look at the indexes */
		bad = !sock_tx_avail(st, s, &avail) || !sock_rx_room(st, s, &room);
		s->flags |= SF_RELEASED;
		if (bad || abort || (ring_size(&s->rx) && room < ring_size(&s->rx))) {
			tcp_abort(st, s, 0, true);
			return;
		}
		send_fin(st, s);
		break;
	case TS_FIN_WAIT2:
		if (!tcp_orphan_wait(st, s))
			return;
		break;
	default:
		if (abort && s->state != TS_TIME_WAIT) {
			tcp_abort(st, s, 0, true);
			return;
		}
	}
	timer_clear(s, TMR_CORK);
	s->t.flags &= ~TF_CORK;
	if (s->state == TS_TIME_WAIT || s->tx_prod == s->tx_cons)
		pv_release_due(st, s);
	else
		sock_touch(st, s);
}

/* The client rang: data to send, space to receive, urgent data. */
void tcp_kick(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	struct pvs_slot *p;
	uint32_t fl, urg;

	if (s->state == TS_CLOSED || s->state == TS_LISTEN || s->state == TS_SYN_SENT ||
	    s->flags & SF_RELEASED)
		return;
	sock_touch(st, s);
	p = &PV(st, s)->slot[s->slot];
	fl = __atomic_load_n(&p->tx_flags, __ATOMIC_RELAXED);
	urg = __atomic_load_n(&p->tx_urg, __ATOMIC_RELAXED);
	if (fl & PVS_TX_URG && urg - s->tx_cons <= ring_size(&s->tx) && urg != s->tx_cons) {
		t->snd_up = urg + t->iss + 1;
		t->flags |= TF_URG_OUT;
	} else if (t->flags & TF_URG_OUT && SEQ_LE(t->snd_up, t->snd_una)) {
		t->flags &= ~TF_URG_OUT;
	}
	t->flags = fl & PVS_TX_MORE ? t->flags | TF_MORE : t->flags & ~TF_MORE;
	tcp_window_check(st, s);
	if (s->state == TS_CLOSED || s->kind == SK_FREE)
		return;
	tcp_output_later(st, s);
}

/* A full table: the connection that has rested longest makes room. */
bool tcp_recycle_time_wait(struct tp_stack *st)
{
	struct sock *best = NULL;

	/* Once a millisecond is enough for who finds nothing. */
	if (!st->ntw && st->recycle_ms == st->now_ms)
		return false;
	st->recycle_ms = st->now_ms;
	for (uint32_t i = 1; i < st->high; i++) {
		struct sock *s = SOCK(st, i);

		if (s->kind == SK_TCP && s->slot == PVS_NO_SLOT &&
		    (s->state == TS_TIME_WAIT ||
		     (s->state == TS_FIN_WAIT2 && s->flags & SF_RELEASED)) &&
		    !(s->flags & SF_DIRTY) &&
		    (!best || (int32_t)(s->dl[TMR_KEEP] - best->dl[TMR_KEEP]) < 0))
			best = s;
	}
	if (!best)
		return false;
	STAT(st, Tcp_TimeWaitRecycled);
	tcp_closed(st, best, 0);
	sock_reclaim_now(st, best);
	return true;
}

/* The cable is back: do not wait out a long backoff. */
void tcp_link_up(struct tp_stack *st)
{
	for (uint32_t i = 1; i < st->high; i++) {
		struct sock *s = SOCK(st, i);

		if (s->kind != SK_TCP)
			continue;
		sock_touch(st, s);
		if (s->t.backoff && s->t.rtx_kind == RTX_RTO) {
			s->t.backoff = 0;
			timer_set(st, s, TMR_RTX, st->now_ms + 1 + tp_random32(st) % 50);
		}
		tcp_output_later(st, s);
	}
}

/*
 * An ICMP error that quotes a segment of ours (RFC 5927): believed only if the sequence
 * number is in flight. Fatal only before the connection is established.
 */
void tcp_icmp(struct tp_stack *st, struct sock *s, uint32_t seq, int err, uint32_t mtu)
{
	struct tcp *t = &s->t;

	if (s->state == TS_TIME_WAIT || SEQ_LT(seq, t->snd_una) || SEQ_GE(seq, t->snd_nxt))
		return;
	sock_touch(st, s);
	if (err == TE_MSGSIZE && mtu) {
		uint32_t was = s->mtu;

		if (!s->ifi || mtu >= s->mtu)
			return;
		pmtu_update(st, &s->raddr, mtu);
		s->route_gen = 0;
		tcp_output_later(st, s);
		if (was && s->state != TS_SYN_SENT && s->state != TS_SYN_RCVD) {
			struct dst d;

			tcp_route(st, s, &d);
			/* Not congestion: send again at once, smaller, without a cut. */
			tcp_mark_all_lost(st, s);
			if (t->ca_state < CA_RECOVERY) {
				t->ca_state = CA_LOSS;
				t->high_seq = t->snd_nxt;
				t->flags &= ~TF_UNDO;
			}
		}
		return;
	}
	if (err == TE_MSGSIZE)
		return;
	if (s->state == TS_SYN_SENT)
		tcp_abort(st, s, err, false);
	else
		s->error = (uint32_t)err; /* soft: told if the connection times out */
}
