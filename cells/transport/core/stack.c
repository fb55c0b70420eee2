/* SPDX-License-Identifier: ISC */
/*
 * One TCP/IP stack, as a library.
 *
 * Problem. Each container has a stack of its own, in a cell of its own, that must be
 * small when idle, fast when busy, survive its own restart, and lose nothing but its own
 * connections to a hostile network, network card or client.
 *
 * Model. The stack is a function of events: frames (tp_input), the client's rings and
 * time (tp_poll). It runs each to its end, never waits, and hands frames to the driver
 * through two calls. All memory comes from two blocks given at tp_init: the arena, which
 * dies with the instance, and the state area, which holds what the next instance adopts:
 * sockets (with their TCP control blocks), addresses, routes, leases, secrets.
 *
 * Data. There are no socket buffers. A stream's send buffer is the client's tx ring:
 * bytes stay there until they are acknowledged, and a retransmission is read from there
 * again. Its receive buffer and reassembly queue are the client's rx ring: out-of-order data
 * is put where it belongs, ahead of the producer index. The window advertised is the
 * free space of that ring. So a byte is copied once in each direction, and a restarted
 * stack finds all unacknowledged data where it was.
 *
 * Invariants.
 *  - Frames given to tp_input are in private memory. Of the client's region every index is
 *    read once per use and checked; data read from it is only ever summed and sent.
 *  - A socket is consistent and sealed between batches (sock.c); a crash in the middle of
 *    a batch is seen by its seal and judged by state.c.
 *  - No list in the arena holds anything that cannot be rebuilt from the state area, or
 *    that the network would not repeat (half-open connections, neighbours, fragments).
 *
 * Failure. Exhaustion of any table drops the packet or refuses the request, and counts it.
 */
#include "mcast.h"
#include "tcp.h"

static void config_defaults(struct tp_config *c)
{
	uint32_t segs;

	c->max_socks = c->max_socks ? MIN(c->max_socks, 65536u) : 256;
	segs = MIN(c->max_socks * 8, 8192u);
	c->seg_records = c->seg_records ? c->seg_records : MAX(segs, 1024u);
	c->early_bufs =
	    c->early_bufs ? MIN(c->early_bufs, 1024u) : MIN(MAX(c->max_socks / 8, 32u), 512u);
	c->early_order = c->early_order ? MIN(MAX(c->early_order, 9u), 16u) : 11;
	c->frag_slots = c->frag_slots ? MIN(c->frag_slots, 64u) : 2;
	c->loop_size = c->loop_size ? c->loop_size : 131072;
	c->wscale = c->wscale ? MIN(c->wscale, 14) : TCP_WSCALE;
	c->initcwnd = c->initcwnd ? MIN(c->initcwnd, 64u) : 10;
	c->time_wait_ms = c->time_wait_ms ? c->time_wait_ms : 60000;
	if (!c->eph_lo || c->eph_hi < c->eph_lo) {
		c->eph_lo = 32768; /* Linux's */
		c->eph_hi = 60999;
	}
	c->syn_backlog = c->syn_backlog ? c->syn_backlog : MAX(c->max_socks / 4, 8u);
}

static uint32_t pow2_above(uint32_t n)
{
	uint32_t p = 64;

	while (p < n)
		p *= 2;
	return p;
}

#define FRAG_DATA 65536u

static size_t arena_need(const struct tp_config *c)
{
	size_t n = sizeof(struct tp_stack) + 64;

	n += 2 * (size_t)pow2_above(c->max_socks) * 4;
	n += (size_t)c->seg_records * sizeof(struct seg);
	n += (size_t)c->early_bufs / 8 + 8;
	n += (size_t)c->frag_slots * (sizeof(struct fragq) + FRAG_DATA);
	n += c->loop_size + 65536 + 1024; /* scratch: one datagram and its headers */
	n += (size_t)MAX_PEND * PEND_SIZE;
	n += TP_CLIENTS * (size_t)MIN(pow2_above(c->max_socks) * 2, PVS_MAX_SLOTS) * 4;
	return n + (32 + 2 * TP_CLIENTS) * 64;
}

