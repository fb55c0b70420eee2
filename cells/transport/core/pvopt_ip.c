/* SPDX-License-Identifier: ISC */
/* Options of IP and IPv6: ip(7), ipv6(7). The others, and the theory: pvopt.c. */
#include "mcast.h"
#include "pv.h"

enum {
	IP_TOS_ = 1,
	IP_TTL_ = 2,
	IP_HDRINCL_ = 3,
	IP_PKTINFO_ = 8,
	IP_MTU_DISCOVER_ = 10,
	IP_RECVERR_ = 11,
	IP_RECVTTL_ = 12,
	IP_RECVTOS_ = 13,
	IP_MTU_ = 14,
	IP_FREEBIND_ = 15,
	IP_BIND_ADDRESS_NO_PORT_ = 24,
	IP_MULTICAST_IF_ = 32,
	IP_MULTICAST_TTL_ = 33,
	IP_MULTICAST_LOOP_ = 34,
	IP_MULTICAST_ALL_ = 49
};

/* struct in_addr, ip_mreq or ip_mreqn: by index, or by an address of the interface. */
static int set_mcast_if(struct tp_stack *st, struct sock *s, const uint8_t *v, uint32_t len)
{
	uint32_t addr, index = len >= 12 ? pv_get_u32(v + 8, 4) : 0;
	const struct ifaddr *a;
	struct ipa ip = ipa_from4(0);

	if (len < 4)
		return -TE_INVAL;
	addr = pv_get_u32(len >= 8 ? v + 4 : v, 4);
	if (!index && addr) {
		ip.w[3] = addr;
		a = addr_find(st, &ip);
		if (!a)
			return -TE_ADDRNOTAVAIL;
		index = a->ifi + 1u;
	} else if (index && (index > TP_MAX_IF || !st->s->ifs[index - 1].used)) {
		return -TE_ADDRNOTAVAIL;
	}
	if (s->bound_if && index && index - 1 != s->bound_if)
		return -TE_INVAL;
	s->d.mcast_if = index;
	s->d.mcast_addr = addr;
	return 0;
}

int pv_set_ip(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
	      uint32_t len)
{
	uint32_t x = len >= 4 ? pv_get_u32(v, len) : len ? v[0] : 0;
	bool dg = s->kind != SK_TCP;

	if (!len && name != IP_TOS_) /* Linux takes that for 0 */
		return -TE_INVAL;
	switch (name) {
	case IP_TOS_:
		s->tos = (uint8_t)(dg ? x : (x & 0xfc) | (s->tos & 3));
		return 0;
	case IP_TTL_:
		if ((int32_t)x != -1 && (!x || x > 255))
			return -TE_INVAL;
		s->ttl = (int32_t)x == -1 ? 0 : (uint8_t)x;
		return 0;
	case IP_HDRINCL_:
		if (s->kind != SK_RAW)
			return -TE_NOPROTOOPT;
		s->d.hdrincl = !!x;
		return 0;
	case IP_MTU_DISCOVER_:
		if (x > PMTUD_MAX)
			return -TE_INVAL;
		s->df = (uint8_t)(x + 1);
		return 0;
	case IP_RECVERR_:
		if (dg)
			s->d.recverr = !!x;
		return 0;
	case IP_MULTICAST_IF_:
		return dg ? set_mcast_if(st, s, v, len) : -TE_INVAL;
	case IP_MULTICAST_TTL_:
		if (!dg || ((int32_t)x != -1 && x > 255))
			return -TE_INVAL;
		s->d.mcast_ttl = (int32_t)x == -1 ? 1 : (uint8_t)x;
		return 0;
	case IP_MULTICAST_LOOP_:
		if (dg)
			s->d.mcast_loop = !!x;
		return 0;
	case IP_ADD_MEMBERSHIP_:
	case IP_DROP_MEMBERSHIP_:
	case IP_UNBLOCK_SOURCE_:
	case IP_BLOCK_SOURCE_:
	case IP_ADD_SOURCE_MEMBERSHIP_:
	case IP_DROP_SOURCE_MEMBERSHIP_:
	case MCAST_JOIN_GROUP_ ... MCAST_LEAVE_SOURCE_GROUP_:
		return mcast_option(st, s, name, v, len);
	case IP_PKTINFO_:
	case IP_RECVTTL_:
	case IP_RECVTOS_:
	case IP_FREEBIND_:
	case IP_BIND_ADDRESS_NO_PORT_:
	case IP_MULTICAST_ALL_:
		return 0;
	}
	return -TE_NOPROTOOPT;
}

