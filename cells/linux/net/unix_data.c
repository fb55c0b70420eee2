/* SPDX-License-Identifier: ISC */
/* Unix sockets: data on its way from one to the other. unix.c has the model. */
#include "cells/linux/net/unix.h"
#include "cells/linux/inc/sys.h"

#define CHUNK_PAGES 16u
#define DGRAM_MAX   212960u

void ubuf_free(struct ubuf *b)
{
	for (u32 i = 0; i < b->npages; i++)
		page_put(b->page[i]);
	if (b->scm) {
		scm_free(b->scm);
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
			r = unix_find(m->name, m->name_len, (u32)u->s.type, &to);
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
	return sock_wait(&u->s, m, deadline);
}

/* From the first buffer, which is held; *end: nothing more belongs to this read. */
static ssize stream_take(struct usock *u, struct msg *m, bool first, bool *end)
{
	struct ubuf *b = list_first(&u->queue, struct ubuf, link);
	bool peek = (m->flags & MSG_PEEK_K) != 0;
	u32 n = (u32)MIN((u64)b->len - b->off, m->u->left);
	int r;

	*end = peek || b->scm;
	if (b->scm && !first)
		return 0;
	r = take_scm(u, b, m);
	if (!r)
		r = ubuf_read(b, m->u, b->off, n);
	if (r)
		return r;
	if (!peek) {
		b->off += n;
		if (b->off == b->len)
			dequeue(u, b);
	}
	return n;
}

static ssize recv_stream(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);
	ssize done = 0, n;
	bool end = false;

	while (m->u->left && !end) {
		if (list_empty(&u->queue)) {
			if (done && !(m->flags & MSG_WAITALL_K))
				break;
			n = wait_data(u, m, deadline);
			if (n)
				return done ? done : n > 0 ? 0 : n;
			continue;
		}
		klock_take(&u->copying);
		n = list_empty(&u->queue) ? 0 : stream_take(u, m, !done, &end);
		klock_drop(&u->copying);
		if (n < 0)
			return done ? done : n;
		done += n;
	}
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
		dequeue(u, b);
	return n;
}

static ssize recv_packet(struct usock *u, struct msg *m)
{
	u64 deadline = sock_deadline(u->s.rcvtimeo);
	bool taken;
	ssize n;

	do {
		while (list_empty(&u->queue)) {
			int r = wait_data(u, m, deadline);

			if (r)
				return r > 0 ? 0 : r;
		}
		klock_take(&u->copying);
		taken = !list_empty(&u->queue); /* else another reader was faster */
		n = taken ? packet_take(u, m) : 0;
		klock_drop(&u->copying);
	} while (!taken);
	return n;
}

ssize unix_recv(struct sock *s, struct msg *m)
{
	if (m->flags & MSG_OOB_K)
		return -EINVAL;
	return s->type == SOCK_STREAM_K ? recv_stream(us(s), m) : recv_packet(us(s), m);
}
