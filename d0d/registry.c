// SPDX-License-Identifier: ISC
// Talking to registries, and pulling from them; push.c pushes.
//
// Sources: OCI distribution-spec 1.0; Docker's token authentication (Www-Authenticate:
// Bearer realm, service, scope).
// Everything that arrives is checked against the digest by which it was asked for; blobs are
// hashed while they are written. Layers that are known already aren't fetched again.
#include "d0d/registry.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/registry_impl.h"

#define ACCEPT                                                        \
	"Accept: application/vnd.oci.image.index.v1+json, "           \
	"application/vnd.oci.image.manifest.v1+json, "                \
	"application/vnd.docker.distribution.manifest.list.v2+json, " \
	"application/vnd.docker.distribution.manifest.v2+json\r\n"

// ---- credentials ----

static int base64_decode(const char *in, char *out, size_t cap)
{
	char *norm = xstrdup(in);
	size_t n = strlen(norm);

	while (n && norm[n - 1] == '=')
		norm[--n] = 0;
	for (size_t i = 0; i < n; i++)
		norm[i] = norm[i] == '-' ? '+' : norm[i] == '_' ? '/' : norm[i];
	char *padded = xasprintf("%s%.*s", norm, (int)((4 - n % 4) % 4), "===");
	size_t len = strlen(padded);
	int got = len / 4 * 3 < cap
		      ? EVP_DecodeBlock((unsigned char *)out, (unsigned char *)padded, (int)len)
		      : -1;
	if (got >= 0)
		got -= (int)(len - n);
	out[got < 0 ? 0 : got] = 0;
	free(norm);
	free(padded);
	return got;
}

void registry_auth_parse(const char *header, struct registry_auth *a)
{
	char text[8192];

	memset(a, 0, sizeof(*a));
	if (!header || strlen(header) > 8000 || base64_decode(header, text, sizeof(text)) < 0)
		return;
	json_t *o = json_loads(text, 0, NULL);
	snprintf(a->user, sizeof(a->user), "%s", js(o, "username", ""));
	snprintf(a->password, sizeof(a->password), "%s", js(o, "password", ""));
	snprintf(a->token, sizeof(a->token), "%s", js(o, "identitytoken", ""));
	json_decref(o);
}

static void basic_header(const struct registry_auth *a, char *out, size_t cap)
{
	char *text = xasprintf("%s:%s", a->user, a->password), b64[3200];

	EVP_EncodeBlock((unsigned char *)b64, (unsigned char *)text, (int)strlen(text));
	snprintf(out, cap, "Authorization: Basic %s\r\n", b64);
	OPENSSL_cleanse(text, strlen(text));
	free(text);
}

// The value of KEY in a challenge such as: Bearer realm="x",service="y".
static bool challenge_get(const char *text, const char *key, char *out, size_t cap)
{
	size_t n = strlen(key);

	for (const char *p = text; (p = strstr(p, key)); p += n) {
		if ((p > text && p[-1] != ' ' && p[-1] != ',') || p[n] != '=' ||
		    p[n + 1] != '"')
			continue;
		size_t len = strcspn(p + n + 2, "\"");
		if (len >= cap)
			return false;
		memcpy(out, p + n + 2, len);
		out[len] = 0;
		return true;
	}
	return false;
}

static int ask_token(struct reg *g, const char *realm, const char *service, const char *scope)
{
	struct sbuf b = {0};
	struct http_call call;
	char basic[4096] = "", *text = NULL;
	struct url u;
	int rc = 0;

	sbuf_addf(&b, "%s%sservice=", realm, strchr(realm, '?') ? "&" : "?");
	http_percent_encode(&b, service);
	if (*scope) {
		sbuf_adds(&b, "&scope=");
		http_percent_encode(&b, scope);
	}
	if (*g->auth->user) {
		sbuf_adds(&b, "&account=");
		http_percent_encode(&b, g->auth->user);
		basic_header(g->auth, basic, sizeof(basic));
	}
	rc = url_parse(b.p, &u, g->err);
	sbuf_free(&b);
	// Credentials go to a clear-text realm only if the registry itself is spoken to so.
	if (rc == 0 && *basic && !u.tls && g->base.tls)
		return err_set(g->err, 500, "refusing to send credentials to %s in clear",
			       u.host);
	if (rc < 0 ||
	    client_call(&g->opt, "GET", &u, *basic ? basic : NULL, NULL, &call, g->err) < 0)
		return -1;
	if (call.h.status == 401 || call.h.status == 403)
		rc = err_set(g->err, 401, "unauthorized: incorrect username or password");
	else if (call.h.status != 200)
		rc = err_set(g->err, 500, "the token server answered %d", call.h.status);
	else
		text = client_text(&call, 1 << 20, NULL, g->err);
	client_close(&call);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *tok = js(o, "token", js(o, "access_token", NULL));
	if (rc == 0 && (!tok || strlen(tok) + 40 > sizeof(g->bearer) || strpbrk(tok, "\r\n")))
		rc = text ? err_set(g->err, 500, "the token server gave no usable token") : -1;
	if (rc == 0)
		snprintf(g->bearer, sizeof(g->bearer), "Authorization: Bearer %s\r\n", tok);
	json_decref(o);
	free(text);
	return rc;
}

