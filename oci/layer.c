/* SPDX-License-Identifier: ISC */
/*
 * A layer's tar, applied to a PFS that is a snapshot of the layers below.
 *
 * Confinement. Every path is walked from the PFS's root by inode number, component by
 * component; a symbolic link in the middle is followed inside the PFS as a chroot would;
 * ".." in a member's name is refused. The last component is never followed. Nothing here
 * can name an object outside of the PFS.
 *
 * Whiteouts (OCI image-spec, layer.md): ".wh.NAME" removes NAME of the layers below,
 * ".wh..wh..opq" everything of the layers below in its directory. What this very layer made
 * stays: `made` remembers its inodes.
 *
 * Recipe. The layer's digest is that of its tar, byte by byte, which can't be made again from
 * a tree (order, padding, header styles). So all bytes that are not the content of a file
 * are kept in a recipe beside the image; the contents are named by inode number. If a
 * later entry of the same layer replaces a file, its content is first shared with a file
 * beside the recipe.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "h2/disk.h"
#include "oci/impl.h"

#define BUF       (256u << 10)
#define LINKS_MAX 40
#define PATH_LEN  4096u
#define DEPTH_MAX 256

struct dir_time {
	uint64_t ino;
	struct h2_time mtime;
};

struct oci_layer {
	struct oci_store *st;
	struct h2_pfs *pfs;
	struct oci_tar *tar;
	/* A plain archive (oci_unpack_new): no whiteouts, no recipe, below `top`. */
	bool plain;
	unsigned flags;
	uint64_t top;
	/* the recipe */
	char key[OCI_HEX + 16];
	uint64_t recipe, recipe_len;
	uint8_t *raw;
	size_t raw_len;
	struct oci_ino_set made;  /* by this layer */
	struct oci_ino_set timed; /* directories in `times` */
	struct dir_time *times;
	size_t times_len, times_size;
	/* the entry under way */
	uint64_t file, file_size;
	struct h2_time file_mtime;
	struct oci_sums *sums; /* may be NULL */
	struct oci_sha sum;    /* of the first sum.len bytes */
	uint64_t off;
	uint8_t *buf;
	size_t buf_len;
	void *work; /* of the codec */
	struct h2_prepared tail;
	/* directory of the last entry */
	char last[PATH_LEN];
	uint64_t last_dir;
	/* walk_dir(): what is left of the path, and a link's target */
	char rest[2 * PATH_LEN], target[PATH_LEN];
};

static bool made_here(const struct oci_layer *l, uint64_t ino)
{
	return oci_set_has(&l->made, ino);
}

static int made_add(struct oci_layer *l, uint64_t ino)
{
	return oci_set_add(&l->made, ino);
}

/* ---- the recipe ---- */

static int recipe_write(struct oci_layer *l, const void *p, size_t len)
{
	if (l->plain)
		return 0;

	long n = h2_write(l->st->meta, l->recipe, l->recipe_len, p, len);

	if (n != (long)len)
		return n < 0 ? (int)n : -H2_ENOSPC;
	l->recipe_len += len;
	return 0;
}

static int raw_flush(struct oci_layer *l)
{
	struct oci_piece piece = {0, l->raw_len};
	int err;

	if (!l->raw_len)
		return 0;
	memcpy(l->raw, &piece, sizeof(piece));
	err = recipe_write(l, l->raw, sizeof(piece) + l->raw_len);
	l->raw_len = 0;
	return err;
}

static int on_raw(void *ctx, const void *data, size_t len)
{
	struct oci_layer *l = ctx;
	const uint8_t *p = data;
	int err = 0;

	while (len && !err) {
		size_t room = BUF - l->raw_len, n = len < room ? len : room;

		memcpy(l->raw + sizeof(struct oci_piece) + l->raw_len, p, n);
		l->raw_len += n;
		p += n;
		len -= n;
		if (l->raw_len == BUF)
			err = raw_flush(l);
	}
	return err;
}

static int recipe_file(struct oci_layer *l, uint64_t ino, uint64_t size)
{
	struct oci_piece piece = {ino, size};
	int err = raw_flush(l);

	return err ? err : recipe_write(l, &piece, sizeof(piece));
}

