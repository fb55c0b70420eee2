/* SPDX-License-Identifier: ISC */
/* Sending and receiving: messages, and the control messages that travel with them. */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include <asm/socket.h>
#include <linux/capability.h>

int iovec_in(struct uio *u, u64 uiov, u64 count, struct iovec_k *small, struct iovec_k **heap);

#define SCM_RIGHTS_K      1
#define SCM_CREDENTIALS_K 2

static ssize do_send(struct file *f, struct sock *s, struct msg *m)
{
	ssize r;

	if (f->flags & O_NONBLOCK)
		m->flags |= MSG_DONTWAIT_K;
	r = s->ops->send ? s->ops->send(s, m) : -EOPNOTSUPP;
	if (r == -EPIPE && !(m->flags & MSG_NOSIGNAL_K) && s->type != SOCK_DGRAM_K)
		sig_send_thread(current, SIGPIPE, NULL);
	return r;
}

SYSCALL(sendto, "fpuxpu", int fd, u64 buf, u64 n, u32 flags, u64 uaddr, u32 len)
{
	struct iovec_k iov;
	struct uio u;
	struct msg m = {.u = &u, .flags = flags};
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	uio_user(&u, &iov, buf, MIN(n, 0x7ffff000ul));
	r = user_range_ok(buf, n) ? 0 : -EFAULT;
	if (!r && uaddr)
		r = sock_addr_in(m.name, uaddr, len);
	if (uaddr)
		m.name_len = len;
	if (!r)
		r = do_send(f, s, &m);
	file_put(f);
	return r;
}

SYSCALL(recvfrom, "fpuxpp", int fd, u64 buf, u64 n, u32 flags, u64 uaddr, u64 ulen)
{
	struct iovec_k iov;
	struct uio u;
	struct msg m = {.u = &u, .flags = flags};
	struct sock *s;
	s64 r, e;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	uio_user(&u, &iov, buf, MIN(n, 0x7ffff000ul));
	if (f->flags & O_NONBLOCK)
		m.flags |= MSG_DONTWAIT_K;
	r = user_range_ok(buf, n) ? 0 : -EFAULT;
	if (!r)
		r = s->ops->recv ? s->ops->recv(s, &m) : -EOPNOTSUPP;
	scm_free(m.scm); /* nobody asked for what came with the bytes */
	if (r >= 0 && uaddr) {
		e = sock_addr_out(m.name, m.name_len, uaddr, ulen);
		if (e)
			r = e;
	}
	file_put(f);
	return r;
}

struct msghdr_k {
	u64 name;
	u32 name_len, pad;
	u64 iov, iovlen, control, control_len;
	u32 flags, pad2;
};
struct cmsghdr_k {
	u64 len;
	int level, type;
};

/*
 * A descriptor in flight may be a socket with descriptors in flight, and so on: they are freed
 * one after the other, not within each other, however long the chain is.
 */
void scm_free(struct scm *c)
{
	static struct scm *waiting;
	static bool busy;

	if (!c)
		return;
	c->next_free = waiting;
	waiting = c;
	if (busy)
		return;
	busy = true;
	while ((c = waiting)) {
		waiting = c->next_free;
		for (u32 i = 0; i < c->nfds; i++)
			file_put(c->fds[i]);
		kfree(c);
	}
	busy = false;
}

static int scm_rights(struct scm *c, u64 at, u64 bytes)
{
	for (u64 i = 0; i + 4 <= bytes; i += 4) {
		int fd;

		if (c->nfds >= SCM_FDS_MAX)
			return -EINVAL;
		if (get_user(fd, at + i))
			return -EFAULT;
		c->fds[c->nfds] = fd_get(fd);
		if (!c->fds[c->nfds])
			return -EBADF;
		c->nfds++;
	}
	return 0;
}

static int scm_creds(struct msg *m, u64 at, u64 bytes)
{
	u32 c[3];

	if (bytes != 12)
		return -EINVAL;
	if (get_user(c, at))
		return -EFAULT;
	if ((c[0] != current->proc->pid && !capable(CAP_SYS_ADMIN)) ||
	    (c[1] != current->cred->uid && c[1] != current->cred->euid &&
	     !capable(CAP_SETUID)) ||
	    (c[2] != current->cred->gid && c[2] != current->cred->egid && !capable(CAP_SETGID)))
		return -EPERM;
	if (!proc_find(c[0]))
		return -ESRCH;
	memcpy(m->cred, c, sizeof(c));
	m->have_cred = true;
	return 0;
}

