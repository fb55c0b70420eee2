/* SPDX-License-Identifier: ISC */
/*
 * Page hashes of an ELF image (System V gABI, chapters 4 and 5): of every page of its
 * segments without write permission, and of the pages PT_GNU_RELRO covers, as they are in
 * the file, before relocation, zero-padded to whole pages.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include "mkarchive.h"

#define PAGE      4096ull
#define SPAN_MAX  (1ull << 30)
#define PHNUM_MAX 16

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static const char *headers_check(const struct blob *elf, Elf64_Ehdr *h)
{
	if (elf->size < sizeof(*h))
		return "too short for an ELF header";
	memcpy(h, elf->data, sizeof(*h));
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) || h->e_ident[EI_CLASS] != ELFCLASS64 ||
	    h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return "not an x86-64 ELF file";
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > PHNUM_MAX)
		return "program header table has a wrong shape";
	if (!inside(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), elf->size))
		return "program headers lie outside the file";
	return NULL;
}

static const char *load_check(const Elf64_Phdr *p, const struct blob *elf)
{
	if (!inside(p->p_offset, p->p_filesz, elf->size))
		return "segment lies outside the file (truncated?)";
	if (p->p_filesz > p->p_memsz || p->p_memsz > SPAN_MAX)
		return "segment has an impossible size";
	if (p->p_vaddr % PAGE)
		return "segment does not begin at a page";
	if ((p->p_flags & PF_W) && (p->p_flags & PF_X))
		return "segment is writable and executable";
	return NULL;
}

/* Appends the hashes of the first `bytes` bytes of a segment in memory. */
static const char *hash_range(const Elf64_Phdr *p, const struct blob *elf, uint64_t bytes,
			      uint32_t flags, struct d0_page_hash **pages, uint32_t *count)
{
	uint64_t n = (bytes + PAGE - 1) / PAGE;
	struct d0_page_hash *more;

	if (n > (p->p_filesz + PAGE - 1) / PAGE)
		return "read-only segment has pages without contents";
	more = realloc(*pages, (*count + n) * sizeof(**pages));
	if (!more && n)
		return "out of memory";
	*pages = more;
	for (uint64_t i = 0; i < n; i++) {
		struct d0_page_hash *h = &more[(*count)++];
		uint8_t page[PAGE] = {0};
		uint64_t at = i * PAGE, have = at < p->p_filesz ? p->p_filesz - at : 0;

		memcpy(page, elf->data + p->p_offset + (have ? at : 0),
		       have < PAGE ? have : PAGE);
		*h = (struct d0_page_hash){.vaddr = p->p_vaddr + at, .flags = flags};
		sha256(page, PAGE, h->sha256);
	}
	return NULL;
}

/* How many bytes from the segment's start PT_GNU_RELRO covers. */
static uint64_t relro_bytes(const Elf64_Phdr *ph, unsigned n, const Elf64_Phdr *load)
{
	for (unsigned i = 0; i < n; i++)
		if (ph[i].p_type == PT_GNU_RELRO && ph[i].p_vaddr == load->p_vaddr &&
		    ph[i].p_memsz <= load->p_memsz)
			return ph[i].p_memsz;
	return 0;
}

const char *elf_page_hashes(const struct blob *elf, struct d0_page_hash **pages,
			    uint32_t *count)
{
	Elf64_Phdr ph[PHNUM_MAX];
	Elf64_Ehdr h;
	const char *err = headers_check(elf, &h);

	if (err)
		return err;
	memcpy(ph, elf->data + h.e_phoff, h.e_phnum * sizeof(*ph));
	for (unsigned i = 0; i < h.e_phnum && !err; i++) {
		uint64_t bytes = ph[i].p_memsz;
		uint32_t flags = ph[i].p_flags & PF_X ? D0_PAGE_EXEC : 0;

		if (ph[i].p_type == PT_INTERP)
			return "image wants a dynamic linker";
		if (ph[i].p_type != PT_LOAD)
			continue;
		err = load_check(&ph[i], elf);
		if (ph[i].p_flags & PF_W) {
			bytes = relro_bytes(ph, h.e_phnum, &ph[i]);
			flags = D0_PAGE_RELRO;
		}
		if (!err)
			err = hash_range(&ph[i], elf, bytes, flags, pages, count);
	}
	return err;
}
