/* SPDX-License-Identifier: ISC */
/*
 * The nic cell: one event loop over cards and ports.
 *
 * Its arguments: mtu=N, queues=N (pairs of each card at most), moderation=N (us between
 * interrupts of a card), poll=N (us to go on polling after the last frame before it
 * sleeps; 0: sleep at once), tso=on|off (default: on, but for cards whose emulations get it
 * wrong: e1000e, vmxnet3), acl.NAME=RULES (rule lists ports refer to). What a port may
 * do is in its channel's arguments (switch/policy.h).
 *
 * A channel without a ring, labelled "policy", is an order: its arguments "port=N rules=...
 * rate=..." change what a running port may do (policy_update()). Only who holds D0_CAP_CONTROL
 * makes channels. It is carried out when it is seen, and again when the nic has restarted while
 * the channel is there still; that it goes away changes nothing.
 *
 * The cell keeps nothing worth saving: ports are found in the channel table, every port's
 * driver side attaches again when it sees a new epoch (d0/vnet.h), cards are reset. So a
 * restart costs the frames in flight and no connection.
 */
#include "cells/nic/main.h"
#include "cells/nic/moderate.h"

#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/random.h"

#define TICK_NS CLOCK_NS_PER_S
#define PASSES  3u /* before the first doorbells go out: most often it rests before */

struct bell {
	unsigned channel;
	uint32_t generation; /* of the channel while its port is there; 0: no port */
	bool port;
	bool news; /* made, not said yet */
};

static struct nic nic;
static struct bell bells[D0_CHANNELS_MAX];
static struct net_init_cfg cfg;
static bool news;                        /* of a port */
static uint32_t orders[D0_CHANNELS_MAX]; /* generations of policy channels carried out */
static bool rang;                        /* a port has, since the last look */
static struct moderate moderate;
static uint64_t obeyed, *obeyed_counter, refused, *refused_counter;
static uint64_t closes, *closes_counter; /* ports that were closed */

static void ring(void *arg)
{
	cell_notify_later(((struct bell *)arg)->channel);
}

static void open_port(unsigned n, const struct d0_channel *ch)
{
	struct bell *b = &bells[n];
	size_t size;
	void *mem = cell_channel_ring(n, &size);

	b->channel = n;
	b->generation = ch->generation;
	if (!mem || !nic_port_add(&nic, n, mem, size, ch->ring_dma, ch->args, ring, b))
		return;
	b->port = b->news = news = true;
}

/* Said when the port's driver side has its answer: a line takes the console longer. */
static void tell_news(void)
{
	news = false;
	cell_notify_flush();
	for (unsigned i = 0; i < D0_CHANNELS_MAX; i++) {
		const struct d0_channel *ch = bells[i].news ? cell_channel(i) : NULL;

		if (ch && bells[i].port)
			log_info("port %u for cell %u: %s", i, ch->peer_cell, ch->args);
		bells[i].news = false;
	}
}

static bool is_served(const struct d0_channel *ch)
{
	return ch && ch->state == D0_CHANNEL_OPEN && ch->protocol == D0_PROTO_NET &&
	       ch->role == D0_ROLE_SERVER;
}

static bool is_order(const struct d0_channel *ch)
{
	return ch->ring_size == 0 && !strcmp(ch->label, "policy");
}

static void obey(unsigned channel, const char *args)
{
	uint64_t port = cell_arg_u64(args, "port", NIC_PORTS_MAX);
	const char *why;

	if (nic_port_policy(&nic, port < NIC_PORTS_MAX ? (unsigned)port : NIC_PORTS_MAX, args,
			    &why)) {
		counter_set(refused_counter, ++refused);
		log_error("policy refused: %s: %s", why, args);
	} else {
		counter_set(obeyed_counter, ++obeyed);
		log_info("policy: %s", args);
	}
	cell_notify(channel);
}

/* When the ports that they are about are there. */
static void scan_orders(void)
{
	for (unsigned i = 0; i < D0_CHANNELS_MAX; i++) {
		const struct d0_channel *ch = cell_channel(i);

		if (!is_served(ch) || !is_order(ch)) {
			orders[i] = 0;
		} else if (orders[i] != ch->generation) {
			orders[i] = ch->generation;
			obey(i, ch->args);
		}
	}
}

