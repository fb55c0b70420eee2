/* SPDX-License-Identifier: ISC */
/*
 * Channels and events.
 *
 * A channel has two ends, each a slot in its cell's channel table, and perhaps a ring:
 * frames that belong to the channel and are mapped in both cells, so a ring's contents outlive
 * a restart of either. A page of a ring gets its frame when one of the ends touches it, and
 * both ends see it from then on. If one of them owns a device, which may be told to use the
 * ring, all frames are there from the start, in one piece.
 *
 * Interrupts of granted devices are slots too. An event is a bit in the
 * page the nucleus shares with the cell; setting it wakes the vCPU that takes it.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"

#define RING_MAX (8 * MiB)

static u64 channel_frames(u64 pages)
{
	return PAGES(sizeof(struct channel) + pages * sizeof(hpa_t));
}

/* `whole`: with all frames of its ring, in one piece. */
static struct channel *channel_alloc(u64 pages, bool whole)
{
	hpa_t at = frames_alloc_run(channel_frames(pages));
	hpa_t run = whole && hpa_valid(at) ? frames_alloc_run(pages) : HPA_NONE;
	if (whole && hpa_valid(at) && !hpa_valid(run))
		frames_free_run(at, channel_frames(pages));
	if (!hpa_valid(at) || (whole && !hpa_valid(run)))
		return NULL;
	struct channel *ch = hpa_to_ptr(at);
	ch->whole = whole;
	ch->ring_size = pages << PAGE_SHIFT;
	for (u64 i = 0; i < pages; i++)
		ch->frame[i] = whole ? HPA(run.v + (i << PAGE_SHIFT)) : HPA_NONE;
	return ch;
}

static int free_slots(const struct cell *cell, u32 count)
{
	u32 run = 0;
	for (u32 i = 0; i < cell->config.channels; i++) {
		run = cell->slot[i].channel || cell->slot[i].device ? 0 : run + 1;
		if (run == count)
			return (int)(i + 1 - count);
	}
	return D0_ELIMIT;
}

void cell_config_changed(struct cell *cell)
{
	__atomic_store_n(&cell->info->config_seq, cell->info->config_seq + 1, __ATOMIC_RELEASE);
	cell_raise_flags(cell, 0, D0_EV_CONFIG);
}

bool cell_has_space(const struct cell *cell)
{
	return cell->state == D0_CELL_RUNNING || cell->state == D0_CELL_PAUSED;
}

/* Map one page of a ring that lies at `base` in the cell, with a new frame if it has none. */
static int map_page(struct cell *cell, struct channel *ch, u64 base, u64 page)
{
	hpa_t *f = &ch->frame[page];
	if (!hpa_valid(*f))
		*f = frame_alloc();
	return hpa_valid(*f) ? space_map(&cell->space, base + (page << PAGE_SHIFT), *f,
					 PAGE_SIZE, MAP_R | MAP_W, false)
			     : D0_ENOMEM;
}

/* Map the ring of one slot into the cell's present space. */
static int map_ring(struct cell *cell, u32 number)
{
	struct channel *ch = cell->slot[number].channel;
	struct d0_channel *entry = &cell->channel_table[number];
	gpa_t at;
	int err = D0_OK;
	if (!ch->ring_size)
		return D0_OK;
	if (!region_place(cell, ch->ring_size, &at))
		return D0_ENOMEM;
	for (u64 i = 0; i < PAGES(ch->ring_size) && !err; i++)
		if (cell->devices || hpa_valid(ch->frame[i]))
			err = map_page(cell, ch, at.v, i);
	if (err) {
		space_unmap(&cell->space, at.v, ch->ring_size);
		return err;
	}
	entry->ring_base = at.v;
	entry->ring_size = ch->ring_size;
	entry->ring_dma = region_dma_open(cell, D0_REGION_RING, at, ch->ring_size,
					  ch->whole ? ch->frame[0] : HPA_NONE);
	return D0_OK;
}

int channel_fill(struct cell *cell, gpa_t at)
{
	for (u32 n = 0; n < cell->config.channels; n++) {
		const struct d0_channel *e = &cell->channel_table[n];
		struct channel *ch = cell->slot[n].channel;
		u64 offset = at.v - e->ring_base;
		if (!ch || !e->ring_base || offset >= e->ring_size)
			continue;
		int err = map_page(cell, ch, e->ring_base, offset >> PAGE_SHIFT);
		const struct channel_end *peer = &ch->end[!cell->slot[n].side];
		u64 there = peer->cell && cell_has_space(peer->cell)
				? peer->cell->channel_table[peer->number].ring_base
				: 0;
		if (!err && there) /* if it fails, the peer has an exit of its own later */
			map_page(peer->cell, ch, there, offset >> PAGE_SHIFT);
		return err;
	}
	return D0_EFAULT;
}

