/* SPDX-License-Identifier: ISC */
/*
 * Checking an archive the way the nucleus does, and more: all contents and page hashes.
 * The nucleus's own reader is written apart from this one; each tests the other.
 */
#include <stdlib.h>
#include <string.h>
#include "mkarchive.h"

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static const char *header_check(const struct blob *a, struct d0_archive *h)
{
	if (a->size < sizeof(*h))
		return "too short for a header";
	memcpy(h, a->data, sizeof(*h));
	if (h->magic != D0_ARCHIVE_MAGIC)
		return "wrong magic: no boot archive";
	if (h->version != D0_ARCHIVE_VERSION || h->header_size != sizeof(*h))
		return "unknown version";
	if (h->total_size != a->size)
		return "size differs from the header's (truncated?)";
	if (h->signature_size != D0_SIGNATURE_SIZE ||
	    !inside(h->signature_off, h->signature_size, a->size) ||
	    !inside(h->manifest_off, h->manifest_size, a->size) ||
	    h->manifest_size < sizeof(struct d0_manifest) || h->manifest_off % 8)
		return "signature or manifest in an impossible place";
	return NULL;
}

const char *archive_sign(struct blob *a, const struct key *k)
{
	uint8_t hash[32], key_hash[32];
	struct d0_archive h;
	const char *err = header_check(a, &h);

	if (err)
		return err;
	sha256(k->public, sizeof(k->public), key_hash);
	memcpy(h.key_id, key_hash, sizeof(h.key_id));
	memcpy(a->data, &h, sizeof(h));
	archive_hash(&h, a->data + h.manifest_off, hash);
	return key_sign(k, hash, a->data + h.signature_off);
}

static const struct d0_manifest *manifest_of(const struct blob *a)
{
	const struct d0_archive *h = (const void *)a->data;

	return (const void *)(a->data + h->manifest_off);
}

static const struct d0_file *files_of(const struct blob *a)
{
	return (const void *)(manifest_of(a) + 1);
}

static const struct d0_page_hash *pages_of(const struct blob *a)
{
	return (const void *)(files_of(a) + manifest_of(a)->files);
}

static const char *image_check(const struct blob *a, const struct d0_file *f)
{
	struct blob elf = {a->data + f->offset, f->size};
	struct d0_page_hash *pages = NULL;
	struct d0_image img;
	uint32_t count = 0;
	const char *err = elf_describe(&elf, f->kind, &img, &pages, &count);

	if (!err && (count != f->pages || (count && memcmp(pages, pages_of(a) + f->first_page,
							   count * sizeof(*pages)))))
		err = "page hashes are not those of the image";
	if (!err && memcmp(&img, &f->image, sizeof(img)))
		err = "the image's record does not describe it";
	free(pages);
	return err;
}

/* Requests follow each other to the end; what they ask for the nucleus checks. */
static const char *conf_check(const struct blob *a, const struct d0_file *f)
{
	uint64_t at = 0;

	while (at < f->size) {
		struct d0_conf_request r;

		if (!inside(at, sizeof(r), f->size))
			return "the configuration is cut short";
		memcpy(&r, a->data + f->offset + at, sizeof(r));
		at += sizeof(r);
		if (r.size % 8 || !inside(at, r.size, f->size))
			return "the configuration is cut short";
		at += r.size;
	}
	return NULL;
}

static const char *file_check(const struct blob *a, const struct d0_file *f)
{
	uint32_t kind = f->kind & 0xff;
	uint8_t hash[32];

	if (!f->name[0] || strnlen(f->name, sizeof(f->name)) == sizeof(f->name))
		return "a file has no proper name";
	if (f->offset % 4096 || !inside(f->offset, f->size, a->size))
		return "a file lies outside the archive";
	if (!inside(f->first_page, f->pages, manifest_of(a)->pages))
		return "a file's page hashes lie outside the manifest";
	sha256(a->data + f->offset, f->size, hash);
	if (memcmp(hash, f->sha256, sizeof(hash)))
		return "a file's contents differ from the manifest";
	if (kind == D0_FILE_CELL || kind == D0_FILE_NUCLEUS)
		return image_check(a, f);
	return kind == D0_FILE_CONF ? conf_check(a, f) : NULL;
}

const char *archive_verify(const struct blob *a, const uint8_t public[KEY_PUBLIC_SIZE])
{
	const struct d0_manifest *m;
	struct d0_archive h;
	uint8_t hash[32];
	const char *err = header_check(a, &h);

	if (err)
		return err;
	archive_hash(&h, a->data + h.manifest_off, hash);
	if (!key_verify(public, hash, a->data + h.signature_off))
		return "the signature is wrong";
	m = manifest_of(a);
	if (m->magic != D0_MANIFEST_MAGIC || m->version != D0_ARCHIVE_VERSION)
		return "manifest has the wrong magic or version";
	if (m->files > D0_ARCHIVE_FILES_MAX ||
	    sizeof(*m) + m->files * sizeof(struct d0_file) +
		    (uint64_t)m->pages * sizeof(struct d0_page_hash) >
		h.manifest_size)
		return "manifest is shorter than its counts say";
	for (uint32_t i = 0; i < m->files && !err; i++)
		err = file_check(a, &files_of(a)[i]);
	return err;
}

void archive_list(const struct blob *a, FILE *out)
{
	static const char *const kinds[] = {"?", "conf", "cell", "nucleus", "data"};
	const struct d0_manifest *m = manifest_of(a);

	fprintf(out, "%-8s %-24s %10s %6s  sha256\n", "kind", "name", "bytes", "pages");
	for (uint32_t i = 0; i < m->files; i++) {
		const struct d0_file *f = &files_of(a)[i];
		uint32_t kind = f->kind & 0xff;

		fprintf(out, "%-8s %-24s %10lu %6u  ", kind < 5 ? kinds[kind] : "?", f->name,
			(unsigned long)f->size, f->pages);
		for (int j = 0; j < 8; j++)
			fprintf(out, "%02x", f->sha256[j]);
		fprintf(out, "%s\n", f->kind & D0_FILE_HIGH ? " high" : "");
	}
}
