/* SPDX-License-Identifier: ISC */
/*
 * What programs expect of sockets beside data: it runs the same on Linux. Prints
 * "sockets passed N".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static uint32_t ready(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	return poll(&p, 1, 10000) == 1 ? (uint32_t)p.revents : 0;
}

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int listener(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*a = loopback(0);
	if (bind(fd, (void *)a, sizeof(*a)) || listen(fd, 512) ||
	    getsockname(fd, (void *)a, &len))
		return -1;
	return fd;
}

static int so_error(int fd)
{
	int e = -1;
	socklen_t len = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	return e;
}

/* A connection that does not wait is never made at once, even to the loopback. */
static void test_connect(void)
{
	struct sockaddr_in a;
	int l = listener(&a), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	check(l >= 0, "a listener");
	check(connect(c, (void *)&a, sizeof(a)) == -1 && errno == EINPROGRESS, "it begins");
	check(ready(c, POLLOUT) == POLLOUT && !so_error(c), "it is there");
	check(!connect(c, (void *)&a, sizeof(a)), "asked again");
	check(connect(c, (void *)&a, sizeof(a)) == -1 && errno == EISCONN, "and again");
	close(l);
	check(connect(refused, (void *)&a, sizeof(a)) == -1 && errno == EINPROGRESS,
	      "to nobody");
	check((ready(refused, POLLOUT) & (POLLERR | POLLHUP)) == (POLLERR | POLLHUP),
	      "poll tells");
	check(so_error(refused) == ECONNREFUSED, "why");
	close(c);
	close(refused);
}

static void pair(int *c, int *s)
{
	struct sockaddr_in a;
	int l = listener(&a);

	*c = socket(AF_INET, SOCK_STREAM, 0);
	*s = connect(*c, (void *)&a, sizeof(a)) ? -1 : accept(l, NULL, NULL);
	close(l);
}

/* Held back or not, every byte arrives, in order, also when nothing lets go of it. */
static void test_cork(void)
{
	static char in[300000], out[300000];
	int c, s, on = 1, off = 0, file = memfd_create("file", 0);
	size_t got = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 2654435761u >> 24);
	check(pwrite(file, out + 1000, 99000, 0) == 99000, "a file");
	pair(&c, &s);
	check(!setsockopt(c, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), "corked");
	send(c, out, 1000, 0);
	check(sendfile(c, file, NULL, 1 << 20) == 99000, "a file, up to its end");
	setsockopt(c, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	while (got < 100000 && ready(s, POLLIN))
		got += (size_t)recv(s, in + got, sizeof(in) - got, 0);
	check(got == 100000 && !memcmp(in, out, got), "all of it");
	send(c, "more", 4, MSG_MORE);
	check(recv(s, in, 4, MSG_WAITALL) == 4, "more than follows");
	if (!fork()) { /* larger than any ring, against a reader that waits */
		for (size_t at = 0; at < sizeof(out);)
			at += (size_t)send(c, out + at, sizeof(out) - at, MSG_MORE);
		_exit(0);
	}
	close(c);
	for (got = 0; got < sizeof(in) && ready(s, POLLIN);)
		got += (size_t)recv(s, in + got, MIN(sizeof(in) - got, 5000), 0);
	check(got == sizeof(in) && !memcmp(in, out, got) && !recv(s, in, 1, 0), "the end");
	signal(SIGPIPE, SIG_DFL);
	if (!fork()) {
		pair(&c, &s);
		close(s);
		for (;;)
			if (write(c, out, sizeof(out)) < 0 && errno == EPIPE)
				_exit(1);
	}
	wait(&off);
	wait(&on);
	check((WIFSIGNALED(on) && WTERMSIG(on) == SIGPIPE) ||
		  (WIFSIGNALED(off) && WTERMSIG(off) == SIGPIPE),
	      "a signal for who writes to nobody");
	close(s);
}

/* Returns when the signal is there: it is blocked meanwhile. */
static int told(int sig, siginfo_t *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigtimedwait(&set, info, &(struct timespec){10, 0});
}

