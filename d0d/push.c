// SPDX-License-Identifier: ISC
// Pushing to registries.
//
// Problem: an image's digest in a registry is that of its manifest, which names the layers in
// the compressed form they travel in; the host keeps layers unpacked (on D0) and can't give
// back somebody else's compressed bytes. Model: what the image came with is remembered: its
// manifest's exact text (images/<id>.manifest) and each layer's compressed digest
// (layers/<chain>.json). A layer that the manifest names is not sent if the registry has it, or
// can take it over from another of its repositories that the image is known to be in. Only
// otherwise is it compressed here, always in the same way (zlib, level 6, no time or name in
// the header), so that what was pushed once is recognised the next time. If every layer is in
// the registry under the digest that the manifest says, that manifest is pushed and the image
// keeps its digest; else one is made of what was sent. Failure: nothing of the image changes;
// blobs that arrived stay in the registry, which collects what no manifest names.
//
// Source: OCI distribution-spec 1.0, "Pushing Blobs", "Mounting a blob from another
// repository".
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "d0d/registry_impl.h"

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_TAR      "application/vnd.oci.image.layer.v1.tar"
#define GZIP_LEVEL   6
#define GZIP_WINDOW  (15 + 16) // 16: with gzip's header
#define PIECE        65536
#define SOURCES      8

// A blob as a registry has it.
struct wire {
	char digest[DIGEST_LEN + 1], media[100];
	uint64_t size;
};

// The image that is pushed, copied under the engine lock.
struct pushed {
	char id[DIGEST_LEN + 1];
	size_t n;
	struct layer *layer; // copies
	char *source[SOURCES];
	size_t nsources; // repositories of the same registry that may have its layers
	char *text;      // the manifest it came with, or NULL
	size_t len;
	json_t *manifest;
};

// ---- blobs in the registry ----

static int blob_known(struct reg *g, const char *digest)
{
	struct http_call call;
	struct url u;

	if (reg_url(g, &u, "/v2/%s/blobs/%s", g->r->path, digest) < 0 ||
	    reg_call(g, "HEAD", &u, NULL, NULL, &call) < 0)
		return -1;
	int s = call.h.status;
	client_close(&call);
	return s == 200;
}

// Begins an upload, or with FROM asks for the blob of another repository. 1: it is there now;
// 0: *TO is where to send it.
static int upload_begin(struct reg *g, const char *digest, const char *from, struct url *to)
{
	struct sbuf path = {0};
	struct http_call call;
	struct url u;

	sbuf_addf(&path, "/v2/%s/blobs/uploads/", g->r->path);
	if (from) {
		sbuf_addf(&path, "?mount=%s&from=", digest);
		http_percent_encode(&path, from);
	}
	int rc = reg_url(g, &u, "%s", path.p);
	sbuf_free(&path);
	if (rc < 0 || reg_call(g, "POST", &u, NULL, NULL, &call) < 0)
		return -1;
	const char *where = http_header(&call.h, "Location");
	if (from && call.h.status == 201)
		rc = 1;
	else if (call.h.status == 202 && where)
		rc = url_join(&u, where, to, g->err);
	else
		rc = reg_answer_error(g, &call, "an upload");
	client_close(&call);
	return rc;
}

static int upload(struct reg *g, const char *digest, const struct http_upload *up)
{
	struct http_call call;
	struct url at;
	int rc = upload_begin(g, digest, NULL, &at);

	if (rc < 0)
		return -1;
	size_t n = strlen(at.path);
	snprintf(at.path + n, sizeof(at.path) - n, "%cdigest=%s",
		 strchr(at.path, '?') ? '&' : '?', digest);
	if (reg_call(g, "PUT", &at, NULL, up, &call) < 0)
		return -1;
	if (call.h.status != 201)
		rc = reg_answer_error(g, &call, digest);
	client_close(&call);
	return rc;
}

// ---- layers ----

// What the deflater has for output, to the file and into the digest; FLUSH as zlib's.
static int drain(z_stream *z, int flush, int fd, EVP_MD_CTX *md, uint64_t *size)
{
	uint8_t out[PIECE];

	do {
		z->next_out = out;
		z->avail_out = sizeof(out);
		deflate(z, flush);
		size_t n = sizeof(out) - z->avail_out;
		EVP_DigestUpdate(md, out, n);
		*size += n;
		if (fd_write_all(fd, out, n) < 0)
			return -1;
	} while (z->avail_out == 0);
	return 0;
}

