/* SPDX-License-Identifier: ISC */
/*
 * Images that are there: opening, tags and their versions, removal, and the collection of
 * what nobody refers to. A tag is a file of image IDs, newest first, at most VERSIONS; its
 * name is the tag with '%' and '/' written as %25 and %2F.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define VERSIONS 16u

int oci_open(struct oci_store *st, struct h2_vol *vol, bool create)
{
	struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	struct h2_vol_info info;
	int err;

	st->vol = vol;
	st->meta = NULL;
	st->err[0] = 0;
	h2_vol_info(vol, &info);
	err = h2_pfs_open(vol, OCI_META_PFS, info.readonly ? H2_PFS_RDONLY : 0, &st->meta);
	if (err == -H2_ENOENT && create) {
		err = h2_pfs_create(vol, OCI_META_PFS, &o);
		if (!err)
			err = h2_pfs_open(vol, OCI_META_PFS, 0, &st->meta);
	}
	for (unsigned d = 0; !err && !info.readonly && d < OCI_DIRS; d++) {
		uint64_t ino;

		err = meta_dir(st, (enum oci_dir)d, &ino);
	}
	if (err)
		oci_close(st);
	return err;
}

void oci_close(struct oci_store *st)
{
	if (st->meta)
		h2_pfs_close(st->meta);
	st->meta = NULL;
}

/* ---- tags ---- */

static int tag_file(const char *tag, char out[256])
{
	size_t n = 0;

	for (; *tag; tag++) {
		if (n + 4 > 255)
			return -H2_ENAMETOOLONG;
		if (*tag == '/' || *tag == '%')
			n += (size_t)snprintf(out + n, 4, "%%%02X", *tag);
		else if ((uint8_t)*tag <= ' ' || *tag == 127)
			return -H2_EINVAL;
		else
			out[n++] = *tag;
	}
	out[n] = 0;
	return n && strcmp(out, ".") && strcmp(out, "..") ? 0 : -H2_EINVAL;
}

static void tag_name(const char *file, char out[256])
{
	size_t n = 0;

	for (; *file && n < 255; file++) {
		if (!strncmp(file, "%2F", 3) || !strncmp(file, "%25", 3)) {
			out[n++] = file[2] == 'F' ? '/' : '%';
			file += 2;
		} else {
			out[n++] = *file;
		}
	}
	out[n] = 0;
}

/* The IDs of a tag file. */
static int tag_read(struct oci_store *st, const char *file, char id[VERSIONS][OCI_HEX],
		    unsigned *n)
{
	char *text;
	size_t len;
	int err = meta_read(st, OCI_TAGS, file, &text, &len);

	*n = 0;
	if (err)
		return err;
	for (size_t at = 0; len - at >= 65 && *n < VERSIONS; at += 65) {
		memcpy(id[*n], text + at, 64);
		id[*n][64] = 0;
		if (text[at + 64] != '\n' || !oci_is_hex(id[*n]))
			break;
		++*n;
	}
	free(text);
	return 0;
}

static int tag_write(struct oci_store *st, const char *file, char (*id)[OCI_HEX], unsigned n)
{
	char text[VERSIONS * OCI_HEX];

	if (!n)
		return meta_unlink(st, OCI_TAGS, file);
	for (unsigned i = 0; i < n; i++) {
		memcpy(text + i * OCI_HEX, id[i], 64);
		text[i * OCI_HEX + 64] = '\n';
	}
	return meta_write(st, OCI_TAGS, file, text, n * OCI_HEX);
}

int oci_tag(struct oci_store *st, const char *tag, const char *id)
{
	char file[256], ids[VERSIONS][OCI_HEX], old[VERSIONS][OCI_HEX];
	unsigned n, out = 1;
	int err = tag_file(tag, file);

	if (err)
		return oci_fail(st, err, "'%.100s' can't be a tag", tag);
	err = tag_read(st, file, old, &n);
	if (err && err != -H2_ENOENT)
		return err;
	if (n && !strcmp(old[0], id))
		return 0;
	memcpy(ids[0], id, OCI_HEX);
	for (unsigned i = 0; i < n && out < VERSIONS; i++)
		if (strcmp(old[i], id))
			memcpy(ids[out++], old[i], OCI_HEX);
	return tag_write(st, file, ids, out);
}

int oci_untag(struct oci_store *st, const char *tag)
{
	char file[256];
	int err = tag_file(tag, file);

	return err ? err : meta_unlink(st, OCI_TAGS, file);
}

int oci_tag_rollback(struct oci_store *st, const char *tag)
{
	char file[256], ids[VERSIONS][OCI_HEX];
	unsigned n;
	int err = tag_file(tag, file);

	if (!err)
		err = tag_read(st, file, ids, &n);
	if (err)
		return err;
	if (n < 2)
		return oci_fail(st, -H2_ENOENT, "'%.100s' has no earlier version", tag);
	err = tag_write(st, file, ids + 1, n - 1);
	return err ? err : h2_sync(st->vol);
}

struct search {
	struct oci_store *st;
	const char *want;
	char *id;
	unsigned hits;
};

