// SPDX-License-Identifier: ISC
// File trees in ordinary directories: applying layers, packing, comparing. Every path is
// resolved inside the tree's root (openat2 RESOLVE_IN_ROOT), so neither "..", nor absolute
// names, nor symbolic links made by an earlier entry lead outside.
#ifndef D0D_DIRTREE_H
#define D0D_DIRTREE_H

#include "d0d/backend.h"

// Opens a path inside ROOT with openat2; -1 with errno.
int dt_open(int root, const char *path, int flags, mode_t mode);
// Opens directory PATH below ROOT, making what is missing (0755). -1 with errno.
int dt_make_dirs(int root, const char *path);
// Checks an archive's path and strips leading "/" and "./". NULL if it has a "..".
const char *dt_clean_path(const char *path);

#define DT_LAYER    1 // .wh. entries are whiteouts
#define DT_NO_OWNER 2 // everything becomes root's
#define DT_NO_CROSS 4 // see BE_NO_OVERWRITE_DIR
int dt_unpack(int root, const char *below, struct be_source *src, int flags, struct err *e);
int dt_pack(int root, const char *path, const char *as, struct be_sink *out, struct err *e);
int dt_diff(int root, int base, be_change_cb *cb, void *ctx, struct err *e);
int dt_pack_diff(int root, int base, struct be_sink *out, struct err *e);
int dt_stat(int root, const char *path, bool follow, struct be_stat *st, struct err *e);
uint64_t dt_usage(int dir);
// Fills the empty directory TO with hard links to the files of FROM.
int dt_clone(int from, int to, bool hard_links, struct err *e);
int dt_errno(struct err *e, const char *what, const char *path); // -1 from errno

#endif
