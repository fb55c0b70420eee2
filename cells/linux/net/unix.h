/* SPDX-License-Identifier: ISC */
/* Unix sockets: what names and connections (unix.c) share with data (unix_data.c). */
#ifndef LX_NET_UNIX_H
#define LX_NET_UNIX_H

#include "cells/linux/inc/net.h"

/* What a socket has on its way to others, bounded by its SO_SNDBUF; outlives it. */
struct uflow {
	u32 refs, bytes;
	struct usock *from; /* NULL: closed */
};

struct ubuf {
	struct list link;
	struct uflow *flow;
	u32 len, off, npages;
	struct scm *scm;
	u32 pid, uid, gid;
	u8 from[112];
	u32 from_len;
	struct page *page[];
};

struct usock {
	struct sock s;
	struct usock *peer;   /* connected to; not counted, cleared by its release */
	struct list queue;    /* of struct ubuf */
	struct uflow *flow;   /* what others have not taken yet */
	struct klock copying; /* its first buffer, to a program's memory: that may sleep */
	bool binding;
	bool listening, shut_rd, shut_wr, connected, peer_closed;
	struct list acceptq, accept_link;
	u32 pending, backlog;
	struct usock *listener; /* while in its accept queue */
	u8 name[112];           /* sockaddr_un */
	u32 name_len;
	u8 peer_name[112]; /* of a peer that is gone; unix_peer_name() */
	u32 peer_name_len;
	struct inode *bound; /* referenced */
	struct list abstract_link;
	struct list all_link;
	u32 pid, uid, gid; /* of who made it, for the peer */
	u32 peer_pid, peer_uid, peer_gid;
	struct list dgram_peers; /* datagram sockets whose peer this is */
	struct list dgram_link;
	u32 inflight; /* net/unix_gc.c: messages that carry it */
	bool reached;
	struct list gc_link;
};
extern struct list unix_sockets; /* all, by all_link */

static inline struct usock *us(struct sock *s)
{
	return container_of(s, struct usock, s);
}

/* Frees a message and lets its sender go on. */
void ubuf_free(struct ubuf *b);
void uflow_put(struct uflow *f);
/* A message with descriptors was queued; a unix socket went away. */
void unix_rights_sent(const struct ubuf *b);
void unix_collect(void);
/*
 * The socket of a name, not referenced. Abstract names are apart for each type of socket:
 * another type's is not found (-ECONNREFUSED); a file's socket of another type is -EPROTOTYPE.
 */
int unix_find(const u8 *addr, u32 len, u32 type, struct usock **out);
/* The peer's name as it is now, or was when it went; its length. */
u32 unix_peer_name(struct usock *u, u8 *name);
ssize unix_send(struct sock *s, struct msg *m);
ssize unix_recv(struct sock *s, struct msg *m);

#endif
