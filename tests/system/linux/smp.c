/* SPDX-License-Identifier: ISC */
/*
 * Threads on several vCPUs of one container: do they run at once, does memory stay what the
 * calls say, do signals and wake-ups arrive at threads that make no calls. Linked statically,
 * run in a linux cell. Arguments: how many vCPUs it shall see; any second one: the host has
 * fewer CPUs. "smp passed N" when all is well.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

#include "check.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *map_page(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* ---- Handing a token back and forth without a call: with one vCPU a slice each way ---- */
static _Atomic int token;
static void *other_side(void *arg)
{
	int rounds = *(int *)arg;

	for (int i = 0; i < rounds; i++) {
		while (atomic_load(&token) != 2 * i + 1)
			;
		atomic_store(&token, 2 * i + 2);
	}
	return NULL;
}

static void test_at_once(void)
{
	int rounds = 5000;
	double start = now();
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, other_side, &rounds));
	for (int i = 0; i < rounds; i++) {
		atomic_store(&token, 2 * i + 1);
		while (atomic_load(&token) != 2 * i + 2)
			;
	}
	CHECK(!pthread_join(t, NULL));
	printf("token: %d rounds in %.3f s\n", rounds, now() - start);
	CHECK(now() - start < rounds * 0.004);
}

/* ---- Mutual exclusion ---- */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;
static void *count(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void test_mutex(void)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, count, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], NULL));
	CHECK(counter == 80000);
}

/* ---- Memory that is taken away while another thread writes to it ---- */
static _Atomic(unsigned char *) target;
static _Atomic int writers_stop;
static __thread sigjmp_buf segv_jump;
static __thread volatile int segv_armed;

static void on_segv(int sig)
{
	if (!segv_armed)
		_exit(99);
	siglongjmp(segv_jump, 1);
}

static void *write_always(void *arg)
{
	while (!atomic_load(&writers_stop)) {
		segv_armed = 1;
		if (!sigsetjmp(segv_jump, 0)) {
			volatile unsigned char *p;

			while (!atomic_load(&writers_stop) && (p = atomic_load(&target)))
				p[64]++;
		}
		segv_armed = 0;
	}
	return NULL;
}

static void spin_us(int us)
{
	double end = now() + us / 1e6;

	while (now() < end)
		;
}

static void test_unmap(void)
{
	pthread_t t;
	struct sigaction sa = {.sa_handler = on_segv, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &sa, NULL);
	CHECK(!pthread_create(&t, NULL, write_always, NULL));
	for (int i = 0; i < 150; i++) {
		unsigned char *p = map_page(), *q[4];

		p[64] = 1;
		atomic_store(&target, p);
		spin_us(200);
		CHECK(!munmap(p, PAGE));
		/* The frame is likely to come back; the writer must not reach it. */
		for (int k = 0; k < 4; k++) {
			do
				q[k] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			while (q[k] == p);
			memset(q[k], 0xaa, PAGE);
		}
		atomic_store(&target, NULL);
		spin_us(50);
		for (int k = 0; k < 4; k++) {
			if (q[k] != p)
				CHECK(q[k][64] == 0xaa || q[k] == p);
			munmap(q[k], PAGE);
		}
	}
	for (int i = 0; i < 150; i++) {
		unsigned char *p = map_page(), seen;

		atomic_store(&target, p);
		spin_us(100);
		CHECK(!mprotect(p, PAGE, PROT_READ));
		seen = ((volatile unsigned char *)p)[64];
		spin_us(50);
		CHECK(((volatile unsigned char *)p)[64] == seen);
		atomic_store(&target, NULL);
		munmap(p, PAGE);
	}
	atomic_store(&writers_stop, 1);
	CHECK(!pthread_join(t, NULL));
	signal(SIGSEGV, SIG_DFL);
}

/* ---- Many threads that map, touch and unmap ---- */
static void *map_and_touch(void *arg)
{
	unsigned char mark = (unsigned char)(long)arg;

	for (int i = 0; i < 200; i++) {
		size_t n = (size_t)(1 + i % 7) * PAGE;
		unsigned char *p =
		    mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p != MAP_FAILED);
		for (size_t k = 0; k < n; k += PAGE) {
			CHECK(p[k] == 0);
			p[k] = mark;
		}
		sched_yield();
		for (size_t k = 0; k < n; k += PAGE)
			CHECK(p[k] == mark);
		CHECK(!munmap(p, n));
	}
	return NULL;
}

