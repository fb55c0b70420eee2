/* SPDX-License-Identifier: ISC */
/*
 * Listeners: SYNs, SYN cookies, initial sequence numbers.
 *
 * A SYN makes a socket in SYN-RECEIVED as long as there are few of them (st->cfg.syn_backlog
 * for the stack, the listener's backlog for itself). Beyond, the answer is a cookie: the
 * sequence number carries a keyed hash of the connection and one of eight MSS values,
 * valid for two minutes, and window scale, SACK and ECN ride in the low bits of our
 * timestamp when the peer uses timestamps. Nothing is stored until the cookie comes back.
 */
#include "tcp.h"

#define COOKIE_PERIOD_MS 64000u

struct tuple {
	struct ipa l, r;
	uint16_t lport, rport;
	uint32_t extra;
};

/* RFC 6528: M + F(tuple, secret), M a 4 us clock. */
uint32_t tcp_isn(struct tp_stack *st, const struct ipa *laddr, uint16_t lport,
		 const struct ipa *raddr, uint16_t rport)
{
	struct tuple k = {*laddr, *raddr, lport, rport, 1};

	return (uint32_t)(siphash(st->s->secret, &k, sizeof(k)) + st->now / 4);
}

static uint32_t ts_offset(struct tp_stack *st, const struct ipa *l, const struct ipa *r)
{
	struct tuple k = {*l, *r, 0, 0, 2};

	return (uint32_t)siphash(st->s->secret, &k, sizeof(k));
}

uint16_t tcp_adv_mss(struct tp_stack *st, const struct ipa *dst, const struct ipa *src,
		     unsigned bound_if)
{
	struct dst d;
	uint32_t h = ipa_is4(dst) ? 40 : 60;

	if (route_lookup(st, dst, src, bound_if, &d))
		return 536;
	/* What the interface takes, whatever a router on the path said. */
	return (uint16_t)(MAX(st->s->ifs[d.ifi].mtu, 576u) - h);
}

/* What the peer's SYN allows. */
void tcp_syn_options(struct tp_stack *st, struct sock *s, const struct segin *in)
{
	struct tcp *t = &s->t;

	t->peer_mss = in->mss ? MAX(in->mss, TCP_MIN_MSS) : ipa_is4(&s->raddr) ? 536 : 1220;
	if (!in->has_ws)
		t->flags &= ~TF_WS;
	if (!in->ts)
		t->flags &= ~TF_TS;
	if (!in->sackok)
		t->flags &= ~TF_SACK;
	t->snd_ws = t->flags & TF_WS ? in->ws : 0;
	t->rcv_ws = t->flags & TF_WS ? st->cfg.wscale : 0;
	t->ts_recent = in->ts ? in->tsval : 0;
}

/* A child of listener l, with everything but the options. */
static struct sock *child_new(struct tp_stack *st, struct sock *l, const struct pkt *p,
			      uint16_t sport, uint16_t dport)
{
	struct sock *s = sock_alloc(st, SK_TCP);
	struct tcp *t;

	if (!s)
		return NULL;
	t = &s->t;
	s->client = l->client;
	s->domain = l->domain;
	s->type = l->type;
	s->proto = l->proto;
	s->ttl = l->ttl;
	s->tos = l->tos;
	s->flags |=
	    l->flags & (SF_OOBINLINE | SF_LINGER | SF_REUSEADDR | SF_REUSEPORT | SF_V6ONLY);
	s->bound_if = l->bound_if;
	s->laddr = p->dst;
	s->raddr = p->src;
	s->lport = dport;
	s->rport = sport;
	s->app_port = l->app_port;
	s->rcvlowat = l->rcvlowat;
	s->parent = sock_index(st, l);
	t->flags = TF_TS | TF_SACK | TF_WS | TF_PASSIVE |
		   (l->t.flags & (TF_NODELAY | TF_CORK | TF_KEEPALIVE | TF_QUICKACK));
	t->cc = l->t.cc;
	t->keep_idle = l->t.keep_idle;
	t->keep_intvl = l->t.keep_intvl;
	t->keep_cnt = l->t.keep_cnt;
	t->user_timeout = l->t.user_timeout;
	t->user_mss = l->t.user_mss;
	t->linger_ms = l->t.linger_ms;
	t->linger2_ms = l->t.linger2_ms;
	t->ts_off = ts_offset(st, &s->laddr, &s->raddr);
	t->adv_mss = tcp_adv_mss(st, &p->src, &p->dst, l->bound_if);
	if (t->user_mss)
		t->adv_mss = MIN(t->adv_mss, t->user_mss);
	t->mss = 536;
	t->rto = RTO_INIT;
	return s;
}

