// SPDX-License-Identifier: ISC
// docker save: one tar that is both an OCI layout and a docker-archive (manifest.json), as
// newer engines write it.
//
// Layers leave as the bytes they came in; but the docker-archive form needs them
// uncompressed, so that is what both refer to: the layer's diff_id is its digest.
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"
#include "d0d/ref.h"

struct piece {
	char digest[DIGEST_LEN + 1]; // name in the archive
	char blob[DIGEST_LEN + 1];   // where its bytes are
	char chain[ID_LEN + 1];      // in an image store
	uint64_t size;
	char *text; // or the bytes themselves
};

struct save {
	struct engine *e;
	struct archive *a;
	struct be_sink *out;
	struct piece *p;
	size_t n, cap;
	json_t *manifest, *index;
	struct err *err;
};

static struct piece *piece_add(struct save *s, const char *digest)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->p[i].digest, digest) == 0)
			return NULL; // shared: once is enough
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->p = xrealloc(s->p, s->cap * sizeof(*s->p));
	}
	struct piece *p = &s->p[s->n++];
	*p = (struct piece){0};
	strcpy(p->digest, digest);
	return p;
}

static json_t *descriptor(const char *type, const char *digest, uint64_t size)
{
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest, "size",
			 (json_int_t)size);
}

static char *blob_name(const char *digest)
{
	return xasprintf("blobs/sha256/%s", digest + 7);
}

// Collects one image's pieces; the engine lock is held.
static int collect(struct save *s, struct image *im, const char *tag)
{
	size_t len = 0;
	char *config = blob_text(s->e, im->id, 4 << 20, &len), digest[DIGEST_LEN + 1];
	json_t *layers = json_array(), *names = json_array(), *tags = json_array();

	if (!config) {
		json_decref(layers);
		json_decref(names);
		json_decref(tags);
		return err_set(s->err, 500, "the config of %s is missing", im->id);
	}
	for (size_t i = 0; i < im->nlayers; i++) {
		struct layer *l = im->layers[i];
		char *name = blob_name(l->diff_id);
		struct piece *p = piece_add(s, l->diff_id);
		if (p) {
			strcpy(p->blob, l->blob);
			strcpy(p->chain, l->chain);
			p->size = l->size;
		}
		json_array_append_new(
		    layers,
		    descriptor("application/vnd.oci.image.layer.v1.tar", l->diff_id, l->size));
		json_array_append_new(names, json_string(name));
		free(name);
	}
	json_t *man =
	    json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
		      "application/vnd.oci.image.manifest.v1+json", "config",
		      descriptor("application/vnd.oci.image.config.v1+json", im->id, len),
		      "layers", layers);
	char *text = json_dumps(man, JSON_COMPACT), *cname = blob_name(im->id),
	     *fam = tag ? ref_familiar(tag) : NULL;
	sha256_text(text, strlen(text), digest);
	json_t *desc =
	    descriptor("application/vnd.oci.image.manifest.v1+json", digest, strlen(text));
	if (tag) {
		json_object_set_new(desc, "annotations",
				    json_pack("{s:s, s:s}", "io.containerd.image.name", tag,
					      "org.opencontainers.image.ref.name",
					      strrchr(tag, ':') + 1));
		json_array_append_new(tags, jstr(fam));
	}
	json_array_append_new(s->index, desc);
	struct piece *p = piece_add(s, digest);
	if (p) {
		p->text = xstrdup(text);
		p->size = strlen(text);
	}
	p = piece_add(s, im->id);
	if (p) {
		p->text = config;
		p->size = len;
	} else {
		free(config);
	}
	// Several tags of one image share an entry.
	for (size_t i = 0; i < json_array_size(s->manifest) && tag; i++) {
		json_t *o = json_array_get(s->manifest, i);
		if (strcmp(js(o, "Config", ""), cname) == 0) {
			json_array_extend(ja(o, "RepoTags"), tags);
			json_decref(names);
			names = NULL;
		}
	}
	if (names)
		json_array_append_new(s->manifest,
				      json_pack("{s:s, s:O, s:o}", "Config", cname, "RepoTags",
						tags, "Layers", names));
	json_decref(tags);
	json_decref(man);
	free(text);
	free(cname);
	free(fam);
	return 0;
}

static int collect_all(struct save *s, char *const *names, size_t n)
{
	int rc = 0;

	engine_lock(s->e);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct image *im = image_find_locked(s->e, names[i], s->err);
		struct ref r;
		char *full = NULL;
		if (im && ref_parse(names[i], &r, NULL) == 0) {
			if (!*r.tag && !*r.digest)
				strcpy(r.tag, "latest");
			full = ref_full(&r);
		}
		bool tagged = false, any = false;
		for (char **t = im ? im->tags : NULL; t && *t; t++)
			tagged |= full && strcmp(*t, full) == 0;
		// A repository without a tag means all its tags.
		bool bare = im && full && !strchr(names[i], '@') &&
			    (!strrchr(names[i], ':') || strchr(strrchr(names[i], ':'), '/'));
		if (!im) {
			rc = -1;
		} else if (tagged && !bare) {
			rc = collect(s, im, full);
		} else if (tagged) {
			size_t len = strlen(full) - strlen("latest");
			for (struct image *o = s->e->images; o && rc == 0; o = o->next)
				for (char **t = o->tags; *t && rc == 0; t++)
					if (strncmp(*t, full, len) == 0)
						rc = collect(s, o, *t), any = true;
			if (!any)
				rc = collect(s, im, full);
		} else {
			rc = collect(s, im, NULL);
		}
		free(full);
	}
	engine_unlock(s->e);
	return rc;
}

