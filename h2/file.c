/* SPDX-License-Identifier: ISC */
/*
 * File content (sections 5, 6 and 9): up to 512 bytes inside the inode, else 64 KiB blocks
 * keyed by offset; what has no block reads as zeros. Whole blocks are stored at once; pieces
 * are collected in the cache.
 */
#include <string.h>

#include "h2/impl.h"

#define BLOCK_MASK    ((uint64_t)H2_BLOCK_SIZE - 1)
#define SIZE_MAX_FILE (1ull << 62)
#define OP_SPACE      (256u * 1024)

/* ---- storing blocks ---- */

/* `stored` is final (compressed, padded); b->methods and code are set here or by prepare. */
static int put_block(struct h2_vol *v, struct h2_bref *b, const void *stored, uint32_t bytes)
{
	unsigned radix = h2_radix_of(bytes);
	int err;

	b->type = H2_BREF_DATA;
	b->keybits = H2_BLOCK_BITS;
	b->mirror_tid = b->modify_tid = v->tid;
	if (h2_dedup_find(v, b, radix, stored))
		return 0;
	err = h2_fm_alloc(v, H2_BREF_DATA, radix, &b->data_off);
	if (!err)
		err = h2_io_write(v, H2_BREF_DATA, h2_bref_off(b), stored, bytes);
	if (!err)
		h2_dedup_add(v, b);
	return err;
}

static uint8_t check_of(const struct h2_inode *ip)
{
	return ip->check_algo & 15;
}

int h2_data_store(struct h2_vol *v, struct h2_node *owner, const void *buf, uint32_t len,
		  struct h2_bref *b)
{
	const struct h2_inode *ip = h2_node_inode(owner);
	uint8_t used;
	long packed = h2_pack(v->env.codec, v->work, ip->comp_algo & 15, ip->comp_algo >> 4,
			      buf, len, v->scratch, &used);
	const void *stored = packed ? v->scratch : buf;
	uint32_t bytes = packed ? (uint32_t)packed : len;

	b->methods = check_of(ip) << 4 | used;
	h2_code_set(b, stored, bytes);
	return put_block(v, b, stored, bytes);
}

/* b becomes the block at b->key; what was there, cached changes included, is forgotten. */
static int set_block(struct h2_vol *v, struct h2_node *n, const struct h2_bref *b)
{
	struct h2_node *table, *old;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, n, b->key, &table, &i, &hit);

	if (err)
		return err;
	if (hit) {
		old = h2_cache_find(v, table, b->key);
		if (old)
			h2_node_drop(v, old);
		h2_node_table(table)[i] = *b;
		h2_node_dirty(v, table);
	} else {
		err = h2_tree_insert(v, n, b, &table, &i);
	}
	if (!err)
		h2_node_put(v, table);
	return err;
}

static int remove_block(struct h2_vol *v, struct h2_node *n, uint64_t key)
{
	struct h2_node *table, *old;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, n, key, &table, &i, &hit);

	if (err)
		return err;
	if (!hit) {
		h2_node_put(v, table);
		return 0;
	}
	old = h2_cache_find(v, table, key);
	if (old)
		h2_node_drop(v, old);
	h2_tree_delete(v, table, i);
	return 0;
}

/* ---- cached blocks ---- */

/* A cached file block; a file's tree must hold nothing else. */
static int block_child(struct h2_vol *v, struct h2_node *table, unsigned i,
		       struct h2_node **out)
{
	if (h2_node_table(table)[i].type != H2_BREF_DATA)
		return -H2_EIO;
	return h2_node_child(v, table, i, out);
}

/* The block at key, pinned, with room for `bytes`; made (dirty, zeros) when there is none. */
static int get_block(struct h2_vol *v, struct h2_node *n, uint64_t key, uint32_t bytes,
		     struct h2_node **out)
{
	struct h2_bref b = {
	    .type = H2_BREF_DATA, .key = key, .keybits = H2_BLOCK_BITS, .mirror_tid = v->tid};
	struct h2_node *table;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, n, key, &table, &i, &hit);

	if (err)
		return err;
	bytes = h2_pow2_block(bytes);
	if (hit) {
		err = block_child(v, table, i, out);
	} else {
		b.methods = check_of(h2_node_inode(n)) << 4;
		err = h2_tree_insert(v, n, &b, &table, &i);
		if (err)
			return err;
		err = h2_node_new(v, table, &b, bytes, out);
		if (err) {
			h2_tree_delete(v, table, h2_table_lower(table, key));
			return err;
		}
		memset((*out)->buf, 0, bytes);
		h2_node_dirty(v, *out);
	}
	h2_node_put(v, table);
	if (!err && (*out)->bytes < bytes) {
		err = h2_node_resize(v, *out, bytes);
		if (err)
			h2_node_put(v, *out);
	}
	return err;
}

