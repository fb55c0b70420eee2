/* SPDX-License-Identifier: ISC */
/*
 * The store cell: owns the disks and the volume on them, serves files.
 *
 * Problem. Containers need root file systems, versions and snapshots of them, on a disk that
 * may lie; and none of them may see another's files or bring the store down.
 *
 * Model. One volume, one thread. The loop serves every client's channel in turn, a bounded
 * number of requests each, gives a slice to long work (admin.c, signed.c), syncs the volume
 * when changes are old enough, and sleeps. A request for a file runs to its end; while it waits
 * for the disk, the disk's queue is kept full by write-behind and read-ahead (blockdev.c).
 *
 * Confinement. A session can name inodes of its own PFS only (fuse/server.c); which PFS that
 * is comes from the channel's args, which the controlling cell set.
 *
 * Failure. The volume is always consistent on disk (h2: copy-on-write with alternating
 * headers), so the cell may end at any moment: its next start mounts what the last sync
 * left, clients shake hands anew, and their node numbers still hold. A disk that fails turns
 * the volume read-only; reads go on as far as the cache and the disk allow.
 */
#include <string.h>
#include "cells/store/events.h"
#include "cells/store/store.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"

#define SLICE_MIN (CLOCK_NS_PER_MS / 2)
#define SLICE_MAX (8 * CLOCK_NS_PER_MS)

static struct store store;

/* An unusable configuration or disk: stay there, so that the log's last words can be read
 * and the cell is not restarted in a circle; serve nothing. */
static int stay_down(void)
{
	store_close(&store);
	log_error("the store serves nothing until its configuration is changed");
	for (;;) {
		events_sleep_new(D0_NEVER);
		if (events_flags(~0ull) & D0_EV_STOP)
			return 0;
	}
}

/* Long work gets as much of a round as the files got, within bounds. */
static uint64_t slice(uint64_t files_ns)
{
	return files_ns < SLICE_MIN ? SLICE_MIN : files_ns > SLICE_MAX ? SLICE_MAX : files_ns;
}

int cell_main(const struct d0_info *info)
{
	if (store_open(&store, info->args))
		return stay_down();
	fs_channels_scan(&store);
	admin_scan(&store);
	for (;;) {
		uint64_t next, flags, began;
		bool more;

		store_poll(&store);
		events_round();
		began = clock_ns();
		more = fs_channels_serve(&store);
		store.slice_ns = slice(clock_ns() - began);
		more |= admin_serve(&store);
		next = store_tick(&store);
		more |= admin_job_step(&store);
		more |= signed_step(&store);
		more |= store_mirror_step(&store);
		store_kick(&store);
		if (more)
			events_collect();
		else
			events_sleep(next);
		flags = events_flags(~0ull);
		if (flags & D0_EV_CONFIG) {
			fs_channels_scan(&store);
			admin_scan(&store);
		}
		if (flags & D0_EV_STOP)
			break;
	}
	admin_close(&store);
	fs_channels_close(&store);
	signed_close(&store);
	store_close(&store);
	return 0;
}
