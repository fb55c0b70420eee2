/* SPDX-License-Identifier: ISC */
/*
 * Unix sockets: streams, datagrams and sequenced packets inside the container.
 *
 * Data waits at its receiver as a list of buffers made of pages; a sender waits while it has as
 * much on its way as its send buffer holds. A name is an inode (its `sock` field) or an entry
 * in the list of abstract names. Descriptors and credentials travel with a buffer; a stream
 * read never runs past a buffer that carries descriptors.
 */
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/gen.h"
#include "cells/linux/net/netdev.h"
#include "cells/linux/net/unix.h"
#include <asm/socket.h>
#include <asm/ioctls.h>

static struct list abstract;
struct list unix_sockets;
static const struct sock_ops unix_ops;

static void creds_fill(struct usock *u)
{
	u->pid = current->proc ? current->proc->pid : 0;
	u->uid = current->cred->euid;
	u->gid = current->cred->egid;
}

static int unix_create(u32 type, u32 protocol, struct sock **out)
{
	struct usock *u;

	if (type == SOCK_RAW_K)
		type = SOCK_DGRAM_K;
	if (type != SOCK_STREAM_K && type != SOCK_DGRAM_K && type != SOCK_SEQPACKET_K)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != AF_UNIX_K)
		return -EPROTONOSUPPORT;
	u = (struct usock *)sock_alloc(sizeof(*u), AF_UNIX_K, type, 0, &unix_ops);
	if (!u)
		return -ENOMEM;
	u->flow = kalloc(sizeof(*u->flow));
	if (!u->flow) {
		kfree(u);
		return -ENOMEM;
	}
	*u->flow = (struct uflow){.refs = 1, .from = u};
	creds_fill(u);
	list_add_tail(&unix_sockets, &u->all_link);
	*out = &u->s;
	return 0;
}

static void link_pair(struct usock *a, struct usock *b)
{
	a->peer = b;
	b->peer = a;
	a->connected = b->connected = true;
	if (a->s.type == SOCK_DGRAM_K) { /* each may get another peer */
		list_add_tail(&b->dgram_peers, &a->dgram_link);
		list_add_tail(&a->dgram_peers, &b->dgram_link);
	}
	a->peer_pid = b->pid;
	a->peer_uid = b->uid;
	a->peer_gid = b->gid;
	b->peer_pid = a->pid;
	b->peer_uid = a->uid;
	b->peer_gid = a->gid;
}

static int unix_pair(u32 type, u32 protocol, struct sock *out[2])
{
	int r = unix_create(type, protocol, &out[0]);

	if (r)
		return r;
	r = unix_create(type, protocol, &out[1]);
	if (r) {
		sock_put(out[0]);
		return r;
	}
	link_pair(us(out[0]), us(out[1]));
	return 0;
}

/* ---- Names ---- */
static struct usock *abstract_find(const u8 *addr, u32 len, u32 type)
{
	struct usock *u;

	list_each(u, &abstract, abstract_link) if (u->name_len == len &&
						   (u32)u->s.type == type &&
						   !memcmp(u->name, addr, len)) return u;
	return NULL;
}

static int bind_path(struct usock *u, const u8 *addr, u32 len)
{
	char path[112];
	struct dentry *d;
	int r;

	memcpy(path, addr + 2, len - 2);
	path[len - 2] = 0;
	r = vfs_mknod(AT_FDCWD, path, S_IFSOCK | 0777, 0, &d);
	if (r)
		return r == -EEXIST ? -EADDRINUSE : r;
	if (!d)
		return -ENOMEM;
	u->bound = d->inode;
	inode_get(u->bound);
	u->bound->sock = u;
	dentry_put(d);
	u->name_len = 2 + (u32)strlen(path) + 1;
	memcpy(u->name, addr, 2);
	memcpy(u->name + 2, path, u->name_len - 2);
	return 0;
}

