/* SPDX-License-Identifier: ISC */
/*
 * Admin sessions take turns: while an image is made, given out or removed through one channel,
 * requests on another are answered and the volume is used; what one needs, another does
 * not remove; a client that goes away in the middle leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "oci/impl.h"
#include "tests/unit/store_admin_env.h"

/* ---- images: a base layer, and one more above it ---- */

#define BIG (3u << 20)

struct blob {
	uint8_t *p;
	size_t len;
	char hex[OCI_HEX];
};
static struct blob base, top, tall;

static void add_member(struct blob *b, const char *name, const void *data, size_t len,
		       char type, const char *link)
{
	b->len += store_env_tar(b->p + b->len, name, data, len, type, link);
}

static void finish(struct blob *b)
{
	uint8_t raw[32];

	memset(b->p + b->len, 0, 1024);
	b->len += 1024;
	h2_sha256(b->p, b->len, raw);
	oci_hex(raw, b->hex);
}

static int make_blobs(void **state)
{
	uint8_t *noise = malloc(BIG);
	char name[32];

	for (size_t i = 0; i < BIG; i++)
		noise[i] = (uint8_t)(i * 2654435761u >> 24 ^ i >> 13);
	base.p = malloc(2 * BIG);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "dir/file%u", i);
		add_member(&base, name, noise + i * 8192, 8192 + i, '0', "");
	}
	add_member(&base, "big", noise, 1 << 20, '0', "");
	finish(&base);
	top.p = malloc(BIG);
	add_member(&top, "more", noise + 77, 1 << 20, '0', "");
	finish(&top);
	free(noise);
	return 0;
}

static int free_blobs(void **state)
{
	free(base.p);
	free(top.p);
	free(tall.p);
	return 0;
}

static void send_file(unsigned n, const char *name, const void *p, size_t len)
{
	assert_int_equal(admin_request(n, D0_ADMIN_IMPORT_FILE, name, strlen(name) + 1), 0);
	for (const uint8_t *at = p; len;) {
		size_t part = len < D0_ADMIN_MAX ? len : D0_ADMIN_MAX;

		admin_send(n, D0_ADMIN_IMPORT_DATA, at, part);
		at += part;
		len -= part;
	}
}

static void send_blob(unsigned n, const void *p, size_t len, char hex[OCI_HEX])
{
	char name[96];
	uint8_t raw[32];

	h2_sha256(p, len, raw);
	oci_hex(raw, hex);
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	send_file(n, name, p, len);
}

/* All of an import but its commit; `id`: the image's. */
static void spool(unsigned n, struct blob *const *layer, unsigned layers, char id[OCI_HEX])
{
	char text[1024], ids[256] = "", digests[256] = "", m[OCI_HEX], hex[OCI_HEX];
	int len;

	assert_int_equal(admin_request(n, D0_ADMIN_IMPORT_BEGIN, "", 0), 0);
	for (unsigned i = 0; i < layers; i++) {
		send_blob(n, layer[i]->p, layer[i]->len, hex);
		snprintf(ids + strlen(ids), 100, "%s\"sha256:%s\"", i ? "," : "", hex);
		snprintf(digests + strlen(digests), 100, "%s{\"digest\":\"sha256:%s\"}",
			 i ? "," : "", hex);
	}
	len = snprintf(text, sizeof(text), "{\"rootfs\":{\"diff_ids\":[%s]}}", ids);
	send_blob(n, text, (size_t)len, id);
	len = snprintf(text, sizeof(text),
		       "{\"config\":{\"digest\":\"sha256:%s\"},\"layers\":[%s]}", id, digests);
	send_blob(n, text, (size_t)len, m);
	len = snprintf(text, sizeof(text), "{\"manifests\":[{\"digest\":\"sha256:%s\"}]}", m);
	send_file(n, "index.json", text, (size_t)len);
}

static struct blob *const one_layer[] = {&base}, *const two_layers[] = {&base, &top};

