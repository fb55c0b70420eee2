/*
 * Client of the PV socket protocol.
 *
 * The client owns the heap of the region: a buddy allocator over units of 512 bytes whose
 * map is in private memory, one byte a unit: order | FREE or order | BUSY at the
 * first unit of a block, 0 inside. Our own indexes are private too; the shared ones are
 * written, and the server's are read once and clamped, so a hostile server can lie
 * about data but not make us read or write outside a ring.
 */
#include "pvs_client.h"
#include <string.h>

#define UNIT  (1u << PVS_MIN_ORDER)
#define FREE  0x40u
#define BUSY  0x80u
#define ORDER 0x1fu

enum {
	E_AGAIN = 11,
	E_NOMEM = 12,
	E_INVAL = 22,
	E_NFILE = 23,
	E_PIPE = 32,
	E_PROTO = 71,
	E_MSGSIZE = 90,
	E_NOTCONN = 107
};

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint64_t load64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* ---- heap ---- */

static void heap_init(struct pvs_client *c)
{
	uint32_t at = 0;

	memset(c->map, 0, c->units);
	c->units_used = 0;
	while (at < c->units) {
		unsigned o = PVS_MAX_ORDER - PVS_MIN_ORDER;

		while (at & ((1u << o) - 1) || 1u << o > c->units - at)
			o--;
		c->map[at] = (uint8_t)(FREE | o);
		at += 1u << o;
	}
}

/* Offset in the region, 0: no memory. */
static uint32_t heap_alloc(struct pvs_client *c, unsigned order)
{
	unsigned want = order - PVS_MIN_ORDER, best = 32;
	uint32_t at, pick = 0;

	for (at = 0; at < c->units; at += 1u << (c->map[at] & ORDER)) {
		unsigned o = c->map[at] & ORDER;

		if (c->map[at] & FREE && o >= want && o < best) {
			best = o;
			pick = at;
			if (o == want)
				break;
		}
	}
	if (best == 32)
		return 0;
	while (best > want) {
		best--;
		c->map[pick + (1u << best)] = (uint8_t)(FREE | best);
	}
	c->map[pick] = (uint8_t)(BUSY | want);
	c->units_used += 1u << want;
	return c->heap + pick * UNIT;
}

static void heap_free(struct pvs_client *c, uint32_t off)
{
	uint32_t at = (off - c->heap) / UNIT;
	unsigned o = c->map[at] & ORDER;

	c->units_used -= 1u << o;
	for (;; o++) {
		uint32_t buddy = at ^ (1u << o), low = at & ~(1u << o);

		if (o + PVS_MIN_ORDER >= PVS_MAX_ORDER || buddy >= c->units ||
		    c->map[buddy] != (FREE | o))
			break;
		c->map[at] = c->map[buddy] = 0;
		at = low;
	}
	c->map[at] = (uint8_t)(FREE | o);
}

uint32_t pvs_heap_left(const struct pvs_client *c)
{
	return (c->units - c->units_used) * UNIT;
}

static bool rings_alloc(struct pvs_client *c, struct pvs_rings *r, unsigned tx, unsigned rx)
{
	*r = (struct pvs_rings){.tx_order = (uint8_t)tx, .rx_order = (uint8_t)rx};
	if ((tx && (tx < PVS_MIN_ORDER || tx > PVS_MAX_ORDER)) ||
	    (rx && (rx < PVS_MIN_ORDER || rx > PVS_MAX_ORDER)))
		return false;
	if (tx && !(r->tx_off = heap_alloc(c, tx)))
		return false;
	if (rx && !(r->rx_off = heap_alloc(c, rx))) {
		if (tx)
			heap_free(c, r->tx_off);
		return false;
	}
	return true;
}

static void rings_free(struct pvs_client *c, const struct pvs_rings *r)
{
	if (r->tx_order)
		heap_free(c, r->tx_off);
	if (r->rx_order)
		heap_free(c, r->rx_off);
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
	heap_init(c);
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

static void wake_server(struct pvs_client *c)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->hdr->server_idle, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&c->hdr->server_idle, 0, __ATOMIC_SEQ_CST))
		c->notify(c->ctx);
}

