// SPDX-License-Identifier: ISC
// POST /build: the classic builder over HTTP; and its cache.
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/api.h"
#include "d0d/build.h"
#include "d0d/registry.h"

struct job {
	struct http_req *r;
	bool quiet;
};

static int say(void *ctx, const char *text, size_t n)
{
	struct job *j = ctx;

	return j->quiet ? (req_gone(j->r) ? -1 : 0)
			: resp_json_line(j->r, json_pack("{s:o}", "stream", jstrn(text, n)));
}

static int progress(void *ctx, const char *id, const char *status, uint64_t done,
		    uint64_t total)
{
	struct job *j = ctx;

	if (j->quiet || done)
		return req_gone(j->r) ? -1 : 0;
	json_t *o = json_pack("{s:s}", "status", status);
	if (id)
		json_object_set_new(o, "id", json_string(id));
	return resp_json_line(j->r, o);
}

static bool gone(void *ctx)
{
	return req_gone(((struct job *)ctx)->r);
}

// FROM of an image that isn't here. Without an account: `docker pull` brings others.
static int fetch(void *ctx, const char *name, struct err *err)
{
	struct job *j = ctx;
	struct registry_auth nobody = {0};
	char digest[DIGEST_LEN + 1];
	struct ref ref;
	bool fresh;

	if (ref_parse(name, &ref, err) < 0)
		return -1;
	if (!*ref.tag && !*ref.digest)
		strcpy(ref.tag, "latest");
	return registry_pull(j->r->e, &ref, &nobody, progress, j, digest, &fresh, err);
}

// ---- the context ----

static la_ssize_t body_pull(struct archive *a, void *ctx, const void **buf)
{
	static _Thread_local char chunk[32768];
	ssize_t n = http_body_read(ctx, chunk, sizeof(chunk));

	*buf = chunk;
	if (n < 0)
		archive_set_error(a, 5, "unexpected EOF");
	return n;
}

