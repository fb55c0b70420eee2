// SPDX-License-Identifier: ISC
// Containers and exec sessions: the backend's operations on top of a container's cell.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "d0d/d0/box.h"

// ---- starting ----

static int executable(struct backend *b, const char *tree, const char *path)
{
	struct be_stat st;
	struct err e;

	if (d0_tree_stat(b, tree, path, true, &st, &e) < 0)
		return ENOENT;
	return (st.mode & S_IFMT) == S_IFREG && (st.mode & 0111) ? 0 : EACCES;
}

static const char *env_path(char **env)
{
	for (; env && *env; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

// The program's path in the tree as $PATH finds it, to be freed. The cell looks up nothing.
static char *find_program(struct backend *b, const struct be_spec *s, const char *tree,
			  struct err *e)
{
	const char *name = s->argv[0], *dir = env_path(s->env);
	int why = ENOENT;

	if (strchr(name, '/'))
		return xstrdup(name);
	while (*name) {
		size_t n = strcspn(dir, ":");
		char *path = xasprintf("%.*s/%s", (int)n, dir, name);
		int k = executable(b, tree, path);
		if (k == 0)
			return path;
		free(path);
		why = k == EACCES ? k : why;
		if (!dir[n])
			break;
		dir += n + 1;
	}
	err_set(e, 400,
		"failed to create task for container: unable to start container process: "
		"exec: \"%s\": %s: unknown",
		name,
		why == EACCES ? "permission denied" : "executable file not found in $PATH");
	return NULL;
}

static int run(struct box *x, struct be_spec *s, const char *tree, bool init,
	       struct be_proc **out, struct err *e)
{
	char *path = find_program((struct backend *)x->b, s, tree, e), *name = s->argv[0];
	int rc = -1;

	*out = NULL;
	if (path) {
		s->argv[0] = path;
		rc = box_run(x, s, init, out, e);
		s->argv[0] = name;
	}
	free(path);
	return rc;
}

int d0_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e)
{
	struct d0_backend *d = d0_of(b);
	struct box *x;
	int rc;

	if (!d->may_control)
		return err_set(e, 501, "this cell may not make cells (caps=control)");
	if (box_new(d, s, &x, e) < 0)
		return -1;
	*out = NULL;
	rc = box_hello(x, e);
	if (rc == 0)
		rc = net_ready(x->net, e);
	if (rc == 0)
		rc = run(x, s, s->tree, true, out, e);
	if (rc < 0 && *out)
		d0_release(*out);
	else if (rc < 0)
		box_end(x);
	box_put(x);
	return rc;
}

// A container whose cell has ended meanwhile is found too: its exit code is the cell's.
int d0_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out)
{
	struct d0_backend *d = d0_of(b);
	struct d0_ctl_cell_status st = {0};
	struct box *x;
	struct err e;

	if (!d->may_control || !box_adopt(d, s, &x))
		return 0;
	st.h.cell = x->cell;
	int rc = ctl_call(d, &st, D0_CTL_cell_status, sizeof(st), &e);
	bool runs = rc == 0 && (st.state == D0_CELL_RUNNING || st.state == D0_CELL_PAUSED);
	int code = st.state == D0_CELL_ENDED ? (int)(st.exit_code & 255) : 137;
	if (runs && x->ctl < 0) {
		log_msg("container %.12s: its cell has no control channel", s->id);
		runs = false;
	}
	x->paused = st.state == D0_CELL_PAUSED;
	*out = box_found(x, s, runs ? NULL : &code);
	box_put(x);
	return 1;
}

int d0_exec(struct backend *b, struct be_proc *in, struct be_spec *s, struct be_proc **out,
	    struct err *e)
{
	if (in->exited)
		return err_set(e, 409, "container is not running");
	if (run(in->box, s, in->box->tree, false, out, e) == 0)
		return 0;
	if (*out)
		d0_release(*out);
	return -1;
}

// ---- using ----

int d0_wait(struct be_proc *p, struct be_exit *out)
{
	struct box *x = p->box;

	pthread_mutex_lock(&x->lock);
	while (!p->exited)
		pthread_cond_wait(&x->changed, &x->lock);
	*out = (struct be_exit){p->code, p->oom};
	pthread_mutex_unlock(&x->lock);
	return 0;
}

void d0_io(struct be_proc *p, struct be_io *out)
{
	*out = p->io;
}

void d0_close_in(struct be_proc *p)
{
	if (p->tty || p->io.in < 0)
		return;
	close(p->io.in);
	p->io.in = -1;
}

int d0_pid(struct be_proc *p)
{
	return p->pid;
}

int d0_signal(struct be_proc *p, int sig, struct err *e)
{
	if (p->exited || box_send(p->box, D0_CON_SIGNAL, p->id, (uint32_t)sig, 0, NULL, 0) < 0)
		return err_set(e, 409, "container is not running");
	return 0;
}

int d0_pause(struct be_proc *p, bool on, struct err *e)
{
	struct d0_ctl_cell_op r = {.h.cell = p->box->cell, .flags = on};

	if (ctl_call(p->box->b, &r, D0_CTL_cell_pause, sizeof(r), e) < 0)
		return -1;
	p->box->paused = on;
	return 0;
}

int d0_resize(struct be_proc *p, uint16_t rows, uint16_t cols, struct err *e)
{
	if (!p->tty ||
	    box_send(p->box, D0_CON_RESIZE, p->id, (uint32_t)rows << 16 | cols, 0, NULL, 0) < 0)
		return err_set(e, 500, "cannot resize: no terminal");
	return 0;
}

