/* SPDX-License-Identifier: ISC */
/*
 * The transport cell: a container's TCP/IP stack between a port of the nic cell and its
 * client's PV sockets; or a pod's, whose containers share one network. All of the protocol work
 * is in core/; this file is the event loop that joins it to libcell.
 *
 * Channels: D0_PROTO_NET, we are the client: label ethN is interface ethN, label "up" the
 * hidden one with a slice of the host's address (core/share.c), others take the first free
 * name; D0_PROTO_SOCKET, we are the server: label "socketsN" is client N, others take the first
 * free number. Any may come, go and come back at any time.
 *
 * Arguments, of the cell or (for the addresses) of the NET channel, which wins:
 *	ip=A/N gw=A ip6=A/N gw6=A   static addresses and default routes
 *	dhcp, slaac                 ask the network instead (dhcp: unless there is an ip=)
 *	also=A/N                    an address besides, got or given
 *	dns=A,A hostname=NAME       what the client is told (LIST config)
 *	show6=A                     a default route that is shown and not taken
 *	publish=PROTO:HOST:PORT:PORT,...	HOST "*": the shared addresses, "*4", "*6": one
 *	svc=A server=A share=A/N gw=A share6=A/N gw6=A block=LO-HI	of the channel "up";
 *		serve6=A/N in place of share6: for published ports only
 *	socks=N                     table size, default 256, bounded by the memory given
 *	ephemeral=LO-HI             ports for sockets without one of their own choice
 *	cc=reno, ecn, nocontrol, noipv6
 *
 * Restart. The state region keeps connections; core/state.c says how they are adopted.
 * When the nic cell restarts, frames in flight are lost and the link is seen to bounce.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/transport/core/tp.h"
#include "cells/transport/core/tp_conf.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/counters.h"
#include "libcell/log.h"
#include "libcell/panic.h"
#include "libcell/random.h"
#include "libcell/vnet/vnet_port.h"

#define RX_BUDGET     64u
#define FRAME_MAX     (D0_VNET_FRAME_MAX + 64u)
#define HEAD          256u         /* holds every header */
#define PAGE_BUFS     (256u << 10) /* of ring */
#define COPY_MAX      1024u        /* up to here a copy costs less than keeping parts */
#define COUNTERS_NS   (200 * CLOCK_NS_PER_MS)
#define SOCKS_DEFAULT 256u
#define UPLINK        (TP_MAX_IF - 1u) /* interface number of the hidden device */

#define WANTED                                                                          \
	(D0_VNET_F(CSUM) | D0_VNET_F(GUEST_CSUM) | D0_VNET_F(MTU) | D0_VNET_F(STATUS) | \
	 D0_VNET_F(GUEST_TSO4) | D0_VNET_F(GUEST_TSO6) | D0_VNET_F(GUEST_ECN) |         \
	 D0_VNET_F(HOST_TSO4) | D0_VNET_F(HOST_TSO6) | D0_VNET_F(HOST_ECN))

struct net {
	struct vnet_port port;
	int channel;           /* -1: none */
	struct d0_channel was; /* when it was opened */
	bool known;            /* the stack has this interface */
	bool full;             /* tx_get found no room */
	bool news;             /* attached, not said yet */
};

struct client {
	int channel; /* -1: none */
	uint32_t generation;
};

struct cell {
	struct tp_stack *st;
	struct net net[TP_MAX_IF]; /* by interface number; 0 unused */
	struct client client[TP_CLIENTS];
	uint8_t *frame; /* private copy of the frame being received */
	uint32_t begun; /* interface whose frame is being built */
	bool news;      /* of an interface */
	uint64_t counters_at;
	uint64_t *counter[16], *traffic[4], *links, *clients;
	uint64_t *of_if[TP_MAX_IF][4]; /* traffic of each device, once it is there */
};

static struct cell cell;

/* ---- what the stack asks of us ---- */

static void *op_tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	struct net *n = &cell.net[ifi];
	void *p = n->channel >= 0 ? vnet_port_tx_begin(&n->port, 0, len) : NULL;

	n->full |= !p;
	return p;
}

static void op_tx_put(void *ctx, unsigned ifi, void *frame, uint32_t len,
		      const struct tp_meta *m)
{
	struct d0_vnet_hdr h = {.flags = m->flags & TP_META_NEEDS_CSUM,
				.gso_type = m->gso_type,
				.hdr_len = m->hdr_len,
				.gso_size = m->gso_size,
				.csum_start = m->csum_start,
				.csum_offset = m->csum_offset};

	if (len) /* a frame begun and not committed is simply begun over */
		vnet_port_tx_commit(&cell.net[ifi].port, 0, &h, len);
}

