/* SPDX-License-Identifier: ISC */
/*
 * h2: the HAMMER2 store library.
 *
 * The library has no I/O, clock, allocator, entropy or thread of its own: all of them come
 * from struct h2_env. It needs only <stdint.h>, <stddef.h>, <stdbool.h> and <string.h>, so
 * the same objects run in the store cell, in d0fs, under fuzzers and in the crash tester.
 *
 * Conventions
 *  - Functions return 0 (or a count >= 0 where said) or a negative h2 error (-H2_EIO ...).
 *    The values are Linux's errno values, so that a FUSE server passes them through.
 *  - One thread at a time per struct h2_vol. Calls never block except inside the device
 *    callbacks.
 *  - Names and labels are byte strings with an explicit length, 1..255 bytes, no '/' or NUL;
 *    "." and ".." are never stored, lookup of them is answered.
 *  - A failed call leaves the volume as it was before, except that a write may be short.
 *  - Nothing is durable before h2_sync() (or h2_fsync(), the same thing) has returned 0. A
 *    crash at any moment brings back the state of the last sync, whole.
 *  - After a write or flush error of the device, or when a commit can't be completed, the
 *    volume turns read-only: later mutations give -H2_EROFS, reads go on.
 */
#ifndef H2_H2_H
#define H2_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_EPERM        1 /* not allowed on this object (e.g. link of a directory) */
#define H2_ENOENT       2
#define H2_EIO          5  /* device error, or a block whose check code does not match */
#define H2_ENXIO        6  /* h2_seek(): nothing at or after the offset */
#define H2_EAGAIN       11 /* another scrub/bulkfree of that kind is under way */
#define H2_ENOMEM       12
#define H2_EBUSY        16
#define H2_EEXIST       17
#define H2_ENOTDIR      20
#define H2_EISDIR       21
#define H2_EINVAL       22
#define H2_EFBIG        27
#define H2_ENOSPC       28
#define H2_EROFS        30
#define H2_EMLINK       31
#define H2_ERANGE       34
#define H2_ENAMETOOLONG 36
#define H2_ENOTEMPTY    39
#define H2_ENODATA      61 /* no such extended attribute */
#define H2_EOVERFLOW    75
#define H2_ENOTSUP      95  /* legal HAMMER2 that this library does not handle */
#define H2_EUCLEAN      117 /* the structure on disk breaks the format's rules */
#define H2_EMEDIUM      124 /* no usable volume header: not a HAMMER2 volume */

/* A short English text for an error returned by this library (sign ignored). */
const char *h2_strerror(int err);

/* ---- what the user of the library supplies ---- */

/*
 * The block device. Offsets and lengths are multiples of 1 KiB; a device with larger sectors
 * needs read-modify-write in its adapter (writes of at least 16 KiB cells are the rule, but
 * single 1 KiB blocks occur). Each returns 0 or -H2_EIO. `flush` returns when everything
 * written before is durable. `discard` (may be NULL) is advice about a free range.
 * `prefetch` (may be NULL) is advice that the range is read soon.
 */
struct h2_dev_ops {
	int (*read)(void *dev, uint64_t off, void *buf, size_t len);
	int (*write)(void *dev, uint64_t off, const void *buf, size_t len);
	int (*flush)(void *dev);
	int (*discard)(void *dev, uint64_t off, uint64_t len);
	void (*prefetch)(void *dev, uint64_t off, size_t len);
};

/*
 * Compressors. Each returns the number of bytes produced, or a value <= 0 when the output
 * does not fit (compress) or the input is damaged (decompress). `work` is scratch memory of
 * `work_bytes`, owned by the library, 16-byte aligned. A NULL function means that the method
 * is not available: such blocks are then stored raw, and reading one gives -H2_ENOTSUP.
 */
struct h2_codec {
	size_t work_bytes;
	long (*lz4_compress)(void *work, const void *in, size_t in_len, void *out,
			     size_t out_max);
	long (*lz4_decompress)(void *work, const void *in, size_t in_len, void *out,
			       size_t out_max);
	long (*zlib_compress)(void *work, int level, const void *in, size_t in_len, void *out,
			      size_t out_max);
	long (*zlib_decompress)(void *work, const void *in, size_t in_len, void *out,
				size_t out_max);
};

/* The codec made of Debian's liblz4 and zlib (h2/codec.c, link -llz4 -lz). */
extern const struct h2_codec h2_codec_std;

