// SPDX-License-Identifier: ISC
#include "d0d/client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 10000
#define SILENCE_MS 60000
#define HOPS       5

int url_parse(const char *text, struct url *u, struct err *err)
{
	memset(u, 0, sizeof(*u));
	if (strncmp(text, "https://", 8) == 0)
		u->tls = true;
	else if (strncmp(text, "http://", 7) != 0)
		return err_set(err, 400, "not a URL: %.200s", text);
	text += u->tls ? 8 : 7;
	size_t n = strcspn(text, "/?");
	char auth[sizeof(u->host) + 8];
	if (n == 0 || n >= sizeof(auth) || memchr(text, '@', n))
		return err_set(err, 400, "invalid host in URL");
	memcpy(auth, text, n);
	auth[n] = 0;
	char *host = auth, *end, *port = NULL;
	if (*auth == '[') {
		host++;
		end = strchr(auth, ']');
		if (!end)
			return err_set(err, 400, "invalid host in URL");
		*end++ = 0;
		port = *end == ':' ? end + 1 : NULL;
	} else if ((end = strchr(auth, ':'))) {
		*end = 0;
		port = end + 1;
	}
	if ((port && (strlen(port) > 5 || !*port || port[strspn(port, "0123456789")])) ||
	    strlen(host) >= sizeof(u->host) || !*host)
		return err_set(err, 400, "invalid host in URL");
	strcpy(u->host, host);
	strcpy(u->port, port ? port : u->tls ? "443" : "80");
	if (strlen(text + n) + 2 > sizeof(u->path))
		return err_set(err, 400, "URL too long");
	snprintf(u->path, sizeof(u->path), "%s%s", text[n] == '/' ? "" : "/", text + n);
	for (const char *p = u->path; *p; p++)
		if ((unsigned char)*p <= 32 || *p == 127)
			return err_set(err, 400, "invalid character in URL");
	return 0;
}

int url_join(const struct url *base, const char *text, struct url *u, struct err *err)
{
	if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)
		return url_parse(text, u, err);
	if (*text != '/')
		return err_set(err, 502, "unexpected redirect to %.200s", text);
	*u = *base;
	if (strlen(text) >= sizeof(u->path))
		return err_set(err, 502, "URL too long");
	strcpy(u->path, text);
	return 0;
}

