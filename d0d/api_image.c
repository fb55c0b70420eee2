// SPDX-License-Identifier: ISC
// /images: list, inspect, history, tag, remove, prune, load.
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/api.h"
#include "d0d/ref.h"

// TAG is familiar ("busybox:latest"); VALUE may leave the tag out or use * and ?.
static bool fits_tag(const char *value, void *tag)
{
	char *f = xstrdup(tag), *colon = strrchr(f, ':');
	bool hit = fnmatch(value, f, FNM_PATHNAME) == 0;

	if (colon)
		*colon = 0;
	hit |= fnmatch(value, f, FNM_PATHNAME) == 0;
	free(f);
	return hit;
}

static bool fits_reference(const char *value, void *ctx)
{
	bool hit = false;

	for (char **t = ((struct image *)ctx)->tags; *t && !hit; t++) {
		char *f = ref_familiar(*t);
		hit = fits_tag(value, f);
		free(f);
	}
	return hit;
}

// Where references were asked for, only the tags that fit are listed.
static json_t *matching_tags(const json_t *f, json_t *summary)
{
	json_t *tags = ja(summary, "RepoTags");

	for (size_t i = 0; i < json_array_size(tags);)
		if (filter_ok(f, "reference", fits_tag,
			      (void *)json_string_value(json_array_get(tags, i))))
			i++;
		else
			json_array_remove(tags, i);
	return summary;
}

static bool dangling_wanted(const json_t *f, const struct image *im)
{
	const char *v = filter_value(f, "dangling", NULL);

	if (!v)
		return true;
	bool want = strcmp(v, "true") == 0 || strcmp(v, "1") == 0;
	return want == (*im->tags == NULL);
}

static int newer(const void *a, const void *b)
{
	int64_t x = ji(*(json_t *const *)a, "Created", 0),
		y = ji(*(json_t *const *)b, "Created", 0);

	return x < y   ? 1
	       : x > y ? -1
		       : strcmp(js(*(json_t *const *)a, "Id", ""),
				js(*(json_t *const *)b, "Id", ""));
}

// A new array of the same images, newest first. LIST is consumed.
static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **v = xcalloc(n + 1, sizeof(json_t *)), *out = json_array();

	for (size_t i = 0; i < n; i++)
		v[i] = json_array_get(list, i);
	qsort(v, n, sizeof(json_t *), newer);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, v[i]);
	free(v);
	json_decref(list);
	return out;
}

static void list(struct http_req *r)
{
	json_t *f = api_filters(r, "dangling,reference,label,label!,before,since,until"), *out;

	if (!f)
		return;
	out = json_array();
	engine_lock(r->e);
	for (struct image *im = r->e->images; im; im = im->next)
		if ((!im->step || *im->tags || req_flag(r, "all")) && dangling_wanted(f, im) &&
		    filter_ok(f, "reference", fits_reference, im) &&
		    filter_labels(f, jo(jo(im->config, "config"), "Labels")))
			json_array_append_new(
			    out, matching_tags(
				     f, image_summary(r->e, im, req_flag(r, "shared-size"))));
	engine_unlock(r->e);
	json_decref(f);
	resp_json(r, 200, sorted(out));
}
ROUTE("GET", "/images/json", list);

static json_t *inspect_json(struct image *im)
{
	json_t *diffs = json_array(), *cfg = jo(im->config, "config");
	json_int_t size = (json_int_t)image_size(im);

	for (size_t i = 0; i < im->nlayers; i++)
		json_array_append_new(diffs, json_string(im->layers[i]->diff_id));
	return json_pack(
	    "{s:s, s:o, s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:{s:s, s:n}, "
	    "s:{s:s, s:o}, s:{s:o}}",
	    "Id", im->id, "RepoTags", image_names(im->tags), "RepoDigests",
	    image_names(im->digests), "Parent", "", "Comment", js(im->config, "comment", ""),
	    "Created", js(im->config, "created", "0001-01-01T00:00:00Z"), "DockerVersion", "",
	    "Author", js(im->config, "author", ""), "Config",
	    cfg ? json_incref(cfg) : json_object(), "Architecture",
	    js(im->config, "architecture", "amd64"), "Os", js(im->config, "os", "linux"),
	    "Size", size, "VirtualSize", size, "GraphDriver", "Name", "h2", "Data", "RootFS",
	    "Type", "layers", "Layers", diffs, "Metadata", "LastTagTime", jtime(im->tagged_ns));
}

static void inspect(struct http_req *r)
{
	struct err err;

	engine_lock(r->e);
	struct image *im = image_find_locked(r->e, r->arg[0], &err);
	json_t *o = im ? inspect_json(im) : NULL;
	engine_unlock(r->e);
	if (o)
		resp_json(r, 200, o);
	else
		resp_err(r, &err);
}
ROUTE("GET", "/images/{+}/json", inspect);

