/* SPDX-License-Identifier: ISC */
/*
 * The transport stack's outer face: one TCP/IP stack per instance, event-driven, with no
 * libc, no allocation after tp_init and no clock of its own. Hosted programs, tests, fuzzers
 * and the bare-metal cell differ only in who implements struct tp_ops.
 *
 * Threads: none. All calls on one instance come from one thread; ops are called from
 * inside tp_* calls and must not call back.
 */
#ifndef TRANSPORT_TP_H
#define TRANSPORT_TP_H

#include <d0/pvsock.h>
#include <stddef.h>
#include <stdint.h>

#define TP_MAX_IF  10              /* interface 0 is the loopback, devices are 1..9 */
#define TP_CLIENTS PVS_MAX_CLIENTS /* containers that may share one stack: a pod */

/* What comes with a frame, as in struct virtio_net_hdr. */
#define TP_META_NEEDS_CSUM 1u /* checksum from csum_start belongs at csum_start+csum_offset */
#define TP_META_CSUM_OK    2u /* rx: transport checksum was verified by the device */

#define TP_GSO_TCPV4 1u
#define TP_GSO_TCPV6 4u

struct tp_meta {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start; /* from the start of the frame (the Ethernet header) */
	uint16_t csum_offset;
};

/* Capabilities of a device. */
#define TP_CAP_CSUM 1u
#define TP_CAP_TSO4 2u
#define TP_CAP_TSO6 4u

struct tp_ops {
	/*
	 * A frame buffer of at least len bytes (<= 65,549) on interface ifi, or NULL when
	 * the device's queue is full; call tp_tx_ready() when it drains. Each tx_get that
	 * succeeded is followed by one tx_put (len 0 drops it).
	 */
	void *(*tx_get)(void *ctx, unsigned ifi, uint32_t len);
	void (*tx_put)(void *ctx, unsigned ifi, void *frame, uint32_t len,
		       const struct tp_meta *meta);
	uint64_t (*now)(void *ctx); /* monotonic nanoseconds */
	void (*random)(void *ctx, void *buf, uint32_t len);
	void (*notify)(void *ctx, unsigned client); /* ring that client's channel */
	void (*log)(void *ctx, const char *line);
};

#define TP_CC_CUBIC 0
#define TP_CC_RENO  1

/* Sizes and policy, fixed at tp_init. Zero means the default. */
struct tp_config {
	uint32_t max_socks;   /* default 256, at most 65,536 */
	uint32_t seg_records; /* scoreboard records, default 8 * max_socks up to 8,192 */
	uint32_t
	    early_bufs; /* buffers for data that comes before ACCEPT, default max_socks / 8 */
	uint32_t early_order;  /* log2 of their size, default 11 */
	uint32_t frag_slots;   /* datagrams in reassembly, default 2 */
	uint32_t loop_size;    /* loopback queue in bytes, a power of two, default 131,072 */
	uint32_t cc;           /* TP_CC_*: default of new sockets */
	uint32_t initcwnd;     /* segments, default 10 */
	uint32_t time_wait_ms; /* default 60,000 */
	uint32_t syn_backlog;  /* half-open connections before cookies, default max_socks / 4 */
	uint8_t ecn;           /* 0: when the peer asks (default), 1: ask too, 2: never */
	uint8_t wscale;        /* of windows we offer, default 7: rings may grow to 8 MiB */
	uint8_t always_cookies;
	uint8_t no_ipv6;
	uint8_t no_rst;     /* do not answer strangers (scripts under packetdrill) */
	uint8_t no_control; /* the client may not change addresses, routes, links */
	uint8_t ipv6_no_dad;
	uint16_t eph_lo, eph_hi; /* ports for sockets without one, default 32,768 to 60,999 */
};

struct tp_if_config {
	uint8_t mac[6];
	uint16_t mtu; /* 0: 1500 */
	uint32_t caps;
	char name[16];
	uint8_t dhcp;  /* run the DHCPv4 client */
	uint8_t slaac; /* solicit routers, accept advertisements */
	/* Link-local IPv4 neighbours have this interface's own MAC (nic's modes ipvlan, share).
	 */
	uint8_t same_mac;
	uint8_t no_carrier; /* not attached yet: addresses and routes count, nothing is sent */
	uint8_t hidden;     /* the application doesn't see it: for tp_share */
};

struct tp_stack;

/* Bytes of arena and of state area that a configuration needs. */
size_t tp_arena_size(const struct tp_config *cfg);
size_t tp_state_size(const struct tp_config *cfg);

/*
 * Builds an instance in `arena` (zeroed, 64-byte aligned). `state` outlives instances:
 * when it holds the state of an earlier one with the same configuration it is validated
 * and adopted, else it is initialised. The rings of adopted sockets lie in the client's
 * region: tp_attach_client() must come before the first tp_poll(). NULL: arena too small or
 * bad configuration.
 */
