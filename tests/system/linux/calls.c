/* SPDX-License-Identifier: ISC */
/*
 * Calls that C libraries and run-times make and no other test does: restartable sequences,
 * waiting for several futexes, locks with an owner. Prints "calls passed N".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ---- rseq ---- */
static struct rseq *own_rseq(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static volatile int alarms;
static void on_alarm(int sig)
{
	alarms++;
}

/* Loops in a sequence until it is torn apart: a signal does that. */
static int torn_apart(struct rseq *r)
{
	int aborted = 0;

	__asm__ volatile(".pushsection .data\n\t"
			 ".balign 32\n"
			 "9:\t.long 0, 0\n\t"
			 ".quad 1f, 2f - 1f, 4f\n\t"
			 ".popsection\n\t"
			 "leaq 9b(%%rip), %%rax\n\t"
			 "movq %%rax, %1\n"
			 "1:\tpause\n\t"
			 "jmp 1b\n"
			 "2:\tjmp 5f\n\t"
			 ".long %c2\n"
			 "4:\tmovl $1, %0\n"
			 "5:\n\t"
			 : "+r"(aborted), "=m"(r->rseq_cs)
			 : "i"(RSEQ_SIG)
			 : "rax", "memory");
	return aborted;
}

static void test_rseq(void)
{
	struct rseq *r = own_rseq();
	struct itimerval t = {.it_value = {0, 20000}};
	int status;

	check(__rseq_size > 0, "the C library registered rseq");
	if (!__rseq_size)
		return;
	check(r->cpu_id == (unsigned)sched_getcpu() && r->cpu_id == r->cpu_id_start, "cpu_id");
	check(syscall(SYS_rseq, r, 32, 0, RSEQ_SIG) == -1 && errno == EBUSY, "registered once");
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &t, NULL);
	check(torn_apart(r) == 1 && !r->rseq_cs, "a sequence is aborted");
	if (!fork()) {
		r->rseq_cs = 8; /* no such descriptor */
		raise(SIGALRM);
		_exit(0);
	}
	wait(&status);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a bad descriptor");
}

/* ---- futex_waitv ---- */
struct waitv {
	uint64_t val, addr;
	uint32_t flags, reserved;
};
static uint32_t words[3];

static long waitv(struct waitv *v, unsigned n, struct timespec *until)
{
	return syscall(449, v, n, 0, until, CLOCK_MONOTONIC);
}

static void *wake_second(void *arg)
{
	wait_ms(30);
	words[1] = 1;
	syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return arg;
}

static void test_waitv(void)
{
	struct waitv v[3];
	struct timespec until;
	pthread_t t;

	for (int i = 0; i < 3; i++)
		v[i] = (struct waitv){0, (uintptr_t)&words[i], 2 | FUTEX_PRIVATE_FLAG, 0};
	pthread_create(&t, NULL, wake_second, NULL);
	check(waitv(v, 3, NULL) == 1, "the one that is woken");
	pthread_join(t, NULL);
	check(waitv(v, 3, NULL) == -1 && errno == EAGAIN, "a word that differs");
	words[1] = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	check(waitv(v, 3, &until) == -1 && errno == ETIMEDOUT, "a time limit");
	v[0].flags = 0;
	check(waitv(v, 3, NULL) == -1 && errno == EINVAL, "a size that is none");
}

/* ---- locks with an owner ---- */
static pthread_mutex_t lock;
static long counter;

static void *count(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		if (i % 100 == 0)
			sched_yield();
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void *die_with_it(void *arg)
{
	pthread_mutex_lock(arg);
	wait_ms(30);
	return NULL;
}

static void test_pi(void)
{
	pthread_mutexattr_t a;
	pthread_t t[3];
	uint32_t word = 0;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	check(!pthread_mutex_init(&lock, &a), "a mutex that inherits priority");
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, count, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	check(counter == 6000, "nobody else has it");
	check(!syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, NULL, NULL, 0) &&
		  word == (uint32_t)gettid(),
	      "the word is the owner");
	check(syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, NULL, NULL, 0) == -1 &&
		  errno == EDEADLK,
	      "one's own lock");
	check(!syscall(SYS_futex, &word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0) && !word,
	      "unlocked");
	check(syscall(SYS_futex, &word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0) == -1 &&
		  errno == EPERM,
	      "another's lock");
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&lock, &a);
	pthread_create(&t[0], NULL, die_with_it, &lock);
	wait_ms(10);
	check(pthread_mutex_lock(&lock) == EOWNERDEAD, "the owner died");
	pthread_join(t[0], NULL);
}

