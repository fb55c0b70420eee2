/* SPDX-License-Identifier: ISC */
/*
 * What the stack's own files share. The theory is at the head of stack.c; each
 * subsystem's is at the head of its file.
 *
 * Sockets are named by index into st->socks, never by pointer, in everything that lies in the
 * state area: the area can be mapped elsewhere by the next instance. NIL (0) ends a list;
 * socket 0 is never used.
 */
#ifndef TRANSPORT_TP_INT_H
#define TRANSPORT_TP_INT_H

#include <d0/pvsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "errno_linux.h"
#include "ipa.h"
#include "tp.h"
#include "tp_sock.h"
#include "wire.h"
#include "csum.h"

#define NIL           0u
#define NSEC_PER_USEC 1000u
#define USEC_PER_MSEC 1000u
#define USEC_PER_SEC  1000000u
#define NEVER         UINT64_MAX

/* For what is filled before it is read, on the path of every segment: clearing it costs. */
#define UNINIT __attribute__((uninitialized))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- statistics: one table makes the fields and their names ---- */
/* clang-format off */
#define TP_STATS(X) \
	X(Ip, InReceives) X(Ip, InHdrErrors) X(Ip, InAddrErrors) \
	X(Ip, InUnknownProtos) X(Ip, InDiscards) X(Ip, InDelivers) X(Ip, OutRequests) \
	X(Ip, OutDiscards) X(Ip, OutNoRoutes) X(Ip, ReasmReqds) X(Ip, ReasmOKs) \
	X(Ip, ReasmFails) X(Ip, FragOKs) X(Ip, FragFails) X(Ip, FragCreates) \
	X(Icmp, InMsgs) X(Icmp, InErrors) X(Icmp, OutMsgs) X(Icmp, OutErrors) \
	X(Icmp, RateLimited) X(Tcp, ActiveOpens) X(Tcp, PassiveOpens) \
	X(Tcp, AttemptFails) X(Tcp, EstabResets) X(Tcp, InSegs) X(Tcp, OutSegs) \
	X(Tcp, RetransSegs) X(Tcp, InErrs) X(Tcp, OutRsts) X(Tcp, InCsumErrors) \
	X(Tcp, SyncookiesSent) X(Tcp, SyncookiesRecv) X(Tcp, SyncookiesFailed) \
	X(Tcp, ChallengeACK) X(Tcp, PAWSEstab) X(Tcp, TimeWaitRecycled) \
	X(Tcp, LossProbes) X(Tcp, Timeouts) X(Tcp, FastRetrans) X(Tcp, SpuriousRTOs) \
	X(Tcp, OFOQueue) X(Tcp, OFODrop) X(Tcp, DSACKRecv) X(Tcp, ListenOverflows) \
	X(Tcp, MTUPFail) X(Tcp, ECERecv) X(Tcp, AbortOnTimeout) X(Tcp, KeepAlive) \
	X(Tcp, Adopted) X(Tcp, AdoptFailed) X(Tcp, PeerProtocol) X(Tcp, DelayedACKs) \
	X(Tcp, RecordsExhausted) X(Udp, InDatagrams) X(Udp, NoPorts) X(Udp, InErrors) \
	X(Udp, OutDatagrams) X(Udp, RcvbufErrors) X(Udp, InCsumErrors) \
	X(Arp, Conflicts) X(Arp, InBad) X(Neigh, Failed) X(Nd, InBad) X(Dhcp, Acks) \
	X(Dhcp, Naks) X(Dhcp, Timeouts) X(Dhcp, Bad) X(Pv, BadRequests) \
	X(Pv, Requests) X(Pv, Events) X(Pv, Notifies)
/* clang-format on */

enum tp_stat_id {
#define TP_STAT_ENUM(group, name) STAT_##group##_##name,
	TP_STATS(TP_STAT_ENUM)
#undef TP_STAT_ENUM
	STAT_COUNT
};

#define STAT(st, name) ((st)->stat[STAT_##name]++)

