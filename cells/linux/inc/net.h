/* SPDX-License-Identifier: ISC */
/* Sockets: what the calls share, and the families' operations. */
#ifndef LX_NET_H
#define LX_NET_H

#include "cells/linux/inc/vfs.h"

#define AF_UNSPEC_K  0
#define AF_UNIX_K    1
#define AF_INET_K    2
#define AF_INET6_K   10
#define AF_NETLINK_K 16
#define AF_PACKET_K  17

#define SOCK_STREAM_K    1
#define SOCK_DGRAM_K     2
#define SOCK_RAW_K       3
#define SOCK_SEQPACKET_K 5

#define MSG_OOB_K          0x1u
#define MSG_PEEK_K         0x2u
#define MSG_CTRUNC_K       0x8u
#define MSG_TRUNC_K        0x20u
#define MSG_DONTWAIT_K     0x40u
#define MSG_WAITALL_K      0x100u
#define MSG_ERRQUEUE_K     0x2000u
#define MSG_NOSIGNAL_K     0x4000u
#define MSG_MORE_K         0x8000u
#define MSG_FASTOPEN_K     0x20000000u
#define MSG_CMSG_CLOEXEC_K 0x40000000u

#define SOL_SOCKET_K 1
#define SOCKADDR_MAX 128
#define SCM_FDS_MAX  253

struct scm {
	u32 nfds;
	struct file *fds[SCM_FDS_MAX];
	u32 pid, uid, gid;
	struct scm *next_free;
};
void scm_free(struct scm *c);
#define MSG_IP4 1u
#define MSG_IP6 2u

struct msg {
	struct uio *u;
	u8 name[SOCKADDR_MAX];
	u32 name_len;
	u32 flags;       /* MSG_* in */
	u32 out_flags;   /* MSG_* out */
	struct scm *scm; /* sent or received descriptors and credentials; owned by the call */
	bool have_cred;  /* cred was given by the sender: pid, uid, gid */
	u32 cred[3];
	/* inet: */
	u8 have_pktinfo, have_ttl, have_tos; /* MSG_IP4, MSG_IP6: in which form */
	u8 have_time;                        /* 1: SO_TIMESTAMP, 2: SO_TIMESTAMPNS */
	u64 time;                            /* wall clock */
	u8 local[16];
	u32 ifindex;
	u8 ttl, tos;
	u8 error[16 + 28]; /* MSG_ERRQUEUE: struct sock_extended_err, who says so */
	u32 error_len;     /* 0: none */
};

struct sock;
struct sock_ops {
	int (*bind)(struct sock *s, const u8 *addr, u32 len);
	int (*connect)(struct sock *s, const u8 *addr, u32 len, bool nonblock);
	int (*listen)(struct sock *s, int backlog);
	int (*accept)(struct sock *s, struct sock **out, bool nonblock);
	int (*getname)(struct sock *s, u8 *addr, bool peer); /* length or -errno */
	ssize (*send)(struct sock *s, struct msg *m);
	ssize (*recv)(struct sock *s, struct msg *m);
	u32 (*poll)(struct sock *s, struct poll_table *pt);
	int (*shutdown)(struct sock *s, int how);
	int (*setopt)(struct sock *s, int level, int name, const void *val, u32 len);
	int (*getopt)(struct sock *s, int level, int name, void *val, u32 *len);
	s64 (*ioctl)(struct sock *s, u32 cmd, u64 arg);
	void (*push)(struct sock *s); /* what MSG_MORE held back; may be NULL */
	void (*release)(struct sock *s);
};
struct sock {
	u32 refs;
	u32 family, type, protocol;
	const struct sock_ops *ops;
	struct waitq wait;
	u64 rcvtimeo, sndtimeo; /* ns; NEVER: none */
	u32 sndbuf, rcvbuf;
	u8 timestamp; /* 1: SO_TIMESTAMP, 2: SO_TIMESTAMPNS */
	bool reuseaddr, reuseport, keepalive, broadcast, passcred, oobinline, dontroute,
	    no_check;
	bool linger_on;
	int linger;
	u32 mark, priority;
	u32 rcvlowat;
	int error;
	struct inode *inode; /* of its file, not counted */
	struct file *file;   /* likewise; NULL before and after */
};
struct sock *sock_alloc(size_t size, u32 family, u32 type, u32 protocol,
			const struct sock_ops *ops);
void sock_put(struct sock *s);
struct sock *file_sock(struct file *f); /* NULL if it is none */
u64 sock_deadline(u64 timeo);
/* Waits for an event of the socket: 0, -EAGAIN (not to wait, or too long), or a signal's. */
int sock_wait(struct sock *s, const struct msg *m, u64 deadline);
/* A socket's file by descriptor: referenced, *s set; or NULL and *err. */
struct file *sock_get(int fd, struct sock **s, s64 *err);
/* addr has SOCKADDR_MAX bytes; ulen points to the room and gets the length. */
int sock_addr_in(u8 *addr, u64 uaddr, u32 len);
int sock_addr_out(const u8 *addr, u32 len, u64 uaddr, u64 ulen);

struct family {
	u32 family;
	int (*create)(u32 type, u32 protocol, struct sock **out);
	int (*pair)(u32 type, u32 protocol, struct sock *out[2]);
};
extern const struct family family_unix, family_inet, family_inet6, family_netlink,
    family_packet;

#endif