/* The file is about to go: keep its content for the recipe. */
static int keep_content(struct oci_layer *l, const struct h2_attr *a)
{
	struct h2_new how = {.mode = 0600};
	char name[OCI_HEX + 48];
	struct h2_attr copy;
	uint64_t dir, whole = a->size;
	int err = meta_dir(l->st, OCI_LAYERS, &dir), n;

	n = snprintf(name, sizeof(name), "%s.%llu", l->key, (unsigned long long)a->ino);
	if (!err)
		err = h2_create(l->st->meta, dir, name, (size_t)n, &how, &copy);
	if (err)
		return err;
	if (!h2_clone(l->st->meta, copy.ino, 0, l->pfs, a->ino, 0, whole))
		return 0;
	for (uint64_t off = 0; off < a->size;) {
		long got = h2_read(l->pfs, a->ino, off, l->buf, BUF);

		if (got > 0)
			got = h2_write(l->st->meta, copy.ino, off, l->buf, (size_t)got);
		if (got <= 0)
			return got ? (int)got : -H2_EIO;
		off += (uint64_t)got;
	}
	return 0;
}

/* ---- removing ---- */

struct victims {
	struct oci_layer *l;
	char (*name)[256];
	size_t len, size;
};

static int victim(void *arg, const struct h2_dirent *e)
{
	struct victims *v = arg;

	if (e->name_len <= 2 && !memcmp(e->name, "..", e->name_len))
		return 0;
	if (v->len == v->size) {
		void *more = realloc(v->name, (2 * v->size + 16) * 256);

		if (!more)
			return -H2_ENOMEM;
		v->name = more;
		v->size = 2 * v->size + 16;
	}
	memcpy(v->name[v->len], e->name, e->name_len);
	v->name[v->len++][e->name_len] = 0;
	return 0;
}

static int remove_name(struct oci_layer *l, uint64_t dir, const char *name, bool lower_only,
		       unsigned depth);

/* Everything in the directory; lower_only: but not what this layer made. */
static int empty_dir(struct oci_layer *l, uint64_t dir, bool lower_only, unsigned depth)
{
	struct victims v = {.l = l};
	int err = depth > DEPTH_MAX ? -H2_EINVAL : h2_readdir(l->pfs, dir, 0, victim, &v);

	for (size_t i = 0; !err && i < v.len; i++)
		err = remove_name(l, dir, v.name[i], lower_only, depth + 1);
	free(v.name);
	return err;
}

/* Anything but a directory. */
static int remove_file(struct oci_layer *l, uint64_t dir, const char *name,
		       const struct h2_attr *a, bool lower_only)
{
	int err = 0;

	if (lower_only && made_here(l, a->ino))
		return 0;
	if ((a->mode & H2_S_IFMT) == H2_S_IFLNK)
		l->last[0] = 0;
	if ((a->mode & H2_S_IFMT) == H2_S_IFREG && a->size && a->nlink == 1 && !l->plain &&
	    made_here(l, a->ino))
		err = keep_content(l, a);
	return err ? err : h2_unlink(l->pfs, dir, name, strlen(name));
}

/* *sub: 0, or the directory that it is and that has to be emptied first. Not inlined: the
 * attributes have no place on the stack of a recursion. */
static __attribute__((noinline)) int
remove_leaf(struct oci_layer *l, uint64_t dir, const char *name, bool lower_only, uint64_t *sub)
{
	struct h2_attr a;
	int err = h2_lookup(l->pfs, dir, name, strlen(name), &a);

	*sub = 0;
	if (err)
		return err == -H2_ENOENT ? 0 : err;
	if ((a.mode & H2_S_IFMT) != H2_S_IFDIR)
		return remove_file(l, dir, name, &a, lower_only);
	*sub = a.ino;
	return 0;
}

static int remove_name(struct oci_layer *l, uint64_t dir, const char *name, bool lower_only,
		       unsigned depth)
{
	uint64_t sub;
	int err = remove_leaf(l, dir, name, lower_only, &sub);

	if (err || !sub)
		return err;
	err = empty_dir(l, sub, lower_only, depth);
	if (err || (lower_only && made_here(l, sub)))
		return err;
	l->last[0] = 0;
	err = h2_rmdir(l->pfs, dir, name, strlen(name));
	/* Something in it was made by this layer: then so was, in effect, the directory. */
	return err == -H2_ENOTEMPTY && lower_only ? 0 : err;
}

/* ---- paths ---- */

static int note_dir_time(struct oci_layer *l, uint64_t ino, struct h2_time t)
{
	if (l->times_len == l->times_size) {
		size_t size = 2 * l->times_size + 256;
		void *more = realloc(l->times, size * sizeof(*l->times));

		if (!more)
			return -H2_ENOMEM;
		l->times = more;
		l->times_size = size;
	}
	l->times[l->times_len++] = (struct dir_time){ino, t};
	return oci_set_add(&l->timed, ino);
}

