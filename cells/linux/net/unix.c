/* SPDX-License-Identifier: ISC */
/*
 * Unix sockets: streams, datagrams and sequenced packets inside the container.
 *
 * Data waits at its receiver as a list of buffers made of pages; the sender waits when the
 * receiver's limit is reached. A name is an inode (its `sock` field) or an entry in the list of
 * abstract names. Descriptors and credentials travel with a buffer; a stream read never
 * runs past a buffer that carries descriptors.
 */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/gen.h"
#include <asm/socket.h>
#include <asm/ioctls.h>

#define CHUNK_PAGES 16u
#define DGRAM_MAX   212960u

struct ubuf {
	struct list link;
	u32 len, off, npages;
	struct scm *scm;
	u32 pid, uid, gid;
	u8 from[112];
	u32 from_len;
	struct page *page[];
};

struct usock {
	struct sock s;
	struct usock *peer; /* connected to; not counted, cleared by its release */
	struct list queue;  /* of struct ubuf */
	u32 queued;         /* bytes */
	bool listening, shut_rd, shut_wr, connected, peer_closed;
	struct list acceptq, accept_link;
	u32 pending, backlog;
	struct usock *listener; /* while in its accept queue */
	u8 name[112];           /* sockaddr_un */
	u32 name_len;
	u8 peer_name[112];
	u32 peer_name_len;
	struct inode *bound; /* referenced */
	struct list abstract_link;
	struct list all_link;
	u32 pid, uid, gid; /* of who made it, for the peer */
	u32 peer_pid, peer_uid, peer_gid;
	struct list dgram_peers; /* sockets connected to this datagram socket */
	struct list dgram_link;
};

static struct list abstract, all_sockets;
static const struct sock_ops unix_ops;

static struct usock *us(struct sock *s)
{
	return container_of(s, struct usock, s);
}

static void creds_fill(struct usock *u)
{
	u->pid = current->proc ? current->proc->pid : 0;
	u->uid = current->cred->euid;
	u->gid = current->cred->egid;
}

static void ubuf_free(struct ubuf *b)
{
	for (u32 i = 0; i < b->npages; i++)
		page_put(b->page[i]);
	if (b->scm) {
		scm_free(b->scm);
	}
	kfree(b);
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
	creds_fill(u);
	list_add_tail(&all_sockets, &u->all_link);
	*out = &u->s;
	return 0;
}

