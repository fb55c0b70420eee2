/* SPDX-License-Identifier: ISC */
/*
 * The client of the benchmark: load HOST upload|download|pingpong|packets SECONDS prints one
 * number: bytes a second, microseconds a round trip, packets a second (64 bytes, echoed, at
 * most WINDOW under way). load HOST answer SECONDS pings every half millisecond and prints
 * when, by CLOCK_MONOTONIC, the first answer came; 0: none did.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 64

static char buf[1 << 18];
static const char *host;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int reach(uint16_t port, int type)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int s = socket(AF_INET, type, 0), one = 1;

	inet_pton(AF_INET, host, &a.sin_addr);
	if (connect(s, (struct sockaddr *)&a, sizeof(a))) {
		perror("connect");
		exit(1);
	}
	if (type == SOCK_STREAM)
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return s;
}

/* Bytes a second as the peer's end has them: what it acknowledged counts. */
static double upload(double seconds)
{
	int s = reach(9, SOCK_STREAM);
	double began = now(), end = began + seconds;
	struct tcp_info i;
	socklen_t len = sizeof(i);

	while (now() < end)
		if (write(s, buf, sizeof(buf)) <= 0)
			return 0;
	memset(&i, 0, sizeof(i));
	getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &len);
	return (double)i.tcpi_bytes_acked / (now() - began);
}

static double download(double seconds)
{
	int s = reach(19, SOCK_STREAM);
	double began = now(), total = 0;
	ssize_t n;

	while (now() < began + seconds && (n = read(s, buf, sizeof(buf))) > 0)
		total += (double)n;
	return total / (now() - began);
}

static double pingpong(double seconds)
{
	int s = reach(7, SOCK_STREAM);
	double began = now();
	long n = 0;

	while (now() < began + seconds) {
		if (write(s, "x", 1) != 1 || read(s, buf, 1) != 1)
			return 0;
		n++;
	}
	return (now() - began) / (double)n * 1e6;
}

static double packets(double seconds)
{
	int s = reach(7, SOCK_DGRAM);
	struct pollfd p = {.fd = s, .events = POLLIN};
	double began = now();
	long got = 0, out = 0;

	while (now() < began + seconds) {
		while (out < WINDOW && send(s, buf, 64, 0) == 64)
			out++;
		if (poll(&p, 1, 100) == 0)
			out = 0; /* what is not back by now is lost */
		while (recv(s, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
			got++;
			out -= out > 0;
		}
	}
	return (double)got / (now() - began);
}

static double answer(double seconds)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	struct pollfd p = {.fd = s, .events = POLLIN};
	uint8_t echo[8] = {8, 0, 0xe5, 0xff, 0x12, 0x00}; /* the sum of an empty request */
	double end = now() + seconds;

	inet_pton(AF_INET, host, &a.sin_addr);
	while (now() < end) {
		struct timespec half = {.tv_nsec = 500000};

		sendto(s, echo, sizeof(echo), 0, (struct sockaddr *)&a, sizeof(a));
		while (ppoll(&p, 1, &half, NULL) == 1)
			if (recv(s, buf, sizeof(buf), 0) >= 28 && buf[20] == 0)
				return now();
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		double (*run)(double);
	} what[] = {{"upload", upload},
		    {"download", download},
		    {"pingpong", pingpong},
		    {"packets", packets},
		    {"answer", answer}};

	if (argc != 4)
		return 2;
	host = argv[1];
	for (unsigned i = 0; i < sizeof(what) / sizeof(what[0]); i++)
		if (!strcmp(argv[2], what[i].name)) {
			printf("%.6f\n", what[i].run(atof(argv[3])));
			return 0;
		}
	return 2;
}
