/* SPDX-License-Identifier: ISC */
/*
 * The full check. It believes nothing that the library wrote: the topology is walked from the
 * medium, everything derivable is derived again (check codes, key order, name hashes, counters,
 * link counts) and compared, every block's extent is entered in a map of the volume at 1 KiB
 * granularity to find overlaps, and that map is compared with the freemap.
 *
 * Memory: one byte for each used KiB, and 32 bytes for each inode of the PFS being checked.
 */
#include <stdarg.h>
#include <string.h>

#include "h2/impl.h"

#define PAGE_UNITS 4096u /* one segment: 4 MiB in KiB units */
#define UNIT_MORE  0xffu /* continuation of a block */

/* What is known of one inode of the PFS under check. */
struct seen_inode {
	uint64_t ino; /* 0 = empty slot */
	uint64_t nlinks;
	uint32_t names;
	uint32_t subdirs;
	uint8_t type; /* from the inode; 0 = only named so far */
	uint8_t named_type;
};

struct fsck {
	struct h2_vol *vol;
	unsigned flags;
	h2_finding_cb *cb;
	void *arg;
	long errors;
	int fatal; /* no memory */
	struct h2_progress done;
	uint8_t **pages; /* one for each segment, NULL = unused */
	uint64_t segments;
	struct seen_inode *inodes;
	uint64_t inode_mask, inode_count;
	bool in_pfs, judging;
	char label[256]; /* of the PFS whose inodes are collected */
	uint64_t max_tid;
	struct h2_walk *walk;
};

/* ---- reporting ---- */

struct text {
	char *out;
	size_t len, max;
};

static void put_str(struct text *t, const char *s)
{
	for (; *s && t->len + 1 < t->max; s++)
		t->out[t->len++] = *s;
	t->out[t->len] = 0;
}

static void put_num(struct text *t, uint64_t n, unsigned base)
{
	char tmp[24];
	int i = sizeof(tmp) - 1;

	tmp[i] = 0;
	do
		tmp[--i] = "0123456789abcdef"[n % base];
	while (n /= base);
	put_str(t, tmp + i);
}

/* %s string, %u uint64_t decimal, %x uint64_t hexadecimal: no printf in a cell. */
static void format(struct text *t, const char *fmt, va_list ap)
{
	char one[2] = {0, 0};

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			one[0] = *fmt;
			put_str(t, one);
			continue;
		}
		fmt++;
		if (*fmt == 's')
			put_str(t, va_arg(ap, const char *));
		else
			put_num(t, va_arg(ap, uint64_t), *fmt == 'x' ? 16 : 10);
	}
}

static void finding(struct fsck *k, bool error, const struct h2_bref *b, const char *fmt, ...)
{
	struct h2_finding f;
	struct text t = {f.text, 0, sizeof(f.text)};
	va_list ap;

	memset(&f, 0, sizeof(f));
	f.error = error;
	f.where.kind = H2_EV_BAD_STRUCT;
	f.where.what = error ? "error" : "warning";
	if (b) {
		f.where.off = h2_bref_off(b);
		f.where.len = h2_bref_bytes(b);
		f.where.bref_type = b->type;
		f.where.methods = b->methods;
		f.where.key = b->key;
	}
	if (k->judging) {
		memcpy(f.where.pfs, k->label, sizeof(f.where.pfs));
	} else if (k->walk && k->walk->depth) {
		f.where.ino = k->walk->frame[k->walk->depth - 1].ino;
		memcpy(f.where.pfs, k->walk->pfs, sizeof(f.where.pfs));
	}
	va_start(ap, fmt);
	format(&t, fmt, ap);
	va_end(ap);
	k->errors += error;
	if (k->cb)
		k->cb(k->arg, &f);
}

/* ---- the map of used space ---- */

enum mark {
	MARK_NEW,
	MARK_SAME,
	MARK_CLASH
};

static enum mark mark_block(struct fsck *k, const struct h2_bref *b)
{
	uint64_t off = h2_bref_off(b);
	uint32_t units = h2_bref_bytes(b) / 1024, at = off / 1024 % PAGE_UNITS;
	uint8_t **page = &k->pages[off / H2_SEGMENT_SIZE], code = h2_bref_radix(b);

	if (!*page)
		*page = h2_zalloc(k->vol, PAGE_UNITS);
	if (!*page) {
		k->fatal = -H2_ENOMEM;
		return MARK_SAME;
	}
	if ((*page)[at] == code)
		return MARK_SAME;
	for (uint32_t i = 0; i < units; i++)
		if ((*page)[at + i])
			return MARK_CLASH;
	(*page)[at] = code;
	memset(*page + at + 1, UNIT_MORE, units - 1);
	return MARK_NEW;
}