static void finish_release(struct pvs_client *c, const struct pvs_rsp *r)
{
	struct pvs_sock *s;

	if (r->sock >= c->nslots)
		return;
	s = &c->sock[r->sock];
	if (!s->closing || s->released_id != r->id)
		return;
	rings_free(c, &s->rings);
	memset(s, 0, sizeof(*s));
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
	c->outstanding -= !!c->outstanding;
	if (r->cmd == PVS_CMD_RELEASE && r->ret == 0)
		finish_release(c, r);
	return true;
}

static void responses(struct pvs_client *c)
{
	struct pvs_rsp r;

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
		wake_server(c);
		responses(c);
		c->wait(c->ctx);
	}
	q->id = ++c->next_id ? c->next_id : ++c->next_id;
	c->req[c->req_prod & (c->nreq - 1)] = *q;
	store(&c->hdr->req_prod, ++c->req_prod);
	c->outstanding++;
	wake_server(c);
	return q->id;
}

static int call(struct pvs_client *c, struct pvs_req *q)
{
	c->have_last = false;
	c->want_id = pvs_submit(c, q);
	for (;;) {
		responses(c);
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

static int slot_take(struct pvs_client *c)
{
	for (uint32_t i = 0; i < c->nslots; i++) {
		if (!c->sock[i].used) {
			struct pvs_slot *p = &c->slot[i];

			memset(&c->sock[i], 0, sizeof(c->sock[i]));
			c->sock[i].used = 1;
			p->tx_prod = p->rx_cons = p->tx_flags = p->tx_urg = 0;
			p->want = 0;
			return (int)i;
		}
	}
	responses(c); /* closed sockets may have come free */
	return -E_NFILE;
}

int pvs_socket(struct pvs_client *c, int domain, int type, int protocol, unsigned tx,
	       unsigned rx)
{
	struct pvs_req q = {.cmd = PVS_CMD_SOCKET};
	int i = slot_take(c), e;

	if (i < 0)
		return i;
	if (!rings_alloc(c, &c->sock[i].rings, tx, rx)) {
		c->sock[i].used = 0;
		return -E_NOMEM;
	}
	c->sock[i].domain = (uint8_t)domain;
	c->sock[i].type = (uint8_t)type;
	q.sock = (uint32_t)i;
	q.u.socket.domain = (uint16_t)domain;
	q.u.socket.type = (uint16_t)type;
	q.u.socket.protocol = (uint32_t)protocol;
	q.u.socket.rings = c->sock[i].rings;
	e = call(c, &q);
	if (e < 0) {
		rings_free(c, &c->sock[i].rings);
		c->sock[i].used = 0;
		return e;
	}
	return i;
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
	i = slot_take(c);
	if (i < 0)
		return i;
	if (!rings_alloc(c, &c->sock[i].rings, tx, rx)) {
		c->sock[i].used = 0;
		return -E_NOMEM;
	}
	q.u.accept.new_sock = (uint32_t)i;
	q.u.accept.rings = c->sock[i].rings;
	e = call(c, &q);
	if (e < 0) {
		rings_free(c, &c->sock[i].rings);
		c->sock[i].used = 0;
		return e;
	}
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
	c->sock[s].released_id = c->next_id + 1 ? c->next_id + 1 : 1;
	pvs_submit(c, &q);
	return 0;
}

int pvs_setopt(struct pvs_client *c, int s, int level, int name, const void *v, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_SETSOCKOPT, .sock = (uint32_t)s};

	if (len > 32)
		return -E_INVAL;
	q.u.sockopt.level = (uint32_t)level;
	q.u.sockopt.name = (uint32_t)name;
	q.u.sockopt.len = len;
	memcpy(q.u.sockopt.val, v, len);
	return call(c, &q);
}

int pvs_getopt(struct pvs_client *c, int s, int level, int name, void *v, uint32_t len)
{
	struct pvs_req q = {.cmd = PVS_CMD_GETSOCKOPT, .sock = (uint32_t)s};
	uint32_t buf = len > 32 ? heap_alloc(c, PVS_MIN_ORDER) : 0;
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
		heap_free(c, buf);
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
	buf = heap_alloc(c, order);
	if (!buf)
		return -E_NOMEM;
	q->u.list.buf_off = buf;
	q->u.list.buf_len = len;
	if (in)
		memcpy(c->base + buf, in, len);
	e = call(c, q);
	if (out && e > 0)
		memcpy(out, c->base + buf, len);
	heap_free(c, buf);
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

/* ---- data ---- */

static void kick(struct pvs_client *c, int s)
{
	uint32_t w = (uint32_t)s / 64;

	if (!(__atomic_fetch_or(&c->kick->word[w], 1ull << s % 64, __ATOMIC_SEQ_CST) >> s % 64 &
	      1))
		__atomic_fetch_or(&c->kick->sum[w / 64], 1ull << w % 64, __ATOMIC_SEQ_CST);
	wake_server(c);
}

static uint32_t tx_size(const struct pvs_client *c, int s)
{
	return c->sock[s].rings.tx_order ? 1u << c->sock[s].rings.tx_order : 0;
}

static uint32_t rx_size(const struct pvs_client *c, int s)
{
	return c->sock[s].rings.rx_order ? 1u << c->sock[s].rings.rx_order : 0;
}

static uint32_t tx_free(struct pvs_client *c, int s)
{
	uint32_t used = c->sock[s].tx_prod - load(&c->slot[s].tx_cons);

	return used > tx_size(c, s) ? 0 : tx_size(c, s) - used;
}

static uint32_t rx_used(struct pvs_client *c, int s)
{
	uint32_t used = load(&c->slot[s].rx_prod) - c->sock[s].rx_cons;

	return used > rx_size(c, s) ? 0 : used;
}

static void tx_copy(struct pvs_client *c, int s, uint32_t idx, const void *p, uint32_t n)
{
	uint8_t *b = c->base + c->sock[s].rings.tx_off;
	uint32_t size = tx_size(c, s), at = idx & (size - 1);
	uint32_t first = n < size - at ? n : size - at;

	memcpy(b + at, p, first);
	memcpy(b, (const uint8_t *)p + first, n - first);
}

static void rx_copy(struct pvs_client *c, int s, uint32_t idx, void *p, uint32_t n)
{
	const uint8_t *b = c->base + c->sock[s].rings.rx_off;
	uint32_t size = rx_size(c, s), at = idx & (size - 1);
	uint32_t first = n < size - at ? n : size - at;

	memcpy(p, b + at, first);
	memcpy((uint8_t *)p + first, b, n - first);
}

int pvs_error(struct pvs_client *c, int s)
{
	uint32_t n = load(&c->slot[s].err_count);

	if (n == c->sock[s].err_seen)
		return 0;
	c->sock[s].err_seen = n;
	return (int)(c->slot[s].error & 0xfff);
}

uint32_t pvs_send_space(struct pvs_client *c, int s, void **p)
{
	uint32_t size = tx_size(c, s), n = tx_free(c, s), at;

	if (!size)
		return 0;
	at = c->sock[s].tx_prod & (size - 1);
	*p = c->base + c->sock[s].rings.tx_off + at;
	return n < size - at ? n : size - at;
}

void pvs_send_done(struct pvs_client *c, int s, uint32_t n)
{
	c->sock[s].tx_prod += n;
	store(&c->slot[s].tx_prod, c->sock[s].tx_prod);
	kick(c, s);
}

int pvs_send(struct pvs_client *c, int s, const void *p, uint32_t n)
{
	uint32_t st = load(&c->slot[s].state);
	int e = pvs_error(c, s);

	if (e)
		return -e;
	if (st & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED))
		return -E_PIPE;
	if (!(st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING)))
		return -E_NOTCONN;
	if (!n)
		return 0;
	if (tx_free(c, s) < n)
		n = tx_free(c, s);
	if (!n)
		return -E_AGAIN;
	tx_copy(c, s, c->sock[s].tx_prod, p, n);
	pvs_send_done(c, s, n);
	return (int)n;
}

