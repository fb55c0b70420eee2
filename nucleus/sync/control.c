/* SPDX-License-Identifier: ISC */
/*
 * The control protocol: include/d0/control.h. A request is copied in once, checked, acted on,
 * copied back. The buffer is one for all: the nucleus lock guards it.
 */
#include <string.h>
#include "nucleus/core/print.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"
#include "nucleus/vm_hypervisor/vcpu.h"

extern char image_start[], image_end[];

static union {
	struct d0_ctl h;
	struct d0_ctl_cell_create create;
	struct d0_ctl_cell_op op;
	struct d0_ctl_channel_create channel;
	struct d0_ctl_channel_destroy channel_destroy;
	struct d0_ctl_device_grant grant;
	struct d0_ctl_cell_status status;
	struct d0_ctl_cell_regions regions;
	struct d0_ctl_cell_counters counters;
	struct d0_ctl_system_status system;
	struct d0_ctl_events_read events;
	struct d0_ctl_device_list devices;
	struct d0_ctl_poweroff power;
} request;

static int target(struct cell **out)
{
	*out = cell_by_number(request.h.cell);
	return *out ? D0_OK : D0_ENOENT;
}

static bool text_ok(const char *text, size_t size)
{
	return strnlen(text, size) < size;
}

static int ctl_cell_create(struct cell *caller)
{
	struct d0_ctl_cell_create *r = &request.create;
	struct cell_config c = {.heap = r->heap,
				.stack = r->stack,
				.state = r->state,
				.user = r->user,
				.vcpus = r->vcpus,
				.channels = r->channels,
				.priority = r->priority,
				.budget_us = r->budget_us,
				.restart = r->restart,
				.caps = r->caps};
	int err;
	if (!text_ok(r->name, sizeof(r->name)) || !text_ok(r->image, sizeof(r->image)) ||
	    !text_ok(r->args, sizeof(r->args)))
		return D0_EINVAL;
	if (r->caps & ~caller->config.caps || r->caps & D0_CAP_CONTROL)
		return D0_EPERM;
	memcpy(c.name, r->name, sizeof(c.name));
	memcpy(c.image, r->image, sizeof(c.image));
	memcpy(c.args, r->args, sizeof(c.args));
	struct cell *cell = cell_new(&c, &err);
	if (cell)
		r->h.cell = cell->number;
	return err;
}

static int ctl_cell_start(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	return err ? err : cell_start(cell);
}

static int ctl_cell_stop(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	if (err)
		return err;
	if (cell->state != D0_CELL_RUNNING && cell->state != D0_CELL_PAUSED) {
		cell->restart_at = 0;
		return D0_ESTATE;
	}
	if (!(request.op.flags & 1)) {
		cell_raise_flags(cell, 0, D0_EV_STOP);
		return D0_OK;
	}
	if (cell == caller)
		return D0_EINVAL;
	cell->restart_at = 0;
	cell_end(cell, D0_CELL_STOPPED, 0, "stopped by request");
	journal(D0_EVENT_cell_ended, cell->number, 0, "%s stopped by request",
		cell->config.name);
	return D0_OK;
}

static int ctl_cell_restart(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	if (err)
		return err;
	return cell == caller ? D0_EINVAL : cell_restart(cell);
}

static int ctl_cell_destroy(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	if (err)
		return err;
	return cell == caller ? D0_EINVAL : cell_destroy(cell);
}

static int ctl_cell_pause(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	if (err)
		return err;
	return cell == caller ? D0_EINVAL : cell_set_paused(cell, request.op.flags & 1);
}

static int ctl_channel_create(struct cell *caller)
{
	struct d0_ctl_channel_create *r = &request.channel;
	struct cell *server = cell_by_number(r->h.cell), *client = cell_by_number(r->client);
	if (!server || !client)
		return D0_ENOENT;
	if (!text_ok(r->label, sizeof(r->label)) ||
	    !text_ok(r->server_args, sizeof(r->server_args)) ||
	    !text_ok(r->client_args, sizeof(r->client_args)) || r->protocol == D0_PROTO_IRQ ||
	    r->protocol > D0_PROTO_IRQ)
		return D0_EINVAL;
	return channel_create(server, client, r->protocol, r->ring, r->label, r->server_args,
			      r->client_args, &r->server_channel, &r->client_channel);
}

