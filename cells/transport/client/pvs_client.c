/* SPDX-License-Identifier: ISC */
/*
 * Client of the PV socket protocol.
 *
 * Three files: requests and sockets (this one), data and readiness (pvs_data.c), the heap of
 * the region (pvs_heap.c). Our own indexes are private too; the shared ones are
 * written, and the server's are read once and clamped, so a hostile server can lie
 * about data but not make us read or write outside a ring.
 */
#include <string.h>
#include "pvs_int.h"

static bool rings_alloc(struct pvs_client *c, struct pvs_rings *r, unsigned tx, unsigned rx)
{
	*r = (struct pvs_rings){.tx_order = (uint8_t)tx, .rx_order = (uint8_t)rx};
	if ((tx && (tx < PVS_MIN_ORDER || tx > PVS_MAX_ORDER)) ||
	    (rx && (rx < PVS_MIN_ORDER || rx > PVS_MAX_ORDER)))
		return false;
	if (tx && !(r->tx_off = pvs_heap_alloc(c, tx)))
		return false;
	if (rx && !(r->rx_off = pvs_heap_alloc(c, rx))) {
		if (tx)
			pvs_heap_free(c, r->tx_off);
		return false;
	}
	return true;
}

static void rings_free(struct pvs_client *c, const struct pvs_rings *r)
{
	if (r->tx_order)
		pvs_heap_free(c, r->tx_off);
	if (r->rx_order)
		pvs_heap_free(c, r->rx_off);
}

/* ---- set-up ---- */

static uint32_t unit_count(uint32_t size)
{
	return size / UNIT;
}

size_t pvs_memory(uint32_t size, uint32_t nslots)
{
	return unit_count(size) + 64 + (size_t)nslots * sizeof(struct pvs_sock);
}

static uint32_t place(uint32_t *at, uint32_t bytes)
{
	uint32_t off = *at;

	*at += (bytes + PVS_ALIGN - 1) & ~(PVS_ALIGN - 1);
	return off;
}

int pvs_init(struct pvs_client *c, void *region, uint32_t size, uint32_t nslots, uint32_t gen,
	     void *memory, void (*notify)(void *), void (*wait)(void *), void *ctx)
{
	struct pvs_header *h = region;
	uint32_t at = PVS_PAGE, bitmap = (uint32_t)sizeof(struct pvs_bitmap) + nslots / 8;

	if (!nslots || nslots % 64 || nslots > PVS_MAX_SLOTS || !gen)
		return -E_INVAL;
	memset(c, 0, sizeof(*c));
	c->nreq = 64;
	c->ask = nslots;
	if ((uint64_t)size <
	    PVS_PAGE + c->nreq * 128ull + nslots * 128ull + 2ull * bitmap + 65536)
		return -E_INVAL;
	__atomic_store_n(&h->magic, 0, __ATOMIC_SEQ_CST);
	c->base = region;
	c->hdr = h;
	c->size = size;
	c->nslots = nslots;
	h->version = PVS_VERSION;
	h->size = size;
	h->nreq = c->nreq;
	h->nslots = nslots;
	h->req_off = place(&at, c->nreq * (uint32_t)sizeof(struct pvs_req));
	h->rsp_off = place(&at, c->nreq * (uint32_t)sizeof(struct pvs_rsp));
	h->slot_off = place(&at, nslots * (uint32_t)sizeof(struct pvs_slot));
	h->kick_off = place(&at, bitmap);
	h->event_off = place(&at, bitmap);
	at = (at + PVS_PAGE - 1) & ~(PVS_PAGE - 1);
	h->heap_off = c->heap = at;
	memset((uint8_t *)region + PVS_PAGE, 0, at - PVS_PAGE);
	c->req = (struct pvs_req *)(c->base + h->req_off);
	c->rsp = (struct pvs_rsp *)(c->base + h->rsp_off);
	c->slot = (struct pvs_slot *)(c->base + h->slot_off);
	c->kick = (struct pvs_bitmap *)(c->base + h->kick_off);
	c->event = (struct pvs_bitmap *)(c->base + h->event_off);
	h->req_prod = h->rsp_cons = h->req_cons = h->rsp_prod = 0;
	h->server_idle = 1; /* whoever serves us may be asleep */
	h->client_idle = 0;
	c->sock = memory;
	memset(c->sock, 0, nslots * sizeof(*c->sock));
	c->map = (uint8_t *)(c->sock + nslots);
	c->units = unit_count(size - at);
	pvs_heap_init(c);
	c->notify = notify;
	c->wait = wait;
	c->ctx = ctx;
	h->client_gen = gen;
	__atomic_store_n(&h->magic, PVS_MAGIC, __ATOMIC_RELEASE);
	c->notify(c->ctx);
	return 0;
}

