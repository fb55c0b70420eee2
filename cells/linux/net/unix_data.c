/* SPDX-License-Identifier: ISC */
/* Unix sockets: data on its way from one to the other. unix.c has the model. */
#include "cells/linux/net/unix.h"
#include "cells/linux/inc/sys.h"

#define CHUNK_PAGES 16u
#define OVERHEAD    768u   /* what a message counts beyond its bytes, as on Linux */
#define NOBODY      65534u /* the owner of what was sent without credentials */

void uflow_put(struct uflow *f)
{
	if (!--f->refs)
		kfree(f);
}

void ubuf_free(struct ubuf *b)
{
	struct uflow *f = b->flow;

	for (u32 i = 0; i < b->npages; i++)
		page_put(b->page[i]);
	if (b->scm)
		scm_free(b->scm);
	if (f) {
		f->bytes -= b->len + OVERHEAD;
		if (f->from)
			wake_events(&f->from->s.wait, POLLOUT | POLLWRNORM);
		uflow_put(f);
	}
	kfree(b);
}

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

/* Credentials travel if either end asks for them, or nobody has accepted yet who could. */
static void ubuf_creds(const struct usock *from, const struct usock *to, struct ubuf *b,
		       const struct msg *m)
{
	if (m->have_cred) {
		b->pid = m->cred[0];
		b->uid = m->cred[1];
		b->gid = m->cred[2];
	} else if (from->s.passcred || to->s.passcred || to->listener) {
		b->pid = current->proc->pid;
		b->uid = current->cred->uid;
		b->gid = current->cred->gid;
	} else {
		b->uid = b->gid = NOBODY;
	}
}

