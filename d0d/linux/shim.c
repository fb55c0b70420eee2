// SPDX-License-Identifier: ISC
// The shim: a small process beside each running program.
//
// Problem: d0d may be killed at any moment, and the containers must go on: someone else has
// to hold their consoles and to learn their exit codes.
// Model: d0d forks, the child (single-threaded from here on) becomes the shim: it makes the
// namespaces with clone(), keeps the reading ends of the program's output and the writing
// end of its input (or its terminal's master), and answers on <run>/sock: whoever connects
// gets those descriptors, and later the exit code. A new d0d finds the socket and is where
// the old one was; what the program wrote meanwhile waits in the pipes.
// End: after the program's exit the code is also in <run>/exit. The shim stays until a d0d
// says "bye" (it has drained the output), so that no output is lost.
// (On D0 itself the nucleus plays this part: cells don't depend on d0d.)
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "d0d/linux/linux.h"

#define MAX_CLIENTS 16

struct shim {
	int report, go;
	int listen;
	int io[3]; // in, out, err; a terminal's master in io[1]
	int pid;
	bool tty, has_in, exited;
	int code;
	int clients[MAX_CLIENTS], nclients;
};

static _Noreturn void shim_fail(struct shim *s, int err, const char *what)
{
	struct shim_report r = {.kind = 0, .err = err};

	snprintf(r.what, sizeof(r.what), "%s", what);
	if (s->pid > 0) { // reaped here, or the container it would have joined could never end
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	if (write(s->report, &r, sizeof(r)) < 0)
		_exit(2);
	_exit(1);
}

static int listen_in(const char *run)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	// A relative name: the state folder's path may be longer than sun_path.
	if (fd < 0 || chdir(run) < 0)
		return -1;
	strcpy(a.sun_path, "sock");
	unlink(a.sun_path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, MAX_CLIENTS) < 0)
		return -1;
	return fd;
}

// Makes the pipes; the child's ends go to STDIO.
static int make_pipes(struct shim *s, const struct be_spec *spec, int stdio[3])
{
	int p[2];

	for (int i = 0; i < 3; i++)
		stdio[i] = s->io[i] = -1;
	if (spec->tty)
		return 0;
	if (spec->stdin_open) {
		if (pipe2(p, O_CLOEXEC) < 0)
			return -1;
		stdio[0] = p[0];
		s->io[0] = p[1];
	} else {
		stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	for (int i = 1; i < 3; i++) {
		if (pipe2(p, O_CLOEXEC) < 0)
			return -1;
		s->io[i] = p[0];
		stdio[i] = p[1];
	}
	return 0;
}

static int recv_fd(int sock)
{
	char byte, ctl[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&byte, 1};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -1;
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static void greet(struct shim *s, int fd)
{
	struct shim_hello h = {.pid = s->pid, .tty = s->tty, .has_in = s->has_in};
	char ctl[CMSG_SPACE(3 * sizeof(int))] = {0};
	struct iovec v = {&h, sizeof(h)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl};
	int fds[3];

	for (int i = 0; i < 3; i++)
		if (s->io[i] >= 0)
			fds[h.nfds++] = s->io[i];
	m.msg_controllen = CMSG_SPACE((size_t)h.nfds * sizeof(int));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN((size_t)h.nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, (size_t)h.nfds * sizeof(int));
	if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0 || s->nclients == MAX_CLIENTS) {
		close(fd);
		return;
	}
	s->clients[s->nclients++] = fd;
	if (s->exited && send(fd, &s->code, sizeof(s->code), MSG_NOSIGNAL) < 0)
		return;
}

static void on_exit_of_child(struct shim *s)
{
	int st;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid != s->pid || s->exited)
			continue;
		s->exited = true;
		s->code = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
		char text[16];
		int n = snprintf(text, sizeof(text), "%d", s->code);
		file_write_atomic("exit", text, (size_t)n);
		for (int i = 0; i < s->nclients; i++)
			if (send(s->clients[i], &s->code, sizeof(s->code), MSG_NOSIGNAL) < 0)
				continue;
	}
}

// A client spoke ("bye") or left. True: the shim may end.
static bool client_input(struct shim *s, int i)
{
	char b;
	ssize_t n = recv(s->clients[i], &b, 1, 0);

	if (n == 1 && b == 'i' && s->io[0] >= 0) { // d0d closed the program's stdin
		close(s->io[0]);
		s->io[0] = -1;
		s->has_in = false;
		return false;
	}
	if (n == 1 && b == 'b')
		return s->exited;
	close(s->clients[i]);
	s->clients[i] = s->clients[--s->nclients];
	return false;
}