size_t tp_arena_size(const struct tp_config *cfg)
{
	struct tp_config c = *cfg;

	config_defaults(&c);
	return arena_need(&c);
}

size_t tp_state_size(const struct tp_config *cfg)
{
	struct tp_config c = *cfg;

	config_defaults(&c);
	return sizeof(struct state) + (size_t)(c.max_socks + 1) * sizeof(struct sock) +
	       ((size_t)c.early_bufs << c.early_order) + 128;
}

static bool arena_carve(struct tp_stack *st, uint8_t *at, const uint8_t *end)
{
	const struct tp_config *c = &st->cfg;
	uint32_t h = pow2_above(c->max_socks), i;

	st->ehash_shift = 32u - (uint32_t)__builtin_ctz(h);
	st->lhash_mask = h - 1;
	if (!(st->ehash = arena_take(&at, end, (size_t)h * 4)) ||
	    !(st->lhash = arena_take(&at, end, (size_t)h * 4)) ||
	    !(st->segs = arena_take(&at, end, (size_t)c->seg_records * sizeof(struct seg))) ||
	    !(st->early_used = arena_take(&at, end, c->early_bufs / 8 + 8)) ||
	    !(st->frag = arena_take(&at, end, c->frag_slots * sizeof(struct fragq))) ||
	    !(st->loop = arena_take(&at, end, c->loop_size)) ||
	    !(st->scratch = arena_take(&at, end, 65536 + 1024)) ||
	    !(st->pend = arena_take(&at, end, (size_t)MAX_PEND * PEND_SIZE)))
		return false;
	for (i = 0; i < TP_CLIENTS; i++) {
		struct pv *pv = &st->pv[i];

		pv->number = (uint8_t)i;
		pv->map_size = MIN(h * 2, PVS_MAX_SLOTS);
		pv->map = arena_take(&at, end, (size_t)pv->map_size * 4);
		if (!pv->map)
			return false;
	}
	for (i = 0; i < c->frag_slots; i++) {
		st->frag[i].data = arena_take(&at, end, FRAG_DATA);
		if (!st->frag[i].data)
			return false;
	}
	st->seg_high = 1;
	st->seg_count = c->seg_records;
	return true;
}

struct tp_stack *tp_init(void *arena, size_t arena_size, void *state, size_t state_size,
			 const struct tp_config *cfg, const struct tp_ops *ops, void *ctx)
{
	uint8_t *at = arena;
	const uint8_t *end = at + arena_size;
	struct tp_stack *st = arena_take(&at, end, sizeof(*st));
	struct netif *lo;

	if (!st)
		return NULL;
	st->cfg = *cfg;
	st->ops = *ops;
	st->ctx = ctx;
	config_defaults(&st->cfg);
	if (st->cfg.loop_size & (st->cfg.loop_size - 1) || !arena_carve(st, at, end))
		return NULL;
	st->slow_at = NEVER;
	tp_time(st);
	wheel_init(st);
	if (!state_init(st, state, state_size))
		return NULL;
	for (st->naddr = MAX_ADDR; st->naddr && !st->s->addr[st->naddr - 1].used;)
		st->naddr--;
	mcast_begin(st);
	st->ops.random(st->ctx, st->hash_key, sizeof(st->hash_key));
	for (unsigned i = 0; i < 5; i++)
		st->hash_key[i] |= 1;
	st->port_hint = tp_random32(st);
	st->ip_id = tp_random32(st);
	st->frag_id = tp_random32(st);
	st->route_gen = 1;
	lo = &st->s->ifs[0];
	if (!lo->used) {
		struct ipa a = ipa_from4(be32(0x7f000001));
		struct ipa a6 = {.b = {[15] = 1}};

		*lo = (struct netif){.used = 1, .up = 1, .link = 1, .mtu = 65535, .name = "lo"};
		addr_add(st, 0, &a, 96 + 8, AF_PERMANENT, NEVER, NEVER);
		if (!st->cfg.no_ipv6)
			addr_add(st, 0, &a6, 128, AF_PERMANENT, NEVER, NEVER);
	}
	slow_arm(st, st->now);
	state_seal_net(st);
	return st;
}

