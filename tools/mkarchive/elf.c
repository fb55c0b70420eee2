/* SPDX-License-Identifier: ISC */
/*
 * ELF images (System V gABI, chapters 4 and 5), read here so that the nucleus need not: what
 * its loader has to know becomes a struct d0_image, and every page of segments without write
 * permission, and of those PT_GNU_RELRO covers, is hashed as it is in the file, before
 * relocation, zero-padded to whole pages.
 *
 * A cell is a static PIE whose relocations touch relro and data only, so that text and rodata
 * hash to the same values at every address. The nucleus relocates itself and is not looked
 * at that closely.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include "mkarchive.h"

#define PAGE      4096ull
#define SPAN_MAX  (64ull << 20)
#define PHNUM_MAX 16

struct elf {
	const struct blob *file;
	Elf64_Ehdr h;
	Elf64_Phdr ph[PHNUM_MAX];
	uint64_t low, high; /* virtual range */
	struct d0_image *img;
	struct d0_page_hash **pages;
	uint32_t *count, first; /* of all hashes; where ours begin */
};

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE - 1) & ~(PAGE - 1);
}

static const char *headers_read(struct elf *e)
{
	const struct blob *f = e->file;
	Elf64_Ehdr *h = &e->h;

	if (f->size < sizeof(*h))
		return "too short for an ELF header";
	memcpy(h, f->data, sizeof(*h));
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 ||
	    h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return "not an x86-64 ELF file";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > PHNUM_MAX)
		return "program header table has a wrong shape";
	if (!inside(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), f->size))
		return "program headers lie outside the file";
	memcpy(e->ph, f->data + h->e_phoff, h->e_phnum * sizeof(Elf64_Phdr));
	return NULL;
}

static const char *loads_check(struct elf *e)
{
	e->low = ~0ull;
	for (unsigned i = 0; i < e->h.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type == PT_INTERP)
			return "image wants a dynamic linker";
		if (p->p_type != PT_LOAD)
			continue;
		if (!inside(p->p_offset, p->p_filesz, e->file->size))
			return "segment lies outside the file (truncated?)";
		if (!p->p_memsz || p->p_filesz > p->p_memsz ||
		    !inside(p->p_vaddr, p->p_memsz, SPAN_MAX))
			return "segment has an impossible size";
		if (p->p_vaddr % PAGE || p->p_vaddr < e->high)
			return "segments are not page-aligned and ascending";
		if ((p->p_flags & PF_W) && (p->p_flags & PF_X))
			return "segment is writable and executable";
		if (!(p->p_flags & PF_R))
			return "segment is not readable";
		e->low = p->p_vaddr < e->low ? p->p_vaddr : e->low;
		e->high = page_up(p->p_vaddr + p->p_memsz);
	}
	return e->low < e->high ? NULL : "image has nothing to load";
}

/* ---- segments and their hashes ---- */

static const char *hash_pages(struct elf *e, const struct d0_segment *s)
{
	static const uint32_t flags[] = {D0_PAGE_EXEC, 0, D0_PAGE_RELRO};
	struct d0_page_hash *more =
	    realloc(*e->pages, (*e->count + s->pages) * sizeof(**e->pages));

	if (!more)
		return "out of memory";
	*e->pages = more;
	for (uint64_t i = 0; i < s->pages; i++) {
		struct d0_page_hash *h = &more[(*e->count)++];
		uint8_t page[PAGE] = {0};
		uint64_t at = i * PAGE, have = at < s->bytes ? s->bytes - at : 0;

		if (have)
			memcpy(page, e->file->data + s->offset + at, have < PAGE ? have : PAGE);
		*h = (struct d0_page_hash){.vaddr = e->low + s->vaddr + at,
					   .flags = flags[s->kind]};
		sha256(page, PAGE, h->sha256);
	}
	return NULL;
}

static const char *segment_add(struct elf *e, uint32_t kind, uint64_t vaddr, uint64_t memsz,
			       uint64_t offset, uint64_t bytes)
{
	struct d0_segment *s = &e->img->segment[e->img->segments];

	if (!memsz)
		return NULL;
	if (e->img->segments == D0_SEGMENTS_MAX)
		return "image has too many segments";
	e->img->segments++;
	*s = (struct d0_segment){.kind = kind,
				 .first_page = *e->count - e->first,
				 .vaddr = vaddr - e->low,
				 .pages = page_up(memsz) / PAGE,
				 .offset = offset,
				 .bytes = bytes};
	if (kind != D0_SEGMENT_DATA && s->pages > page_up(bytes) / PAGE)
		return "read-only segment has pages without contents";
	return kind == D0_SEGMENT_DATA ? NULL : hash_pages(e, s);
}

/* Bytes from a writable segment's start that PT_GNU_RELRO covers, whole pages. */
static uint64_t relro_bytes(const struct elf *e, const Elf64_Phdr *load)
{
	for (unsigned i = 0; i < e->h.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type == PT_GNU_RELRO && p->p_vaddr == load->p_vaddr &&
		    p->p_memsz <= load->p_memsz)
			return p->p_memsz == load->p_memsz ? page_up(p->p_memsz)
							   : p->p_memsz & ~(PAGE - 1);
	}
	return 0;
}