int pvs_send_oob(struct pvs_client *c, int s, const void *p, uint32_t n)
{
	if (!n || tx_free(c, s) < n)
		return -E_AGAIN;
	__atomic_store_n(&c->slot[s].tx_urg, c->sock[s].tx_prod + n, __ATOMIC_RELAXED);
	__atomic_store_n(&c->slot[s].tx_flags, c->slot[s].tx_flags | PVS_TX_URG,
			 __ATOMIC_RELAXED);
	return pvs_send(c, s, p, n);
}

uint32_t pvs_recv_data(struct pvs_client *c, int s, const void **p)
{
	uint32_t size = rx_size(c, s), n = rx_used(c, s), at;

	if (!size)
		return 0;
	at = c->sock[s].rx_cons & (size - 1);
	*p = c->base + c->sock[s].rings.rx_off + at;
	return n < size - at ? n : size - at;
}

void pvs_recv_done(struct pvs_client *c, int s, uint32_t n)
{
	c->sock[s].rx_cons += n;
	store(&c->slot[s].rx_cons, c->sock[s].rx_cons);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (load(&c->slot[s].state) & PVS_ST_RX_FULL)
		kick(c, s);
}

int pvs_recv(struct pvs_client *c, int s, void *p, uint32_t n)
{
	uint32_t st = load(&c->slot[s].state), have = rx_used(c, s);
	int e;

	if (have < n)
		n = have;
	if (n) {
		rx_copy(c, s, c->sock[s].rx_cons, p, n);
		pvs_recv_done(c, s, n);
		return (int)n;
	}
	e = pvs_error(c, s);
	if (e)
		return -e;
	if (st & (PVS_ST_RX_EOF | PVS_ST_CLOSED))
		return 0;
	return st & (PVS_ST_CONNECTED | PVS_ST_CONNECTING) ? -E_AGAIN : -E_NOTCONN;
}

