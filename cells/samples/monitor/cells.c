/* SPDX-License-Identifier: ISC */
/* Commands about cells. */
#include <stdio.h>
#include <string.h>
#include "cells/samples/monitor/monitor.h"
#include "libcell/cell.h"

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {"free",   "stopped", "running",
					    "paused", "ended",   "failed"};

	return state < sizeof(names) / sizeof(*names) ? names[state] : "?";
}

static void ps(const char *arg)
{
	static struct d0_ctl_cell_status st;
	uint32_t slots = cell_slots();

	say("%4s %-18s %-10s %-8s %5s %6s %9s %8s %7s %9s %9s", "cell", "name", "image",
	    "state", "vcpus", "starts", "cpu ms", "mem KiB", "tables", "exits", "calls");
	for (uint32_t i = 0; i < slots; i++) {
		if (!cell_status(i, &st))
			continue;
		say("%4u %-18s %-10s %-8s %5u %6lu %9lu %8lu %7lu %9lu %9lu", i, st.name,
		    st.image, state_name(st.state), st.vcpus, st.starts, st.cpu_ns / 1000000,
		    st.memory / 1024, st.page_tables / 1024, st.exits, st.hypercalls);
		if (st.reason[0])
			say("     %s", st.reason);
	}
}
COMMAND(ps_command, "ps", "", "cells and what they use", ps);

static void regions(const char *arg)
{
	static const char *const types[D0_REGION_TYPES] = {
	    "none", "text",   "rodata", "relro", "data",   "stack",  "heap", "state",
	    "ring", "device", "mirror", "info",  "events", "tables", "user"};
	static struct d0_ctl_cell_regions req;
	int cell = *arg ? find_cell(arg) : 0;

	if (cell < 0)
		return;
	req.h.cell = (uint32_t)cell;
	if (!ASK(&req, cell_regions))
		return;
	for (uint32_t i = 0; i < req.count && i < D0_REGIONS_MAX; i++) {
		struct d0_region *r = &req.region[i];

		r->name[sizeof(r->name) - 1] = '\0';
		say("  %#012lx %8lu KiB %c%c%c %-7s %s", r->base, r->size / 1024,
		    r->perms & D0_R ? 'r' : '-', r->perms & D0_W ? 'w' : '-',
		    r->perms & D0_X ? 'x' : '-',
		    r->type < D0_REGION_TYPES ? types[r->type] : "?", r->name);
	}
}
COMMAND(regions_command, "regions", "CELL", "memory regions of a cell", regions);

static void counters(const char *arg)
{
	static struct d0_ctl_cell_counters req;
	int cell = find_cell(arg);

	if (cell < 0)
		return;
	req.h.cell = (uint32_t)cell;
	if (!ASK(&req, cell_counters))
		return;
	for (uint32_t i = 0; i < req.counters.count && i < D0_COUNTERS_MAX; i++)
		say("  %-24.24s %lu", req.counters.counter[i].name,
		    req.counters.counter[i].value);
}
COMMAND(counters_command, "counters", "CELL", "what a cell counts", counters);

static void cell_operate(const char *arg, uint32_t op, const char *done)
{
	static struct d0_ctl_cell_op req;
	int cell = find_cell(arg);

	if (cell < 0)
		return;
	req = (struct d0_ctl_cell_op){.h.cell = (uint32_t)cell};
	if (ask(&req.h, op, sizeof(req)))
		say("%s: %s", arg, done);
}

static void restart(const char *arg)
{
	cell_operate(arg, D0_CTL_cell_restart, "restarted");
}
COMMAND(restart_command, "restart", "CELL", "end a cell and start it anew", restart);

static void start(const char *arg)
{
	cell_operate(arg, D0_CTL_cell_start, "started");
}
COMMAND(start_command, "start", "CELL", "start a stopped cell", start);

/* Orders to a nic cell are channels, one for each port: the latest replaces the one before. */
static void policy(const char *arg)
{
	static struct d0_ctl_channel_destroy old;
	static struct d0_ctl_channel_create req;
	char nic[D0_NAME_MAX];
	size_t len = strcspn(arg, " ");
	const char *words = arg + len + strspn(arg + len, " ");
	int cell;

	snprintf(nic, sizeof(nic), "%.*s", (int)len, arg);
	cell = find_cell(nic);
	if (cell < 0)
		return;
	req = (struct d0_ctl_channel_create){.h.cell = (uint32_t)cell,
					     .client = cell_info()->cell,
					     .protocol = D0_PROTO_NET,
					     .label = "policy"};
	snprintf(req.server_args, sizeof(req.server_args), "%s", words);
	snprintf(req.client_args, sizeof(req.client_args), "%.*s", (int)strcspn(words, " "),
		 words);
	for (unsigned i = 0; i < D0_CHANNELS_MAX; i++) {
		const struct d0_channel *ch = cell_channel(i);

		if (!ch || ch->state != D0_CHANNEL_OPEN || strcmp(ch->label, "policy") != 0 ||
		    ch->peer_cell != (uint32_t)cell || strcmp(ch->args, req.client_args) != 0)
			continue;
		old =
		    (struct d0_ctl_channel_destroy){.h.cell = cell_info()->cell, .channel = i};
		ASK(&old, channel_destroy);
	}
	ASK(&req, channel_create);
}
COMMAND(policy_command, "policy", "NIC port=N ...", "change rules, rates or class of a port",
	policy);

static void stop(const char *arg)
{
	cell_operate(arg, D0_CTL_cell_stop, "asked to end");
}
COMMAND(stop_command, "stop", "CELL", "ask a cell to end", stop);