static const char *segments_take(struct elf *e)
{
	const char *err = NULL;

	for (unsigned i = 0; i < e->h.e_phnum && !err; i++) {
		const Elf64_Phdr *p = &e->ph[i];
		uint64_t relro, head;

		if (p->p_type != PT_LOAD)
			continue;
		if (!(p->p_flags & PF_W)) {
			err = segment_add(
			    e, p->p_flags & PF_X ? D0_SEGMENT_TEXT : D0_SEGMENT_RODATA,
			    p->p_vaddr, p->p_memsz, p->p_offset, p->p_filesz);
			continue;
		}
		relro = relro_bytes(e, p);
		head = relro < p->p_filesz ? relro : p->p_filesz;
		err = segment_add(e, D0_SEGMENT_RELRO, p->p_vaddr, relro, p->p_offset, head);
		if (!err && relro < p->p_memsz)
			err = segment_add(e, D0_SEGMENT_DATA, p->p_vaddr + relro,
					  p->p_memsz - relro, p->p_offset + head,
					  p->p_filesz - head);
	}
	return err;
}

/* ---- what only cells have: relocations and an entry point ---- */

static const struct d0_segment *segment_at(const struct d0_image *img, uint64_t at,
					   uint64_t size)
{
	for (uint32_t i = 0; i < img->segments; i++) {
		const struct d0_segment *s = &img->segment[i];

		if (at >= s->vaddr && inside(at - s->vaddr, size, s->pages * PAGE))
			return s;
	}
	return NULL;
}

/* Where in the file this virtual range lies; false: in no segment's file part. */
static bool file_offset(const struct elf *e, uint64_t vaddr, uint64_t size, uint64_t *out)
{
	for (unsigned i = 0; i < e->h.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type == PT_LOAD && vaddr >= p->p_vaddr &&
		    inside(vaddr - p->p_vaddr, size, p->p_filesz)) {
			*out = p->p_offset + (vaddr - p->p_vaddr);
			return true;
		}
	}
	return false;
}

static const char *relocations_check(const struct elf *e)
{
	for (uint64_t i = 0; i < e->img->relas; i++) {
		const struct d0_segment *s;
		Elf64_Rela r;

		memcpy(&r, e->file->data + e->img->rela + i * sizeof(r), sizeof(r));
		if (ELF64_R_TYPE(r.r_info) != R_X86_64_RELATIVE)
			return "relocation of a kind a static image does not have";
		if (r.r_offset & 7 || r.r_offset < e->low)
			return "relocation is not aligned";
		s = segment_at(e->img, r.r_offset - e->low, 8);
		if (!s || s->kind == D0_SEGMENT_TEXT || s->kind == D0_SEGMENT_RODATA)
			return "relocation outside relro and data";
		if ((uint64_t)r.r_addend < e->low || (uint64_t)r.r_addend > e->high)
			return "relocation points outside the image";
	}
	return NULL;
}

static const char *dynamic_read(struct elf *e, const Elf64_Phdr *p)
{
	uint64_t at, rela = 0, size = 0, entry = sizeof(Elf64_Rela);

	if (!file_offset(e, p->p_vaddr, p->p_filesz, &at))
		return "dynamic section lies outside the image";
	for (uint64_t n = 0; n < p->p_filesz / sizeof(Elf64_Dyn); n++) {
		Elf64_Dyn d;

		memcpy(&d, e->file->data + at + n * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		rela = d.d_tag == DT_RELA ? d.d_un.d_val : rela;
		size = d.d_tag == DT_RELASZ ? d.d_un.d_val : size;
		entry = d.d_tag == DT_RELAENT ? d.d_un.d_val : entry;
		if (d.d_tag == DT_NEEDED || d.d_tag == DT_TEXTREL || d.d_tag == DT_JMPREL)
			return "image is not static or has text relocations";
	}
	if (!size)
		return NULL;
	if (entry != sizeof(Elf64_Rela) || !file_offset(e, rela, size, &e->img->rela))
		return "relocation table lies outside the image";
	e->img->relas = size / entry;
	return relocations_check(e);
}

static const char *cell_check(struct elf *e)
{
	const struct d0_segment *s = segment_at(e->img, e->img->entry, 1);
	const char *err = NULL;

	if (e->h.e_type != ET_DYN)
		return "not a position-independent image";
	if (!s || s->kind != D0_SEGMENT_TEXT)
		return "entry point is not in text";
	for (unsigned i = 0; i < e->h.e_phnum && !err; i++)
		if (e->ph[i].p_type == PT_DYNAMIC)
			err = dynamic_read(e, &e->ph[i]);
	return err;
}

const char *elf_describe(const struct blob *file, uint32_t kind, struct d0_image *img,
			 struct d0_page_hash **pages, uint32_t *count)
{
	struct elf e = {
	    .file = file, .img = img, .pages = pages, .count = count, .first = *count};
	const char *err = headers_read(&e);

	*img = (struct d0_image){0};
	if (!err)
		err = loads_check(&e);
	if (!err)
		err = segments_take(&e);
	if (err)
		return err;
	img->entry = e.h.e_entry - e.low;
	img->pages = (e.high - e.low) / PAGE;
	img->link_base = e.low;
	return (kind & 0xff) == D0_FILE_CELL ? cell_check(&e) : NULL;
}
