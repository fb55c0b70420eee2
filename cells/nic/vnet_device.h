/* SPDX-License-Identifier: ISC */
/*
 * vnet_device: the device side of a virtio-net port (d0/vnet.h). Everything a driver side
 * writes is hostile; a port that breaks the rules is stopped until it resets itself.
 */
#ifndef NIC_VNET_DEVICE_H
#define NIC_VNET_DEVICE_H

#include "cells/nic/netdev.h"
#include "cells/nic/switch/policy.h"
#include "d0/vnet.h"
#include "libcell/virtq.h"

#define VNET_PUT_BUFS 40u /* receive buffers of one frame */

struct nic;

struct port_stats {
	uint64_t rx_packets, rx_bytes, rx_dropped; /* rx: towards the port */
	uint64_t tx_packets, tx_bytes, tx_dropped; /* tx: sent by it */
	uint64_t spoofed, denied, bad_frames, limited, resets, broken, bells;
};

/* Segmentation in progress (gso.c): payload sliced from `off`. */
struct gso_cut {
	const struct net_frame *f;
	uint32_t off; /* of the next payload byte in f */
	uint32_t seg; /* its number */
};

struct nic_port {
	struct nic *nic;
	unsigned number, place; /* place: in nic.order */
	uint8_t *ring;
	uint64_t size, ring_dma;
	void (*bell)(void *arg);
	void *arg;
	struct policy policy;
	uint8_t mac[6];
	uint16_t mtu;
	bool live;         /* queues are set up */
	bool failed_epoch; /* the driver of this epoch was refused */
	uint32_t config_seq;
	uint32_t epoch; /* the driver's, acknowledged */
	uint64_t features;
	struct d0_vnet_layout layout;
	struct virtq_dev rxq[D0_VNET_PAIRS_MAX], txq[D0_VNET_PAIRS_MAX];
	uint32_t inflight; /* txbufs that a card still has */
	/* receive filter, copied from the driver page */
	uint32_t rx_mode, mc_seq, mc_count;
	uint8_t mc[D0_VNET_MC_MAX][6];
	struct bucket tx_bucket, rx_bucket;
	uint64_t asked_until_ns; /* mode share: it asked, and takes answers until then */
	struct net_txbuf *cut; /* a frame being segmented, and how far */
	struct gso_cut cut_at;
	bool active;  /* served every pass until it has nothing */
	bool touched; /* to be flushed at the end of the pass */
	bool dead;    /* removed; freed with its last frame in flight */
	bool push_rx[D0_VNET_PAIRS_MAX], push_tx[D0_VNET_PAIRS_MAX];
	bool ring_bell;
	struct port_stats stats;
};

/* Writes the device page with a new epoch; the port is not live yet. */
void vnet_device_start(struct nic_port *port, uint32_t epoch);
/* Configuration (MAC, MTU, link, speed) changed. */
void vnet_device_config(struct nic_port *port, bool link_up, uint32_t speed);
/* Looks at the driver page: resets, attaches. Once a pass. True if it changed. */
bool vnet_device_poll(struct nic_port *port);

/*
 * Takes the next frame of a pair. 1: b filled; 0: nothing there; -1: a frame was bad and
 * consumed. b->owner etc. are set; b is given back through vnet_device_tx_done.
 */
int vnet_device_take(struct nic_port *port, unsigned pair, struct net_txbuf *b);
/* The frame was sent (or dropped): its descriptor goes back to the driver. */
void vnet_device_tx_done(struct nic_port *port, struct net_txbuf *b);

/*
 * Copies a frame into the port's receive buffers. Offloads are the driver's: it accepted
 * GSO if f->gso, partial sums if f->csum_partial. False: no buffers, dropped.
 */
bool vnet_device_put(struct nic_port *port, unsigned pair, const struct net_frame *f);

/* Makes everything visible; rings the doorbell if the driver wants it. */
void vnet_device_flush(struct nic_port *port);
/* Asks for doorbells. True: something is there. */
bool vnet_device_arm(struct nic_port *port, bool want_tx);

#endif