enum h2_event_kind {
	H2_EV_READ_ERROR,  /* the device failed to read a block */
	H2_EV_BAD_CHECK,   /* a block's check code does not match */
	H2_EV_BAD_STRUCT,  /* a block passes its check but breaks the format's rules */
	H2_EV_REPAIRED,    /* a bad block was rewritten from a second copy */
	H2_EV_WRITE_ERROR, /* the device failed to write or flush: volume is read-only now */
	H2_EV_HEADER_LOST, /* a header copy was unusable at mount; an older one was taken */
	H2_EV_NEARLY_FULL, /* once, when the free space falls under the reserve */
};

/* Where a block sits. Unknown fields are 0. `pfs` is "" when not known. */
struct h2_event {
	enum h2_event_kind kind;
	uint64_t off;      /* byte offset on the device */
	uint32_t len;      /* bytes of the stored block */
	uint8_t bref_type; /* H2_BREF_* of disk.h: 1 inode, 2 indirect, 3 data, 4 dirent ... */
	uint8_t methods;   /* check << 4 | compression */
	uint64_t key;      /* file data: offset in the file; inode: its number */
	uint64_t ino;      /* file or directory the block belongs to */
	uint8_t code[24];  /* the check code it should have, see h2_code_is() */
	char pfs[256];
	const char *what; /* a constant English phrase */
};

/* Do these stored bytes have the check code (by methods: check << 4)? */
bool h2_code_is(uint8_t methods, const uint8_t code[24], const void *stored, size_t len);

struct h2_env {
	const struct h2_dev_ops *dev_ops;
	void *dev;
	uint64_t dev_size; /* bytes */
	bool dev_readonly; /* never call write, flush or discard */

	void *ctx;                             /* first argument of the callbacks below */
	void *(*alloc)(void *ctx, size_t len); /* 16-byte aligned, NULL when out */
	void (*free)(void *ctx, void *mem, size_t len);      /* len is what was asked for */
	uint64_t (*now)(void *ctx);                          /* ns since 1970 */
	int (*entropy)(void *ctx, void *buf, size_t len);    /* 0 or < 0; for UUIDs */
	void (*event)(void *ctx, const struct h2_event *ev); /* may be NULL */
	/*
	 * A second copy of a bad block (mirror volume, image archive); may be NULL. Fills
	 * `buf` with the ev->len bytes as they were stored and returns 0, or < 0. The library
	 * verifies the check code, uses the bytes and, on a writable device, writes them back
	 * in place. Holders of the plain content encode it as h2_file_methods() says.
	 */
	int (*second_copy)(void *ctx, const struct h2_event *ev, void *buf);
	/*
	 * A scrub has read this block and found it good (may be NULL): a holder of another copy
	 * compares. The volume may not be used from here.
	 */
	void (*scrubbed)(void *ctx, uint64_t off, const void *stored, size_t len);
	const struct h2_codec *codec; /* may be NULL: no compression */
};

/* ---- constants of the format that users choose from ---- */

enum h2_check {
	H2_CHECK_NONE = 0,
	H2_CHECK_CRC32C = 2,
	H2_CHECK_XXH64 = 3,
	H2_CHECK_SHA192 = 4
};
enum h2_comp {
	H2_COMP_NONE = 0,
	H2_COMP_ZERO = 1,
	H2_COMP_LZ4 = 2,
	H2_COMP_ZLIB = 3
};

#define H2_BLOCK_SIZE    65536u /* logical file block */
#define H2_NAME_MAX      255u
#define H2_ROOT_INO      1u
#define H2_XATTR_MAX     65536u /* all extended attributes of one inode, encoded */
#define H2_CACHE_MIN     (1536u * 1024)
#define H2_CACHE_DEFAULT (8u * 1024 * 1024)

/* mode bits (type and permissions) are Linux's. */
#define H2_S_IFMT   0170000u
#define H2_S_IFSOCK 0140000u
#define H2_S_IFLNK  0120000u
#define H2_S_IFREG  0100000u
#define H2_S_IFBLK  0060000u
#define H2_S_IFDIR  0040000u
#define H2_S_IFCHR  0020000u
#define H2_S_IFIFO  0010000u

/* ---- volumes ---- */