static void import(unsigned n, struct blob *const *layer, unsigned layers, char id[OCI_HEX])
{
	spool(n, layer, layers, id);
	assert_int_equal(admin_request(n, D0_ADMIN_IMPORT_COMMIT, "", 1), 0);
}

/* ---- what is there ---- */

static unsigned count(const char *prefix)
{
	struct h2_pfs_info info;
	uint64_t cursor = 0;
	unsigned n = 0;

	while (!h2_pfs_next(admin_volume.vol, &cursor, &info))
		n += !strncmp(info.label, prefix, strlen(prefix));
	return n;
}

static int verify(const char *id)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	struct oci_store st = {0};
	int err = oci_open(&st, admin_volume.vol, false);

	if (!err)
		err = oci_image_read(&st, id, img);
	if (!err)
		err = oci_verify(&st, img);
	oci_close(&st);
	free(img);
	return err;
}

static int begin(void **state)
{
	store_env_open(&admin_volume, 64 << 20);
	admin_env_begin();
	return 0;
}

static int end(void **state)
{
	admin_env_end();
	assert_int_equal(store_env_check(&admin_volume), 0);
	store_env_close(&admin_volume);
	return 0;
}

static bool answered(unsigned n)
{
	return admin_client[n].answered == admin_client[n].sent;
}

/* A container is made and removed through channel `n`, each in a few rounds. */
static void container(unsigned n, const char *from, unsigned i)
{
	char args[160], label[32];
	int len, name = snprintf(label, sizeof(label), "c-%u", i) + 1;

	len = snprintf(args, sizeof(args), "%s%c%s", from, 0, label);
	admin_send(n, D0_ADMIN_PFS_SNAPSHOT, args, (size_t)len + 1);
	assert_true(admin_await(n, 4) < 4);
	assert_int_equal(admin_client[n].status, 0);
	admin_send(n, D0_ADMIN_PFS_DELETE, label, (size_t)name);
	assert_true(admin_await(n, 4) < 4);
	assert_int_equal(admin_client[n].status, 0);
}

/* A client writes a file and syncs it, between two rounds. */
static void use_files(unsigned i)
{
	struct h2_new how = {.mode = 0644};
	struct h2_pfs *p;
	struct h2_attr a;
	char name[32];
	int len = snprintf(name, sizeof(name), "used%u", i);

	assert_int_equal(h2_pfs_open(admin_volume.vol, "root", 0, &p), 0);
	assert_int_equal(h2_create(p, H2_ROOT_INO, name, (size_t)len, &how, &a), 0);
	assert_int_equal(h2_write(p, a.ino, 0, name, (size_t)len), len);
	assert_int_equal(h2_fsync(p, a.ino), 0);
	h2_pfs_close(p);
}

/* ---- tests ---- */

static void import_holds_nobody_up(void **state)
{
	char id[OCI_HEX];
	unsigned rounds = 0;

	spool(0, two_layers, 2, id);
	admin_send(0, D0_ADMIN_IMPORT_COMMIT, "", 1);
	for (; !answered(0); rounds++) {
		admin_round();
		if (!answered(0) && rounds % 4 == 1) {
			container(1, "root", rounds);
			use_files(rounds);
			assert_int_equal(admin_request(1, D0_ADMIN_IMAGE_LIST, "", 0), 0);
			if (!answered(0))
				assert_int_equal(verify(id), -H2_ENOENT);
		}
	}
	assert_true(rounds > 10); /* or nothing was shown */
	assert_int_equal(admin_client[0].status, 0);
	assert_int_equal(verify(id), 0);
	assert_int_equal(count("tmp-"), 0);
}

/* What the reader has got: the archive's bytes. */
static void gather(struct admin_client *c, const struct d0_admin_head *h, const uint8_t *p)
{
	struct blob *b = c->arg;

	if (h->op != D0_ADMIN_IMAGE_EXPORT || h->status)
		return;
	b->p = realloc(b->p, b->len + h->len + 1);
	assert_non_null(b->p);
	memcpy(b->p + b->len, p, h->len);
	b->len += h->len;
}

