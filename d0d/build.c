// SPDX-License-Identifier: ISC
// The image builder.
//
// Problem: a Dockerfile's steps are what a container host does anyway: make a container of an
// image, run something in it or put files there, commit it. Model: a stage is an image so far
// and a config on top of it. Steps that only change the config are gathered; one that changes
// files (RUN, COPY, ADD) makes a container, and what it changed becomes a layer and an image,
// which the next step begins from. At the stage's end what was gathered becomes one more image
// of the same layers. Cache: such an image is found again by a key: the image before, the
// config, the step's text with its variables in their place, and for COPY and ADD a digest of
// the files (build/<key> holds the image's id; one whose image is gone is a miss). Images of
// steps have no name, are not listed, and go with `builder prune`. Failure: the step's
// container is removed, the images of the steps before remain as cache.
#include "d0d/build.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/ref.h"

#define STAGES_MAX 100

int build_say(struct build *b, const char *fmt, ...)
{
	char buf[2048];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	int rc = b->say(b->ctx, buf, n < (int)sizeof(buf) ? (size_t)n : sizeof(buf) - 1);
	return rc < 0 ? err_set(b->err, 499, "the client has gone away") : 0;
}

// ---- variables ----

struct scope {
	struct build *b;
	struct stage *st; // NULL before the first FROM
};

const char *build_env_get(const json_t *config, const char *name)
{
	const json_t *env = ja(config, "Env");
	size_t n = strlen(name);

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strncmp(s, name, n) == 0 && s[n] == '=')
			return s + n + 1;
	}
	return NULL;
}

static const char *lookup(void *ctx, const char *name)
{
	struct scope *s = ctx;
	const char *v = s->st ? build_env_get(s->st->config, name) : NULL;

	return v ? v : js(s->st ? s->st->args : s->b->globals, name, NULL);
}

static char *expand(struct build *b, struct stage *st, const char *text)
{
	struct scope s = {b, st};

	return df_expand(text, b->f->escape, lookup, &s, b->err);
}

char **build_words(struct build *b, struct stage *st, const struct df_step *s)
{
	struct scope sc = {b, st};

	if (s->array && (strcmp(s->word, "COPY") == 0 || strcmp(s->word, "ADD") == 0 ||
			 strcmp(s->word, "VOLUME") == 0)) {
		char **raw = jstrv(s->array), **out = raw;
		for (; *raw; raw++) {
			char *v = df_expand(*raw, b->f->escape, lookup, &sc, b->err);
			if (!v) {
				strv_free(out);
				return NULL;
			}
			free(*raw);
			*raw = v;
		}
		return out;
	}
	return df_words(s->rest, b->f->escape, lookup, &sc, b->err);
}

// ---- stages ----

// The stage goes on from this image; its config and history are the stage's.
int build_take_image(struct build *b, struct stage *st, const char *id, bool config)
{
	int rc = 0;

	engine_lock(b->e);
	struct image *im = image_by_id_locked(b->e, id);
	if (im) {
		strcpy(st->image, im->id);
		json_decref(st->history);
		st->history = ja(im->config, "history")
				  ? json_deep_copy(ja(im->config, "history"))
				  : json_array();
		if (config) {
			json_decref(st->config);
			st->config = jo(im->config, "config")
					 ? json_deep_copy(jo(im->config, "config"))
					 : json_object();
		}
		st->dirty = false;
	} else {
		rc = err_set(b->err, 404, "No such image: %s", id);
	}
	engine_unlock(b->e);
	return rc;
}

struct stage *build_stage(struct build *b, const char *name)
{
	char *end;
	unsigned long n = strtoul(name, &end, 10);

	for (size_t i = 0; i + 1 < b->nstages; i++)
		if (b->stage[i].name && strcasecmp(b->stage[i].name, name) == 0)
			return &b->stage[i];
	return *name && !*end && n + 1 < b->nstages ? &b->stage[n] : NULL;
}

static ssize_t zeros(void *ctx, void *buf, size_t n)
{
	size_t *left = ctx;

	n = n < *left ? n : *left;
	memset(buf, 0, n);
	*left -= n;
	return (ssize_t)n;
}

