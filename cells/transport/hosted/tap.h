/* SPDX-License-Identifier: ISC */
/*
 * The stack as a Linux process: a TAP device with virtio-net headers as its interface, a
 * region in memory as its client's, and client code in the same loop.
 */
#ifndef TRANSPORT_HOSTED_TAP_H
#define TRANSPORT_HOSTED_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include "cells/transport/client/pvs_client.h"
#include "cells/transport/core/tp.h"

struct hosted {
	struct tp_stack *st;
	struct pvs_client c;
	int tap;
	bool quiet;
	uint8_t *rx, *tx;
	void *region, *memory, *arena, *state;
	uint64_t wakeups;
};

struct hosted_cfg {
	const char *tap;  /* interface name */
	const char *args; /* as the cell's: ip=, gw=, dhcp ... */
	uint8_t mac[6];
	uint32_t region, slots;
	struct tp_config tp;
	bool offload; /* checksums and TSO across the TAP device */
	bool quiet;
	const char *state_file; /* keep state and region there; adopt what is found */
};

/* Ends the process with a message if something is missing. */
void hosted_open(struct hosted *h, const struct hosted_cfg *cfg);
/* One turn: frames, stack, then whatever the caller does with h->c, then sleep. */
void hosted_poll(struct hosted *h);
void hosted_sleep(struct hosted *h, uint64_t max_ns);

#endif
