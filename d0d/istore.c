// SPDX-License-Identifier: ISC
// Images that the host's store keeps (backend.h, img_*).
//
// Problem: the store has images of its own, which others may bring and take as well (d0fs on
// the host's disk); d0d must not have a second truth. Model: an image is what the store says it
// is: its config, its layers and their digests, its tags (in the familiar form:
// "busybox:latest"). d0d reads them at start and after each import, and keeps beside them only
// what the store doesn't know: the digests an image was pulled by, and when its tags changed
// (images/<hex>.json). Imports: blobs go to the store's spool as they arrive (blob.c). When an
// image is complete, a manifest that names its blobs is put beside them, and the store makes
// the image, whole or not at all. Layers that it has already need not be sent. Locking:
// requests to the store are slow; none is made under the engine lock.
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

#define LAYER_TAR "application/vnd.oci.image.layer.v1.tar"

// ---- taking over an image ----

struct layers {
	struct layer *first, **end;
	const char *chains[129];
	size_t n;
};

static int take_layer(void *ctx, const char *diff, const char *chain, uint64_t size)
{
	struct layers *v = ctx;
	struct layer *l;

	if (v->n == 128 || strlen(diff) != ID_LEN || strlen(chain) != ID_LEN)
		return -1;
	l = xcalloc(1, sizeof(*l));
	strcpy(l->chain, chain);
	strcpy(l->parent, v->n ? v->chains[v->n - 1] : "");
	snprintf(l->diff_id, sizeof(l->diff_id), "sha256:%s", diff);
	strcpy(l->blob, l->diff_id);
	strcpy(l->media, LAYER_TAR);
	l->blob_size = l->size = size;
	*v->end = l;
	v->end = &l->next;
	v->chains[v->n++] = l->chain;
	return 0;
}

// Those that are known already are freed.
static void insert_layers_locked(struct engine *e, struct layers *v)
{
	for (struct layer *l = v->first, *next; l; l = next) {
		next = l->next;
		struct layer *have = layer_find_locked(e, l->chain);
		if (have) {
			for (size_t i = 0; i < v->n; i++)
				if (v->chains[i] == l->chain)
					v->chains[i] = have->chain;
			free(l);
			continue;
		}
		l->next = e->layers;
		e->layers = l;
	}
	v->first = NULL;
}

// The image with this id (hex) into the list, unless it is there.
static int take_image(struct engine *e, const char *hex, struct err *err)
{
	struct layers v = {.end = &v.first};
	char id[DIGEST_LEN + 1], *text = NULL;
	json_t *config = NULL;
	size_t len = 0;
	int rc = e->ops->img_config(e->be, hex, &text, &len, err);

	snprintf(id, sizeof(id), "sha256:%s", hex);
	if (rc == 0) {
		config = json_loadb(text, len, 0, NULL);
		if (!json_is_object(config))
			rc = err_set(err, 400, "the image's config isn't a JSON object");
	}
	if (rc == 0)
		rc = e->ops->img_layers(e->be, hex, take_layer, &v, err);
	engine_lock(e);
	if (rc == 0 && !image_by_id_locked(e, id)) {
		insert_layers_locked(e, &v);
		struct image *im = image_new(e, id, config, v.chains, v.n);
		config = NULL;
		if (im)
			image_insert_locked(e, im);
		else
			rc = err_set(err, 500, "a layer has vanished");
	}
	engine_unlock(e);
	for (struct layer *l = v.first, *next; l; l = next) {
		next = l->next;
		free(l);
	}
	json_decref(config);
	free(text);
	return rc;
}

// ---- start ----

struct listed {
	char **ids, **tags;
	size_t n, cap;
};

static int note(void *ctx, const char *id, const char *tag)
{
	struct listed *v = ctx;

	if (v->n == v->cap) {
		v->cap = v->cap ? 2 * v->cap : 16;
		v->ids = xrealloc(v->ids, v->cap * sizeof(char *));
		v->tags = xrealloc(v->tags, v->cap * sizeof(char *));
	}
	v->ids[v->n] = xstrdup(id);
	v->tags[v->n++] = xstrdup(tag);
	return 0;
}

static void add_string(char ***v, const char *s)
{
	size_t n = 0;

	while ((*v)[n])
		n++;
	*v = xrealloc(*v, (n + 2) * sizeof(char *));
	(*v)[n] = xstrdup(s);
	(*v)[n + 1] = NULL;
}

