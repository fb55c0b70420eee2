/* SPDX-License-Identifier: ISC */
#include "tests/unit/nic_env.h"

#include <assert.h>
#include "cells/nic/switch/switch.h"

/* ---- a card that records ---- */

static int env_attach(struct netdev *nd)
{
	nd->link_up = true;
	nd->mtu_max = 9000;
	return 0;
}

static void env_detach(struct netdev *nd)
{
}

static struct env_card *card_of(struct netdev *nd)
{
	return (struct env_card *)nd;
}

static unsigned env_tx_room(struct netdev *nd, unsigned q)
{
	struct env_card *c = card_of(nd);

	return c->helds < c->room && c->count < ENV_FRAMES ? c->room - c->helds : 0;
}

static void env_tx(struct netdev *nd, unsigned q, struct net_txbuf *b)
{
	struct env_card *c = card_of(nd);
	struct env_frame *s = &c->sent[c->count++];

	s->data = malloc(b->f.len);
	s->len = b->f.len;
	s->f = b->f;
	s->f.frag = NULL;
	s->nfrag = b->f.nfrag;
	s->queue = q;
	s->zero_copy = b->bounce == NULL;
	uint32_t sum = 0;
	for (unsigned i = 0; i < b->f.nfrag; i++)
		sum += b->f.frag[i].len;
	assert(sum == b->f.len);
	net_frame_copy(&b->f, 0, s->data, s->len);
	if (c->hold)
		c->held[c->helds++] = b;
	else
		netdev_tx_done(nd, b);
}

static void env_flush(struct netdev *nd, unsigned q)
{
}

static unsigned env_zero(struct netdev *nd, unsigned q)
{
	return 0;
}

static unsigned env_poll(struct netdev *nd, unsigned q, unsigned budget)
{
	struct env_card *c = card_of(nd);
	unsigned n = 0;

	for (; q == 0 && n < c->wires && n < budget; n++) {
		struct env_wire *w = &c->wire[n];

		env_card_rx(c, w->data, w->len, w->piece, &w->meta);
		free(w->data);
	}
	c->wires -= n;
	memmove(c->wire, c->wire + n, c->wires * sizeof(c->wire[0]));
	return n;
}

static bool env_arm(struct netdev *nd, bool want_tx)
{
	card_of(nd)->want_tx = want_tx;
	return false;
}

static bool env_hold(struct netdev *nd, unsigned pages, bool *there)
{
	card_of(nd)->pages = pages;
	return true;
}

static void env_nop(struct netdev *nd)
{
}

static void env_filter(struct netdev *nd)
{
	((struct env_card *)nd)->filters++; /* its first member */
}

static void env_irq(struct netdev *nd, unsigned vector)
{
}

static void env_mod(struct netdev *nd, unsigned us)
{
}

const struct net_driver env_driver = {
    .name = "env",
    .attach = env_attach,
    .detach = env_detach,
    .tx_room = env_tx_room,
    .tx = env_tx,
    .tx_flush = env_flush,
    .tx_reap = env_zero,
    .rx_poll = env_poll,
    .arm = env_arm,
    .disarm = env_nop,
    .hold = env_hold,
    .irq = env_irq,
    .set_filter = env_filter,
    .set_moderation = env_mod,
    .tick = env_nop,
};

void env_nic_new(struct nic *nic)
{
	assert(nic_init(nic, 0x12345678, "acl.web=+in,tcp,dport=80;-in,tcp,syn") == 0);
}

void env_card_add(struct nic *nic, struct env_card *card, uint32_t features, unsigned queues)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
	struct net_init_cfg cfg = {0};

	memset(card, 0, sizeof(*card));
	memcpy(card->nd.mac, mac, 6);
	card->nd.features = features;
	card->nd.txqs = card->nd.rxqs = (uint16_t)queues;
	card->room = ENV_FRAMES;
	assert(net_init_add(nic, &card->nd, &env_driver, &cfg) == 0);
}

void env_card_clear(struct env_card *c)
{
	for (unsigned i = 0; i < c->wires; i++)
		free(c->wire[i].data);
	c->wires = 0;
	for (unsigned i = 0; i < c->count; i++)
		free(c->sent[i].data);
	c->count = 0;
}

void env_card_complete(struct env_card *c)
{
	for (unsigned i = 0; i < c->helds; i++)
		netdev_tx_done(&c->nd, c->held[i]);
	c->helds = 0;
}

void env_card_rx(struct env_card *c, const void *data, uint32_t len, uint32_t piece,
		 const struct net_frame *meta)
{
	struct net_frag frag[NET_FRAGS_MAX];
	struct net_frame f = {0};
	uint8_t *copy = malloc(len);

	memcpy(copy, data, len);
	if (meta)
		f = *meta;
	f.frag = frag;
	f.max = NET_FRAGS_MAX;
	f.len = len;
	f.nfrag = 0;
	for (uint32_t at = 0; at < len; at += piece)
		frag[f.nfrag++] = (struct net_frag){.data = copy + at,
						    .len = len - at < piece ? len - at : piece};
	netdev_rx(&c->nd, &f);
	free(copy);
}