static uint64_t op_now(void *ctx)
{
	return clock_ns();
}

static void op_random(void *ctx, void *buf, uint32_t len)
{
	cell_random_bytes(buf, len);
}

static void op_notify(void *ctx, unsigned client)
{
	if (cell.client[client].channel >= 0)
		cell_notify_later((unsigned)cell.client[client].channel);
}

static void op_log(void *ctx, const char *line)
{
	log_info("%s", line);
}

static void doorbell(void *arg)
{
	cell_notify_later((unsigned)((struct net *)arg)->channel);
}

/* ---- frames in ---- */

/*
 * Heads are judged, so they are copied; the rest of a long frame stays where it is, as many
 * parts, until the stack knows where it goes. The frame's length, 0: too long.
 */
static uint32_t rx_head(const struct vnet_rx *rx, uint32_t *head, struct tp_part *part,
			unsigned *parts)
{
	uint32_t len = 0, first = rx->seg[0].len;

	for (uint32_t i = 0; i < rx->nseg; i++) {
		if (rx->seg[i].len > FRAME_MAX - len)
			return 0;
		len += rx->seg[i].len;
	}
	*head = len <= COPY_MAX || first <= HEAD ? first : HEAD;
	memcpy(cell.frame, rx->seg[0].data, *head);
	*parts = 0;
	if (*head < first)
		part[(*parts)++] = (struct tp_part){rx->seg[0].data + *head, first - *head};
	for (uint32_t i = 1; i < rx->nseg; i++)
		part[(*parts)++] = (struct tp_part){rx->seg[i].data, rx->seg[i].len};
	return len;
}

/* true: the budget ran out with more to come, perhaps. */
static bool rx_poll(unsigned ifi)
{
	struct net *n = &cell.net[ifi];
	struct vnet_rx rx;

	for (unsigned i = 0; i < RX_BUDGET; i++) {
		struct tp_part part[VNET_RX_SEGS_MAX + 1];
		struct tp_meta m;
		uint32_t len, head = 0;
		unsigned parts = 0;

		if (!vnet_port_rx(&n->port, 0, &rx))
			return false;
		len = rx_head(&rx, &head, part, &parts);
		m = (struct tp_meta){.flags = rx.hdr.flags & 3,
				     .gso_type = rx.hdr.gso_type & 0x7f,
				     .gso_size = rx.hdr.gso_size};
		if (len)
			tp_input_parts(cell.st, ifi, cell.frame, head, part, parts, len, &m);
		vnet_port_rx_done(&n->port, 0, &rx);
	}
	return true;
}

/* ---- interfaces ---- */

/*
 * Tells the stack of the interface; `attached`: the nic cell has. Addresses and routes are
 * there before that, so that nothing meant for a segment leaves by another interface.
 */
static void net_tell(unsigned ifi, bool attached)
{
	struct net *n = &cell.net[ifi];
	const struct d0_channel *ch = cell_channel((unsigned)n->channel);
	struct tp_if_config c = {.mtu = n->port.mtu, .name = "eth0", .no_carrier = !attached};
	const char *args[2] = {ch ? ch->args : "", ifi == 1 ? cell_info()->args : ""};

	memcpy(c.mac, n->port.mac, 6);
	c.name[3] = (char)('0' + ifi - 1);
	if (ifi == UPLINK)
		memcpy(c.name, "up", 3);
	if (n->port.features & D0_VNET_F(CSUM))
		c.caps |= TP_CAP_CSUM;
	if (n->port.features & D0_VNET_F(HOST_TSO4))
		c.caps |= TP_CAP_TSO4;
	if (n->port.features & D0_VNET_F(HOST_TSO6))
		c.caps |= TP_CAP_TSO6;
	c.same_mac = n->port.mode == D0_VNET_MODE_IPVLAN;
	c.hidden = ifi == UPLINK;
	if (!c.hidden)
		tp_conf_if(&c, args, 2);
	tp_if_add(cell.st, ifi, &c);
	if (!n->known && (c.hidden ? tp_conf_share(cell.st, ifi, args[0])
				   : tp_conf_addresses(cell.st, ifi, args, 2)))
		log_error("bad address in arguments: %s %s", args[0], args[1]);
	n->known = true;
	if (!attached)
		return;
	tp_if_link(cell.st, ifi, n->port.link_up);
	cell.counters_at = 0; /* d0d waits for it */
	n->news = cell.news = true;
}

/*
 * What is new, said when the frames that follow from it are under way: a line takes the
 * console longer than a handshake.
 */
