/* SPDX-License-Identifier: ISC */
/* What the store cell's files share. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "cells/store/h2_config.h"
#include "h2/h2.h"
#include "oci/oci.h"

struct blkdev;
struct ramdisk;

/* The volume of this cell. */
struct store {
	struct h2_config config;
	struct blkdev *blk, *blk2; /* blk2: the mirror's disk */
	struct mirror *mirror;     /* over both, or NULL; or */
	struct ramdisk *ram;
	struct h2_env env;
	struct h2_vol *vol;
	bool readonly;
	uint64_t next_sync;    /* clock_ns() */
	uint64_t slice_ns;     /* what long work gets of a round of the main loop */
	struct oci_pins pins;  /* images that admin requests under way need */
	struct oci_mend *mend; /* while an image is imported */
	struct trust *trust;   /* signed.c; NULL: signatures are not asked for */
	uint64_t *c_requests, *c_errors, *c_bad_blocks, *c_syncs, *c_dirty, *c_clients;
};

/* volume.c: 0, or -1 with the reason logged and nothing written. */
int store_open(struct store *s, const char *args);
/* Tell the disk of what is queued; at the end of a round. */
void store_kick(struct store *s);
/* Work on the mirror that is left; true: there is more. */
bool store_mirror_step(struct store *s);
/* Take what the disk has finished; at the begin of a round of the main loop. */
void store_poll(struct store *s);
/* Syncs when it is time; returns when it wants to be called next. */
uint64_t store_tick(struct store *s);
void store_close(struct store *s);
uint64_t store_now(void *ctx);

/* fs_channel.c: clients. */
void fs_channels_scan(struct store *s);
/* Serve what is waiting, a bounded amount for each client. True: there may be more. */
bool fs_channels_serve(struct store *s);
void fs_channels_close(struct store *s);
/* What signed_state() says may have changed: clients that wait for it are looked at again. */
void fs_channels_retry(struct store *s);

/*
 * signed.c: which PFSs may be served (require-signed in the configuration). 1: this one,
 * 0: not known yet, signed_step() finds out, -1: no (logged).
 */
int signed_state(struct store *s, const char *label);
/* A slice of verifying an image that was asked for; true: there is more to do. */
bool signed_step(struct store *s);
void signed_close(struct store *s);
/* admin*.c: admin channels, and long work on the volume, in slices of slice_ns. */
void admin_scan(struct store *s);
bool admin_serve(struct store *s);
/* One step of a scrub or bulkfree under way; true: there is more. */
bool admin_job_step(struct store *s);
void admin_close(struct store *s);

#endif
