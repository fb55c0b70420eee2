/* SPDX-License-Identifier: ISC */
/*
 * The socket calls. What every family shares lives here: descriptors, addresses and
 * control messages from user memory, options of SOL_SOCKET; the rest is the family's.
 */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include <asm/socket.h>
#include <asm/ioctls.h>
#include <linux/capability.h>

int iovec_in(struct uio *u, u64 uiov, u64 count, struct iovec_k *small, struct iovec_k **heap);

#define SOL_SOCKET_K      1
#define SCM_RIGHTS_K      1
#define SCM_CREDENTIALS_K 2

static const struct family *const families[] = {&family_unix, &family_inet, &family_inet6,
						&family_netlink, &family_packet};
static const struct file_ops sock_fops;

struct sock *sock_alloc(size_t size, u32 family, u32 type, u32 protocol,
			const struct sock_ops *ops)
{
	struct sock *s = kalloc(size);

	if (!s)
		return NULL;
	s->refs = 1;
	s->family = family;
	s->type = type;
	s->protocol = protocol;
	s->ops = ops;
	s->rcvtimeo = s->sndtimeo = NEVER;
	s->sndbuf = s->rcvbuf = 212992;
	s->rcvlowat = 1;
	return s;
}

void sock_put(struct sock *s)
{
	if (--s->refs)
		return;
	s->refs = 1;
	s->ops->release(s);
	kfree(s);
}

struct sock *file_sock(struct file *f)
{
	return f->ops == &sock_fops ? f->priv : NULL;
}

u64 sock_deadline(u64 timeo)
{
	return timeo == NEVER ? NEVER : deadline_after(timeo);
}

/* ---- As a file ---- */
static ssize sf_read(struct file *f, struct uio *u, u64 *pos)
{
	struct sock *s = f->priv;
	struct msg m = {.u = u};

	if (!u->left)
		return 0;
	if ((f->flags & O_NONBLOCK) || u->nonblock)
		m.flags |= MSG_DONTWAIT_K;
	return s->ops->recv ? s->ops->recv(s, &m) : -EOPNOTSUPP;
}

static ssize sf_write(struct file *f, struct uio *u, u64 *pos)
{
	struct sock *s = f->priv;
	struct msg m = {.u = u};

	if ((f->flags & O_NONBLOCK) || u->nonblock)
		m.flags |= MSG_DONTWAIT_K;
	return s->ops->send ? s->ops->send(s, &m) : -EOPNOTSUPP;
}

static u32 sf_poll(struct file *f, struct poll_table *pt)
{
	struct sock *s = f->priv;

	return s->ops->poll(s, pt);
}

static s64 sf_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct sock *s = f->priv;

	return s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
}

static void sf_release(struct file *f)
{
	struct sock *s = f->priv;

	s->inode = NULL;
	sock_put(s);
}
static const struct file_ops sock_fops = {.read = sf_read,
					  .write = sf_write,
					  .poll = sf_poll,
					  .ioctl = sf_ioctl,
					  .release = sf_release};

static struct file *sock_file(struct sock *s, u32 flags)
{
	static u32 serial;
	char name[32];
	struct file *f;

	format(name, sizeof(name), "socket:[%u]", ++serial + 1000);
	f = anon_file(name, &sock_fops, s, O_RDWR | (flags & O_NONBLOCK), S_IFSOCK | 0777);
	if (f)
		s->inode = f->inode;
	return f;
}

static s64 install(struct sock *s, u32 flags)
{
	struct file *f = sock_file(s, flags);
	int fd;

	if (!f) {
		sock_put(s);
		return -ENFILE;
	}
	fd = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

static const struct family *family_find(u32 n)
{
	for (u32 i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i]->family == n)
			return families[i];
	return NULL;
}

#define TYPE_FLAGS ((u32)(O_NONBLOCK | O_CLOEXEC))

SYSCALL(socket, "dxd", u32 family, u32 type, u32 protocol)
{
	const struct family *f = family_find(family);
	struct sock *s;
	int r;

	if (!f)
		return -EAFNOSUPPORT;
	if ((type & ~TYPE_FLAGS) > 10 || !(type & ~TYPE_FLAGS))
		return -EINVAL;
	r = f->create(type & ~TYPE_FLAGS, protocol, &s);
	return r ? r : install(s, type & TYPE_FLAGS);
}

