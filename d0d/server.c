// SPDX-License-Identifier: ISC
// The HTTP server.
//
// Problem: Docker's API mixes short calls with uploads of gigabytes, streams that last for
// days, and connections that stop being HTTP (attach, exec).
// Model: one thread a connection, blocking style on non-blocking sockets with a timeout on
// every silence. A handler pulls its body and pushes its answer, so an archive goes from
// the socket into libarchive without being stored, and a hijacked connection is simply a
// handler that goes on reading. The shared libraries that were weighed and why none was
// taken: docs/docker.md.
// Invariants: every request gets exactly one answer; after an answer whose request body was
// not consumed the connection is closed (after a bounded drain, so that the client reads the
// answer rather than a reset).
// Failure: a slow or silent client costs one thread until its timeout; beyond max_conns new
// connections are answered 503 at once.
#include "d0d/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "d0d/route.h"

#define HEAD_TIMEOUT_MS 30000  // for a request's head to arrive whole
#define IDLE_TIMEOUT_MS 120000 // between requests, and within a body
#define DRAIN_MAX       (1u << 20)

static int listen_unix(const char *path, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path)) {
		close(fd);
		return err_set(e, 400, "socket path too long: %s", path);
	}
	strcpy(a.sun_path, path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0) {
		err_set(e, 500, "listen on %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int listen_open(const char *where, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *ai = NULL;
	char host[256];
	int one = 1;

	if (strncmp(where, "unix:", 5) == 0)
		return listen_unix(where + 5 + (strncmp(where + 5, "//", 2) == 0 ? 2 : 0), e);
	const char *colon = strrchr(where, ':');
	size_t n = colon ? (size_t)(colon - where) : 0;
	if (!colon || n >= sizeof(host))
		return err_set(e, 400, "listen on %s: ADDRESS:PORT expected", where);
	memcpy(host, where, n);
	host[n] = 0;
	char *h = host;
	if (*h == '[' && h[n - 1] == ']') {
		h[n - 1] = 0;
		h++;
	}
	if (getaddrinfo(*h ? h : NULL, colon + 1, &hints, &ai) != 0)
		return err_set(e, 400, "listen on %s: not a numeric address and port", where);
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 128) < 0) {
		err_set(e, 500, "listen on %s: %s", where, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(ai);
	return fd;
}

// Reads a request's head. 1: there is one; 0: the client ended cleanly; <0: as the parser.
static ssize_t read_head(struct conn *c, struct http_head *h)
{
	int64_t deadline = 0;

	c->timeout_ms = IDLE_TIMEOUT_MS;
	for (;;) {
		ssize_t n = http_parse_request(c->rbuf + c->rpos, c->rlen - c->rpos, h);
		if (n > 0)
			c->rpos += (size_t)n;
		if (n != 0)
			return n;
		if (c->rlen > c->rpos && !deadline)
			deadline = mono_ms() + HEAD_TIMEOUT_MS;
		if (deadline) {
			int64_t left = deadline - mono_ms();
			if (left <= 0)
				return -408;
			c->timeout_ms = (int)left;
		}
		int got = conn_fill(c);
		if (got == -2)
			return -431;
		if (got < 0 && errno == ETIMEDOUT && deadline)
			return -408;
		if (got <= 0)
			return 0;
	}
}

// Gets rid of what the handler left of the body. False: the connection can't go on.
static bool drain(struct http_req *r)
{
	char junk[16384];
	uint64_t start = r->body.total;

	if (r->body.done)
		return !r->body.bad;
	if (r->body.want_continue)
		return false;
	r->c->timeout_ms = 2000;
	while (r->body.total - start < DRAIN_MAX) {
		ssize_t n = http_body_read(&r->body, junk, sizeof(junk));
		if (n <= 0)
			return n == 0;
	}
	return false;
}

// One request; false when the connection is to be closed.
static bool serve_one(struct server *s, struct conn *c, int routes)
{
	struct http_req r = {.c = c, .e = s->e, .srv = s};
	ssize_t n = read_head(c, &r.h);

	if (n == 0)
		return false;
	if (n < 0) {
		r.h.keep_alive = false;
		resp_error(&r, (int)-n, "%s", http_reason((int)-n));
		conn_shutdown_write(c);
		return false;
	}
	c->timeout_ms = IDLE_TIMEOUT_MS;
	http_body_init(&r.body, c, &r.h, false);
	if (r.h.minor == 1 && !http_header(&r.h, "Host")) {
		r.h.keep_alive = false;
		resp_error(&r, 400, "missing required Host header");
	} else if ((routes & ON_API) && http_header(&r.h, "Origin")) {
		// A web page in someone's browser must not drive the host (CSRF, DNS
		// rebinding).
		resp_error(&r, 403, "requests from web pages are refused");
	} else {
		route_dispatch(&r, routes);
	}
	if (!r.started)
		resp_error(&r, 500, "no answer");
	resp_end(&r);
	bool go_on = !r.hijacked && !c->failed && drain(&r) && r.h.keep_alive;
	if (!go_on && !r.hijacked && !c->failed) {
		// Let the answer arrive before the reset that unread input would cause.
		char junk[4096];
		conn_shutdown_write(c);
		c->timeout_ms = 500;
		for (int i = 0; i < 64 && conn_read(c, junk, sizeof(junk)) > 0; i++)
			;
	}
	free(r.arg[0]);
	free(r.arg[1]);
	http_head_free(&r.h);
	return go_on;
}

void server_serve(struct server *s, int fd, int routes, bool tls)
{
	struct conn c;
	int one = 1;

	conn_init(&c, fd);
	c.timeout_ms = HEAD_TIMEOUT_MS;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (!tls || tls_accept(&c, s->tls) == 0)
		while (!s->stopping && serve_one(s, &c, routes))
			;
	conn_close(&c);
}

struct job {
	struct server *s;
	int fd, routes;
	bool tls;
};

static void *conn_thread(void *arg)
{
	struct job j = *(struct job *)arg;

	free(arg);
	server_serve(j.s, j.fd, j.routes, j.tls);
	__atomic_fetch_sub(&j.s->conns, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void refuse(int fd)
{
	static const char busy[] =
	    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
	    "Content-Type: application/json\r\nContent-Length: 35\r\n\r\n"
	    "{\"message\":\"too many connections\"}\n";
	if (send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		shutdown(fd, SHUT_RDWR);
	close(fd);
}

static void take(struct server *s, struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	pthread_attr_t at;
	pthread_t t;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			usleep(20000); // nothing to do but wait for descriptors
		return;
	}
	if (__atomic_add_fetch(&s->conns, 1, __ATOMIC_RELAXED) > s->max_conns) {
		__atomic_fetch_sub(&s->conns, 1, __ATOMIC_RELAXED);
		refuse(fd);
		return;
	}
	struct job *j = xmalloc(sizeof(*j));
	*j = (struct job){s, fd, l->routes, l->tls};
	pthread_attr_init(&at);
	pthread_attr_setdetachstate(&at, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&at, 512 * 1024);
	if (pthread_create(&t, &at, conn_thread, j) != 0) {
		free(j);
		__atomic_fetch_sub(&s->conns, 1, __ATOMIC_RELAXED);
		refuse(fd);
	}
	pthread_attr_destroy(&at);
}

void server_run(struct server *s)
{
	struct pollfd p[8];

	for (int i = 0; i < s->nlisten; i++)
		p[i] = (struct pollfd){.fd = s->listen[i].fd, .events = POLLIN};
	while (!s->stopping) {
		if (poll(p, (nfds_t)s->nlisten, 1000) <= 0)
			continue;
		for (int i = 0; i < s->nlisten; i++)
			if (p[i].revents & POLLIN)
				take(s, &s->listen[i]);
	}
}