// Newest first; entries without a layer are empty ones.
static json_t *history_json(struct image *im)
{
	json_t *out = json_array();
	const json_t *hist = ja(im->config, "history");
	size_t layer = 0;

	for (size_t i = 0; i < json_array_size(hist); i++) {
		const json_t *h = json_array_get(hist, i);
		bool empty = jb(h, "empty_layer", false);
		int64_t ns = 0, size = 0;
		if (!empty && layer < im->nlayers)
			size = (int64_t)im->layers[layer++]->size;
		time_parse(js(h, "created", ""), &ns);
		json_array_insert_new(
		    out, 0,
		    json_pack("{s:s, s:I, s:s, s:n, s:I, s:s}", "Id", "<missing>", "Created",
			      (json_int_t)(ns / 1000000000), "CreatedBy",
			      js(h, "created_by", ""), "Tags", "Size", (json_int_t)size,
			      "Comment", js(h, "comment", "")));
	}
	for (; layer < im->nlayers; layer++) // a config without a history
		json_array_insert_new(
		    out, 0,
		    json_pack("{s:s, s:i, s:s, s:n, s:I, s:s}", "Id", "<missing>", "Created", 0,
			      "CreatedBy", "", "Tags", "Size",
			      (json_int_t)im->layers[layer]->size, "Comment", ""));
	json_t *top = json_array_get(out, 0);
	if (top) {
		json_object_set_new(top, "Id", json_string(im->id));
		json_object_set_new(top, "Tags", image_names(im->tags));
	}
	return out;
}

static void history(struct http_req *r)
{
	struct err err;

	engine_lock(r->e);
	struct image *im = image_find_locked(r->e, r->arg[0], &err);
	json_t *o = im ? history_json(im) : NULL;
	engine_unlock(r->e);
	if (o)
		resp_json(r, 200, o);
	else
		resp_err(r, &err);
}
ROUTE("GET", "/images/{+}/history", history);

static void tag(struct http_req *r)
{
	const char *repo = req_query(r, "repo", ""), *t = req_query(r, "tag", "");
	char *name = *t ? xasprintf("%s:%s", repo, t) : xstrdup(repo), id[DIGEST_LEN + 1] = "";
	struct ref ref;
	struct err err;
	int rc = ref_parse(name, &ref, &err);

	if (rc == 0 && *ref.digest)
		rc = err_set(&err, 400, "refusing to create a tag with a digest reference");
	if (rc == 0) {
		engine_lock(r->e);
		struct image *im = image_find_locked(r->e, r->arg[0], &err);
		if (im)
			strcpy(id, im->id);
		else
			rc = -1;
		engine_unlock(r->e);
	}
	if (rc == 0) {
		if (!*ref.tag)
			strcpy(ref.tag, "latest");
		char *full = ref_full(&ref);
		rc = image_tag(r->e, id, full, &err);
		free(full);
	}
	free(name);
	if (rc < 0)
		resp_err(r, &err);
	else
		resp_empty(r, 201);
}
ROUTE("POST", "/images/{+}/tag", tag);

static void remove_(struct http_req *r)
{
	json_t *out = json_array();
	struct err err;

	if (image_remove(r->e, r->arg[0], req_flag(r, "force"), out, &err) < 0) {
		json_decref(out);
		resp_err(r, &err);
	} else {
		resp_json(r, 200, out);
	}
}
ROUTE("DELETE", "/images/{+}", remove_);

static void prune(struct http_req *r)
{
	json_t *f = api_filters(r, "dangling,label,label!,until"), *out, *gone;
	struct engine *e = r->e;
	int64_t bytes = 0;

	if (!f)
		return;
	out = json_array();
	const char *d = filter_value(f, "dangling", "true");
	bool all = strcmp(d, "false") == 0 || strcmp(d, "0") == 0;
	gone = json_array();
	engine_lock(e);
	for (struct image *im = e->images, *next; im; im = next) {
		next = im->next;
		if (((*im->tags || im->step) && !all) || image_in_use_locked(e, im) ||
		    !filter_labels(f, jo(jo(im->config, "config"), "Labels")))
			continue;
		bytes += (int64_t)image_size(im);
		json_array_append_new(gone, json_string(im->id));
		image_delete_locked(e, im, out, NULL);
	}
	engine_unlock(e);
	for (size_t i = 0; images_in_store(e) && i < json_array_size(gone); i++)
		istore_remove(e, json_string_value(json_array_get(gone, i)), NULL);
	json_decref(gone);
	images_gc(e);
	json_decref(f);
	resp_json(
	    r, 200,
	    json_pack("{s:o, s:I}", "ImagesDeleted", out, "SpaceReclaimed", (json_int_t)bytes));
}
ROUTE("POST", "/images/prune", prune);

// ---- load ----

static ssize_t body_read(void *ctx, void *buf, size_t n)
{
	return http_body_read(ctx, buf, n);
}

static void load(struct http_req *r)
{
	struct be_source src = {body_read, &r->body};
	json_t *loaded = json_array();
	struct err err;

	if (image_load(r->e, &src, loaded, &err) < 0) {
		resp_err(r, &err);
	} else {
		resp_begin(r, 200, "application/json", NULL);
		for (size_t i = 0; i < json_array_size(loaded); i++) {
			const char *name = json_string_value(json_array_get(loaded, i));
			char *text =
			    xasprintf(strncmp(name, "sha256:", 7) == 0 ? "Loaded image ID: %s\n"
								       : "Loaded image: %s\n",
				      name);
			resp_json_line(r, json_pack("{s:o}", "stream", jstr(text)));
			free(text);
		}
		resp_end(r);
	}
	json_decref(loaded);
}
ROUTE("POST", "/images/load", load);