void tp_time(struct tp_stack *st)
{
	uint64_t us = st->ops.now(st->ctx) / NSEC_PER_USEC;

	if (us > st->now)
		st->now = us;
	st->now_ms = (uint32_t)(st->now / USEC_PER_MSEC);
}

void slow_arm(struct tp_stack *st, uint64_t at)
{
	if (at < st->slow_at)
		st->slow_at = at;
}

/* "what ADDRESS n": the few lines a stack has to say, to the cell's log. */
void tp_logf(struct tp_stack *st, const char *what, const struct ipa *a, uint32_t n)
{
	char line[160], num[12];
	size_t len = 0, i = 0;

	for (; *what && len < 90; what++)
		line[len++] = *what;
	if (a) {
		line[len++] = ' ';
		len += ipa_format(a, line + len);
	}
	if (n) {
		line[len++] = ' ';
		for (; n; n /= 10)
			num[i++] = (char)('0' + n % 10);
		while (i)
			line[len++] = num[--i];
	}
	line[len] = 0;
	if (st->ops.log)
		st->ops.log(st->ctx, line);
}

/* The link is new: whoever knows the address learns where it is now. */
static void addr_announce(struct tp_stack *st, const struct ifaddr *a)
{
	if (ipa_is4(&a->addr))
		arp_announce(st, a->ifi, a->addr.w[3]);
	else if (!ipa_linklocal(&a->addr) && !(a->flags & (AF_TENTATIVE | AF_DADFAILED)))
		nd_advertise(st, a->ifi, &a->addr);
}

int tp_if_add(struct tp_stack *st, unsigned ifi, const struct tp_if_config *cfg)
{
	static const uint8_t no_mac[6];
	struct netif *n;
	bool had;

	if (!ifi || ifi >= TP_MAX_IF)
		return -TE_INVAL;
	n = &st->s->ifs[ifi];
	had = n->used && memcmp(n->mac, no_mac, 6);
	n->used = n->up = 1;
	n->link = !cfg->no_carrier;
	if (!cfg->no_carrier)
		memcpy(n->mac, cfg->mac, 6);
	memcpy(n->name, cfg->name, sizeof(n->name) - 1);
	n->mtu = cfg->mtu ? MIN(MAX(cfg->mtu, 576), 65535 - 14) : 1500;
	n->ip6_mtu = n->mtu;
	n->hop_limit = 64;
	n->caps = cfg->caps;
	n->dhcp = cfg->dhcp;
	n->slaac = cfg->slaac;
	n->hidden = cfg->hidden;
	n->same_mac = cfg->same_mac;
	route_changed(st);
	if (cfg->no_carrier)
		return 0;
	if (!st->cfg.no_ipv6 && !n->hidden)
		nd_if_up(st, ifi);
	if (n->dhcp && !had)
		dhcp_start(st, ifi);
	for (unsigned i = 0; had && i < MAX_ADDR; i++) {
		struct ifaddr *a = &st->s->addr[i];

		if (a->used && a->ifi == ifi)
			addr_announce(st, a);
	}
	return 0;
}

void tp_if_link(struct tp_stack *st, unsigned ifi, int up)
{
	struct netif *n;

	if (ifi >= TP_MAX_IF || !st->s->ifs[ifi].used)
		return;
	tp_time(st);
	n = &st->s->ifs[ifi];
	if (n->link == !!up)
		return;
	n->link = !!up;
	tp_logf(st, up ? "link up, interface" : "link down, interface", NULL, ifi);
	route_changed(st);
	if (!up)
		return;
	for (unsigned i = 0; i < MAX_ADDR; i++) {
		struct ifaddr *a = &st->s->addr[i];

		if (a->used && a->ifi == ifi)
			addr_announce(st, a);
	}
	if (!st->cfg.no_ipv6 && !n->hidden)
		nd_if_up(st, ifi);
	if (n->dhcp)
		dhcp_start(st, ifi);
	mcast_link_up(st, ifi);
	tcp_link_up(st);
}

