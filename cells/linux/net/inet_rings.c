/* SPDX-License-Identifier: ISC */
/*
 * How large the data rings of sockets are.
 *
 * All sockets of a container share one region, most of them rest, and one that is busy wants
 * rings that hold what is under way: the window that a peer sees is the receive ring's free
 * space. So a new socket's rings are the smaller the less of the region is left, a stream's
 * grow while they hold it up (to RING_MAX, but never to more than a quarter of what is left),
 * and when there is no room for a new socket those that rest give theirs back. Rings of
 * datagrams stay as they are made: a record has to fit.
 *
 * The exchange of rings is a command that waits for its answer, so nobody may be copying
 * meanwhile (`copying`), nor begin to (`moving`).
 */
#include "cells/linux/net/inet.h"

#define RING_MAX  20u
#define RING_MIN  10u
#define DGRAM_MIN 12u

static u32 usual; /* order of a ring where there is plenty */

void rings_init(u64 region)
{
	usual = region >= 16u << 20 ? 16 : region >= 4u << 20 ? 15 : 13;
}

static u32 first_order(void)
{
	u32 left = pvs_heap_left(pvs), quarter = pvs->size / 4;
	u32 less = left > quarter * 3 ? 0 : left > quarter * 2 ? 2 : left > quarter ? 3 : 4;

	return MAX(usual - less, RING_MIN);
}

static u32 ring_used(const struct isock *i)
{
	return __atomic_load_n(&pvs->slot[i->id].rx_prod, __ATOMIC_ACQUIRE) -
	       pvs->sock[i->id].rx_cons;
}

static int exchange(struct isock *i, u32 tx, u32 rx)
{
	int r;

	i->moving = true;
	r = CMD(pvs_grow(pvs, i->id, tx, rx));
	i->moving = false;
	wake_all(&i->s.wait);
	return r;
}

bool ring_nearly_full(const struct isock *i)
{
	return ring_used(i) > (1u << pvs->sock[i->id].rings.rx_order) / 4 * 3;
}

void ring_grow(struct isock *i, bool tx)
{
	const struct pvs_rings *r = &pvs->sock[i->id].rings;
	u32 order = tx ? r->tx_order : r->rx_order, left = pvs_heap_left(pvs) / 4;

	if (!order || order >= RING_MAX || i->copying || i->moving)
		return;
	order = MAX(order + 1, usual);
	while (order > RING_MIN && 1u << order > left)
		order--;
	if (order > (tx ? r->tx_order : r->rx_order))
		exchange(i, tx ? order : 0, tx ? 0 : order);
}

void ring_settle(struct isock *i)
{
	while (i->moving)
		wait_on(&i->s.wait, NEVER, false);
}

/* Nothing in its rings: the smallest will do for now. */
static void rest(struct isock *i)
{
	const struct pvs_rings *r = &pvs->sock[i->id].rings;
	u32 tx = r->tx_order > RING_MIN ? RING_MIN : 0;
	u32 rx = r->rx_order > RING_MIN ? RING_MIN : 0;

	if (i->s.type != SOCK_STREAM_K || (!tx && !rx) || i->copying || i->moving ||
	    ring_used(i) || pvs->sock[i->id].tx_prod != pvs->slot[i->id].tx_cons)
		return;
	i->s.refs++; /* it may be closed while we wait */
	exchange(i, tx, rx);
	sock_put(&i->s);
}

static void rings_reclaim(void)
{
	for (u32 n = 0; n < pvs->nslots && pvs_heap_left(pvs) < pvs->size / 4; n++)
		if (by_slot[n])
			rest(by_slot[n]);
}

int rings_for(int (*fn)(u32 order, void *arg), void *arg, bool dgram)
{
	u32 least = dgram ? DGRAM_MIN : RING_MIN;
	int r = -ENOMEM;

	for (int tries = 0; tries < 2 && r == -ENOMEM; tries++) {
		for (u32 order = MAX(first_order(), least); order >= least && r == -ENOMEM;
		     order--)
			r = fn(order, arg);
		if (r == -ENOMEM && !tries)
			rings_reclaim();
	}
	return r;
}