static int match_id(void *arg, const char *id)
{
	struct search *s = arg;

	if (!strncmp(id, s->want, strlen(s->want))) {
		memcpy(s->id, id, OCI_HEX);
		s->hits++;
	}
	return 0;
}

int oci_find(struct oci_store *st, const char *name, char id[OCI_HEX])
{
	struct search s = {st, name, id, 0};
	char file[256], with[300], ids[VERSIONS][OCI_HEX];
	unsigned n = 0;

	for (int i = 0; i < 2 && !n; i++) {
		snprintf(with, sizeof(with), "%.250s%s", name, i ? ":latest" : "");
		if (!tag_file(with, file) && !tag_read(st, file, ids, &n) && n)
			memcpy(id, ids[0], OCI_HEX);
	}
	if (n)
		return 0;
	if (!strncmp(name, "sha256:", 7))
		s.want += 7;
	if (strlen(s.want) < 6 || strlen(s.want) > 64)
		return -H2_ENOENT;
	int err = meta_each(st, OCI_IMAGES, match_id, &s);
	if (err)
		return err;
	return s.hits == 1 ? 0
	       : s.hits    ? oci_fail(st, -H2_EINVAL, "'%s' means several images", name)
			   : -H2_ENOENT;
}

/* ---- lists ---- */

struct lister {
	struct oci_store *st;
	oci_list_cb *cb;
	void *arg;
	struct oci_image *img;
	const char *id; /* in_tags: looked for */
	bool found;
};

static int list_tag(void *arg, const char *file)
{
	struct lister *l = arg;
	char tag[256], ids[VERSIONS][OCI_HEX];
	unsigned n;

	tag_name(file, tag);
	if (tag_read(l->st, file, ids, &n) || !n || oci_image_read(l->st, ids[0], l->img))
		return 0;
	return l->cb(l->arg, tag, l->img);
}

static int in_tag(void *arg, const char *file)
{
	struct lister *l = arg;
	char ids[VERSIONS][OCI_HEX];
	unsigned n;

	if (!tag_read(l->st, file, ids, &n) && n && !strcmp(ids[0], l->id))
		l->found = true;
	return 0;
}

static int list_untagged(void *arg, const char *id)
{
	struct lister *l = arg;

	l->id = id;
	l->found = false;
	int err = meta_each(l->st, OCI_TAGS, in_tag, l);
	if (err || l->found || oci_image_read(l->st, id, l->img))
		return err;
	return l->cb(l->arg, "", l->img);
}

int oci_list(struct oci_store *st, oci_list_cb *cb, void *arg)
{
	struct lister l = {.st = st, .cb = cb, .arg = arg, .img = malloc(sizeof(*l.img))};
	int err = l.img ? meta_each(st, OCI_TAGS, list_tag, &l) : -H2_ENOMEM;

	if (!err)
		err = meta_each(st, OCI_IMAGES, list_untagged, &l);
	free(l.img);
	return err;
}

/* ---- removal ---- */

/* Chain IDs and blobs that records refer to. */
struct keep {
	struct oci_store *st;
	char (*hex)[OCI_HEX];
	size_t len, size;
	struct oci_image *img;
	int err;
};

static void keep_add(struct keep *k, const char *hex)
{
	if (k->len == k->size) {
		void *more = realloc(k->hex, (2 * k->size + 64) * OCI_HEX);

		if (!more) {
			k->err = -H2_ENOMEM;
			return;
		}
		k->hex = more;
		k->size = 2 * k->size + 64;
	}
	memcpy(k->hex[k->len++], hex, OCI_HEX);
}

static int keep_image(void *arg, const char *id)
{
	struct keep *k = arg;
	int err = oci_image_read(k->st, id, k->img);

	if (err)
		return err; /* better to keep too much */
	keep_add(k, k->img->id);
	keep_add(k, k->img->manifest);
	for (unsigned i = 0; i < k->img->layers; i++)
		keep_add(k, k->img->layer[i].chain);
	return k->err;
}

static bool kept(const struct keep *k, const char *hex)
{
	for (size_t i = 0; i < k->len; i++)
		if (!strncmp(k->hex[i], hex, 64))
			return true;
	return false;
}

/* The image or one of the layers that work under way has a pin on. */
static bool pinned(const struct oci_store *st, const char *hex)
{
	for (struct oci_pin *p = st->pins ? st->pins->first : NULL; p; p = p->next) {
		if (!strncmp(p->img->id, hex, 64))
			return true;
		for (unsigned i = 0; i < p->img->layers; i++)
			if (!strncmp(p->img->layer[i].chain, hex, 64))
				return true;
	}
	return false;
}

/* Lets others use the volume. An image that was published meanwhile is not in the list of
 * what is kept: begin anew. */
static int pause(struct keep *k)
{
	struct oci_pins *pins = k->st->pins;
	uint64_t before = pins ? pins->published : 0;

	if (k->st->yield)
		k->st->yield(k->st->yield_ctx);
	return pins && pins->published != before ? -H2_EAGAIN : 0;
}