static bool cell_in_use(const uint8_t *page, unsigned cell)
{
	return page && !h2_is_zero(page + cell * 16, 16);
}

/* ---- inodes of a PFS ---- */

static int inodes_grow(struct fsck *k)
{
	uint64_t old_n = k->inodes ? k->inode_mask + 1 : 0, n = old_n ? old_n * 2 : 1024;
	struct seen_inode *old = k->inodes, *fresh = h2_zalloc(k->vol, n * sizeof(*fresh));

	if (!fresh)
		return -H2_ENOMEM;
	for (uint64_t i = 0; i < old_n; i++) {
		uint64_t at = old[i].ino * 0x9e3779b97f4a7c15ull >> 20 & (n - 1);
		if (!old[i].ino)
			continue;
		while (fresh[at].ino)
			at = (at + 1) & (n - 1);
		fresh[at] = old[i];
	}
	h2_free(k->vol, old, old_n * sizeof(*old));
	k->inodes = fresh;
	k->inode_mask = n - 1;
	return 0;
}

static struct seen_inode *inode_slot(struct fsck *k, uint64_t ino)
{
	static struct seen_inode nowhere; /* after running out of memory, and for inode 0 */
	uint64_t at;

	if ((!k->inodes || k->inode_count * 2 > k->inode_mask) && inodes_grow(k))
		k->fatal = -H2_ENOMEM;
	if (k->fatal || !ino)
		return memset(&nowhere, 0, sizeof(nowhere));
	at = ino * 0x9e3779b97f4a7c15ull >> 20 & k->inode_mask;
	while (k->inodes[at].ino && k->inodes[at].ino != ino)
		at = (at + 1) & k->inode_mask;
	if (!k->inodes[at].ino) {
		k->inodes[at].ino = ino;
		k->inode_count++;
	}
	return &k->inodes[at];
}

static void judge_inode(struct fsck *k, const struct seen_inode *s)
{
	if (!s->type) {
		finding(k, true, NULL, "entry names inode 0x%x which does not exist", s->ino);
		return;
	}
	if (s->ino == H2_ROOT_INO)
		return;
	if (!s->names) /* what others' tools leave behind: it costs space only */
		finding(k, false, NULL, "inode 0x%x has no name", s->ino);
	else if (s->named_type != s->type)
		finding(k, true, NULL, "inode 0x%x: entry says type %u, inode type %u", s->ino,
			(uint64_t)s->named_type, (uint64_t)s->type);
	if (s->type == H2_OBJ_DIR && s->names > 1)
		finding(k, true, NULL, "directory 0x%x has %u names", s->ino,
			(uint64_t)s->names);
	if (s->type == H2_OBJ_DIR && s->nlinks != 1 && s->nlinks != 2ull + s->subdirs)
		finding(k, false, NULL, "directory 0x%x: link count %u with %u subdirectories",
			s->ino, s->nlinks, (uint64_t)s->subdirs);
	if (s->type != H2_OBJ_DIR && s->names && s->nlinks != s->names)
		finding(k, true, NULL, "inode 0x%x: link count %u, names %u", s->ino, s->nlinks,
			(uint64_t)s->names);
}

static void pfs_end(struct fsck *k)
{
	k->judging = true;
	if (k->in_pfs && k->inodes) {
		for (uint64_t i = 0; i <= k->inode_mask; i++)
			if (k->inodes[i].ino)
				judge_inode(k, &k->inodes[i]);
		memset(k->inodes, 0, (k->inode_mask + 1) * sizeof(*k->inodes));
		k->inode_count = 0;
	}
	k->in_pfs = k->judging = false;
}

/* ---- single blocks ---- */

static void check_order(struct fsck *k, const struct h2_bref *b, const struct h2_bref *t,
			unsigned n)
{
	const struct h2_bref *last = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (t[i].type == H2_BREF_EMPTY) {
			if (!h2_is_zero(&t[i], sizeof(t[i])))
				finding(k, true, b, "empty reference %u is not zero",
					(uint64_t)i);
			continue;
		}
		if (last && h2_range_end(last->key, last->keybits) >= t[i].key)
			finding(k, true, b, "key 0x%x not after its predecessor 0x%x", t[i].key,
				last->key);
		last = &t[i];
	}
}

