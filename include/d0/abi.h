/* SPDX-License-Identifier: ISC */
/*
 * The cell ABI: what a cell finds when it starts and what it can ask of the nucleus.
 *
 * A cell is a virtual machine. It starts in 64-bit mode, ring 0, paging on, interrupts
 * off, at its image's entry point with
 *
 *	RDI = virtual address of its info page (struct d0_info)
 *	RSI = vCPU number (0 for the first; others are started by d0_hc_vcpu_start)
 *	RSP = top of its stack, 16-byte aligned; there is no return address
 *
 * Addresses. Every region has a guest-physical base address, random at each start. The
 * nucleus gives the cell page tables that map guest-physical address P at virtual
 * address P + info->va_offset; va_offset is 0 for native cells. Images with the
 * D0_CELL_HIGH flag (guest kernels) are linked and run at D0_HIGH_OFFSET + P, with
 * P mapped at P too until they load page tables of their own. Those first tables permit
 * everything; what a page really permits is decided by the second-level tables, which
 * the cell can neither see nor change. All addresses in this file are guest-physical
 * unless a comment says virtual.
 *
 * Everything the nucleus tells a cell is in read-only pages; everything it takes from a
 * cell is copied once and validated.
 */
#ifndef D0_ABI_H
#define D0_ABI_H

#define D0_ABI_MAGIC   0x314c4c4543304400ull /* "\0D0CELL1" */
#define D0_ABI_VERSION 1
#define D0_PAGE_SIZE   4096ull
#define D0_HIGH_OFFSET 0xffff800000000000ull
#define D0_GPA_LIMIT   (1ull << 38) /* no region lies above */

#define D0_NAME_MAX     32   /* bytes of a name, the final NUL included */
#define D0_CHANNELS_MAX 1280 /* channels of one cell */
#define D0_REGIONS_MAX  24
#define D0_DEVICES_MAX  8
#define D0_VCPUS_MAX    8
#define D0_NEVER        (~0ull) /* a deadline that never comes */

/*
 * Hypercalls. X(number, name, arguments, what it does). The instruction is VMMCALL, or
 * VMCALL when info->flags has D0_INFO_VMX. RAX = number; arguments in RDI, RSI, RDX, R10;
 * result in RAX (a D0_E value if negative), a second result in RDX. All other registers
 * are kept. docs/hypercalls.md is made from this table.
 */
#define D0_HYPERCALLS(X)                                                                     \
	X(0, wait, "deadline_ns",                                                            \
	  "sleep until an event is pending for this vCPU or the clock reaches the deadline") \
	X(1, notify, "channel, also, flags",                                                 \
	  "set the channel's event at its peer and wake it; also: another channel + 1, "     \
	  "or 0; flags: D0_NOTIFY_YIELD")                                                    \
	X(2, log, "address, length", "write a line of text to the console and the journal")  \
	X(3, exit, "code, address, length",                                                  \
	  "end this cell: code 0 for an orderly end, a reason as text")                      \
	X(4, random, "", "64 bits from the nucleus's generator in RDX")                      \
	X(5, verify, "answer",                                                               \
	  "answer the last challenge, take the next: RAX = first page << 16 | pages "        \
	  "(0 pages: nothing due), RDX = nonce")                                             \
	X(6, control, "address, length", "a request of the control protocol (d0/control.h)") \
	X(7, vcpu_start, "vcpu, entry, stack, argument",                                     \
	  "start another vCPU of this cell (virtual addresses; RDI = argument)")             \
	X(8, ipi, "vcpu mask", "set D0_EV_IPI at those vCPUs of this cell and wake them")    \
	X(9, timer, "deadline_ns", "set D0_EV_TIMER at this vCPU then; D0_NEVER disarms")    \
	X(10, upcall, "vector",                                                              \
	  "inject this interrupt vector (32-255) when an event becomes pending; 0: none")    \
	X(11, discard, "address, length",                                                    \
	  "give whole pages of a user region back; they read "                               \
	  "as zeros when touched again")                                                     \
	X(12, irq_done, "channel", "let a level-triggered interrupt fire again")             \
	X(13, console_read, "address, length",                                               \
	  "bytes typed on the console (needs D0_CAP_CONSOLE); RAX = how many")               \
	X(14, fault_report, "address, length",                                               \
	  "a cell's own words on a failure it survived; goes to the journal")                \
	X(15, notify_wait, "channel, deadline_ns, also", "notify, then wait: one exit for both")

/* Who was woken may have this CPU at once, if it is no less urgent; the caller goes on later. */
#define D0_NOTIFY_YIELD 1ull

enum d0_hypercall {
#define D0_HC_ENUM(number, name, args, text) D0_HC_##name = number,
	D0_HYPERCALLS(D0_HC_ENUM)
#undef D0_HC_ENUM
	D0_HC_COUNT
};

