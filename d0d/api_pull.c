// SPDX-License-Identifier: ISC
// pull (images/create), import, push, login, search.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/api.h"
#include "d0d/registry.h"

// Progress as JSON lines. The head is sent with the first one, so that what fails before
// any progress is a proper error answer.
static int progress(void *ctx, const char *id, const char *status, uint64_t done,
		    uint64_t total)
{
	struct http_req *r = ctx;
	json_t *o = json_pack("{s:s}", "status", status);

	if (!r->started)
		resp_begin(r, 200, "application/json", NULL);
	if (id)
		json_object_set_new(o, "id", json_string(id));
	json_object_set_new(o, "progressDetail", json_object());
	if (done) {
		char text[64];
		snprintf(text, sizeof(text), "%.1fMB/%.1fMB", (double)done / 1e6,
			 (double)total / 1e6);
		json_object_set_new(o, "progressDetail",
				    json_pack("{s:I, s:I}", "current", (json_int_t)done,
					      "total", (json_int_t)total));
		json_object_set_new(o, "progress", json_string(text));
	}
	return resp_json_line(r, o);
}

static void say(struct http_req *r, const char *id, const char *fmt, const char *arg)
{
	char *text = xasprintf("%s%s", fmt, arg);
	json_t *o = json_pack("{s:o}", "status", jstr(text));

	if (id)
		json_object_set_new(o, "id", json_string(id));
	if (!r->started)
		resp_begin(r, 200, "application/json", NULL);
	resp_json_line(r, o);
	free(text);
}

// An error after the head has left travels in the stream.
static void stream_err(struct http_req *r, const struct err *err)
{
	if (!r->started) {
		resp_err(r, err);
		return;
	}
	resp_json_line(r, json_pack("{s:{s:o}, s:o}", "errorDetail", "message", jstr(err->msg),
				    "error", jstr(err->msg)));
	resp_end(r);
}

static void pull(struct http_req *r)
{
	const char *from = req_query(r, "fromImage", ""), *tag = req_query(r, "tag", "");
	char *name =
	    !*tag ? xstrdup(from)
		  : xasprintf("%s%c%s", from, strncmp(tag, "sha256:", 7) == 0 ? '@' : ':', tag);
	struct registry_auth auth;
	char digest[DIGEST_LEN + 1] = "";
	const char *platform = req_query(r, "platform", "");
	bool fresh = false;
	struct ref ref;
	struct err err;

	registry_auth_parse(http_header(&r->h, "X-Registry-Auth"), &auth);
	int rc = ref_parse(name, &ref, &err);
	if (rc == 0 && *platform && strncmp(platform, "linux/amd64", 11) != 0)
		rc = err_set(&err, 400, "D0 runs linux/amd64 images; %.40s isn't supported",
			     platform);
	if (rc == 0 && !*ref.tag && !*ref.digest)
		strcpy(ref.tag, "latest");
	if (rc == 0) {
		rc = registry_pull(r->e, &ref, &auth, progress, r, digest, &fresh, &err);
	}
	memset(&auth, 0, sizeof(auth));
	if (rc < 0) {
		stream_err(r, &err);
	} else {
		char *full = ref_full(&ref), *fam = ref_familiar(full);
		say(r, NULL, "Digest: ", digest);
		say(r, NULL,
		    fresh ? "Status: Downloaded newer image for "
			  : "Status: Image is up to date for ",
		    fam);
		resp_end(r);
		event_emit(r->e, "image", "pull", fam, json_pack("{s:o}", "name", jstr(fam)));
		free(full);
		free(fam);
	}
	free(name);
}

static ssize_t body_read(void *ctx, void *buf, size_t n)
{
	return http_body_read(ctx, buf, n);
}

