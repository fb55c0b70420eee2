/* SPDX-License-Identifier: ISC */
/*
 * DMA confinement. A domain is what the devices of one cell can reach: guest-physical
 * addresses of that cell, mapped by the same code that maps its regions. Callers hold the
 * nucleus lock. Without an IOMMU domains are NULL; attaching and detaching do
 * nothing then, the other calls want a domain.
 */
#ifndef NUCLEUS_DEVICE_MANAGER_IOMMU_H
#define NUCLEUS_DEVICE_MANAGER_IOMMU_H

#include "nucleus/core/types.h"

struct iommu_domain;
struct device;

bool iommu_present(void);

/* `cell` and `number` go to the fault handler. NULL: no IOMMU or no memory. */
struct iommu_domain *iommu_domain_create(void *cell, u32 number);
/* No device may be attached any more. */
void iommu_domain_destroy(struct iommu_domain *domain);
/* perms: MAP_R | MAP_W. Page-aligned. Returns 0 or a D0_E value; on failure nothing is mapped.
 */
int iommu_map(struct iommu_domain *domain, gpa_t at, hpa_t to, u64 size, u32 perms);
/* Unmap and flush: on return no device reaches the frames any more. */
void iommu_unmap(struct iommu_domain *domain, gpa_t at, u64 size);

#endif
