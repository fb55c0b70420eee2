/* SPDX-License-Identifier: ISC */
#include "tests/unit/tcp_sim.h"
#include <stdlib.h>
#include <string.h>

uint32_t sim_random(struct sim *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return (uint32_t)(s->rng >> 16);
}

static void *tx_get(void *ctx, unsigned ifi, uint32_t len)
{
	struct sim_host *h = ctx;

	if (h->tx_limit && h->sim->nqueue >= h->tx_limit)
		return NULL;
	return len <= SIM_FRAME ? h->tx : NULL;
}

static void queue_frame(struct sim *s, unsigned to, const uint8_t *f, uint32_t len,
			const struct tp_meta *m, uint64_t at)
{
	struct sim_frame *q;

	if (s->nqueue == SIM_QUEUE)
		return;
	q = &s->queue[s->nqueue++];
	*q = (struct sim_frame){at, to, len, {0}, malloc(len ? len : 1)};
	if (m)
		q->meta = *m;
	memcpy(q->data, f, len);
}

static uint32_t sum16(const uint8_t *p, uint32_t n)
{
	uint32_t s = 0;

	for (uint32_t i = 0; i < n; i += 2)
		s += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/* The router's complaint: ICMP fragmentation needed, or packet too big. */
static void too_big(struct sim *s, unsigned from, const uint8_t *f, uint32_t len)
{
	uint8_t o[14 + 40 + 8 + 60] = {0};
	bool v6 = f[12] == 0x86;
	uint32_t hl = v6 ? 40 : 20, q = v6 ? 60 : 28, n = 14 + hl + 8 + q, c;

	if (s->blackhole || len < 14 + q || (!v6 && f[23] == 1) || (v6 && f[20] == 58))
		return;
	memcpy(o, f + 6, 6);
	memcpy(o + 6, f, 6);
	memcpy(o + 12, f + 12, 2);
	if (!v6) {
		uint8_t *ip = o + 14;

		ip[0] = 0x45;
		ip[3] = (uint8_t)(20 + 8 + q);
		ip[8] = 64;
		ip[9] = 1;
		memcpy(ip + 12, f + 30, 4);
		memcpy(ip + 16, f + 26, 4);
		c = ~sum16(ip, 20);
		ip[10] = (uint8_t)(c >> 8);
		ip[11] = (uint8_t)c;
		ip[20] = 3;
		ip[21] = 4;
		ip[26] = (uint8_t)(s->pmtu >> 8);
		ip[27] = (uint8_t)s->pmtu;
		memcpy(ip + 28, f + 14, q);
		c = ~sum16(ip + 20, 8 + q);
		ip[22] = (uint8_t)(c >> 8);
		ip[23] = (uint8_t)c;
	} else {
		uint8_t *ip = o + 14;

		ip[0] = 0x60;
		ip[5] = (uint8_t)(8 + q);
		ip[6] = 58;
		ip[7] = 64;
		memcpy(ip + 8, f + 14 + 24, 16);
		memcpy(ip + 24, f + 14 + 8, 16);
		ip[40] = 2;
		ip[46] = (uint8_t)(s->pmtu >> 8);
		ip[47] = (uint8_t)s->pmtu;
		memcpy(ip + 48, f + 14, q);
		c = sum16(ip + 8, 32) + sum16(ip + 40, 8 + q) + 58 + 8 + q;
		while (c >> 16)
			c = (c & 0xffff) + (c >> 16);
		c = ~c;
		ip[42] = (uint8_t)(c >> 8);
		ip[43] = (uint8_t)c;
	}
	queue_frame(s, from, o, n, NULL, s->now + 1000);
}

static uint32_t waiting(struct sim *s, unsigned to)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->nqueue; i++)
		n += s->queue[i].to == to;
	return n;
}

