/* SPDX-License-Identifier: ISC */
/*
 * From cache to medium. A commit writes, in this order: dirty nodes from the leaves up, each
 * to new space (a block first written in this very transaction is rewritten in place: nothing
 * on disk refers to it yet); the freemap; a device flush; one volume header; a device flush.
 * Freemap and topology always carry the same transaction number, so a mount by anyone needs
 * no recovery.
 */
#include <string.h>

#include "h2/impl.h"

void h2_fail(struct h2_vol *v, const char *what)
{
	if (!v->failed)
		h2_event_bref(v, H2_EV_WRITE_ERROR, NULL, NULL, what);
	v->failed = true;
}

int h2_writable(const struct h2_vol *v)
{
	return v->readonly || v->failed ? -H2_EROFS : 0;
}

/*
 * What waits in the cache needs room too, at worst its own size in cells. The reserve is for
 * deleting, PFS operations and commits (privileged).
 */
int h2_space(struct h2_vol *v, uint64_t bytes, bool privileged)
{
	uint64_t need = v->dirty_used + bytes + 8 * H2_CELL_SIZE;

	if (!privileged && !v->no_reserve)
		need += v->reserve;
	if (need <= h2_fm_usable(v))
		return 0;
	if (!v->near_full) {
		v->near_full = true;
		h2_event_bref(v, H2_EV_NEARLY_FULL, NULL, NULL, "free space under the reserve");
	}
	return -H2_ENOSPC;
}

void h2_table_stats(const struct h2_bref *t, unsigned n, uint64_t *data, uint64_t *inodes,
		    unsigned *leaves)
{
	*data = *inodes = 0;
	*leaves = 0;
	for (; n--; t++) {
		bool below = t->type == H2_BREF_INODE || t->type == H2_BREF_INDIRECT;

		*data += h2_bref_bytes(t) + (below ? t->embed.stats.data_count : 0);
		*inodes +=
		    (t->type == H2_BREF_INODE) + (below ? t->embed.stats.inode_count : 0);
		*leaves += t->type == H2_BREF_INDIRECT ? t->leaf_count : 1;
	}
	if (*leaves > 65535)
		*leaves = 65535;
}

/* ---- one node ---- */

static int write_table(struct h2_vol *v, struct h2_node *n, struct h2_bref *b)
{
	unsigned leaves, radix = h2_radix_of(n->bytes);
	uint64_t data, inodes;
	int err;

	h2_table_stats(h2_node_table(n), n->live, &data, &inodes, &leaves);
	if (b->mirror_tid != v->tid || h2_bref_radix(b) != radix) {
		err = h2_fm_alloc(v, n->type, radix, &b->data_off);
		if (err)
			return err;
	}
	b->mirror_tid = b->modify_tid = v->tid;
	b->embed.stats.data_count = data;
	b->embed.stats.inode_count = inodes;
	b->leaf_count = n->type == H2_BREF_INDIRECT ? leaves : 0;
	h2_code_set(b, n->buf, n->bytes);
	return h2_io_write(v, n->type, h2_bref_off(b), n->buf, n->bytes);
}

/*
 * Bytes of this block that belong to the file, rounded up to a legal block; or what is cached
 * when the rest is a hole, for readers fill up with zeros.
 */
static uint32_t data_bytes(struct h2_node *n)
{
	uint64_t size = h2_node_inode(h2_node_owner(n))->size;
	uint32_t bytes = h2_pow2_block(size > n->key ? size - n->key : 1);

	return bytes < n->bytes ? bytes : n->bytes;
}

int h2_node_write(struct h2_vol *v, struct h2_node *n)
{
	struct h2_bref b = *h2_node_bref(n);
	int err;

	if (n->type == H2_BREF_DATA)
		err = h2_data_store(v, h2_node_owner(n), n->buf, data_bytes(n), &b);
	else
		err = write_table(v, n, &b);
	if (err)
		return err;
	*h2_node_bref(n) = b;
	h2_node_clean(v, n);
	return 0;
}

