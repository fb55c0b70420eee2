/* SPDX-License-Identifier: ISC */
/* d0fs key: the keys that images are signed with. They are those of the boot archive. */
#include <string.h>
#include <unistd.h>
#include "tools/d0fs/d0fs.h"
#include "tools/d0fs/keys.h"
#include "tools/mkarchive/mkarchive.h"

_Static_assert(KEY_PUBLIC_SIZE == OCI_KEY_BYTES && D0_SIGNATURE_SIZE == OCI_SIG_BYTES,
	       "images are signed as the boot archive is");

#define HEX_DIGITS "0123456789abcdef"

/* A file of 130 digits is a public key. */
static bool load_public(const char *path, uint8_t out[KEY_PUBLIC_SIZE])
{
	struct blob b = {0};
	bool good;

	if (blob_read(&b, path))
		return false;
	good = b.size >= 2 * KEY_PUBLIC_SIZE;
	for (size_t i = 0; good && i < 2 * KEY_PUBLIC_SIZE; i++) {
		const char *d = b.data[i] ? strchr(HEX_DIGITS, b.data[i]) : NULL;

		good = d != NULL;
		if (good)
			out[i / 2] = (uint8_t)(out[i / 2] << 4 | (d - HEX_DIGITS));
	}
	blob_free(&b);
	return good;
}

static int load_any(const char *path, uint8_t public[KEY_PUBLIC_SIZE])
{
	const char *err;
	struct key k;

	if (load_public(path, public))
		return 0;
	err = key_load(&k, path);
	if (err)
		return d0fs_fail(D0FS_FAILED, "%s: %s", path, err);
	memcpy(public, k.public, sizeof(k.public));
	explicit_bzero(&k, sizeof(k));
	return 0;
}

int d0fs_trust(struct oci_keys *keys, const char *file_or_id)
{
	uint8_t public[KEY_PUBLIC_SIZE];
	int code;

	if (keys->n == OCI_KEYS_MAX)
		return d0fs_fail(D0FS_USAGE, "too many keys");
	if (strlen(file_or_id) == 64 && strspn(file_or_id, HEX_DIGITS) == 64 &&
	    access(file_or_id, F_OK)) {
		memcpy(keys->id[keys->n++], file_or_id, OCI_HEX);
		return 0;
	}
	code = load_any(file_or_id, public);
	if (!code)
		oci_key_id(public, keys->id[keys->n++]);
	return code;
}

int d0fs_sign(struct oci_store *st, const struct oci_image *img, const char *file)
{
	struct oci_signature s;
	uint8_t digest[32];
	const char *err;
	struct key k;
	int h2;

	err = key_load(&k, file);
	if (!err) {
		oci_signed_digest(img, digest);
		memcpy(s.key, k.public, sizeof(s.key));
		err = key_sign(&k, digest, s.sig);
		explicit_bzero(&k, sizeof(k));
	}
	if (err)
		return d0fs_fail(D0FS_FAILED, "%s: %s", file, err);
	h2 = oci_signature_add(st, img, &s);
	return h2 ? d0fs_fail(d0fs_code(h2), "signing: %s",
			      st->err[0] ? st->err : h2_strerror(h2))
		  : 0;
}

static void print_key(const uint8_t public[KEY_PUBLIC_SIZE], bool whole)
{
	char id[OCI_HEX];

	oci_key_id(public, id);
	if (d0fs_json) {
		js_open(NULL, '{');
		js_str("id", id);
		js_hex("public", public, KEY_PUBLIC_SIZE);
		js_close('}');
		js_end();
		return;
	}
	for (unsigned i = 0; whole && i < KEY_PUBLIC_SIZE; i++)
		printf("%02x", public[i]);
	puts(whole ? "" : id);
}

static int key_cmd(int argc, char **argv)
{
	bool new = argc == 3 && !strcmp(argv[1], "new");
	bool public = argc == 3 && !strcmp(argv[1], "public");
	uint8_t key[KEY_PUBLIC_SIZE] = {0};
	const char *err;
	struct key k;
	int code = 0;

	if (argc != 2 && !new && !public)
		return d0fs_usage();
	if (new && !access(argv[2], F_OK))
		return d0fs_fail(D0FS_FAILED, "%s is there already", argv[2]);
	if (new) {
		err = key_generate(&k);
		if (!err)
			err = key_save(&k, argv[2]);
		if (err)
			return d0fs_fail(D0FS_FAILED, "%s: %s", argv[2], err);
		explicit_bzero(&k, sizeof(k));
	}
	code = load_any(argv[argc - 1], key);
	if (!code)
		print_key(key, public);
	return code;
}
D0FS_COMMAND(key, "key", "[new | public] FILE",
	     "make a key to sign images with; print its ID, or its public half", key_cmd);
