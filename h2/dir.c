/* SPDX-License-Identifier: ISC */
/*
 * Directories (section 7): an entry is a bref keyed by the hash of its name; names of up to 64
 * bytes live in the bref itself, longer ones in a 1 KiB block.
 */
#include <string.h>

#include "h2/impl.h"

#define COLLISIONS 0x7fffull
#define NAME_BLOCK 1024u

bool h2_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > H2_NAME_MAX)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || name[i] == 0)
			return false;
	return true;
}

static int name_error(size_t len)
{
	return len > H2_NAME_MAX ? -H2_ENAMETOOLONG : -H2_EINVAL;
}

/* Name of an entry into name[256]. */
int h2_dirent_name(struct h2_vol *v, struct h2_node *dir, const struct h2_bref *b, char *name,
		   unsigned *len)
{
	uint8_t block[NAME_BLOCK];
	struct h2_where at;
	unsigned n = b->embed.dirent.namlen;
	int err;

	if (n == 0 || n > H2_NAME_MAX)
		return -H2_EIO;
	*len = n;
	if (n <= H2_DIRENT_INLINE) {
		memcpy(name, b->check.name, n);
		return 0;
	}
	if (h2_bref_radix(b) != H2_RADIX_MIN)
		return -H2_EIO;
	h2_node_where(dir, &at);
	err = h2_block_read(v, b, &at, block);
	if (err)
		return err == -H2_EUCLEAN ? -H2_EIO : err;
	memcpy(name, block, n);
	return 0;
}

static int same_name(struct h2_vol *v, struct h2_node *dir, const struct h2_bref *b,
		     const char *name, size_t len, bool *same)
{
	char other[256];
	unsigned n;
	int err;

	*same = false;
	if (b->type != H2_BREF_DIRENT || b->embed.dirent.namlen != len)
		return 0;
	err = h2_dirent_name(v, dir, b, other, &n);
	*same = !err && !memcmp(other, name, len);
	return err;
}

/* table (may be NULL) comes back pinned on success. */
int h2_dir_find(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len,
		struct h2_node **table, unsigned *i, uint64_t *ino, unsigned *type)
{
	uint64_t key = h2_name_hash(name, len), last = key | COLLISIONS;
	struct h2_node *t;
	unsigned at;
	bool same;

	for (;;) {
		const struct h2_bref *b;
		int err = h2_tree_next(v, dir, key, &t, &at);

		if (err)
			return err;
		b = &h2_node_table(t)[at];
		if (b->key > last) {
			h2_node_put(v, t);
			return -H2_ENOENT;
		}
		err = same_name(v, dir, b, name, len, &same);
		if (err || same) {
			if (!err) {
				*ino = b->embed.dirent.inum;
				*type = b->embed.dirent.type;
			}
			if (!err && table) {
				*table = t;
				*i = at;
			} else {
				h2_node_put(v, t);
			}
			return err;
		}
		key = b->key + 1;
		h2_node_put(v, t);
		if (key > last)
			return -H2_ENOENT;
	}
}

/* The block of a long name is written at once; it never changes. */
static int long_name(struct h2_vol *v, struct h2_bref *b, const char *name, size_t len)
{
	uint8_t block[NAME_BLOCK] = {0};
	int err = h2_fm_alloc(v, H2_BREF_DIRENT, H2_RADIX_MIN, &b->data_off);

	if (err)
		return err;
	memcpy(block, name, len);
	h2_code_set(b, block, sizeof(block));
	return h2_io_write(v, H2_BREF_DIRENT, h2_bref_off(b), block, sizeof(block));
}

int h2_dir_add(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len,
	       uint64_t ino, unsigned type)
{
	struct h2_bref b = {.type = H2_BREF_DIRENT, .key = h2_name_hash(name, len)};
	uint64_t last = b.key | COLLISIONS;
	const struct h2_inode *ip = h2_node_inode(dir);
	struct h2_node *table;
	unsigned i;
	bool hit;
	int err;

	b.methods = (ip->check_algo & 15) << 4 | (ip->comp_algo & 15);
	if (!(b.methods >> 4))
		b.methods |= H2_CHECK_XXH64 << 4;
	b.mirror_tid = b.modify_tid = v->tid;
	b.embed.dirent.inum = ino;
	b.embed.dirent.namlen = len;
	b.embed.dirent.type = type;
	if (len <= H2_DIRENT_INLINE)
		memcpy(b.check.name, name, len);
	else if ((err = long_name(v, &b, name, len)))
		return err;
	for (;; b.key++) {
		err = h2_tree_find(v, dir, b.key, &table, &i, &hit);
		if (err)
			return err;
		if (!hit)
			break;
		h2_node_put(v, table);
		if (b.key == last)
			return -H2_ENOSPC;
	}
	err = h2_tree_insert(v, dir, &b, &table, &i);
	if (!err)
		h2_node_put(v, table);
	return err;
}

