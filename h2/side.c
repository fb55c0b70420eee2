/* SPDX-License-Identifier: ISC */
/*
 * What the format lacks, kept beside it (docs/store.md): extended attributes and nanoseconds.
 *
 * The attributes of inode N are the content of an ordinary file with inode number N + 2^62,
 * found without a directory lookup; so that every other HAMMER2 tool sees a consistent volume
 * it has a name, 16 hex digits of N, in the directory ".d0-side" of the PFS root. A second
 * directory, ".d0-orphans", names what is open and has no other name. Both are made when first
 * needed and hidden from users of the PFS.
 *
 * Content: "D0SIDE01", then records {u8 kind, u8 name length, u16 0, u32 value length, name,
 * value}. Kind 1 is an extended attribute. Kinds 2-5 refine atime, mtime, ctime, btime: u64
 * microseconds as in the inode, u32 nanoseconds beyond them; a record whose microseconds are
 * not the inode's is out of date and ignored.
 */
#include <string.h>

#include "h2/impl.h"

#define MAGIC     "D0SIDE01"
#define MAGIC_LEN 8u
#define SIDE_MAX  (H2_XATTR_MAX + 256u)

enum {
	KIND_XATTR = 1,
	KIND_ATIME,
	KIND_MTIME,
	KIND_CTIME,
	KIND_BTIME
};

static const char *const hidden_name[H2_HIDDEN_COUNT] = {".d0-side", ".d0-orphans"};

struct record {
	uint8_t kind;
	uint8_t name_len;
	uint16_t zero;
	uint32_t value_len;
};
_Static_assert(sizeof(struct record) == 8, "record head of a side file");

struct stamp {
	uint64_t us;
	uint32_t ns;
} __attribute__((packed));
_Static_assert(sizeof(struct stamp) == 12, "time record of a side file");

/* One side file in memory. */
struct side {
	struct h2_pfs *p;
	uint64_t ino; /* of the object */
	uint8_t *buf;
	uint32_t len;
};

/* ---- the hidden directories ---- */

bool h2_side_hidden(const struct h2_pfs *p, uint64_t dir, const char *name, size_t len)
{
	if (dir != H2_ROOT_INO || p->flags & H2_PFS_RAW)
		return false;
	for (int i = 0; i < H2_HIDDEN_COUNT; i++)
		if (len == strlen(hidden_name[i]) && !memcmp(name, hidden_name[i], len))
			return true;
	return false;
}

int h2_hidden_dir(struct h2_pfs *p, enum h2_hidden which, struct h2_node **out)
{
	const char *name = hidden_name[which];
	struct h2_new how = {.mode = 0700};
	int err;

	if (p->hidden[which])
		return h2_inode_get(p, p->hidden[which], out);
	err = h2_inode_new(p, 0, p->root, H2_OBJ_DIR, &how, out);
	if (err)
		return err;
	err = h2_dir_add(p->vol, p->root, name, strlen(name), h2_node_inode(*out)->inum,
			 H2_OBJ_DIR);
	if (err)
		h2_inode_destroy(p, *out);
	else
		p->hidden[which] = h2_node_inode(*out)->inum;
	return err;
}

static void remove_orphans(struct h2_pfs *p)
{
	struct h2_vol *v = p->vol;
	struct h2_node *dir, *table;
	unsigned i;

	if (!p->hidden[H2_HIDDEN_ORPHANS] || h2_pfs_writable(p))
		return;
	for (;;) {
		uint64_t ino;
		if (h2_inode_get(p, p->hidden[H2_HIDDEN_ORPHANS], &dir))
			return;
		if (h2_tree_next(v, dir, 1ull << 63, &table, &i)) {
			h2_node_put(v, dir);
			return;
		}
		ino = h2_node_table(table)[i].embed.dirent.inum;
		h2_tree_delete(v, table, i);
		h2_node_put(v, dir);
		if (ino != H2_ROOT_INO)
			h2_orphan_remove(p, ino);
	}
}

int h2_side_open(struct h2_pfs *p)
{
	for (int i = 0; i < H2_HIDDEN_COUNT; i++) {
		uint64_t ino;
		unsigned type;
		int err = h2_dir_find(p->vol, p->root, hidden_name[i], strlen(hidden_name[i]),
				      NULL, NULL, &ino, &type);
		if (err && err != -H2_ENOENT)
			return err;
		if (!err && type == H2_OBJ_DIR)
			p->hidden[i] = ino;
	}
	remove_orphans(p);
	return 0;
}

