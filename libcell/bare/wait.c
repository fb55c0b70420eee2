/* SPDX-License-Identifier: ISC */
/*
 * Events and waiting.
 *
 * The nucleus sets bits in this vCPU's event words, we take them with atomic operations;
 * the wait hypercall returns at once while any is set, so a bit set between our look and
 * the hypercall is not lost. Idle time belongs to the verification duty first; a busy cell
 * gives it a step every DUTY_BUSY_NS.
 */
#include "libcell/bare/bare.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/common/events.h"
#include "libcell/hypercall.h"

#define DUTY_BUSY_NS (2 * CLOCK_NS_PER_MS)

struct d0_events *bare_events(void)
{
	struct d0_events *table = cell_ptr(cell_info()->events);

	return &table[cell_vcpu()];
}

bool cell_event_take(unsigned channel)
{
	return channel < D0_CHANNELS_MAX && events_take_one(bare_events(), channel);
}

uint64_t cell_events_words(void)
{
	return __atomic_load_n(&bare_events()->words, __ATOMIC_RELAXED);
}

uint64_t cell_events_take(unsigned word)
{
	return word < D0_CHANNELS_MAX / 64 ? events_take(bare_events(), word) : 0;
}

uint64_t cell_flags_take(uint64_t mask)
{
	uint64_t *p = &bare_events()->flags;

	if (!(__atomic_load_n(p, __ATOMIC_RELAXED) & mask))
		return 0;
	return __atomic_fetch_and(p, ~mask, __ATOMIC_SEQ_CST) & mask;
}

/* Is anything pending that the cell wants to see? Our own flag is served on the way. */
static bool pending(void)
{
	if (cell_flags_take(D0_EV_CONFIG_VERIFY))
		bare_duty_begin();
	return events_pending(bare_events());
}

void cell_duty(void)
{
	static uint64_t due;
	uint64_t now;

	if (!bare_duty_active())
		return;
	now = clock_ns();
	if (now < __atomic_load_n(&due, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&due, now + DUTY_BUSY_NS, __ATOMIC_RELAXED);
	bare_duty_step();
}

/* Up to two channels, plus one, whose notification is put off: each vCPU's own. */
static unsigned held[D0_VCPUS_MAX][2];

void cell_notify_flush(void)
{
	unsigned *h = held[cell_vcpu()];

	if (h[0])
		D0_HC(notify, h[0] - 1, h[1]);
	h[0] = h[1] = 0;
}

void cell_notify_later(unsigned channel)
{
	unsigned *h = held[cell_vcpu()];

	if (h[0] == channel + 1 || h[1] == channel + 1)
		return;
	if (h[1])
		cell_notify_flush();
	h[h[0] != 0] = channel + 1;
}

static void wait(uint64_t deadline_ns)
{
	unsigned *h = held[cell_vcpu()];

	if (h[0])
		D0_HC(notify_wait, h[0] - 1, deadline_ns, h[1]);
	else
		D0_HC(wait, deadline_ns);
	h[0] = h[1] = 0;
}

bool cell_wait(uint64_t deadline_ns)
{
	for (;;) {
		bool ready = pending();

		if (ready || (deadline_ns != D0_NEVER && clock_ns() >= deadline_ns)) {
			cell_notify_flush();
			cell_duty();
			return ready;
		}
		if (bare_duty_active()) {
			cell_notify_flush();
			bare_duty_step();
		} else {
			wait(deadline_ns);
		}
	}
}