static void check_counters(struct fsck *k, const struct h2_bref *b, const struct h2_bref *t,
			   unsigned n)
{
	struct h2_bref live[512];
	uint64_t data, inodes;
	unsigned leaves, m = 0;

	for (unsigned i = 0; i < n && m < 512; i++)
		if (t[i].type != H2_BREF_EMPTY)
			live[m++] = t[i];
	h2_table_stats(live, m, &data, &inodes, &leaves);
	if (b->embed.stats.data_count != data)
		finding(k, true, b, "data count %u, blocks below %u", b->embed.stats.data_count,
			data);
	if (b->embed.stats.inode_count != inodes)
		finding(k, true, b, "inode count %u, inodes below %u",
			b->embed.stats.inode_count, inodes);
	if (b->type == H2_BREF_INDIRECT && b->leaf_count != leaves)
		finding(k, true, b, "leaf count %u, leaves below %u", (uint64_t)b->leaf_count,
			(uint64_t)leaves);
	if (b->type == H2_BREF_INDIRECT && m == 0)
		finding(k, false, b, "empty indirect block");
}

static bool known_type(unsigned type)
{
	return type == H2_OBJ_DIR || type == H2_OBJ_FILE || type == H2_OBJ_FIFO ||
	       type == H2_OBJ_CDEV || type == H2_OBJ_BDEV || type == H2_OBJ_SYMLINK ||
	       type == H2_OBJ_SOCKET || type == H2_OBJ_WHITEOUT;
}

static void check_label(struct fsck *k, const struct h2_bref *b, const struct h2_inode *ip)
{
	uint64_t hash;

	if (ip->name_len == 0 || ip->name_len > 255)
		return;
	hash = h2_name_hash(ip->filename, ip->name_len);
	if ((hash ^ b->key) & ~0x7fffull)
		finding(k, true, b, "PFS key 0x%x is not the hash of its label", b->key);
	if (!(b->flags & H2_BREF_PFSROOT))
		finding(k, true, b, "PFS root without the flag in its reference");
}

static void check_inode(struct fsck *k, const struct h2_bref *b, const struct h2_inode *ip)
{
	bool root = ip->op_flags & H2_OP_PFSROOT, direct = ip->op_flags & H2_OP_DIRECTDATA;
	struct seen_inode *s;

	if (ip->version != 1)
		finding(k, true, b, "inode version %u", (uint64_t)ip->version);
	if (!known_type(ip->type))
		finding(k, true, b, "inode of unknown type %u", (uint64_t)ip->type);
	if (direct && (ip->size > H2_EMBED_BYTES ||
		       (ip->type != H2_OBJ_FILE && ip->type != H2_OBJ_SYMLINK)))
		finding(k, true, b, "inode holds data of an impossible size or type");
	if (direct && ip->size <= H2_EMBED_BYTES &&
	    !h2_is_zero(ip->u.data + ip->size, H2_EMBED_BYTES - ip->size))
		finding(k, false, b, "bytes beyond the end in the inode are not zero");
	if (root) {
		pfs_end(k);
		k->in_pfs = true;
		memcpy(k->label, k->walk->pfs, sizeof(k->label));
		check_label(k, b, ip);
		if (ip->inum != H2_ROOT_INO)
			finding(k, true, b, "PFS root with inode number 0x%x", ip->inum);
	} else if (ip->pfs_type == H2_PFS_SUPROOT) {
		return;
	} else if (ip->inum != b->key) {
		finding(k, true, b, "inode number 0x%x at key 0x%x", ip->inum, b->key);
	}
	k->done.inodes++;
	s = inode_slot(k, root ? H2_ROOT_INO : b->key);
	if (s->type)
		finding(k, true, b, "inode 0x%x occurs twice", ip->inum);
	s->type = ip->type;
	s->nlinks = ip->nlinks;
}

static void check_dirent(struct fsck *k, const struct h2_walk_item *it)
{
	const struct h2_bref *b = it->bref;
	struct h2_where at = {.ino = it->in->ino, .pfs = k->walk->pfs};
	unsigned len = b->embed.dirent.namlen;
	uint8_t *block = k->walk->buf;
	struct seen_inode *s;

	if (len == 0 || len > H2_NAME_MAX || (len > H2_DIRENT_INLINE) != (b->data_off != 0)) {
		finding(k, true, b, "entry with an impossible name length %u", (uint64_t)len);
		return;
	}
	if (b->data_off) {
		if (h2_block_read(k->vol, b, &at, block)) {
			finding(k, true, b, "name of entry 0x%x unreadable", b->key);
			return;
		}
		if (!h2_is_zero(block + len, h2_bref_bytes(b) - len))
			finding(k, false, b, "name block not padded with zeros");
	} else {
		memcpy(block, b->check.name, H2_DIRENT_INLINE);
		if (!h2_is_zero(block + len, H2_DIRENT_INLINE - len))
			finding(k, false, b, "name not padded with zeros");
	}
	if ((h2_name_hash((char *)block, len) ^ b->key) & ~0x7fffull)
		finding(k, true, b, "key 0x%x is not the hash of its name", b->key);
	if (memchr(block, '/', len) || memchr(block, 0, len))
		finding(k, true, b, "entry 0x%x: name with a slash or NUL", b->key);
	s = inode_slot(k, b->embed.dirent.inum);
	if (s->names && s->named_type != b->embed.dirent.type)
		finding(k, true, b, "entries disagree on the type of inode 0x%x", s->ino);
	s->names++;
	s->named_type = b->embed.dirent.type;
	if (b->embed.dirent.type == H2_OBJ_DIR)
		inode_slot(k, it->in->ino)->subdirs++;
}

