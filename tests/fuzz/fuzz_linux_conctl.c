/* SPDX-License-Identifier: ISC */
/*
 * Frames of d0d on a container's control channel, and programs that write, read and end
 * meanwhile. An input is a sequence of a byte of what happens first (below), then a frame. At
 * the end every program ends: all threads must come to theirs, and nothing may be left.
 */
#include "cells/linux/boot/conctl.c"
#include "tests/fuzz/fibers.h"

void *calloc(size_t n, size_t size);
void free(void *p);
void abort(void);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* What happens before a frame: bits of its first byte. */
enum {
	TURN = 1,     /* threads get turns */
	END = 2,      /* a program ends */
	WRITE = 4,    /* programs write */
	BLOCK = 8,    /* programs stop reading, or begin again */
	RESTART = 16, /* d0d starts anew */
	TYPE = 0xe0,  /* not 0: the low bits of the frame's type */
	CUT = 0xa5    /* first byte of a payload: d0d starts anew in the middle of it */
};

static const u8 *input;
static size_t left;
static bool over, blocked;
static bool hello_due; /* d0d started anew and was not greeted yet */
static u32 programs, objects;
static u64 now;

/* ---- memory, threads, time ---- */
void *kalloc(size_t n)
{
	objects++;
	return calloc(1, n);
}
void kfree(void *p)
{
	objects -= p != NULL;
	free(p);
}
void panic(const char *fmt, ...)
{
	abort();
}
void printk(const char *fmt, ...)
{
}
u64 clock_now(void)
{
	return now += 1000000;
}
struct thread *kthread_start(void (*fn)(void *), void *arg, const char *name)
{
	static struct thread thread;

	return fiber_start(fn, arg) ? NULL : &thread;
}
int wait_on(struct waitq *q, u64 deadline, bool intr)
{
	fiber_yield();
	return 0;
}
void wake_all(struct waitq *q)
{
}
void wake_one(struct waitq *q)
{
}

/* ---- files ---- */
struct box {
	struct file file;
	struct box *other;
	struct tty *tty; /* of a master */
	u32 waiting;     /* bytes to be read here */
};

static ssize box_read(struct file *f, struct uio *u, u64 *pos)
{
	struct box *b = (struct box *)f;

	while (!b->waiting && !over)
		fiber_yield();
	u64 n = MIN(u->left, (u64)b->waiting);

	memset((void *)u->iov->base, 'x', n);
	b->waiting -= (u32)n;
	return (ssize)n;
}
static u32 seen;
static ssize box_write(struct file *f, struct uio *u, u64 *pos)
{
	while (blocked && !over)
		fiber_yield();
	/* All of it is looked at: it must be there. */
	for (u64 i = 0; i < u->left; i++)
		seen += ((const u8 *)u->iov->base)[i];
	return blocked ? -EPIPE : (ssize)u->left;
}
static u32 box_poll(struct file *f, struct poll_table *pt)
{
	return ((struct box *)f)->waiting ? POLLIN : 0;
}
static const struct file_ops box_ops = {.read = box_read, .write = box_write, .poll = box_poll};

static struct box *written[64]; /* ends that programs write to, by turns */

static struct file *box_new(void)
{
	struct box *b = kalloc(sizeof(*b));

	b->file.refs = 1;
	b->file.ops = &box_ops;
	for (u32 i = 0; i < ARRAY_SIZE(written); i++)
		if (!written[i]) {
			written[i] = b;
			break;
		}
	return &b->file;
}
void file_get(struct file *f)
{
	f->refs++;
}
void file_put(struct file *f)
{
	if (!f->refs)
		abort();
	if (--f->refs)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(written); i++)
		if (written[i] == (struct box *)f)
			written[i] = NULL;
	kfree(((struct box *)f)->tty);
	kfree(f);
}
int pipe_new(struct file *out[2], u32 flags)
{
	out[0] = box_new();
	out[1] = box_new();
	return 0;
}
struct tty *pty_create(struct file **master, u32 flags)
{
	struct tty *t = kalloc(sizeof(*t));

	*master = box_new();
	((struct box *)*master)->tty = t;
	return t;
}
struct file *tty_file(struct tty *t, u32 flags)
{
	return box_new();
}
void tty_input(struct tty *t, const u8 *p, u32 n)
{
	t->column += p[n - 1];
}
void tty_resize(struct tty *t, const struct winsize_k *ws)
{
	t->ws = *ws;
}
s64 open_path(int dfd, const char *path, u32 flags, u32 mode, u32 lookup, struct file **out)
{
	*out = box_new();
	return 0;
}
void uio_kernel(struct uio *u, struct iovec_k *iov, void *buf, u64 n)
{
	*iov = (struct iovec_k){(u64)buf, n};
	*u = (struct uio){.iov = iov, .count = 1, .left = n, .kernel = true};
}

/* ---- programs ---- */
#define PROGRAMS_MAX 12
static struct program {
	struct proc proc;
	struct spawn spawn;
	struct thread thread;
	struct cred cred;
} * program[PROGRAMS_MAX];
struct list proc_list = {&proc_list, &proc_list}, mount_list = {&mount_list, &mount_list};
struct proc *init_proc;
char host_name[65], domain_name[65];
u32 thread_limit;
struct mount *root_mount;

