/* SPDX-License-Identifier: ISC */
/*
 * The server's side of the PV socket protocol (include/d0/pvsock.h): the rings. What the
 * commands do is in pvcmd.c.
 *
 * The client is hostile by assumption. The layout is copied and checked once per client
 * generation; a request is copied before it is looked at; indexes are read once and must
 * make sense against our own copies. A client that breaks the command rings is
 * disconnected (its sockets are reset); one that breaks a socket's ring loses that socket.
 *
 * Several clients may share the stack (a pod: containers with one network), each with a region
 * of its own, struct pv. A socket belongs to the client that made it; addresses, ports and the
 * loopback are common to all, as in a network namespace.
 *
 * Ownership. pv->map gives the socket of a slot. A slot is the client's again when the
 * RELEASE was answered. A socket that is to be answered keeps its slot until there is room in
 * the response ring (pv->due), and no new request is taken before.
 *
 * Restarts. A request is carried out and answered, or it was never begun: journal.c.
 */
#include "pv.h"

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* ---- layout ---- */

bool pv_span_ok(uint32_t size, uint32_t off, uint64_t len)
{
	return off % PVS_ALIGN == 0 && off >= PVS_PAGE && off <= size && len <= size - off;
}

static int layout_check(struct pv *pv, const struct pvs_header *h)
{
	uint32_t bits = (uint32_t)sizeof(struct pvs_bitmap) + h->nslots / 8;

	if (h->version != PVS_VERSION || h->size > pv->mapped || h->size < 2 * PVS_PAGE ||
	    !h->nreq || h->nreq & (h->nreq - 1) || h->nreq > PVS_MAX_REQS || !h->nslots ||
	    h->nslots % 64 || h->nslots > PVS_MAX_SLOTS)
		return -TE_INVAL;
	if (!pv_span_ok(h->size, h->req_off, (uint64_t)h->nreq * sizeof(struct pvs_req)) ||
	    !pv_span_ok(h->size, h->rsp_off, (uint64_t)h->nreq * sizeof(struct pvs_rsp)) ||
	    !pv_span_ok(h->size, h->slot_off, (uint64_t)h->nslots * sizeof(struct pvs_slot)) ||
	    !pv_span_ok(h->size, h->kick_off, bits) ||
	    !pv_span_ok(h->size, h->event_off, bits) || !pv_span_ok(h->size, h->heap_off, 0))
		return -TE_INVAL;
	pv->gen = h->client_gen;
	pv->size = h->size;
	pv->nreq = h->nreq;
	pv->nslots = h->nslots;
	pv->heap = h->heap_off;
	pv->req = (struct pvs_req *)(pv->base + h->req_off);
	pv->rsp = (struct pvs_rsp *)(pv->base + h->rsp_off);
	pv->slot = (struct pvs_slot *)(pv->base + h->slot_off);
	pv->kick = (struct pvs_bitmap *)(pv->base + h->kick_off);
	pv->event = (struct pvs_bitmap *)(pv->base + h->event_off);
	return 0;
}

/* Drops every socket of the client: it restarted, is gone, or it broke the protocol. */
void pv_reset(struct tp_stack *st, struct pv *pv)
{
	for (uint32_t i = 1; i < st->high; i++) {
		struct sock *s = SOCK(st, i);

		if (s->kind == SK_FREE || s->client != pv->number || s->slot == PVS_NO_SLOT)
			continue;
		pv->map[s->slot] = 0;
		s->slot = PVS_NO_SLOT;
		s->rx.space = s->rx.space == SPACE_CLIENT ? SPACE_NONE : s->rx.space;
		s->tx.space = SPACE_NONE;
		if (s->kind == SK_TCP)
			tcp_abort(st, s, 0, true);
		if (s->kind != SK_FREE)
			sock_free(st, s);
	}
	pv->due = NIL;
	pv->nsocks = 0;
	pv->up = false;
}

void pv_slot_take(struct tp_stack *st, struct sock *s, uint32_t slot)
{
	struct pv *pv = PV(st, s);

	pv->map[slot] = sock_index(st, s);
	pv->nsocks++;
	s->slot = slot;
}

static void counts_publish(struct pv *pv)
{
	store(&pv->hdr->rsp_prod, pv->rsp_prod);
	store(&pv->hdr->req_cons, pv->req_cons);
}