SYSCALL(socketpair, "dxdp", u32 family, u32 type, u32 protocol, u64 ufds)
{
	const struct family *f = family_find(family);
	struct sock *s[2];
	struct file *a, *b;
	int fds[2], r;

	if (!f)
		return -EAFNOSUPPORT;
	if (!f->pair)
		return -EOPNOTSUPP;
	r = f->pair(type & ~TYPE_FLAGS, protocol, s);
	if (r)
		return r;
	a = sock_file(s[0], type);
	b = sock_file(s[1], type);
	if (!a || !b) {
		if (a)
			file_put(a);
		else
			sock_put(s[0]);
		if (b)
			file_put(b);
		else
			sock_put(s[1]);
		return -ENFILE;
	}
	r = fd_install_pair(a, b, (type & O_CLOEXEC) != 0, fds);
	if (!r && copy_out(ufds, fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return r;
}

/* A socket's file by descriptor: referenced, *s set. */
static struct file *sock_get(int fd, struct sock **s, s64 *err)
{
	struct file *f = fd_get(fd);

	*err = -EBADF;
	if (!f)
		return NULL;
	*s = file_sock(f);
	if (!*s || (f->flags & O_PATH)) {
		*err = f->flags & O_PATH ? -EBADF : -ENOTSOCK;
		file_put(f);
		return NULL;
	}
	return f;
}

static int addr_in(u8 *addr, u64 uaddr, u32 len)
{
	if ((int)len < 0 || len > SOCKADDR_MAX)
		return -EINVAL;
	memset(addr, 0, SOCKADDR_MAX);
	return len ? copy_in(addr, uaddr, len) : 0;
}

static int addr_out(const u8 *addr, u32 len, u64 uaddr, u64 ulen)
{
	u32 room;

	if (!uaddr)
		return 0;
	if (get_user(room, ulen))
		return -EFAULT;
	if ((int)room < 0)
		return -EINVAL;
	if (MIN(room, len) && copy_out(uaddr, addr, MIN(room, len)))
		return -EFAULT;
	return put_user(len, ulen);
}

SYSCALL(bind, "fpu", int fd, u64 uaddr, u32 len)
{
	u8 addr[SOCKADDR_MAX];
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = addr_in(addr, uaddr, len);
	if (!r)
		r = s->ops->bind ? s->ops->bind(s, addr, len) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

SYSCALL(connect, "fpu", int fd, u64 uaddr, u32 len)
{
	u8 addr[SOCKADDR_MAX];
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = addr_in(addr, uaddr, len);
	if (!r && len < 2)
		r = -EINVAL;
	if (!r)
		r = s->ops->connect
			? s->ops->connect(s, addr, len, (f->flags & O_NONBLOCK) != 0)
			: -EOPNOTSUPP;
	file_put(f);
	return r;
}

SYSCALL(listen, "fd", int fd, int backlog)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = s->ops->listen ? s->ops->listen(s, backlog) : -EOPNOTSUPP;
	file_put(f);
	return r;
}

static s64 do_accept(int fd, u64 uaddr, u64 ulen, u32 flags)
{
	u8 addr[SOCKADDR_MAX];
	struct sock *s, *n;
	s64 r;
	struct file *f, *nf;
	int len;

	if (flags & ~TYPE_FLAGS)
		return -EINVAL;
	f = sock_get(fd, &s, &r);
	if (!f)
		return r;
	r = s->ops->accept ? s->ops->accept(s, &n, (f->flags & O_NONBLOCK) != 0) : -EOPNOTSUPP;
	file_put(f);
	if (r)
		return r;
	nf = sock_file(n, flags);
	if (!nf) {
		sock_put(n);
		return -ENFILE;
	}
	if (uaddr) {
		len = n->ops->getname(n, addr, true);
		r = len < 0 ? len : addr_out(addr, (u32)len, uaddr, ulen);
		if (r == -ENOTCONN)
			r = -ECONNABORTED;
	}
	if (!r)
		r = fd_install(nf, 0, (flags & O_CLOEXEC) != 0);
	if (r < 0)
		file_put(nf);
	return r;
}

SYSCALL(accept, "fpp", int fd, u64 uaddr, u64 ulen)
{
	return do_accept(fd, uaddr, ulen, 0);
}
SYSCALL(accept4, "fppx", int fd, u64 uaddr, u64 ulen, u32 flags)
{
	return do_accept(fd, uaddr, ulen, flags);
}

static s64 do_getname(int fd, u64 uaddr, u64 ulen, bool peer)
{
	u8 addr[SOCKADDR_MAX] = {0};
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = s->ops->getname(s, addr, peer);
	if (r >= 0)
		r = uaddr ? addr_out(addr, (u32)r, uaddr, ulen) : -EFAULT;
	file_put(f);
	return r;
}
SYSCALL(getsockname, "fpp", int fd, u64 uaddr, u64 ulen)
{
	return do_getname(fd, uaddr, ulen, false);
}
SYSCALL(getpeername, "fpp", int fd, u64 uaddr, u64 ulen)
{
	return do_getname(fd, uaddr, ulen, true);
}

SYSCALL(shutdown, "fd", int fd, int how)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = how < 0 || how > 2 ? -EINVAL
	    : s->ops->shutdown ? s->ops->shutdown(s, how)
			       : -EOPNOTSUPP;
	file_put(f);
	return r;
}

/* ---- Sending and receiving ---- */
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
		r = addr_in(m.name, uaddr, len);
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
	if (r >= 0 && uaddr) {
		e = addr_out(m.name, m.name_len, uaddr, ulen);
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
	m->scm->pid = c[0];
	m->scm->uid = c[1];
	m->scm->gid = c[2];
	return 0;
}

/* Control messages of sendmsg. */
static int control_in(struct msg *m, u64 at, u64 len)
{
	struct cmsghdr_k h;
	int r = 0;

	m->scm = kalloc(sizeof(*m->scm));
	if (!m->scm)
		return -ENOMEM;
	m->scm->pid = current->proc->pid;
	m->scm->uid = current->cred->uid;
	m->scm->gid = current->cred->gid;
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
		else if (h.level == 0 && h.type == 8 && n >= 12) { /* IP_PKTINFO */
			u32 pi[3];

			if (get_user(pi, data))
				return -EFAULT;
			m->ifindex = pi[0];
			memcpy(m->local, &pi[1], 4);
			m->have_pktinfo = true;
		}
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

	if (c->left < h.len) {
		c->trunc = true;
		return;
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

static s64 do_sendmsg(struct file *f, struct sock *s, u64 umsg, u32 flags)
{
	struct iovec_k small[8], *heap = NULL;
	struct msghdr_k h;
	struct uio u;
	struct msg *m;
	s64 r;

	if (get_user(h, umsg))
		return -EFAULT;
	m = kalloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->u = &u;
	m->flags = flags;
	r = h.name ? addr_in(m->name, h.name, h.name_len) : 0;
	m->name_len = h.name ? h.name_len : 0;
	if (!r)
		r = iovec_in(&u, h.iov, h.iovlen, small, &heap);
	if (r == -EINVAL && h.iovlen > 1024)
		r = -EMSGSIZE;
	if (!r && h.control && h.control_len)
		r = control_in(m, h.control, h.control_len);
	if (!r)
		r = do_send(f, s, m);
	scm_free(m->scm);
	kfree(heap);
	kfree(m);
	return r;
}

static s64 do_recvmsg(struct file *f, struct sock *s, u64 umsg, u32 flags)
{
	struct iovec_k small[8], *heap = NULL;
	struct control_out c = {0};
	struct msghdr_k h;
	struct uio u;
	struct msg *m;
	s64 r;

	if (get_user(h, umsg))
		return -EFAULT;
	m = kalloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->u = &u;
	m->flags = flags | (f->flags & O_NONBLOCK ? MSG_DONTWAIT_K : 0);
	r = iovec_in(&u, h.iov, h.iovlen, small, &heap);
	if (r == -EINVAL && h.iovlen > 1024)
		r = -EMSGSIZE;
	if (!r)
		r = s->ops->recv ? s->ops->recv(s, m) : -EOPNOTSUPP;
	if (r >= 0) {
		c.at = h.control;
		c.left = h.control ? h.control_len : 0;
		if (s->passcred && m->scm) {
			u32 cr[3] = {m->scm->pid, m->scm->uid, m->scm->gid};

			cmsg_out(&c, SOL_SOCKET_K, SCM_CREDENTIALS_K, cr, 12);
		}
		if (m->scm && m->scm->nfds)
			rights_out(&c, m->scm, (flags & MSG_CMSG_CLOEXEC_K) != 0);
		if (m->have_pktinfo && s->family == AF_INET_K) {
			u32 pi[3] = {m->ifindex, 0, 0};

			memcpy(&pi[1], m->local, 4);
			memcpy(&pi[2], m->local, 4);
			cmsg_out(&c, 0, 8, pi, 12);
		} else if (m->have_pktinfo) {
			u8 pi[20];

			memcpy(pi, m->local, 16);
			memcpy(pi + 16, &m->ifindex, 4);
			cmsg_out(&c, 41, 50, pi, 20);
		}
		h.flags =
		    m->out_flags | (c.trunc ? MSG_CTRUNC_K : 0) | (flags & MSG_CMSG_CLOEXEC_K);
		h.control_len = c.used;
		if (h.name && copy_out(h.name, m->name, MIN(h.name_len, m->name_len)))
			r = -EFAULT;
		h.name_len = h.name ? m->name_len : 0;
		if (copy_out(umsg + 8, &h.name_len, 4) ||
		    copy_out(umsg + 40, &h.control_len, 12))
			r = -EFAULT;
	}
	scm_free(m->scm);
	kfree(heap);
	kfree(m);
	return r;
}

SYSCALL(sendmsg, "fpx", int fd, u64 umsg, u32 flags)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = do_sendmsg(f, s, umsg, flags);
	file_put(f);
	return r;
}
SYSCALL(recvmsg, "fpx", int fd, u64 umsg, u32 flags)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = do_recvmsg(f, s, umsg, flags);
	file_put(f);
	return r;
}

#define MMSG_SIZE 64
SYSCALL(sendmmsg, "fpux", int fd, u64 uvec, u32 n, u32 flags)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);
	u32 i;

	if (!f)
		return r;
	n = MIN(n, 1024u);
	for (i = 0, r = 0; i < n; i++) {
		r = do_sendmsg(f, s, uvec + i * MMSG_SIZE, flags);
		if (r < 0)
			break;
		if (put_user((u32){(u32)r}, uvec + i * MMSG_SIZE + 56)) {
			r = -EFAULT;
			break;
		}
	}
	file_put(f);
	return i ? (s64)i : r;
}
SYSCALL(recvmmsg, "fpuxp", int fd, u64 uvec, u32 n, u32 flags, u64 uts)
{
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);
	struct __kernel_timespec ts;
	u64 deadline = NEVER;
	u32 i;

	if (!f)
		return r;
	r = uts && get_user(ts, uts) ? -EFAULT : uts && !ts_valid(&ts) ? -EINVAL : 0;
	if (r) {
		file_put(f);
		return r;
	}
	if (uts)
		deadline = deadline_after(ts_to_ns(&ts));
	n = MIN(n, 1024u);
	/* As on Linux the time is looked at between messages; MSG_WAITFORONE waits once. */
	for (i = 0; i < n && (!i || clock_now() < deadline); i++) {
		bool one = (flags & 0x10000) && i;

		r = do_recvmsg(f, s, uvec + i * MMSG_SIZE,
			       (flags & ~0x10000u) | (one ? MSG_DONTWAIT_K : 0));
		if (r < 0)
			break;
		if (put_user((u32){(u32)r}, uvec + i * MMSG_SIZE + 56)) {
			r = -EFAULT;
			break;
		}
	}
	file_put(f);
	return i ? (s64)i : r;
}

