/* SPDX-License-Identifier: ISC */
/*
 * h2_ops: the PFSs of a volume. Each is one inode below the super-root, keyed by the hash of
 * its label, so creating, deleting, renaming, snapshotting and rolling back cost one inode and
 * the path to the header, whatever the PFS holds.
 */
#include <string.h>

#include "h2/impl.h"

#define COLLISIONS 0x7fffull
#define OP_SPACE   (256u * 1024)

/* ---- finding ---- */

static bool label_is(struct h2_node *n, const char *label)
{
	const struct h2_inode *ip = h2_node_inode(n);

	return ip->name_len == strlen(label) && !memcmp(ip->filename, label, ip->name_len);
}

/* The root inode of a PFS, pinned. */
static int find(struct h2_vol *v, const char *label, struct h2_node **out)
{
	uint64_t key = h2_name_hash(label, strlen(label)), last = key | COLLISIONS;
	struct h2_node *table;
	unsigned i;

	if (!h2_name_ok(label, strlen(label)))
		return -H2_EINVAL;
	while (key && key <= last) {
		int err = h2_tree_next(v, v->sroot, key, &table, &i);

		if (err)
			return err;
		key = h2_node_table(table)[i].key;
		if (key > last || h2_node_table(table)[i].type != H2_BREF_INODE) {
			h2_node_put(v, table);
			return -H2_ENOENT;
		}
		err = h2_node_child(v, table, i, out);
		h2_node_put(v, table);
		if (err)
			return err;
		if (label_is(*out, label))
			return (*out)->cap ? 0 : -H2_EUCLEAN;
		h2_node_put(v, *out);
		key++;
	}
	return -H2_ENOENT;
}

static struct h2_pfs *is_open(struct h2_vol *v, const struct h2_node *root)
{
	struct h2_pfs *p = v->open;

	while (p && p->root != root)
		p = p->next;
	return p;
}

static void info(struct h2_vol *v, struct h2_node *n, struct h2_pfs_info *out)
{
	const struct h2_inode *ip = h2_node_inode(n);
	const struct h2_bref *b = h2_node_bref(n);
	unsigned len = ip->name_len < 255 ? ip->name_len : 255;

	memset(out, 0, sizeof(*out));
	memcpy(out->label, ip->filename, len);
	out->type = ip->pfs_type;
	out->subtype = ip->pfs_subtype;
	out->check = ip->check_algo & 15;
	out->comp = ip->comp_algo & 15;
	memcpy(out->fsid, ip->pfs_fsid, 16);
	memcpy(out->clid, ip->pfs_clid, 16);
	out->mirror_tid = b->mirror_tid;
	out->created_us = ip->btime;
	out->data_bytes = b->embed.stats.data_count;
	out->inodes = b->embed.stats.inode_count;
	out->root_check_method = b->methods >> 4;
	memcpy(out->root_check, b->check.raw, 24);
	out->open = is_open(v, n);
}

int h2_pfs_next(struct h2_vol *v, uint64_t *cursor, struct h2_pfs_info *out)
{
	struct h2_node *table, *n;
	unsigned i;
	int err;

	do {
		if (*cursor == ~0ull)
			return -H2_ENOENT;
		err = h2_tree_next(v, v->sroot, *cursor, &table, &i);
		if (err)
			return err;
		*cursor = h2_node_table(table)[i].key + 1;
		n = NULL;
		if (h2_node_table(table)[i].type == H2_BREF_INODE)
			err = h2_node_child(v, table, i, &n);
		h2_node_put(v, table);
	} while (!err && !n);
	if (err)
		return err;
	info(v, n, out);
	h2_node_put(v, n);
	return 0;
}

int h2_pfs_stat(struct h2_vol *v, const char *label, struct h2_pfs_info *out)
{
	struct h2_node *n;
	int err = find(v, label, &n);

	if (err)
		return err;
	info(v, n, out);
	h2_node_put(v, n);
	return 0;
}

/* ---- inserting and removing ---- */

