/* SPDX-License-Identifier: ISC */
#include "cells/store/task.h"
#include <stdlib.h>
#include "libcell/clock.h"
#include "libcell/panic.h"

#define CANARY 0x6b63617473307364ull

struct task {
	void *sp;
	void *fake; /* the sanitizer's */
	void (*fn)(void *arg);
	void *arg;
	bool running;
	uint64_t *stack; /* its lowest word is the canary */
	size_t bytes;
};

/*
 * Go on where another stack stopped. What the ABI asks a callee to preserve lies on the stacks;
 * the modes of floating point are everybody's.
 */
void task_switch(void **save_sp, void *load_sp);
__asm__(".text\n"
	".globl task_switch\n"
	".hidden task_switch\n"
	".type task_switch, @function\n"
	"task_switch:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size task_switch, . - task_switch\n");

static struct task *current;
static void *main_sp, *main_fake;
static uint64_t slice_end;

/* The address sanitizer has to know which stack is in use; its frames are larger, too. */
#if defined(__SANITIZE_ADDRESS__) || defined(D0_FUZZING)
#include <sanitizer/common_interface_defs.h>
#define STACK_FACTOR 8
static const void *main_stack;
static size_t main_stack_bytes;
static void leave(void **fake, const void *to, size_t bytes)
{
	__sanitizer_start_switch_fiber(fake, to, bytes);
}
static void enter_task(void)
{
	__sanitizer_finish_switch_fiber(current->fake, &main_stack, &main_stack_bytes);
}
static void enter_main(void)
{
	__sanitizer_finish_switch_fiber(main_fake, NULL, NULL);
}
#else
#define STACK_FACTOR 1
static const void *const main_stack;
static const size_t main_stack_bytes;
static void leave(void **fake, const void *to, size_t bytes)
{
}
static void enter_task(void)
{
}
static void enter_main(void)
{
}
#endif

static void give_way(void)
{
	struct task *t = current;

	leave(&t->fake, main_stack, main_stack_bytes);
	task_switch(&t->sp, main_sp);
	enter_task();
}

/* The bottom of every stack. */
static void run(void)
{
	enter_task();
	for (;;) {
		current->fn(current->arg);
		current->running = false;
		give_way();
	}
}

struct task *task_new(void)
{
	struct task *t = calloc(1, sizeof(*t));
	size_t words;

	if (!t)
		return NULL;
	t->bytes = TASK_STACK * STACK_FACTOR;
	words = t->bytes / sizeof(*t->stack);
	t->stack = aligned_alloc(16, t->bytes);
	if (!t->stack) {
		free(t);
		return NULL;
	}
	t->stack[0] = CANARY;
	/* As if run() had been called, and had been left at its begin: six registers, where it
	 * goes on, and a return address that is never used. */
	for (unsigned i = 1; i <= 8; i++)
		t->stack[words - i] = 0;
	t->stack[words - 2] = (uint64_t)(uintptr_t)run;
	t->sp = &t->stack[words - 8];
	return t;
}

void task_free(struct task *t)
{
	if (!t)
		return;
	free(t->stack);
	free(t);
}

void task_begin(struct task *t, void (*fn)(void *arg), void *arg)
{
	t->fn = fn;
	t->arg = arg;
	t->running = true;
}

bool task_step(struct task *t, uint64_t until)
{
	current = t;
	slice_end = until;
	leave(&main_fake, t->stack, t->bytes);
	task_switch(&main_sp, t->sp);
	enter_main();
	current = NULL;
	if (t->stack[0] != CANARY)
		panic("a task needs more than its stack of %zu bytes", t->bytes);
	return t->running;
}

void task_pause(void)
{
	give_way();
}

void task_breathe(void *unused)
{
	if (current && clock_ns() >= slice_end)
		give_way();
}
