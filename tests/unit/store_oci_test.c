/* SPDX-License-Identifier: ISC */
/*
 * Images: the JSON and tar parsers, and that an import is atomic: the device is cut at every
 * write in turn; after the crash the image is wholly there and verified, or absent, the
 * volume is good, and the import works when it is tried again.
 */
#include <bearssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "oci/impl.h"
#include "tests/unit/store_env.h"

/* ---- a small image in memory ---- */

struct file {
	char name[128];
	uint8_t *data;
	size_t len;
};
static struct file files[8];
static unsigned file_count;
static char image_id[OCI_HEX];

static void hex_of(const void *p, size_t len, char out[OCI_HEX])
{
	uint8_t raw[32];

	h2_sha256(p, len, raw);
	oci_hex(raw, out);
}

static void add_file(const char *prefix, const void *p, size_t len, char hex[OCI_HEX])
{
	struct file *f = &files[file_count++];

	hex_of(p, len, hex);
	snprintf(f->name, sizeof(f->name), "%s%s", prefix, prefix[0] == 'b' ? hex : "");
	f->data = malloc(len + 1);
	memcpy(f->data, p, len);
	f->len = len;
}

static void make_image(void)
{
	static uint8_t tar[400000];
	char l0[OCI_HEX], l1[OCI_HEX], m[OCI_HEX], text[1024], hex[OCI_HEX];
	uint8_t *big = malloc(150000);
	size_t n;

	for (size_t i = 0; i < 150000; i++)
		big[i] = (uint8_t)(i * 2654435761u >> 24);
	n = store_env_tar(tar, "a/b", "hello", 5, '0', "");
	n += store_env_tar(tar + n, "big", big, 150000, '0', "");
	memset(tar + n, 0, 1024);
	add_file("blobs/sha256/", tar, n + 1024, l0);
	n = store_env_tar(tar, "a/.wh.b", "", 0, '0', "");
	n += store_env_tar(tar + n, "c", "c", 1, '0', "");
	memset(tar + n, 0, 1024);
	add_file("blobs/sha256/", tar, n + 1024, l1);
	n = (size_t)snprintf(text, sizeof(text),
			     "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}", l0,
			     l1);
	add_file("blobs/sha256/", text, n, image_id);
	n = (size_t)snprintf(text, sizeof(text),
			     "{\"config\":{\"digest\":\"sha256:%s\"},\"layers\":[{\"digest\":"
			     "\"sha256:%s\"},{\"digest\":\"sha256:%s\"}]}",
			     image_id, l0, l1);
	add_file("blobs/sha256/", text, n, m);
	n = (size_t)snprintf(text, sizeof(text), "{\"manifests\":[{\"digest\":\"sha256:%s\"}]}",
			     m);
	add_file("index.json", text, n, hex);
	free(big);
}

static struct file *find(const char *name)
{
	for (unsigned i = 0; i < file_count; i++)
		if (!strcmp(files[i].name, name))
			return &files[i];
	return NULL;
}

static int64_t src_size(void *ctx, const char *name)
{
	return find(name) ? (int64_t)find(name)->len : -H2_ENOENT;
}

static long src_read(void *ctx, const char *name, uint64_t off, void *buf, size_t len)
{
	struct file *f = find(name);

	if (!f || off >= f->len)
		return f ? 0 : -H2_ENOENT;
	if (len > f->len - off)
		len = f->len - off;
	memcpy(buf, f->data + off, len);
	return (long)len;
}

static const struct oci_source source = {src_size, src_read, NULL};

/* ---- tests ---- */

static int count_images(void *arg, const char *tag, const struct oci_image *img)
{
	++*(int *)arg;
	assert_string_equal(img->id, image_id);
	return 0;
}

/* 1 if the image is there; then it must verify. */
static int look(struct oci_store *st)
{
	struct oci_image *img = malloc(sizeof(*img));
	char label[96], root[OCI_HEX];
	int n = 0;

	assert_int_equal(oci_list(st, count_images, &n), 0);
	assert_true(n <= 1);
	snprintf(label, sizeof(label), "img-%s", image_id);
	if (n) {
		assert_int_equal(oci_image_read(st, image_id, img), 0);
		assert_int_equal(oci_tree_root(st, label, root), 0);
		assert_string_equal(root, img->root);
	}
	free(img);
	return n;
}

