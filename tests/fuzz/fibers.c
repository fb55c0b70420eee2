/* SPDX-License-Identifier: ISC */
#include <stdbool.h>
#include <stdlib.h>
#include <ucontext.h>
#include "tests/fuzz/fibers.h"

#define FIBERS_MAX 64
#define STACK_SIZE (256 << 10)

static struct fiber {
	ucontext_t context;
	void (*fn)(void *);
	void *arg;
	char *stack; /* kept for the next one */
	bool used;
} fibers[FIBERS_MAX];
static ucontext_t outside;
static struct fiber *running;

static void run(void)
{
	running->fn(running->arg);
	running->used = false;
	swapcontext(&running->context, &outside);
}

static int begin(struct fiber *f, void (*fn)(void *), void *arg)
{
	if (!f->stack)
		f->stack = malloc(STACK_SIZE);
	if (!f->stack || getcontext(&f->context))
		return -1;
	f->context.uc_stack.ss_sp = f->stack;
	f->context.uc_stack.ss_size = STACK_SIZE;
	f->context.uc_link = NULL;
	f->fn = fn;
	f->arg = arg;
	f->used = true;
	makecontext(&f->context, run, 0);
	return 0;
}

int fiber_start(void (*fn)(void *), void *arg)
{
	for (struct fiber *f = fibers; f < fibers + FIBERS_MAX; f++)
		if (!f->used)
			return begin(f, fn, arg);
	return -1;
}

void fiber_yield(void)
{
	swapcontext(&running->context, &outside);
}

int fibers_turn(void)
{
	int left = 0;

	for (struct fiber *f = fibers; f < fibers + FIBERS_MAX; f++) {
		if (!f->used)
			continue;
		running = f;
		swapcontext(&outside, &f->context);
		left += f->used;
	}
	return left;
}
