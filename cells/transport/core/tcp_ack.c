/* SPDX-License-Identifier: ISC */
/*
 * Acknowledgements: the scoreboard, round-trip times, loss detection, recovery.
 *
 * Model. What is in flight is a list of records in sequence order, each a run of bytes
 * sent at one time. A record is in flight, SACKed, lost, or lost and sent again; `sacked`,
 * `lost` and `retrans` count their bytes, so
 *	pipe = (snd_nxt - snd_una) - sacked - lost + retrans.
 * SACK blocks that end inside a record split it. Records come from a pool of the stack;
 * when it is empty neighbours are merged, which only makes a retransmission coarser.
 *
 * Loss detection is RACK-TLP (RFC 8985) where the peer has SACK, NewReno (RFC 6582)
 * where it has not. The window is cut once per episode, spread by proportional rate
 * reduction (RFC 6937), and restored when timestamps (Eifel, RFC 3522) or D-SACKs
 * (RFC 3708) show that nothing had been lost.
 */
#include "tcp.h"

/* ---- records ---- */

static struct seg *seg_at(struct tp_stack *st, uint32_t i)
{
	return i ? &st->segs[i] : NULL;
}

static uint32_t seg_get(struct tp_stack *st)
{
	uint32_t i = st->seg_free;

	if (i)
		/* NOLINTNEXTLINE: numbers other than 0 come from segs[] */
		st->seg_free = st->segs[i].next;
	else if (st->seg_high < st->seg_count)
		i = st->seg_high++;
	else
		STAT(st, Tcp_RecordsExhausted);
	return i;
}

static void seg_put(struct tp_stack *st, uint32_t i)
{
	st->segs[i].next = st->seg_free;
	st->seg_free = i;
}

/* Enters new data into the scoreboard. */
void tcp_sent(struct tp_stack *st, struct sock *s, uint32_t seq, uint32_t len, uint8_t flags)
{
	struct tcp *t = &s->t;
	struct seg *tail = seg_at(st, t->seg_tail);
	uint32_t i;

	/* What was sent in one go, or finds no record, joins the record before it. */
	if (tail && !tail->flags && tail->xmit == st->now && tail->len + len <= TSO_MAX) {
		tail->len += len;
		tail->flags = flags;
		return;
	}
	i = seg_get(st);
	if (!i) {
		if (tail && !(tail->flags & (SG_SACKED | SG_LOST | SG_RETRANS))) {
			tail->len += len;
			tail->flags |= flags;
			tail->xmit = st->now;
		} else {
			t->flags |= TF_TX_WANT; /* unrecorded: the RTO finds it missing */
		}
		return;
	}
	/* NOLINTNEXTLINE: numbers other than 0 come from segs[] */
	st->segs[i] =
	    (struct seg){.seq = seq, .len = len, .flags = flags, .txcount = 1, .xmit = st->now};
	if (tail)
		tail->next = i;
	else
		t->seg_head = i;
	t->seg_tail = i;
}

/* Cuts g after len bytes; returns the second part, NULL if there is no record for it. */
struct seg *tcp_seg_split(struct tp_stack *st, struct sock *s, struct seg *g, uint32_t len)
{
	uint32_t i = seg_get(st);
	struct seg *n;

	if (!i)
		return NULL;
	n = &st->segs[i];
	*n = *g;
	n->seq += len;
	n->len -= len;
	g->len = len;
	g->flags &= (uint8_t)~SG_FIN;
	g->next = i;
	if (s->t.seg_tail == (uint32_t)(g - st->segs))
		s->t.seg_tail = i;
	return n;
}

void tcp_scoreboard_drop(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t i = t->seg_head, next;

	for (; i; i = next) {
		next = st->segs[i].next;
		seg_put(st, i);
	}
	t->seg_head = t->seg_tail = NIL;
	t->sacked = t->lost = t->retrans = 0;
}

static void seg_uncount(struct tcp *t, struct seg *g)
{
	if (g->flags & SG_SACKED)
		t->sacked -= g->len;
	if (g->flags & SG_LOST)
		t->lost -= g->len;
	if (g->flags & SG_RETRANS)
		t->retrans -= g->len;
}