bool pvs_ready(const struct pvs_client *c)
{
	return __atomic_load_n(&c->hdr->server_magic, __ATOMIC_ACQUIRE) == PVS_MAGIC &&
	       c->hdr->server_client_gen == c->hdr->client_gen;
}

/* ---- rings of requests ---- */

/* After a sequentially consistent write of what the server looks for before it sleeps. */
void pvs_wake_seen(struct pvs_client *c)
{
	if (__atomic_load_n(&c->hdr->server_idle, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&c->hdr->server_idle, 0, __ATOMIC_SEQ_CST))
		c->notify(c->ctx);
}

static void finish_release(struct pvs_client *c, const struct pvs_rsp *r)
{
	struct pvs_sock *s;

	if (r->sock >= c->nslots)
		return;
	s = &c->sock[r->sock];
	if (!s->closing || (s->released_id != r->id && s->asked_id != r->id))
		return;
	rings_free(c, &s->rings);
	memset(s, 0, sizeof(*s));
}

void pvs_wake_server(struct pvs_client *c)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	pvs_wake_seen(c);
}

/* One response; RELEASEs are settled here. */
bool pvs_response(struct pvs_client *c, struct pvs_rsp *r)
{
	uint32_t prod = load(&c->hdr->rsp_prod);

	if (prod == c->rsp_cons || prod - c->rsp_cons > c->nreq)
		return false;
	*r = c->rsp[c->rsp_cons & (c->nreq - 1)];
	__asm__ volatile("" ::"r"(r) : "memory");
	store(&c->hdr->rsp_cons, ++c->rsp_cons);
	if (r->cmd == PVS_CMD_RELEASE && r->ret != -E_ALREADY)
		finish_release(c, r);
	return true;
}

static uint32_t put(struct pvs_client *c, struct pvs_req *q)
{
	q->id = ++c->next_id ? c->next_id : ++c->next_id;
	c->req[c->req_prod & (c->nreq - 1)] = *q;
	store(&c->hdr->req_prod, ++c->req_prod);
	pvs_wake_server(c);
	return q->id;
}

/*
 * Another instance serves us. What we asked for and have no answer to, it will answer; but it
 * may have lost a socket that we closed, and with it the RELEASE that was to be answered
 * later. So it is asked once more: EALREADY if it was not lost. Some at a time, never waiting.
 */
static void releases_ask(struct pvs_client *c)
{
	uint32_t gen = load(&c->hdr->server_gen);

	if (gen != c->server_gen) {
		c->ask = c->server_gen ? 0 : c->nslots;
		c->server_gen = gen;
	}
	for (; c->ask < c->nslots && c->req_prod - load(&c->hdr->req_cons) < c->nreq / 2;
	     c->ask++) {
		struct pvs_req q = {.cmd = PVS_CMD_RELEASE, .sock = c->ask};

		if (c->sock[c->ask].closing)
			c->sock[c->ask].asked_id = put(c, &q);
	}
}

void pvs_responses(struct pvs_client *c)
{
	struct pvs_rsp r;

	releases_ask(c);
	while (pvs_response(c, &r)) {
		if (r.id == c->want_id) {
			c->last = r;
			c->have_last = true;
		}
	}
}

uint32_t pvs_submit(struct pvs_client *c, struct pvs_req *q)
{
	while (c->req_prod - load(&c->hdr->req_cons) >= c->nreq) {
		pvs_wake_server(c);
		pvs_responses(c);
		c->wait(c->ctx);
	}
	return put(c, q);
}

static int call(struct pvs_client *c, struct pvs_req *q)
{
	c->have_last = false;
	c->want_id = pvs_submit(c, q);
	for (;;) {
		pvs_responses(c);
		if (c->have_last)
			break;
		c->wait(c->ctx);
	}
	c->want_id = 0;
	return c->last.ret;
}