/* Looks for a client that wants to begin; resets what there was. */
static void setup(struct tp_stack *st, struct pv *pv)
{
	struct pvs_header h;
	int e;

	if (pv->up && load(&pv->hdr->client_gen) == pv->gen)
		return;
	if (!pv->hdr)
		return;
	if (__atomic_load_n(&pv->hdr->magic, __ATOMIC_ACQUIRE) != PVS_MAGIC) {
		if (pv->up) /* else it would be looked at again and again */
			pv_reset(st, pv);
		return;
	}
	memcpy(&h, pv->hdr, 64);
	if ((pv->up && h.client_gen == pv->gen) ||
	    (pv->last_bad && h.client_gen == pv->last_bad))
		return;
	if (pv->up)
		pv_reset(st, pv);
	e = layout_check(pv, &h);
	pv->hdr->server_version = PVS_VERSION;
	pv->hdr->server_error = e;
	if (e) {
		pv->last_bad = h.client_gen;
		STAT(st, Pv_BadRequests);
		return;
	}
	pv->last_bad = 0;
	pv->up = true;
	if (st->adopting && st->s->client_gen[pv->number] == pv->gen) {
		/* The counts that hold; the instance before may not have told them. */
		pv->req_cons = (uint32_t)st->s->done[pv->number];
		pv->rsp_prod = (uint32_t)(st->s->done[pv->number] >> 32);
		counts_publish(pv);
	} else {
		pv->req_cons = load(&pv->hdr->req_cons);
		pv->rsp_prod = load(&pv->hdr->rsp_prod);
	}
	journal_commit(st, pv);
	memset(pv->map, 0, (size_t)pv->map_size * 4);
	if (!st->adopting)
		pv_serve(st, pv);
}

/*
 * An instance before may have died between any two steps of a mark or a bell, or between
 * marking and ringing. A mark without its summary bit would never be found, nor made again; so
 * every adopted slot is marked, every word of kicks is looked at, and the client is woken.
 */
static void marks_renew(struct pv *pv)
{
	uint32_t nslots = MIN(pv->nslots, pv->map_size);

	for (uint32_t slot = 0; slot < nslots; slot++) {
		uint32_t w = slot / 64;

		if (!pv->map[slot])
			continue;
		__atomic_fetch_or(&pv->event->word[w], 1ull << slot % 64, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&pv->event->sum[w / 64], 1ull << w % 64, __ATOMIC_SEQ_CST);
	}
	for (uint32_t w = 0; w * 64 < nslots; w++)
		__atomic_fetch_or(&pv->kick->sum[w / 64], 1ull << w % 64, __ATOMIC_SEQ_CST);
	__atomic_store_n(&pv->hdr->client_idle, 1, __ATOMIC_SEQ_CST);
	pv->published = true;
}

/*
 * A client that an earlier instance served may have sockets that are lost: they were damaged,
 * or the whole state is gone. It must hear of it. Slots that are free are shown so, too.
 */
static void slots_lost(struct pv *pv)
{
	for (uint32_t i = 0; i < MIN(pv->nslots, pv->map_size); i++) {
		struct pvs_slot *p = &pv->slot[i];

		if (pv->map[i] || !p->gen || p->state & PVS_ST_CLOSED)
			continue;
		p->error = TE_CONNRESET;
		__atomic_add_fetch(&p->err_count, 1, __ATOMIC_RELEASE);
		store(&p->state, PVS_ST_CLOSED | PVS_ST_RX_EOF | PVS_ST_TX_CLOSED);
		__atomic_fetch_or(&pv->event->word[i / 64], 1ull << i % 64, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&pv->event->sum[i / 4096], 1ull << i / 64 % 64,
				  __ATOMIC_SEQ_CST);
	}
}

/* The client's sockets are settled: it may ask for more. */
void pv_serve(struct tp_stack *st, struct pv *pv)
{
	if (pv->hdr->server_client_gen == pv->gen)
		slots_lost(pv);
	st->s->client_gen[pv->number] = pv->gen;
	pv->hdr->features = PVS_FEAT_RAW | PVS_FEAT_PACKET | PVS_FEAT_UDP_GSO |
			    (st->cfg.no_ipv6 ? 0 : PVS_FEAT_IPV6);
	pv->hdr->server_gen = st->s->server_gen;
	pv->hdr->server_client_gen = pv->gen;
	__atomic_store_n(&pv->hdr->server_magic, PVS_MAGIC, __ATOMIC_RELEASE);
	marks_renew(pv);
}

void tp_attach_client(struct tp_stack *st, unsigned client, void *region, uint32_t size)
{
	struct pv *pv = &st->pv[client];

	if (pv->up)
		pv_reset(st, pv);
	st->nclients = MAX(st->nclients, client + 1);
	pv->base = region;
	pv->hdr = region;
	pv->mapped = size;
	pv->last_bad = 0;
	if (size < 2 * PVS_PAGE) {
		pv->hdr = NULL;
		return;
	}
	tp_time(st);
	setup(st, pv);
}