static int ctl_channel_destroy(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	u32 n = request.channel_destroy.channel;
	if (err)
		return err;
	if (n >= cell->config.channels || !cell->slot[n].channel)
		return D0_ENOENT;
	struct channel *ch = cell->slot[n].channel;
	const struct channel_end peer = ch->end[!cell->slot[n].side];
	channel_close(cell, n);
	if (peer.cell)
		channel_close(peer.cell, peer.number);
	return D0_OK;
}

static int ctl_device_grant(struct cell *caller)
{
	struct cell *cell;
	int err = target(&cell);
	struct device *dev = device_by_address(request.grant.address);
	if (err)
		return err;
	return dev ? cell_add_device(cell, dev) : D0_ENOENT;
}

static int ctl_cell_status(struct cell *caller)
{
	struct cell *c;
	int err = target(&c);
	struct d0_ctl_cell_status *r = &request.status;
	if (err)
		return err;
	memcpy(r->name, c->config.name, sizeof(r->name));
	memcpy(r->image, c->config.image, sizeof(r->image));
	memcpy(r->reason, c->reason, sizeof(r->reason));
	r->state = c->state;
	r->vcpus = c->config.vcpus;
	r->exit_code = c->exit_code;
	r->starts = c->starts;
	r->cpu_ns = c->cpu_ns_before;
	for (u32 i = 0; i < c->config.vcpus; i++)
		r->cpu_ns += c->vcpu[i].cpu_ns;
	r->page_tables = c->space.table_frames * PAGE_SIZE;
	r->memory = (c->memory_frames + c->frames + PAGES(c->info_size) + 1 +
		     PAGES(c->config.state) + 2 * c->config.vcpus) *
		    PAGE_SIZE;
	r->exits = c->exits;
	r->hypercalls = c->hypercalls;
	r->faults = c->faults;
	r->interrupts = c->interrupts;
	r->pages_checked = c->duty.checked;
	r->pages_bad = c->duty.bad;
	r->channels_open = c->channels_open;
	r->successor = c->duty.next ? c->duty.next->number : ~0u;
	return D0_OK;
}

static int ctl_cell_regions(struct cell *caller)
{
	struct cell *c;
	int err = target(&c);
	if (err)
		return err;
	request.regions.count = c->regions;
	memset(request.regions.region, 0, sizeof(request.regions.region));
	for (u32 i = 0; i < c->regions; i++) {
		struct d0_region *r = &request.regions.region[i];
		*r = (struct d0_region){.base = c->region[i].base.v,
					.size = c->region[i].size,
					.type = c->region[i].type,
					.perms = c->region[i].perms,
					.dma_base = D0_NEVER};
		memcpy(r->name, c->region[i].name, sizeof(r->name));
	}
	return D0_OK;
}

static int ctl_cell_counters(struct cell *caller)
{
	struct cell *c;
	int err = target(&c);
	if (err)
		return err;
	struct d0_counters *out = &request.counters.counters;
	memcpy(out, c->counters, sizeof(*out));
	out->count = MIN(out->count, (u32)D0_COUNTERS_MAX);
	for (u32 i = 0; i < D0_COUNTERS_MAX; i++)
		out->counter[i].name[sizeof(out->counter[i].name) - 1] = 0;
	return D0_OK;
}

static int ctl_system_status(struct cell *caller)
{
	struct d0_ctl_system_status *r = &request.system;
	struct frames_stats m = frames_stats();
	struct d0_ctl h = r->h;
	*r = (struct d0_ctl_system_status){.h = h,
					   .uptime_ns = clock_ns(),
					   .cpus = cpu_count,
					   .cell_slots = cell_slots(),
					   .iommu = iommu_present(),
					   .mem_total = m.total * PAGE_SIZE,
					   .mem_free = m.free * PAGE_SIZE,
					   .mem_bad = m.bad * PAGE_SIZE,
					   .nucleus_bytes = (u64)(image_end - image_start),
					   .tlb_shootdowns = vcpu_shootdowns(),
					   .context_switches = sched_context_switches(),
					   .ready_ns = sync_ready_ns()};
	for (u32 i = 0; i < cell_slots(); i++)
		r->cells += cell_by_number(i) != NULL;
	for (u32 i = 0; i < cpu_count; i++) {
		r->external_interrupts += cpus[i].interrupts;
		if (i < 8)
			r->idle_ns[i] = cpus[i].idle_ns;
	}
	verify_status(r);
	return D0_OK;
}