/* Errors: negative results of hypercalls and status fields. X(number, name, text) */
#define D0_ERRORS(X)                                                        \
	X(1, PERM, "not permitted to this cell")                            \
	X(2, NOENT, "no such thing")                                        \
	X(3, INVAL, "argument out of range")                                \
	X(4, FAULT, "address not in a region of this cell that permits it") \
	X(5, NOMEM, "out of memory")                                        \
	X(6, BUSY, "in use")                                                \
	X(7, NOSYS, "no such hypercall or request")                         \
	X(8, LIMIT, "a table is full")                                      \
	X(9, STATE, "not in this state")                                    \
	X(10, EXIST, "already there")                                       \
	X(11, BADIMAGE, "image damaged or not in the manifest")

enum d0_error {
	D0_OK = 0,
#define D0_ERR_ENUM(number, name, text) D0_E##name = -(number),
	D0_ERRORS(D0_ERR_ENUM)
#undef D0_ERR_ENUM
};

#ifndef __ASSEMBLY__
#include <stdint.h>

/* Region types: docs/nucleus.md. */
enum d0_region_type {
	D0_REGION_NONE,
	D0_REGION_TEXT,   /* R-X, shared by cells of one image, verified */
	D0_REGION_RODATA, /* R--, shared likewise, verified */
	D0_REGION_RELRO,  /* R--, relocated for this start of the cell, verified */
	D0_REGION_DATA,   /* RW- */
	D0_REGION_STACK,  /* RW-, one per vCPU, guard pages on both sides */
	D0_REGION_HEAP,   /* RW- */
	D0_REGION_STATE,  /* RW-, outlives a restart of the cell */
	D0_REGION_RING,   /* RW-, shared by the two ends of a channel */
	D0_REGION_DEVICE, /* MMIO */
	D0_REGION_MIRROR, /* R--, verified pages of the successor in the ring */
	D0_REGION_INFO,   /* R--, struct d0_info and its tables; struct d0_clock */
	D0_REGION_EVENTS, /* RW-, struct d0_events of each vCPU; struct d0_counters */
	D0_REGION_TABLES, /* RW-, the first page tables */
	D0_REGION_USER,   /* RWX, memory of a guest kernel, filled when touched */
	D0_REGION_TYPES
};

enum d0_perm {
	D0_R = 1,
	D0_W = 2,
	D0_X = 4
};

struct d0_region {
	uint64_t base; /* guest-physical, page-aligned */
	uint64_t size; /* bytes, whole pages */
	uint32_t type; /* enum d0_region_type */
	uint32_t perms;
	/*
	 * The address by which a device granted to this cell reaches the region's first
	 * byte, the rest following contiguously; D0_NEVER if it is not reachable. Equal to
	 * base behind an IOMMU.
	 */
	uint64_t dma_base;
	char name[D0_NAME_MAX];
};
_Static_assert(sizeof(struct d0_region) == 64, "region entry");

enum d0_channel_state {
	D0_CHANNEL_FREE,
	D0_CHANNEL_OPEN,
	D0_CHANNEL_CLOSED, /* the peer is gone; the ring stays mapped till the slot is reused */
};

/* What flows over a channel; each has a header in include/d0/. */
enum d0_protocol {
	D0_PROTO_NONE,
	D0_PROTO_NET,     /* virtio-net, d0/vnet.h: server = nic */
	D0_PROTO_FS,      /* virtio-fs (FUSE), d0/vfs.h: server = store */
	D0_PROTO_SOCKET,  /* PV sockets, d0/pvsock.h: server = transport */
	D0_PROTO_CONSOLE, /* byte stream pair, d0/stream.h: server = the reader of the logs */
	D0_PROTO_STREAM,  /* byte stream pair, d0/stream.h: anything else */
	D0_PROTO_ADMIN,   /* the store's admin requests over a stream pair */
	D0_PROTO_VIRTQ,   /* one bare virtqueue, both samples of libcell use it */
	D0_PROTO_IRQ,     /* not a peer but an interrupt of a granted device */
};

enum d0_role {
	D0_ROLE_SERVER,
	D0_ROLE_CLIENT
};

/*
 * One channel as its cell sees it; the number of a channel is its index in the table. A
 * channel opened while the cell runs appears with D0_EV_CONFIG; `generation` changes
 * whenever a slot is reused. `args` was set by the controlling cell and can be trusted:
 * a server takes from it what this client may reach ("pfs=...", "ip=...").
 */
struct d0_channel {
	uint32_t state; /* enum d0_channel_state */
	uint32_t protocol;
	uint32_t role;
	uint32_t peer_cell; /* its number; for D0_PROTO_IRQ the device index */
	uint64_t ring_base; /* guest-physical; 0 if the channel has no ring */
	uint64_t ring_size;
	uint64_t ring_dma; /* as d0_region.dma_base */
	uint32_t generation;
	uint32_t vcpu; /* the vCPU that takes its events */
	char label[D0_NAME_MAX];
	char args[176];
};
_Static_assert(sizeof(struct d0_channel) == 256, "channel entry");

struct d0_bar {
	uint64_t base; /* guest-physical of the mapped BAR, 0 if absent */
	uint64_t size;
	uint32_t flags; /* D0_BAR_* */
	uint32_t port;  /* first I/O port if D0_BAR_IO */
};
enum {
	D0_BAR_IO = 1,
	D0_BAR_64 = 2,
	D0_BAR_PREFETCH = 4
};

