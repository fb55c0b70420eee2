/* SPDX-License-Identifier: ISC */
/*
 * oci (h2_ops for images): container images in a HAMMER2 volume. Import, export, tags,
 * removal; the same code in d0fs and in the store cell. No I/O of its own.
 *
 * How an image lies in a volume:
 *
 *	PFS "lay-<chain ID>"	the tree after this layer; a snapshot of its parent's, so that
 *				images share what they have in common
 *	PFS "img-<image ID>"	the image: a snapshot of its last layer. A container's root is
 *				a snapshot of it. The ID is the SHA-256 of the config blob.
 *	PFS "d0.images"		/images/<image ID>	the record (text, see record.c)
 *				/tags/<name>		image IDs, newest first: the versions
 *				/blobs/<SHA-256>	config and manifest, as they came
 *				/layers/<chain ID>	how to make the layer's tar again
 *				/layers/<chain ID>.<n>	contents that a later entry of the same
 *							layer replaced
 *				/signatures/<image ID>	who vouches for it, see sign.c
 *				/origins/<fsid>		the image that a container's root began as
 *	PFS "tmp-..."		an import under way; what a power cut leaves is deleted by
 *				oci_recover()
 *
 * An import becomes visible in one transaction of h2: after a cut at any write the image is
 * there wholly, with verified digests, or not at all.
 */
#ifndef OCI_OCI_H
#define OCI_OCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "h2/h2.h"

#define OCI_HEX        65 /* SHA-256 in hex and its NUL */
#define OCI_LAYERS_MAX 128
#define OCI_BLOB_MAX   (4u << 20) /* JSON documents */
#define OCI_META_PFS   "d0.images"

/* Where an image comes from: named blobs that can be read anywhere. */
struct oci_source {
	/* Size of the file of that name ("index.json", "blobs/sha256/..."), or -H2_ENOENT. */
	int64_t (*size)(void *ctx, const char *name);
	/* Bytes read; short only at the end; < 0: error. */
	long (*read)(void *ctx, const char *name, uint64_t off, void *buf, size_t len);
	void *ctx;
};

typedef int oci_sink(void *ctx, const uint8_t *p, size_t len); /* 0 or < 0 */

struct oci_image;

/*
 * What long work under way needs of a volume, although no record says so (yet): an import, an
 * export. Whoever lets others use the volume in the middle of it (`yield`) gives all stores
 * of the volume the same of these, so that none removes what another is about to use.
 */
struct oci_pin {
	struct oci_pin *next;
	const struct oci_image *img;
};
struct oci_pins {
	struct oci_pin *first;
	uint64_t published; /* imports that have shown their image */
};

