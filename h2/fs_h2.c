/* SPDX-License-Identifier: ISC */
/*
 * fs_h2: HAMMER2 volumes.
 *
 * Problem. Container images and container roots must survive power cuts at any instant, share
 * what is equal, be snapshotted in constant time, and never return a wrong byte; on a format
 * that other implementations check and mount.
 *
 * Model. A volume is one tree of checked blocks. The volume header refers to the super-root;
 * below it hangs one inode for every PFS (image or container root), below a PFS inode the flat
 * index of its inodes and the entries of its root directory, below every directory its
 * entries, below every file its blocks. A reference (bref) holds the check code of what it
 * refers to, so the header vouches for everything. Nothing that a header on the medium can
 * reach is ever overwritten: a change writes new blocks from the leaf up to the header
 * (copy-on-write), and a commit is the writing of one 64 KiB header, round robin over up to
 * four copies. A snapshot is a second inode with the same block set.
 *
 *   h2_ops.c        PFSs, snapshots            inode.c dir.c file.c side.c   POSIX operations
 *   tree.c          sorted tables, indirects   node.c     bounded cache of blocks
 *   flush.c         commits                    freemap.c  space
 *   io.c            checked block I/O          walk.c     topology from the medium, for
 *   scrub.c bulkfree.c fsck.c                  (long work, in steps)
 *
 * Invariants.
 *  1. A bref read from the medium is validated (bounds, radix, ranges, order, shrinking key
 *     ranges) before it is followed; recursion and loops are bounded by that.
 *  2. dirty(node) implies dirty(parent), up to the volume root.
 *  3. Every cached node has its bref in the parent's table; a bref without a block (data_off
 *     0 on an inode, indirect or data bref) exists only while its node is cached and dirty.
 *  4. A block is rewritten in place only when its bref carries the running transaction's
 *     number, i.e. no header can reach it; file data never is.
 *  5. Freemap and topology are committed together: freemap_tid == mirror_tid.
 *  6. A cell becomes free only by two bulkfree passes with commits in between.
 *
 * Locking: none. One thread at a time uses a volume; see h2.h.
 *
 * Failure. A read error or a wrong check code gives EIO for that block alone, and an event. A
 * write or flush error makes the volume read-only at once: what is on the medium is the last
 * commit, which is whole. No space: the reserve lets deletions and commits still happen.
 */
#include <string.h>

#include "h2/impl.h"

/* ---- choosing a header ---- */

static int read_header(struct h2_vol *v, unsigned copy, struct h2_volhdr *hdr)
{
	uint64_t at = copy * H2_ZONE_SIZE;

	if (at + sizeof(*hdr) > v->env.dev_size)
		return -H2_EMEDIUM;
	if (v->env.dev_ops->read(v->env.dev, at, hdr, sizeof(*hdr)) < 0)
		return -H2_EIO;
	if (hdr->magic == H2_VOLUME_MAGIC_SWAP)
		return -H2_ENOTSUP;
	return h2_header_usable(hdr) ? 0 : -H2_EMEDIUM;
}

static void lost(struct h2_vol *v, unsigned copy)
{
	struct h2_event ev = {.kind = H2_EV_HEADER_LOST,
			      .off = copy * H2_ZONE_SIZE,
			      .len = sizeof(struct h2_volhdr),
			      .what = "volume header copy unusable"};

	h2_event_send(v, &ev);
}

/* The usable copy with the highest transaction number wins. */
static int pick_header(struct h2_vol *v, int only)
{
	struct h2_volhdr *hdr = h2_alloc(v, sizeof(*hdr));
	int best = -1, why = -H2_EMEDIUM, err;
	unsigned lost_copies = 0;

	if (!hdr)
		return -H2_ENOMEM;
	for (unsigned i = 0; i < H2_HEADERS; i++) {
		if (only && i != (unsigned)only - 1)
			continue;
		err = read_header(v, i, hdr);
		if (err) {
			lost_copies |= 1u << i;
			why = err == -H2_EMEDIUM ? why : err;
			continue;
		}
		v->valid_copies++;
		if (best < 0 || hdr->mirror_tid > v->hdr->mirror_tid) {
			memcpy(v->hdr, hdr, sizeof(*hdr));
			best = i;
		}
	}
	h2_free(v, hdr, sizeof(*hdr));
	if (best < 0)
		return why;
	v->header = best;
	for (unsigned i = 0; i < h2_header_copies(v->hdr->volu_size) && !only; i++)
		if (lost_copies & 1u << i)
			lost(v, i);
	return 0;
}

