// SPDX-License-Identifier: ISC
// Image records: names, layers, removal, garbage collection.
//
// An image is one file images/<hex>.json (names and layers) beside the blob of its config;
// a layer is one file layers/<chain>.json, written after its tree is complete and durable.
// So a record always describes something whole; blobs and trees without a record are
// garbage, collected at start and after removals (never while an import runs: it holds the
// import lock for reading and its blobs have no record yet).
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

#define CONFIG_MAX (4u << 20)

struct layer *layer_find_locked(struct engine *e, const char *chain)
{
	for (struct layer *l = e->layers; l; l = l->next)
		if (strcmp(l->chain, chain) == 0)
			return l;
	return NULL;
}

struct image *image_by_id_locked(struct engine *e, const char *id)
{
	for (struct image *im = e->images; im; im = im->next)
		if (strcmp(im->id, id) == 0)
			return im;
	return NULL;
}

uint64_t image_size(const struct image *im)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < im->nlayers; i++)
		sum += im->layers[i]->size;
	return sum;
}

const char *image_parent_chain(const struct image *im)
{
	return im->nlayers ? im->layers[im->nlayers - 1]->chain : "";
}

static bool strv_has(char **v, const char *s)
{
	for (; v && *v; v++)
		if (strcmp(*v, s) == 0)
			return true;
	return false;
}

static void strv_add(char ***v, const char *s)
{
	size_t n = 0;

	while (*v && (*v)[n])
		n++;
	*v = xrealloc(*v, (n + 2) * sizeof(char *));
	(*v)[n] = xstrdup(s);
	(*v)[n + 1] = NULL;
}

static bool strv_drop(char **v, const char *s)
{
	for (; v && *v; v++) {
		if (strcmp(*v, s) != 0)
			continue;
		free(*v);
		for (; *v; v++)
			v[0] = v[1];
		return true;
	}
	return false;
}

// ---- finding ----

static struct image *find_by_ref(struct engine *e, const char *name)
{
	struct ref r;

	if (ref_parse(name, &r, NULL) < 0)
		return NULL;
	if (!*r.tag && !*r.digest)
		strcpy(r.tag, "latest");
	if (*r.digest)
		r.tag[0] = 0; // name:tag@digest is the digest
	char *full = ref_full(&r);
	struct image *im = e->images;
	while (im && !strv_has(im->tags, full) && !strv_has(im->digests, full))
		im = im->next;
	free(full);
	return im;
}

static struct image *find_by_prefix(struct engine *e, const char *hex, bool *many)
{
	struct image *found = NULL;
	size_t n = strlen(hex);

	*many = false;
	if (n == 0 || n > 64 || !hex_is(hex, n))
		return NULL;
	for (struct image *im = e->images; im; im = im->next) {
		if (strncmp(im->id + 7, hex, n) != 0)
			continue;
		*many = found != NULL;
		found = im;
	}
	return found;
}

struct image *image_find_locked(struct engine *e, const char *name, struct err *err)
{
	bool many = false;
	struct image *im = NULL;
	struct ref r;

	if (strncmp(name, "sha256:", 7) == 0)
		im = find_by_prefix(e, name + 7, &many);
	else if (strlen(name) == 64)
		im = find_by_prefix(e, name, &many);
	if (!im)
		im = find_by_ref(e, name);
	if (!im)
		im = find_by_prefix(e, name, &many);
	if (im && !many)
		return im;
	if (many)
		err_set(err, 400, "ambiguous reference: %.200s", name);
	else if (ref_parse(name, &r, err) < 0)
		return NULL;
	else if (strncmp(name, "sha256:", 7) == 0)
		err_set(err, 404, "No such image: %.200s", name);
	else {
		bool bare = !*r.tag && !*r.digest;
		err_set(err, 404, "No such image: %.300s%s", name, bare ? ":latest" : "");
	}
	return NULL;
}

// ---- records ----

static json_t *strv_json(char **v)
{
	json_t *a = json_array();

	for (; v && *v; v++)
		json_array_append_new(a, jstr(*v));
	return a;
}