void tp_detach_client(struct tp_stack *st, unsigned client)
{
	struct pv *pv = &st->pv[client];

	tp_time(st);
	pv_reset(st, pv);
	pv->hdr = NULL;
	pv->base = NULL;
}

bool pv_rings_ok(const struct pv *pv, const struct pvs_rings *r)
{
	for (int i = 0; i < 2; i++) {
		uint32_t off = i ? r->rx_off : r->tx_off;
		uint8_t order = i ? r->rx_order : r->tx_order;

		if (!order)
			continue;
		if (order < PVS_MIN_ORDER || order > PVS_MAX_ORDER || off < pv->heap ||
		    !pv_span_ok(pv->size, off, 1ull << order))
			return false;
	}
	return true;
}

/* ---- responses ---- */

static bool rsp_room(const struct pv *pv)
{
	uint32_t used = pv->rsp_prod - load(&pv->hdr->rsp_cons);

	return used < pv->nreq;
}

/* Puts a response where journal_commit() and counts_publish() make it one. */
static void respond(struct pv *pv, const struct pvs_rsp *r)
{
	pv->rsp[pv->rsp_prod & (pv->nreq - 1)] = *r;
	pv->rsp_prod++;
	pv->published = true;
}

/* The slot is the client's again. */
void pv_detach(struct tp_stack *st, struct sock *s)
{
	struct pv *pv = PV(st, s);

	sock_touch(st, s);
	pv->map[s->slot] = 0;
	pv->nsocks--;
	s->slot = PVS_NO_SLOT;
	s->rel_due = 0;
	s->tx.space = s->rx.space = SPACE_NONE;
	if (s->kind != SK_TCP || s->state == TS_CLOSED)
		sock_free(st, s);
}

static void due_drain(struct tp_stack *st, struct pv *pv)
{
	while (pv->due && rsp_room(pv)) {
		struct sock *s = SOCK(st, pv->due);
		struct pvs_rsp r = {.id = s->rel_id, .cmd = PVS_CMD_RELEASE, .sock = s->slot};

		pv->due = s->fnext;
		s->fnext = NIL;
		journal_release(st, pv, s);
		respond(pv, &r);
		journal_commit(st, pv);
		counts_publish(pv);
		pv_detach(st, s);
		st->s->journal.rel_sock = NIL;
	}
}

/* The socket needs its slot no more: RELEASE can be answered. */
void pv_release_due(struct tp_stack *st, struct sock *s)
{
	struct pv *pv = PV(st, s);

	if (s->slot == PVS_NO_SLOT || s->rel_due)
		return;
	sock_touch(st, s);
	s->rel_due = 1;
	s->fnext = pv->due;
	pv->due = sock_index(st, s);
}

/* ---- publishing ---- */

uint32_t sock_state_bits(const struct sock *s)
{
	uint32_t b = 0;

	if (s->kind != SK_TCP)
		return (s->flags & SF_CONNECTED ? PVS_ST_CONNECTED : 0) |
		       (s->state == TS_CLOSED ? PVS_ST_CLOSED : 0) |
		       (s->flags & SF_SHUT_RD ? PVS_ST_RX_EOF : 0);
	switch (s->state) {
	case TS_LISTEN:
		return PVS_ST_LISTENING;
	case TS_SYN_SENT:
	case TS_SYN_RCVD:
		return PVS_ST_CONNECTING;
	case TS_CLOSED:
		if (s->t.flags & TF_RST_SENT)
			return PVS_ST_CLOSED | PVS_ST_RX_EOF | PVS_ST_TX_CLOSED;
		return 0;
	case TS_CLOSE_WAIT:
	case TS_LAST_ACK:
	case TS_CLOSING:
	case TS_TIME_WAIT:
		b |= PVS_ST_RX_EOF;
	}
	b |= PVS_ST_CONNECTED;
	if (s->flags & SF_SHUT_RD)
		b |= PVS_ST_RX_EOF;
	if (s->t.flags & TF_FIN_QUEUED)
		b |= PVS_ST_TX_CLOSED;
	if (s->t.flags & TF_RX_FULL)
		b |= PVS_ST_RX_FULL;
	if (!s->t.snd_wnd)
		b |= PVS_ST_TX_BLOCKED;
	return b;
}

