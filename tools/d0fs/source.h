/* SPDX-License-Identifier: ISC */
/* An image on the host: a folder (OCI layout) or a tar of it, or of `docker save`, plain or
 * compressed. */
#ifndef D0FS_SOURCE_H
#define D0FS_SOURCE_H

#include "oci/oci.h"

struct d0fs_member {
	char *name, *link; /* link: another member's name */
	uint64_t at, size;
};

struct d0fs_source {
	struct oci_source source;
	int fd, open_fd;
	char open_name[256];
	const uint8_t *map;
	size_t map_size;
	struct d0fs_member *member;
	size_t members;
};

/* 0 or an exit code, message printed. Close it in both cases. */
int d0fs_source_open(struct d0fs_source *s, const char *path);
void d0fs_source_close(struct d0fs_source *s);

#endif
