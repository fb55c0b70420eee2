/* SPDX-License-Identifier: ISC */
/* A layer: any bytes, perhaps compressed, applied to a PFS as an import would. */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"
#include "tests/unit/store_env.h"

static struct store_env env;
static uint8_t *blank;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_store st = {0};
	struct oci_layer *l;
	struct oci_inflate *z;
	struct h2_pfs *pfs;

	if (!blank) {
		store_env_open(&env, 32 << 20);
		h2_sync(env.vol);
		blank = malloc(env.size);
		memcpy(blank, env.mem, env.size);
	} else {
		memcpy(env.mem, blank, env.size);
		store_env_crash(&env);
	}
	if (oci_open(&st, env.vol, true) || h2_pfs_open(env.vol, "root", 0, &pfs))
		abort();
	if (oci_layer_new(&st, pfs, "layer", &l))
		abort();
	z = oci_inflate_new(oci_layer_push, l);
	if (!oci_inflate_push(z, data, size) && !oci_inflate_done(z))
		oci_layer_finish(l);
	oci_inflate_free(z);
	oci_layer_free(l);
	h2_pfs_close(pfs);
	oci_close(&st);
	return 0;
}
