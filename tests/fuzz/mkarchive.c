/* SPDX-License-Identifier: ISC */
/* Arbitrary bytes as an ELF image, as a configuration and as an archive. */
#include <stdlib.h>
#include "tools/mkarchive/mkarchive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t public[KEY_PUBLIC_SIZE] = {4};
	struct blob b = {(uint8_t *)data, size}, conf;
	struct d0_page_hash *pages = NULL;
	struct d0_image img;
	uint32_t count = 0;
	char error[CONF_ERROR_SIZE];

	elf_describe(&b, D0_FILE_CELL, &img, &pages, &count);
	free(pages);
	conf_compile(&b, NULL, &conf, error);
	blob_free(&conf);
	archive_verify(&b, public);
	return 0;
}
