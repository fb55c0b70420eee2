// SPDX-License-Identifier: ISC
// Running containers and exec sessions: d0d's side of the shim (see shim.c).
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "d0d/linux/linux.h"

struct be_proc {
	struct backend *b;
	char id[80], container[80]; // equal, except for exec sessions
	int pid, pidfd, sock;
	struct be_io io;
	bool tty, exec;
};

static char *run_dir(struct backend *b, const char *id)
{
	return xasprintf("%s/run/%s", b->dir, id);
}

// ---- talking to a shim ----

// Connects to the shim's socket through /proc/self/fd, whatever the path's length.
static int shim_connect(const char *run)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int dir = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = dir < 0 ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/sock", dir);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		fd = -1;
	}
	if (dir >= 0)
		close(dir);
	return fd;
}

static int receive_hello(struct be_proc *p)
{
	struct shim_hello h;
	char ctl[CMSG_SPACE(3 * sizeof(int))];
	struct iovec v = {&h, sizeof(h)};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	int fds[3] = {-1, -1, -1};

	if (recvmsg(p->sock, &m, MSG_CMSG_CLOEXEC) != sizeof(h) || h.nfds < 0 || h.nfds > 3)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), (size_t)h.nfds * sizeof(int));
	p->pid = h.pid;
	p->tty = h.tty;
	if (h.tty)
		p->io = (struct be_io){fds[0] < 0 ? -1 : fcntl(fds[0], F_DUPFD_CLOEXEC, 0),
				       fds[0], -1};
	else if (h.has_in)
		p->io = (struct be_io){fds[0], fds[1], fds[2]};
	else
		p->io = (struct be_io){-1, fds[0], fds[1]};
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0); // fails if it has ended: fine
	return 0;
}

static struct be_proc *proc_connect(struct backend *b, const char *id, const char *container)
{
	char *run = run_dir(b, id);
	struct be_proc *p = xcalloc(1, sizeof(*p));

	*p = (struct be_proc){.b = b, .pidfd = -1, .io = {-1, -1, -1}};
	snprintf(p->id, sizeof(p->id), "%s", id);
	snprintf(p->container, sizeof(p->container), "%s", container);
	p->exec = strcmp(id, container) != 0;
	p->sock = shim_connect(run);
	free(run);
	if (p->sock < 0 || receive_hello(p) < 0) {
		if (p->sock >= 0)
			close(p->sock);
		free(p);
		return NULL;
	}
	return p;
}

// ---- starting ----

struct launch {
	struct backend *b;
	struct be_spec *s;
	char *root, *run, **volumes;
	int join_pid;
	int report, go; // d0d's ends
	struct err *e;
};

static void write_etc(const char *run, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", run, name);
	int fd = text ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			errno = 0;
		fchmod(fd, 0644);
		close(fd);
	}
	free(path);
}

