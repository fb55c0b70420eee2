/* SPDX-License-Identifier: ISC */
/*
 * The FUSE wire protocol, version 7.38, as far as D0 speaks it: what travels in a request
 * and a reply, whatever carries them (a virtqueue: d0/vfs.h; /dev/fuse on Linux). Field
 * names are those of Linux's documentation, so that they can be looked up.
 *
 * A request is a fuse_in_header, the operation's fixed part, then its NUL-terminated names
 * or data; a reply is a fuse_out_header (error: 0 or a negative Linux errno), then the
 * operation's fixed part, then data. A failed request's reply is the header alone. All
 * numbers are little-endian (the protocol says: the host's order).
 */
#ifndef D0_FUSE_H
#define D0_FUSE_H

#include <stdint.h>

#define FUSE_VERSION_MAJOR 7u
#define FUSE_VERSION_MINOR 38u
#define FUSE_MINOR_OLDEST  31u /* older clients are refused */
#define FUSE_ROOT_NODE     1u

/* X(number, name) */
#define FUSE_OPCODES(X)        \
	X(1, LOOKUP)           \
	X(2, FORGET)           \
	X(3, GETATTR)          \
	X(4, SETATTR)          \
	X(5, READLINK)         \
	X(6, SYMLINK)          \
	X(8, MKNOD)            \
	X(9, MKDIR)            \
	X(10, UNLINK)          \
	X(11, RMDIR)           \
	X(12, RENAME)          \
	X(13, LINK)            \
	X(14, OPEN)            \
	X(15, READ)            \
	X(16, WRITE)           \
	X(17, STATFS)          \
	X(18, RELEASE)         \
	X(20, FSYNC)           \
	X(21, SETXATTR)        \
	X(22, GETXATTR)        \
	X(23, LISTXATTR)       \
	X(24, REMOVEXATTR)     \
	X(25, FLUSH)           \
	X(26, INIT)            \
	X(27, OPENDIR)         \
	X(28, READDIR)         \
	X(29, RELEASEDIR)      \
	X(30, FSYNCDIR)        \
	X(34, ACCESS)          \
	X(35, CREATE)          \
	X(36, INTERRUPT)       \
	X(38, DESTROY)         \
	X(42, BATCH_FORGET)    \
	X(43, FALLOCATE)       \
	X(44, READDIRPLUS)     \
	X(45, RENAME2)         \
	X(46, LSEEK)           \
	X(47, COPY_FILE_RANGE) \
	X(50, SYNCFS)

enum fuse_opcode {
#define FUSE_OP_ENUM(number, name) FUSE_##name = number,
	FUSE_OPCODES(FUSE_OP_ENUM)
#undef FUSE_OP_ENUM
	FUSE_OPCODE_END
};

struct fuse_in_header {
	uint32_t len; /* of the whole request */
	uint32_t opcode;
	uint64_t unique; /* comes back in the reply */
	uint64_t nodeid;
	uint32_t uid, gid, pid;
	uint16_t total_extlen; /* extensions at the end, in 8-byte units; not used */
	uint16_t padding;
};
_Static_assert(sizeof(struct fuse_in_header) == 40, "FUSE request header");

struct fuse_out_header {
	uint32_t len;
	int32_t error; /* 0 or a negative errno of Linux */
	uint64_t unique;
};
_Static_assert(sizeof(struct fuse_out_header) == 16, "FUSE reply header");

struct fuse_attr {
	uint64_t ino, size, blocks; /* blocks of 512 bytes */
	uint64_t atime, mtime, ctime;
	uint32_t atimensec, mtimensec, ctimensec;
	uint32_t mode, nlink, uid, gid;
	uint32_t rdev; /* minor low 8 bits | major << 8 (12 bits) | minor high bits << 12 */
	uint32_t blksize;
	uint32_t flags;
};
_Static_assert(sizeof(struct fuse_attr) == 88, "FUSE attributes");

