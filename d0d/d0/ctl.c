// SPDX-License-Identifier: ISC
// The control protocol (d0/control.h) through the cell's /dev/d0ctl, and what it tells
// about the host: the machine, and every cell in the order of the verification ring.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "d0d/d0/d0.h"

// cells/linux/fs/chandev.c
#define D0CTL_CALL   0xd001
#define D0CHAN_INFO  0xd002
#define D0CHAN_RESET 0xd003

static const char *reason(int status)
{
	static const char *const text[] = {
#define REASON(number, name, words) [number] = words,
	    D0_ERRORS(REASON)
#undef REASON
	};
	unsigned n = (unsigned)-status;

	return n < sizeof(text) / sizeof(text[0]) && text[n] ? text[n] : "unknown reason";
}

static const char *op_name(enum d0_ctl_op op)
{
	switch (op) {
#define NAME(number, name, words) \
	case D0_CTL_##name:       \
		return #name;
		D0_CTL_REQUESTS(NAME)
#undef NAME
	}
	return "request";
}

int ctl_call(struct d0_backend *b, void *request, enum d0_ctl_op op, uint32_t size,
	     struct err *e)
{
	struct d0_ctl *h = request;

	h->op = op;
	h->size = size;
	h->status = 0;
	if (ioctl(b->ctl, D0CTL_CALL, request) < 0)
		return err_set(e, 500, "%s: %s", op_name(op), strerror(errno));
	if (h->status < 0)
		return err_set(e, h->status == D0_ENOMEM ? 507 : 500, "%s: %s", op_name(op),
			       reason(h->status));
	return 0;
}

static void names_load(struct d0_backend *b)
{
	struct d0_ctl_system_status sys = {0};

	if (ctl_call(b, &sys, D0_CTL_system_status, sizeof(sys), NULL) < 0)
		return;
	b->cell_name = xcalloc(sys.cell_slots + 1, sizeof(*b->cell_name));
	b->cell_names = sys.cell_slots;
	for (uint32_t i = 0; i < sys.cell_slots; i++) {
		struct d0_ctl_cell_status s = {.h.cell = i};
		if (ctl_call(b, &s, D0_CTL_cell_status, sizeof(s), NULL) == 0 &&
		    s.state != D0_CELL_FREE)
			snprintf(b->cell_name[i], D0_NAME_MAX, "%s", s.name);
	}
}

uint32_t cell_next(struct d0_backend *b, const char *prefix, uint32_t from)
{
	if (!b->cell_name)
		names_load(b);
	for (uint32_t i = from; b->cell_name && i < b->cell_names; i++)
		if (strncmp(b->cell_name[i], prefix, strlen(prefix)) == 0)
			return i;
	return ~0u;
}

void cells_forget(struct d0_backend *b)
{
	free(b->cell_name);
	b->cell_name = NULL;
	b->cell_names = 0;
}

int channel_open(struct d0_channel *want, uint32_t *number)
{
	uint32_t n = 0;
	int fd = channel_next(want, &n);

	if (fd >= 0 && number)
		*number = n;
	return fd;
}

int channel_reset(int fd)
{
	return ioctl(fd, D0CHAN_RESET);
}

int channel_next(struct d0_channel *want, uint32_t *number)
{
	for (unsigned n = *number; n < D0_CHANNELS_MAX; n++) {
		struct d0_channel c;
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/d0/chan%u", n);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (ioctl(fd, D0CHAN_INFO, &c) == 0 && c.protocol == want->protocol &&
		    c.role == want->role &&
		    (want->peer_cell == CHANNEL_ANY_PEER || c.peer_cell == want->peer_cell)) {
			*want = c;
			*number = n;
			return fd;
		}
		close(fd);
	}
	return -1;
}

