/* SPDX-License-Identifier: ISC */
/* Two devices that hold the same volume; see mirror.c. No I/O of its own, no threads. */
#ifndef STORE_MIRROR_H
#define STORE_MIRROR_H

#include <stdbool.h>
#include <stdint.h>
#include "h2/h2.h"

struct mirror_side {
	const struct h2_dev_ops *ops;
	void *dev;
	uint64_t size;
	bool dead;  /* not there, or it failed: not used until the next start */
	bool stale; /* not equal to the other yet: never read for its own sake */
};

struct mirror {
	struct mirror_side side[2];
	unsigned first; /* the side that is read */
	uint64_t size;  /* of the smaller side that is there */
	bool readonly;
	uint64_t mended; /* blocks of one side rewritten from the other */
	/* Something happened to a side (may be NULL). */
	void (*event)(void *ctx, unsigned side, const char *what);
	void *event_ctx;
	/* mirror_step() */
	struct h2_scrub *scrub;
	uint64_t reserved; /* how far the reserved areas are copied */
	uint8_t *buf, *compare;
	struct h2_env env;
};

/* For h2_env.dev_ops with dev = struct mirror; scrubbed and second_copy: ctx = struct mirror.
 */
extern const struct h2_dev_ops mirror_ops;
int mirror_second_copy(struct mirror *m, const struct h2_event *ev, void *buf);
void mirror_scrubbed(struct mirror *m, uint64_t off, const void *stored, size_t len);

/*
 * The caller has set side[] (dead: there is no such device), readonly and event; `env` serves
 * for memory only. Decides which side is the volume. 0; -H2_EMEDIUM: neither holds one and
 * both are blank; -H2_EINVAL with *why: they do not belong together, or one holds something
 * else; -H2_EIO, -H2_ENOMEM. Writes nothing.
 */
int mirror_open(struct mirror *m, const struct h2_env *env, const char **why);
/* End mirror_step()'s work: before the volume is unmounted. */
void mirror_stop(struct mirror *m);
void mirror_close(struct mirror *m);
/* A piece of making a stale side equal, with the mounted volume; false: nothing (more) to do.
 */
bool mirror_step(struct mirror *m, struct h2_vol *vol);
/* Both sides there and equal. */
bool mirror_whole(const struct mirror *m);

#endif