/* Names come and go in the directory, but its time is what a layer says it is; made without
 * being said, it is 0, so that the same image has the same root at every import. */
static int keep_dir_time(struct oci_layer *l, uint64_t ino)
{
	struct h2_attr a;
	int err;

	if (oci_set_has(&l->timed, ino))
		return 0;
	err = h2_getattr(l->pfs, ino, &a);
	return err ? err : note_dir_time(l, ino, a.mtime);
}

/* The next component of *path; its length, 0 at the end. */
static size_t component(const char **path)
{
	while (**path == '/')
		(*path)++;
	return strcspn(*path, "/");
}

/* The object `name` of the directory, made as a directory where it is missing. */
static int enter(struct oci_layer *l, uint64_t dir, const char *name, size_t n, bool make,
		 struct h2_attr *a)
{
	struct h2_new how = {.mode = 0755};
	int err = h2_lookup(l->pfs, dir, name, n, a);

	if (err != -H2_ENOENT || !make)
		return err;
	err = keep_dir_time(l, dir);
	if (!err)
		err = h2_mkdir(l->pfs, dir, name, n, &how, a);
	if (!err)
		err = made_add(l, a->ino);
	return err ? err : note_dir_time(l, a->ino, (struct h2_time){0, 0});
}

/*
 * The directory that `path` (len bytes) names below `dir`, made where it is missing. Links come
 * with an absolute or relative target, which takes its place in the path; ".." in them stops at
 * the root.
 */
static int walk_dir(struct oci_layer *l, uint64_t dir, const char *path, size_t len, bool make,
		    uint64_t *out)
{
	const char *p = l->rest;
	unsigned fuel = LINKS_MAX;
	size_t n;

	if (len >= PATH_LEN)
		return -H2_ENAMETOOLONG;
	memcpy(l->rest, path, len);
	l->rest[len] = 0;
	if (*p == '/')
		dir = H2_ROOT_INO;
	while ((n = component(&p))) {
		struct h2_attr a;
		size_t left = strlen(p + n);
		int err = n > H2_NAME_MAX ? -H2_ENAMETOOLONG : enter(l, dir, p, n, make, &a);

		if (err)
			return err;
		p += n;
		if ((a.mode & H2_S_IFMT) == H2_S_IFLNK) {
			long t = h2_readlink(l->pfs, a.ino, l->target, PATH_LEN - 1);

			if (t <= 0 || !fuel-- || (size_t)t + left >= PATH_LEN)
				return t < 0 ? (int)t : -H2_EINVAL;
			memmove(l->rest + t, p, left + 1);
			memcpy(l->rest, l->target, (size_t)t);
			p = l->rest;
			if (*p == '/')
				dir = H2_ROOT_INO;
		} else if ((a.mode & H2_S_IFMT) == H2_S_IFDIR) {
			dir = a.ino;
		} else {
			return -H2_ENOTDIR;
		}
	}
	*out = dir;
	return 0;
}

/*
 * Split a member's path into its directory and last name. *name is "" for the root itself.
 * `clean` gets the path without empty and "." components. -H2_EINVAL for "..".
 */
static int split_path(struct oci_layer *l, const char *path, bool make, char clean[PATH_LEN],
		      uint64_t *dir, const char **name)
{
	size_t at = 0, slash = 0, n;
	int err;

	for (; (n = component(&path)); path += n) {
		if (n == 1 && *path == '.')
			continue;
		if (n == 2 && !memcmp(path, "..", 2))
			return oci_fail(l->st, -H2_EINVAL, "a path with '..' in a layer");
		if (at + n + 2 > PATH_LEN || n > H2_NAME_MAX)
			return -H2_ENAMETOOLONG;
		slash = at;
		if (at)
			clean[at++] = '/';
		memcpy(clean + at, path, n);
		at += n;
	}
	clean[at] = 0;
	*name = clean + slash + (slash != 0);
	if (!slash) {
		*dir = l->top;
		return make ? keep_dir_time(l, *dir) : 0;
	}
	if (l->last[0] && strlen(l->last) == slash && !memcmp(l->last, clean, slash)) {
		*dir = l->last_dir;
		return 0;
	}
	err = walk_dir(l, l->top, clean, slash, make, dir);
	if (err)
		return err;
	memcpy(l->last, clean, slash);
	l->last[slash] = 0;
	l->last_dir = *dir;
	return make ? keep_dir_time(l, *dir) : 0;
}

