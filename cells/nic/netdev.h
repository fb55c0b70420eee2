/* SPDX-License-Identifier: ISC */
/*
 * Network devices as the switch sees them, and what a driver has to provide.
 *
 * A driver is one file in cells/nic/drivers/ that ends in NET_DRIVER(its struct); the
 * linker collects them (section "set_drivers"), net_init matches them with the devices
 * granted to the cell. A driver owns its device between attach and detach; every call
 * comes from the one thread of the cell and none blocks, attach and detach apart, which
 * may take a few milliseconds.
 *
 * Frames to send come as struct net_txbuf: the driver keeps it from tx() until it hands it
 * to netdev_tx_done(). Received frames are handed to netdev_rx(); their memory is the
 * driver's again when that returns.
 */
#ifndef NIC_NETDEV_H
#define NIC_NETDEV_H

#include "cells/nic/net_common.h"
#include "d0/abi.h"

#define NETDEV_QUEUES_MAX  4u
#define NETDEV_MC_MAX      64u
#define NETDEV_UC_MAX      64u
#define NETDEV_VECTORS_MAX 10u
#define NET_TXFRAGS_MAX    20u
#define NET_HEADROOM       32u /* before the head: a VLAN tag, a device's own header */

/* A frame to send. f.frag[0] is [head, ...) in the buffer's own memory. */
struct net_txbuf {
	struct net_frame f;
	struct net_frag frag[NET_TXFRAGS_MAX];
	uint8_t *mem; /* NET_HEADROOM + NET_HEAD_MAX bytes, reachable by devices */
	uint64_t mem_dma;
	struct net_txbuf *next;   /* in a list of its owner */
	struct net_txbuf *parent; /* this is a segment of that */
	uint32_t refs;            /* segments that have not completed, and 1 while it is cut */
	/* where the completion goes */
	void *owner;
	uint32_t owner_epoch;
	uint16_t pair, desc;
	void *bounce;
	uint32_t bounce_len;
};

enum {
	NETDEV_F_TX_CSUM = 1, /* completes partial sums of TCP and UDP over IPv4 and IPv6 */
	NETDEV_F_TSO4 = 2,
	NETDEV_F_TSO6 = 4,
	NETDEV_F_USO = 8,
	NETDEV_F_RX_CSUM = 16, /* says csum_ok where it checked */
	NETDEV_F_LRO = 32,     /* hands up segments larger than the MTU */
	NETDEV_F_NO_DMA = 64,  /* reads through net_frag.data, not .dma */
	NETDEV_F_TX_IP6_CSUM = 128,
	NETDEV_F_LRO_PLAIN = 256, /* ... without saying so: their length tells */
};

struct netdev_stats {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t rx_errors, rx_dropped, tx_errors, tx_busy;
	uint64_t rx_crc_errors, rx_missed, multicast, irqs;
};

/* Frames a device lets through, besides broadcast. */
struct netdev_filter {
	bool promisc, allmulti;
	uint16_t ucs, mcs;
	uint8_t uc[NETDEV_UC_MAX][6]; /* besides the device's own address */
	uint8_t mc[NETDEV_MC_MAX][6];
};

struct net_driver;
struct netdev {
	const struct net_driver *driver;
	const struct d0_device *pci; /* NULL: not a PCI device */
	void *priv;                  /* the driver's */
	char name[16];
	uint8_t mac[6];
	bool link_up, full_duplex, mac_changed;
	uint32_t speed; /* Mbit/s, ~0: unknown */
	uint32_t features;
	uint16_t mtu, mtu_max;
	uint16_t txqs, rxqs;
	uint16_t vectors; /* interrupts it may use: 0..vectors-1 */
	uint32_t moderation_us;
	struct netdev_filter filter;
	struct netdev_stats stats;
	/* set by the switch */
	void (*rx)(void *arg, struct netdev *nd, struct net_frame *f);
	void (*tx_done)(void *arg, struct net_txbuf *b);
	void *arg;
	unsigned index;
	uint16_t queues_max;  /* pairs the driver may use */
	bool failed;          /* the driver gave up; it is to be attached again */
	bool detached;        /* ... and was detached */
	bool tso_on, tso_off; /* the configuration's word on it */
	uint64_t retry_ns;
	uint64_t restarts;
};