/* The bytes inside the inode move to a block of their own. */
static int embed_out(struct h2_vol *v, struct h2_node *n)
{
	struct h2_inode *ip = h2_node_inode(n);
	uint8_t data[H2_EMBED_BYTES];
	struct h2_node *block;
	int err;

	if (!(ip->op_flags & H2_OP_DIRECTDATA))
		return 0;
	memcpy(data, ip->u.data, sizeof(data));
	memset(ip->u.data, 0, sizeof(ip->u.data));
	ip->op_flags &= ~H2_OP_DIRECTDATA;
	n->cap = H2_SET_COUNT;
	n->live = 0;
	h2_node_dirty(v, n);
	if (!ip->size)
		return 0;
	err = get_block(v, n, 0, H2_EMBED_BYTES, &block);
	if (err) {
		ip->op_flags |= H2_OP_DIRECTDATA;
		n->cap = 0;
		memcpy(ip->u.data, data, sizeof(data));
		return err;
	}
	memcpy(block->buf, data, ip->size);
	h2_node_put(v, block);
	return 0;
}

/* ---- writing ---- */

static int write_whole(struct h2_vol *v, struct h2_node *n, uint64_t key, const void *buf)
{
	struct h2_bref b = {.key = key};
	int err;

	if (check_of(h2_node_inode(n)) != H2_CHECK_NONE && h2_is_zero(buf, H2_BLOCK_SIZE))
		return remove_block(v, n, key);
	err = h2_data_store(v, n, buf, H2_BLOCK_SIZE, &b);
	return err ? err : set_block(v, n, &b);
}

static int write_piece(struct h2_vol *v, struct h2_node *n, uint64_t off, const void *buf,
		       uint32_t len)
{
	uint32_t in = off & BLOCK_MASK;
	struct h2_node *block;
	int err = get_block(v, n, off & ~BLOCK_MASK, in + len, &block);

	if (err)
		return err;
	memcpy(block->buf + in, buf, len);
	h2_node_dirty(v, block);
	h2_node_put(v, block);
	return 0;
}

static void grow(struct h2_vol *v, struct h2_node *n, uint64_t end)
{
	struct h2_inode *ip = h2_node_inode(n);

	if (end > ip->size)
		ip->size = end;
	h2_node_dirty(v, n);
}

long h2_node_writes(struct h2_vol *v, struct h2_node *n, uint64_t off, const void *buf,
		    size_t len)
{
	struct h2_inode *ip = h2_node_inode(n);
	const uint8_t *p = buf;
	size_t done = 0;
	int err;

	if (off > SIZE_MAX_FILE || len > SIZE_MAX_FILE - off)
		return -H2_EFBIG;
	if (!len)
		return 0;
	if (ip->op_flags & H2_OP_DIRECTDATA && off + len <= H2_EMBED_BYTES) {
		memcpy(ip->u.data + off, buf, len);
		grow(v, n, off + len);
		return (long)len;
	}
	err = embed_out(v, n);
	while (!err && done < len) {
		uint64_t at = off + done;
		uint32_t piece = H2_BLOCK_SIZE - (at & BLOCK_MASK);

		if (piece > len - done)
			piece = len - done;
		err = h2_space(v, OP_SPACE, false);
		if (err)
			break;
		if (piece == H2_BLOCK_SIZE)
			err = write_whole(v, n, at, p + done);
		else
			err = write_piece(v, n, at, p + done, piece);
		if (err)
			break;
		done += piece;
		grow(v, n, at + piece);
	}
	return done ? (long)done : err;
}

/* A regular file, for reading or changing; pinned. */
static int file_get(struct h2_pfs *p, uint64_t ino, bool change, struct h2_node **out)
{
	int err = change ? h2_pfs_writable(p) : 0, type;

	if (!err)
		err = h2_inode_get(p, ino, out);
	if (err)
		return err;
	type = h2_node_inode(*out)->type;
	if (type == H2_OBJ_FILE)
		return 0;
	h2_node_put(p->vol, *out);
	return type == H2_OBJ_DIR ? -H2_EISDIR : -H2_EINVAL;
}