// The tar that comes from IN, whose digest is DIFF, compressed into a scratch file: *OUT, *W.
static int squeeze(struct reg *g, int in, const char *diff, int *out, struct wire *w)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new(), *tar = EVP_MD_CTX_new();
	uint8_t *buf = xmalloc(PIECE), sum[32];
	char is[DIGEST_LEN + 1] = "sha256:";
	z_stream z = {0};
	ssize_t n = 1;
	int rc = 0;

	*w = (struct wire){.digest = "sha256:", .media = OCI_TAR "+gzip"};
	*out = engine_scratch(g->e, g->err);
	if (*out < 0)
		rc = -1;
	else if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
		 Z_OK)
		rc = err_set(g->err, 500, "push: out of memory");
	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	EVP_DigestInit_ex(tar, EVP_sha256(), NULL);
	while (rc == 0 && n > 0) {
		n = read(in, buf, PIECE);
		EVP_DigestUpdate(tar, buf, n > 0 ? (size_t)n : 0);
		z.next_in = buf;
		z.avail_in = n > 0 ? (uInt)n : 0;
		if (drain(&z, n > 0 ? Z_NO_FLUSH : Z_FINISH, *out, md, &w->size) < 0)
			rc = err_set(g->err, errno == ENOSPC ? 507 : 500, "push: %s",
				     strerror(errno));
	}
	EVP_DigestFinal_ex(md, sum, NULL);
	hex_put(w->digest + 7, sum, 32);
	EVP_DigestFinal_ex(tar, sum, NULL);
	hex_put(is + 7, sum, 32);
	if (rc == 0 && strcmp(is, diff) != 0)
		rc = err_set(g->err, 500, "layer %s can't be read", diff);
	deflateEnd(&z);
	EVP_MD_CTX_free(md);
	EVP_MD_CTX_free(tar);
	free(buf);
	if (rc < 0 && *out >= 0)
		close(*out);
	return rc;
}

static bool holds(char *const *list, size_t n, const char *s)
{
	while (n--)
		if (strcmp(list[n], s) == 0)
			return true;
	return false;
}

// Is this blob in the repository, or can it be taken over from a sister? 1, 0, -1.
static int settle(struct reg *g, const struct pushed *p, const char *digest, const char *tag)
{
	int rc = blob_known(g, digest);

	if (rc == 1 && g->progress(g->ctx, tag, "Layer already exists", 0, 0) < 0)
		return -1;
	for (size_t i = 0; i < p->nsources && rc == 0; i++) {
		struct url unused;
		rc = upload_begin(g, digest, p->source[i], &unused);
		if (rc != 1)
			continue;
		char *text = xasprintf("Mounted from %s", p->source[i]);
		if (g->progress(g->ctx, tag, text, 0, 0) < 0)
			rc = -1;
		free(text);
	}
	return rc;
}

static int send_file(struct reg *g, const struct wire *w, int fd, const char *tag)
{
	struct http_upload up = {.fd = fd, .size = w->size};

	if (g->progress(g->ctx, tag, "Pushing", 0, w->size) < 0 || lseek(fd, 0, SEEK_SET) < 0 ||
	    upload(g, w->digest, &up) < 0)
		return -1;
	return g->progress(g->ctx, tag, "Pushed", 0, 0);
}

// Compresses the layer; what comes out is remembered as the form it travels in.
static int send_squeezed(struct reg *g, const struct pushed *p, const struct layer *l,
			 const char *tag, struct wire *w)
{
	int in = istore_layer_fd(g->e, l->chain, g->err), out = -1;
	int rc = in < 0 ? -1 : squeeze(g, in, l->diff_id, &out, w);

	if (in >= 0)
		close(in);
	if (rc < 0)
		return -1;
	istore_layer_blob(g->e, l->chain, w->digest, w->media, w->size);
	rc = settle(g, p, w->digest, tag);
	if (rc == 0)
		rc = send_file(g, w, out, tag);
	close(out);
	return rc < 0 ? -1 : 0;
}

static int send_kept(struct reg *g, const struct layer *l, const char *tag, struct wire *w)
{
	char *path = blob_path(g->e, l->blob);
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	free(path);
	if (fd < 0)
		return err_set(g->err, 500, "blob %s is missing", l->blob);
	rc = send_file(g, w, fd, tag);
	close(fd);
	return rc;
}

