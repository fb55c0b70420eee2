/* SPDX-License-Identifier: ISC */
/*
 * Inodes: the flat index of a PFS, attributes, creation and destruction, and objects that are
 * held by users after their last name has gone.
 */
#include <string.h>

#include "h2/impl.h"

int h2_pfs_writable(const struct h2_pfs *p)
{
	return p->flags & H2_PFS_RDONLY ? -H2_EROFS : h2_writable(p->vol);
}

/* ---- types ---- */

static const struct {
	uint32_t mode;
	unsigned obj;
} types[] = {
    {H2_S_IFDIR, H2_OBJ_DIR},     {H2_S_IFREG, H2_OBJ_FILE}, {H2_S_IFIFO, H2_OBJ_FIFO},
    {H2_S_IFCHR, H2_OBJ_CDEV},    {H2_S_IFBLK, H2_OBJ_BDEV}, {H2_S_IFLNK, H2_OBJ_SYMLINK},
    {H2_S_IFSOCK, H2_OBJ_SOCKET},
};

unsigned h2_obj_of_mode(uint32_t mode)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (types[i].mode == (mode & H2_S_IFMT))
			return types[i].obj;
	return 0;
}

uint32_t h2_mode_of_obj(unsigned obj)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (types[i].obj == obj)
			return types[i].mode;
	return obj == H2_OBJ_WHITEOUT ? H2_S_IFCHR : H2_S_IFREG;
}

/* ids are UUIDs whose last four bytes hold the number */
static void id_set(uint8_t uuid[16], uint32_t id)
{
	memset(uuid, 0, 12);
	memcpy(uuid + 12, &id, 4);
}

static uint32_t id_get(const uint8_t uuid[16])
{
	uint32_t id;

	memcpy(&id, uuid + 12, 4);
	return id;
}

/* ---- access ---- */

int h2_inode_get(struct h2_pfs *p, uint64_t ino, struct h2_node **out)
{
	struct h2_vol *v = p->vol;
	struct h2_node *table;
	unsigned i;
	bool hit;
	int err;

	if (ino == H2_ROOT_INO) {
		h2_node_pin(v, p->root);
		*out = p->root;
		return 0;
	}
	if (ino >> 63)
		return -H2_ENOENT;
	err = h2_tree_find(v, p->root, ino, &table, &i, &hit);
	if (err)
		return err;
	if (!hit || h2_node_table(table)[i].type != H2_BREF_INODE)
		err = -H2_ENOENT;
	else
		err = h2_node_child(v, table, i, out);
	h2_node_put(v, table);
	return err;
}

static struct h2_time time_of(uint64_t us)
{
	return (struct h2_time){
	    .sec = (int64_t)us / 1000000 - ((int64_t)us % 1000000 < 0),
	    .nsec = (uint32_t)(((int64_t)us % 1000000 + 1000000) % 1000000) * 1000};
}

static uint64_t time_to(const struct h2_time *t)
{
	return (uint64_t)(t->sec * 1000000 + t->nsec / 1000);
}

static uint64_t stored_bytes(struct h2_node *n)
{
	unsigned leaves;
	uint64_t data = 0, inodes;

	if (n->cap)
		h2_table_stats(h2_node_table(n), n->live, &data, &inodes, &leaves);
	return data;
}

void h2_inode_attr(struct h2_pfs *p, struct h2_node *n, struct h2_attr *out)
{
	const struct h2_inode *ip = h2_node_inode(n);
	struct h2_held *held = h2_held_find(p, n == p->root ? H2_ROOT_INO : ip->inum);

	memset(out, 0, sizeof(*out));
	out->ino = ip->inum;
	out->size = ip->type == H2_OBJ_DIR ? 0 : ip->size;
	/* In the root the inodes of the whole PFS would be counted. */
	out->stored = n == p->root ? 0 : stored_bytes(n);
	out->nlink = held && held->orphan ? 0 : ip->nlinks;
	out->mode = h2_mode_of_obj(ip->type) | (ip->mode & 07777);
	out->uid = id_get(ip->uid);
	out->gid = id_get(ip->gid);
	out->rmajor = ip->rmajor;
	out->rminor = ip->rminor;
	out->uflags = ip->uflags;
	out->atime = time_of(ip->atime);
	out->mtime = time_of(ip->mtime);
	out->ctime = time_of(ip->ctime);
	out->btime = time_of(ip->btime);
	h2_side_times(p, n, out);
}

void h2_touch(struct h2_vol *v, struct h2_node *n, bool mtime)
{
	struct h2_inode *ip = h2_node_inode(n);

	ip->ctime = h2_now_us(v);
	if (mtime)
		ip->mtime = ip->ctime;
	h2_node_dirty(v, n);
}

int h2_getattr(struct h2_pfs *p, uint64_t ino, struct h2_attr *out)
{
	struct h2_node *n;
	int err = h2_inode_get(p, ino, &n);

	if (err)
		return err;
	h2_inode_attr(p, n, out);
	h2_node_put(p->vol, n);
	return 0;
}

