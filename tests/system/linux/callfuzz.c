/* SPDX-License-Identifier: ISC */
/*
 * Random system calls with random arguments, from children of a first process that nothing can
 * end. Arguments are numbers, addresses in a shared page of random bytes, of nothing, of the
 * kernel, open descriptors, own process numbers. callfuzz SECONDS [SEED]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CHILDREN = 3,
	CALLS = 3000,
	LAST = 462,
	LIFE = 4
};
static uint64_t state;
static uint8_t *page;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t argument(void)
{
	static const uint64_t odd[] = {0,
				       1,
				       2,
				       7,
				       8,
				       64,
				       255,
				       4095,
				       4096,
				       65536,
				       0x7fffffff,
				       0x80000000,
				       0xffffffff,
				       0x100000000,
				       0x7ffffffff000,
				       0x7fffffffffffffff,
				       0x8000000000000000,
				       0xffff800000000000,
				       ~0ull,
				       ~0ull - 99};

	switch (rnd() % 8) {
	case 0:
		return odd[rnd() % (sizeof(odd) / sizeof(odd[0]))];
	case 1:
		return rnd();
	case 2:
		return rnd() % 32;
	case 3:
		return (uint64_t)(getpid() + (int)(rnd() % 3));
	case 4:
		return 1ull << rnd() % 64;
	default:
		return (uint64_t)page + rnd() % 8192;
	}
}

static void fill_page(void)
{
	static const char *const names[] = {"/tmp/a",    "/tmp",     "/proc/self/mem",
					    "/dev/ptmx", "/tmp/a/b", "."};

	for (int i = 0; i < 8192; i += 8) {
		uint64_t v = argument();

		memcpy(page + i, &v, 8);
	}
	for (int i = 0; i < 16; i++)
		strcpy((char *)page + rnd() % 8000, names[rnd() % 6]);
}

static int skipped(long nr)
{
	return nr == SYS_exit || nr == SYS_exit_group || nr == SYS_pause ||
	       nr == SYS_rt_sigsuspend || nr == SYS_rt_sigreturn || nr == SYS_vfork;
}

static void child(uint64_t seed)
{
	int p[2];

	state = seed | 1;
	if (rnd() % 4 == 0 && setuid(1000))
		_exit(1);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 4; i++) {
		if (pipe(p) || socketpair(AF_UNIX, SOCK_STREAM, 0, p) || eventfd(0, 0) < 0 ||
		    open("/tmp/a", O_RDWR | O_CREAT, 0666) < 0 ||
		    socket(AF_INET, SOCK_DGRAM, 0) < 0)
			break;
	}
	for (int i = 0; i < CALLS; i++) {
		long nr = (long)(rnd() % LAST);

		if (i % 64 == 0)
			fill_page();
		if (!skipped(nr))
			syscall(nr, argument(), argument(), argument(), argument(), argument(),
				argument());
	}
	_exit(0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Some children at a time; whoever is left over after a while is killed and must then end. */
static void round_of(uint64_t seed)
{
	double end = now() + LIFE;
	int running = 0;

	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		if (!pid)
			child(seed + (uint64_t)i);
		running += pid > 0;
	}
	while (running > 0 && now() < end) {
		if (waitpid(-1, NULL, WNOHANG) > 0)
			running--;
		else
			nanosleep(&(struct timespec){0, 10000000}, NULL);
	}
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

int main(int argc, char **argv)
{
	double end = now() + (argc > 1 ? atoi(argv[1]) : 10);
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL), n = 0;

	while (now() < end) {
		round_of(seed * 0x9e3779b97f4a7c15ull + n * CHILDREN);
		n++;
		if (n % 20 == 0)
			printf("callfuzz round %llu\n", (unsigned long long)n);
		fflush(stdout);
	}
	printf("callfuzz seed %llu rounds %llu done\n", (unsigned long long)seed,
	       (unsigned long long)n);
	return 0;
}