static void import_is_atomic(void **state)
{
	struct store_env e;
	struct oci_store st = {0};
	struct oci_image *img = calloc(1, sizeof(*img));
	long total, there = 0, absent = 0;

	for (long cut = -1, step = 1; cut < 100000; cut += step) {
		store_env_open(&e, 48 << 20);
		assert_int_equal(oci_open(&st, e.vol, true), 0);
		assert_int_equal(h2_sync(e.vol), 0);
		e.writes = 0;
		e.fail_after = cut;
		int err = oci_import(&st, &source, "t:1", img);
		total = (long)e.writes;
		if (cut < 0) {
			assert_int_equal(err, 0);
			assert_int_equal(look(&st), 1);
		}
		oci_close(&st);
		store_env_crash(&e);
		assert_int_equal(oci_open(&st, e.vol, true), 0);
		assert_int_equal(oci_recover(&st), 0);
		int found = look(&st);
		if (!err)
			assert_int_equal(found, 1);
		there += found;
		absent += !found;
		if (!found && cut % 3 == 0) {
			assert_int_equal(oci_import(&st, &source, "t:1", img), 0);
			assert_int_equal(look(&st), 1);
		}
		oci_close(&st);
		assert_int_equal(store_env_check(&e), 0);
		store_env_close(&e);
		if (cut < 0)
			step = total / 60 + 1;
		else if (!err)
			break;
	}
	assert_true(there >= 1);
	assert_true(absent >= 10);
	free(img);
}

static int put(void *arg, const void *p, size_t len)
{
	*(size_t *)arg += len;
	return 0;
}

static void export_verifies(void **state)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_store st = {0};
	struct store_env e;
	size_t n = 0;

	store_env_open(&e, 48 << 20);
	assert_int_equal(oci_open(&st, e.vol, true), 0);
	assert_int_equal(oci_import(&st, &source, "t:1", img), 0);
	assert_int_equal(oci_export(&st, image_id, "t:1", put, &n), 0);
	assert_true(n > 150000);
	assert_int_equal(oci_remove(&st, image_id), 0);
	assert_int_equal(look(&st), 0);
	assert_int_equal(oci_export(&st, image_id, "t:1", put, &n), -H2_ENOENT);
	oci_close(&st);
	assert_int_equal(store_env_check(&e), 0);
	store_env_close(&e);
	free(img);
}

static int count_good(void *arg, const char *key, const struct oci_signature *s, bool good)
{
	unsigned *n = arg;

	n[good]++;
	return 0;
}

/* The key of RFC 6979, A.2.5. */
static void test_sign(const uint8_t digest[32], uint8_t public[65], uint8_t sig[64])
{
	static const uint8_t secret[32] = {0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16,
					   0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93,
					   0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8, 0x9b, 0x12,
					   0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21};
	br_ec_private_key sk = {BR_EC_secp256r1, (uint8_t *)secret, sizeof(secret)};
	uint8_t buf[BR_EC_KBUF_PUB_MAX_SIZE];
	br_ec_public_key pk;

	assert_int_equal(br_ec_compute_pub(br_ec_get_default(), &pk, buf, &sk), 65);
	memcpy(public, pk.q, 65);
	assert_int_equal(public[1], 0x60); /* Ux begins so */
	assert_int_equal(
	    br_ecdsa_i31_sign_raw(br_ec_get_default(), &br_sha256_vtable, digest, &sk, sig),
	    64);
}

/* Every bit of a signature and of what is signed counts. */
static void signatures(void **state)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_signature sig, other;
	struct oci_keys keys = {.n = 1};
	struct oci_store st = {0};
	struct store_env e;
	unsigned n[2] = {0};
	char id[OCI_HEX];
	uint8_t digest[32];

	store_env_open(&e, 48 << 20);
	assert_int_equal(oci_open(&st, e.vol, true), 0);
	assert_int_equal(oci_import(&st, &source, "t:1", img), 0);
	assert_int_equal(oci_verify(&st, img), 0);
	oci_signed_digest(img, digest);
	test_sign(digest, sig.key, sig.sig);
	oci_key_id(sig.key, keys.id[0]);
	assert_int_equal(oci_signed_by(&st, img, &keys), -H2_EPERM);
	for (unsigned bit = 0; bit < 8 * sizeof(sig); bit += 37) {
		other = sig;
		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(oci_signature_add(&st, img, &other), -H2_EPERM);
	}
	assert_int_equal(oci_signature_add(&st, img, &sig), 0);
	assert_int_equal(oci_signature_add(&st, img, &sig), 0); /* replaces */
	assert_int_equal(oci_signatures(&st, img, count_good, n), 0);
	assert_int_equal(n[0], 0);
	assert_int_equal(n[1], 1);
	assert_int_equal(oci_signed_by(&st, img, &keys), 0);
	img->root[5] ^= 1;
	assert_int_equal(oci_signed_by(&st, img, &keys), -H2_EPERM);
	assert_int_equal(oci_verify(&st, img), -H2_EUCLEAN);
	img->root[5] ^= 1;
	keys.id[0][3] ^= 1;
	assert_int_equal(oci_signed_by(&st, img, &keys), -H2_EPERM);

	/* Origins follow snapshots, renames and rollbacks, and go with the PFS. */
	char label[96];
	snprintf(label, sizeof(label), "img-%s", image_id);
	assert_int_equal(oci_pfs_snapshot(&st, label, "a"), 0);
	assert_int_equal(oci_pfs_snapshot(&st, "a", "b"), 0);
	assert_int_equal(h2_pfs_rename(e.vol, "b", "c", false), 0);
	assert_int_equal(oci_origin(&st, "c", id), 0);
	assert_string_equal(id, image_id);
	assert_int_equal(oci_origin(&st, "root", id), -H2_ENOENT);
	assert_int_equal(oci_pfs_rollback(&st, "c", "root"), 0);
	assert_int_equal(oci_origin(&st, "c", id), -H2_ENOENT);
	assert_int_equal(h2_pfs_delete(e.vol, "a"), 0);
	assert_int_equal(h2_pfs_snapshot(e.vol, "root", "a"), 0);
	assert_int_equal(oci_origin(&st, "a", id), -H2_ENOENT);
	assert_int_equal(oci_recover(&st), 0);
	assert_int_equal(oci_signed_by(&st, img, &keys), -H2_EPERM);
	oci_close(&st);
	assert_int_equal(store_env_check(&e), 0);
	store_env_close(&e);
	free(img);
}

