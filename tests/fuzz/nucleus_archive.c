/* SPDX-License-Identifier: ISC */
/* Records of images and d0.conf as the nucleus reads them, the signature put aside. */
#include <string.h>
#include "nucleus/archive/archive.h"
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
		control_boot(data + 1, size - 1);
		for (u32 i = 0; i < cell_slots(); i++)
			if (cell_by_number(i))
				cell_destroy(cell_by_number(i));
	} else {
		struct d0_file f = {0};
		memcpy(&f, data + 1, MIN(size - 1, sizeof(f)));
		archive_image_sound(&f);
	}
	return 0;
}