enum {
	IPV6_ADDRFORM_ = 1,
	IPV6_CHECKSUM_ = 7,
	IPV6_UNICAST_HOPS_ = 16,
	IPV6_MULTICAST_IF_ = 17,
	IPV6_MULTICAST_HOPS_ = 18,
	IPV6_MULTICAST_LOOP_ = 19,
	IPV6_MTU_DISCOVER_ = 23,
	IPV6_MTU_ = 24,
	IPV6_RECVERR_ = 25,
	IPV6_V6ONLY_ = 26,
	IPV6_RECVPKTINFO_ = 49,
	IPV6_RECVHOPLIMIT_ = 51,
	IPV6_RECVTCLASS_ = 66,
	IPV6_TCLASS_ = 67,
	IPV6_DONTFRAG_ = 62,
	IPV6_AUTOFLOWLABEL_ = 70
};

int pv_set_ip6(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
	       uint32_t len)
{
	uint32_t x = pv_get_u32(v, len);
	bool dg = s->kind != SK_TCP;

	if (len < 4)
		return -TE_INVAL;
	switch (name) {
	case IPV6_V6ONLY_:
		if (s->flags & SF_BOUND)
			return -TE_INVAL;
		s->flags = (uint16_t)(x ? s->flags | SF_V6ONLY : s->flags & ~SF_V6ONLY);
		return 0;
	case IPV6_UNICAST_HOPS_:
		if ((int32_t)x != -1 && x > 255)
			return -TE_INVAL;
		s->ttl = (int32_t)x == -1 ? 0 : (uint8_t)x;
		return 0;
	case IPV6_TCLASS_:
		if ((int32_t)x != -1 && x > 255)
			return -TE_INVAL;
		s->tos = (int32_t)x == -1 ? 0 : (uint8_t)x;
		return 0;
	case IPV6_MULTICAST_IF_:
		if (x && (x > TP_MAX_IF || !st->s->ifs[x - 1].used))
			return -TE_NODEV;
		if (dg)
			s->d.mcast_if = x;
		return 0;
	case IPV6_MULTICAST_HOPS_:
		if ((int32_t)x != -1 && x > 255)
			return -TE_INVAL;
		if (dg)
			s->d.mcast_ttl = (int32_t)x == -1 ? 1 : (uint8_t)x;
		return 0;
	case IPV6_MULTICAST_LOOP_:
		if (dg)
			s->d.mcast_loop = !!x;
		return 0;
	case IPV6_ADD_MEMBERSHIP_:
	case IPV6_DROP_MEMBERSHIP_:
	case MCAST_JOIN_GROUP_ ... MCAST_LEAVE_SOURCE_GROUP_:
		return mcast_option6(st, s, name, v, len);
	case IPV6_MTU_DISCOVER_:
		if (x > PMTUD_MAX)
			return -TE_INVAL;
		s->df = (uint8_t)(x + 1);
		return 0;
	case IPV6_DONTFRAG_:
		s->df = x ? PMTUD_DO + 1 : 0;
		return 0;
	case IPV6_RECVERR_:
		if (dg)
			s->d.recverr = !!x;
		return 0;
	case IPV6_CHECKSUM_: /* RFC 3542 section 3.1 */
		if (s->kind != SK_RAW)
			return -TE_NOPROTOOPT;
		if (s->proto == IPPROTO_ICMPV6_)
			return -TE_INVAL;
		if ((int32_t)x != -1 && (x % 2 || x > 65000))
			return -TE_INVAL;
		s->d.sum_on = (int32_t)x != -1;
		s->d.sum_off = (uint16_t)x;
		return 0;
	case IPV6_RECVPKTINFO_:
	case IPV6_RECVHOPLIMIT_:
	case IPV6_RECVTCLASS_:
	case IPV6_AUTOFLOWLABEL_:
		return 0;
	}
	return -TE_NOPROTOOPT;
}

