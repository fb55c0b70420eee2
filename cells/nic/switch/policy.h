/* SPDX-License-Identifier: ISC */
/*
 * What a port may do, from its channel's arguments (space-separated key=value):
 *
 *	mac=02:..        its address; made from the port's label if absent
 *	ip=A[/L],B,...   its addresses, joined by commas or + (a boot configuration's commas
 *	                 are blanks); frames from others are dropped. Without any, its MAC
 *	                 alone binds it (DHCP); with only IPv4 ones, IPv6 is bound by the
 *	                 MAC alone (SLAAC); with only IPv6 ones, it has no IPv4
 *	mode=M           bridge, macvlan, macvlan-private, macvlan-vepa, ipvlan, share
 *	learn            mode=ipvlan: besides ip= one more IPv4 address, by using it (DHCP)
 *	learn6           mode=ipvlan: besides ip= any IPv6 address, by using it (SLAAC); the
 *	                 last four count
 *	uplink=N         which card (default 0)
 *	vlan=N           its VLAN on the wire (0: untagged); it sends and sees no tags
 *	seg=N            instead of a card: a private segment (1..65535) that no wire reaches
 *	host=A ports=L   mode=share: a slice of the ports of host address A, or of A+B, one of
 *	                 each family; L is [l][f|s][t|u]FIRST[-LAST] joined by + or commas.
 *	                 l: only for ports of this machine, and for what comes from near=
 *	                 (share.c); f: IPv4 only, s: IPv6 only, else both; t: TCP, u: UDP,
 *	                 else both and the identifiers of ICMP echo. Without any letter those
 *	                 of the one before count.
 *	near=A           an address on the wire that counts as of this machine
 *	mtu=N            at most the card's
 *	queues=N         queue pairs offered
 *	rate=N rxrate=N  bits/s it may send and receive (suffixes K M G)
 *	class=0..7       traffic class: higher is served first; PCP of tagged frames
 *	spoof=off        it may use any address (and is learned from, bridge mode)
 *	promisc          it may ask for every frame of its VLAN
 *	rules=R;R;...    5-tuple rules, the first that matches decides; acl=NAME: the list
 *	                 "acl.NAME=..." of the cell's own arguments, after these
 *
 * A rule is +|- in|out [,tcp|udp|icmp|PROTO] [,from=ADDR[/LEN]] [,to=ADDR[/LEN]]
 * [,sport=A[-B]] [,dport=A[-B]] [,syn] joined by commas without blanks, as in
 * "rules=+in,tcp,dport=80;-in,tcp,syn". out: sent by the port. syn: only TCP segments
 * that open a connection. What no rule matches is allowed. Where ports cannot be seen
 * (later fragments, short ones), deny rules that name ports match, allow rules do not.
 */
#ifndef NIC_POLICY_H
#define NIC_POLICY_H

#include "cells/nic/net_common.h"
#include "d0/vnet.h"

#define POLICY_ADDRS_MAX 8u
#define POLICY_RULES_MAX 16u

enum policy_mode {
	POLICY_BRIDGE,
	POLICY_MACVLAN,
	POLICY_MACVLAN_PRIVATE,
	POLICY_MACVLAN_VEPA,
	POLICY_IPVLAN,
	POLICY_SHARE
};

enum policy_dir {
	POLICY_IN,
	POLICY_OUT
};

/* A piece of an address's port space. */
enum {
	SLICE_TCP = 1,
	SLICE_UDP = 2,
	SLICE_ICMP = 4
};
struct policy_slice {
	uint16_t lo, hi;
	uint8_t protos;   /* SLICE_* */
	uint8_t families; /* POLICY_V* */
	bool local;       /* not for what comes from the wire, but from policy.near */
};
enum {
	POLICY_V4 = 1,
	POLICY_V6 = 2
};
#define POLICY_SLICES_MAX 32u
#define POLICY_LEARN6     4u
#define POLICY_NO_CARD    8u /* policy.uplink of private segments; policy.vlan is the number */

struct policy_rule {
	uint8_t allow, dir, any_proto, proto, syn;
	uint8_t from_len, to_len; /* prefix bits of the 128-bit form, 0: any */
	struct net_addr from, to;
	uint16_t sport_lo, sport_hi, dport_lo, dport_hi; /* 0..65535: any */
};

