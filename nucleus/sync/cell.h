/* SPDX-License-Identifier: ISC */
/*
 * A cell as the nucleus knows it. Guarded by the nucleus lock, but for what is said to be
 * otherwise. Cells live in frames of their own, found through the registry by number.
 */
#ifndef NUCLEUS_SYNC_CELL_H
#define NUCLEUS_SYNC_CELL_H

#include "d0/abi.h"
#include "d0/control.h"
#include "nucleus/archive/image.h"
#include "nucleus/device_manager/device_manager.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "nucleus/memory_regions/regions.h"
#include "nucleus/vm_hypervisor/vcpu.h"

#define CELLS_MAX 1536

/*
 * A connection of two cells. Owned by both ends; it goes, with its frames, when the second end
 * lets go.
 */
struct channel {
	struct channel_end {
		struct cell *cell; /* NULL: this end is gone */
		u32 number;
	} end[2]; /* server, client */
	u32 protocol;
	bool whole; /* the ring was filled from the start, in one piece */
	u64 ring_size;
	hpa_t frame[]; /* of each page of the ring; HPA_NONE: not touched yet */
};

/* One slot of a cell's channel table: a channel, or an interrupt, or free. */
struct channel_slot {
	struct channel *channel;
	u32 side;              /* our end's index */
	struct device *device; /* D0_PROTO_IRQ */
	u32 irq;
};

struct cell {
	u32 number;
	u32 state;                        /* enum d0_cell_state */
	struct d0_ctl_cell_create config; /* as it was asked for, sizes rounded up */
	const struct image *image;
	bool high;
	u64 va_offset;

	struct space space;       /* second level */
	u64 window, small_window; /* where regions go in this start; 0: not chosen */
	struct iommu_domain *domain;
	struct region region[D0_REGIONS_MAX];
	u32 regions;
	gpa_t image_base;
	gpa_t tables_root;  /* CR3 that vCPUs start with */
	hpa_t state_frames; /* the state region, kept over restarts; 0: none */

	/* Frames the nucleus writes and the cell reads, through the direct map. */
	struct d0_info *info;
	u64 info_size;
	struct d0_channel *channel_table;
	struct d0_device *device_table;
	struct d0_events *events;     /* one a vCPU; the cell writes too */
	struct d0_counters *counters; /* the cell writes: read with care */

	struct vcpu *vcpu; /* config.vcpus of them */
	u8 *ports;         /* bitmap of I/O ports, NULL: it may use none */
	struct channel_slot *slot;
	struct device *device[D0_DEVICES_MAX];
	u32 devices;

	u32 tlb_generation;
	struct d0_ctl_cell_status stat; /* counters, exit code and reason; the rest is zero */
	u64 memory_frames;              /* private ones */
	u64 restart_at;                 /* ns; restart policy's back-off, 0: none */
	u32 failures;                   /* in a row */
	u64 started_ns;
	u32 frames; /* frames this structure takes */

	/* verification duty: verify.c */
	struct {
		struct cell *next; /* successor; NULL: the nucleus */
		bool joined, mirrored;
		bool stale; /* the mirror shows nothing; a new one is due */
		u64 at;     /* next page of the successor's set to hand out */
		u64 first;  /* challenge that is out; count 0: none */
		u32 count;
		u32 round; /* last one completed */
		u64 expected, nonce, asked_ns;
		u64 helper_at; /* the nucleus's own progress on this member's part */
	} duty;
};

#endif
