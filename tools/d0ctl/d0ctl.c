// SPDX-License-Identifier: ISC
// d0ctl: a small client of d0d's API, for hosts and cells without the docker command.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

#include "d0d/client.h"

static const char usage[] =
    "usage: d0ctl [-H URL] COMMAND\n"
    "  -H URL           http://127.0.0.1:2375 (default, or $D0_HOST)\n"
    "  ping             is d0d there?\n"
    "  ps [-a]          containers\n"
    "  images           images\n"
    "  load FILE        an image archive (OCI or docker)\n"
    "  run IMAGE [ARG...]   creates and starts a container; prints its id\n"
    "  start|stop|kill|restart|pause|unpause|rm NAME\n"
    "  wait NAME        its exit code\n"
    "  logs NAME        what it printed\n"
    "  inspect NAME     everything about it, as JSON\n"
    "  events           as they happen\n"
    "  get PATH         any GET of the API, as it comes\n";

struct ctl {
	struct url base;
	struct err err;
};

static _Noreturn void fail(const char *msg)
{
	fprintf(stderr, "d0ctl: %s\n", msg);
	exit(1);
}

static void call(struct ctl *c, const char *method, const char *path,
		 const struct http_upload *up, struct http_call *out)
{
	static const struct client_options opt = {.agent = "d0ctl"};
	struct url u = c->base;

	if ((size_t)snprintf(u.path, sizeof(u.path), "/v1.41%s", path) >= sizeof(u.path))
		fail("path too long");
	if (client_call(&opt, method, &u, NULL, up, out, &c->err) < 0)
		fail(c->err.msg);
	if (out->h.status < 400)
		return;
	char *text = client_text(out, 1 << 20, NULL, &c->err);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	fprintf(stderr, "d0ctl: %s\n", js(o, "message", http_reason(out->h.status)));
	exit(1);
}

static json_t *take_json(struct ctl *c, struct http_call *out)
{
	char *text = client_text(out, 64 << 20, NULL, &c->err);

	if (!text)
		fail(c->err.msg);
	json_t *o = *text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();
	if (!o)
		fail("the answer isn't JSON");
	client_close(out);
	free(text);
	return o;
}

static json_t *call_json(struct ctl *c, const char *method, const char *path,
			 const json_t *body)
{
	char *sent = body ? json_dumps(body, 0) : NULL;
	struct http_upload up = {
	    .data = sent, .size = sent ? strlen(sent) : 0, .type = "application/json"};
	struct http_call out;

	call(c, method, path, sent ? &up : NULL, &out);
	json_t *o = take_json(c, &out);
	free(sent);
	return o;
}

static char *path_of(const char *fmt, const char *name)
{
	struct sbuf b = {0};

	http_percent_encode(&b, name);
	char *out = b.p ? xmalloc(strlen(fmt) + b.len + 1) : xstrdup(fmt);
	if (b.p) {
		const char *at = strchr(fmt, '*');
		sprintf(out, "%.*s%s%s", (int)(at - fmt), fmt, b.p, at + 1);
	}
	sbuf_free(&b);
	return out;
}

static void ps(struct ctl *c, bool all)
{
	json_t *list =
	    call_json(c, "GET", all ? "/containers/json?all=1" : "/containers/json", NULL);

	printf("%-14s%-24s%-24s%s\n", "ID", "NAME", "IMAGE", "STATUS");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);
		const char *name = json_string_value(json_array_get(ja(o, "Names"), 0));
		printf("%-14.12s%-24s%-24s%s\n", js(o, "Id", ""), name ? name + 1 : "",
		       js(o, "Image", ""), js(o, "Status", ""));
	}
	json_decref(list);
}

static void images(struct ctl *c)
{
	json_t *list = call_json(c, "GET", "/images/json", NULL);

	printf("%-44s%-16s%s\n", "NAME", "ID", "BYTES");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);
		const char *tag = json_string_value(json_array_get(ja(o, "RepoTags"), 0));
		const char *id = js(o, "Id", "");
		printf("%-44s%-16.12s%lld\n", tag ? tag : "<none>",
		       strncmp(id, "sha256:", 7) == 0 ? id + 7 : id,
		       (long long)ji(o, "Size", 0));
	}
	json_decref(list);
}

static void copy_out(struct http_call *out, bool framed)
{
	char buf[65536];
	uint8_t head[8] = {0};
	size_t have = 0, left = 0;
	ssize_t n;

	while ((n = http_body_read(&out->body, buf,
				   framed && !left                ? 8 - have
				   : framed && left < sizeof(buf) ? left
								  : sizeof(buf))) > 0) {
		if (!framed || left) {
			fwrite(buf, 1, (size_t)n, head[0] == 2 && framed ? stderr : stdout);
			left -= framed ? (size_t)n : 0;
			fflush(stdout);
			continue;
		}
		memcpy(head + have, buf, (size_t)n);
		have += (size_t)n;
		if (have == 8) {
			left = (size_t)head[4] << 24 | (size_t)head[5] << 16 |
			       (size_t)head[6] << 8 | head[7];
			have = 0;
		}
	}
	client_close(out);
}

