/* SPDX-License-Identifier: ISC */
/* The client's side of the data rings, and what is ready to be read or written. */
#include <string.h>
#include "pvs_int.h"

static void kick(struct pvs_client *c, int s)
{
	uint32_t w = (uint32_t)s / 64;

	if (!(__atomic_fetch_or(&c->kick->word[w], 1ull << s % 64, __ATOMIC_SEQ_CST) >> s % 64 &
	      1))
		__atomic_fetch_or(&c->kick->sum[w / 64], 1ull << w % 64, __ATOMIC_SEQ_CST);
	pvs_wake_seen(c);
}

static uint32_t tx_size(const struct pvs_client *c, int s)
{
	return c->sock[s].rings.tx_order ? 1u << c->sock[s].rings.tx_order : 0;
}

static uint32_t rx_size(const struct pvs_client *c, int s)
{
	return c->sock[s].rings.rx_order ? 1u << c->sock[s].rings.rx_order : 0;
}

static uint32_t tx_free(struct pvs_client *c, int s)
{
	uint32_t used = c->sock[s].tx_prod - load(&c->slot[s].tx_cons);

	return used > tx_size(c, s) ? 0 : tx_size(c, s) - used;
}

static uint32_t rx_used(struct pvs_client *c, int s)
{
	uint32_t used = load(&c->slot[s].rx_prod) - c->sock[s].rx_cons;

	return used > rx_size(c, s) ? 0 : used;
}

static void tx_copy(struct pvs_client *c, int s, uint32_t idx, const void *p, uint32_t n)
{
	uint8_t *b = c->base + c->sock[s].rings.tx_off;
	uint32_t size = tx_size(c, s), at = idx & (size - 1);
	uint32_t first = n < size - at ? n : size - at;

	memcpy(b + at, p, first);
	if (first < n)
		memcpy(b, (const uint8_t *)p + first, n - first);
}

static void rx_copy(struct pvs_client *c, int s, uint32_t idx, void *p, uint32_t n)
{
	const uint8_t *b = c->base + c->sock[s].rings.rx_off;
	uint32_t size = rx_size(c, s), at = idx & (size - 1);
	uint32_t first = n < size - at ? n : size - at;

	memcpy(p, b + at, first);
	if (first < n)
		memcpy((uint8_t *)p + first, b, n - first);
}

int pvs_error(struct pvs_client *c, int s)
{
	uint32_t n = load(&c->slot[s].err_count);

	if (n == c->sock[s].err_seen)
		return 0;
	c->sock[s].err_seen = n;
	return (int)(c->slot[s].error & 0xfff);
}

/* How much of n bytes from an index on lies in one piece of a ring, and where in it. */
static uint32_t piece(uint32_t size, uint32_t idx, uint32_t n, uint32_t *at)
{
	*at = size ? idx & (size - 1) : 0;
	return n < size - *at ? n : size - *at;
}

uint32_t pvs_send_space(struct pvs_client *c, int s, void **p)
{
	uint32_t at, n = piece(tx_size(c, s), c->sock[s].tx_prod, tx_free(c, s), &at);

	*p = c->base + c->sock[s].rings.tx_off + at;
	return n;
}

void pvs_send_put(struct pvs_client *c, int s, uint32_t n)
{
	c->sock[s].tx_prod += n;
	store(&c->slot[s].tx_prod, c->sock[s].tx_prod);
}

void pvs_send_kick(struct pvs_client *c, int s, bool more)
{
	uint32_t was = c->slot[s].tx_flags;
	uint32_t is = more ? was | PVS_TX_MORE : was & ~PVS_TX_MORE;

	if (is != was)
		__atomic_store_n(&c->slot[s].tx_flags, is, __ATOMIC_RELAXED);
	kick(c, s);
}

void pvs_send_done(struct pvs_client *c, int s, uint32_t n)
{
	pvs_send_put(c, s, n);
	kick(c, s);
}