static void child_numbers(struct sock *s, uint32_t iss, uint32_t irs)
{
	struct tcp *t = &s->t;

	t->iss = t->snd_una = iss;
	t->snd_nxt = iss + 1;
	t->snd_sml = t->snd_up = t->high_seq = iss + 1;
	t->irs = irs;
	t->rcv_nxt = t->rcv_adv = t->last_ack_sent = irs + 1;
	t->rcv_up = irs;
}

/* ---- cookies ---- */

static const uint16_t cookie_mss[8] = {536, 1220, 1300, 1360, 1400, 1440, 1460, 8960};

static uint32_t cookie_hash(struct tp_stack *st, const struct pkt *p, uint16_t sport,
			    uint16_t dport, uint32_t period, uint32_t irs)
{
	struct {
		struct tuple t;
		uint32_t period, irs;
	} k = {{p->dst, p->src, dport, sport, 3}, period, irs};

	return (uint32_t)siphash(st->s->secret + 2, &k, sizeof(k));
}

static uint32_t cookie_make(struct tp_stack *st, const struct pkt *p, uint16_t sport,
			    uint16_t dport, const struct segin *in)
{
	uint32_t period = st->now_ms / COOKIE_PERIOD_MS, i;
	uint16_t mss = in->mss ? in->mss : 536;

	for (i = 7; i && cookie_mss[i] > mss; i--)
		;
	/* 5 bits of time, 3 of MSS, 24 of hash. */
	return (period & 31) << 27 | i << 24 |
	       (cookie_hash(st, p, sport, dport, period << 3 | i, in->seq) & 0xffffff);
}

static bool cookie_check(struct tp_stack *st, const struct pkt *p, uint16_t sport,
			 uint16_t dport, const struct segin *in, uint16_t *mss)
{
	uint32_t cookie = in->ack - 1, now = st->now_ms / COOKIE_PERIOD_MS, i, period;

	i = cookie >> 24 & 7;
	for (period = now; now - period <= 2; period--) {
		if ((period & 31) == cookie >> 27 &&
		    (cookie_hash(st, p, sport, dport, period << 3 | i, in->seq - 1) &
		     0xffffff) == (cookie & 0xffffff)) {
			*mss = cookie_mss[i];
			return true;
		}
	}
	return false;
}

/* Window scale (4 bits, 15: none), SACK, ECN in the low 6 bits of the timestamp. */
static uint32_t cookie_ts(struct tp_stack *st, const struct pkt *p, const struct segin *in,
			  bool ecn)
{
	uint32_t bits = (in->has_ws ? in->ws : 15) | in->sackok << 4 | (uint32_t)ecn << 5;
	uint32_t ts = st->now_ms + ts_offset(st, &p->dst, &p->src);

	ts = (ts & ~63u) | bits;
	return ts;
}

/* What is sure to find room before ACCEPT. */
static uint16_t cookie_window(const struct tp_stack *st)
{
	return (uint16_t)MIN(1u << st->s->early_order, 65535u);
}

static void cookie_reply(struct tp_stack *st, const struct sock *l, const struct pkt *p,
			 const struct segin *in, uint16_t sport, uint16_t dport)
{
	uint8_t o[24] = {2, 4};
	uint32_t n = 4, seq = cookie_make(st, p, sport, dport, in);
	bool ecn =
	    (in->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR) && st->cfg.ecn < 2 && in->ts;

	put16(o + 2, tcp_adv_mss(st, &p->src, &p->dst, l->bound_if));
	if (in->ts) {
		if (in->sackok)
			memcpy(o + 4, "\x04\x02", 2);
		else
			memcpy(o + 4, "\x01\x01", 2);
		o[6] = 8;
		o[7] = 10;
		put32(o + 8, cookie_ts(st, p, in, ecn));
		put32(o + 12, in->tsval);
		n = 16;
		if (in->has_ws) {
			o[16] = 1;
			o[17] = o[18] = 3;
			o[19] = st->cfg.wscale;
			n = 20;
		}
	}
	STAT(st, Tcp_SyncookiesSent);
	tcp_reply(st, p, seq, in->seq + 1, (uint8_t)(TH_SYN | TH_ACK | (ecn ? TH_ECE : 0)),
		  4096, o, n);
}

