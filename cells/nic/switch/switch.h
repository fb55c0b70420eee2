/* SPDX-License-Identifier: ISC */
/*
 * The layer-2 switch: ports of transport cells on one side, network cards (uplinks) on
 * the other. One instance, one thread. See switch.c for the model.
 */
#ifndef NIC_SWITCH_H
#define NIC_SWITCH_H

#include "cells/nic/netdev.h"
#include "cells/nic/switch/policy.h"
#include "cells/nic/vnet_device.h"

#define NIC_PORTS_MAX   D0_CHANNELS_MAX
#define NIC_HASH_SIZE   4096u /* a power of two, a multiple of the ports */
#define NIC_WORDS       (NIC_PORTS_MAX / 64)
#define NIC_UPLINKS_MAX 8u
#define NIC_FDB_SIZE    1024u /* a power of two */
#define NIC_FDB_WAYS    8u    /* entries looked at for one address */
#define NIC_TXBUFS      512u
#define NIC_AGE_NS      (300ull * 1000000000ull)

/* An address learned from a port that may use any (bridge mode). Ports' own addresses are
 * found in the ports themselves. */
struct fdb_entry {
	uint8_t mac[6];
	uint16_t vlan;
	uint16_t port;
	uint8_t uplink;
	uint8_t used;
	uint64_t seen_ns;
};

/* Where a shared address's port is: share.c. */
struct steer_entry {
	struct net_addr dst;
	uint32_t key;
	uint16_t vlan, port; /* port: number + 1, 0: unused */
	uint8_t uplink;
};
/* Which port took the first fragment of a datagram. */
struct steer_frag {
	struct net_addr src, dst;
	uint64_t until_ns;
	uint32_t id;
	uint16_t port;
	uint8_t proto;
};
struct share_slice {
	uint16_t lo, hi, port;
	uint8_t protos;
};
struct share_addr {
	struct net_addr addr;
	uint16_t port;
};
#define NIC_SLICES_MAX 4096u
#define NIC_ADDRS_MAX  2048u
#define NIC_STEER_SIZE 512u /* powers of two */
#define NIC_FRAGS_SIZE 64u

/* A TCP segment that is being put together in a port's receive buffers: merge.c. */
#define MERGE_FLOWS    16u
#define MERGE_HEAD_MAX 128u /* Ethernet, IPv6 and TCP with all options have 114 bytes */
struct merge_flow {
	struct nic_port *port;
	uint32_t hash, next_seq;
	uint16_t pair, count; /* count: of frames */
	uint16_t size;        /* payload of each, the last may have less */
	struct net_info info; /* of the whole */
	uint8_t head[MERGE_HEAD_MAX];
	struct vnet_put put;
};
struct merge {
	bool on;       /* a card's batch is under way */
	uint32_t open; /* bits of flow[] */
	struct merge_flow flow[MERGE_FLOWS];
};

struct nic_stats {
	uint64_t to_uplink, to_port, flooded, no_route, segmented, summed, bounced, refused;
};

struct nic {
	struct nic_port *port[NIC_PORTS_MAX];
	unsigned port_limit;                   /* above the highest used */
	struct nic_port *order[NIC_PORTS_MAX]; /* by traffic class, highest first */
	unsigned ports;
	/* By place in order: what a pass looks at costs by who has something to do. */
	uint64_t active[NIC_WORDS];  /* port.active */
	uint64_t touched[NIC_WORDS]; /* port.touched or port.ring_bell */
	struct netdev *uplink[NIC_UPLINKS_MAX];
	unsigned uplinks;
	struct fdb_entry fdb[NIC_FDB_SIZE];
	uint16_t mac_hash[NIC_HASH_SIZE]; /* port numbers + 1 by address */
	struct steer_entry steer[NIC_STEER_SIZE];
	struct steer_frag frags[NIC_FRAGS_SIZE];
	unsigned share_ports; /* of mode share */
	/* The slices and addresses of ports that have the card's MAC, in their order. */
	struct share_slice slices[NIC_SLICES_MAX];
	struct share_addr addrs[NIC_ADDRS_MAX];
	unsigned slice_count, addr_count;
	struct net_txbuf *free_tx;
	unsigned free_count;
	void *tx_memory, *tx_heads;
	uint32_t hash_key;
	uint32_t epoch;   /* of ports' device side */
	uint64_t now_ns;  /* of this pass */
	uint64_t wake_ns; /* earliest time a limited port may go on, D0_NEVER: none */
	bool want_room;   /* something waits for room in a transmit queue */
	bool received;    /* this pass had frames from a card */
	/* Whom frames were delivered to since nic_forget(); perhaps others too. */
	struct nic_port *rx_port;
	bool rx_several;
	unsigned waiting; /* ports that wait for frames a card still has */
	bool hash_stale, filter_stale;
	uint64_t filter_due; /* the cards' filters are not set before */
	unsigned promisc_ports;
	struct merge merge;
	const char *args; /* the cell's, where named rule lists are */
	struct nic_stats stats;
};

/* Makes an empty switch. args is kept. 0, or -1: out of memory. */
int nic_init(struct nic *nic, uint32_t hash_key, const char *args);
void nic_fini(struct nic *nic);

/* Attaches a card that its driver has brought up; its index, or -1: table full. */
int nic_uplink_add(struct nic *nic, struct netdev *nd);
/* An interrupt of the card: acknowledges it, tells the ports if the link changed. */
void nic_uplink_irq(struct nic *nic, struct netdev *nd, unsigned vector);
/* The card's MAC, MTU or link changed, or it was attached anew: tell the ports. */
void nic_uplink_changed(struct nic *nic, struct netdev *nd);

