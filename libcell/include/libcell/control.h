/* SPDX-License-Identifier: ISC */
/* One request of the control protocol (d0/control.h). */
#ifndef LIBCELL_CONTROL_H
#define LIBCELL_CONTROL_H

#include <stdint.h>
#include "d0/control.h"

/*
 * Fills h.op and h.size of the structure at req, performs the request; the structure comes
 * back with its output fields. D0_OK or the D0_E value. Hosted: D0_ENOSYS except for what
 * the launcher offers.
 */
int cell_control(struct d0_ctl *req, uint32_t op, uint32_t size);

#define CELL_CONTROL(req, name) cell_control(&(req)->h, D0_CTL_##name, sizeof(*(req)))

/* Name and meaning of a D0_E value, "unknown error" otherwise. */
const char *cell_strerror(int error);

#endif
