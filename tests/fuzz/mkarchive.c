/* SPDX-License-Identifier: ISC */
/* Arbitrary bytes as an ELF image and as an archive. */
#include <stdlib.h>
#include "tools/mkarchive/mkarchive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t public[KEY_PUBLIC_SIZE] = {4};
	struct blob b = {(uint8_t *)data, size};
	struct d0_page_hash *pages = NULL;
	uint32_t count = 0;

	elf_page_hashes(&b, &pages, &count);
	free(pages);
	archive_verify(&b, public);
	return 0;
}
