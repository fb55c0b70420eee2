// SPDX-License-Identifier: ISC
// Health checks: a thread for each container that has one runs its probe as an exec session
// at the interval, and keeps the last five results.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/console.h"
#include "d0d/engine.h"

#define LOG_KEEP   5
#define OUTPUT_MAX 4096

static const char *const names[] = {[H_NONE] = "none",
				    [H_STARTING] = "starting",
				    [H_HEALTHY] = "healthy",
				    [H_UNHEALTHY] = "unhealthy"};

// The probe's argv as a new array, or NULL if there is none.
static json_t *probe_argv(const json_t *config)
{
	const json_t *test = ja(jo(config, "Healthcheck"), "Test");
	const char *kind = json_string_value(json_array_get(test, 0));

	if (!kind || strcmp(kind, "NONE") == 0 || json_array_size(test) < 2)
		return NULL;
	if (strcmp(kind, "CMD-SHELL") == 0) {
		const json_t *shell = ja(config, "Shell");
		json_t *argv = json_array_size(shell) ? json_deep_copy(shell)
						      : json_pack("[s, s]", "/bin/sh", "-c");
		json_array_append(argv, json_array_get(test, 1));
		return argv;
	}
	json_t *argv = json_array();
	for (size_t i = 1; i < json_array_size(test); i++)
		json_array_append(argv, json_array_get(test, i));
	return argv;
}

void health_reset_locked(struct container *c)
{
	json_t *argv = probe_argv(c->config);

	c->health = argv ? H_STARTING : H_NONE;
	c->health_fails = 0;
	json_decref(c->health_log);
	c->health_log = json_array();
	json_decref(argv);
}

json_t *health_json(const struct container *c)
{
	json_t *argv = probe_argv(c->config);

	json_decref(argv);
	if (!argv)
		return NULL;
	return json_pack("{s:s, s:i, s:O?}", "Status",
			 names[c->health == H_NONE ? H_STARTING : c->health], "FailingStreak",
			 c->health_fails, "Log", c->health_log);
}

struct probe {
	struct engine *e;
	struct container *c;
	unsigned run;
	json_t *argv;
	int64_t interval, timeout, start_period, retries;
};

static int64_t ms_of(const json_t *h, const char *key, int64_t dflt)
{
	int64_t ns = ji(h, key, 0);

	return ns > 0 ? (ns + 999999) / 1000000 : dflt;
}

static bool still(struct probe *p)
{
	return p->c->run == p->run && p->c->proc && !p->e->stopping;
}

// Sleeps with the lock; false once the run is over.
static bool sleep_locked(struct probe *p, int64_t ms)
{
	int64_t until = mono_ms() + ms;

	while (still(p) && mono_ms() < until)
		engine_wait(p->e, &p->c->changed, until - mono_ms() + 1);
	return still(p);
}

static void collect(struct sub *s, struct sbuf *out)
{
	char buf[2048];
	int stream;
	ssize_t n;

	while ((n = sub_take(s, &stream, buf, sizeof(buf))) > 0)
		if (out->len < OUTPUT_MAX)
			sbuf_add(out, buf, (size_t)n);
}

// Runs the probe once: its exit code, or -1 with OUT saying why.
static int run_once(struct probe *p, struct sbuf *out)
{
	json_t *body = json_pack("{s:O, s:b, s:b}", "Cmd", p->argv, "AttachStdout", true,
				 "AttachStderr", true);
	char id[ID_LEN + 1];
	struct err err;
	int code = -1;
	struct exec *x =
	    exec_create(p->e, p->c, body, id, &err) < 0 ? NULL : exec_get(p->e, id, &err);

	json_decref(body);
	if (!x) {
		sbuf_adds(out, err.msg);
		return -1;
	}
	struct sub *s = console_attach(x->con, true, true);
	if (exec_start(p->e, x, 0, 0, &err) < 0) {
		sbuf_adds(out, err.msg);
	} else {
		int64_t until = mono_ms() + p->timeout;
		engine_lock(p->e);
		while (x->running && mono_ms() < until && still(p))
			engine_wait(p->e, &x->changed, 50);
		bool late = x->running;
		if (late && x->proc)
			p->e->ops->signal(x->proc, 9, NULL);
		code = late ? -1 : x->exit_code;
		engine_unlock(p->e);
		collect(s, out);
		if (late)
			sbuf_addf(out, "Health check exceeded timeout (%lldms)",
				  (long long)p->timeout);
	}
	sub_close(s);
	exec_put(p->e, x);
	return code;
}

// Returns the status if it changed, else NULL.
static const char *judge(struct probe *p, int code, int64_t began, const struct sbuf *out)
{
	struct container *c = p->c;
	enum hstate before = c->health;

	while (json_array_size(c->health_log) >= LOG_KEEP)
		json_array_remove(c->health_log, 0);
	json_array_append_new(c->health_log,
			      json_pack("{s:o, s:o, s:i, s:o}", "Start", jtime(began), "End",
					jtime(now_ns()), "ExitCode", code, "Output",
					jstr(out->p ? out->p : "")));
	if (code == 0) {
		c->health = H_HEALTHY;
		c->health_fails = 0;
	} else if (before == H_STARTING &&
		   now_ns() - c->started_ns < p->start_period * 1000000) {
		return NULL; // failures don't count yet
	} else if (++c->health_fails >= p->retries) {
		c->health = H_UNHEALTHY;
	}
	return c->health != before ? names[c->health] : NULL;
}

static void *health_main(void *arg)
{
	struct probe *p = arg;

	engine_lock(p->e);
	while (sleep_locked(p, p->interval)) {
		struct sbuf out = {0};
		const char *news = NULL;
		if (p->c->state == C_PAUSED)
			continue;
		engine_unlock(p->e);
		int64_t began = now_ns();
		int code = run_once(p, &out);
		engine_lock(p->e);
		if (still(p))
			news = judge(p, code, began, &out);
		sbuf_free(&out);
		if (!news)
			continue;
		engine_unlock(p->e);
		char *action = xasprintf("health_status: %s", news);
		container_event(p->e, p->c, action, NULL);
		free(action);
		engine_lock(p->e);
	}
	engine_unlock(p->e);
	json_decref(p->argv);
	container_put(p->e, p->c);
	free(p);
	return NULL;
}

void health_start(struct engine *e, struct container *c)
{
	const json_t *h = jo(c->config, "Healthcheck");
	json_t *argv = probe_argv(c->config);
	struct probe *p;

	if (!argv)
		return;
	p = xmalloc(sizeof(*p));
	*p = (struct probe){.e = e, .c = c, .argv = argv};
	p->interval = ms_of(h, "Interval", 30000);
	p->timeout = ms_of(h, "Timeout", 30000);
	p->start_period = ms_of(h, "StartPeriod", 0);
	p->retries = ji(h, "Retries", 0) > 0 ? ji(h, "Retries", 0) : 3;
	engine_lock(e);
	p->run = c->run;
	c->refs++;
	engine_unlock(e);
	engine_thread(health_main, p);
}