/* ---- segments for a listener ---- */

static void syn_input(struct tp_stack *st, struct sock *l, struct pkt *p, struct segin *in,
		      uint16_t sport, uint16_t dport)
{
	struct sock *s;
	struct tcp *t;

	if (l->t.nacc >= l->t.backlog) {
		STAT(st, Tcp_ListenOverflows);
		return;
	}
	if (st->cfg.always_cookies || st->nsyn >= st->cfg.syn_backlog ||
	    l->t.nsyn >= MAX(l->t.backlog, 8u) || !(s = child_new(st, l, p, sport, dport))) {
		cookie_reply(st, l, p, in, sport, dport);
		return;
	}
	t = &s->t;
	child_numbers(s, tcp_isn(st, &s->laddr, dport, &s->raddr, sport), in->seq);
	tcp_syn_options(st, s, in);
	t->ts_recent_ms = t->start_ms = st->now_ms;
	t->snd_wnd = t->max_wnd = in->wnd;
	t->snd_wl1 = in->seq;
	if ((in->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR) && st->cfg.ecn < 2)
		t->flags |= TF_ECN;
	s->state = TS_SYN_RCVD;
	st->nsyn++;
	l->t.nsyn++;
	sock_hash(st, s);
	tcp_send_syn(st, s);
	tcp_arm_rto(st, s);
}

static void cookie_input(struct tp_stack *st, struct sock *l, struct pkt *p, struct segin *in,
			 uint16_t sport, uint16_t dport)
{
	uint16_t mss;
	struct sock *s;
	struct tcp *t;

	if (!cookie_check(st, p, sport, dport, in, &mss)) {
		STAT(st, Tcp_SyncookiesFailed);
		tcp_reply_rst(st, p, in);
		return;
	}
	if (l->t.nacc >= l->t.backlog || !(s = child_new(st, l, p, sport, dport))) {
		STAT(st, Tcp_ListenOverflows);
		return;
	}
	STAT(st, Tcp_SyncookiesRecv);
	t = &s->t;
	child_numbers(s, in->ack - 1, in->seq - 1);
	t->snd_una = in->ack;
	t->rcv_adv = t->rcv_nxt + cookie_window(st);
	t->peer_mss = mss;
	t->flags &= ~(TF_TS | TF_SACK | TF_WS);
	if (in->ts) {
		uint32_t b = in->tsecr & 63;

		t->flags |= TF_TS;
		t->ts_recent = in->tsval;
		t->ts_recent_ms = st->now_ms;
		if (b & 16)
			t->flags |= TF_SACK;
		if (b & 32)
			t->flags |= TF_ECN;
		if ((b & 15) != 15) {
			t->flags |= TF_WS;
			t->snd_ws = b & 15;
			t->rcv_ws = st->cfg.wscale;
		}
	}
	t->snd_wnd = t->max_wnd = in->wnd << t->snd_ws;
	t->snd_wl1 = in->seq;
	t->snd_wl2 = in->ack;
	s->state = TS_SYN_RCVD;
	st->nsyn++;
	l->t.nsyn++;
	sock_hash(st, s);
	tcp_established(st, s);
	/* Data that came with it is handled as on any connection. */
	if (s->state == TS_ESTABLISHED && (in->len || in->flags & TH_FIN))
		tcp_input(st, p);
}

void tcp_listen_input(struct tp_stack *st, struct sock *l, struct pkt *p, struct segin *in)
{
	const struct tcp_hdr *h = (const struct tcp_hdr *)p->data;
	uint16_t sport = be16(h->sport), dport = be16(h->dport);

	if (in->flags & TH_RST)
		return;
	sock_touch(st, l);
	if (in->flags & TH_ACK) {
		if (in->flags & TH_SYN)
			tcp_reply_rst(st, p, in);
		else
			cookie_input(st, l, p, in, sport, dport);
	} else if (in->flags & TH_SYN && !(in->flags & TH_FIN)) {
		syn_input(st, l, p, in, sport, dport);
	}
}
