/* SPDX-License-Identifier: ISC */
/*
 * Congestion control: CUBIC (RFC 9438) and Reno (RFC 5681), in bytes and integers.
 *
 * cwnd moves only here and in tcp_ack.c, where proportional rate reduction spreads a
 * cut over one round trip. CUBIC's clock is milliseconds, its window segments scaled by
 * 2^10 where fractions matter. Slow start ends early when the round-trip time
 * of a round rises (HyStart, as RFC 9406 measures it), which spares the overshoot that
 * costs a round of losses.
 */
#include "tcp.h"

#define BETA_NUM 717u /* 0.7 * 1024 */

void cc_init(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;

	t->cwnd = st->cfg.initcwnd * t->mss;
	t->ssthresh = 0x7fffffff;
	t->hs_last_min = t->hs_cur_min = UINT32_MAX;
	t->hs_round_end = t->snd_nxt;
}

/* The slow start threshold after a loss. */
uint32_t cc_ssthresh(struct tp_stack *st, struct sock *s)
{
	struct tcp *t = &s->t;
	uint32_t cut;

	if (t->cc == TP_CC_RENO)
		return MAX(t->cwnd / 2, 2u * t->mss);
	/* Fast convergence, RFC 9438 section 4.7. */
	if (t->cwnd < t->cubic_wmax)
		t->cubic_wmax = (uint32_t)((uint64_t)t->cwnd * (1024 + BETA_NUM) / 2048);
	else
		t->cubic_wmax = t->cwnd;
	cut = (uint32_t)((uint64_t)t->cwnd * BETA_NUM / 1024);
	return MAX(cut, 2u * t->mss);
}

void cc_reduced(struct tp_stack *st, struct sock *s)
{
	s->t.cubic_epoch = 0;
	s->t.acked_part = 0;
}

void cc_undo(struct sock *s)
{
	struct tcp *t = &s->t;

	t->cwnd = MAX(t->cwnd, t->prior_cwnd);
	t->ssthresh = MAX(t->ssthresh, t->prior_ssthresh);
	t->cubic_wmax = MAX(t->cubic_wmax, t->prior_cwnd);
	t->cubic_epoch = 0;
}

static uint32_t cbrt64(uint64_t x)
{
	uint32_t lo = 0, hi = 2642245; /* cube root of 2^64 */

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo + 1) / 2;

		if ((uint64_t)mid * mid <= x / mid)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* RFC 9438 section 4.2: K = cbrt((W_max - cwnd_epoch) / C) seconds, C = 0.4; here in ms. */
static void cubic_start(struct tp_stack *st, struct tcp *t)
{
	t->cubic_epoch = st->now_ms | 1;
	t->cubic_west = t->cwnd;
	if (t->cwnd < t->cubic_wmax) {
		uint64_t segs1024 = (uint64_t)(t->cubic_wmax - t->cwnd) * 1024 / t->mss;

		t->cubic_k = cbrt64(segs1024 * 2500000000ull / 1024);
		t->cubic_origin = t->cubic_wmax;
	} else {
		t->cubic_k = 0;
		t->cubic_origin = t->cwnd;
	}
}

/* W_cubic(t), bytes. */
static uint32_t cubic_window(const struct tcp *t, uint32_t ms)
{
	int64_t d = (int64_t)ms - t->cubic_k;
	uint64_t a = (uint64_t)(d < 0 ? -d : d), off;

	a = MIN(a, 100000u);
	off = a * a * a / 10000 * 4 / 1000 * t->mss / 1000;
	if (d < 0)
		return off >= t->cubic_origin ? t->mss : t->cubic_origin - (uint32_t)off;
	return (uint32_t)MIN(t->cubic_origin + off, 0x3fffffffull);
}

static void cubic_acked(struct tp_stack *st, struct tcp *t, uint32_t bytes)
{
	uint32_t target, grow;

	if (!t->cubic_epoch)
		cubic_start(st, t);
	target = cubic_window(t, st->now_ms - t->cubic_epoch + t->srtt / 1000);
	target = MIN(target, t->cwnd + t->cwnd / 2);
	/* Reno-friendly region, section 4.3: alpha = 3 (1 - beta) / (1 + beta) = 0.53. */
	t->acked_part += bytes;
	grow = (uint32_t)((uint64_t)bytes * t->mss / MAX(t->cubic_west, t->mss));
	t->cubic_west += t->cubic_west < t->cubic_origin ? grow * 53 / 100 : grow;
	target = MAX(target, t->cubic_west);
	if (target > t->cwnd)
		grow = (uint32_t)((uint64_t)(target - t->cwnd) * t->acked_part / t->cwnd);
	else
		grow = (uint32_t)((uint64_t)t->mss * t->acked_part / 100 / t->cwnd);
	if (grow) {
		t->cwnd += MIN(grow, bytes);
		t->acked_part = 0;
	}
}

static void reno_acked(struct tcp *t, uint32_t bytes)
{
	t->acked_part += bytes;
	if (t->acked_part >= t->cwnd) {
		t->acked_part -= t->cwnd;
		t->cwnd += t->mss;
	}
}

/* RFC 9406 section 4.2; its conservative phase is left out: on a rise we leave slow start. */
static void hystart(struct tcp *t, uint32_t rtt)
{
	uint32_t thresh;

	if (SEQ_GE(t->snd_una, t->hs_round_end)) {
		t->hs_last_min = t->hs_cur_min;
		t->hs_cur_min = UINT32_MAX;
		t->hs_count = 0;
		t->hs_round_end = t->snd_nxt;
	}
	if (!rtt)
		return;
	t->hs_cur_min = MIN(t->hs_cur_min, rtt);
	if (++t->hs_count < 8 || t->hs_last_min == UINT32_MAX || t->cwnd < 16u * t->mss)
		return;
	thresh = MIN(MAX(t->hs_last_min / 8, 4000u), 16000u);
	if (t->hs_cur_min >= t->hs_last_min + thresh)
		t->ssthresh = t->cwnd;
}

/* bytes were acknowledged outside of recovery while cwnd was the limit. */
void cc_acked(struct tp_stack *st, struct sock *s, uint32_t bytes, uint32_t rtt)
{
	struct tcp *t = &s->t;

	if (t->cwnd >= 0x20000000)
		return;
	if (t->cwnd < t->ssthresh) {
		uint32_t n = MIN(bytes, t->ssthresh - t->cwnd);

		hystart(t, rtt);
		t->cwnd += n;
		bytes -= n;
		if (!bytes)
			return;
	}
	if (t->cc == TP_CC_RENO)
		reno_acked(t, bytes);
	else
		cubic_acked(st, t, bytes);
}