/* Also for a retransmission that was lost in its turn. */
void tcp_mark_lost(struct sock *s, struct seg *g)
{
	if (g->flags & SG_RETRANS) {
		s->t.retrans -= g->len;
		g->flags &= (uint8_t)~SG_RETRANS;
	}
	if (!(g->flags & SG_LOST)) {
		g->flags |= SG_LOST;
		s->t.lost += g->len;
	}
}

void tcp_mark_all_lost(struct tp_stack *st, struct sock *s)
{
	for (struct seg *g = seg_at(st, s->t.seg_head); g; g = seg_at(st, g->next)) {
		if (!(g->flags & SG_SACKED))
			tcp_mark_lost(s, g);
	}
}

/* ---- round-trip time, RFC 6298 ---- */

void tcp_rtt_sample(struct tp_stack *st, struct sock *s, uint32_t us)
{
	struct tcp *t = &s->t;

	us = MIN(MAX(us, 1u), 60u * USEC_PER_SEC);
	if (!t->srtt) {
		t->srtt = us;
		t->rttvar = us / 2;
	} else {
		uint32_t err = us > t->srtt ? us - t->srtt : t->srtt - us;

		t->rttvar += (uint32_t)((int32_t)(err - t->rttvar) / 4);
		t->srtt = (uint32_t)((int64_t)t->srtt + ((int64_t)us - t->srtt) / 8);
	}
	t->rto = MIN(t->srtt + MAX(4 * t->rttvar, RTO_MIN), RTO_MAX);
	if (!t->min_rtt || us <= t->min_rtt || st->now_ms - t->min_rtt_ms > 300000) {
		t->min_rtt = us;
		t->min_rtt_ms = st->now_ms;
	}
}

/* ---- RACK ---- */

static bool sent_after(uint64_t t1, uint32_t end1, uint64_t t2, uint32_t end2)
{
	return t1 > t2 || (t1 == t2 && SEQ_GT(end1, end2));
}

/* RFC 8985 section 6.2 step 2. */
static void rack_update(struct tp_stack *st, struct tcp *t, const struct seg *g,
			const struct segin *in)
{
	uint32_t rtt = (uint32_t)(st->now - g->xmit), end = g->seq + g->len;

	if (g->flags & SG_EVER) {
		if (t->flags & TF_TS && in->ts && SEQ_LT(in->tsecr, t->retrans_ts))
			return;
		if (rtt < t->min_rtt)
			return;
	}
	t->rack_rtt = rtt;
	if (sent_after(g->xmit, end, t->rack_time, t->rack_end)) {
		t->rack_time = g->xmit;
		t->rack_end = end;
	}
}

/* Step 3: something below the highest delivered sequence arrived late, first time sent. */
static void rack_reordering(struct tcp *t, const struct seg *g)
{
	uint32_t end = g->seq + g->len;

	if (SEQ_GT(end, t->rack_fack))
		t->rack_fack = end;
	else if (SEQ_LT(end, t->rack_fack) && !(g->flags & SG_EVER))
		t->flags |= TF_REO_SEEN;
}

static uint32_t rack_window(const struct tcp *t)
{
	if (!(t->flags & TF_REO_SEEN)) {
		if (t->ca_state >= CA_RECOVERY || t->sacked >= 3u * t->mss)
			return 0;
	}
	return MIN(MAX(t->reo_mult, 1u) * (t->min_rtt / 4), t->srtt);
}

/* Step 5: marks losses; returns how long (us) until another look is due, 0: none. */
uint32_t tcp_rack_detect(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t reo = rack_window(t), wait = 0;

	if (!t->rack_time)
		return 0;
	for (struct seg *g = seg_at(st, t->seg_head); g; g = seg_at(st, g->next)) {
		int64_t left;

		if (g->flags & SG_SACKED || (g->flags & SG_LOST && !(g->flags & SG_RETRANS)))
			continue;
		if (!sent_after(t->rack_time, t->rack_end, g->xmit, g->seq + g->len))
			continue;
		left = (int64_t)(g->xmit + t->rack_rtt + reo) - (int64_t)st->now;
		if (left <= 0)
			tcp_mark_lost(s, g);
		else
			wait = MAX(wait, (uint32_t)left);
	}
	return wait;
}

