/* SPDX-License-Identifier: ISC */
/*
 * PV sockets: the protocol between a client cell (a linux cell, a native cell) and the
 * transport cell that holds its TCP/IP stack.
 *
 * Modelled on Xen's PV Calls (docs/misc/pvcalls.pandoc): commands travel in a ring, data
 * in byte rings whose indexes live in shared memory, the client names its sockets. Added
 * here: datagrams with boundaries, IPv6, raw and packet sockets, socket options,
 * shutdown, urgent data, level and edge readiness, lists for netlink, and one single
 * channel for the whole connection instead of one per socket. docs/pvsock.md is the
 * specification in prose, with sequence charts; this file fixes every bit.
 *
 * Conventions
 *  - The region is shared by exactly two cells. All offsets are from its start, in bytes.
 *    Integers are little-endian; ports and addresses are in network order, as in
 *    struct sockaddr_in. Families, types, levels, option names and errors are Linux's
 *    x86-64 numbers. Times are nanoseconds unless a name says otherwise.
 *  - Each cache line has one writer. A reader copies a field once, checks it, then uses
 *    the copy. A peer that breaks a rule loses this connection (the server answers
 *    -EPROTO, or shuts the slot down with EPROTO), nothing else.
 *  - Ring indexes are free-running 32-bit counters; used = prod - cons (mod 2^32); the
 *    place of index i is i & (size - 1). Publish data with a release store of the index,
 *    read the index with an acquire load.
 */
#ifndef D0_PVSOCK_H
#define D0_PVSOCK_H

#include <stdint.h>

#define PVS_MAGIC        0x4b434f5356503044ull /* "D0PVSOCK" */
#define PVS_VERSION      1
#define PVS_PAGE         4096u
#define PVS_MAX_SLOTS    65536u
#define PVS_MIN_ORDER    9u  /* smallest data ring: 512 bytes */
#define PVS_MAX_ORDER    24u /* largest: 16 MiB */
#define PVS_MAX_REQS     1024u
#define PVS_ALIGN        64u /* of every offset in this protocol */
#define PVS_MAX_CLIENTS  8u  /* of one stack, each with a region: labels sockets0 to sockets7 */
#define PVS_NO_SLOT      0xffffffffu
#define PVS_BITMAP_WORDS (PVS_MAX_SLOTS / 64)
#define PVS_SUM_WORDS    (PVS_BITMAP_WORDS / 64)

/*
 * The header page, at offset 0. The client lays the region out (it owns the allocator),
 * fills in its half and stores `magic` last, with release. The server copies and checks
 * the layout once per `client_gen`, then stores server_magic and echoes the generation in
 * `server_client_gen`: from then on commands are served. A restarted client raises
 * client_gen (any new non-zero value) before it stores magic again: the server releases every
 * slot of the old generation. A restarted server changes server_gen; sockets that it could
 * adopt go on without any action by the client, the others are shown as reset
 * (PVS_ST_CLOSED, error ECONNRESET; commands on them answer -EBADF or act on a closed socket).
 *
 * A request happens and is answered once, however often the server restarts meanwhile: one
 * that was taken and not answered is undone and taken again. So the client leaves a request
 * in its ring until req_cons has passed it, does not ask again, and just goes on waiting. The
 * one exception is a RELEASE whose answer was put off: if the server lost the socket (its state
 * was damaged, or is gone) it lost that it owes an answer. After server_gen changed the client
 * may send RELEASE once more for slots it still waits for: -EALREADY if an answer will come,
 * any other answer gives the slot back.
 */
struct pvs_header {
	/* Written by the client. */
	uint64_t magic;
	uint32_t version;
	uint32_t client_gen;
	uint32_t size;      /* of the region in bytes, at most what is mapped */
	uint32_t nreq;      /* requests and responses per ring, power of two <= 1024 */
	uint32_t req_off;   /* struct pvs_req[nreq] */
	uint32_t rsp_off;   /* struct pvs_rsp[nreq] */
	uint32_t nslots;    /* multiple of 64, <= PVS_MAX_SLOTS */
	uint32_t slot_off;  /* struct pvs_slot[nslots] */
	uint32_t kick_off;  /* struct pvs_bitmap, client to server */
	uint32_t event_off; /* struct pvs_bitmap, server to client */
	uint32_t heap_off;  /* data rings and buffers lie in [heap_off, size) */
	uint32_t reserved0[3];

