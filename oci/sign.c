/* SPDX-License-Identifier: ISC */
/*
 * Signed images.
 *
 * Problem. Check codes say that a block is the one that was written, not who wrote it: who can
 * write the disk can write other blocks and their check codes. And the Merkle root of an
 * image's PFS is no name to sign, since it changes with the place of the blocks.
 *
 * Model. A signature covers the image's ID (the digest of its config), the digest of the
 * manifest it came with, and the placement-independent root of its tree (root.c); so it
 * holds on every volume that the image is imported to. Keys and algorithm are the boot
 * archive's: ECDSA on P-256 with SHA-256, raw r||s. A key is named by the SHA-256 of its public
 * half, an uncompressed point; whoever knows that name needs no more to trust a signature, as
 * the public half lies beside it:
 *
 *	/signatures/<image ID>	lines "p256 PUBLIC SIGNATURE", in hex, one for each signer
 *	/origins/<fsid>		"image ID": the PFS with this fsid began as a snapshot of it
 *
 * Signed bytes: "d0 signed image 1\nid ID\nmanifest DIGEST\nroot ROOT\n", digests in hex.
 *
 * Verifying computes everything anew: the documents' digests, what they say of each other
 * and of the record, and the root from the files as they read now. Nothing in the volume is
 * believed before.
 *
 * What a container writes into its snapshot afterwards is nobody's to sign; the origin says
 * only what it began as. An fsid is never given twice, so an origin can't pass to another
 * PFS of the same label; a rollback, which keeps the fsid, sets it anew.
 */
#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"

#define LINE_MAX_LEN (5 + 2 * OCI_KEY_BYTES + 1 + 2 * OCI_SIG_BYTES + 1)
#define SIGNERS_MAX  16u

/* ---- keys and signatures ---- */