// Answers a 401: afterwards g->bearer holds the header to send.
static int authorise(struct reg *g, const char *challenge, const char *repo)
{
	char realm[1024], service[256] = "", scope[700] = "";

	if (challenge && strncasecmp(challenge, "Basic", 5) == 0) {
		if (!*g->auth->user)
			return err_set(g->err, 401, "no basic auth credentials");
		basic_header(g->auth, g->bearer, sizeof(g->bearer));
		return 0;
	}
	if (!challenge || strncasecmp(challenge, "Bearer ", 7) != 0 ||
	    !challenge_get(challenge, "realm", realm, sizeof(realm)))
		return err_set(g->err, 500,
			       "the registry asks for an unknown kind of authentication");
	challenge_get(challenge, "service", service, sizeof(service));
	if (repo)
		snprintf(scope, sizeof(scope), "repository:%.500s:%s", repo, g->scope);
	return ask_token(g, realm, service, scope);
}

// ---- calls ----

int reg_call(struct reg *g, const char *method, const struct url *u, const char *more,
	     const struct http_upload *up, struct http_call *call)
{
	for (int round = 0;; round++) {
		char *headers = xasprintf("%s%s", g->bearer, more ? more : "");
		int rc = client_call(&g->opt, method, u, headers, up, call, g->err);
		free(headers);
		if (rc < 0)
			return -1;
		if (call->h.status != 401 || round)
			return 0;
		const char *ch = http_header(&call->h, "Www-Authenticate");
		char *copy = ch ? xstrdup(ch) : NULL;
		client_close(call);
		rc = authorise(g, copy, g->r ? g->r->path : NULL);
		free(copy);
		if (rc < 0)
			return -1;
		if (up && !up->data)
			lseek(up->fd, 0, SEEK_SET);
	}
}

int reg_url(struct reg *g, struct url *u, const char *fmt, ...)
{
	va_list ap;

	*u = g->base;
	va_start(ap, fmt);
	int n = vsnprintf(u->path, sizeof(u->path), fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= sizeof(u->path) ? err_set(g->err, 400, "name too long")
						     : 0;
}

// A registry's error body as a message.
int reg_answer_error(struct reg *g, struct http_call *call, const char *what)
{
	char *text = client_text(call, 1 << 20, NULL, g->err), *fam;
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const json_t *first = json_array_get(ja(o, "errors"), 0);
	const char *msg = js(first, "message", NULL), *code = js(first, "code", "");
	int s = call->h.status;

	fam = ref_familiar_name(g->r);
	if (s == 401 || s == 403)
		err_set(g->err, 404,
			"pull access denied for %s, repository does not exist or may require "
			"'docker "
			"login': denied: %s",
			fam, msg ? msg : "requested access to the resource is denied");
	else if (s == 404 && strcmp(code, "NAME_UNKNOWN") == 0)
		err_set(g->err, 404, "%s: name unknown: %s", fam,
			msg ? msg : "repository name not known to registry");
	else if (s == 404)
		err_set(g->err, 404, "%s not found: manifest unknown: %s", what,
			msg ? msg : "manifest unknown");
	else if (s == 429)
		err_set(g->err, 429, "toomanyrequests: %s", msg ? msg : "too many requests");
	else
		err_set(g->err, 500, "the registry answered %d for %s: %s", s, what,
			msg ? msg : "");
	json_decref(o);
	free(text);
	free(fam);
	return -1;
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
	       strcmp(host, "::1") == 0;
}

static bool listed(const char *list, const char *domain)
{
	size_t n = strlen(domain);

	for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
		size_t len = strcspn(p, ",");
		if ((len == n && memcmp(p, domain, n) == 0) ||
		    (len < n && domain[len] == ':' && !memcmp(p, domain, len)))
			return true;
	}
	return false;
}