/* A file block: read and tested once however often it is shared. */
static void check_data(struct fsck *k, const struct h2_walk_item *it, enum mark m)
{
	struct h2_where at = {.ino = it->in->ino, .pfs = k->walk->pfs};

	if (m != MARK_NEW || k->flags & H2_CHECK_NO_DATA)
		return;
	k->done.done_bytes += h2_bref_bytes(it->bref);
	if (h2_block_read(k->vol, it->bref, &at, k->walk->buf)) {
		k->done.bad++;
		finding(k, true, it->bref, "file block at 0x%x of inode 0x%x is damaged",
			it->bref->key, it->in->ino);
	}
}

/* Others never count the PFS roots in the super-root. */
static bool is_suproot(const struct h2_bref *b, const void *block)
{
	const struct h2_inode *ip = block;

	return b->type == H2_BREF_INODE && ip->pfs_type == H2_PFS_SUPROOT;
}

static void check_item(struct fsck *k, const struct h2_walk_item *it)
{
	const struct h2_bref *b = it->bref;
	enum mark m = MARK_SAME;

	if (it->error) {
		k->done.bad++;
		finding(k, true, b, "%s (key 0x%x)",
			it->error == -H2_EUCLEAN ? it->what : "block unreadable or damaged",
			b->key);
		return;
	}
	if (b->mirror_tid > k->max_tid)
		finding(k, true, b, "transaction %u is newer than the header's", b->mirror_tid);
	if (b->data_off) {
		m = mark_block(k, b);
		k->done.blocks++;
		if (m == MARK_CLASH)
			finding(k, true, b, "block at 0x%x overlaps another", h2_bref_off(b));
	}
	if (b->type == H2_BREF_DIRENT) {
		check_dirent(k, it);
	} else if (b->type == H2_BREF_DATA) {
		check_data(k, it, m);
	} else {
		const struct h2_walk_frame *f = &k->walk->frame[k->walk->depth - 1];

		k->done.done_bytes += h2_bref_bytes(b);
		if (b->type == H2_BREF_INODE)
			check_inode(k, b, it->block);
		if (f->cap) {
			check_order(k, b, f->table, f->cap);
			if (!is_suproot(b, it->block))
				check_counters(k, b, f->table, f->cap);
		}
	}
}

/* ---- topology and freemap ---- */

static int check_topology(struct fsck *k, const struct h2_bref *set, uint64_t tid)
{
	struct h2_walk_item it;
	int more;

	k->max_tid = tid;
	more = h2_walk_begin(k->walk, k->vol, set, false, 0);
	if (more)
		return more;
	while ((more = h2_walk_next(k->walk, &it)) > 0 && !k->fatal)
		check_item(k, &it);
	pfs_end(k);
	h2_walk_end(k->walk);
	return k->fatal ? k->fatal : more;
}

struct cells {
	uint64_t leaked, staged;
};

static void check_segment(struct fsck *k, uint64_t base, const struct h2_bmap *m,
			  struct cells *c)
{
	const uint8_t *page = k->pages[base / H2_SEGMENT_SIZE];
	uint32_t avail = 0;

	for (unsigned i = 0; i < 256; i++) {
		unsigned state = m->bits[i >> 5] >> (2 * (i & 31)) & 3;
		bool used = cell_in_use(page, i);

		avail += state == H2_CELL_FREE ? H2_CELL_SIZE : 0;
		if (used && state != H2_CELL_USED)
			finding(k, true, NULL, "cell at 0x%x is in use but marked %s",
				base + i * H2_CELL_SIZE,
				state == H2_CELL_FREE ? "free" : "nearly free");
		if (!used && state == H2_CELL_USED)
			c->leaked += H2_CELL_SIZE;
		if (!used && state == H2_CELL_STAGED)
			c->staged += H2_CELL_SIZE;
	}
	if (m->avail != avail)
		finding(k, true, NULL, "freemap entry at 0x%x: avail %u, free cells %u", base,
			(uint64_t)m->avail, (uint64_t)avail);
}

