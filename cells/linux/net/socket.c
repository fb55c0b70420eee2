/* SPDX-License-Identifier: ISC */
/*
 * The socket calls. What every family shares lives here: descriptors and addresses from user
 * memory; messages are in message.c, options of SOL_SOCKET in sockopt.c, the rest is the
 * family's.
 */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include <asm/socket.h>
#include <asm/ioctls.h>
#include <asm/sockios.h>
#include <linux/capability.h>

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

int sock_wait(struct sock *s, const struct msg *m, u64 deadline)
{
	int r = m->flags & MSG_DONTWAIT_K ? -EAGAIN : wait_on(&s->wait, deadline, true);

	return r == -ETIMEDOUT ? -EAGAIN : r;
}

/* ---- As a file ---- */
static ssize sf_read(struct file *f, struct uio *u, u64 *pos)
{
	struct sock *s = f->priv;
	struct msg m = {.u = u};
	ssize r;

	if (!u->left)
		return 0;
	if ((f->flags & O_NONBLOCK) || u->nonblock)
		m.flags |= MSG_DONTWAIT_K;
	r = s->ops->recv ? s->ops->recv(s, &m) : -EOPNOTSUPP;
	scm_free(m.scm); /* nobody asked for what came with the bytes */
	return r;
}

static ssize sf_write(struct file *f, struct uio *u, u64 *pos)
{
	struct sock *s = f->priv;
	struct msg m = {.u = u};

	ssize r;

	if ((f->flags & O_NONBLOCK) || u->nonblock)
		m.flags |= MSG_DONTWAIT_K;
	if (u->more)
		m.flags |= MSG_MORE_K;
	r = s->ops->send ? s->ops->send(s, &m) : -EOPNOTSUPP;
	if (r == -EPIPE && s->type != SOCK_DGRAM_K)
		sig_send_thread(current, SIGPIPE, NULL);
	return r;
}

static void sf_push(struct file *f)
{
	struct sock *s = f->priv;

	if (s->ops->push)
		s->ops->push(s);
}

static u32 sf_poll(struct file *f, struct poll_table *pt)
{
	struct sock *s = f->priv;

	return s->ops->poll(s, pt);
}

static s64 sf_ioctl(struct file *f, u32 cmd, u64 arg)
{
	struct sock *s = f->priv;
	s32 who;

	switch (cmd) {
	case FIOSETOWN:
	case SIOCSPGRP:
		return get_user(who, arg) ? -EFAULT : file_setown(f, who);
	case FIOGETOWN:
	case SIOCGPGRP:
		return put_user(file_getown(f), arg);
	}
	return s->ops->ioctl ? s->ops->ioctl(s, cmd, arg) : -ENOTTY;
}

static void sf_release(struct file *f)
{
	struct sock *s = f->priv;

	s->inode = NULL;
	s->file = NULL;
	sock_put(s);
}
static const struct file_ops sock_fops = {.read = sf_read,
					  .write = sf_write,
					  .poll = sf_poll,
					  .ioctl = sf_ioctl,
					  .push = sf_push,
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
	s->file = f;
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
		return (type & ~TYPE_FLAGS) - 1 < SOCK_RAW_K ? -EOPNOTSUPP : -ESOCKTNOSUPPORT;
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

struct file *sock_get(int fd, struct sock **s, s64 *err)
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

int sock_addr_in(u8 *addr, u64 uaddr, u32 len)
{
	if ((int)len < 0 || len > SOCKADDR_MAX)
		return -EINVAL;
	memset(addr, 0, SOCKADDR_MAX);
	return len ? copy_in(addr, uaddr, len) : 0;
}

int sock_addr_out(const u8 *addr, u32 len, u64 uaddr, u64 ulen)
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
	r = sock_addr_in(addr, uaddr, len);
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
	r = sock_addr_in(addr, uaddr, len);
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
		r = len < 0 ? len : sock_addr_out(addr, (u32)len, uaddr, ulen);
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
		r = uaddr ? sock_addr_out(addr, (u32)r, uaddr, ulen) : -EFAULT;
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