// A tag as the store has it; others may have written it in another form than d0d does.
static void take_tag(struct engine *e, const char *id, const char *tag)
{
	struct ref r;
	struct image *im;
	char full_id[DIGEST_LEN + 1];

	if (!*tag || ref_parse(tag, &r, NULL) < 0 || *r.digest)
		return;
	if (!*r.tag)
		strcpy(r.tag, "latest");
	char *full = ref_full(&r), *fam = ref_familiar(full);
	snprintf(full_id, sizeof(full_id), "sha256:%s", id);
	im = image_by_id_locked(e, full_id);
	if (im)
		add_string(&im->tags, full);
	if (im && strcmp(fam, tag) != 0 && e->ops->img_tag(e->be, id, fam, NULL) == 0)
		e->ops->img_untag(e->be, tag, NULL);
	free(full);
	free(fam);
}

static void take_record(struct engine *e, const json_t *o)
{
	struct image *im = image_by_id_locked(e, js(o, "id", ""));
	char **digests = jstrv(ja(o, "digests"));

	for (size_t i = 0; im && digests[i]; i++)
		add_string(&im->digests, digests[i]);
	if (im) {
		im->tagged_ns = ji(o, "tagged", 0);
		im->step = jb(o, "step", false);
	}
	strv_free(digests);
}

static void take_layer_record(struct engine *e, const json_t *o)
{
	const char *chain = js(o, "chain", ""), *blob = js(o, "blob", "");
	struct layer *l = layer_find_locked(e, chain);

	if (l && ref_valid_digest(blob)) {
		strcpy(l->blob, blob);
		snprintf(l->media, sizeof(l->media), "%s", js(o, "media", ""));
		l->blob_size = (uint64_t)ji(o, "blob_size", 0);
	} else if (hex_is(chain, ID_LEN)) { // the layer went while d0d didn't look
		char *path = engine_path(e, "layers/%.64s.json", chain);
		unlink(path);
		free(path);
	}
}

void istore_layer_blob(struct engine *e, const char *chain, const char *blob, const char *media,
		       uint64_t size)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "chain", chain, "blob", blob, "media",
			      media, "blob_size", (json_int_t)size);
	char *path = engine_path(e, "layers/%s.json", chain);

	engine_lock(e);
	if (json_write_atomic(path, o) < 0)
		log_msg("layer %.12s: %s", chain, strerror(errno));
	take_layer_record(e, o);
	engine_unlock(e);
	free(path);
	json_decref(o);
}

// No requests are served yet: nobody else uses the lists.
int istore_load(struct engine *e, struct err *err)
{
	struct listed v = {0};
	struct err why;

	if (e->ops->img_each(e->be, note, &v, &why) < 0)
		log_msg("no images: %s", why.msg);
	for (size_t i = 0; i < v.n; i++) {
		if (take_image(e, v.ids[i], &why) < 0)
			log_msg("image %.12s: %s", v.ids[i], why.msg);
		else
			take_tag(e, v.ids[i], v.tags[i]);
		free(v.ids[i]);
		free(v.tags[i]);
	}
	free(v.ids);
	free(v.tags);
	engine_records(e, "images", take_record);
	engine_records(e, "layers", take_layer_record);
	return 0;
}

// ---- import ----

static char *layer_name(struct engine *e, const char *blob, const char *diff)
{
	return xasprintf("blobs/sha256/%s",
			 *blob && blob_exists(e, blob, NULL) ? blob + 7 : diff + 7);
}

static char *manifest_text(struct engine *e, const char *config, char *const *blobs, size_t n,
			   const json_t *diffs)
{
	json_t *layers = json_array();
	char *name = xasprintf("blobs/sha256/%s", config + 7), *text;

	for (size_t i = 0; i < n; i++) {
		char *l = layer_name(e, blobs[i], json_string_value(json_array_get(diffs, i)));
		json_array_append_new(layers, json_string(l));
		free(l);
	}
	json_t *m = json_pack("[{s:s, s:o}]", "Config", name, "Layers", layers);
	text = json_dumps(m, JSON_COMPACT);
	json_decref(m);
	free(name);
	return text;
}

