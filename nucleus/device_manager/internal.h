/* SPDX-License-Identifier: ISC */
/* Calls between the files of device_manager. */
#ifndef NUCLEUS_DEVICE_MANAGER_INTERNAL_H
#define NUCLEUS_DEVICE_MANAGER_INTERNAL_H

#include "nucleus/core/types.h"

/* After clock_init(): measure the APIC timer (1 ms) unless the TSC drives it. */
void lapic_timer_calibrate(void);
/* Unix time; false: there is no working clock. At most 3 ms. */
bool rtc_read(s64 *unix_seconds);

/* vtd.c: parse before pci_enumerate(), which asks what memory is the IOMMU's; init after. */
struct device;
struct iommu_domain;
void iommu_parse(void);
void iommu_init(void);
bool iommu_owns(u64 base, u64 size);
/* NULL domain: nothing to do. False: no memory, or no unit covers the device. */
bool iommu_attach(struct device *dev, struct iommu_domain *domain);
void iommu_detach(struct device *dev, struct iommu_domain *domain);
/* Bind a vector to a requester ID (~0: any) and a CPU; its index in the remapping table is the
 * vector itself. False: interrupts are not remapped. */
bool iommu_remap(u32 sid, u8 vector, u32 apic_id, bool level);
u32 iommu_ioapic_sid(u32 ioapic_id);

/* irq.c: the message with which a device raises a vector, remapped where that is done. */
struct msi_message;
bool irq_message(u32 sid, u32 apic_id, u8 vector, struct msi_message *out);

#endif
