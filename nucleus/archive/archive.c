/* SPDX-License-Identifier: ISC */
/*
 * The boot archive.
 *
 * Problem: everything D0 runs comes from one file that a boot loader placed in memory;
 * nothing of it may be believed, and not even parsed, before the signature is good.
 *
 * Model: three steps. The header's offsets are bounds-checked (they say where signature
 * and manifest lie, no more). Header and manifest are hashed and the signature is
 * checked against the key compiled into the nucleus. Only then are the manifest's
 * records read, each bounds-checked still, because a signed mistake is a mistake. File
 * contents are hashed when a file is first used: a container image in the archive costs nothing
 * at boot. Records cannot refer to each other, so there are no cycles to follow; ranges that
 * overlap the manifest or each other are refused.
 *
 * Locking: written at boot only. Failure: the reason, as text; the boot stops with it.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/core/crypto.h"
#include "nucleus/core/print.h"
#include "nucleus/memory_regions/memory_regions.h"
#include "gen/pubkey.h"

#define IMAGE_MAX (64 * MiB)
#define RELA_SIZE 24 /* Elf64_Rela */

static const u8 *base;
static const struct d0_manifest *manifest;
static const struct d0_file *files;
static const struct d0_page_hash *pages;
static u64 hashed; /* bit per file: content checked */

static bool inside(u64 offset, u64 size, u64 limit)
{
	return offset <= limit && size <= limit - offset;
}

static bool overlap(u64 a, u64 asize, u64 b, u64 bsize)
{
	return a < b + bsize && b < a + asize;
}

static const char *check_header(const struct d0_archive *h, u64 size)
{
	if (h->magic != D0_ARCHIVE_MAGIC)
		return "boot archive: wrong magic, this is not a boot archive";
	if (h->version != D0_ARCHIVE_VERSION || h->header_size != sizeof(*h))
		return "boot archive: unknown version";
	if (h->total_size > size)
		return "boot archive: shorter than its header says (truncated)";
	if (h->signature_size != D0_SIGNATURE_SIZE ||
	    !inside(h->signature_off, h->signature_size, h->total_size) ||
	    !inside(h->manifest_off, h->manifest_size, h->total_size))
		return "boot archive: signature or manifest outside the archive";
	if (h->manifest_off < sizeof(*h) || h->manifest_off & 7 ||
	    h->manifest_size < sizeof(struct d0_manifest) ||
	    overlap(h->manifest_off, h->manifest_size, h->signature_off, h->signature_size))
		return "boot archive: manifest in an impossible place";
	return NULL;
}

static const char *check_signature(const u8 *bytes, const struct d0_archive *h,
				   const u8 key[65])
{
	struct digest manifest_hash, d;
	sha256(bytes + h->manifest_off, h->manifest_size, &manifest_hash);
	sha256_two(h, sizeof(*h), &manifest_hash, sizeof(manifest_hash), &d);
	return ecdsa_p256_verify(key, &d, bytes + h->signature_off)
		   ? NULL
		   : "boot archive: the manifest's signature is wrong";
}

bool archive_image_sound(const struct d0_file *f)
{
	const struct d0_image *m = &f->image;
	u64 end = 0;
	if (m->segments > D0_SEGMENTS_MAX || m->pages > PAGES(IMAGE_MAX) || m->rela > f->size ||
	    m->relas > (f->size - m->rela) / RELA_SIZE)
		return false;
	for (u32 i = 0; i < m->segments; i++) {
		const struct d0_segment *s = &m->segment[i];
		if (s->kind > D0_SEGMENT_DATA || !s->pages || s->vaddr & PAGE_MASK ||
		    s->vaddr < end || !inside(s->vaddr >> PAGE_SHIFT, s->pages, m->pages) ||
		    !inside(s->offset, s->bytes, f->size) || PAGES(s->bytes) > s->pages ||
		    (s->kind != D0_SEGMENT_DATA && !inside(s->first_page, s->pages, f->pages)))
			return false;
		end = s->vaddr + (s->pages << PAGE_SHIFT);
	}
	return m->entry < end || !m->segments;
}

