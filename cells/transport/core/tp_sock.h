/* SPDX-License-Identifier: ISC */
/*
 * A socket as it lies in the state area: data rings, the TCP control block, datagram sockets'
 * settings. Everything here outlives an instance; no pointers.
 */
#ifndef TRANSPORT_TP_SOCK_H
#define TRANSPORT_TP_SOCK_H

#include <stdint.h>
#include "ipa.h"

/* ---- data rings ---- */
enum {
	SPACE_NONE,
	SPACE_CLIENT, /* offset into the client's region */
	SPACE_EARLY   /* number of an early buffer */
};

struct dring {
	uint32_t off;
	uint8_t order;
	uint8_t space;
	uint8_t client; /* SPACE_CLIENT: whose region */
	uint8_t pad;
};

/* ---- sockets ---- */
enum {
	SK_FREE,
	SK_TCP,
	SK_UDP,
	SK_PING, /* SOCK_DGRAM + IPPROTO_ICMP(V6) */
	SK_RAW,
	SK_PACKET
};

/* Linux's numbers (tcp_states.h): TCP_INFO and ss show them. */
enum {
	TS_ESTABLISHED = 1,
	TS_SYN_SENT,
	TS_SYN_RCVD,
	TS_FIN_WAIT1,
	TS_FIN_WAIT2,
	TS_TIME_WAIT,
	TS_CLOSED,
	TS_CLOSE_WAIT,
	TS_LAST_ACK,
	TS_LISTEN,
	TS_CLOSING
};

enum {
	TMR_RTX, /* RTO, tail loss probe, RACK reordering, persist: t->rtx_kind */
	TMR_DELACK,
	TMR_KEEP, /* keepalive; FIN-WAIT-2 and TIME-WAIT */
	TMR_CORK,
	TMR_COUNT
};

enum {
	RTX_NONE,
	RTX_RTO,
	RTX_TLP,
	RTX_REO,
	RTX_PERSIST
};

enum {
	CA_OPEN,
	CA_DISORDER,
	CA_CWR,
	CA_RECOVERY,
	CA_LOSS
};

#define OOO_MAX 16

struct seqrange {
	uint32_t start, end;
};

/* Flags of struct tcp. */
#define TF_TS          0x00000001u
#define TF_SACK        0x00000002u
#define TF_WS          0x00000004u
#define TF_ECN         0x00000008u
#define TF_ECN_ECHO    0x00000010u /* CE seen: send ECE until CWR */
#define TF_SEND_CWR    0x00000020u
#define TF_ACK_NOW     0x00000040u
#define TF_FIN_QUEUED  0x00000080u /* shutdown: FIN after the data in the ring */
#define TF_FIN_SENT    0x00000100u
#define TF_NODELAY     0x00000200u
#define TF_CORK        0x00000400u
#define TF_QUICKACK    0x00000800u
#define TF_KEEPALIVE   0x00001000u
#define TF_PASSIVE     0x00004000u
#define TF_SAW_DSACK   0x00008000u
#define TF_TLP_RETRANS 0x00010000u
#define TF_TLP_PENDING 0x00020000u
#define TF_UNDO        0x00040000u /* cwnd can be restored if the loss proves spurious */
#define TF_RX_FULL     0x00080000u
#define TF_BLACKHOLE   0x00100000u /* the MSS was cut because large segments vanish */
#define TF_URG_OUT     0x00200000u
#define TF_URG_IN      0x00400000u
#define TF_PROBING     0x00800000u
#define TF_REO_SEEN    0x01000000u
#define TF_ACCEPTQ     0x02000000u
#define TF_DSACK_OUT   0x04000000u
#define TF_TX_WANT     0x08000000u /* the device's queue was full */
#define TF_CWND_LIM    0x10000000u
#define TF_RST_SENT    0x20000000u
#define TF_MORE        0x40000000u /* the client said that more follows at once */

struct tcp {
	/* RFC 9293 section 3.3.1. */
	uint32_t snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, snd_up, iss;
	uint32_t rcv_nxt, rcv_up, irs;
	uint32_t rcv_adv; /* right edge of the window advertised */
	uint32_t max_wnd; /* largest window the peer ever offered */
	uint32_t flags;
	uint16_t mss;      /* of segments we send, options taken off */
	uint16_t peer_mss; /* from its SYN */
	uint16_t adv_mss;  /* in ours */
	uint16_t user_mss; /* TCP_MAXSEG */
	uint8_t snd_ws, rcv_ws;
	uint8_t ca_state, cc;
	uint8_t rtx_kind, backoff, dupacks, quick;
	uint8_t retries, probes, tlp_count, nooo;
	uint8_t keep_cnt, keep_intvl_set, syn_retries, defer;
	uint32_t ts_recent, ts_recent_ms, ts_off, last_ack_sent;
	/* RFC 6298, microseconds. */
	uint32_t srtt, rttvar, rto, min_rtt, min_rtt_ms;
	/* Congestion control, bytes. */
	uint32_t cwnd, ssthresh, acked_part, high_seq;
	uint32_t prior_cwnd, prior_ssthresh, undo_marker, undo_retrans;
	uint32_t prr_delivered, prr_out, recover_fs;
	uint32_t cubic_wmax, cubic_k, cubic_epoch, cubic_west, cubic_origin;
	uint32_t hs_round_end, hs_cur_min, hs_last_min, hs_count;
	uint32_t snd_sml;    /* end of the last small segment: Nagle as Minshall has it */
	uint32_t retrans_ts; /* TSval of the first retransmission: Eifel detection */
	/* RACK, RFC 8985. */
	uint64_t rack_time;
	uint32_t rack_end, rack_rtt, rack_fack;
	uint32_t tlp_end;
	uint8_t reo_mult, reo_persist;
	uint16_t base_mss;
	uint32_t dsack_round;
	/* Bytes of the scoreboard by kind. */
	uint32_t sacked, lost, retrans;
	uint32_t seg_head, seg_tail; /* scoreboard records, of this instance only */
	struct seqrange dsack;
	/* Keepalive, ms. */
	uint32_t keep_idle, keep_intvl, user_timeout, linger_ms, linger2_ms, last_rx_ms,
	    last_tx_ms;
	uint32_t last_oow_ms; /* when out-of-window input was last answered */
	uint32_t start_ms;    /* first transmission of what times out now */
	/* Listening. */
	uint32_t backlog, nsyn, nacc, acc_head, acc_tail;
	/* TCP_INFO. */
	uint32_t total_retrans, segs_out, segs_in, cookie_ms;
	uint64_t bytes_acked, bytes_received;
	struct seqrange
	    ooo[OOO_MAX]; /* received out of order, most recent first; last: see state.c */
};

