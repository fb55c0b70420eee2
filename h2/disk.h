/* SPDX-License-Identifier: ISC */
/*
 * The HAMMER2 media format: sizes, offsets and numbers. Section numbers refer to the format
 * description in docs/store.md. All integers are little-endian; so is every machine we run on.
 */
#ifndef H2_DISK_H
#define H2_DISK_H

#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "HAMMER2 media is little-endian");

#define H2_KIB 1024ull
#define H2_MIB (1024ull * H2_KIB)
#define H2_GIB (1024ull * H2_MIB)

#define H2_RADIX_MIN  10
#define H2_RADIX_MAX  16
#define H2_RADIX_MASK 0x3full
#define H2_BLOCK_BITS 16

#define H2_ZONE_SIZE    (2 * H2_GIB) /* distance of the volume header copies */
#define H2_RESERVE_SIZE (4 * H2_MIB) /* at the start of every GiB */
#define H2_SEGMENT_SIZE (4 * H2_MIB) /* one bmap entry */
#define H2_SEGMENT_BITS 22
#define H2_CELL_SIZE    (16 * H2_KIB) /* granularity of the freemap */
#define H2_CELL_BITS    14
#define H2_LEAF_BITS    30
#define H2_NEWFS_ALIGN  (8 * H2_MIB)
#define H2_NEWFS_MIN    (24 * H2_MIB)
#define H2_HEADERS      4

#define H2_VOLUME_MAGIC      0x48414d3205172011ull
#define H2_VOLUME_MAGIC_SWAP 0x11201705324d4148ull
#define H2_XXH_SEED          0x4d617474446c6c6eull

/* ---- block reference ---- */

enum {
	H2_BREF_EMPTY = 0,
	H2_BREF_INODE = 1,
	H2_BREF_INDIRECT = 2,
	H2_BREF_DATA = 3,
	H2_BREF_DIRENT = 4,
	H2_BREF_FMNODE = 5,
	H2_BREF_FMLEAF = 6,
	H2_BREF_INVALID = 7,
	H2_BREF_VOLROOT = 255, /* in memory only: the volume header's block set */
};

#define H2_BREF_PFSROOT 0x01 /* flags */

#define H2_CHECK_FREEMAP  5
#define H2_CHECK_DISABLED 1

struct h2_bref {
	uint8_t type;
	uint8_t methods; /* check << 4 | compression */
	uint8_t copyid;
	uint8_t keybits;
	uint8_t vradix;
	uint8_t flags;
	uint16_t leaf_count;
	uint64_t key;
	uint64_t mirror_tid;
	uint64_t modify_tid;
	uint64_t data_off; /* byte offset | radix; 0 = no block */
	uint64_t update_tid;
	union {
		struct {
			uint64_t data_count;
			uint64_t inode_count;
		} stats;
		struct {
			uint64_t inum;
			uint16_t namlen;
			uint8_t type;
			uint8_t zero[5];
		} dirent;
	} embed;
	union {
		uint8_t raw[64];
		uint32_t crc;
		uint64_t xxh;
		uint8_t sha192[24];
		struct {
			uint32_t crc;
			uint32_t bigmask;
			uint64_t avail;
		} freemap;
		char name[64];
	} check;
};
_Static_assert(sizeof(struct h2_bref) == 128, "bref, section 4");
_Static_assert(offsetof(struct h2_bref, embed) == 0x30, "bref, section 4");
_Static_assert(offsetof(struct h2_bref, check) == 0x40, "bref, section 4");

#define H2_SET_COUNT     4
#define H2_DIRENT_INLINE 64

/* ---- volume header ---- */

struct h2_volhdr {
	uint64_t magic;
	uint64_t boot_beg, boot_end;
	uint64_t aux_beg, aux_end;
	uint64_t volu_size;
	uint32_t version;
	uint32_t flags;
	uint8_t copyid;
	uint8_t freemap_version;
	uint8_t peer_type;
	uint8_t volu_id;
	uint8_t nvolumes;
	uint8_t reserved3d[3];
	uint8_t fsid[16];
	uint8_t fstype[16];
	uint64_t allocator_size, allocator_free, allocator_beg;
	uint64_t mirror_tid;
	uint64_t reserved80[2];
	uint64_t freemap_tid;
	uint64_t bulkfree_tid;
	uint64_t reserveda0[4];
	uint64_t total_size;
	uint8_t copyexists[32];
	uint8_t reservede8[248];
	uint32_t icrc_sects[8];
	struct h2_bref sroot[H2_SET_COUNT];
	uint8_t reserved400[1024];
	struct h2_bref freemap[H2_SET_COUNT];
	uint8_t reserveda00[1024];
	uint64_t volu_loff[64];
	uint8_t reserved1000[0xeffc];
	uint32_t icrc_volheader;
};
_Static_assert(sizeof(struct h2_volhdr) == 65536, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, fsid) == 0x40, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, mirror_tid) == 0x78, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, freemap_tid) == 0x90, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, total_size) == 0xc0, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, icrc_sects) == 0x1e0, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, freemap) == 0x800, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, volu_loff) == 0xe00, "volume header, section 2");
_Static_assert(offsetof(struct h2_volhdr, icrc_volheader) == 0xfffc,
	       "volume header, section 2");

