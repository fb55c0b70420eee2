/* SPDX-License-Identifier: ISC */
/*
 * TCP input: RFC 9293 section 3.10.7 in its order, with the checks of RFC 5961 (blind
 * resets and injections), RFC 7323 (timestamps, PAWS) and RFC 3168 (ECN).
 *
 * Out-of-order data is written straight to its place in the client's ring; `ooo` lists
 * the ranges present, most recently changed first, which is the order SACK wants. A range
 * that cannot be listed is dropped, and the peer sends it again.
 */
#include "tcp.h"

/* ---- taking a segment apart ---- */

static bool parse_options(const uint8_t *o, uint32_t len, struct segin *in)
{
	/* RFC 7323 appendix A: what nearly every segment has. */
	if (len >= 12 && get32(o) == 0x0101080a) {
		in->ts = true;
		in->tsval = get32(o + 4);
		in->tsecr = get32(o + 8);
		o += 12;
		len -= 12;
	}
	while (len) {
		uint32_t n;

		if (o[0] == 0)
			return true;
		if (o[0] == 1) {
			o++, len--;
			continue;
		}
		if (len < 2 || (n = o[1]) < 2 || n > len)
			return false;
		if (o[0] == 2 && n == 4) {
			in->mss = get16(o + 2);
		} else if (o[0] == 3 && n == 3) {
			in->has_ws = true;
			in->ws = MIN(o[2], 14);
		} else if (o[0] == 4 && n == 2) {
			in->sackok = true;
		} else if (o[0] == 5 && n >= 10 && (n - 2) % 8 == 0) {
			in->nsack = (uint8_t)MIN((n - 2) / 8, 4u);
			for (unsigned i = 0; i < in->nsack; i++) {
				in->sack[i].start = get32(o + 2 + 8 * i);
				in->sack[i].end = get32(o + 6 + 8 * i);
			}
		} else if (o[0] == 8 && n == 10) {
			in->ts = true;
			in->tsval = get32(o + 2);
			in->tsecr = get32(o + 6);
		}
		o += n;
		len -= n;
	}
	return true;
}

static bool parse(struct tp_stack *st, struct pkt *p, struct segin *in, struct tcp_hdr *h)
{
	uint32_t hlen, pseudo;

	if (p->len < 20)
		return false;
	memcpy(h, p->data, 20);
	hlen = (h->off >> 4) * 4u;
	if (hlen < 20 || hlen > p->len || p->multicast || p->broadcast)
		return false;
	pseudo = csum_pseudo(&p->src, &p->dst, IPPROTO_TCP_, p->len);
	if (!p->csum_ok && csum_fold(csum_add(p->data, p->len, pseudo))) {
		STAT(st, Tcp_InCsumErrors);
		return false;
	}
	in->seq = be32(h->seq);
	in->ack = be32(h->ack);
	in->wnd = be16(h->wnd);
	in->flags = h->flags;
	in->urp = be16(h->urp);
	in->data = p->data + hlen;
	in->rest = p->rest;
	in->len = p->len - hlen;
	in->tsval = in->tsecr = 0;
	in->mss = in->ws = in->nsack = 0;
	in->ts = in->sackok = in->has_ws = false;
	return parse_options(p->data + 20, hlen - 20, in);
}

/* ---- acknowledging ---- */

void tcp_ack_now(struct tp_stack *st, struct sock *s)
{
	s->t.flags |= TF_ACK_NOW;
	tcp_output_later(st, s);
}

/* RFC 5961 section 7: at most so many answers to what may be an attack. */
bool tcp_challenge_ok(struct tp_stack *st, struct sock *s)
{
	uint64_t add = (st->now - st->chall_at) / 1000;

	if (s->t.last_oow_ms && st->now_ms - s->t.last_oow_ms < 500)
		return false;
	if (add) {
		st->chall_tokens = MIN(st->chall_tokens + add, 1000u);
		st->chall_at = st->now;
	}
	if (!st->chall_tokens)
		return false;
	st->chall_tokens--;
	s->t.last_oow_ms = st->now_ms | 1;
	STAT(st, Tcp_ChallengeACK);
	return true;
}

