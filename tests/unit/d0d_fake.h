// SPDX-License-Identifier: ISC
// A backend that only has trees (in folders, through the linux backend's own code), for
// tests and fuzzing of everything above it: nothing is mounted, started or connected.
#ifndef D0D_FAKE_H
#define D0D_FAKE_H

#include "d0d/engine.h"

extern const struct backend_ops backend_fake;

// Bytes in memory as a be_source: {memory_read, &memory}.
struct memory {
	const void *p;
	size_t n;
};
ssize_t memory_read(void *ctx, void *buf, size_t n);

#endif
