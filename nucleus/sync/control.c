/* SPDX-License-Identifier: ISC */
/*
 * The control protocol: include/d0/control.h. A request is copied in once, checked, acted on,
 * copied back. The buffer is one for all: the nucleus lock guards it. The boot configuration is
 * a list of such requests, asked by nobody (`caller` NULL), who may do everything.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/core/print.h"
#include "nucleus/live0/live0.h"
#include "nucleus/sched/sched.h"
#include "nucleus/sync/sync.h"
#include "nucleus/verify/verify.h"
#include "nucleus/vm_hypervisor/vcpu.h"

extern char image_start[], image_end[];

u64 sync_ready_ns;
static union {
	struct d0_ctl h;
	u8 bytes[PAGE_SIZE]; /* larger requests are refused */
} request;

static bool text_ok(const char *text, size_t size)
{
	return strnlen(text, size) < size;
}

/*
 * "@WORD" in args of the boot configuration is replaced by WORD=VALUE of the kernel's command
 * line, or by nothing. The command line isn't signed: only what is asked for by name gets
 * through. false = too long.
 */
static bool add_boot_words(char *args, size_t size)
{
	static char from[1024];
	size_t n = 0, w;
	if (size > sizeof(from) || strnlen(args, size) == size)
		return false;
	memcpy(from, args, size);
	for (const char *p = from; *p && n < size; p += w) {
		bool word = *p == '@' && (p == from || p[-1] == ' ');
		for (w = 1; word && p[w] && p[w] != ' '; w++)
			;
		if (word)
			n += cmdline_copy(p + 1, w - 1, args + n, size - n);
		else
			args[n++] = *p;
	}
	if (n < size)
		args[n] = 0;
	return n < size;
}

static int ctl_cell_create(struct cell *caller, struct cell *none, void *arg)
{
	struct d0_ctl_cell_create *r = arg;
	int err;
	if (caller && (r->caps & ~caller->config.caps || r->caps & D0_CAP_CONTROL))
		return D0_EPERM;
	if (!caller && !add_boot_words(r->args, sizeof(r->args)))
		return D0_EINVAL;
	struct cell *cell = cell_new(r, &err);
	if (cell)
		r->h.cell = cell->number;
	return err;
}

static int ctl_cell_start(struct cell *caller, struct cell *cell, void *arg)
{
	return cell_start(cell);
}

static int ctl_cell_stop(struct cell *caller, struct cell *cell, void *arg)
{
	const struct d0_ctl_cell_op *r = arg;
	bool alive = cell_has_space(cell);
	if (alive && !(r->flags & 1)) {
		cell_raise_flags(cell, 0, D0_EV_STOP);
		return D0_OK;
	}
	if (cell == caller)
		return D0_EINVAL;
	cell->restart_at = 0;
	if (!alive)
		return D0_ESTATE;
	cell_end(cell, D0_CELL_STOPPED, 0, "stopped by request");
	journal(D0_EVENT_cell_ended, cell->number, 0, "%s stopped by request",
		cell->config.name);
	return D0_OK;
}

static int ctl_cell_restart(struct cell *caller, struct cell *cell, void *arg)
{
	return cell == caller ? D0_EINVAL : cell_restart(cell);
}

static int ctl_cell_destroy(struct cell *caller, struct cell *cell, void *arg)
{
	return cell == caller ? D0_EINVAL : cell_destroy(cell);
}

static int ctl_cell_pause(struct cell *caller, struct cell *cell, void *arg)
{
	const struct d0_ctl_cell_op *r = arg;
	return cell == caller ? D0_EINVAL : cell_set_paused(cell, r->flags & 1);
}

static int ctl_cell_cpu(struct cell *caller, struct cell *cell, void *arg)
{
	const struct d0_ctl_cell_cpu *r = arg;
	if (r->budget_us > D0_CTL_PERIOD_US || r->slice_us > D0_CTL_PERIOD_US)
		return D0_EINVAL;
	cell->config.budget_us = r->budget_us;
	cell->config.slice_us = r->slice_us;
	return D0_OK;
}

static int ctl_channel_create(struct cell *caller, struct cell *server, void *arg)
{
	struct d0_ctl_channel_create *r = arg;
	struct cell *client = cell_by_number(r->client);
	if (!client)
		return D0_ENOENT;
	if (!text_ok(r->label, sizeof(r->label)) ||
	    !text_ok(r->server_args, sizeof(r->server_args)) ||
	    !text_ok(r->client_args, sizeof(r->client_args)) || r->protocol >= D0_PROTO_IRQ)
		return D0_EINVAL;
	return channel_create(server, client, r);
}