static void set_fields(struct h2_inode *ip, unsigned set, const struct h2_attr *in)
{
	if (set & H2_SET_MODE)
		ip->mode = in->mode & 07777;
	if (set & H2_SET_UID)
		id_set(ip->uid, in->uid);
	if (set & H2_SET_GID)
		id_set(ip->gid, in->gid);
	if (set & H2_SET_FLAGS)
		ip->uflags = in->uflags;
	if (set & H2_SET_ATIME)
		ip->atime = time_to(&in->atime);
	if (set & H2_SET_MTIME)
		ip->mtime = time_to(&in->mtime);
	if (set & H2_SET_CTIME)
		ip->ctime = time_to(&in->ctime);
	if (set & H2_SET_BTIME)
		ip->btime = time_to(&in->btime);
}

static bool time_bad(const struct h2_time *t)
{
	return t->nsec >= 1000000000u || t->sec > 9000000000000ll || t->sec < -9000000000000ll;
}

static bool times_bad(unsigned set, const struct h2_attr *in)
{
	return (set & H2_SET_ATIME && time_bad(&in->atime)) ||
	       (set & H2_SET_MTIME && time_bad(&in->mtime)) ||
	       (set & H2_SET_CTIME && time_bad(&in->ctime)) ||
	       (set & H2_SET_BTIME && time_bad(&in->btime));
}

int h2_setattr(struct h2_pfs *p, uint64_t ino, unsigned set, const struct h2_attr *in,
	       struct h2_attr *out)
{
	struct h2_vol *v = p->vol;
	struct h2_node *n;
	int err = h2_pfs_writable(p);

	if (!err && times_bad(set, in))
		err = -H2_EINVAL;
	if (!err && set & H2_SET_SIZE)
		err = h2_truncate(p, ino, in->size);
	if (!err)
		err = h2_space(v, 64 * 1024, true);
	if (!err)
		err = h2_inode_get(p, ino, &n);
	if (err)
		return err;
	if (set & ~H2_SET_SIZE) {
		set_fields(h2_node_inode(n), set, in);
		if (!(set & H2_SET_CTIME))
			h2_node_inode(n)->ctime = h2_now_us(v);
		h2_node_dirty(v, n);
		err = h2_side_set_times(p, n, set, in);
	}
	if (out && !err)
		h2_inode_attr(p, n, out);
	h2_node_put(v, n);
	return err;
}

/* ---- creation and destruction ---- */

void h2_ino_hex(uint64_t ino, char out[16])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++)
		out[i] = hex[ino >> (60 - 4 * i) & 15];
}

/* The name in an ordinary inode is only there for recovery tools. */
static void inode_name(struct h2_inode *ip, uint64_t ino)
{
	ip->filename[0] = '0';
	ip->filename[1] = 'x';
	h2_ino_hex(ino, ip->filename + 2);
	ip->name_len = 18;
	ip->name_key = ino;
}

static void inode_init(struct h2_vol *v, struct h2_inode *ip, uint64_t ino,
		       const struct h2_inode *like, unsigned type, const struct h2_new *how)
{
	ip->version = 1;
	ip->ctime = ip->mtime = h2_now_us(v);
	if (how->mtime)
		ip->mtime = time_to(how->mtime);
	ip->atime = ip->btime = ip->mtime;
	id_set(ip->uid, how->uid);
	id_set(ip->gid, how->gid);
	ip->type = type;
	ip->mode = how->mode & 07777;
	if (type == H2_OBJ_FILE || type == H2_OBJ_SYMLINK)
		ip->op_flags = H2_OP_DIRECTDATA;
	if (type == H2_OBJ_CDEV || type == H2_OBJ_BDEV) {
		ip->rmajor = how->rmajor;
		ip->rminor = how->rminor;
	}
	ip->inum = ino;
	ip->nlinks = type == H2_OBJ_DIR ? 2 : 1;
	ip->iparent = like->inum;
	ip->comp_algo = like->comp_algo;
	ip->check_algo = like->check_algo;
	inode_name(ip, ino);
}

static uint64_t next_ino(struct h2_pfs *p)
{
	struct h2_inode *root = h2_node_inode(p->root);

	if (root->pfs_inum + 1 < H2_INODE_FIRST)
		return H2_INODE_FIRST;
	return root->pfs_inum + 1;
}

/* Number for a new inode: the allocator's, or beyond what is there if that is taken. */
static int pick_ino(struct h2_pfs *p, uint64_t *ino, struct h2_node **table, unsigned *i)
{
	bool hit;
	int err;

	for (int tries = 0; tries < 64; tries++) {
		uint64_t n = *ino ? *ino : next_ino(p);

		if (n >= H2_SIDE_BIT && !*ino)
			return -H2_ENOSPC;
		err = h2_tree_find(p->vol, p->root, n, table, i, &hit);
		if (err)
			return err;
		if (!*ino)
			h2_node_inode(p->root)->pfs_inum = n;
		if (!hit) {
			*ino = n;
			return 0;
		}
		h2_node_put(p->vol, *table);
		if (*ino)
			return -H2_EEXIST;
		h2_node_dirty(p->vol, p->root);
	}
	return -H2_EUCLEAN;
}

