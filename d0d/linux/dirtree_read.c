// SPDX-License-Identifier: ISC
// Reading file trees: packing them into tars, comparing two of them, cloning.
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "d0d/linux/dirtree.h"

#define DEPTH_MAX 512 // of folders: recursion is bounded

// ---- listing ----

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

// Sorted names of directory FD (not consumed), NULL-terminated; NULL with errno.
static char **list_dir(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	size_t n = 0, cap = 16;
	struct dirent *de;

	if (!d) {
		if (own >= 0)
			close(own);
		return NULL;
	}
	char **v = xmalloc(cap * sizeof(*v));
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if (n + 1 == cap)
			v = xrealloc(v, (cap *= 2) * sizeof(*v));
		v[n++] = xstrdup(de->d_name);
	}
	closedir(d);
	qsort(v, n, sizeof(*v), by_name);
	v[n] = NULL;
	return v;
}

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// ---- packing ----

struct seen {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct pack {
	struct archive *a;
	struct be_sink *out;
	struct err *e;
	struct seen *seen; // open hashing by inode, for hard links
	size_t nseen, cap_seen;
	bool sink_failed;
};

static la_ssize_t pack_write(struct archive *a, void *ctx, const void *buf, size_t n)
{
	struct pack *p = ctx;

	if (p->out->write(p->out->ctx, buf, n) < 0) {
		p->sink_failed = true;
		archive_set_error(a, EPIPE, "the receiver is gone");
		return -1;
	}
	return (la_ssize_t)n;
}

static struct seen *seen_slot(struct pack *p, dev_t dev, ino_t ino)
{
	size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 20) % p->cap_seen;

	while (p->seen[i].path && (p->seen[i].ino != ino || p->seen[i].dev != dev))
		i = (i + 1) % p->cap_seen;
	return &p->seen[i];
}

// The path under which this inode was packed before, or NULL (and remembers it).
static const char *seen_before(struct pack *p, const struct stat *st, const char *path)
{
	if (2 * (p->nseen + 1) > p->cap_seen) {
		struct seen *old = p->seen;
		size_t n = p->cap_seen;
		p->cap_seen = n ? n * 2 : 256;
		p->seen = xcalloc(p->cap_seen, sizeof(*p->seen));
		for (size_t i = 0; i < n; i++)
			if (old[i].path)
				*seen_slot(p, old[i].dev, old[i].ino) = old[i];
		free(old);
	}
	struct seen *s = seen_slot(p, st->st_dev, st->st_ino);
	if (s->path)
		return s->path;
	*s = (struct seen){st->st_dev, st->st_ino, xstrdup(path)};
	p->nseen++;
	return NULL;
}

static int pack_begin(struct pack *p, struct be_sink *out, struct err *e)
{
	*p = (struct pack){.a = archive_write_new(), .out = out, .e = e};
	archive_write_set_format_pax_restricted(p->a);
	archive_write_set_bytes_per_block(p->a, 65536);
	archive_write_set_bytes_in_last_block(p->a, 1);
	if (archive_write_open(p->a, p, NULL, pack_write, NULL) != ARCHIVE_OK)
		return err_set(e, 500, "tar: %s", archive_error_string(p->a));
	return 0;
}

static int pack_end(struct pack *p, int rc)
{
	if (rc == 0 && archive_write_close(p->a) != ARCHIVE_OK)
		rc = err_set(p->e, 500, "tar: %s", archive_error_string(p->a));
	if (rc < 0)
		archive_write_fail(p->a);
	archive_write_free(p->a);
	for (size_t i = 0; i < p->cap_seen; i++)
		free(p->seen[i].path);
	free(p->seen);
	return rc;
}

static int pack_data(struct pack *p, int fd, uint64_t size, const char *path)
{
	char *buf = xmalloc(65536);
	int rc = 0;

	while (size && rc == 0) {
		ssize_t n = read(fd, buf, size < 65536 ? (size_t)size : 65536);
		if (n < 0)
			rc = dt_errno(p->e, "read", path);
		if (n <= 0)
			break; // shrunk meanwhile: libarchive pads
		if (archive_write_data(p->a, buf, (size_t)n) < 0)
			rc = err_set(p->e, 500, "tar: %s", archive_error_string(p->a));
		size -= (uint64_t)n;
	}
	free(buf);
	return rc;
}

static void pack_xattrs(struct archive_entry *ae, int fd)
{
	char val[1024];
	ssize_t n = fgetxattr(fd, "security.capability", val, sizeof(val));

	if (n > 0)
		archive_entry_xattr_add_entry(ae, "security.capability", val, (size_t)n);
}

