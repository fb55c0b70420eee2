// SPDX-License-Identifier: ISC
// Writing into file trees.
//
// Problem: archives are hostile. An entry may be named "../../etc/passwd", or a symbolic
// link may be planted first and written through next; a layer may delete, replace or hide
// what lower layers brought; a failure may strike anywhere.
// Model: a tree is a directory opened once. Names are cleaned (no ".." component at all),
// the parent is opened with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), and the last
// component is only ever used with *at() calls that don't follow links and create
// exclusively.
// Invariant: a regular file is never opened for writing in place: the old name is unlinked
// first. Image trees share files by hard links (dt_clone), and this is what keeps the
// parent's copy intact; the same holds for changed metadata (the link is broken first).
// Failure: the tree is left as it is; its owner removes it as a whole.
#include "d0d/linux/dirtree.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

int dt_errno(struct err *e, const char *what, const char *path)
{
	int status = errno == ENOSPC || errno == EDQUOT ? 507 : errno == ENOENT ? 404 : 500;

	return err_set(e, status, "%s %s: %s", what, path, strerror(errno));
}

int dt_open(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
	    .flags = (unsigned)flags | O_CLOEXEC,
	    .mode = flags & O_CREAT ? mode : 0,
	    .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
}

const char *dt_clean_path(const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return NULL;
		p += n + strspn(p + n, "/");
	}
	while (*path == '/' || (path[0] == '.' && (path[1] == '/' || !path[1])))
		path++;
	return path;
}

int dt_make_dirs(int root, const char *path)
{
	char *copy = xstrdup(path);
	int at = dup(root);

	for (char *p = copy; at >= 0 && *p;) {
		p += strspn(p, "/");
		if (!*p)
			break;
		char *end = p + strcspn(p, "/");
		char keep = *end;
		*end = 0;
		close(at);
		at = dt_open(root, copy, O_PATH | O_DIRECTORY, 0);
		if (at < 0 && errno == ENOENT) {
			char *slash = strrchr(copy, '/');
			if (slash)
				*slash = 0;
			int up = dt_open(root, slash ? copy : ".", O_PATH | O_DIRECTORY, 0);
			if (slash)
				*slash = '/';
			if (up >= 0 && (mkdirat(up, p, 0755) == 0 || errno == EEXIST))
				at = dt_open(root, copy, O_PATH | O_DIRECTORY, 0);
			if (up >= 0)
				close(up);
		}
		*end = keep;
		p = end;
	}
	free(copy);
	return at;
}

// Directories get their times last, when nothing is written into them any more.
struct late_dir {
	char *path;
	struct timespec mtime;
};

struct unpack {
	int root, flags;
	struct archive *a;
	struct err *e;
	char *parent_path; // the last parent, which most entries share
	int parent;
	struct late_dir *late;
	size_t nlate, cap_late;
};

static int open_parent(struct unpack *u, const char *dir)
{
	if (u->parent >= 0 && strcmp(u->parent_path, dir) == 0)
		return u->parent;
	if (u->parent >= 0)
		close(u->parent);
	free(u->parent_path);
	u->parent_path = xstrdup(dir);
	u->parent = dt_make_dirs(u->root, dir);
	return u->parent;
}

static void forget_parent(struct unpack *u)
{
	if (u->parent >= 0)
		close(u->parent);
	u->parent = -1;
}

static int write_data(struct unpack *u, int fd, const char *path)
{
	const void *buf;
	size_t n;
	la_int64_t off, at = 0;
	int rc;

	while ((rc = archive_read_data_block(u->a, &buf, &n, &off)) == ARCHIVE_OK) {
		if (off < at)
			return err_set(u->e, 400, "archive: overlapping data in %.200s", path);
		for (size_t done = 0; done < n;) {
			ssize_t put = pwrite(fd, (const char *)buf + done, n - done,
					     off + (la_int64_t)done);
			if (put <= 0)
				return dt_errno(u->e, "write", path);
			done += (size_t)put;
		}
		at = off + (la_int64_t)n;
	}
	if (rc != ARCHIVE_EOF)
		return err_set(u->e, 400, "archive: %.200s: %s", path,
			       archive_error_string(u->a) ?: "truncated");
	return 0;
}

static int make_file(struct unpack *u, int dir, const char *name, struct archive_entry *ae)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return dt_errno(u->e, "create", name);
	int rc = write_data(u, fd, name);
	if (rc == 0 && archive_entry_size_is_set(ae) &&
	    ftruncate(fd, archive_entry_size(ae)) < 0) // a sparse tail
		rc = dt_errno(u->e, "size of", name);
	close(fd);
	return rc;
}