/* ---- Options ---- */
static int timeo_set(u64 *to, const void *val, u32 len)
{
	s64 tv[2];

	if (len < 16)
		return -EINVAL;
	memcpy(tv, val, 16);
	if (tv[0] < 0 || (u64)tv[1] >= 1000000)
		return -EDOM;
	*to = tv[0] || tv[1] ? (u64)tv[0] * NS_PER_SEC + (u64)tv[1] * 1000 : NEVER;
	return 0;
}

static int common_set(struct sock *s, int name, const void *val, u32 len)
{
	int v = 0, lg[2];

	if (len < 4)
		return -EINVAL;
	memcpy(&v, val, 4);
	switch (name) {
	case SO_REUSEADDR:
		s->reuseaddr = v != 0;
		return 0;
	case SO_REUSEPORT:
		s->reuseport = v != 0;
		return 0;
	case SO_KEEPALIVE:
		s->keepalive = v != 0;
		return 0;
	case SO_BROADCAST:
		s->broadcast = v != 0;
		return 0;
	case SO_PASSCRED:
		s->passcred = v != 0;
		return 0;
	case SO_OOBINLINE:
		s->oobinline = v != 0;
		return 0;
	case SO_DONTROUTE:
		s->dontroute = v != 0;
		return 0;
	case SO_LINGER:
		if (len < 8)
			return -EINVAL;
		memcpy(lg, val, 8);
		s->linger_on = lg[0] != 0;
		s->linger = lg[1];
		return 0;
	case SO_SNDBUFFORCE:
	case SO_SNDBUF:
		s->sndbuf = (u32)MIN(MAX(v, 2048), 4194304) * 2;
		return 0;
	case SO_RCVBUFFORCE:
	case SO_RCVBUF:
		s->rcvbuf = (u32)MIN(MAX(v, 1024), 4194304) * 2;
		return 0;
	case SO_RCVLOWAT:
		s->rcvlowat = v > 0 ? (u32)v : 1;
		return 0;
	case SO_RCVTIMEO_OLD:
		return timeo_set(&s->rcvtimeo, val, len);
	case SO_SNDTIMEO_OLD:
		return timeo_set(&s->sndtimeo, val, len);
	case SO_PRIORITY:
		s->priority = (u32)v;
		return 0;
	case SO_MARK:
		if (!capable(CAP_NET_ADMIN))
			return -EPERM;
		s->mark = (u32)v;
		return 0;
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMPNS_OLD:
		s->timestamp = v != 0;
		return 0;
	case SO_BINDTODEVICE:
	case SO_NO_CHECK:
	case SO_BUSY_POLL:
		return 0;
	}
	return -ENOPROTOOPT;
}