bool h2_header_range(uint64_t size, uint64_t off, size_t len)
{
	for (unsigned i = 0; i < h2_header_copies(size); i++)
		if (off < i * H2_ZONE_SIZE + sizeof(struct h2_volhdr) &&
		    i * H2_ZONE_SIZE < off + len)
			return true;
	return false;
}

static int check_header(struct h2_vol *v)
{
	const struct h2_volhdr *h = v->hdr;
	uint64_t total = h->version >= 2 ? h->total_size : h->volu_size;

	if (h->version < 1 || h->version > 2)
		return -H2_ENOTSUP;
	if (h->volu_id || (h->version >= 2 && (h->nvolumes != 1 || total != h->volu_size)))
		return -H2_ENOTSUP; /* volumes of several devices */
	if (total < H2_RESERVE_SIZE * 2 || total % H2_SEGMENT_SIZE || total > (1ull << 62))
		return -H2_EUCLEAN;
	if (total > v->env.dev_size)
		return -H2_EUCLEAN; /* the device is shorter than the volume */
	if (h->allocator_beg < H2_RESERVE_SIZE || h->allocator_beg > total ||
	    h->allocator_size > total || h->mirror_tid >= ~0ull - 1)
		return -H2_EUCLEAN;
	v->size = total;
	v->tid = h->mirror_tid + 1;
	return 0;
}

int h2_probe(const struct h2_env *env, struct h2_vol_info *out)
{
	struct h2_vol *v = env->alloc(env->ctx, sizeof(*v));
	int err;

	memset(out, 0, sizeof(*out));
	if (!v)
		return -H2_ENOMEM;
	memset(v, 0, sizeof(*v));
	v->env = *env;
	v->env.event = NULL;
	v->hdr = h2_zalloc(v, sizeof(*v->hdr));
	err = v->hdr ? pick_header(v, 0) : -H2_ENOMEM;
	if (!err)
		err = check_header(v);
	if (!err) {
		out->size = v->size;
		out->mirror_tid = v->hdr->mirror_tid;
		out->freemap_tid = v->hdr->freemap_tid;
		out->version = v->hdr->version;
		memcpy(out->fsid, v->hdr->fsid, 16);
		out->header = v->header + 1;
		out->valid_copies = v->valid_copies;
	}
	h2_free(v, v->hdr, sizeof(*v->hdr));
	h2_free(v, v, sizeof(*v));
	return err;
}

/* ---- recovery ---- */

/*
 * Others may commit a topology newer than its freemap (freemap_tid < mirror_tid): then blocks
 * of the later transactions are missing from the map and are marked here.
 */
static int recover(struct h2_vol *v)
{
	struct h2_walk *w;
	struct h2_walk_item it;
	int err;

	if (v->hdr->freemap_tid >= v->hdr->mirror_tid || v->readonly)
		return 0;
	w = h2_zalloc(v, sizeof(*w));
	if (!w)
		return -H2_ENOMEM;
	err = h2_walk_begin(w, v, v->hdr->sroot, false, 65536);
	while (!err && (err = h2_walk_next(w, &it)) == 1) {
		err = 0;
		if (it.bref->data_off && it.error != -H2_EUCLEAN &&
		    it.bref->mirror_tid > v->hdr->freemap_tid)
			err = h2_fm_mark_used(v, it.bref->data_off);
	}
	h2_walk_end(w);
	h2_free(v, w, sizeof(*w));
	return err;
}

/* ---- mount and unmount ---- */

/* The memory root: a table of the four sroot entries of the header. */
static int open_root(struct h2_vol *v)
{
	struct h2_node *n = h2_zalloc(v, sizeof(*n));
	int err;

	if (!n)
		return -H2_ENOMEM;
	n->type = H2_BREF_VOLROOT;
	n->keybits = 64;
	n->bytes = sizeof(v->hdr->sroot);
	n->cap = H2_SET_COUNT;
	n->pins = 1;
	n->buf = h2_alloc(v, n->bytes);
	if (!n->buf) {
		h2_free(v, n, sizeof(*n));
		return -H2_ENOMEM;
	}
	v->cache_used += n->bytes + sizeof(*n);
	memcpy(n->buf, v->hdr->sroot, n->bytes);
	v->vroot = n;
	err = h2_table_check(v, n);
	if (!err && (n->live != 1 || h2_node_table(n)[0].type != H2_BREF_INODE))
		err = -H2_EUCLEAN;
	if (err)
		return err;
	err = h2_node_child(v, n, 0, &v->sroot);
	if (!err && (h2_node_inode(v->sroot)->type != H2_OBJ_DIR || !v->sroot->cap))
		err = -H2_EUCLEAN;
	return err;
}

