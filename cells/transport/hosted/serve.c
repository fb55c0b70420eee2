/* SPDX-License-Identifier: ISC */
/*
 * The sample servers. Each connection is a small state machine driven by readiness; no
 * call waits but the two that accept and close.
 */
#include "cells/transport/hosted/serve.h"
#include <string.h>

enum {
	ECHO = 1,
	DISCARD,
	CHARGEN,
	HTTP,
	UDP_ECHO
};

struct serve_conn {
	uint8_t kind, eof, close_after, chunk;
	uint16_t nreq;
	char req[1024]; /* HTTP: the request head so far */
	char head[160]; /* reply head */
	uint16_t nhead, head_at;
	const uint8_t *body;
	uint64_t left, sent;
};

unsigned serve_conn_size(void)
{
	return sizeof(struct serve_conn);
}

static int listen_on(struct serve *s, uint16_t port, int kind)
{
	struct pvs_addr a = {.family = PVS_AF_INET6, .port = __builtin_bswap16(port)};
	int l, one = 1, e;

	if (kind == UDP_ECHO)
		l = pvs_socket(s->c, PVS_AF_INET6, PVS_SOCK_DGRAM, 0, 17, 17);
	else
		l = pvs_socket(s->c, PVS_AF_INET6, PVS_SOCK_STREAM, 0, 0, 0);
	if (l == -97) { /* EAFNOSUPPORT */
		a.family = PVS_AF_INET;
		l = kind == UDP_ECHO ? pvs_socket(s->c, PVS_AF_INET, PVS_SOCK_DGRAM, 0, 17, 17)
				     : pvs_socket(s->c, PVS_AF_INET, PVS_SOCK_STREAM, 0, 0, 0);
	}
	if (l < 0)
		return l;
	pvs_setopt(s->c, l, 1, 2, &one, 4); /* SO_REUSEADDR */
	e = pvs_bind(s->c, l, &a);
	if (!e && kind != UDP_ECHO)
		e = pvs_listen(s->c, l, 1024);
	if (e)
		return e;
	s->conn[l].kind = (uint8_t)kind;
	if (kind == UDP_ECHO) {
		pvs_want(s->c, l, PVS_EV_IN);
	} else {
		s->listener[s->nlisteners++] = l;
		pvs_want(s->c, l, PVS_EV_IN);
	}
	return 0;
}

int serve_init(struct serve *s, struct pvs_client *c, void *conn, unsigned order,
	       const struct serve_ops *ops)
{
	int e;

	memset(s, 0, sizeof(*s));
	s->c = c;
	s->conn = conn;
	s->order = order;
	s->ops = ops;
	if ((e = listen_on(s, 7, ECHO)) || (e = listen_on(s, 9, DISCARD)) ||
	    (e = listen_on(s, 19, CHARGEN)) || (e = listen_on(s, 80, HTTP)))
		return e;
	return listen_on(s, 7, UDP_ECHO);
}

static void drop(struct serve *s, int fd, bool abort)
{
	s->conn[fd].kind = 0;
	pvs_close(s->c, fd, abort);
}

static void accept_all(struct serve *s, int l)
{
	int fd;

	while ((fd = pvs_accept(s->c, l, s->order, s->order, NULL)) >= 0) {
		uint8_t kind = s->conn[l].kind;

		memset(&s->conn[fd], 0, sizeof(s->conn[fd]));
		s->conn[fd].kind = kind;
		pvs_want(s->c, fd, kind == CHARGEN ? PVS_EV_OUT : PVS_EV_IN);
	}
}

/* ---- echo, discard, chargen ---- */

static void do_echo(struct serve *s, int fd)
{
	const void *p;
	uint32_t n;
	int m;

	while ((n = pvs_recv_data(s->c, fd, &p))) {
		m = pvs_send(s->c, fd, p, n);
		if (m == -11) {
			pvs_want(s->c, fd, PVS_EV_OUT);
			return;
		}
		if (m < 0) {
			drop(s, fd, true);
			return;
		}
		pvs_recv_done(s->c, fd, (uint32_t)m);
		s->bytes_out += (uint32_t)m;
	}
	pvs_want(s->c, fd, PVS_EV_IN);
	if (pvs_ready_events(s->c, fd) & (PVS_EV_RDHUP | PVS_EV_HUP) &&
	    !pvs_recv_data(s->c, fd, &p))
		drop(s, fd, false);
}

static void do_discard(struct serve *s, int fd)
{
	const void *p;
	uint32_t n;

	while ((n = pvs_recv_data(s->c, fd, &p))) {
		pvs_recv_done(s->c, fd, n);
		s->bytes_in += n;
	}
	if (pvs_ready_events(s->c, fd) & (PVS_EV_RDHUP | PVS_EV_HUP) &&
	    !pvs_recv_data(s->c, fd, &p))
		drop(s, fd, false);
}

/* Byte i of the stream is i * 2654435761 >> 24: a peer can check it. */
static void do_chargen(struct serve *s, int fd)
{
	static const uint8_t zero[1 << 16];
	struct serve_conn *c = &s->conn[fd];
	uint32_t n;
	void *p;

	if (pvs_ready_events(s->c, fd) & (PVS_EV_HUP | PVS_EV_ERR | PVS_EV_RDHUP)) {
		drop(s, fd, false);
		return;
	}
	while ((n = pvs_send_space(s->c, fd, &p))) {
		uint8_t *b = p;

		if (s->zeros) /* as another's write() copies them */
			memcpy(b, zero, n = n < sizeof(zero) ? n : sizeof(zero));
		for (uint32_t i = 0; i < n && !s->zeros; i++, c->sent++)
			b[i] = (uint8_t)((uint32_t)c->sent * 2654435761u >> 24);
		pvs_send_done(s->c, fd, n);
		s->bytes_out += n;
	}
}

