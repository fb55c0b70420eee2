/* SPDX-License-Identifier: ISC */
/*
 * Admin requests about images: list, tag, export, import.
 *
 * An import's files are kept in a PFS of its own, "tmp-<random>", opened as long as the
 * import lasts: oci_recover() deletes such PFSs only when nobody has them open, so what a
 * crash leaves goes with the next import. What an import or an export under way needs is
 * pinned (oci.h): a removal through another channel leaves it alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cells/store/admin.h"
#include "cells/store/task.h"
#include "libcell/log.h"
#include "libcell/random.h"

static struct session *importer; /* whose image is being made */

static int list_image(void *ctx, const char *tag, const struct oci_image *img)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < img->layers; i++)
		size += img->layer[i].size;
	return admin_lines(ctx, "%s\t%s\t%s\t%s\t%llu\n", tag, img->id, img->manifest,
			   img->root, (unsigned long long)size);
}

static int do_layers(struct session *c, struct oci_store *st, const char *id)
{
	struct oci_image *img = malloc(sizeof(*img));
	int err = img ? oci_image_read(st, id, img) : -H2_ENOMEM;

	for (unsigned i = 0; !err && i < img->layers; i++)
		err = admin_lines(c, "%s\t%s\t%llu\n", img->layer[i].diff, img->layer[i].chain,
				  (unsigned long long)img->layer[i].size);
	free(img);
	return err;
}

static int signer_line(void *ctx, const char *key, const struct oci_signature *sig, bool good)
{
	return admin_lines(ctx, "%s\t%d\n", key, good);
}

static int do_sign(struct session *c, struct oci_store *st, const char *id, const char *line)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_signature sig;
	int err = img ? oci_image_read(st, id, img) : -H2_ENOMEM;

	if (!err && c->head.op == D0_ADMIN_IMAGE_SIGNERS)
		err = oci_signatures(st, img, signer_line, c);
	else if (!err)
		err = line && oci_signature_parse(line, &sig) ? oci_signature_add(st, img, &sig)
							      : -H2_EINVAL;
	free(img);
	return err;
}

static int image_op(struct session *c, struct store *s, struct oci_store *st)
{
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	char id[OCI_HEX], *blob;
	size_t len;
	int err;

	if (c->head.op == D0_ADMIN_IMAGE_LIST)
		return oci_list(st, list_image, c);
	if (!a || (c->head.op == D0_ADMIN_IMAGE_TAG && !b))
		return -H2_EINVAL;
	switch (c->head.op) {
	case D0_ADMIN_IMAGE_UNTAG:
		err = oci_untag(st, a);
		break;
	case D0_ADMIN_IMAGE_ROLLBACK:
		err = oci_tag_rollback(st, a);
		break;
	case D0_ADMIN_IMAGE_BLOB:
		err = oci_blob(st, a, &blob, &len);
		if (err)
			return err;
		err = admin_stream(c, blob, len);
		free(blob);
		return err;
	case D0_ADMIN_LAYER_EXPORT:
		return oci_layer_export(st, a, admin_stream, c);
	default:
		err = oci_find(st, a, id);
		if (err)
			break;
		if (c->head.op == D0_ADMIN_IMAGE_EXPORT)
			return oci_export(st, id, a, admin_stream, c);
		if (c->head.op == D0_ADMIN_IMAGE_LAYERS)
			return do_layers(c, st, id);
		if (c->head.op == D0_ADMIN_IMAGE_SIGN || c->head.op == D0_ADMIN_IMAGE_SIGNERS) {
			err = do_sign(c, st, id, b);
			break;
		}
		err =
		    c->head.op == D0_ADMIN_IMAGE_TAG ? oci_tag(st, b, id) : oci_remove(st, id);
	}
	return err ? err : h2_sync(s->vol);
}

int admin_image(struct session *c, struct store *s, char why[256])
{
	struct oci_store st = {.yield = task_breathe, .pins = &s->pins};
	int err = oci_open(&st, s->vol, !s->readonly);

	if (err)
		return err == -H2_ENOENT && c->head.op == D0_ADMIN_IMAGE_LIST ? 0 : err;
	err = image_op(c, s, &st);
	memcpy(why, st.err, sizeof(st.err));
	oci_close(&st);
	return err;
}

/* ---- imports ---- */

void admin_import_end(struct session *c, struct store *s)
{
	if (!c->spool)
		return;
	h2_pfs_close(c->spool);
	c->spool = NULL;
	c->file = 0; /* more of it may be under way */
	if (h2_pfs_delete(s->vol, c->spool_label))
		log_warn("the spool '%s' of an import stays until the next one",
			 c->spool_label);
}

static int import_begin(struct session *c, struct store *s)
{
	/* Checked against the image's digests when it is read: a fast check will do. */
	static const struct h2_pfs_opts o = {.check = H2_CHECK_XXH64, .comp = H2_COMP_NONE};
	uint8_t raw[32];
	int n = 4, err;

	if (c->spool)
		return -H2_EBUSY;
	cell_random_bytes(raw, sizeof(raw));
	strcpy(c->spool_label, "tmp-");
	for (unsigned i = 0; i < sizeof(raw); i++)
		n += snprintf(c->spool_label + n, 3, "%02x", raw[i]);
	err = h2_pfs_create(s->vol, c->spool_label, &o);
	if (!err)
		err = h2_pfs_open(s->vol, c->spool_label, 0, &c->spool);
	c->file = 0;
	return err;
}

