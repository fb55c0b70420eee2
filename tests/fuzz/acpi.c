/* SPDX-License-Identifier: ISC */
/*
 * ACPI tables from bytes: the input is physical memory from address 1 MiB on, the RSDP at
 * its start. Every mapping is a copy of exactly the size asked for, so that a read beyond
 * it is seen; checksums are made right on the way, or nothing would get past them.
 */
#include <stdlib.h>
#include <string.h>

#include "nucleus/device_manager/acpi.h"
#include "nucleus/memory_regions/memory_regions.h"

#define BASE 0x100000ull
#define MAPS 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *memory;
static size_t memory_size;
static void *maps[MAPS];
static unsigned map_count;

static void fix(u8 *p, u32 size, u32 at)
{
	u8 sum = 0;

	p[at] = 0;
	for (u32 i = 0; i < size; i++)
		sum += p[i];
	p[at] = -sum;
}

static const void *map(hpa_t base, u64 size)
{
	u8 *copy;

	if (base.v < BASE || base.v - BASE > memory_size ||
	    size > memory_size - (base.v - BASE) || map_count == MAPS)
		return NULL;
	copy = malloc(size ? size : 1);
	memcpy(copy, memory + (base.v - BASE), size);
	if (base.v == BASE && (size == 20 || size == 36)) {
		memcpy(copy, "RSD PTR ", 8);
		fix(copy, 20, 8);
		if (size == 36)
			fix(copy, 36, 32);
	} else if (size >= 36) {
		fix(copy, size, 9);
	}
	return maps[map_count++] = copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct acpi_info info;

	memory = data;
	memory_size = size;
	acpi_parse(&info, HPA(BASE), map);
	if (info.cpus > ACPI_CPUS_MAX || info.ioapics > ACPI_IOAPICS_MAX ||
	    info.mcfgs > ACPI_MCFG_MAX || info.overrides > ACPI_OVERRIDES_MAX)
		abort();
	while (map_count)
		free(maps[--map_count]);
	return 0;
}