static int unix_bind(struct sock *s, const u8 *addr, u32 len)
{
	struct usock *u = us(s);
	int r;

	if (len < 2 || len > 110 || addr[0] != AF_UNIX_K || addr[1])
		return -EINVAL;
	if (u->name_len || u->binding)
		return -EINVAL;
	if (len == 2) { /* autobind: an abstract name of five hex digits */
		do {
			u->name[0] = AF_UNIX_K;
			format((char *)u->name + 3, 8, "%05x", (u32)random_u64() & 0xfffff);
		} while (abstract_find(u->name, 8, (u32)s->type));
		u->name_len = 8;
		list_add_tail(&abstract, &u->abstract_link);
		return 0;
	}
	if (addr[2]) {
		u->binding = true; /* making the file sleeps */
		r = bind_path(u, addr, len);
		u->binding = false;
		return r;
	}
	if (abstract_find(addr, len, (u32)s->type))
		return -EADDRINUSE;
	memcpy(u->name, addr, len);
	u->name_len = len;
	list_add_tail(&abstract, &u->abstract_link);
	return 0;
}

int unix_find(const u8 *addr, u32 len, u32 type, struct usock **out)
{
	char path[112];
	struct dentry *d;
	int r;

	if (len < 3 || len > 110 || addr[0] != AF_UNIX_K || addr[1])
		return -EINVAL;
	if (!addr[2]) {
		*out = abstract_find(addr, len, type);
		return *out ? 0 : -ECONNREFUSED;
	}
	memcpy(path, addr + 2, len - 2);
	path[len - 2] = 0;
	r = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &d);
	if (r)
		return r;
	r = inode_permission(d->inode, MAY_WRITE);
	*out = d->inode->sock;
	if (!r && !*out)
		r = -ECONNREFUSED;
	if (!r && (u32)(*out)->s.type != type)
		r = -EPROTOTYPE;
	dentry_put(d);
	return r;
}

/* ---- Connections ---- */
static int connect_dgram(struct usock *u, const u8 *addr, u32 len)
{
	struct usock *to;
	int r;

	if (addr[0] == 0 && addr[1] == 0) {
		list_del(&u->dgram_link);
		u->peer_closed = false;
		u->peer = NULL;
		u->connected = false;
		return 0;
	}
	r = unix_find(addr, len, (u32)u->s.type, &to);
	if (r)
		return r;
	list_del(&u->dgram_link);
	u->peer = to;
	u->connected = true;
	u->peer_closed = false;
	list_add_tail(&to->dgram_peers, &u->dgram_link);
	return 0;
}

