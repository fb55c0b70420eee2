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
#define VNET_PUT_SEGS 64u /* their pieces */

struct nic;

struct port_stats {
	uint64_t rx_packets, rx_bytes, rx_dropped; /* rx: towards the port */
	uint64_t tx_packets, tx_bytes, tx_dropped; /* tx: sent by it */
	uint64_t spoofed, denied, bad_frames, limited, resets, broken, bells;
	uint64_t rx_merged; /* of rx_packets: appended to the one before (merge.c) */
};

/* A frame on its way into a port's receive buffers. */
struct vnet_put {
	struct virtq_seg seg[VNET_PUT_SEGS]; /* of all buffers, in order */
	struct {
		uint16_t head;
		uint32_t bytes;
	} buf[VNET_PUT_BUFS];
	unsigned segs, bufs;
	uint32_t bytes; /* room in all of them */
	uint32_t used;  /* written, header included */
	/* where the next byte goes */
	unsigned at_seg;
	uint32_t at_off;
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
	uint32_t rx_buf;   /* bytes of a receive buffer, as the last ones were */
	bool waits;        /* for some of them to come back; nic->waiting counts such ports */
	/* receive filter, copied from the driver page */
	uint32_t rx_mode, mc_seq, mc_count;
	uint8_t mc[D0_VNET_MC_MAX][6];
	struct bucket tx_bucket, rx_bucket;
	uint64_t asked_until_ns; /* mode share: it asked, and takes answers until then */
	struct net_txbuf *cut;   /* a frame being segmented, and how far */
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

/*
 * The same in steps. begin: takes buffers for the frame and writes it. append: len more bytes
 * of `from`, beginning at off, behind it; false: no room, nothing changed. end: gives the
 * buffers to the driver; `head` (NULL: as begun): the frame as it is now, of which the header
 * and frag[0] are written again, len and frag[0].len being right. All within one pass over
 * a card; frames that were begun and not ended are lost when the port stops.
 */
bool vnet_device_begin(struct nic_port *port, unsigned pair, const struct net_frame *f,
		       struct vnet_put *put);
bool vnet_device_append(struct nic_port *port, unsigned pair, struct vnet_put *put,
			const struct net_frame *from, uint32_t off, uint32_t len);
void vnet_device_end(struct nic_port *port, unsigned pair, struct vnet_put *put,
		     const struct net_frame *head);

/* Makes everything visible; rings the doorbell if the driver wants it. */
void vnet_device_flush(struct nic_port *port);
/* Asks for doorbells. True: something is there. */
bool vnet_device_arm(struct nic_port *port, bool want_tx);
/* For how many bytes of frames it has buffers now, if each is as large as those of the first. */
uint32_t vnet_device_room(const struct nic_port *port);
/* Does the driver wait for frames to come back that a card has? */
bool vnet_device_awaited(const struct nic_port *port);

#endif
