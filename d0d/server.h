// SPDX-License-Identifier: ISC
// Listeners and their connections: one thread for each connection, at most max_conns.
#ifndef D0D_SERVER_H
#define D0D_SERVER_H

#include "d0d/http.h"

struct listener {
	char *where; // "127.0.0.1:2375", "[::]:2376" or "unix:/path"
	int routes;  // ON_API, ON_DASH
	bool tls;
	int fd;
};

struct server {
	struct engine *e;
	struct ssl_ctx_st *tls; // NULL without
	struct listener listen[8];
	int nlisten;
	int max_conns, conns;
	volatile bool stopping;
};

// Opens a listening socket; -1 with E set.
int listen_open(const char *where, struct err *e);
// Serves until stopping is set (noticed within a second).
void server_run(struct server *s);
// Serves one connection to its end and closes it (exposed for the fuzz target).
void server_serve(struct server *s, int fd, int routes, bool tls);

#endif
