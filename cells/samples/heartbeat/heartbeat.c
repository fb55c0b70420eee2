/* SPDX-License-Identifier: ISC */
/*
 * The heartbeat: two cells pass a beat to and fro over one virtqueue. The client (driver)
 * sends a numbered request, the server (device) answers it; every `every` beats the client
 * prints a line with the count and the largest gap between two beats, in microseconds.
 * Whatever happens to other cells or to verified memory must not show in that gap.
 *
 * args: interval=MS between beats (default 10), every=N beats a line (default 100).
 */
#include <string.h>
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/panic.h"
#include "libcell/vchan.h"
#include "libcell/virtq.h"

#define QUEUE_NUM 8
#define FEATURES  (D0_VRING_F_VERSION_1 | D0_VRING_F_EVENT_IDX)

struct beat {
	uint64_t number;
	uint64_t sent_ns;
};

struct pulse {
	int channel;
	uint8_t *ring;
	size_t size;
	struct vchan chan;
	uint64_t *beats;
};

static void notify_if(struct pulse *p, bool wanted)
{
	if (wanted || p->chan.notify)
		cell_notify((unsigned)p->channel);
	p->chan.notify = false;
}

/* ---- server ---- */

/* The answer to one request: its number, complemented. */
static void answer(struct pulse *p, struct virtq_dev *q, const struct virtq_chain *c)
{
	struct beat b = {0};

	virtq_chain_read(c, 0, &b, sizeof(b));
	b.number = ~b.number;
	virtq_dev_put(q, c->head, (uint32_t)virtq_chain_write(c, 0, &b, sizeof(b)));
	counter_add_own(p->beats, 1);
}

static bool answer_all(struct pulse *p, struct virtq_dev *q)
{
	struct virtq_seg seg[2];
	struct virtq_chain c = {.seg = seg, .seg_max = 2};

	do {
		while (virtq_dev_next(q, &c) == 1)
			answer(p, q, &c);
	} while (virtq_dev_events_on(q));
	return virtq_dev_push(q);
}

static void server_up(struct pulse *p, struct virtq_dev *q)
{
	struct virtq_window window = {p->ring, 0, p->size};

	ASSERT(!virtq_dev_init(q, vchan_queue(&p->chan, 0, 1, QUEUE_NUM), QUEUE_NUM,
			       p->chan.features, &window));
}

static void serve(struct pulse *p)
{
	struct virtq_dev q = {0};
	bool up = false, told = false;

	if (vchan_server_open(&p->chan, p->ring, p->size, FEATURES))
		panic("ring of %zu bytes is too small", p->size);
	for (;;) {
		enum vchan_event ev = vchan_server_poll(&p->chan);

		if (ev == VCHAN_UP) {
			server_up(p, &q);
			up = true;
			told = false;
		} else if (ev == VCHAN_DOWN) {
			up = false;
		}
		notify_if(p, up && answer_all(p, &q));
		if (up && q.broken && !told) {
			log_warn("peer broke the ring: %s", q.broken);
			told = true;
		}
		if (ev != VCHAN_SAME)
			continue;
		cell_wait(D0_NEVER);
		cell_event_take((unsigned)p->channel);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			return;
	}
}

/* ---- client ---- */

struct client {
	struct virtq_drv q;
	struct virtq_slot slot[QUEUE_NUM];
	bool up, waiting;
	uint64_t sent, got;
	uint64_t next_ns, last_ns, gap_ns;
	uint64_t *gap_us;
	uint64_t interval_ns, every;
};

static struct client client;

static struct beat *shared_beat(const struct pulse *p, unsigned i)
{
	return (struct beat *)(p->ring + d0_vring_data_off(1, QUEUE_NUM)) + i;
}

static void client_up(struct pulse *p, struct client *c)
{
	ASSERT(!virtq_drv_init(&c->q, vchan_queue(&p->chan, 0, 1, QUEUE_NUM), QUEUE_NUM,
			       p->chan.features, c->slot));
	vchan_client_ready(&p->chan);
	virtq_drv_events_on(&c->q);
	c->up = true;
	c->waiting = false;
}

static bool beat_send(struct pulse *p, struct client *c, uint64_t now)
{
	uint64_t off = d0_vring_data_off(1, QUEUE_NUM);
	struct virtq_buf out = {off, sizeof(struct beat)};
	struct virtq_buf in = {off + sizeof(struct beat), sizeof(struct beat)};

	*shared_beat(p, 0) = (struct beat){++c->sent, now};
	if (virtq_drv_add(&c->q, &out, 1, &in, 1, c))
		return false;
	c->waiting = true;
	return virtq_drv_push(&c->q);
}

static void beat_report(struct client *c)
{
	if (c->got % c->every)
		return;
	log_info("heartbeat %lu gap_max_us %lu", c->got, c->gap_ns / 1000);
	counter_set(c->gap_us, c->gap_ns / 1000);
	c->gap_ns = 0;
}

static void beat_receive(struct pulse *p, struct client *c, uint64_t now)
{
	struct beat b;
	uint32_t len;

	while (virtq_drv_pop(&c->q, &len)) {
		memcpy(&b, shared_beat(p, 1), sizeof(b));
		if (len != sizeof(b) || b.number != ~c->sent)
			log_warn("beat %lu came back as %lu", c->sent, ~b.number);
		c->waiting = false;
		c->got++;
		counter_add_own(p->beats, 1);
		if (c->last_ns && now - c->last_ns > c->gap_ns)
			c->gap_ns = now - c->last_ns;
		c->last_ns = now;
		beat_report(c);
	}
	virtq_drv_events_on(&c->q);
}

static void beat(struct pulse *p)
{
	struct client *c = &client;
	const char *args = cell_info()->args;

	c->interval_ns = cell_arg_u64(args, "interval", 10) * CLOCK_NS_PER_MS;
	c->every = cell_arg_u64(args, "every", 100);
	c->every = c->every ? c->every : 1;
	c->gap_us = counter_register("gap_max_us");
	if (vchan_client_open(&p->chan, p->ring, p->size))
		panic("ring of %zu bytes is too small", p->size);
	for (;;) {
		enum vchan_event ev = vchan_client_poll(&p->chan, FEATURES);
		uint64_t now = clock_ns();
		bool notify = false;

		if (ev == VCHAN_UP)
			client_up(p, c);
		else if (ev == VCHAN_DOWN)
			c->up = false;
		if (c->up)
			beat_receive(p, c, now);
		if (c->up && !c->waiting && now >= c->next_ns) {
			notify = beat_send(p, c, now);
			c->next_ns = now + c->interval_ns;
		}
		notify_if(p, notify);
		cell_wait(c->up && !c->waiting ? c->next_ns : now + CLOCK_NS_PER_S);
		cell_event_take((unsigned)p->channel);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			return;
	}
}

int cell_main(const struct d0_info *info)
{
	static struct pulse p;
	int ch;

	while ((ch = cell_channel_find(0, D0_PROTO_VIRTQ, -1, NULL)) < 0) {
		cell_wait(D0_NEVER);
		if (cell_flags_take(~0ull) & D0_EV_STOP)
			return 0;
	}
	p.channel = ch;
	p.ring = cell_channel_ring((unsigned)ch, &p.size);
	p.beats = counter_register("beats");
	if (!p.ring || d0_vring_data_off(1, QUEUE_NUM) + 2 * sizeof(struct beat) > p.size)
		panic("the channel has no ring, or one of %zu bytes only", p.size);
	if (cell_channel((unsigned)ch)->role == D0_ROLE_SERVER)
		serve(&p);
	else
		beat(&p);
	return 0;
}
