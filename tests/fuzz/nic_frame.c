/* SPDX-License-Identifier: ISC */
/*
 * Frames through the switch. Input: 1 byte of flags, 12 bytes of virtio-net header, then
 * the frame; it is sent by a port to a plain card, to a card with all offloads and to
 * other ports, and received from the wire in pieces.
 *
 * With flag 16 it is a batch instead, each frame behind its length in two bytes: what is
 * merged for one port and then cut again must be what another port gets that takes no large
 * segments.
 */
#include "cells/nic/switch/switch.h"
#include "tests/unit/nic_env.h"

static struct nic nic;
static struct env_card card;
static struct env_port a, b, c, d, own, share;
static uint8_t got[70000];

static void setup(void)
{
	env_nic_new(&nic);
	env_card_add(&nic, &card, 0, 2);
	env_port_new(&nic, &a, 1, 1 << 20, "mac=02:00:00:00:00:0a spoof=off acl=web",
		     ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &b, 2, 1 << 20, "mac=02:00:00:00:00:0b ip=10.0.0.2,fd00::2", 0, 1);
	env_port_new(&nic, &c, 3, 1 << 20, "mac=02:00:00:00:00:0c promisc", ENV_ALL_FEATURES,
		     1);
	env_port_new(&nic, &own, 4, 1 << 20, "mode=ipvlan ip=10.0.2.15+169.254.0.1 learn6", 0,
		     1);
	env_port_new(
	    &nic, &share, 5, 1 << 20,
	    "mode=share ip=169.254.0.2 host=10.0.2.15+fd00::a00:20f ports=1024-2047+u53",
	    ENV_ALL_FEATURES, 1);
	env_port_new(&nic, &d, 6, 1 << 20, "mac=02:00:00:00:00:0d promisc",
		     D0_VNET_F(GUEST_CSUM), 1);
	vnet_port_rx_mode(&c.drv, D0_VNET_RX_PROMISC, NULL, 0);
	vnet_port_rx_mode(&d.drv, D0_VNET_RX_PROMISC, NULL, 0);
	vnet_port_kick(&c.drv);
	vnet_port_kick(&d.drv);
	env_run(&nic);
}

/* ---- merged and cut again, beside never merged ---- */

#define PIECES 256
struct pieces {
	uint8_t *data[PIECES];
	uint32_t len[PIECES];
	unsigned n;
};

/* Without what segmentation may write otherwise: sums that hold, both forms of zero being
 * right, and an identification without a meaning (RFC 6864). */
static void add_piece(void *arg, const uint8_t *data, uint32_t len)
{
	struct pieces *p = arg;
	struct net_info in;

	if (p->n == PIECES)
		abort();
	uint8_t *copy = memcpy(malloc(len), data, len);

	p->data[p->n] = copy;
	p->len[p->n++] = len;
	net_parse(copy, len < NET_HEAD_MAX ? len : NET_HEAD_MAX, len, &in);
	if (!in.l4_ok || in.l4_proto != IPPROTO_N_TCP || in.fragment ||
	    in.l4_off + 18u > NET_HEAD_MAX || !env_sums_ok(copy, len))
		return;
	put_be16(copy + in.l4_off + 16, 0);
	if (in.ip6)
		return;
	put_be16(copy + in.l3_off + 10, 0);
	if (copy[in.l3_off + 6] & 0x40)
		put_be16(copy + in.l3_off + 4, 0);
}

static void collect(struct env_port *port, struct pieces *p)
{
	struct d0_vnet_hdr h;
	uint32_t len;

	while ((len = env_port_recv(port, 0, &h, got, sizeof(got))))
		env_split(&h, got, len, add_piece, p);
}

static void compare(struct pieces *x, struct pieces *y)
{
	if (x->n != y->n)
		abort();
	for (unsigned i = 0; i < x->n; i++) {
		unsigned j = 0;

		while (j < y->n && (!y->data[j] || x->len[i] != y->len[j] ||
				    memcmp(x->data[i], y->data[j], x->len[i])))
			j++;
		if (j == y->n)
			abort(); /* merging lost or changed a frame */
		free(y->data[j]);
		free(x->data[i]);
		y->data[j] = NULL;
	}
}

static void others(void)
{
	while (env_port_recv(&a, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&own, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&share, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&b, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&c, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&d, 0, NULL, got, sizeof(got)))
		;
}

static void batch(const uint8_t *data, size_t size, uint32_t piece)
{
	static struct pieces merged, single;

	for (unsigned n = 0; size > 2 && n < 64; n++) {
		uint32_t len = (uint32_t)data[0] | (uint32_t)data[1] << 8;

		data += 2;
		size -= 2;
		if (len > size)
			len = (uint32_t)size;
		if (len > 3000)
			break;
		/* A port doesn't get what says it came from it. */
		bool ours = len < 12 || !memcmp(data + 6, "\2\0\0\0\0", 5);

		if (!ours && len / piece < NET_FRAGS_MAX)
			env_card_queue(&card, data, len, piece, NULL);
		data += len;
		size -= len;
	}
	nic_run(&nic, nic.now_ns + 1);
	merged.n = single.n = 0;
	collect(&c, &merged);
	collect(&d, &single);
	compare(&merged, &single);
	others();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct d0_vnet_hdr h;
	static bool ready;

	if (!ready)
		setup();
	ready = true;
	if (size < 1 + sizeof(h) + 14 || size > 65000)
		return 0;
	uint8_t flags = data[0];

	memcpy(&h, data + 1, sizeof(h));
	data += 1 + sizeof(h);
	size -= 1 + sizeof(h);
	card.nd.features = flags & 1 ? ~(uint32_t)0 : 0;
	card.nd.mtu = flags & 2 ? 9000 : 1500;
	nic_uplink_changed(&nic, &card.nd);
	struct net_frame meta = {.csum_partial = h.flags & 1,
				 .csum_ok = h.flags >> 1 & 1,
				 .gso = h.gso_type & 3,
				 .gso_ecn = h.gso_type >> 7,
				 .gso_size = h.gso_size,
				 .csum_start = h.csum_start,
				 .csum_offset = h.csum_offset};
	uint32_t piece = 14 + h.hdr_len;

	if (flags & 16) {
		batch(data, size, piece);
		return 0;
	}
	if (size / piece < NET_FRAGS_MAX)
		env_card_rx(&card, data, (uint32_t)size, piece, &meta);
	env_port_send(flags & 16  ? &own
		      : flags & 8 ? &share
		      : flags & 4 ? &b
				  : &a,
		      0, &h, data, (uint32_t)size);
	env_run(&nic);
	env_card_clear(&card);
	others();
	if (nic.free_count != NIC_TXBUFS)
		abort(); /* a frame leaked */
	return 0;
}
