/* SPDX-License-Identifier: ISC */
/*
 * Microbenchmarks of a kernel's calls, in the manner of lmbench: one static program that runs
 * unmodified in a linux cell and under Linux. Every figure is the best of several rounds.
 *
 *	bench NAME VALUE	microseconds, or MB/s where the name ends in _mbs
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ROUNDS = 5
};
static const char *self;
static char big[65536];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The best time of one call of fn(n), over n. */
static void measure(const char *name, void (*fn)(int n), int n)
{
	double best = 1e18;

	for (int i = 0; i < ROUNDS; i++) {
		double t = now();

		fn(n);
		t = (now() - t) / n;
		best = t < best ? t : best;
	}
	printf("bench %s %.3f\n", name, best);
	fflush(stdout);
}

/* The best rate of moving `bytes` by fn(). */
static void measure_rate(const char *name, void (*fn)(int n), int n, double bytes)
{
	double best = 1e18;

	for (int i = 0; i < ROUNDS; i++) {
		double t = now();

		fn(n);
		t = now() - t;
		best = t < best ? t : best;
	}
	printf("bench %s %.1f\n", name, bytes / best);
	fflush(stdout);
}

static void must(int ok, const char *what)
{
	if (!ok) {
		printf("bench failed %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void null_call(int n)
{
	while (n--)
		syscall(SYS_getppid);
}

static int zero_fd, null_fd;
static void read_one(int n)
{
	char c;

	while (n--)
		must(read(zero_fd, &c, 1) == 1, "read");
}
static void write_one(int n)
{
	while (n--)
		must(write(null_fd, "x", 1) == 1, "write");
}
static void stat_file(int n)
{
	struct stat st;

	while (n--)
		must(!stat("/tmp/bench/dir/file", &st), "stat");
}
static void open_close(int n)
{
	while (n--) {
		int fd = open("/tmp/bench/dir/file", O_RDONLY);

		must(fd >= 0, "open");
		close(fd);
	}
}

static void fork_exit(int n)
{
	while (n--) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		must(waitpid(pid, NULL, 0) == pid, "fork");
	}
}
static void fork_exec(int n)
{
	while (n--) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			execl(self, self, "exit", NULL);
			_exit(1);
		}
		must(waitpid(pid, &status, 0) == pid && !status, "exec");
	}
}

static int there[2], back[2];
static void round_trips(int n)
{
	char c = 0;

	while (n--)
		must(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1, "round trip");
}
static void answer(void)
{
	char c;

	while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
		;
	_exit(0);
}

static void context_switches(void)
{
	pid_t pid;

	must(!pipe(there) && !pipe(back), "pipe");
	pid = fork();
	if (!pid) {
		close(there[1]);
		close(back[0]);
		answer();
	}
	close(there[0]);
	close(back[1]);
	measure("pipe_round_trip", round_trips, 2000);
	close(there[1]);
	waitpid(pid, NULL, 0);
}

static void pipe_bulk(int n)
{
	int p[2];
	pid_t pid;

	must(!pipe(p), "pipe");
	pid = fork();
	if (!pid) {
		close(p[1]);
		while (read(p[0], big, sizeof(big)) > 0)
			;
		_exit(0);
	}
	close(p[0]);
	while (n--)
		must(write(p[1], big, sizeof(big)) == sizeof(big), "pipe write");
	close(p[1]);
	waitpid(pid, NULL, 0);
}

static int file_fd;
static void file_read(int n)
{
	while (n--) {
		lseek(file_fd, 0, SEEK_SET);
		while (read(file_fd, big, sizeof(big)) > 0)
			;
	}
}

enum {
	PAGES = 1024
};
static void map_and_touch(int n)
{
	for (int i = 0; i < n / PAGES; i++) {
		char *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		must(p != MAP_FAILED, "mmap");
		for (int k = 0; k < PAGES; k++)
			p[k * 4096] = 1;
		munmap(p, PAGES * 4096);
	}
}

static volatile int signals;
static void on_signal(int sig)
{
	(void)sig;
	signals++;
}
static void signal_self(int n)
{
	pid_t me = getpid();

	while (n--)
		kill(me, SIGUSR1);
}

static void make_files(void)
{
	int fd;

	mkdir("/tmp/bench", 0755);
	mkdir("/tmp/bench/dir", 0755);
	fd = open("/tmp/bench/dir/file", O_CREAT | O_RDWR | O_TRUNC, 0644);
	must(fd >= 0, "create");
	for (int i = 0; i < 64; i++)
		must(write(fd, big, sizeof(big)) == sizeof(big), "fill");
	file_fd = fd;
	zero_fd = open("/dev/zero", O_RDONLY);
	null_fd = open("/dev/null", O_WRONLY);
	must(zero_fd >= 0 && null_fd >= 0, "devices");
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc > 1 && !strcmp(argv[1], "mark"))
		printf("bench mark_us %.0f\n", now());
	if (argc > 1)
		return 0;
	printf("bench start_clock_us %.0f\n", now());
	make_files();
	measure("null_call", null_call, 20000);
	measure("read_1", read_one, 10000);
	measure("write_1", write_one, 10000);
	measure("stat", stat_file, 5000);
	measure("open_close", open_close, 5000);
	signal(SIGUSR1, on_signal);
	measure("signal", signal_self, 2000);
	measure("fork_exit", fork_exit, 50);
	measure("fork_exec", fork_exec, 50);
	context_switches();
	measure("page_fault", map_and_touch, 4 * PAGES);
	measure_rate("pipe_mbs", pipe_bulk, 128, 128.0 * sizeof(big));
	measure_rate("file_read_mbs", file_read, 8, 8.0 * 64 * sizeof(big));
	printf("bench done 1\n");
	return 0;
}