/* ---- recovery ---- */

static void undo_init(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	t->prior_cwnd = t->cwnd;
	t->prior_ssthresh = t->ssthresh;
	t->undo_marker = t->snd_una;
	t->undo_retrans = 0;
	t->retrans_ts = tcp_tsval(st, s);
	t->flags |= TF_UNDO;
}

static void prr_start(struct sock *s)
{
	struct tcp *t = &s->t;

	t->recover_fs = MAX(t->snd_nxt - t->snd_una, 1u);
	t->prr_delivered = t->prr_out = 0;
}

static void enter_cwr(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	t->flags &= ~TF_UNDO;
	t->prior_cwnd = t->cwnd;
	t->ssthresh = cc_ssthresh(st, s);
	cc_reduced(st, s);
	t->high_seq = t->snd_nxt;
	t->ca_state = CA_CWR;
	prr_start(s);
	if (t->flags & TF_ECN)
		t->flags |= TF_SEND_CWR;
}

void tcp_enter_recovery(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	STAT(st, Tcp_FastRetrans);
	if (t->ca_state < CA_CWR) {
		undo_init(st, s);
		t->ssthresh = cc_ssthresh(st, s);
		cc_reduced(st, s);
		if (t->flags & TF_ECN)
			t->flags |= TF_SEND_CWR;
	}
	t->high_seq = t->snd_nxt;
	t->ca_state = CA_RECOVERY;
	prr_start(s);
}

void tcp_enter_loss(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	if (t->ca_state < CA_LOSS || SEQ_GE(t->snd_una, t->high_seq)) {
		if (t->ca_state < CA_CWR || SEQ_GE(t->snd_una, t->high_seq)) {
			undo_init(st, s);
			t->ssthresh = cc_ssthresh(st, s);
		}
		cc_reduced(st, s);
	}
	t->retrans_ts = tcp_tsval(st, s);
	t->high_seq = t->snd_nxt;
	t->ca_state = CA_LOSS;
	t->dupacks = 0;
	t->cwnd = t->mss;
	t->flags &= ~TF_TLP_PENDING;
	if (t->flags & TF_ECN)
		t->flags |= TF_SEND_CWR;
	tcp_mark_all_lost(st, s);
}

static void undo(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	STAT(st, Tcp_SpuriousRTOs);
	for (struct seg *g = seg_at(st, t->seg_head); g; g = seg_at(st, g->next)) {
		if (g->flags & SG_LOST && !(g->flags & SG_RETRANS)) {
			g->flags &= (uint8_t)~SG_LOST;
			t->lost -= g->len;
		}
	}
	cc_undo(s);
	t->flags &= ~(TF_UNDO | TF_SEND_CWR);
	t->ca_state = CA_OPEN;
	t->backoff = 0;
}

static bool undo_due(struct tcp *t, const struct segin *in, const struct ackres *r)
{
	if (!(t->flags & TF_UNDO) || t->ca_state < CA_RECOVERY)
		return false;
	if (t->flags & TF_TS && in->ts && in->tsecr && r->acked &&
	    SEQ_LT(in->tsecr, t->retrans_ts))
		return true;
	return t->undo_retrans && r->dsacked >= t->undo_retrans;
}

/* RFC 6937 with its conservative bound. */
static void prr(struct tcp *t, const struct sock *s, uint32_t delivered, bool progress)
{
	uint32_t pipe = tcp_pipe(s), n;

	t->prr_delivered += delivered;
	if (pipe > t->ssthresh) {
		uint64_t want = ((uint64_t)t->prr_delivered * t->ssthresh + t->recover_fs - 1) /
				t->recover_fs;

		n = want > t->prr_out ? (uint32_t)(want - t->prr_out) : 0;
	} else {
		uint32_t limit =
		    t->prr_delivered > t->prr_out ? t->prr_delivered - t->prr_out : 0;

		limit = MAX(limit, delivered) + (progress ? t->mss : 0);
		n = MIN(t->ssthresh - pipe, limit);
	}
	if (!t->prr_out && n < t->mss && t->lost)
		n = t->mss; /* the first retransmission always goes */
	t->cwnd = MAX(pipe + n, t->mss);
}