	uint32_t req_prod; /* at 64, client's line */
	uint32_t rsp_cons;
	uint32_t reserved1[14];

	/* Written by the server, from 128. */
	uint64_t server_magic; /* PVS_MAGIC once the layout is accepted */
	uint32_t server_version;
	uint32_t server_gen;        /* another value for each instance, never 0 */
	uint32_t server_client_gen; /* the generation that was accepted */
	int32_t server_error;       /* 0, or why the layout was refused: -EINVAL, -EPROTO */
	uint32_t features;          /* PVS_FEAT_* */
	uint32_t link_gen;          /* raised when links, addresses or routes change */
	uint32_t reserved2[8];

	uint32_t req_cons; /* at 192, server's line */
	uint32_t rsp_prod;
	uint32_t reserved3[14];

	/*
	 * Sleep words, at 256 and 320: see "Notification". 1 means that the side named is
	 * asleep or about to be. Written by both: exchanged to 0 by the one who wakes it.
	 */
	uint32_t server_idle;
	uint32_t reserved4[15];
	uint32_t client_idle;
	uint32_t reserved5[15];
	uint8_t reserved6[PVS_PAGE - 384];
};

#define PVS_FEAT_IPV6    0x01u
#define PVS_FEAT_RAW     0x02u
#define PVS_FEAT_PACKET  0x04u
#define PVS_FEAT_UDP_GSO 0x08u

/*
 * Dirty slots. To mark slot i: atomic OR of bit i%64 into word[i/64]; if it was clear,
 * atomic OR of bit (i/64)%64 into sum[i/64/64]. To collect: exchange sum words with 0,
 * then the words they name with 0. A mark is a hint to look at the slot again, nothing more:
 * spurious marks are allowed, none is lost.
 *
 * Client to server (`kick`): "tx_prod, rx_cons, tx_urg or tx_flags of this slot moved".
 *   rx_cons need only be kicked when the slot has PVS_ST_RX_FULL set in `state`; several
 *   advances may be followed by one kick.
 * Server to client (`event`): "an event named in `want` happened on this slot".
 */
struct pvs_bitmap {
	uint64_t sum[PVS_SUM_WORDS];
	uint64_t word[]; /* nslots / 64 of them */
};

/*
 * Notification. After publishing (a request, a kick; a response, an event): full fence,
 * then if the other side's idle word is not 0, exchange it with 0, and if the exchange
 * gave 1, notify the channel. To sleep: store 1 in one's own idle word, full fence, look
 * at everything the peer could have published, and only if there is nothing, wait;
 * then store 0. A busy pair never notifies.
 */

/* Readiness bits, Linux's poll(2) numbers: in `want` and in POLL's answer. */
#define PVS_EV_IN    0x0001u
#define PVS_EV_PRI   0x0002u
#define PVS_EV_OUT   0x0004u
#define PVS_EV_ERR   0x0008u /* always wanted */
#define PVS_EV_HUP   0x0010u /* always wanted */
#define PVS_EV_RDHUP 0x2000u

/* Level state of a slot, written by the server. */
#define PVS_ST_CONNECTING 0x0001u
#define PVS_ST_CONNECTED  0x0002u /* stream established (stays set until both sides closed) */
#define PVS_ST_LISTENING  0x0004u
#define PVS_ST_RX_EOF     0x0008u /* the peer's FIN was received: EOF once the ring is empty */
#define PVS_ST_TX_CLOSED  0x0010u /* nothing more can be sent: EPIPE */
#define PVS_ST_CLOSED     0x0020u /* connection gone (closed, reset, timed out): HUP */
#define PVS_ST_RX_FULL    0x0040u /* server waits for the client to read: kick then */
#define PVS_ST_TX_BLOCKED 0x0080u /* peer's window is closed (information only) */

/* Bits of tx_flags, written by the client. */
#define PVS_TX_URG  0x0001u /* tx_urg is valid: one past the last urgent byte (MSG_OOB) */
#define PVS_TX_MORE 0x0002u /* more data follows at once (MSG_MORE): hold a partial segment */