// Finds out how the registry is spoken to: TLS, or in clear where that is allowed.
int reg_open(struct reg *g, const char *domain)
{
	const char *host = strcmp(domain, "docker.io") == 0 ? "registry-1.docker.io" : domain;
	char *text = xasprintf("https://%s/v2/", host);
	struct err first = {0};
	struct http_call call;
	int rc = url_parse(text, &g->base, g->err);

	free(text);
	g->opt = (struct client_options){.ca_file = g->e->cfg.registry_ca,
					 .agent = "docker/28.0 d0d"};
	if (rc < 0)
		return -1;
	bool clear_ok =
	    is_loopback(g->base.host) || listed(g->e->cfg.insecure_registries, domain);
	rc = client_call(&g->opt, "GET", &g->base, NULL, NULL, &call, &first);
	if (rc < 0 && clear_ok) {
		g->base.tls = false;
		if (!strchr(host, ':') || host[strlen(host) - 1] == ']')
			strcpy(g->base.port, "80");
		rc = client_call(&g->opt, "GET", &g->base, NULL, NULL, &call, g->err);
	} else if (rc < 0) {
		return err_set(g->err, 500, "Get \"https://%s/v2/\": %.500s", host, first.msg);
	}
	if (rc < 0)
		return -1;
	int s = call.h.status;
	const char *ch = http_header(&call.h, "Www-Authenticate");
	char *copy = s == 401 && ch ? xstrdup(ch) : NULL;
	client_close(&call);
	if (s == 401)
		rc = authorise(g, copy, g->r ? g->r->path : NULL);
	else if (s != 200)
		rc = err_set(g->err, 500, "%s isn't a registry: it answered %d", host, s);
	free(copy);
	return rc;
}

// ---- pull ----

// A manifest's exact text; DIGEST (in: "" or what is expected; out: what it is).
static char *get_manifest(struct reg *g, const char *name, char digest[DIGEST_LEN + 1],
			  size_t *len, char type[100])
{
	char is[DIGEST_LEN + 1], *text = NULL, what[700];
	struct http_call call;
	struct url u;

	snprintf(what, sizeof(what), "manifest for %.400s:%.100s", g->r->path, name);
	if (reg_url(g, &u, "/v2/%s/manifests/%s", g->r->path, name) < 0 ||
	    reg_call(g, "GET", &u, ACCEPT, NULL, &call) < 0)
		return NULL;
	if (call.h.status != 200)
		reg_answer_error(g, &call, what);
	else
		text = client_text(&call, MANIFEST_MAX, len, g->err);
	if (text) {
		const char *t = http_header(&call.h, "Content-Type");
		snprintf(type, 100, "%.*s", t ? (int)strcspn(t, ";") : 0, t ? t : "");
		sha256_text(text, *len, is);
		if (*digest && strcmp(digest, is) != 0) {
			err_set(g->err, 500, "manifest verification failed for digest %s",
				digest);
			free(text);
			text = NULL;
		}
		strcpy(digest, is);
	}
	client_close(&call);
	return text;
}

// The entry for linux/amd64 of an index.
static const char *choose(const json_t *index)
{
	const json_t *list = ja(index, "manifests");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *d = json_array_get(list, i), *p = jo(d, "platform");
		if (!p || (strcmp(js(p, "os", ""), "linux") == 0 &&
			   strcmp(js(p, "architecture", ""), "amd64") == 0))
			return js(d, "digest", NULL);
	}
	return NULL;
}

static int fetch_blob(struct reg *g, const char *digest, uint64_t size, const char *id)
{
	struct blob_writer w;
	struct http_call call;
	struct url u;
	char *buf, got[DIGEST_LEN + 1];
	uint64_t done = 0, told = 0;
	ssize_t n;
	int rc = 0;

	if (blob_exists(g->e, digest, NULL))
		return 0;
	if (reg_url(g, &u, "/v2/%s/blobs/%s", g->r->path, digest) < 0 ||
	    reg_call(g, "GET", &u, NULL, NULL, &call) < 0)
		return -1;
	if (call.h.status != 200) {
		rc = reg_answer_error(g, &call, digest);
		client_close(&call);
		return rc;
	}
	buf = xmalloc(65536);
	rc = blob_begin(g->e, &w, g->err);
	while (rc == 0 && (n = http_body_read(&call.body, buf, 65536)) != 0) {
		if (n < 0)
			rc = err_set(g->err, 500, "unexpected EOF in %s", digest);
		else
			rc = blob_write(&w, buf, (size_t)n, g->err);
		done += n > 0 ? (uint64_t)n : 0;
		if (rc == 0 && size && done > size)
			rc = err_set(g->err, 500, "%s is longer than its descriptor says",
				     digest);
		if (rc == 0 && id && done - told >= (512u << 10)) {
			told = done;
			rc = g->progress(g->ctx, id, "Downloading", done, size);
		}
	}
	if (rc == 0)
		rc = blob_finish(&w, digest, got, g->err);
	else if (w.tmp)
		blob_abort(&w);
	free(buf);
	client_close(&call);
	if (rc < 0 && g->err->status == 400)
		g->err->status = 500;
	return rc;
}

