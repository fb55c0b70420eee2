/* SPDX-License-Identifier: ISC */
/*
 * sync: the registry of cells.
 *
 * Problem: one place that knows every cell, so that control, verification and reports
 * speak of the same thing, and that gives everything back when a cell goes.
 *
 * Model: a table of pointers by number; a cell's structure, its slots and vCPUs lie in
 * one run of frames of its own, the pages shared with it (info, events) in another.
 * Created: memory for the structure. Started: a space, regions, running vCPUs. Ended: back to
 * "created". Destroyed: nothing left. Channels outlive restarts of either end.
 *
 * Invariants: numbers are reused only after destroy; a cell that is not running has no
 * mapped memory but its state region and the pages the nucleus writes; frames are counted, so
 * that a thousand cycles of create and destroy leave the allocator as it was (a test does
 * that).
 *
 * Locking: the nucleus lock for everything here.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sync/sync.h"

hpa_t clock_page;
static struct cell *table[CELLS_MAX];
static u32 slots;
static u32 doomed; /* cells in state FREE that still have their memory */

struct cell *cell_by_number(u32 number)
{
	struct cell *cell = number < slots ? table[number] : NULL;
	return cell && cell->state != D0_CELL_FREE ? cell : NULL;
}

struct cell *cell_by_name(const char *name)
{
	for (u32 i = 0; i < slots; i++)
		if (table[i] && table[i]->state != D0_CELL_FREE &&
		    !strcmp(table[i]->config.name, name))
			return table[i];
	return NULL;
}

u32 cell_slots(void)
{
	return slots;
}

static bool name_good(const char *name)
{
	size_t n = strnlen(name, D0_NAME_MAX);
	if (!n || n == D0_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((name[i] | 32) >= 'a' && (name[i] | 32) <= 'z') && name[i] != '_' &&
		    !(name[i] >= '0' && name[i] <= '9') && name[i] != '-' && name[i] != '.')
			return false;
	return true;
}

static int check_config(const struct d0_ctl_cell_create *c)
{
	if (!name_good(c->name) || !name_good(c->image) ||
	    strnlen(c->args, sizeof(c->args)) == sizeof(c->args) ||
	    strnlen(c->data, sizeof(c->data)) == sizeof(c->data))
		return D0_EINVAL;
	if (!c->vcpus || c->vcpus > D0_VCPUS_MAX || !c->channels ||
	    c->channels > D0_CHANNELS_MAX || c->priority > 7 ||
	    c->restart > D0_RESTART_ALWAYS || c->budget_us > D0_CTL_PERIOD_US ||
	    c->slice_us > D0_CTL_PERIOD_US)
		return D0_EINVAL;
	if (c->heap > 4 * GiB || c->state > GiB || c->user > 64 * GiB || c->stack > 16 * MiB ||
	    c->stack < PAGE_SIZE)
		return D0_EINVAL;
	for (u32 i = 0; i < slots && (c->caps & D0_CAP_CONTROL); i++)
		if (table[i] && (table[i]->config.caps & D0_CAP_CONTROL))
			return D0_EPERM; /* the control channel belongs to one cell */
	return cell_by_name(c->name) ? D0_EEXIST : D0_OK;
}

static u32 free_number(void)
{
	for (u32 i = 0; i < slots; i++)
		if (!table[i])
			return i;
	return slots < CELLS_MAX ? slots : CELLS_MAX;
}

static void lay_out_info(struct cell *cell)
{
	struct d0_info *i = cell->info;
	i->magic = D0_ABI_MAGIC;
	i->version = D0_ABI_VERSION;
	i->cell = cell->number;
	i->caps = cell->config.caps;
	i->vcpus = cell->config.vcpus;
	i->region_off = 2048;
	i->device_off = i->region_off + sizeof(struct d0_region) * D0_REGIONS_MAX;
	i->channel_off = i->device_off + sizeof(struct d0_device) * D0_DEVICES_MAX;
	i->channels = cell->config.channels;
	memcpy(i->name, cell->config.name, sizeof(i->name));
	memcpy(i->image, cell->config.image, sizeof(i->image));
	memcpy(i->args, cell->config.args, sizeof(i->args));
	cell->channel_table = (void *)((u8 *)i + i->channel_off);
	cell->device_table = (void *)((u8 *)i + i->device_off);
}

static void free_memory(struct cell *cell)
{
	for (u32 i = 0; i < cell->config.vcpus; i++)
		vcpu_destroy(&cell->vcpu[i]);
	if (cell->ports)
		frames_free_run(ptr_to_hpa(cell->ports), PORTS_PAGES);
	if (cell->state_frames.v)
		frames_free_run(cell->state_frames, PAGES(cell->config.state));
	if (cell->events)
		frame_free(ptr_to_hpa(cell->events));
	if (cell->info)
		frames_free_run(ptr_to_hpa(cell->info), PAGES(cell->info_size));
	frames_free_run(ptr_to_hpa(cell), cell->frames);
}