static void recovery_done(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	if (t->ca_state == CA_RECOVERY || t->ca_state == CA_CWR)
		t->cwnd = MIN(t->ssthresh, MAX(t->cwnd, tcp_pipe(s) + t->mss * 3u));
	if (t->ca_state == CA_RECOVERY)
		t->cwnd = t->ssthresh;
	t->ca_state = CA_OPEN;
	t->flags &= ~TF_UNDO;
	t->dupacks = 0;
}

/* Without SACK every duplicate stands for one segment that left the network. */
static void newreno(struct tp_stack *st, struct sock *s, bool dup, uint32_t acked)
{
	struct tcp *t = &s->t;
	struct seg *g;

	if (dup && t->dupacks < 255)
		t->dupacks++;
	if (acked && t->ca_state == CA_RECOVERY && SEQ_LT(t->snd_una, t->high_seq)) {
		g = seg_at(st, t->seg_head); /* partial acknowledgement: the next hole */
	} else if (dup && t->dupacks == 3 && t->ca_state < CA_RECOVERY) {
		g = seg_at(st, t->seg_head);
	} else {
		if (acked && t->ca_state < CA_RECOVERY)
			t->dupacks = 0;
		return;
	}
	if (!g || g->flags & SG_RETRANS)
		return;
	if (g->len > t->mss)
		tcp_seg_split(st, s, g, t->mss);
	tcp_mark_lost(s, g);
}

/* ---- SACK ---- */

static bool sack_sane(const struct tcp *t, const struct seqrange *b)
{
	return SEQ_LT(b->start, b->end) && SEQ_GT(b->end, t->snd_una) &&
	       SEQ_LE(b->end, t->snd_nxt) && SEQ_GE(b->start, t->snd_una);
}

static void sack_seg(struct tp_stack *st, struct sock *s, struct seg *g, const struct segin *in,
		     struct ackres *r)
{
	struct tcp *t = &s->t;

	rack_update(st, t, g, in);
	rack_reordering(t, g);
	if (!(g->flags & SG_EVER))
		r->sack_rtt = (uint32_t)(st->now - g->xmit);
	if (g->flags & SG_LOST)
		t->lost -= g->len;
	if (g->flags & SG_RETRANS)
		t->retrans -= g->len;
	g->flags &= (uint8_t) ~(SG_LOST | SG_RETRANS);
	g->flags |= SG_SACKED;
	t->sacked += g->len;
	r->sacked += g->len;
}

static void sack_block(struct tp_stack *st, struct sock *s, const struct seqrange *b,
		       const struct segin *in, struct ackres *r)
{
	struct seg *g = seg_at(st, s->t.seg_head);

	for (; g && SEQ_LT(g->seq, b->end); g = seg_at(st, g->next)) {
		uint32_t end = g->seq + g->len;

		if (g->flags & SG_SACKED || SEQ_LE(end, b->start))
			continue;
		if (SEQ_LT(g->seq, b->start)) {
			tcp_seg_split(st, s, g, b->start - g->seq);
			continue; /* the second part comes next; without one: leave it */
		}
		if (SEQ_GT(end, b->end) && !tcp_seg_split(st, s, g, b->end - g->seq))
			break;
		sack_seg(st, s, g, in, r);
	}
}

static void sack_process(struct tp_stack *st, struct sock *s, const struct segin *in,
			 struct ackres *r)
{
	struct tcp *t = &s->t;
	unsigned i = 0;

	/* A first block below the acknowledgement or inside the second: RFC 2883. */
	if (in->nsack && (SEQ_LT(in->sack[0].start, in->ack) ||
			  (in->nsack > 1 && SEQ_GE(in->sack[0].start, in->sack[1].start) &&
			   SEQ_LE(in->sack[0].end, in->sack[1].end)))) {
		uint32_t n = in->sack[0].end - in->sack[0].start;

		if (n && n <= t->max_wnd + 65535u) {
			STAT(st, Tcp_DSACKRecv);
			r->dsacked = n;
			t->flags |= TF_SAW_DSACK;
			if (SEQ_GE(t->snd_una, t->dsack_round)) {
				t->reo_mult = (uint8_t)MIN(t->reo_mult + 1, 20);
				t->reo_persist = 16;
				t->dsack_round = t->snd_nxt;
			}
		}
		i = 1;
	}
	for (; i < in->nsack; i++) {
		if (sack_sane(t, &in->sack[i]))
			sack_block(st, s, &in->sack[i], in, r);
	}
}