static int pktinfo_in(struct msg *m, const struct sock *s, u64 data, u64 n, bool v6)
{
	u32 pi[5] = {0};

	if (n < (v6 ? 20u : 12u))
		return -EINVAL;
	if (copy_in(pi, data, v6 ? 20 : 12))
		return -EFAULT;
	memset(m->local, 0, sizeof(m->local));
	if (v6) {
		memcpy(m->local, pi, 16);
		m->ifindex = pi[4];
	} else if (s->family == AF_INET_K) {
		memcpy(m->local, &pi[1], 4);
		m->ifindex = pi[0];
	} else { /* an address of IPv4 at a socket of IPv6 */
		memset(m->local + 10, 0xff, 2);
		memcpy(m->local + 12, &pi[1], 4);
		m->ifindex = pi[0];
	}
	m->have_pktinfo = v6 ? MSG_IP6 : MSG_IP4;
	return 0;
}

/* IP_TTL, IP_TOS, IP_PKTINFO and their kin of IPv6: for this datagram alone. */
static int inet_in(struct msg *m, const struct sock *s, const struct cmsghdr_k *h, u64 data,
		   u64 n)
{
	bool v6 = h->level == 41, tos;
	int v = 0;

	if (h->level && (!v6 || s->family != AF_INET6_K))
		return 0;
	if (h->type == (v6 ? 50 : 8))
		return pktinfo_in(m, s, data, n, v6);
	tos = h->type == (v6 ? 67 : 1);
	if (!tos && h->type != (v6 ? 52 : 2))
		return 0;
	if (n != 4 && !(tos && !v6 && n == 1))
		return -EINVAL;
	if (copy_in(&v, data, n))
		return -EFAULT;
	if (v > 255 || v < (v6 ? -1 : !tos))
		return -EINVAL;
	if (v < 0)
		return 0; /* the socket's own */
	*(tos ? &m->tos : &m->ttl) = (u8)v;
	*(tos ? &m->have_tos : &m->have_ttl) = v6 ? MSG_IP6 : MSG_IP4;
	return 0;
}

/* Control messages of sendmsg. */
static int control_in(struct msg *m, const struct sock *s, u64 at, u64 len)
{
	struct cmsghdr_k h;
	int r = 0;

	m->scm = kalloc(sizeof(*m->scm));
	if (!m->scm)
		return -ENOMEM;
	while (!r && len >= sizeof(h)) {
		u64 data = at + sizeof(h), n;

		if (get_user(h, at))
			return -EFAULT;
		if (h.len < sizeof(h) || h.len > len)
			return -EINVAL;
		n = h.len - sizeof(h);
		if (h.level == SOL_SOCKET_K && h.type == SCM_RIGHTS_K)
			r = scm_rights(m->scm, data, n);
		else if (h.level == SOL_SOCKET_K && h.type == SCM_CREDENTIALS_K)
			r = scm_creds(m, data, n);
		else if (s->family == AF_INET_K || s->family == AF_INET6_K)
			r = inet_in(m, s, &h, data, n);
		n = ALIGN_UP(h.len, 8ul);
		if (n >= len)
			break;
		at += n;
		len -= n;
	}
	return r;
}

struct control_out {
	u64 at, left, used;
	bool trunc;
};

static void cmsg_out(struct control_out *c, int level, int type, const void *data, u32 n)
{
	struct cmsghdr_k h = {sizeof(h) + n, level, type};

	if (c->left < h.len) { /* as much as fits */
		c->trunc = true;
		if (c->left < sizeof(h))
			return;
		h.len = c->left;
		n = (u32)(c->left - sizeof(h));
	}
	if (copy_out(c->at, &h, sizeof(h)) || copy_out(c->at + sizeof(h), data, n)) {
		c->trunc = true;
		return;
	}
	h.len = MIN(ALIGN_UP(h.len, 8ul), c->left);
	c->at += h.len;
	c->left -= h.len;
	c->used += h.len;
}