static void unmap_ring(struct cell *cell, u32 number)
{
	struct d0_channel *entry = &cell->channel_table[number];
	if (!entry->ring_base || !cell_has_space(cell))
		return;
	cell_quiesce(cell);
	if (cell->domain && entry->ring_dma != D0_NEVER)
		iommu_unmap(cell->domain, GPA(entry->ring_base), entry->ring_size);
	space_unmap(&cell->space, entry->ring_base, entry->ring_size);
	entry->ring_base = 0;
}

static void fill_entry(struct channel *ch, u32 side, const char *label, const char *args)
{
	struct cell *cell = ch->end[side].cell, *peer = ch->end[!side].cell;
	u32 number = ch->end[side].number;
	struct d0_channel *e = &cell->channel_table[number];
	u32 generation = e->generation + 1;
	cell->slot[number] = (struct channel_slot){.channel = ch, .side = side};
	*e = (struct d0_channel){.state =
				     cell_has_space(peer) ? D0_CHANNEL_OPEN : D0_CHANNEL_CLOSED,
				 .protocol = ch->protocol,
				 .role = side ? D0_ROLE_CLIENT : D0_ROLE_SERVER,
				 .peer_cell = peer->number,
				 .generation = generation};
	n_snprintf(e->label, sizeof(e->label), "%s", label);
	n_snprintf(e->args, sizeof(e->args), "%s", args);
	cell->stat.channels_open++;
}

static void release(struct channel *ch)
{
	if (ch->end[0].cell || ch->end[1].cell)
		return;
	u64 pages = PAGES(ch->ring_size);
	for (u64 i = 0; i < pages; i++)
		if (hpa_valid(ch->frame[i]))
			frame_free(ch->frame[i]);
	frames_free_run(ptr_to_hpa(ch), channel_frames(pages));
}

int channel_create(struct cell *server, struct cell *client, struct d0_ctl_channel_create *r)
{
	int a = free_slots(server, 1), b = free_slots(client, 1);
	if (server == client || r->ring > RING_MAX)
		return D0_EINVAL;
	if (a < 0 || b < 0)
		return D0_ELIMIT;
	u64 pages = PAGES(r->ring);
	struct channel *ch =
	    channel_alloc(pages, pages && (server->devices || client->devices));
	if (!ch)
		return D0_ENOMEM;
	ch->protocol = r->protocol;
	ch->end[0] = (struct channel_end){server, (u32)a};
	ch->end[1] = (struct channel_end){client, (u32)b};
	fill_entry(ch, 0, r->label, r->server_args);
	fill_entry(ch, 1, r->label, r->client_args);
	int err = cell_has_space(server) ? map_ring(server, (u32)a) : D0_OK;
	if (!err && cell_has_space(client))
		err = map_ring(client, (u32)b);
	if (err) {
		channel_close(server, (u32)a);
		channel_close(client, (u32)b);
		return err;
	}
	r->server_channel = (u32)a;
	r->client_channel = (u32)b;
	cell_config_changed(server);
	cell_config_changed(client);
	return D0_OK;
}

void channel_close(struct cell *cell, u32 number)
{
	struct channel_slot *slot = &cell->slot[number];
	struct channel *ch = slot->channel;
	if (!ch)
		return;
	unmap_ring(cell, number);
	struct d0_channel *e = &cell->channel_table[number];
	*e = (struct d0_channel){.generation = e->generation};
	cell->stat.channels_open--;
	struct channel_end *peer = &ch->end[!slot->side];
	ch->end[slot->side].cell = NULL;
	*slot = (struct channel_slot){0};
	cell_config_changed(cell);
	if (peer->cell) {
		peer->cell->channel_table[peer->number].state = D0_CHANNEL_CLOSED;
		cell_config_changed(peer->cell);
	}
	release(ch);
}

int channel_map_all(struct cell *cell)
{
	for (u32 i = 0; i < cell->config.channels; i++) {
		struct channel *ch = cell->slot[i].channel;
		if (!ch)
			continue;
		int err = map_ring(cell, i);
		if (err)
			return err;
		struct cell *peer = ch->end[!cell->slot[i].side].cell;
		cell->channel_table[i].state =
		    peer && cell_has_space(peer) ? D0_CHANNEL_OPEN : D0_CHANNEL_CLOSED;
	}
	return D0_OK;
}

int channel_notify(struct cell *cell, u32 number)
{
	if (number >= cell->config.channels || !cell->slot[number].channel)
		return D0_ENOENT;
	const struct channel_slot *slot = &cell->slot[number];
	const struct channel_end *peer = &slot->channel->end[!slot->side];
	if (!peer->cell || !cell_has_space(peer->cell))
		return D0_ESTATE;
	cell_raise(peer->cell, peer->number);
	return D0_OK;
}

