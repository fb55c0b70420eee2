/* SPDX-License-Identifier: ISC */
/* A small world for tests of the nic cell: a switch, cards that record what they are given,
 * and ports with a real driver side over private ring regions. */
#ifndef NIC_ENV_H
#define NIC_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "cells/nic/net_init.h"
#include "libcell/vnet/vnet_port.h"

#define ENV_FRAMES 2048

struct env_frame {
	uint8_t *data;
	uint32_t len;
	struct net_frame f; /* as it was given; frag is gone */
	unsigned nfrag, queue;
	bool zero_copy; /* every byte behind the head lay in a ring region */
};

#define ENV_BATCH 128

/* A received frame that waits for the switch's next pass. */
struct env_wire {
	uint8_t *data;
	uint32_t len, piece;
	struct net_frame meta;
};

struct env_card {
	struct netdev nd;
	struct env_wire wire[ENV_BATCH];
	unsigned wires;
	struct env_frame sent[ENV_FRAMES];
	unsigned count;
	unsigned room;    /* frames it takes before it says it is full */
	unsigned filters; /* how often its filter was set */
	bool hold;        /* completions wait for env_card_complete */
	bool want_tx;     /* it was asked to tell of them */
	unsigned pages;   /* it was asked to tell of received frames when so many have come */
	struct net_txbuf *held[ENV_FRAMES];
	unsigned helds;
};

struct env_port {
	struct vnet_port drv;
	struct nic_port *dev;
	uint8_t *ring;
	size_t size;
	unsigned number, dev_bells, drv_bells;
	struct nic *nic;
};

extern const struct net_driver env_driver;

void env_nic_new(struct nic *nic);
void env_card_add(struct nic *nic, struct env_card *card, uint32_t features, unsigned queues);
void env_card_clear(struct env_card *card);
void env_card_complete(struct env_card *card);
/* Hands a frame in pieces of `piece` bytes to the switch as if received. */
void env_card_rx(struct env_card *card, const void *data, uint32_t len, uint32_t piece,
		 const struct net_frame *meta);

/* The same in the next pass, with all that are queued in one batch. False: no room. */
bool env_card_queue(struct env_card *card, const void *data, uint32_t len, uint32_t piece,
		    const struct net_frame *meta);

#define ENV_ALL_FEATURES                                                       \
	(D0_VNET_F(CSUM) | D0_VNET_F(GUEST_CSUM) | D0_VNET_F(GUEST_TSO4) |     \
	 D0_VNET_F(GUEST_TSO6) | D0_VNET_F(GUEST_ECN) | D0_VNET_F(HOST_TSO4) | \
	 D0_VNET_F(HOST_TSO6) | D0_VNET_F(HOST_ECN) | D0_VNET_F(GUEST_USO4) |  \
	 D0_VNET_F(GUEST_USO6) | D0_VNET_F(HOST_USO))

/* Where ring regions come from, and what devices call them. */
extern void *(*env_ring_alloc)(size_t size, uint64_t *dma);

/* Makes both sides and runs them until attached. */
void env_port_new(struct nic *nic, struct env_port *p, unsigned number, size_t size,
		  const char *args, uint64_t features, uint32_t pairs);
void env_port_free(struct env_port *p);
bool env_port_send(struct env_port *p, unsigned pair, const struct d0_vnet_hdr *h,
		   const void *data, uint32_t len);
/* Takes a frame: its length, or 0. */
uint32_t env_port_recv(struct env_port *p, unsigned pair, struct d0_vnet_hdr *h, void *buf,
		       uint32_t size);
void env_run(struct nic *nic);

/*
 * What segmentation (gso.c) makes of a frame a port received: each piece, sums complete, to
 * each(arg). A frame that is not to be cut comes as it is.
 */
void env_split(const struct d0_vnet_hdr *h, const uint8_t *data, uint32_t len,
	       void (*each)(void *arg, const uint8_t *data, uint32_t len), void *arg);

/* Builds frames; each returns its length. */
struct env_l4 {
	const uint8_t *dmac, *smac;
	uint32_t sip, dip; /* host order; ip6: low bytes of fd00::/64 addresses */
	uint16_t sport, dport;
	uint8_t proto, tcp_flags, ip6;
	uint32_t seq;
};
/* From 10.0.0.1 to 10.0.0.2. */
static inline struct env_l4 env_flow(const uint8_t *dmac, const uint8_t *smac, uint16_t sport,
				     uint16_t dport, uint8_t proto)
{
	return (struct env_l4){.dmac = dmac,
			       .smac = smac,
			       .sip = 0x0a000001,
			       .dip = 0x0a000002,
			       .sport = sport,
			       .dport = dport,
			       .proto = proto};
}
uint32_t env_build(uint8_t *buf, const struct env_l4 *l4, uint32_t payload, bool partial_csum);
uint32_t env_build_arp(uint8_t *buf, const uint8_t *smac, uint32_t sip, uint32_t tip);
/* True if every checksum in the frame holds. */
bool env_sums_ok(const uint8_t *data, uint32_t len);

#endif
