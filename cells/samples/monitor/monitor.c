/* SPDX-License-Identifier: ISC */
/*
 * The monitor: a command line on the console, on top of the control protocol. It reads
 * what is typed, and for each line runs one command. It keeps no state of its own beyond
 * the line being typed, so it may be restarted at any time.
 *
 * args: run="WORD" runs one command at start.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "cells/samples/monitor/monitor.h"
#include "libcell/cell.h"
#include "libcell/log.h"

#define LINE_MAX 128

LINKSET_DECLARE(commands, struct command);

void say(const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	for (int i = 0; i < n; i++)
		if (line[i] < ' ' || line[i] > '~')
			line[i] = '?';
	log_raw(line, (size_t)n);
}

bool ask(struct d0_ctl *req, uint32_t op, uint32_t size)
{
	int err = cell_control(req, op, size);

	if (err)
		say("refused: %s", cell_strerror(err));
	return !err;
}

bool cell_status(uint32_t cell, struct d0_ctl_cell_status *st)
{
	memset(st, 0, sizeof(*st));
	st->h.cell = cell;
	if (CELL_CONTROL(st, cell_status) || st->state == D0_CELL_FREE)
		return false;
	st->name[sizeof(st->name) - 1] = '\0';
	st->image[sizeof(st->image) - 1] = '\0';
	st->reason[sizeof(st->reason) - 1] = '\0';
	return true;
}

uint32_t cell_slots(void)
{
	static struct d0_ctl_system_status sys;

	return ASK(&sys, system_status) ? sys.cell_slots : 0;
}

int find_cell(const char *name)
{
	static struct d0_ctl_cell_status st;
	uint32_t slots = cell_slots();

	for (uint32_t i = 0; i < slots; i++)
		if (cell_status(i, &st) && !strcmp(st.name, name))
			return (int)i;
	say("no cell '%s'", name);
	return -1;
}

const char *cell_name(uint32_t cell)
{
	static struct d0_ctl_cell_status st;

	if (cell == ~0u)
		return "nucleus";
	return cell_status(cell, &st) ? st.name : "?";
}

static void help(const char *arg)
{
	const char *last = "";

	for (;;) { /* by name, whatever order they were linked in */
		const struct command *next = NULL;

		LINKSET_FOREACH(commands, c)
		if (strcmp((*c)->name, last) > 0 &&
		    (!next || strcmp((*c)->name, next->name) < 0))
			next = *c;
		if (!next)
			return;
		say("  %-9s %-8s %s", next->name, next->args, next->help);
		last = next->name;
	}
}
COMMAND(help_command, "help", "", "this list", help);

static void run_line(char *line)
{
	size_t word;
	char *arg;

	line += strspn(line, " ");
	word = strcspn(line, " ");
	if (!word)
		return;
	say("> %s", line);
	arg = line + word;
	arg += strspn(arg, " ");
	line[word] = '\0';
	LINKSET_FOREACH(commands, c)
	if (!strcmp((*c)->name, line)) {
		(*c)->run(arg);
		return;
	}
	say("no command '%s'; help lists them", line);
}

/* One byte from the keyboard. */
static void typed(char c)
{
	static char line[LINE_MAX];
	static size_t len;

	if (c == '\r' || c == '\n') {
		line[len] = '\0';
		len = 0;
		run_line(line);
	} else if ((c == '\b' || c == 0x7f) && len) {
		len--;
	} else if (c >= ' ' && c <= '~' && len < LINE_MAX - 1) {
		line[len++] = c;
	}
}

int cell_main(const struct d0_info *info)
{
	char buf[64], first[LINE_MAX];
	long n;

	if (cell_arg(info->args, "run", first, sizeof(first)) > 0)
		run_line(first);
	for (;;) {
		uint64_t flags = cell_flags_take(~0ull);

		if (flags & D0_EV_STOP)
			return 0;
		while ((n = cell_console_read(buf, sizeof(buf))) > 0)
			for (long i = 0; i < n; i++)
				typed(buf[i]);
		cell_wait(D0_NEVER);
	}
}