// Forks the shim. The child of a threaded process may only go on because glibc's fork()
// leaves its allocator usable; the shim never returns into d0d's code.
static int launch_fork(struct launch *l)
{
	int report[2], go[2], st;

	if (pipe2(report, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
		return err_set(l->e, 500, "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() != 0) // the shim belongs to init, not to d0d
			_exit(0);
		int keep[2] = {report[1], go[0]};
		// d0d's sockets and files must not stay open in a shim that outlives it.
		for (int i = 0; i < 2; i++)
			keep[i] = fcntl(keep[i], F_DUPFD, 1000);
		close_range(3, 999, 0);
		close_range(1002, ~0u, 0);
		shim_main(l->s, l->root, l->run, l->volumes, keep[0], keep[1], l->join_pid);
	}
	close(report[1]);
	close(go[0]);
	l->report = report[0];
	l->go = go[1];
	if (pid < 0 || waitpid(pid, &st, 0) < 0)
		return err_set(l->e, 500, "fork: %s", strerror(errno));
	return 0;
}

static int read_report(struct launch *l, struct shim_report *r)
{
	ssize_t n = read(l->report, r, sizeof(*r));

	if (n != sizeof(*r))
		return err_set(l->e, 500,
			       "failed to create task for container: the runtime ended");
	if (r->kind)
		return 0;
	r->what[sizeof(r->what) - 1] = 0;
	if (r->err == 0)
		return err_set(
		    l->e, 400,
		    "failed to create task for container: failed to create shim task: OCI "
		    "runtime create failed: runc create failed: unable to start container "
		    "process: %s: unknown",
		    r->what);
	return err_set(
	    l->e, r->err == ENOENT || r->err == EACCES || r->err == ENOTDIR ? 400 : 500,
	    "failed to create task for container: unable to start container process: %s: %s: "
	    "unknown",
	    r->what, strerror(r->err));
}

static int plug_all(struct launch *l, int pid)
{
	for (size_t i = 0; i < l->s->nendpoints; i++)
		if (lx_net_plug(l->b, &l->s->endpoints[i], pid, l->e) < 0)
			return -1;
	return 0;
}

static int publish(struct launch *l)
{
	for (size_t i = 0; i < l->s->nports; i++) {
		struct in_addr to = {0};
		if (l->s->nendpoints)
			to = l->s->endpoints[0].ip;
		if (proxy_open(l->b, l->s->id, &l->s->ports[i], to, l->e) < 0)
			return -1;
	}
	return 0;
}

static int launch_run(struct launch *l, const char *container)
{
	struct shim_report r;

	if (launch_fork(l) < 0 || read_report(l, &r) < 0)
		return -1;
	cg_add(l->b, container, r.pid);
	if (!l->join_pid && !l->s->net_of && plug_all(l, r.pid) < 0)
		return -1;
	if (write(l->go, "g", 1) < 0)
		return err_set(l->e, 500, "the runtime ended");
	return read_report(l, &r);
}

static int resolve_volumes(struct launch *l)
{
	l->volumes = xcalloc(l->s->nmounts + 1, sizeof(char *));
	for (size_t i = 0; i < l->s->nmounts; i++) {
		l->volumes[i] = l->s->mounts[i].tree
				    ? lx_tree_path(l->b, l->s->mounts[i].tree, l->e)
				    : xstrdup("");
		if (!l->volumes[i])
			return -1;
	}
	return 0;
}

static void launch_free(struct launch *l)
{
	if (l->report >= 0)
		close(l->report);
	if (l->go >= 0)
		close(l->go);
	for (size_t i = 0; l->volumes && l->s && i < l->s->nmounts; i++)
		free(l->volumes[i]);
	free(l->volumes);
	free(l->root);
	free(l->run);
}

static int launch(struct launch *l, const char *container, struct be_proc **out)
{
	const char *net_of = l->s->net_of;
	char peer[16] = "0";
	int rc = 0;

	l->run = run_dir(l->b, l->s->id);
	if (tree_delete(AT_FDCWD, l->run) < 0 || dir_make(l->run, 0700) < 0)
		return err_set(l->e, 500, "%s: %s", l->run, strerror(errno));
	write_etc(l->run, "hosts", l->s->etc_hosts);
	write_etc(l->run, "resolv.conf", l->s->etc_resolv);
	write_etc(l->run, "hostname", l->s->etc_hostname);
	if (net_of) {
		int pid = lx_container_pid(l->b, net_of);
		if (!pid)
			return err_set(l->e, 409,
				       "cannot join network of a non running container: %s",
				       net_of);
		snprintf(peer, sizeof(peer), "%d", pid);
		l->s->net_of = peer;
	}
	rc = resolve_volumes(l);
	if (rc == 0)
		rc = launch_run(l, container);
	l->s->net_of = net_of;
	if (rc < 0)
		return -1;
	*out = proc_connect(l->b, l->s->id, container);
	if (!*out)
		return err_set(l->e, 500, "the container's shim doesn't answer");
	return 0;
}

int lx_start(struct backend *b, struct be_spec *s, struct be_proc **out, struct err *e)
{
	struct launch l = {.b = b, .s = s, .report = -1, .go = -1, .e = e};
	int rc = -1;

	l.root = lx_tree_path(b, s->tree, e);
	if (l.root) {
		cg_create(b, s->id, &s->limits);
		rc = publish(&l);
		if (rc == 0)
			rc = launch(&l, s->id, out);
		if (rc < 0) {
			proxy_close_all(b, s->id);
			// Closing `go` ends a shim that still waits; then its limits can go.
			close(l.go);
			l.go = -1;
			cg_remove(b, s->id);
		}
	}
	launch_free(&l);
	return rc;
}

int lx_exec(struct backend *b, struct be_proc *in, struct be_spec *s, struct be_proc **out,
	    struct err *e)
{
	struct launch l = {.b = b, .s = s, .report = -1, .go = -1, .e = e, .join_pid = in->pid};
	int rc = launch(&l, in->id, out);

	launch_free(&l);
	if (rc < 0) {
		char *run = run_dir(b, s->id);
		tree_delete(AT_FDCWD, run);
		free(run);
	}
	return rc;
}

int lx_adopt(struct backend *b, const struct be_spec *s, struct be_proc **out)
{
	*out = proc_connect(b, s->id, s->id);
	if (!*out)
		return 0;
	for (size_t i = 0; i < s->nports && (*out)->pidfd >= 0; i++) {
		struct err e;
		struct in_addr to = {0};
		if (s->nendpoints)
			to = s->endpoints[0].ip;
		if (proxy_open(b, s->id, &s->ports[i], to, &e) < 0)
			log_msg("container %.12s: %s", s->id, e.msg);
	}
	return 1;
}

// ---- using ----

int lx_wait(struct be_proc *p, struct be_exit *out)
{
	ssize_t n = recv(p->sock, &out->code, sizeof(out->code), 0);

	if (n != sizeof(out->code)) { // the shim is gone: so is all that we could learn
		struct pollfd w = {.fd = p->pidfd, .events = POLLIN};
		if (p->pidfd >= 0)
			poll(&w, 1, -1);
		out->code = 137;
	}
	out->oom = !p->exec && cg_oom(p->b, p->container);
	return 0;
}

void lx_io(struct be_proc *p, struct be_io *out)
{
	*out = p->io;
}

void lx_close_in(struct be_proc *p)
{
	if (p->tty || p->io.in < 0)
		return;
	close(p->io.in);
	p->io.in = -1;
	if (send(p->sock, "i", 1, MSG_NOSIGNAL) < 0) // the shim holds it open as well
		errno = 0;
}

int lx_pid(struct be_proc *p)
{
	return p->pid;
}

int lx_container_pid(struct backend *b, const char *id)
{
	struct be_proc *p = proc_connect(b, id, id);
	int pid = 0;

	if (p) {
		struct pollfd w = {.fd = p->pidfd, .events = POLLIN};
		if (p->pidfd >= 0 && poll(&w, 1, 0) == 0)
			pid = p->pid;
		lx_detach(p);
	}
	return pid;
}

int lx_signal(struct be_proc *p, int sig, struct err *e)
{
	if (p->pidfd < 0 || syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0) < 0)
		return err_set(e, 409, "container %s is not running", p->container);
	return 0;
}

int lx_pause(struct be_proc *p, bool on, struct err *e)
{
	if (cg_freeze(p->b, p->container, on) < 0)
		return err_set(e, 500, "cannot %s: %s", on ? "pause" : "unpause",
			       strerror(errno));
	return 0;
}

int lx_resize(struct be_proc *p, uint16_t rows, uint16_t cols, struct err *e)
{
	struct winsize w = {.ws_row = rows, .ws_col = cols};

	if (!p->tty || ioctl(p->io.out, TIOCSWINSZ, &w) < 0)
		return err_set(e, 500, "cannot resize: no terminal");
	return 0;
}

int lx_update(struct be_proc *p, const struct be_limits *l, struct err *e)
{
	return cg_update(p->b, p->container, l, e);
}

static void net_stats(int pid, struct be_stats *st)
{
	char path[64], *text, *save = NULL;

	snprintf(path, sizeof(path), "/proc/%d/net/dev", pid);
	text = file_read(path, 65536, NULL);
	for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save)) {
		struct be_net_stats *n = &st->net[st->nnet];
		unsigned long long v[12];
		if (st->nnet == 8 ||
		    sscanf(l,
			   " %15[^:]: %llu %llu %llu %llu %*u %*u %*u %*u %llu %llu %llu %llu",
			   n->ifname, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6],
			   &v[7]) != 9 ||
		    strcmp(n->ifname, "lo") == 0)
			continue;
		n->rx_bytes = v[0], n->rx_packets = v[1], n->rx_errors = v[2],
		n->rx_dropped = v[3];
		n->tx_bytes = v[4], n->tx_packets = v[5], n->tx_errors = v[6],
		n->tx_dropped = v[7];
		st->nnet++;
	}
	free(text);
}

