/* SPDX-License-Identifier: ISC */
/*
 * The journal: a request of a client is carried out and answered, or it was never begun,
 * whenever the instance dies.
 *
 * Problem. A command changes sockets in several steps, and an instance may die between any two.
 * The next one must neither lose the request (its caller would wait for ever) nor carry it
 * out twice (a port bound by the first try would be in use for the second).
 *
 * Model. Undo, and do again. Before a command changes anything, what it may change is copied
 * into the state area and `live` is set. Requests are counted as taken, and responses as made,
 * by one 64-bit word of the state area, done[client]: storing it is the moment at which the
 * command has happened. The client's header has copies of both counts that are written after
 * it. The next instance compares: a live journal whose request is still the next one to be
 * taken is undone, and the request, which lies untouched in its ring, is taken again like any
 * other. If the counts have moved on, the command has happened; the copies are written again.
 *
 * What is saved. The socket named, and of ACCEPT the connection that it takes. Of SOCKET the
 * number of the socket that is taken from the free ones (sock_alloc): it is free again. Of
 * CONTROL the network part, of which state.c has a copy that is not made anew meanwhile. A
 * listener's children that an ending listener ends are not: ending the rest of them later is
 * the same. Data that RELEASE finds in a datagram socket's ring is sent before the journal
 * begins. Segments that were sent cannot be called back: a SYN or a RST is then sent twice,
 * with which TCP can deal; no connection comes of the first SYN, as nothing that arrives is
 * looked at between.
 *
 * RELEASE is answered when the socket needs its slot no more, which may be long after. That
 * it was asked for is part of the socket (SF_RELEASED, rel_id), so only the answer has to be
 * made exactly once: rel_sock, rel_at name it before done[] counts it; the next instance gives
 * the slot back if it was counted.
 *
 * Trust. All of this lies in the state area, which is ours. Nothing is taken from the
 * client's header but by a client that this state does not know.
 */
#include "pv.h"

/* What another instance reads of it has this order; the hardware keeps stores in order. */
static void order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Before anything of s changes. */
void journal_save(struct tp_stack *st, struct sock *s)
{
	struct journal *j = &st->s->journal;

	if (!j->live || j->nsaved == UNDO_MAX)
		return;
	memcpy(&j->sock[j->nsaved], s, sizeof(*s));
	j->saved[j->nsaved] = sock_index(st, s);
	order();
	j->nsaved++;
	order();
	sock_touch(st, s); /* whatever the command does to it, it is sealed anew */
}

/*
 * Datagrams that were put into the ring before the command go before it: closing, connecting or
 * naming the socket must not overtake them, and sending is no part of the command.
 */
static void dgram_drain(struct tp_stack *st, const struct pv *pv, const struct pvs_req *q)
{
	struct sock *s = q->sock < pv->map_size ? SOCK(st, pv->map[q->sock]) : SOCK(st, 0);

	if (q->cmd != PVS_CMD_SOCKET && s->kind > SK_TCP && !(s->flags & SF_RELEASED))
		dgram_kick(st, s);
}

void journal_begin(struct tp_stack *st, const struct pv *pv, const struct pvs_req *q)
{
	struct journal *j = &st->s->journal;

	dgram_drain(st, pv, q);
	j->client = pv->number;
	j->req = pv->req_cons;
	j->fresh = j->nsaved = j->net = 0;
	order();
	j->live = 1;
	order();
	switch (q->cmd) {
	case PVS_CMD_NOP:
	case PVS_CMD_POLL:
	case PVS_CMD_GETSOCKNAME:
	case PVS_CMD_GETPEERNAME:
	case PVS_CMD_LIST:
		return; /* they change nothing */
	case PVS_CMD_CONTROL:
		state_seal_net(st);
		order();
		j->net = 1;
		order();
		return;
	}
	if (q->sock < pv->map_size && pv->map[q->sock])
		journal_save(st, SOCK(st, pv->map[q->sock]));
}

/* From here on the request is answered, as far as pv's counts say. */
void journal_commit(struct tp_stack *st, const struct pv *pv)
{
	order();
	__atomic_store_n(&st->s->done[pv->number], (uint64_t)pv->rsp_prod << 32 | pv->req_cons,
			 __ATOMIC_RELEASE);
	order();
	st->s->journal.live = 0;
	order();
}

/* The response that pv makes next gives back this socket's slot. */
void journal_release(struct tp_stack *st, const struct pv *pv, const struct sock *s)
{
	struct journal *j = &st->s->journal;

	j->rel_client = pv->number;
	j->rel_at = pv->rsp_prod;
	order();
	j->rel_sock = sock_index(st, s);
	order();
}

/* An answer that was counted: what pv_detach() may have left undone. */
static void release_finish(struct tp_stack *st, const struct journal *j)
{
	struct sock *s = SOCK(st, j->rel_sock);

	if (j->rel_sock > st->s->max_socks || j->rel_client >= TP_CLIENTS ||
	    (uint32_t)(st->s->done[j->rel_client] >> 32) != j->rel_at + 1)
		return;
	if (s->kind != SK_TCP || s->state == TS_CLOSED) {
		memset(s, 0, sizeof(*s));
		return;
	}
	s->unsealed = 1; /* its check word is of before */
	s->slot = PVS_NO_SLOT;
	s->rel_due = 0;
	s->tx.space = s->rx.space = SPACE_NONE;
}

/* What the instance before had begun and not answered. No socket is in use yet. */
void journal_undo(struct tp_stack *st)
{
	struct journal *j = &st->s->journal;

	if (j->rel_sock)
		release_finish(st, j);
	j->rel_sock = NIL;
	if (!j->live || j->client >= TP_CLIENTS || (uint32_t)st->s->done[j->client] != j->req)
		return;
	if (j->fresh && j->fresh <= st->s->max_socks)
		memset(SOCK(st, j->fresh), 0, sizeof(struct sock));
	for (uint32_t i = 0; i < MIN(j->nsaved, UNDO_MAX); i++) {
		if (j->saved[i] && j->saved[i] <= st->s->max_socks)
			memcpy(SOCK(st, j->saved[i]), &j->sock[i], sizeof(struct sock));
	}
	j->net = 0; /* the copy holds, not what the command made of it */
	order();
	j->live = 0;
}