/*
 * A port over a ring region (d0/vnet.h). args: policy.h. ring_dma: where devices reach
 * the region's first byte, D0_NEVER if they do not. bell(arg) wakes the driver side.
 * Number is the port's own (the channel's). NULL: args or region unusable, reason logged.
 */
struct nic_port *nic_port_add(struct nic *nic, unsigned number, void *ring, uint64_t size,
			      uint64_t ring_dma, const char *args, void (*bell)(void *arg),
			      void *arg);
void nic_port_remove(struct nic *nic, unsigned number);
/* Rules, rates and class of a running port (policy_update). 0, or -1 and *why. */
int nic_port_policy(struct nic *nic, unsigned number, const char *args, const char **why);

/*
 * One pass: receive from every card, serve every port, send, ring doorbells. How much was
 * moved; 0: nothing to do. now_ns: a monotonic clock.
 */
unsigned nic_run(struct nic *nic, uint64_t now_ns);

/* The port is to be served, is to be flushed, in this pass or the next. */
static inline void nic_port_wake(struct nic_port *port)
{
	port->active = true;
	port->nic->active[port->place / 64] |= 1ull << port->place % 64;
}
static inline void nic_port_touch(struct nic_port *port)
{
	port->touched = true;
	port->nic->touched[port->place / 64] |= 1ull << port->place % 64;
}

static inline void nic_port_waits(struct nic_port *port, bool waits)
{
	if (waits != port->waits)
		port->nic->waiting += waits ? 1u : ~0u;
	port->waits = waits;
}

/* The port's doorbell rang. */
static inline void nic_port_event(struct nic *nic, unsigned number)
{
	if (number < NIC_PORTS_MAX && nic->port[number])
		nic_port_wake(nic->port[number]);
}

/* Before sleeping until nic->wake_ns: ask for interrupts. True: run again. */
bool nic_arm(struct nic *nic);
/*
 * The same without interrupts for received frames, but when as much has come as the port that
 * was given the last ones has room for. False: that can't be had, nothing was asked for.
 */
bool nic_hold(struct nic *nic, bool *again);
static inline void nic_forget(struct nic *nic)
{
	nic->rx_port = NULL;
	nic->rx_several = false;
}
/* Once a second: link state, counters, aging. */
void nic_tick(struct nic *nic, uint64_t now_ns);

/* For the switch's own files. */
struct net_txbuf *nic_txbuf_get(struct nic *nic);
void nic_txbuf_put(struct nic *nic, struct net_txbuf *b);
/* A txbuf has done its work: complete it towards its port and free it. */
void nic_txbuf_done(struct nic *nic, struct net_txbuf *b);
/* Delivers a frame to a port: policy, offloads, copy. */
void nic_deliver(struct nic *nic, struct nic_port *port, struct net_frame *f);

/* Ports or what they listen to changed: tell the cards. (ports.c) */
void nic_update_filters(struct nic *nic);

/* The port that has the address in this VLAN of this uplink; NULL: none. (fdb.c) */
struct nic_port *fdb_find(struct nic *nic, unsigned uplink, uint16_t vlan, const uint8_t *mac);
void fdb_learn(struct nic *nic, struct nic_port *port, const uint8_t *mac);
/* The address was seen on the wire. */
void fdb_moved(struct nic *nic, unsigned uplink, uint16_t vlan, const uint8_t *mac);
void fdb_forget_port(struct nic *nic, const struct nic_port *port);
void fdb_age(struct nic *nic);

/* Ports that share the card's MAC (share.c): who a frame for that MAC is for; NULL: none of
 * them. from: the port it came from, NULL: the wire. */
struct nic_port *share_find(struct nic *nic, unsigned uplink, uint16_t vlan,
			    const struct net_frame *f, const struct nic_port *from);
/* Whether it is ARP or a neighbour advertisement: what share_answer() is for if it came to the
 * card's MAC. */
bool share_is_answer(const struct net_frame *f);
/* Gives it to those who asked and those whose address it is for. */
void share_answer(struct nic *nic, unsigned uplink, uint16_t vlan, struct net_frame *f,
		  const struct nic_port *from);
/* A port of mode share sends that: it may be a question for a neighbour. */
void share_asked(struct nic *nic, struct nic_port *port, const struct net_frame *f);
/* Ports came or went, or have other addresses. */
void share_changed(struct nic *nic);
/* Whether there is room for what the port has. */
bool share_fits(const struct nic *nic, const struct policy *p);

/* Receive merging (merge.c). A batch of a card begins and ends. */
static inline void merge_begin(struct nic *nic)
{
	nic->merge.on = true;
}
void merge_end(struct nic *nic);
/* A frame for a port that rules and rates let pass. True: it is in the port's buffers (or
 * dropped for want of them); false: it is to be put there by itself, now. */
bool merge_take(struct nic *nic, struct nic_port *port, struct net_frame *f);
/* What a card merged without saying so (NETDEV_F_LRO_PLAIN): a TCP segment above its MTU. */
void merge_of_card(const struct netdev *nd, struct net_frame *f);
/* Makes a frame one to be cut into segments with `size` bytes of payload, its lengths and sums
 * accordingly. TCP without IP options; info.ip_len is right. */
void net_frame_large(struct net_frame *f, uint16_t size);

/* Segmentation in software. */
void gso_begin(struct gso_cut *cut, const struct net_frame *f);
static inline bool gso_done(const struct gso_cut *cut)
{
	return cut->off >= cut->f->len;
}
/* Fills out (its frag[0] in its own memory) with the next segment, sum left partial.
 * False: the payload has too many pieces for one frame. */
bool gso_next(struct gso_cut *cut, struct net_txbuf *out);

#endif
