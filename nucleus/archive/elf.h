/* SPDX-License-Identifier: ISC */
/* ELF64, the parts a cell image uses: System V ABI, gABI chapters 4 and 5. */
#ifndef NUCLEUS_ARCHIVE_ELF_H
#define NUCLEUS_ARCHIVE_ELF_H

#include "nucleus/core/types.h"

struct elf_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf_header) == 64, "Elf64_Ehdr");

struct elf_segment {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf_segment) == 56, "Elf64_Phdr");

struct elf_rela {
	u64 offset, info;
	s64 addend;
};
struct elf_dynamic {
	s64 tag;
	u64 value;
};

enum {
	PT_LOAD = 1,
	PT_DYNAMIC = 2,
	PT_INTERP = 3,
	PT_GNU_RELRO = 0x6474e552
};
enum {
	PF_X = 1,
	PF_W = 2,
	PF_R = 4
};
enum {
	DT_NULL = 0,
	DT_NEEDED = 1,
	DT_RELA = 7,
	DT_RELASZ = 8,
	DT_RELAENT = 9,
	DT_TEXTREL = 22,
	DT_JMPREL = 23
};
enum {
	ET_DYN = 3,
	EM_X86_64 = 62,
	R_X86_64_RELATIVE = 8
};

#endif
