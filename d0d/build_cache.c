// SPDX-License-Identifier: ISC
// What a build remembers: build/<key> holds the id of the image that a step made.
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/build.h"
#include "d0d/ref.h"

void build_key(const struct stage *st, const char *text, const char *extra,
	       char key[ID_LEN + 1])
{
	char *config = json_dumps(st->config, JSON_COMPACT | JSON_SORT_KEYS);
	struct sbuf b = {0};
	char digest[DIGEST_LEN + 1];

	sbuf_addf(&b, "%s\n%s\n%s\n%s", st->image, config ? config : "", text, extra);
	sha256_text(b.p, b.len, digest);
	strcpy(key, digest + 7);
	sbuf_free(&b);
	free(config);
}

bool build_cached(struct build *b, const char *key, char id[DIGEST_LEN + 1])
{
	char *path = engine_path(b->e, "build/%s", key);
	char *text = b->no_cache ? NULL : file_read(path, DIGEST_LEN, NULL);
	bool there = false;

	if (text && ref_valid_digest(text)) {
		engine_lock(b->e);
		there = image_by_id_locked(b->e, text) != NULL;
		engine_unlock(b->e);
		if (there)
			strcpy(id, text);
	}
	free(text);
	free(path);
	return there;
}

void build_note(struct build *b, const char *key, const char *id)
{
	char *path = engine_path(b->e, "build/%s", key);

	if (file_write_atomic(path, id, strlen(id)) < 0)
		log_msg("build: a step is not cached: %m");
	free(path);
}

void image_mark_step(struct engine *e, const char *id)
{
	engine_lock(e);
	struct image *im = image_by_id_locked(e, id);
	if (im) {
		im->step = true;
		image_save_locked(e, im, NULL);
	}
	engine_unlock(e);
}

static void forget_keys(struct engine *e)
{
	char *path = engine_path(e, "build");
	DIR *d = opendir(path);
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.')
			unlinkat(dirfd(d), de->d_name, 0);
	if (d)
		closedir(d);
	free(path);
}

void image_prune_steps(struct engine *e, json_t *gone, int64_t *bytes)
{
	json_t *ids = json_array();

	forget_keys(e);
	engine_lock(e);
	for (struct image *im = e->images, *next; im; im = next) {
		next = im->next;
		if (!im->step || *im->tags || image_in_use_locked(e, im))
			continue;
		if (im->nlayers)
			*bytes += (int64_t)im->layers[im->nlayers - 1]->size;
		json_array_append_new(ids, json_string(im->id));
		json_array_append_new(gone, json_string(im->id));
		image_delete_locked(e, im, NULL, NULL);
	}
	engine_unlock(e);
	for (size_t i = 0; images_in_store(e) && i < json_array_size(ids); i++)
		istore_remove(e, json_string_value(json_array_get(ids, i)), NULL);
	json_decref(ids);
	images_gc(e);
}