static uint32_t sock_mtu(struct tp_stack *st, struct sock *s)
{
	struct dst d;

	return route_lookup(st, &s->raddr, &s->laddr, s->bound_if, &d) ? 0 : d.mtu;
}

int pv_get_ip(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v, uint32_t room)
{
	bool dg = s->kind != SK_TCP;
	uint32_t x;

	switch (name) {
	case IP_TOS_:
		x = s->tos;
		break;
	case IP_TTL_:
		x = s->ttl ? s->ttl : 64;
		break;
	case IP_HDRINCL_:
		x = dg && s->d.hdrincl;
		break;
	case IP_MTU_DISCOVER_:
		x = s->df ? s->df - 1u : PMTUD_WANT;
		break;
	case IP_MTU_:
		if (ipa_any(&s->raddr))
			return -TE_NOTCONN;
		x = sock_mtu(st, s);
		break;
	case IP_RECVERR_:
		x = dg && s->d.recverr;
		break;
	case IP_MULTICAST_TTL_:
		x = dg ? s->d.mcast_ttl : 1;
		break;
	case IP_MULTICAST_LOOP_:
		x = dg && s->d.mcast_loop;
		break;
	case IP_MULTICAST_IF_:
		x = dg ? s->d.mcast_addr : 0;
		break;
	case IP_PKTINFO_:
	case IP_RECVTTL_:
	case IP_RECVTOS_:
	case IP_FREEBIND_:
		x = 0;
		break;
	default:
		return -TE_NOPROTOOPT;
	}
	return pv_put_u32(v, room, x);
}

int pv_get_ip6(struct tp_stack *st, struct sock *s, uint32_t name, uint8_t *v, uint32_t room)
{
	bool dg = s->kind != SK_TCP;
	uint32_t x;

	switch (name) {
	case IPV6_V6ONLY_:
		x = !!(s->flags & SF_V6ONLY);
		break;
	case IPV6_UNICAST_HOPS_:
		x = s->ttl ? s->ttl : 64;
		break;
	case IPV6_TCLASS_:
		x = s->tos;
		break;
	case IPV6_MULTICAST_HOPS_:
		x = dg ? s->d.mcast_ttl : 1;
		break;
	case IPV6_MULTICAST_LOOP_:
		x = dg && s->d.mcast_loop;
		break;
	case IPV6_MULTICAST_IF_:
		x = dg ? s->d.mcast_if : 0;
		break;
	case IPV6_MTU_:
		x = sock_mtu(st, s);
		break;
	case IPV6_MTU_DISCOVER_:
		x = s->df ? s->df - 1u : PMTUD_WANT;
		break;
	case IPV6_RECVERR_:
		x = dg && s->d.recverr;
		break;
	case IPV6_CHECKSUM_:
		x = s->kind != SK_RAW             ? UINT32_MAX
		    : s->proto == IPPROTO_ICMPV6_ ? 2u
		    : s->d.sum_on                 ? s->d.sum_off
						  : UINT32_MAX;
		break;
	default:
		return -TE_NOPROTOOPT;
	}
	memcpy(v, &x, MIN(room, 4u)); /* not a byte, as with IP */
	return (int)MIN(room, 4u);
}
