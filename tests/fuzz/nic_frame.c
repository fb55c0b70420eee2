/* SPDX-License-Identifier: ISC */
/*
 * Frames through the switch. Input: 1 byte of flags, 12 bytes of virtio-net header, then
 * the frame; it is sent by a port to a plain card, to a card with all offloads and to
 * other ports, and received from the wire in pieces.
 */
#include "tests/unit/nic_env.h"

static struct nic nic;
static struct env_card card;
static struct env_port a, b, c, own, share;
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
	vnet_port_rx_mode(&c.drv, D0_VNET_RX_PROMISC, NULL, 0);
	vnet_port_kick(&c.drv);
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

	if (size / piece < NET_FRAGS_MAX)
		env_card_rx(&card, data, (uint32_t)size, piece, &meta);
	env_port_send(flags & 16  ? &own
		      : flags & 8 ? &share
		      : flags & 4 ? &b
				  : &a,
		      0, &h, data, (uint32_t)size);
	env_run(&nic);
	env_card_clear(&card);
	while (env_port_recv(&a, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&own, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&share, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&b, 0, NULL, got, sizeof(got)) ||
	       env_port_recv(&c, 0, NULL, got, sizeof(got)))
		;
	if (nic.free_count != NIC_TXBUFS)
		abort(); /* a frame leaked */
	return 0;
}