/* ---- the whole tree ---- */

static bool vanishes(const struct h2_node *n)
{
	if (n->pins)
		return false;
	if (n->type == H2_BREF_INDIRECT)
		return n->live == 0;
	return n->type == H2_BREF_DATA && h2_is_zero(n->buf, n->bytes) &&
	       h2_node_inode(h2_node_owner((struct h2_node *)n))->check_algo;
}

/* The bref of an empty child goes; empty parents follow when their turn comes. */
static void vanish(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *p = n->parent;
	struct h2_bref *t = h2_node_table(p);
	unsigned at = h2_table_lower(p, n->key);

	memmove(t + at, t + at + 1, (p->live - at - 1) * sizeof(*t));
	memset(t + --p->live, 0, sizeof(*t));
	h2_node_drop(v, n);
}

static int flush_below(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *kid, *next;
	int err = 0;

	for (kid = n->kids; kid && !err; kid = next) {
		next = kid->kid_next;
		if (!kid->dirty)
			continue;
		err = flush_below(v, kid);
		if (err)
			break;
		if (vanishes(kid))
			vanish(v, kid);
		else
			err = h2_node_write(v, kid);
	}
	return err;
}

/* ---- the volume header ---- */

unsigned h2_header_copies(uint64_t size)
{
	unsigned n = 1;

	while (n < H2_HEADERS && n * H2_ZONE_SIZE + H2_RESERVE_SIZE <= size)
		n++;
	return n;
}

void h2_header_crcs(struct h2_volhdr *hdr)
{
	const uint8_t *p = (const uint8_t *)hdr;

	hdr->icrc_sects[6] = h2_crc32c(0, p + 0x200, 0x200);
	hdr->icrc_sects[7] = h2_crc32c(0, p, 0x1fc);
	hdr->icrc_volheader = h2_crc32c(0, p, 0xfffc);
}

bool h2_header_usable(const struct h2_volhdr *hdr)
{
	const uint8_t *p = (const uint8_t *)hdr;

	return hdr->magic == H2_VOLUME_MAGIC &&
	       hdr->icrc_sects[6] == h2_crc32c(0, p + 0x200, 0x200) &&
	       hdr->icrc_sects[7] == h2_crc32c(0, p, 0x1fc) &&
	       hdr->icrc_volheader == h2_crc32c(0, p, 0xfffc);
}

/* Everything the header refers to is durable when this is called. */
int h2_header_write(struct h2_vol *v)
{
	unsigned copy = (v->header + 1u) % h2_header_copies(v->hdr->volu_size);
	int err;

	memcpy(v->hdr->sroot, h2_node_table(v->vroot), sizeof(v->hdr->sroot));
	v->hdr->mirror_tid = v->hdr->freemap_tid = v->tid;
	v->hdr->allocator_free = v->fm.free;
	h2_header_crcs(v->hdr);
	err = h2_io_write(v, 0, copy * H2_ZONE_SIZE, v->hdr, sizeof(*v->hdr));
	if (!err)
		err = h2_io_flush(v);
	if (err) {
		h2_fail(v, "volume header could not be written");
		return err;
	}
	v->header = copy;
	v->tid++;
	return 0;
}

int h2_commit(struct h2_vol *v, bool always)
{
	int err;

	if (v->readonly)
		return 0;
	if (v->failed)
		return -H2_EROFS;
	if (!always && !v->vroot->dirty && !v->fm.dirty)
		return 0;
	v->in_flush = true;
	err = flush_below(v, v->vroot);
	if (!err)
		err = h2_fm_flush(v);
	v->in_flush = false;
	if (!err)
		err = h2_io_flush(v);
	if (err)
		return err;
	h2_node_clean(v, v->vroot);
	return h2_header_write(v);
}

int h2_sync(struct h2_vol *v)
{
	return h2_commit(v, false);
}