int pvs_sendto(struct pvs_client *c, int s, struct pvs_dgram *d, const void *p, uint32_t n)
{
	uint32_t all = (n + (uint32_t)sizeof(*d) + 7) & ~7u;
	int e = pvs_error(c, s);

	if (e)
		return -e;
	if (all > tx_size(c, s))
		return -E_MSGSIZE;
	if (all > tx_free(c, s))
		return -E_AGAIN;
	d->len = n;
	tx_copy(c, s, c->sock[s].tx_prod, d, sizeof(*d));
	tx_copy(c, s, c->sock[s].tx_prod + (uint32_t)sizeof(*d), p, n);
	pvs_send_done(c, s, all);
	return (int)n;
}

int pvs_next_len(struct pvs_client *c, int s)
{
	uint32_t have = rx_used(c, s), len;
	int e;

	if (!have) {
		e = pvs_error(c, s);
		return e ? -e : -E_AGAIN;
	}
	if (have < sizeof(struct pvs_dgram))
		return -E_PROTO;
	rx_copy(c, s, c->sock[s].rx_cons, &len, sizeof(len));
	return len > have - sizeof(struct pvs_dgram) ? -E_PROTO : (int)len;
}

int pvs_recvfrom(struct pvs_client *c, int s, struct pvs_dgram *d, void *p, uint32_t n)
{
	uint32_t have = rx_used(c, s), all;
	int e;

	if (!have) {
		e = pvs_error(c, s);
		return e ? -e : -E_AGAIN;
	}
	if (have < sizeof(*d))
		return -E_PROTO;
	rx_copy(c, s, c->sock[s].rx_cons, d, sizeof(*d));
	all = (d->len + (uint32_t)sizeof(*d) + 7) & ~7u;
	if (d->len > rx_size(c, s) || all > have)
		return -E_PROTO;
	if (d->len < n)
		n = d->len;
	rx_copy(c, s, c->sock[s].rx_cons + (uint32_t)sizeof(*d), p, n);
	pvs_recv_done(c, s, all);
	return (int)n;
}

