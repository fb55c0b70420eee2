/* SPDX-License-Identifier: ISC */
/*
 * Exported counters. The table is writable by the cell and read by the nucleus, which
 * believes nothing of it; the lock is only against other vCPUs of this cell.
 */
#include <string.h>
#include "libcell/cell.h"
#include "libcell/counters.h"
#include "libcell/spinlock.h"

static struct spinlock counters_lock = SPINLOCK_INIT;
static uint64_t counter_unseen;

uint64_t *counter_register(const char *name)
{
	struct d0_counters *t = cell_ptr(cell_info()->counters);
	uint64_t *found = &counter_unseen;
	uint32_t i, n;
	size_t len = strnlen(name, sizeof(t->counter[0].name) - 1);

	spin_lock(&counters_lock);
	n = t->count < D0_COUNTERS_MAX ? t->count : D0_COUNTERS_MAX;
	for (i = 0; i < n; i++)
		if (!strncmp(t->counter[i].name, name, sizeof(t->counter[i].name) - 1))
			break;
	if (i < n) {
		found = &t->counter[i].value;
	} else if (n < D0_COUNTERS_MAX) {
		memcpy(t->counter[n].name, name, len);
		t->counter[n].name[len] = '\0';
		t->counter[n].value = 0;
		found = &t->counter[n].value;
		__atomic_store_n(&t->count, n + 1, __ATOMIC_RELEASE);
	}
	spin_unlock(&counters_lock);
	return found;
}