static inline uint32_t fuse_rdev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}
static inline uint32_t fuse_rdev_major(uint32_t rdev)
{
	return rdev >> 8 & 0xfff;
}
static inline uint32_t fuse_rdev_minor(uint32_t rdev)
{
	return (rdev & 0xff) | (rdev >> 12 & 0xfff00);
}

struct fuse_init_in {
	uint32_t major, minor;
	uint32_t max_readahead;
	uint32_t flags, flags2;
	uint32_t unused[11];
};
_Static_assert(sizeof(struct fuse_init_in) == 64, "7.36 and newer; 16 bytes before");

struct fuse_init_out {
	uint32_t major, minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write; /* bytes of data in a READ or WRITE */
	uint32_t time_gran; /* ns */
	uint16_t max_pages; /* of a READ or WRITE */
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t unused[7];
};
_Static_assert(sizeof(struct fuse_init_out) == 64, "FUSE INIT reply");

/* Flags of INIT that D0 knows. */
enum {
	FUSE_INIT_ASYNC_READ = 1u << 0,
	FUSE_INIT_ATOMIC_O_TRUNC = 1u << 3,
	FUSE_INIT_EXPORT_SUPPORT = 1u << 4,
	FUSE_INIT_BIG_WRITES = 1u << 5,
	FUSE_INIT_DONT_MASK = 1u << 6,
	FUSE_INIT_DO_READDIRPLUS = 1u << 13,
	FUSE_INIT_READDIRPLUS_AUTO = 1u << 14,
	FUSE_INIT_WRITEBACK_CACHE = 1u << 16,
	FUSE_INIT_NO_OPEN = 1u << 17, /* OPEN may be answered with ENOSYS: not sent again */
	FUSE_INIT_PARALLEL_DIROPS = 1u << 18,
	FUSE_INIT_MAX_PAGES = 1u << 22,
	FUSE_INIT_CACHE_SYMLINKS = 1u << 23,
	FUSE_INIT_NO_OPENDIR = 1u << 24,
};

struct fuse_entry_out {
	uint64_t nodeid; /* 0: a negative entry */
	uint64_t generation;
	uint64_t entry_valid, attr_valid; /* seconds it may be cached */
	uint32_t entry_valid_nsec, attr_valid_nsec;
	struct fuse_attr attr;
};
_Static_assert(sizeof(struct fuse_entry_out) == 128, "FUSE entry");

struct fuse_forget_in {
	uint64_t nlookup;
};
struct fuse_batch_forget_in {
	uint32_t count, dummy; /* then count times fuse_forget_one */
};
struct fuse_forget_one {
	uint64_t nodeid, nlookup;
};

struct fuse_getattr_in {
	uint32_t getattr_flags, dummy;
	uint64_t fh;
};
struct fuse_attr_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, dummy;
	struct fuse_attr attr;
};
_Static_assert(sizeof(struct fuse_attr_out) == 104, "FUSE attribute reply");

enum {
	FATTR_MODE = 1,
	FATTR_UID = 2,
	FATTR_GID = 4,
	FATTR_SIZE = 8,
	FATTR_ATIME = 16,
	FATTR_MTIME = 32,
	FATTR_FH = 64,
	FATTR_ATIME_NOW = 128,
	FATTR_MTIME_NOW = 256,
	FATTR_LOCKOWNER = 512,
	FATTR_CTIME = 1024,
	FATTR_KILL_SUIDGID = 2048,
};
struct fuse_setattr_in {
	uint32_t valid, padding; /* FATTR_* */
	uint64_t fh, size, lock_owner;
	uint64_t atime, mtime, ctime;
	uint32_t atimensec, mtimensec, ctimensec;
	uint32_t mode, unused4, uid, gid, unused5;
};
_Static_assert(sizeof(struct fuse_setattr_in) == 88, "FUSE SETATTR");

