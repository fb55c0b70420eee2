/* SPDX-License-Identifier: ISC */
/* Commands of the monitor: one struct each, registered by a linker set. */
#ifndef MONITOR_H
#define MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include "libcell/control.h"
#include "libcell/linkset.h"

struct command {
	const char *name;
	const char *args; /* for help, "" if none */
	const char *help;
	void (*run)(const char *arg); /* what followed the name, "" if nothing */
};

#define COMMAND(id, name_text, args_text, help_text, fn)                        \
	static const struct command id = {name_text, args_text, help_text, fn}; \
	LINKSET_ADD(commands, id)

/* A line on the console; bytes that are not printable become '?'. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Performs a request; says what went wrong. True if it worked. */
bool ask(struct d0_ctl *req, uint32_t op, uint32_t size);
#define ASK(req, name) ask(&(req)->h, D0_CTL_##name, sizeof(*(req)))

/* Number of the cell of that name (or number), -1 after saying there is none. */
int find_cell(const char *name);
/* Its name, "nucleus" for ~0. Valid until the next call. */
const char *cell_name(uint32_t cell);
/* Status of a cell; false if there is none of that number. */
bool cell_status(uint32_t cell, struct d0_ctl_cell_status *st);
/* How many cell numbers there are. */
uint32_t cell_slots(void);

#endif