static void tell_news(void)
{
	cell.news = false;
	cell_notify_flush();
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		struct net *n = &cell.net[i];
		const uint8_t *m = n->port.mac;
		char name[] = "eth0";

		if (!n->news || n->channel < 0)
			continue;
		n->news = false;
		name[3] = (char)('0' + i - 1);
		log_info("%s up, mtu %u, %02x:%02x:%02x:%02x:%02x:%02x",
			 i == UPLINK ? "uplink" : name, n->port.mtu, m[0], m[1], m[2], m[3],
			 m[4], m[5]);
	}
}

static void net_poll_events(unsigned ifi)
{
	struct net *n = &cell.net[ifi];
	unsigned ev = vnet_port_poll(&n->port);

	if (ev & VNET_EV_ERROR)
		log_warn("eth%u: the nic cell broke the rules of the port; attaching again",
			 ifi - 1);
	if (ev & VNET_EV_DOWN && n->known)
		tp_if_link(cell.st, ifi, 0);
	if (ev & VNET_EV_UP)
		net_tell(ifi, true);
	else if (ev & VNET_EV_CONFIG && n->known)
		tp_if_link(cell.st, ifi, n->port.link_up);
	if (n->full && vnet_port_live(&n->port)) {
		n->full = false;
		tp_tx_ready(cell.st, ifi);
	}
}

static void net_open(unsigned ifi, int channel)
{
	struct net *n = &cell.net[ifi];
	size_t size;
	struct vnet_port_cfg cfg = {.ring = cell_channel_ring((unsigned)channel, &size),
				    .features = WANTED,
				    .pairs = 1,
				    .doorbell = doorbell,
				    .arg = n};

	cfg.size = size;
	/* A page for each buffer where there is room: half as many for a long segment. */
	cfg.rx_buf = size >= PAGE_BUFS ? 4096 : 2048;
	n->channel = channel;
	n->was = *cell_channel((unsigned)channel);
	if (!cfg.ring || vnet_port_open(&n->port, &cfg)) {
		log_error("channel %d: no usable ring", channel);
		n->channel = -1;
		return;
	}
	net_tell(ifi, false);
}

/* ---- channels come and go ---- */

static bool channel_same(int channel, uint32_t generation)
{
	const struct d0_channel *c = channel >= 0 ? cell_channel((unsigned)channel) : NULL;

	return c && c->state == D0_CHANNEL_OPEN && c->generation == generation;
}

/* The client that a channel is: by its label, or the first that is free. TP_CLIENTS: none. */
static unsigned client_number(const char *label)
{
	if (!strncmp(label, "sockets", 7) && label[7] >= '0' &&
	    label[7] < '0' + (int)TP_CLIENTS && !label[8])
		return (unsigned)(label[7] - '0');
	for (unsigned i = 0; i < TP_CLIENTS; i++) {
		if (cell.client[i].channel < 0)
			return i;
	}
	return TP_CLIENTS;
}

static bool client_is_open(int channel)
{
	for (unsigned i = 0; i < TP_CLIENTS; i++) {
		if (cell.client[i].channel == channel)
			return true;
	}
	return false;
}

static void client_open(unsigned i, int channel)
{
	size_t size;
	void *ring = cell_channel_ring((unsigned)channel, &size);

	cell.client[i].channel = channel;
	cell.client[i].generation = cell_channel((unsigned)channel)->generation;
	if (ring)
		tp_attach_client(cell.st, i, ring,
				 (uint32_t)(size > UINT32_MAX ? UINT32_MAX : size));
}

static void client_scan(void)
{
	int ch = -1;

	for (unsigned i = 0; i < TP_CLIENTS; i++) {
		struct client *c = &cell.client[i];

		/* Closed counts as gone: a program that ended comes back with other sockets. */
		if (c->channel < 0 || channel_same(c->channel, c->generation))
			continue;
		tp_detach_client(cell.st, i);
		c->channel = -1;
		cell.counters_at = 0; /* d0d waits for it before it takes the ring away */
	}
	while ((ch = cell_channel_find((unsigned)(ch + 1), D0_PROTO_SOCKET, D0_ROLE_SERVER,
				       NULL)) >= 0) {
		unsigned i = client_is_open(ch)
				 ? TP_CLIENTS
				 : client_number(cell_channel((unsigned)ch)->label);

		if (i < TP_CLIENTS && cell.client[i].channel < 0)
			client_open(i, ch);
		if (ch == D0_CHANNELS_MAX - 1)
			break;
	}
}