/* Also while its reader reads nothing; and when the image is removed meanwhile. */
static void export_holds_nobody_up(void **state)
{
	struct blob got = {0};
	char id[OCI_HEX];
	unsigned rounds = 0;

	import(0, two_layers, 2, id);
	admin_client[0].frame = gather;
	admin_client[0].arg = &got;
	admin_send(0, D0_ADMIN_IMAGE_EXPORT, id, OCI_HEX);
	admin_client[0].deaf = true;
	for (; rounds < 30; rounds++) {
		admin_round();
		container(1, "root", rounds);
		use_files(rounds);
	}
	assert_false(answered(0));
	assert_int_equal(admin_request(1, D0_ADMIN_IMAGE_REMOVE, id, OCI_HEX), 0);
	assert_int_equal(verify(id), -H2_ENOENT);
	assert_int_equal(count("lay-"), 2); /* the reader needs them */
	admin_client[0].deaf = false;
	for (; !answered(0); rounds++) {
		admin_round();
		if (!answered(0) && rounds % 4 == 1)
			container(1, "root", rounds);
	}
	assert_int_equal(admin_client[0].status, 0);
	assert_true(got.len > base.len + top.len);
	/* The layers' tars are in the archive byte by byte. */
	assert_non_null(memmem(got.p, got.len, base.p, base.len));
	assert_non_null(memmem(got.p, got.len, top.p, top.len));
	assert_int_equal(count("lay-"), 0);
	free(got.p);
}

/* An image is removed while another with the same base is being made above it. */
static void removal_spares_an_import(void **state)
{
	char old[OCI_HEX], id[OCI_HEX];

	import(1, one_layer, 1, old);
	spool(0, two_layers, 2, id);
	admin_send(0, D0_ADMIN_IMPORT_COMMIT, "", 1);
	for (unsigned i = 0; i < 10; i++)
		admin_round();
	assert_false(answered(0));
	assert_int_equal(admin_request(1, D0_ADMIN_IMAGE_REMOVE, old, OCI_HEX), 0);
	assert_false(answered(0));
	admin_await(0, 100000);
	assert_int_equal(admin_client[0].status, 0);
	assert_int_equal(verify(old), -H2_ENOENT);
	assert_int_equal(verify(id), 0);
	assert_int_equal(count("lay-"), 2);
	assert_int_equal(admin_request(1, D0_ADMIN_IMAGE_REMOVE, id, OCI_HEX), 0);
	assert_int_equal(count("lay-"), 0);
}

/* Two at once of images that share a layer: one waits for the other. */
static void two_imports(void **state)
{
	char a[OCI_HEX], b[OCI_HEX];

	spool(0, one_layer, 1, a);
	spool(1, two_layers, 2, b);
	admin_send(1, D0_ADMIN_IMPORT_COMMIT, "", 1);
	admin_round();
	admin_send(0, D0_ADMIN_IMPORT_COMMIT, "", 1);
	admin_await(0, 100000);
	assert_int_equal(admin_client[0].status, 0);
	assert_true(answered(1));
	assert_int_equal(admin_client[1].status, 0);
	assert_int_equal(verify(a), 0);
	assert_int_equal(verify(b), 0);
	assert_int_equal(count("lay-"), 2);
	assert_int_equal(count("tmp-"), 0);
}