static void scan_channels(void)
{
	for (unsigned i = 0; i < D0_CHANNELS_MAX; i++) {
		const struct d0_channel *ch = cell_channel(i);
		struct bell *b = &bells[i];
		bool open = is_served(ch) && !is_order(ch);

		if (b->port && (!open || ch->generation != b->generation)) {
			nic_port_remove(&nic, i);
			b->port = false;
			counter_set(closes_counter, ++closes); /* d0d waits for it */
			b->generation = 0;
		}
		/* A refused port is not tried again before its slot changes. */
		if (open && !b->port && ch->generation != b->generation)
			open_port(i, ch);
	}
	scan_orders();
}

static void take_irq(unsigned channel)
{
	unsigned vector;
	struct netdev *nd = net_init_irq(&nic, channel, &vector);

	if (!nd)
		return;
	nic_uplink_irq(&nic, nd, vector);
	if (nd->pci->irq_kind == D0_IRQ_INTX)
		cell_irq_done(channel);
}

static void take_events(void)
{
	for (uint64_t words = cell_events_words(); words; words &= words - 1) {
		unsigned w = (unsigned)__builtin_ctzll(words);
		uint64_t bits = cell_events_take(w);

		while (bits) {
			unsigned n = w * 64 + (unsigned)__builtin_ctzll(bits);

			bits &= bits - 1;
			if (bells[n].port) {
				nic_port_event(&nic, n);
				rang = true;
			} else {
				take_irq(n);
			}
		}
	}
}

/* ---- counters ---- */

static const struct {
	const char *name;
	size_t card_off, port_off; /* ~0: not summed over those */
} counted[] = {
    {"rx_packets", offsetof(struct netdev_stats, rx_packets), ~(size_t)0},
    {"rx_bytes", offsetof(struct netdev_stats, rx_bytes), ~(size_t)0},
    {"tx_packets", offsetof(struct netdev_stats, tx_packets), ~(size_t)0},
    {"tx_bytes", offsetof(struct netdev_stats, tx_bytes), ~(size_t)0},
    {"rx_errors", offsetof(struct netdev_stats, rx_errors), ~(size_t)0},
    {"rx_missed", offsetof(struct netdev_stats, rx_missed), ~(size_t)0},
    {"tx_errors", offsetof(struct netdev_stats, tx_errors), ~(size_t)0},
    {"irqs", offsetof(struct netdev_stats, irqs), ~(size_t)0},
    {"port_rx_packets", ~(size_t)0, offsetof(struct port_stats, rx_packets)},
    {"port_rx_merged", ~(size_t)0, offsetof(struct port_stats, rx_merged)},
    {"port_tx_packets", ~(size_t)0, offsetof(struct port_stats, tx_packets)},
    {"port_rx_dropped", ~(size_t)0, offsetof(struct port_stats, rx_dropped)},
    {"port_tx_dropped", ~(size_t)0, offsetof(struct port_stats, tx_dropped)},
    {"port_spoofed", ~(size_t)0, offsetof(struct port_stats, spoofed)},
    {"port_denied", ~(size_t)0, offsetof(struct port_stats, denied)},
    {"port_bad_frames", ~(size_t)0, offsetof(struct port_stats, bad_frames)},
    {"port_broken", ~(size_t)0, offsetof(struct port_stats, broken)},
    {"port_resets", ~(size_t)0, offsetof(struct port_stats, resets)},
    {"port_bells", ~(size_t)0, offsetof(struct port_stats, bells)},
};
#define COUNTED (sizeof(counted) / sizeof(counted[0]))
static uint64_t *counters[COUNTED], *ports_counter, *links_counter;

static void register_counters(void)
{
	for (unsigned i = 0; i < COUNTED; i++)
		counters[i] = counter_register(counted[i].name);
	ports_counter = counter_register("ports");
	links_counter = counter_register("links_up");
	closes_counter = counter_register("port_closes");
	obeyed_counter = counter_register("policies_set");
	refused_counter = counter_register("policies_refused");
}

