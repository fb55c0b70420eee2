// SPDX-License-Identifier: ISC
// COPY and ADD: from one archive (the build context, or what a stage's or an image's tree
// gives) into another, in which everything has the name it is to have in the container.
//
// Source: docs.docker.com/reference/dockerfile, "COPY", "ADD". A source that is a folder stands
// for what is in it; patterns are matched a component at a time. Owners are root's unless
// --chown says otherwise. Everything read is hostile: names with ".." are refused, and where
// links lead is the tree's matter (backend.h, tree_unpack).
#include <archive.h>
#include <archive_entry.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/build.h"
#include "d0d/ref.h"

struct copier {
	struct build *b;
	struct archive *out;
	EVP_MD_CTX *md;
	bool add, mode_given;
	uint32_t uid, gid, mode;
	char *dest;  // without a leading slash
	bool folder; // DEST is one
	size_t taken;
	char buf[65536];
};

static int failed(struct copier *k, struct archive *a)
{
	return err_set(k->b->err, 400, "%s", archive_error_string(a) ?: "broken archive");
}

// Without leading "/" and "./", without a trailing "/"; NULL if it leaves its root.
static char *clean(const char *name)
{
	struct sbuf out = {0};

	sbuf_adds(&out, "");
	while (*name) {
		size_t n = strcspn(name, "/");
		if (n == 2 && memcmp(name, "..", 2) == 0) {
			sbuf_free(&out);
			return NULL;
		}
		if (n && !(n == 1 && *name == '.')) {
			if (out.len)
				sbuf_adds(&out, "/");
			sbuf_add(&out, name, n);
		}
		name += n;
		name += *name == '/';
	}
	return out.p;
}

static size_t components(const char *s)
{
	size_t n = *s != 0;

	for (; *s; s++)
		n += *s == '/';
	return n;
}

// The first N components of NAME end here.
static size_t prefix(const char *name, size_t n)
{
	size_t i = 0;

	for (; name[i]; i++)
		if (name[i] == '/' && --n == 0)
			return i;
	return i;
}

// ---- writing ----

static void sum_entry(struct copier *k, const char *name, struct archive_entry *ae)
{
	struct sbuf t = {0};
	const char *link = archive_entry_symlink(ae), *hard = archive_entry_hardlink(ae);

	sbuf_addf(&t, "%s|%o|%o|%lld|%lld|%lld|%s|%s|", name,
		  (unsigned)archive_entry_filetype(ae), (unsigned)archive_entry_perm(ae),
		  (long long)archive_entry_uid(ae), (long long)archive_entry_gid(ae),
		  (long long)archive_entry_size(ae), link ? link : "", hard ? hard : "");
	EVP_DigestUpdate(k->md, t.p, t.len);
	sbuf_free(&t);
}

static int put_data(struct copier *k, struct archive *in, int fd)
{
	for (;;) {
		ssize_t n = in ? archive_read_data(in, k->buf, sizeof(k->buf))
			       : read(fd, k->buf, sizeof(k->buf));
		if (n < 0)
			return in ? failed(k, in) : err_set(k->b->err, 500, "read: %m");
		if (n == 0)
			return 0;
		EVP_DigestUpdate(k->md, k->buf, (size_t)n);
		if (archive_write_data(k->out, k->buf, (size_t)n) < 0)
			return err_set(k->b->err, 507, "%s", archive_error_string(k->out));
	}
}

// Entry AE as NAME, its data from IN, or from FD.
static int put(struct copier *k, const char *name, struct archive_entry *ae, struct archive *in,
	       int fd, bool own)
{
	struct archive_entry *copy = archive_entry_clone(ae);

	archive_entry_set_pathname(copy, name);
	if (!own) {
		archive_entry_set_uid(copy, k->uid);
		archive_entry_set_gid(copy, k->gid);
		archive_entry_set_uname(copy, NULL);
		archive_entry_set_gname(copy, NULL);
		if (k->mode_given && archive_entry_filetype(ae) != AE_IFLNK)
			archive_entry_set_perm(copy, k->mode);
	}
	sum_entry(k, name, copy);
	int rc = archive_write_header(k->out, copy) < ARCHIVE_WARN
		     ? err_set(k->b->err, 500, "%s", archive_error_string(k->out))
		     : 0;
	if (rc == 0 && archive_entry_filetype(ae) == AE_IFREG && !archive_entry_hardlink(ae))
		rc = put_data(k, in, fd);
	archive_entry_free(copy);
	k->taken++;
	return rc;
}

static struct archive *reader(int fd, bool any)
{
	struct archive *a = archive_read_new();

