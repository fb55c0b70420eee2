/* SPDX-License-Identifier: ISC */
/* Inside the hosted back-end. */
#ifndef LIBCELL_HOSTED_IMPL_H
#define LIBCELL_HOSTED_IMPL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "d0/abi.h"

#define HOSTED_CHANNELS 64
#define HOSTED_REGIONS  4

struct hosted_cell;

/* The other end of a channel: a cell of this process, or an eventfd. */
struct hosted_peer {
	struct hosted_cell *cell; /* NULL: another process, or none */
	unsigned channel;         /* its number there */
	int send_fd;              /* eventfd of the peer, -1: none */
	int recv_fd;              /* ours, or a watched descriptor; -1: none */
	bool watched;             /* recv_fd is the cell's: never read here */
};

struct hosted_vcpu {
	struct hosted_cell *cell;
	unsigned number;
	int epoll, wake; /* wake: an eventfd inside epoll */
	uint64_t timer;
	void (*fn)(void *);
	void *arg;
	pthread_t thread;
};

/* What the nucleus would keep in the info region, and the rest. */
struct hosted_cell {
	struct {
		struct d0_info info;
		struct d0_region region[HOSTED_REGIONS];
		struct d0_channel channel[HOSTED_CHANNELS];
	} page;
	struct d0_events events[D0_VCPUS_MAX];
	struct d0_counters counters;
	struct d0_clock clock;
	struct hosted_peer peer[HOSTED_CHANNELS];
	void *ring[HOSTED_CHANNELS]; /* mappings to undo */
	void *state;
	struct hosted_vcpu vcpu[D0_VCPUS_MAX];
	int (*main_fn)(const struct d0_info *);
	bool own_thread; /* cell_exit ends the thread, not the process */
	int exit_code;
};

extern _Thread_local struct hosted_vcpu *hosted_self;

/* Sets an event and wakes the vCPU. */
void hosted_raise(struct hosted_cell *c, unsigned channel);
void hosted_raise_flags(struct hosted_cell *c, unsigned vcpu, uint64_t flags);
/* Adds a channel that another process holds the other end of; its number or D0_E. */
int hosted_add_channel(struct hosted_cell *c, enum d0_protocol protocol, enum d0_role role,
		       const char *label, const char *args, int ring_fd, size_t ring_size,
		       int send_fd, int recv_fd);
int hosted_poll_add(struct hosted_vcpu *v, int fd, unsigned channel);

#endif