/* In the middle of a commit: the client begins anew; the channel is made anew. */
static void client_goes_away(void **state)
{
	char id[OCI_HEX];

	for (unsigned channel = 0; channel < 2; channel++) {
		spool(0, two_layers, 2, id);
		admin_send(0, D0_ADMIN_IMPORT_COMMIT, "", 1);
		for (unsigned i = 0; i < 3; i++)
			admin_round();
		assert_true(count("tmp-") > 1);
		if (channel)
			admin_channel_new(0);
		else
			admin_client_start(0);
		assert_int_equal(admin_request(0, D0_ADMIN_USAGE, "", 0), 0);
		for (unsigned i = 0; i < 1000 && count("tmp-"); i++)
			admin_round();
		assert_int_equal(count("tmp-"), 0);
		assert_int_equal(count("lay-"), 0);
		assert_int_equal(verify(id), -H2_ENOENT);
	}
	import(0, two_layers, 2, id);
	assert_int_equal(verify(id), 0);
}

/* A scrub and a bulkfree go on in slices as well, beside a comparison and a tar of a tree. */
static void jobs_beside_trees(void **state)
{
	char id[OCI_HEX], args[200];
	int len;

	import(0, two_layers, 2, id);
	len = snprintf(args, sizeof(args), "img-%s%c%s", id, 0, "c");
	assert_int_equal(admin_request(1, D0_ADMIN_PFS_SNAPSHOT, args, (size_t)len + 1), 0);
	assert_int_equal(admin_request(1, D0_ADMIN_SCRUB, "", 0), 0);
	assert_int_equal(admin_request(1, D0_ADMIN_SCRUB, "", 0), -H2_EBUSY);
	len = snprintf(args, sizeof(args), "c%cimg-%s", 0, id);
	assert_int_equal(admin_request(1, D0_ADMIN_TREE_DIFF, args, (size_t)len + 1), 0);
	assert_int_equal(admin_request(0, D0_ADMIN_TREE_PACK, "c\0/\0x", 6), 0);
	while (admin_round())
		;
	assert_int_equal(admin_request(1, D0_ADMIN_BULKFREE, "", 0), 0);
	while (admin_round())
		;
	assert_int_equal(verify(id), 0);
}

static uint64_t space_left(void)
{
	struct h2_vol_info info;

	h2_vol_info(admin_volume.vol, &info);
	return info.allocator_free;
}

static void reclaim(void)
{
	assert_int_equal(admin_request(1, D0_ADMIN_BULKFREE, "", 0), 0);
	while (admin_round())
		;
}

static void fill_up(size_t leave)
{
	static uint8_t noise[H2_BLOCK_SIZE];
	struct h2_statfs fs;
	struct h2_new how = {.mode = 0644};
	struct h2_pfs *p;
	struct h2_attr a;

	assert_int_equal(admin_request(1, D0_ADMIN_PFS_CREATE, "full", 5), 0);
	assert_int_equal(h2_pfs_open(admin_volume.vol, "full", 0, &p), 0);
	assert_int_equal(h2_create(p, H2_ROOT_INO, "f", 1, &how, &a), 0);
	for (uint64_t at = 0; !h2_statfs(p, &fs) && fs.avail * fs.block_size > leave;
	     at += sizeof(noise)) {
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)((at + i) * 2654435761u >> 24 ^ i >> 7);
		memcpy(noise, &at, sizeof(at));
		if (h2_write(p, a.ino, at, noise, sizeof(noise)) < (long)sizeof(noise))
			break;
		h2_sync(admin_volume.vol);
	}
	h2_pfs_close(p);
}

