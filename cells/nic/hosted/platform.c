/* SPDX-License-Identifier: ISC */
/* Memory for devices where there are none: plain memory, which "devices" (a TAP, a test)
 * read through pointers. */
#include <stdlib.h>
#include <time.h>
#include "cells/nic/netdev.h"

void *nic_dma_alloc(size_t size, uint64_t *dma)
{
	void *p = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);

	if (p)
		memset(p, 0, size);
	*dma = (uintptr_t)p;
	return p;
}

void nic_dma_free(void *p, size_t size)
{
	free(p);
}

void nic_delay_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

/* The linker makes the bounds of the set only if there is a member. */
static const struct net_driver none = {.name = "none"};
NET_DRIVER(none);