void reg_short_id(const char *digest, char out[13])
{
	snprintf(out, 13, "%.12s", digest + 7);
}

// With an image store a layer that it has is not fetched again; the config names the layers.
static int known_layers(struct reg *g, const char *cfg, uint64_t size, bool *known, size_t n)
{
	char chain[ID_LEN + 1] = "", below[ID_LEN + 1], *text;
	size_t len = 0;

	if (!images_in_store(g->e))
		return 0;
	if (fetch_blob(g, cfg, size, NULL) < 0)
		return -1;
	text = blob_text(g->e, cfg, MANIFEST_MAX, &len);
	json_t *c = text ? json_loadb(text, len, 0, NULL) : NULL;
	const json_t *diffs = ja(jo(c, "rootfs"), "diff_ids");
	engine_lock(g->e);
	for (size_t i = 0; i < n && i < json_array_size(diffs); i++) {
		const char *d = json_string_value(json_array_get(diffs, i));
		if (!d || !ref_valid_digest(d))
			break;
		strcpy(below, chain);
		chain_id(below, d, chain);
		// One that only waits for collection is not in the store any more.
		known[i] = layer_in_image_locked(g->e, chain);
		if (!known[i])
			break; // what lies above is new as well
	}
	engine_unlock(g->e);
	json_decref(c);
	free(text);
	return 0;
}

static int pull_image(struct reg *g, const json_t *man, const char *man_text, size_t man_len,
		      char id[DIGEST_LEN + 1])
{
	const json_t *list = ja(man, "layers");
	size_t n = json_array_size(list), len = 0;
	const char *cfg = js(jo(man, "config"), "digest", "");
	char **blobs = xcalloc(n + 1, sizeof(*blobs)), **media = xcalloc(n + 1, sizeof(*media)),
	     tag[13];
	bool *known = xcalloc(n + 1, sizeof(*known));
	int rc = 0;

	if (!ref_valid_digest(cfg))
		rc = err_set(g->err, 500,
			     "the manifest has no config (schema 1 isn't supported)");
	else
		rc = known_layers(g, cfg, (uint64_t)ji(jo(man, "config"), "size", 0), known, n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const json_t *d = json_array_get(list, i);
		blobs[i] = (char *)js(d, "digest", "");
		media[i] = (char *)js(d, "mediaType", "");
		if (!ref_valid_digest(blobs[i])) {
			rc = err_set(g->err, 500, "invalid digest in the manifest");
			break;
		}
		reg_short_id(blobs[i], tag);
		bool have = known[i] || blob_exists(g->e, blobs[i], NULL);
		rc = g->progress(g->ctx, tag, have ? "Already exists" : "Pulling fs layer", 0,
				 0);
		if (rc == 0 && !have)
			rc = fetch_blob(g, blobs[i], (uint64_t)ji(d, "size", 0), tag);
		if (rc == 0 && !have)
			rc = g->progress(g->ctx, tag, "Download complete", 0, 0);
	}
	if (rc == 0)
		rc = fetch_blob(g, cfg, (uint64_t)ji(jo(man, "config"), "size", 0), NULL);
	char *text = rc == 0 ? blob_text(g->e, cfg, MANIFEST_MAX, &len) : NULL;
	if (rc == 0)
		rc = text ? image_build(g->e, text, len, blobs, media, n, id, g->err)
			  : err_set(g->err, 500, "the image's config is unreadable");
	if (rc == 0)
		image_keep_manifest(g->e, id, man_text, man_len);
	for (size_t i = 0; i < n && rc == 0; i++) {
		reg_short_id(blobs[i], tag);
		rc = g->progress(g->ctx, tag, "Pull complete", 0, 0);
	}
	free(known);
	free(text);
	free(blobs);
	free(media);
	return rc;
}

