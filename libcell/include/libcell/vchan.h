/* SPDX-License-Identifier: ISC */
/*
 * Virtqueues over a channel: the handshake in the head page of the ring region
 * (d0/vring.h) that lets either end restart at any time.
 *
 * Server (device):			Client (driver):
 *	vchan_server_open		  vchan_client_open
 *	fill config, offer features
 *	on each event:			on each event:
 *	  vchan_server_poll		  vchan_client_poll
 *	    VCHAN_UP: a (new) driver	    VCHAN_UP: a (new) device is there: set the
 *	    is there: init the queues	    queues up anew, virtq_drv_init zeroes
 *					    them, then vchan_client_ready
 *	    VCHAN_DOWN: stop using them	    VCHAN_DOWN: stop using them
 *
 * Both notify the channel after a state change: vchan_* return what to do and set
 * `notify` when the caller has to call cell_notify.
 */
#ifndef LIBCELL_VCHAN_H
#define LIBCELL_VCHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/vring.h"

enum vchan_event {
	VCHAN_SAME, /* nothing changed */
	VCHAN_UP,   /* the peer is (newly) ready: (re)initialise the queues */
	VCHAN_DOWN, /* the peer went away */
};

struct vchan {
	struct d0_vring_head *head;
	size_t size;
	uint32_t epoch; /* ours */
	uint32_t peer;  /* the peer's epoch we are set up for, 0: down */
	uint64_t features;
	bool notify;
};

/* ring, size: of the channel. D0_EINVAL if it is too small for the head. */
int vchan_server_open(struct vchan *c, void *ring, size_t size, uint64_t offered);
enum vchan_event vchan_server_poll(struct vchan *c);

int vchan_client_open(struct vchan *c, void *ring, size_t size);
/* VCHAN_UP: c->features holds what the device offers & wanted. */
enum vchan_event vchan_client_poll(struct vchan *c, uint64_t wanted);
/* The queues are zeroed and ready: tell the device. Notify after it. */
void vchan_client_ready(struct vchan *c);

/* Start of queue `queue` of `num` entries; NULL if it does not fit in the region. */
void *vchan_queue(const struct vchan *c, uint32_t queue, uint32_t queues, uint32_t num);

/* Device configuration: the server's writable bytes, the client's copy. */
uint8_t *vchan_config(struct vchan *c);

#endif