int image_save_locked(struct engine *e, struct image *im, struct err *err)
{
	json_t *layers = json_array();

	for (size_t i = 0; i < im->nlayers; i++)
		json_array_append_new(layers, json_string(im->layers[i]->chain));
	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:I, s:b}", "id", im->id, "tags",
			      strv_json(im->tags), "digests", strv_json(im->digests), "layers",
			      layers, "tagged", (json_int_t)im->tagged_ns, "step", im->step);
	char *path = engine_path(e, "images/%s.json", im->id + 7);
	int rc = json_write_atomic(path, o);
	if (rc < 0)
		rc = err_set(err, errno == ENOSPC ? 507 : 500, "cannot record image: %s",
			     strerror(errno));
	json_decref(o);
	free(path);
	return rc;
}

static void image_free(struct image *im)
{
	json_decref(im->config);
	strv_free(im->tags);
	strv_free(im->digests);
	free(im->layers);
	free(im);
}

struct image *image_new(struct engine *e, const char *id, json_t *config,
			const char *const *chains, size_t n)
{
	struct image *im = xcalloc(1, sizeof(*im));

	snprintf(im->id, sizeof(im->id), "%s", id);
	im->config = config;
	im->nlayers = n;
	im->layers = xcalloc(n + 1, sizeof(void *));
	im->tags = xcalloc(1, sizeof(char *));
	im->digests = xcalloc(1, sizeof(char *));
	for (size_t i = 0; i < n; i++) {
		im->layers[i] = layer_find_locked(e, chains[i]);
		if (!im->layers[i]) {
			image_free(im);
			return NULL;
		}
	}
	return im;
}

int image_add(struct engine *e, const char *config, size_t len, const char *const *chains,
	      size_t n, char id[DIGEST_LEN + 1], struct err *err)
{
	json_t *c = json_loadb(config, len, 0, NULL);
	int rc = 0;

	if (!json_is_object(c)) {
		json_decref(c);
		return err_set(err, 400, "the image's config isn't a JSON object");
	}
	if (blob_put(e, config, len, id, err) < 0) {
		json_decref(c);
		return -1;
	}
	engine_lock(e);
	if (!image_by_id_locked(e, id)) {
		struct image *im = image_new(e, id, c, chains, n);
		c = NULL;
		rc = im ? image_save_locked(e, im, err)
			: err_set(err, 500, "a layer has vanished");
		if (rc == 0 && im) {
			im->next = e->images;
			e->images = im;
		} else if (im) {
			image_free(im);
		}
	}
	engine_unlock(e);
	json_decref(c);
	return rc;
}

static json_t *name_attr(const char *full)
{
	char *f = ref_familiar(full);
	json_t *o = json_pack("{s:o}", "name", jstr(f));

	free(f);
	return o;
}

int image_tag(struct engine *e, const char *id, const char *full, struct err *err)
{
	int rc = 0;

	if (images_in_store(e) && istore_tag(e, id, full, err) < 0)
		return -1;
	engine_lock(e);
	struct image *im = image_by_id_locked(e, id);
	if (!im) {
		rc = err_set(err, 404, "No such image: %s", id);
	} else if (!strv_has(im->tags, full)) {
		strv_add(&im->tags, full);
		im->tagged_ns = now_ns();
		rc = image_save_locked(e, im, err);
		if (rc < 0)
			strv_drop(im->tags, full);
		// The new holder is on disk; should we die here, the newer of the two wins.
		for (struct image *o = e->images; o && rc == 0; o = o->next)
			if (o != im && strv_drop(o->tags, full))
				rc = image_save_locked(e, o, err);
	}
	engine_unlock(e);
	if (rc == 0)
		event_emit(e, "image", "tag", id, name_attr(full));
	return rc;
}

int image_add_digest(struct engine *e, const char *id, const char *full, struct err *err)
{
	int rc = 0;

	engine_lock(e);
	struct image *im = image_by_id_locked(e, id);
	if (im && !strv_has(im->digests, full)) {
		strv_add(&im->digests, full);
		rc = image_save_locked(e, im, err);
	}
	engine_unlock(e);
	return rc;
}

// ---- the manifest an image came with ----

void image_keep_manifest(struct engine *e, const char *id, const char *text, size_t len)
{
	char *path = engine_path(e, "images/%s.manifest", id + 7);

	if (file_write_atomic(path, text, len) < 0)
		log_msg("manifest of %.19s: %s", id, strerror(errno));
	free(path);
}