static int pull_held(struct reg *g, char digest[DIGEST_LEN + 1], char id[DIGEST_LEN + 1])
{
	const struct ref *r = g->r;
	char type[100], inner[DIGEST_LEN + 1] = "";
	size_t len = 0;

	if (reg_open(g, r->domain) < 0)
		return -1;
	snprintf(digest, DIGEST_LEN + 1, "%.71s", r->digest);
	char *text = get_manifest(g, *r->digest ? r->digest : r->tag, digest, &len, type);
	json_t *man = text ? json_loadb(text, len, 0, NULL) : NULL;
	int rc = 0;
	if (text && ja(man, "manifests")) {
		const char *want = choose(man);
		snprintf(inner, sizeof(inner), "%s",
			 want && ref_valid_digest(want) ? want : "");
		free(text);
		json_decref(man);
		if (!*inner)
			return err_set(g->err, 404,
				       "no matching manifest for linux/amd64 in the manifest "
				       "list entries");
		text = get_manifest(g, inner, inner, &len, type);
		man = text ? json_loadb(text, len, 0, NULL) : NULL;
	}
	if (!text)
		rc = -1;
	else if (!json_is_object(man))
		rc = err_set(g->err, 500, "the manifest isn't JSON");
	else
		rc = pull_image(g, man, text, len, id);
	json_decref(man);
	free(text);
	return rc;
}

int registry_pull(struct engine *e, const struct ref *r, const struct registry_auth *auth,
		  progress_fn *progress, void *ctx, char digest[DIGEST_LEN + 1], bool *fresh,
		  struct err *err)
{
	struct reg *g = xcalloc(1, sizeof(*g));
	char id[DIGEST_LEN + 1] = "", old[DIGEST_LEN + 1] = "";
	struct ref by_digest = *r, by_tag = *r;

	*g = (struct reg){.e = e,
			  .r = r,
			  .auth = auth,
			  .scope = "pull",
			  .progress = progress,
			  .ctx = ctx,
			  .err = err};
	by_tag.digest[0] = 0;
	char *full = ref_full(&by_tag);
	engine_lock(e);
	struct image *had = image_find_locked(e, full, NULL);
	if (had)
		strcpy(old, had->id);
	engine_unlock(e);
	err->msg[0] = 0;
	import_begin(e);
	int rc = pull_held(g, digest, id);
	if (rc == 0 && *r->tag && !*r->digest)
		rc = image_tag(e, id, full, err);
	if (rc == 0) {
		by_digest.tag[0] = 0;
		snprintf(by_digest.digest, sizeof(by_digest.digest), "%s", digest);
		char *dig = ref_full(&by_digest);
		rc = image_add_digest(e, id, dig, err);
		free(dig);
	}
	if (rc < 0)
		__atomic_store_n(&e->gc_wanted, true, __ATOMIC_RELEASE);
	import_end(e);
	if (rc < 0 && !*err->msg)
		err_set(err, 500, "the client has gone away");
	if (rc < 0 && err->status == 401) { // 401 would make the CLI ask for a password
		char *fam = ref_familiar_name(r);
		err_set(err, 404,
			"pull access denied for %s, repository does not exist or may require "
			"'docker "
			"login': denied: requested access to the resource is denied",
			fam);
		free(fam);
	}
	*fresh = strcmp(old, id) != 0;
	free(full);
	free(g);
	return rc;
}

int registry_login(struct engine *e, const char *server, const struct registry_auth *auth,
		   struct err *err)
{
	struct reg *g = xcalloc(1, sizeof(*g));
	char domain[256];

	if (strncmp(server, "https://", 8) == 0)
		server += 8;
	snprintf(domain, sizeof(domain), "%.*s", (int)strcspn(server, "/"), server);
	if (!*domain || strcmp(domain, "index.docker.io") == 0)
		strcpy(domain, "docker.io");
	*g = (struct reg){.e = e, .auth = auth, .scope = "pull", .err = err};
	int rc = reg_open(g, domain);
	if (rc == 0) { // with the token, or the password, the door must open
		struct http_call call;
		rc = reg_call(g, "GET", &g->base, NULL, NULL, &call);
		if (rc == 0) {
			if (call.h.status != 200)
				rc = err_set(
				    err, 401,
				    "login attempt to https://%s/v2/ failed with status: %d",
				    domain, call.h.status);
			client_close(&call);
		}
	}
	free(g);
	return rc;
}
