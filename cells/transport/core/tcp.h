/* SPDX-License-Identifier: ISC */
/*
 * TCP's own files: tcp_in.c (segments), tcp_ack.c (scoreboard, loss detection),
 * tcp_cc.c (congestion control), tcp_out.c, tcp_timer.c, tcp_open.c (connections come and
 * go, listeners, cookies), tcp_info.c.
 */
#ifndef TRANSPORT_TCP_H
#define TRANSPORT_TCP_H

#include "tp_int.h"

#define SEQ_LT(a, b) ((int32_t)((a) - (b)) < 0)
#define SEQ_LE(a, b) ((int32_t)((a) - (b)) <= 0)
#define SEQ_GT(a, b) ((int32_t)((a) - (b)) > 0)
#define SEQ_GE(a, b) ((int32_t)((a) - (b)) >= 0)

#define TCP_WSCALE     7u /* 8 MiB: rings may grow after the handshake */
#define TCP_MIN_MSS    48u
#define TCP_BASE_MSS   1024u /* black hole: first try, then 512 */
#define RTO_INIT       (1 * USEC_PER_SEC)
#define RTO_MIN        200000u
#define RTO_MAX        (120 * USEC_PER_SEC)
#define DELACK_MS      40u
#define BULK_MS        4u /* for what goes with a window */
#define TCP_BULK_SEGS  4u /* that long a segment is bulk data */
#define CORK_MS        200u
#define SYN_RETRIES    6
#define SYNACK_RETRIES 5
#define DATA_RETRIES   15
#define ORPHAN_RETRIES 8
#define FIN_WAIT2_MS   60000u /* without TCP_LINGER2 */
#define LINGER2_MAX_MS 120000u
#define LINGER2_NONE   UINT32_MAX /* an orphan does not wait at all */
#define QUICKACKS      16
#define KEEP_IDLE_MS   7200000u
#define KEEP_INTVL_MS  75000u
#define KEEP_PROBES    9
#define TSO_MAX        63000u

/* A segment taken apart; data is in private memory. */
struct segin {
	uint32_t seq, ack, wnd, len; /* wnd not yet scaled */
	uint32_t tsval, tsecr;
	uint8_t *data;
	const struct rest *rest; /* where the data goes on */
	uint16_t mss, urp;
	uint8_t flags, ws;
	bool ts, sackok, has_ws;
	uint8_t nsack;
	struct seqrange sack[4];
};

/* What one acknowledgement brought. */
struct ackres {
	uint32_t acked, sacked; /* bytes newly acknowledged, newly SACKed */
	uint32_t retrans_acked;
	uint32_t resacked; /* of acked: known by SACK before */
	uint32_t rtt;      /* us, from a segment sent once; 0: none */
	uint32_t sack_rtt;
	uint32_t dsacked;
	uint64_t oldest;
	bool lost_new;
};

/* tcp_in.c */
void tcp_input(struct tp_stack *st, struct pkt *p);
void tcp_ack_now(struct tp_stack *st, struct sock *s);
bool tcp_challenge_ok(struct tp_stack *st, struct sock *s);

/* tcp_ack.c */
bool tcp_ack(struct tp_stack *st, struct sock *s, const struct segin *in);
void tcp_sent(struct tp_stack *st, struct sock *s, uint32_t seq, uint32_t len, uint8_t flags);
struct seg *tcp_seg_split(struct tp_stack *st, struct sock *s, struct seg *g, uint32_t len);
void tcp_scoreboard_drop(struct tp_stack *st, struct sock *s);
void tcp_mark_all_lost(struct tp_stack *st, struct sock *s);
void tcp_mark_lost(struct sock *s, struct seg *g);
uint32_t tcp_rack_detect(struct tp_stack *st, struct sock *s);
void tcp_enter_recovery(struct tp_stack *st, struct sock *s);
void tcp_enter_loss(struct tp_stack *st, struct sock *s);
void tcp_reo_timeout(struct tp_stack *st, struct sock *s);
void tcp_rtt_sample(struct tp_stack *st, struct sock *s, uint32_t us);

/* tcp_cc.c */
void cc_init(struct tp_stack *st, struct sock *s);
uint32_t cc_ssthresh(struct tp_stack *st, struct sock *s);
void cc_acked(struct tp_stack *st, struct sock *s, uint32_t bytes, uint32_t rtt);
void cc_reduced(struct tp_stack *st, struct sock *s);
void cc_undo(struct sock *s);

