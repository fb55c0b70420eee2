/* SPDX-License-Identifier: ISC */
/*
 * The files of "d0.images": records, tags, blobs, recipes. All small ones are read and
 * written whole. A record is lines of "key value..."; unknown keys are skipped, so that later
 * versions may add some:
 *
 *	d0-image 1
 *	id HEX / manifest HEX / root HEX
 *	layer DIFF CHAIN SIZE		one for each, lowest first
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

static const char *const dir_name[OCI_DIRS] = {"images", "tags",       "blobs",
					       "layers", "signatures", "origins"};

int oci_fail(struct oci_store *st, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(st->err, sizeof(st->err), fmt, ap);
	va_end(ap);
	return err;
}

int meta_dir(struct oci_store *st, enum oci_dir d, uint64_t *ino)
{
	const char *name = dir_name[d];
	struct h2_new how = {.mode = 0755};
	struct h2_attr a = {0};
	int err = h2_lookup(st->meta, H2_ROOT_INO, name, strlen(name), &a);

	if (err == -H2_ENOENT) {
		err = h2_mkdir(st->meta, H2_ROOT_INO, name, strlen(name), &how, &a);
		if (err == -H2_EROFS) /* a volume from before there was such a directory */
			err = -H2_ENOENT;
	}
	*ino = a.ino;
	return err;
}

static int meta_find(struct oci_store *st, enum oci_dir d, const char *name, struct h2_attr *a)
{
	uint64_t dir;
	int err = meta_dir(st, d, &dir);

	return err ? err : h2_lookup(st->meta, dir, name, strlen(name), a);
}

int meta_read(struct oci_store *st, enum oci_dir d, const char *name, char **out, size_t *len)
{
	struct h2_attr a;
	int err = meta_find(st, d, name, &a);
	char *p;
	long n;

	if (err)
		return err;
	if (a.size > OCI_BLOB_MAX)
		return -H2_EFBIG;
	p = malloc((size_t)a.size + 1);
	if (!p)
		return -H2_ENOMEM;
	n = h2_read(st->meta, a.ino, 0, p, (size_t)a.size);
	if (n != (long)a.size) {
		free(p);
		return n < 0 ? (int)n : -H2_EIO;
	}
	p[n] = 0;
	*out = p;
	if (len)
		*len = (size_t)n;
	return 0;
}

int meta_write(struct oci_store *st, enum oci_dir d, const char *name, const void *p,
	       size_t len)
{
	struct h2_new how = {.mode = 0644};
	struct h2_attr a;
	uint64_t dir;
	int err = meta_dir(st, d, &dir);
	long n;

	if (err)
		return err;
	err = h2_unlink(st->meta, dir, name, strlen(name));
	if (err && err != -H2_ENOENT)
		return err;
	err = h2_create(st->meta, dir, name, strlen(name), &how, &a);
	if (err)
		return err;
	n = h2_write(st->meta, a.ino, 0, p, len);
	return n == (long)len ? 0 : n < 0 ? (int)n : -H2_ENOSPC;
}

int meta_unlink(struct oci_store *st, enum oci_dir d, const char *name)
{
	uint64_t dir;
	int err = meta_dir(st, d, &dir);

	return err ? err : h2_unlink(st->meta, dir, name, strlen(name));
}

struct names {
	char *buf;
	size_t len, size;
};

static int collect(void *arg, const struct h2_dirent *e)
{
	struct names *n = arg;

	if ((e->mode & H2_S_IFMT) != H2_S_IFREG)
		return 0;
	if (n->len + e->name_len + 1 > n->size) {
		size_t size = 2 * n->size + 4096;
		char *more = realloc(n->buf, size);

		if (!more)
			return -H2_ENOMEM;
		n->buf = more;
		n->size = size;
	}
	memcpy(n->buf + n->len, e->name, e->name_len);
	n->buf[n->len + e->name_len] = 0;
	n->len += e->name_len + 1u;
	return 0;
}

int meta_each(struct oci_store *st, enum oci_dir d, meta_each_cb *cb, void *arg)
{
	struct names n = {0};
	uint64_t dir;
	int err = meta_dir(st, d, &dir);

	if (!err)
		err = h2_readdir(st->meta, dir, 0, collect, &n);
	for (size_t at = 0; !err && at < n.len; at += strlen(n.buf + at) + 1)
		err = cb(arg, n.buf + at);
	free(n.buf);
	return err;
}

int oci_blob(struct oci_store *st, const char *hex, char **out, size_t *len)
{
	return oci_is_hex(hex) ? meta_read(st, OCI_BLOBS, hex, out, len) : -H2_EINVAL;
}

/* ---- image records ---- */

int oci_image_write(struct oci_store *st, const struct oci_image *img)
{
	size_t size = 512 + img->layers * 160u, n;
	char *p = malloc(size);
	int err;

	if (!p)
		return -H2_ENOMEM;
	n = (size_t)snprintf(p, size, "d0-image 1\nid %s\nmanifest %s\nroot %s\n", img->id,
			     img->manifest, img->root);
	for (unsigned i = 0; i < img->layers; i++)
		n += (size_t)snprintf(p + n, size - n, "layer %s %s %llu\n", img->layer[i].diff,
				      img->layer[i].chain,
				      (unsigned long long)img->layer[i].size);
	err = meta_write(st, OCI_IMAGES, img->id, p, n);
	free(p);
	return err;
}

static bool take_hex(const char **p, char out[OCI_HEX])
{
	if (strnlen(*p, 64) < 64)
		return false;
	memcpy(out, *p, 64);
	out[64] = 0;
	*p += 64;
	if (**p == ' ')
		(*p)++;
	return oci_is_hex(out);
}

static bool take_line(struct oci_image *img, const char *p)
{
	if (!strncmp(p, "id ", 3))
		return p += 3, take_hex(&p, img->id);
	if (!strncmp(p, "manifest ", 9))
		return p += 9, take_hex(&p, img->manifest);
	if (!strncmp(p, "root ", 5))
		return p += 5, take_hex(&p, img->root);
	if (strncmp(p, "layer ", 6))
		return true;
	if (img->layers == OCI_LAYERS_MAX)
		return false;
	struct oci_layer_ref *l = &img->layer[img->layers++];

	p += 6;
	if (!take_hex(&p, l->diff) || !take_hex(&p, l->chain))
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
		l->size = l->size * 10 + (uint64_t)(*p - '0');
	return true;
}

int oci_image_read(struct oci_store *st, const char *id, struct oci_image *out)
{
	char *text, *line, *next;
	int err = meta_read(st, OCI_IMAGES, id, &text, NULL);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	err = strncmp(text, "d0-image 1\n", 11) ? -H2_EUCLEAN : 0;
	for (line = text; !err && *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		if (!take_line(out, line))
			err = -H2_EUCLEAN;
	}
	free(text);
	if (!err && (strcmp(out->id, id) || !out->layers))
		err = -H2_EUCLEAN;
	return err ? oci_fail(st, err, "the record of image %.12s is damaged", id) : 0;
}
