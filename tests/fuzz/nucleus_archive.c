/* SPDX-License-Identifier: ISC */
/* ELF images and d0.conf as the nucleus reads them, the signature put aside. */
#include <stdlib.h>
#include <string.h>
#include "nucleus/archive/image.h"
#include "tests/unit/fake/arch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	if (!ready) {
		fake_machine();
		sync_init();
		ready = true;
	}
	if (!size)
		return 0;
	fake_log[0] = 0;
	if (data[0] & 1) {
		conf_apply((const char *)data + 1, size - 1);
	} else {
		struct image img = {0};
		struct d0_file f = {.size = size - 1};
		elf_load(&img, &f, data + 1);
	}
	return 0;
}
