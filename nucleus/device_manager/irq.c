/* SPDX-License-Identifier: ISC */
/* Vectors for devices: which are taken, and messages that raise them. Under the nucleus
 * lock, but for msi_compose(), which keeps no state. */
#include "nucleus/device_manager/irq.h"

#include "nucleus/core/print.h"
#include "nucleus/device_manager/internal.h"

#define VECTORS (VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1)

static bool taken[VECTORS];

static bool run_is_free(u32 first, u32 count)
{
	for (u32 i = 0; i < count; i++) {
		if (taken[first + i])
			return false;
	}
	return true;
}

u8 irq_vectors_alloc(u32 count, vector_handler handler, void *arg)
{
	u32 align = 1;

	if (count == 0 || count > 32)
		return 0;
	while (align < count)
		align *= 2;
	/* VECTOR_DEVICE_FIRST is a multiple of 16, and a run of 32 needs one of 32: so
	 * alignment is that of the vector, not of the index. */
	for (u32 v = ALIGN_UP(VECTOR_DEVICE_FIRST, align); v + count - 1 <= VECTOR_DEVICE_LAST;
	     v += align) {
		if (!run_is_free(v - VECTOR_DEVICE_FIRST, count))
			continue;
		for (u32 i = 0; i < count; i++) {
			taken[v - VECTOR_DEVICE_FIRST + i] = true;
			vector_set(v + i, handler, arg);
		}
		return (u8)v;
	}
	return 0;
}

void irq_vectors_free(u8 first, u32 count)
{
	n_assert(first >= VECTOR_DEVICE_FIRST && first + count - 1 <= VECTOR_DEVICE_LAST);
	for (u32 i = 0; i < count; i++) {
		n_assert(taken[first - VECTOR_DEVICE_FIRST + i]);
		taken[first - VECTOR_DEVICE_FIRST + i] = false;
		vector_set(first + i, NULL, NULL);
	}
}

bool msi_compose(u32 apic_id, u8 vector, struct msi_message *out)
{
	if (apic_id > 0xfe)
		return false;
	out->address = 0xfee00000ull | apic_id << 12;
	out->data = vector;
	return true;
}

/* VT-d 4.1, 5.1.2.2: the address holds the index, the data nothing. */
bool irq_message(u32 sid, u32 apic_id, u8 vector, struct msi_message *out)
{
	if (!iommu_remap(sid, vector, apic_id, false))
		return msi_compose(apic_id, vector, out);
	out->address = 0xfee00010ull | (u32)vector << 5;
	out->data = 0;
	return true;
}