static int ctl_channel_destroy(struct cell *caller, struct cell *cell, void *arg)
{
	u32 n = ((const struct d0_ctl_channel_destroy *)arg)->channel;
	if (n >= cell->config.channels || !cell->slot[n].channel)
		return D0_ENOENT;
	struct channel *ch = cell->slot[n].channel;
	const struct channel_end peer = ch->end[!cell->slot[n].side];
	channel_close(cell, n);
	if (peer.cell)
		channel_close(peer.cell, peer.number);
	return D0_OK;
}

static int ctl_channel_status(struct cell *caller, struct cell *cell, void *arg)
{
	struct d0_ctl_channel_status *r = arg;
	if (r->channel >= cell->config.channels || !cell->slot[r->channel].channel)
		return D0_ENOENT;
	r->info = cell->channel_table[r->channel];
	return D0_OK;
}

static int ctl_device_grant(struct cell *caller, struct cell *cell, void *arg)
{
	const struct d0_ctl_device_grant *r = arg;
	struct device *dev = NULL;
	u32 left = r->index;
	if (r->address != D0_CTL_BY_KIND)
		dev = device_by_address(r->address);
	for (u32 i = 0; i < device_count() && r->address == D0_CTL_BY_KIND && !dev; i++) {
		const struct d0_device *id = &device_by_index(i)->id;
		bool hit = r->class ? id->class_rev >> 16 == r->class
				    : id->vendor == r->vendor && id->device == r->device;
		if (hit && !left--)
			dev = device_by_index(i);
	}
	return dev ? cell_add_device(cell, dev) : D0_ENOENT;
}

static int ctl_cell_status(struct cell *caller, struct cell *c, void *arg)
{
	struct d0_ctl_cell_status *r = arg;
	struct d0_ctl h = r->h;
	*r = c->stat;
	r->h = h;
	memcpy(r->name, c->config.name, sizeof(r->name));
	memcpy(r->image, c->config.image, sizeof(r->image));
	r->state = c->state;
	r->vcpus = c->config.vcpus;
	for (u32 i = 0; i < c->config.vcpus; i++)
		r->cpu_ns += c->vcpu[i].cpu_ns;
	r->page_tables = c->space.table_frames * PAGE_SIZE;
	r->memory = (c->memory_frames + c->frames + PAGES(c->info_size) + 1 +
		     PAGES(c->config.state) + 2 * c->config.vcpus) *
		    PAGE_SIZE;
	r->successor = c->duty.next ? c->duty.next->number : ~0u;
	return D0_OK;
}

static int ctl_cell_regions(struct cell *caller, struct cell *c, void *arg)
{
	struct d0_ctl_cell_regions *r = arg;
	r->count = c->regions;
	regions_describe(c, r->region);
	for (u32 i = 0; i < r->count; i++)
		r->region[i].dma_base = D0_NEVER; /* nobody else's business */
	return D0_OK;
}

static int ctl_cell_counters(struct cell *caller, struct cell *c, void *arg)
{
	struct d0_counters *out = &((struct d0_ctl_cell_counters *)arg)->counters;
	memcpy(out, c->counters, sizeof(*out));
	out->count = MIN(out->count, (u32)D0_COUNTERS_MAX);
	for (u32 i = 0; i < D0_COUNTERS_MAX; i++)
		out->counter[i].name[sizeof(out->counter[i].name) - 1] = 0;
	return D0_OK;
}

static int ctl_system_status(struct cell *caller, struct cell *none, void *arg)
{
	struct d0_ctl_system_status *r = arg;
	struct frames_stats m = frames_stats();
	struct d0_ctl h = r->h;
	verify_status(r);
	r->h = h;
	r->uptime_ns = clock_ns();
	r->cpus = cpu_count;
	r->cell_slots = cell_slots();
	r->iommu = iommu_present();
	r->mem_total = m.total * PAGE_SIZE;
	r->mem_free = m.free * PAGE_SIZE;
	r->mem_bad = m.bad * PAGE_SIZE;
	r->nucleus_bytes = (u64)(image_end - image_start);
	r->tlb_shootdowns = vcpu_shootdowns;
	r->context_switches = sched_switches;
	r->ready_ns = sync_ready_ns;
	for (u32 i = 0; i < cell_slots(); i++)
		r->cells += cell_by_number(i) != NULL;
	for (u32 i = 0; i < cpu_count; i++) {
		r->external_interrupts += cpus[i].interrupts;
		if (i < 8)
			r->idle_ns[i] = cpus[i].idle_ns;
	}
	return D0_OK;
}

static int ctl_events_read(struct cell *caller, struct cell *none, void *arg)
{
	struct d0_ctl_events_read *r = arg;
	r->count = journal_read(r->from, r->event, D0_CTL_EVENTS_MAX, &r->oldest);
	return D0_OK;
}

