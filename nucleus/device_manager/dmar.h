/* SPDX-License-Identifier: ISC */
/* The ACPI DMAR table (VT-d specification 4.1, chapter 8), checked and copied. */
#ifndef NUCLEUS_DEVICE_MANAGER_DMAR_H
#define NUCLEUS_DEVICE_MANAGER_DMAR_H

#include "nucleus/core/types.h"

#define DMAR_UNITS_MAX  8
#define DMAR_RMRRS_MAX  16
#define DMAR_SCOPES_MAX 64
#define DMAR_PATH_MAX   6

enum dmar_scope_type {
	DMAR_ENDPOINT = 1,
	DMAR_BRIDGE = 2, /* and everything below it */
	DMAR_IOAPIC = 3,
};

struct dmar_scope {
	u8 type, id; /* id: of the I/O APIC or HPET */
	u8 bus, depth;
	u8 path[DMAR_PATH_MAX]; /* devfn from `bus` down, one a level */
};
struct dmar_scopes {
	u16 segment;
	u32 first, count; /* in dmar_info.scope */
};
struct dmar_unit {
	hpa_t regs;
	bool all; /* every device of the segment that no other unit names */
	struct dmar_scopes scopes;
};
struct dmar_rmrr {
	u64 base, limit;
	struct dmar_scopes scopes;
};
struct dmar_info {
	bool interrupt_remap;
	u32 units, rmrrs, scopes;
	struct dmar_unit unit[DMAR_UNITS_MAX];
	struct dmar_rmrr rmrr[DMAR_RMRRS_MAX];
	struct dmar_scope scope[DMAR_SCOPES_MAX];
};

/*
 * table: the whole table, its length and checksum verified. False if it is malformed or
 * larger than the limits above: a machine half covered is worse than one that says so.
 */
bool dmar_parse(struct dmar_info *out, const u8 *table, u32 size);

/* Is the device in the scopes? Bridges are followed through pci_secondary_bus(). */
bool dmar_covers(const struct dmar_info *info, const struct dmar_scopes *scopes, u32 address);

#endif
