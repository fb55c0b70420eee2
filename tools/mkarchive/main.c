/* SPDX-License-Identifier: ISC */
/* d0-mkarchive: makes, signs and checks boot archives. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mkarchive.h"

static int usage(void)
{
	fputs("usage: d0-mkarchive create --key KEY --out FILE [--conf FILE] [--nucleus ELF]\n"
	      "                    [--cell NAME=ELF[,high]]... [--data NAME=FILE]...\n"
	      "       d0-mkarchive verify --key KEY FILE   check everything in an archive\n"
	      "       d0-mkarchive list --key KEY FILE     and list it\n"
	      "       d0-mkarchive sign --key KEY FILE     sign it anew with this key\n"
	      "       d0-mkarchive key KEY                 make a key unless there is one\n"
	      "       d0-mkarchive pubkey KEY              its public half as C source\n",
	      stderr);
	return 2;
}

static int complain(const char *what, const char *err)
{
	fprintf(stderr, "d0-mkarchive: %s%s%s\n", what, *what ? ": " : "", err);
	return 1;
}

/* Splits "name=path" and "name=path,high". */
static const char *add_named(struct builder *b, uint32_t kind, char *arg)
{
	char *path = strchr(arg, '='), *high;

	if (!path)
		return "NAME=FILE expected";
	*path++ = '\0';
	high = kind == D0_FILE_CELL ? strstr(path, ",high") : NULL;
	if (high && !high[5]) {
		*high = '\0';
		kind |= D0_FILE_HIGH;
	}
	return builder_add(b, kind, arg, path);
}

static const char *take_option(struct builder *b, const char *opt, char *arg)
{
	if (!strcmp(opt, "--conf"))
		return builder_add(b, D0_FILE_CONF, "d0.conf", arg);
	if (!strcmp(opt, "--nucleus"))
		return builder_add(b, D0_FILE_NUCLEUS, "nucleus", arg);
	if (!strcmp(opt, "--cell"))
		return add_named(b, D0_FILE_CELL, arg);
	if (!strcmp(opt, "--data"))
		return add_named(b, D0_FILE_DATA, arg);
	return "unknown option";
}

static int create(int argc, char **argv)
{
	static struct builder b;
	const char *key_path = NULL, *out_path = NULL, *err = NULL;
	struct blob out = {0};
	struct key k;

	for (int i = 0; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (!strcmp(argv[i], "--key"))
			key_path = argv[i + 1];
		else if (!strcmp(argv[i], "--out"))
			out_path = argv[i + 1];
		else if ((err = take_option(&b, argv[i], argv[i + 1])))
			return complain(argv[i + 1], err);
	}
	if (!key_path || !out_path)
		return usage();
	err = key_load(&k, key_path);
	if (!err)
		err = builder_make(&b, &k, &out);
	if (!err)
		err = blob_write(&out, out_path);
	blob_free(&out);
	builder_free(&b);
	return err ? complain("", err) : 0;
}

/* "--key KEY ARCHIVE", both read. -1: the words are others. */
static int open_archive(int argc, char **argv, struct key *k, struct blob *a, const char **err)
{
	if (argc != 3 || strcmp(argv[0], "--key"))
		return -1;
	*err = key_load(k, argv[1]);
	if (!*err)
		*err = blob_read(a, argv[2]);
	return 0;
}

static int check(int argc, char **argv, bool list)
{
	struct blob a = {0};
	struct key k;
	const char *err;

	if (open_archive(argc, argv, &k, &a, &err))
		return usage();
	if (!err)
		err = archive_verify(&a, k.public);
	if (!err && list)
		archive_list(&a, stdout);
	blob_free(&a);
	return err ? complain(argv[2], err) : 0;
}

static int sign(int argc, char **argv)
{
	struct blob a = {0};
	struct key k;
	const char *err;

	if (open_archive(argc, argv, &k, &a, &err))
		return usage();
	if (!err)
		err = archive_sign(&a, &k);
	if (!err)
		err = blob_write(&a, argv[2]);
	blob_free(&a);
	return err ? complain(argv[2], err) : 0;
}

static int make_key(const char *path)
{
	struct key k;
	const char *err;

	if (!access(path, F_OK))
		return 0;
	err = key_generate(&k);
	if (!err)
		err = key_save(&k, path);
	return err ? complain(path, err) : 0;
}

static int print_pubkey(const char *path)
{
	struct key k;
	const char *err = key_load(&k, path);

	if (err)
		return complain(path, err);
	printf("/* Made by d0-mkarchive: the key that boot archives must be signed with. */\n"
	       "static const unsigned char d0_pubkey[%d] = {",
	       KEY_PUBLIC_SIZE);
	for (int i = 0; i < KEY_PUBLIC_SIZE; i++)
		printf("%s0x%02x,", i % 12 ? " " : "\n\t", k.public[i]);
	printf("\n};\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return usage();
	if (!strcmp(argv[1], "create"))
		return create(argc - 2, argv + 2);
	if (!strcmp(argv[1], "verify"))
		return check(argc - 2, argv + 2, false);
	if (!strcmp(argv[1], "list"))
		return check(argc - 2, argv + 2, true);
	if (!strcmp(argv[1], "sign"))
		return sign(argc - 2, argv + 2);
	if (!strcmp(argv[1], "key"))
		return make_key(argv[2]);
	if (!strcmp(argv[1], "pubkey"))
		return print_pubkey(argv[2]);
	return usage();
}
