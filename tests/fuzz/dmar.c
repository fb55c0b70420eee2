/* SPDX-License-Identifier: ISC */
/* The DMAR table from bytes, and the questions asked of it. */
#include <stdlib.h>
#include <string.h>

#include "nucleus/device_manager/dmar.h"
#include "nucleus/device_manager/pci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bridges anywhere: bus n's slot 0 leads to bus n + 1. */
u8 pci_secondary_bus(u32 address)
{
	return (u8)(PCI_BUS(address) + 1);
}
u32 pci_read(u32 address, u32 off, u32 width)
{
	return 0xff;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dmar_info info;

	if (!dmar_parse(&info, data, (u32)size))
		return 0;
	if (info.units > DMAR_UNITS_MAX || info.rmrrs > DMAR_RMRRS_MAX ||
	    info.scopes > DMAR_SCOPES_MAX)
		abort();
	for (u32 i = 0; i < info.units; i++)
		for (u32 address = 0; address < 0x200; address++)
			dmar_covers(&info, &info.unit[i].scopes, address);
	return 0;
}
