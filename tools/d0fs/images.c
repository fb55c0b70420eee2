/* SPDX-License-Identifier: ISC */
/* d0fs import, export, images: container images in a volume. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "oci/oci.h"
#include "tools/d0fs/d0fs.h"
#include "tools/d0fs/keys.h"
#include "tools/d0fs/pipe.h"
#include "tools/d0fs/source.h"

#define DEDUP (1u << 20) /* remembered blocks during an import */

static int report(const struct oci_store *st, int err, const char *what)
{
	int code = err == -H2_ENOENT ? D0FS_NOT_FOUND : d0fs_code(err);

	return d0fs_fail(code ? code : D0FS_FAILED, "%s: %s%s%s", what,
			 st->err[0] ? st->err : h2_strerror(err), st->err[0] ? ": " : "",
			 st->err[0] ? h2_strerror(err) : "");
}

enum store_use {
	TO_LIST, /* where there are no images, st->meta is NULL */
	TO_READ,
	TO_WRITE
};

/* Open volume and image store. */
static int open_store(struct d0fs_vol *v, struct oci_store *st, const char *path,
		      enum store_use use)
{
	bool write = use == TO_WRITE;
	int code = d0fs_open(v, path, write ? 0 : D0FS_RDONLY, write ? DEDUP : 0);
	int err;

	memset(st, 0, sizeof(*st));
	if (code)
		return code;
	err = oci_open(st, v->vol, write);
	if (err && !(use == TO_LIST && err == -H2_ENOENT)) {
		code = err == -H2_ENOENT ? d0fs_fail(D0FS_NOT_FOUND, "%s holds no images", path)
					 : report(st, err, path);
		return d0fs_close(v, code);
	}
	return 0;
}

static int close_store(struct d0fs_vol *v, struct oci_store *st, int code)
{
	oci_close(st);
	return d0fs_close(v, code);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	d0fs_progress("importing", done, total);
}

static void print_image(const struct oci_image *img, const char *tag)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < img->layers; i++)
		size += img->layer[i].size;
	if (!d0fs_json) {
		char text[32];

		printf("%-40s %.12s  %2u layers  %s\n", *tag ? tag : "-", img->id, img->layers,
		       d0fs_size(size, text));
		return;
	}
	js_open(NULL, '{');
	js_str("tag", tag);
	js_str("id", img->id);
	js_str("manifest", img->manifest);
	js_str("root", img->root);
	js_num("size", size);
	js_open("layers", '[');
	for (unsigned i = 0; i < img->layers; i++)
		js_str(NULL, img->layer[i].diff);
	js_close(']');
	js_close('}');
}

static int mend(void *ctx, const struct h2_event *ev, void *buf)
{
	return ctx ? oci_mend_second_copy(ctx, ev, buf) : -H2_EIO;
}

static int import_signed(struct oci_store *st, const struct d0fs_source *src, const char *what,
			 const char *tag, const char *key)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	int err, code = 0;

	st->progress = on_progress;
	st->pipe = d0fs_pipe;
	st->mend = oci_mend_new();
	d0fs_second_copy = mend;
	d0fs_second_copy_ctx = st->mend;
	err = img ? oci_import(st, &src->source, tag, img) : -H2_ENOMEM;
	d0fs_progress_end();
	if (err)
		code = report(st, err, what);
	else if (key)
		code = d0fs_sign(st, img, key);
	if (!code) {
		print_image(img, tag ? tag : "");
		if (d0fs_json)
			js_end();
	}
	d0fs_second_copy = NULL;
	oci_mend_free(st->mend);
	st->mend = NULL;
	free(img);
	return code;
}

