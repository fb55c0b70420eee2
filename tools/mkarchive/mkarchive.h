/* SPDX-License-Identifier: ISC */
/*
 * The boot archive's builder and checker (include/d0/archive.h is the format).
 *
 * Errors are reasons in English, static or in the builder's own buffer; NULL is success.
 */
#ifndef MKARCHIVE_H
#define MKARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "d0/archive.h"

#define KEY_PUBLIC_SIZE  65 /* uncompressed point */
#define KEY_PRIVATE_SIZE 32

/* Bytes the tool reads or makes; free with blob_free. */
struct blob {
	uint8_t *data;
	size_t size;
};
const char *blob_read(struct blob *b, const char *path);
const char *blob_write(const struct blob *b, const char *path);
void blob_free(struct blob *b);

/* ECDSA P-256, deterministic signatures (RFC 6979). */
struct key {
	uint8_t secret[KEY_PRIVATE_SIZE];
	uint8_t public[KEY_PUBLIC_SIZE];
};
const char *key_generate(struct key *k);
const char *key_load(struct key *k, const char *path); /* 64 hex digits */
const char *key_save(const struct key *k, const char *path);
const char *key_sign(const struct key *k, const uint8_t hash[32],
		     uint8_t sig[D0_SIGNATURE_SIZE]);
bool key_verify(const uint8_t public[KEY_PUBLIC_SIZE], const uint8_t hash[32],
		const uint8_t sig[D0_SIGNATURE_SIZE]);

void sha256(const void *data, size_t size, uint8_t out[32]);
/* What is signed: SHA-256(header || SHA-256(manifest)). */
void archive_hash(const struct d0_archive *h, const uint8_t *manifest, uint8_t out[32]);

/*
 * What the nucleus has to know of an ELF image of this kind (D0_FILE_CELL, D0_FILE_NUCLEUS),
 * and the hashes of its constant pages, appended to *pages (a malloc'd array of *count).
 */
const char *elf_describe(const struct blob *elf, uint32_t kind, struct d0_image *img,
			 struct d0_page_hash **pages, uint32_t *count);

#define CONF_ERROR_SIZE 200

/* ---- building ---- */
struct input {
	char name[48];
	uint32_t kind;
	const char *path;
	struct blob data;
};
struct builder {
	struct input input[D0_ARCHIVE_FILES_MAX];
	unsigned inputs;
	char error[256 + CONF_ERROR_SIZE];
};
const char *builder_add(struct builder *b, uint32_t kind, const char *name, const char *path);
const char *builder_make(struct builder *b, const struct key *k, struct blob *out);
void builder_free(struct builder *b);

/*
 * The text of d0.conf as the requests the nucleus carries out. Cells may only name images
 * and data among b's inputs, unless b is NULL.
 */
const char *conf_compile(const struct blob *text, const struct builder *b, struct blob *out,
			 char error[CONF_ERROR_SIZE]);

/* ---- checking ---- */
/* Everything the nucleus checks, and the contents of all files and their page hashes. */
const char *archive_verify(const struct blob *a, const uint8_t public[KEY_PUBLIC_SIZE]);
/* Put another signature in: for archives made elsewhere, and for tests. */
const char *archive_sign(struct blob *a, const struct key *k);
void archive_list(const struct blob *a, FILE *out); /* after archive_verify */

#endif