static void wake(struct vcpu *v)
{
	if (v->state == VCPU_BLOCKED) {
		sched_ready(v);
	} else if (v->state == VCPU_HELD) {
		v->wanted = VCPU_READY;
	} else if (v->state == VCPU_RUNNING && v->upcall && v->holder != cpu_self()) {
		sched_kick(v->holder);
	}
}

void cell_raise(struct cell *cell, u32 number)
{
	u32 vcpu = cell->channel_table[number].vcpu;
	if (!cell_has_space(cell) || vcpu >= cell->config.vcpus)
		return;
	struct d0_events *e = &cell->events[vcpu];
	__atomic_fetch_or(&e->channel[number / 64], 1ull << (number % 64), __ATOMIC_RELEASE);
	__atomic_fetch_or(&e->words, 1ull << (number / 64), __ATOMIC_RELEASE);
	wake(&cell->vcpu[vcpu]);
}

void cell_raise_flags(struct cell *cell, u32 vcpu, u64 flags)
{
	if (!cell_has_space(cell))
		return;
	__atomic_fetch_or(&cell->events[vcpu].flags, flags, __ATOMIC_RELEASE);
	wake(&cell->vcpu[vcpu]);
}

bool vcpu_events_pending(struct vcpu *v)
{
	const struct d0_events *e = &v->cell->events[v->index];
	return __atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) |
	       __atomic_load_n(&e->words, __ATOMIC_ACQUIRE);
}

/* ---- devices ---- */

int cell_device_map(struct cell *cell, hpa_t base, u64 size, u32 perms, u64 ro_offset,
		    u64 ro_size, const char *name, u64 *gpa_out)
{
	gpa_t at;
	/* A copy of its configuration space is RAM, and given read-only. */
	if ((perms & MAP_W) && frames_touch(base, size))
		return D0_EPERM;
	if (!region_place(cell, size, &at))
		return D0_ENOMEM;
	int slot = region_add_device(cell, at, size, base, perms, ro_offset, ro_size, name);
	if (slot < 0)
		return slot;
	*gpa_out = at.v;
	return D0_OK;
}

void cell_device_unmap(struct cell *cell, u64 gpa, u64 size)
{
	int i = region_find(cell, GPA(gpa), size);
	if (i >= 0)
		region_remove(cell, (u32)i);
}

int cell_irqs_take(struct cell *cell, u32 device, u32 count)
{
	int first = free_slots(cell, count);
	for (u32 i = 0; first >= 0 && i < count; i++) {
		struct d0_channel *e = &cell->channel_table[(u32)first + i];
		cell->slot[(u32)first + i] =
		    (struct channel_slot){.device = cell->device[device], .irq = i};
		*e = (struct d0_channel){.state = D0_CHANNEL_OPEN,
					 .protocol = D0_PROTO_IRQ,
					 .peer_cell = device,
					 .generation = e->generation + 1};
		n_snprintf(e->label, sizeof(e->label), "irq%u", i);
	}
	return first;
}

void cell_irqs_free(struct cell *cell, u32 first, u32 count)
{
	for (u32 i = first; i < first + count; i++) {
		cell->slot[i] = (struct channel_slot){0};
		cell->channel_table[i] =
		    (struct d0_channel){.generation = cell->channel_table[i].generation};
	}
}

void cell_dma_fault(struct cell *cell, u32 pci_address, u64 address, bool write, u32 reason)
{
	char text[64];
	if (!cell_has_space(cell))
		return;
	n_snprintf(text, sizeof(text), "%s by its device %02x:%02x.%x, reason 0x%x",
		   write ? "write" : "read", pci_address >> 8 & 0xff, pci_address >> 3 & 31,
		   pci_address & 7, reason);
	cell_fail(cell, NULL, "DMA outside", address, text);
}

int cell_grant(struct cell *cell, u32 i)
{
	struct device_owner owner = {cell, cell->number, cell->domain};
	return device_grant(cell->device[i], &owner, i, &cell->device_table[i]);
}

void cell_revoke_all(struct cell *cell)
{
	for (u32 i = 0; i < cell->devices; i++)
		if (cell->device[i]->owned && cell->device[i]->owner.cell == cell)
			device_revoke(cell->device[i]);
}

int cell_add_device(struct cell *cell, struct device *dev)
{
	if (cell_has_space(cell))
		return D0_ESTATE;
	if (cell->devices == D0_DEVICES_MAX)
		return D0_ELIMIT;
	for (u32 i = 0; i < cell->devices; i++)
		if (cell->device[i] == dev)
			return D0_EEXIST;
	cell->device[cell->devices++] = dev;
	return D0_OK;
}
