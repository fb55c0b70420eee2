// The controller's end of the container control protocol (d0/conctl.h).
//
// Model: one thread per container reads frames; output goes into the pipe that the engine
// reads, so a program whose output nobody takes stands still, and with it the container's
// other programs. Each program with an input has a thread that carries it over, within the
// window. Frames are written whole under wlock, which nobody holds while taking `lock`.
// Failure: when the channel closes (the cell ended or failed) every program that was not
// reported has ended with 137.
#include "d0d/d0/box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELLO_MS 30000
#define START_S  30

int fd_write_all(int fd, const void *buf, size_t n)
{
	const char *p = buf;

	while (n) {
		ssize_t k = write(fd, p, n);
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
	char *p = buf;

	while (n) {
		struct pollfd w = {.fd = fd, .events = POLLIN};
		if (timeout_ms >= 0 && poll(&w, 1, timeout_ms) <= 0)
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
	rc = fd_write_all(x->ctl, &f, sizeof(f));
	if (rc == 0 && n)
		rc = fd_write_all(x->ctl, data, n);
	pthread_mutex_unlock(&x->wlock);
	return rc;
}

// ---- what the cell says ----

static void far_close(struct be_proc *p)
{
	for (int i = 1; i < 3; i++) {
		if (p->far[i] >= 0)
			close(p->far[i]);
		p->far[i] = -1;
	}
}

static void ended(struct be_proc *p, int code)
{
	if (p->exited)
		return;
	p->exited = true;
	p->code = code;
	far_close(p);
}

// Bytes of output: the pipe's far end is this thread's alone, so no lock while it blocks.
static void output(struct box *x, const struct d0_con_frame *f, const char *data)
{
	int fd = -1;

	pthread_mutex_lock(&x->lock);
	for (struct be_proc *p = x->procs; p; p = p->next)
		if (p->id == f->id && !p->exited)
			fd = p->far[f->type == D0_CON_STDERR ? 2 : 1];
	pthread_mutex_unlock(&x->lock);
	if (fd >= 0 && fd_write_all(fd, data, f->len) < 0)
		errno = 0; // nobody reads any more
}

static void take(struct box *x, const struct d0_con_frame *f)
{
	pthread_mutex_lock(&x->lock);
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
			output(x, &f, data);
		else
			take(x, &f);
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

static void word(struct sbuf *b, const char *key, const char *value)
{
	sbuf_addf(b, "%s=%s", key, value);
	sbuf_add(b, "", 1);
}

static void num(struct sbuf *b, const char *key, uint64_t value)
{
	sbuf_addf(b, "%s=%llu", key, (unsigned long long)value);
	sbuf_add(b, "", 1);
}

static void add_rlimits(struct sbuf *b, const struct be_spec *s)
{
	for (size_t i = 0; i < s->nrlimits; i++) {
		char name[32];
		size_t k = 0;
		for (; s->rlimits[i].name[k] && k < sizeof(name) - 1; k++)
			name[k] = (char)(s->rlimits[i].name[k] & ~32);
		name[k] = 0;
		sbuf_addf(b, "rlimit=RLIMIT_%s:%lld:%lld", name, (long long)s->rlimits[i].soft,
			  (long long)s->rlimits[i].hard);
		sbuf_add(b, "", 1);
	}
}

static void add_container(struct sbuf *b, const struct be_spec *s)
{
	word(b, "init", "1");
	if (s->hostname)
		word(b, "hostname", s->hostname);
	if (s->domainname && *s->domainname)
		word(b, "domainname", s->domainname);
	if (s->limits.pids > 0)
		num(b, "pids", (uint64_t)s->limits.pids);
	for (size_t i = 0; i < s->nmounts; i++) {
		sbuf_addf(b, "mount=tmpfs:tmpfs:%s:%s:mode=%o", s->mounts[i].dest,
			  s->mounts[i].read_only ? "ro" : "", s->mounts[i].mode & 07777);
		if (s->mounts[i].size)
			sbuf_addf(b, ",size=%llu", (unsigned long long)s->mounts[i].size);
		sbuf_add(b, "", 1);
	}
	if (s->read_only)
		word(b, "rootro", "1");
}

static void start_words(struct sbuf *b, const struct be_spec *s, bool init)
{
	for (char **a = s->argv; *a; a++)
		word(b, "argv", *a);
	for (char **v = s->env; v && *v; v++)
		word(b, "env", *v);
	if (s->cwd && *s->cwd)
		word(b, "cwd", s->cwd);
	num(b, "uid", s->uid);
	num(b, "gid", s->gid);
	for (size_t i = 0; i < s->ngroups; i++)
		num(b, "group", s->groups[i]);
	sbuf_addf(b, "caps=%llx", (unsigned long long)s->caps);
	sbuf_add(b, "", 1);
	if (s->tty) {
		word(b, "tty", "1");
		num(b, "rows", s->rows);
		num(b, "cols", s->cols);
	}
	if (s->stdin_open)
		word(b, "stdin", "1");
	add_rlimits(b, s);
	if (init)
		add_container(b, s);
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
	return 0;
}

static int refused(const struct be_proc *p, const char *argv0, struct err *e)
{
	return err_set(
	    e, p->error == ENOENT || p->error == EACCES || p->error == ENOEXEC ? 400 : 500,
	    "failed to create task for container: unable to start container "
	    "process: exec: \"%s\": %s: unknown",
	    argv0, strerror(p->error));
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

int box_run(struct box *x, struct be_spec *s, bool init, struct be_proc **out, struct err *e)
{
	struct be_proc *p = xcalloc(1, sizeof(*p));
	struct sbuf b = {0};
	int rc;

	*p = (struct be_proc){.box = x,
			      .io = {-1, -1, -1},
			      .far = {-1, -1, -1},
			      .init = init,
			      .tty = s->tty,
			      .has_in = s->stdin_open};
	pthread_mutex_lock(&x->lock);
	p->id = x->next_id++;
	p->next = x->procs;
	x->procs = p;
	pthread_mutex_unlock(&x->lock);
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
	if (rc == 0 && p->has_in && pthread_create(&p->feeder, NULL, feed_main, p) == 0)
		p->feeding = true;
	return rc;
}