/* "blobs/sha256/X" is one name in the spool. */
static int spool_name(const char *name, char out[H2_NAME_MAX + 1])
{
	size_t len = strlen(name);

	if (len == 0 || len > H2_NAME_MAX)
		return -H2_EINVAL;
	for (size_t i = 0; i <= len; i++)
		out[i] = name[i] == '/' ? '|' : name[i];
	return 0;
}

static int import_file(struct session *c)
{
	static const struct h2_new how = {.mode = 0600};
	char name[H2_NAME_MAX + 1];
	struct h2_attr a;
	int err = !c->spool         ? -H2_EINVAL
		  : admin_arg(c, 0) ? spool_name(admin_arg(c, 0), name)
				    : -H2_EINVAL;

	if (!err)
		err = h2_create(c->spool, H2_ROOT_INO, name, strlen(name), &how, &a);
	if (err == -H2_EEXIST)
		err = h2_lookup(c->spool, H2_ROOT_INO, name, strlen(name), &a);
	c->file = err ? 0 : a.ino;
	c->file_len = err ? 0 : a.size;
	return err;
}

static int import_rename(struct session *c)
{
	char from[H2_NAME_MAX + 1], to[H2_NAME_MAX + 1];
	const char *a = admin_arg(c, 0), *b = admin_arg(c, 1);
	int err = c->spool && a && b ? spool_name(a, from) : -H2_EINVAL;

	if (!err)
		err = spool_name(b, to);
	return err ? err
		   : h2_rename(c->spool, H2_ROOT_INO, from, strlen(from), H2_ROOT_INO, to,
			       strlen(to), 0);
}

static int import_data(struct session *c, struct store *s)
{
	long n =
	    c->file ? h2_write(c->spool, c->file, c->file_len, c->in, c->head.len) : -H2_EINVAL;

	if (n == (long)c->head.len) {
		c->file_len += (uint64_t)n;
		return 0;
	}
	admin_import_end(c, s);
	return n < 0 ? (int)n : -H2_ENOSPC;
}

static int spool_find(void *ctx, const char *name, struct h2_attr *a)
{
	struct session *c = ctx;
	char flat[H2_NAME_MAX + 1];
	int err;

	if (c->manifest && !strcmp(name, "index.json"))
		return -H2_ENOENT;
	if (c->manifest && !strcmp(name, "manifest.json"))
		name = c->manifest;
	err = spool_name(name, flat);
	return err ? err : h2_lookup(c->spool, H2_ROOT_INO, flat, strlen(flat), a);
}

static int64_t spool_size(void *ctx, const char *name)
{
	struct h2_attr a;
	int err = spool_find(ctx, name, &a);

	return err ? err : (int64_t)a.size;
}

static long spool_read(void *ctx, const char *name, uint64_t off, void *buf, size_t len)
{
	struct session *c = ctx;
	struct h2_attr a;
	int err = c->gone ? -H2_EIO : spool_find(c, name, &a);

	return err ? err : h2_read(c->spool, a.ino, off, buf, len);
}

static bool others_turn(const struct session *c)
{
	return importer && importer != c;
}

/* The image's blobs are in the spool. One at a time: two imports could make the same layer. */
static int make_image(struct session *c, struct store *s, const char *tag, char why[256])
{
	struct oci_source src = {spool_size, spool_read, c};
	struct oci_store st = {.yield = task_breathe, .pins = &s->pins};
	struct oci_image *img = calloc(1, sizeof(*img));
	int err = oci_open(&st, s->vol, true);

	if (!err) {
		importer = c;
		st.mend = s->mend = oci_mend_new();
		err = img ? oci_import(&st, &src, *tag ? tag : NULL, img) : -H2_ENOMEM;
		importer = NULL;
		oci_mend_free(s->mend);
		s->mend = NULL;
		memcpy(why, st.err, sizeof(st.err));
		oci_close(&st);
	}
	if (!err)
		admin_frame(c, 0, D0_ADMIN_MORE, img->id, 64);
	free(img);
	return err;
}

static int import_commit(struct session *c, struct store *s, char why[256])
{
	const char *tag = admin_arg(c, 0);
	int err;

	if (!c->spool || !tag)
		return -H2_EINVAL;
	err = admin_wait(c, others_turn);
	if (err)
		return err;
	c->manifest = admin_arg(c, 1);
	err = make_image(c, s, tag, why);
	if (!c->manifest)
		admin_import_end(c, s);
	c->manifest = NULL;
	h2_sync(s->vol);
	return err;
}

int admin_import(struct session *c, struct store *s, char why[256])
{
	switch (c->head.op) {
	case D0_ADMIN_IMPORT_BEGIN:
		return import_begin(c, s);
	case D0_ADMIN_IMPORT_FILE:
		return import_file(c);
	case D0_ADMIN_IMPORT_DATA:
		return import_data(c, s);
	case D0_ADMIN_IMPORT_COMMIT:
		return import_commit(c, s, why);
	case D0_ADMIN_IMPORT_RENAME:
		return import_rename(c);
	default:
		admin_import_end(c, s);
		return 0;
	}
}
