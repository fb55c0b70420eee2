// SPDX-License-Identifier: ISC
// Files of containers: cp both ways, export, diff; and save.
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "d0d/api.h"

static int resp_sink(void *ctx, const void *buf, size_t n)
{
	return resp_write(ctx, buf, n);
}

// A streamed tar: the head is sent with the first bytes, so that an error before them is a
// proper answer.
struct tar_out {
	struct http_req *r;
	const char *extra;
};

static int tar_sink(void *ctx, const void *buf, size_t n)
{
	struct tar_out *t = ctx;

	if (!t->r->started)
		resp_begin(t->r, 200, "application/x-tar", t->extra);
	return resp_sink(t->r, buf, n);
}

static void tar_finish(struct tar_out *t, int rc, const struct err *err)
{
	if (rc < 0) {
		resp_err(t->r, err); // aborts the connection if bytes have left already
		return;
	}
	if (!t->r->started)
		resp_begin(t->r, 200, "application/x-tar", t->extra);
	resp_end(t->r);
}

static char *tree_of(const struct container *c)
{
	return xasprintf("c-%s", c->id);
}

// Go's os.FileMode bits, which the CLI expects.
static uint32_t go_mode(uint32_t mode)
{
	uint32_t out = mode & 0777;

	switch (mode & S_IFMT) {
	case S_IFDIR:
		out |= 1u << 31;
		break;
	case S_IFLNK:
		out |= 1u << 27;
		break;
	case S_IFBLK:
		out |= 1u << 26;
		break;
	case S_IFCHR:
		out |= 1u << 26 | 1u << 21;
		break;
	case S_IFIFO:
		out |= 1u << 25;
		break;
	case S_IFSOCK:
		out |= 1u << 24;
		break;
	}
	if (mode & S_ISUID)
		out |= 1u << 23;
	if (mode & S_ISGID)
		out |= 1u << 22;
	if (mode & S_ISVTX)
		out |= 1u << 20;
	return out;
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

// Path without trailing slashes and "/.", below the root; to be freed.
static char *clean_path(const char *path)
{
	char *p = xstrdup(path + strspn(path, "/"));

	for (size_t n = strlen(p); n;) {
		if (p[n - 1] == '/')
			p[--n] = 0;
		else if (n >= 1 && p[n - 1] == '.' && (n == 1 || p[n - 2] == '/'))
			p[--n] = 0;
		else
			break;
	}
	return p;
}

// The header X-Docker-Container-Path-Stat.
static char *stat_header(const char *path, const struct be_stat *st)
{
	const char *name = *path ? base_of(path) : "/";
	json_t *o = json_pack("{s:o, s:I, s:I, s:o, s:o}", "name", jstr(name), "size",
			      (json_int_t)st->size, "mode", (json_int_t)go_mode(st->mode),
			      "mtime", jtime(st->mtime_ns), "linkTarget", jstr(st->link));
	char *text = json_dumps(o, JSON_COMPACT);
	size_t n = strlen(text);
	char *b64 = xmalloc(n * 2 + 8);

	EVP_EncodeBlock((unsigned char *)b64, (unsigned char *)text, (int)n);
	char *head = xasprintf("X-Docker-Container-Path-Stat: %s\r\n", b64);
	free(b64);
	free(text);
	json_decref(o);
	return head;
}

static int path_stat(struct http_req *r, struct container *c, char **path, struct be_stat *st)
{
	const char *raw = req_query(r, "path", "");
	char *tree = tree_of(c);
	struct err err;
	int rc;

	*path = clean_path(raw);
	if (!*raw) {
		rc = -1;
		resp_error(r, 400, "bad parameter: \"path\" cannot be empty");
	} else {
		rc = r->e->ops->tree_stat(r->e->be, tree, *path, false, st, &err);
		if (rc < 0 && err.status == 404)
			resp_error(r, 404, "Could not find the file %.500s in container %s",
				   raw, c->name);
		else if (rc < 0)
			resp_err(r, &err);
	}
	free(tree);
	return rc;
}

static void archive_stat(struct http_req *r)
{
	struct container *c = api_container(r);
	struct be_stat st;
	char *path = NULL;

	if (!c)
		return;
	if (path_stat(r, c, &path, &st) == 0) {
		char *head = stat_header(path, &st);
		resp_begin(r, 200, "application/json", head);
		resp_end(r);
		free(head);
	}
	free(path);
	container_put(r->e, c);
}
ROUTE("HEAD", "/containers/{}/archive", archive_stat);

static void archive_get(struct http_req *r)
{
	struct container *c = api_container(r);
	struct be_stat st;
	struct err err;
	char *path = NULL;

	if (!c)
		return;
	if (path_stat(r, c, &path, &st) == 0) {
		char *head = stat_header(path, &st), *tree = tree_of(c);
		struct tar_out t = {r, head};
		struct be_sink out = {tar_sink, &t};
		int rc = r->e->ops->tree_pack(r->e->be, tree, path, *path ? base_of(path) : ".",
					      &out, &err);
		tar_finish(&t, rc, &err);
		free(head);
		free(tree);
		container_event(r->e, c, "archive-path", NULL);
	}
	free(path);
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/archive", archive_get);

// The body with gzip, zstd, xz or bzip2 undone, or an error after answering.
struct body_tar {
	struct archive *a;
	struct http_req *r;
	char buf[32768];
};

static la_ssize_t body_pull(struct archive *a, void *ctx, const void **buf)
{
	struct body_tar *b = ctx;
	ssize_t n = http_body_read(&b->r->body, b->buf, sizeof(b->buf));

	*buf = b->buf;
	if (n < 0)
		archive_set_error(a, EIO, "unexpected EOF");
	return n;
}

static ssize_t body_plain(void *ctx, void *buf, size_t n)
{
	return archive_read_data(((struct body_tar *)ctx)->a, buf, n);
}

static int body_unpack(struct http_req *r, const char *tree, const char *path, int flags,
		       struct err *err)
{
	struct body_tar *b = xmalloc(sizeof(*b));
	struct be_source src = {body_plain, b};
	struct archive_entry *ae;
	int rc;

	b->r = r;
	b->a = archive_read_new();
	archive_read_support_filter_gzip(b->a);
	archive_read_support_filter_zstd(b->a);
	archive_read_support_filter_xz(b->a);
	archive_read_support_filter_bzip2(b->a);
	archive_read_support_format_raw(b->a);
	if (archive_read_open(b->a, b, NULL, body_pull, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(b->a, &ae) < ARCHIVE_WARN)
		rc = err_set(err, 400, "Error processing tar file: %s",
			     archive_error_string(b->a) ?: "empty");
	else
		rc = r->e->ops->tree_unpack(r->e->be, tree, path, &src, flags, err);
	archive_read_free(b->a);
	free(b);
	return rc;
}

static void archive_put(struct http_req *r)
{
	struct container *c = api_container(r);
	const char *raw = req_query(r, "path", "");
	int flags =
	    BE_KEEP_OWNER | (req_flag(r, "noOverwriteDirNonDir") ? BE_NO_OVERWRITE_DIR : 0);
	struct err err;

	if (!c)
		return;
	char *tree = tree_of(c), *path = clean_path(raw);
	if (!*raw)
		resp_error(r, 400, "bad parameter: \"path\" cannot be empty");
	else if (jb(c->host, "ReadonlyRootfs", false))
		resp_error(r, 403, "container rootfs is marked read-only");
	else if (body_unpack(r, tree, path, flags, &err) < 0)
		resp_err(r, &err);
	else {
		container_event(r->e, c, "extract-to-dir", NULL);
		resp_empty(r, 200);
	}
	free(path);
	free(tree);
	container_put(r->e, c);
}
ROUTE("PUT", "/containers/{}/archive", archive_put);

static void export_(struct http_req *r)
{
	struct container *c = api_container(r);
	struct tar_out t = {r, NULL};
	struct be_sink out = {tar_sink, &t};
	struct err err;

	if (!c)
		return;
	char *tree = tree_of(c);
	tar_finish(&t, r->e->ops->tree_pack(r->e->be, tree, "/", "", &out, &err), &err);
	container_event(r->e, c, "export", NULL);
	free(tree);
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/export", export_);

// What the runtime itself puts into a root isn't the user's change.
static bool own_file(const char *path)
{
	static const char *const own[] = {"/dev",       "/proc",         "/sys",
					  "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
					  "/.dockerenv"};
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		size_t n = strlen(own[i]);
		if (strncmp(path, own[i], n) == 0 && (!path[n] || path[n] == '/'))
			return true;
	}
	return false;
}

static int add_change(void *ctx, enum be_change kind, const char *path)
{
	if (!own_file(path))
		json_array_append_new(
		    ctx, json_pack("{s:o, s:i}", "Path", jstr(path), "Kind", (int)kind));
	return 0;
}

static void changes(struct http_req *r)
{
	struct container *c = api_container(r);
	json_t *out = json_array();
	struct err err;

	if (c) {
		char *tree = tree_of(c), *base = xasprintf("l-%s", c->chain);
		if (r->e->ops->tree_diff(r->e->be, tree, base, add_change, out, &err) < 0)
			resp_err(r, &err);
		else
			resp_json(r, 200, json_incref(out));
		free(tree);
		free(base);
		container_put(r->e, c);
	}
	json_decref(out);
}
ROUTE("GET", "/containers/{}/changes", changes);

// ---- save ----

static void save(struct http_req *r)
{
	char *one[2] = {r->arg[0], NULL}, *names[HTTP_MAX_QUERY + 1];
	struct tar_out t = {r, NULL};
	struct be_sink out = {tar_sink, &t};
	struct err err;
	size_t n = 0;

	for (int i = 0; !r->arg[0] && i < r->h.nquery; i++)
		if (strcmp(r->h.query[i].k, "names") == 0)
			names[n++] = r->h.query[i].v;
	if (!r->arg[0] && !n)
		resp_error(r, 400, "names: at least one image is needed");
	else
		tar_finish(
		    &t,
		    image_save(r->e, r->arg[0] ? one : names, r->arg[0] ? 1 : n, &out, &err),
		    &err);
}
ROUTE("GET", "/images/get", save);
ROUTE("GET", "/images/{+}/get", save);

// ---- commit, import ----

static void commit(struct http_req *r)
{
	struct err err;
	struct container *c = container_get(r->e, req_query(r, "container", ""), &err);
	json_t *body = c ? req_json(r, true) : NULL;
	const char *repo = req_query(r, "repo", NULL);
	char id[DIGEST_LEN + 1];

	if (!c) {
		resp_err(r, &err);
		return;
	}
	if (body) {
		json_t *cfg = json_deep_copy(c->config), *v;
		const char *key;
		bool hold = !http_query(&r->h, "pause") || req_flag(r, "pause");
		int rc = 0;
		json_object_foreach(body, key,
				    v) if (!json_is_null(v) &&
					   !(json_is_string(v) && !*json_string_value(v)) &&
					   !(json_is_object(v) && !json_object_size(v)))
		    json_object_set(cfg, key, v);
		for (int i = 0; i < r->h.nquery && rc == 0; i++)
			if (strcmp(r->h.query[i].k, "changes") == 0)
				rc = config_change(cfg, r->h.query[i].v, &err);
		bool paused = rc == 0 && hold && container_pause(r->e, c, true, NULL) == 0;
		if (rc == 0)
			rc = image_commit(r->e, c,
					  &(struct image_meta){cfg, NULL,
							       req_query(r, "author", ""),
							       req_query(r, "comment", "")},
					  "commit", id, &err);
		if (paused)
			container_pause(r->e, c, false, NULL);
		if (rc == 0 && repo)
			rc =
			    image_tag_name(r->e, id, repo, req_query(r, "tag", "latest"), &err);
		if (rc < 0)
			resp_err(r, &err);
		else {
			container_event(r->e, c, "commit", json_pack("{s:s}", "imageID", id));
			resp_json(r, 201, json_pack("{s:s}", "Id", id));
		}
		json_decref(cfg);
	}
	json_decref(body);
	container_put(r->e, c);
}
ROUTE("POST", "/commit", commit);