void tp_if_remove(struct tp_stack *st, unsigned ifi)
{
	if (!ifi || ifi >= TP_MAX_IF || !st->s->ifs[ifi].used)
		return;
	tp_time(st);
	st->s->ifs[ifi].link = 0; /* nothing is sent on the way out */
	for (unsigned i = 0; i < MAX_ADDR; i++) {
		if (st->s->addr[i].used && st->s->addr[i].ifi == ifi)
			addr_remove(st, &st->s->addr[i]);
	}
	for (unsigned i = 0; i < MAX_ROUTE; i++) {
		if (st->s->route[i].used && st->s->route[i].ifi == ifi)
			st->s->route[i].used = 0;
	}
	for (unsigned i = 0; i < MAX_NEIGH; i++) {
		if (st->neigh[i].state && st->neigh[i].ifi == ifi)
			neigh_forget(st, i);
	}
	for (unsigned i = 0; i < 2; i++) {
		if (st->s->share[i].ifi == ifi)
			st->s->share[i].used = 0;
	}
	memset(&st->s->ifs[ifi], 0, sizeof(st->s->ifs[ifi]));
	route_changed(st);
}

int tp_addr_add(struct tp_stack *st, unsigned ifi, const uint8_t addr[16], unsigned plen)
{
	struct ipa a = ipa_from6(addr);

	tp_time(st);
	if (ipa_is4(&a))
		plen += 96;
	return addr_add(st, ifi, &a, plen, AF_PERMANENT, NEVER, NEVER);
}

int tp_route_add(struct tp_stack *st, unsigned ifi, const uint8_t dst[16], unsigned plen,
		 const uint8_t gw[16])
{
	struct route r = {.dst = ipa_from6(dst),
			  .gw = ipa_from6(gw),
			  .ifi = (uint8_t)ifi,
			  .proto = 4,
			  .used = 1,
			  .expires = NEVER};

	if (ipa_is4(&r.gw))
		plen += 96;
	r.plen = (uint8_t)MIN(plen, 128u);
	return route_add(st, &r);
}

static int publish_add(struct tp_stack *st, const struct publish *n)
{
	for (unsigned i = 0; i < MAX_PUB; i++) {
		struct publish *p = &st->s->pub[i];

		if (p->used)
			continue;
		*p = *n;
		state_seal_net(st);
		return 0;
	}
	return -TE_NOSPC;
}

int tp_publish(struct tp_stack *st, uint8_t proto, const uint8_t host[16], uint16_t host_port,
	       uint16_t port)
{
	struct publish p = {.host = ipa_from6(host),
			    .host_port = host_port,
			    .port = port,
			    .proto = proto,
			    .used = 1};

	return publish_add(st, &p);
}

int tp_publish_shared(struct tp_stack *st, uint8_t proto, unsigned families, uint16_t host_port,
		      uint16_t port)
{
	struct publish p = {.host_port = host_port,
			    .port = port,
			    .proto = proto,
			    .used = 1,
			    .shared = families & (TP_V4 | TP_V6)};

	return p.shared ? publish_add(st, &p) : -TE_INVAL;
}

/* ---- frames in ---- */

/* Frames and the tp_poll() that ends their batch have one time: reading the clock costs. */
static void batch_time(struct tp_stack *st)
{
	if (!st->timed)
		tp_time(st);
	st->timed = true;
	if (st->adopting)
		state_adopt(st);
}