static int drop_layer_file(void *arg, const char *name)
{
	struct keep *k = arg;
	bool tmp = !strncmp(name, "tmp-", 4);
	int err = 0;

	if (tmp ? !pinned(k->st, name + 4) : !kept(k, name) && !pinned(k->st, name)) {
		err = meta_unlink(k->st, OCI_LAYERS, name);
		if (err == -H2_ENOENT)
			err = 0;
	}
	return err ? err : pause(k);
}

static int drop_blob(void *arg, const char *name)
{
	struct keep *k = arg;

	return kept(k, name) ? 0 : meta_unlink(k->st, OCI_BLOBS, name);
}

static int drop_signatures(void *arg, const char *name)
{
	struct keep *k = arg;

	return kept(k, name) ? 0 : meta_unlink(k->st, OCI_SIGNATURES, name);
}

static int drop_pfss(struct keep *k)
{
	struct h2_pfs_info info;
	uint64_t cursor = 0;
	int err;

	while (!(err = h2_pfs_next(k->st->vol, &cursor, &info))) {
		bool tmp = !strncmp(info.label, "tmp-", 4) && oci_is_hex(info.label + 4);
		bool ours =
		    (!strncmp(info.label, "lay-", 4) || !strncmp(info.label, "img-", 4)) &&
		    oci_is_hex(info.label + 4);

		if (pinned(k->st, info.label + 4) ||
		    (!tmp && !(ours && !kept(k, info.label + 4))))
			continue;
		err = h2_pfs_delete(k->st->vol, info.label);
		if (err && err != -H2_EBUSY)
			return err;
		if (!err) {
			cursor = 0; /* the list changed under the cursor */
			err = pause(k);
		}
		if (err == -H2_EAGAIN)
			return err;
	}
	return err == -H2_ENOENT ? 0 : err;
}

static int keep_fsids(struct keep *k)
{
	struct h2_pfs_info info;
	char name[OCI_HEX];
	uint64_t cursor = 0;
	int err = 0;

	while (!k->err && !(err = h2_pfs_next(k->st->vol, &cursor, &info))) {
		oci_fsid_hex(&info, name);
		keep_add(k, name);
	}
	return k->err ? k->err : err == -H2_ENOENT ? 0 : err;
}

static int drop_origin(void *arg, const char *name)
{
	struct keep *k = arg;

	return kept(k, name) ? 0 : meta_unlink(k->st, OCI_ORIGINS, name);
}

static int collect_garbage(struct oci_store *st)
{
	struct keep k = {.st = st, .img = malloc(sizeof(*k.img))};
	int err = k.img ? meta_each(st, OCI_IMAGES, keep_image, &k) : -H2_ENOMEM;

	if (!err)
		err = drop_pfss(&k);
	if (!err)
		err = meta_each(st, OCI_LAYERS, drop_layer_file, &k);
	if (!err)
		err = meta_each(st, OCI_BLOBS, drop_blob, &k);
	if (!err)
		err = meta_each(st, OCI_SIGNATURES, drop_signatures, &k);
	if (!err)
		err = keep_fsids(&k);
	if (!err)
		err = meta_each(st, OCI_ORIGINS, drop_origin, &k);
	free(k.img);
	free(k.hex);
	return err;
}

int oci_recover(struct oci_store *st)
{
	int err;

	do
		err = collect_garbage(st);
	while (err == -H2_EAGAIN);
	return err ? err : h2_sync(st->vol);
}

void oci_pin(struct oci_store *st, struct oci_pin *p, const struct oci_image *img)
{
	p->img = img;
	p->next = NULL;
	if (!st->pins)
		return;
	p->next = st->pins->first;
	st->pins->first = p;
}

void oci_unpin(struct oci_store *st, struct oci_pin *p)
{
	struct oci_pin **at = st->pins ? &st->pins->first : NULL;

	while (at && *at && *at != p)
		at = &(*at)->next;
	if (at && *at)
		*at = p->next;
}

struct untag {
	struct oci_store *st;
	const char *id;
};

/* Takes the image out of every version of every tag. */
static int drop_from_tag(void *arg, const char *file)
{
	struct untag *u = arg;
	char ids[VERSIONS][OCI_HEX], left[VERSIONS][OCI_HEX];
	unsigned n, out = 0;
	int err = tag_read(u->st, file, ids, &n);

	for (unsigned i = 0; !err && i < n; i++)
		if (strcmp(ids[i], u->id))
			memcpy(left[out++], ids[i], OCI_HEX);
	return err || out == n ? err : tag_write(u->st, file, left, out);
}

int oci_remove(struct oci_store *st, const char *id)
{
	struct untag u = {st, id};
	struct h2_pfs_info info;
	char label[96];
	int err;

	snprintf(label, sizeof(label), "img-%s", id);
	err = h2_pfs_stat(st->vol, label, &info);
	if (!err && info.open)
		return oci_fail(st, -H2_EBUSY, "the image is in use");
	err = meta_unlink(st, OCI_IMAGES, id);
	if (!err)
		err = meta_each(st, OCI_TAGS, drop_from_tag, &u);
	return err ? err : oci_recover(st);
}