/* What a socket has joined: from anyone, from one source, or from all but one. */
enum {
	MEMBER_ANY,
	MEMBER_SOURCE,
	MEMBER_BLOCK
};
struct member {
	struct ipa group, source;
	uint16_t ifi, kind;
	uint32_t pad;
};
#define MAX_MEMBER 12

struct dgram {
	uint8_t hdrincl, recverr, sum_on, nmember;
	uint8_t mcast_ttl, mcast_loop;
	uint16_t ethertype;
	uint32_t mcast_if, mcast_addr;
	uint32_t port_lock; /* the port was asked for: disconnecting keeps it */
	uint32_t icmp_filter, icmp6_filter[8];
	uint32_t promisc;
	uint16_t gso_size, sum_off;       /* IPV6_CHECKSUM */
	struct member member[MAX_MEMBER]; /* last: see state.c */
};

/* sock.df: 0, or one more than IP_PMTUDISC_*. */
#define PMTUD_WANT  1u
#define PMTUD_DO    2u
#define PMTUD_PROBE 3u
#define PMTUD_MAX   5u

#define SF_REUSEADDR 0x0001u
#define SF_REUSEPORT 0x0002u
#define SF_BROADCAST 0x0004u
#define SF_V6ONLY    0x0008u
#define SF_BOUND     0x0010u /* has a port of its own */
#define SF_CONNECTED 0x0020u /* datagram: has a peer */
#define SF_RELEASED  0x0040u /* the client closed it */
#define SF_HASHED    0x0080u
#define SF_LHASHED   0x0100u
#define SF_LINGER    0x0200u
#define SF_DIRTY     0x0400u
#define SF_OUTPUT    0x0800u /* tcp_output is due at the end of the batch */
#define SF_OOBINLINE 0x1000u
#define SF_TRANSP    0x2000u
#define SF_BINDADDR  0x4000u /* laddr was bound, not chosen by routing */
#define SF_SHUT_RD   0x8000u

struct sock {
	uint32_t check; /* over what is sealed, made when the socket comes to rest */
	/* Links of this instance, rebuilt on adoption. */
	uint32_t hnext, lnext, fnext, dnext;
	uint32_t wnext, wprev;
	uint32_t wexp; /* ms; 0: not in the wheel */
	uint16_t wslot;
	uint16_t unsealed;      /* changed since the check word was made, or being so */
	uint32_t dl[TMR_COUNT]; /* ms deadlines, 0: not set */
	uint32_t pad2[3];
	/* Sealed from here on. */
	uint8_t kind __attribute__((aligned(16))), state, domain, type;
	uint8_t proto, ttl, tos, df; /* ttl 0: default */
	uint8_t ifi;                 /* of the route in use */
	uint8_t bound_if;
	uint16_t flags;
	uint32_t slot;   /* PVS_NO_SLOT: none */
	uint32_t rel_id; /* request to answer when released, valid with SF_RELEASED + slot */
	struct ipa laddr, raddr;
	uint16_t lport, rport; /* host order */
	uint16_t app_port;     /* published: the port the listener has */
	uint8_t client;        /* who has the slot, or of a child its listener's */
	uint8_t rel_due;       /* the answer to RELEASE is to be sent, the slot still ours */
	uint32_t error, err_count;
	uint32_t route_gen, neigh, mtu;
	uint32_t sndbuf, rcvbuf, rcvlowat, sndlowat;
	struct dring tx, rx;
	uint32_t tx_prod, tx_cons; /* as last read and published */
	uint32_t rx_prod, rx_cons;
	uint32_t pub_state, pub_tx_cons;
	uint32_t rx_drops, rx_urg_count;
	uint32_t parent, anext;
	uint32_t mark, prio;
	uint32_t rcvtimeo, sndtimeo;
	union {
		struct tcp t;
		struct dgram d;
	};
};
_Static_assert(sizeof(struct sock) <= 1024, "10,000 idle connections stay under 32 MiB");

/* Scoreboard: what is in flight, in sequence order. */
#define SG_SACKED  1
#define SG_LOST    2
#define SG_RETRANS 4 /* a retransmission is in flight */
#define SG_EVER    8 /* was ever retransmitted */
#define SG_FIN     16

struct seg {
	uint32_t seq, len;
	uint32_t next;
	uint8_t flags, txcount;
	uint16_t pad;
	uint64_t xmit; /* us */
};

#endif
