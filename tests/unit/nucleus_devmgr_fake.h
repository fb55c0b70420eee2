/* SPDX-License-Identifier: ISC */
/* What device_manager's logic needs of the rest of the nucleus, on the host. */
#ifndef TESTS_UNIT_NUCLEUS_DEVMGR_FAKE_H
#define TESTS_UNIT_NUCLEUS_DEVMGR_FAKE_H

#include "nucleus/core/types.h"

/* Physical memory for firmware_map(), mmio_map() and hpa_to_ptr(); starts at fake_base. */
#define FAKE_RAM (1024 * 1024)
extern u8 *fake_ram;
extern u64 fake_base;
void fake_reset(void);
u32 fake_frames_out(void);
void fake_vector_fire(u32 vector);

#endif