/* ---- inode ---- */

enum {
	H2_OBJ_DIR = 1,
	H2_OBJ_FILE = 2,
	H2_OBJ_FIFO = 4,
	H2_OBJ_CDEV = 5,
	H2_OBJ_BDEV = 6,
	H2_OBJ_SYMLINK = 7,
	H2_OBJ_SOCKET = 9,
	H2_OBJ_WHITEOUT = 10,
};

#define H2_OP_DIRECTDATA 0x01
#define H2_OP_PFSROOT    0x02

enum {
	H2_PFS_MASTER = 6,
	H2_PFS_SUPROOT = 8,
	H2_PFS_SUB_SNAPSHOT = 1,
};

#define H2_EMBED_BYTES 512u
#define H2_INODE_FIRST 0x400u

struct h2_inode {
	uint16_t version;
	uint8_t reserved02;
	uint8_t pfs_subtype;
	uint32_t uflags;
	uint32_t rmajor, rminor;
	uint64_t ctime, mtime, atime, btime; /* microseconds since 1970 */
	uint8_t uid[16], gid[16];            /* id in the last 4 bytes */
	uint8_t type;
	uint8_t op_flags;
	uint16_t cap_flags;
	uint32_t mode;
	uint64_t inum;
	uint64_t size;
	uint64_t nlinks;
	uint64_t iparent;
	uint64_t name_key;
	uint16_t name_len;
	uint8_t ncopies;
	uint8_t comp_algo; /* level << 4 | method */
	uint8_t reserved84;
	uint8_t check_algo;
	uint8_t pfs_nmasters;
	uint8_t pfs_type;
	uint64_t pfs_inum;
	uint8_t pfs_clid[16], pfs_fsid[16];
	uint64_t data_quota, reservedb8, inode_quota, reservedc8;
	uint64_t pfs_lsnap_tid, reservedd8;
	uint64_t decrypt_check;
	uint8_t reservede8[24];
	char filename[256];
	union {
		struct h2_bref set[H2_SET_COUNT];
		uint8_t data[H2_EMBED_BYTES];
	} u;
};
_Static_assert(sizeof(struct h2_inode) == 1024, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, ctime) == 0x10, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, type) == 0x50, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, inum) == 0x58, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, name_len) == 0x80, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, pfs_inum) == 0x88, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, data_quota) == 0xb0, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, inode_quota) == 0xc0, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, pfs_lsnap_tid) == 0xd0, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, decrypt_check) == 0xe0, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, filename) == 0x100, "inode, section 5");
_Static_assert(offsetof(struct h2_inode, u) == 0x200, "inode, section 5");

/* ---- freemap ---- */

#define H2_FM_BYTES             32768u
#define H2_FM_RADIX             15
#define H2_FM_ENTRIES           256u
#define H2_FM_ROTATIONS         8u
#define H2_FM_LEVELS            5u
#define H2_FM_LEVEL_BITS(level) (30 + 8 * ((level)-1)) /* 1: 1 GiB, 2: 256 GiB ... */

struct h2_bmap {
	int32_t linear;
	uint16_t class;
	uint8_t reserved06[22];
	uint32_t avail;
	uint8_t reserved20[32];
	uint64_t bits[8]; /* 2 bits per 16 KiB cell */
};
_Static_assert(sizeof(struct h2_bmap) == 128, "bmap entry, section 10");
_Static_assert(offsetof(struct h2_bmap, avail) == 0x1c, "bmap entry, section 10");
_Static_assert(offsetof(struct h2_bmap, bits) == 0x40, "bmap entry, section 10");

enum {
	H2_CELL_FREE = 0,
	H2_CELL_RESERVED = 1,
	H2_CELL_STAGED = 2,
	H2_CELL_USED = 3
};

static inline uint64_t h2_bref_off(const struct h2_bref *b)
{
	return b->data_off & ~H2_RADIX_MASK;
}

static inline uint32_t h2_bref_radix(const struct h2_bref *b)
{
	return b->data_off & H2_RADIX_MASK;
}

/* Size of the block; 0 for none and for impossible radixes. */
static inline uint32_t h2_bref_bytes(const struct h2_bref *b)
{
	uint32_t radix = h2_bref_radix(b);

	return radix >= H2_RADIX_MIN && radix <= H2_RADIX_MAX ? 1u << radix : 0;
}

/* Last key of the range; keybits of 64 (only in memory roots) cover everything. */
static inline uint64_t h2_range_end(uint64_t key, unsigned bits)
{
	return bits >= 64 ? ~0ull : key + ((1ull << bits) - 1);
}

#endif