static void fill_entry(struct archive_entry *ae, const struct stat *st, const char *name)
{
	archive_entry_set_pathname(ae, name);
	archive_entry_set_filetype(ae, st->st_mode & S_IFMT);
	archive_entry_set_perm(ae, st->st_mode & 07777);
	archive_entry_set_uid(ae, st->st_uid);
	archive_entry_set_gid(ae, st->st_gid);
	archive_entry_set_mtime(ae, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_size(ae, S_ISREG(st->st_mode) ? st->st_size : 0);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		archive_entry_set_rdevmajor(ae, major(st->st_rdev));
		archive_entry_set_rdevminor(ae, minor(st->st_rdev));
	}
}

// One file, without what is below it. NAME in directory AT appears as ARCPATH.
static int pack_one(struct pack *p, int at, const char *name, const struct stat *st,
		    const char *arcpath)
{
	struct archive_entry *ae = archive_entry_new();
	char link[4096];
	int fd = -1, rc = 0;
	bool data = S_ISREG(st->st_mode);

	fill_entry(ae, st, arcpath);
	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(at, name, link, sizeof(link) - 1);
		link[n < 0 ? 0 : n] = 0;
		archive_entry_set_symlink(ae, link);
	} else if (data && st->st_nlink > 1) {
		const char *first = seen_before(p, st, arcpath);
		if (first) {
			archive_entry_set_hardlink(ae, first);
			archive_entry_unset_size(ae);
			data = false;
		}
	}
	if (data) {
		fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			rc = dt_errno(p->e, "open", arcpath);
		else
			pack_xattrs(ae, fd);
	}
	if (rc == 0 && archive_write_header(p->a, ae) < ARCHIVE_WARN)
		rc = err_set(p->e, 500, "tar: %s", archive_error_string(p->a));
	if (rc == 0 && data)
		rc = pack_data(p, fd, (uint64_t)st->st_size, arcpath);
	if (fd >= 0)
		close(fd);
	archive_entry_free(ae);
	return rc;
}

static int pack_children(struct pack *p, int dir, const char *arcpath, int depth);

static int pack_tree(struct pack *p, int at, const char *name, const char *arcpath, int depth)
{
	struct stat st;
	int rc = 0;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT && depth ? 0 : dt_errno(p->e, "stat", arcpath);
	if (S_ISSOCK(st.st_mode))
		return 0;
	if (*arcpath)
		rc = pack_one(p, at, name, &st, arcpath);
	if (rc < 0 || !S_ISDIR(st.st_mode))
		return rc;
	int dir = open_dir(at, name);
	if (dir < 0)
		return dt_errno(p->e, "open", arcpath);
	rc = pack_children(p, dir, arcpath, depth + 1);
	close(dir);
	return rc;
}

static int pack_children(struct pack *p, int dir, const char *arcpath, int depth)
{
	char **names = depth > DEPTH_MAX ? NULL : list_dir(dir);
	int rc = names ? 0 : dt_errno(p->e, "list", arcpath);

	for (char **n = names; n && *n && rc == 0; n++) {
		char *sub = *arcpath ? xasprintf("%s/%s", arcpath, *n) : xstrdup(*n);
		rc = pack_tree(p, dir, *n, sub, depth);
		free(sub);
	}
	strv_free(names);
	return rc;
}

int dt_pack(int root, const char *path, const char *as, struct be_sink *out, struct err *e)
{
	struct pack p;
	int at = dt_open(root, path, O_PATH | O_NOFOLLOW, 0);

	if (at < 0)
		return dt_errno(e, "open", path);
	close(at);
	// Name and parent apart, so that a symbolic link itself is packed.
	char *copy = xstrdup(path);
	size_t n = strlen(copy);
	while (n && copy[n - 1] == '/')
		copy[--n] = 0;
	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	if (slash)
		*slash = 0;
	bool whole = !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	int dir = dt_open(root, whole ? path : slash ? copy : ".", O_RDONLY | O_DIRECTORY, 0);
	int rc = dir < 0 ? dt_errno(e, "open", path) : pack_begin(&p, out, e);
	if (dir >= 0)
		rc = pack_end(&p, rc < 0 ? rc : pack_tree(&p, dir, whole ? "." : name, as, 0));
	if (dir >= 0)
		close(dir);
	free(copy);
	return rc;
}

// ---- comparing ----

struct diff {
	be_change_cb *cb;
	void *ctx;
	struct err *e;
};

// A folder on the way down whose own change is reported once something below changed.
struct level {
	struct level *up;
	const char *path;
	bool told;
};

static int tell(struct diff *d, struct level *l, enum be_change kind, const char *path)
{
	if (l && !l->told) {
		l->told = true;
		if (tell(d, l->up, BE_MODIFIED, l->path) < 0)
			return -1;
	}
	return *path ? d->cb(d->ctx, kind, path) : 0;
}