static int simple(struct pvs_client *c, int cmd, int s)
{
	struct pvs_req q = {.cmd = (uint16_t)cmd, .sock = (uint32_t)s};

	return call(c, &q);
}

/* ---- sockets ---- */

/* A slot with its two rings, for a request that makes a socket of it: call_for(). */
static int slot_take(struct pvs_client *c, unsigned tx, unsigned rx)
{
	for (uint32_t i = 0; i < c->nslots; i++) {
		if (!c->sock[i].used) {
			struct pvs_slot *p = &c->slot[i];

			memset(&c->sock[i], 0, sizeof(c->sock[i]));
			if (!rings_alloc(c, &c->sock[i].rings, tx, rx))
				return -E_NOMEM;
			c->sock[i].used = 1;
			p->tx_prod = p->rx_cons = p->tx_flags = p->tx_urg = 0;
			p->want = 0;
			return (int)i;
		}
	}
	pvs_responses(c); /* closed sockets may have come free */
	return -E_NFILE;
}

/* Refused, the request's slot is free again. */
static int call_for(struct pvs_client *c, struct pvs_req *q, int slot)
{
	int e = call(c, q);

	if (e < 0) {
		rings_free(c, &c->sock[slot].rings);
		c->sock[slot].used = 0;
	}
	return e;
}

int pvs_socket(struct pvs_client *c, int domain, int type, int protocol, unsigned tx,
	       unsigned rx)
{
	struct pvs_req q = {.cmd = PVS_CMD_SOCKET};
	int i = slot_take(c, tx, rx), e;

	if (i < 0)
		return i;
	c->sock[i].domain = (uint8_t)domain;
	c->sock[i].type = (uint8_t)type;
	q.sock = (uint32_t)i;
	q.u.socket.domain = (uint16_t)domain;
	q.u.socket.type = (uint16_t)type;
	q.u.socket.protocol = (uint32_t)protocol;
	q.u.socket.rings = c->sock[i].rings;
	e = call_for(c, &q, i);
	return e < 0 ? e : i;
}

int pvs_bind(struct pvs_client *c, int s, const struct pvs_addr *a)
{
	struct pvs_req q = {.cmd = PVS_CMD_BIND, .sock = (uint32_t)s, .u.addr = *a};

	return call(c, &q);
}

int pvs_connect(struct pvs_client *c, int s, const struct pvs_addr *a)
{
	struct pvs_req q = {.cmd = PVS_CMD_CONNECT, .sock = (uint32_t)s, .u.addr = *a};

	return call(c, &q);
}

int pvs_listen(struct pvs_client *c, int s, int backlog)
{
	struct pvs_req q = {.cmd = PVS_CMD_LISTEN, .sock = (uint32_t)s};

	q.u.listen.backlog = (uint32_t)backlog;
	return call(c, &q);
}

int pvs_accept(struct pvs_client *c, int s, unsigned tx, unsigned rx, struct pvs_addr *peer)
{
	struct pvs_req q = {.cmd = PVS_CMD_ACCEPT, .sock = (uint32_t)s};
	int i, e;

	if (!load(&c->slot[s].acceptq))
		return -E_AGAIN;
	i = slot_take(c, tx, rx);
	if (i < 0)
		return i;
	q.u.accept.new_sock = (uint32_t)i;
	q.u.accept.rings = c->sock[i].rings;
	e = call_for(c, &q, i);
	if (e < 0)
		return e;
	c->sock[i].domain = c->sock[s].domain;
	c->sock[i].type = PVS_SOCK_STREAM;
	if (peer)
		*peer = c->last.u.accepted.peer;
	return i;
}

int pvs_shutdown(struct pvs_client *c, int s, int how)
{
	struct pvs_req q = {.cmd = PVS_CMD_SHUTDOWN, .sock = (uint32_t)s};

	q.u.shutdown.how = (uint32_t)how;
	return call(c, &q);
}

int pvs_close(struct pvs_client *c, int s, bool abort)
{
	struct pvs_req q = {.cmd = PVS_CMD_RELEASE, .sock = (uint32_t)s};

	if (c->sock[s].closing)
		return -E_INVAL;
	q.u.release.flags = abort ? PVS_REL_ABORT : 0;
	c->sock[s].closing = 1;
	c->sock[s].user = NULL;
	c->sock[s].released_id = pvs_submit(c, &q);
	return 0;
}