static int make_link(struct unpack *u, int dir, const char *name, const char *target)
{
	const char *clean = dt_clean_path(target);

	if (!clean || !*clean)
		return err_set(u->e, 400, "invalid hardlink %.200s -> %.200s: leaves the tree",
			       name, target);
	int from = dt_open(u->root, clean, O_PATH | O_NOFOLLOW, 0);
	if (from < 0)
		return err_set(u->e, 400, "hardlink %.200s -> %.200s: %s", name, target,
			       strerror(errno));
	int rc = linkat(from, "", dir, name, AT_EMPTY_PATH);
	if (rc < 0)
		rc = dt_errno(u->e, "link", name);
	close(from);
	return rc;
}

static void set_xattrs(int dir, const char *name, struct archive_entry *ae)
{
	const char *key;
	const void *val;
	size_t n;

	if (archive_entry_xattr_reset(ae) == 0)
		return;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (archive_entry_xattr_next(ae, &key, &val, &n) == ARCHIVE_OK) {
		// trusted.* would steer overlayfs itself.
		if (strncmp(key, "user.", 5) != 0 && strcmp(key, "security.capability") != 0)
			continue;
		if (fsetxattr(fd, key, val, n, 0) < 0)
			break; // a file system without xattrs: the file works without
	}
	close(fd);
}

static int set_meta(struct unpack *u, int dir, const char *name, struct archive_entry *ae,
		    const char *path)
{
	bool own = !(u->flags & DT_NO_OWNER);
	mode_t type = archive_entry_filetype(ae);

	if (own && fchownat(dir, name, (uid_t)archive_entry_uid(ae),
			    (gid_t)archive_entry_gid(ae), AT_SYMLINK_NOFOLLOW) < 0)
		return dt_errno(u->e, "chown", path);
	if (type != AE_IFLNK && fchmodat(dir, name, archive_entry_perm(ae), 0) < 0)
		return dt_errno(u->e, "chmod", path);
	if (type == AE_IFREG || type == AE_IFDIR)
		set_xattrs(dir, name, ae);
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT},
				 {archive_entry_mtime(ae), archive_entry_mtime_nsec(ae)}};
	if (!archive_entry_mtime_is_set(ae))
		return 0;
	if (type != AE_IFDIR) {
		utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW);
		return 0;
	}
	if (u->nlate == u->cap_late) {
		u->cap_late = u->cap_late ? u->cap_late * 2 : 64;
		u->late = xrealloc(u->late, u->cap_late * sizeof(*u->late));
	}
	u->late[u->nlate++] = (struct late_dir){xstrdup(path), ts[1]};
	return 0;
}

// Makes room for an entry. 1: a directory that can stay; 0: the name is free.
static int clear_name(struct unpack *u, int dir, const char *name, bool want_dir)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : dt_errno(u->e, "stat", name);
	if (want_dir && S_ISDIR(st.st_mode))
		return 1;
	if ((u->flags & DT_NO_CROSS) && want_dir != S_ISDIR(st.st_mode))
		return err_set(u->e, 400,
			       want_dir
				   ? "cannot overwrite non-directory \"%.200s\" with directory"
				   : "cannot overwrite directory \"%.200s\" with non-directory",
			       name);
	forget_parent(u); // it may be what is removed
	return tree_delete(dir, name) < 0 ? dt_errno(u->e, "remove", name) : 0;
}

static int make_node(struct unpack *u, int dir, const char *name, struct archive_entry *ae)
{
	mode_t type = archive_entry_filetype(ae);
	dev_t dev = makedev(archive_entry_rdevmajor(ae), archive_entry_rdevminor(ae));
	const char *link = archive_entry_symlink(ae);
	int rc;

	switch (type) {
	case AE_IFREG:
		return make_file(u, dir, name, ae);
	case AE_IFDIR:
		rc = mkdirat(dir, name, 0700);
		break;
	case AE_IFLNK:
		rc = symlinkat(link && *link ? link : ".", dir, name);
		break;
	case AE_IFCHR:
	case AE_IFBLK:
		rc = mknodat(dir, name, type | 0600, dev);
		break;
	case AE_IFIFO:
		rc = mknodat(dir, name, S_IFIFO | 0600, 0);
		break;
	default:
		return err_set(u->e, 400, "archive: unhandled type of %.200s", name);
	}
	return rc < 0 ? dt_errno(u->e, "create", name) : 0;
}

// Empties a directory (an opaque whiteout hides everything that lower layers put there).
static int make_opaque(struct unpack *u, int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d)
		return dt_errno(u->e, "open", "opaque directory");
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			tree_delete(fd, de->d_name);
	closedir(d);
	return 0;
}