/* ---- configuration that outlives an instance ---- */
#define MAX_ADDR  24
#define MAX_ROUTE 48
#define MAX_NEIGH 64
#define MAX_PUB   64
#define MAX_PMTU  32
#define MAX_GROUP 32
#define MAX_PEND  16
#define PEND_SIZE 1664

#define AF_TENTATIVE 0x01u
#define AF_DADFAILED 0x08u
#define AF_PERMANENT 0x80u
#define AF_DHCP      0x02u
#define AF_SLAAC     0x04u

struct ifaddr {
	struct ipa addr;
	uint8_t plen; /* of 128 */
	uint8_t ifi;  /* of a used entry; 0xff: free */
	uint8_t flags;
	uint8_t dad_left;
	uint8_t used;
	uint8_t pad[3];
	uint64_t dad_at;           /* us */
	uint64_t valid, preferred; /* us of expiry, NEVER */
};

enum {
	ROUTE_USED = 1,
	ROUTE_SHOWN = 2 /* for who asks for the list; no packet takes it */
};
struct route {
	struct ipa dst, gw, src;
	uint8_t plen, ifi, proto, used; /* used: ROUTE_* */
	uint32_t metric;
	uint64_t expires;
};

struct publish {
	struct ipa host;
	uint16_t host_port, port; /* host order */
	uint8_t proto, used;
	uint8_t shared; /* TP_V*: the shared address of these families; 0: host */
	uint8_t pad;
};

struct netif {
	uint8_t used, up, link, dhcp;
	uint8_t slaac, rs_left, hop_limit, hidden;
	uint8_t same_mac, pad[5];
	uint8_t mac[6];
	uint16_t mtu, ip6_mtu;
	uint32_t caps;
	uint64_t rs_at;
	char name[16];
};

struct ifstat {
	uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
	uint64_t rx_errors, tx_errors, rx_dropped, tx_dropped;
};

/* The part of a host's address that is ours: share.c. */
struct share {
	struct ipa addr;
	uint16_t lo, hi; /* the block for what the application opens */
	uint8_t ifi, used;
	uint8_t serves; /* nothing is opened by it: it is for what comes to published ports */
	uint8_t pad;
};
struct sharemap {
	uint8_t proto, six; /* proto 0: free */
	uint16_t wire, app;
};
#define MAX_SHAREMAP 32

struct dhcp {
	uint8_t state, ifi, tries, pad;
	uint32_t xid, addr, server, mask, router;
	uint64_t at;    /* us: next action */
	uint64_t start; /* us */
	uint64_t t1, t2, expire;
};

#define STATE_MAGIC   0x3154535054304401ull
#define STATE_VERSION 7

/*
 * The command that is being carried out, and what it may change as it was before (journal.c).
 * client, req: which; it is over when the count of requests answered has passed req.
 */
#define UNDO_MAX 2u /* ACCEPT: the listener and the connection */
struct journal {
	uint32_t live;
	uint32_t client, req;
	uint32_t fresh;  /* a socket that it took from the free ones */
	uint32_t nsaved; /* of the following */
	uint32_t net;    /* CONTROL: the copy of the network part is of before */
	uint32_t saved[UNDO_MAX];
	/* A RELEASE being answered: the response's index and whose slot it gives back. */
	uint32_t rel_sock, rel_client, rel_at;
	struct sock sock[UNDO_MAX];
};

/* The network part of the state, of which there is a copy. */
/* clang-format off */
#define NET_PART \
	struct netif ifs[TP_MAX_IF] __attribute__((aligned(16))); \
	struct ifaddr addr[MAX_ADDR]; \
	struct route route[MAX_ROUTE]; \
	struct publish pub[MAX_PUB]; \
	struct share share[2]; /* IPv4, IPv6 */ \
	struct sharemap map[MAX_SHAREMAP]; \
	struct dhcp dhcp; \
	struct pvs_config net;
/* clang-format on */
struct net_part {
	NET_PART
};
#define NET_BYTES sizeof(struct net_part)

