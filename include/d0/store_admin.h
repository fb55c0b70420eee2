/* SPDX-License-Identifier: ISC */
/*
 * The store's admin protocol: frames over a byte-stream channel (D0_PROTO_ADMIN,
 * d0/stream.h). Server = store. Whoever holds such a channel may do everything with the
 * volume; the controlling cell gives it to d0d only.
 *
 * A frame is a d0_admin_head and `len` bytes. Requests are answered in order, each with one
 * or more frames of the same op and tag; all but the last have D0_ADMIN_MORE. status: 0, or
 * a negative errno of Linux; then the payload is a text that says why (not terminated).
 * Strings in requests are NUL-terminated, one after the other. Lists are lines of text with
 * tabs between the fields. A malformed frame ends the session: the store sends EOF, and drops
 * what comes until the client begins its stream anew.
 *
 * A session begins with a frame HELLO of the store: 4 bytes, the session's key, which the
 * client puts into `status` of each request. A store that starts anew in the middle of a frame
 * can't take its rest, which may be anybody's bytes, for requests. The client waits for it
 * before it sends anything, and begins its stream anew when it reads another key than the one
 * it has.
 *
 * A cell may have several such channels: the requests of different ones take turns, in slices
 * of some milliseconds, and so do they and the clients' files. So what is to be answered soon
 * goes over another channel than imports, exports, tars and removals.
 *
 * An import is a sequence IMPORT_BEGIN, then for each file of the OCI layout (index.json or
 * manifest.json, and what they name) IMPORT_FILE and as many IMPORT_DATA as it takes, at
 * last IMPORT_COMMIT. IMPORT_DATA is answered only if it fails (then the import is over). One
 * import at a time for a channel; commits of several channels wait for each other. A
 * broken channel aborts it. An image that is removed while it is exported is exported whole.
 *
 * IMPORT_FILE of a name that is there goes on at the file's end, so that several files can be
 * sent in turns; IMPORT_RENAME gives one its name when its digest is known. With a second
 * string IMPORT_COMMIT takes that file for manifest.json and leaves the import's files where
 * they are: several images can be made of them, until IMPORT_ABORT. Layers that the store has
 * need not be sent.
 *
 * TREE_* look into any PFS; paths are walked inside of it, a leading '/' makes no difference.
 * The files of a running client are seen as far as it has written them back. An unpacking is
 * UNPACK_BEGIN, UNPACK_DATA as often as it takes (answered only if it fails, then it is over),
 * UNPACK_END; one at a time for a channel.
 */
#ifndef D0_STORE_ADMIN_H
#define D0_STORE_ADMIN_H

#include <stdint.h>

struct d0_admin_head {
	uint32_t len; /* bytes that follow, at most D0_ADMIN_MAX */
	uint16_t op;
	uint16_t flags;
	uint32_t tag;   /* the client's; comes back */
	int32_t status; /* of a request: the session's key */
};
_Static_assert(sizeof(struct d0_admin_head) == 16, "admin frame header");

#define D0_ADMIN_MAX  65536u
#define D0_ADMIN_MORE 1u

#define D0_ADMIN_HELLO 0u /* an op that only the store sends */

/* X(number, name, request, reply) */
#define D0_ADMIN_OPS(X)                                                                        \
	X(1, USAGE, "", "size, free, reserve, bad blocks, read-only (0/1)")                    \
	X(2, PFS_LIST, "", "lines: label, bytes, inodes, open (0/1)")                          \
	X(3, PFS_CREATE, "label", "")                                                          \
	X(4, PFS_SNAPSHOT, "source, label", "")                                                \
	X(5, PFS_DELETE, "label", "")                                                          \
	X(6, PFS_ROLLBACK, "label, snapshot", "")                                              \
	X(7, PFS_RENAME, "from, to", "")                                                       \
	X(10, IMAGE_LIST, "", "lines: tag (may be empty), ID, manifest digest, root, bytes")   \
	X(11, IMAGE_TAG, "image, tag", "")                                                     \
	X(12, IMAGE_UNTAG, "tag", "")                                                          \
	X(13, IMAGE_ROLLBACK, "tag", "")                                                       \
	X(14, IMAGE_REMOVE, "image", "")                                                       \
	X(15, IMAGE_BLOB, "SHA-256 of a config or manifest, in hex", "its bytes")              \
	X(16, IMAGE_EXPORT, "image", "an OCI archive, in frames")                              \
	X(17, IMAGE_SIGN, "image, a line of oci_signature_parse()", "")                        \
	X(18, IMAGE_SIGNERS, "image", "lines: key ID, good (0/1)")                             \
	X(19, IMAGE_LAYERS, "image", "lines: diff ID, chain ID, bytes of the tar")             \
	X(26, LAYER_EXPORT, "chain ID", "the layer's tar, in frames")                          \
	X(20, IMPORT_BEGIN, "", "")                                                            \
	X(21, IMPORT_FILE, "name", "")                                                         \
	X(22, IMPORT_DATA, "bytes", "none unless it fails")                                    \
	X(23, IMPORT_COMMIT, "tag (may be empty: the image's own), manifest (may be absent)",  \
	  "image ID")                                                                          \
	X(24, IMPORT_ABORT, "", "")                                                            \
	X(25, IMPORT_RENAME, "from, to", "")                                                   \
	X(30, SYNC, "", "")                                                                    \
	X(31, SCRUB, "", "started, or EBUSY")                                                  \
	X(32, BULKFREE, "", "started, or EBUSY")                                               \
	X(33, JOB, "", "name, running (0/1), bytes done, total, bad, repaired, freed, status") \
	X(40, TREE_STAT, "label, path, follow (0/1)",                                          \
	  "mode, size, mtime in ns, uid, gid, link target")                                    \
	X(41, TREE_READ, "label, path",                                                        \
	  "a regular file's bytes, in frames; at most 1 MiB (EFBIG)")                          \
	X(42, TREE_PACK, "label, path, name", "a tar, in frames; names begin with `name`")     \
	X(43, TREE_DIFF, "label, base, paths to leave out",                                    \
	  "in frames: C, A, D or t (a directory's time), size, tab, path")                     \
	X(44, TREE_PACK_DIFF, "label, base, paths to leave out", "a layer's tar, in frames")   \
	X(45, UNPACK_BEGIN, "label, path of a directory, flags (OCI_UNPACK_*)", "")            \
	X(46, UNPACK_DATA, "bytes of a tar", "none unless it fails")                           \
	X(47, UNPACK_END, "", "")

enum d0_admin_op {
#define D0_ADMIN_ENUM(number, name, request, reply) D0_ADMIN_##name = number,
	D0_ADMIN_OPS(D0_ADMIN_ENUM)
#undef D0_ADMIN_ENUM
};

#endif
