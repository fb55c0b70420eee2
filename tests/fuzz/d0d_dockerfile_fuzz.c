// SPDX-License-Identifier: ISC
// Bytes as a Dockerfile, and each instruction's arguments as words.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *get(void *ctx, const char *name)
{
	return *name == 'A' ? "a value" : *name == 'E' ? "" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dockerfile f;
	struct err e = {0};

	if (dockerfile_parse((const char *)data, size, &f, &e) < 0) {
		if (e.status != 400 || !*e.msg)
			abort();
		return 0;
	}
	for (size_t i = 0; i < f.n; i++) {
		char **w = df_words(f.step[i].rest, f.escape, get, NULL, &e);
		char *all = df_expand(f.step[i].rest, f.escape, get, NULL, &e);
		df_flag(&f.step[i], "from");
		strv_free(w);
		free(all);
	}
	dockerfile_free(&f);
	return 0;
}