static void frame_input(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t len,
			const struct tp_meta *meta, bool loop, const struct rest *rest)
{
	struct netif *n = &st->s->ifs[ifi];
	struct eth_hdr *eth = (struct eth_hdr *)frame;
	UNINIT struct pkt p; /* src and dst are set by who reads the IP header */
	uint8_t kind = 0;

	if (len < ETH_HLEN) {
		st->s->ifstat[ifi].rx_errors++;
		return;
	}
	st->s->ifstat[ifi].rx_packets++;
	st->s->ifstat[ifi].rx_bytes += len;
	p.rest = rest;
	p.frame = frame;
	p.frame_len = len;
	p.ip = p.data = frame + ETH_HLEN;
	p.ip_hlen = 0;
	p.ifi = (uint8_t)ifi;
	p.proto = p.ttl = p.tos = 0;
	p.is4 = false;
	p.loop = loop;
	p.len = len - ETH_HLEN;
	p.csum_ok = meta && meta->flags & (TP_META_CSUM_OK | TP_META_NEEDS_CSUM);
	p.gso_size = meta && meta->gso_type ? meta->gso_size : 0;
	if (!loop) {
		if (!n->up)
			return;
		if (eth->dst[0] & 1)
			kind = memcmp(eth->dst, "\xff\xff\xff\xff\xff\xff", 6) ? 2 : 1;
		else if (memcmp(eth->dst, n->mac, 6))
			kind = 3; /* PACKET_OTHERHOST */
	}
	p.broadcast = kind == 1;
	p.multicast = kind == 2;
	if (st->npacket)
		packet_tap(st, share_face(st, ifi), frame, len, kind);
	if (kind == 3 && !st->cfg.no_rst)
		return;
	switch (be16(eth->type)) {
	case ETH_P_ARP:
		if (!loop)
			arp_input(st, &p);
		break;
	case ETH_P_IP:
		ip4_input(st, &p);
		break;
	case ETH_P_IPV6:
		if (!st->cfg.no_ipv6 && (!n->hidden || st->s->share[1].used))
			ip6_input(st, &p);
		break;
	default:
		st->s->ifstat[ifi].rx_dropped++;
	}
}

void tp_input(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t len,
	      const struct tp_meta *meta)
{
	if (!ifi || ifi >= TP_MAX_IF || !st->s->ifs[ifi].used)
		return;
	batch_time(st);
	frame_input(st, ifi, frame, len, meta, false, NULL);
}

/* Headers that nothing but TCP looks behind, whole, and a sum that need not be computed. */
#define TCP_HEAD (ETH_HLEN + 40u + 60u)

static bool rest_may_wait(const struct tp_stack *st, const uint8_t *f, uint32_t head,
			  const struct tp_meta *m)
{
	if (!m || !(m->flags & (TP_META_CSUM_OK | TP_META_NEEDS_CSUM)) || st->npacket ||
	    st->nraw || head < TCP_HEAD)
		return false;
	if (f[12] == 0x08 && f[13] == 0x00)
		return f[14] == 0x45 && f[23] == IPPROTO_TCP_ && !(f[20] & 0x3f) && !f[21];
	return f[12] == 0x86 && f[13] == 0xdd && f[20] == IPPROTO_TCP_;
}

void tp_input_parts(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t head,
		    const struct tp_part *part, unsigned parts, uint32_t len,
		    const struct tp_meta *meta)
{
	struct rest rest = {frame + head, part, parts};
	bool wait = parts && rest_may_wait(st, frame, head, meta);

	if (!ifi || ifi >= TP_MAX_IF || !st->s->ifs[ifi].used)
		return;
	for (unsigned i = 0; i < parts && !wait; i++) {
		memcpy(frame + head, part[i].data, part[i].len);
		head += part[i].len;
	}
	batch_time(st);
	frame_input(st, ifi, frame, len, meta, false, wait ? &rest : NULL);
}

/* A whole IP packet, reassembled if need be, to who it is for. */
void stack_ip_deliver(struct tp_stack *st, struct pkt *p)
{
	bool taken;

	if (share_is(st, &p->dst))
		share_icmp_in(st, p);
	taken = st->nraw && raw_input(st, p);
	STAT(st, Ip_InDelivers);
	switch (p->proto) {
	case IPPROTO_TCP_:
		tcp_input(st, p);
		return;
	case IPPROTO_UDP_:
		udp_input(st, p);
		return;
	case IPPROTO_ICMP_:
		if (p->is4) {
			icmp4_input(st, p);
			return;
		}
		break;
	case IPPROTO_ICMPV6_:
		if (!p->is4) {
			icmp6_input(st, p);
			return;
		}
		break;
	case IPPROTO_IGMP_:
		igmp_input(st, p);
		return;
	case IPPROTO_NONE_:
		return;
	}
	if (taken)
		return;
	STAT(st, Ip_InUnknownProtos);
	if (p->is4)
		icmp_error(st, p, 3, 2, 0);
	else
		icmp_error(st, p, 4, 1, be32((uint32_t)40));
}

/* ---- the loopback: a ring of frames ---- */