long h2_write(struct h2_pfs *p, uint64_t ino, uint64_t off, const void *buf, size_t len)
{
	struct h2_node *n;
	long done = file_get(p, ino, true, &n);

	if (done)
		return done;
	done = h2_node_writes(p->vol, n, off, buf, len);
	if (done > 0)
		h2_touch(p->vol, n, true);
	h2_node_put(p->vol, n);
	return done;
}

int h2_file_methods(struct h2_pfs *p, uint64_t ino, uint8_t *check, uint8_t *comp,
		    uint8_t *level)
{
	struct h2_node *n;
	int err = file_get(p, ino, false, &n);

	if (err)
		return err;
	*check = check_of(h2_node_inode(n));
	*comp = h2_node_inode(n)->comp_algo & 15;
	*level = h2_node_inode(n)->comp_algo >> 4;
	h2_node_put(p->vol, n);
	return 0;
}

static int write_prepared(struct h2_vol *v, struct h2_node *n, uint64_t off,
			  const struct h2_prepared *pb)
{
	struct h2_bref b = {.key = off, .methods = pb->methods};
	struct h2_inode *ip = h2_node_inode(n);
	int err = embed_out(v, n);

	if (err)
		return err;
	if (pb->stored) {
		memcpy(b.check.raw, pb->code, 24);
		err = put_block(v, &b, pb->data, pb->stored);
		if (!err)
			err = set_block(v, n, &b);
	} else {
		err = remove_block(v, n, off);
	}
	if (err)
		return err;
	grow(v, n, off + pb->logical);
	ip->mtime = ip->ctime = h2_now_us(v);
	return 0;
}

int h2_write_prepared(struct h2_pfs *p, uint64_t ino, uint64_t off,
		      const struct h2_prepared *pb)
{
	struct h2_vol *v = p->vol;
	struct h2_node *n;
	int err;

	if (off & BLOCK_MASK || off > SIZE_MAX_FILE || !pb->logical ||
	    pb->logical > H2_BLOCK_SIZE || pb->stored > H2_BLOCK_SIZE ||
	    pb->stored & (pb->stored - 1) || (pb->stored && pb->stored < 1024))
		return -H2_EINVAL;
	err = file_get(p, ino, true, &n);
	if (err)
		return err;
	err = h2_space(v, OP_SPACE, false);
	if (!err &&
	    (pb->methods >> 4 != check_of(h2_node_inode(n)) ||
	     (pb->logical < H2_BLOCK_SIZE && off + pb->logical < h2_node_inode(n)->size)))
		err = -H2_EINVAL;
	if (!err && off == 0 && pb->logical <= H2_EMBED_BYTES &&
	    h2_node_inode(n)->op_flags & H2_OP_DIRECTDATA)
		err = -H2_EINVAL; /* belongs into the inode: h2_write */
	if (!err)
		err = write_prepared(v, n, off, pb);
	h2_node_put(v, n);
	return err;
}

/* ---- reading
 * ---------------------------------------------------------------------------------------------
 */

/* A whole block straight into the user's buffer, past the cache. */
static int read_whole(struct h2_vol *v, struct h2_node *n, const struct h2_bref *b, void *out)
{
	struct h2_where at;
	int err;

	h2_node_where(n, &at);
	if (!(b->methods & 15) && h2_bref_radix(b) == H2_RADIX_MAX)
		return h2_block_read(v, b, &at, out);
	err = h2_block_read(v, b, &at, v->scratch);
	if (!err)
		err = h2_unpack(v->env.codec, v->work, b->methods & 15, v->scratch,
				h2_bref_bytes(b), out, H2_BLOCK_SIZE);
	if (err == -H2_EUCLEAN)
		h2_event_bref(v, H2_EV_BAD_STRUCT, b, &at, "block does not decompress");
	return err;
}

static void copy_out(const struct h2_node *block, uint32_t in, uint8_t *out, uint32_t len)
{
	uint32_t have = in < block->bytes ? block->bytes - in : 0;

	if (have > len)
		have = len;
	memcpy(out, block->buf + in, have);
	memset(out + have, 0, len - have);
}

