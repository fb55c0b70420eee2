// SPDX-License-Identifier: ISC
// attach, logs and the relay between a client and a console.
//
// One thread serves a hijacked connection in both directions: it polls the client and the
// console's queue. Writes to the program never block (a program that writes while it doesn't
// read would otherwise hang both): what it can't take waits here, and meanwhile nothing more
// is read from the client.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/api.h"
#include "d0d/console.h"

#define RAW         "application/vnd.docker.raw-stream"
#define MULTIPLEXED "application/vnd.docker.multiplexed-stream"

int stream_frame(struct http_req *r, int stream, const void *data, size_t n, bool raw)
{
	uint8_t head[8] = {(uint8_t)stream};
	uint32_t len = htonl((uint32_t)n);
	struct sbuf b = {0};
	int rc;

	if (raw)
		return r->hijacked ? conn_write(r->c, data, n) : resp_write(r, data, n);
	memcpy(head + 4, &len, 4);
	sbuf_add(&b, head, sizeof(head));
	sbuf_add(&b, data, n);
	rc = r->hijacked ? conn_write(r->c, b.p, b.len) : resp_write(r, b.p, b.len);
	sbuf_free(&b);
	return rc;
}

// ---- detach keys ----

struct keys {
	uint8_t seq[16];
	size_t n, at;
};

static void keys_parse(struct keys *k, const char *text)
{
	char *copy = xstrdup(text ? text : "ctrl-p,ctrl-q"), *save = NULL;

	for (char *s = strtok_r(copy, ",", &save); s && k->n < 16;
	     s = strtok_r(NULL, ",", &save)) {
		if (strncmp(s, "ctrl-", 5) == 0 && s[5] && !s[6])
			k->seq[k->n++] = (uint8_t)(s[5] & 0x1f);
		else if (s[0] && !s[1])
			k->seq[k->n++] = (uint8_t)s[0];
	}
	free(copy);
}

// Copies IN to OUT without a detach sequence in progress; true when it was completed.
static bool keys_filter(struct keys *k, const char *in, size_t n, struct sbuf *out)
{
	for (size_t i = 0; i < n; i++) {
		if (k->n && (uint8_t)in[i] == k->seq[k->at]) {
			if (++k->at == k->n)
				return true;
			continue;
		}
		if (k->at) { // it was none: what was held back belongs to the program
			sbuf_add(out, k->seq, k->at);
			k->at = k->n && (uint8_t)in[i] == k->seq[0] ? 1 : 0;
			if (k->at)
				continue;
		}
		sbuf_add(out, in + i, 1);
	}
	return false;
}

// ---- the relay ----

struct relay {
	struct http_req *r;
	struct console *con;
	struct sub *s;
	const struct relay_opts *o;
	struct sbuf in; // from the client, not yet taken by the program
	struct keys keys;
	bool in_open, in_ended, detached;
};

// Output to the client; 1 something, 0 nothing, -1 end.
static int pass_out(struct relay *y)
{
	char buf[16384];
	int stream;
	ssize_t n = sub_take(y->s, &stream, buf, sizeof(buf));

	if (n <= 0)
		return (int)n;
	return stream_frame(y->r, stream, buf, (size_t)n, y->o->tty) < 0 ? -1 : 1;
}

// Input from the client; false when it is gone for good.
static bool take_in(struct relay *y)
{
	char buf[16384];
	ssize_t n = conn_read(y->r->c, buf, sizeof(buf));

	if (n < 0 && errno != EAGAIN && errno != ETIMEDOUT)
		return false;
	if (n < 0)
		return true;
	if (n == 0) {
		y->in_open = false;
		y->in_ended = true;
		return true;
	}
	if (!y->o->in)
		return true; // input nobody asked for
	if (y->o->tty)
		y->detached = keys_filter(&y->keys, buf, (size_t)n, &y->in);
	else
		sbuf_add(&y->in, buf, (size_t)n);
	return true;
}

static void pass_in(struct relay *y)
{
	ssize_t n = y->in.len ? console_write(y->con, y->in.p, y->in.len) : 0;

	if (n < 0)
		y->in.len = 0; // it takes none any more
	if (n > 0) {
		memmove(y->in.p, y->in.p + n, y->in.len - (size_t)n);
		y->in.len -= (size_t)n;
	}
}

void relay_run(struct http_req *r, struct console *con, struct sub *s,
	       const struct relay_opts *o, void (*close_in)(void *ctx), void *ctx)
{
	struct relay y = {.r = r, .con = con, .s = s, .o = o, .in_open = true};

	keys_parse(&y.keys, o->detach);
	for (;;) {
		int out = 1;
		for (int i = 0; i < 32 && out > 0; i++)
			out = pass_out(&y);
		if (out < 0 || y.detached)
			break;
		pass_in(&y);
		if (y.in_ended && !y.in.len) {
			y.in_ended = false;
			if (o->in && o->once && close_in)
				close_in(ctx);
		}
		bool want = y.in_open && y.in.len == 0;
		struct pollfd p[2] = {{sub_fd(s), POLLIN, 0},
				      {r->c->fd, (short)(want ? POLLIN : 0), 0}};
		if (want && conn_pending(r->c))
			p[1].revents = POLLIN;
		else
			poll(p, 2, out > 0 ? 0 : y.in.len ? 10 : 1000);
		if (want && (p[1].revents & (POLLIN | POLLHUP | POLLERR))) {
			if (!take_in(&y))
				break;
		} else if (p[1].revents & (POLLHUP | POLLERR)) {
			break; // both directions are closed
		}
	}
	sbuf_free(&y.in);
}

