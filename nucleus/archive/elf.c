/* SPDX-License-Identifier: ISC */
/*
 * Cell images.
 *
 * An image is a static PIE whose page-aligned segments are text (R-X), rodata (R--),
 * relro and data. Everything about the file is checked here, once, before a frame is
 * taken; what passes is described by struct image, and the file's headers are not looked at
 * again. Relocations may touch relro and data only, so that text and rodata hash to the
 * manifest's values at every address.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/archive/elf.h"
#include "nucleus/archive/image.h"

#define IMAGE_MAX   (64 * MiB)
#define HEADERS_MAX 16

struct file {
	const u8 *data;
	u64 size;
	struct elf_segment ph[HEADERS_MAX];
	u32 phnum;
	u64 low, high; /* virtual range */
};

static bool inside(u64 offset, u64 size, u64 limit)
{
	return offset <= limit && size <= limit - offset;
}

static const char *read_headers(struct file *f)
{
	struct elf_header h;
	if (f->size < sizeof(h))
		return "file too short for an ELF header";
	memcpy(&h, f->data, sizeof(h));
	if (memcmp(h.ident, "\177ELF\2\1\1", 7))
		return "not a 64-bit little-endian ELF";
	if (h.type != ET_DYN || h.machine != EM_X86_64)
		return "not a position-independent x86-64 image";
	if (h.phentsize != sizeof(struct elf_segment) || !h.phnum || h.phnum > HEADERS_MAX)
		return "program header table has a wrong shape";
	if (!inside(h.phoff, (u64)h.phnum * h.phentsize, f->size))
		return "program headers lie outside the file";
	memcpy(f->ph, f->data + h.phoff, (u64)h.phnum * h.phentsize);
	f->phnum = h.phnum;
	return NULL;
}

static const char *check_loads(struct file *f)
{
	u64 end = 0;
	f->low = ~0ull;
	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_segment *p = &f->ph[i];
		if (p->type == PT_INTERP)
			return "image wants a dynamic linker";
		if (p->type != PT_LOAD)
			continue;
		if (!inside(p->offset, p->filesz, f->size))
			return "segment lies outside the file (truncated?)";
		if (p->filesz > p->memsz || !inside(p->vaddr, p->memsz, IMAGE_MAX) || !p->memsz)
			return "segment has an impossible size";
		if (p->vaddr & PAGE_MASK || p->vaddr < end)
			return "segments are not page-aligned and ascending";
		if ((p->flags & PF_W) && (p->flags & PF_X))
			return "segment is writable and executable";
		if (!(p->flags & PF_R))
			return "segment is not readable";
		f->low = MIN(f->low, p->vaddr);
		end = ALIGN_UP(p->vaddr + p->memsz, PAGE_SIZE);
	}
	f->high = end;
	return f->low < f->high ? NULL : "image has nothing to load";
}

static const char *add_segment(struct image *img, const struct file *f, u32 kind, u64 vaddr,
			       u64 memsz, const u8 *data, u64 filesz)
{
	if (img->segments == IMAGE_SEGMENTS_MAX)
		return "image has too many segments";
	struct segment *s = &img->segment[img->segments++];
	*s = (struct segment){.kind = kind,
			      .vaddr = vaddr - f->low,
			      .pages = PAGES(memsz),
			      .file = data,
			      .file_bytes = filesz,
			      .frames = HPA_NONE,
			      .golden = {HPA_NONE, HPA_NONE}};
	return NULL;
}

/* Bytes from vaddr on that PT_GNU_RELRO covers, whole pages. */
static u64 relro_bytes(const struct file *f, u64 vaddr, u64 memsz)
{
	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_segment *p = &f->ph[i];
		if (p->type == PT_GNU_RELRO && p->vaddr >= vaddr && p->vaddr < vaddr + memsz &&
		    p->memsz <= memsz - (p->vaddr - vaddr)) {
			u64 end = p->vaddr + p->memsz;
			bool all = end == vaddr + memsz;
			return (all ? ALIGN_UP(end, PAGE_SIZE) : ALIGN_DOWN(end, PAGE_SIZE)) -
			       vaddr;
		}
	}
	return 0;
}

static const char *take_loads(struct image *img, const struct file *f)
{
	const char *err = NULL;
	for (u32 i = 0; i < f->phnum && !err; i++) {
		const struct elf_segment *p = &f->ph[i];
		if (p->type != PT_LOAD)
			continue;
		const u8 *data = f->data + p->offset;
		if (!(p->flags & PF_W)) {
			u32 kind = p->flags & PF_X ? SEGMENT_TEXT : SEGMENT_RODATA;
			err = add_segment(img, f, kind, p->vaddr, p->memsz, data, p->filesz);
			continue;
		}
		u64 relro =
		    MIN(relro_bytes(f, p->vaddr, p->memsz), ALIGN_UP(p->memsz, PAGE_SIZE));
		u64 head = MIN(relro, p->filesz);
		if (relro)
			err = add_segment(img, f, SEGMENT_RELRO, p->vaddr, relro, data, head);
		if (!err && relro < p->memsz)
			err = add_segment(img, f, SEGMENT_DATA, p->vaddr + relro,
					  p->memsz - relro, data + head, p->filesz - head);
	}
	return err;
}

