/* SPDX-License-Identifier: ISC */
/*
 * The driver side of a virtio-net port (d0/vnet.h), for transport cells and for any test
 * that plays one. Freestanding; no allocation, no blocking, no clock; one thread a port.
 *
 * Use:
 *	vnet_port_open(&p, &cfg);             once; the caller zeroes nothing
 *	on every event of the channel, until a pass finds nothing to do:
 *		events = vnet_port_poll(&p);  attaches, notices link changes and restarts
 *		while (vnet_port_rx(&p, q, &rx)) { ...; vnet_port_rx_done(&p, q, &rx); }
 *		buf = vnet_port_tx_begin(&p, q, max); fill; vnet_port_tx_commit(...);
 *		vnet_port_kick(&p);           one doorbell for the batch, if one is wanted
 *	if (!vnet_port_arm(&p, want_tx))      before sleeping; true: poll again at once
 *		wait for the channel;
 *
 * Memory behind `ring` is writable by the nic cell at any time. Received bytes can change
 * while they are read: a caller copies the headers it decides on. Bytes of a sent frame
 * must be complete at commit and untouched after.
 */
#ifndef LIBCELL_VNET_PORT_H
#define LIBCELL_VNET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/vnet.h"

#define VNET_RX_SEGS_MAX 40u /* buffers of one received packet */

struct vnet_port_cfg {
	void *ring; /* the channel's ring region, 64-byte aligned */
	uint64_t size;
	uint64_t features; /* D0_VNET_F bits wanted; needed ones are added, and what the
			      device side does not offer is dropped */
	uint32_t pairs;    /* wanted; fewer if the device side has fewer */
	uint32_t rx_buf;   /* bytes of a receive buffer, 0: 2048 */
	void (*doorbell)(void *arg);
	void *arg;
};

/* What vnet_port_poll found. */
enum {
	VNET_EV_UP = 1,     /* attached: queues are empty and work */
	VNET_EV_DOWN = 2,   /* detached: everything queued or held is gone; rx frames taken
			       before must not be given back */
	VNET_EV_CONFIG = 4, /* link, MTU or MAC may have changed */
	VNET_EV_ERROR = 8,  /* the device side refused or broke the rules; it is being reset */
};

struct vnet_rx {
	struct d0_vnet_hdr hdr; /* a copy */
	uint32_t len;           /* bytes of the frame, all segments */
	uint32_t nseg;
	struct {
		const uint8_t *data;
		uint32_t len;
		uint16_t id;
	} seg[VNET_RX_SEGS_MAX];
};

/* Private; here for its size only. */
struct vnet_txslot {
	uint32_t end; /* offset behind its bytes in the tx area */
	bool done;
};
struct vnet_rxq {
	struct d0_vring_desc *desc;
	struct d0_vring_avail *avail;
	struct d0_vring_used *used;
	uint16_t avail_idx, kicked_idx, last_used;
	uint16_t count; /* buffers */
	uint32_t base;  /* offset of the first */
	uint64_t posted[D0_VNET_QSIZE_MAX / 64];
};
#define VNET_TOLD_NONE 0x10000u
struct vnet_txq {
	struct d0_vring_desc *desc;
	struct d0_vring_avail *avail;
	struct d0_vring_used *used;
	uint16_t avail_idx, kicked_idx, last_used;
	uint32_t told_event; /* the device knows that we wait for it; or VNET_TOLD_NONE */
	uint16_t tail;       /* oldest slot not freed, counts like avail_idx */
	uint32_t base, size; /* area of packet bytes, an offset into the region */
	uint32_t head_off, tail_off; /* in the area */
	uint32_t begun;              /* offset of the frame begun */
	uint32_t begun_max;          /* its room, 0: none begun */
	struct vnet_txslot slot[D0_VNET_QSIZE_MAX];
};

struct vnet_port {
	struct vnet_port_cfg cfg;
	uint8_t *ring;
	struct d0_vnet_layout layout;
	enum {
		VNET_PORT_RESETTING,
		VNET_PORT_LIVE,
		VNET_PORT_REFUSED /* until the device side starts anew */
	} state;
	uint32_t epoch;      /* ours */
	uint32_t dev_epoch;  /* the device side's when we attached */
	uint32_t config_seq; /* last seen */
	uint64_t features;   /* negotiated */
	uint32_t pairs;
	bool ring_bell; /* a doorbell is due whatever the rings say */
	/* configuration, copied and clamped */
	uint8_t mac[6];
	bool link_up;
	uint16_t mtu;
	uint32_t speed, mode;
	/* counters */
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_full, resets, errors, bells;
	struct vnet_rxq rx[D0_VNET_PAIRS_MAX];
	struct vnet_txq tx[D0_VNET_PAIRS_MAX];
};

/*
 * Starts attaching. Returns 0, or -1 if the region is too small or not aligned. Nothing is
 * attached before vnet_port_poll says VNET_EV_UP; until then nothing is received and
 * vnet_port_tx_begin returns NULL.
 */
int vnet_port_open(struct vnet_port *p, const struct vnet_port_cfg *cfg);

/* Runs the attach sequence and looks for changes; returns VNET_EV_* bits. Cheap: call it
 * first on every pass. */
unsigned vnet_port_poll(struct vnet_port *p);

/* Whether the queues work. */
static inline bool vnet_port_live(const struct vnet_port *p)
{
	return p->state == VNET_PORT_LIVE;
}

/* Takes the next packet of a pair: true and *rx filled, or false. Its buffers are the
 * caller's until vnet_port_rx_done, in any order; held buffers shrink the ring. */
bool vnet_port_rx(struct vnet_port *p, unsigned pair, struct vnet_rx *rx);
void vnet_port_rx_done(struct vnet_port *p, unsigned pair, const struct vnet_rx *rx);

/*
 * Room for a frame of up to max_len bytes, contiguous, or NULL: none free (arm with
 * want_tx, then wait) or not attached. A second begin without commit takes the first's
 * place. commit queues the first len bytes with that header; num_buffers is ignored.
 */
uint8_t *vnet_port_tx_begin(struct vnet_port *p, unsigned pair, uint32_t max_len);
void vnet_port_tx_commit(struct vnet_port *p, unsigned pair, const struct d0_vnet_hdr *hdr,
			 uint32_t len);

/* Frames of a pair that the device side still has. */
unsigned vnet_port_tx_pending(struct vnet_port *p, unsigned pair);

/* Rings the doorbell if the device side asked for it. After every batch. */
void vnet_port_kick(struct vnet_port *p);

/*
 * Asks for a doorbell on the next received packet, with want_tx also when about half of
 * the pending frames are done. Returns true if something is there already.
 */
bool vnet_port_arm(struct vnet_port *p, bool want_tx);

/* Filter of received frames: D0_VNET_RX_* and up to D0_VNET_MC_MAX multicast addresses.
 * The default after open is D0_VNET_RX_ALLMULTI. */
void vnet_port_rx_mode(struct vnet_port *p, uint32_t mode, const uint8_t (*mc)[6],
		       unsigned count);

#endif
