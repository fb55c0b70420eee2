/* SPDX-License-Identifier: ISC */
/*
 * The cell's end of the container control protocol (d0/conctl.h).
 *
 * One kernel thread reads frames and acts on them; each started program has a thread per
 * output that carries its pipe (or terminal) to the stream, as far as the output's window
 * lets it: so only the program waits whose output is not taken. Frames are written whole under
 * one lock. EXIT follows the last byte of output that the program itself wrote, unless
 * nobody takes that.
 */
#include "cells/linux/inc/channel.h"
#include "cells/linux/inc/conctl.h"
#include "cells/linux/inc/state.h"
#include "cells/linux/inc/sys.h"
#include "cells/linux/inc/tty.h"
#include "d0/conctl.h"

/* A program has ended and its last output isn't taken: how long that may last. */
#define OUTPUT_STALL_NS (NS_PER_SEC / 2)

struct con_proc {
	struct list link;
	u32 refs;
	u32 id, pid;
	struct proc *proc; /* while it lives */
	struct tty *tty;
	struct file *in, *out[2]; /* our ends; out[0] is the master of a terminal */
	u32 busy[2];              /* a pump holds bytes that are not in the stream yet */
	bool pump_done[2];
	u32 underway[2]; /* bytes of output sent and not yet acknowledged */
	u64 sent;        /* bytes of output ever */
	struct waitq out_wait;
	bool exited, reported, init;
	u32 status;
	/* stdin that came and was not yet taken */
	u8 *inbuf;
	u32 in_head, in_tail;
	bool in_eof;
	struct waitq in_wait;
};

void config_make_dir(const char *path);

static struct chan_stream ctl;
static bool active;
static struct list procs;
static struct klock writing; /* a frame */
static struct waitq exit_wait;
extern char host_name[65], domain_name[65];

void conctl_init(u32 channel);
bool conctl_active(void);
bool conctl_ended(u32 status);
void conctl_oom(const char *text);

bool conctl_active(void)
{
	return active;
}

static bool send_frame(u32 type, u32 id, u32 arg, u32 flags, const void *data, u32 len)
{
	struct d0_con_frame f = {
	    .type = (u16)type, .flags = (u16)flags, .len = len, .id = id, .arg = arg};
	bool ok;

	klock_take(&writing);
	ok = chan_stream_write(&ctl, &f, sizeof(f)) &&
	     (!len || chan_stream_write(&ctl, data, len));
	klock_drop(&writing);
	return ok;
}

static void send_error(u32 type, u32 id, int err, const char *text)
{
	send_frame(type, id, (u32)-err, 0, text, (u32)strlen(text));
}

static struct con_proc *find(u32 id)
{
	struct con_proc *c;

	list_each(c, &procs, link) if (c->id == id) return c;
	return NULL;
}

static void con_put(struct con_proc *c)
{
	if (--c->refs)
		return;
	list_del(&c->link);
	for (int i = 0; i < 2; i++)
		if (c->out[i])
			file_put(c->out[i]);
	if (c->in)
		file_put(c->in);
	kfree(c->inbuf);
	kfree(c);
}

/* ---- Output ---- */
static void pump(struct con_proc *c, int which)
{
	struct file *f = c->out[which];
	u8 *buf = kalloc(D0_CON_DATA);

	while (buf) {
		struct iovec_k iov;
		struct uio u;
		u64 pos = 0;
		u32 room = D0_CON_OUT_WINDOW - c->underway[which];
		ssize n;

		if (!room) {
			wait_on(&c->out_wait, NEVER, false);
			continue;
		}
		uio_kernel(&u, &iov, buf, MIN(room, D0_CON_DATA));
		n = f->ops->read(f, &u, &pos);
		if (n <= 0)
			break;
		c->busy[which] = 1;
		c->underway[which] += (u32)n;
		c->sent += (u64)n;
		send_frame(which ? D0_CON_STDERR : D0_CON_STDOUT, c->id, 0, 0, buf, (u32)n);
		c->busy[which] = 0;
		wake_all(&exit_wait);
	}
	kfree(buf);
	c->pump_done[which] = true;
	wake_all(&exit_wait);
	con_put(c);
}
static void pump_out(void *arg)
{
	pump(arg, 0);
}
static void pump_err(void *arg)
{
	pump(arg, 1);
}

