// SPDX-License-Identifier: ISC
// From blobs to layers (trees) to image records.
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"

// OCI image-spec, config.md "Layer ChainID".
void chain_id(const char *parent, const char *diff_id, char chain[ID_LEN + 1])
{
	char digest[DIGEST_LEN + 1];

	if (*parent) {
		char *text = xasprintf("sha256:%s %s", parent, diff_id);
		sha256_text(text, strlen(text), digest);
		free(text);
		strcpy(chain, digest + 7);
	} else {
		strcpy(chain, diff_id + 7);
	}
}

// Hashes what passes.
struct tee {
	struct unzip *from;
	EVP_MD_CTX *md;
	uint64_t size;
	bool failed;
};

static ssize_t tee_read(void *ctx, void *buf, size_t n)
{
	struct tee *t = ctx;
	ssize_t got = unzip_read(t->from, buf, n);

	if (got < 0)
		t->failed = true;
	if (got > 0) {
		EVP_DigestUpdate(t->md, buf, (size_t)got);
		t->size += (uint64_t)got;
	}
	return got < 0 ? -1 : got;
}

static int tee_digest(struct tee *t, char digest[DIGEST_LEN + 1])
{
	uint8_t sum[32];
	char rest[16384];
	ssize_t n;

	while ((n = tee_read(t, rest, sizeof(rest))) > 0) // what follows the tar's end counts
		;
	EVP_DigestFinal_ex(t->md, sum, NULL);
	strcpy(digest, "sha256:");
	hex_put(digest + 7, sum, 32);
	return n < 0 ? -1 : 0;
}

// The digest of the uncompressed blob, for archives that don't tell it.
static int diff_id_of(struct engine *e, const char *blob, char digest[DIGEST_LEN + 1],
		      struct err *err)
{
	struct tee t = {.from = unzip_open(e, blob, err), .md = EVP_MD_CTX_new()};
	int rc = -1;

	EVP_DigestInit_ex(t.md, EVP_sha256(), NULL);
	if (t.from) {
		rc = tee_digest(&t, digest);
		if (rc < 0)
			err_set(err, 400, "layer %s: %s", blob, unzip_error(t.from));
		unzip_close(t.from);
	}
	EVP_MD_CTX_free(t.md);
	return rc;
}

static int record_layer(struct engine *e, struct layer *l, struct err *err)
{
	json_t *o =
	    json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "chain", l->chain, "parent",
		      l->parent, "diff_id", l->diff_id, "blob", l->blob, "media", l->media,
		      "blob_size", (json_int_t)l->blob_size, "size", (json_int_t)l->size);
	char *path = engine_path(e, "layers/%s.json", l->chain);
	int rc = json_write_atomic(path, o);

	json_decref(o);
	free(path);
	if (rc < 0)
		return err_set(err, 507, "cannot record layer: %m");
	engine_lock(e);
	l->next = e->layers;
	e->layers = l;
	engine_unlock(e);
	return 0;
}

static int unpack_layer(struct engine *e, struct layer *l, struct err *err)
{
	char *tree = xasprintf("l-%s", l->chain), *parent = xasprintf("l-%s", l->parent);
	struct tee t = {.from = unzip_open(e, l->blob, err), .md = EVP_MD_CTX_new()};
	struct be_source src = {tee_read, &t};
	char digest[DIGEST_LEN + 1];
	int rc = t.from ? 0 : -1;

	EVP_DigestInit_ex(t.md, EVP_sha256(), NULL);
	if (rc == 0)
		rc = e->ops->tree_remove(e->be, tree, err); // what a crash may have left
	if (rc == 0)
		rc = e->ops->tree_create(e->be, tree, BE_TREE_IMAGE, *l->parent ? parent : NULL,
					 err);
	if (rc == 0)
		rc = e->ops->tree_apply(e->be, tree, &src, err);
	if (t.from && (t.failed || (rc == 0 && tee_digest(&t, digest) < 0)))
		rc = err_set(err, 400, "layer %s: %s", l->diff_id, unzip_error(t.from));
	else if (rc == 0 && strcmp(digest, l->diff_id) != 0)
		rc = err_set(err, 400, "layer digest mismatch: expected %s, got %s", l->diff_id,
			     digest);
	l->size = t.size;
	if (rc == 0)
		rc = e->ops->tree_sync(e->be, tree, err);
	if (rc < 0)
		e->ops->tree_remove(e->be, tree, NULL);
	if (t.from)
		unzip_close(t.from);
	EVP_MD_CTX_free(t.md);
	free(tree);
	free(parent);
	return rc;
}

int layer_ensure(struct engine *e, const char *parent, const char *diff_id, const char *blob,
		 const char *media, char chain[ID_LEN + 1], struct err *err)
{
	struct layer *l = xcalloc(1, sizeof(*l));

	if (*diff_id)
		strcpy(l->diff_id, diff_id);
	else if (diff_id_of(e, blob, l->diff_id, err) < 0) {
		free(l);
		return -1;
	}
	chain_id(parent, l->diff_id, chain);
	pthread_mutex_lock(&e->unpack);
	engine_lock(e);
	struct layer *have = layer_find_locked(e, chain);
	engine_unlock(e);
	int rc = 0;
	if (!have) {
		strcpy(l->chain, chain);
		strcpy(l->parent, parent);
		snprintf(l->blob, sizeof(l->blob), "%s", blob);
		snprintf(l->media, sizeof(l->media), "%s", media);
		blob_exists(e, blob, &l->blob_size);
		rc = unpack_layer(e, l, err);
		if (rc == 0)
			rc = record_layer(e, l, err);
	}
	pthread_mutex_unlock(&e->unpack);
	if (have || rc < 0)
		free(l);
	return rc;
}

int image_build(struct engine *e, const char *config, size_t len, char *const *blobs,
		char *const *medias, size_t n, char id[DIGEST_LEN + 1], struct err *err)
{
	if (images_in_store(e))
		return istore_build(e, config, len, blobs, n, id, err);

	json_t *c = json_loadb(config, len, 0, NULL);
	json_t *diffs = ja(jo(c, "rootfs"), "diff_ids");
	const char **chains = xcalloc(n + 1, sizeof(*chains));
	char(*names)[ID_LEN + 1] = xcalloc(n + 1, sizeof(*names));
	int rc = 0;

	if (!c)
		rc = err_set(err, 400, "the image's config isn't JSON");
	else if (json_array_size(diffs) != n)
		rc = err_set(err, 400, "invalid image: %zu layers, but %zu diff_ids", n,
			     json_array_size(diffs));
	for (size_t i = 0; i < n && rc == 0; i++) {
		const char *diff = json_string_value(json_array_get(diffs, i));
		if (!diff || strncmp(diff, "sha256:", 7) != 0 || strlen(diff) != DIGEST_LEN ||
		    !hex_is(diff + 7, 64))
			rc = err_set(err, 400, "invalid diff_id in the image's config");
		else
			rc = layer_ensure(e, i ? names[i - 1] : "", diff, blobs[i], medias[i],
					  names[i], err);
		chains[i] = names[i];
	}
	if (rc == 0)
		rc = image_add(e, config, len, chains, n, id, err);
	json_decref(c);
	free(chains);
	free(names);
	return rc;
}