static int import_cmd(int argc, char **argv)
{
	static const struct option opts[] = {{"sign", required_argument, NULL, 's'},
					     {NULL, 0, NULL, 0}};
	const char *key = NULL;
	struct d0fs_source src;
	struct d0fs_vol v;
	struct oci_store st;
	int c, code;

	while ((c = getopt_long(argc, argv, "s:", opts, NULL)) != -1) {
		if (c != 's')
			return d0fs_usage();
		key = optarg;
	}
	argc -= optind;
	argv += optind;
	if (argc != 2 && argc != 3)
		return d0fs_usage();
	code = d0fs_source_open(&src, argv[1]);
	if (!code)
		code = open_store(&v, &st, argv[0], TO_WRITE);
	if (code) {
		d0fs_source_close(&src);
		return code;
	}
	code = import_signed(&st, &src, argv[1], argc == 3 ? argv[2] : NULL, key);
	d0fs_source_close(&src);
	return close_store(&v, &st, code);
}
D0FS_COMMAND(import, "import", "[--sign KEY] VOLUME ARCHIVE|LAYOUT [TAG]",
	     "import an OCI image or the output of docker save", import_cmd);

struct out_file {
	int fd, err; /* errno of a write that failed */
	uint64_t done, total;
};

static int write_out(void *arg, const void *data, size_t len)
{
	struct out_file *f = arg;
	const char *p = data;

	while (len) {
		ssize_t n = write(f->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			f->err = errno;
			return -H2_ENOSPC;
		}
		p += n;
		len -= (size_t)n;
		f->done += (uint64_t)n;
	}
	d0fs_progress("exporting", f->done, f->total);
	return 0;
}

/* Bytes of its layers, for the progress bar; 0: not known. */
static uint64_t image_size(struct oci_store *st, const char *id)
{
	struct oci_image *img = malloc(sizeof(*img));
	uint64_t size = 0;

	if (img && !oci_image_read(st, id, img))
		for (unsigned i = 0; i < img->layers; i++)
			size += img->layer[i].size;
	free(img);
	return size;
}

static int export_to(struct oci_store *st, const char *name, const char *path)
{
	bool out = !strcmp(path, "-");
	struct out_file f = {.fd = STDOUT_FILENO};
	char id[OCI_HEX];
	int err = oci_find(st, name, id);

	if (err)
		return report(st, err, name);
	d0fs_stdout_is_data = out;
	f.total = image_size(st, id);
	if (!out)
		f.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (f.fd < 0)
		return d0fs_fail(D0FS_FAILED, "%s: %s", path, strerror(errno));
	err = oci_export(st, id, name, write_out, &f);
	if (!out && close(f.fd) && !err) {
		f.err = errno;
		err = -H2_ENOSPC;
	}
	if (err && !out)
		unlink(path);
	if (f.err)
		return d0fs_fail(f.err == ENOSPC ? D0FS_NO_SPACE : D0FS_FAILED, "%s: %s", path,
				 strerror(f.err));
	return err ? report(st, err, name) : 0;
}

static int export_cmd(int argc, char **argv)
{
	struct oci_store st;
	struct d0fs_vol v;
	int code;

	if (argc != 4)
		return d0fs_usage();
	code = open_store(&v, &st, argv[1], TO_READ);
	return code ? code : close_store(&v, &st, export_to(&st, argv[2], argv[3]));
}
D0FS_COMMAND(export, "export", "VOLUME IMAGE FILE|-", "write an OCI archive", export_cmd);

/* ---- images ---- */

static int list_one(void *arg, const char *tag, const struct oci_image *img)
{
	print_image(img, tag);
	return 0;
}

static int list(struct oci_store *st)
{
	int err;

	if (d0fs_json)
		js_open(NULL, '[');
	err = st->meta ? oci_list(st, list_one, NULL) : 0;
	if (d0fs_json) {
		js_close(']');
		js_end();
	}
	return err ? report(st, err, "images") : 0;
}

static int show_signer(void *arg, const char *key, const struct oci_signature *s, bool good)
{
	bool *bad = arg;

	*bad |= !good;
	if (!good)
		d0fs_warn("the signature of key %s is wrong", key);
	else if (d0fs_json)
		js_str(NULL, key);
	else if (!d0fs_quiet)
		printf("signed by %s\n", key);
	return 0;
}