struct state {
	uint64_t magic;
	uint32_t version, layout; /* sizeof(struct sock), as a guard against other builds */
	uint32_t max_socks, early_bufs, early_order;
	uint32_t starts;
	uint64_t secret[4];
	uint32_t client_gen[TP_CLIENTS], server_gen;
	uint32_t netcheck,
	    net_valid;             /* of net_copy; 0: it is being made, what it is of holds */
	uint64_t done[TP_CLIENTS]; /* requests taken and, above them, responses made */
	struct journal journal;
	struct ifstat ifstat[TP_MAX_IF]; /* figures: not worth a check */
	NET_PART
	/* As it was when it was last at rest, with a check word. */
	struct net_part net_copy;
};
_Static_assert(offsetof(struct state, net_copy) - offsetof(struct state, ifs) == NET_BYTES,
	       "the part that is copied");

/* ---- what an instance keeps for itself ---- */
enum {
	NUD_INCOMPLETE = 1,
	NUD_REACHABLE = 2,
	NUD_STALE = 4,
	NUD_DELAY = 8,
	NUD_PROBE = 16,
	NUD_FAILED = 32,
	NUD_PERMANENT = 128
};

struct neigh {
	struct ipa addr;
	uint64_t at;   /* us: next step of the state machine */
	uint64_t used; /* us */
	uint8_t mac[6];
	uint8_t state, ifi, probes, pad;
};

struct pmtu {
	struct ipa dst;
	uint64_t expires;
	uint16_t mtu, used;
};

struct group {
	struct ipa addr;
	uint16_t ifi, refs, any; /* any: of them, without a source */
};

/* A report that is to be sent: a change told once more, or the answer to a query. */
struct mreport {
	struct ipa group, source; /* group unspecified: all of the interface's */
	uint64_t at;              /* us; 0: none */
	uint16_t ifi;
	uint8_t type; /* of the change's record; 0: the answer to a query */
	uint8_t sources, v2, is4;
};

struct fragq {
	struct ipa src, dst;
	uint32_t id;
	uint8_t proto, used, nofrags, ifi;
	uint64_t expires;
	uint32_t got, total; /* bytes; total 0: the last fragment has not come */
	uint32_t hdr_len;
	uint8_t ttl, tos, is6, bad;
	uint8_t hdr[64];         /* IP header of the first fragment */
	uint8_t first[128];      /* start of the first fragment, for ICMP time exceeded */
	uint64_t map[8192 / 64]; /* 8-byte blocks present */
	uint8_t *data;
};

/* A UDP peer that reached us through a published port. face: the port as which an IPv4 socket
 * sees a peer of IPv6 (share_face4), 0: it sees the peer. */
struct udpflow {
	struct ipa host, peer;
	uint16_t host_port, peer_port, port, used;
	uint16_t face;
	uint64_t at;
};
#define MAX_UDPFLOW 64

struct wheel {
	uint32_t now; /* ms, everything before it has fired */
	uint32_t head[4 * 64];
	uint64_t map[4];
};

/* One client of the PV socket server. */
struct pv {
	uint8_t number;
	uint8_t *base;
	uint32_t mapped;
	struct pvs_header *hdr;
	bool up;
	bool published; /* something for the client since the last notification */
	uint32_t gen, size, nreq, nslots, heap;
	struct pvs_req *req;
	struct pvs_rsp *rsp;
	struct pvs_slot *slot;
	struct pvs_bitmap *kick, *event;
	uint32_t req_cons, rsp_prod;
	uint32_t nsocks; /* slots in use */
	uint32_t *map;   /* slot to socket */
	uint32_t map_size;
	uint32_t last_gen, last_bad;
	uint32_t due; /* first of the sockets whose RELEASE is to be answered, by fnext */
};