static uint64_t host_cpu_ns(void)
{
	unsigned long long v[7] = {0};
	char *text = file_read("/proc/stat", 1 << 20, NULL);

	if (text)
		sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
		       &v[3], &v[4], &v[5], &v[6]);
	free(text);
	return (v[0] + v[1] + v[2] + v[3] + v[4] + v[5] + v[6]) * (1000000000ull / 100);
}

static uint64_t host_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

int lx_stats(struct be_proc *p, struct be_stats *st, struct err *e)
{
	*st = (struct be_stats){.online_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
				.host_cpu_ns = host_cpu_ns()};
	cg_stats(p->b, p->container, st);
	if (st->mem_limit == 0 || st->mem_limit > host_memory())
		st->mem_limit = host_memory();
	net_stats(p->pid, st);
	return 0;
}

struct top {
	be_task_cb *cb;
	void *ctx;
	int64_t boot_s;
};

static int top_one(void *ctx, int pid)
{
	struct top *t = ctx;
	struct be_task task = {.pid = pid};
	char path[64];
	size_t n = 0;
	unsigned long long ut = 0, st = 0, start = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	char *text = file_read(path, 4096, NULL), *paren = text ? strrchr(text, ')') : NULL;
	if (!paren) { // it has just ended
		free(text);
		return 0;
	}
	sscanf(
	    paren + 2,
	    "%1s %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu",
	    task.stat, &task.ppid, &ut, &st, &start);
	task.cpu_ms = (int64_t)(ut + st) * 10;
	task.start_s = t->boot_s + (int64_t)(start / 100);
	free(text);
	struct stat sb;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	task.uid = stat(path, &sb) == 0 ? sb.st_uid : 0;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	text = file_read(path, 65536, &n);
	for (size_t i = 0; text && i + 1 < n; i++)
		if (!text[i])
			text[i] = ' ';
	snprintf(task.cmd, sizeof(task.cmd), "%s", text ? text : "");
	free(text);
	return t->cb(t->ctx, &task);
}