static void dsack_note(struct sock *s, uint32_t start, uint32_t end)
{
	if (!(s->t.flags & TF_SACK))
		return;
	s->t.dsack = (struct seqrange){start, end};
	s->t.flags |= TF_DSACK_OUT;
}

/*
 * Bulk data that its reader is woken for: the acknowledgement goes with the window that is free
 * when it has read (tcp_window_check()), in one segment instead of two. If it is busy with
 * other things, or much has come, it goes before. Only for what came as long segments: a
 * sender that merges them has many more under way.
 */
static bool ack_with_window(const struct sock *s, const struct segin *in, uint32_t unacked)
{
	const struct tcp *t = &s->t;

	return in->len >= TCP_BULK_SEGS * t->adv_mss && !t->quick && !t->nooo &&
	       !(t->flags & TF_QUICKACK) && s->slot != PVS_NO_SLOT &&
	       s->rx.space == SPACE_CLIENT && unacked <= ring_size(&s->rx) / 4 * 3;
}

/* In-order data came: now, or after a delay (RFC 1122 section 4.2.3.2)? */
static void ack_policy(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t unacked = t->rcv_nxt - t->last_ack_sent;
	/* A window half used up, and the client does not know yet that we wait for it to read:
	 * where a segment can be as large as the window (loopback) nothing else would tell it.
	 */
	bool half = t->rcv_adv - t->rcv_nxt < ring_size(&s->rx) / 2 && !(t->flags & TF_RX_FULL);

	if (ack_with_window(s, in, unacked)) {
		t->flags |= TF_RX_FULL;
		sock_touch(st, s);
		if (!s->dl[TMR_DELACK])
			timer_set(st, s, TMR_DELACK, st->now_ms + BULK_MS);
		return;
	}
	if (t->nooo || half || unacked > t->adv_mss || t->quick || t->flags & TF_QUICKACK ||
	    in->len > t->adv_mss) {
		t->quick -= !!t->quick;
		tcp_ack_now(st, s);
	} else if (!s->dl[TMR_DELACK]) {
		timer_set(st, s, TMR_DELACK, st->now_ms + DELACK_MS);
	}
}

/* ---- data ---- */

static void ooo_drop(struct tcp *t, unsigned i)
{
	t->nooo--;
	memmove(&t->ooo[i], &t->ooo[i + 1], (t->nooo - i) * sizeof(t->ooo[0]));
}

/* Enters [start, end), merged with its neighbours, at the front. false: no room. */
static bool ooo_add(struct tcp *t, uint32_t start, uint32_t end)
{
	for (unsigned i = 0; i < t->nooo;) {
		struct seqrange *r = &t->ooo[i];

		if (SEQ_LE(start, r->end) && SEQ_GE(end, r->start)) {
			start = SEQ_LT(r->start, start) ? r->start : start;
			end = SEQ_GT(r->end, end) ? r->end : end;
			ooo_drop(t, i);
		} else {
			i++;
		}
	}
	if (t->nooo == OOO_MAX)
		return false;
	memmove(&t->ooo[1], &t->ooo[0], t->nooo * sizeof(t->ooo[0]));
	t->ooo[0] = (struct seqrange){start, end};
	t->nooo++;
	return true;
}

static bool ooo_covered(const struct tcp *t, uint32_t start, uint32_t end)
{
	for (unsigned i = 0; i < t->nooo; i++) {
		if (SEQ_LE(t->ooo[i].start, start) && SEQ_GE(t->ooo[i].end, end))
			return true;
	}
	return false;
}

static void ooo_absorb(struct tcp *t)
{
	for (unsigned i = 0; i < t->nooo;) {
		if (SEQ_LE(t->ooo[i].start, t->rcv_nxt)) {
			if (SEQ_GT(t->ooo[i].end, t->rcv_nxt))
				t->rcv_nxt = t->ooo[i].end;
			ooo_drop(t, i);
			i = 0;
		} else {
			i++;
		}
	}
}

