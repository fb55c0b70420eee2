/* SPDX-License-Identifier: ISC */
/* Commands about cells. */
#include <stdbool.h>
#include <string.h>
#include "cells/samples/monitor/monitor.h"

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

	say("%4s %-14s %-12s %-8s %5s %6s %9s %8s %7s %9s %9s", "cell", "name", "image",
	    "state", "vcpus", "starts", "cpu ms", "mem KiB", "tables", "exits", "calls");
	for (uint32_t i = 0; i < slots; i++) {
		if (!cell_status(i, &st))
			continue;
		say("%4u %-14s %-12s %-8s %5u %6lu %9lu %8lu %7lu %9lu %9lu", i, st.name,
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

static void stop(const char *arg)
{
	cell_operate(arg, D0_CTL_cell_stop, "asked to end");
}
COMMAND(stop_command, "stop", "CELL", "ask a cell to end", stop);
