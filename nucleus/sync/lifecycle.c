/* SPDX-License-Identifier: ISC */
/*
 * Life of a cell: start, end, restart.
 *
 * A start builds everything anew at new random addresses: the image's shared pages are
 * mapped, its writable ones copied from a golden copy and relocated, stacks, heap and
 * user memory made, rings of its channels mapped again, devices granted. An end gives
 * all of that back. What stays between two starts: the state region, channels with their
 * rings, the pages with info, counters and events.
 *
 * A cell that fails is started again if its policy says so, at once the first time,
 * later with a delay that doubles up to a second while it keeps failing within ten seconds.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/core/print.h"
#include "nucleus/core/crypto.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"

#define BACKOFF_FIRST 10000000ull /* ns */
#define BACKOFF_MAX   1000000000ull
#define HEALTHY_AFTER 10000000000ull

static int add(struct cell *cell, u32 type, u64 size, hpa_t frames, const char *name,
	       gpa_t *out)
{
	gpa_t at;
	if (!size)
		return D0_OK;
	if (!region_place(cell, size, &at))
		return D0_ENOMEM;
	int slot = region_add(cell, type, at, size, frames, name);
	if (slot < 0)
		return slot;
	if (out)
		*out = at;
	return D0_OK;
}

/* Relocations of writable pages, written through the cell's own mapping. */
static void relocate_segment(struct cell *cell, const struct segment *s)
{
	for (u64 p = 0; p < s->pages; p++) {
		hpa_t f;
		u32 perms;
		u64 at = cell->image_base.v + s->vaddr + p * PAGE_SIZE;
		n_assert(space_lookup(&cell->space, at, &f, &perms));
		memcpy(hpa_to_ptr(f), (u8 *)hpa_to_ptr(s->golden[0]) + p * PAGE_SIZE,
		       PAGE_SIZE);
		image_relocate_page(cell->image, s, p, cell->image_base.v + cell->va_offset,
				    hpa_to_ptr(f));
	}
}

static int add_image(struct cell *cell)
{
	static const u32 type[] = {D0_REGION_TEXT, D0_REGION_RODATA, D0_REGION_RELRO,
				   D0_REGION_DATA};
	const struct image *img = cell->image;
	if (!region_place(cell, img->file->image.pages << PAGE_SHIFT, &cell->image_base))
		return D0_ENOMEM;
	for (u32 i = 0; i < img->segments; i++) {
		const struct segment *s = &img->segment[i];
		bool shared = s->kind == D0_SEGMENT_TEXT || s->kind == D0_SEGMENT_RODATA;
		int slot = region_add(cell, type[s->kind], GPA(cell->image_base.v + s->vaddr),
				      s->pages << PAGE_SHIFT, shared ? s->frames : HPA_NONE,
				      segment_name[s->kind]);
		if (slot < 0)
			return slot;
		if (!shared)
			relocate_segment(cell, s);
		for (u32 m = 0; shared && m < img->moves; m++)
			if (img->moved[m].segment == s)
				region_replace_page(cell,
						    GPA(cell->image_base.v + s->vaddr +
							(img->moved[m].page << PAGE_SHIFT)),
						    img->moved[m].frame);
	}
	return D0_OK;
}

/* The first tables: guest-physical = virtual, and again at D0_HIGH_OFFSET. */
static int add_tables(struct cell *cell, gpa_t *root)
{
	enum {
		LEAF = 0xe3 /* P W A D PS */,
		TABLE = 0x23
	};
	u64 pml4[512] = {0}, pdpt[512] = {0};
	int err = add(cell, D0_REGION_TABLES, 2 * PAGE_SIZE, HPA_NONE, "tables", root);
	if (err)
		return err;
	pml4[0] = pml4[256] = (root->v + PAGE_SIZE) | TABLE;
	for (u64 i = 0; i < D0_GPA_LIMIT / GiB; i++)
		pdpt[i] = i * GiB | LEAF;
	bool ok = guest_write(cell, *root, pml4, sizeof(pml4)) &&
		  guest_write(cell, GPA(root->v + PAGE_SIZE), pdpt, sizeof(pdpt));
	return ok ? D0_OK : D0_EFAULT;
}

