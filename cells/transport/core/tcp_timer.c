/* SPDX-License-Identifier: ISC */
/*
 * TCP's timers. One retransmission deadline serves four purposes, of which only one can be
 * meant at a time (rtx_kind): the retransmission timeout (RFC 6298), the tail loss probe
 * and the reordering timer (RFC 8985), and the persist timer of a closed window.
 */
#include "tcp.h"

static uint32_t rto_ms(const struct tcp *t)
{
	uint64_t us = (uint64_t)(t->rto ? t->rto : RTO_INIT) << MIN(t->backoff, 16);

	return (uint32_t)(MIN(us, RTO_MAX) / 1000);
}

void tcp_arm_rto(struct tp_stack *st, struct sock *s)
{
	s->t.rtx_kind = RTX_RTO;
	timer_set(st, s, TMR_RTX, st->now_ms + rto_ms(&s->t));
}

void tcp_arm_persist(struct tp_stack *st, struct sock *s)
{
	s->t.rtx_kind = RTX_PERSIST;
	timer_set(st, s, TMR_RTX, st->now_ms + MIN(rto_ms(&s->t), 60000u));
}

static bool tlp_wanted(const struct sock *s)
{
	const struct tcp *t = &s->t;

	return t->flags & TF_SACK && t->ca_state == CA_OPEN && !t->sacked && t->srtt &&
	       !(t->flags & TF_TLP_PENDING) && !t->backoff &&
	       (s->state == TS_ESTABLISHED || s->state == TS_CLOSE_WAIT ||
		s->state == TS_FIN_WAIT1 || s->state == TS_LAST_ACK);
}

static void arm_tlp(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t pto = 2 * t->srtt;

	/* One segment in flight may wait for the peer's delayed ACK. */
	pto += t->snd_nxt - t->snd_una <= t->mss ? RTO_MIN : 2000;
	if (pto >= rto_ms(t) * 1000) {
		tcp_arm_rto(st, s);
		return;
	}
	t->rtx_kind = RTX_TLP;
	timer_set(st, s, TMR_RTX, st->now_ms + (pto + 999) / 1000);
}

/* Sees to it that whatever waits for the peer has a timer. After every output. */
void tcp_arm(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	if (s->kind != SK_TCP || s->state == TS_TIME_WAIT || s->state == TS_CLOSED)
		return;
	if (t->snd_una != t->snd_nxt) {
		if (t->rtx_kind == RTX_PERSIST || (t->rtx_kind && !s->dl[TMR_RTX]))
			t->rtx_kind = RTX_NONE;
		if (t->rtx_kind == RTX_TLP && !tlp_wanted(s))
			t->rtx_kind = RTX_NONE;
		if (t->rtx_kind != RTX_NONE)
			return;
		t->start_ms = t->backoff ? t->start_ms : st->now_ms;
		if (tlp_wanted(s))
			arm_tlp(st, s);
		else
			tcp_arm_rto(st, s);
	} else if (t->flags & TF_PROBING) {
		if (t->rtx_kind != RTX_PERSIST || !s->dl[TMR_RTX])
			tcp_arm_persist(st, s);
	} else if (t->rtx_kind != RTX_NONE) {
		t->rtx_kind = RTX_NONE;
		timer_clear(s, TMR_RTX);
	}
}

void tcp_keep_arm(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	if (t->flags & TF_KEEPALIVE && s->state == TS_ESTABLISHED)
		timer_set(st, s, TMR_KEEP, st->now_ms + t->keep_idle);
}

/* RFC 1191/2923: large segments with DF vanish, small ones would pass. */
static void blackhole_check(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t mss = t->mss > TCP_BASE_MSS ? TCP_BASE_MSS : 512;

	if (t->retries < 2 || t->retries % 2 || t->mss <= mss || !s->ifi ||
	    s->state < TS_ESTABLISHED || s->state == TS_SYN_SENT || s->state == TS_SYN_RCVD)
		return;
	STAT(st, Tcp_MTUPFail);
	t->flags |= TF_BLACKHOLE;
	t->base_mss = (uint16_t)mss;
	tcp_mss_sync(st, s);
}

static bool out_of_patience(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t limit =
	    s->slot == PVS_NO_SLOT && s->flags & SF_RELEASED ? ORPHAN_RETRIES : DATA_RETRIES;

	if (s->state == TS_SYN_SENT)
		limit = t->syn_retries ? t->syn_retries : SYN_RETRIES;
	if (s->state == TS_SYN_RCVD)
		limit = SYNACK_RETRIES;
	if (t->user_timeout && st->now_ms - t->start_ms >= t->user_timeout)
		return true;
	return t->retries >= limit;
}

/* Rebuilds the scoreboard as one record: after adoption, or when records ran out. */
static void rebuild(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	bool fin = t->flags & TF_FIN_SENT;

	if (t->seg_head || t->snd_una == t->snd_nxt)
		return;
	t->sacked = t->lost = t->retrans = 0;
	tcp_sent(st, s, t->snd_una, t->snd_nxt - t->snd_una, fin ? SG_FIN : 0);
}

