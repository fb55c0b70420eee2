// SPDX-License-Identifier: ISC
// docker load: reads an archive as a stream, in whatever order its members come.
//
// Each member goes into the blob store under its digest (small JSON ones also stay in
// memory); when the stream has ended, manifest.json or index.json says which of them make
// images. Members that turn out to be no part of one are collected as garbage, as
// everything is when the load fails.
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

#define TEXT_MAX    (4u << 20)
#define MEMBERS_MAX 20000

struct member {
	char *name;
	char *link; // another member's name, if this is a link to it
	char digest[DIGEST_LEN + 1];
	char *text; // small members
	size_t len;
};

struct load {
	struct engine *e;
	struct archive *a;
	struct be_source *src;
	char buf[65536];
	struct member *m;
	size_t n, cap;
	json_t *loaded;
	struct err *err;
};

static la_ssize_t load_read(struct archive *a, void *ctx, const void **buf)
{
	struct load *l = ctx;
	ssize_t n = l->src->read(l->src->ctx, l->buf, sizeof(l->buf));

	*buf = l->buf;
	if (n < 0)
		archive_set_error(a, EIO, "unexpected EOF");
	return n;
}

static const char *clean_name(const char *name)
{
	while (*name == '/' || (name[0] == '.' && name[1] == '/'))
		name++;
	return name;
}

// The target of a link inside the archive: "../<id>/layer.tar" beside "<id2>/layer.tar".
static char *resolve_link(const char *from, const char *target)
{
	char *dir = xstrdup(from), *slash = strrchr(dir, '/');

	if (slash)
		*slash = 0;
	else
		*dir = 0;
	while (strncmp(target, "../", 3) == 0) {
		target += 3;
		slash = strrchr(dir, '/');
		if (slash)
			*slash = 0;
		else
			*dir = 0;
	}
	char *out = *dir ? xasprintf("%s/%s", dir, target) : xstrdup(target);
	free(dir);
	return out;
}

static struct member *member_new(struct load *l, const char *name)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 32;
		l->m = xrealloc(l->m, l->cap * sizeof(*l->m));
	}
	struct member *m = &l->m[l->n++];
	*m = (struct member){.name = xstrdup(name)};
	return m;
}

static int take_data(struct load *l, struct member *m, int64_t size)
{
	struct blob_writer w;
	struct sbuf text = {0};
	char *chunk = xmalloc(65536);
	ssize_t n;
	int rc = blob_begin(l->e, &w, l->err);

	while (rc == 0 && (n = archive_read_data(l->a, chunk, 65536)) != 0) {
		if (n < 0) {
			rc = err_set(l->err, 400, "load: %s",
				     archive_error_string(l->a) ?: "broken");
			break;
		}
		if (size <= TEXT_MAX)
			sbuf_add(&text, chunk, (size_t)n);
		rc = blob_write(&w, chunk, (size_t)n, l->err);
	}
	free(chunk);
	if (rc == 0)
		rc = blob_finish(&w, NULL, m->digest, l->err);
	else
		blob_abort(&w);
	if (rc == 0 && text.len && (text.p[0] == '{' || text.p[0] == '[')) {
		m->text = text.p;
		m->len = text.len;
	} else {
		sbuf_free(&text);
	}
	return rc;
}

static int take_member(struct load *l, struct archive_entry *ae)
{
	const char *raw = archive_entry_pathname(ae);
	const char *sym = archive_entry_symlink(ae), *hard = archive_entry_hardlink(ae);
	mode_t type = archive_entry_filetype(ae);

	if (!raw || type == AE_IFDIR)
		return 0;
	if (l->n >= MEMBERS_MAX)
		return err_set(l->err, 400, "load: too many members");
	struct member *m = member_new(l, clean_name(raw));
	if (hard) {
		m->link = xstrdup(clean_name(hard));
		return 0;
	}
	if (type == AE_IFLNK && sym) {
		m->link = resolve_link(m->name, sym);
		return 0;
	}
	return type == AE_IFREG ? take_data(l, m, archive_entry_size(ae)) : 0;
}

