/* SPDX-License-Identifier: ISC */
/*
 * TAP as a card. Frames carry the kernel's virtio-net header (IFF_VNET_HDR), so large
 * segments and partial sums pass whole in both directions, as with virtio-net. Sending is
 * one writev of the pieces; the kernel copies, so a frame is done at once.
 */
#include "cells/nic/hosted/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "d0/vnet.h"
#include "libcell/log.h"

#define RX_SIZE (NET_FRAME_MAX + 64u)

/* struct virtio_net_hdr: 10 bytes without num_buffers, we ask for 12. */
static int tap_attach(struct netdev *nd)
{
	struct tap *t = (struct tap *)nd;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int size = sizeof(struct d0_vnet_hdr);
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	memcpy(ifr.ifr_name, t->ifname, sizeof(t->ifname));
	if (t->fd < 0 || ioctl(t->fd, TUNSETIFF, &ifr) ||
	    ioctl(t->fd, TUNSETVNETHDRSZ, &size) ||
	    ioctl(t->fd, TUNSETOFFLOAD, t->plain ? 0 : offloads)) {
		log_error("tap %s: %s", t->ifname, strerror(errno));
		if (t->fd >= 0)
			close(t->fd);
		return -1;
	}
	t->rx = malloc(RX_SIZE);
	if (!t->rx) {
		close(t->fd);
		return -1;
	}
	nd->mac[0] = 0x02;
	nd->mac[1] = 0xd0;
	for (int i = 0; i < 4; i++)
		nd->mac[2 + i] = (uint8_t)(t->ifname[i] * 31 + t->ifname[i + 4] + 7 * i);
	nd->features = NETDEV_F_NO_DMA;
	if (!t->plain)
		nd->features |= NETDEV_F_TX_CSUM | NETDEV_F_TX_IP6_CSUM | NETDEV_F_TSO4 |
				NETDEV_F_TSO6 | NETDEV_F_RX_CSUM | NETDEV_F_LRO;
	nd->mtu_max = NET_MTU_MAX;
	nd->txqs = nd->rxqs = 1;
	nd->link_up = true;
	return 0;
}

static void tap_detach(struct netdev *nd)
{
	struct tap *t = (struct tap *)nd;

	close(t->fd);
	free(t->rx);
}

static unsigned tap_tx_room(struct netdev *nd, unsigned q)
{
	return 64;
}

static struct d0_vnet_hdr tap_header(const struct net_frame *f)
{
	struct d0_vnet_hdr h = {0};

	if (f->csum_partial) {
		h.flags = D0_VNET_HDR_NEEDS_CSUM;
		h.csum_start = f->csum_start;
		h.csum_offset = f->csum_offset;
	}
	if (f->gso) {
		h.gso_type = f->gso == NET_GSO_TCP4 ? D0_VNET_GSO_TCPV4 : D0_VNET_GSO_TCPV6;
		h.gso_type |= f->gso_ecn ? D0_VNET_GSO_ECN : 0;
		h.gso_size = f->gso_size;
		h.hdr_len = f->info.payload_off;
	}
	return h;
}

static void tap_tx(struct netdev *nd, unsigned q, struct net_txbuf *b)
{
	struct tap *t = (struct tap *)nd;
	struct d0_vnet_hdr h = tap_header(&b->f);
	struct iovec iov[NET_TXFRAGS_MAX + 1] = {{&h, sizeof(h)}};

	for (unsigned i = 0; i < b->f.nfrag; i++)
		iov[i + 1] = (struct iovec){b->frag[i].data, b->frag[i].len};
	if (writev(t->fd, iov, b->f.nfrag + 1) < 0)
		nd->stats.tx_errors++;
	netdev_tx_done(nd, b);
}

static void tap_tx_flush(struct netdev *nd, unsigned q)
{
}

static unsigned tap_tx_reap(struct netdev *nd, unsigned q)
{
	return 0;
}

static void tap_frame(struct netdev *nd, uint8_t *data, uint32_t len)
{
	struct net_frag frag;
	struct net_frame f = {.frag = &frag, .max = 1, .nfrag = 1};
	struct d0_vnet_hdr h;

	memcpy(&h, data, sizeof(h));
	frag = (struct net_frag){
	    .data = data + sizeof(h), .dma = D0_NEVER, .len = len - (uint32_t)sizeof(h)};
	f.len = frag.len;
	f.csum_ok = (h.flags & D0_VNET_HDR_DATA_VALID) != 0;
	if (h.flags & D0_VNET_HDR_NEEDS_CSUM) {
		f.csum_partial = f.csum_ok = 1;
		f.csum_start = h.csum_start;
		f.csum_offset = h.csum_offset;
	}
	uint8_t type = h.gso_type & (uint8_t)~D0_VNET_GSO_ECN;

	f.gso = type == D0_VNET_GSO_TCPV4   ? NET_GSO_TCP4
		: type == D0_VNET_GSO_TCPV6 ? NET_GSO_TCP6
					    : NET_GSO_NONE;
	f.gso_size = f.gso ? h.gso_size : 0;
	f.gso_ecn = (h.gso_type & D0_VNET_GSO_ECN) != 0;
	netdev_rx(nd, &f);
}

static unsigned tap_rx_poll(struct netdev *nd, unsigned q, unsigned budget)
{
	struct tap *t = (struct tap *)nd;
	unsigned n = 0;

	for (; n < budget; n++) {
		ssize_t got = read(t->fd, t->rx, RX_SIZE);

		if (got < (ssize_t)(sizeof(struct d0_vnet_hdr) + NET_ETH_HDR))
			break;
		tap_frame(nd, t->rx, (uint32_t)got);
	}
	return n;
}

static bool tap_arm(struct netdev *nd, bool want_tx)
{
	struct pollfd p = {.fd = ((struct tap *)nd)->fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

static void tap_nop(struct netdev *nd)
{
}

static void tap_irq(struct netdev *nd, unsigned vector)
{
}

static void tap_set_moderation(struct netdev *nd, unsigned us)
{
}

/* The kernel's link state: `ip link set tap0 down` is a pulled cable. */
static void tap_tick(struct netdev *nd)
{
	struct tap *t = (struct tap *)nd;
	struct ifreq ifr = {0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ifr.ifr_name, t->ifname, sizeof(t->ifname));
	if (s >= 0 && ioctl(s, SIOCGIFFLAGS, &ifr) == 0)
		nd->link_up = (ifr.ifr_flags & IFF_UP) != 0;
	if (s >= 0)
		close(s);
}

const struct net_driver tap_driver = {
    .name = "tap",
    .attach = tap_attach,
    .detach = tap_detach,
    .tx_room = tap_tx_room,
    .tx = tap_tx,
    .tx_flush = tap_tx_flush,
    .tx_reap = tap_tx_reap,
    .rx_poll = tap_rx_poll,
    .arm = tap_arm,
    .disarm = tap_nop,
    .irq = tap_irq,
    .set_filter = tap_nop,
    .set_moderation = tap_set_moderation,
    .tick = tap_tick,
};