/*
 * A socket's slot. Its number is the socket's id. Poll state, for a stream:
 *   IN    = rx_prod - rx_cons >= rcvlowat, or RX_EOF, or CLOSED; listening: acceptq > 0
 *   OUT   = free bytes of the tx ring >= max(1, a third of it), or TX_CLOSED, or CLOSED
 *   PRI   = rx_urg_count moved;  RDHUP = RX_EOF;  HUP = CLOSED (or EOF and TX_CLOSED)
 *   ERR   = err_count moved
 * The client computes these itself from the slot; an event only says when to look again.
 * Edge-triggered users count each event mark as an edge. Setting `want` must be followed by
 * a full fence and a look at the slot (the server publishes, fences, then reads `want`).
 */
struct pvs_slot {
	/* Client's line. */
	uint32_t tx_prod;
	uint32_t rx_cons;
	uint32_t want; /* PVS_EV_*; 0: no events but ERR and HUP */
	uint32_t tx_flags;
	uint32_t tx_urg;
	uint32_t reserved0[11];
	/* Server's line, at 64. */
	uint32_t tx_cons; /* bytes before it are acknowledged (stream) or taken (records) */
	uint32_t rx_prod;
	uint32_t state;        /* PVS_ST_* */
	uint32_t error;        /* the latest asynchronous error, a positive errno */
	uint32_t err_count;    /* raised with each: SO_ERROR is pending while it differs */
	uint32_t rx_urg;       /* index one past the urgent byte, in rx ring terms */
	uint32_t rx_urg_count; /* raised with each new urgent pointer */
	uint32_t acceptq;      /* connections that ACCEPT would return */
	uint32_t tx_sent;      /* stream: index up to which data was sent once (SIOCOUTQNSD) */
	uint32_t rx_drops;     /* datagrams dropped because the ring was full */
	uint32_t gen;          /* raised when the socket is created; lets late events be told */
	uint32_t reserved1[5];
};

/*
 * An address. family AF_INET: addr[0..3]; AF_INET6: addr[0..15], ifindex is the scope
 * id. AF_PACKET: port is the EtherType (network order), addr[0..5] the hardware address,
 * addr[8] its length, addr[9] the packet type (PACKET_*), addr[10] the ARPHRD type.
 * AF_UNSPEC in CONNECT dissolves a datagram association.
 */
struct pvs_addr {
	uint16_t family;
	uint16_t port;
	uint32_t ifindex;
	uint8_t addr[16];
};

#define PVS_AF_UNSPEC 0
#define PVS_AF_INET   2
#define PVS_AF_INET6  10
#define PVS_AF_PACKET 17

#define PVS_SOCK_STREAM 1
#define PVS_SOCK_DGRAM  2
#define PVS_SOCK_RAW    3

/*
 * The data rings of a socket: byte ranges of the heap that the client allocated. Order 0 means
 * "no ring". The server only reads [cons, prod) of tx and writes free space of rx; for a
 * stream it may also write ahead of rx_prod (data received out of order). Both rings stay the
 * server's until the response to RELEASE (or to RINGS, for the rings replaced).
 */
struct pvs_rings {
	uint32_t tx_off;
	uint32_t rx_off;
	uint8_t tx_order; /* log2 of the size, PVS_MIN_ORDER..PVS_MAX_ORDER, or 0 */
	uint8_t rx_order;
	uint8_t reserved[6];
};

/*
 * Datagram, raw and packet sockets put records in their rings: this header, then len
 * bytes, then padding to the next multiple of 8. A record may wrap at any byte. A record
 * is published whole. On tx, fields whose PVS_DG_* bit is not set are ignored. On rx all
 * are valid. Errors of a send come back as the slot's error (EMSGSIZE, ENETUNREACH,
 * EHOSTUNREACH, EINVAL, ECONNREFUSED).
 */
struct pvs_dgram {
	uint32_t len;
	uint32_t flags;       /* PVS_DG_* */
	struct pvs_addr peer; /* rx: source; tx: destination */
	uint8_t local[16];    /* rx: destination address; tx: source address (pktinfo) */
	uint32_t ifindex;     /* rx: interface; tx: with PVS_DG_IF */
	uint8_t ttl;          /* or hop limit */
	uint8_t tos;          /* or traffic class */
	uint16_t gso_size; /* tx: cut the payload into datagrams of this size (UDP_SEGMENT) */
	uint64_t time;     /* rx: monotonic time of reception */
};

