/* SPDX-License-Identifier: ISC */
/*
 * net_common: frames as the nic cell handles them, header parsing, checksums, flow hash.
 * Nothing here blocks or allocates. All functions take private memory unless they say
 * otherwise; multi-byte fields on the wire are read and written with get/put_be.
 */
#ifndef NIC_NET_COMMON_H
#define NIC_NET_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NET_MAC_LEN   6u
#define NET_ETH_HDR   14u
#define NET_VLAN_HDR  4u
#define NET_HEAD_MAX  256u /* bytes of a frame that decisions are made on */
#define NET_FRAGS_MAX 42u
#define NET_FRAME_MAX 65553u
#define NET_MTU_MAX   9216u
#define NET_GSO_MIN   48u /* smallest segment payload a port may ask for */

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	ETHERTYPE_IPV6 = 0x86dd,
};
enum {
	IPPROTO_N_ICMP = 1,
	IPPROTO_N_TCP = 6,
	IPPROTO_N_UDP = 17,
	IPPROTO_N_ICMPV6 = 58,
};

static inline uint16_t get_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return __builtin_bswap16(v);
}

static inline uint32_t get_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline void put_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, 2);
}

static inline void put_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

static inline bool mac_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, NET_MAC_LEN) == 0;
}

static inline bool mac_is_multicast(const uint8_t *mac)
{
	return mac[0] & 1;
}

static inline bool mac_is_broadcast(const uint8_t *mac)
{
	return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

/* An address of either family: IPv4 as ::ffff:a.b.c.d. */
struct net_addr {
	uint8_t b[16];
};

static inline struct net_addr net_addr_v4(const uint8_t *p)
{
	struct net_addr a = {{0}};

	a.b[10] = a.b[11] = 0xff;
	memcpy(a.b + 12, p, 4);
	return a;
}

static inline struct net_addr net_addr_v6(const uint8_t *p)
{
	struct net_addr a;

	memcpy(a.b, p, 16);
	return a;
}

static inline bool net_addr_equal(const struct net_addr *a, const struct net_addr *b)
{
	return memcmp(a->b, b->b, 16) == 0;
}

/* fe80::/10, RFC 4291 section 2.5.6 */
static inline bool net_addr_link_local6(const struct net_addr *a)
{
	return (get_be16(a->b) & 0xffc0) == 0xfe80;
}

static inline bool net_addr_is_v4(const struct net_addr *a)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->b, prefix, 12) == 0;
}

/* 0.0.0.0 or :: */
static inline bool net_addr_is_zero(const struct net_addr *a)
{
	static const struct net_addr zero4 = {{[10] = 0xff, [11] = 0xff}}, zero6;

	return net_addr_equal(a, &zero4) || net_addr_equal(a, &zero6);
}

/* What the headers of a frame say. Offsets count from the frame's first byte. */
struct net_info {
	uint16_t ethertype; /* the innermost, behind VLAN tags */
	uint16_t vlan;      /* outermost tag's VID, 0: untagged (or priority-tagged) */
	uint8_t tagged;     /* an outermost 802.1Q tag is there */
	uint8_t l4_proto;   /* valid if l3_ok */
	uint8_t l3_ok;      /* IPv4 or IPv6 header valid and inside the head */
	uint8_t l4_ok;      /* TCP or UDP header valid and inside the head */
	uint8_t fragment;   /* part of a fragmented datagram */
	uint8_t first;      /* ... the first one */
	uint8_t malformed;  /* claims IPv4, IPv6 or ARP, but the header is not one */
	uint8_t ip6;
	uint16_t l3_off, l4_off, payload_off;
	uint16_t ip_len; /* IPv4: total length; IPv6: 40 + payload length */
	uint16_t sport, dport;
	uint32_t frag_id;         /* valid if fragment */
	struct net_addr src, dst; /* valid if l3_ok; for ARP the sender's and target's */
	uint8_t is_arp;
};

/* ICMPv6 types of neighbour discovery, RFC 4861 section 4 */
enum {
	NET_ND_SOLICIT = 135,
	NET_ND_ADVERT = 136,
};
/* The type of an ICMPv6 message whose first byte is in the head; 0: it is none. */
static inline uint8_t net_icmp6_type(const uint8_t *head, uint32_t head_len,
				     const struct net_info *in)
{
	return in->ip6 && in->l4_proto == IPPROTO_N_ICMPV6 && !(in->fragment && !in->first) &&
		       in->l4_off < head_len
		   ? head[in->l4_off]
		   : 0;
}

/* A piece of a frame. Bytes may be memory that a port's owner can write at any time. */
struct net_frag {
	uint8_t *data;
	uint64_t dma; /* for devices, D0_NEVER if they cannot reach it */
	uint32_t len;
};

enum net_gso {
	NET_GSO_NONE,
	NET_GSO_TCP4,
	NET_GSO_TCP6,
	NET_GSO_UDP, /* both families */
};

/*
 * A frame on its way. frag[0] begins with the headers, in private memory that does not
 * change while the frame lives (info was parsed from it); later pieces need not be
 * private. Frames are passed by pointer and belong to the caller unless said otherwise.
 */
struct net_frame {
	uint32_t len;
	uint16_t nfrag;
	uint16_t csum_start, csum_offset; /* valid if csum_partial */
	uint16_t gso_size;
	uint8_t gso;          /* enum net_gso */
	uint8_t gso_ecn;      /* CWR is set in the first segment only */
	uint8_t csum_partial; /* the L4 sum covers the pseudo header only, so far */
	uint8_t csum_ok;      /* the L4 sum was verified */
	uint32_t hash;        /* of the flow */
	uint16_t max;         /* room in frag[] */
	struct net_frag *frag;
	struct net_info info;
};

/*
 * Parses the head of a frame of frame_len bytes, of which head_len are at `head`. Never
 * fails: what is not understood stays 0. Reads each byte of the head at most once per
 * field and nothing beyond it.
 */
void net_parse(const uint8_t *head, uint32_t head_len, uint32_t frame_len,
	       struct net_info *info);

/* Hash of addresses, ports and protocol (of the MACs for other frames); fragments of one
 * datagram hash alike. Symmetric in direction: no. */
uint32_t net_flow_hash(const uint8_t *head, const struct net_info *info, uint32_t key);

/* Ones' complement sum (RFC 1071), not folded; `odd`: begin at an odd offset. */
uint32_t net_sum(const void *data, uint32_t len, uint32_t sum, bool odd);
static inline uint16_t net_sum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}
/* Sum of the pseudo header for a segment of that length. */
uint32_t net_sum_pseudo(const struct net_info *info, const uint8_t *head, uint32_t l4_len);

/* Sums bytes [from, frame->len) over all pieces. */
uint32_t net_frame_sum(const struct net_frame *f, uint32_t from);

/* Completes a partial checksum in frag[0]. The field lies there, or nothing is done and
 * false returned. */
bool net_frame_finish_csum(struct net_frame *f);

/* Copies [off, off + len) out of a frame; the range is inside it. */
void net_frame_copy(const struct net_frame *f, uint32_t off, void *buf, uint32_t len);

/* Text forms: "aa:bb:..", dotted quads, RFC 4291 addresses. Return 0 or -1. */
int net_parse_mac(const char *text, uint8_t mac[6]);
int net_parse_addr(const char *text, size_t len, struct net_addr *addr);

#endif
