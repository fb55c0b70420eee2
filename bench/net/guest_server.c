/* SPDX-License-Identifier: ISC */
/*
 * What runs in the container, on D0 and in the Linux guest alike (one static program): TCP echo
 * (7), discard (9), chargen (19), HTTP with keep-alive (80), UDP echo (7). One thread, epoll.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 4096
#define BODY \
	"<!doctype html><title>D0</title><p>The same page from both sides of a benchmark.\n"

static uint16_t kind[CONNS]; /* by descriptor: the port that was connected to */
static uint16_t listens[CONNS];
static char buf[1 << 18];
static int ep;

static void watch(int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		perror("epoll_ctl");
}

static int family = AF_INET;

static void serve(uint16_t port, int type)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int s = socket(family, type | SOCK_NONBLOCK, 0), one = 1;
	bool v6 = family == AF_INET6;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (s < 0 ||
	    bind(s, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a,
		 v6 ? sizeof(a6) : sizeof(a)) ||
	    (type == SOCK_STREAM && listen(s, 1024))) {
		perror("listen");
		exit(1);
	}
	listens[s] = port;
	watch(s, EPOLLIN);
}

static void take(int l)
{
	int s, one = 1;

	while ((s = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (s >= CONNS) {
			close(s);
			continue;
		}
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		kind[s] = listens[l];
		watch(s, kind[s] == 19 ? EPOLLOUT | EPOLLRDHUP : EPOLLIN);
	}
}

static void udp_echo(int s)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(s, buf, sizeof(buf), 0, (void *)&from, &len)) >= 0) {
		sendto(s, buf, (size_t)n, 0, (void *)&from, len);
		len = sizeof(from);
	}
}

static int send_all(int s, const char *p, size_t n)
{
	while (n) {
		ssize_t m = write(s, p, n);

		if (m < 0 && errno != EAGAIN)
			return -1;
		if (m > 0) {
			p += m;
			n -= (size_t)m;
		}
	}
	return 0;
}

/* Requests come whole from the clients of a benchmark: each blank line is one. */
static int http(int s, ssize_t n)
{
	static const char reply[] =
	    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
	    "%zu\r\n\r\n%s";
	char out[512];
	int len = snprintf(out, sizeof(out), reply, strlen(BODY), BODY);

	for (char *p = buf; (p = memmem(p, (size_t)(buf + n - p), "\r\n\r\n", 4)); p += 4)
		if (send_all(s, out, (size_t)len))
			return -1;
	return 0;
}

static int move(int s, uint32_t events)
{
	ssize_t n;

	if (kind[s] == 19) {
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			return -1;
		while (write(s, buf, sizeof(buf)) > 0)
			;
		return errno == EAGAIN ? 0 : -1;
	}
	n = read(s, buf, sizeof(buf));
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	if (kind[s] == 7)
		return send_all(s, buf, (size_t)n);
	return kind[s] == 80 ? http(s, n) : 0;
}

int main(int argc, char **argv)
{
	struct epoll_event e[64];

	if (argc > 1 && argv[1][0] == '6')
		family = AF_INET6; /* for both */
	ep = epoll_create1(0);
	serve(7, SOCK_STREAM);
	serve(9, SOCK_STREAM);
	serve(19, SOCK_STREAM);
	serve(80, SOCK_STREAM);
	serve(7, SOCK_DGRAM);
	printf("bench server ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, e, 64, -1);

		for (int i = 0; i < n; i++) {
			int s = e[i].data.fd, type = SOCK_STREAM;
			socklen_t len = sizeof(type);

			if (listens[s])
				getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &len);
			if (listens[s] && type == SOCK_DGRAM)
				udp_echo(s);
			else if (listens[s])
				take(s);
			else if (move(s, e[i].events))
				close(s);
		}
	}
}