int h2_dir_del(struct h2_vol *v, struct h2_node *dir, const char *name, size_t len)
{
	struct h2_node *table;
	uint64_t ino;
	unsigned i, type;
	int err = h2_dir_find(v, dir, name, len, &table, &i, &ino, &type);

	if (!err)
		h2_tree_delete(v, table, i);
	return err;
}

/* ---- reading ---- */

static int dir_get(struct h2_pfs *p, uint64_t ino, struct h2_node **out)
{
	int err = h2_inode_get(p, ino, out);

	if (!err && h2_node_inode(*out)->type != H2_OBJ_DIR) {
		h2_node_put(p->vol, *out);
		err = -H2_ENOTDIR;
	}
	return err;
}

static uint64_t parent_of(struct h2_pfs *p, struct h2_node *dir)
{
	uint64_t up = h2_node_inode(dir)->iparent;

	return dir == p->root || !up ? H2_ROOT_INO : up;
}

int h2_parent(struct h2_pfs *p, uint64_t dir, uint64_t *out)
{
	struct h2_node *n;
	int err = dir_get(p, dir, &n);

	if (err)
		return err;
	*out = parent_of(p, n);
	h2_node_put(p->vol, n);
	return 0;
}

int h2_lookup(struct h2_pfs *p, uint64_t dir, const char *name, size_t len, struct h2_attr *out)
{
	struct h2_node *d;
	uint64_t ino = 0;
	unsigned type;
	int err;

	if (len == 0 || len > H2_NAME_MAX)
		return name_error(len);
	err = dir_get(p, dir, &d);
	if (err)
		return err;
	if (len == 1 && name[0] == '.')
		ino = dir;
	else if (len == 2 && name[0] == '.' && name[1] == '.')
		ino = parent_of(p, d);
	else if (h2_side_hidden(p, dir, name, len))
		err = -H2_ENOENT;
	else
		err = h2_dir_find(p->vol, d, name, len, NULL, NULL, &ino, &type);
	h2_node_put(p->vol, d);
	return err ? err : h2_getattr(p, ino, out);
}

static int emit(struct h2_pfs *p, struct h2_node *dir, const struct h2_bref *b,
		h2_readdir_cb *cb, void *arg)
{
	struct h2_dirent ent;
	char name[256];
	unsigned len;
	int err = h2_dirent_name(p->vol, dir, b, name, &len);

	if (err)
		return err;
	if (h2_side_hidden(p, h2_node_inode(dir)->inum, name, len))
		return 0;
	ent.ino = b->embed.dirent.inum;
	ent.cookie = b->key & ~(1ull << 63);
	ent.mode = h2_mode_of_obj(b->embed.dirent.type);
	ent.name_len = len;
	ent.name = name;
	return cb(arg, &ent);
}

static int emit_dots(struct h2_pfs *p, struct h2_node *dir, uint64_t cookie, h2_readdir_cb *cb,
		     void *arg)
{
	struct h2_dirent ent = {.mode = H2_S_IFDIR, .name = ".."};
	int stop = 0;

	for (ent.cookie = cookie + 1; ent.cookie <= 2 && !stop; ent.cookie++) {
		ent.name_len = ent.cookie;
		ent.ino = ent.cookie == 1 ? h2_node_inode(dir)->inum : parent_of(p, dir);
		stop = cb(arg, &ent);
	}
	return stop;
}

