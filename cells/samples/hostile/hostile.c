/* SPDX-License-Identifier: ISC */
/*
 * A cell that attacks: args attack=NAME, delay=MS before it does. If it still runs
 * afterwards, it says so and ends in good order.
 */
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "libcell/cell.h"
#include "libcell/clock.h"
#include "libcell/log.h"

LINKSET_DECLARE(attacks, struct attack);

static char attack_name[32];

void aim(const void *at)
{
	log_info("hostile %s aims at %#lx", attack_name, (uintptr_t)at);
}

int cell_main(const struct d0_info *info)
{
	uint64_t at = clock_ns() + cell_arg_u64(info->args, "delay", 0) * CLOCK_NS_PER_MS;

	cell_arg(info->args, "attack", attack_name, sizeof(attack_name));
	while (clock_ns() < at) {
		cell_wait(at);
		cell_flags_take(~0ull);
	}
	LINKSET_FOREACH(attacks, a)
	if (!strcmp((*a)->name, attack_name)) {
		(*a)->run();
		log_info("hostile %s survived", attack_name);
		return 0;
	}
	log_error("no attack '%s'", attack_name);
	return 1;
}
