/* SPDX-License-Identifier: ISC */
/* Packet formats, exactly as on the wire. All fields are big-endian. */
#ifndef TRANSPORT_WIRE_H
#define TRANSPORT_WIRE_H

#include <stdint.h>

static inline uint16_t be16(uint16_t x)
{
	return __builtin_bswap16(x);
}

static inline uint32_t be32(uint32_t x)
{
	return __builtin_bswap32(x);
}

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

#define ETH_HLEN   14u
#define ETH_P_IP   0x0800u
#define ETH_P_ARP  0x0806u
#define ETH_P_IPV6 0x86ddu

struct eth_hdr {
	uint8_t dst[6];
	uint8_t src[6];
	uint16_t type;
} __attribute__((packed));

/* RFC 826, Ethernet and IPv4. */
struct arp_pkt {
	uint16_t hrd, pro;
	uint8_t hln, pln;
	uint16_t op;
	uint8_t sha[6];
	uint8_t spa[4];
	uint8_t tha[6];
	uint8_t tpa[4];
} __attribute__((packed));

/* RFC 791. */
struct ip4_hdr {
	uint8_t vhl;
	uint8_t tos;
	uint16_t len;
	uint16_t id;
	uint16_t frag;
	uint8_t ttl;
	uint8_t proto;
	uint16_t csum;
	uint32_t src;
	uint32_t dst;
} __attribute__((packed));

#define IP4_DF 0x4000u
#define IP4_MF 0x2000u

/* RFC 8200. */
struct ip6_hdr {
	uint32_t vtf;
	uint16_t len;
	uint8_t next;
	uint8_t hops;
	uint8_t src[16];
	uint8_t dst[16];
} __attribute__((packed));

struct ip6_frag {
	uint8_t next;
	uint8_t reserved;
	uint16_t off; /* offset << 3 | M */
	uint32_t id;
} __attribute__((packed));

struct udp_hdr {
	uint16_t sport, dport, len, csum;
} __attribute__((packed));

/* RFC 9293 section 3.1. */
struct tcp_hdr {
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t off; /* data offset << 4 */
	uint8_t flags;
	uint16_t wnd, csum, urp;
} __attribute__((packed));

#define TH_FIN 0x01
#define TH_SYN 0x02
#define TH_RST 0x04
#define TH_PSH 0x08
#define TH_ACK 0x10
#define TH_URG 0x20
#define TH_ECE 0x40
#define TH_CWR 0x80

struct icmp_hdr {
	uint8_t type, code;
	uint16_t csum;
	uint32_t rest;
} __attribute__((packed));

#define IPPROTO_HOPOPTS_  0
#define IPPROTO_ICMP_     1
#define IPPROTO_IGMP_     2
#define IPPROTO_TCP_      6
#define IPPROTO_UDP_      17
#define IPPROTO_ROUTING_  43
#define IPPROTO_FRAGMENT_ 44
#define IPPROTO_ICMPV6_   58
#define IPPROTO_NONE_     59
#define IPPROTO_DSTOPTS_  60

/* RFC 2131. */
struct dhcp_msg {
	uint8_t op, htype, hlen, hops;
	uint32_t xid;
	uint16_t secs, flags;
	uint32_t ciaddr, yiaddr, siaddr, giaddr;
	uint8_t chaddr[16];
	uint8_t sname[64];
	uint8_t file[128];
	uint32_t cookie;
} __attribute__((packed));

_Static_assert(sizeof(struct eth_hdr) == 14, "RFC 894");
_Static_assert(sizeof(struct arp_pkt) == 28, "RFC 826");
_Static_assert(sizeof(struct ip4_hdr) == 20, "RFC 791 section 3.1");
_Static_assert(sizeof(struct ip6_hdr) == 40, "RFC 8200 section 3");
_Static_assert(sizeof(struct ip6_frag) == 8, "RFC 8200 section 4.5");
_Static_assert(sizeof(struct udp_hdr) == 8, "RFC 768");
_Static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293 section 3.1");
_Static_assert(sizeof(struct icmp_hdr) == 8, "RFC 792");
_Static_assert(sizeof(struct dhcp_msg) == 240, "RFC 2131 section 2");

#endif
