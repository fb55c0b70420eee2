/* SPDX-License-Identifier: ISC */
/* Internet sockets: what connections and options (inet.c) share with data (inet_data.c). */
#ifndef LX_NET_INET_H
#define LX_NET_INET_H

#include "cells/linux/inc/net.h"
#include "cells/transport/client/pvs_client.h"

struct isock {
	struct sock s;
	int id; /* the slot */
	bool connecting, listening, bound, connected;
	u8 pktinfo, recvttl, recvtos; /* MSG_IP4, MSG_IP6: by options of which level */
	bool hdrincl;
	u64 stamp; /* wall clock of the latest datagram read, for SIOCGSTAMP */
	int connect_error;
	struct packet_filter *filter;
	u8 *peeked; /* a datagram that was looked at: struct pvs_dgram, then data */
	bool shut_rd, shut_wr, fresh;
	struct pvs_addr peer;    /* fresh: accepted, and nobody asked who that was */
	struct pvs_addr sent_to; /* a datagram was sent there without an error */
	u32 copying; /* threads between a look at the rings and the move of an index */
	bool moving; /* the rings are being exchanged */
	struct klock sending, receiving; /* the move of an index, and copying before it */
	/* Streams: bytes in the ring that the transport was not told of yet (TCP_CORK,
	 * MSG_MORE). */
	bool cork, told_more, wants_out;
	u32 untold;
	bool unread; /* it has data that nobody took; counted by inet_unread */
	bool heard;  /* data was taken since something was sent last */
	struct ktimer hold;
	/* inet_urgent.c: the byte at that index, not yet passed; or kept, when it was. */
	u32 urgent_at;
	bool urgent_ahead;
	u8 urgent_state, urgent_byte; /* URGENT_* */
};
enum {
	URGENT_NONE, /* or had already */
	URGENT_NEW,
	URGENT_KEPT,
};

#define IPPROTO_TCP_K   6
#define IPPROTO_UDP_K   17
#define IPPROTO_ICMP_K  1
#define IPPROTO_ICMP6_K 58

extern struct pvs_client *pvs; /* the one connection to the transport cell */

static inline struct isock *is(struct sock *s)
{
	return container_of(s, struct isock, s);
}

static inline u32 state_of(const struct isock *i)
{
	return __atomic_load_n(&pvs->slot[i->id].state, __ATOMIC_ACQUIRE);
}

extern struct isock **by_slot;

/* inet_data.c: the transport, when told now, may have the CPU at once. */
extern bool inet_yield;
/* Data has come for it. */
void inet_unread_add(struct isock *i);
/* Data was taken, or it goes away (`gone`). */
void inet_unread_settle(struct isock *i, bool gone);

/* inet_rings.c: the sizes of rings. rings_for tries orders of a new socket's until one fits. */
void rings_init(u64 region);
int rings_for(int (*fn)(u32 order, void *arg), void *arg, bool dgram);
bool ring_nearly_full(const struct isock *i);
void ring_grow(struct isock *i, bool tx);
void ring_settle(struct isock *i); /* wait for the end of an exchange */

/* inet_filter.c: SO_ATTACH_FILTER and its kin; drop what does not pass, up to a packet that
 * does. */
/* 1: done */
int filter_setopt(struct isock *i, int name, const void *val, u32 len);
void filter_sift(struct isock *i);

/* inet_urgent.c. Has the transport told of a new urgent byte? */
bool urgent_news(struct isock *i);
/* How many of n bytes may be read: up to the mark; at it what lies there, if it is inline. */
u32 urgent_limit(struct isock *i, u32 n);
bool urgent_skip(struct isock *i);        /* at the mark: take the byte out; false: it is not */
bool urgent_stops(const struct isock *i); /* reading is at the mark */
bool urgent_waits(struct isock *i);       /* a byte can be had, or will */
ssize urgent_recv(struct isock *i, struct msg *m);

/* Commands to the transport cell: one at a time. */
void pvs_cmd_lock(void);
void pvs_cmd_unlock(void);
#define CMD(expr)                 \
	({                        \
		int cmd_r;        \
		pvs_cmd_lock();   \
		cmd_r = (expr);   \
		pvs_cmd_unlock(); \
		cmd_r;            \
	})

int inet_addr_parse(const struct sock *s, const u8 *a, u32 len, struct pvs_addr *out);
u32 inet_addr_format(const struct pvs_addr *p, u8 *a);
/* The error that waits at the socket, once; 0: none. */
int inet_take_error(struct isock *i);
/* Tell the transport of what is in the ring; the rest of a segment may wait if more. */
void inet_tell(struct isock *i, bool more);
/* After writes with MSG_MORE, when no more follows. */
void inet_push(struct sock *s);
/* Which events the transport announces: that there is room only when somebody waits for it. */
void inet_want_out(struct isock *i, bool on);
ssize inet_send(struct sock *s, struct msg *m);
ssize inet_recv(struct sock *s, struct msg *m);

#endif