/* ---- side files ---- */

/* Is there one? Pinned. */
static int side_node(struct h2_pfs *p, uint64_t ino, struct h2_node **out)
{
	if (!p->hidden[H2_HIDDEN_SIDE] || ino >= H2_SIDE_BIT)
		return -H2_ENOENT;
	return h2_inode_get(p, ino | H2_SIDE_BIT, out);
}

/* Every record lies inside, or the file is damaged. */
static bool valid(const struct side *s)
{
	uint32_t at = MAGIC_LEN;
	struct record r;

	if (s->len < MAGIC_LEN || memcmp(s->buf, MAGIC, MAGIC_LEN))
		return false;
	while (at < s->len) {
		if (s->len - at < sizeof(r))
			return false;
		memcpy(&r, s->buf + at, sizeof(r));
		at += sizeof(r);
		if (r.name_len > s->len - at || r.value_len > s->len - at - r.name_len)
			return false;
		at += r.name_len + r.value_len;
	}
	return true;
}

/* s->len is 0 when the object has no side file. */
static int side_load(struct h2_pfs *p, uint64_t ino, struct side *s)
{
	struct h2_node *n;
	long got;
	int err = side_node(p, ino, &n);

	s->p = p;
	s->ino = ino;
	s->len = 0;
	s->buf = NULL;
	if (err && err != -H2_ENOENT)
		return err;
	s->buf = h2_alloc(p->vol, SIDE_MAX);
	if (!s->buf) {
		if (!err)
			h2_node_put(p->vol, n);
		return -H2_ENOMEM;
	}
	if (err)
		return 0;
	got = h2_node_read(p->vol, n, 0, s->buf, SIDE_MAX);
	h2_node_put(p->vol, n);
	if (got >= 0)
		s->len = got;
	if (got < 0 || !valid(s)) {
		h2_free(p->vol, s->buf, SIDE_MAX);
		s->buf = NULL;
		return got < 0 ? (int)got : -H2_EIO;
	}
	return 0;
}

static void side_free(struct side *s)
{
	h2_free(s->p->vol, s->buf, SIDE_MAX);
}

/* Step through the records: *at begins at 0. False at the end. */
static bool side_next(const struct side *s, uint32_t *at, struct record *r, const char **name,
		      uint8_t **value)
{
	if (*at == 0)
		*at = MAGIC_LEN;
	if (*at >= s->len)
		return false;
	memcpy(r, s->buf + *at, sizeof(*r));
	*name = (const char *)s->buf + *at + sizeof(*r);
	*value = s->buf + *at + sizeof(*r) + r->name_len;
	*at += sizeof(*r) + r->name_len + r->value_len;
	return true;
}

static bool side_find(const struct side *s, uint8_t kind, const char *want, size_t want_len,
		      struct record *r, uint8_t **value)
{
	const char *name;
	uint32_t at = 0;

	while (side_next(s, &at, r, &name, value))
		if (r->kind == kind && r->name_len == want_len && !memcmp(name, want, want_len))
			return true;
	return false;
}

static bool side_cut(struct side *s, uint8_t kind, const char *name, size_t name_len)
{
	struct record r;
	uint8_t *value, *start, *end;

	if (!side_find(s, kind, name, name_len, &r, &value))
		return false;
	start = value - r.name_len - sizeof(r);
	end = value + r.value_len;
	memmove(start, end, s->buf + s->len - end);
	s->len -= end - start;
	return true;
}

static int side_put(struct side *s, uint8_t kind, const char *name, size_t name_len,
		    const void *value, size_t len)
{
	struct record r = {.kind = kind, .name_len = name_len, .value_len = len};

	if (!s->len) {
		memcpy(s->buf, MAGIC, MAGIC_LEN);
		s->len = MAGIC_LEN;
	}
	if (len > SIDE_MAX || sizeof(r) + name_len + len > SIDE_MAX - s->len)
		return -H2_ENOSPC;
	memcpy(s->buf + s->len, &r, sizeof(r));
	memcpy(s->buf + s->len + sizeof(r), name, name_len);
	if (len)
		memcpy(s->buf + s->len + sizeof(r) + name_len, value, len);
	s->len += sizeof(r) + name_len + len;
	return 0;
}

