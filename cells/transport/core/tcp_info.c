/* SPDX-License-Identifier: ISC */
/*
 * TCP_INFO, in the layout of Linux's struct tcp_info (include/uapi/linux/tcp.h); counts
 * of segments are bytes over the MSS, since that is what this stack counts.
 */
#include "tcp.h"

struct tcp_info {
	uint8_t state, ca_state, retransmits, probes, backoff, options, wscale, limited;
	uint32_t rto, ato, snd_mss, rcv_mss;
	uint32_t unacked, sacked, lost, retrans, fackets;
	uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
	uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
	uint32_t rcv_rtt, rcv_space, total_retrans;
	uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
	uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
	uint64_t delivery_rate;
};
_Static_assert(sizeof(struct tcp_info) == 168, "uapi/linux/tcp.h up to tcpi_delivery_rate");

static uint32_t segs(uint32_t bytes, uint32_t mss)
{
	return (bytes + mss - 1) / mss;
}

uint32_t tcp_info_fill(struct tp_stack *st, const struct sock *s, uint8_t *out, uint32_t room)
{
	const struct tcp *t = &s->t;
	uint32_t mss = MAX(t->mss, 1u), n = MIN(room, sizeof(struct tcp_info));
	struct tcp_info i = {
	    .state = s->state,
	    .ca_state = t->ca_state,
	    .retransmits = t->retries,
	    .probes = t->probes,
	    .backoff = t->backoff,
	    .options = (uint8_t)((t->flags & TF_TS ? 1 : 0) | (t->flags & TF_SACK ? 2 : 0) |
				 (t->flags & TF_WS ? 4 : 0) | (t->flags & TF_ECN ? 8 : 0)),
	    .wscale = (uint8_t)(t->snd_ws | t->rcv_ws << 4),
	    .rto = t->rto,
	    .ato = DELACK_MS * 1000,
	    .snd_mss = t->mss,
	    .rcv_mss = t->adv_mss,
	    .pmtu = s->mtu,
	    .rtt = t->srtt,
	    .rttvar = t->rttvar,
	    .snd_ssthresh = segs(t->ssthresh, mss),
	    .snd_cwnd = t->cwnd / mss,
	    .advmss = t->adv_mss,
	    .reordering = 3,
	    .rcv_space = ring_size(&s->rx),
	    .total_retrans = t->total_retrans,
	    .bytes_acked = t->bytes_acked,
	    .bytes_received = t->bytes_received,
	    .segs_out = t->segs_out,
	    .segs_in = t->segs_in,
	    .min_rtt = t->min_rtt,
	};

	if (s->state == TS_LISTEN) {
		i.unacked = t->nacc;
		i.sacked = t->backlog;
	} else {
		i.unacked = segs(t->snd_nxt - t->snd_una, mss);
		i.sacked = segs(t->sacked, mss);
		i.lost = segs(t->lost, mss);
		i.retrans = segs(t->retrans, mss);
		i.notsent_bytes = s->tx_prod - tcp_tx_index(s, t->snd_nxt);
		i.last_data_sent = st->now_ms - t->last_tx_ms;
		i.last_data_recv = i.last_ack_recv = st->now_ms - t->last_rx_ms;
	}
	memcpy(out, &i, n);
	return n;
}