struct loop_rec {
	uint32_t len; /* 0: skip to the start of the ring */
	struct tp_meta meta;
};
#define LOOP_HDR 16u
_Static_assert(sizeof(struct loop_rec) <= LOOP_HDR, "loop record");

void *loop_get(struct tp_stack *st, uint32_t len)
{
	uint32_t size = st->cfg.loop_size, at = st->loop_prod & (size - 1);
	uint32_t need = LOOP_HDR + ((len + 15) & ~15u);
	uint32_t room = size - (st->loop_prod - st->loop_cons);

	if (need > size - at) {
		if (room < size - at + need)
			return NULL;
		((struct loop_rec *)(st->loop + at))->len = 0;
		st->loop_prod += size - at;
		at = 0;
	} else if (room < need) {
		return NULL;
	}
	return st->loop + at + LOOP_HDR;
}

void loop_put(struct tp_stack *st, uint32_t len, const struct tp_meta *m)
{
	struct loop_rec *r =
	    (struct loop_rec *)(st->loop + (st->loop_prod & (st->cfg.loop_size - 1)));

	r->len = len;
	r->meta = *m;
	st->loop_prod += LOOP_HDR + ((len + 15) & ~15u);
	st->s->ifstat[0].tx_packets++;
	st->s->ifstat[0].tx_bytes += len;
}

static void loop_run(struct tp_stack *st, unsigned budget)
{
	while (st->loop_cons != st->loop_prod && budget--) {
		uint32_t at = st->loop_cons & (st->cfg.loop_size - 1);
		struct loop_rec *r = (struct loop_rec *)(st->loop + at);

		if (!r->len) {
			st->loop_cons += st->cfg.loop_size - at;
			continue;
		}
		frame_input(st, 0, st->loop + at + LOOP_HDR, r->len, &r->meta, true, NULL);
		st->loop_cons += LOOP_HDR + ((r->len + 15) & ~15u);
	}
}

/* ---- the turn ---- */

static void slow_run(struct tp_stack *st)
{
	uint64_t at = NEVER;

	st->slow_at = NEVER;
	at = MIN(at, neigh_tick(st));
	at = MIN(at, frag_tick(st));
	at = MIN(at, addr_tick(st));
	at = MIN(at, nd_tick(st));
	at = MIN(at, dhcp_tick(st));
	at = MIN(at, mcast_tick(st));
	slow_arm(st, at);
	state_seal_net(st);
}

uint64_t tp_poll(struct tp_stack *st)
{
	uint32_t ms;
	uint64_t next;

	batch_time(st);
	st->timed = false;
	pv_poll(st);
	wheel_run(st);
	if (st->now >= st->slow_at)
		slow_run(st);
	sock_flush(st);
	loop_run(st, 64);
	sock_flush(st);
	pv_notify(st);
	if (st->loop_cons != st->loop_prod)
		return 0;
	ms = wheel_next(st);
	next = st->slow_at;
	if (ms != UINT32_MAX) {
		uint64_t us = (st->now / USEC_PER_MSEC + (ms - st->now_ms)) * USEC_PER_MSEC;

		next = MIN(next, us);
	}
	return next == NEVER ? NEVER : next * NSEC_PER_USEC;
}

int tp_idle_begin(struct tp_stack *st)
{
	pv_idle(st, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!pv_pending(st))
		return 1;
	pv_idle(st, false);
	return 0;
}

void tp_idle_end(struct tp_stack *st)
{
	pv_idle(st, false);
}

/* ---- figures ---- */

static const char *const stat_name[] = {
#define TP_STAT_NAME(group, name) #group "." #name,
    TP_STATS(TP_STAT_NAME)
#undef TP_STAT_NAME
};

const char *stat_name_of(unsigned i)
{
	return i < STAT_COUNT ? stat_name[i] : NULL;
}

static bool str_eq(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

uint64_t tp_stat(const struct tp_stack *st, const char *name)
{
	for (unsigned i = 0; i < STAT_COUNT; i++) {
		if (str_eq(stat_name[i], name))
			return st->stat[i];
	}
	return UINT64_MAX;
}

uint32_t tp_sock_count(const struct tp_stack *st)
{
	return st->nsocks;
}

uint32_t tp_adopted(const struct tp_stack *st)
{
	return st->adopted;
}
