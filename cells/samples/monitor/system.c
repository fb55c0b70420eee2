/* SPDX-License-Identifier: ISC */
/* Commands about the whole machine. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "cells/samples/monitor/monitor.h"

static void ring(const char *arg)
{
	static struct d0_ctl_system_status s;
	static struct d0_ctl_cell_status st;

	if (!ASK(&s, system_status))
		return;
	say("  %lu pages in the ring; %lu cycles, the last took %lu ms", s.pages_verified_set,
	    s.verify_cycles, s.verify_cycle_ns / 1000000);
	say("  %lu KiB checked in %lu ms of CPU time", s.verify_bytes / 1024,
	    s.verify_cpu_ns / 1000000);
	say("  flips found %lu, repaired %lu, frames retired %lu, last repair after %lu us",
	    s.flips_found, s.flips_repaired, s.frames_retired, s.last_repair_ns / 1000);
	for (uint32_t i = 0; i < s.cell_slots; i++)
		if (cell_status(i, &st) && st.state == D0_CELL_RUNNING) {
			char name[D0_NAME_MAX];

			memcpy(name, st.name, sizeof(name));
			say("  %-18s -> %-18s %9lu pages checked, %lu bad", name,
			    cell_name(st.successor), st.pages_checked, st.pages_bad);
		}
}
COMMAND(ring_command, "ring", "", "the verification ring", ring);

static void status(const char *arg)
{
	static struct d0_ctl_system_status s;

	if (!ASK(&s, system_status))
		return;
	say("  up %lu.%03lu s, ready after %lu ms; %u CPUs, %u cells, %s",
	    s.uptime_ns / 1000000000, s.uptime_ns / 1000000 % 1000, s.ready_ns / 1000000,
	    s.cpus, s.cells, s.iommu ? "IOMMU on" : "no IOMMU: devices are not confined");
	say("  memory %lu KiB, free %lu, bad %lu; nucleus %lu KiB", s.mem_total / 1024,
	    s.mem_free / 1024, s.mem_bad / 1024, s.nucleus_bytes / 1024);
	say("  context switches %lu, interrupts %lu, TLB shoot-downs %lu", s.context_switches,
	    s.external_interrupts, s.tlb_shootdowns);
	for (uint32_t i = 0; i < s.cpus && i < 8; i++)
		say("  CPU %u idle %lu ms", i, s.idle_ns[i] / 1000000);
}
COMMAND(status_command, "status", "", "CPUs, memory, uptime", status);

static const char *event_name(uint32_t kind)
{
	switch (kind) {
#define EVENT_TEXT(number, name, text) \
	case D0_EVENT_##name:          \
		return text;
		D0_EVENT_KINDS(EVENT_TEXT)
#undef EVENT_TEXT
	default:
		return "?";
	}
}

/* events: the last 16; events N: from sequence number N on. */
static void events(const char *arg)
{
	static struct d0_ctl_events_read req;
	uint64_t from = *arg ? strtoul(arg, NULL, 10) : 0, last = 0;
	bool tail = !*arg;

	for (;;) {
		req.from = from;
		if (!ASK(&req, events_read) || !req.count || req.count > D0_CTL_EVENTS_MAX)
			break;
		last = req.event[req.count - 1].seq;
		if (!tail || last < from)
			break;
		from = last + 1;
	}
	if (tail && last) {
		req.from = last >= D0_CTL_EVENTS_MAX ? last - D0_CTL_EVENTS_MAX + 1 : 0;
		if (!ASK(&req, events_read))
			return;
	}
	for (uint32_t i = 0; i < req.count && i < D0_CTL_EVENTS_MAX; i++) {
		const struct d0_event *e = &req.event[i];

		say("  %6lu %7lu.%03lu %-18s %s: %.128s", e->seq, e->time_ns / 1000000000,
		    e->time_ns / 1000000 % 1000, cell_name(e->cell), event_name(e->kind),
		    e->text);
	}
}
COMMAND(events_command, "events", "[FROM]", "the journal", events);

static void devices(const char *arg)
{
	static struct d0_ctl_device_list req;

	req.first = 0;
	do {
		if (!ASK(&req, device_list) || !req.count || req.count > 32)
			return;
		for (uint32_t i = 0; i < req.count; i++)
			say("  %04x:%02x:%02x.%x %04x:%04x class %06x %s",
			    req.dev[i].address >> 16, req.dev[i].address >> 8 & 0xff,
			    req.dev[i].address >> 3 & 0x1f, req.dev[i].address & 7,
			    req.dev[i].vendor, req.dev[i].device, req.dev[i].class_rev >> 8,
			    req.dev[i].cell == ~0u ? "-" : cell_name(req.dev[i].cell));
		req.first += req.count;
	} while (req.first < req.total);
}
COMMAND(devices_command, "devices", "", "PCI devices and who has them", devices);

static void power(uint32_t reboot)
{
	static struct d0_ctl_poweroff req;

	req.reboot = reboot;
	ASK(&req, poweroff);
}

static void poweroff(const char *arg)
{
	power(0);
}
COMMAND(poweroff_command, "poweroff", "", "turn the machine off", poweroff);

static void reboot_machine(const char *arg)
{
	power(1);
}
COMMAND(reboot_command, "reboot", "", "start it anew", reboot_machine);
