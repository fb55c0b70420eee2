/* SPDX-License-Identifier: ISC */
/* Shared by the two halves of the virtqueue code; not for users. */
#ifndef LIBCELL_VIRTQ_IMPL_H
#define LIBCELL_VIRTQ_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include "d0/vring.h"

/* virtio 1.2, 2.7.10: is `event` among the indexes passed from old to new? */
static inline bool vring_need_event(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}

static inline uint16_t vring_load(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* The word after the used ring by which the device says when it wants to be notified. */
static inline uint16_t *vring_avail_event(struct d0_vring_used *used, uint16_t num)
{
	return (uint16_t *)&used->ring[num];
}

#endif