/* ---- one call that moves two gigabytes ---- */
static void test_long_call(void)
{
	struct itimerval soon = {.it_value.tv_usec = 20000};
	int null = open("/dev/null", O_WRONLY), hole = memfd_create("hole", 0);
	ssize_t n;

	signal(SIGALRM, on_alarm);
	alarms = 0;
	check(!ftruncate(hole, 1ll << 40), "a file of nothing");
	setitimer(ITIMER_REAL, &soon, NULL);
	n = sendfile(null, hole, NULL, 0x7ffff000);
	check(n > 0 && n < 0x7ffff000 && alarms == 1, "a signal ends it");
	close(null);
	close(hole);
}

/* ---- native asynchronous I/O ---- */
static void test_aio(void)
{
	aio_context_t ctx = 0;
	int fd = memfd_create("aio", 0), told = eventfd(0, 0);
	char in[8] = {0};
	struct iocb put = {.aio_lio_opcode = IOCB_CMD_PWRITE,
			   .aio_fildes = (uint32_t)fd,
			   .aio_buf = (uintptr_t) "12345",
			   .aio_nbytes = 5,
			   .aio_offset = 3,
			   .aio_data = 7,
			   .aio_flags = IOCB_FLAG_RESFD,
			   .aio_resfd = (uint32_t)told};
	struct iocb get = {.aio_lio_opcode = IOCB_CMD_PREAD,
			   .aio_fildes = (uint32_t)fd,
			   .aio_buf = (uintptr_t)in,
			   .aio_nbytes = 8,
			   .aio_data = 8};
	struct iocb bad = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = 999};
	struct iocb *all[] = {&put, &get, &bad};
	struct io_event e[4];
	uint64_t n = 0;

	check(!syscall(SYS_io_setup, 4, &ctx) && ctx, "a context");
	check(syscall(SYS_io_submit, ctx, 2, all) == 2, "two requests");
	check(syscall(SYS_io_submit, ctx, 1, all + 2) == -1 && errno == EBADF,
	      "one of no file");
	check(syscall(SYS_io_getevents, ctx, 2, 4, e, NULL) == 2 &&
		  e[0].data + e[1].data == 15 && e[0].res + e[1].res >= 5,
	      "their events");
	check(read(told, &n, 8) == 8 && n == 1, "one was told");
	check(pread(fd, in, 8, 0) == 8 && !memcmp(in,
						  "\0\0\0"
						  "12345",
						  8),
	      "it is written");
	check(!syscall(SYS_io_getevents, ctx, 0, 4, e, NULL), "no more");
	check(!syscall(SYS_io_destroy, ctx) && syscall(SYS_io_destroy, ctx) == -1 &&
		  errno == EINVAL,
	      "the end");
	close(fd);
	close(told);
}

/* ---- the time of day is set ---- */
static void *hour_later(void *arg)
{
	struct timespec t;

	wait_ms(50);
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 3600;
	clock_settime(CLOCK_REALTIME, &t);
	return arg;
}

static void test_wall(void)
{
	struct timespec now;
	struct itimerspec at = {0};
	int fd = timerfd_create(CLOCK_REALTIME, 0), fd2 = timerfd_create(CLOCK_REALTIME, 0);
	uint64_t n = 0;
	pthread_t t;

	clock_gettime(CLOCK_REALTIME, &now);
	at.it_value.tv_sec = now.tv_sec + 1800;
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
	at.it_value.tv_sec = now.tv_sec + 9999;
	timerfd_settime(fd2, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
	now.tv_sec += 1800;
	pthread_create(&t, NULL, hour_later, NULL);
	check(!clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &now, NULL), "a sleep till then");
	check(read(fd, &n, 8) == 8 && n == 1, "a timer for then");
	check(read(fd2, &n, 8) == -1 && errno == ECANCELED, "a timer that wants to know");
	pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
	test_rseq();
	test_waitv();
	test_pi();
	test_long_call();
	test_aio();
	if (argc > 1) /* who may set the clock */
		test_wall();
	printf("calls passed %d\n", passed);
	return 0;
}