// The body with its compression undone, in a scratch file.
static int take_context(struct http_req *r, struct err *err)
{
	struct archive *a = archive_read_new();
	struct archive_entry *ae;
	char *buf = xmalloc(65536);
	la_ssize_t n = 0;
	int fd = engine_scratch(r->e, err), rc = fd < 0 ? -1 : 0;

	archive_read_support_filter_gzip(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_raw(a);
	if (rc == 0 && (archive_read_open(a, &r->body, NULL, body_pull, NULL) != ARCHIVE_OK ||
			archive_read_next_header(a, &ae) != ARCHIVE_OK))
		rc = err_set(err, 400, "build context: %s", archive_error_string(a) ?: "empty");
	while (rc == 0 && (n = archive_read_data(a, buf, 65536)) > 0)
		if (fd_write_all(fd, buf, (size_t)n) < 0)
			rc = err_set(err, 507, "no space left on device");
	if (rc == 0 && n < 0)
		rc =
		    err_set(err, 400, "build context: %s", archive_error_string(a) ?: "broken");
	archive_read_free(a);
	free(buf);
	if (rc < 0 && fd >= 0)
		close(fd);
	return rc < 0 ? -1 : fd;
}

// A small file of the context.
static char *context_file(int fd, const char *want, size_t *len, struct err *err)
{
	struct archive *a = archive_read_new();
	struct archive_entry *ae;
	char *text = NULL;
	int got = 0;

	while (*want == '/' || (want[0] == '.' && want[1] == '/'))
		want++;
	archive_read_support_format_tar(a);
	lseek(fd, 0, SEEK_SET);
	archive_read_open_fd(a, fd, 65536);
	while (!text && (got = archive_read_next_header(a, &ae)) >= ARCHIVE_WARN &&
	       got != ARCHIVE_EOF) {
		const char *name = archive_entry_pathname(ae) ?: "";
		name += strncmp(name, "./", 2) == 0 ? 2 : 0;
		if (strcmp(name, want) != 0 || archive_entry_filetype(ae) != AE_IFREG)
			continue;
		text = xmalloc(DF_TEXT_MAX + 2);
		la_ssize_t n = archive_read_data(a, text, DF_TEXT_MAX + 1);
		*len = n > 0 ? (size_t)n : 0;
	}
	if (!text && got != ARCHIVE_EOF)
		err_set(err, 400, "build context: %s", archive_error_string(a) ?: "broken");
	else if (!text)
		err_set(err, 400, "Cannot locate specified Dockerfile: %.200s", want);
	archive_read_free(a);
	return text;
}

// ---- the request ----

static int refuse(struct http_req *r, struct err *err)
{
	const char *platform = req_query(r, "platform", "");

	if (strcmp(req_query(r, "version", "1"), "2") == 0)
		return err_set(err, 400,
			       "BuildKit is not supported by D0: use the classic builder "
			       "(DOCKER_BUILDKIT=0 docker build)");
	if (*req_query(r, "remote", ""))
		return err_set(err, 400,
			       "a remote build context is not supported by D0: fetch it first");
	if (req_flag(r, "squash") || *req_query(r, "outputs", ""))
		return err_set(err, 400, "squash and outputs are not supported by D0");
	if (*platform && strncmp(platform, "linux/amd64", 11) != 0)
		return err_set(err, 400, "D0 runs linux/amd64 images; %.40s isn't supported",
			       platform);
	return 0;
}

// A parameter that is a JSON object, or empty.
static json_t *object_param(struct http_req *r, const char *name)
{
	json_t *o = json_loads(req_query(r, name, "{}"), 0, NULL);

	if (json_is_object(o))
		return o;
	json_decref(o);
	return json_object();
}

static int tag_all(struct http_req *r, struct job *j, const char *id, struct err *err)
{
	for (int i = 0; i < r->h.nquery; i++) {
		struct ref ref;
		if (strcmp(r->h.query[i].k, "t") != 0 || !*r->h.query[i].v)
			continue;
		if (ref_parse(r->h.query[i].v, &ref, err) < 0)
			return -1;
		if (!*ref.tag)
			strcpy(ref.tag, "latest");
		char *full = ref_full(&ref), *fam = ref_familiar(full);
		char *text = xasprintf("Successfully tagged %s\n", fam);
		int rc = image_tag(r->e, id, full, err);
		if (rc == 0)
			say(j, text, strlen(text));
		free(text);
		free(full);
		free(fam);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static void tell_error(struct http_req *r, const struct err *err, int code)
{
	json_t *detail = json_pack("{s:o}", "message", jstr(err->msg));

	if (code)
		json_object_set_new(detail, "code", json_integer(code));
	resp_json_line(r,
		       json_pack("{s:o, s:o}", "errorDetail", detail, "error", jstr(err->msg)));
	resp_end(r);
}

static void run(struct http_req *r, struct build *b, struct job *j)
{
	char id[DIGEST_LEN + 1];

	resp_begin(r, 200, "application/json", NULL);
	int rc = build_run(b, id);
	if (rc == 0) {
		char *text = xasprintf("Successfully built %.12s\n", id + 7);
		resp_json_line(r, json_pack("{s:{s:s}}", "aux", "ID", id));
		say(j, text, strlen(text));
		free(text);
		rc = tag_all(r, j, id, b->err);
	}
	if (rc < 0) {
		tell_error(r, b->err, b->code);
		return;
	}
	if (j->quiet) {
		char *line = xasprintf("%s\n", id);
		resp_json_line(r, json_pack("{s:s}", "stream", line));
		free(line);
	}
	resp_end(r);
	event_emit(r->e, "image", "build", id, json_pack("{s:s}", "name", id));
}

static void build(struct http_req *r)
{
	struct job j = {r, req_flag(r, "q")};
	json_t *given = object_param(r, "buildargs"), *labels = object_param(r, "labels");
	struct dockerfile f = {0};
	struct err err;
	size_t len = 0;
	char *text = NULL;
	int fd = -1, rc = refuse(r, &err);
	const char *name = req_query(r, "dockerfile", "");

	if (rc == 0) {
		fd = take_context(r, &err);
		text =
		    fd < 0 ? NULL : context_file(fd, *name ? name : "Dockerfile", &len, &err);
		rc = text ? dockerfile_parse(text, len, &f, &err) : -1;
	}
	if (rc == 0) {
		struct build b = {.e = r->e,
				  .f = &f,
				  .context = fd,
				  .given = given,
				  .labels = labels,
				  .target = req_query(r, "target", NULL),
				  .no_cache = req_flag(r, "nocache"),
				  .pull = req_flag(r, "pull"),
				  .say = say,
				  .fetch = fetch,
				  .gone = gone,
				  .ctx = &j,
				  .err = &err};
		run(r, &b, &j);
		dockerfile_free(&f);
	} else {
		resp_err(r, &err);
	}
	if (fd >= 0)
		close(fd);
	free(text);
	json_decref(given);
	json_decref(labels);
}
ROUTE("POST", "/build", build);

static void no_session(struct http_req *r)
{
	resp_error(r, 501,
		   "BuildKit is not supported by D0: use the classic builder "
		   "(DOCKER_BUILDKIT=0 docker build)");
}
ROUTE("POST", "/session", no_session);

// Images of steps that nothing uses.
static void prune(struct http_req *r)
{
	json_t *gone = json_array();
	int64_t bytes = 0;

	image_prune_steps(r->e, gone, &bytes);
	resp_json(r, 200,
		  json_pack("{s:o, s:I}", "CachesDeleted", gone, "SpaceReclaimed",
			    (json_int_t)bytes));
}
ROUTE("POST", "/build/prune", prune);