static int whiteout(struct unpack *u, int dir, const char *name)
{
	name += 4;
	if (strcmp(name, ".wh..opq") == 0)
		return make_opaque(u, dir);
	if (strncmp(name, ".wh.", 4) == 0)
		return 0; // AUFS bookkeeping
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(u->e, 400, "archive: invalid whiteout");
	if (tree_delete(dir, name) < 0)
		return dt_errno(u->e, "whiteout", name);
	return 0;
}

static int unpack_entry(struct unpack *u, struct archive_entry *ae)
{
	const char *raw = archive_entry_pathname(ae), *path = raw ? dt_clean_path(raw) : NULL;
	const char *hard = archive_entry_hardlink(ae);
	int rc;

	if (!path)
		return err_set(u->e, 400, "archive entry \"%.200s\" leaves the tree",
			       raw ? raw : "(no name)");
	char *copy = xstrdup(path);
	size_t n = strlen(copy);
	while (n && copy[n - 1] == '/')
		copy[--n] = 0;
	char *name = strrchr(copy, '/');
	if (name)
		*name++ = 0;
	else
		name = copy;
	if (!*name || strcmp(name, ".") == 0) { // the root itself: only its metadata
		rc = archive_entry_filetype(ae) == AE_IFDIR ? set_meta(u, u->root, ".", ae, ".")
							    : 0;
		free(copy);
		return rc;
	}
	int dir = open_parent(u, name == copy ? "" : copy);
	if (dir < 0) {
		rc = errno == ENOTDIR ? err_set(u->e, 400, "%.200s: not a directory", path)
				      : dt_errno(u->e, "open", path);
	} else if ((u->flags & DT_LAYER) && strncmp(name, ".wh.", 4) == 0) {
		rc = whiteout(u, dir, name);
		forget_parent(u);
	} else {
		int keep = dup(dir); // clear_name may drop the cached one
		bool is_dir = !hard && archive_entry_filetype(ae) == AE_IFDIR;
		rc = keep < 0 ? -1 : clear_name(u, keep, name, is_dir);
		if (rc == 0)
			rc = hard ? make_link(u, keep, name, hard)
				  : make_node(u, keep, name, ae);
		if (rc >= 0)
			rc = hard ? 0 : set_meta(u, keep, name, ae, path);
		close(keep);
	}
	free(copy);
	return rc;
}

static void finish_dirs(struct unpack *u)
{
	for (size_t i = u->nlate; i-- > 0;) {
		struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, u->late[i].mtime};
		int fd =
		    dt_open(u->root, u->late[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd >= 0) {
			futimens(fd, ts);
			close(fd);
		}
		free(u->late[i].path);
	}
	free(u->late);
}

struct feed {
	struct be_source *src;
	char buf[65536];
};

static la_ssize_t feed_read(struct archive *a, void *ctx, const void **buf)
{
	struct feed *f = ctx;
	ssize_t n = f->src->read(f->src->ctx, f->buf, sizeof(f->buf));

	*buf = f->buf;
	if (n < 0)
		archive_set_error(a, EIO, "the stream broke off");
	return n;
}

int dt_unpack(int root, const char *below, struct be_source *src, int flags, struct err *e)
{
	struct unpack u = {.flags = flags, .e = e, .parent = -1, .a = archive_read_new()};
	struct feed *f = xmalloc(sizeof(*f));
	struct archive_entry *ae;
	int rc;

	f->src = src;
	u.root = dt_open(root, below, O_RDONLY | O_DIRECTORY, 0);
	archive_read_support_format_tar(u.a);
	archive_read_support_format_empty(u.a);
	if (u.root < 0)
		rc = dt_errno(e, "open", below);
	else if (archive_read_open(u.a, f, NULL, feed_read, NULL) != ARCHIVE_OK)
		rc = err_set(e, 400, "archive: %s", archive_error_string(u.a) ?: "not a tar");
	else {
		rc = 0;
		while (rc == 0) {
			int got = archive_read_next_header(u.a, &ae);
			if (got == ARCHIVE_EOF)
				break;
			if (got < ARCHIVE_WARN)
				rc = err_set(e, 400, "archive: %s",
					     archive_error_string(u.a) ?: "malformed");
			else
				rc = unpack_entry(&u, ae);
		}
	}
	finish_dirs(&u);
	forget_parent(&u);
	free(u.parent_path);
	if (u.root >= 0)
		close(u.root);
	archive_read_free(u.a);
	free(f);
	return rc < 0 ? -1 : 0;
}
