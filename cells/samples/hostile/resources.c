/* SPDX-License-Identifier: ISC */
/* Attacks on what is shared: memory, the console. */
#include <stdlib.h>
#include <string.h>
#include "cells/samples/hostile/hostile.h"
#include "libcell/alloc.h"
#include "libcell/cell.h"
#include "libcell/log.h"

/* All memory there is for it, touched; more must be refused, not taken from others. */
ATTACK(eat_memory, "eat-memory")
{
	size_t got = 0, step = 1 << 20;
	uint8_t *p;

	while (step >= 64) {
		p = malloc(step);
		if (!p) {
			step /= 2;
			continue;
		}
		memset(p, 0xaa, step);
		got += step;
	}
	log_info("hostile eat-memory got %zu KiB of %lu", got >> 10,
		 cell_region(D0_REGION_HEAP, 0)->size >> 10);
}

ATTACK(log_flood, "log-flood")
{
	static char line[400];

	memset(line, '#', sizeof(line));
	for (int i = 0; i < 300; i++)
		log_raw(line, sizeof(line));
}

/* Control characters that would forge lines of the nucleus. */
ATTACK(log_forge, "log-forge")
{
	static const char text[] = "x\rd0: cell beat-a failed: forged\x1b[2J\x07";

	log_raw(text, sizeof(text) - 1);
}
