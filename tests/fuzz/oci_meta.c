/* SPDX-License-Identifier: ISC */
/*
 * What lies in "d0.images" of a volume that anybody may have written: records, tags,
 * signatures, origins, recipes. The input is a sequence of directory and name (1 byte), length
 * (2), content. Then everything that reads them runs; nothing of it may end otherwise than with
 * an error.
 */
#include <stdlib.h>
#include <string.h>
#include "oci/impl.h"
#include "tests/unit/store_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CHAIN "1111111111111111111111111111111111111111111111111111111111111111"

static struct store_env env;
static uint8_t *blank;

static const char *const names[] = {ID, CHAIN, "tag", "tmp"};

static void make_volume(void)
{
	static const struct h2_pfs_opts o = {.comp = H2_COMP_LZ4};
	static const struct h2_new how = {.mode = 0644};
	struct h2_pfs *p;
	struct h2_attr a;

	store_env_open(&env, 32 << 20);
	if (h2_pfs_create(env.vol, "lay-" CHAIN, &o) ||
	    h2_pfs_open(env.vol, "lay-" CHAIN, 0, &p) ||
	    h2_create(p, H2_ROOT_INO, "f", 1, &how, &a) ||
	    h2_write(p, a.ino, 0, "file", 4) != 4)
		abort();
	h2_pfs_close(p);
	if (h2_pfs_snapshot(env.vol, "lay-" CHAIN, "img-" ID))
		abort();
	h2_sync(env.vol);
	blank = malloc(env.size);
	memcpy(blank, env.mem, env.size);
}

static int drop(void *arg, const void *p, size_t len)
{
	size_t *left = arg;

	if (len > *left)
		return -H2_ENOSPC;
	*left -= len;
	return 0;
}

static int any_image(void *arg, const char *tag, const struct oci_image *img)
{
	return strlen(tag) > 255 || img->layers > OCI_LAYERS_MAX ? -H2_EINVAL : 0;
}

static int any_signature(void *arg, const char *key, const struct oci_signature *s, bool good)
{
	return good && !oci_signature_good(arg, s) ? -H2_EINVAL : 0;
}

static void use(struct oci_store *st)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	size_t left = 4 << 20;
	char id[OCI_HEX];

	oci_list(st, any_image, NULL);
	oci_find(st, "tag", id);
	oci_find(st, "012345", id);
	oci_origin(st, "root", id);
	if (!oci_image_read(st, ID, img)) {
		oci_signatures(st, img, any_signature, img);
		oci_verify(st, img);
	}
	oci_layer_export(st, CHAIN, drop, &left);
	left = 4 << 20;
	oci_export(st, ID, "tag", drop, &left);
	oci_tag_rollback(st, "tag");
	oci_tag(st, "tag", CHAIN);
	oci_pfs_snapshot(st, "img-" ID, "box");
	oci_remove(st, ID);
	free(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_store st = {0};

	if (!blank)
		make_volume();
	else
		memcpy(env.mem, blank, env.size);
	store_env_crash(&env);
	if (oci_open(&st, env.vol, true))
		abort();
	while (size >= 3) {
		size_t len = (size_t)(data[1] | data[2] << 8);

		len = len < size - 3 ? len : size - 3;
		meta_write(&st, (enum oci_dir)(data[0] % OCI_DIRS), names[data[0] >> 4 & 3],
			   data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
	use(&st);
	oci_close(&st);
	return 0;
}
