/* SPDX-License-Identifier: ISC */
/* Multicast: groups of the stack, memberships of sockets, IGMP and MLD. */
#ifndef TRANSPORT_MCAST_H
#define TRANSPORT_MCAST_H

#include "tp_int.h"

/* Linux's numbers, the same for IPv4 and (from 42 on) IPv6: ip(7), RFC 3678. */
enum {
	IP_ADD_MEMBERSHIP_ = 35,
	IP_DROP_MEMBERSHIP_,
	IP_UNBLOCK_SOURCE_,
	IP_BLOCK_SOURCE_,
	IP_ADD_SOURCE_MEMBERSHIP_,
	IP_DROP_SOURCE_MEMBERSHIP_,
	MCAST_JOIN_GROUP_ = 42,
	MCAST_BLOCK_SOURCE_,
	MCAST_UNBLOCK_SOURCE_,
	MCAST_LEAVE_GROUP_,
	MCAST_JOIN_SOURCE_GROUP_,
	MCAST_LEAVE_SOURCE_GROUP_,
	IPV6_ADD_MEMBERSHIP_ = 20,
	IPV6_DROP_MEMBERSHIP_
};

/* The stack's own table. source NULL: from anyone. -ENOBUFS: the table is full. */
int group_join(struct tp_stack *st, unsigned ifi, const struct ipa *group,
	       const struct ipa *source);
void group_leave(struct tp_stack *st, unsigned ifi, const struct ipa *group,
		 const struct ipa *source);
bool group_is(const struct tp_stack *st, unsigned ifi, const struct ipa *group);

/* Socket options; 0 or -errno. */
int mcast_option(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		 uint32_t len);
int mcast_option6(struct tp_stack *st, struct sock *s, uint32_t name, const uint8_t *v,
		  uint32_t len);
/* Does the socket want what `source` sends to the group? */
bool mcast_allowed(const struct sock *s, const struct ipa *group, unsigned ifi,
		   const struct ipa *source);
void mcast_leave_all(struct tp_stack *st, struct sock *s);

/* After a restart: groups of the addresses that there are; of an adopted socket. */
void mcast_begin(struct tp_stack *st);
void mcast_link_up(struct tp_stack *st, unsigned ifi); /* tells the link what is wanted */
void mcast_revive(struct tp_stack *st, struct sock *s);

void igmp_input(struct tp_stack *st, struct pkt *p);
/* Sends what is due; the time (us) of what comes next, NEVER: nothing. */
uint64_t mcast_tick(struct tp_stack *st);
/* Every group of the interface that the query p asks for will be reported. v3: IGMPv3, MLDv2.
 */
void mcast_answer(struct tp_stack *st, const struct pkt *p, bool v3);

struct ipa solicited_node(const struct ipa *a); /* route.c */

#endif
