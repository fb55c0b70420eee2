/* SPDX-License-Identifier: ISC */
/* For oci_store.pipe. */
#ifndef D0FS_PIPE_H
#define D0FS_PIPE_H

#include "oci/oci.h"

int d0fs_pipe(void *ctx, int (*produce)(void *arg, oci_sink *sink, void *sink_ctx), void *arg,
	      oci_sink *take, void *take_arg);

#endif
