/* SPDX-License-Identifier: ISC */
/*
 * The FUSE server: one session gives one client the files of one PFS. It does no I/O of its
 * own and knows no transport: a request's bytes go in, a reply's bytes come out. The store
 * cell feeds it from virtqueues (d0/vfs.h), `d0fs mount` from /dev/fuse.
 *
 * The client is hostile by assumption. The request must be in private memory (copied once
 * from a ring). One thread at a time for all sessions of a volume.
 */
#ifndef STORE_FUSE_SERVER_H
#define STORE_FUSE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "d0/fuse.h"
#include "h2/h2.h"

struct fuse_options {
	bool readonly;      /* EROFS for every change */
	bool keep_nodes;    /* a read-only PFS needs no lookup counts: nothing is unlinked */
	uint32_t max_write; /* data bytes of a READ or WRITE, 4096 .. 1 MiB */
	uint32_t valid_s;   /* how long the client may cache entries and attributes */
	uint32_t nodes_max; /* bound on remembered nodes; 0 = 1 << 18 */
	uint64_t (*now)(void *ctx); /* ns since 1970 */
	void *ctx;
};

struct fuse_stats {
	uint64_t requests, errors, malformed;
	uint64_t read_bytes, written_bytes;
	uint64_t nodes; /* remembered now */
};

struct fuse_session;

/* The session uses the PFS until it is freed; the caller closes it then. NULL: no memory. */
struct fuse_session *fuse_session_new(struct h2_pfs *pfs, const struct fuse_options *opts);
/* Lets go of everything the client held. */
void fuse_session_free(struct fuse_session *s);

/* Bytes that the longest acceptable request, and the longest reply, can have. */
size_t fuse_session_buffer(const struct fuse_session *s);

/*
 * Perform one request. reply: max >= 16 bytes of private memory. Returns the reply's length;
 * 0: this request has no reply; < 0 (-H2_EINVAL): not even a header: the transport is out
 * of step and has to be closed.
 */
long fuse_session_handle(struct fuse_session *s, const void *request, size_t len, void *reply,
			 size_t max);

void fuse_session_stats(const struct fuse_session *s, struct fuse_stats *out);

#endif
