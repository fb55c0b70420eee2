/* SPDX-License-Identifier: ISC */
/*
 * TCP output: what may be sent now, and how a segment is built.
 *
 * tcp_output() runs once per socket at the end of a batch. Order: retransmissions of
 * what is marked lost, new data, FIN, and if none of these carried it, a bare ACK. One
 * segment can be as long as the device cuts (TSO); its payload is copied once, from the
 * client's ring into the frame, and summed on the way where the device does not.
 *
 * Who may send how much: cwnd against pipe (tcp_ack.c), the peer's window, Nagle in
 * Minshall's form, cork, and RFC 9293's sender-side silly window avoidance.
 */
#include "tcp.h"

static bool route_known(const struct tp_stack *st, const struct sock *s)
{
	return s->route_gen == st->route_gen && (s->neigh || !s->ifi);
}

/* The route, looked up again only when something changed. */
bool tcp_route(struct tp_stack *st, struct sock *s, struct dst *d)
{
	int e;

	if (route_known(st, s)) {
		*d = (struct dst){.src = s->laddr,
				  .hop = s->raddr,
				  .mtu = s->mtu,
				  .neigh = s->neigh,
				  .ifi = s->ifi,
				  .local = !s->ifi};
		return true;
	}
	e = route_lookup(st, &s->raddr, &s->laddr, s->bound_if, d);
	if (e || d->multicast || d->broadcast) {
		s->error = (uint32_t)-e;
		return false;
	}
	s->ifi = d->ifi;
	s->neigh = d->neigh;
	s->route_gen = st->route_gen;
	if (s->mtu != d->mtu) {
		s->mtu = d->mtu;
		tcp_mss_sync(st, s);
	}
	return true;
}

/*
 * The window field. The right edge never moves left, and moves right only by a useful
 * amount (RFC 9293 section 3.8.6.2.2).
 */