static void data_write(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	uint32_t idx = tcp_rx_index(s, in->seq), left = in->len, n, skip = 0;

	if (!in->rest) {
		ring_write(st, &s->rx, idx, in->data, left);
		return;
	}
	if (in->data < in->rest->from) {
		n = MIN(left, (uint32_t)(in->rest->from - in->data));
		ring_write(st, &s->rx, idx, in->data, n);
		idx += n;
		left -= n;
	} else {
		skip = (uint32_t)(in->data - in->rest->from);
	}
	for (unsigned i = 0; i < in->rest->parts && left; i++) {
		const struct tp_part *p = &in->rest->part[i];

		if (skip >= p->len) {
			skip -= p->len;
			continue;
		}
		n = MIN(left, p->len - skip);
		ring_write(st, &s->rx, idx, p->data + skip, n);
		idx += n;
		left -= n;
		skip = 0;
	}
}

static void data_in_order(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t before = t->rcv_nxt;

	data_write(st, s, in);
	t->rcv_nxt += in->len;
	if (t->nooo)
		ooo_absorb(t);
	s->rx_prod = tcp_rx_index(s, t->rcv_nxt);
	t->bytes_received += t->rcv_nxt - before;
	ack_policy(st, s, in);
	sock_touch(st, s);
}

static void data_out_of_order(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t end = in->seq + in->len;

	STAT(st, Tcp_OFOQueue);
	if (ooo_covered(t, in->seq, end)) {
		dsack_note(s, in->seq, end);
	} else {
		data_write(st, s, in); /* before it counts as received */
		if (!ooo_add(t, in->seq, end))
			STAT(st, Tcp_OFODrop);
	}
	/* Every one of these deserves its own duplicate ACK: do not batch. */
	t->flags |= TF_ACK_NOW;
	tcp_xmit(st, s, t->snd_nxt, 0, TH_ACK);
}

/* false: the data must be answered with a reset. */
static bool data_input(struct tp_stack *st, struct sock *s, struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t room, edge;

	if (s->flags & SF_RELEASED && SEQ_GT(in->seq + in->len, t->rcv_nxt))
		return false;
	if (SEQ_LT(in->seq, t->rcv_nxt)) {
		uint32_t dup = MIN(t->rcv_nxt - in->seq, in->len);

		dsack_note(s, in->seq, in->seq + dup);
		in->seq += dup;
		in->data += dup;
		in->len -= dup;
		tcp_ack_now(st, s);
		if (!in->len)
			return true;
	}
	if (s->rx.space == SPACE_NONE)
		early_take(st, &s->rx);
	if (s->rx.space == SPACE_NONE) {
		room = 0;
	} else if (!sock_rx_room(st, s, &room)) {
		STAT(st, Tcp_PeerProtocol);
		sock_error(st, s, TE_PROTO);
		return false;
	}
	edge = t->rcv_nxt + room;
	if (SEQ_GT(in->seq + in->len, edge)) {
		tcp_ack_now(st, s);
		if (SEQ_GE(in->seq, edge)) {
			in->len = 0;
			in->flags &= (uint8_t)~TH_FIN;
			return true;
		}
		in->len = edge - in->seq;
		in->flags &= (uint8_t)~TH_FIN;
	}
	if (in->seq == t->rcv_nxt)
		data_in_order(st, s, in);
	else
		data_out_of_order(st, s, in);
	return true;
}

static void urgent_input(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;
	uint32_t up = in->seq + in->urp;

	if (!in->urp || SEQ_LE(up, t->rcv_nxt - 1) ||
	    (t->flags & TF_URG_IN && SEQ_LE(up, t->rcv_up)))
		return;
	t->rcv_up = up;
	t->flags |= TF_URG_IN;
	s->rx_urg_count++;
	sock_touch(st, s);
}