	if (any) {
		archive_read_support_filter_gzip(a);
		archive_read_support_filter_bzip2(a);
		archive_read_support_filter_xz(a);
	}
	archive_read_support_format_tar(a);
	if (lseek(fd, 0, SEEK_SET) < 0 || archive_read_open_fd(a, fd, 65536) != ARCHIVE_OK) {
		archive_read_free(a);
		return NULL;
	}
	return a;
}

static char *below(const char *dest, const char *rel)
{
	return *dest && *rel ? xasprintf("%s/%s", dest, rel) : xstrdup(*dest ? dest : rel);
}

// ADD unpacks a local archive. 1: it was one; 0: it is a file like others.
static int unpack_archive(struct copier *k, int fd)
{
	struct archive *a = reader(fd, true);
	struct archive_entry *ae;
	int rc = 0, got;

	if (!a || archive_read_next_header(a, &ae) < ARCHIVE_WARN ||
	    archive_format(a) == ARCHIVE_FORMAT_EMPTY) {
		archive_read_free(a);
		return 0;
	}
	do {
		char *rel = clean(archive_entry_pathname(ae) ?: "..");
		const char *hard = archive_entry_hardlink(ae);
		char *to = hard ? clean(hard) : NULL, *full = NULL;
		if (!rel || (hard && !to)) {
			rc = err_set(k->b->err, 400,
				     "an entry of the archive leaves the tree it is for");
		} else if (*rel) {
			if (hard) {
				full = below(k->dest, to);
				archive_entry_set_hardlink(ae, full);
			}
			char *name = below(k->dest, rel);
			rc = put(k, name, ae, a, -1, true);
			free(name);
		}
		free(rel);
		free(to);
		free(full);
	} while (rc == 0 && (got = archive_read_next_header(a, &ae)) != ARCHIVE_EOF &&
		 (got >= ARCHIVE_WARN || (rc = failed(k, a)) == 0));
	archive_read_free(a);
	return rc < 0 ? -1 : 1;
}

// A file that ADD names: looked into, so it has to be a file of its own first.
static int add_file(struct copier *k, const char *name, struct archive_entry *ae,
		    struct archive *in)
{
	int fd = engine_scratch(k->b->e, k->b->err), rc = fd < 0 ? -1 : 0;
	la_ssize_t n = 0;

	while (rc == 0 && (n = archive_read_data(in, k->buf, sizeof(k->buf))) > 0)
		if (fd_write_all(fd, k->buf, (size_t)n) < 0)
			rc = err_set(k->b->err, 507, "no space left on device");
	if (rc == 0 && n < 0)
		rc = failed(k, in);
	if (rc == 0)
		rc = unpack_archive(k, fd);
	if (rc == 0) {
		lseek(fd, 0, SEEK_SET);
		rc = put(k, name, ae, NULL, fd, false);
	}
	if (fd >= 0)
		close(fd);
	return rc < 0 ? -1 : 0;
}

// ---- matching ----

// One entry of the source whose first components fit the pattern: N bytes of NAME.
static int take(struct copier *k, const char *name, size_t n, struct archive_entry *ae,
		struct archive *in)
{
	const char *rel = name + n + (name[n] == '/'), *base;
	const char *hard = archive_entry_hardlink(ae);
	bool dir = archive_entry_filetype(ae) == AE_IFDIR && !hard;
	char *to, *old = NULL;
	int rc;

	if (dir && !*rel)
		return 0; // the folder stands for what is in it
	base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	to = below(k->dest, *rel ? rel : k->folder ? base : "");
	if (hard) {
		char *target = clean(hard);
		if (*rel && target && strncmp(target, name, n) == 0 && (!n || target[n] == '/'))
			old = below(k->dest, target + n + (n != 0));
		free(target);
		if (!old) {
			free(to);
			return err_set(k->b->err, 400,
				       "%.200s is a hard link to a file that is not copied",
				       name);
		}
		archive_entry_set_hardlink(ae, old);
	}
	rc = k->add && !*rel && !hard && archive_entry_filetype(ae) == AE_IFREG
		 ? add_file(k, to, ae, in)
		 : put(k, to, ae, in, -1, false);
	free(to);
	free(old);
	return rc;
}

// How many objects the pattern names, and whether one of them is a folder.
struct found {
	size_t files, folders;
};

