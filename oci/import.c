/* SPDX-License-Identifier: ISC */
/*
 * Import of images.
 *
 * Model. The manifest names the config and the layers; the config names the digests of the
 * layers' tars (diff IDs). From these follow the chain IDs, which name the layers' PFSs.
 * Layers that are there are used; the others are unpacked one after the other into
 * "tmp-<chain ID>", each beginning as a snapshot of the one below it. Every digest is
 * checked on the way: of the manifest, the config, each compressed blob, each tar.
 *
 * Atomicity. Until the last step all new PFSs are named "tmp-..." and nothing refers to them.
 * The last step renames them and writes the record, the blobs and the tags in one
 * transaction of h2 (no h2_sync in between; the image's own PFS is snapshot before it,
 * under a temporary name). A cut before the final sync leaves the volume as it was plus
 * "tmp-..." PFSs, which oci_recover() deletes; one after it leaves the image, whole.
 *
 * Repair. If the image is there already, everything of it is read. A layer that does not
 * read well, and all above it, are unpacked anew and take the place of the old ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

struct import {
	struct oci_store *st;
	const struct oci_source *src;
	struct oci_image img;
	char *manifest, *config;
	size_t manifest_len, config_len;
	char blob[OCI_LAYERS_MAX][256];            /* names of the layers' blobs */
	char blob_digest[OCI_LAYERS_MAX][OCI_HEX]; /* "" if not said */
	unsigned first_new;                        /* layers from here on are unpacked */
	struct oci_sums *sums;                     /* what their files hold */
	uint64_t done, total;
	char tag[16][256];
	unsigned tags;
};

/* ---- reading the source ---- */

static int load(struct import *im, const char *name, char **out, size_t *len)
{
	int64_t size = im->src->size(im->src->ctx, name);
	char *p;
	long n;

	if (size < 0)
		return (int)size;
	if (size > OCI_BLOB_MAX)
		return oci_fail(im->st, -H2_EFBIG, "%s is too large", name);
	p = malloc((size_t)size + 1);
	if (!p)
		return -H2_ENOMEM;
	n = im->src->read(im->src->ctx, name, 0, p, (size_t)size);
	if (n != size) {
		free(p);
		return oci_fail(im->st, -H2_EIO, "%s can't be read", name);
	}
	p[n] = 0;
	*out = p;
	*len = (size_t)n;
	return 0;
}

static void digest_of(const void *p, size_t len, char out[OCI_HEX])
{
	uint8_t raw[32];

	h2_sha256(p, len, raw);
	oci_hex(raw, out);
}

/* "sha256:HEX" to HEX; false for anything else. */
static bool take_digest(const char *s, char out[OCI_HEX])
{
	if (!s || strncmp(s, "sha256:", 7) || !oci_is_hex(s + 7))
		return false;
	memcpy(out, s + 7, OCI_HEX);
	return true;
}

static int load_blob(struct import *im, const char *digest, char **out, size_t *len)
{
	char hex[OCI_HEX], got[OCI_HEX], name[96];
	int err;

	if (!take_digest(digest, hex))
		return oci_fail(im->st, -H2_EINVAL, "a digest that is not sha256");
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	err = load(im, name, out, len);
	if (err)
		return im->st->err[0] ? err : oci_fail(im->st, err, "%s is missing", name);
	digest_of(*out, *len, got);
	if (strcmp(got, hex)) {
		free(*out);
		*out = NULL;
		return oci_fail(im->st, -H2_EINVAL, "%s does not have this digest", name);
	}
	return 0;
}

/* ---- documents ---- */

static void add_tag(struct import *im, const char *tag)
{
	if (tag && *tag && strlen(tag) < sizeof(im->tag[0]) && im->tags < 16)
		strcpy(im->tag[im->tags++], tag);
}

static int too_many(struct import *im, uint32_t n)
{
	return n == 0 || n > OCI_LAYERS_MAX
		   ? oci_fail(im->st, -H2_EINVAL, "an image of %u layers", n)
		   : 0;
}

/* The manifest of an OCI image: config and layers by digest. */
static int take_manifest(struct import *im, const struct json *j)
{
	uint32_t layers = json_get(j, 0, "layers"), n = json_count(j, layers);
	int err = too_many(im, n);

	for (uint32_t i = 0; !err && i < n; i++) {
		const char *d = json_str(j, json_get(j, json_at(j, layers, i), "digest"));

		if (!take_digest(d, im->blob_digest[i]))
			return oci_fail(im->st, -H2_EINVAL, "a layer without a sha256 digest");
		snprintf(im->blob[i], sizeof(im->blob[i]), "blobs/sha256/%s",
			 im->blob_digest[i]);
	}
	im->img.layers = n;
	if (err)
		return err;
	return load_blob(im, json_str(j, json_get(j, json_get(j, 0, "config"), "digest")),
			 &im->config, &im->config_len);
}

