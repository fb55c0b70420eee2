// SPDX-License-Identifier: ISC
// Exec sessions: one more program inside a running container. They live in memory only: a
// new d0d doesn't know them, as with Docker.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/console.h"
#include "d0d/engine.h"

#define KEEP_MS 300000 // how long an ended session can still be inspected

static void exec_free(struct exec *x)
{
	console_free(x->con);
	json_decref(x->config);
	pthread_cond_destroy(&x->changed);
	free(x);
}

void exec_put(struct engine *e, struct exec *x)
{
	engine_lock(e);
	bool last = --x->refs == 0;
	engine_unlock(e);
	if (last)
		exec_free(x);
}

// Forgets sessions that ended long ago or whose container is gone.
static void forget_old(struct engine *e)
{
	int64_t now = mono_ms();

	for (struct exec **at = &e->execs; *at;) {
		struct exec *x = *at;
		bool old = !x->running && ((x->started && now - x->ended_ms > KEEP_MS) ||
					   !container_find_locked(e, x->container, NULL));
		if (!old || x->refs > 1) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		exec_free(x);
	}
}

int exec_create(struct engine *e, struct container *c, json_t *body, char id[ID_LEN + 1],
		struct err *err)
{
	struct exec *x;
	int rc = 0;

	if (json_array_size(ja(body, "Cmd")) == 0)
		return err_set(err, 400, "No exec command specified");
	engine_lock(e);
	if (c->state == C_PAUSED)
		rc = err_set(err, 409,
			     "Container %s is paused, unpause the container before exec",
			     c->name);
	else if (c->state != C_RUNNING)
		rc = err_set(err, 409, "container %s is not running", c->id);
	if (rc == 0) {
		forget_old(e);
		x = xcalloc(1, sizeof(*x));
		id_make(x->id);
		strcpy(id, x->id);
		strcpy(x->container, c->id);
		x->config = json_incref(body);
		x->exit_code = -1;
		x->refs = 1;
		x->con = console_new(NULL, 0);
		engine_cond_init(&x->changed);
		x->next = e->execs;
		e->execs = x;
	}
	engine_unlock(e);
	if (rc == 0) {
		char *cmd =
		    xasprintf("exec_create: %s",
			      json_string_value(json_array_get(ja(body, "Cmd"), 0)) ?: "");
		container_event(e, c, cmd, json_pack("{s:s}", "execID", id));
		free(cmd);
	}
	return rc;
}

struct exec *exec_get(struct engine *e, const char *id, struct err *err)
{
	engine_lock(e);
	struct exec *x = e->execs;
	while (x && strcmp(x->id, id) != 0)
		x = x->next;
	if (x)
		x->refs++;
	else
		err_set(err, 404, "No such exec instance: %.100s", id);
	engine_unlock(e);
	return x;
}

struct watch {
	struct engine *e;
	struct exec *x;
	struct container *c;
};

static void finish(struct engine *e, struct exec *x, int code)
{
	engine_lock(e);
	x->exit_code = code;
	x->running = false;
	x->ended_ms = mono_ms();
	pthread_cond_broadcast(&x->changed);
	engine_unlock(e);
}

static void *watch_main(void *arg)
{
	struct watch w = *(struct watch *)arg;
	struct be_exit out = {0};
	char code[16];

	free(arg);
	w.e->ops->wait(w.x->proc, &out);
	// The code is known before the stream ends: clients ask for it right after.
	finish(w.e, w.x, out.code);
	console_end(w.x->con, 1000);
	engine_lock(w.e);
	struct be_proc *p = w.x->proc;
	w.x->proc = NULL;
	engine_unlock(w.e);
	w.e->ops->release(p);
	snprintf(code, sizeof(code), "%d", out.code);
	container_event(w.e, w.c, "exec_die",
			json_pack("{s:s, s:s}", "execID", w.x->id, "exitCode", code));
	exec_put(w.e, w.x);
	container_put(w.e, w.c);
	return NULL;
}

static int run(struct engine *e, struct exec *x, struct container *c, uint16_t rows,
	       uint16_t cols, struct err *err)
{
	struct be_spec *s = spec_make_exec(e, c, x, err);
	struct be_proc *in = s ? proc_hold(e, c, err) : NULL, *p = NULL;
	struct be_io io;
	int rc = in ? 0 : -1;

	if (rc == 0) {
		s->rows = rows;
		s->cols = cols;
		rc = e->ops->exec(e->be, in, s, &p, err);
		proc_drop(e, c);
	}
	if (rc == 0) {
		e->ops->io(p, &io);
		console_begin(x->con, &io, s->tty);
		engine_lock(e);
		x->proc = p;
		x->pid = e->ops->pid(p);
		engine_unlock(e);
	}
	spec_free(s);
	return rc;
}

static int claim(struct engine *e, struct exec *x, struct err *err)
{
	int rc = 0;

	engine_lock(e);
	if (x->started)
		rc = err_set(err, 409,
			     x->running ? "exec command %s is already running"
					: "Error: Exec command %s has already run",
			     x->id);
	else
		x->started = x->running = true;
	engine_unlock(e);
	return rc;
}

int exec_start(struct engine *e, struct exec *x, uint16_t rows, uint16_t cols, struct err *err)
{
	if (claim(e, x, err) < 0)
		return -1;
	struct container *c = container_get(e, x->container, err);
	if (!c || run(e, x, c, rows, cols, err) < 0) {
		bool missing =
		    strstr(err->msg, "not found") || strstr(err->msg, "no such file");
		finish(e, x, missing ? 127 : 126);
		console_hangup(x->con);
		if (c)
			container_put(e, c);
		return -1;
	}
	struct watch *w = xmalloc(sizeof(*w));
	*w = (struct watch){e, x, c};
	engine_lock(e);
	x->refs++;
	engine_unlock(e);
	char *cmd = xasprintf("exec_start: %s",
			      json_string_value(json_array_get(ja(x->config, "Cmd"), 0)) ?: "");
	container_event(e, c, cmd, json_pack("{s:s}", "execID", x->id));
	free(cmd);
	engine_thread(watch_main, w);
	return 0;
}