/* ---- entries ---- */

static int set_attributes(struct oci_layer *l, uint64_t ino, const struct oci_entry *e)
{
	bool own = !l->plain || (l->flags & OCI_UNPACK_OWNER);
	struct h2_attr a = {.mode = e->mode,
			    .uid = own ? e->uid : 0,
			    .gid = own ? e->gid : 0,
			    .mtime = e->mtime,
			    .atime = e->mtime};
	unsigned set = H2_SET_UID | H2_SET_GID | H2_SET_MTIME | H2_SET_ATIME;
	int err;

	if (e->type != '2')
		set |= H2_SET_MODE;
	err = h2_setattr(l->pfs, ino, set, &a, NULL);
	for (unsigned i = 0; !err && i < e->xattrs; i++)
		err = h2_setxattr(l->pfs, ino, e->xattr[i].name, e->xattr[i].value,
				  e->xattr[i].len, 0);
	return err;
}

static int crossing(struct oci_layer *l, const char *name, const char *what)
{
	return oci_fail(l->st, -H2_EINVAL, "cannot overwrite %s \"%.100s\"", what, name);
}

static int make_dir(struct oci_layer *l, uint64_t dir, const char *name,
		    const struct oci_entry *e)
{
	struct h2_new how = {.mode = e->mode, .uid = e->uid, .gid = e->gid};
	struct h2_attr a = {.ino = l->top, .mode = H2_S_IFDIR};
	int err = *name ? h2_lookup(l->pfs, dir, name, strlen(name), &a) : 0;

	if (!err && (a.mode & H2_S_IFMT) != H2_S_IFDIR) {
		if (l->flags & OCI_UNPACK_NO_CROSS)
			return crossing(l, name, "non-directory with directory");
		err = remove_name(l, dir, name, false, 0);
		if (!err)
			err = -H2_ENOENT;
	}
	if (err == -H2_ENOENT)
		err = h2_mkdir(l->pfs, dir, name, strlen(name), &how, &a);
	if (!err)
		err = made_add(l, a.ino);
	if (!err)
		err = set_attributes(l, a.ino, e);
	return err ? err : note_dir_time(l, a.ino, e->mtime);
}

static int make_link(struct oci_layer *l, uint64_t dir, const char *name, const char *target)
{
	char clean[PATH_LEN];
	const char *base = "";
	struct h2_attr a, old;
	uint64_t from = 0;
	int err = split_path(l, target, false, clean, &from, &base);

	if (!err)
		err = h2_lookup(l->pfs, from, base, strlen(base), &a);
	if (err)
		return l->st->err[0]
			   ? err
			   : oci_fail(l->st, err == -H2_ENOENT ? -H2_EINVAL : err,
				      "a hard link to '%.100s', which is not there", target);
	if (!h2_lookup(l->pfs, dir, name, strlen(name), &old) && old.ino == a.ino)
		return 0;
	err = remove_name(l, dir, name, false, 0);
	return err ? err : h2_link(l->pfs, a.ino, dir, name, strlen(name), NULL);
}

static int make_other(struct oci_layer *l, uint64_t dir, const char *name,
		      const struct oci_entry *e)
{
	struct h2_new how = {.mode = e->mode,
			     .uid = e->uid,
			     .gid = e->gid,
			     .rmajor = e->major,
			     .rminor = e->minor,
			     .mtime = &e->mtime};
	size_t len = strlen(name);
	struct h2_attr a;
	int err;

	if ((l->flags & OCI_UNPACK_NO_CROSS) && !h2_lookup(l->pfs, dir, name, len, &a) &&
	    (a.mode & H2_S_IFMT) == H2_S_IFDIR)
		return crossing(l, name, "directory with non-directory");
	err = remove_name(l, dir, name, false, 0);
	if (err)
		return err;
	switch (e->type) {
	case '0':
		err = h2_create(l->pfs, dir, name, len, &how, &a);
		break;
	case '2':
		err = h2_symlink(l->pfs, dir, name, len, e->link, strlen(e->link), &how, &a);
		break;
	case '3':
		how.mode |= H2_S_IFCHR;
		err = h2_mknod(l->pfs, dir, name, len, &how, &a);
		break;
	case '4':
		how.mode |= H2_S_IFBLK;
		err = h2_mknod(l->pfs, dir, name, len, &how, &a);
		break;
	case '6':
		how.mode |= H2_S_IFIFO;
		err = h2_mknod(l->pfs, dir, name, len, &how, &a);
		break;
	default:
		return oci_fail(l->st, -H2_EINVAL, "a member of unknown type '%c'", e->type);
	}
	if (!err)
		err = made_add(l, a.ino);
	if (!err)
		err = set_attributes(l, a.ino, e);
	if (!err && e->type == '0') {
		l->file = a.ino;
		l->file_size = e->size;
		l->file_mtime = e->mtime;
		oci_sha_init(&l->sum);
		if (e->size && e->sparse)
			err = h2_truncate(l->pfs, a.ino, e->size);
		if (e->size && !e->sparse)
			err = recipe_file(l, a.ino, e->size);
	}
	return err;
}

