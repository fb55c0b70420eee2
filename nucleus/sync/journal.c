/* SPDX-License-Identifier: ISC */
/*
 * The journal: the last JOURNAL_EVENTS events, numbered without gaps, and a line on the
 * console for each. Nucleus lock, or boot.
 */
#include "nucleus/core/print.h"
#include "nucleus/device_manager/clock.h"
#include "nucleus/sync/sync.h"

#define JOURNAL_EVENTS 512

static struct d0_event events[JOURNAL_EVENTS];
static u64 next_seq;

static const char *const kind_name[] = {
#define KIND_NAME(number, name, text) [number] = #name,
    D0_EVENT_KINDS(KIND_NAME)
#undef KIND_NAME
};

void journal(u32 kind, u32 cell, u64 value, const char *fmt, ...)
{
	struct d0_event *e = &events[next_seq % JOURNAL_EVENTS];
	*e = (struct d0_event){.seq = next_seq++,
			       .time_ns = clock_ns(),
			       .kind = kind,
			       .cell = cell,
			       .value = value};
	va_list ap;
	va_start(ap, fmt);
	n_vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	if (kind != D0_EVENT_cell_created && kind != D0_EVENT_cell_destroyed)
		n_print("%s: %s", kind < ARRAY_SIZE(kind_name) ? kind_name[kind] : "event",
			e->text);
}

u32 journal_read(u64 from, struct d0_event *out, u32 max, u64 *oldest)
{
	u32 n = 0;
	*oldest = next_seq > JOURNAL_EVENTS ? next_seq - JOURNAL_EVENTS : 0;
	for (u64 s = MAX(from, *oldest); s < next_seq && n < max; s++)
		out[n++] = events[s % JOURNAL_EVENTS];
	return n;
}