static void json(void **state)
{
	static const char *const bad[] = {"",          "{",         "[1,]", "{\"a\":}",
					  "\"\\u12\"", "nul",       "\"a",  "\"\\ud800\"",
					  "[1 2]",     "{\"a\" 1}", "1 2",  "\"\1\"",
					  "{a:1}",     "\"\\x\"",   "[[[["};
	const char *good = " {\"a\":[1,\"x\\u00e9\\ud83d\\ude00\",{\"b\":null}],\"c\":\"d\"} ";
	struct json j;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(json_parse(&j, bad[i], strlen(bad[i])), 0);
	assert_int_equal(json_parse(&j, good, strlen(good)), 0);
	uint32_t a = json_get(&j, 0, "a");
	assert_int_equal(json_count(&j, a), 3);
	assert_string_equal(json_str(&j, json_at(&j, a, 1)), "x\xc3\xa9\xf0\x9f\x98\x80");
	assert_string_equal(json_str(&j, json_get(&j, 0, "c")), "d");
	assert_null(json_str(&j, json_get(&j, 0, "zz")));
	assert_int_equal(json_at(&j, a, 3), 0);
	json_free(&j);
}

static int nop_entry(void *ctx, const struct oci_entry *e)
{
	++*(unsigned *)ctx;
	return 0;
}
static int nop_data(void *ctx, uint64_t off, const void *p, size_t len)
{
	return 0;
}
static int nop_end(void *ctx)
{
	return 0;
}

/* Every cut, and every byte changed: an error or not, but never a crash. */
static void tar_damage(void **state)
{
	static const struct oci_tar_ops ops = {nop_entry, nop_data, nop_end, NULL};
	uint8_t tar[4096], copy[4096];
	size_t n = store_env_tar(tar, "x/y", "hello", 5, '0', "");
	unsigned entries = 0;

	n += store_env_tar(tar + n, "pax", "14 path=a/b/c\n", 14, 'x', "");
	n += store_env_tar(tar + n, "z", "", 0, '5', "");
	memset(tar + n, 0, 1024);
	n += 1024;
	for (size_t piece = 1; piece < n; piece = piece * 3 + 1) {
		struct oci_tar *t = oci_tar_new(&ops, &entries);

		entries = 0;
		for (size_t at = 0; at < n; at += piece)
			assert_int_equal(
			    oci_tar_push(t, tar + at, n - at < piece ? n - at : piece), 0);
		assert_int_equal(oci_tar_done(t), 0);
		assert_int_equal(entries, 2);
		oci_tar_free(t);
	}
	for (size_t i = 0; i < n; i++) {
		struct oci_tar *t = oci_tar_new(&ops, &entries);

		memcpy(copy, tar, n);
		copy[i] ^= 0x55;
		oci_tar_push(t, copy, n);
		oci_tar_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json),
	    cmocka_unit_test(tar_damage),
	    cmocka_unit_test(export_verifies),
	    cmocka_unit_test(signatures),
	    cmocka_unit_test(import_is_atomic),
	};

	make_image();
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	for (unsigned i = 0; i < file_count; i++)
		free(files[i].data);
	return r;
}
