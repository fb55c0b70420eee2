/* SPDX-License-Identifier: ISC */
/* Short texts the store reads: a signature's line, and the value of d0.store. */
#include <stdlib.h>
#include <string.h>
#include "cells/store/h2_config.h"
#include "oci/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), err[64] = "";
	struct oci_signature sig;
	struct h2_config config;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	oci_signature_parse(text, &sig);
	h2_config_parse(text, &config, err, sizeof(err));
	h2_config_from_args(text, &config, err, sizeof(err));
	free(text);
	return 0;
}