static void test_map_race(void)
{
	pthread_t t[4];

	for (long i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, map_and_touch, (void *)(i + 1)));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], NULL));
}

/* ---- fork while another thread writes: the child's copy stands still ---- */
static void *write_pages(void *arg)
{
	volatile unsigned *p = arg;

	while (!atomic_load(&writers_stop))
		for (int k = 0; k < 8; k++)
			p[k * 1024]++;
	return NULL;
}

static void test_fork(void)
{
	pthread_t t;
	unsigned *p =
	    mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	atomic_store(&writers_stop, 0);
	CHECK(!pthread_create(&t, NULL, write_pages, p));
	for (int i = 0; i < 20; i++) {
		int status;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			unsigned copy[8];

			for (int k = 0; k < 8; k++)
				copy[k] = ((volatile unsigned *)p)[k * 1024];
			spin_us(2000);
			for (int k = 0; k < 8; k++)
				if (copy[k] != ((volatile unsigned *)p)[k * 1024])
					_exit(7);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	atomic_store(&writers_stop, 1);
	CHECK(!pthread_join(t, NULL));
}

/* ---- Signals to a thread that makes no calls ---- */
static _Atomic int got;
static void on_usr1(int sig)
{
	atomic_fetch_add(&got, 1);
}

static void *spin(void *arg)
{
	while (!atomic_load(&writers_stop))
		;
	return NULL;
}

static void test_signals(void)
{
	struct sigaction sa = {.sa_handler = on_usr1};
	double start;
	pthread_t t;

	sigaction(SIGUSR1, &sa, NULL);
	atomic_store(&writers_stop, 0);
	CHECK(!pthread_create(&t, NULL, spin, NULL));
	spin_us(20000);
	start = now();
	for (int i = 1; i <= 50; i++) {
		CHECK(!pthread_kill(t, SIGUSR1));
		while (atomic_load(&got) < i)
			CHECK(now() - start < 10);
	}
	printf("signals: 50 in %.3f s\n", now() - start);
	CHECK(now() - start < 8);
	atomic_store(&writers_stop, 1);
	CHECK(!pthread_join(t, NULL));
}

/* ---- Waking a sleeper; ending a process whose threads spin ---- */
static void test_wakeups(void)
{
	int a[2], b[2];
	double start = now();
	char c = 0;

	CHECK(!pipe(a) && !pipe(b));
	if (!fork()) {
		while (read(a[0], &c, 1) == 1 && write(b[1], &c, 1) == 1 && c != 'q')
			;
		_exit(0);
	}
	for (int i = 0; i < 1000; i++) {
		c = i == 999 ? 'q' : 'x';
		CHECK(write(a[1], &c, 1) == 1 && read(b[0], &c, 1) == 1);
	}
	printf("pipes: 1000 rounds in %.3f s\n", now() - start);
	wait(NULL);
}

static void test_exit_group(void)
{
	for (int i = 0; i < 10; i++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			pthread_t t;

			atomic_store(&writers_stop, 0);
			for (int k = 0; k < 3; k++)
				pthread_create(&t, NULL, spin, NULL);
			spin_us(3000);
			_exit(5);
		}
		CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
		      WEXITSTATUS(status) == 5);
	}
}

static void test_affinity(int cpus)
{
	cpu_set_t set;

	CHECK(sysconf(_SC_NPROCESSORS_ONLN) == cpus);
	CHECK(!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) == cpus);
	for (int i = 0; i < 40; i++) {
		CPU_ZERO(&set);
		CPU_SET(i % cpus, &set);
		CHECK(!sched_setaffinity(0, sizeof(set), &set));
		CHECK(sched_getcpu() == i % cpus);
	}
	for (int i = 0; i < cpus; i++)
		CPU_SET(i, &set);
	CHECK(!sched_setaffinity(0, sizeof(set), &set));
}

int main(int argc, char **argv)
{
	int cpus = argc > 1 ? atoi(argv[1]) : 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	test_affinity(cpus), passed++;
	if (cpus > 1 && argc < 3) /* needs as many CPUs of the host */
		test_at_once(), passed++;
	test_mutex(), passed++;
	test_unmap(), passed++;
	test_map_race(), passed++;
	test_fork(), passed++;
	test_signals(), passed++;
	test_wakeups(), passed++;
	test_exit_group(), passed++;
	printf("smp passed %d\n", passed);
	return 0;
}
