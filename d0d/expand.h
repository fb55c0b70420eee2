// SPDX-License-Identifier: ISC
// Undoes xz and bzip2 of a stream on its way; everything else passes as it is (gzip and zstd
// are the store's to undo). What a stream is shows in its first bytes.
#ifndef D0D_EXPAND_H
#define D0D_EXPAND_H

#include "d0d/util.h"

struct expand;

// Takes what comes out; a negative result, with *E filled, ends the work.
typedef int expand_cb(void *ctx, const void *buf, size_t n, struct err *e);

struct expand *expand_new(expand_cb *cb, void *ctx);
// 0, or -1 with E: 400 for a damaged stream, 413 for one that asks for more than 96 MiB to be
// undone, or the callback's.
int expand_push(struct expand *x, const void *buf, size_t n, struct err *e);
// After the last push; 400 if the stream was cut short.
int expand_end(struct expand *x, struct err *e);
void expand_free(struct expand *x); // NULL is fine

#endif