// Its vCPUs are as many as it was started with, so it can't get more CPUs than that.
static int cpu_request(struct box *x, const struct be_limits *l, struct d0_ctl_cell_cpu *r,
		       struct err *e)
{
	struct d0_ctl_cell_status s = {.h.cell = x->cell};
	struct d0_ctl_system_status sys = {0};

	if (ctl_call(x->b, &s, D0_CTL_cell_status, sizeof(s), e) < 0 ||
	    ctl_call(x->b, &sys, D0_CTL_system_status, sizeof(sys), e) < 0)
		return -1;
	if (s.vcpus < sys.cpus && l->nano_cpus > (int64_t)s.vcpus * 1000000000)
		return err_set(
		    e, 400, "the container was started with %u CPUs: stop it, then update it",
		    s.vcpus);
	*r = (struct d0_ctl_cell_cpu){.h.cell = x->cell};
	cpu_limits(l, s.vcpus, &r->budget_us, &r->slice_us);
	return 0;
}

int d0_update(struct be_proc *p, const struct be_limits *l, struct err *e)
{
	struct box *x = p->box;
	struct d0_con_limits c = {0};
	struct d0_ctl_cell_cpu cpu;

	if (cpu_request(x, l, &cpu, e) < 0)
		return -1;
	if (l->memory > 0 && (uint64_t)l->memory != x->memory)
		c.memory = (uint64_t)l->memory;
	c.pids = l->pids > 0 && l->pids < UINT32_MAX ? (uint32_t)l->pids : UINT32_MAX;
	switch (box_limits(x, &c)) {
	case 0:
		if (c.memory)
			x->memory = c.memory;
		return ctl_call(x->b, &cpu, D0_CTL_cell_cpu, sizeof(cpu), e);
	case ENOMEM:
		return err_set(e, 400,
			       "a running container's memory can't grow beyond what it was "
			       "started with: stop it, then update it");
	case EBUSY:
		return err_set(e, 400, "the container uses more memory than that");
	case EAGAIN:
		return err_set(e, 409, "the container is paused or ends");
	default:
		return err_set(e, 500, "the container's cell does not answer");
	}
}

int d0_stats(struct be_proc *p, struct be_stats *out, struct err *e)
{
	struct d0_ctl_cell_status s = {.h.cell = p->box->cell};
	struct d0_ctl_system_status sys = {0};

	*out = (struct be_stats){0};
	if (ctl_call(p->box->b, &s, D0_CTL_cell_status, sizeof(s), e) < 0 ||
	    ctl_call(p->box->b, &sys, D0_CTL_system_status, sizeof(sys), e) < 0)
		return -1;
	out->cpu_ns = s.cpu_ns;
	out->host_cpu_ns = sys.uptime_ns * sys.cpus;
	out->online_cpus = sys.cpus;
	out->mem_usage = out->mem_max = s.memory;
	out->mem_limit = p->box->memory;
	struct d0_ctl_cell_counters k = {.h.cell = p->box->cell};
	if (ctl_call(p->box->b, &k, D0_CTL_cell_counters, sizeof(k), NULL) == 0) {
		out->blk_read = net_counter(&k.counters, "fs_read_bytes");
		out->blk_write = net_counter(&k.counters, "fs_written_bytes");
		out->pids = net_counter(&k.counters, "threads");
	}
	net_stats(p->box->net, out);
	return 0;
}

int d0_top(struct be_proc *p, be_task_cb *cb, void *ctx, struct err *e)
{
	char *text = box_tasks(p->box);

	if (!text)
		return err_set(e, 500, "the container's cell does not answer");
	for (char *line = text, *next; *line; line = next) {
		struct be_task t = {.start_s = now_ns() / 1000000000};
		unsigned long long rss, cpu;
		int at = 0;

		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		if (sscanf(line, "%d %d %u %7s %llu %llu %n", &t.pid, &t.ppid, &t.uid, t.stat,
			   &rss, &cpu, &at) < 6)
			continue;
		t.cpu_ms = (int64_t)cpu;
		snprintf(t.cmd, sizeof(t.cmd), "%s", line + at);
		cb(ctx, &t);
	}
	free(text);
	return 0;
}

int d0_net_connect(struct be_proc *p, const struct be_endpoint *ep, struct err *e)
{
	return net_plug(p->box->net, ep, e);
}

int d0_net_disconnect(struct be_proc *p, const struct be_endpoint *ep, struct err *e)
{
	return net_unplug(p->box->net, ep, e);
}

// ---- ending ----

static void proc_free(struct be_proc *p)
{
	int fds[] = {p->io.in, p->io.out, p->io.err};
	struct box *x = p->box;

	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (p->feeding)
		pthread_join(p->feeder, NULL);
	pthread_mutex_lock(&x->lock);
	p->exited = true; // of one that never started or is let go while it runs
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	outputs_end(p);
	pthread_mutex_lock(&x->lock);
	for (struct be_proc **at = &x->procs; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	pthread_mutex_unlock(&x->lock);
	for (size_t i = 0; i < 3; i++)
		if (p->far[i] >= 0)
			close(p->far[i]);
	free(p);
}

// The container's handle takes the cell with it. Exec sessions of it may be released after: the
// box stays until the last of them.
void d0_release(struct be_proc *p)
{
	struct box *x = p->box;

	if (p->init)
		box_end(x);
	proc_free(p);
	box_put(x);
}

// What runs goes on: the next d0d finds the cell by its name.
void d0_detach(struct be_proc *p)
{
}
