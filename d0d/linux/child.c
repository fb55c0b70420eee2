// SPDX-License-Identifier: ISC
// A container's first process (or an exec session's) from clone() to execve().
//
// Everything here runs single-threaded in the new namespaces. Each step that fails is named
// to the shim, which passes it on as Docker's error message.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "d0d/linux/dirtree.h"
#include "d0d/linux/linux.h"

static _Noreturn void die(struct child *c, int err, const char *what)
{
	struct shim_report r = {.err = err};

	snprintf(r.what, sizeof(r.what), "%s", what);
	if (write(c->fail, &r, sizeof(r)) < 0)
		_exit(2);
	_exit(127);
}

static void must(struct child *c, int rc, const char *what)
{
	if (rc < 0)
		die(c, errno, what);
}

static void mount_at(struct child *c, int root, const char *dest, const char *type,
		     unsigned long flags, const char *data)
{
	char self[64];
	int fd = dt_make_dirs(root, dest);

	must(c, fd, dest);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	must(c, mount(type, self, type, flags, data), dest);
	close(fd);
}

// Binds SRC over DEST inside the root. A mount through O_PATH descriptors can't be led
// outside by a symbolic link of the image.
static void bind_at(struct child *c, int root, const char *src, const char *dest, bool dir,
		    bool ro)
{
	char self[64];
	int fd = dir ? dt_make_dirs(root, dest) : -1;

	if (!dir) {
		char *up = xstrdup(dest), *slash = strrchr(up, '/');
		if (slash)
			*slash = 0;
		int parent = dt_make_dirs(root, up);
		int made = parent < 0
			       ? -1
			       : openat(parent, slash ? slash + 1 : dest,
					O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
		if (made >= 0)
			close(made);
		if (parent >= 0)
			close(parent);
		fd = dt_open(root, dest, O_PATH, 0);
		free(up);
	}
	must(c, fd, dest);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	must(c, mount(src, self, NULL, MS_BIND, NULL), dest);
	close(fd);
	if (ro) {
		fd = dt_open(root, dest, O_PATH, 0);
		must(c, fd, dest);
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		must(c, mount(NULL, self, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), dest);
		close(fd);
	}
}

static void make_dev(struct child *c, int root)
{
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
		     {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "fd"},
					       {"/proc/self/fd/0", "stdin"},
					       {"/proc/self/fd/1", "stdout"},
					       {"/proc/self/fd/2", "stderr"},
					       {"pts/ptmx", "ptmx"}};
	char shm[64];

	mount_at(c, root, "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k");
	int dev = dt_open(root, "dev", O_RDONLY | O_DIRECTORY, 0);
	must(c, dev, "/dev");
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		must(c,
		     mknodat(dev, nodes[i].name, S_IFCHR | 0666,
			     makedev((unsigned)nodes[i].major, (unsigned)nodes[i].minor)),
		     nodes[i].name);
		must(c, fchmodat(dev, nodes[i].name, 0666, 0), nodes[i].name);
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		must(c, symlinkat(links[i][0], dev, links[i][1]), links[i][1]);
	close(dev);
	mount_at(c, root, "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		 "newinstance,ptmxmode=0666,mode=0620,gid=5");
	snprintf(shm, sizeof(shm), "mode=1777,size=%llu",
		 (unsigned long long)(c->s->shm_size ? c->s->shm_size : 64u << 20));
	mount_at(c, root, "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, shm);
	mount_at(c, root, "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void etc_file(struct child *c, int root, const char *name, const char *text)
{
	if (!text)
		return;
	char *host = xasprintf("%s/%s", c->run, name), *dest = xasprintf("etc/%s", name);
	bind_at(c, root, host, dest, false, false);
	free(host);
	free(dest);
}

static void mount_user(struct child *c, int root)
{
	for (size_t i = 0; i < c->s->nmounts; i++) {
		const struct be_mount *m = &c->s->mounts[i];
		char opts[64];
		if (m->tree) {
			bind_at(c, root, c->volumes[i], m->dest + 1, true, m->read_only);
			continue;
		}
		int n = snprintf(opts, sizeof(opts), "mode=%o", m->mode ? m->mode : 01777);
		if (m->size)
			snprintf(opts + n, sizeof(opts) - (size_t)n, ",size=%llu",
				 (unsigned long long)m->size);
		mount_at(c, root, m->dest + 1, "tmpfs",
			 MS_NOSUID | MS_NODEV | (m->read_only ? MS_RDONLY : 0), opts);
	}
}

static void mask_proc(int root)
{
	static const char *const hidden[] = {"proc/kcore", "proc/keys", "proc/timer_list",
					     "proc/sysrq-trigger"};
	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		char self[64];
		int fd = dt_open(root, hidden[i], O_PATH, 0);
		if (fd < 0)
			continue;
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		if (mount("/dev/null", self, NULL, MS_BIND, NULL) < 0)
			errno = 0; // an absent /dev/null leaves it readable for root only
		close(fd);
	}
}

static void make_root(struct child *c)
{
	must(c, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
	must(c, mount(c->root, c->root, NULL, MS_BIND | MS_REC, NULL), "root");
	int root = open(c->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(c, root, "root");
	mount_at(c, root, "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at(c, root, "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	make_dev(c, root);
	etc_file(c, root, "hosts", c->s->etc_hosts);
	etc_file(c, root, "resolv.conf", c->s->etc_resolv);
	etc_file(c, root, "hostname", c->s->etc_hostname);
	mount_user(c, root);
	mask_proc(root);
	must(c, fchdir(root), "root");
	must(c, (int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(c, umount2(".", MNT_DETACH), "old root");
	must(c, chdir("/"), "root");
	close(root);
}

static void make_names(struct child *c)
{
	if (c->s->hostname && *c->s->hostname)
		must(c, sethostname(c->s->hostname, strlen(c->s->hostname)), "hostname");
	if (c->s->domainname && *c->s->domainname)
		must(c, setdomainname(c->s->domainname, strlen(c->s->domainname)),
		     "domainname");
	if (c->s->net_of)
		return;
	must(c, lx_net_setup_lo(), "lo");
	for (size_t i = 0; i < c->s->nendpoints; i++)
		must(c, lx_net_setup(&c->s->endpoints[i]), c->s->endpoints[i].ifname);
}

static void join_container(struct child *c)
{
	must(c, setns(c->join_fd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET),
	     "join");
	close(c->join_fd);
	must(c, chdir("/"), "root");
}

static void send_fd(struct child *c, int fd)
{
	char byte = 't', ctl[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {&byte, 1};
	struct msghdr m = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	must(c, (int)sendmsg(c->tty_sock, &m, 0), "terminal");
}

// A terminal of the container's own devpts, so that its name exists inside.
static void open_terminal(struct child *c)
{
	struct winsize w = {.ws_row = c->s->rows, .ws_col = c->s->cols};
	int lock = 0, n = 0;
	char name[32];
	int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	must(c, master, "terminal");
	must(c, ioctl(master, TIOCSPTLCK, &lock), "terminal");
	must(c, ioctl(master, TIOCGPTN, &n), "terminal");
	snprintf(name, sizeof(name), "/dev/pts/%d", n);
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	must(c, slave, "terminal");
	if (w.ws_row && w.ws_col)
		ioctl(master, TIOCSWINSZ, &w);
	if (fchown(slave, c->s->uid, (gid_t)-1) < 0)
		errno = 0; // a devpts that refuses leaves it root's
	send_fd(c, master);
	close(master);
	if (c->join_fd < 0) { // /dev/console, as Docker has it
		int con = open("/dev/console", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (con >= 0)
			close(con);
		if (mount(name, "/dev/console", NULL, MS_BIND, NULL) < 0)
			errno = 0; // cosmetic
	}
	for (int i = 0; i < 3; i++)
		c->stdio[i] = slave;
}

static void set_stdio(struct child *c)
{
	if (setsid() < 0)
		errno = 0; // already a leader
	if (c->s->tty)
		open_terminal(c);
	for (int i = 0; i < 3; i++)
		must(c, dup2(c->stdio[i], i), "stdio");
	if (c->s->tty)
		ioctl(0, TIOCSCTTY, 0);
}

static const struct {
	const char *name;
	int which;
} rlimit_names[] = {
    {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},         {"fsize", RLIMIT_FSIZE},
    {"memlock", RLIMIT_MEMLOCK},   {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"stack", RLIMIT_STACK},       {"sigpending", RLIMIT_SIGPENDING},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"rtprio", RLIMIT_RTPRIO},
};

static void set_rlimits(struct child *c)
{
	for (size_t i = 0; i < c->s->nrlimits; i++)
		for (size_t k = 0; k < sizeof(rlimit_names) / sizeof(rlimit_names[0]); k++)
			if (strcmp(c->s->rlimits[i].name, rlimit_names[k].name) == 0) {
				struct rlimit r = {c->s->rlimits[i].soft,
						   c->s->rlimits[i].hard};
				must(c, setrlimit(rlimit_names[k].which, &r), "ulimit");
			}
}

static void set_identity(struct child *c)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	uint64_t caps = c->s->caps, user = c->s->uid ? 0 : caps;
	struct __user_cap_data_struct d[2] = {
	    {(uint32_t)user, (uint32_t)user, 0},
	    {(uint32_t)(user >> 32), (uint32_t)(user >> 32), 0}};
	gid_t *groups = xcalloc(c->s->ngroups + 1, sizeof(*groups));

	for (int i = 0; i < 64; i++)
		if (!(caps >> i & 1))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	for (size_t i = 0; i < c->s->ngroups; i++)
		groups[i] = c->s->groups[i];
	must(c, setgroups(c->s->ngroups, groups), "setgroups");
	must(c, setgid(c->s->gid), "setgid");
	must(c, setuid(c->s->uid), "setuid");
	must(c, (int)syscall(SYS_capset, &h, d), "capset");
	free(groups);
}

static void set_signals(void)
{
	sigset_t none;

	for (int i = 1; i < 32; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
}

static const char *env_path(char **env)
{
	for (; *env; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static _Noreturn void exec_failed(struct child *c, int err)
{
	char what[160];
	const char *why = err == EACCES ? "permission denied"
			  : err == ENOENT && !strchr(c->s->argv[0], '/')
			      ? "executable file not found in $PATH"
			      : strerror(err);

	snprintf(what, sizeof(what), "exec: \"%.80s\": %s", c->s->argv[0],
		 err == ENOENT && strchr(c->s->argv[0], '/') ? "no such file or directory"
							     : why);
	die(c, 0, what);
}

static _Noreturn void run_program(struct child *c)
{
	char **argv = c->s->argv;
	int err = ENOENT;

	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, c->s->env);
		struct stat st;
		err = errno;
		if (err == EACCES && stat(argv[0], &st) == 0 && S_ISDIR(st.st_mode))
			err = EISDIR;
		exec_failed(c, err);
	}
	char *path = xstrdup(env_path(c->s->env)), *save = NULL;
	for (char *dir = strtok_r(path, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		char *full = xasprintf("%s/%s", dir, argv[0]);
		execve(full, argv, c->s->env);
		if (errno != ENOENT && errno != ENOTDIR)
			err = errno;
		free(full);
	}
	exec_failed(c, err);
}

// A tiny init (--init): forwards signals, reaps orphans, ends with the program's code.
static pid_t init_child;

static void init_forward(int sig)
{
	kill(init_child, sig);
}

static void run_init(struct child *c)
{
	int st;
	pid_t pid;

	init_child = fork();
	must(c, init_child, "fork");
	if (init_child == 0)
		return; // goes on to become the program
	close(c->fail);
	for (int i = 1; i < 32; i++)
		if (i != SIGCHLD && i != SIGKILL && i != SIGSTOP && i != SIGSEGV &&
		    i != SIGABRT)
			signal(i, init_forward);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (;;) {
		pid = waitpid(-1, &st, 0);
		if (pid == init_child)
			_exit(WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st));
	}
}

void child_main(struct child *c)
{
	char byte;

	if (read(c->sync, &byte, 1) != 1)
		_exit(1);
	if (c->join_fd >= 0) {
		join_container(c);
	} else {
		make_names(c);
		make_root(c);
	}
	set_stdio(c);
	set_rlimits(c);
	if (c->s->cwd && strcmp(c->s->cwd, "/") != 0) {
		struct stat st;
		if (c->join_fd < 0 && stat(c->s->cwd, &st) < 0)
			dir_make(c->s->cwd, 0755);
		must(c, chdir(c->s->cwd), c->s->cwd);
	}
	if (c->s->read_only && c->join_fd < 0)
		must(c, mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL),
		     "read-only root");
	if (c->s->init && c->join_fd < 0)
		run_init(c);
	set_identity(c);
	set_signals();
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	run_program(c);
}