static int check_config(const json_t *c, size_t n, struct err *err)
{
	const json_t *diffs = ja(jo(c, "rootfs"), "diff_ids");

	if (!json_is_object(c))
		return err_set(err, 400, "the image's config isn't a JSON object");
	if (json_array_size(diffs) != n)
		return err_set(err, 400, "invalid image: %zu layers, but %zu diff_ids", n,
			       json_array_size(diffs));
	for (size_t i = 0; i < n; i++) {
		const char *d = json_string_value(json_array_get(diffs, i));
		if (!d || !ref_valid_digest(d))
			return err_set(err, 400, "invalid diff_id in the image's config");
	}
	return n ? 0 : err_set(err, 400, "invalid image: it has no layers");
}

int istore_build(struct engine *e, const char *config, size_t len, char *const *blobs, size_t n,
		 char id[DIGEST_LEN + 1], struct err *err)
{
	json_t *c = json_loadb(config, len, 0, NULL);
	char hex[ID_LEN + 1], file[40], *text = NULL;
	int rc = check_config(c, n, err);

	sha256_text(config, len, id);
	if (rc == 0 && !blob_exists(e, id, NULL))
		rc = blob_put(e, config, len, id, err);
	if (rc == 0) {
		text = manifest_text(e, id, blobs, n, ja(jo(c, "rootfs"), "diff_ids"));
		pthread_mutex_lock(&e->spool_lock);
		snprintf(file, sizeof(file), "manifest-%u", e->spool_names++);
		pthread_mutex_unlock(&e->spool_lock);
		rc = e->ops->img_write(e->be, file, text, strlen(text), err);
	}
	if (rc == 0)
		rc = e->ops->img_commit(e->be, file, hex, err);
	if (rc == 0 && strcmp(hex, id + 7) != 0)
		rc = err_set(err, 500, "the store made another image");
	if (rc == 0)
		rc = take_image(e, hex, err);
	free(text);
	json_decref(c);
	return rc;
}

// ---- names, removal ----

int istore_tag(struct engine *e, const char *id, const char *full, struct err *err)
{
	char *fam = ref_familiar(full);
	int rc = e->ops->img_tag(e->be, id + 7, fam, err);

	free(fam);
	return rc;
}

int istore_untag(struct engine *e, const char *full, struct err *err)
{
	char *fam = ref_familiar(full);
	int rc = e->ops->img_untag(e->be, fam, err);

	free(fam);
	return rc;
}

// Containers outlive their image (rmi -f): what they are compared with is kept for them.
static void keep_layers(struct engine *e, const char *id)
{
	char *chains[64];
	size_t n = 0;

	engine_lock(e);
	for (struct container *c = e->containers; c && n < 64; c = c->next)
		if (strcmp(c->image_id, id) == 0 && *c->chain)
			chains[n++] = xstrdup(c->chain);
	engine_unlock(e);
	for (size_t i = 0; i < n; i++) {
		char *kept = xasprintf("k-%s", chains[i]), *from = xasprintf("l-%s", chains[i]);
		e->ops->tree_create(e->be, kept, BE_TREE_IMAGE, from, NULL);
		free(kept);
		free(from);
		free(chains[i]);
	}
}

int istore_remove(struct engine *e, const char *id, struct err *err)
{
	keep_layers(e, id);
	return e->ops->img_remove(e->be, id + 7, err);
}

// ---- a layer's bytes ----

struct pump {
	struct engine *e;
	char chain[ID_LEN + 1];
	int fd;
};

static int pump_write(void *ctx, const void *buf, size_t n)
{
	const struct pump *p = ctx;
	const char *at = buf;

	while (n) {
		ssize_t k = write(p->fd, at, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

static void *pump_main(void *arg)
{
	struct pump *p = arg;
	struct be_sink out = {pump_write, p};

	p->e->ops->layer_tar(p->e->be, p->chain, &out, NULL); // a short layer is noticed there
	close(p->fd);
	free(p);
	return NULL;
}

int istore_layer_fd(struct engine *e, const char *chain, struct err *err)
{
	struct pump *p = xcalloc(1, sizeof(*p));
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0) {
		free(p);
		return err_set(err, 500, "pipe: %s", strerror(errno));
	}
	*p = (struct pump){.e = e, .fd = fd[1]};
	snprintf(p->chain, sizeof(p->chain), "%s", chain);
	engine_thread(pump_main, p);
	return fd[0];
}
