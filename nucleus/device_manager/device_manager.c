/* SPDX-License-Identifier: ISC */
/* The order in which the parts of device_manager come up. */
#include "nucleus/device_manager/device_manager.h"

#include "nucleus/device_manager/internal.h"
#include "nucleus/device_manager/pci.h"

void device_manager_init_early(hpa_t rsdp, u64 entry_tsc)
{
	acpi_init(rsdp);
	ioapic_init();
	lapic_init_cpu();
	clock_init(entry_tsc);
	lapic_timer_calibrate();
	power_init();
}

void device_manager_init(void)
{
	iommu_parse();
	pci_enumerate();
	iommu_init();
}