void h2_side_remove(struct h2_pfs *p, uint64_t ino)
{
	struct h2_node *n, *dir;
	char name[16];

	if (side_node(p, ino, &n))
		return;
	h2_inode_destroy(p, n);
	h2_ino_hex(ino, name);
	if (h2_hidden_dir(p, H2_HIDDEN_SIDE, &dir) == 0) {
		(void)h2_dir_del(p->vol, dir, name, sizeof(name));
		h2_node_put(p->vol, dir);
	}
}

static int side_make(struct h2_pfs *p, uint64_t ino, struct h2_node **out)
{
	struct h2_new how = {.mode = 0600};
	struct h2_node *dir;
	char name[16];
	int err = h2_hidden_dir(p, H2_HIDDEN_SIDE, &dir);

	if (err)
		return err;
	err = h2_inode_new(p, ino | H2_SIDE_BIT, dir, H2_OBJ_FILE, &how, out);
	if (!err) {
		h2_ino_hex(ino, name);
		err =
		    h2_dir_add(p->vol, dir, name, sizeof(name), ino | H2_SIDE_BIT, H2_OBJ_FILE);
		if (err)
			h2_inode_destroy(p, *out);
	}
	h2_node_put(p->vol, dir);
	return err;
}

static int side_store(struct side *s)
{
	struct h2_vol *v = s->p->vol;
	struct h2_node *n;
	long put;
	int err;

	if (s->len <= MAGIC_LEN) {
		h2_side_remove(s->p, s->ino);
		return 0;
	}
	err = side_node(s->p, s->ino, &n);
	if (err == -H2_ENOENT)
		err = side_make(s->p, s->ino, &n);
	if (err)
		return err;
	if (h2_node_inode(n)->size > s->len)
		err = h2_file_cut(v, n, s->len);
	put = err ? err : h2_node_writes(v, n, 0, s->buf, s->len);
	h2_node_put(v, n);
	if (put < 0)
		return (int)put;
	return put == (long)s->len ? 0 : -H2_ENOSPC;
}

/* ---- nanoseconds ---- */

static void refine(const struct side *s, uint8_t kind, uint64_t us, struct h2_time *t)
{
	struct record r;
	struct stamp st;
	uint8_t *value;

	if (!side_find(s, kind, "", 0, &r, &value) || r.value_len != sizeof(st))
		return;
	memcpy(&st, value, sizeof(st));
	if (st.us == us && st.ns < 1000)
		t->nsec += st.ns;
}

void h2_side_times(struct h2_pfs *p, struct h2_node *n, struct h2_attr *out)
{
	const struct h2_inode *ip = h2_node_inode(n);
	struct h2_node *side;
	struct side s;

	if (side_node(p, ip->inum, &side))
		return;
	h2_node_put(p->vol, side);
	if (side_load(p, ip->inum, &s))
		return;
	refine(&s, KIND_ATIME, ip->atime, &out->atime);
	refine(&s, KIND_MTIME, ip->mtime, &out->mtime);
	refine(&s, KIND_CTIME, ip->ctime, &out->ctime);
	refine(&s, KIND_BTIME, ip->btime, &out->btime);
	side_free(&s);
}

static int put_time(struct side *s, uint8_t kind, uint64_t us, const struct h2_time *t,
		    bool *changed)
{
	struct stamp st = {.us = us, .ns = t->nsec % 1000};

	*changed |= side_cut(s, kind, "", 0);
	if (!st.ns)
		return 0;
	*changed = true;
	return side_put(s, kind, "", 0, &st, sizeof(st));
}

int h2_side_set_times(struct h2_pfs *p, struct h2_node *n, unsigned set,
		      const struct h2_attr *in)
{
	const struct h2_inode *ip = h2_node_inode(n);
	const struct {
		unsigned bit;
		uint8_t kind;
		uint64_t us;
		const struct h2_time *t;
	} part[] = {
	    {H2_SET_ATIME, KIND_ATIME, ip->atime, &in->atime},
	    {H2_SET_MTIME, KIND_MTIME, ip->mtime, &in->mtime},
	    {H2_SET_CTIME, KIND_CTIME, ip->ctime, &in->ctime},
	    {H2_SET_BTIME, KIND_BTIME, ip->btime, &in->btime},
	};
	struct h2_node *node;
	bool wanted = false, changed = false;
	struct side s;
	int err;

	for (int i = 0; i < 4; i++)
		wanted |= set & part[i].bit && part[i].t->nsec % 1000;
	if (!wanted) {
		err = side_node(p, ip->inum, &node);
		if (err)
			return err == -H2_ENOENT ? 0 : err;
		h2_node_put(p->vol, node);
	}
	err = side_load(p, ip->inum, &s);
	for (int i = 0; i < 4 && !err; i++)
		if (set & part[i].bit)
			err = put_time(&s, part[i].kind, part[i].us, part[i].t, &changed);
	if (!err && changed)
		err = side_store(&s);
	if (s.buf)
		side_free(&s);
	return err;
}