/* The interface that a channel is: by its label, or the first that is free. */
static unsigned net_number(const char *label)
{
	if (!strcmp(label, "up"))
		return UPLINK;
	if (!strncmp(label, "eth", 3) && label[3] >= '0' && label[3] < '0' + (int)UPLINK - 1 &&
	    !label[4])
		return (unsigned)(label[3] - '0') + 1;
	for (unsigned i = 1; i < UPLINK; i++) {
		if (cell.net[i].channel < 0)
			return i;
	}
	return 0;
}

static bool net_is_open(int channel)
{
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		if (cell.net[i].channel == channel)
			return true;
	}
	return false;
}

/*
 * A channel whose peer is gone for the moment (the nic cell restarts) keeps its interface,
 * link down, and so does one whose peer is back: addresses that the network gave (DHCP, SLAAC)
 * stay. One that was taken away takes the interface with it.
 */
static void net_lost(unsigned ifi)
{
	struct net *n = &cell.net[ifi];
	const struct d0_channel *c = cell_channel((unsigned)n->channel);

	if (n->known)
		tp_if_link(cell.st, ifi, 0);
	if (c && c->state == D0_CHANNEL_CLOSED && c->generation == n->was.generation)
		return;
	if (c && c->state == D0_CHANNEL_OPEN && c->protocol == D0_PROTO_NET &&
	    !strncmp(c->label, n->was.label, sizeof(c->label)) &&
	    !strncmp(c->args, n->was.args, sizeof(c->args))) {
		net_open(ifi, n->channel);
		return;
	}
	if (n->known)
		tp_if_remove(cell.st, ifi);
	n->channel = -1;
	n->known = false;
}

static void net_scan(void)
{
	int ch = -1;

	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		if (cell.net[i].channel >= 0 &&
		    !channel_same(cell.net[i].channel, cell.net[i].was.generation))
			net_lost(i);
	}
	while ((ch = cell_channel_find((unsigned)(ch + 1), D0_PROTO_NET, D0_ROLE_CLIENT,
				       NULL)) >= 0) {
		unsigned i =
		    net_is_open(ch) ? 0 : net_number(cell_channel((unsigned)ch)->label);

		if (i && cell.net[i].channel < 0)
			net_open(i, ch);
		if (ch == D0_CHANNELS_MAX - 1)
			break;
	}
}

static void scan(void)
{
	client_scan(); /* first: who has connections here must be known before a frame comes */
	net_scan();
}

/* ---- counters ---- */

static const char *const exported[] = {
    "Ip.InReceives",      "Ip.OutRequests",  "Ip.InAddrErrors",  "Tcp.InSegs",
    "Tcp.OutSegs",        "Tcp.RetransSegs", "Tcp.PassiveOpens", "Tcp.ActiveOpens",
    "Tcp.InErrs",         "Tcp.OutRsts",     "Tcp.Timeouts",     "Tcp.ChallengeACK",
    "Tcp.SyncookiesSent", "Udp.InDatagrams", "Pv.Notifies"};
#define EXPORTED (sizeof(exported) / sizeof(exported[0]))
/* Over all ports, as what `docker stats` shows. */
static const char *const traffic[4] = {"rx_bytes", "rx_packets", "tx_bytes", "tx_packets"};

static void counters_init(void)
{
	for (unsigned i = 0; i < EXPORTED; i++)
		cell.counter[i] = counter_register(exported[i]);
	cell.counter[EXPORTED] = counter_register("sockets");
	for (unsigned i = 0; i < 4; i++)
		cell.traffic[i] = counter_register(traffic[i]);
	cell.links = counter_register("links_up");
	cell.clients = counter_register("clients");
}

/* "eth0.rx_bytes" ...: what each of the container's networks carried. */
static void count_traffic(unsigned ifi, const uint64_t value[4])
{
	char name[24];

	for (unsigned i = 0; i < 4; i++) {
		if (!cell.of_if[ifi][i]) {
			if (ifi == UPLINK)
				snprintf(name, sizeof(name), "up.%s", traffic[i]);
			else
				snprintf(name, sizeof(name), "eth%u.%s", ifi - 1, traffic[i]);
			cell.of_if[ifi][i] = counter_register(name);
		}
		counter_set(cell.of_if[ifi][i], value[i]);
	}
}