// `FROM scratch`: an image of one empty layer.
static int from_scratch(struct build *b, char id[DIGEST_LEN + 1])
{
	size_t left = 1024;
	struct be_source src = {zeros, &left};

	return image_import(b->e, &src, NULL, "scratch", id, b->err);
}

static int find_base(struct build *b, const char *name, char id[DIGEST_LEN + 1])
{
	struct stage *earlier = build_stage(b, name);
	struct image *im = NULL;

	if (earlier) {
		strcpy(id, earlier->image);
		return 0;
	}
	if (strcmp(name, "scratch") == 0)
		return from_scratch(b, id);
	for (int round = 0; round < 2 && !im; round++) {
		engine_lock(b->e);
		im = b->pull && !round ? NULL : image_find_locked(b->e, name, b->err);
		if (im)
			strcpy(id, im->id);
		engine_unlock(b->e);
		if (!im && !round && b->fetch(b->ctx, name, b->err) < 0)
			return -1;
	}
	return im ? 0 : -1;
}

// Before a stage ends: what its config says becomes an image.
static int settle(struct build *b, struct stage *st)
{
	char key[ID_LEN + 1], id[DIGEST_LEN + 1], top[ID_LEN + 1] = "";
	struct image_meta m = {st->config, st->history, st->author ? st->author : "", ""};

	if (!st->dirty)
		return 0;
	build_key(st, "", m.author, key);
	if (build_cached(b, key, id))
		return build_take_image(b, st, id, true);
	engine_lock(b->e);
	struct image *im = image_by_id_locked(b->e, st->image);
	if (im)
		strcpy(top, image_parent_chain(im));
	engine_unlock(b->e);
	if (image_of_layers(b->e, top, &m, id, b->err) < 0)
		return -1;
	build_note(b, key, id);
	return build_take_image(b, st, id, true);
}

static int do_from(struct build *b, const struct df_step *s)
{
	char **w, id[DIGEST_LEN + 1];
	const char *platform = df_flag(s, "platform");
	int rc;

	if (b->nstages && settle(b, &b->stage[b->nstages - 1]) < 0)
		return -1;
	if (b->nstages == STAGES_MAX)
		return err_set(b->err, 400, "more than %d stages", STAGES_MAX);
	if (platform && *platform && strncmp(platform, "linux/amd64", 11) != 0 &&
	    *platform != '$')
		return err_set(b->err, 400, "D0 runs linux/amd64 images; %.40s isn't supported",
			       platform);
	struct scope sc = {b, NULL};
	w = df_words(s->rest, b->f->escape, lookup, &sc, b->err);
	if (!w)
		return -1;
	bool named = w[0] && w[1] && strcasecmp(w[1], "AS") == 0 && w[2] && !w[3];
	if (!w[0] || !*w[0] || (w[1] && !named)) {
		strv_free(w);
		return err_set(b->err, 400,
			       "dockerfile parse error line %d: FROM requires either one or "
			       "three arguments",
			       s->line);
	}
	b->stage = xrealloc(b->stage, (b->nstages + 1) * sizeof(*b->stage));
	struct stage *st = &b->stage[b->nstages++];
	*st = (struct stage){.args = json_object()};
	rc = find_base(b, w[0], id);
	if (rc == 0)
		rc = build_take_image(b, st, id, true);
	if (named)
		st->name = xstrdup(w[2]);
	strv_free(w);
	return rc < 0 ? -1 : build_say(b, " ---> %.12s\n", st->image + 7);
}

// ---- steps that change the config ----

static void said(struct stage *st, const struct df_step *s)
{
	char *by = xasprintf("/bin/sh -c #(nop)  %s", s->text);

	json_array_append_new(st->history,
			      json_pack("{s:o, s:o, s:b}", "created", jtime(now_ns()),
					"created_by", jstr(by), "empty_layer", 1));
	st->dirty = true;
	free(by);
}

static json_t *object_in(json_t *config, const char *key)
{
	if (!jo(config, key))
		json_object_set_new(config, key, json_object());
	return jo(config, key);
}

static void env_set(json_t *config, const char *name, const char *value)
{
	char *kv = xasprintf("%s=%s", name, value);
	size_t n = strlen(name);
	json_t *env = ja(config, "Env");

	if (!env) {
		env = json_array();
		json_object_set_new(config, "Env", env);
	}
	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strncmp(s, name, n) == 0 && s[n] == '=') {
			json_array_set_new(env, i, jstr(kv));
			free(kv);
			return;
		}
	}
	json_array_append_new(env, jstr(kv));
	free(kv);
}