static void rights_out(struct control_out *c, struct scm *scm, bool cloexec)
{
	int fds[SCM_FDS_MAX];
	u32 room = c->left > sizeof(struct cmsghdr_k)
		       ? (u32)MIN((c->left - sizeof(struct cmsghdr_k)) / 4, (u64)SCM_FDS_MAX)
		       : 0,
	    n = 0;

	for (; n < scm->nfds && n < room; n++) {
		fds[n] = fd_install(scm->fds[n], 0, cloexec);
		if (fds[n] < 0)
			break;
		file_get(scm->fds[n]);
	}
	if (n < scm->nfds)
		c->trunc = true;
	if (n)
		cmsg_out(c, SOL_SOCKET_K, SCM_RIGHTS_K, fds, n * 4);
}

/* What belongs to a datagram: its way, what it had left to live, an error it met. */
static void inet_out(struct control_out *c, const struct sock *s, const struct msg *m)
{
	bool v4 = s->family == AF_INET_K;
	int ttl = m->ttl, tos = m->tos;
	u64 time[2] = {m->time / NS_PER_SEC,
		       m->time % NS_PER_SEC / (m->have_time == 1 ? 1000 : 1)};

	if (m->have_time)
		cmsg_out(c, SOL_SOCKET_K,
			 m->have_time == 1 ? SO_TIMESTAMP_OLD : SO_TIMESTAMPNS_OLD, time, 16);
	if (m->have_pktinfo & MSG_IP4) {
		u32 pi[3] = {m->ifindex, 0, 0};

		memcpy(&pi[1], v4 ? m->local : m->local + 12, 4);
		pi[2] = pi[1];
		cmsg_out(c, 0, 8, pi, 12);
	}
	if (m->have_pktinfo & MSG_IP6) {
		u8 pi[20];

		memcpy(pi, m->local, 16);
		memcpy(pi + 16, &m->ifindex, 4);
		cmsg_out(c, 41, 50, pi, 20);
	}
	if (m->have_ttl & MSG_IP4) /* IP_TTL, IPV6_HOPLIMIT */
		cmsg_out(c, 0, 2, &ttl, 4);
	if (m->have_ttl & MSG_IP6)
		cmsg_out(c, 41, 52, &ttl, 4);
	if (m->have_tos & MSG_IP4) /* IP_TOS: a byte; IPV6_TCLASS */
		cmsg_out(c, 0, 1, &tos, 1);
	if (m->have_tos & MSG_IP6)
		cmsg_out(c, 41, 67, &tos, 4);
	if (m->error_len) /* IP_RECVERR, IPV6_RECVERR */
		cmsg_out(c, v4 ? 0 : 41, v4 ? 11 : 25, m->error, m->error_len);
}

/* What came besides the bytes: control messages, flags, the sender's name. */
static int recv_out(struct sock *s, struct msg *m, struct msghdr_k *h, u64 umsg, u32 flags)
{
	struct control_out c = {.at = h->control, .left = h->control ? h->control_len : 0};
	int r = 0;

	if (s->passcred && m->scm) {
		u32 cr[3] = {m->scm->pid, m->scm->uid, m->scm->gid};

		cmsg_out(&c, SOL_SOCKET_K, SCM_CREDENTIALS_K, cr, 12);
	}
	if (m->scm && m->scm->nfds)
		rights_out(&c, m->scm, (flags & MSG_CMSG_CLOEXEC_K) != 0);
	inet_out(&c, s, m);
	h->flags = m->out_flags | (c.trunc ? MSG_CTRUNC_K : 0) | (flags & MSG_CMSG_CLOEXEC_K);
	h->control_len = c.used;
	if (h->name && copy_out(h->name, m->name, MIN(h->name_len, m->name_len)))
		r = -EFAULT;
	h->name_len = h->name ? m->name_len : 0;
	if (copy_out(umsg + 8, &h->name_len, 4) || copy_out(umsg + 40, &h->control_len, 12))
		r = -EFAULT;
	return r;
}

/* A message header of the program's and what it leads to, for one call. */
struct message {
	struct msghdr_k h;
	struct iovec_k small[8], *heap;
	struct uio u;
	struct msg *m; /* too large for the stack */
};

