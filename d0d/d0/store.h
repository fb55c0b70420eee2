// SPDX-License-Identifier: ISC
// The way to the store cell: requests of the admin protocol (d0/store_admin.h).
#ifndef D0D_D0_STORE_H
#define D0D_D0_STORE_H

#include "d0/store_admin.h"
#include "d0d/d0/d0.h"

// Takes pieces of an answer; a negative result ends the request with -1 (what comes is
// dropped).
typedef int store_cb(void *ctx, const void *data, size_t n);

// Finds the admin channels, up to three: one each for what is answered soon, for an import,
// for what streams or removes much. Without one every request fails with status 503.
void store_link_open(struct d0_backend *b);
void store_link_close(struct d0_backend *b);

int store_text(void *sbuf, const void *data,
	       size_t n); // one that gathers it all in a struct sbuf

// One request and all of its answer. ARGS are strings, ended by NULL. 0, or -1 with E: 404,
// 409, 400, 507 or 500, and the store's words.
int store_call(struct d0_backend *b, enum d0_admin_op op, store_cb *cb, void *ctx,
	       struct err *e, ...) __attribute__((sentinel));
int store_callv(struct d0_backend *b, enum d0_admin_op op, const struct sbuf *args,
		store_cb *cb, void *ctx, struct err *e);
// Bytes of an import's file; the import is begun when there is none.
int store_spool(struct d0_backend *b, const char *file, const void *buf, size_t n,
		struct err *e);
int store_spool_rename(struct d0_backend *b, const char *from, const char *to, struct err *e);
void store_spool_drop(struct d0_backend *b);
// Waits until the store has taken note of cells that ended before: it uses no ring of theirs
// any more, so their channels may be destroyed (which unmaps the rings).
void store_settle(struct d0_backend *b);
// Something was removed: its space is to come back, soon.
void store_reclaim(struct d0_backend *b);
// A whole unpacking: no other stream passes meanwhile.
int store_unpack(struct d0_backend *b, const char *label, const char *path, int flags,
		 struct be_source *src, struct err *e);

// An answer gathered before it is passed on, so that a slow receiver doesn't hold up the store:
// in memory first, then in an unlinked file.
struct spill {
	struct sbuf mem;
	int fd;
	uint64_t size;
	const char *dir;
};
int spill_take(void *spill, const void *data, size_t n); // a store_cb
int spill_give(struct spill *s, struct be_sink *out, struct err *e);
void spill_free(struct spill *s);

#endif
