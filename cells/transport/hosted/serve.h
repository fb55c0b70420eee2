/* SPDX-License-Identifier: ISC */
/*
 * Sample servers on the PV socket client: echo (7), discard (9), chargen (19), and HTTP
 * (80) with files from a directory the caller reads for it. Event-driven, one loop.
 */
#ifndef TRANSPORT_HOSTED_SERVE_H
#define TRANSPORT_HOSTED_SERVE_H

#include <stdbool.h>
#include <stdint.h>
#include "cells/transport/client/pvs_client.h"

struct serve_conn;

struct serve_ops {
	/* A file's bytes for a path that begins with '/'; NULL: no such file. They stay
	 * valid as long as the server runs. */
	const void *(*file)(void *ctx, const char *path, uint64_t *size);
	void *ctx;
};

struct serve {
	struct pvs_client *c;
	const struct serve_ops *ops;
	struct serve_conn *conn; /* one for each slot */
	int listener[8];
	unsigned nlisteners;
	unsigned order; /* of connections' rings */
	bool zeros;     /* chargen sends zeros, not its pattern */
	uint64_t requests, bytes_in, bytes_out;
};

/* conn: zeroed memory of c->nslots * serve_conn_size(). 0 or -errno. */
unsigned serve_conn_size(void);
int serve_init(struct serve *s, struct pvs_client *c, void *conn, unsigned order,
	       const struct serve_ops *ops);
/* Handles every pending event. */
void serve_poll(struct serve *s);

#endif
