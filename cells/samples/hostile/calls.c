/* SPDX-License-Identifier: ISC */
/* Attacks through the ABI itself: hypercalls with every kind of bad argument. */
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/control.h"
#include "libcell/hypercall.h"
#include "libcell/log.h"

static const uint64_t nasty[] = {
    0,          1,          7,       4095,       4096,       ~0ull,      ~0ull - 4095,
    1ull << 63, 1ull << 38, 1 << 20, 0xfee00000, 0x7fffffff, 0xffffffff, 1ull << 32,
    255,        256,
};
#define NASTY (sizeof(nasty) / sizeof(*nasty))

/* Those that end or block the cell when they succeed are left out, and done apart. */
static int harmless(uint64_t number)
{
	return number != D0_HC_exit && number != D0_HC_wait && number != D0_HC_notify_wait;
}

/* Every hypercall number, defined or not, with every pair of nasty arguments. */
ATTACK(hypercalls, "hypercalls")
{
	uint64_t calls = 0;

	for (uint64_t number = 0; number < D0_HC_COUNT + 3; number++) {
		if (!harmless(number))
			continue;
		for (size_t i = 0; i < NASTY; i++)
			for (size_t j = 0; j < NASTY; j++) {
				struct d0_hc_args a = {
				    {nasty[i], nasty[j], nasty[(i + j) % NASTY], nasty[j]}};

				if (number == D0_HC_log && i < 5 && !j)
					continue; /* a legal, empty line */
				d0_hc_call(number, a);
				calls++;
			}
	}
	log_info("hostile hypercalls made %lu", calls);
}

ATTACK(unknown_calls, "unknown-calls")
{
	static const uint64_t numbers[] = {D0_HC_COUNT, 1000, 1ull << 32, ~0ull, 1ull << 63};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (d0_hc_call(numbers[i], (struct d0_hc_args){{0}}).rax != D0_ENOSYS)
			log_info("hostile: call %#lx is not refused", numbers[i]);
}

/* Pointers that the nucleus must not follow for us: each has to be D0_EFAULT. */
ATTACK(bad_pointers, "bad-pointers")
{
	const struct d0_region *heap = cell_region(D0_REGION_HEAP, 0);
	const struct d0_region *text = cell_region(D0_REGION_TEXT, 0);
	const struct d0_region *info = cell_region(D0_REGION_INFO, 0);
	unsigned wrong = 0;

	wrong += D0_HC(log, heap->base + heap->size - 8, 64).rax != D0_EFAULT;
	wrong += D0_HC(log, 0, 64).rax != D0_EFAULT;
	wrong += D0_HC(log, ~0ull - 8, 64).rax != D0_EFAULT;
	wrong += D0_HC(control, text->base, sizeof(struct d0_ctl_cell_status)).rax >= 0;
	wrong += D0_HC(control, info->base, sizeof(struct d0_ctl_cell_status)).rax >= 0;
	wrong += D0_HC(fault_report, heap->base + heap->size, 16).rax != D0_EFAULT;
	log_info("hostile bad-pointers: %u not refused", wrong);
}

/* Every control request, without the capability for any. */
ATTACK(control, "control")
{
	static union {
		struct d0_ctl h;
		uint8_t bytes[8192];
	} req;
	unsigned allowed = 0;

	for (uint32_t op = 0; op < 64; op++)
		for (size_t i = 0; i < NASTY; i++) {
			memset(&req, 0xff, sizeof(req));
			req.h.cell = (uint32_t)nasty[i];
			allowed +=
			    cell_control(&req.h, op, (uint32_t)nasty[(op + i) % NASTY]) >= 0;
			allowed +=
			    cell_control(&req.h, op, sizeof(struct d0_ctl_cell_create)) >= 0;
		}
	log_info("hostile control: %u requests allowed", allowed);
}

/* Wrong answers to challenges: a lying verifier. */
ATTACK(lie, "lie")
{
	uint64_t end = clock_ns() + 3 * CLOCK_NS_PER_S;
	unsigned answers = 0;

	while (clock_ns() < end) {
		struct d0_hc_result r = D0_HC(verify, 0xbad);

		answers += r.rax > 0;
		D0_HC(wait, clock_ns() + CLOCK_NS_PER_MS);
		cell_flags_take(~0ull);
	}
	log_info("hostile lie answered %u challenges", answers);
}

/* Bells and lines without end: neither may starve the others. */
ATTACK(bell_flood, "bell-flood")
{
	for (uint64_t end = clock_ns() + 2 * CLOCK_NS_PER_S; clock_ns() < end;)
		cell_notify(0);
}

ATTACK(exit_badly, "exit-badly")
{
	D0_HC(exit, ~0ull, ~0ull, ~0ull);
}