struct policy {
	uint8_t mac[6];
	bool has_mac;
	enum policy_mode mode;
	unsigned uplink;
	uint16_t vlan, mtu, queues;
	uint8_t tclass;
	bool spoof_ok, promisc_ok;
	bool learn;       /* POLICY_IPVLAN: may take one IPv4 address, by using it */
	unsigned learned; /* which of addr[] that is, + 1; 0: none yet */
	bool learn6;      /* POLICY_IPVLAN: may take IPv6 addresses, by using them */
	uint8_t learned6[POLICY_LEARN6], next6; /* as learned; whose turn it is to go */
	bool has_v4, has_v6;                    /* addresses of that family are listed */
	unsigned addrs, rules;
	struct net_addr addr[POLICY_ADDRS_MAX];
	struct policy_rule rule[POLICY_RULES_MAX];
	struct net_addr host[2]; /* IPv4, IPv6; POLICY_SHARE, if there are slices */
	uint8_t hosts;           /* POLICY_V*: which of them there are */
	struct net_addr near;    /* all zero: nobody on the wire */
	unsigned slices;
	struct policy_slice slice[POLICY_SLICES_MAX];
	uint64_t rate, rxrate; /* bytes/s, 0: no limit */
};

/* 0, or -1 and *why says what is wrong. acls: where acl=NAME is looked up, or NULL. */
int policy_parse(struct policy *p, const char *args, const char *acls, const char **why);

/*
 * What may change while a port runs, from the words that are there: rules= and acl= (together
 * in place of the list there was; rules= alone: none), rate=, rxrate=, class=. Any other word
 * is refused, and then nothing changes: what a port is stays what its channel says.
 */
int policy_update(struct policy *p, const char *args, const char *acls, const char **why);

/* Why a frame is refused. */
enum policy_verdict {
	POLICY_PASS,
	POLICY_SPOOF,
	POLICY_RULE,
	POLICY_TAGGED
};

/* A frame sent by the port: tags, addresses, rules. mac: the port's own. */
enum policy_verdict policy_out(const struct policy *p, const uint8_t *mac, const uint8_t *head,
			       uint32_t head_len, const struct net_info *info);
/* A frame for the port: rules. */
enum policy_verdict policy_in(const struct policy *p, const uint8_t *head,
			      const struct net_info *info);

/* Whether the port has the card's MAC and is told by address. */
static inline bool policy_shares_mac(const struct policy *p)
{
	return p->mode >= POLICY_IPVLAN;
}

/* Which port of an address a frame is for (dst) or from (!dst): port | SLICE_* << 16; ICMP
 * errors count by what they quote; 0: none can be told. */
uint32_t policy_key(const uint8_t *head, uint32_t head_len, const struct net_info *in,
		    bool dst);
/* Whether it is one of the host addresses whose ports a port of mode share has. */
bool policy_is_host(const struct policy *p, const struct net_addr *a);
/* Whether a port of mode share has that port of the host address. */
bool policy_has_port(const struct policy *p, const struct net_addr *host, uint32_t key);

/* Whether that port, which it has, is closed to what comes from the wire with source src. */
bool policy_port_closed(const struct policy *p, uint32_t key, const struct net_addr *src);

/* Whether the port owns the address (is in its ip= list). */
bool policy_has_addr(const struct policy *p, const struct net_addr *addr);
/* Whether a port of mode share may send it: frames of its slice, questions for neighbours and
 * names. mac: the port's own. */
bool policy_share_is_own(const struct policy *p, const uint8_t *mac, const uint8_t *head,
			 uint32_t head_len, const struct net_info *in);
/* A frame the port sends: a new source becomes the address of a port that may learn; true: it
 * did. */
bool policy_learn(struct policy *p, const struct net_info *in);

/* Token bucket: rate in bytes/s, a burst of 10 ms of it or one full segment. */
struct bucket {
	uint64_t rate;
	int64_t tokens;
	uint64_t last_ns;
};
void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_ns);
/* Whether something may pass now; if not, *when is the time to ask again. */
bool bucket_ready(struct bucket *b, uint64_t now_ns, uint64_t *when);
/* Something of that size passed (the bucket may go below 0 and pays it back). */
static inline void bucket_take(struct bucket *b, uint32_t bytes)
{
	if (b->rate)
		b->tokens -= bytes;
}

#endif