static int read_piece(struct h2_vol *v, struct h2_node *n, uint64_t off, uint8_t *out,
		      uint32_t len)
{
	uint64_t key = off & ~BLOCK_MASK;
	struct h2_node *table, *block;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, n, key, &table, &i, &hit);

	if (err)
		return err;
	if (!hit) {
		memset(out, 0, len);
	} else if (len == H2_BLOCK_SIZE && !h2_cache_find(v, table, key)) {
		struct h2_bref b = h2_node_table(table)[i];
		err = b.type == H2_BREF_DATA ? read_whole(v, n, &b, out) : -H2_EUCLEAN;
	} else {
		err = block_child(v, table, i, &block);
		if (!err) {
			copy_out(block, off & BLOCK_MASK, out, len);
			h2_node_put(v, block);
		}
	}
	h2_node_put(v, table);
	return err == -H2_EUCLEAN ? -H2_EIO : err;
}

/* Tell the device what a long read is going to want. */
static void prefetch(struct h2_vol *v, struct h2_node *n, uint64_t from, uint64_t to)
{
	struct h2_node *table;
	unsigned i;

	while (from < to && h2_tree_next(v, n, from, &table, &i) == 0) {
		const struct h2_bref *t = h2_node_table(table);

		for (; i < table->live && t[i].type == H2_BREF_DATA && t[i].key < to; i++) {
			if (!h2_bref_valid(v, &t[i]) && !h2_cache_find(v, table, t[i].key))
				v->env.dev_ops->prefetch(v->env.dev, h2_bref_off(&t[i]),
							 h2_bref_bytes(&t[i]));
			from = t[i].key + H2_BLOCK_SIZE;
		}
		if (i < table->live && t[i].type != H2_BREF_INDIRECT)
			from = to;
		h2_node_put(v, table);
	}
}

long h2_node_read(struct h2_vol *v, struct h2_node *n, uint64_t off, void *buf, size_t len)
{
	const struct h2_inode *ip = h2_node_inode(n);
	uint8_t *out = buf;

	if (off >= ip->size)
		return 0;
	if (len > ip->size - off)
		len = ip->size - off;
	if (ip->op_flags & H2_OP_DIRECTDATA) {
		memcpy(buf, ip->u.data + off, len);
		return (long)len;
	}
	if (v->env.dev_ops->prefetch && len > H2_BLOCK_SIZE)
		prefetch(v, n, off & ~BLOCK_MASK, off + len);
	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		uint32_t piece = H2_BLOCK_SIZE - (at & BLOCK_MASK);
		int err;

		if (piece > len - done)
			piece = len - done;
		err = read_piece(v, n, at, out + done, piece);
		if (err) {
			memset(buf, 0, len);
			return err;
		}
		done += piece;
	}
	return (long)len;
}

long h2_read(struct h2_pfs *p, uint64_t ino, uint64_t off, void *buf, size_t len)
{
	struct h2_node *n;
	long done = file_get(p, ino, false, &n);

	if (done)
		return done;
	done = h2_node_read(p->vol, n, off, buf, len);
	h2_node_put(p->vol, n);
	return done;
}

long h2_readlink(struct h2_pfs *p, uint64_t ino, char *buf, size_t len)
{
	struct h2_node *n;
	long done = h2_inode_get(p, ino, &n);

	if (done)
		return done;
	done = -H2_EINVAL;
	if (h2_node_inode(n)->type == H2_OBJ_SYMLINK)
		done = h2_node_read(p->vol, n, 0, buf, len);
	h2_node_put(p->vol, n);
	return done;
}

/* ---- cutting and punching ---- */

/* Blocks with keys in [from, to) go. */
static int remove_range(struct h2_vol *v, struct h2_node *n, uint64_t from, uint64_t to)
{
	struct h2_node *table, *old;
	unsigned i;

	for (;;) {
		int err = h2_tree_next(v, n, from, &table, &i);
		uint64_t key;

		if (err)
			return err == -H2_ENOENT ? 0 : err;
		key = h2_node_table(table)[i].key;
		if (key >= to) {
			h2_node_put(v, table);
			return 0;
		}
		old = h2_cache_find(v, table, key);
		if (old)
			h2_node_drop(v, old);
		h2_tree_delete(v, table, i);
		from = key;
	}
}

/* Bytes [from, to) of one block become zero, if the block exists. */
static int zero_piece(struct h2_vol *v, struct h2_node *n, uint64_t from, uint64_t to)
{
	uint64_t key = from & ~BLOCK_MASK;
	struct h2_node *table, *block;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, n, key, &table, &i, &hit);

	if (err)
		return err;
	if (hit) {
		err = block_child(v, table, i, &block);
		if (!err) {
			uint32_t a = from - key, b = to - key;
			if (b > block->bytes)
				b = block->bytes;
			if (a < b)
				memset(block->buf + a, 0, b - a);
			h2_node_dirty(v, block);
			h2_node_put(v, block);
		}
	}
	h2_node_put(v, table);
	return err;
}