static void mark_event(struct tp_stack *st, struct pv *pv, uint32_t slot)
{
	struct pvs_bitmap *m = pv->event;
	uint32_t w = slot / 64;

	STAT(st, Pv_Events);
	if (!(__atomic_fetch_or(&m->word[w], 1ull << slot % 64, __ATOMIC_SEQ_CST) >> slot % 64 &
	      1))
		__atomic_fetch_or(&m->sum[w / 64], 1ull << w % 64, __ATOMIC_SEQ_CST);
	pv->published = true;
}

static bool tx_roomy(const struct sock *s, uint32_t cons)
{
	uint32_t size = ring_size(&s->tx), room = size - (s->tx_prod - cons);

	return size && room >= MAX(size / 3, 1u);
}

/* Brings the slot up to date and marks an event if the client wants to hear of it. */
void pv_publish(struct tp_stack *st, struct sock *s)
{
	struct pv *pv = PV(st, s);
	struct pvs_slot *p;
	uint32_t bits, ev = 0, want;

	if (s->slot == PVS_NO_SLOT || !pv->up || s->flags & SF_RELEASED)
		return;
	p = &pv->slot[s->slot];
	bits = sock_state_bits(s);
	if (p->rx_prod != s->rx_prod) {
		store(&p->rx_prod, s->rx_prod);
		ev |= PVS_EV_IN;
	}
	if (s->pub_tx_cons != s->tx_cons) {
		store(&p->tx_cons, s->tx_cons);
		if (tx_roomy(s, s->tx_cons))
			ev |= PVS_EV_OUT;
		s->pub_tx_cons = s->tx_cons;
	}
	if (s->kind == SK_TCP) {
		p->tx_sent = tcp_tx_index(s, s->t.snd_nxt);
		if (s->t.flags & TF_FIN_SENT)
			p->tx_sent--;
		if (s->state == TS_LISTEN && p->acceptq != s->t.nacc) {
			ev |= s->t.nacc > p->acceptq ? PVS_EV_IN : 0;
			store(&p->acceptq, s->t.nacc);
		}
		if (p->rx_urg_count != s->rx_urg_count) {
			p->rx_urg = tcp_rx_index(s, s->t.rcv_up);
			store(&p->rx_urg_count, s->rx_urg_count);
			ev |= PVS_EV_PRI;
		}
	} else {
		p->rx_drops = s->rx_drops;
	}
	if (p->err_count != s->err_count) {
		p->error = s->error;
		store(&p->err_count, s->err_count);
		ev |= PVS_EV_ERR;
	}
	if (s->pub_state != bits) {
		uint32_t on = bits & ~s->pub_state;

		store(&p->state, bits);
		if (on & PVS_ST_RX_EOF)
			ev |= PVS_EV_IN | PVS_EV_RDHUP;
		if (on & (PVS_ST_CONNECTED | PVS_ST_TX_CLOSED))
			ev |= PVS_EV_OUT;
		if (on & PVS_ST_CLOSED)
			ev |= PVS_EV_HUP | PVS_EV_IN | PVS_EV_OUT;
		if ((bits & (PVS_ST_RX_EOF | PVS_ST_TX_CLOSED)) ==
		    (PVS_ST_RX_EOF | PVS_ST_TX_CLOSED))
			ev |= PVS_EV_HUP;
		s->pub_state = bits;
	}
	if (!ev)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	want = __atomic_load_n(&p->want, __ATOMIC_RELAXED) | PVS_EV_ERR | PVS_EV_HUP;
	if (ev & want)
		mark_event(st, pv, s->slot);
}

static void notify(struct tp_stack *st, struct pv *pv)
{
	if (!pv->up)
		return;
	due_drain(st, pv);
	if (!pv->published)
		return;
	pv->published = false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&pv->hdr->client_idle, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&pv->hdr->client_idle, 0, __ATOMIC_SEQ_CST)) {
		STAT(st, Pv_Notifies);
		st->ops.notify(st->ctx, pv->number);
	}
}

void pv_notify(struct tp_stack *st)
{
	for (unsigned i = 0; i < st->nclients; i++)
		notify(st, &st->pv[i]);
}

/* Links, addresses or routes are others now. */
void pv_link_changed(struct tp_stack *st)
{
	for (unsigned i = 0; i < st->nclients; i++) {
		if (st->pv[i].up)
			__atomic_add_fetch(&st->pv[i].hdr->link_gen, 1, __ATOMIC_RELEASE);
	}
}

