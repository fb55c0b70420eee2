/* SPDX-License-Identifier: ISC */
/*
 * cp: files and trees between the host and a volume, or inside a volume (where whole blocks
 * are shared instead of copied). Attributes, links, devices, holes and extended attributes are
 * kept; ownership on the host only for root.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/d0fs/d0fs.h"

#define CHUNK (1u << 20)

struct link_seen {
	uint64_t dev, ino, target;
};

struct copy {
	bool recurse;
	char *buf; /* CHUNK bytes */
	int code;
	struct link_seen *links;
	size_t n_links, max_links;
};

static int complain(struct copy *c, const char *path, int err)
{
	int code = d0fs_fail(err == -H2_EIO ? D0FS_DAMAGED : d0fs_code(err), "%s: %s", path,
			     h2_strerror(err));

	c->code = c->code ? c->code : code;
	return err;
}

static int host_error(struct copy *c, const char *path)
{
	c->code = d0fs_fail(D0FS_FAILED, "%s: %s", path, strerror(errno));
	return -1;
}

/* ---- host -> volume ---- */

static uint64_t *link_slot(struct copy *c, const struct stat *st)
{
	for (size_t i = 0; i < c->n_links; i++)
		if (c->links[i].dev == st->st_dev && c->links[i].ino == st->st_ino)
			return &c->links[i].target;
	if (c->n_links == c->max_links) {
		size_t max = c->max_links ? 2 * c->max_links : 64;
		struct link_seen *more = realloc(c->links, max * sizeof(*more));
		if (!more)
			return NULL;
		c->links = more;
		c->max_links = max;
	}
	c->links[c->n_links] = (struct link_seen){st->st_dev, st->st_ino, 0};
	return &c->links[c->n_links++].target;
}

static int in_data(struct copy *c, struct h2_pfs *pfs, uint64_t ino, const char *host)
{
	int fd = open(host, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), err = 0;
	off_t at = 0, end;

	if (fd < 0)
		return host_error(c, host);
	end = lseek(fd, 0, SEEK_END);
	while (!err && at < end) {
		off_t data = lseek(fd, at, SEEK_DATA);
		ssize_t n;
		long put;

		if (data < 0)
			break; /* a hole up to the end */
		at =
		    data & ~(off_t)(H2_BLOCK_SIZE - 1) ? data & ~(off_t)(H2_BLOCK_SIZE - 1) : 0;
		n = pread(fd, c->buf, CHUNK, at);
		if (n <= 0) {
			err = n < 0 ? host_error(c, host) : 0;
			break;
		}
		put = h2_write(pfs, ino, at, c->buf, n);
		if (put != n)
			err = complain(c, host, put < 0 ? (int)put : -H2_ENOSPC);
		at += n;
	}
	if (!err && at < end && (err = h2_truncate(pfs, ino, end)))
		complain(c, host, err);
	close(fd);
	return err;
}

static void in_xattrs(struct copy *c, struct h2_pfs *pfs, uint64_t ino, const char *host)
{
	char names[65536];
	ssize_t len = llistxattr(host, names, sizeof(names));

	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		ssize_t n = lgetxattr(host, name, c->buf, CHUNK);
		int err = n < 0 ? 0 : h2_setxattr(pfs, ino, name, c->buf, n, 0);
		if (err)
			complain(c, host, err);
	}
}

static void in_attrs(struct copy *c, struct h2_pfs *pfs, uint64_t ino, const struct stat *st,
		     const char *host)
{
	struct h2_attr a = {.mode = st->st_mode & 07777,
			    .uid = st->st_uid,
			    .gid = st->st_gid,
			    .mtime = {st->st_mtim.tv_sec, st->st_mtim.tv_nsec},
			    .atime = {st->st_atim.tv_sec, 0}};
	int err = h2_setattr(
	    pfs, ino, H2_SET_MODE | H2_SET_UID | H2_SET_GID | H2_SET_MTIME | H2_SET_ATIME, &a,
	    NULL);

	if (err)
		complain(c, host, err);
	in_xattrs(c, pfs, ino, host);
}