/* ---- readiness ---- */

uint32_t pvs_ready_events(struct pvs_client *c, int s)
{
	uint32_t st = load(&c->slot[s].state), ev = 0, size = tx_size(c, s);

	if (rx_used(c, s) || st & (PVS_ST_RX_EOF | PVS_ST_CLOSED) ||
	    (st & PVS_ST_LISTENING && load(&c->slot[s].acceptq)))
		ev |= PVS_EV_IN;
	if (st & (PVS_ST_TX_CLOSED | PVS_ST_CLOSED) ||
	    (size && tx_free(c, s) >= size / 3 &&
	     (c->sock[s].type != PVS_SOCK_STREAM || st & PVS_ST_CONNECTED)))
		ev |= PVS_EV_OUT;
	if (load(&c->slot[s].rx_urg_count) != c->sock[s].urg_seen)
		ev |= PVS_EV_PRI;
	if (load(&c->slot[s].err_count) != c->sock[s].err_seen)
		ev |= PVS_EV_ERR;
	if (st & PVS_ST_RX_EOF)
		ev |= PVS_EV_RDHUP;
	if (st & PVS_ST_CLOSED || (st & PVS_ST_RX_EOF && st & PVS_ST_TX_CLOSED))
		ev |= PVS_EV_HUP;
	return ev;
}

void pvs_want(struct pvs_client *c, int s, uint32_t events)
{
	if (c->slot[s].want == events)
		return;
	__atomic_store_n(&c->slot[s].want, events, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* What is true already would not be announced again: mark it ourselves. */
	if (pvs_ready_events(c, s) & events) {
		__atomic_fetch_or(&c->event->word[s / 64], 1ull << s % 64, __ATOMIC_SEQ_CST);
		c->pending[s / 4096] |= 1ull << s / 64 % 64;
	}
}

int pvs_next_event(struct pvs_client *c)
{
	responses(c);
	for (uint32_t i = 0; i * 4096 < c->nslots; i++) {
		if (__atomic_load_n(&c->event->sum[i], __ATOMIC_RELAXED))
			c->pending[i] |=
			    __atomic_exchange_n(&c->event->sum[i], 0, __ATOMIC_SEQ_CST);
		while (c->pending[i]) {
			uint32_t w = i * 64 + (uint32_t)__builtin_ctzll(c->pending[i]), b, s;
			uint64_t bits = w < c->nslots / 64 ? load64(&c->event->word[w]) : 0;

			if (!bits) {
				c->pending[i] &= c->pending[i] - 1;
				continue;
			}
			b = (uint32_t)__builtin_ctzll(bits);
			__atomic_fetch_and(&c->event->word[w], ~(1ull << b), __ATOMIC_SEQ_CST);
			s = w * 64 + b;
			if (c->sock[s].used && !c->sock[s].closing)
				return (int)s;
		}
	}
	return -1;
}

bool pvs_idle_begin(struct pvs_client *c)
{
	__atomic_store_n(&c->hdr->client_idle, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (load(&c->hdr->rsp_prod) == c->rsp_cons) {
		uint32_t i;

		for (i = 0; i * 4096 < c->nslots; i++) {
			if (c->pending[i] ||
			    __atomic_load_n(&c->event->sum[i], __ATOMIC_SEQ_CST))
				break;
		}
		if (i * 4096 >= c->nslots)
			return true;
	}
	pvs_idle_end(c);
	return false;
}

void pvs_idle_end(struct pvs_client *c)
{
	__atomic_store_n(&c->hdr->client_idle, 0, __ATOMIC_SEQ_CST);
}