static void link_send(struct sim *s, unsigned from, uint8_t *f, uint32_t len,
		      const struct tp_meta *m)
{
	unsigned to = !from;
	uint64_t at = s->now + s->delay;
	uint32_t ip = len - 14;

	s->sent++;
	if (s->filter && !s->filter(s, from, f, len))
		return;
	if (m->gso_type)
		ip = m->gso_size + 60u;
	if (s->pmtu && ip > s->pmtu) {
		s->dropped++;
		too_big(s, from, f, len);
		return;
	}
	if (sim_random(s) % 10000 < s->loss || (s->qlimit && waiting(s, to) >= s->qlimit)) {
		s->dropped++;
		return;
	}
	if (s->rate) {
		uint64_t t = (uint64_t)len * 1000000000ull / s->rate;

		s->busy[from] = (s->busy[from] > s->now ? s->busy[from] : s->now) + t;
		at = s->busy[from] + s->delay;
	}
	if (sim_random(s) % 10000 < s->reorder)
		at += s->delay + 1 + sim_random(s) % (s->delay + 1000);
	queue_frame(s, to, f, len, m, at);
	if (sim_random(s) % 10000 < s->corrupt && len > 34) {
		uint8_t *d = s->queue[s->nqueue - 1].data;

		/* Damage on a real wire comes without a verdict from the card. */
		s->queue[s->nqueue - 1].meta.flags = 0;
		d[14 + sim_random(s) % (len - 14)] ^= (uint8_t)(1u << sim_random(s) % 8);
	}
	if (sim_random(s) % 10000 < s->dup)
		queue_frame(s, to, f, len, m, at + sim_random(s) % (s->delay + 1000));
}

static void tx_put(void *ctx, unsigned ifi, void *frame, uint32_t len, const struct tp_meta *m)
{
	struct sim_host *h = ctx;

	if (len)
		link_send(h->sim, h->index, frame, len, m);
}

static uint64_t now(void *ctx)
{
	return ((struct sim_host *)ctx)->sim->now;
}

static void rnd(void *ctx, void *buf, uint32_t len)
{
	struct sim_host *h = ctx;
	uint8_t *b = buf;

	while (len--)
		*b++ = (uint8_t)sim_random(h->sim);
}

static void notify_client(void *ctx, unsigned client)
{
	((struct sim_host *)ctx)->notifies++;
}

static void notify_server(void *ctx)
{
	struct sim_host *h = ctx;

	h->deadline = 0;
}

struct call {
	struct sim_host *h;
	uint64_t next;
	uint8_t *frame;
	uint32_t head, len;
	unsigned ifi, parts;
	const struct tp_part *part;
	const struct tp_meta *meta;
};

static void host_call(struct call *c, void (*fn)(void *call))
{
	if (c->h->run)
		c->h->run(c->h, fn, c);
	else
		fn(c);
}

static void do_poll(void *call)
{
	struct call *c = call;

	c->next = tp_poll(c->h->st);
}

static void do_input(void *call)
{
	struct call *c = call;

	if (c->parts)
		tp_input_parts(c->h->st, c->ifi, c->frame, c->head, c->part, c->parts, c->len,
			       c->meta);
	else
		tp_input(c->h->st, c->ifi, c->frame, c->len, c->meta);
}

static uint64_t host_poll(struct sim_host *h)
{
	struct call c = {.h = h};

	host_call(&c, do_poll);
	return c.next;
}

static void wait_server(void *ctx)
{
	struct sim_host *h = ctx;

	h->deadline = host_poll(h);
}

static const struct tp_ops ops = {tx_get, tx_put, now, rnd, notify_client, NULL};

static void host_boot(struct sim_host *h)
{
	h->arena = aligned_alloc(64, (h->arena_size + 63) & ~(size_t)63);
	memset(h->arena, 0, h->arena_size);
	h->st = tp_init(h->arena, h->arena_size, h->state, h->state_size, &h->cfg, &ops, h);
	if (!h->st)
		abort();
	tp_if_add(h->st, 1, &h->ifc);
}