int pvs_send(struct pvs_client *c, int s, const void *p, uint32_t n)
{
	uint32_t st = load(&c->slot[s].state);
	int e = pvs_error(c, s);

	if (e)
		return -e;
	if (st & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED))
		return -E_PIPE;
	if (!(st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING)))
		return -E_NOTCONN;
	if (!n)
		return 0;
	if (tx_free(c, s) < n)
		n = tx_free(c, s);
	if (!n)
		return -E_AGAIN;
	tx_copy(c, s, c->sock[s].tx_prod, p, n);
	pvs_send_done(c, s, n);
	return (int)n;
}

int pvs_send_oob(struct pvs_client *c, int s, const void *p, uint32_t n)
{
	if (!n || tx_free(c, s) < n)
		return -E_AGAIN;
	__atomic_store_n(&c->slot[s].tx_urg, c->sock[s].tx_prod + n, __ATOMIC_RELAXED);
	__atomic_store_n(&c->slot[s].tx_flags, c->slot[s].tx_flags | PVS_TX_URG,
			 __ATOMIC_RELAXED);
	return pvs_send(c, s, p, n);
}

uint32_t pvs_recv_data(struct pvs_client *c, int s, const void **p)
{
	uint32_t at, n = piece(rx_size(c, s), c->sock[s].rx_cons, rx_used(c, s), &at);

	*p = c->base + c->sock[s].rings.rx_off + at;
	return n;
}

void pvs_recv_take(struct pvs_client *c, int s, uint32_t n)
{
	c->sock[s].rx_cons += n;
	store(&c->slot[s].rx_cons, c->sock[s].rx_cons);
}

void pvs_recv_kick(struct pvs_client *c, int s)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (load(&c->slot[s].state) & PVS_ST_RX_FULL)
		kick(c, s);
}

void pvs_recv_done(struct pvs_client *c, int s, uint32_t n)
{
	pvs_recv_take(c, s, n);
	pvs_recv_kick(c, s);
}

int pvs_recv(struct pvs_client *c, int s, void *p, uint32_t n)
{
	uint32_t st = load(&c->slot[s].state), have = rx_used(c, s);
	int e;

	if (have < n)
		n = have;
	if (n) {
		rx_copy(c, s, c->sock[s].rx_cons, p, n);
		pvs_recv_done(c, s, n);
		return (int)n;
	}
	e = pvs_error(c, s);
	if (e)
		return -e;
	if (st & (PVS_ST_RX_EOF | PVS_ST_CLOSED))
		return 0;
	return st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING) ? -E_AGAIN : -E_NOTCONN;
}

int pvs_sendto(struct pvs_client *c, int s, struct pvs_dgram *d, const void *p, uint32_t n)
{
	uint32_t all = (n + (uint32_t)sizeof(*d) + 7) & ~7u;
	int e = pvs_error(c, s);

	if (e)
		return -e;
	if (all > tx_size(c, s))
		return -E_MSGSIZE;
	if (all > tx_free(c, s))
		return -E_AGAIN;
	d->len = n;
	tx_copy(c, s, c->sock[s].tx_prod, d, sizeof(*d));
	tx_copy(c, s, c->sock[s].tx_prod + (uint32_t)sizeof(*d), p, n);
	pvs_send_done(c, s, all);
	return (int)n;
}

/*
 * Records of a socket with IP_RECVERR are of two kinds, datagrams and errors, and either is
 * read without the other: what was taken before its turn is marked in the ring. A socket
 * without it has datagrams only, so the first record is the one.
 */
#define ERRORS_MAX 32u

static void rx_mark(struct pvs_client *c, int s, uint32_t idx, uint32_t flags)
{
	uint8_t *b = c->base + c->sock[s].rings.rx_off;

	flags |= PVS_DG_TAKEN;
	for (unsigned i = 0; i < sizeof(flags); i++, flags >>= 8)
		b[(idx + offsetof(struct pvs_dgram, flags) + i) & (rx_size(c, s) - 1)] =
		    (uint8_t)flags;
}

