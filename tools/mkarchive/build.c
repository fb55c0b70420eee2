/* SPDX-License-Identifier: ISC */
/* Assembling an archive: manifest first in memory, then the layout, then the signature. */
#include <stdlib.h>
#include <string.h>
#include "mkarchive.h"

#define PAGE         4096ull
#define MANIFEST_OFF (sizeof(struct d0_archive) + D0_SIGNATURE_SIZE)

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE - 1) / PAGE * PAGE;
}

static const char *fail(struct builder *b, const struct input *in, const char *err)
{
	snprintf(b->error, sizeof(b->error), "%s: %s", in->path, err);
	return b->error;
}

const char *builder_add(struct builder *b, uint32_t kind, const char *name, const char *path)
{
	struct input *in = &b->input[b->inputs];
	const char *err;

	if (b->inputs == D0_ARCHIVE_FILES_MAX)
		return "too many files";
	if (!*name || strlen(name) >= sizeof(in->name))
		return "a name must have 1 to 47 bytes";
	for (unsigned i = 0; i < b->inputs; i++)
		if (!strcmp(b->input[i].name, name))
			return "two files have one name";
	*in = (struct input){.kind = kind, .path = path};
	memcpy(in->name, name, strlen(name));
	err = blob_read(&in->data, path);
	if (err)
		return fail(b, in, err);
	b->inputs++;
	return NULL;
}

static bool is_image(const struct input *in)
{
	uint32_t kind = in->kind & 0xff;

	return kind == D0_FILE_CELL || kind == D0_FILE_NUCLEUS;
}

/* The configuration's text becomes what the nucleus reads. */
static const char *conf_make(struct builder *b, struct input *in)
{
	char error[CONF_ERROR_SIZE];
	struct blob made;
	const char *err = conf_compile(&in->data, b, &made, error);

	if (err)
		return fail(b, in, err);
	blob_free(&in->data);
	in->data = made;
	return NULL;
}

/* File records and page hashes; offsets are still missing. */
static const char *records_make(struct builder *b, struct d0_file *files,
				struct d0_page_hash **pages, uint32_t *count)
{
	for (unsigned i = 0; i < b->inputs; i++) {
		struct input *in = &b->input[i];
		const char *err = in->kind == D0_FILE_CONF ? conf_make(b, in) : NULL;

		if (err)
			return err;
		memcpy(files[i].name, in->name, sizeof(files[i].name));
		files[i].kind = in->kind;
		files[i].size = in->data.size;
		files[i].first_page = *count;
		sha256(in->data.data, in->data.size, files[i].sha256);
		if (!is_image(in))
			continue;
		err = elf_describe(&in->data, in->kind, &files[i].image, pages, count);
		if (err)
			return fail(b, in, err);
		files[i].pages = *count - files[i].first_page;
	}
	return NULL;
}

static uint64_t layout(const struct builder *b, struct d0_file *files, uint64_t manifest_size)
{
	uint64_t at = page_up(MANIFEST_OFF + manifest_size);

	for (unsigned i = 0; i < b->inputs; i++) {
		files[i].offset = at;
		at = page_up(at + files[i].size);
	}
	return at;
}

void archive_hash(const struct d0_archive *h, const uint8_t *manifest, uint8_t out[32])
{
	uint8_t signed_part[sizeof(*h) + 32];

	memcpy(signed_part, h, sizeof(*h));
	sha256(manifest, h->manifest_size, signed_part + sizeof(*h));
	sha256(signed_part, sizeof(signed_part), out);
}

static const char *seal(struct blob *out, const struct d0_archive *h, const struct key *k)
{
	uint8_t hash[32];

	memcpy(out->data, h, sizeof(*h));
	archive_hash(h, out->data + h->manifest_off, hash);
	return key_sign(k, hash, out->data + h->signature_off);
}

static const char *assemble(struct builder *b, const struct key *k, struct blob *out,
			    struct d0_file *files, const struct d0_page_hash *pages,
			    uint32_t count)
{
	struct d0_manifest m = {
	    D0_MANIFEST_MAGIC, D0_ARCHIVE_VERSION, b->inputs, count, 0, {0}};
	size_t files_size = b->inputs * sizeof(*files), pages_size = count * sizeof(*pages);
	struct d0_archive h = {
	    .magic = D0_ARCHIVE_MAGIC,
	    .version = D0_ARCHIVE_VERSION,
	    .header_size = sizeof(h),
	    .manifest_off = MANIFEST_OFF,
	    .manifest_size = sizeof(m) + files_size + pages_size,
	    .signature_off = sizeof(h),
	    .signature_size = D0_SIGNATURE_SIZE,
	};
	uint8_t key_hash[32], *p;

	h.total_size = layout(b, files, h.manifest_size);
	sha256(k->public, sizeof(k->public), key_hash);
	memcpy(h.key_id, key_hash, sizeof(h.key_id));
	out->size = h.total_size;
	out->data = calloc(1, out->size);
	if (!out->data)
		return "out of memory";
	p = out->data + h.manifest_off;
	memcpy(p, &m, sizeof(m));
	memcpy(p + sizeof(m), files, files_size);
	if (pages_size)
		memcpy(p + sizeof(m) + files_size, pages, pages_size);
	for (unsigned i = 0; i < b->inputs; i++)
		memcpy(out->data + files[i].offset, b->input[i].data.data, files[i].size);
	return seal(out, &h, k);
}

const char *builder_make(struct builder *b, const struct key *k, struct blob *out)
{
	struct d0_file files[D0_ARCHIVE_FILES_MAX] = {0};
	struct d0_page_hash *pages = NULL;
	uint32_t count = 0;
	const char *err = records_make(b, files, &pages, &count);

	*out = (struct blob){0};
	if (!err)
		err = assemble(b, k, out, files, pages, count);
	free(pages);
	if (err)
		blob_free(out);
	return err;
}

void builder_free(struct builder *b)
{
	for (unsigned i = 0; i < b->inputs; i++)
		blob_free(&b->input[i].data);
	b->inputs = 0;
}