static bool take_memory(struct cell *cell)
{
	/* The pages the nucleus fills: header and tables of the info region. */
	cell->info_size = 2048 + sizeof(struct d0_region) * D0_REGIONS_MAX +
			  sizeof(struct d0_device) * D0_DEVICES_MAX +
			  sizeof(struct d0_channel) * cell->config.channels;
	hpa_t info = frames_alloc_run(PAGES(cell->info_size));
	if (hpa_valid(info))
		cell->info = hpa_to_ptr(info);
	hpa_t events = frame_alloc();
	if (hpa_valid(events))
		cell->events = hpa_to_ptr(events);
	if (!cell->info || !cell->events)
		return false;
	cell->counters = (void *)(cell->events + D0_VCPUS_MAX);
	if (cell->config.state) {
		hpa_t state = frames_alloc_run(PAGES(cell->config.state));
		if (!hpa_valid(state))
			return false;
		cell->state_frames = state;
	}
	lay_out_info(cell);
	for (u32 i = 0; i < cell->config.vcpus; i++)
		if (!vcpu_create(&cell->vcpu[i], cell, i))
			return false;
	return true;
}

static struct cell *allocate(const struct d0_ctl_cell_create *config, u32 number,
			     const struct image *image)
{
	u64 vcpus = ALIGN_UP(sizeof(struct cell), 64);
	u64 channel_slots = vcpus + config->vcpus * sizeof(struct vcpu);
	u64 size = channel_slots + config->channels * sizeof(struct channel_slot);
	hpa_t run = frames_alloc_run(PAGES(size));
	if (!hpa_valid(run))
		return NULL;
	struct cell *cell = hpa_to_ptr(run);
	cell->frames = (u32)PAGES(size);
	cell->high = image->high; /* before its vCPUs, which are of one kind or the other */
	cell->number = number;
	cell->config = *config;
	cell->config.heap = ALIGN_UP(config->heap, PAGE_SIZE);
	cell->config.stack = ALIGN_UP(config->stack, PAGE_SIZE);
	cell->config.state = ALIGN_UP(config->state, PAGE_SIZE);
	cell->config.user = ALIGN_UP(config->user, PAGE_SIZE);
	cell->vcpu = (void *)((u8 *)cell + vcpus);
	cell->slot = (void *)((u8 *)cell + channel_slots);
	cell->state = D0_CELL_STOPPED;
	if (take_memory(cell))
		return cell;
	free_memory(cell);
	return NULL;
}

struct cell *cell_new(const struct d0_ctl_cell_create *config, int *err)
{
	const char *why = NULL;
	*err = check_config(config);
	if (*err)
		return NULL;
	u32 number = free_number();
	*err = D0_ELIMIT;
	if (number == CELLS_MAX)
		return NULL;
	struct image *image = image_get(config->image, &why);
	if (!image) {
		n_print("cell %s: image %s: %s", config->name, config->image, why);
		*err = D0_EBADIMAGE;
		return NULL;
	}
	struct cell *cell = allocate(config, number, image);
	if (!cell) {
		image_put(image);
		*err = D0_ENOMEM;
		return NULL;
	}
	cell->image = image;
	cell->va_offset = image->high ? D0_HIGH_OFFSET : 0;
	table[number] = cell;
	slots = MAX(slots, number + 1);
	*err = D0_OK;
	journal(D0_EVENT_cell_created, number, 0, "%s from image %s", config->name,
		config->image);
	cells_tell(D0_CAP_INSPECT | D0_CAP_CONTROL, D0_EV_CELLS);
	return cell;
}

/* A CPU that has left the cell's guest but not yet come back for the lock still knows it. */
static bool known_to_a_cpu(const struct cell *cell)
{
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i].current && cpus[i].current->cell == cell)
			return true;
	return false;
}

static void destroy_now(struct cell *cell)
{
	struct image *image = (struct image *)cell->image;
	table[cell->number] = NULL;
	while (slots && !table[slots - 1])
		slots--;
	free_memory(cell);
	image_put(image);
}

void registry_tick(void)
{
	for (u32 i = 0; doomed && i < slots; i++)
		if (table[i] && table[i]->state == D0_CELL_FREE && !known_to_a_cpu(table[i])) {
			doomed--;
			destroy_now(table[i]);
		}
}

int cell_destroy(struct cell *cell)
{
	u32 number = cell->number;
	if (cell_has_space(cell))
		cell_end(cell, D0_CELL_STOPPED, 0, "destroyed");
	for (u32 i = 0; i < cell->config.channels; i++)
		if (cell->slot[i].channel)
			channel_close(cell, i);
	journal(D0_EVENT_cell_destroyed, number, 0, "%s", cell->config.name);
	if (known_to_a_cpu(cell)) {
		cell->state = D0_CELL_FREE;
		cell->config.name[0] = 0;
		cell->restart_at = 0;
		doomed++;
	} else {
		destroy_now(cell);
	}
	cells_tell(D0_CAP_INSPECT | D0_CAP_CONTROL, D0_EV_CELLS);
	return D0_OK;
}

void sync_init(void)
{
	clock_page = frame_alloc();
	n_assert(hpa_valid(clock_page));
	clock_fill(hpa_to_ptr(clock_page));
}
