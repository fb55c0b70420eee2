/* SPDX-License-Identifier: ISC */
/*
 * What Intel's e1000 (82540EM: "PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual") and e1000e (82574L datasheet) have in common: registers, legacy
 * receive descriptors, context and data transmit descriptors, rings of one queue. The
 * drivers themselves are e1000.c and e1000e.c.
 */
#ifndef NIC_DRIVERS_INTEL_H
#define NIC_DRIVERS_INTEL_H

#include "cells/nic/netdev.h"

enum intel_reg {
	R_CTRL = 0x0000,
	R_STATUS = 0x0008,
	R_EERD = 0x0014,
	R_CTRL_EXT = 0x0018,
	R_ICR = 0x00c0,
	R_ITR = 0x00c4,
	R_IMS = 0x00d0,
	R_IMC = 0x00d8,
	R_EIAC = 0x00dc, /* 82574 */
	R_IVAR = 0x00e4, /* 82574 */
	R_EITR = 0x00e8, /* 82574, 5 of them */
	R_RCTL = 0x0100,
	R_TCTL = 0x0400,
	R_TIPG = 0x0410,
	R_RDBAL = 0x2800,
	R_RDBAH = 0x2804,
	R_RDLEN = 0x2808,
	R_RDH = 0x2810,
	R_RDT = 0x2818,
	R_RDTR = 0x2820,
	R_RXDCTL = 0x2828,
	R_RADV = 0x282c,
	R_TDBAL = 0x3800,
	R_TDBAH = 0x3804,
	R_TDLEN = 0x3808,
	R_TDH = 0x3810,
	R_TDT = 0x3818,
	R_TIDV = 0x3820,
	R_TXDCTL = 0x3828,
	R_TADV = 0x382c,
	R_CRCERRS = 0x4000,
	R_RXERRC = 0x400c,
	R_MPC = 0x4010,
	R_RNBC = 0x40a0,
	R_RXCSUM = 0x5000,
	R_MTA = 0x5200, /* 128 words */
	R_RAL = 0x5400,
	R_RAH = 0x5404,
	R_VFTA = 0x5600, /* 128 words */
};
enum {
	CTRL_FD = 1u << 0,
	CTRL_ASDE = 1u << 5,
	CTRL_SLU = 1u << 6,
	CTRL_ILOS = 1u << 7,
	CTRL_RST = 1u << 26,
	CTRL_VME = 1u << 30,
	CTRL_PHY_RST = 1u << 31,
	STATUS_FD = 1u << 0,
	STATUS_LU = 1u << 1,
	RCTL_EN = 1u << 1,
	RCTL_UPE = 1u << 3,
	RCTL_MPE = 1u << 4,
	RCTL_LPE = 1u << 5,
	RCTL_LBM_MAC = 1u << 6,
	RCTL_BAM = 1u << 15,
	RCTL_SECRC = 1u << 26,
	TCTL_EN = 1u << 1,
	TCTL_PSP = 1u << 3,
	RXCSUM_TUOFL = 1u << 9,
	RXCSUM_IPOFL = 1u << 8,
	INT_TXDW = 1u << 0,
	INT_LSC = 1u << 2,
	INT_RXDMT0 = 1u << 4,
	INT_RXO = 1u << 6,
	INT_RXT0 = 1u << 7,
	INT_RXQ0 = 1u << 20, /* 82574 with MSI-X */
	INT_TXQ0 = 1u << 22,
	INT_OTHER = 1u << 24,
};

/* Receive descriptor, legacy format. */
struct intel_rxd {
	uint64_t addr;
	uint16_t len, csum;
	uint8_t status, errors;
	uint16_t special;
};
_Static_assert(sizeof(struct intel_rxd) == 16, "manual, receive descriptor format");
enum {
	RXD_DD = 1,
	RXD_EOP = 2,
	RXD_IXSM = 4,
	RXD_TCPCS = 0x20,
	RXD_ERR_FRAME = 0x97, /* CE, SE, SEQ, CXE, RXE: the frame is bad */
	RXD_ERR_TCPE = 0x20,
};

/* Transmit descriptor; as data: addr, command and type, status and options. */
struct intel_txd {
	uint64_t addr; /* context: the checksum fields */
	uint32_t cmd;
	uint32_t status; /* bit 0: done */
};
_Static_assert(sizeof(struct intel_txd) == 16, "manual, transmit descriptor format");
enum {
	TXD_DTYP_CONTEXT = 0u << 20,
	TXD_DTYP_DATA = 1u << 20,
	TXD_EOP = 1u << 24,
	TXD_IFCS = 1u << 25,
	TXD_TSE = 1u << 26,
	TXD_RS = 1u << 27,
	TXD_DEXT = 1u << 29,
	TXD_CTX_TCP = 1u << 24,
	TXD_CTX_IP4 = 1u << 25,
	TXD_DD = 1,
	TXD_POPTS_IXSM = 1u << 8,
	TXD_POPTS_TXSM = 2u << 8,
};

#define INTEL_RING    256u
#define INTEL_RX_BUF  2048u
#define INTEL_TX_MOST 8192u /* bytes of one data descriptor we use */
/* Descriptors of the worst frame: context, every piece, and the splits of 64 KiB. */
#define INTEL_TX_FRAME (2u + NET_TXFRAGS_MAX + NET_FRAME_MAX / INTEL_TX_MOST)
#define INTEL_RARS     15u

struct intel {
	struct intel_rxd *rxd;
	struct intel_txd *txd;
	uint64_t rxd_dma, txd_dma;
	uint8_t *bufs;
	uint64_t bufs_dma;
	struct net_txbuf *tx_owner[INTEL_RING]; /* of a frame's last descriptor */
	uint16_t rx_next, tx_next, tx_clean, tx_told, rx_told;
	uint32_t context[3];                 /* the one the device has */
	uint32_t ims;                        /* interrupts used */
	uint32_t ims_tx;                     /* ... if transmit completions are wanted */
	struct net_frag frag[NET_FRAGS_MAX]; /* a frame being put together */
	unsigned frags;
	bool skipping; /* the rest of a frame that was too long or bad */
};

/* Allocates rings, programs and starts them; filter, link and counters. The device has
 * been reset and its interrupts are off. */
int intel_start(struct netdev *nd, struct intel *x);
/* Resets the device: CTRL.RST, interrupts off. 0 or -1. */
int intel_reset(struct netdev *nd);
/* The address the device loaded from its EEPROM. */
int intel_read_mac(struct netdev *nd);
void intel_stop(struct netdev *nd, struct intel *x);

unsigned intel_tx_room(struct netdev *nd, unsigned q);
void intel_tx(struct netdev *nd, unsigned q, struct net_txbuf *b);
void intel_tx_flush(struct netdev *nd, unsigned q);
unsigned intel_tx_reap(struct netdev *nd, unsigned q);
unsigned intel_rx_poll(struct netdev *nd, unsigned q, unsigned budget);
bool intel_arm(struct netdev *nd, bool want_tx);
void intel_disarm(struct netdev *nd);
void intel_set_filter(struct netdev *nd);
void intel_tick(struct netdev *nd);
void intel_link(struct netdev *nd);

#endif
