// SPDX-License-Identifier: ISC
// Images made here: docker import (a root file system) and docker commit (a container's
// changes as one more layer).
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

#define LAYER_TAR "application/vnd.oci.image.layer.v1.tar"

struct blob_sink {
	struct blob_writer *w;
	struct err why; // of the writer's failure: the backend only sees that there was one
};

static int blob_sink_write(void *ctx, const void *buf, size_t n)
{
	struct blob_sink *b = ctx;

	return blob_write(b->w, buf, n, &b->why);
}

static json_t *base_config(const json_t *config, const char *author, const char *comment)
{
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:O, s:{s:s, s:[]}, s:[]}", "architecture",
			 "amd64", "os", "linux", "created", jtime(now_ns()), "author", author,
			 "comment", comment, "config", config, "rootfs", "type", "layers",
			 "diff_ids", "history");
}

static void add_layer(json_t *image, const char *diff_id, const char *by, const char *comment)
{
	json_array_append_new(ja(jo(image, "rootfs"), "diff_ids"), json_string(diff_id));
	json_array_append_new(ja(image, "history"),
			      json_pack("{s:o, s:s, s:s}", "created", jtime(now_ns()),
					"created_by", by, "comment", comment));
}

// BLOB: the top layer's.
static int finish(struct engine *e, const json_t *image, const char *const *chains, size_t n,
		  char *blob, char id[DIGEST_LEN + 1], struct err *err)
{
	char *text = json_dumps(image, JSON_COMPACT), **blobs;
	int rc;

	if (!text)
		return err_set(err, 500, "the image's config can't be written");
	if (images_in_store(e)) {
		blobs = xcalloc(n, sizeof(*blobs));
		for (size_t i = 0; i < n; i++)
			blobs[i] = i + 1 < n ? (char *)"" : blob;
		rc = istore_build(e, text, strlen(text), blobs, n, id, err);
		free(blobs);
	} else {
		rc = image_add(e, text, strlen(text), chains, n, id, err);
	}
	free(text);
	return rc;
}

// The new layer on top of PARENT: its chain and its digest. An image store unpacks it when it
// makes the image; the blob is uncompressed then.
static int new_layer(struct engine *e, const char *parent, const char *blob,
		     char chain[ID_LEN + 1], struct err *err)
{
	if (!images_in_store(e))
		return layer_ensure(e, parent, "", blob, LAYER_TAR, chain, err);
	chain_id(parent, blob, chain);
	return 0;
}

static const char *diff_of(struct engine *e, const char *chain, const char *blob,
			   char out[DIGEST_LEN + 1])
{
	engine_lock(e);
	struct layer *l = layer_find_locked(e, chain);
	strcpy(out, l ? l->diff_id : blob);
	engine_unlock(e);
	return out;
}

// The bytes of SRC with their compression undone.
struct plain {
	struct archive *a;
	struct be_source *src;
	char buf[32768];
};

static la_ssize_t plain_pull(struct archive *a, void *ctx, const void **buf)
{
	struct plain *p = ctx;
	ssize_t n = p->src->read(p->src->ctx, p->buf, sizeof(p->buf));

	*buf = p->buf;
	if (n < 0)
		archive_set_error(a, 5, "unexpected EOF");
	return n;
}

static int plain_open(struct plain *p, struct be_source *src, struct err *err)
{
	struct archive_entry *ae;

	p->src = src;
	p->a = archive_read_new();
	archive_read_support_filter_gzip(p->a);
	archive_read_support_filter_zstd(p->a);
	archive_read_support_filter_xz(p->a);
	archive_read_support_filter_bzip2(p->a);
	archive_read_support_format_raw(p->a);
	if (archive_read_open(p->a, p, NULL, plain_pull, NULL) == ARCHIVE_OK &&
	    archive_read_next_header(p->a, &ae) == ARCHIVE_OK)
		return 0;
	return err_set(err, 400, "import: %s", archive_error_string(p->a) ?: "empty archive");
}

static ssize_t plain_read(void *ctx, void *buf, size_t n)
{
	return archive_read_data(((struct plain *)ctx)->a, buf, n);
}

