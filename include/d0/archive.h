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
 * every file, and for each ELF image the SHA-256 of every page of its read-only and
 * relro segments as they lie in memory before relocation (zero-padded to whole pages).
 *
 * All integers are little-endian, all offsets count from the start of the archive.
 */
#ifndef D0_ARCHIVE_H
#define D0_ARCHIVE_H

#include <stdint.h>

#define D0_ARCHIVE_MAGIC     0x4348435241304400ull /* "\0D0ARCHC" */
#define D0_ARCHIVE_VERSION   1
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
	D0_FILE_CONF = 1,     /* d0.conf */
	D0_FILE_CELL = 2,     /* a cell image, static-PIE ELF64 */
	D0_FILE_NUCLEUS = 3,  /* the nucleus itself: page hashes and third copy */
	D0_FILE_DATA = 4,     /* anything else, by name (a RAM volume, a container archive) */
	D0_FILE_HIGH = 0x100, /* flag on D0_FILE_CELL: runs at D0_HIGH_OFFSET */
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
};
_Static_assert(sizeof(struct d0_file) == 128, "file record");

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

#endif
