// SPDX-License-Identifier: ISC
// Trees as directories below <dir>/trees:
//   image trees       <id>/fs          complete, sharing files with their parent by hard links
//   container trees   <id>/{upper,work,merged,lower}   overlayfs, `lower` names the image tree
//                     <id>/fs          where overlayfs can't be had: a copy
//   volumes           <id>/fs
// A tree is built as <id>.new and renamed when complete, so a crash leaves only *.new
// folders behind, which open() removes.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/linux/dirtree.h"
#include "d0d/linux/linux.h"

static char *tree_dir(struct backend *b, const char *id)
{
	return xasprintf("%s/trees/%s", b->dir, id);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int overlay_mount(const char *lower, const char *dir)
{
	char *opts =
	    xasprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir);
	char *at = xasprintf("%s/merged", dir);
	int rc = mount("overlay", at, "overlay", 0, opts);

	free(opts);
	free(at);
	return rc;
}

static bool is_mounted(const char *dir)
{
	char *at = xasprintf("%s/merged", dir);
	struct stat a, b;
	bool yes = stat(at, &a) == 0 && stat(dir, &b) == 0 && a.st_dev != b.st_dev;

	free(at);
	return yes;
}

static int make_subdirs(const char *dir, const char *const *names)
{
	for (; *names; names++) {
		char *p = xasprintf("%s/%s", dir, *names);
		int rc = dir_make(p, 0755);
		free(p);
		if (rc < 0)
			return -1;
	}
	return 0;
}

bool lx_overlay_works(const char *dir)
{
	static const char *const subs[] = {"low", "upper", "work", "merged", NULL};
	char *probe = xasprintf("%s/probe", dir), *low = xasprintf("%s/low", probe);
	char *merged = xasprintf("%s/merged", probe);
	bool ok = make_subdirs(probe, subs) == 0 && overlay_mount(low, probe) == 0;

	if (ok)
		umount2(merged, MNT_DETACH);
	tree_delete(AT_FDCWD, probe);
	free(probe);
	free(low);
	free(merged);
	return ok;
}

static char *tree_lower(struct backend *b, const char *id)
{
	char *path = xasprintf("%s/trees/%s/lower", b->dir, id);
	char *name = file_read(path, 400, NULL);
	char *lower = name ? xasprintf("%s/trees/%s/fs", b->dir, name) : NULL;

	free(path);
	free(name);
	return lower;
}

char *lx_tree_path(struct backend *b, const char *id, struct err *e)
{
	char *dir = tree_dir(b, id), *lower = tree_lower(b, id), *path = NULL;

	if (!exists(dir)) {
		err_set(e, 404, "no such tree: %s", id);
	} else if (!lower) {
		path = xasprintf("%s/fs", dir);
	} else {
		pthread_mutex_lock(&b->lock);
		if (!is_mounted(dir) && overlay_mount(lower, dir) < 0)
			err_set(e, 500, "mount of %s: %s", id, strerror(errno));
		else
			path = xasprintf("%s/merged", dir);
		pthread_mutex_unlock(&b->lock);
	}
	free(dir);
	free(lower);
	return path;
}

// Opens a tree's root. A running container's is taken from its own view, with volumes.
static int tree_open(struct backend *b, const char *id, bool live, struct err *e)
{
	int pid = live && strncmp(id, "c-", 2) == 0 ? lx_container_pid(b, id + 2) : 0;
	char *path = pid ? xasprintf("/proc/%d/root", pid) : lx_tree_path(b, id, e);
	int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (path && fd < 0)
		dt_errno(e, "open", path);
	free(path);
	return fd;
}

