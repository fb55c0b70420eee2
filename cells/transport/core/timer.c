/* SPDX-License-Identifier: ISC */
/*
 * Timers of sockets: a hierarchical wheel (Varghese and Lauck) of four levels of 64
 * slots, one millisecond a tick, 4.6 hours deep.
 *
 * A socket has TMR_COUNT deadlines and one place in the wheel, at the earliest of them or
 * before it. Moving a deadline later, as every acknowledgement does to the
 * retransmission timer, leaves the wheel alone: the socket fires early, finds nothing due,
 * and is put where it belongs. Links are indexes, the wheel is rebuilt after a restart.
 */
#include "tcp.h"

#define SLOTS  64u
#define LEVELS 4u
#define SPAN   (1u << 24)

void wheel_init(struct tp_stack *st)
{
	st->wheel.now = st->now_ms;
}

static void wheel_unlink(struct tp_stack *st, struct sock *s)
{
	struct wheel *w = &st->wheel;

	if (!s->wexp)
		return;
	if (s->wprev)
		SOCK(st, s->wprev)->wnext = s->wnext;
	else
		w->head[s->wslot] = s->wnext;
	if (s->wnext)
		SOCK(st, s->wnext)->wprev = s->wprev;
	if (!w->head[s->wslot])
		w->map[s->wslot / SLOTS] &= ~(1ull << s->wslot % SLOTS);
	s->wexp = 0;
	s->wnext = s->wprev = NIL;
}

static void slot_link(struct tp_stack *st, struct sock *s, uint32_t level, uint32_t at)
{
	struct wheel *w = &st->wheel;
	uint32_t i = sock_index(st, s);

	s->wslot = (uint16_t)(level * SLOTS + (at >> 6 * level) % SLOTS);
	s->wexp = at;
	s->wprev = NIL;
	s->wnext = w->head[s->wslot];
	if (s->wnext)
		SOCK(st, s->wnext)->wprev = i;
	w->head[s->wslot] = i;
	w->map[level] |= 1ull << s->wslot % SLOTS;
}

static void wheel_link(struct tp_stack *st, struct sock *s, uint32_t at)
{
	struct wheel *w = &st->wheel;
	uint32_t delta, level = 0;

	if ((int32_t)(at - w->now) <= 0)
		at = w->now + 1;
	delta = at - w->now;
	if (delta >= SPAN) {
		delta = SPAN - 1;
		at = w->now + delta;
	}
	at += !at;
	while (delta >= SLOTS) {
		delta /= SLOTS;
		level++;
	}
	slot_link(st, s, level, at);
}

void timer_set(struct tp_stack *st, struct sock *s, unsigned which, uint32_t at_ms)
{
	at_ms += !at_ms;
	s->dl[which] = at_ms;
	if (s->wexp && (int32_t)(s->wexp - at_ms) <= 0)
		return;
	wheel_unlink(st, s);
	wheel_link(st, s, at_ms);
}

void timer_remove(struct tp_stack *st, struct sock *s)
{
	memset(s->dl, 0, sizeof(s->dl));
	wheel_unlink(st, s);
}

static void wheel_fire(struct tp_stack *st, struct sock *s)
{
	uint32_t now = st->wheel.now, first = 0;
	unsigned i;

	for (i = 0; i < TMR_COUNT && s->kind == SK_TCP; i++) {
		if (s->dl[i] && (int32_t)(s->dl[i] - now) <= 0) {
			s->dl[i] = 0;
			tcp_timer(st, s, i);
		}
	}
	if (s->kind == SK_FREE)
		return;
	for (i = 0; i < TMR_COUNT; i++) {
		if (s->dl[i] && (!first || (int32_t)(s->dl[i] - first) < 0))
			first = s->dl[i];
	}
	if (first && (!s->wexp || (int32_t)(s->wexp - first) > 0)) {
		wheel_unlink(st, s);
		wheel_link(st, s, first);
	}
}

/* Moves a slot of an upper level down to where its sockets belong by now. */
static void wheel_cascade(struct tp_stack *st, unsigned level)
{
	struct wheel *w = &st->wheel;
	unsigned slot = level * SLOTS + (w->now >> 6 * level) % SLOTS;
	uint32_t i = w->head[slot], next;

	w->head[slot] = NIL;
	w->map[level] &= ~(1ull << slot % SLOTS);
	for (; i; i = next) {
		struct sock *s = SOCK(st, i);
		uint32_t at = s->wexp;

		next = s->wnext;
		s->wexp = 0;
		/* Due in this very tick: link to the slot that is fired next. */
		if (at == w->now) {
			slot_link(st, s, 0, at);
		} else {
			wheel_link(st, s, at);
		}
	}
}

void wheel_run(struct tp_stack *st)
{
	struct wheel *w = &st->wheel;

	while ((int32_t)(st->now_ms - w->now) > 0) {
		uint32_t i, edge = (w->now | (SLOTS - 1)) + 1;

		if (!(w->map[0] | w->map[1] | w->map[2] | w->map[3])) {
			w->now = st->now_ms;
			return;
		}
		if (!w->map[0] && (int32_t)(st->now_ms - edge) < 0) {
			w->now = st->now_ms;
			return;
		}
		w->now = w->map[0] ? w->now + 1 : edge;
		for (unsigned l = 1; l < LEVELS && !(w->now & ((1u << 6 * l) - 1)); l++)
			wheel_cascade(st, l);
		while ((i = w->head[w->now % SLOTS])) {
			struct sock *s = SOCK(st, i);

			wheel_unlink(st, s);
			wheel_fire(st, s);
		}
	}
}

/* When wheel_run() has something to do: a firing or a cascade. */
uint32_t wheel_next(struct tp_stack *st)
{
	struct wheel *w = &st->wheel;
	uint32_t best = UINT32_MAX;

	for (unsigned l = 0; l < LEVELS && best > 1; l++) {
		unsigned cur = (w->now >> 6 * l) % SLOTS, shift = (cur + 1) % SLOTS;
		uint64_t m = w->map[l];
		uint32_t ticks, at;

		if (!m)
			continue;
		m = shift ? m >> shift | m << (SLOTS - shift) : m;
		ticks = (uint32_t)__builtin_ctzll(m) + 1;
		at = ((w->now >> 6 * l) + ticks) << 6 * l;
		if (at - w->now < best)
			best = at - w->now;
	}
	return best == UINT32_MAX ? best : best + w->now;
}