static void ubuf_queue(struct usock *from, struct usock *to, struct ubuf *b, struct msg *m)
{
	ubuf_creds(from, to, b, m);
	if (m->scm && m->scm->nfds) {
		b->scm = m->scm;
		m->scm = NULL;
	}
	memcpy(b->from, from->name, from->name_len);
	b->from_len = from->name_len;
	b->flow = from->flow;
	b->flow->refs++;
	b->flow->bytes += b->len + OVERHEAD;
	list_add_tail(&to->queue, &b->link);
	wake_events(&to->s.wait, POLLIN | POLLRDNORM);
	if (b->scm)
		unix_rights_sent(b); /* which may free both */
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
		if (!n)
			break;
		if (u->flow->bytes >= u->s.sndbuf) {
			if (m->flags & MSG_DONTWAIT_K)
				return done ? done : -EAGAIN;
			r = wait_event(&u->s.wait,
				       u->shut_wr || !u->peer || u->flow->bytes < u->s.sndbuf,
				       deadline);
			if (r)
				return done ? done : r == -ETIMEDOUT ? -EAGAIN : r;
			continue;
		}
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

/* Where a packet goes now; or -errno. */
static int packet_target(struct usock *u, const struct msg *m, struct usock **to)
{
	int r = 0;

	if (m->name_len && u->s.type == SOCK_DGRAM_K) {
		r = unix_find(m->name, m->name_len, (u32)u->s.type, to);
	} else {
		*to = u->peer;
		if (!*to && u->peer_closed && u->s.type == SOCK_DGRAM_K) {
			u->peer_closed = u->connected = false; /* said once */
			r = -ECONNREFUSED;
		} else if (!*to) {
			r = u->peer_closed ? -EPIPE : -ENOTCONN;
		}
	}
	return !r && (u->shut_wr || (*to)->shut_rd) ? -EPIPE : r;
}

static ssize send_packet(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.sndtimeo);
	struct usock *to;
	struct ubuf *b;
	u32 n = (u32)m->u->left;
	int r;

	if (u->s.type == SOCK_SEQPACKET_K && !u->connected)
		return -ENOTCONN;
	if (m->u->left > u->s.sndbuf - 32)
		return -EMSGSIZE;
	r = ubuf_make(m->u, n, &b);
	if (r)
		return r;
	for (;;) {
		r = packet_target(u, m, &to);
		if (r || u->flow->bytes < u->s.sndbuf)
			break;
		if (m->flags & MSG_DONTWAIT_K) {
			r = -EAGAIN;
			break;
		}
		r = wait_on(&u->s.wait, deadline, true);
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

ssize unix_send(struct sock *s, struct msg *m)
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

static void dequeue(struct ubuf *b)
{
	list_del(&b->link);
	ubuf_free(b);
}

/* Descriptors and, if they are asked for, credentials of a message into m. */
static int take_scm(struct usock *u, struct ubuf *b, struct msg *m)
{
	struct scm *c = m->scm;

	if (!b->scm && !u->s.passcred)
		return 0;
	if (!c) {
		c = m->scm = kalloc(sizeof(*c));
		if (!c)
			return -ENOMEM;
	}
	c->pid = b->pid;
	c->uid = b->uid;
	c->gid = b->gid;
	for (u32 i = 0; b->scm && i < b->scm->nfds; i++) {
		c->fds[c->nfds++] = b->scm->fds[i];
		file_get(b->scm->fds[i]);
	}
	if (!(m->flags & MSG_PEEK_K)) {
		scm_free(b->scm);
		b->scm = NULL;
	}
	return 0;
}

static int data_state(struct usock *u)
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
	return 0;
}

/* Not held while it waits for data; 1: there is an end of file, or -errno. */
static int wait_data(struct usock *u, struct msg *m, u64 deadline)
{
	int r = data_state(u);

	if (r)
		return r;
	klock_drop(&u->copying);
	r = sock_wait(&u->s, m, deadline);
	klock_take(&u->copying);
	return r;
}

/* One read has one sender's credentials, if they are asked for. */
static bool same_sender(const struct usock *u, const struct msg *m, const struct ubuf *b)
{
	return !u->s.passcred || !m->scm ||
	       (m->scm->pid == b->pid && m->scm->uid == b->uid && m->scm->gid == b->gid);
}

/* The message after prev (NULL: the first); NULL: none. */
static struct ubuf *queue_next(struct usock *u, struct ubuf *prev)
{
	struct list *l = prev ? prev->link.next : u->queue.next;

	return l == &u->queue || list_empty(&u->queue) ? NULL
						       : container_of(l, struct ubuf, link);
}

static ssize recv_stream(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);
	ssize done = 0;
	bool peek = (m->flags & MSG_PEEK_K) != 0, got_fds = false;
	struct ubuf *seen = NULL; /* the last one that was looked at */

	do {
		struct ubuf *b = queue_next(u, seen);
		u32 n;
		int r;

		if (!b) {
			if (done && (!(m->flags & MSG_WAITALL_K) || peek))
				break;
			r = wait_data(u, m, deadline);
			if (r)
				return done ? done : r > 0 ? 0 : r;
			continue;
		}
		if (!same_sender(u, m, b))
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
			seen = b;
			continue;
		}
		b->off += n;
		if (b->off == b->len)
			dequeue(b);
	} while (m->u->left && !got_fds);
	m->name_len = unix_peer_name(u, m->name);
	return done;
}

/* The first buffer, which is held. */
static ssize packet_take(struct usock *u, struct msg *m)
{
	struct ubuf *b = list_first(&u->queue, struct ubuf, link);
	u32 n = (u32)MIN((u64)b->len, m->u->left);
	int r = take_scm(u, b, m);

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
		dequeue(b);
	return n;
}

static ssize recv_packet(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);

	while (list_empty(&u->queue)) {
		int r = wait_data(u, m, deadline);

		if (r)
			return r > 0 ? 0 : r;
	}
	return packet_take(u, m);
}

/* One reader at a time: user memory may have to come from the store meanwhile. */
ssize unix_recv(struct sock *s, struct msg *m)
{
	ssize r;

	if (m->flags & MSG_OOB_K)
		return -EINVAL;
	klock_take(&us(s)->copying);
	r = s->type == SOCK_STREAM_K ? recv_stream(us(s), m) : recv_packet(us(s), m);
	klock_drop(&us(s)->copying);
	return r;
}