static int fill_new(struct backend *b, const char *dir, enum be_tree_kind kind,
		    const char *parent, struct err *e)
{
	static const char *const plain[] = {"fs", NULL};
	static const char *const overlay[] = {"upper", "work", "merged", NULL};
	bool layered = kind == BE_TREE_CONTAINER && b->overlay && parent;

	if (make_subdirs(dir, layered ? overlay : plain) < 0)
		return dt_errno(e, "create", dir);
	if (layered) {
		char *note = xasprintf("%s/lower", dir);
		int rc = file_write_atomic(note, parent, strlen(parent));
		free(note);
		return rc < 0 ? dt_errno(e, "create", dir) : 0;
	}
	if (!parent)
		return 0;
	char *fs = xasprintf("%s/fs", dir);
	int from = tree_open(b, parent, false, e);
	int to = from < 0 ? -1 : open(fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = to < 0 ? -1 : dt_clone(from, to, kind == BE_TREE_IMAGE, e);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	free(fs);
	return rc;
}

int lx_tree_create(struct backend *b, const char *id, enum be_tree_kind kind,
		   const char *parent, struct err *e)
{
	char *dir = tree_dir(b, id), *tmp = xasprintf("%s.new", dir);
	int rc;

	if (exists(dir)) {
		rc = err_set(e, 409, "tree %s exists", id);
	} else {
		tree_delete(AT_FDCWD, tmp);
		rc = fill_new(b, tmp, kind, parent, e);
		if (rc == 0 && rename(tmp, dir) < 0)
			rc = dt_errno(e, "create", dir);
		if (rc < 0)
			tree_delete(AT_FDCWD, tmp);
	}
	free(dir);
	free(tmp);
	return rc;
}

int lx_tree_apply(struct backend *b, const char *id, struct be_source *src, struct err *e)
{
	int fd = tree_open(b, id, false, e);
	int rc = fd < 0 ? -1 : dt_unpack(fd, "", src, DT_LAYER, e);

	if (fd >= 0)
		close(fd);
	return rc;
}

int lx_tree_sync(struct backend *b, const char *id, struct err *e)
{
	int fd = tree_open(b, id, false, e);

	if (fd < 0)
		return -1;
	int rc = syncfs(fd) < 0 ? dt_errno(e, "sync", id) : 0;
	close(fd);
	return rc;
}

int lx_tree_remove(struct backend *b, const char *id, struct err *e)
{
	char *dir = tree_dir(b, id), *gone = xasprintf("%s.new", dir);
	char *merged = xasprintf("%s/merged", dir);
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	while (is_mounted(dir) && umount2(merged, MNT_DETACH) == 0)
		;
	pthread_mutex_unlock(&b->lock);
	tree_delete(AT_FDCWD, gone);
	if (exists(dir) && (rename(dir, gone) < 0 || tree_delete(AT_FDCWD, gone) < 0))
		rc = dt_errno(e, "remove", dir);
	free(dir);
	free(gone);
	free(merged);
	return rc;
}

int lx_tree_each(struct backend *b, be_tree_cb *cb, void *ctx, struct err *e)
{
	char *path = xasprintf("%s/trees", b->dir);
	DIR *d = opendir(path);
	struct dirent *de;
	int rc = 0;

	if (!d)
		rc = dt_errno(e, "list", path);
	while (d && rc == 0 && (de = readdir(d))) {
		size_t n = strlen(de->d_name);
		if (de->d_name[0] == '.')
			continue;
		if (n > 4 && strcmp(de->d_name + n - 4, ".new") == 0)
			continue;
		rc = cb(ctx, de->d_name) < 0 ? -1 : 0;
	}
	if (d)
		closedir(d);
	free(path);
	return rc;
}

int lx_tree_usage(struct backend *b, const char *id, uint64_t *bytes, struct err *e)
{
	char *dir = tree_dir(b, id), *own = xasprintf("%s/upper", dir);
	int fd = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		fd = tree_open(b, id, false, e);
	if (fd < 0)
		rc = -1;
	else
		*bytes = dt_usage(fd), close(fd);
	free(dir);
	free(own);
	return rc;
}

// The container's tree and its image's, both without mounts of a running container.
static int open_pair(struct backend *b, const char *id, const char *base, int fd[2],
		     struct err *e)
{
	fd[0] = tree_open(b, id, false, e);
	fd[1] = fd[0] < 0 ? -1 : tree_open(b, base, false, e);
	if (fd[1] < 0 && fd[0] >= 0)
		close(fd[0]);
	return fd[1] < 0 ? -1 : 0;
}

int lx_tree_diff(struct backend *b, const char *id, const char *base, be_change_cb *cb,
		 void *ctx, struct err *e)
{
	int fd[2];

	if (open_pair(b, id, base, fd, e) < 0)
		return -1;
	int rc = dt_diff(fd[0], fd[1], cb, ctx, e);
	close(fd[0]);
	close(fd[1]);
	return rc;
}

int lx_tree_pack_diff(struct backend *b, const char *id, const char *base, struct be_sink *out,
		      struct err *e)
{
	int fd[2];

	if (open_pair(b, id, base, fd, e) < 0)
		return -1;
	int rc = dt_pack_diff(fd[0], fd[1], out, e);
	close(fd[0]);
	close(fd[1]);
	return rc;
}

int lx_tree_pack(struct backend *b, const char *id, const char *path, const char *as,
		 struct be_sink *out, struct err *e)
{
	bool whole = strcmp(path, "/") == 0 && !*as; // export: the container's own files only
	int fd = tree_open(b, id, !whole, e);
	int rc = fd < 0 ? -1 : dt_pack(fd, path, as, out, e);

	if (fd >= 0)
		close(fd);
	return rc;
}

int lx_tree_unpack(struct backend *b, const char *id, const char *path, struct be_source *src,
		   int flags, struct err *e)
{
	int fd = tree_open(b, id, true, e);
	int dt = (flags & BE_NO_OVERWRITE_DIR ? DT_NO_CROSS : 0) |
		 (flags & BE_KEEP_OWNER ? 0 : DT_NO_OWNER);
	struct be_stat st;
	int rc = fd < 0 ? -1 : dt_stat(fd, path, true, &st, e);

	if (rc == 0 && !S_ISDIR(st.mode))
		rc = err_set(e, 400, "extraction point is not a directory");
	if (rc == 0)
		rc = dt_unpack(fd, path, src, dt, e);
	if (fd >= 0)
		close(fd);
	return rc;
}

int lx_tree_stat(struct backend *b, const char *id, const char *path, bool follow,
		 struct be_stat *out, struct err *e)
{
	int fd = tree_open(b, id, true, e);
	int rc = fd < 0 ? -1 : dt_stat(fd, path, follow, out, e);

	if (fd >= 0)
		close(fd);
	return rc;
}

int lx_tree_read(struct backend *b, const char *id, const char *path, size_t max, char **out,
		 size_t *len, struct err *e)
{
	int root = tree_open(b, id, false, e), fd = -1, rc = 0;
	struct stat st;
	struct sbuf buf = {0};
	char chunk[4096];
	ssize_t n = 0;

	if (root < 0)
		return -1;
	fd = dt_open(root, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		rc = dt_errno(e, "open", path);
	else if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		rc = err_set(e, 404, "%s: not a file", path);
	while (rc == 0 && (n = read(fd, chunk, sizeof(chunk))) > 0) {
		sbuf_add(&buf, chunk, (size_t)n);
		if (buf.len > max)
			rc = err_set(e, 413, "%s: too large", path);
	}
	if (rc == 0 && n < 0)
		rc = dt_errno(e, "read", path);
	if (fd >= 0)
		close(fd);
	close(root);
	if (rc < 0) {
		sbuf_free(&buf);
		return -1;
	}
	sbuf_add(&buf, "", 0);
	*out = buf.p;
	if (len)
		*len = buf.len;
	return 0;
}
