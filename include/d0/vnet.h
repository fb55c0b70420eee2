/* SPDX-License-Identifier: ISC */
/*
 * D0_PROTO_NET: a virtio-net port in the ring region of a channel. The server (device side)
 * is the nic cell, the client (driver side) a transport cell. Virtqueues, their memory
 * order and the packet header are those of virtio 1.2 (sections 2.7 and 5.1); what virtio
 * leaves to its transports (where queues lie, how features, status and configuration are
 * exchanged) is fixed here, because a shared region has no registers.
 *
 * Layout of the region, all offsets from its first byte:
 *
 *	0        struct d0_vnet_dev, written by the device side only
 *	4096     struct d0_vnet_drv, written by the driver side only
 *	8192     virtqueues: receive queue of pair i is number 2i, its transmit queue 2i + 1;
 *	         where each lies follows from the region's size and the number of pairs
 *	         alone (d0_vnet_layout), never from shared memory
 *	buffers  the rest: packet buffers, handed out by the driver side
 *
 * A descriptor's address is an offset into the region; a buffer lies wholly behind
 * `buffers`. Both sides treat the other as hostile: what they read from the region they
 * read once, then validate; a broken peer loses this port and nothing else.
 *
 * Life of a port. Each side has an epoch, changed whenever it starts from nothing:
 *
 *	1. driver: status = D0_VNET_RESET, then epoch = a new value, then doorbell
 *	2. device: forgets the queues, ack = that epoch, then doorbell
 *	3. driver: lays out empty queues (all indexes 0), features, pairs,
 *	   status = D0_VNET_DRIVER_OK, then doorbell
 *	4. device: validates features, works the queues from index 0; or error = why not
 *
 * A device side that starts anew (the nic cell was restarted) writes a new dev.epoch and
 * ack = 0, and rings; a driver that finds dev.epoch changed begins at 1. Packets in flight
 * are lost in either case, as on a wire; nothing else is. A driver that starts anew begins
 * at 1 as well, so one sequence serves every restart.
 *
 * The doorbell is d0_hc_notify on the channel, one for all queues in each direction;
 * VIRTIO_F_EVENT_IDX says when a ring needs it. A driver that wants to hear of sent packets
 * rings after it has set used_event: only then the device asks a card for completions; others it
 * hands back with whatever it does next, within a second. Changes of the configuration (link, MTU)
 * raise dev.config_seq, then ring unconditionally.
 */
#ifndef D0_VNET_H
#define D0_VNET_H

#include <stdint.h>
#include "d0/vring.h" /* the rings themselves */

#define D0_VNET_DEV_MAGIC 0x44564e30u /* "0NVD" in memory */
#define D0_VNET_DRV_MAGIC 0x43564e30u
#define D0_VNET_VERSION   1

#define D0_VNET_DRV_OFF    4096u
#define D0_VNET_QUEUES_OFF 8192u
#define D0_VNET_SIZE_MIN   (128u << 10) /* of the region, for one pair */
#define D0_VNET_SIZE_MAX   (1u << 30)
#define D0_VNET_SIZE       (512u << 10) /* a good size for an ordinary port */
#define D0_VNET_PAIRS_MAX  4u
#define D0_VNET_QSIZE_MAX  256u
#define D0_VNET_QSIZE_MIN  32u
#define D0_VNET_MC_MAX     32u
/* The longest frame of a port, a 64 KiB segment with its headers. */
#define D0_VNET_FRAME_MAX 65553u

/* Feature bits, virtio 1.2 section 5.1.3 and chapter 6. X(bit, name) */
#define D0_VNET_FEATURES(X)                                                            \
	X(0, CSUM)          /* driver may leave checksums of sent packets partial */   \
	X(1, GUEST_CSUM)    /* driver takes packets with partial checksums */          \
	X(3, MTU)           /* dev.mtu is valid */                                     \
	X(5, MAC)           /* dev.mac is valid */                                     \
	X(7, GUEST_TSO4)    /* driver takes TCP segments larger than the MTU, v4 */    \
	X(8, GUEST_TSO6)    /* the same, v6 */                                         \
	X(9, GUEST_ECN)     /* with CWR set */                                         \
	X(11, HOST_TSO4)    /* driver may send TCP segments larger than the MTU, v4 */ \
	X(12, HOST_TSO6)    /* the same, v6 */                                         \
	X(13, HOST_ECN)     /* with CWR set */                                         \
	X(15, MRG_RXBUF)    /* a received packet may span buffers; always on */        \
	X(16, STATUS)       /* dev.status is valid */                                  \
	X(22, MQ)           /* several pairs */                                        \
	X(29, EVENT_IDX)    /* always on */                                            \
	X(32, VERSION_1)    /* always on */                                            \
	X(54, GUEST_USO4)   /* driver takes UDP datagrams to be split, v4 */           \
	X(55, GUEST_USO6)   /* the same, v6 */                                         \
	X(56, HOST_USO)     /* driver may send UDP datagrams to be split */            \
	X(63, SPEED_DUPLEX) /* dev.speed is valid */

enum d0_vnet_feature_bit {
#define D0_VNET_BIT(bit, name) D0_VNET_B_##name = bit,
	D0_VNET_FEATURES(D0_VNET_BIT)
#undef D0_VNET_BIT
};
#define D0_VNET_F(name) (1ull << D0_VNET_B_##name)
#define D0_VNET_F_NEEDED \
	(D0_VNET_F(VERSION_1) | D0_VNET_F(EVENT_IDX) | D0_VNET_F(MRG_RXBUF) | D0_VNET_F(MAC))

/* d0_vnet_dev.status, virtio 1.2 section 5.1.4 */
enum {
	D0_VNET_S_LINK_UP = 1,
};