/* Bytes of the record at idx, `have` from there on to the end of what is there; 0: nonsense. */
static uint32_t rec_at(struct pvs_client *c, int s, uint32_t idx, uint32_t have,
		       uint32_t head[2])
{
	uint32_t all;

	if (have < sizeof(struct pvs_dgram))
		return 0;
	rx_copy(c, s, idx, head, 8); /* len, flags */
	all = (head[0] + (uint32_t)sizeof(struct pvs_dgram) + 7) & ~7u;
	return head[0] > rx_size(c, s) || all > have ? 0 : all;
}

/* The first record of a kind that was not taken yet. Its length, or -errno. */
static int rec_find(struct pvs_client *c, int s, bool error, uint32_t *at)
{
	uint32_t idx = c->sock[s].rx_cons, have = rx_used(c, s), head[2], all;

	for (; have; idx += all, have -= all) {
		all = rec_at(c, s, idx, have, head);
		if (!all)
			return -E_PROTO;
		*at = idx;
		if (!c->sock[s].recverr)
			return error ? -E_AGAIN : (int)head[0];
		if (!(head[1] & PVS_DG_TAKEN) && !!(head[1] & PVS_DG_ERROR) == error)
			return (int)head[0];
	}
	return -E_AGAIN;
}

/* The record at idx is not needed any more. */
static void rec_take(struct pvs_client *c, int s, uint32_t idx)
{
	uint32_t have = rx_used(c, s), head[2], all, done = 0;

	all = rec_at(c, s, idx, have - (idx - c->sock[s].rx_cons), head);
	if (!all)
		return;
	if (idx != c->sock[s].rx_cons) {
		rx_mark(c, s, idx, head[1]);
		return;
	}
	do
		done += all;
	while ((all = rec_at(c, s, idx + done, have - done, head)) && c->sock[s].recverr &&
	       head[1] & PVS_DG_TAKEN);
	pvs_recv_done(c, s, done);
}

/* Who asks for errors and never reads them still gets his datagrams. */
static void errors_trim(struct pvs_client *c, int s)
{
	uint32_t idx = c->sock[s].rx_cons, have = rx_used(c, s), head[2], all, n = 0, at;

	for (; have && (all = rec_at(c, s, idx, have, head)); idx += all, have -= all)
		n += (head[1] & (PVS_DG_ERROR | PVS_DG_TAKEN)) == PVS_DG_ERROR;
	for (; n > ERRORS_MAX && rec_find(c, s, true, &at) >= 0; n--)
		rec_take(c, s, at);
}

int pvs_next_len(struct pvs_client *c, int s)
{
	uint32_t at;
	int n, e;

	if (c->sock[s].recverr)
		errors_trim(c, s);
	n = rec_find(c, s, false, &at);
	if (n != -E_AGAIN)
		return n;
	e = pvs_error(c, s);
	return e ? -e : -E_AGAIN;
}

static int rec_read(struct pvs_client *c, int s, uint32_t at, struct pvs_dgram *d, void *p,
		    uint32_t n)
{
	uint32_t have = rx_used(c, s) - (at - c->sock[s].rx_cons), head[2];
	uint32_t all = rec_at(c, s, at, have, head);

	if (!all)
		return -E_PROTO;
	rx_copy(c, s, at, d, sizeof(*d));
	d->len = head[0];
	if (d->len < n)
		n = d->len;
	rx_copy(c, s, at + (uint32_t)sizeof(*d), p, n);
	rec_take(c, s, at);
	return (int)n;
}

int pvs_recvfrom(struct pvs_client *c, int s, struct pvs_dgram *d, void *p, uint32_t n)
{
	uint32_t at;
	int e = rec_find(c, s, false, &at);

	if (e >= 0)
		return rec_read(c, s, at, d, p, n);
	if (e == -E_AGAIN && (e = pvs_error(c, s)))
		return -e;
	return e ? e : -E_AGAIN;
}

