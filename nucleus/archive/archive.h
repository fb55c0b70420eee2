/* SPDX-License-Identifier: ISC */
/* The boot archive: checked once, then read. Its memory is mapped read-only from then on. */
#ifndef NUCLEUS_ARCHIVE_H
#define NUCLEUS_ARCHIVE_H

#include "d0/archive.h"
#include "nucleus/core/types.h"

/* NULL, or why it can't be used. Nothing of the manifest is looked at before its
 * signature is good. */
const char *archive_open(hpa_t at, u64 size);
/* The pure half, for tests: the same on bytes. */
const char *archive_check(const u8 *bytes, u64 size, const u8 key[65]);
/* Whether all that a loader will believe of an image lies inside the file and ascends. */
bool archive_image_sound(const struct d0_file *file);

const struct d0_file *archive_find(const char *name, u32 kind); /* kind without flags; 0: any */
const u8 *archive_data(const struct d0_file *file);
const struct d0_page_hash *archive_pages(const struct d0_file *file);

#endif
