// SPDX-License-Identifier: ISC
// Bytes as an image archive (docker load) and as a layer.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/d0d_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct engine eng;
static char dir[] = "/tmp/d0d-fuzz-XXXXXX";

static void gone(void)
{
	tree_delete(AT_FDCWD, dir);
}

static void remove_all(void)
{
	struct err err;

	while (eng.images) {
		json_t *out = json_array();
		char *id = xstrdup(eng.images->id);
		if (image_remove(&eng, id, true, out, &err) < 0)
			abort();
		free(id);
		json_decref(out);
	}
	images_gc(&eng);
	if (eng.layers)
		abort(); // something of a failed load remained
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_config cfg = {.dir = dir,
				    .ops = &backend_fake,
				    .bridge_subnet = "172.17.0.0/16",
				    .host_name = "fuzz"};
	struct memory m = {data, size};
	struct be_source src = {memory_read, &m};
	json_t *loaded = json_array();
	struct err err = {0};
	char id[DIGEST_LEN + 1];

	if (!eng.dir) {
		if (!mkdtemp(dir) || engine_open(&eng, &cfg, &err) < 0)
			abort();
		atexit(gone);
	}
	if (size && data[0] == 'L') { // a layer by itself
		m = (struct memory){data + 1, size - 1};
		image_import(&eng, &src, NULL, "", id, &err);
	} else if (image_load(&eng, &src, loaded, &err) < 0 && !*err.msg) {
		abort(); // a failure without a reason
	}
	json_decref(loaded);
	remove_all();
	return 0;
}
