/* SPDX-License-Identifier: ISC */
/*
 * Two transport stacks back to back over a simulated link, in virtual time. Each has a PV
 * socket client. Shared by unit tests, fuzz targets and the figures of bench/net.
 */
#ifndef TESTS_TCP_SIM_H
#define TESTS_TCP_SIM_H

#include "cells/transport/client/pvs_client.h"
#include "cells/transport/core/tp.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_FRAME 65600u
#define SIM_QUEUE 4096u

struct sim;

struct sim_frame {
	uint64_t at; /* delivery, ns */
	uint32_t to, len;
	struct tp_meta meta;
	uint8_t *data;
};

struct sim_host {
	struct sim *sim;
	unsigned index;
	struct tp_stack *st;
	void *arena, *state, *region, *memory;
	size_t arena_size, state_size;
	uint32_t region_size;
	struct tp_config cfg;
	struct tp_if_config ifc;
	struct pvs_client c;
	/* Calls of the stack go through this, NULL: at once. */
	void (*run)(struct sim_host *h, void (*fn)(void *call), void *call);
	uint8_t *tx; /* frame being built */
	uint64_t deadline;
	uint32_t notifies, tx_limit; /* tx_limit: refuse frames when so many are queued */
	bool quiet;
	uint64_t rng;
};

struct sim {
	struct sim_host host[2];
	uint64_t now; /* ns */
	struct sim_frame *queue;
	uint32_t nqueue;
	uint64_t rng;
	/* The link, per 10,000. */
	uint32_t loss, dup, reorder, corrupt;
	uint64_t delay, rate; /* ns one way; bytes a second, 0: infinite */
	uint64_t busy[2];
	uint32_t pmtu; /* IP bytes; larger: dropped, with ICMP unless blackhole */
	bool blackhole;
	uint64_t sent, dropped;
	uint32_t qlimit; /* frames waiting in one direction (a router's queue) */
	/* Looks at every frame; false: drop. */
	bool (*filter)(struct sim *s, unsigned from, uint8_t *f, uint32_t len);
	/* The device a frame arrives on, NULL: the first. */
	unsigned (*ifi)(struct sim *s, unsigned to, const uint8_t *f);
	/* Takes frames on their way to a host in place of it; at the end of what is due at
	 * one time, batch() is to hand them on. NULL: none. */
	void (*take)(struct sim *s, struct sim_frame *f);
	void (*batch)(struct sim *s);
	uint8_t *scratch;
};

/* Hosts 10.0.0.1 and 10.0.0.2 (fd00::1, fd00::2). caps: TP_CAP_* of both interfaces. */
void sim_init(struct sim *s, uint32_t caps, const struct tp_config *cfg, uint32_t region);
void sim_start(struct sim *s, uint32_t caps);
void sim_free(struct sim *s);
/* Throws host i's instance away and starts another one on the same state and region. */
void sim_restart(struct sim *s, unsigned i);
/* The same without the first tp_poll(), which adopts: for stacks with more clients. */
void sim_restart_begin(struct sim *s, unsigned i);
/* Runs what is due and moves the clock to the next event, at most to `until`. */
void sim_step(struct sim *s, uint64_t until);
void sim_run(struct sim *s, uint64_t ns); /* so much virtual time */
/* A frame comes to a host now. */
void sim_input(struct sim *s, struct sim_frame *f);
void sim_inject(struct sim *s, unsigned to, const void *frame, uint32_t len);
uint32_t sim_random(struct sim *s);
struct pvs_addr sim_addr(unsigned host, uint16_t port, bool v6);

/* The two ends of one connection (server on host 1, port 7000). */
struct sim_conn {
	int listener, a, b;
};
bool sim_connect(struct sim *s, struct sim_conn *c, bool v6, unsigned order);

#endif
