/* SPDX-License-Identifier: ISC */
/* A layer: any bytes, perhaps compressed, applied to a PFS as an import would. */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"
#include "tests/unit/store_env.h"

static struct store_env env;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_store st = {0};
	struct oci_layer *l;
	struct oci_inflate *z;
	struct h2_pfs *pfs;

	store_env_again(&env, 32 << 20);
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
