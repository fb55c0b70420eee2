// SPDX-License-Identifier: ISC
// The controller's end of the container control protocol (d0/conctl.h).
//
// Model: one thread per container reads frames and never waits for anything else; output
// goes on through buffers (output.c), so a program whose output nobody takes stands still
// alone. Each program with an input has a thread that carries it over, within the
// window. Frames are written whole under wlock, which nobody holds while taking `lock`.
// Failure: when the channel closes (the cell ended or failed) every program that was not
// reported has ended with 137.
#include "d0d/d0/box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELLO_MS 30000
#define START_S  30
#define SYNC_MS  10000

int fd_read_while(int fd, void *buf, size_t n, int look_ms, bool (*on)(void *), void *ctx)
{
	char *p = buf;

	while (n) {
		struct pollfd w = {.fd = fd, .events = POLLIN};
		int ready = look_ms < 0 ? 1 : poll(&w, 1, look_ms);
		if ((ready < 0 && errno == EINTR) || (ready == 0 && on && on(ctx)))
			continue;
		if (ready <= 0)
			return -1;
		ssize_t k = read(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int fd_read_all(int fd, void *buf, size_t n, int timeout_ms)
{
	return fd_read_while(fd, buf, n, timeout_ms, NULL, NULL);
}

int box_send(struct box *x, uint32_t type, uint32_t id, uint32_t arg, uint32_t flags,
	     const void *data, size_t n)
{
	struct d0_con_frame f = {.type = (uint16_t)type,
				 .flags = (uint16_t)flags,
				 .len = (uint32_t)n,
				 .id = id,
				 .arg = arg};
	int rc;

	pthread_mutex_lock(&x->wlock);
	rc = x->ctl < 0 ? -1 : fd_write_all(x->ctl, &f, sizeof(f));
	if (rc == 0 && n)
		rc = fd_write_all(x->ctl, data, n);
	pthread_mutex_unlock(&x->wlock);
	return rc;
}

// ---- what the cell says ----

static void ended(struct be_proc *p, int code)
{
	if (p->exited)
		return;
	p->exited = true;
	p->code = code;
}

static void take(struct box *x, const struct d0_con_frame *f, const char *data)
{
	pthread_mutex_lock(&x->lock);
	if (f->type == D0_CON_SYNCED) {
		x->synced = f->id;
	} else if (f->type == D0_CON_LIMITS_REPLY) {
		x->limited = f->id;
		x->limit_error = (int)f->arg;
	} else if (f->type == D0_CON_PROCS_REPLY) {
		free(x->tasks);
		x->tasks = xstrndup(data, f->len);
		x->ntasks++;
	}
	for (struct be_proc *p = x->procs; p; p = p->next) {
		if (f->type == D0_CON_OOM)
			p->oom = p->init;
		if (p->id != f->id)
			continue;
		if (f->type == D0_CON_STARTED) {
			p->state = 1;
			p->pid = (int)f->arg;
		} else if (f->type == D0_CON_START_FAILED) {
			p->state = -1;
			p->error = (int)f->arg;
			ended(p, 127);
		} else if (f->type == D0_CON_STDIN_ACK) {
			p->in_flight -= f->arg < p->in_flight ? f->arg : p->in_flight;
		} else if (f->type == D0_CON_EXIT) {
			p->state = 1;
			ended(p, (int)(f->arg & 255));
		}
	}
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
}

static void *read_main(void *arg)
{
	struct box *x = arg;
	struct d0_con_frame f;
	char *data = xmalloc(D0_CON_MAX);

	while (fd_read_all(x->ctl, &f, sizeof(f), -1) == 0 && f.len <= D0_CON_MAX &&
	       fd_read_all(x->ctl, data, f.len, -1) == 0)
		if (f.type == D0_CON_STDOUT || f.type == D0_CON_STDERR)
			outputs_put(x, &f, data);
		else
			take(x, &f, data);
	pthread_mutex_lock(&x->lock);
	x->gone = true;
	for (struct be_proc *p = x->procs; p; p = p->next)
		ended(p, 137);
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	free(data);
	return NULL;
}

int box_hello(struct box *x, struct err *e)
{
	struct d0_con_frame f;

	if (fd_read_all(x->ctl, &f, sizeof(f), HELLO_MS) < 0 || f.type != D0_CON_HELLO ||
	    f.len || f.arg != D0_CON_VERSION)
		return err_set(e, 500, "the container's cell does not answer");
	if (pthread_create(&x->reader, NULL, read_main, x) != 0)
		return err_set(e, 500, "no thread");
	x->reading = true;
	return 0;
}

// ---- starting a program ----

// What the user gives the program: read only while the window has room for it.
static void *feed_main(void *arg)
{
	struct be_proc *p = arg;
	struct box *x = p->box;
	char buf[D0_CON_DATA];
	ssize_t n = 0;

	for (bool on = true; on;) {
		pthread_mutex_lock(&x->lock);
		while (!p->exited && p->in_flight > D0_CON_WINDOW - sizeof(buf))
			pthread_cond_wait(&x->changed, &x->lock);
		on = !p->exited;
		pthread_mutex_unlock(&x->lock);
		n = on ? read(p->far[0], buf, sizeof(buf)) : 0;
		if (n <= 0)
			break;
		pthread_mutex_lock(&x->lock);
		p->in_flight += (uint32_t)n;
		pthread_mutex_unlock(&x->lock);
		on = box_send(x, D0_CON_STDIN, p->id, 0, 0, buf, (size_t)n) == 0;
	}
	box_send(x, D0_CON_STDIN_EOF, p->id, 0, 0, NULL, 0);
	return NULL;
}

static int make_pipes(struct be_proc *p, struct err *e)
{
	int fd[2];

	for (int i = 0; i < 3; i++) {
		if ((i == 0 && !p->has_in) || (i == 2 && p->tty))
			continue;
		if (pipe2(fd, O_CLOEXEC) < 0)
			return err_set(e, 500, "pipe: %s", strerror(errno));
		p->far[i] = fd[i ? 1 : 0];
		*(i == 0 ? &p->io.in : i == 1 ? &p->io.out : &p->io.err) = fd[i ? 0 : 1];
	}
	return outputs_begin(p, e);
}

// As Docker's runtime words it: the client's exit code depends on it.
static const char *why(int error)
{
	return error == ENOENT    ? "no such file or directory"
	       : error == EACCES  ? "permission denied"
	       : error == ENOEXEC ? "exec format error"
	       : error == EISDIR  ? "is a directory"
				  : strerror(error);
}

static int refused(const struct be_proc *p, const char *argv0, struct err *e)
{
	return err_set(
	    e, p->error == ENOENT || p->error == EACCES || p->error == ENOEXEC ? 400 : 500,
	    "failed to create task for container: unable to start container "
	    "process: exec: \"%s\": %s: unknown",
	    argv0, why(p->error));
}

static int await_start(struct be_proc *p, const char *argv0, struct err *e)
{
	struct box *x = p->box;
	struct timespec until;
	int state;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += START_S;
	pthread_mutex_lock(&x->lock);
	while (!p->state && !x->gone)
		if (pthread_cond_timedwait(&x->changed, &x->lock, &until) == ETIMEDOUT)
			break;
	state = p->state;
	pthread_mutex_unlock(&x->lock);
	if (state > 0)
		return 0;
	return state < 0 ? refused(p, argv0, e)
			 : err_set(e, 500, "the container's cell did not start the program");
}

static struct be_proc *proc_new(struct box *x, const struct be_spec *s, bool init, uint32_t id)
{
	struct be_proc *p = xcalloc(1, sizeof(*p));

	*p = (struct be_proc){.box = x,
			      .io = {-1, -1, -1},
			      .far = {-1, -1, -1},
			      .init = init,
			      .tty = s->tty,
			      .has_in = s->stdin_open};
	pthread_mutex_lock(&x->b->lock);
	x->refs++;
	pthread_mutex_unlock(&x->b->lock);
	pthread_mutex_lock(&x->lock);
	p->id = id ? id : x->next_id++;
	p->next = x->procs;
	x->procs = p;
	pthread_mutex_unlock(&x->lock);
	return p;
}

static void feed(struct be_proc *p)
{
	if (p->has_in && pthread_create(&p->feeder, NULL, feed_main, p) == 0)
		p->feeding = true;
}

int box_run(struct box *x, struct be_spec *s, bool init, struct be_proc **out, struct err *e)
{
	struct be_proc *p = proc_new(x, s, init, 0);
	struct sbuf b = {0};
	int rc;

	*out = p; // the caller releases it in any case
	start_words(&b, s, init);
	rc = make_pipes(p, e);
	if (rc == 0 && b.len > D0_CON_MAX)
		rc = err_set(e, 400, "arguments and environment are too long");
	if (rc == 0 && box_send(x, D0_CON_START, p->id, 0, 0, b.p, b.len) < 0)
		rc = err_set(e, 409, "container is not running");
	sbuf_free(&b);
	if (rc == 0)
		rc = await_start(p, s->argv[0], e);
	if (rc == 0)
		feed(p);
	return rc;
}

// Numbers of programs that an earlier d0d gave must not come again: its own were small.
#define ADOPTED_IDS 0x10000u

struct be_proc *box_found(struct box *x, const struct be_spec *s, const int *exit_code)
{
	struct be_proc *p = proc_new(x, s, true, 1);
	struct err e;

	x->next_id = ADOPTED_IDS + ((uint32_t)mono_ms() & 0xffffff);
	p->state = 1;
	p->pid = 1;
	if (make_pipes(p, &e) < 0)
		log_msg("container %.12s: its output is lost: %s", x->id, e.msg);
	x->reading = !exit_code && pthread_create(&x->reader, NULL, read_main, x) == 0;
	if (x->reading) {
		feed(p);
		return p;
	}
	pthread_mutex_lock(&x->lock);
	ended(p, exit_code ? *exit_code : 137);
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	return p;
}

// ---- requests with an answer ----

// Waits until the reader has noted what is waited for; -1 after MS or when the cell is gone.
static int await(struct box *x, bool (*done)(struct box *x, uint32_t n), uint32_t n, int64_t ms)
{
	struct timespec until;
	bool ok;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	pthread_mutex_lock(&x->lock);
	while (!(ok = done(x, n)) && !x->gone)
		if (pthread_cond_timedwait(&x->changed, &x->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&x->lock);
	return ok ? 0 : -1;
}

static bool is_synced(struct box *x, uint32_t n)
{
	return x->synced == n;
}

int box_sync(struct box *x, bool forget)
{
	if (x->paused || x->gone)
		return -1;
	pthread_mutex_lock(&x->lock);
	uint32_t n = x->next_id++;
	pthread_mutex_unlock(&x->lock);
	if (box_send(x, D0_CON_SYNC, n, forget, 0, NULL, 0) < 0)
		return -1;
	return await(x, is_synced, n, SYNC_MS);
}

static bool is_limited(struct box *x, uint32_t n)
{
	return x->limited == n;
}

int box_limits(struct box *x, const struct d0_con_limits *l)
{
	if (x->paused || x->gone)
		return EAGAIN;
	pthread_mutex_lock(&x->lock);
	uint32_t n = x->next_id++;
	pthread_mutex_unlock(&x->lock);
	if (box_send(x, D0_CON_LIMITS, n, 0, 0, l, sizeof(*l)) < 0 ||
	    await(x, is_limited, n, SYNC_MS) < 0)
		return EIO;
	return x->limit_error;
}

static bool has_tasks(struct box *x, uint32_t n)
{
	return x->ntasks != n;
}

char *box_tasks(struct box *x)
{
	char *text;

	pthread_mutex_lock(&x->lock);
	uint32_t n = x->ntasks;
	pthread_mutex_unlock(&x->lock);
	if (x->paused || box_send(x, D0_CON_PROCS, 0, 0, 0, NULL, 0) < 0 ||
	    await(x, has_tasks, n, SYNC_MS) < 0)
		return NULL;
	pthread_mutex_lock(&x->lock);
	text = xstrdup(x->tasks ? x->tasks : "");
	pthread_mutex_unlock(&x->lock);
	return text;
}