bool env_card_queue(struct env_card *c, const void *data, uint32_t len, uint32_t piece,
		    const struct net_frame *meta)
{
	static const struct net_frame none;
	struct env_wire *w = &c->wire[c->wires];

	if (c->wires == ENV_BATCH)
		return false;
	*w = (struct env_wire){malloc(len), len, piece, meta ? *meta : none};
	memcpy(w->data, data, len);
	c->wires++;
	return true;
}

void env_split(const struct d0_vnet_hdr *h, const uint8_t *data, uint32_t len,
	       void (*each)(void *arg, const uint8_t *data, uint32_t len), void *arg)
{
	uint8_t mem[NET_HEADROOM + NET_HEAD_MAX], *copy = malloc(len), *out = malloc(len);
	struct net_frag whole = {.data = copy, .len = len};
	struct net_frame f = {.frag = &whole, .nfrag = 1, .max = 1, .len = len};
	struct net_txbuf b = {.mem = mem};
	struct gso_cut cut;

	memcpy(copy, data, len);
	net_parse(copy, len < NET_HEAD_MAX ? len : NET_HEAD_MAX, len, &f.info);
	f.csum_partial = (h->flags & D0_VNET_HDR_NEEDS_CSUM) != 0;
	f.csum_start = h->csum_start;
	f.csum_offset = h->csum_offset;
	if (h->gso_type == D0_VNET_GSO_NONE) {
		net_frame_finish_csum(&f);
		each(arg, copy, len);
	} else {
		f.gso = h->gso_type == D0_VNET_GSO_TCPV6 ? NET_GSO_TCP6 : NET_GSO_TCP4;
		f.gso_size = h->gso_size;
		gso_begin(&cut, &f);
		while (!gso_done(&cut) && gso_next(&cut, &b)) {
			net_frame_finish_csum(&b.f);
			net_frame_copy(&b.f, 0, out, b.f.len);
			each(arg, out, b.f.len);
		}
	}
	free(copy);
	free(out);
}

/* ---- ports ---- */

static void dev_bell(void *arg)
{
	((struct env_port *)arg)->dev_bells++;
}

static void drv_bell(void *arg)
{
	struct env_port *p = arg;

	p->drv_bells++;
	nic_port_event(p->nic, p->number);
}

static uint64_t now = 1000000;

void env_run(struct nic *nic)
{
	for (int i = 0; i < 1000; i++) {
		now += 1000;
		if (nic_run(nic, now))
			continue;
		if (!nic->filter_stale)
			break;
		now = nic->filter_due;
	}
}

static void *heap_ring(size_t size, uint64_t *dma)
{
	void *p = aligned_alloc(4096, size);

	*dma = (uintptr_t)p;
	return memset(p, 0, size);
}

void *(*env_ring_alloc)(size_t size, uint64_t *dma) = heap_ring;

void env_port_new(struct nic *nic, struct env_port *p, unsigned number, size_t size,
		  const char *args, uint64_t features, uint32_t pairs)
{
	memset(p, 0, sizeof(*p));
	uint64_t dma;

	p->ring = env_ring_alloc(size, &dma);
	p->size = size;
	p->number = number;
	p->nic = nic;
	p->dev = nic_port_add(nic, number, p->ring, size, dma, args, dev_bell, p);
	assert(p->dev);
	struct vnet_port_cfg cfg = {.ring = p->ring,
				    .size = size,
				    .features = features,
				    .pairs = pairs,
				    .doorbell = drv_bell,
				    .arg = p};
	assert(vnet_port_open(&p->drv, &cfg) == 0);
	for (int i = 0; i < 4; i++) {
		env_run(nic);
		vnet_port_poll(&p->drv);
	}
	env_run(nic);
}

void env_port_free(struct env_port *p)
{
	if (p->nic->port[p->number] == p->dev)
		nic_port_remove(p->nic, p->number);
	if (env_ring_alloc == heap_ring)
		free(p->ring);
}

bool env_port_send(struct env_port *p, unsigned pair, const struct d0_vnet_hdr *h,
		   const void *data, uint32_t len)
{
	static const struct d0_vnet_hdr none;
	uint8_t *to = vnet_port_tx_begin(&p->drv, pair, len);

	if (!to)
		return false;
	memcpy(to, data, len);
	vnet_port_tx_commit(&p->drv, pair, h ? h : &none, len);
	vnet_port_kick(&p->drv);
	return true;
}