struct tp_stack *tp_init(void *arena, size_t arena_size, void *state, size_t state_size,
			 const struct tp_config *cfg, const struct tp_ops *ops, void *ctx);

/* Adds device `ifi` (1..TP_MAX_IF-1), up at once. 0 or -errno. Adopted: keeps addresses. */
int tp_if_add(struct tp_stack *st, unsigned ifi, const struct tp_if_config *cfg);
void tp_if_link(struct tp_stack *st, unsigned ifi, int up); /* cable pulled / back */

/* Configuration; addresses as 16 bytes, IPv4 as ::ffff:a.b.c.d. 0 or -errno. */
int tp_addr_add(struct tp_stack *st, unsigned ifi, const uint8_t addr[16], unsigned plen);
int tp_route_add(struct tp_stack *st, unsigned ifi, const uint8_t dst[16], unsigned plen,
		 const uint8_t gw[16]);
int tp_publish(struct tp_stack *st, uint8_t proto, const uint8_t host[16], uint16_t host_port,
	       uint16_t port); /* ports in host order */

/*
 * A slice of a host's address on hidden device ifi, one for each family: everything not on
 * another device is reached through gw (unspecified: only the prefix) from `addr`, with ports
 * lo..hi and the published ones. serves: only answers to what came to published ports leave.
 */
int tp_share(struct tp_stack *st, unsigned ifi, const uint8_t addr[16], unsigned plen,
	     const uint8_t gw[16], uint16_t lo, uint16_t hi, int serves);
/* A published port of the shared addresses of those families (TP_V*), whatever they are. */
#define TP_V4 1u
#define TP_V6 2u
int tp_publish_shared(struct tp_stack *st, uint8_t proto, unsigned families, uint16_t host_port,
		      uint16_t port);
/* On the hidden device, an address of our own from which `server` alone is reached. */
int tp_service(struct tp_stack *st, unsigned ifi, const uint8_t addr[16],
	       const uint8_t server[16]);
/* Device ifi is gone for good: its addresses, routes and neighbours with it. */
void tp_if_remove(struct tp_stack *st, unsigned ifi);

/* "a.b.c.d" or IPv6 text to 16 bytes; returns 0 or -EINVAL. */
int tp_parse_addr(const char *s, uint8_t out[16]);

/*
 * The shared region (include/d0/pvsock.h) of client `client` (0..TP_CLIENTS-1; the same number
 * in every instance, or its connections can't be adopted). The size is what is mapped. The
 * layout is read when the client has stored its magic. All clients of an earlier instance must
 * be attached before the first frame or tp_poll(): sockets of one that isn't are reset then.
 */
void tp_attach_client(struct tp_stack *st, unsigned client, void *region, uint32_t size);
/* The region is gone: the client's sockets are reset, the others' not touched. */
void tp_detach_client(struct tp_stack *st, unsigned client);

/* A frame from device ifi, in private memory. The content may be changed. */
void tp_input(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t len,
	      const struct tp_meta *meta);

/*
 * The same for a frame of which only the first `head` bytes are in private memory, at `frame`,
 * where there is room for all `len`. The others lie in `part`, perhaps in memory that changes
 * meanwhile: the payload of a TCP segment whose sum is known to be good is read once, into its
 * socket's ring; for all else the parts are copied behind the head first.
 */
struct tp_part {
	const uint8_t *data;
	uint32_t len;
};
void tp_input_parts(struct tp_stack *st, unsigned ifi, uint8_t *frame, uint32_t head,
		    const struct tp_part *part, unsigned parts, uint32_t len,
		    const struct tp_meta *meta);
void tp_tx_ready(struct tp_stack *st, unsigned ifi);

/*
 * Serves the client's rings, the loopback, due timers; sends what became sendable;
 * publishes. Call after a batch of tp_input, after a doorbell, and at the deadline.
 * Returns the next deadline in nanoseconds (UINT64_MAX: none), 0: more to do now.
 */
uint64_t tp_poll(struct tp_stack *st);

/*
 * tp_idle_begin: announces sleep to the client; 0 if there is work after all (poll
 * again), 1: wait for doorbell, frame or deadline, then tp_idle_end().
 */
int tp_idle_begin(struct tp_stack *st);
void tp_idle_end(struct tp_stack *st);

uint64_t tp_stat(const struct tp_stack *st, const char *name); /* e.g. "Tcp.RetransSegs" */
uint32_t tp_sock_count(const struct tp_stack *st);
uint32_t tp_adopted(const struct tp_stack *st); /* connections taken over at tp_init */

#endif