static void put_hex(const uint8_t *in, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = "0123456789abcdef"[in[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[in[i] & 15];
	}
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *s, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int hi = digit(s[2 * i]), lo = hi < 0 ? -1 : digit(s[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

void oci_key_id(const uint8_t key[OCI_KEY_BYTES], char out[OCI_HEX])
{
	uint8_t raw[32];

	h2_sha256(key, OCI_KEY_BYTES, raw);
	oci_hex(raw, out);
}

void oci_signed_digest(const struct oci_image *img, uint8_t out[32])
{
	char text[4 * OCI_HEX];
	int n = snprintf(text, sizeof(text), "d0 signed image 1\nid %s\nmanifest %s\nroot %s\n",
			 img->id, img->manifest, img->root);

	h2_sha256(text, (size_t)n, out);
}

bool oci_signature_good(const struct oci_image *img, const struct oci_signature *s)
{
	br_ec_public_key pk = {
	    .curve = BR_EC_secp256r1, .q = (uint8_t *)s->key, .qlen = sizeof(s->key)};
	uint8_t digest[32];

	oci_signed_digest(img, digest);
	return br_ecdsa_i31_vrfy_raw(br_ec_get_default(), digest, sizeof(digest), &pk, s->sig,
				     sizeof(s->sig)) == 1;
}

bool oci_signature_parse(const char *line, struct oci_signature *out)
{
	const char *sig = line + 5 + 2 * OCI_KEY_BYTES + 1;

	return strnlen(line, LINE_MAX_LEN) >= LINE_MAX_LEN - 1 && !memcmp(line, "p256 ", 5) &&
	       take_hex(line + 5, out->key, OCI_KEY_BYTES) && sig[-1] == ' ' &&
	       take_hex(sig, out->sig, OCI_SIG_BYTES);
}

/* ---- the file of an image's signatures ---- */

static int read_all(struct oci_store *st, const char *id, struct oci_signature *s, unsigned *n)
{
	char *text;
	size_t len;
	int err = meta_read(st, OCI_SIGNATURES, id, &text, &len);

	*n = 0;
	if (err)
		return err;
	for (const char *p = text; *p && *n < SIGNERS_MAX; p += strcspn(p, "\n"), p += *p != 0)
		if (oci_signature_parse(p, &s[*n]))
			++*n;
	free(text);
	return 0;
}

static int write_all(struct oci_store *st, const char *id, const struct oci_signature *s,
		     unsigned n)
{
	char text[SIGNERS_MAX * LINE_MAX_LEN];

	for (unsigned i = 0; i < n; i++) {
		char *p = text + i * LINE_MAX_LEN;

		memset(p, ' ', LINE_MAX_LEN);
		memcpy(p, "p256", 4);
		put_hex(s[i].key, OCI_KEY_BYTES, p + 5);
		put_hex(s[i].sig, OCI_SIG_BYTES, p + 5 + 2 * OCI_KEY_BYTES + 1);
		p[LINE_MAX_LEN - 1] = '\n';
	}
	return meta_write(st, OCI_SIGNATURES, id, text, n * LINE_MAX_LEN);
}

int oci_signature_add(struct oci_store *st, const struct oci_image *img,
		      const struct oci_signature *s)
{
	struct oci_signature all[SIGNERS_MAX];
	unsigned n, at = 0;
	int err;

	if (!oci_signature_good(img, s))
		return oci_fail(st, -H2_EPERM, "a signature that is not this image's");
	err = read_all(st, img->id, all, &n);
	if (err && err != -H2_ENOENT)
		return err;
	while (at < n && memcmp(all[at].key, s->key, sizeof(s->key)))
		at++;
	if (at == SIGNERS_MAX)
		return oci_fail(st, -H2_ENOSPC, "too many signatures");
	all[at] = *s;
	return write_all(st, img->id, all, at == n ? n + 1 : n);
}

int oci_signatures(struct oci_store *st, const struct oci_image *img, oci_signature_cb *cb,
		   void *arg)
{
	struct oci_signature all[SIGNERS_MAX];
	unsigned n;
	int err = read_all(st, img->id, all, &n);

	if (err == -H2_ENOENT)
		return 0;
	for (unsigned i = 0; !err && i < n; i++) {
		char key[OCI_HEX];

		oci_key_id(all[i].key, key);
		err = cb(arg, key, &all[i], oci_signature_good(img, &all[i]));
	}
	return err;
}

struct signer_search {
	const struct oci_keys *keys;
	bool good, bad;
};

static int look_at_signer(void *arg, const char *key, const struct oci_signature *s, bool good)
{
	struct signer_search *q = arg;

	q->bad |= !good;
	for (unsigned i = 0; good && i < q->keys->n; i++)
		q->good |= !strcmp(q->keys->id[i], key);
	return 0;
}

int oci_signed_by(struct oci_store *st, const struct oci_image *img,
		  const struct oci_keys *keys)
{
	struct signer_search q = {.keys = keys};
	int err = oci_signatures(st, img, look_at_signer, &q);

	if (err || q.good)
		return err;
	return oci_fail(st, -H2_EPERM,
			q.bad ? "a signature of image %.12s is wrong"
			      : "image %.12s is not signed by a trusted key",
			img->id);
}

/* ---- verifying ---- */

static int check_blob(struct oci_store *st, const char *hex, char **out, size_t *len)
{
	char got[OCI_HEX];
	uint8_t raw[32];
	int err = oci_blob(st, hex, out, len);

	if (err)
		return oci_fail(st, err == -H2_ENOENT ? -H2_EUCLEAN : err,
				"a document of the image is missing or can't be read");
	h2_sha256(*out, *len, raw);
	oci_hex(raw, got);
	if (!strcmp(got, hex))
		return 0;
	free(*out);
	*out = NULL;
	return oci_fail(st, -H2_EUCLEAN, "a document of the image was changed");
}

static bool is_digest(const char *text, const char *hex)
{
	return text && !strncmp(text, "sha256:", 7) && !strcmp(text + 7, hex);
}

/* A document of the image that has its digest, parsed; to be freed when that is 0. */
static int checked_json(struct oci_store *st, const char *hex, struct json *j)
{
	char *text = NULL;
	size_t len = 0;
	int err = check_blob(st, hex, &text, &len);

	if (!err) {
		err = json_parse(j, text, len);
		free(text);
	}
	return err;
}

/* An OCI manifest names the config; manifest.json of a docker archive has no digests. */
static int check_manifest(struct oci_store *st, const struct oci_image *img)
{
	struct json j;
	int err = checked_json(st, img->manifest, &j);

	if (err)
		return err;
	uint32_t config = json_get(&j, 0, "config");

	if (config && !is_digest(json_str(&j, json_get(&j, config, "digest")), img->id))
		err = oci_fail(st, -H2_EUCLEAN, "the manifest is another image's");
	json_free(&j);
	return err;
}

static int check_config(struct oci_store *st, const struct oci_image *img)
{
	struct json j;
	int err = checked_json(st, img->id, &j);

	if (err)
		return err;
	uint32_t ids = json_get(&j, json_get(&j, 0, "rootfs"), "diff_ids");
	bool same = json_count(&j, ids) == img->layers;

	for (unsigned i = 0; same && i < img->layers; i++)
		same = is_digest(json_str(&j, json_at(&j, ids, i)), img->layer[i].diff);
	json_free(&j);
	return same ? 0
		    : oci_fail(st, -H2_EUCLEAN, "the record has other layers than the config");
}

int oci_verify(struct oci_store *st, const struct oci_image *img)
{
	char label[96], root[OCI_HEX];
	int err = check_config(st, img);

	if (!err)
		err = check_manifest(st, img);
	snprintf(label, sizeof(label), "img-%s", img->id);
	if (!err)
		err = oci_tree_root(st, label, root);
	if (!err && strcmp(root, img->root))
		err = oci_fail(st, -H2_EUCLEAN, "the tree is not the one that was imported");
	return err;
}

/* ---- where a PFS comes from ---- */

void oci_fsid_hex(const struct h2_pfs_info *info, char out[OCI_HEX])
{
	put_hex(info->fsid, sizeof(info->fsid), out);
	out[2 * sizeof(info->fsid)] = 0;
}

static int fsid_name(struct oci_store *st, const char *label, char out[OCI_HEX])
{
	struct h2_pfs_info info;
	int err = h2_pfs_stat(st->vol, label, &info);

	if (!err)
		oci_fsid_hex(&info, out);
	return err;
}

int oci_origin(struct oci_store *st, const char *label, char id[OCI_HEX])
{
	char name[OCI_HEX], *text;
	size_t len;
	int err;

	if (!strncmp(label, "img-", 4) && oci_is_hex(label + 4)) {
		memcpy(id, label + 4, OCI_HEX);
		return 0;
	}
	err = fsid_name(st, label, name);
	if (!err)
		err = meta_read(st, OCI_ORIGINS, name, &text, &len);
	if (err)
		return err;
	if (len >= 71 && !memcmp(text, "image ", 6)) {
		memcpy(id, text + 6, 64);
		id[64] = 0;
		err = oci_is_hex(id) ? 0 : -H2_EUCLEAN;
	} else {
		err = -H2_EUCLEAN;
	}
	free(text);
	return err;
}

/*
 * Which image `source` began as is written before anything happens, and gets its name (the
 * fsid of `label`, which becomes what `source` is) after it: a full volume is found out about
 * while nothing is done yet.
 */
#define PREPARED "new"

static int prepare_origin(struct oci_store *st, const char *source)
{
	char id[OCI_HEX], text[OCI_HEX + 8];
	int n, err = oci_origin(st, source, id);

	if (err == -H2_ENOMEM)
		return err;
	if (err) { /* none is known; and none may be left by a crash */
		err = meta_unlink(st, OCI_ORIGINS, PREPARED);
		return err == -H2_ENOENT ? 0 : err;
	}
	n = snprintf(text, sizeof(text), "image %s\n", id);
	return meta_write(st, OCI_ORIGINS, PREPARED, text, (size_t)n);
}

/* Without a prepared one: none is known. */
static int set_origin(struct oci_store *st, const char *label)
{
	char name[OCI_HEX];
	uint64_t dir;
	int err = meta_dir(st, OCI_ORIGINS, &dir);

	if (!err)
		err = fsid_name(st, label, name);
	if (err)
		return err;
	err = h2_rename(st->meta, dir, PREPARED, strlen(PREPARED), dir, name, strlen(name), 0);
	if (err) {
		int gone = meta_unlink(st, OCI_ORIGINS, name); /* no origin is better than a
								* wrong one */

		err = err != -H2_ENOENT ? err : gone == -H2_ENOENT ? 0 : gone;
	}
	return err;
}

int oci_pfs_snapshot(struct oci_store *st, const char *source, const char *label)
{
	int err = prepare_origin(st, source);

	if (!err)
		err = h2_pfs_snapshot(st->vol, source, label);
	if (!err) {
		err = set_origin(st, label);
		if (err)
			h2_pfs_delete(st->vol, label);
	}
	if (err) {
		meta_unlink(st, OCI_ORIGINS, PREPARED);
		return err;
	}
	return h2_sync(st->vol);
}

int oci_pfs_rollback(struct oci_store *st, const char *label, const char *snapshot)
{
	int err = prepare_origin(st, snapshot);

	if (!err)
		err = h2_pfs_rollback(st->vol, label, snapshot);
	if (!err)
		err = set_origin(st, label);
	if (err) {
		meta_unlink(st, OCI_ORIGINS, PREPARED);
		return err;
	}
	return h2_sync(st->vol);
}