char *image_manifest(struct engine *e, const char *id, size_t *len)
{
	char *path = engine_path(e, "images/%s.manifest", id + 7);
	char *text = file_read(path, CONFIG_MAX, len);

	free(path);
	return text;
}

static void load_layer(struct engine *e, const json_t *o)
{
	struct layer *l = xcalloc(1, sizeof(*l));

	snprintf(l->chain, sizeof(l->chain), "%s", js(o, "chain", ""));
	snprintf(l->parent, sizeof(l->parent), "%s", js(o, "parent", ""));
	snprintf(l->diff_id, sizeof(l->diff_id), "%s", js(o, "diff_id", ""));
	snprintf(l->blob, sizeof(l->blob), "%s", js(o, "blob", ""));
	snprintf(l->media, sizeof(l->media), "%s", js(o, "media", ""));
	l->blob_size = (uint64_t)ji(o, "blob_size", 0);
	l->size = (uint64_t)ji(o, "size", 0);
	l->next = e->layers;
	e->layers = l;
}

static void load_image(struct engine *e, const json_t *o)
{
	const char *id = js(o, "id", "");
	size_t len = 0;
	char *text = strlen(id) == DIGEST_LEN ? blob_text(e, id, CONFIG_MAX, &len) : NULL;
	json_t *config = text ? json_loadb(text, len, 0, NULL) : NULL;
	char **chains = jstrv(ja(o, "layers"));
	size_t n = 0;

	free(text);
	while (chains[n])
		n++;
	struct image *im =
	    config ? image_new(e, id, config, (const char *const *)chains, n) : NULL;
	if (im) {
		strv_free(im->tags);
		strv_free(im->digests);
		im->tags = jstrv(ja(o, "tags"));
		im->digests = jstrv(ja(o, "digests"));
		im->tagged_ns = ji(o, "tagged", 0);
		im->step = jb(o, "step", false);
		im->next = e->images;
		e->images = im;
	} else {
		log_msg("image %s: incomplete record ignored", id);
	}
	strv_free(chains);
}

// A tag on two images (we died between two writes): the one tagged last keeps it.
static void settle_tags(struct engine *e)
{
	for (struct image *a = e->images; a; a = a->next)
		for (struct image *b = a->next; b; b = b->next)
			for (size_t i = 0; a->tags[i];) {
				struct image *older = a->tagged_ns < b->tagged_ns ? a : b;
				if (!strv_has(b->tags, a->tags[i])) {
					i++;
					continue;
				}
				char *tag = xstrdup(a->tags[i]);
				strv_drop(older->tags, tag);
				image_save_locked(e, older, NULL);
				free(tag);
				if (older == b)
					i++;
			}
}

int images_load(struct engine *e, struct err *err)
{
	if (images_in_store(e))
		return istore_load(e, err);
	engine_records(e, "layers", load_layer);
	engine_records(e, "images", load_image);
	settle_tags(e);
	return 0;
}

void image_insert_locked(struct engine *e, struct image *im)
{
	im->next = e->images;
	e->images = im;
}

// ---- removal ----

void import_begin(struct engine *e)
{
	pthread_rwlock_rdlock(&e->import);
	spool_begin(e);
}

void import_end(struct engine *e)
{
	spool_end(e);
	pthread_rwlock_unlock(&e->import);
	if (__atomic_load_n(&e->gc_wanted, __ATOMIC_ACQUIRE))
		images_gc(e);
}

bool layer_in_image_locked(struct engine *e, const char *chain)
{
	for (struct image *im = e->images; im; im = im->next)
		for (size_t i = 0; i < im->nlayers; i++)
			if (strcmp(im->layers[i]->chain, chain) == 0)
				return true;
	return false;
}

static bool chain_used(struct engine *e, const char *chain)
{
	if (layer_in_image_locked(e, chain))
		return true;
	// A container outlives its image's record after `rmi -f`.
	for (struct container *c = e->containers; c; c = c->next)
		for (struct layer *l = layer_find_locked(e, c->chain); l;
		     l = layer_find_locked(e, l->parent))
			if (strcmp(l->chain, chain) == 0)
				return true;
	return false;
}

static bool blob_used(struct engine *e, const char *hex)
{
	for (struct image *im = e->images; im; im = im->next)
		if (strcmp(im->id + 7, hex) == 0)
			return true;
	for (struct layer *l = e->layers; l; l = l->next)
		if (strcmp(l->blob + 7, hex) == 0)
			return true;
	return false;
}