s64 spawn_process(const struct spawn *s)
{
	u32 i = 0;

	while (i < PROGRAMS_MAX && program[i])
		i++;
	if (i == PROGRAMS_MAX || !s->argv[0] || s->argv[0][0] == '!') {
		for (int k = 0; k < 3; k++)
			file_put(s->stdio[k]);
		return -ENOENT;
	}
	struct program *p = program[i] = kalloc(sizeof(*p));

	p->spawn = *s;
	p->proc.pid = p->proc.pgid = ++programs;
	p->proc.on_exit_arg = s->on_exit_arg;
	p->proc.leader = &p->thread;
	p->thread.cred = &p->cred;
	list_add_tail(&proc_list, &p->proc.all_link);
	if (s->before_run)
		s->before_run(&p->proc, s->before_run_arg);
	return p->proc.pid;
}

static void end_program(u32 i)
{
	struct program *p = program[i];

	if (!p)
		return;
	program[i] = NULL;
	list_del(&p->proc.all_link);
	for (int k = 0; k < 3; k++)
		file_put(p->spawn.stdio[k]);
	p->proc.exit_status = i << 8 | (i & 1 ? 9 : 0);
	p->spawn.on_exit(&p->proc);
	kfree(p);
}

struct proc *proc_find(u32 pid)
{
	for (u32 i = 0; i < PROGRAMS_MAX; i++)
		if (program[i] && program[i]->proc.pid == pid)
			return &program[i]->proc;
	return NULL;
}
void sig_send_outside(struct proc *p, int sig, const siginfo_t *info)
{
	if (sig < 0 || sig > NSIGS)
		abort();
}
int sig_send_pgrp(u32 pgid, int sig, const siginfo_t *info)
{
	if (sig < 0 || sig > NSIGS || !proc_find(pgid))
		abort();
	return 0;
}
size_t mm_access(struct mm *mm, u64 addr, void *buf, size_t n, bool write)
{
	return 0;
}
void state_text(struct text *out)
{
	out->buf = kalloc(16);
	out->len = 16;
}
void mm_get(struct mm *mm)
{
}
void mm_put(struct mm *mm)
{
}
void mounts_sync(bool forget)
{
	fiber_yield();
}
void dcache_trim(u32 keep)
{
}
int page_limit_set(u64 bytes)
{
	return bytes > 1u << 30 ? -ENOMEM : bytes < 1u << 20 ? -EBUSY : 0;
}
void config_make_dir(const char *path)
{
}
void mount_configured(char *spec);
void file_configured(char *spec);
void mask_path(const char *path);
void readonly_path(const char *path);
void mount_configured(char *spec)
{
}
void file_configured(char *spec)
{
}
void mask_path(const char *path)
{
}
void readonly_path(const char *path)
{
}

/* ---- the channel ---- */
static u32 out_left; /* of the frame that is being written */

int chan_stream_open(struct chan_stream *c, u32 channel)
{
	return 0;
}
bool chan_stream_write(struct chan_stream *c, const void *buf, u32 n)
{
	const struct d0_con_frame *f = buf;

	if (!out_left) {       /* a header */
		fiber_yield(); /* the ring may be full */
		if (n != sizeof(*f) || f->len > D0_CON_MAX)
			abort();
		if (f->type == D0_CON_HELLO)
			hello_due = false;
		out_left = f->len;
		return true;
	}
	if (n != out_left)
		abort();
	fiber_yield(); /* nobody else may write in the middle */
	out_left = 0;
	return true;
}
size_t byte_ring_writable(const struct byte_ring *r)
{
	return 1;
}

static void events(u8 what)
{
	if (what & WRITE)
		for (u32 i = 0; i < ARRAY_SIZE(written); i++)
			if (written[i])
				written[i]->waiting = MIN(written[i]->waiting + 3000, 100000u);
	if (what & BLOCK)
		blocked = !blocked;
	if (what & END)
		end_program(left % PROGRAMS_MAX);
	for (u32 i = 0; what & TURN && i < 4; i++)
		fiber_yield();
}

bool chan_stream_read(struct chan_stream *c, void *buf, u32 n, bool *restarted)
{
	struct d0_con_frame *f = buf;
	u8 what = 0;

	if (hello_due)
		abort();
	if (n != sizeof(*f) && left && *input == CUT) {
		input++;
		left--;
		*restarted = hello_due = true;
		return true;
	}
	if (n == sizeof(*f) && left) {
		what = *input++;
		left--;
		events(what);
		*restarted = hello_due = what & RESTART;
	}
	if (n > left)
		return false;
	memcpy(buf, input, n);
	input += n;
	left -= n;
	if (n == sizeof(*f) && what & TYPE)
		f->type = (u16)((what & TYPE) >> 5);
	return true;
}

static void controller(void *arg)
{
	conctl_thread();
	over = true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	input = data;
	left = size;
	over = blocked = hello_due = false;
	programs = objects = 0;
	out_left = 0;
	conctl_init(0);
	fiber_start(controller, NULL);
	for (u32 i = 0; !over; i++) {
		fibers_turn();
		if (i > 100000)
			abort(); /* no frame is taken any more */
	}
	for (u32 i = 0; i < PROGRAMS_MAX; i++)
		end_program(i);
	/* Who waits for room in the window is let go, as a new d0d would. */
	for (u32 i = 0; fibers_turn(); i++) {
		struct con_proc *c;

		list_each(c, &procs, link)
		{
			take_ack(c, D0_CON_OUT_WINDOW, false);
			take_ack(c, D0_CON_OUT_WINDOW, true);
			c->in_eof = true;
		}
		if (i > 100000)
			abort();
	}
	if (objects || !list_empty(&procs))
		abort();
	return 0;
}