static const char *check_file(const struct d0_file *list, u32 i, const struct d0_archive *h,
			      u32 hashes)
{
	const struct d0_file *f = &list[i];
	if (strnlen(f->name, sizeof(f->name)) == sizeof(f->name) || !f->name[0])
		return "boot archive: a file has no proper name";
	if (f->offset & PAGE_MASK || !inside(f->offset, f->size, h->total_size) ||
	    overlap(f->offset, f->size, h->manifest_off, h->manifest_size) ||
	    f->offset < sizeof(*h))
		return "boot archive: a file lies outside the archive or over the manifest";
	if (!inside(f->first_page, f->pages, hashes))
		return "boot archive: a file's page hashes lie outside the manifest";
	if (!archive_image_sound(f))
		return "boot archive: the record of an image makes no sense";
	for (u32 j = 0; j < i; j++) {
		if (!strcmp(list[j].name, f->name))
			return "boot archive: two files have one name";
		if (f->size && list[j].size &&
		    overlap(f->offset, f->size, list[j].offset, list[j].size))
			return "boot archive: two files overlap";
	}
	return NULL;
}

static const char *check_manifest(const u8 *bytes, const struct d0_archive *h)
{
	const struct d0_manifest *m = (const void *)(bytes + h->manifest_off);
	if (m->magic != D0_MANIFEST_MAGIC || m->version != D0_ARCHIVE_VERSION)
		return "boot archive: manifest has the wrong magic or version";
	if (m->files > D0_ARCHIVE_FILES_MAX)
		return "boot archive: too many files";
	u64 need = sizeof(*m) + (u64)m->files * sizeof(struct d0_file) +
		   (u64)m->pages * sizeof(struct d0_page_hash);
	if (need > h->manifest_size)
		return "boot archive: manifest shorter than its counts say";
	const struct d0_file *list = (const void *)(m + 1);
	for (u32 i = 0; i < m->files; i++) {
		const char *err = check_file(list, i, h, m->pages);
		if (err)
			return err;
	}
	return NULL;
}

const char *archive_check(const u8 *bytes, u64 size, const u8 key[65])
{
	struct d0_archive h;
	if (size < sizeof(h))
		return "boot archive: too short for a header";
	memcpy(&h, bytes, sizeof(h));
	const char *err = check_header(&h, size);
	if (!err)
		err = check_signature(bytes, &h, key);
	if (!err)
		err = check_manifest(bytes, &h);
	return err;
}

const char *archive_open(hpa_t at, u64 size)
{
	if (!size)
		return "the boot loader passed no boot archive (initrd or module)";
	const u8 *bytes = hpa_to_ptr(at);
	const char *err = archive_check(bytes, size, d0_pubkey);
	if (err)
		return err;
	const struct d0_archive *h = (const void *)bytes;
	base = bytes;
	manifest = (const void *)(bytes + h->manifest_off);
	files = (const void *)(manifest + 1);
	pages = (const void *)(files + manifest->files);
	n_print("archive: signature good, %u files, %u page hashes, %lu KiB", manifest->files,
		manifest->pages, h->total_size >> 10);
	return NULL;
}

const struct d0_file *archive_find(const char *name, u32 kind)
{
	for (u32 i = 0; manifest && i < manifest->files; i++) {
		if (strcmp(files[i].name, name) || (kind && (files[i].kind & 0xff) != kind))
			continue;
		if (!(hashed >> i & 1)) {
			struct digest d;
			sha256(base + files[i].offset, files[i].size, &d);
			if (memcmp(d.byte, files[i].sha256, sizeof(d.byte))) {
				n_print("archive: '%s' does not have the manifest's hash",
					name);
				return NULL;
			}
			hashed |= 1ull << i;
		}
		return &files[i];
	}
	return NULL;
}

const u8 *archive_data(const struct d0_file *file)
{
	return base + file->offset;
}

const struct d0_page_hash *archive_pages(const struct d0_file *file)
{
	return pages + file->first_page;
}