struct tp_stack {
	struct tp_config cfg;
	struct tp_ops ops;
	void *ctx;
	uint64_t now; /* us */
	uint32_t now_ms;
	bool timed; /* now is of this batch */
	uint64_t slow_at;
	struct state *s;
	struct sock *socks;
	uint8_t *early;
	uint64_t *early_used;
	unsigned naddr;                              /* addresses lie below: s->addr */
	uint32_t free_head, nsocks, nsyn, ntw, high; /* high: first socket never used */
	uint32_t *ehash, *lhash;
	uint32_t ehash_shift, lhash_mask; /* of 32 bits; of a port */
	uint64_t hash_key[5];             /* odd */
	uint32_t dirty_head, out_head;
	struct seg *segs;
	uint32_t seg_free, seg_high, seg_count;
	struct wheel wheel;
	struct neigh neigh[MAX_NEIGH];
	uint8_t *pend; /* MAX_PEND frames */
	uint16_t pend_len[MAX_PEND];
	struct tp_meta pend_meta[MAX_PEND];
	uint8_t pend_neigh[MAX_PEND]; /* 1 + neighbour it waits for */
	uint32_t pend_order[MAX_PEND], pend_seq;
	struct pmtu pmtu[MAX_PMTU];
	struct group group[MAX_GROUP];
	struct mreport mreport[MAX_GROUP];
	struct fragq *frag;
	struct udpflow flow[MAX_UDPFLOW];
	uint16_t face_port;            /* the last one given to a flow, 0: none ever */
	uint64_t map_at[MAX_SHAREMAP]; /* us of last use */
	uint8_t *loop;
	uint32_t loop_prod, loop_cons;
	uint8_t *scratch; /* one datagram under construction */
	uint32_t route_gen;
	uint32_t ip_id, frag_id, port_hint;
	uint32_t recycle_ms;    /* when the table was last searched for one at rest */
	uint32_t npacket, nraw; /* sockets of these kinds */
	uint64_t icmp_tokens, icmp_at, chall_tokens, chall_at;
	uint32_t txwait[64], ntxwait; /* sockets that found the device's queue full */
	uint32_t adopted;
	bool adopting; /* an earlier instance's sockets wait for their clients */
	uint32_t in_input;
	struct pv pv[TP_CLIENTS];
	unsigned nclients; /* of pv, up to the last one that ever was attached */
	uint64_t stat[STAT_COUNT];
};

#define SOCK(st, i) (&(st)->socks[i])
#define PV(st, s)   (&(st)->pv[(s)->client])

static inline uint32_t sock_index(const struct tp_stack *st, const struct sock *s)
{
	return (uint32_t)(s - st->socks);
}

/* ---- a packet on its way in: everything in private memory ---- */
struct rest {
	const uint8_t *from; /* the frame is in one piece up to here */
	const struct tp_part *part;
	unsigned parts;
};

struct pkt {
	const struct rest *rest; /* NULL: all of it */
	uint8_t *frame;          /* Ethernet header */
	uint32_t frame_len;
	uint8_t *ip;   /* IP header */
	uint8_t *data; /* transport header */
	uint32_t len;  /* from data on */
	uint32_t ip_hlen;
	struct ipa src, dst;
	uint8_t ifi, proto, ttl, tos;
	bool csum_ok, multicast, broadcast, is4, loop;
	uint16_t gso_size;
};

/* ---- a packet on its way out ---- */
struct dst {
	struct ipa src, hop;
	uint32_t mtu, neigh;
	uint8_t ifi;
	bool local, multicast, broadcast;
};

struct txp {
	uint8_t *frame;
	uint8_t *l4;
	uint32_t l4_off, l4_len;
	uint8_t ifi;
	bool scratch;
	bool df;
	struct dst d;
	struct ipa src, dst;
	uint8_t proto;
	struct tp_meta meta;
};

struct ipopt {
	uint8_t ttl, tos;
	bool df;
};

/* stack.c */
void tp_time(struct tp_stack *st);
void slow_arm(struct tp_stack *st, uint64_t at);
void tp_logf(struct tp_stack *st, const char *what, const struct ipa *a, uint32_t n);
void stack_ip_deliver(struct tp_stack *st, struct pkt *p);
void loop_put(struct tp_stack *st, uint32_t len, const struct tp_meta *m);
void *loop_get(struct tp_stack *st, uint32_t len);

/* util.c */
uint64_t siphash(const uint64_t key[2], const void *p, uint32_t len);
uint32_t tp_random32(struct tp_stack *st);
uint32_t check_words(const void *p, uint32_t len); /* p: 16-byte aligned */
void *arena_take(uint8_t **at, const uint8_t *end, size_t n);
size_t ipa_format(const struct ipa *a, char *out);

