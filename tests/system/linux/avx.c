/* SPDX-License-Identifier: ISC */
/*
 * The wide registers of threads that share vCPUs: kept over switches, calls, fork and signal
 * handlers, and where a handler looks for them. "avx passed" when all is well; without AVX in
 * the CPU: "avx absent".
 */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define AVX __attribute__((target("avx2")))
#include "check.h"

/* All sixteen registers, upper halves too; a call in between, made without the C library. */
AVX static int same_after(long call, long a, long b, int mark)
{
	unsigned char out[32];
	int bad;
	long r = call;

	__asm__ volatile("vmovd %[m], %%xmm0\n\t"
			 "vpbroadcastb %%xmm0, %%ymm7\n\t"
			 "vpbroadcastb %%xmm0, %%ymm15\n\t"
			 "syscall\n\t"
			 "vmovd %[m], %%xmm0\n\t"
			 "vpbroadcastb %%xmm0, %%ymm0\n\t"
			 "vpcmpeqb %%ymm0, %%ymm7, %%ymm7\n\t"
			 "vpcmpeqb %%ymm0, %%ymm15, %%ymm15\n\t"
			 "vpand %%ymm7, %%ymm15, %%ymm7\n\t"
			 "vmovdqu %%ymm7, %[o]\n\t"
			 "vzeroupper"
			 : "+a"(r), [o] "=m"(out)
			 : [m] "r"(mark), "D"(a), "S"(b)
			 : "rcx", "r11", "xmm0", "xmm7", "xmm15", "memory");
	bad = 0;
	for (int i = 0; i < 32; i++)
		bad |= out[i] != 0xff;
	return !bad;
}

static void *keeps(void *arg)
{
	for (int i = 0; i < 3000; i++)
		CHECK(same_after(24 /* sched_yield */, 0, 0, (int)(long)arg + (i & 15) * 8));
	return NULL;
}

static volatile int handled;
AVX static void handler(int sig, siginfo_t *info, void *arg)
{
	ucontext_t *u = arg;
	const unsigned char *area = (const unsigned char *)u->uc_mcontext.fpregs;
	unsigned magic1, extended, magic2, size;

	memcpy(&magic1, area + 464, 4);
	memcpy(&extended, area + 468, 4);
	memcpy(&size, area + 480, 4);
	CHECK((u->uc_flags & 1) && magic1 == 0x46505853 && size >= 832 && extended == size + 4);
	memcpy(&magic2, area + size, 4);
	CHECK(magic2 == 0x46505845);
	if (sig == SIGUSR1) /* the upper half of register 7 as it was */
		for (int i = 0; i < 16; i++)
			CHECK(area[576 + 7 * 16 + i] == 0x5a);
	__asm__ volatile("vpcmpeqb %%ymm7, %%ymm7, %%ymm7\n\tvmovdqa %%ymm7, %%ymm15" ::
			     : "xmm7", "xmm15");
	handled++;
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
	pthread_t t[4];
	int status;
	pid_t pid;

	if (!__builtin_cpu_supports("avx2")) {
		puts("avx absent");
		return 0;
	}
	CHECK(getauxval(AT_MINSIGSTKSZ) >= 832 + 512);
	for (long i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, keeps, (void *)(i + 1)));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(t[i], NULL));
	sigaction(SIGUSR1, &sa, NULL);
	CHECK(same_after(62 /* kill */, getpid(), SIGUSR1, 0x5a) && handled == 1);
	pid = fork();
	if (!pid)
		_exit(same_after(39 /* getpid */, 0, 0, 77) ? 0 : 1);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(same_after(57 /* fork: both sides */, 0, 0, 33));
	if (getpid() != pid && wait(&status) < 0)
		_exit(0); /* the second child */
	CHECK(!status);
	puts("avx passed");
	return 0;
}