static int not_there(struct h2_vol *v, const char *label)
{
	struct h2_node *n;
	int err = find(v, label, &n);

	if (err)
		return err == -H2_ENOENT ? 0 : err;
	h2_node_put(v, n);
	return -H2_EEXIST;
}

/* A PFS inode with label and UUIDs set, everything else 0; pinned. */
static int insert(struct h2_vol *v, const char *label, uint8_t methods, struct h2_node **out)
{
	struct h2_bref b = {
	    .type = H2_BREF_INODE, .flags = H2_BREF_PFSROOT, .methods = methods};
	size_t len = strlen(label);
	uint8_t ids[2][16];
	struct h2_inode *ip;
	struct h2_node *table;
	unsigned i;
	bool hit = true;
	int err = not_there(v, label);

	if (!err)
		err = h2_uuid(v, ids[0]);
	if (!err)
		err = h2_uuid(v, ids[1]);
	for (b.key = h2_name_hash(label, len); !err; b.key++) {
		err = h2_tree_find(v, v->sroot, b.key, &table, &i, &hit);
		if (!err && !hit)
			break;
		if (!err)
			h2_node_put(v, table);
		if (!err && (b.key & COLLISIONS) == COLLISIONS)
			err = -H2_ENOSPC;
	}
	if (!err)
		err = h2_tree_insert(v, v->sroot, &b, &table, &i);
	if (err)
		return err;
	err = h2_node_new(v, table, &b, sizeof(*ip), out);
	if (err) {
		h2_tree_delete(v, table, h2_table_lower(table, b.key));
		return err;
	}
	h2_node_put(v, table);
	ip = h2_node_inode(*out);
	memset(ip, 0, sizeof(*ip));
	ip->name_key = b.key;
	ip->name_len = len;
	memcpy(ip->filename, label, len);
	memcpy(ip->pfs_clid, ids[0], 16);
	memcpy(ip->pfs_fsid, ids[1], 16);
	(*out)->cap = H2_SET_COUNT;
	h2_node_dirty(v, *out);
	return 0;
}

/* Consumes the pin. */
static void remove_root(struct h2_vol *v, struct h2_node *n)
{
	struct h2_node *table = n->parent;
	uint64_t key = n->key;

	h2_node_pin(v, table);
	n->pins = 0;
	h2_node_drop(v, n);
	h2_tree_delete(v, table, h2_table_lower(table, key));
}

static int begin(struct h2_vol *v)
{
	int err = h2_writable(v);

	return err ? err : h2_space(v, OP_SPACE, true);
}

int h2_pfs_create(struct h2_vol *v, const char *label, const struct h2_pfs_opts *o)
{
	const struct h2_inode *sup = h2_node_inode(v->sroot);
	uint8_t check = o->check ? o->check : sup->check_algo & 15;
	struct h2_inode *ip;
	struct h2_node *n;
	int err = begin(v);

	if (err)
		return err;
	if (check == H2_CHECK_DISABLED || check > H2_CHECK_SHA192 || o->comp > H2_COMP_ZLIB ||
	    o->comp_level > 9)
		return -H2_EINVAL;
	err = insert(v, label, check << 4 | o->comp, &n);
	if (err)
		return err;
	ip = h2_node_inode(n);
	ip->version = 1;
	ip->ctime = ip->mtime = ip->atime = ip->btime = h2_now_us(v);
	ip->type = H2_OBJ_DIR;
	ip->op_flags = H2_OP_PFSROOT;
	ip->mode = o->mode ? o->mode & 07777 : 0755;
	ip->inum = H2_ROOT_INO;
	ip->nlinks = 1;
	ip->comp_algo = o->comp_level << 4 | o->comp;
	ip->check_algo = check;
	ip->pfs_type = H2_PFS_MASTER;
	ip->pfs_inum = 16;
	h2_node_put(v, n);
	return 0;
}

