/* SPDX-License-Identifier: ISC */
/*
 * Export: an OCI archive. The layers are the original tars, put together again from their
 * recipes and the files' contents, uncompressed; so their digests are the diff IDs, and each
 * is checked while it is written. The config is the original, the manifest is made anew
 * because it names the uncompressed blobs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define BUF (256u << 10)

struct out {
	struct oci_store *st;
	oci_write_cb *cb;
	void *arg;
	struct oci_sha sha;
	uint64_t written; /* of the member under way */
	uint8_t *buf;
};

static int put(struct out *o, const void *p, size_t len)
{
	o->written += len;
	oci_sha_add(&o->sha, p, len);
	return len ? o->cb(o->arg, p, len) : 0;
}

static int member_begin(struct out *o, const char *name, uint64_t size, char type)
{
	char h[512] = {0};
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	snprintf(h + 100, 8, "%07o", type == '5' ? 0755 : 0644);
	snprintf(h + 108, 8, "%07o", 0);
	snprintf(h + 116, 8, "%07o", 0);
	if (size >> 33) { /* over 8 GiB: base-256 */
		h[124] = (char)0x80;
		for (int i = 0; i < 8; i++)
			h[135 - i] = (char)(size >> 8 * i);
	} else {
		snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	}
	snprintf(h + 136, 12, "%011o", 0);
	memset(h + 148, ' ', 8);
	h[156] = type;
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum & 0777777);
	oci_sha_init(&o->sha);
	o->written = 0;
	return o->cb(o->arg, h, sizeof(h));
}

static int member_end(struct out *o)
{
	static const uint8_t zero[512];
	size_t pad = (512 - o->written % 512) % 512;

	return pad ? o->cb(o->arg, zero, pad) : 0;
}

static int member(struct out *o, const char *name, const void *p, size_t len)
{
	int err = member_begin(o, name, len, '0');

	if (!err)
		err = put(o, p, len);
	return err ? err : member_end(o);
}

static int copy_content(struct out *o, struct h2_pfs *pfs, uint64_t ino, uint64_t len)
{
	for (uint64_t off = 0; off < len;) {
		size_t want = len - off < BUF ? (size_t)(len - off) : BUF;
		long n = h2_read(pfs, ino, off, o->buf, want);
		int err;

		if (n <= 0)
			return n ? (int)n : -H2_EUCLEAN;
		err = put(o, o->buf, (size_t)n);
		if (err)
			return err;
		off += (uint64_t)n;
	}
	return 0;
}

/* A file's content: beside the recipe if a later entry replaced it, else in the layer. */
static int put_file(struct out *o, struct h2_pfs *layer, const char *chain, uint64_t ino,
		    uint64_t len)
{
	char name[OCI_HEX + 32];
	struct h2_attr a;
	uint64_t dir;
	int n = snprintf(name, sizeof(name), "%s.%llu", chain, (unsigned long long)ino);
	int err = meta_dir(o->st, OCI_LAYERS, &dir);

	if (err)
		return err;
	if (!h2_lookup(o->st->meta, dir, name, (size_t)n, &a))
		return copy_content(o, o->st->meta, a.ino, len);
	return copy_content(o, layer, ino, len);
}

static int put_pieces(struct out *o, struct h2_pfs *layer, const char *chain, uint64_t recipe)
{
	struct oci_piece piece;
	uint64_t at = 0;
	long n;
	int err = 0;

	while (!err && (n = h2_read(o->st->meta, recipe, at, &piece, sizeof(piece))) > 0) {
		if (n != sizeof(piece))
			return -H2_EUCLEAN;
		at += sizeof(piece);
		if (piece.ino) {
			err = put_file(o, layer, chain, piece.ino, piece.len);
			continue;
		}
		if (piece.len > BUF || h2_read(o->st->meta, recipe, at, o->buf,
					       (size_t)piece.len) != (long)piece.len)
			return -H2_EUCLEAN;
		err = put(o, o->buf, (size_t)piece.len);
		at += piece.len;
	}
	return err ? err : n < 0 ? (int)n : 0;
}

/* The layer's tar; as a member of the archive if `as_member`. */
static int put_layer(struct out *o, const struct oci_layer_ref *l, bool as_member)
{
	char name[96], got[OCI_HEX];
	struct h2_pfs *pfs;
	struct h2_attr a;
	uint64_t dir;
	int err = meta_dir(o->st, OCI_LAYERS, &dir);

	if (!err)
		err = h2_lookup(o->st->meta, dir, l->chain, strlen(l->chain), &a);
	snprintf(name, sizeof(name), "lay-%s", l->chain);
	if (!err)
		err = h2_pfs_open(o->st->vol, name, H2_PFS_RDONLY, &pfs);
	if (err)
		return oci_fail(o->st, err, "layer %.12s is not there", l->chain);
	snprintf(name, sizeof(name), "blobs/sha256/%s", l->diff);
	oci_sha_init(&o->sha);
	o->written = 0;
	if (as_member)
		err = member_begin(o, name, l->size, '0');
	if (!err)
		err = put_pieces(o, pfs, l->chain, a.ino);
	h2_pfs_close(pfs);
	if (err)
		return err;
	oci_sha_hex(&o->sha, got);
	if (o->written != l->size || strcmp(got, l->diff))
		return oci_fail(o->st, -H2_EUCLEAN,
				"layer %.12s does not have its digest any more", l->diff);
	return as_member ? member_end(o) : 0;
}