static void vol_free(struct h2_vol *v)
{
	h2_pfs_drop_all(v);
	if (v->hash)
		h2_cache_done(v);
	h2_fm_done(v);
	h2_io_done(v);
	h2_dedup_done(v);
	h2_free(v, v->scratch, H2_BLOCK_SIZE);
	h2_free(v, v->work, v->env.codec ? v->env.codec->work_bytes : 0);
	h2_free(v, v->hdr, sizeof(*v->hdr));
	h2_free(v, v, sizeof(*v));
}

static int vol_memory(struct h2_vol *v, const struct h2_mount_opts *o)
{
	size_t cache = o->cache_bytes ? o->cache_bytes : H2_CACHE_DEFAULT;
	int err;

	v->hdr = h2_zalloc(v, sizeof(*v->hdr));
	v->scratch = h2_alloc(v, H2_BLOCK_SIZE);
	v->work = v->env.codec ? h2_alloc(v, v->env.codec->work_bytes) : NULL;
	if (!v->hdr || !v->scratch || (v->env.codec && !v->work))
		return -H2_ENOMEM;
	err = h2_io_init(v);
	if (!err)
		err = h2_cache_init(v, cache < H2_CACHE_MIN ? H2_CACHE_MIN : cache);
	return err ? err : h2_dedup_init(v, o->dedup_entries);
}

static int vol_open(struct h2_vol *v, const struct h2_mount_opts *o)
{
	int err = pick_header(v, o->header);

	if (!err)
		err = check_header(v);
	if (!err)
		err = h2_fm_init(v);
	if (err == -H2_EIO && v->readonly)
		err = 0; /* reading needs no freemap */
	if (!err)
		err = open_root(v);
	if (!err)
		err = recover(v);
	if (err)
		return err;
	v->reserve = v->hdr->allocator_size / 20;
	return 0;
}

int h2_mount(const struct h2_env *env, const struct h2_mount_opts *o, struct h2_vol **out)
{
	struct h2_vol *v = env->alloc(env->ctx, sizeof(*v));
	int err;

	if (!v)
		return -H2_ENOMEM;
	memset(v, 0, sizeof(*v));
	v->env = *env;
	v->readonly = o->readonly || env->dev_readonly || o->header;
	v->no_reserve = o->no_reserve;
	if (o->header < 0 || o->header > (int)H2_HEADERS)
		err = -H2_EINVAL;
	else
		err = vol_memory(v, o);
	if (!err)
		err = vol_open(v, o);
	if (err) {
		vol_free(v);
		return err;
	}
	*out = v;
	return 0;
}

void h2_abandon(struct h2_vol *v)
{
	if (v)
		vol_free(v);
}

int h2_unmount(struct h2_vol *v)
{
	int err = h2_commit(v, false);

	vol_free(v);
	return err;
}

size_t h2_dirty_bytes(const struct h2_vol *v)
{
	return v->dirty_used;
}

void h2_vol_info(const struct h2_vol *v, struct h2_vol_info *out)
{
	const struct h2_bref *b = h2_node_table(v->vroot);

	memset(out, 0, sizeof(*out));
	out->size = v->size;
	out->allocator_size = v->hdr->allocator_size;
	out->allocator_free = v->fm.free;
	out->reserve = v->reserve;
	out->mirror_tid = v->hdr->mirror_tid;
	out->freemap_tid = v->hdr->freemap_tid;
	out->version = v->hdr->version;
	memcpy(out->fsid, v->hdr->fsid, 16);
	out->header = v->header + 1;
	out->copies = h2_header_copies(v->hdr->volu_size);
	out->valid_copies = v->valid_copies;
	out->check = b->methods >> 4;
	out->comp = h2_node_inode(v->sroot)->comp_algo & 15;
	memcpy(out->root_check, b->check.raw, 24);
	out->readonly = v->readonly || v->failed;
	out->cache_bytes = v->cache_used;
	out->cache_hits = v->hits;
	out->cache_misses = v->misses;
	out->dedup_hits = v->dedup_hits;
	out->dedup_bytes = v->dedup_bytes;
	out->bad_blocks = v->bad_blocks;
}