struct net_pci_id {
	uint16_t vendor, device;
};

struct net_driver {
	const char *name;
	const struct net_pci_id *ids; /* ends with {0, 0} */
	/*
	 * Reset the device and bring it up with nd->mtu, all queues, filter as in
	 * nd->filter, interrupts off. Fills mac, features, mtu_max, txqs, rxqs, link.
	 * 0, or -1 with the reason logged and nothing left behind. Where emulations get TSO
	 * wrong the driver finds out, or leaves it out unless nd->tso_on; it may add it later,
	 * unless nd->tso_off.
	 */
	int (*attach)(struct netdev *nd);
	/* Stop all DMA, hand back every txbuf, free everything. */
	void (*detach)(struct netdev *nd);
	/* Frames of NET_TXFRAGS_MAX pieces that a tx queue takes for sure. */
	unsigned (*tx_room)(struct netdev *nd, unsigned q);
	/* Queue a frame; there is room. Not visible to the device before tx_flush. */
	void (*tx)(struct netdev *nd, unsigned q, struct net_txbuf *b);
	void (*tx_flush)(struct netdev *nd, unsigned q);
	/* Hand finished frames to netdev_tx_done; how many. */
	unsigned (*tx_reap)(struct netdev *nd, unsigned q);
	/* Hand up to budget received frames to netdev_rx; how many. */
	unsigned (*rx_poll)(struct netdev *nd, unsigned q, unsigned budget);
	/* Interrupts on, for transmit completions only if want_tx. True: work is there
	 * already. disarm: off (advisory). */
	bool (*arm)(struct netdev *nd, bool want_tx);
	void (*disarm)(struct netdev *nd);
	/* One interrupt, when frames in `pages` of 4 KiB have come, and none for transmit
	 * completions. False: it can't (NULL: never can); *there: they are there already. */
	bool (*hold)(struct netdev *nd, unsigned pages, bool *there);
	/* An interrupt came: acknowledge it at the device, notice link changes. */
	void (*irq)(struct netdev *nd, unsigned vector);
	void (*set_filter)(struct netdev *nd);
	void (*set_moderation)(struct netdev *nd, unsigned us);
	/* Reads link state and hardware counters into nd; every second or so. */
	void (*tick)(struct netdev *nd);
};

#define NET_DRIVER(d)                                        \
	static const struct net_driver *const net_driver_##d \
	    __attribute__((section("set_drivers"), used)) = &d

extern const struct net_driver *const __start_set_drivers[];
extern const struct net_driver *const __stop_set_drivers[];

static inline void netdev_rx(struct netdev *nd, struct net_frame *f)
{
	nd->stats.rx_packets++;
	nd->stats.rx_bytes += f->len;
	nd->rx(nd->arg, nd, f);
}

static inline void netdev_tx_done(struct netdev *nd, struct net_txbuf *b)
{
	nd->tx_done(nd->arg, b);
}

/* The driver for a device, or NULL. */
const struct net_driver *net_driver_find(uint16_t vendor, uint16_t device);

/*
 * What drivers need of their surroundings; defined once for the cell, once for tests that
 * put a device model in its place.
 */
uint8_t nic_read8(struct netdev *nd, unsigned bar, uint32_t off);
uint16_t nic_read16(struct netdev *nd, unsigned bar, uint32_t off);
uint32_t nic_read32(struct netdev *nd, unsigned bar, uint32_t off);
void nic_write8(struct netdev *nd, unsigned bar, uint32_t off, uint8_t v);
void nic_write16(struct netdev *nd, unsigned bar, uint32_t off, uint16_t v);
void nic_write32(struct netdev *nd, unsigned bar, uint32_t off, uint32_t v);
/* A dword-aligned read of the device's configuration space. */
uint32_t nic_config_read32(struct netdev *nd, uint32_t off);
/* Zeroed, page-aligned, contiguous memory that devices reach at *dma; NULL: none left. */
void *nic_dma_alloc(size_t size, uint64_t *dma);
void nic_dma_free(void *p, size_t size);
void nic_delay_us(unsigned us);

#endif
