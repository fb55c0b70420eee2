// SPDX-License-Identifier: ISC
// /exec: create, start (hijacked or detached), inspect, resize.
#include <stdlib.h>
#include <string.h>

#include "d0d/api.h"
#include "d0d/console.h"

static void create(struct http_req *r)
{
	struct container *c = api_container(r);
	json_t *body = c ? req_json(r, false) : NULL;
	char id[ID_LEN + 1];
	struct err err;

	if (!c)
		return;
	if (body) {
		if (exec_create(r->e, c, body, id, &err) < 0)
			resp_err(r, &err);
		else
			resp_json(r, 201, json_pack("{s:s}", "Id", id));
	}
	json_decref(body);
	container_put(r->e, c);
}
ROUTE("POST", "/containers/{}/exec", create);

static struct exec *the_exec(struct http_req *r)
{
	struct err err;
	struct exec *x = exec_get(r->e, r->arg[0], &err);

	if (!x)
		resp_err(r, &err);
	return x;
}

struct session {
	struct engine *e;
	struct exec *x;
};

static void close_in(void *ctx)
{
	struct session *s = ctx;

	console_close_in(s->x->con);
	engine_lock(s->e); // the watcher takes proc away under it before releasing
	if (s->x->proc)
		s->e->ops->close_in(s->x->proc);
	engine_unlock(s->e);
}

// What fails after the connection was turned into a stream is said in the stream; the exit
// code then tells (126, 127), as with Docker.
static void run_attached(struct http_req *r, struct exec *x, uint16_t rows, uint16_t cols)
{
	bool tty = jb(x->config, "Tty", false);
	struct sub *s = console_attach(x->con, jb(x->config, "AttachStdout", false),
				       jb(x->config, "AttachStderr", false));
	struct err err;

	resp_hijack(r, tty || r->api_minor < 42 ? "application/vnd.docker.raw-stream"
						: "application/vnd.docker.multiplexed-stream");
	if (exec_start(r->e, x, rows, cols, &err) < 0) {
		char *text = xasprintf("OCI runtime exec failed: %s\r\n", err.msg);
		stream_frame(r, CON_STDOUT, text, strlen(text), tty);
		free(text);
	} else {
		struct session ss = {r->e, x};
		struct relay_opts o = {.in = jb(x->config, "AttachStdin", false),
				       .tty = tty,
				       .once = true,
				       .detach = js(x->config, "DetachKeys", NULL)};
		if (o.detach && !*o.detach)
			o.detach = NULL;
		relay_run(r, x->con, s, &o, close_in, &ss);
	}
	sub_close(s);
	conn_shutdown_write(r->c);
}

static void start(struct http_req *r)
{
	json_t *body = req_json(r, true);
	struct exec *x = body ? the_exec(r) : NULL;
	struct err err;

	if (x) {
		const json_t *size = ja(body, "ConsoleSize");
		uint16_t rows = (uint16_t)json_integer_value(json_array_get(size, 0));
		uint16_t cols = (uint16_t)json_integer_value(json_array_get(size, 1));
		engine_lock(r->e);
		bool again = x->started, running = x->running;
		engine_unlock(r->e);
		if (again)
			resp_error(r, 409,
				   running ? "exec command %s is already running"
					   : "Error: Exec command %s has already run",
				   x->id);
		else if (!jb(body, "Detach", false))
			run_attached(r, x, rows, cols);
		else if (exec_start(r->e, x, rows, cols, &err) < 0)
			resp_err(r, &err);
		else
			resp_empty(r, 200);
		exec_put(r->e, x);
	}
	json_decref(body);
}
ROUTE("POST", "/exec/{}/start", start);

static void inspect(struct http_req *r)
{
	struct exec *x = the_exec(r);

	if (!x)
		return;
	const json_t *cmd = ja(x->config, "Cmd");
	json_t *args = json_array();
	for (size_t i = 1; i < json_array_size(cmd); i++)
		json_array_append(args, json_array_get(cmd, i));
	engine_lock(r->e);
	json_t *o = json_pack(
	    "{s:s, s:b, s:o, s:{s:b, s:s, s:O?, s:o, s:b}, s:b, s:b, s:b, s:b, s:s, s:i}", "ID",
	    x->id, "Running", x->running, "ExitCode",
	    x->exit_code < 0 ? json_null() : json_integer(x->exit_code), "ProcessConfig", "tty",
	    jb(x->config, "Tty", false), "entrypoint",
	    json_string_value(json_array_get(cmd, 0)) ?: "", "user",
	    json_object_get(x->config, "User"), "arguments", args, "privileged", 0, "OpenStdin",
	    jb(x->config, "AttachStdin", false), "OpenStderr",
	    jb(x->config, "AttachStderr", false), "OpenStdout",
	    jb(x->config, "AttachStdout", false), "CanRemove", !x->running, "ContainerID",
	    x->container, "Pid", x->pid);
	engine_unlock(r->e);
	exec_put(r->e, x);
	resp_json(r, 200, o);
}
ROUTE("GET", "/exec/{}/json", inspect);

static void resize(struct http_req *r)
{
	struct exec *x = the_exec(r);
	int64_t h = req_int(r, "h", 0), w = req_int(r, "w", 0);
	struct err err;

	if (!x)
		return;
	engine_lock(r->e);
	int rc = h < 0 || w < 0 || h > 65535 || w > 65535
		     ? err_set(&err, 400, "invalid terminal size")
		 : x->proc ? r->e->ops->resize(x->proc, (uint16_t)h, (uint16_t)w, &err)
			   : err_set(&err, 409, "exec process is not running");
	engine_unlock(r->e);
	if (rc < 0)
		resp_err(r, &err);
	else
		resp_empty(r, 200);
	exec_put(r->e, x);
}
ROUTE("POST", "/exec/{}/resize", resize);