static int connect_one(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e = 0;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t n = sizeof(e);

	if (fd < 0)
		return -1;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return fd;
	if (errno == EINPROGRESS) {
		if (poll(&p, 1, CONNECT_MS) == 1 &&
		    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 && !e)
			return fd;
		errno = e ? e : ETIMEDOUT;
	}
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

static int dial(const struct url *u, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int fd = -1, rc = getaddrinfo(u->host, u->port, &hints, &list);

	if (rc)
		return err_set(err, 500, "dial tcp: lookup %s: %s", u->host, gai_strerror(rc));
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_one(ai);
	int why = errno;
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(err, 500, "dial tcp %s:%s: %s", u->host, u->port, strerror(why));
	return fd;
}

static int send_upload(struct conn *c, const struct http_upload *up)
{
	char *buf;
	int rc = 0;

	if (!up || !up->size)
		return 0;
	if (up->data)
		return conn_write(c, up->data, (size_t)up->size);
	buf = xmalloc(65536);
	for (uint64_t left = up->size; left && rc == 0;) {
		ssize_t n = read(up->fd, buf, left < 65536 ? (size_t)left : 65536);
		rc = n <= 0 ? -1 : conn_write(c, buf, (size_t)n);
		left -= n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return rc;
}

static int send_request(struct http_call *call, const struct client_options *o,
			const char *method, const struct url *u, const char *headers,
			const struct http_upload *up)
{
	struct sbuf b = {0};
	bool v6 = strchr(u->host, ':') != NULL;

	sbuf_addf(
	    &b,
	    "%s %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: %s\r\nConnection: close\r\n%s",
	    method, u->path, v6 ? "[" : "", u->host, v6 ? "]" : "", u->port,
	    o->agent ? o->agent : "d0d", headers ? headers : "");
	if (up)
		sbuf_addf(&b, "Content-Type: %s\r\nContent-Length: %llu\r\n",
			  up->type ? up->type : "application/octet-stream",
			  (unsigned long long)up->size);
	else if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
		sbuf_adds(&b, "Content-Length: 0\r\n");
	sbuf_adds(&b, "\r\n");
	int rc = conn_write(&call->c, b.p, b.len);
	sbuf_free(&b);
	return rc < 0 ? -1 : send_upload(&call->c, up);
}

static int read_answer(struct http_call *call)
{
	struct conn *c = &call->c;

	for (;;) {
		ssize_t n = http_parse_response(c->rbuf + c->rpos, c->rlen - c->rpos, &call->h);
		if (n < 0)
			return -1;
		if (n > 0) {
			c->rpos += (size_t)n;
			if (call->h.status >= 200)
				return 0;
			http_head_free(&call->h); // 1xx: the real answer follows
			continue;
		}
		if (conn_fill(c) <= 0)
			return -1;
	}
}

static int call_once(const struct client_options *o, const char *method, const struct url *u,
		     const char *headers, const struct http_upload *up, struct http_call *call,
		     struct err *err)
{
	int fd = dial(u, err), rc = 0;

	memset(call, 0, sizeof(*call));
	call->c.fd = -1;
	if (fd < 0)
		return -1;
	conn_init(&call->c, fd);
	call->c.timeout_ms = SILENCE_MS;
	if (u->tls) {
		struct ssl_ctx_st *ctx = tls_client_ctx(o->ca_file, o->insecure, err);
		rc = ctx ? tls_connect(&call->c, ctx, u->host, err) : -1;
		if (ctx)
			tls_ctx_free(ctx);
	}
	if (rc == 0 &&
	    (send_request(call, o, method, u, headers, up) < 0 || read_answer(call) < 0))
		rc = err_set(err, 500, "%s %s: the server at %s:%s broke off", method, u->path,
			     u->host, u->port);
	if (rc < 0) {
		client_close(call);
		return -1;
	}
	http_body_init(&call->body, &call->c, &call->h, true);
	if (strcmp(method, "HEAD") == 0 || call->h.status == 204 || call->h.status == 304)
		call->body.done = true;
	return 0;
}

int client_call(const struct client_options *o, const char *method, const struct url *u,
		const char *headers, const struct http_upload *up, struct http_call *call,
		struct err *err)
{
	struct url at = *u;
	bool may = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

	for (int hop = 0; hop < HOPS; hop++) {
		bool same = strcmp(at.host, u->host) == 0 && strcmp(at.port, u->port) == 0 &&
			    at.tls == u->tls;
		if (call_once(o, method, &at, same ? headers : NULL, up, call, err) < 0)
			return -1;
		int s = call->h.status;
		const char *to = http_header(&call->h, "Location");
		if (!may || !to || (s != 301 && s != 302 && s != 303 && s != 307 && s != 308))
			return 0;
		struct url next = {0};
		int rc = url_join(&at, to, &next, err);
		client_close(call);
		if (rc < 0)
			return -1;
		if (at.tls && !next.tls)
			return err_set(err, 500, "refusing a redirect from https to http");
		at = next;
	}
	return err_set(err, 500, "too many redirects");
}

char *client_text(struct http_call *call, size_t max, size_t *len, struct err *err)
{
	struct sbuf b = {0};
	char chunk[8192];
	ssize_t n;

	sbuf_add(&b, "", 0);
	while ((n = http_body_read(&call->body, chunk, sizeof(chunk))) > 0) {
		sbuf_add(&b, chunk, (size_t)n);
		if (b.len > max) {
			err_set(err, 500, "the server's answer is too long");
			n = -2;
			break;
		}
	}
	if (n == -1)
		err_set(err, 500, "unexpected EOF from the server");
	if (n < 0) {
		sbuf_free(&b);
		return NULL;
	}
	if (len)
		*len = b.len;
	return b.p;
}

void client_close(struct http_call *call)
{
	http_head_free(&call->h);
	if (call->c.fd >= 0)
		conn_close(&call->c);
	call->c.fd = -1;
}