/* ---- Input: a thread moves it on, so that a slow reader holds up nobody else ---- */
static void pump_in(void *arg)
{
	struct con_proc *c = arg;

	for (;;) {
		u32 used = c->in_tail - c->in_head, at = c->in_head % D0_CON_WINDOW;
		struct iovec_k iov;
		struct uio u;
		u64 pos = 0;
		ssize n;

		if (!used) {
			if (c->in_eof || c->exited)
				break;
			wait_on(&c->in_wait, NEVER, false);
			continue;
		}
		used = MIN(MIN(used, D0_CON_WINDOW - at), 4096u);
		uio_kernel(&u, &iov, c->inbuf + at, used);
		n = c->in->ops->write(c->in, &u, &pos);
		if (n <= 0) {
			/* Nobody reads any more: take it all, so that the sender isn't stuck.
			 */
			n = (ssize)used;
		}
		c->in_head += (u32)n;
		send_frame(D0_CON_STDIN_ACK, c->id, (u32)n, 0, NULL, 0);
	}
	if (!c->tty && c->in) {
		struct file *f = c->in;

		c->in = NULL;
		file_put(f);
	} else if (c->tty && c->in_eof && !c->exited) {
		u8 eof = c->tty->termios.cc[4]; /* VEOF */

		tty_input(c->tty, &eof, 1);
	}
	con_put(c);
}

static void take_stdin(struct con_proc *c, const u8 *data, u32 len)
{
	if (!c->inbuf || len > D0_CON_WINDOW - (c->in_tail - c->in_head)) {
		send_error(D0_CON_ERROR, c->id, -ENOSPC, "stdin: no window");
		return;
	}
	for (u32 i = 0; i < len; i++)
		c->inbuf[c->in_tail++ % D0_CON_WINDOW] = data[i];
	wake_all(&c->in_wait);
}

/* ---- Ends ---- */
static bool drained(struct con_proc *c)
{
	for (int i = 0; i < 2; i++) {
		struct file *f = c->out[i];

		if (!f || c->pump_done[i])
			continue;
		if (c->busy[i] || (f->ops->poll(f, NULL) & POLLIN))
			return false;
	}
	return true;
}

static void report_exit(struct con_proc *c)
{
	u32 sig = c->status & 0x7f, code = sig ? 128 + sig : c->status >> 8 & 0xff;
	u64 deadline = clock_now() + OUTPUT_STALL_NS, sent = c->sent;

	while (!drained(c) && clock_now() < deadline) {
		wait_on(&exit_wait, clock_now() + 2000000, false);
		if (c->sent != sent)
			deadline = clock_now() + OUTPUT_STALL_NS;
		sent = c->sent;
	}
	c->reported = true;
	send_frame(D0_CON_EXIT, c->id, code, sig, NULL, 0);
	wake_all(&exit_wait);
}

static void report_thread(void *arg)
{
	struct con_proc *c = arg;

	report_exit(c);
	con_put(c);
}

static void on_exit(struct proc *p)
{
	struct con_proc *c = p->on_exit_arg;

	c->exited = true;
	c->status = p->exit_status;
	c->proc = NULL;
	wake_all(&c->in_wait);
	if (c->init) {
		con_put(c);
		return;
	}
	if (!kthread_start(report_thread, c, "report"))
		con_put(c);
}

/* Pid 1 ended (in its own context, before on_exit): all output, then EXIT, goes out first. */
bool conctl_ended(u32 status)
{
	struct con_proc *c;
	u64 deadline = clock_now() + 2 * NS_PER_SEC;

	if (!active)
		return false;
	list_each(c, &procs, link) if (c->init && !c->reported)
	{
		c->exited = true;
		c->status = status;
		report_exit(c);
		break;
	}
	/* Give the reader time to take it before the cell is gone. */
	while (byte_ring_writable(&ctl.s.tx) <= ctl.s.tx.mask && clock_now() < deadline)
		wait_on(&ctl.wait, clock_now() + 2000000, false);
	return true;
}

