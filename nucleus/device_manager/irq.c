/* SPDX-License-Identifier: ISC */
/* Vectors for devices: which are taken, and messages that raise them. Under the nucleus
 * lock, but for msi_compose(), which keeps no state. */
#include "nucleus/device_manager/irq.h"

#include "nucleus/core/print.h"
#include "nucleus/device_manager/internal.h"

static bool taken[VECTOR_DEVICE_LAST + 1];

u8 irq_vector_alloc(vector_handler handler, void *arg)
{
	for (u32 v = VECTOR_DEVICE_FIRST; v <= VECTOR_DEVICE_LAST; v++) {
		if (taken[v])
			continue;
		taken[v] = true;
		vector_set(v, handler, arg);
		return (u8)v;
	}
	return 0;
}

void irq_vector_free(u8 vector)
{
	n_assert(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST &&
		 taken[vector]);
	taken[vector] = false;
	vector_set(vector, NULL, NULL);
}

bool msi_compose(u32 apic_id, u8 vector, struct msi_message *out)
{
	*out = (struct msi_message){0xfee00000ull | apic_id << 12, vector};
	return apic_id <= 0xfe;
}

/* VT-d 4.1, 5.1.2.2: the address holds the index, the data nothing. */
bool irq_message(u32 sid, u32 apic_id, u8 vector, struct msi_message *out)
{
	if (!iommu_remap(sid, vector, apic_id, false))
		return msi_compose(apic_id, vector, out);
	*out = (struct msi_message){0xfee00010ull | (u32)vector << 5, 0};
	return true;
}
