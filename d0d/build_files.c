// SPDX-License-Identifier: ISC
// The builder's steps that change files: RUN, COPY and ADD make a container; what changed in it
// becomes a layer. See build.c for the theory.
#include "d0d/build.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "d0d/console.h"

// The container a step is done in.
static struct container *make_container(struct build *b, struct stage *st, json_t *cmd,
					json_t *env)
{
	char id[ID_LEN + 1];
	json_t *warnings = json_array();
	json_t *body =
	    json_pack("{s:s, s:o, s:[], s:o, s:s, s:s, s:{s:[s]}, s:{s:s}}", "Image", st->image,
		      "Cmd", cmd, "Entrypoint", "Env", env, "WorkingDir",
		      js(st->config, "WorkingDir", ""), "User", js(st->config, "User", ""),
		      "Healthcheck", "Test", "NONE", "HostConfig", "NetworkMode", "default");
	struct container *c = NULL;

	if (container_create(b->e, NULL, body, id, warnings, b->err) == 0)
		c = container_get(b->e, id, b->err);
	json_decref(body);
	json_decref(warnings);
	return c;
}

static void drop_container(struct build *b, struct container *c)
{
	struct err err;

	if (container_remove(b->e, c, true, true, &err) < 0)
		log_msg("build: container %.12s stays: %s", c->id, err.msg);
	container_put(b->e, c);
}

// Environment of a RUN: the image's, and the ARGs as far as they don't hide it.
static json_t *run_env(struct build *b, const struct stage *st, struct sbuf *args)
{
	json_t *env =
	    ja(st->config, "Env") ? json_deep_copy(ja(st->config, "Env")) : json_array();
	const char *k;
	json_t *v;

	json_object_foreach(st->args, k, v)
	{
		if (build_env_get(st->config, k))
			continue;
		char *kv = xasprintf("%s=%s", k, json_string_value(v));
		json_array_append_new(env, jstr(kv));
		sbuf_addf(args, "%s|", kv);
		free(kv);
	}
	json_object_foreach((json_t *)b->given, k, v)
	{
		if (!build_known_proxy(k) || !json_is_string(v))
			continue;
		char *kv = xasprintf("%s=%s", k, json_string_value(v));
		json_object_set_new(b->used, k, json_true());
		json_array_append_new(env, jstr(kv));
		free(kv);
	}
	return env;
}

// Starts it, passes on what it writes, waits. Its exit code, or -1.
static int watch(struct build *b, struct container *c)
{
	struct console *con = container_console(b->e, c);
	struct sub *out = console_attach(con, true, true);
	char *buf = xmalloc(32768);
	int rc = container_start(b->e, c, b->err), code = -1, stream;
	ssize_t n = 0;

	while (rc == 0 && n >= 0) {
		struct pollfd p = {.fd = sub_fd(out), .events = POLLIN};
		poll(&p, 1, 500);
		while (rc == 0 && (n = sub_take(out, &stream, buf, 32768)) > 0)
			if (b->say(b->ctx, buf, (size_t)n) < 0)
				rc = -1;
		if (rc == 0 && b->gone(b->ctx))
			rc = -1;
		if (rc < 0)
			err_set(b->err, 499, "the client has gone away");
	}
	if (rc == 0)
		rc = container_wait(b->e, c, 0, b->gone, b->ctx, &code);
	sub_close(out);
	free(buf);
	return rc < 0 ? -1 : code;
}

static int commit(struct build *b, struct stage *st, struct container *c, const char *by,
		  const char *key)
{
	struct image_meta m = {st->config, st->history, st->author ? st->author : "", ""};
	char id[DIGEST_LEN + 1];

	if (image_commit(b->e, c, &m, by, id, b->err) < 0)
		return -1;
	image_mark_step(b->e, id);
	build_note(b, key, id);
	return build_take_image(b, st, id, false);
}

static int from_cache(struct build *b, struct stage *st, const char *id)
{
	if (build_take_image(b, st, id, false) < 0)
		return -1;
	return build_say(b, " ---> Using cache\n ---> %.12s\n", id + 7);
}

int build_do_run(struct build *b, struct stage *st, const struct df_step *s)
{
	json_t *cmd = build_command_of(st, s->array, s->rest);
	struct sbuf args = {0};
	json_t *env = run_env(b, st, &args);
	char key[ID_LEN + 1], id[DIGEST_LEN + 1], *shown = json_dumps(cmd, JSON_COMPACT);
	int code = 0, rc;

	for (char **f = s->flags; *f; f++)
		if (strncmp(*f, "--network=", 10) != 0 || strcmp(*f + 10, "default") != 0)
			code = err_set(b->err, 400,
				       "RUN %.60s needs BuildKit, which D0 has not", *f);
	build_key(st, shown ? shown : "", args.p ? args.p : "", key);
	sbuf_free(&args);
	if (code < 0 || build_cached(b, key, id)) {
		json_decref(cmd);
		json_decref(env);
		free(shown);
		return code < 0 ? -1 : from_cache(b, st, id);
	}
	struct container *c = make_container(b, st, cmd, env);
	rc = c ? build_say(b, " ---> Running in %.12s\n", c->id) : -1;
	if (rc == 0)
		rc = code = watch(b, c);
	if (code > 0) {
		b->code = code;
		rc = s->array ? err_set(b->err, 500,
					"The command '%.500s' returned a non-zero code: %d",
					shown ? shown : "", code)
			      : err_set(b->err, 500,
					"The command '/bin/sh -c %.500s' returned a non-zero "
					"code: %d",
					s->rest, code);
	}
	if (rc == 0) {
		char *by = xasprintf("/bin/sh -c %s", s->rest);
		rc = commit(b, st, c, by, key);
		free(by);
	}
	if (rc == 0)
		rc = build_say(b, " ---> Removed intermediate container %.12s\n ---> %.12s\n",
			       c->id, st->image + 7);
	if (c)
		drop_container(b, c);
	free(shown);
	return rc;
}

static ssize_t fd_pull(void *fd, void *buf, size_t n)
{
	return read(*(int *)fd, buf, n);
}

int build_do_copy(struct build *b, struct stage *st, const struct df_step *s)
{
	// Never run: a container is where files can be put and a layer comes from.
	struct container *c = make_container(
	    b, st, json_pack("[s]", "/"),
	    ja(st->config, "Env") ? json_deep_copy(ja(st->config, "Env")) : json_array());
	char sum[ID_LEN + 1], key[ID_LEN + 1], id[DIGEST_LEN + 1];
	int fd = -1, rc = c ? build_copy(b, st, s, c, &fd, sum) : -1;
	bool hit = false;

	if (rc == 0) {
		build_key(st, s->word, sum, key);
		hit = build_cached(b, key, id);
	}
	if (rc == 0 && hit) {
		rc = from_cache(b, st, id);
	} else if (rc == 0) {
		struct be_source src = {fd_pull, &fd};
		char *tree = xasprintf("c-%s", c->id);
		char *by = xasprintf("/bin/sh -c #(nop) %s", s->text);
		lseek(fd, 0, SEEK_SET);
		rc = b->e->ops->tree_unpack(b->e->be, tree, "/", &src, BE_KEEP_OWNER, b->err);
		if (rc == 0)
			rc = commit(b, st, c, by, key);
		if (rc == 0)
			rc = build_say(b, " ---> %.12s\n", st->image + 7);
		free(tree);
		free(by);
	}
	if (fd >= 0)
		close(fd);
	if (c)
		drop_container(b, c);
	return rc;
}