struct h2_newfs_opts {
	uint64_t size;         /* 0 = device size; rounded down to 8 MiB; at least 24 MiB */
	uint8_t check;         /* enum h2_check; default (0) = H2_CHECK_SHA192 */
	uint8_t comp;          /* enum h2_comp for new PFSs; 0 = none */
	uint8_t comp_level;    /* zlib: 1..9, 0 = default */
	const char *labels[4]; /* PFSs made beside "LOCAL"; NULL ends the list */
	bool no_local;         /* do not make "LOCAL" */
	uint64_t boot_size;    /* 0 = by the usual rule */
	uint64_t aux_size;
};

/* Make an empty volume; everything on the device is lost. Durable when it returns 0. */
int h2_newfs(const struct h2_env *env, const struct h2_newfs_opts *opts);

struct h2_mount_opts {
	size_t cache_bytes;   /* bound on cached blocks; 0 = H2_CACHE_DEFAULT. >= H2_CACHE_MIN.
				 Fixed overhead beside it is under 2 MiB. */
	size_t dedup_entries; /* remembered data blocks for dedup (48 B each); 0 = no dedup */
	bool readonly;
	bool no_reserve; /* let ordinary writes use the last 5 % as well */
	int header; /* 0 = newest; 1..4: only this copy (recovery tools, implies readonly) */
};

struct h2_vol;
struct h2_vol_info;

/* Mount. The env is copied; what it points to must outlive the volume. */
int h2_mount(const struct h2_env *env, const struct h2_mount_opts *opts, struct h2_vol **out);
/* What the newest usable header says (size, mirror_tid, fsid, header), without a mount and
 * without a write. -H2_EMEDIUM: there is none. */
int h2_probe(const struct h2_env *env, struct h2_vol_info *out);
/* Does the range touch a place of volume headers on a volume of that size? */
bool h2_header_range(uint64_t size, uint64_t off, size_t len);
#define H2_RESERVED_STEP  (1024ull << 20) /* every GiB begins with a reserved area: headers, */
#define H2_RESERVED_BYTES (4ull << 20)    /* freemap */
/* Sync and free. The memory is freed also when the sync fails; the error is returned.
 * Open PFS handles are closed. */
int h2_unmount(struct h2_vol *vol);
/* Free without writing anything. */
void h2_abandon(struct h2_vol *vol);
/* Make everything done so far durable. No I/O when nothing has changed. */
int h2_sync(struct h2_vol *vol);
/* Number of bytes of changed blocks waiting in the cache, for a periodic-sync policy. */
size_t h2_dirty_bytes(const struct h2_vol *vol);

struct h2_vol_info {
	uint64_t size;           /* volu_size */
	uint64_t allocator_size; /* bytes that can ever be allocated */
	uint64_t allocator_free; /* of these, free now (bulkfree grows it) */
	uint64_t reserve;        /* kept back for metadata */
	uint64_t mirror_tid, freemap_tid;
	uint32_t version;
	uint8_t fsid[16];
	uint8_t header;         /* copy in use, 1..4 */
	uint8_t copies;         /* header copies that exist on this volume */
	uint8_t valid_copies;   /* usable ones at mount */
	uint8_t check, comp;    /* of the super-root */
	uint8_t root_check[24]; /* check code of the super-root: Merkle root of everything */
	bool readonly;
	uint64_t cache_bytes, cache_hits, cache_misses; /* now in use; since mount */
	uint64_t dedup_hits, dedup_bytes;
	uint64_t bad_blocks; /* since mount */
};
void h2_vol_info(const struct h2_vol *vol, struct h2_vol_info *out);

/* ---- PFSs (labels are PFS names) ---- */

struct h2_pfs_info {
	char label[256];
	uint8_t type;    /* 6 = master */
	uint8_t subtype; /* 1 = snapshot */
	uint8_t check, comp;
	uint8_t fsid[16], clid[16];
	uint64_t mirror_tid; /* commit that changed it last */
	uint64_t created_us; /* microseconds since 1970 */
	uint64_t data_bytes; /* stored bytes reachable (shared ones count in every PFS) */
	uint64_t inodes;
	uint8_t root_check_method; /* of the PFS root; valid after a sync */
	uint8_t root_check[24];    /* sha192: the Merkle root of this PFS */
	bool open;
};

/* Iterate: *cursor = 0 to begin; -H2_ENOENT at the end. */
int h2_pfs_next(struct h2_vol *vol, uint64_t *cursor, struct h2_pfs_info *out);
int h2_pfs_stat(struct h2_vol *vol, const char *label, struct h2_pfs_info *out);