// ENV and LABEL: k=v ..., or "k value" in the old form.
static int do_pairs(struct build *b, struct stage *st, const struct df_step *s)
{
	bool env = strcmp(s->word, "ENV") == 0;
	char **w = build_words(b, st, s);
	json_t *labels = env ? NULL : object_in(st->config, "Labels");
	int rc = 0;

	if (!w)
		return -1;
	if (w[0] && !strchr(w[0], '=') && w[1]) {
		const char *old = s->rest + strcspn(s->rest, " \t");
		char *v = expand(b, st, old + strspn(old, " \t"));
		if (v && env)
			env_set(st->config, w[0], v);
		else if (v)
			json_object_set_new(labels, w[0], jstr(v));
		rc = v ? 0 : -1;
		free(v);
	} else {
		for (char **p = w; *p && rc == 0; p++) {
			char *eq = strchr(*p, '=');
			if (!eq || eq == *p) {
				rc = err_set(b->err, 400,
					     "dockerfile parse error line %d: Syntax error - "
					     "can't find = in \"%.100s\". Must be of the form: "
					     "name=value",
					     s->line, *p);
				break;
			}
			*eq = 0;
			if (env)
				env_set(st->config, *p, eq + 1);
			else
				json_object_set_new(labels, *p, jstr(eq + 1));
		}
	}
	strv_free(w);
	return rc;
}

static json_t *shell_of(const struct stage *st)
{
	json_t *own = ja(st->config, "Shell");

	return own ? json_deep_copy(own) : json_pack("[s, s]", "/bin/sh", "-c");
}

// A command: as an array, or a text for the shell.
json_t *build_command_of(const struct stage *st, json_t *array, const char *text)
{
	if (array)
		return json_deep_copy(array);
	json_t *cmd = shell_of(st);
	json_array_append_new(cmd, jstr(text));
	return cmd;
}

static int do_command(struct build *b, struct stage *st, const struct df_step *s)
{
	if (strcmp(s->word, "CMD") == 0) {
		json_object_set_new(st->config, "Cmd", build_command_of(st, s->array, s->rest));
		st->own_cmd = true;
	} else if (strcmp(s->word, "ENTRYPOINT") == 0) {
		json_object_set_new(st->config, "Entrypoint",
				    build_command_of(st, s->array, s->rest));
		if (!st->own_cmd) // the base's was for its own entry point
			json_object_del(st->config, "Cmd");
	} else if (!s->array || !json_array_size(s->array)) {
		return err_set(b->err, 400,
			       "dockerfile parse error line %d: SHELL requires the arguments "
			       "to be in JSON form",
			       s->line);
	} else {
		json_object_set(st->config, "Shell", s->array);
	}
	return 0;
}

static int do_workdir(struct build *b, struct stage *st, const char *to)
{
	const char *at = js(st->config, "WorkingDir", "");
	char *path =
	    *to == '/' ? xstrdup(to) : xasprintf("%s/%s", *at && strcmp(at, "/") ? at : "", to);
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	json_object_set_new(st->config, "WorkingDir", jstr(path));
	free(path);
	return 0;
}

static int do_one_word(struct build *b, struct stage *st, const struct df_step *s)
{
	char *v = expand(b, st, s->rest);

	if (!v)
		return -1;
	int rc = 0;
	if (strcmp(s->word, "WORKDIR") == 0)
		rc = do_workdir(b, st, v);
	else if (strcmp(s->word, "USER") == 0)
		json_object_set_new(st->config, "User", jstr(v));
	else if (signal_parse(v) < 0)
		rc = err_set(b->err, 400, "Invalid signal: %.40s", v);
	else
		json_object_set_new(st->config, "StopSignal", jstr(v));
	free(v);
	return rc;
}