static void fill_info(struct cell *cell, gpa_t events)
{
	struct d0_info *i = cell->info;
	i->flags = (vcpu_ops->vmcall ? D0_INFO_VMX : 0) |
		   (iommu_present() ? 0 : D0_INFO_NO_IOMMU) |
		   (cell->stat.starts > 1 ? D0_INFO_RESTART : 0);
	i->va_offset = cell->va_offset;
	i->image_base = cell->image_base.v;
	i->start_count = cell->stat.starts;
	i->events = events.v;
	i->counters = events.v + sizeof(struct d0_events) * D0_VCPUS_MAX;
	random_bytes(i->seed, sizeof(i->seed));
}

void regions_describe(const struct cell *cell, struct d0_region out[D0_REGIONS_MAX])
{
	memset(out, 0, sizeof(*out) * D0_REGIONS_MAX);
	for (u32 r = 0; r < cell->regions; r++) {
		const struct region *from = &cell->region[r];
		out[r] = (struct d0_region){.base = from->base.v,
					    .size = from->size,
					    .type = from->type,
					    .perms = from->perms,
					    .dma_base = from->dma};
		memcpy(out[r].name, from->name, sizeof(out[r].name));
	}
}

void cell_publish_regions(struct cell *cell)
{
	struct d0_info *i = cell->info;
	regions_describe(cell, (void *)((u8 *)i + i->region_off));
	i->regions = cell->regions;
	i->devices = cell->devices;
	__atomic_store_n(&i->config_seq, i->config_seq + 1, __ATOMIC_RELEASE);
}

static int build(struct cell *cell, gpa_t *info, gpa_t *root, gpa_t *stack)
{
	const struct d0_ctl_cell_create *c = &cell->config;
	const struct d0_file *file = c->data[0] ? archive_find(c->data, D0_FILE_DATA) : NULL;
	gpa_t clock, events;
	char name[16];
	if (c->data[0] && (!file || !file->size))
		return D0_ENOENT;
	const struct {
		u32 type;
		u64 size;
		hpa_t frames;
		const char *name;
		gpa_t *at;
	} part[] = {
	    {D0_REGION_HEAP, c->heap, HPA_NONE, "heap", NULL},
	    {D0_REGION_STATE, c->state, cell->state_frames, "state", NULL},
	    {D0_REGION_USER, c->user, HPA_NONE, "user", NULL},
	    {D0_REGION_INFO, cell->info_size, ptr_to_hpa(cell->info), "info", info},
	    {D0_REGION_INFO, PAGE_SIZE, clock_page, "clock", &clock},
	    {D0_REGION_EVENTS, PAGE_SIZE, ptr_to_hpa(cell->events), "events", &events},
	    /* A file of the archive lies page-aligned in memory that nobody else uses. */
	    {D0_REGION_RODATA, file ? file->size : 0,
	     file ? ptr_to_hpa(archive_data(file)) : HPA_NONE, c->data, NULL}};
	int err = add_image(cell);
	if (!err)
		err = add_tables(cell, root);
	for (u32 v = 0; v < c->vcpus && !err; v++) {
		n_snprintf(name, sizeof(name), "stack%u", v);
		err = add(cell, D0_REGION_STACK, c->stack, HPA_NONE, name, v ? NULL : stack);
	}
	for (u32 i = 0; i < ARRAY_SIZE(part) && !err; i++)
		err = add(cell, part[i].type, part[i].size, part[i].frames, part[i].name,
			  part[i].at);
	if (!err)
		err = channel_map_all(cell);
	for (u32 d = 0; d < cell->devices && !err; d++)
		err = cell_grant(cell, d);
	if (err)
		return err;
	memset(cell->events, 0, PAGE_SIZE);
	cell->info->clock = clock.v;
	fill_info(cell, events);
	return D0_OK;
}

