/* SPDX-License-Identifier: ISC */
/*
 * sync: the registry of cells, channels, events, lifecycle, and the control protocol.
 * The theory is at the top of registry.c. All calls need the nucleus lock.
 */
#ifndef NUCLEUS_SYNC_H
#define NUCLEUS_SYNC_H

#include "nucleus/sync/cell.h"

void sync_init(void);
/* Make and start the cells of d0.conf. NULL, or why not. */
const char *sync_start_configured(void);
extern hpa_t clock_page;  /* what cells see of the time */
extern u64 sync_ready_ns; /* when all of them ran; 0: not yet */

/* ---- registry.c ---- */
struct cell *cell_by_number(u32 number);
struct cell *cell_by_name(const char *name);
u32 cell_slots(void);     /* numbers run below this */
void registry_tick(void); /* finish destroys that had to wait for a CPU */
/* A stopped cell. NULL: *err is a D0_E value. */
struct cell *cell_new(const struct d0_ctl_cell_create *config, int *err);

/* ---- lifecycle.c ---- */
int cell_start(struct cell *cell);
/* Take it off the CPUs and give back what it ran on; channels and state regions stay. */
void cell_end(struct cell *cell, u32 state, s64 code, const char *reason);
int cell_restart(struct cell *cell);
int cell_destroy(struct cell *cell);
int cell_set_paused(struct cell *cell, bool paused);
/* It broke a rule: report, end, and what its restart policy says. */
void cell_fail(struct cell *cell, struct vcpu *v, const char *rule, u64 address,
	       const char *detail);
/* It ended by itself. */
void cell_exited(struct cell *cell, s64 code, const char *reason);
/* Restarts that are due; the next time one is, or D0_NEVER. */
u64 lifecycle_tick(u64 now);
void regions_describe(const struct cell *cell, struct d0_region out[D0_REGIONS_MAX]);
void cell_publish_regions(struct cell *cell); /* its region table changed */
void cells_tell(u32 caps, u64 flags); /* an event to each that has one of those rights */

/* ---- channels.c ---- */
/* Checked but for sizes and numbers; the channel numbers are filled in. */
int channel_create(struct cell *server, struct cell *client, struct d0_ctl_channel_create *r);
void channel_close(struct cell *cell, u32 number); /* this end lets go */
int channel_map_all(struct cell *cell);            /* at start: rings into the new space */
/* A touch of a page that is not mapped: if it is of a ring, a frame. As region_fill(). */
int channel_fill(struct cell *cell, gpa_t at);
int channel_notify(struct cell *cell, u32 number);
void cell_config_changed(struct cell *cell);  /* its info page */
bool cell_has_space(const struct cell *cell); /* it is running or paused */
void cell_raise_flags(struct cell *cell, u32 vcpu, u64 flags);
bool vcpu_events_pending(struct vcpu *v);
/* It is granted at the next start. Stopped cells only. */
int cell_add_device(struct cell *cell, struct device *dev);
int cell_grant(struct cell *cell, u32 i); /* its i-th device */
void cell_revoke_all(struct cell *cell);

/* ---- control.c ---- */
s64 control_request(struct cell *caller, gpa_t at, u64 size);
/* Carry out the boot configuration (d0/archive.h). NULL, or the error with its line. */
const char *control_boot(const u8 *conf, u64 size);

/* ---- hypercall.c ---- */
void hypercall(struct vcpu *v);

/* ---- journal.c ---- */
void journal(u32 kind, u32 cell, u64 value, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
u32 journal_read(u64 from, struct d0_event *out, u32 max, u64 *oldest);

#endif