/* ---- HTTP/1.1: GET and HEAD, keep-alive ---- */

static unsigned put_str(char *o, unsigned at, unsigned max, const char *t)
{
	while (*t && at < max)
		o[at++] = *t++;
	return at;
}

static unsigned put_dec(char *o, unsigned at, unsigned max, uint64_t v)
{
	char d[24];
	unsigned n = 0;

	do
		d[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n && at < max)
		o[at++] = d[--n];
	return at;
}

static bool has_close(const char *req)
{
	for (; *req; req++) {
		if ((req[0] | 32) == 'c' && !strncmp(req + 1, "onnection: close", 16))
			return true;
	}
	return false;
}

static void reply(struct serve *s, struct serve_conn *c, const char *status, const void *body,
		  uint64_t size, bool head)
{
	unsigned max = sizeof(c->head), n = 0;

	n = put_str(c->head, n, max, "HTTP/1.1 ");
	n = put_str(c->head, n, max, status);
	n = put_str(c->head, n, max, "\r\nContent-Length: ");
	n = put_dec(c->head, n, max, size);
	n = put_str(c->head, n, max, c->close_after ? "\r\nConnection: close" : "");
	n = put_str(c->head, n, max, "\r\n\r\n");
	c->nhead = (uint16_t)n;
	c->head_at = 0;
	c->body = body;
	c->left = head ? 0 : size;
	s->requests++;
}

static void http_request(struct serve *s, struct serve_conn *c)
{
	char path[512];
	unsigned n = 0, at;
	uint64_t size = 0;
	const void *body;
	bool head = !strncmp(c->req, "HEAD ", 5), get = !strncmp(c->req, "GET ", 4);

	c->close_after |= has_close(c->req);
	at = head ? 5 : 4;
	while (c->req[at] > ' ' && c->req[at] != '?' && n < sizeof(path) - 1)
		path[n++] = c->req[at++];
	path[n] = 0;
	if ((!get && !head) || path[0] != '/') {
		c->close_after = 1;
		reply(s, c, "400 Bad Request", NULL, 0, false);
		return;
	}
	body = s->ops->file(s->ops->ctx, path, &size);
	if (body)
		reply(s, c, "200 OK", body, size, head);
	else
		reply(s, c, "404 Not Found", "not found\n", 10, head);
}

/* Sends what it can; true: the reply is out. */
static bool http_send(struct serve *s, int fd)
{
	struct serve_conn *c = &s->conn[fd];
	int m;

	while (c->head_at < c->nhead || c->left) {
		bool head = c->head_at < c->nhead;
		uint32_t more = c->left > 1 << 20 ? 1 << 20 : (uint32_t)c->left;

		m = head ? pvs_send(s->c, fd, c->head + c->head_at,
				    (uint32_t)(c->nhead - c->head_at))
			 : pvs_send(s->c, fd, c->body, more);
		if (m == -11) {
			pvs_want(s->c, fd, PVS_EV_OUT);
			return false;
		}
		if (m < 0) {
			drop(s, fd, true);
			return false;
		}
		s->bytes_out += (uint32_t)m;
		if (head) {
			c->head_at = (uint16_t)(c->head_at + m);
		} else {
			c->body += m;
			c->left -= (uint32_t)m;
		}
	}
	return true;
}

static void do_http(struct serve *s, int fd)
{
	struct serve_conn *c = &s->conn[fd];
	const void *p;
	uint32_t n;

	for (;;) {
		if (!http_send(s, fd))
			return;
		if (c->close_after && c->nhead) {
			drop(s, fd, false);
			return;
		}
		pvs_want(s->c, fd, PVS_EV_IN);
		n = pvs_recv_data(s->c, fd, &p);
		if (!n)
			break;
		/* Byte by byte to the blank line; a request is small. */
		for (uint32_t i = 0; i < n; i++) {
			c->req[c->nreq++] = ((const char *)p)[i];
			if (c->nreq == sizeof(c->req) - 1) {
				drop(s, fd, true);
				return;
			}
			if (c->nreq >= 4 && !memcmp(c->req + c->nreq - 4, "\r\n\r\n", 4)) {
				c->req[c->nreq] = 0;
				n = i + 1;
				http_request(s, c);
				c->nreq = 0;
				break;
			}
		}
		pvs_recv_done(s->c, fd, n);
	}
	if (pvs_ready_events(s->c, fd) & (PVS_EV_RDHUP | PVS_EV_HUP))
		drop(s, fd, false);
}

static void do_udp(struct serve *s, int fd)
{
	static uint8_t buf[65536];
	struct pvs_dgram d;
	int n;

	pvs_error(s->c, fd);
	while ((n = pvs_recvfrom(s->c, fd, &d, buf, sizeof(buf))) >= 0) {
		d.flags = PVS_DG_ADDR | PVS_DG_LOCAL;
		if (pvs_sendto(s->c, fd, &d, buf, (uint32_t)n) == -11)
			break;
		s->bytes_in += (uint32_t)n;
	}
}

void serve_poll(struct serve *s)
{
	int fd;

	while ((fd = pvs_next_event(s->c)) >= 0) {
		bool listener = false;

		for (unsigned i = 0; i < s->nlisteners; i++)
			listener |= s->listener[i] == fd;
		if (listener) {
			accept_all(s, fd);
			continue;
		}
		switch (s->conn[fd].kind) {
		case ECHO:
			do_echo(s, fd);
			break;
		case DISCARD:
			do_discard(s, fd);
			break;
		case CHARGEN:
			do_chargen(s, fd);
			break;
		case HTTP:
			do_http(s, fd);
			break;
		case UDP_ECHO:
			do_udp(s, fd);
			break;
		}
	}
}