static int each_match(struct copier *k, int fd, const char *pattern, struct found *count)
{
	struct archive *a = reader(fd, false);
	struct archive_entry *ae;
	size_t depth = components(pattern);
	int rc = a ? 0 : err_set(k->b->err, 400, "the build context isn't an archive"), got;

	while (rc == 0 && (got = archive_read_next_header(a, &ae)) != ARCHIVE_EOF) {
		char *name =
		    got < ARCHIVE_WARN ? NULL : clean(archive_entry_pathname(ae) ?: "..");
		if (!name) {
			rc = got < ARCHIVE_WARN
				 ? failed(k, a)
				 : err_set(k->b->err, 400,
					   "a name in the build context leaves it");
			break;
		}
		size_t n = depth ? prefix(name, depth) : 0;
		char keep = name[n];
		name[n] = 0;
		bool fits = components(name) == depth &&
			    (!depth || fnmatch(pattern, name, FNM_PATHNAME) == 0);
		name[n] = keep;
		if (fits && count) {
			bool whole = !name[n];
			bool dir = archive_entry_filetype(ae) == AE_IFDIR;
			count->files += whole && !dir;
			count->folders += !whole || dir;
		} else if (fits) {
			rc = take(k, name, n, ae, a);
		}
		free(name);
	}
	archive_read_free(a);
	return rc;
}

// ---- where from ----

// PATH of a stage's or an image's tree as an archive in which it is called "src".
static int pack_tree(struct copier *k, const char *image, const char *path)
{
	struct engine *e = k->b->e;
	char tree[ID_LEN + 3];
	int fd = -1;

	engine_lock(e);
	struct image *im = image_by_id_locked(e, image);
	snprintf(tree, sizeof(tree), "%s%s", images_in_store(e) ? "i-" : "l-",
		 !im                  ? ""
		 : images_in_store(e) ? im->id + 7
				      : image_parent_chain(im));
	engine_unlock(e);
	if (im)
		fd = engine_scratch(e, k->b->err);
	else
		err_set(k->b->err, 404, "No such image: %s", image);
	if (fd < 0)
		return -1;
	struct be_sink sink = {engine_scratch_write, &fd};
	if (e->ops->tree_pack(e->be, tree, path, "src", &sink, k->b->err) == 0)
		return fd;
	if (k->b->err->status == 404)
		err_set(k->b->err, 400, "COPY failed: stat %.300s: file does not exist", path);
	close(fd);
	return -1;
}

static int from_image(struct copier *k, const char *from, char id[DIGEST_LEN + 1])
{
	struct stage *st = build_stage(k->b, from);
	struct image *im = NULL;

	if (st) {
		strcpy(id, st->image);
		return 0;
	}
	for (int round = 0; round < 2 && !im; round++) {
		engine_lock(k->b->e);
		im = image_find_locked(k->b->e, from, k->b->err);
		if (im)
			strcpy(id, im->id);
		engine_unlock(k->b->e);
		if (!im && !round && k->b->fetch(k->b->ctx, from, k->b->err) < 0)
			return -1;
	}
	return im ? 0 : -1;
}