struct h2_pfs_opts {
	uint8_t check; /* 0 = the super-root's */
	uint8_t comp;
	uint8_t comp_level;
	uint32_t mode; /* of the root directory; 0 = 0755 */
};
/*
 * Each of these is one step of the running transaction: after a crash it is there wholly or
 * not at all, together with everything else up to some h2_sync(). `snapshot` and `rollback`
 * sync before and cost the same whatever the PFS holds. -H2_EEXIST when `label` is taken,
 * -H2_EBUSY when a PFS to be deleted, renamed or rolled back is open.
 */
int h2_pfs_create(struct h2_vol *vol, const char *label, const struct h2_pfs_opts *opts);
int h2_pfs_delete(struct h2_vol *vol, const char *label);
int h2_pfs_rename(struct h2_vol *vol, const char *from, const char *to, bool replace);
/* A writable snapshot of `source` under `label`. `source` may be open. */
int h2_pfs_snapshot(struct h2_vol *vol, const char *source, const char *label);
/* Make `label` what `snapshot` is now; `label` keeps its name and fsid. */
int h2_pfs_rollback(struct h2_vol *vol, const char *label, const char *snapshot);

struct h2_pfs;

#define H2_PFS_RDONLY 1u
#define H2_PFS_RAW    2u /* show the side directory (see docs/store.md) like any other */

/* Open a PFS for file operations. Opening twice gives the same handle, counted; the flags
 * of the first open hold. Files left open and unlinked before a crash are removed here. */
int h2_pfs_open(struct h2_vol *vol, const char *label, unsigned flags, struct h2_pfs **out);
void h2_pfs_close(struct h2_pfs *pfs);
struct h2_vol *h2_pfs_vol(const struct h2_pfs *pfs);

/* ---- files and directories ---- */

struct h2_time {
	int64_t sec;
	uint32_t nsec;
};

struct h2_attr {
	uint64_t ino;
	uint64_t size;   /* directories: number of entries is not kept; 0 */
	uint64_t stored; /* bytes of blocks on disk, for st_blocks */
	uint64_t nlink;
	uint32_t mode; /* H2_S_IF* and permission bits */
	uint32_t uid, gid;
	uint32_t rmajor, rminor;
	uint32_t uflags; /* BSD flags, kept, not interpreted */
	struct h2_time atime, mtime, ctime, btime;
};

#define H2_SET_MODE  0x01u
#define H2_SET_UID   0x02u
#define H2_SET_GID   0x04u
#define H2_SET_SIZE  0x08u
#define H2_SET_ATIME 0x10u
#define H2_SET_MTIME 0x20u
#define H2_SET_CTIME 0x40u /* importers; otherwise ctime is set to now */
#define H2_SET_FLAGS 0x80u
#define H2_SET_BTIME 0x100u

/* Owner and times of a new object; times NULL = now. */
struct h2_new {
	uint32_t mode; /* type (mknod only) and permissions */
	uint32_t uid, gid;
	uint32_t rmajor, rminor;
	const struct h2_time *mtime;
};

/*
 * Inode numbers name objects; H2_ROOT_INO is the root directory. An object whose last link
 * goes disappears at once unless it is held: hold it for as long as someone outside knows
 * its number (FUSE lookup count, open file). Held and unlinked objects survive a sync as
 * entries of a hidden directory and are removed at the last release or the next open.
 */
int h2_hold(struct h2_pfs *pfs, uint64_t ino);
int h2_release(struct h2_pfs *pfs, uint64_t ino, uint64_t count);

int h2_lookup(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len,
	      struct h2_attr *out);
int h2_getattr(struct h2_pfs *pfs, uint64_t ino, struct h2_attr *out);
/* `set` is a mask of H2_SET_*; out may be NULL. */
int h2_setattr(struct h2_pfs *pfs, uint64_t ino, unsigned set, const struct h2_attr *in,
	       struct h2_attr *out);
int h2_create(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len,
	      const struct h2_new *how, struct h2_attr *out);
int h2_mkdir(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len,
	     const struct h2_new *how, struct h2_attr *out);
/* Regular file, fifo, socket, character or block device, by how->mode. */
int h2_mknod(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len,
	     const struct h2_new *how, struct h2_attr *out);
int h2_symlink(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len,
	       const char *target, size_t target_len, const struct h2_new *how,
	       struct h2_attr *out);
/* Bytes of the target, at most len; not terminated. */
long h2_readlink(struct h2_pfs *pfs, uint64_t ino, char *buf, size_t len);
int h2_link(struct h2_pfs *pfs, uint64_t ino, uint64_t dir, const char *name, size_t len,
	    struct h2_attr *out);