static void counters_update(void)
{
	uint64_t now = clock_ns(), sum[4] = {0}, links = 0, clients = 0;

	if (now < cell.counters_at)
		return;
	cell.counters_at = now + COUNTERS_NS;
	for (unsigned i = 0; i < EXPORTED; i++)
		counter_set(cell.counter[i], tp_stat(cell.st, exported[i]));
	counter_set(cell.counter[EXPORTED], tp_sock_count(cell.st));
	for (unsigned i = 1; i < TP_MAX_IF; i++) {
		const struct vnet_port *p = &cell.net[i].port;

		if (cell.net[i].channel < 0)
			continue;
		links += cell.net[i].known && vnet_port_live(p);
		uint64_t value[4] = {p->rx_bytes, p->rx_packets, p->tx_bytes, p->tx_packets};

		for (unsigned k = 0; k < 4; k++)
			sum[k] += value[k];
		count_traffic(i, value);
	}
	for (unsigned i = 0; i < 4; i++)
		counter_set(cell.traffic[i], sum[i]);
	for (unsigned i = 0; i < TP_CLIENTS; i++)
		clients |= (uint64_t)(cell.client[i].channel >= 0) << i;
	counter_set(cell.links, links);
	counter_set(cell.clients, clients);
}

/* ---- the loop ---- */

static void take_events(void)
{
	uint64_t f = cell_flags_take(~0ull);

	for (uint64_t words = cell_events_words(); words; words &= words - 1)
		cell_events_take((unsigned)__builtin_ctzll(words));
	if (f & D0_EV_STOP)
		cell_exit(0, "asked to stop");
	if (f & D0_EV_CONFIG)
		scan();
}

static _Noreturn void run(void)
{
	for (;;) {
		bool more = false;
		uint64_t next;

		take_events();
		for (unsigned i = 1; i < TP_MAX_IF; i++) {
			if (cell.net[i].channel < 0)
				continue;
			net_poll_events(i);
			more |= rx_poll(i);
		}
		next = tp_poll(cell.st);
		for (unsigned i = 1; i < TP_MAX_IF; i++) {
			if (cell.net[i].channel >= 0)
				vnet_port_kick(&cell.net[i].port);
		}
		counters_update();
		if (cell.news)
			tell_news();
		if (more || !next) {
			cell_notify_flush();
			cell_duty();
			continue;
		}
		if (!tp_idle_begin(cell.st)) {
			cell_notify_flush();
			continue;
		}
		for (unsigned i = 1; i < TP_MAX_IF; i++) {
			if (cell.net[i].channel >= 0 &&
			    vnet_port_arm(&cell.net[i].port, cell.net[i].full))
				more = true;
		}
		if (more)
			cell_notify_flush();
		else
			cell_wait(next == UINT64_MAX ? D0_NEVER : next);
		tp_idle_end(cell.st);
	}
}

static void *align_cache(void *p)
{
	return (void *)(((uintptr_t)p + 63) & ~(uintptr_t)63);
}

/*
 * The largest table that the memory given can hold, at most what was asked for. calloc: what is
 * not used of it yet is not touched.
 */
static bool memory_take(struct tp_config *c, void **arena, size_t *arena_size, void **state,
			size_t *state_size)
{
	const struct d0_region *r = cell_region(D0_REGION_STATE, 0);

	for (; c->max_socks >= 16; c->max_socks /= 2) {
		void *a, *s;

		*arena_size = tp_arena_size(c);
		*state_size = tp_state_size(c);
		if (r && r->size < *state_size)
			continue;
		a = calloc(1, *arena_size + 63);
		s = r ? NULL : calloc(1, *state_size + 63);
		if (a && (r || s)) {
			*arena = align_cache(a);
			*state = r ? cell_ptr(r->base) : align_cache(s);
			return true;
		}
		free(a);
		free(s);
	}
	return false;
}

int cell_main(const struct d0_info *info)
{
	static const struct tp_ops ops = {op_tx_get, op_tx_put, op_now,
					  op_random, op_notify, op_log};
	struct tp_config c = {0};
	void *arena, *state;
	size_t arena_size, state_size;

	tp_conf_stack(&c, info->args);
	c.max_socks = (uint32_t)cell_arg_u64(info->args, "socks", SOCKS_DEFAULT);
	for (unsigned i = 0; i < TP_CLIENTS; i++)
		cell.client[i].channel = -1;
	for (unsigned i = 0; i < TP_MAX_IF; i++)
		cell.net[i].channel = -1;
	cell.frame = malloc(FRAME_MAX);
	if (!cell.frame || !memory_take(&c, &arena, &arena_size, &state, &state_size))
		panic("too little memory for a TCP/IP stack");
	cell.st = tp_init(arena, arena_size, state, state_size, &c, &ops, NULL);
	ASSERT(cell.st);
	tp_conf_services(cell.st, info->args);
	counters_init();
	scan();
	cell_notify_flush();
	log_info("transport: %u sockets, %zu KiB", c.max_socks,
		 (arena_size + state_size) / 1024);
	run();
}