static void gc_layers(struct engine *e)
{
	for (struct layer **at = &e->layers; *at;) {
		struct layer *l = *at;
		if (chain_used(e, l->chain)) {
			at = &l->next;
			continue;
		}
		char *path = engine_path(e, "layers/%s.json", l->chain);
		char *tree = xasprintf("l-%s", l->chain);
		*at = l->next;
		unlink(path);
		engine_unlock(e); // nobody else can name it: importers are locked out
		if (!images_in_store(e))
			e->ops->tree_remove(e->be, tree, NULL);
		engine_lock(e);
		free(path);
		free(tree);
		free(l);
		at = &e->layers;
	}
}

static void gc_blobs(struct engine *e)
{
	char *path = engine_path(e, "blobs");
	DIR *d = opendir(path);
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.' && !blob_used(e, de->d_name))
			unlinkat(dirfd(d), de->d_name, 0);
	if (d)
		closedir(d);
	free(path);
}

void images_gc(struct engine *e)
{
	if (pthread_rwlock_trywrlock(&e->import) != 0) {
		__atomic_store_n(&e->gc_wanted, true, __ATOMIC_RELEASE);
		return;
	}
	__atomic_store_n(&e->gc_wanted, false, __ATOMIC_RELEASE);
	engine_lock(e);
	gc_layers(e);
	if (!images_in_store(e))
		gc_blobs(e);
	engine_unlock(e);
	pthread_rwlock_unlock(&e->import);
}

static void note(json_t *out, const char *key, const char *value)
{
	if (out)
		json_array_append_new(out, json_pack("{s:o}", key, jstr(value)));
}

bool image_in_use_locked(struct engine *e, const struct image *im)
{
	for (struct container *c = e->containers; c; c = c->next)
		if (strcmp(c->image_id, im->id) == 0)
			return true;
	return false;
}

int image_delete_locked(struct engine *e, struct image *im, json_t *out, struct err *err)
{
	char *path = engine_path(e, "images/%s.json", im->id + 7);

	(void)err;
	for (char **t = im->tags; *t; t++) {
		char *f = ref_familiar(*t);
		note(out, "Untagged", f);
		free(f);
	}
	for (char **t = im->digests; *t; t++) {
		char *f = ref_familiar(*t);
		note(out, "Untagged", f);
		free(f);
	}
	note(out, "Deleted", im->id);
	for (size_t i = im->nlayers; i-- > 0;) {
		bool shared = false;
		for (struct image *o = e->images; o && !shared; o = o->next)
			for (size_t k = 0; o != im && k < o->nlayers; k++)
				shared |= o->layers[k] == im->layers[i];
		if (!shared) {
			char *chain = xasprintf("sha256:%s", im->layers[i]->chain);
			note(out, "Deleted", chain);
			free(chain);
		}
	}
	unlink(path);
	free(path);
	path = engine_path(e, "images/%s.manifest", im->id + 7);
	unlink(path);
	for (struct image **at = &e->images; *at; at = &(*at)->next)
		if (*at == im) {
			*at = im->next;
			break;
		}
	image_free(im);
	free(path);
	return 0;
}

static struct container *used_by(struct engine *e, const struct image *im, bool running)
{
	for (struct container *c = e->containers; c; c = c->next)
		if (strcmp(c->image_id, im->id) == 0 && (!running || container_running(c)))
			return c;
	return NULL;
}