struct oci_store {
	struct h2_vol *vol;
	struct h2_pfs *meta;
	struct oci_pins *pins; /* NULL: nobody else works on the volume */
	char err[256];         /* why the last call failed; "" if there is nothing to add */
	/* Called during long work (may be NULL): compressed bytes done and in all. */
	void (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *progress_ctx;
	/* Called between pieces of long work, never inside a call of h2 or while something is
	 * half done: whoever shares the volume may use it then (may be NULL). */
	void (*yield)(void *ctx);
	void *yield_ctx;
	/* Bad blocks of an image that is imported again are made good in place, if the volume's
	 * second_copy asks this (may be NULL). */
	struct oci_mend *mend;
	/* Run `produce` in another thread (may be NULL: in this one): what it pushes into the
	 * sink it is given reaches `take` here, in order. Returns the first error of either. */
	int (*pipe)(void *ctx, int (*produce)(void *arg, oci_sink *sink, void *sink_ctx),
		    void *arg, oci_sink *take, void *take_arg);
	void *pipe_ctx;
};

/* Opens "d0.images", making it if `create`. 0, or < 0 (-H2_ENOENT: no images here). */
int oci_open(struct oci_store *st, struct h2_vol *vol, bool create);
void oci_close(struct oci_store *st);
/* Delete what unfinished imports left, and layers that no image uses; not what is pinned. */
int oci_recover(struct oci_store *st);

struct oci_layer_ref {
	char diff[OCI_HEX]; /* SHA-256 of the layer's tar */
	char chain[OCI_HEX];
	uint64_t size; /* of the tar */
};

struct oci_image {
	char id[OCI_HEX];
	char manifest[OCI_HEX]; /* digest of the manifest it came with */
	char root[OCI_HEX];     /* placement-independent root of the tree, see root.c */
	unsigned layers;
	struct oci_layer_ref layer[OCI_LAYERS_MAX];
};

/*
 * Import the (first, or linux/amd64) image of an OCI layout or a docker archive. name: tag
 * to give it, NULL: those the archive says. An image that is there already is read and
 * compared; damaged layers are made anew. 0, or < 0 with st->err; then nothing has changed.
 * One import at a time for a volume; everything else may go on beside it (`yield`, `pins`).
 */
int oci_import(struct oci_store *st, const struct oci_source *src, const char *name,
	       struct oci_image *out);

/* Is that an image: do its documents read well? 0, or < 0 with st->err (which is all of `st`
 * that is used). Layers are not read. */
int oci_source_check(struct oci_store *st, const struct oci_source *src);

/* Image ID of a tag ("nginx", "nginx:1.25") or of the begin (>= 6 digits) of an ID. */
int oci_find(struct oci_store *st, const char *name, char id[OCI_HEX]);
int oci_image_read(struct oci_store *st, const char *id, struct oci_image *out);
/* Each tag with the image it means; then images without a tag (tag ""). */
typedef int oci_list_cb(void *arg, const char *tag, const struct oci_image *img);
int oci_list(struct oci_store *st, oci_list_cb *cb, void *arg);
int oci_tag(struct oci_store *st, const char *tag, const char *id);
int oci_untag(struct oci_store *st, const char *tag);
/* Let a tag mean the image it meant before. */
int oci_tag_rollback(struct oci_store *st, const char *tag);
/* Remove an image with its tags and the layers only it uses. Space comes back by bulkfree. */
int oci_remove(struct oci_store *st, const char *id);
/* A blob (config, manifest) by digest: malloc'd, NUL-terminated. */
int oci_blob(struct oci_store *st, const char *hex, char **out, size_t *len);

/* Write an OCI archive (a tar). Every layer is checked against its digest on the way. */
typedef int oci_write_cb(void *arg, const void *p, size_t len); /* 0 or < 0 */
int oci_export(struct oci_store *st, const char *id, const char *name, oci_write_cb *cb,
	       void *arg);

/* The tar of one layer (by chain ID), byte by byte as it came, checked on the way. */
int oci_layer_export(struct oci_store *st, const char *chain, oci_write_cb *cb, void *arg);

/*
 * Trees of files in any PFS (tree.c). Paths are walked inside of the PFS; a leading
 * '/' makes no difference. -H2_ENOENT, -H2_ENOTDIR, -H2_EINVAL (a circle of links).
 */
int oci_tree_find(struct h2_pfs *pfs, const char *path, bool follow, struct h2_attr *out);
/* What is at `path` and below as a tar; its names begin with `as` ("": the root is left out).
 * The callback also comes with no bytes, as a time at which others may use the volume. */
int oci_tree_pack(struct h2_pfs *pfs, const char *path, const char *as, oci_write_cb *cb,
		  void *arg);
enum oci_change {
	OCI_CHANGED,
	OCI_ADDED,
	OCI_DELETED,
	OCI_TOUCHED, /* a directory whose time alone differs */
	OCI_SAME,    /* nothing to report: a time at which others may use the volume */
};
/* attr: of the new object; of the old one if it was deleted. 0 or < 0 to stop. */
typedef int oci_diff_cb(void *arg, enum oci_change kind, const char *path,
			const struct h2_attr *attr);
/* How pfs differs from base, of which it is a snapshot; parents first, in order of names.
 * skip: paths (without leading '/') to leave out with all below; NULL-terminated, may be NULL.
 * A directory that became something else, or reversed, is deleted and added. */
int oci_tree_diff(struct h2_pfs *pfs, struct h2_pfs *base, const char *const *skip,
		  oci_diff_cb *cb, void *arg);
/* The same as a layer: a tar with whiteouts. */
int oci_tree_pack_diff(struct h2_pfs *pfs, struct h2_pfs *base, const char *const *skip,
		       oci_write_cb *cb, void *arg);

/* A tar unpacked below a directory of a PFS, pushed in pieces (layer.c). */
#define OCI_UNPACK_NO_CROSS 1u /* a directory may not take the place of something else */
#define OCI_UNPACK_OWNER    2u /* owners as the tar says; else root */
struct oci_layer;
/* NULL: no memory. `st` needs vol only; st->err says why a push failed. */
struct oci_layer *oci_unpack_new(struct oci_store *st, struct h2_pfs *pfs, uint64_t dir,
				 unsigned flags);
int oci_layer_push(void *layer, const uint8_t *p, size_t len);
/* End of the tar: directories' times, the rest of the recipe. */
int oci_layer_finish(struct oci_layer *l);
void oci_layer_free(struct oci_layer *l);

/* Hash of a PFS's tree that does not depend on where blocks lie. Reads everything. */
int oci_tree_root(struct oci_store *st, const char *label, char out[OCI_HEX]);

/* ---- bad blocks made good from an archive, see mend.c ---- */

/* NULL: no memory. */
struct oci_mend *oci_mend_new(void);
void oci_mend_free(struct oci_mend *m);
/* For h2_env.second_copy: gives a block that was found, remembers one that is missing. */
int oci_mend_second_copy(struct oci_mend *m, const struct h2_event *ev, void *buf);
uint64_t oci_mend_missing(const struct oci_mend *m);
/* Look for missing blocks in an image's layers; what was found comes with the next read. */
int oci_mend_scan(struct oci_mend *m, struct oci_store *st, const struct oci_source *src);
/* A block of another volume, as stored there: perhaps one that is missing. */
void oci_mend_offer(struct oci_mend *m, const void *stored, size_t len);

/* ---- signatures, see sign.c ---- */

#define OCI_KEY_BYTES 65 /* public key: an uncompressed point of P-256 */
#define OCI_SIG_BYTES 64 /* ECDSA, raw r||s */
#define OCI_KEYS_MAX  4

struct oci_signature {
	uint8_t key[OCI_KEY_BYTES];
	uint8_t sig[OCI_SIG_BYTES];
};
/* Keys by ID: SHA-256 of the public key, in hex. */
struct oci_keys {
	unsigned n;
	char id[OCI_KEYS_MAX][OCI_HEX];
};

void oci_key_id(const uint8_t key[OCI_KEY_BYTES], char out[OCI_HEX]);
/* What a signer signs: a SHA-256 over the image's ID, manifest digest and root. */
void oci_signed_digest(const struct oci_image *img, uint8_t out[32]);
bool oci_signature_good(const struct oci_image *img, const struct oci_signature *s);
/* "p256 PUBLIC SIGNATURE" in hex; the line may go on after it. */
bool oci_signature_parse(const char *line, struct oci_signature *out);
/* Keep a signature with the image, in place of one by the same key. -H2_EPERM: not good.
 * Durable with the next sync. */
int oci_signature_add(struct oci_store *st, const struct oci_image *img,
		      const struct oci_signature *s);
typedef int oci_signature_cb(void *arg, const char *key_id, const struct oci_signature *s,
			     bool good);
int oci_signatures(struct oci_store *st, const struct oci_image *img, oci_signature_cb *cb,
		   void *arg);
/* 0: the record (not the tree: oci_verify()) is signed by one of these keys; -H2_EPERM. */
int oci_signed_by(struct oci_store *st, const struct oci_image *img,
		  const struct oci_keys *keys);
/* Compute documents and tree anew and compare with the record: 0, -H2_EUCLEAN (with
 * st->err), -H2_EIO. Reads everything. */
int oci_verify(struct oci_store *st, const struct oci_image *img);

/* h2_pfs_snapshot() and h2_pfs_rollback() that remember which image a PFS began as, and sync.
 */
int oci_pfs_snapshot(struct oci_store *st, const char *source, const char *label);
int oci_pfs_rollback(struct oci_store *st, const char *label, const char *snapshot);
/* That image's ID; "img-<ID>" is its own. -H2_ENOENT: none, or not known. */
int oci_origin(struct oci_store *st, const char *label, char id[OCI_HEX]);

#endif