static int copy_from(struct copier *k, const char *image, const char *path)
{
	struct found f = {0};

	if (strpbrk(path, "*?["))
		return err_set(k->b->err, 400,
			       "COPY --from with a pattern (%.100s) is not supported by D0",
			       path);
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	int fd = pack_tree(k, image, path);
	int rc = fd < 0 ? -1 : each_match(k, fd, "src", &f);
	// A single file is called "src" there; in a folder it keeps its name.
	char *dest = k->dest;
	bool folder = k->folder;
	if (rc == 0 && !f.folders && k->folder) {
		k->dest = below(dest, base);
		k->folder = false;
	}
	if (rc == 0)
		rc = each_match(k, fd, "src", NULL);
	if (k->dest != dest)
		free(k->dest);
	k->dest = dest;
	k->folder = folder;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int copy_context(struct copier *k, const char *source, const char *word)
{
	struct found f = {0};
	char *pattern = clean(source);
	bool folder = k->folder;

	if (!pattern)
		return err_set(k->b->err, 400,
			       "%s failed: forbidden path outside the build context: %.200s",
			       word, source);
	if (k->add &&
	    (strncmp(source, "http://", 7) == 0 || strncmp(source, "https://", 8) == 0)) {
		free(pattern);
		return err_set(
		    k->b->err, 400,
		    "ADD of a URL is not supported by D0: fetch it in a RUN, or beforehand");
	}
	int rc = each_match(k, k->b->context, pattern, &f);
	if (rc == 0 && *pattern && !f.files && !f.folders)
		rc = err_set(k->b->err, 400,
			     "%s failed: file not found in build context or excluded by "
			     ".dockerignore: stat %.200s: file does not exist",
			     word, pattern);
	k->folder |= f.files > 1;
	if (rc == 0)
		rc = each_match(k, k->b->context, pattern, NULL);
	k->folder = folder;
	free(pattern);
	return rc;
}

// ---- where to ----

static int set_dest(struct copier *k, const struct stage *st, struct container *c,
		    const char *to, bool many)
{
	const char *at = js(st->config, "WorkingDir", "");
	size_t n = strlen(to);
	char *full = *to == '/' ? xstrdup(to) : xasprintf("%s/%s", at, to);
	char tree[ID_LEN + 3];
	struct be_stat s;

	k->dest = clean(full);
	free(full);
	if (!k->dest)
		return err_set(k->b->err, 400, "'..' in a destination is not supported by D0");
	snprintf(tree, sizeof(tree), "c-%s", c->id);
	k->folder = many || !*k->dest || to[n - 1] == '/' || strcmp(to, ".") == 0 ||
		    (n > 1 && strcmp(to + n - 2, "/.") == 0);
	if (!k->folder &&
	    k->b->e->ops->tree_stat(k->b->e->be, tree, k->dest, true, &s, NULL) == 0)
		k->folder = S_ISDIR(s.mode);
	return 0;
}

static int set_owner(struct copier *k, const struct df_step *s, struct container *c)
{
	const char *own = df_flag(s, "chown"), *mode = df_flag(s, "chmod");

	for (char **f = s->flags; *f; f++)
		if (strncmp(*f, "--chown=", 8) && strncmp(*f, "--chmod=", 8) &&
		    strncmp(*f, "--from=", 7))
			return err_set(k->b->err, 400,
				       "%s %.60s needs BuildKit, which D0 has not", s->word,
				       *f);
	if (mode) {
		char *end;
		unsigned long v = strtoul(mode, &end, 8);
		if (!*mode || *end || v > 07777)
			return err_set(k->b->err, 400, "invalid chmod: %.40s", mode);
		k->mode = (uint32_t)v;
		k->mode_given = true;
	}
	if (!own)
		return 0;
	bool number = !own[strspn(own, "0123456789")];
	char *both = number ? xasprintf("%s:%s", own, own) : xstrdup(own);
	int rc = user_ids(k->b->e, c, both, &k->uid, &k->gid, k->b->err);
	free(both);
	return rc;
}

static la_ssize_t write_fd(struct archive *a, void *fd, const void *buf, size_t n)
{
	if (fd_write_all(*(int *)fd, buf, n) == 0)
		return (la_ssize_t)n;
	archive_set_error(a, 28, "no space left on device");
	return -1;
}

static int copy_all(struct copier *k, struct stage *st, const struct df_step *s, char **w,
		    struct container *c)
{
	const char *from = df_flag(s, "from");
	char image[DIGEST_LEN + 1];
	size_t n = 0;

	while (w[n])
		n++;
	if (n < 2)
		return err_set(k->b->err, 400,
			       "dockerfile parse error line %d: %s requires at least two "
			       "arguments, but only one was provided",
			       s->line, s->word);
	if (set_dest(k, st, c, w[n - 1], n > 2) < 0 || set_owner(k, s, c) < 0 ||
	    (from && from_image(k, from, image) < 0))
		return -1;
	for (size_t i = 0; i + 1 < n; i++) {
		int rc = from ? copy_from(k, image, w[i]) : copy_context(k, w[i], s->word);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int build_copy(struct build *b, struct stage *st, const struct df_step *s, struct container *c,
	       int *out, char sum[ID_LEN + 1])
{
	struct copier *k = xcalloc(1, sizeof(*k));
	uint8_t raw[32];
	char **w = build_words(b, st, s);
	int rc = w ? 0 : -1;

	k->b = b;
	k->add = strcmp(s->word, "ADD") == 0;
	k->md = EVP_MD_CTX_new();
	EVP_DigestInit_ex(k->md, EVP_sha256(), NULL);
	*out = rc < 0 ? -1 : engine_scratch(b->e, b->err);
	k->out = archive_write_new();
	archive_write_set_format_pax_restricted(k->out);
	archive_write_set_bytes_in_last_block(k->out, 1);
	if (*out < 0 || archive_write_open(k->out, out, NULL, write_fd, NULL) != ARCHIVE_OK)
		rc = -1;
	if (rc == 0)
		rc = copy_all(k, st, s, w, c);
	if (rc == 0 && archive_write_close(k->out) != ARCHIVE_OK)
		rc = err_set(b->err, 507, "%s", archive_error_string(k->out) ?: "write failed");
	if (rc < 0)
		archive_write_fail(k->out);
	archive_write_free(k->out);
	free(k->dest);
	EVP_DigestUpdate(k->md, s->word, strlen(s->word));
	EVP_DigestFinal_ex(k->md, raw, NULL);
	hex_put(sum, raw, 32);
	EVP_MD_CTX_free(k->md);
	strv_free(w);
	free(k);
	return rc;
}
