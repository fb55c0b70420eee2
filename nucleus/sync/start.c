/* SPDX-License-Identifier: ISC */
/* The first cells: d0.conf from the archive, each started, and the line that says all run. */
#include "nucleus/archive/archive.h"
#include "nucleus/core/print.h"
#include "nucleus/sync/sync.h"

u64 sync_ready_ns;

const char *sync_start_configured(void)
{
	const struct d0_file *file = archive_find("d0.conf", D0_FILE_CONF);
	if (!file)
		return "boot archive: there is no usable d0.conf in it";
	const char *err = control_boot(archive_data(file), file->size);
	if (err)
		return err;
	u32 cells = 0, failed = 0;
	for (u32 i = 0; i < cell_slots(); i++) {
		cells++;
		failed += cell_start(cell_by_number(i)) != D0_OK;
	}
	if (!cells)
		return "d0.conf names no cell";
	sync_ready_ns = clock_ns();
	if (failed)
		n_print("NOT READY: %u of %u cells did not start", failed, cells);
	else
		n_print("ready: %u cells on %u CPUs, %lu.%03lu s after kernel entry", cells,
			cpu_count, sync_ready_ns / 1000000000, sync_ready_ns / 1000000 % 1000);
	return NULL;
}