#define PVS_DG_ADDR  0x01u /* peer is set (else the connected peer) */
#define PVS_DG_LOCAL 0x02u
#define PVS_DG_IF    0x04u
#define PVS_DG_TTL   0x08u
#define PVS_DG_TOS   0x10u
#define PVS_DG_TRUNC 0x20u /* rx: the datagram was longer than the ring could hold */
/*
 * rx, with IP_RECVERR: not a datagram but an error that one met. peer: where it was sent;
 * local: who says so (zero: this stack itself); ttl: the errno; gso_size: the MTU, with
 * EMSGSIZE; flags have type and code of the ICMP message; the payload is what that quotes of
 * the datagram. The slot's error is raised too. Such records stand in the order of arrival: a
 * client that reads one kind before the other marks in the ring (its own memory until rx_cons
 * passes) what it has taken.
 */
#define PVS_DG_ERROR 0x40u
#define PVS_DG_TAKEN 0x80u /* never set by the server */
#define PVS_DG_ICMP(type, code) \
	((uint32_t)(type) << 24 | (uint32_t)(code) << 16) /* with DG_ERROR */

/*
 * Commands. X(number, NAME, body). Every request gets one response with its id; those of
 * one socket are answered in order except RELEASE. ret is 0 or more, or -errno. -EBADF: no
 * such socket; -EPROTO: a malformed request.
 */
#define PVS_COMMANDS(X)            \
	X(0, NOP, none)            \
	X(1, SOCKET, socket)       \
	X(2, CONNECT, addr)        \
	X(3, RELEASE, release)     \
	X(4, BIND, addr)           \
	X(5, LISTEN, listen)       \
	X(6, ACCEPT, accept)       \
	X(7, POLL, none)           \
	X(8, SHUTDOWN, shutdown)   \
	X(9, SETSOCKOPT, sockopt)  \
	X(10, GETSOCKOPT, sockopt) \
	X(11, GETSOCKNAME, none)   \
	X(12, GETPEERNAME, none)   \
	X(13, RINGS, rings)        \
	X(14, LIST, list)          \
	X(15, CONTROL, list)

#define PVS_ENUM(n, name, body) PVS_CMD_##name = n,
enum pvs_command {
	PVS_COMMANDS(PVS_ENUM) PVS_CMD_COUNT
};
#undef PVS_ENUM

/*
 * SOCKET      creates socket `sock` (a free slot, its indexes set to 0 by the client).
 *             Rings are optional for a stream (needed before CONNECT; see RINGS), required
 *             for the rest. -EAFNOSUPPORT -EPROTONOSUPPORT -ENFILE -EEXIST -EINVAL -EACCES
 * CONNECT     stream: answers -EINPROGRESS at once; CONNECTED or an error follows in the
 *             slot. Datagram: 0. rsp.addr is the local name. -EISCONN -EALREADY
 *             -ENETUNREACH -EADDRNOTAVAIL -ENOBUFS (no rings) -EAFNOSUPPORT -EINVAL
 * RELEASE     close(). Data in the tx ring is still sent. The response may come late: only
 *             then are slot and rings the client's again. With PVS_REL_ABORT, or linger
 *             {on, 0}, the connection is reset and the answer is prompt.
 * BIND        port 0: the server picks; rsp.addr is the name bound. AF_PACKET: binds to
 *             protocol and ifindex. -EADDRINUSE -EADDRNOTAVAIL -EINVAL
 * LISTEN      backlog is clamped to 1..4096. -EADDRINUSE -EINVAL -EOPNOTSUPP
 * ACCEPT      takes one connection off `sock` and makes it socket `new_sock` with
 *             `rings`. Never waits: -EAGAIN if there is none (wait for IN on the
 *             listener). rsp: accepted. -EINVAL (not listening) -EEXIST (slot taken)
 * POLL        ret: PVS_EV_* that hold now (any client may compute them itself).
 * SHUTDOWN    how 0, 1, 2 as shutdown(2); data already in the tx ring goes out before FIN.
 *             -ENOTCONN
 * SETSOCKOPT  value in `val` (len <= 32) or at buf_off (len > 32).
 * GETSOCKOPT  len: room; answered in rsp.opt (<= 32) or at buf_off; ret: bytes.
 *             Both: -ENOPROTOOPT -EINVAL. docs/pvsock.md lists the options.
 * GETSOCKNAME, GETPEERNAME  rsp.addr. -ENOTCONN
 * RINGS       attaches rings, or replaces them by others (of any size that holds the
 *             content). The client must not touch rings or indexes between request and
 *             response; indexes go on counting, content is copied. An order of 0 leaves that
 *             ring as it is. -EINVAL -EBUSY (too small for the content)
 * LIST        writes records of kind `what` from number `start` on to buf_off; ret: how
 *             many records were written; 0: no more. sock is ignored.
 * CONTROL     applies `op` to one record of kind `what` at buf_off (ip addr add ...).
 *             -EPERM where the configuration forbids it, -EEXIST, -ESRCH, -EINVAL,
 *             -ENOSPC
 */