static void fin_input(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	tcp_ack_now(st, s);
	switch (s->state) {
	case TS_ESTABLISHED:
		s->state = TS_CLOSE_WAIT;
		break;
	case TS_FIN_WAIT1:
		s->state = TS_CLOSING; /* our FIN was not acknowledged, or we were done */
		break;
	case TS_FIN_WAIT2:
		tcp_time_wait(st, s);
		break;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* state.c, torn_settle() */
	t->rcv_nxt++;
}

/* ---- states ---- */

/* RFC 9293 section 3.10.7.4, first check. */
static bool acceptable(const struct tcp *t, const struct segin *in)
{
	uint32_t wnd = SEQ_GT(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
	uint32_t len = in->len + !!(in->flags & TH_FIN) + !!(in->flags & TH_SYN);

	if (!len)
		return wnd ? SEQ_GE(in->seq, t->rcv_nxt) && SEQ_LE(in->seq, t->rcv_nxt + wnd)
			   : in->seq == t->rcv_nxt;
	if (!wnd) /* acknowledgements and urgent pointers still count */
		return in->seq == t->rcv_nxt;
	return SEQ_GT(in->seq + len, t->rcv_nxt) && SEQ_LT(in->seq, t->rcv_nxt + wnd);
}

static bool paws_old(struct tp_stack *st, const struct tcp *t, const struct segin *in)
{
	return t->flags & TF_TS && in->ts && SEQ_LT(in->tsval, t->ts_recent) &&
	       st->now_ms - t->ts_recent_ms < 24u * 86400u * 1000u;
}

static void not_acceptable(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	if (in->flags & TH_RST)
		return;
	/* Data we have already: the peer missed an ACK. Answer with D-SACK. */
	if (in->len && SEQ_LE(in->seq + in->len, s->t.rcv_nxt)) {
		dsack_note(s, in->seq, in->seq + in->len);
		tcp_ack_now(st, s);
	} else if (in->seq == s->t.rcv_nxt - 1 && in->len <= 1) {
		tcp_ack_now(st, s); /* keepalive or window probe */
	} else if (in->flags & TH_FIN || in->len || tcp_challenge_ok(st, s)) {
		tcp_ack_now(st, s);
	}
}

/* RFC 5961 section 3. */
static void rst_input(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	bool exact = in->seq == s->t.rcv_nxt;

	if (s->state == TS_TIME_WAIT)
		return; /* RFC 1337 */
	if (exact) {
		STAT(st, Tcp_EstabResets);
		tcp_abort(st, s,
			  s->state == TS_SYN_RCVD     ? TE_CONNREFUSED
			  : s->state == TS_CLOSE_WAIT ? TE_PIPE
						      : TE_CONNRESET,
			  false);
	} else if (tcp_challenge_ok(st, s)) {
		tcp_ack_now(st, s);
	}
}

static void ts_update(struct tp_stack *st, struct tcp *t, const struct segin *in)
{
	/* RFC 7323 section 4.3. */
	if (t->flags & TF_TS && in->ts && SEQ_LE(in->seq, t->last_ack_sent) &&
	    SEQ_GE(in->tsval, t->ts_recent)) {
		t->ts_recent = in->tsval;
		t->ts_recent_ms = st->now_ms;
	}
}

static void time_wait_input(struct tp_stack *st, struct sock *s, struct pkt *p,
			    struct segin *in)
{
	struct tcp *t = &s->t;
	struct sock *l;
	bool newer = t->flags & TF_TS && in->ts ? SEQ_GT(in->tsval, t->ts_recent)
						: SEQ_GT(in->seq, t->rcv_nxt);

	if (in->flags & TH_RST)
		return;
	/* RFC 6191: a new connection may take the place of one at rest. */
	if ((in->flags & (TH_SYN | TH_ACK)) == TH_SYN && newer && s->slot == PVS_NO_SLOT) {
		l = sock_lookup_bound(st, SK_TCP, &p->src, s->rport, &p->dst, s->app_port,
				      p->ifi);
		if (l) {
			STAT(st, Tcp_TimeWaitRecycled);
			sock_free(st, s);
			tcp_listen_input(st, l, p, in);
			return;
		}
	}
	if (in->flags & TH_FIN)
		timer_set(st, s, TMR_KEEP, st->now_ms + st->cfg.time_wait_ms);
	if (in->len || in->flags & (TH_FIN | TH_SYN) || in->seq != t->rcv_nxt) {
		if (in->flags & TH_FIN || tcp_challenge_ok(st, s))
			tcp_ack_now(st, s);
	}
}

/* RFC 9293 section 3.10.7.3. */
static void syn_sent_input(struct tp_stack *st, struct sock *s, struct pkt *p, struct segin *in)
{
	struct tcp *t = &s->t;

	if (in->flags & TH_ACK && (SEQ_LE(in->ack, t->iss) || SEQ_GT(in->ack, t->snd_nxt))) {
		if (!(in->flags & TH_RST))
			tcp_reply_rst(st, p, in);
		return;
	}
	if (in->flags & TH_RST) {
		if (in->flags & TH_ACK) {
			STAT(st, Tcp_AttemptFails);
			tcp_abort(st, s, TE_CONNREFUSED, false);
		}
		return;
	}
	if (!(in->flags & TH_SYN))
		return;
	if (t->flags & TF_ECN && (in->flags & (TH_ECE | TH_CWR)) != TH_ECE)
		t->flags &= ~TF_ECN;
	t->irs = in->seq;
	t->rcv_nxt = in->seq + 1;
	t->last_ack_sent = t->rcv_nxt;
	t->rcv_adv = t->rcv_nxt + MIN(ring_size(&s->rx), 65535u);
	s->rx_prod = s->rx_cons = 0;
	tcp_syn_options(st, s, in);
	t->ts_recent_ms = st->now_ms;
	t->snd_wnd = in->wnd;
	t->snd_wl1 = in->seq;
	t->snd_wl2 = in->ack;
	t->max_wnd = in->wnd;
	if (!(in->flags & TH_ACK)) { /* simultaneous open */
		s->state = TS_SYN_RCVD;
		t->rtx_kind = RTX_NONE;
		tcp_send_syn(st, s);
		tcp_arm_rto(st, s);
		return;
	}
	t->snd_una = in->ack;
	if (!t->total_retrans)
		tcp_rtt_sample(st, s, (st->now_ms - t->start_ms) * 1000u);
	tcp_established(st, s);
	t->quick = QUICKACKS;
	tcp_ack_now(st, s);
	in->seq++;
	if (in->len)
		data_input(st, s, in);
	if (in->flags & TH_FIN && in->seq + in->len == t->rcv_nxt)
		fin_input(st, s);
}

/* The ACK that completes a handshake. false: drop the segment. */
static bool syn_rcvd_ack(struct tp_stack *st, struct sock *s, struct pkt *p, struct segin *in)
{
	struct tcp *t = &s->t;

	if (SEQ_LE(in->ack, t->snd_una) || SEQ_GT(in->ack, t->snd_nxt)) {
		tcp_reply_rst(st, p, in);
		return false;
	}
	t->snd_wnd = in->wnd << t->snd_ws;
	t->snd_wl1 = in->seq;
	t->snd_wl2 = in->ack;
	t->max_wnd = MAX(t->max_wnd, t->snd_wnd);
	t->snd_una = in->ack;
	if (!t->total_retrans)
		tcp_rtt_sample(st, s, (st->now_ms - t->start_ms) * 1000u);
	tcp_established(st, s);
	return s->state == TS_ESTABLISHED;
}

static void after_ack(struct tp_stack *st, struct sock *s)
{
	if (s->t.flags & TF_FIN_SENT && s->t.snd_una == s->t.snd_nxt)
		tcp_fin_acked(st, s);
}

static void ecn_input(struct sock *s, const struct pkt *p, const struct segin *in)
{
	struct tcp *t = &s->t;

	if (!(t->flags & TF_ECN))
		return;
	if (in->flags & TH_CWR)
		t->flags &= ~TF_ECN_ECHO;
	if ((p->tos & 3) == 3 && in->len) {
		t->flags |= TF_ECN_ECHO;
		t->quick = MAX(t->quick, 2);
	}
}

static bool data_state(const struct sock *s)
{
	return s->state == TS_ESTABLISHED || s->state == TS_FIN_WAIT1 ||
	       s->state == TS_FIN_WAIT2;
}

static void segment_input(struct tp_stack *st, struct sock *s, struct pkt *p, struct segin *in)
{
	struct tcp *t = &s->t;
	bool fin;

	t->segs_in++;
	t->last_rx_ms = st->now_ms;
	t->keep_intvl_set = 0;
	if (paws_old(st, t, in) && !(in->flags & TH_RST)) {
		STAT(st, Tcp_PAWSEstab);
		if (in->len)
			dsack_note(s, in->seq, in->seq + in->len);
		if (in->len || tcp_challenge_ok(st, s))
			tcp_ack_now(st, s);
		return;
	}
	if (!acceptable(t, in)) {
		/* A SYN again: our SYN-ACK was lost. */
		if (s->state == TS_SYN_RCVD && in->flags & TH_SYN && in->seq == t->irs) {
			if (in->flags & TH_ACK && in->ack == t->snd_nxt)
				goto simultaneous;
			tcp_send_syn(st, s);
			return;
		}
		not_acceptable(st, s, in);
		return;
	}
	if (in->flags & TH_RST) {
		rst_input(st, s, in);
		return;
	}
	if (in->flags & TH_SYN) {
		if (tcp_challenge_ok(st, s))
			tcp_ack_now(st, s);
		return;
	}
	if (!(in->flags & TH_ACK))
		return;
	if (s->state == TS_SYN_RCVD && !syn_rcvd_ack(st, s, p, in))
		return;
	ecn_input(s, p, in);
	if (!tcp_ack(st, s, in))
		return;
	ts_update(st, t, in); /* not by what acknowledges data that we never sent */
	after_ack(st, s);
	if (s->kind == SK_FREE || s->state == TS_CLOSED)
		return;
	if (in->flags & TH_URG && data_state(s))
		urgent_input(st, s, in);
	fin = in->flags & TH_FIN;
	if (in->len && data_state(s)) {
		if (!data_input(st, s, in)) {
			tcp_abort(st, s, s->error ? (int)s->error : TE_CONNRESET, true);
			return;
		}
		fin = in->flags & TH_FIN;
	} else if (in->len) {
		tcp_ack_now(st, s);
	}
	if (fin && in->seq + in->len == t->rcv_nxt && data_state(s) && !t->nooo)
		fin_input(st, s);
	return;
simultaneous:
	if (syn_rcvd_ack(st, s, p, in))
		tcp_ack_now(st, s);
}

static struct sock *find_listener(struct tp_stack *st, const struct pkt *p, uint16_t sport,
				  uint16_t dport)
{
	const struct publish *pub = publish_find(st, IPPROTO_TCP_, &p->dst, dport);
	struct sock *s;

	if (!pub)
		return sock_lookup_bound(st, SK_TCP, &p->src, sport, &p->dst, dport, p->ifi);
	s = sock_lookup_bound(st, SK_TCP, &p->src, sport, own_addr(st, p), pub->port, p->ifi);
	if (!s && !p->is4 && pub->shared) /* whoever knows IPv4 only */
		s = sock_lookup_bound(st, SK_TCP, &p->src, sport, share_own4(st), pub->port,
				      p->ifi);
	return s;
}

void tcp_input(struct tp_stack *st, struct pkt *p)
{
	UNINIT struct tcp_hdr h;
	UNINIT struct segin in; /* parse() sets all but the blocks that there are not */
	struct sock *s;
	uint16_t sport, dport;

	STAT(st, Tcp_InSegs);
	if (!parse(st, p, &in, &h)) {
		STAT(st, Tcp_InErrs);
		return;
	}
	sport = be16(h.sport);
	dport = be16(h.dport);
	/* Land; but many have the host's address. */
	if (!p->loop && ipa_eq(&p->src, &p->dst) && (sport == dport || !share_is(st, &p->dst)))
		return;
	s = sock_lookup(st, &p->src, sport, &p->dst, dport, p->ifi);
	if (!s) {
		s = find_listener(st, p, sport, dport);
		if (s)
			tcp_listen_input(st, s, p, &in);
		else
			tcp_reply_rst(st, p, &in);
		return;
	}
	sock_touch(st, s);
	if (s->state == TS_SYN_SENT)
		syn_sent_input(st, s, p, &in);
	else if (s->state == TS_TIME_WAIT)
		time_wait_input(st, s, p, &in);
	else
		segment_input(st, s, p, &in);
}
