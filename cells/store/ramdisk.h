/* SPDX-License-Identifier: ISC */
/*
 * A volume in memory: zeros, or a read-only image, with the changed chunks of 64 KiB on the
 * heap. Nothing of it is ever written to a disk.
 */
#ifndef STORE_RAMDISK_H
#define STORE_RAMDISK_H

#include <stddef.h>
#include <stdint.h>
#include "h2/h2.h"

struct ramdisk;

/* image: may be NULL (zeros); used until the end, not changed. size >= image_size. NULL: no
 * memory. */
struct ramdisk *ramdisk_new(const void *image, uint64_t image_size, uint64_t size);
void ramdisk_free(struct ramdisk *r);
/* For h2_env.dev_ops with dev = struct ramdisk. A write without memory for it gives EIO. */
extern const struct h2_dev_ops ramdisk_ops;

#endif