static bool differs(int a, int b, const char *name, const struct stat *x, const struct stat *y)
{
	char la[4096], lb[4096];

	if (x->st_mode != y->st_mode || x->st_uid != y->st_uid || x->st_gid != y->st_gid)
		return true;
	if (S_ISDIR(x->st_mode))
		return false;
	if (x->st_dev == y->st_dev && x->st_ino == y->st_ino)
		return false;
	if (S_ISCHR(x->st_mode) || S_ISBLK(x->st_mode))
		return x->st_rdev != y->st_rdev;
	if (S_ISLNK(x->st_mode)) {
		ssize_t n = readlinkat(a, name, la, sizeof(la)),
			m = readlinkat(b, name, lb, sizeof(lb));
		return n != m || n < 0 || memcmp(la, lb, (size_t)n) != 0;
	}
	return x->st_size != y->st_size || x->st_mtim.tv_sec != y->st_mtim.tv_sec ||
	       x->st_mtim.tv_nsec != y->st_mtim.tv_nsec;
}

// Everything below a folder that is only in the new tree.
static int added(struct diff *d, int dir, const char *path, int depth)
{
	char **names = depth > DEPTH_MAX ? NULL : list_dir(dir);
	int rc = names ? 0 : dt_errno(d->e, "list", path);

	for (char **n = names; n && *n && rc == 0; n++) {
		char *sub = xasprintf("%s/%s", path, *n);
		rc = d->cb(d->ctx, BE_ADDED, sub);
		int in = rc < 0 ? -1 : open_dir(dir, *n);
		if (in >= 0) {
			rc = added(d, in, sub, depth + 1);
			close(in);
		}
		free(sub);
	}
	strv_free(names);
	return rc;
}

static int diff_dirs(struct diff *d, int a, int b, struct level *l, int depth);

static int diff_both(struct diff *d, int a, int b, const char *name, char *path,
		     struct level *l, int depth)
{
	struct stat x, y;

