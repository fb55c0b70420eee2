/* SPDX-License-Identifier: ISC */
/* What the files of the admin channel share: a session, and how it answers. */
#ifndef STORE_ADMIN_H
#define STORE_ADMIN_H

#include <stddef.h>
#include "cells/store/store.h"
#include "d0/store_admin.h"
#include "libcell/stream.h"
#include "oci/oci.h"

struct session;
/* Does the request under way have to wait still? */
typedef bool admin_waits(const struct session *c);

struct session {
	struct store *store;
	unsigned ch;
	uint32_t generation;
	struct session *next;
	struct stream stream;
	bool notify, closed, eof;
	bool gone; /* nobody hears the answer to the request under way */
	bool busy; /* a request is under way */
	int32_t key;
	struct task *task;
	admin_waits *waits; /* what it waits for; NULL: nothing */
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
/* One line of a list, as a frame. */
int admin_lines(struct session *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The n-th string of the payload, or NULL. */
const char *admin_arg(const struct session *c, unsigned n);
/* An oci_write_cb: bytes of a reply in as many frames as it takes; gives way to others. */
int admin_stream(void *session, const void *p, size_t len);

/* Give way until it need not wait any more. 0, or -H2_EIO: the client is gone. */
int admin_wait(struct session *c, admin_waits *waits);

/* ---- admin_volume.c ---- */
int admin_usage(struct session *c, struct store *s);
int admin_pfs_list(struct session *c, struct store *s);
int admin_pfs(struct session *c, struct store *s);
int admin_job_begin(struct store *s, bool scrub);
int admin_job(struct session *c);
void admin_job_close(void);

/* ---- admin_image.c ---- */
int admin_image(struct session *c, struct store *s, char why[256]);
int admin_import(struct session *c, struct store *s, char why[256]);
void admin_import_end(struct session *c, struct store *s);

/* ---- admin_tree.c ---- */
int admin_tree(struct session *c, struct store *s, char why[256]);
void admin_unpack_drop(struct session *c);

#endif