// ---- attach ----

struct attach {
	struct engine *e;
	struct container *c;
	struct console *con;
};

static void attach_close_in(void *ctx)
{
	struct attach *a = ctx;
	struct be_proc *p;

	// The program may be about to start (docker run attaches first).
	for (int i = 0; i < 200; i++) {
		engine_lock(a->e);
		bool wait = a->c->state == C_CREATED;
		if (wait)
			engine_wait(a->e, &a->c->changed, 50);
		engine_unlock(a->e);
		if (!wait)
			break;
	}
	p = proc_hold(a->e, a->c, NULL);
	if (!p)
		return;
	console_close_in(a->con);
	a->e->ops->close_in(p);
	proc_drop(a->e, a->c);
}

static int send_history(struct http_req *r, struct console *con, bool tty, bool out, bool err)
{
	struct log_reader *l = log_open(con, -1, 0, 0);
	struct log_line line;
	int rc = 0;

	while (rc == 0 && log_next(l, &line) == 1)
		if (line.stream == CON_STDERR ? err : out)
			rc = stream_frame(r, line.stream, line.data, line.len, tty);
	log_close(l);
	return rc;
}

static void attach(struct http_req *r)
{
	struct container *c = api_container(r);
	bool out = req_flag(r, "stdout"), err = req_flag(r, "stderr");

	if (!c)
		return;
	bool tty = jb(c->config, "Tty", false),
	     in = req_flag(r, "stdin") && jb(c->config, "OpenStdin", false);
	struct console *con = container_console(r->e, c);
	engine_lock(r->e);
	bool paused = c->state == C_PAUSED;
	engine_unlock(r->e);
	if (paused) {
		resp_error(r, 409,
			   "container %s is paused, unpause the container before attach",
			   c->id);
		container_put(r->e, c);
		return;
	}
	struct sub *s = console_attach(con, out, err);
	resp_hijack(r, tty || r->api_minor < 42 ? RAW : MULTIPLEXED);
	int rc = req_flag(r, "logs") ? send_history(r, con, tty, out, err) : 0;
	if (rc == 0 && req_flag(r, "stream")) {
		struct relay_opts o = {.in = in,
				       .tty = tty,
				       .once = jb(c->config, "StdinOnce", false),
				       .detach = req_query(r, "detachKeys", NULL)};
		struct attach a = {r->e, c, con};
		container_event(r->e, c, "attach", NULL);
		relay_run(r, con, s, &o, attach_close_in, &a);
	}
	sub_close(s);
	conn_shutdown_write(r->c);
	container_put(r->e, c);
}
ROUTE("POST", "/containers/{}/attach", attach);

// ---- logs ----

static int send_line(struct http_req *r, const struct log_line *l, bool tty, bool stamps)
{
	struct sbuf b = {0};
	char when[40];

	if (stamps) {
		time_format(l->ns, when);
		sbuf_addf(&b, "%s ", when);
	}
	sbuf_add(&b, l->data, l->len);
	int rc = stream_frame(r, l->stream, b.p, b.len, tty);
	sbuf_free(&b);
	return rc;
}

static bool wanted(const struct log_line *l, bool out, bool err)
{
	return l->stream == CON_STDERR ? err : out;
}

// Between two runs the stream goes on.
static bool restarting(struct engine *e, struct container *c)
{
	engine_lock(e);
	bool yes = c->state == C_RESTARTING || c->state == C_RUNNING;
	if (yes)
		engine_wait(e, &c->changed, 50);
	engine_unlock(e);
	return yes;
}

static void logs(struct http_req *r)
{
	bool out = req_flag(r, "stdout"), err = req_flag(r, "stderr"),
	     follow = req_flag(r, "follow");
	const char *tail = req_query(r, "tail", "all");
	int64_t since = 0, until = 0;
	struct container *c = api_container(r);

	if (!c)
		return;
	if (!out && !err) {
		resp_error(r, 400, "Bad parameters: you must choose at least one stream");
	} else if ((req_query(r, "since", NULL) &&
		    time_parse(req_query(r, "since", "0"), &since) < 0) ||
		   (req_query(r, "until", NULL) &&
		    time_parse(req_query(r, "until", "0"), &until) < 0)) {
		resp_error(r, 400, "invalid value for \"since\" or \"until\"");
	} else if (strcmp(js(jo(c->host, "LogConfig"), "Type", ""), "none") == 0) {
		resp_error(r, 501, "configured logging driver does not support reading");
	} else {
		bool tty = jb(c->config, "Tty", false), stamps = req_flag(r, "timestamps");
		struct console *con = container_console(r->e, c);
		struct log_reader *l =
		    log_open(con, strcmp(tail, "all") == 0 ? -1 : atoll(tail), since, until);
		struct log_line line;
		int rc = 0, got;
		resp_begin(r, 200, tty || r->api_minor < 42 ? RAW : MULTIPLEXED, NULL);
		while (rc == 0) {
			while (rc == 0 && (got = log_next(l, &line)) == 1)
				if (wanted(&line, out, err))
					rc = send_line(r, &line, tty, stamps);
			if (rc < 0 || got < 0 || !follow || r->e->stopping || req_gone(r) ||
			    c->removed)
				break;
			if (until && now_ns() > until)
				break;
			if (!log_wait(l, 500) && !(restarting(r->e, c)))
				break;
		}
		log_close(l);
		resp_end(r);
	}
	container_put(r->e, c);
}
ROUTE("GET", "/containers/{}/logs", logs);