int h2_readdir(struct h2_pfs *p, uint64_t dir, uint64_t cookie, h2_readdir_cb *cb, void *arg)
{
	struct h2_vol *v = p->vol;
	struct h2_node *d, *table;
	uint64_t key = 1ull << 63;
	unsigned i;
	int err = dir_get(p, dir, &d), stop = 0;

	if (err)
		return err;
	if (cookie < 2)
		stop = emit_dots(p, d, cookie, cb, arg);
	else if (cookie > 2)
		key |= cookie + 1;
	while (!stop && !err && key >> 63) {
		struct h2_bref b;

		err = h2_tree_next(v, d, key, &table, &i);
		/* Whatever one table holds is emitted without searching again. */
		for (; !err && !stop && i < table->live; i++) {
			b = h2_node_table(table)[i];
			if (b.type == H2_BREF_INDIRECT)
				break;
			key = b.key + 1;
			if (b.type == H2_BREF_DIRENT)
				stop = emit(p, d, &b, cb, arg);
		}
		if (!err)
			h2_node_put(v, table);
	}
	h2_node_put(v, d);
	if (stop < 0)
		return stop;
	return err == -H2_ENOENT ? 0 : err;
}

bool h2_dir_empty(struct h2_vol *v, struct h2_node *dir, int *err)
{
	struct h2_node *table;
	unsigned i;

	*err = h2_tree_next(v, dir, 1ull << 63, &table, &i);
	if (*err == -H2_ENOENT) {
		*err = 0;
		return true;
	}
	if (!*err)
		h2_node_put(v, table);
	return false;
}

/* ---- changing ---- */

#define OP_SPACE (256u * 1024) /* what one operation may dirty on the way up */

static void count_links(struct h2_node *dir, int by)
{
	if (h2_node_inode(dir)->nlinks != 1)
		h2_node_inode(dir)->nlinks += by;
}

/* Common preliminaries of everything that adds a name. dir comes back pinned. */
static int begin_add(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
		     struct h2_node **d)
{
	uint64_t ino;
	unsigned type;
	int err = h2_pfs_writable(p);

	if (err)
		return err;
	if (!h2_name_ok(name, len))
		return len == 1 || (len == 2 && name[1] == '.') ? -H2_EEXIST : name_error(len);
	if (h2_side_hidden(p, dir, name, len))
		return -H2_EPERM;
	err = h2_space(p->vol, OP_SPACE, false);
	if (err)
		return err;
	err = dir_get(p, dir, d);
	if (err)
		return err;
	err = h2_dir_find(p->vol, *d, name, len, NULL, NULL, &ino, &type);
	if (err == -H2_ENOENT) {
		struct h2_held *held = h2_held_find(p, dir);
		err = held && held->orphan ? -H2_ENOENT : 0;
	} else if (!err) {
		err = -H2_EEXIST;
	}
	if (err)
		h2_node_put(p->vol, *d);
	return err;
}

static int make(struct h2_pfs *p, uint64_t dir, const char *name, size_t len, unsigned type,
		const struct h2_new *how, struct h2_node **out)
{
	struct h2_vol *v = p->vol;
	struct h2_node *d, *n;
	int err = begin_add(p, dir, name, len, &d);

	if (err)
		return err;
	err = h2_inode_new(p, 0, d, type, how, &n);
	if (!err) {
		err = h2_dir_add(v, d, name, len, h2_node_inode(n)->inum, type);
		if (err)
			h2_inode_destroy(p, n);
	}
	if (!err) {
		if (type == H2_OBJ_DIR)
			count_links(d, 1);
		h2_touch(v, d, true);
		*out = n;
	}
	h2_node_put(v, d);
	return err;
}

static int make_simple(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
		       unsigned type, const struct h2_new *how, struct h2_attr *out)
{
	struct h2_node *n;
	int err = make(p, dir, name, len, type, how, &n);

	if (err)
		return err;
	if (out)
		h2_inode_attr(p, n, out);
	h2_node_put(p->vol, n);
	return 0;
}

int h2_create(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
	      const struct h2_new *how, struct h2_attr *out)
{
	return make_simple(p, dir, name, len, H2_OBJ_FILE, how, out);
}

int h2_mkdir(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
	     const struct h2_new *how, struct h2_attr *out)
{
	return make_simple(p, dir, name, len, H2_OBJ_DIR, how, out);
}

int h2_mknod(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
	     const struct h2_new *how, struct h2_attr *out)
{
	unsigned type = h2_obj_of_mode(how->mode);

	if (!type || type == H2_OBJ_DIR || type == H2_OBJ_SYMLINK)
		return -H2_EINVAL;
	return make_simple(p, dir, name, len, type, how, out);
}

