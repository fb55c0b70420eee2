/* SPDX-License-Identifier: ISC */
/*
 * The control protocol: requests by which the cell that holds D0_CAP_CONTROL creates and
 * runs the others, and cells with D0_CAP_INSPECT look at them. One request is one
 * structure in the caller's memory, passed to d0_hc_control(address, length): it begins
 * with struct d0_ctl; the nucleus copies it in, validates it, acts, and copies it back
 * with `status` and the output fields filled. Nothing blocks. The hypercall's own result
 * is the status again. Requests with a [R] need D0_CAP_INSPECT only, [P] D0_CAP_POWER; [H]
 * D0_CAP_HEAL will do.
 */
#ifndef D0_CONTROL_H
#define D0_CONTROL_H

#include <stdint.h>
#include "d0/abi.h"

#define D0_CTL_REQUESTS(X)                                                         \
	X(1, cell_create, "make a stopped cell from an image of the boot archive") \
	X(2, cell_start, "start it (first or again)")                              \
	X(3, cell_stop, "ask it to end (D0_EV_STOP), or end it now with force")    \
	X(4, cell_restart, "[H] end it and start it anew; state regions stay")     \
	X(5, cell_destroy, "free everything it had; its number may be used again") \
	X(6, cell_pause, "take its vCPUs off the CPUs, or put them back")          \
	X(7, channel_create, "connect two cells, running or not")                  \
	X(8, channel_destroy, "disconnect")                                        \
	X(9, device_grant, "give a device to a stopped cell")                      \
	X(10, cell_cpu, "change how much CPU time a cell's vCPUs get")             \
	X(11, channel_status, "[R] one channel of a cell, as that cell sees it")   \
	X(16, cell_status, "[R] one cell")                                         \
	X(17, cell_regions, "[R] its regions")                                     \
	X(18, cell_counters, "[R] the counters it exports")                        \
	X(19, system_status, "[R] CPUs, memory, verification")                     \
	X(20, events_read, "[R] the journal from a sequence number on")            \
	X(21, device_list, "[R] devices found and who has them")                   \
	X(32, poweroff, "[P] power off, or reboot")

enum d0_ctl_op {
#define D0_CTL_ENUM(number, name, text) D0_CTL_##name = number,
	D0_CTL_REQUESTS(D0_CTL_ENUM)
#undef D0_CTL_ENUM
};

struct d0_ctl {
	uint32_t op;
	uint32_t size; /* of the whole structure */
	int32_t status;
	uint32_t cell; /* the cell it is about; in or out */
};

#define D0_CTL_PERIOD_US 100000u /* of budgets; the longest slice */

enum d0_restart_policy {
	D0_RESTART_NEVER,
	D0_RESTART_ON_FAILURE,
	D0_RESTART_ALWAYS
};

struct d0_ctl_cell_create {
	struct d0_ctl h; /* out: h.cell */
	char name[D0_NAME_MAX];
	char image[D0_NAME_MAX];
	char args[1024];
	uint64_t heap;  /* bytes, rounded up to pages */
	uint64_t stack; /* bytes for each vCPU */
	uint64_t state; /* bytes of the state region, 0: none */
	uint64_t user;  /* bytes of the user region, 0: none (guest kernels only) */
	uint32_t vcpus;
	uint32_t channels;  /* size of its channel table, 1..D0_CHANNELS_MAX */
	uint32_t priority;  /* 0 (lowest) to 7 */
	uint32_t budget_us; /* CPU time of each vCPU per 100 ms at that priority; 0: no limit */
	uint32_t restart;   /* enum d0_restart_policy */
	uint32_t caps;      /* only what the caller itself holds, never D0_CAP_CONTROL */
	uint32_t slice_us;  /* longest turn on a CPU, at most a period; 0: 10 ms. Who waits at
			       the same priority gets time in proportion to it */
	uint32_t pad;
	char data[48]; /* file of the boot archive to map read-only, or empty */
};

struct d0_ctl_cell_op { /* cell_start, cell_stop, cell_restart, cell_destroy, cell_pause */
	struct d0_ctl h;
	uint32_t flags; /* cell_stop: 1 = force; cell_pause: 1 = pause, 0 = resume */
	uint32_t pad;
};

struct d0_ctl_cell_cpu { /* as in cell_create; from each vCPU's next turn on */
	struct d0_ctl h;
	uint32_t budget_us;
	uint32_t slice_us;
};

struct d0_ctl_channel_create {
	struct d0_ctl h; /* h.cell: the server's cell */
	uint32_t client;
	uint32_t protocol;
	uint64_t ring; /* bytes of shared memory, 0: events only */
	char label[D0_NAME_MAX];
	char server_args[176];
	char client_args[176];
	uint32_t server_channel; /* out */
	uint32_t client_channel; /* out */
};

struct d0_ctl_channel_destroy {
	struct d0_ctl h; /* one end's cell */
	uint32_t channel;
	uint32_t pad;
};