static la_ssize_t put(struct archive *a, void *ctx, const void *buf, size_t n)
{
	struct save *s = ctx;

	if (s->out->write(s->out->ctx, buf, n) < 0) {
		archive_set_error(a, 32, "the receiver is gone");
		return -1;
	}
	return (la_ssize_t)n;
}

static int header(struct save *s, const char *name, uint64_t size)
{
	struct archive_entry *ae = archive_entry_new();

	archive_entry_set_pathname(ae, name);
	archive_entry_set_filetype(ae, AE_IFREG);
	archive_entry_set_perm(ae, 0644);
	archive_entry_set_size(ae, (la_int64_t)size);
	archive_entry_set_mtime(ae, 0, 0);
	int rc = archive_write_header(s->a, ae);
	archive_entry_free(ae);
	return rc < ARCHIVE_WARN ? err_set(s->err, 500, "save: %s", archive_error_string(s->a))
				 : 0;
}

static int write_text(struct save *s, const char *name, const char *text, size_t n)
{
	if (header(s, name, n) < 0)
		return -1;
	return archive_write_data(s->a, text, n) < 0
		   ? err_set(s->err, 500, "save: %s", archive_error_string(s->a))
		   : 0;
}

static int write_json(struct save *s, const char *name, const json_t *v)
{
	char *text = json_dumps(v, JSON_COMPACT);
	int rc = write_text(s, name, text, strlen(text));

	free(text);
	return rc;
}

static int put_data(void *ctx, const void *buf, size_t n)
{
	struct save *s = ctx;

	return archive_write_data(s->a, buf, n) < 0 ? -1 : 0;
}

static int write_layer(struct save *s, const char *name, const struct piece *p)
{
	struct be_sink out = {put_data, s};

	if (images_in_store(s->e))
		return header(s, name, p->size) < 0
			   ? -1
			   : s->e->ops->layer_tar(s->e->be, p->chain, &out, s->err);
	struct unzip *u = unzip_open(s->e, p->blob, s->err);
	char *buf = xmalloc(65536);
	ssize_t n = 0;
	int rc = u ? header(s, name, p->size) : -1;

	while (rc == 0 && (n = unzip_read(u, buf, 65536)) > 0)
		if (archive_write_data(s->a, buf, (size_t)n) < 0)
			rc = err_set(s->err, 500, "save: %s", archive_error_string(s->a));
	if (rc == 0 && n < 0)
		rc = err_set(s->err, 500, "save: layer %s: %s", p->digest, unzip_error(u));
	if (u)
		unzip_close(u);
	free(buf);
	return rc;
}

static int write_all(struct save *s)
{
	json_t *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
	json_t *index =
	    json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
		      "application/vnd.oci.image.index.v1+json", "manifests", s->index);
	int rc = 0;

	s->a = archive_write_new();
	archive_write_set_format_pax_restricted(s->a);
	archive_write_set_bytes_per_block(s->a, 65536);
	archive_write_set_bytes_in_last_block(s->a, 1);
	if (archive_write_open(s->a, s, NULL, put, NULL) != ARCHIVE_OK)
		rc = err_set(s->err, 500, "save: %s", archive_error_string(s->a));
	for (size_t i = 0; i < s->n && rc == 0; i++) {
		char *name = blob_name(s->p[i].digest);
		rc = s->p[i].text ? write_text(s, name, s->p[i].text, s->p[i].size)
				  : write_layer(s, name, &s->p[i]);
		free(name);
	}
	if (rc == 0)
		rc = write_json(s, "index.json", index);
	if (rc == 0)
		rc = write_json(s, "manifest.json", s->manifest);
	if (rc == 0)
		rc = write_json(s, "oci-layout", layout);
	if (rc == 0 && archive_write_close(s->a) != ARCHIVE_OK)
		rc = err_set(s->err, 500, "save: %s", archive_error_string(s->a));
	if (rc < 0)
		archive_write_fail(s->a);
	archive_write_free(s->a);
	json_decref(layout);
	json_decref(index);
	return rc;
}

int image_save(struct engine *e, char *const *names, size_t n, struct be_sink *out,
	       struct err *err)
{
	struct save s = {
	    .e = e, .out = out, .err = err, .manifest = json_array(), .index = json_array()};

	import_begin(e); // no blob is collected while we read
	int rc = collect_all(&s, names, n);
	if (rc == 0)
		rc = write_all(&s);
	import_end(e);
	for (size_t i = 0; i < s.n; i++)
		free(s.p[i].text);
	free(s.p);
	json_decref(s.manifest);
	json_decref(s.index);
	return rc;
}