/* 1: it was a whiteout and is done. */
static int whiteout(struct oci_layer *l, uint64_t dir, const char *name)
{
	int err;

	if (l->plain || strncmp(name, ".wh.", 4))
		return 0;
	if (!strcmp(name, ".wh..wh..opq"))
		err = empty_dir(l, dir, true, 0);
	/* NOLINTNEXTLINE: split_path copied the name, with its end */
	else if (!strncmp(name, ".wh..wh.", 8) || !name[4])
		err = 0; /* bookkeeping of aufs */
	else if (!strcmp(name + 4, ".") || !strcmp(name + 4, ".."))
		err = oci_fail(l->st, -H2_EINVAL, "a whiteout of '%s'", name + 4);
	else
		err = remove_name(l, dir, name + 4, true, 0);
	return err ? err : 1;
}

static int on_entry(void *ctx, const struct oci_entry *e)
{
	struct oci_layer *l = ctx;
	char clean[PATH_LEN];
	const char *name = "";
	uint64_t dir = 0;
	int err = split_path(l, e->path, true, clean, &dir, &name);

	l->file = 0;
	l->off = 0;
	l->buf_len = 0;
	if (!err)
		err = whiteout(l, dir, name);
	if (err) {
		/* A whiteout has no content; if it does, it belongs to the recipe. */
		if (err == 1 && e->size && e->type == '0' && !e->sparse)
			err = oci_fail(l->st, -H2_EINVAL, "a whiteout with content");
		return err < 0 ? err : 0;
	}
	if (!*name && e->type != '5')
		return oci_fail(l->st, -H2_EINVAL, "a member without a name");
	if (e->type == '5')
		return make_dir(l, dir, name, e);
	if (e->type == '1')
		return e->size && !e->sparse && e->type == '0'
			   ? -H2_EINVAL
			   : make_link(l, dir, name, e->link);
	return make_other(l, dir, name, e);
}

static int flush_data(struct oci_layer *l)
{
	long n = l->buf_len ? h2_write(l->pfs, l->file, l->off, l->buf, l->buf_len) : 0;

	if (n != (long)l->buf_len)
		return n < 0 ? (int)n : -H2_ENOSPC;
	l->off += l->buf_len;
	l->buf_len = 0;
	return 0;
}

/*
 * The last block of a file. h2_write() would keep a part of a block in the cache until the next
 * sync, which then compresses them all while nothing else goes on; nothing is going to be added
 * to this one, so it is stored now, beside the inflating.
 */
static int flush_tail(struct oci_layer *l)
{
	uint32_t len = l->buf_len % H2_BLOCK_SIZE;
	uint64_t at = l->off + l->buf_len - len;
	const uint8_t *tail = l->buf + l->buf_len - len;
	uint8_t check, comp, level;
	int err;

	if (!len || at % H2_BLOCK_SIZE || at + len != l->file_size ||
	    l->file_size <= H2_EMBED_BYTES)
		return flush_data(l);
	l->buf_len -= len;
	err = flush_data(l);
	if (!err)
		err = h2_file_methods(l->pfs, l->file, &check, &comp, &level);
	if (!err)
		err = h2_block_prepare(&h2_codec_std, l->work, check, comp, level, tail, len,
				       &l->tail);
	if (!err)
		err = h2_write_prepared(l->pfs, l->file, at, &l->tail);
	l->off = at + len;
	return err;
}

/* Collected to whole blocks, which h2 then writes without keeping them. */
static int on_data(void *ctx, uint64_t off, const void *data, size_t len)
{
	struct oci_layer *l = ctx;
	const uint8_t *p = data;
	int err = 0;

	if (l->sums && off == l->sum.len)
		oci_sha_add(&l->sum, data, len);
	if (off != l->off + l->buf_len) {
		err = flush_data(l);
		l->off = off;
	}
	while (!err && len) {
		size_t room = BUF - l->buf_len;
		size_t n = len < room ? len : room;

		memcpy(l->buf + l->buf_len, p, n);
		l->buf_len += n;
		p += n;
		len -= n;
		if (n == room)
			err = flush_data(l);
	}
	return err;
}