void conctl_oom(const char *text)
{
	if (active && !writing.held)
		send_frame(D0_CON_OOM, 0, 0, 0, text, (u32)strlen(text));
}

/* ---- START: boot/conctl_start.c reads its words ---- */
static bool make_stdio(struct con_proc *c, struct start *st)
{
	struct file *p[2];

	if (st->tty) {
		struct file *master;
		struct tty *t = pty_create(&master, O_RDWR);

		if (!t)
			return false;
		if (st->rows)
			t->ws = (struct winsize_k){st->rows, st->cols, 0, 0};
		t->was_open = true;
		c->tty = t;
		c->out[0] = c->in = master;
		file_get(master);
		for (int i = 0; i < 3; i++) {
			char path[32];

			format(path, sizeof(path), "/dev/pts/%u", t->number);
			if (open_path(AT_FDCWD, path, O_RDWR | O_NOCTTY, 0, LOOKUP_FOLLOW,
				      &st->s.stdio[i]) < 0)
				st->s.stdio[i] = tty_file(t, O_RDWR);
		}
		st->s.ctty = t;
		return true;
	}
	if (st->stdin_pipe) {
		if (pipe_new(p, 0))
			return false;
		st->s.stdio[0] = p[0];
		c->in = p[1];
	} else if (open_path(AT_FDCWD, "/dev/null", O_RDWR, 0, LOOKUP_FOLLOW, &st->s.stdio[0]) <
		   0) {
		return false;
	}
	for (int i = 0; i < 2; i++) {
		if (pipe_new(p, 0))
			return false;
		c->out[i] = p[0];
		st->s.stdio[1 + i] = p[1];
	}
	return true;
}

static void started(struct proc *p, struct start *st)
{
	for (u32 i = 0; i < st->nrlimits; i++)
		conctl_rlimit(p, st->rlimits[i]);
	p->oom_score_adj = st->oom;
}

static void spawn_before_run(struct proc *p, void *arg)
{
	started(p, arg);
}

static void start_pumps(struct con_proc *c, bool want_in)
{
	void (*const fn[2])(void *) = {pump_out, pump_err};

	for (int i = 0; i < 2; i++)
		if (c->out[i]) {
			c->refs++;
			if (!kthread_start(fn[i], c, "output"))
				con_put(c);
		}
	if (want_in) {
		c->inbuf = kalloc(D0_CON_WINDOW);
		c->refs++;
		if (!c->inbuf || !kthread_start(pump_in, c, "input"))
			con_put(c);
	}
}

static void do_start(u32 id, char *data, u32 len)
{
	struct start *st = kalloc(sizeof(*st));
	struct con_proc *c = kalloc(sizeof(*c));
	s64 r;

	if (!st || !c || find(id)) {
		send_error(D0_CON_START_FAILED, id, find(id) ? -EEXIST : -ENOMEM,
			   "cannot start");
		kfree(st);
		kfree(c);
		return;
	}
	c->id = id;
	c->refs = 1; /* for on_exit */
	list_add_tail(&procs, &c->link);
	if (!conctl_start_parse(st, data, len)) {
		send_error(D0_CON_START_FAILED, id, -EINVAL, "malformed START");
		con_put(c);
		kfree(st);
		return;
	}
	c->init = st->s.is_init;
	st->s.argv = st->argv;
	st->s.envp = st->envp;
	st->s.on_exit = on_exit;
	st->s.on_exit_arg = c;
	st->s.before_run = spawn_before_run;
	st->s.before_run_arg = st;
	if (!make_stdio(c, st)) {
		send_error(D0_CON_START_FAILED, id, -ENOMEM, "no memory for stdio");
		con_put(c);
		kfree(st);
		return;
	}
	if (st->s.is_init && st->s.cwd)
		config_make_dir(st->s.cwd); /* as Docker does */
	start_pumps(c, st->tty || st->stdin_pipe);
	/* on_exit may run as soon as the program does: hold on to it. */
	c->refs++;
	r = spawn_process(&st->s);
	if (r < 0) {
		c->exited = true;
		wake_all(&c->in_wait);
		send_error(D0_CON_START_FAILED, id, (int)r, st->argv[0]);
		con_put(c);
	} else {
		c->pid = (u32)r;
		send_frame(D0_CON_STARTED, id, c->pid, 0, NULL, 0);
	}
	con_put(c);
	kfree(st);
}