/* Everything a start took, also after half of one. */
static void tear_down(struct cell *cell)
{
	cell_revoke_all(cell);
	for (u32 i = D0_REGIONS_MAX; i-- > 0;)
		if (cell->region[i].type)
			region_remove(cell, i);
	cell->regions = 0;
	if (cell->domain)
		iommu_domain_destroy(cell->domain);
	cell->domain = NULL;
	space_destroy(&cell->space);
	cell->window = cell->small_window = 0;
	cell->tlb_generation++;
	for (u32 i = 0; i < cell->config.channels; i++)
		cell->channel_table[i].ring_base = 0;
}

/* Peers learn that this end is there, or is not. */
static void tell_peers(struct cell *cell, bool up)
{
	for (u32 i = 0; i < cell->config.channels; i++) {
		struct channel *ch = cell->slot[i].channel;
		if (!ch)
			continue;
		struct channel_end *peer = &ch->end[!cell->slot[i].side];
		if (!peer->cell)
			continue;
		struct d0_channel *entry = &peer->cell->channel_table[peer->number];
		entry->state = up ? D0_CHANNEL_OPEN : D0_CHANNEL_CLOSED;
		entry->generation += up;
		cell_config_changed(peer->cell);
	}
}

int cell_start(struct cell *cell)
{
	gpa_t info = {0}, root = {0}, stack = {0};
	if (cell_has_space(cell))
		return D0_ESTATE;
	if (!space_init(&cell->space, vcpu_ops->format))
		return D0_ENOMEM;
	if (cell->devices)
		cell->domain = iommu_domain_create(cell, cell->number);
	cell->stat.starts++;
	cell->restart_at = 0;
	int err = build(cell, &info, &root, &stack);
	if (err) {
		tear_down(cell);
		cell->state = D0_CELL_FAILED;
		n_snprintf(cell->stat.reason, sizeof(cell->stat.reason),
			   "start failed, error %d", -err);
		journal(D0_EVENT_cell_failed, cell->number, (u64)-err,
			"%s: start failed (error %d)", cell->config.name, -err);
		return err;
	}
	cell->state = D0_CELL_RUNNING;
	cell->stat.exit_code = 0;
	cell->stat.reason[0] = 0;
	cell->started_ns = clock_ns();
	cell_publish_regions(cell);
	vcpu_reset(&cell->vcpu[0],
		   cell->image_base.v + cell->image->file->image.entry + cell->va_offset,
		   stack.v + cell->config.stack + cell->va_offset, root,
		   info.v + cell->va_offset, 0);
	cell->tables_root = root;
	verify_join(cell);
	tell_peers(cell, true);
	sched_ready(&cell->vcpu[0]);
	if (cell->stat.starts == 1)
		journal(D0_EVENT_cell_started, cell->number, 0, "%s (cell %u, %lu KiB)",
			cell->config.name, cell->number, cell->memory_frames * 4);
	cells_tell(D0_CAP_INSPECT | D0_CAP_CONTROL, D0_EV_CELLS);
	return D0_OK;
}

void cell_end(struct cell *cell, u32 state, s64 code, const char *reason)
{
	if (!cell_has_space(cell))
		return;
	for (u32 i = 0; i < cell->config.vcpus; i++)
		sched_remove(&cell->vcpu[i]);
	cell_quiesce(cell);
	for (u32 i = 0; i < cell->config.vcpus; i++)
		cell->vcpu[i].state = VCPU_OFF;
	verify_leave(cell);
	cell->state = state;
	cell->stat.exit_code = code;
	if (reason != cell->stat.reason)
		n_snprintf(cell->stat.reason, sizeof(cell->stat.reason), "%s", reason);
	tear_down(cell);
	tell_peers(cell, false);
	cells_tell(D0_CAP_INSPECT | D0_CAP_CONTROL, D0_EV_CELLS);
}