int pvs_setopt(struct pvs_client *c, int s, int level, int name, const void *v, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_SETSOCKOPT, .sock = (uint32_t)s};
	uint32_t buf = len > 32 && len <= UNIT ? pvs_heap_alloc(c, PVS_MIN_ORDER) : 0;
	int e;

	if (len > 32 && !buf)
		return len > UNIT ? -E_INVAL : -E_NOMEM;
	q.u.sockopt.level = (uint32_t)level;
	q.u.sockopt.name = (uint32_t)name;
	q.u.sockopt.len = len;
	q.u.sockopt.buf_off = buf;
	memcpy(buf ? c->base + buf : q.u.sockopt.val, v, len);
	e = call(c, &q);
	if (buf)
		pvs_heap_free(c, buf);
	/* IP_RECVERR, IPV6_RECVERR. It stays: what came while it was on is of two kinds. */
	if (!e && ((level == 0 && name == 11) || (level == 41 && name == 25)))
		c->sock[s].recverr = 1;
	return e;
}

int pvs_getopt(struct pvs_client *c, int s, int level, int name, void *v, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_GETSOCKOPT, .sock = (uint32_t)s};
	uint32_t buf = len > 32 ? pvs_heap_alloc(c, PVS_MIN_ORDER) : 0;
	int e;

	if (len > UNIT || (len > 32 && !buf))
		return -E_NOMEM;
	q.u.sockopt.level = (uint32_t)level;
	q.u.sockopt.name = (uint32_t)name;
	q.u.sockopt.len = len;
	q.u.sockopt.buf_off = buf;
	e = call(c, &q);
	if (e > (int)len)
		e = -E_PROTO;
	if (e > 0)
		memcpy(v, e > 32 ? c->base + buf : c->last.u.opt, (size_t)e);
	if (buf)
		pvs_heap_free(c, buf);
	return e;
}

int pvs_name(struct pvs_client *c, int s, bool peer, struct pvs_addr *a)
{
	int e = simple(c, peer ? PVS_CMD_GETPEERNAME : PVS_CMD_GETSOCKNAME, s);

	if (!e)
		*a = c->last.u.addr;
	return e;
}

int pvs_grow(struct pvs_client *c, int s, unsigned tx, unsigned rx)
{
	struct pvs_req q = {.cmd = PVS_CMD_RINGS, .sock = (uint32_t)s};
	struct pvs_rings n, old = c->sock[s].rings;
	int e;

	if (!rings_alloc(c, &n, tx, rx))
		return -E_NOMEM;
	q.u.rings = n;
	e = call(c, &q);
	if (e) {
		rings_free(c, &n);
		return e;
	}
	if (tx) {
		c->sock[s].rings.tx_off = n.tx_off;
		c->sock[s].rings.tx_order = n.tx_order;
	} else {
		old.tx_order = 0;
	}
	if (rx) {
		c->sock[s].rings.rx_off = n.rx_off;
		c->sock[s].rings.rx_order = n.rx_order;
	} else {
		old.rx_order = 0;
	}
	rings_free(c, &old);
	return 0;
}

static int with_buffer(struct pvs_client *c, struct pvs_req *q, void *out, const void *in,
		       uint32_t len)
{
	unsigned order = PVS_MIN_ORDER;
	uint32_t buf;
	int e;

	while (order < PVS_MAX_ORDER && 1u << order < len)
		order++;
	buf = pvs_heap_alloc(c, order);
	if (!buf)
		return -E_NOMEM;
	q->u.list.buf_off = buf;
	q->u.list.buf_len = len;
	if (in)
		memcpy(c->base + buf, in, len);
	e = call(c, q);
	if (out && e > 0)
		memcpy(out, c->base + buf, len);
	pvs_heap_free(c, buf);
	return e;
}

int pvs_list(struct pvs_client *c, uint32_t what, uint32_t start, void *out, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_LIST};

	q.u.list.what = what;
	q.u.list.start = start;
	return with_buffer(c, &q, out, NULL, len);
}

int pvs_control(struct pvs_client *c, uint32_t what, uint32_t op, const void *rec, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_CONTROL};

	q.u.list.what = what;
	q.u.list.op = op;
	return with_buffer(c, &q, NULL, rec, len);
}