/* link.c: Ethernet, neighbours, ARP */
void link_output(struct tp_stack *st, struct txp *t, uint32_t len);
void arp_input(struct tp_stack *st, struct pkt *p);
void arp_announce(struct tp_stack *st, unsigned ifi, uint32_t addr);
void arp_probe(struct tp_stack *st, unsigned ifi, uint32_t addr);
uint32_t neigh_find(struct tp_stack *st, unsigned ifi, const struct ipa *a, bool create);
void neigh_learn(struct tp_stack *st, unsigned ifi, const struct ipa *a, const uint8_t *mac,
		 bool solicited, bool override, bool create);
void neigh_forget(struct tp_stack *st, unsigned i);
void neigh_confirm(struct tp_stack *st, uint32_t n);
uint64_t neigh_tick(struct tp_stack *st);
void eth_send(struct tp_stack *st, unsigned ifi, const uint8_t *dst, uint16_t type,
	      const void *payload, uint32_t len);

/* ip.c: IPv4 and IPv6 in and out */
void ip4_input(struct tp_stack *st, struct pkt *p);
void ip6_input(struct tp_stack *st, struct pkt *p);
int ip_begin(struct tp_stack *st, struct txp *t, const struct dst *d, const struct ipa *dst,
	     uint8_t proto, uint32_t len, const struct ipopt *o);
#define CSUM_NONE UINT32_MAX
bool ip_sum_needed(const struct tp_stack *st, const struct txp *t);
void ip_finish(struct tp_stack *st, struct txp *t, uint32_t csum_off, uint32_t hdr_len,
	       uint32_t sum);
void ip_cancel(struct tp_stack *st, struct txp *t);

/* frag.c */
bool frag_input(struct tp_stack *st, struct pkt *p, uint32_t id, uint32_t off, bool more);
uint64_t frag_tick(struct tp_stack *st);

/* route.c */
int route_lookup(struct tp_stack *st, const struct ipa *dst, const struct ipa *src,
		 unsigned bound_if, struct dst *out);
struct ifaddr *addr_find(struct tp_stack *st, const struct ipa *a);
bool addr_local(struct tp_stack *st, const struct ipa *a, unsigned ifi);
int addr_add(struct tp_stack *st, unsigned ifi, const struct ipa *a, unsigned plen,
	     unsigned flags, uint64_t valid, uint64_t preferred);
void addr_remove(struct tp_stack *st, struct ifaddr *a);
int route_add(struct tp_stack *st, const struct route *r);
int route_del(struct tp_stack *st, const struct route *r);
void route_changed(struct tp_stack *st);
void pmtu_update(struct tp_stack *st, const struct ipa *dst, uint32_t mtu);
bool addr_broadcast(struct tp_stack *st, const struct ipa *a);
const struct publish *publish_find(struct tp_stack *st, uint8_t proto, const struct ipa *host,
				   uint16_t port);
bool publish_host(struct tp_stack *st, const struct ipa *host);
uint64_t addr_tick(struct tp_stack *st);

/* share.c */
bool share_is(const struct tp_stack *st, const struct ipa *a);
bool share_in(const struct tp_stack *st, const struct ipa *dst, unsigned ifi);
bool if_hidden(const struct tp_stack *st, unsigned ifi);
unsigned share_face(const struct tp_stack *st, unsigned ifi);
const struct ipa *share_apparent(const struct tp_stack *st, const struct ipa *a);
const struct share *share_of(const struct tp_stack *st, const struct ipa *a);
bool share_takes(const struct tp_stack *st, const struct route *r, const struct ipa *src);
/* host: the shared address that is the packet's own */
uint16_t share_wire(struct tp_stack *st, const struct ipa *host, uint8_t proto, uint16_t app);
uint16_t share_app(struct tp_stack *st, const struct ipa *host, uint8_t proto, uint16_t wire);
void share_icmp_in(struct tp_stack *st, struct pkt *p);
bool share_icmp_out(struct tp_stack *st, const struct ipa *host, uint8_t *d, uint32_t len);
const struct ipa *share_own4(const struct tp_stack *st);
const struct ipa *share_face4(const struct tp_stack *st);
int share_tcp_port(struct tp_stack *st, struct sock *s);