static int ctl_events_read(struct cell *caller)
{
	struct d0_ctl_events_read *r = &request.events;
	r->count = journal_read(r->from, r->event, D0_CTL_EVENTS_MAX, &r->oldest);
	return D0_OK;
}

static int ctl_device_list(struct cell *caller)
{
	struct d0_ctl_device_list *r = &request.devices;
	r->total = device_count();
	r->count = 0;
	for (u32 i = r->first; i < r->total && r->count < ARRAY_SIZE(r->dev); i++) {
		const struct device_owner *owner = NULL;
		u32 n = r->count++;
		device_describe(device_by_index(i), &r->dev[n].address, &r->dev[n].class_rev,
				&r->dev[n].vendor, &r->dev[n].device, &owner);
		r->dev[n].cell = owner ? owner->number : ~0u;
	}
	return D0_OK;
}

static int ctl_poweroff(struct cell *caller)
{
	n_print("%s by cell %s", request.power.reboot ? "reboot" : "power off",
		caller->config.name);
	if (request.power.reboot)
		power_reboot();
	power_off(0);
}

static const struct {
	int (*act)(struct cell *caller);
	u32 size, cap;
} table[] = {
#define CTL(name, cap_) [D0_CTL_##name] = {ctl_##name, sizeof(struct d0_ctl_##name), cap_}
#define CTL_AS(name, type, cap_) \
	[D0_CTL_##name] = {ctl_##name, sizeof(struct d0_ctl_##type), cap_}
    CTL(cell_create, D0_CAP_CONTROL),
    CTL_AS(cell_start, cell_op, D0_CAP_CONTROL),
    CTL_AS(cell_stop, cell_op, D0_CAP_CONTROL),
    CTL_AS(cell_restart, cell_op, D0_CAP_CONTROL),
    CTL_AS(cell_destroy, cell_op, D0_CAP_CONTROL),
    CTL_AS(cell_pause, cell_op, D0_CAP_CONTROL),
    CTL(channel_create, D0_CAP_CONTROL),
    CTL(channel_destroy, D0_CAP_CONTROL),
    CTL(device_grant, D0_CAP_CONTROL),
    CTL(cell_status, D0_CAP_INSPECT),
    CTL(cell_regions, D0_CAP_INSPECT),
    CTL(cell_counters, D0_CAP_INSPECT),
    CTL(system_status, D0_CAP_INSPECT),
    CTL(events_read, D0_CAP_INSPECT),
    CTL(device_list, D0_CAP_INSPECT),
    CTL(poweroff, D0_CAP_POWER),
};

s64 control_request(struct cell *caller, gpa_t at, u64 size)
{
	if (size < sizeof(request.h) || size > sizeof(request))
		return D0_EINVAL;
	if (!guest_read(caller, at, &request, size))
		return D0_EFAULT;
	u32 op = request.h.op, caps = caller->config.caps;
	if (op >= ARRAY_SIZE(table) || !table[op].act)
		return D0_ENOSYS;
	if (size != table[op].size || request.h.size != size)
		return D0_EINVAL;
	if (caps & D0_CAP_CONTROL)
		caps |= D0_CAP_INSPECT;
	if (!(caps & table[op].cap)) {
		journal(D0_EVENT_control_refused, caller->number, op,
			"%s may not ask for request %u", caller->config.name, op);
		return D0_EPERM;
	}
	int status = table[op].act(caller);
	request.h.status = status;
	return guest_write(caller, at, &request, size) ? status : D0_EFAULT;
}