int h2_unlink(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len);
int h2_rmdir(struct h2_pfs *pfs, uint64_t dir, const char *name, size_t len);

#define H2_RENAME_NOREPLACE 1u /* as Linux renameat2() */
#define H2_RENAME_EXCHANGE  2u
int h2_rename(struct h2_pfs *pfs, uint64_t from_dir, const char *from, size_t from_len,
	      uint64_t to_dir, const char *to, size_t to_len, unsigned flags);

/* The directory that holds this directory (the root holds itself). */
int h2_parent(struct h2_pfs *pfs, uint64_t dir, uint64_t *out);

/*
 * Entries after `cookie` (0 = from the start), in cookie order, until cb returns non-zero or
 * the directory ends; the first entries are "." and "..". ent->cookie continues after that
 * entry; cookies stay valid while the directory changes, fit in 63 bits, and an entry that
 * is there during the whole walk is seen exactly once. The callback may not change the
 * volume. Returns 0, or what cb returned when that was < 0.
 */
struct h2_dirent {
	uint64_t ino;
	uint64_t cookie;
	uint32_t mode; /* H2_S_IF* only */
	uint16_t name_len;
	const char *name; /* not terminated; valid during the callback */
};
typedef int h2_readdir_cb(void *arg, const struct h2_dirent *ent);
int h2_readdir(struct h2_pfs *pfs, uint64_t dir, uint64_t cookie, h2_readdir_cb *cb, void *arg);

/* Bytes read (0 at or after the end). Holes read as zeros. -H2_EIO gives no data at all. */
long h2_read(struct h2_pfs *pfs, uint64_t ino, uint64_t off, void *buf, size_t len);
/* Bytes written; short only when the space ran out part way. Whole aligned 64 KiB blocks go
 * to the device at once without a copy; the rest waits in the cache. */
long h2_write(struct h2_pfs *pfs, uint64_t ino, uint64_t off, const void *buf, size_t len);
int h2_truncate(struct h2_pfs *pfs, uint64_t ino, uint64_t size);

#define H2_FALLOC_KEEP_SIZE  1u /* as Linux fallocate(2) */
#define H2_FALLOC_PUNCH_HOLE 2u /* with KEEP_SIZE */
#define H2_FALLOC_ZERO_RANGE 16u
/* Mode 0 only grows the size: copy-on-write can't promise space for later overwrites. */
int h2_fallocate(struct h2_pfs *pfs, uint64_t ino, unsigned mode, uint64_t off, uint64_t len);
/* SEEK_DATA (data = true) or SEEK_HOLE. -H2_ENXIO past the end. */
int h2_seek(struct h2_pfs *pfs, uint64_t ino, uint64_t off, bool data, uint64_t *out);
/* Share blocks: the offsets and len are multiples of 64 KiB (len may end at the source's end).
 * Source and target may be in different PFSs of one volume with the same check method. */
int h2_clone(struct h2_pfs *to_pfs, uint64_t to_ino, uint64_t to_off, struct h2_pfs *from_pfs,
	     uint64_t from_ino, uint64_t from_off, uint64_t len);
int h2_fsync(struct h2_pfs *pfs, uint64_t ino);

struct h2_statfs {
	uint64_t block_size;          /* 16384, the unit of freeing */
	uint64_t blocks, free, avail; /* avail = free without the reserve */
	uint64_t files;               /* inodes in this PFS */
	uint32_t name_max;
};
int h2_statfs(struct h2_pfs *pfs, struct h2_statfs *out);

/*
 * Extended attributes, kept in side files (docs/store.md). Names are whole ("user.x"), 1..255
 * bytes. Get and list return the size of the value or of the NUL-separated list; with
 * max == 0 only the size, else -H2_ERANGE when it does not fit.
 */
#define H2_XATTR_CREATE  1u
#define H2_XATTR_REPLACE 2u
long h2_getxattr(struct h2_pfs *pfs, uint64_t ino, const char *name, void *buf, size_t max);
int h2_setxattr(struct h2_pfs *pfs, uint64_t ino, const char *name, const void *value,
		size_t len, unsigned flags);
long h2_listxattr(struct h2_pfs *pfs, uint64_t ino, char *buf, size_t max);
int h2_removexattr(struct h2_pfs *pfs, uint64_t ino, const char *name);

