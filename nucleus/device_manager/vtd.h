/* SPDX-License-Identifier: ISC */
/* Registers and structures of VT-d (Intel VT-d architecture specification 4.1): register
 * offsets in 11.4, remapping structures in chapter 9, queued invalidation in 6.5. */
#ifndef NUCLEUS_DEVICE_MANAGER_VTD_H
#define NUCLEUS_DEVICE_MANAGER_VTD_H

#include "nucleus/core/types.h"

enum {
	VTD_CAP = 0x08,
	VTD_ECAP = 0x10,
	VTD_GCMD = 0x18,
	VTD_GSTS = 0x1c,
	VTD_RTADDR = 0x20,
	VTD_FSTS = 0x34,
	VTD_FECTL = 0x38,
	VTD_FEDATA = 0x3c,
	VTD_FEADDR = 0x40,
	VTD_FEUADDR = 0x44,
	VTD_PMEN = 0x64,
	VTD_IQT = 0x88,
	VTD_IQA = 0x90,
	VTD_IRTA = 0xb8,
};

/* GCMD and GSTS: same places; the rest of GCMD is commands that do not stay. */
#define VTD_TRANSLATE     (1u << 31)
#define VTD_SET_ROOT      (1u << 30)
#define VTD_FLUSH_BUFFERS (1u << 27)
#define VTD_QUEUE         (1u << 26)
#define VTD_REMAP         (1u << 25)
#define VTD_SET_IRTA      (1u << 24)
#define VTD_GSTS_STAYS    0x96ffffffu

#define VTD_CAP_DOMAINS(cap)      (1u << (4 + 2 * ((cap)&7)))
#define VTD_CAP_RWBF(cap)         ((cap) >> 4 & 1)
#define VTD_CAP_PROTECTED(cap)    ((cap) >> 5 & 3)
#define VTD_CAP_CACHING(cap)      ((cap) >> 7 & 1)
#define VTD_CAP_3_LEVELS(cap)     ((cap) >> 9 & 1)
#define VTD_CAP_4_LEVELS(cap)     ((cap) >> 10 & 1)
#define VTD_CAP_FAULT_OFFSET(cap) ((u32)((cap) >> 24 & 0x3ff) * 16)
#define VTD_CAP_2M(cap)           ((cap) >> 34 & 1)
#define VTD_CAP_FAULTS(cap)       ((u32)((cap) >> 40 & 0xff) + 1)
#define VTD_CAP_DRAIN(cap)        ((cap) >> 54 & 3)
#define VTD_ECAP_COHERENT(ecap)   ((ecap)&1)
#define VTD_ECAP_QUEUE(ecap)      ((ecap) >> 1 & 1)
#define VTD_ECAP_REMAP(ecap)      ((ecap) >> 3 & 1)
#define VTD_ECAP_EIM(ecap)        ((ecap) >> 4 & 1)

#define VTD_FSTS_OVERFLOW    1u
#define VTD_FSTS_QUEUE_ERROR 0x70u /* queue error, completion error, timeout */
#define VTD_PMEN_ENABLE      (1u << 31)
#define VTD_IRTA_X2APIC      (1ull << 11)
#define VTD_IRTA_256         7ull /* 2^(7+1) entries */

struct vtd_root_entry {
	u64 low, high; /* low: context table | present */
};
/* low: second-level table | present; high: domain << 8 | address width */
struct vtd_context_entry {
	u64 low, high;
};
#define VTD_PRESENT  1ull
#define VTD_WIDTH_39 1ull
#define VTD_WIDTH_48 2ull

struct vtd_irte {
	u64 low, high;
};
#define VTD_IRTE_LEVEL      (1ull << 4)
#define VTD_IRTE_NMI        (4ull << 5) /* delivery mode */
#define VTD_IRTE_VERIFY_SID (1ull << 18)

struct vtd_descriptor {
	u64 low, high;
};
#define VTD_INV_CONTEXT_GLOBAL 0x11ull
#define VTD_INV_CONTEXT_DEVICE 0x31ull
#define VTD_INV_IOTLB_GLOBAL   0x12ull
#define VTD_INV_IOTLB_DOMAIN   0x22ull
#define VTD_INV_DRAIN_SHIFT    6 /* drain writes, drain reads */
#define VTD_INV_INTERRUPTS     0x04ull
#define VTD_INV_WAIT           0x25ull /* with a status write */

/* Fault recording register, high half. */
#define VTD_FAULT           (1ull << 63)
#define VTD_FAULT_READ      (1ull << 62)
#define VTD_FAULT_REASON(h) ((u32)((h) >> 32 & 0xff))
#define VTD_FAULT_SID(h)    ((u32)(h)&0xffff)
#define VTD_FAULT_IRQ       0x20 /* reasons from here on: interrupt requests */

_Static_assert(sizeof(struct vtd_root_entry) == 16, "9.1");
_Static_assert(sizeof(struct vtd_context_entry) == 16, "9.3");
_Static_assert(sizeof(struct vtd_irte) == 16, "9.10");
_Static_assert(sizeof(struct vtd_descriptor) == 16, "6.5.2");

#endif