static int common_get(struct sock *s, int name, void *val, u32 *len)
{
	s64 tv[2];
	int v, lg[2];

	switch (name) {
	case SO_TYPE:
		v = (int)s->type;
		break;
	case SO_DOMAIN:
		v = (int)s->family;
		break;
	case SO_PROTOCOL:
		v = (int)s->protocol;
		break;
	case SO_ERROR:
		v = s->error;
		s->error = 0;
		break;
	case SO_REUSEADDR:
		v = s->reuseaddr;
		break;
	case SO_REUSEPORT:
		v = s->reuseport;
		break;
	case SO_KEEPALIVE:
		v = s->keepalive;
		break;
	case SO_BROADCAST:
		v = s->broadcast;
		break;
	case SO_PASSCRED:
		v = s->passcred;
		break;
	case SO_OOBINLINE:
		v = s->oobinline;
		break;
	case SO_DONTROUTE:
		v = s->dontroute;
		break;
	case SO_SNDBUF:
		v = (int)s->sndbuf;
		break;
	case SO_RCVBUF:
		v = (int)s->rcvbuf;
		break;
	case SO_RCVLOWAT:
		v = (int)s->rcvlowat;
		break;
	case SO_SNDLOWAT:
		v = 1;
		break;
	case SO_PRIORITY:
		v = (int)s->priority;
		break;
	case SO_MARK:
		v = (int)s->mark;
		break;
	case SO_TIMESTAMP_OLD:
		v = s->timestamp;
		break;
	case SO_LINGER:
		lg[0] = s->linger_on;
		lg[1] = s->linger;
		*len = MIN(*len, 8u);
		memcpy(val, lg, *len);
		return 0;
	case SO_RCVTIMEO_OLD:
	case SO_SNDTIMEO_OLD: {
		u64 t = name == SO_RCVTIMEO_OLD ? s->rcvtimeo : s->sndtimeo;

		tv[0] = t == NEVER ? 0 : (s64)(t / NS_PER_SEC);
		tv[1] = t == NEVER ? 0 : (s64)(t % NS_PER_SEC / 1000);
		*len = MIN(*len, 16u);
		memcpy(val, tv, *len);
		return 0;
	}
	default:
		return -ENOPROTOOPT;
	}
	*len = MIN(*len, 4u);
	memcpy(val, &v, *len);
	return 0;
}