/* A device granted to this cell. */
struct d0_device {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class_rev; /* class, subclass, prog-if, revision, as in config space */
	uint32_t address;   /* PCI segment << 16 | bus << 8 | devfn; ~0: not PCI */
	uint64_t config;    /* its configuration space, mapped read-only; 0 if none */
	uint32_t irq_first; /* channel number of its first interrupt (vector/MSI-X entry 0) */
	uint32_t irq_count; /* how many; entry i fires channel irq_first + i */
	uint32_t irq_kind;  /* enum d0_irq_kind */
	uint32_t flags;     /* D0_DEV_* */
	struct d0_bar bar[6];
	uint8_t pad[72];
};
_Static_assert(sizeof(struct d0_device) == 256, "device entry");
enum d0_irq_kind {
	D0_IRQ_NONE,
	D0_IRQ_INTX,
	D0_IRQ_MSI,
	D0_IRQ_MSIX
};
enum {
	D0_DEV_IOMMU = 1
};

/* The info page. Tables follow in the same region at the given offsets from the page. */
struct d0_info {
	uint64_t magic;
	uint32_t version;
	uint32_t flags; /* D0_INFO_* */
	uint32_t cell;  /* this cell's number */
	uint32_t caps;  /* D0_CAP_* */
	uint64_t va_offset;
	uint64_t image_base;  /* guest-physical of the image's first page */
	uint64_t start_count; /* 1 at the first start, more after restarts */
	uint32_t vcpus;
	uint32_t regions, region_off;
	uint32_t channels, channel_off; /* table size: free slots count too */
	uint32_t devices, device_off;
	uint32_t config_seq; /* changes with every change of a table */
	uint64_t clock;      /* struct d0_clock */
	uint64_t events;     /* struct d0_events[vcpus] */
	uint64_t counters;   /* struct d0_counters */
	uint8_t seed[32];    /* from the nucleus's generator, new at every start */
	char name[D0_NAME_MAX];
	char image[D0_NAME_MAX];
	char args[1024]; /* NUL-terminated */
};
enum {
	D0_INFO_VMX = 1,      /* hypercalls by VMCALL */
	D0_INFO_NO_IOMMU = 2, /* devices are not confined */
	D0_INFO_RESTART = 4,  /* state regions hold what the previous start left */
};
_Static_assert(sizeof(struct d0_info) <= 2048, "info header");

/* Capabilities. */
enum {
	D0_CAP_INSPECT = 1, /* read-only requests of the control protocol */
	D0_CAP_CONTROL = 2, /* all of them; one cell only */
	D0_CAP_POWER = 4,   /* power off and reboot */
	D0_CAP_CONSOLE = 8, /* console input */
	D0_CAP_HEAL = 16,   /* healing decisions (the warden) */
};

/*
 * Time: ns = ((tsc - tsc_base) * mult >> shift) with a 128-bit product, counted from
 * kernel entry. Read seq before and after; odd or changed: read again. wall_ns is the
 * Unix time at ns 0.
 */
struct d0_clock {
	uint32_t seq;
	uint32_t shift;
	uint64_t mult;
	uint64_t tsc_base;
	uint64_t tsc_hz;
	int64_t wall_ns;
};

/*
 * Events of one vCPU. The nucleus sets a channel's bit, then its word's bit in `words`. The
 * cell clears the bit in `words` first, then takes the word, both atomically: a word can turn
 * out empty, no event gets lost. d0_hc_wait returns at once while any of `words` or `flags` is
 * set.
 */
struct d0_events {
	uint64_t channel[D0_CHANNELS_MAX / 64];
	uint64_t words; /* bit i: look at channel[i] */
	uint64_t flags; /* D0_EV_* */
	uint64_t pad[2];
};
_Static_assert(sizeof(struct d0_events) == 192, "events of a vCPU");
_Static_assert(D0_CHANNELS_MAX % 64 == 0 && D0_CHANNELS_MAX / 64 <= 64, "words of events");
enum {
	D0_EV_TIMER = 1,          /* d0_hc_timer's deadline passed */
	D0_EV_IPI = 2,            /* d0_hc_ipi from another vCPU */
	D0_EV_CONFIG = 4,         /* info->config_seq changed */
	D0_EV_CONSOLE = 8,        /* console input is waiting */
	D0_EV_CELLS = 16,         /* a cell changed state (cells with D0_CAP_INSPECT) */
	D0_EV_STOP = 32,          /* please end: d0_hc_exit soon, or be stopped */
	D0_EV_CONFIG_VERIFY = 64, /* a verification round began */
};

/* Counters a cell exports; the nucleus and cells with D0_CAP_INSPECT read them. */
#define D0_COUNTERS_MAX 64
struct d0_counters {
	uint32_t count;
	uint32_t pad;
	struct {
		char name[24];
		uint64_t value;
	} counter[D0_COUNTERS_MAX];
};
_Static_assert(sizeof(struct d0_events) * D0_VCPUS_MAX + sizeof(struct d0_counters) <= 4096,
	       "counters share the events page");

#endif /* __ASSEMBLY__ */
#endif /* D0_ABI_H */