int image_import(struct engine *e, struct be_source *src, const json_t *changes,
		 const char *message, char id[DIGEST_LEN + 1], struct err *err)
{
	struct blob_writer w;
	struct plain *plain = xcalloc(1, sizeof(*plain));
	struct be_source undone = {plain_read, plain};
	char *buf = xmalloc(65536), blob[DIGEST_LEN + 1], chain[ID_LEN + 1],
	     diff[DIGEST_LEN + 1];
	json_t *config = json_object();
	ssize_t n;
	int rc = 0;

	for (size_t i = 0; i < json_array_size(changes) && rc == 0; i++)
		rc = config_change(config, json_string_value(json_array_get(changes, i)) ?: "",
				   err);
	import_begin(e);
	if (rc == 0 && images_in_store(e)) {
		rc = plain_open(plain, src, err);
		src = &undone;
	}
	if (rc == 0)
		rc = blob_begin(e, &w, err);
	if (rc == 0) {
		while (rc == 0 && (n = src->read(src->ctx, buf, 65536)) != 0)
			rc = n < 0 ? err_set(err, 400, "import: unexpected EOF")
				   : blob_write(&w, buf, (size_t)n, err);
		if (rc == 0)
			rc = blob_finish(&w, NULL, blob, err);
		else
			blob_abort(&w);
	}
	if (rc == 0)
		rc = new_layer(e, "", blob, chain, err);
	if (rc == 0) {
		const char *chains[] = {chain};
		json_t *image = base_config(config, "", message);
		add_layer(image, diff_of(e, chain, blob, diff), "", message);
		rc = finish(e, image, chains, 1, blob, id, err);
		json_decref(image);
	}
	if (rc < 0)
		__atomic_store_n(&e->gc_wanted, true, __ATOMIC_RELEASE);
	import_end(e);
	json_decref(config);
	if (plain->a)
		archive_read_free(plain->a);
	free(plain);
	free(buf);
	if (rc == 0)
		event_emit(e, "image", "import", id, json_pack("{s:s}", "name", id));
	return rc;
}

// The chains of an image's layers, base first, from its top one.
static size_t chains_of(struct engine *e, const char *top, char (**out)[ID_LEN + 1])
{
	size_t n = 0;

	engine_lock(e);
	for (struct layer *l = layer_find_locked(e, top); l;
	     l = layer_find_locked(e, l->parent))
		n++;
	*out = xcalloc(n + 1, sizeof(**out));
	size_t at = n;
	for (struct layer *l = layer_find_locked(e, top); l;
	     l = layer_find_locked(e, l->parent))
		strcpy((*out)[--at], l->chain);
	engine_unlock(e);
	return n;
}

// What is said of N layers below: the base's own history if it fits them.
static json_t *history_of(struct engine *e, const char *image, size_t n)
{
	json_t *out = NULL;
	size_t layers = 0;

	engine_lock(e);
	struct image *im = image_by_id_locked(e, image);
	const json_t *have = im ? ja(im->config, "history") : NULL;
	for (size_t i = 0; i < json_array_size(have); i++)
		layers += !jb(json_array_get(have, i), "empty_layer", false);
	if (have && layers == n)
		out = json_deep_copy(have);
	engine_unlock(e);
	if (out)
		return out;
	out = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    out, json_pack("{s:o, s:s}", "created", jtime(now_ns()), "created_by", ""));
	return out;
}

// An image of the layers up to chain TOP, with BLOB ("" for none) as one more.
static int assemble(struct engine *e, const char *top, char *blob, const struct image_meta *m,
		    char id[DIGEST_LEN + 1], struct err *err)
{
	char(*names)[ID_LEN + 1], diff[DIGEST_LEN + 1];
	size_t n = chains_of(e, top, &names);
	int rc = *blob ? new_layer(e, top, blob, names[n], err) : 0;

	if (rc == 0) {
		size_t all = n + (*blob != 0);
		const char **chains = xcalloc(all + 1, sizeof(*chains));
		json_t *image = base_config(m->config, m->author, m->comment);
		json_t *diffs = ja(jo(image, "rootfs"), "diff_ids");
		for (size_t i = 0; i < all; i++) {
			chains[i] = names[i];
			json_array_append_new(diffs,
					      json_string(diff_of(e, names[i], blob, diff)));
		}
		json_object_set(image, "history", (json_t *)m->history);
		rc = finish(e, image, chains, all, blob, id, err);
		json_decref(image);
		free(chains);
	}
	free(names);
	return rc;
}

int image_of_layers(struct engine *e, const char *top, const struct image_meta *m,
		    char id[DIGEST_LEN + 1], struct err *err)
{
	import_begin(e);
	int rc = assemble(e, top, (char *)"", m, id, err);
	import_end(e);
	return rc;
}

// The container's changes as a blob.
static int pack_changes(struct engine *e, const struct container *c, char blob[DIGEST_LEN + 1],
			struct err *err)
{
	char *tree = xasprintf("c-%s", c->id), *base = xasprintf("l-%s", c->chain);
	struct blob_writer w;
	struct blob_sink bs = {.w = &w};
	struct be_sink sink = {blob_sink_write, &bs};
	int rc = blob_begin(e, &w, err);

	if (rc == 0) {
		rc = e->ops->tree_pack_diff(e->be, tree, base, &sink, err);
		if (rc < 0 && *bs.why.msg)
			*err = bs.why;
		if (rc == 0)
			rc = blob_finish(&w, NULL, blob, err);
		else
			blob_abort(&w);
	}
	free(tree);
	free(base);
	return rc;
}

static size_t count_layers(struct engine *e, const char *top)
{
	char(*names)[ID_LEN + 1];
	size_t n = chains_of(e, top, &names);

	free(names);
	return n;
}