static void block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void test_urgent(void)
{
	char b[16];
	int c, s, on = 1, mark = -1;

	pair(&c, &s);
	block(SIGURG);
	fcntl(s, F_SETOWN, getpid());
	check(fcntl(s, F_GETOWN) == getpid(), "the owner");
	send(c, "abc", 3, 0);
	send(c, "!", 1, MSG_OOB);
	send(c, "def", 3, 0);
	check(told(SIGURG, NULL) == SIGURG, "its signal");
	check(ready(s, POLLPRI) == POLLPRI, "poll knows");
	while (ready(s, POLLIN) && recv(s, b, 16, MSG_PEEK) < 3)
		;
	check(recv(s, b, 16, 0) == 3 && !memcmp(b, "abc", 3), "a read stops at the mark");
	check(!ioctl(s, SIOCATMARK, &mark) && mark == 1, "it is there");
	check(recv(s, b, 16, MSG_OOB) == 1 && *b == '!', "the byte");
	check(recv(s, b, 16, MSG_OOB) == -1 && errno == EINVAL, "once only");
	check(recv(s, b, 3, MSG_WAITALL) == 3 && !memcmp(b, "def", 3),
	      "it is not in the stream");
	setsockopt(s, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	send(c, "?", 1, MSG_OOB);
	check(recv(s, b, 1, 0) == 1 && *b == '?', "or inline");
	close(c);
	close(s);
}

static void test_async(void)
{
	int p[2], c, s, on = 1;
	siginfo_t info;
	char b;

	setpgid(0, 0);
	block(SIGIO);
	block(SIGRTMIN);
	check(!pipe(p) && !fcntl(p[0], F_SETOWN, getpid()) && !fcntl(p[0], F_SETFL, O_ASYNC),
	      "a pipe");
	check((fcntl(p[0], F_GETFL) & O_ASYNC) != 0, "it is asked for");
	check(write(p[1], "x", 1) == 1 && told(SIGIO, NULL) == SIGIO, "input");
	fcntl(p[0], F_SETSIG, SIGRTMIN);
	check(write(p[1], "x", 1) == 1 && told(SIGRTMIN, &info) == SIGRTMIN, "another signal");
	check(info.si_fd == p[0] && info.si_code == POLL_IN && (info.si_band & POLLIN),
	      "which one it is");
	check(fcntl(p[0], F_SETOWN, 0x7ffffff) == -1 && errno == ESRCH,
	      "an owner that is none");
	pair(&c, &s);
	fcntl(s, F_SETOWN, -getpgrp());
	check(!ioctl(s, FIOASYNC, &on), "a socket");
	check(send(c, "y", 1, 0) == 1 && told(SIGIO, NULL) == SIGIO, "its data");
	check(recv(s, &b, 1, 0) == 1, "is read");
	close(p[0]);
	close(p[1]);
	close(c);
	close(s);
}

static int pass(int over, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = {0}, b = 0;
	struct iovec v = {&b, 1};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = room,
			   .msg_controllen = sizeof(room)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(over, &m, 0) == 1;
}

/* Sockets that only messages in each other's queues refer to go away, with all they carry. */
static void test_cycles(void)
{
	int a[2], b[2], p[2], kept[2], ok;

	ok = !pipe(p) && !socketpair(AF_UNIX, SOCK_STREAM, 0, a) &&
	     !socketpair(AF_UNIX, SOCK_DGRAM, 0, b) &&
	     !socketpair(AF_UNIX, SOCK_STREAM, 0, kept);
	check(ok && pass(a[0], b[1]) && pass(b[0], a[1]) && pass(a[0], p[1]),
	      "a ring of sockets");
	check(pass(kept[0], kept[1]) && pass(kept[0], a[0]), "one in its own queue");
	close(p[1]);
	close(a[0]);
	close(a[1]);
	close(kept[0]);
	close(kept[1]);
	check(poll(&(struct pollfd){p[0], POLLIN, 0}, 1, 50) == 0,
	      "reached from b[1]: it stays");
	close(b[1]);
	close(b[0]);
	check((ready(p[0], POLLIN) & POLLHUP) != 0, "nothing is left of them");
	close(p[0]);
}

/* A raw socket that wants datagrams to one port only, and eleven bytes of them. */
static void test_filter(void)
{
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDP), u = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = loopback(4711), other = loopback(4712);
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4711, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, 20 + 8 + 3), BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog prog = {5, code}, bad = {4, code};
	char b[64];

	check(raw >= 0, "a raw socket");
	check(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &bad, sizeof(bad)) == -1 &&
		  errno == EINVAL,
	      "a filter that runs off its end");
	check(!setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), "a filter");
	sendto(u, "other", 5, 0, (void *)&other, sizeof(other));
	sendto(u, "abcdef", 6, 0, (void *)&to, sizeof(to));
	sendto(u, "other", 5, 0, (void *)&other, sizeof(other));
	check(ready(raw, POLLIN) == POLLIN && recv(raw, b, 64, 0) == 31 &&
		  !memcmp(b + 28, "abc", 3),
	      "what passes");
	sendto(u, "abcdef", 6, 0, (void *)&to, sizeof(to));
	check(recv(raw, b, 64, 0) == 31, "and nothing between");
	check(!setsockopt(raw, SOL_SOCKET, SO_DETACH_FILTER, &prog, sizeof(prog)), "no filter");
	sendto(u, "other", 5, 0, (void *)&other, sizeof(other));
	check(recv(raw, b, 64, 0) == 33, "all again");
	close(raw);
	close(u);
}

/* Connections that rest take little room, and one among them moves data as ever. */
static void test_many(int n)
{
	static char in[200000], out[200000];
	int(*ends)[2] = calloc((size_t)n, sizeof(*ends)), made = 0, alive = 0;
	struct sockaddr_in a;
	int l = listener(&a);
	char b = 0;

	for (; made < n; made++) {
		ends[made][0] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(ends[made][0], (void *)&a, sizeof(a)))
			break;
		ends[made][1] = accept(l, NULL, NULL);
		if (ends[made][1] < 0)
			break;
	}
	check(made == n, "so many connections");
	memset(out, 'x', sizeof(out));
	if (!fork()) {
		send(ends[n / 2][0], out, sizeof(out), 0);
		_exit(0);
	}
	check(recv(ends[n / 2][1], in, sizeof(in), MSG_WAITALL) == sizeof(in) &&
		  !memcmp(in, out, sizeof(in)),
	      "one of them is busy");
	for (int i = 0; i < made; i++)
		alive += send(ends[i][i & 1], "y", 1, 0) == 1 &&
			 recv(ends[i][~i & 1], &b, 1, 0) == 1 && b == 'y';
	check(alive == n, "all of them are alive");
	for (int i = 0; i < made; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
	wait(NULL);
	close(l);
	free(ends);
}

int main(void)
{
	test_many(200);
	test_connect();
	test_cork();
	test_urgent();
	test_async();
	test_cycles();
	test_filter();
	printf("sockets passed %d\n", passed);
	return 0;
}