/* Takes acknowledged records off the list. */
static void scoreboard_ack(struct tp_stack *st, struct sock *s, const struct segin *in,
			   struct ackres *r)
{
	struct tcp *t = &s->t;
	uint32_t i;

	while ((i = t->seg_head)) {
		struct seg *g = &st->segs[i];
		uint32_t end = g->seq + g->len;

		if (SEQ_LE(in->ack, g->seq))
			break;
		if (SEQ_GT(end, in->ack)) {
			uint32_t n = in->ack - g->seq;

			if (g->flags & SG_SACKED) {
				t->sacked -= n;
				r->resacked += n;
			}
			if (g->flags & SG_LOST)
				t->lost -= n;
			if (g->flags & SG_RETRANS)
				t->retrans -= n;
			g->seq += n;
			g->len -= n;
			break;
		}
		if (g->flags & SG_EVER)
			r->retrans_acked += g->len;
		else if (!r->oldest)
			r->oldest = g->xmit;
		if (!(g->flags & SG_SACKED)) {
			rack_update(st, t, g, in);
			if (t->sacked)
				rack_reordering(t, g);
		} else {
			r->resacked += g->len;
		}
		seg_uncount(t, g);
		t->seg_head = g->next;
		if (!t->seg_head)
			t->seg_tail = NIL;
		seg_put(st, i);
	}
	if (r->oldest && !r->retrans_acked)
		r->rtt = (uint32_t)MAX(st->now - r->oldest, 1u);
}

/* RFC 8985 section 7.4: did the tail loss probe repair a loss? */
static void tlp_process(struct tp_stack *st, struct sock *s, const struct segin *in,
			const struct ackres *r)
{
	struct tcp *t = &s->t;

	if (!(t->flags & TF_TLP_PENDING) || SEQ_LT(in->ack, t->tlp_end))
		return;
	t->flags &= ~TF_TLP_PENDING;
	if (!(t->flags & TF_TLP_RETRANS) || r->dsacked)
		return;
	if (SEQ_GT(in->ack, t->tlp_end) || !in->len) {
		enter_cwr(st, s); /* the original was lost */
		t->cwnd = t->ssthresh;
		t->ca_state = CA_OPEN;
	}
}

static void window_update(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t wnd = in->wnd << t->snd_ws;

	if (SEQ_LT(t->snd_wl1, in->seq) ||
	    (t->snd_wl1 == in->seq &&
	     (SEQ_LT(t->snd_wl2, in->ack) || (t->snd_wl2 == in->ack && wnd > t->snd_wnd)))) {
		t->snd_wnd = wnd;
		t->snd_wl1 = in->seq;
		t->snd_wl2 = in->ack;
		t->max_wnd = MAX(t->max_wnd, wnd);
	} else if (t->snd_wl1 == in->seq && t->snd_wl2 == in->ack) {
		t->snd_wnd = wnd;
	}
}

static void ecn_echo(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;

	if (!(t->flags & TF_ECN) || !(in->flags & TH_ECE) || in->flags & TH_SYN)
		return;
	STAT(st, Tcp_ECERecv);
	if (t->ca_state < CA_CWR)
		enter_cwr(st, s);
}

static void recovery_step(struct tp_stack *st, struct sock *s, const struct segin *in,
			  struct ackres *r, bool dup)
{
	struct tcp *t = &s->t;
	uint32_t wait = 0;