/* icmp.c, nd.c */
void icmp4_input(struct tp_stack *st, struct pkt *p);
void icmp6_input(struct tp_stack *st, struct pkt *p);
void icmp_error(struct tp_stack *st, const struct pkt *p, uint8_t type, uint8_t code,
		uint32_t rest);
bool icmp_allow(struct tp_stack *st);
void icmp_dispatch(struct tp_stack *st, const struct pkt *p, uint32_t off, uint8_t type,
		   uint8_t code, uint32_t mtu);
void nd_input(struct tp_stack *st, struct pkt *p);
void nd_solicit(struct tp_stack *st, unsigned ifi, const struct ipa *target, bool dad,
		const uint8_t *mac);
void nd_if_up(struct tp_stack *st, unsigned ifi);
void nd_advertise(struct tp_stack *st, unsigned ifi, const struct ipa *target);
uint64_t nd_tick(struct tp_stack *st);
const struct ipa *linklocal_of(struct tp_stack *st, unsigned ifi);

/* dhcp.c */
void dhcp_start(struct tp_stack *st, unsigned ifi);
bool dhcp_input(struct tp_stack *st, struct pkt *p);
void dhcp_conflict(struct tp_stack *st, uint32_t addr);
uint64_t dhcp_tick(struct tp_stack *st);

/* sock.c */
struct sock *sock_alloc(struct tp_stack *st, uint8_t kind);
void sock_free(struct tp_stack *st, struct sock *s);
void sock_reclaim_now(struct tp_stack *st, struct sock *s);
void sock_error(struct tp_stack *st, struct sock *s, int err);
void sock_hash(struct tp_stack *st, struct sock *s);
void sock_unhash(struct tp_stack *st, struct sock *s);
void sock_lhash(struct tp_stack *st, struct sock *s);
int sock_bind(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port);
int sock_reaches(const struct sock *s, const struct ipa *to);
int sock_autobind(struct tp_stack *st, struct sock *s);
struct sock *sock_lookup(struct tp_stack *st, const struct ipa *src, uint16_t sport,
			 const struct ipa *dst, uint16_t dport, uint8_t ifi);
struct sock *sock_lookup_bound(struct tp_stack *st, uint8_t kind, const struct ipa *src,
			       uint16_t sport, const struct ipa *dst, uint16_t dport,
			       uint8_t ifi);
bool sock_bound_match(const struct sock *s, const struct ipa *src, uint16_t sport,
		      const struct ipa *dst, uint16_t dport, uint8_t ifi, int *score);
uint8_t *ring_base(struct tp_stack *st, const struct dring *r);
void ring_write(struct tp_stack *st, const struct dring *r, uint32_t idx, const void *p,
		uint32_t n);
void ring_read(struct tp_stack *st, const struct dring *r, uint32_t idx, void *p, uint32_t n);
uint32_t ring_read_csum(struct tp_stack *st, const struct dring *r, uint32_t idx, void *p,
			uint32_t n);
void early_take(struct tp_stack *st, struct dring *r);
void early_drop(struct tp_stack *st, struct dring *r);
bool sock_rx_room(struct tp_stack *st, struct sock *s, uint32_t *room);
bool sock_tx_avail(struct tp_stack *st, struct sock *s, uint32_t *avail);
void sock_flush(struct tp_stack *st);
struct sock *lhash_first(struct tp_stack *st, uint8_t proto, uint16_t port);

/* pv.c, pvopt.c, pvlist.c */
void pv_poll(struct tp_stack *st);
bool pv_pending(struct tp_stack *st);
bool pv_rings_ok(const struct pv *pv, const struct pvs_rings *r);
void pv_reset(struct tp_stack *st, struct pv *pv);
void pv_publish(struct tp_stack *st, struct sock *s);
void pv_release_due(struct tp_stack *st, struct sock *s);
void pv_detach(struct tp_stack *st, struct sock *s);
void pv_notify(struct tp_stack *st);
void pv_serve(struct tp_stack *st, struct pv *pv);
void pv_link_changed(struct tp_stack *st);
void pv_idle(struct tp_stack *st, bool idle);
void pv_slot_take(struct tp_stack *st, struct sock *s, uint32_t slot);
int pv_setsockopt(struct tp_stack *st, struct sock *s, uint32_t level, uint32_t name,
		  const uint8_t *val, uint32_t len);