int image_commit(struct engine *e, struct container *c, const struct image_meta *m,
		 const char *created_by, char id[DIGEST_LEN + 1], struct err *err)
{
	char blob[DIGEST_LEN + 1];
	json_t *cfg = json_deep_copy(m->config);
	struct image_meta all = {cfg, m->history, m->author, m->comment};
	json_t *own = NULL;

	json_object_del(cfg, "Image");
	// An invented host name belongs to the container, not to what is made of it.
	if (strncmp(js(cfg, "Hostname", ""), c->id, 12) == 0)
		json_object_del(cfg, "Hostname");
	if (!all.history)
		all.history = own = history_of(e, c->image_id, count_layers(e, c->chain));
	else
		all.history = own = json_deep_copy(all.history);
	json_array_append_new(own, json_pack("{s:o, s:s, s:s}", "created", jtime(now_ns()),
					     "created_by", created_by, "comment", m->comment));
	import_begin(e);
	int rc = pack_changes(e, c, blob, err);
	if (rc == 0)
		rc = assemble(e, c->chain, blob, &all, id, err);
	if (rc < 0)
		__atomic_store_n(&e->gc_wanted, true, __ATOMIC_RELEASE);
	import_end(e);
	json_decref(cfg);
	json_decref(own);
	return rc;
}

int image_tag_name(struct engine *e, const char *id, const char *repo, const char *tag,
		   struct err *err)
{
	char *name = xasprintf("%s:%s", repo, tag);
	struct ref r;
	int rc = ref_parse(name, &r, err);

	if (rc < 0 && ref_parse(repo, &r, NULL) == 0 && *r.tag) // the tag was in REPO
		rc = 0;
	if (rc == 0) {
		char *full = ref_full(&r);
		rc = image_tag(e, id, full, err);
		free(full);
	}
	free(name);
	return rc;
}

// ---- Dockerfile-like changes ----

// The exec form ["a","b"], or the shell form as ["/bin/sh","-c",text].
static json_t *command(const char *text)
{
	json_t *a = *text == '[' ? json_loads(text, 0, NULL) : NULL;

	if (json_is_array(a))
		return a;
	json_decref(a);
	return json_pack("[s, s, s]", "/bin/sh", "-c", text);
}

// "k=v", or "k v" in the old form; quotes around the value are taken off.
static char *pair(const char *text, char **value)
{
	char *copy = xstrdup(text), *sep = strpbrk(copy, "= ");

	if (!sep) {
		*value = copy + strlen(copy);
		return copy;
	}
	*sep = 0;
	*value = sep + 1;
	size_t n = strlen(*value);
	if (n >= 2 && (**value == '"' || **value == '\'') && (*value)[n - 1] == **value) {
		(*value)[n - 1] = 0;
		(*value)++;
	}
	return copy;
}

static json_t *object_at(json_t *config, const char *key)
{
	if (!jo(config, key))
		json_object_set_new(config, key, json_object());
	return jo(config, key);
}

static void set_env(json_t *config, const char *text)
{
	char *v, *k = pair(text, &v), *kv = xasprintf("%s=%s", k, v);
	json_t *env = ja(config, "Env");
	size_t n = strlen(k);

	if (!env) {
		env = json_array();
		json_object_set_new(config, "Env", env);
	}
	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strncmp(s, k, n) == 0 && s[n] == '=')
			json_array_remove(env, i--);
	}
	json_array_append_new(env, jstr(kv));
	free(kv);
	free(k);
}

int config_change(json_t *config, const char *change, struct err *err)
{
	static const struct {
		const char *word, *key;
	} texts[] = {{"WORKDIR", "WorkingDir"}, {"USER", "User"}, {"STOPSIGNAL", "StopSignal"}};
	size_t n = strcspn(change, " \t");
	const char *arg = change + n + strspn(change + n, " \t");

	if (!*arg)
		return err_set(err, 400, "%.100s: an argument is needed", change);
	for (size_t i = 0; i < 3; i++)
		if (strlen(texts[i].word) == n && strncasecmp(change, texts[i].word, n) == 0) {
			json_object_set_new(config, texts[i].key, jstr(arg));
			return 0;
		}
	if (n == 3 && strncasecmp(change, "CMD", 3) == 0) {
		json_object_set_new(config, "Cmd", command(arg));
	} else if (n == 10 && strncasecmp(change, "ENTRYPOINT", 10) == 0) {
		json_object_set_new(config, "Entrypoint", command(arg));
	} else if (n == 3 && strncasecmp(change, "ENV", 3) == 0) {
		set_env(config, arg);
	} else if (n == 5 && strncasecmp(change, "LABEL", 5) == 0) {
		char *v, *k = pair(arg, &v);
		json_object_set_new(object_at(config, "Labels"), k, jstr(v));
		free(k);
	} else if (n == 6 && strncasecmp(change, "EXPOSE", 6) == 0) {
		char *port = strchr(arg, '/') ? xstrdup(arg) : xasprintf("%s/tcp", arg);
		json_object_set_new(object_at(config, "ExposedPorts"), port, json_object());
		free(port);
	} else if (n == 6 && strncasecmp(change, "VOLUME", 6) == 0) {
		json_object_set_new(object_at(config, "Volumes"), arg, json_object());
	} else {
		return err_set(err, 400, "%.*s is not a valid change command", (int)n, change);
	}
	return 0;
}