/* The entry of an index to follow: linux/amd64 if platforms are said, else the first. */
static uint32_t choose(const struct json *j)
{
	uint32_t list = json_get(j, 0, "manifests");

	for (uint32_t i = 0; i < json_count(j, list); i++) {
		uint32_t p = json_get(j, json_at(j, list, i), "platform");
		const char *os = json_str(j, json_get(j, p, "os"));
		const char *arch = json_str(j, json_get(j, p, "architecture"));

		if (os && arch && !strcmp(os, "linux") && !strcmp(arch, "amd64"))
			return json_at(j, list, i);
	}
	return json_at(j, list, 0);
}

static int follow(struct import *im, const char *text, size_t len, unsigned depth)
{
	char *next = NULL;
	size_t next_len = 0;
	struct json j;
	int err = depth > 4 ? -H2_EINVAL : json_parse(&j, text, len);

	if (err)
		return oci_fail(im->st, err, "an index or manifest that is not good JSON");
	if (!json_get(&j, 0, "manifests")) {
		digest_of(text, len, im->img.manifest);
		im->manifest = malloc(len + 1);
		if (im->manifest) {
			/* NOLINTNEXTLINE: text was read */
			memcpy(im->manifest, text, len);
			im->manifest_len = len;
			err = take_manifest(im, &j);
		} else {
			err = -H2_ENOMEM;
		}
	} else {
		uint32_t m = choose(&j);
		uint32_t notes = json_get(&j, m, "annotations");

		if (!im->tags)
			add_tag(im,
				json_str(&j, json_get(&j, notes,
						      "org.opencontainers.image.ref.name")));
		err = load_blob(im, json_str(&j, json_get(&j, m, "digest")), &next, &next_len);
		if (!err)
			err = follow(im, next, next_len, depth + 1);
		free(next);
	}
	json_free(&j);
	return err;
}

/* docker save: manifest.json names files of the archive. */
static int take_docker(struct import *im, const char *text, size_t len)
{
	struct json j;
	int err = json_parse(&j, text, len);

	if (err)
		return oci_fail(im->st, err, "manifest.json is not good JSON");
	uint32_t m = json_at(&j, 0, 0), layers = json_get(&j, m, "Layers");
	uint32_t tags = json_get(&j, m, "RepoTags"), n = json_count(&j, layers);
	const char *config = json_str(&j, json_get(&j, m, "Config"));

	err = too_many(im, n);
	for (uint32_t i = 0; !im->tags && i < json_count(&j, tags) && i < 16; i++)
		add_tag(im, json_str(&j, json_at(&j, tags, i)));
	for (uint32_t i = 0; !err && i < n; i++) {
		const char *name = json_str(&j, json_at(&j, layers, i));

		if (!name || strlen(name) >= sizeof(im->blob[0]))
			err = oci_fail(im->st, -H2_EINVAL, "manifest.json names no layer");
		else
			strcpy(im->blob[i], name);
	}
	im->img.layers = n;
	if (!err)
		err = config ? load(im, config, &im->config, &im->config_len) : -H2_EINVAL;
	/* It has no manifest of its own that a digest could be of: manifest.json stands for it.
	 */
	digest_of(text, len, im->img.manifest);
	im->manifest = err ? NULL : malloc(len + 1);
	if (im->manifest) {
		/* NOLINTNEXTLINE: text was read */
		memcpy(im->manifest, text, len);
		im->manifest_len = len;
	}
	json_free(&j);
	if (err && !im->st->err[0])
		oci_fail(im->st, err, "the config is missing");
	return err ? err : im->manifest ? 0 : -H2_ENOMEM;
}