	if (undo_due(t, in, r))
		undo(st, s);
	if (!(t->flags & TF_SACK))
		newreno(st, s, dup, r->acked);
	else if (t->sacked || t->retrans || t->lost)
		wait = tcp_rack_detect(st, s);
	if (t->ca_state >= CA_CWR && SEQ_GE(t->snd_una, t->high_seq)) {
		if (t->ca_state == CA_RECOVERY && t->reo_persist && !--t->reo_persist)
			t->reo_mult = 1;
		recovery_done(st, s);
	}
	if (t->lost && t->ca_state < CA_RECOVERY)
		tcp_enter_recovery(st, s);
	else if (t->ca_state < CA_CWR)
		t->ca_state = t->sacked || t->dupacks ? CA_DISORDER : CA_OPEN;
	if (t->ca_state == CA_RECOVERY || t->ca_state == CA_CWR) {
		uint32_t delivered = r->acked + r->sacked - r->resacked;

		if (!(t->flags & TF_SACK))
			delivered = dup ? t->mss : r->acked;
		prr(t, s, delivered, r->acked && !wait);
	} else if (r->acked && t->flags & TF_CWND_LIM) {
		cc_acked(st, s, r->acked, r->rtt);
	}
	if (wait) {
		t->rtx_kind = RTX_REO;
		timer_set(st, s, TMR_RTX, st->now_ms + wait / 1000 + 1);
	} else if (t->rtx_kind == RTX_REO) {
		t->rtx_kind = RTX_NONE;
	}
}

void tcp_reo_timeout(struct tp_stack *st, struct sock *s)
{
	uint32_t wait = tcp_rack_detect(st, s);

	if (s->t.lost && s->t.ca_state < CA_RECOVERY) {
		tcp_enter_recovery(st, s);
		prr(&s->t, s, 0, false);
	}
	if (wait) {
		s->t.rtx_kind = RTX_REO;
		timer_set(st, s, TMR_RTX, st->now_ms + wait / 1000 + 1);
	}
}

/* The ACK field of an acceptable segment. false: drop the segment. */
bool tcp_ack(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	struct ackres r = {0};
	uint32_t flight = t->snd_nxt - t->snd_una, wnd = t->snd_wnd;
	bool dup;

	/* RFC 5961 section 5.2. */
	if (SEQ_GT(in->ack, t->snd_nxt) || SEQ_LT(in->ack, t->snd_una - t->max_wnd)) {
		if (tcp_challenge_ok(st, s))
			tcp_ack_now(st, s);
		return false;
	}
	if (t->flags & TF_SACK && in->nsack)
		sack_process(st, s, in, &r);
	if (SEQ_LT(in->ack, t->snd_una)) {
		/* Old and overtaken: its SACK blocks are all it has to say. */
		if (r.sacked) {
			recovery_step(st, s, in, &r, false);
			tcp_output_later(st, s);
		}
		return true;
	}
	window_update(st, s, in);
	dup = in->ack == t->snd_una && !in->len && !(in->flags & (TH_SYN | TH_FIN)) &&
	      wnd == t->snd_wnd && flight;
	r.acked = in->ack - t->snd_una;
	if (r.acked) {
		scoreboard_ack(st, s, in, &r);
		t->snd_una = in->ack;
		t->bytes_acked += r.acked;
		t->backoff = t->retries = t->probes = 0;
		t->start_ms = st->now_ms;
		neigh_confirm(st, s->neigh);
		if (t->undo_marker && SEQ_LT(t->undo_marker, t->snd_una - 0x40000000u))
			t->undo_marker = t->snd_una;
	} else if (!flight) {
		t->probes = 0;
	}
	if (r.rtt)
		tcp_rtt_sample(st, s, r.rtt);
	else if (r.acked && t->flags & TF_TS && in->ts && in->tsecr)
		tcp_rtt_sample(st, s, (tcp_tsval(st, s) - in->tsecr) * 1000u);
	else if (r.sack_rtt)
		tcp_rtt_sample(st, s, r.sack_rtt);
	tlp_process(st, s, in, &r);
	ecn_echo(st, s, in);
	recovery_step(st, s, in, &r, dup);
	if (r.acked || wnd != t->snd_wnd || r.sacked || dup)
		tcp_output_later(st, s);
	if (r.acked) {
		if (t->rtx_kind != RTX_REO)
			t->rtx_kind = RTX_NONE; /* armed again by tcp_output */
		if (t->rtx_kind == RTX_NONE)
			timer_clear(s, TMR_RTX);
		tcp_drained(st, s);
	} else if (wnd != t->snd_wnd && t->rtx_kind == RTX_PERSIST && t->snd_wnd) {
		t->rtx_kind = RTX_NONE;
		t->backoff = 0;
		timer_clear(s, TMR_RTX);
	}
	return true;
}