int pv_getsockopt(struct tp_stack *st, struct sock *s, uint32_t level, uint32_t name,
		  uint8_t *val, uint32_t room);
int pv_list(struct tp_stack *st, uint32_t what, uint32_t start, uint8_t *buf, uint32_t len);
int pv_control(struct tp_stack *st, uint32_t what, uint32_t op, const uint8_t *buf,
	       uint32_t len);
void pv_addr_out(const struct sock *s, const struct ipa *a, uint16_t port,
		 struct pvs_addr *out);
const char *stat_name_of(unsigned i);
struct ipa addr_apparent(struct tp_stack *st, const struct sock *s);
struct ipa peer_apparent(struct tp_stack *st, const struct sock *s);
uint32_t sock_state_bits(const struct sock *s);

/* dgram.c: UDP, ping, raw, packet sockets */
void udp_input(struct tp_stack *st, struct pkt *p);
const struct ipa *own_addr(struct tp_stack *st, const struct pkt *p);
struct sock *udp_lookup(struct tp_stack *st, const struct pkt *p, uint16_t sport,
			uint16_t dport);
void dgram_kick(struct tp_stack *st, struct sock *s);
bool raw_input(struct tp_stack *st, struct pkt *p);
bool ping_input(struct tp_stack *st, struct pkt *p, uint16_t id);
void packet_tap(struct tp_stack *st, unsigned ifi, const uint8_t *frame, uint32_t len,
		uint8_t pkttype);
/* An error that a packet of ours met, and what is known of the packet. */
struct failed {
	struct ipa to, by; /* where it was sent; who says so, unspecified: we */
	uint16_t port;
	uint8_t type, code, ifi; /* of the ICMP message, which came by ifi */
	int err;
	uint32_t mtu;        /* with TE_MSGSIZE */
	const uint8_t *data; /* of the packet, behind its UDP header, as far as it is quoted */
	uint32_t len;
};
void dgram_icmp(struct tp_stack *st, struct sock *s, const struct failed *f);
int dgram_connect(struct tp_stack *st, struct sock *s, const struct ipa *a, uint16_t port);
void dgram_disconnect(struct tp_stack *st, struct sock *s);

/* timer.c */
void wheel_init(struct tp_stack *st);
void timer_set(struct tp_stack *st, struct sock *s, unsigned which, uint32_t at_ms);
void timer_remove(struct tp_stack *st, struct sock *s);
void wheel_run(struct tp_stack *st);
uint32_t wheel_next(struct tp_stack *st); /* ms, UINT32_MAX: none */

/* journal.c */
void journal_begin(struct tp_stack *st, const struct pv *pv, const struct pvs_req *q);
void journal_save(struct tp_stack *st, struct sock *s);
void journal_commit(struct tp_stack *st, const struct pv *pv);
void journal_release(struct tp_stack *st, const struct pv *pv, const struct sock *s);
void journal_undo(struct tp_stack *st);

/* state.c */
bool state_init(struct tp_stack *st, void *mem, size_t size);
void state_adopt(struct tp_stack *st);
void state_seal(struct tp_stack *st, struct sock *s);
void state_seal_net(struct tp_stack *st);

static inline uint32_t ring_size(const struct dring *r)
{
	return r->space == SPACE_NONE ? 0 : 1u << r->order;
}

static inline void sock_touch(struct tp_stack *st, struct sock *s)
{
	if (s->flags & SF_DIRTY)
		return;
	s->unsealed = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	s->flags |= SF_DIRTY;
	s->dnext = st->dirty_head;
	st->dirty_head = sock_index(st, s);
}

static inline void timer_clear(struct sock *s, unsigned which)
{
	s->dl[which] = 0;
}

#endif
