/* SPDX-License-Identifier: ISC */
/*
 * The wire of bench/net_tap.py: joins TAP devices of two namespaces, so that a kernel's stack
 * stands where transportd stands otherwise: behind a TAP device.
 *
 *	tap_wire wire NSA TAPA NSB TAPB 0|1	passes frames both ways (1: offloads) until
 *						SIGTERM; then a line: frames A to B, B to A
 *	tap_wire write NS TAP LEN COUNT		CPU ns of writing one frame, which the stack
 *						drops
 *	tap_wire read NS TAP COUNT 0		CPU ns of reading one frame that others send
 *
 * Devices exist; both have virtio-net headers. The last two say what the extra crossing costs
 * that a kernel's stack does not have when its device is a card.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 65664u
#define VNET_HDR  10

struct way {
	int from, to;
	uint64_t frames;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int tap(const char *ns, const char *name, int offload)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int size = VNET_HDR, fd, n;
	char path[256];

	snprintf(path, sizeof(path), "/var/run/netns/%s", ns);
	n = open(path, O_RDONLY | O_CLOEXEC);
	if (n < 0 || setns(n, CLONE_NEWNET))
		die(path);
	close(n);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r) || ioctl(fd, TUNSETVNETHDRSZ, &size) ||
	    ioctl(fd, TUNSETOFFLOAD, offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0))
		die(name);
	return fd;
}

static ssize_t take(int fd, uint8_t *buf)
{
	struct pollfd p = {fd, POLLIN, 0};
	ssize_t n;

	while ((n = read(fd, buf, FRAME_MAX)) < 0 && (errno == EAGAIN || errno == EINTR))
		poll(&p, 1, -1);
	return n;
}

static void *pass(void *arg)
{
	struct way *w = arg;
	uint8_t *buf = malloc(FRAME_MAX);
	ssize_t n;

	while ((n = take(w->from, buf)) > 0) {
		if (write(w->to, buf, (size_t)n) < 0 && errno != EAGAIN && errno != EIO)
			die("write");
		w->frames++;
	}
	return NULL;
}

static void wire(int a, int b)
{
	static struct way way[2]; /* in use until the process ends */
	pthread_t t[2];
	sigset_t s;
	int sig;

	way[0] = (struct way){a, b, 0};
	way[1] = (struct way){b, a, 0};
	sigemptyset(&s);
	sigaddset(&s, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, pass, &way[i]);
	printf("ready\n");
	fflush(stdout);
	sigwait(&s, &sig);
	printf("%llu %llu\n", (unsigned long long)way[0].frames,
	       (unsigned long long)way[1].frames);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A frame of a protocol that nobody listens to. */
static void write_cost(int fd, size_t len, int count)
{
	static uint8_t buf[FRAME_MAX];
	double began;

	memset(buf + VNET_HDR, 0x02, 12);
	memcpy(buf + VNET_HDR + 12, "\x88\xb5", 2); /* IEEE 802: local experimental */
	began = cpu_ns();
	for (int i = 0; i < count; i++)
		if (write(fd, buf, len + VNET_HDR) < 0)
			die("write");
	printf("%.0f\n", (cpu_ns() - began) / count);
}

static void read_cost(int fd, int count)
{
	static uint8_t buf[FRAME_MAX];
	double began;

	printf("ready\n");
	fflush(stdout);
	take(fd, buf);
	began = cpu_ns();
	for (int i = 0; i < count; i++)
		take(fd, buf);
	printf("%.0f\n", (cpu_ns() - began) / count);
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "wire")) {
		int offload = atoi(argv[6]), a = tap(argv[2], argv[3], offload);

		wire(a, tap(argv[4], argv[5], offload));
		return 0;
	}
	if (argc == 6 && !strcmp(argv[1], "write"))
		write_cost(tap(argv[2], argv[3], 1), (size_t)atoi(argv[4]), atoi(argv[5]));
	else if (argc == 6 && !strcmp(argv[1], "read"))
		read_cost(tap(argv[2], argv[3], 1), atoi(argv[4]));
	else
		return 2;
	return 0;
}
