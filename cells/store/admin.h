/* SPDX-License-Identifier: ISC */
/* What the files of the admin channel share: a session, and how it answers. */
#ifndef STORE_ADMIN_H
#define STORE_ADMIN_H

#include <stddef.h>
#include "cells/store/store.h"
#include "d0/store_admin.h"
#include "libcell/stream.h"
#include "oci/oci.h"

struct session {
	struct store *store;
	unsigned ch;
	uint32_t generation;
	struct stream stream;
	bool notify, closed;
	struct d0_admin_head head;
	size_t got; /* of the head, then of the payload */
	uint8_t *in;
	uint8_t *out;
	size_t out_len, out_size;
	/* an import under way */
	struct h2_pfs *spool;
	char spool_label[80];
	uint64_t file, file_len;
	const char *manifest; /* during a commit: the file to take for manifest.json */
	/* an unpacking under way */
	struct oci_store unpack_st;
	struct oci_layer *unpack;
	struct h2_pfs *unpack_pfs;
};

/* ---- admin.c ---- */
int admin_frame(struct session *c, int status, unsigned flags, const void *p, size_t len);
int admin_lines(struct session *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The n-th string of the payload, or NULL. */
const char *admin_arg(const struct session *c, unsigned n);
/* An oci_write_cb: bytes of a reply in as many frames as it takes. */
int admin_stream(void *session, const void *p, size_t len);

/* ---- admin_tree.c ---- */
int admin_tree(struct session *c, struct store *s, char why[256]);
void admin_unpack_drop(struct session *c);

#endif