static int unix_connect(struct sock *s, const u8 *addr, u32 len, bool nonblock)
{
	struct usock *u = us(s), *to, *child;
	struct sock *cs;
	int r;

	if (s->type == SOCK_DGRAM_K)
		return connect_dgram(u, addr, len);
	for (;;) {
		/* Each time: another thread may connect it while this one sleeps. */
		if (u->connected)
			return -EISCONN;
		if (u->listening)
			return -EINVAL;
		r = unix_find(addr, len, (u32)s->type, &to);
		if (r)
			return r;
		if (u->connected)
			continue;
		if (!to->listening)
			return -ECONNREFUSED;
		if (to->pending <= to->backlog)
			break;
		if (nonblock)
			return -EAGAIN;
		r = wait_on(&to->s.wait, sock_deadline(s->sndtimeo), true);
		if (r)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
	r = unix_create(s->type, 0, &cs);
	if (r)
		return r;
	child = us(cs);
	creds_fill(u);
	child->pid = to->pid;
	child->uid = to->uid;
	child->gid = to->gid;
	link_pair(u, child);
	memcpy(child->name, to->name, to->name_len);
	child->name_len = to->name_len;
	child->listener = to;
	list_add_tail(&to->acceptq, &child->accept_link);
	to->pending++;
	wake_events(&to->s.wait, POLLIN | POLLRDNORM);
	return 0;
}

static int unix_listen(struct sock *s, int backlog)
{
	struct usock *u = us(s);

	if (s->type == SOCK_DGRAM_K)
		return -EOPNOTSUPP;
	if (!u->name_len || u->connected)
		return -EINVAL;
	u->listening = true;
	u->backlog = backlog < 0 ? 4096 : MIN((u32)backlog, 4096u);
	creds_fill(u);
	wake_all(&s->wait);
	return 0;
}

static int unix_accept(struct sock *s, struct sock **out, bool nonblock)
{
	struct usock *u = us(s), *c;
	int r;

	if (s->type == SOCK_DGRAM_K)
		return -EOPNOTSUPP;
	if (!u->listening)
		return -EINVAL;
	if (list_empty(&u->acceptq)) {
		if (nonblock)
			return -EAGAIN;
		r = wait_event(&s->wait, !list_empty(&u->acceptq) || u->shut_rd,
			       sock_deadline(s->rcvtimeo));
		if (r)
			return r == -ETIMEDOUT ? -EAGAIN : r;
		if (list_empty(&u->acceptq))
			return -EINVAL;
	}
	c = list_first(&u->acceptq, struct usock, accept_link);
	list_del(&c->accept_link);
	c->listener = NULL;
	c->s.passcred = u->s.passcred;
	u->pending--;
	wake_all(&s->wait);
	*out = &c->s;
	return 0;
}

u32 unix_peer_name(struct usock *u, u8 *name)
{
	u32 len = u->peer ? u->peer->name_len : u->peer_name_len;

	memcpy(name, u->peer ? u->peer->name : u->peer_name, len);
	return len;
}

static void peer_gone(struct usock *u)
{
	u->peer_name_len = unix_peer_name(u, u->peer_name);
	u->peer = NULL;
	u->peer_closed = true;
}

static int unix_getname(struct sock *s, u8 *addr, bool peer)
{
	struct usock *u = us(s);
	u32 len = u->name_len;

	if (peer && !u->connected)
		return -ENOTCONN;
	if (peer)
		len = unix_peer_name(u, addr);
	else
		memcpy(addr, u->name, len);
	if (!len) {
		addr[0] = AF_UNIX_K;
		addr[1] = 0;
		len = 2;
	}
	return (int)len;
}

static u32 unix_poll(struct sock *s, struct poll_table *pt)
{
	struct usock *u = us(s);
	u32 m = 0;
	bool eof = u->shut_rd ||
		   (s->type != SOCK_DGRAM_K && u->connected && (!u->peer || u->peer->shut_wr));

	poll_wait(pt, &s->wait);
	if (u->listening)
		return list_empty(&u->acceptq) ? 0 : POLLIN | POLLRDNORM;
	if (!list_empty(&u->queue) || eof)
		m |= POLLIN | POLLRDNORM;
	if (eof)
		m |= POLLRDHUP;
	if ((u->shut_rd && u->shut_wr) ||
	    (s->type != SOCK_DGRAM_K && (!u->connected || !u->peer)))
		m |= POLLHUP;
	if (u->flow->bytes <= s->sndbuf / 4)
		m |= POLLOUT | POLLWRNORM;
	if (s->error)
		m |= POLLERR;
	return m;
}

static int unix_shutdown(struct sock *s, int how)
{
	struct usock *u = us(s);

	if (s->type != SOCK_DGRAM_K && !u->connected && !u->listening)
		return -ENOTCONN;
	if (how != 1)
		u->shut_rd = true;
	if (how != 0)
		u->shut_wr = true;
	wake_all(&s->wait);
	if (!u->peer)
		return 0;
	if (s->type != SOCK_DGRAM_K) { /* a connection's other end has it the other way round */
		u->peer->shut_rd |= how != 0;
		u->peer->shut_wr |= how != 1;
	}
	wake_all(&u->peer->s.wait);
	return 0;
}

static int unix_getopt(struct sock *s, int level, int name, void *val, u32 *len)
{
	struct usock *u = us(s);
	u32 cr[3] = {u->peer_pid, u->peer_uid, u->peer_gid};
	int v;

	if (level != 1)
		return -EOPNOTSUPP;
	if (name == SO_PEERCRED) {
		if (u->listening) { /* who made it one */
			cr[0] = u->pid;
			cr[1] = u->uid;
			cr[2] = u->gid;
		} else if (!u->connected) {
			cr[0] = 0;
			cr[1] = cr[2] = ~0u;
		}
		*len = MIN(*len, 12u);
		memcpy(val, cr, *len);
		return 0;
	}
	if (name == SO_ACCEPTCONN) {
		v = u->listening;
		*len = MIN(*len, 4u);
		memcpy(val, &v, *len);
		return 0;
	}
	return -ENOPROTOOPT;
}

static s64 unix_ioctl(struct sock *s, u32 cmd, u64 arg)
{
	struct usock *u = us(s);
	struct ubuf *b;
	int n = 0;

	if (cmd == FIONREAD) {
		list_each(b, &u->queue, link)
		{
			n += (int)(b->len - b->off);
			if (s->type != SOCK_STREAM_K)
				break;
		}
		return put_user(n, arg);
	}
	if (cmd == TIOCOUTQ) {
		return put_user(u->flow->bytes, arg);
	}
	return netdev_ioctl(cmd, arg); /* the C library asks any socket for interfaces */
}

static void unix_release(struct sock *s)
{
	struct usock *u = us(s), *o;
	bool unread = !list_empty(&u->queue);

	list_del(&u->abstract_link);
	list_del(&u->all_link);
	list_del(&u->dgram_link);
	if (u->bound) {
		if (u->bound->sock == u)
			u->bound->sock = NULL;
		inode_put(u->bound);
	}
	while (!list_empty(&u->acceptq)) {
		o = list_first(&u->acceptq, struct usock, accept_link);
		list_del(&o->accept_link);
		sock_put(&o->s);
	}
	while (!list_empty(&u->dgram_peers)) {
		o = list_first(&u->dgram_peers, struct usock, dgram_link);
		list_del(&o->dgram_link);
		peer_gone(o);
		wake_all(&o->s.wait);
	}
	o = u->peer;
	if (o && o->peer == u) {
		peer_gone(o);
		if ((unread || u->listener) && s->type != SOCK_DGRAM_K)
			o->s.error = ECONNRESET;
		wake_all(&o->s.wait);
	}
	u->peer = NULL;
	while (!list_empty(&u->queue)) {
		struct ubuf *b = list_first(&u->queue, struct ubuf, link);

		list_del(&b->link);
		ubuf_free(b);
	}
	u->flow->from = NULL;
	uflow_put(u->flow);
	waitq_dissolve(&s->wait); /* senders and connectors wait here who don't hold us */
	unix_collect();
}

static const struct sock_ops unix_ops = {.bind = unix_bind,
					 .connect = unix_connect,
					 .listen = unix_listen,
					 .accept = unix_accept,
					 .getname = unix_getname,
					 .send = unix_send,
					 .recv = unix_recv,
					 .poll = unix_poll,
					 .shutdown = unix_shutdown,
					 .getopt = unix_getopt,
					 .ioctl = unix_ioctl,
					 .release = unix_release};
const struct family family_unix = {AF_UNIX_K, unix_create, unix_pair};

void unix_text(struct text *t);
void unix_text(struct text *t)
{
	struct usock *u;

	text_add(t, "Num       RefCount Protocol Flags    Type St Inode Path\n");
	list_each(u, &unix_sockets, all_link)
	{
		text_add(t, "%016lx: %08X 00000000 %08X %04X %02X %5lu", 0ul, u->s.refs,
			 u->listening ? 0x10000 : 0, u->s.type,
			 u->listening   ? 1
			 : u->connected ? 3
					: 1,
			 u->s.inode ? u->s.inode->ino : 0);
		if (u->name_len > 2)
			text_add(t, " %s%.*s", u->name[2] ? "" : "@",
				 (int)u->name_len - 2 - (u->name[2] ? 0 : 1),
				 (const char *)u->name + 2 + (u->name[2] ? 0 : 1));
		text_add(t, "\n");
	}
}