int h2_pfs_delete(struct h2_vol *v, const char *label)
{
	struct h2_node *n;
	int err = h2_writable(v);

	if (!err)
		err = h2_space(v, 0, true);
	if (!err)
		err = find(v, label, &n);
	if (err)
		return err;
	if (is_open(v, n)) {
		h2_node_put(v, n);
		return -H2_EBUSY;
	}
	remove_root(v, n);
	return 0;
}

static void copy_contents(struct h2_node *to, const struct h2_inode *from, unsigned live)
{
	struct h2_inode *ip = h2_node_inode(to);

	memcpy(ip->u.set, from->u.set, sizeof(ip->u.set));
	to->live = live;
	ip->version = 1;
	ip->uflags = from->uflags;
	ip->ctime = from->ctime;
	ip->mtime = from->mtime;
	ip->atime = from->atime;
	memcpy(ip->uid, from->uid, 16);
	memcpy(ip->gid, from->gid, 16);
	ip->type = from->type;
	ip->op_flags = from->op_flags;
	ip->mode = from->mode;
	ip->inum = from->inum;
	ip->size = from->size;
	ip->nlinks = from->nlinks;
	ip->comp_algo = from->comp_algo;
	ip->check_algo = from->check_algo;
	ip->pfs_type = H2_PFS_MASTER;
}

static int move_root(struct h2_vol *v, struct h2_node *n, const char *to)
{
	struct h2_inode keep = *h2_node_inode(n), *ip;
	struct h2_node *moved;
	int err = insert(v, to, h2_node_bref(n)->methods, &moved);

	if (err)
		return err;
	ip = h2_node_inode(moved);
	keep.name_key = ip->name_key;
	keep.name_len = ip->name_len;
	memcpy(keep.filename, ip->filename, sizeof(keep.filename));
	*ip = keep;
	moved->live = n->live;
	while (n->kids)
		h2_node_rekey(v, n->kids, moved, n->kids->key, n->kids->keybits);
	h2_node_put(v, moved);
	return 0;
}

int h2_pfs_rename(struct h2_vol *v, const char *from, const char *to, bool replace)
{
	struct h2_node *n, *old;
	int err = begin(v);

	if (!err)
		err = find(v, from, &n);
	if (err)
		return err;
	if (label_is(n, to) || is_open(v, n)) {
		err = label_is(n, to) ? 0 : -H2_EBUSY;
		h2_node_put(v, n);
		return err;
	}
	err = find(v, to, &old);
	if (!err) {
		err = !replace ? -H2_EEXIST : is_open(v, old) ? -H2_EBUSY : 0;
		if (err)
			h2_node_put(v, old);
		else
			remove_root(v, old);
	} else if (err == -H2_ENOENT) {
		err = 0;
	}
	if (!err)
		err = move_root(v, n, to);
	if (err)
		h2_node_put(v, n);
	else
		remove_root(v, n);
	return err;
}

int h2_pfs_snapshot(struct h2_vol *v, const char *source, const char *label)
{
	struct h2_inode *sp, *ip;
	struct h2_node *s, *n;
	int err = begin(v);

	if (!err && !h2_name_ok(label, strlen(label)))
		err = -H2_EINVAL;
	if (!err)
		err = not_there(v, label);
	if (!err)
		err = h2_commit(v, false);
	if (!err)
		err = find(v, source, &s);
	if (err)
		return err;
	err = insert(v, label, h2_node_bref(s)->methods, &n);
	if (!err) {
		sp = h2_node_inode(s);
		ip = h2_node_inode(n);
		copy_contents(n, sp, s->live);
		ip->btime = h2_now_us(v);
		ip->pfs_subtype = H2_PFS_SUB_SNAPSHOT;
		ip->pfs_inum = sp->pfs_inum + 1;
		ip->pfs_lsnap_tid = sp->pfs_lsnap_tid = v->tid;
		h2_node_dirty(v, s);
		h2_node_put(v, n);
	}
	h2_node_put(v, s);
	return err;
}