/* The volume is full at the files of an import, at its layers: said so, nothing is left. */
static void import_does_not_fit(void **state)
{
	static const size_t leave[] = {2u << 20, 9u << 19};
	char id[OCI_HEX];
	uint64_t before;

	import(0, one_layer, 1, id);
	reclaim();
	before = space_left();
	for (unsigned i = 0; i < 2; i++) {
		fill_up(leave[i]);
		if (i) {
			spool(0, two_layers, 2, id);
			assert_int_equal(admin_request(0, D0_ADMIN_IMPORT_COMMIT, "", 1),
					 -H2_ENOSPC);
		} else {
			assert_int_equal(admin_request(0, D0_ADMIN_IMPORT_BEGIN, "", 0), 0);
			assert_int_equal(admin_request(0, D0_ADMIN_IMPORT_FILE, "x", 2), 0);
			admin_client[0].status = 0;
			for (unsigned k = 0; k < 150 && !admin_client[0].status; k++) {
				admin_send(0, D0_ADMIN_IMPORT_DATA, base.p + k * 16001,
					   D0_ADMIN_MAX);
				admin_round();
			}
			assert_int_equal(admin_client[0].status, -H2_ENOSPC);
		}
		assert_int_equal(count("tmp-"), 0);
		assert_int_equal(count("lay-"), 1);
		assert_int_equal(admin_request(1, D0_ADMIN_PFS_DELETE, "full", 5), 0);
		reclaim();
		assert_in_range(space_left(), before - (1 << 20), before + (1 << 20));
	}
	import(0, two_layers, 2, id);
	assert_int_equal(verify(id), 0);
}

/* The rest of what was sent to a store that is gone, here the data of an import with whole
 * frames in it, does nothing. */
static void bytes_of_before(void **state)
{
	struct d0_admin_head h = {.len = 5, .op = D0_ADMIN_PFS_DELETE, .tag = 1};
	uint8_t junk[64 * sizeof(h)];

	assert_int_equal(admin_request(1, D0_ADMIN_PFS_CREATE, "keep", 5), 0);
	h.status = admin_client[0].key ^ 1;
	for (unsigned i = 0; i < 64; i++)
		memcpy(junk + i * sizeof(h), i & 1 ? (void *)"keep" : (void *)&h,
		       i & 1 ? 5 : sizeof(h));
	for (unsigned i = 0; i < 200; i++) /* more than the ring holds: it is all taken */
		admin_send_bytes(0, junk, sizeof(junk));
	for (unsigned i = 0; i < 10; i++)
		admin_round();
	assert_true(stream_at_eof(&admin_client[0].stream));
	assert_int_equal(count("keep"), 1);
	admin_client_start(0);
	assert_int_equal(admin_request(0, D0_ADMIN_PFS_DELETE, "keep", 5), 0);
}

/* As deep as an image may be, and links in links: the stack of a task is enough. */
static void deep_tree(void **state)
{
	struct blob *const layer[] = {&tall};
	char path[OCI_HEX * 16] = "", record[600], name[32], link[32], id[OCI_HEX];
	int n = 0, len;

	tall.p = malloc(BIG);
	for (unsigned i = 0; i < 240; i++)
		n += snprintf(path + n, 8, "d/");
	strcpy(path + n, "f");
	len = snprintf(record, sizeof(record), "%d path=%s\n", n + 1 + 10, path);
	add_member(&tall, "pax", record, (size_t)len, 'x', "");
	add_member(&tall, "short", "deep", 4, '0', "");
	for (unsigned i = 0; i < 39; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		snprintf(link, sizeof(link), i < 38 ? "l%u/." : "d", i + 1);
		add_member(&tall, name, "", 0, '2', link);
	}
	add_member(&tall, "l0/through", "links", 5, '0', "");
	add_member(&tall, "other/x", "x", 1, '0', "");
	finish(&tall);
	import(0, layer, 1, id);
	assert_int_equal(verify(id), 0);
	len = snprintf(path, sizeof(path), "img-%s%cd/through%c1", id, 0, 0);
	assert_int_equal(admin_request(1, D0_ADMIN_TREE_STAT, path, (size_t)len + 1), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(import_holds_nobody_up),   TEST(export_holds_nobody_up),
	    TEST(removal_spares_an_import), TEST(two_imports),
	    TEST(client_goes_away),         TEST(jobs_beside_trees),
	    TEST(bytes_of_before),          TEST(deep_tree),
	    TEST(import_does_not_fit),
	};

	return cmocka_run_group_tests(tests, make_blobs, free_blobs);
}