/* ---- Other orders ---- */
static void do_signal(struct con_proc *c, u32 sig, bool group)
{
	struct proc *p = c->exited ? NULL : proc_find(c->pid);
	siginfo_t i;

	if (!p || sig > NSIGS) {
		send_error(D0_CON_ERROR, c->id, p ? -EINVAL : -ESRCH, "signal");
		return;
	}
	memset(&i, 0, sizeof(i));
	i.si_signo = (int)sig;
	if (group)
		sig_send_pgrp(p->pgid, (int)sig, &i);
	/* Of a group, pid 1 is spared what only we may send it. */
	if (!group || (p == init_proc && (sig == SIGKILL || sig == SIGSTOP)))
		sig_send_outside(p, (int)sig, &i);
}

/* The program's arguments with blanks between them, if it has any. */
static void command_of(struct mm *mm, char *out, u32 room)
{
	u32 n = 0;

	if (mm && mm->arg_end > mm->arg_start)
		n = (u32)mm_access(mm, mm->arg_start, out,
				   MIN(mm->arg_end - mm->arg_start, (u64)room - 1), false);
	while (n && !out[n - 1])
		n--;
	for (u32 i = 0; i < n; i++)
		if ((u8)out[i] < ' ')
			out[i] = ' ';
	if (n)
		out[n] = 0;
}

/* A process's line. Reading its arguments may sleep, and it may end meanwhile. */
static u32 proc_line(struct proc *p, char *out, u32 room)
{
	struct thread *t = p->leader;
	struct mm *mm = t ? t->mm : NULL;
	char command[256];
	u32 n;

	if (!t)
		return 0;
	n = (u32)format(out, room, "%u %u %u %c %lu %lu ", p->pid,
			p->parent ? p->parent->pid : 0, t->cred->uid,
			p->stopped               ? 'T'
			: t->state == T_RUNNABLE ? 'R'
						 : 'S',
			mm ? (mm->rss_anon + mm->rss_file + mm->rss_shmem) * 4 : 0,
			(p->utime + p->stime + t->utime + t->stime) / 1000000);
	str_copy(command, t->comm, sizeof(command));
	if (mm) {
		mm_get(mm);
		command_of(mm, command, sizeof(command));
		mm_put(mm);
	}
	return n + (u32)format(out + n, room - n, "%s\n", command);
}

#define PROCS_ROOM 16384u
#define PROCS_MAX  (PROCS_ROOM / 16) /* no line is shorter */

static void do_procs(u32 id)
{
	u32 *pids = kalloc(PROCS_MAX * sizeof(*pids));
	char *buf = kalloc(PROCS_ROOM);
	u32 n = 0, count = 0;
	struct proc *p;

	if (pids && buf) {
		list_each(p, &proc_list, all_link) if (count < PROCS_MAX) pids[count++] =
		    p->pid;
		for (u32 i = 0; i < count && n + 384 <= PROCS_ROOM; i++) {
			p = proc_find(pids[i]);
			n += p ? proc_line(p, buf + n, PROCS_ROOM - n) : 0;
		}
		send_frame(D0_CON_PROCS_REPLY, id, 0, 0, buf, n);
	}
	kfree(buf);
	kfree(pids);
}

static void do_state(u32 id)
{
	struct text out = {0};

	state_text(&out);
	send_frame(D0_CON_STATE_REPLY, id, 0, 0, out.buf, MIN(out.len, D0_CON_MAX));
	kfree(out.buf);
}

static void do_sync(u32 id, bool forget)
{
	mounts_sync(false);
	if (forget) {
		dcache_trim(0);
		mounts_sync(true);
	}
	send_frame(D0_CON_SYNCED, id, 0, 0, NULL, 0);
}

static void take_ack(struct con_proc *c, u32 n, bool err)
{
	c->underway[err] -= MIN(n, c->underway[err]);
	wake_all(&c->out_wait);
}

