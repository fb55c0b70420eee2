/* SPDX-License-Identifier: ISC */
/* What the files of oci/ share. */
#ifndef OCI_IMPL_H
#define OCI_IMPL_H

#include "oci/oci.h"

/* ---- sha.c ---- */
struct oci_sha {
	uint32_t state[8];
	uint64_t len;
	uint8_t buf[64];
};
void oci_sha_init(struct oci_sha *s);
void oci_sha_add(struct oci_sha *s, const void *p, size_t len);
void oci_sha_end(struct oci_sha *s, uint8_t out[32]);
void oci_sha_hex(struct oci_sha *s, char out[OCI_HEX]);
void oci_hex(const uint8_t in[32], char out[OCI_HEX]);
bool oci_is_hex(const char *s); /* 64 lower-case digits */

/* ---- json.c: a document as a table of values ---- */
enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};
struct json_value {
	uint8_t type;
	uint32_t next;    /* value behind this one and all it holds */
	uint32_t count;   /* of an array's or object's members */
	const char *text; /* string: decoded, terminated; number: as written */
	uint32_t len;
};
struct json {
	struct json_value *v;
	uint32_t count;
	char *text; /* the decoded strings */
};
/* Strict JSON, at most 64 levels. 0, -H2_EINVAL, -H2_ENOMEM. Value 0 is the document. */
int json_parse(struct json *j, const char *text, size_t len);
void json_free(struct json *j);
/* Member of an object, element of an array; 0: there is none (or v is not of that type). */
uint32_t json_get(const struct json *j, uint32_t v, const char *key);
uint32_t json_at(const struct json *j, uint32_t v, uint32_t index);
/* String value, or NULL. */
const char *json_str(const struct json *j, uint32_t v);
uint32_t json_count(const struct json *j, uint32_t v);

/* ---- tar.c: a tar, pushed in pieces ---- */
struct oci_xattr {
	const char *name;
	const void *value;
	size_t len;
};
struct oci_entry {
	char type; /* '0' file, '1' hard link, '2' symlink, '3' '4' device, '5' dir, '6' fifo */
	const char *path, *link;
	uint64_t size; /* of the file, holes included */
	bool sparse;
	uint32_t mode, uid, gid, major, minor;
	struct h2_time mtime;
	const struct oci_xattr *xattr;
	unsigned xattrs;
};
struct oci_tar_ops {
	int (*entry)(void *ctx, const struct oci_entry *e);
	int (*data)(void *ctx, uint64_t off, const void *p, size_t len);
	int (*end)(void *ctx); /* of the entry */
	/* Bytes of the tar that are not the content of a file without holes; may be NULL. */
	int (*raw)(void *ctx, const void *p, size_t len);
};
struct oci_tar;
struct oci_tar *oci_tar_new(const struct oci_tar_ops *ops, void *ctx);
/* 0; an error of a callback; -H2_EINVAL: not a tar, *why says what. */
int oci_tar_push(struct oci_tar *t, const uint8_t *p, size_t len);
/* The archive may end here? 0 or -H2_EINVAL. */
int oci_tar_done(const struct oci_tar *t);
const char *oci_tar_why(const struct oci_tar *t);
void oci_tar_free(struct oci_tar *t);

/* ---- inflate.c: gzip, zstd or plain bytes ---- */
struct oci_inflate;
struct oci_inflate *oci_inflate_new(oci_sink *sink, void *ctx);
int oci_inflate_push(struct oci_inflate *z, const uint8_t *p, size_t len);
int oci_inflate_done(struct oci_inflate *z);
void oci_inflate_free(struct oci_inflate *z);

/* ---- sums.c: SHA-256 of files' contents by inode number ---- */
struct oci_sums;
struct oci_sums *oci_sums_new(void); /* NULL: no memory; the others take NULL */
void oci_sums_free(struct oci_sums *t);
/* Advice: dropped when the table is full. */
void oci_sums_note(struct oci_sums *t, uint64_t ino, const uint8_t sum[32]);
const uint8_t *oci_sums_find(const struct oci_sums *t, uint64_t ino); /* NULL: not known */

/* ---- layer.c: a layer's tar applied to a PFS ---- */
/* `key`: name of the layer's files in /layers of the meta PFS (exists and is empty). */
int oci_layer_new(struct oci_store *st, struct h2_pfs *pfs, const char *key,
		  struct oci_layer **out);
/* Note there what the files hold that are made from now on; `sums` outlives the layer. */
void oci_layer_note(struct oci_layer *l, struct oci_sums *sums);

/* ---- record.c: files of the meta PFS ---- */
enum oci_dir {
	OCI_IMAGES,
	OCI_TAGS,
	OCI_BLOBS,
	OCI_LAYERS,
	OCI_SIGNATURES,
	OCI_ORIGINS,
	OCI_DIRS
};
int meta_dir(struct oci_store *st, enum oci_dir d, uint64_t *ino);
int meta_read(struct oci_store *st, enum oci_dir d, const char *name, char **out, size_t *len);
/* Replaces the file; visible with the next sync, whole. */
int meta_write(struct oci_store *st, enum oci_dir d, const char *name, const void *p,
	       size_t len);
int meta_unlink(struct oci_store *st, enum oci_dir d, const char *name);
typedef int meta_each_cb(void *arg, const char *name);
/* The names are collected first: the callback may change the directory. */
int meta_each(struct oci_store *st, enum oci_dir d, meta_each_cb *cb, void *arg);
int oci_image_write(struct oci_store *st, const struct oci_image *img);
/* image.c: `img` stays where it is, and what it names in the volume, until the pin goes. */
void oci_pin(struct oci_store *st, struct oci_pin *p, const struct oci_image *img);
void oci_unpin(struct oci_store *st, struct oci_pin *p);
int oci_fail(struct oci_store *st, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- root.c ---- */
/* oci_tree_root(), but contents that `known` has are not read. */
int oci_tree_root_known(struct oci_store *st, const char *label, const struct oci_sums *known,
			char out[OCI_HEX]);
/* Read all of a PFS, on after errors; the first of them. */
int oci_tree_read(struct oci_store *st, const char *label);

/* ---- import.c ---- */
#define OCI_CHUNK (256u << 10)
typedef int oci_layer_cb(void *arg, const char *blob);
/* The blobs of the layers of the image in this source. */
int oci_source_layers(struct oci_store *st, const struct oci_source *src, oci_layer_cb *cb,
		      void *arg);

/* ---- ino_set.c ---- */
/* Begins as zeros; size is a power of two. The owner frees `ino`. Numbers are not 0. */
struct oci_ino_set {
	uint64_t *ino;
	uint32_t size, used;
};
bool oci_set_has(const struct oci_ino_set *s, uint64_t ino);
int oci_set_add(struct oci_ino_set *s, uint64_t ino); /* 0 or -H2_ENOMEM */

/* ---- sign.c ---- */
/* Name of a PFS's file in /origins. */
void oci_fsid_hex(const struct h2_pfs_info *info, char out[OCI_HEX]);

/* A layer's recipe is a sequence of these, little-endian. */
struct oci_piece {
	uint64_t ino; /* 0: `len` bytes follow here; else the content of this file */
	uint64_t len;
};
_Static_assert(sizeof(struct oci_piece) == 16, "on disk");

#endif