uint32_t env_port_recv(struct env_port *p, unsigned pair, struct d0_vnet_hdr *h, void *buf,
		       uint32_t size)
{
	struct vnet_rx rx;
	uint32_t at = 0;

	vnet_port_poll(&p->drv);
	if (!vnet_port_rx(&p->drv, pair, &rx))
		return 0;
	for (unsigned i = 0; i < rx.nseg; i++) {
		assert(rx.seg[i].len <= size - at);
		memcpy((uint8_t *)buf + at, rx.seg[i].data, rx.seg[i].len);
		at += rx.seg[i].len;
	}
	assert(at == rx.len);
	if (h)
		*h = rx.hdr;
	vnet_port_rx_done(&p->drv, pair, &rx);
	vnet_port_kick(&p->drv);
	return at;
}

/* ---- frames ---- */

static void ip6_addr(uint8_t *to, uint32_t low)
{
	memset(to, 0, 16);
	to[0] = 0xfd;
	put_be32(to + 12, low);
}

uint32_t env_build(uint8_t *buf, const struct env_l4 *l, uint32_t payload, bool partial)
{
	uint32_t l3 = 14, l4 = l->ip6 ? 54 : 34, hdr = l->proto == IPPROTO_N_TCP ? 20 : 8;
	uint32_t len = l4 + hdr + payload;
	struct net_info in;

	memset(buf, 0, l4 + hdr);
	memcpy(buf, l->dmac, 6);
	memcpy(buf + 6, l->smac, 6);
	put_be16(buf + 12, l->ip6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
	if (l->ip6) {
		buf[l3] = 0x60;
		put_be16(buf + l3 + 4, (uint16_t)(hdr + payload));
		buf[l3 + 6] = l->proto;
		buf[l3 + 7] = 64;
		ip6_addr(buf + l3 + 8, l->sip);
		ip6_addr(buf + l3 + 24, l->dip);
	} else {
		buf[l3] = 0x45;
		put_be16(buf + l3 + 2, (uint16_t)(len - l3));
		put_be16(buf + l3 + 4, 0x1234);
		buf[l3 + 8] = 64;
		buf[l3 + 9] = l->proto;
		put_be32(buf + l3 + 12, l->sip);
		put_be32(buf + l3 + 16, l->dip);
		put_be16(buf + l3 + 10,
			 (uint16_t)~net_sum_fold(net_sum(buf + l3, 20, 0, false)));
	}
	put_be16(buf + l4, l->sport);
	put_be16(buf + l4 + 2, l->dport);
	if (l->proto == IPPROTO_N_TCP) {
		put_be32(buf + l4 + 4, l->seq);
		buf[l4 + 12] = 5 << 4;
		buf[l4 + 13] = l->tcp_flags;
	} else {
		put_be16(buf + l4 + 4, (uint16_t)(hdr + payload));
	}
	for (uint32_t i = 0; i < payload; i++)
		buf[l4 + hdr + i] = (uint8_t)(i * 7 + (i >> 8));
	net_parse(buf, len < NET_HEAD_MAX ? len : NET_HEAD_MAX, len, &in);
	if (!in.l4_ok)
		return len;
	uint32_t field = l4 + (l->proto == IPPROTO_N_TCP ? 16 : 6);
	uint32_t sum = net_sum_pseudo(&in, buf, hdr + payload);

	put_be16(buf + field, net_sum_fold(sum));
	if (!partial)
		put_be16(buf + field,
			 (uint16_t)~net_sum_fold(net_sum(buf + l4, hdr + payload, 0, false)));
	return len;
}

uint32_t env_build_arp(uint8_t *buf, const uint8_t *smac, uint32_t sip, uint32_t tip)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};

	memset(buf, 0xff, 6);
	memcpy(buf + 6, smac, 6);
	put_be16(buf + 12, ETHERTYPE_ARP);
	memcpy(buf + 14, head, sizeof(head));
	memcpy(buf + 22, smac, 6);
	put_be32(buf + 28, sip);
	memset(buf + 32, 0, 6);
	put_be32(buf + 38, tip);
	return 42;
}

bool env_sums_ok(const uint8_t *data, uint32_t len)
{
	struct net_info in;

	net_parse(data, len < NET_HEAD_MAX ? len : NET_HEAD_MAX, len, &in);
	if (!in.l3_ok)
		return false;
	if (!in.ip6 &&
	    net_sum_fold(net_sum(data + in.l3_off, in.l4_off - in.l3_off, 0, false)) != 0xffff)
		return false;
	uint32_t l4_len = in.ip_len - (in.l4_off - in.l3_off);
	uint32_t sum = net_sum_pseudo(&in, data, l4_len);

	return net_sum_fold(net_sum(data + in.l4_off, l4_len, sum, false)) == 0xffff;
}