// The layer is in the registry afterwards; *W says as what. SAID: what the manifest that the
// image came with says of it, or NULL.
static int push_layer(struct reg *g, const struct pushed *p, size_t i, const json_t *said,
		      struct wire *w)
{
	const struct layer *l = &p->layer[i];
	struct wire known = {.size = l->blob_size};
	char tag[13];

	strcpy(known.digest, l->blob);
	strcpy(known.media, l->media);
	reg_short_id(l->diff_id, tag);
	if (g->progress(g->ctx, tag, "Preparing", 0, 0) < 0)
		return -1;
	if (said) {
		*w = (struct wire){.size = (uint64_t)ji(said, "size", 0)};
		snprintf(w->digest, sizeof(w->digest), "%s", js(said, "digest", ""));
		snprintf(w->media, sizeof(w->media), "%s", js(said, "mediaType", ""));
		int rc = settle(g, p, w->digest, tag);
		if (rc)
			return rc < 0 ? -1 : 0;
	}
	bool tried = said && strcmp(known.digest, w->digest) == 0;
	// In an image store a layer without a record of how it travels has its tar's digest.
	bool plain = images_in_store(g->e) && strcmp(l->blob, l->diff_id) == 0;
	if (!tried && !plain) {
		*w = known;
		int rc = settle(g, p, w->digest, tag);
		if (rc)
			return rc < 0 ? -1 : 0;
	}
	if (images_in_store(g->e))
		return send_squeezed(g, p, l, tag, w);
	*w = known;
	return send_kept(g, l, tag, w);
}

// ---- the manifest ----

// A layer's media type in a manifest of OCI's: Docker's older names (...tar.gzip) are not.
static const char *oci_media(const char *media)
{
	size_t n = strlen(media);

	if (n < 4)
		return OCI_TAR;
	return strcmp(media + n - 4, "zstd") == 0   ? OCI_TAR "+zstd"
	       : strcmp(media + n - 4, "gzip") == 0 ? OCI_TAR "+gzip"
						    : OCI_TAR;
}

static json_t *manifest_of(const struct pushed *p, const struct wire *w, size_t config_size)
{
	json_t *layers = json_array();

	for (size_t i = 0; i < p->n; i++) {
		json_array_append_new(
		    layers, json_pack("{s:s, s:s, s:I}", "mediaType", oci_media(w[i].media),
				      "digest", w[i].digest, "size", (json_int_t)w[i].size));
	}
	return json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
			 OCI_MANIFEST, "config", "mediaType", OCI_CONFIG, "digest", p->id,
			 "size", (json_int_t)config_size, "layers", layers);
}

// Does the manifest the image came with say what is in the registry now?
static bool still_true(const struct pushed *p, const struct wire *w)
{
	const json_t *list = ja(p->manifest, "layers");

	for (size_t i = 0; i < p->n; i++)
		if (strcmp(js(json_array_get(list, i), "digest", ""), w[i].digest) != 0)
			return false;
	return p->manifest != NULL;
}

static int push_config(struct reg *g, const char *id, size_t *size)
{
	char *text = blob_text(g->e, id, MANIFEST_MAX, size);
	int rc =
	    text ? blob_known(g, id) : err_set(g->err, 500, "the image's config is unreadable");
	struct http_upload up = {.data = text, .size = text ? *size : 0};

	if (rc == 0)
		rc = upload(g, id, &up);
	free(text);
	return rc < 0 ? -1 : 0;
}

static int push_manifest(struct reg *g, const struct pushed *p, const struct wire *w,
			 struct push_result *out)
{
	size_t size = 0;
	struct http_call call;
	struct url u;

	if (push_config(g, p->id, &size) < 0)
		return -1;
	bool same = still_true(p, w);
	json_t *man = same ? json_incref(p->manifest) : manifest_of(p, w, size);
	char *text = same ? xstrndup(p->text, p->len) : json_dumps(man, JSON_COMPACT);
	struct http_upload up = {.data = text,
				 .size = same ? p->len : strlen(text),
				 .type = js(man, "mediaType", OCI_MANIFEST)};
	sha256_text(text, up.size, out->digest);
	out->size = up.size;
	int rc = reg_url(g, &u, "/v2/%s/manifests/%s", g->r->path, g->r->tag);
	if (rc == 0)
		rc = reg_call(g, "PUT", &u, NULL, &up, &call);
	if (rc == 0) {
		if (call.h.status != 201)
			rc = reg_answer_error(g, &call, "the manifest");
		client_close(&call);
	}
	if (rc == 0 && !same) // the next push of it is the same one
		image_keep_manifest(g->e, p->id, text, up.size);
	free(text);
	json_decref(man);
	return rc;
}