static int zero_range(struct h2_vol *v, struct h2_node *n, uint64_t from, uint64_t to)
{
	struct h2_inode *ip = h2_node_inode(n);
	uint64_t first = (from + BLOCK_MASK) & ~BLOCK_MASK, last = to & ~BLOCK_MASK;
	int err = 0;

	h2_node_dirty(v, n);
	if (ip->op_flags & H2_OP_DIRECTDATA) {
		if (from < H2_EMBED_BYTES)
			memset(ip->u.data + from, 0,
			       (to < H2_EMBED_BYTES ? to : H2_EMBED_BYTES) - from);
		return 0;
	}
	if (first > last)
		return zero_piece(v, n, from, to);
	if (from < first)
		err = zero_piece(v, n, from, first);
	if (!err && last < to)
		err = zero_piece(v, n, last, to);
	return err ? err : remove_range(v, n, first, last);
}

int h2_file_cut(struct h2_vol *v, struct h2_node *n, uint64_t size)
{
	struct h2_inode *ip = h2_node_inode(n);
	int err;

	if (size == 0 && n->cap) {
		while (n->kids)
			h2_node_drop(v, n->kids);
		memset(ip->u.data, 0, sizeof(ip->u.data));
		n->live = 0;
	} else {
		err = zero_range(v, n, size, 1ull << 63);
		if (err)
			return err;
	}
	ip->size = size;
	h2_node_dirty(v, n);
	return 0;
}

/* More bytes than there are, which read as zeros. */
static int extend(struct h2_vol *v, struct h2_node *n, uint64_t size)
{
	int err = size > H2_EMBED_BYTES ? embed_out(v, n) : 0;

	if (!err)
		grow(v, n, size);
	return err;
}

int h2_truncate(struct h2_pfs *p, uint64_t ino, uint64_t size)
{
	struct h2_vol *v = p->vol;
	struct h2_node *n;
	int err = file_get(p, ino, true, &n);

	if (err)
		return err;
	if (size > SIZE_MAX_FILE)
		err = -H2_EFBIG;
	else
		err = h2_space(v, OP_SPACE, size < h2_node_inode(n)->size);
	if (!err && size < h2_node_inode(n)->size)
		err = h2_file_cut(v, n, size);
	else if (!err && size > h2_node_inode(n)->size)
		err = extend(v, n, size);
	if (!err)
		h2_touch(v, n, true);
	h2_node_put(v, n);
	return err;
}

int h2_fallocate(struct h2_pfs *p, uint64_t ino, unsigned mode, uint64_t off, uint64_t len)
{
	unsigned what = mode & ~H2_FALLOC_KEEP_SIZE;
	struct h2_vol *v = p->vol;
	struct h2_node *n;
	uint64_t end;
	int err;

	if (what && what != H2_FALLOC_PUNCH_HOLE && what != H2_FALLOC_ZERO_RANGE)
		return -H2_ENOTSUP;
	if (what == H2_FALLOC_PUNCH_HOLE && !(mode & H2_FALLOC_KEEP_SIZE))
		return -H2_ENOTSUP;
	if (!len || off > SIZE_MAX_FILE || len > SIZE_MAX_FILE - off)
		return len ? -H2_EFBIG : -H2_EINVAL;
	err = file_get(p, ino, true, &n);
	if (err)
		return err;
	end = off + len;
	err = h2_space(v, OP_SPACE + (what ? 0 : len), false);
	if (!err && what && off < h2_node_inode(n)->size) {
		uint64_t to = end < h2_node_inode(n)->size ? end : h2_node_inode(n)->size;
		err = zero_range(v, n, off, to);
	}
	if (!err && !(mode & H2_FALLOC_KEEP_SIZE) && end > h2_node_inode(n)->size)
		err = extend(v, n, end);
	if (!err)
		h2_touch(v, n, true);
	h2_node_put(v, n);
	return err;
}

int h2_fsync(struct h2_pfs *p, uint64_t ino)
{
	return h2_sync(p->vol);
}

/* ---- holes
 * ----------------------------------------------------------------------------------------------------
 */

/* First block with a key >= key, as an offset; the file's end when there is none. */
static int next_block(struct h2_vol *v, struct h2_node *n, uint64_t key, uint64_t *out)
{
	struct h2_node *table;
	unsigned i;
	int err = h2_tree_next(v, n, key, &table, &i);

	*out = ~0ull;
	if (err)
		return err == -H2_ENOENT ? 0 : err;
	*out = h2_node_table(table)[i].key;
	h2_node_put(v, table);
	return 0;
}