int pvs_recverr(struct pvs_client *c, int s, struct pvs_dgram *d, void *p, uint32_t n)
{
	uint32_t at;
	int e = rec_find(c, s, true, &at);

	if (e < 0)
		return e;
	e = rec_read(c, s, at, d, p, n);
	/* The last one takes the error that announced it with it. */
	if (rec_find(c, s, true, &at) < 0)
		pvs_error(c, s);
	return e;
}

/* ---- readiness ---- */

uint32_t pvs_ready_events(struct pvs_client *c, int s)
{
	uint32_t st = load(&c->slot[s].state), ev = 0, size = tx_size(c, s);

	bool in = rx_used(c, s) != 0;

	if (c->sock[s].recverr && in) {
		uint32_t at;

		ev |= rec_find(c, s, true, &at) >= 0 ? PVS_EV_ERR : 0;
		in = rec_find(c, s, false, &at) != -E_AGAIN;
	}
	if (in || st & (PVS_ST_RX_EOF | PVS_ST_CLOSED) ||
	    (st & PVS_ST_LISTENING && load(&c->slot[s].acceptq)))
		ev |= PVS_EV_IN;
	if (st & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED) ||
	    (size && tx_free(c, s) >= size / 3 &&
	     (c->sock[s].type != PVS_SOCK_STREAM || st & PVS_ST_CONNECTED)))
		ev |= PVS_EV_OUT;
	if (load(&c->slot[s].rx_urg_count) != c->sock[s].urg_seen)
		ev |= PVS_EV_PRI;
	if (load(&c->slot[s].err_count) != c->sock[s].err_seen)
		ev |= PVS_EV_ERR;
	if (st & PVS_ST_RX_EOF)
		ev |= PVS_EV_RDHUP;
	if (st & PVS_ST_CLOSED || (st & PVS_ST_RX_EOF && st & PVS_ST_TX_CLOSED))
		ev |= PVS_EV_HUP;
	return ev;
}

void pvs_want(struct pvs_client *c, int s, uint32_t events)
{
	if (c->slot[s].want == events)
		return;
	__atomic_store_n(&c->slot[s].want, events, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* What is true already would not be announced again: mark it ourselves. */
	if (pvs_ready_events(c, s) & events) {
		__atomic_fetch_or(&c->event->word[s / 64], 1ull << s % 64, __ATOMIC_SEQ_CST);
		c->pending[s / 4096] |= 1ull << s / 64 % 64;
	}
}

int pvs_next_event(struct pvs_client *c)
{
	pvs_responses(c);
	for (uint32_t i = 0; i * 4096 < c->nslots; i++) {
		if (__atomic_load_n(&c->event->sum[i], __ATOMIC_RELAXED))
			c->pending[i] |=
			    __atomic_exchange_n(&c->event->sum[i], 0, __ATOMIC_SEQ_CST);
		while (c->pending[i]) {
			uint32_t w = i * 64 + (uint32_t)__builtin_ctzll(c->pending[i]), b, s;
			uint64_t bits = w < c->nslots / 64 ? load64(&c->event->word[w]) : 0;

			if (!bits) {
				c->pending[i] &= c->pending[i] - 1;
				continue;
			}
			b = (uint32_t)__builtin_ctzll(bits);
			__atomic_fetch_and(&c->event->word[w], ~(1ull << b), __ATOMIC_SEQ_CST);
			s = w * 64 + b;
			if (c->sock[s].used && !c->sock[s].closing)
				return (int)s;
		}
	}
	return -1;
}

bool pvs_idle_begin(struct pvs_client *c)
{
	__atomic_store_n(&c->hdr->client_idle, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (load(&c->hdr->rsp_prod) == c->rsp_cons) {
		uint32_t i;

		for (i = 0; i * 4096 < c->nslots; i++) {
			if (c->pending[i] ||
			    __atomic_load_n(&c->event->sum[i], __ATOMIC_SEQ_CST))
				break;
		}
		if (i * 4096 >= c->nslots)
			return true;
	}
	pvs_idle_end(c);
	return false;
}

void pvs_idle_end(struct pvs_client *c)
{
	__atomic_store_n(&c->hdr->client_idle, 0, __ATOMIC_SEQ_CST);
}