// ---- the image ----

// Other repositories of this registry under which the image is known.
static void find_sources(struct pushed *p, const struct image *im, const struct ref *to)
{
	char **lists[] = {im->digests, im->tags};

	for (size_t k = 0; k < 2; k++)
		for (char **s = lists[k]; *s && p->nsources < SOURCES; s++) {
			struct ref r;
			if (ref_parse(*s, &r, NULL) == 0 && strcmp(r.domain, to->domain) == 0 &&
			    strcmp(r.path, to->path) != 0 &&
			    !holds(p->source, p->nsources, r.path))
				p->source[p->nsources++] = xstrdup(r.path);
		}
}

static int take_image(struct engine *e, const struct ref *r, struct pushed *p, struct err *err)
{
	char *full = ref_full(r);

	engine_lock(e);
	struct image *im = image_find_locked(e, full, NULL);
	if (im) {
		strcpy(p->id, im->id);
		p->n = im->nlayers;
		p->layer = xcalloc(im->nlayers + 1, sizeof(*p->layer));
		for (size_t i = 0; i < im->nlayers; i++)
			p->layer[i] = *im->layers[i];
		find_sources(p, im, r);
	}
	engine_unlock(e);
	int rc =
	    im ? 0
	       : err_set(err, 404, "An image does not exist locally with the tag: %s", full);
	free(full);
	if (rc < 0)
		return -1;
	p->text = image_manifest(e, p->id, &p->len);
	p->manifest = p->text ? json_loadb(p->text, p->len, 0, NULL) : NULL;
	if (json_array_size(ja(p->manifest, "layers")) != p->n ||
	    strcmp(js(jo(p->manifest, "config"), "digest", ""), p->id) != 0) {
		json_decref(p->manifest);
		p->manifest = NULL;
	}
	return 0;
}

static void drop_image(struct pushed *p)
{
	for (size_t i = 0; i < p->nsources; i++)
		free(p->source[i]);
	json_decref(p->manifest);
	free(p->text);
	free(p->layer);
}

static int push_held(struct reg *g, struct pushed *p, struct push_result *out)
{
	struct wire *w = xcalloc(p->n + 1, sizeof(*w));
	int rc = reg_open(g, g->r->domain);

	for (size_t i = 0; i < p->n && rc == 0; i++) {
		const json_t *said = json_array_get(ja(p->manifest, "layers"), i);
		if (said && !ref_valid_digest(js(said, "digest", "")))
			said = NULL;
		rc = push_layer(g, p, i, said, &w[i]);
	}
	if (rc == 0)
		rc = push_manifest(g, p, w, out);
	free(w);
	return rc;
}

int registry_push(struct engine *e, const struct ref *r, const struct registry_auth *auth,
		  progress_fn *progress, void *ctx, struct push_result *out, struct err *err)
{
	struct reg *g = xcalloc(1, sizeof(*g));
	struct pushed p = {0};

	*g = (struct reg){.e = e,
			  .r = r,
			  .auth = auth,
			  .scope = "pull,push",
			  .progress = progress,
			  .ctx = ctx,
			  .err = err};
	err->msg[0] = 0;
	import_begin(e); // layers stay
	int rc = take_image(e, r, &p, err);
	if (rc == 0)
		rc = push_held(g, &p, out);
	import_end(e);
	if (rc < 0 && !*err->msg)
		err_set(err, 500, "the client has gone away");
	if (rc < 0 && err->status == 401)
		err_set(err, 500,
			"push access denied, repository does not exist or may require "
			"authorization: "
			"authorization failed");
	if (rc == 0) { // the image is known by this digest now
		struct ref by_digest = *r;
		by_digest.tag[0] = 0;
		snprintf(by_digest.digest, sizeof(by_digest.digest), "%s", out->digest);
		char *full = ref_full(&by_digest);
		image_add_digest(e, p.id, full, NULL);
		free(full);
	}
	drop_image(&p);
	free(g);
	return rc;
}
