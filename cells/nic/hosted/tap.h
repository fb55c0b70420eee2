/* SPDX-License-Identifier: ISC */
/* A Linux TAP device as a card, with all offloads of its virtio-net header. */
#ifndef NIC_HOSTED_TAP_H
#define NIC_HOSTED_TAP_H

#include "cells/nic/netdev.h"

struct tap {
	struct netdev nd; /* first: a netdev is its tap */
	int fd;
	char ifname[16];
	bool plain;  /* no offloads: every frame at most the MTU, sums complete */
	uint8_t *rx; /* one whole frame */
};

extern const struct net_driver tap_driver;

#endif