static int check_freemap(struct fsck *k)
{
	struct h2_vol *v = k->vol;
	struct cells c = {0};
	int err;

	for (uint32_t i = 0; i < v->fm.count[0]; i++) {
		const struct h2_fmref *r = &v->fm.level[0][i];
		struct h2_bref b = {.type = H2_BREF_FMLEAF,
				    .methods = H2_CHECK_FREEMAP << 4,
				    .data_off = r->data_off,
				    .key = i * H2_GIB};

		if (!r->data_off) {
			for (unsigned s = 0; s < 256; s++) {
				uint64_t seg = i * 256ull + s;
				if (seg < k->segments && k->pages[seg] &&
				    seg * H2_SEGMENT_SIZE > v->hdr->allocator_beg)
					finding(k, true, NULL,
						"used space at 0x%x without a freemap leaf",
						seg * H2_SEGMENT_SIZE);
			}
			continue;
		}
		b.check.freemap.crc = r->crc;
		err = h2_io_read(v, h2_bref_off(&b), v->scratch, H2_FM_BYTES);
		if (err || h2_code_test(&b, v->scratch, H2_FM_BYTES) != 1) {
			finding(k, true, &b, "freemap leaf unreadable or damaged");
			continue;
		}
		for (unsigned s = 0; s < 256; s++) {
			uint64_t base = i * H2_GIB + s * H2_SEGMENT_SIZE;
			if (!h2_fm_reserved(v, base))
				check_segment(k, base, (struct h2_bmap *)v->scratch + s, &c);
		}
	}
	if (c.leaked)
		finding(k, false, NULL, "%u KiB allocated but unused: bulkfree returns them",
			c.leaked / 1024);
	if (c.staged)
		finding(k, false, NULL, "%u KiB staged for the next bulkfree", c.staged / 1024);
	return 0;
}

/* Each usable older header must still lead to an intact tree. */
static int check_headers(struct fsck *k)
{
	struct h2_vol *v = k->vol;
	struct h2_volhdr *hdr = h2_alloc(v, sizeof(*hdr));
	int err = 0;

	if (!hdr)
		return -H2_ENOMEM;
	for (unsigned i = 0; i < h2_header_copies(v->hdr->volu_size) && !err; i++) {
		if (h2_io_read(v, i * H2_ZONE_SIZE, hdr, sizeof(*hdr)) ||
		    !h2_header_usable(hdr)) {
			finding(k, false, NULL, "volume header copy %u is unusable", i + 1ull);
			continue;
		}
		if (k->flags & H2_CHECK_ALL_HEADERS && i != v->header)
			err = check_topology(k, hdr->sroot, hdr->mirror_tid);
	}
	h2_free(v, hdr, sizeof(*hdr));
	return err;
}

static int check_all(struct fsck *k)
{
	struct h2_vol *v = k->vol;
	int err;

	if (v->hdr->freemap_tid < v->hdr->mirror_tid)
		finding(k, false, NULL, "freemap is older than the topology");
	err = check_topology(k, v->hdr->sroot, v->hdr->mirror_tid);
	if (!err)
		err = check_freemap(k);
	return err ? err : check_headers(k);
}

long h2_check(struct h2_vol *v, unsigned flags, h2_finding_cb *cb, void *arg,
	      struct h2_progress *out)
{
	struct fsck k = {.vol = v, .flags = flags, .cb = cb, .arg = arg};
	int err = h2_commit(v, false);

	if (err && err != -H2_EROFS)
		return err;
	k.segments = (v->size + H2_SEGMENT_SIZE - 1) / H2_SEGMENT_SIZE;
	k.pages = h2_zalloc(v, k.segments * sizeof(*k.pages));
	k.walk = h2_zalloc(v, sizeof(*k.walk));
	err = k.pages && k.walk ? check_all(&k) : -H2_ENOMEM;
	for (uint64_t i = 0; k.pages && i < k.segments; i++)
		h2_free(v, k.pages[i], PAGE_UNITS);
	h2_free(v, k.pages, k.segments * sizeof(*k.pages));
	h2_free(v, k.walk, sizeof(*k.walk));
	h2_free(v, k.inodes, k.inodes ? (k.inode_mask + 1) * sizeof(*k.inodes) : 0);
	if (out)
		*out = k.done;
	return err ? err : k.errors;
}