static void plan_restart(struct cell *cell, bool failed)
{
	u32 policy = cell->config.restart;
	if (policy == D0_RESTART_NEVER || (policy == D0_RESTART_ON_FAILURE && !failed))
		return;
	u64 now = clock_ns();
	cell->failures = now - cell->started_ns > HEALTHY_AFTER ? 0 : cell->failures;
	u64 delay = cell->failures ? BACKOFF_FIRST << MIN(cell->failures, 10u) : 0;
	cell->failures++;
	cell->restart_at = now + MIN(delay, BACKOFF_MAX);
	sched_timer_changed(NULL);
}

void cell_fail(struct cell *cell, struct vcpu *v, const char *rule, u64 address,
	       const char *detail)
{
	char code[40] = ""; /* unless it was not by an instruction: a device, a request */
	if (v)
		n_snprintf(code, sizeof(code), ", code image+0x%lx",
			   v->rip - cell->va_offset - cell->image_base.v);
	n_snprintf(cell->stat.reason, sizeof(cell->stat.reason), "%s at 0x%lx (%s)", rule,
		   address, detail);
	journal(D0_EVENT_cell_failed, cell->number, address, "cell %s failed: %s%s",
		cell->config.name, cell->stat.reason, code);
	cell_end(cell, D0_CELL_FAILED, -1, cell->stat.reason);
	plan_restart(cell, true);
}

void cell_exited(struct cell *cell, s64 code, const char *reason)
{
	journal(D0_EVENT_cell_ended, cell->number, (u64)code, "cell %s ended: code %ld %s",
		cell->config.name, code, reason);
	cell_end(cell, D0_CELL_ENDED, code, reason);
	plan_restart(cell, code != 0);
}

static int start_again(struct cell *cell)
{
	int err = cell_start(cell);
	if (!err)
		journal(D0_EVENT_cell_restarted, cell->number, cell->stat.starts,
			"%s (start %lu)", cell->config.name, cell->stat.starts);
	return err;
}

int cell_restart(struct cell *cell)
{
	cell_end(cell, D0_CELL_STOPPED, 0, "restarted");
	return start_again(cell);
}

int cell_set_paused(struct cell *cell, bool paused)
{
	if (cell->state != (paused ? D0_CELL_RUNNING : D0_CELL_PAUSED))
		return D0_ESTATE;
	for (u32 i = 0; i < cell->config.vcpus; i++) {
		struct vcpu *v = &cell->vcpu[i];
		if (paused && v->state != VCPU_OFF) {
			v->wanted = v->state == VCPU_BLOCKED ? VCPU_BLOCKED : VCPU_READY;
			sched_remove(v);
			v->state = VCPU_HELD;
		} else if (!paused && v->state == VCPU_HELD) {
			v->state = VCPU_BLOCKED;
			if (v->wanted == VCPU_READY || vcpu_events_pending(v))
				sched_ready(v);
			else
				sched_timer_changed(v);
		}
	}
	if (paused)
		cell_quiesce(cell);
	cell->state = paused ? D0_CELL_PAUSED : D0_CELL_RUNNING;
	cells_tell(D0_CAP_INSPECT | D0_CAP_CONTROL, D0_EV_CELLS);
	return D0_OK;
}

u64 lifecycle_tick(u64 now)
{
	u64 next = D0_NEVER;
	for (u32 i = 0; i < cell_slots(); i++) {
		struct cell *cell = cell_by_number(i);
		if (!cell || !cell->restart_at)
			continue;
		if (cell->restart_at <= now) {
			cell->restart_at = 0;
			if (start_again(cell))
				plan_restart(cell, true);
		}
		if (cell->restart_at)
			next = MIN(next, cell->restart_at);
	}
	return next;
}

void cells_tell(u32 caps, u64 flags)
{
	for (u32 i = 0; i < cell_slots(); i++) {
		struct cell *cell = cell_by_number(i);
		if (cell && (cell->config.caps & caps))
			cell_raise_flags(cell, 0, flags);
	}
}