/* ---- blocks prepared outside the library (threads of an importer) ---- */

/*
 * h2_block_prepare() compresses and checks one block; it is pure and may run on any thread
 * (work: codec->work_bytes, one per thread). h2_write_prepared() then stores it: the only
 * cheap step on the volume's thread. The result equals h2_write() of the same bytes.
 */
#define H2_PREPARE_BYTES 98304u
struct h2_prepared {
	uint32_t logical; /* bytes of content, 1..65536 */
	uint32_t stored;  /* bytes in `data`; 0 = all zeros, a hole */
	uint8_t methods;  /* check << 4 | compression */
	uint8_t code[24]; /* check code */
	uint8_t *data;    /* buffer of H2_PREPARE_BYTES, supplied by the caller */
};
int h2_block_prepare(const struct h2_codec *codec, void *work, uint8_t check, uint8_t comp,
		     uint8_t level, const void *in, uint32_t len, struct h2_prepared *out);
/* off: multiple of 64 KiB; a block shorter than 64 KiB must end the file. */
int h2_write_prepared(struct h2_pfs *pfs, uint64_t ino, uint64_t off,
		      const struct h2_prepared *block);
/* Methods that h2_write would use for this inode (check, comp, level). */
int h2_file_methods(struct h2_pfs *pfs, uint64_t ino, uint8_t *check, uint8_t *comp,
		    uint8_t *level);

/* ---- long work: begin, step until it returns 0, end ---- */

struct h2_progress {
	uint64_t done_bytes;  /* stored bytes read and checked so far */
	uint64_t total_bytes; /* estimate */
	uint64_t blocks, inodes;
	uint64_t bad, repaired;             /* blocks */
	uint64_t freed_bytes, staged_bytes; /* bulkfree */
	uint32_t pass;                      /* bulkfree: 1.. */
};

/*
 * Scrub: read and check everything reachable from the current header (committed state), each
 * shared block once where memory allows. Bad blocks are reported as events and repaired from
 * second_copy. The volume may be used between steps. step returns 1 = more to do, 0 = done.
 */
struct h2_scrub;
int h2_scrub_begin(struct h2_vol *vol, struct h2_scrub **out);
int h2_scrub_step(struct h2_scrub *s, uint64_t bytes, struct h2_progress *out);
void h2_scrub_end(struct h2_scrub *s);

/*
 * Bulkfree: return space that nothing reachable uses. The whole run makes two passes with
 * commits between them (a block is first staged, then freed) so that no older header loses a
 * block. Refuses with -H2_EIO to free anything when a block can't be read. The volume may be
 * used between steps; blocks allocated meanwhile are kept.
 */
struct h2_bulkfree;
int h2_bulkfree_begin(struct h2_vol *vol, struct h2_bulkfree **out);
int h2_bulkfree_step(struct h2_bulkfree *b, uint64_t bytes, struct h2_progress *out);
void h2_bulkfree_end(struct h2_bulkfree *b);
/* The same in one call. */
int h2_bulkfree(struct h2_vol *vol, struct h2_progress *out);

/*
 * Full check of the committed state (sync first): headers, check codes, key order and
 * containment, name hashes, inode and entry agreement, link counts, counters, freemap against
 * reachability, allocation overlaps. Reports each finding; returns the number of errors
 * (warnings not counted), or < 0 when it can't go on.
 */
#define H2_CHECK_ALL_HEADERS 1u /* every usable header copy, not only the newest */
#define H2_CHECK_NO_DATA     2u /* do not read file data */
struct h2_finding {
	bool error; /* false: legal but odd (leaked space, stale hint) */
	struct h2_event where;
	char text[192];
};
typedef void h2_finding_cb(void *arg, const struct h2_finding *f);
long h2_check(struct h2_vol *vol, unsigned flags, h2_finding_cb *cb, void *arg,
	      struct h2_progress *out);

/* ---- pure helpers ---- */

uint64_t h2_name_hash(const char *name, size_t len); /* directory key, before collisions */
uint32_t h2_crc32c(uint32_t crc, const void *buf, size_t len); /* crc: 0 or the last result */
uint64_t h2_xxh64(const void *buf, size_t len, uint64_t seed);
void h2_sha256(const void *buf, size_t len, uint8_t out[32]);
/* The compression function, for callers that hash a stream: whole blocks of 64 bytes. */
void h2_sha256_blocks(uint32_t state[8], const uint8_t *p, size_t blocks);

#endif
