/* SPDX-License-Identifier: ISC */
/*
 * Files over a channel (D0_PROTO_FS): virtio-fs, that is, FUSE requests (d0/fuse.h) over
 * split virtqueues in the channel's ring region. Server = store (the device), client = a
 * linux cell, d0d, or a native cell (the driver). What the client may reach was said in the
 * server's channel args, never by the client:
 *
 *	pfs=LABEL	the PFS whose root directory is node 1
 *	ro=1		refuse every change with EROFS
 *	create=1	make the PFS, empty, if there is none of that label
 *
 * Layout of the ring region: as d0/vring.h, two queues of D0_VFS_QUEUE_NUM entries:
 * queue 0 (hiprio) for FORGET, BATCH_FORGET and INTERRUPT, queue 1 for everything else.
 * Descriptor addresses are offsets from the start of the region; any part of the region
 * from d0_vfs_data_off() on may hold buffers. Features: VERSION_1 and EVENT_IDX, both
 * offered; indirect descriptors are not. The handshake is libcell/vchan.h's.
 *
 * A request is one chain: buffers to read (header, fixed part, names, data, cut anywhere),
 * then buffers to write, in which the reply lies from the first byte (header, fixed part,
 * data, without gaps). The used length is the reply's length. FORGET, BATCH_FORGET and
 * INTERRUPT have no reply: no buffer to write is needed, used length 0. Replies may come in
 * another order than the requests. READ and READDIR give at most what the writable buffers
 * hold.
 *
 * A session begins with INIT after the handshake (VCHAN_UP): every other request before it
 * gets EIO.
 *
 * What a restart of the store guarantees. It comes back with the volume as its last sync left
 * it (FSYNC, FSYNCDIR and SYNCFS of any client, or sync= seconds at most), whole and in the
 * order it was changed. The handshake comes anew on the same channel and the client sends INIT
 * again. Node numbers keep their meaning: a node number is an inode number, node 1 the root.
 * (That of an object which no sync has seen may be given to another one.) File handles are
 * stateless (fh is 0 and not looked at), so open files go on by their nodes, and directory
 * offsets go on where they were. Not kept are lookup counts, which start at 0, and with them
 * objects that have no name any more: those give ENOENT. A request without a reply may have been
 * performed or not; changes that were replied to but not synced may be gone: a client that
 * cached what it wrote writes it again or owes its programs an EIO from the next fsync. The
 * server keeps an unlinked file alive only while this session holds it (lookup count or open
 * handle).
 *
 * What the server does to a client that breaks the rules: a malformed request gets EINVAL
 * (or EIO when its opcode is not readable); a broken ring or a chain without room for a
 * reply header closes the session; other channels are not affected.
 *
 * Cache advice: replies carry entry and attribute timeouts of D0_VFS_VALID_S, and
 * FOPEN_KEEP_CACHE: one PFS mounted read-write has one client, so what the client changed
 * itself is all that changes. WRITEBACK_CACHE is offered; with it LSEEK gives ENOSYS, because
 * Linux asks without writing back what it holds, unless the client says that it holds nothing
 * of the file: D0_VFS_LSEEK_CLEAN in the request's padding.
 * Permissions are the client's business (as Linux's default_permissions): the server checks
 * none.
 */
#ifndef D0_VFS_H
#define D0_VFS_H

#include <stdint.h>
#include "d0/fuse.h"
#include "d0/vring.h"

#define D0_VFS_QUEUES      2u
#define D0_VFS_HIPRIO      0u
#define D0_VFS_REQUESTS    1u
#define D0_VFS_QUEUE_NUM   128u
#define D0_VFS_MAX_WRITE   (256u * 1024) /* data bytes of a READ or WRITE; INIT says it too */
#define D0_VFS_SEGS_MAX    96u           /* buffers of one chain, both directions together */
#define D0_VFS_VALID_S     3600u
#define D0_VFS_LSEEK_CLEAN 1u
#define D0_VFS_RING_MIN    (128u * 1024) /* smallest ring region; 1 MiB and more is good */

/* Device configuration (virtio 1.2, 5.11.4), at the begin of the head page's config. */
struct d0_vfs_config {
	char tag[36];                /* label of the PFS, cut, padded with NULs */
	uint32_t num_request_queues; /* 1 */
};
_Static_assert(sizeof(struct d0_vfs_config) == 40, "virtio 1.2, 5.11.4");

static inline uint64_t d0_vfs_data_off(void)
{
	return d0_vring_data_off(D0_VFS_QUEUES, D0_VFS_QUEUE_NUM);
}

#endif