struct pvs_addr sim_addr(unsigned host, uint16_t port, bool v6)
{
	struct pvs_addr a = {.family = v6 ? PVS_AF_INET6 : PVS_AF_INET,
			     .port = __builtin_bswap16(port)};

	if (v6) {
		a.addr[0] = 0xfd;
		a.addr[15] = (uint8_t)(host + 1);
	} else {
		a.addr[0] = 10;
		a.addr[3] = (uint8_t)(host + 1);
	}
	return a;
}

void sim_init(struct sim *s, uint32_t caps, const struct tp_config *cfg, uint32_t region)
{
	memset(s, 0, sizeof(*s));
	s->rng = 0x9e3779b97f4a7c15ull;
	s->now = 1000000000ull;
	s->delay = 1000000;
	s->queue = calloc(SIM_QUEUE, sizeof(*s->queue));
	s->scratch = malloc(SIM_FRAME);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_host *h = &s->host[i];

		h->sim = s;
		h->index = i;
		h->cfg = *cfg;
		h->region_size = region;
	}
	sim_start(s, caps);
}

void sim_start(struct sim *s, uint32_t caps)
{
	for (unsigned i = 0; i < 2; i++) {
		struct sim_host *h = &s->host[i];
		uint8_t a[16], a6[16] = {0xfd, [15] = (uint8_t)(i + 1)};
		char text[16] = "10.0.0.1";

		text[7] = (char)('1' + i);
		h->ifc = (struct tp_if_config){.mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)},
					       .mtu = 1500,
					       .caps = caps,
					       .name = "eth0"};
		h->cfg.ipv6_no_dad = 1;
		h->arena_size = tp_arena_size(&h->cfg);
		h->state_size = tp_state_size(&h->cfg);
		/* Whole pages, as a test may protect them. */
		h->state = aligned_alloc(4096, (h->state_size + 4095) & ~(size_t)4095);
		memset(h->state, 0, h->state_size);
		h->tx = malloc(SIM_FRAME);
		h->region = aligned_alloc(4096, h->region_size);
		memset(h->region, 0, h->region_size);
		host_boot(h);
		tp_parse_addr(text, a);
		tp_addr_add(h->st, 1, a, 24);
		tp_addr_add(h->st, 1, a6, 64);
		h->memory = calloc(1, pvs_memory(h->region_size, 256));
		pvs_init(&h->c, h->region, h->region_size, 256, 1, h->memory, notify_server,
			 wait_server, h);
		tp_attach_client(h->st, 0, h->region, h->region_size);
	}
	sim_run(s, 10000000);
}

void sim_restart_begin(struct sim *s, unsigned i)
{
	struct sim_host *h = &s->host[i];

	free(h->arena);
	host_boot(h);
	tp_attach_client(h->st, 0, h->region, h->region_size);
}

void sim_restart(struct sim *s, unsigned i)
{
	sim_restart_begin(s, i);
	s->host[i].deadline = tp_poll(s->host[i].st);
}

void sim_free(struct sim *s)
{
	for (uint32_t i = 0; i < s->nqueue; i++)
		free(s->queue[i].data);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_host *h = &s->host[i];

		free(h->arena);
		free(h->state);
		free(h->region);
		free(h->memory);
		free(h->tx);
	}
	free(s->queue);
	free(s->scratch);
}

void sim_inject(struct sim *s, unsigned to, const void *frame, uint32_t len)
{
	queue_frame(s, to, frame, len, NULL, s->now);
}