static void load(struct ctl *c, const char *file)
{
	struct stat st;
	struct http_call out;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		fail("cannot open the archive");
	struct http_upload up = {
	    .fd = fd, .size = (uint64_t)st.st_size, .type = "application/x-tar"};
	call(c, "POST", "/images/load?quiet=1", &up, &out);
	char *text = client_text(&out, 1 << 20, NULL, &c->err), *save = NULL;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		json_t *o = json_loads(l, 0, NULL);
		const char *error = js(o, "error", NULL);
		if (error)
			fail(error);
		fputs(js(o, "stream", ""), stdout);
		json_decref(o);
	}
	free(text);
	client_close(&out);
	close(fd);
}

static void run(struct ctl *c, char **argv)
{
	json_t *body = json_pack("{s:s}", "Image", argv[0]), *cmd = json_array();

	for (char **a = argv + 1; *a; a++)
		json_array_append_new(cmd, json_string(*a));
	json_object_set_new(body, "Cmd", cmd);
	json_t *o = call_json(c, "POST", "/containers/create", body);
	char *path = path_of("/containers/*/start", js(o, "Id", ""));
	json_decref(call_json(c, "POST", path, NULL));
	printf("%s\n", js(o, "Id", ""));
	free(path);
	json_decref(o);
	json_decref(body);
}

static int stream(struct ctl *c, const char *path, bool framed)
{
	struct http_call out;

	call(c, "GET", path, NULL, &out);
	out.c.timeout_ms = -1;
	const char *type = http_header(&out.h, "Content-Type");
	copy_out(&out, framed && !(type && strstr(type, "json")));
	return 0;
}

static int verb(struct ctl *c, const char *word, const char *name)
{
	static const char *const posts[] = {"start",   "stop",  "kill",
					    "restart", "pause", "unpause"};
	char fmt[64];
	int code = 0;

	for (size_t i = 0; i < 6; i++)
		if (strcmp(word, posts[i]) == 0) {
			snprintf(fmt, sizeof(fmt), "/containers/*/%s", word);
			json_decref(call_json(c, "POST", path_of(fmt, name), NULL));
			return 0;
		}
	if (strcmp(word, "rm") == 0) {
		json_decref(
		    call_json(c, "DELETE", path_of("/containers/*?force=1", name), NULL));
	} else if (strcmp(word, "wait") == 0) {
		struct http_call out;
		call(c, "POST", path_of("/containers/*/wait", name), NULL, &out);
		out.c.timeout_ms = -1;
		json_t *o = take_json(c, &out);
		code = (int)ji(o, "StatusCode", 1);
		printf("%d\n", code);
	} else if (strcmp(word, "logs") == 0) {
		json_t *o = call_json(c, "GET", path_of("/containers/*/json", name), NULL);
		return stream(c, path_of("/containers/*/logs?stdout=1&stderr=1", name),
			      !jb(jo(o, "Config"), "Tty", false));
	} else if (strcmp(word, "inspect") == 0) {
		json_t *o = call_json(c, "GET", path_of("/containers/*/json", name), NULL);
		json_dumpf(o, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		fputs(usage, stderr);
		return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct ctl c = {0};
	const char *host = getenv("D0_HOST");

	if (argc > 2 && strcmp(argv[1], "-H") == 0) {
		host = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (url_parse(host ? host : "http://127.0.0.1:2375", &c.base, &c.err) < 0)
		fail(c.err.msg);
	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		fputs(usage, argc < 2 ? stderr : stdout);
		return argc < 2 ? 2 : 0;
	}
	const char *word = argv[1];
	if (strcmp(word, "ping") == 0)
		return stream(&c, "/_ping", false);
	if (strcmp(word, "ps") == 0)
		return ps(&c, argc > 2), 0;
	if (strcmp(word, "images") == 0)
		return images(&c), 0;
	if (strcmp(word, "events") == 0)
		return stream(&c, "/events", false);
	if (argc < 3) {
		fputs(usage, stderr);
		return 2;
	}
	if (strcmp(word, "load") == 0)
		return load(&c, argv[2]), 0;
	if (strcmp(word, "run") == 0)
		return run(&c, argv + 2), 0;
	if (strcmp(word, "get") == 0)
		return stream(&c, argv[2], false);
	return verb(&c, word, argv[2]);
}