static void import(struct http_req *r)
{
	const char *src = req_query(r, "fromSrc", ""), *repo = req_query(r, "repo", ""),
		   *tag = req_query(r, "tag", "latest");
	struct be_source body = {body_read, &r->body};
	json_t *changes = json_array();
	char id[DIGEST_LEN + 1];
	struct ref ref;
	struct err err;
	int rc = 0;

	for (int i = 0; i < r->h.nquery; i++)
		if (strcmp(r->h.query[i].k, "changes") == 0)
			json_array_append_new(changes, jstr(r->h.query[i].v));
	if (strcmp(src, "-") != 0)
		rc = err_set(
		    &err, 400,
		    "import from a URL is not supported by D0: fetch it and pipe it in");
	else if (*repo && ref_parse(repo, &ref, &err) < 0)
		rc = -1;
	if (rc == 0)
		rc = image_import(r->e, &body, changes, req_query(r, "message", ""), id, &err);
	if (rc == 0 && *repo)
		rc = image_tag_name(r->e, id, repo, tag, &err);
	json_decref(changes);
	if (rc < 0) {
		resp_err(r, &err);
		return;
	}
	say(r, NULL, "", id);
	resp_end(r);
}

static void create(struct http_req *r)
{
	if (*req_query(r, "fromSrc", ""))
		import(r);
	else if (*req_query(r, "fromImage", ""))
		pull(r);
	else
		resp_error(r, 400, "fromImage or fromSrc is needed");
}
ROUTE("POST", "/images/create", create);

static void push(struct http_req *r)
{
	const char *tag = req_query(r, "tag", "");
	char *name = *tag ? xasprintf("%s:%s", r->arg[0], tag) : xstrdup(r->arg[0]);
	struct push_result out = {0};
	struct registry_auth auth;
	struct ref ref;
	struct err err;

	registry_auth_parse(http_header(&r->h, "X-Registry-Auth"), &auth);
	int rc = ref_parse(name, &ref, &err);
	if (rc == 0 && !*ref.tag)
		strcpy(ref.tag, "latest");
	if (rc == 0) {
		char *fam = ref_familiar_name(&ref);
		engine_lock(r->e);
		char *full = ref_full(&ref);
		bool have = image_find_locked(r->e, full, NULL) != NULL;
		engine_unlock(r->e);
		if (have)
			say(r, NULL, "The push refers to repository ", fam);
		rc = registry_push(r->e, &ref, &auth, progress, r, &out, &err);
		free(full);
		free(fam);
	}
	memset(&auth, 0, sizeof(auth));
	if (rc < 0) {
		stream_err(r, &err);
	} else {
		char *text =
		    xasprintf("%s: digest: %s size: %zu", ref.tag, out.digest, out.size);
		say(r, NULL, "", text);
		resp_json_line(r,
			       json_pack("{s:{s:s, s:s, s:I}}", "aux", "Tag", ref.tag, "Digest",
					 out.digest, "Size", (json_int_t)out.size));
		resp_end(r);
		event_emit(r->e, "image", "push", name, json_pack("{s:o}", "name", jstr(name)));
		free(text);
	}
	free(name);
}
ROUTE("POST", "/images/{+}/push", push);

static void login(struct http_req *r)
{
	json_t *body = req_json(r, false);
	struct registry_auth a = {0};
	struct err err;

	if (!body)
		return;
	snprintf(a.user, sizeof(a.user), "%s", js(body, "username", ""));
	snprintf(a.password, sizeof(a.password), "%s", js(body, "password", ""));
	if (registry_login(r->e, js(body, "serveraddress", ""), &a, &err) < 0)
		resp_err(r, &err);
	else
		resp_json(
		    r, 200,
		    json_pack("{s:s, s:s}", "Status", "Login Succeeded", "IdentityToken", ""));
	memset(&a, 0, sizeof(a));
	json_decref(body);
}
ROUTE("POST", "/auth", login);

static void search(struct http_req *r)
{
	resp_error(r, 501,
		   "search is not supported by D0: the registry API has no search; look at the "
		   "registry's own "
		   "site");
}
ROUTE("GET", "/images/search", search);

// Docker asks before pushes and for `--platform`: the digest a name stands for.
static void distribution(struct http_req *r)
{
	resp_error(r, 404, "manifest information of %.200s is not available: pull it",
		   r->arg[0]);
}
ROUTE("GET", "/distribution/{+}/json", distribution);