static void link_pair(struct usock *a, struct usock *b)
{
	a->peer = b;
	b->peer = a;
	a->connected = b->connected = true;
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
static struct usock *abstract_find(const u8 *addr, u32 len)
{
	struct usock *u;

	list_each(u, &abstract, abstract_link) if (u->name_len == len &&
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

	if (len < 2 || len > 110 || addr[0] != AF_UNIX_K || addr[1])
		return -EINVAL;
	if (u->name_len)
		return -EINVAL;
	if (len == 2) { /* autobind: an abstract name of five hex digits */
		do {
			u->name[0] = AF_UNIX_K;
			format((char *)u->name + 3, 8, "%05x", (u32)random_u64() & 0xfffff);
		} while (abstract_find(u->name, 8));
		u->name_len = 8;
		list_add_tail(&abstract, &u->abstract_link);
		return 0;
	}
	if (addr[2])
		return bind_path(u, addr, len);
	if (abstract_find(addr, len))
		return -EADDRINUSE;
	memcpy(u->name, addr, len);
	u->name_len = len;
	list_add_tail(&abstract, &u->abstract_link);
	return 0;
}

static int find_named(const u8 *addr, u32 len, struct usock **out)
{
	char path[112];
	struct dentry *d;
	int r;

	if (len < 3 || len > 110 || addr[0] != AF_UNIX_K || addr[1])
		return -EINVAL;
	if (!addr[2]) {
		*out = abstract_find(addr, len);
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
		u->peer = NULL;
		u->connected = false;
		return 0;
	}
	r = find_named(addr, len, &to);
	if (r)
		return r;
	if (to->s.type != u->s.type)
		return -EPROTOTYPE;
	list_del(&u->dgram_link);
	u->peer = to;
	u->connected = true;
	u->peer_closed = false;
	list_add_tail(&to->dgram_peers, &u->dgram_link);
	memcpy(u->peer_name, to->name, to->name_len);
	u->peer_name_len = to->name_len;
	return 0;
}

static int unix_connect(struct sock *s, const u8 *addr, u32 len, bool nonblock)
{
	struct usock *u = us(s), *to, *child;
	struct sock *cs;
	int r;

	if (s->type == SOCK_DGRAM_K)
		return connect_dgram(u, addr, len);
	if (u->connected)
		return -EISCONN;
	if (u->listening)
		return -EINVAL;
	for (;;) {
		r = find_named(addr, len, &to);
		if (r)
			return r;
		if (to->s.type != s->type)
			return -EPROTOTYPE;
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
	memcpy(u->peer_name, to->name, to->name_len);
	u->peer_name_len = to->name_len;
	memcpy(child->peer_name, u->name, u->name_len);
	child->peer_name_len = u->name_len;
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
	u->pending--;
	wake_all(&s->wait);
	*out = &c->s;
	return 0;
}

static int unix_getname(struct sock *s, u8 *addr, bool peer)
{
	struct usock *u = us(s);

	if (peer && !u->connected)
		return -ENOTCONN;
	if (peer ? !u->peer_name_len : !u->name_len) {
		addr[0] = AF_UNIX_K;
		addr[1] = 0;
		return 2;
	}
	memcpy(addr, peer ? u->peer_name : u->name, peer ? u->peer_name_len : u->name_len);
	return (int)(peer ? u->peer_name_len : u->name_len);
}

/* ---- Data ---- */
static int ubuf_make(struct uio *u, u32 n, struct ubuf **out)
{
	u32 pages = ALIGN_UP(n, (u32)PAGE_SIZE) / (u32)PAGE_SIZE;
	struct ubuf *b = kalloc(sizeof(*b) + pages * sizeof(b->page[0]));

	if (!b)
		return -ENOMEM;
	for (; b->npages < pages; b->npages++) {
		u32 part = MIN(n - b->npages * (u32)PAGE_SIZE, (u32)PAGE_SIZE);
		struct page *p = page_alloc_nozero(PAGE_KERNEL);

		if (!p) {
			ubuf_free(b);
			return -ENOMEM;
		}
		b->page[b->npages] = p;
		if (uio_in(u, page_ptr(p), part)) {
			b->npages++;
			ubuf_free(b);
			return -EFAULT;
		}
	}
	b->len = n;
	*out = b;
	return 0;
}

static void ubuf_queue(struct usock *from, struct usock *to, struct ubuf *b, struct msg *m)
{
	b->pid = current->proc->pid;
	b->uid = current->cred->uid;
	b->gid = current->cred->gid;
	if (m->scm) {
		b->pid = m->scm->pid;
		b->uid = m->scm->uid;
		b->gid = m->scm->gid;
		if (m->scm->nfds) {
			b->scm = m->scm;
			m->scm = NULL;
		}
	}
	memcpy(b->from, from->name, from->name_len);
	b->from_len = from->name_len;
	list_add_tail(&to->queue, &b->link);
	to->queued += b->len + 64;
	wake_events(&to->s.wait, POLLIN | POLLRDNORM);
}

static ssize send_stream(struct usock *u, struct msg *m)
{
	ssize done = 0;
	u64 deadline = sock_deadline(u->s.sndtimeo);

	if (m->name_len)
		return u->connected ? -EISCONN : -EOPNOTSUPP;
	if (!u->connected)
		return -ENOTCONN;
	do {
		struct ubuf *b;
		u32 n = (u32)MIN(m->u->left, CHUNK_PAGES * PAGE_SIZE);
		int r;

		if (u->shut_wr || !u->peer || u->peer->shut_rd)
			return done ? done : -EPIPE;
		if (u->peer->queued >= u->peer->s.rcvbuf) {
			if (m->flags & MSG_DONTWAIT_K)
				return done ? done : -EAGAIN;
			r = wait_event(&u->s.wait,
				       u->shut_wr || !u->peer ||
					   u->peer->queued < u->peer->s.rcvbuf,
				       deadline);
			if (r)
				return done ? done : r == -ETIMEDOUT ? -EAGAIN : r;
			continue;
		}
		if (!n && !m->scm)
			break;
		r = ubuf_make(m->u, n, &b);
		if (r)
			return done ? done : r;
		if (!u->peer) {
			ubuf_free(b);
			return done ? done : -EPIPE;
		}
		ubuf_queue(u, u->peer, b, m);
		done += n;
	} while (m->u->left);
	return done;
}

static ssize send_packet(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.sndtimeo);
	struct usock *to;
	struct ubuf *b;
	u32 n = (u32)m->u->left;
	int r;

	if (m->u->left > DGRAM_MAX)
		return -EMSGSIZE;
	if (m->name_len && u->s.type == SOCK_SEQPACKET_K)
		return u->connected ? -EISCONN : -EOPNOTSUPP;
	r = ubuf_make(m->u, n, &b);
	if (r)
		return r;
	for (;;) {
		if (m->name_len) {
			r = find_named(m->name, m->name_len, &to);
			if (!r && to->s.type != u->s.type)
				r = -EPROTOTYPE;
		} else {
			to = u->peer;
			r = to ? 0
			    : u->peer_closed
				? (u->s.type == SOCK_DGRAM_K ? -ECONNREFUSED : -EPIPE)
				: -ENOTCONN;
		}
		if (!r && (u->shut_wr || to->shut_rd))
			r = -EPIPE;
		if (r || to->queued < to->s.rcvbuf)
			break;
		if (m->flags & MSG_DONTWAIT_K) {
			r = -EAGAIN;
			break;
		}
		r = wait_on(&to->s.wait, deadline, true);
		if (r) {
			r = r == -ETIMEDOUT ? -EAGAIN : r;
			break;
		}
	}
	if (r) {
		ubuf_free(b);
		return r;
	}
	ubuf_queue(u, to, b, m);
	return n;
}

static ssize unix_send(struct sock *s, struct msg *m)
{
	if (m->flags & MSG_OOB_K)
		return -EOPNOTSUPP;
	if (s->error) {
		int e = s->error;

		s->error = 0;
		return -e;
	}
	return s->type == SOCK_STREAM_K ? send_stream(us(s), m) : send_packet(us(s), m);
}

static int ubuf_read(struct ubuf *b, struct uio *u, u32 off, u32 n)
{
	while (n) {
		u32 at = off % (u32)PAGE_SIZE, take = MIN(n, (u32)PAGE_SIZE - at);

		if (uio_out(u, (u8 *)page_ptr(b->page[off / PAGE_SIZE]) + at, take))
			return -EFAULT;
		off += take;
		n -= take;
	}
	return 0;
}

static void dequeue(struct usock *u, struct ubuf *b)
{
	list_del(&b->link);
	u->queued -= b->len + 64;
	ubuf_free(b);
	wake_events(&u->s.wait, POLLOUT | POLLWRNORM);
	if (u->peer)
		wake_events(&u->peer->s.wait, POLLOUT | POLLWRNORM);
}

static int take_scm(struct usock *u, struct ubuf *b, struct msg *m)
{
	bool peek = (m->flags & MSG_PEEK_K) != 0;

	if (!m->scm && (b->scm || u->s.passcred)) {
		m->scm = b->scm && !peek ? b->scm : kalloc(sizeof(*m->scm));
		if (!m->scm)
			return -ENOMEM;
		if (b->scm && peek) {
			*m->scm = *b->scm;
			for (u32 i = 0; i < m->scm->nfds; i++)
				file_get(m->scm->fds[i]);
		}
		m->scm->pid = b->pid;
		m->scm->uid = b->uid;
		m->scm->gid = b->gid;
		if (!peek)
			b->scm = NULL;
	}
	return 0;
}

static int wait_data(struct usock *u, struct msg *m, u64 deadline)
{
	int r;

	if (u->s.type != SOCK_DGRAM_K && !u->connected && !u->peer_closed)
		return u->listening ? -EINVAL : -ENOTCONN;
	if (u->s.error) {
		r = -u->s.error;
		u->s.error = 0;
		return r;
	}
	if (u->shut_rd || (u->s.type != SOCK_DGRAM_K && (!u->peer || u->peer->shut_wr)))
		return 1; /* end of file */
	if (m->flags & MSG_DONTWAIT_K)
		return -EAGAIN;
	r = wait_on(&u->s.wait, deadline, true);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

static ssize recv_stream(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);
	ssize done = 0;
	bool peek = (m->flags & MSG_PEEK_K) != 0, got_fds = false;
	u32 peeked = 0;

	while (m->u->left && !got_fds) {
		struct ubuf *b;
		u32 n;
		int r;

		if (list_empty(&u->queue)) {
			if (done && !(m->flags & MSG_WAITALL_K))
				break;
			r = wait_data(u, m, deadline);
			if (r)
				return done ? done : r > 0 ? 0 : r;
			continue;
		}
		b = list_first(&u->queue, struct ubuf, link);
		if (b->scm && done)
			break;
		got_fds = b->scm != NULL;
		r = take_scm(u, b, m);
		n = b->len - b->off;
		n = (u32)MIN(n, m->u->left);
		if (!r)
			r = ubuf_read(b, m->u, b->off, n);
		if (r)
			return done ? done : r;
		done += n;
		if (peek) {
			peeked += n;
			break;
		}
		b->off += n;
		if (b->off == b->len)
			dequeue(u, b);
	}
	(void)peeked;
	memcpy(m->name, u->peer_name, u->peer_name_len);
	m->name_len = u->peer_name_len;
	return done;
}

static ssize recv_packet(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);
	struct ubuf *b;
	u32 n;
	int r;

	while (list_empty(&u->queue)) {
		r = wait_data(u, m, deadline);
		if (r)
			return r > 0 ? 0 : r;
	}
	b = list_first(&u->queue, struct ubuf, link);
	r = take_scm(u, b, m);
	n = (u32)MIN((u64)b->len, m->u->left);
	if (!r)
		r = ubuf_read(b, m->u, 0, n);
	if (r)
		return r;
	memcpy(m->name, b->from, b->from_len);
	m->name_len = b->from_len;
	if (n < b->len) {
		m->out_flags |= MSG_TRUNC_K;
		if (m->flags & MSG_TRUNC_K)
			n = b->len;
	}
	if (!(m->flags & MSG_PEEK_K))
		dequeue(u, b);
	return n;
}

static ssize unix_recv(struct sock *s, struct msg *m)
{
	if (m->flags & MSG_OOB_K)
		return -EINVAL;
	return s->type == SOCK_STREAM_K ? recv_stream(us(s), m) : recv_packet(us(s), m);
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
	if (s->type != SOCK_DGRAM_K &&
	    ((u->connected && !u->peer) || (u->shut_rd && u->shut_wr) || (!u->connected)))
		m |= POLLHUP;
	if (!u->peer || u->peer->queued < u->peer->s.rcvbuf)
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
	if (u->peer)
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
		if (!u->connected) {
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

s64 netdev_ioctl(u32 cmd, u64 arg);

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
		n = u->peer ? (int)u->peer->queued : 0;
		return put_user(n, arg);
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
		o->peer = NULL;
		o->peer_closed = true;
		o->s.error = ECONNRESET;
		wake_all(&o->s.wait);
	}
	o = u->peer;
	if (o && o->peer == u) {
		o->peer = NULL;
		o->peer_closed = true;
		if (unread && s->type != SOCK_DGRAM_K)
			o->s.error = ECONNRESET;
		wake_all(&o->s.wait);
	}
	u->peer = NULL;
	while (!list_empty(&u->queue)) {
		struct ubuf *b = list_first(&u->queue, struct ubuf, link);

		list_del(&b->link);
		ubuf_free(b);
	}
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
	list_each(u, &all_sockets, all_link)
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
