/* SPDX-License-Identifier: ISC */
/*
 * The handshake of a channel that carries virtqueues.
 *
 * Problem. Both ends restart on their own, the ring region stays. Neither may use queue
 * memory while the other still writes it for an earlier instance.
 *
 * Model. Each end has an epoch, changed at each start, and `seen`, the peer's epoch that it
 * is set up for. The driver owns initialisation: it touches the queues only while
 * server.seen is 0 (the device has let go), then sets client.seen to the device's epoch.
 * The device uses the queues only while client.seen is its own epoch; when it is not, it
 * lets go by writing server.seen = 0, and it passes through that state for every new
 * driver.
 *
 * Failure. A peer that lies here corrupts only the queues it shares; the queue code copes.
 */
#include "libcell/vchan.h"
#include "d0/abi.h"

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint32_t epoch_after(uint32_t e)
{
	return e + 1 ? e + 1 : 1;
}

static int chan_open(struct vchan *c, void *ring, size_t size, struct d0_vring_half *own)
{
	if (!ring || size < sizeof(struct d0_vring_head))
		return D0_EINVAL;
	*c = (struct vchan){.head = ring, .size = size, .notify = true};
	c->epoch = epoch_after(load(&own->epoch));
	store(&own->seen, 0);
	return D0_OK;
}

int vchan_server_open(struct vchan *c, void *ring, size_t size, uint64_t offered)
{
	struct d0_vring_head *h = ring;
	int err = chan_open(c, ring, size, &h->server);

	if (err)
		return err;
	c->features = offered;
	__atomic_store_n(&h->server.features, offered, __ATOMIC_RELAXED);
	store(&h->server.epoch, c->epoch);
	return D0_OK;
}

enum vchan_event vchan_server_poll(struct vchan *c)
{
	struct d0_vring_half *own = &c->head->server, *cl = &c->head->client;
	uint32_t epoch = load(&cl->epoch);
	bool ready = load(&cl->seen) == c->epoch && epoch;

	if (c->peer) {
		if (ready && epoch == c->peer)
			return VCHAN_SAME;
		c->peer = 0;
		store(&own->seen, 0);
		c->notify = true;
		return VCHAN_DOWN;
	}
	if (!ready)
		return VCHAN_SAME;
	c->peer = epoch;
	c->features = __atomic_load_n(&own->features, __ATOMIC_RELAXED) &
		      __atomic_load_n(&cl->features, __ATOMIC_RELAXED);
	store(&own->seen, epoch);
	c->notify = true;
	return VCHAN_UP;
}

int vchan_client_open(struct vchan *c, void *ring, size_t size)
{
	struct d0_vring_head *h = ring;
	int err = chan_open(c, ring, size, &h->client);

	if (err)
		return err;
	store(&h->client.epoch, c->epoch);
	return D0_OK;
}

enum vchan_event vchan_client_poll(struct vchan *c, uint64_t wanted)
{
	const struct d0_vring_half *srv = &c->head->server;
	uint32_t epoch = load(&srv->epoch);

	if (epoch == c->peer)
		return VCHAN_SAME;
	if (c->peer) {
		c->peer = 0;
		store(&c->head->client.seen, 0);
		c->notify = true;
		return VCHAN_DOWN;
	}
	if (!epoch || load(&srv->seen))
		return VCHAN_SAME;
	c->peer = epoch;
	c->features = __atomic_load_n(&srv->features, __ATOMIC_RELAXED) & wanted;
	return VCHAN_UP;
}

void vchan_client_ready(struct vchan *c)
{
	struct d0_vring_half *own = &c->head->client;

	__atomic_store_n(&own->features, c->features, __ATOMIC_RELAXED);
	store(&own->seen, c->peer);
	c->notify = true;
}

void *vchan_queue(const struct vchan *c, uint32_t queue, uint32_t queues, uint32_t num)
{
	if (!num || num > D0_VRING_NUM_MAX || queue >= queues || queues > 65536 ||
	    d0_vring_data_off(queues, num) > c->size)
		return NULL;
	return (uint8_t *)c->head + d0_vring_queue_off(queue, num);
}

uint8_t *vchan_config(struct vchan *c)
{
	return c->head->config;
}