static int take_config(struct import *im)
{
	char text[2 * OCI_HEX + 16];
	struct json j;
	int err = json_parse(&j, im->config, im->config_len);

	if (err)
		return oci_fail(im->st, err, "the config is not good JSON");
	uint32_t ids = json_get(&j, json_get(&j, 0, "rootfs"), "diff_ids");

	digest_of(im->config, im->config_len, im->img.id);
	if (json_count(&j, ids) != im->img.layers)
		err =
		    oci_fail(im->st, -H2_EINVAL, "the config names %u layers, the manifest %u",
			     json_count(&j, ids), im->img.layers);
	for (unsigned i = 0; !err && i < im->img.layers; i++) {
		struct oci_layer_ref *l = &im->img.layer[i];

		if (!take_digest(json_str(&j, json_at(&j, ids, i)), l->diff)) {
			err = oci_fail(im->st, -H2_EINVAL, "a diff ID that is not sha256");
			break;
		}
		if (i == 0) {
			strcpy(l->chain, l->diff);
			continue;
		}
		int n = snprintf(text, sizeof(text), "sha256:%s sha256:%s",
				 im->img.layer[i - 1].chain, l->diff);
		digest_of(text, (size_t)n, l->chain);
	}
	json_free(&j);
	return err;
}

static int read_documents(struct import *im)
{
	char *text = NULL;
	size_t len = 0;
	int err = load(im, "index.json", &text, &len);

	if (!err) {
		err = follow(im, text, len, 0);
	} else if (err == -H2_ENOENT) {
		err = load(im, "manifest.json", &text, &len);
		if (err == -H2_ENOENT)
			return oci_fail(im->st, -H2_EINVAL,
					"neither an OCI layout nor a docker archive");
		if (!err)
			err = take_docker(im, text, len);
	}
	free(text);
	return err ? err : take_config(im);
}

int oci_source_layers(struct oci_store *st, const struct oci_source *src, oci_layer_cb *cb,
		      void *arg)
{
	struct import *im = calloc(1, sizeof(*im));
	int err;

	if (!im)
		return -H2_ENOMEM;
	im->st = st;
	im->src = src;
	err = read_documents(im);
	for (unsigned i = 0; !err && i < im->img.layers; i++)
		err = cb(arg, im->blob[i]);
	free(im->manifest);
	free(im->config);
	free(im);
	return err;
}

static int any_layer(void *arg, const char *blob)
{
	return 0;
}

int oci_source_check(struct oci_store *st, const struct oci_source *src)
{
	return oci_source_layers(st, src, any_layer, NULL);
}

/* ---- layers ---- */

static void label_of(const char *prefix, const char *hex, char out[96])
{
	snprintf(out, 96, "%s-%s", prefix, hex);
}

/* Sizes that the record of another image knows. */
struct size_search {
	struct oci_store *st;
	struct oci_layer_ref *layer;
	bool found;
};

static int find_size(void *arg, const char *id)
{
	struct size_search *s = arg;
	struct oci_image *img = malloc(sizeof(*img));

	if (img && !oci_image_read(s->st, id, img))
		for (unsigned i = 0; i < img->layers; i++)
			if (!strcmp(img->layer[i].chain, s->layer->chain)) {
				s->layer->size = img->layer[i].size;
				s->found = true;
			}
	free(img);
	return s->found;
}

/* Is the layer there, and does all of it read well (if asked)? */
static bool layer_good(struct import *im, struct oci_layer_ref *l, bool read_all)
{
	struct size_search s = {im->st, l, false};
	char label[96], root[OCI_HEX];
	struct h2_pfs_info info;

	label_of("lay", l->chain, label);
	if (h2_pfs_stat(im->st->vol, label, &info))
		return false;
	if (meta_each(im->st, OCI_IMAGES, find_size, &s) < 0 || !s.found)
		return false;
	return !read_all || !oci_tree_root(im->st, label, root);
}

/* The half of unpacking that may run in another thread: it touches no volume. */
struct blob_reader {
	struct import *im;
	unsigned layer;
	struct oci_sha sha; /* of the blob */
	struct oci_sha tar; /* of what is in it */
	oci_sink *sink;
	void *sink_ctx;
	bool unreadable, cut;
};

static int on_tar(void *ctx, const uint8_t *p, size_t len)
{
	struct blob_reader *r = ctx;

	oci_sha_add(&r->tar, p, len);
	int err = r->sink(r->sink_ctx, p, len);

	if (r->im->st->yield) /* a small blob may hold a large tar */
		r->im->st->yield(r->im->st->yield_ctx);
	return err;
}