struct pvs_req {
	uint32_t id;
	uint16_t cmd;
	uint16_t flags; /* 0 */
	uint32_t sock;
	uint32_t reserved;
	union {
		struct {
			uint16_t domain;
			uint16_t type; /* without SOCK_NONBLOCK and SOCK_CLOEXEC */
			uint32_t protocol;
			struct pvs_rings rings;
		} socket;
		struct pvs_addr addr;
		struct {
			uint32_t flags; /* PVS_REL_ABORT */
		} release;
		struct {
			uint32_t backlog;
		} listen;
		struct {
			uint32_t new_sock;
			uint32_t reserved;
			struct pvs_rings rings;
		} accept;
		struct {
			uint32_t how;
		} shutdown;
		struct {
			uint32_t level;
			uint32_t name;
			uint32_t len;
			uint32_t buf_off;
			uint8_t val[32];
		} sockopt;
		struct pvs_rings rings;
		struct {
			uint32_t what; /* PVS_LIST_* */
			uint32_t start;
			uint32_t op; /* CONTROL: PVS_OP_* */
			uint32_t buf_off;
			uint32_t buf_len;
		} list;
		uint8_t raw[48];
	} u;
};

#define PVS_REL_ABORT 1u

struct pvs_rsp {
	uint32_t id;
	uint16_t cmd;
	uint16_t flags; /* 0 */
	uint32_t sock;
	int32_t ret;
	union {
		struct pvs_addr addr;
		struct {
			struct pvs_addr peer;
			struct pvs_addr local;
		} accepted;
		uint8_t opt[32];
		uint8_t raw[48];
	} u;
};

/* Records of LIST and CONTROL. */
#define PVS_LIST_LINK    0 /* struct pvs_link */
#define PVS_LIST_ADDR    1 /* struct pvs_ifaddr */
#define PVS_LIST_ROUTE   2 /* struct pvs_route */
#define PVS_LIST_NEIGH   3 /* struct pvs_neigh */
#define PVS_LIST_SOCKET  4 /* struct pvs_sockinfo (ss, /proc/net/tcp ...) */
#define PVS_LIST_PUBLISH 5 /* struct pvs_publish */
#define PVS_LIST_CONFIG  6 /* struct pvs_config, one record */
#define PVS_LIST_STATS   7 /* struct pvs_stat (/proc/net/snmp, netstat) */

#define PVS_OP_ADD 1 /* addr, route, neigh, publish */
#define PVS_OP_DEL 2
#define PVS_OP_SET 3 /* link: IFF_UP, mtu */

struct pvs_link {
	uint32_t ifindex; /* 1 is lo */
	uint32_t flags; /* IFF_UP 1, BROADCAST 2, LOOPBACK 8, RUNNING 0x40, MULTICAST 0x1000 */
	uint32_t mtu;
	uint32_t type; /* ARPHRD_ETHER 1, ARPHRD_LOOPBACK 772 */
	uint8_t mac[8];
	char name[16];
	uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
	uint64_t rx_errors, tx_errors, rx_dropped, tx_dropped;
};