static _Noreturn void serve(struct shim *s, int sigfd)
{
	for (;;) {
		struct pollfd p[2 + MAX_CLIENTS] = {{s->listen, POLLIN, 0}, {sigfd, POLLIN, 0}};
		struct signalfd_siginfo si;
		int n = s->nclients;
		for (int i = 0; i < n; i++)
			p[2 + i] = (struct pollfd){s->clients[i], POLLIN, 0};
		if (poll(p, (nfds_t)n + 2, -1) < 0)
			continue;
		for (int i = n - 1; i >= 0; i--)
			if (p[2 + i].revents && client_input(s, i))
				_exit(0);
		if (p[1].revents && read(sigfd, &si, sizeof(si)) > 0)
			on_exit_of_child(s);
		if (p[0].revents) {
			int fd = accept4(s->listen, NULL, NULL, SOCK_CLOEXEC);
			if (fd >= 0)
				greet(s, fd);
		}
	}
}

static int join(int pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	// The child can't open it: in its pid namespace the number means something else.
	return fd < 0 || setns(fd, CLONE_NEWPID) < 0 ? -1 : fd;
}

static int share_net(int pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : setns(fd, CLONE_NEWNET);
	if (fd >= 0)
		close(fd);
	return rc;
}

static void tell(struct shim *s, int kind)
{
	struct shim_report r = {.kind = kind, .pid = s->pid};

	if (write(s->report, &r, sizeof(r)) < 0)
		_exit(1);
}

// The child's program runs when its end of FAIL closes without a word.
static void await_exec(struct shim *s, int fail)
{
	struct shim_report r;
	ssize_t n = read(fail, &r, sizeof(r));

	if (n == sizeof(r))
		shim_fail(s, r.err, r.what);
	close(fail);
}

// Into the container *join_fd is of, or the flags that make its namespaces.
static unsigned long enter(struct shim *s, const struct be_spec *spec, int pid, int *join_fd)
{
	int peer = spec->net_of ? atoi(spec->net_of) : 0;

	if (pid) {
		*join_fd = join(pid);
		if (*join_fd < 0)
			shim_fail(s, errno, "join");
		return SIGCHLD;
	}
	if (peer && share_net(peer) < 0)
		shim_fail(s, errno, "join network");
	return SIGCHLD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
	       (peer ? 0 : CLONE_NEWNET);
}

// d0d's own terminal and log aren't the shim's.
static void let_stdio_go(void)
{
	for (int i = 0; i < 3; i++) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0)
			dup2(null, i);
		if (null > 2)
			close(null);
	}
}

void shim_main(const struct be_spec *spec, const char *root, const char *run, char **volumes,
	       int report, int go, int join_pid)
{
	struct shim s = {
	    .report = report, .go = go, .tty = spec->tty, .has_in = spec->stdin_open};
	int stdio[3], sync[2], tty[2], fail[2];
	char byte;
	sigset_t set;

	prctl(PR_SET_NAME, "d0d-shim");
	setsid();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	int sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	s.listen = listen_in(run);
	if (s.listen < 0 || sigfd < 0 || make_pipes(&s, spec, stdio) < 0 ||
	    pipe2(sync, O_CLOEXEC) < 0 || pipe2(fail, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, tty) < 0)
		shim_fail(&s, errno, "shim");
	int join_fd = -1;
	unsigned long flags = enter(&s, spec, join_pid, &join_fd);
	s.pid = (int)syscall(SYS_clone, flags, 0, 0, 0, 0);
	if (s.pid < 0)
		shim_fail(&s, errno, "clone");
	if (s.pid == 0) {
		struct child c = {.s = spec,
				  .root = root,
				  .run = run,
				  .volumes = volumes,
				  .sync = sync[0],
				  .tty_sock = tty[1],
				  .fail = fail[1],
				  .stdio = {stdio[0], stdio[1], stdio[2]},
				  .join_fd = join_fd};
		close(sync[1]);
		close(fail[0]);
		close(tty[0]);
		child_main(&c);
	}
	for (int i = 0; i < 3; i++)
		if (stdio[i] >= 0)
			close(stdio[i]);
	close(tty[1]);
	close(fail[1]);
	close(sync[0]);
	tell(&s, 1);
	if (read(go, &byte, 1) != 1) // d0d died or gave up
		shim_fail(&s, ECANCELED, "start");
	if (write(sync[1], "g", 1) < 0)
		shim_fail(&s, errno, "sync");
	if (spec->tty)
		s.io[1] = recv_fd(tty[0]);
	await_exec(&s, fail[0]);
	if (spec->tty && s.io[1] < 0)
		shim_fail(&s, EIO, "terminal");
	close(tty[0]);
	tell(&s, 2);
	close(report);
	close(go);
	let_stdio_go();
	serve(&s, sigfd);
}