int h2_symlink(struct h2_pfs *p, uint64_t dir, const char *name, size_t len, const char *target,
	       size_t target_len, const struct h2_new *how, struct h2_attr *out)
{
	struct h2_new link = *how;
	struct h2_node *n;
	long done;
	int err;

	if (target_len == 0 || target_len > 4095)
		return target_len ? -H2_ENAMETOOLONG : -H2_EINVAL;
	link.mode = 0777;
	err = make(p, dir, name, len, H2_OBJ_SYMLINK, &link, &n);
	if (err)
		return err;
	done = h2_node_writes(p->vol, n, 0, target, target_len);
	if (done == (long)target_len) {
		if (out)
			h2_inode_attr(p, n, out);
		h2_node_put(p->vol, n);
		return 0;
	}
	h2_node_put(p->vol, n);
	(void)h2_unlink(p, dir, name, len);
	return done < 0 ? (int)done : -H2_ENOSPC;
}

int h2_link(struct h2_pfs *p, uint64_t ino, uint64_t dir, const char *name, size_t len,
	    struct h2_attr *out)
{
	struct h2_vol *v = p->vol;
	struct h2_held *held = h2_held_find(p, ino);
	struct h2_node *d, *n;
	int err = begin_add(p, dir, name, len, &d);

	if (err)
		return err;
	err = h2_inode_get(p, ino, &n);
	if (!err) {
		if (h2_node_inode(n)->type == H2_OBJ_DIR)
			err = -H2_EPERM;
		else if (held && held->orphan)
			err = -H2_ENOENT;
		else
			err = h2_dir_add(v, d, name, len, ino, h2_node_inode(n)->type);
		if (!err) {
			h2_node_inode(n)->nlinks++;
			h2_touch(v, n, false);
			h2_touch(v, d, true);
			if (out)
				h2_inode_attr(p, n, out);
		}
		h2_node_put(v, n);
	}
	h2_node_put(v, d);
	return err;
}

/* One name less for an object that is not a directory, or the end of an empty directory. */
static void drop_link(struct h2_pfs *p, struct h2_node *n)
{
	struct h2_inode *ip = h2_node_inode(n);

	if (ip->type == H2_OBJ_DIR || ip->nlinks <= 1) {
		h2_inode_unlinked(p, n);
		return;
	}
	ip->nlinks--;
	h2_touch(p->vol, n, false);
	h2_node_put(p->vol, n);
}

/*
 * A directory whose inode can't be read may still lose its entry: otherwise a damaged object
 * could never be removed.
 */
static int remove_name(struct h2_pfs *p, uint64_t dir, const char *name, size_t len,
		       bool want_dir)
{
	struct h2_vol *v = p->vol;
	struct h2_node *d, *n = NULL;
	unsigned type;
	uint64_t ino;
	int err = h2_pfs_writable(p);

	if (err)
		return err;
	if (!h2_name_ok(name, len))
		return name_error(len);
	if (h2_side_hidden(p, dir, name, len))
		return -H2_ENOENT;
	err = h2_space(v, 0, true);
	if (!err)
		err = dir_get(p, dir, &d);
	if (err)
		return err;
	err = h2_dir_find(v, d, name, len, NULL, NULL, &ino, &type);
	if (!err && want_dir != (type == H2_OBJ_DIR))
		err = want_dir ? -H2_ENOTDIR : -H2_EISDIR;
	if (!err) {
		err = h2_inode_get(p, ino, &n);
		if (err == -H2_EIO || err == -H2_ENOENT)
			err = 0;
	}
	if (!err && want_dir && n && !h2_dir_empty(v, n, &err) && !err)
		err = -H2_ENOTEMPTY;
	if (!err)
		err = h2_dir_del(v, d, name, len);
	if (!err) {
		if (want_dir)
			count_links(d, -1);
		h2_touch(v, d, true);
		if (n)
			drop_link(p, n);
	} else if (n) {
		h2_node_put(v, n);
	}
	h2_node_put(v, d);
	return err;
}

int h2_unlink(struct h2_pfs *p, uint64_t dir, const char *name, size_t len)
{
	return remove_name(p, dir, name, len, false);
}

int h2_rmdir(struct h2_pfs *p, uint64_t dir, const char *name, size_t len)
{
	return remove_name(p, dir, name, len, true);
}
