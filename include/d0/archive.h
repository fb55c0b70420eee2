/* SPDX-License-Identifier: ISC */
/*
 * The boot archive: what the boot loader hands to the nucleus as its one module.
 *
 *	struct d0_archive | signature | manifest | files, each at a page boundary
 *
 * The signature (ECDSA P-256, raw r||s, 64 bytes) is over SHA-256(header || SHA-256(manifest)),
 * the header being struct d0_archive. It is checked before any byte of the manifest is
 * looked at; the header's own fields are only bounds-checked until then. The manifest is
 * struct d0_manifest, then file records, then page-hash records; it holds the SHA-256 of
 * every file, and for each ELF image what its loader needs to know and the SHA-256 of every
 * page of its read-only and relro segments as they lie in memory before relocation
 * (zero-padded to whole pages).
 *
 * The nucleus parses neither ELF files nor text: d0-mkarchive has done so, and the signature
 * covers what came of it. A signed mistake is still a mistake: what is recorded here is
 * checked for range by who uses it.
 *
 * All integers are little-endian, all offsets count from the start of the archive.
 */
#ifndef D0_ARCHIVE_H
#define D0_ARCHIVE_H

#include <stdint.h>

#define D0_ARCHIVE_MAGIC     0x4348435241304400ull /* "\0D0ARCHC" */
#define D0_ARCHIVE_VERSION   2
#define D0_MANIFEST_MAGIC    0x4e414d30u /* "0MAN" */
#define D0_ARCHIVE_FILES_MAX 64
#define D0_SIGNATURE_SIZE    64

struct d0_archive {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size; /* sizeof(struct d0_archive) */
	uint64_t total_size;
	uint64_t manifest_off, manifest_size;
	uint64_t signature_off, signature_size;
	uint8_t key_id[8]; /* first bytes of SHA-256 of the public key, to name it in errors */
};
_Static_assert(sizeof(struct d0_archive) == 64, "archive header");

struct d0_manifest {
	uint32_t magic;
	uint32_t version;
	uint32_t files;
	uint32_t pages;      /* page-hash records */
	uint64_t build_time; /* Unix seconds; 0 for reproducible builds */
	uint8_t pad[8];
};
_Static_assert(sizeof(struct d0_manifest) == 32, "manifest header");

enum d0_file_kind {
	D0_FILE_CONF = 1,     /* d0.conf: struct d0_conf_request, one after the other */
	D0_FILE_CELL = 2,     /* a cell image, static-PIE ELF64 */
	D0_FILE_NUCLEUS = 3,  /* the nucleus itself: page hashes and third copy */
	D0_FILE_DATA = 4,     /* anything else, by name (a RAM volume, a container archive) */
	D0_FILE_HIGH = 0x100, /* flag on D0_FILE_CELL: runs at D0_HIGH_OFFSET */
};

enum d0_segment_kind {
	D0_SEGMENT_TEXT,
	D0_SEGMENT_RODATA,
	D0_SEGMENT_RELRO, /* constant once relocated */
	D0_SEGMENT_DATA
};
struct d0_segment {
	uint32_t kind;       /* enum d0_segment_kind */
	uint32_t first_page; /* its first page-hash record, of the file's; data has none */
	uint64_t vaddr;      /* page-aligned, from the image's first page; ascending */
	uint64_t pages;
	uint64_t offset, bytes; /* where in the file; the rest of its pages is zero */
};

#define D0_SEGMENTS_MAX 6
struct d0_image {
	uint64_t entry;       /* from the image's first page */
	uint64_t pages;       /* span in memory */
	uint64_t link_base;   /* link address of the first page */
	uint64_t rela, relas; /* Elf64_Rela[relas] at this offset in the file, all relative */
	uint32_t segments;
	uint32_t pad;
	struct d0_segment segment[D0_SEGMENTS_MAX];
};

struct d0_file {
	char name[48];
	uint32_t kind;
	uint32_t first_page; /* index of its first page-hash record */
	uint32_t pages;
	uint32_t pad;
	uint64_t offset; /* page-aligned */
	uint64_t size;
	uint8_t sha256[32];
	uint8_t pad2[16];
	struct d0_image image; /* of cells and the nucleus; zero otherwise */
};
_Static_assert(sizeof(struct d0_file) == 128 + 48 + 40 * D0_SEGMENTS_MAX, "file record");

/* A page of a read-only segment. vaddr: link address of the page. */
struct d0_page_hash {
	uint64_t vaddr;
	uint32_t flags; /* D0_PAGE_EXEC, D0_PAGE_RELRO */
	uint32_t pad;
	uint8_t sha256[32];
};
_Static_assert(sizeof(struct d0_page_hash) == 48, "page-hash record");
enum {
	D0_PAGE_EXEC = 1,
	D0_PAGE_RELRO = 2
};

/*
 * The boot configuration: requests of the control protocol (d0/control.h), carried out in
 * turn as if a cell with every capability had asked. Cells get the numbers 0, 1, ... in the
 * order of their cell_create requests, and are started when all requests are done.
 */
struct d0_conf_request {
	uint32_t line; /* of d0.conf, for reports */
	uint32_t size; /* of the request that follows, a multiple of 8 */
};

#endif