int d0_host_info(struct backend *b, struct be_info *out, struct err *e)
{
	struct d0_ctl_system_status s = {0};
	struct utsname u;

	if (ctl_call(d0_of(b), &s, D0_CTL_system_status, sizeof(s), e) < 0)
		return -1;
	uname(&u);
	*out = (struct be_info){.ncpu = (int)s.cpus,
				.memory = s.mem_total,
				.memory_free = s.mem_free,
				.storage_driver = "hammer2",
				.memory_limit = true,
				.cpu_limit = true,
				.pids_limit = true};
	snprintf(out->kernel, sizeof(out->kernel), "%.100s", u.release);
	snprintf(out->os, sizeof(out->os), "D0");
	snprintf(out->arch, sizeof(out->arch), "%.30s", u.machine);
	return 0;
}

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
	    [D0_CELL_STOPPED] = "stopped", [D0_CELL_RUNNING] = "running",
	    [D0_CELL_PAUSED] = "paused",   [D0_CELL_ENDED] = "exited",
	    [D0_CELL_FAILED] = "dead",
	};

	return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "?";
}

// Repairs are journalled with the cell whose page it was; the journal is a ring, so this
// counts those it still knows.
static void count_repairs(struct d0_backend *b, uint64_t *repairs, uint32_t slots)
{
	struct d0_ctl_events_read r = {0};

	do {
		if (ctl_call(b, &r, D0_CTL_events_read, sizeof(r), NULL) < 0)
			return;
		if (r.count > D0_CTL_EVENTS_MAX)
			return;
		for (uint32_t i = 0; i < r.count; i++)
			if (r.event[i].kind == D0_EVENT_page_repaired &&
			    r.event[i].cell < slots)
				repairs[r.event[i].cell]++;
		if (r.count)
			r.from = r.event[r.count - 1].seq + 1;
	} while (r.count);
}

static void report(const struct d0_ctl_cell_status *s, uint64_t repairs, be_cell_cb *cb,
		   void *ctx)
{
	struct be_cell c = {.memory = s->memory,
			    .cpu_ns = s->cpu_ns,
			    .restarts = s->starts ? s->starts - 1 : 0,
			    .verified_pages = s->pages_checked,
			    .repairs = repairs};

	snprintf(c.name, sizeof(c.name), "%.*s", D0_NAME_MAX, s->name);
	snprintf(c.kind, sizeof(c.kind), "%.23s", s->image);
	snprintf(c.state, sizeof(c.state), "%s", state_name(s->state));
	cb(ctx, &c);
}

// The ring begins with the cell that the nucleus verifies, which is no other's successor.
// Cells outside of it (stopped ones) come last.
static void mark_verified(const struct d0_ctl_cell_status *cell, uint32_t n, bool *verified)
{
	for (uint32_t i = 0; i < n; i++)
		if (cell[i].state != D0_CELL_FREE && cell[i].successor < n)
			verified[cell[i].successor] = true;
}

int d0_cells(struct backend *be, be_cell_cb *cb, void *ctx)
{
	struct d0_backend *b = d0_of(be);
	struct d0_ctl_system_status sys = {0};
	struct d0_ctl_cell_status *cell;
	uint64_t *repairs;
	bool *shown, *verified;

	if (ctl_call(b, &sys, D0_CTL_system_status, sizeof(sys), NULL) < 0 ||
	    sys.cell_slots > 4096)
		return -1;
	cell = xcalloc(sys.cell_slots, sizeof(*cell));
	repairs = xcalloc(sys.cell_slots, sizeof(*repairs));
	shown = xcalloc(sys.cell_slots, sizeof(*shown));
	verified = xcalloc(sys.cell_slots, sizeof(*verified));
	count_repairs(b, repairs, sys.cell_slots);
	for (uint32_t i = 0; i < sys.cell_slots; i++) {
		cell[i].h.cell = i;
		if (ctl_call(b, &cell[i], D0_CTL_cell_status, sizeof(cell[i]), NULL) < 0)
			cell[i].state = D0_CELL_FREE;
		shown[i] = cell[i].state == D0_CELL_FREE;
	}
	mark_verified(cell, sys.cell_slots, verified);
	for (uint32_t k = 0; k < 2 * sys.cell_slots; k++) {
		uint32_t i = k % sys.cell_slots;
		if (k < sys.cell_slots && (verified[i] || cell[i].state != D0_CELL_RUNNING))
			continue;
		for (; i < sys.cell_slots && !shown[i]; i = cell[i].successor) {
			shown[i] = true;
			report(&cell[i], repairs[i], cb, ctx);
		}
	}
	free(cell);
	free(repairs);
	free(shown);
	free(verified);
	return 0;
}