static int on_end(void *ctx)
{
	struct oci_layer *l = ctx;
	struct h2_attr a = {.mtime = l->file_mtime, .atime = l->file_mtime};
	int err;

	if (!l->file)
		return 0;
	err = flush_tail(l);
	if (l->sums && l->sum.len == l->file_size) {
		uint8_t sum[32];

		oci_sha_end(&l->sum, sum);
		oci_sums_note(l->sums, l->file, sum);
	}
	if (!err && l->off)
		err = h2_setattr(l->pfs, l->file, H2_SET_MTIME | H2_SET_ATIME, &a, NULL);
	l->file = 0;
	return err;
}

/* ---- the whole layer ---- */

int oci_layer_push(void *layer, const uint8_t *p, size_t len)
{
	struct oci_layer *l = layer;
	int err = oci_tar_push(l->tar, p, len);

	if (err == -H2_EINVAL && !l->st->err[0])
		oci_fail(l->st, err, "not a good tar: %s", oci_tar_why(l->tar));
	return err;
}

int oci_layer_finish(struct oci_layer *l)
{
	int err = oci_tar_done(l->tar);

	if (err)
		return oci_fail(l->st, err, "the layer's tar is cut short");
	err = raw_flush(l);
	for (size_t i = 0; !err && i < l->times_len; i++) {
		struct h2_attr a = {.mtime = l->times[i].mtime, .atime = l->times[i].mtime};

		err =
		    h2_setattr(l->pfs, l->times[i].ino, H2_SET_MTIME | H2_SET_ATIME, &a, NULL);
		if (err == -H2_ENOENT)
			err = 0; /* removed again by a later entry */
		if (l->st->yield)
			l->st->yield(l->st->yield_ctx);
	}
	return err;
}

static struct oci_layer *new_layer(struct oci_store *st, struct h2_pfs *pfs,
				   const struct oci_tar_ops *ops)
{
	struct oci_layer *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->st = st;
	l->pfs = pfs;
	l->top = H2_ROOT_INO;
	l->raw = malloc(BUF + sizeof(struct oci_piece));
	l->buf = malloc(BUF);
	l->work = malloc(h2_codec_std.work_bytes);
	l->tail.data = malloc(H2_PREPARE_BYTES);
	l->tar = oci_tar_new(ops, l);
	if (l->raw && l->buf && l->work && l->tail.data && l->tar)
		return l;
	oci_layer_free(l);
	return NULL;
}

int oci_layer_new(struct oci_store *st, struct h2_pfs *pfs, const char *key,
		  struct oci_layer **out)
{
	static const struct oci_tar_ops ops = {on_entry, on_data, on_end, on_raw};
	struct oci_layer *l = new_layer(st, pfs, &ops);
	struct h2_attr a = {0};
	uint64_t dir;
	int err = l ? meta_write(st, OCI_LAYERS, key, "", 0) : -H2_ENOMEM;

	if (!err)
		err = meta_dir(st, OCI_LAYERS, &dir);
	if (!err)
		err = h2_lookup(st->meta, dir, key, strlen(key), &a);
	if (err) {
		oci_layer_free(l);
		return err;
	}
	snprintf(l->key, sizeof(l->key), "%s", key);
	l->recipe = a.ino;
	*out = l;
	return 0;
}

void oci_layer_note(struct oci_layer *l, struct oci_sums *sums)
{
	l->sums = sums;
}

struct oci_layer *oci_unpack_new(struct oci_store *st, struct h2_pfs *pfs, uint64_t dir,
				 unsigned flags)
{
	static const struct oci_tar_ops ops = {on_entry, on_data, on_end, NULL};
	struct oci_layer *l = new_layer(st, pfs, &ops);

	if (l) {
		l->plain = true;
		l->flags = flags;
		l->top = dir;
	}
	return l;
}

void oci_layer_free(struct oci_layer *l)
{
	if (!l)
		return;
	oci_tar_free(l->tar);
	free(l->raw);
	free(l->buf);
	free(l->work);
	free(l->tail.data);
	free(l->made.ino);
	free(l->timed.ino);
	free(l->times);
	free(l);
}
