/* SPDX-License-Identifier: ISC */
/*
 * Serving signed images only (d0.store=...,require-signed=KEY).
 *
 * Problem. Whoever writes the disk while D0 does not run can change an image and all its check
 * codes. The signature of the image (oci/sign.c) tells, but only by reading all of it.
 *
 * Model. The first client that asks for an image, or for a PFS that began as a snapshot of
 * it, has the image verified: signature by a trusted key, then documents and tree. That takes
 * as long as reading the image and is done in a task, in slices; others are served meanwhile.
 * The result is remembered with the check code of the PFS root: with sha192 it pins every block
 * below it, so as long as it is the same, the image is. Whatever is read later is checked
 * against codes that hang from blocks read then; the cache may drop a block, but not the code
 * it must have.
 *
 * A root that a container writes to changes, and nobody signs that: of it, only what it began
 * as is known. A PFS that is no image and began as none is served when the controlling cell
 * says so (data=1 in the channel's args).
 *
 * Failure. Refused is refused until the store starts again or the image changes: an
 * import, a signature or a repair changes the volume's transaction, and then it is looked at
 * again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/store/store.h"
#include "cells/store/task.h"
#include "libcell/clock.h"
#include "libcell/log.h"
#include "oci/oci.h"

#define KNOWN 64u /* images remembered; the oldest is forgotten first */

struct verdict {
	char id[OCI_HEX]; /* "" = free */
	uint8_t root[24];
	uint64_t tid; /* of a refusal: the volume's last commit then */
	int state;    /* 1 good, 0 to be verified, -1 refused */
};

struct trust {
	struct verdict known[KNOWN];
	unsigned next;
	struct task *task;
	bool verifying;
};

static struct verdict *find(struct trust *t, const char *id)
{
	for (unsigned i = 0; i < KNOWN; i++)
		if (!strcmp(t->known[i].id, id))
			return &t->known[i];
	return NULL;
}

static struct verdict *remember(struct trust *t, const char *id)
{
	struct verdict *v = find(t, id);

	if (!v) {
		v = &t->known[t->next++ % KNOWN];
		memcpy(v->id, id, OCI_HEX);
	}
	v->state = 0;
	return v;
}

static int pfs_root(struct store *s, const char *id, uint8_t root[24])
{
	struct h2_pfs_info info;
	char label[96];
	int err;

	snprintf(label, sizeof(label), "img-%s", id);
	err = h2_pfs_stat(s->vol, label, &info);
	if (!err && info.root_check_method != H2_CHECK_SHA192)
		err = -H2_ENOTSUP; /* other codes pin nothing */
	if (!err)
		memcpy(root, info.root_check, 24);
	return err;
}

static uint64_t last_commit(struct store *s)
{
	struct h2_vol_info info;

	h2_vol_info(s->vol, &info);
	return info.mirror_tid;
}

int signed_state(struct store *s, const char *label)
{
	struct oci_store st = {0};
	char id[OCI_HEX];
	struct verdict *v;
	uint8_t root[24];
	int err;

	if (!s->config.keys)
		return 1;
	if (!s->trust)
		s->trust = calloc(1, sizeof(*s->trust));
	err = s->trust ? oci_open(&st, s->vol, false) : -H2_ENOMEM;
	if (!err)
		err = oci_origin(&st, label, id);
	oci_close(&st);
	if (!err)
		err = pfs_root(s, id, root);
	if (err) {
		log_error(
		    "PFS '%s' is not served: it is no signed image and began as none (%s)",
		    label, h2_strerror(err));
		return -1;
	}
	v = find(s->trust, id);
	if (v && v->state > 0 && !memcmp(v->root, root, 24))
		return 1;
	if (v && v->state < 0 && v->tid == last_commit(s)) {
		log_error("PFS '%s' is not served: its image was refused", label);
		return -1;
	}
	remember(s->trust, id);
	return 0;
}

static int verify(struct store *s, struct verdict *v, char why[256])
{
	struct oci_store st = {.yield = task_breathe};
	struct oci_keys keys = {.n = s->config.keys};
	struct oci_image *img = calloc(1, sizeof(*img));
	uint8_t root[24];
	int err = img ? oci_open(&st, s->vol, false) : -H2_ENOMEM;

	for (unsigned i = 0; i < keys.n; i++)
		memcpy(keys.id[i], s->config.key[i], OCI_HEX);
	if (!err)
		err = oci_image_read(&st, v->id, img);
	if (!err)
		err = pfs_root(s, v->id, v->root);
	if (!err)
		err = oci_signed_by(&st, img, &keys);
	if (!err)
		err = oci_verify(&st, img);
	/* Changed while it was read (an import made it anew): not the one that was read. */
	if (!err)
		err = pfs_root(s, v->id, root);
	if (!err && memcmp(root, v->root, 24))
		err = -H2_EAGAIN;
	memcpy(why, st.err, 256);
	oci_close(&st);
	free(img);
	return err;
}

/* The first image that waits for it, in the task. */
static void verify_one(void *store)
{
	struct store *s = store;
	uint64_t began = clock_ns();
	struct verdict *v = s->trust->known;
	char why[256] = "", id[OCI_HEX];
	int err;

	while (!v->id[0] || v->state)
		v++;
	memcpy(id, v->id, OCI_HEX);
	err = verify(s, v, why);
	if (strcmp(v->id, id)) /* forgotten meanwhile: too many at a time */
		return;
	v->state = err == -H2_EAGAIN ? 0 : err ? -1 : 1;
	v->tid = last_commit(s);
	if (err)
		log_error("image %.12s is refused: %s", id, why[0] ? why : h2_strerror(err));
	else
		log_info("image %.12s: signature and contents verified in %llu ms", id,
			 (unsigned long long)((clock_ns() - began) / CLOCK_NS_PER_MS));
	fs_channels_retry(s);
}

static bool some_wait(const struct trust *t)
{
	for (unsigned i = 0; i < KNOWN; i++)
		if (t->known[i].id[0] && !t->known[i].state)
			return true;
	return false;
}

bool signed_step(struct store *s)
{
	struct trust *t = s->trust;

	if (!t || (!t->verifying && !some_wait(t)))
		return false;
	if (!t->task)
		t->task = task_new();
	if (!t->task)
		return false; /* tried again in the next round */
	if (!t->verifying)
		task_begin(t->task, verify_one, s);
	t->verifying = task_step(t->task, clock_ns() + s->slice_ns);
	return true;
}

void signed_close(struct store *s)
{
	if (s->trust)
		task_free(s->trust->task);
	free(s->trust);
	s->trust = NULL;
}