static int read_all(struct load *l)
{
	struct archive_entry *ae;
	int rc = 0, got;

	l->a = archive_read_new();
	archive_read_support_filter_gzip(l->a);
	archive_read_support_filter_zstd(l->a);
	archive_read_support_filter_xz(l->a);
	archive_read_support_filter_bzip2(l->a);
	archive_read_support_format_tar(l->a);
	if (archive_read_open(l->a, l, NULL, load_read, NULL) != ARCHIVE_OK)
		rc = err_set(l->err, 400, "load: %s",
			     archive_error_string(l->a) ?: "not an archive");
	while (rc == 0 && (got = archive_read_next_header(l->a, &ae)) != ARCHIVE_EOF) {
		if (got < ARCHIVE_WARN)
			rc = err_set(l->err, 400, "load: %s",
				     archive_error_string(l->a) ?: "broken archive");
		else
			rc = take_member(l, ae);
	}
	archive_read_free(l->a);
	return rc;
}

static struct member *member_find(struct load *l, const char *name)
{
	for (int hops = 0; name && hops < 8; hops++) {
		struct member *found = NULL;
		name = clean_name(name);
		for (size_t i = 0; i < l->n && !found; i++)
			if (strcmp(l->m[i].name, name) == 0)
				found = &l->m[i];
		if (!found || !found->link)
			return found;
		name = found->link;
	}
	return NULL;
}

static struct member *member_blob(struct load *l, const char *digest)
{
	char name[160];

	if (!digest || !ref_valid_digest(digest))
		return NULL;
	snprintf(name, sizeof(name), "blobs/sha256/%s", digest + 7);
	struct member *m = member_find(l, name);
	return m && strcmp(m->digest, digest) == 0 ? m : NULL;
}

static json_t *member_json(struct member *m)
{
	return m && m->text ? json_loadb(m->text, m->len, 0, NULL) : NULL;
}

// Names the loaded image; without a name its id is what the user gets.
static int announce(struct load *l, const char *id, char *const *tags)
{
	struct ref r;
	bool named = false;
	int rc = 0;

	for (; *tags && rc == 0; tags++) {
		if (ref_parse(*tags, &r, l->err) < 0 || *r.digest)
			continue;
		if (!*r.tag)
			strcpy(r.tag, "latest");
		char *full = ref_full(&r), *f = ref_familiar(full);
		rc = image_tag(l->e, id, full, l->err);
		json_array_append_new(l->loaded, jstr(f));
		named = true;
		free(full);
		free(f);
	}
	if (!named)
		json_array_append_new(l->loaded, json_string(id));
	event_emit(l->e, "image", "load", id, json_pack("{s:s}", "name", id));
	return rc;
}

// MANIFEST: the image's own, or NULL where the archive has none.
static int build(struct load *l, struct member *config, struct member **layers, char **media,
		 size_t n, char *const *tags, const struct member *manifest)
{
	char **blobs = xcalloc(n + 1, sizeof(*blobs)), id[DIGEST_LEN + 1];

	for (size_t i = 0; i < n; i++)
		blobs[i] = layers[i]->digest;
	int rc = image_build(l->e, config->text, config->len, blobs, media, n, id, l->err);
	free(blobs);
	if (rc == 0 && manifest)
		image_keep_manifest(l->e, id, manifest->text, manifest->len);
	return rc < 0 ? -1 : announce(l, id, tags);
}

// ---- docker-archive: manifest.json ----

static int docker_one(struct load *l, const json_t *man)
{
	const json_t *names = ja(man, "Layers");
	size_t n = json_array_size(names);
	struct member *config = member_find(l, js(man, "Config", NULL));
	struct member **layers = xcalloc(n + 1, sizeof(void *));
	char **media = xcalloc(n + 1, sizeof(*media)), **tags = jstrv(ja(man, "RepoTags"));
	int rc = 0;

	if (!config || !config->text)
		rc = err_set(l->err, 400, "invalid archive: config %.200s is missing",
			     js(man, "Config", "?"));
	for (size_t i = 0; i < n && rc == 0; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		layers[i] = name ? member_find(l, name) : NULL;
		media[i] = (char *)"application/vnd.oci.image.layer.v1.tar";
		if (!layers[i] || !*layers[i]->digest)
			rc = err_set(l->err, 400, "invalid archive: layer %.200s is missing",
				     name ? name : "?");
	}
	if (rc == 0 && config)
		rc = build(l, config, layers, media, n, tags, NULL);
	free(layers);
	free(media);
	strv_free(tags);
	return rc;
}