int h2_pfs_rollback(struct h2_vol *v, const char *label, const char *snapshot)
{
	struct h2_node *s, *n;
	int err = begin(v);

	if (!err)
		err = h2_commit(v, false);
	if (!err)
		err = find(v, label, &n);
	if (err)
		return err;
	err = is_open(v, n) ? -H2_EBUSY : find(v, snapshot, &s);
	if (!err && s == n) {
		h2_node_put(v, s);
	} else if (!err) {
		const struct h2_inode *sp = h2_node_inode(s);
		while (n->kids)
			h2_node_drop(v, n->kids);
		copy_contents(n, sp, s->live);
		h2_node_inode(n)->pfs_inum = sp->pfs_inum + 1;
		h2_node_inode(n)->pfs_lsnap_tid = v->tid;
		h2_node_inode(s)->pfs_lsnap_tid = v->tid;
		h2_node_dirty(v, n);
		h2_node_dirty(v, s);
		h2_node_put(v, s);
	}
	h2_node_put(v, n);
	return err;
}

/* ---- handles ---- */

static void pfs_free(struct h2_pfs *p)
{
	for (int i = 0; i < H2_HELD_BUCKETS; i++)
		while (p->held[i]) {
			struct h2_held *h = p->held[i];
			p->held[i] = h->next;
			h2_free(p->vol, h, sizeof(*h));
		}
	h2_node_put(p->vol, p->root);
	h2_free(p->vol, p, sizeof(*p));
}

int h2_pfs_open(struct h2_vol *v, const char *label, unsigned flags, struct h2_pfs **out)
{
	struct h2_node *n;
	struct h2_pfs *p;
	int err = find(v, label, &n);

	if (err)
		return err;
	p = is_open(v, n);
	if (p) {
		h2_node_put(v, n);
		p->opens++;
		*out = p;
		return 0;
	}
	p = h2_node_inode(n)->type == H2_OBJ_DIR ? h2_zalloc(v, sizeof(*p)) : NULL;
	if (!p) {
		err = h2_node_inode(n)->type == H2_OBJ_DIR ? -H2_ENOMEM : -H2_EUCLEAN;
		h2_node_put(v, n);
		return err;
	}
	p->vol = v;
	p->root = n;
	p->opens = 1;
	p->flags = flags;
	strcpy(p->label, label);
	err = h2_side_open(p);
	if (err) {
		pfs_free(p);
		return err;
	}
	p->next = v->open;
	v->open = p;
	*out = p;
	return 0;
}

static void remove_held_orphans(struct h2_pfs *p)
{
	if (h2_pfs_writable(p))
		return;
	for (int i = 0; i < H2_HELD_BUCKETS; i++)
		for (struct h2_held *h = p->held[i]; h; h = h->next)
			if (h->orphan)
				h2_orphan_remove(p, h->ino);
}

void h2_pfs_close(struct h2_pfs *p)
{
	struct h2_pfs **at = &p->vol->open;

	if (--p->opens)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	remove_held_orphans(p);
	pfs_free(p);
}

void h2_pfs_drop_all(struct h2_vol *v)
{
	while (v->open) {
		struct h2_pfs *p = v->open;
		v->open = p->next;
		pfs_free(p);
	}
}

struct h2_vol *h2_pfs_vol(const struct h2_pfs *p)
{
	return p->vol;
}

int h2_statfs(struct h2_pfs *p, struct h2_statfs *out)
{
	struct h2_vol *v = p->vol;
	unsigned leaves;
	uint64_t usable = h2_fm_usable(v), data, used = v->dirty_used, keep = used + v->reserve;

	memset(out, 0, sizeof(*out));
	out->block_size = H2_CELL_SIZE;
	out->blocks = v->hdr->allocator_size / H2_CELL_SIZE;
	out->free = (usable > used ? usable - used : 0) / H2_CELL_SIZE;
	out->avail = (usable > keep ? usable - keep : 0) / H2_CELL_SIZE;
	out->name_max = H2_NAME_MAX;
	h2_table_stats(h2_node_table(p->root), p->root->live, &data, &out->files, &leaves);
	return 0;
}