/* Documents and tree as they read now against the record, then who signed the record. */
static int verify_image(struct oci_store *st, const char *name, const struct oci_image *img,
			const struct oci_keys *keys)
{
	bool bad = false;
	int err = oci_verify(st, img);

	if (err)
		return report(st, err, name);
	if (d0fs_json) {
		js_open(NULL, '{');
		js_str("id", img->id);
		js_str("manifest", img->manifest);
		js_str("root", img->root);
		js_open("signers", '[');
	}
	err = oci_signatures(st, img, show_signer, &bad);
	if (d0fs_json) {
		js_close(']');
		js_close('}');
		js_end();
	}
	if (err)
		return report(st, err, name);
	if (bad)
		return d0fs_fail(D0FS_DAMAGED, "%s: a wrong signature", name);
	if (keys->n && oci_signed_by(st, img, keys))
		return d0fs_fail(D0FS_UNSIGNED, "%s: %s", name, st->err);
	if (!d0fs_quiet && !d0fs_json)
		printf("%s: verified, root %s, manifest %s\n", name, img->root, img->manifest);
	return 0;
}

static int with_image(struct oci_store *st, const char *name, const char *sign,
		      const struct oci_keys *keys)
{
	struct oci_image *img = calloc(1, sizeof(*img));
	char id[OCI_HEX];
	int err = img ? oci_find(st, name, id) : -H2_ENOMEM, code;

	if (!err)
		err = oci_image_read(st, id, img);
	if (!err && sign) /* nobody should sign what is not there */
		err = oci_verify(st, img);
	if (err)
		code = report(st, err, name);
	else if (sign)
		code = d0fs_sign(st, img, sign);
	else
		code = verify_image(st, name, img, keys);
	free(img);
	return code;
}

static int change(struct oci_store *st, int argc, char **argv)
{
	char id[OCI_HEX];
	int err = 0;

	if (!strcmp(argv[0], "rollback") && argc == 2)
		err = oci_tag_rollback(st, argv[1]);
	else if (!strcmp(argv[0], "untag") && argc == 2)
		err = oci_untag(st, argv[1]);
	else if (!strcmp(argv[0], "prune") && argc == 1)
		err = oci_recover(st);
	else if (!strcmp(argv[0], "rm") && argc == 2)
		err = (err = oci_find(st, argv[1], id)) ? err : oci_remove(st, id);
	else if (!strcmp(argv[0], "tag") && argc == 3)
		err = (err = oci_find(st, argv[1], id)) ? err : oci_tag(st, argv[2], id);
	else
		return d0fs_usage();
	return err ? report(st, err, argv[argc > 1 ? 1 : 0]) : 0;
}

static int images_cmd(int argc, char **argv)
{
	static const struct option opts[] = {{"key", required_argument, NULL, 'k'},
					     {NULL, 0, NULL, 0}};
	struct oci_keys keys = {0};
	const char *key = NULL;
	struct oci_store st;
	struct d0fs_vol v;
	bool verify, sign;
	int c, code = 0;

	while ((c = getopt_long(argc, argv, "k:", opts, NULL)) != -1) {
		if (c != 'k')
			return d0fs_usage();
		key = optarg;
		code = d0fs_trust(&keys, key);
		if (code)
			return code;
	}
	argc -= optind;
	argv += optind;
	verify = argc == 3 && !strcmp(argv[1], "verify");
	sign = argc == 3 && !strcmp(argv[1], "sign");
	if (argc < 1 || (keys.n && !verify && !sign) || (sign && keys.n != 1))
		return d0fs_usage();
	code = open_store(&v, &st, argv[0], argc == 1 ? TO_LIST : verify ? TO_READ : TO_WRITE);
	if (code)
		return code;
	if (argc == 1)
		code = list(&st);
	else if (verify || sign)
		code = with_image(&st, argv[2], sign ? key : NULL, &keys);
	else
		code = change(&st, argc - 1, argv + 1);
	return close_store(&v, &st, code);
}
D0FS_COMMAND(images, "images",
	     "VOLUME [verify [--key KEY] IMAGE | sign --key KEY IMAGE | tag IMAGE TAG | "
	     "untag TAG | rollback TAG | rm IMAGE | prune]",
	     "list images, verify, sign or change them", images_cmd);