// ---- OCI layout: index.json ----

static int oci_manifest(struct load *l, const json_t *man, const struct member *text,
			char *const *tags)
{
	const json_t *list = ja(man, "layers");
	size_t n = json_array_size(list);
	struct member *config = member_blob(l, js(jo(man, "config"), "digest", NULL));
	struct member **layers = xcalloc(n + 1, sizeof(void *));
	char **media = xcalloc(n + 1, sizeof(*media));
	int rc = 0;

	if (!config || !config->text)
		rc = err_set(l->err, 400,
			     "invalid archive: an image's config is missing or corrupt");
	for (size_t i = 0; i < n && rc == 0; i++) {
		const json_t *d = json_array_get(list, i);
		layers[i] = member_blob(l, js(d, "digest", NULL));
		media[i] = (char *)js(d, "mediaType", "");
		if (!layers[i])
			rc = err_set(l->err, 400,
				     "invalid archive: layer %.100s is missing or corrupt",
				     js(d, "digest", "?"));
	}
	if (rc == 0 && config)
		rc = build(l, config, layers, media, n, tags, text);
	free(layers);
	free(media);
	return rc;
}

static bool platform_fits(const json_t *desc)
{
	const json_t *p = jo(desc, "platform");

	return !p || (strcmp(js(p, "architecture", ""), "amd64") == 0 &&
		      strcmp(js(p, "os", ""), "linux") == 0);
}

static int oci_index(struct load *l, const json_t *index, const char *tag, int depth)
{
	const json_t *list = ja(index, "manifests");
	int rc = 0, found = 0;

	if (depth > 4)
		return err_set(l->err, 400, "invalid archive: nested too deep");
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		const json_t *d = json_array_get(list, i), *notes = jo(d, "annotations");
		const char *name = js(notes, "io.containerd.image.name", NULL);
		const char *plain = js(notes, "org.opencontainers.image.ref.name", NULL);
		if (!name && plain && strpbrk(plain, ":/"))
			name = plain;
		char *tags[] = {(char *)(name ? name : tag), NULL};
		if (!platform_fits(d))
			continue;
		struct member *text = member_blob(l, js(d, "digest", NULL));
		json_t *man = member_json(text);
		if (!man)
			rc = err_set(l->err, 400,
				     "invalid archive: manifest %.100s is missing or corrupt",
				     js(d, "digest", "?"));
		else if (ja(man, "manifests"))
			rc = oci_index(l, man, tags[0], depth + 1);
		else
			rc = oci_manifest(l, man, text, tags);
		json_decref(man);
		found++;
	}
	if (rc == 0 && !found)
		rc = err_set(l->err, 400, "the archive has no image for linux/amd64");
	return rc;
}

static int interpret(struct load *l)
{
	json_t *man = member_json(member_find(l, "manifest.json"));
	json_t *index = member_json(member_find(l, "index.json"));
	int rc = 0;

	if (json_is_array(man)) {
		if (!json_array_size(man))
			rc = err_set(l->err, 400, "invalid archive: no image in manifest.json");
		for (size_t i = 0; i < json_array_size(man) && rc == 0; i++)
			rc = docker_one(l, json_array_get(man, i));
	} else if (json_is_object(index)) {
		rc = oci_index(l, index, NULL, 0);
	} else {
		rc = err_set(l->err, 400,
			     "invalid archive: neither manifest.json nor index.json in it");
	}
	json_decref(man);
	json_decref(index);
	return rc;
}

int image_load(struct engine *e, struct be_source *src, json_t *loaded, struct err *err)
{
	struct load *l = xcalloc(1, sizeof(*l));

	*l = (struct load){.e = e, .src = src, .loaded = loaded, .err = err};
	import_begin(e);
	int rc = read_all(l);
	if (rc == 0)
		rc = interpret(l);
	__atomic_store_n(&e->gc_wanted, true, __ATOMIC_RELEASE); // members that were no blobs
	import_end(e);
	for (size_t i = 0; i < l->n; i++) {
		free(l->m[i].name);
		free(l->m[i].link);
		free(l->m[i].text);
	}
	free(l->m);
	free(l);
	return rc;
}