int lx_top(struct be_proc *p, be_task_cb *cb, void *ctx, struct err *e)
{
	char *stat_text = file_read("/proc/stat", 1 << 20, NULL);
	char *bt = stat_text ? strstr(stat_text, "\nbtime ") : NULL;
	struct top t = {cb, ctx, bt ? atoll(bt + 7) : 0};

	free(stat_text);
	if (cg_each_pid(p->b, p->container, top_one, &t) < 0)
		return err_set(e, 500, "cannot list the container's processes");
	return 0;
}

// ---- networks of a running container ----

struct enter {
	int pid;
	const struct be_endpoint *ep;
	bool add;
	int rc, err;
};

// setns() for the network works for one thread alone.
static void *enter_thread(void *arg)
{
	struct enter *n = arg;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", n->pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	n->rc = fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
	if (n->rc == 0)
		n->rc = n->add ? lx_net_setup(n->ep) : lx_net_unplug(n->ep->ifname);
	n->err = errno;
	if (fd >= 0)
		close(fd);
	return NULL;
}

static int enter(struct be_proc *p, const struct be_endpoint *ep, bool add, struct err *e)
{
	struct enter n = {.pid = p->pid, .ep = ep, .add = add};
	pthread_t t;

	if (pthread_create(&t, NULL, enter_thread, &n) != 0)
		return err_set(e, 500, "no thread");
	pthread_join(t, NULL);
	return n.rc < 0 ? err_set(e, 500, "network of the container: %s", strerror(n.err)) : 0;
}

int lx_net_connect(struct be_proc *p, const struct be_endpoint *ep, struct err *e)
{
	return lx_net_plug(p->b, ep, p->pid, e) < 0 ? -1 : enter(p, ep, true, e);
}

int lx_net_disconnect(struct be_proc *p, const struct be_endpoint *ep, struct err *e)
{
	return enter(p, ep, false, e);
}

// ---- ending ----

void lx_detach(struct be_proc *p)
{
	int fds[] = {p->pidfd, p->sock, p->io.in, p->io.out, p->io.err};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(p);
}

void lx_release(struct be_proc *p)
{
	struct backend *b = p->b;
	char *run = run_dir(b, p->id);

	if (send(p->sock, "b", 1, MSG_NOSIGNAL) < 0)
		errno = 0; // the shim has gone already
	tree_delete(AT_FDCWD, run);
	if (!p->exec) {
		proxy_close_all(b, p->id);
		cg_remove(b, p->id);
	}
	free(run);
	lx_detach(p);
}
