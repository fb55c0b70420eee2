// SPDX-License-Identifier: ISC
// One byte stream to a peer: TCP or Unix socket, in the clear or inside TLS. A conn is
// used by one thread at a time.
#ifndef D0D_CONN_H
#define D0D_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "d0d/util.h"

struct ssl_st;
struct ssl_ctx_st;

struct conn {
	int fd;
	struct ssl_st *ssl; // NULL in the clear
	char *rbuf;         // bytes received and not yet consumed: [rpos, rlen)
	size_t rpos, rlen;
	int timeout_ms; // longest silence tolerated in a read or a stalled write; -1: none
	bool failed;    // a write failed: nothing more can be sent
};

#define CONN_BUF 65536

// Takes ownership of FD and makes it non-blocking.
void conn_init(struct conn *c, int fd);
void conn_close(struct conn *c); // closes the descriptor too

// Up to N bytes, waiting for at least one. 0: the peer has finished sending; -1: error or
// silence longer than timeout_ms (errno ETIMEDOUT).
ssize_t conn_read(struct conn *c, void *buf, size_t n);
// Receives more into rbuf. 1: got some; 0: end; -1: error; -2: rbuf is full.
int conn_fill(struct conn *c);
// Bytes that a read returns without waiting (buffered here or inside TLS).
bool conn_pending(const struct conn *c);
// Sends all of it, or returns -1 (and sets failed).
int conn_write(struct conn *c, const void *buf, size_t n);
// Says that nothing more will be sent; the peer may still send.
void conn_shutdown_write(struct conn *c);
// True when the peer has gone away. Never waits.
bool conn_peer_gone(struct conn *c);

// TLS. A server context demands client certificates signed by CA unless CA is NULL.
struct ssl_ctx_st *tls_server_ctx(const char *cert, const char *key, const char *ca,
				  struct err *e);
// A client context: system trust store plus CA_FILE (may be NULL).
struct ssl_ctx_st *tls_client_ctx(const char *ca_file, bool insecure, struct err *e);
void tls_ctx_free(struct ssl_ctx_st *ctx);
int tls_accept(struct conn *c, struct ssl_ctx_st *ctx);
int tls_connect(struct conn *c, struct ssl_ctx_st *ctx, const char *host, struct err *e);

#endif
