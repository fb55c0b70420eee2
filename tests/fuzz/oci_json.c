/* SPDX-License-Identifier: ISC */
/* JSON of images: parsed, then every value is reached. */
#include <string.h>
#include "oci/impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t total = 0;
	struct json j;

	if (json_parse(&j, (const char *)data, size))
		return 0;
	for (uint32_t v = 0; v < j.count; v++) {
		total += json_str(&j, v) ? strlen(json_str(&j, v)) : 0;
		total += json_get(&j, v, "digest");
		for (uint32_t i = 0; i < json_count(&j, v) && i < 4; i++)
			total += json_at(&j, v, i);
	}
	json_free(&j);
	return total == (size_t)-1;
}