/* ---- extended attributes ---- */

static int object_exists(struct h2_pfs *p, uint64_t ino)
{
	struct h2_node *n;
	int err = h2_inode_get(p, ino, &n);

	if (!err)
		h2_node_put(p->vol, n);
	return err;
}

long h2_getxattr(struct h2_pfs *p, uint64_t ino, const char *name, void *buf, size_t max)
{
	struct record r;
	struct side s;
	uint8_t *value;
	long len = object_exists(p, ino);

	if (len)
		return len;
	if (!p->hidden[H2_HIDDEN_SIDE])
		return -H2_ENODATA;
	len = side_load(p, ino, &s);
	if (len)
		return len;
	len = -H2_ENODATA;
	if (side_find(&s, KIND_XATTR, name, strlen(name), &r, &value)) {
		len = r.value_len;
		if (max && r.value_len > max)
			len = -H2_ERANGE;
		else if (max)
			memcpy(buf, value, r.value_len);
	}
	side_free(&s);
	return len;
}

long h2_listxattr(struct h2_pfs *p, uint64_t ino, char *buf, size_t max)
{
	const char *name;
	struct record r;
	struct side s;
	uint8_t *value;
	uint32_t at = 0;
	long len = object_exists(p, ino);

	if (len || !p->hidden[H2_HIDDEN_SIDE])
		return len;
	len = side_load(p, ino, &s);
	if (len)
		return len;
	while (len >= 0 && side_next(&s, &at, &r, &name, &value)) {
		if (r.kind != KIND_XATTR)
			continue;
		if (max && r.name_len + 1u > max - len) {
			len = -H2_ERANGE;
			break;
		}
		if (max) {
			memcpy(buf + len, name, r.name_len);
			buf[len + r.name_len] = 0;
		}
		len += r.name_len + 1;
	}
	side_free(&s);
	return len;
}

static int change_xattr(struct h2_pfs *p, uint64_t ino, const char *name, size_t name_len,
			const void *value, size_t len, unsigned flags)
{
	struct side s;
	struct h2_node *n;
	bool had;
	int err = side_load(p, ino, &s);

	if (err)
		return err;
	had = side_cut(&s, KIND_XATTR, name, name_len);
	if (had && flags & H2_XATTR_CREATE)
		err = -H2_EEXIST;
	else if (!had && (flags & H2_XATTR_REPLACE || !value))
		err = -H2_ENODATA;
	else if (value)
		err = side_put(&s, KIND_XATTR, name, name_len, value, len);
	if (!err)
		err = side_store(&s);
	side_free(&s);
	if (!err && h2_inode_get(p, ino, &n) == 0) {
		h2_touch(p->vol, n, false);
		h2_node_put(p->vol, n);
	}
	return err;
}

int h2_setxattr(struct h2_pfs *p, uint64_t ino, const char *name, const void *value, size_t len,
		unsigned flags)
{
	size_t name_len = strlen(name);
	int err = h2_pfs_writable(p);

	if (err)
		return err;
	if (!name_len || name_len > H2_NAME_MAX || len > H2_XATTR_MAX || flags > 2)
		return name_len > H2_NAME_MAX || len > H2_XATTR_MAX ? -H2_ERANGE : -H2_EINVAL;
	err = h2_space(p->vol, 512 * 1024, false);
	if (!err)
		err = object_exists(p, ino);
	return err ? err : change_xattr(p, ino, name, name_len, value ? value : "", len, flags);
}

int h2_removexattr(struct h2_pfs *p, uint64_t ino, const char *name)
{
	int err = h2_pfs_writable(p);

	if (!err)
		err = h2_space(p->vol, 512 * 1024, true);
	if (!err)
		err = object_exists(p, ino);
	return err ? err : change_xattr(p, ino, name, strlen(name), NULL, 0, 0);
}