static uint32_t window_select(struct tp_stack *st, struct sock *s, uint8_t ws)
{
	struct tcp *t = &s->t;
	uint32_t room, cur, min;

	cur = SEQ_GT(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
	if (s->rx.space == SPACE_NONE || !sock_rx_room(st, s, &room))
		room = cur;
	min = MIN(ring_size(&s->rx) / 2, t->adv_mss ? t->adv_mss : 536u);
	if (room < cur + min)
		room = MIN(cur, room);
	room = MIN(room, 65535u << ws) >> ws;
	if (SEQ_GT(t->rcv_nxt + (room << ws), t->rcv_adv))
		t->rcv_adv = t->rcv_nxt + (room << ws);
	/* Ask the client to say when it has read, well before the window closes. */
	if (t->rcv_adv - t->rcv_nxt < ring_size(&s->rx) / 2 && !(t->flags & TF_RX_FULL)) {
		t->flags |= TF_RX_FULL;
		sock_touch(st, s);
	}
	return room;
}

/* After the client has read: is a window update worth a segment? */
void tcp_window_check(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t room, cur, min;
	bool update;

	if (s->rx.space == SPACE_NONE || !sock_rx_room(st, s, &room)) {
		tcp_abort(st, s, TE_PROTO, true);
		return;
	}
	cur = SEQ_GT(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
	min = MIN(MAX(2u * t->adv_mss, ring_size(&s->rx) / 4), ring_size(&s->rx) / 2);
	update = room > cur && (room - cur >= min || (cur < t->adv_mss && room >= t->adv_mss));
	update |=
	    s->dl[TMR_DELACK] && t->rcv_nxt - t->last_ack_sent >= TCP_BULK_SEGS * t->adv_mss;
	/* Told until the window is open again, not merely until there is room for that. */
	if (t->flags & TF_RX_FULL && (update || cur >= ring_size(&s->rx) / 2)) {
		t->flags &= ~TF_RX_FULL;
		sock_touch(st, s);
	}
	if (s->state >= TS_TIME_WAIT && s->state != TS_CLOSE_WAIT)
		return;
	if (update)
		tcp_ack_now(st, s);
}

static uint32_t put_ts(uint8_t *o, uint32_t val, uint32_t ecr)
{
	o[0] = o[1] = 1;
	o[2] = 8;
	o[3] = 10;
	put32(o + 4, val);
	put32(o + 8, ecr);
	return 12;
}

static uint32_t put_sack(struct tcp *t, uint8_t *o, unsigned max)
{
	unsigned n = 0, i;
	uint8_t *p = o + 4;

	if (t->flags & TF_DSACK_OUT) {
		put32(p, t->dsack.start);
		put32(p + 4, t->dsack.end);
		p += 8;
		n++;
		t->flags &= ~TF_DSACK_OUT;
	}
	for (i = 0; i < t->nooo && n < max; i++, n++, p += 8) {
		put32(p, t->ooo[i].start);
		put32(p + 4, t->ooo[i].end);
	}
	if (!n)
		return 0;
	o[0] = o[1] = 1;
	o[2] = 5;
	o[3] = (uint8_t)(2 + 8 * n);
	return 4 + 8 * n;
}

static uint32_t fill_options(struct tp_stack *st, struct sock *s, uint8_t *o, uint32_t len)
{
	struct tcp *t = &s->t;
	uint32_t n = 0;

	if (t->flags & TF_TS)
		n = put_ts(o, tcp_tsval(st, s), t->ts_recent);
	if (t->flags & TF_SACK && !len && (t->nooo || t->flags & TF_DSACK_OUT))
		n += put_sack(t, o + n, n ? 3 : 4);
	return n;
}

static void acked_now(struct sock *s)
{
	struct tcp *t = &s->t;

	t->flags &= ~TF_ACK_NOW;
	t->last_ack_sent = t->rcv_nxt;
	timer_clear(s, TMR_DELACK);
}

/*
 * Sends [seq, seq+len) with these flags; no bookkeeping but that of the ACK it carries. -errno:
 * nothing went out.
 */
int tcp_xmit(struct tp_stack *st, struct sock *s, uint32_t seq, uint32_t len, uint8_t flags)
{
	struct tcp *t = &s->t;
	UNINIT uint8_t opts[40];
	uint32_t olen, hlen, sum = 0;
	UNINIT struct txp x; /* ip_begin sets all but meta */
	struct tcp_hdr *h;
	UNINIT struct dst d;
	struct ipopt o = {s->ttl, s->tos, true};
	int e;

	if (!tcp_route(st, s, &d))
		return -TE_HOSTUNREACH;
	x.meta = (struct tp_meta){0};
	olen = fill_options(st, s, opts, len);
	hlen = 20 + olen;
	if (len > t->mss && d.ifi) {
		x.meta.gso_type = ipa_is4(&s->raddr) ? TP_GSO_TCPV4 : TP_GSO_TCPV6;
		x.meta.gso_size = t->mss;
	}
	if (t->flags & TF_ECN && len && SEQ_GE(seq, t->snd_nxt))
		o.tos = (o.tos & ~3u) | 2;
	if (t->flags & TF_BLACKHOLE && t->mss <= 512)
		o.df = false;
	e = ip_begin(st, &x, &d, &s->raddr, IPPROTO_TCP_, hlen + len, &o);
	if (e)
		return e;
	if (t->flags & TF_ECN && t->flags & TF_ECN_ECHO)
		flags |= TH_ECE;
	if (t->flags & TF_SEND_CWR && len && SEQ_GE(seq, t->snd_nxt)) {
		flags |= TH_CWR;
		t->flags &= ~TF_SEND_CWR;
	}
	h = (struct tcp_hdr *)x.l4;
	*h = (struct tcp_hdr){be16(s->lport),
			      be16(s->rport),
			      be32(seq),
			      be32(t->rcv_nxt),
			      (uint8_t)(hlen / 4 << 4),
			      flags,
			      0,
			      0,
			      0};
	if (t->flags & TF_URG_OUT && SEQ_GT(t->snd_up, seq)) {
		h->flags |= TH_URG;
		h->urp = be16((uint16_t)MIN(t->snd_up - seq, 65535u));
	}
	h->wnd = be16((uint16_t)window_select(st, s, t->rcv_ws));
	memcpy(x.l4 + 20, opts, olen);
	if (len) {
		if (ip_sum_needed(st, &x))
			sum =
			    ring_read_csum(st, &s->tx, tcp_tx_index(s, seq), x.l4 + hlen, len);
		else
			ring_read(st, &s->tx, tcp_tx_index(s, seq), x.l4 + hlen, len);
		if (x.meta.gso_type)
			x.meta.hdr_len = (uint16_t)(x.l4_off + hlen);
	}
	STAT(st, Tcp_OutSegs);
	t->segs_out += len > t->mss ? (len + t->mss - 1) / t->mss : 1;
	t->last_tx_ms = st->now_ms;
	ip_finish(st, &x, 16, hlen, sum);
	if (flags & TH_ACK)
		acked_now(s);
	sock_touch(st, s);
	return 0;
}

/* SYN and SYN-ACK. The options stand in the order Linux has them. */
void tcp_send_syn(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	bool ack = s->state == TS_SYN_RCVD;
	uint8_t o[40];
	uint32_t n = 4, w;
	struct txp x = {0};
	struct tcp_hdr *h;
	struct dst d;
	struct ipopt io = {s->ttl, s->tos, true};

	if (!tcp_route(st, s, &d))
		return;
	o[0] = 2;
	o[1] = 4;
	put16(o + 2, t->adv_mss);
	if (t->flags & TF_TS) {
		n += put_ts(o + n, tcp_tsval(st, s), ack ? t->ts_recent : 0);
		if (t->flags & TF_SACK) {
			o[4] = 4;
			o[5] = 2;
		}
	} else if (t->flags & TF_SACK) {
		memcpy(o + n, "\x01\x01\x04\x02", 4);
		n += 4;
	}
	if (t->flags & TF_WS) {
		o[n] = 1;
		o[n + 1] = 3;
		o[n + 2] = 3;
		o[n + 3] = st->cfg.wscale;
		n += 4;
	}
	if (ip_begin(st, &x, &d, &s->raddr, IPPROTO_TCP_, 20 + n, &io))
		return;
	h = (struct tcp_hdr *)x.l4;
	*h = (struct tcp_hdr){be16(s->lport),
			      be16(s->rport),
			      be32(t->iss),
			      ack ? be32(t->rcv_nxt) : 0,
			      (uint8_t)((20 + n) / 4 << 4),
			      (uint8_t)(TH_SYN | (ack ? TH_ACK : 0)),
			      0,
			      0,
			      0};
	if (t->flags & TF_ECN)
		h->flags |= ack ? TH_ECE : TH_ECE | TH_CWR;
	/* The window of a SYN is never scaled. */
	w = s->rx.space != SPACE_NONE ? ring_size(&s->rx)
	    : st->s->early_bufs       ? 1u << st->s->early_order
				      : 0;
	w = MIN(w, 65535u);
	h->wnd = be16((uint16_t)w);
	t->rcv_adv = t->rcv_nxt + w;
	memcpy(x.l4 + 20, o, n);
	STAT(st, Tcp_OutSegs);
	t->segs_out++;
	ip_finish(st, &x, 16, 20 + n, 0);
	t->last_ack_sent = t->rcv_nxt;
	sock_touch(st, s);
}

/* An answer without a socket. seq, ack in host order. */
void tcp_reply(struct tp_stack *st, const struct pkt *p, uint32_t seq, uint32_t ack,
	       uint8_t flags, uint16_t wnd, const uint8_t *opts, uint32_t optlen)
{
	const struct tcp_hdr *in = (const struct tcp_hdr *)p->data;
	struct txp x = {0};
	struct dst d;
	struct ipopt o = {.df = true};
	struct tcp_hdr *h;

	if (p->multicast || p->broadcast ||
	    route_lookup(st, &p->src, &p->dst, p->loop ? 0 : p->ifi, &d) ||
	    ip_begin(st, &x, &d, &p->src, IPPROTO_TCP_, 20 + optlen, &o))
		return;
	h = (struct tcp_hdr *)x.l4;
	*h = (struct tcp_hdr){
	    in->dport, in->sport, be32(seq), be32(ack), (uint8_t)((20 + optlen) / 4 << 4),
	    flags,     be16(wnd), 0,         0};
	if (optlen)
		memcpy(x.l4 + 20, opts, optlen);
	STAT(st, Tcp_OutSegs);
	ip_finish(st, &x, 16, 20 + optlen, 0);
}

/* RFC 9293 section 3.5.2, group 1. */
void tcp_reply_rst(struct tp_stack *st, const struct pkt *p, const struct segin *in)
{
	uint32_t len = in->len + !!(in->flags & TH_SYN) + !!(in->flags & TH_FIN);

	if (in->flags & TH_RST || st->cfg.no_rst || !icmp_allow(st))
		return;
	STAT(st, Tcp_OutRsts);
	if (in->flags & TH_ACK)
		tcp_reply(st, p, in->ack, 0, TH_RST, 0, NULL, 0);
	else
		tcp_reply(st, p, 0, in->seq + len, TH_RST | TH_ACK, 0, NULL, 0);
}

void tcp_send_rst(struct tp_stack *st, struct sock *s)
{
	if (s->t.flags & TF_RST_SENT)
		return;
	s->t.flags |= TF_RST_SENT;
	STAT(st, Tcp_OutRsts);
	tcp_xmit(st, s, s->t.snd_nxt, 0, TH_RST | TH_ACK);
}

/* A probe that asks for an ACK: one below the window (keepalive, zero window). */
void tcp_probe(struct tp_stack *st, struct sock *s)
{
	tcp_xmit(st, s, s->t.snd_una - 1, 0, TH_ACK);
}

/* ---- retransmission ---- */

static uint32_t max_segment(struct tp_stack *st, const struct sock *s)
{
	uint32_t cap = ipa_is4(&s->raddr) ? TP_CAP_TSO4 : TP_CAP_TSO6, n;

	if (!s->ifi || !(st->s->ifs[s->ifi].caps & cap))
		return s->t.mss;
	n = TSO_MAX / s->t.mss * s->t.mss;
	return MAX(n, s->t.mss);
}

/* Sends record g, or its first `max` bytes (the rest becomes a record of its own). */
static int retransmit(struct tp_stack *st, struct sock *s, struct seg *g, uint32_t max)
{
	struct tcp *t = &s->t;
	uint32_t len;
	uint8_t flags = TH_ACK;
	int e;

	if (g->len > max && !tcp_seg_split(st, s, g, max) && g->len > max_segment(st, s))
		return -TE_NOBUFS;
	len = g->len;
	if (g->flags & SG_FIN) {
		flags |= TH_FIN;
		len--;
	}
	if (len && g->seq + g->len == t->snd_nxt)
		flags |= TH_PSH;
	e = tcp_xmit(st, s, g->seq, len, flags);
	if (e)
		return e;
	STAT(st, Tcp_RetransSegs);
	t->total_retrans++;
	if (!(g->flags & SG_RETRANS)) {
		g->flags |= SG_RETRANS;
		t->retrans += g->len;
	}
	g->flags |= SG_EVER;
	g->txcount += g->txcount < 255;
	g->xmit = st->now;
	t->undo_retrans += g->len;
	t->prr_out += g->len;
	return 0;
}

void tcp_retransmit_head(struct tp_stack *st, struct sock *s)
{
	struct seg *g = s->t.seg_head ? &st->segs[s->t.seg_head] : NULL;

	if (g) {
		tcp_mark_lost(s, g);
		retransmit(st, s, g, s->t.mss);
	}
}

/* Everything marked lost that fits into the window. false: the device is full. */
static bool send_lost(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t i = t->seg_head, pipe, n;

	for (; i && t->lost > t->retrans; i = st->segs[i].next) {
		struct seg *g = &st->segs[i];

		if (!(g->flags & SG_LOST) || g->flags & SG_RETRANS)
			continue;
		pipe = tcp_pipe(s);
		if (pipe && pipe + MIN(g->len, t->mss) > t->cwnd)
			return true;
		n = t->cwnd > pipe ? (t->cwnd - pipe) / t->mss * t->mss : t->mss;
		n = MIN(MAX(n, t->mss), max_segment(st, s));
		if (retransmit(st, s, g, n))
			return false;
	}
	return true;
}

/* ---- new data ---- */

static bool nagle_holds(const struct sock *s, uint32_t len, bool last)
{
	const struct tcp *t = &s->t;

	if (len >= t->mss)
		return false;
	if (t->flags & TF_FIN_QUEUED && last)
		return false;
	if (t->flags & TF_URG_OUT && SEQ_GT(t->snd_up, t->snd_nxt))
		return false;
	if (t->flags & (TF_CORK | TF_MORE))
		return true;
	if (t->flags & TF_NODELAY)
		return false;
	return SEQ_GT(t->snd_sml, t->snd_una) && SEQ_LE(t->snd_sml, t->snd_nxt);
}

static bool may_send(const struct sock *s)
{
	return s->state == TS_ESTABLISHED || s->state == TS_CLOSE_WAIT ||
	       s->state == TS_FIN_WAIT1 || s->state == TS_LAST_ACK || s->state == TS_CLOSING;
}

/* How many bytes to put in the next segment of new data; 0: none now. */
static uint32_t next_len(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t left = tcp_data_end(s) - t->snd_nxt, flight = t->snd_nxt - t->snd_una;
	uint32_t wnd = t->snd_wnd > flight ? t->snd_wnd - flight : 0, pipe, len, cw;

	t->flags &= ~TF_PROBING;
	if (!left || t->flags & TF_FIN_SENT)
		return 0;
	pipe = tcp_pipe(s);
	len = MIN(left, max_segment(st, s));
	cw = t->cwnd > pipe ? t->cwnd - pipe : 0;
	/* Limited transmit, RFC 3042: two duplicates may each send one new segment. */
	if (!cw && t->ca_state == CA_DISORDER && !(t->flags & TF_SACK) && t->dupacks <= 2 &&
	    pipe < t->cwnd + t->dupacks * t->mss)
		cw = t->mss;
	if (cw < MIN(len, t->mss)) {
		t->flags |= TF_CWND_LIM;
		if (pipe)
			return 0;
		cw = t->mss;
	}
	if (len > cw)
		t->flags |= TF_CWND_LIM;
	len = MIN(len, MAX(cw / t->mss * t->mss, MIN(cw, t->mss)));
	if (len > wnd) {
		len = wnd >= t->mss ? wnd / t->mss * t->mss : wnd;
		/* A useless small segment? The persist timer overrides. */
		if (len < t->mss && len < t->max_wnd / 2 && len < left) {
			t->flags |= TF_PROBING;
			return 0;
		}
		if (!len)
			t->flags |= TF_PROBING;
	}
	if (len > t->mss && len < left)
		len -= len % t->mss;
	if (len > t->mss && len % t->mss && nagle_holds(s, len % t->mss, true))
		len -= len % t->mss;
	if (nagle_holds(s, len, len == left)) {
		if (t->flags & (TF_CORK | TF_MORE) && !s->dl[TMR_CORK])
			timer_set(st, s, TMR_CORK, st->now_ms + CORK_MS);
		return 0;
	}
	return len;
}

static void idle_restart(struct tp_stack *st, struct tcp *t)
{
	/* RFC 5681 section 4.1. */
	if (t->snd_nxt == t->snd_una && t->last_tx_ms && t->rto &&
	    st->now_ms - t->last_tx_ms > t->rto / 1000 && t->ca_state == CA_OPEN)
		t->cwnd = MIN(t->cwnd, MAX(st->cfg.initcwnd, 2u) * t->mss);
}

/* The last segment that fits for now: worth a push, the receiver has nothing to wait for. */
static bool burst_ends(const struct sock *s, uint32_t len)
{
	const struct tcp *t = &s->t;

	return tcp_pipe(s) + len + t->mss > t->cwnd ||
	       t->snd_nxt + len - t->snd_una + t->mss > t->snd_wnd;
}

static bool send_new(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t len;

	while ((len = next_len(st, s))) {
		bool last = t->snd_nxt + len == tcp_data_end(s);
		uint8_t flags = TH_ACK | (last || burst_ends(s, len) ? TH_PSH : 0);
		uint32_t seq = t->snd_nxt, all = len;
		int e;

		if (last && t->flags & TF_FIN_QUEUED) {
			flags |= TH_FIN;
			all++;
		}
		e = tcp_xmit(st, s, seq, len, flags);
		if (e)
			return e != -TE_NOBUFS;
		if (len % t->mss)
			t->snd_sml = seq + len;
		tcp_sent(st, s, seq, all, flags & TH_FIN ? SG_FIN : 0);
		t->snd_nxt = seq + all;
		__atomic_signal_fence(__ATOMIC_SEQ_CST); /* state.c, torn_settle() */
		if (flags & TH_FIN)
			t->flags |= TF_FIN_SENT;
		if (t->ca_state >= CA_CWR)
			t->prr_out += len;
		timer_clear(s, TMR_CORK);
	}
	return true;
}

static bool send_fin(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	int e;

	if (!(t->flags & TF_FIN_QUEUED) || t->flags & TF_FIN_SENT ||
	    t->snd_nxt != tcp_data_end(s))
		return true;
	e = tcp_xmit(st, s, t->snd_nxt, 0, TH_FIN | TH_ACK);
	if (e)
		return e != -TE_NOBUFS;
	tcp_sent(st, s, t->snd_nxt, 1, SG_FIN);
	t->snd_nxt++;
	t->flags |= TF_FIN_SENT;
	return true;
}

/* RFC 8985 section 7.3: new data if there is any, else the last segment again. */
void tcp_loss_probe(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t before = t->snd_nxt, left = tcp_data_end(s) - t->snd_nxt;
	struct seg *g = NULL;

	STAT(st, Tcp_LossProbes);
	t->flags &= ~TF_TLP_RETRANS;
	if (left && !(t->flags & TF_FIN_SENT) && t->snd_wnd >= before - t->snd_una + 1) {
		uint32_t len = MIN(MIN(left, t->mss), t->snd_wnd - (before - t->snd_una));

		if (!tcp_xmit(st, s, before, len, TH_ACK | TH_PSH)) {
			tcp_sent(st, s, before, len, 0);
			t->snd_nxt += len;
		}
	} else if (t->seg_tail) {
		g = &st->segs[t->seg_tail];
		if (g->len > t->mss && tcp_seg_split(st, s, g, (g->len - 1) / t->mss * t->mss))
			g = &st->segs[t->seg_tail];
		if (!retransmit(st, s, g, t->mss))
			t->flags |= TF_TLP_RETRANS;
		if (g->flags & SG_RETRANS && !(g->flags & SG_LOST)) {
			/* Not lost, only asked about: it stays one segment in flight. */
			g->flags &= (uint8_t)~SG_RETRANS;
			t->retrans -= g->len;
		}
	}
	t->tlp_end = t->snd_nxt;
	t->flags |= TF_TLP_PENDING;
}

void tcp_output_later(struct tp_stack *st, struct sock *s)
{
	sock_touch(st, s);
	s->flags |= SF_OUTPUT;
}

static void tx_blocked(struct tp_stack *st, struct sock *s)
{
	if (s->t.flags & TF_TX_WANT)
		return;
	s->t.flags |= TF_TX_WANT;
	if (st->ntxwait < 64)
		st->txwait[st->ntxwait++] = sock_index(st, s);
	else
		st->ntxwait = 65; /* overflow: tp_tx_ready looks at all */
}

void tp_tx_ready(struct tp_stack *st, unsigned ifi)
{
	uint32_t n = st->ntxwait, i, list[64];

	if (!n)
		return;
	st->ntxwait = 0;
	if (n > 64) {
		for (i = 1; i < st->high; i++) {
			struct sock *s = SOCK(st, i);

			if (s->kind == SK_TCP && s->t.flags & TF_TX_WANT) {
				s->t.flags &= ~TF_TX_WANT;
				tcp_output_later(st, s);
			} else if (s->kind > SK_TCP) {
				dgram_kick(st, s);
			}
		}
		return;
	}
	memcpy(list, st->txwait, n * sizeof(*list));
	for (i = 0; i < n; i++) {
		struct sock *s = SOCK(st, list[i]);

		if (s->kind == SK_TCP) {
			tcp_output_later(st, s);
			s->t.flags &= ~TF_TX_WANT;
		} else if (s->kind != SK_FREE) {
			dgram_kick(st, s);
		}
	}
}

void tcp_output(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t avail;
	bool ok = true;

	if (s->state == TS_LISTEN || s->state == TS_CLOSED || s->state == TS_SYN_SENT ||
	    s->state == TS_SYN_RCVD)
		return;
	if (may_send(s)) {
		UNINIT struct dst d;

		if (ring_size(&s->tx) && !sock_tx_avail(st, s, &avail)) {
			STAT(st, Tcp_PeerProtocol);
			tcp_abort(st, s, TE_PROTO, true);
			return;
		}
		if (route_known(st, s) || tcp_route(st, s, &d)) {
			idle_restart(st, t);
			ok = t->lost == t->retrans || send_lost(st, s);
			ok = ok && send_new(st, s);
			ok = ok && send_fin(st, s);
		} else if (tcp_data_end(s) != t->snd_nxt) {
			t->flags |= TF_PROBING; /* no way there now: try again later */
		}
	}
	if (!ok)
		tx_blocked(st, s);
	if (t->flags & TF_ACK_NOW && tcp_xmit(st, s, t->snd_nxt, 0, TH_ACK) == -TE_NOBUFS)
		tx_blocked(st, s);
	tcp_arm(st, s);
}