static int do_set(struct build *b, struct stage *st, const struct df_step *s)
{
	bool volume = strcmp(s->word, "VOLUME") == 0;
	json_t *o = object_in(st->config, volume ? "Volumes" : "ExposedPorts");
	char **w = build_words(b, st, s);
	int rc = w ? 0 : -1;

	for (char **p = w; p && *p && rc == 0; p++) {
		size_t n = strspn(*p, "0123456789-");
		if (volume) {
			json_object_set_new(o, *p, json_object());
		} else if (!n ||
			   ((*p)[n] && strcmp(*p + n, "/tcp") && strcmp(*p + n, "/udp"))) {
			rc = err_set(b->err, 400, "Invalid containerPort: %.60s", *p);
		} else {
			char *port = (*p)[n] ? xstrdup(*p) : xasprintf("%s/tcp", *p);
			json_object_set_new(o, port, json_object());
			free(port);
		}
	}
	strv_free(w);
	return rc;
}

// "1m30s" in ns; -1 if malformed.
static int64_t duration(const char *s)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ms", 1e6},   {"us", 1e3}, {"ns", 1},
		     {"h", 3600e9}, {"m", 60e9}, {"s", 1e9}};
	double sum = 0;

	while (*s) {
		char *end;
		double v = strtod(s, &end);
		size_t i = 0;
		while (i < 6 && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0)
			i++;
		if (end == s || i == 6 || !(v >= 0 && v < 1e9))
			return -1;
		sum += v * units[i].ns;
		s = end + strlen(units[i].unit);
	}
	return sum < 9e18 ? (int64_t)sum : -1;
}

static int do_health(struct build *b, struct stage *st, const struct df_step *s)
{
	static const char *const times[][2] = {
	    {"interval", "Interval"}, {"timeout", "Timeout"}, {"start-period", "StartPeriod"}};
	json_t *h = json_object();
	size_t n = strcspn(s->rest, " \t");
	const char *cmd = s->rest + n + strspn(s->rest + n, " \t");
	int rc = 0;

	if (n == 4 && strncasecmp(s->rest, "NONE", 4) == 0 && !*cmd) {
		json_object_set_new(h, "Test", json_pack("[s]", "NONE"));
	} else if (n == 3 && strncasecmp(s->rest, "CMD", 3) == 0 && *cmd) {
		json_t *a = *cmd == '[' ? json_loads(cmd, 0, NULL) : NULL;
		json_t *test = json_pack("[s]", json_is_array(a) ? "CMD" : "CMD-SHELL");
		if (json_is_array(a))
			json_array_extend(test, a);
		else
			json_array_append_new(test, jstr(cmd));
		json_object_set_new(h, "Test", test);
		json_decref(a);
	} else {
		rc = err_set(b->err, 400,
			     "dockerfile parse error line %d: Unknown type in HEALTHCHECK (try "
			     "CMD)",
			     s->line);
	}
	for (size_t i = 0; i < 3 && rc == 0; i++) {
		const char *v = df_flag(s, times[i][0]);
		int64_t ns = v ? duration(v) : 0;
		if (ns < 0)
			rc = err_set(b->err, 400, "invalid duration \"%.40s\"", v);
		else if (v)
			json_object_set_new(h, times[i][1], json_integer((json_int_t)ns));
	}
	const char *retries = df_flag(s, "retries");
	if (retries)
		json_object_set_new(h, "Retries", json_integer(atoi(retries)));
	if (rc == 0)
		json_object_set(st->config, "Healthcheck", h);
	json_decref(h);
	return rc;
}

bool build_known_proxy(const char *name)
{
	static const char *const names[] = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY",
					    "NO_PROXY", "ALL_PROXY"};

	for (size_t i = 0; i < 5; i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return false;
}

// ST is NULL before the first FROM.
static int do_arg(struct build *b, struct stage *st, const struct df_step *s)
{
	struct scope sc = {b, st};
	char **w = df_words(s->rest, b->f->escape, lookup, &sc, b->err);
	json_t *into = st ? st->args : b->globals;

	for (char **p = w; p && *p; p++) {
		char *eq = strchr(*p, '=');
		if (eq)
			*eq = 0;
		const char *given = js(b->given, *p, NULL);
		if (given)
			json_object_set_new(b->used, *p, json_true());
		const char *v = given ? given
				: eq  ? eq + 1
				: st  ? js(b->globals, *p, NULL)
				      : NULL;
		if (v)
			json_object_set_new(into, *p, jstr(v));
	}
	strv_free(w);
	return w ? 0 : -1;
}