static int message_open(struct message *x, u64 umsg, u32 flags)
{
	x->heap = NULL;
	if (get_user(x->h, umsg))
		return -EFAULT;
	x->m = kalloc(sizeof(*x->m));
	if (!x->m)
		return -ENOMEM;
	x->m->u = &x->u;
	x->m->flags = flags;
	return 0;
}

static int message_data(struct message *x)
{
	int r = iovec_in(&x->u, x->h.iov, x->h.iovlen, x->small, &x->heap);

	return r == -EINVAL && x->h.iovlen > 1024 ? -EMSGSIZE : r;
}

static void message_close(struct message *x)
{
	scm_free(x->m->scm);
	kfree(x->heap);
	kfree(x->m);
}

static s64 do_sendmsg(struct file *f, struct sock *s, u64 umsg, u32 flags)
{
	struct message x;
	struct msghdr_k *h = &x.h;
	s64 r = message_open(&x, umsg, flags);

	if (r)
		return r;
	r = h->name ? sock_addr_in(x.m->name, h->name, h->name_len) : 0;
	x.m->name_len = h->name ? h->name_len : 0;
	if (!r)
		r = message_data(&x);
	if (!r && h->control && h->control_len)
		r = control_in(x.m, s, h->control, h->control_len);
	if (!r)
		r = do_send(f, s, x.m);
	message_close(&x);
	return r;
}

static s64 do_recvmsg(struct file *f, struct sock *s, u64 umsg, u32 flags)
{
	struct message x;
	s64 r = message_open(&x, umsg, flags);

	if (r)
		return r;
	if (f->flags & O_NONBLOCK)
		x.m->flags |= MSG_DONTWAIT_K;
	r = message_data(&x);
	if (!r)
		r = s->ops->recv ? s->ops->recv(s, x.m) : -EOPNOTSUPP;
	if (r >= 0 && recv_out(s, x.m, &x.h, umsg, flags))
		r = -EFAULT;
	message_close(&x);
	return r;
}

typedef s64 message_fn(struct file *f, struct sock *s, u64 umsg, u32 flags);

static s64 one_message(int fd, u64 umsg, u32 flags, message_fn *call)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = call(f, s, umsg, flags);
	file_put(f);
	return r;
}

SYSCALL(sendmsg, "fpx", int fd, u64 umsg, u32 flags)
{
	return one_message(fd, umsg, flags, do_sendmsg);
}
SYSCALL(recvmsg, "fpx", int fd, u64 umsg, u32 flags)
{
	return one_message(fd, umsg, flags, do_recvmsg);
}

#define MMSG_SIZE    64
#define MMSG_MAX     1024u
#define MSG_WAIT_ONE 0x10000u /* MSG_WAITFORONE of recvmmsg */

/* As on Linux the time is looked at between messages. */
static s64 many_messages(int fd, u64 uvec, u32 n, u32 flags, u64 deadline, message_fn *call)
{
	u32 i = 0, rest = flags & MSG_WAIT_ONE ? MSG_DONTWAIT_K : 0;
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = 0;
	flags &= ~MSG_WAIT_ONE;
	while (i < MIN(n, MMSG_MAX) && (!i || deadline == NEVER || clock_now() < deadline)) {
		u64 at = uvec + i * MMSG_SIZE;

		r = call(f, s, at, flags | (i ? rest : 0));
		if (r >= 0 && put_user((u32){(u32)r}, at + 56))
			r = -EFAULT;
		if (r < 0)
			break;
		i++;
	}
	file_put(f);
	return i ? (s64)i : r;
}

SYSCALL(sendmmsg, "fpux", int fd, u64 uvec, u32 n, u32 flags)
{
	return many_messages(fd, uvec, n, flags & ~MSG_WAIT_ONE, NEVER, do_sendmsg);
}
SYSCALL(recvmmsg, "fpuxp", int fd, u64 uvec, u32 n, u32 flags, u64 uts)
{
	struct __kernel_timespec ts;
	u64 deadline = NEVER;

	if (uts) {
		int r = timespec_in(&ts, uts);

		if (r)
			return r;
		deadline = deadline_after(ts_to_ns(&ts));
	}
	return many_messages(fd, uvec, n, flags, deadline, do_recvmsg);
}