/* tcp_out.c */
void tcp_output(struct tp_stack *st, struct sock *s);
bool tcp_orphan_wait(struct tp_stack *st, struct sock *s);
void tcp_output_later(struct tp_stack *st, struct sock *s);
int tcp_xmit(struct tp_stack *st, struct sock *s, uint32_t seq, uint32_t len, uint8_t flags);
void tcp_send_syn(struct tp_stack *st, struct sock *s);
void tcp_reply_rst(struct tp_stack *st, const struct pkt *p, const struct segin *in);
void tcp_send_rst(struct tp_stack *st, struct sock *s);
void tcp_reply(struct tp_stack *st, const struct pkt *p, uint32_t seq, uint32_t ack,
	       uint8_t flags, uint16_t wnd, const uint8_t *opts, uint32_t optlen);
void tcp_probe(struct tp_stack *st, struct sock *s);
void tcp_loss_probe(struct tp_stack *st, struct sock *s);
void tcp_retransmit_head(struct tp_stack *st, struct sock *s);
bool tcp_route(struct tp_stack *st, struct sock *s, struct dst *d);
void tcp_window_check(struct tp_stack *st, struct sock *s);

/* tcp_timer.c */
void tcp_timer(struct tp_stack *st, struct sock *s, unsigned which);
void tcp_arm(struct tp_stack *st, struct sock *s);
void tcp_arm_rto(struct tp_stack *st, struct sock *s);
void tcp_arm_persist(struct tp_stack *st, struct sock *s);
void tcp_keep_arm(struct tp_stack *st, struct sock *s);

/* tcp_open.c */
int tcp_connect(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port);
int tcp_listen(struct tp_stack *st, struct sock *s, uint32_t backlog);
struct sock *tcp_accept_peek(struct tp_stack *st, struct sock *l);
void tcp_accept_take(struct tp_stack *st, struct sock *l, struct sock *s);
int tcp_shutdown(struct tp_stack *st, struct sock *s, uint32_t how);
void tcp_release(struct tp_stack *st, struct sock *s, bool abort);
void tcp_kick(struct tp_stack *st, struct sock *s);
void tcp_abort(struct tp_stack *st, struct sock *s, int err, bool rst);
void tcp_closed(struct tp_stack *st, struct sock *s, int err);
void tcp_time_wait(struct tp_stack *st, struct sock *s);
void tcp_drained(struct tp_stack *st, struct sock *s);
void tcp_fin_acked(struct tp_stack *st, struct sock *s);
bool tcp_recycle_time_wait(struct tp_stack *st);
void tcp_link_up(struct tp_stack *st);
void tcp_icmp(struct tp_stack *st, struct sock *s, uint32_t seq, int err, uint32_t mtu);
void tcp_established(struct tp_stack *st, struct sock *s);
void tcp_mss_sync(struct tp_stack *st, struct sock *s);
void tcp_acceptq_restore(struct tp_stack *st, struct sock *l, struct sock *s);
void tcp_child_gone(struct tp_stack *st, struct sock *s);

/* tcp_listen.c */
void tcp_listen_input(struct tp_stack *st, struct sock *l, struct pkt *p, struct segin *in);
uint32_t tcp_isn(struct tp_stack *st, const struct ipa *laddr, uint16_t lport,
		 const struct ipa *raddr, uint16_t rport);
void tcp_syn_options(struct tp_stack *st, struct sock *s, const struct segin *in);
uint16_t tcp_adv_mss(struct tp_stack *st, const struct ipa *dst, const struct ipa *src,
		     unsigned bound_if);

/* tcp_info.c: struct tcp_info of Linux's uapi/linux/tcp.h; returns bytes written */
uint32_t tcp_info_fill(struct tp_stack *st, const struct sock *s, uint8_t *out, uint32_t room);

static inline uint32_t tcp_tx_index(const struct sock *s, uint32_t seq)
{
	return seq - (s->t.iss + 1);
}

static inline uint32_t tcp_rx_index(const struct sock *s, uint32_t seq)
{
	return seq - (s->t.irs + 1);
}

/* One past the last byte the client put in its ring. */
static inline uint32_t tcp_data_end(const struct sock *s)
{
	return s->tx_prod + s->t.iss + 1;
}

static inline uint32_t tcp_tsval(const struct tp_stack *st, const struct sock *s)
{
	return st->now_ms + s->t.ts_off;
}

static inline uint32_t tcp_pipe(const struct sock *s)
{
	const struct tcp *t = &s->t;
	int64_t n = (int64_t)(t->snd_nxt - t->snd_una) - t->sacked - t->lost + t->retrans;

	return n > 0 ? (uint32_t)n : 0;
}

#endif