static int do_maintainer(struct build *b, struct stage *st, const struct df_step *s)
{
	free(st->author);
	st->author = expand(b, st, s->rest);
	return st->author ? 0 : -1;
}

// ---- the whole ----

static const struct {
	const char *word;
	int (*fn)(struct build *b, struct stage *st, const struct df_step *s);
	bool files;
} steps[] = {{"RUN", build_do_run, true},
	     {"COPY", build_do_copy, true},
	     {"ADD", build_do_copy, true},
	     {"ENV", do_pairs, false},
	     {"LABEL", do_pairs, false},
	     {"CMD", do_command, false},
	     {"ENTRYPOINT", do_command, false},
	     {"SHELL", do_command, false},
	     {"WORKDIR", do_one_word, false},
	     {"USER", do_one_word, false},
	     {"STOPSIGNAL", do_one_word, false},
	     {"EXPOSE", do_set, false},
	     {"VOLUME", do_set, false},
	     {"HEALTHCHECK", do_health, false},
	     {"ARG", do_arg, false},
	     {"MAINTAINER", do_maintainer, false}};

static int one_step(struct build *b, const struct df_step *s)
{
	struct stage *st = b->nstages ? &b->stage[b->nstages - 1] : NULL;

	if (strcmp(s->word, "FROM") == 0)
		return do_from(b, s);
	if (strcmp(s->word, "ARG") == 0 && !st)
		return do_arg(b, NULL, s);
	if (!st)
		return err_set(b->err, 400, "no build stage in current context");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (strcmp(steps[i].word, s->word) != 0)
			continue;
		int rc = steps[i].fn(b, st, s);
		if (rc == 0 && !steps[i].files)
			said(st, s);
		return rc;
	}
	return err_set(b->err, 400, "%s is not supported by D0", s->word);
}

// The step behind the last one to do: the stage after TARGET, or the end.
static int find_end(struct build *b, size_t *end)
{
	bool found = false;

	*end = b->f->n;
	if (!b->target || !*b->target)
		return 0;
	for (size_t i = 0; i < b->f->n; i++) {
		const struct df_step *s = &b->f->step[i];
		if (strcmp(s->word, "FROM") != 0)
			continue;
		if (found) {
			*end = i;
			return 0;
		}
		const char *as = strrchr(s->rest, ' ');
		found = as && strcasecmp(as + 1, b->target) == 0;
	}
	return found ? 0
		     : err_set(b->err, 400, "target stage \"%.100s\" could not be found",
			       b->target);
}

static int finish(struct build *b, char id[DIGEST_LEN + 1])
{
	struct stage *st = b->nstages ? &b->stage[b->nstages - 1] : NULL;
	const char *k;
	json_t *v;

	if (!st)
		return err_set(b->err, 400,
			       "No image was generated. Is your Dockerfile empty?");
	json_object_foreach((json_t *)b->labels, k, v)
	{
		json_object_set(object_in(st->config, "Labels"), k, v);
		st->dirty = true;
	}
	if (settle(b, st) < 0)
		return -1;
	strcpy(id, st->image);
	json_object_foreach((json_t *)b->given, k, v)
	{
		if (!json_object_get(b->used, k) && !build_known_proxy(k) &&
		    build_say(b,
			      "[Warning] One or more build-args [%.100s] were not consumed\n",
			      k) < 0)
			return -1;
	}
	return 0;
}

int build_run(struct build *b, char id[DIGEST_LEN + 1])
{
	size_t end;
	int rc = find_end(b, &end);

	b->globals = json_object();
	b->used = json_object();
	for (size_t i = 0; i < end && rc == 0; i++) {
		rc = build_say(b, "Step %zu/%zu : %.1900s\n", i + 1, end, b->f->step[i].text);
		if (rc == 0)
			rc = one_step(b, &b->f->step[i]);
	}
	if (rc == 0)
		rc = finish(b, id);
	for (size_t i = 0; i < b->nstages; i++) {
		free(b->stage[i].name);
		free(b->stage[i].author);
		json_decref(b->stage[i].config);
		json_decref(b->stage[i].history);
		json_decref(b->stage[i].args);
	}
	free(b->stage);
	json_decref(b->globals);
	json_decref(b->used);
	return rc;
}