int h2_inode_new(struct h2_pfs *p, uint64_t ino, struct h2_node *like, unsigned type,
		 const struct h2_new *how, struct h2_node **out)
{
	struct h2_vol *v = p->vol;
	const struct h2_inode *lp = h2_node_inode(like);
	struct h2_bref b = {0};
	struct h2_node *table;
	unsigned i;
	int err;

	err = pick_ino(p, &ino, &table, &i);
	if (err)
		return err;
	b.type = H2_BREF_INODE;
	b.methods = (lp->check_algo & 15) << 4 | (lp->comp_algo & 15);
	if (!(b.methods >> 4) || b.methods >> 4 == H2_CHECK_DISABLED)
		b.methods |= H2_CHECK_XXH64 << 4;
	b.key = ino;
	err = h2_tree_insert(v, p->root, &b, &table, &i);
	if (err)
		return err;
	err = h2_node_new(v, table, &b, sizeof(struct h2_inode), out);
	if (err) {
		h2_tree_delete(v, table, h2_table_lower(table, ino));
		return err;
	}
	h2_node_put(v, table);
	memset((*out)->buf, 0, sizeof(struct h2_inode));
	inode_init(v, h2_node_inode(*out), ino, lp, type, how);
	if (!(h2_node_inode(*out)->op_flags & H2_OP_DIRECTDATA))
		(*out)->cap = H2_SET_COUNT;
	h2_node_dirty(v, *out);
	return 0;
}

/* The inode and all below it go out of the tree; space comes back by bulkfree. */
void h2_inode_destroy(struct h2_pfs *p, struct h2_node *n)
{
	struct h2_vol *v = p->vol;
	struct h2_node *table = n->parent;
	uint64_t ino = n->key;

	h2_node_pin(v, table);
	h2_node_dirty(v, table);
	n->pins = 0;
	h2_node_drop(v, n);
	h2_tree_delete(v, table, h2_table_lower(table, ino));
	if (!(ino & H2_SIDE_BIT))
		h2_side_remove(p, ino);
}

/* ---- holds
 * --------------------------------------------------------------------------------------------
 */

struct h2_held *h2_held_find(struct h2_pfs *p, uint64_t ino)
{
	struct h2_held *h = p->held[ino % H2_HELD_BUCKETS];

	while (h && h->ino != ino)
		h = h->next;
	return h;
}

int h2_hold(struct h2_pfs *p, uint64_t ino)
{
	struct h2_held *h = h2_held_find(p, ino);
	struct h2_node *n;
	int err;

	if (h) {
		h->count++;
		return 0;
	}
	err = h2_inode_get(p, ino, &n);
	if (err)
		return err;
	h2_node_put(p->vol, n);
	h = h2_zalloc(p->vol, sizeof(*h));
	if (!h)
		return -H2_ENOMEM;
	h->ino = ino;
	h->count = 1;
	h->next = p->held[ino % H2_HELD_BUCKETS];
	p->held[ino % H2_HELD_BUCKETS] = h;
	return 0;
}

void h2_orphan_remove(struct h2_pfs *p, uint64_t ino)
{
	char name[16];
	struct h2_node *dir, *n;

	h2_ino_hex(ino, name);
	if (h2_hidden_dir(p, H2_HIDDEN_ORPHANS, &dir) == 0) {
		(void)h2_dir_del(p->vol, dir, name, sizeof(name));
		h2_node_put(p->vol, dir);
	}
	if (h2_inode_get(p, ino, &n) == 0)
		h2_inode_destroy(p, n);
}

int h2_release(struct h2_pfs *p, uint64_t ino, uint64_t count)
{
	struct h2_held **at = &p->held[ino % H2_HELD_BUCKETS], *h;
	bool orphan;

	while (*at && (*at)->ino != ino)
		at = &(*at)->next;
	h = *at;
	if (!h || count > h->count)
		return -H2_EINVAL;
	h->count -= count;
	if (h->count)
		return 0;
	orphan = h->orphan;
	*at = h->next;
	h2_free(p->vol, h, sizeof(*h));
	if (orphan && !h2_pfs_writable(p))
		h2_orphan_remove(p, ino);
	return 0;
}

/*
 * The last name is gone. An object in use gets a name in the side directory, so that a crash
 * leaves something to be found and removed at the next open.
 */
void h2_inode_unlinked(struct h2_pfs *p, struct h2_node *n)
{
	struct h2_inode *ip = h2_node_inode(n);
	struct h2_held *held = h2_held_find(p, ip->inum);
	struct h2_node *dir;
	char name[16];

	if (!held) {
		h2_inode_destroy(p, n);
		return;
	}
	held->orphan = true;
	ip->nlinks = ip->type == H2_OBJ_DIR ? 2 : 1;
	h2_node_dirty(p->vol, n);
	h2_ino_hex(ip->inum, name);
	if (h2_hidden_dir(p, H2_HIDDEN_ORPHANS, &dir) == 0) {
		(void)h2_dir_add(p->vol, dir, name, sizeof(name), ip->inum, ip->type);
		h2_node_put(p->vol, dir);
	}
	h2_node_put(p->vol, n);
}