static int read_blob(void *arg, oci_sink *sink, void *sink_ctx)
{
	struct blob_reader *r = arg;
	struct import *im = r->im;
	const char *name = im->blob[r->layer];
	struct oci_inflate *z = oci_inflate_new(on_tar, r);
	uint8_t *buf = malloc(OCI_CHUNK);
	uint64_t off = 0;
	int err = z && buf ? 0 : -H2_ENOMEM;
	long n = 1;

	oci_sha_init(&r->sha);
	oci_sha_init(&r->tar);
	r->sink = sink;
	r->sink_ctx = sink_ctx;
	while (!err && (n = im->src->read(im->src->ctx, name, off, buf, OCI_CHUNK)) > 0) {
		if (im->blob_digest[r->layer][0]) /* else its tar's digest is enough */
			oci_sha_add(&r->sha, buf, (size_t)n);
		err = oci_inflate_push(z, buf, (size_t)n);
		off += (uint64_t)n;
		im->done += (uint64_t)n;
		if (im->st->progress)
			im->st->progress(im->st->progress_ctx, im->done, im->total);
	}
	r->unreadable = !err && n < 0;
	r->cut = !err && !r->unreadable && oci_inflate_done(z);
	oci_inflate_free(z);
	free(buf);
	return r->unreadable ? -H2_EIO : r->cut ? -H2_EINVAL : err;
}

static int stream(struct import *im, unsigned i, struct oci_layer *layer)
{
	struct blob_reader r = {.im = im, .layer = i};
	struct oci_layer_ref *ref = &im->img.layer[i];
	char got[OCI_HEX];
	int err = im->st->pipe
		      ? im->st->pipe(im->st->pipe_ctx, read_blob, &r, oci_layer_push, layer)
		      : read_blob(&r, oci_layer_push, layer);

	if (err && !im->st->err[0] && r.unreadable)
		oci_fail(im->st, err, "%s can't be read", im->blob[i]);
	else if (err == -H2_EINVAL && !im->st->err[0])
		oci_fail(im->st, err, r.cut ? "%s is cut short" : "%s is damaged", im->blob[i]);
	if (err)
		return err;
	oci_sha_hex(&r.sha, got);
	if (im->blob_digest[i][0] && strcmp(got, im->blob_digest[i]))
		return oci_fail(im->st, -H2_EINVAL, "%s does not have this digest",
				im->blob[i]);
	ref->size = r.tar.len;
	oci_sha_hex(&r.tar, got);
	if (strcmp(got, ref->diff))
		return oci_fail(im->st, -H2_EINVAL, "layer %u is not the one the config names",
				i);
	return 0;
}

static int unpack(struct import *im, unsigned i, const char *tmp)
{
	struct oci_layer *layer = NULL;
	struct h2_pfs *pfs;
	int err = h2_pfs_open(im->st->vol, tmp, 0, &pfs);

	if (err)
		return err;
	err = oci_layer_new(im->st, pfs, tmp, &layer);
	if (!err) {
		oci_layer_note(layer, im->sums);
		err = stream(im, i, layer);
	}
	if (!err)
		err = oci_layer_finish(layer);
	oci_layer_free(layer);
	h2_pfs_close(pfs);
	return err;
}

/* The root directory's time is 0 until a layer says what it is: see root.c. */
static int zero_root_time(struct import *im, const char *label)
{
	struct h2_attr a = {0};
	struct h2_pfs *pfs;
	int err = h2_pfs_open(im->st->vol, label, 0, &pfs);

	if (err)
		return err;
	err = h2_setattr(pfs, H2_ROOT_INO, H2_SET_MTIME | H2_SET_ATIME, &a, NULL);
	h2_pfs_close(pfs);
	return err;
}

static int make_layer(struct import *im, unsigned i)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	char tmp[96], below[96];
	int err;

	label_of("tmp", im->img.layer[i].chain, tmp);
	if (i == 0) {
		err = h2_pfs_create(im->st->vol, tmp, &o);
		if (!err)
			err = zero_root_time(im, tmp);
	} else {
		label_of(i - 1 >= im->first_new ? "tmp" : "lay", im->img.layer[i - 1].chain,
			 below);
		err = h2_pfs_snapshot(im->st->vol, below, tmp);
	}
	return err ? err : unpack(im, i, tmp);
}

/* ---- the last step ---- */

struct rename_files {
	struct oci_store *st;
	const char *chain;
};

/* "/layers/tmp-CHAIN[.n]" becomes "/layers/CHAIN[.n]". */
static int rename_file(void *arg, const char *name)
{
	struct rename_files *r = arg;
	uint64_t dir;
	int err;

	if (strncmp(name, "tmp-", 4) || strncmp(name + 4, r->chain, 64))
		return 0;
	err = meta_dir(r->st, OCI_LAYERS, &dir);
	return err ? err
		   : h2_rename(r->st->meta, dir, name, strlen(name), dir, name + 4,
			       strlen(name + 4), 0);
}

