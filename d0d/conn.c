// SPDX-License-Identifier: ISC
#include "d0d/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

void conn_init(struct conn *c, int fd)
{
	*c = (struct conn){.fd = fd, .timeout_ms = -1};
	c->rbuf = xmalloc(CONN_BUF);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void conn_close(struct conn *c)
{
	if (c->ssl) {
		if (!c->failed)
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	close(c->fd);
	free(c->rbuf);
	*c = (struct conn){.fd = -1};
}

// Waits for EVENTS; 0, or -1 with ETIMEDOUT.
static int conn_wait(struct conn *c, short events)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int n;

	do
		n = poll(&p, 1, c->timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0) {
		errno = ETIMEDOUT;
		return -1;
	}
	return n < 0 ? -1 : 0;
}

// What to wait for after an SSL call returned RC; 0 means end, -1 failure.
static int ssl_events(struct conn *c, int rc)
{
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		errno = EIO;
		return -1;
	}
}

static ssize_t read_tls(struct conn *c, void *buf, size_t n)
{
	for (;;) {
		int rc = SSL_read(c->ssl, buf, n > INT_MAX ? INT_MAX : (int)n);
		if (rc > 0)
			return rc;
		int ev = ssl_events(c, rc);
		if (ev <= 0)
			return ev;
		if (conn_wait(c, (short)ev) < 0)
			return -1;
	}
}

static ssize_t read_raw(struct conn *c, void *buf, size_t n)
{
	if (c->ssl)
		return read_tls(c, buf, n);
	for (;;) {
		ssize_t rc = read(c->fd, buf, n);
		if (rc >= 0)
			return rc;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || conn_wait(c, POLLIN) < 0)
			return -1;
	}
}

ssize_t conn_read(struct conn *c, void *buf, size_t n)
{
	size_t have = c->rlen - c->rpos;

	if (!have)
		return read_raw(c, buf, n);
	if (n > have)
		n = have;
	memcpy(buf, c->rbuf + c->rpos, n);
	c->rpos += n;
	return (ssize_t)n;
}

int conn_fill(struct conn *c)
{
	if (c->rpos == c->rlen)
		c->rpos = c->rlen = 0;
	if (c->rpos) {
		memmove(c->rbuf, c->rbuf + c->rpos, c->rlen - c->rpos);
		c->rlen -= c->rpos;
		c->rpos = 0;
	}
	if (c->rlen == CONN_BUF)
		return -2;
	ssize_t n = read_raw(c, c->rbuf + c->rlen, CONN_BUF - c->rlen);
	if (n <= 0)
		return (int)n;
	c->rlen += (size_t)n;
	return 1;
}

bool conn_pending(const struct conn *c)
{
	return c->rpos < c->rlen || (c->ssl && SSL_pending(c->ssl) > 0);
}

static int write_tls(struct conn *c, const char *p, size_t n)
{
	while (n) {
		int rc = SSL_write(c->ssl, p, n > 16384 ? 16384 : (int)n);
		if (rc > 0) {
			p += rc;
			n -= (size_t)rc;
			continue;
		}
		int ev = ssl_events(c, rc);
		if (ev <= 0 || conn_wait(c, (short)ev) < 0)
			return -1;
	}
	return 0;
}

static int write_plain(struct conn *c, const char *p, size_t n)
{
	while (n) {
		ssize_t put = send(c->fd, p, n, MSG_NOSIGNAL);
		if (put > 0) {
			p += put;
			n -= (size_t)put;
			continue;
		}
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN && conn_wait(c, POLLOUT) == 0)
			continue;
		return -1;
	}
	return 0;
}

int conn_write(struct conn *c, const void *buf, size_t n)
{
	if (c->failed)
		return -1;
	int rc = c->ssl ? write_tls(c, buf, n) : write_plain(c, buf, n);
	if (rc < 0)
		c->failed = true;
	return rc;
}

void conn_shutdown_write(struct conn *c)
{
	if (c->failed)
		return;
	if (c->ssl)
		SSL_shutdown(c->ssl);
	else
		shutdown(c->fd, SHUT_WR);
}

bool conn_peer_gone(struct conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLRDHUP};
	char byte;

	if (c->failed)
		return true;
	if (poll(&p, 1, 0) <= 0)
		return false;
	if (p.revents & (POLLERR | POLLHUP))
		return true;
	if (c->ssl) // an orderly end arrives as a TLS record; only a closed socket counts
		return (p.revents & POLLRDHUP) != 0;
	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static int ssl_fail(struct err *e, const char *what)
{
	char why[200] = "unknown";
	unsigned long code = ERR_get_error();

	if (code)
		ERR_error_string_n(code, why, sizeof(why));
	ERR_clear_error();
	return err_set(e, 500, "%s: %s", what, why);
}

SSL_CTX *tls_server_ctx(const char *cert, const char *key, const char *ca, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return ssl_fail(e, "TLS context"), NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		ssl_fail(e, cert);
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		ssl_fail(e, key);
	else if (ca && SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1)
		ssl_fail(e, ca);
	else {
		if (ca)
			SSL_CTX_set_verify(
			    ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		return ctx;
	}
	SSL_CTX_free(ctx);
	return NULL;
}

SSL_CTX *tls_client_ctx(const char *ca_file, bool insecure, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return ssl_fail(e, "TLS context"), NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_default_verify_paths(ctx);
	ERR_clear_error(); // a host without a trust store still has CA_FILE
	if (ca_file && SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
		ssl_fail(e, ca_file);
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_verify(ctx, insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	return ctx;
}

void tls_ctx_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}

// Runs the handshake to its end.
static int handshake(struct conn *c, int (*step)(SSL *))
{
	for (;;) {
		int rc = step(c->ssl);
		if (rc == 1)
			return 0;
		int ev = ssl_events(c, rc);
		if (ev <= 0 || conn_wait(c, (short)ev) < 0)
			return -1;
	}
}

int tls_accept(struct conn *c, SSL_CTX *ctx)
{
	c->ssl = SSL_new(ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		return -1;
	if (handshake(c, SSL_accept) < 0) {
		c->failed = true;
		return -1;
	}
	return 0;
}

int tls_connect(struct conn *c, SSL_CTX *ctx, const char *host, struct err *e)
{
	struct in6_addr ip;
	bool literal =
	    inet_pton(AF_INET, host, &ip) == 1 || inet_pton(AF_INET6, host, &ip) == 1;

	c->ssl = SSL_new(ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		return ssl_fail(e, "TLS");
	if (literal)
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), host);
	else if (SSL_set_tlsext_host_name(c->ssl, host) != 1 ||
		 SSL_set1_host(c->ssl, host) != 1)
		return ssl_fail(e, host);
	if (handshake(c, SSL_connect) == 0)
		return 0;
	c->failed = true;
	long verify = SSL_get_verify_result(c->ssl);
	if (verify != X509_V_OK)
		return err_set(e, 500, "tls: failed to verify certificate of %s: %s", host,
			       X509_verify_cert_error_string(verify));
	return err_set(e, 500, "tls: handshake with %s failed", host);
}