	if (fstatat(a, name, &x, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fstatat(b, name, &y, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; // vanished while we look
	struct level here = {l, path, false};
	if (differs(a, b, name, &x, &y)) {
		here.told = true;
		if (tell(d, l, BE_MODIFIED, path) < 0)
			return -1;
	}
	if (!S_ISDIR(x.st_mode))
		return 0;
	int da = open_dir(a, name), db = S_ISDIR(y.st_mode) ? open_dir(b, name) : -1;
	int rc = 0;
	if (da >= 0)
		rc = db >= 0 ? diff_dirs(d, da, db, &here, depth + 1)
			     : added(d, da, path, depth + 1);
	if (da >= 0)
		close(da);
	if (db >= 0)
		close(db);
	return rc;
}

static int diff_dirs(struct diff *d, int a, int b, struct level *l, int depth)
{
	char **x = depth > DEPTH_MAX ? NULL : list_dir(a), **y = x ? list_dir(b) : NULL;
	int rc = y ? 0 : dt_errno(d->e, "list", l->path);

	for (char **p = x, **q = y; y && rc == 0 && (*p || *q);) {
		int order = !*p ? 1 : !*q ? -1 : strcmp(*p, *q);
		char *path = xasprintf("%s/%s", l->path, order <= 0 ? *p : *q);
		if (order > 0) {
			rc = tell(d, l, BE_DELETED, path);
			q++;
		} else if (order == 0) {
			rc = diff_both(d, a, b, *p, path, l, depth);
			p++, q++;
		} else {
			rc = tell(d, l, BE_ADDED, path);
			int in = rc < 0 ? -1 : open_dir(a, *p);
			if (in >= 0) {
				rc = added(d, in, path, depth + 1);
				close(in);
			}
			p++;
		}
		free(path);
	}
	strv_free(x);
	strv_free(y);
	return rc;
}

int dt_diff(int root, int base, be_change_cb *cb, void *ctx, struct err *e)
{
	struct diff d = {cb, ctx, e};
	struct level top = {NULL, "", true};

	return diff_dirs(&d, root, base, &top, 0);
}

struct diff_pack {
	struct pack p;
	int root;
};

static int diff_pack_one(void *ctx, enum be_change kind, const char *path)
{
	struct diff_pack *dp = ctx;
	const char *rel = path + 1, *slash = strrchr(rel, '/'), *name = slash ? slash + 1 : rel;
	char *dir = slash ? xstrndup(rel, (size_t)(slash - rel)) : xstrdup("");
	struct stat st = {.st_mode = S_IFREG, .st_nlink = 1};
	int rc = 0;

	if (kind == BE_DELETED) {
		char *wh = xasprintf("%s%s.wh.%s", dir, slash ? "/" : "", name);
		struct archive_entry *ae = archive_entry_new();
		fill_entry(ae, &st, wh);
		if (archive_write_header(dp->p.a, ae) < ARCHIVE_WARN)
			rc = err_set(dp->p.e, 500, "tar: %s", archive_error_string(dp->p.a));
		archive_entry_free(ae);
		free(wh);
	} else {
		int at = dt_open(dp->root, dir, O_PATH | O_DIRECTORY, 0);
		if (at >= 0 && fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !S_ISSOCK(st.st_mode))
			rc = pack_one(&dp->p, at, name, &st, rel);
		if (at >= 0)
			close(at);
	}
	free(dir);
	return rc;
}

int dt_pack_diff(int root, int base, struct be_sink *out, struct err *e)
{
	struct diff_pack dp = {.root = root};
	int rc = pack_begin(&dp.p, out, e);

	if (rc == 0)
		rc = dt_diff(root, base, diff_pack_one, &dp, e);
	return pack_end(&dp.p, rc);
}

// ---- the rest ----

int dt_stat(int root, const char *path, bool follow, struct be_stat *out, struct err *e)
{
	struct stat st;
	int fd = dt_open(root, path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int why = errno;
		if (fd >= 0)
			close(fd);
		if (why == ENOENT || why == ENOTDIR)
			return err_set(e, 404, "no such file or directory: %.500s", path);
		errno = why;
		return dt_errno(e, "stat", path);
	}
	*out =
	    (struct be_stat){.mode = st.st_mode,
			     .size = (uint64_t)st.st_size,
			     .mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec,
			     .uid = st.st_uid,
			     .gid = st.st_gid};
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(fd, "", out->link, sizeof(out->link) - 1);
		out->link[n < 0 ? 0 : n] = 0;
	}
	close(fd);
	return 0;
}

static uint64_t usage(int dir, int depth)
{
	char **names = depth > DEPTH_MAX ? NULL : list_dir(dir);
	uint64_t sum = 0;
	struct stat st;

	for (char **n = names; n && *n; n++) {
		if (fstatat(dir, *n, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
		int in = S_ISDIR(st.st_mode) ? open_dir(dir, *n) : -1;
		if (in >= 0) {
			sum += usage(in, depth + 1);
			close(in);
		}
	}
	strv_free(names);
	return sum;
}

uint64_t dt_usage(int dir)
{
	return usage(dir, 0);
}

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
	int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t n = in < 0 || out < 0 ? -1 : 1;

	while (n > 0)
		n = copy_file_range(in, NULL, out, NULL, 1 << 24, 0);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n < 0 ? -1 : 0;
}

static int clone_one(int from, int to, const char *name, bool hard, struct err *e, int depth);

static int clone_dir(int from, int to, bool hard, struct err *e, int depth)
{
	char **names = depth > DEPTH_MAX ? NULL : list_dir(from);
	int rc = names ? 0 : dt_errno(e, "list", "layer");

	for (char **n = names; n && *n && rc == 0; n++)
		rc = clone_one(from, to, *n, hard, e, depth);
	strv_free(names);
	return rc;
}

static int clone_meta(int to, const char *name, const struct stat *st)
{
	struct timespec ts[2] = {st->st_atim, st->st_mtim};

	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return -1;
	return utimensat(to, name, ts, AT_SYMLINK_NOFOLLOW);
}

static int clone_one(int from, int to, const char *name, bool hard, struct err *e, int depth)
{
	char link[4096];
	struct stat st;
	int rc = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW);

	if (rc == 0 && S_ISDIR(st.st_mode)) {
		rc = mkdirat(to, name, 0700);
		int a = rc < 0 ? -1 : open_dir(from, name), b = a < 0 ? -1 : open_dir(to, name);
		int sub = b < 0 ? 0 : clone_dir(a, b, hard, e, depth + 1);
		if (a >= 0)
			close(a);
		if (b >= 0)
			close(b);
		if (sub < 0)
			return -1;
		rc = b < 0 ? -1 : clone_meta(to, name, &st);
	} else if (rc == 0 && hard && linkat(from, name, to, name, 0) == 0) {
		return 0;
	} else if (rc == 0 && S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(from, name, link, sizeof(link) - 1);
		link[n < 0 ? 0 : n] = 0;
		rc = symlinkat(link, to, name) < 0 ? -1 : clone_meta(to, name, &st);
	} else if (rc == 0 && S_ISREG(st.st_mode)) {
		rc = copy_file(from, to, name, &st) < 0 ? -1 : clone_meta(to, name, &st);
	} else if (rc == 0) {
		rc = mknodat(to, name, st.st_mode, st.st_rdev) < 0 ? -1
								   : clone_meta(to, name, &st);
	}
	return rc < 0 ? dt_errno(e, "copy", name) : 0;
}

int dt_clone(int from, int to, bool hard_links, struct err *e)
{
	return clone_dir(from, to, hard_links, e, 0);
}