struct pvs_ifaddr {
	uint32_t ifindex;
	uint8_t family;
	uint8_t prefixlen;
	uint8_t scope; /* RT_SCOPE_*: 0 universe, 253 link, 254 host */
	/* IFA_F_*: 8 dadfailed, 0x20 deprecated, 0x40 tentative, 0x80 permanent */
	uint8_t flags;
	uint8_t addr[16];
	uint8_t broadcast[16];
	uint32_t valid_s; /* 0xffffffff: for ever */
	uint32_t preferred_s;
};

struct pvs_route {
	uint8_t family;
	uint8_t dst_len;
	uint8_t type;  /* RTN_UNICAST 1, RTN_LOCAL 2, RTN_UNREACHABLE 7 */
	uint8_t proto; /* RTPROT_KERNEL 2, BOOT 3, STATIC 4, RA 9, DHCP 16 */
	uint32_t ifindex;
	uint8_t dst[16];
	uint8_t gateway[16]; /* all zero: on link */
	uint8_t prefsrc[16];
	uint32_t metric;
	uint32_t scope;
};

struct pvs_neigh {
	uint8_t family;
	uint8_t reserved;
	uint16_t state; /* NUD_*: INCOMPLETE 1, REACHABLE 2, STALE 4, ..., PERMANENT 0x80 */
	uint32_t ifindex;
	uint8_t addr[16];
	uint8_t mac[8];
};

struct pvs_sockinfo {
	uint32_t sock; /* PVS_NO_SLOT: no longer owned by the client (TIME-WAIT ...) */
	uint16_t domain;
	uint8_t type;
	uint8_t protocol;
	uint8_t state; /* TCP_ESTABLISHED 1 ... as in Linux's tcp_states.h */
	uint8_t reserved[7];
	uint32_t txq;
	uint32_t rxq;
	struct pvs_addr local;
	struct pvs_addr peer;
};

/* A port of a host address that this stack answers for (docker run -p). */
struct pvs_publish {
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	uint8_t family;
	uint16_t host_port; /* network order */
	uint16_t port;      /* of the container, network order */
	uint16_t reserved;
	uint8_t host_addr[16];
};

struct pvs_config {
	char hostname[64];
	char domain[64];
	uint8_t dns[4][16]; /* v4 as ::ffff:a.b.c.d; all zero: none */
	uint32_t dhcp_state;
	uint32_t lease_s;
};

struct pvs_stat {
	char name[24]; /* e.g. "Tcp.RetransSegs", as in /proc/net/snmp */
	uint64_t value;
};

_Static_assert(sizeof(struct pvs_header) == PVS_PAGE, "pvs_header");
_Static_assert(__builtin_offsetof(struct pvs_header, req_prod) == 64, "client line");
_Static_assert(__builtin_offsetof(struct pvs_header, server_magic) == 128, "server half");
_Static_assert(__builtin_offsetof(struct pvs_header, req_cons) == 192, "server line");
_Static_assert(__builtin_offsetof(struct pvs_header, server_idle) == 256, "sleep words");
_Static_assert(__builtin_offsetof(struct pvs_header, client_idle) == 320, "sleep words");
_Static_assert(sizeof(struct pvs_slot) == 128, "pvs_slot");
_Static_assert(__builtin_offsetof(struct pvs_slot, tx_cons) == 64, "server line");
_Static_assert(sizeof(struct pvs_addr) == 24, "pvs_addr");
_Static_assert(sizeof(struct pvs_rings) == 16, "pvs_rings");
_Static_assert(sizeof(struct pvs_dgram) == 64, "pvs_dgram");
_Static_assert(sizeof(struct pvs_req) == 64, "pvs_req");
_Static_assert(sizeof(struct pvs_rsp) == 64, "pvs_rsp");
_Static_assert(sizeof(struct pvs_link) == 104, "pvs_link");
_Static_assert(sizeof(struct pvs_ifaddr) == 48, "pvs_ifaddr");
_Static_assert(sizeof(struct pvs_route) == 64, "pvs_route");
_Static_assert(sizeof(struct pvs_neigh) == 32, "pvs_neigh");
_Static_assert(sizeof(struct pvs_sockinfo) == 72, "pvs_sockinfo");
_Static_assert(sizeof(struct pvs_config) == 200, "pvs_config");
_Static_assert(sizeof(struct pvs_stat) == 32, "pvs_stat");

#endif
