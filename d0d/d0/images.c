// SPDX-License-Identifier: ISC
// Images in the store: the backend's img_* operations on top of the admin protocol.
#include <stdlib.h>
#include <string.h>

#include "d0d/d0/store.h"

int d0_img_write(struct backend *be, const char *file, const void *buf, size_t n, struct err *e)
{
	return store_spool(d0_of(be), file, buf, n, e);
}

int d0_img_rename(struct backend *be, const char *from, const char *to, struct err *e)
{
	return store_spool_rename(d0_of(be), from, to, e);
}

void d0_img_drop(struct backend *be)
{
	store_spool_drop(d0_of(be));
}

int d0_img_commit(struct backend *be, const char *manifest, char id[ID_LEN + 1], struct err *e)
{
	struct sbuf out = {0};
	int rc = store_call(d0_of(be), D0_ADMIN_IMPORT_COMMIT, store_text, &out, e, "",
			    manifest, NULL);

	if (rc == 0 && (out.len != ID_LEN || !hex_is(out.p, ID_LEN)))
		rc = err_set(e, 500, "the store names no image");
	if (rc == 0)
		memcpy(id, out.p, ID_LEN + 1);
	sbuf_free(&out);
	return rc;
}

// The fields of a line, cut at tabs; how many there are.
static size_t fields(char *line, char **field, size_t max)
{
	size_t n = 0;

	while (n < max) {
		field[n++] = line;
		line += strcspn(line, "\t");
		if (!*line)
			break;
		*line++ = 0;
	}
	return n;
}

typedef int line_cb(void *ctx, char **field, size_t n);

static int each_line(struct sbuf *text, line_cb *cb, void *ctx)
{
	int rc = 0;

	for (char *p = text->p; rc == 0 && p && *p;) {
		char *field[8], *end = p + strcspn(p, "\n");
		char *next = *end ? end + 1 : end;
		*end = 0;
		rc = cb(ctx, field, fields(p, field, 8));
		p = next;
	}
	return rc;
}

struct image_walk {
	be_image_cb *cb;
	be_layer_cb *layer;
	void *ctx;
};

static int one_image(void *ctx, char **f, size_t n)
{
	struct image_walk *w = ctx;

	return n < 5 || !hex_is(f[1], ID_LEN) ? 0 : w->cb(w->ctx, f[1], f[0]);
}

int d0_img_each(struct backend *be, be_image_cb *cb, void *ctx, struct err *e)
{
	struct image_walk w = {.cb = cb, .ctx = ctx};
	struct sbuf out = {0};
	int rc = store_call(d0_of(be), D0_ADMIN_IMAGE_LIST, store_text, &out, e, NULL);

	if (rc == 0)
		rc = each_line(&out, one_image, &w);
	sbuf_free(&out);
	return rc;
}

static int one_layer(void *ctx, char **f, size_t n)
{
	struct image_walk *w = ctx;

	return n < 3 ? 0 : w->layer(w->ctx, f[0], f[1], strtoull(f[2], NULL, 10));
}

int d0_img_layers(struct backend *be, const char *id, be_layer_cb *cb, void *ctx, struct err *e)
{
	struct image_walk w = {.layer = cb, .ctx = ctx};
	struct sbuf out = {0};
	int rc = store_call(d0_of(be), D0_ADMIN_IMAGE_LAYERS, store_text, &out, e, id, NULL);

	if (rc == 0)
		rc = each_line(&out, one_layer, &w);
	sbuf_free(&out);
	return rc;
}

int d0_img_config(struct backend *be, const char *id, char **out, size_t *len, struct err *e)
{
	struct sbuf b = {0};

	if (store_call(d0_of(be), D0_ADMIN_IMAGE_BLOB, store_text, &b, e, id, NULL) < 0) {
		sbuf_free(&b);
		return -1;
	}
	sbuf_add(&b, "", 0);
	*out = b.p;
	*len = b.len;
	return 0;
}

int d0_img_tag(struct backend *be, const char *id, const char *tag, struct err *e)
{
	return store_call(d0_of(be), D0_ADMIN_IMAGE_TAG, NULL, NULL, e, id, tag, NULL);
}

int d0_img_untag(struct backend *be, const char *tag, struct err *e)
{
	struct err mine;

	if (!e)
		e = &mine;
	int rc = store_call(d0_of(be), D0_ADMIN_IMAGE_UNTAG, NULL, NULL, e, tag, NULL);
	return rc < 0 && e->status == 404 ? 0 : rc;
}

int d0_img_remove(struct backend *be, const char *id, struct err *e)
{
	struct err mine;

	if (!e)
		e = &mine;
	int rc = store_call(d0_of(be), D0_ADMIN_IMAGE_REMOVE, NULL, NULL, e, id, NULL);
	if (rc == 0)
		store_reclaim(d0_of(be));
	return rc < 0 && e->status == 404 ? 0 : rc;
}

int d0_layer_tar(struct backend *be, const char *chain, struct be_sink *out, struct err *e)
{
	struct d0_backend *b = d0_of(be);
	struct spill s = {.fd = -1, .dir = b->dir};
	int rc = store_call(b, D0_ADMIN_LAYER_EXPORT, spill_take, &s, e, chain, NULL);

	if (rc == 0)
		rc = spill_give(&s, out, e);
	spill_free(&s);
	return rc;
}
