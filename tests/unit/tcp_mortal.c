/* SPDX-License-Identifier: ISC */
#include "tests/unit/tcp_mortal.h"
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#define S         1000000000ull
#define P         (&s->host[0].c)
#define Q         (&s->host[1].c)
#define TRAP_FLAG 0x100

static struct {
	const char *name;
	struct sim_host *armed;
	bool in_child, inside;
	unsigned deaths, stores, stride;
	greg_t rip;
	unsigned run;
	sigjmp_buf dead;
} crash;

void mortal_begin(const char *name)
{
	memset(&crash, 0, sizeof(crash));
	crash.name = name;
}

unsigned mortal_end(void)
{
	if (crash.in_child)
		_exit(0);
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s: %u deaths\n", crash.name, crash.deaths);
	return crash.deaths;
}

void mortal_failed(int line, const char *what)
{
	fprintf(stderr, "%s, death %u: line %d: %s\n", crash.name, crash.deaths, line, what);
	if (crash.in_child)
		_exit(1);
}

static void protect(bool on)
{
	struct sim_host *h = crash.armed;
	int prot = on ? PROT_READ : PROT_READ | PROT_WRITE;

	if (mprotect(h->state, (h->state_size + 4095) & ~(size_t)4095, prot) ||
	    mprotect(h->region, h->region_size, prot))
		abort();
}

static bool ours(const uint8_t *a)
{
	const struct sim_host *h = crash.armed;

	return h && crash.inside &&
	       ((a >= (uint8_t *)h->state && a < (uint8_t *)h->state + h->state_size) ||
		(a >= (uint8_t *)h->region && a < (uint8_t *)h->region + h->region_size));
}

static void die(void)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		abort();
	if (!child) {
		crash.in_child = true;
		siglongjmp(crash.dead, 1);
	}
	crash.deaths++;
	if (waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "%s at %llx ", crash.name, (unsigned long long)crash.rip);
		fprintf(stderr, "%s: death %u, status %x\n", crash.name, crash.deaths - 1,
			(unsigned)status);
		_exit(1);
	}
}

static void on_store(int sig, siginfo_t *i, void *context)
{
	ucontext_t *u = context;
	greg_t rip = u->uc_mcontext.gregs[REG_RIP];

	if (!ours(i->si_addr)) {
		signal(SIGSEGV, SIG_DFL);
		return;
	}
	crash.run = rip == crash.rip ? crash.run + 1 : 0;
	crash.rip = rip;
	if (crash.run % 16 == 0 && crash.stores++ % crash.stride == 0)
		die();
	protect(false);
	u->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int sig, siginfo_t *i, void *context)
{
	ucontext_t *u = context;

	u->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	protect(true);
}

static void mortal(struct sim_host *h, void (*fn)(void *call), void *call)
{
	if (crash.armed != h || crash.in_child) {
		fn(call);
		return;
	}
	if (sigsetjmp(crash.dead, 1)) {
		crash.inside = false;
		protect(false);
		sim_restart(h->sim, h->index);
		return;
	}
	protect(true);
	crash.inside = true;
	fn(call);
	crash.inside = false;
	protect(false);
}

void mortal_arm(struct sim *s, unsigned i, unsigned stride)
{
	struct sigaction store = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
	struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

	if (crash.in_child)
		return;
	sigaction(SIGSEGV, &store, NULL); /* cmocka has its own before each test */
	sigaction(SIGTRAP, &step, NULL);
	crash.armed = &s->host[i];
	crash.stride = stride;
	s->host[i].run = mortal;
}

void mortal_disarm(void)
{
	crash.armed = NULL;
}