struct d0_ctl_channel_status {
	struct d0_ctl h;
	uint32_t channel;
	uint32_t pad;
	struct d0_channel info; /* out */
};

/* The device at an address, or the `index`th of a class or, class 0, of a vendor's kind. */
struct d0_ctl_device_grant {
	struct d0_ctl h;
	uint32_t address; /* as d0_device.address, or D0_CTL_BY_KIND */
	uint32_t class;   /* class and subclass: CCSS */
	uint16_t vendor, device;
	uint32_t index;
};
#define D0_CTL_BY_KIND 0xffffffffu

enum d0_cell_state {
	D0_CELL_FREE,
	D0_CELL_STOPPED, /* never started, or stopped by request */
	D0_CELL_RUNNING,
	D0_CELL_PAUSED,
	D0_CELL_ENDED,  /* it exited by itself; exit_code says how */
	D0_CELL_FAILED, /* the nucleus ended it: see reason */
};

struct d0_ctl_cell_status {
	struct d0_ctl h;
	/* out */
	char name[D0_NAME_MAX];
	char image[D0_NAME_MAX];
	uint32_t state; /* enum d0_cell_state */
	uint32_t vcpus;
	int64_t exit_code;
	uint64_t starts;
	uint64_t cpu_ns;
	uint64_t memory; /* bytes of frames it has, shared ones counted once per image apart */
	uint64_t page_tables;
	uint64_t exits, hypercalls, faults, interrupts;
	uint64_t pages_checked, pages_bad; /* verification work it did */
	uint32_t channels_open;
	uint32_t successor; /* the cell it verifies; ~0: the nucleus */
	char reason[160];
};

struct d0_ctl_cell_regions {
	struct d0_ctl h;
	uint32_t count; /* out */
	uint32_t pad;
	struct d0_region region[D0_REGIONS_MAX]; /* out */
};

struct d0_ctl_cell_counters {
	struct d0_ctl h;
	struct d0_counters counters; /* out: copied, values unchecked */
};

struct d0_ctl_system_status {
	struct d0_ctl h;
	/* out */
	uint64_t uptime_ns;
	uint32_t cpus, cells;
	uint32_t cell_slots;                   /* cell numbers run from 0 to cell_slots - 1 */
	uint32_t iommu;                        /* 1 if devices are confined */
	uint64_t mem_total, mem_free, mem_bad; /* bytes */
	uint64_t nucleus_bytes;
	uint64_t idle_ns[8]; /* first CPUs */
	uint64_t verify_bytes, verify_cycles, verify_cycle_ns, verify_cpu_ns;
	uint64_t pages_verified_set; /* how many pages are in the ring */
	uint64_t flips_found, flips_repaired, frames_retired;
	uint64_t last_repair_ns; /* from check of the page before to repair */
	uint64_t tlb_shootdowns, context_switches, external_interrupts;
	uint64_t ready_ns; /* when every configured cell ran; 0: not yet */
};

#define D0_EVENT_KINDS(X)                                 \
	X(1, boot, "boot finding")                        \
	X(2, cell_started, "cell started")                \
	X(3, cell_ended, "cell ended by itself")          \
	X(4, cell_failed, "cell broke a rule")            \
	X(5, cell_restarted, "cell restarted")            \
	X(6, page_bad, "verified page differs")           \
	X(7, page_repaired, "page repaired")              \
	X(8, frame_retired, "frame taken out of service") \
	X(9, golden_bad, "golden copy differs")           \
	X(10, report, "report by a cell")                 \
	X(11, nucleus_fault, "fault in the nucleus")      \
	X(12, cell_created, "cell created")               \
	X(13, cell_destroyed, "cell destroyed")           \
	X(14, control_refused, "control request refused") \
	X(15, device, "device")

enum d0_event_kind {
#define D0_EVK_ENUM(number, name, text) D0_EVENT_##name = number,
	D0_EVENT_KINDS(D0_EVK_ENUM)
#undef D0_EVK_ENUM
};

struct d0_event {
	uint64_t seq;
	uint64_t time_ns;
	uint32_t kind;
	uint32_t cell; /* ~0: the nucleus */
	uint64_t value;
	char text[128];
};

#define D0_CTL_EVENTS_MAX 16
struct d0_ctl_events_read {
	struct d0_ctl h;
	uint64_t from;   /* in: first sequence number wanted */
	uint64_t oldest; /* out: the journal's oldest */
	uint32_t count;  /* out */
	uint32_t pad;
	struct d0_event event[D0_CTL_EVENTS_MAX]; /* out */
};

struct d0_ctl_device_list {
	struct d0_ctl h;
	uint32_t first; /* in: index to begin with */
	uint32_t count; /* out: how many entries follow; total = how many there are */
	uint32_t total;
	uint32_t pad;
	struct {
		uint32_t address, class_rev;
		uint16_t vendor, device;
		uint32_t cell; /* ~0: nobody */
	} dev[32];
};

struct d0_ctl_poweroff {
	struct d0_ctl h;
	uint32_t reboot;
	uint32_t pad;
};

#endif