static size_t strv_len(char **v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

static int check_unused(struct engine *e, const struct image *im, const char *name, bool by_id,
			bool force, struct err *err)
{
	struct container *c = used_by(e, im, true);

	if (c)
		return err_set(err, 409,
			       by_id
				   ? "conflict: unable to delete %.64s (cannot be forced) - "
				     "image is being "
				     "used by running container %.12s"
				   : "conflict: unable to remove repository reference "
				     "\"%.200s\" (cannot be "
				     "forced) - container %.12s is using its referenced image",
			       by_id ? im->id + 7 : name, c->id);
	c = used_by(e, im, false);
	if (c && !force)
		return err_set(
		    err, 409,
		    by_id
			? "conflict: unable to delete %.64s (must be forced) - image is being "
			  "used by stopped container %.12s"
			: "conflict: unable to remove repository reference \"%.200s\" (must "
			  "force) - container %.12s is using its referenced image %.12s",
		    by_id ? im->id + 7 : name, c->id, im->id + 7);
	return 0;
}

// The tag or digest of the image that NAME says, or NULL if NAME is an id.
static char *name_used(const struct image *im, const char *name)
{
	struct ref r;

	if (ref_parse(name, &r, NULL) < 0)
		return NULL;
	if (!*r.tag && !*r.digest)
		strcpy(r.tag, "latest");
	char *full = ref_full(&r);
	if (strv_has(im->tags, full) || strv_has(im->digests, full))
		return full;
	free(full);
	return NULL;
}

// Removes a name or the image. With an image store what is to be done there comes back in
// UNTAG (to be freed) or GONE, and is not done here: it may take long.
static int remove_locked(struct engine *e, const char *name, bool force, json_t *out,
			 char **untag, char gone[DIGEST_LEN + 1], struct err *err)
{
	struct image *im = image_find_locked(e, name, err);

	if (!im)
		return -1;
	char *full = name_used(im, name);
	size_t names = strv_len(im->tags);
	int rc = 0;
	if (full && (names > 1 || (names == 1 && strchr(full, '@')))) { // others remain
		char *f = ref_familiar(full);
		if (!strv_drop(im->tags, full))
			strv_drop(im->digests, full);
		else
			*untag = xstrdup(full);
		rc = image_save_locked(e, im, err);
		note(out, "Untagged", f);
		free(f);
	} else if (!full && names > 1 && !force) {
		rc = err_set(err, 409,
			     "conflict: unable to delete %.12s (must be forced) - image is "
			     "referenced in "
			     "multiple repositories",
			     im->id + 7);
	} else {
		rc = check_unused(e, im, name, !full, force, err);
		if (rc == 0) {
			strcpy(gone, im->id);
			rc = image_delete_locked(e, im, out, err);
		}
	}
	free(full);
	return rc;
}

int image_remove(struct engine *e, const char *name, bool force, json_t *out, struct err *err)
{
	char *untag = NULL, gone_id[DIGEST_LEN + 1] = "";

	engine_lock(e);
	int rc = remove_locked(e, name, force, out, &untag, gone_id, err);
	engine_unlock(e);
	if (rc == 0 && images_in_store(e) && untag)
		rc = istore_untag(e, untag, err);
	if (rc == 0 && images_in_store(e) && *gone_id)
		rc = istore_remove(e, gone_id, err);
	free(untag);
	for (size_t i = 0; rc == 0 && i < json_array_size(out); i++) {
		const json_t *o = json_array_get(out, i);
		const char *gone = js(o, "Deleted", NULL), *tag = js(o, "Untagged", NULL);
		if (tag || (gone && i + 1 == json_array_size(out)))
			event_emit(e, "image", gone ? "delete" : "untag", gone ? gone : tag,
				   json_pack("{s:o}", "name", jstr(tag ? tag : name)));
	}
	if (rc == 0)
		images_gc(e);
	return rc;
}

// ---- JSON ----

json_t *image_names(char **v)
{
	json_t *a = json_array();

	for (; *v; v++) {
		char *f = ref_familiar(*v);
		json_array_append_new(a, jstr(f));
		free(f);
	}
	return a;
}

static int64_t image_created(const struct image *im)
{
	int64_t ns = 0;

	time_parse(js(im->config, "created", ""), &ns);
	return ns;
}

json_t *image_summary(struct engine *e, struct image *im, bool shared)
{
	int64_t n = 0, size = (int64_t)image_size(im);
	json_t *labels = jo(jo(im->config, "config"), "Labels");

	for (struct container *c = e->containers; c; c = c->next)
		n += strcmp(c->image_id, im->id) == 0;
	return json_pack(
	    "{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:O?, s:I}", "Id", im->id, "ParentId", "",
	    "RepoTags", image_names(im->tags), "RepoDigests", image_names(im->digests),
	    "Created", (json_int_t)(image_created(im) / 1000000000), "Size", (json_int_t)size,
	    "VirtualSize", (json_int_t)size, "SharedSize", (json_int_t)(shared ? 0 : -1),
	    "Labels", labels, "Containers", (json_int_t)n);
}