SYSCALL(setsockopt, "fddpu", int fd, int level, int name, u64 uval, u32 len)
{
	u8 val[256] = {0};
	struct sock *s;
	s64 r;
	struct file *f;

	if ((int)len < 0 || len > sizeof(val))
		return -EINVAL;
	f = sock_get(fd, &s, &r);
	if (!f)
		return r;
	r = copy_in(val, uval, len);
	if (!r) {
		r = s->ops->setopt ? s->ops->setopt(s, level, name, val, len) : -ENOPROTOOPT;
		if (level == SOL_SOCKET_K && (r == 0 || r == -ENOPROTOOPT))
			r = common_set(s, name, val, len);
	}
	file_put(f);
	return r;
}

SYSCALL(getsockopt, "fddpp", int fd, int level, int name, u64 uval, u64 ulen)
{
	u8 val[256] = {0};
	u32 len;
	struct sock *s;
	s64 r;
	struct file *f = sock_get(fd, &s, &r);

	if (!f)
		return r;
	r = get_user(len, ulen) ? -EFAULT : (int)len < 0 ? -EINVAL : 0;
	len = MIN(len, (u32)sizeof(val));
	if (!r) {
		r = s->ops->getopt ? s->ops->getopt(s, level, name, val, &len) : -ENOPROTOOPT;
		if (r == -ENOPROTOOPT && level == SOL_SOCKET_K)
			r = common_get(s, name, val, &len);
	}
	if (!r && (copy_out(uval, val, len) || put_user(len, ulen)))
		r = -EFAULT;
	file_put(f);
	return r;
}