static void rto_fired(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	if (t->snd_una == t->snd_nxt)
		return;
	if (out_of_patience(st, s)) {
		STAT(st, Tcp_AbortOnTimeout);
		tcp_abort(st, s, s->error ? (int)s->error : TE_TIMEDOUT,
			  s->state != TS_SYN_SENT && s->state != TS_SYN_RCVD);
		return;
	}
	STAT(st, Tcp_Timeouts);
	t->retries++;
	s->route_gen = 0; /* perhaps there is a better way by now */
	if (s->state == TS_SYN_SENT || s->state == TS_SYN_RCVD) {
		if (t->retries > 2 && s->state == TS_SYN_SENT)
			t->flags &= ~TF_ECN; /* RFC 3168 section 6.1.1.1 */
		t->flags |= TF_PROBING;
		tcp_send_syn(st, s);
		STAT(st, Tcp_RetransSegs);
		t->total_retrans++;
		t->undo_retrans++;
	} else {
		blackhole_check(st, s);
		rebuild(st, s);
		tcp_enter_loss(st, s);
		tcp_retransmit_head(st, s);
	}
	t->backoff++;
	tcp_arm_rto(st, s);
}

static void persist_fired(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t left = tcp_data_end(s) - t->snd_nxt;

	if (t->probes >= DATA_RETRIES ||
	    (t->user_timeout && t->probes && st->now_ms - t->start_ms >= t->user_timeout)) {
		tcp_abort(st, s, TE_TIMEDOUT, true);
		return;
	}
	if (!t->probes)
		t->start_ms = st->now_ms;
	/* A window too small for a full segment, but not closed: use it now. */
	if (t->snd_wnd && left) {
		uint32_t len = MIN(MIN(left, t->snd_wnd), t->mss);

		if (!tcp_xmit(st, s, t->snd_nxt, len, TH_ACK | TH_PSH)) {
			tcp_sent(st, s, t->snd_nxt, len, 0);
			t->snd_nxt += len;
			t->rtx_kind = RTX_NONE;
			tcp_arm(st, s);
			return;
		}
	}
	t->probes++;
	t->backoff += t->backoff < 12;
	tcp_probe(st, s);
	tcp_arm_persist(st, s);
}

static void keep_fired(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t idle = st->now_ms - t->last_rx_ms;

	if (s->state == TS_TIME_WAIT || s->state == TS_FIN_WAIT2) {
		tcp_closed(st, s, 0);
		return;
	}
	if (!(t->flags & TF_KEEPALIVE) || s->state == TS_CLOSED)
		return;
	if (idle < t->keep_idle || t->snd_una != t->snd_nxt) {
		t->keep_intvl_set = 0;
		timer_set(st, s, TMR_KEEP,
			  st->now_ms +
			      (idle < t->keep_idle ? t->keep_idle - idle : t->keep_idle));
		return;
	}
	if (t->keep_intvl_set >= t->keep_cnt ||
	    (t->user_timeout && t->keep_intvl_set && idle >= t->user_timeout)) {
		tcp_abort(st, s, TE_TIMEDOUT, true);
		return;
	}
	STAT(st, Tcp_KeepAlive);
	t->keep_intvl_set++;
	tcp_probe(st, s);
	timer_set(st, s, TMR_KEEP, st->now_ms + t->keep_intvl);
}

static void rtx_fired(struct tp_stack *st, struct sock *s)
{
	unsigned kind = s->t.rtx_kind;

	s->t.rtx_kind = RTX_NONE;
	switch (kind) {
	case RTX_RTO:
		rto_fired(st, s);
		break;
	case RTX_TLP:
		tcp_loss_probe(st, s);
		tcp_arm_rto(st, s);
		break;
	case RTX_REO:
		tcp_reo_timeout(st, s);
		tcp_output_later(st, s);
		break;
	case RTX_PERSIST:
		persist_fired(st, s);
		break;
	}
}

void tcp_timer(struct tp_stack *st, struct sock *s, unsigned which)
{
	sock_touch(st, s);
	switch (which) {
	case TMR_RTX:
		rtx_fired(st, s);
		break;
	case TMR_DELACK:
		STAT(st, Tcp_DelayedACKs);
		s->t.quick = 0;
		tcp_ack_now(st, s);
		break;
	case TMR_KEEP:
		keep_fired(st, s);
		break;
	case TMR_CORK:
		if (s->t.flags & (TF_CORK | TF_MORE)) {
			uint32_t cork = s->t.flags & TF_CORK;

			s->t.flags &= ~(TF_CORK | TF_MORE);
			tcp_output(st, s);
			if (s->kind == SK_TCP)
				s->t.flags |= cork;
		}
		break;
	}
}
