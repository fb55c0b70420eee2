/* SPDX-License-Identifier: ISC */
/*
 * d0fs mount: a PFS as a file system of Linux, through /dev/fuse and the same FUSE server
 * that the store cell runs. As root the mount is made with mount(2), otherwise by
 * fusermount3, which hands over the descriptor. One thread; the volume is synced every few
 * seconds while something is dirty, at fsync, and at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "cells/store/fuse/server.h"
#include "tools/d0fs/d0fs.h"

#define SYNC_SECONDS 5
#define MAX_WRITE    (1u << 20)

extern char **environ;

struct mount_args {
	const char *volume, *label, *dir;
	bool readonly, background;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static uint64_t now(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- making the mount ---- */

static int mount_direct(const struct mount_args *a)
{
	char opts[160];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return d0fs_fail(-1, "/dev/fuse: %s", strerror(errno));
	snprintf(opts, sizeof(opts),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
		 fd);
	if (mount(a->volume, a->dir, "fuse.d0fs",
		  MS_NODEV | MS_NOSUID | (a->readonly ? MS_RDONLY : 0), opts)) {
		d0fs_fail(-1, "%s: %s", a->dir, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* The descriptor that fusermount3 sends over its socket. */
static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_by_helper(const struct mount_args *a)
{
	char opts[] = "subtype=d0fs,default_permissions,ro", number[16];
	char *argv[] = {"fusermount3", "-o", opts, "--", (char *)a->dir, NULL};
	int sock[2], status, fd;
	pid_t pid;

	if (!a->readonly)
		*strrchr(opts, ',') = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return d0fs_fail(-1, "socketpair: %s", strerror(errno));
	fcntl(sock[1], F_SETFD, FD_CLOEXEC);
	snprintf(number, sizeof(number), "%d", sock[0]);
	setenv("_FUSE_COMMFD", number, 1);
	if (posix_spawnp(&pid, "fusermount3", NULL, NULL, argv, environ)) {
		close(sock[0]);
		close(sock[1]);
		return d0fs_fail(-1, "fusermount3 can't be started");
	}
	close(sock[0]);
	fd = receive_fd(sock[1]);
	close(sock[1]);
	waitpid(pid, &status, 0);
	return fd < 0 ? d0fs_fail(-1, "fusermount3 refused to mount %s", a->dir) : fd;
}

static void unmount(const struct mount_args *a)
{
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)a->dir, NULL};
	pid_t pid;

	if (geteuid() == 0)
		umount2(a->dir, MNT_DETACH);
	else if (!posix_spawnp(&pid, "fusermount3", NULL, NULL, argv, environ))
		waitpid(pid, NULL, 0);
}

/* ---- serving ---- */

/* 0 to go on, 1 when unmounted. */
static int serve_one(int fd, struct fuse_session *s, uint8_t *req, uint8_t *rep, size_t size)
{
	ssize_t n = read(fd, req, size);
	long out;

	if (n < 0)
		return errno == ENODEV                                        ? 1
		       : errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0
									      : -1;
	out = fuse_session_handle(s, req, (size_t)n, rep, size);
	if (out < 0)
		return -1;
	if (out > 0 && write(fd, rep, (size_t)out) < 0 && errno != ENOENT && errno != EINTR)
		return errno == ENODEV ? 1 : -1;
	return 0;
}

static int serve(int fd, struct h2_vol *vol, struct fuse_session *s)
{
	size_t size = fuse_session_buffer(s);
	uint8_t *req = aligned_alloc(4096, size), *rep = aligned_alloc(4096, size);
	uint64_t synced = now(NULL);
	int r = req && rep ? 0 : -1;

	while (!r && !stop) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int ready = poll(&p, 1, SYNC_SECONDS * 1000);

		if (ready > 0)
			r = serve_one(fd, s, req, rep, size);
		if (now(NULL) - synced > SYNC_SECONDS * 1000000000ull) {
			if (h2_dirty_bytes(vol))
				h2_sync(vol);
			synced = now(NULL);
		}
	}
	free(req);
	free(rep);
	return r < 0 ? d0fs_fail(D0FS_FAILED, "/dev/fuse: %s", strerror(errno)) : D0FS_OK;
}

static void detach(void)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
}

/* With --background the parent returns when the mount is there; the lock on the volume is
 * an open file's, so it goes along with the fork. */
static int run(const struct mount_args *a, struct d0fs_vol *v, struct h2_pfs *pfs, int fd)
{
	struct fuse_options o = {.readonly = a->readonly,
				 .keep_nodes = a->readonly,
				 .max_write = MAX_WRITE,
				 .valid_s = 3600,
				 .nodes_max = UINT32_MAX / 4,
				 .now = now};
	struct fuse_session *s = fuse_session_new(pfs, &o);
	struct sigaction sa = {.sa_handler = on_signal};
	int code;

	if (!s)
		return d0fs_fail(D0FS_FAILED, "out of memory");
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	code = serve(fd, v->vol, s);
	if (stop)
		unmount(a);
	fuse_session_free(s);
	return code;
}

static int mount_pfs(const struct mount_args *a)
{
	struct d0fs_vol v;
	struct h2_pfs *pfs;
	int code, err, fd = -1;

	code = d0fs_open(&v, a->volume, a->readonly ? D0FS_RDONLY : 0, 0);
	if (code)
		return code;
	err = h2_pfs_open(v.vol, a->label, a->readonly ? H2_PFS_RDONLY : 0, &pfs);
	if (err)
		return d0fs_close(
		    &v, d0fs_fail(d0fs_code(err), "%s: %s", a->label, h2_strerror(err)));
	fd = geteuid() == 0 ? mount_direct(a) : mount_by_helper(a);
	if (fd < 0)
		code = D0FS_FAILED;
	if (!code && a->background) {
		pid_t pid = fork();

		if (pid > 0)
			_exit(D0FS_OK);
		if (pid < 0)
			code = d0fs_fail(D0FS_FAILED, "fork: %s", strerror(errno));
		else
			detach();
	}
	if (!code)
		code = run(a, &v, pfs, fd);
	if (fd >= 0)
		close(fd);
	h2_pfs_close(pfs);
	return d0fs_close(&v, code);
}

static int mount_cmd(int argc, char **argv)
{
	static const struct option options[] = {
	    {"read-only", no_argument, NULL, 'r'}, {"background", no_argument, NULL, 'b'}, {0}};
	struct mount_args a = {0};
	int c;

	while ((c = getopt_long(argc, argv, "rb", options, NULL)) != -1) {
		if (c == 'r')
			a.readonly = true;
		else if (c == 'b')
			a.background = true;
		else
			return d0fs_usage();
	}
	if (argc - optind != 3)
		return d0fs_usage();
	a.volume = argv[optind];
	a.label = argv[optind + 1];
	a.dir = argv[optind + 2];
	return mount_pfs(&a);
}
D0FS_COMMAND(mount, "mount", "[-r] [-b] VOLUME PFS DIR", "mount a PFS with FUSE", mount_cmd);