/* MKNOD, MKDIR: then the name. SYMLINK: name, then target, no fixed part. */
struct fuse_mknod_in {
	uint32_t mode, rdev, umask, padding;
};
struct fuse_mkdir_in {
	uint32_t mode, umask;
};
/* RENAME, RENAME2, LINK: then the old and new name (LINK: the new name only). */
struct fuse_rename_in {
	uint64_t newdir;
};
struct fuse_rename2_in {
	uint64_t newdir;
	uint32_t flags, padding;
};
struct fuse_link_in {
	uint64_t oldnodeid;
};

struct fuse_open_in {
	uint32_t flags, open_flags; /* O_* of Linux */
};
struct fuse_create_in { /* then the name; reply: fuse_entry_out, fuse_open_out */
	uint32_t flags, mode, umask, open_flags;
};
enum {
	FOPEN_DIRECT_IO = 1,
	FOPEN_KEEP_CACHE = 2,
	FOPEN_NONSEEKABLE = 4,
	FOPEN_CACHE_DIR = 8,
};
struct fuse_open_out {
	uint64_t fh;
	uint32_t open_flags, padding;
};
struct fuse_release_in {
	uint64_t fh;
	uint32_t flags, release_flags;
	uint64_t lock_owner;
};
struct fuse_flush_in {
	uint64_t fh;
	uint32_t unused, padding;
	uint64_t lock_owner;
};
struct fuse_fsync_in {
	uint64_t fh;
	uint32_t fsync_flags, padding;
};

/* READ, READDIR, READDIRPLUS */
struct fuse_read_in {
	uint64_t fh, offset;
	uint32_t size, read_flags;
	uint64_t lock_owner;
	uint32_t flags, padding;
};
_Static_assert(sizeof(struct fuse_read_in) == 40, "FUSE READ");
struct fuse_write_in { /* then size bytes */
	uint64_t fh, offset;
	uint32_t size, write_flags;
	uint64_t lock_owner;
	uint32_t flags, padding;
};
_Static_assert(sizeof(struct fuse_write_in) == 40, "FUSE WRITE");
struct fuse_write_out {
	uint32_t size, padding;
};

struct fuse_statfs_out {
	uint64_t blocks, bfree, bavail, files, ffree;
	uint32_t bsize, namelen, frsize, padding;
	uint32_t spare[6];
};
_Static_assert(sizeof(struct fuse_statfs_out) == 80, "FUSE STATFS reply");

/* SETXATTR: then the name and its NUL, then size bytes. GETXATTR: then the name. */
struct fuse_setxattr_in {
	uint32_t size, flags;
};
struct fuse_getxattr_in {
	uint32_t size, padding;
};
struct fuse_getxattr_out { /* when the request's size was 0 */
	uint32_t size, padding;
};

struct fuse_access_in {
	uint32_t mask, padding;
};
struct fuse_interrupt_in {
	uint64_t unique;
};
struct fuse_fallocate_in {
	uint64_t fh, offset, length;
	uint32_t mode, padding;
};
_Static_assert(sizeof(struct fuse_fallocate_in) == 32, "FUSE FALLOCATE");
struct fuse_lseek_in {
	uint64_t fh, offset;
	uint32_t whence, padding; /* 3: SEEK_DATA, 4: SEEK_HOLE */
};
struct fuse_lseek_out {
	uint64_t offset;
};
struct fuse_copy_file_range_in {
	uint64_t fh_in, off_in;
	uint64_t nodeid_out, fh_out, off_out;
	uint64_t len, flags; /* reply: fuse_write_out */
};
_Static_assert(sizeof(struct fuse_copy_file_range_in) == 56, "FUSE COPY_FILE_RANGE");

/* Entries of READDIR; each padded with zeros to a multiple of 8. READDIRPLUS puts a
 * fuse_entry_out before each (nodeid 0: no lookup was counted, as for "." and ".."). */
struct fuse_dirent {
	uint64_t ino, off;      /* off: offset of the next READDIR */
	uint32_t namelen, type; /* type: mode >> 12 */
	char name[];
};
_Static_assert(sizeof(struct fuse_dirent) == 24, "FUSE directory entry");

#endif
