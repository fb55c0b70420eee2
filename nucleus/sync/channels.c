/* SPDX-License-Identifier: ISC */
/*
 * Channels and events.
 *
 * A channel has two ends, each a slot in its cell's channel table, and perhaps a ring:
 * frames that belong to the channel and are mapped in both cells, so a ring's contents outlive
 * a restart of either. Interrupts of granted devices are slots too. An event is a bit in the
 * page the nucleus shares with the cell; setting it wakes the vCPU that takes it.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"

#define RING_MAX (8 * MiB)

/* Channel structures are small: a frame of them at a time, kept for reuse. */
static struct channel *free_channels;

static struct channel *channel_alloc(void)
{
	if (!free_channels) {
		hpa_t frame = frame_alloc();
		if (!hpa_valid(frame))
			return NULL;
		struct channel *c = hpa_to_ptr(frame);
		for (u32 i = 0; i < PAGE_SIZE / sizeof(*c); i++) {
			c[i].next = free_channels;
			free_channels = &c[i];
		}
	}
	struct channel *c = free_channels;
	free_channels = c->next;
	memset(c, 0, sizeof(*c));
	return c;
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

/* Map the ring of one slot into the cell's present space. */
static int map_ring(struct cell *cell, u32 number)
{
	struct channel *ch = cell->slot[number].channel;
	struct d0_channel *entry = &cell->channel_table[number];
	gpa_t at;
	if (!ch->ring_size)
		return D0_OK;
	if (!region_place(cell, ch->ring_size, &at))
		return D0_ENOMEM;
	int err = space_map(&cell->space, at.v, ch->ring, ch->ring_size, MAP_R | MAP_W, false);
	if (err)
		return err;
	entry->ring_base = at.v;
	entry->ring_size = ch->ring_size;
	entry->ring_dma = region_dma_open(cell, D0_REGION_RING, at, ch->ring_size, ch->ring);
	return D0_OK;
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
	if (ch->ring_size)
		frames_free_run(ch->ring, PAGES(ch->ring_size));
	ch->next = free_channels;
	free_channels = ch;
}

int channel_create(struct cell *server, struct cell *client, struct d0_ctl_channel_create *r)
{
	int a = free_slots(server, 1), b = free_slots(client, 1);
	if (server == client || r->ring > RING_MAX)
		return D0_EINVAL;
	if (a < 0 || b < 0)
		return D0_ELIMIT;
	struct channel *ch = channel_alloc();
	if (!ch)
		return D0_ENOMEM;
	ch->protocol = r->protocol;
	ch->ring_size = ALIGN_UP(r->ring, PAGE_SIZE);
	if (r->ring) {
		ch->ring = frames_alloc_run(PAGES(r->ring));
		if (!hpa_valid(ch->ring)) {
			ch->ring_size = 0;
			release(ch);
			return D0_ENOMEM;
		}
	}
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
	__atomic_fetch_or(&cell->events[vcpu].channel[number / 64], 1ull << (number % 64),
			  __ATOMIC_RELEASE);
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
	u64 any = __atomic_load_n(&e->flags, __ATOMIC_ACQUIRE);
	for (u32 i = 0; i < D0_CHANNELS_MAX / 64; i++)
		any |= __atomic_load_n(&e->channel[i], __ATOMIC_ACQUIRE);
	return any;
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
