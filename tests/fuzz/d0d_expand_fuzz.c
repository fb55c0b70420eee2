// SPDX-License-Identifier: ISC
// Any bytes as a blob on its way to the store: the first one is the size of the pieces.
#include <stddef.h>
#include <stdint.h>

#include "d0d/expand.h"

#define MOST (8u << 20) // a bomb is the store's to end; here it is this

static int take(void *ctx, const void *buf, size_t n, struct err *e)
{
	size_t *got = ctx;

	*got += n;
	return *got > MOST ? err_set(e, 507, "no space left on device") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t got = 0, step = len ? data[0] + 1u : 1;
	struct expand *x = expand_new(take, &got);
	struct err e;
	int rc = 0;

	for (size_t at = 1; rc == 0 && at < len; at += step)
		rc = expand_push(x, data + at, len - at < step ? len - at : step, &e);
	if (rc == 0)
		expand_end(x, &e);
	expand_free(x);
	return 0;
}