static int seek(struct h2_vol *v, struct h2_node *n, uint64_t off, bool data, uint64_t *out)
{
	uint64_t size = h2_node_inode(n)->size, key = off & ~BLOCK_MASK, found;
	int err;

	if (off >= size)
		return -H2_ENXIO;
	if (h2_node_inode(n)->op_flags & H2_OP_DIRECTDATA) {
		*out = data ? off : size;
		return 0;
	}
	for (;;) {
		err = next_block(v, n, key, &found);
		if (err)
			return err;
		if (data) {
			*out = found > off ? found : off;
			return found >= size ? -H2_ENXIO : 0;
		}
		if (found != key || key >= size) {
			*out = key > off ? key : off;
			if (*out > size)
				*out = size;
			return 0;
		}
		key += H2_BLOCK_SIZE;
	}
}

int h2_seek(struct h2_pfs *p, uint64_t ino, uint64_t off, bool data, uint64_t *out)
{
	struct h2_node *n;
	int err = file_get(p, ino, false, &n);

	if (err)
		return err;
	err = seek(p->vol, n, off, data, out);
	h2_node_put(p->vol, n);
	return err;
}

/* ---- sharing
 * --------------------------------------------------------------------------------------------------
 */

static int clone_block(struct h2_vol *v, struct h2_node *d, uint64_t to, struct h2_node *s,
		       uint64_t from)
{
	struct h2_node *table, *kid;
	struct h2_bref b;
	unsigned i;
	bool hit;
	int err = h2_tree_find(v, s, from, &table, &i, &hit);

	if (err)
		return err;
	if (!hit) {
		h2_node_put(v, table);
		return remove_block(v, d, to);
	}
	kid = h2_cache_find(v, table, from);
	if (kid && kid->dirty)
		err = h2_node_write(v, kid);
	b = h2_node_table(table)[i];
	h2_node_put(v, table);
	if (!err && b.type != H2_BREF_DATA)
		err = -H2_EIO;
	if (!err)
		err = h2_fm_touch(v, b.data_off);
	if (err)
		return err;
	b.key = to;
	b.mirror_tid = b.modify_tid = v->tid;
	return set_block(v, d, &b);
}

static int clone_range(struct h2_vol *v, struct h2_node *d, uint64_t to, struct h2_node *s,
		       uint64_t from, uint64_t len)
{
	uint64_t size = h2_node_inode(s)->size;
	int err;

	if (from > size || len > size - from || (len & BLOCK_MASK && from + len != size) ||
	    check_of(h2_node_inode(d)) != check_of(h2_node_inode(s)) ||
	    (len & BLOCK_MASK && to + len < h2_node_inode(d)->size))
		return -H2_EINVAL;
	if (h2_node_inode(s)->op_flags & H2_OP_DIRECTDATA) {
		long put = h2_node_writes(v, d, to, h2_node_inode(s)->u.data + from, len);
		return put < 0 ? (int)put : 0;
	}
	err = embed_out(v, d);
	for (uint64_t done = 0; done < len && !err; done += H2_BLOCK_SIZE) {
		err = h2_space(v, OP_SPACE, false);
		if (!err)
			err = clone_block(v, d, to + done, s, from + done);
	}
	if (!err) {
		grow(v, d, to + len);
		h2_touch(v, d, true);
	}
	return err;
}

int h2_clone(struct h2_pfs *to_pfs, uint64_t to_ino, uint64_t to_off, struct h2_pfs *from_pfs,
	     uint64_t from_ino, uint64_t from_off, uint64_t len)
{
	struct h2_node *to, *from;
	int err;

	if (to_pfs->vol != from_pfs->vol || (to_off | from_off) & BLOCK_MASK ||
	    to_off > SIZE_MAX_FILE || len > SIZE_MAX_FILE - to_off ||
	    (to_pfs == from_pfs && to_ino == from_ino))
		return -H2_EINVAL;
	err = file_get(to_pfs, to_ino, true, &to);
	if (err)
		return err;
	err = file_get(from_pfs, from_ino, false, &from);
	if (!err) {
		err = clone_range(to_pfs->vol, to, to_off, from, from_off, len);
		h2_node_put(from_pfs->vol, from);
	}
	h2_node_put(to_pfs->vol, to);
	return err;
}