static int ctl_device_list(struct cell *caller, struct cell *none, void *arg)
{
	struct d0_ctl_device_list *r = arg;
	r->total = device_count();
	r->count = 0;
	for (u32 i = r->first; i < r->total && r->count < ARRAY_SIZE(r->dev); i++) {
		const struct device *dev = device_by_index(i);
		r->dev[r->count].address = dev->id.address;
		r->dev[r->count].class_rev = dev->id.class_rev;
		r->dev[r->count].vendor = dev->id.vendor;
		r->dev[r->count].device = dev->id.device;
		r->dev[r->count++].cell = dev->owned ? dev->owner.number : ~0u;
	}
	return D0_OK;
}

static int ctl_poweroff(struct cell *caller, struct cell *none, void *arg)
{
	bool reboot = ((const struct d0_ctl_poweroff *)arg)->reboot;
	n_print("%s by cell %s", reboot ? "reboot" : "power off", caller->config.name);
	if (reboot)
		power_reboot();
	power_off(0);
}

static const struct {
	int (*act)(struct cell *caller, struct cell *cell, void *arg);
	u32 size, cap;
	bool about_cell; /* `cell` names one that must be there */
} table[] = {
#define CTL_AS(name, type, cap, about) \
	[D0_CTL_##name] = {ctl_##name, sizeof(struct d0_ctl_##type), cap, about}
#define CTL(name, cap, about) CTL_AS(name, name, cap, about)
    CTL(cell_create, D0_CAP_CONTROL, false),
    CTL_AS(cell_start, cell_op, D0_CAP_CONTROL, true),
    CTL_AS(cell_stop, cell_op, D0_CAP_CONTROL, true),
    CTL_AS(cell_restart, cell_op, D0_CAP_CONTROL | D0_CAP_HEAL, true),
    CTL_AS(cell_destroy, cell_op, D0_CAP_CONTROL, true),
    CTL_AS(cell_pause, cell_op, D0_CAP_CONTROL, true),
    CTL(cell_cpu, D0_CAP_CONTROL, true),
    CTL(channel_create, D0_CAP_CONTROL, true),
    CTL(channel_destroy, D0_CAP_CONTROL, true),
    CTL(channel_status, D0_CAP_INSPECT, true),
    CTL(device_grant, D0_CAP_CONTROL, true),
    CTL(cell_status, D0_CAP_INSPECT, true),
    CTL(cell_regions, D0_CAP_INSPECT, true),
    CTL(cell_counters, D0_CAP_INSPECT, true),
    CTL(system_status, D0_CAP_INSPECT, false),
    CTL(events_read, D0_CAP_INSPECT, false),
    CTL(device_list, D0_CAP_INSPECT, false),
    CTL(poweroff, D0_CAP_POWER, false),
};

static int act(struct cell *caller, u64 size)
{
	u32 op = request.h.op, caps = caller ? caller->config.caps : 0;
	if (op >= ARRAY_SIZE(table) || !table[op].act || (!caller && op == D0_CTL_poweroff))
		return D0_ENOSYS;
	if (size != table[op].size || request.h.size != size)
		return D0_EINVAL;
	if (caps & D0_CAP_CONTROL)
		caps |= D0_CAP_INSPECT;
	if (caller && !(caps & table[op].cap)) {
		journal(D0_EVENT_control_refused, caller->number, op,
			"%s may not ask for request %u", caller->config.name, op);
		return D0_EPERM;
	}
	struct cell *cell = table[op].about_cell ? cell_by_number(request.h.cell) : NULL;
	return cell || !table[op].about_cell ? table[op].act(caller, cell, &request)
					     : D0_ENOENT;
}

s64 control_request(struct cell *caller, gpa_t at, u64 size)
{
	if (size < sizeof(request.h) || size > sizeof(request))
		return D0_EINVAL;
	if (!guest_read(caller, at, &request, size))
		return D0_EFAULT;
	int status = request.h.status = act(caller, size);
	return guest_write(caller, at, &request, size) ? status : D0_EFAULT;
}

const char *control_boot(const u8 *conf, u64 size)
{
	static char error[80];
	struct d0_conf_request head;
	for (; size; conf += head.size, size -= head.size) {
		if (size < sizeof(head))
			return "d0.conf is cut short";
		memcpy(&head, conf, sizeof(head));
		conf += sizeof(head);
		size -= sizeof(head);
		if (head.size < sizeof(request.h) || head.size > MIN(size, sizeof(request)))
			return "d0.conf has a request of an impossible size";
		memcpy(&request, conf, head.size);
		int err = act(NULL, head.size);
		if (err == D0_ENOENT && request.h.op == D0_CTL_device_grant) {
			/* The cell finds out by its table; others are not held up. */
			n_print("d0.conf, line %u: this machine has no such device", head.line);
		} else if (err) {
			n_snprintf(error, sizeof(error), "d0.conf, line %u: error %d",
				   head.line, -err);
			return error;
		}
	}
	return NULL;
}

/* The first cells: each started, and the line that says all run. */
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