static int in_make(struct copy *c, struct h2_pfs *pfs, uint64_t dir, const char *name,
		   const struct stat *st, const char *host, struct h2_attr *a)
{
	struct h2_new how = {.mode = st->st_mode,
			     .uid = st->st_uid,
			     .gid = st->st_gid,
			     .rmajor = major(st->st_rdev),
			     .rminor = minor(st->st_rdev)};
	char target[4096];
	ssize_t n;
	int err;

	if (S_ISLNK(st->st_mode)) {
		n = readlink(host, target, sizeof(target));
		if (n < 0)
			return host_error(c, host);
		err = h2_symlink(pfs, dir, name, strlen(name), target, n, &how, a);
	} else if (S_ISDIR(st->st_mode)) {
		err = h2_mkdir(pfs, dir, name, strlen(name), &how, a);
		if (err == -H2_EEXIST)
			err = h2_lookup(pfs, dir, name, strlen(name), a);
	} else {
		err = h2_mknod(pfs, dir, name, strlen(name), &how, a);
		if (err == -H2_EEXIST) {
			err = h2_unlink(pfs, dir, name, strlen(name));
			if (!err)
				err = h2_mknod(pfs, dir, name, strlen(name), &how, a);
		}
	}
	return err ? complain(c, host, err) : 0;
}

static int in_tree(struct copy *c, struct h2_pfs *pfs, uint64_t dir, const char *name,
		   const char *host);

static int in_children(struct copy *c, struct h2_pfs *pfs, uint64_t dir, const char *host)
{
	DIR *d = opendir(host);
	struct dirent *e;
	char sub[4096];

	if (!d)
		return host_error(c, host);
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (snprintf(sub, sizeof(sub), "%s/%s", host, e->d_name) >= (int)sizeof(sub)) {
			errno = ENAMETOOLONG;
			host_error(c, host);
			continue;
		}
		if (in_tree(c, pfs, dir, e->d_name, sub) == -H2_ENOSPC)
			break;
	}
	closedir(d);
	return c->code == D0FS_NO_SPACE ? -H2_ENOSPC : 0;
}

static int in_tree(struct copy *c, struct h2_pfs *pfs, uint64_t dir, const char *name,
		   const char *host)
{
	uint64_t *linked = NULL;
	struct h2_attr a;
	struct stat st;
	int err;

	if (lstat(host, &st))
		return host_error(c, host);
	if (S_ISDIR(st.st_mode) && !c->recurse) {
		errno = EISDIR;
		return host_error(c, host);
	}
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		linked = link_slot(c, &st);
	if (linked && *linked) {
		err = h2_link(pfs, *linked, dir, name, strlen(name), &a);
		return err ? complain(c, host, err) : 0;
	}
	err = in_make(c, pfs, dir, name, &st, host, &a);
	if (err)
		return err;
	if (linked)
		*linked = a.ino;
	if (S_ISREG(st.st_mode))
		err = in_data(c, pfs, a.ino, host);
	else if (S_ISDIR(st.st_mode))
		err = in_children(c, pfs, a.ino, host);
	in_attrs(c, pfs, a.ino, &st, host);
	return err;
}

/* ---- volume -> host ---- */

