/* SPDX-License-Identifier: ISC */
/* rename() with all its cases. */
#include <string.h>

#include "h2/impl.h"

struct side {
	struct h2_node *dir;
	const char *name;
	size_t len;
	uint64_t ino; /* 0 = no such entry */
	unsigned type;
};

struct job {
	struct h2_pfs *p;
	struct side from, to;
};

static int side_find(struct h2_pfs *p, struct side *s)
{
	int err = h2_dir_find(p->vol, s->dir, s->name, s->len, NULL, NULL, &s->ino, &s->type);

	if (err)
		s->ino = 0;
	return err;
}

/* Is `ino` an ancestor of `dir` (or itself)? */
static int is_above(struct h2_pfs *p, uint64_t ino, struct h2_node *dir)
{
	uint64_t at = h2_node_inode(dir)->inum, up;

	for (int depth = 0; depth < 100000; depth++) {
		if (at == ino)
			return 1;
		if (at == H2_ROOT_INO)
			return 0;
		int err = h2_parent(p, at, &up);
		if (err)
			return err;
		at = up;
	}
	return -H2_EIO;
}

/* Entry `s` refers to another object from now on; nothing is allocated. */
static int repoint(struct h2_pfs *p, struct side *s, uint64_t ino, unsigned type)
{
	struct h2_node *table;
	struct h2_bref *b;
	unsigned i, old;
	uint64_t was;
	int err = h2_dir_find(p->vol, s->dir, s->name, s->len, &table, &i, &was, &old);

	if (err)
		return err;
	b = &h2_node_table(table)[i];
	b->embed.dirent.inum = ino;
	b->embed.dirent.type = type;
	b->mirror_tid = b->modify_tid = p->vol->tid;
	h2_node_dirty(p->vol, table);
	h2_node_put(p->vol, table);
	return 0;
}

/* The object now lives in `dir`. */
static void adopt(struct h2_pfs *p, uint64_t ino, struct h2_node *dir)
{
	struct h2_node *n;

	if (h2_inode_get(p, ino, &n))
		return;
	h2_node_inode(n)->iparent = h2_node_inode(dir)->inum;
	h2_touch(p->vol, n, false);
	h2_node_put(p->vol, n);
}

static void links(struct h2_node *dir, int by)
{
	if (by && h2_node_inode(dir)->nlinks != 1)
		h2_node_inode(dir)->nlinks += by;
}

static int exchange(struct job *j)
{
	bool fd = j->from.type == H2_OBJ_DIR, td = j->to.type == H2_OBJ_DIR;
	int err = repoint(j->p, &j->from, j->to.ino, j->to.type);

	if (!err)
		err = repoint(j->p, &j->to, j->from.ino, j->from.type);
	if (err)
		return err;
	adopt(j->p, j->from.ino, j->to.dir);
	adopt(j->p, j->to.ino, j->from.dir);
	links(j->from.dir, td - fd);
	links(j->to.dir, fd - td);
	return 0;
}

/* What was at the target loses a name. */
static int replace(struct job *j)
{
	struct h2_vol *v = j->p->vol;
	struct h2_node *n;
	int err = h2_inode_get(j->p, j->to.ino, &n);

	if (err)
		return err;
	if (j->to.type == H2_OBJ_DIR && !h2_dir_empty(v, n, &err) && !err)
		err = -H2_ENOTEMPTY;
	if (!err)
		err = repoint(j->p, &j->to, j->from.ino, j->from.type);
	if (err) {
		h2_node_put(v, n);
		return err;
	}
	if (j->to.type == H2_OBJ_DIR || h2_node_inode(n)->nlinks <= 1) {
		if (j->to.type == H2_OBJ_DIR)
			links(j->to.dir, -1);
		h2_inode_unlinked(j->p, n);
	} else {
		h2_node_inode(n)->nlinks--;
		h2_touch(v, n, false);
		h2_node_put(v, n);
	}
	return 0;
}