void pv_idle(struct tp_stack *st, bool idle)
{
	for (unsigned i = 0; i < st->nclients; i++) {
		if (st->pv[i].up)
			__atomic_store_n(&st->pv[i].hdr->server_idle, idle, __ATOMIC_SEQ_CST);
	}
}

/* ---- the turn ---- */

static void serve(struct tp_stack *st, struct pv *pv, const struct pvs_req *q)
{
	struct pvs_rsp r = {.id = q->id, .cmd = q->cmd, .sock = q->sock};

	STAT(st, Pv_Requests);
	journal_begin(st, pv, q);
	if (q->cmd == PVS_CMD_NOP)
		r.ret = 0;
	else
		r.ret = pv_command(st, pv, q, &r);
	if (r.ret == -TE_PROTO)
		STAT(st, Pv_BadRequests);
	/* Who has the answer may look at the slot at once: ENOTCONN would be wrong by then. */
	if (q->cmd == PVS_CMD_CONNECT && r.ret != -TE_BADF)
		pv_publish(st, SOCK(st, pv->map[q->sock]));
	if (q->cmd != PVS_CMD_RELEASE || r.ret != PV_PENDING)
		respond(pv, &r);
	pv->req_cons++;
	journal_commit(st, pv);
	counts_publish(pv);
	if (q->cmd == PVS_CMD_CONTROL)
		state_seal_net(st);
	due_drain(st, pv);
}

static void requests_poll(struct tp_stack *st, struct pv *pv)
{
	uint32_t prod = load(&pv->hdr->req_prod), n = prod - pv->req_cons;

	if (n > pv->nreq) {
		STAT(st, Pv_BadRequests);
		pv->hdr->server_error = -TE_PROTO;
		pv->last_bad = pv->gen;
		pv_reset(st, pv);
		return;
	}
	while (n-- && !pv->due && rsp_room(pv)) {
		struct pvs_req q = pv->req[pv->req_cons & (pv->nreq - 1)];

		__asm__ volatile("" ::"r"(&q) : "memory"); /* copied once */
		serve(st, pv, &q);
	}
}

static void kicks_poll(struct tp_stack *st, struct pv *pv)
{
	struct pvs_bitmap *m = pv->kick;
	uint32_t nslots = MIN(pv->nslots, pv->map_size);

	for (uint32_t i = 0; i * 4096 < nslots; i++) {
		uint64_t sum = __atomic_load_n(&m->sum[i], __ATOMIC_RELAXED);

		if (!sum)
			continue;
		sum = __atomic_exchange_n(&m->sum[i], 0, __ATOMIC_SEQ_CST);
		for (; sum; sum &= sum - 1) {
			uint32_t w = i * 64 + (uint32_t)__builtin_ctzll(sum);
			uint64_t bits;

			if (w * 64 >= nslots)
				break;
			bits = __atomic_exchange_n(&m->word[w], 0, __ATOMIC_SEQ_CST);
			for (; bits; bits &= bits - 1) {
				uint32_t slot = w * 64 + (uint32_t)__builtin_ctzll(bits);
				struct sock *s;

				if (slot >= nslots || !pv->map[slot])
					continue;
				s = SOCK(st, pv->map[slot]);
				if (s->kind == SK_TCP)
					tcp_kick(st, s);
				else
					dgram_kick(st, s);
			}
		}
	}
}

static void poll_client(struct tp_stack *st, struct pv *pv)
{
	setup(st, pv);
	if (!pv->up || st->adopting)
		return;
	due_drain(st, pv);
	requests_poll(st, pv);
	if (pv->up)
		kicks_poll(st, pv);
}

void pv_poll(struct tp_stack *st)
{
	for (unsigned i = 0; i < st->nclients; i++) {
		if (st->pv[i].hdr)
			poll_client(st, &st->pv[i]);
	}
}

static bool pending(const struct pv *pv)
{
	if (load(&pv->hdr->req_prod) != pv->req_cons && rsp_room(pv) && !pv->due)
		return true;
	/* As kicks_poll(): a bit that nobody clears would keep us awake for ever. */
	for (uint32_t i = 0; i * 4096 < MIN(pv->nslots, pv->map_size); i++) {
		if (__atomic_load_n(&pv->kick->sum[i], __ATOMIC_SEQ_CST))
			return true;
	}
	return load(&pv->hdr->client_gen) != pv->gen;
}

/* Is there anything a client published that we have not seen? */
bool pv_pending(struct tp_stack *st)
{
	for (unsigned i = 0; i < st->nclients; i++) {
		if (st->pv[i].up && pending(&st->pv[i]))
			return true;
	}
	return false;
}