static int out_data(struct copy *c, struct h2_pfs *pfs, const struct h2_attr *a,
		    const char *host)
{
	int fd = open(host, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	uint64_t at = 0, data;
	int err = 0;

	if (fd < 0)
		return host_error(c, host);
	while (!err && at < a->size) {
		long n;

		if (h2_seek(pfs, a->ino, at, true, &data))
			break;
		at = data;
		n = h2_read(pfs, a->ino, at, c->buf, CHUNK);
		if (n <= 0)
			err = complain(c, host, n < 0 ? (int)n : -H2_EIO);
		else if (pwrite(fd, c->buf, n, (off_t)at) != n)
			err = host_error(c, host);
		at += n > 0 ? n : 0;
	}
	if (!err && ftruncate(fd, (off_t)a->size))
		err = host_error(c, host);
	close(fd);
	return err;
}

static int out_make(struct copy *c, struct h2_pfs *pfs, const struct h2_attr *a,
		    const char *host)
{
	char target[4097];
	long n;

	switch (a->mode & H2_S_IFMT) {
	case H2_S_IFREG:
		return out_data(c, pfs, a, host);
	case H2_S_IFDIR:
		return mkdir(host, 0700) && errno != EEXIST ? host_error(c, host) : 0;
	case H2_S_IFLNK:
		n = h2_readlink(pfs, a->ino, target, sizeof(target) - 1);
		if (n < 0)
			return complain(c, host, (int)n);
		target[n] = 0;
		return symlink(target, host) ? host_error(c, host) : 0;
	}
	return mknod(host, a->mode, makedev(a->rmajor, a->rminor)) ? host_error(c, host) : 0;
}

static void out_attrs(struct copy *c, struct h2_pfs *pfs, const struct h2_attr *a,
		      const char *host)
{
	struct timespec t[2] = {{a->atime.sec, a->atime.nsec}, {a->mtime.sec, a->mtime.nsec}};
	char names[65536];
	long len = h2_listxattr(pfs, a->ino, names, sizeof(names)), n;

	for (char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
		n = h2_getxattr(pfs, a->ino, name, c->buf, CHUNK);
		if (n >= 0 && lsetxattr(host, name, c->buf, n, 0))
			d0fs_warn("%s: %s: %s", host, name, strerror(errno));
	}
	if (geteuid() == 0 && lchown(host, a->uid, a->gid))
		d0fs_warn("%s: %s", host, strerror(errno));
	if ((a->mode & H2_S_IFMT) != H2_S_IFLNK && chmod(host, a->mode & 07777))
		d0fs_warn("%s: %s", host, strerror(errno));
	if (utimensat(AT_FDCWD, host, t, AT_SYMLINK_NOFOLLOW))
		d0fs_warn("%s: %s", host, strerror(errno));
}

static int out_tree(struct copy *c, struct h2_pfs *pfs, uint64_t ino, const char *host);

struct out_dir {
	struct copy *c;
	struct h2_pfs *pfs;
	const char *host;
};

static int out_entry(void *arg, const struct h2_dirent *e)
{
	struct out_dir *o = arg;
	char sub[4096];

	if (e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.')))
		return 0;
	/* Names from a volume are data: one component, whatever they hold. */
	if (memchr(e->name, '/', e->name_len) || memchr(e->name, 0, e->name_len) ||
	    snprintf(sub, sizeof(sub), "%s/%.*s", o->host, e->name_len, e->name) >=
		(int)sizeof(sub)) {
		complain(o->c, o->host, -H2_ENAMETOOLONG);
		return 0;
	}
	out_tree(o->c, o->pfs, e->ino, sub);
	return 0;
}

static int out_tree(struct copy *c, struct h2_pfs *pfs, uint64_t ino, const char *host)
{
	struct out_dir o = {c, pfs, host};
	uint64_t *linked = NULL;
	struct h2_attr a;
	int err = h2_getattr(pfs, ino, &a);

	if (err)
		return complain(c, host, err);
	if ((a.mode & H2_S_IFMT) == H2_S_IFDIR && !c->recurse)
		return complain(c, host, -H2_EISDIR);
	if ((a.mode & H2_S_IFMT) != H2_S_IFDIR && a.nlink > 1) {
		struct stat st = {.st_ino = a.ino};
		linked = link_slot(c, &st);
	}
	if (linked && *linked) {
		const char *first = (const char *)(uintptr_t)*linked;
		return link(first, host) ? host_error(c, host) : 0;
	}
	err = out_make(c, pfs, &a, host);
	if (err)
		return err;
	if (linked)
		*linked = (uint64_t)(uintptr_t)strdup(host); /* kept until exit */
	if ((a.mode & H2_S_IFMT) == H2_S_IFDIR) {
		err = h2_readdir(pfs, ino, 0, out_entry, &o);
		if (err)
			complain(c, host, err);
	}
	out_attrs(c, pfs, &a, host);
	return err;
}

/* ---- inside a volume ---- */

static int inside(struct copy *c, struct d0fs_path *from, struct d0fs_path *to,
		  const char *name)
{
	struct h2_new how = {.mode = from->attr.mode,
			     .uid = from->attr.uid,
			     .gid = from->attr.gid,
			     .mtime = &from->attr.mtime};
	struct h2_attr a;
	uint64_t at = 0;
	long n;
	int err;

	if ((from->attr.mode & H2_S_IFMT) != H2_S_IFREG)
		return complain(c, from->name, -H2_ENOTSUP);
	err = h2_create(to->pfs, to->dir, name, strlen(name), &how, &a);
	if (err)
		return complain(c, name, err);
	err = h2_clone(to->pfs, a.ino, 0, from->pfs, from->ino, 0, from->attr.size);
	if (err == -H2_EINVAL) /* other check codes: copy */
		for (err = 0; !err && at < from->attr.size; at += n) {
			n = h2_read(from->pfs, from->ino, at, c->buf, CHUNK);
			if (n <= 0 || h2_write(to->pfs, a.ino, at, c->buf, n) != n)
				err = n < 0 ? (int)n : -H2_ENOSPC;
		}
	return err ? complain(c, name, err) : 0;
}

/* ---- command
 * ------------------------------------------------------------------------------------------------
 */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A directory as the target takes the source's name. */
static int target_name(struct copy *c, struct d0fs_path *to, const char *from, char name[256])
{
	if (to->ino && (to->attr.mode & H2_S_IFMT) == H2_S_IFDIR) {
		to->dir = to->ino;
		snprintf(name, 256, "%s", base_name(from));
	} else {
		snprintf(name, 256, "%s", to->name);
	}
	if (name[0] && strcmp(name, ".") && strcmp(name, ".."))
		return 0;
	c->code = d0fs_fail(D0FS_USAGE, "%s: no name to copy to", from);
	return -1;
}

static void copy_in(struct copy *c, struct d0fs_vol *v, const char *from, const char *to)
{
	struct d0fs_path at;
	struct stat st;
	char name[256];

	c->code = d0fs_resolve(v, to, true, &at);
	if (c->code)
		return;
	if (c->recurse && !base_name(from)[0] && at.ino && !lstat(from, &st)) {
		in_children(c, at.pfs, at.ino, from); /* "dir/" copies the content */
		in_attrs(c, at.pfs, at.ino, &st, from);
	} else if (!target_name(c, &at, from, name)) {
		in_tree(c, at.pfs, at.dir, name, from);
	}
	h2_pfs_close(at.pfs);
}

static void copy_out(struct copy *c, struct d0fs_vol *v, const char *from, const char *to)
{
	struct d0fs_path at;
	struct stat st;
	char path[4096];

	c->code = d0fs_resolve(v, from, true, &at);
	if (c->code)
		return;
	if (!at.ino)
		complain(c, from, -H2_ENOENT);
	else if (!stat(to, &st) && S_ISDIR(st.st_mode) && at.name[0] &&
		 snprintf(path, sizeof(path), "%s/%s", to, at.name) < (int)sizeof(path))
		out_tree(c, at.pfs, at.ino, path);
	else
		out_tree(c, at.pfs, at.ino, to);
	h2_pfs_close(at.pfs);
}

static void copy_inside(struct copy *c, struct d0fs_vol *v, const char *from, const char *to)
{
	struct d0fs_path src, dst;
	char name[256];

	c->code = d0fs_resolve(v, from, true, &src);
	if (c->code)
		return;
	c->code = d0fs_resolve(v, to, true, &dst);
	if (!c->code) {
		if (!src.ino)
			complain(c, from, -H2_ENOENT);
		else if (!target_name(c, &dst, src.name, name))
			inside(c, &src, &dst, name);
		h2_pfs_close(dst.pfs);
	}
	h2_pfs_close(src.pfs);
}

static int cp(int argc, char **argv)
{
	struct copy c = {0};
	struct d0fs_vol v;
	const char *from, *to;
	int o;

	while ((o = getopt(argc, argv, "r")) != -1) {
		if (o != 'r')
			return d0fs_usage();
		c.recurse = true;
	}
	if (optind + 3 != argc)
		return d0fs_usage();
	from = argv[optind + 1];
	to = argv[optind + 2];
	if (!d0fs_is_path(from) && !d0fs_is_path(to))
		return d0fs_fail(D0FS_USAGE, "one side must be PFS:/path");
	c.buf = malloc(CHUNK);
	if (!c.buf)
		return d0fs_fail(D0FS_FAILED, "out of memory");
	c.code = d0fs_open(&v, argv[optind], d0fs_is_path(to) ? 0 : D0FS_RDONLY, 65536);
	if (!c.code) {
		if (!d0fs_is_path(to))
			copy_out(&c, &v, from, to);
		else if (!d0fs_is_path(from))
			copy_in(&c, &v, from, to);
		else
			copy_inside(&c, &v, from, to);
		c.code = d0fs_close(&v, c.code);
	}
	free(c.links);
	free(c.buf);
	return c.code;
}
D0FS_COMMAND(cp, "cp", "[-r] VOLUME SOURCE TARGET",
	     "copy between host and volume, or inside it; PFS:/path is in the volume", cp);