static int publish_layers(struct import *im)
{
	int err = 0;

	for (unsigned i = im->first_new; !err && i < im->img.layers; i++) {
		struct rename_files r = {im->st, im->img.layer[i].chain};
		char tmp[96], label[96];

		label_of("tmp", r.chain, tmp);
		label_of("lay", r.chain, label);
		err = h2_pfs_rename(im->st->vol, tmp, label, true);
		if (!err)
			err = meta_each(im->st, OCI_LAYERS, rename_file, &r);
	}
	return err;
}

static int publish(struct import *im)
{
	struct h2_vol *vol = im->st->vol;
	const char *top = im->img.layer[im->img.layers - 1].chain;
	char tmp[96], label[96], from[96];
	int err;

	label_of("tmp", im->img.id, tmp);
	label_of("img", im->img.id, label);
	label_of(im->first_new < im->img.layers ? "tmp" : "lay", top, from);
	err = h2_pfs_snapshot(vol, from, tmp);
	if (!err)
		err = oci_tree_root_known(im->st, tmp, im->sums, im->img.root);
	/* From here to the sync: one transaction. */
	if (!err)
		err = publish_layers(im);
	if (!err)
		err = h2_pfs_rename(vol, tmp, label, true);
	if (!err)
		err = meta_write(im->st, OCI_BLOBS, im->img.id, im->config, im->config_len);
	if (!err)
		err = meta_write(im->st, OCI_BLOBS, im->img.manifest, im->manifest,
				 im->manifest_len);
	if (!err)
		err = oci_image_write(im->st, &im->img);
	for (unsigned i = 0; !err && i < im->tags; i++)
		err = oci_tag(im->st, im->tag[i], im->img.id);
	if (im->st->pins)
		im->st->pins->published++;
	return err ? err : h2_sync(vol);
}

static void read_layer(struct import *im, unsigned i)
{
	char label[96];

	label_of("lay", im->img.layer[i].chain, label);
	oci_tree_read(im->st, label);
}

/*
 * Read what is there; what is bad of it is looked for in the archive and is good when it is
 * read again. What this can't mend is made anew as a whole.
 */
static void mend_in_place(struct import *im)
{
	uint64_t before = oci_mend_missing(im->st->mend);

	for (unsigned i = 0; i < im->img.layers; i++)
		read_layer(im, i);
	if (oci_mend_missing(im->st->mend) == before)
		return;
	oci_mend_scan(im->st->mend, im->st, im->src);
	for (unsigned i = 0; i < im->img.layers; i++)
		read_layer(im, i);
	im->st->err[0] = 0;
}

static int import_layers(struct import *im)
{
	struct oci_image *old = malloc(sizeof(*old));
	struct h2_pfs_info info;
	char label[96];
	int err = 0;
	bool known;

	if (!old)
		return -H2_ENOMEM;
	label_of("img", im->img.id, label);
	known =
	    !oci_image_read(im->st, im->img.id, old) && !h2_pfs_stat(im->st->vol, label, &info);
	free(old);
	im->st->err[0] = 0;
	if (known && im->st->mend)
		mend_in_place(im);
	while (im->first_new < im->img.layers &&
	       layer_good(im, &im->img.layer[im->first_new], known))
		im->first_new++;
	for (unsigned i = im->first_new; i < im->img.layers; i++) {
		int64_t size = im->src->size(im->src->ctx, im->blob[i]);

		if (size < 0)
			return oci_fail(im->st, -H2_ENOENT, "%s is missing", im->blob[i]);
		im->total += (uint64_t)size;
	}
	for (unsigned i = im->first_new; !err && i < im->img.layers; i++)
		err = make_layer(im, i);
	return err ? err : publish(im);
}

int oci_import(struct oci_store *st, const struct oci_source *src, const char *name,
	       struct oci_image *out)
{
	struct import *im = calloc(1, sizeof(*im));
	struct oci_pin pin;
	int err;

	if (!im)
		return -H2_ENOMEM;
	im->st = st;
	im->src = src;
	im->sums = oci_sums_new();
	st->err[0] = 0;
	add_tag(im, name);
	err = oci_recover(st);
	if (!err)
		err = read_documents(im);
	oci_pin(st, &pin, &im->img);
	if (!err)
		err = import_layers(im);
	oci_unpin(st, &pin);
	if (!err && out)
		*out = im->img;
	if (err) {
		char why[sizeof(st->err)];

		memcpy(why, st->err, sizeof(why));
		oci_recover(st);
		memcpy(st->err, why, sizeof(why));
	}
	oci_sums_free(im->sums);
	free(im->manifest);
	free(im->config);
	free(im);
	return err;
}