/* Where in the file this virtual range lies, NULL if it is in no segment's file part. */
static const u8 *at_vaddr(const struct file *f, u64 vaddr, u64 size)
{
	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_segment *p = &f->ph[i];
		if (p->type == PT_LOAD && vaddr >= p->vaddr &&
		    inside(vaddr - p->vaddr, size, p->filesz))
			return f->data + p->offset + (vaddr - p->vaddr);
	}
	return NULL;
}

static const struct segment *segment_at(const struct image *img, u64 offset, u64 size)
{
	for (u32 i = 0; i < img->segments; i++) {
		const struct segment *s = &img->segment[i];
		if (offset >= s->vaddr &&
		    inside(offset - s->vaddr, size, s->pages << PAGE_SHIFT))
			return s;
	}
	return NULL;
}

static const char *check_relocations(struct image *img, const struct file *f)
{
	for (u64 i = 0; i < img->relas; i++) {
		struct elf_rela r;
		memcpy(&r, img->rela + i * sizeof(r), sizeof(r));
		if ((r.info & 0xffffffff) != R_X86_64_RELATIVE)
			return "relocation of a kind a static image does not have";
		if (r.offset & 7 || r.offset < f->low)
			return "relocation is not aligned";
		const struct segment *s = segment_at(img, r.offset - f->low, 8);
		if (!s || s->kind == SEGMENT_TEXT || s->kind == SEGMENT_RODATA)
			return "relocation outside relro and data";
		if ((u64)r.addend < f->low || (u64)r.addend > f->high)
			return "relocation points outside the image";
	}
	return NULL;
}

static const char *read_dynamic(struct image *img, const struct file *f)
{
	u64 rela = 0, size = 0, entry = sizeof(struct elf_rela);
	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_segment *p = &f->ph[i];
		if (p->type != PT_DYNAMIC)
			continue;
		const u8 *at = at_vaddr(f, p->vaddr, p->filesz);
		if (!at)
			return "dynamic section lies outside the image";
		for (u64 n = 0; n < p->filesz / sizeof(struct elf_dynamic); n++) {
			struct elf_dynamic d;
			memcpy(&d, at + n * sizeof(d), sizeof(d));
			if (d.tag == DT_NULL)
				break;
			rela = d.tag == DT_RELA ? d.value : rela;
			size = d.tag == DT_RELASZ ? d.value : size;
			entry = d.tag == DT_RELAENT ? d.value : entry;
			if (d.tag == DT_NEEDED || d.tag == DT_TEXTREL || d.tag == DT_JMPREL)
				return "image is not static or has text relocations";
		}
	}
	if (!size)
		return NULL;
	img->rela = at_vaddr(f, rela, size);
	if (entry != sizeof(struct elf_rela) || !img->rela)
		return "relocation table lies outside the image";
	img->relas = size / entry;
	return check_relocations(img, f);
}

/* The manifest's record for every read-only page, in page order. */
static const char *match_hashes(struct image *img, const struct file *f,
				const struct d0_file *file)
{
	const struct d0_page_hash *hash = archive_pages(file);
	for (u32 i = 0; i < img->segments; i++) {
		struct segment *s = &img->segment[i];
		if (s->kind == SEGMENT_DATA)
			continue;
		for (u32 h = 0; h < file->pages && !s->hash; h++)
			if (hash[h].vaddr == s->vaddr + f->low && s->pages <= file->pages - h)
				s->hash = &hash[h];
		for (u64 p = 0; s->hash && p < s->pages; p++)
			if (s->hash[p].vaddr != s->vaddr + f->low + p * PAGE_SIZE)
				s->hash = NULL;
		if (!s->hash && s->kind != SEGMENT_RELRO)
			return "manifest has no page hashes for a segment";
	}
	return NULL;
}

const char *elf_load(struct image *img, const struct d0_file *file, const u8 *data)
{
	struct file f = {.data = data, .size = file->size};
	struct elf_header h;
	const char *err = read_headers(&f);
	if (!err)
		err = check_loads(&f);
	if (!err)
		err = take_loads(img, &f);
	if (!err)
		err = read_dynamic(img, &f);
	if (!err)
		err = match_hashes(img, &f, file);
	if (err)
		return err;
	memcpy(&h, data, sizeof(h));
	img->entry = h.entry - f.low;
	img->pages = (f.high - f.low) >> PAGE_SHIFT;
	img->link_base = f.low;
	const struct segment *s = segment_at(img, img->entry, 1);
	return s && s->kind == SEGMENT_TEXT ? NULL : "entry point is not in text";
}