static int put_documents(struct out *o, const struct oci_image *img, const char *ref)
{
	size_t size = 1024 + img->layers * 256u, n, config_len;
	char *text = malloc(size), *config, hex[OCI_HEX], name[96], index[1024];
	uint8_t raw[32];
	int err = text ? oci_blob(o->st, img->id, &config, &config_len) : -H2_ENOMEM;

	if (err) {
		free(text);
		return err;
	}
	n = (size_t)snprintf(
	    text, size,
	    "{\"schemaVersion\":2,\"mediaType\":\"application/"
	    "vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/"
	    "vnd.oci.image.config.v1+json\",\"digest\":\"sha256:%s\",\"size\":%zu},"
	    "\"layers\":[",
	    img->id, config_len);
	for (unsigned i = 0; i < img->layers; i++)
		n += (size_t)snprintf(
		    text + n, size - n,
		    "%s{\"mediaType\":\"application/"
		    "vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:%s\",\"size\":%llu}",
		    i ? "," : "", img->layer[i].diff, (unsigned long long)img->layer[i].size);
	n += (size_t)snprintf(text + n, size - n, "]}");
	h2_sha256(text, n, raw);
	oci_hex(raw, hex);
	snprintf(name, sizeof(name), "blobs/sha256/%s", img->id);
	err = member(o, name, config, config_len);
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	if (!err)
		err = member(o, name, text, n);
	snprintf(
	    index, sizeof(index),
	    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
	    "\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
	    "\"digest\":\"sha256:%s\",\"size\":%zu%s%.300s%s}]}",
	    hex, n, ref ? ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" : "",
	    ref ? ref : "", ref ? "\"}" : "");
	if (!err)
		err = member(o, "index.json", index, strlen(index));
	free(config);
	free(text);
	return err;
}

/* Names go into JSON as they are: only what needs no escape. */
static bool plain(const char *s)
{
	for (; *s; s++)
		if ((uint8_t)*s < ' ' || *s == '"' || *s == '\\')
			return false;
	return true;
}

/* An image that was removed meanwhile was given out whole all the same; now it may go. */
static void unpin(struct oci_store *st, struct oci_pin *pin)
{
	struct h2_attr a;
	uint64_t dir;

	oci_unpin(st, pin);
	if (st->pins && !meta_dir(st, OCI_IMAGES, &dir) &&
	    h2_lookup(st->meta, dir, pin->img->id, 64, &a) == -H2_ENOENT)
		oci_recover(st);
}

int oci_export(struct oci_store *st, const char *id, const char *name, oci_write_cb *cb,
	       void *arg)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const uint8_t zeros[1024];
	struct out o = {.st = st, .cb = cb, .arg = arg, .buf = malloc(BUF)};
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_pin pin;
	int err = o.buf && img ? oci_image_read(st, id, img) : -H2_ENOMEM;

	if (err) {
		free(o.buf);
		free(img);
		return err;
	}
	oci_pin(st, &pin, img);
	err = member(&o, "oci-layout", layout, sizeof(layout) - 1);
	if (!err)
		err = put_documents(&o, img, name && plain(name) ? name : NULL);
	for (unsigned i = 0; !err && i < img->layers; i++) {
		bool again = false; /* two equal layers are one blob */

		for (unsigned k = 0; k < i; k++)
			again |= !strcmp(img->layer[k].diff, img->layer[i].diff);
		if (!again)
			err = put_layer(&o, &img->layer[i], true);
	}
	if (!err)
		err = cb(arg, zeros, sizeof(zeros));
	unpin(st, &pin);
	free(o.buf);
	free(img);
	return err;
}

struct layer_search {
	struct oci_store *st;
	const char *chain;
	struct oci_image *img;
	const struct oci_layer_ref *found;
};

static int has_layer(void *arg, const char *id)
{
	struct layer_search *s = arg;

	if (!oci_image_read(s->st, id, s->img))
		for (unsigned i = 0; i < s->img->layers && !s->found; i++)
			if (!strcmp(s->img->layer[i].chain, s->chain))
				s->found = &s->img->layer[i];
	return s->found != NULL;
}

int oci_layer_export(struct oci_store *st, const char *chain, oci_write_cb *cb, void *arg)
{
	struct out o = {.st = st, .cb = cb, .arg = arg, .buf = malloc(BUF)};
	struct layer_search s = {st, chain, malloc(sizeof(*s.img)), NULL};
	struct oci_pin pin;
	int err = o.buf && s.img ? 0 : -H2_ENOMEM;

	if (!err)
		err = meta_each(st, OCI_IMAGES, has_layer, &s);
	if (err >= 0 && s.found) {
		oci_pin(st, &pin, s.img);
		err = put_layer(&o, s.found, false);
		unpin(st, &pin);
	} else if (err >= 0) {
		err = oci_fail(st, -H2_ENOENT, "no image has the layer %.12s", chain);
	}
	free(o.buf);
	free(s.img);
	return err;
}