static void do_limits(u32 id, const u8 *data, u32 len)
{
	struct d0_con_limits l;
	s64 r = -EINVAL;

	if (len == sizeof(l)) {
		memcpy(&l, data, sizeof(l));
		r = l.memory ? page_limit_set(l.memory) : 0;
		if (!r && l.pids)
			thread_limit = l.pids;
	}
	send_frame(D0_CON_LIMITS_REPLY, id, (u32)-r, 0, NULL, 0);
}

static void take_frame(const struct d0_con_frame *f, u8 *data)
{
	struct con_proc *c = find(f->id);
	struct winsize_k ws;

	if (f->type == D0_CON_START) {
		do_start(f->id, (char *)data, f->len);
		return;
	}
	if (f->type == D0_CON_PROCS) {
		do_procs(f->id);
		return;
	}
	if (f->type == D0_CON_STATE) {
		do_state(f->id);
		return;
	}
	if (f->type == D0_CON_SYNC) {
		do_sync(f->id, f->arg == 1);
		return;
	}
	if (f->type == D0_CON_LIMITS) {
		do_limits(f->id, data, f->len);
		return;
	}
	if (!c && f->type == D0_CON_OUTPUT_ACK)
		return; /* of a program that has ended meanwhile */
	if (!c) {
		send_error(D0_CON_ERROR, f->id, -ESRCH, "no such program");
		return;
	}
	switch (f->type) {
	case D0_CON_STDIN:
		take_stdin(c, data, f->len);
		break;
	case D0_CON_STDIN_EOF:
		c->in_eof = true;
		wake_all(&c->in_wait);
		break;
	case D0_CON_OUTPUT_ACK:
		take_ack(c, f->arg, f->flags & D0_CON_FLAG_STDERR);
		break;
	case D0_CON_RESIZE:
		ws = (struct winsize_k){(u16)(f->arg >> 16), (u16)f->arg, 0, 0};
		if (c->tty && !c->exited)
			tty_resize(c->tty, &ws);
		break;
	case D0_CON_SIGNAL:
		do_signal(c, f->arg, f->flags & 1);
		break;
	default:
		send_error(D0_CON_ERROR, f->id, -EINVAL, "unknown frame");
	}
}

static void hello(void)
{
	struct con_proc *c;

	list_each(c, &procs, link)
	{
		take_ack(c, D0_CON_OUT_WINDOW, false);
		take_ack(c, D0_CON_OUT_WINDOW, true);
	}
	send_frame(D0_CON_HELLO, 0, D0_CON_VERSION, 0, NULL, 0);
	for (struct list *at = procs.next, *next; at != &procs; at = next) {
		c = container_of(at, struct con_proc, link);
		c->refs++; /* sending may sleep, and the program end */
		if (!c->exited && c->pid)
			send_frame(D0_CON_STARTED, c->id, c->pid, 0, NULL, 0);
		next = c->link.next;
		con_put(c);
	}
}

void conctl_thread(void);
void conctl_thread(void)
{
	u8 *data = kalloc(D0_CON_MAX + 1);

	BUG_ON(!data);
	hello();
	for (;;) {
		struct d0_con_frame f;
		bool restarted = false;

		if (!chan_stream_read(&ctl, &f, sizeof(f), &restarted))
			break;
		if (restarted) {
			hello();
			continue;
		}
		if (f.len > D0_CON_MAX) {
			send_error(D0_CON_ERROR, f.id, -EMSGSIZE, "frame too long");
			while (f.len && !restarted) {
				u32 n = MIN(f.len, D0_CON_MAX);

				if (!chan_stream_read(&ctl, data, n, &restarted))
					break;
				f.len -= n;
			}
			if (restarted)
				hello();
			continue;
		}
		if (f.len && !chan_stream_read(&ctl, data, f.len, &restarted))
			break;
		if (restarted) {
			hello();
			continue;
		}
		data[f.len] = 0;
		take_frame(&f, data);
	}
	kfree(data);
	printk("the control channel is gone");
}

void conctl_init(u32 channel)
{
	list_init(&procs);
	active = chan_stream_open(&ctl, channel) == 0;
}