static uint64_t field(const void *stats, size_t off)
{
	return *(const uint64_t *)((const uint8_t *)stats + off);
}

static void update_counters(void)
{
	uint64_t links = 0;

	for (unsigned c = 0; c < COUNTED; c++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < nic.uplinks && counted[c].card_off != ~(size_t)0; i++)
			sum += field(&nic.uplink[i]->stats, counted[c].card_off);
		for (unsigned i = 0; i < nic.ports && counted[c].port_off != ~(size_t)0; i++)
			sum += field(&nic.order[i]->stats, counted[c].port_off);
		counter_set(counters[c], sum);
	}
	for (unsigned i = 0; i < nic.uplinks; i++)
		links += nic.uplink[i]->link_up;
	counter_set(ports_counter, nic.ports);
	counter_set(links_counter, links);
}

/* ---- the loop ---- */

static void start_cards(const char *args)
{
	const struct d0_device *devices[D0_DEVICES_MAX];
	unsigned count = 0;
	char word[8];

	cfg.mtu = (uint16_t)cell_arg_u64(args, "mtu", 0);
	cfg.queues = (unsigned)cell_arg_u64(args, "queues", 0);
	cfg.moderation_us = (uint32_t)cell_arg_u64(args, "moderation", 0);
	if (cell_arg(args, "tso", word, sizeof(word)) > 0) {
		cfg.tso_on = !strcmp(word, "on");
		cfg.tso_off = !strcmp(word, "off");
	}
	while (count < D0_DEVICES_MAX && cell_device(count)) {
		devices[count] = cell_device(count);
		count++;
	}
	net_init(&nic, devices, count, &cfg);
	nic_platform_cards(&nic, args, &cfg);
	if (nic.uplinks == 0)
		log_warn("no network card: ports reach each other only");
}

static uint64_t tick(uint64_t now)
{
	nic_tick(&nic, now);
	net_init_revive(&nic, now);
	update_counters();
	return now + TICK_NS;
}

static void wait_until(uint64_t hold_ns, uint64_t next_tick)
{
	uint64_t until = nic.wake_ns < next_tick ? nic.wake_ns : next_tick;

	cell_wait(hold_ns < until ? hold_ns : until);
}

int cell_main(const struct d0_info *info)
{
	uint64_t poll_ns = cell_arg_u64(info->args, "poll", 0) * CLOCK_NS_PER_US;
	uint64_t next_tick = 0, last_work = 0, woke = 0, now;
	bool received = false; /* since it slept */
	unsigned passes = 0;   /* with work, one after the other */

	if (nic_init(&nic, cell_random_u32(), info->args)) {
		log_error("out of memory: heap of %zu bytes", cell_heap_stats().size);
		return 1;
	}
	moderate_init(&moderate);
	register_counters();
	start_cards(info->args);
	scan_channels();
	for (;;) {
		uint64_t flags = cell_flags_take(D0_EV_CONFIG | D0_EV_STOP);

		if (flags & D0_EV_STOP)
			break;
		if (flags & D0_EV_CONFIG)
			scan_channels();
		take_events();
		now = clock_ns();
		if (now >= next_tick)
			next_tick = tick(now);
		bool work = nic_run(&nic, now);

		received |= nic.received;
		if (work) {
			if (++passes > PASSES)
				cell_notify_flush(); /* let the ports work */
			last_work = now;
			cell_duty();
			continue;
		}
		passes = 0;
		if (news)
			tell_news();
		moderate_learn(&moderate, woke, rang, received);
		bool again = false;
		bool hold = received && moderate_holds(&moderate) && nic_hold(&nic, &again);

		if (again || (!hold && (now - last_work < poll_ns || nic_arm(&nic)))) {
			cell_notify_flush();
			continue;
		}
		if (received)
			moderate_sleep(&moderate, now, hold);
		rang = received = false;
		nic_forget(&nic);
		wait_until(hold ? now + moderate.span_ns : D0_NEVER, next_tick);
		woke = clock_ns();
	}
	net_init_stop(&nic);
	return 0;
}