/* How the switch treats the port; a stack behaves the same on all but IPVLAN, where the
 * MAC is shared with other ports and address conflicts are found by address alone. */
enum d0_vnet_mode {
	D0_VNET_MODE_BRIDGE,
	D0_VNET_MODE_MACVLAN,
	D0_VNET_MODE_IPVLAN,
};

/*
 * The management cell's address for what containers ask of the host itself (names): an
 * IPv4 link-local address (RFC 3927) on a port of mode ipvlan. Ports of mode share (nic's
 * switch/policy.h) have one of 169.254.0.0/16 too and reach nothing of that prefix but
 * this one's port 53. It never appears on a wire.
 */
#define D0_VNET_SERVICE      0xa9fe0001u /* 169.254.0.1 */
#define D0_VNET_SERVICE_PORT 53u
/* Ports of the host address from here on are for what the management cell opens itself;
 * containers' blocks lie below. */
#define D0_VNET_HOST_PORTS 61440u

/* d0_vnet_dev.error: why a driver was not accepted */
enum d0_vnet_error {
	D0_VNET_ERR_NONE,
	D0_VNET_ERR_FEATURES, /* not offered, a needed one missing, or one without its base */
	D0_VNET_ERR_PAIRS,    /* not 1..max_pairs, or too many for the region */
	D0_VNET_ERR_RING,     /* an index or descriptor out of range; reset to go on */
};

struct d0_vnet_dev {
	uint32_t magic;
	uint32_t version;
	uint64_t features; /* offered */
	uint32_t epoch;
	uint32_t ack;   /* the driver's epoch whose reset was seen; 0: none */
	uint32_t error; /* enum d0_vnet_error */
	uint32_t config_seq;
	/* configuration, virtio 1.2 section 5.1.4 */
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_pairs;
	uint16_t mtu;
	uint32_t speed; /* Mbit/s; ~0: not known */
	uint32_t mode;  /* enum d0_vnet_mode */
	uint32_t pad;
};
_Static_assert(sizeof(struct d0_vnet_dev) == 56, "device page");

enum d0_vnet_driver_status {
	D0_VNET_RESET = 0,
	D0_VNET_DRIVER_OK = 4 /* virtio 1.2 section 2.1 */
};
enum {
	D0_VNET_RX_PROMISC = 1,  /* every frame of its VLAN, where the port's policy lets it */
	D0_VNET_RX_ALLMULTI = 2, /* every multicast frame */
};

struct d0_vnet_drv {
	uint32_t magic;
	uint32_t version;
	uint64_t features; /* accepted */
	uint32_t status;   /* enum d0_vnet_driver_status */
	uint32_t epoch;    /* never 0 */
	uint32_t pairs;
	uint32_t rx_mode; /* D0_VNET_RX_* */
	/* Multicast addresses wanted besides; ring after a change of these four. */
	uint32_t mc_seq;
	uint32_t mc_count;
	uint8_t mc[D0_VNET_MC_MAX][6];
};
_Static_assert(sizeof(struct d0_vnet_drv) == 232, "driver page");

/* The header before each packet, virtio 1.2 section 5.1.6. */
struct d0_vnet_hdr {
	uint8_t flags;    /* D0_VNET_HDR_* */
	uint8_t gso_type; /* D0_VNET_GSO_* */
	uint16_t hdr_len; /* a hint; not trusted */
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers; /* received packets: how many buffers it spans; sent: 0 */
};
_Static_assert(sizeof(struct d0_vnet_hdr) == 12, "struct virtio_net_hdr");
enum {
	D0_VNET_HDR_NEEDS_CSUM = 1, /* csum_start and csum_offset are valid */
	D0_VNET_HDR_DATA_VALID = 2, /* the sum was checked */
};
enum {
	D0_VNET_GSO_NONE = 0,
	D0_VNET_GSO_TCPV4 = 1,
	D0_VNET_GSO_TCPV6 = 4,
	D0_VNET_GSO_UDP_L4 = 5,
	D0_VNET_GSO_ECN = 0x80
};

/* Where one queue lies. */
struct d0_vnet_queue_layout {
	uint32_t desc, avail, used;
};

struct d0_vnet_layout {
	uint32_t qsize; /* entries of every queue, a power of two */
	uint32_t pairs;
	uint32_t buffers; /* first byte of the packet buffers */
	uint32_t end;     /* first byte behind them: the region's size */
	struct d0_vnet_queue_layout queue[2 * D0_VNET_PAIRS_MAX];
};

/* Both sides' only source of offsets. Returns 0, or -1 if the region can't hold this. */
static inline int d0_vnet_layout(uint64_t size, uint32_t pairs, struct d0_vnet_layout *l)
{
	if (size > D0_VNET_SIZE_MAX || pairs < 1 || pairs > D0_VNET_PAIRS_MAX ||
	    size / pairs < D0_VNET_SIZE_MIN)
		return -1;
	l->pairs = pairs;
	l->qsize = D0_VNET_QSIZE_MIN;
	while (l->qsize < D0_VNET_QSIZE_MAX && size / pairs / 4096 >= 2ull * l->qsize)
		l->qsize *= 2;
	uint32_t at = D0_VNET_QUEUES_OFF;
	for (uint32_t q = 0; q < 2 * pairs; q++) {
		l->queue[q].desc = at;
		l->queue[q].avail = at + (uint32_t)d0_vring_avail_off(l->qsize);
		l->queue[q].used = at + (uint32_t)d0_vring_used_off(l->qsize);
		at += (uint32_t)d0_vring_bytes(l->qsize);
	}
	l->buffers = (at + 4095) & ~4095u;
	l->end = (uint32_t)size;
	return 0;
}

/* Whether the peer wants a doorbell: virtio 1.2 section 2.7.10. */
static inline int d0_vring_need_event(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

#endif