static int move(struct job *j)
{
	bool dir = j->from.type == H2_OBJ_DIR;
	int err;

	if (j->to.ino)
		err = replace(j);
	else
		err = h2_dir_add(j->p->vol, j->to.dir, j->to.name, j->to.len, j->from.ino,
				 j->from.type);
	if (!err)
		err = h2_dir_del(j->p->vol, j->from.dir, j->from.name, j->from.len);
	if (err)
		return err;
	adopt(j->p, j->from.ino, j->to.dir);
	links(j->from.dir, -dir);
	links(j->to.dir, dir);
	return 0;
}

static int type_conflict(const struct job *j)
{
	if (!j->to.ino)
		return 0;
	if (j->from.type == H2_OBJ_DIR && j->to.type != H2_OBJ_DIR)
		return -H2_ENOTDIR;
	if (j->from.type != H2_OBJ_DIR && j->to.type == H2_OBJ_DIR)
		return -H2_EISDIR;
	return 0;
}

static int loops(struct job *j, unsigned flags)
{
	int in = 0;

	if (j->from.type == H2_OBJ_DIR)
		in = is_above(j->p, j->from.ino, j->to.dir);
	if (in == 0 && flags & H2_RENAME_EXCHANGE && j->to.type == H2_OBJ_DIR)
		in = is_above(j->p, j->to.ino, j->from.dir);
	return in > 0 ? -H2_EINVAL : in;
}

static int run(struct job *j, unsigned flags)
{
	struct h2_held *held = h2_held_find(j->p, h2_node_inode(j->to.dir)->inum);
	int err = side_find(j->p, &j->from);

	if (err)
		return err;
	err = side_find(j->p, &j->to);
	if (err && (err != -H2_ENOENT || flags & H2_RENAME_EXCHANGE))
		return err;
	if (held && held->orphan)
		return -H2_ENOENT;
	if (j->to.ino && flags & H2_RENAME_NOREPLACE)
		return -H2_EEXIST;
	err = loops(j, flags);
	if (err)
		return err;
	if (j->from.ino == j->to.ino)
		return 0; /* POSIX: two names of one object stay as they are */
	if (flags & H2_RENAME_EXCHANGE) {
		err = exchange(j);
	} else {
		err = type_conflict(j);
		if (!err)
			err = move(j);
	}
	if (!err) {
		h2_touch(j->p->vol, j->from.dir, true);
		h2_touch(j->p->vol, j->to.dir, true);
	}
	return err;
}

int h2_rename(struct h2_pfs *p, uint64_t from_dir, const char *from, size_t from_len,
	      uint64_t to_dir, const char *to, size_t to_len, unsigned flags)
{
	struct job j = {
	    .p = p, .from = {.name = from, .len = from_len}, .to = {.name = to, .len = to_len}};
	int err = h2_pfs_writable(p);

	if (err)
		return err;
	if (flags & ~(H2_RENAME_NOREPLACE | H2_RENAME_EXCHANGE) || flags == 3)
		return -H2_EINVAL;
	if (from_len > H2_NAME_MAX || to_len > H2_NAME_MAX)
		return -H2_ENAMETOOLONG;
	if (!h2_name_ok(from, from_len) || !h2_name_ok(to, to_len))
		return -H2_EBUSY; /* "." and "..", as Linux answers */
	if (h2_side_hidden(p, from_dir, from, from_len))
		return -H2_ENOENT;
	if (h2_side_hidden(p, to_dir, to, to_len))
		return -H2_EPERM;
	err = h2_space(p->vol, 256 * 1024, true);
	if (!err)
		err = h2_inode_get(p, from_dir, &j.from.dir);
	if (err)
		return err;
	err = h2_inode_get(p, to_dir, &j.to.dir);
	if (!err) {
		if (h2_node_inode(j.from.dir)->type != H2_OBJ_DIR ||
		    h2_node_inode(j.to.dir)->type != H2_OBJ_DIR)
			err = -H2_ENOTDIR;
		else
			err = run(&j, flags);
		h2_node_put(p->vol, j.to.dir);
	}
	h2_node_put(p->vol, j.from.dir);
	return err;
}
