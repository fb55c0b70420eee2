/* SPDX-License-Identifier: ISC */
/*
 * What programs expect of sockets beside data: it runs the same on Linux. Prints
 * "sockets passed N".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int passed;
static void check(int ok, const char *what)
{
	if (ok)
		passed++;
	else
		printf("FAIL %s (errno %d)\n", what, errno);
}

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

int main(void)
{
	test_connect();
	printf("sockets passed %d\n", passed);
	return 0;
}
