/* SPDX-License-Identifier: ISC */
/*
 * The store's admin sessions with what a cell has around them, for a test and a fuzzer: a
 * volume in memory, two channels and their clients, a clock that goes on with every look.
 */
#ifndef STORE_ADMIN_ENV_H
#define STORE_ADMIN_ENV_H

#include "cells/store/admin.h"
#include "libcell/cell.h"
#include "tests/unit/store_env.h"

#define ADMIN_CLIENTS 2u
#define ADMIN_RING    (256u << 10)

struct admin_client {
	uint8_t ring[ADMIN_RING] __attribute__((aligned(4096)));
	struct d0_channel channel;
	struct stream stream;
	uint8_t in[sizeof(struct d0_admin_head) + D0_ADMIN_MAX];
	size_t have;
	bool greeted;
	int32_t key;
	uint32_t sent, answered; /* tags */
	int status;              /* of the last whole answer */
	bool deaf;               /* reads nothing */
	void (*frame)(struct admin_client *c, const struct d0_admin_head *h, const uint8_t *p);
	void *arg;
};

extern struct admin_client admin_client[ADMIN_CLIENTS];
extern struct store_env admin_volume;
extern struct store admin_store;

/* Fresh rings and sessions over the volume, which is open. */
void admin_env_begin(void);
void admin_env_end(void);
/* The client of channel `n` begins anew on its ring. */
void admin_client_start(unsigned n);
/* The channel is made anew, as when the other cell was: the old session is closed. */
void admin_channel_new(unsigned n);
/* One round of the cell's main loop, as far as it concerns admin requests. True: there is
 * more to do at once. */
bool admin_round(void);
/* Rounds until the bytes are in the ring. */
void admin_send_bytes(unsigned n, const void *p, size_t len);
/* A request; its tag is admin_client[n].sent. */
void admin_send(unsigned n, enum d0_admin_op op, const void *p, size_t len);
/* Rounds until the last request of this client is answered, at most `max`; how many. */
unsigned admin_await(unsigned n, unsigned max);
/* Both. The status. */
int admin_request(unsigned n, enum d0_admin_op op, const void *p, size_t len);

#endif
