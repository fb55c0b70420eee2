/* SPDX-License-Identifier: ISC */
/*
 * What the threads wait for: for who looks at a container that does not go on. The text has a
 * line per thread (identity, state, call, how long, offsets in the kernel's image that its
 * stack holds), and is made for the control channel's STATE, for /proc/d0/threads, and for the
 * log when somebody who was killed has not ended after STUCK_NS: that is always the kernel's
 * fault.
 *
 * The watch costs nothing while nobody is killed: a kill sets one timer, which looks once and
 * sets itself anew as long as there is someone to watch.
 */
#include "cells/linux/inc/state.h"
#include "cells/linux/inc/sys.h"

#define STUCK_NS  (20 * NS_PER_SEC)
#define STACK_MAX 12u

extern const u8 __image_start[], __text_end[];
static struct ktimer watch;
static bool watching;
static u32 reported; /* the tid said last */

static const char *what_of(const struct thread *t)
{
	static const char *const names[] = {"ready", "sleeps", "waits", "stopped", "dead"};

	if (t->state == T_RUNNABLE && !t->on_queue)
		return "runs";
	return names[t->state];
}

/* The return addresses of a thread that has switched away; its frame pointer is what
 * switch_stacks pushed first. */
static void stack_text(struct text *out, const struct thread *t)
{
	u64 low = (u64)t->kstack, end = low + 4 * PAGE_SIZE, fp;

	if (!low || t->ksp < low || t->ksp > end - 64 ||
	    (t->state == T_RUNNABLE && !t->on_queue))
		return;
	fp = ((const u64 *)t->ksp)[5];
	for (u32 n = 0; n < STACK_MAX && fp > t->ksp && fp <= end - 16; n++) {
		u64 ret = ((const u64 *)fp)[1], up = *(const u64 *)fp;

		if (ret < (u64)__image_start || ret > (u64)__text_end)
			break;
		text_add(out, " %lx", ret - (u64)__image_start);
		if (up <= fp)
			break;
		fp = up;
	}
}

static void thread_text(struct text *out, const struct thread *t)
{
	u64 since = clock_now() - t->stamp;
	bool called = t->state != T_RUNNABLE && t->regs; /* else it may hold an error code */
	const char *call = called && t->regs->orig_rax < SYSCALLS_MAX
			       ? syscall_name((u32)t->regs->orig_rax)
			       : NULL;

	text_add(out, "%u/%u %s: %s%s%s in %s, %lu.%03lu s,", t->proc ? t->proc->pid : 0,
		 t->tid, t->comm, what_of(t), t->kill_now ? ", killed" : "",
		 t->proc && t->proc->stopped ? ", stopped" : "", call ? call : "-",
		 since / NS_PER_SEC, since % NS_PER_SEC / 1000000);
	stack_text(out, t);
	text_add(out, "\n");
}

void state_text(struct text *out)
{
	struct proc *p;
	struct thread *t;

	list_each(p, &proc_list, all_link)
	{
		if (p->zombie)
			text_add(out, "%u: ended, its parent %u has not asked\n", p->pid,
				 p->parent ? p->parent->pid : 0);
		list_each(t, &p->threads, proc_link) thread_text(out, t);
	}
}

/* Line by line: the log takes short lines. */
static void log_text(struct text *out)
{
	for (char *at = out->buf, *end; at && *at; at = end + 1) {
		end = strchr(at, '\n');
		if (!end)
			break;
		*end = 0;
		printk("%s", at);
	}
}

static void state_log(void)
{
	struct text out = {0};

	state_text(&out);
	text_raw(&out, "", 1);
	if (!out.failed)
		log_text(&out);
	kfree(out.buf);
}

static void look(struct ktimer *timer)
{
	u64 now = clock_now();
	bool more = false;
	struct proc *p;
	struct thread *t;

	list_each(p, &proc_list, all_link) list_each(t, &p->threads, proc_link)
	{
		if (!t->kill_now || t->state == T_DEAD)
			continue;
		more = true;
		if (now - t->killed_at >= STUCK_NS && t->tid != reported) {
			reported = t->tid;
			printk("killed %lu s ago and not ended: %u", STUCK_NS / NS_PER_SEC,
			       t->tid);
			state_log();
		}
	}
	watching = more;
	if (more)
		timer_set(&watch, now + STUCK_NS);
}

void state_killed(struct thread *t)
{
	t->killed_at = clock_now();
	if (watching)
		return;
	watching = true;
	watch.fn = look;
	timer_set(&watch, t->killed_at + STUCK_NS);
}

/* ---- The argument watch=SECONDS: all of it to the log, again and again ---- */
static struct ktimer often;
static u64 often_ns;

static void often_fired(struct ktimer *timer)
{
	state_log();
	timer_set(&often, clock_now() + often_ns);
}

void state_init(u32 seconds)
{
	often_ns = seconds * NS_PER_SEC;
	often.fn = often_fired;
	if (seconds)
		timer_set(&often, clock_now() + often_ns);
}
