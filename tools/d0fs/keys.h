/* SPDX-License-Identifier: ISC */
/* Keys on the host, in the files d0-mkarchive makes; see oci/sign.c for what they sign. */
#ifndef D0FS_KEYS_H
#define D0FS_KEYS_H

#include "oci/oci.h"

/* Add a key to those trusted: a file with a private or a public key, or a key's ID in hex.
 * 0 or an exit code, message printed. */
int d0fs_trust(struct oci_keys *keys, const char *file_or_id);
/* Sign an image's record with the private key in `file`; kept with the image, not synced. */
int d0fs_sign(struct oci_store *st, const struct oci_image *img, const char *file);

#endif