/* Frames whose sum is known to be good come in parts, as they lie in a port's buffers. */
void sim_input(struct sim *s, struct sim_frame *f)
{
	unsigned ifi = s->ifi ? s->ifi(s, f->to, f->data) : 1;
	uint32_t head = 114 + f->len % 150, cut;
	struct tp_part part[2];
	uint8_t *frame, *a, *b;

	if (!(f->meta.flags & 3) || f->len < head + 2) {
		host_call(&(struct call){.h = &s->host[f->to],
					 .ifi = ifi,
					 .frame = f->data,
					 .len = f->len,
					 .meta = &f->meta},
			  do_input);
		return;
	}
	cut = head + (f->len - head) / 3;
	frame = malloc(f->len);
	a = malloc(cut - head ? cut - head : 1);
	b = malloc(f->len - cut);
	memset(frame, 0xaa, f->len);
	memcpy(frame, f->data, head);
	memcpy(a, f->data + head, cut - head);
	memcpy(b, f->data + cut, f->len - cut);
	part[0] = (struct tp_part){a, cut - head};
	part[1] = (struct tp_part){b, f->len - cut};
	host_call(&(struct call){.h = &s->host[f->to],
				 .ifi = ifi,
				 .frame = frame,
				 .head = head,
				 .part = part,
				 .parts = 2,
				 .len = f->len,
				 .meta = &f->meta},
		  do_input);
	free(frame);
	free(a);
	free(b);
}

static bool deliver_due(struct sim *s)
{
	uint32_t best = SIM_QUEUE;
	struct sim_frame f;

	for (uint32_t i = 0; i < s->nqueue; i++) {
		if (s->queue[i].at <= s->now &&
		    (best == SIM_QUEUE || s->queue[i].at < s->queue[best].at))
			best = i;
	}
	if (best == SIM_QUEUE)
		return false;
	f = s->queue[best];
	memmove(&s->queue[best], &s->queue[best + 1],
		(s->nqueue - best - 1) * sizeof(*s->queue));
	s->nqueue--;
	if (s->take)
		s->take(s, &f);
	else
		sim_input(s, &f);
	s->host[f.to].deadline = 0;
	free(f.data);
	if (s->host[!f.to].tx_limit)
		tp_tx_ready(s->host[!f.to].st, 1);
	return true;
}

void sim_step(struct sim *s, uint64_t until)
{
	uint64_t next = until;

	while (deliver_due(s))
		;
	if (s->batch)
		s->batch(s);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_host *h = &s->host[i];

		h->deadline = host_poll(h);
		if (h->deadline < next)
			next = h->deadline;
	}
	for (uint32_t i = 0; i < s->nqueue; i++) {
		if (s->queue[i].at < next)
			next = s->queue[i].at;
	}
	if (next > s->now)
		s->now = next;
}

void sim_run(struct sim *s, uint64_t ns)
{
	uint64_t end = s->now + ns;

	while (s->now < end)
		sim_step(s, end);
	sim_step(s, end);
}

bool sim_connect(struct sim *s, struct sim_conn *c, bool v6, unsigned order)
{
	struct pvs_client *p = &s->host[0].c, *q = &s->host[1].c;
	int domain = v6 ? PVS_AF_INET6 : PVS_AF_INET;
	struct pvs_addr to = sim_addr(1, 7000, v6), any = to;

	memset(any.addr, 0, sizeof(any.addr));
	c->listener = pvs_socket(q, domain, PVS_SOCK_STREAM, 0, 0, 0);
	if (c->listener < 0 || pvs_bind(q, c->listener, &any) || pvs_listen(q, c->listener, 16))
		return false;
	c->a = pvs_socket(p, domain, PVS_SOCK_STREAM, 0, order, order);
	if (c->a < 0 || pvs_connect(p, c->a, &to) != -115)
		return false;
	for (int i = 0; i < 200000; i++) {
		sim_step(s, s->now + 10000000);
		c->b = pvs_accept(q, c->listener, order, order, NULL);
		if (c->b >= 0)
			break;
	}
	for (int i = 0; i < 2000 && !(p->slot[c->a].state & PVS_ST_CONNECTED); i++)
		sim_step(s, s->now + 10000000);
	return c->b >= 0 && p->slot[c->a].state & PVS_ST_CONNECTED;
}
